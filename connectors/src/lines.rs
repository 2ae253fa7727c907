//! Lines of bounded length.

use bytes::Bytes;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// What was read.
#[derive(Debug)]
pub(crate) enum Line {
    /// A line, without its end.
    Text(Bytes),
    /// More bytes than a line may have.
    TooLong,
    /// Nothing more will come.
    End,
}

/// Reads one line of at most `most` bytes; never keeps more than that. A last line without end is dropped: it is half a line.
pub(crate) async fn read_line<R: AsyncBufRead + Unpin>(from: &mut R, most: usize) -> std::io::Result<Line> {
    let mut line = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    from.take(limit).read_until(b'\n', &mut line).await?;
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        return Ok(Line::Text(Bytes::from(line)));
    }
    Ok(if line.len() > most { Line::TooLong } else { Line::End })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn lines_are_cut_at_their_ends_and_bounded() {
        let mut from: &[u8] = b"one\r\n\n12345678\n123456789";
        let mut seen = Vec::new();
        loop {
            match read_line(&mut from, 8).await.unwrap() {
                Line::Text(text) => seen.push(String::from_utf8(text.to_vec()).unwrap()),
                Line::TooLong => seen.push("<long>".to_owned()),
                Line::End => break,
            }
        }
        assert_eq!(seen, ["one", "", "12345678", "<long>"]);
    }
}
