//! A compiled bundle, and how it is asked.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Decision as Answer, Entities, EntityUid, PolicyId, Request, Response,
};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::catalogue::{AUTO_GRANT, Catalogue, DELEGATE, KnownTool, Tool, about_grants};
use crate::context::Arguments;
use crate::decision::{Decision, DenyCause, Requirement, Rule};
use crate::extent::is_shallow;
use crate::facts::{Ask, AutoGrant, ConnectorFacts, Delegation, Directory, GrantFacts, ToolFacts};
use crate::fault::{PolicyFault, Source};
use crate::grant::{PrepareError, PreparedGrant};
use crate::load::{Loaded, load};
use crate::obligation::Obligations;
use crate::reads::Reads;
use crate::rule::RuleFacts;
use crate::slice::{Rules, Slice, slices};

/// The rules that a gateway starts with. They hold for any catalogue; each says what it is for.
pub const DEFAULT_BUNDLE: &str = include_str!("../default.cedar");

/// Enough for the deepest rule that may be, several times over; none of it is taken before it is used.
const JUDGING_STACK: usize = 64 << 20;

/// The SHA-256 of a bundle: of the names and texts of its sources, whatever their order.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BundleDigest([u8; 32]);

impl BundleDigest {
    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn of(sources: &[Source<'_>]) -> Self {
        let mut sources: Vec<_> = sources.iter().map(|source| (source.name, source.text)).collect();
        sources.sort_unstable();
        let mut hash = Sha256::new();
        for part in sources.into_iter().flat_map(|(name, text)| [name, text]) {
            // The length keeps apart what would else run into one another.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

impl fmt::Display for BundleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BundleDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A bundle, checked against a catalogue and ready to decide.
pub struct Policies {
    authorizer: Authorizer,
    pub(crate) entries: HashMap<String, Entry>,
    /// The rules about handing a task on.
    pub(crate) hop: Entry,
    /// The rules about grants that agents get by themselves.
    pub(crate) auto_grant: Entry,
    rules: HashMap<Arc<str>, Arc<RuleFacts>>,
    warnings: Vec<PolicyFault>,
    left_out: Vec<String>,
    digest: BundleDigest,
    /// Policies that are only watched, or why they can't be.
    candidate: Option<Result<Box<Policies>, String>>,
    reads_past: bool,
    /// Who stands above the grants that are prepared for them.
    directory: Arc<Directory>,
}

/// A tool and the rules that matter to it.
pub(crate) struct Entry {
    pub(crate) tool: Arc<Tool>,
    pub(crate) slice: Arc<Slice>,
    /// Set when a condition of the slice mentions `action`.
    action: Option<cedar_policy::Entity>,
    question: usize,
    keeps_back: bool,
}

/// What rules read of the calls that a task made before, beyond how many they were.
const PAST: [&str; 3] = ["detections", "calls_last_minute", "history"];

impl Policies {
    /// Parses, validates and slices a bundle. An empty one is valid, and denies everything.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the text.
    pub fn compile(sources: &[Source<'_>], tools: &[ToolFacts]) -> Result<Self, Vec<PolicyFault>> {
        Self::compile_for(sources, &KnownTool::read(tools)?)
    }

    /// The same for tools that were read before: what it costs follows from the rules and from how many sorts of tools they can tell
    /// apart, and hardly from how many tools there are.
    ///
    /// # Errors
    /// Everything that is wrong with the bundle, in the order of the text.
    pub fn compile_for<'k>(
        sources: &[Source<'_>],
        tools: impl IntoIterator<Item = &'k KnownTool>,
    ) -> Result<Self, Vec<PolicyFault>> {
        Self::compile_in(sources, Catalogue::new(tools))
    }

    /// The same among these groups, teams and agents: a rule that names a group or a team that nobody declared is a fault.
    ///
    /// # Errors
    /// Everything that is wrong with the bundle, in the order of the text.
    pub fn compile_among<'k>(
        sources: &[Source<'_>],
        tools: impl IntoIterator<Item = &'k KnownTool>,
        directory: &Arc<Directory>,
    ) -> Result<Self, Vec<PolicyFault>> {
        Self::compile_in(sources, Catalogue { directory: Some(Arc::clone(directory)), ..Catalogue::new(tools) })
    }

    /// A deep rule on a thread of its own: what parses and judges it calls itself for each step into its conditions, and a stack that ends
    /// would end the process. A panic is a fault.
    fn compile_in(sources: &[Source<'_>], catalogue: Catalogue) -> Result<Self, Vec<PolicyFault>> {
        let failed = |why: &str| vec![PolicyFault::of_bundle(format!("the policies can't be judged: {why}"), None)];
        let why = "a rule makes the judging of rules fail";
        // A thread has memory of its own that it does not give back.
        if is_shallow(sources) {
            let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| Self::compile_here(sources, catalogue)));
            return judged.unwrap_or_else(|_| Err(failed(why)));
        }
        std::thread::scope(|scope| {
            let judging = std::thread::Builder::new().name("policies".to_owned()).stack_size(JUDGING_STACK);
            match judging.spawn_scoped(scope, || Self::compile_here(sources, catalogue)) {
                Ok(judging) => judging.join().unwrap_or_else(|_| Err(failed(why))),
                Err(why) => Err(failed(&why.to_string())),
            }
        })
    }

    fn compile_here(sources: &[Source<'_>], mut catalogue: Catalogue) -> Result<Self, Vec<PolicyFault>> {
        let loaded = load(sources, &mut catalogue)?;
        let digest = BundleDigest::of(sources);
        Self::assemble(&catalogue, loaded, digest)
    }

    pub(crate) fn assemble(catalogue: &Catalogue, loaded: Loaded, digest: BundleDigest) -> Result<Self, Vec<PolicyFault>> {
        let Loaded { alike, rules, warnings } = loaded;
        let cut = |tools: &[Tool]| {
            slices(&rules, tools)
                .map_err(|error| vec![PolicyFault::of_bundle(format!("the rules can't be sliced: {error}"), None)])
        };
        let slices = cut(&alike.firsts)?;
        let masking: HashSet<&str> =
            rules.iter().filter(|rule| rule.facts.annotations.contains_key("redact")).map(|rule| &*rule.facts.rule.id).collect();
        let masks = |slice: &Slice| {
            let rules = std::iter::once(&slice.enforced).chain(&slice.shadow);
            let mut ids = rules.flat_map(|rules| rules.set.policies().map(cedar_policy::Policy::id));
            !masking.is_empty() && ids.any(|id| masking.contains(AsRef::<str>::as_ref(id)))
        };
        let own = |tool: Tool| {
            let slice = cut(std::slice::from_ref(&tool))?.into_iter().next().unwrap_or_default();
            let action = slice.mentions_action().then(|| tool.action_entity());
            Ok::<_, Vec<PolicyFault>>(Entry { tool: Arc::new(tool), slice, action, question: 0, keeps_back: false })
        };
        let [(hop, _), (auto_grant, _)] = about_grants()?;
        let (hop, auto_grant) = (own(hop)?, own(auto_grant)?);
        let mut questions: HashMap<(*const Slice, &EntityUid, Option<&str>), usize> = HashMap::new();
        let asked: Vec<Option<(usize, &Arc<Slice>)>> = catalogue
            .tools
            .iter()
            .zip(&alike.of)
            .map(|(tool, place)| {
                let slice = slices.get(*place)?;
                // A rule that mentions the action can tell each tool from every other.
                let own = slice.mentions_action().then_some(tool.name.as_str());
                let next = questions.len();
                Some((*questions.entry((Arc::as_ptr(slice), &tool.connector, own)).or_insert(next), slice))
            })
            .collect();
        let entries = catalogue.tools.iter().zip(asked).filter_map(|(tool, asked)| {
            let (question, slice) = asked?;
            let action = slice.mentions_action().then(|| tool.action_entity());
            let keeps_back = masks(slice);
            Some((tool.name.clone(), Entry { tool: Arc::clone(tool), slice: Arc::clone(slice), action, question, keeps_back }))
        });
        let entries: HashMap<String, Entry> = entries.collect();
        let rules = rules.into_iter().map(|rule| {
            let id = Arc::clone(&rule.facts.rule.id);
            (id, rule.facts)
        });
        let reads_past = |slice: &Arc<Slice>| {
            let reads = std::iter::once(&slice.enforced).chain(&slice.shadow).map(|rules| rules.reads.call());
            reads.into_iter().any(|call| PAST.iter().any(|name| !call.field(name).is_nothing()))
        };
        let reads_past = slices.iter().any(reads_past);
        Ok(Self {
            authorizer: Authorizer::new(),
            entries,
            hop,
            auto_grant,
            rules: rules.collect(),
            warnings,
            left_out: catalogue.left_out.clone(),
            digest,
            candidate: None,
            reads_past,
            directory: catalogue.directory.clone().unwrap_or_default(),
        })
    }

    /// Prepares a grant for [`decide`](Self::decide), among the groups, teams and agents that these policies were compiled for.
    ///
    /// # Errors
    /// When it can't be put before them.
    pub fn prepare(&self, grant: &GrantFacts, connectors: &[ConnectorFacts]) -> Result<PreparedGrant, PrepareError> {
        PreparedGrant::among(grant, connectors, &self.directory)
    }

    /// Decides one call by the rules in force.
    pub fn decide(&self, ask: &Ask<'_>) -> Decision {
        let Some(entry) = self.entry(ask.grant, ask.tool) else {
            return Decision::deny(DenyCause::UnknownTool);
        };
        self.decide_by(&entry.slice.enforced, entry, ask)
    }

    /// Decides whether a task may be handed on to another agent. What an approval would lift is a step-up here, too.
    pub fn decide_delegation(&self, hop: &Delegation<'_>) -> Decision {
        let input = json!({
            "tools": hop.tools, "depth": hop.depth, "ttl_s": hop.ttl_s, "ceiling": hop.ceiling.level(), "purpose": hop.purpose,
        });
        let ask = Ask { tool: DELEGATE, grant: hop.grant, call: hop.call, input: &input };
        self.decide_about(&self.hop, (hop.to, hop.owner), &ask)
    }

    /// Decides whether an agent may get this grant by itself. Only a permit that names the action counts.
    pub fn decide_auto_grant(&self, wanted: &AutoGrant<'_>) -> Decision {
        let input = json!({
            "tools": wanted.tools, "ttl_s": wanted.ttl_s, "purpose": wanted.purpose, "live": wanted.live,
        });
        let ask = Ask { tool: AUTO_GRANT, grant: wanted.grant, call: wanted.call, input: &input };
        self.decide_about(&self.auto_grant, (wanted.agent, wanted.owner), &ask)
    }

    /// Decides about a grant itself; its resource is this agent.
    fn decide_about(&self, own: &Entry, (agent, owner): (&str, &str), ask: &Ask<'_>) -> Decision {
        let Some((grant, agent)) = ask.grant.with_agent(agent, owner) else {
            return Decision::deny(DenyCause::EvaluationError);
        };
        // Its resource is another one each time.
        let tool = Arc::new(Tool { connector: agent, ..own.tool.as_ref().clone() });
        let entry = Entry { tool, slice: Arc::clone(&own.slice), action: own.action.clone(), question: 0, keeps_back: false };
        self.decide_by(&entry.slice.enforced, &entry, &Ask { grant: &grant, ..*ask })
    }

    /// Decides as if the rules in shadow were in force; `None` when none of them matters to the tool.
    pub fn decide_with_shadow(&self, ask: &Ask<'_>) -> Option<Decision> {
        let entry = self.entry(ask.grant, ask.tool)?;
        let rules = entry.slice.shadow.as_ref()?;
        Some(self.decide_by(rules, entry, ask))
    }

    /// Whether a rule in shadow matters to this tool.
    pub(crate) fn shadows(&self, tool: &str) -> bool {
        self.entries.get(tool).is_some_and(|entry| entry.slice.shadow.is_some())
    }

    /// Whether there could be a call of this tool that [`decide`](Self::decide) doesn't deny: whether it is listed.
    ///
    /// It may say yes to a tool that is never callable, and never no to one that is.
    pub fn could_allow(&self, grant: &PreparedGrant, tool: &str) -> bool {
        let Some(entry) = self.entry(grant, tool) else {
            return false;
        };
        let of_no_call = |rules: &Rules| self.ask(rules, entry, grant, Context::empty());
        if !entry.slice.enforced.reads.context() {
            return matches!(self.verdict(of_no_call(&entry.slice.enforced)), Verdict::Allowed { .. });
        }
        let Some(response) = of_no_call(&entry.slice.projected) else {
            return false;
        };
        // A permit that fails here may not even be reached in a call: errors don't hide a tool. A forbid that fails forbids nothing yet.
        let is_forbidden = response.decision() == Answer::Deny && response.diagnostics().reason().next().is_some();
        let failed = response.diagnostics().errors();
        let mut unsure = failed.filter(|AuthorizationError::PolicyEvaluationError(error)| {
            self.rules.get(AsRef::<str>::as_ref(error.policy_id())).is_none_or(|facts| facts.is_permit)
        });
        response.decision() == Answer::Allow || (!is_forbidden && unsure.next().is_some())
    }

    /// Which question [`could_allow`](Self::could_allow) asks about a tool: those with the same number have the same answer, for the same
    /// grant. `None` for an unknown tool.
    pub fn question(&self, tool: &str) -> Option<usize> {
        self.entries.get(tool).map(|entry| entry.question)
    }

    /// The question that is asked about a tool, and whether its answer depends on the call.
    pub(crate) fn standing(&self, tool: &str) -> Option<(usize, bool)> {
        self.entries.get(tool).map(|entry| (entry.question, entry.slice.enforced.reads.context()))
    }

    /// What the rules in force look at when they decide about a tool; `None` for an unknown one.
    pub fn reads(&self, tool: &str) -> Option<&Reads> {
        self.entries.get(tool).map(|entry| &entry.slice.enforced.reads)
    }

    /// Whether decisions about a tool depend on the call. If not, one may be remembered for as long as
    /// bundle, grant and connector stay the same.
    pub fn reads_context(&self, tool: &str) -> bool {
        self.reads(tool).is_some_and(Reads::context)
    }

    /// Whether any rule in force reads what a task did before: its detections, its calls of the last minute, its history.
    pub const fn reads_past(&self) -> bool {
        self.reads_past
    }

    /// An annotation of a rule, such as `redact`.
    pub fn annotation(&self, rule: &str, key: &str) -> Option<&str> {
        let facts = self.rules.get(rule)?;
        facts.annotations.get(key).map(String::as_str)
    }

    /// What a rule demands of a call beside a yes.
    pub fn obligations(&self, rule: &str) -> Option<&Obligations> {
        self.rules.get(rule).map(|facts| &facts.obligations)
    }

    /// Every rule of the bundle, by id.
    pub fn rules(&self) -> Vec<&Rule> {
        let mut rules: Vec<_> = self.rules.values().map(|facts| &facts.rule).collect();
        rules.sort();
        rules
    }

    /// The digest of the bundle.
    pub const fn digest(&self) -> BundleDigest {
        self.digest
    }

    /// What is doubtful about the bundle, but no fault.
    pub fn warnings(&self) -> &[PolicyFault] {
        &self.warnings
    }

    /// Names that got no action, and so are denied, because they don't start with their connector or are there twice.
    pub fn left_out(&self) -> &[String] {
        &self.left_out
    }

    /// The same, with other policies beside them that decide nothing, or why those can't be compiled.
    #[must_use]
    pub fn with_candidate(self, candidate: Result<Self, String>) -> Self {
        Self { candidate: Some(candidate.map(Box::new)), ..self }
    }

    /// The policies beside them that decide nothing, or why there are none; `None` where nobody wants any.
    pub fn candidate(&self) -> Option<Result<&Self, &str>> {
        self.candidate.as_ref().map(|candidate| candidate.as_deref().map_err(String::as_str))
    }

    /// Whether a rule of this tool, one in shadow too, has something masked: then nothing of its arguments goes on record in plain.
    pub fn keeps_back(&self, tool: &str) -> bool {
        let watched = || self.candidate().and_then(Result::ok).is_some_and(|candidate| candidate.keeps_back(tool));
        self.entries.get(tool).is_some_and(|entry| entry.keeps_back) || watched()
    }

    /// What is known of the rule with this id.
    pub(crate) fn rule_facts(&self, id: &str) -> Option<&RuleFacts> {
        self.rules.get(id).map(AsRef::as_ref)
    }

    pub(crate) fn entry(&self, grant: &PreparedGrant, tool: &str) -> Option<&Entry> {
        let entry = self.entries.get(tool)?;
        grant.connectors.contains(&entry.tool.connector).then_some(entry)
    }

    /// The algorithm of step-up: an approval lifts a forbid, and nobody is asked to approve
    /// what would be refused anyway.
    fn decide_by(&self, rules: &Rules, entry: &Entry, ask: &Ask<'_>) -> Decision {
        let arguments = match Arguments::new(&entry.tool, &rules.reads, ask.input) {
            Ok(arguments) => arguments,
            Err(cause) => return Decision::deny(cause),
        };
        let pass = |approvals: &[&str]| {
            let context = arguments.context(&entry.tool, &rules.reads, ask.call, approvals)?;
            self.ask(rules, entry, ask.grant, context)
        };
        self.settle(ask.call.approvals.iter().map(String::as_str).collect(), pass)
    }

    /// The two passes, where these approvals are held.
    pub(crate) fn settle(&self, mut approvals: Vec<&str>, pass: impl Fn(&[&str]) -> Option<Response>) -> Decision {
        let mut first = self.verdict(pass(&approvals));
        if let (Verdict::Allowed { obligations, .. }, false) = (&mut first, approvals.is_empty()) {
            // What the approvals that are held lift demands something all the same.
            if let Verdict::Denied { obligations: lifted, .. } = self.verdict(pass(&[])) {
                obligations.join(&lifted);
            }
        }
        let Verdict::Denied { determining, liftable: Some(labels), mut obligations } = first else {
            return first.into_decision();
        };
        let with_labels: Vec<&str> = approvals.drain(..).chain(labels.iter().map(|requirement| &*requirement.label)).collect();
        match self.verdict(pass(&with_labels)) {
            Verdict::Allowed { obligations: of_permits, .. } => {
                obligations.join(&of_permits);
                Decision::StepUp { determining, labels, obligations }
            }
            refused => refused.into_decision(),
        }
    }

    pub(crate) fn ask(&self, rules: &Rules, entry: &Entry, grant: &PreparedGrant, context: Context) -> Option<Response> {
        let with_action: Entities;
        let entities = match &entry.action {
            Some(action) => {
                with_action = grant.entities.clone().add_entities([action.clone()], None).ok()?;
                &with_action
            }
            None => &grant.entities,
        };
        let tool = &entry.tool;
        // Unvalidated: the context holds only what the slice reads, each value built for its place in the schema.
        let request = Request::new(grant.principal.clone(), tool.action.clone(), tool.connector.clone(), context, None).ok()?;
        Some(self.authorizer.is_authorized(&request, &rules.set, entities))
    }

    /// Reads a response of Cedar. No response, or one in which any rule failed, is a denial: Cedar itself
    /// skips a forbid that fails.
    fn verdict(&self, response: Option<Response>) -> Verdict {
        let Some(response) = response else {
            return Verdict::Failed { determining: Vec::new() };
        };
        let diagnostics = response.diagnostics();
        let failed: Vec<&PolicyId> =
            diagnostics.errors().map(|AuthorizationError::PolicyEvaluationError(error)| error.policy_id()).collect();
        if !failed.is_empty() {
            return Verdict::Failed { determining: rules_of(self.facts(failed.into_iter()).as_slice()) };
        }
        let facts = self.facts(diagnostics.reason());
        let determining = rules_of(&facts);
        let mut obligations = Obligations::default();
        for facts in &facts {
            obligations.join(&facts.obligations);
        }
        match response.decision() {
            Answer::Allow => Verdict::Allowed { determining, obligations },
            Answer::Deny => {
                let labels: Option<Vec<Requirement>> = facts.iter().map(|facts| facts.approval.clone()).collect();
                Verdict::Denied { determining, liftable: labels.filter(|labels| !labels.is_empty()), obligations }
            }
        }
    }

    /// The rules with these ids, by id: Cedar names them in no order.
    fn facts<'a>(&self, ids: impl Iterator<Item = &'a PolicyId>) -> Vec<&RuleFacts> {
        let mut facts: Vec<&RuleFacts> =
            ids.filter_map(|id| self.rules.get(AsRef::<str>::as_ref(id))).map(AsRef::as_ref).collect();
        facts.sort_unstable_by(|left, right| left.rule.cmp(&right.rule));
        facts
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies")
            .field("digest", &self.digest)
            .field("rules", &self.rules.len())
            .field("tools", &self.entries.len())
            .finish_non_exhaustive()
    }
}

/// What one pass says.
enum Verdict {
    Allowed {
        determining: Vec<Rule>,
        obligations: Obligations,
    },
    Denied {
        determining: Vec<Rule>,
        /// What would lift it, when every rule that denied can be lifted.
        liftable: Option<Vec<Requirement>>,
        obligations: Obligations,
    },
    Failed {
        determining: Vec<Rule>,
    },
}

impl Verdict {
    fn into_decision(self) -> Decision {
        let (determining, cause) = match self {
            Self::Allowed { determining, obligations } => return Decision::Allow { determining, obligations },
            Self::Denied { determining, .. } if determining.is_empty() => (determining, DenyCause::NoPermit),
            Self::Denied { determining, .. } => (determining, DenyCause::Forbidden),
            Self::Failed { determining } => (determining, DenyCause::EvaluationError),
        };
        Decision::Deny { determining, cause }
    }
}

fn rules_of(facts: &[&RuleFacts]) -> Vec<Rule> {
    facts.iter().map(|facts| facts.rule.clone()).collect()
}
