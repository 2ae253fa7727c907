//! What is lent, to whom, and until when.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt};

use bailiwick_pipeline::{
    grant::{Grant, GrantState, Standing},
    ports::Injection,
};
use secrecy::ExposeSecret;

use super::*;
use crate::source::Provider;

const CANARY: &str = "canary-0123456789";

fn grant(id: &str, revision: u64, expires_at_ms: u64, parent: Option<Arc<LiveGrant>>) -> Arc<LiveGrant> {
    let terms = Grant {
        revision,
        owner: "owner".to_owned(),
        purpose: "test".to_owned(),
        environment: String::new(),
        ..Grant::bare(id.parse().unwrap(), "bot".parse().unwrap(), Vec::new(), 0..expires_at_ms)
    };
    Arc::new(LiveGrant::new(terms, Standing::fresh(), parent))
}

fn token() -> Injection {
    Injection::Env("TOKEN".to_owned())
}

fn from_env(name: &str) -> CredentialSpec {
    CredentialSpec { provider: Provider::Env { name: name.to_owned() }, injection: token() }
}

fn id(id: &str) -> ConnectorId {
    id.parse().unwrap()
}

fn broker() -> Broker {
    let specs = [
        ("tickets", from_env("TICKETS")),
        ("files", from_env("FILES")),
        ("absent", from_env("NOT_SET")),
        ("short", from_env("SHORT")),
    ];
    let env = [("TICKETS", CANARY), ("FILES", "another-0123456789"), ("SHORT", "abc")];
    let specs = specs.into_iter().map(|(name, spec)| (id(name), spec)).collect();
    Broker::new(specs, EnvSecrets::new(env.map(|(name, value)| (name.to_owned(), value.to_owned()))))
}

async fn lend(broker: &Broker, grant: &Arc<LiveGrant>, connector: &str) -> Loan {
    broker.lend(grant, &id(connector), 10).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_lease_is_for_one_grant_and_one_connector_and_lent_anew_once() {
    let broker = broker();
    let (one, two) = (grant("g-1", 1, 1000, None), grant("g-2", 1, 500, None));
    let first = lend(&broker, &one, "tickets").await;
    assert!(first.fresh);
    assert_eq!(first.lease.secret().expose_secret(), CANARY);
    assert_eq!((first.lease.provider, first.lease.reference.as_str(), &first.lease.injection), ("env", "TICKETS", &token()));
    assert_eq!(first.lease.expires_at_ms, 1000);
    let again = lend(&broker, &one, "tickets").await;
    assert!(!again.fresh && Arc::ptr_eq(&first.lease, &again.lease));
    let ids =
        [&first, &lend(&broker, &two, "tickets").await, &lend(&broker, &one, "files").await].map(|loan| loan.lease.id.clone());
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 3);
    assert!(ids.iter().all(|id| id.len() == 38 && id.starts_with("lease-")), "{ids:?}");
}

#[tokio::test]
async fn a_connector_that_needs_nothing_gets_nothing() {
    assert!(broker().lend(&grant("g-1", 1, 1000, None), &id("shop"), 10).await.unwrap().is_none());
}

#[tokio::test]
async fn a_lease_is_never_longer_than_the_grant_or_its_ancestors() {
    let parent = grant("g-1", 1, 300, None);
    let child = grant("g-2", 1, 1000, Some(Arc::clone(&parent)));
    assert_eq!(lend(&broker(), &child, "tickets").await.lease.expires_at_ms, 300);
}

#[tokio::test]
async fn nothing_is_lent_for_a_grant_that_is_not_live() {
    let broker = broker();
    let expired = grant("g-1", 1, 10, None);
    let revoked = grant("g-2", 1, 1000, None);
    revoked.end(GrantState::Revoked);
    let parent = grant("g-3", 1, 1000, None);
    let child = grant("g-4", 1, 1000, Some(Arc::clone(&parent)));
    lend(&broker, &child, "tickets").await;
    parent.end(GrantState::Completed);
    for grant in [&expired, &revoked, &child] {
        let failure = broker.lend(grant, &id("tickets"), 10).await.unwrap_err();
        assert!(failure.why.contains("is not live"), "{failure}");
    }
}

#[tokio::test]
async fn a_thousand_calls_share_one_lease() {
    let (broker, grant) = (Arc::new(broker()), grant("g-1", 1, 1000, None));
    let tasks: Vec<_> = (0..1000)
        .map(|_| {
            let (broker, grant) = (Arc::clone(&broker), Arc::clone(&grant));
            tokio::spawn(async move { lend(&broker, &grant, "tickets").await })
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
    let (broker, one, two) = (broker(), grant("g-1", 1, 1000, None), grant("g-2", 1, 1000, None));
    let first = lend(&broker, &one, "tickets").await;
    let other = lend(&broker, &two, "tickets").await;
    let weak = Arc::downgrade(&first.lease);
    drop(first);
    assert_eq!(broker.returned(&one.terms().id).len(), 1);
    assert!(weak.upgrade().is_none(), "the secret outlives its grant");
    assert!(broker.returned(&one.terms().id).is_empty());
    assert!(Arc::ptr_eq(&lend(&broker, &two, "tickets").await.lease, &other.lease));
    assert!(lend(&broker, &one, "tickets").await.fresh);
}

#[tokio::test]
async fn a_reissued_grant_gets_a_lease_of_its_own() {
    let broker = broker();
    let (old, new) = (grant("g-1", 1, 1000, None), grant("g-1", 2, 1000, None));
    let before = lend(&broker, &old, "tickets").await;
    let after = lend(&broker, &new, "tickets").await;
    assert!(after.fresh && after.lease.id != before.lease.id);
}

#[tokio::test]
async fn a_grant_that_is_gone_leaves_nothing_behind() {
    let broker = broker();
    let weak = Arc::downgrade(&lend(&broker, &grant("g-1", 1, 1000, None), "tickets").await.lease);
    lend(&broker, &grant("g-2", 1, 1000, None), "tickets").await;
    assert!(weak.upgrade().is_none());
}

#[tokio::test]
async fn a_missing_variable_is_named_with_its_connector() {
    let failure = broker().lend(&grant("g-1", 1, 1000, None), &id("absent"), 10).await.unwrap_err();
    assert_eq!((failure.connector, failure.reference.as_str()), (id("absent"), "NOT_SET"));
    assert!(failure.why.contains("`NOT_SET` was not set"), "{}", failure.why);
    assert!(broker().try_out(&id("absent")).await.is_err());
    assert!(broker().try_out(&id("tickets")).await.is_ok());
}

#[tokio::test]
async fn a_secret_too_short_to_be_hidden_is_not_lent() {
    let failure = broker().lend(&grant("g-1", 1, 1000, None), &id("short"), 10).await.unwrap_err();
    assert!(!failure.to_string().contains("abc"), "{failure}");
}

#[tokio::test]
async fn files_are_read_for_each_grant_and_a_failure_is_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let spec = CredentialSpec { provider: Provider::File { path: path.clone() }, injection: token() };
    let broker = Broker::new([(id("tickets"), spec)].into(), EnvSecrets::default());
    let one = grant("g-1", 1, 1000, None);
    let failure = broker.lend(&one, &id("tickets"), 10).await.unwrap_err();
    assert!(failure.to_string().contains(path.to_str().unwrap()), "{failure}");
    std::fs::write(&path, format!("{CANARY}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(lend(&broker, &one, "tickets").await.lease.secret().expose_secret(), CANARY);
    std::fs::write(&path, "rotated-0123456789\n").unwrap();
    assert_eq!(lend(&broker, &one, "tickets").await.lease.secret().expose_secret(), CANARY);
    assert_eq!(lend(&broker, &grant("g-2", 1, 1000, None), "tickets").await.lease.secret().expose_secret(), "rotated-0123456789");
}

#[tokio::test]
async fn no_debug_form_tells_a_secret() {
    let broker = broker();
    let loan = lend(&broker, &grant("g-1", 1, 1000, None), "tickets").await;
    let text = format!("{broker:?} {loan:?} {:?}", broker.terms.load().env);
    assert!(!text.contains("canary") && text.contains("TICKETS"), "{text}");
}

#[tokio::test]
async fn another_credential_takes_back_the_leases_of_the_one_before_and_no_other() {
    let broker = broker();
    let grant = grant("g-1", 1, 1000, None);
    let (tickets, files) = (lend(&broker, &grant, "tickets").await, lend(&broker, &grant, "files").await);
    let specs = [(id("tickets"), from_env("FILES")), (id("files"), from_env("FILES"))];
    let env = EnvSecrets::new([("FILES".to_owned(), "another-0123456789".to_owned())]);
    let returned = broker.replace(specs.into(), env);
    let returned: Vec<_> = returned.iter().map(|(grant, lease)| (grant.as_str(), lease.id.as_str())).collect();
    assert_eq!(returned, [("g-1", tickets.lease.id.as_str())]);
    let fresh = lend(&broker, &grant, "tickets").await;
    assert!(fresh.fresh && fresh.lease.secret().expose_secret() == "another-0123456789");
    assert!(Arc::ptr_eq(&lend(&broker, &grant, "files").await.lease, &files.lease));
    let gone = broker.replace(BTreeMap::new(), EnvSecrets::new([]));
    assert_eq!(gone.len(), 2);
    assert!(broker.lend(&grant, &id("tickets"), 10).await.unwrap().is_none());
}
