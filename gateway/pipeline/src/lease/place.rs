//! What stands around a part of a credential in a template, and what the part may therefore be: one that is more than was meant would have its
//! server read another address, another member, another line.

use std::net::Ipv6Addr;

use zeroize::Zeroizing;

use super::Piece;

/// Where a part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Alone on its line: it may be anything.
    Alone,
    /// Beside other text: it has to stay on its line.
    Line,
    /// Behind a `=` among other words, as in `host=db password={password}`: it has to stay one word.
    Word,
    /// Between two of these quotes.
    Quoted(char),
    /// In a URL: it is written as one has to be there (RFC 3986, section 2.1).
    Url,
}

/// The text that a part becomes.
pub(super) enum Fitted<'a> {
    /// As it is.
    Whole(&'a str),
    /// In another spelling.
    Spelled(Zeroizing<String>),
}

impl Fitted<'_> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Whole(text) => text,
            Self::Spelled(text) => text.as_str(),
        }
    }
}

impl Place {
    /// The place of the part at this index.
    pub(super) fn at(pieces: &[Piece], index: usize) -> Self {
        let text = |pieces: &[Piece]| -> String {
            // What stands for a part is no blank, and no quote.
            let one = |piece: &Piece| if let Piece::Text(text) = piece { text.clone() } else { "\u{1}".to_owned() };
            pieces.iter().map(one).collect()
        };
        let before = text(pieces.get(..index).unwrap_or_default());
        let after = text(pieces.get(index + 1..).unwrap_or_default());
        let before = before.rsplit(['\n', '\r']).next().unwrap_or_default();
        let after = after.split(['\n', '\r']).next().unwrap_or_default();
        let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>');
        if before.rsplit(is_end).next().is_some_and(|word| word.contains("://")) {
            return Self::Url;
        }
        for quote in ['"', '\''] {
            if before.matches(quote).count() % 2 == 1 {
                return Self::Quoted(quote);
            }
        }
        let has_words = before.contains(char::is_whitespace) || after.contains(char::is_whitespace);
        match (before.ends_with('=') && has_words, before.is_empty() && after.is_empty()) {
            (true, _) => Self::Word,
            (false, true) => Self::Alone,
            (false, false) => Self::Line,
        }
    }

    /// This part as it stands there; else what it would have to be without.
    pub(super) fn fit(self, part: &str) -> Result<Fitted<'_>, &'static str> {
        let is_line = |c: char| c == '\n' || c == '\r';
        match self {
            Self::Url => return Ok(spelled(part)),
            Self::Line if part.contains(is_line) => return Err("line breaks"),
            Self::Word if part.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '\'' | '"' | '\\')) => {
                return Err("blanks, quotes and `\\`");
            }
            Self::Quoted(quote) if part.contains(|c: char| c == quote || c == '\\' || c.is_control()) => {
                return Err("quotes, `\\` and control characters");
            }
            Self::Alone | Self::Line | Self::Word | Self::Quoted(_) => {}
        }
        Ok(Fitted::Whole(part))
    }
}

fn spelled(part: &str) -> Fitted<'_> {
    let is_kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let is_host = part.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
    if is_host || part.bytes().all(is_kept) {
        return Fitted::Whole(part);
    }
    // In one piece of the right size: a buffer that grew would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(part.len() * 3));
    for byte in part.bytes() {
        if is_kept(byte) {
            text.push(char::from(byte));
        } else {
            let digit = |four: u8| char::from_digit(four.into(), 16).unwrap_or('0').to_ascii_uppercase();
            text.push('%');
            text.push(digit(byte >> 4));
            text.push(digit(byte & 15));
        }
    }
    Fitted::Spelled(text)
}
