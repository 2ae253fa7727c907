//! What is wrong with a bundle is said at once, with its place.

use super::{allow, compile, decide, tools};
use crate::catalogue::call_fields;
use crate::presence::quoted;
use crate::{DEFAULT_BUNDLE, Policies, PolicyFault, Source};

fn faults(text: &str) -> Vec<PolicyFault> {
    Policies::compile(&[Source { name: "t.cedar", text }], &tools()).err().unwrap_or_default()
}

fn shown(text: &str) -> Vec<String> {
    faults(text).iter().map(ToString::to_string).collect()
}

#[test]
fn syntax_errors_point_at_their_place() {
    let found = shown("@id(\"a\")\npermit (principal, action, resource) when { 1 + };\n");
    assert_eq!(found, ["t.cedar:2:49: unexpected token `}`"]);
    let found = faults("permit (principal, action, resource) when { 1 + };");
    assert_eq!((found[0].source, found[0].span.clone()), (Some(0), Some(48..49)));
}

#[test]
fn typos_are_found_by_the_schema() {
    let buy = "permit (principal, action == Bailiwick::Action::\"shop__buy\", resource) when";
    for (rule, expected) in [
        (
            "permit (principal, action == Bailiwick::Action::\"tickets__refnd\", resource);",
            "2:30: unrecognized action `Bailiwick::Action::\"tickets__refnd\"` (help: did you mean `Bailiwick::Action::\"tickets__refund\"`?)",
        ),
        (
            "permit (principal, action == Action::\"tickets__refund\", resource);",
            "2:30: unrecognized action `Action::\"tickets__refund\"` (help: did you mean `Bailiwick::Action::\"tickets__refund\"`?)",
        ),
        (
            "permit (principal, action in Bailiwick::Action::\"band:hgih\", resource);",
            "2:30: unrecognized action `Bailiwick::Action::\"band:hgih\"` (help: did you mean `Bailiwick::Action::\"band:high\"`?)",
        ),
        (
            "permit (principal, action == Bailiwick::Action::\"tickets__completely_different\", resource);",
            "2:30: unrecognized action `Bailiwick::Action::\"tickets__completely_different\"` (help: its connector has `Bailiwick::Action::\"tickets__get\"`, `Bailiwick::Action::\"tickets__refund\"`)",
        ),
        (
            "permit (principal, action == Bailiwick::Action::\"warehouse_of_everything__completely_different\", resource);",
            "2:30: unrecognized action `Bailiwick::Action::\"warehouse_of_everything__completely_different\"` (help: no tool and no group of tools has this name)",
        ),
        (
            "permit (principal, action, resource) when { context.call.bnad > 1 };",
            "2:45: attribute `call.bnad` in context for Bailiwick::Action::\"shop__buy\" not found (help: did you mean `band`?)",
        ),
        (
            "permit (principal, action, resource) when { context.call.band > \"high\" };",
            "2:65: unexpected type: expected Long but saw String",
        ),
        (
            "permit (principal, action, resource) when { principal.ceilin > 1 };",
            "2:45: attribute `ceilin` on entity type `Bailiwick::Grant` not found (help: did you mean `ceiling`?)",
        ),
        (
            "permit (principal in Bailiwick::Agnt::\"x\", action, resource);",
            "2:22: unrecognized entity type `Bailiwick::Agnt` (help: did you mean `Bailiwick::Agent`?)",
        ),
        (
            "permit (principal == Bailiwick::Agent::\"x\", action, resource);",
            "1:1: this rule can never apply: no grant or connector fits its scope (help: try replacing `==` with `in` in the principal clause)",
        ),
        (
            "permit (principal, action, resource) when { false };",
            "1:1: this rule can never apply: its conditions are false for every call",
        ),
        (
            &format!("{buy} {{ context.input.amount > 5 }};"),
            "2:79: unable to guarantee safety of access to optional attribute `input.amount` in context for Bailiwick::Action::\"shop__buy\" (help: try testing for the attribute's presence with `context.input has amount && ..`)",
        ),
        (
            &format!("{buy} {{ context.input.amuont > 5 }};"),
            "2:79: attribute `input.amuont` in context for Bailiwick::Action::\"shop__buy\" not found (help: did you mean `amount`?)",
        ),
        (
            "permit (principal == ?principal, action, resource);",
            "1:1: a template; bundles have no slots such as `?principal` (help: write it out for each principal or resource)",
        ),
    ] {
        assert_eq!(shown(&format!("@id(\"a\")\n{rule}\n")), [format!("t.cedar:{expected}")], "{rule}");
    }
}

/// To Cedar these are all just false.
#[test]
fn a_presence_that_nothing_could_have_is_a_fault() {
    let of_input = "is never true: no such argument of any tool in its scope";
    for (action, condition, expected) in [
        (
            "action == Bailiwick::Action::\"shop__buy\"",
            "context.input has amuont && context.input.amuont > 5",
            format!("`has amuont` {of_input} (help: did you mean `amount`?)"),
        ),
        (
            "action in Bailiwick::Action::\"connector:shop\"",
            "context.input has amuont",
            format!("`has amuont` {of_input} (help: did you mean `amount`?)"),
        ),
        (
            "action == Bailiwick::Action::\"shop__buy\"",
            "context.input has to.zap",
            format!("`has zap` {of_input} (help: did you mean `zip`?)"),
        ),
        (
            "action == Bailiwick::Action::\"shop__mail\"",
            "context.input has amount",
            format!("`has amount` {of_input} (help: there are `note`)"),
        ),
        ("action == Bailiwick::Action::\"shop__roles\"", "context.input has amount", format!("`has amount` {of_input}")),
        (
            "action",
            "context.call has taintd",
            format!(
                "`has taintd` is never true: no such fact of a call (help: there are {})",
                quoted(&call_fields().into_keys().collect::<Vec<_>>())
            ),
        ),
        (
            "action",
            "context has inptu",
            "`has inptu` is never true: no such part of the context (help: did you mean `input`?)".to_owned(),
        ),
        (
            "action",
            "principal has ceilin",
            "`has ceilin` is never true: no such attribute of a grant (help: did you mean `ceiling`?)".to_owned(),
        ),
        (
            "action",
            "resource has enviroment",
            "`has enviroment` is never true: no such attribute of a connector (help: did you mean `environment`?)".to_owned(),
        ),
    ] {
        let found =
            faults(&format!("@id(\"f\")\nforbid (principal, {action}, resource) when {{ {condition} || principal.depth > 5 }};"));
        let what: Vec<String> = found.iter().map(|fault| fault.to_string().split_once(": ").unwrap().1.to_owned()).collect();
        // Of a name under another one that has no value Cedar complains as well; ours is among them.
        assert!(what.contains(&expected), "{condition}: {what:#?}");
        let ours = found.iter().find(|fault| fault.what.starts_with("`has")).unwrap();
        let text = format!("@id(\"f\")\nforbid (principal, {action}, resource) when {{ {condition} || principal.depth > 5 }};");
        let name = ours.what.split(['`', ' ']).nth(2).unwrap();
        assert_eq!(&text[ours.span.clone().unwrap()], name);
    }
}

#[test]
fn a_presence_that_some_tool_has_is_none() {
    for (action, condition) in [
        ("action", "context.input has amount"),
        ("action in Bailiwick::Action::\"connector:shop\"", "context.input has to.zip"),
        ("action == Bailiwick::Action::\"shop__buy\"", "context.input has blob || principal.depth > 5"),
        ("action in Bailiwick::Action::\"execute\"", "context.input has anything"),
        ("action", "context has input"),
        ("action", "context.call has band"),
        ("action", "principal has depth && resource has environment"),
    ] {
        let rule = format!("@id(\"f\") forbid (principal, {action}, resource) when {{ {condition} }};");
        assert_eq!(shown(&rule), [""; 0], "{condition}");
    }
}

#[test]
fn all_faults_of_all_sources_come_at_once_in_order() {
    let sources = [
        Source {
            name: "a.cedar",
            text: "permit (principal, action, resource);\n@id(\"x\") @oops(\"1\") permit (principal, action, resource);",
        },
        Source { name: "b.cedar", text: "permit (principal action, resource);" },
        Source {
            name: "c.cedar",
            text: "@id(\"ok\") permit (principal, action, resource);\n\n  @id(\"ok\") permit (principal, action, resource) when { context.call.bnad == 1 };",
        },
        Source { name: "d.cedar", text: "@id(\"ok\") permit (principal, action, resource);" },
    ];
    let found = Policies::compile(&sources, &tools()).unwrap_err();
    let places: Vec<_> = found
        .iter()
        .map(|fault| {
            (fault.source, fault.line, fault.column, fault.what.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
        })
        .collect();
    let at = |source, line, column, what: &str| (Some(source), line, column, what.to_owned());
    assert_eq!(
        places,
        [
            at(0, 1, 1, "a rule without"),
            at(0, 2, 1, "unknown annotation `@oops`"),
            at(1, 1, 19, "unexpected token `action`"),
            at(2, 3, 3, "`@id(\"ok\")` is taken"),
            at(2, 3, 57, "attribute `call.bnad` in"),
            at(3, 1, 1, "`@id(\"ok\")` is taken"),
        ]
    );
    assert_eq!(
        found[5].to_string(),
        "d.cedar:1:1: `@id(\"ok\")` is taken (help: it names the rule at c.cedar:1:1; give this one a name of its own)"
    );
}

/// What is wrong elsewhere is no reason for a rule that never applies.
#[test]
fn a_rule_that_never_applies_is_named_beside_other_faults() {
    let never = "@id(\"never\") forbid (principal, action, resource) when { false };";
    let typo = "@id(\"typo\") permit (principal, action, resource) when { context.call.bnad > 1 };";
    let words = |fault: &PolicyFault| (fault.line, fault.what.split(' ').next().unwrap_or_default().to_owned());
    let found: Vec<_> = faults(&format!("{never}\n{typo}")).iter().map(words).collect();
    assert_eq!(found, [(1, "this".to_owned()), (2, "attribute".to_owned())]);
    let of = |name, text| Source { name, text };
    let found = Policies::compile(&[of("a", typo), of("b", never)], &tools()).unwrap_err();
    assert_eq!(found.iter().map(|fault| fault.source).collect::<Vec<_>>(), [Some(0), Some(1)]);
    // Of the rule itself that is the reason, and said once.
    let both = "@id(\"both\") forbid (principal, action, resource) when { false && context.call.bnad > 1 };";
    let found: Vec<_> = faults(both).iter().map(words).collect();
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn equal_rules_are_told_apart_by_their_places() {
    let text = "@mode(\"x\") @id(\"a\") permit (principal, action, resource);\n".repeat(12);
    let lines: Vec<usize> = faults(&text).iter().map(|fault| fault.line).collect();
    assert_eq!(lines, (1..=12).collect::<Vec<_>>());
}

#[test]
fn a_rule_waits_for_tools_that_are_not_there_yet() {
    let text = "@id(\"f\") forbid (principal, action in Bailiwick::Action::\"execute\", resource)
                when { context.input has command && context.input.command like \"*rm*\" };";
    assert_eq!(compile(text).warnings(), []);
}

#[test]
fn what_is_doubtful_is_a_warning() {
    let policies = compile(
        "@id(\"p\") permit (principal, action, resource == Bailiwick::Connector::\"shop\");
         @id(\"q\") permit (principal, action, resource == Bailiwick::Connector::\"shpo\");
         @id(\"r\") permit (principal, action, resource) when { resource == Bailiwick::Connector::\"warehouse\" };
         @id(\"s\") permit (principal in Bailiwick::Agent::\"shpo\", action, resource) when { principal.purpose != \"say һello\" };",
    );
    let shown: Vec<String> = policies.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 3, "{shown:#?}");
    assert_eq!(shown[0], "test.cedar:2:81: no tool belongs to a connector `shpo` (help: did you mean `shop`?)");
    assert_eq!(shown[1], "test.cedar:3:98: no tool belongs to a connector `warehouse`");
    assert!(shown[2].contains("mixed scripts"), "{}", shown[2]);
    assert_eq!(decide(&policies, "shop__buy", &serde_json::json!({})), allow(&["p"]));
}

#[test]
fn the_default_bundle_and_more_go_together() {
    let more = "@id(\"mine\") forbid (principal, action in Bailiwick::Action::\"execute\", resource);";
    let sources = [Source { name: "default.cedar", text: DEFAULT_BUNDLE }, Source { name: "mine.cedar", text: more }];
    assert!(Policies::compile(&sources, &tools()).is_ok());
}
