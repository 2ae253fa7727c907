//! Listeners: connections counted, slow headers, idle connections and unread answers ended, `TCP_NODELAY` on.

use std::{convert::Infallible, future::Future, io, sync::Arc, time::Duration};

use axum::Router;
use bailiwick_pipeline::principal::{ClientCertificate, Process};
use bytes::Bytes;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener, unix::UCred},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_service::Service as _;

use super::{delivery::Line, patient::Patient};
use crate::processes;

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
    /// The process, where it could be told apart from any other when it connected.
    pub process: Option<Process>,
}

impl Peer {
    fn of(told: UCred) -> Self {
        let (uid, pid) = (told.uid(), told.pid());
        Self { uid, pid, process: pid.and_then(|pid| processes::running(pid, uid)) }
    }
}

/// What a listener serves.
pub trait Answers: Clone + Send + Sync + 'static {
    /// The body of an answer.
    type Body: hyper::body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static;

    /// Answers one request; `peer` is who sent it, where the kernel says so.
    fn answer(&self, request: Request<Incoming>, peer: Option<Peer>) -> impl Future<Output = Response<Self::Body>> + Send;

    /// The answer goes out by this connection: for whoever wants to know whether it arrives.
    fn on_line(response: &mut Response<Self::Body>, line: &Arc<Line>);
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

    fn on_line(_: &mut Response<axum::body::Body>, _: &Arc<Line>) {}
}

/// Serves on TCP until `stop`.
pub async fn serve_tcp(listener: TcpListener, site: impl Answers, limits: Limits, stop: CancellationToken) {
    let server = Server::new(site, limits, stop);
    while let Some(accepted) = server.next(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                // A connection on which this fails is slower, not wrong.
                let _slower = stream.set_nodelay(true);
                server.begin(|talk| talk.over(stream, Caller::default()));
            }
            Err(error) => server.out_of_breath(&error).await,
        }
    }
    server.drain().await;
}

/// Serves on a Unix socket until `stop`; every request comes with its [`Peer`].
pub async fn serve_unix(listener: UnixListener, site: impl Answers, limits: Limits, stop: CancellationToken) {
    let server = Server::new(site, limits, stop);
    while let Some(accepted) = server.next(listener.accept()).await {
        match accepted.and_then(|(stream, _)| Ok((stream.peer_cred()?, stream))) {
            Ok((peer, stream)) => {
                let peer = Some(Peer::of(peer));
                server.begin(|talk| talk.over(stream, Caller { peer, ..Caller::default() }));
            }
            Err(error) => server.out_of_breath(&error).await,
        }
    }
    server.drain().await;
}

/// Who is at the other end of a connection, as far as the connection itself says.
#[derive(Debug, Clone, Default)]
pub(super) struct Caller {
    /// As the kernel says.
    pub(super) peer: Option<Peer>,
    /// As its certificate says, which was verified.
    pub(super) certificate: Option<Arc<ClientCertificate>>,
}

/// What serves the connections of a listener.
pub(super) struct Server<A> {
    talk: Talk<A>,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// What is said on one connection.
#[derive(Clone)]
pub(super) struct Talk<A> {
    site: A,
    pub(super) limits: Limits,
    pub(super) stop: CancellationToken,
}

impl<A: Answers> Server<A> {
    pub(super) fn new(site: A, limits: Limits, stop: CancellationToken) -> Self {
        let room = Arc::new(Semaphore::new(limits.connections));
        Self { talk: Talk { site, limits, stop }, room, tasks: TaskTracker::new() }
    }

    /// Begins a connection, if there is room: without it is dropped, and so closed.
    pub(super) fn begin<F: Future<Output = ()> + Send + 'static>(&self, connection: impl FnOnce(Talk<A>) -> F) {
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else { return };
        let connection = connection(self.talk.clone());
        self.tasks.spawn(async move {
            let _place = place;
            connection.await;
        });
    }

    /// What comes next to this listener; none once it is to stop.
    pub(super) async fn next<T>(&self, accepted: impl Future<Output = io::Result<T>>) -> Option<io::Result<T>> {
        tokio::select! {
            () = self.talk.stop.cancelled() => None,
            accepted = accepted => Some(accepted),
        }
    }

    pub(super) async fn drain(&self) {
        self.tasks.close();
        if tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await.is_err() {
            tracing::warn!("connections were still open after 5 s and are cut");
        }
    }

    /// No descriptors, most likely: the listener waits for some to come back instead of spinning.
    pub(super) async fn out_of_breath(&self, error: &io::Error) {
        tracing::warn!(%error, "a connection could not be accepted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

impl<A: Answers> Talk<A> {
    /// Serves one connection to its end.
    pub(super) async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S, caller: Caller) {
        let Self { site, limits, stop } = self;
        let stream = Patient::new(stream, limits.unread);
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(limits.headers).max_buf_size(64 * 1024);
        let line = Arc::<Line>::default();
        let service = service_fn(|mut request: Request<Incoming>| {
            let (site, line) = (site.clone(), Arc::clone(&line));
            // What a client writes never becomes an extension: it is the connection's word.
            if let Some(certificate) = &caller.certificate {
                request.extensions_mut().insert(Arc::clone(certificate));
            }
            let peer = caller.peer;
            async move {
                let mut response = site.answer(request, peer).await;
                A::on_line(&mut response, &line);
                Ok::<_, Infallible>(response)
            }
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
            // Said before the connection is dropped, and with it what it has not sent.
            line.broke();
            tracing::debug!(%error, "a connection ended early");
        }
    }
}
