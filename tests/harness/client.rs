//! An agent: raw MCP over HTTP, in both eras, so that tests can say what no well-behaved client says.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{
    Client, RequestBuilder,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Value, json, value::RawValue};

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as it was.
    pub text: String,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Whether it is a stream of events.
    pub fn is_stream(&self) -> bool {
        self.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream")
    }

    /// The messages of a stream of events, the answer last; or the only message.
    pub fn messages(&self) -> Vec<Value> {
        if !self.is_stream() {
            return vec![self.json()];
        }
        let message = |event: &str| serde_json::from_str(event.strip_prefix("event: message\ndata: ").unwrap()).unwrap();
        self.text.split_terminator("\n\n").map(message).collect()
    }

    /// The result; fails if it is an error.
    pub fn result(&self) -> Value {
        let json = self.json();
        assert!(json.get("error").is_none(), "{json}");
        json["result"].clone()
    }

    /// The text of a part of the body, found by keys and places in arrays.
    pub fn raw(&self, path: &[&str]) -> String {
        raw(&self.text, path).unwrap_or_else(|| panic!("nothing at {path:?}: {}", self.text)).to_owned()
    }

    /// The error's code; fails if it is a result.
    pub fn error_code(&self) -> i64 {
        self.json()["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {}", self.text))
    }

    /// The words of the first content block.
    pub fn words(&self) -> String {
        self.result()["content"][0]["text"].as_str().unwrap_or_default().to_owned()
    }

    /// Whether it is a tool result that is an error.
    pub fn is_tool_error(&self) -> bool {
        self.json()["result"]["isError"] == json!(true)
    }
}

/// In place of a token, where none is borne.
const NO_TOKEN: &str = "\0";

/// An agent with a token.
#[derive(Debug, Clone)]
pub struct Agent {
    http: Client,
    url: String,
    token: String,
    grant: Option<String>,
    session: Option<(String, String)>,
    heard: Arc<Mutex<String>>,
    declares: String,
}

impl Agent {
    /// An agent that speaks 2026-07-28.
    pub fn new(url: &str, token: &str) -> Self {
        let http = Client::builder().no_proxy().timeout(Duration::from_secs(90)).build().unwrap();
        Self {
            http,
            url: url.to_owned(),
            token: token.to_owned(),
            grant: None,
            session: None,
            heard: Arc::default(),
            declares: "{}".to_owned(),
        }
    }

    /// An agent that speaks 2026-07-28 by this client, such as one with a certificate, and bears no token.
    pub fn by(http: Client, url: &str) -> Self {
        Self { http, ..Self::new(url, NO_TOKEN) }
    }

    /// The same agent with a token.
    pub fn bearing(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// The same agent under a grant that it names.
    pub fn under(&self, grant: &str) -> Self {
        Self { grant: Some(grant.to_owned()), ..self.clone() }
    }

    /// The same agent, which declares these capabilities with what it asks (see [`Agent::ask`]).
    pub fn declaring(&self, capabilities: &str) -> Self {
        Self { declares: capabilities.to_owned(), ..self.clone() }
    }

    /// The same agent in a session of an older version.
    pub async fn session(&self, version: &str) -> Self {
        self.session_of(version, &json!({})).await
    }

    /// The same agent in a session of an older version, with these capabilities.
    pub async fn session_of(&self, version: &str, capabilities: &Value) -> Self {
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": version, "capabilities": capabilities, "clientInfo": {"name": "test", "version": "1"},
        }});
        let reply = self.post(&hello.to_string(), &[]).await;
        assert_eq!(reply.result()["protocolVersion"], json!(version));
        let id = reply.headers["mcp-session-id"].to_str().unwrap().to_owned();
        let session = Self { session: Some((id, version.to_owned())), ..self.clone() };
        let ready = session.post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, &[]).await;
        assert_eq!(ready.status, 202);
        session
    }

    /// Its token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The session's id, in an older version.
    pub fn session_id(&self) -> Option<&str> {
        self.session.as_ref().map(|(id, _)| id.as_str())
    }

    /// A request ready to be sent, with token and session but no body.
    pub fn request(&self) -> RequestBuilder {
        let mut request = self
            .http
            .post(&self.url)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        if self.token != NO_TOKEN {
            request = request.bearer_auth(&self.token);
        }
        if let Some(grant) = &self.grant {
            request = request.header("bailiwick-grant", grant);
        }
        if let Some((id, version)) = &self.session {
            request = request.header("mcp-session-id", id).header("mcp-protocol-version", version);
        }
        request
    }

    /// Posts a body as it is, with these further headers.
    pub async fn post(&self, body: &str, headers: &[(&str, &str)]) -> Reply {
        let mut request = self.request().body(body.to_owned());
        for (name, value) in headers {
            request = request.header(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        self.exchange(request).await
    }

    /// Sends a request, and keeps what comes back for the oracle to look through.
    pub async fn exchange(&self, request: RequestBuilder) -> Reply {
        let reply = Self::send(request).await;
        let mut heard = self.heard.lock().unwrap();
        // Writing to a string can't fail.
        let _infallible = writeln!(heard, "{:?}\n{}", reply.headers, reply.text);
        drop(heard);
        reply
    }

    /// Everything that it, and its sessions, ever heard.
    pub fn heard(&self) -> String {
        self.heard.lock().unwrap().clone()
    }

    /// Where it sends to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request.
    pub async fn send(request: RequestBuilder) -> Reply {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Reply { status, headers, text: response.text().await.unwrap() }
    }

    /// The `_meta` of 2026-07-28, as text.
    pub fn meta() -> &'static str {
        r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#
    }

    /// Calls a tool with arguments given as text, so that nothing is lost on the way to the wire.
    pub async fn call_raw(&self, tool: &str, arguments: &str) -> Reply {
        let name = Value::from(tool);
        if self.session.is_some() {
            return self
                .post(
                    &format!(
                        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{name},"arguments":{arguments}}}}}"#
                    ),
                    &[],
                )
                .await;
        }
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{name},"arguments":{arguments},{}}}}}"#,
            Self::meta()
        );
        self.post(&body, &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", tool)]).await
    }

    /// A call with further members of `_meta`, such as `"progressToken":1,`, ready to be sent.
    pub fn request_with_meta(&self, tool: &str, arguments: &Value, meta: &str) -> RequestBuilder {
        let name = Value::from(tool);
        let call = |meta: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{name},"arguments":{arguments},"_meta":{{{meta}}}}}}}"#
            )
        };
        if self.session.is_some() {
            return self.request().body(call(meta.trim_end_matches(',')));
        }
        let own = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;
        let body = call(&format!("{meta}{own}"));
        self.request()
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", tool)
            .body(body)
    }

    /// Calls a tool with further members of `_meta`.
    pub async fn call_with_meta(&self, tool: &str, arguments: &Value, meta: &str) -> Reply {
        self.exchange(self.request_with_meta(tool, arguments, meta)).await
    }

    /// Calls a tool.
    pub async fn call(&self, tool: &str, arguments: &Value) -> Reply {
        self.call_raw(tool, &arguments.to_string()).await
    }

    /// Asks for anything. `params` are the members of that object, as text but for `_meta`, so that nothing is lost on the way to the wire.
    pub async fn ask(&self, method: &str, params: &str) -> Reply {
        if self.session.is_some() {
            return self.post(&format!(r#"{{"jsonrpc":"2.0","id":3,"method":"{method}","params":{{{params}}}}}"#), &[]).await;
        }
        let comma = if params.is_empty() { "" } else { "," };
        let meta = Self::meta().replace("{}", &self.declares);
        let body = format!(r#"{{"jsonrpc":"2.0","id":3,"method":"{method}","params":{{{params}{comma}{meta}}}}}"#);
        let mut headers = vec![("mcp-protocol-version", "2026-07-28".to_owned()), ("mcp-method", method.to_owned())];
        let given: Value = serde_json::from_str(&format!("{{{params}}}")).unwrap();
        let name = match method {
            "tools/call" | "prompts/get" => given["name"].as_str(),
            "resources/read" => given["uri"].as_str(),
            "tasks/get" | "tasks/update" | "tasks/cancel" => given["taskId"].as_str(),
            _ => None,
        };
        headers.extend(name.map(|name| ("mcp-name", format!("=?base64?{}?=", STANDARD.encode(name)))));
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.post(&body, &headers).await
    }

    /// The names of the listed tools.
    pub async fn tools(&self) -> Vec<String> {
        let list = self.list().await.result();
        list["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    /// The list, as it is.
    pub async fn list(&self) -> Reply {
        if self.session.is_some() {
            return self.post(r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#, &[]).await;
        }
        let body = format!(r#"{{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{{{}}}}}"#, Self::meta());
        self.post(&body, &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")]).await
    }
}

/// The text of a part of some JSON, found by keys and places in arrays.
pub fn raw<'t>(text: &'t str, path: &[&str]) -> Option<&'t str> {
    let Some((first, rest)) = path.split_first() else { return Some(text) };
    let inner: &RawValue = if text.trim_start().starts_with('[') {
        serde_json::from_str::<Vec<&RawValue>>(text).ok()?.into_iter().nth(first.parse().ok()?)?
    } else {
        serde_json::from_str::<BTreeMap<String, &RawValue>>(text).ok()?.remove(*first)?
    };
    raw(inner.get(), rest)
}
