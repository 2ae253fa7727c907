//! What these endpoints answer: JSON, and errors in the words of RFC 6749, 5.2.

use bailiwick_pipeline::records::Outcome;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::{Challenge, unkept};
use crate::server::{Parts, Response, TurnedAway, bare};

/// Why a request is refused: what its sender hears, and what the record keeps.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    /// The code of the standards.
    pub(super) error: &'static str,
    /// What to do about it, for whoever sent it.
    pub(super) description: String,
    pub(super) outcome: Outcome,
    /// Why, in one word.
    pub(super) reason: &'static str,
    /// Why, for operators, where they hear more.
    pub(super) detail: Option<Box<str>>,
    /// What a good credential would be shown as, where there is none.
    pub(super) challenge: Option<Box<Challenge>>,
}

impl Refused {
    /// A request that is not what it must be.
    pub(super) fn invalid(error: &'static str, reason: &'static str, description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error,
            description: description.into(),
            outcome: Outcome::Invalid,
            reason,
            detail: None,
            challenge: None,
        }
    }

    /// A request that may not be.
    pub(super) fn denied(error: &'static str, reason: &'static str, description: impl Into<String>) -> Self {
        Self { outcome: Outcome::Denied, ..Self::invalid(error, reason, description) }
    }

    /// Nobody is proven to have sent it (RFC 6749, 5.2: `invalid_client`).
    pub(super) fn unproven(challenge: Challenge, description: impl Into<String>) -> Self {
        Self {
            status: StatusCode::UNAUTHORIZED,
            outcome: Outcome::Unauthenticated,
            challenge: Some(Box::new(challenge)),
            ..Self::invalid("invalid_client", "unauthenticated", description)
        }
    }

    /// The gateway can't do it now.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        let description = "the gateway can't do this now: try again later";
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            outcome: Outcome::InternalError,
            detail: Some(detail.into().into()),
            ..Self::invalid("temporarily_unavailable", "unavailable", description)
        }
    }

    /// The same, and operators hear this.
    pub(super) fn because(self, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into().into()), ..self }
    }

    pub(super) fn into_response(self) -> Response {
        let body = json!({"error": self.error, "error_description": describable(&self.description)});
        let mut response = json(self.status, &body);
        if let Some(challenge) = self.challenge {
            challenge.put(response.headers_mut());
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        }
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// What any request here may be turned away for, in these words.
pub(super) fn turned_away(away: &TurnedAway) -> Refused {
    let error = match away.status {
        StatusCode::UNAUTHORIZED => "invalid_client",
        StatusCode::TOO_MANY_REQUESTS => "temporarily_unavailable",
        _ => "invalid_request",
    };
    Refused { status: away.status, outcome: away.outcome, ..Refused::invalid(error, away.reason, away.message.clone()) }
}

/// An answer that nobody keeps.
pub(super) fn json(status: StatusCode, body: &Value) -> Response {
    let mut response = bare(status);
    *response.body_mut() = Parts::from(body.to_string());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    unkept(&mut response);
    response
}

/// An answer without words.
pub(super) fn empty() -> Response {
    let mut response = bare(StatusCode::OK);
    unkept(&mut response);
    response
}

/// Another method than the one there is.
pub(super) fn only(method: &'static str) -> Response {
    let mut response = bare(StatusCode::METHOD_NOT_ALLOWED);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(method));
    response
}

/// Only what an `error_description` may hold (RFC 6749, 5.2): printable ASCII without `"` and `\`.
fn describable(text: &str) -> String {
    let plain = |c: char| match c {
        '"' | '`' => '\'',
        '\\' => '/',
        ' '..='~' => c,
        _ => '?',
    };
    text.chars().take(2000).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_holds_what_the_standard_lets_it() {
        assert_eq!(describable("`a\"b\\c` é\u{202e}\n~"), "'a'b/c' ???~");
        assert_eq!(describable(&"x".repeat(5000)).len(), 2000);
    }

    #[test]
    fn an_answer_is_kept_by_nobody() {
        for response in [json(StatusCode::OK, &json!({})), empty(), Refused::invalid("invalid_request", "x", "y").into_response()]
        {
            assert_eq!(response.headers().get(header::CACHE_CONTROL), Some(&HeaderValue::from_static("no-store")));
            assert_eq!(response.headers().get(header::PRAGMA), Some(&HeaderValue::from_static("no-cache")));
        }
    }
}
