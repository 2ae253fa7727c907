//! What is listed before any call.

use super::{compile, grant, prepared, tools, unchecked};
use crate::{Policies, PreparedGrant};

fn listed(policies: &Policies) -> Vec<String> {
    let grant = prepared();
    let names = tools().into_iter().map(|tool| tool.name);
    names.filter(|tool| policies.could_allow(&grant, tool)).collect()
}

#[test]
fn nothing_is_listed_without_a_permit() {
    assert_eq!(listed(&compile("")), [""; 0]);
    let forbid = "@id(\"f\") forbid (principal, action, resource) when { principal.ceiling > 5 };";
    assert_eq!(listed(&compile(forbid)), [""; 0]);
}

#[test]
fn what_depends_on_the_call_stays_listed() {
    let policies = compile(
        "@id(\"p\") permit (principal, action in Bailiwick::Action::\"connector:tickets\", resource)
         when { context.call.hour > 23 };
         @id(\"f\") forbid (principal, action == Bailiwick::Action::\"tickets__get\", resource)
         when { context.call.hour > 3 };
         @id(\"s\") @approval(\"x\") forbid (principal, action, resource) unless { context.call.approvals.contains(\"x\") };",
    );
    assert_eq!(listed(&policies), ["tickets__get", "tickets__refund"]);
}

#[test]
fn what_no_call_changes_is_decided_already() {
    let policies = compile(
        "@id(\"p\") permit (principal, action in Bailiwick::Action::\"connector:tickets\", resource)
         when { principal.ceiling == 2 && context.call.hour < 9 };
         @id(\"q\") permit (principal, action in Bailiwick::Action::\"connector:shop\", resource)
         when { context.call.hour < 9 && principal.ceiling == 3 };
         @id(\"f\") forbid (principal, action in Bailiwick::Action::\"read\", resource) when { principal.depth == 1 };",
    );
    assert_eq!(listed(&policies), ["tickets__refund"]);
    let other = PreparedGrant::new(&super::GrantFacts { depth: 0, ..grant() }, &super::connectors()).unwrap();
    assert!(policies.could_allow(&other, "tickets__get"));
    assert!(!policies.could_allow(&other, "shop__buy"));
    assert!(!policies.could_allow(&other, "no__such"));
}

#[test]
fn a_failing_permit_hides_no_tool() {
    let policies = unchecked(
        "@id(\"p\") permit (principal, action, resource) when { context.call.hour > 99 && principal.nothing };
         @id(\"q\") permit (principal, action, resource);",
    );
    assert_eq!(listed(&policies).len(), 5);
}

#[test]
fn conditions_on_the_action_are_known_before_the_call() {
    let policies = compile("@id(\"p\") permit (principal, action, resource) when { action in Bailiwick::Action::\"read\" };");
    assert_eq!(listed(&policies), ["tickets__get"]);
}
