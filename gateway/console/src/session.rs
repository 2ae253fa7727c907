//! Who is logged in. In memory alone: a restart ends every session.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;

use crate::{
    link::LinkTerms,
    person::Role,
    random::{hex, sha256},
    refused::Refused,
};

/// Sessions that one person may have at once; the oldest makes room.
const OF_ONE: usize = 16;

/// Sessions in all.
const IN_ALL: usize = 4096;

/// How somebody logged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginMethod {
    /// With a link that an operator made.
    Link,
    /// With a passkey.
    Passkey,
    /// At the identity provider.
    Oidc,
}

impl LoginMethod {
    /// The word in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Passkey => "passkey",
            Self::Oidc => "oidc",
        }
    }
}

/// How long sessions live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// From its login on.
    pub whole: Duration,
    /// From its last use on.
    pub idle: Duration,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its public id, which opens nothing.
    pub id: String,
    /// Whose it is.
    pub person: String,
    /// How they logged in.
    pub method: LoginMethod,
    /// When, unix milliseconds.
    pub began_ms: u64,
    /// When it was used last, unix milliseconds.
    pub seen_ms: u64,
    /// Whether it may still add a passkey without showing another.
    pub(crate) enrols: Option<Enrols>,
    /// The only roles that count in it, where an identity provider had a say.
    pub(crate) roles: Option<BTreeSet<Role>>,
    /// The passkey that it was opened with, by id: it ends with that.
    pub(crate) passkey: Option<Vec<u8>>,
}

/// What a login brings besides who it is of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Brought {
    /// That a passkey may be added.
    pub(crate) enrols: Option<Enrols>,
    /// The only roles that count.
    pub(crate) roles: Option<BTreeSet<Role>>,
    /// The passkey, by id.
    pub(crate) passkey: Option<Vec<u8>>,
}

/// That a session came by a link which lets its person add one passkey. The cookie does not have the ticket: whoever has that alone adds none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Enrols {
    /// The SHA-256 of the ticket, which the browser that brought the link was given with the answer to it.
    pub(crate) ticket: [u8; 32],
    /// Until when, unix milliseconds.
    pub(crate) until_ms: u64,
    /// What the link is.
    pub(crate) link: LinkTerms,
}

/// A session that is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) id: String,
    pub(crate) person: String,
    pub(crate) why: &'static str,
}

/// All sessions, by the SHA-256 of their tokens.
pub(crate) struct Sessions {
    limits: SessionLimits,
    open: Mutex<HashMap<[u8; 32], Session>>,
}

impl Sessions {
    pub(crate) fn new(limits: SessionLimits) -> Self {
        Self { limits, open: Mutex::default() }
    }

    /// How long a session lives from its login on.
    pub(crate) fn whole(&self) -> Duration {
        self.limits.whole
    }

    /// What has to be put on record before [`Sessions::begin`]: the token, and the session that it will open.
    pub(crate) fn prepare(
        person: &str,
        method: LoginMethod,
        brought: Brought,
        now_ms: u64,
    ) -> Result<(String, Session), Refused> {
        let (token, id) = (crate::random::token()?, hex(crate::random::bytes()?.get(..8).unwrap_or_default()));
        let Brought { enrols, roles, passkey } = brought;
        let session =
            Session { id, person: person.to_owned(), method, began_ms: now_ms, seen_ms: now_ms, enrols, roles, passkey };
        Ok((token, session))
    }

    /// Opens it. What makes room for it is told.
    pub(crate) fn begin(&self, token: &str, session: Session) -> Result<Option<Ended>, Refused> {
        let mut open = self.open();
        let of_person = open.iter().filter(|(_, other)| other.person == session.person);
        let mut made_room = None;
        if of_person.clone().count() >= OF_ONE
            && let Some(oldest) = of_person.min_by_key(|(_, other)| other.seen_ms).map(|(key, _)| *key)
        {
            made_room = open.remove(&oldest).map(|old| ended(old, "too many sessions of this person"));
        }
        if open.len() >= IN_ALL {
            return Err(Refused::unavailable("there are too many sessions"));
        }
        open.insert(sha256(token.as_bytes()), session);
        Ok(made_room)
    }

    /// The session of this token, which is used by that. One whose time is over ends, and that is told.
    pub(crate) fn look(&self, token: &str, now_ms: u64) -> Result<Session, Option<Ended>> {
        let key = sha256(token.as_bytes());
        let mut open = self.open();
        let session = open.get_mut(&key).ok_or(None)?;
        if let Some(why) = self.over(session, now_ms) {
            return Err(open.remove(&key).map(|old| ended(old, why)));
        }
        session.seen_ms = now_ms;
        Ok(session.clone())
    }

    /// The session of this public id, if it is open. It is not used by that.
    pub(crate) fn by_id(&self, id: &str, now_ms: u64) -> Option<Session> {
        self.open().values().find(|session| session.id == id && self.over(session, now_ms).is_none()).cloned()
    }

    /// It adds its passkey now, and none after that: what let it, if that is still good.
    pub(crate) fn take_enrolment(&self, id: &str, now_ms: u64) -> Option<Enrols> {
        let mut open = self.open();
        let session = open.values_mut().find(|session| session.id == id)?;
        session.enrols.take().filter(|enrols| now_ms < enrols.until_ms)
    }

    /// All sessions of a person.
    pub(crate) fn of(&self, person: &str) -> Vec<Session> {
        let mut found: Vec<Session> = self.open().values().filter(|session| session.person == person).cloned().collect();
        found.sort_by(|one, other| (one.began_ms, &one.id).cmp(&(other.began_ms, &other.id)));
        found
    }

    /// Ends those that are meant.
    pub(crate) fn end(&self, why: &'static str, is_meant: impl Fn(&Session) -> bool) -> Vec<Ended> {
        let mut open = self.open();
        let keys: Vec<_> = open.iter().filter(|(_, session)| is_meant(session)).map(|(key, _)| *key).collect();
        keys.iter().filter_map(|key| open.remove(key)).map(|session| ended(session, why)).collect()
    }

    /// Ends those whose time is over.
    pub(crate) fn sweep(&self, now_ms: u64) -> Vec<Ended> {
        let mut open = self.open();
        let over: Vec<_> = open.iter().filter_map(|(key, session)| Some((*key, self.over(session, now_ms)?))).collect();
        over.into_iter().filter_map(|(key, why)| open.remove(&key).map(|session| ended(session, why))).collect()
    }

    fn over(&self, session: &Session, now_ms: u64) -> Option<&'static str> {
        let is_past = |since_ms: u64, span: Duration| u128::from(now_ms.saturating_sub(since_ms)) >= span.as_millis();
        if is_past(session.began_ms, self.limits.whole) {
            return Some("its time is over");
        }
        is_past(session.seen_ms, self.limits.idle).then_some("it was not used")
    }

    fn open(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        // A panic while it was held leaves a map that is whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ended(session: Session, why: &'static str) -> Ended {
    Ended { id: session.id, person: session.person, why }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn sessions() -> Sessions {
        Sessions::new(SessionLimits { whole: Duration::from_millis(100), idle: Duration::from_millis(10) })
    }

    fn begun(sessions: &Sessions, person: &str, now_ms: u64) -> (String, Session) {
        let (token, session) = Sessions::prepare(person, LoginMethod::Link, Brought::default(), now_ms).unwrap();
        sessions.begin(&token, session.clone()).unwrap();
        (token, session)
    }

    #[test]
    fn a_session_ends_when_it_is_idle_and_when_its_time_is_over() {
        let sessions = sessions();
        let (token, _) = begun(&sessions, "ada", 0);
        assert!(sessions.look(&token, 9).is_ok());
        assert!(sessions.look(&token, 18).is_ok(), "used at 9");
        assert_eq!(sessions.look(&token, 28).unwrap_err().unwrap().why, "it was not used");
        assert_eq!(sessions.look(&token, 28), Err(None), "it is told once");
        let (token, _) = begun(&sessions, "ada", 0);
        for now in (0..100).step_by(9) {
            assert!(sessions.look(&token, now).is_ok());
        }
        assert_eq!(sessions.look(&token, 100).unwrap_err().unwrap().why, "its time is over");
    }

    #[test]
    fn a_token_is_not_its_public_id_and_another_token_opens_nothing() {
        let sessions = sessions();
        let (token, session) = begun(&sessions, "ada", 0);
        for other in ["", &session.id, token.get(1..).unwrap(), &format!("{token}A")] {
            assert_eq!(sessions.look(other, 1), Err(None));
        }
        assert!(!format!("{session:?}").contains(&token));
        assert!(sessions.by_id(&session.id, 1).is_some() && sessions.by_id(&session.id, 11).is_none());
    }

    #[test]
    fn the_oldest_makes_room_and_a_person_can_be_shown_out() {
        let sessions = sessions();
        let (first, _) = begun(&sessions, "ada", 0);
        for at in 1..16 {
            begun(&sessions, "ada", at);
        }
        let (bob, _) = begun(&sessions, "bob", 9);
        let (token, session) = Sessions::prepare("ada", LoginMethod::Oidc, Brought::default(), 9).unwrap();
        assert_eq!(sessions.begin(&token, session).unwrap().unwrap().why, "too many sessions of this person");
        assert_eq!(sessions.look(&first, 9), Err(None));
        assert_eq!(sessions.end("gone", |session| session.person == "ada").len(), 16);
        assert!(sessions.of("ada").is_empty() && sessions.look(&bob, 9).is_ok());
        assert_eq!(sessions.sweep(1000).len(), 1);
    }
}
