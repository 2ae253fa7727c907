//! Requests with a token that is bound to a key: each carries a proof of its own (RFC 9449, section 7).

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use bailiwick_pipeline::ports::Prover;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use secrecy::ExposeSecret as _;

use super::payload::Parcel;
use crate::{
    egress::{Client, Sent},
    link::Written,
};

const PROOF: HeaderName = HeaderName::from_static("dpop");
const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");
/// The longest nonce that is taken, bytes.
const NONCE_BYTES: usize = 1024;

/// The headers of a message, and what proves with it that the token among them is ours.
#[derive(Clone, Default)]
pub(super) struct Head {
    pub(super) headers: HeaderMap,
    pub(super) prover: Option<Arc<dyn Prover>>,
}

impl Head {
    /// Takes the nonce of an answer. Whether the request was refused for want of just that: then nothing was done, and it may be sent again.
    pub(super) fn heard(&self, response: &http::Response<Incoming>) -> bool {
        let Some(prover) = &self.prover else { return false };
        let mut given = response.headers().get_all(NONCE).iter();
        let (Some(nonce), None) = (given.next(), given.next()) else { return false };
        // Section 8.1: characters of RFC 6749, NQCHAR.
        let is_nonce = |text: &&str| {
            let is_plain = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
            !text.is_empty() && text.len() <= NONCE_BYTES && text.bytes().all(is_plain)
        };
        let Some(nonce) = nonce.to_str().ok().filter(is_nonce) else { return false };
        prover.heard(nonce);
        response.status() == StatusCode::UNAUTHORIZED && wants_nonce(response.headers())
    }
}

/// Whether a challenge of the scheme `DPoP` has the error that asks for a nonce.
fn wants_nonce(headers: &HeaderMap) -> bool {
    headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).any(|challenge| {
        let challenge = challenge.to_ascii_lowercase();
        let is_ours = challenge.split(',').any(|part| part.trim_start().split(' ').next() == Some("dpop"));
        is_ours && (challenge.contains("error=\"use_dpop_nonce\"") || challenge.contains("error=use_dpop_nonce"))
    })
}

/// Why there is no answer to a short message.
pub(super) enum NotSent {
    /// No proof could be made of its token: nothing was sent.
    Unproved(String),
    /// The client says why.
    Lost(legacy::Error),
}

/// A request with a fresh proof, where one is needed. Fails where none can be made: then nothing may be sent.
pub(super) fn request(uri: &Uri, method: Method, head: &Head, body: Sent) -> Result<http::Request<Sent>, String> {
    let mut headers = head.headers.clone();
    if let Some(prover) = &head.prover {
        // Section 4.2: without query and fragment.
        let whole = uri.to_string();
        let url = whole.split(['?', '#']).next().unwrap_or_default();
        let proof = prover.proof(method.as_str(), url).and_then(|proof| {
            HeaderValue::from_str(proof.expose_secret()).map_err(|_| "the proof is no line of plain text".to_owned())
        });
        let mut proof = proof.map_err(|why| format!("what it is lent is bound to a key, and that can't be proved: {why}"))?;
        proof.set_sensitive(true);
        headers.insert(PROOF, proof);
    }
    let mut request = http::Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri.clone();
    *request.headers_mut() = headers;
    Ok(request)
}

/// Sends a short message; once more where its server wants a nonce first.
pub(super) fn plain(
    client: Client,
    uri: Uri,
    (method, head): (Method, Head),
    text: Vec<u8>,
) -> impl Future<Output = Result<http::Response<Incoming>, NotSent>> + Send + 'static {
    let text = Bytes::from(text);
    async move {
        let body = || Either::Right(Full::new(Parcel::plain(text.clone())));
        let first = request(&uri, method.clone(), &head, body()).map_err(NotSent::Unproved)?;
        let response = client.request(first).await.map_err(NotSent::Lost)?;
        if !head.heard(&response) {
            return Ok(response);
        }
        drop(response);
        let second = request(&uri, method, &head, body()).map_err(NotSent::Unproved)?;
        let response = client.request(second).await.map_err(NotSent::Lost)?;
        head.heard(&response);
        Ok(response)
    }
}

/// One request that may be sent a second time, and is told as written once.
pub(super) struct Again {
    pub(super) head: Head,
    pub(super) text: Bytes,
    told: Arc<Told>,
}

impl Again {
    /// A request of which `written` is told.
    pub(super) fn new(head: Head, text: Bytes, written: Written) -> Self {
        let told = Told { written: Mutex::new(Some(written)), is_any: AtomicBool::new(false) };
        Self { head, text, told: Arc::new(told) }
    }

    /// To be told that one try is written.
    pub(super) fn written(&self) -> Written {
        let told = Arc::clone(&self.told);
        Box::new(move || told.is_any.store(true, Ordering::Release))
    }
}

/// INVARIANT: tells that a request is written when none of its tries will be written any more, so that what ends a grant waits for each.
struct Told {
    written: Mutex<Option<Written>>,
    is_any: AtomicBool,
}

impl Drop for Told {
    fn drop(&mut self) {
        let written = self.written.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let (true, Some(written)) = (self.is_any.load(Ordering::Acquire), written) {
            written();
        }
    }
}
