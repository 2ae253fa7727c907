//! `[[agents]]`

use bailiwick_pipeline::principal::Agent;

use super::{duplicates, text};
use crate::{checked::RegisteredAgent, code::FaultCode, fault::Findings, raw::RawAgent, source::KeyPath};

pub(super) fn agents(raw: &[RawAgent], path: &KeyPath, findings: &mut Findings<'_>) -> Vec<RegisteredAgent> {
    duplicates(raw.iter().map(|agent| agent.id.as_ref()), "agent", path, findings);
    raw.iter().enumerate().filter_map(|(index, raw)| agent(raw, &path.item(index), findings)).collect()
}

fn agent(raw: &RawAgent, path: &KeyPath, findings: &mut Findings<'_>) -> Option<RegisteredAgent> {
    let owner = text(raw.owner.as_deref(), &path.key("owner"), findings);
    text(raw.environment.as_deref(), &path.key("environment"), findings);
    let mut uids = Vec::new();
    for (at, uid) in raw.identity.iter().flatten().enumerate().filter_map(|(at, identity)| Some((at, identity.uid?))) {
        if uids.contains(&uid) {
            let message = format!("the user id `{uid}` is named twice");
            findings.value(&path.key("identity").item(at), FaultCode::Duplicate, message).help("name it once");
        }
        uids.push(uid);
    }
    let agent = Agent { id: raw.id.clone()?, owner, ceiling: raw.ceiling, disabled: raw.disabled };
    Some(RegisteredAgent { agent, uids })
}
