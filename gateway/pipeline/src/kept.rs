//! Outcomes that reached nobody. When a call had an effect and its agent could not be told so, the outcome is kept for a short time and
//! answers the identical call, instead of a second effect.
//!
//! Kept is what a server answered, sealed and in memory: whoever kills the gateway takes it along. It is for the same agent under the same
//! grant with the same arguments of the same tool, and given once; policy is asked before as before any call.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bailiwick_schemas::canonical::{Digest, digest};
use bytes::Bytes;
use serde_json::Value;

use crate::{
    answer::{Answer, Body},
    catalogue::Tool,
    grant::LiveGrant,
    ids::{AgentId, CallId},
    ports::{Approvals, Clock},
    received::{Asked, Received},
    records::Outcome,
    way::Seen,
};

/// So many outcomes, and so many bytes of them: of one agent, and in all. A longer one is not kept.
const OF_EACH: usize = 16;
const IN_ALL: usize = 1024;
const BYTES_OF_EACH: usize = 4 * 1024 * 1024;
const BYTES_IN_ALL: usize = 64 * 1024 * 1024;
const BYTES: usize = 1024 * 1024;

/// An answer, and what has happened that it tells of.
#[derive(Debug)]
pub struct Handled {
    /// The answer.
    pub answer: Answer,
    /// What its agent has to hear, because it is done; none where nothing was done, or nothing is kept of it.
    pub effect: Option<Box<Effect>>,
}

/// What a call has done, as its server answered.
pub struct Effect {
    kept: Arc<Kept>,
    call: CallId,
    grant: Arc<LiveGrant>,
    tool: Arc<Tool>,
    arguments: Bytes,
    result: Bytes,
    outcome: Outcome,
    needs: BTreeSet<String>,
    /// What policy demanded of it.
    obligations: Vec<String>,
    meta: Digest,
}

impl Effect {
    /// Its agent has yet to hear of it. Whoever takes this says when it has: dropped without that, the outcome is kept.
    pub fn owed(self: Box<Self>) -> Owed {
        Owed(Some(self))
    }
}

impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Effect").field("call", &self.call).finish_non_exhaustive()
    }
}

/// An outcome that is on its way to its agent.
#[derive(Debug)]
pub struct Owed(Option<Box<Effect>>);

impl Owed {
    /// The call that it is of.
    pub fn call(&self) -> Option<&CallId> {
        self.0.as_ref().map(|effect| &effect.call)
    }

    /// It has arrived, as far as that can be seen.
    pub fn delivered(mut self) {
        self.0 = None;
    }
}

impl Drop for Owed {
    fn drop(&mut self) {
        if let Some(effect) = self.0.take() {
            let kept = Arc::clone(&effect.kept);
            kept.keep(&effect);
        }
    }
}

/// What is kept.
pub(crate) struct Kept {
    outcomes: Mutex<HashMap<Digest, Sealed>>,
    /// How many there are: most often none, and then nobody looks for any.
    count: AtomicUsize,
    keep_ms: AtomicU64,
    approvals: Arc<dyn Approvals>,
    clock: Arc<dyn Clock>,
}

/// One outcome.
struct Sealed {
    agent: AgentId,
    call: CallId,
    outcome: Outcome,
    result: Bytes,
    until_ms: u64,
    /// What people were asked before it was done.
    needs: BTreeSet<String>,
    /// What policy demanded of it then.
    obligations: Vec<String>,
}

/// An outcome that was kept.
pub(crate) struct Taken {
    /// The call that it is of.
    pub(crate) call: CallId,
    /// How that ended.
    pub(crate) outcome: Outcome,
    /// What its server answered, as policy had it then.
    pub(crate) result: Bytes,
    /// What policy demanded of it, in its words.
    pub(crate) obligations: Vec<String>,
}

impl Kept {
    pub(crate) fn new(approvals: Arc<dyn Approvals>, clock: Arc<dyn Clock>, keep: Duration) -> Self {
        let kept = Self { outcomes: Mutex::default(), count: AtomicUsize::new(0), keep_ms: AtomicU64::new(0), approvals, clock };
        kept.keep_for(keep);
        kept
    }

    /// Keeps outcomes for so long from now on.
    pub(crate) fn keep_for(&self, keep: Duration) {
        self.keep_ms.store(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What a call has done that ended with this; none of a read, and none where nothing is kept.
    pub(crate) fn effect_of(self: &Arc<Self>, answer: &Answer, seen: &Seen, received: &Received) -> Option<Box<Effect>> {
        let tool = seen.tool.as_ref().filter(|tool| tool.kind.has_effect())?;
        let (Asked::Call { arguments, .. }, Body::Result(result)) = (received.asked(), &answer.body) else { return None };
        if self.keep_ms.load(Ordering::Relaxed) == 0 || result.text().len() > BYTES {
            return None;
        }
        Some(Box::new(Effect {
            kept: Arc::clone(self),
            // What was kept and given out is of the call before, and is owed again.
            call: seen.outcome_of.as_ref().unwrap_or(received.call_id()).clone(),
            grant: Arc::clone(seen.grant.as_ref()?),
            tool: Arc::clone(tool),
            arguments: arguments.clone(),
            result: result.text().clone(),
            outcome: answer.outcome,
            needs: seen.needs.clone(),
            obligations: seen.obligations.clone(),
            meta: meta_of(received),
        }))
    }

    /// Whether anything is kept at all.
    pub(crate) fn is_any(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Takes what is kept of exactly this call: once, and only where people would be asked nothing now that they were not asked then.
    pub(crate) fn take(
        &self,
        grant: &LiveGrant,
        tool: &Tool,
        (arguments, received): (&Value, &Received),
        needs: &BTreeSet<String>,
    ) -> Option<Taken> {
        let key = key_of(grant, tool, arguments, &meta_of(received));
        let now_ms = self.clock.now_ms();
        let mut outcomes = self.locked();
        outcomes.retain(|_, sealed| sealed.until_ms > now_ms);
        let is_due = outcomes.get(&key).is_some_and(|sealed| needs.is_subset(&sealed.needs));
        let found = if is_due { outcomes.remove(&key) } else { None };
        self.count.store(outcomes.len(), Ordering::Release);
        drop(outcomes);
        let sealed = found?;
        let result = self.approvals.unseal(&about(&key), &sealed.result)?;
        Some(Taken { call: sealed.call, outcome: sealed.outcome, result, obligations: sealed.obligations })
    }

    fn keep(&self, effect: &Effect) {
        let keep_ms = self.keep_ms.load(Ordering::Relaxed);
        // They were read before: they can be read again.
        let Ok(arguments) = serde_json::from_slice::<Value>(&effect.arguments) else { return };
        let key = key_of(&effect.grant, &effect.tool, &arguments, &effect.meta);
        let Some(result) = self.approvals.seal(&about(&key), &effect.result).filter(|_| keep_ms > 0) else { return };
        let now_ms = self.clock.now_ms();
        let agent = effect.grant.terms().agent.clone();
        let mut outcomes = self.locked();
        outcomes.retain(|_, sealed| sealed.until_ms > now_ms);
        make_room(&mut outcomes, &agent, result.len());
        let bytes: usize = outcomes.values().map(|sealed| sealed.result.len()).sum();
        if outcomes.len() < IN_ALL && bytes + result.len() <= BYTES_IN_ALL {
            let until_ms = now_ms.saturating_add(keep_ms);
            let (call, needs, outcome) = (effect.call.clone(), effect.needs.clone(), effect.outcome);
            let obligations = effect.obligations.clone();
            outcomes.insert(key, Sealed { agent, call, outcome, result, until_ms, needs, obligations });
        }
        self.count.store(outcomes.len(), Ordering::Release);
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Digest, Sealed>> {
        // A panic while it was held leaves a map that is whole.
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The oldest of this agent give way to one more of so many bytes.
fn make_room(outcomes: &mut HashMap<Digest, Sealed>, agent: &AgentId, bytes: usize) {
    loop {
        let own = || outcomes.iter().filter(|(_, sealed)| sealed.agent == *agent);
        let held: usize = own().map(|(_, sealed)| sealed.result.len()).sum();
        if own().count() < OF_EACH && held + bytes <= BYTES_OF_EACH {
            return;
        }
        let Some(oldest) = own().min_by_key(|(_, sealed)| sealed.until_ms).map(|(key, _)| *key) else { return };
        outcomes.remove(&oldest);
    }
}

/// What the agent says beside the arguments that its server is told.
fn meta_of(received: &Received) -> Digest {
    Digest::of(&received.origin().meta)
}

/// What makes two calls one: who calls under what, and what exactly. Which process of the agent calls is no part of it: one that died before
/// it heard is followed by another.
fn key_of(grant: &LiveGrant, tool: &Tool, arguments: &Value, meta: &Digest) -> Digest {
    let terms = grant.terms();
    let text = format!(
        "bailiwick.outcome.v1\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{meta}",
        terms.agent,
        terms.id,
        terms.revision,
        tool.name,
        tool.digest,
        tool.connector.fingerprint,
        digest(arguments)
    );
    Digest::of(text.as_bytes())
}

/// What an outcome is sealed with.
fn about(key: &Digest) -> Vec<u8> {
    [b"bailiwick.kept-outcome.v1\0".as_slice(), key.as_bytes()].concat()
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("count", &self.count.load(Ordering::Relaxed)).finish_non_exhaustive()
    }
}
