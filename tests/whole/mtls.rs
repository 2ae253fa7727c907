//! Agents prove themselves by X.509-SVIDs: with a real client of TLS, against certificates made for the test.

use std::{
    fs,
    io::Read as _,
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::ExtendedKeyUsagePurpose;
use reqwest::{Certificate, Client, Identity};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use crate::harness::{
    Agent, Gateway, Script, Setup,
    authority::{Issued, Signer, Wish},
    issuer, tool, until,
};

const DOMAIN: &str = "spiffe://example.org/agent";

/// A gateway that agents reach over TLS.
struct House {
    gateway: Gateway,
    url: String,
    /// Who speaks for `example.org`.
    root: Signer,
    /// Who speaks for the gateway.
    servers: Signer,
}

/// How a house is set up differently from the usual.
struct Plan {
    tls: &'static str,
    server: &'static str,
    domains: String,
    agents: String,
}

impl Default for Plan {
    fn default() -> Self {
        let domains = "[[trust_domains]]\nname = \"example.org\"\nbundle_file = \"bundle.pem\"\n".to_owned();
        // No connection ends for being idle while a test waits for something.
        Self { tls: "", server: "header_timeout = \"90s\"", domains, agents: String::new() }
    }
}

impl House {
    fn new(plan: &Plan) -> Self {
        let (root, servers) = (Signer::root(), Signer::root());
        let setup = Setup::new();
        let folder = setup.folder().to_owned();
        fs::write(folder.join("bundle.pem"), root.pem()).unwrap();
        show(&folder, &servers.issue(Wish::server("127.0.0.1")));
        let script = Script::new(&folder, "s", &[tool("echo", &["x"])]);
        let agent = |id: &str| {
            format!(
                "[[agents]]\nid = \"{id}\"\nowner = \"{id}@example.com\"\nceiling = \"high\"\nidentity = [{{ spiffe = \"{DOMAIN}/{id}\" }}]\n"
            )
        };
        let tls = format!(
            "{}\n[server.tls]\nlisten = \"127.0.0.1:0\"\ncertificate = \"server.pem\"\nkey = \"server.key\"\n{}\n",
            plan.server, plan.tls
        );
        let gateway = setup
            .with(&tls)
            .with(&plan.domains)
            .with(&agent("a"))
            .with(&agent("b"))
            .with(&plan.agents)
            .connector("s", &script, "tools.echo = { kind = \"read\", band = \"low\" }")
            .grant("ga", "a", &["s__*"], "")
            .grant("gb", "b", &["s__*"], "")
            .start();
        let said = gateway.stderr();
        let url = said.split_once("by X.509-SVID, at ").unwrap().1.split_whitespace().next().unwrap().to_owned();
        Self { gateway, url, root, servers }
    }

    /// An agent with the certificate of this id.
    fn agent(&self, id: &str) -> Agent {
        self.with(&self.root.issue(Wish::workload(&format!("{DOMAIN}/{id}"))), &[])
    }

    fn with(&self, leaf: &Issued, above: &[&Signer]) -> Agent {
        Agent::by(client(&self.servers, Some((leaf, above))), &self.url)
    }

    /// Puts these authorities into the bundle's file.
    fn trust(&self, signers: &[&Signer]) {
        let text: String = signers.iter().map(|signer| signer.pem()).collect();
        replace(&self.gateway.folder().join("bundle.pem"), text.as_bytes());
    }

    /// How many handshakes came to nothing, by why.
    async fn failed(&self, why: &str) -> u64 {
        let client = Client::builder().no_proxy().build().unwrap();
        let text = client.get(format!("{}/metrics", self.gateway.console)).send().await.unwrap().text().await.unwrap();
        let row = format!("bailiwick_tls_handshakes_failed_total{{bailiwick_outcome=\"{why}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&row)).unwrap().parse().unwrap()
    }

    /// The last outcome on record.
    fn last(&self) -> Value {
        self.gateway.records("calls").into_iter().rfind(|record| record["event"] == "outcome").unwrap()
    }
}

/// A client that trusts this authority for servers, with a certificate of its own or without.
fn client(servers: &Signer, own: Option<(&Issued, &[&Signer])>) -> Client {
    let roots = [Certificate::from_der(&servers.der()).unwrap()];
    let mut builder = Client::builder().no_proxy().timeout(Duration::from_secs(90)).tls_certs_only(roots);
    if let Some((leaf, above)) = own {
        let above: String = above.iter().map(|signer| signer.pem()).collect();
        let identity = format!("{}{above}{}", leaf.pem, leaf.key_pem());
        builder = builder.identity(Identity::from_pem(identity.as_bytes()).unwrap());
    }
    builder.build().unwrap()
}

/// Writes the gateway's certificate and key.
fn show(folder: &Path, issued: &Issued) {
    replace(&folder.join("server.key"), issued.key_pem().as_bytes());
    replace(&folder.join("server.pem"), issued.pem.as_bytes());
}

fn replace(path: &Path, text: &[u8]) {
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, text).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(fresh, path).unwrap();
}

/// Waits until what is asked comes back with this status.
async fn until_status(agent: &Agent, status: u16) {
    let until = Instant::now() + Duration::from_mins(1);
    loop {
        let reply = agent.list().await;
        if reply.status == status {
            return;
        }
        assert!(Instant::now() < until, "not {status} within a minute: {} {}", reply.status, reply.text);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a connection of this agent comes about at all.
async fn is_let_in(agent: &Agent) -> bool {
    agent.request().body("{}").send().await.is_ok()
}

async fn until_let_in(agent: &Agent) {
    let until = Instant::now() + Duration::from_mins(1);
    // One that gets no answer must not use up the time of those after it.
    while let Err(fault) = agent.request().timeout(Duration::from_secs(10)).body("{}").send().await {
        assert!(Instant::now() < until, "not let in within a minute: {fault:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_lists_and_calls_by_its_certificate() {
    let house = House::new(&Plan::default());
    let agent = house.agent("a");
    assert_eq!(agent.tools().await, ["s__echo"]);
    assert!(agent.call("s__echo", &json!({"x": "1"})).await.words().contains('1'));
    let record = house.last();
    assert_eq!((&record["agent"], &record["auth_method"]), (&json!("a"), &json!("spiffe_x509")));
    let instance = record["instance"].as_str().unwrap();
    assert!(instance.starts_with("x509-") && instance.len() == 37, "{instance}");
    // Another certificate of the same agent is another instance of it.
    let other = house.agent("a");
    assert!(other.call("s__echo", &json!({"x": "2"})).await.words().contains('2'));
    assert_ne!(house.last()["instance"], record["instance"]);
    // One signed by an authority below the domain's, which it brings along; and the older protocol.
    let below = house.root.below(Wish::authority());
    let deep = house.with(&below.issue(Wish::workload(&format!("{DOMAIN}/b"))), &[&below]);
    assert_eq!(deep.session("2025-11-25").await.tools().await, ["s__echo"]);
    assert_eq!(house.last()["agent"], json!("b"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_certificate_that_counts_does_not_come_in_and_fills_no_trail() {
    let house = House::new(&Plan::default());
    let (stranger, id) = (Signer::root(), format!("{DOMAIN}/a"));
    let records = house.gateway.records("calls").len();
    let good = Wish::workload(&id);
    let certificates = [
        ("another authority's", stranger.issue(good.clone())),
        ("another domain's", house.root.issue(Wish::workload("spiffe://example.com/agent/a"))),
        ("two ids", house.root.issue(Wish { uris: vec![id.clone(), format!("{DOMAIN}/b")], ..good.clone() })),
        ("no id", house.root.issue(Wish { uris: Vec::new(), names: vec!["a.example.org".to_owned()], ..good.clone() })),
        ("expired", house.root.issue(Wish { good: (1_500_000_000, 1_600_000_000), ..good.clone() })),
        ("not valid yet", house.root.issue(Wish { good: (3_900_000_000, 4_000_000_000), ..good.clone() })),
        ("an authority's", house.root.issue(Wish { is_authority: true, ..good.clone() })),
        ("a server's", house.root.issue(Wish { purposes: vec![ExtendedKeyUsagePurpose::ServerAuth], ..good })),
    ];
    for (what, certificate) in &certificates {
        assert!(!is_let_in(&house.with(certificate, &[])).await, "{what}");
    }
    let nobody = Agent::by(client(&house.servers, None), &house.url);
    assert!(!is_let_in(&nobody).await);
    let token = house.gateway.cli.ok(&["agents", "token", "a"]);
    assert!(!is_let_in(&nobody.bearing(&token)).await, "a token is no certificate");
    assert!(!is_let_in(&Agent::new(&house.url.replace("https", "http"), &token)).await, "no TLS at all");
    let attempts = certificates.len() as u64 + 3;
    assert!(house.failed("refused").await >= attempts);
    assert_eq!(house.gateway.records("calls").len(), records);
    assert!(is_let_in(&house.agent("a")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_alone_gives_nothing() {
    let mut house = House::new(&Plan::default());
    let reply = house.agent("nobody").list().await;
    assert_eq!((reply.status, reply.error_code()), (401, 1004));
    let record = house.last();
    assert_eq!(record["outcome"], json!("unauthenticated"));
    assert!(record["detail"].as_str().unwrap().contains("`spiffe://example.org/agent/nobody` is not registered"), "{record}");
    let agent = house.agent("a");
    assert_eq!(agent.tools().await, ["s__echo"]);
    house.gateway.cli.ok(&["grants", "revoke", "ga", "--reason", "test"]);
    assert_eq!(agent.tools().await, [""; 0]);
    assert_eq!(agent.call("s__echo", &json!({"x": "1"})).await.error_code(), -32602);
    let other = house.agent("b");
    assert_eq!(other.tools().await, ["s__echo"]);
    let entry = "id = \"b\"\nowner";
    house.gateway.reconfigure(|toml| toml.replace(entry, "id = \"b\"\ndisabled = true\nowner"));
    until_status(&other, 401).await;
    assert_eq!(house.last()["outcome"], json!("unauthenticated"));
    // The id is another agent's from here on, and nobody else's.
    house.gateway.reconfigure(|toml| {
        toml.replace("disabled = true\n", "").replace(&format!("\"{DOMAIN}/b\""), &format!("\"{DOMAIN}/c\""))
    });
    let heir = house.agent("c");
    until_status(&heir, 200).await;
    assert_eq!(other.list().await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_beside_a_certificate_is_the_same_agents() {
    let house = House::new(&Plan::default());
    let create = |agent: &str| {
        house.gateway.cli.ok(&["grants", "create", "--agent", agent, "--tools", "s__echo", "--purpose", "one", "--ttl", "10m"])
    };
    let agent = house.agent("a");
    let own = agent.bearing(&create("a"));
    assert!(own.call("s__echo", &json!({"x": "1"})).await.words().contains('1'));
    let record = house.last();
    assert_eq!((&record["agent"], &record["auth_method"]), (&json!("a"), &json!("grant_token")));
    assert!(record["grant"] != json!("ga") && record["instance"].as_str().unwrap().starts_with("x509-"), "{record}");
    let token = |agent: &str| house.gateway.cli.ok(&["agents", "token", agent]);
    assert_eq!(agent.bearing(&token("a")).list().await.status, 200);
    for (what, token) in [("grant", create("b")), ("agent", token("b")), ("nobody", "ba_x".to_owned())] {
        assert_eq!(agent.bearing(&token).list().await.status, 401, "{what}");
    }
    let malformed = agent.request().header("authorization", "Basic YTpi").body("{}");
    assert_eq!(Agent::send(malformed).await.status, 401, "what can't be read as a token is not taken for none");
}

/// Attack 70.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_an_agent_for_saying_so() {
    let house = House::new(&Plan { tls: "client_auth = \"optional\"", ..Plan::default() });
    let id = format!("{DOMAIN}/a");
    let xfcc = format!("URI={id}");
    let said =
        [("x-spiffe-id", id.as_str()), ("x-forwarded-client-cert", &xfcc), ("x-forwarded-user", "a"), ("bailiwick-agent", "a")];
    let nobody = Agent::by(client(&house.servers, None), &house.url);
    for agent in [nobody.clone(), Agent::by(Client::new(), &house.gateway.url)] {
        assert_eq!(agent.post("{}", &said).await.status, 401);
    }
    // Where a certificate is not asked for, a token does what it does elsewhere, and a certificate that does not count still fails.
    let token = house.gateway.cli.ok(&["agents", "token", "b"]);
    assert_eq!(nobody.bearing(&token).tools().await, ["s__echo"]);
    assert_eq!(house.agent("a").tools().await, ["s__echo"]);
    assert!(!is_let_in(&house.with(&Signer::root().issue(Wish::workload(&id)), &[]).bearing(&token)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_bundle_counts_for_open_connections_too() {
    let mut house = House::new(&Plan::default());
    let (next, id) = (Signer::root(), format!("{DOMAIN}/a"));
    let of_next = next.issue(Wish::workload(&id));
    let (old, new) = (house.agent("a"), house.with(&of_next, &[]));
    assert_eq!(old.list().await.status, 200);
    assert!(!is_let_in(&new).await);
    house.trust(&[&house.root, &next]);
    until_let_in(&new).await;
    assert_eq!((old.list().await.status, new.list().await.status), (200, 200));
    let session = old.session("2025-11-25").await;
    let mut stream = session.request().build().unwrap();
    *stream.method_mut() = reqwest::Method::GET;
    let leaf = house.root.issue(Wish::workload(&id));
    let mut stream = client(&house.servers, Some((&leaf, &[]))).execute(stream).await.unwrap();
    assert_eq!(stream.status().as_u16(), 200);
    let (mut old, mut of_next) = (Line::open(&house, &leaf).await, Line::open(&house, &of_next).await);
    assert_eq!((old.list(&house.url).await, of_next.list(&house.url).await), (200, 200));
    house.trust(&[&next]);
    old.until_status(&house.url, 401).await;
    let ended = tokio::time::timeout(Duration::from_mins(1), async { while let Ok(Some(_)) = stream.chunk().await {} });
    assert!(ended.await.is_ok(), "a stream outlives what opened it");
    assert!(!is_let_in(&house.agent("a")).await);
    assert_eq!(new.list().await.status, 200);
    assert!(house.last()["agent"] == json!("a"));
    // What can't be read is no bundle, and changes nothing; a domain that is taken out is closed at once.
    replace(&house.gateway.folder().join("bundle.pem"), b"{");
    let said = "the domain is closed once the last one is too old";
    until("a broken bundle is told", || house.gateway.stderr().contains(said)).await;
    assert_eq!(new.list().await.status, 200);
    house.gateway.reconfigure(|toml| {
        toml.replace("name = \"example.org\"", "name = \"example.net\"").replace(DOMAIN, "spiffe://example.net/x")
    });
    of_next.until_status(&house.url, 401).await;
    assert!(!is_let_in(&house.with(&next.issue(Wish::workload(&id)), &[])).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_does_not_outlive_its_certificate() {
    let house = House::new(&Plan::default());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let wish = Wish { good: (now - 60, now + 20), ..Wish::workload(&format!("{DOMAIN}/a")) };
    let mut line = Line::open(&house, &house.root.issue(wish)).await;
    assert_eq!(line.list(&house.url).await, 200);
    line.until_status(&house.url, 401).await;
    assert!(house.last()["detail"].as_str().unwrap().contains("has expired"), "{}", house.last());
}

/// A bundle endpoint with TLS. It keeps its address as long as there is one, whoever answers there: an address that is given back may be
/// another's before it is wanted again.
struct Endpoint {
    /// Who speaks for it; nobody while it hangs up on all who come.
    speaks: Arc<Mutex<Option<TlsAcceptor>>>,
    asked: Arc<AtomicUsize>,
}

impl Endpoint {
    fn at(listener: TcpListener, servers: &Signer, bundle: &str) -> Self {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{bundle}", bundle.len());
        let (speaks, asked) = (Arc::<Mutex<_>>::default(), Arc::new(AtomicUsize::new(0)));
        let endpoint = Self { speaks: Arc::clone(&speaks), asked: Arc::clone(&asked) };
        endpoint.spoken_for_by(servers);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let speaks = speaks.lock().unwrap().clone();
                let (Some(acceptor), answer) = (speaks, answer.clone()) else { continue };
                asked.fetch_add(1, Ordering::SeqCst);
                // Each on its own: nobody waits for another one who says nothing.
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut asked = [0; 4096];
                    let _head = stream.read(&mut asked).await;
                    let _told = stream.write_all(answer.as_bytes()).await;
                    let _ended = stream.shutdown().await;
                });
            }
        });
        endpoint
    }

    /// From here on this authority vouches for who answers.
    fn spoken_for_by(&self, servers: &Signer) {
        let issued = servers.issue(Wish::server("127.0.0.1"));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(issued.certificate)], PrivateKeyDer::try_from(issued.key).unwrap())
            .unwrap();
        *self.speaks.lock().unwrap() = Some(TlsAcceptor::from(Arc::new(config)));
    }

    /// From here on nobody is answered.
    fn hangs_up(&self) {
        *self.speaks.lock().unwrap() = None;
    }

    /// Waits until so many were answered from now on.
    async fn asked_again(&self, times: usize) {
        let before = self.asked.load(Ordering::SeqCst);
        until("the endpoint is asked again", || self.asked.load(Ordering::SeqCst) >= before + times).await;
    }
}

/// One connection of an agent, and never another one. A client with a pool opens another one when it likes, and where that would not come
/// about nobody would say 401.
struct Line(TlsStream<tokio::net::TcpStream>);

impl Line {
    async fn open(house: &House, leaf: &Issued) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(house.servers.der())).unwrap();
        let chain = vec![CertificateDer::from(leaf.certificate.clone())];
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, PrivateKeyDer::try_from(leaf.key.clone()).unwrap())
            .unwrap();
        let at: SocketAddr = house.url.trim_start_matches("https://").trim_end_matches("/mcp").parse().unwrap();
        let stream = tokio::net::TcpStream::connect(at).await.unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(at.ip().into(), stream).await.unwrap();
        Self(stream)
    }

    /// Lists tools: the status of the answer.
    async fn list(&mut self, url: &str) -> u16 {
        let host = url.trim_start_matches("https://").trim_end_matches("/mcp");
        let body = format!(r#"{{"jsonrpc":"2.0","id":2,"method":"tools/list","params":{{{}}}}}"#, Agent::meta());
        let head = format!(
            "POST /mcp HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\n\
             mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/list\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.0.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let (head, mut rest) = loop {
            let mut some = [0; 4096];
            let read = self.0.read(&mut some).await.unwrap();
            assert!(read > 0, "the connection has ended");
            answer.extend_from_slice(&some[..read]);
            if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8(answer[..end].to_ascii_lowercase()).unwrap();
                break (head, answer.len() - end - 4);
            }
        };
        let length: usize = head.split_once("content-length: ").unwrap().1.lines().next().unwrap().trim().parse().unwrap();
        while rest < length {
            rest += self.0.read(&mut [0; 4096]).await.unwrap();
        }
        head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Waits until a list is answered so.
    async fn until_status(&mut self, url: &str, status: u16) {
        let until = Instant::now() + Duration::from_mins(1);
        loop {
            let told = self.list(url).await;
            if told == status {
                return;
            }
            assert!(Instant::now() < until, "not {status} within a minute: {told}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_federated_domain_is_believed_as_long_as_its_endpoint_answers() {
    let (partner, web) = (Signer::root(), Signer::root());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let key =
        json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "use": "x509-svid", "x5c": [STANDARD.encode(partner.der())]});
    let bundle = json!({"keys": [key], "spiffe_sequence": 1, "spiffe_refresh_hint": 5}).to_string();
    let endpoint = Endpoint::at(listener, &web, &bundle);
    let roots = tempfile::tempdir().unwrap();
    fs::write(roots.path().join("web.pem"), web.pem()).unwrap();
    // Long enough for several readings on a busy machine: it must not be closed before its endpoint is.
    let domains = format!(
        "{}[[trust_domains]]\nname = \"partner.example\"\nbundle_url = \"https://{at}/bundle\"\nca_file = \"{}\"\nmax_stale = \"20s\"\n",
        Plan::default().domains,
        roots.path().join("web.pem").display()
    );
    let id = "spiffe://partner.example/agent/p";
    let agents = format!("[[agents]]\nid = \"p\"\nowner = \"p@example.com\"\nidentity = [{{ spiffe = \"{id}\" }}]\n");
    let house = House::new(&Plan { domains, agents, ..Plan::default() });
    let leaf = partner.issue(Wish::workload(id));
    until_let_in(&house.with(&leaf, &[])).await;
    let mut line = Line::open(&house, &leaf).await;
    assert_eq!(line.list(&house.url).await, 200);
    // It speaks for nobody but its own.
    assert!(!is_let_in(&house.with(&partner.issue(Wish::workload(&format!("{DOMAIN}/a"))), &[])).await);
    endpoint.hangs_up();
    line.until_status(&house.url, 401).await;
    assert!(house.last()["detail"].as_str().unwrap().contains("max_stale"), "{}", house.last());
    assert!(!is_let_in(&house.with(&leaf, &[])).await);
    assert_eq!(house.agent("a").list().await.status, 200, "the other domain is none of it");
    // Someone else at its address is not believed; it itself is, once it is back.
    endpoint.spoken_for_by(&Signer::root());
    // Who is asked a second time was not believed the first time.
    endpoint.asked_again(2).await;
    assert!(!is_let_in(&house.with(&leaf, &[])).await);
    endpoint.spoken_for_by(&web);
    until_let_in(&house.with(&leaf, &[])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateways_certificate_changes_under_open_connections() {
    let house = House::new(&Plan::default());
    let agent = house.agent("a");
    assert_eq!(agent.list().await.status, 200);
    let next = Signer::root();
    let leaf = house.root.issue(Wish::workload(&format!("{DOMAIN}/b")));
    let new = Agent::by(client(&next, Some((&leaf, &[]))), &house.url);
    assert!(!is_let_in(&new).await, "the certificate is still another one");
    // A key that is not of the certificate changes nothing.
    let folder = house.gateway.folder();
    replace(&folder.join("server.key"), next.issue(Wish::server("127.0.0.1")).key_pem().as_bytes());
    until("files that don't fit are told", || house.gateway.stderr().contains("keeps its certificate")).await;
    assert_eq!(house.agent("b").list().await.status, 200);
    show(folder, &next.issue(Wish::server("127.0.0.1")));
    until_let_in(&new).await;
    assert_eq!(new.list().await.status, 200);
    // Its client would not open another connection: it does not trust what is shown there.
    assert_eq!(agent.list().await.status, 200);
    assert!(!is_let_in(&house.agent("a")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_come_about_is_ended() {
    let house = House::new(&Plan { server: "header_timeout = \"1s\"", ..Plan::default() });
    let at = house.url.trim_start_matches("https://").trim_end_matches("/mcp").to_owned();
    let ended = tokio::task::spawn_blocking(move || {
        let mut silent = TcpStream::connect(at).unwrap();
        silent.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        silent.read(&mut [0]).unwrap()
    });
    assert_eq!(ended.await.unwrap(), 0);
    assert_eq!(house.failed("timed_out").await, 1);
    assert_eq!(house.failed("refused").await, 0);
}

#[test]
fn what_tls_can_not_be_served_with_is_told_at_the_start() {
    let setup = Setup::new();
    let folder = setup.folder().to_owned();
    let (one, other) = (Signer::root().issue(Wish::server("127.0.0.1")), Signer::root().issue(Wish::server("127.0.0.1")));
    show(&folder, &one);
    let tls = "[server.tls]\nlisten = \"127.0.0.1:0\"\ncertificate = \"server.pem\"\nkey = \"server.key\"\nclient_auth = \"optional\"\n";
    let setup = setup.with(tls);
    let cli = setup.cli();
    replace(&folder.join("server.key"), other.key_pem().as_bytes());
    assert!(cli.refuses_to_start().contains("can't be used together"));
    show(&folder, &one);
    fs::set_permissions(folder.join("server.key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(cli.refuses_to_start().contains("others than its owner can read"));
    assert!(cli.fails(&["check"]).contains("can be read by others"));
    fs::remove_file(folder.join("server.pem")).unwrap();
    assert!(cli.refuses_to_start().contains("server.pem"));
}

/// RFC 8705, section 3: a token that is bound to a certificate counts over a connection that was opened with it, and nowhere else.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_bound_to_a_certificate_counts_over_its_connection_alone() {
    let signer = issuer::Signer::new("k1");
    let keys = issuer::KeyServer::of(&[signer.jwk()]);
    let url = &keys.url;
    let corp = format!(
        "[[issuers]]\nid = \"corp\"\nissuer = \"{url}\"\njwks_url = \"{url}/keys\"\naudience = \"bailiwick\"\nsender_constraint = \"mtls\"\n\
         [[agents]]\nid = \"c\"\nowner = \"c@example.com\"\nidentity = [{{ spiffe = \"{DOMAIN}/c\" }}, {{ issuer = \"corp\", subject = \"agent-c\" }}]\n\
         [[grants]]\nid = \"gc\"\nagent = \"c\"\npurpose = \"test\"\ntools = [\"s__*\"]\ndefault = true\nttl = \"1h\"\n"
    );
    let house = House::new(&Plan { agents: corp, ..Plan::default() });
    let (own, other) =
        (house.root.issue(Wish::workload(&format!("{DOMAIN}/c"))), house.root.issue(Wish::workload(&format!("{DOMAIN}/c"))));
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let token = |cnf: &Value| {
        let mut claims = json!({"iss": url, "sub": "agent-c", "aud": "bailiwick", "iat": now_s, "exp": now_s + 600, "jti": "1"});
        if !cnf.is_null() {
            claims["cnf"] = cnf.clone();
        }
        signer.token(&claims)
    };
    let thumbprint = |issued: &Issued| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &issued.certificate);
        json!({"x5t#S256": issuer::base64url(digest)})
    };
    let bound = token(&thumbprint(&own));
    let by_own = house.with(&own, &[]);
    let done = by_own.bearing(&bound).call("s__echo", &json!({"x": "1"})).await;
    assert!(done.words().contains('1'), "{}", done.text);
    assert_eq!((&house.last()["agent"], &house.last()["auth_method"]), (&json!("c"), &json!("jwt")));
    // Another certificate of the same agent, another agent's, none at all.
    assert_eq!(house.with(&other, &[]).bearing(&bound).list().await.status, 401);
    assert_eq!(house.agent("a").bearing(&bound).list().await.status, 401);
    assert_eq!(
        Agent::new(&house.gateway.url, &bound).list().await.status,
        401,
        "stolen, and shown over a connection without TLS"
    );
    // What binds it otherwise, or not at all, is nothing of this issuer.
    for cnf in [Value::Null, json!({"jkt": "x"}), json!({"x5t#S256": "x"}), json!({"x5c": []})] {
        assert_eq!(by_own.bearing(&token(&cnf)).list().await.status, 401, "{cnf}");
    }
    let details: Vec<String> =
        house.gateway.records("calls").iter().filter_map(|record| Some(record["detail"].as_str()?.to_owned())).collect();
    for why in ["another client certificate", "without one", "bound to no client certificate", "can't be checked"] {
        assert!(details.iter().any(|detail| detail.contains(why)), "{why}: {details:?}");
    }
}
