//! What checking says, and that its cost is bounded whatever the value.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Bounds, Undeclared, Validator};

fn input(schema: &Value) -> Validator {
    Validator::compile_input(schema, Undeclared::Refuse).unwrap()
}

#[test]
fn undeclared_arguments_are_refused_at_the_top_only() {
    let schema = json!({
        "type": "object",
        "properties": { "id": { "type": "string" }, "deep": { "type": "object" } },
        "patternProperties": { "^x-": true },
        "required": ["must"],
        "additionalProperties": true,
        "$ref": "#/$defs/more",
        "allOf": [{ "properties": { "all": true } }, { "if": { "properties": { "if": true } }, "then": { "properties": { "then": true } }, "else": { "properties": { "else": true } } }],
        "anyOf": [{ "oneOf": [{ "properties": { "one": true } }] }],
        "dependentSchemas": { "id": { "properties": { "dependent": true } } },
        "not": { "properties": { "never": { "type": "string" } }, "required": ["never"] },
        "$defs": { "more": { "properties": { "more": true } }, "unused": { "properties": { "unused": true } } },
    });
    let validator = input(&schema);
    let all = json!({ "id": "", "deep": { "any": 1 }, "x-1": 1, "must": 1, "more": 1, "all": 1, "if": 1, "then": 1, "else": 1, "one": 1, "dependent": 1 });
    assert_eq!(validator.check(&all), Ok(()));
    for name in ["Id", "never", "unused", "a", "properties", "\u{17f}", "id\u{0}"] {
        let places = validator.check(&json!({ "must": 1, name: 1 })).unwrap_err();
        assert_eq!(places.len(), 1, "{places:?}");
        assert_eq!(Validator::compile_input(&schema, Undeclared::Allow).unwrap().check(&json!({ "must": 1, name: 1 })), Ok(()));
    }
    let places = validator.check(&json!({ "must": 1, "dep/endent": 1 })).unwrap_err();
    assert_eq!(places.first().unwrap().pointer, "/dep~1endent");
    assert_eq!(places.first().unwrap().message, "`dep/endent` is not an argument of this tool: did you mean `dependent`?");
}

#[test]
fn places_are_few_short_and_useful() {
    let validator = input(&json!({
        "type": "object",
        "properties": {
            "id": { "type": "string", "maxLength": 3 },
            "n": { "type": "array", "items": { "type": "integer" } },
            "kind": { "anyOf": [{ "type": "object", "required": ["a"] }, { "enum": ["x", "y"] }] },
        },
        "required": ["id"],
    }));
    let places = validator.check(&json!({ "n": ["a"] })).unwrap_err();
    let said: Vec<_> = places.iter().map(|place| (place.pointer.as_str(), place.message.as_str())).collect();
    assert_eq!(said, [("", "\"id\" is a required property"), ("/n/0", "\"a\" is not of type \"integer\"")]);
    let many = validator.check(&json!({ "id": "a", "n": vec!["a"; 100] })).unwrap_err();
    assert_eq!(many.len(), 10);
    let secret = "s".repeat(5_000);
    for places in
        [validator.check(&json!({ "id": secret })), validator.check(&json!({ "id": 1, secret.as_str(): 1, "kind": secret }))]
    {
        for place in places.unwrap_err() {
            assert!(place.message.chars().count() <= 201, "{place:?}");
            assert!(place.pointer.chars().count() <= 201, "{place:?}");
            assert!(place.message.matches('s').count() < 90, "{place:?}");
        }
    }
}

#[test]
fn checking_is_bounded_whatever_the_value() {
    let bigints = (0..100_000).map(|i| format!("1000000000000000000000000000000{i:06}").parse().unwrap());
    let hollow = (0..20_000).map(|i| if i % 2 == 0 { json!([[], [[]]]) } else { json!([[[]], []]) });
    let cases = [
        (json!({ "uniqueItems": true }), Value::Array(bigints.collect())),
        (json!({ "uniqueItems": true }), Value::Array(hollow.collect())),
        (json!({ "items": { "enum": (0..5_000).map(|i| json!([i])).collect::<Vec<_>>() } }), json!(vec![json!([1]); 100_000])),
        (json!({ "pattern": "(.*1.{90}){2}x" }), json!("1a".repeat(2_000_000))),
        (json!({ "multipleOf": 0.01 }), format!("1e{}", "9".repeat(900)).parse().unwrap()),
        (json!({ "minimum": 1 }), "-1e-999999999".parse().unwrap()),
        (json!({ "type": "integer" }), "1e999999999".parse().unwrap()),
        (json!({ "multipleOf": 3 }), "1e999999999".parse().unwrap()),
        (json!({ "enum": [1, 2] }), "1e999999999".parse().unwrap()),
        (json!({ "uniqueItems": true }), json!(["1e999999999".parse::<Value>().unwrap(), 2])),
    ];
    for (schema, value) in cases {
        let validator = Validator::compile(&schema, Bounds::default()).unwrap();
        let start = Instant::now();
        let fits = validator.check(&value).is_ok();
        assert!(start.elapsed() < Duration::from_secs(5), "{fits} after {:?} for {:.60}", start.elapsed(), schema.to_string());
    }
}
