//! One request to these endpoints: what holds for all of them, from its headers to its record.

use std::sync::Arc;

use bailiwick_pipeline::{
    ids::{AgentId, CallId},
    ports::IdentityFailure,
    principal::{ClientCertificate, Credential, Presented, Principal},
    received::Transport,
    records::Outcome,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use secrecy::SecretString;

use super::{
    Endpoint, challenge,
    form::Form,
    introspect,
    reply::{Refused, turned_away},
    revoke, token,
};
use crate::{
    runtime::Runtime,
    server::{Front, Noted, Peer, Place, Response, TurnedAway, only},
};

/// The largest body, bytes: parameters are few and short.
const MOST: usize = 64 * 1024;

/// A request, and what is known of it so far.
pub(super) struct Exchange {
    pub(super) runtime: Arc<Runtime>,
    /// What it is called on record.
    pub(super) call: CallId,
    endpoint: Endpoint,
    peer: Option<Peer>,
    /// That of the connection, over TLS.
    certificate: Option<Arc<ClientCertificate>>,
    headers: HeaderMap,
    /// Whose it is, where that is proven.
    agent: Option<AgentId>,
    /// The server of others that asks.
    server: Option<String>,
    place: Option<Place>,
    size: usize,
    arrived_ns: u64,
    /// What was decided about it is on record already.
    pub(super) is_decided: bool,
}

/// How a request went that was answered as it should be, for its record.
pub(super) struct Done {
    pub(super) response: Response,
    /// What there is to say of it beyond that.
    pub(super) reason: Option<&'static str>,
    pub(super) detail: Option<String>,
}

impl Done {
    /// Answered so.
    pub(super) fn with(response: Response) -> Self {
        Self { response, reason: None, detail: None }
    }
}

impl Exchange {
    pub(super) fn new(runtime: Arc<Runtime>, endpoint: Endpoint, peer: Option<Peer>) -> Self {
        let (call, arrived_ns) = (runtime.front.call_id(), runtime.clock.now_ns());
        let (headers, agent, server, place) = (HeaderMap::new(), None, None, None);
        let (certificate, size, is_decided) = (None, 0, false);
        Self { runtime, call, endpoint, peer, certificate, headers, agent, server, place, size, arrived_ns, is_decided }
    }

    /// Answers it, and puts it on record.
    pub(super) async fn answer(mut self, request: Request<Incoming>) -> Response {
        let (mut head, body) = request.into_parts();
        self.certificate = head.extensions.remove::<Arc<ClientCertificate>>();
        self.headers = head.headers;
        let mut response = match self.run(&head.method, head.uri.query().is_some(), body).await {
            Ok(done) if self.note(Outcome::Success, done.reason, done.detail.as_deref()) => done.response,
            Ok(_) => Refused::unavailable("the gateway can't keep its record").into_response(),
            Err(refused) => {
                let detail = refused.detail.as_deref().unwrap_or(&refused.description);
                self.note(refused.outcome, Some(refused.reason), Some(detail));
                refused.into_response()
            }
        };
        if let Some(place) = self.place {
            response.body_mut().keep(place);
        }
        response
    }

    async fn run(&mut self, method: &Method, has_query: bool, body: Incoming) -> Result<Done, Refused> {
        self.front().check_site(&self.headers, self.peer).map_err(|away| turned_away(&away))?;
        if *method != Method::POST {
            let refused = Refused::invalid("invalid_request", "method", "only POST is served here");
            return Err(Refused { status: StatusCode::METHOD_NOT_ALLOWED, ..refused });
        }
        if has_query {
            let words = "parameters belong into the body: what is in a URL ends up in logs";
            return Err(Refused::invalid("invalid_request", "query", words));
        }
        let sender = match self.endpoint {
            Endpoint::Introspect => {
                self.server = Some(introspect::server(&self.headers, &self.runtime)?);
                None
            }
            Endpoint::Token | Endpoint::Revoke => self.sender().await?,
        };
        if let Some(sender) = &sender {
            self.admit(&sender.agent.id)?;
        }
        self.check_type()?;
        let body = self.body(body).await?;
        self.size = body.len();
        // It may have come slowly, and the gateway serve others by now.
        self.front().check_site(&self.headers, self.peer).map_err(|away| turned_away(&away))?;
        let form = Form::read(&body)?;
        match self.endpoint {
            Endpoint::Token => token::exchange(self, &form, sender).await,
            Endpoint::Revoke => revoke::revoke(self, &form, sender).await,
            Endpoint::Introspect => introspect::introspect(self, &form).await,
        }
    }

    /// Who sends it, where it says so beside its body.
    async fn sender(&self) -> Result<Option<Principal>, Refused> {
        let claims = self.peer.is_some() && self.headers.contains_key(HeaderName::from_static("bailiwick-agent"));
        if !claims && self.certificate.is_none() && !self.headers.contains_key(header::AUTHORIZATION) {
            return Ok(None);
        }
        let presented = self.presented();
        let unproven = |away: TurnedAway| {
            let challenge = challenge(self.front(), self.peer, away.nonce.as_deref());
            match away.nonce {
                Some(_) => Refused { error: "use_dpop_nonce", ..Refused::unproven(challenge, away.message) },
                None => Refused::unproven(challenge, "the credential of this request proves no agent"),
            }
        };
        self.front().authenticate(&presented).await.map(Some).map_err(unproven)
    }

    /// What its headers present: the sender, and the grant that is named beside it.
    pub(super) fn presented(&self) -> Presented {
        Front::presented(&Method::POST, &self.headers, self.peer, self.certificate.as_ref())
    }

    /// Whom a token of the body proves, as it would in the header of a call.
    pub(super) async fn prove(&self, token: &str) -> Result<Principal, IdentityFailure> {
        let credential = Credential::Bearer(SecretString::from(token.to_owned()));
        let presented = Presented { credential, grant: None };
        let principal = self.runtime.gateway.ports().identities.identify(&presented).await?;
        if principal.agent.disabled { Err(IdentityFailure::Disabled(principal.agent.id.clone())) } else { Ok(principal) }
    }

    /// The same for a token of whoever sends it: what is bound to a certificate is proven by the connection.
    pub(super) async fn prove_own(&self, token: &str) -> Result<Principal, IdentityFailure> {
        let Some(certificate) = self.certificate.as_ref().filter(|_| token.contains('.')) else { return self.prove(token).await };
        let bearer = Some(SecretString::from(token.to_owned()));
        let credential = Credential::Certificate { certificate: Arc::clone(certificate), bearer };
        self.runtime.gateway.ports().identities.identify(&Presented { credential, grant: None }).await
    }

    /// It is this agent's request, and counts as one of its own.
    pub(super) fn admit(&mut self, agent: &AgentId) -> Result<(), Refused> {
        if self.agent.is_some() {
            return Ok(());
        }
        self.agent = Some(agent.clone());
        let (place, full) = self.front().admit(agent).map_err(|away| turned_away(&away))?;
        self.place = Some(place);
        full.map_or(Ok(()), |away| Err(turned_away(&away)))
    }

    /// Whether whoever sends it is proven by a key or a certificate, and not by a token alone.
    pub(super) fn is_bound(&self) -> bool {
        self.certificate.is_some() || matches!(self.presented().credential, Credential::Bound { .. })
    }

    /// How it came.
    pub(super) fn transport(&self) -> Transport {
        if self.peer.is_some() { Transport::Stdio } else { Transport::Http }
    }

    fn front(&self) -> &Front {
        &self.runtime.front
    }

    fn check_type(&self) -> Result<(), Refused> {
        let kind = only(&self.headers, &header::CONTENT_TYPE).map(|kind| kind.to_ascii_lowercase().replace([' ', '"'], ""));
        let is_form = matches!(
            kind.as_deref(),
            Some("application/x-www-form-urlencoded" | "application/x-www-form-urlencoded;charset=utf-8")
        );
        let is_chunked = only(&self.headers, &header::TRANSFER_ENCODING).is_some_and(|how| how.eq_ignore_ascii_case("chunked"));
        let is_as_it_is = !self.headers.contains_key(header::CONTENT_ENCODING)
            && (is_chunked || !self.headers.contains_key(header::TRANSFER_ENCODING));
        if is_form && is_as_it_is {
            return Ok(());
        }
        let words = "Content-Type must be application/x-www-form-urlencoded, and the body sent as it is";
        let refused = Refused::invalid("invalid_request", "media_type", words);
        Err(Refused { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, ..refused })
    }

    /// All of the body, in time.
    async fn body(&self, body: Incoming) -> Result<Bytes, Refused> {
        let refused = |status, reason, words: &str| Refused { status, ..Refused::invalid("invalid_request", reason, words) };
        let reading = Limited::new(body, MOST).collect();
        match tokio::time::timeout(self.front().settings().body_timeout, reading).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is larger than 64 KiB"))
            }
            Ok(Err(_)) => Err(refused(StatusCode::BAD_REQUEST, "body", "the body can't be read")),
            Err(_) => Err(Refused {
                outcome: Outcome::Timeout,
                ..refused(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body came too slowly")
            }),
        }
    }

    fn note(&self, outcome: Outcome, reason: Option<&str>, detail: Option<&str>) -> bool {
        let of_server = self.server.as_ref().map(|server| match detail {
            Some(detail) => format!("resource server `{server}`: {detail}"),
            None => format!("resource server `{server}`"),
        });
        let noted = Noted {
            call: Some(&self.call),
            method: self.endpoint.as_str(),
            tool: None,
            id: None,
            protocol: "",
            transport: self.transport().as_str(),
            size: self.size,
            agent: self.agent.as_ref(),
            outcome,
            reason,
            detail: of_server.as_deref().or(detail),
            arrived_ns: self.arrived_ns,
            is_decided: self.is_decided,
        };
        // A server that the operator registered is no stranger.
        if self.server.is_some() { self.front().write(&noted) } else { self.front().on_record(&noted) }
    }
}
