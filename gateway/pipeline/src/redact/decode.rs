//! Undoes what a text was written down in, as far as it takes to look into it.

/// What it costs to look at a text, in bytes that may still be undone. Who asks for more is looked at no further, and that counts as found.
pub(super) struct Budget(usize);

impl Budget {
    /// For a text of this length.
    pub(super) fn of(len: usize) -> Self {
        Self(len.saturating_mul(24).saturating_add(64 * 1024))
    }

    /// Whether that much is left; then it is spent.
    pub(super) fn takes(&mut self, bytes: usize) -> bool {
        let left = self.0.checked_sub(bytes);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }
}

/// A long run of digits of base64, of either alphabet.
pub(super) struct Run<'t>(pub(super) &'t [u8]);

/// The runs that have at least this many digits. Most of a text is skipped.
pub(super) fn runs(text: &[u8], least: usize) -> impl Iterator<Item = Run<'_>> {
    let least = least.max(1);
    let is_digit = |at: usize| text.get(at).is_some_and(|byte| digit(*byte).is_some());
    // INVARIANT: no run has begun before `from`.
    let mut from = 0_usize;
    std::iter::from_fn(move || {
        loop {
            let until = from.checked_add(least - 1)?;
            if until >= text.len() {
                return None;
            }
            // The last place of those that a run here would need, backwards: one that is none rules out all before it.
            if let Some(none) = (from..=until).rev().find(|at| !is_digit(*at)) {
                from = none + 1;
            } else {
                let end = (until..text.len()).find(|at| !is_digit(*at)).unwrap_or(text.len());
                let run = text.get(from..end)?;
                from = end;
                return Some(Run(run));
            }
        }
    })
}

impl Run<'_> {
    /// Runs of this length and more are read from their beginning alone.
    const LONG: usize = 1024 * 1024;

    /// What it can stand for: it may begin in the midst of other text.
    pub(super) fn read(&self) -> impl Iterator<Item = Vec<u8>> {
        let starts = if self.0.len() < Self::LONG { 4 } else { 1 };
        (0..starts).filter_map(|start| self.0.get(start..)).map(from_base64)
    }

    /// What those of its parts stand for that can be hexadecimal numbers of at least this many digits: each may begin in the midst of others.
    pub(super) fn as_hex(&self, least: usize) -> impl Iterator<Item = Vec<u8>> {
        let parts = self.0.split(|byte| !byte.is_ascii_hexdigit()).filter(move |part| part.len() >= least.max(2));
        parts.flat_map(|part| [Some(part), part.get(1..)]).flatten().map(from_hex)
    }
}

fn from_hex(digits: &[u8]) -> Vec<u8> {
    let value = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or_default();
    // An odd one at the end is nobody's.
    digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| (byte << 4) | value(*digit))).collect()
}

fn from_base64(digits: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 3);
    for four in digits.chunks(4) {
        let held = four.iter().fold(0_u32, |held, byte| (held << 6) | u32::from(digit(*byte).unwrap_or(0)));
        let held = held << (6 * (4 - four.len()));
        let [_, first, second, third] = held.to_be_bytes();
        let read = [first, second, third];
        bytes.extend_from_slice(read.get(..four.len() * 6 / 8).unwrap_or_default());
    }
    bytes
}

const DIGITS: [u8; 256] = digits();

/// The digits of both alphabets (RFC 4648, 4 and 5).
const fn digits() -> [u8; 256] {
    let mut table = [u8::MAX; 256];
    let (mut at, standard) = (0_u8, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    while at < 64 {
        #[expect(clippy::indexing_slicing, reason = "evaluated when it is compiled")]
        {
            table[standard[at as usize] as usize] = at;
        }
        at += 1;
    }
    #[expect(clippy::indexing_slicing, reason = "evaluated when it is compiled")]
    {
        table[b'-' as usize] = 62;
        table[b'_' as usize] = 63;
    }
    table
}

fn digit(byte: u8) -> Option<u8> {
    DIGITS.get(usize::from(byte)).copied().filter(|digit| *digit != u8::MAX)
}

/// The text with escapes as in JSON undone, and its lines joined; none where there are none. What is no escape stays.
pub(super) fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let is_marked = |byte: &u8| matches!(byte, b'\\' | b'\n' | b'\r' | b'\t');
    let first = text.iter().position(is_marked)?;
    let mut clean = Vec::with_capacity(text.len());
    clean.extend_from_slice(text.get(..first)?);
    let mut rest = text.get(first..)?;
    loop {
        rest = match rest {
            [] => return Some(clean),
            [b'\\', b'u' | b'U', a, b, c, d, left @ ..] if number(&[*a, *b, *c, *d], 16).is_some() => {
                let unit = number(&[*a, *b, *c, *d], 16).unwrap_or_default();
                push(&mut clean, unit);
                left
            }
            [b'\\', b'x', a, b, left @ ..] if number(&[*a, *b], 16).is_some() => {
                push(&mut clean, number(&[*a, *b], 16).unwrap_or_default());
                left
            }
            [b'\\', b'n' | b'r' | b't' | b'b' | b'f', left @ ..] | [b'\n' | b'\r' | b'\t', left @ ..] => left,
            [b'\\', left @ ..] => match left {
                // What it stands before stands for itself.
                [other, left @ ..] => {
                    clean.push(*other);
                    left
                }
                [] => left,
            },
            _ => {
                let end = rest.iter().position(is_marked).unwrap_or(rest.len());
                clean.extend_from_slice(rest.get(..end).unwrap_or_default());
                rest.get(end..).unwrap_or_default()
            }
        };
    }
}

/// The names of characters that may not stand for themselves in a page (HTML, 13.5).
const NAMED: [(&[u8], u8); 5] = [(b"amp;", b'&'), (b"lt;", b'<'), (b"gt;", b'>'), (b"quot;", b'"'), (b"apos;", b'\'')];

/// The text with `%41`, `&#x41;` and `&amp;` undone, where there is any of it; else with `=41` and the ends of lines as in mails undone (RFC
/// 2045, section 6.7), where there is any of that.
pub(super) fn unquoted(text: &[u8]) -> Option<Vec<u8>> {
    undone(text, |text| match text {
        [b'%', a, b, left @ ..] => Some((Some(number(&[*a, *b], 16)?), left)),
        [b'&', b'#', left @ ..] => entity(left).map(|(c, left)| (Some(c), left)),
        [b'&', left @ ..] => NAMED.iter().find_map(|(name, c)| left.strip_prefix(*name).map(|left| (Some(u32::from(*c)), left))),
        _ => None,
    })
    .or_else(|| {
        undone(text, |text| match text {
            // As it is, and as it is escaped in JSON.
            [b'=', b'\r', b'\n', left @ ..]
            | [b'=', b'\n', left @ ..]
            | [b'=', b'\\', b'r', b'\\', b'n', left @ ..]
            | [b'=', b'\\', b'n', left @ ..] => Some((None, left)),
            [b'=', a, b, left @ ..] => Some((Some(number(&[*a, *b], 16)?), left)),
            _ => None,
        })
    })
}

/// The text with what `read` reads replaced by what that stands for; none where there is none.
fn undone<'t>(text: &'t [u8], read: impl Fn(&'t [u8]) -> Option<(Option<u32>, &'t [u8])>) -> Option<Vec<u8>> {
    let mut out: Option<Vec<u8>> = None;
    // INVARIANT: what stands before `kept` is in `out` already.
    let (mut kept, mut rest) = (text, text);
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'%' | b'&' | b'=')) {
        rest = rest.get(at..)?;
        let Some((c, left)) = read(rest) else {
            rest = rest.get(1..)?;
            continue;
        };
        let out = out.get_or_insert_with(|| Vec::with_capacity(text.len()));
        out.extend_from_slice(kept.get(..kept.len() - rest.len())?);
        match c {
            // A page names characters, the others bytes.
            Some(c) if rest.starts_with(b"&") => push(out, c),
            Some(byte) => out.extend(u8::try_from(byte)),
            None => {}
        }
        (kept, rest) = (left, left);
    }
    out.map(|mut out| {
        out.extend_from_slice(kept);
        out
    })
}

/// The character of `x41;` or `65;`, and what follows it.
fn entity(text: &[u8]) -> Option<(u32, &[u8])> {
    let end = text.iter().take(32).position(|byte| *byte == b';')?;
    let (digits, left) = (text.get(..end)?, text.get(end + 1..)?);
    let c = match digits {
        [b'x' | b'X', digits @ ..] => number(digits, 16)?,
        digits => number(digits, 10)?,
    };
    Some((c, left))
}

fn number(digits: &[u8], base: u32) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u32, |value, byte| value.checked_mul(base)?.checked_add(char::from(*byte).to_digit(base)?))
}

fn push(text: &mut Vec<u8>, c: u32) {
    let c = char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER);
    text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn long_runs_are_found_and_short_ones_are_not() {
        let found = |text: &'static str| {
            runs(text.as_bytes(), 5).map(|run| String::from_utf8(run.0.to_vec()).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(found("abcd abcde.abcdefgh,a"), ["abcde", "abcdefgh"]);
        assert_eq!(found("abcde"), ["abcde"]);
        assert_eq!(found("a+/-_="), ["a+/-_"]);
        assert!(found("").is_empty() && found("abcd").is_empty() && found("a b c d e f").is_empty());
    }

    #[test]
    fn what_was_written_is_read() {
        let read = |text: &[u8]| runs(text, 4).next().unwrap().read().collect::<Vec<_>>();
        assert_eq!(read(b"Zm9vYmFy").first().unwrap(), b"foobar");
        assert_eq!(read(b"Zm9vYg==").first().unwrap(), b"foob");
        assert_eq!(read(b"xZm9vYmFy").get(1).unwrap(), b"foobar");
        let hex = |text| runs(text, 4).next().unwrap().as_hex(4).collect::<Vec<_>>();
        assert_eq!(hex(b"666f6F"), [b"foo".to_vec(), b"f\xf6".to_vec()]);
        assert_eq!(hex(b"xyz666f6Fxyz").first().unwrap(), b"foo");
        assert_eq!(unescaped(br#"a\u0062\/\n\"\x63"#).unwrap(), br#"ab/"c"#);
        assert_eq!(unescaped(b"ab\ncd\r\nef").unwrap(), b"abcdef");
        assert_eq!(unescaped(b"plain"), None);
        assert_eq!(unquoted(b"a%62&#99;&#x64;%zz&#;&").unwrap(), b"abcd%zz&#;&");
        assert_eq!(unquoted(b"100% of it"), None);
        assert_eq!(unquoted(b"a&amp;b&lt;&LT;=41").unwrap(), b"a&b<&LT;=41");
        assert_eq!(unquoted(b"a=3Db=E2=82=AC=").unwrap(), b"a=b\xe2\x82\xac=");
        assert_eq!(unquoted(b"a=b&c=d"), None);
    }
}
