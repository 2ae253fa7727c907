//! The endpoints of OAuth beside `/mcp`, as agents and servers of others ask them.

use std::fmt::Write as _;

use reqwest::Client;
use serde_json::{Value, json};

use super::{Agent, Gateway, Reply};

/// The grant type of token exchange.
pub const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// The type of every token here.
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// Parameters, form-encoded.
pub fn form(parameters: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in parameters {
        let separator = if text.is_empty() { "" } else { "&" };
        let _infallible = write!(text, "{separator}{name}=");
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => text.push(char::from(byte)),
                _ => {
                    let _infallible = write!(text, "%{byte:02X}");
                }
            }
        }
    }
    text
}

/// Where this gateway serves such a path.
pub fn at(gateway: &Gateway, path: &str) -> String {
    format!("{}{path}", gateway.url.trim_end_matches("/mcp"))
}

/// Posts a body as it is.
pub async fn post(gateway: &Gateway, path: &str, body: &str, headers: &[(&str, &str)]) -> Reply {
    let client = Client::builder().no_proxy().build().unwrap();
    let mut request = client.post(at(gateway, path)).body(body.to_owned());
    if headers.iter().all(|(name, _)| *name != "content-type") {
        request = request.header("content-type", "application/x-www-form-urlencoded");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Agent::send(request).await
}

/// Asks for anything that is there to be read.
pub async fn read(gateway: &Gateway, path: &str) -> Reply {
    Agent::send(Client::builder().no_proxy().build().unwrap().get(at(gateway, path))).await
}

/// The parameters of a token exchange.
pub fn exchange<'a>(subject: &'a str, actor: &'a str, details: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("grant_type", EXCHANGE),
        ("subject_token", subject),
        ("subject_token_type", ACCESS_TOKEN),
        ("actor_token", actor),
        ("actor_token_type", ACCESS_TOKEN),
        ("authorization_details", details),
    ]
}

/// What a task for these tools is asked for with; `more` are further members.
pub fn task(tools: &[&str], more: &Value) -> Value {
    let mut task = json!({"type": "mcp_task", "purpose": "a part of it", "tools": tools});
    task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    task
}

/// Hands a task on: the answer, whatever it is.
pub async fn hand_on(gateway: &Gateway, subject: &str, actor: &Agent, task: &Value) -> Reply {
    let details = json!([task]).to_string();
    post(gateway, "/oauth/token", &form(&exchange(subject, actor.token(), &details)), &[]).await
}

/// Hands a task on, which must go well: an agent that bears the token of the new grant, and the answer.
pub async fn handed_on(gateway: &Gateway, subject: &str, actor: &Agent, task: &Value) -> (Agent, Value) {
    let reply = hand_on(gateway, subject, actor, task).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let answer = reply.json();
    (Agent::new(&gateway.url, answer["access_token"].as_str().unwrap()), answer)
}

/// Gives a token back, or takes it back.
pub async fn revoke(gateway: &Gateway, token: &str, headers: &[(&str, &str)]) -> Reply {
    post(gateway, "/oauth/revoke", &form(&[("token", token)]), headers).await
}

/// The `error` of an answer, with its status.
pub fn fault(reply: &Reply) -> (u16, String) {
    (reply.status, reply.json()["error"].as_str().unwrap_or_default().to_owned())
}
