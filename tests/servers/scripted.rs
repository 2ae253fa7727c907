//! A downstream MCP server that does as its script says. Only tests start it.
//!
//! `scripted-server SCRIPT`: the script is a JSON file, read anew at each `tools/list`: `{"tools": [definitions], "log": PATH}`.
//! Further members: `starts`: a list of tool lists, one for each process that is started on this script, the last for all
//! further ones; `pages`: a list of tool lists, given page by page; `list_text`: the result of `tools/list` as raw text;
//! `list_more`: further members of that result; `name`: what it calls itself; `behave`: how it breaks the rules before it is called, see
//! [`misbehaviour::at_start`] and [`misbehaviour::in_handshake`], read when a process starts; `era`: `legacy` (as it is without one) or `modern`;
//! `tools_for_askable`: what it lists to a client that can be asked something; `capabilities`; `answers`: what it says word for word, see [`said::scripted`]. Every line that it receives is appended to the
//! log as it is. What a tool does follows from its name's first word: `echo`, `environment`, `leak`, `crash`, `hang`, `slow`, `fail`,
//! `error`, `raw`, `count`, `wonders` (see [`asks`]), `announce` (says the notification of its arguments `method` and `params`, which is JSON, to whoever listens), `hangup` (to whom nobody listens any more), `tells` (progress and log messages before its answer, as `how` says, see [`tell`]), `remember` (all arguments that this process ever got), `changed` (it says first that its tools changed), those
//! of [`misbehaviour::call`]; anything else echoes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::semicolon_if_nothing_returned,
    missing_docs,
    reason = "a test program: what goes wrong here fails a test"
)]

use std::{
    collections::VecDeque,
    fs::{OpenOptions, read_to_string},
    io::{BufRead, Write, stdin, stdout},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde_json::{Value, json, value::RawValue};

mod asks;
mod listens;
mod misbehaviour;
mod said;

/// Whether it speaks 2026-07-28.
static IS_MODERN: AtomicBool = AtomicBool::new(false);

fn main() {
    let script = std::env::args().nth(1).unwrap();
    if misbehaviour::is_helper(&script) {
        return;
    }
    let behave = misbehaviour::at_start(&script);
    let start = starts_before(&script);
    let (mut calls, mut remembered) = (0_u64, Vec::new());
    let is_modern = said::is_modern(&serde_json::from_str(&read_to_string(&script).unwrap()).unwrap(), "legacy");
    IS_MODERN.store(is_modern, Ordering::Relaxed);
    if !is_modern {
        listens::always(said_aloud());
    }
    let mut lines = stdin().lock().lines().map(Result::unwrap);
    let mut aside = VecDeque::new();
    loop {
        let (line, is_new) = match aside.pop_front() {
            Some(line) => (line, false),
            None => match lines.next() {
                Some(line) => (line, true),
                None => return,
            },
        };
        let now: Value = serde_json::from_str(&read_to_string(&script).unwrap()).unwrap();
        if is_new {
            note(&now, &line);
        }
        let message: Value = serde_json::from_str(&said::filled(&now, &line)).unwrap();
        let id = message["id"].clone();
        if misbehaviour::in_handshake(&behave, &message) {
            continue;
        }
        if let Some(line) = said::scripted(&now, &message) {
            say(&line);
            continue;
        }
        let is_modern = said::is_modern(&now, "legacy");
        match message["method"].as_str().unwrap_or_default() {
            "server/discover" if is_modern => answer(&id, &said::discovered(&now).to_string()),
            "initialize" if !is_modern => answer_hello(
                &message,
                &id,
                &json!({
                    "protocolVersion": message["params"]["protocolVersion"],
                    "capabilities": said::capabilities(&now),
                    "serverInfo": {"name": now["name"].as_str().unwrap_or("scripted"), "version": "1"},
                })
                .to_string(),
            ),
            "logging/setLevel" => answer(&id, "{}"),
            "subscriptions/listen" if is_modern => listens::by_request(&message, &now["deaf_to"], said_aloud()),
            "notifications/cancelled" => listens::cancelled(&message["params"]["requestId"]),
            "tools/list" => answer(&id, &list(&now, &message["params"]["cursor"], start)),
            "tools/call" => {
                calls += 1;
                remembered.push(raw_arguments(&line).to_owned());
                let name = message["params"]["name"].as_str().unwrap();
                match name.split('_').next().unwrap() {
                    "wonders" if is_modern => answer(&id, &asks::modern(&message).to_string()),
                    "wonders" => ask(&id, &message, &mut lines, &now, &mut aside),
                    "remember" => text(&id, &remembered.join("\n")),
                    kind if misbehaviour::call(kind, &id, &message["params"]["arguments"], &mut lines) => {}
                    _ => call(&id, &message, &line, calls),
                }
            }
            // Never.
            "tasks/get" if behave == "hang-task" => {}
            _ if id.is_null() => {}
            method => {
                say(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": format!("no {method}")}})
                    .to_string())
            }
        }
    }
}

/// Whether its client can be asked something.
static IS_ASKED: AtomicBool = AtomicBool::new(false);

/// Answers a handshake, and remembers whether its client can be asked something.
fn answer_hello(message: &Value, id: &Value, result: &str) {
    IS_ASKED.store(message["params"]["capabilities"]["elicitation"].is_object(), Ordering::Relaxed);
    answer(id, result);
}

fn note(now: &Value, line: &str) {
    if let Some(log) = now["log"].as_str() {
        let mut log = OpenOptions::new().create(true).append(true).open(log).unwrap();
        log.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// Asks, and waits for the answers before anything else is done: what comes meanwhile is put aside.
fn ask(id: &Value, message: &Value, lines: &mut impl Iterator<Item = String>, now: &Value, aside: &mut VecDeque<String>) {
    let requests = asks::requests(message);
    for (_, request) in &requests {
        say(request);
    }
    let mut answers: Vec<Value> = vec![Value::Null; requests.len()];
    let mut open = requests.len();
    while open > 0 {
        let Some(line) = lines.next() else { return };
        note(now, &line);
        let came: Value = serde_json::from_str(&line).unwrap();
        if let Some(at) = requests.iter().position(|(id, _)| came["id"] == json!(id)) {
            answers[at] = asks::said(&came);
            open -= 1;
        } else if came["method"] == "notifications/cancelled" && came["params"]["requestId"] == *id {
            return;
        } else {
            aside.push_back(line);
        }
    }
    answer(id, &asks::told(&answers).to_string());
}

/// How many processes were started on this script before.
fn starts_before(script: &str) -> usize {
    let now: Value = serde_json::from_str(&read_to_string(script).unwrap()).unwrap();
    let log = now["log"].as_str().and_then(|log| read_to_string(log).ok()).unwrap_or_default();
    log.lines().filter(|line| line.contains(r#""method":"initialize""#)).count()
}

fn list(now: &Value, cursor: &Value, start: usize) -> String {
    if let Some(text) = said::listed(now) {
        return text;
    }
    let mut tools = &now["tools"];
    if now["tools_for_askable"].is_array() && IS_ASKED.load(Ordering::Relaxed) {
        tools = &now["tools_for_askable"];
    }
    if let Some(starts) = now["starts"].as_array() {
        tools = &starts[start.min(starts.len() - 1)];
    }
    let mut result = json!({});
    if let Some(pages) = now["pages"].as_array() {
        let page: usize = cursor.as_str().map_or(0, |cursor| cursor.parse().unwrap());
        tools = &pages[page];
        if page + 1 < pages.len() {
            result["nextCursor"] = json!((page + 1).to_string());
        }
    }
    result["tools"] = tools.clone();
    for (name, value) in now["list_more"].as_object().into_iter().flatten() {
        result[name] = value.clone();
    }
    if said::is_modern(now, "legacy") {
        result["resultType"] = json!("complete");
    }
    result.to_string()
}

fn call(id: &Value, message: &Value, line: &str, calls: u64) {
    let name = message["params"]["name"].as_str().unwrap();
    let arguments = &message["params"]["arguments"];
    match name.split('_').next().unwrap() {
        "environment" => {
            let all: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
            text(id, &all.join("\n"));
        }
        "leak" => leak(id, &std::env::var("SECRET").unwrap_or_default(), arguments["how"].as_str().unwrap_or("plain")),
        "crash" => std::process::exit(7),
        "hang" => std::thread::sleep(Duration::from_mins(10)),
        "slow" => {
            std::thread::sleep(Duration::from_millis(arguments["ms"].as_u64().unwrap_or(500)));
            text(id, "slow");
        }
        "fail" => answer(id, &json!({"content": [{"type": "text", "text": "it failed"}], "isError": true}).to_string()),
        "error" => {
            say(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32050, "message": "no", "data": {"why": "because"}}})
                .to_string());
        }
        "raw" => answer(id, arguments["result"].as_str().unwrap()),
        // Word for word, `ID` being the id of the call, and then an answer.
        "says" => {
            say(&arguments["line"].as_str().unwrap().replace("\"ID\"", &id.to_string()));
            eprint!("{}", arguments["stderr"].as_str().unwrap_or_default());
            text(id, "said");
        }
        "announce" => {
            listens::announce(arguments);
            text(id, "announced");
        }
        "hangup" => {
            let ended = json!({"resultType": "complete"}).to_string();
            for id in listens::hang_up() {
                answer(&id, &ended);
            }
            text(id, "hung up");
        }
        "tells" => tell(id, &message["params"]["_meta"]["progressToken"], arguments["how"].as_str().unwrap()),
        "changed" => {
            say(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
            text(id, raw_arguments(line));
        }
        "count" => answer(
            id,
            &json!({"content": [{"type": "text", "text": calls.to_string()}], "structuredContent": {"n": calls}}).to_string(),
        ),
        _ => text(id, raw_arguments(line)),
    }
}

/// Says something before the answer: `plain`, `leak` (the secret that it was lent, in both kinds of messages), `leak-split` (the same in two log messages), `guess` (progress of other
/// calls than this one), `large` (a log message of 100 kB), `flood` (3,000 times), `open` (and gives no answer).
fn tell(id: &Value, token: &Value, how: &str) {
    let progress = |token: &Value, progress: u64, message: &str| {
        let params = json!({"progressToken": token, "progress": progress, "total": 3, "message": message});
        say(&json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": params}).to_string());
    };
    let log = |level: &str, data: &str| {
        let params = json!({"level": level, "logger": "scripted", "data": data});
        say(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params}).to_string());
    };
    match how {
        "plain" => {
            (1..=3).for_each(|n| progress(token, n, "on my way"));
            log("debug", "details");
            log("error", "trouble");
        }
        "leak" => {
            let secret = std::env::var("SECRET").unwrap_or_default();
            progress(token, 1, &format!("with {secret}"));
            log("info", &format!("using {secret}"));
        }
        "leak-split" => {
            let secret = std::env::var("SECRET").unwrap_or_default();
            let (head, tail) = secret.split_at(secret.len() / 2);
            log("info", &format!("using {head}"));
            log("info", &format!("{tail} it is"));
            progress(token, 1, "on my way");
        }
        "guess" => {
            let own = id.as_i64().unwrap();
            (0..100).filter(|n| *n != own).for_each(|n| progress(&json!(n), 1, "guessed"));
            progress(&json!("agents-own"), 1, "guessed");
            progress(token, 1, "my own");
        }
        "large" => {
            log("info", &"x".repeat(100_000));
            log("info", "small");
        }
        "flood" => (1..=3000).for_each(|n| progress(token, n, &"y".repeat(500))),
        "open" => {
            progress(token, 1, "begun");
            return;
        }
        other => panic!("{other}?"),
    }
    text(id, "told");
}

/// The arguments as they came, byte for byte.
fn raw_arguments(line: &str) -> &str {
    #[derive(serde::Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        params: Params<'a>,
    }
    #[derive(serde::Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        arguments: &'a RawValue,
    }
    serde_json::from_str::<Message<'_>>(line).unwrap().params.arguments.get()
}

fn leak(id: &Value, secret: &str, how: &str) {
    let hex = || secret.bytes().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    match how {
        "plain" => text(id, &format!("the token is {secret}.")),
        "hex" => text(id, &hex()),
        "reversed" => text(id, &secret.chars().rev().collect::<String>()),
        "escaped" => {
            let escaped = secret.chars().fold(String::new(), |text, c| format!("{text}\\u{:04x}", u32::from(c)));
            answer(id, &format!(r#"{{"content":[{{"type":"text","text":"{escaped}"}}]}}"#));
        }
        "key" => answer(id, &format!(r#"{{"content":[],"structuredContent":{{"{secret}":1}}}}"#)),
        "error" => say(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32000, "message": format!("bad {secret}"), "data": {"token": secret}}}).to_string()),
        "stderr" => {
            eprintln!("using {secret}");
            text(id, "said it on stderr");
        }
        other => text(id, &format!("{other}?")),
    }
}

fn text(id: &Value, text: &str) {
    let mut result = json!({"content": [{"type": "text", "text": text}]});
    if IS_MODERN.load(Ordering::Relaxed) {
        result["resultType"] = json!("complete");
    }
    answer(id, &result.to_string());
}

/// What says a line on standard output.
fn said_aloud() -> Box<dyn FnMut(&str) -> bool + Send> {
    Box::new(|line| {
        say(line);
        true
    })
}

fn answer(id: &Value, result: &str) {
    say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#));
}

fn say(line: &str) {
    let mut out = stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}
