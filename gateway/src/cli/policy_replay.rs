//! `policy replay`: what other policies would have decided about the calls on record.

use std::{collections::BTreeMap, sync::Arc};

use bailiwick_pipeline::{ports::Clock as _, records::Asked, stricter};
use bailiwick_policy::{ConnectorFacts, Decision, Policies, Requirement, Snapshot, Turn};
use serde_json::{Value, json};

use super::{
    Session,
    args::PolicyReplayArgs,
    audit::reader,
    fault::CliFault,
    policy_known::{Known, OnRecord, recorded, texts_at},
    screen::{Table, shown},
};
use crate::{adapters::SystemClock, runtime::policies_of};

/// So many calls are named of each change.
const NAMED: usize = 5;

/// An agent, a tool, in which direction it turns, what was decided, and what would be, with what is demanded beside it.
type Turned = (String, String, Turn, Said, Said);

/// What is decided of a call, and where that alone is no difference what is demanded beside it, in words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    effect: String,
    demands: Vec<String>,
}

impl Said {
    fn words(&self) -> String {
        if self.demands.is_empty() { self.effect.clone() } else { format!("{} ({})", self.effect, self.demands.join("; ")) }
    }
}

/// What came of a replay.
#[derive(Default)]
struct Replayed {
    same: usize,
    /// By agent, tool, what was decided and what would be: how many, and some of the calls.
    changed: BTreeMap<Turned, (usize, Vec<String>)>,
    /// Why calls could not be replayed: how many, and some of them.
    unknown: BTreeMap<String, (usize, Vec<String>)>,
}

pub(super) async fn run(replay: &PolicyReplayArgs, session: &Session) -> Result<(), CliFault> {
    let known = Known::find(session).await?;
    let (candidate, connectors) = known.compile(&texts_at(&replay.policy, &known.config)?)?;
    // What is in force now shows whether a grant or a tool became another since.
    let current = policies_of(&known.config).ok().and_then(|texts| known.compile(&texts).ok()).map(|(policies, _)| policies);
    let since_ms = SystemClock.now_ms().saturating_sub(replay.since.as_millis());
    let (calls, before) = recorded(&reader(session)?, since_ms)?;
    let mut replayed = Replayed::default();
    for call in &calls {
        let again = current.as_ref().filter(|current| current.digest().to_string() == call.digest);
        let before = again.map(|current| decide(current, call, &known, &connectors));
        let is_as_it_was =
            before.as_ref().is_none_or(|before| before.as_ref().is_ok_and(|before| before.effect() == call.asked.policy));
        let decided = decide(&candidate, call, &known, &connectors);
        let (count, named) = match decided {
            Ok(_) if !is_as_it_was => {
                replayed.unknown.entry("its grant, its tool or its connector is another by now".to_owned()).or_default()
            }
            Ok(decided) => {
                let Some(turned) = turned(call, before.and_then(Result::ok).as_deref(), &decided) else {
                    replayed.same += 1;
                    continue;
                };
                replayed.changed.entry(turned).or_default()
            }
            Err(why) => replayed.unknown.entry(why).or_default(),
        };
        *count += 1;
        if named.len() < NAMED {
            named.push(call.id.clone());
        }
    }
    if replay.form.json {
        return session.screen.json(&as_json(&replayed, before));
    }
    let mut table = Table::new(&["AGENT", "TOOL", "WAS", "WOULD BE", "CALLS", "SUCH AS"]);
    for ((agent, tool, _, was, would), (count, named)) in &replayed.changed {
        let (was, would) = (shown(&was.words()), shown(&would.words()));
        table.row([&shown(agent), &shown(tool), &was, &would, &count.to_string(), &shown(&named.join(" "))]);
    }
    if !table.is_empty() {
        session.screen.answer(&table.to_string())?;
    }
    for (why, (count, named)) in &replayed.unknown {
        session.screen.tell(&format!("{count} could not be replayed: {} (such as {})", shown(why), shown(&named.join(" "))));
    }
    let changed: usize = replayed.changed.values().map(|(count, _)| count).sum();
    session.screen.tell(&format!(
        "{changed} of {} calls would be decided otherwise, or with other demands; {before} were refused before policies were asked",
        calls.len()
    ));
    Ok(())
}

/// Whether a call would be decided otherwise, or with other demands. `before` is what the policies in force say of it, where they are those
/// that decided: else there is nothing but what is on record, which has the obligations and not who had to approve.
fn turned(call: &OnRecord, before: Option<&Decision>, after: &Decision) -> Option<Turned> {
    let rank = |effect: &str| ["deny", "step_up", "allow"].iter().position(|known| *known == effect);
    let (was, would) = (rank(&call.asked.policy), rank(after.effect()));
    let (turn, demanded) = if was == would {
        let obligations = obligations(after);
        match before {
            Some(before) => (Turn::between(before, after)?, (demands(before), demands(after))),
            None if call.asked.policy == "deny" || call.obligations == obligations => return None,
            None => {
                let is_lost = call.obligations.iter().any(|demanded| !obligations.contains(demanded));
                (if is_lost { Turn::Widens } else { Turn::Narrows }, (call.obligations.clone(), obligations))
            }
        }
    } else {
        (if was < would { Turn::Widens } else { Turn::Narrows }, (Vec::new(), Vec::new()))
    };
    let was = Said { effect: call.asked.policy.clone(), demands: demanded.0 };
    let would = Said { effect: after.effect().to_owned(), demands: demanded.1 };
    Some((call.agent.clone(), call.tool.clone(), turn, was, would))
}

fn obligations(decision: &Decision) -> Vec<String> {
    match decision {
        Decision::Allow { obligations, .. } | Decision::StepUp { obligations, .. } => obligations.words(),
        Decision::Deny { .. } => Vec::new(),
    }
}

/// All that a decision demands: of people, and of the call.
fn demands(decision: &Decision) -> Vec<String> {
    let need = |need: &Requirement| {
        let ttl = need.ttl.map(|ttl| format!(" within {} s", ttl.as_secs())).unwrap_or_default();
        let remember = if need.remember { ", good for its like" } else { "" };
        format!("{} by {} of class {}{ttl}{remember}", need.label, need.quorum, need.confirm.as_str())
    };
    let people = match decision {
        Decision::StepUp { labels, .. } => labels.iter().map(need).collect(),
        Decision::Allow { .. } | Decision::Deny { .. } => Vec::new(),
    };
    people.into_iter().chain(obligations(decision)).collect()
}

/// What these policies say of a call on record, under its grant and each of those above it.
fn decide(policies: &Policies, call: &OnRecord, known: &Known, connectors: &[ConnectorFacts]) -> Result<Arc<Decision>, String> {
    let Asked { read, above, .. } = &call.asked;
    let under = |grant: &str, read: &Snapshot| {
        let facts = known.grants.get(grant).ok_or_else(|| format!("grant `{grant}` is not known any more"))?;
        let grant = policies.prepare(facts, connectors).map_err(|fault| fault.to_string())?;
        policies.decide_again(&grant, &call.tool, read).map(Arc::new).map_err(|unread| unread.to_string())
    };
    let mut strictest = under(&call.grant, read)?;
    for above in above {
        let read = Snapshot { call: above.call.clone(), ..read.clone() };
        strictest = stricter(strictest, under(&above.grant, &read)?);
    }
    Ok(strictest)
}

fn as_json(replayed: &Replayed, before: usize) -> Value {
    let changed = replayed.changed.iter().map(|((agent, tool, turn, was, would), (count, named))| {
        json!({
            "id": tool, "state": "changed", "agent": agent, "turn": match turn { Turn::Widens => "widens", Turn::Narrows => "narrows" },
            "from": was.effect, "from_demands": was.demands, "to": would.effect, "to_demands": would.demands, "count": count,
            "calls": named,
        })
    });
    let unknown = replayed
        .unknown
        .iter()
        .map(|(why, (count, named))| json!({"id": why, "state": "unreplayed", "count": count, "calls": named}));
    let rest = [
        json!({"id": "same", "state": "same", "count": replayed.same}),
        json!({"id": "refused before policies were asked", "state": "unasked", "count": before}),
    ];
    changed.chain(unknown).chain(rest).collect()
}
