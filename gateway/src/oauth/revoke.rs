//! `POST /oauth/revoke` (RFC 7009): a token is given back, or taken back.
//!
//! Whoever has a token could use it, and so may end it. Beside that its agent may, and of the token of a grant the agents above it. For
//! anybody else nothing happens, and the answer is the one that a token gets which nobody knows.

use bailiwick_pipeline::{
    grant::LiveGrant,
    principal::{AuthMethod, Principal},
};
use bailiwick_store::{AgentToken, EndAs, HANDLE, KnownToken};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::{
    exchange::{Done, Exchange},
    form::Form,
    reply,
    reply::Refused,
};
use crate::{
    admin::{Deed, fault::ApiFault},
    holders::STREAM_ENDED,
};

pub(super) async fn revoke(exchange: &mut Exchange, form: &Form, sender: Option<Principal>) -> Result<Done, Refused> {
    let token = SecretString::from(form.needed("token")?.to_owned());
    let reason = form.value("reason").and_then(reason_of);
    if token.expose_secret().starts_with(HANDLE) {
        return of_handle(exchange, &token, sender.as_ref()).await;
    }
    match exchange.runtime.tokens.known(&token) {
        Some(KnownToken::Agent(token)) => of_agent(exchange, token, sender.as_ref()).await,
        Some(KnownToken::Grant { id, revision }) => {
            let entry = exchange.runtime.grants.entry(&id).filter(|entry| entry.grant.terms().revision == revision);
            match entry {
                Some(entry) => of_grant(exchange, &entry.grant, sender.as_ref(), reason).await,
                None => Ok(nothing("unknown_token")),
            }
        }
        None => Ok(nothing("unknown_token")),
    }
}

/// Why a task is done, where its agent says so in a word that is known.
fn reason_of(word: &str) -> Option<&'static str> {
    (word == "stream_ended").then_some(STREAM_ENDED)
}

/// A handle is given back by the process that holds it, when its stream has ended: else having it gives nothing.
async fn of_handle(exchange: &mut Exchange, handle: &SecretString, sender: Option<&Principal>) -> Result<Done, Refused> {
    let Some((id, revision)) = exchange.runtime.handles.known(handle) else { return Ok(nothing("unknown_token")) };
    let holds = |sender: &&Principal| sender.method == AuthMethod::Handle && sender.grant.as_ref() == Some(&id);
    let Some(sender) = sender.filter(holds) else { return Ok(nothing("foreign_token")) };
    let entry = exchange.runtime.grants.entry(&id).filter(|entry| entry.grant.terms().revision == revision);
    match entry {
        Some(entry) => of_grant(exchange, &entry.grant, Some(sender), Some(STREAM_ENDED)).await,
        None => Ok(nothing("unknown_token")),
    }
}

/// Nothing is done, and nothing said of why.
fn nothing(reason: &'static str) -> Done {
    Done { reason: Some(reason), ..Done::with(reply::empty()) }
}

async fn of_agent(exchange: &mut Exchange, token: AgentToken, sender: Option<&Principal>) -> Result<Done, Refused> {
    if sender.is_some_and(|sender| sender.agent.id != token.agent) {
        return Ok(nothing("foreign_token"));
    }
    exchange.admit(&token.agent)?;
    if !token.is_good(exchange.runtime.clock.now_ms()) {
        return Ok(nothing("ended_token"));
    }
    let by = format!("agent:{}", token.agent);
    let deed = Deed::new("agent_token_revoked", token.id.as_str(), json!({"agent": token.agent}));
    let of = std::sync::Arc::clone(&exchange.runtime);
    let id = token.id.clone();
    let revoked = deed.done_by_agent(&by, &exchange.runtime, async move { Ok(of.tokens.revoke(&id, of.clock.now_ms()).await?) });
    revoked.await.map_err(unavailable)?;
    Ok(Done { detail: Some(format!("token `{}`", token.id)), ..Done::with(reply::empty()) })
}

/// Its holder and its agent say that the task is done; an agent above it takes it back. All below it falls with it.
async fn of_grant(
    exchange: &mut Exchange,
    grant: &LiveGrant,
    sender: Option<&Principal>,
    reason: Option<&'static str>,
) -> Result<Done, Refused> {
    let terms = grant.terms();
    let (how, agent) = match sender {
        None => (EndAs::Completed, &terms.agent),
        Some(sender) if sender.agent.id == terms.agent => (EndAs::Completed, &terms.agent),
        Some(sender) if grant.chain().skip(1).any(|above| above.terms().agent == sender.agent.id) => {
            (EndAs::Revoked, &sender.agent.id)
        }
        Some(_) => return Ok(nothing("foreign_token")),
    };
    exchange.admit(agent)?;
    let (event, why) = match how {
        EndAs::Completed => ("grant_completed", "the grant's task is done"),
        EndAs::Revoked => ("grant_revoked", "the grant was revoked"),
    };
    let deed = Deed::new(event, terms.id.as_str(), json!({"reason": reason}));
    let (of, by, id) = (std::sync::Arc::clone(&exchange.runtime), format!("agent:{agent}"), terms.id.clone());
    let author = by.clone();
    // Even where it has ended before: that may still be on its way to the disk, and a write under way.
    let work = async move { Ok(of.end_grant(&id, how, &author, reason, why).await?) };
    let ended = deed.done_by_agent(&by, &exchange.runtime, work).await.map_err(unavailable)?;
    if !ended.drained {
        let detail = "nothing is authorized under the grant any more; a write that had begun is still under way";
        return Err(Refused::unavailable(detail));
    }
    Ok(Done { detail: Some(format!("grant `{}`", terms.id)), ..Done::with(reply::empty()) })
}

fn unavailable(fault: ApiFault) -> Refused {
    Refused::unavailable(fault.message)
}
