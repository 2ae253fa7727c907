//! The only door out. It opens for a recorded call, once, while its grant lives.

use std::{sync::Arc, time::Duration};

use bailiwick_schemas::names::{Feature, QualifiedName};
use bytes::Bytes;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    Approved, Recorded,
    asks::{Takes, is_bounded},
    halted,
    relay::{Put, overheard, pass},
};
use crate::{
    aside::{Ear, Overheard, Said},
    grant::SendPass,
    halts::Flight,
    ids::CallId,
    ports::{Later, Lease, Ports, Recall, SendFailure},
    refusal::Refusal,
    rounds::Of,
    running::{Came, Running},
    way::Way,
};

/// What a connector sends: made here and nowhere else.
#[derive(Debug)]
pub struct Outgoing {
    call: CallId,
    method: &'static str,
    name: QualifiedName,
    item: Option<String>,
    arguments: Bytes,
    capabilities: Option<String>,
    takes_task: bool,
    answers: Option<(Bytes, Option<String>)>,
    traceparent: Option<String>,
    timeout: Duration,
    cancelled: CancellationToken,
    pass: Option<SendPass>,
    meta: Bytes,
    ear: Option<Ear>,
}

impl Outgoing {
    /// The call, for logs.
    pub fn call(&self) -> &CallId {
        &self.call
    }

    /// The MCP method.
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// The tool or feature it is for, and with it the server.
    pub fn name(&self) -> &QualifiedName {
        &self.name
    }

    /// Of a feature, what is asked for: the URI of a resource, the name of a prompt. Of a task, its server's own id for it.
    pub fn item(&self) -> Option<&str> {
        self.item.as_deref()
    }

    /// The arguments: a JSON object, to be sent as these very bytes.
    pub fn arguments(&self) -> &Bytes {
        &self.arguments
    }

    /// What the server may ask of the agent: client capabilities, a JSON object. None where it may ask nothing.
    pub fn capabilities(&self) -> Option<&str> {
        self.capabilities.as_deref()
    }

    /// Whether the server may answer later, with a task; and whatever is asked of one.
    pub fn takes_task(&self) -> bool {
        self.takes_task
    }

    /// The answers to what the server asked before, a JSON object, and the state that it gave with its questions.
    pub fn answers(&self) -> Option<(&Bytes, Option<&str>)> {
        self.answers.as_ref().map(|(responses, state)| (responses, state.as_deref()))
    }

    /// The W3C `traceparent` for the server.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// How long it may take in all.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Cancelled when the grant ends: stop at once.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// The agent's own members of `_meta`, as they were written: what stands between the braces of a JSON object. None of them is one that
    /// is said anew at each hop.
    pub fn meta(&self) -> &Bytes {
        &self.meta
    }

    /// Where to hand over what the server says before its answer; none where nobody wants to hear it.
    pub fn take_ear(&mut self) -> Option<Ear> {
        self.ear.take()
    }

    /// To be called as soon as the request is written, or dropped where it never is: what ends the grant waits for this.
    pub fn when_written(&mut self) -> impl FnOnce() + Send + use<> {
        let pass = self.pass.take();
        move || drop(pass)
    }
}

/// What came back, before anybody may read it.
pub struct RawReply(pub(super) RawKind, pub(super) Option<Box<dyn Recall>>);

#[derive(Debug)]
pub(super) enum RawKind {
    Result(Bytes),
    Error {
        code: i64,
        message: String,
        data: Option<Bytes>,
    },
    /// Not answered yet: its server asks first, and waits.
    Asks(Box<(Put, Running)>),
}

impl RawReply {
    /// A result: the raw text of the JSON-RPC `result` member.
    pub fn result(text: Bytes) -> Self {
        Self(RawKind::Result(text), None)
    }

    /// A JSON-RPC error.
    pub fn error(code: i64, message: String, data: Option<Bytes>) -> Self {
        Self(RawKind::Error { code, message, data }, None)
    }

    /// The same of a server that answers later: how to have it give that up.
    #[must_use]
    pub fn recalled_by(self, recall: Box<dyn Recall>) -> Self {
        Self(self.0, Some(recall))
    }
}

impl std::fmt::Debug for RawReply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RawReply").field(&self.0).finish()
    }
}

/// A call that was sent and answered. Nobody but `screen` can read the answer.
pub struct Sent<'r> {
    approved: Approved<'r>,
    lease: Option<Arc<Lease>>,
    reply: RawReply,
    flight: Flight,
}

impl<'r> Sent<'r> {
    pub(super) fn into_parts(self) -> (Approved<'r>, Option<Arc<Lease>>, RawReply, Flight) {
        (self.approved, self.lease, self.reply, self.flight)
    }
}

/// What of a feature is asked for.
fn item_of(feature: Option<Feature>, arguments: &Value) -> Option<String> {
    let key = match feature? {
        Feature::ResourceRead => "uri",
        Feature::PromptGet => "name",
        _ => return None,
    };
    arguments.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// What goes with the call beside its arguments. Where a person approved, nothing does: it was not shown. Where something is decided by the
/// arguments, neither: what a server takes from there, nobody judged.
pub(super) fn meta_of(approved: &Approved<'_>) -> Bytes {
    let granted = approved.permitted().validated().granted();
    let meta = &granted.identified().received().origin().meta;
    if meta.is_empty() || approved.is_by_person() || is_bounded(granted) {
        return Bytes::new();
    }
    meta.clone()
}

/// Sends the call and waits for its answer.
pub async fn send<'r>(call: Recorded<'r>, ports: &Ports, way: &mut Way<'r>) -> Result<Sent<'r>, Refusal> {
    let (armed, resumed) = call.into_parts();
    let (approved, lease, channel) = armed.into_parts();
    let validated = approved.permitted().validated();
    let granted = validated.granted();
    let (grant, tool) = (granted.grant(), granted.tool());
    let method = granted.method();
    let stage = match tool.name.tool() {
        Some(name) => {
            let stage = way.enter_outward(&format!("{method} {name}"), ports);
            way.trace.note(stage, "gen_ai.tool.name", name.to_string());
            if granted.task().is_none() {
                way.trace.note(stage, "gen_ai.operation.name", "execute_tool");
            }
            stage
        }
        // What is asked for is the agent's word, and no name for a span.
        None => way.enter_outward(method, ports),
    };
    way.trace.note(stage, "mcp.method.name", method);
    way.trace.note(stage, "network.transport", tool.connector.transport);
    way.trace.note(stage, "bailiwick.server.name", tool.connector.id.to_string());
    let (pass, flight) = halted::let_out(granted.identified().principal(), grant, Some(tool), ports)?;
    flight.is_of(granted.identified().received().call_id());
    let timeout = tool.connector.call_timeout;
    let cancelled = grant.cancelled();
    let taken_back = |lease: &Lease, may| Refusal::credential_taken_back(tool.connector.id.as_str(), &lease.id, may);
    // While it was put on record, and nothing of it was written.
    if let Some(lease) = lease.as_deref().filter(|lease| resumed.is_none() && lease.taken_back().is_cancelled()) {
        return Err(taken_back(lease, "Not executed."));
    }
    let going = if let Some(mut running) = resumed {
        // Who is asked on the stream of its call has nothing more to say; else a question stays until it is answered.
        let again = granted.identified().received().conversation().is_none();
        let left = running.resume(validated.answered().map_or(&Bytes::new(), |answered| &answered.responses), Some(pass), again);
        way.seen.asides.unheard = Some(running.unheard());
        Going::Asking(running, Put::again(left))
    } else {
        // What a person approved is asked nothing more.
        let takes = Some(validated.takes()).filter(|takes| !takes.is_empty() && !approved.is_by_person());
        if takes.is_some() {
            // Its server may do one thing after the other, and would wait for answers that nobody brings any more.
            ports.rounds.supersede(&Of::this(granted, validated.arguments()));
        }
        let (heard, ear) = overheard(takes.is_some(), way).unzip();
        let answer = channel.send(Outgoing {
            call: granted.identified().received().call_id().clone(),
            method,
            name: tool.name.clone(),
            item: granted.task().map_or_else(|| item_of(tool.name.feature(), validated.arguments()), |task| task.remote_id()),
            arguments: approved.arguments().clone(),
            capabilities: takes.and_then(Takes::declared),
            takes_task: validated.takes_task() || granted.task().is_some(),
            answers: validated.answered().map(|answered| (answered.responses.clone(), answered.state.clone())),
            traceparent: way.trace.traceparent(stage),
            timeout,
            cancelled: cancelled.clone(),
            pass: Some(pass),
            meta: meta_of(&approved),
            ear,
        });
        match heard {
            None => Going::Alone(answer),
            Some(heard) if takes.is_some() => Going::Asking(Running::begin(answer, heard, lease.clone()), Put::default()),
            Some(heard) => Going::Telling(answer, heard),
        }
    };
    let lease = if let Going::Asking(running, _) = &going { running.lease().cloned() } else { lease };
    let answer = tokio::select! {
        biased;
        () = cancelled.cancelled() => return Err(Refusal::grant_ended(grant.end_of_chain(), "It may have been executed.")),
        halt = flight.struck() => return Err(Refusal::halted_under_way(&halt, "It may have been executed.")),
        lease = was_taken_back(lease.as_deref()) => return Err(taken_back(lease, "It may have been executed.")),
        answer = tokio::time::timeout(timeout, going.answered(&approved, lease.as_ref(), ports, way)) => match answer {
            Ok(answer) => Ok(answer?),
            Err(late) => Err(late),
        },
    };
    let late = SendFailure::Timeout(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    let reply = answer.unwrap_or(Err(late)).map_err(|failure| {
        // It may quote what the server said.
        let detail = Lease::kept_out(lease.as_deref(), &failure.to_string());
        way.trace.fail(stage, detail.clone());
        Refusal::send(tool.connector.id.as_str(), &failure, &detail)
    })?;
    way.leave(stage, ports);
    Ok(Sent { approved, lease, reply, flight })
}

/// Returns once what the call goes out with is taken back; never where it goes out with nothing.
pub(super) async fn was_taken_back(lease: Option<&Lease>) -> &Lease {
    let Some(lease) = lease else { return std::future::pending().await };
    lease.taken_back().cancelled().await;
    lease
}

/// What a server asks within this time is put to the agent together.
const TOGETHER: Duration = Duration::from_millis(50);

/// A call on its way.
enum Going {
    /// Nobody hears anything before its answer.
    Alone(Later<'static, Result<RawReply, SendFailure>>),
    /// Its agent hears what its server says.
    Telling(Later<'static, Result<RawReply, SendFailure>>, Overheard),
    /// Its server may ask, too, and wait.
    Asking(Running, Put),
}

impl Going {
    /// Waits for the answer, or for a question, and tells the agent what the server says before it.
    async fn answered(
        self,
        call: &Approved<'_>,
        lease: Option<&Arc<Lease>>,
        ports: &Ports,
        way: &mut Way<'_>,
    ) -> Result<Result<RawReply, SendFailure>, Refusal> {
        match self {
            Self::Alone(answer) => Ok(answer.await),
            Self::Telling(mut answer, mut heard) => {
                let answer = loop {
                    // In any order: neither a server that says more and more nor one whose answer is long puts the other off.
                    tokio::select! {
                        answer = &mut answer => break answer,
                        Some(said) = heard.next() => pass(&said, call, lease, ports, way)?,
                    }
                };
                while let Some(said) = heard.there() {
                    pass(&said, call, lease, ports, way)?;
                }
                Ok(answer)
            }
            // Apart, as it is rare: what every call waits in stays small.
            Self::Asking(running, put) => Box::pin(attend(running, put, call, lease, ports, way)).await,
        }
    }
}

/// Attends to a call until it is answered, or its server asks what may be asked.
async fn attend(
    mut running: Running,
    mut put: Put,
    call: &Approved<'_>,
    lease: Option<&Arc<Lease>>,
    ports: &Ports,
    way: &mut Way<'_>,
) -> Result<Result<RawReply, SendFailure>, Refusal> {
    let mut until = None;
    loop {
        // Servers ask one after the other what they ask at once.
        if !put.is_empty() && until.is_none() {
            until = Some(tokio::time::Instant::now() + TOGETHER);
        }
        let came = match until {
            None => Ok(running.came().await),
            Some(until) => tokio::time::timeout_at(until, running.came()).await,
        };
        let mut said = match came {
            Ok(Came::Said(said)) => Some(said),
            Err(_) => {
                running.park();
                return Ok(Ok(RawReply(RawKind::Asks(Box::new((put, running))), None)));
            }
            Ok(Came::Answer(answer)) => {
                while let Some(said) = running.there() {
                    pass(&said, call, lease, ports, way)?;
                }
                return Ok(answer);
            }
        };
        while let Some(now) = said {
            match now {
                Said::Question(question) => put.add(question, &mut running, call, ports, way)?,
                aside @ Said::Aside(_) => pass(&aside, call, lease, ports, way)?,
            }
            said = running.there();
        }
    }
}
