//! Whom the tokens of each kind of issuer speak of.

use serde_json::{Value, json};

use super::{
    Desk, ISS, NOW_S, US, but,
    issuer::{KeyServer, Signer},
    issuers, spec,
};
use crate::{IssuerSpec, Method, Profile, TokenFault};

fn desk(profile: Profile) -> Desk {
    Desk::of(Signer::rsa("k1"), |spec| IssuerSpec { profile, ..spec })
}

#[tokio::test]
async fn an_oidc_issuer_names_agents_and_instances_by_the_claims_that_are_configured() {
    let desk = desk(Profile::Oidc { subject: "client_id".to_owned(), instance: Some("sid".to_owned()) });
    let proven = desk.claim(&but(&json!({"client_id": "bot", "sid": "run-7"}))).await.unwrap();
    assert_eq!((proven.subject(), proven.instance(), proven.method()), ("bot", Some("run-7"), Method::Jwt));
    for changes in [
        json!({"client_id": "bot"}),
        json!({"sid": "x"}),
        json!({"client_id": "bot", "sid": 7}),
        json!({"client_id": "bot", "sid": "x".repeat(200)}),
        json!({"client_id": "bo\u{200b}t", "sid": "x"}),
        json!({"client_id": "bot\u{202e}", "sid": "x"}),
        json!({"client_id": "bot", "sid": "run-\u{e0041}7"}),
        json!({"client_id": "bot", "sid": "\u{feff}run-7"}),
    ] {
        assert!(desk.claim(&but(&changes)).await.is_err(), "{changes}");
    }
}

/// Attack 72: two pods of one service account are told apart.
#[tokio::test]
async fn a72_a_cluster_names_service_accounts_and_pods() {
    let desk = desk(Profile::Kubernetes);
    let own = |namespace: &str, account: &str, pod: Value| json!({"namespace": namespace, "serviceaccount": {"name": account, "uid": "sa-uid"}, "pod": pod, "node": {"name": "n1", "uid": "n-uid"}, "warnafter": NOW_S + 300});
    let token = |sub: &str, own: &Value| but(&json!({"aud": [US], "sub": sub, "nbf": NOW_S, "jti": "j", "kubernetes.io": own}));
    let sub = "system:serviceaccount:agents:triage";
    let mut pods = Vec::new();
    for uid in ["pod-1", "pod-2"] {
        let proven = desk.claim(&token(sub, &own("agents", "triage", json!({"name": "p", "uid": uid})))).await.unwrap();
        assert_eq!(proven.subject(), sub);
        pods.push(proven.instance().unwrap().to_owned());
    }
    assert_eq!(pods, ["pod-1", "pod-2"]);
    let mut without_pod = own("agents", "triage", json!({}));
    without_pod.as_object_mut().unwrap().remove("pod");
    assert_eq!(desk.claim(&token(sub, &without_pod)).await.unwrap().instance(), None);
    let pod = json!({"name": "p", "uid": "u"});
    for (sub, own) in [
        ("system:serviceaccount:agents:other", own("agents", "triage", pod.clone())),
        ("system:serviceaccount:other:triage", own("agents", "triage", pod.clone())),
        ("system:serviceaccount:agents:triage:x", own("agents", "triage:x", pod.clone())),
        ("system:serviceaccount:agents:a:triage", own("agents:a", "triage", pod.clone())),
        ("system:node:n1", own("agents", "triage", pod.clone())),
        (sub, json!({"namespace": "agents"})),
        (sub, json!({"serviceaccount": {"name": "triage"}})),
        (sub, own("agents", "triage", json!({"name": "p"}))),
        (sub, json!("agents")),
        (sub, Value::Null),
    ] {
        let fault = desk.claim(&token(sub, &own)).await.unwrap_err();
        assert!(matches!(fault, TokenFault::Claim { .. }), "{sub} {own}: {fault}");
    }
}

#[tokio::test]
async fn a_github_run_is_an_instance_of_its_workflow() {
    let desk = desk(Profile::GithubActions);
    let sub = "repo:octo-org/octo-repo:ref:refs/heads/main";
    let token = but(&json!({"sub": sub, "run_id": "1234", "run_attempt": "2", "repository": "octo-org/octo-repo"}));
    let proven = desk.claim(&token).await.unwrap();
    assert_eq!((proven.subject(), proven.instance()), (sub, Some("run-1234-2")));
    let mut of_job = token.clone();
    of_job["check_run_id"] = json!("99");
    assert_eq!(desk.claim(&of_job).await.unwrap().instance(), Some("run-1234-2-99"));
    assert!(desk.claim(&but(&json!({"sub": sub, "run_id": "1234"}))).await.is_err());
    assert!(desk.claim(&but(&json!({"sub": sub, "run_id": 1234, "run_attempt": "1"}))).await.is_err());
}

fn trust_domain(server: &KeyServer, domain: &str) -> IssuerSpec {
    let profile = Profile::SpiffeJwt(domain.parse().unwrap());
    IssuerSpec { id: format!("td-{domain}"), profile, issuer: None, ..spec(server) }
}

/// Attack 65.
#[tokio::test]
async fn a65_a_jwt_svid_is_of_its_trust_domain_and_read_strictly() {
    let signer = Signer::new("k1");
    let server = KeyServer::of(&[signer.svid_jwk()]);
    let issuers = issuers(&[trust_domain(&server, "td")]);
    let token = |sub: &str| signer.token(&json!({"sub": sub, "aud": [US], "exp": NOW_S + 300}));
    let proven = issuers.prove(&token("spiffe://td/agent/a"), super::NOW).await.unwrap();
    assert_eq!((proven.subject(), proven.issuer(), proven.method()), ("spiffe://td/agent/a", "td-td", Method::JwtSvid));
    let long = format!("spiffe://td/{}", "x".repeat(3000));
    for sub in [
        "spiffe://td/",
        "spiffe://td",
        "spiffe://td/../x",
        "spiffe://td/./x",
        "spiffe://TD/x",
        "spiffe://td/%2e%2e/x",
        "spiffe://td/a%2eb",
        "spiffe://td/x?a=b",
        "spiffe://td/x#a",
        "spiffe://td//x",
        "spiffe://td/x/",
        "spiffe://other/x",
        "spiffe://td.evil/x",
        "spiffe://td:80/x",
        "spiffe://u@td/x",
        "SPIFFE://td/x",
        "td/x",
        "",
        " spiffe://td/x",
        "spiffe://td/x ",
        long.as_str(),
    ] {
        assert!(issuers.prove(&token(sub), super::NOW).await.is_err(), "{sub}");
    }
    // Another audience, no audience, no end.
    for claims in [
        json!({"sub": "spiffe://td/x", "aud": ["y"], "exp": NOW_S + 300}),
        json!({"sub": "spiffe://td/x", "exp": NOW_S + 300}),
        json!({"sub": "spiffe://td/x", "aud": [US]}),
    ] {
        assert!(issuers.prove(&signer.token(&claims), super::NOW).await.is_err(), "{claims}");
    }
}

#[tokio::test]
async fn a65_keys_for_certificates_sign_no_tokens() {
    let signer = Signer::new("k1");
    let token = signer.token(&json!({"sub": "spiffe://td/x", "aud": [US], "exp": NOW_S + 300}));
    let mut for_certificates = signer.jwk();
    for_certificates["use"] = json!("x509-svid");
    for jwk in [signer.jwk(), for_certificates, {
        let mut jwk = signer.jwk();
        jwk.as_object_mut().unwrap().remove("use");
        jwk
    }] {
        let issuers = issuers(&[trust_domain(&KeyServer::of(&[jwk]), "td")]);
        assert!(matches!(issuers.prove(&token, super::NOW).await.unwrap_err(), TokenFault::NoKey { .. }));
    }
}

/// Whoever says a subject of a trust domain is not of it: keys are those of the issuer that a token names, and a subject counts only beside it.
#[tokio::test]
async fn an_issuer_speaks_for_itself_alone() {
    let (corp, td) = (Signer::new("k1"), Signer::new("k1"));
    let (at_corp, at_td) = (KeyServer::of(&[corp.jwk()]), KeyServer::of(&[td.svid_jwk()]));
    let issuers = issuers(&[trust_domain(&at_td, "td"), spec(&at_corp)]);
    let svid = json!({"sub": "spiffe://td/a", "aud": US, "exp": NOW_S + 300});
    let mut with_iss = svid.clone();
    with_iss["iss"] = json!(ISS);
    let proven = issuers.prove(&corp.token(&with_iss), super::NOW).await.unwrap();
    assert_eq!(
        (proven.issuer(), proven.subject()),
        ("corp", "spiffe://td/a"),
        "of that issuer, and so of no agent of the domain"
    );
    assert_eq!(issuers.prove(&corp.token(&svid), super::NOW).await.unwrap_err(), TokenFault::Signature);
    assert_eq!(issuers.prove(&td.token(&with_iss), super::NOW).await.unwrap_err(), TokenFault::Signature);
    assert_eq!(issuers.prove(&td.token(&svid), super::NOW).await.unwrap().issuer(), "td-td");
}
