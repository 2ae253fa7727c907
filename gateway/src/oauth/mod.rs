//! Task grants by the standards of OAuth, beside `/mcp`: agents hand them on (token exchange, RFC 8693, with what is wanted as
//! authorization details, RFC 9396) and give them back (RFC 7009), servers of others look at them (RFC 7662), and clients find all of
//! that (RFC 9728, RFC 8414).
//!
//! Tokens are taken from the body and from `Authorization`, never from a query string. Every request here is on record as others are.

mod details;
mod exchange;
mod form;
mod introspect;
mod metadata;
mod reply;
mod revoke;
mod token;

use std::sync::Arc;

use bailiwick_pipeline::records::Outcome;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use hyper::body::Incoming;

use self::{exchange::Exchange, metadata::Document};
use crate::{
    runtime::Runtime,
    server::{Answers, Front, Line, Noted, Parts, Peer, Response, bare},
};

/// Every endpoint: its method and its path. A test goes through all of them.
pub const ENDPOINTS: [(&str, &str); 5] = [
    ("POST", "/oauth/token"),
    ("POST", "/oauth/revoke"),
    ("POST", "/oauth/introspect"),
    ("GET", "/.well-known/oauth-protected-resource/mcp"),
    ("GET", "/.well-known/oauth-authorization-server"),
];

/// What the agents' listeners serve: MCP, and this.
#[derive(Clone)]
pub struct Site {
    runtime: Arc<Runtime>,
}

impl Site {
    /// Over this gateway.
    pub fn new(runtime: &Arc<Runtime>) -> Self {
        Self { runtime: Arc::clone(runtime) }
    }

    /// A request that ended in a panic: on record, and no more is said of it.
    fn failed(&self, endpoint: Endpoint) -> Response {
        let noted = Noted {
            call: None,
            method: endpoint.as_str(),
            tool: None,
            id: None,
            protocol: "",
            transport: "",
            size: 0,
            agent: None,
            outcome: Outcome::InternalError,
            reason: Some("panic"),
            detail: Some("the request ended in a panic: the log says where"),
            arrived_ns: self.runtime.clock.now_ns(),
            is_decided: false,
        };
        if !self.runtime.front.write(&noted) {
            tracing::error!("a panic could not be put on record");
        }
        bare(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// What is asked for by a `POST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endpoint {
    Token,
    Revoke,
    Introspect,
}

impl Endpoint {
    fn at(path: &str) -> Option<Self> {
        match path {
            "/oauth/token" => Some(Self::Token),
            "/oauth/revoke" => Some(Self::Revoke),
            "/oauth/introspect" => Some(Self::Introspect),
            _ => None,
        }
    }

    /// The name that records bear.
    fn as_str(self) -> &'static str {
        match self {
            Self::Token => "oauth/token",
            Self::Revoke => "oauth/revoke",
            Self::Introspect => "oauth/introspect",
        }
    }
}

impl Answers for Site {
    type Body = Parts;

    async fn answer(&self, request: http::Request<Incoming>, peer: Option<Peer>) -> Response {
        let path = request.uri().path();
        if let Some(endpoint) = Endpoint::at(path) {
            let runtime = Arc::clone(&self.runtime);
            // On a task of its own: what was begun is seen through and put on record, even if whoever asked goes away.
            let answered = tokio::spawn(async move { Exchange::new(runtime, endpoint, peer).answer(request).await });
            return answered.await.unwrap_or_else(|_| self.failed(endpoint));
        }
        let url = self.runtime.front.url();
        if let Some((document, url)) = url.as_deref().and_then(|url| Some((Document::at(path, url)?, url))) {
            if let Err(away) = self.runtime.front.check_site(request.headers(), peer) {
                return reply::turned_away(&away).into_response();
            }
            return match *request.method() {
                Method::GET => reply::json(StatusCode::OK, &document.of(url)),
                _ => reply::only("GET"),
            };
        }
        self.runtime.front.answer(request, peer).await
    }

    fn on_line(response: &mut Response, line: &Arc<Line>) {
        response.body_mut().go_by(line);
    }
}

/// What a request without a good credential is answered with.
#[derive(Debug, Clone)]
pub(crate) struct Challenge {
    authenticate: HeaderValue,
    /// What a proof has to bear (RFC 9449, 9).
    nonce: Option<HeaderValue>,
}

impl Challenge {
    /// This, and nothing else.
    fn of(authenticate: HeaderValue) -> Self {
        Self { authenticate, nonce: None }
    }

    /// Puts it among the headers of an answer.
    pub(crate) fn put(self, headers: &mut HeaderMap) {
        headers.insert(header::WWW_AUTHENTICATE, self.authenticate);
        if let Some(nonce) = self.nonce {
            headers.insert(HeaderName::from_static("dpop-nonce"), nonce);
            // A nonce that somebody keeps is an old one soon (RFC 9449, 8.2).
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
    }
}

/// What a request without a good credential is answered with: how one is shown (RFC 6750), or that its proof is to be made anew with this
/// nonce in it (RFC 9449).
pub(crate) fn challenge(front: &Front, peer: Option<Peer>, nonce: Option<&str>) -> Challenge {
    match nonce.map(HeaderValue::from_str) {
        Some(Ok(nonce)) => {
            let wanted = "DPoP realm=\"bailiwick\", error=\"use_dpop_nonce\", \
                          error_description=\"the proof has to bear the nonce of this answer\"";
            Challenge { authenticate: HeaderValue::from_static(wanted), nonce: Some(nonce) }
        }
        _ => Challenge::of(bearer(front, peer)),
    }
}

/// Over TCP also where to find how a token is got (RFC 9728). On the socket there is nothing to find: its peer is known, or has a token.
fn bearer(front: &Front, peer: Option<Peer>) -> HeaderValue {
    let plain = HeaderValue::from_static("Bearer realm=\"bailiwick\"");
    let url = front.url().filter(|_| peer.is_none());
    let value = url.map(|url| format!("Bearer realm=\"bailiwick\", resource_metadata=\"{}\"", metadata::of_resource(&url)));
    value.and_then(|value| HeaderValue::from_str(&value).ok()).unwrap_or(plain)
}

/// Whose answer it is: nobody keeps it (RFC 6749, 5.1).
fn unkept(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
}

#[cfg(test)]
mod tests {
    use super::{ENDPOINTS, Endpoint, metadata::Document};

    #[test]
    fn every_endpoint_is_served_and_nothing_beside_it() {
        let url = "http://127.0.0.1:8931/mcp";
        for (method, path) in ENDPOINTS {
            assert_eq!(Endpoint::at(path).is_some(), method == "POST", "{path}");
            assert_eq!(Document::at(path, url).is_some(), method == "GET", "{path}");
        }
        for path in ["/oauth", "/oauth/token/", "/oauth/Token", "/oauth/authorize", "/.well-known/", "//oauth/token", "/mcp"] {
            assert!(Endpoint::at(path).is_none() && Document::at(path, url).is_none(), "{path}");
        }
    }
}
