//! What somebody is answered who is not given what they asked for.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use maud::{Markup, html};

use crate::{pages, person::Forbidden};

/// Why not, in words for the person who reads it. What the operator reads is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    status: StatusCode,
    message: String,
    help: String,
    retry_after_s: Option<u64>,
}

impl Refused {
    /// With this status; what happened, and what to do next.
    pub fn new(status: StatusCode, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { status, message: message.into(), help: help.into(), retry_after_s: None }
    }

    /// The request is not what this place takes.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message, "go back, load the page anew and try again")
    }

    /// There is no such page.
    pub fn unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is no such page", "the start page shows what there is")
    }

    /// Whoever asks may not.
    pub fn forbidden(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message, help)
    }

    /// Something that this needs does not work.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message, "nothing was changed: the gateway's log says what to mend")
    }

    /// Too often.
    pub(crate) fn too_often(seconds: u64) -> Self {
        let message = "too many tries that failed";
        Self { retry_after_s: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, message, "wait a minute") }
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What happened.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do next.
    pub fn help(&self) -> &str {
        &self.help
    }
}

impl From<Forbidden> for Refused {
    fn from(forbidden: Forbidden) -> Self {
        Self::forbidden(forbidden.to_string(), "ask an admin, who gives roles in `[[people]]`")
    }
}

/// What a page says that refuses something, to be put into the frame of whoever reads it.
#[derive(Debug, Clone)]
pub(crate) struct Told(pub(crate) Markup);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = html! {
            h1 { (self.message) }
            p { (self.help) }
            p { a href="/" { "start page" } }
        };
        let mut response = (self.status, pages::framed("refused", &body)).into_response();
        // For who is logged in it stands where every other page does: the guard sees to that.
        response.extensions_mut().insert(Told(body));
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
