use std::{sync::Arc, time::Duration};

use bailiwick_pipeline::{
    grant::{Grant, GrantState, Labels, Standing},
    ids::GrantId,
    ports::Grants as _,
};
use tempfile::TempDir;

use super::{HOUR, NOW, crashed, folder, open, tamper, terms};
use crate::{ConfigSync, EndAs, Ended, GrantFault, LiveGrants, ReplayedIntent, Store, StoreFault, Tokens};

const UNTRUSTED: Labels = Labels::UNTRUSTED;

fn load(store: &Store) -> LiveGrants {
    LiveGrants::load(store, &[]).unwrap()
}

fn after_crash(data: &TempDir) -> LiveGrants {
    load(&open(&crashed(data)))
}

fn id(text: &str) -> GrantId {
    text.parse().unwrap()
}

fn configured(id: &str) -> Grant {
    Grant { from_config: true, ..terms(id, "bot") }
}

/// As the configuration is read at another time: the same words, later times.
fn reread(grant: &Grant, at_ms: u64) -> Grant {
    let lifetime = grant.expires_at_ms - grant.not_before_ms;
    Grant { not_before_ms: at_ms, expires_at_ms: at_ms + lifetime, revision: 0, ..grant.clone() }
}

fn standing(grants: &LiveGrants, name: &str) -> Standing {
    grants.by_id(&id(name)).unwrap().standing()
}

fn intent(grant: &str, revision: u64, has_effect: bool) -> ReplayedIntent {
    ReplayedIntent {
        tool: "s__t".parse().ok(),
        at_ms: 1,
        bytes_out: 10,
        cost: 1,
        grant: id(grant),
        grant_revision: revision,
        debited: vec![id(grant)],
        has_effect,
        labels: Labels::default(),
        sums: Vec::new(),
        approval: None,
        allowance: None,
    }
}

async fn expired(grants: &LiveGrants, now_ms: u64) -> Vec<GrantId> {
    let swept = grants.expire(now_ms).await;
    swept.stored.unwrap();
    swept.ended
}

#[tokio::test]
async fn a_grant_that_could_not_be_stored_never_was() {
    let data = folder();
    let store = open(&data);
    let grants = load(&store);
    tamper(data.path(), "ALTER TABLE grants RENAME TO away");
    let fault = grants.create(terms("a", "bot"), NOW).await.unwrap_err();
    assert!(matches!(fault, GrantFault::Write(_)), "{fault}");
    assert!(grants.by_id(&id("a")).is_none() && grants.list().is_empty());
    assert!(grants.of(&"bot".parse().unwrap()).is_empty());
}

#[tokio::test]
async fn whoever_got_hold_of_a_grant_that_could_not_be_stored_can_do_nothing_with_it() {
    let data = folder();
    let store = open(&data);
    let grants = Arc::new(load(&store));
    tamper(data.path(), "ALTER TABLE grants RENAME TO away");
    // Held up until the grant was seen: memory is ahead of the store.
    let (seen, wait) = std::sync::mpsc::channel::<()>();
    store.follow(move |_| wait.recv().map_err(|_| rusqlite::Error::InvalidQuery));
    let making = tokio::spawn({
        let grants = Arc::clone(&grants);
        async move { grants.create(terms("a", "bot"), NOW).await.map(drop) }
    });
    let live = loop {
        match grants.by_id(&id("a")) {
            Some(live) => break live,
            None => tokio::task::yield_now().await,
        }
    };
    seen.send(()).unwrap();
    assert!(matches!(making.await.unwrap(), Err(GrantFault::Write(_))));
    assert!(!live.is_live(NOW) && live.cancelled().is_cancelled());
}

#[tokio::test]
async fn an_expiry_that_can_not_be_stored_is_told_all_the_same() {
    let data = folder();
    let store = open(&data);
    let grants = load(&store);
    grants.create(terms("a", "bot"), NOW).await.unwrap();
    tamper(data.path(), "ALTER TABLE grants RENAME TO away");
    let swept = grants.expire(NOW + 8 * HOUR).await;
    assert!(swept.stored.is_err());
    assert_eq!(swept.ended, [id("a")]);
}

/// A `kill -9` before usage is stored: the labels of what was on its way are as good as touched, for the whole chain.
#[tokio::test]
async fn a_crash_washes_no_labels_off() {
    let data = folder();
    let store = open(&data);
    let grants = load(&store);
    for (name, agent) in [("child", "bot"), ("parent", "boss"), ("sibling", "bot"), ("ended", "bot"), ("other", "else")] {
        grants.create(terms(name, agent), NOW).await.unwrap();
    }
    grants.end(&id("ended"), EndAs::Completed, "bot", None, NOW).await.unwrap();
    let debited = vec![id("child"), id("parent")];
    let intents = [
        ReplayedIntent { labels: UNTRUSTED, debited, ..intent("child", 1, false) },
        intent("child", 1, false),
        intent("other", 1, false),
    ];
    let clean = Labels::default();
    let copy = crashed(&data);
    let store = open(&copy);
    let again = LiveGrants::load(&store, &intents).unwrap();
    for (name, labels) in
        [("child", UNTRUSTED), ("parent", UNTRUSTED), ("sibling", UNTRUSTED), ("ended", clean), ("other", clean)]
    {
        assert_eq!(standing(&again, name).labels, labels, "{name}");
    }
    assert_eq!((standing(&again, "child").calls, standing(&again, "sibling").calls), (2, 0));
    again.flush(9).await.unwrap();
    assert_eq!(standing(&load(&store), "sibling").labels, UNTRUSTED);
    // Under an earlier issue or under one that has ended: not debited to these, but the agent has read it all the same.
    for intent in [intent("child", 0, false), intent("ended", 1, false)] {
        let again = LiveGrants::load(&open(&crashed(&data)), &[ReplayedIntent { labels: UNTRUSTED, ..intent }]).unwrap();
        assert_eq!(standing(&again, "sibling").labels, UNTRUSTED);
        assert_eq!((standing(&again, "child").labels, standing(&again, "child").calls), (UNTRUSTED, 0));
    }
}

/// Another grant is no way to a clean one: neither a created one, nor one of the configuration, new, reissued, renamed or moved.
#[tokio::test]
async fn a_new_grant_has_the_labels_of_its_agents_live_ones() {
    let data = folder();
    let store = open(&data);
    let grants = load(&store);
    let labels = |name: &str| {
        let stored = standing(&after_crash(&data), name).labels;
        assert_eq!(standing(&grants, name).labels, stored, "{name}: in memory as in its row");
        stored
    };
    grants.sync_config(vec![configured("short")], NOW).await.unwrap();
    let first = grants.create(Grant { expires_at_ms: NOW + 20 * HOUR, ..terms("first", "bot") }, NOW).await.unwrap();
    first.touch(UNTRUSTED);
    grants.flush(1).await.unwrap();
    grants.create(terms("second", "bot"), NOW).await.unwrap();
    grants.create(terms("else", "else"), NOW).await.unwrap();
    assert_eq!((labels("second"), labels("else")), (UNTRUSTED, Labels::default()));

    let later = NOW + 8 * HOUR;
    let wanted = vec![reread(&configured("short"), later), reread(&configured("new"), later)];
    let sync = grants.sync_config(wanted, later).await.unwrap();
    assert_eq!((sync.reissued, sync.issued), (vec![id("short")], vec![id("new")]));
    assert_eq!((labels("short"), labels("new")), (UNTRUSTED, UNTRUSTED));
    assert_eq!(standing(&grants, "short").calls, 0);

    // Only what is live counts. One that this very change takes away was, until now.
    grants.end(&id("first"), EndAs::Completed, "bot", None, later).await.unwrap();
    let moved = Grant { agent: "mover".parse().unwrap(), ..reread(&configured("new"), later) };
    let sync = grants.sync_config(vec![moved.clone(), reread(&configured("renamed"), later)], later).await.unwrap();
    assert_eq!((sync.withdrawn, sync.replaced, sync.issued), (vec![id("short")], vec![id("new")], vec![id("renamed")]));
    assert_eq!((labels("new"), labels("renamed")), (UNTRUSTED, UNTRUSTED));
    grants.sync_config(vec![moved], later).await.unwrap();
    grants.create(reread(&terms("clean", "bot"), later), later).await.unwrap();
    assert_eq!(labels("clean"), Labels::default());
}

/// The gate moves an agent to no other grant because it sees that its default has ended.
#[tokio::test]
async fn an_ended_default_is_found_for_as_long_as_it_is_listed() {
    let data = folder();
    let bot = "bot".parse().unwrap();
    let found =
        |grants: &LiveGrants| -> Vec<String> { grants.of(&bot).iter().map(|grant| grant.terms().id.to_string()).collect() };
    let grants = load(&open(&data));
    let long = NOW + 90 * 24 * HOUR;
    grants.create(Grant { default: false, expires_at_ms: long, ..terms("live", "bot") }, NOW).await.unwrap();
    grants.create(Grant { default: false, ..terms("over", "bot") }, NOW).await.unwrap();
    grants.create(terms("default", "bot"), NOW).await.unwrap();
    expired(&grants, NOW + 8 * HOUR).await;
    assert_eq!(found(&grants), ["default", "live", "over"]);
    assert_eq!(found(&after_crash(&data)), ["default", "live"]);
    expired(&grants, NOW + 9 * HOUR + 1).await;
    assert_eq!(found(&grants), ["default", "live"]);
    expired(&grants, NOW + 31 * 24 * HOUR).await;
    assert_eq!(found(&grants), ["live"]);
    assert_eq!(found(&after_crash(&data)), ["live"]);

    // One of the configuration that is issued anew: only its newest revision counts.
    let now = NOW + 31 * 24 * HOUR;
    grants.sync_config(vec![reread(&configured("config"), now)], now).await.unwrap();
    expired(&grants, now + 8 * HOUR).await;
    let later = now + 10 * HOUR;
    expired(&grants, later).await;
    assert_eq!(found(&grants), ["config", "live"]);
    let changed = Grant { default: false, ..reread(&configured("config"), later) };
    assert_eq!(grants.sync_config(vec![changed], later).await.unwrap().reissued, [id("config")]);
    assert!(grants.of(&bot).iter().all(|grant| grant.is_live(later) && !grant.terms().default));
    let swept = later + 8 * HOUR;
    expired(&grants, swept).await;
    expired(&grants, swept + HOUR + 1).await;
    assert_eq!(found(&grants), ["live"]);
    let moved = Grant { agent: "else".parse().unwrap(), ..reread(&configured("config"), swept) };
    grants.sync_config(vec![moved], swept).await.unwrap();
    expired(&grants, swept).await;
    for grants in [&grants, &after_crash(&data)] {
        assert_eq!(found(grants), ["live"]);
        assert_eq!(grants.of(&"else".parse().unwrap()).len(), 1);
    }
}

#[tokio::test]
async fn a_created_grant_survives_as_it_is() {
    let data = folder();
    let store = open(&data);
    let grants = load(&store);
    let live = grants.create(terms("a", "bot"), NOW).await.unwrap();
    assert!(Arc::ptr_eq(&live, &grants.by_id(&id("a")).unwrap()));
    assert_eq!(grants.create(terms("a", "other"), NOW).await.unwrap_err(), GrantFault::Exists(id("a")));
    assert_eq!(grants.create(terms("b", "bot"), NOW + 9 * HOUR).await.unwrap_err(), GrantFault::Over(id("b")));
    let again = after_crash(&data);
    assert_eq!(again.by_id(&id("a")).unwrap().terms(), live.terms());
    assert_eq!(again.of(&"bot".parse().unwrap()).len(), 1);
    assert!(again.of(&"other".parse().unwrap()).is_empty());
    assert_eq!(again.list()[0].created_at_ms, NOW);
}

#[tokio::test]
async fn ending_is_at_once_and_for_good() {
    let data = folder();
    let store = open(&data);
    let grants = load(&store);
    for (name, how, state) in [("r", EndAs::Revoked, GrantState::Revoked), ("c", EndAs::Completed, GrantState::Completed)] {
        let live = grants.create(terms(name, "bot"), NOW).await.unwrap();
        let cancelled = live.cancelled();
        let ended = grants.end(&id(name), how, "ann", Some("enough"), NOW + 1).await;
        assert_eq!(ended, Ok(Ended { was_active: true, drained: true, fell: Vec::new() }));
        assert!(cancelled.is_cancelled() && !live.is_live(NOW + 1));
        let again = grants.end(&id(name), EndAs::Revoked, "bob", None, NOW + 2).await;
        assert_eq!(again, Ok(Ended { was_active: false, drained: true, fell: Vec::new() }));
        let entry = after_crash(&data).entry(&id(name)).unwrap();
        assert_eq!(entry.grant.standing().state, state);
        let ending = entry.ending.unwrap();
        assert_eq!((ending.at_ms, ending.by.as_deref(), ending.reason.as_deref()), (NOW + 1, Some("ann"), Some("enough")));
    }
    assert_eq!(grants.end(&id("x"), EndAs::Revoked, "ann", None, NOW).await, Err(GrantFault::Unknown(id("x"))));
}

#[tokio::test]
async fn an_ending_that_nobody_waits_for_is_stored_all_the_same() {
    let data = folder();
    let store = open(&data);
    let grants = load(&store);
    grants.create(terms("a", "bot"), NOW).await.unwrap();
    {
        let a = id("a");
        let mut ending = Box::pin(grants.end(&a, EndAs::Revoked, "ann", None, NOW));
        // Polled once, then dropped: the client went away.
        let _ = tokio::time::timeout(Duration::ZERO, &mut ending).await;
    }
    store.set_meta("barrier", Some("")).await.unwrap();
    assert_eq!(standing(&after_crash(&data), "a").state, GrantState::Revoked);
}

#[tokio::test]
async fn expiry_is_swept_and_the_long_ended_forgotten() {
    let data = folder();
    let store = open(&data);
    let grants = load(&store);
    grants.create(Grant { default: false, ..terms("a", "bot") }, NOW).await.unwrap();
    grants.create(Grant { expires_at_ms: NOW + 9 * HOUR, ..terms("b", "bot") }, NOW).await.unwrap();
    assert_eq!(expired(&grants, NOW + 8 * HOUR - 1).await, []);
    assert_eq!(expired(&grants, NOW + 8 * HOUR).await, [id("a")]);
    assert_eq!(standing(&after_crash(&data), "a").state, GrantState::Expired);
    assert_eq!(grants.of(&"bot".parse().unwrap()).len(), 2, "an agent may still be told that its grant has ended");
    assert_eq!(expired(&grants, NOW + 9 * HOUR + 1).await, [id("b")]);
    assert_eq!(grants.of(&"bot".parse().unwrap()).len(), 1);
    assert_eq!(grants.list().len(), 2);
    expired(&grants, NOW + 31 * 24 * HOUR).await;
    assert!(grants.list().is_empty() && grants.of(&"bot".parse().unwrap()).is_empty());
    assert!(after_crash(&data).list().is_empty());
}

#[tokio::test]
async fn usage_is_stored_with_the_cursor_and_caught_up_from_the_trail() {
    let data = folder();
    let store = open(&data);
    let grants = load(&store);
    let live = grants.create(terms("a", "bot"), NOW).await.unwrap();
    live.touch(UNTRUSTED);
    grants.flush(17).await.unwrap();
    drop((grants, live));
    let copy = crashed(&data);
    let store = open(&copy);
    assert_eq!(store.trail_cursor().unwrap(), 17);

    // Revision 2 was in force when the gateway died, and its row was not on disk yet: what was used under it stays used.
    let intents = [intent("a", 1, false), intent("a", 2, true), intent("a", 0, true), intent("unknown", 1, true)];
    let grants = LiveGrants::load(&store, &intents).unwrap();
    let counted = Standing { state: GrantState::Active, calls: 2, writes: 1, labels: UNTRUSTED };
    assert_eq!(standing(&grants, "a"), counted);
    // Not flushed: after the next crash the same is counted again, from the same place.
    assert_eq!(standing(&LiveGrants::load(&store, &intents).unwrap(), "a"), counted);
    grants.flush(21).await.unwrap();
    assert_eq!(standing(&load(&store), "a"), counted);
    assert_eq!(store.trail_cursor().unwrap(), 21);
    // An end doesn't store usage: that goes with the cursor.
    grants.end(&id("a"), EndAs::Revoked, "ann", None, NOW).await.unwrap();
    assert_eq!(standing(&load(&store), "a"), Standing { state: GrantState::Revoked, ..counted });
}

#[tokio::test]
async fn config_grants_survive_restarts_as_they_are() {
    let data = folder();
    let wanted = configured("a");
    {
        let grants = load(&open(&data));
        let sync = grants.sync_config(vec![wanted.clone()], NOW).await.unwrap();
        assert_eq!(sync, ConfigSync { issued: vec![id("a")], ..ConfigSync::default() });
        grants.by_id(&id("a")).unwrap().touch(UNTRUSTED);
        grants.flush(1).await.unwrap();
    }
    let grants = load(&open(&data));
    let sync = grants.sync_config(vec![reread(&wanted, NOW + HOUR)], NOW + HOUR).await.unwrap();
    assert_eq!(sync, ConfigSync { kept: vec![id("a")], ..ConfigSync::default() });
    let live = grants.by_id(&id("a")).unwrap();
    assert_eq!((live.terms().expires_at_ms, live.terms().revision), (wanted.expires_at_ms, 1));
    assert_eq!(live.standing().labels, UNTRUSTED);

    // Expired while nobody swept: reissued, and nothing used.
    let later = NOW + 8 * HOUR;
    let sync = grants.sync_config(vec![reread(&wanted, later)], later).await.unwrap();
    assert_eq!(sync.reissued, [id("a")]);
    let again = grants.by_id(&id("a")).unwrap();
    assert_eq!((again.terms().revision, again.terms().expires_at_ms), (2, later + 8 * HOUR));
    assert_eq!(again.standing(), Standing::fresh());
    assert!(!live.is_live(later) && live.cancelled().is_cancelled());
    assert_eq!(standing(&after_crash(&data), "a"), Standing::fresh());

    // And the same after the sweep.
    let later = later + 8 * HOUR;
    expired(&grants, later).await;
    assert_eq!(grants.sync_config(vec![reread(&wanted, later)], later).await.unwrap().reissued, [id("a")]);
}

/// Revision 2 was in force when the gateway died, and its row was not on disk yet.
#[tokio::test]
async fn what_was_used_under_an_issue_that_is_lost_stays_used_where_it_is_issued_anew() {
    let data = folder();
    let wanted = configured("a");
    load(&open(&data)).sync_config(vec![wanted.clone()], NOW).await.unwrap();
    let later = NOW + 8 * HOUR;
    let touched = ReplayedIntent { labels: UNTRUSTED, ..intent("a", 2, true) };
    let grants = LiveGrants::load(&open(&data), &[intent("a", 1, true), touched, intent("a", 2, false)]).unwrap();
    assert_eq!(grants.sync_config(vec![reread(&wanted, later)], later).await.unwrap().reissued, [id("a")]);
    let used = Standing { calls: 2, writes: 1, labels: UNTRUSTED, ..Standing::fresh() };
    assert_eq!(standing(&grants, "a"), used);
    // It is on the new row from here on, and not counted a second time.
    let much_later = later + 8 * HOUR;
    assert_eq!(grants.sync_config(vec![reread(&wanted, much_later)], much_later).await.unwrap().reissued, [id("a")]);
    assert_eq!(standing(&grants, "a"), Standing::fresh());
}

#[tokio::test]
async fn a_revoked_or_completed_config_grant_is_never_reissued() {
    let data = folder();
    let grants = load(&open(&data));
    grants.sync_config(vec![configured("a"), configured("b")], NOW).await.unwrap();
    grants.end(&id("a"), EndAs::Revoked, "ann", None, NOW).await.unwrap();
    grants.end(&id("b"), EndAs::Completed, "bot", None, NOW).await.unwrap();
    expired(&grants, NOW + 400 * 24 * HOUR).await;
    drop(grants);
    let grants = load(&open(&data));
    let changed = Grant { purpose: "new words".to_owned(), ..configured("a") };
    for wanted in [vec![configured("a"), configured("b")], vec![], vec![changed, configured("b")]] {
        let sync = grants.sync_config(wanted.clone(), NOW + 400 * 24 * HOUR).await.unwrap();
        assert_eq!(sync.stay_ended.len(), wanted.len());
        assert_eq!(standing(&grants, "a").state, GrantState::Revoked);
    }
}

/// Somebody's word counts over an ending that would have the grant issued anew: an expiry, or leaving the configuration for a while.
#[tokio::test]
async fn a_config_grant_that_is_revoked_after_its_end_is_not_reissued() {
    let later = NOW + 9 * HOUR;
    for is_expiry in [true, false] {
        let data = folder();
        let grants = load(&open(&data));
        grants.sync_config(vec![configured("a")], NOW).await.unwrap();
        let state = if is_expiry {
            expired(&grants, later).await;
            // That it leaves the configuration too does not end it a second time.
            assert!(grants.sync_config(vec![], later).await.unwrap().withdrawn.is_empty());
            assert_eq!(grants.entry(&id("a")).unwrap().ending.unwrap().at_ms, NOW + 8 * HOUR);
            GrantState::Expired
        } else {
            assert_eq!(grants.sync_config(vec![], NOW).await.unwrap().withdrawn, [id("a")]);
            GrantState::Revoked
        };
        for (by, at_ms) in [("ann", later), ("bob", later + 1)] {
            let ended = grants.end(&id("a"), EndAs::Revoked, by, Some("enough"), at_ms).await.unwrap();
            assert!(!ended.was_active);
        }
        // What nobody says does not count over it.
        expired(&grants, later + 2).await;
        assert!(grants.sync_config(vec![], later).await.unwrap().withdrawn.is_empty());
        for grants in [&after_crash(&data), &grants] {
            let entry = grants.entry(&id("a")).unwrap();
            let ending = entry.ending.unwrap();
            assert_eq!((ending.at_ms, ending.by.as_deref(), ending.reason.as_deref()), (later, Some("ann"), Some("enough")));
            assert_eq!(entry.grant.standing().state, state, "how it ended first");
            let sync = grants.sync_config(vec![reread(&configured("a"), later)], later).await.unwrap();
            assert_eq!(sync, ConfigSync { stay_ended: vec![id("a")], ..ConfigSync::default() });
        }
    }
}

#[tokio::test]
async fn changed_terms_replace_the_grant_and_wash_nothing_off() {
    let data = folder();
    let store = open(&data);
    let tokens = Tokens::load(&store).unwrap();
    let grants = load(&store);
    grants.sync_config(vec![configured("a")], NOW).await.unwrap();
    let old = grants.by_id(&id("a")).unwrap();
    tokens.issue_grant(old.terms()).await.unwrap();
    old.touch(UNTRUSTED);
    let changed = Grant { agent: "other".parse().unwrap(), ..configured("a") };
    assert_eq!(grants.sync_config(vec![changed], NOW + 1).await.unwrap().replaced, [id("a")]);
    assert!(old.cancelled().is_cancelled() && !old.is_live(NOW + 1));
    let new = grants.by_id(&id("a")).unwrap();
    assert!(new.is_live(NOW + 1));
    assert_eq!((new.terms().revision, new.standing().labels), (2, UNTRUSTED));
    assert!(grants.of(&"bot".parse().unwrap()).is_empty());
    assert_eq!(grants.of(&"other".parse().unwrap()).len(), 1);
    // Neither the usage nor the tokens of the old issue come back.
    let again = LiveGrants::load(&open(&crashed(&data)), &[intent("a", 1, true)]).unwrap();
    assert_eq!(standing(&again, "a"), new.standing());
    let longer = Grant { expires_at_ms: NOW + 10 * HOUR, agent: "other".parse().unwrap(), ..configured("a") };
    assert_eq!(grants.sync_config(vec![longer], NOW + 2).await.unwrap().replaced, [id("a")]);
}

#[tokio::test]
async fn what_leaves_the_configuration_ends_and_may_come_back() {
    let data = folder();
    let grants = load(&open(&data));
    grants.create(terms("created", "bot"), NOW).await.unwrap();
    grants.sync_config(vec![configured("a")], NOW).await.unwrap();
    let live = grants.by_id(&id("a")).unwrap();
    assert_eq!(grants.sync_config(vec![], NOW + 1).await.unwrap().withdrawn, [id("a")]);
    assert!(live.cancelled().is_cancelled());
    assert!(grants.by_id(&id("created")).unwrap().is_live(NOW + 1));
    assert_eq!(standing(&after_crash(&data), "a").state, GrantState::Revoked);
    assert_eq!(grants.sync_config(vec![configured("a")], NOW + 2).await.unwrap().reissued, [id("a")]);
    assert!(grants.by_id(&id("a")).unwrap().is_live(NOW + 2));
    let clash = grants.sync_config(vec![configured("created")], NOW + 3).await;
    assert_eq!(clash, Err(GrantFault::Clash(id("created"))));
    assert!(grants.by_id(&id("a")).unwrap().is_live(NOW + 3), "nothing is changed at a clash");
}

#[tokio::test]
async fn rows_that_contradict_themselves_are_refused() {
    for sql in [
        "UPDATE grants SET revision = 2",
        "UPDATE grants SET state = 'revoked'",
        "UPDATE grants SET state = 'asleep'",
        "UPDATE grants SET calls = -1",
        "UPDATE grants SET terms = '{}'",
        "UPDATE grants SET id = 'z'",
    ] {
        let data = folder();
        let store = open(&data);
        load(&store).create(terms("a", "bot"), NOW).await.unwrap();
        tamper(data.path(), sql);
        let fault = LiveGrants::load(&store, &[]).unwrap_err();
        assert!(matches!(fault, StoreFault::Row { table: "grants", .. }), "{sql}: {fault}");
    }
}

/// A reload: what is narrower has ended before what else changes, and what is wider is not there before it has.
#[tokio::test]
async fn the_grants_of_another_configuration_are_narrowed_first_and_widened_last() {
    let data = folder();
    let grants = load(&open(&data));
    grants.sync_config(vec![configured("kept"), configured("gone"), configured("other")], NOW).await.unwrap();
    let before = |name: &str| grants.by_id(&id(name)).unwrap();
    let (kept, gone, other) = (before("kept"), before("gone"), before("other"));
    gone.touch(UNTRUSTED);
    let wanted = |names: &[&str]| {
        let changed = |name: &&str| Grant { purpose: if *name == "other" { "x" } else { "" }.to_owned(), ..configured(name) };
        names.iter().map(|name| if *name == "other" { changed(name) } else { configured(name) }).collect::<Vec<_>>()
    };
    let made = Grant { from_config: false, ..terms("made", "bot") };
    grants.create(made, NOW).await.unwrap();
    assert_eq!(grants.change_config(wanted(&["kept", "made"]), NOW).unwrap_err(), GrantFault::Clash(id("made")));
    let mut change = grants.change_config(wanted(&["kept", "other", "new"]), NOW).unwrap();
    assert!(gone.is_live(NOW + 1) && other.is_live(NOW + 1), "nothing has changed yet");
    let mut ended: Vec<String> = change.narrow().iter().map(|grant| grant.terms().id.to_string()).collect();
    ended.sort();
    assert_eq!(ended, ["gone", "other"]);
    assert!(kept.is_live(NOW + 1) && !gone.is_live(NOW + 1) && !other.is_live(NOW + 1));
    assert!(other.cancelled().is_cancelled() && grants.by_id(&id("new")).is_none());
    assert!(Arc::ptr_eq(&before("other"), &other), "what is wider is not there");
    let (sync, stored) = change.widen();
    stored.await.unwrap();
    assert_eq!((sync.replaced, sync.issued, sync.withdrawn), (vec![id("other")], vec![id("new")], vec![id("gone")]));
    assert!(before("other").is_live(NOW + 1) && before("new").is_live(NOW + 1) && Arc::ptr_eq(&before("kept"), &kept));
    // Put back, the task has still touched what it has touched.
    let again = Grant { agent: "else".parse().unwrap(), ..configured("gone") };
    grants.sync_config(vec![again], NOW).await.unwrap();
    assert_eq!(standing(&after_crash(&data), "gone").labels, UNTRUSTED);
}
