//! How one credential comes to be: written down, asked for, judged, written down again, on record, and only then of use.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bailiwick_pipeline::{
    grant::LiveGrant,
    ports::{Access, Later, Lease, LeaseTerms, LendFailure},
};
use bailiwick_schemas::names::ConnectorId;
use futures_util::FutureExt as _;

use crate::{
    book::{Entry, Event},
    desk::{Desk, Returning},
    provider::{CredentialSpec, Handle, Journal, MintFault, MintFaultKind, Minted, Provider, Wish},
};

/// How long an issuer may take to give one, all its steps together.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the store may take to write one down.
const STORED_WITHIN: Duration = Duration::from_secs(15);

/// The longest that is waited for the end of what an issuer alone decides, milliseconds.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// So long a renewal that failed is not tried again, milliseconds.
const RENEWAL_PAUSE_MS: u64 = 5_000;

/// By so much the clock of an issuer may differ from ours, milliseconds.
const SKEW_MS: u64 = 5_000;

/// A lease with what it takes to give it back.
pub(crate) struct Lent {
    pub(crate) lease: Arc<Lease>,
    entry: ArcSwap<Entry>,
    pub(crate) handle: Option<Handle>,
    pub(crate) provider: Arc<dyn Provider>,
    /// Until when its grant lets it live, unix milliseconds.
    wished_ms: u64,
    /// Whether somebody has put on record that it is lent.
    is_told: AtomicBool,
    uses: AtomicU64,
    /// Not renewed before, unix milliseconds.
    renew_from_ms: AtomicU64,
    is_renewing: AtomicBool,
}

impl Lent {
    /// What is stored of it.
    pub(crate) fn entry(&self) -> Arc<Entry> {
        self.entry.load_full()
    }

    /// To how many calls it was handed.
    pub(crate) fn uses(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }

    /// It is handed to a call. Whether this is the first who is handed it.
    pub(crate) fn is_first_use(&self) -> bool {
        self.uses.fetch_add(1, Ordering::Relaxed);
        !self.is_told.load(Ordering::Relaxed) && !self.is_told.swap(true, Ordering::AcqRel)
    }

    /// Whether it should be renewed by now, and nobody is at it: a fifth of its time is left, and it ends before its grant does.
    pub(crate) fn begins_renewal(&self, now_ms: u64) -> bool {
        let ends_ms = self.lease.expires_at_ms();
        if ends_ms >= self.wished_ms || self.handle.is_none() {
            return false;
        }
        let (left, whole) = (ends_ms.saturating_sub(now_ms), ends_ms.saturating_sub(self.entry.load().since_ms));
        left < whole / 5 && now_ms >= self.renew_from_ms.load(Ordering::Relaxed) && !self.is_renewing.swap(true, Ordering::AcqRel)
    }
}

/// What a provider writes down while it mints.
struct Notes<'a> {
    desk: &'a Desk,
    entry: &'a Entry,
    last: Mutex<Option<Handle>>,
}

impl Journal for Notes<'_> {
    fn keep<'a>(&'a self, handle: &'a Handle) -> Later<'a, Result<(), MintFault>> {
        Box::pin(async move {
            // In memory first: what fails to be stored may be there all the same.
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle.clone());
            let kept = within(self.desk.book.keep(self.entry, handle)).await;
            kept.map_err(|why| MintFault::new(MintFaultKind::Own, format!("by what it is taken back can't be stored: {why}")))
        })
    }
}

/// Has a credential made. Whatever fails, what may have been made by then is given back.
pub(crate) async fn mint(desk: &Arc<Desk>, spec: &CredentialSpec, wish: Wish) -> Result<Lent, (LendFailure, Option<Duration>)> {
    let (provider, connector) = (&spec.provider, wish.connector.clone());
    let failed = |why: String| failure(&connector, spec, wish.access, why);
    // The most that its issuer can make of it: what fails half way may live so long.
    let most_ms = if provider.decides_lifetime() {
        wish.now_ms
            .saturating_add(provider.longest().map_or(DAY_MS, |longest| u64::try_from(longest.as_millis()).unwrap_or(DAY_MS)))
    } else {
        wish.until_ms
    };
    let mut entry = Entry {
        lease: wish.lease.clone(),
        grant: wish.grant.clone(),
        agent: wish.agent.clone(),
        connector: connector.clone(),
        provider: provider.name().to_owned(),
        reference: provider.reference(wish.access),
        access: wish.access,
        bound: provider.bound(),
        revocable: provider.is_revocable(),
        outlives: provider.outlives_itself(),
        issuer: spec.issuer.clone(),
        since_ms: wish.now_ms,
        until_ms: most_ms.max(wish.until_ms),
    };
    let Some(_at_work) = desk.begin(&entry) else {
        return Err((failed("the gateway ends".to_owned()), None));
    };
    let is_standing = provider.is_standing();
    if !is_standing {
        within(desk.book.open(&entry)).await.map_err(|why| (failed(format!("that it is lent can't be stored: {why}")), None))?;
    }
    let notes = Notes { desk, entry: &entry, last: Mutex::default() };
    let asked = AssertUnwindSafe(tokio::time::timeout(PATIENCE, provider.mint(&wish, &notes))).catch_unwind().await;
    let asked = match asked {
        Ok(Ok(asked)) => asked,
        Ok(Err(_)) => Err(MintFault::new(MintFaultKind::Slow, "its issuer did not answer in time")),
        Err(_) => Err(MintFault::new(MintFaultKind::Wrong, "the provider broke off: look into the log, and report it")),
    };
    let kept = notes.last.into_inner().unwrap_or_else(PoisonError::into_inner);
    let minted = match asked {
        Ok(minted) => minted,
        Err(fault) => {
            let shared = Arc::new(entry);
            desk.tell("refused", &shared, Some(fault.why.clone()));
            if !is_standing {
                leave(desk, spec, shared, kept, "it was not made as was wished", &fault);
            }
            let wait = if let MintFaultKind::Busy(wait) = fault.kind { wait } else { None };
            return Err((failed(fault.why), wait));
        }
    };
    let Minted { material, reference, expires_at_ms, handle } = minted;
    let handle = handle.or(kept);
    entry.reference = reference;
    // What names no end has none that could be waited for.
    entry.until_ms = if is_standing { wish.until_ms } else { expires_at_ms.unwrap_or(u64::MAX) };
    let judged = judge(provider.as_ref(), &wish, expires_at_ms, handle.as_ref());
    let stored = match (&handle, is_standing) {
        (_, true) | (None, _) => Ok(()),
        // INVARIANT: by what it is taken back is on disk before the secret is used.
        (Some(handle), false) => {
            within(desk.book.keep(&entry, handle)).await.map_err(|why| format!("by what it is taken back can't be stored: {why}"))
        }
    };
    let entry = Arc::new(entry);
    let lease = judged.and(stored).and_then(|()| {
        let terms = LeaseTerms {
            id: wish.lease.clone(),
            provider: provider.name(),
            reference: entry.reference.clone(),
            injection: spec.injection.clone(),
            expires_at_ms: expires_at_ms.map_or(wish.until_ms, |ends_ms| ends_ms.min(wish.until_ms)),
            access: wish.access,
        };
        Lease::new(terms, material).map_err(|fault| fault.to_string())
    });
    let recorded = lease.and_then(|lease| {
        let event = Event { event: "minted", entry: Arc::clone(&entry), why: None };
        let put = if is_standing { Ok(()) } else { desk.record.put(&event, desk.clock.now_ms()) };
        put.map_err(|lost| format!("it can't be put on record: {lost}")).map(|()| lease)
    });
    match recorded {
        Ok(lease) => {
            let (lease, provider, entry) = (Arc::new(lease), Arc::clone(provider), ArcSwap::new(entry));
            let (is_told, renew_from_ms, is_renewing) = (AtomicBool::new(false), AtomicU64::new(0), AtomicBool::new(false));
            let (uses, wished_ms) = (AtomicU64::new(0), wish.until_ms);
            Ok(Lent { lease, entry, handle, provider, wished_ms, is_told, uses, renew_from_ms, is_renewing })
        }
        Err(why) => {
            desk.tell("refused", &entry, Some(why.clone()));
            if !is_standing {
                let (provider, why) = (Some(Arc::clone(provider)), why.clone());
                desk.give_back(Returning { entry, handle, provider, why, used: None, uses: 0 });
            }
            Err((failed(why), None))
        }
    }
}

/// Refuses what is more than was wished for.
fn judge(provider: &dyn Provider, wish: &Wish, expires_at_ms: Option<u64>, handle: Option<&Handle>) -> Result<(), String> {
    if provider.is_standing() {
        return Ok(());
    }
    if provider.is_revocable() && handle.is_none() {
        return Err("its issuer does not say by what it is taken back".to_owned());
    }
    let Some(ends_ms) = expires_at_ms else {
        return Err("its issuer does not say when it ends: what never ends is not lent".to_owned());
    };
    let most = match (provider.decides_lifetime(), provider.longest()) {
        (true, Some(longest)) => wish.now_ms.saturating_add(u64::try_from(longest.as_millis()).unwrap_or(u64::MAX)),
        // Whatever it says, it ends with its task.
        (true, None) if provider.is_revocable() => u64::MAX,
        _ => wish.until_ms,
    };
    let beyond = ends_ms.saturating_sub(most);
    if beyond > SKEW_MS {
        let how = match (provider.decides_lifetime(), provider.longest()) {
            (true, None) => ": `ttl` in the connector's `credential` says how long it may live at most",
            (true, Some(_)) => "",
            (false, _) => provider.how_long(),
        };
        return Err(format!("its issuer lets it live {} s longer than was asked for{how}", beyond / 1000));
    }
    if ends_ms <= wish.now_ms {
        return Err("it has ended already: compare the clocks of this machine and of its issuer".to_owned());
    }
    Ok(())
}

/// What is left of a mint that failed.
fn leave(desk: &Arc<Desk>, spec: &CredentialSpec, entry: Arc<Entry>, handle: Option<Handle>, why: &str, fault: &MintFault) {
    // Refused before anything was made: there is nothing to take back.
    let is_nothing = handle.is_none()
        && matches!(
            fault.kind,
            MintFaultKind::Refused | MintFaultKind::Busy(_) | MintFaultKind::Unsupported | MintFaultKind::Own
        );
    if is_nothing {
        let (desk, lease) = (Arc::clone(desk), entry.lease.clone());
        tokio::spawn(async move {
            if let Err(why) = within(desk.book.close(&lease)).await {
                tracing::warn!(%lease, %why, "a lease that never came to be could not be struck off");
            }
        });
        return;
    }
    let provider = Some(Arc::clone(&spec.provider));
    desk.give_back(Returning { entry, handle, provider, why: why.to_owned(), used: None, uses: 0 });
}

/// Lets a lease live on. Where that fails it ends when it would have: then another one is made.
pub(crate) async fn renew(desk: &Arc<Desk>, lent: &Lent) {
    let Some(handle) = &lent.handle else { return };
    let now_ms = desk.clock.now_ms();
    let asked = renewed(desk, lent, handle, now_ms).await;
    let until_ms = lent.lease.expires_at_ms();
    let next_ms = match asked {
        // Without a gain it is not asked again.
        Ok(ends_ms) if ends_ms <= until_ms => u64::MAX,
        Ok(ends_ms) => {
            lent.lease.live_until(ends_ms.min(lent.wished_ms));
            desk.tell("renewed", &lent.entry(), None);
            0
        }
        Err(fault) if fault.kind == MintFaultKind::Unsupported => u64::MAX,
        Err(fault) => {
            tracing::warn!(lease = %lent.lease.id, why = %fault.why, "a credential could not be renewed: another one is made when it ends");
            now_ms.saturating_add(RENEWAL_PAUSE_MS)
        }
    };
    lent.renew_from_ms.store(next_ms, Ordering::Relaxed);
    lent.is_renewing.store(false, Ordering::Release);
}

async fn renewed(desk: &Arc<Desk>, lent: &Lent, handle: &Handle, now_ms: u64) -> Result<u64, MintFault> {
    let stored = |entry: Entry| async move {
        let kept = within(desk.book.keep(&entry, handle)).await;
        lent.entry.store(Arc::new(entry));
        kept.map_err(|why| MintFault::new(MintFaultKind::Own, format!("that it is renewed can't be stored: {why}")))
    };
    // Before its issuer is asked: whatever becomes of the answer, it can live so long.
    let before = lent.entry();
    stored(Entry { until_ms: lent.wished_ms.max(before.until_ms), ..Entry::clone(&before) }).await?;
    let asked = AssertUnwindSafe(tokio::time::timeout(PATIENCE, lent.provider.renew(handle, lent.wished_ms, now_ms)));
    let ends_ms = match asked.catch_unwind().await {
        Ok(Ok(asked)) => asked?,
        Ok(Err(_)) => return Err(MintFault::new(MintFaultKind::Slow, "its issuer did not answer in time")),
        Err(_) => return Err(MintFault::new(MintFaultKind::Wrong, "the provider broke off: look into the log, and report it")),
    };
    stored(Entry { until_ms: ends_ms, ..Entry::clone(&before) }).await?;
    if ends_ms > lent.wished_ms.saturating_add(SKEW_MS) && !lent.provider.decides_lifetime() {
        return Err(MintFault::new(MintFaultKind::Generous, "its issuer lets it live longer than was asked for"));
    }
    Ok(ends_ms)
}

/// What the store is asked for, and no longer than it should take.
pub(crate) async fn within<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(STORED_WITHIN, work).await.unwrap_or_else(|_| Err("the store does not answer".to_owned()))
}

/// Why it can't be lent, for the operator.
pub(crate) fn failure(connector: &ConnectorId, spec: &CredentialSpec, access: Access, why: String) -> LendFailure {
    LendFailure { connector: connector.clone(), reference: spec.provider.reference(access), why }
}

/// That its grant has ended.
pub(crate) fn ended(connector: &ConnectorId, spec: &CredentialSpec, grant: &LiveGrant) -> LendFailure {
    failure(connector, spec, Access::Read, format!("grant `{}` is not live", grant.terms().id))
}

/// That whoever made it is gone.
pub(crate) fn lost(connector: &ConnectorId) -> LendFailure {
    let why = "the making of it broke off: look into the log".to_owned();
    LendFailure { connector: connector.clone(), reference: String::new(), why }
}

/// A fresh id.
pub(crate) fn lease_id() -> Result<String, String> {
    let mut random = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| "there is no randomness for its id".to_owned())?;
    Ok(format!("lease-{:032x}", u128::from_be_bytes(random)))
}
