//! Listeners: connections counted, slow headers, idle connections and unread answers ended, `TCP_NODELAY` on.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use axum::Router;
use bytes::Bytes;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_service::Service as _;

use super::patient::Patient;

/// What a listener bears.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; further ones are closed at once.
    pub connections: usize,
    /// How long the headers of a request may take. It bounds how long a connection may be idle too: between requests the next
    /// one's headers are waited for.
    pub headers: Duration,
    /// How long an answer may wait for its reader without getting on.
    pub unread: Duration,
}

/// Who is at the other end of a Unix socket, as the kernel says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// User id.
    pub uid: u32,
    /// Process id.
    pub pid: Option<i32>,
}

/// What a listener serves.
pub trait Answers: Clone + Send + Sync + 'static {
    /// The body of an answer.
    type Body: hyper::body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static;

    /// Answers one request; `peer` is who sent it, where the kernel says so.
    fn answer(&self, request: Request<Incoming>, peer: Option<Peer>) -> impl Future<Output = Response<Self::Body>> + Send;
}

impl Answers for Router {
    type Body = axum::body::Body;

    async fn answer(&self, mut request: Request<Incoming>, peer: Option<Peer>) -> Response<axum::body::Body> {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        match self.clone().call(request).await {
            Ok(response) => response,
            Err(infallible) => match infallible {},
        }
    }
}

/// Serves on TCP until `stop`.
pub async fn serve_tcp(listener: TcpListener, site: impl Answers, limits: Limits, stop: CancellationToken) {
    let server = Server::new(site, limits, stop);
    loop {
        let accepted = tokio::select! {
            () = server.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // A connection on which this fails is slower, not wrong.
                let _slower = stream.set_nodelay(true);
                server.connection(stream, None);
            }
            Err(error) => server.out_of_breath(&error).await,
        }
    }
    server.drain().await;
}

/// Serves on a Unix socket until `stop`; every request comes with its [`Peer`].
pub async fn serve_unix(listener: UnixListener, site: impl Answers, limits: Limits, stop: CancellationToken) {
    let server = Server::new(site, limits, stop);
    loop {
        let accepted = tokio::select! {
            () = server.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted.and_then(|(stream, _)| Ok((stream.peer_cred()?, stream))) {
            Ok((peer, stream)) => server.connection(stream, Some(Peer { uid: peer.uid(), pid: peer.pid() })),
            Err(error) => server.out_of_breath(&error).await,
        }
    }
    server.drain().await;
}

struct Server<A> {
    site: A,
    limits: Limits,
    stop: CancellationToken,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl<A: Answers> Server<A> {
    fn new(site: A, limits: Limits, stop: CancellationToken) -> Self {
        Self { site, limits, stop, room: Arc::new(Semaphore::new(limits.connections)), tasks: TaskTracker::new() }
    }

    fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, peer: Option<Peer>) {
        // Without room the connection is dropped, and so closed.
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else { return };
        let site = self.site.clone();
        let (stop, headers) = (self.stop.clone(), self.limits.headers);
        let stream = Patient::new(stream, self.limits.unread);
        self.tasks.spawn(async move {
            let _place = place;
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(headers).max_buf_size(64 * 1024);
            let service = service_fn(|request| {
                let site = site.clone();
                async move { Ok::<_, Infallible>(site.answer(request, peer).await) }
            });
            let connection = http.serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }

    async fn drain(&self) {
        self.tasks.close();
        if tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await.is_err() {
            tracing::warn!("connections were still open after 5 s and are cut");
        }
    }

    /// No descriptors, most likely: the listener waits for some to come back instead of spinning.
    async fn out_of_breath(&self, error: &std::io::Error) {
        tracing::warn!(%error, "a connection could not be accepted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
