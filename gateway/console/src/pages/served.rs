//! Where the pages are: each asks what it shows at the desk, for who looks.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Query, RawQuery, State},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use bailiwick_store::Verdict;
use http::{StatusCode, header};
use maud::Markup;
use serde::Deserialize;

use super::{
    Decidable, Together, agents, apart, approval, audit, batch, batch_changed, call, changed_meanwhile, connector, connectors,
    credentials, decided_already, detections, grant, grants, halts, inbox, lease, live_calls, reviews,
};
use crate::{
    Viewer,
    desk::Wanted,
    events,
    person::Action,
    posted::Signed,
    refused::Refused,
    router::Console,
    sign::{BATCH_MOST, BatchWanted},
    views::{AuditQuery, Frame, Guard, LeaseFilter, Section},
};

/// Where the pages are.
pub(crate) fn routes() -> Router<Arc<Console>> {
    Router::new()
        .route("/", get(show_inbox))
        .route("/approvals/{id}", get(show_approval))
        // What agents and channels are told: short enough to be read out.
        .route("/a/{id}", get(show_approval))
        .route("/batch", get(show_batch))
        .route("/reviews", get(show_reviews))
        .route("/live", get(show_live))
        .route("/agents", get(show_agents))
        .route("/grants", get(show_grants))
        .route("/grants/{id}", get(show_grant))
        .route("/grants/{id}/revoke", post(revoke_grant))
        .route("/connectors", get(show_connectors))
        .route("/connectors/{id}", get(show_connector))
        .route("/credentials", get(show_credentials))
        .route("/credentials/{id}", get(show_lease))
        .route("/credentials/{id}/revoke", post(revoke_lease))
        .route("/halts", get(show_halts).post(freeze))
        .route("/halts/lift", post(thaw))
        .route("/detections", get(show_detections))
        .route("/audit", get(show_audit))
        .route("/calls/{id}", get(show_call))
        .route("/events", get(events::listen))
        .route("/assets/console.css", get(async || asset("text/css; charset=utf-8", include_str!("../../assets/console.css"))))
        .route(
            "/assets/console.js",
            get(async || asset("text/javascript; charset=utf-8", include_str!("../../assets/console.js"))),
        )
        .route("/assets/mark.svg", get(async || asset("image/svg+xml", include_str!("../../assets/mark.svg"))))
}

/// The same for everybody, and made with the binary: asked for anew after a while.
fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "max-age=300")], text).into_response()
}

/// What stands around a page for this viewer, who may see this part.
fn framed(console: &Arc<Console>, viewer: &Viewer, section: Section) -> Result<Frame, Refused> {
    viewer.may(section.action())?;
    Ok(around(console, viewer))
}

/// What stands around any page for this viewer.
pub(crate) fn around(console: &Arc<Console>, viewer: &Viewer) -> Frame {
    let (of, session) = (Arc::clone(console), viewer.session.clone());
    Frame {
        who: viewer.person.id.clone(),
        // A page of things that there are none of is no part of the menu.
        sections: Section::for_viewer(viewer)
            .into_iter()
            .filter(|section| *section != Section::Connections || console.desk().connections().is_some())
            .collect(),
        may_change: viewer.may(Action::Change).is_ok(),
        may_read: viewer.may(Action::SeeTrail).is_ok(),
        guard: Guard::new(move |path| of.tokens().make(&session, path)),
        ..console.desk().frame(viewer)
    }
}

fn nothing(what: &str) -> Refused {
    Refused::new(StatusCode::NOT_FOUND, format!("there is no such {what}"), "the lists show what there is")
}

#[derive(Debug, Default, Deserialize)]
struct WhichLeases {
    #[serde(default)]
    grant: Option<String>,
    #[serde(default)]
    connector: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Which {
    #[serde(default)]
    page: Option<usize>,
    #[serde(default)]
    all: bool,
}

async fn show_inbox(State(console): State<Arc<Console>>, viewer: Viewer, Query(which): Query<Which>) -> Result<Markup, Refused> {
    let frame = framed(&console, &viewer, Section::Inbox)?;
    Ok(inbox(&frame, &console.desk().inbox(&viewer, which.page.unwrap_or(1).max(1))))
}

async fn show_approval(State(console): State<Arc<Console>>, viewer: Viewer, Path(id): Path<String>) -> Result<Markup, Refused> {
    let frame = framed(&console, &viewer, Section::Inbox)?;
    let view = console.desk().approval(&viewer, &id).await.ok_or_else(|| nothing("approval"))?;
    Ok(approval(&frame, &view))
}

/// What keeps a decision about this from being taken: that it was decided already, or that something else was shown.
pub(crate) async fn decidable_now(console: &Arc<Console>, signed: &Signed, id: &str) -> Result<(), Response> {
    let viewer = signed.viewer();
    let frame = framed(console, viewer, Section::Inbox).map_err(IntoResponse::into_response)?;
    let view = console.desk().approval(viewer, id).await.ok_or_else(|| nothing("approval").into_response())?;
    if view.settled.is_some() {
        return Err((StatusCode::CONFLICT, decided_already(&frame, &view)).into_response());
    }
    let is_yes = signed.fields().text("verdict") == Some("approve");
    if is_yes && view.choices.type_code && !signed.fields().text("code").is_some_and(|code| is_code(code, &view.code)) {
        let help = "nothing was decided: go back, and type the code that the agent shows";
        return Err(Refused::new(StatusCode::BAD_REQUEST, "that is not the code of this call", help).into_response());
    }
    let shown = signed.fields().text("view");
    // A no is taken whatever was seen.
    if is_yes && shown != Some(Decidable::of(&view).view.to_string().as_str()) {
        return Err((StatusCode::CONFLICT, changed_meanwhile(&frame, &view)).into_response());
    }
    Ok(())
}

/// Several questions on one page: those that were chosen (`id`, as often as there are), or all like one (`like`).
async fn show_batch(State(console): State<Arc<Console>>, viewer: Viewer, RawQuery(query): RawQuery) -> Result<Markup, Refused> {
    let frame = framed(&console, &viewer, Section::Inbox)?;
    let mut ids: Vec<String> = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match name.as_ref() {
            "id" if !ids.iter().any(|known| *known == value) => ids.push(value.into_owned()),
            "like" => ids = console.desk().like(&viewer, &value, BATCH_MOST),
            _ => {}
        }
    }
    if ids.len() > BATCH_MOST {
        return Err(Refused::invalid(format!("at most {BATCH_MOST} calls are decided at once")));
    }
    let (mut views, mut out) = (Vec::new(), Vec::new());
    for id in &ids {
        match console.desk().one_of_many(&viewer, id) {
            Some(view) => match apart(&view) {
                None => views.push(view),
                Some(why) => out.push(why),
            },
            None => out.push(gone(id)),
        }
    }
    Ok(batch(&frame, &views, &out))
}

fn gone(id: &str) -> String {
    format!("{} is gone.", id.chars().take(40).collect::<String>())
}

/// What keeps a decision about these from being taken: which of them are not what was shown.
pub(crate) async fn batch_decidable_now(console: &Arc<Console>, signed: &Signed, wanted: &BatchWanted) -> Result<(), Response> {
    let viewer = signed.viewer();
    let frame = framed(console, viewer, Section::Inbox).map_err(IntoResponse::into_response)?;
    let (mut views, mut left, mut why) = (Vec::new(), Vec::new(), Vec::new());
    for (id, binding) in &wanted.approvals {
        let Some(view) = console.desk().one_of_many(viewer, id) else {
            why.push(gone(id));
            continue;
        };
        if let Some(apart) = apart(&view) {
            why.push(apart);
            continue;
        }
        left.push(id.clone());
        if view.binding_digest != binding.to_string() {
            why.push(format!("{} is of another call than the one that was shown.", view.code));
        }
        views.push(view);
    }
    // A no is taken whatever was seen of those that still wait.
    if why.is_empty() && wanted.verdict == Verdict::Approve && wanted.view != Some(Together::of(&views).view) {
        why.push("Something of what was shown is otherwise by now.".to_owned());
    }
    if why.is_empty() { Ok(()) } else { Err((StatusCode::CONFLICT, batch_changed(&frame, &left, &why)).into_response()) }
}

async fn show_reviews(State(console): State<Arc<Console>>, viewer: Viewer) -> Result<Markup, Refused> {
    let frame = framed(&console, &viewer, Section::Reviews)?;
    Ok(reviews(&frame, &console.desk().reviews(&viewer)))
}

/// As people type it.
fn is_code(typed: &str, code: &str) -> bool {
    let plain = |text: &str| text.chars().filter(|c| !c.is_whitespace() && *c != '-').collect::<String>().to_ascii_uppercase();
    plain(typed) == plain(code)
}

async fn show_live(State(console): State<Arc<Console>>, viewer: Viewer) -> Result<Markup, Refused> {
    let frame = framed(&console, &viewer, Section::Live)?;
    Ok(live_calls(&frame, &console.desk().live_calls()))
}

async fn show_agents(State(console): State<Arc<Console>>, viewer: Viewer) -> Result<Markup, Refused> {
    let frame = framed(&console, &viewer, Section::Agents)?;
    Ok(agents(&frame, &console.desk().agents()))
}

async fn show_grants(State(console): State<Arc<Console>>, viewer: Viewer, Query(which): Query<Which>) -> Result<Markup, Refused> {
    let frame = framed(&console, &viewer, Section::Grants)?;
    Ok(grants(&frame, &console.desk().grants(which.all), which.all))
}

async fn show_grant(State(console): State<Arc<Console>>, viewer: Viewer, Path(id): Path<String>) -> Result<Markup, Refused> {
    let frame = framed(&console, &viewer, Section::Grants)?;
    Ok(grant(&frame, &console.desk().grant(&id).ok_or_else(|| nothing("grant"))?))
}

async fn show_connectors(State(console): State<Arc<Console>>, viewer: Viewer) -> Result<Markup, Refused> {
    let frame = framed(&console, &viewer, Section::Connectors)?;
    Ok(connectors(&frame, &console.desk().connectors()))
}

async fn show_connector(State(console): State<Arc<Console>>, viewer: Viewer, Path(id): Path<String>) -> Result<Markup, Refused> {
    let frame = framed(&console, &viewer, Section::Connectors)?;
    Ok(connector(&frame, &console.desk().connector(&id).ok_or_else(|| nothing("connector"))?))
}

async fn show_halts(State(console): State<Arc<Console>>, viewer: Viewer) -> Result<Markup, Refused> {
    let frame = framed(&console, &viewer, Section::Halts)?;
    Ok(halts(&frame, &console.desk().halts()))
}

async fn show_detections(State(console): State<Arc<Console>>, viewer: Viewer) -> Result<Markup, Refused> {
    let frame = framed(&console, &viewer, Section::Detections)?;
    Ok(detections(&frame, &console.desk().detections(&viewer).await))
}

async fn show_audit(
    State(console): State<Arc<Console>>,
    viewer: Viewer,
    Query(query): Query<AuditQuery>,
) -> Result<Markup, Refused> {
    let frame = framed(&console, &viewer, Section::Audit)?;
    Ok(audit(&frame, &query, &console.desk().audit(&query).await))
}

async fn show_call(State(console): State<Arc<Console>>, viewer: Viewer, Path(id): Path<String>) -> Result<Markup, Refused> {
    let frame = framed(&console, &viewer, Section::Audit)?;
    Ok(call(&frame, &console.desk().call(&id).await.ok_or_else(|| nothing("call"))?))
}

async fn revoke_grant(State(console): State<Arc<Console>>, Path(id): Path<String>, signed: Signed) -> Result<Redirect, Refused> {
    let to = format!("/grants/{id}");
    change(&console, signed, |reason| Wanted::RevokeGrant { id, reason }).await?;
    Ok(Redirect::to(&to))
}

async fn show_credentials(
    State(console): State<Arc<Console>>,
    viewer: Viewer,
    Query(which): Query<WhichLeases>,
) -> Result<Markup, Refused> {
    let frame = framed(&console, &viewer, Section::Credentials)?;
    // What is typed into an address is shown, and so bounded.
    let named = |text: Option<String>| text.filter(|text| !text.is_empty()).map(|text| text.chars().take(80).collect::<String>());
    let filter = LeaseFilter { grant: named(which.grant), connector: named(which.connector) };
    Ok(credentials(&frame, &filter.of(console.desk().credentials()), &filter))
}

async fn show_lease(State(console): State<Arc<Console>>, viewer: Viewer, Path(id): Path<String>) -> Result<Markup, Refused> {
    let frame = framed(&console, &viewer, Section::Credentials)?;
    let row = console.desk().lease(&id).ok_or_else(|| nothing("lease"))?;
    Ok(lease(&frame, &row))
}

async fn revoke_lease(State(console): State<Arc<Console>>, Path(id): Path<String>, signed: Signed) -> Result<Redirect, Refused> {
    let to = format!("/credentials/{id}");
    change(&console, signed, |reason| Wanted::RevokeLease { id, reason }).await?;
    Ok(Redirect::to(&to))
}

async fn freeze(State(console): State<Arc<Console>>, signed: Signed) -> Result<Redirect, Refused> {
    let what = signed.fields().need("what")?.to_owned();
    change(&console, signed, |reason| Wanted::Freeze { what, reason }).await?;
    Ok(Redirect::to("/halts"))
}

async fn thaw(State(console): State<Arc<Console>>, signed: Signed) -> Result<Redirect, Refused> {
    let what = signed.fields().need("what")?.to_owned();
    change(&console, signed, |reason| Wanted::Thaw { what, reason }).await?;
    Ok(Redirect::to("/halts"))
}

/// Has something changed by who signed it, if they may.
async fn change(console: &Arc<Console>, signed: Signed, wanted: impl FnOnce(Option<String>) -> Wanted) -> Result<(), Refused> {
    signed.viewer().may(Action::Change)?;
    let reason = signed.fields().text("reason").map(str::trim).filter(|reason| !reason.is_empty()).map(str::to_owned);
    console.desk().change(wanted(reason), signed.into_signature()).await
}
