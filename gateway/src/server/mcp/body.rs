//! The body of a request, read in turn and in time.

use bailiwick_pipeline::{principal::Principal, records::Outcome};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};

use super::Exchange;
use crate::server::front::TurnedAway;

/// A body that is larger, or that doesn't say how large it is, waits for its turn among those of its agent.
const LARGE_BODY: u64 = 64 * 1024;
/// So much room is made at once for a body that says how long it is.
const ROOM: usize = 2 * 1024 * 1024;

impl Exchange<'_> {
    /// All of the body.
    pub(super) async fn body(&self, body: Incoming, principal: &Principal) -> Result<Bytes, TurnedAway> {
        let settings = self.front.settings();
        let is_large = body.size_hint().upper().is_none_or(|most| most > LARGE_BODY);
        let mut unread = Unread { exchange: self, is_over: false };
        let reading = tokio::time::timeout(settings.body_timeout, async {
            let _turn = if is_large { self.front.turn_to_read(&principal.agent.id).await } else { None };
            gathered(Limited::new(body, settings.max_body)).await
        });
        let read = reading.await;
        unread.is_over = true;
        match read {
            Ok(Ok(body)) => Ok(body),
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                let message = format!("the body is larger than {} bytes", settings.max_body);
                Err(TurnedAway::new(StatusCode::PAYLOAD_TOO_LARGE, Outcome::Invalid, "too_large", message))
            }
            Ok(Err(error)) => Err(TurnedAway::new(
                StatusCode::BAD_REQUEST,
                Outcome::Invalid,
                "body",
                format!("the body can't be read: {error}"),
            )),
            Err(_) => {
                Err(TurnedAway::new(StatusCode::REQUEST_TIMEOUT, Outcome::Timeout, "body_timeout", "the body came too slowly"))
            }
        }
    }
}

/// A request whose body is being read. The server drops it with its connection: then this puts it on record.
struct Unread<'e> {
    exchange: &'e Exchange<'e>,
    is_over: bool,
}

impl Drop for Unread<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.exchange.note(
                "unread",
                Outcome::Cancelled,
                Some("gone"),
                Some("the caller went away before its request was read"),
            );
        }
    }
}

/// All of a body in one piece. Usually it comes in one; what comes in many is copied at once, so that a body in chunks of one
/// byte takes no more memory than its bytes.
async fn gathered(mut body: Limited<Incoming>) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    // It says how long it is, and may not be longer than that; what it is not, it has only claimed room for.
    let length = body.size_hint().exact().and_then(|length| usize::try_from(length).ok()).unwrap_or(0).min(ROOM);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if all.is_empty() && first.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.reserve(length);
            }
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}
