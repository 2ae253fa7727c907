//! What policies are tried with: the tools that were accepted, the grants that there are, and the calls on record.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use bailiwick_config::Config;
use bailiwick_pipeline::{ports::Worlds as _, records::Asked};
use bailiwick_policy::{ConnectorFacts, DEFAULT_BUNDLE, GrantFacts, Policies, Probe};
use bailiwick_store::Store;
use bailiwick_trail::{Reader, Start, Stream};
use serde_json::Value;

use super::{
    PolicyFaults, Session,
    client::Client,
    fault::CliFault,
    offline,
    policy::{Accepted, accepted, nothing_accepted},
};
use crate::{
    admin::api::GrantView,
    sources,
    world::{LiveWorlds, PolicyText, WorldFault},
};

/// What policies are tried with.
pub(super) struct Known {
    pub(super) config: Config,
    pins: Accepted,
    /// What each grant is to policies, by id: ended ones too, as far as they are known.
    pub(super) grants: BTreeMap<String, GrantFacts>,
}

impl Known {
    /// By the running gateway, else by its folder.
    pub(super) async fn find(session: &Session) -> Result<Self, CliFault> {
        let config = session.places.load(&session.around)?;
        let Some(pins) = accepted(session).await? else { return Err(nothing_accepted(session)) };
        let grants = if let Some(client) = Client::find(&session.places).await? {
            of_views(&client.get::<Vec<GrantView>>("grants?all=true").await?)
        } else {
            let store = Store::open(session.places.data.path())?;
            let grants = offline::grants(&config, &store)?;
            grants.iter().map(|grant| (grant.facts().id.clone(), grant.facts().clone())).collect()
        };
        Ok(Self { config, pins, grants })
    }

    /// These policies, compiled over the accepted tools.
    pub(super) fn compile(&self, texts: &[PolicyText]) -> Result<(Arc<Policies>, Vec<ConnectorFacts>), CliFault> {
        let worlds = LiveWorlds::new(&self.config, self.pins.clone(), texts.to_vec())
            .map_err(|WorldFault::Policies(faults)| CliFault::Policies(Box::new(PolicyFaults::new(faults, texts))))?;
        let world = worlds.now();
        Ok((Arc::clone(&world.policies), world.connectors.clone()))
    }

    /// A call on record, as it can be asked about again.
    pub(super) fn probe(&self, call: &OnRecord) -> Option<Probe> {
        let grant = self.grants.get(&call.grant)?.clone();
        Some(Probe { tool: call.tool.clone(), grant, read: call.asked.read.clone(), call_id: Some(call.id.clone()) })
    }
}

/// The policies at this place, in the place of those that the configuration names.
pub(super) fn texts_at(at: &Path, config: &Config) -> Result<Vec<PolicyText>, CliFault> {
    let default = || PolicyText { name: "default".to_owned(), text: DEFAULT_BUNDLE.to_owned(), path: None };
    let mut texts: Vec<PolicyText> = config.policy.include_default.then(default).into_iter().collect();
    texts.extend(sources::policies_at(at)?);
    Ok(texts)
}

fn of_views(views: &[GrantView]) -> BTreeMap<String, GrantFacts> {
    let agents: BTreeMap<&str, &str> = views.iter().map(|view| (view.id.as_str(), view.agent.as_str())).collect();
    let facts = |view: &GrantView| GrantFacts {
        id: view.id.clone(),
        agent: view.agent.clone(),
        owner: view.owner.clone(),
        purpose: view.purpose.clone(),
        environment: view.environment.clone(),
        ceiling: view.ceiling,
        depth: u32::try_from(view.chain.len()).unwrap_or(u32::MAX),
        delegators: view.chain.iter().filter_map(|id| agents.get(id.as_str())).map(|agent| (*agent).to_owned()).collect(),
        data_classes: view.data_classes.iter().flatten().cloned().collect(),
    };
    views.iter().map(|view| (view.id.clone(), facts(view))).collect()
}

/// A call on record about which policies were asked.
pub(super) struct OnRecord {
    pub(super) id: String,
    pub(super) agent: String,
    pub(super) grant: String,
    pub(super) tool: String,
    /// The policies that were.
    pub(super) digest: String,
    pub(super) asked: Asked,
    /// What was demanded beside a yes, in words.
    pub(super) obligations: Vec<String>,
}

fn texts(list: Option<&Value>) -> Vec<String> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The calls on record since then, each as it was decided last; and how many were refused before policies were asked.
pub(super) fn recorded(reader: &Reader, since_ms: u64) -> Result<(Vec<OnRecord>, usize), CliFault> {
    let (mut calls, mut before) = (BTreeMap::new(), 0);
    for record in reader.records(Stream::Decisions, Start::First)? {
        let record = record?;
        if record.unix_ms < since_ms {
            continue;
        }
        let text = |key: &str| record.text(key).unwrap_or_default().to_owned();
        let Some(tool) = record.text("tool").map(str::to_owned) else { continue };
        let asked = record.body.get("asked").cloned().and_then(|asked| serde_json::from_value::<Asked>(asked).ok());
        let Some(asked) = asked else {
            before += 1;
            continue;
        };
        let call = OnRecord {
            id: text("call_id"),
            agent: text("agent"),
            grant: text("grant"),
            tool,
            digest: text("policy_digest"),
            obligations: texts(record.body.get("obligations")),
            asked,
        };
        // Where a person was asked it is on record twice: what counts is the last word.
        calls.insert(call.id.clone(), call);
    }
    Ok((calls.into_values().collect(), before))
}
