//! Children end when they must, with everything they started.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bailiwick_pipeline::{
    grant::GrantState,
    ports::{ConnectFailure, SendFailure},
};

use crate::{
    kit::{Failure, HOSTILE, Rig, grant, grant_under, is_there, runs, spec, until, with},
    spec::ConnectorSpec,
    status::ConnectorEvent,
};

fn stubborn(kill_after: Duration) -> ConnectorSpec {
    // What a shell ignores, its successor ignores.
    let command = ["/bin/sh", "-c", &format!("trap '' TERM; exec {HOSTILE} ok")].map(str::to_owned).to_vec();
    ConnectorSpec { kill_after, ..ConnectorSpec::process("x".parse().unwrap(), command) }
}

fn pid_in(dir: &Path, name: &str) -> Option<u32> {
    std::fs::read_to_string(dir.join(name)).ok()?.parse().ok()
}

#[tokio::test]
async fn the_end_of_a_grant_ends_its_child_within_a_second_and_no_other() {
    // What is slow by itself is slow each time; a machine that was busy for a moment is not.
    let (mut took, mut last) = (Duration::MAX, None);
    for _ in 0..5 {
        let rig = Rig::of(&["ok"]);
        let (one, two) = (grant("g-1"), grant("g-2"));
        rig.result("x", &one).await;
        let first = rig.pid("x");
        rig.result("x", &two).await;
        one.end(GrantState::Revoked);
        took = took.min(until("the child is gone", || !is_there(first)).await);
        last = Some((rig, one, two, first));
        if took < Duration::from_secs(1) {
            break;
        }
    }
    assert!(took < Duration::from_secs(1), "{took:?}");
    let (rig, one, two, first) = last.unwrap();
    rig.result("x", &two).await;
    assert!(matches!(rig.call("x", &one).await, Err(Failure::Connect(ConnectFailure::Start(_)))));
    until("its end is told", || {
        rig.events().iter().any(|event| matches!(event, ConnectorEvent::Ended { pid, wanted: true, .. } if *pid == Some(first)))
    })
    .await;
    assert_eq!(rig.status("x").counts.failures, 0);
}

#[tokio::test]
async fn the_end_of_a_parent_grant_ends_the_children_of_its_children() {
    let (rig, parent) = (Rig::of(&["ok"]), grant("g-1"));
    let child = grant_under("g-2", Some(Arc::clone(&parent)));
    rig.result("x", &child).await;
    parent.end(GrantState::Completed);
    until("the child is gone", || rig.status("x").children.is_empty()).await;
    assert!(matches!(rig.call("x", &child).await, Err(Failure::Connect(ConnectFailure::Start(_)))));
}

#[tokio::test]
async fn a_call_in_flight_stops_when_its_grant_ends() {
    let mut least = Duration::MAX;
    // As above.
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let (rig, grant) = (Arc::new(Rig::of(&["hang-call", dir.path().join("c").to_str().unwrap()])), grant("g-1"));
        let call = tokio::spawn({
            let (rig, grant) = (Arc::clone(&rig), Arc::clone(&grant));
            async move { rig.call("x", &grant).await }
        });
        until("the call is written", || rig.status("x").counts.calls == 1).await;
        let begun = Instant::now();
        grant.end(GrantState::Revoked);
        assert!(matches!(call.await.unwrap(), Err(Failure::Send(SendFailure::Closed(_)))));
        least = least.min(begun.elapsed());
        if least < Duration::from_millis(500) {
            break;
        }
    }
    assert!(least < Duration::from_millis(500), "{least:?}");
}

#[tokio::test]
async fn a_child_that_ignores_the_request_is_killed() {
    let (rig, grant) = (Rig::new(vec![stubborn(Duration::from_millis(500))]), grant("g-1"));
    rig.result("x", &grant).await;
    let pid = rig.pid("x");
    grant.end(GrantState::Revoked);
    let took = until("the child is gone", || !is_there(pid)).await;
    assert!(took >= Duration::from_millis(400), "{took:?}");
}

#[tokio::test]
async fn everything_a_child_started_ends_with_it() {
    let dir = tempfile::tempdir().unwrap();
    for launcher in [Vec::new(), vec![HOSTILE.to_owned(), "exec-child".to_owned(), "--".to_owned()]] {
        let folder = dir.path().join(launcher.len().to_string());
        std::fs::create_dir(&folder).unwrap();
        let (rig, grant) = (
            Rig::new(vec![with(spec("x", &["family", folder.to_str().unwrap()]), |child| child.launcher = launcher)]),
            grant("g-1"),
        );
        rig.result("x", &grant).await;
        let mut pids = Vec::new();
        for name in ["plain", "session", "orphan"] {
            until("it has started", || pid_in(&folder, name).is_some_and(runs)).await;
            pids.extend(pid_in(&folder, name));
        }
        pids.push(rig.pid("x"));
        grant.end(GrantState::Completed);
        until("all are gone", || !pids.iter().any(|pid| runs(*pid))).await;
    }
}

#[tokio::test]
async fn a_reissued_grant_gets_a_child_of_its_own() {
    let rig = Rig::new(vec![ConnectorSpec { idle_after: Duration::from_millis(200), ..spec("x", &["ok"]) }]);
    let old = grant("g-1");
    rig.result("x", &old).await;
    let first = rig.pid("x");
    old.end(GrantState::Expired);
    let new = grant("g-1");
    rig.result("x", &new).await;
    until("the old child is gone", || rig.status("x").children.len() == 1).await;
    assert!(!is_there(first));
    let second = rig.pid("x");
    for _ in 0..20 {
        rig.result("x", &new).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(rig.pid("x"), second);
}

#[tokio::test]
async fn a_child_that_nobody_uses_is_ended_and_started_again_when_needed() {
    let idle = ConnectorSpec { idle_after: Duration::from_millis(100), ..spec("x", &["ok"]) };
    let (rig, grant) = (Rig::new(vec![idle]), grant("g-1"));
    rig.result("x", &grant).await;
    until("the child is gone", || rig.status("x").children.is_empty()).await;
    rig.result("x", &grant).await;
    let counts = rig.status("x").counts;
    assert_eq!((counts.starts, counts.failures, counts.restarts), (2, 0, 0));
}

#[tokio::test]
async fn shutdown_leaves_nothing_and_starts_nothing() {
    let rig =
        Rig::new(vec![spec("x", &["ok"]), ConnectorSpec { id: "y".parse().unwrap(), ..stubborn(Duration::from_millis(300)) }]);
    let grant = grant("g-1");
    rig.result("x", &grant).await;
    rig.result("y", &grant).await;
    let pids = [rig.pid("x"), rig.pid("y")];
    rig.connectors.shutdown().await;
    assert!(!pids.iter().any(|pid| is_there(*pid)));
    assert!(matches!(rig.call("x", &grant).await, Err(Failure::Connect(ConnectFailure::Start(_)))));
}

#[tokio::test]
async fn no_child_outlives_its_connectors() {
    let (rig, grant) = (Rig::of(&["ok"]), grant("g-1"));
    rig.result("x", &grant).await;
    let pid = rig.pid("x");
    drop(rig);
    until("the child is gone", || !is_there(pid)).await;
}

#[tokio::test]
async fn no_child_outlives_a_gateway_that_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let noted = dir.path().join("child");
    // A shell stands for the gateway: it starts the child through the launcher, and is killed.
    let script = format!("{HOSTILE} exec-child --parent $$ -- {HOSTILE} sleep {} & wait", noted.display());
    let mut gateway = std::process::Command::new("/bin/sh").args(["-c", &script]).spawn().unwrap();
    until("the child runs", || pid_in(dir.path(), "child").is_some_and(runs)).await;
    let child = pid_in(dir.path(), "child").unwrap();
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    until("the child is gone", || !runs(child)).await;
}

#[tokio::test]
async fn other_specs_end_the_children_of_what_changed_or_is_gone_and_of_nothing_else() {
    let rig = Rig::new(vec![spec("kept", &["ok"]), spec("changed", &["ok"]), spec("gone", &["ok"])]);
    let grant = grant("g-1");
    for connector in ["kept", "changed", "gone"] {
        rig.result(connector, &grant).await;
    }
    let [kept, changed, gone] = ["kept", "changed", "gone"].map(|connector| rig.pid(connector));
    let other = with(spec("changed", &["ok"]), |process| process.env = [("A".to_owned(), "b".to_owned())].into());
    let replaced = rig.connectors.replace(vec![spec("kept", &["ok"]), other, spec("new", &["ok"])]).unwrap();
    let id = |name: &str| vec![name.parse().unwrap()];
    let wanted = crate::stdio::Replaced { added: id("new"), changed: id("changed"), removed: id("gone"), kept: id("kept") };
    assert_eq!(replaced, wanted);
    until("the children are gone", || !is_there(changed) && !is_there(gone)).await;
    rig.result("kept", &grant).await;
    assert_eq!((rig.pid("kept"), rig.status("kept").counts.calls), (kept, 2), "it keeps its child and its counters");
    rig.result("changed", &grant).await;
    rig.result("new", &grant).await;
    assert_ne!(rig.pid("changed"), changed);
    assert!(
        matches!(rig.call("gone", &grant).await, Err(Failure::Connect(ConnectFailure::Start(why))) if why.contains("not configured"))
    );
    until("the ends are told", || {
        let whys = rig.events().into_iter().filter_map(|event| match event {
            ConnectorEvent::Ended { why, wanted: true, .. } => Some(why),
            _ => None,
        });
        let whys: Vec<String> = whys.collect();
        ["its configuration changed", "it is no longer configured"].iter().all(|why| whys.iter().any(|told| told == why))
    })
    .await;
}

#[tokio::test]
async fn faulty_specs_replace_nothing() {
    let rig = Rig::of(&["ok"]);
    let grant = grant("g-1");
    rig.result("x", &grant).await;
    let child = rig.pid("x");
    let nothing = ConnectorSpec::process("y".parse().unwrap(), Vec::new());
    assert_eq!(rig.connectors.replace(vec![nothing, spec("z", &["ok"]), spec("z", &["ok"])]).unwrap_err().len(), 2);
    rig.result("x", &grant).await;
    assert_eq!(rig.pid("x"), child);
}

#[tokio::test]
async fn a_call_in_flight_hears_that_its_connector_was_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let rig = Arc::new(Rig::of(&["hang-call", dir.path().join("c").to_str().unwrap()]));
    let calling = Arc::clone(&rig);
    let call = tokio::spawn(async move { calling.call("x", &grant("g-1")).await });
    until("it is in flight", || rig.status("x").counts.calls == 1).await;
    rig.connectors.replace(Vec::new()).unwrap();
    let Err(failure) = call.await.unwrap() else { panic!("it was answered") };
    assert!(matches!(&failure, Failure::Send(SendFailure::Closed(why)) if why.contains("no longer configured")), "{failure:?}");
}
