//! What is asked of the security token service: `AssumeRole`, signed (Signature Version 4).

use std::{
    path::Path,
    time::{Duration, UNIX_EPOCH},
};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use bailiwick_pipeline::ports::Access;
use reqwest::Method;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Aws, answer};
use crate::{
    oauth::{form, secret_of_file},
    provider::{MintFault, MintFaultKind, Wish},
    web::{Answer, Ask, Body},
};

/// The longest session policy, characters of it as it is sent.
const POLICY: usize = 2048;

/// The largest file with one, bytes.
const POLICY_FILE: u64 = 64 * 1024;

/// The longest name of a session.
const NAME: usize = 64;

/// Asks for a session of this name, for so many seconds.
pub(super) async fn assume(of: &Aws, wish: &Wish, name: &str, seconds: u64) -> Result<Answer, MintFault> {
    let policy = match (wish.access, &of.read_policy, &of.policy) {
        (Access::Read, Some(path), _) | (_, _, Some(path)) => Some(policy(path).await?),
        _ => None,
    };
    let seconds = seconds.to_string();
    let mut fields = vec![
        ("Action".to_owned(), "AssumeRole"),
        ("Version".to_owned(), "2011-06-15"),
        ("RoleArn".to_owned(), of.role(wish.access)),
        ("RoleSessionName".to_owned(), name),
        ("DurationSeconds".to_owned(), &seconds),
    ];
    fields.extend(policy.as_deref().map(|policy| ("Policy".to_owned(), policy)));
    let tags = if of.tags { tags(wish) } else { Vec::new() };
    for (index, (key, value)) in tags.iter().enumerate() {
        let number = index + 1;
        fields.push((format!("Tags.member.{number}.Key"), *key));
        fields.push((format!("Tags.member.{number}.Value"), value));
    }
    let body = form(fields.iter().map(|(name, value)| (name.as_str(), *value)));
    let secret = secret_of_file(&of.keys.secret_file, "the secret key").await?;
    let token = match &of.keys.session_token_file {
        Some(path) => Some(secret_of_file(path, "the session token").await?),
        None => None,
    };
    let headers = signed(of, wish, &body, &secret, token.as_ref())?;
    let ask = Ask {
        method: Method::POST,
        url: of.endpoint.clone(),
        headers,
        secret: token.as_ref().map(|token| ("x-amz-security-token", token)),
        body: Body::Form(body),
    };
    let answer = of.web.ask(ask).await?;
    if answer.status.is_success() { Ok(answer) } else { Err(answer::fault(&answer)) }
}

/// Whose session it is, in the tags that a policy of the cloud can read.
fn tags(wish: &Wish) -> Vec<(&'static str, String)> {
    let (agent, grant) = (wish.agent.as_ref().map(ToString::to_string), wish.grant.as_ref().map(ToString::to_string));
    let all = [("bailiwick:agent", agent), ("bailiwick:grant", grant), ("bailiwick:connector", Some(wish.connector.to_string()))];
    all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// The headers that prove who asks, without the token of temporary keys.
fn signed(
    of: &Aws,
    wish: &Wish,
    body: &str,
    secret: &SecretString,
    token: Option<&SecretString>,
) -> Result<Vec<(&'static str, String)>, MintFault> {
    let failed = |why: String| MintFault::new(MintFaultKind::Own, format!("the request can't be signed: {why}"));
    let token = token.map(|token| token.expose_secret().to_owned());
    let identity = Credentials::new(&of.keys.id, secret.expose_secret(), token, None, "bailiwick").into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(&of.region)
        .name("sts")
        .time(UNIX_EPOCH + Duration::from_millis(wish.now_ms))
        .settings(SigningSettings::default())
        .build()
        .map_err(|fault| failed(fault.to_string()))?
        .into();
    let kind = ("content-type", "application/x-www-form-urlencoded");
    let request = SignableRequest::new("POST", of.endpoint.as_str(), [kind].into_iter(), SignableBody::Bytes(body.as_bytes()));
    let request = request.map_err(|fault| failed(fault.to_string()))?;
    let (instructions, _) = sign(request, &parameters).map_err(|fault| failed(fault.to_string()))?.into_parts();
    let all = instructions.headers().filter_map(|(name, value)| match name {
        "authorization" => Some(("authorization", value.to_owned())),
        "x-amz-date" => Some(("x-amz-date", value.to_owned())),
        _ => None,
    });
    Ok(all.collect())
}

/// Whose session it is, for the trail of the cloud: the agent and the lease.
pub(super) fn session_name(wish: &Wish) -> String {
    let agent = wish.agent.as_ref().map_or_else(|| "bailiwick".to_owned(), ToString::to_string);
    let lease: String = wish.lease.strip_prefix("lease-").unwrap_or(&wish.lease).chars().take(32).collect();
    let room = NAME.saturating_sub(lease.len() + 1);
    let is_taken = |c: char| c.is_ascii_alphanumeric() || "_=,.@-".contains(c);
    let agent: String = agent.chars().map(|c| if is_taken(c) { c } else { '-' }).take(room).collect();
    format!("{agent}-{lease}")
}

/// A session policy, as short as it gets.
async fn policy(path: &Path) -> Result<String, MintFault> {
    let from = path.to_owned();
    let read = tokio::task::spawn_blocking(move || policy_now(&from)).await;
    let read = read.unwrap_or_else(|_| Err("reading it failed".to_owned()));
    read.map_err(|why| MintFault::new(MintFaultKind::Own, format!("the session policy `{}`: {why}", path.display())))
}

fn policy_now(path: &Path) -> Result<String, String> {
    use std::io::Read as _;
    let file = std::fs::File::open(path).map_err(|fault| format!("it can't be read: {fault}"))?;
    let mut text = String::new();
    file.take(POLICY_FILE).read_to_string(&mut text).map_err(|fault| format!("it can't be read: {fault}"))?;
    let policy: serde_json::Value = serde_json::from_str(&text).map_err(|fault| format!("it is no JSON: {fault}"))?;
    if !policy.is_object() {
        return Err("it is no JSON object".to_owned());
    }
    let text = policy.to_string();
    if text.chars().count() > POLICY {
        return Err(format!("it has more than {POLICY} characters, its blanks left out: shorten it"));
    }
    Ok(text)
}
