//! What the agent is told in the end.

use std::sync::Arc;

use bailiwick_schemas::json::{self, Limits, Member, Outline};
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
    /// What the server asks before it can answer, screened.
    Questions(ToolResult),
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
        /// Its data.
        data: Option<Value>,
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
    let mut changed = String::with_capacity(object.len() + text.len());
    let mut has_it = false;
    for (key, value) in &fields {
        changed.push(if changed.is_empty() { '{' } else { ',' });
        changed.push_str(&Value::from(key.as_ref()).to_string());
        changed.push(':');
        if key == member {
            has_it = true;
            changed.push_str(&Value::from(text).to_string());
        } else {
            changed.push_str(value.get());
        }
    }
    changed.push('}');
    has_it.then_some(changed)
}

/// A tool's result: a JSON object, as its server wrote it but for secrets that were taken out.
#[derive(Debug, Clone, Default)]
pub struct ToolResult {
    text: Bytes,
    members: Vec<(Box<str>, Bytes)>,
}

impl ToolResult {
    /// The result that `text` is; `outline` is of that text.
    pub(crate) fn new(text: &Bytes, outline: &Outline<'_>) -> Self {
        let part = |member: &Member<'_>| (member.key.as_ref().into(), text.slice_ref(member.value.as_bytes()));
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

    /// Its members in their order: keys with escapes resolved, values as written.
    pub fn members(&self) -> &[(Box<str>, Bytes)] {
        &self.members
    }
}

/// The tools of a grant, as they are listed. Made once for a grant and world, and served from there.
#[derive(Debug)]
pub struct ToolList {
    tools: Vec<Arc<Tool>>,
    definitions: Bytes,
}

impl ToolList {
    /// A list of these tools of a world, which are in the order of their full names.
    pub(crate) fn new(tools: Vec<Arc<Tool>>, world: &World) -> Self {
        let mut text = String::from("[");
        for (at, tool) in tools.iter().enumerate() {
            text.push_str(if at == 0 { "" } else { "," });
            tool.listed.write(world.exposed(tool), &mut text);
        }
        text.push(']');
        Self { tools, definitions: Bytes::from(text) }
    }

    /// In order of their full names.
    pub fn tools(&self) -> &[Arc<Tool>] {
        &self.tools
    }

    /// Their definitions: a JSON array.
    pub fn definitions(&self) -> &Bytes {
        &self.definitions
    }
}

impl Default for ToolList {
    fn default() -> Self {
        Self { tools: Vec::new(), definitions: Bytes::from_static(b"[]") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_read_member_by_member() {
        let text = Bytes::from_static(br#"{"content":[],"a\u0062":{"n":1.0}}"#);
        let members = ToolResult::read(&text).map(|result| result.members().to_vec()).unwrap_or_default();
        let shown: Vec<(&str, &[u8])> = members.iter().map(|(key, value)| (key.as_ref(), value.as_ref())).collect();
        assert_eq!(shown, [("content", &b"[]"[..]), ("ab", &b"{\"n\":1.0}"[..])]);
        for wrong in ["[]", "{", "{\"a\":1,\"a\":2}"] {
            assert!(ToolResult::read(&Bytes::from_static(wrong.as_bytes())).is_none(), "{wrong}");
        }
    }
}
