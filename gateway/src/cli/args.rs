//! What can be typed. The comments here are the help that a person reads.

#![expect(clippy::doc_markdown, reason = "backticks are noise in a terminal")]

use std::path::PathBuf;

use bailiwick_policy::Band;
use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{snippet::ClientName, units::Span};

mod rules;
mod stdio;

pub use rules::{CoverageWanted, NewArgs, SuggestArgs, TemplateName, TestArgs};
pub use stdio::StdioArgs;

/// A gateway between AI agents and their tools.
#[derive(Debug, Parser)]
#[command(name = "bailiwick", version, about, max_term_width = 100)]
#[command(after_help = "Without a command it serves, as `run` does; without a configuration, the embedded demo.")]
pub struct Cli {
    /// Where things are.
    #[command(flatten)]
    pub places: PlaceArgs,
    /// What to do; `run` if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Where things are.
#[derive(Debug, Clone, Default, Args)]
pub struct PlaceArgs {
    /// The configuration; else ./config.toml, else the embedded demo
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data folder; else $XDG_DATA_HOME/bailiwick (the demo: …/bailiwick/demo)
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve, until SIGINT or SIGTERM
    Run,
    /// MCP over stdio, bridged to the running gateway: what an agent's client starts
    Stdio(StdioArgs),
    /// Write a first configuration, with examples to take up
    Init(InitArgs),
    /// Check the configuration, and whether what it names is there
    Check(Json),
    /// Have the running gateway read its configuration and policies anew
    Reload(Json),
    /// What is wrong on this machine, missing, or can't be enforced here; exit 1 if there is a fault
    Doctor(DoctorArgs),
    /// Why a call was allowed or refused, and what would allow it; or what would become of one
    Explain(ExplainArgs),
    /// Call a tool as an agent would, through the agents' endpoint
    Call(CallArgs),
    /// The registered agents, and their tokens
    #[command(subcommand)]
    Agents(AgentsCommand),
    /// The connectors, and the tools that were accepted
    #[command(subcommand)]
    Connectors(ConnectorsCommand),
    /// Task grants: what an agent may do for one task
    #[command(subcommand)]
    Grants(GrantsCommand),
    /// What connectors were lent for tasks
    #[command(subcommand)]
    Credentials(CredentialsCommand),
    /// Stop everything now, or an agent, an instance of it, a connector or a tool, until it is thawed
    Freeze(FreezeArgs),
    /// Let go on what was frozen
    Thaw(ThawArgs),
    /// Calls that wait for a person
    #[command(subcommand)]
    Approvals(ApprovalsCommand),
    /// How people hear of them
    #[command(subcommand)]
    Channels(ChannelsCommand),
    /// Loops, chains and small steps that add up
    #[command(subcommand)]
    Detections(DetectionsCommand),
    /// What agents ask for beyond their grants
    #[command(subcommand)]
    Requests(RequestsCommand),
    /// Print a link that opens the console in a browser, once
    Console(ConsoleArgs),
    /// The policies
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// The record of what happened
    #[command(subcommand)]
    Audit(AuditCommand),
    /// The configuration itself
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print what makes a shell complete these commands
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Serve one of the demo's connectors on stdio: the gateway starts it
    #[command(hide = true)]
    DemoServer {
        /// Which
        name: String,
    },
}

/// `console`
#[derive(Debug, Args)]
pub struct ConsoleArgs {
    /// Whom the link lets in; it may be left out where there is one person
    #[arg(long, value_name = "ID")]
    pub person: Option<String>,
    /// Let them add a passkey though they have some that they can't use any more; it is on record
    #[arg(long)]
    pub recover: bool,
    /// Print the operator credential instead, to be typed into the console where a browser has no script
    #[arg(long, conflicts_with_all = ["person", "recover"])]
    pub credential: bool,
}

/// `init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The file to write, or a folder to write config.toml in
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,
}

/// `doctor`
#[derive(Debug, Clone, Copy, Args)]
pub struct DoctorArgs {
    /// Start each connector too, for a moment
    #[arg(long)]
    pub online: bool,
    /// The form.
    #[command(flatten)]
    pub form: Json,
}

/// The form of the output.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Json {
    /// JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// `explain`
#[derive(Debug, Args)]
#[group(required = true, multiple = false, id = "which")]
pub struct WhichCall {
    /// The last refusal
    #[arg(long)]
    pub last: bool,
    /// This call
    #[arg(long, value_name = "ID")]
    pub call: Option<String>,
    /// A call of this agent that nobody makes: nothing is sent, nothing counts
    #[arg(long, value_name = "ID", requires = "tool")]
    pub agent: Option<String>,
}

/// A call that nobody makes.
#[derive(Debug, Clone, Args)]
pub struct ThoughtArgs {
    /// With --agent: the tool, such as tickets__get
    #[arg(long, value_name = "TOOL", requires = "agent", conflicts_with_all = ["last", "call"])]
    pub tool: Option<String>,
    /// With --agent: its arguments, a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}", requires = "agent", conflicts_with_all = ["last", "call"])]
    pub args: String,
    /// With --agent: the grant it names
    #[arg(long, value_name = "ID", requires = "agent", conflicts_with_all = ["last", "call"])]
    pub grant: Option<String>,
    /// With --agent: what stands in `context.call` in the place of what is so, a JSON object such as {"hour": 3}
    #[arg(long, value_name = "JSON", requires = "agent", conflicts_with_all = ["last", "call"])]
    pub context: Option<String>,
}

/// `explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Which call.
    #[command(flatten)]
    pub which: WhichCall,
    /// The rest of a call that nobody makes.
    #[command(flatten)]
    pub thought: ThoughtArgs,
    /// The form.
    #[command(flatten)]
    pub form: Json,
}

/// `call`
#[derive(Debug, Args)]
#[command(after_help = "The token is taken from BAILIWICK_TOKEN; else one for five minutes is made for the agent.")]
pub struct CallArgs {
    /// The tool, such as tickets__get
    #[arg(required_unless_present = "list")]
    pub tool: Option<String>,
    /// `key=value`, typed as the tool's schema says; `key:=json` as it is
    #[arg(value_name = "KEY=VALUE")]
    pub arguments: Vec<String>,
    /// As this agent; else the only one registered
    #[arg(long, value_name = "ID")]
    pub agent: Option<String>,
    /// Under this grant of the agent
    #[arg(long, value_name = "ID")]
    pub grant: Option<String>,
    /// Why, in the agent's words: a person who is asked about the call reads it as a claim
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// The endpoint; else that of the running gateway
    #[arg(long)]
    pub url: Option<String>,
    /// List the tools instead
    #[arg(long, conflicts_with_all = ["tool", "arguments", "raw"])]
    pub list: bool,
    /// The structured result, or the whole one where there is none, as JSON
    #[arg(long, conflicts_with = "raw")]
    pub json: bool,
    /// The response as it came
    #[arg(long)]
    pub raw: bool,
}

/// `agents`
#[derive(Debug, Subcommand)]
pub enum AgentsCommand {
    /// All agents
    List(Json),
    /// One agent: its tokens and grants
    Show(One),
    /// Make a token for an agent, or revoke one
    Token(TokenArgs),
    /// Switch an agent off until it is enabled: its grants and tokens are revoked, calls in flight cancelled
    Disable(SwitchArgs),
    /// Switch it on again: it needs new grants and tokens
    Enable(SwitchArgs),
}

/// An agent that is switched off or on.
#[derive(Debug, Args)]
pub struct SwitchArgs {
    /// The agent
    pub id: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// What is frozen or thawed; everything where nothing is named.
#[derive(Debug, Clone, Args)]
pub struct WhatArgs {
    /// This agent, and whatever comes from its grants
    #[arg(long, value_name = "ID", conflicts_with_all = ["connector", "tool"])]
    pub agent: Option<String>,
    /// With --agent: this running copy of it alone, as records name it
    #[arg(long, value_name = "NAME", requires = "agent")]
    pub instance: Option<String>,
    /// This connector
    #[arg(long, value_name = "ID", conflicts_with = "tool")]
    pub connector: Option<String>,
    /// This tool, such as tickets__refund
    #[arg(long, value_name = "NAME")]
    pub tool: Option<String>,
}

/// `channels`
#[derive(Debug, Subcommand)]
pub enum ChannelsCommand {
    /// All channels, and whether messages arrive
    List(Json),
    /// Send a message that says that messages arrive
    Test(One),
}

/// `freeze`
#[derive(Debug, Args)]
#[command(after_help = "Without an agent, a connector or a tool, everything is frozen.")]
pub struct FreezeArgs {
    /// What.
    #[command(flatten)]
    pub what: WhatArgs,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Freeze nothing: list what is frozen
    #[arg(long, conflicts_with_all = ["agent", "instance", "connector", "tool", "reason"])]
    pub list: bool,
    /// With --list: JSON on standard output
    #[arg(long, requires = "list")]
    pub json: bool,
}

/// `thaw`
#[derive(Debug, Args)]
#[command(after_help = "Without an agent, a connector or a tool, the halt of everything is lifted; others stay.")]
pub struct ThawArgs {
    /// What.
    #[command(flatten)]
    pub what: WhatArgs,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Something by its id.
#[derive(Debug, Args)]
pub struct One {
    /// Its id
    pub id: String,
    /// The form.
    #[command(flatten)]
    pub form: Json,
}

/// `agents token`
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// The agent; with --revoke, the id of the token
    pub id: String,
    /// How long it is good, such as 8h or 90d
    #[arg(long, value_name = "TIME", default_value = "30d", conflicts_with = "revoke")]
    pub ttl: Span,
    /// Revoke this token instead, at once and for good
    #[arg(long)]
    pub revoke: bool,
}

/// `connectors`
#[derive(Debug, Subcommand)]
pub enum ConnectorsCommand {
    /// All connectors
    List(Json),
    /// One connector: the tools that were accepted, and its processes
    Show(One),
    /// Start its server for a moment and look how it does; exit 1 if it fails
    Test(One),
    /// Look at what its server offers now, and accept it
    Pin(PinArgs),
    /// How what its server offers now differs from what was accepted; exit 1 if it does
    Diff(One),
}

/// `connectors pin`
#[derive(Debug, Args)]
pub struct PinArgs {
    /// The connector
    pub id: String,
    /// Accept without asking
    #[arg(long)]
    pub yes: bool,
    /// The form: the proposal as JSON on standard output.
    #[command(flatten)]
    pub form: Json,
}

/// `grants`
#[derive(Debug, Subcommand)]
pub enum GrantsCommand {
    /// Make a grant; its token alone is printed on standard output
    Create(Box<CreateArgs>),
    /// The grants that are active
    List(ListArgs),
    /// One grant, with everything in it
    Show(One),
    /// What an agent used of its grants by the record, and the narrowest grants that would have been enough, to be reviewed
    Suggest(SuggestArgs),
    /// A one-shot handle of it, for `stdio`: good in the first process that shows it, whose end ends the grant. Printed alone
    Handle(HandleArgs),
    /// Its task is done: nothing more may be called under it
    Complete(EndArgs),
    /// Take it back: calls in flight are cancelled, credentials dropped
    Revoke(EndArgs),
}

/// A list.
#[derive(Debug, Clone, Copy, Args)]
pub struct ListArgs {
    /// Those that have ended too
    #[arg(long)]
    pub all: bool,
    /// The form.
    #[command(flatten)]
    pub form: Json,
}

/// `grants create`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a term of its own")]
pub struct CreateArgs {
    /// The only agent that may act under it
    #[arg(long, value_name = "ID")]
    pub agent: String,
    /// The task, in your words
    #[arg(long, value_name = "TEXT")]
    pub purpose: String,
    /// The tools: connector__tool, or connector__* for all of a connector; several, with commas between
    #[arg(long, value_name = "TOOL", required = true, value_delimiter = ',')]
    pub tools: Vec<String>,
    /// A bound on an argument, such as tickets__search/project='{"eq": "support"}'
    #[arg(long = "arg", value_name = "TOOL/POINTER=BOUND")]
    pub bounds: Vec<String>,
    /// How long it lives; 30d at most. Else 8h, or 15m of what is handed on
    #[arg(long, value_name = "TIME")]
    pub ttl: Option<Span>,
    /// Its id; else one is made
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// The person or team accountable for it; else the agent's owner
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,
    /// The highest band it reaches (low, medium, high, critical); else the agent's
    #[arg(long, value_name = "BAND")]
    pub ceiling: Option<Band>,
    /// The environment it is for; else that of the grant above it, or `default`
    #[arg(long, value_name = "NAME")]
    pub environment: Option<String>,
    /// At most so many calls
    #[arg(long, value_name = "N")]
    pub calls: Option<u64>,
    /// At most so many calls that are not reads
    #[arg(long, value_name = "N")]
    pub writes: Option<u64>,
    /// What the agent acts under when it names no grant
    #[arg(long)]
    pub default: bool,
    /// List two tools to look for the others by, instead of all of them
    #[arg(long)]
    pub tool_search: bool,
    /// At most so many bytes of arguments
    #[arg(long, value_name = "N")]
    pub bytes_out: Option<u64>,
    /// At most so much cost, in the units that tools are priced in
    #[arg(long, value_name = "N")]
    pub cost: Option<u64>,
    /// At most so many calls of some tools, such as tickets__refund=3
    #[arg(long, value_name = "TOOL=N")]
    pub tool_calls: Vec<String>,
    /// The grant that it is handed on from: it can only be narrower
    #[arg(long, value_name = "ID")]
    pub parent: Option<String>,
    /// How many levels of grants its agent may hand on from it
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub delegation_depth: u8,
    /// Reach only connectors of this sensitivity; several, with commas between
    #[arg(long = "data-class", value_name = "WORD", value_delimiter = ',')]
    pub data_classes: Vec<String>,
    /// Send data only to this domain and those below it; several, with commas between
    #[arg(long = "destination", value_name = "DOMAIN", value_delimiter = ',')]
    pub destinations: Vec<String>,
    /// At most so many calls in a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_rate: Option<u32>,
    /// End it when it was not used for so long
    #[arg(long, value_name = "TIME")]
    pub idle_timeout: Option<Span>,
    /// Where the task is written down
    #[arg(long, value_name = "TEXT")]
    pub ticket: Option<String>,
    /// List the agent a tool to say that the task is done by
    #[arg(long)]
    pub may_complete: bool,
    /// List the agent a tool to ask for more tools by: a person decides
    #[arg(long)]
    pub may_request: bool,
}

/// `grants handle`
#[derive(Debug, Args)]
pub struct HandleArgs {
    /// The grant
    pub id: String,
}

/// The end of a grant.
#[derive(Debug, Args)]
pub struct EndArgs {
    /// The grant
    pub id: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `approvals`
#[derive(Debug, Subcommand)]
pub enum ApprovalsCommand {
    /// The calls that wait, or were approved and are not used yet
    List(WaitingArgs),
    /// One of them, with its full arguments
    Show(One),
    /// Approve this one exact call, once; or several of one agent, all of them or none
    Approve(ApproveArgs),
    /// Refuse it; the agent hears why
    Deny(DenyArgs),
    /// Take back what was approved and is not used yet, and what it allows of its like
    Revoke(AboutArgs),
    /// Say that you are looking: nobody else need be called
    Ack(ApprovalArgs),
    /// In an emergency: let a call go alone. A second person has to look at it afterwards
    BreakGlass(EmergencyArgs),
    /// Say that you have looked at what somebody let go in an emergency
    Review(AboutArgs),
    /// How people have decided of late, and what could be changed instead of one more yes
    Habits(Json),
}

/// `approvals list`
#[derive(Debug, Clone, Copy, Args)]
pub struct WaitingArgs {
    /// Those that have ended too
    #[arg(long)]
    pub all: bool,
    /// Show them again whenever they change, until it is interrupted
    #[arg(long)]
    pub watch: bool,
    /// The form.
    #[command(flatten)]
    pub form: Json,
}

/// One approval.
#[derive(Debug, Args)]
pub struct ApprovalArgs {
    /// Its id or code
    pub id: String,
}

/// One approval, and words about it.
#[derive(Debug, Args)]
pub struct AboutArgs {
    /// Its id or code
    pub id: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `approvals break-glass`
#[derive(Debug, Args)]
pub struct EmergencyArgs {
    /// Its id or code
    pub id: String,
    /// Why: a second person will read it
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Don't ask again
    #[arg(long)]
    pub yes: bool,
}

/// `approvals approve`
#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// Its id or code; several of one agent are approved together
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// The code that the agent was told, to be compared. A critical call is not approved without it
    #[arg(long, value_name = "CODE")]
    pub code: Option<String>,
    /// Let so many calls like it go too, where its rules have `@remember`
    #[arg(long, value_name = "N", requires = "for_")]
    pub uses: Option<u32>,
    /// For how long, such as `30m`: an hour at most
    #[arg(long = "for", value_name = "TIME", requires = "uses")]
    pub for_: Option<Span>,
    /// With `--uses`: an argument that may have any value, by JSON pointer such as `/id`; all others stay as they are
    #[arg(long, value_name = "POINTER", requires = "uses")]
    pub any: Vec<String>,
    /// Don't ask again
    #[arg(long)]
    pub yes: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `approvals deny`
#[derive(Debug, Args)]
pub struct DenyArgs {
    /// Its id or code; several of one agent are denied together
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<String>,
    /// Why: the agent hears it
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `requests`
#[derive(Debug, Subcommand)]
pub enum RequestsCommand {
    /// Those that wait for an answer
    List(ListArgs),
    /// One of them: what granting it would mean, and what the task did last
    Show(One),
    /// Grant it: for as long as the agent asked, or the task, unless you say for how long
    Grant(GrantRequestArgs),
    /// Refuse it; the agent hears why
    Deny(DenyRequestArgs),
}

/// `requests grant`
#[derive(Debug, Args)]
pub struct GrantRequestArgs {
    /// Its id
    pub id: String,
    /// For so long, and no longer than the grant lives
    #[arg(long = "for", value_name = "TIME", conflicts_with = "for_task")]
    pub time: Option<Span>,
    /// For the whole task, however short a time the agent asked for
    #[arg(long)]
    pub for_task: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `requests deny`
#[derive(Debug, Args)]
pub struct DenyRequestArgs {
    /// Its id
    pub id: String,
    /// Why: the agent hears it
    #[arg(long, value_name = "TEXT", required = true)]
    pub reason: String,
}

/// `policy`
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Compile the policies against the accepted tools, list the rules, and say what is doubtful about them
    Check(PolicyCheckArgs),
    /// Which calls one bundle lets go and another does not, each with a request that shows it. Exits with 3 where something widens
    Diff(PolicyDiffArgs),
    /// What other policies would have decided about the calls on record
    Replay(PolicyReplayArgs),
    /// Print the Cedar schema that the rules are checked against, for editors
    Schema(Json),
    /// Judge the cases of files, and tell those that come otherwise than they expect; exit 1 if there are any
    Test(TestArgs),
    /// Write rules to begin with, and the cases that say what they mean
    New(NewArgs),
}

/// `policy check`
#[derive(Debug, Args)]
pub struct PolicyCheckArgs {
    /// These policies (a folder or a file) in the place of `policy.files`
    #[arg(long, value_name = "PATH")]
    pub policy: Option<PathBuf>,
    /// Exit with 1 where anything is doubtful, too
    #[arg(long)]
    pub strict: bool,
    /// The form.
    #[command(flatten)]
    pub form: Json,
}

/// `policy diff`
#[derive(Debug, Args)]
pub struct PolicyDiffArgs {
    /// The older policies, a folder or a file; what is configured where only one is named
    pub old: PathBuf,
    /// The newer ones
    pub new: Option<PathBuf>,
    /// The form.
    #[command(flatten)]
    pub form: Json,
}

/// `policy replay`
#[derive(Debug, Args)]
pub struct PolicyReplayArgs {
    /// Calls since then
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub since: Span,
    /// The other policies: a folder or a file, in the place of `policy.files`
    #[arg(long, value_name = "PATH")]
    pub policy: PathBuf,
    /// The form.
    #[command(flatten)]
    pub form: Json,
}

/// `audit`
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// The last records
    Tail(TailArgs),
    /// Everything about one call (or approval)
    Show(AuditShowArgs),
    /// Check the whole chain: nothing changed, nothing missing
    Verify(Json),
}

/// `audit show`
#[derive(Debug, Args)]
pub struct AuditShowArgs {
    /// Which.
    #[command(flatten)]
    pub one: One,
    /// With the arguments and the result, where a rule has them kept: needs the operator credential, and is on record
    #[arg(long)]
    pub bodies: bool,
}

/// `audit tail`
#[derive(Debug, Args)]
pub struct TailArgs {
    /// How many
    #[arg(short = 'n', value_name = "N", default_value_t = 10)]
    pub count: u64,
    /// Of this stream only
    #[arg(long, value_name = "STREAM")]
    pub stream: Option<StreamName>,
    /// Go on with what is written from now on
    #[arg(long, short)]
    pub follow: bool,
    /// The form; with --follow, one object a line.
    #[command(flatten)]
    pub form: Json,
}

/// A stream of the trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StreamName {
    /// What happened.
    Calls,
    /// What was decided.
    Decisions,
    /// What was lent.
    Secrets,
    /// What was changed.
    Admin,
    /// What stood out.
    Detections,
}

/// `credentials`
#[derive(Debug, Subcommand)]
pub enum CredentialsCommand {
    /// What is lent, and what is not back yet
    List(Json),
    /// Those that ended last, since the gateway began; `audit tail --stream secrets` has them all
    Ended(Json),
    /// The connectors whose credential lives on when tasks are over, and since when it is what it is
    Standing(Json),
    /// One lease
    Show(One),
    /// Take one back: what is under way with it ends, and whoever needs it next is lent another one
    Revoke(RevokeLeaseArgs),
}

/// `credentials revoke`
#[derive(Debug, Args)]
pub struct RevokeLeaseArgs {
    /// The lease.
    #[arg(value_name = "LEASE")]
    pub id: String,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// `detections`
#[derive(Debug, Subcommand)]
pub enum DetectionsCommand {
    /// The last findings
    List(Json),
}

/// `config`
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigCommand {
    /// What is in force: defaults, then the file, then variables
    Show(ShowArgs),
    /// The JSON schema of config.toml
    Schema,
    /// How a client is set up to be an agent here: its settings, or a program, on standard output
    PrintClient(PrintClientArgs),
}

/// `config print-client`
#[derive(Debug, Clone, Args)]
pub struct PrintClientArgs {
    /// Which client
    #[arg(value_name = "NAME")]
    pub client: ClientName,
    /// As this agent; else the only one registered
    #[arg(long, value_name = "ID")]
    pub agent: Option<String>,
    /// Over stdio: the client starts this program, and needs no token; else over HTTP where the client can
    #[arg(long)]
    pub stdio: bool,
    /// The form: the snippet with everything that is to know of it.
    #[command(flatten)]
    pub form: Json,
}

/// `config show`
#[derive(Debug, Clone, Copy, Args)]
pub struct ShowArgs {
    /// With where each value comes from
    #[arg(long)]
    pub origin: bool,
    /// The form.
    #[command(flatten)]
    pub form: Json,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

    use clap::CommandFactory as _;

    use super::*;

    fn parsed(line: &str) -> Cli {
        Cli::try_parse_from(std::iter::once("bailiwick").chain(line.split_whitespace())).unwrap()
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn places_are_taken_before_and_after_the_command() {
        for line in ["--data /d agents list", "agents --data /d list", "agents list --data /d"] {
            assert_eq!(parsed(line).places.data, Some("/d".into()), "{line}");
        }
        assert!(parsed("--config c.toml").command.is_none());
    }

    #[test]
    fn arguments_of_a_call_are_taken_as_they_are() {
        let Some(Command::Call(call)) = parsed("call a__b x=-1 y:={\"a\":1} --agent demo").command else { panic!("no call") };
        assert_eq!(call.arguments, ["x=-1", "y:={\"a\":1}"]);
        assert_eq!(call.agent.as_deref(), Some("demo"));
        assert!(Cli::try_parse_from(["bailiwick", "call"]).is_err());
        assert!(parsed("call --list").command.is_some());
    }

    #[test]
    fn half_a_command_is_a_usage_error() {
        for line in [
            "explain",
            "explain --agent a",
            "explain --tool t",
            "explain --last --tool t",
            "explain --last --args {}",
            "explain --last --agent a --tool t",
            "stdio --agent a --grant-file f",
            "stdio --agent a --grant-fd 3",
            "stdio --agent a --end-at-eof",
            "stdio --grant-file f --grant-fd 3",
            "stdio --grant-fd 1",
            "grants handle",
            "grants suggest",
            "policy test --coverage=all",
            "policy new support",
            "policy new --template nobody support",
            "completions",
            "completions csh",
            "connectors test",
            "config show --from",
            "config print-client",
            "config print-client claude-code cursor",
            "config print-client claude-code --agent",
            "doctor x",
            "init a b",
            "grants create --agent a",
            "approvals approve",
            "approvals deny",
            "approvals approve A --uses 3",
            "approvals approve A --for 5m",
            "approvals approve A --any /id",
            "approvals break-glass A",
            "approvals revoke",
            "approvals ack",
            "freeze --instance i",
            "freeze --agent a --tool b__c",
            "freeze --connector a --tool b__c",
            "freeze --list --agent a",
            "freeze --json",
            "thaw",
            "thaw --agent a",
            "agents disable",
        ] {
            let error = Cli::try_parse_from(std::iter::once("bailiwick").chain(line.split_whitespace())).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
