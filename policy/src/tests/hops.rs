//! Rules about handing a task on: which of them matter, what they are checked against, and what they say.

use super::{allow, call, compile, connectors, deny, grant, prepared, rule, step_up, tools};
use crate::Obligations;
use crate::{Band, CallFacts, DEFAULT_BUNDLE, Decision, Delegation, DenyCause, GrantFacts, Policies, PreparedGrant, Source};

const PERMIT: &str = "@id(\"p\") permit (principal, action == Bailiwick::Action::\"delegate\", resource);";

fn hop<'a>(grant: &'a PreparedGrant, call: &'a CallFacts<'a>, tools: &'a [String]) -> Delegation<'a> {
    let (to, owner) = ("scout", "scouts@example.com");
    Delegation { grant, to, owner, call, tools, depth: 2, ttl_s: 900, ceiling: Band::Low, purpose: "look it up" }
}

fn decide(policies: &Policies, change: impl FnOnce(&mut Delegation<'_>)) -> Decision {
    let (grant, call, tools) = (prepared(), call(), ["tickets__get".to_owned()]);
    let mut hop = hop(&grant, &call, &tools);
    change(&mut hop);
    policies.decide_delegation(&hop)
}

#[test]
fn without_a_permit_that_names_it_nothing_is_handed_on() {
    for text in ["", "@id(\"c\") permit (principal, action in Bailiwick::Action::\"call\", resource);"] {
        assert_eq!(decide(&compile(text), |_| {}), deny(DenyCause::NoPermit, &[]), "{text}");
    }
    assert_eq!(decide(&compile(PERMIT), |_| {}), allow(&["p"]));
}

#[test]
fn an_unscoped_forbid_holds_for_hops_too() {
    let policies =
        compile(&format!("{PERMIT} @id(\"f\") forbid (principal, action, resource) when {{ context.call.untrusted_input }};"));
    assert_eq!(decide(&policies, |_| {}), allow(&["p"]));
    let (grant, dirty, tools) = (prepared(), CallFacts { untrusted_input: true, ..call() }, []);
    assert_eq!(policies.decide_delegation(&hop(&grant, &dirty, &tools)), deny(DenyCause::Forbidden, &["f"]));
}

#[test]
fn rules_tell_hops_apart_by_what_is_handed_on_and_to_whom() {
    let forbid = |when: &str| {
        compile(&format!("{PERMIT} @id(\"f\") forbid (principal, action == Bailiwick::Action::\"delegate\", resource) {when};"))
    };
    let forbidden = deny(DenyCause::Forbidden, &["f"]);
    for (when, is_forbidden) in [
        ("when { resource == Bailiwick::Agent::\"scout\" }", true),
        ("when { resource == Bailiwick::Agent::\"triage-bot\" }", false),
        ("when { resource in Bailiwick::User::\"scouts@example.com\" }", true),
        ("when { resource in Bailiwick::User::\"support@example.com\" }", false),
        ("when { context.input.tools.contains(\"tickets__get\") }", true),
        ("when { context.input.tools.contains(\"tickets__refund\") }", false),
        ("when { context.input.depth > 1 }", true),
        ("when { context.input.depth > 2 }", false),
        ("when { context.input.ttl_s >= 900 }", true),
        ("when { context.input.ttl_s > 900 }", false),
        ("when { context.input.ceiling >= 1 }", false),
        ("when { context.input.purpose == \"look it up\" }", true),
        ("when { principal.delegators.contains(Bailiwick::Agent::\"lead-bot\") }", true),
        ("when { principal.delegators.contains(Bailiwick::Agent::\"scout\") }", false),
        ("when { principal in Bailiwick::Agent::\"triage-bot\" }", true),
        ("when { context.call.calls_in_task > 6 }", true),
        ("when { context.call.calls_in_task > 7 }", false),
    ] {
        let expected = if is_forbidden { forbidden.clone() } else { allow(&["p"]) };
        assert_eq!(decide(&forbid(when), |_| {}), expected, "{when}");
    }
}

#[test]
fn the_agent_that_hands_on_may_stand_in_its_own_world() {
    // To itself: the agent is there already, with the owner that the grant names.
    let policies = compile(&format!(
        "{PERMIT} @id(\"f\") forbid (principal, action == Bailiwick::Action::\"delegate\", resource) when {{ principal in resource }};"
    ));
    assert_eq!(decide(&policies, |hop| hop.to = "triage-bot"), deny(DenyCause::Forbidden, &["f"]));
    assert_eq!(decide(&policies, |_| {}), allow(&["p"]));
}

#[test]
fn an_approval_would_lift_it() {
    let policies = compile(&format!(
        "{PERMIT} @id(\"s\") @approval(\"approver\") forbid (principal, action == Bailiwick::Action::\"delegate\", resource)
         unless {{ context.call.approvals.contains(\"approver\") }};"
    ));
    assert_eq!(decide(&policies, |_| {}), step_up(&[("s", "approver")]));
}

#[test]
fn a_rule_about_hops_is_checked_against_what_a_hop_is() {
    let faults = |text: &str| {
        let faults = Policies::compile(&[Source { name: "t.cedar", text }], &tools()).err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let about = |when: &str| {
        format!("@id(\"r\") forbid (principal, action == Bailiwick::Action::\"delegate\", resource) when {{ {when} }};")
    };
    for (when, expected) in [
        ("context.input.tool == \"x\"", "did you mean `tools`?"),
        ("context.input.dept > 1", "did you mean `depth`?"),
        ("context.input.ttl_s > \"900\"", "expected Long but saw String"),
        ("context.input.id == \"T-1\"", "not found"),
        ("resource == Bailiwick::Agnt::\"scout\"", "Bailiwick::Agent"),
    ] {
        let found = faults(&about(when));
        assert!(found.contains(expected), "{when}: {found}");
    }
    let found = faults("@id(\"r\") permit (principal, action == Bailiwick::Action::\"delegat\", resource);");
    assert!(found.contains("did you mean `Bailiwick::Action::\"delegate\"`?"), "{found}");
    assert_eq!(faults(&about("context.input.depth > 1 && context.input.ttl_s > 60")), "");
}

#[test]
fn the_default_bundle_lets_a_task_be_handed_on() {
    let policies = Policies::compile(&[Source { name: "default.cedar", text: DEFAULT_BUNDLE }], &tools()).unwrap();
    for (untrusted_input, ceiling) in [(false, Band::Low), (true, Band::Critical)] {
        let facts = GrantFacts { ceiling, ..grant() };
        let (grant, call) = (PreparedGrant::new(&facts, &connectors()).unwrap(), CallFacts { untrusted_input, ..call() });
        let determining = vec![rule("hand-on", None)];
        assert_eq!(
            policies.decide_delegation(&hop(&grant, &call, &[])),
            Decision::Allow { determining, obligations: Obligations::default() }
        );
    }
}
