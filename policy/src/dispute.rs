//! One tool's rules in two bundles, as a solver is asked about them, and its answer as a request.

use std::collections::BTreeSet;

use cedar_policy::pst::Template;
use cedar_policy::{Entities, EvalResult, PolicyId, PolicySet, Request, RequestEnv, Schema};
use serde_json::{Map, Number, Value};

use crate::catalogue::alone;
use crate::difference::{Turn, written};
use crate::facts::GrantFacts;
use crate::kind::Band;
use crate::policies::Policies;
use crate::probe::Probe;
use crate::snapshot::Snapshot;

/// The annotations that say nothing of what is demanded beside a yes; the label of an approval is part of the condition itself.
const PLAIN: [&str; 4] = ["id", "approval", "reason", "mode"];

/// What two bundles say of one tool, over all requests that there can be.
#[derive(Clone, Debug)]
pub struct Dispute {
    /// The tool.
    pub tool: String,
    /// What requests of it look like.
    pub schema: Schema,
    /// Their principal, action and resource.
    pub form: RequestEnv,
    /// The older rules and the newer ones.
    pub sides: [PolicySet; 2],
    /// The rules that are on one side only.
    pub own: [BTreeSet<PolicyId>; 2],
    /// The rules of each side that demand more than a yes (who has to give it, how many, what is masked), and are not the same on the other:
    /// whether those ask for less can't be told by who is let in.
    demanding: [Vec<String>; 2],
}

impl Dispute {
    /// A rule whose demands stand in the way of a proof that nothing turns this way, if there is one.
    pub fn demands(&self, turn: Turn) -> Option<&str> {
        let [older, newer] = &self.demanding;
        let side = match turn {
            Turn::Widens => older,
            Turn::Narrows => newer,
        };
        side.first().map(String::as_str)
    }
}

impl Policies {
    /// What this bundle and a newer one say of a tool that both know; none where they say the same, or where Cedar has no schema for it.
    pub fn dispute(&self, newer: &Self, tool: &str) -> Option<Dispute> {
        let (old, new) = (self.entries.get(tool)?, newer.entries.get(tool)?);
        let (older, newer) = (written(old), written(new));
        if older == newer {
            return None;
        }
        let (schema, form) = alone(&old.tool)?;
        let differs = |id: &String| older.get(id) != newer.get(id);
        let own = [&older, &newer].map(|side| side.keys().filter(|id| differs(id)).map(PolicyId::new).collect());
        let demanding = [&older, &newer]
            .map(|side| side.iter().filter(|(id, body)| differs(id) && is_demanding(body)).map(|(id, _)| id.clone()).collect());
        let sides = [old.slice.enforced.set.clone(), new.slice.enforced.set.clone()];
        Some(Dispute { tool: tool.to_owned(), schema, form, sides, own, demanding })
    }
}

fn is_demanding(body: &Template) -> bool {
    body.annotations.keys().any(|name| !PLAIN.contains(&name.as_ref()))
}

impl Probe {
    /// The same of another grant.
    #[must_use]
    pub fn of_grant(&self, grant: &GrantFacts) -> Self {
        Self { grant: grant.clone(), ..self.clone() }
    }

    /// The same with no approval held.
    #[must_use]
    pub fn unapproved(&self) -> Self {
        let mut other = self.clone();
        other.read.call.remove("approvals");
        other
    }

    /// A request that a solver made up. A number that no grant has becomes the nearest that one can have: whether it still shows what it was
    /// made up for has to be looked at. None where it has no place here at all.
    pub fn of_request(tool: &str, request: &Request, entities: &Entities) -> Option<Self> {
        let principal = request.principal()?;
        let entity = entities.get(principal)?;
        let attribute = |name: &str| entity.attr(name)?.ok();
        let text = |name: &str| match attribute(name)? {
            EvalResult::String(text) => Some(text),
            EvalResult::EntityUid(uid) => Some(uid.id().unescaped().to_owned()),
            _ => None,
        };
        let long = |name: &str| match attribute(name)? {
            EvalResult::Long(value) => Some(value),
            _ => None,
        };
        let texts = |name: &str| match attribute(name)? {
            EvalResult::Set(set) => set
                .iter()
                .map(|one| match one {
                    EvalResult::String(text) => Some(text.clone()),
                    EvalResult::EntityUid(uid) => Some(uid.id().unescaped().to_owned()),
                    _ => None,
                })
                .collect::<Option<Vec<String>>>(),
            _ => None,
        };
        // What it is in counts for more than what it says: of this a gateway makes both.
        let above = |kind: &str| {
            let mut above = entities.ancestors(principal)?;
            above.find(|uid| uid.type_name().basename() == kind).map(|uid| uid.id().unescaped().to_owned())
        };
        let ceiling = long("ceiling")?.clamp(Band::Low.level(), Band::Critical.level());
        let grant = GrantFacts {
            id: principal.id().unescaped().to_owned(),
            agent: above("Agent").or_else(|| text("agent"))?,
            owner: above("User").or_else(|| text("owner"))?,
            purpose: text("purpose")?,
            environment: text("environment")?,
            ceiling: Band::ALL.into_iter().find(|band| band.level() == ceiling)?,
            depth: u32::try_from(long("depth")?.max(0)).unwrap_or(u32::MAX),
            delegators: texts("delegators")?,
            data_classes: texts("data_classes")?,
        };
        let mut context = request.context()?.to_json_value().ok()?;
        let mut part = |name: &str| match context.get_mut(name).map(Value::take) {
            Some(Value::Object(part)) => Some(part.into_iter().map(|(name, value)| (name, of_cedar(value))).collect()),
            None => Some(Map::new()),
            Some(_) => None,
        };
        let read = Snapshot { call: part("call")?, input: part("input")?, ..Snapshot::default() };
        Some(Self { tool: tool.to_owned(), grant, read, call_id: None })
    }
}

/// A value of Cedar's JSON as arguments have it: decimals are numbers.
fn of_cedar(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let decimal = members.get("__extn").and_then(|extension| extension.get("arg")?.as_str()?.parse::<Number>().ok());
            match decimal {
                Some(number) => Value::Number(number),
                None => Value::Object(members.into_iter().map(|(name, value)| (name, of_cedar(value))).collect()),
            }
        }
        Value::Array(values) => Value::Array(values.into_iter().map(of_cedar).collect()),
        other => other,
    }
}
