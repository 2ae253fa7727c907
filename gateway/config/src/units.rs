//! Durations and sizes as a person writes them: always with a unit, so that nobody has to guess which.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A span of time such as `500ms`, `45s`, `10m`, `8h` or `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration {
    millis: u64,
}

/// A number of bytes such as `512B`, `64KiB`, `4MiB` or `1GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size {
    bytes: u64,
}

/// Why a text is no duration or size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitFault {
    /// Not a whole number with a unit of time.
    #[error("`{0}` is not a duration")]
    Duration(String),
    /// Not a whole number with a unit of bytes.
    #[error("`{0}` is not a size")]
    Size(String),
    /// More than fits into 64 bits.
    #[error("`{0}` is too large")]
    TooLarge(String),
}

/// The units of time with their milliseconds, largest first.
const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// The units of size with their bytes, largest first.
const SIZES: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl Duration {
    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis }
    }

    /// So many seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self { millis: secs.saturating_mul(1000) }
    }

    /// In milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.millis
    }
}

impl Size {
    /// So many mebibytes.
    pub const fn from_mib(mib: u64) -> Self {
        Self { bytes: mib.saturating_mul(1 << 20) }
    }

    /// So many bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        Self { bytes }
    }

    /// In bytes.
    pub const fn as_bytes(self) -> u64 {
        self.bytes
    }
}

impl From<Duration> for std::time::Duration {
    fn from(duration: Duration) -> Self {
        Self::from_millis(duration.millis)
    }
}

impl FromStr for Duration {
    type Err = UnitFault;

    fn from_str(text: &str) -> Result<Self, UnitFault> {
        let (number, factor) = counted(text, &TIMES).ok_or_else(|| UnitFault::Duration(text.to_owned()))?;
        let millis = product(number, factor).ok_or_else(|| UnitFault::TooLarge(text.to_owned()))?;
        Ok(Self { millis })
    }
}

impl FromStr for Size {
    type Err = UnitFault;

    fn from_str(text: &str) -> Result<Self, UnitFault> {
        let (number, factor) = counted(text, &SIZES).ok_or_else(|| UnitFault::Size(text.to_owned()))?;
        let bytes = product(number, factor).ok_or_else(|| UnitFault::TooLarge(text.to_owned()))?;
        Ok(Self { bytes })
    }
}

/// The digits before a unit, and what that unit counts.
fn counted<'t>(text: &'t str, units: &[(&str, u64)]) -> Option<(&'t str, u64)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).filter(|(number, _)| !number.is_empty())?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    Some((number, *factor))
}

fn product(number: &str, factor: u64) -> Option<u64> {
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// The number in the largest unit that divides it.
fn spelled(f: &mut fmt::Formatter<'_>, number: u64, units: &[(&str, u64)]) -> fmt::Result {
    let fitting = units.iter().find(|(_, factor)| number != 0 && number.is_multiple_of(*factor));
    match fitting.or(units.last()) {
        Some((name, factor)) => write!(f, "{}{name}", number / factor),
        None => write!(f, "{number}"),
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millis == 0 { f.write_str("0s") } else { spelled(f, self.millis, &TIMES) }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        spelled(f, self.bytes, &SIZES)
    }
}

/// As text in every format; in the schema a string of a format that [`crate::shape`] judges.
macro_rules! written_as_text {
    ($name:ident, $format:literal, $pattern:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                Cow::<str>::deserialize(from)?.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "format": $format, "pattern": $pattern })
            }
        }
    };
}

written_as_text!(Duration, "bailiwick-duration", "^[0-9]+(ms|s|m|h|d)$");
written_as_text!(Size, "bailiwick-size", "^[0-9]+(B|KiB|MiB|GiB)$");

#[cfg(test)]
mod tests {
    use super::{Duration, Size};

    #[test]
    fn durations_need_a_whole_number_and_a_unit() {
        for (text, millis) in [("500ms", 500), ("45s", 45_000), ("10m", 600_000), ("8h", 28_800_000), ("30d", 2_592_000_000)] {
            assert_eq!(text.parse(), Ok(Duration::from_millis(millis)));
            assert_eq!(Duration::from_millis(millis).to_string(), text);
        }
        for bad in ["", "45", "s", "4.5s", "-1s", "45 s", "45S", "1h30m", "1w", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(bad.parse::<Duration>().is_err(), "{bad}");
        }
        assert_eq!(Duration::from_secs(0).to_string(), "0s");
        assert_eq!(Duration::from_secs(90).to_string(), "90s");
    }

    #[test]
    fn sizes_need_a_whole_number_and_a_unit() {
        for (text, bytes) in [("512B", 512), ("64KiB", 65_536), ("4MiB", 4_194_304), ("1GiB", 1_073_741_824)] {
            assert_eq!(text.parse::<Size>().map(Size::as_bytes), Ok(bytes));
            assert_eq!(text.parse::<Size>().map(|size| size.to_string()), Ok(text.to_owned()));
        }
        for bad in ["", "4", "4MB", "4mib", "4 MiB", "0x4MiB", "99999999999GiB"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }
}
