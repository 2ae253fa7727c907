//! What the outside fills. Adapters return facts; only gates make evidence of them.

use std::{collections::BTreeSet, future::Future, pin::Pin, sync::Arc};

use bailiwick_policy::{Confirm, Requirement};
use bailiwick_schemas::{
    canonical::Digest,
    names::{ConnectorId, QualifiedName},
};
use bytes::Bytes;

pub use crate::lease::{
    Access, Credentials, Injection, Lease, LeaseFault, LeaseTerms, LendFailure, Loan, Material, Prover, Template, TemplateFault,
    Wanted,
};
use crate::{
    catalogue::{Tool, World},
    detect::Detections,
    gates::{Outgoing, RawReply, Watching},
    grant::LiveGrant,
    halts::Halts,
    ids::{AgentId, ApprovalId, CallId, GrantId, RequestId},
    principal::{Presented, Principal},
    records::{DecisionRecord, DetectionRecord, IntentRecord, LabelledRecord, OutcomeRecord, SecretRecord},
    rounds::Rounds,
    tasks::Tasks,
    trace::CallTrace,
};

/// A future that a port returns.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// All ports, as the gates get them.
#[derive(Clone)]
pub struct Ports {
    /// Time and randomness.
    pub clock: Arc<dyn Clock>,
    /// Who is asking.
    pub identities: Arc<dyn Identities>,
    /// What they may do.
    pub grants: Arc<dyn Grants>,
    /// The catalogue and the policies.
    pub worlds: Arc<dyn Worlds>,
    /// What people said.
    pub approvals: Arc<dyn Approvals>,
    /// What is lent.
    pub credentials: Arc<dyn Credentials>,
    /// The ways out.
    pub connectors: Arc<dyn Connectors>,
    /// The record.
    pub trail: Arc<dyn Trail>,
    /// The traces.
    pub tracer: Arc<dyn Tracer>,
    /// What servers asked, and wait to hear.
    pub rounds: Arc<Rounds>,
    /// What servers, or people, answer later.
    pub tasks: Arc<Tasks>,
    /// What is stopped, and what is in flight.
    pub halts: Arc<Halts>,
    /// What stands out in what tasks do.
    pub detections: Arc<Detections>,
    /// How tasks end that their agents end.
    pub endings: Arc<dyn Endings>,
    /// Where agents ask for more than they were granted.
    pub requests: Arc<dyn Requests>,
}

/// Ends what an agent says is done.
pub trait Endings: Send + Sync {
    /// Ends a grant as completed by its own agent, with all that follows; durable when it returns. Whether nothing is being written
    /// downstream under it any more; else why not, for the operator.
    fn complete<'a>(&'a self, grant: &'a GrantId, agent: &'a AgentId, reason: &'a str) -> Later<'a, Result<bool, String>>;
}

/// For where no task can be ended by its agent.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoEndings;

impl Endings for NoEndings {
    fn complete<'a>(&'a self, _: &'a GrantId, _: &'a AgentId, _: &'a str) -> Later<'a, Result<bool, String>> {
        Box::pin(std::future::ready(Err("no task can be ended here".to_owned())))
    }
}

/// What an agent asks for beyond its grant. Whether there is any such tool is not looked at here.
#[derive(Debug, Clone, Copy)]
pub struct AccessWanted<'a> {
    /// The grant that it acts under.
    pub grant: &'a GrantId,
    /// The agent.
    pub agent: &'a AgentId,
    /// The tools, by their full names.
    pub tools: &'a BTreeSet<QualifiedName>,
    /// Why, in its words.
    pub reason: &'a str,
    /// For how long, milliseconds; not set means for the task.
    pub for_ms: Option<u64>,
    /// The call that asks.
    pub call: &'a CallId,
}

/// Where a request for more stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessState {
    /// Nobody has decided yet.
    Pending,
    /// The tools were granted; until then, where it was for a time.
    Granted {
        /// Unix milliseconds.
        until_ms: Option<u64>,
    },
    /// They were not.
    Denied {
        /// Why, in the words of whoever decided.
        reason: Option<String>,
        /// When it may be asked again, unix milliseconds.
        again_ms: u64,
    },
}

/// A request for more, as its agent is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessTicket {
    /// Which.
    pub id: RequestId,
    /// Where it stands.
    pub state: AccessState,
}

/// Why a request for more is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessFailure {
    /// Too many wait already.
    #[error("{0} requests of this task wait for a person already: go on with what is granted, or wait for an answer")]
    TooMany(usize),
    /// A person said no a moment ago.
    #[error("a person said no to a request of this task: ask again in {0} s, or go on with what is granted")]
    TooSoon(u64),
    /// The task has ended.
    #[error("the task has ended")]
    Ended,
    /// It can't be put on record or stored.
    #[error("the request can't be kept: {0}")]
    Lost(String),
}

/// Takes what agents ask for beyond their grants. Nothing is granted by it.
pub trait Requests: Send + Sync {
    /// Takes a request, or finds the one that asks for the same; on record and durable when it returns.
    fn request<'a>(&'a self, wanted: AccessWanted<'a>) -> Later<'a, Result<AccessTicket, AccessFailure>>;
}

/// For where nobody can be asked for more.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoRequests;

impl Requests for NoRequests {
    fn request<'a>(&'a self, _: AccessWanted<'a>) -> Later<'a, Result<AccessTicket, AccessFailure>> {
        Box::pin(std::future::ready(Err(AccessFailure::Lost("nobody can be asked here".to_owned()))))
    }
}

/// Time and randomness, so that tests set both.
pub trait Clock: Send + Sync {
    /// Wall clock, unix nanoseconds.
    fn now_ns(&self) -> u64;
    /// Wall clock, unix milliseconds.
    fn now_ms(&self) -> u64 {
        self.now_ns() / 1_000_000
    }
    /// Unpredictable bytes.
    fn random(&self) -> [u8; 16];
}

/// Proves identities. It may ask the network (workload identity), so it answers later.
pub trait Identities: Send + Sync {
    /// Who presents this?
    fn identify<'a>(&'a self, presented: &'a Presented) -> Later<'a, Result<Principal, IdentityFailure>>;
}

/// Why nobody is known by what was presented. The agent hears one and the same answer for all of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityFailure {
    /// Nothing was presented.
    #[error("no credential was presented")]
    Absent,
    /// A token that is not known, or no longer good.
    #[error("the token is unknown, expired or revoked")]
    Unknown,
    /// A signed token that proves nothing, and why.
    #[error("{0}")]
    Refused(String),
    /// A proof of a key that has to be made anew with this nonce in it (RFC 9449, section 9), and why.
    #[error("{why}")]
    Nonce {
        /// Why.
        why: String,
        /// The nonce.
        nonce: String,
    },
    /// A one-shot handle that the process which shows it does not hold, and why.
    #[error("the handle {0}")]
    Handle(String),
    /// Proven, but not a registered agent.
    #[error("{0} is not registered as an agent")]
    Unregistered(String),
    /// A certificate that was good when its connection was opened, and is no more.
    #[error("the client certificate of `{id}` is no longer good: {why}")]
    Outlived {
        /// The SPIFFE id in it.
        id: String,
        /// Why.
        why: String,
    },
    /// A certificate and a token of different agents.
    #[error("the bearer token is not of the agent `{0}`, which the client certificate proves")]
    Mixed(AgentId),
    /// The agent is switched off.
    #[error("agent `{0}` is disabled")]
    Disabled(AgentId),
    /// It can't be told now.
    #[error("identities can't be checked now: {0}")]
    Unavailable(String),
}

/// The live grants.
pub trait Grants: Send + Sync {
    /// The grant of this id, live or ended.
    fn by_id(&self, id: &GrantId) -> Option<Arc<LiveGrant>>;
    /// All grants of this agent, live or ended.
    fn of(&self, agent: &AgentId) -> Vec<Arc<LiveGrant>>;
}

/// The catalogue and the policies in force.
pub trait Worlds: Send + Sync {
    /// What is in force now.
    fn now(&self) -> Arc<World>;
}

/// What an approval is bound to. One byte of difference is another call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The agent.
    pub agent: AgentId,
    /// The grant.
    pub grant: GrantId,
    /// The grant's revision.
    pub grant_revision: u64,
    /// The connector.
    pub connector: ConnectorId,
    /// What the connector is and how it is reached.
    pub connector_fingerprint: Digest,
    /// The tool's name to agents.
    pub tool: String,
    /// The tool's pin.
    pub tool_digest: Digest,
    /// The lossless canonical form of the arguments.
    pub args_digest: Digest,
    /// The policies under which it was asked for.
    pub policy_digest: String,
    /// What policy asked for: rule, label, persons and lifetime of each need. A stricter rule is another call.
    pub needs: BTreeSet<String>,
    /// What policy demands beside a yes: what is masked, kept or cut off. A call with other obligations is another call.
    pub obligations: Vec<String>,
}

impl Binding {
    /// One digest over all of it: every part is preceded by its length, so that no two bindings share their bytes.
    pub fn digest(&self) -> Digest {
        let mut bytes = b"bailiwick.approval.v1\0".to_vec();
        let mut part = |text: &str| {
            bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        };
        part(self.agent.as_str());
        part(self.grant.as_str());
        part(&self.grant_revision.to_string());
        part(self.connector.as_str());
        part(&self.connector_fingerprint.to_string());
        part(&self.tool);
        part(&self.tool_digest.to_string());
        part(&self.args_digest.to_string());
        part(&self.policy_digest);
        self.needs.iter().for_each(|need| part(need));
        if !self.obligations.is_empty() {
            // No need is written so.
            part("obligations");
            self.obligations.iter().for_each(|demanded| part(demanded));
        }
        Digest::of(&bytes)
    }

    /// The digest of the call alone, whatever policies ask for: other policies that ask for the same, or for less, are no other call.
    pub fn call_digest(&self) -> Digest {
        Self { policy_digest: String::new(), needs: BTreeSet::new(), ..self.clone() }.digest()
    }

    /// The digest of what it has in common with the calls of its like: all but the arguments, and what policies ask for.
    pub fn like_digest(&self) -> Digest {
        Self { args_digest: Digest::of(b""), policy_digest: String::new(), needs: BTreeSet::new(), ..self.clone() }.digest()
    }

    /// The digest of what the agent wants done: with which tool, with which arguments, under whichever grant.
    pub fn wish_digest(&self) -> Digest {
        // Neither a name of an agent or connector nor that of a tool has a line end in it.
        let (agent, connector, tool, arguments) = (&self.agent, &self.connector, &self.tool, &self.args_digest);
        Digest::of(format!("bailiwick.wish.v1\n{agent}\n{connector}\n{tool}\n{arguments}").as_bytes())
    }

    /// Whether policy asks for nothing now that was not asked for when `given` was: each need was there, of the same rule and label, of
    /// no fewer persons, of no weaker class, and its word was good no longer. Else what differs.
    pub fn asks_no_more_than(&self, given: &Self) -> Result<(), String> {
        for need in self.needs.iter().filter(|need| !given.needs.contains(*need)) {
            let now = Need::read(need);
            let was = given.needs.iter().map(|need| Need::read(need)).find(|was| was.rule == now.rule && was.label == now.label);
            let more = match was {
                None => Some("a need"),
                Some(was) if now.quorum > was.quorum => Some("the quorum"),
                Some(was) if now.confirm > was.confirm => Some("the class"),
                Some(was) if !was.is_good_no_longer_than(&now) => Some("the lifetime"),
                Some(_) => None,
            };
            if let Some(more) = more {
                return Err(format!("policy asks for more now: {more} of rule `{}` (approval `{}`)", now.rule, now.label));
            }
        }
        Ok(())
    }
}

/// What a need says, taken apart.
struct Need<'a> {
    rule: &'a str,
    label: &'a str,
    quorum: u32,
    ttl_s: Option<u64>,
    confirm: usize,
}

/// Between the parts of a need.
const PART: char = '\u{1f}';

impl<'a> Need<'a> {
    /// What can't be read asks for the most.
    fn read(text: &'a str) -> Self {
        let mut parts = text.split(PART);
        let mut next = || parts.next().unwrap_or_default();
        let (rule, label, quorum, ttl_s, confirm) = (next(), next(), next(), next(), next());
        let known = Confirm::ALL.iter().position(|class| class.as_str() == confirm);
        // Before there were classes, a need had none: an approver's word was meant.
        let confirm = known.unwrap_or(if confirm.is_empty() { 1 } else { usize::MAX });
        Self { rule, label, quorum: quorum.parse().unwrap_or(u32::MAX), ttl_s: ttl_s.parse().ok(), confirm }
    }

    /// A lifetime that no rule said is the gateway's own: it compares with none that a rule said.
    fn is_good_no_longer_than(&self, now: &Self) -> bool {
        match (self.ttl_s, now.ttl_s) {
            (None, None) => true,
            (Some(was), Some(now)) => was <= now,
            _ => false,
        }
    }
}

/// One need, whole: two rules may ask for the same label, and one of them for more persons.
pub fn need_of(need: &Requirement) -> String {
    let ttl_s = need.ttl.map_or_else(|| "-".to_owned(), |ttl| ttl.as_secs().to_string());
    let (quorum, confirm) = (need.quorum, need.confirm.as_str());
    format!("{}{PART}{}{PART}{quorum}{PART}{ttl_s}{PART}{confirm}", need.rule, need.label)
}

/// Somebody whose task the call is a part of: the grant of the call was handed on from theirs.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegator {
    /// The agent.
    pub agent: AgentId,
    /// The owner of its grant.
    pub owner: String,
}

/// A call that wants a person's word.
#[derive(Debug)]
pub struct ApprovalRequest<'a> {
    /// What it is bound to.
    pub binding: &'a Binding,
    /// The places in the arguments that people are not shown, as JSON pointers.
    pub masked: &'a [String],
    /// The very bytes to send once approved.
    pub arguments: &'a [u8],
    /// What policy asks for.
    pub requirements: &'a [Requirement],
    /// The owner of the grant: not an approver of it, unless the operator allows that.
    pub owner: &'a str,
    /// Who handed the grant on, nearest first: none of them is an approver of it either. Not part of the binding: a grant and its revision
    /// have one chain.
    pub delegators: &'a [Delegator],
    /// The task.
    pub purpose: &'a str,
    /// Why the agent makes this call, as it says. Not part of the binding: it is worth nothing, and people are told so.
    pub claim: Option<&'a str>,
    /// The tool.
    pub tool: &'a Tool,
    /// The call that asked first.
    pub call: &'a CallId,
    /// Until when the grant lives, unix milliseconds: no approval outlives it.
    pub grant_expires_at_ms: u64,
    /// Now, unix milliseconds.
    pub now_ms: u64,
}

/// Where an approval stands, for one exact call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Its id.
    pub id: ApprovalId,
    /// The short code that agent and approver both see.
    pub code: String,
    /// Its state.
    pub state: TicketState,
    /// Until when it waits for a decision, unix milliseconds.
    pub approve_by_ms: u64,
}

/// What became of a question, for the agent whose call it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalStands {
    /// Its id.
    pub id: ApprovalId,
    /// Its code.
    pub code: String,
    /// The tool, by its full name.
    pub tool: String,
    /// Its state, as a word.
    pub state: &'static str,
    /// Why somebody said no.
    pub reason: Option<String>,
    /// Until when it waits for a decision, or can be used, unix milliseconds.
    pub until_ms: Option<u64>,
}

/// What has become of the question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TicketState {
    /// Nobody has decided.
    Pending,
    /// It may run once.
    Approved,
    /// Somebody said no, and that still stands.
    Denied {
        /// Their words, for the agent.
        reason: Option<String>,
    },
}

/// Why an approval could not be asked for, or its arguments not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalFailure {
    /// The agent has too many open questions.
    #[error("{0} calls of this agent already wait for approval")]
    TooMany(usize),
    /// People were asked too often of late.
    #[error("approvers were asked {0} times within an hour, and are asked no more for now")]
    TooManyAsked(usize),
    /// People said no to this grant too often in a row.
    #[error("{in_a_row} calls of grant `{grant}` were denied in a row, and nobody is asked for another one for {retry_ms} ms")]
    Unwanted {
        /// The grant.
        grant: GrantId,
        /// How many.
        in_a_row: u32,
        /// For how long.
        retry_ms: u64,
    },
    /// The store does not answer.
    #[error("the approval could not be stored: {0}")]
    Lost(String),
}

/// What a call took a use of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimed {
    /// The approval itself.
    Approval,
    /// What it allows besides itself.
    Allowance,
}

/// The approvals. Memory is the truth of a claim; the store follows, and catches up from the trail.
pub trait Approvals: Send + Sync {
    /// The question about exactly this call that is still of use: pending, approved and unused, or freshly denied. One that was asked
    /// under other policies is of use where these ask for no more.
    fn find(&self, binding: &Binding, now_ms: u64) -> Option<Ticket>;
    /// Where a question stands about a call of this agent under this grant, by its id or code. None where there is none of theirs.
    fn stands(&self, _handle: &str, _agent: &AgentId, _grant: &GrantId, _now_ms: u64) -> Option<ApprovalStands> {
        None
    }
    /// The approval under which this call may go as one of its like, where somebody said so.
    fn allowance(&self, _binding: &Binding, _arguments: &serde_json::Value, _now_ms: u64) -> Option<ApprovalId> {
        None
    }
    /// Takes one use of what this approval allows besides itself, for this call: true only while one is left, and in time.
    fn claim_allowance(&self, _id: &ApprovalId, _call: &CallId, _now_ms: u64) -> bool {
        false
    }
    /// The caller that waited for this went away before it was decided.
    fn left(&self, _id: &ApprovalId, _now_ms: u64) {}
    /// Asks. An identical open question is joined, not asked again. Durable when it returns.
    fn request<'a>(&'a self, request: ApprovalRequest<'a>) -> Later<'a, Result<Ticket, ApprovalFailure>>;
    /// The approved bytes.
    fn arguments(&self, id: &ApprovalId) -> Result<Bytes, ApprovalFailure>;
    /// Takes the one use of an approval: true for exactly one caller, and only while it is approved and in time.
    ///
    /// In memory, as a use of what it allows is. Where the intent of the call could be written after it, [`keep_claim`](Self::keep_claim)
    /// follows under the same lock of the grant; else nothing was used up that a restart would find used.
    fn claim(&self, id: &ApprovalId, now_ms: u64) -> bool;
    /// The intent of the call that took this use is on record: has the store follow.
    ///
    /// Called before the grant's lock is released. So the store never knows of a use without an intent, and has queued it before it can
    /// take that intent for counted.
    fn keep_claim(&self, id: &ApprovalId, of: Claimed, now_ms: u64);
    /// What became of the one use.
    fn finish(&self, id: &ApprovalId, end: ClaimEnd);
    /// Returns once the question is no longer pending. To be raced against a deadline.
    fn decided<'a>(&'a self, id: &'a ApprovalId) -> Later<'a, ()>;
    /// How many calls wait for this to be decided, at this moment.
    fn waiting(&self, _: &ApprovalId) -> usize {
        0
    }
    /// Whether policy asks for no more than a word of the agent's own user about this question. Where that can't be told, it does.
    fn is_for_user(&self, _: &ApprovalId) -> bool {
        false
    }
    /// Takes the word of the agent's user, as the agent's client asserts it: only about a question that is for them. False where it
    /// counts for nothing.
    fn confirm_by_user<'a>(&'a self, _: &'a ApprovalId, _: UserWord, _: u64) -> Later<'a, bool> {
        Box::pin(std::future::ready(false))
    }
    /// Takes an undecided question back: its agent's configuration says that it does so when it goes away.
    fn take_back(&self, _: &ApprovalId, _: u64) {}
    /// Seals what this gateway alone is to read again, tied to `about`. None where nothing can be sealed.
    fn seal(&self, _about: &[u8], _plain: &[u8]) -> Option<Bytes> {
        None
    }
    /// Keeps a part of a call, sealed, for as long as such are kept. On disk when it is done; else why not. Arguments have to have room; what
    /// came back of a call that had it finds some.
    fn keep_body<'a>(&'a self, _of: BodyOf<'a>, _body: Bytes, _now_ms: u64) -> Later<'a, Result<(), String>> {
        Box::pin(std::future::ready(Err("nothing can be kept here".to_owned())))
    }
    /// What was sealed about this; none where it was not, or was changed.
    fn unseal(&self, _about: &[u8], _sealed: &[u8]) -> Option<Bytes> {
        None
    }
}

/// What is kept: a part of a call.
#[derive(Debug, Clone, Copy)]
pub struct BodyOf<'a> {
    /// Of which call.
    pub call: &'a CallId,
    /// Whose call.
    pub agent: &'a AgentId,
    /// `arguments` or `result`.
    pub part: &'static str,
}

/// What an agent's user says of a question that is for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserWord {
    /// It may run once.
    Approves,
    /// It may not.
    Refuses,
}

/// What became of an approved call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimEnd {
    /// The tool answered without error.
    Succeeded,
    /// It did not run, or answered with an error.
    Failed,
    /// It may have run: the answer never came.
    Unknown,
}

/// The ways out.
pub trait Connectors: Send + Sync {
    /// Makes ready a channel to the tool's server for this grant: starts it if need be, and makes sure that the tool it
    /// offers is the pinned one. Sends no call. `asks` is what its agent could ever be asked by the server: the capabilities that a session
    /// of a version with a handshake declares, as JSON; none where it could be asked nothing.
    fn ready<'a>(
        &'a self,
        tool: &'a Arc<Tool>,
        grant: &'a Arc<LiveGrant>,
        lease: Option<&'a Arc<Lease>>,
        asks: Option<&'a str>,
    ) -> Later<'a, Result<Box<dyn Channel>, ConnectFailure>>;
    /// From here on, and as long as what is returned lives, somebody under this grant wants to hear of lists that change. Starts no server:
    /// those that run are heard when this returns, as far as they say in time that they can be. A way that hears nothing says so by this.
    fn hear<'a>(&'a self, _: &'a Arc<LiveGrant>) -> Later<'a, Interest> {
        Box::pin(std::future::ready(Interest::default()))
    }
}

/// That somebody wants to hear of lists that change, until dropped.
#[derive(Default)]
pub struct Interest(Option<Box<dyn std::any::Any + Send + Sync>>);

impl Interest {
    /// One that lives as long as this does.
    pub fn of(kept: impl std::any::Any + Send + Sync) -> Self {
        Self(Some(Box::new(kept)))
    }

    /// Whether anything is heard by it.
    pub fn is_heard(&self) -> bool {
        self.0.is_some()
    }
}

/// Hears of a resource that it watches.
pub trait Watcher: Send + Sync {
    /// The resource of this URI changed, as its server says and names it: the one that is watched, or a part of it. Never blocks.
    fn changed(&self, uri: &str);
}

/// A resource that is watched, until dropped.
pub trait Watch: Send + Sync {
    /// Returns once nothing is heard by it any more: its server's session has ended.
    fn lost(&self) -> Later<'_, ()>;
}

/// What a server says to the wish to watch one of its resources.
pub enum Watched {
    /// It tells when it changes.
    Held(Box<dyn Watch>),
    /// It does not: the error that it answers.
    Refused {
        /// Its code.
        code: i64,
        /// Its message.
        message: String,
        /// Its data: JSON.
        data: Option<Bytes>,
    },
}

/// A list that agents have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ListKind {
    /// `tools/list`
    Tools,
    /// `resources/list` and `resources/templates/list`
    Resources,
    /// `prompts/list`
    Prompts,
}

impl ListKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tools, Self::Resources, Self::Prompts];

    /// The MCP notification that it changed.
    pub fn method(self) -> &'static str {
        match self {
            Self::Tools => "notifications/tools/list_changed",
            Self::Resources => "notifications/resources/list_changed",
            Self::Prompts => "notifications/prompts/list_changed",
        }
    }
}

/// A way to one server, made ready for one call.
pub trait Channel: Send + Sync {
    /// Sends the call and waits for its reply. Dropping the future cancels the call downstream.
    fn send(self: Box<Self>, outgoing: Outgoing) -> Later<'static, Result<RawReply, SendFailure>>;
    /// What the server lists of the feature that the channel was made ready for. Sends no call.
    fn offers(&self, listing: Listing) -> Later<'_, Result<Arc<Offers>, SendFailure>>;
    /// Watches a resource: asks the server to tell when it changes, unless somebody has. A way that can't carry that says so.
    fn watch(self: Box<Self>, watching: Watching) -> Later<'static, Result<Watched, SendFailure>> {
        drop(watching);
        Box::pin(std::future::ready(Err(SendFailure::Unsent("this way tells of no changes".to_owned()))))
    }
}

/// What is left of a channel whose call its server answers later.
pub trait Recall: Send + Sync {
    /// Has the server give up the task of this id: the server's own. Best effort, and also where the grant has ended.
    fn call_off(self: Box<Self>, task: String) -> Later<'static, ()>;
}

/// A list that a server has besides that of its tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listing {
    /// `resources/list`
    Resources,
    /// `resources/templates/list`
    Templates,
    /// `prompts/list`
    Prompts,
}

impl Listing {
    /// The MCP method that it is asked for by.
    pub fn method(self) -> &'static str {
        match self {
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
            Self::Prompts => "prompts/list",
        }
    }
}

/// What a server lists of one feature.
#[derive(Debug, Default)]
pub struct Offers {
    /// In the server's order. No two have the same name.
    pub items: Vec<Offer>,
    /// How many more there were that are malformed, or have a name that another one has.
    pub left_out: usize,
}

/// One item of such a list.
#[derive(Debug)]
pub struct Offer {
    /// What it is asked for by: the URI, the URI template, or the name.
    pub id: String,
    /// The item, as it was written: a JSON object.
    pub text: Bytes,
}

/// Why a server can't be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFailure {
    /// It does not start, or ended at once.
    #[error("it does not start: {0}")]
    Start(String),
    /// It failed lately and is left alone for a while.
    #[error("it failed lately ({why}) and is tried again in {retry_ms} ms")]
    Resting {
        /// The last failure.
        why: String,
        /// When it is tried again.
        retry_ms: u64,
    },
    /// The handshake failed or took too long.
    #[error("the handshake failed: {0}")]
    Handshake(String),
    /// The tool is no longer what was accepted.
    #[error("tool `{tool}` differs from its pin; `bailiwick connectors diff {connector}` shows how")]
    Drifted {
        /// The connector.
        connector: String,
        /// The tool, as agents call it.
        tool: String,
    },
}

/// Why no reply came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendFailure {
    /// Nothing was written.
    #[error("the call could not be written: {0}")]
    Unsent(String),
    /// The server ended before it answered.
    #[error("the server ended before it answered: {0}")]
    Closed(String),
    /// No answer in time.
    #[error("no answer within {0} ms")]
    Timeout(u64),
    /// The answer was not one.
    #[error("the answer breaks the protocol: {0}")]
    Protocol(String),
    /// The server does not let us in.
    #[error("the server refuses access: {0}")]
    Denied(String),
}

/// The record can no longer be written: nothing may happen any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the trail can't be written: {0}")]
pub struct TrailLost(pub String);

/// The record. Appending is a write to the operating system: it survives the death of the process.
pub trait Trail: Send + Sync {
    /// Appends a decision.
    fn decision(&self, now_ms: u64, record: &DecisionRecord<'_>) -> Result<(), TrailLost>;
    /// Appends an intent; returns its place in the stream.
    fn intent(&self, now_ms: u64, record: &IntentRecord<'_>) -> Result<u64, TrailLost>;
    /// Appends what a task was marked with beyond its intents.
    fn labelled(&self, now_ms: u64, record: &LabelledRecord<'_>) -> Result<(), TrailLost>;
    /// Appends an outcome.
    fn outcome(&self, now_ms: u64, record: &OutcomeRecord<'_>) -> Result<(), TrailLost>;
    /// Appends an access to a secret.
    fn secret(&self, now_ms: u64, record: &SecretRecord<'_>) -> Result<(), TrailLost>;
    /// Appends what a detection found.
    fn detection(&self, now_ms: u64, record: &DetectionRecord<'_>) -> Result<(), TrailLost>;
    /// Returns once the intent at this place is on disk.
    fn synced(&self, intent: u64) -> Later<'_, Result<(), TrailLost>>;
    /// A keyed digest of bytes: proves later what they were, without telling what they are.
    fn keyed_digest(&self, bytes: &[u8]) -> String;
    /// Whether a refusal of a stranger may still be recorded now: they have a quota of their own.
    fn admits_stranger(&self, now_ms: u64) -> bool;
}

/// Takes the finished trace of a call. Never blocks, never fails.
pub trait Tracer: Send + Sync {
    /// The call is over.
    fn finish(&self, trace: CallTrace);
}
