//! Tokens that are bound: each request carries a proof of its own, and a server may want a nonce in it; a certificate is presented to those
//! that want one.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering},
};

use bailiwick_pipeline::ports::{Access, Injection, Lease, LeaseTerms, Material, Prover, SendFailure};
use secrecy::SecretString;
use tokio_rustls::TlsAcceptor;

use crate::{
    certificates::{authority, identity, pem, with_clients},
    kit::{Failure, PATIENCE, Rig, grant, lease_for, until},
    outward::bearer,
    server::{Reply, Seen, Server, at, echo, legacy, modern, respond, with_http},
};

/// Proofs that say in clear what they are for.
#[derive(Debug, Default)]
struct Clear {
    count: AtomicU32,
    nonce: Mutex<String>,
}

impl Prover for Clear {
    fn proof(&self, method: &str, url: &str) -> Result<SecretString, String> {
        let (number, nonce) = (self.count.fetch_add(1, Ordering::Relaxed), self.nonce.lock().unwrap());
        Ok(SecretString::from(format!("{method} {url} {nonce} {number}")))
    }

    fn heard(&self, nonce: &str) {
        nonce.clone_into(&mut self.nonce.lock().unwrap());
    }
}

fn bound() -> Arc<Lease> {
    let material = Material::of(SecretString::from("canary-0123456789".to_owned())).with_prover(Arc::new(Clear::default()));
    let (id, reference, injection) = ("lease-1".to_owned(), "T".to_owned(), Injection::header("authorization", "DPoP "));
    let terms = LeaseTerms { id, provider: "oauth", reference, injection, expires_at_ms: u64::MAX, access: Access::Write };
    Arc::new(Lease::new(terms, material).unwrap())
}

/// Refuses whatever has not the nonce of its time, which is another one after so many requests.
fn strict(
    every: usize,
    serves: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
) -> impl Fn(&Seen) -> Reply + Send + Sync + 'static {
    let so_far = Mutex::new((0, std::collections::BTreeSet::new()));
    move |seen| {
        let mut so_far = so_far.lock().unwrap();
        let proof = seen.header("dpop").unwrap_or_default().to_owned();
        let nonce = format!("n-{}", so_far.0 / every);
        let is_good = seen.header("authorization") == Some("DPoP canary-0123456789")
            && proof.starts_with(&format!("{} http://", seen.method))
            && proof.split(' ').nth(1).is_some_and(|url| url.ends_with("/mcp"))
            && so_far.1.insert(proof.clone());
        if !is_good {
            return respond(401, &[("www-authenticate", "DPoP error=\"invalid_dpop_proof\"")], "");
        }
        if proof.split(' ').nth(2) != Some(&nonce) {
            let challenge = ("www-authenticate", "Bearer, DPoP error=\"use_dpop_nonce\", algs=\"ES256\"");
            return respond(401, &[challenge, ("dpop-nonce", &nonce)], "");
        }
        so_far.0 += 1;
        serves(seen)
    }
}

#[tokio::test]
async fn each_request_carries_a_proof_of_its_own_with_the_latest_nonce() {
    for is_modern in [false, true] {
        let server =
            if is_modern { Server::new(strict(3, modern(echo))).await } else { Server::new(strict(3, legacy(echo))).await };
        let spec = at("x", &format!("{}?v=2", server.url()));
        let (rig, grant, lease) = (Rig::new(vec![spec]), grant("g-1"), bound());
        for _ in 0..5 {
            rig.call_with("x", &grant, Some(&lease), PATIENCE, b"{}").await.unwrap();
        }
        drop(rig);
        let refused: Vec<Seen> = server.seen().into_iter().filter(|seen| seen.header("dpop").is_none()).collect();
        assert!(refused.is_empty(), "{refused:?}");
        if !is_modern {
            until("the session is left", || server.seen().iter().any(|seen| seen.method == "DELETE")).await;
        }
    }
}

#[tokio::test]
async fn a_server_that_wants_another_nonce_each_time_is_asked_twice_and_no_more() {
    let wants = |_: &Seen| {
        respond(401, &[("www-authenticate", "DPoP error=\"use_dpop_nonce\""), ("dpop-nonce", "n-1")], "give me another")
    };
    let server = Server::new(modern(wants)).await;
    let rig = Rig::new(vec![at("x", &server.url())]);
    let failure = rig.call_with("x", &grant("g-1"), Some(&bound()), PATIENCE, b"{}").await.unwrap_err();
    assert!(matches!(&failure, Failure::Send(SendFailure::Denied(_))), "{failure:?}");
    assert_eq!(server.calls().len(), 2);
    // One that is not bound is sent once.
    let failure = rig.call_with("x", &grant("g-2"), Some(&lease_for("l", "canary-0123456789", bearer())), PATIENCE, b"{}").await;
    assert!(failure.is_err() && server.calls().len() == 3);
}

#[tokio::test]
async fn a_certificate_is_presented_to_a_server_that_wants_one() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, clients) = (authority(), authority());
    let (roots, own) = (pem(folder.path(), &ours), identity(folder.path(), &clients));
    let acceptor = TlsAcceptor::from(Arc::new(with_clients(&ours, "localhost", Some(&clients))));
    let server = Server::with_tls(acceptor, modern(echo)).await;
    let url = format!("https://localhost:{}/mcp", server.port);
    let spec = |identity: Option<std::path::PathBuf>| {
        with_http(at("x", &url), |http| (http.roots, http.identity) = (Some(roots.clone()), identity))
    };
    assert!(Rig::new(vec![spec(None)]).call("x", &grant("g-1")).await.is_err());
    assert_eq!(server.seen().len(), 0);
    Rig::new(vec![spec(Some(own.clone()))]).call("x", &grant("g-1")).await.unwrap();
    std::fs::set_permissions(&own, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let failure = Rig::new(vec![spec(Some(own))]).call("x", &grant("g-1")).await.unwrap_err();
    assert!(format!("{failure:?}").contains("chmod 600"), "{failure:?}");
}
