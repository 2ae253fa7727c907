//! Tool definitions as a downstream server lists them: read one by one, so that a bad one is dropped and reported
//! while the rest stays.
//!
//! Nothing in a definition is trusted: annotations are kept, for people to read, and decide nothing here.

use std::collections::HashMap;

use serde_json::{Map, Value, value::RawValue};

use crate::canonical::{Digest, canonical};
use crate::names::{NameFault, ToolName};
use crate::text::{is_invisible, shown};
use crate::validate::{Bounds, SchemaFault, Undeclared, Validator};

/// The largest definition, in bytes of its canonical form.
pub const DEFINITION_BYTES: usize = 256 * 1024;

/// The deepest definition: what the wire allows.
const DEFINITION_DEPTH: usize = 64;

/// A finding names at most so many code points.
const CODE_POINTS: usize = 8;

/// One tool of a downstream server, whole, with what we read from it.
#[derive(Debug, Clone)]
pub struct Definition {
    text: Box<RawValue>,
    raw: Value,
    name: ToolName,
    digest: Digest,
}

impl Definition {
    /// Reads and judges one definition.
    pub fn read(text: &RawValue) -> Result<Self, Fault> {
        // What passed for JSON so far can only be too deep for it.
        Self::judge(text, serde_json::from_str(text.get()).map_err(|_| Fault::TooDeep)?)
    }

    fn judge(text: &RawValue, raw: Value) -> Result<Self, Fault> {
        let fields = raw.as_object().ok_or(Fault::NotAnObject)?;
        if is_deeper(&raw, DEFINITION_DEPTH) {
            return Err(Fault::TooDeep);
        }
        let name = fields.get("name").and_then(Value::as_str).ok_or(Fault::NoName)?.parse()?;
        check_shape(fields)?;
        let canonical = canonical(&raw);
        if canonical.len() > DEFINITION_BYTES {
            return Err(Fault::TooLarge { size: canonical.len() });
        }
        let mut points = Vec::new();
        invisible(&raw, &mut points);
        if !points.is_empty() {
            return Err(Fault::Invisible { points });
        }
        let definition = Self { text: text.to_owned(), raw, name, digest: Digest::of(&canonical) };
        Validator::compile_input(definition.input_schema(), Undeclared::Refuse).map_err(Fault::Input)?;
        if let Some(output) = definition.output_schema() {
            Validator::compile(output, Bounds::default()).map_err(Fault::Output)?;
        }
        Ok(definition)
    }

    /// The definition as its server wrote it: the text that agents are to read.
    pub fn text(&self) -> &RawValue {
        &self.text
    }

    /// The definition as listed, with every field, known to us or not.
    pub fn raw(&self) -> &Value {
        &self.raw
    }

    /// The name its server gave it.
    pub fn name(&self) -> &ToolName {
        &self.name
    }

    /// The digest of the canonical form of the whole definition: what a pin holds.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What arguments must satisfy; `null` if it were missing, which [`Definition::read`] refuses.
    pub fn input_schema(&self) -> &Value {
        self.raw.get("inputSchema").unwrap_or(&Value::Null)
    }

    /// What structured results promise to satisfy.
    pub fn output_schema(&self) -> Option<&Value> {
        self.raw.get("outputSchema")
    }

    /// What the server says about the tool's behaviour. Untrusted: shown to people, never decided upon.
    pub fn annotations(&self) -> Option<&Value> {
        self.raw.get("annotations")
    }
}

/// Of one digest is one definition, however it is written.
impl PartialEq for Definition {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

/// Why a definition is dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Not a JSON object.
    #[error("a tool definition must be a JSON object: correct the server")]
    NotAnObject,
    /// No `name`, or not a string.
    #[error("a tool definition needs a `name`: correct the server")]
    NoName,
    /// A name outside of what we allow.
    #[error(transparent)]
    Name(#[from] NameFault),
    /// The name is listed more than once.
    #[error("the name is listed more than once: none of them is used, correct the server")]
    Duplicate,
    /// A member is not what the protocol says: many a client would lose the whole list over it, with the tools of all other servers.
    #[error("`{member}` must be {wanted}: correct the server")]
    Shape {
        /// Which.
        member: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// Larger than [`DEFINITION_BYTES`].
    #[error("the definition has {size} bytes, at most {DEFINITION_BYTES} are accepted: shorten it")]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// Nested deeper than the wire allows.
    #[error("the definition is nested deeper than {DEFINITION_DEPTH}: flatten it")]
    TooDeep,
    /// Text that people don't see and models do.
    #[error("the definition contains invisible text, {}: remove it, or ask the server's owner why it is there", .points.join(" "))]
    Invisible {
        /// The code points, as `U+200B`, each once, the first eight.
        points: Vec<String>,
    },
    /// It carries what its server was lent.
    #[error("the definition shows what was lent to its server: ask the server's owner why, and lend it nothing until then")]
    Secret,
    /// An `inputSchema` that is missing, no object schema, or outside of the bounds.
    #[error("`inputSchema`: {0}")]
    Input(#[source] SchemaFault),
    /// An `outputSchema` outside of the bounds.
    #[error("`outputSchema`: {0}")]
    Output(#[source] SchemaFault),
}

/// What is there must be what the protocol says (MCP `server/tools`, "Data Types"); what it does not know may be anything.
fn check_shape(fields: &Map<String, Value>) -> Result<(), Fault> {
    let hints = ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"];
    let must = |is_so: bool, member: &'static str, wanted: &'static str| {
        if is_so { Ok(()) } else { Err(Fault::Shape { member, wanted }) }
    };
    for member in ["title", "description"] {
        must(fields.get(member).is_none_or(Value::is_string), member, "a string")?;
    }
    for member in ["annotations", "outputSchema", "_meta"] {
        must(fields.get(member).is_none_or(Value::is_object), member, "an object")?;
    }
    let is_icon = |icon: &Value| icon.get("src").is_some_and(Value::is_string);
    let are_icons = |icons: &Value| icons.as_array().is_some_and(|icons| icons.iter().all(is_icon));
    must(fields.get("icons").is_none_or(are_icons), "icons", "a list of objects with a `src`")?;
    let annotations = fields.get("annotations");
    let annotated = |name: &str| annotations.and_then(|annotations| annotations.get(name));
    must(annotated("title").is_none_or(Value::is_string), "annotations/title", "a string")?;
    for hint in hints {
        must(annotated(hint).is_none_or(Value::is_boolean), "annotations", "of hints that are true or false")?;
    }
    Ok(())
}

/// A tool that was dropped from a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its position in the list, from 0.
    pub index: usize,
    /// The name it claims, escaped and cut for display; empty when it has none.
    pub tool: String,
    /// Why it was dropped.
    pub fault: Fault,
}

/// What a `tools/list` came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ListReading {
    /// The definitions that may be pinned, in the order of the list.
    pub accepted: Vec<Definition>,
    /// The ones that were dropped, in the order of the list.
    pub findings: Vec<Finding>,
}

/// Reads the complete list of one server, all pages together: a name that occurs twice is dropped twice.
pub fn read_list(tools: &[Box<RawValue>]) -> ListReading {
    let values: Vec<Option<Value>> = tools.iter().map(|tool| serde_json::from_str(tool.get()).ok()).collect();
    let names: Vec<String> = values.iter().map(|tool| claimed_name(tool.as_ref()).unwrap_or_default().to_owned()).collect();
    let mut times: HashMap<&str, u32> = HashMap::with_capacity(tools.len());
    for name in values.iter().filter_map(|tool| claimed_name(tool.as_ref())) {
        *times.entry(name).or_default() += 1;
    }
    let is_twin: Vec<bool> = names.iter().map(|name| matches!(times.get(name.as_str()), Some(2..))).collect();
    let mut reading = ListReading::default();
    for (index, (((text, raw), name), is_twin)) in tools.iter().zip(values).zip(names).zip(is_twin).enumerate() {
        let read = match raw {
            _ if is_twin => Err(Fault::Duplicate),
            Some(raw) => Definition::judge(text, raw),
            None => Err(Fault::TooDeep),
        };
        match read {
            Ok(definition) => reading.accepted.push(definition),
            Err(fault) => reading.findings.push(Finding { index, tool: shown(&name), fault }),
        }
    }
    reading
}

fn claimed_name(tool: Option<&Value>) -> Option<&str> {
    tool?.get("name").and_then(Value::as_str)
}

/// Collects the invisible code points of every string and key.
fn invisible(value: &Value, points: &mut Vec<String>) {
    match value {
        Value::String(text) => invisible_in(text, points),
        Value::Array(items) => items.iter().for_each(|item| invisible(item, points)),
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            invisible_in(key, points);
            invisible(value, points);
        }),
        _ => {}
    }
}

fn invisible_in(text: &str, points: &mut Vec<String>) {
    for c in text.chars().filter(|&c| is_invisible(c)) {
        let point = format!("U+{:04X}", u32::from(c));
        if points.len() < CODE_POINTS && !points.contains(&point) {
            points.push(point);
        }
    }
}

/// Whether `value` has more than `limit` levels of arrays and objects. Goes no deeper than that.
pub(crate) fn is_deeper(value: &Value, limit: usize) -> bool {
    match value {
        Value::Array(items) => limit == 0 || items.iter().any(|item| is_deeper(item, limit - 1)),
        Value::Object(map) => limit == 0 || map.values().any(|item| is_deeper(item, limit - 1)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::{json, value::to_raw_value};

    use super::*;

    fn read(tool: &Value) -> Result<Definition, Fault> {
        Definition::read(&to_raw_value(tool).unwrap())
    }

    fn read_all(tools: &[Value]) -> ListReading {
        read_list(&tools.iter().map(|tool| to_raw_value(tool).unwrap()).collect::<Vec<_>>())
    }

    fn tool(name: &str) -> Value {
        json!({ "name": name, "inputSchema": { "type": "object" } })
    }

    /// A well-formed tool with `value` in `field`.
    fn with(field: &str, value: Value) -> Value {
        let mut tool = tool("t");
        tool.as_object_mut().unwrap().insert(field.to_owned(), value);
        tool
    }

    #[test]
    fn a4_the_digest_covers_every_field() {
        let digest = read(&tool("t")).unwrap().digest();
        for (field, value) in [("annotations", json!({ "readOnlyHint": true })), ("x-unknown", json!(1.0)), ("title", json!(""))]
        {
            let definition = read(&with(field, value.clone())).unwrap();
            assert_ne!(definition.digest(), digest, "{field}");
            assert_eq!(definition.raw()[field], value);
        }
        let reordered = json!({ "inputSchema": { "type": "object" }, "name": "t" });
        assert_eq!(read(&reordered).unwrap().digest(), digest);
        assert_ne!(
            read(&with("x", json!(1))).unwrap().digest(),
            read(&with("x", serde_json::from_str("1.0").unwrap())).unwrap().digest(),
        );
    }

    #[test]
    fn a_definition_keeps_its_text() {
        let text = r#"{ "x" : [1e2,1.50,1e400], "n\u0061me":"\u0074","":{"b":1,"a":2},"inputSchema":{"type":"object"}}"#;
        let written = RawValue::from_string(text.to_owned()).unwrap();
        let definition = Definition::read(&written).unwrap();
        assert_eq!((definition.text().get(), definition.name().as_str()), (text, "t"));
        let listed = read_list(&[written]);
        assert_eq!(listed.accepted.first().map(|accepted| accepted.text().get()), Some(text));
        // However it is written, it is the same definition.
        assert_eq!(read(definition.raw()).unwrap(), definition);
    }

    #[test]
    fn a13_a_name_listed_twice_is_dropped_twice() {
        let reading = read_all(&[tool("a"), tool("b"), with("name", json!("a"))]);
        assert_eq!(reading.accepted.iter().map(|tool| tool.name().as_str()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(reading.findings.iter().map(|finding| finding.index).collect::<Vec<_>>(), [0, 2]);
        assert!(reading.findings.iter().all(|finding| finding.fault == Fault::Duplicate && finding.tool == "a"));
    }

    #[test]
    fn a12_case_twins_are_two_tools() {
        assert_eq!(read_all(&[tool("Mail.Send"), tool("mail.send")]).accepted.len(), 2);
    }

    #[test]
    fn a14_invisible_text_is_refused_wherever_it_stands() {
        let points = [
            '\u{200B}',
            '\u{200D}',
            '\u{200F}',
            '\u{2060}',
            '\u{2064}',
            '\u{FEFF}',
            '\u{AD}',
            '\u{E0000}',
            '\u{E0041}',
            '\u{E007F}',
            '\u{FE00}',
            '\u{FE0F}',
            '\u{E0100}',
            '\u{E01EF}',
            '\u{202A}',
            '\u{202E}',
            '\u{2066}',
            '\u{2069}',
            '\0',
            '\r',
            '\u{1b}',
            '\u{7f}',
            '\u{85}',
            '\u{9f}',
        ];
        for point in points {
            let text = format!("a{point}b");
            let hidden = [
                with("description", json!(text)),
                with("annotations", json!({ "title": text })),
                with(&text, json!(1)),
                with("inputSchema", json!({ "type": "object", "properties": { "a": { "enum": ["x", text] } } })),
                with("inputSchema", json!({ "type": "object", "properties": { text: {} } })),
            ];
            for tool in hidden {
                let fault = read(&tool).unwrap_err();
                let expected = Fault::Invisible { points: vec![format!("U+{:04X}", u32::from(point))] };
                assert_eq!(fault, expected, "{tool}");
            }
        }
        read(&with("description", json!("one\n\ttwo \u{e9}\u{4e2d}\u{1f600}"))).unwrap();
    }

    #[test]
    fn a_bad_tool_leaves_the_others() {
        let bad = [
            json!(null),
            json!([]),
            json!({ "inputSchema": { "type": "object" } }),
            with("name", json!(7)),
            with("name", json!("m\u{430}il")),
            with("description", json!("x".repeat(DEFINITION_BYTES))),
            with("inputSchema", json!(true)),
            with("inputSchema", json!({ "type": "array" })),
            with("inputSchema", json!({ "type": "object", "properties": { "a": { "$ref": "http://x/" } } })),
            with("outputSchema", json!({ "type": "objekt" })),
            with("outputSchema", json!(true)),
            with("description", json!(7)),
            with("title", json!(null)),
            with("annotations", json!([])),
            with("annotations", json!({ "readOnlyHint": "yes" })),
            with("annotations", json!({ "title": 7 })),
            with("_meta", json!([])),
            with("icons", json!([{ "src": 7 }])),
            json!({ "name": "none" }),
        ];
        let count = bad.len();
        let mut tools = bad.to_vec();
        tools.insert(3, tool("good"));
        let reading = read_all(&tools);
        assert_eq!(reading.accepted.len(), 1);
        assert_eq!(reading.findings.len(), count, "{:#?}", reading.findings);
        assert_eq!(read_all(&[]), ListReading::default());
    }
}
