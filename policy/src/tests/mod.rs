//! The crate as its users see it, and the two ways around it that no user has: rules without validation,
//! and Cedar over the whole bundle.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice, reason = "tests")]

mod arguments;
mod auto_grants;
mod catalogue;
mod changing;
mod deciding;
mod default_bundle;
mod hops;
mod listing;
mod loading;
mod obliging;
mod partial;
mod properties;

use std::sync::{Arc, LazyLock};

use cedar_policy::{PolicyId, PolicySet};
use serde_json::{Value, json};

use crate::Obligations;
use crate::alike::{Alike, Mentions};
use crate::catalogue::{Catalogue, KnownTool};
use crate::load::{Loaded, LoadedRule};
use crate::rule::RuleFacts;
use crate::{
    AgentFacts, Ask, Band, BundleDigest, CallFacts, Confirm, ConnectorFacts, Decision, DenyCause, Directory, GrantFacts, Kind,
    Labels, Policies, PreparedGrant, Requirement, Rule, Source, ToolFacts,
};

pub(super) fn tool(name: &str, kind: Kind, band: Band, properties: &Value) -> ToolFacts {
    ToolFacts {
        name: name.to_owned(),
        connector: name.split("__").next().unwrap_or_default().to_owned(),
        kind,
        band,
        sends: false,
        input_schema: json!({ "type": "object", "properties": properties }),
    }
}

/// Five tools of two connectors, with each kind but `execute`.
pub(super) fn tools() -> Vec<ToolFacts> {
    let amount = json!({
        "amount": { "type": "integer" },
        "rate": { "type": "number" },
        "note": { "type": "string" },
        "urgent": { "type": "boolean" },
        "tags": { "type": "array", "items": { "type": "string" } },
        "to": { "type": "object", "properties": { "zip": { "type": "integer" }, "geo": {} } },
        "blob": { "type": "object" },
        "odd name": { "type": "string" },
        "if": { "type": "integer" },
    });
    vec![
        tool("tickets__get", Kind::Read, Band::Low, &json!({ "id": { "type": "string" } })),
        tool("tickets__refund", Kind::Write, Band::High, &amount),
        tool("shop__buy", Kind::Write, Band::Medium, &amount),
        tool("shop__mail", Kind::Exfiltrate, Band::Medium, &json!({ "note": { "type": "string" } })),
        tool("shop__roles", Kind::Admin, Band::Critical, &json!({})),
    ]
}

pub(super) fn grant() -> GrantFacts {
    GrantFacts {
        id: "triage".into(),
        agent: "triage-bot".into(),
        owner: "support@example.com".into(),
        purpose: "triage the inbox".into(),
        environment: "production".into(),
        ceiling: Band::High,
        depth: 1,
        delegators: vec!["lead-bot".into()],
        data_classes: vec!["pii".into()],
    }
}

pub(super) fn connectors() -> Vec<ConnectorFacts> {
    ["tickets", "shop"]
        .map(|id| ConnectorFacts {
            id: id.into(),
            sensitivity: "internal".into(),
            environment: "production".into(),
            credential: "minted",
        })
        .into()
}

/// The agent in a group and a team, its owner in another one.
pub(super) fn directory() -> Arc<Directory> {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<std::collections::BTreeSet<_>>();
    let facts = AgentFacts { groups: set(&["support"]), team: Some("night".into()), trust: 2 };
    Arc::new(Directory {
        groups: set(&["support", "batch"]),
        teams: [("payments".to_owned(), set(&["support@example.com"])), ("night".to_owned(), set(&[]))].into(),
        agents: [("triage-bot".to_owned(), facts), ("lead-bot".to_owned(), AgentFacts::default())].into(),
    })
}

pub(super) fn prepared() -> PreparedGrant {
    PreparedGrant::new(&grant(), &connectors()).unwrap()
}

pub(super) fn call() -> CallFacts<'static> {
    CallFacts {
        environment: "production",
        calls_in_task: 7,
        writes_in_task: 2,
        untrusted_input: false,
        confidential: true,
        labels: Labels::CONFIDENTIAL,
        destination: "https://partner.example/in",
        destination_host: "partner.example",
        destination_hosts: &[],
        external: true,
        approvals: &[],
        transport: "stdio",
        era: "2026-07-28",
        hour: 14,
        minute: 30,
        weekday: 3,
        hop_depth: 1,
        authn: "agent_token",
        authn_strength: 1,
        bytes_out: 2000,
        cost: 9,
        calls_left: Some(93),
        writes_left: None,
        detections: &[],
        calls_last_minute: 0,
        history: crate::HistoryFacts::default(),
    }
}

pub(super) fn compile(text: &str) -> Policies {
    let source = Source { name: "test.cedar", text };
    Policies::compile(&[source], &tools()).unwrap_or_else(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        panic!("{}", faults.join("\n"))
    })
}

/// Rules without validation: what a bug in the validator, or a schema that no longer fits, would let in.
pub(super) fn unchecked_rules(text: &str) -> Vec<LoadedRule> {
    let set: PolicySet = text.parse().unwrap();
    set.policies()
        .map(|policy| {
            let body = policy.to_pst().unwrap().body().clone();
            let facts = RuleFacts::read(&body).unwrap();
            LoadedRule { policy: policy.new_id(PolicyId::new(&*facts.rule.id)), facts: Arc::new(facts), body }
        })
        .collect()
}

/// Making it takes longer than a hundred decisions.
pub(super) static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| Catalogue::new(&KnownTool::read(&tools()).unwrap()));

pub(super) fn unchecked(text: &str) -> Policies {
    let rules = unchecked_rules(text);
    let alike = Alike::new(&CATALOGUE.tools, &Mentions::of(rules.iter().map(|rule| &rule.policy)));
    Policies::assemble(&CATALOGUE, Loaded { alike, rules, warnings: Vec::new() }, BundleDigest::of(&[])).unwrap()
}

pub(super) fn decide(policies: &Policies, tool: &str, input: &Value) -> Decision {
    decide_as(policies, tool, input, &call())
}

pub(super) fn decide_as(policies: &Policies, tool: &str, input: &Value, call: &CallFacts<'_>) -> Decision {
    let grant = prepared();
    policies.decide(&Ask { tool, grant: &grant, call, input })
}

pub(super) fn rule(id: &str, reason: Option<&str>) -> Rule {
    Rule { id: id.into(), reason: reason.map(Into::into) }
}

pub(super) fn allow(ids: &[&str]) -> Decision {
    Decision::Allow { determining: ids.iter().map(|id| rule(id, None)).collect(), obligations: Obligations::default() }
}

pub(super) fn deny(cause: DenyCause, ids: &[&str]) -> Decision {
    Decision::Deny { determining: ids.iter().map(|id| rule(id, None)).collect(), cause }
}

pub(super) fn step_up(asked: &[(&str, &str)]) -> Decision {
    Decision::StepUp {
        labels: asked
            .iter()
            .map(|(id, label)| Requirement {
                label: (*label).into(),
                confirm: Confirm::Approver,
                remember: false,
                quorum: 1,
                ttl: None,
                rule: (*id).into(),
                reason: None,
            })
            .collect(),
        determining: asked.iter().map(|(id, _)| rule(id, None)).collect(),
        obligations: Obligations::default(),
    }
}

pub(super) fn opaque(pointer: &str) -> Decision {
    deny(DenyCause::OpaqueArgument { pointer: pointer.into() }, &[])
}
