//! The listener with TLS: agents prove themselves by X.509-SVIDs in its handshake, and go on proving it with every request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bailiwick_identity::{ClientAuth, Svid, Trust, Verifier};
use bailiwick_pipeline::{
    ports::Clock,
    principal::{ClientCertificate, Standing},
};
use rustls::{ServerConfig, pki_types::UnixTime, server::NoServerSessionStorage, time_provider::TimeProvider};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{
    certificate::ServerCertificate,
    listen::{Answers, Caller, Limits, Server},
};

/// What a listener with TLS is made of.
pub struct Tls {
    acceptor: TlsAcceptor,
    trust: Arc<Trust>,
    clock: Arc<dyn Clock>,
    handshakes: Arc<Handshakes>,
}

/// Handshakes that came to nothing, since the start. Anyone can cause them as fast as he likes, so they are counted and not recorded.
#[derive(Debug, Default)]
pub struct Handshakes {
    refused: AtomicU64,
    timed_out: AtomicU64,
}

impl Handshakes {
    /// Those that failed: no certificate, or none that counts, or no TLS at all.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Those that took too long.
    pub fn timed_out(&self) -> u64 {
        self.timed_out.load(Ordering::Relaxed)
    }
}

impl Tls {
    /// With this certificate of ours, for clients whom these trust domains speak for.
    pub fn new(
        certificate: Arc<ServerCertificate>,
        trust: Arc<Trust>,
        client_auth: ClientAuth,
        clock: Arc<dyn Clock>,
        handshakes: Arc<Handshakes>,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Arc::new(Verifier::new(Arc::clone(&trust), client_auth));
        let time = Arc::new(OurTime(Arc::clone(&clock)));
        let mut config = ServerConfig::builder_with_details(provider, time)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(certificate);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // INVARIANT: no session is resumed. A certificate is verified in every handshake, and not only in the first one.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), trust, clock, handshakes })
    }

    /// The handshake, and who came of it.
    async fn meet(&self, stream: TcpStream, patience: Duration) -> Option<(TlsStream<TcpStream>, Caller)> {
        let Ok(met) = tokio::time::timeout(patience, self.acceptor.accept(stream)).await else {
            self.handshakes.timed_out.fetch_add(1, Ordering::Relaxed);
            tracing::debug!("a TLS handshake took too long");
            return None;
        };
        let refused = |why: &dyn std::fmt::Display| {
            self.handshakes.refused.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%why, "a TLS handshake was refused");
        };
        let stream = met.inspect_err(|why| refused(why)).ok()?;
        let certificate = match stream.get_ref().1.peer_certificates() {
            // Once more, as what the handshake verified is not handed over.
            Some(chain) => {
                let svid = self.trust.verify(chain, self.clock.now_ms()).inspect_err(|why| refused(why)).ok()?;
                Some(Arc::new(self.certificate(svid)))
            }
            None => None,
        };
        Some((stream, Caller { certificate, ..Caller::default() }))
    }

    fn certificate(&self, svid: Svid) -> ClientCertificate {
        let (spiffe_id, thumbprint) = (svid.id().to_string(), svid.thumbprint());
        let standing = Arc::new(Verified { trust: Arc::clone(&self.trust), svid });
        ClientCertificate::new(spiffe_id, thumbprint, standing)
    }
}

/// A certificate that the trust domains are asked about again.
#[derive(Debug)]
struct Verified {
    trust: Arc<Trust>,
    svid: Svid,
}

impl Standing for Verified {
    fn is_good(&self, now_ms: u64) -> Result<(), String> {
        self.trust.confirm(&self.svid, now_ms).map_err(|fault| fault.to_string())
    }
}

/// The gateway's clock, for certificates.
struct OurTime(Arc<dyn Clock>);

impl TimeProvider for OurTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_nanos(self.0.now_ns())))
    }
}

impl std::fmt::Debug for OurTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OurTime")
    }
}

/// Serves on TCP with TLS until `stop`. A handshake may take as long as the headers of a request.
pub async fn serve_tls(listener: TcpListener, site: impl Answers, tls: Arc<Tls>, limits: Limits, stop: CancellationToken) {
    let server = Server::new(site, limits, stop);
    while let Some(accepted) = server.next(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                // A connection on which this fails is slower, not wrong.
                let _slower = stream.set_nodelay(true);
                let tls = Arc::clone(&tls);
                server.begin(|talk| async move {
                    let met = tokio::select! {
                        () = talk.stop.cancelled() => None,
                        met = tls.meet(stream, talk.limits.headers) => met,
                    };
                    if let Some((stream, caller)) = met {
                        talk.over(stream, caller).await;
                    }
                });
            }
            Err(error) => server.out_of_breath(&error).await,
        }
    }
    server.drain().await;
}
