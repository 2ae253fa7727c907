//! `[[agents]]`

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_identity::{SpiffeId, SubjectPattern};
use bailiwick_pipeline::{OnCancel, Patience, principal::Agent};
use bailiwick_policy::AgentFacts;

use super::{duplicates, issuers::check_subject, text};
use crate::{
    checked::{RegisteredAgent, SubjectOf},
    code::FaultCode,
    fault::Findings,
    raw::{Raw, RawAgent, RawIdentity},
    source::KeyPath,
    suggest::nearest,
};

pub(super) fn agents(raw: &Raw, path: &KeyPath, findings: &mut Findings<'_>) -> Vec<RegisteredAgent> {
    duplicates(raw.agents.iter().map(|agent| agent.id.as_ref()), "agent", path, findings);
    let mut names = Names { raw, workloads: BTreeMap::new(), subjects: Vec::new() };
    let agents = raw.agents.iter().enumerate();
    agents.filter_map(|(index, agent)| self::agent(agent, &mut names, &path.item(index), findings)).collect()
}

fn agent(raw: &RawAgent, names: &mut Names<'_>, path: &KeyPath, findings: &mut Findings<'_>) -> Option<RegisteredAgent> {
    let owner = text(raw.owner.as_deref(), &path.key("owner"), findings);
    text(raw.environment.as_deref(), &path.key("environment"), findings);
    text(raw.purpose.as_deref(), &path.key("purpose"), findings);
    for (at, environment) in raw.environments.iter().flatten().enumerate() {
        text(Some(environment), &path.key("environments").item(at), findings);
    }
    let (mut uids, mut spiffe, mut subjects) = (Vec::new(), Vec::new(), Vec::new());
    for (at, identity) in raw.identity.iter().flatten().enumerate() {
        let here = path.key("identity").item(at);
        match way_of(identity, &here, findings) {
            Some(Way::User(uid)) => {
                if uids.contains(&uid) {
                    let message = format!("the user id `{uid}` is named twice");
                    findings.value(&here, FaultCode::Duplicate, message).help("name it once");
                }
                uids.push(uid);
            }
            Some(Way::Workload(given)) => spiffe.extend(names.workload(given, &here.key("spiffe"), findings)),
            Some(Way::Subject(issuer, subject)) => subjects.extend(names.subject(issuer, subject, &here, findings)),
            None => {}
        }
    }
    let facts = facts(raw, names.raw, path, findings);
    let agent = Agent { id: raw.id.clone()?, owner, ceiling: raw.ceiling, disabled: raw.disabled };
    let environments = raw.environments.as_ref().map(|all| all.iter().cloned().collect());
    let patience = patience(raw, names.raw, path, findings);
    Some(RegisteredAgent { agent, uids, spiffe, subjects, environments, purpose: raw.purpose.clone(), patience, facts })
}

/// What policies know of it: groups and a team that are declared.
fn facts(raw: &RawAgent, all: &Raw, path: &KeyPath, findings: &mut Findings<'_>) -> AgentFacts {
    let policy = &all.policy;
    let mut groups = BTreeSet::new();
    for (at, group) in raw.groups.iter().enumerate() {
        let here = path.key("groups").item(at);
        if !policy.agent_groups.contains(group) && !findings.has_any_in(&KeyPath::default().key("policy").key("agent_groups")) {
            let message = format!("there is no group of agents `{group}`");
            let fault = findings.value(&here, FaultCode::UnknownGroup, message);
            fault.suggest(nearest(group, policy.agent_groups.iter().map(String::as_str)));
            fault.help("declare it in `policy.agent_groups`, or name one that is there");
        }
        if !groups.insert(group.clone()) {
            findings.value(&here, FaultCode::Duplicate, format!("the group `{group}` is named twice")).help("name it once");
        }
    }
    if let Some(team) = raw.team.as_ref().filter(|team| !policy.teams.contains_key(*team))
        && !findings.has_any_in(&KeyPath::default().key("policy").key("teams"))
    {
        let fault = findings.value(&path.key("team"), FaultCode::UnknownTeam, format!("there is no team `{team}`"));
        fault.suggest(nearest(team, policy.teams.keys().map(String::as_str)));
        fault.help("declare it in `policy.teams`, or name one that is there");
    }
    AgentFacts { groups, team: raw.team.clone(), trust: raw.trust }
}

/// How it waits for approvers.
fn patience(raw: &RawAgent, all: &Raw, path: &KeyPath, findings: &mut Findings<'_>) -> Patience {
    let decided_by = all.approvals.approve_by;
    if let Some(hold) = raw.hold.filter(|hold| *hold > decided_by) {
        let message = format!("a call of it is held for `{hold}`, and can be approved for `{decided_by}` only");
        let there = KeyPath::default().key("approvals").key("approve_by");
        let fault = findings.beside(&path.key("hold"), FaultCode::Conflict, message, (&there, "decided by then"));
        fault.help("make `hold` at most as long as `approvals.approve_by`");
    }
    let on_cancel = raw.on_cancel.as_deref().map(|word| if word == "withdraw" { OnCancel::Withdraw } else { OnCancel::Keep });
    Patience { hold: raw.hold.map(Into::into), state_only_legs: raw.state_only_legs, on_cancel }
}

/// One way to prove an agent.
enum Way<'r> {
    User(u32),
    Workload(&'r str),
    Subject(&'r str, &'r str),
}

fn way_of<'r>(raw: &'r RawIdentity, path: &KeyPath, findings: &mut Findings<'_>) -> Option<Way<'r>> {
    const ONE: &str =
        "write `{ uid = 1000 }`, `{ spiffe = \"spiffe://example.org/agent/a\" }` or `{ issuer = \"corp\", subject = \"a\" }`";
    let by_others = (&raw.issuer, &raw.subject);
    let missing = match (raw.uid, &raw.spiffe, by_others) {
        (Some(uid), None, (None, None)) => return Some(Way::User(uid)),
        (None, Some(spiffe), (None, None)) => return Some(Way::Workload(spiffe)),
        (None, None, (Some(issuer), Some(subject))) => return Some(Way::Subject(issuer, subject)),
        (None, None, (Some(_), None)) => "`subject` is missing",
        (None, None, (None, Some(_))) => "`issuer` is missing",
        (None, None, (None, None)) => "`uid`, `spiffe`, or `issuer` and `subject`, is missing",
        _ => {
            let message = "a user, a SPIFFE id and a subject are ways of their own to prove an agent";
            findings.value(path, FaultCode::Conflict, message).help("give each an entry of its own: any of them will do");
            return None;
        }
    };
    if !findings.has_any_in(path) {
        findings.value(path, FaultCode::MissingKey, missing).help(ONE);
    }
    None
}

/// What all agents are called: nobody can be two of them.
struct Names<'r> {
    raw: &'r Raw,
    /// The SPIFFE ids, and where each was named first.
    workloads: BTreeMap<SpiffeId, KeyPath>,
    /// What issuers call them.
    subjects: Vec<(SubjectOf, KeyPath)>,
}

impl Names<'_> {
    /// A SPIFFE id, which no other agent may have.
    fn workload(&mut self, given: &str, path: &KeyPath, findings: &mut Findings<'_>) -> Option<SpiffeId> {
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
        if let Some(first) = self.workloads.get(&id) {
            let message = format!("`{id}` is said of two agents, or twice of one");
            findings.beside(path, FaultCode::Duplicate, message, (first, "first here")).help("give each agent an id of its own");
        }
        self.workloads.entry(id.clone()).or_insert_with(|| path.clone());
        Some(id)
    }

    /// What an issuer calls the agent, and no other.
    fn subject(&mut self, issuer: &str, subject: &str, path: &KeyPath, findings: &mut Findings<'_>) -> Option<SubjectOf> {
        let issuers = &self.raw.issuers;
        let Some(known) = issuers.iter().find(|known| known.id.as_deref() == Some(issuer)) else {
            let message = format!("there is no issuer `{issuer}`");
            let fault = findings.value(&path.key("issuer"), FaultCode::UnknownIssuer, message);
            fault.suggest(nearest(issuer, issuers.iter().filter_map(|known| known.id.as_deref())));
            fault.help("write `[[issuers]]` for it, or the id of one that is there");
            return None;
        };
        let here = path.key("subject");
        let pattern = match subject.parse::<SubjectPattern>() {
            Ok(pattern) => pattern,
            Err(fault) => {
                let fault = findings.value(&here, FaultCode::BadSubject, format!("`{subject}` is no subject: {fault}"));
                fault.help("write what the issuer calls the agent, or everything below a place: `repo:org/name:*`");
                return None;
            }
        };
        check_subject(known, &pattern, &here, findings);
        let of = SubjectOf { issuer: issuer.to_owned(), subject: pattern };
        let is_same = |(other, _): &&(SubjectOf, KeyPath)| other.issuer == of.issuer && other.subject.overlaps(&of.subject);
        if let Some((other, there)) = self.subjects.iter().find(is_same) {
            let message = format!("`{}` of issuer `{}` is also meant by `{}`", of.subject, of.issuer, other.subject);
            let fault = findings.beside(&here, FaultCode::Duplicate, message, (&there.key("subject"), "first here"));
            fault.help("give each subject to one agent, once");
        }
        self.subjects.push((of.clone(), path.clone()));
        Some(of)
    }
}
