//! Group H over HTTP: the same misbehaviour by a server that is no child, in both eras; and what only HTTP can do.

use serde_json::{Value, json};

use crate::harness::{Play, Stage, Tally, tool};

const ERAS: [&str; 2] = ["modern", "legacy"];

async fn stage(era: &str, connector: &str) -> Stage {
    Play::of(&[tool("web", &["how"]), tool("echo", &["text"])])
        .http()
        .connector(connector)
        .script(json!({"era": era}))
        .start()
        .await
}

/// Each of these answers is refused, the server is served again after it, and nothing of it is heard.
async fn all_refused(era: &str, hows: &[&str], timeout: &str) {
    let mut stage = stage(era, &format!("call_timeout = \"{timeout}\"")).await;
    let mut tally = Tally::default();
    let neighbour = stage.neighbour();
    assert_eq!(tally.until_served(&stage.a, "evil__web", &json!({"how": "good"})).await.words(), "passed");
    for how in hows {
        let reply = tally.call(&stage.a, "evil__web", &json!({"how": how})).await;
        assert!(reply.is_tool_error(), "{era} {how}: {}", reply.text.chars().take(500).collect::<String>());
        let is_ours =
            |words: &str| words.starts_with("FAILED: connector evil") || words.starts_with("UNAVAILABLE: connector evil");
        assert!(is_ours(&reply.words()), "{era} {how}: {}", reply.text);
        assert!(!reply.text.contains("passed") && !reply.text.contains("forged"), "{era} {how}: {}", reply.text);
        tally.until_served(&stage.a, "evil__echo", &json!({"text": how})).await;
    }
    neighbour.was_served().await;
    assert_eq!(stage.http.as_ref().unwrap().led_astray(), [""; 0], "nobody goes where it sends them");
    tally.settle(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a113_over_http_what_is_no_message_is_no_answer() {
    for era in ERAS {
        let hows = [
            "garbage",
            "no-http",
            "truncated",
            "close",
            "batch",
            "twice-a-key",
            "bom",
            "utf16",
            "html",
            "empty",
            "accepted",
            "error-500",
            "result-500",
        ];
        all_refused(era, &hows, "20s").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a113_a120_over_http_floods_and_giants_are_cut() {
    for era in ERAS {
        all_refused(era, &["flood", "flood-event", "huge", "many-headers", "deep", "blocks", "gzip"], "30s").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a114_over_http_what_keeps_waiting_is_given_up() {
    for era in ERAS {
        all_refused(era, &["hang", "hang-body", "drip", "drip-head", "drip-event", "event-hangs", "event-progress"], "2s").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a117_over_http_another_id_is_no_answer() {
    for era in ERAS {
        all_refused(era, &["unknown-id", "string-id", "float-id", "null-id", "earlier-id", "event-ends"], "20s").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a117_a118_over_http_what_comes_beside_the_answer_is_counted_and_not_heard() {
    for era in ERAS {
        let mut stage = stage(era, "").await;
        let mut tally = Tally::default();
        for how in ["good-event", "event-forged", "event-twice", "event-asks"] {
            let reply = tally.call(&stage.a, "evil__web", &json!({"how": how})).await;
            assert_eq!(reply.words(), "passed", "{era} {how}: {}", reply.text);
            assert!(!reply.text.contains("forged") && !reply.text.contains("password"), "{era} {how}: {}", reply.text);
        }
        let oddities = stage.gateway.connector("evil")["oddities"].clone();
        let count = |kind: &str| oddities[kind].as_u64().unwrap_or_default();
        assert!(count("server_requests") == 4 && count("unknown_ids") + count("second_answers") >= 4, "{era}: {oddities}");
        assert!(!stage.benign.calls().iter().any(|line| line.contains("from the server")));
        tally.settle(&mut stage).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a119_over_http_a_result_that_asks_for_input_does_not_pass() {
    for era in ERAS {
        all_refused(era, &["input"], "20s").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a123_over_http_a_hundred_thousand_notifications_cost_only_their_call() {
    for era in ERAS {
        all_refused(era, &["event-notifications"], "20s").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a108_a109_a114_over_http_nobody_is_led_elsewhere() {
    for era in ERAS {
        all_refused(
            era,
            &["redirect-302", "redirect-303", "redirect-307", "redirect-308", "metadata-401", "link-local-401"],
            "10s",
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a127_over_http_an_agent_that_goes_away_has_cancelled_its_call() {
    for era in ERAS {
        let mut stage = stage(era, "").await;
        let agent = stage.a.clone();
        let call = tokio::spawn(async move { agent.call("evil__web", &json!({"how": "hang"})).await });
        crate::harness::until("the call is in flight", || stage.evil.calls().len() == 1).await;
        call.abort();
        let ended = |stage: &Stage| -> Vec<Value> {
            let of_tool = |record: &&Value| record["tool"] == json!("evil__web");
            stage.outcomes().iter().filter(of_tool).map(|record| record["outcome"].clone()).collect()
        };
        crate::harness::until("it is on record", || ended(&stage) == [json!("cancelled")]).await;
        assert!(!stage.a.call("evil__echo", &json!({"text": "next"})).await.is_tool_error());
        stage.oracle(2, 2, 2).await;
    }
}
