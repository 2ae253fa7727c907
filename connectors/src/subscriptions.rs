//! Resources that somebody watches: each asked of its server once, however many watch it, and called off with the last.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bailiwick_pipeline::{
    gates::Watching,
    ports::{Later, SendFailure, Watch, Watched},
};
use tokio_util::sync::CancellationToken;

use crate::{
    link::{Body, Request},
    message::{Answer, quoted},
    session::{InUse, Session, beside},
};

/// How long a server may take to hear that nobody watches any more.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a server of an older version may take to open its stream.
const STREAM_PATIENCE: Duration = Duration::from_secs(3);

/// What a server of an older version was asked for: each resource, and whether it is subscribed. Locked while it is being asked.
#[derive(Default)]
pub(crate) struct Asked(Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<bool>>>>);

impl Asked {
    fn of(&self, uri: &str) -> Arc<tokio::sync::Mutex<bool>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(uri.to_owned()).or_default())
    }

    /// Forgets one that nobody asks about.
    fn forget(&self, uri: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(uri).is_some_and(|one| Arc::strong_count(one) == 1) {
            all.remove(uri);
        }
    }
}

/// A resource that is watched in a session, until dropped.
struct Watcher {
    session: InUse,
    uri: String,
    number: u64,
}

/// Watches a resource. Returns once its server has agreed, or said why not.
pub(crate) async fn watch(session: InUse, mut watching: Watching) -> Result<Watched, SendFailure> {
    let (hello, uri) = (session.hello(), watching.uri().to_owned());
    if !hello.tells.updates {
        // Nothing has been sent: what would be refused is not asked for.
        let message = "its server does not tell of resources that change".to_owned();
        return Ok(Watched::Refused { code: -32000, message, data: None });
    }
    let is_modern = hello.version.is_modern();
    let (timeout, cancelled, written) = (watching.timeout(), watching.cancelled().clone(), watching.when_written());
    let number = session.link().changes().announcements().add(&uri, watching.watcher());
    let watcher = Watcher { session, uri, number };
    let session = watcher.session.handle();
    let asked = async {
        let round = session.hearing().ask(session);
        let patience = if is_modern { timeout } else { timeout.min(STREAM_PATIENCE) };
        let heard = session.hearing().settled(round, patience).await;
        if is_modern {
            written();
            let uris = heard.map_err(SendFailure::Protocol)?;
            if uris.contains(&watcher.uri) {
                return Ok(None);
            }
            let message = "its server does not agree to tell of it".to_owned();
            return Ok(Some(Watched::Refused { code: -32000, message, data: None }));
        }
        // Without a stream it may still tell while it answers calls.
        drop(heard);
        subscribe(session, &watcher.uri, timeout, &cancelled, written).await
    };
    let asked = tokio::select! {
        biased;
        () = cancelled.cancelled() => return Err(SendFailure::Unsent("the grant has ended".to_owned())),
        asked = tokio::time::timeout(timeout, asked) => asked,
    };
    let late = SendFailure::Timeout(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
    Ok(asked.unwrap_or(Err(late))?.unwrap_or_else(|| Watched::Held(Box::new(watcher))))
}

/// Subscribes in the way of older versions, where that was not done; what the server refuses, it refuses for this one.
async fn subscribe(
    session: &Session,
    uri: &str,
    timeout: Duration,
    cancelled: &CancellationToken,
    written: impl FnOnce() + Send + 'static,
) -> Result<Option<Watched>, SendFailure> {
    let asked = session.asked().of(uri);
    let mut is_subscribed = asked.lock().await;
    if *is_subscribed {
        written();
        return Ok(None);
    }
    let answer = ask(session, "resources/subscribe", uri, timeout, cancelled, Box::new(written)).await?;
    match answer {
        Answer::Result(_) => {
            *is_subscribed = true;
            Ok(None)
        }
        Answer::Error { code, message, data } => Ok(Some(Watched::Refused { code, message, data })),
    }
}

async fn ask(
    session: &Session,
    method: &'static str,
    uri: &str,
    timeout: Duration,
    cancelled: &CancellationToken,
    written: crate::link::Written,
) -> Result<Answer, SendFailure> {
    let members = format!("\"uri\":{}", quoted(uri));
    let (body, version) = (Body::Own { method, members: &members }, session.hello().version);
    session.link().request(Request { body, version, timeout, cancelled, written, ear: None }).await
}

impl Watch for Watcher {
    fn lost(&self) -> Later<'_, ()> {
        Box::pin(self.session.hearing().lost().cancelled())
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let announcements = self.session.link().changes().announcements();
        announcements.remove(&self.uri, self.number);
        if announcements.is_watched(&self.uri) || self.session.link().retired().is_some() {
            return;
        }
        let session = self.session.another();
        let uri = std::mem::take(&mut self.uri);
        if session.hello().version.is_modern() {
            session.hearing().ask(session.handle());
            return;
        }
        beside(async move {
            let asked = session.asked().of(&uri);
            let mut is_subscribed = asked.lock().await;
            // Somebody may have come meanwhile.
            if *is_subscribed && !session.link().changes().announcements().is_watched(&uri) {
                *is_subscribed = false;
                // A server that does not hear it says what nobody watches, and nobody is told.
                let _unheard =
                    ask(&session, "resources/unsubscribe", &uri, PATIENCE, &CancellationToken::new(), Box::new(|| {})).await;
            }
            drop(is_subscribed);
            drop(asked);
            session.asked().forget(&uri);
            // The stream may be of no more use either.
            session.hearing().ask(session.handle());
        });
    }
}
