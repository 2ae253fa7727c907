//! The events of a response, as far as the gateway uses them: each carries one message.

/// Finds the messages of events in what comes in pieces.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// What came and is not read.
    unread: Vec<u8>,
    /// How much of it was looked through.
    looked: usize,
    /// The data of the event that has not ended.
    data: Option<Vec<u8>>,
}

impl Events {
    /// What came next.
    pub(super) fn feed(&mut self, piece: &[u8]) {
        self.unread.extend_from_slice(piece);
    }

    /// The next message, as one line.
    pub(super) fn next(&mut self) -> Option<String> {
        while let Some(line) = self.line() {
            if line.is_empty() {
                // Data that is no text is no message.
                if let Some(message) = self.data.take().and_then(|data| String::from_utf8(data).ok()) {
                    return Some(message);
                }
            } else if let Some(part) = line.strip_prefix(b"data:") {
                let part = part.strip_prefix(b" ").unwrap_or(part);
                match &mut self.data {
                    None => self.data = Some(part.to_vec()),
                    Some(data) => {
                        // Between the tokens of JSON a line break is nothing but space.
                        data.push(b' ');
                        data.extend_from_slice(part);
                    }
                }
            }
        }
        None
    }

    /// The next whole line, without its end.
    fn line(&mut self) -> Option<Vec<u8>> {
        let rest = self.unread.get(self.looked..).unwrap_or_default();
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            self.looked = self.unread.len();
            return None;
        };
        let mut line: Vec<u8> = self.unread.drain(..=self.looked + end).collect();
        self.looked = 0;
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_a_line_however_it_comes() {
        let text = "event: message\ndata: {\"a\":1}\n\n: still there\n\nid: 7\ndata:\ndata: {\"b\":\ndata:2}\r\n\r\ndata: \u{e4}\n\ndata: half";
        for size in [1, 2, 7, text.len()] {
            let (mut events, mut found) = (Events::default(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                events.feed(piece);
                found.extend(std::iter::from_fn(|| events.next()));
            }
            assert_eq!(found, ["{\"a\":1}", " {\"b\": 2}", "\u{e4}"], "in pieces of {size}");
        }
    }
}
