//! What proves that somebody is an agent: the documents that issuers sign, and the keys that they are held against.
//!
//! Nothing here knows grants, tools or policies: a document is looked at, and what it proves comes out, or why it proves nothing. A document
//! that is authentic says who its bearer is; whether that is a registered agent is asked elsewhere.

#[cfg(test)]
mod authority;
mod bundle;
mod der;
mod spiffe;
mod x509;

pub use bundle::{Bundle, BundleFault, Keeper, LARGEST_BUNDLE, News, Pace, Taken};
pub use spiffe::{SpiffeFault, SpiffeId, TrustDomain};
pub use x509::{Anchors, AnchorsFault, Authority, CertificateFault, ClientAuth, Svid, Trust, Verifier};
