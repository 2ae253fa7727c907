//! Looks at what a server asks for before anything is said to it.

use std::io;

/// So many bytes of a message say what it is: its kind, its length, and of what is about a login, what of it.
const HEAD: usize = 9;

/// The server asks for the password as it is (`AuthenticationCleartextPassword`).
const IN_THE_CLEAR: u32 = 3;

/// The login is over (`AuthenticationOk`).
const LET_IN: u32 = 0;

/// Reads along while the gateway logs in, where nothing keeps others from listening, or from being the server.
#[derive(Default)]
pub(super) struct Wary {
    head: Vec<u8>,
    /// So many bytes of the message are left.
    rest: usize,
    is_over: bool,
}

impl Wary {
    /// Looks at these. Fails where the server would have the password itself.
    pub(super) fn look(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut bytes = bytes;
        while !self.is_over && !bytes.is_empty() {
            let skipped = self.rest.min(bytes.len());
            self.rest -= skipped;
            let (head, rest) = bytes.split_at(skipped).1.split_at_checked(HEAD - self.head.len()).unwrap_or((&[], &[]));
            if head.is_empty() {
                self.head.extend_from_slice(bytes.split_at(skipped).1);
                return Ok(());
            }
            self.head.extend_from_slice(head);
            bytes = rest;
            self.judge()?;
        }
        Ok(())
    }

    fn judge(&mut self) -> io::Result<()> {
        let number = |at: usize| {
            let bytes = self.head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map_or(0, u32::from_be_bytes)
        };
        let (is_login, length, what) = (self.head.first() == Some(&b'R'), number(1), number(5));
        if is_login && what == IN_THE_CLEAR {
            let why = "it asks for the password in the clear, and there is no TLS: set `roots`, or let the user log in by SCRAM";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        // What is shorter than its head is no message of PostgreSQL's: whoever reads it says so.
        self.is_over = (is_login && what == LET_IN) || length < 8;
        self.rest = usize::try_from(length.saturating_sub(8)).unwrap_or(usize::MAX);
        self.head.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::Wary;

    fn message(kind: u8, code: u32, more: &[u8]) -> Vec<u8> {
        let length = u32::try_from(8 + more.len()).unwrap();
        [&[kind][..], &length.to_be_bytes(), &code.to_be_bytes(), more].concat()
    }

    #[test]
    fn a_password_that_is_asked_for_as_it_is_is_found_wherever_the_bytes_are_parted() {
        let told = message(b'N', 0, b"something else");
        let clear = [told.as_slice(), &message(b'R', 3, &[])].concat();
        let fine = [told.as_slice(), &message(b'R', 10, b"SCRAM-SHA-256\0\0"), &message(b'R', 0, &[]), &message(b'R', 3, &[])];
        let fine = fine.concat();
        for at in 1..=clear.len() {
            let look = |bytes: &[u8]| {
                let mut wary = Wary::default();
                bytes.chunks(at).try_for_each(|piece| wary.look(piece))
            };
            assert!(look(&clear).is_err(), "in pieces of {at}");
            // What comes after the login is no business of its.
            assert!(look(&fine).is_ok(), "in pieces of {at}");
        }
        assert!(Wary::default().look(b"HTTP/1.1 200 OK\r\n").is_ok());
        assert!(Wary::default().look(&[0; 64]).is_ok());
    }
}
