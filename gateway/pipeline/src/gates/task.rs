//! Calls that are answered later: what a server says of one, and what an agent is told (MCP extension `io.modelcontextprotocol/tasks`).
//!
//! Every word that an agent hears of a task is written here anew; only the result of its tool is the server's own text, screened like any.

use std::{collections::BTreeSet, fmt::Write as _, sync::Arc};

use bailiwick_schemas::{
    json::{self, Limits, Outline},
    time::rfc3339,
};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Approved, Granted, Permitted, Reply, ScreenLimits, Validated,
    approve::needs_of,
    asks::{Takes, plain_words, questions},
    halted,
    screen::{Cleaner, judge_tool, screen_error, strictly_read},
};
use crate::{
    answer::{Answer, Body, ToolResult},
    ports::{Ports, Recall},
    received::{Asked, TaskVerb},
    records::{Outcome, TaskRecord},
    refusal::{self, RESOURCE_NOT_FOUND, Refusal, SERVER_ERROR},
    tasks::{Begun, Of, Remote, State, Task, call_off},
    way::Way,
};

/// The longest id of a server, as many bytes as a header may have of it, and the longest moment.
const ID_BYTES: usize = 1024;
const MOMENT_BYTES: usize = 40;
/// When it is worth asking again about a call that waits for a person, milliseconds.
const POLL_MS: u64 = 3000;

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    Working,
    InputRequired,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    const ALL: [Self; 5] = [Self::Working, Self::InputRequired, Self::Completed, Self::Failed, Self::Cancelled];

    fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::InputRequired => "input_required",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// What is said of a task, whatever it came to.
struct Facts {
    status: Status,
    words: Option<String>,
    created: String,
    updated: String,
    poll_ms: Option<u64>,
}

impl Facts {
    /// What a server says: all that it must say is there, and is what it must be. A moment that is none is ours.
    fn read(outline: &Outline<'_>, now_ms: u64) -> Result<Self, String> {
        let member = |key: &str| outline.member(key).map(|member| member.value);
        let text = |key: &str| member(key).and_then(|value| serde_json::from_str::<String>(value).ok());
        let named = text("status").unwrap_or_default();
        let status = Status::ALL.into_iter().find(|status| status.as_str() == named);
        let is_moment = |text: &String| {
            text.len() <= MOMENT_BYTES
                && text.chars().all(|c| c.is_ascii_digit() || matches!(c, 'T' | 'Z' | '-' | ':' | '.' | '+'))
        };
        let moment = |key: &str| text(key).filter(is_moment).unwrap_or_else(|| rfc3339(now_ms));
        Ok(Self {
            status: status.ok_or("the `status` of its task is none that there is")?,
            words: text("statusMessage").map(|words| plain_words(&words)),
            created: moment("createdAt"),
            updated: moment("lastUpdatedAt"),
            poll_ms: member("pollIntervalMs").and_then(|value| value.parse().ok()),
        })
    }

    /// The whole of what its agent is told.
    fn told(&self, kind: &str, task: &Task, more: &str) -> String {
        let mut text = format!(
            r#"{{"resultType":"{kind}","taskId":"{}","status":"{}","createdAt":{},"lastUpdatedAt":{},"ttlMs":{}"#,
            task.handle(),
            self.status.as_str(),
            Value::from(self.created.as_str()),
            Value::from(self.updated.as_str()),
            task.ttl_ms(),
        );
        // Writing to a string can't fail.
        if let Some(words) = &self.words {
            let _infallible = write!(text, r#","statusMessage":{}"#, Value::from(words.as_str()));
        }
        if let Some(poll_ms) = self.poll_ms {
            let _infallible = write!(text, r#","pollIntervalMs":{poll_ms}"#);
        }
        text + more + "}"
    }
}

/// The id of a task, as its server gives it.
fn id_of(outline: &Outline<'_>) -> Option<String> {
    let id = serde_json::from_str::<String>(outline.member("taskId")?.value).ok()?;
    (!id.is_empty() && id.len() <= ID_BYTES).then_some(id)
}

/// What there is to make a task of a reply with.
pub(super) struct Taking {
    /// How to have the server give it up.
    recall: Option<Box<dyn Recall>>,
    /// The task that the call is already, because a person was asked first.
    deferred: Option<Arc<Task>>,
    /// The server's own id.
    id: Option<String>,
    /// What goes on record.
    pub(super) noted: Option<TaskRecord>,
}

impl Taking {
    pub(super) fn new(recall: Option<Box<dyn Recall>>, deferred: Option<Arc<Task>>) -> Self {
        Self { recall, deferred, id: None, noted: None }
    }

    /// Takes note of a task that the server began.
    pub(super) fn begun(&mut self, outline: &Outline<'_>) {
        self.id = id_of(outline);
    }

    /// Calls off what the server began and nobody will ask for.
    pub(super) fn give_up(&mut self) {
        if let (Some(id), Some(recall)) = (self.id.take(), self.recall.take()) {
            tokio::spawn(call_off(id, recall));
        }
    }
}

/// A result that says that the call is answered later: put to the agent with a handle of ours in place of the server's own id.
pub(super) fn begin(outline: &Outline<'_>, call: &Approved<'_>, taking: &mut Taking, ports: &Ports) -> Result<Reply, String> {
    let validated = call.permitted().validated();
    let granted = validated.granted();
    let (grant, now_ms) = (granted.grant(), ports.clock.now_ms());
    let id = id_of(outline).ok_or_else(|| format!("its task has no `taskId` of 1 to {ID_BYTES} bytes"))?;
    let facts = Facts::read(outline, now_ms)?;
    let principal = granted.identified().principal();
    let let_out = halted::let_out(principal, grant, Some(granted.tool()), ports);
    let (pass, flight) = let_out.map_err(|_| "its grant ended, or it was halted, when it made a task of the call")?;
    let remote = Remote { id: id.clone(), needs: needs_of(call.permitted()), asked: [].into() };
    let task = if let Some(task) = taking.deferred.take() {
        if !task.taken_up(remote, now_ms) {
            return Err("its agent does not wait for the task any more".to_owned());
        }
        task
    } else {
        let begun = Begun {
            of: Of::this(grant, granted.tool()),
            call: granted.identified().received().call_id().clone(),
            arguments: granted.arguments().clone(),
            grant: Arc::clone(grant),
            state: State::Remote(remote),
            ttl_ms: outline.member("ttlMs").and_then(|ttl| ttl.value.parse().ok()).filter(|ttl| *ttl > 0),
        };
        ports.tasks.open(begun, validated.room(), now_ms, ports.clock.random()).map_err(|full| full.to_string())?
    };
    if let Some(recall) = taking.recall.take() {
        task.watch(id, recall, pass, flight);
    }
    taking.noted = Some(noted(&task, facts.status));
    let result = read(facts.told("task", &task, ""))?;
    Ok(Reply { body: Body::Task(result), outcome: Outcome::Success })
}

/// What a server answers about a task.
pub(super) fn judge(
    (text, outline): (&Bytes, &Outline<'_>),
    call: &Approved<'_>,
    task: &Arc<Task>,
    taking: &mut Taking,
    ports: &Ports,
    limits: ScreenLimits,
) -> Result<Reply, String> {
    if outline.member("resultType").is_some_and(|kind| kind.value != "\"complete\"") {
        return Err("what it says of a task is of another type than `complete`".to_owned());
    }
    let validated = call.permitted().validated();
    let granted = validated.granted();
    if !only_asks(granted) {
        return Ok(Reply { body: Body::Task(acknowledged()?), outcome: Outcome::Success });
    }
    if id_of(outline) != task.remote_id() {
        return Err("it answers about another task than it was asked about".to_owned());
    }
    let facts = Facts::read(outline, task.made_ms)?;
    let mut asked = [].into();
    let (more, outcome) = match facts.status {
        Status::Working | Status::Cancelled => (String::new(), Outcome::Success),
        Status::Completed => {
            let result = outline.member("result").ok_or("its task is completed and has no `result`")?;
            let result = text.slice_ref(result.value.as_bytes());
            let outline = strictly_read(&result, limits)?;
            if !outline.is_object() {
                return Err("a result must be an object".to_owned());
            }
            let Reply { body, outcome } = judge_tool(&result, &outline, granted.tool(), granted.world(), limits)?;
            (end_of(&body).1, outcome)
        }
        Status::Failed => {
            let fault = outline.member("error").ok_or("its task has failed and has no `error`")?;
            (error_of(fault.value, granted, limits)?, Outcome::DownstreamError)
        }
        Status::InputRequired => {
            let nothing = Takes::default();
            let takes = if call.is_by_person() { &nothing } else { validated.takes() };
            let requests = outline.member("inputRequests").map(|requests| requests.value);
            let put = questions(requests, None, granted, takes, ports)?;
            asked = put.asked;
            (format!(r#","inputRequests":{}"#, put.requests), Outcome::InputRequired)
        }
    };
    task.asks(asked);
    if facts.status.is_over() {
        task.is_over();
    }
    taking.noted = Some(noted(task, facts.status));
    Ok(Reply { body: Body::Task(read(facts.told("complete", task, &more))?), outcome })
}

/// The error that a task ended with, screened like that of a call.
fn error_of(fault: &str, granted: &Granted<'_>, limits: ScreenLimits) -> Result<String, String> {
    let fields = json::fields(fault).map_err(|_| "the `error` of its task must be an object")?;
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.get());
    let code = field("code").and_then(|code| code.parse::<i64>().ok());
    let message = field("message").and_then(|message| serde_json::from_str::<String>(message).ok());
    let (Some(code), Some(message)) = (code, message) else {
        return Err("the `error` of its task must have a `code` and a `message`".to_owned());
    };
    let data = field("data").map(|data| Bytes::copy_from_slice(data.as_bytes()));
    let asked = granted.identified().received().asked();
    let reply = screen_error((code, &message, data.as_ref()), asked, &mut Cleaner::of_clean(limits))?;
    Ok(end_of(&reply.body).1)
}

/// How a task stands that ended with this, and what is told of that.
fn end_of(body: &Body) -> (Status, String) {
    let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    match body {
        Body::Result(result) => (Status::Completed, format!(r#","result":{}"#, text(result.text()))),
        Body::ToolError { text, meta } => {
            let mut result = json!({"content": [{"type": "text", "text": text}], "isError": true});
            if let (Some(meta), Some(result)) = (meta, result.as_object_mut()) {
                result.insert("_meta".to_owned(), meta.clone());
            }
            (Status::Completed, format!(r#","result":{result}"#))
        }
        Body::Error { code, message, data, .. } => {
            // 2026-07-28 has no such code, and only those who speak it have tasks.
            let (code, data) = match *code {
                RESOURCE_NOT_FOUND => (SERVER_ERROR, Some(refusal::with_code(RESOURCE_NOT_FOUND, data.as_ref()))),
                code => (code, data.clone()),
            };
            let data = data.map(|data| format!(r#","data":{}"#, text(&data))).unwrap_or_default();
            let message = Value::from(message.as_str());
            (Status::Failed, format!(r#","error":{{"code":{code},"message":{message}{data}}}"#))
        }
        // Nothing else is what a call ends with that a person approved.
        Body::Questions(_) | Body::Content(_) | Body::Task(_) | Body::Tools { .. } | Body::Offers { .. } => {
            (Status::Failed, r#","error":{"code":-32603,"message":"internal error"}"#.to_owned())
        }
    }
}

/// Its server does not know the task any more: from here on it is as if it had never been.
pub(super) fn lost(granted: &Granted<'_>, ports: &Ports) -> Reply {
    let handle = granted.task().map_or("", |task| task.handle());
    ports.tasks.forget(handle);
    let body = Body::Error { code: -32602, message: format!("Unknown task: {handle}"), data: None, http: 200 };
    Reply { body, outcome: Outcome::DownstreamError }
}

/// Whether it only asks where a task stands.
pub(super) fn only_asks(granted: &Granted<'_>) -> bool {
    matches!(granted.identified().received().asked(), Asked::Task(ask) if ask.verb == TaskVerb::Get)
}

/// Whether its agent takes a task, and there was no room for one more.
pub(super) fn had_no_room(call: &Validated<'_>) -> bool {
    call.granted().identified().received().may_be_task() && !call.takes_task()
}

/// What is sent about a task, where its first call had every approval that policy asks for now. To give it up needs none.
pub(super) fn approved(call: &Permitted<'_>, needs: &BTreeSet<String>, task: &Task) -> Result<Bytes, Refusal> {
    let gives_up =
        matches!(call.validated().granted().identified().received().asked(), Asked::Task(ask) if ask.verb == TaskVerb::Cancel);
    match &*task.state() {
        State::Remote(remote) if gives_up || needs.is_subset(&remote.needs) => {
            Ok(Bytes::from(json!({"taskId": remote.id}).to_string()))
        }
        State::Remote(_) => Err(Refusal::task_needs_approval()),
        State::Waiting(_) | State::Ended(_) | State::Left => Err(Refusal::internal("no server works on this task")),
    }
}

/// Takes the questions that these answers are to: once.
pub(super) fn claim(task: &Task, responses: &Bytes) -> bool {
    let read: serde_json::Map<String, Value> = serde_json::from_slice(responses).unwrap_or_default();
    task.claim(read.keys())
}

/// What is asked of a task that no server works on: a call that waits for a person, or waited. None where one does.
pub(crate) fn own_task(call: &Permitted<'_>, ports: &Ports, way: &mut Way<'_>) -> Result<Option<Answer>, Refusal> {
    let granted = call.validated().granted();
    let (Some(task), Asked::Task(ask)) = (granted.task(), granted.identified().received().asked()) else { return Ok(None) };
    if task.remote_id().is_some() {
        return Ok(None);
    }
    let stage = way.enter("task", "bailiwick.task.tell", ports);
    if granted.grant().cancelled().is_cancelled() {
        return Err(Refusal::grant_ended(granted.grant().end_of_chain(), "Nothing was told."));
    }
    way.decide_allow(ports).map_err(|lost| Refusal::trail_lost(&lost))?;
    if ask.verb == TaskVerb::Cancel {
        task.end(State::Left, ports.clock.now_ms());
    }
    let (facts, more) = standing(task);
    way.seen.task = Some(noted(task, facts.status));
    let result = if ask.verb == TaskVerb::Get { read(facts.told("complete", task, &more)) } else { acknowledged() };
    let result = result.map_err(Refusal::internal)?;
    way.leave(stage, ports);
    Ok(Some(Answer { outcome: Outcome::Success, body: Body::Task(result) }))
}

/// What the agent of a call is told that waits for a person.
pub(crate) fn own_begun(task: &Task) -> Option<Answer> {
    let result = read(standing(task).0.told("task", task, "")).ok()?;
    Some(Answer { outcome: Outcome::ApprovalPending, body: Body::Task(result) })
}

/// Where a task stands that is ours.
fn standing(task: &Task) -> (Facts, String) {
    let (status, words, more) = match &*task.state() {
        State::Waiting(words) => (Status::Working, Some(words.clone()), String::new()),
        // A server has taken it up just now: it says the rest when it is asked.
        State::Remote(_) => (Status::Working, None, String::new()),
        State::Left => (Status::Cancelled, None, String::new()),
        State::Ended(answer) => {
            let (status, more) = end_of(&answer.body);
            (status, None, more)
        }
    };
    let (created, updated) = (rfc3339(task.made_ms), rfc3339(task.changed_ms()));
    (Facts { status, words, created, updated, poll_ms: Some(POLL_MS) }, more)
}

/// That a server, or we, took note.
fn acknowledged() -> Result<ToolResult, String> {
    read(r#"{"resultType":"complete"}"#.to_owned())
}

fn noted(task: &Task, status: Status) -> TaskRecord {
    TaskRecord { of: task.call.clone(), status: Some(status.as_str()) }
}

/// What was put together here. It has a result in it that is as deep as one may be.
fn read(text: String) -> Result<ToolResult, String> {
    let text = Bytes::from(text);
    let limits = Limits { bytes: usize::MAX, depth: usize::MAX };
    let outline = json::outline(&text, limits, 1).map_err(|fault| format!("what is said of a task can't be read: {fault}"))?;
    Ok(ToolResult::new(&text, &outline))
}
