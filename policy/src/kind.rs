//! What a tool does, and how risky it is: the two words that an admin gives a tool.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a tool does (design, section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Reads, and changes nothing.
    Read,
    /// Changes something inside its own system.
    Write,
    /// Runs something whose effect can't be told beforehand.
    Execute,
    /// Sends data out.
    Exfiltrate,
    /// Changes who may do what.
    Admin,
}

impl Kind {
    /// Every kind, from the least to the most far-reaching.
    pub const ALL: [Self; 5] = [Self::Read, Self::Write, Self::Execute, Self::Exfiltrate, Self::Admin];

    /// The word for it in configuration, policies and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Execute => "execute",
            Self::Exfiltrate => "exfiltrate",
            Self::Admin => "admin",
        }
    }

    /// Whether a call of this kind leaves a trace in the world: everything but a read.
    pub const fn has_effect(self) -> bool {
        !matches!(self, Self::Read)
    }
}

/// How risky a tool is, and so how strictly a call of it is handled (design, section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Band {
    /// Nothing to lose.
    Low,
    /// A mistake can be undone.
    Medium,
    /// A mistake costs: an approver decides.
    High,
    /// A mistake can't be undone: two persons decide.
    Critical,
}

impl Band {
    /// Every band, in rising order.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The word for it in configuration, policies and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The number that policies compare: 0 for `low` to 3 for `critical`.
    pub const fn level(self) -> i64 {
        match self {
            Self::Low => 0,
            Self::Medium => 1,
            Self::High => 2,
            Self::Critical => 3,
        }
    }
}

/// A word that names no [`Kind`] or [`Band`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{given}`; write one of {known}")]
pub struct UnknownWord {
    what: &'static str,
    given: String,
    known: &'static str,
}

impl FromStr for Kind {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let named = Self::ALL.into_iter().find(|kind| kind.as_str() == word);
        named.ok_or_else(|| UnknownWord {
            what: "kind",
            given: word.to_owned(),
            known: "`read`, `write`, `execute`, `exfiltrate`, `admin`",
        })
    }
}

impl FromStr for Band {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let named = Self::ALL.into_iter().find(|band| band.as_str() == word);
        named.ok_or_else(|| UnknownWord { what: "band", given: word.to_owned(), known: "`low`, `medium`, `high`, `critical`" })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Band {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{Band, Kind};

    #[test]
    fn words_round_trip_in_every_form() {
        for kind in Kind::ALL {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            let json = serde_json::to_value(kind).ok();
            assert_eq!(json, Some(serde_json::json!(kind.as_str())));
        }
        for band in Band::ALL {
            assert_eq!(band.to_string().parse(), Ok(band));
            let json = serde_json::to_value(band).ok();
            assert_eq!(json, Some(serde_json::json!(band.as_str())));
        }
    }

    #[test]
    fn an_unknown_word_is_answered_with_the_known_ones() {
        let band = "extreme".parse::<Band>().map_err(|e| e.to_string());
        assert_eq!(band, Err("unknown band `extreme`; write one of `low`, `medium`, `high`, `critical`".into()));
        let kind = "Read".parse::<Kind>().map_err(|e| e.to_string());
        assert_eq!(kind, Err("unknown kind `Read`; write one of `read`, `write`, `execute`, `exfiltrate`, `admin`".into()));
    }

    #[test]
    fn only_a_read_has_no_effect() {
        let with_effect: Vec<_> = Kind::ALL.into_iter().filter(|k| k.has_effect()).collect();
        assert_eq!(with_effect, [Kind::Write, Kind::Execute, Kind::Exfiltrate, Kind::Admin]);
    }

    #[test]
    fn bands_rise() {
        assert_eq!(Band::ALL.map(Band::level), [0, 1, 2, 3]);
        assert!(Band::ALL.is_sorted());
    }
}
