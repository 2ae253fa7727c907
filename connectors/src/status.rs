//! What is known about connectors and their children, for people and for the gateway.

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bailiwick_pipeline::ids::GrantId;
use bailiwick_schemas::{
    canonical::Digest,
    definition::{Fault, Finding},
    names::{ConnectorId, ToolName},
};

use crate::{hearing::Changed, listing::Dropped, stderr::Redactor};

/// The longest name of a rejected tool.
const NAME_CHARS: usize = 60;

/// Something that happened to a connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectorEvent {
    /// A child was started, or a session over HTTP begun.
    Started {
        /// Of which connector.
        connector: ConnectorId,
        /// Its process id; none over HTTP.
        pid: Option<u32>,
        /// For which grant; none where the connector is shared.
        grant: Option<GrantId>,
    },
    /// A child has ended, and with it its process group; or a session over HTTP.
    Ended {
        /// Of which connector.
        connector: ConnectorId,
        /// Its process id; none over HTTP.
        pid: Option<u32>,
        /// For which grant; none where the connector is shared.
        grant: Option<GrantId>,
        /// Why, in words.
        why: String,
        /// Whether we wanted it to end.
        wanted: bool,
        /// Its exit status, in words; empty over HTTP.
        status: String,
    },
    /// A tool is not what was pinned: it must not be called under any grant. Told at each call that finds it so.
    Drifted {
        /// At which connector.
        connector: ConnectorId,
        /// Which tool.
        tool: ToolName,
        /// What it is now; none if it is gone, or its definition is not acceptable.
        found: Option<Digest>,
    },
    /// A server listed its tools, for the first time or otherwise than before.
    Listed {
        /// Of which connector.
        connector: ConnectorId,
        /// Its process id; none over HTTP.
        pid: Option<u32>,
        /// How many are acceptable.
        tools: usize,
        /// The digests of those, by the server's own names.
        digests: BTreeMap<String, Digest>,
        /// The ones that are not.
        rejected: Vec<Rejected>,
    },
    /// A list is another than before, or a server says so.
    ListChanged {
        /// Of which connector.
        connector: ConnectorId,
        /// In a session for this grant; none where the connector is shared.
        grant: Option<GrantId>,
        /// Which.
        list: Changed,
    },
}

/// A tool that a server offers and that is not acceptable, in words that may be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The name it claims: escaped, cut, and without what was lent to the server. Empty when it has none.
    pub tool: String,
    /// What is wrong with its definition: one of a few words, none of them the server's.
    pub fault: &'static str,
}

impl Rejected {
    /// What may be told of a finding in a [`Discovery`](crate::Discovery), which carries nothing of what was lent.
    pub fn of(finding: &Finding) -> Self {
        Self { tool: finding.tool.clone(), fault: word_for(&finding.fault) }
    }

    /// What may be told of a finding in what a child listed.
    pub(crate) fn in_list(dropped: &Dropped, redactor: &Redactor) -> Self {
        let tool = redactor.clean(&dropped.name).chars().take(NAME_CHARS).collect();
        Self { tool, fault: word_for(&dropped.fault) }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.tool, self.fault)
    }
}

fn word_for(fault: &Fault) -> &'static str {
    match fault {
        Fault::NotAnObject => "no object",
        Fault::NoName => "no name",
        Fault::Name(_) => "no fit name",
        Fault::Duplicate => "listed twice",
        Fault::TooLarge { .. } => "too large",
        Fault::TooDeep => "too deep",
        Fault::Invisible { .. } => "invisible text",
        Fault::Secret => "shows what it was lent",
        Fault::Input(_) => "unfit input schema",
        Fault::Output(_) => "unfit output schema",
        Fault::Shape { .. } => "malformed",
        _ => "not acceptable",
    }
}

/// How a connector is.
#[derive(Debug, Clone)]
pub struct ConnectorStatus {
    /// Which.
    pub id: ConnectorId,
    /// Its children, or its sessions over HTTP, oldest first.
    pub children: Vec<ChildStatus>,
    /// What was counted since the gateway started.
    pub counts: Counts,
    /// The last failure: how long ago, and what.
    pub last_failure: Option<(Duration, String)>,
    /// The end of what its children wrote to standard error: of those alive, and of the one that ended last.
    pub stderr: Vec<String>,
}

/// How a child, or a session over HTTP, is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildStatus {
    /// Its process id; none over HTTP.
    pub pid: Option<u32>,
    /// For which grant; none where the connector is shared.
    pub grant: Option<GrantId>,
    /// What it does.
    pub state: ChildState,
    /// How long ago it was started.
    pub age: Duration,
    /// Calls made ready or in flight.
    pub calls: usize,
}

/// What a child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildState {
    /// It has not finished the handshake.
    Starting,
    /// It can be called.
    Ready,
    /// It is on its way out.
    Ending,
}

impl ChildState {
    /// The word used in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Ending => "ending",
        }
    }
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls written.
    pub calls: u64,
    /// Children, or sessions, started; one that is lost to the question which protocol it speaks, and started again, counts once.
    pub starts: u64,
    /// Children started again after a failure.
    pub restarts: u64,
    /// Failures: starts, handshakes, and children that ended unasked.
    pub failures: u64,
    /// Answers to ids that were never given.
    pub unknown_ids: u64,
    /// Answers to ids that were answered, or cancelled, before.
    pub second_answers: u64,
    /// Questions of servers.
    pub server_requests: u64,
    /// Notifications of servers.
    pub notifications: u64,
    /// Progress and log messages that belong to no call that wants them.
    pub stray_news: u64,
    /// Lines, or bodies, that are no message.
    pub garbage_lines: u64,
    /// Messages to a child that were dropped, because it does not read.
    pub unsent_notes: u64,
}

/// The same, while counting.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) calls: Counter,
    pub(crate) starts: Counter,
    pub(crate) restarts: Counter,
    pub(crate) failures: Counter,
    pub(crate) unknown_ids: Counter,
    pub(crate) second_answers: Counter,
    pub(crate) server_requests: Counter,
    pub(crate) notifications: Counter,
    pub(crate) stray_news: Counter,
    pub(crate) garbage_lines: Counter,
    pub(crate) unsent_notes: Counter,
}

/// One number that only rises.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn rise(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(crate) fn now(&self) -> Counts {
        Counts {
            calls: self.calls.now(),
            starts: self.starts.now(),
            restarts: self.restarts.now(),
            failures: self.failures.now(),
            unknown_ids: self.unknown_ids.now(),
            second_answers: self.second_answers.now(),
            server_requests: self.server_requests.now(),
            notifications: self.notifications.now(),
            stray_news: self.stray_news.now(),
            garbage_lines: self.garbage_lines.now(),
            unsent_notes: self.unsent_notes.now(),
        }
    }
}
