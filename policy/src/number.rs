//! Numbers as they were written: exact, whatever their size.
//!
//! A JSON number is text here (`arbitrary_precision`), so `1e2`, `100` and `100.0` are the same integer and
//! `500.00001` is never silently rounded to something a rule lets pass.

/// How many fractional digits a Cedar decimal has.
const DECIMAL_DIGITS: i64 = 4;

/// The number as a 64-bit integer, if it is exactly one.
pub(crate) fn long(text: &str) -> Option<i64> {
    scaled(text, 0)
}

/// The number in the form that Cedar's `decimal("…")` reads, if four fractional digits hold it exactly.
pub(crate) fn decimal(text: &str) -> Option<String> {
    let units = scaled(text, DECIMAL_DIGITS)?;
    let sign = if units < 0 { "-" } else { "" };
    let digits = units.unsigned_abs();
    Some(format!("{sign}{}.{:04}", digits / 10_000, digits % 10_000))
}

/// `number × 10^digits`, if that is exactly a 64-bit integer.
fn scaled(text: &str, digits: i64) -> Option<i64> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let significant = format!("{whole}{fraction}");
    if significant.is_empty() || !significant.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let stripped = significant.trim_end_matches('0');
    if stripped.is_empty() {
        return Some(0);
    }
    let exponent: i64 = exponent.parse().ok()?;
    let dropped = i64::try_from(significant.len() - stripped.len()).ok()?;
    let places = i64::try_from(fraction.len()).ok()?;
    let shift = exponent.checked_sub(places)?.checked_add(dropped)?.checked_add(digits)?;
    let factor = 10_i128.checked_pow(u32::try_from(shift).ok()?)?;
    let magnitude = stripped.parse::<i128>().ok()?.checked_mul(factor)?;
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

#[cfg(test)]
mod tests {
    use super::{decimal, long};

    #[test]
    fn an_integer_is_one_however_it_is_written() {
        for (text, value) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("0.000", Some(0)),
            ("0e99999999999999999999", Some(0)),
            ("1e2", Some(100)),
            ("1E+2", Some(100)),
            ("100.0", Some(100)),
            ("1200e-2", Some(12)),
            ("1.5e1", Some(15)),
            ("-42", Some(-42)),
            ("007", Some(7)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("1e18", Some(1_000_000_000_000_000_000)),
            ("1e19", None),
            ("1e400", None),
            ("1e99999999999999999999", None),
            ("1.5", None),
            ("1e-1", None),
            ("500.00001", None),
            ("", None),
            ("-", None),
            ("e5", None),
            ("1x", None),
        ] {
            assert_eq!(long(text), value, "{text}");
        }
    }

    #[test]
    fn a_decimal_has_four_digits_or_no_place() {
        for (text, value) in [
            ("0", Some("0.0000")),
            ("500", Some("500.0000")),
            ("1e2", Some("100.0000")),
            ("500.0001", Some("500.0001")),
            ("500.00010", Some("500.0001")),
            ("-0.5", Some("-0.5000")),
            ("-12.34", Some("-12.3400")),
            ("5e-4", Some("0.0005")),
            ("5e-5", None),
            ("500.00001", None),
            ("922337203685477.5807", Some("922337203685477.5807")),
            ("922337203685477.5808", None),
            ("-922337203685477.5808", Some("-922337203685477.5808")),
        ] {
            assert_eq!(decimal(text).as_deref(), value, "{text}");
        }
    }
}
