//! What is asked of OpenBao, one question each.

use reqwest::Method;
use secrecy::SecretString;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};
use tokio::{sync::Mutex, time::Instant};
use url::Url;
use zeroize::Zeroizing;

use super::{
    BaoServer, SKEW,
    login::{self, Login, Own},
    secret::Read,
};
use crate::{
    provider::{MintFault, MintFaultKind},
    secret_file,
    web::{Answer, Ask, Body},
};

/// Whose faults are told.
const WHO: &str = "OpenBao";

/// One server, with the gateway's own token there.
#[derive(Debug)]
pub(super) struct Talk {
    server: BaoServer,
    own: Mutex<Option<Own>>,
}

/// A token that was made.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) text: SecretString,
    pub(super) accessor: String,
    pub(super) policies: Vec<String>,
    /// 0 where it never ends.
    pub(super) seconds: u64,
    pub(super) orphan: bool,
}

#[derive(Deserialize)]
struct Authed {
    auth: Option<Auth>,
}

#[derive(Deserialize)]
struct Auth {
    client_token: String,
    accessor: String,
    policies: Option<Vec<String>>,
    lease_duration: u64,
    #[serde(default)]
    orphan: bool,
}

#[derive(Deserialize)]
struct Secret {
    #[serde(default)]
    lease_id: String,
    #[serde(default)]
    lease_duration: u64,
    data: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Renewed {
    lease_duration: u64,
}

impl Talk {
    pub(super) fn new(server: BaoServer) -> Self {
        Self { server, own: Mutex::default() }
    }

    /// The gateway's own token: from its file, or that of the last login until it nears its end.
    pub(super) async fn own_token(&self) -> Result<Own, MintFault> {
        if let Login::Token { file } = &self.server.login {
            let token = login::read(file, secret_file::read).await?;
            return Ok(Own { token, ends: None, stale: None });
        }
        let mut kept = self.own.lock().await;
        if let Some(own) = kept.as_ref().filter(|own| own.stale.is_none_or(|stale| Instant::now() < stale)) {
            return Ok(own.clone());
        }
        let Some((mount, body)) = login::proof(&self.server.login).await? else {
            return Err(MintFault::new(MintFaultKind::Own, "there is no way to log in"));
        };
        let asked = self.ask(Method::POST, &format!("auth/{mount}/login"), None, Some(body)).await?;
        let token = token(&asked.success("OpenBao, asked to log the gateway in,")?)?;
        let life = std::time::Duration::from_secs(token.seconds);
        let since = (token.seconds > 0).then(Instant::now);
        let own = Own { token: token.text, ends: since.map(|now| now + life), stale: since.map(|now| now + life / 2) };
        *kept = Some(own.clone());
        Ok(own)
    }

    pub(super) async fn create(&self, own: &Own, asked: &Value) -> Result<Token, MintFault> {
        let path = match &self.server.token_role {
            Some(role) => format!("auth/token/create/{role}"),
            None => "auth/token/create".to_owned(),
        };
        token(&self.post(own, &path, asked).await?.success(WHO)?)
    }

    /// Lets a token live for this long. Returned is how long it does, seconds.
    pub(super) async fn renew_token(&self, own: &Own, accessor: &str, seconds: u64) -> Result<u64, MintFault> {
        let asked = json!({"accessor": accessor, "increment": format!("{seconds}s")});
        let answer = self.post(own, "auth/token/renew-accessor", &asked).await?.success(WHO)?;
        let renewed: Authed = read(&answer)?;
        let lives = renewed.auth.map(|auth| auth.lease_duration).ok_or_else(|| wrong("`auth`"))?;
        not_longer("the token", lives, seconds)
    }

    pub(super) async fn renew_lease(&self, own: &Own, lease: &str, seconds: u64) -> Result<u64, MintFault> {
        let asked = json!({"lease_id": lease, "increment": seconds});
        let answer = self.post(own, "sys/leases/renew", &asked).await?.success(WHO)?;
        let renewed: Renewed = read(&answer)?;
        not_longer("what it made", renewed.lease_duration, seconds)
    }

    /// Reads what the task is lent, with its own token.
    pub(super) async fn read(&self, token: &SecretString, path: &str) -> Result<Read, MintFault> {
        let answer = self.ask(Method::GET, path, Some(token), None).await?;
        if answer.status.as_u16() == 404 {
            let why = format!("{WHO} has nothing at `{path}`: compare `role` or `path` with what is there");
            return Err(MintFault::new(MintFaultKind::Refused, why));
        }
        let secret: Secret = read(&answer.success(WHO)?)?;
        let data = secret.data.ok_or_else(|| wrong("`data`"))?;
        let lease = (!secret.lease_id.is_empty()).then_some(secret.lease_id);
        Ok(Read { lease, seconds: secret.lease_duration, data })
    }

    /// Returns when what the lease stands for is gone.
    pub(super) async fn revoke_lease(&self, own: &Own, lease: &str) -> Result<(), MintFault> {
        let answer = self.post(own, "sys/leases/revoke", &json!({"lease_id": lease, "sync": true})).await?;
        gone(&answer, &["lease not found", "invalid lease"])
    }

    pub(super) async fn revoke_token(&self, own: &Own, accessor: &str) -> Result<(), MintFault> {
        let answer = self.post(own, "auth/token/revoke-accessor", &json!({"accessor": accessor})).await?;
        gone(&answer, &["invalid accessor"])
    }

    async fn post(&self, own: &Own, path: &str, body: &Value) -> Result<Answer, MintFault> {
        let answer = self.ask(Method::POST, path, Some(&own.token), Some(Zeroizing::new(body.to_string()))).await?;
        if answer.status.as_u16() == 403 {
            // Perhaps it is the login that has ended: the next one who asks logs in again.
            *self.own.lock().await = None;
        }
        Ok(answer)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&SecretString>,
        body: Option<Zeroizing<String>>,
    ) -> Result<Answer, MintFault> {
        let mut headers = vec![("x-vault-request", "true".to_owned())];
        headers.extend(self.server.namespace.clone().map(|namespace| ("x-vault-namespace", namespace)));
        let ask = Ask {
            method,
            url: self.url(path)?,
            headers,
            secret: token.map(|token| ("x-vault-token", token)),
            body: body.map_or(Body::None, Body::Json),
        };
        self.server.web.ask(ask).await
    }

    fn url(&self, path: &str) -> Result<Url, MintFault> {
        let mut url = self.server.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path.split('/'));
        } else {
            return Err(MintFault::new(MintFaultKind::Own, "its URL has no path"));
        }
        Ok(url)
    }
}

fn token(answer: &Answer) -> Result<Token, MintFault> {
    let authed: Authed = read(answer)?;
    let auth = authed.auth.ok_or_else(|| wrong("`auth`"))?;
    if auth.client_token.is_empty() || auth.accessor.is_empty() {
        return Err(wrong("a token and its accessor"));
    }
    Ok(Token {
        text: auth.client_token.into(),
        accessor: auth.accessor,
        policies: auth.policies.unwrap_or_default(),
        seconds: auth.lease_duration,
        orphan: auth.orphan,
    })
}

fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, MintFault> {
    // What the parser says could quote a secret.
    serde_json::from_slice(&answer.body).map_err(|_| {
        MintFault::new(MintFaultKind::Wrong, format!("{WHO} answers with what is not its JSON: compare `url` with its address"))
    })
}

fn wrong(what: &str) -> MintFault {
    MintFault::new(MintFaultKind::Wrong, format!("{WHO} answers without {what}"))
}

fn not_longer(what: &str, lives: u64, seconds: u64) -> Result<u64, MintFault> {
    if lives > seconds + SKEW {
        let why = format!("its issuer lets {what} live {lives} s, and {seconds} s were asked for");
        return Err(MintFault::new(MintFaultKind::Generous, why));
    }
    Ok(lives)
}

/// What is not there any more is taken back already.
fn gone(answer: &Answer, words: &[&str]) -> Result<(), MintFault> {
    match answer.status.as_u16() {
        200 | 204 => return Ok(()),
        // It has only begun to.
        202 => return Err(MintFault::new(MintFaultKind::Wrong, format!("{WHO} is still at it"))),
        _ => {}
    }
    let fault = answer.fault(WHO);
    let is_gone = fault.kind == MintFaultKind::Refused && words.iter().any(|word| fault.why.contains(word));
    if is_gone { Ok(()) } else { Err(fault) }
}
