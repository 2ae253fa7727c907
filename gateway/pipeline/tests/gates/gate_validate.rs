//! `validate`: arguments as the pinned schema wants them, as the headers say, inside the bounds of every grant of the chain.

use bailiwick_pipeline::{
    constraint::{Bound, IntRange},
    grant::Grant,
    records::Outcome,
};
use serde_json::{Value, json};

use crate::world::{Asking, Bench, Heard, Told, alive, capability, terms};

fn bounded(id: &str, bounds: &[(&str, Bound)]) -> Grant {
    let mut grant = terms(id, &["tickets__*"]);
    grant.capabilities[0].args = bounds.iter().map(|(pointer, bound)| ((*pointer).to_owned(), bound.clone())).collect();
    grant
}

fn eq(value: Value) -> Bound {
    Bound { eq: Some(value), ..Bound::default() }
}

fn places(heard: &Heard) -> Value {
    match heard.told() {
        Told::ToolError(_, Some(meta)) => meta["dev.bailiwick/refusal"]["places"].clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn arguments_that_break_the_schema_are_told_where() {
    let bench = Bench::new();
    let heard = bench.call("tickets__get", r#"{"id":7}"#).await;
    heard.refused("validate", Outcome::Invalid, "invalid_arguments");
    assert!(heard.text().starts_with("INVALID ARGUMENTS: not executed."), "{}", heard.text());
    assert_eq!(places(&heard)[0]["pointer"], "/id");
    let heard = bench.call("tickets__get", r#"{"id":"a","extra":1}"#).await;
    heard.refused("validate", Outcome::Invalid, "invalid_arguments");
    bench.call("tickets__get", r#"{"id":"a"}"#).await.ran();
}

#[tokio::test]
async fn arguments_outside_the_bounds_are_told_the_bounds() {
    let bench = Bench::with([bounded("g", &[("/project", eq(json!("support")))])]);
    bench.call("tickets__search", r#"{"project":"support"}"#).await.ran();
    for arguments in [r#"{"project":"sales"}"#, "{}", r#"{"project":"Support"}"#] {
        let heard = bench.call("tickets__search", arguments).await;
        heard.refused("validate", Outcome::Denied, "argument_out_of_grant");
        assert_eq!(
            heard.text(),
            "DENIED: outside this task's grant, not executed. Allowed are:\n- /project: must be \"support\""
        );
        assert_eq!(places(&heard), json!([{"pointer": "/project", "message": "\"support\""}]));
        assert_eq!(heard.decision()["detail"], "grant `g` bounds it:\n- /project: must be \"support\"");
    }
}

#[tokio::test]
async fn one_capability_that_covers_is_enough_and_the_nearest_says_why_none_does() {
    let mut grant = bounded("g", &[("/project", eq(json!("a"))), ("/text", eq(json!("x")))]);
    let mut other = capability("tickets__search");
    other.args = [("/project".to_owned(), eq(json!("b")))].into();
    grant.capabilities.push(other);
    let bench = Bench::with([grant]);
    bench.call("tickets__search", r#"{"project":"a","text":"x"}"#).await.ran();
    bench.call("tickets__search", r#"{"project":"b","text":"y"}"#).await.ran();
    // Half of one and half of the other is neither.
    for arguments in [r#"{"project":"c","text":"y"}"#, "{}"] {
        let heard = bench.call("tickets__search", arguments).await;
        heard.refused("validate", Outcome::Denied, "argument_out_of_grant");
        assert_eq!(places(&heard), json!([{"pointer": "/project", "message": "\"b\""}]), "{arguments}");
    }
    // Of two that are as near, the first speaks.
    let heard = bench.call("tickets__search", r#"{"project":"a","text":"y"}"#).await;
    assert_eq!(places(&heard), json!([{"pointer": "/text", "message": "\"x\""}]));
}

#[tokio::test]
async fn bounds_of_ancestors_hold_too() {
    let small = Bound { int_range: Some(IntRange { min: None, max: Some(5) }), ..Bound::default() };
    let root = alive(bounded("root", &[("/n", small)]), None);
    let child = alive(bounded("child", &[("/id", eq(json!("a")))]), Some(&root));
    let bench = Bench::new();
    *bench.fakes.grants.lock().unwrap() = vec![child];
    bench.call("tickets__get", r#"{"id":"a","n":5}"#).await.ran();
    let heard = bench.call("tickets__get", r#"{"id":"a","n":6}"#).await;
    heard.refused("validate", Outcome::Denied, "argument_out_of_grant");
    assert_eq!(places(&heard), json!([{"pointer": "/n", "message": "an integer of at most 5"}]));
    bench.call("tickets__get", r#"{"id":"b","n":5}"#).await.refused("validate", Outcome::Denied, "argument_out_of_grant");
}

#[tokio::test]
async fn a_bound_on_everything_says_so() {
    let bench = Bench::with([bounded("g", &[("", eq(json!({})))])]);
    bench.call("tickets__get", "{}").await.ran();
    let heard = bench.call("tickets__get", r#"{"id":"a"}"#).await;
    assert_eq!(heard.text(), "DENIED: outside this task's grant, not executed. Allowed are:\n- (arguments): must be {}");
}

async fn with_headers(headers: Option<&[(&str, &str)]>, arguments: &str) -> Heard {
    let mirrored = headers.map(|all| all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect());
    let bench = Bench::new();
    bench.replies(r#"{"content":[],"structuredContent":{"size":1}}"#);
    bench.call_as("files__stat", arguments, Asking { mirrored, ..Asking::plain() }).await
}

/// Attack 42: a header never decides, and one that disagrees with the argument it mirrors is refused.
#[tokio::test]
async fn headers_that_mirror_must_agree() {
    with_headers(None, r#"{"path":"/a"}"#).await.ran();
    with_headers(Some(&[("path", "/a")]), r#"{"path":"/a"}"#).await.ran();
    with_headers(Some(&[("other", "/b"), ("path", "/a")]), r#"{"path":"/a"}"#).await.ran();
    with_headers(Some(&[]), "{}").await.ran();
    for (headers, arguments) in [
        (&[("path", "/b")][..], r#"{"path":"/a"}"#),
        (&[], r#"{"path":"/a"}"#),
        (&[("path", "/a")], "{}"),
        (&[("path", "/a"), ("path", "/a")], r#"{"path":"/a"}"#),
        (&[("path", "/a"), ("path", "/b")], r#"{"path":"/a"}"#),
    ] {
        let heard = with_headers(Some(headers), arguments).await;
        heard.refused("validate", Outcome::Invalid, "header_mismatch");
        assert_eq!(
            heard.told(),
            Told::Error(-32020, "header Mcp-Param-path and the argument it mirrors must agree".to_owned(), None, 400)
        );
    }
}

/// Attack 40: the text of what was judged is what goes out, byte for byte.
#[tokio::test]
async fn what_is_sent_are_the_bytes_received() {
    let arguments = r#"{ "n":{"b":1.50,"a":1e400,"c":123456789012345678901234567890,"d":-0,"a\u0062":"\u00e9"},  "id":"x" }"#;
    let bench = Bench::new();
    bench.call("tickets__get", arguments).await.ran();
    assert_eq!(bench.fakes.sent.lock().unwrap()[0].arguments, arguments);
}
