#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

use bailiwick_policy::{Policies, Source};
use proptest::prelude::{prop_assert_eq, proptest};
use serde_json::json;

use super::*;

/// What a rule with this `@redact` demands: by the words of a policy, as it is in force.
fn demanded(redact: &str) -> Obligations {
    let text = format!("@id(\"r\") @redact(\"{redact}\") permit (principal, action, resource);");
    let policies = Policies::compile(&[Source { name: "r.cedar", text: &text }], &[]).unwrap();
    policies.obligations("r").unwrap().clone()
}

fn redacted(redact: &str, text: &str) -> String {
    let obligations = demanded(redact);
    Redactor::of(&obligations, Part::Result).unwrap().result(text).unwrap()
}

#[test]
fn what_is_not_redacted_stays_as_it_was_written() {
    let text = "{ \"structuredContent\" : {\"a\":1.50 , \"\\u0062\" :[ 1e400, {\"c\":\"x\\/y\"} ],\"d\":{}, \"e\" : [ ]},\n\"content\":[]}\t";
    assert_eq!(redacted("result:/none, result:/b/7/c", text), text);
    let cases = [
        ("result:/a", text.replace("1.50", "\"[masked]\"")),
        ("result:/a remove", text.replace("\"a\":1.50 ,", "")),
        ("result:/b/1/c", text.replace("\"x\\/y\"", "\"[masked]\"")),
        ("result:/b/*/c remove", text.replace("\"c\":\"x\\/y\"", "")),
        ("result:/b/0 remove", text.replace(" 1e400,", "")),
        ("result:/e remove", text.replace(", \"e\" : [ ]", "")),
        (
            "result:/*",
            text.replace("1.50", "\"[masked]\"")
                .replace("[ 1e400, {\"c\":\"x\\/y\"} ]", "\"[masked]\"")
                .replace("\"d\":{}", "\"d\":\"[masked]\"")
                .replace("[ ]", "\"[masked]\""),
        ),
        ("result:/* remove", "{ \"structuredContent\" : {},\n\"content\":[]}\t".to_owned()),
    ];
    for (redact, expected) in cases {
        assert_eq!(redacted(redact, text), expected, "{redact}");
    }
}

/// A value that is repeated wherever a result can have it is redacted in all of these places.
#[test]
fn no_place_of_a_result_is_left_out() {
    let secret = json!({"customer": {"email": "ada@example.com", "id": 7}});
    let result = json!({
        "content": [
            {"type": "text", "text": secret.to_string()},
            {"type": "text", "text": "the customer is ada@example.com"},
            {"type": "resource", "resource": {"uri": "x://1", "text": secret.to_string()}},
            {"type": "resource", "resource": {"uri": "x://2", "blob": "YWRhQGV4YW1wbGUuY29t"}},
            {"type": "image", "data": "YWRhQGV4YW1wbGUuY29t", "mimeType": "image/png"},
            {"type": "text", "text": "{broken ada@example.com"},
        ],
        "structuredContent": secret,
        "_meta": secret,
        "extra": secret,
        "result": {"structuredContent": secret, "content": []},
        "messages": [{"role": "user", "content": {"type": "text", "text": secret.to_string()}}],
        "contents": [{"uri": "x://3", "text": secret.to_string()}],
        "error": {"code": -1, "message": "no ada@example.com", "data": secret},
        "data": secret.to_string(),
    });
    let clean = redacted("result:/customer/email", &result.to_string());
    assert!(!clean.contains("ada@") && !clean.contains("YWRh"), "{clean}");
    assert_eq!(clean.matches("\"id").count() + clean.matches("\\\"id").count() - clean.matches("\"id").count(), 5);
    let again = redacted("result:/customer/email", &clean);
    assert_eq!(again, clean);
}

/// A server may tell the same twice, in two forms: a list as structured content, and each of its items as a text.
#[test]
fn a_document_that_lacks_what_another_has_is_withheld() {
    let item = |id: usize| json!({"id": id, "email": format!("a{id}@example.com")});
    let text = |value: Value| json!({"type": "text", "text": value.to_string()});
    let embedded = |value: Value| json!({"type": "resource", "resource": {"uri": "x://1", "text": value.to_string()}});
    let structured = json!({"result": [item(1), item(2)]});
    for beside in [text(item(1)), text(json!([item(1)])), text(json!({"all": [item(1)]})), embedded(item(1))] {
        let told = json!({"content": [beside, text(structured.clone())], "structuredContent": structured}).to_string();
        let clean = redacted("result:/result/*/email", &told);
        assert!(!clean.contains("@example"), "{clean}");
        let read: Value = serde_json::from_str(&clean).unwrap();
        assert_eq!(read["structuredContent"]["result"][1], json!({"id": 2, "email": "[masked]"}));
        assert!(clean.contains(WITHHELD) && read["content"][1]["text"].as_str().unwrap().contains("[masked]"), "{clean}");
        assert_eq!(redacted("result:/result/*/email", &clean), clean);
        // And the other way round.
        let told = json!({"content": [text(item(1))], "structuredContent": structured}).to_string();
        let read: Value = serde_json::from_str(&redacted("result:/email", &told)).unwrap();
        assert_eq!((&read["structuredContent"], read["content"].to_string().contains("@example")), (&json!({}), false));
    }
    // Where none has it, there is nothing to be redacted; and what is beside the documents needs to have nothing.
    let told =
        json!({"content": [text(json!({"id": 1}))], "structuredContent": {"id": 1, "more": []}, "_meta": {"n": 1}}).to_string();
    assert_eq!(redacted("result:/email, result:/more/*/email", &told), told);
    let told = json!({"content": [text(item(1))], "structuredContent": item(1), "_meta": {"n": 1}, "more": {"n": 2}}).to_string();
    assert!(!redacted("result:/email", &told).contains("withheld"));
}

#[test]
fn how_much_was_withheld_is_counted_once() {
    let told =
        json!({"content": [{"type": "text", "text": "{\"id\":1}"}], "structuredContent": {"email": "a@example.com"}}).to_string();
    let obligations = demanded("result:/email");
    let mut redactor = Redactor::of(&obligations, Part::Result).unwrap();
    redactor.result(&told).unwrap();
    assert_eq!((redactor.masked, redactor.withheld), (1, 1));
}

#[test]
fn shapes_are_found_in_every_string_and_key() {
    let inner = json!({"card": "4111 1111 1111 1111", "deep": json!({"mail": "a@example.com"}).to_string()}).to_string();
    let text = json!({"content": [{"type": "text", "text": inner}], "structuredContent": {
        "a@example.com": 1, "b@example.com": 2, "n": 4_111_111_111_111_111_u64, "m": 4_111_111_111_111_112_u64}})
    .to_string();
    let clean = redacted("result:detect(cards, emails)", &text);
    let read: Value = serde_json::from_str(&clean).unwrap();
    assert_eq!(
        read["structuredContent"],
        json!({"[masked:emails]": 1, "[masked:emails] 2": 2, "n": "[masked:cards]", "m": 4_111_111_111_111_112_u64})
    );
    // A number is one however it is written.
    for number in
        ["4111111111111111.0", "-4111111111111111", "4.111111111111111e15", "41111111111111110e-1", "4111111111111111.25"]
    {
        let text = format!(r#"{{"content":[{{"text":"{{\"n\":{number}}}"}}],"structuredContent":{{"n":[{number}]}}}}"#);
        let clean = redacted("result:detect(cards)", &text);
        assert!(!clean.contains("111"), "{clean}");
    }
    assert!(!clean.contains("4111 1111") && !clean.contains("a@example"), "{clean}");
    // However its letters are spelled.
    for spelled in [
        r#"{"content":[{"text":"a\u0040example.com"}]}"#,
        r#"{"content":[{"text":"{\"m\":\"a\\u0040example.com\"}"}]}"#,
        r#"{"content":[{"text":"{\"m\":\"a\\u0040example.com\"}\n{}"}]}"#,
        r#"{"content":[{"text":"\"a\\u0040example.com\""}]}"#,
    ] {
        let clean = redacted("result:detect(emails)", spelled);
        assert!(clean.contains("masked") && !clean.contains("example"), "{clean}");
    }
}

#[test]
fn what_is_too_deep_is_withheld() {
    let mut text = json!({"mail": "a@example.com"}).to_string();
    for _ in 0..8 {
        text = json!({ "in": text }).to_string();
    }
    let clean = redacted("result:detect(emails)", &json!({"content": [{"type": "text", "text": text}]}).to_string());
    assert!(clean.contains("withheld") && !clean.contains("example"), "{clean}");
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let obligations = demanded("result:detect(emails)");
    assert_eq!(Redactor::of(&obligations, Part::Result).unwrap().result(&deep), Err(Unreadable));
    assert!(Redactor::of(&obligations, Part::Args).is_none());
    for wrong in ["", "{", "{\"a\"", "{\"a\":1", "[1", "\"a", "{\"a\":1,}x", "[1]]"] {
        assert_eq!(Redactor::of(&obligations, Part::Result).unwrap().result(wrong), Err(Unreadable), "{wrong}");
    }
}

/// A JSON value of some depth.
fn value() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::{Strategy, any, prop_oneof};
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z0-9@. +\\\\\"]{0,20}".prop_map(Value::from),
        proptest::strategy::Just(Value::from("a@example.com")),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map("[a-c]", inner.clone(), 0..4)
                .prop_map(|map| Value::from(map.into_iter().collect::<serde_json::Map<_, _>>())),
            inner.prop_map(|inner| Value::from(inner.to_string())),
        ]
    })
}

proptest! {
    /// Redacting again changes nothing, what comes is JSON, and what was to go is gone.
    #[test]
    fn redacting_again_changes_nothing(content in value(), pick in 0_usize..4) {
        let text = json!({"structuredContent": content, "content": [{"type": "text", "text": content.to_string()}]}).to_string();
        let redact = ["result:detect(emails)", "result:/a/b", "result:/*/a remove", "result:/a, result:/b remove, result:detect(emails)"];
        let clean = redacted(redact.get(pick).unwrap(), &text);
        let read: Result<Value, _> = serde_json::from_str(&clean);
        prop_assert_eq!(read.is_ok(), true);
        prop_assert_eq!(redacted(redact.get(pick).unwrap(), &clean), clean.clone());
        if pick == 0 || pick == 3 {
            prop_assert_eq!(clean.contains("a@example.com"), false);
        }
        if let (3, Ok(read)) = (pick, read) {
            prop_assert_eq!(read.pointer("/structuredContent/b"), None);
        }
    }
}
