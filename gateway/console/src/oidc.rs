//! Login at an identity provider. It only lets somebody look who is registered here; what changes something is signed as ever.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    extract::{Query, State},
    response::{IntoResponse, Redirect, Response},
};
use bailiwick_identity::{LoggedIn, LoginAsked, LoginProvider};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::{
    login::{Doorstep, Onward, failed, inside, onward, remember},
    person::Role,
    random,
    refused::Refused,
    router::Console,
    session::LoginMethod,
};

/// Where the browser comes back to.
pub(crate) const CALLBACK: &str = "/login/oidc/callback";

/// How long somebody may take to log in there, milliseconds.
const PATIENCE_MS: u64 = 10 * 60 * 1000;

/// Logins under way at once; the oldest makes room.
const AT_ONCE: usize = 1024;

/// The identity provider, and what its word is worth here.
pub struct Oidc {
    provider: LoginProvider,
    roles: Option<ClaimedRoles>,
    /// Who is whom: by the provider's subject, the person's id.
    people: arc_swap::ArcSwap<BTreeMap<String, String>>,
    begun: Mutex<HashMap<String, Begun>>,
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

/// A login that is under way.
struct Begun {
    doorstep: String,
    nonce: String,
    verifier: String,
    next: String,
    until_ms: u64,
}

impl Oidc {
    /// This provider, for these people: by its subject, their id.
    pub fn new(provider: LoginProvider, roles: Option<ClaimedRoles>, people: BTreeMap<String, String>) -> Self {
        Self { provider, roles, people: arc_swap::ArcSwap::from_pointee(people), begun: Mutex::default() }
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

    fn begin(&self, state: String, begun: Begun, now_ms: u64) {
        let mut all = self.begun();
        all.retain(|_, one| now_ms < one.until_ms);
        if all.len() >= AT_ONCE
            && let Some(oldest) = all.iter().min_by_key(|(_, one)| one.until_ms).map(|(state, _)| state.clone())
        {
            all.remove(&oldest);
        }
        all.insert(state, begun);
    }

    /// The login of this state, in the browser with this doorstep. It is answered by that, rightly or not.
    fn take(&self, state: &str, doorstep: &str, now_ms: u64) -> Option<Begun> {
        self.begun().remove(state).filter(|begun| now_ms < begun.until_ms && begun.doorstep == doorstep)
    }

    fn begun(&self) -> MutexGuard<'_, HashMap<String, Begun>> {
        // A panic while it was held leaves a map that is whole.
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
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
    let (state, nonce, verifier) = (random::token()?, random::token()?, random::token()?);
    let asked = LoginAsked { state: &state, nonce: &nonce, verifier: &verifier, redirect_uri: &redirect_uri(&console) };
    let to = oidc.provider.ask(asked, console.house().now_ms()).await.map_err(|why| {
        tracing::warn!(%why, "the identity provider of the console can't be asked");
        Refused::unavailable("the identity provider does not answer")
    })?;
    let now_ms = console.house().now_ms();
    let begun = Begun {
        doorstep: doorstep.name(),
        nonce,
        verifier,
        next: onward(next.as_deref()).to_owned(),
        until_ms: now_ms.saturating_add(PATIENCE_MS),
    };
    oidc.begin(state, begun, now_ms);
    let mut response = Redirect::to(&to).into_response();
    remember(&console, &doorstep, &mut response)?;
    Ok(response)
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
                return Err(failed(&console, LoginMethod::Oidc, &person, "is not registered any more").await);
            };
            let set = console.open(&person, LoginMethod::Oidc, (None, roles)).await?;
            inside(&next, &set)
        }
        Err((who, why)) => Err(failed(&console, LoginMethod::Oidc, &who, &why).await),
    }
}

type Known = (String, Option<BTreeSet<Role>>, String);

/// Who has come back, with which roles, and where they go on; else who that was, and why not.
async fn known(console: &Console, oidc: &Oidc, answer: Answer, headers: &HeaderMap) -> Result<Known, (String, String)> {
    let nobody = |why: &str| (String::new(), why.to_owned());
    let now_ms = console.house().now_ms();
    let doorstep = Doorstep::of(console, headers).ok_or_else(|| nobody("it is of no browser that began it"))?;
    let state = answer.state.ok_or_else(|| nobody("it has no state"))?;
    let begun = oidc.take(&state, &doorstep.name(), now_ms);
    let begun = begun.ok_or_else(|| nobody("this browser began no such login, or too long ago"))?;
    if answer.iss.is_some_and(|iss| iss != oidc.provider.name()) {
        return Err(nobody("it is of another provider"));
    }
    let code = answer.code.ok_or_else(|| nobody("the provider let nobody in"))?;
    let redirect_uri = redirect_uri(console);
    let asked = LoginAsked { state: &state, nonce: &begun.nonce, verifier: &begun.verifier, redirect_uri: &redirect_uri };
    let who = oidc.provider.redeem(&code, asked, now_ms).await.map_err(|why| (String::new(), why))?;
    let person = oidc.people.load().get(&who.subject).cloned();
    let person = person.ok_or_else(|| (who.subject.clone(), "no person has this `subject`".to_owned()))?;
    let roles = oidc.roles.as_ref().map(|claimed| claimed.of(&who));
    Ok((person, roles, begun.next))
}
