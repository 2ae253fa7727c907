//! One message to a place that an admin named and that is no MCP server: through the same door as calls, its addresses judged alike. No
//! redirect is followed, and nothing of the answer is believed but its status.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Either, Full};

use crate::{
    egress::{self, Client, SystemLookup},
    over_http::Parcel,
    spec::HttpSpec,
};

/// How long a connection may take to come about, TLS included.
const CONNECTING: Duration = Duration::from_secs(5);

/// How much of an answer is read, so that its connection can be used again; more ends the connection.
const READ: usize = 16 * 1024;

/// How much of an answer is shown to an operator, in characters.
const SHOWN: usize = 200;

/// Posts to one URL.
#[derive(Clone)]
pub struct Poster {
    client: Client,
    to: Uri,
    patience: Duration,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// The status.
    pub status: StatusCode,
    /// How long to wait before the next try, if it says so in seconds (RFC 9110, 10.2.3).
    pub retry_after: Option<Duration>,
    /// The beginning of what it says, for an operator: not to be believed.
    pub words: String,
}

impl Poster {
    /// Posts there; `patience` is how long one message may take in all. The error says why that can't be.
    pub async fn to(spec: &HttpSpec, patience: Duration) -> Result<Self, String> {
        let to = spec.url.as_str().parse().map_err(|fault| format!("its URL can't be asked for: {fault}"))?;
        let client = egress::client(spec, Arc::new(SystemLookup), CONNECTING.min(patience)).await?;
        Ok(Self { client, to, patience })
    }

    /// Posts this. The error says why no answer came; then nobody knows whether it arrived.
    pub async fn post(&self, headers: HeaderMap, body: Bytes) -> Result<Posted, String> {
        let body = Either::Right(Full::new(Parcel::plain(body)));
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.to.clone();
        *request.headers_mut() = headers;
        let answered = async {
            let answer = self.client.request(request).await.map_err(|fault| egress::words(&fault))?;
            let (head, mut body) = answer.into_parts();
            let mut read = Vec::new();
            while let Some(Ok(frame)) = body.frame().await {
                let Ok(data) = frame.into_data() else { continue };
                let left = READ.saturating_sub(read.len());
                read.extend(data.iter().take(left));
                if read.len() >= READ {
                    break;
                }
            }
            let after = head.headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            let words = String::from_utf8_lossy(&read).chars().take(SHOWN).collect();
            Ok(Posted { status: head.status, retry_after: after.map(Duration::from_secs), words })
        };
        let late = || format!("no answer within {} s", self.patience.as_secs());
        tokio::time::timeout(self.patience, answered).await.unwrap_or_else(|_| Err(late()))
    }
}

impl std::fmt::Debug for Poster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The path of such a URL is often a secret.
        f.debug_struct("Poster").field("to", &self.to.authority()).finish_non_exhaustive()
    }
}
