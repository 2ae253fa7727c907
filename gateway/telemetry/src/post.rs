//! One batch to the collector: two attempts at most, one time limit around both.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{HeaderMap, RETRY_AFTER},
};
use tokio::time::{sleep, timeout};

use crate::encode::{backoff, rejected_spans};

/// Attempts per batch.
const ATTEMPTS: u32 = 2;
/// No answer of a collector is longer than this; what exceeds it isn't read.
const RESPONSE_LIMIT: usize = 64 * 1024;

/// Where the batches go.
pub(crate) struct Destination {
    /// The HTTP client. It follows no redirects: headers carry credentials.
    pub(crate) client: Client,
    /// The whole address.
    pub(crate) url: Url,
    /// The content type, and what the operator adds to each request: secret.
    pub(crate) headers: HeaderMap,
    /// The limit for one batch, all attempts together.
    pub(crate) timeout: Duration,
}

/// What became of a batch.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// The collector took it, but for so many spans, for the reason it gave.
    Taken {
        /// Spans it refused.
        rejected: u64,
        /// Its words for it.
        reason: String,
    },
    /// It is lost.
    Lost {
        /// Why, for the operator.
        reason: String,
    },
}

impl Destination {
    /// Sends one request body.
    pub(crate) async fn deliver(&self, body: Bytes) -> Delivery {
        match timeout(self.timeout, self.attempt_twice(body)).await {
            Ok(delivery) => delivery,
            Err(_) => Delivery::Lost { reason: format!("no answer within {} ms", self.timeout.as_millis()) },
        }
    }

    async fn attempt_twice(&self, body: Bytes) -> Delivery {
        let mut attempts_left = ATTEMPTS;
        loop {
            attempts_left -= 1;
            match (self.attempt(body.clone()).await, attempts_left) {
                (Attempt::Done(delivery), _) => return delivery,
                (Attempt::Again { reason, .. }, 0) => return Delivery::Lost { reason },
                (Attempt::Again { wait, .. }, _) => sleep(wait).await,
            }
        }
    }

    async fn attempt(&self, body: Bytes) -> Attempt {
        let request = self.client.post(self.url.clone()).headers(self.headers.clone()).body(body);
        match request.send().await {
            Ok(response) => judge(response).await,
            Err(error) => Attempt::Again { reason: innermost(error), wait: backoff(None) },
        }
    }

    /// The address without what may be secret in it.
    pub(crate) fn shown(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}://{}{port}{}", self.url.scheme(), self.url.host_str().unwrap_or_default(), self.url.path())
    }
}

enum Attempt {
    Done(Delivery),
    Again { reason: String, wait: Duration },
}

/// What an answer means (OTLP specification, "OTLP/HTTP response"): 429, 502, 503 and 504 may be tried again, no other.
async fn judge(response: Response) -> Attempt {
    let status = response.status();
    let reason = format!("the collector answered {}", status.as_u16());
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            Attempt::Again { reason, wait: backoff(asked) }
        }
        status if status.is_success() => {
            let (rejected, reason) = rejected_spans(&read_limited(response).await);
            Attempt::Done(Delivery::Taken { rejected, reason })
        }
        _ => Attempt::Done(Delivery::Lost { reason }),
    }
}

async fn read_limited(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        if body.len() + chunk.len() > RESPONSE_LIMIT {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    body
}

/// The last cause of an error says the most: "connection refused" instead of "error sending request".
fn innermost(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
