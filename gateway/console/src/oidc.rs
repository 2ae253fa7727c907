//! Login at an identity provider. It only lets somebody look who is registered here; what changes something is signed as ever.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    extract::{Query, State},
    response::{IntoResponse, Redirect, Response},
};
use bailiwick_identity::{LoggedIn, LoginAsked, LoginProvider};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::{
    login::{Doorstep, Onward, failed, failed_saying, inside, onward, remember},
    login_state::Way,
    person::Role,
    refused::Refused,
    router::Console,
    session::{Brought, LoginMethod},
};

/// Where the browser comes back to.
pub(crate) const CALLBACK: &str = "/login/oidc/callback";

/// How long somebody may take to log in there, milliseconds.
const PATIENCE_MS: u64 = 10 * 60 * 1000;

/// The identity provider, and what its word is worth here.
pub struct Oidc {
    provider: LoginProvider,
    roles: Option<ClaimedRoles>,
    /// Who is whom: by the provider's subject, the person's id.
    people: arc_swap::ArcSwap<BTreeMap<String, String>>,
}

/// Roles that the provider has to grant too: what it does not grant, a person does not have in a session that it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedRoles {
    /// The claim, a text or a list of texts.
    pub claim: String,
    /// What each of them stands for.
    pub roles: BTreeMap<String, BTreeSet<Role>>,
}

impl ClaimedRoles {
    fn of(&self, who: &LoggedIn) -> BTreeSet<Role> {
        who.texts(&self.claim).into_iter().filter_map(|text| self.roles.get(text)).flatten().copied().collect()
    }
}

impl Oidc {
    /// This provider, for these people: by its subject, their id.
    pub fn new(provider: LoginProvider, roles: Option<ClaimedRoles>, people: BTreeMap<String, String>) -> Self {
        Self { provider, roles, people: arc_swap::ArcSwap::from_pointee(people) }
    }

    /// Replaces who is whom. Returns whether somebody is another one by that.
    pub(crate) fn set_people(&self, people: BTreeMap<String, String>) -> impl Fn(&str) -> bool {
        let after = Arc::new(people);
        let before = self.people.swap(Arc::clone(&after));
        move |person: &str| {
            let of =
                |all: &BTreeMap<String, String>| all.iter().find(|(_, id)| *id == person).map(|(subject, _)| subject.clone());
            of(&before) != of(&after)
        }
    }
}

fn off() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, "nobody logs in here by an identity provider", "use a passkey, or a one-time link")
}

fn redirect_uri(console: &Console) -> String {
    format!("{}{CALLBACK}", console.site().origin())
}

/// `GET /login/oidc`: to the provider. Nothing changes by it: what is remembered is for this browser alone.
pub(crate) async fn begin(
    State(console): State<Arc<Console>>,
    Query(Onward { next }): Query<Onward>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let oidc = console.oidc().ok_or_else(off)?;
    let doorstep = Doorstep::of(&console, &headers).map_or_else(Doorstep::fresh, Ok)?;
    let (next, now_ms) = (onward(next.as_deref()), console.house().now_ms());
    let made = console.logins().make(Way::Oidc, &doorstep.name(), now_ms.saturating_add(PATIENCE_MS), next.as_bytes())?;
    let state = URL_SAFE_NO_PAD.encode(&made);
    let (nonce, verifier) = secrets(&console, &doorstep, &made);
    let asked = LoginAsked { state: &state, nonce: &nonce, verifier: &verifier, redirect_uri: &redirect_uri(&console) };
    let to = oidc.provider.ask(asked, now_ms).await.map_err(|why| {
        tracing::warn!(%why, "the identity provider of the console can't be asked");
        Refused::unavailable("the identity provider does not answer")
    })?;
    let mut response = Redirect::to(&to).into_response();
    remember(&console, &doorstep, &mut response)?;
    Ok(response)
}

/// The nonce and the verifier of a login: nobody who reads its state can make them.
fn secrets(console: &Console, doorstep: &Doorstep, made: &[u8]) -> (String, String) {
    let secret = |what: &[u8]| URL_SAFE_NO_PAD.encode(console.logins().secret(what, &doorstep.name(), made));
    (secret(b"nonce"), secret(b"verifier"))
}

/// What the provider sends back with the browser (RFC 6749, section 4.1.2; RFC 9207 for `iss`).
#[derive(Deserialize)]
pub(crate) struct Answer {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    iss: Option<String>,
}

/// `GET /login/oidc/callback`
pub(crate) async fn come_back(
    State(console): State<Arc<Console>>,
    Query(answer): Query<Answer>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let oidc = console.oidc().ok_or_else(off)?;
    match known(&console, oidc, answer, &headers).await {
        Ok((person, roles, next)) => {
            let Some(person) = console.person(&person) else {
                return Err(stranger(&console, &person, "is not registered any more").await);
            };
            if !person.roles.iter().any(|role| roles.as_ref().is_none_or(|given| given.contains(role))) {
                return Err(stranger(&console, &person.id, "the provider grants none of their roles").await);
            }
            let set = console.open(&person, LoginMethod::Oidc, Brought { roles, ..Brought::default() }).await?;
            inside(&next, &set)
        }
        Err((who, why)) if who.is_empty() => Err(failed(&console, LoginMethod::Oidc, &who, &why).await),
        Err((who, why)) => Err(stranger(&console, &who, &why).await),
    }
}

/// The provider vouches for somebody who is nobody here. They may be told: it is their own name, and not what somebody tried.
async fn stranger(console: &Console, who: &str, why: &str) -> Refused {
    let told = Refused::forbidden(
        "the identity provider knows you, but you are not registered at this console, or with no role",
        "ask an operator: the refusal is on record with the `subject` to add to `[[people]]`, and with what is missing",
    );
    failed_saying(console, LoginMethod::Oidc, who, why, told).await
}

type Known = (String, Option<BTreeSet<Role>>, String);

/// Who has come back, with which roles, and where they go on; else who that was, and why not.
async fn known(console: &Console, oidc: &Oidc, answer: Answer, headers: &HeaderMap) -> Result<Known, (String, String)> {
    let nobody = |why: &str| (String::new(), why.to_owned());
    let now_ms = console.house().now_ms();
    let doorstep = Doorstep::of(console, headers).ok_or_else(|| nobody("it is of no browser that began it"))?;
    let state = answer.state.ok_or_else(|| nobody("it has no state"))?;
    let made = URL_SAFE_NO_PAD.decode(&state).unwrap_or_default();
    let next = console.logins().read(Way::Oidc, &doorstep.name(), &made, now_ms).and_then(|next| String::from_utf8(next).ok());
    let next = next.ok_or_else(|| nobody("this browser began no such login, or too long ago"))?;
    if answer.iss.is_some_and(|iss| iss != oidc.provider.name()) {
        return Err(nobody("it is of another provider"));
    }
    let code = answer.code.ok_or_else(|| nobody("the provider let nobody in"))?;
    let (redirect_uri, (nonce, verifier)) = (redirect_uri(console), secrets(console, &doorstep, &made));
    let asked = LoginAsked { state: &state, nonce: &nonce, verifier: &verifier, redirect_uri: &redirect_uri };
    let who = oidc.provider.redeem(&code, asked, now_ms).await.map_err(|why| (String::new(), why))?;
    if !console.logins().spend(&made, now_ms) {
        return Err(nobody("this login was answered before"));
    }
    let person = oidc.people.load().get(&who.subject).cloned();
    let person = person.ok_or_else(|| (who.subject.clone(), "no person has this `subject`".to_owned()))?;
    let roles = oidc.roles.as_ref().map(|claimed| claimed.of(&who));
    Ok((person, roles, next))
}
