//! `/connections`: the servers that want an owner's consent, and whose they have. Who consents goes to the server's issuer and comes back.
//!
//! A consent lets agents act in somebody's name: to begin one, and to end one, is signed like whatever else changes something. What the browser
//! comes back with counts once, in the session that began it.

use std::{fmt, sync::Arc};

use axum::{
    extract::{Path, Query, State},
    response::Redirect,
};
use http::{HeaderMap, StatusCode};
use maud::{Markup, html};
use serde::Deserialize;

use crate::{
    desk::Soon,
    pages::{self, Watch, proof},
    person::{Action, Viewer},
    posted::Signed,
    refused::Refused,
    router::Console,
    sign::Signature,
    views::{Frame, Section},
};

/// Where the browser comes back to.
pub(crate) const CALLBACK: &str = "/connections/callback";

/// The same for one issuer alone.
pub(crate) const CALLBACK_OF_ONE: &str = "/connections/callback/{place}";

/// What the console asks of the gateway about consents. Each answer is made for who asks; whether they may is judged there.
pub trait Connections: Send + Sync + 'static {
    /// Those of the owners that this viewer may consent for.
    fn rows(&self, viewer: &Viewer) -> Result<Vec<ConnectionRow>, Refused>;

    /// Begins a consent of this owner to this connector's server.
    fn begin<'a>(&'a self, signature: Signature, which: Which, redirect_uri: &'a str) -> Soon<'a, Result<Onward, Refused>>;

    /// A consent comes about, or not.
    fn come_back<'a>(&'a self, viewer: &'a Viewer, answer: Returned) -> Soon<'a, Result<(), Refused>>;

    /// Ends a consent.
    fn end(&self, signature: Signature, which: Which) -> Soon<'_, Result<(), Refused>>;
}

/// A consent: whose, and to what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Which {
    /// The connector, by id.
    pub connector: String,
    /// The owner, as grants name them.
    pub owner: String,
}

/// Where somebody goes on who consents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onward {
    /// The address.
    pub url: String,
    /// Whose that is.
    pub issuer: String,
    /// What they are asked for there.
    pub scopes: Vec<String>,
}

/// What the browser came back with (RFC 6749, section 4.1.2; RFC 9207 for `iss`).
#[derive(Clone, Default, Deserialize)]
pub struct Returned {
    /// The code.
    #[serde(default)]
    pub code: Option<String>,
    /// The state that was sent along.
    #[serde(default)]
    pub state: Option<String>,
    /// Who says so.
    #[serde(default)]
    pub iss: Option<String>,
    /// Why not.
    #[serde(default)]
    pub error: Option<String>,
    /// Where it came back to, below the address that all issuers share; none where it is that one.
    #[serde(skip)]
    pub place: Option<String>,
}

impl fmt::Debug for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { iss, error, .. } = self;
        f.debug_struct("Returned").field("iss", iss).field("error", error).finish_non_exhaustive()
    }
}

/// One owner and one connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionRow {
    /// The connector, by id.
    pub connector: String,
    /// Its server.
    pub server: String,
    /// The owner.
    pub owner: String,
    /// What there is; none where nobody has consented.
    pub given: Option<Given>,
}

/// A consent that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// At which issuer.
    pub issuer: String,
    /// To what.
    pub scopes: Vec<String>,
    /// By whom.
    pub by: String,
    /// Since when, unix milliseconds.
    pub since_ms: u64,
}

fn of(console: &Console) -> Result<Arc<dyn Connections>, Refused> {
    let none =
        || Refused::new(StatusCode::NOT_FOUND, "nothing here wants a consent", "connectors with a provider of the kind `mcp` do");
    console.desk().connections().ok_or_else(none)
}

/// `GET /connections`
pub(crate) async fn show(State(console): State<Arc<Console>>, viewer: Viewer) -> Result<Markup, Refused> {
    viewer.may(Action::ManageSelf)?;
    let frame = pages::around(&console, &viewer);
    let rows = of(&console)?.rows(&viewer)?;
    Ok(list(&frame, &rows))
}

/// The page.
pub(crate) fn list(frame: &Frame, rows: &[ConnectionRow]) -> Markup {
    let body = html! {
        h1 { "Connections" }
        p.lead { "Servers that agents use in an owner's name. Whoever connects lets the tasks of that owner use the server with their rights; each task gets a token of its own, which is taken back when it ends." }
        @if rows.is_empty() {
            (pages::empty("Nothing of yours wants a consent.", "A connector with a provider of the kind `mcp` appears here, for each owner that you are or belong to."))
        }
        @for (number, row) in rows.iter().enumerate() { (card(frame, row, number)) }
    };
    pages::page(frame, Section::Connections, "Connections", Watch::Still, &body)
}

fn card(frame: &Frame, row: &ConnectionRow, number: usize) -> Markup {
    let id = format!("connection-{number}");
    html! {
        section.card id=(id) {
            h2 data-row tabindex="-1" { (row.connector) " for " (row.owner) " " (pages::state(if row.given.is_some() { "connected" } else { "not_connected" })) }
            p.quiet.mono { (row.server) }
            @if let Some(given) = &row.given {
                dl.facts {
                    div { dt { "Issuer" } dd.mono { (given.issuer) } }
                    div { dt { "Scopes" } dd { @if given.scopes.is_empty() { span.quiet { "none named" } } @else { (given.scopes.join(" ")) } } }
                    div { dt { "Connected" } dd { (pages::ago(given.since_ms, frame.now_ms)) " by " (given.by) } }
                }
                (form(frame, row, &format!("end-{number}"), "/connections/end", "Disconnect", "deny"))
                (form(frame, row, &format!("again-{number}"), "/connections/begin", "Connect again", "plain"))
            } @else {
                p { "Its tasks get no credential until somebody connects: their calls are refused." }
                (form(frame, row, &format!("begin-{number}"), "/connections/begin", "Connect", "approve"))
            }
        }
    }
}

fn form(frame: &Frame, row: &ConnectionRow, of: &str, to: &str, what: &str, tone: &str) -> Markup {
    html! {
        form.answer method="post" action=(to) data-sign {
            input type="hidden" name="connector" value=(row.connector);
            input type="hidden" name="owner" value=(row.owner);
            (proof(frame, to, of))
            button class=(tone) type="submit" { (what) }
        }
    }
}

fn which(signed: &Signed) -> Result<Which, Refused> {
    let text = |name| signed.fields().need(name).map(str::to_owned);
    Ok(Which { connector: text("connector")?, owner: text("owner")? })
}

/// `POST /connections/begin`: a page that says where it goes on. A form may not lead to another site, and whoever consents should see which.
pub(crate) async fn begin(State(console): State<Arc<Console>>, signed: Signed) -> Result<Markup, Refused> {
    signed.viewer().may(Action::ManageSelf)?;
    let (which, frame) = (which(&signed)?, pages::around(&console, signed.viewer()));
    let redirect_uri = format!("{}{CALLBACK}", console.site().origin());
    let onward = of(&console)?.begin(signed.into_signature(), which.clone(), &redirect_uri).await?;
    // Where the button leads, not what somebody calls it.
    let there = onward.url.parse::<http::Uri>().ok().and_then(|url| url.authority().map(ToString::to_string));
    let there = there.unwrap_or_default();
    let body = html! {
        h1 { "Connect " (which.connector) " for " (which.owner) }
        p { "You go on at " strong.mono { (there) } ", for the issuer " strong.mono { (onward.issuer) } ". Log in there as who the agents are to act for, and look at what is asked." }
        @if onward.scopes.is_empty() {
            p { "Nothing says which rights that are: the issuer does." }
        } @else {
            p { "You are asked for: " } ul { @for scope in &onward.scopes { li.mono { (scope) } } }
        }
        p { a.button #onward href=(onward.url) rel="noreferrer" { "Go on" } " " a href="/connections" { "Not now" } }
    };
    Ok(pages::page(&frame, Section::Connections, "Connect", Watch::Still, &body))
}

/// `GET /connections/callback`, and `GET /connections/callback/…`, where only one issuer sends its answers: nothing but what this session began
/// comes about by it.
pub(crate) async fn come_back(
    State(console): State<Arc<Console>>,
    place: Option<Path<String>>,
    Query(answer): Query<Returned>,
    headers: HeaderMap,
) -> Result<Redirect, Refused> {
    let answer = Returned { place: place.map(|Path(place)| place), ..answer };
    let viewer = console.viewer(&headers).await.ok_or_else(|| {
        let help = "log in, and connect again: an answer counts in the session that began it";
        Refused::new(StatusCode::UNAUTHORIZED, "you are not logged in", help)
    })?;
    viewer.may(Action::ManageSelf)?;
    of(&console)?.come_back(&viewer, answer).await?;
    Ok(Redirect::to("/connections"))
}

/// `POST /connections/end`
pub(crate) async fn end(State(console): State<Arc<Console>>, signed: Signed) -> Result<Redirect, Refused> {
    signed.viewer().may(Action::ManageSelf)?;
    let which = which(&signed)?;
    of(&console)?.end(signed.into_signature(), which).await?;
    Ok(Redirect::to("/connections"))
}
