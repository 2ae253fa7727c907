//! What a start makes good: what the trail knows and the store does not, and requests that the gateway's end left without an
//! outcome.

use std::{collections::BTreeMap, sync::Arc};

use bailiwick_pipeline::{
    detect::{Detections, Sort, opened_amounts},
    grant::Labels,
    ids::{AgentId, ApprovalId},
    ports::Clock,
    records::{Outcome, OutcomeRecord},
};
use bailiwick_store::{ReplayedIntent, Store, StoreFault, Use};
use bailiwick_trail::{Record, Start, Stream, Trail, TrailFault};
use serde::Deserialize as _;
use serde_json::Value;

use crate::runtime::StartFault;

/// Where, in the store, the places in the trail are kept up to which every request has its outcome.
const CALLS_CLOSED_UNTIL: &str = "closed_until";
const DECISIONS_CLOSED_UNTIL: &str = "closed_until_decisions";

/// The intents that the store has not counted yet.
pub(crate) fn intents_since(trail: &Trail, store: &Store, cursor: u64) -> Result<Vec<ReplayedIntent>, TrailFault> {
    let mut intents = Vec::new();
    for record in trail.calls_since(cursor)? {
        let record = record?;
        match record.text("event") {
            Some("intent") => intents.extend(replayed(&record, store)),
            Some("labelled") => intents.extend(labelled(&record)),
            _ => {}
        }
    }
    Ok(intents)
}

fn replayed(record: &Record, store: &Store) -> Option<ReplayedIntent> {
    let body = &record.body;
    let debited = body.get("debited")?.as_array()?.iter().filter_map(|id| id.as_str()?.parse().ok());
    Some(ReplayedIntent {
        grant: record.text("grant")?.parse().ok()?,
        grant_revision: body.get("grant_revision")?.as_u64()?,
        debited: debited.collect(),
        tool: record.text("tool").and_then(|name| name.parse().ok()),
        at_ms: record.unix_ms,
        has_effect: record.text("kind") != Some("read"),
        bytes_out: body.get("args_size").and_then(Value::as_u64).unwrap_or(0),
        cost: body.get("cost").and_then(Value::as_u64).unwrap_or(1),
        labels: labels_of(record),
        approval: record.text("approval").and_then(|id| id.parse::<ApprovalId>().ok()),
        sums: amounts_of(record, store),
        allowance: record.text("allowance").and_then(|id| id.parse::<ApprovalId>().ok()).zip(used(record)),
    })
}

/// What grants were marked with beyond their intents: each as an intent that debits nobody.
fn labelled(record: &Record) -> Vec<ReplayedIntent> {
    let chain = record.body.get("chain").and_then(Value::as_array).into_iter().flatten();
    let marked = |grant| ReplayedIntent {
        grant,
        grant_revision: 0,
        debited: Vec::new(),
        tool: None,
        at_ms: record.unix_ms,
        has_effect: false,
        bytes_out: 0,
        cost: 0,
        labels: labels_of(record),
        approval: None,
        sums: Vec::new(),
        allowance: None,
    };
    chain.filter_map(|id| id.as_str()?.parse().ok()).map(marked).collect()
}

/// Labels that can't be read are all of them: nothing is washed off by a record of another version.
fn labels_of(record: &Record) -> Labels {
    record.body.get("labels").and_then(|labels| Labels::deserialize(labels).ok()).unwrap_or(Labels::ALL)
}

/// What an intent adds to sums that a detection limits. What was sealed and can't be opened any more is more than any limit: nothing is
/// forgotten by losing the key.
fn amounts_of(record: &Record, store: &Store) -> Vec<(Arc<str>, u64)> {
    let Some(sums) = record.body.get("sums") else { return Vec::new() };
    let call = record.text("call_id").unwrap_or_default();
    let sealed = sums.get("sealed").and_then(Value::as_str);
    let opened = sealed.and_then(|sealed| opened_amounts(call, sealed, |about, sealed| store.unseal(about, sealed)));
    let amounts = sums.get("amounts").and_then(Value::as_object).into_iter().flatten();
    let amount = |(name, shown): (&String, &Value)| match (shown, &opened) {
        (Value::Null, opened) => {
            let amount = opened.as_ref().and_then(|opened| opened.get(name)).copied();
            Some((Arc::from(name.as_str()), amount.unwrap_or(u64::MAX)))
        }
        (shown, _) => Some((Arc::from(name.as_str()), shown.as_u64()?)),
    };
    amounts.filter_map(amount).collect()
}

/// Takes up the sums that agents came to within the windows of the detections that limit such. Of the trail it reads as much as that takes.
pub(crate) fn sums_of_windows(trail: &Trail, store: &Store, detections: &Detections, now_ms: u64) -> Result<(), TrailFault> {
    let windows = detections.rules().iter().filter(|rule| has_window(&rule.sort)).map(|rule| rule.window_ms).max();
    let Some(window_ms) = windows else { return Ok(()) };
    let (from_ms, last) = (now_ms.saturating_sub(window_ms), trail.last_seq(Stream::Calls));
    let mut back = 1024;
    // Step by step further back, until all of the window is seen.
    let first = loop {
        let seq = last.saturating_sub(back).max(1);
        let is_before = |record: Record| record.unix_ms < from_ms;
        if seq == 1 || trail.reader().record(Stream::Calls, seq)?.is_some_and(is_before) {
            break seq;
        }
        back = back.saturating_mul(4);
    };
    for record in trail.reader().records(Stream::Calls, Start::Seq(first))? {
        let record = record?;
        if record.unix_ms < from_ms || record.text("event") != Some("intent") {
            continue;
        }
        let Some(sums) = record.body.get("sums") else { continue };
        let agents = sums.get("agents").and_then(Value::as_array).into_iter().flatten();
        let agents: Vec<AgentId> = agents.filter_map(|agent| agent.as_str()?.parse().ok()).collect();
        for (name, amount) in amounts_of(&record, store) {
            detections.recall(&agents, &name, record.unix_ms, amount);
        }
    }
    Ok(())
}

fn has_window(sort: &Sort) -> bool {
    matches!(sort, Sort::Sum { limit: Some(_), .. })
}

/// The use of an allowance that an intent took.
fn used(record: &Record) -> Option<Use> {
    Some(Use { call: record.text("call_id")?.parse().ok()?, at_ms: record.unix_ms })
}

/// Gives each request that the last gateway left open its one outcome.
pub(crate) async fn close_open(trail: &Trail, store: &Store, clock: &dyn Clock) -> Result<(), StartFault> {
    let place = |key| Ok::<_, StoreFault>(store.meta(key)?.and_then(|seq| seq.parse::<u64>().ok()));
    // Only both together say where to begin: else the outcome of a call that was held could stand before it.
    let (calls, decisions) = place(CALLS_CLOSED_UNTIL)?.zip(place(DECISIONS_CLOSED_UNTIL)?).unwrap_or((0, 0));
    close_unknown(trail, calls, clock)?;
    close_held(trail, calls, decisions, clock)?;
    trail.flush()?;
    // In this order: a crash between the two has the outcomes looked at again, and finds them.
    for (key, stream) in [(DECISIONS_CLOSED_UNTIL, Stream::Decisions), (CALLS_CLOSED_UNTIL, Stream::Calls)] {
        store.set_meta(key, Some(&trail.last_seq(stream).to_string())).await?;
    }
    Ok(())
}

/// Calls that were on their way: they may have happened. Nothing is sent again.
fn close_unknown(trail: &Trail, calls: u64, clock: &dyn Clock) -> Result<(), TrailFault> {
    for intent in trail.open_intents(calls)? {
        let detail = "the gateway ended between intent and outcome: it may have happened, and is not sent again";
        close(trail, &intent, Outcome::Unknown, detail, clock)?;
    }
    Ok(())
}

/// Calls that waited for a person: they did not happen. The question stays open, for the same call when it comes again.
fn close_held(trail: &Trail, calls: u64, decisions: u64, clock: &dyn Clock) -> Result<(), TrailFault> {
    let mut held = BTreeMap::new();
    for record in trail.reader().records(Stream::Decisions, Start::Seq(decisions.saturating_add(1)))? {
        let record = record?;
        if record.text("event") == Some("approval_awaited")
            && let Some(call) = record.text("call_id").map(str::to_owned)
        {
            held.insert(call, record);
        }
    }
    if held.is_empty() {
        return Ok(());
    }
    for record in trail.calls_since(calls)? {
        let record = record?;
        if record.text("event") == Some("outcome") {
            record.text("call_id").and_then(|call| held.remove(call));
        }
    }
    for record in held.values() {
        close(trail, record, Outcome::Cancelled, "the gateway ended while it waited for a person: it was not sent", clock)?;
    }
    Ok(())
}

/// Puts an outcome on record for the call that this record is about.
fn close(trail: &Trail, of: &Record, outcome: Outcome, detail: &str, clock: &dyn Clock) -> Result<(), TrailFault> {
    let Some(call) = of.text("call_id").and_then(|id| id.parse().ok()) else { return Ok(()) };
    let agent = of.text("agent").and_then(|id| id.parse().ok());
    let grant = of.text("grant").and_then(|id| id.parse().ok());
    let approval = of.text("approval").or_else(|| of.text("allowance")).and_then(|id| id.parse().ok());
    let record = OutcomeRecord {
        event: "outcome",
        call_id: &call,
        method: of.text("method").unwrap_or("tools/call"),
        jsonrpc_id: None,
        protocol: "",
        transport: "",
        size: 0,
        agent: agent.as_ref(),
        instance: of.text("instance"),
        auth_method: None,
        grant: grant.as_ref(),
        tool: of.text("tool"),
        args_mac: None,
        outcome,
        reason: Some("gateway_ended"),
        detail: Some(detail),
        approval: approval.as_ref(),
        duration_us: 0,
        held_us: 0,
        outcome_of: None,
        result: None,
        asides: None,
        task: None,
        trace_id: of.text("trace_id").unwrap_or_default(),
    };
    trail.append(Stream::Calls, clock.now_ms(), &record)?;
    tracing::warn!(%call, tool = of.text("tool"), detail, "a call had no outcome when the gateway ended");
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use bailiwick_pipeline::ids::CallId;
    use bailiwick_trail::Options;
    use serde_json::{Value, json};

    use super::*;
    use crate::adapters::SystemClock;

    struct House {
        _folder: tempfile::TempDir,
        trail: Trail,
        store: Store,
    }

    fn house() -> House {
        let folder = tempfile::tempdir().unwrap();
        let (trail, _) = Trail::open(&folder.path().join("trail"), Options::default()).unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        House { _folder: folder, trail, store }
    }

    fn call(number: u8) -> CallId {
        CallId::new(u64::from(number), [number; 10])
    }

    impl House {
        fn write(&self, stream: Stream, event: &str, number: u8, more: &Value) {
            let mut record = json!({"event": event, "call_id": call(number), "tool": "s__echo", "agent": "a", "grant": "g"});
            record.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
            self.trail.append(stream, 1, &record).unwrap();
        }

        async fn close(&self) {
            close_open(&self.trail, &self.store, &SystemClock).await.unwrap();
        }

        /// The calls with an outcome, and which.
        fn outcomes(&self) -> Vec<(String, String)> {
            let records = self.trail.calls_since(0).unwrap().map(Result::unwrap);
            let outcomes = records.filter(|record| record.text("event") == Some("outcome"));
            outcomes
                .map(|record| (record.text("call_id").unwrap().to_owned(), record.text("outcome").unwrap_or("?").to_owned()))
                .collect()
        }
    }

    #[tokio::test]
    async fn what_was_held_or_on_its_way_gets_one_outcome() {
        let house = house();
        let none = json!({});
        // 1: held. 2: held, and answered. 3: held twice, then on its way. 4: on its way. 5: decided, and answered.
        for number in [1, 2, 3, 3] {
            house.write(Stream::Decisions, "approval_awaited", number, &json!({"method": "tools/call", "approval": "x"}));
        }
        house.write(Stream::Decisions, "decided", 5, &none);
        house.write(Stream::Calls, "intent", 3, &none);
        house.write(Stream::Calls, "intent", 4, &none);
        house.write(Stream::Calls, "outcome", 2, &none);
        house.write(Stream::Calls, "outcome", 5, &none);
        house.close().await;
        let told = |number, outcome: &str| (call(number).to_string(), outcome.to_owned());
        let closed = [told(2, "?"), told(5, "?"), told(3, "unknown"), told(4, "unknown"), told(1, "cancelled")];
        assert_eq!(house.outcomes(), closed);
        house.close().await;
        assert_eq!(house.outcomes().len(), closed.len(), "each is closed once");
        house.write(Stream::Decisions, "approval_awaited", 6, &none);
        house.close().await;
        assert_eq!(house.outcomes().last(), Some(&told(6, "cancelled")));
    }

    /// A folder of a version that kept one of the two places only.
    #[tokio::test]
    async fn what_was_closed_before_is_not_closed_again() {
        let house = house();
        house.write(Stream::Decisions, "approval_awaited", 1, &json!({}));
        house.write(Stream::Calls, "outcome", 1, &json!({}));
        house.store.set_meta(CALLS_CLOSED_UNTIL, Some("1")).await.unwrap();
        house.close().await;
        assert_eq!(house.outcomes().len(), 1);
    }

    #[test]
    fn an_intent_is_replayed_with_its_labels() {
        let house = house();
        let of = |labels: &Value| {
            let more = json!({"debited": ["g"], "grant_revision": 1, "kind": "read", "labels": labels});
            house.write(Stream::Calls, "intent", 1, &more);
            intents_since(&house.trail, &house.store, house.trail.last_seq(Stream::Calls) - 1).unwrap().remove(0).labels
        };
        assert_eq!(of(&json!(["untrusted", "secret"])), Labels::UNTRUSTED.join(Labels::SECRET));
        assert_eq!(of(&json!({"untrusted": true, "confidential": false})), Labels::UNTRUSTED);
        assert_eq!(of(&json!({"untrusted": false, "confidential": false})), Labels::NONE);
        assert_eq!(of(&json!(null)), Labels::ALL);
        assert_eq!(of(&json!({"untrusted": "no"})), Labels::ALL);
    }

    #[test]
    fn what_showed_after_the_intent_is_replayed_for_each_grant_of_the_chain_and_debits_none() {
        let house = house();
        let more = json!({"agent": "a", "grant": "child", "chain": ["child", "root"], "labels": ["confidential"]});
        house.write(Stream::Calls, "labelled", 1, &more);
        let found = intents_since(&house.trail, &house.store, house.trail.last_seq(Stream::Calls) - 1).unwrap();
        let grants: Vec<&str> = found.iter().map(|intent| intent.grant.as_str()).collect();
        assert_eq!(grants, ["child", "root"]);
        assert!(found.iter().all(|intent| intent.labels == Labels::CONFIDENTIAL && intent.debited.is_empty()));
    }
}
