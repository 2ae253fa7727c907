//! Group H, rows 113, 123 and 124: what a server writes that is no message, or far too much of it.

use serde_json::{Value, json};

use crate::harness::{Play, Tally, tool, until};

#[tokio::test(flavor = "multi_thread")]
async fn a113_what_is_no_message_is_no_answer() {
    let mut stage =
        Play::of(&[tool("lines", &["how"]), tool("echo", &["text"])]).connector("call_timeout = \"2s\"").start().await;
    let mut tally = Tally::default();
    let neighbour = stage.neighbour();
    for how in ["partial-line", "bom", "two", "array", "nul", "nul-between", "utf8", "split", "twice-a-key", "partial"] {
        let reply = tally.call(&stage.a, "evil__lines", &json!({"how": how})).await;
        assert!(reply.is_tool_error() && reply.words().starts_with("FAILED: connector evil"), "{how}: {}", reply.text);
        assert!(!reply.text.contains("passed"), "{how}: {}", reply.text);
        tally.until_served(&stage.a, "evil__echo", &json!({"text": how})).await;
    }
    // The end of a line may be the other one.
    let reply = tally.call(&stage.a, "evil__lines", &json!({"how": "crlf"})).await;
    assert_eq!(reply.words(), "passed");
    assert!(stage.gateway.connector("evil")["oddities"]["garbage_lines"].as_u64().unwrap() >= 8);
    neighbour.was_served().await;
    tally.settle(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a113_a_flood_ends_its_server_which_rests_and_comes_back() {
    let mut stage = Play::of(&[tool("lines", &["how"]), tool("echo", &["text"])]).start().await;
    let mut tally = Tally::default();
    let neighbour = stage.neighbour();
    for (how, why) in [("flood", "a line of more than 16777216 bytes"), ("garbage", "no JSON-RPC message")] {
        let reply = tally.call(&stage.a, "evil__lines", &json!({"how": how})).await;
        assert!(reply.words().starts_with("FAILED: connector evil"), "{how}: {}", reply.text);
        let shown = stage.gateway.connector("evil");
        assert_eq!(shown["state"], json!("failing"), "{shown:#}");
        let what = shown["last_failure"]["what"].as_str().unwrap();
        // It ends by itself once nobody hears it, and on a busy machine that may be seen first.
        assert!(what.contains(why) || what.contains("it ended after"), "{shown:#}");
        if how == "garbage" {
            assert!(shown["oddities"]["garbage_lines"].as_u64().unwrap() >= 100, "{shown:#}");
        }
        tally.until_served(&stage.a, "evil__echo", &json!({"text": how})).await;
    }
    assert_eq!(stage.gateway.connector("evil")["failures"], json!(2));
    neighbour.was_served().await;
    tally.settle(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a113_a_flood_at_the_start_is_a_failed_start_and_nothing_was_sent() {
    let tools = [tool("echo", &["text"])];
    let mut stage = Play::of(&tools).start().await;
    let mut tally = Tally::default();
    let neighbour = stage.neighbour();
    for behave in ["flood", "garbage"] {
        stage.evil.offer_with(&tools, &json!({"behave": behave}));
        for _ in 0..3 {
            let reply = tally.call(&stage.a, "evil__echo", &json!({"text": "x"})).await;
            assert!(reply.words().starts_with("UNAVAILABLE: connector evil"), "{behave}: {}", reply.text);
        }
        assert_eq!(stage.gateway.connector("evil")["state"], json!("failing"));
        stage.evil.offer(&tools);
        tally.until_served(&stage.a, "evil__echo", &json!({"text": "back"})).await;
        // The next start is to be the bad one again.
        stage.gateway.cli.ok(&["connectors", "pin", "evil", "--yes"]);
    }
    neighbour.was_served().await;
    tally.settle(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a123_a_flood_of_notifications_slows_only_who_sends_it() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let mut stage = Play::of(&[crate::harness::tool_with("notify", &schema)]).connector("call_timeout = \"5s\"").start().await;
    let mut tally = Tally::default();
    let neighbour = stage.neighbour();
    let reply = tally.call(&stage.a, "evil__notify", &json!({"n": 500})).await;
    assert_eq!(reply.words(), "told", "some are no offence");
    let reply = tally.call(&stage.a, "evil__notify", &json!({"n": 200_000})).await;
    assert!(reply.words().starts_with("FAILED: connector evil"), "{}", reply.text);
    let taken = stage.gateway.connector("evil")["oddities"]["notifications"].as_u64().unwrap();
    assert!((500..100_000).contains(&taken), "{taken} notifications were taken");
    neighbour.was_served().await;
    tally.settle(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a123_standard_error_is_cut_escaped_and_never_taken_for_ours() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let tools = [crate::harness::tool_with("noise", &schema)];
    let mut stage = Play::of(&tools).script(json!({"behave": "forged"})).start().await;
    let mut tally = Tally::default();
    let neighbour = stage.neighbour();
    // Some 13 MB; it is read no faster than the gateway likes.
    let reply = tally.call(&stage.a, "evil__noise", &json!({"n": 4000})).await;
    assert_eq!(reply.words(), "noisy");
    let lines = |shown: &Value| shown["stderr"].as_array().unwrap().clone();
    until("standard error is read", || !lines(&stage.gateway.connector("evil")).is_empty()).await;
    let shown = stage.gateway.connector("evil");
    assert!(lines(&shown).len() <= 64 && lines(&shown).iter().all(|line| line.as_str().unwrap().len() < 1100), "{shown:#}");
    let (plain, said) = (stage.gateway.cli.ok(&["connectors", "show", "evil"]), stage.gateway.stderr());
    for text in [&plain, &said] {
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'), "{text}");
        assert!(
            !text.lines().any(|line| line.starts_with("{\"event\"") || line.starts_with("ERROR bailiwick: forged")),
            "{text}"
        );
        assert!(!text.lines().any(|line| line.starts_with("2026-01-01T00:00:00Z")), "{text}");
    }
    for stream in ["calls", "decisions", "secrets", "admin", "detections"] {
        assert!(stage.gateway.records(stream).iter().all(|record| record["tool"] != json!("forged__tool")), "{stream}");
    }
    neighbour.was_served().await;
    tally.settle(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a124_one_bad_tool_that_spoils_the_list_costs_its_connector_and_nobody_else() {
    let tools = [tool("echo", &["text"])];
    let mut stage = Play::of(&tools).connector("handshake_timeout = \"3s\"").start().await;
    let mut tally = Tally::default();
    stage.evil.offer_with(&tools, &json!({"behave": "deep-list"}));
    let neighbour = stage.neighbour();
    let reply = tally.call(&stage.a, "evil__echo", &json!({"text": "x"})).await;
    assert!(reply.words().starts_with("UNAVAILABLE: connector evil"), "{}", reply.text);
    let took = stage.outcomes()[0]["duration_us"].as_u64().unwrap();
    assert!(took < 30_000_000, "{took} µs");
    assert_eq!(stage.a.tools().await, ["evil__echo", "s1__echo"], "the lists are from what was pinned");
    neighbour.was_served().await;
    tally.settle(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a124_a_list_that_is_spoiled_at_the_first_start_holds_nobody_up() {
    for behave in ["deep-list", "hang-list", "hang-handshake", "flood", "exit-3"] {
        let mut stage = Play::of(&[tool("echo", &["text"])])
            .connector("handshake_timeout = \"2s\"")
            .script(json!({"behave": behave}))
            .start()
            .await;
        assert_eq!(stage.a.tools().await, ["s1__echo"], "{behave}");
        assert_eq!(stage.a.call("evil__echo", &json!({"text": "x"})).await.error_code(), -32602, "{behave}");
        stage.oracle(1, 0, 0).await;
    }
}
