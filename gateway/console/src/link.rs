//! One-time links: how somebody gets in who has no passkey yet. An operator makes them, and only their digests are kept.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::random::{self, sha256};

/// How long a link is good, milliseconds.
pub(crate) const LINK_MS: u64 = 10 * 60 * 1000;

/// What every code begins with.
pub(crate) const BEGINS: &str = "one-time-";

/// The links that are good, by the person: the newest one counts.
#[derive(Default)]
pub(crate) struct Links(Mutex<HashMap<String, Made>>);

/// A link that was made.
#[derive(Debug, Clone, Copy)]
struct Made {
    sha256: [u8; 32],
    until_ms: u64,
    terms: LinkTerms,
}

/// Who makes a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkMaker<'a> {
    /// Their name, for the record.
    pub name: &'a str,
    /// Their user of this machine: what is enrolled by the link traces to them.
    pub uid: u32,
}

/// What a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkTerms {
    /// Whether it is to replace passkeys that its person can't use.
    pub(crate) recovers: bool,
    /// The user of this machine who made it.
    pub(crate) maker: u32,
}

impl Links {
    /// Keeps the digest of a code for this person. An earlier one is void by it.
    pub(crate) fn keep(&self, person: &str, code: &str, terms: LinkTerms, now_ms: u64) {
        let made = Made { sha256: sha256(code.as_bytes()), until_ms: now_ms.saturating_add(LINK_MS), terms };
        self.open().insert(person.to_owned(), made);
    }

    /// Whose code it is, if it is good, and what link it is of. It is void by that.
    pub(crate) fn take(&self, code: &str, now_ms: u64) -> Option<(String, LinkTerms)> {
        let digest = sha256(code.as_bytes());
        let mut open = self.open();
        open.retain(|_, made| now_ms < made.until_ms);
        let person = open.iter().find(|(_, made)| random::are_equal(&made.sha256, &digest)).map(|(person, _)| person.clone())?;
        let made = open.remove(&person)?;
        Some((person, made.terms))
    }

    /// Voids those of people who are meant.
    pub(crate) fn void(&self, is_meant: impl Fn(&str) -> bool) {
        self.open().retain(|person, _| !is_meant(person));
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Made>> {
        // A panic while it was held leaves a map that is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_good_once_for_ten_minutes_and_the_newest_counts() {
        let links = Links::default();
        let (plain, recovery) = (LinkTerms { recovers: false, maker: 7 }, LinkTerms { recovers: true, maker: 8 });
        links.keep("ada", "first", plain, 0);
        links.keep("ada", "second", recovery, 1);
        assert_eq!(links.take("first", 2), None, "another one was made");
        assert_eq!(links.take("second", 2), Some(("ada".to_owned(), recovery)));
        assert_eq!(links.take("second", 2), None, "it was used");
        links.keep("ada", "late", plain, 0);
        assert_eq!(links.take("late", LINK_MS), None, "its time is over");
        links.keep("ada", "void", plain, 0);
        links.void(|person| person == "ada");
        assert_eq!(links.take("void", 1), None);
        assert_eq!(links.take("", 0), None);
    }
}
