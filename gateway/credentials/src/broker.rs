//! Lends credentials, and sees that they come back.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use bailiwick_pipeline::{
    grant::LiveGrant,
    ids::GrantId,
    ports::{Access, Clock, Credentials, Later, Lease, LendFailure, Loan, Wanted},
};
use bailiwick_schemas::names::ConnectorId;
use dashmap::DashMap;
use tokio::{sync::OwnedMutexGuard, time::Instant};

use crate::{
    book::{Book, Entry, Record},
    desk::{Desk, Ended, Returning, Standstill},
    mint::{self, Lent},
    provider::{CredentialSpec, Provider, Wish},
};

/// For so long after a first failure nobody is asked again; twice as long after each further one.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The longest that an issuer is left in peace for because it asks for that.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// After a second leak nothing is lent for so long; twice as long after each further one.
const LEAK_PAUSE: Duration = Duration::from_secs(4);

/// What an admin looks at takes no longer, milliseconds.
const DISCOVERY_MS: u64 = 120_000;

/// From so many grants on, those that are gone are looked for now and then.
const SWEEP_FROM: usize = 64;

/// What connectors are lent.
pub type Specs = BTreeMap<ConnectorId, CredentialSpec>;

/// Lends each connector its credential, once for each grant.
pub struct Broker {
    /// What is lent now: swapped as a whole.
    specs: ArcSwap<Specs>,
    grants: DashMap<GrantId, Arc<Held>>,
    /// With so many grants, those that are gone without a word are looked for.
    sweep_at: AtomicUsize,
    desk: Arc<Desk>,
}

/// What one grant holds.
struct Held {
    /// Told apart by the grant itself, not only its id: a reissued grant gets nothing of what the one before was lent.
    grant: Weak<LiveGrant>,
    slots: Mutex<HashMap<ConnectorId, Arc<Slot>>>,
}

/// The place of one lease.
#[derive(Default)]
struct Slot {
    place: Mutex<Place>,
    /// Held by whoever has a credential made: whoever asks meanwhile waits for the same one.
    turn: Arc<tokio::sync::Mutex<Turn>>,
}

#[derive(Default)]
struct Place {
    lent: Option<Arc<Lent>>,
    /// Taken out: what is made for it now is given back.
    is_closed: bool,
    /// How often its server has shown what it was lent, and until when it is lent nothing for that.
    leaks: u32,
    not_before: Option<Instant>,
}

/// What came of the last time.
#[derive(Default)]
struct Turn {
    failed: Option<(Instant, Duration, LendFailure)>,
    /// How often it failed in a row.
    failures: u32,
}

/// A lease for the moment in which an admin looks at a connector: given back when it is dropped.
pub struct Guest {
    lent: Arc<Lent>,
    desk: Arc<Desk>,
}

impl Guest {
    /// The lease.
    pub fn lease(&self) -> &Arc<Lease> {
        &self.lent.lease
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        give_back(&self.desk, &self.lent, "the connector was looked at", None);
    }
}

/// One lease as it stands.
#[derive(Debug, Clone)]
pub struct Listed {
    /// What it is.
    pub entry: Arc<Entry>,
    /// Whether what was lent lives on when the task is over.
    pub standing: bool,
    /// To how many calls it was handed.
    pub uses: u64,
    /// Why it is not lent any more, and what became of it; none while it is.
    pub ending: Option<Standstill>,
}

impl Broker {
    /// A broker for these connectors. What is unclosed in the book is taken back as soon as [`Broker::work`] runs.
    pub fn new(specs: Specs, book: Arc<dyn Book>, record: Arc<dyn Record>, clock: Arc<dyn Clock>) -> Self {
        Self::at(specs, Desk::new(book, record, clock))
    }

    /// Another one for these connectors, that writes down and gives back where this one does: to try out what is not in force.
    #[must_use]
    pub fn beside(&self, specs: Specs) -> Self {
        Self::at(specs, Arc::clone(&self.desk))
    }

    fn at(specs: Specs, desk: Arc<Desk>) -> Self {
        Self { specs: ArcSwap::from_pointee(specs), grants: DashMap::new(), sweep_at: AtomicUsize::new(SWEEP_FROM), desk }
    }

    /// Takes back what the gateway that ran before this one had lent, and what it was being lent: nobody uses that any more. Returned is
    /// how many there are.
    pub fn recover(&self) -> Result<usize, String> {
        let unclosed = self.desk.book.unclosed()?;
        let count = unclosed.len();
        let specs = self.specs.load();
        for (entry, handle) in unclosed {
            let provider = provider_of(&specs, &entry);
            let why = "the gateway ended before it was given back".to_owned();
            self.desk.give_back(Returning { entry: Arc::new(entry), handle, provider, why, used: None, uses: 0 });
        }
        Ok(count)
    }

    /// Sees that what was lent comes back; ends with the broker and those beside it.
    pub fn work(&self) -> impl Future<Output = ()> + Send + 'static {
        self.desk.work()
    }

    /// Puts these credentials in the place of those before. What was lent of one that changed or is gone is lent no more.
    pub fn replace(&self, specs: Specs) {
        let before = self.specs.load_full();
        let changed: Vec<&ConnectorId> =
            before.iter().filter(|(id, spec)| specs.get(*id) != Some(*spec)).map(|(id, _)| id).collect();
        // INVARIANT: swapped first, taken out second. Whoever has one made took a slot first and read the terms second: either the slot is
        // closed by this, or the terms are the new ones.
        let specs = Arc::new(specs);
        self.specs.store(Arc::clone(&specs));
        for connector in changed {
            self.returned_by(connector, "the connector's credential is configured otherwise");
        }
        self.desk.resolve(|entry| provider_of(&specs, entry));
    }

    /// Gives back what was lent for this grant: to be called when a grant ends. Nothing is lent of it from here on; what its issuer takes back
    /// is asked for at once. A secret is wiped from memory when the last child that was given it is gone.
    pub fn returned(&self, grant: &GrantId, why: &str) {
        let Some((_, held)) = self.grants.remove(grant) else { return };
        self.close_held(&held, why);
        self.desk.hurry(|entry| entry.grant.as_ref() == Some(grant));
    }

    fn close_held(&self, held: &Held, why: &str) {
        let slots: Vec<_> = held.lock().drain().collect();
        for (_, slot) in &slots {
            self.close(slot, why);
        }
    }

    /// Gives back what this connector was lent, for whichever grant: to be called when it is stopped.
    pub fn returned_by(&self, connector: &ConnectorId, why: &str) {
        let of_grants: Vec<Arc<Held>> = self.grants.iter().map(|held| Arc::clone(held.value())).collect();
        for held in of_grants {
            let slot = held.lock().remove(connector);
            if let Some(slot) = slot {
                self.close(&slot, why);
            }
        }
        self.desk.hurry(|entry| entry.connector == *connector);
    }

    /// Gives back what this grant was lent for this connector, and what is being made of it right now. Whoever calls then has another one made.
    pub fn returned_for(&self, grant: &GrantId, connector: &ConnectorId, why: &str) {
        let held = self.grants.get(grant).map(|held| Arc::clone(held.value()));
        let slot = held.and_then(|held| held.lock().remove(connector));
        if let Some(slot) = slot {
            self.close(&slot, why);
        }
        self.desk.hurry(|entry| entry.grant.as_ref() == Some(grant) && entry.connector == *connector);
    }

    /// Takes this one lease back: nothing goes on with it, and whoever needs it next is lent another one. Whether it was lent.
    pub fn take_back(&self, lease: &str, why: &str) -> bool {
        let of_grants: Vec<Arc<Held>> = self.grants.iter().map(|held| Arc::clone(held.value())).collect();
        let mut is_found = false;
        for held in of_grants {
            let slots: Vec<Arc<Slot>> = held.lock().values().cloned().collect();
            for slot in slots {
                let lent = slot.lock().lent.take_if(|lent| lent.lease.id == lease);
                if let Some(lent) = lent {
                    lent.lease.take_back();
                    give_back(&self.desk, &lent, why, None);
                    is_found = true;
                }
            }
        }
        self.desk.hurry(|entry| entry.lease == lease);
        is_found
    }

    /// Gives back everything, and waits until issuers have taken back what they can at once, no longer than `most`: at the end of the gateway.
    /// Returned is whether nothing is left for the next start.
    pub async fn close_all(&self, most: Duration) -> bool {
        let grants: Vec<GrantId> = self.grants.iter().map(|held| held.key().clone()).collect();
        self.desk.close();
        for grant in &grants {
            self.returned(grant, "the gateway ends");
        }
        self.desk.hurry(|_| true);
        self.desk.settled(|_| true, most).await
    }

    /// Waits until what was lent to look at connectors is back, or has to wait; not longer than `most`. Returned is whether all of it is back.
    pub async fn guests_settled(&self, most: Duration) -> bool {
        self.desk.settled(|entry| entry.grant.is_none(), most).await
    }

    /// Waits until what was lent for this grant is back, or has to wait; not longer than `most`. Returned is whether all of it is back.
    pub async fn settled(&self, grant: &GrantId, most: Duration) -> bool {
        self.desk.settled(|entry| entry.grant.as_ref() == Some(grant), most).await
    }

    /// What is lent, and what is not back yet.
    pub fn leases(&self) -> Vec<Listed> {
        let of_grants: Vec<Arc<Held>> = self.grants.iter().map(|held| Arc::clone(held.value())).collect();
        let mut listed = Vec::new();
        for held in of_grants {
            let slots: Vec<Arc<Slot>> = held.lock().values().cloned().collect();
            let lent = slots.iter().filter_map(|slot| slot.lock().lent.clone());
            listed.extend(lent.map(|lent| Listed {
                entry: lent.entry(),
                standing: lent.provider.is_standing(),
                uses: lent.uses(),
                ending: None,
            }));
        }
        let ending = self.desk.standing().into_iter();
        listed.extend(ending.map(|still| Listed {
            entry: Arc::clone(&still.entry),
            standing: false,
            uses: still.uses,
            ending: Some(still),
        }));
        listed
    }

    /// Those that ended last since the start, the latest first: a bounded number, the record has all.
    pub fn ended(&self) -> Vec<Ended> {
        self.desk.ended()
    }

    /// A number that is another one once what is lent, or not back yet, has changed.
    pub fn changes(&self) -> u64 {
        self.desk.changes()
    }

    /// What connectors are lent now.
    pub fn specs(&self) -> Arc<Specs> {
        self.specs.load_full()
    }

    /// Has the credential of one connector made and gives it back: for `check` and `doctor`.
    pub async fn try_out(&self, connector: &ConnectorId) -> Result<(), LendFailure> {
        self.for_discovery(connector).await.map(drop)
    }

    /// Lends the credential of one connector to nobody's grant, for the moment in which an admin lists its tools; `None` where it
    /// needs none.
    pub async fn for_discovery(&self, connector: &ConnectorId) -> Result<Option<Guest>, LendFailure> {
        let Some(spec) = self.specs.load().get(connector).cloned() else { return Ok(None) };
        let now_ms = self.desk.clock.now_ms();
        let shortest_ms = u64::try_from(spec.provider.shortest().as_millis()).unwrap_or(u64::MAX);
        let wish = Wish {
            lease: mint::lease_id().map_err(|why| mint::failure(connector, &spec, Access::Read, why))?,
            grant: None,
            agent: None,
            owner: String::new(),
            connector: connector.clone(),
            access: Access::Read,
            now_ms,
            until_ms: now_ms.saturating_add(shortest_ms.max(DISCOVERY_MS)),
        };
        let desk = Arc::clone(&self.desk);
        // Not ended by whoever stops waiting: what is made has to be given back.
        let made = tokio::spawn(async move {
            let lent = mint::mint(&desk, &spec, wish).await.map_err(|(failure, _)| failure)?;
            Ok(Guest { lent: Arc::new(lent), desk })
        });
        made.await.unwrap_or_else(|_| Err(mint::lost(connector))).map(Some)
    }

    async fn loan(&self, wanted: Wanted<'_>) -> Result<Option<Loan>, LendFailure> {
        let Wanted { grant, connector, now_ms, .. } = wanted;
        if !self.specs.load().contains_key(connector) {
            return Ok(None);
        }
        // Taken first, and the terms read second: see `replace`.
        let slot = self.slot(grant, connector, now_ms);
        let specs = self.specs.load();
        let Some(spec) = specs.get(connector) else { return Ok(None) };
        if !grant.is_live(now_ms) {
            return Err(mint::ended(connector, spec, grant));
        }
        if let Some(lent) = slot.usable(wanted.access, now_ms) {
            self.renew_soon(&lent, now_ms);
            return Ok(Some(loan_of(&lent)));
        }
        let spec = spec.clone();
        drop(specs);
        self.made(wanted, slot, spec).await.map(Some)
    }

    /// Has one made, or waits for whoever does.
    async fn made(&self, wanted: Wanted<'_>, slot: Arc<Slot>, spec: CredentialSpec) -> Result<Loan, LendFailure> {
        let Wanted { grant, connector, access, most, .. } = wanted;
        let came = Instant::now();
        let turn = Arc::clone(&slot.turn).lock_owned().await;
        // Whoever had the turn before may have had it made, or have failed: nobody who waited for that asks once more.
        let now_ms = self.desk.clock.now_ms();
        if let Some(lent) = slot.usable(access, now_ms) {
            return Ok(loan_of(&lent));
        }
        if slot.lock().is_closed || !grant.is_live(now_ms) {
            return Err(mint::ended(connector, &spec, grant));
        }
        if let Some((at, pause, failure)) = &turn.failed
            && (*at >= came || at.elapsed() < *pause)
        {
            return Err(failure.clone());
        }
        if let Some(until) = slot.lock().not_before.filter(|until| *until > Instant::now()) {
            let seconds = until.saturating_duration_since(Instant::now()).as_secs() + 1;
            let why = format!("its server has shown what it was lent, more than once: it is lent nothing for {seconds} s");
            return Err(mint::failure(connector, &spec, access, why));
        }
        let access = access.max(most());
        let making = Making { slot, turn, spec, access, grant: Arc::clone(grant), desk: Arc::clone(&self.desk) };
        let connector_id = connector.clone();
        // Not ended by whoever stops waiting: what is made has to be kept, or given back.
        let made = tokio::spawn(making.make(connector_id));
        let lent = made.await.unwrap_or_else(|_| Err(mint::lost(connector)))?;
        Ok(loan_of(&lent))
    }

    /// Has a lease that ends before its grant does renewed, where its time is nearly up. Nobody waits for that.
    fn renew_soon(&self, lent: &Arc<Lent>, now_ms: u64) {
        if !lent.begins_renewal(now_ms) {
            return;
        }
        let (desk, lent) = (Arc::clone(&self.desk), Arc::clone(lent));
        tokio::spawn(async move { mint::renew(&desk, &lent).await });
    }

    fn slot(&self, grant: &Arc<LiveGrant>, connector: &ConnectorId, now_ms: u64) -> Arc<Slot> {
        let id = &grant.terms().id;
        if let Some(held) = self.grants.get(id)
            && std::ptr::eq(held.grant.as_ptr(), Arc::as_ptr(grant))
            && let Some(slot) = held.lock().get(connector)
        {
            return Arc::clone(slot);
        }
        // Late, of a grant that has ended: it takes no place, least of all that of the one that was issued after it.
        if !grant.is_live(now_ms) {
            return Arc::default();
        }
        self.sweep();
        let new = || Arc::new(Held { grant: Arc::downgrade(grant), slots: Mutex::default() });
        let mut before = None;
        let slot = {
            let mut held = self.grants.entry(id.clone()).or_insert_with(new);
            if !std::ptr::eq(held.grant.as_ptr(), Arc::as_ptr(grant)) {
                before = Some(std::mem::replace(held.value_mut(), new()));
            }
            Arc::clone(held.lock().entry(connector.clone()).or_default())
        };
        // Outside of the lock: it is put on record.
        if let Some(before) = before {
            self.close_held(&before, "its grant was issued anew");
        }
        slot
    }

    /// Grants that are gone without [`Broker::returned`] leave nothing behind.
    fn sweep(&self) {
        if self.grants.len() < self.sweep_at.load(Ordering::Relaxed) {
            return;
        }
        let gone = self.grants.iter().filter(|held| held.grant.strong_count() == 0).map(|held| held.key().clone());
        let gone: Vec<GrantId> = gone.collect();
        for grant in gone {
            // Unless it was issued anew meanwhile.
            if let Some((_, held)) = self.grants.remove_if(&grant, |_, held| held.grant.strong_count() == 0) {
                self.close_held(&held, "its grant is gone");
            }
        }
        self.sweep_at.store((self.grants.len() * 2).max(SWEEP_FROM), Ordering::Relaxed);
    }

    fn close(&self, slot: &Slot, why: &str) {
        let lent = {
            let mut place = slot.lock();
            place.is_closed = true;
            place.lent.take()
        };
        if let Some(lent) = lent {
            give_back(&self.desk, &lent, why, None);
        }
    }
}

impl Credentials for Broker {
    fn lend<'a>(&'a self, wanted: Wanted<'a>) -> Later<'a, Result<Option<Loan>, LendFailure>> {
        Box::pin(self.loan(wanted))
    }

    fn leaked(&self, grant: &Arc<LiveGrant>, connector: &ConnectorId, lease: &Lease) {
        let held = self.grants.get(&grant.terms().id).map(|held| Arc::clone(held.value()));
        let Some(slot) = held.and_then(|held| held.lock().get(connector).cloned()) else { return };
        let lent = {
            let mut place = slot.lock();
            // What stands for ever would be lent again at the next call: to take it out would end the child, and nothing else.
            let lent = place.lent.take_if(|lent| lent.lease.id == lease.id && !lent.provider.is_standing());
            if lent.is_some() {
                place.leaks = place.leaks.saturating_add(1);
                // A server that shows whatever it is lent would have its issuer make one after the other.
                let pause = LEAK_PAUSE.saturating_mul(1 << place.leaks.min(10)).min(LONGEST_WAIT);
                place.not_before = (place.leaks > 1).then(|| Instant::now() + pause);
            }
            lent
        };
        if let Some(lent) = lent {
            give_back(&self.desk, &lent, "it was in what its server sent", None);
        }
        self.desk.hurry(|entry| entry.lease == lease.id);
    }

    fn lent(&self, grant: &LiveGrant) -> Vec<(ConnectorId, Arc<Lease>)> {
        let Some(held) = self.grants.get(&grant.terms().id).map(|held| Arc::clone(held.value())) else { return Vec::new() };
        let slots = held.lock();
        let lease = |slot: &Slot| slot.lock().lent.as_ref().map(|lent| Arc::clone(&lent.lease));
        slots.iter().filter_map(|(connector, slot)| Some((connector.clone(), lease(slot)?))).collect()
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("specs", &self.specs.load()).finish_non_exhaustive()
    }
}

/// One credential being made, by whoever has the turn.
struct Making {
    slot: Arc<Slot>,
    turn: OwnedMutexGuard<Turn>,
    spec: CredentialSpec,
    access: Access,
    grant: Arc<LiveGrant>,
    desk: Arc<Desk>,
}

impl Making {
    async fn make(mut self, connector: ConnectorId) -> Result<Arc<Lent>, LendFailure> {
        let made = self.made(&connector).await;
        let failures = if made.is_ok() { 0 } else { self.turn.failures.saturating_add(1) };
        self.turn.failures = failures;
        self.turn.failed = made.as_ref().err().map(|(failure, wait)| {
            // A secret that somebody keeps is looked for at once.
            let own = PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(LONGEST_PAUSE);
            let pause = if self.spec.provider.is_standing() { Duration::ZERO } else { own };
            (Instant::now(), wait.unwrap_or(pause).clamp(pause, LONGEST_WAIT), failure.clone())
        });
        made.map_err(|(failure, _)| failure)
    }

    async fn made(&self, connector: &ConnectorId) -> Result<Arc<Lent>, (LendFailure, Option<Duration>)> {
        let terms = self.grant.terms();
        let now_ms = self.desk.clock.now_ms();
        let ends_ms = self.grant.chain().map(|grant| grant.terms().expires_at_ms).min().unwrap_or(0);
        let until_ms = match self.spec.provider.longest() {
            Some(longest) => ends_ms.min(now_ms.saturating_add(u64::try_from(longest.as_millis()).unwrap_or(u64::MAX))),
            None => ends_ms,
        };
        let own = |why| (mint::failure(connector, &self.spec, self.access, why), None);
        let wish = Wish {
            lease: mint::lease_id().map_err(own)?,
            grant: Some(terms.id.clone()),
            agent: Some(terms.agent.clone()),
            owner: terms.owner.clone(),
            connector: connector.clone(),
            access: self.access,
            now_ms,
            until_ms,
        };
        let lent = Arc::new(mint::mint(&self.desk, &self.spec, wish).await?);
        let replaced = {
            let mut place = self.slot.lock();
            // The grant may have ended while it was made; `returned` has then been and gone.
            if place.is_closed || !self.grant.is_live(self.desk.clock.now_ms()) {
                drop(place);
                give_back(&self.desk, &lent, "its grant ended while it was made", None);
                return Err((mint::ended(connector, &self.spec, &self.grant), None));
            }
            place.lent.replace(Arc::clone(&lent))
        };
        self.desk.changed();
        if let Some(before) = replaced {
            let used = Some(Arc::downgrade(&before.lease));
            give_back(&self.desk, &before, "another one took its place", used);
        }
        Ok(lent)
    }
}

impl Slot {
    /// The lease, if it is good for this, now.
    fn usable(&self, access: Access, now_ms: u64) -> Option<Arc<Lent>> {
        let place = self.lock();
        let lent = place.lent.as_ref()?;
        (lent.lease.access >= access && now_ms < lent.lease.expires_at_ms()).then(|| Arc::clone(lent))
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        // A panic while it was held leaves a place that is whole.
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectorId, Arc<Slot>>> {
        // A panic while it was held leaves a map that is whole.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Handed to a call: the first one puts on record that it is lent.
fn loan_of(lent: &Lent) -> Loan {
    Loan { lease: Arc::clone(&lent.lease), fresh: lent.is_first_use() }
}

/// Who can take back what was lent: who is configured now for the same connector, or for another one of the same issuer.
fn provider_of(specs: &Specs, entry: &Entry) -> Option<Arc<dyn Provider>> {
    let fits = |spec: &&CredentialSpec| spec.provider.name() == entry.provider && spec.issuer == entry.issuer;
    let spec = specs.get(&entry.connector).filter(fits).or_else(|| specs.values().find(fits))?;
    Some(Arc::clone(&spec.provider))
}

/// Gives it back: what stands for ever is only on record, all else is for its issuer to take back.
fn give_back(desk: &Desk, lent: &Lent, why: &str, used: Option<Weak<Lease>>) {
    lent.lease.end();
    if lent.provider.is_standing() {
        let (entry, how) = (lent.entry(), "returned");
        desk.tell(how, &entry, Some(why.to_owned()));
        desk.remember(Ended { entry, how, why: why.to_owned(), uses: lent.uses(), at_ms: desk.clock.now_ms() });
        desk.changed();
        return;
    }
    let (entry, handle, provider) = (lent.entry(), lent.handle.clone(), Some(Arc::clone(&lent.provider)));
    desk.give_back(Returning { entry, handle, provider, why: why.to_owned(), used, uses: lent.uses() });
}

#[cfg(test)]
mod faults;
#[cfg(test)]
mod kit;
#[cfg(test)]
mod minted_tests;
#[cfg(test)]
mod tests;
