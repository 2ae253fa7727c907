//! A session, made ready for one call.

use std::{sync::Arc, time::Duration};

use bailiwick_pipeline::{
    aside::Ear,
    catalogue::Tool,
    gates::{Outgoing, RawReply, Watching},
    ports::{Channel, ConnectFailure, Later, Listing, Offers, Recall, SendFailure, Watched},
    tasks::EXTENSION,
};
use bailiwick_schemas::names::ToolName;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    link::{Body, Call, Request},
    message::{self, Answer, check_kind, is_question},
    pool::Pool,
    session::{InUse, Mismatch},
    status::ConnectorEvent,
    subscriptions,
};

/// The longest time that a call takes which may wait for people.
const ASKING: Duration = Duration::from_hours(24);
/// How long a server may take to note that a task is called off.
const PATIENCE: Duration = Duration::from_secs(1);

/// A way to one tool. While it lives, its child, or its session over HTTP, is in use.
pub(crate) struct ToolChannel {
    pool: Arc<Pool>,
    session: InUse,
    tool: Arc<Tool>,
    /// For which state of the server's tools the tool is known to be the pinned one.
    verified: u64,
}

/// What is to be called; made of an [`Outgoing`], which only the gates can make.
pub(crate) struct ToolCall<'a> {
    /// The MCP method: the tool's own, or one about a task of it.
    pub(crate) method: &'static str,
    pub(crate) arguments: &'a [u8],
    /// What of a feature is asked for; the id of a task.
    pub(crate) item: Option<&'a str>,
    /// Whether the server may answer later, with a task.
    pub(crate) takes_task: bool,
    /// What the server may ask of the agent.
    pub(crate) capabilities: Option<&'a str>,
    /// The answers to what it asked before, and the state that it gave.
    pub(crate) answers: Option<(&'a [u8], Option<&'a str>)>,
    pub(crate) traceparent: Option<&'a str>,
    pub(crate) timeout: Duration,
    pub(crate) cancelled: &'a CancellationToken,
    /// The agent's own members of `_meta`, as JSON.
    pub(crate) meta: &'a [u8],
    /// Where what the server says before its answer goes.
    pub(crate) ear: Option<Ear>,
}

/// Why the tool can't be called.
#[derive(Debug)]
pub(crate) enum Unready {
    /// The server has forgotten the session: a new one may do.
    Expired(String),
    /// It can't be.
    Failed(ConnectFailure),
}

impl From<Unready> for ConnectFailure {
    fn from(unready: Unready) -> Self {
        match unready {
            Unready::Expired(why) => Self::Handshake(why),
            Unready::Failed(failure) => failure,
        }
    }
}

impl ToolChannel {
    /// Makes sure that the tool is the pinned one.
    pub(crate) async fn open(pool: &Arc<Pool>, session: InUse, tool: &Arc<Tool>) -> Result<Self, Unready> {
        let Some(name) = tool.name.tool() else {
            // What it is has no definition that could be another.
            return Ok(Self { pool: Arc::clone(pool), session, tool: Arc::clone(tool), verified: 0 });
        };
        match session.verify(name, &tool.digest).await {
            Ok(verified) => Ok(Self { pool: Arc::clone(pool), session, tool: Arc::clone(tool), verified }),
            Err(Mismatch::Unknown(why)) if session.link().retired().is_some_and(|end| end.expired) => Err(Unready::Expired(why)),
            Err(Mismatch::Unknown(why)) => Err(Unready::Failed(ConnectFailure::Handshake(why))),
            Err(Mismatch::Drifted { found }) => {
                if !session.may_ask() {
                    drifted(pool, name, found);
                }
                let (connector, tool) = (pool.spec.id.to_string(), tool.name.to_string());
                Err(Unready::Failed(ConnectFailure::Drifted { connector, tool }))
            }
        }
    }

    /// Calls the tool. `written` is called once the call is written, all of it or as much as ever will be; it is dropped where none of it
    /// ever will be.
    pub(crate) async fn call(
        &self,
        mut call: ToolCall<'_>,
        written: impl FnOnce() + Send + 'static,
    ) -> Result<Answer, SendFailure> {
        let deadline = Instant::now() + call.timeout;
        let version = self.session.hello().version;
        let is_about_task = call.method.starts_with("tasks/");
        if is_about_task && !version.is_modern() {
            return Err(SendFailure::Unsent(format!("its server speaks {} by now, which has no such tasks", version.as_str())));
        }
        // What it has not asked it takes no answers for: it asks when it is called.
        if !version.is_modern() && call.answers.is_some_and(|(_, state)| state.is_none()) {
            call.answers = None;
        }
        if call.answers.is_some() && !version.is_modern() {
            return Err(SendFailure::Unsent(format!(
                "its server speaks {}, and was asked nothing: call without answers",
                version.as_str()
            )));
        }
        if let Some(name) = self.tool.name.tool().filter(|_| self.verified != self.session.link().changes().of_tools()) {
            self.verify_again(name, &call, deadline).await?;
        }
        let version = self.session.hello().version;
        if version.is_modern() {
            // It asks in its results.
            call.ear = call.ear.map(Ear::without_questions);
        }
        let level = call.ear.as_ref().and_then(Ear::level).filter(|_| self.session.hello().logs);
        let _wanting = level.map(|level| self.session.levels().want(level));
        if level.is_some() {
            let patience = deadline.saturating_duration_since(Instant::now());
            self.session.levels().ask(self.session.link(), version, patience, call.cancelled).await;
        }
        let capabilities = (call.takes_task && self.session.hello().tasks).then(|| with_tasks(call.capabilities));
        let counters = Arc::clone(&self.pool.counters);
        let written = move || {
            counters.calls.rise();
            written();
        };
        let request = Request {
            body: Body::Call(Call {
                method: call.method,
                tool: self.tool.name.tool().filter(|_| !is_about_task).map(ToolName::as_str),
                arguments: call.arguments,
                // Of a task, its id.
                name: self.tool.name.tool().filter(|_| !is_about_task).map(ToolName::as_str).or(call.item),
                mirrors: if is_about_task { &[] } else { &self.tool.mirrors },
                traceparent: call.traceparent,
                capabilities: capabilities.as_deref().or(call.capabilities),
                answers: call.answers,
                meta: call.meta,
            }),
            version,
            // Where people are waited for, whoever sends the call ends it in time.
            timeout: if call.ear.as_ref().is_some_and(Ear::takes_questions) {
                ASKING
            } else {
                deadline.saturating_duration_since(Instant::now())
            },
            cancelled: call.cancelled,
            written: Box::new(written),
            ear: call.ear.take(),
        };
        match self.session.link().request(request).await {
            Err(SendFailure::Timeout(_)) => Err(timeout(call.timeout)),
            Ok(Answer::Result(result)) if version.is_modern() => {
                check_kind(&result).map_err(SendFailure::Protocol)?;
                Ok(Answer::Result(result))
            }
            // In its version there is no such result: whoever answered it would call again.
            Ok(Answer::Result(result)) if is_question(&result) => {
                Err(SendFailure::Protocol("its result asks for input, which its protocol version does not know".to_owned()))
            }
            other => other,
        }
    }

    /// The server said between `ready` and now that its tools changed.
    async fn verify_again(&self, name: &ToolName, call: &ToolCall<'_>, deadline: Instant) -> Result<(), SendFailure> {
        let verified = tokio::select! {
            biased;
            () = call.cancelled.cancelled() => return Err(SendFailure::Unsent("the call was cancelled".to_owned())),
            () = tokio::time::sleep_until(deadline) => return Err(SendFailure::Unsent("its tool list was not read in time".to_owned())),
            verified = self.session.verify(name, &self.tool.digest) => verified,
        };
        verified.map(drop).map_err(|mismatch| match mismatch {
            Mismatch::Unknown(why) => SendFailure::Unsent(why),
            Mismatch::Drifted { found } => {
                if !self.session.may_ask() {
                    drifted(&self.pool, name, found);
                }
                SendFailure::Unsent(format!("tool `{}` differs from its pin", self.tool.name))
            }
        })
    }
}

impl Channel for ToolChannel {
    fn send(self: Box<Self>, mut outgoing: Outgoing) -> Later<'static, Result<RawReply, SendFailure>> {
        Box::pin(async move {
            if *outgoing.name() != self.tool.name || *outgoing.name().connector() != self.pool.spec.id {
                return Err(SendFailure::Unsent("the channel was made ready for another tool".to_owned()));
            }
            let (arguments, traceparent) = (outgoing.arguments().clone(), outgoing.traceparent().map(str::to_owned));
            let (timeout, cancelled) = (outgoing.timeout().min(self.pool.spec.call_timeout), outgoing.cancelled().clone());
            let capabilities = outgoing.capabilities().map(str::to_owned);
            let answers = outgoing.answers().map(|(responses, state)| (responses.clone(), state.map(str::to_owned)));
            let (item, meta, ear) = (outgoing.item().map(str::to_owned), outgoing.meta().clone(), outgoing.take_ear());
            let call = ToolCall {
                method: outgoing.method(),
                takes_task: outgoing.takes_task(),
                arguments: &arguments,
                item: item.as_deref(),
                traceparent: traceparent.as_deref(),
                capabilities: capabilities.as_deref(),
                answers: answers.as_ref().map(|(responses, state)| (responses.as_ref(), state.as_deref())),
                timeout,
                cancelled: &cancelled,
                meta: &meta,
                ear,
            };
            match self.call(call, outgoing.when_written()).await? {
                Answer::Result(result) if message::is_task(&result) => {
                    let recall = TaskRecall { session: self.session.another() };
                    Ok(RawReply::result(result).recalled_by(Box::new(recall)))
                }
                Answer::Result(result) => Ok(RawReply::result(result)),
                Answer::Error { code, message, data } => Ok(RawReply::error(code, message, data)),
            }
        })
    }

    fn watch(self: Box<Self>, watching: Watching) -> Later<'static, Result<Watched, SendFailure>> {
        Box::pin(async move {
            if *watching.name() != self.tool.name || *watching.name().connector() != self.pool.spec.id {
                return Err(SendFailure::Unsent("the channel was made ready for another tool".to_owned()));
            }
            subscriptions::watch(self.session, watching).await
        })
    }

    fn offers(&self, listing: Listing) -> Later<'_, Result<Arc<Offers>, SendFailure>> {
        Box::pin(self.session.offers(listing))
    }
}

/// What is kept of a channel while a task is open: its server is in use for as long.
struct TaskRecall {
    session: InUse,
}

impl Recall for TaskRecall {
    fn call_off(self: Box<Self>, task: String) -> Later<'static, ()> {
        Box::pin(async move {
            let version = self.session.hello().version;
            if version.is_modern() {
                self.session.link().call_off(&task, version, PATIENCE).await;
            }
        })
    }
}

/// The capabilities with the extension for tasks: a JSON object.
fn with_tasks(capabilities: Option<&str>) -> String {
    let tasks = format!("\"extensions\":{{\"{EXTENSION}\":{{}}}}");
    match capabilities.and_then(|given| given.strip_suffix('}')).filter(|given| *given != "{") {
        Some(given) => format!("{given},{tasks}}}"),
        None => format!("{{{tasks}}}"),
    }
}

fn drifted(pool: &Pool, tool: &ToolName, found: Option<bailiwick_schemas::canonical::Digest>) {
    pool.context.tell(ConnectorEvent::Drifted { connector: pool.spec.id.clone(), tool: tool.clone(), found });
}

fn timeout(after: Duration) -> SendFailure {
    SendFailure::Timeout(u64::try_from(after.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::with_tasks;

    #[test]
    fn the_extension_goes_with_what_else_is_declared() {
        let tasks = r#""extensions":{"io.modelcontextprotocol/tasks":{}}"#;
        for (given, declared) in [
            (None, format!("{{{tasks}}}")),
            (Some("{}"), format!("{{{tasks}}}")),
            (Some(r#"{"sampling":{}}"#), format!(r#"{{"sampling":{{}},{tasks}}}"#)),
        ] {
            assert_eq!(with_tasks(given), declared);
        }
    }
}
