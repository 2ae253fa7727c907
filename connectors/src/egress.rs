//! The one place that opens sockets: to the server that an admin named, at addresses that were looked at.
//!
//! A name is resolved once for each connection, every address of it is judged, and only those that were judged are connected to: there is
//! no second look-up in between. What is not public is refused unless it was declared: an address (or `localhost`) in the URL declares
//! itself and is resolved by nobody, `networks` declares the rest. No proxy is taken from the environment, and no redirect is followed.

use std::{
    error::Error,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bailiwick_pipeline::ports::Later;
use http::Uri;
use http_body_util::{Either, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        self,
        connect::{HttpConnector, dns::Name},
    },
    rt::{TokioExecutor, TokioTimer},
};
use ipnet::IpNet;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt;
use tower_service::Service;

use crate::{
    identity::{self, Identity},
    over_http::{Parcel, Payload},
    spec::HttpSpec,
    unstalled::Unstalled,
};

/// What connects to the server of a connector, and to nothing else.
pub(crate) type Client = legacy::Client<Patient<HttpsConnector<HttpConnector<Guard>>>, Sent>;

/// The body of a request: one that can be withdrawn, or a plain one.
pub(crate) type Sent = Either<Payload, Full<Parcel>>;

type Failure = Box<dyn Error + Send + Sync>;

/// The most headers of an answer, and the most bytes of all of them (HTTP/2; an HTTP/1 head is judged once it is read).
const HEADERS: usize = 100;
const HEADER_BYTES: u32 = 64 * 1024;
/// Connections that wait for their next use, for each connector, and for how long.
const IDLE: usize = 256;
const IDLE_FOR: Duration = Duration::from_mins(1);
/// How often a connection over HTTP/2 is asked whether its other end still listens, and how long it may take to say so: all calls go over
/// the one connection, and a dead one would take each of them with it.
const PING_EVERY: Duration = Duration::from_secs(15);
const PING_PATIENCE: Duration = Duration::from_secs(10);
/// How often the system asks whether the other side of a silent connection is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// The largest file of certificate authorities.
const ROOTS_BYTES: u64 = 4 * 1024 * 1024;

/// Finds the addresses of a name.
pub(crate) trait Lookup: Send + Sync {
    /// All of them.
    fn addresses(&self, name: String) -> Later<'static, io::Result<Vec<IpAddr>>>;
}

/// As the operating system says.
pub(crate) struct SystemLookup;

impl Lookup for SystemLookup {
    #[expect(clippy::disallowed_methods, reason = "this is the place that looks names up; what is found is judged")]
    fn addresses(&self, name: String) -> Later<'static, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// What connects to the server of a connector; `patience` is how long a connection may take to come about, TLS included.
pub(crate) async fn client(spec: &HttpSpec, lookup: Arc<dyn Lookup>, patience: Duration) -> Result<Client, String> {
    let guard = Guard { lookup, host: spec.url.host_str().unwrap_or_default().into(), networks: spec.networks.clone().into() };
    let mut plain = HttpConnector::new_with_resolver(guard);
    plain.enforce_http(false);
    plain.set_nodelay(true);
    plain.set_keepalive(Some(KEEPALIVE));
    let trusted = match &spec.roots {
        Some(path) => Some(roots(path).await?),
        // Without TLS nobody is to be trusted: the many authorities of the system are not kept for nothing.
        None if spec.url.scheme() == "http" => Some(RootCertStore::empty()),
        None => None,
    };
    let identity = match &spec.identity {
        Some(path) => Some(identity::read(path).await?),
        None => None,
    };
    // The system's authorities are read from many files.
    let tls =
        tokio::task::spawn_blocking(move || tls(trusted, identity)).await.map_err(|_| "its client can't be made".to_owned())?;
    let tls = tls.map_err(|fault| format!("its client can't be made: {fault}"))?;
    let secured =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().enable_http2().wrap_connector(plain);
    // What failed before any of it was written is sent on another connection; what may have been executed never is.
    Ok(legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(IDLE)
        .pool_idle_timeout(IDLE_FOR)
        .http1_max_headers(HEADERS)
        .http2_max_header_list_size(HEADER_BYTES)
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_PATIENCE)
        .http2_keep_alive_while_idle(true)
        .build(Patient { inner: secured, patience }))
}

/// TLS 1.2 and 1.3: with these authorities, or with those that the system trusts.
fn tls(trusted: Option<RootCertStore>, identity: Option<Identity>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = match trusted {
        Some(roots) => builder.with_root_certificates(roots),
        None => builder.with_platform_verifier()?,
    };
    match identity {
        Some(Identity { chain, key }) => builder.with_client_auth_cert(chain, key),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// What a failure says: the deepest of its causes.
pub(crate) fn words(fault: &(dyn Error + 'static)) -> String {
    let mut deepest = fault;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}

/// The most bytes of all headers of an answer.
pub(crate) fn most_header_bytes() -> usize {
    usize::try_from(HEADER_BYTES).unwrap_or(usize::MAX)
}

async fn roots(path: &Path) -> Result<RootCertStore, String> {
    let shown = path.display();
    let length = tokio::fs::metadata(path).await.map(|found| found.len());
    let length = length.map_err(|fault| format!("`{shown}`, its certificate authorities, can't be read: {fault}"))?;
    if length > ROOTS_BYTES {
        return Err(format!(
            "`{shown}` has more than {ROOTS_BYTES} bytes: name a file with the certificates of its authorities alone"
        ));
    }
    let pem = tokio::fs::read(path).await;
    let pem = pem.map_err(|fault| format!("`{shown}`, its certificate authorities, can't be read: {fault}"))?;
    let mut store = RootCertStore::empty();
    for found in CertificateDer::pem_slice_iter(&pem) {
        let added =
            found.map_err(|fault| fault.to_string()).and_then(|found| store.add(found).map_err(|fault| fault.to_string()));
        added.map_err(|fault| format!("`{shown}` is no PEM file of certificates: {fault}"))?;
    }
    if store.is_empty() {
        return Err(format!("`{shown}` has no certificate: name a PEM file with those of its authorities"));
    }
    Ok(store)
}

/// A connector that is given up after a while: a handshake that hangs hangs no connection.
#[derive(Clone)]
pub(crate) struct Patient<C> {
    inner: C,
    patience: Duration,
}

impl<C> Service<Uri> for Patient<C>
where
    C: Service<Uri>,
    C::Error: Into<Failure>,
    C::Future: Send + 'static,
    C::Response: 'static,
{
    type Response = Unstalled<C::Response>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Failure>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = tokio::time::timeout(self.patience, self.inner.call(to));
        Box::pin(async move {
            match connecting.await {
                Ok(connected) => connected.map(Unstalled::new).map_err(Into::into),
                Err(_) => Err("no connection came about in time".into()),
            }
        })
    }
}

/// Resolves the one name of a connector, and lets only addresses through that may be connected to.
#[derive(Clone)]
pub(crate) struct Guard {
    lookup: Arc<dyn Lookup>,
    host: Arc<str>,
    networks: Arc<[IpNet]>,
}

impl Service<Name> for Guard {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Failure;
    type Future = Later<'static, Result<Self::Response, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (name, networks) = (name.as_str().to_owned(), Arc::clone(&self.networks));
        if !name.eq_ignore_ascii_case(&self.host) {
            return Box::pin(async move { Err(format!("`{name}` is not the host that was named").into()) });
        }
        let found = self.lookup.addresses(name.clone());
        Box::pin(async move {
            let found = found.await.map_err(|fault| format!("`{name}` can't be resolved: {fault}"))?;
            if found.is_empty() {
                return Err(format!("`{name}` has no address").into());
            }
            for address in &found {
                judge(&name, *address, &networks)?;
            }
            let addresses = found.into_iter().map(|address| SocketAddr::new(address, 0));
            Ok(addresses.collect::<Vec<_>>().into_iter())
        })
    }
}

/// The addresses of a host that somebody else has named, such as a server in what it says of itself, if each of them may be connected to; else
/// why not. `declared` is whether an admin has written this very host down: then an address declares itself, and `localhost` this machine.
pub async fn addresses_of(host: &str, networks: &[IpNet], declared: bool) -> Result<Vec<IpAddr>, String> {
    let found = match host.parse::<IpAddr>() {
        Ok(address) if declared => return Ok(vec![address]),
        Ok(address) => vec![address],
        Err(_) => {
            SystemLookup.addresses(host.to_owned()).await.map_err(|fault| format!("`{host}` can't be resolved: {fault}"))?
        }
    };
    if found.is_empty() {
        return Err(format!("`{host}` has no address"));
    }
    // Said by a stranger, `localhost` is a name like any other.
    let name = if declared { host } else { "" };
    for address in &found {
        judge(name, *address, networks).map_err(|why| why.replacen("``", &format!("`{host}`"), 1))?;
    }
    Ok(found)
}

/// One address that is not allowed is enough: a name that leads both outside and inside is not what it seems.
fn judge(name: &str, address: IpAddr, networks: &[IpNet]) -> Result<(), String> {
    let plain = embedded(address);
    if networks.iter().any(|network| network.contains(&address) || network.contains(&plain)) {
        return Ok(());
    }
    if name.eq_ignore_ascii_case("localhost") {
        let is_here = address.is_loopback();
        return if is_here { Ok(()) } else { Err(format!("`localhost` resolves to {address}, which is another machine")) };
    }
    match special(plain) {
        None => Ok(()),
        Some(what) => Err(format!(
            "`{name}` resolves to {address}, {what}: where that is meant, declare it with `networks` beside its URL in the configuration"
        )),
    }
}

/// The IPv4 address inside of an IPv6 one, where a network would take it out.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let v4 = |high: u16, low: u16| {
        let ([one, two], [three, four]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(one, two, three, four))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => address,
        // Compatible (::/96), mapped (::ffff:0:0/96) and translated (::ffff:0:0:0/96); NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            v4(high, low)
        }
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => v4(high, low),
        _ => address,
    }
}

/// What an address is for, if not for the public network (IANA's registries of special-purpose addresses).
fn special(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => special_v4(v4),
        IpAddr::V6(v6) => special_v6(v6),
    }
}

fn special_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets() {
        [0, ..] => Some("an unspecified address"),
        [127, ..] => Some("a loopback address"),
        [10, ..] | [192, 168, ..] => Some("a private address"),
        [172, second, ..] if second & 0xf0 == 16 => Some("a private address"),
        [169, 254, ..] => Some("a link-local address, where clouds keep their metadata"),
        [100, second, ..] if second & 0xc0 == 64 => Some("an address behind a carrier's NAT"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Some("an address for documentation"),
        [192, 0, 0, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => Some("an address for special purposes"),
        [224..=239, ..] => Some("a multicast address"),
        [240..=255, ..] => Some("a reserved address"),
        _ => None,
    }
}

fn special_v6(address: Ipv6Addr) -> Option<&'static str> {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("an unspecified address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("a loopback address"),
        [first, ..] if first & 0xfe00 == 0xfc00 => Some("a private address"),
        [first, ..] if first & 0xff80 == 0xfe80 => Some("a link-local address"),
        [first, ..] if first & 0xff00 == 0xff00 => Some("a multicast address"),
        [0x2001, 0xdb8, ..] => Some("an address for documentation"),
        [0x3fff, second, ..] if second & 0xf000 == 0 => Some("an address for documentation"),
        [0x2001, second, ..] if second < 0x200 => Some("an address for special purposes"),
        // Everything that is public lies in 2000::/3.
        [first, ..] if first & 0xe000 != 0x2000 => Some("an address for special purposes"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn judged(address: &str, networks: &[&str]) -> Result<(), String> {
        let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().unwrap()).collect();
        judge("tickets.example.com", address.parse().unwrap(), &networks)
    }

    #[test]
    fn only_public_addresses_are_connected_to() {
        for address in
            ["93.184.216.34", "1.1.1.1", "172.15.0.1", "172.32.0.1", "100.63.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"]
        {
            assert_eq!(judged(address, &[]), Ok(()), "{address}");
        }
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "100.127.0.1",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fc00::1",
            "fdff::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "3fff::1",
            "100::1",
            "64:ff9b:1::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::10.0.0.1",
            "::ffff:0:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "2002:7f00:1::1",
            "2002:a00:1::1",
            "5f00::1",
        ] {
            let refused = judged(address, &[]).unwrap_err();
            assert!(refused.contains("`networks`"), "{address}: {refused}");
        }
    }

    #[test]
    fn what_is_declared_is_connected_to_and_nothing_beside_it() {
        assert_eq!(judged("10.1.2.3", &["10.1.0.0/16"]), Ok(()));
        assert_eq!(judged("::ffff:10.1.2.3", &["10.1.0.0/16"]), Ok(()));
        assert_eq!(judged("fd00::5", &["fd00::/64"]), Ok(()));
        assert!(judged("10.2.0.1", &["10.1.0.0/16"]).is_err());
        assert!(judged("169.254.169.254", &["10.0.0.0/8", "fd00::/8"]).is_err());
    }

    #[tokio::test]
    async fn what_a_stranger_names_is_no_address_of_this_machine_or_of_a_private_network() {
        for host in ["127.0.0.1", "::1", "localhost", "10.0.0.1", "169.254.169.254", "::ffff:169.254.169.254"] {
            let refused = addresses_of(host, &[], false).await.unwrap_err();
            assert!(refused.contains("`networks`") && refused.contains(host), "{host}: {refused}");
        }
        for host in ["127.0.0.1", "::1", "localhost"] {
            assert!(!addresses_of(host, &[], true).await.unwrap().is_empty(), "{host}");
        }
        let loopback: Vec<IpNet> = ["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()].into();
        assert!(addresses_of("localhost", &loopback, false).await.is_ok());
        assert!(addresses_of("93.184.216.34", &[], false).await.is_ok());
    }

    #[test]
    fn localhost_is_this_machine_and_no_other() {
        for (address, is_allowed) in [("127.0.0.1", true), ("::1", true), ("93.184.216.34", false), ("10.0.0.1", false)] {
            assert_eq!(judge("localhost", address.parse().unwrap(), &[]).is_ok(), is_allowed, "{address}");
        }
    }
}
