//! What approvals rest on besides the exact call: who may decide, and what the configuration says of agents and connectors. It is kept
//! with them, so that a start finds what changed while nothing ran, and makes void what a reload would have made void.

use std::{collections::BTreeMap, fmt};

use bailiwick_config::Config;
use bailiwick_pipeline::ports::Binding;
use bailiwick_schemas::canonical::Digest;
use bailiwick_store::{LiveApprovals, Store, StoreFault, WriteFault};
use bailiwick_trail::{Stream, Trail};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::runtime::StartFault;

/// Where it is kept in the store.
const KEPT: &str = "approvals_rest_on";

/// Why approvals are void then.
pub(crate) const CHANGED: &str = "the configuration changed";

/// What approvals rest on by one configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Basis {
    allow_same_user: bool,
    agents: BTreeMap<String, Digest>,
    connectors: BTreeMap<String, Digest>,
}

impl Basis {
    /// By this configuration.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            allow_same_user: config.approvals.allow_same_user,
            agents: config.agents.iter().map(|registered| (registered.agent.id.to_string(), said(registered))).collect(),
            connectors: config.connectors.iter().map(|connector| (connector.id.to_string(), said(connector))).collect(),
        }
    }

    /// Why what was asked or approved on this basis is void on that one, if it is: what differs.
    pub(crate) fn voids(&self, now: &Self, binding: &Binding) -> Option<String> {
        let (agent, connector) = (binding.agent.as_str(), binding.connector.as_str());
        if self.allow_same_user && !now.allow_same_user {
            return Some(format!("{CHANGED}: approvals.allow_same_user"));
        }
        if self.agents.get(agent) != now.agents.get(agent) {
            return Some(format!("{CHANGED}: agent `{agent}`"));
        }
        let is_same = self.connectors.get(connector) == now.connectors.get(connector);
        (!is_same).then(|| format!("{CHANGED}: connector `{connector}`"))
    }

    /// Keeps it. Only when what it makes void is queued to be stored: else a crash in between would have that forgotten.
    pub(crate) async fn keep(&self, store: &Store) -> Result<(), WriteFault> {
        let text = serde_json::to_string(self).map_err(|fault| WriteFault::Unstorable(fault.to_string()))?;
        store.set_meta(KEPT, Some(&text)).await
    }

    /// What was kept last; none where nothing was, or where it can't be read, which makes everything void.
    fn kept(store: &Store) -> Result<Option<Self>, StoreFault> {
        Ok(store.meta(KEPT)?.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// At a start: makes void what rests on another basis than this one, puts that on record, and keeps this one.
    pub(crate) async fn take_up(
        &self,
        store: &Store,
        approvals: &LiveApprovals,
        trail: &Trail,
        now_ms: u64,
    ) -> Result<(), StartFault> {
        let before = Self::kept(store)?;
        if before.as_ref() == Some(self) {
            return Ok(());
        }
        let void = approvals.void_by(now_ms, &|binding| match &before {
            Some(before) => before.voids(self, binding),
            None => Some(CHANGED.to_owned()),
        });
        let voided = void.await?;
        if !voided.is_empty() {
            let ids: Vec<String> = voided.iter().map(|approval| approval.id.to_string()).collect();
            trail.append(Stream::Admin, now_ms, &json!({"event": "approvals_voided", "why": CHANGED, "approvals": ids}))?;
        }
        self.keep(store).await?;
        Ok(())
    }
}

/// All that the configuration says of something, as one digest.
fn said(of: &impl fmt::Debug) -> Digest {
    Digest::of(format!("{of:?}").as_bytes())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::collections::BTreeSet;

    use super::*;

    const TEXT: &str = "[approvals]\nallow_same_user = true\n[[agents]]\nid = \"a\"\nowner = \"o@example.com\"\n[[agents]]\nid = \"b\"\n\
                        owner = \"o@example.com\"\n[[connectors]]\nid = \"s\"\ncommand = [\"/bin/false\"]\n[[connectors]]\nid = \"t\"\n\
                        command = [\"/bin/false\"]\ntools.x = { kind = \"write\", band = \"high\" }\n";

    fn basis(text: &str) -> Basis {
        Basis::of(&bailiwick_config::embedded(text, []).unwrap())
    }

    fn binding(agent: &str, connector: &str) -> Binding {
        Binding {
            agent: agent.parse().unwrap(),
            grant: "g".parse().unwrap(),
            grant_revision: 1,
            connector: connector.parse().unwrap(),
            connector_fingerprint: Digest::of(b"c"),
            tool: format!("{connector}__x"),
            tool_digest: Digest::of(b"t"),
            args_digest: Digest::of(b"a"),
            policy_digest: "p".to_owned(),
            needs: BTreeSet::new(),
            obligations: Vec::new(),
        }
    }

    #[test]
    fn what_is_void_is_what_concerns_it() {
        let before = basis(TEXT);
        let void = |text: &str| {
            let (now, mut void) = (basis(text), Vec::new());
            for (agent, connector) in [("a", "s"), ("a", "t"), ("b", "s"), ("b", "t")] {
                if before.voids(&now, &binding(agent, connector)).is_some() {
                    void.push(format!("{agent}{connector}"));
                }
            }
            void.join(" ")
        };
        assert_eq!(void(TEXT), "");
        assert_eq!(void(&TEXT.replace("same_user = true", "same_user = false")), "as at bs bt");
        assert_eq!(void(&TEXT.replace("id = \"b\"\n", "id = \"b\"\nceiling = \"low\"\n")), "bs bt");
        assert_eq!(void(&TEXT.replace("id = \"a\"", "id = \"c\"")), "as at");
        assert_eq!(void(&TEXT.replace("\"write\"", "\"execute\"")), "at bt");
        assert_eq!(void(&TEXT.replacen("/bin/false", "/bin/true", 1)), "as bs");
        // Who may decide more takes nothing back of what was decided.
        let strict = basis(&TEXT.replace("same_user = true", "same_user = false"));
        assert!(strict.voids(&before, &binding("a", "s")).is_none() && strict != before);
    }

    #[test]
    fn it_is_kept_whole() {
        let basis = basis(TEXT);
        assert_eq!(serde_json::from_str::<Basis>(&serde_json::to_string(&basis).unwrap()).unwrap(), basis);
    }
}
