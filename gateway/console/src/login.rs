//! How people get in and out: a one-time link, a passkey, or their identity provider.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Query, Request, State},
    response::{IntoResponse, Redirect, Response},
};
use bailiwick_store::Passkey;
use http::{HeaderMap, HeaderValue, header};
use maud::html;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    challenge::PATIENCE_MS,
    fields::Fields,
    house::Note,
    login_state::Way,
    pages,
    posted::{Posted, TOKEN, fields_of},
    random,
    refused::Refused,
    router::Console,
    session::{Brought, Enrols, LoginMethod},
    sign::question,
    site::cookie,
    webauthn::{Assertion, Expected},
};

/// How long after its link a session may add a passkey, milliseconds.
const ENROL_MS: u64 = 10 * 60 * 1000;

/// How long a browser may stand at the login page, seconds.
const DOORSTEP_S: u64 = 60 * 60;

/// Where a login goes on.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Onward {
    #[serde(default)]
    pub(crate) next: Option<String>,
}

/// A place of the console, and nowhere else.
pub(crate) fn onward(next: Option<&str>) -> &str {
    let is_own = |path: &&str| {
        path.starts_with('/')
            && !path.starts_with("//")
            && path.len() <= 512
            && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    next.filter(is_own).unwrap_or("/")
}

/// What ties the forms of a login to the browser that was shown them: a value that only its cookie has.
pub(crate) struct Doorstep(String);

impl Doorstep {
    pub(crate) fn of(console: &Console, headers: &HeaderMap) -> Option<Self> {
        let value = cookie(headers, &console.site().doorstep_cookie())?;
        // As long as what we make, and no longer.
        (value.len() == 43 && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)))
            .then(|| Self(value.to_owned()))
    }

    /// Of a browser that stands there for the first time.
    pub(crate) fn fresh() -> Result<Self, Refused> {
        random::token().map(Self)
    }

    /// Whose token a form of this login bears. No session's public id begins so.
    pub(crate) fn name(&self) -> String {
        format!("doorstep:{}", self.0)
    }
}

/// `GET /login`
pub(crate) async fn show(
    State(console): State<Arc<Console>>,
    Query(Onward { next }): Query<Onward>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let doorstep = Doorstep::of(&console, &headers).map_or_else(Doorstep::fresh, Ok)?;
    let token = |path: &str| console.tokens().make(&doorstep.name(), path);
    let next = onward(next.as_deref());
    let body = html! {
        h1 { "log in" }
        form method="post" action="/login/passkey" data-passkey="get" data-options="/login/passkey/options" {
            input type="hidden" name=(TOKEN) value=(token("/login/passkey"));
            input type="hidden" name="next" value=(next);
            input type="hidden" name="credential" value="";
            button type="submit" { "log in with a passkey" }
            noscript { p { "passkeys need a script; use a one-time link" } }
        }
        @if console.oidc().is_some() {
            @let to = format!("/login/oidc?next={}", url::form_urlencoded::byte_serialize(next.as_bytes()).collect::<String>());
            p { a href=(to) { "log in at your identity provider" } }
        }
        form method="post" action="/login/link" data-link {
            input type="hidden" name=(TOKEN) value=(token("/login/link"));
            input type="hidden" name="next" value=(next);
            label { "or the code of a one-time link " input type="password" name="code" autocomplete="off" spellcheck="false" required; }
            button type="submit" { "log in" }
            p { "An operator makes one with " code { "bailiwick console" } "." }
        }
        p data-message role="status" {}
    };
    let mut response = pages::framed("log in", &body).into_response();
    remember(&console, &doorstep, &mut response)?;
    Ok(response)
}

/// Has the browser keep its doorstep.
pub(crate) fn remember(console: &Console, doorstep: &Doorstep, response: &mut Response) -> Result<(), Refused> {
    set_cookie(response, &console.site().set_cookie(&console.site().doorstep_cookie(), Some(&doorstep.0), DOORSTEP_S))
}

/// The form of a login, from the page that this browser was shown.
async fn login_form(console: &Arc<Console>, request: Request) -> Result<(Doorstep, Fields), Refused> {
    let form = request.uri().path().trim_end_matches("/options").to_owned();
    let stale = || Refused::forbidden("this form is not from the login page of this browser", "load the login page anew");
    let doorstep = Doorstep::of(console, request.headers()).ok_or_else(stale)?;
    let fields = fields_of(request, console).await?;
    let is_ours = fields.text(TOKEN).is_some_and(|token| console.tokens().is_good(token, &doorstep.name(), &form));
    if is_ours { Ok((doorstep, fields)) } else { Err(stale()) }
}

/// Somebody was not let in: counted, and on record. Whoever fails too often is told to wait. What is right is let in all the same: codes and
/// signatures can't be guessed, and a stranger's failures must not keep people out.
pub(crate) async fn failed(console: &Console, method: LoginMethod, about: &str, why: &str) -> Refused {
    let told =
        Refused::forbidden("you were not let in", "try again, or ask an operator for a one-time link (`bailiwick console`)");
    failed_saying(console, method, about, why, told).await
}

/// The same, where more may be said: to somebody who is known by then.
pub(crate) async fn failed_saying(console: &Console, method: LoginMethod, about: &str, why: &str, told: Refused) -> Refused {
    let now_ms = console.house().now_ms();
    console.note_failure("login_refused", "", about, &format!("{}: {why}", method.as_str())).await;
    if let Err(too_often) = console.tries().admits(now_ms) {
        return too_often;
    }
    console.tries().failed(now_ms);
    told
}

/// `POST /login/link`
pub(crate) async fn by_link(State(console): State<Arc<Console>>, request: Request) -> Result<Response, Refused> {
    let (_, fields) = login_form(&console, request).await?;
    let now_ms = console.house().now_ms();
    let code = fields.need("code")?.trim();
    let known = console.links().take(code, now_ms).and_then(|(id, link)| Some((console.person(&id)?, link)));
    let Some((person, link)) = known else {
        return Err(failed(&console, LoginMethod::Link, "", "the code is not good, or not any more").await);
    };
    // Who has passkeys shows one of them to add another, unless the link was made because they can't.
    if !link.recovers && !console.passkeys().of(&person.id).is_empty() {
        let set = console.open(&person, LoginMethod::Link, Brought::default()).await?;
        return inside(onward(fields.text("next")), &set);
    }
    let ticket = random::token()?;
    let enrols = Enrols { ticket: random::sha256(ticket.as_bytes()), until_ms: now_ms.saturating_add(ENROL_MS), link };
    let set = console.open(&person, LoginMethod::Link, Brought { enrols: Some(enrols), ..Brought::default() }).await?;
    // INVARIANT: the ticket is in this answer alone. After the `#` no server and no other page sees it; the page keeps it for its tab, which
    // pages of other ports can't read, as they can send the cookie.
    inside(&format!("/passkeys#enrol-{ticket}"), &set)
}

/// `POST /login/passkey/options`
pub(crate) async fn ask_passkey(State(console): State<Arc<Console>>, request: Request) -> Result<Json<Value>, Refused> {
    let (doorstep, _) = login_form(&console, request).await?;
    let until_ms = console.house().now_ms().saturating_add(PATIENCE_MS);
    let challenge = console.logins().make(Way::Passkey, &doorstep.name(), until_ms, &[])?;
    // None is named: the passkey says whose it is, so nobody learns here who is registered.
    Ok(Json(question(&console, &challenge, &[])))
}

/// `POST /login/passkey`
pub(crate) async fn by_passkey(State(console): State<Arc<Console>>, request: Request) -> Result<Response, Refused> {
    let (doorstep, fields) = login_form(&console, request).await?;
    let (person, id, why) = match known(&console, &doorstep, fields.need("credential")?).await {
        Ok(passkey) => (console.person(&passkey.person), passkey.id, "is not registered any more"),
        Err(why) => return Err(failed(&console, LoginMethod::Passkey, "", &why).await),
    };
    let Some(person) = person else {
        return Err(failed(&console, LoginMethod::Passkey, "", why).await);
    };
    let set = console.open(&person, LoginMethod::Passkey, Brought { passkey: Some(id), ..Brought::default() }).await?;
    inside(onward(fields.text("next")), &set)
}

/// The passkey that has answered the question that was put to this browser.
async fn known(console: &Console, doorstep: &Doorstep, credential: &str) -> Result<Passkey, String> {
    let assertion = Assertion::read(credential).map_err(|fault| fault.to_string())?;
    let challenge = assertion.challenge().map_err(|fault| fault.to_string())?;
    let late = || "the answer is to no question that was put to this browser, or came too late".to_owned();
    console.logins().read(Way::Passkey, &doorstep.name(), &challenge, console.house().now_ms()).ok_or_else(late)?;
    let passkey = console.passkeys().find(&assertion.id).ok_or("the passkey is not registered")?;
    // Nobody was named in the question, so the passkey has to say whose it is.
    if assertion.user.is_none() {
        return Err("the passkey does not say whose it is".to_owned());
    }
    let (origin, party) = (console.site().origin(), console.site().party());
    console.verify(&assertion, &passkey, Expected { challenge: &challenge, origin: &origin, party: &party }).await?;
    // Only now: what strangers make up fills nothing.
    if !console.logins().spend(&challenge, console.house().now_ms()) {
        return Err(late());
    }
    Ok(passkey)
}

/// `POST /logout`
pub(crate) async fn logout(State(console): State<Arc<Console>>, posted: Posted) -> Result<Response, Refused> {
    let id = &posted.session().id;
    console.note_ended(console.sessions().end("logged out", |session| session.id == *id)).await;
    inside("/login", &console.site().set_cookie(&console.site().session_cookie(), None, 0))
}

/// `POST /sessions/{id}/end`: one's own, anywhere.
pub(crate) async fn end_session(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    posted: Posted,
) -> Result<Redirect, Refused> {
    let person = &posted.viewer().person;
    let ended = console.sessions().end("ended by its person", |session| session.id == id && session.person == person.id);
    if ended.is_empty() {
        return Err(Refused::new(http::StatusCode::NOT_FOUND, "you have no such session", "the page `passkeys` lists them"));
    }
    let with = json!({"session": id});
    console.note(Note { event: "logout", by: person.id.clone(), about: person.id.clone(), why: None, with }).await?;
    console.note_ended(ended).await;
    Ok(Redirect::to("/passkeys"))
}

/// To a place inside, with this cookie.
pub(crate) fn inside(to: &str, set: &str) -> Result<Response, Refused> {
    let mut response = Redirect::to(to).into_response();
    set_cookie(&mut response, set)?;
    Ok(response)
}

fn set_cookie(response: &mut Response, set: &str) -> Result<(), Refused> {
    let set = HeaderValue::from_str(set).map_err(|_| Refused::unavailable("a cookie could not be made"))?;
    response.headers_mut().append(header::SET_COOKIE, set);
    Ok(())
}

/// `GET /passkey.js`
pub(crate) async fn script() -> Response {
    let kind = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    (kind, include_str!("../script/passkey.js")).into_response()
}

#[cfg(test)]
mod tests {
    use super::onward;

    #[test]
    fn a_login_goes_on_inside() {
        assert_eq!(onward(Some("/approvals/apr_1?all=true")), "/approvals/apr_1?all=true");
        for elsewhere in
            ["https://evil.example/", "//evil.example", "/\\evil.example", "evil", "", "/a b", "/a\n", "javascript:x", "/é"]
        {
            assert_eq!(onward(Some(elsewhere)), "/", "{elsewhere}");
        }
        assert_eq!(onward(None), "/");
    }
}
