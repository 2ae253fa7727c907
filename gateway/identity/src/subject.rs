//! Whom an issuer speaks of, as a configuration writes it: one subject, or all below a place.

use std::{fmt, str::FromStr};

use crate::compact::LONGEST_TEXT;

/// The longest pattern, bytes.
const LONGEST: usize = LONGEST_TEXT;

/// Which subjects of an issuer are meant. Anchored at both ends: `repo:org/name:*` is everything that begins with `repo:org/name:` and goes on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubjectPattern {
    /// Exactly this one.
    Exact(String),
    /// Each that begins so, and goes on. It ends in a separator.
    Below(String),
}

/// A text is no pattern of subjects.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectFault {
    /// Nothing is written, or too much.
    #[error("a subject has 1 to {LONGEST} bytes")]
    Length,
    /// A sign that no subject has.
    #[error("a subject has no spaces at its ends and no control characters")]
    Signs,
    /// A `*` somewhere else than at the end, after a separator.
    #[error("`*` stands only at the end, after a `/` or a `:`")]
    Wildcard,
}

impl SubjectPattern {
    /// Whether this subject is meant.
    pub fn matches(&self, subject: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == subject,
            Self::Below(begin) => subject.strip_prefix(begin.as_str()).is_some_and(|rest| !rest.is_empty()),
        }
    }

    /// Whether some subject is meant by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(exact), pattern) | (pattern, Self::Exact(exact)) => pattern.matches(exact),
            (Self::Below(one), Self::Below(other)) => one.starts_with(other.as_str()) || other.starts_with(one.as_str()),
        }
    }
}

impl FromStr for SubjectPattern {
    type Err = SubjectFault;
    fn from_str(given: &str) -> Result<Self, SubjectFault> {
        if given.is_empty() || given.len() > LONGEST {
            return Err(SubjectFault::Length);
        }
        if given.trim() != given || given.chars().any(char::is_control) {
            return Err(SubjectFault::Signs);
        }
        match given.strip_suffix('*') {
            None if given.contains('*') => Err(SubjectFault::Wildcard),
            None => Ok(Self::Exact(given.to_owned())),
            Some(begin) if begin.ends_with(['/', ':']) && !begin.contains('*') => Ok(Self::Below(begin.to_owned())),
            Some(_) => Err(SubjectFault::Wildcard),
        }
    }
}

impl fmt::Display for SubjectPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(exact) => f.write_str(exact),
            Self::Below(begin) => write!(f, "{begin}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn pattern(text: &str) -> SubjectPattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_pattern_is_anchored_at_both_ends() {
        assert!(pattern("repo:org/name:*").matches("repo:org/name:ref:refs/heads/main"));
        for other in ["repo:org/name:", "repo:org/name", "repo:org/name2:ref:x", "xrepo:org/name:ref", "REPO:org/name:ref"] {
            assert!(!pattern("repo:org/name:*").matches(other), "{other}");
        }
        assert!(pattern("a/b").matches("a/b") && !pattern("a/b").matches("a/b/c") && !pattern("a/b").matches("a/B"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for given in ["", " a", "a ", "a\n", "*", "a*", "a/*b", "a/*/b", "*/a", "a/**", "a?*"] {
            assert!(given.parse::<SubjectPattern>().is_err(), "{given}");
        }
        assert!("x".repeat(LONGEST + 1).parse::<SubjectPattern>().is_err());
        assert_eq!(pattern("a/*").to_string(), "a/*");
    }

    #[test]
    fn two_patterns_overlap_if_one_subject_is_meant_by_both() {
        for (one, other, overlap) in [
            ("a/b", "a/b", true),
            ("a/b", "a/c", false),
            ("a/*", "a/b", true),
            ("a/*", "a/", false),
            ("a/*", "a/b/*", true),
            ("a/*", "b/*", false),
            ("a:*", "a/*", false),
        ] {
            assert_eq!(pattern(one).overlaps(&pattern(other)), overlap, "{one} {other}");
            assert_eq!(pattern(other).overlaps(&pattern(one)), overlap, "{other} {one}");
        }
    }
}
