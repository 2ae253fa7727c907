//! Resources that results speak of, under the names that agents ask for them by: a link that a server gives must work where it is
//! followed. Everything else stays as it was written.

use std::borrow::Cow;

use bailiwick_schemas::{
    json::{self, Edits, Outline},
    names::{Feature, QualifiedName},
};
use serde_json::{Value, value::RawValue};

use crate::catalogue::{Tool, World};

/// A result of a tool. None where nothing is to be renamed.
pub(crate) fn of_content(outline: &Outline<'_>, tool: &Tool, world: &World) -> Result<Option<String>, String> {
    let Some((resources, content)) = holder(outline, tool, world).zip(outline.member("content")) else { return Ok(None) };
    let mut names = Names { world, resources, edits: Edits::of(outline.text()) };
    for block in items(content.value, "content")? {
        names.of_block(block);
    }
    Ok(names.text())
}

/// A prompt: its messages have content as results do.
pub(crate) fn of_messages(outline: &Outline<'_>, tool: &Tool, world: &World) -> Result<Option<String>, String> {
    let Some((resources, messages)) = holder(outline, tool, world).zip(outline.member("messages")) else { return Ok(None) };
    let mut names = Names { world, resources, edits: Edits::of(outline.text()) };
    for message in items(messages.value, "messages")? {
        match member(message.get(), "content") {
            Some(content) if content.get().starts_with('[') => {
                items(content.get(), "content")?.into_iter().for_each(|block| names.of_block(block));
            }
            Some(content) => names.of_block(content),
            None => {}
        }
    }
    Ok(names.text())
}

/// The contents of a resource.
pub(crate) fn of_contents(outline: &Outline<'_>, resources: &Tool, world: &World) -> Result<Option<String>, String> {
    let Some(contents) = outline.member("contents").filter(|_| !world.is_bare(resources)) else { return Ok(None) };
    let mut names = Names { world, resources, edits: Edits::of(outline.text()) };
    for part in items(contents.value, "contents")? {
        names.rename(part.get());
    }
    Ok(names.text())
}

/// The resources of this tool's connector, where agents know them by other names than it does, and the result may speak of one.
fn holder<'w>(outline: &Outline<'_>, tool: &Tool, world: &'w World) -> Option<&'w Tool> {
    // Both types of blocks have the word in their name. With escapes it could be written otherwise.
    let may_speak = |text: &str| text.contains("resource") || text.contains("\\u");
    let name = QualifiedName::of_feature(tool.connector.id.clone(), Feature::ResourceRead);
    let resources = world.features.get(&name).filter(|resources| !world.is_bare(resources))?;
    may_speak(outline.text()).then_some(resources.as_ref())
}

/// Names on their way to be those that agents know.
struct Names<'t> {
    world: &'t World,
    resources: &'t Tool,
    edits: Edits<'t>,
}

impl Names<'_> {
    /// A block of content: a link to a resource, or a resource itself (MCP `server/tools`).
    fn of_block(&mut self, block: &RawValue) {
        match member(block.get(), "type").and_then(text).as_deref() {
            Some("resource_link") => self.rename_local(block.get()),
            Some("resource") => {
                if let Some(resource) = member(block.get(), "resource") {
                    self.rename_local(resource.get());
                }
            }
            _ => {}
        }
    }

    /// A link into the web is one for whoever has it, and no name at its server (MCP `server/resources`, "Common URI Schemes").
    fn rename_local(&mut self, object: &str) {
        let uri = member(object, "uri").and_then(text);
        let scheme = uri.as_deref().and_then(|uri| uri.split_once(':')).map(|(scheme, _)| scheme.to_ascii_lowercase());
        if !matches!(scheme.as_deref(), Some("http" | "https")) {
            self.rename(object);
        }
    }

    fn rename(&mut self, object: &str) {
        let Some(uri) = member(object, "uri") else { return };
        if let Some(own) = text(uri) {
            self.edits.put(uri.get(), Value::from(&*self.world.exposed_item(self.resources, &own)).to_string());
        }
    }

    fn text(self) -> Option<String> {
        (!self.edits.is_empty()).then(|| self.edits.text())
    }
}

/// What is in an array that was strictly read.
fn items<'t>(array: &'t str, name: &str) -> Result<Vec<&'t RawValue>, String> {
    serde_json::from_str(array).map_err(|_| format!("`{name}` can't be read"))
}

/// A member of what may be an object.
fn member<'t>(object: &'t str, name: &str) -> Option<&'t RawValue> {
    json::fields(object).ok()?.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<String>(value.get()).ok().map(Cow::Owned)
}
