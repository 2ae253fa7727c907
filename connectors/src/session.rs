//! One server, spoken to: its tools, and whether a tool is still the pinned one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bailiwick_schemas::{
    canonical::Digest,
    definition::{Finding, read_list},
    json,
    names::ToolName,
};
use bytes::Bytes;
use serde_json::Value;

use crate::{
    handshake::{Hello, Unopened, ask, shake_hands},
    link::{End, Link},
    message::quoted,
    version::{Era, Version},
};

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

/// How a session is to be opened.
pub(crate) struct Opening {
    /// For all of it, and later for each reading of the list.
    pub(crate) patience: Duration,
    /// A list older than this is read again.
    pub(crate) relist_after: Duration,
    /// How the server is spoken to, where that is known.
    pub(crate) known: Option<Era>,
    /// What the others of this connector list.
    pub(crate) cache: ListCache,
    /// Is told what is listed.
    pub(crate) listed: Box<dyn Fn(&Reading) + Send + Sync>,
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
    /// Shakes hands and lists the tools.
    pub(crate) async fn open(link: Arc<dyn Link>, opening: Opening) -> Result<Self, Unopened> {
        let Opening { patience, relist_after, known, cache, listed } = opening;
        let work = async {
            let hello = shake_hands(link.as_ref(), patience, known).await?;
            let listing = list(link.as_ref(), hello.version, patience, &cache).await?;
            Ok::<_, Unopened>((hello, listing))
        };
        let late = |_| Unopened::from(format!("no answer within {} ms", patience.as_millis()));
        let (hello, listing) = tokio::time::timeout(patience, work).await.map_err(late)??;
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
            let read =
                tokio::time::timeout(self.patience, list(self.link.as_ref(), self.hello.version, self.patience, &self.cache));
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

/// Reads the tool list, all pages.
async fn list(link: &dyn Link, version: Version, patience: Duration, cache: &ListCache) -> Result<Listing, String> {
    // Taken before the first page: a change that is told meanwhile makes us read again.
    let changes = link.changes();
    let at = Instant::now();
    let mut pages = Vec::new();
    let mut bytes = 0_usize;
    let mut members = String::new();
    loop {
        let result = ask(link, "tools/list", &members, version, patience).await.map_err(|failure| failure.why)?;
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
        members = format!("\"cursor\":{}", quoted(&cursor));
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

pub(crate) fn text(result: &Bytes) -> Result<&str, String> {
    std::str::from_utf8(result).map_err(|fault| fault.to_string())
}
