//! TLS with real certificates: only the right one will do.

use std::{path::Path, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use bailiwick_pipeline::ports::ConnectFailure;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyIdMethod, PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber,
    SignatureAlgorithm, SigningKey,
};
use rustls::{ServerConfig, crypto::aws_lc_rs::default_provider, pki_types::PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::{
    kit::{Failure, Rig, grant},
    server::{Seen, Server, Step, at, echo, modern, with_http},
    spec::ConnectorSpec,
};

/// A key, made and used by the one provider of cryptography.
pub(crate) struct Key(EcdsaKeyPair);

impl Key {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for Key {
    fn sign(&self, text: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signed = self.0.sign(&SystemRandom::new(), text).map_err(|_| rcgen::Error::RingUnspecified)?;
        Ok(signed.as_ref().to_vec())
    }
}

pub(crate) type Authority = CertifiedIssuer<'static, Key>;

fn params(names: Vec<String>) -> CertificateParams {
    let mut params = CertificateParams::new(names).unwrap();
    params.serial_number = Some(SerialNumber::from(7));
    params.key_identifier_method = KeyIdMethod::PreSpecified(vec![7]);
    params
}

pub(crate) fn authority() -> Authority {
    let mut params = params(Vec::new());
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, Key::new()).unwrap()
}

/// A server's end of TLS, for this name.
fn acceptor(authority: &Authority, name: &str) -> TlsAcceptor {
    TlsAcceptor::from(Arc::new(tls(authority, name)))
}

pub(crate) fn tls(authority: &Authority, name: &str) -> ServerConfig {
    with_clients(authority, name, None)
}

/// The same, for clients of this authority alone where there is one.
pub(crate) fn with_clients(authority: &Authority, name: &str, clients: Option<&Authority>) -> ServerConfig {
    let key = Key::new();
    let certificate = params(vec![name.to_owned()]).signed_by(&key, authority).unwrap();
    let key = key.0.to_pkcs8v1().unwrap().as_ref().to_vec();
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(clients.der().clone()).unwrap();
            builder.with_client_cert_verifier(
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap(),
            )
        }
    };
    builder.with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key).unwrap()).unwrap()
}

/// A file with a client's certificate of this authority, and its key.
pub(crate) fn identity(folder: &Path, authority: &Authority) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let key = Key::new();
    let certificate = params(vec!["gateway".to_owned()]).signed_by(&key, authority).unwrap();
    let path = folder.join("identity.pem");
    let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, key.0.to_pkcs8v1().unwrap().as_ref());
    let key = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
    std::fs::write(&path, format!("{}{key}", certificate.pem())).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

pub(crate) fn pem(folder: &Path, authority: &Authority) -> std::path::PathBuf {
    let path = folder.join("ca.pem");
    std::fs::write(&path, authority.pem()).unwrap();
    path
}

fn trusting(server: &Server, host: &str, roots: Option<&Path>) -> ConnectorSpec {
    with_http(at("x", &format!("https://{host}:{}/mcp", server.port)), |http| http.roots = roots.map(Path::to_owned))
}

async fn called(spec: ConnectorSpec) -> Result<(), String> {
    match Rig::new(vec![spec]).call("x", &grant("g-1")).await {
        Ok(_) => Ok(()),
        Err(Failure::Connect(ConnectFailure::Handshake(why) | ConnectFailure::Start(why))) => Err(why),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_the_pinned_authority_and_the_right_name_will_do() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (authority(), authority());
    let roots = pem(folder.path(), &ours);
    let right = Server::with_tls(acceptor(&ours, "127.0.0.1"), modern(echo)).await;
    assert_eq!(called(trusting(&right, "127.0.0.1", Some(&roots))).await, Ok(()));
    // Signed by somebody else; for another name; and without a pin, by nobody whom the system knows.
    let forged = Server::with_tls(acceptor(&theirs, "127.0.0.1"), modern(echo)).await;
    let misnamed = Server::with_tls(acceptor(&ours, "tickets.example.com"), modern(echo)).await;
    for (server, roots) in [(&forged, Some(roots.as_path())), (&misnamed, Some(&roots)), (&right, None)] {
        let why = called(trusting(server, "127.0.0.1", roots)).await.unwrap_err();
        assert!(why.contains("can't be reached") && why.contains("certificate"), "{why}");
    }
    assert!(forged.seen().is_empty() && misnamed.seen().is_empty());
}

#[tokio::test]
async fn roots_that_are_none_are_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(modern(echo)).await;
    let path = folder.path().join("ca.pem");
    for (text, told) in
        [(None, "can't be read"), (Some(""), "has no certificate"), (Some("-----BEGIN CERTIFICATE-----\nx"), "ca.pem")]
    {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let why = called(trusting(&server, "127.0.0.1", Some(&path))).await.unwrap_err();
        assert!(why.contains(told), "{why}");
    }
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_not_spoken_to_in_the_clear() {
    let server = Server::new(modern(echo)).await;
    let why = called(trusting(&server, "127.0.0.1", None)).await.unwrap_err();
    assert!(why.contains("can't be reached"), "{why}");
}

#[tokio::test]
async fn a_server_that_offers_it_is_spoken_to_in_http_2_over_one_connection() {
    let folder = tempfile::tempdir().unwrap();
    let ours = authority();
    let roots = pem(folder.path(), &ours);
    let mut config = tls(&ours, "127.0.0.1");
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = format!("https://127.0.0.1:{}/mcp", listener.local_addr().unwrap().port());
    // Only one connection is ever taken.
    let serving = tokio::spawn(async move {
        let stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        let answer = hyper::service::service_fn(async |request: hyper::Request<hyper::body::Incoming>| {
            assert_eq!(request.version(), hyper::Version::HTTP_2);
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let body = String::from_utf8(body.to_vec()).unwrap();
            let seen = Seen { method: "POST".to_owned(), path: "/mcp".to_owned(), headers: Vec::new(), body, connection: 0 };
            let Some(Step::Send(text)) = modern(echo)(&seen).pop() else { panic!("it says nothing") };
            let text = String::from_utf8(text).unwrap();
            let body = Full::new(bytes::Bytes::from(text.split_once("\r\n\r\n").unwrap().1.to_owned()));
            Ok::<_, std::convert::Infallible>(
                hyper::Response::builder().header("content-type", "application/json").body(body).unwrap(),
            )
        });
        let _ =
            hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
    });
    let rig = Rig::new(vec![with_http(at("x", &url), |http| http.roots = Some(roots))]);
    let grants = ["g-1", "g-2", "g-3"].map(grant);
    for answer in futures_util::future::join_all(grants.iter().map(|grant| rig.call("x", grant))).await {
        answer.unwrap();
    }
    serving.abort();
}
