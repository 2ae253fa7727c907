//! Server-sent events, as far as MCP uses them: strictly bounded, and without copying where an event came in one piece.

use bytes::{Bytes, BytesMut};

/// Reads events out of chunks.
#[derive(Debug)]
pub(crate) struct Events {
    /// What came and is not read.
    chunk: Bytes,
    /// A line of which the end has not come.
    line: BytesMut,
    data: Data,
    /// Whether the event is one that carries a message.
    is_message: bool,
    /// The last line ended with a carriage return: a line feed right after belongs to it.
    after_return: bool,
    is_first: bool,
    most: usize,
}

/// The data of an event.
#[derive(Debug)]
enum Data {
    None,
    Line(Bytes),
    Lines(BytesMut),
}

/// More bytes than an event may have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Events {
    /// Events of at most so many bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            chunk: Bytes::new(),
            line: BytesMut::new(),
            data: Data::None,
            is_message: true,
            after_return: false,
            is_first: true,
            most,
        }
    }

    /// What came next. To be called when there is no further event.
    pub(crate) fn feed(&mut self, chunk: Bytes) {
        self.chunk = chunk;
    }

    /// The data of the next event that carries a message.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, TooLong> {
        while let Some(line) = self.line()? {
            if line.is_empty() {
                let (data, is_message) = (std::mem::replace(&mut self.data, Data::None), self.is_message);
                self.is_message = true;
                match data {
                    Data::Line(data) if is_message && !data.is_empty() => return Ok(Some(data)),
                    Data::Lines(data) if is_message => return Ok(Some(data.freeze())),
                    // An event without data only sets where a stream could be resumed.
                    _ => continue,
                }
            }
            self.take(&line)?;
        }
        Ok(None)
    }

    fn take(&mut self, line: &Bytes) -> Result<(), TooLong> {
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(at) => (line.slice(..at), line.slice(at + 1..)),
            None => (line.clone(), Bytes::new()),
        };
        let value = if value.first() == Some(&b' ') { value.slice(1..) } else { value };
        match field.as_ref() {
            b"data" => self.append(value)?,
            b"event" => self.is_message = value.is_empty() || value.as_ref() == b"message",
            // Comments, `id`, `retry`, and whatever else.
            _ => {}
        }
        Ok(())
    }

    fn append(&mut self, value: Bytes) -> Result<(), TooLong> {
        self.data = match std::mem::replace(&mut self.data, Data::None) {
            Data::None => Data::Line(value),
            Data::Line(first) => Data::Lines(joined(BytesMut::from(first), &value)),
            Data::Lines(lines) => Data::Lines(joined(lines, &value)),
        };
        match &self.data {
            Data::Lines(lines) if lines.len() > self.most => Err(TooLong),
            _ => Ok(()),
        }
    }

    /// The next whole line, without its end.
    fn line(&mut self) -> Result<Option<Bytes>, TooLong> {
        if self.after_return && !self.chunk.is_empty() {
            self.after_return = false;
            if self.chunk.first() == Some(&b'\n') {
                self.chunk = self.chunk.slice(1..);
            }
        }
        // A field's name and its colon come on top of what it holds.
        let most = self.most.saturating_add(16);
        let Some(at) = self.chunk.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            if self.line.len().saturating_add(self.chunk.len()) > most {
                return Err(TooLong);
            }
            self.line.extend_from_slice(&self.chunk);
            self.chunk = Bytes::new();
            return Ok(None);
        };
        if self.line.len().saturating_add(at) > most {
            return Err(TooLong);
        }
        self.after_return = self.chunk.get(at) == Some(&b'\r');
        let part = self.chunk.slice(..at);
        self.chunk = self.chunk.slice(at + 1..);
        let line = if self.line.is_empty() {
            part
        } else {
            self.line.extend_from_slice(&part);
            std::mem::take(&mut self.line).freeze()
        };
        let is_first = std::mem::replace(&mut self.is_first, false);
        let marked = is_first && line.starts_with(b"\xef\xbb\xbf");
        Ok(Some(if marked { line.slice(3..) } else { line }))
    }
}

fn joined(mut lines: BytesMut, more: &Bytes) -> BytesMut {
    lines.extend_from_slice(b"\n");
    lines.extend_from_slice(more);
    lines
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn read(chunks: &[&[u8]], most: usize) -> Result<Vec<String>, TooLong> {
        let (mut events, mut seen) = (Events::new(most), Vec::new());
        for chunk in chunks {
            events.feed(Bytes::copy_from_slice(chunk));
            while let Some(data) = events.next()? {
                seen.push(String::from_utf8(data.to_vec()).unwrap());
            }
        }
        Ok(seen)
    }

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let stream = b"\xef\xbb\xbf: hello\r\nid: 7\r\ndata:\r\n\r\nevent: message\r\ndata: {\"a\":1}\r\n\r\nevent: ping\ndata: x\n\ndata:{\ndata:}\n\nretry: 5\rdata: last\r\rdata: half";
        let expected = ["{\"a\":1}", "{\n}", "last"];
        assert_eq!(read(&[stream], 100).unwrap(), expected);
        for at in 0..stream.len() {
            let (one, two) = stream.split_at(at);
            assert_eq!(read(&[one, two], 100).unwrap(), expected, "cut at {at}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(read(&bytes, 100).unwrap(), expected);
    }

    #[test]
    fn an_event_in_one_piece_is_not_copied() {
        let chunk = Bytes::from_static(b"event: message\ndata: {\"a\":1}\n\n");
        let mut events = Events::new(100);
        events.feed(chunk.clone());
        let data = events.next().unwrap().unwrap();
        assert!(chunk.as_ptr_range().contains(&data.as_ptr()));
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_whole() {
        assert_eq!(read(&[b"data: ", &[b'x'; 60], &[b'x'; 60]], 100), Err(TooLong));
        let line = format!("data: {}\n", "x".repeat(40));
        assert_eq!(read(&[line.as_bytes(), line.as_bytes(), line.as_bytes()], 100), Err(TooLong));
        assert_eq!(read(&[b"junk: ", &[b'x'; 200]], 100), Err(TooLong));
    }
}
