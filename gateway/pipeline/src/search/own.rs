//! The tools that are the gateway's own. No connector's tool has their names ([`bailiwick_schemas::exposure::OWN`]).

use std::sync::{Arc, LazyLock};

use bailiwick_schemas::{
    exposure::OWN,
    validate::{Undeclared, Validator},
};
use serde_json::{Value, json};

use super::{MOST, QUERY_CHARS, USUAL};
use crate::{
    catalogue::{Tool, World},
    grant::LiveGrant,
    refusal::Refusal,
};

/// So long a note on a task, or the reason of a request, may be, characters.
const NOTE_CHARS: usize = 300;

/// So many tools one request may name, and for how long, seconds: a day.
const TOOLS: usize = 10;
const LONGEST_S: u64 = 24 * 60 * 60;

/// One of the gateway's own tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OwnTool {
    /// `search_tools`
    Search,
    /// `describe_tool`
    Describe,
    /// `complete_task`
    Complete,
    /// `request_access`
    Request,
    /// `approval_status`
    Status,
}

/// What is listed under a grant with tool search: the definitions of both, a JSON array.
pub(crate) static DEFINITIONS: LazyLock<String> =
    LazyLock::new(|| Value::from([OwnTool::Search, OwnTool::Describe].map(OwnTool::definition).to_vec()).to_string());

/// The definition of the tool that ends a task: a JSON object.
pub(crate) static COMPLETING: LazyLock<String> = LazyLock::new(|| OwnTool::Complete.definition().to_string());

/// The definition of the tool that asks for more: a JSON object.
pub(crate) static REQUESTING: LazyLock<String> = LazyLock::new(|| OwnTool::Request.definition().to_string());

/// The definition of the tool that says what became of a held call: a JSON object.
pub(crate) static STATUS: LazyLock<String> = LazyLock::new(|| OwnTool::Status.definition().to_string());

static SEARCH: LazyLock<Option<Validator>> = LazyLock::new(|| OwnTool::Search.compiled());
static COMPLETE: LazyLock<Option<Validator>> = LazyLock::new(|| OwnTool::Complete.compiled());
static REQUEST: LazyLock<Option<Validator>> = LazyLock::new(|| OwnTool::Request.compiled());
static ASKED: LazyLock<Option<Validator>> = LazyLock::new(|| OwnTool::Status.compiled());
static DESCRIBE: LazyLock<Option<Validator>> = LazyLock::new(|| OwnTool::Describe.compiled());

impl OwnTool {
    /// In the order in which they are listed.
    const ALL: [Self; 5] = [Self::Search, Self::Describe, Self::Complete, Self::Request, Self::Status];

    /// The one of this name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.name() == name)
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        let [search, describe, complete, request, status] = OWN;
        match self {
            Self::Search => search,
            Self::Describe => describe,
            Self::Complete => complete,
            Self::Request => request,
            Self::Status => status,
        }
    }

    /// Judges arguments as those of any tool.
    pub(crate) fn check(self, arguments: &Value) -> Result<(), Refusal> {
        let validator = match self {
            Self::Search => &SEARCH,
            Self::Describe => &DESCRIBE,
            Self::Complete => &COMPLETE,
            Self::Request => &REQUEST,
            Self::Status => &ASKED,
        };
        let validator = validator.as_ref().ok_or_else(|| Refusal::internal("an own tool has no schema"))?;
        validator.check(arguments).map_err(|places| Refusal::invalid_arguments(&places, false))
    }

    /// How many tools a search is to show at most, of arguments that were judged.
    pub(crate) fn limit(arguments: &Value) -> usize {
        let given = arguments.get("limit").and_then(Value::as_f64).unwrap_or(f64::from(USUAL));
        (1..=MOST).find(|limit| f64::from(*limit) >= given).unwrap_or(MOST).into()
    }

    /// Whether a grant gives it, in this world.
    pub(crate) fn is_of(self, grant: &LiveGrant, world: &World) -> bool {
        match self {
            Self::Search | Self::Describe => grant.has_tool_search(),
            Self::Complete => grant.terms().may_complete,
            Self::Request => grant.terms().may_request,
            Self::Status => has_held(grant, world),
        }
    }

    /// What gives it, for operators.
    pub(crate) fn given_by(self) -> &'static str {
        match self {
            Self::Search | Self::Describe => "has no tool search: `tool_search = true` gives it",
            Self::Complete => "does not let its agent end the task: `may_complete = true` does",
            Self::Request => "does not let its agent ask for more: `may_request = true` does",
            Self::Status => "has no tool that could wait for a person",
        }
    }

    fn compiled(self) -> Option<Validator> {
        Validator::compile_input(self.definition().get("inputSchema")?, Undeclared::Refuse).ok()
    }

    fn definition(self) -> Value {
        let (title, description, input, output) = match self {
            Self::Search => search(),
            Self::Describe => describe(),
            Self::Complete => complete(),
            Self::Request => request(),
            Self::Status => status(),
        };
        let (only_looks, destroys) = (!matches!(self, Self::Complete | Self::Request), self == Self::Complete);
        json!({
            "name": self.name(),
            "title": title,
            "description": description,
            "inputSchema": input,
            "outputSchema": output,
            "annotations": {"readOnlyHint": only_looks, "destructiveHint": destroys, "idempotentHint": true, "openWorldHint": false},
        })
    }
}

/// Whether the grant has a tool, or a feature, of which rules could have a call wait for a person: they read who approved it.
fn has_held(grant: &LiveGrant, world: &World) -> bool {
    let could_be_held = |tool: &Arc<Tool>| {
        let reads = world.policies.reads(tool.name.as_str());
        reads.is_some_and(|reads| !reads.call().field("approvals").is_nothing())
            && grant.chain().all(|grant| grant.terms().covers(tool))
    };
    world.tools().chain(world.features.values()).any(could_be_held)
}

/// What a definition says: title, description, and the schemas of arguments and of what is told.
type Words = (&'static str, &'static str, Value, Value);

/// `search_tools`
fn search() -> Words {
    (
        "Search tools",
        "Finds tools by what they do. Not all tools that you may call are listed: this lists the best matches, by name. Call a tool \
         by the name given here; describe_tool shows its arguments. Words are matched against names, titles, descriptions and \
         argument names, so use the words that a tool for your step would use, such as `create issue`.",
        json!({
            "type": "object",
            "properties": {
                "query": {"type": "string", "minLength": 1, "maxLength": QUERY_CHARS, "description": "What the tool does, in a few words; or a part of its name"},
                "limit": {"type": "integer", "minimum": 1, "maximum": MOST, "default": USUAL, "description": "How many to list at most"},
            },
            "required": ["query"],
        }),
        json!({
            "type": "object",
            "properties": {
                "tools": {
                    "type": "array",
                    "description": "The best matches, best first",
                    "items": {
                        "type": "object",
                        "properties": {
                            "name": {"type": "string", "description": "The name to call it by"},
                            "title": {"type": "string"},
                            "description": {"type": "string", "description": "The beginning of its description"},
                            "kind": {"type": "string", "description": "What it does: read, write, execute, exfiltrate or admin"},
                            "band": {"type": "string", "description": "How risky it is held to be: low, medium, high or critical"},
                        },
                        "required": ["name", "description", "kind", "band"],
                    },
                },
                "total": {"type": "integer", "description": "How many tools match in all"},
            },
            "required": ["tools", "total"],
        }),
    )
}

/// `describe_tool`
fn describe() -> Words {
    (
        "Describe a tool",
        "Shows the whole definition of one tool: what it does, and the schema of its arguments. Ask for it before you call a tool \
         that search_tools found.",
        json!({
            "type": "object",
            "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 256, "description": "The name of the tool, as search_tools gives it"}},
            "required": ["name"],
        }),
        json!({
            "type": "object",
            "properties": {
                "tool": {"type": "object", "description": "The definition"},
                "call": {
                    "type": "string",
                    "enum": ["allowed", "held", "refused", "depends"],
                    "description": "What policy says of a call now: allowed, held until a person approves it, refused, or that it depends on the arguments",
                },
            },
            "required": ["tool", "call"],
        }),
    )
}

/// `complete_task`
fn complete() -> Words {
    (
        "Complete the task",
        "Says that your task is done, or that you give it up, and gives back everything that you were allowed for it. It ends at once: \
         calls that are under way are cancelled, and no further call is possible. Call it last.",
        json!({
            "type": "object",
            "properties": {
                "outcome": {"type": "string", "enum": ["done", "given_up"], "default": "done", "description": "How the task ended"},
                "note": {"type": "string", "maxLength": NOTE_CHARS, "description": "What there is to say of it, in one line, for whoever is accountable"},
            },
        }),
        json!({
            "type": "object",
            "properties": {
                "completed": {"type": "boolean", "description": "Whether the task has ended"},
                "drained": {
                    "type": "boolean",
                    "description": "Whether nothing is being written any more: if not, a call that had begun before is still under way",
                },
            },
            "required": ["completed", "drained"],
        }),
    )
}

/// `request_access`
fn request() -> Words {
    (
        "Ask for access",
        "Asks the person who is accountable for your task for tools that you were not given. Say exactly which, and why the task needs \
         them. A person decides, which may take long: go on with what you can do meanwhile. Call it again with the same tools to hear \
         where the request stands. That it waits says nothing about whether there is such a tool.",
        json!({
            "type": "object",
            "properties": {
                "tools": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": TOOLS,
                    "items": {"type": "string", "minLength": 4, "maxLength": 160},
                    "description": "The exact names, as connector__tool; no patterns",
                },
                "reason": {"type": "string", "minLength": 1, "maxLength": NOTE_CHARS, "description": "Why the task needs them, in one line"},
                "duration_s": {"type": "integer", "minimum": 1, "maximum": LONGEST_S, "description": "For how long, in seconds; for the whole task if it is left out"},
            },
            "required": ["tools", "reason"],
        }),
        json!({
            "type": "object",
            "properties": {
                "request": {"type": "string", "description": "Its id, for the person who decides"},
                "state": {"type": "string", "enum": ["pending", "granted", "denied"], "description": "Where it stands"},
                "for_s": {"type": "integer", "description": "For how many more seconds it is granted; not set means for the task"},
                "reason": {"type": "string", "description": "Why it was denied"},
                "retry_after_s": {"type": "integer", "description": "In how many seconds you may ask again"},
            },
            "required": ["request", "state"],
        }),
    )
}

/// `approval_status`
fn status() -> Words {
    (
        "Status of an approval",
        "Says what became of a call of yours that was held for a person: whether somebody has decided, and what you can do next. Nothing is \
         run by it. Use it instead of repeating a call with large arguments only to hear that it still waits.",
        json!({
            "type": "object",
            "properties": {
                "approval": {"type": "string", "minLength": 1, "maxLength": 64, "description": "The code that you were told, such as K7-42; or its id"},
            },
            "required": ["approval"],
        }),
        json!({
            "type": "object",
            "properties": {
                "approval": {"type": "string", "description": "Its id"},
                "code": {"type": "string", "description": "Its code"},
                "tool": {"type": "string", "description": "The tool that is to be called"},
                "state": {
                    "type": "string",
                    "enum": ["pending", "approved", "denied", "expired", "lapsed", "executing", "succeeded", "failed", "unknown", "invalidated", "withdrawn", "revoked"],
                    "description": "Where it stands",
                },
                "left_s": {"type": "integer", "description": "In how many seconds the time to decide, or to use it, is over"},
                "reason": {"type": "string", "description": "Why it was denied, in the words of who did"},
                "next": {"type": "string", "description": "What you can do"},
            },
            "required": ["approval", "code", "tool", "state", "next"],
        }),
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use bailiwick_schemas::{definition::Definition, validate::Bounds};
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn they_are_tools_like_any_other() {
        let listed: Vec<Box<RawValue>> = serde_json::from_str(&DEFINITIONS).unwrap();
        for (own, text) in OwnTool::ALL.into_iter().zip(&listed) {
            let definition = Definition::read(text).unwrap();
            assert_eq!((definition.name().as_str(), OwnTool::of(own.name())), (own.name(), Some(own)));
            assert!(Validator::compile(definition.output_schema().unwrap(), Bounds::default()).is_ok());
        }
        assert_eq!((listed.len(), OwnTool::of("search")), (2, None));
        let completing = Definition::read(&serde_json::from_str::<Box<RawValue>>(&COMPLETING).unwrap()).unwrap();
        assert_eq!(completing.name().as_str(), OwnTool::Complete.name());
        let requesting = Definition::read(&serde_json::from_str::<Box<RawValue>>(&REQUESTING).unwrap()).unwrap();
        assert_eq!(requesting.name().as_str(), OwnTool::Request.name());
        let status = Definition::read(&serde_json::from_str::<Box<RawValue>>(&STATUS).unwrap()).unwrap();
        assert_eq!(status.name().as_str(), OwnTool::Status.name());
        assert!(Validator::compile(status.output_schema().unwrap(), Bounds::default()).is_ok());
        assert!(Validator::compile(requesting.output_schema().unwrap(), Bounds::default()).is_ok());
    }

    #[test]
    fn arguments_are_bounded() {
        let query = |chars: usize| json!({"query": "ä".repeat(chars)});
        assert!(OwnTool::Search.check(&query(QUERY_CHARS)).is_ok());
        for wrong in [
            query(QUERY_CHARS + 1),
            query(0),
            json!({}),
            json!({"query": 1}),
            json!({"query": "a", "limit": 0}),
            json!({"query": "a", "limit": 51}),
            json!({"query": "a", "limit": 1.5}),
            json!({"query": "a", "more": 1}),
        ] {
            assert!(OwnTool::Search.check(&wrong).is_err(), "{wrong}");
        }
        assert!(OwnTool::Describe.check(&json!({"name": "a__b"})).is_ok());
        assert!(OwnTool::Describe.check(&json!({"name": ""})).is_err());
        let request = |tools: &[&str], reason: &str| json!({"tools": tools, "reason": reason});
        assert!(OwnTool::Request.check(&request(&["a__b"], &"ä".repeat(NOTE_CHARS))).is_ok());
        for wrong in [
            request(&[], "why"),
            request(&["a__b"; TOOLS + 1], "why"),
            request(&["a__b"], ""),
            request(&["a__b"], &"r".repeat(NOTE_CHARS + 1)),
            json!({"tools": "a__b", "reason": "why"}),
            json!({"tools": ["a__b"]}),
            json!({"tools": ["a__b"], "reason": "why", "duration_s": 0}),
            json!({"tools": ["a__b"], "reason": "why", "duration_s": LONGEST_S + 1}),
            json!({"tools": ["a__b"], "reason": "why", "grant": "g"}),
        ] {
            assert!(OwnTool::Request.check(&wrong).is_err(), "{wrong}");
        }
    }
}
