//! Group C, row 54: arguments that fit the schema and that a rule or a grant forbids all the same.

use serde_json::json;

use crate::harness::{Play, Stage, tool_with};

const RULES: &str = r#"
@id("refund-limit")
@reason("refunds above 500 need a manager")
forbid (principal, action == Bailiwick::Action::"evil__refund", resource)
when { context.input has amount && context.input.amount > 500 };

@id("no-other-currency")
forbid (principal, action == Bailiwick::Action::"evil__refund", resource)
when { context.input has currency && context.input.currency != "EUR" };

@id("inside-only")
forbid (principal, action == Bailiwick::Action::"evil__mail", resource)
when { context.input has to && !(context.input.to like "*@example.com") };
"#;

async fn stage() -> Stage {
    let refund = tool_with(
        "refund",
        &json!({"type": "object", "properties": {"amount": {"type": "integer"}, "currency": {"type": "string"}}}),
    );
    let mail = tool_with(
        "mail",
        &json!({"type": "object", "properties": {"to": {"type": "string"}, "cc": {"type": "array", "items": {"type": "string"}}}}),
    );
    let file = tool_with("read_file", &json!({"type": "object", "properties": {"path": {"type": "string"}}}));
    Play::of(&[refund, mail, file])
        .top("[policy]\nfiles = [\"mine.cedar\"]\n[[agents]]\nid = \"c\"\nowner = \"o@example.com\"\n[[grants]]\nid = \"grant-c\"\nagent = \"c\"\npurpose = \"test\"\ntools = [\"evil__read_file\", \"evil__mail\", \"evil__refund\"]\ndefault = true\nttl = \"1h\"\nargs = { evil__read_file = { \"/path\" = { path_under = \"/srv/data\" } }, evil__mail = { \"/to\" = { domain_in = [\"example.com\"] } }, evil__refund = { \"/amount\" = { int_range = { min = 1, max = 100 } } } }")
        .file("mine.cedar", RULES)
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a54_a_rule_about_an_argument_denies_and_only_its_id_is_told() {
    let mut stage = stage().await;
    let denied = [
        ("evil__refund", r#"{"amount":501}"#, "refund-limit"),
        ("evil__refund", r#"{"amount":501.0}"#, "refund-limit"),
        ("evil__refund", r#"{"amount":5.01e2}"#, "refund-limit"),
        ("evil__refund", r#"{"amount":9223372036854775807}"#, "refund-limit"),
        ("evil__refund", r#"{"amount":1,"currency":"USD"}"#, "no-other-currency"),
        ("evil__refund", r#"{"amount":1,"currency":"EUR "}"#, "no-other-currency"),
        ("evil__refund", r#"{"amount":1,"currency":"\u0045\u0055\u0052\u0000"}"#, "no-other-currency"),
        ("evil__mail", r#"{"to":"x@evil.example"}"#, "inside-only"),
        ("evil__mail", r#"{"to":"x@example.com.evil.example"}"#, "inside-only"),
        // What a rule reads and can't represent is denied, not passed.
        ("evil__refund", r#"{"amount":9223372036854775808}"#, "/amount"),
        ("evil__refund", r#"{"amount":1e30}"#, "/amount"),
        ("evil__refund", r#"{"amount":123456789012345678901234567890}"#, "/amount"),
    ];
    for (tool, arguments, names) in denied {
        let reply = stage.a.call_raw(tool, arguments).await;
        let words = reply.words();
        assert!(
            reply.is_tool_error() && words.starts_with("DENIED by policy") && words.contains(names),
            "{arguments}: {}",
            reply.text
        );
        for inside in ["forbid", "context.", "> 500", "like", "Bailiwick::", "principal"] {
            assert!(!reply.text.contains(inside), "the rule's text is told: {}", reply.text);
        }
    }
    let told = stage.a.call("evil__refund", &json!({"amount": 501})).await;
    assert!(told.words().contains("refunds above 500 need a manager"), "its reason is for agents: {}", told.text);
    let rules = |record: &serde_json::Value| record["rules"].clone();
    assert!(stage.decisions().iter().any(|record| rules(record) == json!(["refund-limit"]) && record["gate"] == json!("permit")));
    let allowed = [r#"{"amount":500}"#, r#"{"amount":500.0}"#, r#"{"amount":-501}"#, r#"{"amount":1,"currency":"EUR"}"#];
    for arguments in allowed {
        assert_eq!(stage.a.call_raw("evil__refund", arguments).await.words(), arguments);
    }
    stage.oracle(denied.len() + 1 + allowed.len(), allowed.len(), allowed.len()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a54_a_grants_bounds_hold_for_every_writing_of_an_argument() {
    let mut stage = stage().await;
    let c = stage.gateway.agent("c");
    let outside = [
        ("evil__read_file", r#"{"path":"/etc/passwd"}"#),
        ("evil__read_file", r#"{"path":"/srv/data/../../etc/passwd"}"#),
        ("evil__read_file", r#"{"path":"/srv/database"}"#),
        ("evil__read_file", r#"{"path":"/srv/data/%2e%2e/x"}"#),
        ("evil__read_file", r#"{"path":"/srv/data/\u002e\u002e/x"}"#),
        ("evil__read_file", r#"{"path":"/srv/data\\..\\x"}"#),
        ("evil__read_file", r#"{"path":"/srv/data//x"}"#),
        ("evil__read_file", r#"{"path":"/srv/data/x\u0000.txt"}"#),
        ("evil__read_file", r#"{"path":"srv/data/x"}"#),
        ("evil__read_file", r#"{"path":""}"#),
        ("evil__read_file", "{}"),
        ("evil__mail", r#"{"to":"x@evil.example"}"#),
        ("evil__mail", r#"{"to":"x@example.com.evil.example"}"#),
        ("evil__mail", r#"{"to":"x@notexample.com"}"#),
        ("evil__mail", r#"{"to":"x@example.com,y@evil.example"}"#),
        ("evil__mail", r#"{"to":"y@evil.example,x@example.com"}"#),
        ("evil__mail", r#"{"to":"y@evil.example\r\nBcc: x@example.com"}"#),
        ("evil__mail", r#"{"to":"\"x@evil.example\"<y@example.com"}"#),
        ("evil__mail", r#"{"to":"https://example.com@evil.example/"}"#),
        ("evil__mail", r#"{"to":"x@ex\u0430mple.com"}"#),
        ("evil__mail", "{}"),
        ("evil__refund", r#"{"amount":101}"#),
        ("evil__refund", r#"{"amount":100.0000000000000000001}"#),
        ("evil__refund", r#"{"amount":1e400}"#),
        ("evil__refund", r#"{"amount":0}"#),
        ("evil__refund", r#"{"amount":-1}"#),
        ("evil__refund", "{}"),
    ];
    for (tool, arguments) in outside {
        let reply = c.call_raw(tool, arguments).await;
        let words = reply.words();
        assert!(words.starts_with("DENIED: outside") || words.starts_with("INVALID ARGUMENTS"), "{arguments}: {}", reply.text);
    }
    let inside = [
        ("evil__read_file", r#"{"path":"/srv/data/a b/c.txt"}"#),
        ("evil__mail", r#"{"to":"x@sub.example.com"}"#),
        ("evil__refund", r#"{"amount":100}"#),
    ];
    for (tool, arguments) in inside {
        let reply = c.call_raw(tool, arguments).await;
        // The rule is narrower than the grant for a sub-domain: both must agree.
        let is_denied_by_rule = tool == "evil__mail";
        assert_eq!(reply.is_tool_error(), is_denied_by_rule, "{arguments}: {}", reply.text);
    }
    stage.heard(&c.heard());
    stage.oracle(outside.len() + inside.len(), 2, 2).await;
}
