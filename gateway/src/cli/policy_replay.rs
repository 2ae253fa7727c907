//! `policy replay`: what other policies would have decided about the calls on record.

use std::collections::BTreeMap;

use bailiwick_pipeline::{ports::Clock as _, records::Asked};
use bailiwick_policy::{ConnectorFacts, Policies, Snapshot};
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

/// An agent, a tool, what was decided, and what would be.
type Turned = (String, String, String, &'static str);

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
        let is_as_it_was = again
            .is_none_or(|current| decide(current, call, &known, &connectors).is_ok_and(|decided| decided == call.asked.policy));
        let decided = decide(&candidate, call, &known, &connectors);
        let (count, named) = match decided {
            Ok(_) if !is_as_it_was => {
                replayed.unknown.entry("its grant, its tool or its connector is another by now".to_owned()).or_default()
            }
            Ok(decided) if decided == call.asked.policy => {
                replayed.same += 1;
                continue;
            }
            Ok(decided) => {
                let key = (call.agent.clone(), call.tool.clone(), call.asked.policy.clone(), decided);
                replayed.changed.entry(key).or_default()
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
    for ((agent, tool, was, would), (count, named)) in &replayed.changed {
        table.row([&shown(agent), &shown(tool), &shown(was), would, &count.to_string(), &shown(&named.join(" "))]);
    }
    if !table.is_empty() {
        session.screen.answer(&table.to_string())?;
    }
    for (why, (count, named)) in &replayed.unknown {
        session.screen.tell(&format!("{count} could not be replayed: {} (such as {})", shown(why), shown(&named.join(" "))));
    }
    let changed: usize = replayed.changed.values().map(|(count, _)| count).sum();
    session.screen.tell(&format!(
        "{changed} of {} calls would be decided otherwise; {before} were refused before policies were asked",
        calls.len()
    ));
    Ok(())
}

/// What these policies say of a call on record, under its grant and each of those above it.
fn decide(policies: &Policies, call: &OnRecord, known: &Known, connectors: &[ConnectorFacts]) -> Result<&'static str, String> {
    let Asked { read, above, .. } = &call.asked;
    let under = |grant: &str, read: &Snapshot| {
        let facts = known.grants.get(grant).ok_or_else(|| format!("grant `{grant}` is not known any more"))?;
        let grant = policies.prepare(facts, connectors).map_err(|fault| fault.to_string())?;
        policies.decide_again(&grant, &call.tool, read).map(|decision| decision.effect()).map_err(|unread| unread.to_string())
    };
    let mut strictest = under(&call.grant, read)?;
    for above in above {
        let read = Snapshot { call: above.call.clone(), ..read.clone() };
        let said = under(&above.grant, &read)?;
        let rank = |effect: &str| ["deny", "step_up", "allow"].iter().position(|known| *known == effect);
        if rank(said) < rank(strictest) {
            strictest = said;
        }
    }
    Ok(strictest)
}

fn as_json(replayed: &Replayed, before: usize) -> Value {
    let changed = replayed.changed.iter().map(|((agent, tool, was, would), (count, named))| {
        json!({"id": tool, "state": "changed", "agent": agent, "from": was, "to": would, "count": count, "calls": named})
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
