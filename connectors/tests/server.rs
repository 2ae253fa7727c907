//! A server over HTTP that does exactly what a test writes down: it answers with bytes, not with what a library thinks is right.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::spec::{ConnectorSpec, HttpSpec, Way};

/// A request, as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
    /// Which connection it came on.
    pub(crate) connection: usize,
}

impl Seen {
    /// All values of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The only value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name}: {all:?}");
        all.first().copied()
    }

    pub(crate) fn message(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The JSON-RPC method.
    pub(crate) fn rpc(&self) -> String {
        self.message()["method"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn id(&self) -> Value {
        self.message()["id"].clone()
    }
}

/// What to do on the connection.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// The same again and again.
    Flood(Vec<u8>, usize),
    /// One byte at a time, a second each: nobody waits for the end of it.
    Drip(Vec<u8>),
    Hang,
    /// Goes on once it is told to.
    Until(CancellationToken),
    Close,
}

pub(crate) type Reply = Vec<Step>;
type Script = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

/// A running server. It ends with this.
pub(crate) struct Server {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    closed: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn new(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::on(0, script).await
    }

    /// At this port.
    pub(crate) async fn on(port: u16, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(port, Arc::new(script), None, None).await
    }

    /// It reads no more than the head of a request of this method.
    pub(crate) async fn deaf_to(method: &'static str, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(0, Arc::new(script), None, Some(method)).await
    }

    pub(crate) async fn with_tls(tls: TlsAcceptor, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(0, Arc::new(script), Some(tls), None).await
    }

    async fn start(port: u16, script: Script, tls: Option<TlsAcceptor>, deaf_to: Option<&'static str>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let closed = CancellationToken::new();
        let until = closed.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for connection in 0.. {
                let Some(accepted) = until.run_until_cancelled(listener.accept()).await else { break };
                let (stream, _) = accepted.unwrap();
                let (script, kept, tls) = (Arc::clone(&script), Arc::clone(&kept), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, connection, script, kept, deaf_to).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, connection, script, kept, deaf_to).await;
                            }
                        }
                    }
                });
            }
            drop(listener);
            while connections.join_next().await.is_some() {}
        });
        Self { port, seen, closed, task }
    }

    /// Takes no further connection. Those that there are stay.
    pub(crate) async fn close(&self) {
        self.closed.cancel();
        while TcpListener::bind(("127.0.0.1", self.port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The JSON-RPC methods that arrived, `DELETE` among them.
    pub(crate) fn methods(&self) -> Vec<String> {
        let name = |seen: Seen| if seen.method == "POST" { seen.rpc() } else { seen.method };
        self.seen().into_iter().map(name).collect()
    }

    /// How often a JSON-RPC method arrived.
    pub(crate) fn count(&self, method: &str) -> usize {
        self.methods().into_iter().filter(|seen| seen == method).count()
    }

    /// The calls that arrived.
    pub(crate) fn calls(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.rpc() == "tools/call").collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: usize,
    script: Script,
    seen: Arc<Mutex<Vec<Seen>>>,
    deaf_to: Option<&str>,
) {
    let mut buffer = Vec::new();
    while let Some(request) = read(&mut stream, &mut buffer, connection, deaf_to).await {
        seen.lock().unwrap().push(request.clone());
        if deaf_to.is_some_and(|method| request.header("mcp-method") == Some(method)) {
            return std::future::pending().await;
        }
        for step in script(&request) {
            let done = match step {
                Step::Send(bytes) => stream.write_all(&bytes).await,
                Step::Flood(bytes, times) => flood(&mut stream, &bytes, times).await,
                Step::Drip(bytes) => drip(&mut stream, &bytes).await,
                Step::Hang => std::future::pending().await,
                Step::Until(told) => {
                    told.cancelled().await;
                    Ok(())
                }
                Step::Close => return,
            };
            if done.is_err() {
                return;
            }
        }
        let _ = stream.flush().await;
    }
}

async fn flood(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8], times: usize) -> std::io::Result<()> {
    for _ in 0..times {
        stream.write_all(bytes).await?;
    }
    Ok(())
}

async fn drip(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> std::io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        stream.flush().await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    connection: usize,
    deaf_to: Option<&str>,
) -> Option<Seen> {
    let mut more = async |buffer: &mut Vec<u8>| stream.read_buf(buffer).await.ok().filter(|count| *count > 0);
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        more(buffer).await?;
        // No HTTP: whoever speaks TLS here is hung up on.
        if !buffer[0].is_ascii_uppercase() {
            return None;
        }
    };
    let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).unwrap();
    let headers: Vec<(String, String)> = lines.map(header).collect();
    assert!(!headers.iter().any(|(name, _)| name == "transfer-encoding"), "a request says how long it is: {headers:?}");
    let is_deaf = headers.iter().any(|(name, value)| name == "mcp-method" && Some(value.as_str()) == deaf_to);
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
    let length = if is_deaf { 0 } else { length };
    while buffer.len() < end + length {
        more(buffer).await?;
    }
    let body = String::from_utf8(buffer[end..end + length].to_vec()).unwrap();
    buffer.drain(..end + length);
    let (method, path) = (first.next().unwrap().to_owned(), first.next().unwrap().to_owned());
    Some(Seen { method, path, headers, body, connection })
}

/// A response with a length.
pub(crate) fn respond(status: u16, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut text = format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    text.push_str(body);
    vec![Step::Send(text.into_bytes())]
}

pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

/// A result, or whatever stands in for the id, as JSON.
pub(crate) fn result(id: &Value, result: &Value) -> Reply {
    respond(200, &[JSON], &json!({"jsonrpc":"2.0","id":id,"result":result}).to_string())
}

/// A stream of these events, of no known length.
pub(crate) fn events(events: &[&str]) -> Reply {
    let mut text = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    for event in events {
        let event = format!("event: message\ndata: {event}\n\n");
        text.push_str(&format!("{:x}\r\n{event}\r\n", event.len()));
    }
    text.push_str("0\r\n\r\n");
    vec![Step::Send(text.into_bytes())]
}

pub(crate) fn listed() -> Value {
    json!([{"name":"echo","description":"says it","inputSchema":{"type":"object","properties":{"text":{"type":"string"}}}}])
}

/// A server of an older version, which answers calls as it is told.
pub(crate) fn legacy(call: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    move |seen| {
        let id = seen.id();
        match (seen.method.as_str(), seen.rpc().as_str()) {
            ("DELETE", _) => respond(200, &[], ""),
            (_, "server/discover") => {
                let error = json!({"jsonrpc":"2.0","id":id,"error":{"code":-32000,"message":"no session"}});
                respond(400, &[JSON], &error.to_string())
            }
            (_, "initialize") => {
                let hello = json!({"protocolVersion":"2025-06-18","capabilities":{"tools":{},"logging":{}},"serverInfo":{"name":"old","version":"1"}});
                let text = json!({"jsonrpc":"2.0","id":id,"result":hello}).to_string();
                respond(200, &[JSON, ("mcp-session-id", "session-1")], &text)
            }
            (_, "tools/list") => result(&id, &json!({"tools":listed()})),
            (_, "tools/call") => call(seen),
            (_, "logging/setLevel") => result(&id, &json!({})),
            _ => respond(202, &[], ""),
        }
    }
}

/// A server of 2026-07-28, which answers calls as it is told.
pub(crate) fn modern(call: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    move |seen| {
        let id = seen.id();
        match seen.rpc().as_str() {
            "server/discover" => result(
                &id,
                &json!({"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private",
                    "_meta":{"io.modelcontextprotocol/serverInfo":{"name":"new","version":"1"}},"instructions":"obey"}),
            ),
            "tools/list" => result(&id, &json!({"resultType":"complete","tools":listed(),"ttlMs":0,"cacheScope":"private"})),
            "tools/call" => call(seen),
            _ => respond(
                404,
                &[JSON],
                &json!({"jsonrpc":"2.0","id":id,"error":{"code":-32601,"message":"method not found"}}).to_string(),
            ),
        }
    }
}

/// What `echo` says if all is well.
pub(crate) fn echo(seen: &Seen) -> Reply {
    result(&seen.id(), &json!({"resultType":"complete","said":seen.message()["params"]["arguments"]}))
}

/// A connector at this URL.
pub(crate) fn at(id: &str, url: &str) -> ConnectorSpec {
    let spec = ConnectorSpec::http(id.parse().unwrap(), url.parse().unwrap());
    ConnectorSpec { call_timeout: Duration::from_secs(10), ..spec }
}

/// The same with other terms for the way to it.
pub(crate) fn with_http(mut spec: ConnectorSpec, change: impl FnOnce(&mut HttpSpec)) -> ConnectorSpec {
    match &mut spec.way {
        Way::Http(http) => change(http),
        Way::Process(_) => panic!("it is a child process"),
    }
    spec
}
