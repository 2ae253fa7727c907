//! The moment in which another configuration comes into force, and what follows from it.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use bailiwick_console::Person;
use bailiwick_pipeline::{grant::LiveGrant, ids::GrantId, ports::Binding};
use bailiwick_store::{ConfigSync, WriteFault};
use futures_util::future::join_all;

use super::{Basis, Next, ReloadFault, basis::CHANGED, change, gone::is_gone};
use crate::{
    console::{people_of, subjects_of, unbacked},
    runtime::{Runtime, StartFault, approval_settings, entries_of, front_settings, settings_of},
};

/// How long a reload waits for what is being written downstream under a grant that it ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// A write to the store that is queued.
type Stored = Pin<Box<dyn Future<Output = Result<(), WriteFault>> + Send>>;

/// A configuration that is in force; what follows from it is still to be seen through.
#[must_use = "grants that ended are to be drained, and what changed is to be stored"]
pub(super) struct Switched {
    sync: ConfigSync,
    ended: Vec<Arc<LiveGrant>>,
    stored: Vec<Stored>,
    /// Who was registered before.
    people: Vec<Person>,
}

impl Switched {
    /// The grants that were issued anew without being changed, and those that stay ended because somebody ended them.
    pub(super) fn grants(&self) -> (Vec<String>, Vec<String>) {
        let names = |ids: &[GrantId]| ids.iter().map(ToString::to_string).collect();
        (names(&self.sync.reissued), names(&self.sync.stay_ended))
    }
}

impl Runtime {
    /// Puts a judged configuration in force. Nothing is awaited, and nothing can fail once something has changed.
    ///
    /// INVARIANT: no call is authorized here that neither the old nor the new configuration allows. A call reads the agent first,
    /// then the grant, then the world (tools, policies); makes its way ready; and is committed only if the agent is read again
    /// as it was, the grant is active and the world is the same one. So what is narrower comes before the world, and what is wider
    /// after it: whoever has something wider in hand has read the new world after it, and whoever is still in the old world
    /// has nothing but what both allow, or fails at the commit. The ways out belong to the world that a call is in by
    /// [`Tethered`](crate::adapters::Tethered).
    pub(super) fn switch(&self, next: Next) -> Result<Switched, ReloadFault> {
        let now_ms = self.clock.now_ms();
        let old = self.config();
        // Nobody else makes or ends a grant until this is dropped.
        let mut grants = self.grants.change_config(next.grants.clone(), now_ms)?;
        // 1. The ways out. Calls of the old world meet none that changed: they wait, and walk again in the new one.
        let untied = self.tether.untie(next.judged.reached());
        if let Err(faults) = self.connectors.replace(next.specs.values().cloned().collect()) {
            drop(untied);
            drop(self.tether.untie(self.worlds.reached()));
            return Err(StartFault::Connectors(faults.iter().map(ToString::to_string).collect()).into());
        }
        self.broker.replace(next.credentials);
        self.specs.store(Arc::new(next.specs));
        // A child that was lent what is lent no more is not left with it until somebody calls.
        let reached = next.judged.reached();
        for (connector, was) in self.worlds.reached() {
            if reached.get(&connector).is_some_and(|is| *is != was) {
                self.connectors.renew(&connector);
            }
        }
        // 2. What is narrower: agents, then grants, with what was lent for them and what was approved.
        let (before, after) = (entries_of(&old, self.is_demo), entries_of(&next.config, self.is_demo));
        self.agents.set(change::narrowed(&before, &after));
        self.bundles.narrow(&next.config.trust_domains);
        let listens_at = self.agents_at.get().copied().unwrap_or(next.config.server.listen);
        let url = next.config.server.public_url(listens_at);
        self.issuers.narrow(&next.config.issuers, &url);
        let ended = grants.narrow();
        for grant in &ended {
            let id = &grant.terms().id;
            self.broker.returned(id, "the configuration no longer has it so");
        }
        let (was, is) = (Basis::of(&old), Basis::of(&next.config));
        // Other policies make nothing void by themselves: a call that comes for its approval is asked about anew, and the approval is void
        // where they ask for more.
        let is_void = |binding: &Binding| {
            let is_ended =
                |grant: &Arc<LiveGrant>| grant.terms().id == binding.grant && binding.grant_revision <= grant.revision();
            let is_reached = reached.get(&binding.connector) == Some(&binding.connector_fingerprint);
            was.voids(&is, binding)
                .or_else(|| (!is_reached).then(|| format!("{CHANGED}: connector `{}`", binding.connector)))
                .or_else(|| ended.iter().any(is_ended).then(|| format!("{CHANGED}: grant `{}`", binding.grant)))
        };
        let voided = self.approvals.void_by(now_ms, &is_void);
        let (people, after_people) = (people_of(&old), people_of(&next.config));
        let unbacked_now = self.approvals.void_those(now_ms, &|approval| unbacked(&people, &after_people, approval));
        // 3. The world: connectors, tools, policies, at once. A commit that still found the old one is on record when this is past.
        self.worlds.serve_config(next.judged);
        self.grants.settle();
        // 4. How much, how long, from where; and once more what was asked or decided in between under the old settings.
        self.approvals.set_settings(approval_settings(&next.config));
        let voided_since = self.approvals.void_by(now_ms, &is_void);
        self.gateway.set_settings(settings_of(&next.config));
        self.gateway.ports().detections.set(next.config.detections.clone());
        self.front.set_settings(front_settings(&next.config));
        // 5. What is wider: grants, then those who speak for agents, then agents.
        let (sync, issued) = grants.widen();
        self.bundles.keep(&next.config.trust_domains);
        self.issuers.replace(&next.config.issuers, &url);
        self.agents.set(after);
        self.config.store(Arc::new(next.config));
        drop(untied);
        let store = self.store.clone();
        let stored: Vec<Stored> = vec![
            Box::pin(issued),
            Box::pin(async move { voided.await.map(drop) }),
            Box::pin(async move { voided_since.await.map(drop) }),
            Box::pin(async move { unbacked_now.await.map(drop) }),
            Box::pin(async move { is.keep(&store).await }),
        ];
        Ok(Switched { sync, ended, stored, people })
    }

    /// Sees through what follows: nothing is written downstream any more for what has ended, and all of it is stored. Returns why
    /// something could not be stored: it is in force nevertheless.
    pub(super) async fn see_through(&self, switched: Switched) -> Option<WriteFault> {
        let Switched { ended, mut stored, people, .. } = switched;
        let config = self.config();
        // Before anything else is waited for: whoever is no longer registered is logged out.
        if let Some(console) = self.console.get()
            && let Err(refused) = console.set_people(people_of(&config)).await
        {
            tracing::error!(
                why = refused.message(),
                "passkeys of people who are gone could not be removed: they are good for nothing"
            );
        }
        // And what they said yes to between the moment and this one.
        let now = people_of(&config);
        let voided = self.approvals.void_those(self.clock.now_ms(), &|approval| unbacked(&people, &now, approval));
        stored.push(Box::pin(async move { voided.await.map(drop) }));
        if let Some(console) = self.console.get() {
            console.set_subjects(subjects_of(&config)).await;
        }
        self.front.close_sessions_of(|agent| is_gone(&config, agent));
        let drained = join_all(ended.iter().map(|grant| grant.drained(PATIENCE)));
        let (gone, drained, stored, told) = tokio::join!(self.end_what_is_gone(), drained, join_all(stored), self.tell());
        // What was added to grants that go on is judged by the configuration that is in force now.
        let gone = gone.and(self.end_extensions().await);
        if drained.iter().any(|is_drained| !is_drained) {
            tracing::warn!("something is still being written downstream for a grant that has ended: it began before");
        }
        [gone, told].into_iter().chain(stored).find_map(Result::err)
    }

    /// Makes void what is asked or approved for a connector that is no longer what it was: a call that was on its way when that
    /// changed may have asked after it.
    pub(crate) fn void_outdated(&self) -> impl Future<Output = Result<(), WriteFault>> + use<> {
        let reached = self.worlds.reached();
        let voided = self.approvals.void_by(self.clock.now_ms(), &|binding| {
            let is_reached = reached.get(&binding.connector) == Some(&binding.connector_fingerprint);
            (!is_reached).then(|| format!("{CHANGED}: connector `{}`", binding.connector))
        });
        async move { voided.await.map(drop) }
    }
}
