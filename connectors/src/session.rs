//! One server, spoken to: the handshake, its tools, and whether a tool is still the pinned one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bailiwick_pipeline::ports::SendFailure;
use bailiwick_schemas::{
    canonical::Digest,
    definition::{Finding, read_list},
    json,
    names::ToolName,
};
use bytes::Bytes;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    link::{Body, End, Link, Request},
    message::{Answer, quoted},
};

/// Constant, because what a server lists may depend on it, and pins must hold.
const INITIALIZE: &str =
    r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"bailiwick","title":"Bailiwick","version":"1"}}"#;
/// The versions we understand in an answer, newest first.
const VERSIONS: &[&str] = &["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// The most pages of a tool list.
const PAGES: usize = 64;
/// The most tools of a server.
const TOOLS: usize = 4096;
/// The most bytes of all pages together.
const LIST_BYTES: usize = 16 * 1024 * 1024;
/// The longest cursor.
const CURSOR_BYTES: usize = 4096;

/// A server after the handshake.
pub(crate) struct Session {
    link: Arc<dyn Link>,
    hello: Hello,
    patience: Duration,
    relist_after: Duration,
    listing: tokio::sync::Mutex<Listing>,
    cache: ListCache,
    listed: Box<dyn Fn(&Reading) + Send + Sync>,
    opened: Instant,
    users: AtomicUsize,
    used: Mutex<Instant>,
}

/// What the server said of itself.
#[derive(Debug, Clone)]
pub(crate) struct Hello {
    pub(crate) protocol: String,
    pub(crate) server_info: Option<Value>,
    pub(crate) instructions: Option<String>,
}

/// The last reading among all children of one connector: as long as they list the same text, it is read once.
pub(crate) type ListCache = Arc<Mutex<Option<Arc<Reading>>>>;

/// A tool list, read.
pub(crate) struct Reading {
    /// Of the text as listed, all pages.
    text: Digest,
    tools: HashMap<String, Digest>,
    pub(crate) findings: Vec<Finding>,
    /// The definitions as listed.
    pub(crate) raw: Vec<Value>,
}

impl Reading {
    /// The digests of the acceptable tools, by name.
    pub(crate) fn digests(&self) -> BTreeMap<String, Digest> {
        self.tools.iter().map(|(name, digest)| (name.clone(), *digest)).collect()
    }
}

/// A reading, and when this server gave it.
struct Listing {
    reading: Arc<Reading>,
    changes: u64,
    at: Instant,
}

/// Why a tool can't be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// It is not, or no longer, what was pinned.
    Drifted {
        /// What it is now.
        found: Option<Digest>,
    },
    /// It can't be told.
    Unknown(String),
}

impl Session {
    /// Shakes hands and lists the tools. `patience` is for all of it, and later for each reading of the list.
    pub(crate) async fn open(
        link: Arc<dyn Link>,
        patience: Duration,
        relist_after: Duration,
        cache: ListCache,
        listed: Box<dyn Fn(&Reading) + Send + Sync>,
    ) -> Result<Self, String> {
        let opening = async {
            let hello = shake_hands(link.as_ref(), patience).await?;
            let listing = list(link.as_ref(), patience, &cache).await?;
            Ok::<_, String>((hello, listing))
        };
        let late = |_| format!("no answer within {} ms", patience.as_millis());
        let (hello, listing) = tokio::time::timeout(patience, opening).await.map_err(late)??;
        listed(&listing.reading);
        let now = Instant::now();
        Ok(Self {
            link,
            hello,
            patience,
            relist_after,
            listing: tokio::sync::Mutex::new(listing),
            cache,
            listed,
            opened: now,
            users: AtomicUsize::new(0),
            used: Mutex::new(now),
        })
    }

    pub(crate) fn link(&self) -> &dyn Link {
        self.link.as_ref()
    }

    pub(crate) fn hello(&self) -> &Hello {
        &self.hello
    }

    /// How long it has been open.
    pub(crate) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// The definitions as last listed.
    pub(crate) async fn definitions(&self) -> Vec<Value> {
        self.listing.lock().await.reading.raw.clone()
    }

    /// Makes sure that the tool is what was pinned, as far as the server says: reads its list again if it is old, or if the
    /// server said that it changed. Returns which state of the server's tools that holds for.
    pub(crate) async fn verify(&self, tool: &ToolName, pinned: &Digest) -> Result<u64, Mismatch> {
        let mut listing = self.listing.lock().await;
        if listing.changes != self.link.changes() || listing.at.elapsed() >= self.relist_after {
            let late = |_| Err(format!("no answer within {} ms", self.patience.as_millis()));
            let read = tokio::time::timeout(self.patience, list(self.link.as_ref(), self.patience, &self.cache));
            let new = read.await.unwrap_or_else(late).map_err(|why| {
                let why = self.link.clean(&format!("the tool list can't be read: {why}"));
                self.link.end(End::failure(why.clone()));
                Mismatch::Unknown(why)
            })?;
            if new.reading.text != listing.reading.text {
                (self.listed)(&new.reading);
            }
            *listing = new;
        }
        match listing.reading.tools.get(tool.as_str()) {
            Some(found) if found == pinned => Ok(listing.changes),
            found => Err(Mismatch::Drifted { found: found.copied() }),
        }
    }

    /// How many calls use it.
    pub(crate) fn users(&self) -> usize {
        self.users.load(Ordering::Acquire)
    }

    /// When it was last used.
    pub(crate) fn used(&self) -> Instant {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A use of a session: while it lives, the session is not idle.
pub(crate) struct InUse(Arc<Session>);

impl InUse {
    pub(crate) fn of(session: &Arc<Session>) -> Self {
        session.users.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(session))
    }
}

impl std::ops::Deref for InUse {
    type Target = Session;

    fn deref(&self) -> &Session {
        &self.0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        *self.0.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.users.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn shake_hands(link: &dyn Link, patience: Duration) -> Result<Hello, String> {
    let result = ask(link, "initialize", INITIALIZE, patience).await?;
    let result = text(&result)?;
    let (mut protocol, mut server_info, mut instructions) = (None, None, None);
    for (key, value) in json::fields(result).map_err(|fault| format!("the answer to `initialize`: {fault}"))? {
        match key.as_ref() {
            "protocolVersion" => protocol = serde_json::from_str::<String>(value.get()).ok(),
            "serverInfo" => server_info = serde_json::from_str(value.get()).ok(),
            "instructions" => instructions = serde_json::from_str::<String>(value.get()).ok(),
            _ => {}
        }
    }
    let protocol = protocol.ok_or("the answer to `initialize` has no `protocolVersion`")?;
    if !VERSIONS.contains(&protocol.as_str()) {
        let given: String = link.clean(&protocol).chars().take(40).collect();
        return Err(format!("it speaks protocol version `{given}`, we speak {}", VERSIONS.join(", ")));
    }
    link.notify("notifications/initialized", patience).await.map_err(|failure| failure.to_string())?;
    Ok(Hello { protocol, server_info, instructions })
}

/// Reads the tool list, all pages.
async fn list(link: &dyn Link, patience: Duration, cache: &ListCache) -> Result<Listing, String> {
    // Taken before the first page: a change that is told meanwhile makes us read again.
    let changes = link.changes();
    let at = Instant::now();
    let mut pages = Vec::new();
    let mut bytes = 0_usize;
    let mut params = "{}".to_owned();
    loop {
        let result = ask(link, "tools/list", &params, patience).await?;
        let page = read_page(&result)?;
        bytes = bytes.saturating_add(page.tools.len());
        pages.push(page.tools);
        if bytes > LIST_BYTES {
            return Err(format!("the tool list has more than {LIST_BYTES} bytes"));
        }
        let Some(cursor) = page.next else { break };
        if pages.len() >= PAGES {
            return Err(format!("the tool list has more than {PAGES} pages"));
        }
        params = format!("{{\"cursor\":{}}}", quoted(&cursor));
    }
    let text = Digest::of(&pages.join(b"\n".as_slice()));
    let known = cache.lock().unwrap_or_else(PoisonError::into_inner).clone().filter(|known| known.text == text);
    let reading = match known {
        Some(known) => known,
        None => read(text, pages).await?,
    };
    *cache.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&reading));
    Ok(Listing { reading, changes, at })
}

/// Judges all definitions: work for a thread that may be busy.
async fn read(text: Digest, pages: Vec<Bytes>) -> Result<Arc<Reading>, String> {
    let work = move || {
        let mut raw = Vec::new();
        for page in pages {
            let tools: Vec<Value> = serde_json::from_slice(&page).map_err(|_| "`tools` is not an array".to_owned())?;
            raw.extend(tools);
            if raw.len() > TOOLS {
                return Err(format!("it lists more than {TOOLS} tools"));
            }
        }
        let list = read_list(&raw);
        let tools = list.accepted.iter().map(|tool| (tool.name().to_string(), tool.digest())).collect();
        Ok(Arc::new(Reading { text, tools, findings: list.findings, raw }))
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| "the tool list can't be read".to_owned())?
}

struct Page {
    tools: Bytes,
    next: Option<String>,
}

fn read_page(result: &Bytes) -> Result<Page, String> {
    let (mut tools, mut next) = (None, None);
    for (key, value) in json::fields(text(result)?).map_err(|fault| format!("the answer to `tools/list`: {fault}"))? {
        match key.as_ref() {
            "tools" => tools = Some(result.slice_ref(value.get().as_bytes())),
            "nextCursor" => {
                let cursor: Option<String> = serde_json::from_str(value.get()).map_err(|_| "`nextCursor` is not a string")?;
                next = cursor.filter(|cursor| !cursor.is_empty());
            }
            _ => {}
        }
    }
    if next.as_ref().is_some_and(|cursor| cursor.len() > CURSOR_BYTES) {
        return Err("`nextCursor` is too long".to_owned());
    }
    Ok(Page { tools: tools.ok_or("the answer to `tools/list` has no `tools`")?, next })
}

fn text(result: &Bytes) -> Result<&str, String> {
    std::str::from_utf8(result).map_err(|fault| fault.to_string())
}

/// A request of our own; the failure names it.
async fn ask(link: &dyn Link, method: &'static str, params: &str, timeout: Duration) -> Result<Bytes, String> {
    let never = CancellationToken::new();
    let request = Request { body: Body::Own { method, params }, timeout, cancelled: &never, written: &mut || {} };
    match link.request(request).await {
        Ok(Answer::Result(result)) => Ok(result),
        Ok(Answer::Error { code, message, .. }) => {
            Err(format!("`{method}` is answered with error {code}: {}", link.clean(&message)))
        }
        Err(SendFailure::Unsent(why) | SendFailure::Closed(why)) => Err(why),
        Err(failure) => Err(format!("`{method}`: {failure}")),
    }
}
