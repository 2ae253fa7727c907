//! Grants that were handed on: what they may be, what they cost, and how they fall.

use bailiwick_pipeline::{
    grant::{Budget, Grant, GrantState, Labels, Spent},
    ids::GrantId,
    ports::Grants as _,
};

use super::{HOUR, NOW, crashed, folder, open, terms};
use crate::{EndAs, GrantFault, LiveGrants, ReplayedIntent};

fn root() -> Grant {
    Grant { delegation_depth: 2, ..terms("root", "bot") }
}

/// One that is handed on from this one, to an agent of its own.
fn below(id: &str, above: &Grant) -> Grant {
    Grant {
        parent: Some(above.id.clone()),
        delegation_depth: above.delegation_depth.saturating_sub(1),
        default: false,
        ..Grant { id: id.parse().unwrap(), agent: format!("agent-{id}").parse().unwrap(), ..above.clone() }
    }
}

fn id(text: &str) -> GrantId {
    text.parse().unwrap()
}

fn state(grants: &LiveGrants, name: &str) -> GrantState {
    grants.by_id(&id(name)).unwrap().standing().state
}

/// Root, child, grandchild, and a second child.
async fn family(grants: &LiveGrants) {
    let root = root();
    let child = below("child", &root);
    for terms in [root.clone(), child.clone(), below("grandchild", &child), below("second", &root)] {
        grants.create(terms, NOW).await.unwrap();
    }
}

#[tokio::test]
async fn a_family_falls_with_its_root_and_is_found_fallen_after_a_restart() {
    let data = folder();
    let store = open(&data);
    let grants = LiveGrants::load(&store, &[]).unwrap();
    family(&grants).await;
    let last = grants.by_id(&id("grandchild")).unwrap();
    assert_eq!((last.depth(), last.chain().count()), (2, 3));
    let ended = grants.end(&id("child"), EndAs::Revoked, "olga", Some("enough"), NOW + 1).await.unwrap();
    assert_eq!((ended.was_active, ended.drained, ended.fell), (true, true, vec![id("grandchild")]));
    assert!(last.cancelled().is_cancelled() && !last.is_live(NOW + 2));
    let reason = grants.entry(&id("grandchild")).unwrap().ending.unwrap().reason.unwrap();
    assert!(reason.contains("grant `child` above it was revoked"), "{reason}");
    for grants in [grants, LiveGrants::load(&open(&crashed(&data)), &[]).unwrap()] {
        let states = ["root", "child", "grandchild", "second"].map(|name| state(&grants, name));
        assert_eq!(states, [GrantState::Active, GrantState::Revoked, GrantState::Revoked, GrantState::Active]);
    }
}

/// What falls is told once, also where it can't be stored, and before that is known.
#[tokio::test]
async fn what_falls_now_is_told_before_it_is_stored_and_only_then() {
    let data = folder();
    let store = open(&data);
    let grants = LiveGrants::load(&store, &[]).unwrap();
    family(&grants).await;
    let end = |name: &str| grants.end_now(&id(name), EndAs::Revoked, "olga", None, NOW + 1).unwrap();
    let (fell, done) = end("child");
    assert_eq!((fell, state(&grants, "grandchild")), (vec![id("grandchild")], GrantState::Revoked));
    drop(done);
    let (fell, done) = end("child");
    assert_eq!(fell, []);
    assert!(!done.await.unwrap().was_active);
    let (mut fell, done) = end("root");
    assert_eq!(fell, [id("second")], "what fell before does not fall again");
    fell.insert(0, id("root"));
    assert_eq!(done.await.unwrap().fell, fell[1..]);
    assert!(fell.iter().all(|id| grants.entry(id).unwrap().ending.is_some()));
}

/// An agent may hand on and end as often as it likes: nobody walks over, or keeps for long, what has ended.
#[tokio::test]
async fn what_was_handed_on_and_has_ended_is_soon_forgotten() {
    let data = folder();
    let store = open(&data);
    let grants = LiveGrants::load(&store, &[]).unwrap();
    grants.create(root(), NOW).await.unwrap();
    let end = async |grants: &LiveGrants, name: &str, at_ms: u64| {
        grants.end(&id(name), EndAs::Completed, "bot", None, at_ms).await.unwrap();
    };
    for number in 0..20 {
        grants.create(below(&format!("c{number}"), &root()), NOW).await.unwrap();
        end(&grants, &format!("c{number}"), NOW).await;
    }
    assert_eq!(grants.below_in_all(&id("root")), 0);
    let own = Grant { default: true, ..terms("own", "other") };
    grants.create(own, NOW).await.unwrap();
    end(&grants, "own", NOW).await;
    // And one that an agent got by itself.
    grants.create(Grant { created_by: Some("agent:other".to_owned()), ..terms("auto", "other") }, NOW).await.unwrap();
    end(&grants, "auto", NOW).await;
    for grants in [grants, LiveGrants::load(&open(&crashed(&data)), &[]).unwrap()] {
        assert_eq!(grants.below_in_all(&id("root")), 0);
        grants.expire(NOW + HOUR).await.stored.unwrap();
        assert_eq!(grants.list().len(), 23);
        // What ended long ago is looked for once a minute.
        grants.expire(NOW + HOUR + 60_000).await.stored.unwrap();
        let mut left: Vec<String> = grants.list().iter().map(|entry| entry.grant.terms().id.to_string()).collect();
        left.sort();
        assert_eq!(left, ["own", "root"]);
        assert!(grants.of(&"agent-c0".parse().unwrap()).is_empty());
    }
}

#[tokio::test]
async fn a_grant_says_no_more_than_a_call_can_look_at() {
    let data = folder();
    let grants = LiveGrants::load(&open(&data), &[]).unwrap();
    let tools = |count: u64| (0..count).map(|number| (format!("tickets__t{number}").parse().unwrap(), 1)).collect();
    let one = root().capabilities.remove(0);
    let fits = Grant { capabilities: vec![one.clone(); 1000], budget: Budget { tools: tools(100), ..root().budget }, ..root() };
    grants.create(fits.clone(), NOW).await.unwrap();
    let many = Grant { id: id("many"), capabilities: vec![one; 1001], ..fits.clone() };
    let budgeted = Grant { id: id("budgeted"), budget: Budget { tools: tools(101), ..root().budget }, ..fits };
    for (terms, told) in [(many, "1001 capabilities, and may have 1000"), (budgeted, "101 budgets of tools, and may have 100")] {
        let name = terms.id.clone();
        let fault = grants.create(terms, NOW).await.unwrap_err();
        assert!(matches!(fault, GrantFault::TooLong { .. }) && fault.to_string().contains(told), "{fault}");
        assert!(grants.by_id(&name).is_none());
    }
}

#[tokio::test]
async fn a_chain_is_whole_again_after_a_restart() {
    let data = folder();
    let store = open(&data);
    family(&LiveGrants::load(&store, &[]).unwrap()).await;
    let grants = LiveGrants::load(&open(&crashed(&data)), &[]).unwrap();
    let last = grants.by_id(&id("grandchild")).unwrap();
    let chain: Vec<&str> = last.chain().map(|grant| grant.terms().id.as_str()).collect();
    assert_eq!(chain, ["grandchild", "child", "root"]);
    assert_eq!(last.facts().delegators, ["agent-child", "bot"]);
    grants.end(&id("root"), EndAs::Completed, "bot", None, NOW + 1).await.unwrap();
    assert!(!last.is_live(NOW + 1) && state(&grants, "second") == GrantState::Completed);
}

#[tokio::test]
async fn what_reaches_beyond_the_grant_above_it_is_not_made() {
    let data = folder();
    let store = open(&data);
    let grants = LiveGrants::load(&store, &[]).unwrap();
    family(&grants).await;
    let root = root();
    let wide = Grant { expires_at_ms: root.expires_at_ms + 1, budget: Budget::default(), ..below("wide", &root) };
    let fault = grants.create(wide, NOW).await.unwrap_err();
    let GrantFault::Exceeds { excess, .. } = &fault else { unreachable!("{fault}") };
    let axes: Vec<&str> = excess.iter().map(|excess| excess.axis).collect();
    assert_eq!(axes, ["expires_at", "budget.calls", "budget.writes"]);
    let too_deep = Grant { delegation_depth: 0, ..below("third", &below("grandchild", &below("child", &root))) };
    assert!(matches!(grants.create(too_deep, NOW).await, Err(GrantFault::Exceeds { .. })));
    let own = Grant { agent: root.agent.clone(), ..below("own", &root) };
    assert!(matches!(grants.create(own, NOW).await, Err(GrantFault::Circle { .. })));
    let back = Grant { agent: root.agent.clone(), ..below("back", &below("child", &root)) };
    assert!(matches!(grants.create(back, NOW).await, Err(GrantFault::Circle { .. })));
    let nobodys = Grant { parent: Some(id("nobody")), ..below("x", &root) };
    assert!(matches!(grants.create(nobodys, NOW).await, Err(GrantFault::Unknown(_))));
    grants.end(&id("child"), EndAs::Revoked, "olga", None, NOW).await.unwrap();
    assert!(matches!(grants.create(below("late", &below("child", &root)), NOW).await, Err(GrantFault::NotLive(_))));
    assert!(["wide", "third", "own", "back", "x", "late"].iter().all(|name| grants.by_id(&id(name)).is_none()));
}

/// Attack 76: fan-out.
#[tokio::test]
async fn a76_there_is_an_end_of_grants_below_one() {
    let data = folder();
    let store = open(&data);
    let grants = LiveGrants::load(&store, &[]).unwrap();
    grants.create(root(), NOW).await.unwrap();
    for number in 0..super::super::grants::MOST_BELOW {
        grants.create(below(&format!("c{number}"), &root()), NOW).await.unwrap();
    }
    assert!(matches!(grants.create(below("more", &root()), NOW).await, Err(GrantFault::TooMany(_))));
    grants.end(&id("c0"), EndAs::Completed, "bot", None, NOW).await.unwrap();
    grants.create(below("more", &root()), NOW).await.unwrap();
}

/// What is left above is what can be handed on.
#[tokio::test]
async fn a_budget_that_is_partly_spent_hands_on_the_rest() {
    let data = folder();
    let store = open(&data);
    let spent = |count: usize| {
        (0..count).map(|_| ReplayedIntent {
            grant: id("root"),
            grant_revision: 1,
            debited: vec![id("root")],
            tool: "tickets__get".parse().ok(),
            at_ms: NOW + 5,
            has_effect: false,
            bytes_out: 10,
            cost: 3,
            labels: Labels::default(),
            sums: vec![("refunds".into(), 10)],
            approval: None,
            allowance: None,
        })
    };
    let pattern = || "tickets__*".parse().unwrap();
    let budget =
        Budget { calls: Some(10), bytes_out: Some(1000), cost: Some(100), tools: [(pattern(), 9)].into(), ..Budget::default() };
    LiveGrants::load(&store, &[]).unwrap().create(Grant { budget: budget.clone(), ..root() }, NOW).await.unwrap();
    let intents: Vec<ReplayedIntent> = spent(4).collect();
    let grants = LiveGrants::load(&store, &intents).unwrap();
    let live = grants.by_id(&id("root")).unwrap();
    assert_eq!(
        live.spent(),
        Spent {
            bytes_out: 40,
            cost: 12,
            tools: [(pattern(), 4)].into(),
            sums: [("refunds".into(), 40)].into(),
            last_used_ms: NOW + 5,
            used: live.spent().used
        }
    );
    assert!(live.has_used(&"tickets__get".parse().unwrap()) && !live.has_used(&"tickets__put".parse().unwrap()));
    let left =
        Budget { calls: Some(6), bytes_out: Some(960), cost: Some(88), tools: [(pattern(), 5)].into(), ..Budget::default() };
    assert_eq!(live.left(), left);
    let all = Grant { budget, ..below("all", &root()) };
    assert!(matches!(grants.create(all, NOW + 6).await, Err(GrantFault::Exceeds { .. })));
    grants.create(Grant { budget: left, ..below("rest", &root()) }, NOW + 6).await.unwrap();
    grants.flush(7).await.unwrap();
    // Stored, and not counted twice.
    let again = LiveGrants::load(&open(&crashed(&data)), &[]).unwrap();
    assert_eq!(again.by_id(&id("root")).unwrap().spent(), live.spent());
}

#[tokio::test]
async fn a_grant_ends_when_it_was_idle_for_too_long() {
    let data = folder();
    let store = open(&data);
    let grants = LiveGrants::load(&store, &[]).unwrap();
    grants.create(Grant { idle_ms: Some(HOUR), ..root() }, NOW).await.unwrap();
    grants.create(Grant { idle_ms: Some(HOUR), ..below("child", &root()) }, NOW).await.unwrap();
    assert!(grants.expire(NOW + HOUR - 1).await.ended.is_empty());
    let live = grants.by_id(&id("root")).unwrap();
    assert!(live.is_live(NOW + HOUR - 1) && !live.is_live(NOW + HOUR));
    let mut ended = grants.expire(NOW + HOUR).await.ended;
    ended.sort();
    assert_eq!(ended, [id("child"), id("root")]);
    assert_eq!(state(&grants, "root"), GrantState::Expired);
}

#[tokio::test]
async fn what_has_not_ended_is_found_by_what_it_is() {
    let data = folder();
    let grants = LiveGrants::load(&open(&data), &[]).unwrap();
    family(&grants).await;
    grants.end(&id("child"), EndAs::Revoked, "olga", None, NOW).await.unwrap();
    let mut all = grants.unended_of(|_| true);
    all.sort();
    assert_eq!(all, [id("root"), id("second")]);
    assert_eq!(grants.unended_of(|grant| grant.terms().parent.is_some()), [id("second")]);
}
