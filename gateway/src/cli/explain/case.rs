//! Everything that is on record about one call.

use bailiwick_pipeline::records::{Asked, FlowRecord};
use bailiwick_schemas::exposure::OWN;
use bailiwick_trail::{Reader, Record, Start, Stream};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::{
    advice::{Refusal, advice},
    foreseen::{least, values},
    origin::Origin,
};
use crate::cli::{
    fault::CliFault,
    screen::{Page, lines, shown},
    units::span,
};
use crate::foresee::Why;

/// The steps of the way, in order.
const WAY: [&str; 10] = ["receive", "identify", "grant", "validate", "permit", "approve", "arm", "record", "send", "screen"];

/// Everything that is on record about one call, in the order in which it came to be.
pub(super) struct Case {
    call: String,
    decisions: Vec<Record>,
    intent: Option<Record>,
    outcome: Option<Record>,
    secrets: Vec<Record>,
    /// What was decided about its approval.
    said: Option<Record>,
}

impl Case {
    /// The call of this id, if anything is on record about it.
    pub(super) fn of_call(reader: &Reader, call: &str) -> Result<Option<Self>, CliFault> {
        let of = |stream| -> Result<Vec<Record>, CliFault> {
            let mut found = Vec::new();
            for record in reader.records(stream, Start::First)? {
                let record = record?;
                if record.text("call_id") == Some(call) {
                    found.push(record);
                }
            }
            Ok(found)
        };
        let decisions = of(Stream::Decisions)?;
        let calls = of(Stream::Calls)?;
        if decisions.is_empty() && calls.is_empty() {
            return Ok(None);
        }
        Self { call: call.to_owned(), decisions, intent: None, outcome: None, secrets: of(Stream::Secrets)?, said: None }
            .with(calls, reader)
            .map(Some)
    }

    /// The call that this was decided about.
    pub(super) fn of_decision(reader: &Reader, decision: Record) -> Result<Self, CliFault> {
        let known = decision.text("call_id").map(|call| Self::of_call(reader, call)).transpose()?.flatten();
        Ok(known.unwrap_or_else(|| Self {
            call: String::new(),
            decisions: vec![decision],
            intent: None,
            outcome: None,
            secrets: Vec::new(),
            said: None,
        }))
    }

    fn with(mut self, calls: Vec<Record>, reader: &Reader) -> Result<Self, CliFault> {
        for record in calls {
            match record.text("event") {
                Some("intent") => self.intent = Some(record),
                Some("outcome") => self.outcome = Some(record),
                _ => {}
            }
        }
        if let Some(approval) = self.get("approval").map(str::to_owned) {
            for record in reader.records(Stream::Admin, Start::First)? {
                let record = record?;
                let is_it = record.text("event") == Some("approval_decided") && record.text("about") == Some(&approval);
                if is_it && record.text("result") == Some("done") {
                    self.said = Some(record);
                }
            }
        }
        Ok(self)
    }

    /// A text of the newest record that has it.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        let decisions = self.decisions.iter().rev();
        let all = self.outcome.iter().chain(decisions).chain(&self.intent);
        all.into_iter().find_map(|record| record.text(key))
    }

    fn decision(&self) -> Option<&Record> {
        self.decisions.last()
    }

    /// `allow`, `step_up` or `deny`.
    fn effect(&self) -> &str {
        self.decision().and_then(|decision| decision.text("effect")).unwrap_or("deny")
    }

    /// What the policies were asked last, where they were.
    pub(super) fn asked(&self) -> Option<Asked> {
        let asked = self.decisions.iter().rev().find_map(|decision| decision.body.get("asked"))?;
        serde_json::from_value(asked.clone()).ok()
    }

    pub(super) fn rules(&self) -> Vec<&str> {
        self.decided("rules")
    }

    /// What these demanded beside a yes.
    fn obligations(&self) -> Vec<&str> {
        self.decided("obligations")
    }

    fn decided(&self, key: &str) -> Vec<&str> {
        let found = self.decisions.iter().rev().find_map(|decision| decision.body.get(key).and_then(Value::as_array));
        found.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// What was read of where data flows.
    fn flow(&self) -> Option<FlowRecord> {
        self.decisions.iter().rev().find_map(|decision| FlowRecord::deserialize(decision.body.get("flow")?).ok())
    }

    /// Where it ended, if not after the last step; and the last step that it has to go.
    fn stop(&self) -> (Option<&str>, Option<&'static str>) {
        let gate = self.decision().and_then(|decision| decision.text("gate"));
        // A list is answered from the grant, and so are the gateway's own tools.
        let last = match (self.get("method"), self.get("tool")) {
            (Some("tools/list"), _) => Some("grant"),
            (_, Some(tool)) if OWN.contains(&tool) => Some("validate"),
            _ => None,
        };
        let outcome = self.outcome.as_ref().and_then(|outcome| outcome.text("outcome"));
        let stopped = match (self.effect(), outcome) {
            ("deny", _) => gate,
            ("step_up", _) => Some("approve"),
            (_, Some("success" | "tool_error")) => None,
            (_, _) if last.is_some() => None,
            (_, _) if self.get("reason") == Some("result_refused") => Some("screen"),
            _ => Some("send"),
        };
        (stopped.map(|gate| if gate == "hold" { "approve" } else { gate }), last)
    }

    fn word(&self) -> &'static str {
        let outcome = self.outcome.as_ref().and_then(|outcome| outcome.text("outcome"));
        match (self.effect(), outcome) {
            ("deny", _) => "DENIED",
            ("step_up", Some("approval_pending")) => "WAITS FOR A PERSON",
            ("step_up", _) => "HELD FOR APPROVAL",
            (_, Some("success")) => "ALLOWED",
            (_, Some("tool_error")) => "ALLOWED, the tool failed",
            (_, None) => "ALLOWED, no outcome yet",
            (_, Some(_)) => "ALLOWED, but not done",
        }
    }

    /// For a person.
    pub(super) fn text(&self, origin: &Origin, why: &Why) -> String {
        let agent = self.get("agent").map_or_else(|| "(nobody proven)".to_owned(), shown);
        let what = self.get("tool").or_else(|| self.get("method")).map(shown).unwrap_or_default();
        let mut out = Page::of(format!("{}  {agent} → {what}\n", self.word()));
        let mut row = |name: &str, value: String| out.add(format_args!("  {name:<9}{}\n", value.replace('\n', "\n           ")));
        let when = self.outcome.as_ref().or(self.decision()).map(|record| shown(&record.time)).unwrap_or_default();
        row("when", format!("{when}   call {}", shown(&self.call)));
        self.who(&mut row);
        if let Some(grant) = self.get("grant") {
            let place = origin.grant(grant).map(|place| format!("  ({})", shown(&place))).unwrap_or_default();
            row("grant", format!("{}{place}", shown(grant)));
        }
        if let Some(intent) = &self.intent {
            let get = |key: &str| intent.text(key).map(shown).unwrap_or_default();
            row("tool", format!("{}, {}   {}", get("kind"), get("band"), get("tool_digest")));
        }
        let (stopped, last) = self.stop();
        row("way", way(stopped, last, mark(self.effect())));
        for rule in self.rules() {
            let place = origin.rule(rule).map(|place| format!("  ({})", shown(&place))).unwrap_or_default();
            let reason = origin.reason(rule).map(|reason| format!("\n{}", shown(&reason))).unwrap_or_default();
            row("rule", format!("{}{place}{reason}", shown(rule)));
        }
        values(&why.looked, &mut row);
        for demanded in self.obligations() {
            row("demands", shown(demanded));
        }
        self.approval(&mut row);
        for lent in self.lent() {
            row("lent", lent);
        }
        if let Some(reason) = self.get("reason") {
            row("reason", shown(reason));
        }
        if let Some(detail) = self.get("detail") {
            row("detail", lines(detail));
        }
        if let Some(outcome) = &self.outcome {
            row("outcome", ended(outcome));
        }
        least(&why.least, why.then.as_deref(), &mut row);
        if let Some(flow) = self.flow() {
            row("data", shown(&flow.words()));
        }
        if let Some(advice) = self.advice(origin) {
            row("to do", advice);
        }
        out.into_text()
    }

    fn who(&self, row: &mut impl FnMut(&str, String)) {
        let Some(outcome) = &self.outcome else { return };
        let method = outcome.text("auth_method").map(|method| match method {
            "agent_token" => "its token".to_owned(),
            "grant_token" => "the grant's token".to_owned(),
            "handle" => "the grant's one-shot handle".to_owned(),
            "unix_peer" => "its operating-system user".to_owned(),
            "jwt" => "a token that its issuer signed".to_owned(),
            "jwt_svid" => "a JWT-SVID of its trust domain".to_owned(),
            other => shown(other),
        });
        if let Some(method) = method {
            let get = |key: &str| outcome.text(key).map(shown).unwrap_or_default();
            row("agent", format!("proven by {method}, over {} in MCP {}", get("transport"), get("protocol")));
        }
    }

    fn approval(&self, row: &mut impl FnMut(&str, String)) {
        let Some(approval) = self.get("approval") else { return };
        let with = |record: &Record, key: &str| {
            record.body.get("with").and_then(|with| with.get(key)).and_then(Value::as_str).map(shown)
        };
        let told = match &self.said {
            Some(said) => {
                let verdict = with(said, "verdict").unwrap_or_default();
                let word = if verdict.starts_with("approve") { "approved" } else { "denied" };
                let why = with(said, "reason").map(|why| format!(": {why}")).unwrap_or_default();
                let by = said.text("by").map(shown).unwrap_or_default();
                format!("{}, {word} by {by} at {}{why}", with(said, "code").unwrap_or_default(), shown(&said.time))
            }
            None => "nobody has decided".to_owned(),
        };
        row("approval", format!("{}   {told}", shown(approval)));
    }

    /// What was lent to the server for it: where the secret comes from, never the secret.
    fn lent(&self) -> Vec<String> {
        let used = self.secrets.iter().filter(|record| matches!(record.text("event"), Some("used")));
        let line = |record: &Record| {
            let get = |key: &str| record.text(key).map(shown).unwrap_or_default();
            format!("{} to {}, from {} ({})", get("lease"), get("connector"), get("reference"), get("provider"))
        };
        used.map(line).collect()
    }

    fn advice(&self, origin: &Origin) -> Option<String> {
        let refusal = Refusal {
            reason: self.get("reason")?,
            detail: self.get("detail"),
            agent: self.get("agent"),
            tool: self.get("tool"),
            grant: self.get("grant"),
            approval: self.get("approval"),
        };
        advice(&refusal, origin)
    }

    /// For programs.
    pub(super) fn as_json(&self, origin: &Origin, why: &Why) -> Value {
        let rules: Vec<Value> = self
            .rules()
            .into_iter()
            .map(|rule| json!({"id": rule, "at": origin.rule(rule), "reason": origin.reason(rule)}))
            .collect();
        let number = |key: &str| self.outcome.as_ref().and_then(|outcome| outcome.body.get(key)).cloned();
        let (stopped, last) = self.stop();
        let said = self.said.as_ref();
        json!({
            "id": self.call,
            "state": self.effect(),
            "time": self.outcome.as_ref().or(self.decision()).map(|record| &record.time),
            "agent": self.get("agent"),
            "auth_method": self.get("auth_method"),
            "grant": self.get("grant"),
            "grant_at": self.get("grant").and_then(|grant| origin.grant(grant)),
            "method": self.get("method"),
            "tool": self.get("tool"),
            "gate": self.decision().and_then(|decision| decision.text("gate")),
            "passed": passed(stopped, last),
            "reason": self.get("reason"),
            "detail": self.get("detail"),
            "rules": rules,
            "looked": why.looked,
            "least": why.least,
            "then": why.then,
            "approval": self.get("approval"),
            "decided_by": said.and_then(|said| said.text("by")),
            "decided_at": said.map(|said| &said.time),
            "verdict": said.and_then(|said| said.body.get("with")?.get("verdict").cloned()),
            "lent": self.secrets.iter().filter(|record| record.text("event") == Some("used")).map(|record| json!({
                "id": record.text("lease"), "connector": record.text("connector"), "reference": record.text("reference"),
            })).collect::<Vec<_>>(),
            "outcome": self.outcome.as_ref().and_then(|outcome| outcome.text("outcome")),
            "duration_us": number("duration_us"),
            "held_us": number("held_us"),
            "trace_id": self.get("trace_id"),
            "to_do": self.advice(origin),
        })
    }
}

/// The steps before the one that it was stopped at; all of them up to `last` where it was not.
fn passed(stopped: Option<&str>, last: Option<&str>) -> Vec<&'static str> {
    let until = |name: &str| WAY.iter().position(|step| *step == name);
    let end = last.and_then(until).map_or(WAY.len(), |at| at + 1);
    let stop = match stopped {
        // It comes after the last step that such a call has to go.
        None | Some("search") => end,
        Some(gate) => until(gate).unwrap_or(0),
    };
    WAY.iter().take(stop.min(end)).copied().collect()
}

/// The way, as far as it went: `receive ✓ identify ✓ grant ✗`. A step that waits for a person has a `…`.
pub(super) fn way(stopped: Option<&str>, last: Option<&str>, mark: char) -> String {
    let mut steps: Vec<String> = passed(stopped, last).into_iter().map(|step| format!("{step} ✓")).collect();
    steps.extend(stopped.map(|gate| format!("{} {mark}", shown(gate))));
    steps.join("  ")
}

/// The mark of the step that a call with this effect was stopped at.
pub(super) fn mark(effect: &str) -> char {
    if effect == "step_up" { '…' } else { '✗' }
}

/// How it ended, how long it took, and what came back.
fn ended(outcome: &Record) -> String {
    let number = |key: &str| outcome.body.get(key).and_then(Value::as_u64);
    let mut text = Page::of(outcome.text("outcome").map(shown).unwrap_or_default());
    if let Some(micros) = number("duration_us") {
        text.add(format_args!(" after {}", took(micros)));
    }
    if let Some(held) = number("held_us").filter(|held| *held > 0) {
        text.add(format_args!(", {} of it waiting for a person", took(held)));
    }
    if let Some(result) = outcome.body.get("result") {
        let size = result.get("size").and_then(Value::as_u64).unwrap_or(0);
        text.add(format_args!("; {size} bytes came back"));
        match result.get("redactions").and_then(Value::as_u64) {
            Some(1) => text.add(format_args!(", a secret was taken out")),
            Some(many @ 2..) => text.add(format_args!(", {many} secrets were taken out")),
            _ => {}
        }
    }
    if let Some(asides) = outcome.body.get("asides") {
        let count = |key: &str| asides.get(key).and_then(Value::as_u64).unwrap_or(0);
        text.add(format_args!("; {} messages were passed on before the answer", count("told")));
        if count("withheld") > 0 {
            text.add(format_args!(", {} were not", count("withheld")));
        }
    }
    text.into_text()
}

fn took(micros: u64) -> String {
    match micros {
        0..1000 => format!("{micros} µs"),
        1000..10_000_000 => format!("{} ms", micros / 1000),
        _ => span(micros / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_is_told_as_far_as_it_went() {
        assert_eq!(way(Some("grant"), None, '✗'), "receive ✓  identify ✓  grant ✗");
        assert_eq!(way(None, Some("grant"), '✗'), "receive ✓  identify ✓  grant ✓");
        assert_eq!(way(Some("receive"), None, mark("deny")), "receive ✗");
        assert!(way(Some("approve"), Some("permit"), mark("step_up")).ends_with("permit ✓  approve …"));
        assert!(way(None, None, '✗').ends_with("send ✓  screen ✓"));
        assert_eq!(passed(None, None).len(), WAY.len());
        assert!(way(Some("search"), Some("validate"), '✗').ends_with("grant ✓  validate ✓  search ✗"));
        // A step that is none of these is told by its name, and nothing is said to have been passed that may not have been.
        assert_eq!(way(Some("elsewhere"), Some("permit"), '✗'), "elsewhere ✗");
    }

    #[test]
    fn spans_are_told_in_the_unit_that_fits() {
        assert_eq!((took(999), took(12_345), took(45_000_000)), ("999 µs".to_owned(), "12 ms".to_owned(), "45s".to_owned()));
    }
}
