//! What a server says before its answer: progress and log messages, and in the versions that have a handshake what it asks. Bounded from its
//! server to its agent: what has no room is counted and dropped, so that nobody waits for whoever does not read.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crate::{grant::SendPass, inquiry::Inquiry, ports::Later};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// So many asides of a call may wait, so many bytes of them together, and so many may come in all.
const WAITING: usize = 256;
const WAITING_BYTES: usize = 256 * 1024;
const IN_ALL: u64 = 10_000;

/// The longest aside, bytes.
pub const ASIDE_BYTES: usize = 64 * 1024;

/// How grave a log message is (RFC 5424; MCP `server/utilities/logging`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// Of use to whoever mends the server.
    Debug,
    /// What goes on.
    Info,
    /// What is worth knowing.
    Notice,
    /// What may become an error.
    Warning,
    /// What failed.
    Error,
    /// What failed and is needed.
    Critical,
    /// What is to be seen to at once.
    Alert,
    /// Nothing works any more.
    Emergency,
}

impl LogLevel {
    /// All of them, the least grave first.
    pub const ALL: [Self; 8] =
        [Self::Debug, Self::Info, Self::Notice, Self::Warning, Self::Error, Self::Critical, Self::Alert, Self::Emergency];

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }

    /// The level of this name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == name)
    }
}

/// What an agent wants to hear before the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wants {
    /// Its progress token, as written: a JSON string or integer. Without one it hears of no progress.
    pub progress: Option<Box<str>>,
    /// The least grave log messages that it wants. Without a level it hears none.
    pub level: Option<LogLevel>,
}

impl Wants {
    /// Whether it wants to hear anything.
    pub fn any(&self) -> bool {
        self.progress.is_some() || self.level.is_some()
    }
}

/// What kind of aside it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsideKind {
    /// `notifications/progress`
    Progress,
    /// `notifications/message`
    Log,
}

impl AsideKind {
    /// The MCP method.
    pub fn method(self) -> &'static str {
        match self {
            Self::Progress => "notifications/progress",
            Self::Log => "notifications/message",
        }
    }

    /// The kind of this method.
    pub fn of(method: &str) -> Option<Self> {
        [Self::Progress, Self::Log].into_iter().find(|kind| kind.method() == method)
    }
}

/// An aside that an agent may hear: screened, and under the agent's own progress token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// What it is.
    pub kind: AsideKind,
    /// Its `params`: a JSON object.
    pub params: String,
}

impl Aside {
    /// The whole message: one line of JSON.
    pub fn message(&self) -> String {
        let params = self.params.replace(['\n', '\r'], " ");
        format!(r#"{{"jsonrpc":"2.0","method":"{}","params":{params}}}"#, self.kind.method())
    }
}

/// Tells an agent what is said before its answer.
pub trait Herald: Send + Sync {
    /// Tells it. Never blocks: false where there is no room, or nobody who hears it.
    fn tell(&self, aside: Aside) -> bool;
    /// Puts a question of the gateway's own to whoever is at the agent's client, while its call is held: the result, as the client answers
    /// it. None where there is no way to ask, it was asked before, or no answer came. Dropped, the question is taken back.
    fn ask(&self, _: Inquiry) -> Later<'_, Option<Bytes>> {
        Box::pin(std::future::ready(None))
    }
}

/// An aside as a server said it, before anybody may hear it.
#[derive(Debug)]
pub struct RawAside {
    pub(crate) kind: AsideKind,
    pub(crate) params: Bytes,
    /// Its room among those that wait, free again once it is taken up.
    _room: OwnedSemaphorePermit,
}

/// What a server asks while it works on a call, before anybody may hear it.
#[derive(Debug)]
pub struct RawQuestion {
    pub(crate) method: String,
    pub(crate) params: Bytes,
    pub(crate) reply: oneshot::Sender<Spoken>,
    _room: OwnedSemaphorePermit,
}

/// What an agent answered to a question. To be dropped once it is written: what ends the grant waits for that.
#[derive(Debug)]
pub struct Spoken {
    text: Bytes,
    _pass: Option<Arc<SendPass>>,
}

impl Spoken {
    pub(crate) fn new(text: Bytes, pass: Option<Arc<SendPass>>) -> Self {
        Self { text, _pass: pass }
    }

    /// The answer: a JSON object.
    pub fn text(&self) -> &Bytes {
        &self.text
    }
}

/// What was handed over.
#[derive(Debug)]
pub(crate) enum Said {
    Aside(RawAside),
    Question(RawQuestion),
}

/// Where a channel hands over what its server says before the answer. Made for one call.
#[derive(Debug)]
pub struct Ear {
    progress: bool,
    level: Option<LogLevel>,
    questions: bool,
    queue: mpsc::Sender<Said>,
    room: Arc<Semaphore>,
    offered: AtomicU64,
    unheard: Arc<AtomicU64>,
    attended: Arc<AtomicBool>,
}

/// The other end of an [`Ear`]: what was handed over.
#[derive(Debug)]
pub struct Overheard {
    queue: mpsc::Receiver<Said>,
    unheard: Arc<AtomicU64>,
    attended: Arc<AtomicBool>,
}

impl Ear {
    /// An ear for what is wanted, and what it hears.
    pub fn for_wants(wants: &Wants) -> (Self, Overheard) {
        let (queue, heard) = mpsc::channel(WAITING);
        let unheard = Arc::<AtomicU64>::default();
        let ear = Self {
            progress: wants.progress.is_some(),
            level: wants.level,
            questions: false,
            queue,
            room: Arc::new(Semaphore::new(WAITING_BYTES)),
            offered: AtomicU64::new(0),
            unheard: Arc::clone(&unheard),
            attended: Arc::new(AtomicBool::new(true)),
        };
        let attended = Arc::clone(&ear.attended);
        (ear, Overheard { queue: heard, unheard, attended })
    }

    /// One that takes questions, too.
    #[must_use]
    pub fn with_questions(self) -> Self {
        Self { questions: true, ..self }
    }

    /// One that takes none: for a server that can't ask while it works.
    #[must_use]
    pub fn without_questions(self) -> Self {
        Self { questions: false, ..self }
    }

    /// Whether the server may ask something. Then people may be waited for, and whoever sends the call ends it in time.
    pub fn takes_questions(&self) -> bool {
        self.questions
    }

    /// Whether somebody attends to the call now, and would hear a question at once. Else it waits for the agent.
    pub fn is_attended(&self) -> bool {
        self.attended.load(Ordering::Acquire)
    }

    /// Asks: `params` are a JSON object, and so is the answer. None where nobody takes the question now; the answer never comes where it is
    /// refused. Never blocks.
    pub fn ask(&self, method: &str, params: &[u8]) -> Option<oneshot::Receiver<Spoken>> {
        let is_fit = self.questions && params.len() <= ASIDE_BYTES && self.offered.fetch_add(1, Ordering::Relaxed) < IN_ALL;
        let bytes = u32::try_from(params.len()).ok().and_then(NonZeroU32::new).filter(|_| is_fit)?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes.get()).ok()?;
        let (reply, answer) = oneshot::channel();
        let question = RawQuestion { method: method.to_owned(), params: Bytes::copy_from_slice(params), reply, _room: room };
        self.queue.try_send(Said::Question(question)).ok().map(|()| answer)
    }

    /// Whether the server is to be asked for progress.
    pub fn hears_progress(&self) -> bool {
        self.progress
    }

    /// The log messages that the server is to be asked for.
    pub fn level(&self) -> Option<LogLevel> {
        self.level
    }

    /// Takes the `params` of an aside that belongs to this very call. Never blocks: what is not wanted, too long, or has no room is counted
    /// and dropped.
    pub fn hear(&self, kind: AsideKind, params: &[u8]) {
        let is_wanted = match kind {
            AsideKind::Progress => self.progress,
            AsideKind::Log => self.level.is_some(),
        };
        let is_fit = is_wanted && params.len() <= ASIDE_BYTES && self.offered.fetch_add(1, Ordering::Relaxed) < IN_ALL;
        let bytes = u32::try_from(params.len()).ok().and_then(NonZeroU32::new).filter(|_| is_fit);
        let room = bytes.and_then(|bytes| Arc::clone(&self.room).try_acquire_many_owned(bytes.get()).ok());
        // A copy: what it was read from may be much larger.
        let kept = room.is_some_and(|room| {
            let aside = RawAside { kind, params: Bytes::copy_from_slice(params), _room: room };
            self.queue.try_send(Said::Aside(aside)).is_ok()
        });
        if !kept {
            self.unheard.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Overheard {
    /// The next one; none once the channel is done.
    pub(crate) async fn next(&mut self) -> Option<Said> {
        self.queue.recv().await
    }

    /// The next one, if it is there.
    pub(crate) fn there(&mut self) -> Option<Said> {
        self.queue.try_recv().ok()
    }

    /// Says whether somebody attends to the call.
    pub(crate) fn attend(&self, attended: bool) {
        self.attended.store(attended, Ordering::Release);
    }

    /// How many were dropped on their way here.
    pub(crate) fn unheard(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.unheard)
    }

    /// All asides that are there now: kind and `params`. Questions among them are refused.
    pub fn take(&mut self) -> Vec<(AsideKind, String)> {
        let words = |said| match said {
            Said::Aside(aside) => Some((aside.kind, String::from_utf8_lossy(&aside.params).into_owned())),
            Said::Question(_) => None,
        };
        std::iter::from_fn(|| self.there()).filter_map(words).collect()
    }

    /// How many were dropped, not to grow or to wait.
    pub fn dropped(&self) -> u64 {
        self.unheard.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Wants {
        Wants { progress: Some("1".into()), level: Some(LogLevel::Debug) }
    }

    #[test]
    fn levels_are_in_order_and_have_their_names() {
        assert!(LogLevel::ALL.is_sorted());
        assert!(LogLevel::ALL.iter().all(|level| LogLevel::of(level.as_str()) == Some(*level)));
        assert_eq!((LogLevel::of("Debug"), LogLevel::of("warn")), (None, None));
    }

    #[test]
    fn only_what_is_wanted_is_heard() {
        for (wants, progress, log) in [
            (all(), 1, 1),
            (Wants { level: None, ..all() }, 1, 0),
            (Wants { progress: None, ..all() }, 0, 1),
            (Wants::default(), 0, 0),
        ] {
            let (ear, mut heard) = Ear::for_wants(&wants);
            ear.hear(AsideKind::Progress, b"{}");
            ear.hear(AsideKind::Log, b"{}");
            let kinds: Vec<_> = heard.take().into_iter().map(|(kind, _)| kind).collect();
            let count = |of| kinds.iter().filter(|kind| **kind == of).count();
            assert_eq!((count(AsideKind::Progress), count(AsideKind::Log)), (progress, log), "{wants:?}");
            assert_eq!(heard.dropped(), 2 - progress as u64 - log as u64);
        }
    }

    #[test]
    fn what_has_no_room_is_counted_and_room_is_made_by_taking() {
        let (ear, mut heard) = Ear::for_wants(&all());
        (0..WAITING + 5).for_each(|_| ear.hear(AsideKind::Log, b"{}"));
        assert_eq!((heard.take().len(), heard.dropped()), (WAITING, 5));
        let large = vec![b'x'; ASIDE_BYTES];
        (0..=WAITING_BYTES / ASIDE_BYTES).for_each(|_| ear.hear(AsideKind::Log, &large));
        assert_eq!((heard.take().len(), heard.dropped()), (WAITING_BYTES / ASIDE_BYTES, 6));
        ear.hear(AsideKind::Log, &vec![b'x'; ASIDE_BYTES + 1]);
        ear.hear(AsideKind::Log, b"");
        assert_eq!((heard.take().len(), heard.dropped()), (0, 8));
        ear.hear(AsideKind::Progress, b"{}");
        assert_eq!(heard.take(), [(AsideKind::Progress, "{}".to_owned())]);
    }

    #[test]
    fn a_call_hears_so_many_and_no_more() {
        let (ear, mut heard) = Ear::for_wants(&all());
        let taken: usize = (0..IN_ALL + 100)
            .map(|_| {
                ear.hear(AsideKind::Progress, b"{}");
                heard.take().len()
            })
            .sum();
        assert_eq!((taken as u64, heard.dropped()), (IN_ALL, 100));
    }

    #[test]
    fn a_message_is_one_line() {
        let aside = Aside { kind: AsideKind::Log, params: "{\n\"level\":\r\"info\"}".to_owned() };
        let line = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{ "level": "info"}}"#;
        assert_eq!(aside.message(), line);
    }
}
