//! What is lent of an issuer's credentials: made once, no longer than wished for, and always taken back.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;

use tokio::sync::Semaphore;

use super::{kit::*, *};
use crate::{Handle, MintFault, MintFaultKind, Provider, RevokeFault};

const LONG: Duration = Duration::from_secs(20);

fn house(issuer: &Arc<Issuer>) -> House {
    House::of([("tickets", of(Arc::clone(issuer) as Arc<dyn Provider>, ""))])
}

fn issuer() -> Arc<Issuer> {
    Arc::default()
}

async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(LONG, async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("{what} did not come to be"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_first_calls_are_lent_one_credential() {
    let issuer = Arc::new(Issuer { breath: Semaphore::new(0), ..Issuer::default() });
    let (house, grant) = (Arc::new(house(&issuer)), grant("g-1", 1, 100_000, None));
    let calls: Vec<_> = (0..1000)
        .map(|_| {
            let (house, grant) = (Arc::clone(&house), Arc::clone(&grant));
            tokio::spawn(async move { house.lend(&grant, "tickets").await })
        })
        .collect();
    issuer.breath.add_permits(1000);
    let (mut ids, mut fresh) = (BTreeSet::new(), 0);
    for call in calls {
        let loan = call.await.unwrap();
        fresh += usize::from(loan.fresh);
        ids.insert(loan.lease.id.clone());
    }
    assert_eq!((ids.len(), fresh, issuer.minted()), (1, 1, 1));
    assert_eq!((house.books.open(), house.books.words()), (1, vec!["minted".to_owned()]));
}

#[tokio::test]
async fn a_failure_is_shared_by_those_who_waited_for_it_and_the_issuer_is_left_in_peace() {
    let issuer = Arc::new(Issuer { breath: Semaphore::new(0), ..Issuer::default() });
    *issuer.gives.lock().unwrap() = Some(MintFault::new(MintFaultKind::Busy(Some(Duration::from_mins(10))), "too many, wait"));
    let (house, grant) = (Arc::new(house(&issuer)), grant("g-1", 1, 100_000, None));
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let (house, grant) = (Arc::clone(&house), Arc::clone(&grant));
            tokio::spawn(async move { house.denied(&grant, "tickets").await })
        })
        .collect();
    issuer.breath.add_permits(1);
    for call in calls {
        assert!(call.await.unwrap().contains("too many, wait"));
    }
    *issuer.gives.lock().unwrap() = None;
    assert!(house.denied(&grant, "tickets").await.contains("too many"), "for as long as it asked for");
    assert_eq!(issuer.breath.available_permits(), 0, "asked once");
    assert_eq!(house.books.words(), ["refused"]);
}

#[tokio::test]
async fn whoever_stops_waiting_leaves_nothing_behind_that_nobody_knows() {
    let issuer = Arc::new(Issuer { breath: Semaphore::new(0), ..Issuer::default() });
    let (house, grant) = (house(&issuer).at_work(), grant("g-1", 1, 100_000, None));
    let gone = tokio::time::timeout(Duration::from_millis(20), house.lend(&grant, "tickets")).await;
    assert!(gone.is_err());
    issuer.breath.add_permits(9);
    let next = house.lend(&grant, "tickets").await;
    assert!(next.fresh && issuer.minted() == 1, "it is what the first one asked for, and nobody was told of it yet");
    house.broker.returned(&grant.terms().id, "it ended");
    until("the return", || issuer.alive() == 0 && house.books.open() == 0).await;
}

#[tokio::test]
async fn what_ends_is_taken_back_at_the_issuer_and_only_that() {
    let issuer = issuer();
    let (house, one, two) = (house(&issuer).at_work(), grant("g-1", 1, 100_000, None), grant("g-2", 1, 100_000, None));
    let first = house.lend(&one, "tickets").await;
    house.lend(&two, "tickets").await;
    assert_eq!((issuer.alive(), house.books.open()), (2, 2));
    house.broker.returned(&one.terms().id, "the task is done");
    assert!(house.broker.settled(&one.terms().id, LONG).await);
    assert!(!issuer.alive.lock().unwrap().contains_key(&first.lease.id));
    assert_eq!((issuer.alive(), house.books.open()), (1, 1));
    assert_eq!(house.books.events.lock().unwrap().last().unwrap(), &("revoked".to_owned(), "the task is done".to_owned()));
    assert!(house.broker.close_all(LONG).await);
    assert_eq!((issuer.alive(), house.books.open()), (0, 0));
}

#[tokio::test]
async fn a_grant_that_ends_while_its_credential_is_made_is_lent_none() {
    let issuer = Arc::new(Issuer { breath: Semaphore::new(0), ..Issuer::default() });
    let (house, grant) = (Arc::new(house(&issuer).at_work()), grant("g-1", 1, 100_000, None));
    let (of, live) = (Arc::clone(&house), Arc::clone(&grant));
    let call = tokio::spawn(async move { of.denied(&live, "tickets").await });
    until("the mint", || house.books.open() == 1).await;
    ended(&grant);
    house.broker.returned(&grant.terms().id, "revoked");
    issuer.breath.add_permits(1);
    assert!(call.await.unwrap().contains("is not live"));
    until("the return", || issuer.minted() == 1 && issuer.alive() == 0 && house.books.open() == 0).await;
}

#[tokio::test]
async fn an_issuer_that_can_not_take_it_back_is_asked_until_it_can() {
    let issuer = issuer();
    *issuer.takes.lock().unwrap() = Some(RevokeFault::new("it is down"));
    let (house, grant) = (house(&issuer).at_work(), grant("g-1", 1, 100_000, None));
    house.lend(&grant, "tickets").await;
    house.broker.returned(&grant.terms().id, "the task is done");
    assert!(!house.broker.settled(&grant.terms().id, LONG).await);
    let listed = house.broker.leases();
    let ending = listed.first().unwrap().ending.as_ref().unwrap();
    assert_eq!((ending.fault.as_deref(), ending.tries >= 1, ending.lapses), (Some("it is down"), true, false));
    assert_eq!((issuer.alive(), house.books.open()), (1, 1), "it is not forgotten");
    *issuer.takes.lock().unwrap() = None;
    until("the return", || issuer.alive() == 0 && house.books.open() == 0).await;
    assert_eq!(house.books.words(), ["minted", "overdue", "revoked"]);
}

#[tokio::test]
async fn a_crash_forgets_none() {
    let issuer = issuer();
    let spec = || [("tickets", of(Arc::clone(&issuer) as Arc<dyn Provider>, ""))];
    let books = Arc::<Books>::default();
    let house = House::with(spec(), Arc::clone(&books));
    house.lend(&grant("g-1", 1, 100_000, None), "tickets").await;
    house.lend(&grant("g-2", 1, 100_000, None), "tickets").await;
    // Killed: nothing is given back.
    drop(house);
    assert_eq!(issuer.alive(), 2);
    let next = House::with(spec(), Arc::clone(&books)).at_work();
    assert_eq!(next.broker.recover().unwrap(), 2);
    until("the return", || issuer.alive() == 0 && books.open() == 0).await;
}

#[tokio::test]
async fn what_was_made_half_is_taken_back() {
    let issuer = Arc::new(Issuer { breaks_after: true, ..Issuer::default() });
    let (house, grant) = (house(&issuer).at_work(), grant("g-1", 1, 100_000, None));
    assert!(house.denied(&grant, "tickets").await.contains("broke off"));
    until("the return", || issuer.minted() == 1 && issuer.alive() == 0 && house.books.open() == 0).await;
}

#[tokio::test]
async fn more_than_was_wished_for_is_refused_and_given_back() {
    let issuer = issuer();
    issuer.generous_ms.store(3_600_000, Ordering::SeqCst);
    let (house, grant) = (house(&issuer).at_work(), grant("g-1", 1, 100_000, None));
    let why = house.denied(&grant, "tickets").await;
    assert!(why.contains("3595 s longer") || why.contains("3600 s longer"), "{why}");
    until("the return", || issuer.alive() == 0 && house.books.open() == 0).await;
    assert_eq!(house.books.words(), ["refused", "revoked"]);
}

#[tokio::test]
async fn who_set_it_up_hears_how_to_allow_what_its_issuer_alone_decides() {
    let issuer = Arc::new(Issuer { is_revocable: false, decides: true, generous_ms: 3_600_000.into(), ..Issuer::default() });
    let (house, grant) = (house(&issuer).at_work(), grant("g-1", 1, 100_000, None));
    let why = house.denied(&grant, "tickets").await;
    assert!(
        why.ends_with("longer than was asked for: `ttl` in the connector's `credential` says how long it may live at most"),
        "{why}"
    );
}

#[tokio::test]
async fn what_can_not_be_written_down_is_not_lent() {
    for (broken, says_first, made) in [("open", true, 0), ("keep", true, 0), ("keep", false, 1), ("put", true, 1)] {
        let issuer = Arc::new(Issuer { says_first, ..Issuer::default() });
        let (house, grant) = (house(&issuer).at_work(), grant("g-1", 1, 100_000, None));
        *house.books.broken.lock().unwrap() = Some(broken);
        assert!(house.denied(&grant, "tickets").await.contains(&format!("{broken} is broken")));
        assert_eq!(issuer.minted(), made);
        *house.books.broken.lock().unwrap() = None;
        until("the return", || issuer.alive() == 0 && house.books.open() == 0).await;
    }
}

#[tokio::test]
async fn a_task_that_only_reads_is_lent_what_only_reads() {
    let issuer = issuer();
    let (house, grant) = (house(&issuer).at_work(), grant("g-1", 1, 100_000, None));
    let read = house.lend(&grant, "tickets").await;
    assert_eq!((read.lease.access, read.lease.reference.as_str()), (Access::Read, "role-read"));
    let write = house.try_lend(&grant, "tickets", Access::Write).await.unwrap().unwrap();
    assert!(write.fresh && write.lease.access == Access::Write);
    assert!(!house.lend(&grant, "tickets").await.fresh, "what is good for more is good for less");
    // Used by a call that had it: it is taken back when that is done.
    assert_eq!(issuer.alive(), 2);
    drop(read);
    until("the return", || issuer.alive() == 1).await;
}

#[tokio::test]
async fn a_lease_that_ends_before_its_grant_is_renewed_in_time_and_made_anew_after() {
    let issuer = Arc::new(Issuer { most_ms: 10_000, ..Issuer::default() });
    let (house, grant) = (house(&issuer).at_work(), grant("g-1", 1, 100_000, None));
    let first = house.lend(&grant, "tickets").await;
    assert_eq!(first.lease.expires_at_ms(), NOW + 10_000);
    house.books.later_ms.store(9_000, Ordering::SeqCst);
    assert!(!house.lend(&grant, "tickets").await.fresh);
    until("the renewal", || first.lease.expires_at_ms() == NOW + 19_000).await;
    assert_eq!(issuer.renewed.load(Ordering::SeqCst), 1);
    house.books.later_ms.store(30_000, Ordering::SeqCst);
    let second = house.lend(&grant, "tickets").await;
    assert!(second.fresh && issuer.minted() == 2);
    drop(first);
    until("the return", || issuer.alive() == 1).await;
}

#[tokio::test]
async fn what_can_not_be_taken_back_is_shown_until_it_has_ended() {
    let issuer = Arc::new(Issuer { is_revocable: false, ..Issuer::default() });
    let (house, grant) = (house(&issuer).at_work(), grant("g-1", 1, 100_000, None));
    house.lend(&grant, "tickets").await;
    house.broker.returned(&grant.terms().id, "the task is done");
    assert!(!house.broker.settled(&grant.terms().id, LONG).await);
    let listed = house.broker.leases();
    assert!(listed.iter().all(|listed| !listed.entry.revocable && listed.ending.as_ref().unwrap().lapses));
    house.books.later_ms.store(200_000, Ordering::SeqCst);
    // Looked at again by the next start.
    let next = House::with([("tickets", of(Arc::clone(&issuer) as Arc<dyn Provider>, ""))], Arc::clone(&house.books)).at_work();
    next.broker.recover().unwrap();
    until("the end", || house.books.open() == 0).await;
    assert_eq!(house.books.words(), ["minted", "expired"]);
    assert_eq!(issuer.asked_back.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_is_taken_back_is_gone_at_its_issuer_and_remembered_as_that() {
    let issuer = issuer();
    let (house, grant) = (house(&issuer).at_work(), grant("g-1", 1, 100_000, None));
    let first = house.lend(&grant, "tickets").await.lease;
    house.lend(&grant, "tickets").await;
    let before = house.broker.changes();
    assert_eq!(house.broker.leases().iter().map(|listed| listed.uses).collect::<Vec<_>>(), [2]);
    assert!(house.broker.take_back(&first.id, "it looked odd") && !house.broker.take_back(&first.id, "again"));
    assert!(first.is_over() && first.taken_back().is_cancelled());
    assert!(house.broker.settled(&grant.terms().id, LONG).await && issuer.alive() == 0);
    assert_ne!(house.broker.changes(), before, "whoever looks hears of it");
    let ended = house.broker.ended();
    assert_eq!(
        ended.iter().map(|one| (one.how, one.why.as_str(), one.uses)).collect::<Vec<_>>(),
        [("revoked", "it looked odd", 2)]
    );
    // The task goes on with another one.
    let next = house.lend(&grant, "tickets").await;
    assert!(next.fresh && next.lease.id != first.id && !next.lease.taken_back().is_cancelled());
    house.broker.returned(&grant.terms().id, "the task is done");
    assert!(house.broker.settled(&grant.terms().id, LONG).await);
    assert_eq!(
        house.broker.ended().iter().map(|one| one.why.as_str()).collect::<Vec<_>>(),
        ["the task is done", "it looked odd"]
    );
    assert!(!next.lease.taken_back().is_cancelled(), "its grant's end ends its calls already");
}

#[tokio::test]
async fn what_is_not_back_says_when_it_is_tried_again() {
    let issuer = issuer();
    *issuer.takes.lock().unwrap() = Some(RevokeFault::new("closed for the night"));
    let (house, grant) = (house(&issuer).at_work(), grant("g-1", 1, 100_000, None));
    let lent = house.lend(&grant, "tickets").await.lease;
    house.broker.take_back(&lent.id, "it looked odd");
    assert!(!house.broker.settled(&grant.terms().id, LONG).await);
    let ending = house.broker.leases().remove(0).ending.unwrap();
    assert_eq!(ending.fault.as_deref(), Some("closed for the night"));
    assert!(ending.again.is_some_and(|again| again <= Duration::from_secs(1)), "{ending:?}");
    assert!(house.broker.ended().is_empty());
    *issuer.takes.lock().unwrap() = None;
    until("the return", || house.broker.leases().is_empty() && house.broker.ended().len() == 1).await;
}

#[tokio::test]
async fn a_leak_ends_the_lease() {
    let issuer = issuer();
    let (house, grant) = (house(&issuer).at_work(), grant("g-1", 1, 100_000, None));
    let leaked = house.lend(&grant, "tickets").await.lease;
    house.broker.leaked(&grant, &id("tickets"), &leaked);
    until("the return", || issuer.alive() == 0).await;
    let next = house.lend(&grant, "tickets").await;
    assert!(next.fresh && next.lease.id != leaked.id);
    // Of an earlier call that ended late: the new one is not concerned.
    house.broker.leaked(&grant, &id("tickets"), &leaked);
    assert!(!house.lend(&grant, "tickets").await.fresh);
    assert!(leaked.is_over() && !next.lease.is_over());
    // A server that shows whatever it is lent does not have its issuer make one after the other.
    house.broker.leaked(&grant, &id("tickets"), &next.lease);
    assert!(house.denied(&grant, "tickets").await.contains("more than once"));
    assert_eq!(issuer.minted(), 2);
}

#[tokio::test]
async fn a_provider_that_breaks_off_leaves_nothing_behind_that_nobody_knows() {
    let issuer = issuer();
    issuer.panics.store(1, Ordering::SeqCst);
    let (house, one) = (house(&issuer).at_work(), grant("g-1", 1, 100_000, None));
    assert!(house.denied(&one, "tickets").await.contains("broke off"));
    until("the return", || issuer.alive() == 0 && house.books.open() == 0).await;
    // And where it breaks off while it takes one back, it is asked again.
    let two = grant("g-2", 1, 100_000, None);
    house.lend(&two, "tickets").await;
    issuer.panics.store(1, Ordering::SeqCst);
    house.broker.returned(&two.terms().id, "the task is done");
    until("the return", || issuer.alive() == 0 && house.books.open() == 0).await;
}

#[tokio::test]
async fn what_another_issuer_made_is_not_taken_back_at_this_one() {
    let (first, second) = (issuer(), issuer());
    let books = Arc::<Books>::default();
    let house = House::with([("tickets", of(Arc::clone(&first) as Arc<dyn Provider>, ""))], Arc::clone(&books));
    house.lend(&grant("g-1", 1, 100_000, None), "tickets").await;
    drop(house);
    let elsewhere = CredentialSpec { issuer: "elsewhere".to_owned(), ..of(Arc::clone(&second) as Arc<dyn Provider>, "") };
    let next = House::with([("tickets", elsewhere)], Arc::clone(&books)).at_work();
    next.broker.recover().unwrap();
    assert!(!next.broker.settled(&"g-1".parse().unwrap(), LONG).await);
    assert_eq!((books.open(), second.asked_back.load(Ordering::SeqCst)), (1, 0));
    assert!(next.broker.leases().first().unwrap().ending.as_ref().unwrap().lapses);
    // Configured again, it can be asked.
    next.broker.replace([(id("tickets"), of(Arc::clone(&first) as Arc<dyn Provider>, "2"))].into());
    until("the return", || first.alive() == 0 && books.open() == 0).await;
}

#[tokio::test]
async fn what_a_connector_was_lent_that_is_gone_is_taken_back_by_another_one_of_the_same_issuer() {
    let issuer = issuer();
    let books = Arc::<Books>::default();
    let spec = || of(Arc::clone(&issuer) as Arc<dyn Provider>, "");
    let house = House::with([("tickets", spec())], Arc::clone(&books));
    house.lend(&grant("g-1", 1, 100_000, None), "tickets").await;
    drop(house);
    let next = House::with([("ledger", spec())], Arc::clone(&books)).at_work();
    next.broker.recover().unwrap();
    until("the return", || issuer.alive() == 0 && books.open() == 0).await;
}

#[tokio::test]
async fn what_is_not_back_is_taken_back_with_what_is_configured_now() {
    let (before, now) = (issuer(), issuer());
    *before.takes.lock().unwrap() = Some(RevokeFault::new("its secret is another one by now"));
    let (house, grant) = (house(&before).at_work(), grant("g-1", 1, 100_000, None));
    house.lend(&grant, "tickets").await;
    house.broker.returned(&grant.terms().id, "the task is done");
    assert!(!house.broker.settled(&grant.terms().id, LONG).await);
    house.broker.replace([(id("tickets"), of(Arc::clone(&now) as Arc<dyn Provider>, "with another secret"))].into());
    until("the return", || house.books.open() == 0).await;
    assert_eq!(now.asked_back.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_is_being_made_is_not_back() {
    let issuer = Arc::new(Issuer { breath: Semaphore::new(0), ..Issuer::default() });
    let (house, grant) = (Arc::new(house(&issuer).at_work()), grant("g-1", 1, 100_000, None));
    let (of, live) = (Arc::clone(&house), Arc::clone(&grant));
    let call = tokio::spawn(async move { of.denied(&live, "tickets").await });
    until("the mint", || house.books.open() == 1).await;
    house.broker.returned(&grant.terms().id, "revoked");
    assert!(!house.broker.settled(&grant.terms().id, Duration::from_millis(50)).await);
    issuer.breath.add_permits(1);
    assert!(house.broker.settled(&grant.terms().id, LONG).await);
    assert_eq!((issuer.minted(), issuer.alive(), house.books.open()), (1, 0, 0));
    call.await.unwrap();
    assert!(house.broker.close_all(LONG).await);
    let late = self::grant("g-2", 1, 100_000, None);
    assert!(house.denied(&late, "tickets").await.contains("the gateway ends"));
}

#[tokio::test]
async fn a_renewed_lease_is_not_over_when_it_would_have_been() {
    let issuer = Arc::new(Issuer { most_ms: 10_000, ..Issuer::default() });
    let (house, grant) = (house(&issuer).at_work(), grant("g-1", 1, 100_000, None));
    let lease = house.lend(&grant, "tickets").await.lease;
    house.books.later_ms.store(9_000, Ordering::SeqCst);
    house.lend(&grant, "tickets").await;
    until("the renewal", || lease.expires_at_ms() == NOW + 19_000).await;
    *issuer.takes.lock().unwrap() = Some(RevokeFault::new("it is down"));
    house.books.later_ms.store(17_000, Ordering::SeqCst);
    house.broker.returned(&grant.terms().id, "the task is done");
    assert!(!house.broker.settled(&grant.terms().id, LONG).await);
    assert_eq!((issuer.alive(), house.books.open()), (1, 1), "it lives on at its issuer");
    *issuer.takes.lock().unwrap() = None;
    until("the return", || issuer.alive() == 0 && house.books.open() == 0).await;
}

#[tokio::test]
async fn an_issuer_that_hangs_delays_no_other() {
    let (hangs, works) = (issuer(), issuer());
    hangs.hangs.store(true, Ordering::SeqCst);
    let of_other = CredentialSpec { issuer: "other".to_owned(), ..of(Arc::clone(&works) as Arc<dyn Provider>, "") };
    let house = House::of([("tickets", of(Arc::clone(&hangs) as Arc<dyn Provider>, "")), ("files", of_other)]).at_work();
    for number in 0..40 {
        let grant = grant(&format!("g-{number}"), 1, 100_000, None);
        house.lend(&grant, "tickets").await;
        house.broker.returned(&grant.terms().id, "the task is done");
    }
    let last = grant("g-last", 1, 100_000, None);
    house.lend(&last, "files").await;
    house.broker.returned(&last.terms().id, "the task is done");
    assert!(house.broker.settled(&last.terms().id, LONG / 2).await);
    assert_eq!(works.alive(), 0);
}

#[tokio::test]
async fn a_look_at_a_connector_gives_back_what_it_was_lent() {
    let issuer = issuer();
    let house = house(&issuer).at_work();
    let guest = house.broker.for_discovery(&id("tickets")).await.unwrap().unwrap();
    assert_eq!((guest.lease().access, issuer.alive()), (Access::Read, 1));
    drop(guest);
    until("the return", || issuer.alive() == 0 && house.books.open() == 0).await;
}

#[test]
fn a_handle_is_shown_to_nobody() {
    assert_eq!(format!("{:?}", Handle::new(CANARY)), "Handle");
}
