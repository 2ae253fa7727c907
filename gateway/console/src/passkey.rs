//! `/passkeys`: the passkeys and sessions of a person, and how another passkey is added.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::Redirect,
};
use bailiwick_store::Passkey;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use maud::{Markup, html};
use serde_json::{Value, json};

use crate::{
    challenge::{Leave, PATIENCE_MS, Purpose},
    house::Note,
    pages,
    person::{Action, Viewer},
    posted::{Posted, Signed},
    random::{self, are_equal, sha256},
    refused::Refused,
    router::Console,
    session::Session,
    webauthn::{ALGORITHMS, Expected, PasskeyFault, Registration},
};

/// Passkeys that one person may have.
const OF_ONE: usize = 20;

/// Where a new one is asked for.
const OPTIONS: &str = "/passkeys/options";
const ADD: &str = "/passkeys/add";

/// The field with the ticket of a link.
const TICKET: &str = "ticket";

fn no_ticket(person: &str) -> Refused {
    let help = format!(
        "show a passkey that you have; who can't use theirs asks an operator for another link (`bailiwick console --person {person} --recover`)"
    );
    Refused::forbidden("this link lets you add no passkey, or not any more", help)
}

/// What authenticators call a person (section 5.4.3): it says nothing about them.
pub(crate) fn handle_of(person: &str) -> [u8; 32] {
    sha256(&[b"bailiwick.user.v1\0", person.as_bytes()].concat())
}

/// `GET /passkeys`
pub(crate) async fn show(State(console): State<Arc<Console>>, viewer: Viewer) -> Result<Markup, Refused> {
    viewer.may(Action::ManageSelf)?;
    let (person, now_ms) = (&viewer.person.id, console.house().now_ms());
    let sessions = console.sessions().of(person);
    let enrols = sessions.iter().any(|session| session.id == viewer.session && may_enrol(session, now_ms));
    let frame = pages::around(&console, &viewer);
    let body = html! {
        h1 { "passkeys of " (person) }
        p.lead { "What you sign decisions with. Each decision is signed by itself; being logged in only lets you look." }
        @for passkey in console.passkeys().of(person) {
            @let key = text(&passkey.id);
            @let to = format!("/passkeys/{key}/remove");
            section.card {
                h2 { (passkey.name) @if passkey.is_backed_up { span.quiet { " (synced to other devices)" } } }
                p.quiet { "Added " (pages::at(passkey.added_ms)) @if let Some(used) = passkey.used_ms { ", used " (pages::ago(used, now_ms)) } }
                form.answer method="post" action=(to) data-sign { (pages::proof(&frame, &to, &key)) button type="submit" { "Remove" } }
            }
        }
        section.card {
            h2 { "Add a passkey" }
            form.answer method="post" action=(ADD) data-passkey="create" data-options=(OPTIONS) data-enrols[enrols] {
                (pages::guard(&frame, ADD))
                input type="hidden" name="options-token" value=(console.tokens().make(&viewer.session, OPTIONS));
                input type="hidden" name="credential" value="";
                label for="passkey-name" { "Its name" }
                input #passkey-name name="name" maxlength="60" required value="passkey";
                button type="submit" { "Add" }
                noscript { p { "Passkeys need a script in this browser" } }
            }
        }
        h2 { "Sessions" }
        p.quiet { "They are in memory alone: a restart of the gateway ends all of them." }
        @for session in sessions {
            @let to = format!("/sessions/{}/end", session.id);
            section.card {
                h3 { "By " (session.method.as_str()) @if session.id == viewer.session { ", this one" } }
                p.quiet { "Since " (pages::at(session.began_ms)) ", used " (pages::ago(session.seen_ms, now_ms)) }
                form.answer method="post" action=(to) { (pages::guard(&frame, &to)) button type="submit" { "End" } }
            }
        }
    };
    Ok(pages::page(&frame, None, "Passkeys", pages::Watch::Still, &body))
}

fn may_enrol(session: &Session, now_ms: u64) -> bool {
    session.enrols.is_some_and(|enrols| now_ms < enrols.until_ms)
}

/// Whether this is the ticket of the link by which the session came, and still lets its person add a passkey.
fn is_ticket(console: &Console, session: &Session, ticket: &str, now_ms: u64) -> bool {
    let digest = sha256(ticket.as_bytes());
    let enrols = session.enrols.filter(|enrols| now_ms < enrols.until_ms && are_equal(&enrols.ticket, &digest));
    enrols.is_some_and(|enrols| enrols.link.recovers || console.passkeys().of(&session.person).is_empty())
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// `POST /passkeys/options`: what a new passkey is made of. It takes the ticket that came with the answer to a link, once; whoever has none has to
/// show a passkey that the person has, or the operator credential. A session alone is not enough.
pub(crate) async fn ask(State(console): State<Arc<Console>>, posted: Posted) -> Result<Json<Value>, Refused> {
    let (session, now_ms) = (posted.session(), console.house().now_ms());
    let person = &posted.viewer().person.id;
    let leave = match posted.fields().text(TICKET) {
        Some(ticket) if is_ticket(&console, session, ticket, now_ms) => Leave::Ticket,
        Some(_) => return Err(no_ticket(person)),
        None => Leave::Proof { maker: posted.signature(&console).await?.maker() },
    };
    let name = posted.fields().need("name")?.trim();
    if name.is_empty() || name.chars().count() > 60 || name.chars().any(bailiwick_schemas::text::is_invisible) {
        return Err(Refused::invalid("a passkey's name has 1 to 60 visible characters"));
    }
    let known = console.passkeys().of(person);
    if known.len() >= OF_ONE {
        return Err(Refused::forbidden(format!("you have {OF_ONE} passkeys"), "remove one that you don't use"));
    }
    let challenge = random::bytes()?;
    let purpose = Purpose::Enrol { session: session.id.clone(), person: person.clone(), name: name.to_owned(), leave };
    console.challenges().put(challenge, purpose, now_ms);
    let algorithms: Vec<Value> = ALGORITHMS.iter().map(|alg| json!({"type": "public-key", "alg": alg})).collect();
    let excluded: Vec<Value> = known.iter().map(|key| json!({"type": "public-key", "id": text(&key.id)})).collect();
    Ok(Json(json!({
        "challenge": text(&challenge),
        "rp": {"id": console.site().party(), "name": "Bailiwick"},
        "user": {"id": text(&handle_of(person)), "name": person, "displayName": person},
        "pubKeyCredParams": algorithms,
        "authenticatorSelection": {"residentKey": "required", "requireResidentKey": true, "userVerification": "required"},
        "attestation": "none", "timeout": PATIENCE_MS, "excludeCredentials": excluded,
    })))
}

/// `POST /passkeys/add`
pub(crate) async fn add(State(console): State<Arc<Console>>, posted: Posted) -> Result<Redirect, Refused> {
    let (session, now_ms) = (posted.session(), console.house().now_ms());
    let unfit = |fault: PasskeyFault| Refused::forbidden(format!("the passkey was not added: {fault}"), "try again");
    let answer = Registration::read(posted.fields().need("credential")?).map_err(unfit)?;
    let challenge = answer.challenge().map_err(unfit)?;
    let (person, name, leave) = match console.challenges().take(&challenge, now_ms) {
        Some(Purpose::Enrol { session: of, person, name, leave }) if of == session.id && person == session.person => {
            (person, name, leave)
        }
        _ => return Err(unfit(PasskeyFault::Challenge)),
    };
    let (origin, party) = (console.site().origin(), console.site().party());
    let key = answer.verify(Expected { challenge: &challenge, origin: &origin, party: &party }).map_err(unfit)?;
    if console.passkeys().find(&key.id).is_some() {
        return Err(Refused::new(StatusCode::CONFLICT, "this passkey is registered already", "use it to log in"));
    }
    // One step: whatever else was asked in this session, and whoever answers at the same time, adds none.
    let enrolment = console.sessions().take_enrolment(&session.id, now_ms);
    console.challenges().void_enrolments(&session.id);
    let (how, maker) = match (leave, enrolment) {
        (Leave::Proof { maker }, _) => ("proof", maker),
        (Leave::Ticket, Some(enrols)) if enrols.link.recovers => ("recovery link", Some(enrols.link.maker)),
        (Leave::Ticket, Some(enrols)) if console.passkeys().of(&person).is_empty() => ("link", Some(enrols.link.maker)),
        (Leave::Ticket, _) => return Err(no_ticket(&person)),
    };
    let with = json!({
        "passkey": name, "credential": text(&key.id), "public_key": text(&key.cose), "session": session.id, "by": how, "maker": maker,
        "backup_eligible": key.said.is_backup_eligible, "backed_up": key.said.is_backed_up,
    });
    console.note(Note { event: "passkey_added", by: person.clone(), about: person.clone(), why: None, with }).await?;
    let id = key.id.clone();
    let passkey = Passkey {
        id: key.id,
        person: person.clone(),
        name,
        cose: key.cose,
        count: key.said.count,
        is_backup_eligible: key.said.is_backup_eligible,
        is_backed_up: key.said.is_backed_up,
        added_ms: now_ms,
        used_ms: None,
        maker,
    };
    console.passkeys().add(passkey).await.map_err(|fault| Refused::unavailable(fault.to_string()))?;
    // They may have been taken out of the configuration while it was stored: what was removed then did not have this one.
    if console.person(&person).is_none() || console.sessions().by_id(&session.id, now_ms).is_none() {
        console.passkeys().remove(vec![id]).await.map_err(|fault| Refused::unavailable(fault.to_string()))?;
        return Err(Refused::forbidden("you were logged out meanwhile: the passkey was not kept", "log in again"));
    }
    Ok(Redirect::to("/passkeys"))
}

/// `POST /passkeys/{id}/remove`
pub(crate) async fn remove(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    signed: Signed,
) -> Result<Redirect, Refused> {
    let person = &signed.viewer().person.id;
    let unknown = || Refused::new(StatusCode::NOT_FOUND, "you have no such passkey", "the page `passkeys` lists them");
    let id = URL_SAFE_NO_PAD.decode(&id).map_err(|_| unknown())?;
    let all = console.passkeys().of(person);
    let passkey = all.iter().find(|passkey| passkey.id == id).ok_or_else(unknown)?;
    let enrols = |session: &Session| session.id == signed.viewer().session && may_enrol(session, console.house().now_ms());
    if all.len() == 1 && !console.sessions().of(person).iter().any(enrols) {
        let help = "add another one first, or log in with a one-time link (`bailiwick console --recover`)";
        return Err(Refused::new(StatusCode::CONFLICT, "this is your last passkey", help));
    }
    let with = json!({"passkey": passkey.name, "credential": text(&id), "proof": signed.signature().on_record()});
    console.note(Note { event: "passkey_removed", by: person.clone(), about: person.clone(), why: None, with }).await?;
    // In memory it is gone at once; and with it, before anything else is waited for, whoever is logged in by it.
    let removed = console.passkeys().remove(vec![id.clone()]);
    let by_it = |session: &Session| session.passkey.as_ref() == Some(&id);
    console.note_ended(console.sessions().end("its passkey was removed", by_it)).await;
    removed.await.map_err(|fault| Refused::unavailable(fault.to_string()))?;
    Ok(Redirect::to("/passkeys"))
}
