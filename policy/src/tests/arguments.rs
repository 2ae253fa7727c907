//! Arguments before the rules: what has a place, what hasn't, and what isn't looked at.

use serde_json::{Value, json};

use super::{allow, compile, decide, deny, opaque};
use crate::{Decision, DenyCause, Policies, Want};

/// A permit for everything, and a forbid for `shop__buy` on this condition.
fn forbidding(condition: &str) -> Policies {
    compile(&format!(
        "@id(\"p\") permit (principal, action, resource);
         @id(\"f\") forbid (principal, action == Bailiwick::Action::\"shop__buy\", resource) when {{ {condition} }};"
    ))
}

/// Arguments as they come over the wire: number text survives.
fn buy(policies: &Policies, input: &str) -> Decision {
    let input: Value = serde_json::from_str(input).unwrap();
    decide(policies, "shop__buy", &input)
}

fn forbidden() -> Decision {
    deny(DenyCause::Forbidden, &["f"])
}

#[test]
fn integers_are_exact_however_written() {
    let policies = forbidding("context.input has amount && context.input.amount > 500");
    for (input, decision) in [
        ("{}", allow(&["p"])),
        (r#"{"amount": 500}"#, allow(&["p"])),
        (r#"{"amount": 500.0}"#, allow(&["p"])),
        (r#"{"amount": 5e2}"#, allow(&["p"])),
        (r#"{"amount": 501}"#, forbidden()),
        (r#"{"amount": 1e3}"#, forbidden()),
        (r#"{"amount": 9223372036854775807}"#, forbidden()),
        (r#"{"amount": 9223372036854775808}"#, opaque("/amount")),
        (r#"{"amount": 500.00001}"#, opaque("/amount")),
        (r#"{"amount": 1e400}"#, opaque("/amount")),
        (r#"{"amount": "501"}"#, opaque("/amount")),
        (r#"{"amount": null}"#, opaque("/amount")),
        (r#"{"amount": [501]}"#, opaque("/amount")),
        (r#"{"amount": {"$serde_json::private::Number": "501"}}"#, forbidden()),
    ] {
        // The last one: serde_json itself reads that spelling as a number, and so do we.
        assert_eq!(buy(&policies, input), decision, "{input}");
    }
}

#[test]
fn decimals_are_exact_to_four_digits_or_denied() {
    let policies = forbidding("context.input has rate && context.input.rate.greaterThan(decimal(\"500.0\"))");
    for (input, decision) in [
        (r#"{"rate": 500}"#, allow(&["p"])),
        (r#"{"rate": 5e2}"#, allow(&["p"])),
        (r#"{"rate": 500.0001}"#, forbidden()),
        (r#"{"rate": 1e3}"#, forbidden()),
        (r#"{"rate": 500.00001}"#, opaque("/rate")),
        (r#"{"rate": 9223372036854775807}"#, opaque("/rate")),
        (r#"{"rate": "500"}"#, opaque("/rate")),
    ] {
        assert_eq!(buy(&policies, input), decision, "{input}");
    }
}

#[test]
fn texts_flags_sets_and_records_have_their_places() {
    for (condition, hit, miss, bad, pointer) in [
        ("context.input.note like \"*x*\"", r#"{"note":"axb"}"#, r#"{"note":"ab"}"#, r#"{"note":5}"#, "/note"),
        ("context.input.urgent", r#"{"urgent":true}"#, r#"{"urgent":false}"#, r#"{"urgent":"true"}"#, "/urgent"),
        ("context.input.tags.contains(\"x\")", r#"{"tags":["y","x"]}"#, r#"{"tags":[]}"#, r#"{"tags":["x",5]}"#, "/tags"),
        (
            "context.input.to has zip && context.input.to.zip == 5",
            r#"{"to":{"zip":5}}"#,
            r#"{"to":{"zip":6}}"#,
            r#"{"to":{"zip":"5"}}"#,
            "/to/zip",
        ),
        ("context.input.to has zip", r#"{"to":{"zip":5}}"#, r#"{"to":{}}"#, r#"{"to":[]}"#, "/to"),
        ("context.input[\"odd name\"] == \"x\"", r#"{"odd name":"x"}"#, r#"{"odd name":"y"}"#, r#"{"odd name":{}}"#, "/odd name"),
        ("context.input[\"if\"] == 5", r#"{"if":5}"#, r#"{"if":6}"#, r#"{"if":"5"}"#, "/if"),
    ] {
        let name = pointer.split('/').nth(1).unwrap();
        let policies = forbidding(&format!("context.input has \"{name}\" && {condition}"));
        assert_eq!(buy(&policies, hit), forbidden(), "{condition}");
        assert_eq!(buy(&policies, miss), allow(&["p"]), "{condition}");
        assert_eq!(buy(&policies, "{}"), allow(&["p"]), "{condition}");
        assert_eq!(buy(&policies, bad), opaque(pointer), "{condition}");
    }
}

#[test]
fn what_no_rule_reads_is_not_looked_at() {
    let policies = forbidding("context.input has amount && context.input.amount > 500");
    let input = r#"{"rate":500.00001,"blob":{"a":1},"unheard":[[]],"note":5,"amount":1}"#;
    assert_eq!(buy(&policies, input), allow(&["p"]));
    let policies = compile("@id(\"p\") permit (principal, action, resource);");
    assert_eq!(decide(&policies, "shop__buy", &Value::Null), allow(&["p"]));
    // Beside the field that is read, its neighbours inside a record may be anything.
    let policies = forbidding("context.input has to.zip && context.input.to.zip == 5");
    assert_eq!(buy(&policies, r#"{"to":{"zip":6,"geo":[{}],"more":1}}"#), allow(&["p"]));
}

#[test]
fn a_value_read_whole_must_have_a_place_whole() {
    let policies = forbidding("context.input has to && context.input.to == context.input.to");
    assert_eq!(buy(&policies, r#"{"to":{"zip":6}}"#), forbidden());
    assert_eq!(buy(&policies, r#"{"to":{"zip":6,"geo":{}}}"#), opaque("/to/geo"));
    assert_eq!(buy(&policies, r#"{"to":{"zip":6,"a/b~c":1}}"#), opaque("/to/a~1b~0c"));
    let policies = forbidding("context.input == context.input");
    assert_eq!(buy(&policies, r#"{"amount":1}"#), forbidden());
    assert_eq!(buy(&policies, r#"{"amount":1,"blob":{}}"#), opaque("/blob"));
    assert_eq!(buy(&policies, r#"{"amount":1,"unheard":1}"#), opaque("/unheard"));
}

#[test]
fn asking_for_an_argument_without_a_place_denies() {
    let policies = compile(
        "@id(\"p\") permit (principal, action, resource);
         @id(\"f\") forbid (principal, action == Bailiwick::Action::\"shop__buy\", resource)
         when { context.call.hour > 23 || context.input has blob };",
    );
    assert_eq!(buy(&policies, r#"{"blob":{}}"#), opaque("/blob"));
    assert_eq!(buy(&policies, "{}"), allow(&["p"]));
}

#[test]
fn a_rule_for_many_tools_denies_an_argument_that_one_of_them_does_not_declare() {
    let policies = compile(
        "@id(\"p\") permit (principal, action, resource);
         @id(\"f\") forbid (principal, action in Bailiwick::Action::\"connector:shop\", resource)
         when { context.input has amount && context.input.amount > 500 };",
    );
    assert_eq!(decide(&policies, "shop__mail", &json!({ "note": "x" })), allow(&["p"]));
    assert_eq!(decide(&policies, "shop__mail", &json!({ "amount": 5 })), opaque("/amount"));
}

#[test]
fn arguments_that_are_no_object_are_denied_where_they_are_read() {
    let policies = forbidding("context.input has amount && context.input.amount > 500");
    for input in ["null", "5", "[]", "\"x\""] {
        assert_eq!(buy(&policies, input), opaque(""), "{input}");
    }
}

#[test]
fn rules_may_ask_which_arguments_have_no_place() {
    let policies = forbidding("context.call.opaque_fields.containsAny([\"amount\", \"blob\", \"unheard\"])");
    for (input, decision) in [
        ("{}", allow(&["p"])),
        (r#"{"amount":5}"#, allow(&["p"])),
        (r#"{"rate":500.00001}"#, allow(&["p"])),
        (r#"{"amount":500.00001}"#, forbidden()),
        (r#"{"blob":{}}"#, forbidden()),
        (r#"{"unheard":1}"#, forbidden()),
        ("null", opaque("")),
    ] {
        assert_eq!(buy(&policies, input), decision, "{input}");
    }
}

#[test]
fn a_slice_tells_what_it_reads() {
    let policies = compile(
        "@id(\"p\") permit (principal, action, resource) when { principal.ceiling > 0 };
         @id(\"f\") forbid (principal, action in Bailiwick::Action::\"connector:shop\", resource)
         when { context.call.hour > 9 && context.input has amount && context.input.amount > 500 };",
    );
    let reads = policies.reads("shop__buy").unwrap();
    assert!(reads.context() && policies.reads_context("shop__buy"));
    assert_eq!(reads.input().field("amount"), &Want::Everything);
    assert_eq!(reads.input().field("note"), &Want::Nothing);
    assert_eq!(reads.call().field("hour"), &Want::Everything);
    assert_eq!(reads.call().field("approvals"), &Want::Nothing);
    assert!(reads.arguments());
    let opaque = forbidding("context.call.opaque_fields.contains(\"amount\")");
    let reads = opaque.reads("shop__buy").unwrap();
    assert!(reads.arguments() && reads.input().is_nothing());
    let hour = forbidding("context.call.hour > 9");
    assert!(!hour.reads("shop__buy").unwrap().arguments());
    let reads = policies.reads("tickets__refund").unwrap();
    assert!(!reads.context() && !policies.reads_context("tickets__refund"));
    assert_eq!((reads.input(), reads.call()), (&Want::Nothing, &Want::Nothing));
}
