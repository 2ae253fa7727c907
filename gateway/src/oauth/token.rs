//! `POST /oauth/token`: token exchange (RFC 8693). An agent that acts under a grant shows its token (`subject_token`) and that of another
//! agent (`actor_token`), says what is wanted (`authorization_details`, RFC 9396), and gets the token of a grant below its own, which is
//! good for that other agent alone.
//!
//! An agent that shows an identity of its own and no actor gets a grant by itself, where a policy permits that (`auto_grant`), of reads of
//! band `low` alone.
//!
//! Whom the task is handed on to is proven and not named: who shows a token of the agent was let act by it. An `audience` that names an
//! agent would let anybody push a task upon any agent, and find out which agents there are.

use bailiwick_pipeline::{
    Refusal,
    principal::{AuthMethod, Principal},
};
use http::StatusCode;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{
    details,
    exchange::{Done, Exchange},
    form::Form,
    metadata, reply,
    reply::Refused,
};
use crate::{
    auto_granting::{self, Asking},
    delegating::{self, From, HandedOn, HopFault},
};

/// The only way to get a token here.
pub(super) const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// What may be shown. What it is worth, identities say.
const SHOWN: [&str; 3] = [ACCESS_TOKEN, "urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"];

/// One answer for every way in which a `subject_token` is nothing, and one for an `actor_token`, or an agent that may not have the task.
const SUBJECT: &str = "the subject_token is good for nothing here: it has ended, or is not of whoever sends it";
const ACTOR: &str = "the task can't be handed on so: the actor_token proves no agent that may have it";

pub(super) async fn exchange(exchange: &mut Exchange, form: &Form, sender: Option<Principal>) -> Result<Done, Refused> {
    check(form)?;
    targets(form, exchange)?;
    let subject = match exchange.prove_own(form.needed("subject_token")?).await {
        Ok(subject) if sender.as_ref().is_none_or(|sender| sender.agent.id == subject.agent.id) => subject,
        Ok(subject) => {
            let detail = format!("the request is of another agent than the subject_token, which is of `{}`", subject.agent.id);
            return Err(Refused::denied("invalid_request", "foreign_token", SUBJECT).because(detail));
        }
        Err(failure) => return Err(Refused::denied("invalid_request", "subject_token", SUBJECT).because(failure.to_string())),
    };
    exchange.admit(&subject.agent.id)?;
    let Some(actor_token) = form.value("actor_token") else { return by_itself(exchange, form, subject).await };
    let wanted = details::wanted(form.needed("authorization_details")?)?;
    let named = exchange.presented().grant;
    let above = exchange.runtime.gateway.acting_under(named.as_deref(), &subject).map_err(|refusal| no_grant(&refusal))?;
    let Some(above) = above else {
        let words = "there is no live grant to hand on: an operator makes one (bailiwick grants create)";
        return Err(Refused::denied("invalid_grant", "no_grant", words));
    };
    let (call, transport) = (exchange.call.clone(), exchange.transport());
    let from = From { principal: &subject, above: &above, call: &call, transport };
    let to = match exchange.prove(actor_token).await {
        Ok(actor) if actor.grant.is_none() => Ok(actor.agent),
        Ok(_) => Err("the actor_token is that of a grant, and proves no identity".to_owned()),
        Err(failure) => Err(failure.to_string()),
    };
    let to = match to {
        Ok(to) => to,
        Err(why) => {
            let fault = Err(delegating::to_nobody(from, &wanted, &why, &exchange.runtime).await);
            exchange.is_decided = is_on_record(&fault);
            return fault.map_err(refused).map(|handed| answer(&handed, exchange));
        }
    };
    let handed = delegating::hand_on(from, &to, wanted, &exchange.runtime).await;
    exchange.is_decided = is_on_record(&handed);
    Ok(answer(&handed.map_err(refused)?, exchange))
}

/// Whether what was decided is on record; what could not be done is not, or not whole.
fn is_on_record(handed: &Result<HandedOn, HopFault>) -> bool {
    !matches!(handed, Err(HopFault::Unavailable(_)))
}

/// An agent wants a grant of its own.
async fn by_itself(exchange: &mut Exchange, form: &Form, subject: Principal) -> Result<Done, Refused> {
    if subject.grant.is_some() {
        let words = "actor_token is missing: the token of the agent that the task is handed on to";
        return Err(Refused::invalid("invalid_request", "missing_parameter", words));
    }
    let Some(details) = form.value("authorization_details") else { return Err(not_by_itself()) };
    // What it got would be good for whoever bears it: the token of a grant is bound to nothing.
    if exchange.is_bound() || subject.method == AuthMethod::X509Svid {
        let words = "an agent whose identity is bound to a key or a certificate gets no grant by itself: its token would be bound to nothing";
        return Err(Refused::denied("invalid_request", "bound_identity", words));
    }
    let wanted = details::wanted(details)?;
    let asking = Asking { principal: subject, call: exchange.call.clone(), transport: exchange.transport() };
    let given = auto_granting::give(&asking, wanted, &exchange.runtime).await;
    exchange.is_decided = is_on_record(&given);
    let given = given.map_err(|fault| match fault {
        HopFault::Refused | HopFault::Oneself | HopFault::Beyond(_) | HopFault::NotNow => not_by_itself(),
        HopFault::Terms(why) => Refused::invalid("invalid_authorization_details", "auto_grant_refused", why),
        HopFault::Unavailable(why) => Refused::unavailable(why),
    })?;
    Ok(answer(&given, exchange))
}

/// One answer, whatever the cause: no policy, too many, or a tool that is none to be had so.
fn not_by_itself() -> Refused {
    let words = "this grant is not to be had by the agent itself: an operator makes one (bailiwick grants create), or an agent hands its own on";
    Refused::denied("invalid_grant", "no_grant_by_itself", words)
}

/// What every request here says.
fn check(form: &Form) -> Result<(), Refused> {
    if form.needed("grant_type")? != EXCHANGE {
        let words = format!("tokens are got by {EXCHANGE} alone");
        return Err(Refused::invalid("unsupported_grant_type", "grant_type", words));
    }
    let is_shown = |name| form.value(name).is_some_and(|kind| SHOWN.contains(&kind));
    let bad = |words: &str| Err(Refused::invalid("invalid_request", "token_type", words));
    form.needed("subject_token_type")?;
    if !is_shown("subject_token_type") {
        return bad("subject_token_type must be that of an access token, a jwt or an id_token");
    }
    match (form.value("actor_token"), form.value("actor_token_type")) {
        (Some(_), _) if !is_shown("actor_token_type") => {
            return bad("actor_token_type must be that of an access token, a jwt or an id_token");
        }
        (None, Some(_)) => return bad("actor_token_type is there without an actor_token"),
        _ => {}
    }
    if form.value("requested_token_type").is_some_and(|kind| kind != ACCESS_TOKEN) {
        return bad("requested_token_type: only access tokens are made here");
    }
    if form.value("scope").is_some() {
        return Err(Refused::invalid("invalid_scope", "scope", "there are no scopes: authorization_details say what is wanted"));
    }
    Ok(())
}

/// A token is good here and nowhere else.
fn targets(form: &Form, exchange: &Exchange) -> Result<(), Refused> {
    let url = exchange.runtime.front.url().unwrap_or_default();
    let issuer = metadata::issuer(&url);
    let is_ours = |target: &str| [url.as_str(), issuer.as_str()].contains(&target.trim_end_matches('/'));
    if form.all("resource").chain(form.all("audience")).all(is_ours) {
        return Ok(());
    }
    Err(Refused::invalid("invalid_target", "target", "resource and audience can name this gateway only"))
}

/// Why it acts under no grant, as a call would be told.
fn no_grant(refusal: &Refusal) -> Refused {
    let words = "which grant is handed on is not clear, or it has ended: show its token as subject_token, or name it in the header \
                 Bailiwick-Grant";
    Refused::denied("invalid_grant", refusal.reason, words).because(refusal.detail.clone())
}

fn refused(fault: HopFault) -> Refused {
    match fault {
        HopFault::Refused => Refused::denied("invalid_request", "delegation_refused", ACTOR),
        HopFault::Oneself => {
            Refused::denied("invalid_request", "delegation_refused", "an agent can't hand its task on to itself: it has it")
        }
        HopFault::Terms(why) => Refused::invalid("invalid_authorization_details", "delegation_refused", why),
        HopFault::Beyond(why) => Refused::denied("invalid_authorization_details", "delegation_refused", why),
        HopFault::NotNow => {
            let words = "the grant can't be handed on now: it has ended, or too many stand below it";
            Refused::denied("invalid_grant", "delegation_refused", words)
        }
        HopFault::Unavailable(why) => Refused::unavailable(why),
    }
}

fn answer(handed: &HandedOn, exchange: &Exchange) -> Done {
    let grant = &handed.grant;
    let body = json!({
        "access_token": handed.token.expose_secret(),
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": grant.expires_at_ms.saturating_sub(exchange.runtime.clock.now_ms()) / 1000,
        "authorization_details": details::granted(grant),
        "grant_id": grant.id,
    });
    let detail = format!("grant `{}` for agent `{}`", grant.id, grant.agent);
    Done { detail: Some(detail), ..Done::with(reply::json(StatusCode::OK, &body)) }
}
