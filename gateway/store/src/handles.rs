//! One-shot handles of grants: what starts an agent over stdio hands it one, and it is good in the first process that shows it, and in no
//! other. In memory only: a handle ends with its grant, and with the gateway.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bailiwick_pipeline::{grant::Grant, ids::GrantId, ports::IdentityFailure, principal::Process};
use dashmap::DashMap;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{fault::WriteFault, tokens::fresh};

/// What every handle begins with: `tb_<grant id>_<43 base64url>`.
pub const HANDLE: &str = "tb_";

/// For so long a handle waits for its process, milliseconds.
pub const UNBOUND_MS: u64 = 5 * 60 * 1000;

/// Alarms about one handle are so far apart at least, milliseconds: whoever has it must not fill the trail.
const ALARM_EVERY_MS: u64 = 60 * 1000;

/// What becomes of handles, for whoever watches over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandleEvent {
    /// A process holds one from now on.
    Bound {
        /// The grant that it is of.
        grant: GrantId,
        /// The issue of the grant.
        revision: u64,
        /// The process.
        process: Process,
    },
    /// Another process than the one that holds it has shown it: somebody else has it.
    Misused {
        /// The grant that it is of.
        grant: GrantId,
        /// The process that holds it.
        holder: Process,
        /// The one that showed it.
        by: Process,
        /// How often that has happened since the last alarm, this time included.
        times: u64,
    },
}

/// Why there is no handle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandleFault {
    /// A process holds one of this grant.
    #[error("grant `{grant}` is held by {holder}, by a handle: what that process does ends the task")]
    Held {
        /// The grant.
        grant: GrantId,
        /// The process.
        holder: Process,
    },
    /// It could not be made.
    #[error(transparent)]
    Made(#[from] WriteFault),
}

type Hash = [u8; 32];

struct Held {
    grant: GrantId,
    revision: u64,
    bind_by_ms: u64,
    holder: Option<Process>,
    /// When an alarm was raised last, unix milliseconds, and how often there was cause since.
    alarmed_ms: Option<u64>,
    unalarmed: u64,
}

/// The handles that may be shown. A grant has one at most.
pub struct Handles {
    held: DashMap<Hash, Held>,
    /// Held by whoever makes one, and by a process that is not known to hold the one it shows.
    changing: Mutex<()>,
    events: UnboundedSender<HandleEvent>,
}

impl Handles {
    /// None yet; and where it is told what becomes of them.
    pub fn new() -> (Arc<Self>, UnboundedReceiver<HandleEvent>) {
        let (events, told) = unbounded_channel();
        (Arc::new(Self { held: DashMap::new(), changing: Mutex::default(), events }), told)
    }

    /// A new handle of this issue of a grant. Told once. One that was made before and that no process holds is good no more.
    pub fn issue(&self, grant: &Grant, now_ms: u64) -> Result<SecretString, HandleFault> {
        let _turn = self.turn();
        let is_same = |held: &Held| held.grant == grant.id && held.revision == grant.revision;
        if let Some(holder) = self.held.iter().find(|held| is_same(held)).and_then(|held| held.holder) {
            return Err(HandleFault::Held { grant: grant.id.clone(), holder });
        }
        let (handle, hash) = fresh(&format!("{HANDLE}{}", grant.id))?;
        self.held.retain(|_, held| !is_same(held));
        let (grant, revision, bind_by_ms) = (grant.id.clone(), grant.revision, now_ms.saturating_add(UNBOUND_MS));
        self.held.insert(hash, Held { grant, revision, bind_by_ms, holder: None, alarmed_ms: None, unalarmed: 0 });
        Ok(handle)
    }

    /// Of which grant this is, and of which issue of it, if it was made here. That it is known proves nothing yet.
    pub fn known(&self, handle: &SecretString) -> Option<(GrantId, u64)> {
        self.held.get(&hash(handle)).map(|held| (held.grant.clone(), held.revision))
    }

    /// The grant that a process may act under by this handle: the first process that shows it, within five minutes of its making. The
    /// grant must be live.
    pub(crate) fn shown(
        &self,
        handle: &SecretString,
        process: Process,
        now_ms: u64,
        is_live: impl Fn(&GrantId, u64) -> bool,
    ) -> Result<GrantId, IdentityFailure> {
        let refused = |why: &str| Err(IdentityFailure::Handle(why.to_owned()));
        let hash = hash(handle);
        let known = self.held.get(&hash).map(|held| (held.grant.clone(), held.revision, held.holder));
        let Some((grant, revision, holder)) = known else {
            return refused(
                "is unknown: it was never made, waited for more than five minutes, or is of a gateway that has ended",
            );
        };
        // INVARIANT: who has lost the grant has lost what it opened.
        if !is_live(&grant, revision) {
            return refused("is of a grant that is not live");
        }
        if holder == Some(process) {
            return Ok(grant);
        }
        let _turn = self.turn();
        let Some(mut held) = self.held.get_mut(&hash) else { return refused("was replaced by another one") };
        match held.holder {
            Some(holder) if holder == process => Ok(grant),
            Some(holder) => {
                self.alarm(&mut held, holder, process, now_ms);
                Err(IdentityFailure::Handle(format!("of grant `{grant}` is held by {holder}, and was shown by {process}")))
            }
            None if now_ms > held.bind_by_ms => refused("waited for more than five minutes"),
            None => {
                held.holder = Some(process);
                self.tell(HandleEvent::Bound { grant: grant.clone(), revision, process });
                Ok(grant)
            }
        }
    }

    /// Forgets the handles that are good for nothing any more.
    pub fn sweep(&self, now_ms: u64, is_live: impl Fn(&GrantId, u64) -> bool) {
        self.held.retain(|_, held| (held.holder.is_some() || now_ms <= held.bind_by_ms) && is_live(&held.grant, held.revision));
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alarm(&self, held: &mut Held, holder: Process, by: Process, now_ms: u64) {
        held.unalarmed += 1;
        if held.alarmed_ms.is_none_or(|at_ms| now_ms.saturating_sub(at_ms) >= ALARM_EVERY_MS) {
            held.alarmed_ms = Some(now_ms);
            let times = std::mem::take(&mut held.unalarmed);
            self.tell(HandleEvent::Misused { grant: held.grant.clone(), holder, by, times });
        }
    }

    fn tell(&self, event: HandleEvent) {
        // Nobody listens once the gateway ends: then no handle is good any more.
        let _unheard = self.events.send(event);
    }
}

fn hash(handle: &SecretString) -> Hash {
    Sha256::digest(handle.expose_secret().as_bytes()).into()
}

impl fmt::Debug for Handles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handles").field("held", &self.held.len()).finish_non_exhaustive()
    }
}
