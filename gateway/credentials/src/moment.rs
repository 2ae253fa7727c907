//! Moments as issuers write them.

use bailiwick_schemas::time::parse_rfc3339;

/// Unix milliseconds of a moment of RFC 3339 in UTC, with a fraction of a second or without; none for any other text.
pub(crate) fn unix_ms(text: &str) -> Option<u64> {
    let text = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00"))?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "000"));
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: String = fraction.chars().chain("00".chars()).take(3).collect();
    parse_rfc3339(&format!("{whole}.{fraction}Z"))
}

#[cfg(test)]
mod tests {
    use super::unix_ms;

    #[test]
    fn the_forms_of_issuers_are_read_and_no_others() {
        for text in
            ["2026-11-23T05:00:00Z", "2026-11-23T05:00:00.0Z", "2026-11-23T05:00:00.000000001Z", "2026-11-23T05:00:00+00:00"]
        {
            assert_eq!(unix_ms(text), Some(1_795_410_000_000), "{text}");
        }
        for text in [
            "",
            "Z",
            "2026-11-23T05:00:00",
            "2026-11-23T05:00:00+01:00",
            "2026-13-23T05:00:00Z",
            "2026-11-23T05:00:00.Z",
            "1795410000",
        ] {
            assert_eq!(unix_ms(text), None, "{text}");
        }
    }
}
