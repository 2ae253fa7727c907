//! Bombs, each named for its row in the list of abuse cases.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::{Bounds, SchemaFault, Undeclared, Validator};

/// In which a bomb must be refused: 50 ms, and ten times that for unoptimized code on a busy machine.
const MOMENT: Duration = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });

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

/// `schema` is refused in a moment.
#[track_caller]
fn refused(schema: &Value) -> SchemaFault {
    within(MOMENT, schema).unwrap_err()
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
    let list = within(MOMENT, &list).unwrap();
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
fn b22_counting_itself_is_bounded() {
    let again = json!({ "$ref": "#" });
    let two = json!({ "properties": { "a": again, "b": again } });
    let slow = json!({
        "patternProperties": { "a": { "properties": { "a": { "properties": { "b": again } } }, "not": two } },
        "unevaluatedProperties": { "additionalProperties": { "dependentSchemas": { "a": { "type": "object" } } } },
    });
    assert!(matches!(refused_in_a_second(&slow), SchemaFault::TooCostly { .. }));
    let wide: Map<String, Value> =
        (0..1_000).map(|i| (format!("p{i}"), json!({ "anyOf": [again, { "type": "null" }] }))).collect();
    within(Duration::from_secs(1), &json!({ "properties": wide })).unwrap();
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
    let filter = within(MOMENT, &filter).unwrap();
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
        "http://127.0.0.1:1/x",
        "https://example.com/x",
        "file:///etc/passwd",
        "//host/x",
        "x",
        "x#/a",
        "",
        "/x",
        "#/x",
        "#x",
        "https://json-schema.org/draft/2020-12/schema",
        "urn:x",
        "data:,{}",
        "json-schema:///",
        "#/properties",
        "#/$defs/%zz",
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
    within(MOMENT, &chain(60, Clone::clone)).unwrap();
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
        json!(true),
        json!(false),
        json!(null),
        json!([]),
        json!(""),
        json!({}),
        json!({ "type": "array" }),
        json!({ "type": ["object"] }),
        json!({ "type": ["object", "null"] }),
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
    for schema in
        [json!({ "type": ["object", 17] }), json!({ "type": "strin" }), json!({ "properties": [] }), json!({ "required": "a" })]
    {
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
    for pattern in ["(?=a)b", r"(a)\1", "(?<!a)b", "(", "a{1000}{1000}{1000}", r"^\p{L}{1,50}$"] {
        assert!(matches!(refused(&json!({ "pattern": pattern })), SchemaFault::Invalid { .. }), "{pattern}");
        let named = json!({ "patternProperties": { pattern: true } });
        assert!(matches!(refused(&named), SchemaFault::Invalid { .. }), "{pattern}");
    }
    let usual =
        [r"^[\w-]{1,64}$", r"^.{1,256}$", r"^\d{4}-\d{2}-\d{2}T[\d:.]+Z$", r"^\p{L}+$", "^(a+)+$", r"^\S+@\S+\.\S{2,63}$"];
    for pattern in usual {
        let compiled = within(MOMENT, &json!({ "pattern": pattern }));
        assert!(compiled.is_ok(), "{pattern}: {compiled:?}");
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
