//! From policy text to checked rules, or to everything that is wrong with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, ParseErrors, Policy, PolicyId, PolicySet, ValidationError, ValidationMode, ValidationResult,
    ValidationWarning, Validator, pst,
};
use miette::Diagnostic;

use crate::alike::{Alike, Mentions};
use crate::catalogue::{Catalogue, Tool, about_grants};
use crate::extent::excess;
use crate::fault::{PolicyFault, Source, nearest};
use crate::presence::{missing, quoted};
use crate::rule::RuleFacts;

/// A rule that was parsed, validated and linted.
pub(crate) struct LoadedRule {
    pub(crate) facts: Arc<RuleFacts>,
    /// The policy, named by its `@id`.
    pub(crate) policy: Policy,
    pub(crate) body: pst::Template,
}

/// The rules of a bundle, what is doubtful about them, and the tools that they can't tell apart.
pub(crate) struct Loaded {
    pub(crate) alike: Alike,
    pub(crate) rules: Vec<LoadedRule>,
    pub(crate) warnings: Vec<PolicyFault>,
}

/// Reads every source; reports all faults of all of them, in the order of the text.
pub(crate) fn load(sources: &[Source<'_>], catalogue: &mut Catalogue) -> Result<Loaded, Vec<PolicyFault>> {
    let excess = excess(sources);
    if !excess.is_empty() {
        return Err(excess);
    }
    let parsed: Vec<_> = sources.iter().map(|source| source.text.parse::<PolicySet>().map_err(Box::new)).collect();
    let mentions = Mentions::of(parsed.iter().flatten().flat_map(PolicySet::policies));
    let alike = Alike::new(&catalogue.tools, &mentions);
    let whole = alike.whole(&catalogue.tools);
    load_by(alike, sources, &parsed, catalogue).map_err(|faults| {
        // Checked once more with all arguments of those tools, for what a fault is told with: which names could have been meant.
        let told = load_by(whole, sources, &parsed, &mut catalogue.clone());
        told.err().unwrap_or(faults)
    })
}

/// The same, where these tools stand for all.
pub(crate) fn load_by(
    mut alike: Alike,
    sources: &[Source<'_>],
    parsed: &[Result<PolicySet, Box<ParseErrors>>],
    catalogue: &mut Catalogue,
) -> Result<Loaded, Vec<PolicyFault>> {
    let validator = Validator::new(catalogue.schema(&mut alike)?);
    let own = about_grants()?.map(|(tool, schema)| (tool, Validator::new(schema)));
    let catalogue: &Catalogue = catalogue;
    let mut loader = Loader {
        validator,
        own,
        connectors: catalogue.tools.iter().map(|tool| tool.connector.id().unescaped()).collect(),
        catalogue,
        seen: HashMap::new(),
        rules: Vec::new(),
        warnings: Vec::new(),
        faults: Vec::new(),
    };
    for (index, (source, parsed)) in sources.iter().zip(parsed).enumerate() {
        loader.source(index, *source, parsed);
    }
    if loader.faults.is_empty() {
        return Ok(Loaded { alike, rules: loader.rules, warnings: loader.warnings });
    }
    let start = |fault: &PolicyFault| fault.span.as_ref().map(|span| span.start);
    loader.faults.sort_by_key(|fault| (fault.source, start(fault)));
    Err(loader.faults)
}

/// Whether a scope names the tool's action, one of its groups, or any action.
///
/// INVARIANT: this is Cedar's own `action in`, spelled out; a rule it forgets is a forbid that never fires.
/// `sliced_is_unsliced_and_callable_is_listed` in the tests holds it.
pub(crate) fn applies(scope: &ActionConstraint, tool: &Tool) -> bool {
    match scope {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(action) => *action == tool.action,
        ActionConstraint::In(actions) => actions.iter().any(|action| *action == tool.action || tool.groups.contains(action)),
    }
}

/// Whether a scope is this very action.
pub(crate) fn names(scope: &ActionConstraint, tool: &Tool) -> bool {
    matches!(scope, ActionConstraint::Eq(action) if *action == tool.action)
}

struct Loader<'a> {
    validator: Validator,
    /// What is asked about grants themselves, each with what judges the rules that name its action.
    own: [(Tool, Validator); 2],
    catalogue: &'a Catalogue,
    /// The ids of the connectors that have tools.
    connectors: BTreeSet<&'a str>,
    /// Where each `@id` was first given.
    seen: HashMap<Arc<str>, String>,
    rules: Vec<LoadedRule>,
    warnings: Vec<PolicyFault>,
    faults: Vec<PolicyFault>,
}

/// One source while it is read.
struct Place<'a> {
    index: usize,
    source: Source<'a>,
    /// Where each policy of the source stands, by Cedar's provisional id.
    spans: HashMap<PolicyId, Range<usize>>,
}

impl Place<'_> {
    fn fault(&self, span: Option<Range<usize>>, what: String, help: Option<String>) -> PolicyFault {
        PolicyFault::at(self.index, self.source, span, what, help)
    }

    /// Where a name stands in a policy; the whole policy if it is written in some other way there.
    fn span_within(&self, policy: &Policy, name: &str) -> Option<Range<usize>> {
        let whole = self.spans.get(policy.id())?;
        let text = self.source.text.get(whole.clone())?;
        let named = text.rfind(name).map(|offset| whole.start + offset);
        Some(named.map_or_else(|| whole.clone(), |start| start..start + name.len()))
    }

    /// Cedar's own complaint about a policy, without its provisional name.
    fn of_cedar(&self, id: &PolicyId, complaint: &(impl Diagnostic + ?Sized)) -> PolicyFault {
        let what = complaint.to_string();
        let what = what.strip_prefix(&format!("for policy `{id}`, ")).map_or(what.clone(), str::to_owned);
        let span = span_of(complaint).or_else(|| self.spans.get(id).cloned());
        self.fault(span, what, complaint.help().map(|help| help.to_string()))
    }
}

impl Loader<'_> {
    fn source(&mut self, index: usize, source: Source<'_>, parsed: &Result<PolicySet, Box<ParseErrors>>) {
        let set = match parsed {
            Ok(set) => set,
            Err(errors) => {
                self.faults.extend(errors.iter().map(|error| {
                    let help = error.help().map(|help| help.to_string());
                    PolicyFault::at(index, source, span_of(error), error.to_string(), help)
                }));
                return;
            }
        };
        let place = Place { index, source, spans: spans(set, source.text) };
        for template in set.templates() {
            let help = "write it out for each principal or resource";
            self.faults.push(place.fault(
                place.spans.get(template.id()).cloned(),
                "a template; bundles have no slots such as `?principal`".to_owned(),
                Some(help.to_owned()),
            ));
        }
        let is_of = |policy: &Policy, tool: &Tool| names(&policy.action_constraint(), tool);
        let validate = |validator: &Validator, is_meant: &dyn Fn(&Policy) -> bool| {
            let meant = PolicySet::from_policies(set.policies().filter(|policy| is_meant(policy)).cloned()).ok()?;
            Some(validator.validate(&meant, ValidationMode::Strict))
        };
        let calls = validate(&self.validator, &|policy| !self.own.iter().any(|(tool, _)| is_of(policy, tool)));
        let own = self.own.iter().map(|(tool, validator)| validate(validator, &|policy| is_of(policy, tool)));
        let Some(results) = std::iter::once(calls).chain(own).collect::<Option<Vec<ValidationResult>>>() else {
            self.faults.push(place.fault(None, "the rules can't be told apart".to_owned(), None));
            return;
        };
        for result in &results {
            self.errors(&place, result.validation_errors());
        }
        let mut policies: Vec<&Policy> = set.policies().collect();
        policies.sort_by_key(|policy| place.spans.get(policy.id()).map(|span| span.start));
        for policy in policies {
            self.policy(&place, policy);
        }
        for warning in results.iter().flat_map(ValidationResult::validation_warnings) {
            self.warning(set, &place, warning);
        }
    }

    /// What breaks the schema. The same slip is reported once, and not for each tool in the rule's scope.
    fn errors<'e>(&mut self, place: &Place<'_>, errors: impl Iterator<Item = &'e ValidationError>) {
        let mut faults: Vec<PolicyFault> = errors
            .map(|error| {
                let mut fault = place.of_cedar(error.policy_id(), error);
                if matches!(error, ValidationError::UnrecognizedActionId(_)) {
                    fault.help = Some(self.near_actions(&fault.what));
                }
                fault
            })
            .collect();
        let start = |fault: &PolicyFault| fault.span.as_ref().map(|span| span.start);
        faults.sort_by(|left, right| (start(left), &left.what).cmp(&(start(right), &right.what)));
        let general = |fault: &PolicyFault| {
            let what = fault.what.split(" in context for ").next();
            (fault.span.clone(), what.map(str::to_owned))
        };
        faults.dedup_by_key(|fault| general(fault));
        self.faults.append(&mut faults);
    }

    /// A rule that can never apply is a typo more often than not, and as a forbid it fails open: a fault, if nothing
    /// else is wrong with it. Unless no tool is in its scope today: then it waits for one.
    fn warning(&mut self, set: &PolicySet, place: &Place<'_>, warning: &ValidationWarning) {
        let id = warning.policy_id();
        let mut fault = place.of_cedar(id, warning);
        let why = match warning {
            ValidationWarning::ImpossiblePolicy(_) => "its conditions are false for every call",
            ValidationWarning::InvalidActionApplication(_) => "no grant or connector fits its scope",
            _ => {
                self.warnings.push(fault);
                return;
            }
        };
        fault.what = format!("this rule can never apply: {why}");
        let scope = set.policy(id).map(Policy::action_constraint);
        let waits = scope.is_some_and(|scope| self.in_scope(&scope).next().is_none());
        let whole = place.spans.get(id).cloned().unwrap_or_default();
        let within = |other: &PolicyFault| {
            let start = other.span.as_ref().map(|span| span.start);
            other.source == fault.source && start.is_some_and(|start| whole.contains(&start))
        };
        if !waits && !self.faults.iter().any(within) {
            self.faults.push(fault);
        }
    }

    /// Which actions could have been meant: Cedar's own suggestion prefers short names to near ones.
    fn near_actions(&self, what: &str) -> String {
        let given = what.split('`').nth(1).unwrap_or_default();
        let known = self.catalogue.actions();
        // A name of a tool is near to another tool's, and to no group's.
        let alike = known.iter().map(String::as_str).filter(|action| action.contains("__") == given.contains("__"));
        if let Some(near) = nearest(given, alike) {
            return format!("did you mean `{near}`?");
        }
        let connector = given.split_once("__").map_or(given, |(connector, _)| connector);
        let mut beside: Vec<String> = known.into_iter().filter(|action| action.starts_with(&format!("{connector}__"))).collect();
        beside.sort_unstable();
        if beside.is_empty() {
            return "no tool and no group of tools has this name".to_owned();
        }
        beside.truncate(5);
        format!("its connector has {}", quoted(&beside))
    }

    fn in_scope(&self, scope: &ActionConstraint) -> impl Iterator<Item = &Tool> {
        let tools = self.catalogue.tools.iter().map(AsRef::as_ref).filter(move |tool| applies(scope, tool));
        tools.chain(self.own.iter().map(|(tool, _)| tool).filter(move |tool| names(scope, tool)))
    }

    fn policy(&mut self, place: &Place<'_>, policy: &Policy) {
        let span = place.spans.get(policy.id()).cloned();
        let body = match policy.to_pst() {
            Ok(parsed) => parsed.body().clone(),
            Err(error) => {
                self.faults.push(place.fault(span, error.to_string(), None));
                return;
            }
        };
        self.check_presence(place, policy, &body);
        self.check_connectors(place, policy);
        self.check_directory(place, policy);
        let facts = match RuleFacts::read(&body) {
            Ok(facts) => facts,
            Err(complaints) => {
                let faults = complaints.into_iter().map(|(what, help)| place.fault(span.clone(), what, help));
                self.faults.extend(faults);
                return;
            }
        };
        let id = Arc::clone(&facts.rule.id);
        let fault = place.fault(span, format!("`@id(\"{id}\")` is taken"), None);
        if let Some(first) = self.seen.get(&id) {
            let help = format!("it names the rule at {first}; give this one a name of its own");
            self.faults.push(PolicyFault { help: Some(help), ..fault });
            return;
        }
        let here = format!("{}:{}:{}", fault.source_name, fault.line, fault.column);
        self.seen.insert(Arc::clone(&id), here);
        self.rules.push(LoadedRule { facts: Arc::new(facts), policy: policy.new_id(PolicyId::new(&*id)), body });
    }

    fn check_presence(&mut self, place: &Place<'_>, policy: &Policy, body: &pst::Template) {
        let scope = policy.action_constraint();
        let tools: Vec<&Tool> = self.in_scope(&scope).collect();
        for missing in missing(body, &tools) {
            let span = place.span_within(policy, &missing.name);
            self.faults.push(place.fault(span, missing.what(), missing.help()));
        }
    }

    /// Cedar doesn't check the ids of entities. One that no tool belongs to may be a typo, or a connector to come.
    fn check_connectors(&mut self, place: &Place<'_>, policy: &Policy) {
        for literal in policy.entity_literals() {
            let id: &str = literal.id().unescaped();
            if literal.type_name().to_string() != "Bailiwick::Connector" || self.connectors.contains(id) {
                continue;
            }
            let span = place.span_within(policy, id);
            let help = nearest(id, self.connectors.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            let what = format!("no tool belongs to a connector `{id}`");
            let fault = place.fault(span, what, help);
            self.warnings.push(fault);
        }
    }
}

impl Loader<'_> {
    /// Groups and teams are declared, and a rule that names another one is about nobody: as a forbid it would fail open. An agent may be
    /// to come.
    fn check_directory(&mut self, place: &Place<'_>, policy: &Policy) {
        let Some(directory) = &self.catalogue.directory else { return };
        for literal in policy.entity_literals() {
            let id: &str = literal.id().unescaped();
            let (what, known): (_, Vec<&str>) = match literal.type_name().basename() {
                "AgentGroup" => ("group of agents", directory.groups.iter().map(String::as_str).collect()),
                "Team" => ("team", directory.teams.keys().map(String::as_str).collect()),
                "Agent" => ("agent", directory.agents.keys().map(String::as_str).collect()),
                _ => continue,
            };
            if known.contains(&id) {
                continue;
            }
            let near = nearest(id, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            let span = place.span_within(policy, id);
            if what == "agent" {
                self.warnings.push(place.fault(span, format!("no agent is called `{id}`"), near));
                continue;
            }
            let declare = if what == "team" { "teams" } else { "agent_groups" };
            let help = near.unwrap_or_else(|| format!("declare it in the configuration: `{declare}` in `[policy]`"));
            self.faults.push(place.fault(span, format!("there is no {what} `{id}`"), Some(help)));
        }
    }
}

fn span_of(complaint: &(impl Diagnostic + ?Sized)) -> Option<Range<usize>> {
    let label = complaint.labels()?.next()?;
    Some(label.offset()..label.offset() + label.len())
}

/// Where the policies of a source stand. Cedar keeps each one's text, but not its place.
pub(crate) fn spans(set: &PolicySet, text: &str) -> HashMap<PolicyId, Range<usize>> {
    let policies = set.policies().map(|policy| (policy.id(), policy.to_cedar()));
    let templates = set.templates().map(|template| (template.id(), Some(template.to_cedar())));
    let numbered: BTreeMap<usize, _> = policies
        .chain(templates)
        .filter_map(|(id, text)| {
            let number = AsRef::<str>::as_ref(id).strip_prefix("policy")?.parse().ok()?;
            Some((number, (id.clone(), text?)))
        })
        .collect();
    let mut cursor = 0;
    let mut spans = HashMap::new();
    for (id, policy) in numbered.into_values() {
        let Some(found) = text.get(cursor..).and_then(|rest| rest.find(&policy)) else {
            continue;
        };
        let start = cursor + found;
        cursor = start + policy.len();
        spans.insert(id, start..cursor);
    }
    spans
}
