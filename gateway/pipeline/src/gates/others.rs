//! What a task was lent for other connectors: no server may show that either, whoever gave it to it.

use std::sync::Arc;

use bailiwick_schemas::names::ConnectorId;
use bytes::Bytes;

use super::{Approved, arm::leak_of, screen::without_secret};
use crate::{
    grant::LiveGrant,
    ports::{Lease, Ports},
    refusal::Refusal,
    way::Way,
};

/// The leases of a task but for the one that a call has, and how often each was seen.
#[derive(Default)]
pub(super) struct Others(Vec<(ConnectorId, Arc<Lease>, usize)>);

impl Others {
    /// Those that there are by now, and these, which the call has shown before: they are lent no more, and may still be good.
    pub(super) fn of(grant: &LiveGrant, own: Option<&Lease>, shown: &Shown, ports: &Ports) -> Self {
        let lent = ports.credentials.lent(grant).into_iter().filter(|(_, lease)| !shown.has(lease));
        let others = lent.chain(shown.0.iter().cloned()).filter(|(_, lease)| own.is_none_or(|own| own.id != lease.id));
        Self(others.map(|(connector, lease)| (connector, lease, 0)).collect())
    }

    /// How often any was seen.
    pub(super) fn seen(&self) -> usize {
        self.0.iter().map(|(.., seen)| seen).sum()
    }

    /// The JSON text, or what was made of it, without any of them; none where nothing was taken out of it at all.
    pub(super) fn taken_out(&mut self, text: &Bytes, clean: Option<Bytes>) -> Result<Option<Bytes>, String> {
        self.0.iter_mut().try_fold(clean, |clean, (_, lease, seen)| {
            let cleaner = without_secret(clean.as_ref().unwrap_or(text), Some(lease.needles()), None, seen)?;
            Ok(cleaner.or(clean))
        })
    }

    /// Whether any is in these bytes; each is counted.
    pub(super) fn is_in(&mut self, bytes: &[u8]) -> bool {
        self.0.iter_mut().fold(false, |is_in, (_, lease, seen)| {
            let is_here = lease.is_in(bytes);
            *seen += usize::from(is_here);
            is_in | is_here
        })
    }

    /// Those that were seen, each with its connector and how often.
    pub(super) fn shown(&self) -> impl Iterator<Item = (&ConnectorId, &Arc<Lease>, usize)> {
        self.0.iter().filter(|(.., seen)| *seen > 0).map(|(connector, lease, seen)| (connector, lease, *seen))
    }

    /// Each that was seen is on record, once for a call, and lent no more.
    pub(super) fn on_record(&self, call: &Approved<'_>, ports: &Ports, way: &mut Way<'_>) -> Result<(), Refusal> {
        for (connector, lease, seen) in self.shown() {
            if !way.seen.shown.has(lease) {
                way.trace.important = true;
                leak_of(connector, call, lease, seen, ports, way)?;
                way.seen.shown.add(connector, lease);
            }
        }
        Ok(())
    }
}

/// The leases whose secrets a call has shown, each with its connector.
#[derive(Default)]
pub(crate) struct Shown(Vec<(ConnectorId, Arc<Lease>)>);

impl Shown {
    pub(super) fn add(&mut self, connector: &ConnectorId, lease: &Arc<Lease>) {
        self.0.push((connector.clone(), Arc::clone(lease)));
    }

    pub(super) fn has(&self, lease: &Lease) -> bool {
        self.0.iter().any(|(_, shown)| shown.id == lease.id)
    }
}
