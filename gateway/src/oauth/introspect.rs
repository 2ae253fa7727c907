//! `POST /oauth/introspect` (RFC 7662): what a token is good for now, told to servers that the operator registered
//! (`[[resource_servers]]`), and to nobody else.

use aws_lc_rs::{
    constant_time::verify_slices_are_equal,
    digest::{SHA256, digest},
};
use bailiwick_pipeline::halts::Halt;
use bailiwick_pipeline::{grant::LiveGrant, ports::Grants as _};
use bailiwick_store::KnownToken;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{
    Challenge, details,
    exchange::{Done, Exchange},
    form::Form,
    metadata, reply,
    reply::Refused,
};
use crate::{runtime::Runtime, server::only};

/// The registered server that asks (HTTP Basic, RFC 7617), by its id.
pub(super) fn server(headers: &HeaderMap, runtime: &Runtime) -> Result<String, Refused> {
    let config = runtime.config();
    let shown = only(headers, &header::AUTHORIZATION).and_then(basic);
    let known = shown.as_ref().and_then(|(id, _)| config.resource_servers.iter().find(|server| server.id == *id));
    let secret = shown.as_ref().map_or("", |(_, secret)| secret.as_str());
    // In constant time, and in the same for an id that there isn't: nobody learns how much of it was right.
    let wanted = known.map_or([0; 32], |server| server.secret_sha256);
    let is_right = verify_slices_are_equal(digest(&SHA256, secret.as_bytes()).as_ref(), &wanted).is_ok();
    match known {
        Some(server) if is_right => Ok(server.id.clone()),
        _ => {
            let challenge = HeaderValue::from_static("Basic realm=\"bailiwick\", charset=\"UTF-8\"");
            Err(Refused::unproven(Challenge::of(challenge), "only resource servers that the operator registered may ask"))
        }
    }
}

/// User and password of `Authorization: Basic …`.
fn basic(value: &str) -> Option<(String, String)> {
    let (scheme, encoded) = value.split_once(' ')?;
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    text.split_once(':').map(|(user, secret)| (user.to_owned(), secret.to_owned()))
}

pub(super) async fn introspect(exchange: &Exchange, form: &Form) -> Result<Done, Refused> {
    let token = form.needed("token")?;
    let (facts, about) = match facts(exchange, token).await {
        Some((facts, about)) => (facts, Some(about)),
        // One answer for whatever is good for nothing now.
        None => (json!({"active": false}), None),
    };
    Ok(Done { detail: about, ..Done::with(reply::json(StatusCode::OK, &facts)) })
}

/// What is told of a token that is good now, and what the record says of it.
async fn facts(exchange: &Exchange, token: &str) -> Option<(Value, String)> {
    let runtime = &exchange.runtime;
    // Whoever bore it in a call would be let in: the same is asked here.
    let principal = exchange.prove(token).await.ok()?;
    let grant = principal.grant.as_ref().and_then(|id| runtime.grants.by_id(id));
    let stops = |halt: &Halt| {
        halt.is_of_agent(&principal.agent.id, principal.instance.as_deref())
            || grant.as_ref().is_some_and(|grant| halt.is_of_grant(grant))
    };
    if runtime.gateway.ports().halts.in_force().iter().any(stops) {
        return None;
    }
    let url = runtime.front.url()?;
    let mut facts = json!({
        "active": true,
        "client_id": principal.agent.id,
        "token_type": "Bearer",
        "iss": metadata::issuer(&url),
        "aud": url,
    });
    let about = match runtime.tokens.known(&SecretString::from(token.to_owned()))? {
        KnownToken::Agent(token) => {
            add(
                &mut facts,
                json!({
                    "sub": token.agent, "iat": token.created_at_ms / 1000, "exp": token.expires_at_ms / 1000,
                }),
            );
            format!("token `{}`", token.id)
        }
        KnownToken::Grant { id, .. } => {
            let grant = runtime.grants.by_id(&id)?;
            add(&mut facts, of_grant(&grant));
            format!("grant `{id}`")
        }
    };
    Some((facts, about))
}

/// What is told of a grant. Its subject is the agent of the first grant of its chain, and who acts for it, nearest first, stands in `act`
/// (RFC 8693, 4.1).
fn of_grant(grant: &LiveGrant) -> Value {
    let terms = grant.terms();
    let mut agents: Vec<&str> = grant.chain().map(|grant| grant.terms().agent.as_str()).collect();
    let subject = agents.pop().unwrap_or_default();
    let act = agents.iter().rev().fold(None, |before: Option<Value>, agent| {
        let mut actor = json!({"sub": agent});
        if let Some(before) = before {
            add(&mut actor, json!({"act": before}));
        }
        Some(actor)
    });
    // It ends with the first of its chain.
    let ends_ms = grant.chain().map(|grant| grant.terms().expires_at_ms).min().unwrap_or(terms.expires_at_ms);
    let mut facts = json!({
        "sub": subject,
        "iat": terms.not_before_ms / 1000,
        "nbf": terms.not_before_ms / 1000,
        "exp": ends_ms / 1000,
        "grant_id": terms.id,
        "authorization_details": details::granted(&grant.effective()),
    });
    if let Some(act) = act {
        add(&mut facts, json!({"act": act}));
    }
    facts
}

/// Adds members to an object.
fn add(to: &mut Value, more: Value) {
    if let (Value::Object(to), Value::Object(more)) = (to, more) {
        to.extend(more);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::{collections::BTreeSet, sync::Arc};

    use bailiwick_pipeline::grant::{Capability, Grant, Standing};

    use super::*;

    fn grant(agent: &str, until_ms: u64, parent: Option<Arc<LiveGrant>>) -> Arc<LiveGrant> {
        let terms = Grant {
            owner: "o@example.com".into(),
            purpose: "p".into(),
            data_classes: Some(BTreeSet::from(["internal".to_owned()])),
            ..Grant::bare(
                format!("of-{agent}").parse().unwrap(),
                agent.parse().unwrap(),
                vec![Capability { tools: "s__a".parse().unwrap(), kinds: None, args: std::collections::BTreeMap::new() }],
                5_000..until_ms,
            )
        };
        Arc::new(LiveGrant::new(terms, Standing::fresh(), parent))
    }

    #[test]
    fn the_chain_is_told_from_the_one_who_acts_to_the_one_it_is_for() {
        let root = grant("lead", 90_000, None);
        let middle = grant("scout", 70_000, Some(Arc::clone(&root)));
        let last = grant("reader", 80_000, Some(Arc::clone(&middle)));
        let facts = of_grant(&last);
        assert_eq!(facts.get("sub"), Some(&json!("lead")));
        assert_eq!(facts.get("act"), Some(&json!({"sub": "reader", "act": {"sub": "scout"}})));
        assert_eq!((facts.get("exp"), facts.get("iat")), (Some(&json!(70)), Some(&json!(5))));
        assert_eq!(of_grant(&middle).get("act"), Some(&json!({"sub": "scout"})));
        assert_eq!(of_grant(&root).get("act"), None);
    }

    #[test]
    fn basic_credentials_are_read_whole_or_not_at_all() {
        let given = |text: &str| basic(&format!("Basic {}", STANDARD.encode(text)));
        assert_eq!(given("api:s:x"), Some(("api".to_owned(), "s:x".to_owned())));
        assert_eq!(given("api"), None);
        for bad in ["Basic", "Basic ", "Basic !!", "Bearer YXBpOnM=", "basic YXBpOnM"] {
            assert_eq!(basic(bad), None, "{bad}");
        }
        assert_eq!(basic("bAsIc YXBpOnM="), Some(("api".to_owned(), "s".to_owned())));
    }
}
