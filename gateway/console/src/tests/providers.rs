//! Login at an identity provider: a small real one, with real keys, on this machine.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use bailiwick_identity::{LoginProvider, LoginSpec};
use http::HeaderMap;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{Browser, DAY_MS, Stage, soft::text};
use crate::{ClaimedRoles, LoginMethod, Oidc, Role};

/// Whom the provider lets in next, and what it says wrongly.
struct Provider {
    base: String,
    key: EcdsaKeyPair,
    /// By code: the challenge of the login, and the claims of its token.
    codes: Mutex<HashMap<String, (String, Value)>>,
    secrets: Mutex<Vec<String>>,
}

impl Provider {
    async fn start() -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Arc::new(Self {
            base: format!("http://{}", listener.local_addr().unwrap()),
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            codes: Mutex::default(),
            secrets: Mutex::default(),
        });
        let site = Router::new()
            .route("/.well-known/openid-configuration", get(describe))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .with_state(Arc::clone(&provider));
        tokio::spawn(async move { axum::serve(listener, site).await.unwrap() });
        provider
    }

    fn signed(&self, claims: &Value) -> String {
        let header = text(json!({"alg": "ES256", "kid": "1", "typ": "JWT"}).to_string().as_bytes());
        let signed = format!("{header}.{}", text(claims.to_string().as_bytes()));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", text(signature.as_ref()))
    }

    /// What a person does there who is sent with this address: logs in. Returns the code and the state that they come back with.
    fn log_in(&self, to: &str, alter: impl FnOnce(&mut Value)) -> (String, String) {
        let asked: HashMap<String, String> = url::Url::parse(to).unwrap().query_pairs().into_owned().collect();
        assert!(to.starts_with(&format!("{}/authorize?", self.base)), "{to}");
        assert_eq!((asked["response_type"].as_str(), asked["code_challenge_method"].as_str()), ("code", "S256"));
        let now_s = DAY_MS / 1000;
        let mut claims = json!({
            "iss": self.base, "sub": "sub-of-ada", "aud": "us", "exp": now_s + 300, "iat": now_s, "nonce": asked["nonce"],
            "groups": ["deciders", "others"],
        });
        alter(&mut claims);
        let code = format!("code-{}", self.codes.lock().unwrap().len());
        self.codes.lock().unwrap().insert(code.clone(), (asked["code_challenge"].clone(), claims));
        (code, asked["state"].clone())
    }
}

async fn describe(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let base = &provider.base;
    Json(json!({
        "issuer": base, "jwks_uri": format!("{base}/keys"), "authorization_endpoint": format!("{base}/authorize"),
        "token_endpoint": format!("{base}/token"),
    }))
}

async fn keys(State(provider): State<Arc<Provider>>) -> Json<Value> {
    let point = provider.key.public_key().as_ref();
    let key = json!({"kty": "EC", "crv": "P-256", "kid": "1", "alg": "ES256", "use": "sig", "x": text(&point[1..33]), "y": text(&point[33..])});
    Json(json!({"keys": [key]}))
}

async fn token(State(provider): State<Arc<Provider>>, headers: HeaderMap, body: String) -> (StatusCode, Json<Value>) {
    let asked: HashMap<String, String> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    provider.secrets.lock().unwrap().push(headers["authorization"].to_str().unwrap().to_owned());
    let Some((challenge, claims)) = provider.codes.lock().unwrap().remove(&asked["code"]) else {
        return (StatusCode::BAD_REQUEST, Json(json!({"error": "invalid_grant"})));
    };
    let verified = text(digest::digest(&digest::SHA256, asked["code_verifier"].as_bytes()).as_ref()) == challenge;
    assert!(verified && asked["redirect_uri"].ends_with("/login/oidc/callback") && asked["client_id"] == "us");
    (StatusCode::OK, Json(json!({"token_type": "Bearer", "access_token": "x", "id_token": provider.signed(&claims)})))
}

async fn stage(provider: &Provider) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret\n").unwrap();
    // Kept as long as the process: the file is read at each login.
    let _kept = folder.keep();
    let issuer = provider.base.parse().unwrap();
    let spec = LoginSpec {
        name: provider.base.clone(),
        issuer,
        client_id: "us".to_owned(),
        client_secret_file: Some(secret),
        roots: None,
    };
    let roles = ClaimedRoles {
        claim: "groups".to_owned(),
        roles: [("deciders".to_owned(), [Role::Approver, Role::Admin].into())].into(),
    };
    let people = BTreeMap::from([("sub-of-ada".to_owned(), "ada".to_owned()), ("sub-of-bob".to_owned(), "bob".to_owned())]);
    Stage::with(Some(Oidc::new(LoginProvider::new(spec), Some(roles), people))).await
}

/// Says something wrong.
type Alter = fn(&mut Value);

/// Where a browser is sent that wants to log in.
async fn sent(browser: &mut Browser) -> String {
    let answer = browser.get("/login/oidc?next=/passkeys").await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    answer.headers()["location"].to_str().unwrap().to_owned()
}

async fn back(browser: &mut Browser, code: &str, state: &str) -> (StatusCode, String) {
    let answer = browser.get(&format!("/login/oidc/callback?code={code}&state={state}")).await;
    let location = answer.headers().get("location").map(|to| to.to_str().unwrap().to_owned()).unwrap_or_default();
    (answer.status(), location)
}

#[tokio::test]
async fn somebody_who_is_registered_may_look_with_the_roles_that_both_give() {
    let provider = Provider::start().await;
    let stage = stage(&provider).await;
    let mut browser = stage.browser();
    let page = browser.get("/login").await.text().await.unwrap();
    assert!(page.contains("href=\"/login/oidc?next="), "{page}");
    let to = sent(&mut browser).await;
    let (code, of_login) = provider.log_in(&to, |_| ());
    assert_eq!(back(&mut browser, &code, &of_login).await, (StatusCode::SEE_OTHER, "/passkeys".to_owned()));
    let session = stage.console.sessions().of("ada").remove(0);
    assert_eq!(session.method, LoginMethod::Oidc);
    let headers = browser.request(reqwest::Method::GET, "/").build().unwrap().headers().clone();
    let (viewer, _) = stage.console.session(&headers).await.unwrap();
    assert_eq!(viewer.person.roles, [Role::Approver].into(), "viewer is not granted there, admin not given here");
    assert!(stage.console.is_open(&viewer));
    assert_eq!(provider.secrets.lock().unwrap().as_slice(), [format!("Basic {}", base64_of("us:a+secret"))]);
    // It lets nobody add a passkey by itself.
    let add = browser.add_passkey(&mut super::soft::Authenticator::new(super::soft::Key::eddsa(), b"x"), &[]).await;
    assert_eq!(add.status(), StatusCode::FORBIDDEN);
    stage.console.set_subjects(BTreeMap::from([("another".to_owned(), "ada".to_owned())])).await;
    assert!(stage.console.sessions().of("ada").is_empty(), "she is another one there");
}

fn base64_of(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn a_login_that_leaves_no_role_or_was_answered_lets_nobody_in() {
    let provider = Provider::start().await;
    let stage = stage(&provider).await;
    let mut browser = stage.browser();
    let to = sent(&mut browser).await;
    let (code, of_login) = provider.log_in(&to, |claims| claims["groups"] = json!(["others"]));
    assert_eq!(back(&mut browser, &code, &of_login).await.0, StatusCode::FORBIDDEN);
    assert!(stage.console.sessions().of("ada").is_empty());
    let to = sent(&mut browser).await;
    let (code, of_login) = provider.log_in(&to, |_| ());
    let mut other = stage.browser();
    let _stands_there = sent(&mut other).await;
    assert_eq!(back(&mut other, &code, &of_login).await.0, StatusCode::FORBIDDEN, "another browser");
    assert_eq!(back(&mut browser, &code, &of_login).await.0, StatusCode::SEE_OTHER, "which keeps nobody out");
    assert_eq!(back(&mut browser, &code, &of_login).await.0, StatusCode::FORBIDDEN, "once");
    assert_eq!(stage.console.sessions().of("ada").len(), 1);
}

#[tokio::test]
async fn an_answer_that_is_not_to_this_browser_or_not_for_us_is_refused() {
    let provider = Provider::start().await;
    let stage = stage(&provider).await;
    let wrong: [(&str, Alter); 9] = [
        ("unknown", |claims| claims["sub"] = "mallory".into()),
        ("nonce", |claims| claims["nonce"] = "x".into()),
        ("no nonce", |claims| drop(claims.as_object_mut().unwrap().remove("nonce"))),
        ("audience", |claims| claims["aud"] = "them".into()),
        ("given to others", |claims| claims["aud"] = json!(["us", "them"])),
        ("azp", |claims| claims["azp"] = "them".into()),
        ("issuer", |claims| claims["iss"] = "https://evil.example".into()),
        ("over", |claims| claims["exp"] = (DAY_MS / 1000 - 100).into()),
        ("early", |claims| claims["iat"] = (DAY_MS / 1000 + 100).into()),
    ];
    for (what, alter) in wrong {
        let mut browser = stage.browser();
        let to = sent(&mut browser).await;
        let (code, of_login) = provider.log_in(&to, alter);
        assert_eq!(back(&mut browser, &code, &of_login).await.0, StatusCode::FORBIDDEN, "{what}");
    }
    let mut browser = stage.browser();
    let to = sent(&mut browser).await;
    let (code, of_login) = provider.log_in(&to, |_| ());
    let mut other = stage.browser();
    let _stands_there = sent(&mut other).await;
    assert_eq!(back(&mut other, &code, &of_login).await.0, StatusCode::FORBIDDEN, "another browser");
    let to = sent(&mut browser).await;
    let (code, of_login) = provider.log_in(&to, |_| ());
    let foreign = browser.get(&format!("/login/oidc/callback?code={code}&state={of_login}&iss=https://evil.example")).await;
    assert_eq!(foreign.status(), StatusCode::FORBIDDEN, "a mix-up");
    let to = sent(&mut browser).await;
    let (_, of_login) = provider.log_in(&to, |_| ());
    assert_eq!(back(&mut browser, "made-up", &of_login).await.0, StatusCode::FORBIDDEN);
    stage.pass(60_000);
    let to = sent(&mut browser).await;
    let (code, of_login) = provider.log_in(&to, |_| ());
    stage.pass(10 * 60 * 1000);
    assert_eq!(back(&mut browser, &code, &of_login).await.0, StatusCode::FORBIDDEN, "too late");
    assert_eq!(browser.get("/login/oidc/callback").await.status(), StatusCode::FORBIDDEN);
    assert!(stage.console.sessions().of("ada").is_empty() && stage.noted("login") == 0);
    let mut without = Stage::new().await.browser();
    assert_eq!(without.get("/login/oidc").await.status(), StatusCode::NOT_FOUND);
}
