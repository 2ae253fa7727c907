//! The door of the admin API, with a real gateway behind it: who is let in, endpoint by endpoint.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use bailiwick_pipeline::trace::hex;
use http::StatusCode;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;

use super::{ENDPOINTS, router};
use crate::{
    adapters::SystemClock,
    data::DataFolder,
    runtime::{Runtime, Start},
    server::{Limits, serve_tcp, serve_unix},
};

const LIMITS: Limits = Limits { connections: 16, headers: Duration::from_secs(5), unread: Duration::from_secs(5) };

async fn gateway(folder: &Path) -> Arc<Runtime> {
    let start = Start {
        config: bailiwick_config::embedded(bailiwick_config::DEMO, []).unwrap(),
        data: DataFolder::open(&folder.join("data")).unwrap(),
        clock: Arc::new(SystemClock),
        file: None,
        is_demo: true,
        own_binary: "/bin/false".into(),
        environment: BTreeMap::new(),
    };
    Runtime::start(start).await.unwrap()
}

async fn status(
    http: &reqwest::Client,
    base: &str,
    (method, path): (&str, &str),
    credential: Option<&str>,
) -> (StatusCode, String) {
    let url = format!("{base}{}", path.replace("{id}", "nobody"));
    let mut request = http.request(method.parse().unwrap(), url);
    if let Some(credential) = credential {
        request = request.header("authorization", credential);
    }
    let response = request.send().await.unwrap();
    (response.status(), response.text().await.unwrap())
}

fn client() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().tls_certs_only([])
}

#[tokio::test]
async fn without_a_peer_that_the_kernel_names_nothing_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = gateway(folder.path()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve_tcp(listener, router(runtime), LIMITS, CancellationToken::new()));
    let http = client().build().unwrap();
    for (method, path, _) in ENDPOINTS {
        let (status, body) = status(&http, &base, (method, path), None).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}: {body}");
    }
}

#[tokio::test]
async fn whatever_changes_something_needs_the_operator_credential() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = gateway(folder.path()).await;
    let key = std::fs::read(runtime.data.operator_credential()).unwrap();
    let right = hex(&key);
    let socket = folder.path().join("admin.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(serve_unix(listener, router(Arc::clone(&runtime)), LIMITS, CancellationToken::new()));
    let http = client().unix_socket(socket).build().unwrap();
    let wrong = format!("Operator {}", "0".repeat(64));
    let as_bearer = format!("Bearer {right}");
    for (method, path, is_change) in ENDPOINTS {
        for credential in [None, Some(wrong.as_str()), Some(as_bearer.as_str()), Some("Operator "), Some(right.as_str())] {
            let (status, body) = status(&http, "http://admin", (method, path), credential).await;
            if is_change {
                assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path} {credential:?}: {body}");
            } else {
                assert!(status == StatusCode::OK || status == StatusCode::NOT_FOUND, "{method} {path}: {status} {body}");
            }
        }
        let shown = format!("Operator {right}");
        let (status, body) = status(&http, "http://admin", (method, path), Some(&shown)).await;
        assert!(status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN, "{method} {path}: {status} {body}");
        // A path that is not in the table answers otherwise: every row is a route.
        assert!(!body.contains("no such endpoint"), "{method} {path}");
    }
    let (status, body) = status(&http, "http://admin", ("GET", "/api/v1/nothing"), None).await;
    assert!(status == StatusCode::NOT_FOUND && body.contains("no such endpoint"), "{body}");
}

#[tokio::test]
async fn a_change_is_on_record_before_and_after() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = gateway(folder.path()).await;
    let key = std::fs::read(runtime.data.operator_credential()).unwrap();
    let credential = format!("Operator {}", hex(&key));
    let socket = folder.path().join("admin.sock");
    tokio::spawn(serve_unix(
        UnixListener::bind(&socket).unwrap(),
        router(Arc::clone(&runtime)),
        LIMITS,
        CancellationToken::new(),
    ));
    let http = client().unix_socket(socket).build().unwrap();
    let revoke = ("POST", "/api/v1/grants/demo-triage/revoke");
    let (answered, body) = status(&http, "http://admin", revoke, Some(&credential)).await;
    assert_eq!((answered, body.as_str()), (StatusCode::OK, r#"{"was_active":true,"drained":true}"#));
    let records =
        runtime.recorder.trail().reader().records(bailiwick_trail::Stream::Admin, bailiwick_trail::Start::First).unwrap();
    let told: Vec<String> = records
        .map(Result::unwrap)
        .filter(|record| record.text("event") == Some("grant_revoked"))
        .map(|record| format!("{} {}", record.text("about").unwrap_or_default(), record.text("result").unwrap_or_default()))
        .collect();
    assert_eq!(told, ["demo-triage begun", "demo-triage done"]);
}
