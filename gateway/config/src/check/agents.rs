//! `[[agents]]`

use std::collections::BTreeMap;

use bailiwick_identity::SpiffeId;
use bailiwick_pipeline::principal::Agent;

use super::{duplicates, text};
use crate::{
    checked::RegisteredAgent,
    code::FaultCode,
    fault::Findings,
    raw::{Raw, RawAgent},
    source::KeyPath,
    suggest::nearest,
};

pub(super) fn agents(raw: &Raw, path: &KeyPath, findings: &mut Findings<'_>) -> Vec<RegisteredAgent> {
    duplicates(raw.agents.iter().map(|agent| agent.id.as_ref()), "agent", path, findings);
    let mut workloads = Workloads { raw, first: BTreeMap::new() };
    let agents = raw.agents.iter().enumerate();
    agents.filter_map(|(index, agent)| self::agent(agent, &mut workloads, &path.item(index), findings)).collect()
}

fn agent(raw: &RawAgent, workloads: &mut Workloads<'_>, path: &KeyPath, findings: &mut Findings<'_>) -> Option<RegisteredAgent> {
    let owner = text(raw.owner.as_deref(), &path.key("owner"), findings);
    text(raw.environment.as_deref(), &path.key("environment"), findings);
    let (mut uids, mut spiffe) = (Vec::new(), Vec::new());
    for (at, identity) in raw.identity.iter().flatten().enumerate() {
        let here = path.key("identity").item(at);
        if let Some(uid) = identity.uid {
            if uids.contains(&uid) {
                let message = format!("the user id `{uid}` is named twice");
                findings.value(&here, FaultCode::Duplicate, message).help("name it once");
            }
            uids.push(uid);
        }
        if let Some(given) = &identity.spiffe {
            spiffe.extend(workloads.id(given, &here.key("spiffe"), findings));
        }
        match (identity.uid, &identity.spiffe) {
            (Some(_), Some(_)) => {
                let message = "`uid` and `spiffe` are two ways to prove an agent";
                findings.value(&here, FaultCode::Conflict, message).help("give each an entry of its own: either will do");
            }
            (None, None) if !findings.has_any_in(&here) => {
                let fault = findings.value(&here, FaultCode::MissingKey, "`uid` or `spiffe` is missing");
                fault.help("write `{ uid = 1000 }` or `{ spiffe = \"spiffe://example.org/agent/a\" }`");
            }
            _ => {}
        }
    }
    let agent = Agent { id: raw.id.clone()?, owner, ceiling: raw.ceiling, disabled: raw.disabled };
    Some(RegisteredAgent { agent, uids, spiffe })
}

/// The SPIFFE ids of all agents.
struct Workloads<'r> {
    raw: &'r Raw,
    /// Where each was named first.
    first: BTreeMap<SpiffeId, KeyPath>,
}

impl Workloads<'_> {
    /// An id, which no other agent may have.
    fn id(&mut self, given: &str, path: &KeyPath, findings: &mut Findings<'_>) -> Option<SpiffeId> {
        let id: SpiffeId = match given.parse() {
            Ok(id) => id,
            Err(fault) => {
                let message = format!("`{}` is no SPIFFE id: {fault}", given.escape_debug());
                findings.value(path, FaultCode::BadName, message).help("write it as `spiffe://example.org/agent/a`");
                return None;
            }
        };
        let names = || self.raw.trust_domains.iter().filter_map(|domain| domain.name.as_deref());
        let is_known = names().any(|name| name == id.domain().as_str());
        if !is_known && !findings.has_any_in(&KeyPath::default().key("trust_domains")) {
            let message = format!("the trust domain `{}` is not among `[[trust_domains]]`", id.domain());
            let fault = findings.value(path, FaultCode::UnknownTrustDomain, message);
            fault.suggest(nearest(id.domain().as_str(), names())).help("add it with its bundle, or write the id in another one");
        }
        if let Some(first) = self.first.get(&id) {
            let message = format!("`{id}` is said of two agents, or twice of one");
            findings.beside(path, FaultCode::Duplicate, message, (first, "first here")).help("give each agent an id of its own");
        }
        self.first.entry(id.clone()).or_insert_with(|| path.clone());
        Some(id)
    }
}
