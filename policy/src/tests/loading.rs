//! What is wrong with a bundle is said at once, with its place.

use super::{compile, tools};
use crate::{Policies, PolicyFault, Source};

fn faults(text: &str) -> Vec<PolicyFault> {
    Policies::compile(&[Source { name: "t.cedar", text }], &tools()).err().unwrap_or_default()
}

fn shown(text: &str) -> Vec<String> {
    faults(text).iter().map(ToString::to_string).collect()
}

#[test]
fn syntax_errors_point_at_their_place() {
    assert_eq!(
        shown("@id(\"a\")\npermit (principal, action, resource) when { 1 + };\n"),
        ["?"]
    );
}

#[test]
fn typos_are_found_by_the_schema() {
    for (rule, expected) in [
        ("permit (principal, action == Bailiwick::Action::\"tickets__refnd\", resource);", "?"),
        ("permit (principal, action == Action::\"tickets__refund\", resource);", "?"),
        ("permit (principal, action in Bailiwick::Action::\"band:hgih\", resource);", "?"),
        ("permit (principal, action, resource) when { context.call.bnad > 1 };", "?"),
        ("permit (principal, action, resource) when { context.call.band > \"high\" };", "?"),
        ("permit (principal, action, resource) when { principal.ceilin > 1 };", "?"),
        ("permit (principal in Bailiwick::Agnt::\"x\", action, resource);", "?"),
        ("permit (principal == Bailiwick::Agent::\"x\", action, resource);", "?"),
        ("permit (principal, action, resource) when { false };", "?"),
        ("permit (principal, action == Bailiwick::Action::\"shop__buy\", resource) when { context.input.amount > 5 };", "?"),
        ("permit (principal, action == Bailiwick::Action::\"shop__buy\", resource) when { context.input.amuont > 5 };", "?"),
        ("permit (principal, action == Bailiwick::Action::\"shop__buy\", resource) when { context.input has amuont && context.input.amuont > 5 };", "?"),
        ("permit (principal == ?principal, action, resource);", "?"),
    ] {
        assert_eq!(shown(&format!("@id(\"a\")\n{rule}\n")), [expected], "{rule}");
    }
}
