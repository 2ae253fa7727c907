//! `[[agents]]`

use bailiwick_identity::SubjectPattern;
use bailiwick_pipeline::principal::Agent;

use super::{duplicates, issuers::check_subject, text};
use crate::{
    checked::{RegisteredAgent, SubjectOf},
    code::FaultCode,
    fault::Findings,
    raw::{Raw, RawAgent, RawIdentity, RawIssuer},
    source::KeyPath,
    suggest::nearest,
};

pub(super) fn agents(raw: &Raw, path: &KeyPath, findings: &mut Findings<'_>) -> Vec<RegisteredAgent> {
    duplicates(raw.agents.iter().map(|agent| agent.id.as_ref()), "agent", path, findings);
    let mut named: Vec<(SubjectOf, KeyPath)> = Vec::new();
    let agents = raw.agents.iter().enumerate();
    agents.filter_map(|(index, agent)| registered(agent, &raw.issuers, &path.item(index), &mut named, findings)).collect()
}

fn registered(
    raw: &RawAgent,
    issuers: &[RawIssuer],
    path: &KeyPath,
    named: &mut Vec<(SubjectOf, KeyPath)>,
    findings: &mut Findings<'_>,
) -> Option<RegisteredAgent> {
    let owner = text(raw.owner.as_deref(), &path.key("owner"), findings);
    text(raw.environment.as_deref(), &path.key("environment"), findings);
    let (mut uids, mut subjects) = (Vec::new(), Vec::new());
    for (at, identity) in raw.identity.iter().flatten().enumerate() {
        let here = path.key("identity").item(at);
        match (identity.uid, subject(identity, issuers, &here, findings)) {
            (Some(uid), None) => {
                if uids.contains(&uid) {
                    let message = format!("the user id `{uid}` is named twice");
                    findings.value(&here, FaultCode::Duplicate, message).help("name it once");
                }
                uids.push(uid);
            }
            (None, Some(subject)) => {
                alone(&subject, &here, named, findings);
                subjects.push(subject.clone());
                named.push((subject, here));
            }
            _ => {}
        }
    }
    let agent = Agent { id: raw.id.clone()?, owner, ceiling: raw.ceiling, disabled: raw.disabled };
    Some(RegisteredAgent { agent, uids, subjects })
}

/// What an issuer calls the agent, where this identity is one of an issuer.
fn subject(raw: &RawIdentity, issuers: &[RawIssuer], path: &KeyPath, findings: &mut Findings<'_>) -> Option<SubjectOf> {
    const ONE: &str = "write `{ uid = 1000 }`, or `{ issuer = \"corp\", subject = \"…\" }`";
    let (issuer, subject) = match (raw.uid, &raw.issuer, &raw.subject) {
        (None, Some(issuer), Some(subject)) => (issuer, subject),
        (Some(_), None, None) => return None,
        (Some(_), _, _) => {
            findings.value(path, FaultCode::Conflict, "an identity is a user or a subject, and this is both").help(ONE);
            return None;
        }
        (None, _, _) => {
            let missing = if raw.issuer.is_some() { "`subject` is missing" } else { "`uid`, or `issuer`, is missing" };
            findings.value(path, FaultCode::MissingKey, missing).help(ONE);
            return None;
        }
    };
    let Some(known) = issuers.iter().find(|known| known.id.as_ref() == Some(issuer)) else {
        let message = format!("there is no issuer `{issuer}`");
        let fault = findings.value(&path.key("issuer"), FaultCode::UnknownIssuer, message);
        fault.suggest(nearest(issuer, issuers.iter().filter_map(|known| known.id.as_deref())));
        fault.help("write `[[issuers]]` for it, or the id of one that is there");
        return None;
    };
    let here = path.key("subject");
    match subject.parse::<SubjectPattern>() {
        Ok(pattern) => {
            check_subject(known, &pattern, &here, findings);
            Some(SubjectOf { issuer: issuer.clone(), subject: pattern })
        }
        Err(fault) => {
            let fault = findings.value(&here, FaultCode::BadSubject, format!("`{subject}` is no subject: {fault}"));
            fault.help("write what the issuer calls the agent, or everything below a place: `repo:org/name:*`");
            None
        }
    }
}

/// Nobody can be two agents: no subject is meant twice.
fn alone(subject: &SubjectOf, path: &KeyPath, named: &[(SubjectOf, KeyPath)], findings: &mut Findings<'_>) {
    let is_same = |(other, _): &&(SubjectOf, KeyPath)| other.issuer == subject.issuer && other.subject.overlaps(&subject.subject);
    if let Some((other, there)) = named.iter().find(is_same) {
        let message = format!("`{}` of issuer `{}` is also meant by `{}`", subject.subject, subject.issuer, other.subject);
        let fault = findings.beside(&path.key("subject"), FaultCode::Duplicate, message, (&there.key("subject"), "first here"));
        fault.help("give each subject to one agent, once");
    }
}
