//! What an agent used of a grant, by the record, and the narrowest grant that would have been enough.
//!
//! The record keeps a keyed digest of a call's arguments and their size, so that it gives nothing away. Arguments are narrowed only where
//! they are known all the same: where there are none; where a record bears them and they are those of its digest; and, one by one, where
//! the decision says which values its rules read.

mod narrowing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bailiwick_pipeline::grant::{Budget, Capability, Grant, ToolPattern};
use bailiwick_policy::{Band, Kind};
use bailiwick_schemas::names::QualifiedName;
use bailiwick_trail::{Reader, Record, Start, Stream, TrailFault};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use self::narrowing::narrowed;

/// One call of the record.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    /// When, unix milliseconds.
    pub(crate) at_ms: u64,
    /// The agent that made it.
    pub(crate) agent: String,
    /// The grants that paid for it: the one it was made under, and those above.
    pub(crate) paid_by: Vec<String>,
    /// The tool.
    pub(crate) tool: QualifiedName,
    /// Its kind then.
    pub(crate) kind: Kind,
    /// Its band then.
    pub(crate) band: Band,
    /// The bytes of its arguments.
    pub(crate) bytes: u64,
    /// What it cost.
    pub(crate) cost: u64,
    /// The keyed digest of its arguments: who is asked the same has the same.
    pub(crate) mac: String,
    /// Its arguments, as far as they are known: an object with those that are.
    pub(crate) arguments: Option<Value>,
    /// Whether those are all of them.
    pub(crate) is_whole: bool,
    /// Whether it succeeded. What did not was paid for, too.
    pub(crate) succeeded: bool,
}

/// Reads the calls that were begun since then, in order. `keyed` digests bytes as the record does.
pub(crate) fn read(reader: &Reader, since_ms: u64, keyed: &dyn Fn(&[u8]) -> Option<String>) -> Result<Vec<Made>, TrailFault> {
    let mut made: Vec<Made> = Vec::new();
    let mut looked_at = looked_at(reader, since_ms)?;
    let mut open: HashMap<String, usize> = HashMap::new();
    for record in reader.records(Stream::Calls, Start::First)? {
        let record = record?;
        if record.unix_ms < since_ms {
            continue;
        }
        let Some(id) = record.text("call_id") else { continue };
        match record.text("event") {
            // What is asked about a task that has begun is part of its call.
            Some("intent") if record.text("task_of").is_none() => {
                if let Some(mut call) = intent(&record, keyed) {
                    call.arguments = call.arguments.or_else(|| looked_at.remove(id).map(Value::Object));
                    open.insert(id.to_owned(), made.len());
                    made.push(call);
                }
            }
            Some("outcome") => {
                if let Some(call) = open.remove(id).and_then(|at| made.get_mut(at)) {
                    call.succeeded = record.text("outcome") == Some("success");
                }
            }
            _ => {}
        }
    }
    Ok(made)
}

/// By call, the arguments that rules read, with their values. Only plain ones count: of an object no more than what was read is kept.
fn looked_at(reader: &Reader, since_ms: u64) -> Result<HashMap<String, Map<String, Value>>, TrailFault> {
    let mut found = HashMap::new();
    for record in reader.records(Stream::Decisions, Start::First)? {
        let record = record?;
        let read = record.body.get("asked").and_then(|asked| asked.get("input")).and_then(Value::as_object);
        let (Some(id), Some(read), true) = (record.text("call_id"), read, record.unix_ms >= since_ms) else { continue };
        let plain = read.iter().filter(|(_, value)| value.is_string() || value.is_number() || value.is_boolean());
        found.insert(id.to_owned(), plain.map(|(name, value)| (name.clone(), value.clone())).collect());
    }
    Ok(found)
}

/// A call that is about to happen; none where the record is of another form.
fn intent(record: &Record, keyed: &dyn Fn(&[u8]) -> Option<String>) -> Option<Made> {
    let number = |name: &str| record.body.get(name).and_then(Value::as_u64);
    let paid_by = record.body.get("debited")?.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let mac = record.text("args_mac")?.to_owned();
    let bytes = number("args_size")?;
    let arguments = known(record, &mac, bytes, keyed);
    Some(Made {
        at_ms: record.unix_ms,
        agent: record.text("agent")?.to_owned(),
        paid_by,
        tool: record.text("tool")?.parse().ok()?,
        kind: word(record, "kind")?,
        band: word(record, "band")?,
        bytes,
        cost: number("cost").unwrap_or(1),
        is_whole: arguments.is_some(),
        arguments,
        mac,
        succeeded: false,
    })
}

fn word<T: DeserializeOwned>(record: &Record, name: &str) -> Option<T> {
    serde_json::from_value(record.body.get(name)?.clone()).ok()
}

/// The arguments, as far as the record tells: an empty object is two bytes long, and what a record bears counts where its digest says
/// that it is all of them, and exactly.
fn known(record: &Record, mac: &str, bytes: u64, keyed: &dyn Fn(&[u8]) -> Option<String>) -> Option<Value> {
    if bytes == 2 {
        return Some(Value::Object(Map::new()));
    }
    let borne = record.body.get("arguments")?;
    let text = borne.as_str().map_or_else(|| borne.to_string(), str::to_owned);
    if keyed(text.as_bytes())? == mac { serde_json::from_str(&text).ok() } else { None }
}

/// A suggestion: the grant that would have been enough, and what is to be said of it.
#[derive(Debug, Clone)]
pub(crate) struct Suggested {
    /// The narrower grant; none where nothing succeeded under it, and so nothing of it is needed.
    pub(crate) grant: Option<Grant>,
    /// Tools that are given and were not used: the patterns that no call fell under.
    pub(crate) never_used: Vec<ToolPattern>,
    /// Used tools, each with what is known of its calls.
    pub(crate) used: BTreeMap<QualifiedName, Use>,
    /// Tools that were used under it, and that it does not give any more.
    pub(crate) no_longer_given: BTreeSet<QualifiedName>,
}

/// How a tool was used.
#[derive(Debug, Clone, Default)]
pub(crate) struct Use {
    /// Calls that succeeded.
    pub(crate) calls: u64,
    /// Different arguments among them.
    pub(crate) different: u64,
    /// Those whose arguments are known, all of them.
    pub(crate) known: u64,
    /// Whether some of the arguments of each call are known, at least.
    pub(crate) is_read: bool,
}

/// So much more than was used, of budgets and of time: half as much again.
const HEADROOM: (u64, u64) = (3, 2);

/// How a grant comes to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Issue {
    /// Once, when it was made.
    Once,
    /// Anew by the configuration, each time for so long, milliseconds. When that was is not known here.
    Anew(u64),
}

/// The narrowest grant that allows what succeeded of these calls, and is inside `present`.
pub(crate) fn suggest(present: &Grant, made: &[Made], issue: Issue) -> Suggested {
    let paid: Vec<&Made> = made.iter().filter(|call| call.paid_by.iter().any(|id| *id == present.id.as_str())).collect();
    let gives = |call: &&Made| present.capabilities.iter().any(|right| right.covers(&call.tool, call.kind));
    let of_now: Vec<&Made> = paid.iter().copied().filter(|call| call.succeeded && gives(call)).collect();
    let lost = paid.iter().filter(|call| call.succeeded && !gives(call)).map(|call| call.tool.clone()).collect();
    let mut suggested = Suggested { grant: None, never_used: Vec::new(), used: BTreeMap::new(), no_longer_given: lost };
    for right in &present.capabilities {
        if !of_now.iter().any(|call| right.covers(&call.tool, call.kind)) && !suggested.never_used.contains(&right.tools) {
            suggested.never_used.push(right.tools.clone());
        }
    }
    let mut calls: BTreeMap<QualifiedName, Vec<&Made>> = BTreeMap::new();
    for call in &of_now {
        calls.entry(call.tool.clone()).or_default().push(call);
    }
    for (tool, calls) in &calls {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let different: BTreeSet<&str> = calls.iter().map(|call| call.mac.as_str()).collect();
        let known = calls.iter().filter(|call| call.is_whole).count();
        let is_read = calls.iter().all(|call| call.arguments.as_ref().is_some_and(|all| *all != Value::Object(Map::new())));
        suggested.used.insert(
            tool.clone(),
            Use { calls: count(calls.len()), different: count(different.len()), known: count(known), is_read },
        );
    }
    // What was used within the life of one issue is what a budget has to hold.
    let lifetime_ms = match issue {
        Issue::Once => present.expires_at_ms.saturating_sub(present.not_before_ms),
        Issue::Anew(ttl_ms) => ttl_ms,
    };
    let Some(ceiling) = of_now.iter().map(|call| call.band).max() else { return suggested };
    suggested.grant = Some(Grant {
        capabilities: rights(present, &calls),
        ceiling: ceiling.min(present.ceiling),
        budget: budget(present, &paid, &calls, lifetime_ms),
        expires_at_ms: if issue == Issue::Once { expiry(present, &paid) } else { present.expires_at_ms },
        // Handing on needs levels below it, and asking for more is no longer needed where this is enough.
        delegation_depth: if is_handed_on(present, &paid) { present.delegation_depth } else { 0 },
        ..present.clone()
    });
    suggested
}

/// Half as long again as the task took from when the grant was made: whole minutes, and no longer than it lives.
fn expiry(present: &Grant, paid: &[&Made]) -> u64 {
    const MINUTE: u64 = 60_000;
    let last = paid.iter().map(|call| call.at_ms).max().unwrap_or(present.not_before_ms);
    let took = last.saturating_sub(present.not_before_ms).saturating_mul(HEADROOM.0) / HEADROOM.1;
    let minutes = (took / MINUTE).saturating_add(1);
    present.not_before_ms.saturating_add(minutes.saturating_mul(MINUTE)).min(present.expires_at_ms)
}

/// Whether calls of grants that were handed on from it are among these.
fn is_handed_on(present: &Grant, paid: &[&Made]) -> bool {
    paid.iter().any(|call| call.paid_by.first().is_some_and(|first| *first != present.id.as_str()))
}

/// A right for each used tool, with its bounds, and narrower ones where all its arguments are known.
fn rights(present: &Grant, calls: &BTreeMap<QualifiedName, Vec<&Made>>) -> Vec<Capability> {
    let used: BTreeSet<Kind> = calls.values().flatten().map(|call| call.kind).collect();
    let admits = |right: &Capability| right.kinds.as_ref().is_none_or(|kinds| used.is_subset(kinds));
    let is_common = present.capabilities.iter().all(admits);
    let mut rights: Vec<Capability> = Vec::new();
    for (tool, calls) in calls {
        let covering = present.capabilities.iter().filter(|right| calls.iter().any(|call| right.covers(tool, call.kind)));
        for right in covering {
            let args = narrowed(&right.args, calls.iter().map(|call| call.arguments.as_ref()));
            let kinds = if is_common { Some(used.clone()) } else { right.kinds.clone() };
            let narrow = Capability { tools: ToolPattern::Tool(tool.clone()), kinds, args };
            if !rights.contains(&narrow) {
                rights.push(narrow);
            }
        }
    }
    rights
}

/// What was used within the lifetime of one issue at most, and half as much again; no more than there is.
fn budget(present: &Grant, paid: &[&Made], calls: &BTreeMap<QualifiedName, Vec<&Made>>, lifetime_ms: u64) -> Budget {
    let with_room = |used: u64, limit: Option<u64>| {
        let room = used.saturating_mul(HEADROOM.0).div_ceil(HEADROOM.1).max(1);
        Some(limit.map_or(room, |limit| limit.min(room)))
    };
    let most = |of: &dyn Fn(&Made) -> u64| most_within(paid, lifetime_ms, of);
    let tools = present.budget.tools.iter().filter(|(pattern, _)| calls.keys().any(|tool| pattern.covers(tool)));
    let tools = tools.map(|(pattern, limit)| {
        let used = most(&|call| u64::from(pattern.covers(&call.tool)));
        (pattern.clone(), with_room(used, Some(*limit)).unwrap_or(*limit))
    });
    let kept = present.budget.tools.iter().filter(|(pattern, _)| !calls.keys().any(|tool| pattern.covers(tool)));
    Budget {
        calls: with_room(most(&|_| 1), present.budget.calls),
        writes: with_room(most(&|call| u64::from(call.kind != Kind::Read)), present.budget.writes),
        bytes_out: with_room(most(&|call| call.bytes), present.budget.bytes_out),
        cost: present.budget.cost.and_then(|limit| with_room(most(&|call| call.cost), Some(limit))),
        tools: tools.chain(kept.map(|(pattern, limit)| (pattern.clone(), *limit))).collect(),
    }
}

/// The most that came together within any stretch of this length. An issue of the grant lives no longer.
fn most_within(paid: &[&Made], lifetime_ms: u64, of: &dyn Fn(&Made) -> u64) -> u64 {
    let mut calls: Vec<&&Made> = paid.iter().collect();
    calls.sort_by_key(|call| call.at_ms);
    let (mut most, mut sum) = (0_u64, 0_u64);
    let mut first = calls.iter().peekable();
    for call in &calls {
        sum = sum.saturating_add(of(call));
        while let Some(old) = first.next_if(|old| call.at_ms.saturating_sub(old.at_ms) > lifetime_ms) {
            sum = sum.saturating_sub(of(old));
        }
        most = most.max(sum);
    }
    most
}

/// A rule that holds an agent to these tools, whatever its grants say; none where it used nothing.
pub(crate) fn rule(agent: &str, tools: &BTreeSet<QualifiedName>) -> Option<String> {
    if tools.is_empty() {
        return None;
    }
    let quoted = |text: &str| Value::from(text).to_string();
    let actions: Vec<String> = tools.iter().map(|tool| format!("        Bailiwick::Action::{}", quoted(tool.as_str()))).collect();
    let id: String = agent.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    Some(format!(
        "@id(\"{id}-only-what-it-used\")\n@reason(\"this agent never needed that tool: ask its owner\")\nforbid (principal in Bailiwick::Agent::{}, action in Bailiwick::Action::\"call\", resource)\nunless {{\n    action in [\n{}\n    ]\n}};\n",
        quoted(agent),
        actions.join(",\n")
    ))
}
