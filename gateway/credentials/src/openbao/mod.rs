//! OpenBao and Vault: a child token for each task, and what is read with it.
//!
//! The gateway's own token makes a token that dies within half a minute, with all that was read by it. Its accessor is written down; only
//! then does it get its whole life, and only then is something read with it. So whatever answer is lost, nothing stands that nobody knows of.

mod login;
mod secret;
mod talk;

use std::time::Duration;

use bailiwick_pipeline::ports::{Access, Later, Material};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

pub use login::Login;

use self::talk::{Talk, Token};
use crate::{
    provider::{Handle, Journal, MintFault, MintFaultKind, Minted, Provider, RevokeFault, Wish},
    web::Web,
};

/// So long a token lives whose accessor may not be written down.
const AT_FIRST: u64 = 30;

/// By so much an issuer may round, and its clock run differently, seconds.
const SKEW: u64 = 5;

/// An OpenBao or Vault server, and what of it one connector is lent.
#[derive(Debug)]
pub struct OpenBao {
    talk: Talk,
    lent: LentByBao,
}

/// What is lent of an OpenBao or Vault server.
#[derive(Debug, Clone)]
pub struct LentByBao {
    /// The path of what is read, without a slash before it.
    pub path: String,
    /// The same for tasks that only read.
    pub read_path: String,
    /// The policies of the child token.
    pub policies: Vec<String>,
    /// The same for tasks that only read.
    pub read_policies: Vec<String>,
    /// Whether what is there lives on: a value of a key-value engine.
    pub is_kept: bool,
    /// For how long at most.
    pub longest: Option<Duration>,
}

/// How an OpenBao or Vault server is reached.
#[derive(Debug, Clone)]
pub struct BaoServer {
    /// Its address.
    pub url: url::Url,
    /// The connection.
    pub web: Web,
    /// Its namespace.
    pub namespace: Option<String>,
    /// How the gateway proves itself.
    pub login: Login,
    /// The token role by which child tokens are made.
    pub token_role: Option<String>,
}

/// By what it is taken back.
#[derive(Serialize, Deserialize)]
struct Held {
    accessor: String,
    #[serde(default)]
    leases: Vec<String>,
}

impl Held {
    fn handle(&self) -> Result<Handle, MintFault> {
        let text = serde_json::to_string(self);
        text.map(Handle::new).map_err(|fault| MintFault::new(MintFaultKind::Own, fault.to_string()))
    }

    fn read(handle: &Handle) -> Result<Self, MintFault> {
        let own = |_| MintFault::new(MintFaultKind::Own, "by what it is taken back was written down otherwise");
        serde_json::from_str(handle.expose()).map_err(own)
    }
}

impl OpenBao {
    /// What this connector is lent of this server.
    pub fn new(server: BaoServer, lent: LentByBao) -> Self {
        Self { talk: Talk::new(server), lent }
    }

    fn path(&self, access: Access) -> &str {
        if access == Access::Read { &self.lent.read_path } else { &self.lent.path }
    }

    async fn made(&self, wish: &Wish, journal: &dyn Journal) -> Result<Minted, MintFault> {
        let policies = if wish.access == Access::Read { &self.lent.read_policies } else { &self.lent.policies };
        let (own, since) = (self.talk.own_token().await?, Instant::now());
        let life = wish.seconds();
        let at_first = AT_FIRST.min(life);
        let answer = self.talk.create(&own, &asked(wish, policies, at_first)).await?;
        let mut held = Held { accessor: answer.accessor.clone(), leases: Vec::new() };
        journal.keep(&held.handle()?).await?;
        judge(&answer, policies, at_first)?;
        let left = |since: Instant| life.saturating_sub(since.elapsed().as_secs()).max(1);
        let mut ends = vec![self.talk.renew_token(&own, &held.accessor, left(since)).await?];
        if let (false, Some(own_end)) = (answer.orphan, own.ends) {
            // Its end is the end of what it made.
            ends.push(own_end.saturating_duration_since(Instant::now()).as_secs());
        }
        let path = self.path(wish.access);
        let read = self.talk.read(&answer.text, path).await?;
        if let Some(lease) = &read.lease {
            held.leases.push(lease.clone());
            journal.keep(&held.handle()?).await?;
            let most = left(since);
            // The issuer's own idea of its life holds until it is told ours. It ends with its token in any case.
            let end = if read.seconds > most + SKEW { self.talk.renew_lease(&own, lease, most).await? } else { read.seconds };
            ends.push(end);
        }
        if !self.lent.is_kept && read.lease.is_none() {
            let why =
                format!("`{path}` gives a value that is kept, and not one for the task: name it with `path` if that is meant");
            return Err(MintFault::new(MintFaultKind::Wrong, why));
        }
        let seconds = ends.into_iter().min().unwrap_or(0).min(left(since));
        let ends_ms = wish.now_ms.saturating_add(millis(since.elapsed())).saturating_add(seconds.saturating_mul(1000));
        let reference = if read.lease.is_some() { path.to_owned() } else { format!("{path} (a standing value)") };
        let material: Material = read.material()?;
        Ok(Minted { material, reference, expires_at_ms: Some(ends_ms.min(wish.until_ms)), handle: Some(held.handle()?) })
    }

    async fn renewed(&self, handle: &Handle, until_ms: u64, now_ms: u64) -> Result<u64, MintFault> {
        let held = Held::read(handle)?;
        let own = self.talk.own_token().await?;
        let seconds = (until_ms.saturating_sub(now_ms) / 1000).max(1);
        let mut end = self.talk.renew_token(&own, &held.accessor, seconds).await?;
        for lease in &held.leases {
            end = end.min(self.talk.renew_lease(&own, lease, seconds).await?);
        }
        Ok(now_ms.saturating_add(end.saturating_mul(1000)).min(until_ms))
    }

    async fn revoked(&self, handle: &Handle) -> Result<(), RevokeFault> {
        let held = Held::read(handle)?;
        let own = self.talk.own_token().await?;
        for lease in &held.leases {
            self.talk.revoke_lease(&own, lease).await?;
        }
        // Last: with the token go, in its own time, the leases that nobody heard of.
        Ok(self.talk.revoke_token(&own, &held.accessor).await?)
    }
}

fn asked(wish: &Wish, policies: &[String], seconds: u64) -> serde_json::Value {
    let mut meta = json!({"lease": wish.lease, "connector": wish.connector});
    if let (Some(meta), Some(grant), Some(agent)) = (meta.as_object_mut(), &wish.grant, &wish.agent) {
        meta.insert("grant".to_owned(), json!(grant));
        meta.insert("agent".to_owned(), json!(agent));
    }
    json!({
        "policies": policies, "no_default_policy": true, "renewable": true, "ttl": format!("{seconds}s"),
        "explicit_max_ttl": format!("{}s", wish.seconds()), "display_name": "bailiwick", "meta": meta,
    })
}

/// Refuses a token that may do more, or lives longer, than was asked for.
fn judge(answer: &Token, policies: &[String], seconds: u64) -> Result<(), MintFault> {
    let generous = |why: String| Err(MintFault::new(MintFaultKind::Generous, why));
    if answer.policies.is_empty() {
        return Err(MintFault::new(MintFaultKind::Wrong, "its issuer does not say which policies the token has"));
    }
    if let Some(more) = answer.policies.iter().find(|policy| !policies.contains(policy)) {
        let told = bailiwick_pipeline::kept_out(std::slice::from_ref(&answer.text), more);
        let more: String = told.chars().take(100).collect::<String>().escape_debug().collect();
        return generous(format!(
            "its issuer gives the token the policy `{more}` as well, which was not asked for: look into the token role"
        ));
    }
    if answer.seconds == 0 || answer.seconds > seconds + SKEW {
        let lives = if answer.seconds == 0 { "for ever".to_owned() } else { format!("{} s", answer.seconds) };
        return generous(format!("its issuer lets the token live {lives}, and {seconds} s were asked for"));
    }
    Ok(())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Provider for OpenBao {
    fn name(&self) -> &'static str {
        "openbao"
    }

    fn reference(&self, access: Access) -> String {
        self.path(access).to_owned()
    }

    fn is_revocable(&self) -> bool {
        true
    }

    fn longest(&self) -> Option<Duration> {
        self.lent.longest
    }

    /// What an engine made can be in use after its end: the session that somebody logged in to with it.
    fn outlives_itself(&self) -> bool {
        !self.lent.is_kept
    }

    fn mint<'a>(&'a self, wish: &'a Wish, journal: &'a dyn Journal) -> Later<'a, Result<Minted, MintFault>> {
        Box::pin(self.made(wish, journal))
    }

    fn renew<'a>(&'a self, handle: &'a Handle, until_ms: u64, now_ms: u64) -> Later<'a, Result<u64, MintFault>> {
        Box::pin(self.renewed(handle, until_ms, now_ms))
    }

    fn revoke<'a>(&'a self, handle: &'a Handle, _: u64) -> Later<'a, Result<(), RevokeFault>> {
        Box::pin(self.revoked(handle))
    }
}

#[cfg(test)]
pub(crate) mod tests;
