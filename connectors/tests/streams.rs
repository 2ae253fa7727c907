//! HTTP/2: many requests over one connection, which may be slow, or dead.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bailiwick_pipeline::{grant::GrantState, ports::SendFailure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    certificates::{authority, pem, tls},
    channel::ToolCall,
    kit::{PATIENCE, Rig, grant, tool, until},
    server::{Seen, Step, at, echo, modern, with_http},
    spec::ConnectorSpec,
    version::Protocol,
};

/// What a server over HTTP/2 does before it reads a request: given are the number of the connection and the method of the request.
type Before = Arc<dyn Fn(usize, &str) -> Option<CancellationToken> + Send + Sync>;

/// Bodies that nobody reads and nobody lets go of.
type Unread = Arc<std::sync::Mutex<Vec<Incoming>>>;

/// A modern server over HTTP/2, which gives each request so many bytes of room at first.
struct Streams {
    _folder: tempfile::TempDir,
    spec: ConnectorSpec,
    task: tokio::task::JoinHandle<()>,
}

impl Streams {
    async fn new(window: u32, before: impl Fn(usize, &str) -> Option<CancellationToken> + Send + Sync + 'static) -> Self {
        Self::start(window, before, None).await
    }

    /// One that fails a call as soon as it has its head, and leaves its stream open.
    async fn rude(window: u32, unread: &Unread) -> Self {
        Self::start(window, |_, _| None, Some(Arc::clone(unread))).await
    }

    async fn start(
        window: u32,
        before: impl Fn(usize, &str) -> Option<CancellationToken> + Send + Sync + 'static,
        unread: Option<Unread>,
    ) -> Self {
        let (folder, ours) = (tempfile::tempdir().unwrap(), authority());
        let roots = pem(folder.path(), &ours);
        let mut config = tls(&ours, "127.0.0.1");
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://127.0.0.1:{}/mcp", listener.local_addr().unwrap().port());
        let before: Before = Arc::new(before);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, before, unread) = (acceptor.clone(), Arc::clone(&before), unread.clone());
                connections.spawn(async move {
                    let stream = acceptor.accept(stream).await.unwrap();
                    let answer = service_fn(move |request| answer(request, connection, Arc::clone(&before), unread.clone()));
                    let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = server.initial_stream_window_size(window).serve_connection(TokioIo::new(stream), answer).await;
                });
            }
        });
        let spec = with_http(at("x", &url), |http| http.roots = Some(roots));
        Self { _folder: folder, spec: ConnectorSpec { protocol: Protocol::Modern, ..spec }, task }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(
    request: Request<Incoming>,
    connection: usize,
    before: Before,
    unread: Option<Unread>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let method = request.headers().get("mcp-method").unwrap().to_str().unwrap().to_owned();
    if let Some(told) = before(connection, &method) {
        told.cancelled().await;
    }
    if let Some(unread) = unread.filter(|_| method == "tools/call") {
        unread.lock().unwrap().push(request.into_body());
        return Ok(Response::builder().status(500).body(Full::default()).unwrap());
    }
    let body = String::from_utf8(request.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let seen = Seen { method: "POST".to_owned(), path: "/mcp".to_owned(), headers: Vec::new(), body, connection };
    let Some(Step::Send(text)) = modern(echo)(&seen).pop() else { panic!("it says nothing") };
    let text = String::from_utf8(text).unwrap();
    let body = Full::new(Bytes::from(text.split_once("\r\n\r\n").unwrap().1.to_owned()));
    Ok(Response::builder().header("content-type", "application/json").body(body).unwrap())
}

#[tokio::test]
async fn a_call_is_written_once_all_of_it_is_and_what_waits_for_it_is_released_when_it_is_broken_off() {
    for is_answered in [true, false] {
        let (told, arrived) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let (reads, counted) = (told.clone(), Arc::clone(&arrived));
        let server = Streams::new(16, move |_, method| {
            (method == "tools/call").then(|| {
                counted.fetch_add(1, Ordering::SeqCst);
                reads.clone()
            })
        })
        .await;
        let (rig, grant) = (Rig::new(vec![server.spec.clone()]), grant("g-1"));
        let channel = rig.connectors.channel(&tool("x", "says it"), &grant, None, None).await.unwrap();
        let written = Arc::new(AtomicBool::new(false));
        let (telling, cancelled) = (Arc::clone(&written), grant.cancelled());
        let arguments = format!(r#"{{"text":"{}"}}"#, "x".repeat(10_000));
        let call = ToolCall {
            method: "tools/call",
            takes_task: false,
            arguments: arguments.as_bytes(),
            item: None,
            traceparent: None,
            timeout: PATIENCE,
            cancelled,
            meta: b"",
            ear: None,
            capabilities: None,
            answers: None,
        };
        let calling = channel.call(call, move || telling.store(true, Ordering::SeqCst));
        let watching = async {
            until("the head arrived", || arrived.load(Ordering::SeqCst) == 1).await;
            // The rest has no room yet: a byte of it may still go, whatever is decided meanwhile.
            for _ in 0..20 {
                assert!(!written.load(Ordering::SeqCst) && Arc::strong_count(&written) == 2);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if is_answered {
                told.cancel();
            } else {
                assert!(grant.end(GrantState::Revoked));
            }
        };
        let (answer, ()) = tokio::join!(calling, watching);
        if is_answered {
            answer.unwrap();
        } else {
            assert!(matches!(answer, Err(SendFailure::Closed(_))), "{answer:?}");
        }
        until("nobody will write it any more", || Arc::strong_count(&written) == 1).await;
        // Broken off, it was on its way all the same: the server may have read enough of it.
        assert!(written.load(Ordering::SeqCst));
        assert_eq!(rig.status("x").counts.calls, 1);
    }
}

#[tokio::test]
async fn a_connection_that_hangs_is_not_used_for_the_next_session() {
    let hangs = Arc::new(AtomicBool::new(false));
    let hanging = Arc::clone(&hangs);
    let server = Streams::new(65_535, move |connection, _| {
        (connection == 0 && hanging.load(Ordering::SeqCst)).then(CancellationToken::new)
    })
    .await;
    let hasty = ConnectorSpec {
        handshake_timeout: Duration::from_secs(3),
        backoff_first: Duration::ZERO,
        backoff_most: Duration::ZERO,
        ..server.spec.clone()
    };
    let rig = Rig::new(vec![hasty]);
    rig.result("x", &grant("g-1")).await;
    hangs.store(true, Ordering::SeqCst);
    assert!(rig.call("x", &grant("g-2")).await.is_err());
    rig.result("x", &grant("g-2")).await;
}

/// The rest of it would go out whenever the server gives room for it: hours later, if it likes.
#[tokio::test]
async fn a_call_that_is_answered_before_it_is_written_does_not_wait_for_ever() {
    let unread = Unread::default();
    let server = Streams::rude(16, &unread).await;
    let (rig, grant) = (Rig::new(vec![server.spec.clone()]), grant("g-1"));
    let channel = rig.connectors.channel(&tool("x", "says it"), &grant, None, None).await.unwrap();
    let written = Arc::new(AtomicBool::new(false));
    let (telling, cancelled) = (Arc::clone(&written), grant.cancelled());
    let arguments = format!(r#"{{"text":"{}"}}"#, "x".repeat(10_000));
    let call = ToolCall {
        method: "tools/call",
        takes_task: false,
        arguments: arguments.as_bytes(),
        item: None,
        traceparent: None,
        timeout: PATIENCE,
        cancelled,
        meta: b"",
        ear: None,
        capabilities: None,
        answers: None,
    };
    let answer = channel.call(call, move || telling.store(true, Ordering::SeqCst)).await;
    let Err(SendFailure::Protocol(why)) = &answer else { panic!("{answer:?}") };
    assert!(why.contains("HTTP 500"), "{why}");
    assert!(!written.load(Ordering::SeqCst) && Arc::strong_count(&written) == 2, "most of it waits for room");
    until("nobody will write it any more", || Arc::strong_count(&written) == 1).await;
    assert_eq!(unread.lock().unwrap().len(), 1);
}
