//! Group C, row 40: a number is what its text says, for the server, the approver, the policy and the record alike.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Play, Stage, tool_with};

const NUMBERS: [&str; 22] = [
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "-9223372036854775809",
    "123456789012345678901234567890",
    "1e400",
    "1E+400",
    "-1e400",
    "1e-400",
    "-0",
    "-0.0",
    "0e0",
    "1.0",
    "1",
    "1.50",
    "1e2",
    "1E2",
    "0.1000000000000000055511151231257827021181583404541015625",
    "3.141592653589793238462643383279502884197",
    "100000000000000000000000000000000000000000000000000000000000000000000.5",
    "4.9e-324",
];

/// The approval that waits, as an approver sees it.
async fn waiting(stage: &Stage) -> Value {
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        let list: Value = serde_json::from_str(&stage.gateway.cli.ok(&["approvals", "list", "--json"])).unwrap();
        let pending = list.as_array().unwrap().iter().find(|approval| approval["state"] == json!("pending")).cloned();
        if let Some(approval) = pending {
            let shown = stage.gateway.cli.ok(&["approvals", "show", approval["code"].as_str().unwrap(), "--json"]);
            let shown: Value = serde_json::from_str(&shown).unwrap();
            return shown.as_array().map_or(shown.clone(), |one| one[0].clone());
        }
        assert!(Instant::now() < until, "nothing waits for an approver");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a40_number_text_is_kept_to_the_server_and_back() {
    let open = json!({"type": "object", "properties": {"n": {}, "m": {"type": "number"}}});
    let mut stage = Stage::new(&[
        tool_with("echo", &open),
        tool_with("raw", &json!({"type": "object", "properties": {"result": {"type": "string"}}})),
    ])
    .await;
    for version in ["2026-07-28", "2025-11-25"] {
        let agent = if version == "2026-07-28" { stage.a.clone() } else { stage.a.session(version).await };
        for number in NUMBERS {
            let arguments = format!(r#"{{"n":{number},"m":{number}}}"#);
            let reply = agent.call_raw("evil__echo", &arguments).await;
            assert_eq!(reply.words(), arguments, "{version}");
            assert!(stage.evil.calls().last().unwrap().contains(&format!("\"arguments\":{arguments}")), "{number}");
            let result = format!(r#"{{"content":[],"structuredContent":{{"n":{number}}}}}"#);
            let reply = agent.call("evil__raw", &json!({"result": result})).await;
            assert!(reply.text.contains(&format!(r#""structuredContent":{{"n":{number}}}"#)), "{number}: {}", reply.text);
        }
    }
    let calls = 4 * NUMBERS.len();
    stage.oracle(calls, calls, calls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a40_what_is_no_number_or_far_too_long_is_refused() {
    let mut stage = Stage::new(&[tool_with("echo", &json!({"type": "object", "properties": {"n": {}}}))]).await;
    let long = format!("1{}", "0".repeat(2000));
    let numbers =
        ["NaN", "Infinity", "-Infinity", "01", "+1", "1.", ".5", "0x10", "1_000", "1e", "--1", "1e+", "\u{0661}", long.as_str()];
    for number in numbers {
        let reply = stage.a.call_raw("evil__echo", &format!(r#"{{"n":{number}}}"#)).await;
        assert_eq!((reply.status, reply.error_code()), (400, -32700), "{number}");
    }
    stage.oracle(numbers.len(), 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a40_an_exponent_of_any_size_costs_nothing() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "number", "maximum": 100, "multipleOf": 0.01}, "i": {"type": "integer"}, "c": {"const": 1}, "e": {"enum": [1, 2]}}});
    let mut stage = Stage::new(&[tool_with("echo", &schema)]).await;
    let numbers =
        ["1e400", "1e999999999", "1e-999999999", "1e99999999999999999999", "-1e999999999", "1e2147483648", "1e-2147483649"];
    let before = stage.gateway.cpu_time();
    let mut sent = 0;
    for number in numbers {
        for key in ["n", "i", "c", "e"] {
            let reply = stage.a.call_raw("evil__echo", &format!(r#"{{"{key}":{number}}}"#)).await;
            if !reply.is_tool_error() {
                sent += 1;
                assert_eq!(reply.words(), format!(r#"{{"{key}":{number}}}"#));
            }
        }
    }
    let took = stage.gateway.cpu_time().saturating_sub(before);
    assert!(took < Duration::from_secs(5), "{took:?}");
    stage.oracle(4 * numbers.len(), sent, sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a40_the_approver_sees_the_number_that_is_sent() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "number"}}});
    let mut stage = Play::of(&[tool_with("pay", &schema)])
        .connector("tools.pay = { kind = \"write\", band = \"high\" }")
        .top("[approvals]\nallow_same_user = true\nhold = \"30s\"")
        .start()
        .await;
    let numbers = ["123456789012345678901234567890", "9007199254740993", "1.0", "1", "1e400", "-0"];
    let mut digests = Vec::new();
    for number in numbers {
        let (agent, arguments) = (stage.a.clone(), format!(r#"{{"n":{number}}}"#));
        let asked = arguments.clone();
        let call = tokio::spawn(async move { agent.call_raw("evil__pay", &asked).await });
        let approval = waiting(&stage).await;
        assert_eq!(approval["arguments"], json!(arguments), "the approver sees the text that was sent");
        let card = stage.gateway.cli.ok(&["approvals", "show", approval["code"].as_str().unwrap()]);
        assert!(card.contains(&format!("\"n\": {number}\n")), "{card}");
        digests.push(approval["args_digest"].as_str().unwrap().to_owned());
        stage.gateway.cli.ok(&["approvals", "approve", approval["code"].as_str().unwrap(), "--yes"]);
        assert_eq!(call.await.unwrap().words(), arguments);
        assert!(stage.evil.calls().last().unwrap().contains(&format!("\"arguments\":{arguments}")));
    }
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), numbers.len(), "1 and 1.0 are two approvals");
    stage.oracle(numbers.len(), numbers.len(), numbers.len()).await;
}
