//! Questions that authenticators of people who are logged in were asked: each is answered once, soon, and for what it was asked for. Those
//! of logins are kept nowhere ([`crate::login_state`]).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How long an answer is waited for, milliseconds.
pub(crate) const PATIENCE_MS: u64 = 2 * 60 * 1000;

/// Questions open at once to one session.
const OF_ONE: usize = 8;

/// Questions open at once in all.
const IN_ALL: usize = 4096;

/// What a question was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A new passkey of this person.
    Enrol { session: String, person: String, name: String, leave: Leave },
    /// A signature under this act.
    Sign { session: String, person: String, act: [u8; 32], nonce: [u8; 32] },
}

/// By what a passkey may be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// By the ticket of a link.
    Ticket,
    /// By a proof, with what that proof itself traces to.
    Proof { maker: Option<u32> },
}

impl Purpose {
    /// Whose question it is.
    fn of(&self) -> &str {
        match self {
            Self::Enrol { session, .. } | Self::Sign { session, .. } => session,
        }
    }
}

/// The open questions.
#[derive(Default)]
pub(crate) struct Challenges(Mutex<HashMap<[u8; 32], (Purpose, u64)>>);

impl Challenges {
    /// Asks; the oldest of the same asker makes room.
    pub(crate) fn put(&self, challenge: [u8; 32], purpose: Purpose, now_ms: u64) {
        let mut open = self.open();
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
        let (purpose, until) = self.open().remove(&key)?;
        (now_ms < until).then_some(purpose)
    }

    /// No passkey is made any more of what this session was asked.
    pub(crate) fn void_enrolments(&self, of: &str) {
        self.open().retain(|_, (purpose, _)| !matches!(purpose, Purpose::Enrol { session, .. } if session == of));
    }

    fn open(&self) -> MutexGuard<'_, HashMap<[u8; 32], (Purpose, u64)>> {
        // A panic while it was held leaves a map that is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enrol(session: &str) -> Purpose {
        Purpose::Enrol { session: session.to_owned(), person: "ada".into(), name: String::new(), leave: Leave::Ticket }
    }

    fn sign(session: &str) -> Purpose {
        Purpose::Sign { session: session.to_owned(), person: "ada".into(), act: [0; 32], nonce: [0; 32] }
    }

    #[test]
    fn a_question_is_answered_once_and_soon() {
        let challenges = Challenges::default();
        challenges.put([1; 32], sign("a"), 0);
        assert_eq!(challenges.take(&[1; 32], 1), Some(sign("a")));
        assert_eq!(challenges.take(&[1; 32], 1), None);
        challenges.put([2; 32], sign("a"), 0);
        assert_eq!(challenges.take(&[2; 32], PATIENCE_MS), None);
        assert_eq!(challenges.take(&[2; 31], 0), None);
    }

    #[test]
    fn one_session_crowds_out_itself_alone() {
        let challenges = Challenges::default();
        challenges.put([0xff; 32], sign("other"), 0);
        for n in 0..=OF_ONE {
            challenges.put([u8::try_from(n).unwrap_or_default(); 32], sign("one"), u64::try_from(n).unwrap_or_default());
        }
        assert_eq!(challenges.take(&[0; 32], 3), None, "the oldest of the same session");
        assert_eq!(challenges.take(&[0xff; 32], 3), Some(sign("other")));
    }

    #[test]
    fn enrolments_of_one_session_are_voided_together() {
        let challenges = Challenges::default();
        challenges.put([1; 32], enrol("a"), 0);
        challenges.put([2; 32], enrol("b"), 0);
        challenges.put([3; 32], sign("a"), 0);
        challenges.void_enrolments("a");
        assert_eq!(challenges.take(&[1; 32], 1), None);
        assert!(challenges.take(&[2; 32], 1).is_some() && challenges.take(&[3; 32], 1).is_some());
    }
}
