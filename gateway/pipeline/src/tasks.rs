//! Calls that are answered later (MCP extension `io.modelcontextprotocol/tasks`), and the handles that agents ask for them by.
//!
//! An agent is given a handle of ours in place of a server's own id: random, good for one agent and grant, for as long as the task is to be
//! had and its grant lives. So no agent asks a server for what another one began, whatever ids that server gives.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bailiwick_schemas::{canonical::Digest, names::QualifiedName};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{
    answer::Answer,
    catalogue::Tool,
    grant::{LiveGrant, SendPass},
    halts::{Flight, Halt},
    ids::{AgentId, CallId, GrantId},
    ports::Recall,
    refusal::Refusal,
    rounds::Asking,
    trace::hex,
};

/// The extension, as capabilities name it.
pub const EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// What a client lacks that does not declare it, as an error says it (MCP 2026-07-28, `-32021`).
pub const NEEDED: &str = r#"{"requiredCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#;

/// So many tasks may be open for one agent, and in all; and so many bytes of their arguments and of kept answers together.
const OF_EACH: usize = 64;
const IN_ALL: usize = 4096;
const BYTES_OF_EACH: usize = 32 * 1024 * 1024;
const BYTES_IN_ALL: usize = 256 * 1024 * 1024;
/// How long the end of a grant waits for a server to take note that a task is called off.
const CALLING_OFF: Duration = Duration::from_secs(1);

/// The tasks that agents may ask for.
#[derive(Default)]
pub struct Tasks {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    tasks: HashMap<String, Arc<Task>>,
    /// For calls under way that may become one: how many of each agent.
    rooms: HashMap<AgentId, usize>,
}

/// Room for one more task of an agent, for as long as its call is under way.
pub(crate) struct Room {
    tasks: Arc<Tasks>,
    agent: AgentId,
}

/// Whose a task is, and what was called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Of {
    agent: AgentId,
    grant: (GrantId, u64),
    tool: QualifiedName,
    tool_digest: Digest,
    connector_fingerprint: Digest,
}

impl Of {
    /// A call of this tool under this grant.
    pub(crate) fn this(grant: &LiveGrant, tool: &Tool) -> Self {
        let terms = grant.terms();
        Self {
            agent: terms.agent.clone(),
            grant: (terms.id.clone(), terms.revision),
            tool: tool.name.clone(),
            tool_digest: tool.digest,
            connector_fingerprint: tool.connector.fingerprint,
        }
    }
}

/// One call that is answered later.
pub(crate) struct Task {
    handle: String,
    of: Of,
    /// The call that it began with.
    pub(crate) call: CallId,
    /// What it was called with: policies are asked about them again.
    pub(crate) arguments: Bytes,
    grant: Arc<LiveGrant>,
    pub(crate) made_ms: u64,
    changed_ms: AtomicU64,
    expires_ms: u64,
    state: Mutex<State>,
    is_over: AtomicBool,
    /// Cancelled when nobody is to wait for it any more.
    gone: CancellationToken,
}

/// What a task is made of.
pub(crate) struct Begun {
    pub(crate) of: Of,
    pub(crate) call: CallId,
    pub(crate) arguments: Bytes,
    pub(crate) grant: Arc<LiveGrant>,
    pub(crate) state: State,
    /// How long it may be asked for at most; never longer than its grant lives.
    pub(crate) ttl_ms: Option<u64>,
}

/// Where a task stands.
pub(crate) enum State {
    /// A server works on it.
    Remote(Remote),
    /// A person is still to decide: in these words.
    Waiting(String),
    /// It ended, with this.
    Ended(Box<Answer>),
    /// Its agent waits for it no more.
    Left,
}

/// A task of a server.
pub(crate) struct Remote {
    /// As the server calls it.
    pub(crate) id: String,
    /// What a person approved of the call.
    pub(crate) needs: BTreeSet<String>,
    /// What it asks and was not answered yet, by the server's keys.
    pub(crate) asked: BTreeMap<String, Asking>,
}

/// Too many are open already.
#[derive(Debug, thiserror::Error)]
#[error("too many tasks are open")]
pub(crate) struct TooMany;

impl Tasks {
    /// Room for one more task of this agent; none where it has too many, or all have. Of those that are over, the oldest gives way.
    pub(crate) fn room(self: &Arc<Self>, agent: &AgentId, bytes: usize, now_ms: u64) -> Option<Room> {
        let mut kept = self.locked();
        kept.make_room(agent, bytes, now_ms).ok()?;
        *kept.rooms.entry(agent.clone()).or_default() += 1;
        drop(kept);
        Some(Room { tasks: Arc::clone(self), agent: agent.clone() })
    }

    /// Keeps a task under a new handle. `room` is the room that was kept for it, if any was.
    pub(crate) fn open(&self, begun: Begun, room: Option<&Room>, now_ms: u64, random: [u8; 16]) -> Result<Arc<Task>, TooMany> {
        let mut kept = self.locked();
        if room.is_none() {
            kept.make_room(&begun.of.agent, begun.arguments.len(), now_ms)?;
        }
        let Begun { of, call, arguments, grant, state, ttl_ms } = begun;
        let ends = grant.chain().map(|grant| grant.terms().expires_at_ms).min().unwrap_or(0);
        let task = Arc::new(Task {
            handle: hex(&random),
            of,
            call,
            // Of its own: a handle keeps no whole message.
            arguments: Bytes::copy_from_slice(&arguments),
            grant,
            made_ms: now_ms,
            changed_ms: AtomicU64::new(now_ms),
            expires_ms: ttl_ms.map_or(ends, |ttl| now_ms.saturating_add(ttl).min(ends)),
            state: Mutex::new(state),
            is_over: AtomicBool::new(false),
            gone: CancellationToken::new(),
        });
        kept.tasks.insert(task.handle.clone(), Arc::clone(&task));
        Ok(task)
    }

    /// The task of this handle, while it and its grant live.
    pub(crate) fn find(&self, handle: &str, now_ms: u64) -> Option<Arc<Task>> {
        self.locked().tasks.get(handle).filter(|task| task.lives(now_ms)).cloned()
    }

    /// Keeps what a call came to that its agent does not wait for; or that it came to too much to be kept.
    pub(crate) fn end(&self, task: &Task, answer: Answer, now_ms: u64) {
        let fits = self.locked().make_bytes(&task.of.agent, answer.size()).is_ok();
        let answer = if fits { answer } else { Refusal::too_large_to_keep(answer.outcome).into_answer() };
        task.end(State::Ended(Box::new(answer)), now_ms);
    }

    /// Forgets a task: its server does not know it any more, or its agent never heard of it.
    pub(crate) fn forget(&self, handle: &str) {
        if let Some(task) = self.locked().tasks.remove(handle) {
            task.gone.cancel();
        }
    }

    /// Forgets what a halt reaches: who asks for it later hears that there is none.
    pub fn forget_halted(&self, halt: &Halt) {
        self.locked().tasks.retain(|_, task| {
            let is_halted = halt.is_of_grant(&task.grant) || halt.is_of_tool(&task.of.tool);
            if is_halted {
                task.gone.cancel();
            }
            !is_halted
        });
    }

    /// Forgets what is over by time, or with its grant.
    pub fn sweep(&self, now_ms: u64) {
        self.locked().keep_the_living(now_ms);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.locked().tasks.len()
    }

    fn locked(&self) -> MutexGuard<'_, Kept> {
        // A panic while it was held leaves maps that are whole.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn keep_the_living(&mut self, now_ms: u64) {
        self.tasks.retain(|_, task| {
            let lives = task.lives(now_ms);
            if !lives {
                task.gone.cancel();
            }
            lives
        });
    }

    /// Makes sure that one more task of this agent with so many bytes may be kept.
    fn make_room(&mut self, agent: &AgentId, bytes: usize, now_ms: u64) -> Result<(), TooMany> {
        self.keep_the_living(now_ms);
        while self.tasks.values().filter(|task| task.of.agent == *agent).count() + self.rooms_of(agent) >= OF_EACH {
            self.drop_one(|task| task.of.agent == *agent)?;
        }
        while self.tasks.len() + self.rooms.values().sum::<usize>() >= IN_ALL {
            self.drop_one(|_| true)?;
        }
        self.make_bytes(agent, bytes)
    }

    /// Makes sure that so many more bytes of this agent may be kept.
    fn make_bytes(&mut self, agent: &AgentId, bytes: usize) -> Result<(), TooMany> {
        while self.held(|task| task.of.agent == *agent).saturating_add(bytes) > BYTES_OF_EACH {
            self.drop_one(|task| task.of.agent == *agent)?;
        }
        while self.held(|_| true).saturating_add(bytes) > BYTES_IN_ALL {
            self.drop_one(|_| true)?;
        }
        Ok(())
    }

    fn rooms_of(&self, agent: &AgentId) -> usize {
        self.rooms.get(agent).copied().unwrap_or(0)
    }

    fn held(&self, is_meant: impl Fn(&Task) -> bool) -> usize {
        self.tasks.values().filter(|task| is_meant(task)).map(|task| task.bytes()).sum()
    }

    /// Drops the oldest of these that is over.
    fn drop_one(&mut self, is_meant: impl Fn(&Task) -> bool) -> Result<(), TooMany> {
        let over = self.tasks.values().filter(|task| is_meant(task) && task.is_over.load(Ordering::Acquire));
        let oldest = over.min_by_key(|task| task.made_ms).map(|task| task.handle.clone()).ok_or(TooMany)?;
        self.tasks.remove(&oldest);
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut kept = self.tasks.locked();
        if let Some(rooms) = kept.rooms.get_mut(&self.agent) {
            *rooms = rooms.saturating_sub(1);
            if *rooms == 0 {
                kept.rooms.remove(&self.agent);
            }
        }
    }
}

impl Task {
    /// What its agent asks for it by.
    pub(crate) fn handle(&self) -> &str {
        &self.handle
    }

    /// The tool that was called.
    pub(crate) fn tool(&self) -> &QualifiedName {
        &self.of.tool
    }

    /// Whether it is of this agent's call of this tool under this grant.
    pub(crate) fn is_of(&self, of: &Of) -> bool {
        self.of == *of
    }

    /// How long it is to be had, from when it was made, milliseconds.
    pub(crate) fn ttl_ms(&self) -> u64 {
        self.expires_ms.saturating_sub(self.made_ms)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held leaves a state that is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server's own id, where a server works on it.
    pub(crate) fn remote_id(&self) -> Option<String> {
        match &*self.state() {
            State::Remote(remote) => Some(remote.id.clone()),
            State::Waiting(_) | State::Ended(_) | State::Left => None,
        }
    }

    /// Takes note of what it asks now.
    pub(crate) fn asks(&self, asked: BTreeMap<String, Asking>) {
        if let State::Remote(remote) = &mut *self.state() {
            remote.asked = asked;
        }
    }

    /// Takes the questions of these keys: once. False, and none is taken, where one of them is not open any more.
    pub(crate) fn claim<'k>(&self, keys: impl Iterator<Item = &'k String> + Clone) -> bool {
        let mut state = self.state();
        let State::Remote(remote) = &mut *state else { return false };
        if !keys.clone().all(|key| remote.asked.contains_key(key)) {
            return false;
        }
        keys.for_each(|key| _ = remote.asked.remove(key));
        true
    }

    /// Has its end, or that it is left, stand; the first one counts.
    pub(crate) fn end(&self, end: State, now_ms: u64) {
        let mut state = self.state();
        let waits = matches!(*state, State::Waiting(_));
        if waits {
            *state = end;
            self.changed_ms.store(now_ms, Ordering::Release);
        }
        drop(state);
        // What a server has taken up goes on there.
        if waits {
            self.is_over();
        }
    }

    /// Says anew what it waits for.
    pub(crate) fn waits_for(&self, words: String, now_ms: u64) {
        if let State::Waiting(before) = &mut *self.state() {
            *before = words;
            self.changed_ms.store(now_ms, Ordering::Release);
        }
    }

    /// A server has taken it up: from here on that one is asked. False where nobody waits for it any more.
    pub(crate) fn taken_up(&self, remote: Remote, now_ms: u64) -> bool {
        let mut state = self.state();
        let waits = matches!(*state, State::Waiting(_));
        if waits {
            *state = State::Remote(remote);
            self.changed_ms.store(now_ms, Ordering::Release);
        }
        waits
    }

    /// When it last changed, as far as we know by ourselves.
    pub(crate) fn changed_ms(&self) -> u64 {
        self.changed_ms.load(Ordering::Acquire)
    }

    /// Takes note that it is over: it gives way to others, and is not called off any more.
    pub(crate) fn is_over(&self) {
        self.is_over.store(true, Ordering::Release);
        self.gone.cancel();
    }

    /// Cancelled when it is over, left or forgotten.
    pub(crate) fn gone(&self) -> CancellationToken {
        self.gone.clone()
    }

    fn lives(&self, now_ms: u64) -> bool {
        // Cancelled before it is over: a halt has reached it.
        let is_struck = self.gone.is_cancelled() && !self.is_over.load(Ordering::Acquire);
        !is_struck && now_ms < self.expires_ms && !self.grant.cancelled().is_cancelled()
    }

    fn bytes(&self) -> usize {
        let kept = match &*self.state() {
            State::Ended(answer) => answer.size(),
            _ => 0,
        };
        self.arguments.len() + kept
    }

    /// Sees to it that the server gives it up when its grant ends, which waits for `pass`. What is over needs no more of that.
    pub(crate) fn watch(self: &Arc<Self>, id: String, recall: Box<dyn Recall>, pass: SendPass, flight: Flight) {
        let (ends, gone, task) = (self.grant.cancelled().clone(), self.gone.clone(), Arc::clone(self));
        tokio::spawn(async move {
            tokio::select! {
                () = gone.cancelled() => {}
                () = ends.cancelled() => {}
                _ = flight.struck() => task.gone.cancel(),
            }
            // Whichever comes first: a task that nobody can ask for any more is not worked on.
            if !task.is_over.load(Ordering::Acquire) {
                call_off(id, recall).await;
            }
            drop(pass);
        });
    }
}

/// Has a server give up a task. It may not listen: nobody waits long for it.
pub(crate) async fn call_off(id: String, recall: Box<dyn Recall>) {
    let _late = tokio::time::timeout(CALLING_OFF, recall.call_off(id)).await;
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("count", &self.count()).finish()
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("of", &self.of).field("call", &self.call).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
