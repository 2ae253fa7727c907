//! Identifiers: newtypes, so that one can't stand where another is meant.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a valid {what} id: use 1 to 64 of a-z, 0-9, `-`, `_`, `.`, beginning with a letter or digit")]
pub struct IdFault {
    what: &'static str,
    given: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdFault;
            fn from_str(given: &str) -> Result<Self, IdFault> {
                if is_id(given) {
                    Ok(Self(given.into()))
                } else {
                    Err(IdFault { what: $what, given: given.chars().take(80).collect() })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdFault;
            fn try_from(given: String) -> Result<Self, IdFault> {
                given.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A registered agent: a non-human identity.
    AgentId, "agent"
);
id!(
    /// A task grant. Public: it is what logs carry; the grant's token is what gives power.
    GrantId, "grant"
);
id!(
    /// An approval. A handle: it gives no power.
    ApprovalId, "approval"
);
id!(
    /// What an agent asked for beyond its grant. A handle: it gives no power.
    RequestId, "request"
);
id!(
    /// One request from an agent, from arrival to outcome.
    CallId, "call"
);

fn is_id(given: &str) -> bool {
    let bytes = given.as_bytes();
    (1..=64).contains(&bytes.len())
        && bytes.first().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
}

impl CallId {
    /// A call id that sorts by time: 12 hex digits of unix milliseconds, then 80 random bits.
    pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
        Self(sortable("c", unix_ms, random).into())
    }
}

impl ApprovalId {
    /// An approval id that sorts by time, with 80 random bits.
    pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
        Self(sortable("apr-", unix_ms, random).into())
    }
}

impl RequestId {
    /// The id of a request for more, which sorts by time, with 80 random bits.
    pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
        Self(sortable("req-", unix_ms, random).into())
    }
}

impl GrantId {
    /// A grant id that sorts by time, with 80 random bits.
    pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
        Self(sortable("g-", unix_ms, random).into())
    }
}

/// Text of `prefix`, the time in 9 and the randomness in 16 digits of Crockford's base 32 (lower case).
fn sortable(prefix: &str, unix_ms: u64, random: [u8; 10]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let digit = |five: u128| DIGITS.get(usize::try_from(five & 31).unwrap_or(0)).copied().map_or('0', char::from);
    let mut text = String::with_capacity(prefix.len() + 25);
    text.push_str(prefix);
    text.extend((0..9).rev().map(|at| digit(u128::from(unix_ms) >> (5 * at))));
    let number = random.iter().fold(0_u128, |sum, byte| (sum << 8) | u128::from(*byte));
    text.extend((0..16).rev().map(|at| digit(number >> (5 * at))));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_a_narrow_alphabet() {
        for good in ["a", "triage-bot", "g-01.x_y", "0"] {
            assert_eq!(good.parse::<AgentId>().map(String::from), Ok(good.to_owned()));
        }
        for bad in ["", "A", "-a", "a b", "a\n", "ä", &"a".repeat(65)] {
            assert!(bad.parse::<GrantId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn made_ids_are_valid_and_sort_by_time() {
        let early = CallId::new(1_790_000_000_000, [255; 10]);
        let late = CallId::new(1_790_000_000_001, [0; 10]);
        assert!(early < late);
        assert_eq!(early.as_str().parse::<CallId>(), Ok(early.clone()));
        assert_eq!(CallId::new(0, [0; 10]).as_str(), "c0000000000000000000000000");
        assert_eq!(ApprovalId::new(31, [255; 10]).as_str(), "apr-00000000zzzzzzzzzzzzzzzzz");
    }
}
