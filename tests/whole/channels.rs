//! Channels: what people and programs hear of approvals, over real HTTP.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use aws_lc_rs::hmac;
use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::harness::{Gateway, Script, Setup, tool};

/// A message as it came.
struct Told {
    id: String,
    signed: bool,
    body: Value,
}

#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Vec<Told>>>);

const SECRET: [u8; 32] = [9; 32];

impl Receiver {
    async fn serve(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let routes = Router::new().route("/hook", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        url
    }

    /// The types of what was told, once so many were.
    async fn types(&self, count: usize) -> Vec<String> {
        let until = Instant::now() + Duration::from_secs(40);
        loop {
            let types: Vec<String> =
                self.0.lock().unwrap().iter().map(|told| told.body["type"].as_str().unwrap().to_owned()).collect();
            if types.len() >= count {
                return types;
            }
            assert!(Instant::now() < until, "only {types:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let (id, at) = (text("webhook-id"), text("webhook-timestamp"));
    let mut signed = format!("{id}.{at}.").into_bytes();
    signed.extend_from_slice(&body);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &SECRET), &signed);
    let is_signed = text("webhook-signature") == format!("v1,{}", STANDARD.encode(tag));
    receiver.0.lock().unwrap().push(Told { id, signed: is_signed, body: serde_json::from_slice(&body).unwrap() });
}

fn secret(folder: &Path, name: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, format!("whsec_{}\n", STANDARD.encode(SECRET))).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

fn setup(channels: impl FnOnce(&Path) -> String) -> Setup {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("pay", &["x"])]);
    let channels = channels(setup.folder());
    setup
        .with(&format!("[approvals]\nhold = \"50ms\"\nallow_same_user = true\n{channels}"))
        .agent("a")
        .connector("s", &script, "tools.pay = { kind = \"write\", band = \"high\" }")
        .grant("g", "a", &["s__*"], "")
}

async fn asked(gateway: &Gateway, x: &str) -> String {
    let pending = gateway.agent("a").call("s__pay", &json!({"x": x})).await;
    pending.result()["_meta"]["dev.bailiwick/approval"]["code"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_hears_of_each_step_once_in_order_across_a_crash_and_a_dead_one_delays_nothing() {
    let receiver = Receiver::default();
    let url = receiver.serve().await;
    let gateway = setup(|folder| {
        let file = secret(folder, "secret");
        let channel = |id: &str, url: &str| {
            format!("[[channels]]\nid = \"{id}\"\nkind = \"webhook\"\nurl = \"{url}\"\nsecret_file = \"{file}\"\n")
        };
        channel("books", &url) + &channel("dead", "http://127.0.0.1:1/hook")
    })
    .start();
    let code = asked(&gateway, "1").await;
    gateway.cli.ok(&["approvals", "approve", &code, "--yes"]);
    gateway.agent("a").call("s__pay", &json!({"x": "1"})).await.result();
    assert_eq!(receiver.types(3).await, ["approval.requested", "approval.decided", "approval.executed"]);
    let second = asked(&gateway, "2").await;
    receiver.types(4).await;
    let gateway = gateway.kill_and_restart();
    gateway.cli.ok(&["approvals", "deny", &second, "--reason", "not today"]);
    receiver.types(5).await;
    {
        let told = receiver.0.lock().unwrap();
        assert!(told.iter().all(|told| told.signed), "each is signed");
        let mut ids: Vec<&String> = told.iter().map(|told| &told.id).collect();
        ids.dedup();
        assert_eq!(ids.len(), 5, "each came once");
        let last = &told[4].body["data"];
        assert_eq!((&last["state"], &last["code"], &last["reason"]), (&json!("denied"), &json!(second), &json!("not today")));
        assert!(last["url"].as_str().unwrap().starts_with("http://localhost:"), "{last}");
        assert!(last["args_digest"].as_str().unwrap().starts_with("sha256:") && last.get("arguments").is_none(), "{last}");
    }
    let channels: Vec<Value> = serde_json::from_str(&gateway.cli.ok(&["channels", "list", "--json"])).unwrap();
    let states: Vec<_> =
        channels.iter().map(|channel| (channel["id"].as_str().unwrap(), channel["state"].as_str().unwrap())).collect();
    assert_eq!(states, [("books", "working"), ("dead", "failing")]);
    let tried = gateway.cli.run(&["channels", "test", "dead"]);
    assert_eq!(tried.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&tried.stderr).contains("can't be reached"), "{tried:?}");
    gateway.cli.ok(&["channels", "test", "books"]);
    assert_eq!(receiver.types(6).await.last().unwrap(), "channel.trial");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_comes_and_goes_with_the_configuration_and_an_open_secret_is_not_used() {
    let receiver = Receiver::default();
    let url = receiver.serve().await;
    let mut file = String::new();
    let gateway = setup(|folder| {
        file = secret(folder, "secret");
        String::new()
    })
    .start();
    asked(&gateway, "1").await;
    let before = std::fs::read_to_string(gateway.folder().join("config.toml")).unwrap();
    let channel = format!("\n[[channels]]\nid = \"books\"\nkind = \"webhook\"\nurl = \"{url}\"\nsecret_file = \"{file}\"\n");
    std::fs::write(gateway.folder().join("config.toml"), format!("{before}{channel}")).unwrap();
    let reloaded = gateway.cli.ok(&["reload"]);
    drop(reloaded);
    asked(&gateway, "2").await;
    // It hears of what happens from now on.
    assert_eq!(receiver.types(1).await, ["approval.requested"]);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let tried = gateway.cli.run(&["channels", "test", "books"]);
    let said = String::from_utf8_lossy(&tried.stderr).into_owned();
    assert!(tried.status.code() == Some(1) && said.contains("chmod 600"), "{said}");
    assert!(!said.contains("whsec"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_detection_finds_is_told_once_across_a_crash() {
    let receiver = Receiver::default();
    let url = receiver.serve().await;
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("look", &["x"])]);
    let file = secret(setup.folder(), "secret");
    let channels = format!(
        "[[detections]]\nid = \"again\"\nkind = \"repeat\"\ncount = 3\naction = \"deny\"\n\
         [[channels]]\nid = \"books\"\nkind = \"webhook\"\nurl = \"{url}\"\nsecret_file = \"{file}\"\nevents = [\"detection.fired\"]\n\
         [[channels]]\nid = \"other\"\nkind = \"webhook\"\nurl = \"{url}\"\nsecret_file = \"{file}\"\nevents = [\"approval.requested\"]\n"
    );
    let gateway = setup
        .with(&channels)
        .agent("a")
        .connector("s", &script, "tools.look = { kind = \"read\", band = \"low\" }")
        .grant("g", "a", &["s__*"], "")
        .start();
    let look = async |gateway: &Gateway, x: &str| gateway.agent("a").call("s__look", &json!({"x": x})).await;
    for _ in 0..4 {
        look(&gateway, "1").await;
    }
    assert_eq!(receiver.types(1).await, ["detection.fired"]);
    let gateway = gateway.kill_and_restart();
    for _ in 0..3 {
        look(&gateway, "2").await;
    }
    receiver.types(2).await;
    let told = receiver.0.lock().unwrap();
    let ids: Vec<&str> = told.iter().map(|told| told.id.as_str()).collect();
    assert_eq!(ids, ["evt_detections-1", "evt_detections-2"], "each came once, and from one channel");
    let data = &told[0].body["data"];
    assert!(told.iter().all(|told| told.signed));
    assert_eq!((&data["detection"], &data["action"], &data["tool"]), (&json!("again"), &json!("deny"), &json!("s__look")));
    assert!(data["why"].as_str().unwrap().contains("the same call 3 times"), "{data}");
    assert!(data["url"].as_str().unwrap().ends_with(&format!("/calls/{}", data["call"].as_str().unwrap())), "{data}");
}
