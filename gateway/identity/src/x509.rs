//! X.509-SVIDs (SPIFFE X509-SVID, sections 4 and 5): a client's certificate, held against the authorities of its own trust domain.
//!
//! Each trust domain has authorities of its own, and a certificate is verified by those of the domain that it names and by no others: an
//! authority can speak for its own domain alone. What was verified once is not good for ever: [`Trust::confirm`] is asked for each request
//! of a connection, and refuses what has expired, and what the authorities that are in force by then would not verify.

use std::{collections::BTreeMap, fmt, sync::Arc};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName,
    Error::InvalidCertificate as Invalid,
    OtherError, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use sha2::{Digest as _, Sha256};

use crate::{
    anchors::Anchors,
    der::{Facts, facts},
    spiffe::{SpiffeFault, SpiffeId, TrustDomain},
};

/// The most certificates of one chain, the workload's own included.
const LONGEST_CHAIN: usize = 10;

/// Why a certificate proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    /// There is none.
    #[error("no certificate was presented")]
    Absent,
    /// There are too many.
    #[error("more than {LONGEST_CHAIN} certificates were presented")]
    Many,
    /// It can't be read.
    #[error("it is not an X.509 certificate of version 3")]
    Malformed,
    /// It names nobody.
    #[error("it has no URI name, which a workload has its SPIFFE id in")]
    NoId,
    /// It names several.
    #[error("it has more than one URI name, so nobody can say which workload it is")]
    SeveralIds,
    /// What it names is no SPIFFE id.
    #[error("its URI name is no SPIFFE id: {0}")]
    BadId(SpiffeFault),
    /// Its key is an authority's.
    #[error("it is an authority's certificate, and no workload's")]
    Authority,
    /// Its key is not for this.
    #[error("its key usage must have `digitalSignature`, and neither `keyCertSign` nor `cRLSign`")]
    Usage,
    /// It is not a client's.
    #[error("its extended key usage does not have `clientAuth`")]
    Purpose,
    /// Nobody said that the domain's word counts.
    #[error("the trust domain `{0}` is not among `[[trust_domains]]`")]
    UnknownDomain(TrustDomain),
    /// The domain's authorities are not known, or not any more.
    #[error("the bundle of the trust domain `{0}` was never read, or not for longer than its `max_stale`")]
    NoBundle(TrustDomain),
    /// The domain has no authorities.
    #[error("the bundle of the trust domain `{0}` has no authority, so nobody of it is believed")]
    NoAuthority(TrustDomain),
    /// It is too late.
    #[error("it, or a certificate above it, has expired")]
    Expired,
    /// It is too early.
    #[error("it, or a certificate above it, is not valid yet")]
    NotYetValid,
    /// No authority of its domain stands behind it.
    #[error("the authorities of the trust domain `{domain}` do not stand behind it: {why}")]
    Chain {
        /// The domain that it names.
        domain: TrustDomain,
        /// What was found wrong.
        why: String,
    },
}

/// A trust domain, and the authorities that are in force for it: none until some were put.
#[derive(Debug)]
pub struct Authority {
    domain: TrustDomain,
    in_force: ArcSwapOption<InForce>,
}

#[derive(Debug)]
struct InForce {
    anchors: Arc<Anchors>,
    until_ms: u64,
}

impl Authority {
    /// Of this domain.
    pub fn new(domain: TrustDomain) -> Self {
        Self { domain, in_force: ArcSwapOption::empty() }
    }

    /// Its domain.
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// Puts these in force until then, unix milliseconds. Those before are no more.
    pub fn put(&self, anchors: Arc<Anchors>, until_ms: u64) {
        self.in_force.store(Some(Arc::new(InForce { anchors, until_ms })));
    }

    fn anchors(&self, now_ms: u64) -> Result<Arc<Anchors>, CertificateFault> {
        let in_force = self.in_force.load();
        let good = in_force.as_ref().filter(|in_force| now_ms <= in_force.until_ms);
        good.map(|good| Arc::clone(&good.anchors)).ok_or_else(|| CertificateFault::NoBundle(self.domain.clone()))
    }
}

/// A workload's certificate that was verified. Made by [`Trust::verify`] alone.
pub struct Svid {
    id: SpiffeId,
    thumbprint: [u8; 32],
    chain: Vec<CertificateDer<'static>>,
    verified: ArcSwap<Verified>,
}

/// By whom it was verified last.
struct Verified {
    by: Arc<Anchors>,
    /// Until when none of the chain expires, and no authority that may stand behind it, unix milliseconds.
    until_ms: u64,
}

impl Svid {
    /// Whom it proves.
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The SHA-256 of the certificate's DER (`x5t#S256`, RFC 8705, section 3.1).
    pub fn thumbprint(&self) -> [u8; 32] {
        self.thumbprint
    }
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Svid").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The trust domains whose word counts: replaced as a whole, while connections are open.
#[derive(Debug, Default)]
pub struct Trust {
    domains: ArcSwap<BTreeMap<TrustDomain, Arc<Authority>>>,
}

impl Trust {
    /// From here on it is the word of these that counts, and of no others.
    pub fn set(&self, authorities: impl IntoIterator<Item = Arc<Authority>>) {
        let domains = authorities.into_iter().map(|authority| (authority.domain.clone(), authority)).collect();
        self.domains.store(Arc::new(domains));
    }

    /// Verifies a client's certificate, which comes first, by those above it that it sent along and the authorities of its own domain.
    pub fn verify(&self, chain: &[CertificateDer<'_>], now_ms: u64) -> Result<Svid, CertificateFault> {
        let (leaf, above) = chain.split_first().ok_or(CertificateFault::Absent)?;
        if chain.len() > LONGEST_CHAIN {
            return Err(CertificateFault::Many);
        }
        let found = facts(leaf).ok_or(CertificateFault::Malformed)?;
        let id = workload(&found)?;
        let anchors = self.anchors_of(id.domain(), now_ms)?;
        let anchored_ms = verify_by(&anchors, leaf, above, &id, now_ms)?;
        let until_ms = earliest_end(chain).min(anchored_ms);
        Ok(Svid {
            id,
            thumbprint: Sha256::digest(leaf).into(),
            chain: chain.iter().map(|one| one.clone().into_owned()).collect(),
            verified: ArcSwap::from_pointee(Verified { by: anchors, until_ms }),
        })
    }

    /// Whether what was verified is good still: its domain counts, its authorities are known, and they stand behind it. They are only
    /// asked again where they are others than before, or where a certificate may have expired.
    pub fn confirm(&self, svid: &Svid, now_ms: u64) -> Result<(), CertificateFault> {
        let anchors = self.anchors_of(svid.id.domain(), now_ms)?;
        let verified = svid.verified.load();
        if Arc::ptr_eq(&verified.by, &anchors) && now_ms <= verified.until_ms {
            return Ok(());
        }
        let (leaf, above) = svid.chain.split_first().ok_or(CertificateFault::Absent)?;
        let anchored_ms = verify_by(&anchors, leaf, above, &svid.id, now_ms)?;
        let until_ms = earliest_end(&svid.chain).min(anchored_ms);
        svid.verified.store(Arc::new(Verified { by: anchors, until_ms }));
        Ok(())
    }

    fn anchors_of(&self, domain: &TrustDomain, now_ms: u64) -> Result<Arc<Anchors>, CertificateFault> {
        let domains = self.domains.load();
        domains.get(domain).ok_or_else(|| CertificateFault::UnknownDomain(domain.clone()))?.anchors(now_ms)
    }
}

/// The workload that a certificate names, where it is a workload's.
fn workload(found: &Facts<'_>) -> Result<SpiffeId, CertificateFault> {
    let uri = match found.uris.as_slice() {
        [] => return Err(CertificateFault::NoId),
        [one] => one,
        _ => return Err(CertificateFault::SeveralIds),
    };
    let text = std::str::from_utf8(uri).map_err(|_| CertificateFault::BadId(SpiffeFault::Path))?;
    let id = text.parse().map_err(CertificateFault::BadId)?;
    if found.is_authority {
        return Err(CertificateFault::Authority);
    }
    if !found.is_for_proof_alone() {
        return Err(CertificateFault::Usage);
    }
    Ok(id)
}

/// Until when the authorities that verified it are the same, unix milliseconds.
fn verify_by(
    anchors: &Anchors,
    leaf: &CertificateDer<'_>,
    above: &[CertificateDer<'_>],
    id: &SpiffeId,
    now_ms: u64,
) -> Result<u64, CertificateFault> {
    let Some(live) = anchors.live(now_ms) else {
        let is_empty = anchors.count() == 0;
        return Err(if is_empty { CertificateFault::NoAuthority(id.domain().clone()) } else { CertificateFault::Expired });
    };
    // The verifier of chains does not look what a key above may be used for.
    let above: Vec<_> = above.iter().filter(|one| facts(one).is_some_and(|found| found.may_sign())).cloned().collect();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_millis(now_ms));
    let refused = match live.verifier.verify_client_cert(leaf, &above, now) {
        Ok(_verified) => return Ok(live.until_ms),
        Err(refused) => refused,
    };
    Err(match refused {
        Invalid(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => CertificateFault::Expired,
        Invalid(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => CertificateFault::NotYetValid,
        Invalid(CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. }) => CertificateFault::Purpose,
        Invalid(why) => CertificateFault::Chain { domain: id.domain().clone(), why: why.to_string() },
        other => CertificateFault::Chain { domain: id.domain().clone(), why: other.to_string() },
    })
}

/// When the first of these expires; what can't be read has.
fn earliest_end(chain: &[CertificateDer<'_>]) -> u64 {
    chain.iter().map(|one| facts(one).map_or(0, |found| found.until_ms)).min().unwrap_or(0)
}

/// The one provider of cryptography.
pub(crate) fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

/// Whether clients must present a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// Who has none is refused.
    Required,
    /// Who has none may prove itself otherwise.
    Optional,
}

/// Verifies clients in the handshake of TLS.
#[derive(Debug)]
pub struct Verifier {
    trust: Arc<Trust>,
    client_auth: ClientAuth,
    provider: CryptoProvider,
}

impl Verifier {
    /// By these trust domains.
    pub fn new(trust: Arc<Trust>, client_auth: ClientAuth) -> Self {
        Self { trust, client_auth, provider: provider() }
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.client_auth == ClientAuth::Required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Whom we trust is nobody's business before he has said who he is, and it changes.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        let now_ms = now.as_secs().saturating_mul(1000);
        match self.trust.verify(&chain, now_ms) {
            Ok(_svid) => Ok(ClientCertVerified::assertion()),
            Err(fault) => Err(rustls::Error::InvalidCertificate(match fault {
                CertificateFault::Malformed => CertificateError::BadEncoding,
                CertificateFault::Expired => CertificateError::Expired,
                CertificateFault::NotYetValid => CertificateError::NotValidYet,
                CertificateFault::Purpose | CertificateFault::Usage => CertificateError::InvalidPurpose,
                CertificateFault::UnknownDomain(_) | CertificateFault::NoBundle(_) | CertificateFault::NoAuthority(_) => {
                    CertificateError::UnknownIssuer
                }
                other => CertificateError::Other(OtherError(Arc::new(other))),
            })),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
