//! Which protocol a server speaks, and what it says of itself.

use std::{borrow::Cow, time::Duration};

use bailiwick_pipeline::{
    ports::{ConnectFailure, SendFailure},
    tasks::EXTENSION,
};
use bailiwick_schemas::json;
use bytes::Bytes;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::{
    hearing::Tells,
    link::{Body, DISCOVER, End, INITIALIZE, Link, Request},
    listing::{Keep, text},
    message::{Answer, check_complete},
    pool::Opened,
    version::{Era, Version},
};

/// What we say of ourselves to a server with a handshake, with what it may ask. What it lists may depend on that: definitions are looked at
/// where it may ask nothing, and compared everywhere.
fn hello(asks: Option<&str>) -> String {
    let asks = asks.unwrap_or("{}");
    format!(
        r#""protocolVersion":"2025-11-25","capabilities":{asks},"clientInfo":{{"name":"bailiwick","title":"Bailiwick","version":"1"}}"#
    )
}

/// The part of the handshake's time that a server may take to say whether it is modern: one that does not know the question may not
/// answer it at all.
const ASKING: u32 = 3;

/// What a server answers that speaks no older version (MCP 2026-07-28, `UnsupportedProtocolVersion`): no other one has this code.
const UNSUPPORTED_VERSION: i64 = -32022;

/// The longest answer to a handshake, and the longest description of a server in it, bytes.
const HELLO_BYTES: usize = 256 * 1024;
const INFO_BYTES: usize = 16 * 1024;

/// What the server said of itself.
#[derive(Debug, Clone)]
pub(crate) struct Hello {
    pub(crate) version: Version,
    /// Its name and version, as JSON.
    pub(crate) server_info: Option<String>,
    pub(crate) instructions: Option<String>,
    /// Whether it may answer a call later, with a task.
    pub(crate) tasks: bool,
    /// Whether it can be told which log messages are wanted, once for all of a session.
    pub(crate) logs: bool,
    /// What it can tell unasked.
    pub(crate) tells: Tells,
}

impl Hello {
    /// No more of it than that: a session lives long, and there may be thousands.
    pub(crate) fn keeping(self, keep: Keep) -> Self {
        match keep {
            Keep::Digests => Self { server_info: None, instructions: None, ..self },
            Keep::Definitions => self,
        }
    }
}

/// Why there is no session.
#[derive(Debug)]
pub(crate) struct Unopened {
    /// In words.
    pub(crate) why: String,
    /// What the request came to that failed; none where its answer was unfit.
    pub(crate) failure: Option<SendFailure>,
    /// The code of the error that it was answered with.
    code: Option<i64>,
}

impl Unopened {
    /// A request came to nothing.
    fn by(failure: SendFailure, why: String) -> Self {
        Self { why, failure: Some(failure), code: None }
    }

    /// It took too long.
    pub(crate) fn late(patience: Duration) -> Self {
        let ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        Self::by(SendFailure::Timeout(ms), format!("no answer within {ms} ms"))
    }

    /// Whether nothing came at all, though there was a connection, or seemed to be.
    pub(crate) fn hung(&self, link: &dyn Link) -> bool {
        match self.failure {
            Some(SendFailure::Timeout(_)) => true,
            // A server that can't be reached has its link retired.
            Some(SendFailure::Unsent(_)) => link.retired().is_none(),
            _ => false,
        }
    }
}

impl<W: Into<String>> From<W> for Unopened {
    fn from(why: W) -> Self {
        Self { why: why.into(), failure: None, code: None }
    }
}

/// Why a pool has no session to give.
pub(crate) enum Failed {
    /// Nothing was started.
    Unstarted(String),
    /// It ended by itself.
    Ended(String),
    /// We wanted it to end.
    Stopped(String),
    /// It ended when it was asked which protocol it speaks.
    WhenAsked(String),
    /// The handshake failed.
    Unshaken(String),
}

impl Failed {
    /// Ends the link, if it has not ended.
    pub(crate) fn of(unopened: &Unopened, opened: &Opened) -> Self {
        let link = &opened.link;
        // What is wrong with an answer may be said in the server's words.
        let why = link.clean(&unopened.why);
        let before = link.ended();
        link.end(End::failure(format!("the handshake failed: {why}")));
        match before {
            Some(end) if end.wanted && !end.expired => Self::Stopped(why),
            Some(end) if end.when_asked => Self::WhenAsked(why),
            Some(_) if opened.pid.is_some() => Self::Ended(why),
            _ => Self::Unshaken(why),
        }
    }

    pub(crate) fn why(&self) -> &str {
        let (Self::Unstarted(why) | Self::Ended(why) | Self::Stopped(why) | Self::WhenAsked(why) | Self::Unshaken(why)) = self;
        why
    }

    /// Whether it says something about the server, so that it is left alone for a while.
    pub(crate) fn counts(&self) -> bool {
        !matches!(self, Self::Stopped(_))
    }
}

impl From<Failed> for ConnectFailure {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Unshaken(why) => Self::Handshake(why),
            other => Self::Start(other.why().to_owned()),
        }
    }
}

/// Shakes hands. Where nobody knows the era, the server is asked: whatever is no modern answer means that it is legacy, unless it refuses
/// the older handshake as only a modern one does. Then it was slow, and is asked once more, with all the time that is left.
pub(crate) async fn shake_hands(
    link: &dyn Link,
    patience: Duration,
    known: Option<Era>,
    asks: Option<&str>,
) -> Result<Hello, Unopened> {
    match known {
        Some(Era::Modern) => discover(link, patience).await,
        Some(Era::Legacy) => initialize(link, patience, asks).await,
        None => match discover(link, patience / ASKING).await {
            Ok(hello) => Ok(hello),
            Err(unopened) if is_final(&unopened) || link.ended().is_some() => Err(unopened),
            Err(_) => match initialize(link, patience, asks).await {
                Err(unopened) if unopened.code == Some(UNSUPPORTED_VERSION) && link.ended().is_none() => {
                    discover(link, patience).await
                }
                shaken => shaken,
            },
        },
    }
}

/// Whether the older handshake would fail in the same way.
fn is_final(unopened: &Unopened) -> bool {
    matches!(unopened.failure, Some(SendFailure::Denied(_) | SendFailure::Unsent(_)))
}

async fn discover(link: &dyn Link, patience: Duration) -> Result<Hello, Unopened> {
    let version = Version::V20260728;
    let result = ask(link, DISCOVER, "", version, patience).await?;
    let (mut speaks_it, mut server_info, mut instructions, mut tells, mut tasks) = (None, None, None, Tells::default(), false);
    for (key, value) in fields(&result, DISCOVER)? {
        match key.as_ref() {
            "supportedVersions" => {
                let versions =
                    serde_json::from_str::<Vec<String>>(value).map_err(|_| "`supportedVersions` is not a list of texts")?;
                speaks_it = Some(versions.iter().any(|given| given == version.as_str()));
            }
            "_meta" => {
                let meta = json::fields(value).unwrap_or_default();
                let named = meta.into_iter().find(|(key, _)| key == "io.modelcontextprotocol/serverInfo");
                server_info = named.and_then(|(_, info)| bounded(info.get()));
            }
            "capabilities" => {
                tells = told_by(&json::fields(value).unwrap_or_default());
                tasks = has_tasks(value);
            }
            "instructions" => instructions = serde_json::from_str::<String>(value).ok(),
            _ => {}
        }
    }
    match speaks_it {
        Some(true) => Ok(Hello { version, server_info, instructions, tasks, logs: false, tells }),
        Some(false) => Err(format!("it does not speak protocol version {}", version.as_str()).into()),
        None => Err(format!("the answer to `{DISCOVER}` has no `supportedVersions`").into()),
    }
}

async fn initialize(link: &dyn Link, patience: Duration, asks: Option<&str>) -> Result<Hello, Unopened> {
    let result = ask(link, INITIALIZE, &hello(asks), Version::V20251125, patience).await?;
    let (mut protocol, mut server_info, mut instructions, mut logs) = (None, None, None, false);
    let mut tells = Tells::default();
    for (key, value) in fields(&result, INITIALIZE)? {
        match key.as_ref() {
            "protocolVersion" => protocol = serde_json::from_str::<String>(value).ok(),
            "serverInfo" => server_info = bounded(value),
            "capabilities" => {
                let capabilities = json::fields(value).unwrap_or_default();
                logs = capabilities.iter().any(|(key, how)| key == "logging" && how.get().starts_with('{'));
                tells = told_by(&capabilities);
            }
            "instructions" => instructions = serde_json::from_str::<String>(value).ok(),
            _ => {}
        }
    }
    let protocol = protocol.ok_or("the answer to `initialize` has no `protocolVersion`")?;
    let Some(version) = Version::LEGACY.into_iter().find(|version| version.as_str() == protocol) else {
        let given: String = link.clean(&protocol).chars().take(40).collect();
        let ours = Version::LEGACY.map(Version::as_str).join(", ");
        return Err(format!("it speaks protocol version `{given}`, we speak {ours}").into());
    };
    let told = link.notify("notifications/initialized", version, patience).await;
    told.map_err(|failure| Unopened::by(failure.clone(), failure.to_string()))?;
    Ok(Hello { version, server_info, instructions, tasks: false, logs, tells })
}

/// What a server of these capabilities can tell unasked.
fn told_by(capabilities: &[(Cow<'_, str>, &RawValue)]) -> Tells {
    let says = |capability: &str, what: &str| {
        let of = capabilities.iter().find(|(key, _)| key == capability);
        let members = of.and_then(|(_, how)| json::fields(how.get()).ok()).unwrap_or_default();
        members.iter().any(|(key, value)| key == what && value.get() == "true")
    };
    Tells {
        tools: says("tools", "listChanged"),
        resources: says("resources", "listChanged"),
        prompts: says("prompts", "listChanged"),
        updates: says("resources", "subscribe"),
    }
}

/// Whether a server has the extension for tasks.
fn has_tasks(capabilities: &str) -> bool {
    let member = |object: &str, name: &str| {
        let fields = json::fields(object).unwrap_or_default();
        fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.get().to_owned())
    };
    let tasks = member(capabilities, "extensions").and_then(|extensions| member(&extensions, EXTENSION));
    tasks.is_some_and(|tasks| tasks.starts_with('{'))
}

/// How a server describes itself; nothing where that is too long to be a description.
fn bounded(info: &str) -> Option<String> {
    (info.len() <= INFO_BYTES).then(|| info.to_owned())
}

/// The members of a result, each as its text.
fn fields<'r>(result: &'r Bytes, method: &str) -> Result<Vec<(std::borrow::Cow<'r, str>, &'r str)>, Unopened> {
    if result.len() > HELLO_BYTES {
        return Err(
            format!("the answer to `{method}` has more than {HELLO_BYTES} bytes: its server should say less of itself").into()
        );
    }
    let fields = json::fields(text(result)?).map_err(|fault| format!("the answer to `{method}`: {fault}"))?;
    Ok(fields.into_iter().map(|(key, value)| (key, value.get())).collect())
}

/// A request of our own; the failure names it.
pub(crate) async fn ask(
    link: &dyn Link,
    method: &'static str,
    members: &str,
    version: Version,
    timeout: Duration,
) -> Result<Bytes, Unopened> {
    let never = CancellationToken::new();
    let body = Body::Own { method, members };
    let request = Request { body, version, timeout, cancelled: &never, written: Box::new(|| {}), ear: None };
    let failure = match link.request(request).await {
        Ok(Answer::Result(result)) => {
            if version.is_modern() {
                check_complete(&result).map_err(|fault| format!("`{method}`: {fault}"))?;
            }
            return Ok(result);
        }
        Ok(Answer::Error { code, message, .. }) => {
            let why = format!("`{method}` is answered with error {code}: {}", link.clean(&message));
            return Err(Unopened { code: Some(code), ..why.into() });
        }
        Err(failure) => failure,
    };
    let why = match &failure {
        SendFailure::Unsent(why) | SendFailure::Closed(why) => why.clone(),
        other => format!("`{method}`: {other}"),
    };
    Err(Unopened::by(failure, why))
}

#[cfg(test)]
mod tests {
    use super::has_tasks;

    #[test]
    fn a_server_has_tasks_that_says_so() {
        assert!(has_tasks(r#"{"tools":{},"extensions":{"x":{},"io.modelcontextprotocol/tasks":{}}}"#));
        for other in [
            r#"{"tasks":{}}"#,
            r#"{"extensions":{}}"#,
            r#"{"extensions":{"io.modelcontextprotocol/tasks":true}}"#,
            r#"{"extensions":["io.modelcontextprotocol/tasks"]}"#,
            "[]",
            "{}",
        ] {
            assert!(!has_tasks(other), "{other}");
        }
    }
}
