//! Spans of time, as they are typed and shown.

use std::str::FromStr;

/// A span of time, typed with a unit: `45s`, `10m`, `8h`, `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    millis: u64,
}

/// The text is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time: write a number and one of s, m, h, d, as in `8h`")]
pub struct SpanFault(String);

/// The units with their milliseconds, largest first.
const UNITS: [(char, u64); 4] = [('d', 86_400_000), ('h', 3_600_000), ('m', 60_000), ('s', 1000)];

impl Span {
    /// In milliseconds.
    pub fn as_millis(self) -> u64 {
        self.millis
    }
}

impl FromStr for Span {
    type Err = SpanFault;

    fn from_str(text: &str) -> Result<Self, SpanFault> {
        let fault = || SpanFault(text.chars().take(20).collect());
        let unit = text.chars().last().ok_or_else(fault)?;
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(fault)?;
        let number: u64 = text.strip_suffix(unit).and_then(|number| number.parse().ok()).ok_or_else(fault)?;
        let millis = number.checked_mul(*factor).filter(|millis| *millis > 0).ok_or_else(fault)?;
        Ok(Self { millis })
    }
}

/// A span of milliseconds in its two largest units: `7h 59m`, `12s`.
pub(super) fn span(millis: u64) -> String {
    let mut left = millis;
    let mut parts = Vec::new();
    for (name, factor) in UNITS {
        let count = left / factor;
        left %= factor;
        if count > 0 {
            parts.push(format!("{count}{name}"));
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// A moment as seen from now: `in 7h 59m`, `12s ago`.
pub(super) fn from_now(at_ms: u64, now_ms: u64) -> String {
    match at_ms.checked_sub(now_ms) {
        Some(left) if left > 0 => format!("in {}", span(left)),
        _ => format!("{} ago", span(now_ms.saturating_sub(at_ms))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_with_their_unit() {
        assert_eq!("8h".parse::<Span>().map(Span::as_millis), Ok(28_800_000));
        assert_eq!("30d".parse::<Span>().map(Span::as_millis), Ok(2_592_000_000));
        for text in ["", "8", "h", "8 h", "-1h", "0s", "8w", "1h30m", "99999999999999999999d", "8ä"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn spans_are_shown_in_two_units() {
        for (millis, text) in [
            (0, "0s"),
            (999, "0s"),
            (12_000, "12s"),
            (60_000, "1m"),
            (28_799_000, "7h 59m"),
            (90_061_000, "1d 1h"),
            (86_460_000, "1d"),
        ] {
            assert_eq!(span(millis), text);
        }
        assert_eq!(from_now(5000, 1000), "in 4s");
        assert_eq!(from_now(1000, 13_000), "12s ago");
    }
}
