//! From policy text to checked rules, or to everything that is wrong with it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use cedar_policy::{
    ActionConstraint, Policy, PolicyId, PolicySet, ValidationMode, ValidationWarning,
    Validator, pst,
};
use miette::Diagnostic;

use crate::catalogue::{Catalogue, Tool, call_fields, connector_attributes, grant_attributes};
use crate::fault::{PolicyFault, Source, nearest};
use crate::reads::presence_checks;
use crate::rule::RuleFacts;
use crate::shape::{Field, Shape};

/// A rule that was parsed, validated and linted.
pub(crate) struct LoadedRule {
    pub(crate) facts: Arc<RuleFacts>,
    /// The policy, named by its `@id`.
    pub(crate) policy: Policy,
    pub(crate) body: pst::Template,
}

/// The rules of a bundle, and what is doubtful about them.
pub(crate) struct Loaded {
    pub(crate) rules: Vec<LoadedRule>,
    pub(crate) warnings: Vec<PolicyFault>,
}

/// Reads every source; reports all faults of all of them, in the order of the text.
pub(crate) fn load(
    sources: &[Source<'_>],
    catalogue: &Catalogue,
) -> Result<Loaded, Vec<PolicyFault>> {
    let mut loader = Loader {
        validator: Validator::new(catalogue.schema.clone()),
        catalogue,
        seen: HashMap::new(),
        rules: Vec::new(),
        warnings: Vec::new(),
        faults: Vec::new(),
    };
    for (index, source) in sources.iter().enumerate() {
        loader.source(index, *source);
    }
    if loader.faults.is_empty() {
        return Ok(Loaded {
            rules: loader.rules,
            warnings: loader.warnings,
        });
    }
    let start = |fault: &PolicyFault| fault.span.as_ref().map(|span| span.start);
    loader.faults.sort_by_key(|fault| (fault.source, start(fault)));
    Err(loader.faults)
}

/// Whether a scope names the tool's action, one of its groups, or any action.
///
/// INVARIANT: this is Cedar's own `action in`, spelled out; a rule it forgets is a forbid that never fires.
/// `sliced_is_unsliced` in the tests holds it.
pub(crate) fn applies(scope: &ActionConstraint, tool: &Tool) -> bool {
    match scope {
        ActionConstraint::Any => true,
        ActionConstraint::Eq(action) => *action == tool.action,
        ActionConstraint::In(actions) => actions
            .iter()
            .any(|action| *action == tool.action || tool.groups.contains(action)),
    }
}

struct Loader<'a> {
    validator: Validator,
    catalogue: &'a Catalogue,
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

    /// Cedar's own complaint about a policy, without its provisional name.
    fn of_cedar(&self, id: &PolicyId, complaint: &(impl Diagnostic + ?Sized)) -> PolicyFault {
        let what = complaint.to_string();
        let what = what
            .strip_prefix(&format!("for policy `{id}`, "))
            .map_or(what.clone(), str::to_owned);
        let span = span_of(complaint).or_else(|| self.spans.get(id).cloned());
        self.fault(span, what, complaint.help().map(|help| help.to_string()))
    }
}

impl Loader<'_> {
    fn source(&mut self, index: usize, source: Source<'_>) {
        let set: PolicySet = match source.text.parse() {
            Ok(set) => set,
            Err(errors) => {
                let errors: &cedar_policy::ParseErrors = &errors;
                self.faults.extend(errors.iter().map(|error| {
                    let help = error.help().map(|help| help.to_string());
                    PolicyFault::at(index, source, span_of(error), error.to_string(), help)
                }));
                return;
            }
        };
        let place = Place {
            index,
            source,
            spans: spans(&set, source.text),
        };
        for template in set.templates() {
            let help = "write it out for each principal or resource";
            self.faults.push(place.fault(
                place.spans.get(template.id()).cloned(),
                "a template; bundles have no slots such as `?principal`".to_owned(),
                Some(help.to_owned()),
            ));
        }
        let result = self.validator.validate(&set, ValidationMode::Strict);
        let errors = result.validation_errors();
        self.faults
            .extend(errors.map(|error| place.of_cedar(error.policy_id(), error)));
        for warning in result.validation_warnings() {
            self.warning(&set, &place, warning);
        }
        let mut policies: Vec<&Policy> = set.policies().collect();
        policies.sort_by_key(|policy| place.spans.get(policy.id()).map(|span| span.start));
        for policy in policies {
            self.policy(&place, policy);
        }
    }

    /// A rule that can never apply is a typo more often than not, and as a forbid it fails open: a fault.
    /// Unless no tool is in its scope today: then it waits for one.
    fn warning(&mut self, set: &PolicySet, place: &Place<'_>, warning: &ValidationWarning) {
        let mut fault = place.of_cedar(warning.policy_id(), warning);
        let never = matches!(
            warning,
            ValidationWarning::ImpossiblePolicy(_) | ValidationWarning::InvalidActionApplication(_)
        );
        if !never {
            self.warnings.push(fault);
            return;
        }
        let scope = set.policy(warning.policy_id()).map(Policy::action_constraint);
        if scope.is_some_and(|scope| self.in_scope(&scope).next().is_some()) {
            let hint = "a grant is `in` its agent and its agent's owner, and never `==` to them";
            fault.help.get_or_insert_with(|| hint.to_owned());
            "this rule can never apply: ".clone_into(&mut fault.what);
            fault.what += &warning_text(place, warning);
            self.faults.push(fault);
        }
    }

    fn in_scope(&self, scope: &ActionConstraint) -> impl Iterator<Item = &Tool> {
        let tools = self.catalogue.tools.iter();
        tools.filter(move |tool| applies(scope, tool))
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
        let facts = match RuleFacts::read(&body) {
            Ok(facts) => facts,
            Err(complaints) => {
                let faults = complaints
                    .into_iter()
                    .map(|(what, help)| place.fault(span.clone(), what, help));
                self.faults.extend(faults);
                return;
            }
        };
        let id = Arc::clone(&facts.rule.id);
        let fault = place.fault(span, format!("`@id(\"{id}\")` is taken"), None);
        if let Some(first) = self.seen.get(&id) {
            let help = format!("it names the rule at {first}; give this one a name of its own");
            self.faults.push(PolicyFault {
                help: Some(help),
                ..fault
            });
            return;
        }
        let here = format!("{}:{}:{}", fault.source_name, fault.line, fault.column);
        self.seen.insert(Arc::clone(&id), here);
        self.rules.push(LoadedRule {
            facts: Arc::new(facts),
            policy: policy.new_id(PolicyId::new(&*id)),
            body,
        });
    }

    /// To Cedar `context.input has amuont` is just false, so a slip of the pen would silence the rule.
    fn check_presence(&mut self, place: &Place<'_>, policy: &Policy, body: &pst::Template) {
        let scope = policy.action_constraint();
        let tools: Vec<&Tool> = self.in_scope(&scope).collect();
        if tools.is_empty() {
            return;
        }
        let mut faults = Vec::new();
        for (root, path) in presence_checks(body) {
            let Err(missing) = declared(&root, &path, &tools) else {
                continue;
            };
            let span = place
                .spans
                .get(policy.id())
                .map(|span| attribute_span(place.source.text, span, &missing.name));
            let what = format!("`has {}` is never true: no such {}", missing.name, missing.of);
            let help = match nearest(&missing.name, missing.known.iter().map(String::as_str)) {
                Some(near) => Some(format!("did you mean `{near}`?")),
                None if missing.known.is_empty() => None,
                None => Some(format!("there are {}", quoted(&missing.known))),
            };
            faults.push(place.fault(span, what, help));
        }
        self.faults.append(&mut faults);
    }

    /// Cedar doesn't check the ids of entities. One that no tool belongs to may be a typo, or a connector to come.
    fn check_connectors(&mut self, place: &Place<'_>, policy: &Policy) {
        let known: Vec<&str> = self
            .catalogue
            .tools
            .iter()
            .map(|tool| tool.connector.id().unescaped())
            .collect();
        for literal in policy.entity_literals() {
            let id: &str = literal.id().unescaped();
            if literal.type_name().to_string() != "Bailiwick::Connector" || known.contains(&id) {
                continue;
            }
            let span = place
                .spans
                .get(policy.id())
                .map(|span| attribute_span(place.source.text, span, id));
            let help = nearest(id, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
            let what = format!("no tool belongs to a connector `{id}`");
            let fault = place.fault(span, what, help);
            self.warnings.push(fault);
        }
    }
}

fn warning_text(place: &Place<'_>, warning: &ValidationWarning) -> String {
    place.of_cedar(warning.policy_id(), warning).what
}

fn span_of(complaint: &(impl Diagnostic + ?Sized)) -> Option<Range<usize>> {
    let label = complaint.labels()?.next()?;
    Some(label.offset()..label.offset() + label.len())
}

/// Where the policies of a source stand. Cedar keeps each one's text, but not its place.
fn spans(set: &PolicySet, text: &str) -> HashMap<PolicyId, Range<usize>> {
    let policies = set.policies().map(|policy| (policy.id(), policy.to_cedar()));
    let templates = set
        .templates()
        .map(|template| (template.id(), Some(template.to_cedar())));
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

/// Where a name stands in a policy; the whole policy if it is written in some other way there.
fn attribute_span(text: &str, policy: &Range<usize>, name: &str) -> Range<usize> {
    let found = text.get(policy.clone()).and_then(|policy| policy.rfind(name));
    found.map_or(policy.clone(), |offset| {
        let start = policy.start + offset;
        start..start + name.len()
    })
}

/// An attribute that no tool in a rule's scope has.
struct Missing {
    name: String,
    of: &'static str,
    known: Vec<String>,
}

/// Whether any tool's principal, resource or context has this path.
fn declared(root: &pst::Var, path: &[String], tools: &[&Tool]) -> Result<(), Missing> {
    let attributes = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    let (of, fields): (_, Vec<BTreeMap<String, Field>>) = match root {
        pst::Var::Action => return Ok(()),
        pst::Var::Principal => {
            return among(path, "attribute of a grant", attributes(grant_attributes().collect()));
        }
        pst::Var::Resource => {
            let known = attributes(connector_attributes().collect());
            return among(path, "attribute of a connector", known);
        }
        pst::Var::Context => match path.first().map(String::as_str) {
            Some("call") => ("fact of a call", vec![call_fields()]),
            Some("input") => {
                let inputs = tools.iter().map(|tool| tool.input.clone());
                ("argument of any tool in its scope", inputs.collect())
            }
            _ => {
                let known = vec!["call".to_owned(), "input".to_owned()];
                return among(path, "part of the context", known);
            }
        },
    };
    let inner = path.get(1..).unwrap_or_default();
    match fields.iter().map(|fields| missing_in(fields, inner)).collect::<Option<Vec<_>>>() {
        None => Ok(()),
        Some(missing) => {
            let name = missing.first().map(|(name, _)| name.clone()).unwrap_or_default();
            let mut known: Vec<String> = missing.into_iter().flat_map(|(_, known)| known).collect();
            known.sort_unstable();
            known.dedup();
            Err(Missing { name, of, known })
        }
    }
}

fn among(path: &[String], of: &'static str, known: Vec<String>) -> Result<(), Missing> {
    match path.first() {
        Some(name) if !known.contains(name) => Err(Missing {
            name: name.clone(),
            of,
            known,
        }),
        _ => Ok(()),
    }
}

/// The first name of a path that isn't declared, with the names that are; `None` when all are.
/// Nothing is known about what lies inside an opaque field.
fn missing_in(fields: &BTreeMap<String, Field>, path: &[String]) -> Option<(String, Vec<String>)> {
    let (first, rest) = path.split_first()?;
    match fields.get(first).map(|field| &field.shape) {
        None => Some((first.clone(), fields.keys().cloned().collect())),
        Some(Shape::Record(inner)) => missing_in(inner, rest),
        Some(_) => None,
    }
}

fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}
