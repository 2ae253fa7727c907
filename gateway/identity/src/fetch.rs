//! Reading the documents of an issuer: from a file, or over HTTP from exactly where it was said, within bounds.

use std::{
    error::Error,
    fs::OpenOptions,
    future::Future,
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    pin::Pin,
    time::Duration,
};

use bailiwick_schemas::json::{self, Limits};
use reqwest::{Certificate, Client, Response, StatusCode, header, redirect};
use rustix::fs::OFlags;
use serde_json::Value;
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
    pub(crate) async fn client(&self, to: &Url) -> Result<Client, String> {
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
pub(crate) fn described_at(issuer: &Url) -> Url {
    let mut at = issuer.clone();
    at.set_path(&format!("{}/.well-known/openid-configuration", issuer.path().trim_end_matches('/')));
    at
}

/// Where a description says that the keys are.
fn keys_of(description: &[u8], issuer: &Url) -> Result<Url, String> {
    place_of(description, issuer, "jwks_uri")
}

/// Where a description says that something is. It must be that of this issuer and no other.
pub(crate) fn place_of(description: &[u8], issuer: &Url, key: &str) -> Result<Url, String> {
    let read = json::parse(description, Limits { bytes: DOCUMENT, depth: 16 });
    let read = read.map_err(|fault| format!("it is no JSON that is taken: {fault}"))?;
    let text = |key: &str| read.get(key).and_then(Value::as_str).ok_or_else(|| format!("it has no text `{key}`"));
    // A URL without a path is written without a slash by most, and read with one.
    let says = text("issuer")?;
    if says != issuer.as_str() && Some(says) != issuer.as_str().strip_suffix('/') {
        return Err("it is that of another issuer".to_owned());
    }
    let place = Url::parse(text(key)?).map_err(|_| format!("its `{key}` is no URL"))?;
    if !place.username().is_empty() || place.password().is_some() {
        return Err(format!("its `{key}` has a user or a password"));
    }
    // An issuer elsewhere has no business on this machine, nor on what only this one reaches; but where it is itself.
    if is_loopback(issuer) {
        return if is_trusted_way(&place) { Ok(place) } else { Err(format!("its `{key}` is without TLS")) };
    }
    if place.scheme() != "https" {
        return Err(format!("its `{key}` is without TLS"));
    }
    if is_inside(&place) && place.origin() != issuer.origin() {
        let help = if key == "jwks_uri" { ": set `jwks_url` if its keys are there" } else { "" };
        return Err(format!("its `{key}` is an address inside{help}"));
    }
    Ok(place)
}

/// Whether it is written as a place that others can't reach: this machine, or an address of a network of its own.
fn is_inside(url: &Url) -> bool {
    let is_own = |ip: Ipv4Addr| {
        let [first, second, ..] = ip.octets();
        let is_shared = first == 100 && second & 0xc0 == 64;
        ip.is_private() || ip.is_loopback() || ip.is_link_local() || first == 0 || is_shared || ip.is_broadcast()
    };
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(ip)) => is_own(ip),
        Some(Host::Ipv6(ip)) => {
            let is_own_six = ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local();
            // `::a.b.c.d` and `::ffff:a.b.c.d` are the same hosts.
            is_own_six || ip.to_ipv4().is_some_and(is_own)
        }
        None => true,
    }
}

/// What a plain file of a bearable size holds.
pub(crate) async fn file(path: &Path) -> Result<Vec<u8>, String> {
    let given = path.to_owned();
    let read = tokio::task::spawn_blocking(move || plain_file(&given)).await;
    let read = read.unwrap_or_else(|_| Err(io::Error::other("nobody is there to read it")));
    let shown = path.display();
    let bytes = read.map_err(|fault| format!("`{shown}` can't be read: {fault}"))?;
    if bytes.len() > DOCUMENT { Err(format!("`{shown}` has more than {DOCUMENT} bytes")) } else { Ok(bytes) }
}

/// Its bytes, or one more of them than a document may have.
fn plain_file(path: &Path) -> io::Result<Vec<u8>> {
    // Not blocking: a named pipe in place of the file must not hold us.
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let most = u64::try_from(DOCUMENT).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(crate) async fn ask(client: &Client, url: &Url) -> Result<Document, String> {
    let answer = client.get(url.clone()).header(header::ACCEPT, "application/json").send().await;
    let answer = answer.map_err(|fault| format!("`{url}`: {}", words(&fault.without_url())))?;
    if answer.status() != StatusCode::OK {
        return Err(format!("`{url}` answered {}", answer.status().as_u16()));
    }
    let max_age = max_age(&answer);
    Ok(Document { bytes: whole(answer, url).await?, max_age })
}

/// The body of an answer, if it is of a bearable size.
pub(crate) async fn whole(mut answer: Response, url: &Url) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|fault| format!("`{url}`: {}", words(&fault.without_url())))? {
        if bytes.len() + chunk.len() > DOCUMENT {
            return Err(format!("`{url}` answered more than {DOCUMENT} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use serde_json::json;

    use super::*;

    fn found(issuer: &str, keys: &str) -> Result<Url, String> {
        keys_of(json!({"issuer": issuer, "jwks_uri": keys}).to_string().as_bytes(), &issuer.parse().unwrap())
    }

    #[test]
    fn an_issuer_elsewhere_sends_nobody_inside() {
        let elsewhere = "https://login.example.com";
        for keys in
            ["https://login.example.com/keys", "https://keys.example.net:8443/k", "https://8.8.8.8/k", "https://[2001:db8::1]/k"]
        {
            assert_eq!(found(elsewhere, keys).as_ref().map(Url::as_str), Ok(keys));
        }
        for keys in [
            "https://localhost/k",
            "https://LOCALHOST./k",
            "https://db.localhost/k",
            "https://127.0.0.1/k",
            "https://127.9.9.9:8443/k",
            "https://2130706433/k",
            "https://0x7f.1/k",
            "https://10.1.2.3/k",
            "https://172.16.0.1/k",
            "https://192.168.0.1/k",
            "https://169.254.169.254/latest/meta-data",
            "https://100.64.0.1/k",
            "https://0.0.0.0/k",
            "https://[::1]/k",
            "https://[::]/k",
            "https://[fe80::1]/k",
            "https://[fd00::1]/k",
            "https://[::ffff:10.0.0.1]/k",
            "https://[::ffff:169.254.169.254]/k",
            "https://[::127.0.0.1]/k",
        ] {
            let refused = found(elsewhere, keys).unwrap_err();
            assert!(refused.contains("set `jwks_url`"), "{keys}: {refused}");
        }
        for keys in ["http://login.example.com/keys", "http://127.0.0.1/keys", "ftp://login.example.com/keys"] {
            assert!(found(elsewhere, keys).unwrap_err().contains("without TLS"), "{keys}");
        }
    }

    #[test]
    fn an_issuer_inside_has_its_keys_where_it_is() {
        assert!(found("https://10.0.0.1:6443", "https://10.0.0.1:6443/openid/v1/jwks").is_ok());
        assert!(found("https://10.0.0.1:6443", "https://10.0.0.1/openid/v1/jwks").is_err(), "another port");
        assert!(found("https://10.0.0.1:6443", "https://10.0.0.2:6443/openid/v1/jwks").is_err());
        assert!(found("http://127.0.0.1:8080", "http://127.0.0.1:9090/keys").is_ok());
        assert!(found("http://127.0.0.1:8080", "http://login.example.com/keys").is_err());
    }

    /// A pipe that nobody writes to ends: a thread that waited for it could not be given up.
    #[tokio::test]
    async fn keys_and_roots_are_in_plain_files() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, whole, long) = (folder.path().join("pipe"), folder.path().join("whole"), folder.path().join("long"));
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, 0o600.into()).unwrap();
        std::fs::write(&whole, vec![b'x'; DOCUMENT]).unwrap();
        std::fs::write(&long, vec![b'x'; DOCUMENT + 1]).unwrap();
        let patience = Duration::from_mins(1);
        for odd in [&pipe, folder.path(), Path::new("/dev/zero")] {
            let refused = tokio::time::timeout(patience, file(odd)).await.unwrap().unwrap_err();
            assert!(refused.contains("it is not a file"), "{refused}");
        }
        assert_eq!(file(&whole).await.map(|bytes| bytes.len()), Ok(DOCUMENT));
        assert!(file(&long).await.unwrap_err().contains("more than"));
        let roots = Reader { roots: Some(pipe.clone()) };
        let url = KeySource::Url("https://login.example.com/keys".parse().unwrap());
        for (reader, source) in [(roots, url), (Reader { roots: None }, KeySource::File(pipe))] {
            let read = tokio::time::timeout(patience, reader.read(&source)).await.unwrap();
            assert!(read.unwrap_err().contains("it is not a file"), "{source:?}");
        }
    }

    #[test]
    fn nobody_is_said_to_be_somebody() {
        for issuer in ["https://login.example.com", "http://127.0.0.1:8080"] {
            for user in ["u", "u:p", ":p"] {
                let refused = found(issuer, &format!("https://{user}@keys.example.com/k")).unwrap_err();
                assert!(refused.contains("user"), "{user}: {refused}");
            }
        }
    }
}
