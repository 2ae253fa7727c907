//! Access to a server that protects itself with OAuth, as its owner's: a person consents once, at the console, and each task is lent an
//! access token of its own (MCP, authorization, 2025-11-25 and 2026-07-28).
//!
//! What a consent leaves behind, a refresh token, is kept sealed and lent to nobody. It is found by server, issuer and owner: what one person
//! consented to is never used for another one's task.

mod challenge;
mod client;
mod consents;
mod discover;
mod pending;
#[cfg(test)]
mod tests;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use bailiwick_pipeline::ports::{Access, Later, Material};
use bailiwick_schemas::names::ConnectorId;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedMutexGuard, oneshot};
use url::Url;

pub use consents::{Consent, ConsentBook, Consents, Secrets};
pub use pending::{Begun, Returned, Who};

use crate::{
    mcp::{
        client::{Authority, Gave},
        discover::short,
    },
    provider::{Handle, Journal, MintFault, MintFaultKind, Minted, Provider, RevokeFault, Wish},
    web::{Egress, Web},
};

/// The scope that asks for a refresh token (`OpenID` Connect Core, section 11), and opens nothing itself.
const OFFLINE: &str = "offline_access";

/// How the gateway is known to authorization servers.
#[derive(Debug, Clone, Default)]
pub struct OAuthClient {
    /// Its id, where it was registered by hand: at one issuer then.
    pub id: Option<String>,
    /// The file with the secret that goes with it.
    pub secret_file: Option<PathBuf>,
    /// Where its metadata document is, for servers that take that for an id.
    pub metadata_url: Option<Url>,
    /// Whether it may register itself (RFC 7591).
    pub register: bool,
    /// The only issuers whose tokens are used; whichever an admin consented at where there are none.
    pub issuers: Vec<String>,
    /// Whether a token that can't be taken back is refused.
    pub revocable: bool,
}

/// The server of one connector, and what is wanted of it.
#[derive(Debug, Clone)]
pub struct Protected {
    /// The connector.
    pub connector: ConnectorId,
    /// Its address, for which tokens are made.
    pub url: Url,
    /// The scopes of tasks that may change things; what the server asks for where there are none.
    pub scopes: Option<Vec<String>>,
    /// Those of tasks that only read, where they are others.
    pub read_scopes: Option<Vec<String>>,
    /// For how long a token may live at most; as its issuer says where there is none.
    pub longest: Option<Duration>,
}

/// Lends access tokens that owners have consented to.
#[derive(Clone)]
pub struct Consented {
    /// How the gateway is known.
    pub client: OAuthClient,
    /// What is protected.
    pub of: Protected,
    /// How its issuer is reached.
    pub web: Web,
    /// What may be connected to.
    pub egress: Arc<dyn Egress>,
    /// What was consented to.
    pub consents: Arc<Consents>,
    /// Where people consent, for whoever reads why a token is missing.
    pub page: String,
}

impl fmt::Debug for Consented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consented").field("client", &self.client).field("of", &self.of).finish_non_exhaustive()
    }
}

/// By what an access token is taken back.
#[derive(Serialize, Deserialize)]
struct Back {
    authority: Authority,
    token: String,
}

impl Consented {
    /// The scopes that a task with this access gets, where they are configured.
    fn wanted(&self, access: Access) -> Option<&[String]> {
        let read = self.of.read_scopes.as_deref().filter(|_| access == Access::Read);
        read.or(self.of.scopes.as_deref())
    }

    /// The scopes that a person is asked for, where they are configured: those of every task.
    fn asked(&self) -> Option<Vec<String>> {
        let mut all = self.of.scopes.clone()?;
        let read = self.of.read_scopes.iter().flatten().filter(|scope| !all.contains(scope)).cloned().collect::<Vec<_>>();
        all.extend(read);
        Some(all)
    }

    /// Whether tokens of this issuer are used for anybody, whoever consented.
    fn is_listed(&self, issuer: &str) -> bool {
        self.client.issuers.iter().any(|listed| listed == issuer)
    }

    /// Whether tokens of this issuer are used: it is listed, or, where none is, an admin has consented at it, or is about to.
    fn trusts(&self, issuer: &str, by_admin: bool, all: &[Consent]) -> bool {
        if self.client.issuers.is_empty() {
            by_admin || all.iter().any(|consent| consent.by_admin && consent.issuer == issuer)
        } else {
            self.is_listed(issuer)
        }
    }

    /// What a task gets of this consent: nothing that was not consented to, whatever is configured by now.
    fn within(&self, consent: &Consent, wish: &Wish) -> Result<Vec<String>, MintFault> {
        let wanted = self.wanted(wish.access).unwrap_or(&consent.scopes);
        let beyond = wanted.iter().find(|scope| *scope != OFFLINE && !consent.scopes.contains(scope));
        if let Some(beyond) = beyond {
            let (owner, connector, page) = (&consent.owner, &wish.connector, &self.page);
            let why =
                format!("the consent of `{owner}` to `{connector}` is not for the scope `{beyond}`: connect again at {page}");
            return Err(MintFault::new(MintFaultKind::Refused, why));
        }
        Ok(wanted.to_vec())
    }

    async fn refreshed(&self, wish: &Wish, journal: &dyn Journal) -> Result<Minted, MintFault> {
        // One at a time: a refresh token that is used twice looks stolen to its issuer, which ends the consent then.
        let owner = self.standing(wish)?.map_or_else(|| wish.owner.clone(), |consent| consent.owner);
        let turn = self.consents.turn(&self.resource(), &owner).lock_owned().await;
        let Some(consent) = self.standing(wish)?.filter(|consent| consent.owner == owner) else {
            let whose = if wish.grant.is_some() { format!("`{}`", wish.owner) } else { "an admin".to_owned() };
            let (connector, page) = (&wish.connector, &self.page);
            let why = format!("{whose} has not consented to `{connector}`: connect at {page}");
            return Err(MintFault::new(MintFaultKind::Refused, why));
        };
        let authority = &consent.secrets.authority;
        if self.client.revocable && authority.revocation_endpoint.is_none() {
            let why =
                format!("`{}` takes no token back: set `revocable = false` where that is known and wanted", authority.issuer);
            return Err(MintFault::new(MintFaultKind::Unsupported, why));
        }
        let scopes = self.within(&consent, wish)?;
        let Some(refresh) = consent.secrets.refresh.clone() else { return self.of_consent(&consent, &scopes, wish) };
        let gave = match self.renewed(consent.clone(), refresh, scopes.clone(), turn).await {
            Err(fault) if client::is_over(&fault) => return Err(self.over(&consent, wish).await?),
            gave => gave?,
        };
        let back = Back { authority: authority.clone(), token: gave.access.expose_secret().to_owned() };
        let handle = serde_json::to_string(&back).map(Handle::new);
        let handle = handle.map_err(|_| MintFault::new(MintFaultKind::Own, "by what it is taken back can't be written down"))?;
        if self.client.revocable {
            journal.keep(&handle).await?;
        }
        if let Err(fault) = judged(&gave, &scopes) {
            if !self.client.revocable && authority.revoke(self, &gave.access, "access_token").await.is_err() {
                tracing::warn!(lease = %wish.lease, "a token that is not as it was asked for can't be given back");
            }
            return Err(fault);
        }
        let Gave { access, expires_in_s, scopes: given, .. } = gave;
        let expires_at_ms = expires_in_s.map(|seconds| wish.now_ms.saturating_add(seconds.saturating_mul(1000)));
        let reference = format!("{} at {}", given.unwrap_or(scopes).join(" "), consent.issuer);
        let handle = self.client.revocable.then_some(handle);
        Ok(Minted { material: Material::of(access), reference, expires_at_ms, handle })
    }

    /// Uses a refresh token, and keeps what replaces it. As it is good once, that is done whatever becomes of whoever waits for it.
    async fn renewed(
        &self,
        consent: Consent,
        refresh: SecretString,
        scopes: Vec<String>,
        turn: OwnedMutexGuard<()>,
    ) -> Result<Gave, MintFault> {
        let (of, (tell, told)) = (self.clone(), oneshot::channel());
        tokio::spawn(async move {
            let authority = consent.secrets.authority.clone();
            let audience = authority.resource.clone().unwrap_or_else(|| consent.resource.clone());
            let mut gave = authority.refresh(&of, &refresh, &scopes, &audience).await;
            if let Ok(gave) = &mut gave
                && let Some(next) = gave.refresh.take()
                // INVARIANT: the refresh token that replaces the one before is on disk before the access token is used.
                && let Err(fault) = of.consents.rotated(consent, next).await
            {
                gave.wrong = Some(fault);
            }
            drop(turn);
            // Nobody waits any more, and nobody has written down by what it is taken back.
            if let Err(Ok(unheard)) = tell.send(gave)
                && authority.revoke(&of, &unheard.access, "access_token").await.is_err()
            {
                tracing::warn!(connector = %of.of.connector, "a token that came too late can't be given back");
            }
        });
        told.await
            .unwrap_or_else(|_| Err(MintFault::new(MintFaultKind::Own, "what renews a consent broke off: look into the log")))
    }

    /// What is said of a consent that its issuer knows no more. It is forgotten.
    async fn over(&self, consent: &Consent, wish: &Wish) -> Result<MintFault, MintFault> {
        let turn = self.consents.turn(&consent.resource, &consent.owner);
        let _turn = turn.lock().await;
        // What was connected again meanwhile is another one.
        self.consents.forget_as_it_was(consent).await?;
        let (owner, connector, page) = (&consent.owner, &wish.connector, &self.page);
        let taken = if self.client.revocable {
            "; where its issuer ends a whole consent when one task's token is taken back, set `revocable = false`"
        } else {
            ""
        };
        let why = format!("the consent of `{owner}` to `{connector}` is over at its issuer: connect again at {page}{taken}");
        Ok(MintFault::new(MintFaultKind::Refused, why))
    }

    /// The access token of the consent itself, where its issuer gave nothing to make others with.
    fn of_consent(&self, consent: &Consent, scopes: &[String], wish: &Wish) -> Result<Minted, MintFault> {
        let over = |why: &str| {
            let (owner, connector, page) = (&consent.owner, &wish.connector, &self.page);
            MintFault::new(
                MintFaultKind::Refused,
                format!("the consent of `{owner}` to `{connector}` {why}: connect again at {page}"),
            )
        };
        if self.client.revocable {
            let why = "its issuer gives no refresh token, so no task can have a token of its own that is taken back: let it give some, \
                       or set `revocable = false`";
            return Err(MintFault::new(MintFaultKind::Unsupported, why));
        }
        if consent.scopes.iter().any(|scope| !scopes.contains(scope)) {
            return Err(over("has more scopes than this task may have, and its issuer gives no refresh token to narrow it"));
        }
        let access = consent.secrets.access.as_ref().filter(|access| access.expires_at_ms > wish.now_ms + 5_000);
        let access = access.ok_or_else(|| over("has ended, and its issuer gave no refresh token"))?;
        Ok(Minted {
            material: Material::of(access.token.clone()),
            reference: format!("{} at {}", consent.scopes.join(" "), consent.issuer),
            expires_at_ms: Some(access.expires_at_ms),
            handle: None,
        })
    }

    /// What this wish may use. For the moment in which an admin looks at the connector that is what an admin consented to.
    fn standing(&self, wish: &Wish) -> Result<Option<Consent>, MintFault> {
        let all = self.consents.of(&self.resource())?;
        let is_trusted = |consent: &Consent| self.trusts(&consent.issuer, consent.by_admin, &all);
        let is_meant = |consent: &Consent| match wish.grant {
            Some(_) => consent.owner == wish.owner,
            None => consent.by_admin,
        };
        Ok(all.iter().filter(|consent| is_meant(consent) && is_trusted(consent)).max_by_key(|consent| consent.since_ms).cloned())
    }

    /// How the server is called where consents are kept: its address, without the end that means nothing.
    pub fn resource(&self) -> String {
        canonical(&self.of.url)
    }
}

/// Refuses what can't be used, and what is more than was asked for.
fn judged(gave: &Gave, asked: &[String]) -> Result<(), MintFault> {
    if let Some(wrong) = &gave.wrong {
        return Err(wrong.clone());
    }
    let beyond = gave.scopes.iter().flatten().find(|scope| *scope != OFFLINE && !asked.contains(scope));
    let Some(beyond) = beyond else { return Ok(()) };
    let why = format!("its issuer gives the scope `{}`, which was not asked for", short(beyond));
    Err(MintFault::new(MintFaultKind::Generous, why))
}

/// An address as a resource is compared by it: a lone `/` at the end means nothing.
fn canonical(url: &Url) -> String {
    let text = url.as_str();
    text.strip_suffix('/').unwrap_or(text).to_owned()
}

impl Provider for Consented {
    fn name(&self) -> &'static str {
        "mcp"
    }

    fn reference(&self, access: Access) -> String {
        self.wanted(access).map_or_else(|| self.resource(), |scopes| format!("{} at {}", scopes.join(" "), self.resource()))
    }

    fn is_revocable(&self) -> bool {
        self.client.revocable
    }

    fn longest(&self) -> Option<Duration> {
        self.of.longest
    }

    /// OAuth has no way to ask for less.
    fn decides_lifetime(&self) -> bool {
        true
    }

    fn mint<'a>(&'a self, wish: &'a Wish, journal: &'a dyn Journal) -> Later<'a, Result<Minted, MintFault>> {
        Box::pin(self.refreshed(wish, journal))
    }

    fn revoke<'a>(&'a self, handle: &'a Handle, _: u64) -> Later<'a, Result<(), RevokeFault>> {
        Box::pin(async {
            let back: Back = serde_json::from_str(handle.expose())
                .map_err(|_| RevokeFault::new("by what it is taken back is not of this kind of provider"))?;
            let token = SecretString::from(back.token);
            Ok(back.authority.revoke(self, &token, "access_token").await?)
        })
    }
}
