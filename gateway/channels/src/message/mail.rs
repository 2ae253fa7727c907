//! Messages for the mail program of this machine (RFC 5322), which adds what only it knows: date, route and envelope.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::Message;

/// Bytes of an encoded word before it is encoded: with its frame it has at most 75 characters (RFC 2047, 2).
const WORD: usize = 42;
/// Bytes of a line before it is encoded: 76 characters (RFC 2045, 6.8).
const LINE: usize = 57;

/// The message, whole. `id` is the same at every try.
pub(crate) fn mail(message: &Message, id: &str, from: &str, to: &[String]) -> Vec<u8> {
    let mut text = String::new();
    let _ = write!(text, "From: {from}\r\nTo: {}\r\n", to.join(",\r\n "));
    let _ = write!(text, "Subject: {}\r\n", header(&message.title));
    let _ = write!(text, "Message-ID: <{id}@bailiwick.invalid>\r\nAuto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n");
    text.push_str("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n");
    let says = format!("{}\n\n{}\n\n{}\n", message.title, message.lines(), message.link);
    for line in says.replace('\n', "\r\n").as_bytes().chunks(LINE) {
        text.push_str(&STANDARD.encode(line));
        text.push_str("\r\n");
    }
    text.into_bytes()
}

/// Text as a header has it: words of base64 where it is not plain, or long.
fn header(text: &str) -> String {
    if text.len() <= 60 && text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && !text.contains("=?") {
        return text.to_owned();
    }
    let mut words = vec![String::new()];
    for c in text.chars() {
        let is_full = words.last().is_none_or(|word| word.len() + c.len_utf8() > WORD);
        if is_full {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    words.iter().map(|word| format!("=?UTF-8?B?{}?=", STANDARD.encode(word))).collect::<Vec<_>>().join("\r\n ")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::{super::tests, *};
    use crate::event::{About, EventKind};

    #[test]
    fn a_mail_has_short_lines_and_no_header_that_somebody_else_wrote() {
        let mut event = tests::event(EventKind::Requested);
        let About::Question(asked) = &mut event.about else { unreachable!("it is about a question") };
        asked.tool = format!("x\r\nBcc: all@example.com {}", "ü".repeat(80));
        let message = Message::of(&event, &tests::page(), 0);
        let to = ["a@example.com".to_owned(), "b@example.com".to_owned()];
        let text = String::from_utf8(mail(&message, "evt_1", "gate@example.com", &to)).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains("Bcc"), "{head}");
        assert!(head.lines().all(|line| line.len() <= 78), "{head}");
        assert!(head.contains("To: a@example.com,\r\n b@example.com\r\n"), "{head}");
        assert!(body.lines().all(|line| line.len() <= 76), "{body}");
        let said = STANDARD.decode(body.replace("\r\n", "")).unwrap();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains(r"x\u{d}\u{a}Bcc") && said.contains("http://localhost:8932/a/apr-"), "{said}");
    }

    #[test]
    fn a_long_subject_is_cut_between_characters() {
        let words = header(&"ü".repeat(100));
        for word in words.split("\r\n ") {
            assert!(word.len() <= 75, "{word}");
            let encoded = word.strip_prefix("=?UTF-8?B?").and_then(|word| word.strip_suffix("?=")).unwrap();
            assert!(String::from_utf8(STANDARD.decode(encoded).unwrap()).is_ok(), "{word}");
        }
        assert_eq!(header("plain (high)"), "plain (high)");
    }
}
