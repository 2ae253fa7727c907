//! One server, spoken to: its tools, and whether a tool is still the pinned one.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bailiwick_pipeline::{
    ids::GrantId,
    ports::{self, Offers, SendFailure},
};
use bailiwick_schemas::{canonical::Digest, names::ToolName};

use crate::{
    handshake::{Hello, Unopened, shake_hands},
    hearing::{Changed, Hearing, Listeners},
    levels::Levels,
    link::{End, Link},
    listing::{Keep, ListCache, Listing, Reader, Reading},
    offers::{self, Kept},
    subscriptions::Asked,
    version::Era,
};

/// A server after the handshake.
pub(crate) struct Session {
    link: Arc<dyn Link>,
    hello: Hello,
    /// Whether its server may ask something in it: then what it lists may be for that alone.
    may_ask: bool,
    relist_after: Duration,
    listing: tokio::sync::Mutex<Listing>,
    offers: tokio::sync::Mutex<Kept>,
    reader: Reader,
    levels: Levels,
    hearing: Arc<Hearing>,
    asked: Asked,
    listeners: Arc<Listeners>,
    grant: Option<GrantId>,
    changed: Box<dyn Fn(Changed) + Send + Sync>,
    listed: Box<dyn Fn(&Reading) + Send + Sync>,
    opened: Instant,
    users: AtomicUsize,
    used: Mutex<Instant>,
    /// Why it ends with the last of those who use it.
    leaving: OnceLock<End>,
}

/// How a session is to be opened.
pub(crate) struct Opening {
    /// For all of it, and later for each reading of the list.
    pub(crate) patience: Duration,
    /// A list older than this is read again.
    pub(crate) relist_after: Duration,
    /// How the server is spoken to, where that is known.
    pub(crate) known: Option<Era>,
    /// What the server may ask, where it has a handshake: client capabilities, as JSON.
    pub(crate) asks: Option<String>,
    /// What the others of this connector list.
    pub(crate) cache: ListCache,
    /// How much of what the server says is kept.
    pub(crate) keep: Keep,
    /// Is told what is listed.
    pub(crate) listed: Box<dyn Fn(&Reading) + Send + Sync>,
    /// Is told that a list is another than before.
    pub(crate) changed: Box<dyn Fn(Changed) + Send + Sync>,
    /// Who wants to hear of that.
    pub(crate) listeners: Arc<Listeners>,
    /// The grant that it is for; none where it is everybody's.
    pub(crate) grant: Option<GrantId>,
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
        let Opening { patience, relist_after, known, asks, cache, keep, listed, changed, listeners, grant } = opening;
        let (reader, may_ask) = (Reader { cache, keep, patience }, asks.is_some());
        let work = async {
            let hello = shake_hands(link.as_ref(), patience, known, asks.as_deref()).await?.keeping(keep);
            let listing = reader.list(link.as_ref(), hello.version).await?;
            Ok::<_, Unopened>((hello, listing))
        };
        let (hello, listing) = tokio::time::timeout(patience, work).await.map_err(|_| Unopened::late(patience))??;
        listed(&listing.reading);
        let now = Instant::now();
        Ok(Self {
            link,
            hello,
            may_ask,
            relist_after,
            listing: tokio::sync::Mutex::new(listing),
            offers: tokio::sync::Mutex::default(),
            reader,
            levels: Levels::default(),
            hearing: Hearing::new(),
            asked: Asked::default(),
            listeners,
            grant,
            changed,
            listed,
            opened: now,
            users: AtomicUsize::new(0),
            used: Mutex::new(now),
            leaving: OnceLock::new(),
        })
    }

    pub(crate) fn link(&self) -> &dyn Link {
        self.link.as_ref()
    }

    pub(crate) fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Whether its server may ask something in it. What it lists here is compared with the pins, and says nothing of what it lists to others.
    pub(crate) fn may_ask(&self) -> bool {
        self.may_ask
    }

    /// Which log messages are wanted of it.
    pub(crate) fn levels(&self) -> &Levels {
        &self.levels
    }

    /// How long it has been open.
    pub(crate) fn age(&self) -> Duration {
        self.opened.elapsed()
    }

    /// The list as last read.
    pub(crate) async fn reading(&self) -> Arc<Reading> {
        Arc::clone(&self.listing.lock().await.reading)
    }

    /// Makes sure that the tool is what was pinned, as far as the server says: reads its list again if it is old, or if the
    /// server said that it changed. Returns which state of the server's tools that holds for.
    pub(crate) async fn verify(&self, tool: &ToolName, pinned: &Digest) -> Result<u64, Mismatch> {
        let mut listing = self.listing.lock().await;
        if listing.changes != self.link.changes().of_tools() || listing.at.elapsed() >= self.relist_after {
            self.take_up(&mut listing).await?;
        }
        match listing.reading.tools.get(tool.as_str()) {
            Some(found) if found == pinned => Ok(listing.changes),
            found => Err(Mismatch::Drifted { found: found.copied() }),
        }
    }

    /// Reads the list again, and tells what is another than before.
    async fn take_up(&self, listing: &mut Listing) -> Result<(), Mismatch> {
        let new = self.list_again().await?;
        let before = std::mem::replace(listing, new);
        if before.reading.text != listing.reading.text {
            (self.listed)(&listing.reading);
            let others = before.reading.others_than(&listing.reading);
            if !others.is_empty() {
                (self.changed)(Changed::Tools(others));
            }
        }
        Ok(())
    }

    /// Reads the list again, as the server says that it changed. Where that fails, the next call finds the same.
    pub(crate) async fn reread(&self) {
        let mut listing = self.listing.lock().await;
        if listing.changes != self.link.changes().of_tools() {
            let _unread = self.take_up(&mut listing).await;
        }
    }

    /// Tells that a list is another than before.
    pub(crate) fn tell(&self, changed: Changed) {
        (self.changed)(changed);
    }

    /// The connection itself.
    pub(crate) fn link_handle(&self) -> Arc<dyn Link> {
        Arc::clone(&self.link)
    }

    /// The ear on it.
    pub(crate) fn hearing(&self) -> &Arc<Hearing> {
        &self.hearing
    }

    /// What its server was asked to tell of, one by one.
    pub(crate) fn asked(&self) -> &Asked {
        &self.asked
    }

    /// Who wants to hear of its lists, and the grant that it is for.
    pub(crate) fn listeners(&self) -> (Arc<Listeners>, Option<GrantId>) {
        (Arc::clone(&self.listeners), self.grant.clone())
    }

    /// Hears of its lists, where somebody wants to: returns once it does, or can't soon.
    pub(crate) async fn hear(self: &Arc<Self>, patience: Duration) {
        let (round, tells) = (self.hearing.ask(self), self.hello.tells);
        if tells.tools || tells.resources || tells.prompts {
            // Whoever can't be heard is heard later, or is found changed when it is asked.
            let _unheard = self.hearing.settled(round, patience).await;
        }
    }

    /// Reads the list again. A list that can't be read says nothing about the calls that wait for an answer: they go on.
    async fn list_again(&self) -> Result<Listing, Mismatch> {
        // Whoever waited for another one's reading need not wait for the same again.
        if let Some(end) = self.link.retired() {
            return Err(Mismatch::Unknown(end.why));
        }
        let patience = self.reader.patience;
        let read = tokio::time::timeout(patience, self.reader.list(self.link.as_ref(), self.hello.version));
        let unread = match read.await.unwrap_or_else(|_| Err(Unopened::late(patience))) {
            Ok(listing) => return Ok(listing),
            Err(unread) => unread,
        };
        let why = self.link.clean(&format!("the tool list can't be read: {}", unread.why));
        // A server that answers may answer better the next time. One that does not is left alone for a while.
        if matches!(unread.failure, Some(SendFailure::Timeout(_) | SendFailure::Unsent(_))) {
            self.link.retire(End::failure(why.clone()));
        }
        Err(Mismatch::Unknown(why))
    }

    /// What the server lists of a feature: read again where that is old, or the server said that it changed.
    pub(crate) async fn offers(&self, listing: ports::Listing) -> Result<Arc<Offers>, SendFailure> {
        let mut kept = self.offers.lock().await;
        let changes = self.link.changes().of_offers();
        if let Some(offers) = kept.fresh(listing, changes, self.relist_after) {
            return Ok(offers);
        }
        if let Some(end) = self.link.retired() {
            return Err(SendFailure::Unsent(end.why));
        }
        let (at, patience) = (Instant::now(), self.reader.patience);
        let read = tokio::time::timeout(patience, offers::read(self.link.as_ref(), listing, self.hello.version, patience));
        let offers = read.await.unwrap_or_else(|_| Err(Unopened::late(patience))).map_err(offers::failure)?;
        let offers = Arc::new(offers);
        kept.keep(listing, at, changes, &offers);
        Ok(offers)
    }

    /// Ends the connection once nobody uses it any more: those that do go on.
    pub(crate) fn leave(self: &Arc<Self>, end: End) {
        // As one who uses it: whoever is the last to go then sees this.
        let last = InUse::of(self);
        // Only the first reason counts.
        let _ = self.leaving.set(end);
        drop(last);
    }

    /// Whether it ends with the last of those who use it.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.get().is_some()
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

/// Does something beside a session. Where nothing runs any more, nothing is done.
pub(crate) fn beside(work: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        drop(runtime.spawn(work));
    }
}

/// A use of a session: while it lives, the session is not idle.
pub(crate) struct InUse(Arc<Session>);

impl InUse {
    pub(crate) fn of(session: &Arc<Session>) -> Self {
        session.users.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(session))
    }

    /// Another use of the same.
    pub(crate) fn another(&self) -> Self {
        Self::of(&self.0)
    }

    /// The session, to be kept.
    pub(crate) fn handle(&self) -> &Arc<Session> {
        &self.0
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
        if self.0.users.fetch_sub(1, Ordering::AcqRel) == 1 {
            if let Some(end) = self.0.leaving.get() {
                self.0.link.end(end.clone());
            }
            self.0.link.unused();
        }
    }
}
