//! A broker in a test: its store and its record in memory, a clock that is set, and an issuer that does what it is told.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};

use bailiwick_pipeline::{
    grant::{Grant, GrantState, Standing as GrantStanding},
    ports::{Injection, Material},
};
use tokio::sync::Semaphore;

use super::*;
use crate::{EnvSecrets, Event, Handle, Journal, MintFault, MintFaultKind, Minted, Provider, RevokeFault, Standing};

pub(super) const CANARY: &str = "canary-0123456789";

/// Where the clock of a test stands at first.
pub(super) const NOW: u64 = 10;

pub(super) fn grant(id: &str, revision: u64, expires_at_ms: u64, parent: Option<Arc<LiveGrant>>) -> Arc<LiveGrant> {
    let terms = Grant {
        revision,
        owner: "owner".to_owned(),
        purpose: "test".to_owned(),
        environment: String::new(),
        ..Grant::bare(id.parse().unwrap(), "bot".parse().unwrap(), Vec::new(), 0..expires_at_ms)
    };
    Arc::new(LiveGrant::new(terms, GrantStanding::fresh(), parent))
}

pub(super) fn ended(grant: &LiveGrant) {
    grant.end(GrantState::Revoked);
}

pub(super) fn id(id: &str) -> ConnectorId {
    id.parse().unwrap()
}

pub(super) fn from_env(name: &str, env: &Arc<EnvSecrets>) -> CredentialSpec {
    of(Arc::new(Standing::Env { name: name.to_owned(), env: Arc::clone(env) }), name)
}

pub(super) fn of(provider: Arc<dyn Provider>, terms: &str) -> CredentialSpec {
    CredentialSpec { provider, injection: Injection::env("TOKEN"), terms: terms.to_owned(), issuer: "here".to_owned() }
}

pub(super) fn variables(env: &[(&str, &str)]) -> Arc<EnvSecrets> {
    Arc::new(EnvSecrets::new(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))))
}

/// A broker with what it wrote down.
pub(super) struct House {
    pub(super) broker: Arc<Broker>,
    pub(super) books: Arc<Books>,
}

impl House {
    pub(super) fn of(specs: impl IntoIterator<Item = (&'static str, CredentialSpec)>) -> Self {
        Self::with(specs, Arc::default())
    }

    pub(super) fn with(specs: impl IntoIterator<Item = (&'static str, CredentialSpec)>, books: Arc<Books>) -> Self {
        let specs = specs.into_iter().map(|(name, spec)| (id(name), spec)).collect();
        let broker = Broker::new(specs, Arc::clone(&books) as _, Arc::clone(&books) as _, Arc::clone(&books) as _);
        Self { broker: Arc::new(broker), books }
    }

    /// With somebody who takes back.
    pub(super) fn at_work(self) -> Self {
        tokio::spawn(self.broker.work());
        self
    }

    pub(super) async fn try_lend(
        &self,
        grant: &Arc<LiveGrant>,
        connector: &str,
        access: Access,
    ) -> Result<Option<Loan>, LendFailure> {
        let (connector, now_ms) = (id(connector), self.books.now_ms());
        self.broker.lend(Wanted { grant, connector: &connector, access, most: &|| access, now_ms }).await
    }

    pub(super) async fn lend(&self, grant: &Arc<LiveGrant>, connector: &str) -> Loan {
        self.try_lend(grant, connector, Access::Read).await.unwrap().unwrap()
    }

    pub(super) async fn denied(&self, grant: &Arc<LiveGrant>, connector: &str) -> String {
        self.try_lend(grant, connector, Access::Read).await.unwrap_err().to_string()
    }
}

/// The book, the record and the clock.
#[derive(Default)]
pub(super) struct Books {
    pub(super) rows: Mutex<BTreeMap<String, (Entry, Option<String>)>>,
    pub(super) events: Mutex<Vec<(String, String)>>,
    pub(super) later_ms: AtomicU64,
    /// What fails: `open`, `keep`, `close` or `put`.
    pub(super) broken: Mutex<Option<&'static str>>,
}

impl Books {
    pub(super) fn words(&self) -> Vec<String> {
        self.events.lock().unwrap().iter().map(|(event, _)| event.clone()).collect()
    }

    pub(super) fn open(&self) -> usize {
        self.rows.lock().unwrap().len()
    }

    fn judge(&self, what: &'static str) -> Result<(), String> {
        if *self.broken.lock().unwrap() == Some(what) { Err(format!("{what} is broken")) } else { Ok(()) }
    }
}

impl Book for Books {
    fn open<'a>(&'a self, entry: &'a Entry) -> Later<'a, Result<(), String>> {
        Box::pin(async {
            self.judge("open")?;
            self.rows.lock().unwrap().insert(entry.lease.clone(), (entry.clone(), None));
            Ok(())
        })
    }

    fn keep<'a>(&'a self, entry: &'a Entry, handle: &'a Handle) -> Later<'a, Result<(), String>> {
        Box::pin(async {
            self.judge("keep")?;
            self.rows.lock().unwrap().insert(entry.lease.clone(), (entry.clone(), Some(handle.expose().to_owned())));
            Ok(())
        })
    }

    fn close<'a>(&'a self, lease: &'a str) -> Later<'a, Result<(), String>> {
        Box::pin(async {
            self.judge("close")?;
            self.rows.lock().unwrap().remove(lease);
            Ok(())
        })
    }

    fn unclosed(&self) -> Result<Vec<(Entry, Option<Handle>)>, String> {
        let rows = self.rows.lock().unwrap();
        Ok(rows.values().map(|(entry, handle)| (entry.clone(), handle.clone().map(Handle::new))).collect())
    }
}

impl Record for Books {
    fn put(&self, event: &Event, _: u64) -> Result<(), String> {
        self.judge("put")?;
        let why = event.why.clone().unwrap_or_default();
        self.events.lock().unwrap().push((event.event.to_owned(), why));
        Ok(())
    }
}

impl Clock for Books {
    fn now_ns(&self) -> u64 {
        (NOW + self.later_ms.load(Ordering::SeqCst)) * 1_000_000
    }

    fn random(&self) -> [u8; 16] {
        [7; 16]
    }
}

/// An issuer: what it has given, it knows by the lease's id.
#[expect(clippy::struct_excessive_bools, reason = "ways to behave, each on its own")]
#[derive(Debug)]
pub(super) struct Issuer {
    /// What is alive at it.
    pub(super) alive: Mutex<BTreeMap<String, Access>>,
    pub(super) minted: AtomicUsize,
    pub(super) renewed: AtomicUsize,
    pub(super) asked_back: AtomicUsize,
    /// How it fails to give, to take back.
    pub(super) gives: Mutex<Option<MintFault>>,
    pub(super) takes: Mutex<Option<RevokeFault>>,
    /// How much longer than was asked for it lets one live, milliseconds.
    pub(super) generous_ms: AtomicU64,
    /// It lets nothing live longer, milliseconds.
    pub(super) most_ms: u64,
    /// Whether it fails after it has made one.
    pub(super) breaks_after: bool,
    pub(super) is_revocable: bool,
    /// Whether it alone says how long one lives.
    pub(super) decides: bool,
    /// Whether it says by what one is taken back before it makes it, too.
    pub(super) says_first: bool,
    /// How often it breaks off.
    pub(super) panics: AtomicUsize,
    /// Whether it takes nothing back, and says nothing.
    pub(super) hangs: AtomicBool,
    /// What it needs to answer.
    pub(super) breath: Semaphore,
}

impl Default for Issuer {
    fn default() -> Self {
        Self {
            alive: Mutex::default(),
            minted: AtomicUsize::new(0),
            renewed: AtomicUsize::new(0),
            asked_back: AtomicUsize::new(0),
            gives: Mutex::default(),
            takes: Mutex::default(),
            generous_ms: AtomicU64::new(0),
            most_ms: u64::MAX,
            breaks_after: false,
            is_revocable: true,
            decides: false,
            says_first: true,
            panics: AtomicUsize::new(0),
            hangs: AtomicBool::new(false),
            breath: Semaphore::new(Semaphore::MAX_PERMITS),
        }
    }
}

impl Issuer {
    pub(super) fn alive(&self) -> usize {
        self.alive.lock().unwrap().len()
    }

    fn breaks_off(&self) -> bool {
        self.panics.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }

    pub(super) fn minted(&self) -> usize {
        self.minted.load(Ordering::SeqCst)
    }
}

impl Provider for Issuer {
    fn name(&self) -> &'static str {
        "issuer"
    }

    fn reference(&self, access: Access) -> String {
        format!("role-{}", access.as_str())
    }

    fn is_revocable(&self) -> bool {
        self.is_revocable
    }

    fn decides_lifetime(&self) -> bool {
        self.decides
    }

    fn mint<'a>(&'a self, wish: &'a Wish, journal: &'a dyn Journal) -> Later<'a, Result<Minted, MintFault>> {
        Box::pin(async move {
            let handle = Handle::new(wish.lease.clone());
            if self.is_revocable && self.says_first {
                journal.keep(&handle).await?;
            }
            self.breath.acquire().await.unwrap().forget();
            if let Some(fault) = self.gives.lock().unwrap().clone() {
                return Err(fault);
            }
            self.alive.lock().unwrap().insert(wish.lease.clone(), wish.access);
            let number = self.minted.fetch_add(1, Ordering::SeqCst);
            assert!(!self.breaks_off(), "it breaks off, as it was told to");
            if self.breaks_after {
                return Err(MintFault::new(MintFaultKind::Down, "the connection broke off"));
            }
            let ends_ms = wish.until_ms.min(wish.now_ms.saturating_add(self.most_ms));
            Ok(Minted {
                material: Material::of(format!("{CANARY}-{number}").into()),
                reference: self.reference(wish.access),
                expires_at_ms: Some(ends_ms + self.generous_ms.load(Ordering::SeqCst)),
                handle: self.is_revocable.then_some(handle),
            })
        })
    }

    fn renew<'a>(&'a self, handle: &'a Handle, until_ms: u64, now_ms: u64) -> Later<'a, Result<u64, MintFault>> {
        Box::pin(async move {
            assert!(self.alive.lock().unwrap().contains_key(handle.expose()));
            self.renewed.fetch_add(1, Ordering::SeqCst);
            Ok(until_ms.min(now_ms + self.most_ms))
        })
    }

    fn revoke<'a>(&'a self, handle: &'a Handle, _: u64) -> Later<'a, Result<(), RevokeFault>> {
        Box::pin(async move {
            self.asked_back.fetch_add(1, Ordering::SeqCst);
            assert!(!self.breaks_off(), "it breaks off, as it was told to");
            if self.hangs.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if let Some(fault) = self.takes.lock().unwrap().clone() {
                return Err(fault);
            }
            self.alive.lock().unwrap().remove(handle.expose());
            Ok(())
        })
    }
}
