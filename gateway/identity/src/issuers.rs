//! All issuers whose word counts, and what their tokens prove.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use dashmap::DashMap;

use crate::{
    compact::{self, Token, shown},
    dpop::{Asked, Shown},
    fault::TokenFault,
    issuer::{Binding, Issuer, IssuerSpec, Proven},
    keys::sha256,
};

/// Types of tokens that are taken (RFC 7519, section 5.1; RFC 9068, section 2.1; JWT-SVID, section 2.3).
const TYPES: [&str; 5] = ["", "JWT", "JOSE", "at+jwt", "application/at+jwt"];

/// Tokens whose proof is remembered.
const REMEMBERED: usize = 8 * 1024;

/// The issuers whose word counts: replaced as a whole when the configuration changes.
pub struct Issuers {
    served: ArcSwap<Served>,
    /// What tokens proved, by their digest: the same one comes with each request of an agent.
    remembered: DashMap<[u8; 32], Remembered>,
    proofs: Shown,
}

#[derive(Debug, Clone)]
struct Served {
    /// Another number means that nothing that was proven before counts.
    epoch: u64,
    issuers: Vec<Arc<Issuer>>,
    /// Those that do not count for the moment. One that does again as it was has its keys still.
    aside: Vec<Arc<Issuer>>,
    /// The URL by which agents reach the gateway: whom tokens are for, and what proofs are for.
    resource: Arc<str>,
}

struct Remembered {
    proven: Arc<Proven>,
    issuer: Arc<Issuer>,
    generation: u64,
    epoch: u64,
}

impl Issuers {
    /// None, at a gateway that agents reach by `resource` and that started at this time, unix milliseconds.
    pub fn new(resource: &str, now_ms: u64) -> Self {
        let served =
            ArcSwap::from_pointee(Served { epoch: 0, issuers: Vec::new(), aside: Vec::new(), resource: resource.into() });
        Self { served, remembered: DashMap::new(), proofs: Shown::since(now_ms / 1000) }
    }

    /// Replaces all of them. One that is what it was keeps its keys.
    pub fn set(&self, specs: &[IssuerSpec]) {
        self.serve(|before| Served { issuers: before.these(specs), aside: Vec::new(), ..before.clone() });
    }

    /// The URL by which agents reach the gateway from now on.
    pub fn set_resource(&self, resource: &str) {
        self.serve(|before| Served { resource: resource.into(), ..before.clone() });
    }

    /// From here on the word of none counts that will not count just as it is once these are all, and agents reach the gateway by this URL.
    /// With another URL that is nobody's: it is what their tokens are for, or the proofs that come with them.
    pub fn narrow(&self, wanted: &[IssuerSpec], resource: &str) {
        self.serve(|before| {
            let is_same = *before.resource == *resource;
            let stays = |issuer: &Arc<Issuer>| is_same && wanted.contains(&issuer.spec);
            let (issuers, aside) = before.issuers.iter().cloned().partition(stays);
            Served { issuers, aside, ..before.clone() }
        });
    }

    /// Replaces all of them, and the URL by which agents reach the gateway, at once.
    pub fn replace(&self, specs: &[IssuerSpec], resource: &str) {
        self.serve(|before| Served {
            issuers: before.these(specs),
            aside: Vec::new(),
            resource: resource.into(),
            ..before.clone()
        });
    }

    /// What was proven before counts no more, unless nothing is another.
    fn serve(&self, change: impl Fn(&Served) -> Served) {
        let before = self.served.rcu(|before| {
            let after = change(before);
            if after.is_as(before) { Arc::clone(before) } else { Arc::new(Served { epoch: before.epoch + 1, ..after }) }
        });
        if self.served.load().epoch != before.epoch {
            self.remembered.clear();
        }
    }

    /// What this token proves at this time, unix milliseconds. Whoever has it may still have to show a key: see [`Issuers::check_bearer`] and
    /// [`Issuers::check_proof`].
    pub async fn prove(&self, token: &str, now_ms: u64) -> Result<Arc<Proven>, TokenFault> {
        let mut served = self.served.load_full();
        let digest = sha256(token.as_bytes());
        if let Some(proven) = self.recall(&digest, served.epoch, now_ms) {
            return Ok(proven);
        }
        let read = compact::read(token, &TYPES)?;
        // Keys may be waited for, and issuers be others by then: what one proved that was replaced meanwhile counts no more.
        for _ in 0..2 {
            let proven = self.prove_by(&served, digest, &read, now_ms).await;
            let now = self.served.load_full();
            if now.epoch == served.epoch {
                return proven;
            }
            served = now;
        }
        let issuer = served.named_by(&read)?.spec.id.clone();
        let why = "issuers were replaced twice while they were waited for: send the request again".to_owned();
        Err(TokenFault::Unavailable { issuer, why })
    }

    async fn prove_by(
        &self,
        served: &Served,
        digest: [u8; 32],
        read: &Token<'_>,
        now_ms: u64,
    ) -> Result<Arc<Proven>, TokenFault> {
        let issuer = served.named_by(read)?;
        let (proven, generation) = issuer.prove(read, &served.resource, now_ms).await?;
        let proven = Arc::new(proven);
        let remembered = Remembered { proven: Arc::clone(&proven), issuer: Arc::clone(issuer), generation, epoch: served.epoch };
        self.remember(digest, remembered, now_ms);
        Ok(proven)
    }

    /// What a token proved before, if nothing has changed since: its time, the issuers, their keys.
    fn recall(&self, digest: &[u8; 32], epoch: u64, now_ms: u64) -> Option<Arc<Proven>> {
        let found = self.remembered.get(digest)?;
        let is_good = found.epoch == epoch
            && !found.proven.is_over(now_ms / 1000)
            && found.issuer.ring.at_hand(now_ms).is_some_and(|held| held.generation == found.generation);
        is_good.then(|| Arc::clone(&found.proven))
    }

    fn remember(&self, digest: [u8; 32], proven: Remembered, now_ms: u64) {
        if self.remembered.len() >= REMEMBERED {
            self.remembered.retain(|_, known| !known.proven.is_over(now_ms / 1000));
            if self.remembered.len() >= REMEMBERED {
                self.remembered.clear();
            }
        }
        self.remembered.insert(digest, proven);
    }

    /// Whether having the token is enough, over a connection that was opened with the client certificate of this SHA-256, if any.
    pub fn check_bearer(&self, proven: &Proven, certificate: Option<&[u8; 32]>) -> Result<(), TokenFault> {
        match (&proven.bound_to, certificate) {
            (None, _) => Ok(()),
            (Some(Binding::Certificate(bound)), Some(shown)) if bound == shown => Ok(()),
            (Some(Binding::Certificate(_)), Some(_)) => {
                Err(TokenFault::Bound("is bound to another client certificate than that of its connection"))
            }
            (Some(Binding::Certificate(_)), None) => {
                Err(TokenFault::Bound("is bound to a client certificate, and came over a connection without one"))
            }
            (Some(Binding::Key(_)), _) => {
                Err(TokenFault::Bound("is bound to a key, and came as a bearer token without a proof of it"))
            }
        }
    }

    /// Whether this proof shows the key that the token is bound to, for a request of this method, and was not shown before. To be asked once
    /// for each request.
    pub fn check_proof(
        &self,
        proven: &Proven,
        token: &str,
        (proof, method): (&str, &str),
        now_ms: u64,
    ) -> Result<(), TokenFault> {
        let served = self.served.load();
        let Some(Binding::Key(bound_to)) = &proven.bound_to else {
            return Err(TokenFault::Bound("is bound to no key that could be proven"));
        };
        let asked = Asked { method, url: &served.resource, token, bound_to };
        self.proofs.check(proof, asked, now_ms / 1000)
    }
}

impl Served {
    /// The issuers of these, those that are what they were with their keys.
    fn these(&self, specs: &[IssuerSpec]) -> Vec<Arc<Issuer>> {
        let kept = |spec: &IssuerSpec| self.issuers.iter().chain(&self.aside).find(|issuer| issuer.spec == *spec).cloned();
        specs.iter().map(|spec| kept(spec).unwrap_or_else(|| Arc::new(Issuer::new(spec.clone())))).collect()
    }

    fn is_as(&self, other: &Self) -> bool {
        let is_same = |(one, other): (&Arc<Issuer>, &Arc<Issuer>)| Arc::ptr_eq(one, other);
        let are_same =
            |one: &[Arc<Issuer>], other: &[Arc<Issuer>]| one.len() == other.len() && one.iter().zip(other).all(is_same);
        are_same(&self.issuers, &other.issuers) && are_same(&self.aside, &other.aside) && self.resource == other.resource
    }

    /// The issuer that a token says it is of. Nothing of that is proven yet.
    fn named_by(&self, token: &Token<'_>) -> Result<&Arc<Issuer>, TokenFault> {
        // An issuer by its own name first: a trust domain is what a subject says, and any issuer may say such a subject.
        let mut named = self.issuers.iter().filter(|issuer| issuer.is_named_by(&token.claims));
        let by_name = named.clone().find(|issuer| !issuer.spec.is_trust_domain());
        by_name.or_else(|| named.next()).ok_or_else(|| {
            let iss = token.claims.get("iss").and_then(serde_json::Value::as_str).unwrap_or("none");
            TokenFault::Issuer(format!("`{}`", shown(iss)))
        })
    }
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuers").field("served", &self.served).finish_non_exhaustive()
    }
}
