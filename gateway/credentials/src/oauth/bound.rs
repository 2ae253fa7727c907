//! What a token is bound to, so that it is of no use to whoever steals it: a key (RFC 9449), or a certificate (RFC 8705).

use std::path::{Path, PathBuf};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use crate::{
    dpop::{ProofKey, digest_of},
    provider::{MintFault, MintFaultKind},
    secret_file,
};

/// What a token has to be bound to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// To nothing: whoever has it can use it.
    #[default]
    None,
    /// To a key that is the lease's alone.
    Dpop,
    /// To the certificate that the connector presents.
    Mtls,
}

impl Bound {
    /// The word for it in configuration and records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Dpop => "dpop",
            Self::Mtls => "mtls",
        }
    }
}

/// What the connector shows beside a token.
pub(super) struct Shown<'a> {
    pub(super) bound: Bound,
    pub(super) key: Option<&'a ProofKey>,
    pub(super) certificate: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    cnf: Option<Confirmation>,
}

/// RFC 7800, section 3.1; RFC 8705, section 3.1; RFC 9449, section 6.1.
#[derive(Deserialize)]
struct Confirmation {
    jkt: Option<String>,
    #[serde(rename = "x5t#S256")]
    certificate: Option<String>,
    #[serde(flatten)]
    others: serde_json::Map<String, serde_json::Value>,
}

impl Shown<'_> {
    /// Refuses a token that says of itself that it is bound to what the connector does not show, or to nothing where it has to be. What is
    /// no JWT says nothing of itself.
    pub(super) fn judge(&self, token: &SecretString) -> Result<(), MintFault> {
        let wrong = |why: &str| Err(MintFault::new(MintFaultKind::Wrong, why));
        let mut parts = token.expose_secret().split('.');
        let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Ok(());
        };
        let Some(claims) = B64.decode(claims).ok().filter(|claims| claims.first() == Some(&b'{')) else { return Ok(()) };
        let Ok(claims) = serde_json::from_slice::<Claims>(&claims) else {
            return wrong("what its token says it is bound to is not what RFC 7800 says");
        };
        let Some(cnf) = claims.cnf else {
            return match self.bound {
                Bound::None => Ok(()),
                Bound::Dpop => wrong("its issuer gives a token that is bound to no key: have it bind tokens to keys (DPoP)"),
                Bound::Mtls => wrong(
                    "its issuer gives a token that is bound to no certificate: have it bind this client's tokens (RFC 8705)",
                ),
            };
        };
        if !cnf.others.is_empty() {
            return wrong("its issuer binds the token to something that the connector can't show");
        }
        if cnf.jkt.as_deref() != self.key.map(ProofKey::thumbprint) {
            return wrong(
                "its issuer binds the token to another key than the connector proves: `bound = \"dpop\"` says that it does",
            );
        }
        match (&cnf.certificate, &self.certificate) {
            (Some(bound), Some(shown)) if bound == shown => Ok(()),
            (None, _) if self.bound != Bound::Mtls => Ok(()),
            (None, _) => wrong("its issuer gives a token that is bound to no certificate"),
            (Some(_), Some(_)) => wrong("its issuer binds the token to another certificate than the connector presents"),
            (Some(_), None) => {
                wrong("its issuer binds the token to a certificate, and the connector presents none: set its `identity`")
            }
        }
    }
}

/// The digest of the certificate in this file, which is the first there (RFC 8705, section 3.1).
pub(super) async fn certificate_of(path: &Path) -> Result<String, MintFault> {
    let from: PathBuf = path.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let pem = secret_file::read(&from)?;
        let certificate = CertificateDer::from_pem_slice(pem.expose_secret().as_bytes());
        certificate.map(|der| digest_of(&der)).map_err(|_| "it has no certificate as PEM".to_owned())
    });
    let read = read.await.unwrap_or_else(|_| Err("reading it failed".to_owned()));
    read.map_err(|why| MintFault::new(MintFaultKind::Own, format!("the connector's certificate in `{}`: {why}", path.display())))
}
