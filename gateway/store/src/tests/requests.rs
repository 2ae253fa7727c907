//! What agents ask for beyond their grants, and what people add to them: kept, bounded, and gone when its time is over.

use std::sync::Arc;

use bailiwick_pipeline::{
    grant::{Extension, Grant, MOST_EXTENSIONS, Meant},
    ids::GrantId,
    ports::Grants as _,
};
use bailiwick_policy::{Band, Kind};
use bailiwick_schemas::canonical::Digest;

use super::{MINUTE, NOW, crashed, folder, open, tamper, terms};
use crate::{
    AccessRequest, AccessRequests, EndAs, GrantFault, GrantingFault, LiveGrants, RequestEnd, RequestFault, RequestState,
    RequestWanted, Store, StoreFault, WriteFault,
};

const COOL_DOWN: u64 = 10 * MINUTE;

fn wanted(grant: &str, tools: &[&str]) -> RequestWanted {
    RequestWanted {
        grant: grant.parse().unwrap(),
        grant_revision: 1,
        agent: "bot".parse().unwrap(),
        tools: tools.iter().map(|tool| tool.parse().unwrap()).collect(),
        reason: "because".to_owned(),
        for_ms: Some(MINUTE),
        call: "c1".parse().unwrap(),
    }
}

fn end(at_ms: u64) -> RequestEnd {
    RequestEnd { by: Some("ann".to_owned()), at_ms, reason: Some("why".to_owned()), until_ms: None }
}

fn added(tool: &str, until_ms: Option<u64>) -> Extension {
    let (request, by) = ("req-1".parse().unwrap(), "ann".to_owned());
    let meant = Some(Meant { kind: Kind::Read, band: Band::Low, pin: Digest::of(b"definition") });
    Extension { tool: tool.parse().unwrap(), until_ms, request, by, at_ms: NOW, meant }
}

async fn granted(store: &Store) -> (LiveGrants, GrantId) {
    let grants = LiveGrants::load(store, &[]).unwrap();
    let grant = grants.create(terms("g", "bot"), NOW).await.unwrap();
    (grants, grant.terms().id.clone())
}

fn tools(grants: &LiveGrants, id: &GrantId) -> Vec<String> {
    grants.by_id(id).unwrap().extended().extensions.iter().map(|extension| extension.tool.to_string()).collect()
}

#[tokio::test]
async fn few_wait_and_a_no_stands() {
    let data = folder();
    let requests = AccessRequests::load(&open(&data)).unwrap();
    let mut asked = Vec::new();
    for tool in ["a__1", "a__2", "a__3"] {
        asked.push(requests.ask(wanted("g", &[tool]), COOL_DOWN, NOW).await.unwrap());
    }
    assert_eq!(requests.ask(wanted("g", &["a__4"]), COOL_DOWN, NOW).await, Err(RequestFault::TooMany(3)));
    requests.ask(wanted("other", &["a__4"]), COOL_DOWN, NOW).await.unwrap();
    let same = |tools: &[&str], revision| requests.same((&"g".parse().unwrap(), revision), &wanted("g", tools).tools);
    assert_eq!(same(&["a__1"], 1).as_ref(), asked.first());
    assert_eq!((same(&["a__1", "a__2"], 1), same(&["a__1"], 2)), (None, None));
    let denied = requests.decide(&asked[0].id, RequestState::Denied, end(NOW)).await.unwrap();
    assert_eq!((denied.state, denied.end.as_ref().and_then(|end| end.by.as_deref())), (RequestState::Denied, Some("ann")));
    let again = requests.decide(&asked[0].id, RequestState::Granted, end(NOW)).await;
    assert!(matches!(again, Err(RequestFault::Decided { state: RequestState::Denied, .. })), "{again:?}");
    let left = |now| requests.may_ask(&"g".parse().unwrap(), COOL_DOWN, now);
    assert_eq!(left(NOW + COOL_DOWN - 1), Err(RequestFault::TooSoon { left_ms: 1 }));
    assert_eq!(left(NOW + COOL_DOWN), Ok(()));
}

#[tokio::test]
async fn requests_survive_a_crash_and_end_with_their_grant() {
    let data = folder();
    let store = open(&data);
    let requests = AccessRequests::load(&store).unwrap();
    let [one, two] = [
        requests.ask(wanted("g", &["a__1"]), COOL_DOWN, NOW).await.unwrap(),
        requests.ask(wanted("gone", &["a__1"]), COOL_DOWN, NOW).await.unwrap(),
    ];
    requests.sweep(NOW + 1, |grant, issue| grant.as_str() == "g" && issue == 1).await.unwrap();
    let copy = crashed(&data);
    let again = AccessRequests::load(&open(&copy)).unwrap();
    assert_eq!((again.list(false), again.get(one.id.as_str())), (vec![one.clone()], Ok(one.clone())));
    let lapsed: AccessRequest = again.get(two.id.as_str()).unwrap();
    assert_eq!((lapsed.state, lapsed.end.and_then(|end| end.by)), (RequestState::Lapsed, None));
    assert!(matches!(again.get("nonsense!"), Err(RequestFault::Unknown(_))));
    // Another issue of the same grant is another task.
    again.sweep(NOW + 2, |_, issue| issue == 2).await.unwrap();
    assert!(again.list(false).is_empty());
    let later = NOW + 31 * 24 * 60 * MINUTE;
    again.sweep(later, |_, _| true).await.unwrap();
    assert!(again.list(true).is_empty());
}

#[tokio::test]
async fn one_who_asks_for_ever_is_remembered_in_part() {
    let data = folder();
    let requests = AccessRequests::load(&open(&data)).unwrap();
    for round in 0..40 {
        let asked = requests.ask(wanted("g", &["a__1"]), 0, NOW + round).await.unwrap();
        requests.decide(&asked.id, RequestState::Denied, end(NOW + round)).await.unwrap();
    }
    assert_eq!(requests.list(true).len(), 20);
    drop(requests);
    assert_eq!(AccessRequests::load(&open(&data)).unwrap().list(true).len(), 20);
}

#[tokio::test]
async fn a_request_that_can_not_be_stored_is_not_there() {
    let data = folder();
    let store = open(&data);
    let requests = AccessRequests::load(&store).unwrap();
    tamper(data.path(), "CREATE TRIGGER no BEFORE INSERT ON access_requests BEGIN SELECT RAISE(ABORT, 'full'); END");
    let refused = requests.ask(wanted("g", &["a__1"]), COOL_DOWN, NOW).await;
    assert!(matches!(refused, Err(RequestFault::Write(WriteFault::Conflict(_)))), "{refused:?}");
    assert!(requests.list(true).is_empty());
}

/// Killed between the two, a request that still waits would have given what somebody may yet deny.
#[tokio::test]
async fn a_yes_and_what_it_adds_are_stored_both_or_neither() {
    let data = folder();
    let store = open(&data);
    let (grants, id) = granted(&store).await;
    let requests = AccessRequests::load(&store).unwrap();
    let asked = requests.ask(wanted("g", &["a__1"]), COOL_DOWN, NOW).await.unwrap();
    let states = |data: &std::path::Path| {
        let requests = AccessRequests::load(&Store::open(data).unwrap()).unwrap();
        requests.get(asked.id.as_str()).unwrap().state
    };
    tamper(data.path(), "CREATE TRIGGER no BEFORE INSERT ON access_requests BEGIN SELECT RAISE(ABORT, 'full'); END");
    assert!(requests.grant(&asked.id, end(NOW), vec![added("a__1", None)], &grants).await.is_err());
    assert_eq!((tools(&grants, &id).len(), requests.get(asked.id.as_str()).unwrap().state), (0, RequestState::Pending));
    let after = crashed(&data);
    assert!(tools(&LiveGrants::load(&open(&after), &[]).unwrap(), &id).is_empty());
    assert_eq!(states(after.path()), RequestState::Pending);
    tamper(data.path(), "DROP TRIGGER no");
    let (granted, extended) = requests.grant(&asked.id, end(NOW), vec![added("a__1", None)], &grants).await.unwrap();
    assert_eq!((granted.state, extended.extended().extensions.len()), (RequestState::Granted, 1));
    let after = crashed(&data);
    assert_eq!(tools(&LiveGrants::load(&open(&after), &[]).unwrap(), &id), ["a__1"]);
    assert_eq!(states(after.path()), RequestState::Granted);
    let again = requests.grant(&asked.id, end(NOW), vec![added("a__2", None)], &grants).await;
    assert!(matches!(again, Err(GrantingFault::Request(RequestFault::Decided { .. }))));
    assert_eq!(tools(&grants, &id), ["a__1"]);
}

#[tokio::test]
async fn what_is_added_survives_a_crash_with_its_revision() {
    let data = folder();
    let store = open(&data);
    let (grants, id) = granted(&store).await;
    let token_revision = grants.by_id(&id).unwrap().terms().revision;
    grants.extend(&id, vec![added("a__1", None), added("a__2", Some(NOW + MINUTE))], NOW).await.unwrap();
    grants.extend(&id, vec![added("a__1", Some(NOW + 2 * MINUTE))], NOW).await.unwrap();
    assert_eq!(tools(&grants, &id), ["a__2", "a__1"], "what was there of a tool gives way");
    assert_eq!(grants.by_id(&id).unwrap().revision(), 3);
    let again = LiveGrants::load(&open(&crashed(&data)), &[]).unwrap();
    let live = again.by_id(&id).unwrap();
    assert_eq!((tools(&again, &id), live.revision(), live.terms().revision), (tools(&grants, &id), 3, token_revision));
    let (ended, stored) = again.narrow(NOW + MINUTE, &|_, _| true);
    stored.await.unwrap();
    let ended: Vec<String> = ended.iter().flat_map(|(_, gone)| gone.iter().map(|extension| extension.tool.to_string())).collect();
    assert_eq!((ended, tools(&again, &id), live.revision()), (vec!["a__2".to_owned()], vec!["a__1".to_owned()], 4));
    let (ended, stored) = again.narrow(NOW + MINUTE, &|_, _| false);
    stored.await.unwrap();
    assert_eq!((ended.len(), tools(&again, &id)), (1, Vec::<String>::new()));
    assert!(again.narrow(NOW + MINUTE, &|_, _| true).0.is_empty(), "told once");
}

/// What ended by itself as a call looked at it is told and stored too.
#[tokio::test]
async fn what_ended_on_the_way_of_a_call_is_stored() {
    let data = folder();
    let store = open(&data);
    let (grants, id) = granted(&store).await;
    grants.extend(&id, vec![added("a__1", Some(NOW + MINUTE))], NOW).await.unwrap();
    grants.by_id(&id).unwrap().end_extensions(NOW + MINUTE);
    assert_eq!(tools(&grants, &id), Vec::<String>::new());
    let (ended, stored) = grants.narrow(NOW + MINUTE, &|_, _| true);
    stored.await.unwrap();
    assert_eq!(ended.len(), 1);
    let again = LiveGrants::load(&open(&crashed(&data)), &[]).unwrap();
    assert_eq!((tools(&again, &id), again.by_id(&id).unwrap().revision()), (Vec::new(), 3));
}

#[tokio::test]
async fn what_has_ended_is_not_extended_and_there_is_an_end_of_it() {
    let data = folder();
    let store = open(&data);
    let (grants, id) = granted(&store).await;
    let many = (0..=MOST_EXTENSIONS).map(|number| added(&format!("a__{number}"), None)).collect();
    assert!(matches!(grants.extend(&id, many, NOW).await, Err(GrantFault::TooLong { what: "extensions", .. })));
    assert!(tools(&grants, &id).is_empty());
    tamper(data.path(), "CREATE TRIGGER no BEFORE INSERT ON grant_extensions BEGIN SELECT RAISE(ABORT, 'full'); END");
    assert!(matches!(grants.extend(&id, vec![added("a__1", None)], NOW).await, Err(GrantFault::Write(_))));
    assert!(tools(&grants, &id).is_empty(), "what can't be stored is taken back");
    tamper(data.path(), "DROP TRIGGER no");
    grants.end(&id, EndAs::Revoked, "ann", None, NOW).await.unwrap();
    assert!(matches!(grants.extend(&id, vec![added("a__1", None)], NOW).await, Err(GrantFault::NotExtendable(_))));
    assert!(matches!(grants.extend(&"x".parse().unwrap(), Vec::new(), NOW).await, Err(GrantFault::Unknown(_))));
}

/// A grant of the configuration that stays as it is keeps what was added; issued anew it begins without, and beyond each revision before.
#[tokio::test]
async fn another_issue_of_a_grant_has_nothing_of_what_was_added() {
    let data = folder();
    let store = open(&data);
    let grants = LiveGrants::load(&store, &[]).unwrap();
    let id: GrantId = "g".parse().unwrap();
    grants.sync_config(vec![terms("g", "bot")], NOW).await.unwrap();
    grants.extend(&id, vec![added("a__1", None)], NOW).await.unwrap();
    grants.sync_config(vec![terms("g", "bot")], NOW + 1).await.unwrap();
    assert_eq!(tools(&grants, &id), ["a__1"]);
    let old = grants.by_id(&id).unwrap();
    grants.sync_config(vec![Grant { purpose: "another".to_owned(), ..terms("g", "bot") }], NOW + 2).await.unwrap();
    let new = grants.by_id(&id).unwrap();
    assert!(!Arc::ptr_eq(&old, &new) && new.terms().revision > old.revision());
    assert_eq!((tools(&grants, &id), new.revision()), (Vec::new(), new.terms().revision));
    let again = LiveGrants::load(&open(&crashed(&data)), &[]).unwrap();
    assert!(tools(&again, &id).is_empty());
}

#[tokio::test]
async fn a_store_of_the_version_before_is_raised() {
    let data = folder();
    drop(open(&data));
    tamper(data.path(), "DROP TABLE access_requests; DROP TABLE grant_extensions; PRAGMA user_version = 3");
    let store = open(&data);
    let requests = AccessRequests::load(&store).unwrap();
    requests.ask(wanted("g", &["a__1"]), COOL_DOWN, NOW).await.unwrap();
    let (grants, id) = granted(&store).await;
    grants.extend(&id, vec![added("a__1", None)], NOW).await.unwrap();
}

/// What can't be read is not taken for nothing.
#[tokio::test]
async fn what_can_not_be_read_is_a_fault() {
    for sql in [
        "INSERT INTO access_requests VALUES ('req-1', '{}')",
        "INSERT INTO grant_extensions VALUES ('g', 1, '{\"revision\":2}')",
        "INSERT INTO grant_extensions VALUES ('g', -1, '{\"revision\":2,\"extensions\":[]}')",
    ] {
        let data = folder();
        drop(open(&data));
        tamper(data.path(), sql);
        let store = open(&data);
        let faults = [AccessRequests::load(&store).err(), LiveGrants::load(&store, &[]).err()];
        assert!(faults.iter().flatten().all(|fault| matches!(fault, StoreFault::Row { .. })), "{sql}: {faults:?}");
        assert_eq!(faults.iter().flatten().count(), 1, "{sql}");
    }
}
