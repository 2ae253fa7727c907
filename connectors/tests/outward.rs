//! What leaves the gateway over HTTP: to whom, and with which credential.

use bailiwick_pipeline::ports::{ConnectFailure, Injection, SendFailure};

use crate::{
    kit::{Failure, PATIENCE, Rig, grant, lease, lease_for, spec},
    server::{Seen, Server, at, echo, legacy, modern, respond, with_http},
    spec::{ConnectorSpec, SpecFault},
    stdio::Downstreams,
};

pub(crate) fn bearer() -> Injection {
    Injection::header("authorization", "Bearer ")
}

#[tokio::test]
async fn a_redirect_is_followed_nowhere() {
    let other = Server::new(modern(echo)).await;
    for status in [301, 302, 303, 307, 308] {
        let to = other.url();
        let server = Server::new(legacy(move |_| respond(status, &[("location", &to)], ""))).await;
        let rig = Rig::new(vec![at("x", &server.url())]);
        let lent = lease_for("lease-1", "canary-0123456789", bearer());
        let failure = rig.call_with("x", &grant("g-1"), Some(&lent), PATIENCE, b"{}").await.unwrap_err();
        let Failure::Send(SendFailure::Protocol(why)) = &failure else { panic!("{failure:?}") };
        assert!(why.contains(&format!("redirects to `{}` (HTTP {status})", other.url())), "{why}");
    }
    assert!(other.seen().is_empty(), "{:?}", other.seen());
}

#[tokio::test]
async fn a_lent_header_goes_with_each_request_once_and_with_no_other_grant() {
    for (server, calls) in [(Server::new(legacy(echo)).await, 2), (Server::new(modern(echo)).await, 2)] {
        let rig = Rig::new(vec![at("x", &server.url())]);
        let grants = ["one", "two", "three"]
            .map(|name| (grant(&format!("g-{name}")), lease_for(name, &format!("secret-of-{name}"), bearer())));
        for _ in 0..calls {
            let called = grants.iter().map(|(grant, lease)| rig.call_with("x", grant, Some(lease), PATIENCE, b"{}"));
            for answer in futures_util::future::join_all(called).await {
                answer.unwrap();
            }
        }
        rig.connectors.shutdown().await;
        for (_, lease) in &grants {
            let expected = format!("Bearer secret-of-{}", lease.id);
            let with = server.calls().into_iter().filter(|seen| seen.all("authorization") == [expected.as_str()]).count();
            assert_eq!(with, calls, "{}", lease.id);
        }
        assert!(server.seen().iter().all(|seen| seen.all("authorization").len() == 1), "{:?}", server.seen());
        let connections = server.seen().iter().map(|seen| seen.connection).max().unwrap();
        assert!(connections < server.seen().len() / 2, "connections are used again, by whoever comes next");
        assert!(!format!("{:?} {:?}", rig.events(), rig.connectors.status()).contains("secret-of"));
    }
}

/// Lent anew, it is the new one from the next message on, in the same session; and the old one is nobody's any more.
#[tokio::test]
async fn another_lease_goes_with_the_next_message_and_the_session_stays() {
    for (server, sessions) in [(Server::new(legacy(echo)).await, 1), (Server::new(modern(echo)).await, 0)] {
        let (rig, grant) = (Rig::new(vec![at("x", &server.url())]), grant("g-1"));
        let first = lease_for("one", "secret-of-one", bearer());
        rig.call_with("x", &grant, Some(&first), PATIENCE, b"{}").await.unwrap();
        let weak = std::sync::Arc::downgrade(&first);
        drop(first);
        let before = server.seen().len();
        let second = lease_for("two", "secret-of-two", bearer());
        for _ in 0..2 {
            rig.call_with("x", &grant, Some(&second), PATIENCE, b"{}").await.unwrap();
        }
        let since = server.seen().split_off(before);
        assert!(
            !since.is_empty() && since.iter().all(|seen| seen.header("authorization") == Some("Bearer secret-of-two")),
            "{since:?}"
        );
        assert!(weak.upgrade().is_none(), "it is wiped, and can be taken back");
        let begun = server.seen().iter().filter(|seen| seen.rpc() == "initialize").count();
        assert_eq!(begun, sessions, "no other session is begun");
        assert!(since.iter().all(|seen| seen.all("mcp-session-id").len() == sessions), "{since:?}");
        let odd = lease_for("three", "secret-of\u{7f}-three", bearer());
        let failure = rig.call_with("x", &grant, Some(&odd), PATIENCE, b"{}").await.unwrap_err();
        assert!(
            matches!(&failure, Failure::Connect(ConnectFailure::Start(why)) if why.contains("no header can carry")),
            "{failure:?}"
        );
        rig.connectors.shutdown().await;
        assert!(server.seen().iter().all(|seen| !format!("{seen:?}").contains("three")));
    }
}

#[tokio::test]
async fn a_credential_goes_the_way_that_its_connector_has() {
    let server = Server::new(legacy(echo)).await;
    let rig = Rig::new(vec![at("x", &server.url()), spec("y", &["env"])]);
    let (header, variable) = (lease_for("a", "canary-0123456789", bearer()), lease("b", "canary-0123456789"));
    for (connector, lease, told) in [("x", variable, "inject = { header"), ("y", header, "inject = { env")] {
        let failure = rig.call_with(connector, &grant("g-1"), Some(&lease), PATIENCE, b"{}").await.unwrap_err();
        assert!(matches!(&failure, Failure::Connect(ConnectFailure::Start(why)) if why.contains(told)), "{failure:?}");
    }
    let odd = lease_for("c", "canary-01234\u{7f}56789", bearer());
    let failure = rig.call_with("x", &grant("g-2"), Some(&odd), PATIENCE, b"{}").await.unwrap_err();
    assert!(
        matches!(&failure, Failure::Connect(ConnectFailure::Start(why)) if why.contains("no header can carry") && !why.contains("canary"))
    );
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_shared_connector_over_http_is_lent_nothing() {
    let server = Server::new(modern(echo)).await;
    let rig = Rig::new(vec![ConnectorSpec { shared: true, ..at("x", &server.url()) }]);
    let lent = lease_for("lease-1", "canary-0123456789", bearer());
    let failure = rig.call_with("x", &grant("g-1"), Some(&lent), PATIENCE, b"{}").await.unwrap_err();
    assert!(matches!(&failure, Failure::Connect(ConnectFailure::Start(why)) if why.contains("is shared")), "{failure:?}");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn where_a_server_sends_the_unauthorized_nobody_goes() {
    let metadata = Server::new(|_: &Seen| respond(200, &[], "{}")).await;
    let challenge = format!("Bearer resource_metadata=\"{}\"", metadata.url());
    let server = Server::new(legacy(move |_| respond(401, &[("www-authenticate", &challenge)], ""))).await;
    let rig = Rig::new(vec![at("x", &server.url())]);
    let lent = lease_for("lease-1", "canary-0123456789", bearer());
    for (grant_id, lent) in [("g-1", None), ("g-2", Some(&lent))] {
        let failure = rig.call_with("x", &grant(grant_id), lent, PATIENCE, b"{}").await.unwrap_err();
        assert!(matches!(&failure, Failure::Send(SendFailure::Denied(_))), "{failure:?}");
    }
    assert!(metadata.seen().is_empty());
}

#[test]
fn a_url_that_is_no_endpoint_is_refused_and_not_shown() {
    for (url, told) in [
        ("ftp://tickets.example.com/mcp", "not an `https`"),
        ("https://user@tickets.example.com/mcp", "user or password"),
        ("https://:canary@tickets.example.com/mcp", "user or password"),
        ("https://tickets.example.com/mcp#x", "fragment"),
        ("http://tickets.example.com/mcp", "without TLS"),
        ("http://10.0.0.1/mcp", "without TLS"),
        ("http://169.254.169.254/mcp", "without TLS"),
        ("http://[::ffff:10.0.0.1]/mcp", "without TLS"),
    ] {
        let faults = Downstreams::new(vec![at("x", url)], |_| {}).err().unwrap();
        let [SpecFault::Url { .. }] = faults.as_slice() else { panic!("{faults:?}") };
        assert!(faults[0].to_string().contains(told) && !faults[0].to_string().contains("canary"), "{faults:?}");
    }
    for url in
        ["http://127.0.0.1:1/", "http://127.9.0.1/", "http://[::1]/mcp", "http://localhost:8080/mcp", "https://10.0.0.1/mcp"]
    {
        assert!(Downstreams::new(vec![at("x", url)], |_| {}).is_ok(), "{url}");
    }
    let plain = with_http(at("x", "http://tickets.example.com/mcp"), |http| http.dangerous_plain_http = true);
    assert!(Downstreams::new(vec![plain], |_| {}).is_ok());
}
