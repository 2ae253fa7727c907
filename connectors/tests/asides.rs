//! What a server says before its answer, over both carriers and in both eras: which call hears it, and what it was asked for.

use std::sync::Arc;

use bailiwick_pipeline::aside::{AsideKind, LogLevel, Overheard, Wants};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    kit::{Rig, grant, spec, until, value},
    server::{Reply, Seen, Server, Step, at, echo, events, legacy, modern},
    spec::ConnectorSpec,
};

fn wants(progress: bool, level: Option<LogLevel>) -> Wants {
    Wants { progress: progress.then(|| "\"agent\"".into()), level }
}

fn all() -> Wants {
    wants(true, Some(LogLevel::Info))
}

/// What was heard: the message of progress, the data of a log message.
fn said(heard: &mut Overheard) -> Vec<String> {
    let word = |(kind, params): (AsideKind, String)| {
        let params: Value = serde_json::from_str(&params).unwrap();
        match kind {
            AsideKind::Progress => format!("progress {}", params["message"]),
            AsideKind::Log => format!("log {}", params["data"]),
        }
    };
    heard.take().into_iter().map(word).collect()
}

#[tokio::test]
async fn over_lines_a_call_hears_what_names_it_exactly() {
    let rig = Rig::of(&["talks"]);
    for (wanted, expected, strays) in [
        (all(), vec!["progress \"x\"", "log \"said\""], 7),
        (wants(true, None), vec!["progress \"x\""], 8),
        (wants(false, Some(LogLevel::Debug)), vec!["log \"said\""], 8),
        (Wants::default(), vec![], 9),
    ] {
        let before = rig.status("x").counts;
        let (answer, mut heard) = rig.call_hearing("x", &grant("g-1"), &wanted, "").await;
        answer.unwrap();
        assert_eq!(said(&mut heard), expected);
        // What comes after the answer is read in its own time.
        until("all is counted", || rig.status("x").counts.notifications >= before.notifications + 10).await;
        until("each is counted once", || rig.status("x").counts.stray_news == before.stray_news + strays).await;
    }
}

#[tokio::test]
async fn over_lines_two_calls_at_once_hear_their_own_progress_and_no_log() {
    let rig = Arc::new(Rig::of(&["pair"]));
    let grant = grant("g-1");
    let (wanted, quiet) = (all(), wants(true, None));
    let (one, two) = tokio::join!(rig.call_hearing("x", &grant, &wanted, ""), rig.call_hearing("x", &grant, &wanted, ""));
    for (answer, mut heard) in [one, two] {
        let id = value(&answer.unwrap())["mine"].clone();
        assert_eq!(said(&mut heard), [format!("progress {id}")]);
    }
    // Where only one of both wants log messages they may still be the other's.
    let (one, two) = tokio::join!(rig.call_hearing("x", &grant, &wanted, ""), rig.call_hearing("x", &grant, &quiet, ""));
    let id = value(&one.0.unwrap())["mine"].clone();
    assert_eq!(said(&mut { one.1 }), [format!("progress {id}")]);
    assert_eq!(said(&mut { two.1 }).len(), 1);
}

#[tokio::test]
async fn who_chatters_fills_no_memory_and_delays_no_other_server() {
    let rig = Rig::new(vec![spec("x", &["chatters"]), spec("y", &["plain"])]);
    let grant = grant("g-1");
    let wanted = all();
    rig.result("y", &grant).await;
    let (talked, ()) = tokio::join!(rig.call_hearing("x", &grant, &wanted, ""), async {
        for _ in 0..20 {
            rig.result("y", &grant).await;
        }
    });
    let (answer, mut heard) = talked;
    answer.unwrap();
    let kept = heard.take().len();
    assert!(kept <= 256, "{kept}");
    assert_eq!(kept as u64 + heard.dropped(), 1500);
}

fn talk(seen: &Seen) -> Reply {
    let (id, token) = (seen.id(), seen.message()["params"]["_meta"]["progressToken"].clone());
    let progress = |token: &Value, message: &str| {
        json!({"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":token,"progress":1,"message":message}})
            .to_string()
    };
    let log = json!({"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"said"}}).to_string();
    let answer = json!({"jsonrpc":"2.0","id":id,"result":{"resultType":"complete","said":1}}).to_string();
    let other = json!(id.as_i64().unwrap() + 1);
    events(&[&progress(&token, "x"), &progress(&other, "y"), &progress(&json!(id.to_string()), "z"), &log, &answer])
}

#[tokio::test]
async fn over_http_a_call_hears_what_comes_on_its_own_stream() {
    for is_modern in [false, true] {
        let server = if is_modern { Server::new(modern(talk)).await } else { Server::new(legacy(talk)).await };
        let rig = Rig::new(vec![at("x", &server.url())]);
        for (wanted, expected) in [
            (all(), vec!["progress \"x\"", "log \"said\""]),
            (wants(true, None), vec!["progress \"x\""]),
            (wants(false, Some(LogLevel::Error)), vec!["log \"said\""]),
            (Wants::default(), vec![]),
        ] {
            let (answer, mut heard) = rig.call_hearing("x", &grant("g-1"), &wanted, "").await;
            answer.unwrap();
            assert_eq!(said(&mut heard), expected);
        }
        assert_eq!(rig.status("x").counts.stray_news, 2 + 3 + 3 + 4);
    }
}

#[tokio::test]
async fn a_server_is_asked_for_what_the_agent_wants_and_for_no_more() {
    let meta = r#""b":1.50,"a":{"n":1e400}"#;
    let server = Server::new(modern(echo)).await;
    let rig = Rig::new(vec![at("x", &server.url())]);
    for wanted in [all(), wants(true, None), wants(false, Some(LogLevel::Error)), Wants::default()] {
        rig.call_hearing("x", &grant("g-1"), &wanted, meta).await.0.unwrap();
        let call = server.calls().pop().unwrap();
        let said = &call.message()["params"]["_meta"];
        let level = wanted.level.map(|level| json!(level.as_str()));
        assert_eq!(said.get("io.modelcontextprotocol/logLevel").cloned(), level);
        assert_eq!(said.get("progressToken").cloned(), wanted.progress.as_ref().map(|_| call.id()));
        assert!(call.body.contains(&format!(",{meta}")), "{}", call.body);
        assert!(!call.body.contains("agent"), "the agent's own token goes no further: {}", call.body);
    }
    assert_eq!(server.count("logging/setLevel"), 0);
}

#[tokio::test]
async fn a_legacy_server_is_told_the_level_once_and_again_when_it_changes() {
    let server = Server::new(legacy(echo)).await;
    let (rig, grant) = (Rig::new(vec![at("x", &server.url())]), grant("g-1"));
    let levels = || -> Vec<String> {
        let told = server.seen().into_iter().filter(|seen| seen.rpc() == "logging/setLevel");
        told.map(|seen| seen.message()["params"]["level"].as_str().unwrap().to_owned()).collect()
    };
    for (wanted, expected) in [
        (Wants::default(), vec![]),
        (wants(true, None), vec![]),
        (wants(false, Some(LogLevel::Error)), vec!["error"]),
        (wants(true, Some(LogLevel::Error)), vec!["error"]),
        (Wants::default(), vec!["error"]),
        (wants(false, Some(LogLevel::Debug)), vec!["error", "debug"]),
    ] {
        rig.call_hearing("x", &grant, &wanted, "\"own\":1").await.0.unwrap();
        assert_eq!(levels(), expected);
        let call = server.calls().pop().unwrap();
        let token = if wanted.progress.is_some() { format!(",\"progressToken\":{}", call.id()) } else { String::new() };
        assert!(call.body.contains(&format!("\"_meta\":{{\"own\":1{token}}}")), "{}", call.body);
    }
    let last: Vec<_> = server.methods().into_iter().rev().take(2).collect();
    assert_eq!(last, ["tools/call", "logging/setLevel"], "the level is told before the call");
}

#[tokio::test]
async fn a_server_that_has_no_log_or_refuses_the_level_is_called_all_the_same() {
    let declared = legacy(talk);
    let silent = Server::new(move |seen: &Seen| match seen.rpc().as_str() {
        "initialize" => {
            let hello =
                json!({"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"o","version":"1"}});
            crate::server::result(&seen.id(), &hello)
        }
        _ => declared(seen),
    })
    .await;
    let declared = legacy(talk);
    let refusing = Server::new(move |seen: &Seen| match seen.rpc().as_str() {
        "logging/setLevel" => {
            let error = json!({"jsonrpc":"2.0","id":seen.id(),"error":{"code":-32603,"message":"no"}});
            crate::server::respond(200, &[crate::server::JSON], &error.to_string())
        }
        _ => declared(seen),
    })
    .await;
    for (server, times) in [(silent, 0), (refusing, 1)] {
        let (rig, grant) = (Rig::new(vec![ConnectorSpec { ..at("x", &server.url()) }]), grant("g-1"));
        for _ in 0..2 {
            let (answer, mut heard) = rig.call_hearing("x", &grant, &all(), "").await;
            answer.unwrap();
            assert_eq!(said(&mut heard), ["progress \"x\"", "log \"said\""]);
        }
        assert_eq!(server.count("logging/setLevel"), times);
    }
}

#[tokio::test]
async fn a_legacy_server_is_asked_for_what_the_most_curious_call_in_flight_wants() {
    let go = CancellationToken::new();
    let told = go.clone();
    let server = Server::new(legacy(move |seen| {
        let mut steps = vec![Step::Until(told.clone())];
        steps.extend(echo(seen));
        steps
    }))
    .await;
    let rig = Arc::new(Rig::new(vec![at("x", &server.url())]));
    let grant = grant("g-1");
    let call = |level| {
        let (rig, grant) = (Arc::clone(&rig), Arc::clone(&grant));
        tokio::spawn(async move { rig.call_hearing("x", &grant, &wants(false, Some(level)), "").await.0.map(drop) })
    };
    let levels = || -> Vec<Value> {
        let told = server.seen().into_iter().filter(|seen| seen.rpc() == "logging/setLevel");
        told.map(|seen| seen.message()["params"]["level"].clone()).collect()
    };
    let first = call(LogLevel::Debug);
    until("it is in flight", || server.calls().len() == 1).await;
    let second = call(LogLevel::Error);
    until("both are in flight", || server.calls().len() == 2).await;
    assert_eq!(levels(), ["debug"], "the first still wants to hear it");
    go.cancel();
    for ended in [first, second] {
        ended.await.unwrap().unwrap();
    }
    call(LogLevel::Error).await.unwrap().unwrap();
    assert_eq!(levels(), ["debug", "error"]);
}
