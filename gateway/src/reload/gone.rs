//! What ends with an agent that may do nothing any more: at a reload, and at a start for what changed while nothing ran.

use std::collections::BTreeMap;

use bailiwick_config::Config;
use bailiwick_pipeline::{grant::LiveGrant, ids::AgentId};
use bailiwick_store::{EndAs, GrantFault, TokenId, WriteFault};
use bailiwick_trail::Stream;
use futures_util::future::join_all;
use serde_json::json;

use crate::runtime::Runtime;

/// By whom it ends.
const BY: &str = "the configuration";

impl Runtime {
    /// Ends what operators made for agents that the configuration no longer has or has switched off: their grants; and for those that
    /// it no longer has, their tokens, so that another agent of the same id is not them. Grants of the configuration end with it. What
    /// fails keeps nothing else from being done; the first failure is told, and the next start does it again.
    pub(crate) async fn end_what_is_gone(&self) -> Result<(), WriteFault> {
        let config = self.config();
        let created = self.grants.list().into_iter().filter(|entry| {
            let terms = entry.grant.terms();
            !terms.from_config && entry.ending.is_none() && (is_gone(&config, &terms.agent) || is_beyond(&config, &entry.grant))
        });
        let ends = created.map(|entry| async move {
            let id = &entry.grant.terms().id;
            let why = "its agent, or one above it, is no longer registered, is disabled, or may no longer reach as far";
            match self.end_grant(id, EndAs::Revoked, BY, Some(why), why).await {
                Err(GrantFault::Write(fault)) => Err(fault),
                _ => Ok(()),
            }
        });
        let is_removed = |agent: &AgentId| config.agent(agent.as_str()).is_none();
        let (revoked, stored) = self.tokens.revoke_of(&is_removed, self.clock.now_ms());
        self.note_revoked(&revoked);
        let (ends, stored) = tokio::join!(join_all(ends), stored);
        ends.into_iter().chain([stored]).find_map(Result::err).map_or(Ok(()), Err)
    }

    fn note_revoked(&self, revoked: &BTreeMap<AgentId, Vec<TokenId>>) {
        for (agent, tokens) in revoked {
            let tokens: Vec<&str> = tokens.iter().map(TokenId::as_str).collect();
            let why = "its agent is no longer registered";
            let record = json!({"event": "agent_tokens_revoked", "by": BY, "agent": agent, "tokens": tokens, "why": why});
            if let Err(lost) = self.recorder.trail().append(Stream::Admin, self.clock.now_ms(), &record) {
                tracing::error!(%lost, "revoked tokens could not be put on record");
            }
        }
    }
}

/// Whether a grant reaches what its agent, or one above it in the chain, may not by this configuration. How high the agent of a grant itself
/// may reach is asked at each call.
fn is_beyond(config: &Config, grant: &LiveGrant) -> bool {
    let terms = grant.terms();
    let may_be = |agent: &AgentId| config.agent(agent.as_str()).is_none_or(|registered| registered.may_be_in(&terms.environment));
    let is_above =
        |agent: &AgentId| config.agent(agent.as_str()).is_none_or(|registered| registered.agent.ceiling < terms.ceiling);
    !may_be(&terms.agent) || grant.chain().skip(1).any(|above| is_above(&above.terms().agent) || !may_be(&above.terms().agent))
}

/// Whether this agent may do nothing by this configuration.
pub(super) fn is_gone(config: &Config, agent: &AgentId) -> bool {
    config.agent(agent.as_str()).is_none_or(|registered| registered.agent.disabled)
}
