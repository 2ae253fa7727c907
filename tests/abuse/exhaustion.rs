//! Group K, rows 161 and 162: a machine that has too little of something, and connectors that drag.

use std::{net::TcpStream, time::Duration};

use serde_json::{Value, json};

use crate::harness::{Agent, Neighbour, Play, Stage, Tally, tool, tool_with, until};

/// Whether a fresh connection of agent `b` is served.
async fn serves(stage: &Stage) -> bool {
    let agent = Agent::new(&stage.gateway.url, stage.b.token());
    let body = format!(r#"{{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{{{}}}}}"#, Agent::meta());
    let request = agent.request().body(body).header("mcp-protocol-version", "2026-07-28").header("mcp-method", "tools/list");
    request.timeout(Duration::from_secs(5)).send().await.is_ok_and(|response| response.status().as_u16() == 200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a161_without_descriptors_it_refuses_and_recovers() {
    let mut stage = Play::of(&[tool("echo", &["text"])]).limits("ulimit -n 64").start().await;
    let mut tally = Tally::default();
    tally.until_served(&stage.a, "evil__echo", &json!({"text": "before"})).await;
    let address = stage.gateway.url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    let mut idle: Vec<TcpStream> = Vec::new();
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", stage.gateway.pid())).unwrap().count();
    until("every descriptor is in use", || {
        idle.extend((0..10).filter_map(|_| TcpStream::connect(&address).ok()));
        descriptors() >= 64
    })
    .await;
    // What is open goes on: nothing was taken from it.
    assert!(!tally.call(&stage.a, "evil__echo", &json!({"text": "during"})).await.is_tool_error());
    assert!(stage.gateway.is_alive());
    drop(idle);
    let (mut served, until) = (false, std::time::Instant::now() + Duration::from_mins(1));
    while !served {
        assert!(std::time::Instant::now() < until, "it does not recover");
        served = serves(&stage).await;
    }
    tally.until_served(&stage.a, "evil__echo", &json!({"text": "after"})).await;
    tally.settle(&mut stage).await;
}

/// A new process needs descriptors: without them a call is refused, and nobody else's fails.
#[tokio::test(flavor = "multi_thread")]
async fn a161_without_descriptors_no_server_is_started_and_a_call_is_refused() {
    let mut stage = Play::of(&[tool("echo", &["text"])]).with_c().limits("ulimit -n 64").start().await;
    let c = stage.gateway.agent("c");
    let mut tally = Tally::default();
    assert_eq!(c.tools().await, ["evil__echo"], "its connection is open");
    let address = stage.gateway.url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    let mut idle: Vec<TcpStream> = Vec::new();
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", stage.gateway.pid())).unwrap().count();
    until("every descriptor is in use", || {
        idle.extend((0..10).filter_map(|_| TcpStream::connect(&address).ok()));
        descriptors() >= 64
    })
    .await;
    let reply = tally.call(&c, "evil__echo", &json!({"text": "x"})).await;
    assert!(reply.words().starts_with("UNAVAILABLE: connector evil"), "{}", reply.text);
    drop(idle);
    tally.until_served(&c, "evil__echo", &json!({"text": "after"})).await;
    stage.heard(&c.heard());
    tally.settle(&mut stage).await;
}

/// A call whose answer may be that its connection is closed: a body that comes too slowly is cut off.
async fn call_or_not(agent: &Agent, name: &str, arguments: &Value) {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{name}","arguments":{arguments},{}}}}}"#,
        Agent::meta()
    );
    let request = agent.request().body(body).header("mcp-protocol-version", "2026-07-28");
    let answered = request.header("mcp-method", "tools/call").header("mcp-name", name).send().await;
    if let Ok(response) = answered {
        let status = response.status().as_u16();
        assert!([200, 408, 429, 503].contains(&status), "{status}");
        let _cut_off = response.bytes().await;
    }
}

/// Eight of the largest bodies and eight large results at once, within an address space that leaves some hundred megabytes. (Each result is
/// bounded, not yet all of them together: sixteen of 12 MB at once take more than the oracle allows.)
#[tokio::test(flavor = "multi_thread")]
async fn a161_within_a_bounded_address_space_nothing_an_agent_asks_ends_it() {
    let plain = Play::of(&[tool("echo", &["text"])]).start().await;
    let megabytes = plain.gateway.address_space() / 1_000_000 + 500;
    drop(plain);
    let schema = json!({"type": "object", "properties": {"how": {"type": "string"}, "n": {"type": "integer"}}});
    let play = Play::of(&[tool("echo", &["text"]), tool_with("big", &schema)]);
    let mut stage = play.limits(&format!("ulimit -v {}", megabytes * 1000)).start().await;
    assert!(!stage.a.call("evil__echo", &json!({"text": "before"})).await.is_tool_error());
    for _ in 0..2 {
        let calls: Vec<_> = (0..16)
            .map(|n| {
                let (agent, arguments) = match n % 2 {
                    0 => (stage.a.clone(), json!({"text": "y".repeat(4_000_000)})),
                    _ => (stage.a.clone(), json!({"how": "text", "n": 8})),
                };
                let name = if n % 2 == 0 { "evil__echo" } else { "evil__big" };
                tokio::spawn(async move { call_or_not(&agent, name, &arguments).await })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        assert!(stage.gateway.is_alive(), "it ended");
    }
    Tally::default().until_served(&stage.a, "evil__echo", &json!({"text": "after"})).await;
    let decisions = stage.decisions();
    let allowed = decisions.iter().filter(|record| record["effect"] == json!("allow")).count();
    let sent = stage.evil.calls().len();
    assert!(sent <= allowed);
    stage.oracle(decisions.len(), allowed, sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a161_a_gateway_that_was_stopped_goes_on() {
    // A connection that is idle for longer than this is closed, and the stop counts.
    let play = Play::of(&[tool("slow", &["ms"]), tool("echo", &["text"])]).top("header_timeout = \"5m\"");
    let mut stage = play.start().await;
    let mut tally = Tally::default();
    tally.until_served(&stage.a, "evil__echo", &json!({"text": "before"})).await;
    let session = stage.a.session("2025-11-25").await;
    let (agent, before) = (stage.a.clone(), stage.evil.calls().len());
    let call = tokio::spawn(async move { agent.call("evil__slow", &json!({"ms": "1000"})).await });
    until("the call is in flight", || stage.evil.calls().len() > before).await;
    stage.gateway.signal("STOP");
    // Agents ask meanwhile, and wait.
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let agent = stage.b.clone();
            tokio::spawn(async move { agent.call("s1__echo", &json!({"text": "patient"})).await })
        })
        .collect();
    // Time has to go by here: it is what is tried.
    tokio::time::sleep(Duration::from_secs(6)).await;
    stage.gateway.signal("CONT");
    let reply = call.await.unwrap();
    assert_eq!(reply.words(), "slow");
    tally.count(&reply);
    for call in waiting {
        assert!(call.await.unwrap().words().contains("patient"));
    }
    assert!(!tally.call(&session, "evil__echo", &json!({"text": "after"})).await.is_tool_error());
    tally.settle(&mut stage).await;
}

/// Calls by agent `a`, so many at once, over and over, until told to end. What each was told.
struct Storm {
    over: tokio_util::sync::CancellationToken,
    callers: Vec<tokio::task::JoinHandle<Tally>>,
}

impl Storm {
    fn of(agent: &Agent, callers: usize, name: &'static str, arguments: &Value) -> Self {
        let over = tokio_util::sync::CancellationToken::new();
        let callers = (0..callers)
            .map(|_| {
                let (agent, arguments, over) = (agent.clone(), arguments.clone(), over.clone());
                tokio::spawn(async move {
                    let mut tally = Tally::default();
                    while !over.is_cancelled() {
                        tally.call(&agent, name, &arguments).await;
                    }
                    tally
                })
            })
            .collect();
        Self { over, callers }
    }

    async fn ends(self, into: &mut Tally) {
        self.over.cancel();
        for caller in self.callers {
            into.add(&caller.await.unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a162_a_connector_that_drags_fails_or_flaps_costs_only_who_calls_it() {
    let number = json!({"type": "object", "properties": {"n": {"type": "integer"}, "how": {"type": "string"}}});
    let tools = [
        tool_with("answers", &number),
        tool("fail", &[]),
        tool("error", &[]),
        tool_with("exit", &number),
        tool("echo", &["text"]),
    ];
    let mut stage = Play::of(&tools).connector("call_timeout = \"2s\"").top("max_rate_per_agent = 0").start().await;
    let mut tally = Tally::default();
    for (name, arguments) in [
        ("evil__answers", json!({"how": "never"})),
        ("evil__fail", json!({})),
        ("evil__error", json!({})),
        ("evil__exit", json!({"n": 1})),
    ] {
        let neighbour = stage.neighbour();
        let storm = Storm::of(&stage.a, 32, name, &arguments);
        // Until it has hit: as many as call at once were sent, or refused.
        until("it is under way", || stage.outcomes().iter().filter(|record| record["tool"] == json!(name)).count() >= 32).await;
        // Another agent's calls to another connector, and this agent's own.
        for _ in 0..20 {
            assert!(stage.a.call("s1__echo", &json!({"text": "own"})).await.words().contains("own"), "{name}");
            tally.attempted += 1;
            tally.allowed += 1;
        }
        storm.ends(&mut tally).await;
        neighbour.was_served().await;
        tally.until_served(&stage.a, "evil__echo", &json!({"text": name})).await;
    }
    tally.settle_at_most(&mut stage).await;
}

/// A server that ends again and again is not called again and again: after a failure it rests, and calls are refused at once.
#[tokio::test(flavor = "multi_thread")]
async fn a162_what_fails_rests_and_calls_meanwhile_are_refused_without_it() {
    let number = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let mut stage = Play::of(&[tool_with("exit", &number), tool("echo", &["text"])]).start().await;
    let mut tally = Tally::default();
    let neighbour = Neighbour::of(&stage.b);
    for _ in 0..300 {
        tally.call(&stage.a, "evil__exit", &json!({"n": 1})).await;
    }
    assert!((1..=20).contains(&tally.sent), "{} of {} calls reached it", tally.sent, tally.attempted);
    let refused = tally.attempted - tally.allowed;
    assert!(refused >= 250, "{refused} of {} calls were refused at once", tally.attempted);
    tally.until_served(&stage.a, "evil__echo", &json!({"text": "back"})).await;
    neighbour.was_served().await;
    tally.settle_at_most(&mut stage).await;
}
