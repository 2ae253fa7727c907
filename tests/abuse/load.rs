//! Group I, rows 134 and 139: more than anyone may ask, and sessions that nobody needs any more.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::json;

use crate::harness::{Agent, Play, Script, Setup, Stage, tool, until};

/// Calls by so many callers of one agent, until each has made so many: how many were served, and how many refused.
async fn burst(agent: &Agent, callers: usize, each: usize) -> (usize, usize) {
    let (served, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let (agent, served, refused) = (agent.clone(), Arc::clone(&served), Arc::clone(&refused));
            tokio::spawn(async move {
                for _ in 0..each {
                    let reply = agent.call("evil__echo", &json!({"text": "x"})).await;
                    match reply.status {
                        200 if !reply.is_tool_error() => served.fetch_add(1, Ordering::Relaxed),
                        429 => {
                            assert_eq!(reply.error_code(), -32600);
                            let after: u64 = reply.headers["retry-after"].to_str().unwrap().parse().unwrap();
                            assert!((1..=60).contains(&after));
                            refused.fetch_add(1, Ordering::Relaxed)
                        }
                        _ => panic!("{}: {}", reply.status, reply.text),
                    };
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    (served.load(Ordering::Relaxed), refused.load(Ordering::Relaxed))
}

/// How many calls of agent `a` to the hostile server are on record as done.
fn done(stage: &Stage) -> usize {
    let is_done = |record: &&serde_json::Value| record["tool"] == json!("evil__echo") && record["outcome"] == json!("success");
    stage.outcomes().iter().filter(is_done).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a134_one_agent_that_asks_too_much_is_told_to_wait_and_every_call_is_on_record() {
    let mut stage = Play::of(&[tool("echo", &["text"])]).top("max_rate_per_agent = 20").start().await;
    let neighbour = stage.neighbour_at_leisure();
    let (served, refused) = burst(&stage.a, 16, 100).await;
    assert!(served >= 40 && refused > 500, "{served} served, {refused} refused");
    assert_eq!(done(&stage), served, "each served call is on record, and no other");
    assert_eq!(stage.evil.calls().len(), served);
    // Refusals are on record up to a quota, so that they don't fill it; each that is has its decision.
    let limited = stage.outcomes().iter().filter(|record| record["outcome"] == json!("rate_limited")).count();
    assert!((60..=240).contains(&limited) && limited <= refused, "{limited} of {refused} refusals are on record");
    neighbour.was_served().await;
    let decisions = stage.decisions().len();
    assert_eq!(decisions, served + stage.outcomes().iter().filter(|record| record["outcome"] == json!("rate_limited")).count());
    stage.oracle(decisions, served, served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a134_at_once_one_agent_has_so_many_and_others_have_theirs() {
    let mut stage = Play::of(&[tool("answers", &["how"]), tool("echo", &["text"])])
        .top("max_calls_per_agent = 8\nmax_rate_per_agent = 0")
        .connector("call_timeout = \"5s\"")
        .start()
        .await;
    let neighbour = stage.neighbour();
    let hanging: Vec<_> = (0..8)
        .map(|_| {
            let agent = stage.a.clone();
            tokio::spawn(async move { agent.call("evil__answers", &json!({"how": "never"})).await })
        })
        .collect();
    until("all places are taken", || stage.evil.calls().len() == 8).await;
    let reply = stage.a.call("evil__echo", &json!({"text": "one more"})).await;
    assert_eq!(reply.status, 429, "{}", reply.text);
    assert!(reply.headers.contains_key("retry-after"));
    for call in hanging {
        assert!(call.await.unwrap().words().starts_with("FAILED"));
    }
    assert!(!stage.a.call("evil__echo", &json!({"text": "after"})).await.is_tool_error());
    neighbour.was_served().await;
    stage.oracle(10, 9, 9).await;
}

/// Ten thousand agents would be ten thousand lines of configuration; sixty at once are as many as `bailiwick agents token` makes in
/// bearable time, and find the same: nobody's rate is another's, and every call is on record.
#[tokio::test(flavor = "multi_thread")]
async fn a134_many_agents_with_one_call_each_are_all_served_and_recorded() {
    const AGENTS: usize = 60;
    let mut setup = Setup::new().with("max_rate_per_agent = 1");
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["text"])]);
    let mut grants = String::new();
    for n in 0..AGENTS {
        setup = setup.agent(&format!("a{n}"));
        let _infallible = write!(
            grants,
            "[[grants]]\nid = \"g{n}\"\nagent = \"a{n}\"\npurpose = \"test\"\ntools = [\"s__*\"]\ndefault = true\nttl = \"1h\"\n"
        );
    }
    let gateway =
        setup.connector("s", &script, "shared = true\ntools.echo = { kind = \"read\", band = \"low\" }").with(&grants).start();
    let agents: Vec<Agent> = (0..AGENTS).map(|n| gateway.agent(&format!("a{n}"))).collect();
    let calls: Vec<_> = agents
        .into_iter()
        .enumerate()
        .map(|(n, agent)| tokio::spawn(async move { (n, agent.call("s__echo", &json!({"text": n.to_string()})).await) }))
        .collect();
    for call in calls {
        let (n, reply) = call.await.unwrap();
        assert_eq!(reply.words(), json!({"text": n.to_string()}).to_string());
    }
    let records = gateway.records("calls");
    for n in 0..AGENTS {
        let is_done =
            |record: &&serde_json::Value| record["agent"] == json!(format!("a{n}")) && record["outcome"] == json!("success");
        assert_eq!(records.iter().filter(is_done).count(), 1, "a{n}");
    }
    assert!(gateway.cli.ok(&["audit", "verify"]).contains("OK"));
}

/// The row's 100,000, scaled to what a slow machine opens in some seconds: the share of one agent, four times over.
#[tokio::test(flavor = "multi_thread")]
async fn a139_sessions_that_are_left_behind_are_capped_end_and_leave_nothing() {
    let top = "max_rate_per_agent = 0\nmax_sessions = 4000\nsession_idle = \"2s\"";
    let mut stage = Play::of(&[tool("echo", &["text"])]).top(top).start().await;
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}"#;
    let (opened, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut rounds = Vec::new();
    for round in 0..3 {
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let (agent, opened, refused) = (stage.a.clone(), Arc::clone(&opened), Arc::clone(&refused));
                tokio::spawn(async move {
                    for _ in 0..500 {
                        let reply = agent.post(hello, &[]).await;
                        match reply.status {
                            200 => opened.fetch_add(1, Ordering::Relaxed),
                            503 => refused.fetch_add(1, Ordering::Relaxed),
                            status => panic!("{status}: {}", reply.text),
                        };
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
        // Another agent has room, whatever this one holds.
        stage.b.session("2025-11-25").await;
        // Idle for long enough, they make room, all of them.
        let mut last = stage.a.post(hello, &[]).await.status;
        let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
        while last != 200 {
            assert!(std::time::Instant::now() < deadline, "round {round}: they never end");
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            last = stage.a.post(hello, &[]).await.status;
        }
        rounds.push(stage.gateway.memory());
    }
    let (opened, refused) = (opened.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
    assert!(opened >= 1000 && opened + refused == 12_000, "{opened} opened, {refused} refused");
    // What a round leaves behind is nothing: later ones end where the first did.
    let grown = rounds[2].saturating_sub(rounds[0]);
    assert!(grown < 30 * 1024 * 1024, "resident after each round: {rounds:?}");
    let recorded = stage.decisions().len();
    let refusals = stage.outcomes().iter().filter(|record| record["outcome"] != json!("success")).count();
    assert_eq!(recorded, refusals);
    stage.oracle(recorded, 0, 0).await;
}
