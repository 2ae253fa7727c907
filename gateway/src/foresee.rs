//! What would become of a call that nobody makes: judged by the gates themselves, as an agent that is taken at the operator's word.

mod closed;

use std::sync::Arc;

use bailiwick_pipeline::{
    Body, Gateway, Received, Settings,
    aside::Wants,
    catalogue::World,
    ids::CallId,
    ports::{Identities, IdentityFailure, Later, Ports},
    principal::{Agent, AuthMethod, Credential, Presented, Principal},
    received::{Message, MessageFault, Origin, Protocol, Transport},
};
use bailiwick_schemas::json::Limits;
use bytes::Bytes;
use serde_json::json;

pub(crate) use closed::Closed;

use crate::admin::api::{Foreseen, Used};

/// The call that is thought of.
#[derive(Debug)]
pub(crate) struct Call {
    /// The tool.
    pub(crate) tool: String,
    /// The text of its arguments.
    pub(crate) arguments: String,
    /// The grant it names, if any.
    pub(crate) grant: Option<String>,
}

/// Why a call can't be thought of so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ForeseeFault {
    /// The arguments are no JSON object, or not as strict as an agent's must be.
    #[error("the arguments can't be read: {0}")]
    Arguments(#[from] MessageFault),
}

/// Walks the call as far as nobody is asked and nothing is sent. Nothing goes on record, and nothing counts.
pub(crate) async fn foresee(ports: Ports, agent: Arc<Agent>, call: &Call) -> Result<Foreseen, ForeseeFault> {
    let name = agent.id.to_string();
    let asked = exposed(&call.tool, &ports.worlds.now());
    let received = received(call, &asked, ports.clock.now_ns())?;
    let ports = Ports { identities: Arc::new(AtTheirWord(agent)), ..ports };
    let gateway = Gateway::new(ports, Settings::default());
    let judged = gateway.judge(&received).await;
    let grant = judged.grant.as_deref();
    let mut foreseen = Foreseen {
        id: judged.tool.as_ref().map_or_else(|| call.tool.clone(), |tool| tool.name.to_string()),
        state: "allow".to_owned(),
        agent: name,
        grant: grant.map(|grant| grant.terms().id.to_string()),
        kind: judged.tool.as_ref().map(|tool| tool.kind),
        band: judged.tool.as_ref().map(|tool| tool.band),
        gate: judged.gate.to_owned(),
        reason: None,
        detail: None,
        told: None,
        rules: judged.rules,
        policy_digest: judged.policy_digest,
        needs: Vec::new(),
        used: grant.map(|grant| {
            let (standing, spent) = (grant.standing(), grant.spent());
            Used { calls: standing.calls, writes: standing.writes, bytes_out: spent.bytes_out, cost: spent.cost }
        }),
        budget: grant.map(|grant| grant.terms().budget.clone()),
    };
    match judged.ended {
        Ok(needs) if needs.is_empty() => {}
        Ok(needs) => {
            "step_up".clone_into(&mut foreseen.state);
            foreseen.needs = needs.into_iter().map(|need| need.label.to_string()).collect();
        }
        Err(refusal) => {
            "deny".clone_into(&mut foreseen.state);
            foreseen.reason = Some(refusal.reason.to_owned());
            foreseen.detail = Some(refusal.detail.clone());
            foreseen.told = match refusal.into_answer().body {
                Body::ToolError { text, .. } => Some(text),
                Body::Error { message, .. } => Some(message),
                _ => None,
            };
        }
    }
    Ok(foreseen)
}

/// The name that an agent would send: operators say the full one.
fn exposed(tool: &str, world: &World) -> String {
    world.tool(tool).map_or(tool, |tool| world.exposed(tool)).to_owned()
}

/// The request that an agent would have sent, over HTTP and in the newest protocol version.
fn received(call: &Call, name: &str, now_ns: u64) -> Result<Received, MessageFault> {
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"tools/call","params":{{"name":{},"arguments":{}}}}}"#,
        json!(name),
        call.arguments
    );
    let message = Message::read(&Bytes::from(text), Limits::MESSAGE)?;
    let origin = Origin {
        transport: Transport::Http,
        protocol: Protocol::V20260728,
        presented: Presented { credential: Credential::Absent, grant: call.grant.clone() },
        links: Vec::new(),
        capabilities: Vec::new(),
        takes_tasks: false,
        mirrored: None,
        wants: Wants::default(),
        meta: Bytes::new(),
        reason: None,
    };
    Received::call(CallId::new(now_ns / 1_000_000, [0; 10]), &message, origin, now_ns)
}

/// The agent, because an operator says so. Only what is never sent is judged by it.
struct AtTheirWord(Arc<Agent>);

impl Identities for AtTheirWord {
    fn identify<'a>(&'a self, _: &'a Presented) -> Later<'a, Result<Principal, IdentityFailure>> {
        let (agent, method) = (Arc::clone(&self.0), AuthMethod::AgentToken);
        Box::pin(async move { Ok(Principal { agent, instance: None, method, grant: None }) })
    }
}
