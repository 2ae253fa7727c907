//! Sessions of a role of AWS: keys for the time of a task, narrowed by a policy of their own. Nobody takes them back: they end by themselves.

mod answer;
mod request;
#[cfg(test)]
pub(crate) mod tests;

use std::{path::PathBuf, time::Duration};

use bailiwick_pipeline::ports::{Access, Later, Material};
use secrecy::ExposeSecret as _;
use url::Url;

use self::answer::Session;
use crate::{
    provider::{Handle, Journal, MintFault, MintFaultKind, Minted, Provider, RevokeFault, Wish},
    web::Web,
};

/// The shortest time for which a role's session is given, seconds (`DurationSeconds` of `AssumeRole`).
const SHORTEST: u64 = 900;

/// How long a session lives at most where nothing else is said: what a role's own limit is unless somebody raised it.
const LONGEST: Duration = Duration::from_hours(1);

/// Clocks differ by so much, milliseconds.
const SKEW_MS: u64 = 5_000;

/// Lends the sessions of one role to one connector.
#[derive(Debug, Clone)]
pub struct Aws {
    /// How it is reached.
    pub web: Web,
    /// The security token service, such as `https://sts.eu-central-1.amazonaws.com`.
    pub endpoint: Url,
    /// The region that requests are signed for.
    pub region: String,
    /// The gateway's own keys.
    pub keys: AwsKeys,
    /// How long a session lives at most.
    pub max_ttl: Option<Duration>,
    /// Whether sessions are tagged with their agent, grant and connector. The role's trust policy has to allow `sts:TagSession`.
    pub tags: bool,
    /// The role's ARN.
    pub role: String,
    /// Another one for tasks that only read.
    pub read_role: Option<String>,
    /// The file with the policy that narrows a session.
    pub policy: Option<PathBuf>,
    /// Another one for tasks that only read.
    pub read_policy: Option<PathBuf>,
    /// Whether a session may live longer than its task, where a task is shorter than a session can be.
    pub may_outlive: bool,
}

/// The gateway's own keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsKeys {
    /// Their id.
    pub id: String,
    /// The file with the secret key.
    pub secret_file: PathBuf,
    /// The file with the session token, where the keys are temporary themselves.
    pub session_token_file: Option<PathBuf>,
}

impl Aws {
    fn role(&self, access: Access) -> &str {
        match (access, &self.read_role) {
            (Access::Read, Some(read)) => read,
            _ => &self.role,
        }
    }

    async fn mint_one(&self, wish: &Wish) -> Result<Minted, MintFault> {
        let wished = wish.seconds();
        if wished < SHORTEST && !self.may_outlive {
            let why = format!(
                "a session of a role lives {SHORTEST} s or more, and it is needed for {wished} s: write `may_outlive = true` to allow it"
            );
            return Err(MintFault::new(MintFaultKind::Own, why));
        }
        let asked = wished.max(SHORTEST);
        let name = request::session_name(wish);
        let answer = request::assume(self, wish, &name, asked).await?;
        let session = Session::read(&answer)?;
        if session_of(self.role(wish.access), &name).is_none_or(|expected| expected != session.arn) {
            return Err(MintFault::new(
                MintFaultKind::Wrong,
                "its issuer gives the session of somebody else, or of another role",
            ));
        }
        // It has ended by now, or will by itself: nobody can take it back.
        let most_ms = wish.now_ms.saturating_add(asked.saturating_mul(1000)).saturating_add(SKEW_MS);
        if session.ends_ms > most_ms {
            let beyond = (session.ends_ms - most_ms) / 1000;
            let why = format!("its issuer lets it live {beyond} s longer than was asked for");
            return Err(MintFault::new(MintFaultKind::Generous, why));
        }
        if session.key_id.is_empty() || session.secret.expose_secret().is_empty() || session.token.expose_secret().is_empty() {
            return Err(MintFault::new(MintFaultKind::Wrong, "its issuer gives keys that are empty"));
        }
        let material = Material::default()
            .with_plain("access_key_id", session.key_id)
            .with_secret("secret_access_key", session.secret)
            .with_secret("session_token", session.token);
        let reference = self.role(wish.access).to_owned();
        Ok(Minted { material, reference, expires_at_ms: Some(session.ends_ms), handle: None })
    }
}

/// The ARN of this role's session of this name: the role's own path is not in it.
fn session_of(role: &str, name: &str) -> Option<String> {
    let (start, path) = role.split_once(":role/")?;
    let (partition, account) = start.strip_prefix("arn:")?.split_once(":iam::")?;
    let role = path.rsplit('/').next()?;
    Some(format!("arn:{partition}:sts::{account}:assumed-role/{role}/{name}"))
}

impl Provider for Aws {
    fn name(&self) -> &'static str {
        "aws"
    }

    fn reference(&self, access: Access) -> String {
        self.role(access).to_owned()
    }

    fn is_revocable(&self) -> bool {
        false
    }

    fn longest(&self) -> Option<Duration> {
        Some(self.max_ttl.unwrap_or(LONGEST))
    }

    fn shortest(&self) -> Duration {
        Duration::from_secs(SHORTEST)
    }

    fn decides_lifetime(&self) -> bool {
        self.may_outlive
    }

    fn mint<'a>(&'a self, wish: &'a Wish, _: &'a dyn Journal) -> Later<'a, Result<Minted, MintFault>> {
        Box::pin(self.mint_one(wish))
    }

    fn revoke<'a>(&'a self, _: &'a Handle, _: u64) -> Later<'a, Result<(), RevokeFault>> {
        Box::pin(std::future::ready(Err(RevokeFault::new("a session of a role can't be taken back: it ends by itself"))))
    }
}
