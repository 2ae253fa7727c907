//! Lines of input, none of which can fill the memory.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

/// The longest line, bytes.
pub(super) const LONGEST: usize = 4 * 1024 * 1024;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// A line, without its end.
    Line(String),
    /// A line that is too long; it was skipped.
    TooLong,
    /// A line that is not UTF-8; it was skipped.
    NotText,
    /// There is nothing more.
    End,
}

/// Reads line by line. Cancelling [`Lines::next`] loses nothing: what was read is kept.
pub(super) struct Lines<R> {
    input: R,
    line: Vec<u8>,
    is_too_long: bool,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// The lines of this input.
    pub(super) fn new(input: R) -> Self {
        Self { input, line: Vec::new(), is_too_long: false }
    }

    /// The next line that isn't empty. One that is no UTF-8 is not carried: nothing in it can be told for certain.
    pub(super) async fn next(&mut self) -> io::Result<Read> {
        loop {
            let available = self.input.fill_buf().await?;
            let end = available.iter().position(|byte| *byte == b'\n');
            let (part, used) = match end {
                Some(end) => (available.get(..end).unwrap_or_default(), end + 1),
                None => (available, available.len()),
            };
            let is_last = used == 0;
            if self.line.len() + part.len() > LONGEST {
                self.is_too_long = true;
                self.line.clear();
            }
            if !self.is_too_long {
                self.line.extend_from_slice(part);
            }
            self.input.consume(used);
            if end.is_none() && !is_last {
                continue;
            }
            if std::mem::take(&mut self.is_too_long) {
                self.line.clear();
                return Ok(Read::TooLong);
            }
            let line = std::mem::take(&mut self.line);
            if line.iter().any(|byte| !byte.is_ascii_whitespace()) {
                return Ok(String::from_utf8(line).map_or(Read::NotText, Read::Line));
            }
            if is_last {
                return Ok(Read::End);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    async fn all(input: &[u8]) -> Vec<Read> {
        let mut lines = Lines::new(tokio::io::BufReader::with_capacity(7, input));
        let mut found = Vec::new();
        loop {
            let read = lines.next().await.unwrap();
            let is_end = read == Read::End;
            found.push(read);
            if is_end {
                return found;
            }
        }
    }

    fn line(text: &str) -> Read {
        Read::Line(text.to_owned())
    }

    #[tokio::test]
    async fn lines_are_whole_and_empty_ones_nothing() {
        assert_eq!(
            all(b"{\"a\":1}\r\n\n  \nlast, longer than the buffer").await,
            [line("{\"a\":1}\r"), line("last, longer than the buffer"), Read::End]
        );
        assert_eq!(all(b"").await, [Read::End]);
        assert_eq!(all(b"\xff\n").await, [Read::NotText, Read::End]);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_skipped_alone() {
        let mut input = vec![b'x'; LONGEST + 1];
        input.extend_from_slice(b"\nnext\n");
        input.extend(vec![b'y'; LONGEST]);
        let read = all(&input).await;
        assert_eq!(read.first(), Some(&Read::TooLong));
        assert_eq!(read.get(1), Some(&line("next")));
        assert!(matches!(read.get(2), Some(Read::Line(line)) if line.len() == LONGEST));
    }
}
