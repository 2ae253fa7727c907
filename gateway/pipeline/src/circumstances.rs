//! What policies may know of a call beside its arguments: of its task, of who asks and how, and of the clock.

use bailiwick_policy::{CallFacts, HistoryFacts};

use crate::{
    destination::Sending,
    grant::{LiveGrant, Standing},
    principal::AuthMethod,
    received::Transport,
};

/// A minute of the week, in UTC: all that policies know of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Minute {
    hour: u8,
    of_hour: u8,
    /// 1 is Monday (ISO 8601).
    weekday: u8,
}

impl Minute {
    /// The minute of this time, unix milliseconds.
    pub(crate) fn of(now_ms: u64) -> Self {
        let (minutes, days) = (now_ms / 60_000, now_ms / 86_400_000);
        let small = |number: u64| u8::try_from(number).unwrap_or(0);
        // The first day of that clock was a Thursday.
        Self { hour: small(minutes / 60 % 24), of_hour: small(minutes % 60), weekday: small((days + 3) % 7 + 1) }
    }
}

/// How a request came, and who sent it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) transport: Transport,
    /// The MCP revision that the agent speaks; empty where it speaks none.
    pub(crate) era: &'static str,
    pub(crate) method: AuthMethod,
}

/// What policies may know of a call under this grant, at this standing and this minute, that sends there.
pub(crate) fn facts<'a>(
    grant: &'a LiveGrant,
    sender: Sender,
    standing: Standing,
    at: Minute,
    sending: &'a Sending,
) -> CallFacts<'a> {
    let terms = grant.terms();
    let (bytes_out, cost) = grant.sums();
    let left = |limit: Option<u64>, used: u64| limit.map(|limit| limit.saturating_sub(used));
    CallFacts {
        environment: &terms.environment,
        calls_in_task: standing.calls,
        writes_in_task: standing.writes,
        untrusted_input: standing.labels.is_untrusted(),
        confidential: standing.labels.is_confidential(),
        labels: standing.labels,
        destination: &sending.text,
        destination_host: &sending.host,
        destination_hosts: &sending.hosts,
        external: sending.is_external,
        approvals: &[],
        transport: sender.transport.as_str(),
        era: sender.era,
        hour: at.hour,
        minute: at.of_hour,
        weekday: at.weekday,
        hop_depth: grant.depth(),
        authn: sender.method.as_str(),
        authn_strength: sender.method.strength(),
        bytes_out,
        cost,
        calls_left: left(terms.budget.calls, standing.calls),
        writes_left: left(terms.budget.writes, standing.writes),
        detections: &[],
        calls_last_minute: 0,
        history: HistoryFacts::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::Minute;

    #[test]
    fn the_clock_of_policies_is_utc() {
        let at = |now_ms| {
            let Minute { hour, of_hour, weekday } = Minute::of(now_ms);
            (weekday, hour, of_hour)
        };
        assert_eq!(at(0), (4, 0, 0));
        assert_eq!(at(3_599_999), (4, 0, 59));
        assert_eq!(at(3_600_000 * 23), (4, 23, 0));
        assert_eq!(at(86_400_000 * 3), (7, 0, 0));
        assert_eq!(at(86_400_000 * 4 - 1), (7, 23, 59));
        assert_eq!(at(86_400_000 * 4), (1, 0, 0));
        // 2026-11-22 05:30 UTC, a Sunday.
        assert_eq!(at(1_795_325_400_000), (7, 5, 30));
    }
}
