//! The gateway's own certificate: read from files, and read again when they change, while connections are open.

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use bailiwick_config::Tls as Settings;
use bailiwick_schemas::canonical::Digest;
use rustls::{
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::fetch;

/// The largest file of a certificate or a key, bytes.
const LARGEST: u64 = 256 * 1024;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The certificate in use, with its key.
#[derive(Debug)]
pub struct ServerCertificate {
    certificate: PathBuf,
    key: PathBuf,
    in_use: ArcSwap<CertifiedKey>,
}

/// What the two files hold.
struct Files {
    chain: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Files {
    /// Blocks.
    fn read(settings: (&PathBuf, &PathBuf)) -> Result<Self, String> {
        let said = |path: &PathBuf, why| format!("`{}`: {why}", path.display());
        let chain = fetch::file(settings.0, LARGEST).map_err(|why| said(settings.0, why))?;
        let key = fetch::private_file(settings.1, LARGEST).map_err(|why| said(settings.1, why))?;
        Ok(Self { chain, key: Zeroizing::new(key) })
    }

    fn digest(&self) -> [Digest; 2] {
        [Digest::of(&self.chain), Digest::of(&self.key)]
    }

    fn certified(&self) -> Result<CertifiedKey, String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.chain).collect();
        let chain = chain.map_err(|why| format!("the certificate is not PEM: {why}"))?;
        if chain.is_empty() {
            return Err("the certificate's file has no certificate in PEM".to_owned());
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|why| format!("the key is no private key in PEM: {why}"))?;
        let certified = CertifiedKey::from_der(chain, key, &default_provider());
        // Two keys that differ are found out here: they would fail every handshake.
        certified.map_err(|why| format!("the certificate and the key can't be used together: {why}"))
    }
}

impl ServerCertificate {
    /// Reads both files. Blocks.
    pub fn read(settings: &Settings) -> Result<Self, String> {
        let Settings { certificate, key, .. } = settings;
        let certified = Files::read((certificate, key))?.certified()?;
        Ok(Self { certificate: certificate.clone(), key: key.clone(), in_use: ArcSwap::from_pointee(certified) })
    }

    /// Reads the files again when they change, until `stop`. What can't be used leaves the one in use as it is: the two are not written
    /// at the same moment.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut seen = None;
        let mut every = tokio::time::interval(LOOK);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = every.tick() => {}
            }
            let own = Arc::clone(&self);
            let read = tokio::task::spawn_blocking(move || Files::read((&own.certificate, &own.key))).await;
            let Ok(read) = read else { continue };
            let found = read.as_ref().map(Files::digest).map_err(Clone::clone);
            if seen.as_ref() == Some(&found) {
                continue;
            }
            let is_first = seen.replace(found).is_none();
            match read.and_then(|files| files.certified()) {
                Ok(certified) => {
                    self.in_use.store(Arc::new(certified));
                    if !is_first {
                        tracing::info!("the TLS listener has another certificate");
                    }
                }
                Err(why) => tracing::warn!(why, "the TLS listener keeps its certificate: the files can't be used"),
            }
        }
    }
}

impl ResolvesServerCert for ServerCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.in_use.load_full())
    }
}
