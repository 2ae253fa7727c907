//! What the agent is told in the end.

use std::{
    borrow::Cow,
    ops::Range,
    sync::{Arc, OnceLock},
};

use bailiwick_schemas::{
    canonical::Digest,
    exposure::ExposedNames,
    json::{self, Edits, Limits, Member, Outline},
};
use bytes::Bytes;
use serde_json::Value;

use crate::{
    catalogue::{Listed, Tool, World},
    grant::Grant,
    pages::{PAGE, Place},
    ports::Listing,
    records::Outcome,
    search::Index,
};

/// The one answer to a request, before a protocol version gives it its form.
#[derive(Debug, Clone)]
pub struct Answer {
    /// How it ended.
    pub outcome: Outcome,
    /// What is said.
    pub body: Body,
}

impl Answer {
    /// About how many bytes it keeps.
    pub(crate) fn size(&self) -> usize {
        match &self.body {
            Body::Result(result) | Body::Questions(result) | Body::Content(result) | Body::Task(result) => result.text().len(),
            Body::ToolError { text, .. } => text.len(),
            Body::Error { message, data, .. } => message.len() + data.as_ref().map_or(0, Bytes::len),
            Body::Tools { page, .. } => page.definitions().len(),
            Body::Offers { items, .. } => items.len(),
        }
    }
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
    /// A task, or what is said about one: screened, with its own `resultType`.
    Task(ToolResult),
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
    /// Tools of a grant.
    Tools {
        /// A page of the list; an empty one where there is no live grant.
        page: ToolPage,
        /// How long it may be kept, milliseconds.
        ttl_ms: u64,
    },
    /// Resources, resource templates or prompts.
    Offers {
        /// Which.
        listing: Listing,
        /// The items of a page: a JSON array.
        items: Bytes,
        /// The cursor to the page after it, if there is one: letters, digits and `-`.
        next: Option<String>,
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
#[derive(Debug, Default)]
pub struct ToolList {
    tools: Vec<Arc<Tool>>,
    names: Arc<ExposedNames>,
    kept: Kept,
    index: OnceLock<Index>,
}

/// What is kept of a list beside its tools.
#[derive(Debug)]
enum Kept {
    /// It has one page, and this is its text.
    Page(Bytes),
    /// It has more, each of which is written when it is asked for, so that a large grant doesn't keep a copy of the catalogue. This is
    /// what makes the list another one: its grant, and all that is listed.
    Version(Digest),
}

impl Default for Kept {
    fn default() -> Self {
        Self::Page(Bytes::from_static(b"[]"))
    }
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct ToolPage {
    list: Arc<ToolList>,
    range: Range<usize>,
    definitions: Bytes,
    next: Option<String>,
    /// The tool of the gateway's own that stands behind them.
    own: Vec<&'static str>,
}

impl ToolList {
    /// A list of these tools of a world, which are in the order of their full names.
    pub(crate) fn new(tools: Vec<Arc<Tool>>, world: &World, grant: &Grant) -> Self {
        let names = Arc::clone(&world.names);
        let kept = if tools.len() <= PAGE {
            Kept::Page(written(tools.iter(), &names, |tool| Cow::Borrowed(&tool.listed)))
        } else {
            Kept::Version(version(&tools, &names, grant))
        };
        Self { tools, names, kept, index: OnceLock::new() }
    }

    /// In order of their full names.
    pub fn tools(&self) -> &[Arc<Tool>] {
        &self.tools
    }

    /// What makes it another list to whoever sees it: the names and the definitions of its tools.
    pub fn digest(&self) -> Digest {
        Digest::of(&told_apart(&self.tools, &self.names))
    }

    /// The page that this cursor leads to, the first one without any; none where it is a cursor of another list, or of none.
    pub fn page(self: &Arc<Self>, cursor: Option<&str>) -> Option<ToolPage> {
        let version = match &self.kept {
            Kept::Page(_) => None,
            Kept::Version(version) => Some(version),
        };
        let Place { range, next } = Place::of(cursor, self.tools.len(), version)?;
        let definitions = match &self.kept {
            Kept::Page(text) => text.clone(),
            Kept::Version(_) => written(self.tools.get(range.clone())?.iter(), &self.names, |tool| Cow::Borrowed(&tool.listed)),
        };
        Some(ToolPage { list: Arc::clone(self), range, definitions, next, own: Vec::new() })
    }

    /// What is needed to look for its tools, made once. `world` is the one that the list is of.
    pub(crate) fn index(&self, world: &World) -> &Index {
        self.index.get_or_init(|| Index::over(&self.tools, world))
    }

    /// The names that agents call its tools by.
    pub(crate) fn names(&self) -> &ExposedNames {
        &self.names
    }

    /// The tool that agents call by this name, if it is in the list.
    pub(crate) fn called(&self, name: &str) -> Option<&Arc<Tool>> {
        let full = match self.names.bare(name) {
            Some(full) => full.clone(),
            None => name.parse().ok()?,
        };
        let at = self.tools.binary_search_by(|tool| tool.name.cmp(&full)).ok()?;
        self.tools.get(at).filter(|tool| self.names.of(&tool.name) == name)
    }

    /// The definition of one of its tools as this page of the list has it, for a protocol version that is modern or not.
    pub(crate) fn definition(&self, tool: &Tool, is_modern: bool) -> String {
        let older = if is_modern { None } else { tool.listed.older() };
        let mut text = String::new();
        older.as_ref().unwrap_or(&tool.listed).write(self.names.of(&tool.name), &mut text);
        text
    }
}

impl ToolPage {
    /// The one page under a grant with tool search: these definitions, a JSON array, of tools that are the gateway's own.
    pub(crate) fn of_own(definitions: &'static str) -> Self {
        Self {
            list: Arc::default(),
            range: 0..0,
            definitions: Bytes::from_static(definitions.as_bytes()),
            next: None,
            own: Vec::new(),
        }
    }

    /// The same with one more tool, the gateway's own, behind the last of them: on the last page.
    #[must_use]
    pub(crate) fn ending_with(mut self, definition: &'static str) -> Self {
        if self.next.is_none() {
            self.definitions = with_one_more(&self.definitions, definition);
            self.own.push(definition);
        }
        self
    }

    /// The whole list.
    pub fn list(&self) -> &Arc<ToolList> {
        &self.list
    }

    /// The definitions of its tools: a JSON array.
    pub fn definitions(&self) -> &Bytes {
        &self.definitions
    }

    /// The same for an agent that takes no tasks: without the tools that it could only fail to call.
    #[must_use]
    pub fn without_tasks(self) -> Self {
        let tools = self.list.tools.get(self.range.clone()).unwrap_or_default();
        if tools.iter().all(|tool| !tool.listed.is_task_only()) {
            return self;
        }
        let rest = tools.iter().filter(|tool| !tool.listed.is_task_only());
        let definitions = written(rest, &self.list.names, |tool| Cow::Borrowed(&tool.listed));
        Self { definitions, ..self }
    }

    /// The same as versions before 2026-07-28 have them. Their clients lose the whole list over one that their version does not have.
    pub fn older(&self) -> Bytes {
        let tools = self.list.tools.get(self.range.clone()).unwrap_or_default();
        if tools.iter().all(|tool| !tool.listed.is_odd()) {
            return self.definitions.clone();
        }
        // Who speaks them takes no tasks.
        let tools = tools.iter().filter(|tool| !tool.listed.is_task_only());
        let older = written(tools, &self.list.names, |tool| tool.listed.older().map_or(Cow::Borrowed(&tool.listed), Cow::Owned));
        self.own.iter().fold(older, |older, own| with_one_more(&older, own))
    }

    /// The cursor to the page after it, if there is one: letters, digits and `-`.
    pub fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }
}

/// A JSON array with one more item.
fn with_one_more(array: &Bytes, item: &str) -> Bytes {
    let begun = array.strip_suffix(b"]").unwrap_or(array);
    let comma: &[u8] = if begun.len() > 1 { b"," } else { b"" };
    Bytes::from([begun, comma, item.as_bytes(), b"]"].concat())
}

/// The definitions of these tools, as a JSON array.
fn written<'t>(
    tools: impl Iterator<Item = &'t Arc<Tool>> + Clone,
    names: &ExposedNames,
    listed: impl Fn(&Tool) -> Cow<'_, Listed>,
) -> Bytes {
    let size = tools.clone().map(|tool| tool.listed.size() + tool.name.as_str().len() + 1).sum::<usize>();
    let mut text = String::with_capacity(size + 2);
    text.push('[');
    for (at, tool) in tools.enumerate() {
        text.push_str(if at == 0 { "" } else { "," });
        listed(tool).write(names.of(&tool.name), &mut text);
    }
    text.push(']');
    Bytes::from(text)
}

/// What differs between any two lists of which an agent may not take one for the other.
fn version(tools: &[Arc<Tool>], names: &ExposedNames, grant: &Grant) -> Digest {
    let mut text = format!("{}\n{}\n", grant.id, grant.revision).into_bytes();
    text.extend(told_apart(tools, names));
    Digest::of(&text)
}

/// The tools of a list, as far as two lists may differ in them.
fn told_apart(tools: &[Arc<Tool>], names: &ExposedNames) -> Vec<u8> {
    let mut text = Vec::new();
    for tool in tools {
        text.extend_from_slice(names.of(&tool.name).as_bytes());
        text.push(b'\n');
        text.extend_from_slice(tool.digest.as_bytes());
    }
    text
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
