//! Promises over many random rules and requests: slicing changes no decision, remembering changes none, and what is callable is listed, be it
//! by a call that is allowed or by Cedar's partial evaluation.
//!
//! `POLICY_CASES` says how many requests (`tests/policy/run` makes 1,000,000 of each); some thousands otherwise.

use std::collections::HashMap;

use cedar_policy::{Authorizer, Decision as Answer, PolicySet, Request};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::properties::{Bundle, Question, bundle, question};
use super::{CATALOGUE, connectors, prepared, unchecked};
use crate::{Ask, Decision, Memory, Policies, PreparedGrant};

/// Requests of one bundle: making a bundle takes longer than deciding.
const REQUESTS: usize = 100;

fn cases() -> usize {
    std::env::var("POLICY_CASES").map_or(4_000, |given| given.replace('_', "").parse().unwrap())
}

/// A bundle compiled, its whole text in Cedar's own form, and what there is to ask.
fn each(mut judge: impl FnMut(&str, &Policies, &Bundle, &[Question])) -> usize {
    let mut runner = TestRunner::deterministic();
    let (rules, questions) = (bundle(), question());
    let mut asked = 0;
    while asked < cases() {
        let text = rules.new_tree(&mut runner).unwrap().current();
        let all: Vec<Question> = (0..REQUESTS).map(|_| questions.new_tree(&mut runner).unwrap().current()).collect();
        judge(&text, &unchecked(&text), &Bundle::read(&text), &all);
        asked += all.len();
    }
    asked
}

/// Grants of the questions, prepared once each.
#[derive(Default)]
struct Grants(HashMap<String, PreparedGrant>);

impl Grants {
    fn of(&mut self, question: &Question) -> &PreparedGrant {
        let make = || PreparedGrant::among(&question.grant, &connectors(), &super::directory()).unwrap();
        self.0.entry(format!("{:?}", question.grant)).or_insert_with(make)
    }
}

#[test]
fn a_slice_decides_as_the_whole_set_does() {
    let (mut grants, mut allowed, mut held) = (Grants::default(), 0, 0);
    let asked = each(|text, policies, whole, questions| {
        for question in questions {
            let grant = grants.of(question);
            let call = question.call();
            let ask = Ask { tool: &question.tool, grant, call: &call, input: &question.input };
            let decision = policies.decide(&ask);
            assert_eq!(decision, whole.decide(question, grant), "{text}\n{question:?}");
            allowed += usize::from(matches!(decision, Decision::Allow { .. }));
            held += usize::from(matches!(decision, Decision::StepUp { .. }));
            let listed = policies.could_allow(grant, &question.tool);
            assert!(listed || matches!(decision, Decision::Deny { .. }), "callable, and not listed: {text}\n{question:?}");
        }
    });
    println!("sliced=whole requests={asked} allowed={allowed} held={held} differences=0");
    assert!(allowed > asked / 20 && held > asked / 100, "too little was allowed: {allowed}, {held} of {asked}");
}

#[test]
fn what_is_remembered_is_what_would_be_decided() {
    let (mut grants, mut remembered) = (Grants::default(), 0);
    let asked = each(|text, policies, _, questions| {
        let mut memories: HashMap<String, Memory> = HashMap::new();
        for question in questions {
            let grant = grants.of(question);
            let memory = memories.entry(format!("{:?}", question.grant)).or_default();
            let call = question.call();
            let ask = Ask { tool: &question.tool, grant, call: &call, input: &question.input };
            assert_eq!(*memory.decide(policies, &ask), policies.decide(&ask), "{text}\n{question:?}");
            let listed = memory.could_allow(policies, grant, &question.tool);
            assert_eq!(listed, policies.could_allow(grant, &question.tool), "{text}\n{question:?}");
            assert!(memory.len() <= CATALOGUE.tools.len());
            remembered += usize::from(!policies.reads_context(&question.tool));
        }
    });
    println!("remembered=fresh requests={asked} of_memory={remembered} differences=0");
    assert!(remembered > asked / 20, "too little is remembered: {remembered} of {asked}");
}

/// Partial evaluation leaves the context open: where it says no, no call is allowed. Where it doesn't, and the tool is not listed all the same,
/// no request may be found that is callable: the listing knows more (it follows `&&` past what a call decides), and never something else.
#[test]
fn what_partial_evaluation_allows_is_listed() {
    let (mut grants, mut open, mut refined, mut over) = (Grants::default(), 0, 0, 0);
    let asked = each(|text, policies, whole, questions| {
        for question in questions {
            let grant = grants.of(question);
            let could = whole.could_allow(question, grant);
            let listed = policies.could_allow(grant, &question.tool);
            open += usize::from(could);
            over += usize::from(listed && !could);
            if could && !listed {
                refined += 1;
                for other in questions {
                    let call = other.call();
                    let ask = Ask { tool: &question.tool, grant, call: &call, input: &question.fitting(&other.input) };
                    let decision = policies.decide(&ask);
                    assert!(
                        matches!(decision, Decision::Deny { .. }),
                        "callable, and not listed: {text}\n{question:?}\n{other:?}"
                    );
                }
            }
        }
    });
    println!(
        "callable=>listed requests={asked} open_by_partial_evaluation={open} known_better={refined} over_listed={over} hidden=0"
    );
    assert!(open > asked / 20, "too little could be allowed: {open} of {asked}");
}

/// A fixed case of each: what partial evaluation leaves open and the listing closes, and the other way round.
#[test]
fn the_two_ways_to_look_ahead_differ_where_they_are_said_to() {
    let closed =
        "@id(\"p\") permit (principal, action, resource) when { context.call.untrusted_input && principal.ceiling > 7 };";
    assert!(!unchecked(closed).could_allow(&prepared(), "tickets__get"));
    let forbidden = "@id(\"p\") permit (principal, action, resource);
        @id(\"f\") forbid (principal, action, resource) when { principal.ceiling == 2 || context.call.untrusted_input };";
    assert!(!unchecked(forbidden).could_allow(&prepared(), "tickets__get"));
    let tool = CATALOGUE.tools.iter().find(|tool| tool.name == "tickets__get").unwrap();
    let grant = prepared();
    let request =
        Request::builder().principal(grant.principal.clone()).action(tool.action.clone()).resource(tool.connector.clone());
    let set: PolicySet = forbidden.parse().unwrap();
    let response = Authorizer::new().is_authorized_partial(&request.build(), &set, &grant.entities.clone().partial());
    assert_eq!(response.decision(), Some(Answer::Deny));
}
