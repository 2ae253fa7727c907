//! What children say to people: a short tail, made harmless.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bailiwick_pipeline::ports::Lease;
use secrecy::ExposeSecret;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    time::Instant,
};

/// So many lines are kept.
const LINES: usize = 64;
/// A line is cut to so many bytes.
const LINE_BYTES: usize = 1024;
/// So much of a line is looked at before it is cut.
const LOOKED_AT: usize = 64 * 1024;
/// More than this in a second, and the child has to wait.
const BYTES_A_SECOND: usize = 4 * 1024 * 1024;
/// Parts of a secret that are shorter are too common to be hidden line by line.
const SECRET_PART: usize = 8;

/// Hides a lent secret in text that comes from the child it was lent to.
#[derive(Clone, Default)]
pub(crate) struct Redactor(Option<Arc<Lease>>);

impl Redactor {
    pub(crate) fn new(lease: Option<&Arc<Lease>>) -> Self {
        Self(lease.cloned())
    }

    /// The text without the secret, whole or line by line.
    pub(crate) fn redacted(&self, text: &str) -> String {
        let Some(lease) = &self.0 else { return text.to_owned() };
        let mut text = lease.redacted(text);
        for secret in lease.secrets().iter().map(ExposeSecret::expose_secret) {
            let parts = secret.lines().map(str::trim).filter(|part| part.len() >= SECRET_PART);
            for part in std::iter::once(secret.trim()).filter(|whole| !whole.is_empty()).chain(parts) {
                text = text.replace(part, "[redacted]");
            }
        }
        text
    }

    /// A fault without the excerpts that it quotes in backticks, where something was lent: they are cut, and half of a secret can't be
    /// told from other text.
    pub(crate) fn unquoted(&self, fault: &str) -> String {
        if self.0.is_none() {
            return fault.to_owned();
        }
        let told = fault.split('`').enumerate().map(|(at, part)| if at % 2 == 0 { part } else { "…" });
        told.collect::<Vec<_>>().join("`")
    }

    /// The text without the secret and without anything that acts on a terminal, cut. In this order: half of a secret would not be
    /// known as one.
    pub(crate) fn clean(&self, text: &str) -> String {
        let text = self.redacted(text);
        let mut clean = String::with_capacity(text.len().min(LINE_BYTES));
        for c in text.chars() {
            if clean.len() >= LINE_BYTES {
                clean.push('…');
                break;
            }
            if c.is_control() || is_invisible(c) {
                clean.extend(c.escape_default());
            } else {
                clean.push(c);
            }
        }
        clean
    }
}

/// Marks that change the order of text, or can't be seen.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// The last lines of one child's standard error.
#[derive(Default)]
pub(crate) struct Tail {
    lines: Mutex<VecDeque<String>>,
}

impl Tail {
    /// The lines, oldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The last line that says something, for the text of a failure.
    pub(crate) fn last(&self) -> Option<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().rev().find(|line| !line.trim().is_empty()).cloned()
    }

    fn push(&self, line: String) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// Reads standard error to its end.
pub(crate) async fn drain(from: impl AsyncRead + Unpin, tail: Arc<Tail>, redactor: Redactor) {
    let mut from = BufReader::with_capacity(16 * 1024, from);
    let mut line = Vec::new();
    let mut second = (Instant::now(), 0_usize);
    while let Ok(chunk) = from.fill_buf().await {
        if chunk.is_empty() {
            break;
        }
        let (part, ended) = match chunk.iter().position(|byte| *byte == b'\n') {
            Some(at) => (chunk.get(..at).unwrap_or_default(), true),
            None => (chunk, false),
        };
        let room = LOOKED_AT.saturating_sub(line.len());
        line.extend(part.iter().take(room));
        let used = part.len() + usize::from(ended);
        from.consume(used);
        if ended {
            tail.push(redactor.clean(&String::from_utf8_lossy(&line)));
            line.clear();
        }
        second.1 = second.1.saturating_add(used);
        if second.1 > BYTES_A_SECOND {
            tokio::time::sleep_until(second.0 + Duration::from_secs(1)).await;
        }
        if second.0.elapsed() >= Duration::from_secs(1) {
            second = (Instant::now(), 0);
        }
    }
    if !line.is_empty() {
        tail.push(redactor.clean(&String::from_utf8_lossy(&line)));
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]

    use bailiwick_pipeline::ports::{Access, Injection, LeaseTerms, Material};

    use super::*;

    #[tokio::test]
    async fn the_tail_is_short_escaped_and_without_the_secret() {
        let (id, reference, injection) = ("lease-1".to_owned(), "T".to_owned(), Injection::env("T"));
        let terms = LeaseTerms { id, provider: "env", reference, injection, expires_at_ms: 0, access: Access::Read };
        let lease = Arc::new(Lease::new(terms, Material::of("canary-0123456789".to_owned().into())).unwrap());
        let tail = Arc::new(Tail::default());
        let mut text = "x\n".repeat(100);
        text.push_str("\u{1b}[31mred canary-0123456789\u{202e}\n");
        text.push_str(&"y".repeat(200_000));
        drain(text.as_bytes(), Arc::clone(&tail), Redactor::new(Some(&lease))).await;
        let lines = tail.lines();
        assert_eq!(lines.len(), 64);
        assert_eq!(lines[62], "\\u{1b}[31mred [redacted]\\u{202e}");
        assert_eq!(lines[63].chars().count(), 1025);
        assert_eq!(tail.last(), Some(lines[63].clone()));
    }
}
