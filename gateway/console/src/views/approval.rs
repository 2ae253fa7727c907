//! Questions to a person.

use std::collections::BTreeSet;

use bailiwick_policy::Band;

use super::Fact;

/// The questions that wait, a page of them.
#[derive(Debug, Clone, Default)]
pub struct Inbox {
    /// The most risky first, then those with the least time.
    pub rows: Vec<InboxRow>,
    /// How many wait in all.
    pub total: usize,
    /// Which page this is, from 1.
    pub page: usize,
    /// How many pages there are, at least 1.
    pub pages: usize,
    /// What was decided or ended last, the newest first.
    pub lately: Vec<Aged>,
}

/// A question in the inbox.
#[derive(Debug, Clone)]
pub struct InboxRow {
    /// The approval.
    pub id: String,
    /// The code that the agent sees too.
    pub code: String,
    /// `connector__tool`.
    pub tool: String,
    /// The connector.
    pub connector: String,
    /// What the tool does, as a word.
    pub kind: String,
    /// How risky it is.
    pub band: Band,
    /// The agent.
    pub agent: String,
    /// Who is accountable.
    pub owner: String,
    /// The task, as the grant says it.
    pub purpose: String,
    /// When it was asked.
    pub asked_at_ms: u64,
    /// Until when it can be decided.
    pub approve_by_ms: u64,
    /// Whether the agent waits at this moment.
    pub waiting: bool,
    /// How many have said yes, and how many must.
    pub yes: (usize, usize),
    /// Whether the task was worded by an agent that handed it on, and by nobody else.
    pub purpose_is_claimed: bool,
    /// Whether this viewer may decide it together with others.
    pub choosable: bool,
}

/// A question that is over, in the inbox.
#[derive(Debug, Clone)]
pub struct Aged {
    /// The approval.
    pub id: String,
    /// Its code.
    pub code: String,
    /// `connector__tool`.
    pub tool: String,
    /// The agent.
    pub agent: String,
    /// Its state, as a word.
    pub state: String,
    /// Who decided, and when; none where nobody did.
    pub by: Option<String>,
    /// When.
    pub at_ms: u64,
}

/// One question, whole.
#[derive(Debug, Clone)]
pub struct ApprovalView {
    /// Its id.
    pub id: String,
    /// The code that the agent sees too.
    pub code: String,
    /// Its state, as a word.
    pub state: String,
    /// What became of it, where it no longer waits.
    pub settled: Option<Settled>,
    /// `connector__tool`.
    pub tool: String,
    /// The tool's own name.
    pub name: String,
    /// The connector.
    pub connector: String,
    /// What stands behind the connector: its program or its address.
    pub place: String,
    /// What the tool does, as a word.
    pub kind: String,
    /// How risky it is.
    pub band: Band,
    /// Why it asks.
    pub asked: Vec<Asked>,
    /// The agent.
    pub agent: String,
    /// The grant.
    pub grant: String,
    /// The task, as the grant says it.
    pub purpose: String,
    /// Whether the task was worded by an agent that handed it on, and by nobody else.
    pub purpose_is_claimed: bool,
    /// Who is accountable for the grant.
    pub owner: String,
    /// Who handed the grant on, nearest first: agent and owner.
    pub delegators: Vec<(String, String)>,
    /// What the task has touched, and where the call sends data; none where there is nothing to say.
    pub flow: Option<String>,
    /// When it was asked.
    pub asked_at_ms: u64,
    /// Until when it can be decided.
    pub approve_by_ms: u64,
    /// Whether the agent waits at this moment.
    pub waiting: bool,
    /// What would be sent.
    pub arguments: Arguments,
    /// The digest of the arguments.
    pub args_digest: String,
    /// The digest of everything that a yes would be bound to.
    pub binding_digest: String,
    /// The last call of this tool that somebody approved, where it is remembered.
    pub earlier: Option<Earlier>,
    /// The same call, run or approved lately.
    pub likewise: Option<Likewise>,
    /// The tool as it was accepted.
    pub definition: Option<Definition>,
    /// What the agent says of it, in its own words.
    pub claim: Option<String>,
    /// The last calls of this task, the newest first.
    pub ahead: Vec<Ahead>,
    /// What persons have said so far.
    pub said: Vec<Said>,
    /// How many must say yes.
    pub quorum: usize,
    /// How many other calls of this tool wait for the same task.
    pub siblings: usize,
    /// Where it was let go in an emergency: who did, and who has looked at that.
    pub broken: Option<Broken>,
    /// What this viewer may do about it.
    pub choices: Choices,
}

/// The arguments of a call.
#[derive(Debug, Clone)]
pub enum Arguments {
    /// The very text that would be sent, and the JSON pointers of what is not to be shown.
    Kept {
        /// JSON.
        text: String,
        /// RFC 6901.
        masked: BTreeSet<String>,
    },
    /// They are no longer kept.
    Gone,
    /// They can't be read: why.
    Unreadable(String),
}

/// A rule that asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its id.
    pub rule: String,
    /// Where it is written, where that is known.
    pub place: Option<String>,
    /// Its reason.
    pub reason: Option<String>,
    /// Whom it asks for.
    pub label: String,
    /// How many.
    pub quorum: usize,
}

/// A call of the same tool that was approved before.
#[derive(Debug, Clone)]
pub struct Earlier {
    /// Its code.
    pub code: String,
    /// By whom.
    pub by: String,
    /// When.
    pub at_ms: u64,
    /// Its arguments, JSON.
    pub text: String,
}

/// Exactly the same call, before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Likewise {
    /// Its approval.
    pub id: String,
    /// Its code.
    pub code: String,
    /// Its state, as a word.
    pub state: String,
    /// When it ran or was decided.
    pub at_ms: u64,
    /// What the record says of how it ended.
    pub run: Option<Run>,
}

/// What a call did, as far as it is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// How it ended, as a word.
    pub outcome: String,
    /// Why, where that is on record.
    pub why: Option<String>,
    /// The call, for who may read the record.
    pub call: Option<String>,
    /// When.
    pub at_ms: u64,
}

/// That a call was let go in an emergency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// By whom.
    pub by: String,
    /// When.
    pub at_ms: u64,
    /// Why, as they said.
    pub reason: Option<String>,
    /// Who has looked at it since, when, and what they noted.
    pub reviewed: Option<(String, u64, Option<String>)>,
}

/// A call that was let go in an emergency, and that nobody has looked at since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewRow {
    /// The approval.
    pub id: String,
    /// Its code.
    pub code: String,
    /// `connector__tool`.
    pub tool: String,
    /// How risky it is.
    pub band: Band,
    /// The agent.
    pub agent: String,
    /// Its state, as a word.
    pub state: String,
    /// The digest of the exact call.
    pub binding_digest: String,
    /// Who let it go, and why.
    pub broken: Broken,
    /// Why this viewer may not say that they have looked at it, where they may not.
    pub barred: Option<String>,
    /// Why nobody can be sure that this viewer is a second person, where they count as one.
    pub doubt: Option<String>,
}

/// A tool as it was accepted.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The definition, JSON.
    pub text: String,
    /// Its digest.
    pub digest: String,
    /// By whom it was accepted.
    pub accepted_by: String,
    /// When.
    pub accepted_at_ms: u64,
    /// Whether its server offers something else by now, so that it can't be called.
    pub drifted: bool,
    /// Whether it is the one that this question is about.
    pub same: bool,
}

/// A call of the same task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    /// The call.
    pub call: String,
    /// The tool.
    pub tool: String,
    /// How it ended, as a word.
    pub outcome: String,
    /// When.
    pub at_ms: u64,
    /// Its trace.
    pub trace: String,
}

/// What somebody said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Who.
    pub by: String,
    /// How they were proven, as words.
    pub how: String,
    /// Yes.
    pub yes: bool,
    /// When.
    pub at_ms: u64,
    /// Why.
    pub reason: Option<String>,
    /// The digest of what they were shown, where it is known.
    pub view: Option<String>,
    /// What was decided at once with it, where it was not alone: how many calls, and the digest of exactly those.
    pub batch: Option<(usize, String)>,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// In one sentence: who decided what.
    pub what: String,
    /// When.
    pub at_ms: Option<u64>,
    /// Why, where that was said.
    pub why: Option<String>,
}

/// What a viewer may do about a question.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    /// Why they may not decide, where they may not.
    pub barred: Option<String>,
    /// Why a yes of theirs would not count, where it would not. A no would.
    pub no_yes: Option<String>,
    /// Whether the code is to be typed.
    pub type_code: bool,
    /// What "for this task" would allow, where the rule permits that.
    pub for_task: Option<Vec<Fact>>,
}
