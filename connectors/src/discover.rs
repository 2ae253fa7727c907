//! What a server offers, looked at once: for `connectors show`, `pin` and `diff`.

use std::{sync::Arc, time::Duration};

use bailiwick_pipeline::ports::{ConnectFailure, Lease};
use bailiwick_schemas::definition::{ListReading, read_list};
use serde_json::Value;

use crate::{
    child::Purpose,
    pool::{Context, Pool},
    spec::ConnectorSpec,
    stderr::Redactor,
};

/// What a server says of itself and its tools. All of it is the server's word, without what was lent to it.
#[derive(Debug, Clone)]
pub struct Discovery {
    /// The protocol version it speaks with us.
    pub protocol: String,
    /// Its name and version, as it says.
    pub server_info: Option<Value>,
    /// What it tells models about itself.
    pub instructions: Option<String>,
    /// Its tool definitions, as listed.
    pub tools: Vec<Value>,
}

impl Discovery {
    /// The tools that may be pinned, and why the others may not.
    pub fn reading(&self) -> ListReading {
        read_list(&self.tools)
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
    let pool = Pool::new(spec.clone(), Arc::clone(&context));
    let purpose = Purpose { grant: None, ends: Vec::new(), lease: lease.cloned() };
    let found = match pool.session(&None, &purpose).await {
        Ok(session) => {
            let hello = session.hello().clone();
            let mut tools = session.definitions().await;
            let redactor = Redactor::new(lease);
            // A definition that carries the lent secret would show it to whoever lists; changed, it would not be what it was.
            tools.retain(|tool| {
                let text = tool.to_string();
                redactor.redacted(&text) == text
            });
            Ok(Discovery {
                protocol: hello.version.as_str().to_owned(),
                server_info: hello.server_info.and_then(|info| serde_json::from_str(&redactor.redacted(&info.to_string())).ok()),
                instructions: hello.instructions.map(|text| redactor.redacted(&text)),
                tools,
            })
        }
        Err(failure) => Err(failure),
    };
    context.shutdown(spec.kill_after + Duration::from_secs(3)).await;
    Look { found, stderr: pool.status().stderr }
}

/// Ends the child also where nobody waits for the answer any more.
struct EndOnDrop<'a>(&'a Context);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.root.cancel();
    }
}
