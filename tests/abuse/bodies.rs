//! Group C: what a body claims to be, and how long it says it is.

use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::harness::{Agent, Play, Stage, Wire, bare_head, head, tool};

const MIB: usize = 1024 * 1024;
const MIRRORS: &str = "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: evil__count\r\n";

/// A call whose message has exactly so many bytes.
fn sized(bytes: usize) -> String {
    let around = |text: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"evil__count","arguments":{{"text":"{text}"}},{}}}}}"#,
            Agent::meta()
        )
    };
    around(&"x".repeat(bytes - around("").len()))
}

/// A request that is sent in chunks of this size, without a length.
fn chunked(body: &str, size: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for chunk in body.as_bytes().chunks(size) {
        all.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        all.extend(chunk);
        all.extend(b"\r\n");
    }
    all.extend(b"0\r\n\r\n");
    all
}

async fn stage() -> Stage {
    Play::of(&[tool("count", &["text"])]).top("header_timeout = \"2s\"").start().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a52_only_plain_json_is_read() {
    let mut stage = stage().await;
    let body = sized(400);
    let own = format!("authorization: Bearer {}\r\n{MIRRORS}", stage.a.token());
    let types = [
        "content-type: text/plain\r\n",
        "content-type: multipart/form-data; boundary=x\r\n",
        "content-type: application/x-www-form-urlencoded\r\n",
        "content-type: application/json; charset=utf-16\r\n",
        "content-type: application/json; charset=utf-7\r\n",
        "content-type: application/json; charset=utf-8; charset=utf-16\r\n",
        "content-type: application/json, text/plain\r\n",
        "content-type: application/jsonx\r\n",
        "content-type: application/json+x\r\n",
        "content-type: text/json\r\n",
        "content-type:\r\n",
        "",
        "content-type: application/json\r\ncontent-type: application/json\r\n",
        "content-type: application/json\r\ncontent-type: text/plain\r\n",
        "content-type: application/json\r\ncontent-encoding: gzip\r\n",
        "content-type: application/json\r\ncontent-encoding: identity\r\n",
        "content-type: application/json\r\ncontent-encoding: br\r\n",
        "content-type: application/json\r\ncontent-encoding:\r\n",
    ];
    for kind in types {
        let mut wire = Wire::open(&stage.a);
        wire.say(
            &[bare_head(&stage.a, &format!("{own}{kind}content-length: {}\r\n", body.len())).as_bytes(), body.as_bytes()]
                .concat(),
        );
        let reply = wire.reply().unwrap();
        assert_eq!(reply.status, 415, "{kind}: {}", reply.body);
    }
    for kind in ["content-type: application/json; charset=utf-8\r\n", "Content-Type: APPLICATION/JSON;charset=\"UTF-8\"\r\n"] {
        let mut wire = Wire::open(&stage.a);
        wire.say(
            &[bare_head(&stage.a, &format!("{own}{kind}content-length: {}\r\n", body.len())).as_bytes(), body.as_bytes()]
                .concat(),
        );
        assert_eq!(wire.reply().unwrap().status, 200, "{kind}");
    }
    stage.oracle(types.len() + 2, 2, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a52_a_packed_body_is_never_unpacked() {
    let mut stage = stage().await;
    // 20 MiB of spaces in 20 KiB, packed by another program, as nothing of ours can.
    let packed = std::process::Command::new("python3")
        .args(["-c", "import gzip,base64;print(base64.b64encode(gzip.compress(b' '*(20<<20),9)).decode())"])
        .output()
        .unwrap();
    let packed = STANDARD.decode(String::from_utf8_lossy(&packed.stdout).trim()).unwrap();
    assert!(packed.len() > 1000);
    let before = stage.gateway.peak_memory();
    let reply = Wire::ask(&stage.a, &format!("{MIRRORS}content-encoding: gzip\r\n"), &packed);
    assert_eq!(reply.status, 415);
    // And without saying so, it is no JSON.
    assert_eq!(Wire::ask(&stage.a, MIRRORS, &packed).error_code(), Some(-32700));
    let utf16: Vec<u8> = sized(400).encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(Wire::ask(&stage.a, MIRRORS, &utf16).error_code(), Some(-32700));
    let codings = [
        "gzip, chunked",
        "deflate,chunked",
        "x, chunked",
        "chunked, chunked",
        "identity, chunked",
        "gzip\r\ntransfer-encoding: chunked",
        "chunked\r\ntransfer-encoding: chunked",
    ];
    for coding in codings {
        let mut wire = Wire::open(&stage.a);
        wire.say(
            &[head(&stage.a, &format!("{MIRRORS}transfer-encoding: {coding}\r\n")).into_bytes(), chunked(&sized(400), 100)]
                .concat(),
        );
        let reply = wire.reply();
        assert!(reply.as_ref().is_none_or(|reply| [400, 415].contains(&reply.status)), "{coding}: {reply:?}");
    }
    assert!(stage.gateway.peak_memory() < before + 16 * MIB as u64);
    // What the HTTP parser itself refuses reaches no record.
    let seen = stage.decisions().len();
    assert!(seen >= 3 && seen <= 3 + codings.len());
    stage.oracle(seen, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a53_a_body_may_have_four_mebibytes_and_not_a_byte_more() {
    let mut stage = stage().await;
    for size in [4 * MIB - 1, 4 * MIB] {
        let reply = Wire::ask(&stage.a, MIRRORS, sized(size).as_bytes());
        assert_eq!(reply.status, 200, "{size}: {}", reply.body);
        let mut wire = Wire::open(&stage.a);
        wire.say(
            &[head(&stage.a, &format!("{MIRRORS}transfer-encoding: chunked\r\n")).into_bytes(), chunked(&sized(size), 8192)]
                .concat(),
        );
        assert_eq!(wire.reply().unwrap().status, 200, "{size}, in chunks");
    }
    for size in [4 * MIB + 1, 5 * MIB, 64 * MIB] {
        let mut wire = Wire::open(&stage.a);
        let body = sized(size);
        let said =
            wire.say(&[head(&stage.a, &format!("{MIRRORS}content-length: {size}\r\n")).as_bytes(), body.as_bytes()].concat());
        let reply = wire.reply();
        assert!(reply.as_ref().map_or(!said || size > 5 * MIB, |reply| reply.status == 413), "{size}: {reply:?}");
        let mut wire = Wire::open(&stage.a);
        let said = wire.say(
            &[head(&stage.a, &format!("{MIRRORS}transfer-encoding: chunked\r\n")).into_bytes(), chunked(&body, 8192)].concat(),
        );
        let reply = wire.reply();
        assert!(reply.as_ref().map_or(!said || size > 5 * MIB, |reply| reply.status == 413), "{size}, in chunks: {reply:?}");
    }
    assert!(stage.gateway.peak_memory() < 160 * MIB as u64, "{} bytes", stage.gateway.peak_memory());
    stage.oracle(10, 4, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a53_chunks_of_one_byte_cost_no_more_than_their_bytes() {
    let mut stage = stage().await;
    let idle = stage.gateway.peak_memory();
    let body = sized(3 * MIB);
    let whole = [head(&stage.a, &format!("{MIRRORS}transfer-encoding: chunked\r\n")).into_bytes(), chunked(&body, 1)].concat();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut wire = Wire::open(&stage.a);
                // Slower than the 2 s that a body may take counts as too slow: that is an answer too.
                wire.say(&whole);
                let reply = wire.reply();
                assert!(reply.is_none_or(|reply| [200, 408].contains(&reply.status)));
            });
        }
    });
    let grown = stage.gateway.peak_memory() - idle;
    assert!(
        grown < 96 * MIB as u64,
        "four bodies of 3 MiB in chunks of one byte took {} MiB in {:?}",
        grown / MIB as u64,
        began.elapsed()
    );
    // Small ones come through.
    let mut wire = Wire::open(&stage.a);
    wire.say(
        &[head(&stage.a, &format!("{MIRRORS}transfer-encoding: chunked\r\n")).into_bytes(), chunked(&sized(20_000), 1)].concat(),
    );
    assert_eq!(wire.reply().unwrap().status, 200);
    let allowed = stage.decisions().iter().filter(|record| record["effect"] == json!("allow")).count();
    stage.oracle(5, allowed, allowed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a53_values_in_great_number_cost_little_more_than_their_bytes() {
    let open = crate::harness::tool_with("count", &json!({"type": "object", "properties": {"text": {}}}));
    let mut stage = Play::of(&[open]).start().await;
    let filled = |text: String| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"evil__count","arguments":{{"text":{text}}},{}}}}}"#,
            Agent::meta()
        )
    };
    let numbers = filled(format!("[{}1]", "1,".repeat(2 * MIB - 300)));
    let objects = filled(format!("[{}{{}}]", "{},".repeat(4 * MIB / 3 - 300)));
    let keys = filled(format!("{{{}}}", (0..330_000).map(|at| format!("\"{at:x}\":1")).collect::<Vec<_>>().join(",")));
    std::thread::scope(|scope| {
        for body in [&numbers, &objects, &keys, &numbers] {
            let agent = &stage.a;
            scope.spawn(move || assert_eq!(Wire::ask(agent, MIRRORS, body.as_bytes()).status, 413));
        }
    });
    // What an agent may well have to say passes, and commas in a string are no values.
    let table = filled(format!("[{}[]]", "[1,2.5,\"x\",null],".repeat(18_000)));
    let prose = filled(format!("\"{}\"", r#"a,b,[c],{d},\","#.repeat(100_000)));
    for body in [&table, &prose] {
        let reply = Wire::ask(&stage.a, MIRRORS, body.as_bytes());
        assert_eq!(reply.status, 200, "{}", reply.body);
        assert!(reply.body.contains("\"structuredContent\""), "{}", reply.body);
    }
    stage.oracle(6, 2, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a53_many_bodies_at_once_are_not_all_kept() {
    let mut stage = stage().await;
    let body = sized(4 * MIB);
    let request =
        [head(&stage.a, &format!("{MIRRORS}content-length: {}\r\n", body.len())).as_bytes(), &body.as_bytes()[..body.len() - 1]]
            .concat();
    // All but the last byte, on many connections.
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut open: Vec<Wire> = (0..12).map(|_| Wire::open(&stage.a)).collect();
                for wire in &mut open {
                    wire.say(&request);
                }
                for mut wire in open {
                    let reply = wire.reply();
                    assert!(reply.as_ref().is_none_or(|reply| [408, 429, 503].contains(&reply.status)), "{reply:?}");
                }
            });
        }
    });
    let seen = stage.decisions().len();
    stage.oracle(seen, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a53_a_length_that_lies_ends_the_connection_and_nothing_else() {
    let mut stage = stage().await;
    let body = sized(2000);
    // Too short: what is left over is no request of its own.
    let inner = format!("{}{}", head(&stage.a, &format!("{MIRRORS}content-length: {}\r\n", body.len())), body);
    let mut wire = Wire::open(&stage.a);
    wire.say(
        &[head(&stage.a, &format!("{MIRRORS}content-length: {}\r\n", body.len() - 500)).as_bytes(), body.as_bytes()].concat(),
    );
    let reply = wire.reply().unwrap();
    assert_eq!((reply.status, reply.error_code()), (400, Some(-32700)), "{}", reply.body);
    let rest = wire.reply();
    assert!(rest.is_none_or(|rest| rest.status == 400), "the rest of a body is no request");
    // Too long: it is waited for, and not for ever.
    let mut wire = Wire::open(&stage.a);
    let began = Instant::now();
    wire.say(
        &[head(&stage.a, &format!("{MIRRORS}content-length: {}\r\n", body.len() + 500)).as_bytes(), body.as_bytes()].concat(),
    );
    assert_eq!(wire.reply().unwrap().status, 408);
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    // Far too long, with nothing behind it; and cut off.
    let mut wire = Wire::open(&stage.a);
    wire.say(head(&stage.a, &format!("{MIRRORS}content-length: {}\r\n", u64::MAX)).as_bytes());
    let reply = wire.reply();
    assert!(reply.as_ref().is_none_or(|reply| reply.status >= 400), "{reply:?}");
    let mut wire = Wire::open(&stage.a);
    wire.say(
        &[head(&stage.a, &format!("{MIRRORS}content-length: {}\r\n", body.len())).as_bytes(), &body.as_bytes()[..100]].concat(),
    );
    drop(wire);
    // Two lengths, none that is one, a length beside chunks: one reading, or none. Never does a second call come out of one.
    let odd = [
        format!("content-length: {}\r\ncontent-length: {}\r\n", body.len(), body.len() - 500),
        format!("content-length: {}, {}\r\n", body.len(), body.len() - 500),
        format!("content-length: +{}\r\n", body.len()),
        "content-length: -1\r\n".to_owned(),
        "content-length: 0x10\r\n".to_owned(),
        "transfer-encoding: identity\r\n".to_owned(),
        "transfer-encoding: chunked, identity\r\n".to_owned(),
        "transfer-encoding: xchunked\r\n".to_owned(),
        "transfer-encoding : chunked\r\n".to_owned(),
        "content-length: 5\r\ntransfer-encoding: xchunked\r\n".to_owned(),
    ];
    for headers in &odd {
        let mut wire = Wire::open(&stage.a);
        wire.say(&[head(&stage.a, &format!("{MIRRORS}{headers}")).as_bytes(), body.as_bytes(), inner.as_bytes()].concat());
        let reply = wire.reply();
        assert!(reply.as_ref().is_none_or(|reply| reply.status >= 400), "{headers}: {reply:?}");
    }
    assert_eq!(stage.evil.calls().len(), 0);
    let deadline = Instant::now() + Duration::from_mins(1);
    while stage.decisions().len() < 3 {
        assert!(Instant::now() < deadline, "{:#?}", stage.decisions());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let seen = stage.decisions().len();
    assert!(stage.decisions().iter().all(|record| record["effect"] == json!("deny")));
    stage.oracle(seen, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a53_chunks_that_lie_are_refused() {
    let mut stage = stage().await;
    let bodies: [&[u8]; 8] = [
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"-1\r\n{}\r\n0\r\n\r\n",
        b"ffffffffffffffff1\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}{}\r\n0\r\n\r\n",
        b"2 2\r\n{}\r\n0\r\n\r\n",
        b"0x2\r\n{}\r\n0\r\n\r\n",
        b"\r\n{}\r\n0\r\n\r\n",
        b"2\n{}\n0\n\n",
    ];
    for body in bodies {
        let mut wire = Wire::open(&stage.a);
        wire.say(&[head(&stage.a, &format!("{MIRRORS}transfer-encoding: chunked\r\n")).as_bytes(), body].concat());
        let reply = wire.reply();
        assert!(reply.as_ref().is_none_or(|reply| reply.status >= 400), "{}: {reply:?}", String::from_utf8_lossy(body));
    }
    // Beside a length, chunks are what counts, and the connection carries nothing after.
    let mut wire = Wire::open(&stage.a);
    let smuggled = format!("{}{}", head(&stage.a, &format!("{MIRRORS}content-length: {}\r\n", sized(400).len())), sized(400));
    wire.say(
        &[
            head(&stage.a, &format!("{MIRRORS}content-length: 7\r\ntransfer-encoding: chunked\r\n")).into_bytes(),
            b"0\r\n\r\n".to_vec(),
            smuggled.into_bytes(),
        ]
        .concat(),
    );
    let first = wire.reply();
    assert!(first.as_ref().is_none_or(|reply| reply.status >= 400), "{first:?}");
    let second = wire.reply();
    assert!(second.as_ref().is_none_or(|reply| reply.status >= 400), "a call was smuggled: {second:?}");
    let seen = stage.decisions().len();
    stage.oracle(seen, 0, 0).await;
}
