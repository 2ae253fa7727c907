//! The schema that rules are checked against, for people and their editors.

use cedar_policy::SchemaFragment;
use serde_json::{Map, Value, json};

use crate::catalogue::{Catalogue, KnownTool, Tool, described};
use crate::fault::PolicyFault;
use crate::shape::Shape;

/// What rules may speak of: entities, one action for each tool with the types of its arguments, the groups of actions, and the facts of a
/// call, each with what it means.
#[derive(Clone, Debug)]
pub struct RuleSchema {
    json: Value,
    text: String,
}

impl RuleSchema {
    /// The schema of these tools: the one that rules over them are checked against.
    ///
    /// # Errors
    /// Where Cedar takes no schema of them at all.
    pub fn of<'k>(tools: impl IntoIterator<Item = &'k KnownTool>) -> Result<Self, Vec<PolicyFault>> {
        let (tools, mut json) = described(&Catalogue::new(tools))?;
        explain(&mut json, &tools);
        let unusable =
            |fault: &dyn std::fmt::Display| vec![PolicyFault::of_bundle(format!("the schema can't be written: {fault}"), None)];
        let read = SchemaFragment::from_json_value(json.clone()).map_err(|fault| unusable(&fault))?;
        let text = read.to_cedarschema().map_err(|fault| unusable(&fault))?;
        Ok(Self { json, text })
    }

    /// In Cedar's form for people: what a `.cedarschema` file holds.
    pub fn as_text(&self) -> &str {
        &self.text
    }

    /// In Cedar's JSON form.
    pub const fn as_json(&self) -> &Value {
        &self.json
    }
}

/// Says of each thing what it is.
fn explain(json: &mut Value, tools: &[Tool]) {
    let Some(namespace) = json.get_mut("Bailiwick") else { return };
    for (of, facts) in
        [("/commonTypes/Call/attributes", &FACTS[..]), ("/commonTypes/Call/attributes/budget/attributes", &LEFT[..])]
    {
        for (name, doc) in facts {
            note(namespace, of, name, doc);
        }
    }
    for (name, doc) in ENTITIES {
        note(namespace, "/entityTypes", name, doc);
    }
    for (entity, name, doc) in ATTRIBUTES {
        note(namespace, &format!("/entityTypes/{entity}/shape/attributes"), name, doc);
    }
    for tool in tools {
        note(namespace, "/actions", &tool.name, &about(tool));
    }
}

/// What a tool is, by the admin's word, and which of its arguments no rule can read.
fn about(tool: &Tool) -> String {
    if crate::catalogue::is_about_grants(&tool.name) {
        return if tool.name == crate::catalogue::DELEGATE {
            "A task is handed on to the resource, an agent".to_owned()
        } else {
            "The resource, an agent, gets a grant by itself: only a permit that names this action counts".to_owned()
        };
    }
    let connector: &str = tool.connector.id().unescaped();
    let opaque = tool.input.iter().filter(|(_, field)| field.shape == Shape::Opaque).map(|(name, _)| name.as_str());
    let opaque = opaque.collect::<Vec<_>>().join(", ");
    let unread = if opaque.is_empty() { String::new() } else { format!("; no rule can read {opaque}") };
    format!("{} of connector {connector}, band {}{unread}", tool.kind, tool.band)
}

/// Puts a remark on the member of this name, where there is one.
fn note(namespace: &mut Value, of: &str, name: &str, doc: &str) {
    if let Some(Value::Object(member)) = namespace.pointer_mut(of).and_then(|list| list.get_mut(name)) {
        member.insert("annotations".to_owned(), Value::Object(Map::from_iter([("doc".to_owned(), json!(doc))])));
    }
}

const ENTITIES: [(&str, &str); 7] = [
    ("Grant", "The principal of every call: a task grant. It is in its agent, and so in the groups, owner and teams of that"),
    ("Agent", "A registered agent: in its groups, its team and its owner. The resource of `delegate` and `auto_grant`"),
    ("AgentGroup", "A group of agents: `policy.agent_groups` declares it"),
    ("User", "Who is accountable, by the name that the configuration gives as `owner`; in the teams that name them"),
    ("Team", "A team: `policy.teams` declares it with its members"),
    ("Connector", "The resource of every call: who is asked. In its environment"),
    ("Environment", "An environment, such as production: connectors are in it"),
];

const ATTRIBUTES: [(&str, &str, &str); 12] = [
    ("Grant", "agent", "The agent that acts under it"),
    ("Grant", "owner", "Who is accountable for it"),
    ("Grant", "purpose", "The task, in the words of who made the grant"),
    ("Grant", "environment", "The environment it is for"),
    ("Grant", "ceiling", "The highest band it reaches: 0 low, 1 medium, 2 high, 3 critical"),
    ("Grant", "depth", "How many grants stand above it: 0 where no agent handed it on"),
    ("Grant", "delegators", "The agents above it in the chain"),
    ("Grant", "data_classes", "How sensitive what it reaches may be; empty where it says nothing"),
    ("Agent", "trust", "How far an admin trusts it, 0 to 3"),
    ("Connector", "sensitivity", "How sensitive what it holds is: public, internal or confidential; empty where nobody said"),
    (
        "Connector",
        "credential",
        "What it is lent: none, standing (which lives on when tasks are over) or minted (made for each task)",
    ),
    ("Connector", "environment", "The environment it belongs to; empty where none was named"),
];

/// The facts of a call. A test finds one that is not explained here.
const FACTS: [(&str, &str); 28] = [
    ("kind", "What the tool does: read, write, execute, exfiltrate or admin"),
    ("band", "How risky the tool is: 0 low, 1 medium, 2 high, 3 critical"),
    ("environment", "The environment that the call acts in: the grant's"),
    ("calls_in_task", "Calls already made in this task"),
    ("writes_in_task", "Calls with an effect already made in this task"),
    ("bytes_out", "Bytes of arguments already sent in this task"),
    ("cost", "What the calls of this task have cost already"),
    ("budget", "What its budget has left. A limit that the grant doesn't have is not there: ask with `has` first"),
    ("untrusted_input", "Whether the task has touched what a stranger may have written"),
    ("confidential", "Whether the task has touched confidential data"),
    ("labels", "The data labels that the task has touched"),
    ("destination", "Where the call sends data: the domain in the argument that the tool's destination names"),
    ("destination_host", "The host of that destination"),
    ("destination_hosts", "The hosts of all destinations, as far as they have one"),
    ("external", "Whether that destination is none of our own"),
    ("detections", "The detections that fire for this task"),
    ("calls_last_minute", "Calls made in this task within the last minute"),
    ("history", "What the task has done so far"),
    ("approvals", "The labels of the approvals held for exactly this call"),
    ("transport", "How the agent reached the gateway: stdio or http"),
    ("era", "The MCP revision that the agent speaks"),
    ("hop_depth", "How many hops the grant is below the first one"),
    ("authn", "How the agent proved itself, such as agent_token, unix_peer, jwt or spiffe_x509"),
    (
        "authn_strength",
        "What that is worth: 1 a secret that can be shown by whoever has it, 2 signed by an issuer, 3 proven by the connection",
    ),
    ("hour", "The hour of the day in UTC, 0 to 23"),
    ("minute", "The minute of the hour, 0 to 59"),
    ("weekday", "The day of the week in UTC: 1 is Monday, 7 is Sunday"),
    ("opaque_fields", "The arguments of this call that have no place in Cedar, by name"),
];

const LEFT: [(&str, &str); 2] =
    [("calls_left", "Calls that the budget has left"), ("writes_left", "Calls with an effect that the budget has left")];

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use cedar_policy::{PolicySet, Schema, ValidationMode, Validator};
    use serde_json::json;

    use super::{FACTS, RuleSchema};
    use crate::catalogue::call_fields;
    use crate::{Band, DEFAULT_BUNDLE, Kind, KnownTool, ToolFacts};

    fn tools() -> Vec<KnownTool> {
        let tool = |name: &str, input_schema| ToolFacts {
            name: name.into(),
            connector: "tickets".into(),
            kind: Kind::Write,
            band: Band::High,
            sends: false,
            input_schema,
        };
        let refund = json!({"type": "object", "properties": {"amount": {"type": "integer"}, "odd name": {"type": "string"}, "blob": {}}, "required": ["amount"]});
        let unfit = json!({"type": "object", "properties": {"__cedar": {"type": "object", "properties": {"": {}}}}});
        KnownTool::read(&[
            tool("tickets__refund", refund),
            tool("tickets__odd \"x\"", unfit),
            tool("tickets/resource_read", json!({})),
        ])
        .unwrap()
    }

    #[test]
    fn every_fact_of_a_call_is_explained() {
        for name in call_fields().keys() {
            assert!(FACTS.iter().any(|(known, doc)| known == name && !doc.is_empty()), "{name}");
        }
    }

    /// What an editor or a checker makes of the text is what rules are checked against.
    #[test]
    fn both_forms_are_schemas_that_the_default_bundle_fits() {
        let schema = RuleSchema::of(&tools()).unwrap();
        let (from_text, warnings) = Schema::from_cedarschema_str(schema.as_text()).unwrap();
        assert_eq!(warnings.count(), 0);
        let from_json = Schema::from_json_value(schema.as_json().clone()).unwrap();
        for schema in [from_text, from_json] {
            let validator = Validator::new(schema);
            let set: PolicySet = DEFAULT_BUNDLE.parse().unwrap();
            let result = validator.validate(&set, ValidationMode::Strict);
            assert!(result.validation_passed(), "{result}");
            let typo = "permit (principal, action == Bailiwick::Action::\"tickets__refund\", resource) when { context.input.amuont > 5 };";
            assert!(!validator.validate(&typo.parse().unwrap(), ValidationMode::Strict).validation_passed());
        }
    }

    #[test]
    fn the_text_says_what_things_are() {
        let schema = RuleSchema::of(&tools()).unwrap();
        let text = schema.as_text();
        for part in [
            "namespace Bailiwick",
            "entity Agent in [AgentGroup, Team, User]",
            "@doc(\"The hour of the day in UTC, 0 to 23\")",
            "calls_left?: ",
            "action \"tickets__refund\" in [",
            "no rule can read blob",
            "\"odd name\"?: ",
            "action \"tickets/resource_read\"",
            "action \"delegate\"",
            "@doc(\"How far an admin trusts it, 0 to 3\")",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
