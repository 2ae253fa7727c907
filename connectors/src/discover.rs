//! What a server offers, looked at once: for `connectors show`, `pin` and `diff`.

use std::{sync::Arc, time::Duration};

use bailiwick_pipeline::ports::{ConnectFailure, Lease};
use bailiwick_schemas::definition::{Fault, Finding, ListReading, read_list};
use serde_json::Value;

use crate::{
    child::Purpose,
    handshake::Hello,
    listing::{Dropped, Reading},
    pool::{Context, Pool},
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
    /// Its tool definitions, as listed, but for those that are too large to be looked into.
    pub tools: Vec<Value>,
    /// Those that are too large.
    pub(crate) oversized: Vec<Finding>,
}

impl Discovery {
    /// The tools that may be pinned, and why the others may not.
    pub fn reading(&self) -> ListReading {
        let mut reading = read_list(&self.tools);
        reading.findings.extend(self.oversized.iter().cloned());
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
    let purpose = Purpose { grant: None, ends: Vec::new(), lease: lease.cloned() };
    let found = match pool.session(&None, &purpose).await {
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
    let tells_nothing = |tool: &&Value| {
        let text = tool.to_string();
        redactor.redacted(&text) == text
    };
    let oversized = |dropped: &&Dropped| matches!(dropped.fault, Fault::TooLarge { .. });
    let finding = |dropped: &Dropped| {
        let tool = redactor.clean(&dropped.name).chars().take(NAME_CHARS).collect();
        Finding { index: dropped.index, tool, fault: dropped.fault.clone() }
    };
    Discovery {
        protocol: hello.version.as_str().to_owned(),
        server_info: hello.server_info.and_then(|info| serde_json::from_str(&redactor.redacted(&info)).ok()),
        // In this order: half of a secret would not be known as one.
        instructions: hello.instructions.map(|text| redactor.redacted(&text).chars().take(INSTRUCTIONS_CHARS).collect()),
        tools: reading.definitions.iter().filter(tells_nothing).cloned().collect(),
        oversized: reading.dropped.iter().filter(oversized).map(finding).collect(),
    }
}

/// Ends the child also where nobody waits for the answer any more.
struct EndOnDrop<'a>(&'a Context);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.root.cancel();
    }
}
