//! SPIFFE ids (SPIFFE-ID, sections 2.1 to 2.3): read strictly, so that no two texts mean one workload.

use std::{fmt, str::FromStr};

/// The longest id, bytes (SPIFFE-ID, section 2.3).
const LONGEST: usize = 2048;

/// The longest trust domain, bytes (SPIFFE-ID, section 2.3).
const LONGEST_DOMAIN: usize = 255;

/// Whose word counts for an id: `example.org` in `spiffe://example.org/agent/a`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(String);

/// A workload: `spiffe://example.org/agent/a`. Always with a path: an id without one names the trust domain itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    text: String,
    domain: TrustDomain,
}

/// Why a text is no SPIFFE id of a workload, or no trust domain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpiffeFault {
    /// It is too long.
    #[error("it is longer than {0} bytes")]
    Long(usize),
    /// It has another scheme.
    #[error("it does not begin with `spiffe://`, in lower case")]
    Scheme,
    /// Its trust domain is empty or has other signs than those allowed.
    #[error("its trust domain is not made of lower-case letters, digits, `.`, `-` and `_` alone")]
    Domain,
    /// It names no workload.
    #[error("it has no path, so it names a trust domain and no workload")]
    NoPath,
    /// A segment of its path is empty, `.` or `..`, or has other signs than those allowed.
    #[error("its path is not made of segments of letters, digits, `.`, `-` and `_` alone, none of them empty, `.` or `..`")]
    Path,
}

impl TrustDomain {
    /// The domain as text, without a scheme.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeFault;
    fn from_str(given: &str) -> Result<Self, SpiffeFault> {
        if given.len() > LONGEST_DOMAIN {
            return Err(SpiffeFault::Long(LONGEST_DOMAIN));
        }
        let is_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        if given.is_empty() || !given.bytes().all(is_allowed) {
            return Err(SpiffeFault::Domain);
        }
        Ok(Self(given.to_owned()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl SpiffeId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whose word counts for it.
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeFault;
    fn from_str(given: &str) -> Result<Self, SpiffeFault> {
        if given.len() > LONGEST {
            return Err(SpiffeFault::Long(LONGEST));
        }
        let rest = given.strip_prefix("spiffe://").ok_or(SpiffeFault::Scheme)?;
        let (domain, path) = rest.split_once('/').map_or((rest, None), |(domain, path)| (domain, Some(path)));
        let domain: TrustDomain = domain.parse()?;
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        let is_segment = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(is_allowed);
        match path {
            None => Err(SpiffeFault::NoPath),
            Some(path) if path.split('/').all(is_segment) => Ok(Self { text: given.to_owned(), domain }),
            Some(_) => Err(SpiffeFault::Path),
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn a_plain_id_is_read() {
        let id: SpiffeId = "spiffe://example.org/agent/Triage_1.b-2".parse().unwrap();
        assert_eq!((id.as_str(), id.domain().as_str()), ("spiffe://example.org/agent/Triage_1.b-2", "example.org"));
        let longest = format!("spiffe://{}/a", "d".repeat(LONGEST_DOMAIN));
        longest.parse::<SpiffeId>().unwrap();
    }

    /// Attack 65.
    #[test]
    fn whatever_could_be_read_in_two_ways_is_refused() {
        for (given, fault) in [
            ("spiffe://td", SpiffeFault::NoPath),
            ("spiffe://td/", SpiffeFault::Path),
            ("spiffe://td/a/", SpiffeFault::Path),
            ("spiffe://td//a", SpiffeFault::Path),
            ("spiffe://td/../x", SpiffeFault::Path),
            ("spiffe://td/./x", SpiffeFault::Path),
            ("spiffe://td/a%2eb", SpiffeFault::Path),
            ("spiffe://td/%2e%2e/x", SpiffeFault::Path),
            ("spiffe://td/a?b=c", SpiffeFault::Path),
            ("spiffe://td/a#b", SpiffeFault::Path),
            ("spiffe://td/a\\b", SpiffeFault::Path),
            ("spiffe://td/ä", SpiffeFault::Path),
            ("spiffe://td/a\0", SpiffeFault::Path),
            ("spiffe://td/a ", SpiffeFault::Path),
            ("spiffe://TD/x", SpiffeFault::Domain),
            ("spiffe:///x", SpiffeFault::Domain),
            ("spiffe://td:8443/x", SpiffeFault::Domain),
            ("spiffe://user@td/x", SpiffeFault::Domain),
            ("spiffe://t%64/x", SpiffeFault::Domain),
            ("SPIFFE://td/x", SpiffeFault::Scheme),
            ("https://td/x", SpiffeFault::Scheme),
            (" spiffe://td/x", SpiffeFault::Scheme),
            ("", SpiffeFault::Scheme),
        ] {
            assert_eq!(given.parse::<SpiffeId>(), Err(fault), "{given}");
        }
        let long = format!("spiffe://td/{}", "x".repeat(3000));
        assert_eq!(long.parse::<SpiffeId>(), Err(SpiffeFault::Long(LONGEST)));
        let domain = format!("spiffe://{}/a", "d".repeat(LONGEST_DOMAIN + 1));
        assert_eq!(domain.parse::<SpiffeId>(), Err(SpiffeFault::Long(LONGEST_DOMAIN)));
    }
}
