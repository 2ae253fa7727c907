//! What a server offers, looked at once: for `connectors show`, `pin` and `diff`.

use std::{sync::Arc, time::Duration};

use bailiwick_pipeline::ports::{ConnectFailure, Lease};
use bailiwick_schemas::definition::{Definition, Fault, Finding, ListReading, read_list};
use serde_json::{Value, value::RawValue};

use crate::{
    child::Purpose,
    handshake::Hello,
    listing::{Dropped, Reading},
    pool::{Context, Pool, SlotKey},
    spec::ConnectorSpec,
    stderr::Redactor,
};

/// So much is told of what a server tells models about itself.
const INSTRUCTIONS_CHARS: usize = 16 * 1024;
/// The longest name of a tool that is too large.
const NAME_CHARS: usize = 60;

/// What a server says of itself and its tools. All of it is the server's word, without what was lent to it.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// The protocol version it speaks with us.
    pub protocol: String,
    /// Its name and version, as it says.
    pub server_info: Option<Value>,
    /// What it tells models about itself.
    pub instructions: Option<String>,
    /// Whether what it said carried what was lent to it.
    pub has_leaked: bool,
    /// Its tool definitions, as it wrote them, but for those that are too large to be looked into, or carry what was lent.
    pub tools: Vec<Box<RawValue>>,
    /// Those that are too large.
    pub(crate) oversized: Vec<Finding>,
    /// Those that carry what was lent.
    pub(crate) telling: Vec<Finding>,
    /// Where in the list names are that it has twice: one of the two may be too large to be looked into.
    pub(crate) twins: Vec<(usize, String)>,
}

impl Discovery {
    /// The tools that may be pinned, and why the others may not.
    pub fn reading(&self) -> ListReading {
        let mut reading = read_list(&self.tools);
        reading.findings.extend(self.oversized.iter().chain(&self.telling).cloned());
        let twin_of = |name: &str| self.twins.iter().find(|(_, twin)| twin == name);
        let (alone, twins) = reading.accepted.into_iter().partition(|tool| twin_of(tool.name().as_str()).is_none());
        reading.accepted = alone;
        reading.findings.extend(twins.iter().filter_map(|tool: &Definition| {
            let (index, name) = twin_of(tool.name().as_str())?;
            Some(Finding { index: *index, tool: name.clone(), fault: Fault::Duplicate })
        }));
        reading
    }
}

/// A look at a server: what it offers, or why that can't be told.
#[derive(Debug)]
pub struct Look {
    /// What it offers.
    pub found: Result<Discovery, ConnectFailure>,
    /// The end of what it wrote to standard error: made harmless, and without what was lent to it.
    pub stderr: Vec<String>,
}

/// Starts the server for a moment, or speaks to it over HTTP, lists its tools, and ends that.
pub async fn discover(spec: &ConnectorSpec, lease: Option<&Arc<Lease>>) -> Result<Discovery, ConnectFailure> {
    look(spec, lease).await.found
}

/// The same, with what the server wrote to standard error: for whoever wants to know why it fails.
pub async fn look(spec: &ConnectorSpec, lease: Option<&Arc<Lease>>) -> Look {
    if let Some(fault) = spec.faults().into_iter().next() {
        return Look { found: Err(ConnectFailure::Start(fault.to_string())), stderr: Vec::new() };
    }
    let context = Context::new(|_| {});
    let _ends = EndOnDrop(&context);
    let pool = Pool::to_look(spec.clone(), Arc::clone(&context));
    let purpose = Purpose { grant: None, ends: Vec::new(), lease: lease.cloned(), asks: None };
    let found = match pool.session(&SlotKey::default(), &purpose).await {
        Ok(session) => {
            let (hello, reading) = (session.hello().clone(), session.reading().await);
            drop(session);
            Ok(discovery(hello, &reading, &Redactor::new(lease)))
        }
        Err(failure) => Err(failure),
    };
    context.shutdown(spec.kill_after + Duration::from_secs(3)).await;
    Look { found, stderr: pool.status().stderr }
}

/// What the server said, without what was lent to it.
fn discovery(hello: Hello, reading: &Reading, redactor: &Redactor) -> Discovery {
    // A definition that carries the lent secret would show it to whoever lists; changed, it would not be what it was.
    let is_clean = |text: &str| redactor.redacted(text) == text;
    // With its escapes, and without.
    let tells_nothing =
        |tool: &str| is_clean(tool) && serde_json::from_str::<Value>(tool).is_ok_and(|value| is_clean(&value.to_string()));
    let oversized = |dropped: &&Dropped| matches!(dropped.fault, Fault::TooLarge { .. });
    let twin = |dropped: &&Dropped| dropped.fault == Fault::Duplicate;
    let finding = |dropped: &Dropped| {
        let tool = redactor.clean(&dropped.name).chars().take(NAME_CHARS).collect();
        Finding { index: dropped.index, tool, fault: dropped.fault.clone() }
    };
    let telling = |(index, tool): (usize, &RawValue)| {
        let name = || serde_json::from_str::<Value>(tool.get()).ok()?.get("name")?.as_str().map(|name| redactor.clean(name));
        let finding =
            || Finding { index, tool: name().unwrap_or_default().chars().take(NAME_CHARS).collect(), fault: Fault::Secret };
        (!tells_nothing(tool.get())).then(finding)
    };
    let telling: Vec<Finding> = reading.definitions.iter().map(AsRef::as_ref).enumerate().filter_map(telling).collect();
    let in_own_words = [&hello.server_info, &hello.instructions].into_iter().flatten().any(|words| !is_clean(words));
    let has_leaked = !telling.is_empty() || in_own_words || reading.dropped.iter().any(|dropped| !is_clean(&dropped.name));
    Discovery {
        protocol: hello.version.as_str().to_owned(),
        has_leaked,
        server_info: hello.server_info.and_then(|info| serde_json::from_str(&redactor.redacted(&info)).ok()),
        // In this order: half of a secret would not be known as one.
        instructions: hello.instructions.map(|text| redactor.redacted(&text).chars().take(INSTRUCTIONS_CHARS).collect()),
        tools: reading.definitions.iter().filter(|tool| tells_nothing(tool.get())).cloned().collect(),
        telling,
        oversized: reading.dropped.iter().filter(oversized).map(finding).collect(),
        twins: reading.dropped.iter().filter(twin).map(|dropped| (dropped.index, dropped.name.clone())).collect(),
    }
}

/// Ends the child also where nobody waits for the answer any more.
struct EndOnDrop<'a>(&'a Context);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.root.cancel();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use serde_json::{json, value::to_raw_value};

    use super::*;

    /// As calls would have it: what would be no tool to them is offered to nobody.
    #[test]
    fn a_tool_whose_twin_is_not_shown_is_none() {
        let tool = |name: &str| to_raw_value(&json!({"name": name, "inputSchema": {"type": "object"}})).unwrap();
        let discovery = Discovery {
            protocol: "2025-11-25".to_owned(),
            server_info: None,
            instructions: None,
            has_leaked: false,
            telling: Vec::new(),
            tools: vec![tool("a"), tool("b")],
            oversized: Vec::new(),
            twins: vec![(0, "a".to_owned())],
        };
        let reading = discovery.reading();
        assert_eq!(reading.accepted.iter().map(|tool| tool.name().to_string()).collect::<Vec<_>>(), ["b"]);
        assert_eq!(reading.findings, [Finding { index: 0, tool: "a".to_owned(), fault: Fault::Duplicate }]);
        assert_eq!(Discovery { twins: Vec::new(), ..discovery }.reading().accepted.first().unwrap().name().as_str(), "a");
    }
}
