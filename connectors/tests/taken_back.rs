//! What was lent ends: taken back by somebody, at once; because another one took its place, when nobody uses it any more.

use std::{path::Path, sync::Arc, time::Duration};

use bailiwick_pipeline::{
    grant::{GrantState, LiveGrant},
    ports::{ConnectFailure, Lease, SendFailure},
};
use serde_json::Value;

use crate::{
    discover::discover,
    kit::{Failure, PATIENCE, Rig, grant, is_there, lease, lease_for, spec, until, value},
    message::Answer,
    outward::bearer,
    server::{Seen, Server, Step, at, echo, legacy, modern},
    status::ChildState,
};

/// Nobody keeps what was lent: with its last user it is wiped.
#[tokio::test]
async fn what_was_lent_is_gone_from_memory_with_its_child_and_with_a_look() {
    for how in ["look", "grant", "taken back", "lent anew"] {
        let (rig, grant) = (Rig::of(&["echo"]), grant("g-1"));
        let lent = lease("first-0123456789", "first-0123456789");
        if how == "look" {
            discover(&spec("x", &["echo"]), Some(&lent)).await.unwrap();
        } else {
            rig.call_with("x", &grant, Some(&lent), PATIENCE, b"{}").await.unwrap();
            assert!(Arc::strong_count(&lent) > 1, "its child has it");
        }
        match how {
            "grant" => drop(grant.end(GrantState::Completed)),
            "taken back" => lent.take_back(),
            "lent anew" => {
                lent.end();
                rig.call_with("x", &grant, Some(&lease("second-0123456789", "second-0123456789")), PATIENCE, b"{}")
                    .await
                    .unwrap();
            }
            _ => {}
        }
        until(how, || Arc::strong_count(&lent) == 1).await;
    }
    for is_modern in [false, true] {
        let server = if is_modern { Server::new(modern(echo)).await } else { Server::new(legacy(echo)).await };
        let (rig, grant) = (Rig::new(vec![at("x", &server.url())]), grant("g-1"));
        let lent = lease_for("one", "secret-of-one", bearer());
        discover(&at("x", &server.url()), Some(&lent)).await.unwrap();
        until("looked at over HTTP", || Arc::strong_count(&lent) == 1).await;
        rig.call_with("x", &grant, Some(&lent), PATIENCE, b"{}").await.unwrap();
        grant.end(GrantState::Completed);
        until("the grant's end, over HTTP", || Arc::strong_count(&lent) == 1).await;
    }
}

type Called = tokio::task::JoinHandle<Result<Answer, Failure>>;

/// A server that answers once the file of its own secret's name is there.
fn waiting(dir: &Path) -> Arc<Rig> {
    Arc::new(Rig::of(&["once-told", dir.to_str().unwrap()]))
}

fn calling(rig: &Arc<Rig>, grant: &Arc<LiveGrant>, lease: &Arc<Lease>) -> Called {
    let (rig, grant, lease) = (Arc::clone(rig), Arc::clone(grant), Arc::clone(lease));
    tokio::spawn(async move { rig.call_with("x", &grant, Some(&lease), PATIENCE, b"{}").await })
}

fn closed(ended: Result<Answer, Failure>) -> String {
    match ended {
        Err(Failure::Send(SendFailure::Closed(why))) => why,
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_taken_back_ends_its_child_at_once_and_what_is_under_way_there() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, grant) = (waiting(dir.path()), grant("g-1"));
    let first = lease("first-0123456789", "first-0123456789");
    let call = calling(&rig, &grant, &first);
    until("the call is written", || rig.status("x").counts.calls == 1).await;
    let pid = rig.pid("x");
    first.take_back();
    assert_eq!(closed(call.await.unwrap()), "its credential was taken back");
    until("the child is gone", || !is_there(pid)).await;
    // Nobody starts one with it again, and whoever is lent another one need not wait for it.
    let failure = calling(&rig, &grant, &first).await.unwrap().unwrap_err();
    assert!(matches!(&failure, Failure::Connect(ConnectFailure::Start(why)) if why.contains("given back")), "{failure:?}");
    std::fs::write(dir.path().join("second-0123456789"), "").unwrap();
    calling(&rig, &grant, &lease("second-0123456789", "second-0123456789")).await.unwrap().unwrap();
    assert_eq!((rig.status("x").counts.starts, rig.status("x").counts.failures), (2, 0));
}

/// A child that is just being started has no session yet that somebody could end.
#[tokio::test]
async fn what_is_taken_back_while_its_child_starts_starts_nothing() {
    let (rig, grant) = (Arc::new(Rig::of(&["hang-handshake"])), grant("g-1"));
    let first = lease("first-0123456789", "first-0123456789");
    let call = calling(&rig, &grant, &first);
    until("the child is there", || rig.status("x").children.len() == 1).await;
    let pid = rig.pid("x");
    first.take_back();
    assert!(matches!(call.await.unwrap(), Err(Failure::Connect(_))));
    until("the child is gone", || !is_there(pid)).await;
}

#[tokio::test]
async fn what_is_taken_back_ends_the_session_over_http_that_it_came_to_later() {
    for is_modern in [false, true] {
        let hangs = |seen: &Seen| {
            if seen.header("authorization") == Some("Bearer secret-of-two") { vec![Step::Hang] } else { echo(seen) }
        };
        let server = if is_modern { Server::new(modern(hangs)).await } else { Server::new(legacy(hangs)).await };
        let (rig, grant) = (Arc::new(Rig::new(vec![at("x", &server.url())])), grant("g-1"));
        let lent = ["one", "two", "three"].map(|name| lease_for(name, &format!("secret-of-{name}"), bearer()));
        calling(&rig, &grant, &lent[0]).await.unwrap().unwrap();
        let call = calling(&rig, &grant, &lent[1]);
        until("the call is sent", || rig.status("x").counts.calls == 2).await;
        assert_eq!(rig.status("x").counts.starts, 1, "it goes in the same session");
        lent[1].take_back();
        rig.connectors.take_back(&"x".parse().unwrap(), &"g-1".parse().unwrap());
        assert_eq!(closed(call.await.unwrap()), "its credential was taken back");
        calling(&rig, &grant, &lent[2]).await.unwrap().unwrap();
        assert_eq!(rig.status("x").counts.starts, 2);
        // Late: it is neither sent, nor does it end what was begun since.
        assert!(calling(&rig, &grant, &lent[1]).await.unwrap().is_err());
        calling(&rig, &grant, &lent[2]).await.unwrap().unwrap();
        assert_eq!(rig.status("x").counts.starts, 2);
        let sent = |name: &str| {
            let header = format!("Bearer secret-of-{name}");
            let calls = server.seen().into_iter().filter(|seen| seen.rpc() == "tools/call");
            calls.filter(|seen| seen.header("authorization") == Some(&header)).count()
        };
        assert_eq!(["one", "two", "three"].map(sent), [1, 1, 2]);
    }
}

/// One that another took the place of is good until its last call is done: that one ends as it would have.
#[tokio::test]
async fn what_is_lent_anew_leaves_calls_alone_that_are_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let (rig, grant) = (waiting(dir.path()), grant("g-1"));
    let [first, second] = ["first-0123456789", "second-0123456789"].map(|name| lease(name, name));
    let call = calling(&rig, &grant, &first);
    until("the call is written", || rig.status("x").counts.calls == 1).await;
    let pid = rig.pid("x");
    // As a broker does it.
    first.end();
    std::fs::write(dir.path().join("second-0123456789"), "").unwrap();
    calling(&rig, &grant, &second).await.unwrap().unwrap();
    let states =
        || rig.status("x").children.into_iter().map(|child| (child.pid.unwrap() == pid, child.state)).collect::<Vec<_>>();
    let mut both = states();
    both.sort_by_key(|(is_first, _)| !is_first);
    assert_eq!(both, [(true, ChildState::Ending), (false, ChildState::Ready)]);
    // Whoever still comes with the first one does not end what the second one has.
    assert!(calling(&rig, &grant, &first).await.unwrap().is_err());
    assert_eq!((states().len(), rig.status("x").counts.starts), (2, 2));
    std::fs::write(dir.path().join("first-0123456789"), "").unwrap();
    let answer: Value = value(&call.await.unwrap().unwrap());
    assert!(answer["line"].is_string(), "{answer}");
    until("its child is gone", || !is_there(pid)).await;
    calling(&rig, &grant, &second).await.unwrap().unwrap();
    assert_eq!((rig.status("x").counts.starts, rig.status("x").counts.failures), (2, 0));
}

/// Where there is room for no more, the new one does not wait for the old one's calls.
#[tokio::test]
async fn at_the_most_children_what_is_lent_anew_takes_the_place() {
    let dir = tempfile::tempdir().unwrap();
    let only_one = crate::spec::ConnectorSpec {
        max_children: 1,
        kill_after: Duration::from_millis(300),
        ..spec("x", &["once-told", dir.path().to_str().unwrap()])
    };
    let (rig, grant) = (Arc::new(Rig::new(vec![only_one])), grant("g-1"));
    let [first, second] = ["first-0123456789", "second-0123456789"].map(|name| lease(name, name));
    let call = calling(&rig, &grant, &first);
    until("the call is written", || rig.status("x").counts.calls == 1).await;
    first.end();
    std::fs::write(dir.path().join("second-0123456789"), "").unwrap();
    calling(&rig, &grant, &second).await.unwrap().unwrap();
    assert!(closed(call.await.unwrap()).contains("its place was needed"));
}
