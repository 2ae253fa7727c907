//! A connection to PostgreSQL: by its socket, or over TCP with TLS but on this machine.

use std::{
    future::Future,
    io,
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use rustls_platform_verifier::BuilderVerifierExt as _;
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::{
    Client, Config,
    config::SslMode,
    error::SqlState,
    tls::{ChannelBinding, NoTls, TlsConnect, TlsStream},
};

use super::{PostgresServer, wary::Wary};
use crate::{
    provider::{MintFault, MintFaultKind},
    secret_file,
};

/// How long a connection may take to come about, its login included.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 10 });

/// How long the server may work on one statement, milliseconds.
const STATEMENT_MS: u64 = 8_000;

/// What holds for every session. The names in its statements are PostgreSQL's own, whatever a task puts into a schema that is looked into
/// first; and a database that only reads unless it is told otherwise takes roles back all the same.
const OPTIONS: &str = "-c search_path=pg_catalog -c default_transaction_read_only=off";

/// What the bytes go over.
enum Wire {
    Tcp(tokio::net::TcpStream),
    Socket(tokio::net::UnixStream),
}

/// Either of them, as what it is.
macro_rules! on {
    ($wire:expr, $one:ident => $act:expr) => {
        match $wire {
            Wire::Tcp($one) => $act,
            Wire::Socket($one) => $act,
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, with: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on!(&mut *self, one => Pin::new(one).poll_read(with, into))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, with: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        on!(&mut *self, one => Pin::new(one).poll_write(with, from))
    }

    fn poll_flush(mut self: Pin<&mut Self>, with: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(&mut *self, one => Pin::new(one).poll_flush(with))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, with: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(&mut *self, one => Pin::new(one).poll_shutdown(with))
    }
}

/// One without TLS: nobody there has proved who they are.
struct Open {
    wire: Wire,
    wary: Wary,
}

impl AsyncRead for Open {
    fn poll_read(mut self: Pin<&mut Self>, with: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let Self { wire, wary } = &mut *self;
        let read = Pin::new(wire).poll_read(with, into);
        if let Poll::Ready(Ok(())) = &read {
            wary.look(into.filled().get(before..).unwrap_or_default())?;
        }
        read
    }
}

impl AsyncWrite for Open {
    fn poll_write(mut self: Pin<&mut Self>, with: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(with, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, with: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(with)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, with: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(with)
    }
}

/// Connects as the gateway, under this name. The connection ends when the client is dropped.
pub(super) async fn connect(server: &PostgresServer, name: &str) -> Result<Client, MintFault> {
    let connected = tokio::time::timeout(PATIENCE, connected(server, name)).await;
    connected.unwrap_or_else(|_| Err(MintFault::new(MintFaultKind::Slow, "PostgreSQL does not answer in time")))
}

async fn connected(server: &PostgresServer, name: &str) -> Result<Client, MintFault> {
    let mut config = Config::new();
    config.user(&server.user).dbname(&server.database).application_name(name);
    config.options(format!("{OPTIONS} -c statement_timeout={STATEMENT_MS} -c lock_timeout={STATEMENT_MS}"));
    let mut secrets = Vec::new();
    if let Some(file) = &server.password_file {
        let (path, shown) = (file.clone(), file.display().to_string());
        let read = tokio::task::spawn_blocking(move || secret_file::read(&path)).await;
        let password = read.unwrap_or_else(|_| Err("reading it failed".to_owned()));
        let own = |why| MintFault::new(MintFaultKind::Own, format!("the gateway's own secret in `{shown}`: {why}"));
        let password = password.map_err(own)?;
        config.password(password.expose_secret());
        secrets.push(password);
    }
    // A server that was shown the password may say it.
    let told = |fault: tokio_postgres::Error| {
        let fault = told(&fault);
        MintFault { why: bailiwick_pipeline::kept_out(&secrets, &fault.why), ..fault }
    };
    let wire = dial(server).await.map_err(|fault| {
        let why = format!("PostgreSQL can't be reached at `{}`: {fault}", server.place());
        MintFault::new(MintFaultKind::Down, why)
    })?;
    if server.is_near() && server.roots.is_none() {
        config.ssl_mode(SslMode::Disable);
        let open = Open { wire, wary: Wary::default() };
        let (client, connection) = config.connect_raw(open, NoTls).await.map_err(told)?;
        tokio::spawn(connection);
        return Ok(client);
    }
    config.ssl_mode(SslMode::Require);
    let roots = server.roots.clone();
    let tls = tokio::task::spawn_blocking(move || tls(roots)).await;
    let tls = tls.unwrap_or_else(|_| Err("it can't be set up".to_owned()));
    let tls = tls.map_err(|why| MintFault::new(MintFaultKind::Own, format!("TLS to PostgreSQL: {why}")))?;
    let host = ServerName::try_from(server.host.trim_start_matches('[').trim_end_matches(']').to_owned());
    let host = host.map_err(|_| MintFault::new(MintFaultKind::Own, format!("`{}` is no name of a host", server.host)))?;
    let (client, connection) = config.connect_raw(wire, Tls { config: Arc::new(tls), host }).await.map_err(told)?;
    tokio::spawn(connection);
    Ok(client)
}

#[expect(clippy::disallowed_methods, reason = "an issuer is where the admin says it is: no server or agent names it")]
async fn dial(server: &PostgresServer) -> io::Result<Wire> {
    if let Some(folder) = &server.socket {
        let path = folder.join(format!(".s.PGSQL.{}", server.port));
        return Ok(Wire::Socket(tokio::net::UnixStream::connect(path).await?));
    }
    let host = server.host.trim_start_matches('[').trim_end_matches(']');
    let wire = tokio::net::TcpStream::connect((host, server.port)).await?;
    wire.set_nodelay(true)?;
    Ok(Wire::Tcp(wire))
}

fn tls(roots: Option<PathBuf>) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|fault| fault.to_string())?;
    let builder = match roots {
        None => builder.with_platform_verifier().map_err(|fault| fault.to_string())?,
        Some(path) => {
            let shown = path.display();
            let pem = std::fs::read(&path).map_err(|fault| format!("`{shown}` can't be read: {fault}"))?;
            let mut store = RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|_| format!("`{shown}` is no PEM file of certificates"))?;
                store.add(certificate).map_err(|fault| format!("`{shown}`: {fault}"))?;
            }
            if store.is_empty() {
                return Err(format!("`{shown}` has no certificate"));
            }
            builder.with_root_certificates(store)
        }
    };
    Ok(builder.with_no_client_auth())
}

/// What a failure comes to. It says what the server says, and no statement.
pub(super) fn told(fault: &tokio_postgres::Error) -> MintFault {
    if let Some(said) = fault.as_db_error() {
        let code = said.code();
        let kind = match code {
            _ if *code == SqlState::TOO_MANY_CONNECTIONS || *code == SqlState::CANNOT_CONNECT_NOW => MintFaultKind::Busy(None),
            _ if *code == SqlState::QUERY_CANCELED || *code == SqlState::LOCK_NOT_AVAILABLE => MintFaultKind::Slow,
            _ if code.code().starts_with("57P") => MintFaultKind::Down,
            _ => MintFaultKind::Refused,
        };
        let message: String = said.message().chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
        return MintFault::new(kind, format!("PostgreSQL says: {message} ({})", code.code()));
    }
    let mut deepest: &dyn std::error::Error = fault;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    let is_wrong = deepest.downcast_ref::<io::Error>().is_some_and(|fault| fault.kind() == io::ErrorKind::InvalidData);
    let kind = if is_wrong { MintFaultKind::Wrong } else { MintFaultKind::Down };
    MintFault::new(kind, format!("the connection to PostgreSQL failed: {deepest}"))
}

struct Tls {
    config: Arc<ClientConfig>,
    host: ServerName<'static>,
}

impl TlsConnect<Wire> for Tls {
    type Stream = Wrapped;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Wrapped>> + Send>>;

    fn connect(self, wire: Wire) -> Self::Future {
        let connector = tokio_rustls::TlsConnector::from(self.config);
        Box::pin(async move { connector.connect(self.host, wire).await.map(Wrapped) })
    }
}

struct Wrapped(tokio_rustls::client::TlsStream<Wire>);

impl TlsStream for Wrapped {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Wrapped {
    fn poll_read(mut self: Pin<&mut Self>, with: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(with, into)
    }
}

impl AsyncWrite for Wrapped {
    fn poll_write(mut self: Pin<&mut Self>, with: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(with, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, with: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(with)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, with: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(with)
    }
}
