//! `policy diff`: which calls one bundle lets go and another does not, each with a request that shows it.

use bailiwick_pipeline::ports::Clock as _;
use bailiwick_policy::{Changed, Decision, Difference, GrantFacts, Policies, Turn};
use serde_json::{Value, json};

use super::{
    Session,
    args::PolicyDiffArgs,
    audit::reader,
    fault::CliFault,
    policy::place,
    policy_known::{Known, recorded, texts_at},
    policy_proof::{Proofs, prove},
    screen::{Page, shown},
};
use crate::{adapters::SystemClock, runtime::policies_of, world::PolicyText};

/// Calls of so many milliseconds are tried as they were made: a week.
const RECENT_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// The most of them that are tried.
const MOST: usize = 2000;

/// A bundle, compiled, with its texts.
struct Side {
    policies: std::sync::Arc<Policies>,
    texts: Vec<PolicyText>,
}

pub(super) async fn run(diff: &PolicyDiffArgs, session: &Session) -> Result<(), CliFault> {
    let known = Known::find(session).await?;
    let (old, new) = match &diff.new {
        Some(new) => (texts_at(&diff.old, &known.config)?, texts_at(new, &known.config)?),
        None => (policies_of(&known.config)?, texts_at(&diff.old, &known.config)?),
    };
    let (old_policies, connectors) = known.compile(&old)?;
    let (new_policies, _) = known.compile(&new)?;
    let since_ms = SystemClock.now_ms().saturating_sub(RECENT_MS);
    // Without a record there is less to try.
    let calls = match reader(session) {
        Ok(reader) => recorded(&reader, since_ms)?.0,
        Err(_) => Vec::new(),
    };
    let made: Vec<_> =
        calls.iter().rev().filter(|call| call.asked.above.is_empty()).take(MOST).filter_map(|call| known.probe(call)).collect();
    let grants: Vec<GrantFacts> = known.grants.values().cloned().collect();
    let mut found = old_policies.difference(&new_policies, &grants, &connectors, &made);
    let proofs = prove([&old_policies, &new_policies], (&grants, &connectors), &mut found).await;
    let sides = [Side { policies: old_policies, texts: old }, Side { policies: new_policies, texts: new }];
    if diff.form.json {
        session.screen.json(&as_json(&found, &sides, &proofs))?;
    } else {
        session.screen.answer(&text(&found, &sides))?;
        session.screen.tell(&summary(&found, &proofs));
    }
    let widens =
        found.changes.iter().any(|change| change.turn == Turn::Widens) || !found.untried.is_empty() || !proofs.wider.is_empty();
    if widens { Err(CliFault::Widens) } else { Ok(()) }
}

fn summary(found: &Difference, proofs: &Proofs) -> String {
    let count = |turn| found.changes.iter().filter(|change| change.turn == turn).count();
    let untried = if found.untried.is_empty() {
        String::new()
    } else {
        format!("\nnot tried, look at them yourself: the rules about {}", found.untried.join(" and "))
    };
    format!(
        "{} widen, {} narrow; the rules of {} tools differ\nby sampling: {} requests, on record and made up around each literal\n{}{untried}",
        count(Turn::Widens) + proofs.wider.len(),
        count(Turn::Narrows),
        found.tools.len(),
        found.tried,
        proofs.summary(),
    )
}

fn text(found: &Difference, sides: &[Side; 2]) -> String {
    let mut out = Page::default();
    for change in &found.changes {
        let word = match change.turn {
            Turn::Widens => "WIDENS",
            Turn::Narrows => "NARROWS",
        };
        let probe = &change.example;
        let (before, after) = (said(&change.before), said(&change.after));
        out.add(format_args!("{word}  {}: {before} → {after}\n", shown(&probe.tool)));
        let mut row = |name: &str, value: String| out.add(format_args!("  {name:<8} {}\n", value.replace('\n', "\n           ")));
        let [old, new] = sides;
        row("old", rules(&change.before, &old.texts));
        row("new", rules(&change.after, &new.texts));
        row("agent", format!("{}, grant {}", shown(&probe.grant.agent), shown(&probe.grant.id)));
        row("args", shown(&Value::Object(probe.read.input.clone()).to_string()));
        for (path, value) in facts(change, sides) {
            row("where", format!("{path} is {}", shown(&value.to_string())));
        }
        if let Some(call) = &probe.call_id {
            row("call", format!("{} on record", shown(call)));
        }
        let seen = if change.count == 0 {
            "found by the solver".to_owned()
        } else {
            format!("{} of the requests that were tried", change.count)
        };
        row("seen", seen);
    }
    out.into_text()
}

/// What the rules that decided looked at beside the arguments.
fn facts(change: &Changed, sides: &[Side; 2]) -> Vec<(String, Value)> {
    let mut found: Vec<(String, Value)> = Vec::new();
    for (side, decision) in sides.iter().zip([&change.before, &change.after]) {
        let ids: Vec<String> = decision.determining().iter().map(|rule| rule.id.to_string()).collect();
        for looked in side.policies.looked_at(&ids, &change.example) {
            let is_new = found.iter().all(|(path, _)| *path != looked.path);
            if let (true, false, Some(value)) = (is_new, looked.path.starts_with("context.input"), looked.value) {
                found.push((looked.path, value));
            }
        }
    }
    found
}

fn said(decision: &Decision) -> String {
    match decision {
        Decision::Allow { .. } => "allowed".to_owned(),
        Decision::Deny { .. } => "denied".to_owned(),
        Decision::StepUp { labels, .. } => {
            let need = |label: &bailiwick_policy::Requirement| {
                format!("{} by {} of class {}", label.label, label.quorum, label.confirm.as_str())
            };
            format!("waits for a person ({})", labels.iter().map(need).collect::<Vec<_>>().join(", "))
        }
    }
}

fn rules(decision: &Decision, texts: &[PolicyText]) -> String {
    let rule = |rule: &bailiwick_policy::Rule| {
        let at = place(&rule.id, texts).map(|place| format!("  ({})", shown(&place))).unwrap_or_default();
        format!("{}{at}", shown(&rule.id))
    };
    let named: Vec<String> = decision.determining().iter().map(rule).collect();
    if named.is_empty() { "no rule applies".to_owned() } else { named.join("\n") }
}

fn as_json(found: &Difference, sides: &[Side; 2], proofs: &Proofs) -> Value {
    let change = |change: &Changed| {
        let probe = &change.example;
        let ids = |decision: &Decision| decision.determining().iter().map(|rule| rule.id.to_string()).collect::<Vec<_>>();
        json!({
            "id": probe.tool,
            "state": match change.turn { Turn::Widens => "widens", Turn::Narrows => "narrows" },
            "from": change.before.effect(), "from_rules": ids(&change.before),
            "to": change.after.effect(), "to_rules": ids(&change.after),
            "agent": probe.grant.agent, "grant": probe.grant.id, "arguments": probe.read.input,
            "context": facts(change, sides).into_iter().collect::<serde_json::Map<_, _>>(),
            "call_id": probe.call_id, "seen": change.count, "tried": found.tried,
            "method": if change.count == 0 { "solver" } else { "sampling" },
        })
    };
    let untried = |what: &String| json!({"id": what, "state": "untried", "method": "sampling"});
    found.changes.iter().map(change).chain(found.untried.iter().map(untried)).chain(proofs.as_json()).collect()
}
