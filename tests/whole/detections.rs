//! Detections over the demo's own servers: each finds what it looks for, what follows from it is told, and it is on record.

use bailiwick_trail::Stream;
use serde_json::{Value, json};

use crate::harness::{Agent, Gateway, Setup};

const TOOLS: &str = "labels = []\n\
    tools.get_product = { kind = \"read\", band = \"low\" }\n\
    tools.search_products = { kind = \"read\", band = \"low\" }\n\
    tools.list_orders = { kind = \"read\", band = \"low\", labels = [\"confidential\"] }\n\
    tools.get_order = { kind = \"exfiltrate\", band = \"low\" }\n\
    tools.restock = { kind = \"write\", band = \"medium\" }\n\
    tools.place_order = { kind = \"write\", band = \"high\" }";

/// The demo's shop, an agent with two grants of it, and these detections.
fn shop(detections: &str) -> Setup {
    let command = format!("command = [\"{}\", \"demo-server\", \"shop\"]", env!("CARGO_BIN_EXE_bailiwick"));
    let second = "[[grants]]\nid = \"h\"\nagent = \"a\"\npurpose = \"test\"\ntools = [\"shop__*\"]\nttl = \"1h\"";
    Setup::new()
        .with("[approvals]\nhold = \"1ms\"\nallow_same_user = true")
        .with(detections)
        .agent("a")
        .agent("b")
        .with(&format!("[[connectors]]\nid = \"shop\"\npin = \"first-use\"\n{command}\n{TOOLS}"))
        .grant("g", "a", &["shop__*"], "")
        .with(second)
        .grant("of-b", "b", &["shop__*"], "")
}

fn detection(id: &str, more: &str) -> String {
    format!("[[detections]]\nid = \"{id}\"\n{more}\n")
}

async fn product(agent: &Agent, sku: &str) -> bool {
    !agent.call("shop__get_product", &json!({"sku": sku})).await.is_tool_error()
}

async fn restock(agent: &Agent, quantity: &Value) -> (bool, String) {
    let reply = agent.call("shop__restock", &json!({"sku": "MUG-1", "quantity": quantity})).await;
    (!reply.is_tool_error(), reply.text)
}

fn found(gateway: &Gateway) -> Vec<Value> {
    serde_json::from_str(&gateway.cli.ok(&["detections", "list", "--json"])).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn loops_circles_and_probing_are_refused_and_on_record() {
    let detections = [
        detection("loop", "kind = \"repeat\"\naction = \"deny\"\ncount = 4\nwindow = \"10m\""),
        detection(
            "circle",
            "kind = \"cycle\"\naction = \"deny\"\nperiod = 2\nturns = 2\nwindow = \"10m\"\ntools = [\"shop__search_products\", \"shop__list_orders\"]",
        ),
        detection("probing", "kind = \"probe\"\naction = \"deny\"\ncount = 3\nwindow = \"10m\"\nagents = [\"b\"]"),
    ];
    let gateway = shop(&detections.concat()).start();
    assert!(gateway.cli.ok(&["detections", "list"]).is_empty());
    let agent = gateway.agent("a");
    for _ in 0..3 {
        assert!(product(&agent, "MUG-1").await);
    }
    let refused = agent.call("shop__get_product", &json!({"sku": "MUG-1"})).await;
    assert!(refused.is_tool_error());
    for words in ["detection loop", "the same call 4 times within 600 s", "Not executed", "do something else"] {
        assert!(refused.words().contains(words), "{}", refused.text);
    }
    for _ in 0..5 {
        assert!(!product(&agent, "MUG-1").await);
    }
    let search = async || !agent.call("shop__search_products", &json!({"text": "mug"})).await.is_tool_error();
    let orders = async || !agent.call("shop__list_orders", &json!({"status": "placed"})).await.is_tool_error();
    assert!(search().await && orders().await && search().await);
    assert!(!orders().await);
    let prober = gateway.agent("b");
    for name in ["shop__drop_table", "admin__users", "shop__export_all"] {
        assert_eq!(prober.call(name, &json!({})).await.error_code(), -32602);
    }
    let refused = prober.call("shop__get_product", &json!({"sku": "MUG-1"})).await;
    assert!(refused.words().contains("detection probing: 3 other calls were refused"), "{}", refused.text);

    // One record for each, however often it fired; the newest is first.
    let all = found(&gateway);
    let names: Vec<&str> = all.iter().map(|one| one["detection"].as_str().unwrap()).collect();
    assert_eq!(names, ["probing", "circle", "loop"]);
    let (last, looped) = (&all[0], &all[2]);
    assert_eq!((&last["agent"], &last["grant"], &last["state"]), (&json!("b"), &json!("of-b"), &json!("deny")));
    let table = gateway.cli.ok(&["detections", "list"]);
    assert!(table.contains("circle") && table.contains("shop__list_orders"), "{table}");
    let records: Vec<Value> =
        serde_json::from_str(&gateway.cli.ok(&["audit", "tail", "--stream", "detections", "--json"])).unwrap();
    assert_eq!(records.len(), 3);
    // By the call it leads to what was decided, and by the trace to where that is seen.
    let call = looped["call"].as_str().unwrap();
    let decided: Vec<Value> =
        gateway.records(Stream::Decisions.name()).into_iter().filter(|one| one["call_id"] == call).collect();
    assert_eq!((decided.len(), &decided[0]["reason"], &decided[0]["trace_id"]), (1, &json!("detected"), &looped["trace"]));
    assert!(gateway.cli.ok(&["audit", "verify"]).contains("detections"));
    let metrics = reqwest::get(format!("{}/metrics", gateway.console)).await.unwrap().text().await.unwrap();
    assert!(
        metrics.contains("bailiwick_detections_total{bailiwick_detection_rule=\"loop\",bailiwick_detection_action=\"deny\"} 6"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_does_not_go_out_and_few_are_reached_at_once() {
    let detections = [
        detection("leak", "kind = \"read_then_send\"\naction = \"deny\"\nafter = [\"confidential\"]\nwindow = \"10m\""),
        detection("fan-out", "kind = \"fan_out\"\naction = \"observe\"\nconnectors = 2\nwindow = \"10m\""),
    ];
    let command = format!("command = [\"{}\", \"demo-server\", \"files\"]", env!("CARGO_BIN_EXE_bailiwick"));
    let files = format!(
        "[[connectors]]\nid = \"files\"\npin = \"first-use\"\nlabels = []\n{command}\ntools.list = {{ kind = \"read\", band = \"low\" }}"
    );
    let gateway = shop(&detections.concat()).with(&files).agent("c").grant("f", "c", &["files__*", "shop__*"], "").start();
    let agent = gateway.agent("a");
    let sends = async |agent: &Agent| agent.call("shop__get_order", &json!({"id": "O-502"})).await;
    let reply = sends(&agent).await;
    assert!(!reply.words().contains("detection"), "{}", reply.text);
    assert!(!agent.call("shop__list_orders", &json!({"status": "placed"})).await.is_tool_error());
    for agent in [&agent, &agent.under("h")] {
        let refused = sends(agent).await;
        assert!(refused.words().contains("detection leak"), "{}", refused.text);
    }
    let of = |name: &str| found(&gateway).into_iter().filter(|one| one["detection"] == name).collect::<Vec<_>>();
    assert_eq!(of("leak").len(), 2, "one for each task");
    let wide = gateway.agent("c");
    assert!(product(&wide, "MUG-1").await && of("fan-out").is_empty());
    assert!(!wide.call("files__list", &json!({"path": "/"})).await.is_tool_error());
    let seen = of("fan-out");
    assert_eq!((seen.len(), &seen[0]["state"], &seen[0]["agent"]), (1, &json!("observe"), &json!("c")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_a_sum_holds_for_many_at_once_over_grants_and_a_restart() {
    let sum = "kind = \"sum\"\naction = \"deny\"\nsum = { shop__restock = \"/quantity\" }\nlimit = 100\nwindow = \"24h\"";
    let gateway = shop(&detection("hoard", sum)).start();
    let agent = gateway.agent("a");
    let callers: Vec<_> = (0..64)
        .map(|number| if number % 2 == 0 { agent.under("g") } else { agent.under("h") })
        .map(|agent| tokio::spawn(async move { restock(&agent, &json!(7)).await.0 }))
        .collect();
    let mut through = 0;
    for caller in callers {
        through += usize::from(caller.await.unwrap());
    }
    assert_eq!(through, 14, "14 times 7 is 98");
    let (went, told) = restock(&agent, &json!(3)).await;
    assert!(!went && told.contains("it would come to 101 (100 within 86400 s"), "{told}");
    let gateway = gateway.kill_and_restart();
    let agent = gateway.agent("a");
    assert!(!restock(&agent.under("h"), &json!(3)).await.0, "a crash gives nothing back");
    assert!(restock(&agent, &json!(2)).await.0);
    assert!(!restock(&agent, &json!(1)).await.0);
    let intents = gateway.records("calls").into_iter().filter(|record| record["event"] == "intent");
    let amounts = intents.filter_map(|intent| intent["sums"]["amounts"]["hoard"].as_u64());
    assert_eq!(amounts.sum::<u64>(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sum_that_is_too_large_waits_for_a_person_and_the_limit_of_a_task_outlives_the_process() {
    let sum = "kind = \"sum\"\naction = \"step_up\"\nsum = { shop__restock = \"/quantity\" }\nper_task = 10";
    let gateway = shop(&detection("hoard", sum)).start();
    let agent = gateway.agent("a");
    assert!(restock(&agent, &json!(10)).await.0);
    let (gone, told) = restock(&agent, &json!(1)).await;
    assert!(!gone && told.contains("APPROVAL PENDING"), "{told}");
    let waiting: Vec<Value> = serde_json::from_str(&gateway.cli.ok(&["approvals", "list", "--json"])).unwrap();
    assert_eq!(waiting.len(), 1);
    gateway.cli.ok(&["approvals", "approve", waiting[0]["code"].as_str().unwrap(), "--yes"]);
    assert!(restock(&agent, &json!(1)).await.0, "a person said yes to exactly this");
    assert!(!restock(&agent, &json!(1)).await.0, "once");
    // Another task has its own limit.
    assert!(restock(&agent.under("h"), &json!(10)).await.0);
    let again = Gateway::again(gateway.stop());
    assert!(!restock(&again.agent("a"), &json!(1)).await.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_up_and_gives_up_detections() {
    let mut gateway = shop("").start();
    let agent = gateway.agent("a");
    for _ in 0..5 {
        assert!(product(&agent, "MUG-1").await);
    }
    let with = detection("loop", "kind = \"repeat\"\naction = \"deny\"\ncount = 2");
    let mut before = String::new();
    gateway.reconfigure(|text| {
        before = text.to_owned();
        format!("{text}\n{with}")
    });
    gateway.cli.ok(&["reload"]);
    assert!(product(&agent, "MUG-1").await);
    assert!(!product(&agent, "MUG-1").await);
    gateway.reconfigure(|_| before.clone());
    gateway.cli.ok(&["reload"]);
    assert!(product(&agent, "MUG-1").await && product(&agent, "MUG-1").await);
}
