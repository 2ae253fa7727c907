//! A link over the standard input and output of a child.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bailiwick_pipeline::{
    aside::{AsideKind, Ear, Spoken},
    ports::{Later, SendFailure},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{ChildStdin, ChildStdout},
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    lines::{Line, read_line},
    link::{Body, Changes, DISCOVER, End, INITIALIZE, Link, News, Request, Written},
    message::{self, Answer, Incoming},
    status::Counters,
    stderr::{Redactor, Tail},
    version::Version,
};

/// So many lines in a row that are no message, and the child is given up.
const GARBAGE: u32 = 100;
/// So many unasked messages in a second, and the child has to wait; so many bytes count as one more.
const UNASKED_A_SECOND: usize = 1000;
const BYTES_EACH: usize = 16 * 1024;
/// So many short messages may wait to be written.
const NOTES: usize = 64;
/// A short message that can't be written in this time is given up.
const NOTE_PATIENCE: Duration = Duration::from_secs(5);

/// How long the reason of a death may be on its way.
const OBITUARY: Duration = Duration::from_millis(1500);

/// The connection to one child.
pub(crate) struct Pipe {
    stdin: tokio::sync::Mutex<ChildStdin>,
    waiting: Mutex<Waiting>,
    notes: mpsc::Sender<Note>,
    changes: Changes,
    ended: OnceLock<End>,
    ending: CancellationToken,
    max_message: Arc<AtomicUsize>,
    counters: Arc<Counters>,
    redactor: Redactor,
    tail: Arc<Tail>,
    /// Whether it serves many grants.
    is_shared: bool,
}

/// A short message that is to be written.
enum Note {
    /// It is there.
    Now(Vec<u8>),
    /// It answers a question of the server, with this id, once an agent has answered that.
    Later(String, oneshot::Receiver<Spoken>),
}

/// Who waits for which answer.
struct Waiting {
    /// The id of the next request.
    next: i64,
    /// The question which protocol the server speaks, while it waits for its answer.
    asking: Option<i64>,
    /// INVARIANT: empty once the pipe has ended.
    calls: BTreeMap<i64, Caller>,
}

/// Who waits for an answer.
struct Caller {
    answer: oneshot::Sender<Result<Answer, String>>,
    /// Where what comes before the answer goes.
    ear: Option<Ear>,
    /// Whether it is an agent's call, and not a request of our own.
    is_call: bool,
}

impl Pipe {
    /// A pipe, and what writes its short messages (to be run as a task).
    pub(crate) fn new(
        stdin: ChildStdin,
        max_message: Arc<AtomicUsize>,
        counters: Arc<Counters>,
        redactor: Redactor,
        tail: Arc<Tail>,
        is_shared: bool,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static) {
        let (notes, queue) = mpsc::channel(NOTES);
        let pipe = Arc::new(Self {
            stdin: tokio::sync::Mutex::new(stdin),
            waiting: Mutex::new(Waiting { next: 1, asking: None, calls: BTreeMap::new() }),
            notes,
            changes: Changes::default(),
            ended: OnceLock::new(),
            ending: CancellationToken::new(),
            max_message,
            counters,
            redactor,
            tail,
            is_shared,
        });
        (Arc::clone(&pipe), pipe.write_notes(queue))
    }

    /// Cancelled once the pipe has ended.
    pub(crate) fn ending(&self) -> &CancellationToken {
        &self.ending
    }

    /// The child is gone: nothing of what was lent to it is kept.
    pub(crate) fn let_go(&self) {
        self.redactor.let_go();
    }

    /// What the child wrote to standard error.
    pub(crate) fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Reads what the child says, to the end. Returns how it ended: none for the plain end of its output.
    pub(crate) async fn listen(self: Arc<Self>, stdout: ChildStdout) -> Option<End> {
        let mut from = BufReader::with_capacity(32 * 1024, stdout);
        tokio::select! {
            () = self.ending.cancelled() => self.ended(),
            end = self.listen_to(&mut from) => end,
        }
    }

    async fn listen_to<R: AsyncBufRead + Unpin>(&self, from: &mut R) -> Option<End> {
        let mut garbage = 0;
        let mut second = (Instant::now(), 0_usize);
        loop {
            if let Err(fault) = from.fill_buf().await {
                return Some(End::failure(format!("its output can't be read: {fault}")));
            }
            // Asked once there is something to read: it may have changed since the last line.
            let most = self.max_message.load(Ordering::Relaxed);
            let line = match read_line(from, most).await {
                Ok(Line::Text(line)) => line,
                Ok(Line::TooLong) => {
                    return Some(End::failure(format!("it wrote a line of more than {most} bytes")));
                }
                Ok(Line::End) => return None,
                Err(fault) => {
                    return Some(End::failure(format!("its output can't be read: {fault}")));
                }
            };
            match self.take(&line, most) {
                Taken::Answer => {
                    garbage = 0;
                    continue;
                }
                Taken::Unasked => {}
                Taken::Garbage => garbage += 1,
            }
            if garbage >= GARBAGE {
                return Some(End::failure(format!("it wrote {GARBAGE} lines that are no JSON-RPC message")));
            }
            second.1 += 1 + line.len() / BYTES_EACH;
            if second.1 >= UNASKED_A_SECOND {
                tokio::time::sleep_until(second.0 + Duration::from_secs(1)).await;
            }
            if second.0.elapsed() >= Duration::from_secs(1) {
                second = (Instant::now(), 0);
            }
        }
    }

    fn take(&self, line: &Bytes, most: usize) -> Taken {
        match message::read(line, most) {
            Ok(Incoming::Answer { id, answer }) => {
                if self.settle(id, answer) {
                    return Taken::Answer;
                }
            }
            Ok(Incoming::Stray) => self.counters.unknown_ids.rise(),
            Ok(Incoming::Request { id, method, params }) => {
                self.counters.server_requests.rise();
                // Room for the answer first: nobody is asked in vain.
                let Ok(room) = self.notes.try_reserve() else {
                    self.counters.unsent_notes.rise();
                    return Taken::Unasked;
                };
                room.send(match self.put(&method, params.as_ref()) {
                    Some(answer) => Note::Later(id, answer),
                    None => Note::Now(message::reply(&id, &method)),
                });
            }
            Ok(Incoming::Notification { method, news, told }) => {
                self.counters.notifications.rise();
                self.changes.heard(&method, told.as_ref());
                if let Some(news) = news
                    && !self.hear(&news)
                {
                    self.counters.stray_news.rise();
                }
            }
            Err(fault) => {
                self.counters.garbage_lines.rise();
                if let Some(id) = message::claimed_id(line) {
                    self.settle(id, Err(self.redactor.unquoted(&fault)));
                }
                return Taken::Garbage;
            }
        }
        Taken::Unasked
    }

    /// Hands what comes before an answer to the call that it belongs to; false where it belongs to none. Progress names its request. A log
    /// message does not: it is a call's where no other one could be meant.
    fn hear(&self, news: &News) -> bool {
        // Read before others have to wait for it.
        let token = if news.kind == AsideKind::Progress { news.token() } else { None };
        let waiting = self.waiting();
        let ear = match news.kind {
            AsideKind::Progress => {
                let named = token.and_then(|id| waiting.calls.get(&id));
                named.and_then(|call| call.ear.as_ref()).filter(|ear| ear.hears_progress())
            }
            AsideKind::Log => {
                // What is said of nobody's call in particular may be about another grant's.
                let mut calls = waiting.calls.values().filter(|call| call.is_call && !self.is_shared);
                let only = calls.next().filter(|_| calls.next().is_none());
                only.and_then(|call| call.ear.as_ref()).filter(|ear| ear.level().is_some())
            }
        };
        ear.map(|ear| ear.hear(news.kind, &news.params)).is_some()
    }

    /// Puts a question of the server to who made the call that it belongs to. It does not say to which: so there must be none in flight that
    /// may not be asked. All of a pipe are of one grant, and among those that may, it is the last one that somebody attends to.
    fn put(&self, method: &str, params: Option<&Bytes>) -> Option<oneshot::Receiver<Spoken>> {
        if !message::is_for_agent(method) {
            return None;
        }
        let waiting = self.waiting();
        let ears: Option<Vec<&Ear>> = waiting
            .calls
            .values()
            .filter(|call| call.is_call)
            .map(|call| call.ear.as_ref().filter(|ear| ear.takes_questions()))
            .collect();
        let ears = ears?;
        let ear = ears.iter().rev().find(|ear| ear.is_attended()).or_else(|| ears.last())?;
        ear.ask(method, params.map_or(b"{}", |params| params))
    }

    /// Hands an answer to who waits for it; false if nobody does.
    fn settle(&self, id: i64, answer: Result<Answer, String>) -> bool {
        let mut waiting = self.waiting();
        let given = id >= 1 && id < waiting.next;
        let waits = waiting.calls.remove(&id);
        drop(waiting);
        if let Some(call) = waits {
            // Nobody listens any more: then it is as good as cancelled.
            let _ = call.answer.send(answer);
            return true;
        }
        let counters = &self.counters;
        if given { &counters.second_answers } else { &counters.unknown_ids }.rise();
        false
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a short message written when there is room. Never waits.
    fn note(&self, note: Note) {
        if self.notes.try_send(note).is_err() {
            self.counters.unsent_notes.rise();
        }
    }

    async fn write_notes(self: Arc<Self>, mut queue: mpsc::Receiver<Note>) {
        let mut later = FuturesUnordered::new();
        loop {
            // What an agent says is told as a call is: whatever ends its grant waits until it is written.
            let (text, _spoken) = tokio::select! {
                () = self.ending.cancelled() => return,
                Some(later) = later.next() => later,
                note = queue.recv() => match note {
                    None => return,
                    Some(Note::Now(text)) => (text, None),
                    Some(Note::Later(id, answer)) => {
                        // It comes from people: bounded by the calls that may ask, and dropped with them.
                        later.push(async move {
                            let spoken = answer.await.ok();
                            (message::answered(&id, spoken.as_ref().map(Spoken::text)), spoken)
                        });
                        continue;
                    }
                },
            };
            if !matches!(tokio::time::timeout(NOTE_PATIENCE, self.write(&line(text))).await, Ok(Ok(()))) {
                self.counters.unsent_notes.rise();
            }
        }
    }

    /// Writes one line. Dropped half-way, it ends the pipe: what follows half a line would be read as its other half.
    async fn write(&self, line: &[u8]) -> Result<(), SendFailure> {
        let mut stdin = self.stdin.lock().await;
        if let Some(end) = self.ended() {
            return Err(SendFailure::Unsent(end.why));
        }
        let mut torn = Torn { pipe: self, done: 0, all: line.len() };
        while let Some(rest) = line.get(torn.done..).filter(|rest| !rest.is_empty()) {
            let fault = match stdin.write(rest).await {
                Ok(0) => "it takes no more input".to_owned(),
                Ok(more) => {
                    torn.done += more;
                    continue;
                }
                Err(fault) => fault.to_string(),
            };
            // Most likely it has died, and who watches it knows more in a moment.
            let _ = tokio::time::timeout(OBITUARY, self.ending.cancelled()).await;
            self.end(End::failure(format!("its input is closed: {fault}")));
            let why = self.ended().map_or(fault, |end| end.why);
            return Err(if torn.done == 0 { SendFailure::Unsent(why) } else { SendFailure::Closed(why) });
        }
        stdin.flush().await.map_err(|fault| SendFailure::Closed(fault.to_string()))
    }

    async fn ask(&self, request: Request<'_>) -> Result<Answer, SendFailure> {
        let Request { body, version, timeout, cancelled, written, ear } = request;
        let deadline = Instant::now() + timeout;
        let late = || SendFailure::Timeout(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        let (mut place, answer) = self.register()?;
        let message = match body {
            Body::Own { method, members } => {
                // The first request may not be revoked; and servers end at a notification that comes before it.
                place.revocable = !matches!(method, INITIALIZE | DISCOVER);
                if method == DISCOVER {
                    self.waiting().asking = Some(place.id);
                }
                message::request(place.id, method, members, version)
            }
            Body::Call(call) => message::call(place.id, &call, ear.as_ref(), version),
        };
        if matches!(body, Body::Call(_)) {
            self.listen_for(place.id, ear);
        }
        let line = line(message);
        tokio::select! {
            biased;
            () = cancelled.cancelled() => return Err(SendFailure::Unsent("the call was cancelled".to_owned())),
            () = tokio::time::sleep_until(deadline) => return Err(SendFailure::Unsent("the server does not read its input".to_owned())),
            done = self.write(&line) => done?,
        }
        place.written = true;
        written();
        let answered = tokio::select! {
            biased;
            answered = answer => answered,
            () = cancelled.cancelled() => return Err(SendFailure::Closed("the call was cancelled".to_owned())),
            () = tokio::time::sleep_until(deadline) => return Err(late()),
        };
        place.written = false;
        match answered {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(fault)) => Err(SendFailure::Protocol(self.clean(&fault))),
            Err(_) => Err(SendFailure::Closed(self.ended().map_or_else(|| "it has ended".to_owned(), |end| end.why))),
        }
    }

    /// From now on what the server says of this call is heard.
    fn listen_for(&self, id: i64, ear: Option<Ear>) {
        if let Some(call) = self.waiting().calls.get_mut(&id) {
            call.ear = ear;
            call.is_call = true;
        }
    }

    fn register(&self) -> Result<(Place<'_>, oneshot::Receiver<Result<Answer, String>>), SendFailure> {
        let mut waiting = self.waiting();
        // Asked under the lock that `end` takes after it has set the end: no call is left behind.
        if let Some(end) = self.ended.get() {
            return Err(SendFailure::Unsent(end.why.clone()));
        }
        let id = waiting.next;
        waiting.next += 1;
        let (sender, answer) = oneshot::channel();
        waiting.calls.insert(id, Caller { answer: sender, ear: None, is_call: false });
        Ok((Place { pipe: self, id, written: false, revocable: true }, answer))
    }
}

impl Link for Pipe {
    fn request<'a>(&'a self, request: Request<'a>) -> Later<'a, Result<Answer, SendFailure>> {
        Box::pin(self.ask(request))
    }

    fn notify(&self, method: &'static str, _: Version, patience: Duration) -> Later<'_, Result<(), SendFailure>> {
        Box::pin(async move {
            let line = line(message::notification(method, None));
            let late = |_| SendFailure::Unsent("the server does not read its input".to_owned());
            tokio::time::timeout(patience, self.write(&line)).await.map_err(late)?
        })
    }

    fn stream(&self, _: Version, opened: Written) -> Later<'_, Result<(), SendFailure>> {
        // What it says unasked comes as lines among the others.
        opened();
        Box::pin(async move {
            self.ending.cancelled().await;
            Ok(())
        })
    }

    fn changes(&self) -> &Changes {
        &self.changes
    }

    fn ended(&self) -> Option<End> {
        self.ended.get().cloned()
    }

    fn end(&self, end: End) {
        let when_asked = self.waiting().asking.is_some();
        if self.ended.set(End { when_asked, ..end }).is_ok() {
            let calls = std::mem::take(&mut self.waiting().calls);
            self.ending.cancel();
            drop(calls);
        }
    }

    fn retire(&self, end: End) {
        self.end(end);
    }

    fn retired(&self) -> Option<End> {
        self.ended()
    }

    fn unused(&self) {}

    fn redactor(&self) -> Redactor {
        self.redactor.clone()
    }

    fn clean(&self, text: &str) -> String {
        self.redactor.clean(text)
    }
}

/// A message as one line.
fn line(mut message: Vec<u8>) -> Vec<u8> {
    // A raw line end may stand between the parts of JSON, never inside of one: blanked, it means the same and frames nothing.
    message.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    message.push(b'\n');
    message
}

/// What a line was.
enum Taken {
    Answer,
    Unasked,
    Garbage,
}

/// Ends the pipe when a line was written in part.
struct Torn<'a> {
    pipe: &'a Pipe,
    done: usize,
    all: usize,
}

impl Drop for Torn<'_> {
    fn drop(&mut self) {
        if self.done > 0 && self.done < self.all {
            self.pipe.end(End::failure("a call could be written only in part: the server does not read its input"));
        }
    }
}

/// The place of one request among those that wait. Dropped without an answer, it tells the server.
struct Place<'a> {
    pipe: &'a Pipe,
    id: i64,
    /// Whether the server knows the request and has not answered it.
    written: bool,
    revocable: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.pipe.waiting();
        let waits = waiting.calls.remove(&self.id).is_some();
        waiting.asking.take_if(|asking| *asking == self.id);
        drop(waiting);
        if waits && self.written && self.revocable && self.pipe.ended.get().is_none() {
            self.pipe.note(Note::Now(message::cancelled(self.id)));
        }
    }
}
