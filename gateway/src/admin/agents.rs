//! Agents and their tokens.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
};
use bailiwick_pipeline::{
    halts::Halt,
    ids::AgentId,
    ports::{Grants as _, Worlds as _},
    principal::Agent,
};
use bailiwick_store::{AgentToken, TokenId};
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{
    access::{Operator, Visitor},
    api::{AgentView, DisabledView, TokenMade, TokenView, TokenWanted},
    deed::Deed,
    fault::ApiFault,
};
use crate::runtime::Runtime;

/// No token is good for longer: a year.
const LONGEST_MS: u64 = 365 * 24 * 60 * 60 * 1000;

pub(super) async fn list(_: Visitor, State(runtime): State<Arc<Runtime>>) -> Json<Vec<AgentView>> {
    Json(runtime.agents.all().iter().map(|agent| view(agent, &runtime)).collect())
}

pub(super) async fn show(
    _: Visitor,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
) -> Result<Json<AgentView>, ApiFault> {
    let agent = registered(&id, &runtime)?;
    Ok(Json(view(&agent, &runtime)))
}

pub(super) async fn make_token(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<TokenMade>, ApiFault> {
    let TokenWanted { ttl_ms } = super::read(&body)?;
    if ttl_ms == 0 || ttl_ms > LONGEST_MS {
        return Err(ApiFault::invalid("a token is good for 365 days at most")
            .help("several may live: make a new one before the old one ends"));
    }
    let agent = registered(&id, &runtime)?.id.clone();
    let deed = Deed::new("agent_token_made", agent.as_str(), json!({"ttl_ms": ttl_ms}));
    let of = Arc::clone(&runtime);
    let made = deed.done_by(&operator, &runtime, async move {
        // Not while another configuration comes into force: it may be without this agent, whose tokens are revoked then.
        let _in_turn = of.changing.lock().await;
        registered(agent.as_str(), &of)?;
        let now_ms = of.clock.now_ms();
        let token = of.tokens.issue_agent(&agent, ttl_ms, now_ms).await?;
        Ok(TokenMade { token: token.expose_secret().to_owned(), expires_at_ms: now_ms.saturating_add(ttl_ms) })
    });
    made.await.map(Json)
}

pub(super) async fn revoke_token(
    operator: Operator,
    State(runtime): State<Arc<Runtime>>,
    Path(id): Path<String>,
) -> Result<Json<TokenView>, ApiFault> {
    let id: TokenId = id.parse().map_err(|fault: bailiwick_store::TokenIdFault| ApiFault::invalid(fault.to_string()))?;
    let Some(token) = runtime.tokens.list(None).into_iter().find(|token| token.id == id) else {
        return Err(ApiFault::unknown(format!("there is no token `{id}`"), "`bailiwick agents show AGENT` lists them"));
    };
    let deed = Deed::new("agent_token_revoked", id.as_str(), json!({"agent": token.agent}));
    let of = Arc::clone(&runtime);
    let revoked = deed.done_by(&operator, &runtime, async move {
        let now_ms = of.clock.now_ms();
        of.tokens.revoke(&id, now_ms).await?;
        Ok(token_view(&AgentToken { revoked_at_ms: Some(now_ms), ..token }, now_ms))
    });
    revoked.await.map(Json)
}

/// The agent of this id.
pub(crate) fn registered(id: &str, runtime: &Runtime) -> Result<Arc<Agent>, ApiFault> {
    let id: AgentId = id.parse()?;
    runtime
        .agents
        .agent(&id)
        .ok_or_else(|| ApiFault::unknown(format!("there is no agent `{id}`"), "`bailiwick agents list` shows them"))
}

pub(crate) fn view(agent: &Agent, runtime: &Runtime) -> AgentView {
    let now_ms = runtime.clock.now_ms();
    let tokens = runtime.tokens.list(Some(&agent.id));
    let grants = runtime.grants.of(&agent.id);
    let config = runtime.config();
    let registered = config.agent(agent.id.as_str());
    let world = runtime.worlds.now();
    let live = || grants.iter().filter(|grant| grant.is_live(now_ms));
    let never_used =
        live().flat_map(|grant| super::grants::tools_of(grant, &world).into_iter().filter(|tool| !grant.has_used(tool)));
    let never_used: BTreeSet<String> = never_used.map(|tool| tool.to_string()).collect();
    AgentView {
        purpose: registered.and_then(|registered| registered.purpose.clone()),
        environments: registered.and_then(|registered| registered.environments.clone()),
        last_used_ms: grants.iter().map(|grant| grant.last_used_ms()).max().filter(|at| *at > 0),
        never_used: never_used.into_iter().collect(),
        id: agent.id.to_string(),
        state: state(agent, runtime).to_owned(),
        disabled: runtime.disabled.get(&agent.id).map(|stopped| DisabledView {
            at_ms: stopped.since_ms,
            by: stopped.by,
            reason: stopped.reason,
        }),
        owner: agent.owner.clone(),
        ceiling: agent.ceiling,
        tokens: tokens.iter().filter(|token| token.is_good(now_ms)).map(|token| token_view(token, now_ms)).collect(),
        grants: live().map(|grant| grant.terms().id.to_string()).collect(),
    }
}

/// The word for how it is.
pub(super) fn state(agent: &Agent, runtime: &Runtime) -> &'static str {
    let halts = runtime.gateway.ports().halts.in_force();
    match agent.disabled {
        true => "disabled",
        // Where one instance of it is halted, it is not.
        false if halts.iter().any(|halt| !matches!(halt, Halt::Instance(..)) && halt.is_of_agent(&agent.id, None)) => "halted",
        false => "active",
    }
}

fn token_view(token: &AgentToken, now_ms: u64) -> TokenView {
    let state = match token.revoked_at_ms {
        Some(_) => "revoked",
        None if token.is_good(now_ms) => "active",
        None => "expired",
    };
    TokenView {
        id: token.id.to_string(),
        state: state.to_owned(),
        created_at_ms: token.created_at_ms,
        expires_at_ms: token.expires_at_ms,
    }
}
