//! By which name the console is reached: what browsers may call it, and what its cookies are called.

use std::{net::SocketAddr, sync::OnceLock};

use http::{HeaderMap, HeaderName, header};
use url::Url;

/// The names of this machine that a listener on loopback answers to.
const LOOPBACK: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// By which name the console is reached.
#[derive(Debug)]
pub struct Site {
    configured: Option<Url>,
    listens_at: OnceLock<SocketAddr>,
}

/// The one value of a header; none where it is absent, twice there, or no plain text.
pub(crate) fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

impl Site {
    /// At this URL; where none is configured, at `http://localhost` with the port of the listener.
    pub fn new(public_url: Option<Url>) -> Self {
        Self { configured: public_url, listens_at: OnceLock::new() }
    }

    /// Serves the address that its listener got. To be said once, before it serves.
    pub fn listens_at(&self, address: SocketAddr) {
        self.listens_at.get_or_init(|| address);
    }

    /// What browsers call it: `scheme://host[:port]`.
    pub fn origin(&self) -> String {
        match &self.configured {
            Some(url) => url.origin().ascii_serialization(),
            None => format!("http://localhost:{}", self.port()),
        }
    }

    /// What passkeys are bound to: the host alone (the relying party id).
    pub(crate) fn party(&self) -> String {
        let host = self.configured.as_ref().and_then(Url::host_str);
        host.unwrap_or("localhost").to_owned()
    }

    pub(crate) fn is_https(&self) -> bool {
        self.configured.as_ref().is_some_and(|url| url.scheme() == "https")
    }

    fn port(&self) -> u16 {
        self.listens_at.get().map_or(0, SocketAddr::port)
    }

    /// The host of the public URL as browsers send it: without a port that is the usual one.
    fn public_host(&self) -> String {
        let origin = self.origin();
        origin.split_once("://").map_or(origin.clone(), |(_, host)| host.to_owned())
    }

    fn is_loopback(&self) -> bool {
        self.listens_at.get().is_some_and(|at| at.ip().is_loopback())
    }

    /// Whether a request may name this host. A page in a browser must not reach us by another name (DNS rebinding).
    pub(crate) fn serves(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let own = |name: &&str| host == format!("{name}:{}", self.port()) || (self.port() == 80 && host == **name);
        host == self.public_host() || (self.is_loopback() && LOOPBACK.iter().any(own))
    }

    /// Whether it is the address of the listener itself, as monitoring calls it. No name leads to it, so no page in a browser gets here by
    /// one that it made point here.
    pub(crate) fn is_address(&self, host: &str) -> bool {
        let Some(at) = self.listens_at.get() else { return false };
        host.parse::<SocketAddr>().is_ok_and(|called| {
            called.port() == at.port() && !called.ip().is_unspecified() && (called.ip() == at.ip() || at.ip().is_unspecified())
        })
    }

    /// Whether it is the name under which passkeys work.
    pub(crate) fn is_public(&self, host: &str) -> bool {
        host.eq_ignore_ascii_case(&self.public_host())
    }

    /// Whether a page of this origin is one of ours. It must be of the very host that the request names.
    pub(crate) fn is_own(&self, origin: &str, host: &str) -> bool {
        let scheme = if self.is_https() && self.is_public(host) { "https" } else { "http" };
        self.serves(host) && origin == format!("{scheme}://{}", host.to_ascii_lowercase())
    }

    /// The name of the session's cookie. Ports don't separate cookies, so the port is in it; with TLS browsers bind it to this host.
    pub(crate) fn session_cookie(&self) -> String {
        self.cookie("session")
    }

    /// The name of the cookie that ties a login to the browser that began it.
    pub(crate) fn doorstep_cookie(&self) -> String {
        self.cookie("doorstep")
    }

    fn cookie(&self, what: &str) -> String {
        if self.is_https() { format!("__Host-bailiwick-{what}") } else { format!("bailiwick-{what}-{}", self.port()) }
    }

    /// `Set-Cookie` of this name; no value ends it. `Lax`, so that a link in a message opens what it names: cookies only view.
    pub(crate) fn set_cookie(&self, name: &str, value: Option<&str>, max_age_s: u64) -> String {
        let secure = if self.is_https() { "; Secure" } else { "" };
        let (value, max_age_s) = value.map_or(("", 0), |value| (value, max_age_s));
        format!("{name}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}")
    }
}

/// The value of a cookie; none where it is absent or there twice.
pub(crate) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut values =
        all.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('=')).filter(|(known, _)| *known == name);
    let (_, value) = values.next()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn site(url: Option<&str>, at: &str) -> Site {
        let site = Site::new(url.map(|url| url.parse().unwrap()));
        site.listens_at(at.parse().unwrap());
        site
    }

    #[test]
    fn the_names_of_this_machine_count_on_loopback_only() {
        let local = site(None, "127.0.0.1:8932");
        for host in ["localhost:8932", "127.0.0.1:8932", "[::1]:8932", "LOCALHOST:8932"] {
            assert!(local.serves(host), "{host}");
        }
        for host in ["localhost", "localhost:8931", "evil.example", "evil.example:8932", "localhost.evil.example:8932", ""] {
            assert!(!local.serves(host), "{host}");
        }
        let remote = site(Some("https://console.example.com"), "0.0.0.0:8932");
        assert!(remote.serves("console.example.com") && !remote.serves("localhost:8932") && !remote.serves("127.0.0.1:8932"));
    }

    #[test]
    fn monitoring_calls_the_address_itself() {
        let everywhere = site(Some("https://console.example.com"), "0.0.0.0:8932");
        assert!(everywhere.is_address("10.0.0.5:8932") && everywhere.is_address("[fe80::1]:8932"));
        for host in ["10.0.0.5:80", "evil.example:8932", "0.0.0.0:8932", "10.0.0.5", ""] {
            assert!(!everywhere.is_address(host), "{host}");
        }
        let one = site(None, "10.0.0.5:8932");
        assert!(one.is_address("10.0.0.5:8932") && !one.is_address("10.0.0.6:8932"));
    }

    #[test]
    fn an_origin_is_that_of_the_host_it_calls() {
        let local = site(None, "127.0.0.1:8932");
        assert!(local.is_own("http://localhost:8932", "localhost:8932"));
        for (origin, host) in [
            ("http://127.0.0.1:8932", "localhost:8932"),
            ("https://localhost:8932", "localhost:8932"),
            ("http://localhost:8931", "localhost:8932"),
            ("null", "localhost:8932"),
            ("http://evil.example:8932", "evil.example:8932"),
        ] {
            assert!(!local.is_own(origin, host), "{origin} {host}");
        }
        let remote = site(Some("https://console.example.com/"), "127.0.0.1:8932");
        assert!(remote.is_own("https://console.example.com", "console.example.com"));
        assert!(!remote.is_own("http://console.example.com", "console.example.com"));
        assert_eq!((remote.party().as_str(), remote.origin().as_str()), ("console.example.com", "https://console.example.com"));
    }

    #[test]
    fn cookies_are_bound_as_far_as_browsers_can() {
        let remote = site(Some("https://console.example.com"), "127.0.0.1:8932");
        let set = remote.set_cookie(&remote.session_cookie(), Some("x"), 60);
        assert_eq!(set, "__Host-bailiwick-session=x; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure");
        let local = site(None, "127.0.0.1:8932");
        assert_eq!(
            local.set_cookie(&local.session_cookie(), None, 60),
            "bailiwick-session-8932=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn a_cookie_that_is_there_twice_is_not_there() {
        let headers = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, line.parse().unwrap());
            }
            headers
        };
        assert_eq!(cookie(&headers(&["a=1; b=2"]), "b"), Some("2"));
        assert_eq!(cookie(&headers(&["a=1", "b=2"]), "b"), Some("2"));
        assert_eq!(cookie(&headers(&["b=1", "b=2"]), "b"), None);
        assert_eq!(cookie(&headers(&["b=1; b=1"]), "b"), None);
        assert_eq!(cookie(&headers(&["xb=1"]), "b"), None);
    }
}
