//! A call that its server works on, and that may wait there until its server is told what it asked.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bailiwick_schemas::json;
use bytes::Bytes;
use serde_json::Value;
use tokio::{
    sync::oneshot,
    task::{AbortHandle, JoinHandle},
};

use crate::{
    aside::{Overheard, Said, Spoken},
    gates::RawReply,
    grant::SendPass,
    ports::{Later, Lease, SendFailure},
    rounds::{Asking, LIVES_MS},
};

/// One call on its way. Dropped, it is called off.
pub(crate) struct Running {
    answer: JoinHandle<Result<RawReply, SendFailure>>,
    heard: Overheard,
    /// What it was lent: its answer is screened for it, whatever the grant is lent by then.
    lease: Option<Arc<Lease>>,
    /// Its questions that have no answer yet, by the keys that they were put under.
    open: BTreeMap<String, Open>,
    asked: u32,
    /// Ends it, while nobody attends to it.
    ender: Option<AbortHandle>,
}

/// A question without an answer.
struct Open {
    asking: Asking,
    /// As it is put.
    request: Value,
    reply: oneshot::Sender<Spoken>,
}

/// A question as it is put: its key, what it asks for, and how.
pub(crate) type Put = (String, Asking, Value);

/// What comes of a call.
pub(crate) enum Came {
    /// What its server says before the answer.
    Said(Said),
    /// The answer.
    Answer(Result<RawReply, SendFailure>),
}

impl Running {
    /// Begins it, beside whoever waits for it.
    pub(crate) fn begin(
        work: Later<'static, Result<RawReply, SendFailure>>,
        heard: Overheard,
        lease: Option<Arc<Lease>>,
    ) -> Self {
        Self { answer: tokio::spawn(work), heard, lease, open: BTreeMap::new(), asked: 0, ender: None }
    }

    pub(crate) fn lease(&self) -> Option<&Arc<Lease>> {
        self.lease.as_ref()
    }

    /// What comes next. After the answer nothing does.
    pub(crate) async fn came(&mut self) -> Came {
        let answer = tokio::select! {
            answer = &mut self.answer => answer,
            Some(said) = self.heard.next() => return Came::Said(said),
        };
        Came::Answer(answer.unwrap_or_else(|failure| {
            let why = if failure.is_panic() { "the gateway failed while it waited for the answer" } else { "it was called off" };
            Err(SendFailure::Closed(why.to_owned()))
        }))
    }

    /// How much of what was said had no room.
    pub(crate) fn unheard(&self) -> Arc<AtomicU64> {
        self.heard.unheard()
    }

    /// What was said by now and not taken up.
    pub(crate) fn there(&mut self) -> Option<Said> {
        self.heard.there()
    }

    /// The key under which a question is put.
    pub(crate) fn ask(&mut self, asking: Asking, request: Value, reply: oneshot::Sender<Spoken>) -> String {
        self.asked += 1;
        let key = format!("q{}", self.asked);
        self.open.insert(key.clone(), Open { asking, request, reply });
        key
    }

    /// From now on nobody attends to it, until it is resumed. If that is never, it ends by itself.
    pub(crate) fn park(&mut self) {
        self.heard.attend(false);
        let work = self.answer.abort_handle();
        let ender = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(LIVES_MS)).await;
            work.abort();
        });
        self.ender = Some(ender.abort_handle());
    }

    /// Goes on with these answers by key, a JSON object. The pass is held until all are written. A question without an answer is refused, or
    /// put `again`: those are returned.
    pub(crate) fn resume(&mut self, responses: &Bytes, pass: Option<SendPass>, again: bool) -> Vec<Put> {
        let pass = pass.map(Arc::new);
        self.heard.attend(true);
        // What was not heard before is on record already.
        self.heard.unheard().store(0, Ordering::Relaxed);
        if let Some(ender) = self.ender.take() {
            ender.abort();
        }
        let answers = std::str::from_utf8(responses).ok().and_then(|text| json::fields(text).ok()).unwrap_or_default();
        for (key, open) in std::mem::take(&mut self.open) {
            if let Some((_, answer)) = answers.iter().find(|(answered, _)| *answered == key) {
                // If its server is gone, that is the answer.
                let _gone = open.reply.send(Spoken::new(Bytes::copy_from_slice(answer.get().as_bytes()), pass.clone()));
            } else if again && !open.reply.is_closed() {
                self.open.insert(key, open);
            }
        }
        self.open.iter().map(|(key, open)| (key.clone(), open.asking.clone(), open.request.clone())).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.answer.abort();
        if let Some(ender) = &self.ender {
            ender.abort();
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("open", &self.open.len()).finish_non_exhaustive()
    }
}
