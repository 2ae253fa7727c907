//! Group B: schemas that cost, reach out, or mean nothing. All come from a hostile server, among good tools.

use std::{net::TcpListener, time::Duration};

use serde_json::{Map, Value, json};

use crate::harness::{Play, Stage, tool, tool_with};

/// A gateway starts with so much of a processor's time, whatever a server offers it. A built bomb takes far more.
const START: Duration = Duration::from_secs(12);

/// `d0` to `d{depth}`, each of which refers twice to the next.
fn doubling(depth: usize, more: &Value) -> Value {
    let mut defs = Map::new();
    for at in 0..depth {
        let next = json!({"$ref": format!("#/$defs/d{}", at + 1)});
        let mut def = json!({"allOf": [next, next]});
        def.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        defs.insert(format!("d{at}"), def);
    }
    defs.insert(format!("d{depth}"), json!({"type": "object"}));
    json!({"type": "object", "allOf": [{"$ref": "#/$defs/d0"}], "$defs": defs})
}

/// The same, each made of the reference to the next in another way.
fn rewritten(depth: usize, def: fn(Value) -> Value) -> Value {
    let mut defs: Map<String, Value> =
        (0..depth).map(|at| (format!("d{at}"), def(json!({"$ref": format!("#/$defs/d{}", at + 1)})))).collect();
    defs.insert(format!("d{depth}"), json!({}));
    json!({"type": "object", "properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": defs})
}

/// A chain of so many references, each to the next.
fn chain(length: usize) -> Value {
    let mut defs = Map::new();
    for at in 0..length {
        defs.insert(format!("d{at}"), json!({"$ref": format!("#/$defs/d{}", at + 1)}));
    }
    defs.insert(format!("d{length}"), json!({}));
    json!({"type": "object", "properties": {"x": {"$ref": "#/$defs/d0"}}, "$defs": defs})
}

/// Offers these schemas, as input schemas of tools `t0` and so on, between two good tools; expects only the good ones to be
/// there and callable, and a finding for each of the others.
async fn refused_among_good_ones(schemas: &[Value]) -> Stage {
    let mut tools = vec![tool("first", &["text"])];
    tools.extend(schemas.iter().enumerate().map(|(at, schema)| tool_with(&format!("t{at}"), schema)));
    tools.push(tool("last", &["text"]));
    let mut stage = Stage::new(&tools).await;
    assert!(stage.started_in < START, "the start took {:?}", stage.started_in);
    assert_eq!(stage.a.tools().await, ["evil__first", "evil__last", "s1__echo"]);
    assert_eq!(stage.findings().len(), schemas.len(), "{:#?}", stage.findings());
    for at in 0..schemas.len() {
        assert_eq!(stage.a.call(&format!("evil__t{at}"), &json!({})).await.error_code(), -32602, "{at}");
    }
    for name in ["evil__first", "evil__last"] {
        assert_eq!(stage.a.call(name, &json!({"text": "x"})).await.words(), r#"{"text":"x"}"#);
    }
    stage.oracle(schemas.len() + 2, 2, 2).await;
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn a21_references_to_themselves_are_refused_in_no_time() {
    refused_among_good_ones(&[
        json!({"type": "object", "$ref": "#"}),
        json!({"type": "object", "allOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        json!({"type": "object", "$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        json!({"type": "object", "$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "null"}]}}}),
        json!({"type": "object", "not": {"$ref": "#"}}),
        json!({"type": "object", "if": {"$ref": "#"}}),
        json!({"type": "object", "$ref": "#me", "$anchor": "me"}),
        json!({"type": "object", "$dynamicRef": "#me", "$dynamicAnchor": "me"}),
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "allOf": [{"$ref": "#"}, {"$ref": "#"}]}),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a22_exponential_refs_are_refused_at_load() {
    let plain = json!({});
    let over_depth = |depth: usize| {
        // The doubling is in the data: each level of a value is looked at twice as often as the one above.
        let next = |at: usize| json!({"properties": {"x": {"$ref": format!("#/$defs/d{}", at + 1)}}});
        let mut defs: Map<String, Value> =
            (0..depth).map(|at| (format!("d{at}"), json!({"allOf": [next(at), next(at)]}))).collect();
        defs.insert(format!("d{depth}"), json!({}));
        json!({"type": "object", "allOf": [{"$ref": "#/$defs/d0"}], "$defs": defs})
    };
    let mut any = doubling(28, &plain).to_string().replace("allOf", "anyOf");
    any = any.replacen("anyOf", "allOf", 1);
    let old = doubling(28, &plain).to_string().replace("$defs", "definitions").replacen(
        '{',
        r#"{"$schema":"http://json-schema.org/draft-07/schema#","#,
        1,
    );
    refused_among_good_ones(&[
        doubling(24, &plain),
        doubling(28, &plain),
        doubling(40, &plain),
        over_depth(24),
        over_depth(40),
        serde_json::from_str(&any).unwrap(),
        serde_json::from_str(&old).unwrap(),
        json!({"type": "object", "properties": {"x": {"not": {"$ref": "#/$defs/d0"}}}, "$defs": doubling(28, &plain)["$defs"]}),
        json!({"type": "object", "patternProperties": {".*": {"$ref": "#/$defs/d0"}}, "$defs": doubling(28, &plain)["$defs"]}),
        json!({"type": "object", "propertyNames": {"$ref": "#/$defs/d0"}, "$defs": doubling(28, &plain)["$defs"]}),
        rewritten(28, |next| json!({"if": next, "then": next})),
        rewritten(28, |next| json!({"if": next, "else": next})),
        rewritten(28, |next| json!({"dependentSchemas": {"a": next, "b": next}})),
        rewritten(28, |next| json!({"oneOf": [next, {"not": next}]})),
        rewritten(28, |next| json!({"contains": next, "items": next})),
        rewritten(28, |next| json!({"properties": {"x": next}, "patternProperties": {"x": next}})),
        rewritten(28, |next| json!({"prefixItems": [next], "contains": next, "unevaluatedItems": next})),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a22_an_exponential_output_schema_is_refused_too() {
    let mut bomb = tool("bomb", &["text"]);
    bomb["outputSchema"] = doubling(28, &json!({}));
    let mut stage = Stage::new(&[bomb, tool("good", &["text"])]).await;
    assert!(stage.started_in < START, "the start took {:?}", stage.started_in);
    assert_eq!(stage.a.tools().await, ["evil__good", "s1__echo"]);
    stage.oracle(0, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a22_a_value_that_is_costly_to_check_is_refused_in_time() {
    // Each schema is within its bounds; the value is what costs.
    let wide = json!({"type": "object", "properties": {"x": {"type": "array", "uniqueItems": true, "items": {"anyOf": (0..200).map(|at| json!({"const": format!("c{at}")})).collect::<Vec<_>>()}}}});
    let pattern = json!({"type": "object", "properties": {"x": {"type": "string", "pattern": "^(a|aa|aaa)*(b|bb)*[ab]{1,50}$"}}});
    let mut stage = Stage::new(&[tool_with("wide", &wide), tool_with("pattern", &pattern)]).await;
    let items: Vec<String> = (0..90_000).map(|at| format!("v{at}")).collect();
    let before = stage.gateway.cpu_time();
    let reply = stage.a.call("evil__wide", &json!({"x": items})).await;
    assert!(reply.words().starts_with("INVALID ARGUMENTS"), "{}", reply.text);
    let reply = stage.a.call("evil__pattern", &json!({"x": "a".repeat(2_000_000) + "!"})).await;
    assert!(reply.words().starts_with("INVALID ARGUMENTS"), "{}", reply.text);
    let took = stage.gateway.cpu_time().saturating_sub(before);
    assert!(took < Duration::from_secs(8), "two checks took {took:?}");
    stage.oracle(2, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a24_exponential_unevaluated_is_refused_at_load() {
    let mut schemas = Vec::new();
    for depth in [16, 18, 20] {
        let mut outer = doubling(depth, &json!({}));
        outer["unevaluatedProperties"] = json!(false);
        schemas.push(outer);
        schemas.push(doubling(depth, &json!({"unevaluatedProperties": false})));
    }
    schemas.push(doubling(20, &json!({"unevaluatedItems": false})));
    // Without references: nested as it stands.
    let mut nested = json!({"type": "object"});
    for _ in 0..14 {
        nested = json!({"type": "object", "allOf": [nested], "unevaluatedProperties": false});
    }
    schemas.push(nested);
    let stage = refused_among_good_ones(&schemas).await;
    assert!(stage.gateway.peak_memory() < 200 * 1024 * 1024, "{} bytes", stage.gateway.peak_memory());
}

#[tokio::test(flavor = "multi_thread")]
async fn a22_a24_a_tool_that_turns_into_a_bomb_is_refused_at_its_call() {
    let good = [tool("changed", &["text"]), tool("echo", &["text"]), tool("same", &["text"])];
    let mut stage = Stage::new(&good).await;
    let mut unevaluated = doubling(20, &json!({"unevaluatedProperties": false}));
    unevaluated["unevaluatedProperties"] = json!(false);
    stage.evil.offer(&[
        good[0].clone(),
        tool_with("echo", &doubling(40, &json!({}))),
        good[2].clone(),
        tool_with("more", &unevaluated),
    ]);
    let before = stage.gateway.cpu_time();
    assert!(!stage.a.call("evil__changed", &json!({"text": "x"})).await.is_tool_error());
    assert!(stage.a.call("evil__echo", &json!({"text": "x"})).await.words().starts_with("UNAVAILABLE"));
    assert!(!stage.a.call("evil__same", &json!({"text": "x"})).await.is_tool_error());
    let took = stage.gateway.cpu_time().saturating_sub(before);
    assert!(took < Duration::from_secs(6), "three calls took {took:?}");
    assert_eq!(stage.a.tools().await, ["evil__changed", "evil__same", "s1__echo"]);
    stage.oracle(3, 2, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a25_nothing_is_fetched_for_a_schema() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let here = listener.local_addr().unwrap();
    let with_ref = |uri: String| json!({"type": "object", "properties": {"x": {"$ref": uri}}});
    let dynamic = |keyword: &str, uri: String| {
        let mut schema = json!({"type": "object"});
        schema["properties"] = json!({"x": {keyword: uri}});
        schema
    };
    refused_among_good_ones(&[
        with_ref(format!("http://{here}/x")),
        with_ref(format!("https://{here}/x")),
        with_ref(format!("//{here}/x")),
        with_ref("file:///etc/passwd".to_owned()),
        with_ref("/etc/passwd".to_owned()),
        with_ref("x.json".to_owned()),
        with_ref("urn:x:y".to_owned()),
        with_ref(format!("http://{here}/x#/$defs/a")),
        with_ref(format!(" http://{here}/x")),
        dynamic("$dynamicRef", format!("http://{here}/x#meta")),
        dynamic("$schema", format!("http://{here}/dialect")),
        json!({"type": "object", "$id": format!("http://{here}/base"), "properties": {"x": {"$ref": "other"}}}),
        json!({"type": "object", "$id": format!("http://{here}/base"), "properties": {"x": {"$ref": "/other"}}}),
        json!({"type": "object", "properties": {"x": {"$id": format!("http://{here}/inner/"), "$ref": "other"}}}),
        json!({"type": "object", "$schema": format!("http://{here}/dialect")}),
        json!({"type": "object", "$schema": "https://json-schema.org/draft/2019-09/schema"}),
        json!({"type": "object", "$schema": "http://json-schema.org/draft-04/schema#"}),
        json!({"type": "object", "properties": {"x": {"$ref": "https://json-schema.org/draft/2020-12/schema"}}}),
    ])
    .await;
    assert!(listener.accept().is_err(), "somebody came to fetch");
}

#[tokio::test(flavor = "multi_thread")]
async fn a25_a_network_id_at_the_root_is_a_name_and_nothing_more() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let base = format!("http://{}/base", listener.local_addr().unwrap());
    let schema =
        json!({"$id": base, "type": "object", "properties": {"x": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}});
    // A keyword of another dialect is unknown to this one, and so an annotation.
    let other = json!({"type": "object", "properties": {"x": {"$recursiveRef": base, "type": "integer"}}});
    let mut stage = Stage::new(&[tool_with("echo", &schema), tool_with("other", &other)]).await;
    for name in ["evil__echo", "evil__other"] {
        assert!(!stage.a.call(name, &json!({"x": 1})).await.is_tool_error());
        assert!(
            stage.a.call(name, &json!({"x": "1"})).await.words().starts_with("INVALID ARGUMENTS"),
            "it is judged, not waved through"
        );
    }
    assert!(listener.accept().is_err(), "somebody came to fetch");
    stage.oracle(4, 2, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a29_a_long_chain_is_refused_by_size_or_hops() {
    let huge = chain(50_000);
    assert!(huge.to_string().len() > 1_600_000);
    let mut wide = json!({"type": "object"});
    wide["properties"] = (0..30_000).map(|at| (format!("p{at}"), json!({}))).collect::<Map<_, _>>().into();
    let described = json!({"type": "object", "description": "x".repeat(300 * 1024)});
    refused_among_good_ones(&[huge, chain(4_000), chain(100), wide, described]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a29_too_many_tools_cost_their_connector_and_nobody_else() {
    let tools: Vec<Value> = (0..5_000).map(|at| tool(&format!("t{at}"), &[])).collect();
    let mut stage = Play::of(&[]).script(json!({"tools": tools})).start().await;
    assert!(stage.started_in < START, "the start took {:?}", stage.started_in);
    assert_eq!(stage.a.tools().await, ["s1__echo"]);
    stage.oracle(0, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a31_only_an_object_schema_is_an_input_schema() {
    let mut odd: Vec<Value> = [
        json!(true),
        json!(false),
        json!(null),
        json!([]),
        json!(""),
        json!("object"),
        json!(1),
        json!({}),
        json!({"type": "array"}),
        json!({"type": ["object"]}),
        json!({"type": "Object"}),
        json!({"properties": {}}),
    ]
    .iter()
    .enumerate()
    .map(|(at, schema)| tool_with(&format!("t{at}"), schema))
    .collect();
    odd.push(json!({"name": "missing"}));
    odd.push(json!({"name": "snake", "input_schema": {"type": "object"}}));
    odd.push(json!({"name": "output", "inputSchema": {"type": "object"}, "outputSchema": "object"}));
    odd.extend([json!(null), json!("tool"), json!([]), json!({}), json!({"name": 5, "inputSchema": {"type": "object"}})]);
    let count = odd.len();
    odd.push(tool("good", &["text"]));
    let mut stage = Stage::new(&odd).await;
    assert_eq!(stage.a.tools().await, ["evil__good", "s1__echo"]);
    assert_eq!(stage.findings().len(), count, "{:#?}", stage.findings());
    assert_eq!(stage.a.call("evil__missing", &json!({})).await.error_code(), -32602);
    assert!(!stage.a.call("evil__good", &json!({})).await.is_tool_error());
    stage.oracle(2, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a32_contradictions_and_nonsense_are_refused_at_load() {
    let of = |property: Value| json!({"type": "object", "properties": {"x": property}});
    refused_among_good_ones(&[
        of(json!({"const": 1, "enum": [2, 3]})),
        of(json!({"minimum": 5, "maximum": 4})),
        of(json!({"minLength": 5, "maxLength": 4})),
        of(json!({"type": ["object", 17]})),
        of(json!({"type": "objekt"})),
        of(json!({"enum": "a"})),
        of(json!({"required": "x"})),
        of(json!({"properties": []})),
        of(json!({"pattern": "(unclosed"})),
        of(json!({"pattern": "(a+)+\\1"})),
        of(json!({"minimum": "5"})),
        of(json!({"multipleOf": 0})),
        of(json!({"allOf": []})),
        of(json!({"$ref": "#/$defs/nowhere"})),
        of(json!(17)),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a33_format_is_an_annotation_and_no_guard() {
    // As `schemas::validate` documents: a format is not asserted. A pattern is.
    let schema = json!({"type": "object", "properties": {
        "uri": {"type": "string", "format": "uri"}, "email": {"type": "string", "format": "email"}, "date": {"type": "string", "format": "date"},
        "odd": {"type": "string", "format": "no-such-format"}, "guarded": {"type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
    }});
    let mut stage = Stage::new(&[tool_with("echo", &schema)]).await;
    for argument in ["uri", "email", "date", "odd"] {
        let reply = stage.a.call("evil__echo", &json!({argument: "not at all"})).await;
        assert!(!reply.is_tool_error(), "{argument}: {}", reply.text);
    }
    assert!(stage.a.call("evil__echo", &json!({"guarded": "not at all"})).await.words().starts_with("INVALID ARGUMENTS"));
    stage.oracle(5, 4, 4).await;
}
