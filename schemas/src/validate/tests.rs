//! Bombs, each named for its row in the list of abuse cases.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::{Bounds, SchemaFault, Undeclared, Validator};

fn compile(schema: &Value) -> Result<Validator, SchemaFault> {
    Validator::compile(schema, Bounds::default())
}

/// Compiles within the time that a bomb may take.
#[track_caller]
fn within(limit: Duration, schema: &Value) -> Result<Validator, SchemaFault> {
    let start = Instant::now();
    let compiled = compile(schema);
    let took = start.elapsed();
    assert!(took < limit, "took {took:?}: {:?}", compiled.err());
    compiled
}

/// `schema` is refused within 50 ms.
#[track_caller]
fn refused(schema: &Value) -> SchemaFault {
    within(Duration::from_millis(50), schema).unwrap_err()
}

/// Definitions `d0` … `d<count>`, each made from the reference to the next; the last one is a string.
fn chain(count: usize, link: impl Fn(&Value) -> Value) -> Value {
    let mut defs = Map::new();
    for i in 0..count {
        defs.insert(format!("d{i}"), link(&json!({ "$ref": format!("#/$defs/d{}", i + 1) })));
    }
    defs.insert(format!("d{count}"), json!({ "type": "string" }));
    json!({ "$ref": "#/$defs/d0", "$defs": defs })
}

/// `[[[…]]]` or `{"a":{"a":…}}` of `depth` levels.
fn nested(depth: usize, wrap: impl Fn(Value) -> Value) -> Value {
    (0..depth).fold(json!(1), |inner, _| wrap(inner))
}

/// `json!` would copy what it wraps.
fn field(name: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value)]))
}

#[test]
fn b21_references_that_come_back_without_going_deeper_are_refused() {
    let endless = [
        json!({ "$ref": "#" }),
        json!({ "$dynamicRef": "#a", "$dynamicAnchor": "a" }),
        json!({ "$ref": "#/$defs/a", "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } } }),
        json!({ "allOf": [{ "$ref": "#" }, { "$ref": "#" }] }),
        json!({ "not": { "$ref": "#" } }),
        json!({ "anyOf": [{ "type": "string" }, { "if": { "$ref": "#" } }] }),
        json!({ "dependentSchemas": { "a": { "$ref": "#" } } }),
    ];
    for schema in endless {
        assert!(matches!(refused(&schema), SchemaFault::EndlessLoop { .. }), "{schema}");
    }
}

#[test]
fn b21_recursion_over_data_is_fine() {
    let list = json!({
        "type": "object",
        "properties": { "next": { "$ref": "#" }, "left": { "$ref": "#" }, "all": { "items": { "$ref": "#" } } },
        "additionalProperties": false,
    });
    let list = within(Duration::from_millis(50), &list).unwrap();
    assert_eq!(list.check(&json!({ "next": { "left": { "all": [{}, { "next": {} }] } } })), Ok(()));
    assert_eq!(list.check(&json!({ "next": { "left": 1 } })).unwrap_err().first().unwrap().pointer, "/next/left");
}

#[test]
fn b22_exponential_reference_trees_are_refused() {
    for count in [24, 28, 40, 1000] {
        for keyword in ["allOf", "anyOf", "oneOf"] {
            let bomb = chain(count, |next| json!({ keyword: [next, next] }));
            let fault = refused(&bomb);
            assert!(matches!(fault, SchemaFault::TooCostly { .. } | SchemaFault::TooManyHops { .. }), "{fault}");
        }
    }
}

#[test]
fn b22_exponential_trees_over_the_depth_of_data_are_refused() {
    let same = |next: &Value| json!({ "properties": { "a": next } });
    refused(&chain(40, |next| json!({ "allOf": [same(next), same(next)] })));
    let twice = [
        json!({ "anyOf": [same(&json!({ "$ref": "#" })), same(&json!({ "$ref": "#" }))] }),
        json!({ "properties": { "a": { "$ref": "#" } }, "patternProperties": { "^a$": { "$ref": "#" } } }),
        json!({ "properties": { "a": { "$ref": "#" } }, "anyOf": [{ "additionalProperties": { "$ref": "#" } }] }),
        json!({ "items": { "$ref": "#" }, "contains": { "$ref": "#" } }),
        json!({ "items": { "$ref": "#" }, "oneOf": [{ "prefixItems": [{ "$ref": "#" }] }] }),
        json!({ "unevaluatedProperties": { "$ref": "#" }, "allOf": [{ "additionalProperties": { "$ref": "#" } }] }),
        json!({ "anyOf": [{ "type": "string" }, { "items": { "$ref": "#" } }], "unevaluatedItems": false }),
    ];
    for schema in twice {
        assert!(matches!(refused(&schema), SchemaFault::TooCostly { .. }), "{schema}");
    }
}

#[test]
fn b22_branches_that_go_different_ways_are_fine() {
    let filter = json!({
        "anyOf": [
            { "properties": { "and": { "items": { "$ref": "#" } } }, "required": ["and"] },
            { "properties": { "or": { "items": { "$ref": "#" } } }, "required": ["or"] },
            { "properties": { "field": { "type": "string" } }, "required": ["field"] },
        ],
    });
    let filter = within(Duration::from_millis(50), &filter).unwrap();
    assert_eq!(filter.check(&json!({ "and": [{ "or": [{ "field": "a" }] }, { "field": "b" }] })), Ok(()));
    assert!(filter.check(&json!({ "and": [{ "or": [{}] }] })).is_err());
}

#[test]
fn b24_unevaluated_doubling_is_refused() {
    for count in [12, 16, 18, 20, 60] {
        for keyword in ["unevaluatedProperties", "unevaluatedItems"] {
            refused(&chain(count, |next| json!({ "allOf": [next, next], keyword: false })));
            refused(&chain(count, |next| json!({ "allOf": [next], keyword: false })));
        }
    }
}

#[test]
fn b25_nothing_outside_of_the_document_is_referred_to() {
    let outside = [
        "http://127.0.0.1:1/x", "https://example.com/x", "file:///etc/passwd", "//host/x", "x", "x#/a", "", "/x", "#/x", "#x",
        "https://json-schema.org/draft/2020-12/schema", "urn:x", "data:,{}", "json-schema:///", "#/properties", "#/$defs/%zz",
    ];
    for reference in outside {
        for keyword in ["$ref", "$dynamicRef"] {
            let schema = json!({ "properties": { "a": { keyword: reference } } });
            assert!(matches!(refused(&schema), SchemaFault::Reference { .. }), "{schema}");
            let based = json!({ "$id": "http://127.0.0.1:1/", "items": { keyword: reference } });
            assert!(matches!(refused(&based), SchemaFault::Reference { .. }), "{based}");
        }
    }
    let nested = json!({ "$defs": { "a": { "$id": "http://127.0.0.1:1/", "type": "string" } } });
    assert!(matches!(refused(&nested), SchemaFault::Identifier { .. }));
    for dialect in ["http://127.0.0.1:1/meta", "https://json-schema.org/draft/2019-09/schema", "", "x"] {
        assert!(matches!(refused(&json!({ "$schema": dialect })), SchemaFault::Dialect { .. }), "{dialect}");
        let below = json!({ "items": { "$schema": dialect } });
        assert!(matches!(refused(&below), SchemaFault::Dialect { .. }), "{dialect}");
    }
}

#[test]
fn b25_an_identifier_at_the_root_changes_nothing() {
    let schema = json!({
        "$id": "https://json-schema.org/draft/2020-12/schema",
        "$ref": "#/$defs/type",
        "$defs": { "type": { "const": 7 } },
    });
    let validator = compile(&schema).unwrap();
    assert_eq!(validator.check(&json!(7)), Ok(()));
    assert!(validator.check(&json!(8)).is_err());
}

#[test]
fn b29_long_chains_are_refused_by_size_or_hops() {
    let flat = chain(50_000, Clone::clone);
    assert!(matches!(refused_in_a_second(&flat), SchemaFault::TooLarge { .. }));
    assert!(matches!(refused(&chain(5_000, Clone::clone)), SchemaFault::TooManyHops { .. }));
    within(Duration::from_millis(50), &chain(60, Clone::clone)).unwrap();
}

#[track_caller]
fn refused_in_a_second(schema: &Value) -> SchemaFault {
    within(Duration::from_secs(1), schema).unwrap_err()
}

#[test]
fn b29_long_chains_down_the_data_are_built_in_time() {
    for count in [100, 1_000, 2_500] {
        let down = chain(count, |next| json!({ "properties": { "a": next } }));
        let _ = within(Duration::from_secs(1), &down);
        let ring = chain(count, |next| json!({ "items": next, "x": { "$ref": "#" } }));
        let _ = within(Duration::from_secs(1), &ring);
    }
}

#[test]
fn b30_nesting_over_the_limit_is_refused() {
    for depth in [127, 128, 129, 2_000] {
        let schema = nested(depth, |inner| field("not", inner));
        assert!(matches!(refused(&schema), SchemaFault::TooDeep { .. }), "{depth}");
    }
    let anything = compile(&json!({})).unwrap();
    assert_eq!(anything.check(&nested(64, |inner| Value::Array(vec![inner]))), Ok(()));
    for depth in [65, 127, 129, 2_000] {
        assert!(anything.check(&nested(depth, |inner| Value::Array(vec![inner]))).is_err(), "{depth}");
        assert!(anything.check(&nested(depth, |inner| field("a", inner))).is_err(), "{depth}");
    }
}

#[test]
fn b31_only_an_object_schema_is_an_input_schema() {
    let none = [
        json!(true), json!(false), json!(null), json!([]), json!(""), json!({}), json!({ "type": "array" }),
        json!({ "type": ["object"] }), json!({ "type": ["object", "null"] }),
    ];
    for schema in none {
        let fault = Validator::compile_input(&schema, Undeclared::Refuse).unwrap_err();
        assert!(matches!(fault, SchemaFault::NotASchema { .. }), "{schema}");
    }
    for schema in [json!(null), json!([]), json!(""), json!(1)] {
        assert!(matches!(refused(&schema), SchemaFault::NotASchema { .. }), "{schema}");
    }
    Validator::compile_input(&json!({ "type": "object" }), Undeclared::Refuse).unwrap();
}

#[test]
fn b32_contradictions_are_refused() {
    let conflicts = [
        json!({ "const": 1, "enum": [2, "1"] }),
        json!({ "const": 1, "type": "string" }),
        json!({ "minimum": 2, "maximum": 1 }),
        json!({ "minimum": 9_007_199_254_740_993_u64, "maximum": 9_007_199_254_740_992_u64 }),
        json!({ "exclusiveMinimum": 1, "maximum": 1 }),
        json!({ "minLength": 2, "maxLength": 1 }),
        json!({ "minItems": 2, "maxItems": 1 }),
        json!({ "minProperties": 2, "maxProperties": 1 }),
    ];
    for schema in conflicts {
        assert!(matches!(refused(&schema), SchemaFault::Conflict { .. }), "{schema}");
        assert!(matches!(refused(&json!({ "items": schema })), SchemaFault::Conflict { .. }), "{schema}");
    }
    for schema in [json!({ "type": ["object", 17] }), json!({ "type": "strin" }), json!({ "properties": [] }), json!({ "required": "a" })] {
        assert!(matches!(refused(&schema), SchemaFault::Invalid { .. }), "{schema}");
    }
    compile(&json!({ "const": 1.0, "enum": [1] })).unwrap();
}

#[test]
fn b33_format_is_not_asserted() {
    for format in ["uri", "email", "date", "uuid", "ipv4", "regex", "hostname"] {
        for dialect in ["https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema#"] {
            let schema = compile(&json!({ "$schema": dialect, "format": format })).unwrap();
            assert_eq!(schema.check(&json!("not one of (those")), Ok(()), "{format}");
        }
    }
}

#[test]
fn patterns_are_linear_or_refused() {
    for pattern in ["(?=a)b", r"(a)\1", "(?<!a)b", "(", "a{1000}{1000}{1000}"] {
        assert!(matches!(refused(&json!({ "pattern": pattern })), SchemaFault::Invalid { .. }), "{pattern}");
        let named = json!({ "patternProperties": { pattern: true } });
        assert!(matches!(refused(&named), SchemaFault::Invalid { .. }), "{pattern}");
    }
    let usual = [r"^[\w-]{1,64}$", r"^.{1,256}$", r"^\d{4}-\d{2}-\d{2}T[\d:.]+Z$", r"^\p{L}{1,50}$", "^(a+)+$", r"^\S+@\S+\.\S{2,63}$"];
    for pattern in usual {
        let compiled = within(Duration::from_millis(50), &json!({ "pattern": pattern }));
        assert!(compiled.is_ok(), "{pattern}: {compiled:?}");
    }
}

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
    assert_eq!(said, [("/n/0", "\"a\" is not of type \"integer\""), ("", "\"id\" is a required property")]);
    let many = validator.check(&json!({ "id": "a", "n": vec!["a"; 100] })).unwrap_err();
    assert_eq!(many.len(), 10);
    let secret = "s".repeat(5_000);
    for places in [validator.check(&json!({ "id": secret })), validator.check(&json!({ "id": 1, secret.as_str(): 1, "kind": secret }))] {
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
        let validator = compile(&schema).unwrap();
        let start = Instant::now();
        let fits = validator.check(&value).is_ok();
        eprintln!("{fits} {:?}", start.elapsed());
        assert!(start.elapsed() < Duration::from_secs(5), "{:?} for {:.60}", start.elapsed(), schema.to_string());
    }
}

#[test]
fn what_is_refused_in_the_schema_is_said_with_its_place() {
    let fault = refused(&json!({ "properties": { "a/b": { "$ref": "http://x/" } } }));
    assert_eq!(
        fault.to_string(),
        "the reference `\"http://x/\"` at `/properties/a~1b` names no schema inside the document: refer to `#/$defs/…`",
    );
}
