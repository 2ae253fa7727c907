//! For tests: protected servers with their issuer, on one address of this machine, over real HTTP.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, extract::State, response::IntoResponse as _};
use bailiwick_store::ConsentRows;
use http::{StatusCode, Uri};
use serde_json::json;

use crate::runtime::Runtime;

/// What it was asked.
#[derive(Default)]
struct Asked {
    /// Paths and bodies.
    came: Mutex<Vec<(String, String)>>,
    gate: tokio::sync::Mutex<()>,
}

/// The servers and their issuer: every path is a server's that is nothing else.
pub(crate) struct Issuer {
    /// Where it is.
    pub(crate) at: String,
    asked: Arc<Asked>,
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = format!("http://{}", listener.local_addr().unwrap());
        let (asked, here) = (Arc::new(Asked::default()), at.clone());
        let answer = move |State(asked): State<Arc<Asked>>, to: Uri, body: Bytes| {
            let at = here.clone();
            async move {
                let number = {
                    let mut came = asked.came.lock().unwrap();
                    came.push((to.path().to_owned(), String::from_utf8_lossy(&body).into_owned()));
                    came.len()
                };
                let said = match to.path() {
                    "/.well-known/oauth-authorization-server" => json!({
                        "issuer": at, "authorization_endpoint": format!("{at}/authorize"), "token_endpoint": format!("{at}/token"),
                        "registration_endpoint": format!("{at}/register"), "revocation_endpoint": format!("{at}/revoke"),
                        "code_challenge_methods_supported": ["S256"], "token_endpoint_auth_methods_supported": ["none"],
                    }),
                    "/register" => json!({"client_id": "registered", "token_endpoint_auth_method": "none"}),
                    "/token" => {
                        let _passed = asked.gate.lock().await;
                        json!({"access_token": format!("access-token-{number}"), "token_type": "Bearer", "expires_in": 600, "refresh_token": format!("refresh-token-{number}")})
                    }
                    "/revoke" => json!({}),
                    path => match path.strip_prefix("/.well-known/oauth-protected-resource") {
                        Some(of) => json!({"resource": format!("{at}{of}"), "authorization_servers": [at]}),
                        None => return StatusCode::UNAUTHORIZED.into_response(),
                    },
                };
                said.to_string().into_response()
            }
        };
        let router = Router::new().fallback(answer).with_state(Arc::clone(&asked));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { at, asked }
    }

    /// A provider, and connectors to these paths.
    pub(crate) fn config(&self, connectors: &[(&str, &str)]) -> String {
        let at = &self.at;
        let connectors = connectors.iter().map(|(id, path)| {
            format!(
                "[[connectors]]\nid = \"{id}\"\nurl = \"{at}{path}\"\ncredential = {{ provider = \"owners\", scopes = [\"read\"], inject = \
                 {{ header = \"Authorization\", prefix = \"Bearer \" }} }}\n"
            )
        });
        format!(
            "[[providers]]\nid = \"owners\"\nmcp = {{ register = true, issuers = [\"{at}\"] }}\n{}",
            connectors.collect::<String>()
        )
    }

    /// As if this owner had consented to the server at this path.
    pub(crate) async fn consented(&self, runtime: &Runtime, path: &str, owner: &str) {
        let at = &self.at;
        let record = json!({
            "resource": format!("{at}{path}"), "owner": owner, "issuer": at, "by": "ann", "by_admin": true, "since_ms": 1, "scopes": ["read"],
        });
        let secrets = json!({
            "authority": {
                "issuer": at, "token_endpoint": format!("{at}/token"), "revocation_endpoint": format!("{at}/revoke"), "client_id": "registered",
                "client_secret": null, "proof": "none",
            },
            "refresh": "refresh-token-0",
        });
        let key = [format!("{at}{path}"), owner.to_owned(), at.clone()];
        ConsentRows::new(&runtime.store).put(key, record.to_string(), &secrets.to_string()).await.unwrap();
    }

    /// While this is held, no answer comes out of `/token`.
    pub(crate) async fn hold(&self) -> impl Drop {
        self.asked.gate.lock().await
    }

    /// The bodies that came to this path.
    pub(crate) fn came(&self, path: &str) -> Vec<String> {
        let came = self.asked.came.lock().unwrap();
        came.iter().filter(|(to, _)| to == path).map(|(_, body)| body.clone()).collect()
    }
}

/// Waits until this is so.
pub(crate) async fn until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
