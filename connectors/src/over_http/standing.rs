//! The stream on which a server of an older version speaks unasked: opened by GET, read until it ends, and believed in nothing.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use bailiwick_pipeline::ports::SendFailure;
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};

use super::{
    HttpLink,
    exchange::{Kind, check_head, chunk_of, kind},
    headers,
    sse::Events,
};
use crate::{
    egress,
    link::{End, Link as _, Written},
    message::{self, Incoming},
    version::Version,
};

/// So many messages in a second, and the server has to wait.
const A_SECOND: u32 = 1000;

impl HttpLink {
    /// Hears what the server says unasked. A server that has no such stream (HTTP 405) says what it says in its answers alone.
    pub(super) async fn stand(&self, version: Version, opened: Written) -> Result<(), SendFailure> {
        let mut head = self.headers_for("stream", version);
        head.headers.remove(header::CONTENT_TYPE);
        head.headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        head.headers.remove(headers::METHOD);
        let mut response = tokio::select! {
            () = self.ending.cancelled() => return Ok(()),
            response = self.send(Method::GET, head, Vec::new()) => response.map_err(|fault| self.not_sent(fault))?,
        };
        check_head(&response)?;
        let status = response.status();
        match status {
            StatusCode::METHOD_NOT_ALLOWED => {
                opened();
                self.ending.cancelled().await;
                return Ok(());
            }
            StatusCode::NOT_FOUND if self.session.get().is_some() => {
                self.retire(End::expired());
                return Err(SendFailure::Closed("it has ended the session (HTTP 404)".to_owned()));
            }
            status if !status.is_success() => {
                return Err(SendFailure::Protocol(format!(
                    "it answers the request for its stream with HTTP {}",
                    status.as_u16()
                )));
            }
            _ if !matches!(kind(response.headers()), Kind::Events) => {
                return Err(SendFailure::Protocol("what it answers to the request for its stream is none".to_owned()));
            }
            _ => opened(),
        }
        let mut events = Events::new(self.max_message.load(Ordering::Relaxed));
        let mut second = (Instant::now(), 0_u32);
        loop {
            let chunk = tokio::select! {
                () = self.ending.cancelled() => return Ok(()),
                chunk = chunk_of(&mut response) => chunk,
            };
            let chunk = chunk.map_err(|fault| SendFailure::Closed(self.clean(&egress::words(&fault))))?;
            let Some(chunk) = chunk else { return Ok(()) };
            events.feed(chunk);
            while let Some(event) = events.next().map_err(|_| SendFailure::Protocol("an event is too long".to_owned()))? {
                self.take_unasked(&event, version);
                second.1 += 1;
            }
            let passed = second.0.elapsed();
            if second.1 >= A_SECOND && passed < Duration::from_secs(1) {
                tokio::time::sleep(Duration::from_secs(1).saturating_sub(passed)).await;
            }
            if passed >= Duration::from_secs(1) {
                second = (Instant::now(), 0);
            }
        }
    }

    fn take_unasked(&self, event: &Bytes, version: Version) {
        match message::read(event, self.max_message.load(Ordering::Relaxed)) {
            Ok(Incoming::Notification { method, news, told }) => {
                self.counters.notifications.rise();
                self.changes.heard(&method, told.as_ref());
                // It is about no call.
                if news.is_some() {
                    self.counters.stray_news.rise();
                }
            }
            Ok(Incoming::Request { id, method, .. }) => {
                self.counters.server_requests.rise();
                self.note("reply", message::reply(&id, &method), version);
            }
            Ok(Incoming::Answer { .. } | Incoming::Stray) => self.counters.unknown_ids.rise(),
            Err(_) => self.counters.garbage_lines.rise(),
        }
    }
}
