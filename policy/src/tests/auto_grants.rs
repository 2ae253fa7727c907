//! Rules about grants that agents get by themselves: which permits count, what they are checked against, and what they say.

use super::{allow, call, compile, deny, prepared, rule, step_up, tools};
use crate::{AutoGrant, CallFacts, DEFAULT_BUNDLE, Decision, DenyCause, Policies, Source};

const PERMIT: &str = "@id(\"p\") permit (principal, action == Bailiwick::Action::\"auto_grant\", resource);";

fn decide_in(policies: &Policies, call: &CallFacts<'_>) -> Decision {
    let (grant, tools) = (prepared(), ["tickets__get".to_owned()]);
    let (agent, owner, purpose) = ("triage-bot", "support@example.com", "look it up");
    policies.decide_auto_grant(&AutoGrant { grant: &grant, agent, owner, call, tools: &tools, ttl_s: 600, purpose, live: 1 })
}

fn decide(text: &str) -> Decision {
    decide_in(&compile(text), &call())
}

/// What permits everything, or handing on, permits this not: a bundle that was written before there was such an action gives nothing.
#[test]
fn only_a_permit_that_names_it_counts() {
    for text in [
        "",
        "@id(\"all\") permit (principal, action, resource);",
        "@id(\"c\") permit (principal, action in Bailiwick::Action::\"call\", resource);",
        "@id(\"d\") permit (principal, action == Bailiwick::Action::\"delegate\", resource);",
        DEFAULT_BUNDLE,
    ] {
        assert_eq!(decide(text), deny(DenyCause::NoPermit, &[]), "{text}");
    }
    assert_eq!(decide(PERMIT), allow(&["p"]));
}

#[test]
fn an_unscoped_forbid_counts() {
    let policies =
        compile(&format!("{PERMIT} @id(\"f\") forbid (principal, action, resource) when {{ context.call.untrusted_input }};"));
    assert_eq!(decide_in(&policies, &call()), allow(&["p"]));
    assert_eq!(decide_in(&policies, &CallFacts { untrusted_input: true, ..call() }), deny(DenyCause::Forbidden, &["f"]));
}

#[test]
fn rules_tell_them_apart_by_what_is_asked_and_by_whom() {
    for (when, is_permitted) in [
        ("resource == Bailiwick::Agent::\"triage-bot\"", true),
        ("resource == Bailiwick::Agent::\"scout\"", false),
        ("principal in Bailiwick::Agent::\"triage-bot\"", true),
        ("[\"tickets__get\", \"tickets__search\"].containsAll(context.input.tools)", true),
        ("[\"tickets__search\"].containsAll(context.input.tools)", false),
        ("context.input.ttl_s <= 600", true),
        ("context.input.ttl_s < 600", false),
        ("context.input.live < 2", true),
        ("context.input.live < 1", false),
        ("context.input.purpose == \"look it up\"", true),
    ] {
        let text = PERMIT.replace(", resource);", &format!(", resource) when {{ {when} }};"));
        let expected = if is_permitted { allow(&["p"]) } else { deny(DenyCause::NoPermit, &[]) };
        assert_eq!(decide(&text), expected, "{when}");
    }
}

#[test]
fn an_approval_would_lift_it() {
    let text = format!(
        "{PERMIT} @id(\"s\") @approval(\"approver\") forbid (principal, action == Bailiwick::Action::\"auto_grant\", resource)
         unless {{ context.call.approvals.contains(\"approver\") }};"
    );
    assert_eq!(decide(&text), step_up(&[("s", "approver")]));
}

#[test]
fn a_rule_about_them_is_checked_against_what_they_are() {
    let faults = |when: &str| {
        let text = PERMIT.replace(", resource);", &format!(", resource) when {{ {when} }};"));
        let faults = Policies::compile(&[Source { name: "t.cedar", text: &text }], &tools()).err().unwrap_or_default();
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    // What a hop has, and this has not.
    assert!(faults("context.input.depth > 1").contains("not found"));
    assert!(faults("context.input.ttl_s > \"900\"").contains("expected Long but saw String"));
    assert_eq!(faults("context.input.live < 3"), "");
    let policies = compile(PERMIT);
    assert_eq!(policies.rules(), [&rule("p", None)]);
}
