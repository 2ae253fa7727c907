//! Takes one message where it is to go, once. Whether it is tried again is not decided here.

use std::{path::Path, process::Stdio, sync::Arc, time::Duration};

use bailiwick_connectors::{HttpSpec, Poster};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command, sync::Mutex};
use url::Url;

use crate::{
    event::Event,
    message::{self, Message},
    sign::Secrets,
    spec::{ChannelSpec, Place, Target, Way},
};

/// How long one message may take in all.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long a mail program may take.
const MAIL_PATIENCE: Duration = Duration::from_secs(30);
/// The longest that a place may ask us to wait.
const LONGEST_WAIT: Duration = Duration::from_hours(1);

/// Reads a file that only its owner may read. The error says why not. It may block.
pub type ReadSecret = dyn Fn(&Path) -> Result<Vec<u8>, String> + Send + Sync;

/// A message arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered;

/// Why a message may not have arrived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CourierFault {
    /// Something here is not as it should be; the next try reads it anew.
    #[error("{0}")]
    Here(String),
    /// No answer.
    #[error("it can't be reached: {0}")]
    Unreached(String),
    /// Another answer than that it was taken.
    #[error("it answers {status}: {words}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// How long it asks us to wait.
        wait: Option<Duration>,
        /// What it says.
        words: String,
    },
    /// Nobody is there any more (HTTP 410).
    #[error("it says that it is gone for good (410): change or remove the channel")]
    Gone,
}

impl CourierFault {
    /// Whether it is this message that is not taken, and not the place that takes none now: 4xx, but for those that ask to come again.
    pub(crate) fn is_about_the_message(&self) -> bool {
        let again = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        matches!(self, Self::Refused { status, .. } if status.is_client_error() && !again.contains(status))
    }
}

/// Takes the messages of one channel.
pub struct Courier {
    spec: ChannelSpec,
    page: Url,
    read: Arc<ReadSecret>,
    /// The way there, and the place that it leads to.
    poster: Mutex<Option<(HttpSpec, Poster)>>,
}

impl Courier {
    /// For this channel; `page` is the console's address.
    pub fn new(spec: ChannelSpec, page: Url, read: Arc<ReadSecret>) -> Self {
        Self { spec, page, read, poster: Mutex::new(None) }
    }

    /// The channel.
    pub fn spec(&self) -> &ChannelSpec {
        &self.spec
    }

    /// Tells of an event, with the arguments where the channel carries them.
    pub async fn deliver(&self, event: &Event, arguments: Option<&str>, now_ms: u64) -> Result<Delivered, CourierFault> {
        if let Way::Webhook { .. } = self.spec.way {
            let body = message::webhook(event, &self.page, arguments.filter(|_| self.spec.include_args));
            let body = body.map_err(|fault| CourierFault::Here(format!("its body can't be written: {fault}")))?;
            return self.post(&event.id(), body, now_ms).await;
        }
        self.tell(&Message::of(event, &self.page, now_ms), &event.id(), now_ms).await
    }

    /// Sends a message that says that messages arrive.
    pub async fn trial(&self, id: &str, now_ms: u64) -> Result<Delivered, CourierFault> {
        if let Way::Webhook { .. } = self.spec.way {
            let body = message::trial(&self.page, now_ms);
            return self.post(id, body.map_err(|fault| CourierFault::Here(fault.to_string()))?, now_ms).await;
        }
        self.tell(&Message::trial(&self.page), id, now_ms).await
    }

    async fn tell(&self, message: &Message, id: &str, now_ms: u64) -> Result<Delivered, CourierFault> {
        let body = |value: Value| value.to_string().into_bytes();
        match &self.spec.way {
            Way::Slack(_) => self.post(id, body(message::slack(message)), now_ms).await,
            Way::Teams(_) => self.post(id, body(message::teams(message)), now_ms).await,
            Way::Ntfy { topic, .. } => self.post(id, body(message::ntfy(message, topic)), now_ms).await,
            Way::Mail { command, from, to } => hand_over(command, message::mail(message, id, from, to)).await,
            Way::Webhook { .. } => Err(CourierFault::Here("a webhook has no message for persons".to_owned())),
        }
    }

    async fn post(&self, id: &str, body: Vec<u8>, now_ms: u64) -> Result<Delivered, CourierFault> {
        let headers = self.headers(id, &body, now_ms).await?;
        let way = self.poster().await?;
        let posted = way.post(headers, Bytes::from(body)).await.map_err(CourierFault::Unreached)?;
        match posted.status {
            status if status.is_success() => Ok(Delivered),
            StatusCode::GONE => Err(CourierFault::Gone),
            status => {
                let wait = posted.retry_after.map(|wait| wait.min(LONGEST_WAIT));
                Err(CourierFault::Refused { status, wait, words: bailiwick_schemas::text::cut(&posted.words, 200) })
            }
        }
    }

    async fn headers(&self, id: &str, body: &[u8], now_ms: u64) -> Result<HeaderMap, CourierFault> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("bailiwick/", env!("CARGO_PKG_VERSION"))));
        let value =
            |text: &str| HeaderValue::from_str(text).map_err(|_| CourierFault::Here("a header can't be written".to_owned()));
        match &self.spec.way {
            Way::Webhook { secrets, .. } => {
                let shown = secrets.display();
                let keys = Secrets::read(self.read(secrets).await?.expose_secret().as_bytes());
                let keys = keys.map_err(|fault| CourierFault::Here(format!("`{shown}`: {fault}")))?;
                let seconds = now_ms / 1000;
                headers.insert(HeaderName::from_static("webhook-id"), value(id)?);
                headers.insert(HeaderName::from_static("webhook-timestamp"), HeaderValue::from(seconds));
                headers.insert(HeaderName::from_static("webhook-signature"), value(&keys.sign(id, seconds, body))?);
            }
            Way::Ntfy { token: Some(token), .. } => {
                let text = self.read(token).await?;
                let mut bearer = value(&format!("Bearer {}", text.expose_secret()))?;
                bearer.set_sensitive(true);
                headers.insert(header::AUTHORIZATION, bearer);
            }
            _ => {}
        }
        Ok(headers)
    }

    /// The way to where the channel leads now: a file that holds its URL may have changed.
    async fn poster(&self) -> Result<Poster, CourierFault> {
        let place = self.spec.way.place().ok_or_else(|| CourierFault::Here("it has no URL".to_owned()))?;
        let wanted = place.at(self.url(place).await?);
        let mut kept = self.poster.lock().await;
        if let Some((spec, poster)) = &*kept
            && *spec == wanted
        {
            return Ok(poster.clone());
        }
        let poster = Poster::to(&wanted, PATIENCE).await.map_err(CourierFault::Here)?;
        *kept = Some((wanted, poster.clone()));
        Ok(poster)
    }

    async fn url(&self, place: &Place) -> Result<Url, CourierFault> {
        let path = match &place.url {
            Target::Url(url) => return Ok(url.clone()),
            Target::File(path) => path,
        };
        let text = self.read(path).await?;
        let url = Url::parse(text.expose_secret()).ok().filter(|url| {
            let is_here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
            url.scheme() == "https" || (url.scheme() == "http" && (is_here || place.dangerous_plain_http))
        });
        // What is written there is a secret.
        url.ok_or_else(|| CourierFault::Here(format!("`{}` holds no URL with TLS: write it as `https://…`", path.display())))
    }

    /// What a private file holds, without the blanks around it.
    async fn read(&self, path: &Path) -> Result<SecretString, CourierFault> {
        let (read, file) = (Arc::clone(&self.read), path.to_owned());
        let told = |why: String| CourierFault::Here(format!("`{}`: {why}", path.display()));
        let bytes = tokio::task::spawn_blocking(move || read(&file)).await.map_err(|_| told("it can't be read".to_owned()))?;
        let bytes = zeroize::Zeroizing::new(bytes.map_err(told)?);
        let text = std::str::from_utf8(&bytes).map_err(|_| told("it is no text".to_owned()))?;
        Ok(SecretString::from(text.trim()))
    }
}

impl std::fmt::Debug for Courier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Courier").field("spec", &self.spec).finish_non_exhaustive()
    }
}

/// Hands a mail to the program of this machine.
async fn hand_over(command: &[String], mail: Vec<u8>) -> Result<Delivered, CourierFault> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(CourierFault::Here("it has no command".to_owned()));
    };
    let here = |what: &str, why: &dyn std::fmt::Display| CourierFault::Here(format!("`{program}` {what}: {why}"));
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|fault| here("can't be started", &fault))?;
    let handed = async {
        let mut input = child.stdin.take();
        let read = match &mut input {
            Some(input) => input.write_all(&mail).await,
            None => Ok(()),
        };
        drop(input);
        let ended = child.wait().await.map_err(|fault| here("was lost", &fault))?;
        // Why it read no further is what it ends with, where it says so.
        if ended.success() { read.map(|()| ended).map_err(|fault| here("did not read the message", &fault)) } else { Ok(ended) }
    };
    let late = || Err(here("did not end", &format!("more than {} s", MAIL_PATIENCE.as_secs())));
    match tokio::time::timeout(MAIL_PATIENCE, handed).await.unwrap_or_else(|_| late())? {
        ended if ended.success() => Ok(Delivered),
        ended => Err(here("did not take it", &ended)),
    }
}
