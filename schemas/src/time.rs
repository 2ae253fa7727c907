//! Milliseconds since 1970 to RFC 3339 in UTC, and back.

/// 9999-12-31T23:59:59.999Z, the last moment RFC 3339 can write.
const LAST_MS: u64 = 253_402_300_799_999;
const DAY_MS: u64 = 86_400_000;

/// Appends `unix_ms` as `YYYY-MM-DDThh:mm:ss.mmmZ`; `None` after the year 9999.
pub fn write_rfc3339(into: &mut Vec<u8>, unix_ms: u64) -> Option<()> {
    if unix_ms > LAST_MS {
        return None;
    }
    let (year, month, day) = civil_from_days(unix_ms / DAY_MS);
    let (second, ms) = (unix_ms % DAY_MS / 1000, unix_ms % 1000);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    // By hand, not by `write!`: it is on the way of every call.
    for (value, width, after) in
        [(year, 4, b'-'), (month, 2, b'-'), (day, 2, b'T'), (hour, 2, b':'), (minute, 2, b':'), (second, 2, b'.'), (ms, 3, b'Z')]
    {
        for place in (0..width).rev() {
            into.extend(u8::try_from(value / 10_u64.pow(place) % 10).map(|digit| b'0' + digit));
        }
        into.push(after);
    }
    Some(())
}

/// The same as a text; a moment after the year 9999 is its last one.
pub fn rfc3339(unix_ms: u64) -> String {
    let mut text = Vec::with_capacity(24);
    let _fits = write_rfc3339(&mut text, unix_ms.min(LAST_MS));
    String::from_utf8(text).unwrap_or_default()
}

/// Reads what [`write_rfc3339`] wrote; `None` for any other text, other spellings of the same moment included.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let days = days_from_civil(number(0, 4)?, number(5, 7)?, number(8, 10)?)?;
    let seconds = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    let unix_ms = days * DAY_MS + seconds * 1000 + number(20, 23)?;
    let mut again = Vec::with_capacity(24);
    write_rfc3339(&mut again, unix_ms)?;
    (again == text.as_bytes()).then_some(unix_ms)
}

/// The date of the day `days` after 1970-01-01 (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153; // March is 0
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// The inverse of [`civil_from_days`]; `None` before 1970 or for a month that isn't one.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    let year = year.checked_sub(u64::from(month <= 2))?;
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    (era * 146_097 + of_era).checked_sub(719_468)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that stops at the first surprise is what we want")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(unix_ms: u64) -> String {
        let mut text = Vec::new();
        write_rfc3339(&mut text, unix_ms).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_moment_beyond_the_last_is_the_last() {
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(951_782_399_999), "2000-02-28T23:59:59.999Z");
    }

    #[test]
    fn known_moments() {
        assert_eq!(shown(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(shown(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(shown(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(shown(1_795_303_179_042), "2026-11-21T23:19:39.042Z");
        assert_eq!(shown(LAST_MS), "9999-12-31T23:59:59.999Z");
        assert_eq!(write_rfc3339(&mut Vec::new(), LAST_MS + 1), None);
    }

    #[test]
    fn other_spellings_are_not_read() {
        for text in ["", "2026-11-21", "2026-11-21T23:19:39Z", "2026-02-30T00:00:00.000Z", "2026-11-21t23:19:39.042Z"] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_moment_is_read_back(unix_ms in 0..=LAST_MS) {
            prop_assert_eq!(parse_rfc3339(&shown(unix_ms)), Some(unix_ms));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,30}") {
            let _ = parse_rfc3339(&text);
        }
    }
}
