//! Issuers that are replaced while a token of theirs is looked at, and while the configuration changes.

use std::sync::Arc;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::oneshot,
};

use super::{
    Desk, NOW, US, but, claims,
    issuer::{KeyServer, Signer, jwks},
    issuers, spec,
};
use crate::{IssuerSpec, KeySource, Proven, SenderConstraint, TokenFault};

/// A server of keys that answers when it is told to.
struct Held {
    source: KeySource,
    came: oneshot::Receiver<()>,
    go: oneshot::Sender<()>,
}

impl Held {
    async fn of(signer: &Signer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let document = jwks(&[signer.jwk()]);
        let (comes, came) = oneshot::channel();
        let (go, goes) = oneshot::channel();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _asked = stream.read(&mut [0; 4096]).await.unwrap();
            comes.send(()).unwrap();
            goes.await.unwrap();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", document.len());
            let _written = stream.write_all(format!("{head}{document}").as_bytes()).await;
        });
        Self { source: KeySource::Url(url.parse().unwrap()), came, go }
    }
}

/// What comes of a token while issuers are replaced by each of these, each time as the keys of those before are waited for.
async fn proven(signer: &Signer, first: Held, then: Vec<(Vec<IssuerSpec>, Option<Held>)>) -> Result<Arc<Proven>, TokenFault> {
    let plain = spec(&KeyServer::new());
    let issuers = Arc::new(issuers(&[IssuerSpec { source: first.source, ..plain }]));
    let (asking, token) = (Arc::clone(&issuers), signer.token(&claims()));
    let proving = tokio::spawn(async move { asking.prove(&token, NOW).await });
    let (mut came, mut go) = (first.came, first.go);
    for (specs, held) in then {
        came.await.unwrap();
        issuers.set(&specs);
        go.send(()).unwrap();
        let Some(held) = held else { break };
        (came, go) = (held.came, held.go);
    }
    proving.await.unwrap()
}

#[tokio::test]
async fn what_an_issuer_proves_that_was_replaced_meanwhile_counts_no_more() {
    let signer = Signer::new("k1");
    let gone = proven(&signer, Held::of(&signer).await, vec![(vec![], None)]).await;
    assert!(matches!(gone, Err(TokenFault::Issuer(_))), "{gone:?}");
    // By those that count then it is proven, or is not.
    let server = KeyServer::of(&[signer.jwk()]);
    let other = IssuerSpec { id: "other".to_owned(), ..spec(&server) };
    let by_other = proven(&signer, Held::of(&signer).await, vec![(vec![other.clone()], None)]).await;
    assert_eq!(by_other.unwrap().issuer(), "other");
    let strict = IssuerSpec { sender_constraint: SenderConstraint::Dpop, ..other.clone() };
    let by_strict = proven(&signer, Held::of(&signer).await, vec![(vec![strict], None)]).await;
    assert!(matches!(by_strict, Err(TokenFault::Bound(_))), "{by_strict:?}");
    // And not a third time.
    let second = Held::of(&signer).await;
    let between = IssuerSpec { source: second.source.clone(), ..other.clone() };
    let twice = vec![(vec![between], Some(second)), (vec![other], None)];
    let twice = proven(&signer, Held::of(&signer).await, twice).await.unwrap_err();
    assert!(twice.to_string().contains("send the request again"), "{twice}");
}

/// Between two configurations the word of those counts that both believe, and in the same way.
#[tokio::test]
async fn between_two_configurations_only_those_count_that_are_the_same_in_both() {
    let (desk, elsewhere) = (Desk::new(), Signer::new("k1"));
    let (server, iss) = (KeyServer::of(&[elsewhere.jwk()]), "https://new.example.com");
    let ours = spec(&desk.server);
    let new = IssuerSpec { id: "new".to_owned(), issuer: Some(iss.to_owned()), ..spec(&server) };
    let (token, theirs) = (desk.signer.token(&claims()), elsewhere.token(&but(&json!({"iss": iss}))));
    let wanted = [ours.clone(), new];
    let before = desk.prove(&token).await.unwrap();
    desk.issuers.narrow(&wanted, US);
    assert!(Arc::ptr_eq(&before, &desk.prove(&token).await.unwrap()), "nothing is another yet");
    assert!(matches!(desk.prove(&theirs).await, Err(TokenFault::Issuer(_))), "a new one does not speak yet");
    desk.issuers.replace(&wanted, US);
    desk.prove(&theirs).await.unwrap();
    // One that is another speaks neither as it was nor as it will be.
    let strict = [IssuerSpec { audience: Some("elsewhere".to_owned()), ..ours.clone() }];
    let for_elsewhere = desk.signer.token(&but(&json!({"aud": "elsewhere"})));
    desk.issuers.narrow(&strict, US);
    for token in [&token, &for_elsewhere, &theirs] {
        assert!(matches!(desk.prove(token).await, Err(TokenFault::Issuer(_))));
    }
    desk.issuers.replace(&strict, US);
    desk.prove(&for_elsewhere).await.unwrap();
    assert!(matches!(desk.prove(&token).await, Err(TokenFault::Audience(_))));
    // With another URL nobody does, for it is in every token, or in the proofs beside it.
    let moved = "https://moved.example.com/mcp";
    let for_moved = desk.signer.token(&but(&json!({"aud": moved})));
    let ours = std::slice::from_ref(&ours);
    desk.issuers.replace(ours, US);
    desk.prove(&token).await.unwrap();
    let asked = desk.server.count();
    desk.issuers.narrow(ours, moved);
    for token in [&token, &for_moved] {
        assert!(matches!(desk.prove(token).await, Err(TokenFault::Issuer(_))));
    }
    desk.issuers.replace(ours, moved);
    desk.prove(&for_moved).await.unwrap();
    assert!(matches!(desk.prove(&token).await, Err(TokenFault::Audience(_))));
    assert_eq!(desk.server.count(), asked, "an issuer that is what it was keeps its keys");
}
