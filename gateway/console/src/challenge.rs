//! Questions that authenticators were asked: each is answered once, soon, and for what it was asked for.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How long an answer is waited for, milliseconds.
pub(crate) const PATIENCE_MS: u64 = 2 * 60 * 1000;

/// Questions open at once to one session, or doorstep.
const OF_ONE: usize = 8;

/// Questions open at once in all.
const IN_ALL: usize = 4096;

/// What a question was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A login, in the browser with this doorstep.
    Login { doorstep: String },
    /// A new passkey of this person.
    Enrol { session: String, person: String, name: String },
    /// A signature under this act.
    Sign { session: String, person: String, act: [u8; 32], nonce: [u8; 32] },
}

impl Purpose {
    /// Whose question it is.
    fn of(&self) -> &str {
        match self {
            Self::Login { doorstep } => doorstep,
            Self::Enrol { session, .. } | Self::Sign { session, .. } => session,
        }
    }

    fn is_login(&self) -> bool {
        matches!(self, Self::Login { .. })
    }
}

/// The open questions.
#[derive(Default)]
pub(crate) struct Challenges(Mutex<Open>);

#[derive(Default)]
struct Open {
    /// Of strangers: they can crowd out each other, and nobody who is logged in.
    logins: HashMap<[u8; 32], (Purpose, u64)>,
    others: HashMap<[u8; 32], (Purpose, u64)>,
}

impl Challenges {
    /// Asks; the oldest of the same asker makes room.
    pub(crate) fn put(&self, challenge: [u8; 32], purpose: Purpose, now_ms: u64) {
        let mut open = self.open();
        let open = if purpose.is_login() { &mut open.logins } else { &mut open.others };
        open.retain(|_, (_, until)| now_ms < *until);
        let of_same = |(_, (other, _)): &(&[u8; 32], &(Purpose, u64))| other.of() == purpose.of();
        let oldest = if open.len() >= IN_ALL {
            open.iter().min_by_key(|(_, (_, until))| *until).map(|(key, _)| *key)
        } else if open.iter().filter(of_same).count() >= OF_ONE {
            open.iter().filter(of_same).min_by_key(|(_, (_, until))| *until).map(|(key, _)| *key)
        } else {
            None
        };
        if let Some(oldest) = oldest {
            open.remove(&oldest);
        }
        open.insert(challenge, (purpose, now_ms.saturating_add(PATIENCE_MS)));
    }

    /// What this question was asked for. It is answered by that, rightly or not.
    pub(crate) fn take(&self, challenge: &[u8], now_ms: u64) -> Option<Purpose> {
        let key: [u8; 32] = challenge.try_into().ok()?;
        let mut open = self.open();
        let (purpose, until) = open.logins.remove(&key).or_else(|| open.others.remove(&key))?;
        (now_ms < until).then_some(purpose)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // A panic while it was held leaves maps that are whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(doorstep: &str) -> Purpose {
        Purpose::Login { doorstep: doorstep.to_owned() }
    }

    #[test]
    fn a_question_is_answered_once_and_soon() {
        let challenges = Challenges::default();
        challenges.put([1; 32], login("a"), 0);
        assert_eq!(challenges.take(&[1; 32], 1), Some(login("a")));
        assert_eq!(challenges.take(&[1; 32], 1), None);
        challenges.put([2; 32], login("a"), 0);
        assert_eq!(challenges.take(&[2; 32], PATIENCE_MS), None);
        assert_eq!(challenges.take(&[2; 31], 0), None);
    }

    #[test]
    fn strangers_crowd_out_nobody_who_is_logged_in() {
        let challenges = Challenges::default();
        let enrol = Purpose::Enrol { session: "s".into(), person: "ada".into(), name: String::new() };
        challenges.put([0xff; 32], enrol.clone(), 0);
        for n in 0..=IN_ALL {
            let mut key = [0; 32];
            key.iter_mut().zip(n.to_be_bytes()).for_each(|(to, from)| *to = from);
            challenges.put(key, login(&n.to_string()), 1);
        }
        assert_eq!(challenges.open().logins.len(), IN_ALL);
        assert_eq!(challenges.take(&[0xff; 32], 2), Some(enrol));
        for n in 0..=OF_ONE {
            challenges.put([u8::try_from(n).unwrap_or_default(); 32], login("one"), u64::try_from(n).unwrap_or_default());
        }
        assert_eq!(challenges.take(&[0; 32], 3), None, "the oldest of the same browser");
    }
}
