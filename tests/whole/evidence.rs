//! Traces: they arrive, and a sick collector costs nothing but a count.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::harness::{Gateway, Script, Setup, tool};

/// A collector that keeps what it is sent; or, if sick, never answers.
async fn collector(is_sick: bool) -> (String, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let kept = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&kept);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sink = Arc::clone(&sink);
            tokio::spawn(async move {
                let mut buffer = vec![0; 65536];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    sink.lock().unwrap().extend_from_slice(&buffer[..read]);
                    if !is_sick && buffer[..read].len() < 65536 {
                        let _sent = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                    }
                }
            });
        }
    });
    (url, kept)
}

fn gateway(endpoint: Option<&str>) -> (Gateway, Script) {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"])]);
    let setup = match endpoint {
        Some(endpoint) => setup.environment("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).environment("OTEL_BSP_SCHEDULE_DELAY", "50"),
        None => setup,
    };
    let gateway = setup
        .agent("a")
        .connector("s", &script, "tools.echo = { kind = \"read\", band = \"low\" }")
        .grant("g", "a", &["s__*"], "")
        .start();
    (gateway, script)
}

async fn metric(gateway: &Gateway, row: &str) -> u64 {
    let text = reqwest::get(format!("{}/metrics", gateway.console)).await.unwrap().text().await.unwrap();
    let line = text.lines().find(|line| line.starts_with(row)).unwrap_or_else(|| panic!("{row} is not in {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_traced_and_its_context_passed_on() {
    let (url, kept) = collector(false).await;
    let (gateway, script) = gateway(Some(&url));
    let agent = gateway.agent("a");
    agent.call("s__echo", &json!({"x": "1"})).await.result();
    agent.call("s__absent", &json!({})).await;
    let wanted = ["tools/call s__echo", "bailiwick.policy.evaluate", "bailiwick.result.inspect", "unknown_tool"];
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let seen = String::from_utf8_lossy(&kept.lock().unwrap()).into_owned();
        if wanted.iter().all(|name| seen.contains(name)) {
            break;
        }
        assert!(Instant::now() < until, "{seen}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let call = &script.calls()[0];
    let sent: serde_json::Value = serde_json::from_str(call).unwrap();
    let parent = sent["params"]["_meta"]["traceparent"].as_str().unwrap();
    let trace = gateway.records("calls").into_iter().find(|record| record["event"] == "intent").unwrap()["trace_id"].clone();
    assert_eq!(parent.split('-').nth(1).unwrap(), trace.as_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_or_hung_collector_costs_a_count_and_no_time() {
    let (hung, _) = collector(true).await;
    let dead = "http://127.0.0.1:9";
    let mut times = Vec::new();
    for endpoint in [None, Some(dead), Some(hung.as_str())] {
        let (gateway, _script) = gateway(endpoint);
        let agent = gateway.agent("a");
        agent.call("s__echo", &json!({"x": "warm"})).await.result();
        let began = Instant::now();
        for n in 0..200 {
            agent.call("s__echo", &json!({"x": n.to_string()})).await.result();
        }
        times.push(began.elapsed());
        if endpoint == Some(dead) {
            let until = Instant::now() + Duration::from_secs(20);
            while metric(&gateway, "bailiwick_telemetry_items_total{bailiwick_outcome=\"failed\"}").await == 0 {
                assert!(Instant::now() < until, "nothing is counted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    // 200 calls; a blocking exporter would cost seconds for each batch.
    assert!(times[1] < times[0] * 3 + Duration::from_millis(500), "{times:?}");
    assert!(times[2] < times[0] * 3 + Duration::from_millis(500), "{times:?}");
}
