//! Group H, row 114: servers that keep the gateway waiting.

use serde_json::{Value, json};

use crate::harness::{Play, Stage, Tally, tool};

/// How long the last call by agent `a` took by the gateway's own record, milliseconds.
fn last_took_ms(stage: &Stage) -> u64 {
    stage.outcomes().last().unwrap()["duration_us"].as_u64().unwrap() / 1000
}

/// A limit holds if nothing is given up before it, and everything soon after: "soon" for a machine that has much else to do.
fn is_about(took_ms: u64, limit_ms: u64) -> bool {
    (limit_ms * 9 / 10..limit_ms + 15_000).contains(&took_ms)
}

#[tokio::test(flavor = "multi_thread")]
async fn a114_a_handshake_that_does_not_end_is_given_up_in_time() {
    let tools = [tool("echo", &["text"])];
    let mut stage = Play::of(&tools).connector("handshake_timeout = \"2s\"").start().await;
    let mut tally = Tally::default();
    let neighbour = stage.neighbour();
    for behave in ["hang-handshake", "drip-handshake", "hang-list"] {
        stage.evil.offer_with(&tools, &json!({"behave": behave}));
        let reply = tally.call(&stage.a, "evil__echo", &json!({"text": "x"})).await;
        assert!(reply.words().starts_with("UNAVAILABLE: connector evil"), "{behave}: {}", reply.text);
        let took = last_took_ms(&stage);
        assert!(is_about(took, 2000), "{behave}: {took} ms");
        // Until its rest is over, it is refused at once, and no further server is waited for.
        let reply = tally.call(&stage.a, "evil__echo", &json!({"text": "x"})).await;
        assert!(reply.words().starts_with("UNAVAILABLE: connector evil"), "{behave}: {}", reply.text);
        stage.evil.offer(&tools);
        tally.until_served(&stage.a, "evil__echo", &json!({"text": "back"})).await;
        stage.gateway.cli.ok(&["connectors", "pin", "evil", "--yes"]);
    }
    neighbour.was_served().await;
    tally.settle(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a114_a_call_that_is_not_answered_ends_in_time_whatever_comes_meanwhile() {
    let tools = [tool("hang", &[]), tool("drip", &[]), tool("progress", &[]), tool("answers", &["how"]), tool("echo", &["text"])];
    let mut stage = Play::of(&tools).connector("call_timeout = \"2s\"").start().await;
    let mut tally = Tally::default();
    let neighbour = stage.neighbour();
    for (name, arguments) in [
        ("evil__answers", json!({"how": "never"})),
        ("evil__drip", json!({})),
        ("evil__progress", json!({})),
        ("evil__hang", json!({})),
    ] {
        let reply = tally.call(&stage.a, name, &arguments).await;
        assert!(
            reply.words().starts_with("FAILED: connector evil") && reply.words().contains("may have been"),
            "{name}: {}",
            reply.text
        );
        let took = last_took_ms(&stage);
        assert!(is_about(took, 2000), "{name}: {took} ms");
        assert_eq!(stage.outcomes().last().unwrap()["outcome"], json!("timeout"), "{name}");
        if name != "evil__answers" {
            // It is busy with what nobody waits for: a new one is to serve.
            stage.gateway.cli.ok(&["connectors", "pin", "evil", "--yes"]);
        }
        tally.until_served(&stage.a, "evil__echo", &json!({"text": name})).await;
    }
    let timeouts = |record: &&Value| record["outcome"] == json!("timeout");
    assert_eq!(stage.outcomes().iter().filter(timeouts).count(), 4);
    neighbour.was_served().await;
    tally.settle(&mut stage).await;
}
