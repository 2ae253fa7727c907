//! What every carrier to a server can do: lines to a child, or HTTP.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bailiwick_pipeline::{
    aside::{ASIDE_BYTES, AsideKind, Ear},
    catalogue::Mirror,
    ports::{Later, Lease, SendFailure},
};
use bailiwick_schemas::json;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::{
    announcements::Announcements,
    message::{Answer, exact_id},
    stderr::Redactor,
    version::Version,
};

/// A connection to one server.
pub(crate) trait Link: Send + Sync {
    /// Sends a request and waits for its answer. Dropped, it tells the server that the answer is no longer wanted.
    fn request<'a>(&'a self, request: Request<'a>) -> Later<'a, Result<Answer, SendFailure>>;
    /// Sends a notification without parameters.
    fn notify(&self, method: &'static str, version: Version, patience: Duration) -> Later<'_, Result<(), SendFailure>>;
    /// Hears what the server says unasked, where its carrier needs a stream of its own for that: `opened` is called once it does. Returns
    /// when that has ended. For servers of older versions.
    fn stream(&self, version: Version, opened: Written) -> Later<'_, Result<(), SendFailure>>;
    /// Has the server give up the task of this id; nobody waits long for it. On a link that has ended, only where it can still be told.
    fn call_off<'a>(&'a self, task: &'a str, version: Version, patience: Duration) -> Later<'a, ()> {
        Box::pin(async move {
            let (never, arguments) = (CancellationToken::new(), giving_up(task));
            let body = Body::Call(cancelling(task, &arguments));
            let request = Request { body, version, timeout: patience, cancelled: &never, written: Box::new(|| {}), ear: None };
            // Best effort: it has its own idea of how long a task lives.
            let _unheard = self.request(request).await;
        })
    }
    /// How often the server has said that its lists changed.
    fn changes(&self) -> &Changes;
    /// How the connection ended, if it has.
    fn ended(&self) -> Option<End>;
    /// Ends the connection. Only the first reason counts.
    fn end(&self, end: End);
    /// Has nothing new begun on the connection. Where requests stand alone, those that wait for an answer go on, and it ends with
    /// the last of them; elsewhere it ends now.
    fn retire(&self, end: End);
    /// Why nothing new may be begun on the connection, if so: it has ended, or is about to.
    fn retired(&self) -> Option<End>;
    /// Is told when nobody uses the connection any more.
    fn unused(&self);
    /// Goes on with another lease of the same grant, from the next message on. Whether it can: a child keeps what it was started with.
    fn relend(&self, _: &Arc<Lease>) -> Result<bool, String> {
        Ok(false)
    }
    /// What hides the lent secret.
    fn redactor(&self) -> Redactor;
    /// What came from the server, made fit for people: without the lent secret, escaped and cut.
    fn clean(&self, text: &str) -> String;
}

/// One request.
pub(crate) struct Request<'a> {
    /// What is asked.
    pub(crate) body: Body<'a>,
    /// In which version.
    pub(crate) version: Version,
    /// How long it may take in all.
    pub(crate) timeout: Duration,
    /// Cancelled when the answer is no longer wanted.
    pub(crate) cancelled: &'a CancellationToken,
    /// Called once, when all of it is written, or as much as ever will be.
    pub(crate) written: Written,
    /// Where what the server says before the answer goes; nowhere where nobody wants to hear it.
    pub(crate) ear: Option<Ear>,
}

/// What is done once a request is written. It is dropped instead where nothing of it ever will be.
pub(crate) type Written = Box<dyn FnOnce() + Send>;

/// What is asked.
#[derive(Clone, Copy)]
pub(crate) enum Body<'a> {
    /// A request of our own making.
    Own {
        /// Which.
        method: &'static str,
        /// With what: the members of the object `params`, as JSON.
        members: &'a str,
    },
    /// What an agent asked for.
    Call(Call<'a>),
}

/// What an agent asked for, through all gates.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// Which: `tools/call`, `resources/read` and so on.
    pub(crate) method: &'static str,
    /// The tool; none for what is named by its arguments alone.
    pub(crate) tool: Option<&'a str>,
    /// The arguments: a JSON object, as it goes out. Of a tool they are a member of `params`, of anything else they are its members.
    pub(crate) arguments: &'a [u8],
    /// What the header `Mcp-Name` says.
    pub(crate) name: Option<&'a str>,
    /// The arguments that headers mirror, by the pinned definition.
    pub(crate) mirrors: &'a [Mirror],
    /// The trace it is part of.
    pub(crate) traceparent: Option<&'a str>,
    /// What the server may ask of the agent: a JSON object; none where it may ask nothing.
    pub(crate) capabilities: Option<&'a str>,
    /// The answers to what it asked before, a JSON object, and the state that it gave.
    pub(crate) answers: Option<(&'a [u8], Option<&'a str>)>,
    /// The agent's own members of `_meta`, as JSON.
    pub(crate) meta: &'a [u8],
}

/// The arguments of [`cancelling`].
pub(crate) fn giving_up(task: &str) -> Vec<u8> {
    serde_json::json!({"taskId": task}).to_string().into_bytes()
}

/// What a server is asked when a task of it is called off by the gateway itself.
pub(crate) fn cancelling<'a>(task: &'a str, arguments: &'a [u8]) -> Call<'a> {
    Call {
        method: "tasks/cancel",
        tool: None,
        arguments,
        name: Some(task),
        mirrors: &[],
        traceparent: None,
        capabilities: Some(r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#),
        answers: None,
        meta: b"",
    }
}

/// Progress, or a log message, of a server.
#[derive(Debug)]
pub(crate) struct News {
    /// Which of both.
    pub(crate) kind: AsideKind,
    /// Its `params`, as written.
    pub(crate) params: Bytes,
}

impl News {
    /// The request of ours that it is about, by the token that we gave it: exactly in the text that we write it in.
    pub(crate) fn token(&self) -> Option<i64> {
        // Too long to be heard, it need not be read.
        let params = Some(&self.params).filter(|params| params.len() <= ASIDE_BYTES)?;
        let fields = json::fields(std::str::from_utf8(params).ok()?).ok()?;
        let (_, token) = fields.into_iter().find(|(key, _)| key == "progressToken")?;
        exact_id(token.get())
    }
}

/// How often a server has said that its lists changed.
#[derive(Default)]
pub(crate) struct Changes {
    tools: AtomicU64,
    /// Of resources and of prompts.
    offers: AtomicU64,
    announcements: Announcements,
}

impl Changes {
    /// Takes note of what the server says; `told` are the `params` of what matters by them.
    pub(crate) fn heard(&self, method: &str, told: Option<&Bytes>) {
        match method {
            "notifications/tools/list_changed" => self.tools.fetch_add(1, Ordering::AcqRel),
            "notifications/resources/list_changed" | "notifications/prompts/list_changed" => {
                self.offers.fetch_add(1, Ordering::AcqRel)
            }
            _ => 0,
        };
        self.announcements.heard(method, told);
    }

    /// Nobody heard for a while: whatever could be told may have changed.
    pub(crate) fn missed(&self) {
        for list in ["tools", "resources", "prompts"] {
            self.heard(&format!("notifications/{list}/list_changed"), None);
        }
        self.announcements.missed();
    }

    /// What it says, for whoever wants to hear it.
    pub(crate) fn announcements(&self) -> &Announcements {
        &self.announcements
    }

    /// Of its tools.
    pub(crate) fn of_tools(&self) -> u64 {
        self.tools.load(Ordering::Acquire)
    }

    /// Of what it offers besides.
    pub(crate) fn of_offers(&self) -> u64 {
        self.offers.load(Ordering::Acquire)
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    /// Why, in words.
    pub(crate) why: String,
    /// Whether we wanted it: otherwise it is a failure.
    pub(crate) wanted: bool,
    /// Whether it was when the server was asked which protocol it speaks. Servers of older versions may end at a question that they
    /// don't know.
    pub(crate) when_asked: bool,
    /// Whether the server has forgotten its session: a new one may do.
    pub(crate) expired: bool,
}

/// The question which protocol a server speaks, and the first request of the modern one.
pub(crate) const DISCOVER: &str = "server/discover";
/// The first request of older ones.
pub(crate) const INITIALIZE: &str = "initialize";

impl End {
    /// It went wrong.
    pub(crate) fn failure(why: impl Into<String>) -> Self {
        Self { why: why.into(), wanted: false, when_asked: false, expired: false }
    }

    /// We wanted it.
    pub(crate) fn wanted(why: impl Into<String>) -> Self {
        Self { why: why.into(), wanted: true, when_asked: false, expired: false }
    }

    /// The server has forgotten the session. That is no failure: sessions end.
    pub(crate) fn expired() -> Self {
        Self { expired: true, ..Self::wanted("its server has ended the session") }
    }
}
