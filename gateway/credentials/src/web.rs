//! Asks issuers over HTTP: with TLS but on this machine, without redirects and proxies, within a time and a size.

mod told;

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use bailiwick_pipeline::ports::Later;
use reqwest::{Certificate, Client, Identity, Method, StatusCode, redirect::Policy};
use secrecy::{ExposeSecret, SecretString};
use url::Url;
use zeroize::Zeroizing;

use self::told::Shown;
use crate::{
    provider::{MintFault, MintFaultKind},
    secret_file,
};

/// How long an issuer may take for one answer, the connection included.
const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 10 });

/// The largest answer, bytes: a credential has no more.
const LARGEST: usize = 256 * 1024;

/// The largest file of certificate authorities, bytes.
const LARGEST_PEM: u64 = 4 * 1024 * 1024;

/// So much of what an issuer says of its own failure is told, characters.
const TOLD: usize = 300;

/// An issuer, and how it is reached.
#[derive(Debug, Clone)]
pub struct Web {
    /// The PEM file of the only authorities that are trusted for it; those of the system where there is none.
    pub roots: Option<PathBuf>,
    /// The PEM file with a client certificate, those above it, and its private key.
    pub identity: Option<PathBuf>,
}

/// Judges where may be connected to, for addresses that somebody else has named.
pub trait Egress: Send + Sync {
    /// The addresses of this host for this port, if every one of them may be connected to; else why not.
    fn addresses<'a>(&'a self, host: &'a str, port: u16) -> Later<'a, Result<Vec<IpAddr>, String>>;
}

/// What is asked of an issuer.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// Headers that hold no secret.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The one that does.
    pub(crate) secret: Option<(&'static str, &'a SecretString)>,
    pub(crate) body: Body,
}

/// What is sent.
pub(crate) enum Body {
    None,
    Json(Zeroizing<String>),
    Form(Zeroizing<String>),
}

/// What an issuer answers. Wiped when it is dropped.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Zeroizing<Vec<u8>>,
    /// What it was shown: not to be told again.
    shown: Shown,
}

impl Web {
    /// Asks once. An answer of any status is an answer.
    pub(crate) async fn ask(&self, ask: Ask<'_>) -> Result<Answer, MintFault> {
        self.asked(ask, None).await
    }

    /// The same at an address that somebody else has named: only those are connected to that were judged.
    pub(crate) async fn ask_judged(&self, ask: Ask<'_>, egress: &dyn Egress) -> Result<Answer, MintFault> {
        let host = ask.url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = ask.url.port_or_known_default().unwrap_or_default();
        let judged = tokio::time::timeout(PATIENCE, egress.addresses(&host, port)).await;
        let judged = judged.unwrap_or_else(|_| Err(format!("`{host}` is not resolved in time")));
        let addresses = judged.map_err(|why| MintFault::new(MintFaultKind::Refused, why))?;
        let addresses = addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect();
        self.asked(ask, Some((host, addresses))).await
    }

    async fn asked(&self, ask: Ask<'_>, only: Option<(String, Vec<SocketAddr>)>) -> Result<Answer, MintFault> {
        let of = self.clone();
        let is_plain = ask.url.scheme() == "http";
        // For each time anew: whom to trust may have changed, and it is seldom.
        let client = tokio::task::spawn_blocking(move || of.client(is_plain, only.as_ref())).await;
        let client = client
            .unwrap_or_else(|_| Err("its client can't be made".to_owned()))
            .map_err(|why| MintFault::new(MintFaultKind::Own, why))?;
        let shown = Shown::of(&ask);
        let mut request = client.request(ask.method, ask.url);
        for (name, value) in ask.headers {
            request = request.header(name, value);
        }
        if let Some((name, secret)) = ask.secret {
            let value = reqwest::header::HeaderValue::from_str(secret.expose_secret());
            let mut value = value.map_err(|_| {
                MintFault::new(MintFaultKind::Own, "the gateway's own secret for it is not one line of plain text")
            })?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        request = match ask.body {
            Body::None => request,
            Body::Json(text) => request.header("content-type", "application/json").body(text.as_bytes().to_vec()),
            Body::Form(text) => {
                request.header("content-type", "application/x-www-form-urlencoded").body(text.as_bytes().to_vec())
            }
        };
        let mut response = request.send().await.map_err(|fault| unreachable(&fault))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Zeroizing::new(Vec::with_capacity(LARGEST));
        while let Some(chunk) = response.chunk().await.map_err(|fault| unreachable(&fault))? {
            if body.len() + chunk.len() > LARGEST {
                return Err(MintFault::new(MintFaultKind::Wrong, format!("its issuer answers with more than {LARGEST} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body, shown })
    }

    fn client(&self, is_plain: bool, only: Option<&(String, Vec<SocketAddr>)>) -> Result<Client, String> {
        let builder = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .timeout(PATIENCE)
            .https_only(!is_plain)
            .pool_max_idle_per_host(0);
        // No second look-up in between: the name is what was judged.
        let builder = only.iter().fold(builder, |builder, (host, addresses)| builder.resolve_to_addrs(host, addresses));
        let builder = match &self.roots {
            None => builder,
            Some(path) => {
                let shown = path.display();
                let pem = pem(path)?;
                let roots =
                    Certificate::from_pem_bundle(&pem).map_err(|_| format!("`{shown}` is no PEM file of certificates"))?;
                if roots.is_empty() {
                    return Err(format!("`{shown}` has no certificate"));
                }
                builder.tls_certs_only(roots)
            }
        };
        let builder = match &self.identity {
            None => builder,
            Some(path) => {
                let shown = path.display();
                // There is a private key in it.
                let pem =
                    secret_file::read(path).map_err(|why| format!("the certificate with its private key in `{shown}`: {why}"))?;
                let identity = Identity::from_pem(pem.expose_secret().as_bytes());
                builder.identity(identity.map_err(|_| format!("`{shown}` has no certificate with its private key as PEM"))?)
            }
        };
        builder.build().map_err(|fault| words(&fault))
    }
}

impl Answer {
    /// What a success says; a fault for all else. `whose` is the issuer, for people.
    pub(crate) fn success(self, whose: &str) -> Result<Self, MintFault> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(self.fault(whose))
    }

    /// What an answer that is none comes to.
    pub(crate) fn fault(&self, whose: &str) -> MintFault {
        let status = self.status;
        let wait =
            self.headers.get("retry-after").and_then(|wait| wait.to_str().ok()?.trim().parse().ok()).map(Duration::from_secs);
        let kind = match status.as_u16() {
            429 => MintFaultKind::Busy(wait),
            503 if wait.is_some() => MintFaultKind::Busy(wait),
            400..=499 => MintFaultKind::Refused,
            500..=599 => MintFaultKind::Down,
            _ => MintFaultKind::Wrong,
        };
        MintFault::new(kind, format!("{whose} answers with {status}{}", self.told()))
    }

    /// What it says of its failure, where it says it in one of the usual ways: one line, short. Never a whole body, which could hold a secret.
    fn told(&self) -> String {
        let Ok(body) = serde_json::from_slice::<serde_json::Value>(&self.body) else { return String::new() };
        let of = |key: &str| body.get(key).and_then(|said| said.as_str().map(str::to_owned));
        let errors = || {
            let errors = body.get("errors")?.as_array()?.iter().filter_map(|error| error.as_str());
            Some(errors.collect::<Vec<_>>().join("; "))
        };
        let said = match (of("error"), of("error_description")) {
            (Some(error), Some(description)) => Some(format!("{error}: {description}")),
            (error, description) => error.or(description).or_else(|| of("message")).or_else(errors),
        };
        let clean = self.clean(&said.unwrap_or_default(), &[]);
        if clean.is_empty() { String::new() } else { format!(": {clean}") }
    }

    /// A text of this answer as it can be told: one line, short, and without what its issuer was shown, or these.
    pub(crate) fn clean(&self, text: &str, also: &[&SecretString]) -> String {
        self.shown.clean(text, also, TOLD)
    }
}

fn pem(path: &std::path::Path) -> Result<Zeroizing<Vec<u8>>, String> {
    use std::io::Read as _;
    let shown = path.display();
    let file = secret_file::open(path).map_err(|why| format!("`{shown}`: {why}"))?;
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        return Err(format!("`{shown}` is not a regular file: give the path of one"));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(LARGEST_PEM).read_to_end(&mut bytes).map_err(|fault| format!("`{shown}` can't be read: {fault}"))?;
    Ok(bytes)
}

fn unreachable(fault: &reqwest::Error) -> MintFault {
    let kind = if fault.is_timeout() { MintFaultKind::Slow } else { MintFaultKind::Down };
    let what = if fault.is_timeout() { "its issuer does not answer in time" } else { "its issuer can't be reached" };
    let failed = MintFault::new(kind, format!("{what}: {}", words(fault)));
    // Without a connection nothing was asked.
    if fault.is_connect() { failed.unasked() } else { failed }
}

/// What a failure says: the deepest of its causes. It names no URL, which can hold a secret.
fn words(fault: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = fault;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}
