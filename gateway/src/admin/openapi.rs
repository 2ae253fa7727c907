//! The admin API, described (`OpenAPI` 3.1): from the endpoints and the types that are read and written, and nothing else.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::api;

/// A schema, by the type that it is of.
type Of = fn(&mut SchemaGenerator) -> Schema;

/// What is sent and answered at an endpoint. Its method and path are those of [`super::ENDPOINTS`].
struct Endpoint {
    method: &'static str,
    path: &'static str,
    /// One word for programs that make clients.
    id: &'static str,
    summary: &'static str,
    query: &'static [(&'static str, &'static str)],
    body: Option<Of>,
    answer: Of,
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

const fn reads(path: &'static str, id: &'static str, summary: &'static str, answer: Of) -> Endpoint {
    Endpoint { method: "GET", path, id, summary, query: &[], body: None, answer }
}

const fn does(path: &'static str, id: &'static str, summary: &'static str, body: Option<Of>, answer: Of) -> Endpoint {
    Endpoint { method: "POST", path, id, summary, query: &[], body, answer }
}

const ALL: &[(&str, &str)] = &[("all", "`true` for those that have ended too")];
const THOUGHT: &[(&str, &str)] = &[
    ("tool", "The tool"),
    ("arguments", "The text of a JSON object"),
    ("grant", "The grant that the call would name"),
    ("context", "Facts of the call in the place of those that are so: the text of a JSON object"),
];

/// All endpoints.
fn endpoints() -> Vec<Endpoint> {
    let listed = |mut endpoint: Endpoint| {
        endpoint.query = ALL;
        endpoint
    };
    let thought = |mut endpoint: Endpoint| {
        endpoint.query = THOUGHT;
        endpoint
    };
    vec![
        reads("/api/v1/status", "status", "How the gateway is", of::<api::Status>),
        does("/api/v1/reload", "reload", "Takes the configuration as its files are now", None, of::<api::Reloaded>),
        reads("/api/v1/agents", "agents", "The agents", of::<Vec<api::AgentView>>),
        reads("/api/v1/agents/{id}", "agent", "One agent", of::<api::AgentView>),
        thought(reads("/api/v1/agents/{id}/explain", "explain", "What would become of a call", of::<api::Foreseen>)),
        does("/api/v1/agents/{id}/tokens", "make_token", "Makes a token", Some(of::<api::TokenWanted>), of::<api::TokenMade>),
        does("/api/v1/agents/{id}/disable", "disable_agent", "Disables an agent", Some(of::<api::Why>), of::<api::FrozenView>),
        does("/api/v1/agents/{id}/enable", "enable_agent", "Enables an agent", Some(of::<api::Why>), of::<api::EnabledView>),
        does("/api/v1/tokens/{id}/revoke", "revoke_token", "Revokes a token", None, of::<api::TokenView>),
        reads("/api/v1/connectors", "connectors", "The connectors", of::<Vec<api::ConnectorView>>),
        reads("/api/v1/connectors/{id}", "connector", "One connector", of::<api::ConnectorView>),
        does("/api/v1/connectors/{id}/discover", "discover", "What a server offers now", None, of::<api::Proposal>),
        does("/api/v1/connectors/{id}/test", "test_connector", "Starts a server for a moment", None, of::<api::Trial>),
        does("/api/v1/connectors/{id}/pins", "accept_pins", "Accepts tools", Some(of::<api::Accept>), of::<api::Accepted>),
        listed(reads("/api/v1/grants", "grants", "The grants", of::<Vec<api::GrantView>>)),
        does("/api/v1/grants", "create_grant", "Makes a grant", Some(of::<api::GrantWanted>), of::<api::GrantMade>),
        reads("/api/v1/grants/{id}", "grant", "One grant", of::<api::GrantView>),
        does("/api/v1/grants/{id}/complete", "complete_grant", "Its task is done", Some(of::<api::Why>), of::<api::EndedView>),
        does("/api/v1/grants/{id}/revoke", "revoke_grant", "Revokes a grant", Some(of::<api::Why>), of::<api::EndedView>),
        reads("/api/v1/credentials", "leases", "What connectors were lent", of::<Vec<api::LeaseView>>),
        reads("/api/v1/credentials/ended", "ended_leases", "Those that ended last, since the start", of::<Vec<api::LeaseView>>),
        reads(
            "/api/v1/credentials/standing",
            "standing_credentials",
            "Credentials of connectors that live on when tasks are over",
            of::<Vec<api::StandingView>>,
        ),
        reads("/api/v1/credentials/{id}", "lease", "One lease", of::<api::LeaseView>),
        does("/api/v1/credentials/{id}/revoke", "revoke_lease", "Takes it back", Some(of::<api::Why>), of::<api::LeaseView>),
        reads("/api/v1/detections", "detections", "What stood out in what tasks do", of::<Vec<api::DetectionView>>),
        reads("/api/v1/halts", "halts", "What is stopped", of::<Vec<api::HaltView>>),
        does("/api/v1/halts", "freeze", "Stops something", Some(of::<api::HaltWanted>), of::<api::FrozenView>),
        does("/api/v1/halts/lift", "thaw", "Lets something go on", Some(of::<api::HaltWanted>), of::<api::HaltView>),
        reads("/api/v1/channels", "channels", "How people hear of approvals", of::<Vec<api::ChannelView>>),
        does(
            "/api/v1/channels/{id}/test",
            "test_channel",
            "Sends a message that says that messages arrive",
            None,
            of::<api::ChannelView>,
        ),
        does("/api/v1/calls/{id}/bodies", "open_bodies", "What is kept of a call", None, of::<api::CallBodies>),
        does("/api/v1/grants/{id}/handle", "make_handle", "Makes a one-shot handle", None, of::<api::HandleMade>),
        reads("/api/v1/habits", "habits", "How people have decided of late", of::<api::HabitsShape>),
        listed(reads("/api/v1/requests", "requests", "What agents ask for beyond their grants", of::<Vec<api::RequestView>>)),
        reads("/api/v1/requests/{id}", "request", "One request, with the last calls of its task", of::<api::RequestView>),
        does(
            "/api/v1/requests/{id}/grant",
            "grant_request",
            "Grants what was asked",
            Some(of::<api::GrantRequest>),
            of::<api::RequestView>,
        ),
        does("/api/v1/requests/{id}/deny", "deny_request", "Denies it", Some(of::<api::Why>), of::<api::RequestView>),
        listed(reads("/api/v1/approvals", "approvals", "The approvals", of::<Vec<api::ApprovalView>>)),
        reads("/api/v1/approvals/{id}", "approval", "One approval, with its arguments", of::<api::ApprovalView>),
        does("/api/v1/approvals/{id}/approve", "approve", "Yes", Some(of::<api::DecisionWanted>), of::<api::ApprovalView>),
        does("/api/v1/approvals/{id}/deny", "deny", "No", Some(of::<api::DecisionWanted>), of::<api::ApprovalView>),
        does("/api/v1/approvals/{id}/revoke", "revoke_approval", "Takes it back", Some(of::<api::Why>), of::<api::ApprovalView>),
        does("/api/v1/approvals/{id}/ack", "acknowledge", "Somebody is looking", None, of::<api::ApprovalView>),
        does(
            "/api/v1/approvals/{id}/break-glass",
            "break_glass",
            "Lets a call go in an emergency",
            Some(of::<api::Why>),
            of::<api::ApprovalView>,
        ),
        does(
            "/api/v1/approvals/{id}/review",
            "review",
            "A second person has looked",
            Some(of::<api::Why>),
            of::<api::ApprovalView>,
        ),
        does(
            "/api/v1/approvals/decide",
            "decide_batch",
            "Decides about several",
            Some(of::<api::BatchWanted>),
            of::<Vec<api::ApprovalView>>,
        ),
        does(
            "/api/v1/console/links",
            "console_link",
            "A one-time link to the console",
            Some(of::<api::LinkWanted>),
            of::<api::LinkMade>,
        ),
    ]
}

/// The description, as it is served.
pub(crate) fn description() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    let refusal = of::<api::ApiError>(&mut generator);
    for endpoint in endpoints() {
        let operation = operation(&endpoint, &mut generator, &refusal);
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(endpoint.method.to_ascii_lowercase(), operation);
        }
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Bailiwick admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Served at `admin.sock`, and with the operator credential at the console's listener. Times are unix \
                milliseconds. A session of the console reads what its roles allow; whatever changes something takes the credential.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"operator": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"operator": {
                "type": "apiKey", "in": "header", "name": "Authorization",
                "description": "`Operator ` and the operator credential, as `bailiwick console --credential` prints it",
            }},
        },
    })
}

fn operation(endpoint: &Endpoint, generator: &mut SchemaGenerator, refusal: &Schema) -> Value {
    let content = |schema: &Schema| json!({"application/json": {"schema": schema}});
    let answer = (endpoint.answer)(generator);
    let mut parameters: Vec<Value> = Vec::new();
    if endpoint.path.contains("{id}") {
        parameters.push(json!({"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}));
    }
    for (name, what) in endpoint.query {
        parameters.push(json!({"name": name, "in": "query", "description": what, "schema": {"type": "string"}}));
    }
    let mut operation = json!({
        "operationId": endpoint.id,
        "summary": endpoint.summary,
        "responses": {
            "200": {"description": endpoint.summary, "content": content(&answer)},
            "default": {"description": "Why it was not done", "content": content(refusal)},
        },
    });
    if let Some(object) = operation.as_object_mut() {
        if !parameters.is_empty() {
            object.insert("parameters".to_owned(), parameters.into());
        }
        if let Some(body) = endpoint.body {
            object.insert("requestBody".to_owned(), json!({"content": content(&body(generator))}));
        }
    }
    operation
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

    use std::{collections::BTreeSet, fs, path::Path};

    use bailiwick_pipeline::grant::{Budget, Capability};
    use bailiwick_schemas::canonical::Digest;
    use bailiwick_store::{Approver, ApproverMethod, Decided, Verdict};

    use super::*;

    /// Every endpoint that is served is described, and no other.
    #[test]
    fn what_is_described_is_what_is_served() {
        let described: BTreeSet<_> = endpoints().iter().map(|endpoint| (endpoint.method, endpoint.path)).collect();
        let served: BTreeSet<_> = super::super::ENDPOINTS.iter().map(|(method, path, _)| (*method, *path)).collect();
        assert_eq!(described, served);
        let ids: BTreeSet<_> = endpoints().iter().map(|endpoint| endpoint.id).collect();
        assert_eq!(ids.len(), endpoints().len());
    }

    /// What is checked in is what is served. `BAILIWICK_WRITE=1` writes it anew.
    #[test]
    fn the_description_that_is_checked_in_is_this_one() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../schemas/openapi.json");
        let text = serde_json::to_string_pretty(&description()).unwrap() + "\n";
        if std::env::var_os("BAILIWICK_WRITE").is_some() {
            fs::write(&file, &text).unwrap();
        }
        let is_same = fs::read_to_string(&file).unwrap() == text;
        assert!(is_same, "`schemas/openapi.json` is another: write it anew with BAILIWICK_WRITE=1, and read the difference");
    }

    #[test]
    fn every_reference_in_it_points_somewhere() {
        fn walk(value: &Value, whole: &Value, found: &mut usize) {
            match value {
                Value::Object(object) => {
                    if let Some(Value::String(reference)) = object.get("$ref") {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(whole.pointer(pointer).is_some(), "{reference}");
                        *found += 1;
                    }
                    object.values().for_each(|value| walk(value, whole, found));
                }
                Value::Array(all) => all.iter().for_each(|value| walk(value, whole, found)),
                _ => {}
            }
        }
        let (whole, mut found) = (description(), 0);
        walk(&whole, &whole, &mut found);
        assert!(found > 60, "{found}");
    }

    fn admits<T: serde::Serialize>(name: &str, value: &T) -> Result<(), String> {
        let whole = description();
        let schema = json!({"$ref": format!("#/components/schemas/{name}"), "components": whole["components"]});
        let text = serde_json::to_value(value).unwrap();
        jsonschema::validate(&schema, &text).map_err(|fault| fault.to_string())
    }

    /// The shapes of what is at home elsewhere, held against real values of it.
    #[test]
    fn real_values_have_the_shapes_that_are_described() {
        let approver = Approver {
            uid: Some(7),
            name: "ada".into(),
            method: ApproverMethod::Passkey,
            owns: ["team".to_owned()].into(),
            enrolled_by: Some(0),
        };
        let decided = Decided {
            approver,
            at_ms: 5,
            verdict: Verdict::Deny,
            reason: Some("no".into()),
            view: Some(Digest::of(b"x")),
            evidence: None,
            batch: vec![Digest::of(b"y")],
        };
        admits("Decided", &decided).unwrap();
        let capability: Capability = serde_json::from_value(json!({
            "tools": "tickets__*", "kinds": ["read"],
            "args": {"/a": {"eq": null}, "/b": {"in": [1, "x"], "int_range": {"min": 1, "max": 2}, "len_max": 3}, "/c": {"absent": true}},
        }))
        .unwrap();
        admits("Capability", &capability).unwrap();
        admits("Budget", &Budget { calls: Some(3), ..Budget::default() }).unwrap();
        assert!(admits("Decided", &json!({"at_ms": 5})).is_err());
        assert!(admits("Digest", &"sha256:1").is_err());
        let words = |name: &str, all: Vec<Value>| all.iter().for_each(|word| admits(name, word).unwrap());
        words("Band", bailiwick_policy::Band::ALL.iter().map(|band| json!(band)).collect());
        words("Kind", bailiwick_policy::Kind::ALL.iter().map(|kind| json!(kind)).collect());
        words("Confirm", bailiwick_policy::Confirm::ALL.iter().map(|confirm| json!(confirm)).collect());
    }
}
