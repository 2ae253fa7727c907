//! A small HTTP server that takes traces, well or badly, and a place where warnings are kept.

use std::{
    fmt::{Debug, Write},
    sync::{Arc, Mutex, Once},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::reader::{Message, Value};

/// How the receiver treats those who come.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    Accept,
    Hang,
    Slow(Duration),
    Status(u16),
    Reject { spans: u8, message: &'static str },
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    pub line: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect()
    }
}

pub struct Receiver {
    pub port: u16,
    manner: Arc<Mutex<Manner>>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Receiver {
    pub async fn start(manner: Manner) -> Self {
        keep_warnings();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (manner, requests) = (Arc::new(Mutex::new(manner)), Arc::new(Mutex::new(Vec::new())));
        let receiver = Self { port, manner: Arc::clone(&manner), requests: Arc::clone(&requests) };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&manner), Arc::clone(&requests)));
            }
        });
        receiver
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn change(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// All spans of all requests.
    pub fn spans(&self) -> Vec<Message> {
        let mut spans = Vec::new();
        for request in self.requests() {
            let scope_spans = Message::read(&request.body).only(1).message().only(2).message();
            spans.extend(scope_spans.all(2).map(Value::message));
        }
        spans
    }
}

async fn serve(mut stream: TcpStream, manner: Arc<Mutex<Manner>>, requests: Arc<Mutex<Vec<Request>>>) {
    while let Some(request) = read_request(&mut stream).await {
        requests.lock().unwrap().push(request);
        let manner = *manner.lock().unwrap();
        let (status, body) = match manner {
            Manner::Accept => (200, Vec::new()),
            Manner::Hang => std::future::pending().await,
            Manner::Slow(duration) => {
                tokio::time::sleep(duration).await;
                (200, Vec::new())
            }
            Manner::Status(status) => (status, Vec::new()),
            Manner::Reject { spans, message } => {
                let length = u8::try_from(message.len()).unwrap();
                let mut body = vec![0x0a, length + 4, 0x08, spans, 0x12, length];
                body.extend_from_slice(message.as_bytes());
                (200, body)
            }
        };
        let mut head = format!("HTTP/1.1 {status} Fine\r\ncontent-length: {}\r\n", body.len());
        if status == 307 {
            head += "location: /elsewhere\r\n";
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines().filter(|line| !line.is_empty());
    let line = lines.next()?.to_owned();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length")?.1.parse().ok()?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { line, headers, body })
}

/// A port that nobody listens on.
pub async fn dead_port() -> u16 {
    keep_warnings();
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// What has been warned about the collector at this port.
pub fn warnings(port: u16) -> Vec<String> {
    let address = format!("127.0.0.1:{port}/");
    WARNINGS.lock().unwrap().iter().filter(|warning| warning.contains(&address)).cloned().collect()
}

static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn keep_warnings() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Keeper).unwrap());
}

struct Keeper;

impl Subscriber for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target().starts_with("bailiwick_telemetry")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        WARNINGS.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}
