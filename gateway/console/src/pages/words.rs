//! Times and numbers as words.

use maud::{Markup, html};

const SECOND_MS: u64 = 1000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// How long: at most two units, such as `9 min 58 s`.
pub(super) fn lasting(ms: u64) -> String {
    let two = |large: u64, of: &str, small: u64, unit: &str| {
        if small == 0 { format!("{large} {of}") } else { format!("{large} {of} {small} {unit}") }
    };
    match ms {
        ..SECOND_MS => format!("{ms} ms"),
        SECOND_MS..MINUTE_MS => format!("{} s", ms / SECOND_MS),
        MINUTE_MS..HOUR_MS => two(ms / MINUTE_MS, "min", ms % MINUTE_MS / SECOND_MS, "s"),
        HOUR_MS..DAY_MS => two(ms / HOUR_MS, "h", ms % HOUR_MS / MINUTE_MS, "min"),
        _ => two(ms / DAY_MS, "d", ms % DAY_MS / HOUR_MS, "h"),
    }
}

/// A moment, in UTC: `2026-11-22 19:38:26`.
pub(super) fn moment(at_ms: u64) -> String {
    let (days, rest) = (at_ms / DAY_MS, at_ms % DAY_MS);
    let (year, month, day) = date_of(days);
    let (hour, minute, second) = (rest / HOUR_MS, rest % HOUR_MS / MINUTE_MS, rest % MINUTE_MS / SECOND_MS);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// The date of a day since 1970, by the Gregorian calendar (Howard Hinnant's `civil_from_days`).
fn date_of(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// A moment, with how long ago that is.
pub(crate) fn ago(at_ms: u64, now_ms: u64) -> Markup {
    let stamp = moment(at_ms);
    html! {
        time datetime=(stamp.replace(' ', "T") + "Z") title=(format!("{stamp} UTC")) {
            @if at_ms > now_ms.saturating_add(SECOND_MS) {
                "in " (lasting(whole_seconds(at_ms - now_ms)))
            } @else {
                (lasting(whole_seconds(now_ms.saturating_sub(at_ms)))) " ago"
            }
        }
    }
}

/// A moment, written out.
pub(crate) fn at(at_ms: u64) -> Markup {
    let stamp = moment(at_ms);
    html! { time datetime=(stamp.replace(' ', "T") + "Z") { (stamp) " UTC" } }
}

/// The time that is left, counted down where there is a script.
pub(super) fn left(until_ms: u64, now_ms: u64) -> Markup {
    let rest = until_ms.saturating_sub(now_ms);
    html! {
        time.left.soon[rest < MINUTE_MS] data-until=(until_ms) datetime=(moment(until_ms).replace(' ', "T") + "Z") {
            @if rest == 0 { "time is over" } @else { (lasting(whole_seconds(rest))) " left" }
        }
    }
}

fn whole_seconds(ms: u64) -> u64 {
    ms.div_ceil(SECOND_MS) * SECOND_MS
}

/// A number with its noun.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

/// Microseconds as milliseconds, with as many digits as mean something.
pub(super) fn millis(us: u64) -> String {
    match us {
        ..1000 => format!("{us} µs"),
        1000..100_000 => format!("{}.{} ms", us / 1000, us % 1000 / 100),
        100_000..10_000_000 => format!("{} ms", us / 1000),
        _ => format!("{} s", us / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_words() {
        assert_eq!(lasting(999), "999 ms");
        assert_eq!(lasting(598_000), "9 min 58 s");
        assert_eq!(lasting(600_000), "10 min");
        assert_eq!(lasting(8 * HOUR_MS + 90_000), "8 h 1 min");
        assert_eq!(lasting(49 * HOUR_MS), "2 d 1 h");
        assert_eq!(moment(0), "1970-01-01 00:00:00");
        assert_eq!(moment(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(moment(1_795_303_179_042), "2026-11-21 23:19:39");
        assert_eq!(moment(4_102_444_800_000), "2100-01-01 00:00:00");
        assert_eq!((millis(950), millis(1_250), millis(12_345_678)), ("950 µs".into(), "1.2 ms".into(), "12 s".into()));
        assert!(left(5, 5).into_string().contains("time is over"));
        assert!(left(65_000, 5_000).into_string().contains("1 min left"));
        assert!(ago(5_000, 65_000).into_string().contains("1 min ago"));
    }
}
