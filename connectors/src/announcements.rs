//! What a server says unasked, and who hears it: that a resource changed, that a list did, and what it agreed to tell.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bailiwick_pipeline::ports::Watcher;
use bailiwick_schemas::json;
use bytes::Bytes;
use tokio::sync::watch;

/// The longest announcement that is looked into, and the longest URI in one, bytes.
const BYTES: usize = 64 * 1024;
const URI_BYTES: usize = 4096;

/// A resource changed.
pub(crate) const UPDATED: &str = "notifications/resources/updated";
/// What a server agreed to tell (MCP 2026-07-28).
const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";

/// Whether the `params` of this notification matter.
pub(crate) fn is_told(method: &str) -> bool {
    method == UPDATED || method == ACKNOWLEDGED
}

/// How often a server has said of each list that it changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) tools: u64,
    pub(crate) resources: u64,
    pub(crate) prompts: u64,
}

/// What a server agreed to tell, and how often it has agreed to anything.
#[derive(Debug, Clone, Default)]
pub(crate) struct Agreed {
    pub(crate) times: u64,
    pub(crate) uris: Arc<BTreeSet<String>>,
}

/// Who watches which resource, each under a number.
type Watchers = BTreeMap<String, BTreeMap<u64, Arc<dyn Watcher>>>;

/// What a server says unasked, for whoever wants to hear it.
#[derive(Default)]
pub(crate) struct Announcements {
    said: watch::Sender<Said>,
    agreed: watch::Sender<Agreed>,
    watchers: Mutex<Watchers>,
    next: AtomicU64,
}

impl Announcements {
    /// Takes note of a notification. Never blocks.
    pub(crate) fn heard(&self, method: &str, params: Option<&Bytes>) {
        match method {
            "notifications/tools/list_changed" => self.said.send_modify(|said| said.tools += 1),
            "notifications/resources/list_changed" => self.said.send_modify(|said| said.resources += 1),
            "notifications/prompts/list_changed" => self.said.send_modify(|said| said.prompts += 1),
            UPDATED => {
                if let Some(uri) = params.and_then(uri_of) {
                    self.updated(&uri);
                }
            }
            ACKNOWLEDGED => {
                let uris = params.and_then(agreed_uris).unwrap_or_default();
                self.agreed.send_modify(|agreed| {
                    agreed.times += 1;
                    agreed.uris = Arc::new(uris);
                });
            }
            _ => {}
        }
    }

    /// How often lists were said to have changed.
    pub(crate) fn said(&self) -> watch::Receiver<Said> {
        self.said.subscribe()
    }

    /// What was agreed to.
    pub(crate) fn agreed(&self) -> watch::Receiver<Agreed> {
        self.agreed.subscribe()
    }

    /// Tells whoever watches this resource, or one that it is a part of.
    fn updated(&self, uri: &str) {
        let told: Vec<Arc<dyn Watcher>> = {
            let watchers = self.watchers();
            if watchers.is_empty() {
                return;
            }
            wholes(uri).filter_map(|whole| watchers.get(whole)).flat_map(BTreeMap::values).cloned().collect()
        };
        for watcher in told {
            watcher.changed(uri);
        }
    }

    /// Tells everybody that what they watch may have changed: nobody heard for a while.
    pub(crate) fn missed(&self) {
        let all: Vec<(String, Vec<Arc<dyn Watcher>>)> =
            self.watchers().iter().map(|(uri, watchers)| (uri.clone(), watchers.values().cloned().collect())).collect();
        for (uri, watchers) in all {
            for watcher in watchers {
                watcher.changed(&uri);
            }
        }
    }

    /// From now on it is told when this resource changes. Returns its number.
    pub(crate) fn add(&self, uri: &str, watcher: Arc<dyn Watcher>) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.watchers().entry(uri.to_owned()).or_default().insert(number, watcher);
        number
    }

    /// It is told no more.
    pub(crate) fn remove(&self, uri: &str, number: u64) {
        let mut watchers = self.watchers();
        if let Some(of) = watchers.get_mut(uri) {
            of.remove(&number);
            if of.is_empty() {
                watchers.remove(uri);
            }
        }
    }

    /// The resources that somebody watches.
    pub(crate) fn watched(&self) -> BTreeSet<String> {
        self.watchers().keys().cloned().collect()
    }

    /// Whether somebody watches this one.
    pub(crate) fn is_watched(&self, uri: &str) -> bool {
        self.watchers().contains_key(uri)
    }

    fn watchers(&self) -> MutexGuard<'_, Watchers> {
        // Each change under it is one step: a panic elsewhere leaves it whole.
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The URI itself, and those of which it names a part (MCP `server/resources`: what changed may be a sub-resource of what was subscribed).
fn wholes(uri: &str) -> impl Iterator<Item = &str> {
    let cuts = uri.char_indices().filter(|(_, c)| matches!(c, '/' | '?' | '#')).flat_map(|(at, _)| [at, at + 1]);
    let parts = cuts.filter(|end| *end > 0 && *end < uri.len()).filter_map(|end| uri.get(..end));
    std::iter::once(uri).chain(parts)
}

fn uri_of(params: &Bytes) -> Option<String> {
    let uri = member(params, "uri")?;
    let uri: String = serde_json::from_str(&uri).ok()?;
    (!uri.is_empty() && uri.len() <= URI_BYTES).then_some(uri)
}

fn agreed_uris(params: &Bytes) -> Option<BTreeSet<String>> {
    let notifications = member(params, "notifications")?;
    let fields = json::fields(&notifications).ok()?;
    let (_, uris) = fields.iter().find(|(key, _)| key == "resourceSubscriptions")?;
    serde_json::from_str(uris.get()).ok()
}

fn member(params: &Bytes, name: &str) -> Option<String> {
    let text = std::str::from_utf8(params).ok().filter(|text| text.len() <= BYTES)?;
    let fields = json::fields(text).ok()?;
    fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.get().to_owned())
}
