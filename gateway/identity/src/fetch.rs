//! Reading the documents of an issuer: from a file, or over HTTP from exactly where it was said, within bounds.

use std::{
    error::Error,
    future::Future,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    pin::Pin,
    time::Duration,
};

use bailiwick_schemas::json::{self, Limits};
use reqwest::{Certificate, Client, Response, StatusCode, header, redirect};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use url::{Host, Url};

use crate::keys::DOCUMENT;

/// A future that is on its way.
pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where the keys of an issuer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In this file.
    File(PathBuf),
    /// At this address.
    Url(Url),
    /// Where the issuer's own description says (`OpenID` Connect Discovery 1.0, section 4). This is the issuer, as it calls itself.
    Discovery(Url),
}

/// A document of keys, as it was read.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) bytes: Vec<u8>,
    /// How long it is good, by who serves it.
    pub(crate) max_age: Option<Duration>,
}

/// Whatever reads documents of keys.
pub(crate) trait ReadKeys: Send + Sync {
    /// Reads it once.
    fn read<'a>(&'a self, source: &'a KeySource) -> Later<'a, Result<Document, String>>;
}

/// Reads files, and asks servers. The only certificate authorities that are trusted are those of `roots`, where it is set.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    pub(crate) roots: Option<PathBuf>,
}

impl ReadKeys for Reader {
    fn read<'a>(&'a self, source: &'a KeySource) -> Later<'a, Result<Document, String>> {
        Box::pin(async move {
            match source {
                KeySource::File(path) => file(path).await.map(|bytes| Document { bytes, max_age: None }),
                KeySource::Url(url) => ask(&self.client(url).await?, url).await,
                KeySource::Discovery(issuer) => {
                    let client = self.client(issuer).await?;
                    let at = described_at(issuer);
                    let description = ask(&client, &at).await?;
                    let keys = keys_of(&description.bytes, issuer).map_err(|why| format!("`{at}`: {why}"))?;
                    ask(&client, &keys).await
                }
            }
        })
    }
}

impl Reader {
    /// A client that goes where it is told and nowhere else. Made anew for each reading, which is rare: authorities may change.
    async fn client(&self, to: &Url) -> Result<Client, String> {
        let plain = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(0)
            .user_agent(concat!("bailiwick/", env!("CARGO_PKG_VERSION")));
        let builder = match &self.roots {
            Some(roots) => {
                let pem = file(roots).await?;
                let roots = Certificate::from_pem_bundle(&pem).map_err(|fault| format!("`{}`: {fault}", roots.display()))?;
                plain.tls_certs_only(roots)
            }
            None if to.scheme() == "http" => plain.tls_certs_only([]),
            None => plain,
        };
        // The system's authorities are read from many files.
        let made = tokio::task::spawn_blocking(move || builder.build()).await;
        made.map_err(|_| "no client can be made".to_owned())?.map_err(|fault| format!("no client can be made: {}", words(&fault)))
    }
}

/// Whether keys may be read from there: with TLS, or from this machine.
pub fn is_trusted_way(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback(url))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    }
}

/// Where an issuer describes itself: its own name, and a fixed path behind it.
fn described_at(issuer: &Url) -> Url {
    let mut at = issuer.clone();
    at.set_path(&format!("{}/.well-known/openid-configuration", issuer.path().trim_end_matches('/')));
    at
}

/// Where a description says that the keys are. It must be that of this issuer and no other.
fn keys_of(description: &[u8], issuer: &Url) -> Result<Url, String> {
    let read = json::parse(description, Limits { bytes: DOCUMENT, depth: 16 });
    let read = read.map_err(|fault| format!("it is no JSON that is taken: {fault}"))?;
    let text = |key: &str| read.get(key).and_then(Value::as_str).ok_or_else(|| format!("it has no text `{key}`"));
    // A URL without a path is written without a slash by most, and read with one.
    let says = text("issuer")?;
    if says != issuer.as_str() && Some(says) != issuer.as_str().strip_suffix('/') {
        return Err("it is that of another issuer".to_owned());
    }
    let keys = Url::parse(text("jwks_uri")?).map_err(|_| "its `jwks_uri` is no URL".to_owned())?;
    // An issuer elsewhere has no business on this machine.
    let is_taken = keys.scheme() == "https" || (is_loopback(issuer) && is_trusted_way(&keys));
    if is_taken { Ok(keys) } else { Err("its `jwks_uri` is without TLS".to_owned()) }
}

async fn file(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let read = async {
        let mut bytes = Vec::new();
        let most = u64::try_from(DOCUMENT).unwrap_or(u64::MAX);
        tokio::fs::File::open(path).await?.take(most + 1).read_to_end(&mut bytes).await?;
        Ok::<_, io::Error>(bytes)
    };
    let bytes = read.await.map_err(|fault| format!("`{shown}` can't be read: {fault}"))?;
    if bytes.len() > DOCUMENT { Err(format!("`{shown}` has more than {DOCUMENT} bytes")) } else { Ok(bytes) }
}

async fn ask(client: &Client, url: &Url) -> Result<Document, String> {
    let answer = client.get(url.clone()).header(header::ACCEPT, "application/json").send().await;
    let mut answer = answer.map_err(|fault| format!("`{url}`: {}", words(&fault.without_url())))?;
    if answer.status() != StatusCode::OK {
        return Err(format!("`{url}` answered {}", answer.status().as_u16()));
    }
    let max_age = max_age(&answer);
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|fault| format!("`{url}`: {}", words(&fault.without_url())))? {
        if bytes.len() + chunk.len() > DOCUMENT {
            return Err(format!("`{url}` answered more than {DOCUMENT} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Document { bytes, max_age })
}

/// What an answer says of how long it is good (RFC 9111, section 5.2.2).
fn max_age(answer: &Response) -> Option<Duration> {
    let says: Vec<&str> =
        answer.headers().get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()).collect();
    let directives = || says.iter().flat_map(|value| value.split(',')).map(str::trim);
    if directives().any(|one| one.eq_ignore_ascii_case("no-store") || one.eq_ignore_ascii_case("no-cache")) {
        return Some(Duration::ZERO);
    }
    let seconds = |one: &str| {
        let (name, value) = one.split_once('=')?;
        if name.trim().eq_ignore_ascii_case("max-age") { value.trim().trim_matches('"').parse().ok() } else { None }
    };
    directives().find_map(seconds).map(Duration::from_secs)
}

/// The last cause of an error says the most.
fn words(fault: &(dyn Error + 'static)) -> String {
    let mut deepest = fault;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}
