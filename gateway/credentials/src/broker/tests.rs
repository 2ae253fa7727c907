//! What is lent of secrets that stand for ever: to whom, and until when.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt};

use secrecy::ExposeSecret;

use super::{kit::*, *};
use crate::Standing;

fn house() -> House {
    let env = variables(&[("TICKETS", CANARY), ("FILES", "another-0123456789"), ("SHORT", "abc")]);
    House::of([
        ("tickets", from_env("TICKETS", &env)),
        ("files", from_env("FILES", &env)),
        ("absent", from_env("NOT_SET", &env)),
        ("short", from_env("SHORT", &env)),
    ])
}

fn secret(loan: &Loan) -> &str {
    loan.lease.secrets().first().unwrap().expose_secret()
}

#[tokio::test]
async fn a_lease_is_for_one_grant_and_one_connector_and_lent_anew_once() {
    let house = house();
    let (one, two) = (grant("g-1", 1, 1000, None), grant("g-2", 1, 500, None));
    let first = house.lend(&one, "tickets").await;
    assert!(first.fresh);
    assert_eq!(secret(&first), CANARY);
    assert_eq!((first.lease.provider, first.lease.reference.as_str()), ("env", "TICKETS"));
    let (name, value) = first.lease.variables().unwrap().first().unwrap();
    assert_eq!((name.as_str(), value.expose_secret()), ("TOKEN", CANARY));
    assert_eq!(first.lease.expires_at_ms(), 1000);
    let again = house.lend(&one, "tickets").await;
    assert!(!again.fresh && Arc::ptr_eq(&first.lease, &again.lease));
    let ids = [&first, &house.lend(&two, "tickets").await, &house.lend(&one, "files").await].map(|loan| loan.lease.id.clone());
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 3);
    assert!(ids.iter().all(|id| id.len() == 38 && id.starts_with("lease-")), "{ids:?}");
}

#[tokio::test]
async fn what_a_task_was_lent_is_known_for_as_long_as_it_is_lent() {
    let house = house();
    let (one, two) = (grant("g-1", 1, 1000, None), grant("g-2", 1, 1000, None));
    for connector in ["tickets", "files"] {
        house.lend(&one, connector).await;
    }
    let lent = |grant: &LiveGrant| house.broker.lent(grant).into_iter().map(|(of, _)| of.to_string()).collect::<BTreeSet<_>>();
    assert_eq!(lent(&one), ["files".to_owned(), "tickets".to_owned()].into());
    assert!(lent(&two).is_empty());
    assert!(house.broker.take_back(&house.lend(&one, "files").await.lease.id, "a test"));
    assert_eq!(lent(&one), ["tickets".to_owned()].into());
}

#[tokio::test]
async fn a_connector_that_needs_nothing_gets_nothing() {
    assert!(house().try_lend(&grant("g-1", 1, 1000, None), "shop", Access::Write).await.unwrap().is_none());
}

#[tokio::test]
async fn a_lease_is_never_longer_than_the_grant_or_its_ancestors() {
    let parent = grant("g-1", 1, 300, None);
    let child = grant("g-2", 1, 1000, Some(Arc::clone(&parent)));
    assert_eq!(house().lend(&child, "tickets").await.lease.expires_at_ms(), 300);
}

#[tokio::test]
async fn nothing_is_lent_for_a_grant_that_is_not_live() {
    let house = house();
    let expired = grant("g-1", 1, 10, None);
    let revoked = grant("g-2", 1, 1000, None);
    ended(&revoked);
    let parent = grant("g-3", 1, 1000, None);
    let child = grant("g-4", 1, 1000, Some(Arc::clone(&parent)));
    house.lend(&child, "tickets").await;
    ended(&parent);
    for grant in [&expired, &revoked, &child] {
        let failure = house.denied(grant, "tickets").await;
        assert!(failure.contains("is not live"), "{failure}");
    }
}

#[tokio::test]
async fn a_thousand_calls_share_one_lease() {
    let (house, grant) = (Arc::new(house()), grant("g-1", 1, 1000, None));
    let tasks: Vec<_> = (0..1000)
        .map(|_| {
            let (house, grant) = (Arc::clone(&house), Arc::clone(&grant));
            tokio::spawn(async move { house.lend(&grant, "tickets").await })
        })
        .collect();
    let mut ids = BTreeSet::new();
    let mut fresh = 0;
    for task in tasks {
        let loan = task.await.unwrap();
        ids.insert(loan.lease.id.clone());
        fresh += usize::from(loan.fresh);
    }
    assert_eq!((ids.len(), fresh), (1, 1));
}

#[tokio::test]
async fn what_is_returned_is_forgotten() {
    let (house, one, two) = (house(), grant("g-1", 1, 1000, None), grant("g-2", 1, 1000, None));
    let first = house.lend(&one, "tickets").await;
    let other = house.lend(&two, "tickets").await;
    let weak = Arc::downgrade(&first.lease);
    drop(first);
    house.broker.returned(&one.terms().id, "it ended");
    assert_eq!(*house.books.events.lock().unwrap(), [("returned".to_owned(), "it ended".to_owned())]);
    assert!(weak.upgrade().is_none(), "the secret outlives its grant");
    house.broker.returned(&one.terms().id, "it ended");
    assert_eq!(house.books.words().len(), 1, "once");
    assert_eq!(house.books.open(), 0, "what no issuer gave is not for it to take back");
    assert!(Arc::ptr_eq(&house.lend(&two, "tickets").await.lease, &other.lease));
    assert!(house.lend(&one, "tickets").await.fresh);
}

#[tokio::test]
async fn a_reissued_grant_gets_a_lease_of_its_own() {
    let house = house();
    let (old, new) = (grant("g-1", 1, 1000, None), grant("g-1", 2, 1000, None));
    let before = house.lend(&old, "tickets").await;
    let after = house.lend(&new, "tickets").await;
    assert!(after.fresh && after.lease.id != before.lease.id);
}

#[tokio::test]
async fn a_grant_that_is_gone_leaves_nothing_behind() {
    let house = house();
    let weak = Arc::downgrade(&house.lend(&grant("g-1", 1, 1000, None), "tickets").await.lease);
    house.lend(&grant("g-2", 1, 1000, None), "tickets").await;
    for number in 0..SWEEP_FROM {
        house.lend(&grant(&format!("g-x{number}"), 1, 1000, None), "tickets").await;
    }
    assert!(weak.upgrade().is_none());
}

#[tokio::test]
async fn a_missing_variable_is_named_with_its_connector() {
    let house = house();
    let failure = house.try_lend(&grant("g-1", 1, 1000, None), "absent", Access::Read).await.unwrap_err();
    assert_eq!((failure.connector, failure.reference.as_str()), (id("absent"), "NOT_SET"));
    assert!(failure.why.contains("`NOT_SET` was not set"), "{}", failure.why);
    assert!(house.broker.try_out(&id("absent")).await.is_err());
    assert!(house.broker.try_out(&id("tickets")).await.is_ok());
}

#[tokio::test]
async fn a_secret_too_short_to_be_hidden_is_not_lent() {
    let failure = house().denied(&grant("g-1", 1, 1000, None), "short").await;
    assert!(failure.contains("3 bytes") && !failure.contains("abc"), "{failure}");
}

#[tokio::test]
async fn files_are_read_for_each_grant_and_a_failure_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let house = House::of([("tickets", of(Arc::new(Standing::File { path: path.clone() }), ""))]);
    let one = grant("g-1", 1, 1000, None);
    let failure = house.denied(&one, "tickets").await;
    assert!(failure.contains(path.to_str().unwrap()), "{failure}");
    std::fs::write(&path, format!("{CANARY}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(secret(&house.lend(&one, "tickets").await), CANARY);
    std::fs::write(&path, "rotated-0123456789\n").unwrap();
    assert_eq!(secret(&house.lend(&one, "tickets").await), CANARY);
    assert_eq!(secret(&house.lend(&grant("g-2", 1, 1000, None), "tickets").await), "rotated-0123456789");
}

#[tokio::test]
async fn no_debug_form_tells_a_secret() {
    let house = house();
    let loan = house.lend(&grant("g-1", 1, 1000, None), "tickets").await;
    let text = format!("{:?} {loan:?}", house.broker);
    assert!(!text.contains("canary") && text.contains("TICKETS"), "{text}");
}

#[tokio::test]
async fn another_credential_takes_back_the_leases_of_the_one_before_and_no_other() {
    let house = house();
    let grant = grant("g-1", 1, 1000, None);
    let (tickets, files) = (house.lend(&grant, "tickets").await, house.lend(&grant, "files").await);
    let env = variables(&[("FILES", "another-0123456789")]);
    house.broker.replace([(id("tickets"), from_env("FILES", &env)), (id("files"), from_env("FILES", &env))].into());
    assert_eq!(house.books.words(), ["returned"]);
    assert!(house.broker.leases().iter().all(|listed| listed.standing && listed.entry.lease != tickets.lease.id));
    let fresh = house.lend(&grant, "tickets").await;
    assert!(fresh.fresh && secret(&fresh) == "another-0123456789");
    assert!(Arc::ptr_eq(&house.lend(&grant, "files").await.lease, &files.lease));
    house.broker.replace(BTreeMap::new());
    assert_eq!(house.books.words().len(), 3);
    assert!(house.try_lend(&grant, "tickets", Access::Read).await.unwrap().is_none());
}
