//! The operators' API, on `DATA/admin.sock` only.
//!
//! Whoever connects must run as the gateway's own user (or root): the kernel says so. That is enough to read. Whatever changes
//! something, or starts a process, needs the operator credential too, and is on record before it begins.
//!
//! A handler shows what it needs in its arguments: a `Visitor` to read, an `Operator` to
//! change. Both have one birthplace, and a test goes through all of [`ENDPOINTS`].

mod access;
pub(crate) mod agents;
pub mod api;
pub(crate) mod approvals;
mod bodies;
mod channels;
pub(crate) mod connectors;
mod console;
pub(crate) mod credentials;
pub(crate) mod deed;
mod definitions;
pub(crate) mod detections;
mod explain;
pub(crate) mod fault;
pub(crate) mod grants;
pub(crate) mod halts;
mod openapi;
mod person;
mod proposal;
mod reload;
mod requests;
mod status;
#[cfg(test)]
mod tests;
mod trial;

use std::sync::Arc;

use axum::{
    Router,
    routing::{get, post},
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::runtime::Runtime;
pub(crate) use access::AtConsole;
pub(crate) use connectors::pins_of;
pub(crate) use deed::Deed;
pub use deed::{AdminRecord, Stage, change_id};
pub(crate) use openapi::description;
pub use person::name_of;
pub(crate) use proposal::proposal;
pub(crate) use trial::trial;

/// Every endpoint: its method, its path, and whether it changes something.
pub const ENDPOINTS: [(&str, &str, bool); 47] = [
    ("GET", "/api/v1/status", false),
    ("POST", "/api/v1/reload", true),
    ("GET", "/api/v1/agents", false),
    ("GET", "/api/v1/agents/{id}", false),
    ("GET", "/api/v1/agents/{id}/explain", false),
    ("POST", "/api/v1/agents/{id}/tokens", true),
    ("POST", "/api/v1/agents/{id}/disable", true),
    ("POST", "/api/v1/agents/{id}/enable", true),
    ("POST", "/api/v1/tokens/{id}/revoke", true),
    ("GET", "/api/v1/connectors", false),
    ("GET", "/api/v1/connectors/{id}", false),
    ("POST", "/api/v1/connectors/{id}/discover", true),
    ("POST", "/api/v1/connectors/{id}/test", true),
    ("POST", "/api/v1/connectors/{id}/pins", true),
    ("GET", "/api/v1/grants", false),
    ("POST", "/api/v1/grants", true),
    ("GET", "/api/v1/grants/{id}", false),
    ("POST", "/api/v1/grants/{id}/handle", true),
    ("POST", "/api/v1/grants/{id}/complete", true),
    ("POST", "/api/v1/grants/{id}/revoke", true),
    ("GET", "/api/v1/channels", false),
    ("POST", "/api/v1/channels/{id}/test", true),
    ("GET", "/api/v1/credentials", false),
    ("GET", "/api/v1/credentials/ended", false),
    ("GET", "/api/v1/credentials/standing", false),
    ("GET", "/api/v1/credentials/{id}", false),
    ("POST", "/api/v1/credentials/{id}/revoke", true),
    ("GET", "/api/v1/detections", false),
    ("POST", "/api/v1/calls/{id}/bodies", true),
    ("GET", "/api/v1/halts", false),
    ("POST", "/api/v1/halts", true),
    ("POST", "/api/v1/halts/lift", true),
    ("GET", "/api/v1/approvals", false),
    ("GET", "/api/v1/habits", false),
    ("GET", "/api/v1/approvals/{id}", false),
    ("POST", "/api/v1/approvals/{id}/approve", true),
    ("POST", "/api/v1/approvals/{id}/deny", true),
    ("POST", "/api/v1/approvals/{id}/revoke", true),
    ("POST", "/api/v1/approvals/{id}/ack", true),
    ("POST", "/api/v1/approvals/{id}/break-glass", true),
    ("POST", "/api/v1/approvals/{id}/review", true),
    ("POST", "/api/v1/approvals/decide", true),
    ("GET", "/api/v1/requests", false),
    ("GET", "/api/v1/requests/{id}", false),
    ("POST", "/api/v1/requests/{id}/grant", true),
    ("POST", "/api/v1/requests/{id}/deny", true),
    ("POST", "/api/v1/console/links", true),
];

/// What is served where every request carries its peer.
pub fn router(runtime: Arc<Runtime>) -> Router {
    routes(runtime).fallback(nothing_here)
}

/// The routes. Who asks must be said with each request: by its peer, or by what was shown at the console.
pub(crate) fn routes(runtime: Arc<Runtime>) -> Router {
    Router::new()
        .route("/api/v1/status", get(status::show))
        .route("/api/v1/reload", post(reload::reload))
        .route("/api/v1/agents", get(agents::list))
        .route("/api/v1/agents/{id}", get(agents::show))
        .route("/api/v1/agents/{id}/explain", get(explain::foresee))
        .route("/api/v1/agents/{id}/tokens", post(agents::make_token))
        .route("/api/v1/agents/{id}/disable", post(halts::disable))
        .route("/api/v1/agents/{id}/enable", post(halts::enable))
        .route("/api/v1/tokens/{id}/revoke", post(agents::revoke_token))
        .route("/api/v1/connectors", get(connectors::list))
        .route("/api/v1/connectors/{id}", get(connectors::show))
        .route("/api/v1/connectors/{id}/discover", post(connectors::discover))
        .route("/api/v1/connectors/{id}/test", post(connectors::test))
        .route("/api/v1/connectors/{id}/pins", post(connectors::accept))
        .route("/api/v1/grants", get(grants::list).post(grants::create))
        .route("/api/v1/grants/{id}", get(grants::show))
        .route("/api/v1/grants/{id}/handle", post(grants::make_handle))
        .route("/api/v1/grants/{id}/complete", post(grants::complete))
        .route("/api/v1/grants/{id}/revoke", post(grants::revoke))
        .route("/api/v1/channels", get(channels::list))
        .route("/api/v1/channels/{id}/test", post(channels::test))
        .route("/api/v1/credentials", get(credentials::list))
        .route("/api/v1/credentials/ended", get(credentials::ended_last))
        .route("/api/v1/credentials/standing", get(credentials::standing))
        .route("/api/v1/credentials/{id}", get(credentials::show))
        .route("/api/v1/credentials/{id}/revoke", post(credentials::revoke))
        .route("/api/v1/detections", get(detections::list))
        .route("/api/v1/calls/{id}/bodies", post(bodies::open))
        .route("/api/v1/halts", get(halts::list).post(halts::freeze))
        .route("/api/v1/halts/lift", post(halts::thaw))
        .route("/api/v1/approvals", get(approvals::list))
        .route("/api/v1/habits", get(approvals::habits))
        .route("/api/v1/approvals/{id}", get(approvals::show))
        .route("/api/v1/approvals/{id}/approve", post(approvals::approve))
        .route("/api/v1/approvals/{id}/deny", post(approvals::deny))
        .route("/api/v1/approvals/{id}/revoke", post(approvals::revoke))
        .route("/api/v1/approvals/{id}/ack", post(approvals::acknowledge))
        .route("/api/v1/approvals/{id}/break-glass", post(approvals::break_glass))
        .route("/api/v1/approvals/{id}/review", post(approvals::review))
        .route("/api/v1/approvals/decide", post(approvals::decide_batch))
        .route("/api/v1/requests", get(requests::list))
        .route("/api/v1/requests/{id}", get(requests::show))
        .route("/api/v1/requests/{id}/grant", post(requests::grant))
        .route("/api/v1/requests/{id}/deny", post(requests::deny))
        .route("/api/v1/console/links", post(console::link))
        .with_state(runtime)
}

async fn nothing_here() -> fault::ApiFault {
    fault::ApiFault::unknown("there is no such endpoint", "`bailiwick --version` and the gateway's should be the same")
}

/// Which of a list.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Filter {
    /// Those that have ended too.
    #[serde(default)]
    all: bool,
}

/// A body of JSON; an empty one stands for `{}`.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, fault::ApiFault> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|why| fault::ApiFault::invalid(format!("the body can't be read: {why}")))
}

/// A person's words: one line, and not without end.
pub(crate) fn words(given: Option<String>) -> Result<Option<String>, fault::ApiFault> {
    match given {
        Some(text) if text.chars().count() > 500 || text.chars().any(bailiwick_schemas::text::is_invisible) => {
            Err(fault::ApiFault::invalid("a reason has at most 500 visible characters"))
        }
        Some(text) if text.trim().is_empty() => Ok(None),
        given => Ok(given),
    }
}
