//! What can be told by how it looks: keys, tokens, private keys, cards, accounts, addresses and numbers of people. Each by its structure,
//! in time that follows from the length of the text.

use std::{borrow::Cow, ops::Range};

use bailiwick_policy::Shape;
use bailiwick_schemas::number::Exact;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// How often a text is looked at again, as what stands around a mark could come to look like something.
const PASSES: usize = 4;

/// So far a key is looked at before it is known to be one.
const WINDOW: usize = 256;

/// Beginnings of well-known keys, and how many letters and digits follow at least.
const KEYS: [(&str, usize); 30] = [
    ("AKIA", 16),
    ("ASIA", 16),
    ("AIza", 35),
    ("ya29.", 20),
    ("GOCSPX-", 20),
    ("ghp_", 36),
    ("gho_", 36),
    ("ghu_", 36),
    ("ghs_", 36),
    ("ghr_", 36),
    ("github_pat_", 22),
    ("glpat-", 20),
    ("gldt-", 20),
    ("xoxb-", 20),
    ("xoxp-", 20),
    ("xoxa-", 20),
    ("xoxs-", 20),
    ("xapp-", 20),
    ("sk_live_", 16),
    ("rk_live_", 16),
    ("sk_test_", 16),
    ("whsec_", 24),
    ("sk-ant-", 20),
    ("sk-proj-", 20),
    ("npm_", 36),
    ("pypi-AgEIcHlwaS5vcmc", 20),
    ("hvs.", 24),
    ("dop_v1_", 64),
    ("SG.", 40),
    ("shpat_", 32),
];

/// The length of an account number, by the country that it begins with (ISO 13616).
const IBANS: [(&str, usize); 45] = [
    ("AD", 24),
    ("AE", 23),
    ("AT", 20),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BR", 29),
    ("CH", 21),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("EE", 20),
    ("ES", 24),
    ("FI", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IS", 26),
    ("IT", 27),
    ("KW", 30),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MT", 31),
    ("NL", 18),
    ("NO", 15),
    ("PL", 28),
    ("PT", 25),
    ("RO", 24),
    ("SA", 24),
    ("SE", 24),
    ("TR", 26),
];

/// The shapes that are looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shapes(u8);

impl Shapes {
    pub(crate) fn of(shapes: impl Iterator<Item = Shape>) -> Self {
        Self(shapes.fold(0, |all, shape| all | bit(shape)))
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn has(self, shape: Shape) -> bool {
        self.0 & bit(shape) != 0
    }

    /// The text with a mark in the place of each match, and how many there were; none where there is none.
    pub(crate) fn masked(self, text: &str) -> Option<(String, usize)> {
        let (mut masked, mut count): (Cow<'_, str>, usize) = (Cow::Borrowed(text), 0);
        for _ in 0..PASSES {
            let found = self.found(&masked);
            if found.is_empty() {
                return (count > 0).then(|| (masked.into_owned(), count));
            }
            count += found.len();
            masked = Cow::Owned(marked(&masked, &found));
        }
        // INVARIANT: what is told has no match in it. A text that goes on to have some is masked whole.
        Some((MARK.to_owned(), count))
    }

    /// Where they are: in order, and none in another.
    pub(crate) fn found(self, text: &str) -> Vec<(Range<usize>, Shape)> {
        let mut all = Vec::new();
        for shape in Shape::ALL.into_iter().filter(|shape| self.has(*shape)) {
            let find = match shape {
                Shape::Keys => keys,
                Shape::Jwts => jwts,
                Shape::Pems => pems,
                Shape::Cards => cards,
                Shape::Ibans => ibans,
                Shape::Emails => emails,
                Shape::Phones => phones,
            };
            find(text, &mut |range| all.push((range, shape)));
        }
        all.sort_by_key(|(range, _)| (range.start, usize::MAX - range.end));
        let mut end = 0;
        // What overlaps is masked as one.
        let mut apart: Vec<(Range<usize>, Shape)> = Vec::with_capacity(all.len());
        for (range, shape) in all {
            match apart.last_mut() {
                Some((before, _)) if range.start < end => before.end = before.end.max(range.end),
                _ => apart.push((range.clone(), shape)),
            }
            end = end.max(range.end);
        }
        apart
    }

    /// Whether a number is one of them, however it is written: its whole part, whatever its sign.
    pub(crate) fn is_number(self, text: &str) -> bool {
        let digits = || Exact::of(text)?.whole(CARD_DIGITS);
        self.has(Shape::Cards) && digits().is_some_and(|digits| is_card(digits.as_bytes()))
    }
}

/// The most digits of a card.
const CARD_DIGITS: usize = 19;

/// What stands for something that is masked.
pub(crate) const MARK: &str = "[masked]";

const fn bit(shape: Shape) -> u8 {
    1 << shape as u8
}

fn marked(text: &str, found: &[(Range<usize>, Shape)]) -> String {
    let (mut clean, mut at) = (String::with_capacity(text.len()), 0);
    for (range, shape) in found {
        clean.push_str(text.get(at..range.start).unwrap_or_default());
        clean.push_str("[masked:");
        clean.push_str(shape.as_str());
        clean.push(']');
        at = range.end;
    }
    clean.push_str(text.get(at..).unwrap_or_default());
    clean
}

type Found<'f> = &'f mut dyn FnMut(Range<usize>);

fn at(bytes: &[u8], place: usize) -> Option<u8> {
    bytes.get(place).copied()
}

/// Whether what is there goes on with what is before it.
fn follows(bytes: &[u8], start: usize, is_part: fn(u8) -> bool) -> bool {
    start.checked_sub(1).and_then(|before| at(bytes, before)).is_some_and(is_part)
}

fn run(bytes: &[u8], from: usize, is_part: fn(u8) -> bool) -> usize {
    bytes.get(from..).unwrap_or_default().iter().position(|byte| !is_part(*byte)).map_or(bytes.len(), |length| from + length)
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn keys(text: &str, found: Found<'_>) {
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(start) = bytes.get(from..).and_then(|rest| rest.iter().position(|byte| b"AGSgxsrhwnpdy".contains(byte))) {
        let start = from + start;
        from = start + 1;
        if follows(bytes, start, is_alphanumeric) {
            continue;
        }
        let rest = bytes.get(start..).unwrap_or_default();
        let Some((prefix, least)) = KEYS.iter().find(|(prefix, _)| rest.starts_with(prefix.as_bytes())) else { continue };
        let is_part: fn(u8) -> bool = if prefix.ends_with('.') { |byte| is_key(byte) || byte == b'.' } else { is_key };
        // The beginning tells: else a text of nothing but prefixes would be read again from each of them.
        let window = bytes.get(..(start + WINDOW).min(bytes.len())).unwrap_or_default();
        let end = run(window, start + prefix.len(), is_part);
        let body = bytes.get(start + prefix.len()..end).unwrap_or_default();
        let is_upper = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        // Words can begin so: keys have digits or both cases, and of Amazon's all is upper case.
        let is_random = match *prefix {
            "AKIA" | "ASIA" => body.len() == 16 && body.iter().all(is_upper),
            _ => body.iter().any(u8::is_ascii_digit) || (body.iter().any(u8::is_ascii_lowercase) && body.iter().any(is_upper)),
        };
        if body.len() >= *least && is_random {
            let end = run(bytes, end, is_part);
            found(start..end);
            from = end;
        }
    }
}

fn jwts(text: &str, found: Found<'_>) {
    let bytes = text.as_bytes();
    let mut from = 0;
    // `{"` in base64url.
    while let Some(start) = text.get(from..).and_then(|rest| rest.find("eyJ")) {
        let start = from + start;
        from = start + 3;
        if follows(bytes, start, is_key) {
            continue;
        }
        let header = run(bytes, start, is_key);
        from = header;
        let part = |from: usize| {
            if at(bytes, from) != Some(b'.') {
                return None;
            }
            Some(run(bytes, from + 1, is_key))
        };
        let (Some(payload), true) = (part(header), is_header(text.get(start..header).unwrap_or_default())) else { continue };
        // Three parts where it is signed, five where it is encrypted.
        let mut end = part(payload).unwrap_or(payload);
        for _ in 0..2 {
            end = part(end).unwrap_or(end);
        }
        if end > payload {
            found(start..end);
            from = end;
        }
    }
}

/// Whether it says how a token is signed or encrypted.
fn is_header(text: &str) -> bool {
    let decoded = (text.len() <= 8192).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten();
    let header: Option<serde_json::Map<String, serde_json::Value>> =
        decoded.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    header.is_some_and(|header| header.get("alg").is_some_and(serde_json::Value::is_string))
}

fn pems(text: &str, found: Found<'_>) {
    const BEGIN: &str = "-----BEGIN ";
    let mut from = 0;
    while let Some(start) = text.get(from..).and_then(|rest| rest.find(BEGIN)) {
        let start = from + start;
        from = start + BEGIN.len();
        let label = text.get(from..).unwrap_or_default();
        let Some(end) = label.as_bytes().iter().take(64).position(|byte| *byte == b'-') else { continue };
        let label = label.get(..end).unwrap_or_default();
        if !label.ends_with("PRIVATE KEY") && !label.ends_with("PRIVATE KEY BLOCK") {
            continue;
        }
        let close = format!("-----END {label}-----");
        // One that has no end goes on to the end of the text.
        let end = text.get(from..).and_then(|rest| rest.find(&close)).map_or(text.len(), |end| from + end + close.len());
        found(start..end);
        from = end;
    }
}

/// Digits with at most one space or dash between two, from `start` on: the digits, and where each ends.
fn digits(bytes: &[u8], start: usize, most: usize, is_digit: fn(u8) -> bool) -> (Vec<u8>, Vec<usize>) {
    let (mut all, mut ends, mut place) = (Vec::with_capacity(most), Vec::with_capacity(most), start);
    while let Some(byte) = at(bytes, place) {
        if is_digit(byte) {
            all.push(byte);
            ends.push(place + 1);
            if all.len() > most {
                break;
            }
        } else if !matches!(byte, b' ' | b'-') || !at(bytes, place + 1).is_some_and(is_digit) {
            break;
        }
        place += 1;
    }
    (all, ends)
}

fn cards(text: &str, found: Found<'_>) {
    let bytes = text.as_bytes();
    let is_digit: fn(u8) -> bool = |byte| byte.is_ascii_digit();
    let mut from = 0;
    while let Some(start) = bytes.get(from..).and_then(|rest| rest.iter().position(u8::is_ascii_digit)) {
        let start = from + start;
        from = run(bytes, start, is_digit);
        // Not within a word, a longer number, or behind a point: a fraction.
        if follows(bytes, start, |byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.') {
            continue;
        }
        let (all, ends) = digits(bytes, start, CARD_DIGITS, is_digit);
        let is_end = |length: usize| {
            let after = ends.get(length.wrapping_sub(1)).and_then(|end| at(bytes, *end));
            !after.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        let fits = |length: &usize| {
            is_end(*length) && all.get(..*length).is_some_and(is_card) && ends.get(..*length).is_some_and(is_grouped)
        };
        if let Some(end) = (13..=CARD_DIGITS).rev().find(fits).and_then(|length| ends.get(length - 1)) {
            found(start..*end);
            from = *end;
        }
    }
}

/// As cards are written: in one piece, by four digits, or in 4, 6 and the rest. Other numbers with dashes are no cards.
fn is_grouped(ends: &[usize]) -> bool {
    let gaps = ends.iter().zip(ends.iter().skip(1)).enumerate();
    let breaks: Vec<usize> = gaps.filter(|(_, (end, next))| **next > **end + 1).map(|(place, _)| place + 1).collect();
    matches!(breaks.as_slice(), [] | [4, 8 | 10] | [4, 8, 12] | [4, 8, 12, 16])
}

/// Prefix, length and Luhn's check digit (ISO/IEC 7812).
fn is_card(digits: &[u8]) -> bool {
    let number =
        |length: usize| digits.iter().take(length).fold(0_u32, |sum, digit| sum * 10 + u32::from(digit.wrapping_sub(b'0')));
    let is_issued = match digits.len() {
        13 | 19 if number(1) == 4 => true,
        14 => matches!(number(3), 300..=305) || matches!(number(2), 36 | 38 | 39),
        15 => matches!(number(2), 34 | 37),
        16 => {
            number(1) == 4
                || matches!(number(2), 51..=55 | 65)
                || matches!(number(4), 2221..=2720 | 3528..=3589 | 6011)
                || matches!(number(3), 644..=649)
        }
        _ => false,
    };
    let doubled = |digit: u32| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let luhn: u32 = digits
        .iter()
        .rev()
        .map(|digit| u32::from(digit.wrapping_sub(b'0')))
        .enumerate()
        .map(|(place, digit)| if place % 2 == 1 { doubled(digit) } else { digit })
        .sum();
    is_issued && luhn.is_multiple_of(10) && digits.iter().any(|digit| Some(digit) != digits.first())
}

fn ibans(text: &str, found: Found<'_>) {
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(start) = bytes.get(from..).and_then(|rest| rest.iter().position(u8::is_ascii_uppercase)) {
        let start = from + start;
        from = start + 1;
        let rest = bytes.get(start..).unwrap_or_default();
        let is_checked = rest.get(2..4).is_some_and(|check| check.iter().all(u8::is_ascii_digit));
        if !is_checked || follows(bytes, start, is_alphanumeric) {
            continue;
        }
        let Some((_, length)) = IBANS.iter().find(|(country, _)| rest.starts_with(country.as_bytes())) else { continue };
        let (all, ends) = digits(bytes, start, *length, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        let (Some(whole), Some(end)) = (all.get(..*length), ends.get(length - 1)) else { continue };
        if !at(bytes, *end).is_some_and(is_alphanumeric) && is_iban(whole) {
            found(start..*end);
            from = *end;
        }
    }
}

/// ISO 7064, MOD 97-10, with the first four behind the rest.
fn is_iban(whole: &[u8]) -> bool {
    let (head, rest) = whole.split_at(4.min(whole.len()));
    let left = rest.iter().chain(head).fold(0_u32, |sum, byte| match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte - b'0')) % 97,
        _ => (sum * 100 + u32::from(byte.wrapping_sub(b'A')) + 10) % 97,
    });
    left == 1
}

fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&byte) || !byte.is_ascii()
}

fn emails(text: &str, found: Found<'_>) {
    /// The longest local part, and the longest domain (RFC 5321, 4.5.3.1).
    const LOCAL: usize = 64;
    const DOMAIN: usize = 253;
    let bytes = text.as_bytes();
    let (mut from, mut free) = (0, 0);
    while let Some(place) = bytes.get(from..).and_then(|rest| rest.iter().position(|byte| *byte == b'@')) {
        let place = from + place;
        from = place + 1;
        let least = place.saturating_sub(LOCAL).max(free);
        let before = bytes.get(least..place).unwrap_or_default();
        let start = before.iter().rposition(|byte| !is_local(*byte)).map_or(least, |end| least + end + 1);
        // A local part that is longer than it may be is cut at a border of characters.
        let start = (start..place).find(|start| text.is_char_boundary(*start)).unwrap_or(place);
        let window = bytes.get(..(place + 1 + DOMAIN).min(bytes.len())).unwrap_or_default();
        let end = run(window, place + 1, |byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.' || !byte.is_ascii());
        let end = (place..=end).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(place);
        let domain = text.get(place + 1..end).unwrap_or_default().trim_end_matches(['.', '-']);
        let end = place + 1 + domain.len();
        if start < place && is_domain(domain) {
            found(start..end);
            (from, free) = (end, end);
        }
    }
}

/// Two labels at least, the last of which is no number.
fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-');
    let last = domain.rsplit('.').next().unwrap_or_default();
    domain.contains('.')
        && domain.split('.').all(is_label)
        && last.chars().count() >= 2
        && last.chars().all(|c| c.is_alphabetic() || !last.is_ascii())
}

fn phones(text: &str, found: Found<'_>) {
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(start) = bytes.get(from..).and_then(|rest| rest.iter().position(|byte| *byte == b'+')) {
        let start = from + start;
        from = start + 1;
        if follows(bytes, start, |byte| byte.is_ascii_alphanumeric() || byte == b'+') {
            continue;
        }
        let (mut count, mut place, mut end) = (0, start + 1, start + 1);
        while let Some(byte) = at(bytes, place).filter(|_| place < start + 32) {
            match byte {
                b'0'..=b'9' if count == 0 && byte == b'0' => break,
                b'0'..=b'9' => (count, end) = (count + 1, place + 1),
                b' ' | b'-' | b'.' | b'(' | b')' | b'/' if count > 0 => {}
                _ => break,
            }
            place += 1;
        }
        // E.164: a country, and 15 digits at most.
        if (8..=15).contains(&count) && !at(bytes, end).is_some_and(is_alphanumeric) {
            found(start..end);
            from = end;
        }
    }
}

#[cfg(test)]
mod tests;
