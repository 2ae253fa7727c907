//! Why a token proves nothing. All of it is for the operator: an agent hears one and the same answer for every cause.

use crate::{algorithm::AlgorithmFault, spiffe::SpiffeFault};

/// Why a token proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// It is no compact JWS of a JSON object, or one that could be read in two ways.
    #[error("the token can't be read: {0}")]
    Unreadable(String),
    /// Its header says something that nobody here understands, or that no token may say.
    #[error("the token's header has {0}")]
    Header(String),
    /// It is signed with an algorithm that is never taken.
    #[error(transparent)]
    Algorithm(#[from] AlgorithmFault),
    /// It is signed with an algorithm that its issuer does not use.
    #[error("{algorithm} is no algorithm of the issuer `{issuer}`: add it to `algorithms` if it signs so")]
    NotOfIssuer {
        /// The algorithm.
        algorithm: crate::Algorithm,
        /// The issuer's id.
        issuer: String,
    },
    /// Nobody who is configured is its issuer.
    #[error("{0} is no issuer that is configured")]
    Issuer(String),
    /// No key of its issuer is the one that it names, or fits it.
    #[error("no key of the issuer `{issuer}` fits: {why}")]
    NoKey {
        /// The issuer's id.
        issuer: String,
        /// What was looked for.
        why: String,
    },
    /// Its signature is not by the key that it names.
    #[error("the signature is not by the key that it names")]
    Signature,
    /// A claim is missing, or not what it has to be.
    #[error("the claim `{claim}` {why}")]
    Claim {
        /// Which.
        claim: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// It is for somebody else.
    #[error("the token is for another audience than `{0}`")]
    Audience(String),
    /// It is over.
    #[error("the token has expired")]
    Expired,
    /// It is not good yet.
    #[error("the token is not good yet, by its `{0}`")]
    Early(&'static str),
    /// It lives longer than its issuer's tokens may.
    #[error("the token lives longer than `max_lifetime` allows")]
    Lifetime,
    /// Its subject is no SPIFFE id.
    #[error("the subject is no SPIFFE id: {0}")]
    Spiffe(#[from] SpiffeFault),
    /// It is bound to a key of its bearer in a way that nobody here can check, or is not bound where it has to be.
    #[error("the token {0}")]
    Bound(&'static str),
    /// The proof of its bearer's key proves nothing (`DPoP`).
    #[error("the DPoP proof {0}")]
    Proof(String),
    /// The proof is to be made anew, with this nonce of ours in it: else nobody can tell when it was made (RFC 9449, section 9).
    #[error("the DPoP proof {why}: send a new one with the nonce that comes with this answer")]
    Nonce {
        /// What is wrong with it.
        why: String,
        /// The nonce.
        nonce: String,
    },
    /// The issuer's keys can't be had.
    #[error("the keys of the issuer `{issuer}` can't be had: {why}")]
    Unavailable {
        /// The issuer's id.
        issuer: String,
        /// Why.
        why: String,
    },
}

impl TokenFault {
    pub(crate) fn claim(claim: &'static str, why: impl Into<String>) -> Self {
        Self::Claim { claim, why: why.into() }
    }

    pub(crate) fn proof(why: impl Into<String>) -> Self {
        Self::Proof(why.into())
    }
}
