//! Undoes what a text was written down in, as far as it takes to look into it.

/// What it costs to look at a text, in bytes that may still be undone. Who asks for more is looked at no further, and that counts as found.
pub(super) struct Budget(usize);

impl Budget {
    /// For a text of this length.
    pub(super) fn of(len: usize) -> Self {
        Self(len.saturating_mul(16).saturating_add(64 * 1024))
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
    const LONG: usize = 64 * 1024;

    /// What it can stand for: it may begin in the midst of other text.
    pub(super) fn read(&self) -> impl Iterator<Item = Vec<u8>> {
        let starts = if self.0.len() < Self::LONG { 4 } else { 1 };
        (0..starts).filter_map(|start| self.0.get(start..)).map(from_base64)
    }

    /// What it stands for as a hexadecimal number, if it can be one.
    pub(super) fn as_hex(&self) -> Option<Vec<u8>> {
        let value = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let pair = |pair: &[u8]| match pair {
            [high, low] => Some((value(high)? << 4) | value(low)?),
            // An odd one at the end is nobody's.
            _ => Some(0),
        };
        self.0.chunks(2).map(pair).collect()
    }
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

/// The text with `%41` and `&#x41;` undone, where there is any of it.
pub(super) fn unquoted(text: &[u8]) -> Option<Vec<u8>> {
    let first = text.windows(2).position(|two| matches!(two, [b'%', digit] if digit.is_ascii_hexdigit()) || two == b"&#")?;
    let (mut out, mut is_changed) = (Vec::with_capacity(text.len()), false);
    out.extend_from_slice(text.get(..first)?);
    let mut rest = text.get(first..)?;
    loop {
        rest = match rest {
            [] => break,
            [b'%', a, b, left @ ..] if number(&[*a, *b], 16).is_some() => {
                is_changed = true;
                out.extend(number(&[*a, *b], 16).and_then(|byte| u8::try_from(byte).ok()));
                left
            }
            [b'&', b'#', left @ ..] => {
                if let Some((c, left)) = entity(left) {
                    is_changed = true;
                    push(&mut out, c);
                    left
                } else {
                    out.extend_from_slice(b"&#");
                    left
                }
            }
            [byte, left @ ..] => {
                out.push(*byte);
                left
            }
        };
    }
    is_changed.then_some(out)
}

/// The character of `x41;` or `65;`, and what follows it.
fn entity(text: &[u8]) -> Option<(u32, &[u8])> {
    let end = text.iter().take(9).position(|byte| *byte == b';')?;
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
        assert_eq!(runs(b"666f6F", 4).next().unwrap().as_hex().unwrap(), b"foo");
        assert_eq!(unescaped(br#"a\u0062\/\n\"\x63"#).unwrap(), br#"ab/"c"#);
        assert_eq!(unescaped(b"ab\ncd\r\nef").unwrap(), b"abcdef");
        assert_eq!(unescaped(b"plain"), None);
        assert_eq!(unquoted(b"a%62&#99;&#x64;%zz&#;&").unwrap(), b"abcd%zz&#;&");
        assert_eq!(unquoted(b"100% of it"), None);
    }
}
