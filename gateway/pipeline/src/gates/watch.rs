//! The other door out: for who wants to hear when a resource changes. It opens as the door for calls does, and what is heard later is
//! judged anew each time.

use std::{sync::Arc, time::Duration};

use bailiwick_schemas::names::QualifiedName;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Recorded, Reply, halted, screen::screen_refusal, send::was_taken_back};
use crate::{
    grant::{LiveGrant, SendPass},
    ids::CallId,
    ports::{Lease, Ports, SendFailure, Watch, Watched, Watcher},
    refusal::Refusal,
    way::Way,
};

/// A resource that a connector is to watch: made here and nowhere else.
pub struct Watching {
    call: CallId,
    name: QualifiedName,
    uri: String,
    timeout: Duration,
    cancelled: CancellationToken,
    watcher: Arc<dyn Watcher>,
    pass: Option<SendPass>,
}

impl Watching {
    /// The call, for logs.
    pub fn call(&self) -> &CallId {
        &self.call
    }

    /// The feature that it is for, and with it the server.
    pub fn name(&self) -> &QualifiedName {
        &self.name
    }

    /// The resource, by its server's own name.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// How long the server may take to agree.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Cancelled when the grant ends.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// Who is told.
    pub fn watcher(&self) -> Arc<dyn Watcher> {
        Arc::clone(&self.watcher)
    }

    /// To be called as soon as the server was asked, or dropped where it never is: what ends the grant waits for this.
    pub fn when_written(&mut self) -> impl FnOnce() + Send + use<> {
        let pass = self.pass.take();
        move || drop(pass)
    }
}

/// A resource that is watched: who hears of it is asked anew whether it may.
pub(crate) struct Held {
    pub(crate) watch: Box<dyn Watch>,
    pub(crate) grant: Arc<LiveGrant>,
    /// The resource, by its server's own name.
    pub(crate) uri: String,
    /// What its server must not be heard to say.
    pub(crate) lease: Option<Arc<Lease>>,
}

/// Has a resource watched; or the error that its server refuses it with.
pub(crate) async fn watch<'r>(
    call: Recorded<'r>,
    watcher: Arc<dyn Watcher>,
    ports: &Ports,
    way: &mut Way<'r>,
) -> Result<Result<Held, Reply>, Refusal> {
    let (armed, _) = call.into_parts();
    let (approved, lease, channel) = armed.into_parts();
    let validated = approved.permitted().validated();
    let granted = validated.granted();
    let (grant, tool) = (Arc::clone(granted.grant()), granted.tool());
    let stage = way.enter_outward("resources/subscribe", ports);
    way.trace.note(stage, "mcp.method.name", "resources/subscribe");
    way.trace.note(stage, "network.transport", tool.connector.transport);
    way.trace.note(stage, "bailiwick.server.name", tool.connector.id.to_string());
    let Some(uri) = validated.arguments().get("uri").and_then(Value::as_str).map(str::to_owned) else {
        return Err(Refusal::internal("what is to be watched has no URI"));
    };
    let (pass, flight) = halted::let_out(granted.identified().principal(), &grant, Some(tool), ports)?;
    let timeout = tool.connector.call_timeout;
    let watching = Watching {
        call: granted.identified().received().call_id().clone(),
        name: tool.name.clone(),
        uri: uri.clone(),
        timeout,
        cancelled: grant.cancelled().clone(),
        watcher,
        pass: Some(pass),
    };
    let agreed = tokio::select! {
        biased;
        () = grant.cancelled().cancelled() => return Err(Refusal::grant_ended(grant.end_of_chain(), "It may have been executed.")),
        halt = flight.struck() => return Err(Refusal::halted_under_way(&halt, "It may have been executed.")),
        lease = was_taken_back(lease.as_deref()) => {
            return Err(Refusal::credential_taken_back(tool.connector.id.as_str(), &lease.id, "It may have been executed."));
        }
        agreed = tokio::time::timeout(timeout, channel.watch(watching)) => agreed,
    };
    let late = SendFailure::Timeout(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    let agreed = agreed.unwrap_or(Err(late)).map_err(|failure| {
        // It may quote what the server said.
        let detail = Lease::kept_out(lease.as_deref(), &failure.to_string());
        way.trace.fail(stage, detail.clone());
        Refusal::send(tool.connector.id.as_str(), &failure, &detail)
    })?;
    way.leave(stage, ports);
    match agreed {
        Watched::Held(watch) => Ok(Ok(Held { watch, grant, uri, lease })),
        Watched::Refused { code, message, data } => {
            screen_refusal((code, &message, data.as_ref()), &approved, lease.as_ref(), ports, way).map(Err)
        }
    }
}
