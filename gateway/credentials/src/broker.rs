//! Lends secrets, and takes them back.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use bailiwick_pipeline::{
    grant::LiveGrant,
    ids::GrantId,
    ports::{Credentials, Later, Lease, LeaseTerms, LendFailure, Loan},
};
use bailiwick_schemas::names::ConnectorId;

use crate::source::{CredentialSpec, EnvSecrets};

/// Lends each connector its credential, once for each grant.
pub struct Broker {
    /// What is lent now: swapped as a whole.
    terms: ArcSwap<Terms>,
    slots: Mutex<HashMap<GrantId, Slots>>,
}

/// What connectors are lent, and the environment that secrets may come from.
#[derive(Debug)]
struct Terms {
    specs: BTreeMap<ConnectorId, CredentialSpec>,
    env: EnvSecrets,
}

/// What one grant holds.
struct Slots {
    /// Told apart by the grant itself, not only its id: a reissued grant gets nothing of what the one before was lent.
    grant: std::sync::Weak<LiveGrant>,
    leases: HashMap<ConnectorId, Slot>,
}

/// Locked while the secret is read: whoever asks meanwhile gets the same lease.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Lease>>>>;

impl Broker {
    /// A broker for these connectors. `env` is what the gateway was started with.
    pub fn new(specs: BTreeMap<ConnectorId, CredentialSpec>, env: EnvSecrets) -> Self {
        Self { terms: ArcSwap::from_pointee(Terms { specs, env }), slots: Mutex::default() }
    }

    /// Puts these credentials in the place of those before. What was lent of one that changed or is gone is lent no more: returned
    /// are those leases, with the grant that each was for.
    pub fn replace(&self, specs: BTreeMap<ConnectorId, CredentialSpec>, env: EnvSecrets) -> Vec<(GrantId, Arc<Lease>)> {
        let before = self.terms.load_full();
        let changed: Vec<&ConnectorId> =
            before.specs.iter().filter(|(id, spec)| specs.get(*id) != Some(*spec)).map(|(id, _)| id).collect();
        // INVARIANT: swapped first, taken out second. Whoever still reads the old secret either had its slot before, which is no
        // longer anybody's then, or finds the terms changed and keeps nothing.
        self.terms.store(Arc::new(Terms { specs, env }));
        let mut returned = Vec::new();
        for (grant, held) in self.lock().iter_mut() {
            for slot in changed.iter().filter_map(|id| held.leases.remove(*id)) {
                let lease = slot.try_lock().ok().and_then(|mut lease| lease.take());
                returned.extend(lease.map(|lease| (grant.clone(), lease)));
            }
        }
        returned
    }

    /// Forgets what was lent for this grant: to be called when a grant ends. Returns the leases that end with it. A secret is
    /// wiped from memory when the last child that was given it is gone.
    pub fn returned(&self, grant: &GrantId) -> Vec<Arc<Lease>> {
        let slots = self.lock().remove(grant);
        let held = slots.into_iter().flat_map(|slots| slots.leases.into_values());
        held.filter_map(|slot| slot.try_lock().ok()?.take()).collect()
    }

    /// Forgets what this connector was lent, for whichever grant: to be called when it is stopped. Returns those leases, with the grant
    /// that each was for.
    pub fn returned_by(&self, connector: &ConnectorId) -> Vec<(GrantId, Arc<Lease>)> {
        let mut returned = Vec::new();
        for (grant, held) in self.lock().iter_mut() {
            let slot = held.leases.remove(connector);
            let lease = slot.and_then(|slot| slot.try_lock().ok()?.take());
            returned.extend(lease.map(|lease| (grant.clone(), lease)));
        }
        returned
    }

    /// Reads the credential of one connector and forgets it again: for `check` and `doctor`.
    pub async fn try_out(&self, connector: &ConnectorId) -> Result<(), LendFailure> {
        let terms = self.terms.load_full();
        let Some(spec) = terms.specs.get(connector) else {
            return Ok(());
        };
        make(connector, spec, &terms.env, 0).await.map(drop)
    }

    /// Lends the credential of one connector to nobody's grant, for the moment in which an admin lists its tools; `None` where it
    /// needs none. It is not kept.
    pub async fn for_discovery(&self, connector: &ConnectorId) -> Result<Option<Arc<Lease>>, LendFailure> {
        let terms = self.terms.load_full();
        let Some(spec) = terms.specs.get(connector) else {
            return Ok(None);
        };
        make(connector, spec, &terms.env, 0).await.map(|lease| Some(Arc::new(lease)))
    }

    async fn loan(&self, grant: &Arc<LiveGrant>, connector: &ConnectorId, now_ms: u64) -> Result<Option<Loan>, LendFailure> {
        let terms = self.terms.load_full();
        let Some(spec) = terms.specs.get(connector) else {
            return Ok(None);
        };
        let ended = || failure(connector, spec, format!("grant `{}` is not live", grant.terms().id));
        if !grant.is_live(now_ms) {
            return Err(ended());
        }
        let slot = self.slot(grant, connector);
        let mut held = slot.lock().await;
        if let Some(lease) = held.as_ref().filter(|lease| now_ms < lease.expires_at_ms) {
            return Ok(Some(Loan { lease: Arc::clone(lease), fresh: false }));
        }
        let expires_at_ms = grant.chain().map(|grant| grant.terms().expires_at_ms).min().unwrap_or(0);
        let lease = Arc::new(make(connector, spec, &terms.env, expires_at_ms).await?);
        // It may have ended while the secret was read; `returned` has then been and gone.
        if !grant.is_live(now_ms) {
            return Err(ended());
        }
        // Of another one than is lent by now: not kept for the next call.
        if self.terms.load().specs.get(connector) == Some(spec) {
            *held = Some(Arc::clone(&lease));
        }
        Ok(Some(Loan { lease, fresh: true }))
    }

    fn slot(&self, grant: &Arc<LiveGrant>, connector: &ConnectorId) -> Slot {
        let mut slots = self.lock();
        // Grants that are gone without `returned` leave nothing behind.
        slots.retain(|_, held| held.grant.strong_count() > 0);
        let new = || Slots { grant: Arc::downgrade(grant), leases: HashMap::new() };
        let held = slots.entry(grant.terms().id.clone()).or_insert_with(new);
        if !std::ptr::eq(held.grant.as_ptr(), Arc::as_ptr(grant)) {
            *held = new();
        }
        Arc::clone(held.leases.entry(connector.clone()).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<GrantId, Slots>> {
        // A panic while it was held leaves a map that is whole.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Credentials for Broker {
    fn lend<'a>(
        &'a self,
        grant: &'a Arc<LiveGrant>,
        connector: &'a ConnectorId,
        now_ms: u64,
    ) -> Later<'a, Result<Option<Loan>, LendFailure>> {
        Box::pin(self.loan(grant, connector, now_ms))
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("terms", &self.terms.load()).finish_non_exhaustive()
    }
}

async fn make(
    connector: &ConnectorId,
    spec: &CredentialSpec,
    env: &EnvSecrets,
    expires_at_ms: u64,
) -> Result<Lease, LendFailure> {
    let secret = spec.provider.read(env).await.map_err(|why| failure(connector, spec, why))?;
    let terms = LeaseTerms {
        id: lease_id().map_err(|why| failure(connector, spec, why))?,
        provider: spec.provider.as_str(),
        reference: spec.provider.reference(),
        injection: spec.injection.clone(),
        expires_at_ms,
    };
    Lease::new(terms, secret).map_err(|fault| failure(connector, spec, fault.to_string()))
}

fn failure(connector: &ConnectorId, spec: &CredentialSpec, why: String) -> LendFailure {
    LendFailure { connector: connector.clone(), reference: spec.provider.reference(), why }
}

fn lease_id() -> Result<String, String> {
    let mut random = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut random).map_err(|_| "there is no randomness for its id".to_owned())?;
    Ok(format!("lease-{:032x}", u128::from_be_bytes(random)))
}

#[cfg(test)]
mod tests;
