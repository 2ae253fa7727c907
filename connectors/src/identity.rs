//! The certificate that a connector presents to its server.

use std::{os::unix::fs::MetadataExt as _, path::Path};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

/// The largest file of a certificate and its key, bytes.
const BYTES: u64 = 256 * 1024;

/// A certificate with those above it, and its private key.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
}

/// Reads one from a PEM file that nobody but its owner can read.
pub(crate) async fn read(path: &Path) -> Result<Identity, String> {
    let shown = path.display();
    let unreadable = |fault: std::io::Error| format!("`{shown}`, its certificate, can't be read: {fault}");
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let found = file.metadata().await.map_err(unreadable)?;
    if !found.is_file() || found.len() > BYTES {
        return Err(format!(
            "`{shown}` is no file of at most {BYTES} bytes: name a PEM file with a certificate and its private key"
        ));
    }
    if found.mode() & 0o077 != 0 {
        return Err(format!(
            "others than its owner can read or change `{shown}`, in which there is a private key: `chmod 600 {shown}`"
        ));
    }
    let mut pem = Zeroizing::new(Vec::with_capacity(usize::try_from(BYTES).unwrap_or_default()));
    file.take(BYTES).read_to_end(&mut pem).await.map_err(unreadable)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| format!("`{shown}` has no certificate as PEM"))?;
    let key = PrivateKeyDer::from_pem_slice(&pem);
    let key = key.map_err(|_| format!("`{shown}` has no private key as PEM that has no passphrase"))?;
    Ok(Identity { chain, key })
}
