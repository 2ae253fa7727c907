//! TLS with real certificates: only the right one will do.

use std::{path::Path, sync::Arc};

use bailiwick_pipeline::ports::ConnectFailure;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::{
    kit::{Failure, Rig, grant},
    server::{Server, at, echo, modern, with_http},
    spec::ConnectorSpec,
};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server's end of TLS, for this name.
fn acceptor(authority: &Authority, name: &str) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, authority).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn pem(folder: &Path, authority: &Authority) -> std::path::PathBuf {
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
