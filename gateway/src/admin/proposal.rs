//! What a server offers, held against what was accepted: with the kind and band that each tool would count as.

use std::collections::BTreeMap;

use bailiwick_config::{Config, Connector};
use bailiwick_connectors::Discovery;
use bailiwick_policy::{Band, Kind};
use bailiwick_schemas::{
    definition::{Definition, ListReading},
    names::ConnectorId,
};
use bailiwick_store::{ClassedBy, Pin};
use serde_json::Value;

use super::{
    api::{Proposal, ProposedTool, RejectedTool},
    definitions::changes,
};
use crate::{
    pinning::class_of,
    shadowing::{self, names_in},
};

/// What is offered, held against what was accepted: of this connector, and of the others that its tools may speak of.
pub(crate) fn proposal(
    connector: &Connector,
    discovery: &Discovery,
    config: &Config,
    accepted: &BTreeMap<ConnectorId, Vec<Pin>>,
) -> Proposal {
    let reading = discovery.reading();
    let pins = accepted.get(&connector.id).map(Vec::as_slice).unwrap_or_default();
    let others = shadowing::others(config, accepted, &connector.id, names_in(&reading));
    let tool = |definition: &Definition| ProposedTool {
        refers_to: others.named_in(definition.raw()),
        ..proposed(connector, pins, definition)
    };
    let mut tools: Vec<ProposedTool> = reading.accepted.iter().map(tool).collect();
    tools.extend(pins.iter().filter(|pin| !is_offered(pin, &reading)).map(|pin| gone(connector, pin)));
    let findings: Vec<RejectedTool> = reading
        .findings
        .iter()
        .map(|finding| RejectedTool { id: finding.tool.clone(), state: "rejected".to_owned(), why: finding.fault.to_string() })
        .collect();
    let is_same = findings.is_empty() && tools.iter().all(|tool| tool.state == "same");
    Proposal {
        id: connector.id.to_string(),
        state: if is_same { "same" } else { "different" }.to_owned(),
        protocol: discovery.protocol.clone(),
        server_info: discovery.server_info.clone(),
        tools,
        findings,
    }
}

fn is_offered(pin: &Pin, reading: &ListReading) -> bool {
    reading.accepted.iter().any(|definition| *definition.name() == pin.tool)
}

fn proposed(connector: &Connector, pins: &[Pin], definition: &Definition) -> ProposedTool {
    let pin = pins.iter().find(|pin| pin.tool == *definition.name());
    let class = Class::of(connector, pin, definition);
    let (state, changes) = match pin {
        None => ("new", Vec::new()),
        Some(pin) if pin.digest == definition.digest() => ("same", Vec::new()),
        Some(pin) => {
            let before: Value = serde_json::from_str(pin.definition.get()).unwrap_or_default();
            ("changed", changes(&before, definition.raw()))
        }
    };
    ProposedTool {
        id: definition.name().to_string(),
        state: state.to_owned(),
        kind: class.kind,
        band: class.band,
        from: class.from,
        digest: definition.digest(),
        changes,
        description: definition.raw().get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
        refers_to: Vec::new(),
    }
}

fn gone(connector: &Connector, pin: &Pin) -> ProposedTool {
    let (kind, band) = class_of(connector, pin);
    ProposedTool {
        id: pin.tool.to_string(),
        state: "gone".to_owned(),
        kind,
        band,
        from: "accepted before".to_owned(),
        digest: pin.digest,
        changes: Vec::new(),
        description: String::new(),
        refers_to: Vec::new(),
    }
}

/// What a tool counts as, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) kind: Kind,
    pub(super) band: Band,
    from: String,
}

impl Class {
    /// The admin's word in the configuration, else what a person accepted before, else a guess from the name. What the server says
    /// of itself (annotations) may only raise the last two.
    pub(super) fn of(connector: &Connector, pin: Option<&Pin>, definition: &Definition) -> Self {
        if connector.tools.contains_key(definition.name()) {
            let terms = connector.terms_of(definition.name());
            return Self { kind: terms.kind, band: terms.band, from: "config".to_owned() };
        }
        let class = match pin.filter(|pin| pin.classed_by == ClassedBy::Person) {
            Some(pin) => Self { kind: pin.kind, band: pin.band, from: "accepted before".to_owned() },
            None => Self::by_name(definition.name().as_str()),
        };
        class.raised_by(definition.annotations())
    }

    /// By the verb a name begins with; a further verb may only raise it. Where the first word is no verb that is known, nothing
    /// is.
    fn by_name(name: &str) -> Self {
        let words = words_of(name);
        let verbs = || words.iter().filter_map(|word| VERBS.iter().find(|(verb, ..)| verb == word));
        let first = words.first().and_then(|word| VERBS.iter().find(|(verb, ..)| verb == word));
        let Some(&(verb, kind, band)) = first else {
            return Self { kind: Kind::Execute, band: Band::High, from: "unclassified".to_owned() };
        };
        let highest = verbs()
            .max_by_key(|(_, kind, band)| (*band, *kind))
            .filter(|(_, other_kind, other_band)| *other_band > band || *other_kind > kind);
        match highest {
            None => Self { kind, band, from: format!("name: {verb}") },
            Some((other, other_kind, other_band)) => {
                Self { kind: kind.max(*other_kind), band: band.max(*other_band), from: format!("name: {verb}, {other}") }
            }
        }
    }

    fn raised_by(self, annotations: Option<&Value>) -> Self {
        let says = |hint: &str| annotations.and_then(|annotations| annotations.get(hint)).and_then(Value::as_bool);
        let (least_kind, least_band, why) = match (says("destructiveHint"), says("readOnlyHint")) {
            (Some(true), _) => (Kind::Write, Band::High, "its destructiveHint"),
            (_, Some(false)) => (Kind::Write, Band::Medium, "its readOnlyHint"),
            _ => return self,
        };
        if self.kind >= least_kind && self.band >= least_band {
            return self;
        }
        Self { kind: self.kind.max(least_kind), band: self.band.max(least_band), from: format!("{}; raised by {why}", self.from) }
    }
}

/// The words of a name: `getUser`, `get_user` and `get-user` have the same.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() || (c.is_ascii_uppercase() && was_lower) {
            words.push(String::new());
        }
        was_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        if let Some(word) = words.last_mut().filter(|_| c.is_ascii_alphanumeric()) {
            word.push(c.to_ascii_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Verbs whose meaning is plain. What isn't here is not guessed.
const VERBS: [(&str, Kind, Band); 64] = [
    ("count", Kind::Read, Band::Low),
    ("describe", Kind::Read, Band::Low),
    ("find", Kind::Read, Band::Low),
    ("get", Kind::Read, Band::Low),
    ("history", Kind::Read, Band::Low),
    ("info", Kind::Read, Band::Low),
    ("inspect", Kind::Read, Band::Low),
    ("list", Kind::Read, Band::Low),
    ("lookup", Kind::Read, Band::Low),
    ("read", Kind::Read, Band::Low),
    ("search", Kind::Read, Band::Low),
    ("show", Kind::Read, Band::Low),
    ("stat", Kind::Read, Band::Low),
    ("view", Kind::Read, Band::Low),
    ("whoami", Kind::Read, Band::Low),
    ("add", Kind::Write, Band::Medium),
    ("append", Kind::Write, Band::Medium),
    ("assign", Kind::Write, Band::Medium),
    ("close", Kind::Write, Band::Medium),
    ("comment", Kind::Write, Band::Medium),
    ("copy", Kind::Write, Band::Medium),
    ("create", Kind::Write, Band::Medium),
    ("edit", Kind::Write, Band::Medium),
    ("insert", Kind::Write, Band::Medium),
    ("label", Kind::Write, Band::Medium),
    ("mkdir", Kind::Write, Band::Medium),
    ("patch", Kind::Write, Band::Medium),
    ("set", Kind::Write, Band::Medium),
    ("tag", Kind::Write, Band::Medium),
    ("update", Kind::Write, Band::Medium),
    ("cancel", Kind::Write, Band::High),
    ("charge", Kind::Write, Band::High),
    ("delete", Kind::Write, Band::High),
    ("destroy", Kind::Write, Band::High),
    ("drop", Kind::Write, Band::High),
    ("merge", Kind::Write, Band::High),
    ("move", Kind::Write, Band::High),
    ("overwrite", Kind::Write, Band::High),
    ("pay", Kind::Write, Band::High),
    ("purge", Kind::Write, Band::High),
    ("refund", Kind::Write, Band::High),
    ("remove", Kind::Write, Band::High),
    ("rename", Kind::Write, Band::High),
    ("transfer", Kind::Write, Band::High),
    ("truncate", Kind::Write, Band::High),
    ("write", Kind::Write, Band::High),
    ("eval", Kind::Execute, Band::High),
    ("exec", Kind::Execute, Band::High),
    ("execute", Kind::Execute, Band::High),
    ("run", Kind::Execute, Band::High),
    ("email", Kind::Exfiltrate, Band::High),
    ("forward", Kind::Exfiltrate, Band::High),
    ("mail", Kind::Exfiltrate, Band::High),
    ("notify", Kind::Exfiltrate, Band::High),
    ("post", Kind::Exfiltrate, Band::High),
    ("publish", Kind::Exfiltrate, Band::High),
    ("reply", Kind::Exfiltrate, Band::High),
    ("send", Kind::Exfiltrate, Band::High),
    ("share", Kind::Exfiltrate, Band::High),
    ("upload", Kind::Exfiltrate, Band::High),
    ("grant", Kind::Admin, Band::High),
    ("impersonate", Kind::Admin, Band::High),
    ("invite", Kind::Admin, Band::High),
    ("revoke", Kind::Admin, Band::High),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn named(name: &str) -> (Kind, Band) {
        let class = Class::by_name(name);
        (class.kind, class.band)
    }

    #[test]
    fn the_first_verb_says_what_a_tool_does_and_others_only_raise_it() {
        for (name, kind, band) in [
            ("get", Kind::Read, Band::Low),
            ("search_products", Kind::Read, Band::Low),
            ("listOrders", Kind::Read, Band::Low),
            ("get_or_create", Kind::Write, Band::Medium),
            ("create-comment", Kind::Write, Band::Medium),
            ("list_delete_markers", Kind::Write, Band::High),
            ("send_email", Kind::Exfiltrate, Band::High),
            ("read_and_execute", Kind::Execute, Band::High),
            ("get_and_grant", Kind::Admin, Band::High),
            ("mark_read", Kind::Execute, Band::High),
            ("tickets_get", Kind::Execute, Band::High),
            ("frobnicate", Kind::Execute, Band::High),
            ("...", Kind::Execute, Band::High),
        ] {
            assert_eq!(named(name), (kind, band), "{name}");
        }
    }

    #[test]
    fn annotations_only_raise() {
        let raised = |name: &str, annotations: Value| {
            let class = Class::by_name(name).raised_by(Some(&annotations));
            (class.kind, class.band)
        };
        assert_eq!(raised("frob", json!({"readOnlyHint": true, "destructiveHint": false})), (Kind::Execute, Band::High));
        assert_eq!(raised("get", json!({"readOnlyHint": true})), (Kind::Read, Band::Low));
        assert_eq!(raised("get", json!({"readOnlyHint": false})), (Kind::Write, Band::Medium));
        assert_eq!(raised("get", json!({"destructiveHint": true})), (Kind::Write, Band::High));
        assert_eq!(raised("set", json!({"destructiveHint": "true"})), (Kind::Write, Band::Medium));
        assert_eq!(raised("send", json!({"destructiveHint": true})), (Kind::Exfiltrate, Band::High));
    }

    #[test]
    fn verbs_are_listed_once() {
        let mut verbs: Vec<_> = VERBS.iter().map(|(verb, ..)| verb).collect();
        verbs.sort();
        verbs.dedup();
        assert_eq!(verbs.len(), VERBS.len());
    }
}
