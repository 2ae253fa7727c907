//! Listeners: connections counted, slow headers, idle connections and unread answers ended, `TCP_NODELAY` on.

use std::{sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

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

/// Serves a router on TCP until `stop`.
pub async fn serve_tcp(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let server = Server::new(router, limits, stop);
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

/// Serves a router on a Unix socket until `stop`; every request carries its [`Peer`].
pub async fn serve_unix(listener: UnixListener, router: Router, limits: Limits, stop: CancellationToken) {
    let server = Server::new(router, limits, stop);
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

struct Server {
    router: Router,
    limits: Limits,
    stop: CancellationToken,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Server {
    fn new(router: Router, limits: Limits, stop: CancellationToken) -> Self {
        Self { router, limits, stop, room: Arc::new(Semaphore::new(limits.connections)), tasks: TaskTracker::new() }
    }

    fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, peer: Option<Peer>) {
        // Without room the connection is dropped, and so closed.
        let Ok(place) = Arc::clone(&self.room).try_acquire_owned() else { return };
        let router = match peer {
            Some(peer) => self.router.clone().layer(Extension(peer)),
            None => self.router.clone(),
        };
        let (stop, headers) = (self.stop.clone(), self.limits.headers);
        let stream = Patient::new(stream, self.limits.unread);
        self.tasks.spawn(async move {
            let _place = place;
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(headers).max_buf_size(64 * 1024);
            let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
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
