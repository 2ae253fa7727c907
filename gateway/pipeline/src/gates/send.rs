//! The only door out. It opens for a recorded call, once, while its grant lives.

use std::{sync::Arc, time::Duration};

use bailiwick_schemas::names::{ConnectorId, ToolName};
use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{Approved, Recorded};
use crate::{
    grant::SendPass,
    ids::CallId,
    ports::{Lease, Ports, SendFailure},
    refusal::Refusal,
    way::Way,
};

/// What a connector sends: made here and nowhere else.
#[derive(Debug)]
pub struct Outgoing {
    call: CallId,
    connector: ConnectorId,
    tool: ToolName,
    arguments: Bytes,
    traceparent: Option<String>,
    timeout: Duration,
    cancelled: CancellationToken,
    pass: Option<SendPass>,
}

impl Outgoing {
    /// The call, for logs.
    pub fn call(&self) -> &CallId {
        &self.call
    }

    /// The server it is for.
    pub fn connector(&self) -> &ConnectorId {
        &self.connector
    }

    /// The tool, by its server's own name.
    pub fn tool(&self) -> &ToolName {
        &self.tool
    }

    /// The arguments: a JSON object, to be sent as these very bytes.
    pub fn arguments(&self) -> &Bytes {
        &self.arguments
    }

    /// The W3C `traceparent` for the server.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// How long it may take in all.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Cancelled when the grant ends: stop at once.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// To be called as soon as the request is written, or dropped where it never is: what ends the grant waits for this.
    pub fn when_written(&mut self) -> impl FnOnce() + Send + use<> {
        let pass = self.pass.take();
        move || drop(pass)
    }
}

/// What came back, before anybody may read it.
#[derive(Debug)]
pub struct RawReply(pub(super) RawKind);

#[derive(Debug)]
pub(super) enum RawKind {
    Result(Bytes),
    Error { code: i64, message: String, data: Option<Bytes> },
}

impl RawReply {
    /// A result: the raw text of the JSON-RPC `result` member.
    pub fn result(text: Bytes) -> Self {
        Self(RawKind::Result(text))
    }

    /// A JSON-RPC error.
    pub fn error(code: i64, message: String, data: Option<Bytes>) -> Self {
        Self(RawKind::Error { code, message, data })
    }
}

/// A call that was sent and answered. Nobody but `screen` can read the answer.
pub struct Sent<'r> {
    approved: Approved<'r>,
    lease: Option<Arc<Lease>>,
    reply: RawReply,
}

impl<'r> Sent<'r> {
    pub(super) fn into_parts(self) -> (Approved<'r>, Option<Arc<Lease>>, RawReply) {
        (self.approved, self.lease, self.reply)
    }
}

/// Sends the call and waits for its answer.
pub async fn send<'r>(call: Recorded<'r>, ports: &Ports, way: &mut Way<'r>) -> Result<Sent<'r>, Refusal> {
    let (approved, lease, channel) = call.into_armed().into_parts();
    let granted = approved.permitted().validated().granted();
    let (grant, tool) = (granted.grant(), granted.tool());
    let stage = way.enter_outward(&format!("tools/call {}", tool.downstream_name), ports);
    way.trace.note(stage, "mcp.method.name", "tools/call");
    way.trace.note(stage, "gen_ai.tool.name", tool.downstream_name.to_string());
    way.trace.note(stage, "gen_ai.operation.name", "execute_tool");
    way.trace.note(stage, "network.transport", tool.connector.transport);
    way.trace.note(stage, "bailiwick.server.name", tool.connector.id.to_string());
    let Some(pass) = grant.enter() else { return Err(Refusal::grant_ended(grant.end_of_chain(), "Not executed.")) };
    let timeout = tool.connector.call_timeout;
    let outgoing = Outgoing {
        call: granted.identified().received().call_id().clone(),
        connector: tool.connector.id.clone(),
        tool: tool.downstream_name.clone(),
        arguments: approved.arguments().clone(),
        traceparent: way.trace.traceparent(stage),
        timeout,
        cancelled: grant.cancelled().clone(),
        pass: Some(pass),
    };
    let answer = tokio::select! {
        biased;
        () = grant.cancelled().cancelled() => return Err(Refusal::grant_ended(grant.end_of_chain(), "It may have been executed.")),
        answer = tokio::time::timeout(timeout, channel.send(outgoing)) => answer,
    };
    let late = SendFailure::Timeout(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    let reply = answer.unwrap_or(Err(late)).map_err(|failure| {
        // It may quote what the server said.
        let detail = Lease::kept_out(lease.as_deref(), &failure.to_string());
        way.trace.fail(stage, detail.clone());
        Refusal::send(tool.connector.id.as_str(), &failure, &detail)
    })?;
    way.leave(stage, ports);
    Ok(Sent { approved, lease, reply })
}
