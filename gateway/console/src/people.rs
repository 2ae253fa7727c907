//! `/people`: who may log in, with which passkeys and sessions; for admins, who take either away from others. Sessions are in memory alone: a
//! restart of the gateway ends all of them.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Redirect,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use maud::{Markup, html};
use serde_json::json;

use crate::{
    house::Note,
    pages::{self, Watch, proof},
    person::{Action, Viewer},
    posted::Signed,
    refused::Refused,
    router::Console,
    sign::words,
    views::{Frame, Section},
};

/// `GET /people`
pub(crate) async fn show(State(console): State<Arc<Console>>, viewer: Viewer) -> Result<Markup, Refused> {
    viewer.may(Action::ManagePeople)?;
    let frame = pages::around(&console, &viewer);
    let body = html! {
        h1 { "People" }
        p.lead { "Who may log in here. Roles are given in the configuration; sessions are in memory alone, and a restart of the gateway ends all of them." }
        @for id in console.people() { (person(&console, &frame, &viewer, &id)) }
    };
    Ok(pages::page(&frame, Section::People, "People", Watch::Still, &body))
}

fn person(console: &Console, frame: &Frame, viewer: &Viewer, id: &str) -> Markup {
    let (passkeys, sessions) = (console.passkeys().of(id), console.sessions().of(id));
    let roles = console.person(id).map(|person| person.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", "));
    html! {
        section.card id=(format!("person-{id}")) {
            h2 data-row tabindex="-1" { (id) @if *id == viewer.person.id { " (you)" } }
            p.quiet { (roles.unwrap_or_default()) }
            @if passkeys.is_empty() { p { "No passkey." } }
            @if *id == viewer.person.id { p { a href="/passkeys" { "Your own passkeys" } } }
            @for passkey in passkeys.iter().filter(|_| *id != viewer.person.id) {
                @let key = URL_SAFE_NO_PAD.encode(&passkey.id);
                (away(frame, &format!("/people/{id}/passkeys/{key}/remove"), &format!("k-{key}"), "Remove this passkey", &html! {
                    "Passkey " strong { (passkey.name) } @if passkey.is_backed_up { " (synced to other devices)" }
                    ", added " (pages::at(passkey.added_ms)) @if let Some(used) = passkey.used_ms { ", used " (pages::ago(used, frame.now_ms)) } @else { ", never used" }
                }))
            }
            @if sessions.is_empty() { p { "Not logged in." } }
            @for session in &sessions {
                (away(frame, &format!("/people/{id}/sessions/{}/end", session.id), &format!("s-{}", session.id), "End this session", &html! {
                    "Session " span.mono { (session.id) } " by " (session.method.as_str()) ", since " (pages::at(session.began_ms)) ", used " (pages::ago(session.seen_ms, frame.now_ms))
                    @if session.id == viewer.session { " (this one)" }
                }))
            }
        }
    }
}

/// What is there, and the form that takes it away.
fn away(frame: &Frame, to: &str, of: &str, what: &str, words: &Markup) -> Markup {
    let id = format!("why-{of}");
    html! {
        details id=(format!("away-{of}")) {
            summary { span { (words) } }
            form.answer method="post" action=(to) data-sign {
                label for=(id) { "Why" }
                input id=(id) name="reason" maxlength="500" required;
                (proof(frame, to, of))
                button.deny type="submit" { (what) }
            }
        }
    }
}

fn reason(signed: &Signed) -> Result<String, Refused> {
    words(signed.fields(), "reason")?.ok_or_else(|| Refused::invalid("say why: it is on record"))
}

/// `POST /people/{person}/passkeys/{id}/remove`
pub(crate) async fn remove_passkey(
    State(console): State<Arc<Console>>,
    Path((person, id)): Path<(String, String)>,
    signed: Signed,
) -> Result<Redirect, Refused> {
    signed.viewer().may(Action::ManagePeople)?;
    // Who removes the last one of their own is out: the page for that says so.
    if person == signed.viewer().person.id {
        return Err(Refused::new(StatusCode::CONFLICT, "this is a passkey of your own", "remove it on the page `passkeys`"));
    }
    let unknown = || Refused::new(StatusCode::NOT_FOUND, "there is no such passkey", "the page `people` lists them");
    let id = URL_SAFE_NO_PAD.decode(&id).map_err(|_| unknown())?;
    let all = console.passkeys().of(&person);
    let passkey = all.iter().find(|passkey| passkey.id == id).ok_or_else(unknown)?;
    let (by, why) = (signed.viewer().person.id.clone(), Some(reason(&signed)?));
    let with = json!({
        "passkey": passkey.name, "credential": URL_SAFE_NO_PAD.encode(&id), "proof": signed.signature().on_record(),
    });
    console.note(Note { event: "passkey_removed", by, about: person.clone(), why, with }).await?;
    console.passkeys().remove(vec![id]).await.map_err(|fault| Refused::unavailable(fault.to_string()))?;
    // Whoever had the key may be logged in by it.
    let ended = console.sessions().end("a passkey of this person was removed", |session| session.person == person);
    console.note_ended(ended).await;
    Ok(Redirect::to("/people"))
}

/// `POST /people/{person}/sessions/{id}/end`
pub(crate) async fn end_session(
    State(console): State<Arc<Console>>,
    Path((person, id)): Path<(String, String)>,
    signed: Signed,
) -> Result<Redirect, Refused> {
    signed.viewer().may(Action::ManagePeople)?;
    if !console.sessions().of(&person).iter().any(|session| session.id == id) {
        return Err(Refused::new(StatusCode::NOT_FOUND, "there is no such session", "the page `people` lists them"));
    }
    let (by, why) = (signed.viewer().person.id.clone(), Some(reason(&signed)?));
    let with = json!({"session": id, "proof": signed.signature().on_record()});
    console.note(Note { event: "session_closed", by, about: person.clone(), why, with }).await?;
    let ended = console.sessions().end("ended by an admin", |session| session.id == id && session.person == person);
    console.note_ended(ended).await;
    Ok(Redirect::to("/people"))
}
