//! The authorities of a trust domain, each as long as its own certificate is good.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, TrustAnchor},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};

use crate::{der::facts, x509::provider};

/// Why certificates can't be authorities.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorsFault {
    /// There is none.
    #[error("there is no certificate of an authority in it")]
    Empty,
    /// One of them can't be read.
    #[error("certificate {0} of it can't be read")]
    Malformed(usize),
    /// One of them is no authority's.
    #[error("certificate {0} of it is not an authority's: it may not sign certificates")]
    NoAuthority(usize),
}

/// The authorities of one trust domain. One whose certificate has expired stands behind nobody.
pub struct Anchors {
    all: Vec<Anchor>,
    /// The verifier by those that were good when it was asked last.
    live: ArcSwapOption<Live>,
}

struct Anchor {
    anchor: TrustAnchor<'static>,
    /// The last moment at which it is good, unix milliseconds.
    until_ms: u64,
}

/// What verifies as long as the same authorities are good.
pub(crate) struct Live {
    pub(crate) verifier: Arc<dyn ClientCertVerifier>,
    /// The first and the last moment of that, unix milliseconds.
    from_ms: u64,
    pub(crate) until_ms: u64,
}

impl Anchors {
    /// These certificates, each of an authority.
    pub fn new(certificates: &[CertificateDer<'_>]) -> Result<Self, AnchorsFault> {
        let all = certificates.iter().enumerate().map(|(at, one)| Anchor::read(one, at)).collect::<Result<Vec<_>, _>>()?;
        if all.is_empty() {
            return Err(AnchorsFault::Empty);
        }
        Ok(Self { all, live: ArcSwapOption::empty() })
    }

    /// Those of these certificates that are of authorities. That may be none: then nobody of the domain is believed.
    pub fn among(certificates: &[CertificateDer<'_>]) -> Self {
        let all = certificates.iter().enumerate().filter_map(|(at, one)| Anchor::read(one, at).ok()).collect();
        Self { all, live: ArcSwapOption::empty() }
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// What verifies by those that are good now; none where none is.
    pub(crate) fn live(&self, now_ms: u64) -> Option<Arc<Live>> {
        if let Some(live) = self.live.load_full().filter(|live| (live.from_ms..=live.until_ms).contains(&now_ms)) {
            return Some(live);
        }
        let good = || self.all.iter().filter(|one| now_ms <= one.until_ms);
        let until_ms = good().map(|one| one.until_ms).min()?;
        let ended_ms = self.all.iter().map(|one| one.until_ms).filter(|end| *end < now_ms).max();
        let roots: RootCertStore = good().map(|one| one.anchor.clone()).collect();
        // It is refused only where there are no roots, or lists of what was revoked.
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider())).build().ok()?;
        let live = Arc::new(Live { verifier, from_ms: ended_ms.map_or(0, |end| end.saturating_add(1)), until_ms });
        self.live.store(Some(Arc::clone(&live)));
        Some(live)
    }
}

impl Anchor {
    /// The certificate of this number, where it is an authority's.
    fn read(certificate: &CertificateDer<'_>, at: usize) -> Result<Self, AnchorsFault> {
        let found = facts(certificate).ok_or(AnchorsFault::Malformed(at))?;
        // The verifier of chains takes any certificate for an authority's that it is given as one.
        if !found.may_sign() {
            return Err(AnchorsFault::NoAuthority(at));
        }
        let mut read = RootCertStore::empty();
        read.add(certificate.clone().into_owned()).map_err(|_| AnchorsFault::Malformed(at))?;
        let anchor = read.roots.pop().ok_or(AnchorsFault::Malformed(at))?;
        Ok(Self { anchor, until_ms: found.until_ms })
    }
}

impl fmt::Debug for Anchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anchors").field("count", &self.count()).finish_non_exhaustive()
    }
}
