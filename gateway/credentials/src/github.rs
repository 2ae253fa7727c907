//! Installation tokens of a GitHub App: for these repositories, with these permissions, and given back when the task is over.

#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeMap, time::Duration};

use bailiwick_pipeline::ports::{Access, Later, Material};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;
use zeroize::Zeroizing;

use crate::{
    moment,
    provider::{Handle, Journal, MintFault, MintFaultKind, Minted, Provider, RevokeFault, Wish},
    signing::SigningKey,
    web::{Answer, Ask, Body, Web},
    wiped::Wiped,
};

/// How long the app's own proof is good, seconds: GitHub takes ten minutes at most, and clocks differ.
const PROOF_SECONDS: u64 = 9 * 60;

/// The app's proof is dated back by this, seconds, as GitHub advises.
const BACK_SECONDS: u64 = 60;

/// How long GitHub lets an installation token live.
const LIFE: Duration = Duration::from_hours(1);

/// What every installation token may, asked for or not: to read what a repository is called and who is in it.
const ALWAYS: (&str, GitHubPermission) = ("metadata", GitHubPermission::Read);

/// What GitHub says of a token that is none, or none any more.
const UNKNOWN: &str = "Bad credentials";

/// Who answers, for people.
const WHOSE: &str = "GitHub";

/// Lends the tokens of one installation of a GitHub App to one connector.
#[derive(Debug, Clone)]
pub struct GitHub {
    /// How it is reached.
    pub web: Web,
    /// Its API: `https://api.github.com`, or `https://HOST/api/v3` of a GitHub Enterprise Server.
    pub api: Url,
    /// The app's client id, or its id.
    pub app: String,
    /// The installation.
    pub installation: u64,
    /// The app's private key.
    pub key: SigningKey,
    /// The names of the repositories, without their owner.
    pub repositories: Vec<String>,
    /// What may be done there.
    pub permissions: BTreeMap<String, GitHubPermission>,
    /// The same for tasks that only read.
    pub read_permissions: Option<BTreeMap<String, GitHubPermission>>,
}

/// What a permission of a GitHub App goes up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GitHubPermission {
    /// To read.
    Read,
    /// To read and to write.
    Write,
    /// All.
    Admin,
}

/// The part of an answer that gives a token.
#[derive(Deserialize)]
struct Given {
    token: Wiped,
    #[serde(default)]
    expires_at: String,
    permissions: Option<BTreeMap<String, GitHubPermission>>,
    repository_selection: Option<String>,
    repositories: Option<Vec<Repository>>,
}

/// By what a token is taken back.
#[derive(Serialize)]
struct Back<'a> {
    token: &'a str,
}

#[derive(Deserialize)]
struct Repository {
    name: String,
}

impl GitHub {
    fn permissions(&self, access: Access) -> &BTreeMap<String, GitHubPermission> {
        match (access, &self.read_permissions) {
            (Access::Read, Some(read)) => read,
            _ => &self.permissions,
        }
    }

    async fn ask(&self, method: Method, path: &str, secret: &SecretString, body: Body) -> Result<Answer, MintFault> {
        let mut url = self.api.clone();
        url.set_path(&format!("{}{path}", self.api.path().trim_end_matches('/')));
        let headers = vec![
            ("accept", "application/vnd.github+json".to_owned()),
            ("x-github-api-version", "2022-11-28".to_owned()),
            // Without one it answers nobody.
            ("user-agent", "bailiwick".to_owned()),
        ];
        let bearer = SecretString::from(format!("Bearer {}", secret.expose_secret()));
        self.web.ask(Ask { method, url, headers, secret: Some(("authorization", &bearer)), body }).await
    }

    async fn mint_one(&self, wish: &Wish, journal: &dyn Journal) -> Result<Minted, MintFault> {
        let now = wish.now_ms / 1000;
        let claims = json!({ "iat": now.saturating_sub(BACK_SECONDS), "exp": now + PROOF_SECONDS, "iss": self.app });
        let proof = self.key.sign(&claims).await?;
        let asked = self.permissions(wish.access);
        let body = json!({ "repositories": self.repositories, "permissions": asked }).to_string();
        let path = format!("/app/installations/{}/access_tokens", self.installation);
        let answer = self.ask(Method::POST, &path, &proof, Body::Json(Zeroizing::new(body))).await?;
        if !answer.status.is_success() {
            return Err(fault(&answer));
        }
        let wrong = |why: &str| MintFault::new(MintFaultKind::Wrong, why);
        // Two steps: a token that is there is taken back, whatever the rest is like.
        let token = token_of(&answer.body).ok_or_else(|| wrong("GitHub answers without a token, or not in JSON"))?;
        let handle = Handle::of(&Back { token: token.expose_secret() })?;
        journal.keep(&handle).await?;
        let given: Given = serde_json::from_slice(&answer.body)
            .map_err(|_| wrong("what GitHub says of the token is not what its documentation says"))?;
        self.judge(&answer, &given, asked)?;
        let ends_ms = moment::unix_ms(&given.expires_at).ok_or_else(|| wrong("GitHub does not say when the token ends"))?;
        Ok(Minted {
            reference: self.reference(wish.access),
            expires_at_ms: Some(ends_ms),
            material: Material::of(given.token.0),
            handle: Some(handle),
        })
    }

    /// Refuses what is more than was asked for.
    fn judge(&self, answer: &Answer, given: &Given, asked: &BTreeMap<String, GitHubPermission>) -> Result<(), MintFault> {
        let told = |said: &str| answer.clean(said, &[&given.token.0]).escape_debug().to_string();
        let repositories = given.repositories.as_ref().filter(|repositories| !repositories.is_empty());
        let (Some(permissions), Some(repositories), Some(selection)) =
            (&given.permissions, repositories, given.repository_selection.as_deref())
        else {
            let why = "GitHub does not say for which repositories, or with which permissions, the token is";
            return Err(MintFault::new(MintFaultKind::Wrong, why));
        };
        let is_asked =
            |name: &str, level: GitHubPermission| (name, level) == ALWAYS || asked.get(name).is_some_and(|asked| level <= *asked);
        let beyond = permissions.iter().find(|(name, level)| !is_asked(name, **level));
        let other = repositories.iter().find(|one| !self.repositories.iter().any(|name| name.eq_ignore_ascii_case(&one.name)));
        let what = match (beyond, other, selection) {
            (Some((name, _)), ..) => format!("the permission `{}`", told(name)),
            (_, Some(repository), _) => format!("the repository `{}`", told(&repository.name)),
            (_, _, "selected") => return Ok(()),
            _ => "all repositories".to_owned(),
        };
        Err(MintFault::new(MintFaultKind::Generous, format!("GitHub gives {what} beyond what was asked for")))
    }

    async fn revoke_one(&self, handle: &Handle) -> Result<(), RevokeFault> {
        let token =
            token_of(handle.expose().as_bytes()).ok_or_else(|| RevokeFault::new("by what it is taken back can't be read"))?;
        let answer = self.ask(Method::DELETE, "/installation/token", &token, Body::None).await?;
        // A token that it does not know is taken back already, or has ended. What others on the way say is no word of GitHub's.
        let is_unknown = || answer.status == StatusCode::UNAUTHORIZED && says(&answer.body, UNKNOWN);
        if answer.status == StatusCode::NO_CONTENT || is_unknown() { Ok(()) } else { Err(fault(&answer).into()) }
    }
}

/// Whether this is the message of an answer.
fn says(body: &[u8], words: &str) -> bool {
    let said = serde_json::from_slice::<serde_json::Value>(body).ok();
    said.and_then(|said| said.get("message")?.as_str().map(|said| said == words)).unwrap_or_default()
}

/// A refusal. Of a rate it speaks with 403 too.
fn fault(answer: &Answer) -> MintFault {
    let mut fault = answer.fault(WHOSE);
    let header = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok());
    let wait = header("retry-after");
    if answer.status == StatusCode::FORBIDDEN && (wait.is_some() || header("x-ratelimit-remaining") == Some(0)) {
        fault.kind = MintFaultKind::Busy(wait.map(Duration::from_secs));
    }
    fault
}

fn token_of(text: &[u8]) -> Option<SecretString> {
    #[derive(Deserialize)]
    struct Kept {
        token: Wiped,
    }
    let token = serde_json::from_slice::<Kept>(text).ok()?.token.0;
    let is_plain = token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic());
    (is_plain && !token.expose_secret().is_empty()).then_some(token)
}

impl Provider for GitHub {
    fn name(&self) -> &'static str {
        "github"
    }

    fn reference(&self, access: Access) -> String {
        let level = |level: &GitHubPermission| match level {
            GitHubPermission::Read => "read",
            GitHubPermission::Write => "write",
            GitHubPermission::Admin => "admin",
        };
        let permissions = self.permissions(access).iter().map(|(name, of)| format!("{name}:{}", level(of)));
        format!("{} {}", self.repositories.join(" "), permissions.collect::<Vec<_>>().join(" "))
    }

    fn is_revocable(&self) -> bool {
        true
    }

    fn longest(&self) -> Option<Duration> {
        Some(LIFE)
    }

    fn decides_lifetime(&self) -> bool {
        true
    }

    fn mint<'a>(&'a self, wish: &'a Wish, journal: &'a dyn Journal) -> Later<'a, Result<Minted, MintFault>> {
        Box::pin(self.mint_one(wish, journal))
    }

    fn revoke<'a>(&'a self, handle: &'a Handle, _: u64) -> Later<'a, Result<(), RevokeFault>> {
        Box::pin(self.revoke_one(handle))
    }
}
