//! Bearer tokens of agents and grants. Only their SHA-256 is kept: who reads the store can't be anybody.

use std::{collections::BTreeMap, fmt, str::FromStr};

use bailiwick_pipeline::{
    grant::Grant,
    ids::{AgentId, GrantId},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use dashmap::DashMap;
use rusqlite::{Connection, params};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{
    fault::{StoreFault, WriteFault},
    random,
    rows::{self, Place, column},
    store::Store,
};

/// How long an agent's token is good unless somebody says otherwise: 30 days, in milliseconds.
pub const AGENT_TOKEN_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// How long the token that `bailiwick call` gets for itself is good: five minutes, in milliseconds.
pub const CALL_TOKEN_MS: u64 = 5 * 60 * 1000;

/// The id of an agent's token: public, for lists and revocation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(String);

/// The text is no token id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a token id: `bailiwick agents show AGENT` lists them")]
pub struct TokenIdFault(String);

/// An agent's token, as lists show it: never the token itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentToken {
    /// Its id.
    pub id: TokenId,
    /// Whose it is.
    pub agent: AgentId,
    /// When it was made, unix milliseconds.
    pub created_at_ms: u64,
    /// Until when it is good, unix milliseconds.
    pub expires_at_ms: u64,
    /// When it was revoked, unix milliseconds.
    pub revoked_at_ms: Option<u64>,
}

impl AgentToken {
    /// Whether it proves anything at this time.
    pub fn is_good(&self, now_ms: u64) -> bool {
        self.revoked_at_ms.is_none() && now_ms < self.expires_at_ms
    }
}

/// Whom a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Bearer {
    Agent(AgentId),
    Grant { id: GrantId, revision: u64 },
}

/// Which token it is that somebody shows, whether it is good for anything or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnownToken {
    /// One of an agent.
    Agent(AgentToken),
    /// One of a grant, and of which issue of it.
    Grant {
        /// The grant.
        id: GrantId,
        /// Its revision.
        revision: u64,
    },
}

type Hash = [u8; 32];

/// All tokens that may be presented.
pub struct Tokens {
    store: Store,
    agents: DashMap<Hash, AgentToken>,
    grants: DashMap<Hash, (GrantId, u64)>,
}

impl Tokens {
    /// Reads all tokens.
    pub fn load(store: &Store) -> Result<Self, StoreFault> {
        let tokens = Self { store: store.clone(), agents: DashMap::new(), grants: DashMap::new() };
        let connection = store.read();
        let sql = "SELECT id, agent, sha256, created_ms, expires_ms, revoked_ms FROM agent_tokens";
        for (id, agent, hash, created, expires, revoked) in rows::all(&connection, sql, |row| {
            let stored: (String, String, Vec<u8>, i64, i64, Option<i64>) = row.try_into()?;
            Ok(stored)
        })? {
            let place = Place { table: "agent_tokens", row: &id };
            let token = AgentToken {
                id: place.parse(&id)?,
                agent: place.parse(&agent)?,
                created_at_ms: place.number(created)?,
                expires_at_ms: place.number(expires)?,
                revoked_at_ms: revoked.map(|at| place.number(at)).transpose()?,
            };
            tokens.agents.insert(place.hash(hash)?, token);
        }
        let sql = "SELECT grant_id, sha256, revision FROM grant_tokens";
        for (id, hash, revision) in rows::all(&connection, sql, |row| {
            let stored: (String, Vec<u8>, i64) = row.try_into()?;
            Ok(stored)
        })? {
            let place = Place { table: "grant_tokens", row: &id };
            tokens.grants.insert(place.hash(hash)?, (place.parse(&id)?, place.number(revision)?));
        }
        drop(connection);
        Ok(tokens)
    }

    /// A new token for this agent: `ba_<id>_<43 base64url>`. Told once; others of the agent stay good.
    pub async fn issue_agent(&self, agent: &AgentId, ttl_ms: u64, now_ms: u64) -> Result<SecretString, WriteFault> {
        let id = TokenId::random()?;
        let (token, hash) = fresh(&format!("ba_{id}"))?;
        let expires_at_ms = now_ms.saturating_add(ttl_ms);
        let entry = AgentToken { id, agent: agent.clone(), created_at_ms: now_ms, expires_at_ms, revoked_at_ms: None };
        let stored = entry.clone();
        self.store
            .write(move |connection| {
                let sql = "INSERT INTO agent_tokens (id, agent, sha256, created_ms, expires_ms) VALUES (?1, ?2, ?3, ?4, ?5)";
                let (created, expires) = (column(stored.created_at_ms), column(stored.expires_at_ms));
                connection.execute(sql, params![stored.id.0, stored.agent.as_str(), hash, created, expires]).map(drop)
            })
            .await?;
        self.agents.insert(hash, entry);
        Ok(token)
    }

    /// A new token for this issue of a grant: `tg_<grant id>_<43 base64url>`. Told once; good as long as that issue of it.
    pub async fn issue_grant(&self, grant: &Grant) -> Result<SecretString, WriteFault> {
        let (id, revision) = (grant.id.clone(), grant.revision);
        let (token, hash) = fresh(&format!("tg_{id}"))?;
        let stored = id.clone();
        self.store
            .write(move |connection| {
                let sql = "INSERT INTO grant_tokens (sha256, grant_id, revision) VALUES (?1, ?2, ?3)";
                connection.execute(sql, params![hash, stored.as_str(), column(revision)]).map(drop)
            })
            .await?;
        self.grants.insert(hash, (id, revision));
        Ok(token)
    }

    /// The tokens of this agent, or of all; oldest first, those no longer good among them until they are forgotten.
    pub fn list(&self, agent: Option<&AgentId>) -> Vec<AgentToken> {
        let is_meant = |token: &AgentToken| agent.is_none_or(|agent| *agent == token.agent);
        let mut all: Vec<_> = self.agents.iter().filter(|entry| is_meant(entry)).map(|entry| entry.clone()).collect();
        all.sort_by(|a, b| (a.created_at_ms, &a.id).cmp(&(b.created_at_ms, &b.id)));
        all
    }

    /// Revokes one token of an agent, at once and for good. Says whether there was one to revoke.
    pub async fn revoke(&self, id: &TokenId, now_ms: u64) -> Result<bool, WriteFault> {
        let mut was_good = false;
        for mut entry in self.agents.iter_mut().filter(|entry| entry.id == *id) {
            was_good |= entry.revoked_at_ms.is_none();
            entry.revoked_at_ms.get_or_insert(now_ms);
        }
        let id = id.clone();
        // Written even if it was revoked before: that revocation may still be on its way to the disk.
        self.store.write(move |connection| put_revoked(connection, &id, now_ms)).await?;
        Ok(was_good)
    }

    /// Revokes all tokens of these agents, in memory when this returns: whose and which. Durable once what is returned beside that has
    /// ended.
    pub fn revoke_of(
        &self,
        is_meant: &dyn Fn(&AgentId) -> bool,
        now_ms: u64,
    ) -> (BTreeMap<AgentId, Vec<TokenId>>, impl Future<Output = Result<(), WriteFault>> + use<>) {
        let mut revoked: BTreeMap<AgentId, Vec<TokenId>> = BTreeMap::new();
        for mut entry in self.agents.iter_mut().filter(|entry| entry.revoked_at_ms.is_none() && is_meant(&entry.agent)) {
            entry.revoked_at_ms = Some(now_ms);
            revoked.entry(entry.agent.clone()).or_default().push(entry.id.clone());
        }
        let ids: Vec<TokenId> = revoked.values().flatten().cloned().collect();
        let stored = (!ids.is_empty())
            .then(|| self.store.write(move |connection| ids.iter().try_for_each(|id| put_revoked(connection, id, now_ms))));
        let stored = async move {
            match stored {
                Some(stored) => stored.await,
                None => Ok(()),
            }
        };
        (revoked, stored)
    }

    /// Forgets agents' tokens that ended more than a day ago, and tokens of grants that `is_known` doesn't know any more.
    pub async fn sweep(&self, now_ms: u64, is_known: impl Fn(&GrantId, u64) -> bool) -> Result<(), WriteFault> {
        const REMEMBERED_MS: u64 = 24 * 60 * 60 * 1000;
        let before = now_ms.saturating_sub(REMEMBERED_MS);
        let is_over = |token: &AgentToken| token.revoked_at_ms.unwrap_or(token.expires_at_ms).min(token.expires_at_ms) < before;
        let agents: Vec<Hash> = self.agents.iter().filter(|entry| is_over(entry)).map(|entry| *entry.key()).collect();
        let is_orphan = |(id, revision): &(GrantId, u64)| !is_known(id, *revision);
        let grants: Vec<Hash> = self.grants.iter().filter(|entry| is_orphan(entry)).map(|entry| *entry.key()).collect();
        if agents.is_empty() && grants.is_empty() {
            return Ok(());
        }
        for hash in &agents {
            self.agents.remove(hash);
        }
        for hash in &grants {
            self.grants.remove(hash);
        }
        self.store
            .write(move |connection| {
                for hash in agents {
                    connection.prepare_cached("DELETE FROM agent_tokens WHERE sha256 = ?1")?.execute([hash])?;
                }
                for hash in grants {
                    connection.prepare_cached("DELETE FROM grant_tokens WHERE sha256 = ?1")?.execute([hash])?;
                }
                Ok(())
            })
            .await
    }

    /// Which of the tokens this is; none of what was never made here, or is forgotten. That it is known proves nothing yet.
    pub fn known(&self, token: &SecretString) -> Option<KnownToken> {
        let token = token.expose_secret();
        let hash: Hash = Sha256::digest(token.as_bytes()).into();
        if token.starts_with("tg_") {
            return self.grants.get(&hash).map(|entry| KnownToken::Grant { id: entry.0.clone(), revision: entry.1 });
        }
        self.agents.get(&hash).map(|entry| KnownToken::Agent(entry.clone()))
    }

    /// Whom this token speaks for. One hash and one look-up, whatever is presented.
    pub(crate) fn bearer(&self, token: &SecretString, now_ms: u64) -> Option<Bearer> {
        let token = token.expose_secret();
        let hash: Hash = Sha256::digest(token.as_bytes()).into();
        if token.starts_with("tg_") {
            return self.grants.get(&hash).map(|entry| Bearer::Grant { id: entry.0.clone(), revision: entry.1 });
        }
        self.agents.get(&hash).filter(|entry| entry.is_good(now_ms)).map(|entry| Bearer::Agent(entry.agent.clone()))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("agents", &self.agents.len()).field("grants", &self.grants.len()).finish_non_exhaustive()
    }
}

fn put_revoked(connection: &Connection, id: &TokenId, now_ms: u64) -> rusqlite::Result<()> {
    let sql = "UPDATE agent_tokens SET revoked_ms = ?2 WHERE id = ?1 AND revoked_ms IS NULL";
    connection.prepare_cached(sql)?.execute(params![id.0, column(now_ms)]).map(drop)
}

/// A token that begins with this text, and its hash.
pub(crate) fn fresh(prefix: &str) -> Result<(SecretString, Hash), WriteFault> {
    let secret = Zeroizing::new(random::bytes::<32>()?);
    let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(secret.as_slice()));
    let token = SecretString::from(format!("{prefix}_{}", secret.as_str()));
    let hash = Sha256::digest(token.expose_secret().as_bytes()).into();
    Ok((token, hash))
}

impl TokenId {
    const LENGTH: usize = 12;

    /// 60 random bits; that two are alike is refused by the store.
    fn random() -> Result<Self, WriteFault> {
        const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let digit = |byte: u8| DIGITS.get(usize::from(byte & 31)).copied().map_or('0', char::from);
        Ok(Self(random::bytes::<{ Self::LENGTH }>()?.into_iter().map(digit).collect()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TokenId {
    type Err = TokenIdFault;
    fn from_str(given: &str) -> Result<Self, TokenIdFault> {
        let is_id = given.len() == Self::LENGTH && given.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if is_id { Ok(Self(given.to_owned())) } else { Err(TokenIdFault(given.chars().take(80).collect())) }
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
