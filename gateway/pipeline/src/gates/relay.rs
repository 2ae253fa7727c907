//! What a server says before its answer, screened like the answer: what was asked for and is what it must be, without the lent secret, and
//! only while the grant lives.

use std::{collections::BTreeMap, sync::Arc};

use bailiwick_policy::Part;
use bailiwick_schemas::json::{self, Limits, Outline};
use bytes::Bytes;
use serde_json::Value;

use super::{
    Approved,
    arm::leak_on_record,
    asks::{self, QUESTIONS, QUESTIONS_BYTES},
    flow, halted,
    others::Others,
    screen::without_secret,
};
use crate::{
    aside::{ASIDE_BYTES, Aside, AsideKind, Ear, LogLevel, Overheard, RawQuestion, Said, Wants},
    obliged::{Redactor, may_ask},
    ports::{Lease, Ports},
    refusal::Refusal,
    rounds::Asking,
    running::{self, Running},
    way::Way,
};

/// How deep an aside may be nested.
const DEPTH: usize = 64;
/// With this in its `_meta`, a notification belongs to a subscription (MCP 2026-07-28), and no answer's stream is one.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// What hears a server before its answer, and the server's end of it; none where there is nothing to hear.
pub(super) fn overheard(takes_questions: bool, way: &mut Way<'_>) -> Option<(Overheard, Ear)> {
    let nothing = Wants::default();
    let wants = Some(&way.received().origin().wants).filter(|_| way.herald.is_some()).unwrap_or(&nothing);
    if !wants.any() && !takes_questions {
        return None;
    }
    let (ear, heard) = Ear::for_wants(wants);
    way.seen.asides.unheard = Some(heard.unheard());
    Some((heard, if takes_questions { ear.with_questions() } else { ear }))
}

/// Tells the agent an aside, if it may hear it. Else it is counted. A question is refused here.
pub(super) fn pass(
    said: &Said,
    call: &Approved<'_>,
    lease: Option<&Arc<Lease>>,
    ports: &Ports,
    way: &mut Way<'_>,
) -> Result<(), Refusal> {
    let Said::Aside(aside) = said else {
        way.seen.asides.withheld += 1;
        return Ok(());
    };
    let clean = cleaned(&aside.params, call, lease, ports, way)?;
    let wants = &way.received().origin().wants;
    let grant = call.permitted().validated().granted().grant();
    let may_hear = !grant.cancelled().is_cancelled() && halted::of(call.permitted().validated().granted(), ports).is_none();
    // What may come back is counted in the answer: before it nothing is told but how far the work is.
    let is_limited = !call.permitted().obligations().limits.is_empty();
    let said = clean.filter(|_| may_hear).and_then(|params| {
        let outline = strictly_read(&params).filter(|outline| !is_of_subscription(outline))?;
        match aside.kind {
            AsideKind::Progress => progress(&outline, wants, way.seen.asides.last_progress, is_limited),
            AsideKind::Log => log(&outline, wants).filter(|_| !is_limited),
        }
    });
    match said {
        Some((params, progress)) => {
            // Before it leaves: nobody can tell what of the result it gives away.
            flow::join_unknown(call.permitted().validated().granted(), ports, way)?;
            way.tell(Aside { kind: aside.kind, params }, progress);
        }
        None => way.seen.asides.withheld += 1,
    }
    Ok(())
}

/// What a server says without the lent secret; none where it is no object, or too large.
fn cleaned(
    params: &Bytes,
    call: &Approved<'_>,
    lease: Option<&Arc<Lease>>,
    ports: &Ports,
    way: &mut Way<'_>,
) -> Result<Option<Bytes>, Refusal> {
    let needles = lease.map(|lease| lease.needles());
    let mut redactions = 0;
    // Together with what was said before: a secret can be said in pieces.
    let said = &mut way.seen.asides.said;
    let grant = call.permitted().validated().granted().grant();
    let mut others = Others::of(grant, lease.map(AsRef::as_ref), &way.seen.shown, ports);
    let clean = strictly_read(params)
        .and_then(|_| without_secret(params, needles, Some(said), &mut redactions).ok())
        .and_then(|clean| others.taken_out(params, clean).ok())
        .map(|clean| clean.unwrap_or_else(|| params.clone()));
    let clean = match Redactor::of(call.permitted().obligations(), Part::Result) {
        None => clean,
        // What can't be looked at is not told.
        Some(mut redactor) => clean.and_then(|clean| redactor.result(std::str::from_utf8(&clean).ok()?).ok()).map(Bytes::from),
    };
    // Once: what is said again and again fills no record. The rest is counted.
    if let Some(lease) = lease.filter(|lease| redactions > 0 && !way.seen.shown.has(lease)) {
        way.trace.important = true;
        leak_on_record(call, lease, redactions, ports, way)?;
        way.seen.shown.add(&call.permitted().validated().granted().tool().connector.id, lease);
    }
    others.on_record(call, ports, way)?;
    way.seen.asides.redactions += (redactions + others.seen()) as u64;
    Ok(clean)
}

/// The questions of a server that waits for their answers, as they are put to the agent.
#[derive(Debug, Default)]
pub(super) struct Put {
    requests: serde_json::Map<String, Value>,
    asked: BTreeMap<String, Asking>,
    bytes: usize,
}

impl Put {
    /// Adds a question, if it may be asked. Else its server hears that it is refused, and the call goes on.
    pub(super) fn add(
        &mut self,
        question: RawQuestion,
        running: &mut Running,
        call: &Approved<'_>,
        ports: &Ports,
        way: &mut Way<'_>,
    ) -> Result<(), Refusal> {
        let lease = running.lease().cloned();
        let clean = cleaned(&question.params, call, lease.as_ref(), ports, way)?;
        let validated = call.permitted().validated();
        let obligations = call.permitted().obligations();
        let has_room = |params: &Bytes| {
            let has_room = self.asked.len() < QUESTIONS && self.bytes + params.len() <= QUESTIONS_BYTES;
            has_room && may_ask(self.bytes + params.len(), obligations)
        };
        let judged = clean.filter(has_room).and_then(|params| {
            let params = std::str::from_utf8(&params).ok()?;
            let request = format!(r#"{{"method":{},"params":{params}}}"#, Value::from(question.method.as_str()));
            let question = asks::question(&request, validated.granted(), validated.takes(), ports).ok()?;
            Some((params.len(), question))
        });
        let Some((bytes, (asking, request))) = judged else {
            way.seen.asides.withheld += 1;
            return Ok(());
        };
        self.bytes += bytes;
        let key = running.ask(asking.clone(), request.clone(), question.reply);
        self.requests.insert(key.clone(), request);
        self.asked.insert(key, asking);
        Ok(())
    }

    /// Those that have no answer yet.
    pub(super) fn again(left: Vec<running::Put>) -> Self {
        let mut put = Self::default();
        for (key, asking, request) in left {
            put.requests.insert(key.clone(), request);
            put.asked.insert(key, asking);
        }
        put
    }

    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    /// What was asked, and how it is put: a JSON object.
    pub(super) fn into_parts(self) -> (BTreeMap<String, Asking>, String) {
        (self.asked, Value::Object(self.requests).to_string())
    }
}

/// The members of the object; none where it is no such thing.
fn strictly_read(params: &Bytes) -> Option<Outline<'_>> {
    json::outline(params, Limits { bytes: ASIDE_BYTES, depth: DEPTH }, 2).ok().filter(Outline::is_object)
}

fn is_of_subscription(outline: &Outline<'_>) -> bool {
    outline.member("_meta").is_some_and(|meta| {
        // What is no object is no metadata either.
        !meta.is_object() || outline.members_of(meta).any(|member| member.key == SUBSCRIPTION)
    })
}

/// Progress under the agent's own token: it only rises (MCP `basic/utilities/progress`). `is_bare` where its numbers alone are told.
fn progress(outline: &Outline<'_>, wants: &Wants, last: Option<f64>, is_bare: bool) -> Option<(String, Option<f64>)> {
    let token = wants.progress.as_deref()?;
    let number = |key: &str| outline.member(key).map(|member| member.value.parse::<f64>().ok().filter(|value| value.is_finite()));
    let progress = number("progress")??;
    let is_plain = number("total").is_none_or(|total| total.is_some())
        && outline.member("message").is_none_or(|message| message.value.starts_with('"'));
    if !is_plain || last.is_some_and(|last| progress <= last) {
        return None;
    }
    if is_bare {
        let total = number("total").flatten().map(|total| format!(r#","total":{}"#, Value::from(total)));
        let (progress_text, total) = (Value::from(progress), total.unwrap_or_default());
        return Some((format!(r#"{{"progressToken":{token},"progress":{progress_text}{total}}}"#), Some(progress)));
    }
    let value = |key: &str, value| if key == "progressToken" { token.to_owned() } else { value };
    Some((rewritten(outline, value)?, Some(progress)))
}

/// A log message as grave as the agent wants it (MCP `server/utilities/logging`).
fn log(outline: &Outline<'_>, wants: &Wants) -> Option<(String, Option<f64>)> {
    let level = serde_json::from_str::<String>(outline.member("level")?.value).ok().as_deref().and_then(LogLevel::of)?;
    outline.member("data")?;
    let is_plain = outline.member("logger").is_none_or(|logger| logger.value.starts_with('"'));
    if !is_plain || level < wants.level? {
        return None;
    }
    Some((outline.text().to_owned(), None))
}

/// The object with other values; all else stays as it was written.
fn rewritten(outline: &Outline<'_>, value: impl Fn(&str, String) -> String) -> Option<String> {
    let mut text = String::with_capacity(outline.text().len() + 64);
    for member in outline.members() {
        text.push(if text.is_empty() { '{' } else { ',' });
        text.push_str(&Value::from(member.key.as_ref()).to_string());
        text.push(':');
        text.push_str(&value(&member.key, member.value.to_owned()));
    }
    text.push('}');
    (text.len() > 1).then_some(text)
}
