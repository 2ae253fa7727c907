//! From what is written to what is checked. Each function reads one part of the raw configuration, reports what is wrong
//! with it, and goes on; what it returns counts only if nothing was reported.

mod agents;
mod args;
mod channels;
mod connectors;
mod credentials;
mod detections;
mod environment;
mod flow;
mod grants;
mod http;
mod issuers;
mod parts;
mod people;
mod providers;
mod resource_servers;
mod sections;
mod trust;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{checked::Parts, code::FaultCode, fault::Findings, origin, raw::Raw, source::KeyPath};

/// Where a configuration comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Setting<'p> {
    /// From a file in this folder.
    File { base: &'p Path },
    /// From the binary.
    Embedded,
}

impl Setting<'_> {
    /// A path as seen from the folder of the file.
    fn resolve(self, path: &str) -> PathBuf {
        match self {
            Self::File { base } => base.join(path),
            Self::Embedded => PathBuf::from(path),
        }
    }
}

/// Reads and checks the merged tree, of which everything that doesn't fit the schema has been taken out. The tree comes back with
/// every default in it.
pub(crate) fn config(tree: Value, setting: Setting<'_>, findings: &mut Findings<'_>) -> (Parts, Value) {
    let raw: Raw = match serde_json::from_value(tree) {
        Ok(raw) => raw,
        Err(error) => {
            let message = format!("the configuration can't be read: {error}");
            findings.key(&KeyPath::default(), FaultCode::Unreadable, message).help("this is a mistake of ours: please report it");
            Raw::default()
        }
    };
    let root = KeyPath::default();
    let flow = flow::Flow::new(&raw.data, &raw.destinations, &root, findings);
    let parts = Parts {
        server: sections::server(&raw, &root.key("server"), setting, findings),
        console: people::console(&raw.console, &root.key("console"), setting, findings),
        approvals: sections::approvals(&raw.approvals, &root.key("approvals"), findings),
        auto_grants: sections::auto_grants(&raw.auto_grants, &root.key("auto_grants"), findings),
        policy: sections::policy(&raw.policy, &root.key("policy"), setting, findings),
        trail: sections::trail(&raw.trail, &root.key("trail"), findings),
        telemetry: sections::telemetry(&raw.telemetry, &root.key("telemetry"), findings),
        limits: sections::limits(&raw.limits, &root.key("limits"), findings),
        trust_domains: trust::domains(&raw.trust_domains, &root.key("trust_domains"), setting, findings),
        agents: agents::agents(&raw, &root.key("agents"), findings),
        issuers: issuers::issuers(&raw, &root.key("issuers"), setting, findings),
        connectors: connectors::connectors(&raw.connectors, &root.key("connectors"), (setting, &flow, &raw.providers), findings),
        providers: providers::providers(&raw.providers, &root.key("providers"), setting, findings),
        grants: grants::grants(&raw, &flow, &root.key("grants"), findings),
        people: people::people(&raw, &root.key("people"), findings),
        resource_servers: resource_servers::resource_servers(&raw.resource_servers, &root.key("resource_servers"), findings),
        channels: channels::channels(&raw.channels, &root.key("channels"), setting, findings),
        detections: detections::detections(&raw, &root.key("detections"), findings),
    };
    // INVARIANT: no entry is left out in silence.
    let is_whole = (parts.agents.len(), parts.issuers.len(), parts.connectors.len(), parts.grants.len())
        == (raw.agents.len(), raw.issuers.len(), raw.connectors.len(), raw.grants.len())
        && (parts.trust_domains.len(), parts.resource_servers.len()) == (raw.trust_domains.len(), raw.resource_servers.len())
        && parts.channels.len() == raw.channels.len()
        && parts.detections.len() == raw.detections.len()
        && parts.providers.len() == raw.providers.len()
        && parts.people.len() == raw.people.len()
        && parts.console.oidc.is_some() == raw.console.oidc.is_some()
        && parts.console.public_url.is_some() == raw.console.public_url.is_some()
        && parts.server.tls.is_some() == raw.server.tls.is_some();
    if !is_whole && findings.is_empty() {
        let fault = findings.key(&root, FaultCode::Unreadable, "an entry could not be used, and no check says why");
        fault.help("this is a mistake of ours: please report it");
    }
    (parts, origin::effective(&raw))
}

/// Reports each id that stands in more than one entry.
fn duplicates<'i, I: fmt::Display + Ord + 'i>(
    ids: impl Iterator<Item = Option<&'i I>>,
    what: &str,
    path: &KeyPath,
    findings: &mut Findings<'_>,
) {
    let mut first = BTreeMap::new();
    for (index, id) in ids.enumerate() {
        let Some(id) = id else { continue };
        let here = path.item(index).key("id");
        match first.get(&id) {
            Some(earlier) => {
                let message = format!("the {what} id `{id}` is used twice");
                findings.beside(&here, FaultCode::Duplicate, message, (earlier, "first here")).help("give each its own id");
            }
            None => {
                first.insert(id, here);
            }
        }
    }
}

/// A text for people: on one line, not blank, and not endless.
fn text(text: Option<&str>, path: &KeyPath, findings: &mut Findings<'_>) -> String {
    let Some(text) = text else {
        return String::new();
    };
    let key = path.last_key().unwrap_or_default();
    if text.trim().is_empty() {
        findings.value(path, FaultCode::BadText, format!("`{key}` is empty")).help("write who or what is meant");
    } else if text.chars().any(char::is_control) || text.chars().count() > 500 {
        let message = format!("`{key}` is not a plain text");
        findings.value(path, FaultCode::BadText, message).help("write one line of at most 500 characters");
    }
    text.to_owned()
}

/// A message of the form `what: advice`, in its two parts.
fn split(message: &str) -> (&str, &str) {
    message.split_once(": ").unwrap_or((message, "see `config.example.toml`"))
}
