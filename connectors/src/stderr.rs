//! What children say to people: a short tail, made harmless.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use bailiwick_pipeline::ports::Lease;
use secrecy::ExposeSecret;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    time::Instant,
};
use zeroize::Zeroizing;

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

/// Hides a lent secret in text that comes from the server it was lent to.
#[derive(Clone, Default)]
pub(crate) struct Redactor(Arc<ArcSwap<Hidden>>);

/// What is hidden.
#[derive(Default)]
struct Hidden {
    now: Option<Arc<Lease>>,
    /// What was lent before: for as long as somebody uses it.
    before: Option<Weak<Lease>>,
    /// What was lent is not kept any more: whatever is still said is hidden as a whole.
    is_over: bool,
}

impl Redactor {
    pub(crate) fn new(lease: Option<&Arc<Lease>>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Hidden { now: lease.cloned(), ..Hidden::default() })))
    }

    /// Another lease took the place of the one before.
    pub(crate) fn relent(&self, lease: &Arc<Lease>) {
        if self.0.load().is_over {
            return;
        }
        let before = self.0.load().now.as_ref().map(Arc::downgrade);
        self.0.store(Arc::new(Hidden { now: Some(Arc::clone(lease)), before, is_over: false }));
    }

    /// The server is gone, and with it what was lent is to be.
    pub(crate) fn let_go(&self) {
        if self.0.load().now.is_some() {
            self.0.store(Arc::new(Hidden { is_over: true, ..Hidden::default() }));
        }
    }

    /// The text without the secret, whole or line by line.
    pub(crate) fn redacted(&self, text: &str) -> String {
        let hidden = self.0.load();
        if hidden.is_over && !text.is_empty() {
            return "[redacted]".to_owned();
        }
        let before = hidden.before.as_ref().and_then(Weak::upgrade);
        let mut text = text.to_owned();
        for lease in hidden.now.iter().chain(&before) {
            text = lease.redacted(&text);
            for secret in lease.secrets().iter().map(ExposeSecret::expose_secret) {
                let parts = secret.lines().map(str::trim).filter(|part| part.len() >= SECRET_PART);
                for part in std::iter::once(secret.trim()).filter(|whole| !whole.is_empty()).chain(parts) {
                    if text.contains(part) {
                        text = text.replace(part, "[redacted]");
                    }
                }
            }
        }
        text
    }

    /// Whether two lines, one after the other, make up a secret that neither has by itself.
    fn is_completed(&self, before: &str, line: &str) -> bool {
        let hidden = self.0.load();
        !before.is_empty()
            && hidden.now.as_ref().is_some_and(|lease| {
                lease.is_in(format!("{before}{line}").as_bytes())
                    && !lease.is_in(before.as_bytes())
                    && !lease.is_in(line.as_bytes())
            })
    }

    /// A fault without the excerpts that it quotes in backticks, where something was lent: they are cut, and half of a secret can't be
    /// told from other text.
    pub(crate) fn unquoted(&self, fault: &str) -> String {
        let hidden = self.0.load();
        if hidden.now.is_none() && !hidden.is_over {
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
    let mut before = Zeroizing::new(String::new());
    let mut say = |line: &[u8]| {
        let line = String::from_utf8_lossy(line);
        let is_completed = redactor.is_completed(&before, line.trim());
        tail.push(if is_completed { "[redacted]".to_owned() } else { redactor.clean(&line) });
        *before = line.trim().chars().take(LINE_BYTES).collect();
    };
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
            say(&line);
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
        say(&line);
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
        text.push_str("half: canary-01\n23456789 it is\n");
        text.push_str("\u{1b}[31mred canary-0123456789\u{202e}\n");
        text.push_str(&"y".repeat(200_000));
        drain(text.as_bytes(), Arc::clone(&tail), Redactor::new(Some(&lease))).await;
        let lines = tail.lines();
        assert_eq!(lines.len(), 64);
        assert_eq!(lines[61], "[redacted]");
        assert_eq!(lines[62], "\\u{1b}[31mred [redacted]\\u{202e}");
        assert_eq!(lines[63].chars().count(), 1025);
        assert_eq!(tail.last(), Some(lines[63].clone()));
    }
}
