//! Three promises, over random rules and calls: slicing changes no decision, what is callable is listed,
//! and the same question has the same answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use cedar_policy::{Authorizer, Decision as Answer, Entities, PolicySet, Request};
use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use proptest::sample::{select, subsequence};
use proptest::{collection, option};
use serde_json::{Value, json};

use super::{CATALOGUE, call, connectors, grant, tools, unchecked, unchecked_rules};
use crate::Obligations;
use crate::alike::{Alike, Mentions};
use crate::catalogue::{Catalogue, KnownTool};
use crate::context::Arguments;
use crate::load::{load, load_by};
use crate::reads::Reads;
use crate::rule::RuleFacts;
use crate::{
    Ask, Band, BundleDigest, CallFacts, Decision, DenyCause, GrantFacts, Policies, PolicyFault, PreparedGrant, Rule, Source,
    ToolFacts,
};

/// Conditions of all sorts: with and without context, with and without arguments, failing ones included.
const CONDITIONS: [&str; 27] = [
    "true",
    "false",
    "principal.ceiling > 1",
    "principal.depth == 0",
    "principal in Bailiwick::Agent::\"triage-bot\"",
    "principal.nothing",
    "resource.sensitivity == \"internal\"",
    "resource == Bailiwick::Connector::\"shop\"",
    "action in Bailiwick::Action::\"write\"",
    "action == Bailiwick::Action::\"tickets__get\"",
    "context.call.untrusted_input",
    "context.call.hour > 12",
    "context.call.hour * 9223372036854775807 > 0",
    "context.call.approvals.contains(\"a\")",
    "context.call.band > principal.ceiling",
    "context.input has amount",
    "context.input.amount > 500",
    "(context.input has to.zip && context.input.to.zip == 5)",
    "context.input has \"odd name\"",
    "principal in Bailiwick::AgentGroup::\"support\"",
    "principal in Bailiwick::Team::\"payments\"",
    "principal.agent.trust > 1",
    "resource in Bailiwick::Environment::\"production\"",
    "context.call.authn_strength > 1",
    "(context.call.budget has calls_left && context.call.budget.calls_left < 50)",
    "context.call.budget.writes_left < 5",
    "(if context.call.confidential then context.input.note else \"x\") == \"x\"",
];

const SCOPES: [&str; 13] = [
    "action",
    "action",
    "action == Bailiwick::Action::\"tickets__get\"",
    "action == Bailiwick::Action::\"shop__buy\"",
    "action == Bailiwick::Action::\"call\"",
    "action in Bailiwick::Action::\"shop__mail\"",
    "action in Bailiwick::Action::\"call\"",
    "action in Bailiwick::Action::\"read\"",
    "action in Bailiwick::Action::\"write\"",
    "action in Bailiwick::Action::\"band:medium\"",
    "action in Bailiwick::Action::\"connector:shop\"",
    "action in [Bailiwick::Action::\"exfiltrate\", Bailiwick::Action::\"band:high\"]",
    "action in [Bailiwick::Action::\"tickets__refund\", Bailiwick::Action::\"tickets__get\"]",
];

const PRINCIPALS: [&str; 5] = [
    "principal",
    "principal",
    "principal in Bailiwick::User::\"support@example.com\"",
    "principal == Bailiwick::Grant::\"other\"",
    "principal in Bailiwick::Team::\"night\"",
];

fn condition() -> impl Strategy<Value = String> {
    let leaf = select(&CONDITIONS[..]).prop_map(str::to_owned);
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} && {right})")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left} || {right})")),
            inner.prop_map(|inner| format!("!({inner})")),
        ]
    })
}

/// One rule without its `@id`.
fn rule() -> impl Strategy<Value = String> {
    let scope = || (select(&PRINCIPALS[..]), select(&SCOPES[..]));
    let clauses = || (option::of(condition()), option::of(condition()));
    let plain = (any::<bool>(), scope(), clauses()).prop_map(|(permit, (principal, action), (when, unless))| {
        let effect = if permit { "permit" } else { "forbid" };
        let when = when.map_or(String::new(), |when| format!("when {{ {when} }}"));
        let unless = unless.map_or(String::new(), |unless| format!("unless {{ {unless} }}"));
        format!("{effect} ({principal}, {action}, resource) {when} {unless};")
    });
    let lifted = (select(&["a", "b"][..]), scope(), condition()).prop_map(|(label, (principal, action), when)| {
        format!("@approval(\"{label}\") forbid ({principal}, {action}, resource) when {{ {when} }} unless {{ context.call.approvals.contains(\"{label}\") }};")
    });
    let open = scope().prop_map(|(principal, action)| format!("permit ({principal}, {action}, resource);"));
    prop_oneof![2 => plain, 1 => lifted, 2 => open]
}

pub(super) fn bundle() -> impl Strategy<Value = String> {
    collection::vec(rule(), 0..8).prop_map(|rules| {
        let named = rules.iter().enumerate().map(|(index, rule)| format!("@id(\"r{index}\") {rule}"));
        named.collect::<Vec<_>>().join("\n")
    })
}

/// Arguments that all have places for every tool that declares them.
fn input() -> impl Strategy<Value = Value> {
    let members = [("amount", json!(501)), ("note", json!("x")), ("to", json!({ "zip": 5 })), ("odd name", json!(""))];
    subsequence(members.to_vec(), 0..=4).prop_map(|members| {
        let members = members.into_iter().map(|(name, value)| (name.to_owned(), value));
        Value::Object(members.collect())
    })
}

#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) tool: String,
    pub(super) grant: GrantFacts,
    pub(super) input: Value,
    hour: u8,
    untrusted_input: bool,
    confidential: bool,
    approvals: Vec<String>,
    authn_strength: u8,
    left: Option<u64>,
}

pub(super) fn question() -> impl Strategy<Value = Question> {
    let facts = (select(&Band::ALL[..]), 0..2_u32, select(&["triage-bot", "other-bot"][..]));
    let approvals = subsequence(vec!["a".to_owned(), "b".to_owned()], 0..=2);
    let way = (1..4_u8, option::of(0..100_u64));
    (select(tools()), facts, input(), 0..24_u8, any::<bool>(), any::<bool>(), approvals, way).prop_map(
        |(tool, (ceiling, depth, agent), input, hour, untrusted_input, confidential, approvals, (authn_strength, left))| {
            Question {
                input: fitting(&tool, &input),
                tool: tool.name,
                grant: GrantFacts { ceiling, depth, agent: agent.into(), ..grant() },
                hour,
                untrusted_input,
                confidential,
                approvals,
                authn_strength,
                left,
            }
        },
    )
}

/// Of these arguments those that the tool declares.
fn fitting(tool: &ToolFacts, input: &Value) -> Value {
    let declared = |name: &str| tool.input_schema["properties"].get(name).is_some();
    let members = input.as_object().unwrap().iter().filter(|(name, _)| declared(name));
    Value::Object(members.map(|(name, value)| (name.clone(), value.clone())).collect())
}

impl Question {
    /// Of these arguments those that its tool declares.
    pub(super) fn fitting(&self, input: &Value) -> Value {
        fitting(tools().iter().find(|tool| tool.name == self.tool).unwrap(), input)
    }

    pub(super) fn call(&self) -> CallFacts<'_> {
        CallFacts {
            hour: self.hour,
            untrusted_input: self.untrusted_input,
            confidential: self.confidential,
            approvals: &self.approvals,
            authn_strength: self.authn_strength,
            calls_left: self.left,
            writes_left: self.left,
            ..call()
        }
    }
}

/// Every action with its groups, as the schema has them.
static ACTIONS: LazyLock<Entities> = LazyLock::new(|| {
    let mut catalogue = CATALOGUE.clone();
    let mut each = Alike::new(&catalogue.tools, &Mentions::everything(&catalogue.tools));
    catalogue.schema(&mut each).unwrap().action_entities().unwrap()
});

/// A bundle as Cedar itself takes it: all rules, as they are written.
pub(super) struct Bundle {
    set: PolicySet,
    facts: BTreeMap<String, std::sync::Arc<RuleFacts>>,
}

type Pass = (Answer, BTreeSet<String>, BTreeSet<String>);

impl Bundle {
    pub(super) fn read(text: &str) -> Self {
        let rules = unchecked_rules(text);
        Self {
            set: PolicySet::from_policies(rules.iter().map(|rule| rule.policy.clone())).unwrap(),
            facts: rules.into_iter().map(|rule| (rule.facts.rule.id.to_string(), rule.facts)).collect(),
        }
    }

    /// The decision by Cedar's own means: every action with its groups, the whole context.
    pub(super) fn decide(&self, question: &Question, prepared: &PreparedGrant) -> Decision {
        let tool = CATALOGUE.tools.iter().find(|tool| tool.name == question.tool).unwrap();
        let entities: Entities = prepared.entities.clone().add_entities(ACTIONS.clone(), None).unwrap();
        let arguments = Arguments::new(tool, &Reads::EVERYTHING, &question.input).unwrap();
        let pass = |approvals: &[&str]| {
            let context = arguments.context(tool, &Reads::EVERYTHING, &question.call(), approvals).unwrap();
            let request =
                Request::new(prepared.principal.clone(), tool.action.clone(), tool.connector.clone(), context, None).unwrap();
            let response = Authorizer::new().is_authorized(&request, &self.set, &entities);
            let errors: BTreeSet<String> = response
                .diagnostics()
                .errors()
                .map(|cedar_policy::AuthorizationError::PolicyEvaluationError(error)| error.policy_id().to_string())
                .collect();
            let reasons: BTreeSet<String> = response.diagnostics().reason().map(ToString::to_string).collect();
            (response.decision(), errors, reasons)
        };
        let mut held: Vec<&str> = question.approvals.iter().map(String::as_str).collect();
        let first = pass(&held);
        let liftable = first.2.iter().all(|id| self.facts[id].approval.is_some());
        if first.0 == Answer::Allow || !first.1.is_empty() || first.2.is_empty() || !liftable {
            return self.judged(&first);
        }
        let labels: Vec<_> = first.2.iter().map(|id| self.facts[id].approval.clone().unwrap()).collect();
        held.extend(labels.iter().map(|requirement| &*requirement.label));
        match self.judged(&pass(&held)) {
            Decision::Allow { .. } => {
                Decision::StepUp { labels, determining: self.named(&first.2), obligations: Obligations::default() }
            }
            refused => refused,
        }
    }

    fn named(&self, ids: &BTreeSet<String>) -> Vec<Rule> {
        ids.iter().map(|id| self.facts[id].rule.clone()).collect()
    }

    fn judged(&self, (answer, errors, reasons): &Pass) -> Decision {
        let (determining, cause) = match (errors.is_empty(), answer, reasons.is_empty()) {
            (false, _, _) => (self.named(errors), DenyCause::EvaluationError),
            (true, Answer::Allow, _) => {
                return Decision::Allow { determining: self.named(reasons), obligations: Obligations::default() };
            }
            (true, Answer::Deny, true) => (Vec::new(), DenyCause::NoPermit),
            (true, Answer::Deny, false) => (self.named(reasons), DenyCause::Forbidden),
        };
        Decision::Deny { determining, cause }
    }

    /// Whether Cedar's partial evaluation, to which the context is unknown, leaves open that the tool could be allowed.
    pub(super) fn could_allow(&self, question: &Question, prepared: &PreparedGrant) -> bool {
        let tool = CATALOGUE.tools.iter().find(|tool| tool.name == question.tool).unwrap();
        let entities: Entities = prepared.entities.clone().add_entities(ACTIONS.clone(), None).unwrap();
        let request =
            Request::builder().principal(prepared.principal.clone()).action(tool.action.clone()).resource(tool.connector.clone());
        let response = Authorizer::new().is_authorized_partial(&request.build(), &self.set, &entities);
        // A rule that fails whatever the call is denies, to us.
        response.decision() != Some(Answer::Deny) && response.definitely_errored().next().is_none()
    }
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, cases: 400, ..Default::default() })]

    #[test]
    fn sliced_is_unsliced_and_callable_is_listed(text in bundle(), questions in collection::vec(question(), 1..6)) {
        let policies = unchecked(&text);
        for question in questions {
            let prepared = PreparedGrant::new(&question.grant, &connectors()).unwrap();
            let call = question.call();
            let ask = Ask { tool: &question.tool, grant: &prepared, call: &call, input: &question.input };
            let decision = policies.decide(&ask);
            assert_eq!(decision, Bundle::read(&text).decide(&question, &prepared), "{text}\n{question:?}");
            assert_eq!(decision, policies.decide(&ask), "{text}\n{question:?}");
            let callable = !matches!(decision, Decision::Deny { .. });
            let listed = policies.could_allow(&prepared, &question.tool);
            assert!(listed || !callable, "callable, and not listed: {text}\n{question:?}");
            if !policies.reads_context(&question.tool) {
                let other = Question { hour: 23 - question.hour, approvals: vec!["a".into()], input: json!({}), ..question.clone() };
                let call = other.call();
                let ask = Ask { call: &call, input: &other.input, ..ask };
                assert_eq!(decision, policies.decide(&ask), "{text}\n{question:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, cases: 100, ..Default::default() })]

    /// A bundle is found faulty, doubtful or good over the sorts of tools as it is over each tool, and means the same.
    #[test]
    fn one_of_many_stands_for_all(text in bundle(), questions in collection::vec(question(), 1..4)) {
        stands_for_all(&text, &questions);
    }
}

fn stands_for_all(text: &str, questions: &[Question]) {
    let source = Source { name: "t", text };
    let facts = many();
    let catalogue = || Catalogue::new(&KnownTool::read(&facts).unwrap());
    let told = |faults: Vec<PolicyFault>| {
        let plain = |fault: PolicyFault| (fault.line, fault.what.split(" in context for ").next().unwrap().to_owned());
        faults.into_iter().map(plain).collect::<Vec<_>>()
    };
    let (mut together, mut apart) = (catalogue(), catalogue());
    let each = Alike::new(&apart.tools, &Mentions::everything(&apart.tools));
    let expected = load_by(each, &[source], &[text.parse().map_err(Box::new)], &mut apart);
    match (load(&[source], &mut together), expected) {
        (Err(faults), Err(expected)) => assert_eq!(told(faults), told(expected), "{text}"),
        (Ok(loaded), Ok(expected)) => {
            assert_eq!(expected.alike.firsts.len(), facts.len());
            assert_eq!(told(loaded.warnings.clone()), told(expected.warnings.clone()), "{text}");
            let one = Policies::assemble(&together, loaded, BundleDigest::of(&[])).unwrap();
            let other = Policies::assemble(&apart, expected, BundleDigest::of(&[])).unwrap();
            for (question, tool) in questions.iter().flat_map(|question| facts.iter().map(move |tool| (question, tool))) {
                let prepared = PreparedGrant::new(&question.grant, &connectors()).unwrap();
                let call = question.call();
                let ask = Ask { tool: &tool.name, grant: &prepared, call: &call, input: &question.input };
                assert_eq!(one.decide(&ask), other.decide(&ask), "{text}\n{question:?}");
                let listed = one.could_allow(&prepared, &tool.name);
                assert_eq!(listed, other.could_allow(&prepared, &tool.name), "{text}");
                for same in facts.iter().filter(|same| one.question(&same.name) == one.question(&tool.name)) {
                    assert_eq!(one.could_allow(&prepared, &same.name), listed, "{text}");
                }
            }
        }
        (one, other) => panic!("{text}\n{:?}\n{:?}", one.map(|_| ()), other.map(|_| ())),
    }
}

/// Tools of which many are alike to most rules: with further arguments, and with some that are required.
fn many() -> Vec<ToolFacts> {
    let of = |at: usize, tool: &ToolFacts| {
        let mut input_schema = tool.input_schema.clone();
        input_schema["properties"][format!("extra_{at}")] = json!({"type": "string"});
        let may_require = at == 2 && input_schema["properties"].get("amount").is_some();
        input_schema["required"] = if may_require { json!(["amount"]) } else { json!([]) };
        ToolFacts { name: format!("{}_{at}", tool.name), input_schema, ..tool.clone() }
    };
    let further = tools().into_iter().flat_map(|tool| [1, 2, 3].map(|at| of(at, &tool)));
    tools().into_iter().chain(further).collect()
}
