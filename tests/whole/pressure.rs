//! An agent that asks too much, or reads too little, costs the gateway little and others nothing.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::harness::{Agent, Gateway, Script, Setup, tool};

/// Agents `a` and `b`, and the tool `s__echo`.
fn start(server: &str) -> Gateway {
    let setup = Setup::new().with(server);
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"])]);
    setup
        .agent("a")
        .agent("b")
        .connector("s", &script, "tools.echo = { kind = \"read\", band = \"low\" }")
        .grant("ga", "a", &["s__*"], "")
        .grant("gb", "b", &["s__*"], "")
        .start()
}

/// A connection that takes in only a little at a time.
async fn connect(gateway: &Gateway) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(address(gateway).parse().unwrap()).await.unwrap()
}

fn address(gateway: &Gateway) -> &str {
    gateway.url.strip_prefix("http://").unwrap().split('/').next().unwrap()
}

/// The head of a call, by hand.
fn head(gateway: &Gateway, agent: &Agent, length: usize) -> String {
    format!(
        "POST /mcp HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: s__echo\r\n\r\n",
        address(gateway),
        agent.token()
    )
}

/// Asks for an answer of so many bytes and a few more; returns once it has begun.
async fn ask_for(bytes: usize, gateway: &Gateway, agent: &Agent) -> TcpStream {
    let arguments = json!({"x": "y".repeat(bytes)});
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"s__echo","arguments":{arguments},{}}}}}"#,
        Agent::meta()
    );
    let mut stream = connect(gateway).await;
    stream.write_all(head(gateway, agent, body.len()).as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut begun = [0; 15];
    stream.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 200 OK");
    stream
}

/// Waits until the agent's list is answered with this status.
async fn list_until(agent: &Agent, status: u16) {
    let until = Instant::now() + Duration::from_secs(20);
    while agent.list().await.status != status {
        assert!(Instant::now() < until, "no {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A request of which only the head and one byte came, and which holds the agent's only place. A list that is asked meanwhile may
/// have taken the place first; then the request waits among those that have places apart, and another is tried.
async fn slow_request_with_a_place(gateway: &Gateway, agent: &Agent) -> TcpStream {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let mut slow = slow_request(gateway, agent).await;
        let mut answered = [0; 1];
        for _ in 0..10 {
            if tokio::time::timeout(Duration::from_millis(20), slow.read(&mut answered)).await.is_ok() {
                break;
            }
            if agent.list().await.status == 429 {
                return slow;
            }
        }
        assert!(Instant::now() < until, "no 429, or the place is never free");
    }
}

/// A request of which only the head and one byte came.
async fn slow_request(gateway: &Gateway, agent: &Agent) -> TcpStream {
    let mut slow = connect(gateway).await;
    slow.write_all(format!("{}{{", head(gateway, agent, 100)).as_bytes()).await.unwrap();
    slow
}

fn outcomes(gateway: &Gateway, outcome: &str) -> Vec<Value> {
    gateway.records("calls").into_iter().filter(|record| record["outcome"] == outcome).collect()
}

/// Review H7: answers that nobody read stayed in memory for ever, and held no place.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_reads_holds_its_agents_place_and_ends() {
    let gateway = start("max_calls_per_agent = 1\nidle_timeout = \"2s\"\nmax_body = \"16MiB\"");
    let (a, b) = (gateway.agent("a"), gateway.agent("b"));
    // More than the kernel keeps for a connection (`tcp_wmem`: 4 MiB).
    let mut unread = ask_for(8_000_000, &gateway, &a).await;
    let reply = a.list().await;
    assert_eq!((reply.status, reply.headers["retry-after"].as_bytes()), (429, &b"1"[..]), "{}", reply.text);
    assert_eq!(b.list().await.status, 200, "another agent has places of its own");
    // It is given up, and what waited in memory with it.
    list_until(&a, 200).await;
    let mut rest = Vec::new();
    let _reset = unread.read_to_end(&mut rest).await;
    assert!(rest.len() < 8_000_000, "{} bytes were read of an answer that was given up", rest.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_read_slowly_arrives() {
    let gateway = start("idle_timeout = \"1s\"\nheader_timeout = \"1s\"");
    let mut stream = ask_for(3_000_000, &gateway, &gateway.agent("a")).await;
    let (mut part, mut read, began) = (vec![0; 100_000], 0, Instant::now());
    while read < 3_000_000 {
        let more = stream.read(&mut part).await.unwrap();
        assert!(more > 0, "it ended after {read} bytes and {:?}", began.elapsed());
        read += more;
        if began.elapsed() < Duration::from_secs(3) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Review H7: a place was only taken for `tools/*`, and only once the body was there.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_taken_before_the_body_is_read_and_for_every_method() {
    let gateway = start("max_calls_per_agent = 1");
    let agent = gateway.agent("a");
    let slow = slow_request_with_a_place(&gateway, &agent).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for (method, status) in [(reqwest::Method::GET, 429), (reqwest::Method::PUT, 429), (reqwest::Method::DELETE, 404)] {
        let reply = Agent::send(http.request(method.clone(), &gateway.url).bearer_auth(agent.token())).await;
        assert_eq!(reply.status, status, "{method}");
    }
    // What is no request has places apart: it may be what a request waits for. They are few, and taken before the body is read, too.
    assert_eq!(agent.post(r#"{"jsonrpc":"2.0","method":"notifications/x"}"#, &[]).await.status, 400, "no session");
    let notice = r#"{"jsonrpc":"2.0","method":"notifications/x"}"#;
    let until = Instant::now() + Duration::from_secs(20);
    let mut aside = Vec::new();
    // One that came while another notification had the last place was turned away, so there may be more than four.
    while agent.post(notice, &[]).await.status != 429 {
        assert!(Instant::now() < until, "there is no end of places");
        aside.push(slow_request(&gateway, &agent).await);
    }
    assert!(aside.len() >= 4, "{} are four places", aside.len());
    drop(aside);
    // Whoever goes away before his request is whole is on record too, and leaves his place: this one, and the four.
    drop(slow);
    list_until(&agent, 200).await;
    let until = Instant::now() + Duration::from_secs(20);
    while agent.post(notice, &[]).await.status != 400 {
        assert!(Instant::now() < until, "a place was not left");
    }
    // More than five where a busy machine let the first be tried twice.
    let left = |record: &Value| record["method"] == "unread" && (record["reason"] == "gone" || record["reason"] == "body");
    while gateway.records("calls").iter().filter(|record| left(record)).count() < 5 {
        assert!(Instant::now() < until, "it is not on record");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Attack 134, review M1.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_has_a_rate_and_its_refusals_do_not_fill_the_trail() {
    let gateway = start("max_rate_per_agent = 5");
    let (a, b) = (gateway.agent("a"), gateway.agent("b"));
    let (mut passed, mut refused) = (0, 0);
    let began = Instant::now();
    for _ in 0..300 {
        let reply = a.list().await;
        match reply.status {
            200 => passed += 1,
            429 => {
                assert_eq!((reply.headers["retry-after"].as_bytes(), reply.error_code()), (&b"1"[..], -32600));
                refused += 1;
            }
            status => panic!("{status}: {}", reply.text),
        }
    }
    let due = 10 + 5 * (began.elapsed().as_secs() + 1);
    assert!((10..=due).contains(&passed), "{passed} passed in {:?}", began.elapsed());
    assert_eq!(b.list().await.status, 200, "another agent has a rate of its own");
    let recorded = outcomes(&gateway, "rate_limited");
    assert!(recorded.iter().all(|record| record["agent"] == "a" && record["reason"] == "too_many_requests"), "{recorded:?}");
    // Sixty in a minute, which may have turned meanwhile.
    assert!(refused > 200 && (60..=120).contains(&recorded.len()), "{refused} refused, {} on record", recorded.len());
    list_until(&a, 200).await;
}

/// Attack 139: sessions are one agent's share at most, and their ends make room.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_opened_and_left_are_a_share_at_most() {
    let gateway = start("max_sessions = 40");
    let (a, b) = (gateway.agent("a"), gateway.agent("b"));
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}"#;
    let mut open = Vec::new();
    for _ in 0..50 {
        let reply = a.post(hello, &[]).await;
        if reply.status == 200 {
            open.push(reply.headers["mcp-session-id"].to_str().unwrap().to_owned());
        }
    }
    assert_eq!(open.len(), 10);
    b.session("2025-11-25").await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let close = http.delete(&gateway.url).bearer_auth(a.token()).header("mcp-session-id", &open[0]);
    assert_eq!(Agent::send(close).await.status, 204);
    assert_eq!(a.post(hello, &[]).await.status, 200);
    assert_eq!(a.post(hello, &[]).await.status, 503);
}
