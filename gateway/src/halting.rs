//! What people stop while the gateway runs: halts, and agents that are disabled. In force in memory first, then on disk, then drained;
//! and only then is it said that it is done.

use std::{collections::BTreeSet, time::Duration};

use bailiwick_pipeline::{
    grant::LiveGrant,
    halts::Halt,
    ids::{AgentId, GrantId},
};
use bailiwick_store::{EndAs, GrantFault, Stopped, TokenId, WriteFault};
use futures_util::future::join_all;

use crate::runtime::Runtime;

/// How long it is waited for what is being written downstream.
const PATIENCE: Duration = Duration::from_secs(5);

/// By whom it ends what is over because of something else.
const BY: &str = "the gateway";

/// What a halt came to. Nothing that it reaches is authorized any more, whatever this says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Halted {
    /// Whether it was not in force before.
    pub was_new: bool,
    /// Whether what was being written downstream has ended; if not, a write that began before is still under way.
    pub drained: bool,
}

/// What disabling an agent came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disabled {
    /// Whether no person had disabled it before.
    pub was_new: bool,
    /// Whether what was being written downstream has ended.
    pub drained: bool,
    /// The grants that ended with it.
    pub grants: Vec<GrantId>,
    /// The tokens that were revoked with it.
    pub tokens: Vec<TokenId>,
}

impl Runtime {
    /// Puts a halt in force. When this returns no call that it reaches is authorized and none begins to be written downstream; what was
    /// in flight is being cancelled, and it is on disk. It is in force from the first moment on, also where it can't be stored, which is
    /// a fault.
    pub async fn halt(&self, halt: &Halt, by: &str, reason: Option<&str>) -> Result<Halted, WriteFault> {
        let stopped = Stopped { since_ms: self.clock.now_ms(), by: by.to_owned(), reason: reason.map(str::to_owned) };
        let (was_new, stored) = self.halts.stop(halt, stopped);
        // A commit that looked before holds its grant's lock until its intent is on record.
        self.grants.settle();
        self.end_of(std::slice::from_ref(halt));
        if let Halt::Agent(id) = halt {
            self.front.close_sessions_of(|agent| agent == id);
        }
        let (stored, drained) = tokio::join!(stored, self.gateway.ports().halts.drained(halt, PATIENCE));
        stored?;
        Ok(Halted { was_new, drained })
    }

    /// Lifts a halt: on disk first. Says whether it was in force. Nothing that ended with it comes back.
    pub async fn thaw(&self, halt: &Halt) -> Result<bool, WriteFault> {
        self.halts.go_on(halt).await
    }

    /// Disables an agent until it is enabled: it is nobody any more, its grants and tokens are revoked. A grant of the configuration
    /// that ends with it stays ended.
    pub async fn disable(&self, id: &AgentId, by: &str, reason: Option<&str>) -> Result<Disabled, WriteFault> {
        let now_ms = self.clock.now_ms();
        let stopped = Stopped { since_ms: now_ms, by: by.to_owned(), reason: reason.map(str::to_owned) };
        let (was_new, stored) = self.disabled.stop(id, stopped);
        let (mut revoked, unproven) = self.tokens.revoke_of(&|agent| agent == id, now_ms);
        self.front.close_sessions_of(|agent| agent == id);
        let why =
            reason.map_or_else(|| "its agent was disabled".to_owned(), |reason| format!("its agent was disabled: {reason}"));
        let (ended, stored, unproven) = tokio::join!(self.revoke_grants_of(id, by, &why), stored, unproven);
        stored.and(unproven)?;
        let (grants, drained) = ended?;
        Ok(Disabled { was_new, drained, grants, tokens: revoked.remove(id).unwrap_or_default() })
    }

    /// Enables an agent that a person disabled: on disk first. Says whether one had. Grants and tokens that it had do not come back.
    pub async fn enable(&self, id: &AgentId) -> Result<bool, WriteFault> {
        self.disabled.go_on(id).await
    }

    /// Revokes all grants of an agent that are not over: which, and whether nothing is being written for them any more. What fails keeps
    /// nothing else from being done; the first failure is told.
    async fn revoke_grants_of(&self, id: &AgentId, by: &str, why: &str) -> Result<(Vec<GrantId>, bool), WriteFault> {
        let own = self.grants.list().into_iter().filter(|entry| entry.ending.is_none() && entry.grant.terms().agent == *id);
        let ends = own.map(|entry| async move {
            let grant = entry.grant.terms().id.clone();
            match self.end_grant(&grant, EndAs::Revoked, by, Some(why), "its agent was disabled").await {
                Err(GrantFault::Write(fault)) => Err(fault),
                // It is not there any more.
                Err(_) => Ok((grant, true)),
                Ok(ended) => Ok((grant, ended.drained)),
            }
        });
        let ends: Vec<(GrantId, bool)> = join_all(ends).await.into_iter().collect::<Result<_, _>>()?;
        let drained = ends.iter().all(|(_, drained)| *drained);
        Ok((ends.into_iter().map(|(grant, _)| grant).collect(), drained))
    }

    /// At a start: what an agent has that was disabled when the gateway went down in the middle of it.
    pub(crate) async fn end_what_is_disabled(&self) -> Result<(), WriteFault> {
        for (id, _) in self.disabled.list() {
            let (_, stored) = self.tokens.revoke_of(&|agent| *agent == id, self.clock.now_ms());
            stored.await?;
            self.revoke_grants_of(&id, BY, "its agent is disabled").await?;
        }
        Ok(())
    }

    /// Once a second: what began in the very moment of a halt, and is not in flight.
    pub(crate) fn end_what_is_halted(&self) {
        let halts = self.gateway.ports().halts.in_force();
        if !halts.is_empty() {
            self.end_of(&halts);
        }
    }

    /// Ends what waits or stays open for what is halted: questions, tasks, children, leases. Streams end by themselves.
    fn end_of(&self, halts: &[Halt]) {
        let ports = self.gateway.ports();
        for halt in halts {
            ports.rounds.forget_halted(halt);
            ports.tasks.forget_halted(halt);
            if let Halt::Connector(connector) = halt {
                self.connectors.halt(connector);
                self.broker.returned_by(connector, "the connector is stopped");
            }
        }
        self.end_of_grants(halts);
        if halts.contains(&Halt::Everything) {
            self.config().connectors.iter().for_each(|connector| self.connectors.halt(&connector.id));
        }
    }

    /// Ends what stays open for the grants that are halted: all grants are looked at once, and only for halts that can be of one.
    fn end_of_grants(&self, halts: &[Halt]) {
        let of_grants: Vec<&Halt> = halts.iter().filter(|halt| halt.stops_grants()).collect();
        if of_grants.is_empty() {
            return;
        }
        let is_halted = |grant: &LiveGrant| of_grants.iter().any(|halt| halt.is_of_grant(grant));
        let concerned: BTreeSet<GrantId> = self.grants.unended_of(is_halted).into_iter().collect();
        if !concerned.is_empty() {
            self.connectors.halt_grants(&|grant| concerned.contains(grant));
        }
        for grant in &concerned {
            self.broker.returned(grant, "it is stopped");
        }
    }
}
