use std::sync::Arc;

use bailiwick_pipeline::halts::{Halt, Halts};

use super::{NOW, agents, entries, folder, open, tamper};
use crate::{Agents, DisabledAgents, LiveHalts, Stopped, StoreFault};

fn halt(text: &str) -> Halt {
    text.parse().unwrap()
}

fn because(reason: &str) -> Stopped {
    Stopped { since_ms: NOW, by: "ada".to_owned(), reason: Some(reason.to_owned()) }
}

#[tokio::test]
async fn a_halt_is_in_force_at_once_and_after_a_restart_until_it_is_lifted() {
    let data = folder();
    for text in ["everything", "agent:a", "instance:a/pod 1", "connector:c", "tool:c__t"] {
        let store = open(&data);
        let halts = Arc::new(Halts::default());
        let live = LiveHalts::load(&store, Arc::clone(&halts)).unwrap();
        let (is_new, stored) = live.stop(&halt(text), because("a"));
        assert_eq!((is_new, halts.in_force()), (true, vec![halt(text)]));
        stored.await.unwrap();
        let (is_new, stored) = live.stop(&halt(text), because("b"));
        assert!(!is_new);
        stored.await.unwrap();
        drop((live, store));
        let store = open(&data);
        let halts = Arc::new(Halts::default());
        let live = LiveHalts::load(&store, Arc::clone(&halts)).unwrap();
        assert_eq!(halts.in_force(), [halt(text)]);
        assert_eq!(live.list(), [(halt(text), because("a"))], "who stopped it first, and why");
        assert!(live.go_on(&halt(text)).await.unwrap() && !live.go_on(&halt(text)).await.unwrap());
        assert_eq!(halts.in_force(), []);
        drop((live, store));
        let store = open(&data);
        assert_eq!(LiveHalts::load(&store, Arc::default()).unwrap().list(), []);
    }
}

/// What is stopped anew while somebody lets it go on stays stopped, in memory and on disk.
#[tokio::test]
async fn who_stops_it_last_is_obeyed() {
    let data = folder();
    let store = open(&data);
    let halts = Arc::new(Halts::default());
    let live = LiveHalts::load(&store, Arc::clone(&halts)).unwrap();
    live.stop(&Halt::Everything, because("a")).1.await.unwrap();
    let mut going_on = Box::pin(live.go_on(&Halt::Everything));
    // Its change is queued when it is first polled.
    tokio::select! {
        biased;
        _ = &mut going_on => panic!("nothing is written so soon"),
        () = std::future::ready(()) => {}
    }
    let (_, stored) = live.stop(&Halt::Everything, because("b"));
    going_on.await.unwrap();
    stored.await.unwrap();
    assert_eq!(halts.in_force(), [Halt::Everything]);
    drop((live, store));
    assert_eq!(LiveHalts::load(&open(&data), Arc::default()).unwrap().list().len(), 1);
}

#[tokio::test]
async fn a_disabled_agent_stays_so_whatever_is_configured_until_it_is_enabled() {
    let data = folder();
    let store = open(&data);
    let registered = agents();
    let id = "bot".parse().unwrap();
    let live = DisabledAgents::load(&store, Arc::clone(&registered)).unwrap();
    let is_disabled = |agents: &Agents| agents.agent(&id).unwrap().disabled;
    assert!(!is_disabled(&registered));
    live.stop(&id, because("x")).1.await.unwrap();
    assert!(is_disabled(&registered));
    registered.set(entries());
    assert!(is_disabled(&registered), "another configuration does not enable it");
    drop((live, store));
    let store = open(&data);
    let registered = agents();
    let live = DisabledAgents::load(&store, Arc::clone(&registered)).unwrap();
    assert!(is_disabled(&registered));
    assert!(live.go_on(&id).await.unwrap());
    assert!(!is_disabled(&registered));
}

#[tokio::test]
async fn a_store_of_the_version_before_is_raised() {
    let data = folder();
    drop(open(&data));
    tamper(
        data.path(),
        "ALTER TABLE grants DROP COLUMN spent; DROP TABLE halts; DROP TABLE disabled_agents; PRAGMA user_version = 2",
    );
    let store = open(&data);
    let live = LiveHalts::load(&store, Arc::default()).unwrap();
    live.stop(&Halt::Everything, because("a")).1.await.unwrap();
    assert_eq!(live.list().len(), 1);
}

/// What can't be read is not taken for nothing.
#[tokio::test]
async fn a_halt_that_can_not_be_read_is_a_fault() {
    let data = folder();
    drop(open(&data));
    tamper(data.path(), "INSERT INTO halts VALUES ('planet:earth', 1, 'x', NULL)");
    let fault = LiveHalts::load(&open(&data), Arc::default()).unwrap_err();
    assert!(matches!(fault, StoreFault::Row { table: "halts", .. }), "{fault}");
}
