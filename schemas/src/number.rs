//! The value of a JSON number, whatever its size and however it is written.

/// A number by its value: `1`, `1.0` and `10e-1` are the same one, and no two numbers that differ are.
///
/// What is beyond ten to the power of ±2⁶² is only told by its sign and whether it is large or small: nobody reckons with that.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Exact {
    /// Whether it is below zero.
    pub is_negative: bool,
    /// Its digits without zeros before and behind them; none for zero.
    pub digits: String,
    /// The power of ten by which they are multiplied as a whole number.
    pub power: i64,
}

impl Exact {
    /// The number that a JSON text says; none where it says none.
    pub fn of(text: &str) -> Option<Self> {
        let (is_negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let written = format!("{whole}{fraction}");
        let is_number = !whole.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit());
        let power = is_number.then(|| power_of(exponent)).flatten()?;
        let digits = written.trim_end_matches('0');
        let behind = i64::try_from(written.len() - digits.len()).ok()? - i64::try_from(fraction.len()).ok()?;
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() {
            return Some(Self { is_negative: false, digits: String::new(), power: 0 });
        }
        match power.checked_add(behind) {
            Some(power) if power.unsigned_abs() < 1 << 62 => Some(Self { is_negative, digits: digits.to_owned(), power }),
            beyond => {
                let is_large = beyond.unwrap_or(power) > 0;
                Some(Self { is_negative, digits: "1".to_owned(), power: if is_large { i64::MAX } else { i64::MIN } })
            }
        }
    }

    /// The digits of its whole part; none where they are more than `most`. What is between -1 and 1 has none: an empty text.
    pub fn whole(&self, most: usize) -> Option<String> {
        let length = i64::try_from(self.digits.len()).ok()?.checked_add(self.power)?;
        match usize::try_from(length) {
            Err(_) => Some(String::new()),
            Ok(length) if length > most => None,
            Ok(length) => Some(self.digits.chars().chain(std::iter::repeat('0')).take(length).collect()),
        }
    }
}

/// What an exponent says; the largest or smallest where it is beyond those.
fn power_of(text: &str) -> Option<i64> {
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    let size = if digits.is_empty() { 0 } else { digits.parse::<i64>().unwrap_or(i64::MAX) };
    Some(if is_negative { -size } else { size })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::Exact;

    #[test]
    fn a_number_is_the_same_however_it_is_written() {
        for (same, others) in [
            (["1", "1.0", "10e-1", "0.1e1", "1E0", "1e+0", "1.000e-000"].as_slice(), ["-1", "10", "0.1", "1.1", "2"].as_slice()),
            (&["0", "-0", "0.0", "0e99999999999999999999", "-0.000e-5"], &["1e-400", "1"]),
            (&["-12.50", "-1250e-2", "-1.25e1"], &["12.5", "-12.51", "-125"]),
            (&["1e400", "10e399", "0.1e401"], &["1e401", "1e+399"]),
            (
                &["1e99999999999999999999", "2e88888888888888888888"],
                &["1e-99999999999999999999", "-1e99999999999999999999", "1e400"],
            ),
            (&["9007199254740993", "9007199254740993.0"], &["9007199254740992", "9007199254740994"]),
        ] {
            let first = Exact::of(same.first().unwrap()).unwrap();
            assert!(same.iter().all(|text| Exact::of(text).unwrap() == first), "{same:?}");
            assert!(others.iter().all(|text| Exact::of(text).unwrap() != first), "{others:?}");
        }
        for text in ["", "-", ".5", "1x", "e5", "1e", "1e-", "+1", "1.2.3", "0x10", "1e5.0"] {
            assert_eq!(Exact::of(text), None, "{text}");
        }
    }

    #[test]
    fn the_whole_part_has_all_of_its_digits_or_none_is_told() {
        for (text, whole) in [
            ("4.1e3", Some("4100")),
            ("-4100.25", Some("4100")),
            ("0.5", Some("")),
            ("1e19", None),
            ("1e18", Some("1000000000000000000")),
        ] {
            assert_eq!(Exact::of(text).unwrap().whole(19).as_deref(), whole, "{text}");
        }
    }
}
