//! What another configuration changes, and what of it a running gateway can't change.

use std::collections::BTreeSet;

use bailiwick_config::Config;
use bailiwick_pipeline::principal::Agent;
use bailiwick_store::AgentEntry;

use crate::admin::api::Changed;

/// What another configuration changes.
#[derive(Debug, Clone)]
pub(super) struct Changes {
    pub(super) agents: Changed,
    pub(super) connectors: Changed,
    pub(super) grants: Changed,
    /// Keys outside of those.
    pub(super) settings: Vec<String>,
    /// Keys whose value stays as it is until a restart.
    pub(super) needs_restart: Vec<String>,
}

impl Changes {
    /// What `after` changes. `needs_restart` is what of it was not taken.
    pub(super) fn between(before: &Config, after: &Config, needs_restart: Vec<String>) -> Self {
        Self {
            agents: changed(&before.agents, &after.agents, |registered| registered.agent.id.to_string()),
            connectors: changed(&before.connectors, &after.connectors, |connector| connector.id.to_string()),
            grants: changed(&before.grants, &after.grants, |grant| grant.id.to_string()),
            settings: settings(before, after),
            needs_restart,
        }
    }
}

fn changed<T: PartialEq>(before: &[T], after: &[T], id: impl Fn(&T) -> String) -> Changed {
    let find = |among: &[T], wanted: &str| among.iter().position(|one| id(one) == wanted);
    let mut found = Changed::default();
    for one in after {
        let name = id(one);
        match find(before, &name).and_then(|at| before.get(at)) {
            None => found.added.push(name),
            Some(old) if old != one => found.changed.push(name),
            Some(_) => {}
        }
    }
    found.removed = before.iter().map(&id).filter(|name| find(after, name).is_none()).collect();
    found
}

fn settings(before: &Config, after: &Config) -> Vec<String> {
    let (was, is) = (before, after);
    named(&[
        ("server.public_url", was.server.public_url != is.server.public_url),
        ("server.allowed_hosts", was.server.allowed_hosts != is.server.allowed_hosts),
        ("server.allowed_origins", was.server.allowed_origins != is.server.allowed_origins),
        ("server.max_body", was.server.max_body != is.server.max_body),
        ("server.max_sessions", was.server.max_sessions != is.server.max_sessions),
        ("server.session_idle", was.server.session_idle != is.server.session_idle),
        ("server.max_calls_per_agent", was.server.max_calls_per_agent != is.server.max_calls_per_agent),
        ("server.max_rate_per_agent", was.server.max_rate_per_agent != is.server.max_rate_per_agent),
        ("server.max_rate", was.server.max_rate != is.server.max_rate),
        ("approvals.hold", was.approvals.hold != is.approvals.hold),
        ("approvals.approve_by", was.approvals.approve_by != is.approvals.approve_by),
        ("approvals.execute_by", was.approvals.execute_by != is.approvals.execute_by),
        ("approvals.deny_cooldown", was.approvals.deny_cooldown != is.approvals.deny_cooldown),
        ("approvals.keep_outcome", was.approvals.keep_outcome != is.approvals.keep_outcome),
        ("approvals.max_pending_per_agent", was.approvals.max_pending_per_agent != is.approvals.max_pending_per_agent),
        ("approvals.max_asked_per_hour", was.approvals.max_asked_per_hour != is.approvals.max_asked_per_hour),
        ("approvals.max_denied_in_row", was.approvals.max_denied_in_row != is.approvals.max_denied_in_row),
        ("approvals.remember", was.approvals.remember != is.approvals.remember),
        ("approvals.on_cancel", was.approvals.withdraw_on_cancel != is.approvals.withdraw_on_cancel),
        ("approvals.break_glass", was.approvals.break_glass != is.approvals.break_glass),
        ("auto_grants", was.auto_grants != is.auto_grants),
        ("approvals.allow_same_user", was.approvals.allow_same_user != is.approvals.allow_same_user),
        ("trail.keep_bodies", was.trail.keep_bodies != is.trail.keep_bodies),
        ("limits.max_result", was.limits.max_result != is.limits.max_result),
        ("limits.max_depth", was.limits.max_depth != is.limits.max_depth),
        ("issuers", was.issuers != is.issuers),
        ("policy.include_default", was.policy.include_default != is.policy.include_default),
        ("channels", was.channels != is.channels),
        ("detections", was.detections != is.detections),
        ("resource_servers", was.resource_servers != is.resource_servers),
        ("people", was.people != is.people),
        ("policy.files", was.policy.files != is.policy.files),
        ("policy.signed_by", was.policy.signed_by != is.policy.signed_by),
        ("policy.allow_older", was.policy.allow_older != is.policy.allow_older),
        ("policy.agent_groups", was.policy.agent_groups != is.policy.agent_groups),
        ("policy.teams", was.policy.teams != is.policy.teams),
        ("trust_domains", was.trust_domains != is.trust_domains),
    ])
}

fn named(keys: &[(&str, bool)]) -> Vec<String> {
    keys.iter().filter(|(_, is_other)| *is_other).map(|(key, _)| (*key).to_owned()).collect()
}

/// What of the wanted configuration a running gateway can take, and the keys that keep the value they have until a restart.
pub(super) fn takeable(mut wanted: Config, running: &Config) -> (Config, Vec<String>) {
    let (asked, kept) = (&mut wanted.server, &running.server);
    let keys = named(&[
        ("server.listen", asked.listen != kept.listen),
        ("server.console", asked.console != kept.console),
        ("server.max_connections", asked.max_connections != kept.max_connections),
        ("server.tls", asked.tls != kept.tls),
        ("server.header_timeout", asked.header_timeout != kept.header_timeout),
        ("server.idle_timeout", asked.idle_timeout != kept.idle_timeout),
        ("console", wanted.console != running.console),
        ("trail.segment_size", wanted.trail.segment_size != running.trail.segment_size),
        ("telemetry", wanted.telemetry != running.telemetry),
    ]);
    (asked.listen, asked.console, asked.max_connections) = (kept.listen, kept.console, kept.max_connections);
    asked.tls.clone_from(&kept.tls);
    (asked.header_timeout, asked.idle_timeout) = (kept.header_timeout, kept.idle_timeout);
    wanted.console = running.console.clone();
    wanted.trail.segment_size = running.trail.segment_size;
    wanted.telemetry = running.telemetry.clone();
    (wanted, keys)
}

/// The agents as far as both configurations have them: registered in both, with the lower ceiling, switched off if either says so,
/// and believed only as a user that both name, by a SPIFFE id that both name, and of an issuer only by what both write.
pub(super) fn narrowed(before: &[AgentEntry], after: &[AgentEntry]) -> Vec<AgentEntry> {
    let both = |entry: &AgentEntry| {
        let old = before.iter().find(|old| old.agent.id == entry.agent.id)?;
        let allowed: BTreeSet<u32> = old.uids.iter().copied().collect();
        let spiffe = entry.spiffe.iter().filter(|id| old.spiffe.contains(id)).cloned().collect();
        let agent = Agent {
            ceiling: entry.agent.ceiling.min(old.agent.ceiling),
            disabled: entry.agent.disabled || old.agent.disabled,
            ..entry.agent.clone()
        };
        let uids = entry.uids.iter().copied().filter(|uid| allowed.contains(uid)).collect();
        let subjects = entry.subjects.iter().filter(|subject| old.subjects.contains(subject)).cloned().collect();
        Some(AgentEntry { agent, uids, spiffe, subjects })
    };
    after.iter().filter_map(both).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::path::Path;

    use bailiwick_policy::Band;

    use super::*;

    fn config(text: &str) -> Config {
        bailiwick_config::load(Path::new("/c/config.toml"), text.to_owned(), []).unwrap()
    }

    fn entry(id: &str, ceiling: Band, disabled: bool, uids: &[u32]) -> AgentEntry {
        let agent = Agent { id: id.parse().unwrap(), owner: "o@example.com".to_owned(), ceiling, disabled };
        let spiffe = uids.iter().map(|uid| format!("spiffe://example.org/{uid}")).collect();
        AgentEntry { agent, uids: uids.to_vec(), spiffe, subjects: Vec::new() }
    }

    #[test]
    fn what_was_added_changed_and_removed_is_named() {
        let before =
            config("[[agents]]\nid = \"a\"\nowner = \"o@example.com\"\n[[agents]]\nid = \"b\"\nowner = \"o@example.com\"\n");
        let after = config(
            "[approvals]\nhold = \"1s\"\n[[agents]]\nid = \"b\"\nowner = \"p@example.com\"\n[[agents]]\nid = \"c\"\nowner = \"o@example.com\"\n",
        );
        let changes = Changes::between(&before, &after, Vec::new());
        assert_eq!(
            (changes.agents.added, changes.agents.changed, changes.agents.removed),
            (vec!["c".into()], vec!["b".into()], vec!["a".into()])
        );
        assert_eq!(changes.settings, ["approvals.hold"]);
        assert!(changes.grants.is_empty() && changes.connectors.is_empty());
        let none = Changes::between(&before, &before, Vec::new());
        assert!(none.agents.is_empty() && none.settings.is_empty());
    }

    #[test]
    fn what_needs_a_restart_keeps_its_value() {
        let running = config("");
        let wanted = config(
            "[server]\nlisten = \"127.0.0.1:1\"\nmax_connections = 7\nmax_rate_per_agent = 9\ntls = { certificate = \"c\", key = \"k\", client_auth = \"optional\" }\n[trail]\nsegment_size = \"2MiB\"\n[telemetry]\nservice_name = \"x\"\n",
        );
        let (taken, keys) = takeable(wanted, &running);
        assert_eq!(keys, ["server.listen", "server.max_connections", "server.tls", "trail.segment_size", "telemetry"]);
        assert_eq!(taken.server.listen, running.server.listen);
        assert_eq!((taken.trail, taken.telemetry), (running.trail, running.telemetry.clone()));
        assert_eq!((taken.server.max_rate_per_agent, taken.server.tls), (9, None));
    }

    #[test]
    fn between_two_configurations_an_agent_may_what_both_say() {
        let before =
            [entry("a", Band::High, false, &[1, 2]), entry("b", Band::Low, true, &[]), entry("gone", Band::Low, false, &[])];
        let after =
            [entry("a", Band::Low, false, &[2, 3]), entry("b", Band::High, false, &[]), entry("new", Band::Low, false, &[])];
        assert_eq!(narrowed(&before, &after), [entry("a", Band::Low, false, &[2]), entry("b", Band::Low, true, &[])]);
    }
}
