//! What is remembered of logins that are under way: nothing. It goes to the browser and comes back under our own mark, so that no stranger
//! who begins many takes room from anybody else.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::hmac;

use crate::{
    random::{self, sha256},
    refused::Refused,
};

/// When it ends, eight bytes; what makes it unlike every other, sixteen; and our mark, thirty-two. What it carries comes after that.
const UNTIL: usize = 8;
const NONCE: usize = 16;
const MARK: usize = 32;

/// What a login is for which this was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The question to a passkey.
    Passkey,
    /// The state at an identity provider.
    Oidc,
}

impl Way {
    fn word(self) -> &'static [u8] {
        match self {
            Self::Passkey => b"passkey",
            Self::Oidc => b"oidc",
        }
    }
}

/// Makes them and knows them again. The key lives as long as the process.
pub(crate) struct LoginStates {
    key: hmac::Key,
    /// Those that let somebody in, by their SHA-256: they come only after a proof that counted, and go with their time.
    used: Mutex<HashMap<[u8; 32], u64>>,
}

impl LoginStates {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key), used: Mutex::default() }
    }

    /// One for the browser with this doorstep, good until then; it carries this.
    pub(crate) fn make(&self, way: Way, doorstep: &str, until_ms: u64, carries: &[u8]) -> Result<Vec<u8>, Refused> {
        let mut made = until_ms.to_be_bytes().to_vec();
        made.extend(random::bytes()?.iter().take(NONCE));
        let mark = hmac::sign(&self.key, &message(b"mark", way, doorstep, &[made.as_slice(), carries].concat()));
        made.extend_from_slice(mark.as_ref());
        made.extend_from_slice(carries);
        Ok(made)
    }

    /// What it carries, if it was made here for this browser, is not over, and has let nobody in yet.
    pub(crate) fn read(&self, way: Way, doorstep: &str, made: &[u8], now_ms: u64) -> Option<Vec<u8>> {
        let (head, rest) = made.split_at_checked(UNTIL + NONCE)?;
        let (mark, carries) = rest.split_at_checked(MARK)?;
        hmac::verify(&self.key, &message(b"mark", way, doorstep, &[head, carries].concat()), mark).ok()?;
        let is_good = now_ms < until_of(head)? && !self.used().contains_key(&sha256(made));
        is_good.then(|| carries.to_vec())
    }

    /// It lets somebody in; says whether it is the first time.
    pub(crate) fn spend(&self, made: &[u8], now_ms: u64) -> bool {
        let Some(until_ms) = until_of(made).filter(|until| now_ms < *until) else { return false };
        let mut used = self.used();
        used.retain(|_, until| now_ms < *until);
        used.insert(sha256(made), until_ms).is_none()
    }

    /// A secret that only who has the key can make of it, for this use.
    pub(crate) fn secret(&self, what: &[u8], doorstep: &str, made: &[u8]) -> [u8; 32] {
        let mut secret = [0; 32];
        let tag = hmac::sign(&self.key, &message(what, Way::Oidc, doorstep, made));
        secret.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        secret
    }

    fn used(&self) -> MutexGuard<'_, HashMap<[u8; 32], u64>> {
        // A panic while it was held leaves a map that is whole.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn until_of(made: &[u8]) -> Option<u64> {
    made.first_chunk::<UNTIL>().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The lengths first, so that no two of them make one message.
fn message(what: &[u8], way: Way, doorstep: &str, rest: &[u8]) -> Vec<u8> {
    let mut message = b"bailiwick.login.v1\0".to_vec();
    for part in [what, way.word(), doorstep.as_bytes(), rest] {
        message.extend_from_slice(&part.len().to_be_bytes());
        message.extend_from_slice(part);
    }
    message
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn it_is_for_one_browser_one_way_once_and_soon() {
        let states = LoginStates::new([7; 32]);
        let made = states.make(Way::Passkey, "a", 100, b"").unwrap();
        assert_eq!(states.read(Way::Passkey, "a", &made, 99), Some(Vec::new()));
        assert_eq!(states.read(Way::Passkey, "b", &made, 99), None, "another browser");
        assert_eq!(states.read(Way::Oidc, "a", &made, 99), None, "another way");
        assert_eq!(states.read(Way::Passkey, "a", &made, 100), None, "too late");
        assert_eq!(LoginStates::new([8; 32]).read(Way::Passkey, "a", &made, 99), None, "another start");
        for at in 0..made.len() {
            let mut other = made.clone();
            other.get_mut(at).into_iter().for_each(|byte| *byte ^= 1);
            assert_eq!(states.read(Way::Passkey, "a", &other, 0), None, "{at}");
        }
        assert!(states.spend(&made, 99) && !states.spend(&made, 99));
        assert_eq!(states.read(Way::Passkey, "a", &made, 99), None, "it has let somebody in");
        assert!(!states.spend(&made, 100) && !states.spend(b"", 0));
        assert_eq!(states.read(Way::Passkey, "a", b"", 0), None);
    }

    #[test]
    fn strangers_take_no_room() {
        let states = LoginStates::new([7; 32]);
        let mine = states.make(Way::Passkey, "mine", 100, b"/next").unwrap();
        for n in 0..10_000 {
            states.make(Way::Passkey, &n.to_string(), 100, b"").unwrap();
        }
        assert!(states.used().is_empty());
        assert_eq!(states.read(Way::Passkey, "mine", &mine, 1).as_deref(), Some(b"/next".as_slice()));
        assert!(states.spend(&mine, 1));
        let later = states.make(Way::Passkey, "x", 300, b"").unwrap();
        assert!(states.spend(&later, 200));
        assert_eq!(states.used().len(), 1, "what is over goes");
        assert_ne!(states.secret(b"nonce", "a", b"s"), states.secret(b"verifier", "a", b"s"));
        assert_ne!(states.secret(b"nonce", "a", b"s"), states.secret(b"nonce", "b", b"s"));
    }
}
