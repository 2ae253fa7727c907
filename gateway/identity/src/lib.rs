//! What proves that somebody is an agent: the documents that issuers sign, and the keys that they are held against.
//!
//! Nothing here knows grants, tools or policies: a document is looked at, and what it proves comes out, or why it proves nothing. A document
//! that is authentic says who its bearer is; whether that is a registered agent is asked elsewhere.

mod algorithm;
mod anchors;
#[cfg(test)]
mod authority;
mod bundle;
mod compact;
mod der;
mod dpop;
mod fault;
mod fetch;
mod issuer;
mod issuers;
mod keys;
mod login;
mod nonce;
mod ring;
mod spiffe;
mod subject;
#[cfg(test)]
mod tests;
mod x509;

pub use algorithm::{Algorithm, AlgorithmFault};
pub use anchors::{Anchors, AnchorsFault};
pub use bundle::{Bundle, BundleFault, Keeper, LARGEST_BUNDLE, News, Pace, Taken};
pub use compact::looks_signed;
pub use fault::TokenFault;
pub use fetch::{KeySource, is_trusted_way};
pub use issuer::{IssuerSpec, Method, Profile, Proven, SenderConstraint, is_issuer};
pub use issuers::Issuers;
pub use login::{LoggedIn, LoginAsked, LoginProvider, LoginSpec};
pub use spiffe::{SpiffeFault, SpiffeId, TrustDomain};
pub use subject::{SubjectFault, SubjectPattern};
pub use x509::{Authority, CertificateFault, ClientAuth, Svid, Trust, Verifier};
