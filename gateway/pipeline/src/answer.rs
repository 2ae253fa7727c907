//! What the agent is told in the end.

use std::sync::Arc;

use bailiwick_schemas::json::{self, Edits, Limits, Member, Outline};
use bytes::Bytes;
use serde_json::Value;

use crate::{
    catalogue::{Tool, World},
    ports::Listing,
    records::Outcome,
};

/// The one answer to a request, before a protocol version gives it its form.
#[derive(Debug, Clone)]
pub struct Answer {
    /// How it ended.
    pub outcome: Outcome,
    /// What is said.
    pub body: Body,
}

/// What is said.
#[derive(Debug, Clone)]
pub enum Body {
    /// A tool's result, a prompt or a suggestion, screened.
    Result(ToolResult),
    /// The contents of a resource, screened.
    Content(ToolResult),
    /// A result that is an error which the model can read.
    ToolError {
        /// The words.
        text: String,
        /// Further facts for programs, in `_meta`.
        meta: Option<Value>,
    },
    /// A JSON-RPC error.
    Error {
        /// Its code.
        code: i64,
        /// Its message.
        message: String,
        /// Its data: JSON.
        data: Option<Bytes>,
        /// The HTTP status that goes with it.
        http: u16,
    },
    /// The tools of a grant.
    Tools {
        /// The list; an empty one where there is no live grant.
        list: Arc<ToolList>,
        /// How long the list may be kept, milliseconds.
        ttl_ms: u64,
    },
    /// Resources, resource templates or prompts.
    Offers {
        /// Which.
        listing: Listing,
        /// The items: a JSON array.
        items: Bytes,
        /// How long the list may be kept, milliseconds.
        ttl_ms: u64,
    },
}

/// A JSON object with another text as one of its members; everything else stays as it was written. None where it is no object, or has no
/// such member.
pub(crate) fn with_member(object: &str, member: &str, text: &str) -> Option<String> {
    let fields = json::fields(object).ok()?;
    let (_, value) = fields.iter().find(|(key, _)| key == member)?;
    let mut edits = Edits::of(object);
    edits.put(value.get(), Value::from(text).to_string());
    Some(edits.text())
}

/// A tool's result: a JSON object, as its server wrote it but for secrets that were taken out.
#[derive(Debug, Clone, Default)]
pub struct ToolResult {
    text: Bytes,
    members: Vec<Part>,
}

/// A member of a result.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its key, with escapes resolved.
    pub key: Box<str>,
    /// Key, colon and value, as written.
    pub text: Bytes,
    /// Its value, as written.
    pub value: Bytes,
}

impl ToolResult {
    /// The result that `text` is; `outline` is of that text.
    pub(crate) fn new(text: &Bytes, outline: &Outline<'_>) -> Self {
        let part = |member: &Member<'_>| Part {
            key: member.key.as_ref().into(),
            text: text.slice_ref(member.written.as_bytes()),
            value: text.slice_ref(member.value.as_bytes()),
        };
        Self { text: text.clone(), members: outline.members().map(part).collect() }
    }

    /// Reads a result; none where `text` is no object that is strict JSON.
    pub fn read(text: &Bytes) -> Option<Self> {
        let outline = json::outline(text, Limits { bytes: usize::MAX, depth: Limits::MESSAGE.depth }, 1).ok()?;
        outline.is_object().then(|| Self::new(text, &outline))
    }

    /// The whole object.
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// Its members in their order.
    pub fn members(&self) -> &[Part] {
        &self.members
    }
}

/// The tools of a grant, as they are listed. Made once for a grant and world, and served from there.
#[derive(Debug)]
pub struct ToolList {
    tools: Vec<Arc<Tool>>,
    definitions: Bytes,
    /// As versions before 2026-07-28 have them, where that differs.
    older: Option<Bytes>,
}

impl ToolList {
    /// A list of these tools of a world, which are in the order of their full names.
    pub(crate) fn new(tools: Vec<Arc<Tool>>, world: &World) -> Self {
        let write = |of: &dyn Fn(&Tool, &mut String)| {
            let mut text = String::from("[");
            for (at, tool) in tools.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { "," });
                of(tool, &mut text);
            }
            text.push(']');
            Bytes::from(text)
        };
        let definitions = write(&|tool, text| tool.listed.write(world.exposed(tool), text));
        // Clients of older versions lose the whole list over one that their version does not have.
        let older = tools
            .iter()
            .any(|tool| tool.listed.older().is_some())
            .then(|| write(&|tool, text| tool.listed.older().as_ref().unwrap_or(&tool.listed).write(world.exposed(tool), text)));
        Self { tools, definitions, older }
    }

    /// In order of their full names.
    pub fn tools(&self) -> &[Arc<Tool>] {
        &self.tools
    }

    /// Their definitions: a JSON array.
    pub fn definitions(&self) -> &Bytes {
        &self.definitions
    }

    /// Their definitions as versions before 2026-07-28 have them: a JSON array.
    pub fn older(&self) -> &Bytes {
        self.older.as_ref().unwrap_or(&self.definitions)
    }
}

impl Default for ToolList {
    fn default() -> Self {
        Self { tools: Vec::new(), definitions: Bytes::from_static(b"[]"), older: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_read_member_by_member() {
        let text = Bytes::from_static(br#"{ "content":[] ,"a\u0062": {"n":1.0}}"#);
        let members = ToolResult::read(&text).map(|result| result.members().to_vec()).unwrap_or_default();
        let shown: Vec<(&str, &[u8])> = members.iter().map(|part| (part.key.as_ref(), part.value.as_ref())).collect();
        assert_eq!(shown, [("content", &b"[]"[..]), ("ab", &b"{\"n\":1.0}"[..])]);
        let written: Vec<&[u8]> = members.iter().map(|part| part.text.as_ref()).collect();
        assert_eq!(written, [&br#""content":[]"#[..], &br#""a\u0062": {"n":1.0}"#[..]]);
        for wrong in ["[]", "{", "{\"a\":1,\"a\":2}"] {
            assert!(ToolResult::read(&Bytes::from_static(wrong.as_bytes())).is_none(), "{wrong}");
        }
    }
}
