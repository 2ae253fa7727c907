//! Patterns, capabilities, the chain, and the guard of the way out.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};
use serde_json::json;

use super::*;

fn terms(id: &str) -> Grant {
    Grant {
        owner: "owner".to_owned(),
        purpose: "test".to_owned(),
        environment: String::new(),
        ..Grant::bare(id.parse().unwrap(), format!("agent-{id}").parse().unwrap(), Vec::new(), 10..20)
    }
}

fn alive(id: &str, parent: Option<&Arc<LiveGrant>>) -> Arc<LiveGrant> {
    Arc::new(LiveGrant::new(terms(id), Standing::fresh(), parent.cloned()))
}

fn name(text: &str) -> QualifiedName {
    text.parse().unwrap()
}

#[test]
fn patterns_are_a_tool_or_a_whole_connector() {
    let tool: ToolPattern = "a__b".parse().unwrap();
    let all: ToolPattern = "a__*".parse().unwrap();
    assert!(tool.covers(&name("a__b")) && !tool.covers(&name("a__c")) && !tool.covers(&name("x__b")));
    assert!(all.covers(&name("a__b")) && all.covers(&name("a__c")) && !all.covers(&name("ab__b")));
    assert_eq!((tool.connector().as_str(), all.connector().as_str()), ("a", "a"));
    assert_eq!((tool.to_string(), String::from(all)), ("a__b".to_owned(), "a__*".to_owned()));
    for bad in ["", "*", "a", "a__", "a__b*", "__*", "A__*", "a__*__*", "a*__b", "a__b c"] {
        assert_eq!(bad.parse::<ToolPattern>(), Err(PatternFault(bad.to_owned())), "{bad}");
        assert!(serde_json::from_value::<ToolPattern>(json!(bad)).is_err());
    }
    assert_eq!(serde_json::to_value(&tool).unwrap(), json!("a__b"));
    assert_eq!(ToolPattern::from_str(&"x".repeat(200)), Err(PatternFault("x".repeat(80))));
}

#[test]
fn a_capability_covers_by_name_and_kind() {
    let any_kind: Capability = serde_json::from_value(json!({"tools": "a__*"})).unwrap();
    let reads: Capability = serde_json::from_value(json!({"tools": "a__*", "kinds": ["read"]})).unwrap();
    let nothing: Capability = serde_json::from_value(json!({"tools": "a__*", "kinds": []})).unwrap();
    for kind in Kind::ALL {
        assert!(any_kind.covers(&name("a__b"), kind) && !any_kind.covers(&name("b__b"), kind));
        assert_eq!(reads.covers(&name("a__b"), kind), kind == Kind::Read);
        assert!(!nothing.covers(&name("a__b"), kind));
    }
    assert!(serde_json::from_value::<Capability>(json!({"tools": "a__*", "kind": ["read"]})).is_err());
}

#[test]
fn the_bounds_that_are_broken_are_named() {
    let capability: Capability = serde_json::from_value(
        json!({"tools": "a__*", "args": {"/x": {"eq": 1}, "/y/0": {"absent": true}, "/z": {"len_max": 1}}}),
    )
    .unwrap();
    let broken = |arguments: Value| {
        capability.broken_by(&arguments).into_iter().map(|(pointer, _)| pointer.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(broken(json!({"x": 1, "y": [], "z": "a"})), Vec::<String>::new());
    assert_eq!(broken(json!({"x": 2, "y": [0], "z": "a"})), ["/x", "/y/0"]);
    assert_eq!(broken(json!({})), ["/x", "/z"]);
}

#[test]
fn the_facts_tell_the_chain() {
    let root = alive("root", None);
    let parent = alive("parent", Some(&root));
    let child = alive("child", Some(&parent));
    assert_eq!((root.facts().depth, parent.facts().depth, child.facts().depth), (0, 1, 2));
    assert_eq!(child.facts().delegators, ["agent-parent", "agent-root"]);
    assert!(root.facts().delegators.is_empty());
    let ids: Vec<&str> = child.chain().map(|grant| grant.terms().id.as_str()).collect();
    assert_eq!(ids, ["child", "parent", "root"]);
    assert_eq!((child.facts().agent.as_str(), child.facts().id.as_str()), ("agent-child", "child"));
    assert!(format!("{child:?}").contains("child") && format!("{child:?}").contains("Active"));
}

#[test]
fn a_grant_lives_from_its_first_to_before_its_last_millisecond_with_all_its_ancestors() {
    let root = Arc::new(LiveGrant::new(Grant { not_before_ms: 12, expires_at_ms: 18, ..terms("root") }, Standing::fresh(), None));
    let child = alive("child", Some(&root));
    for (now, root_lives, child_lives) in
        [(9, false, false), (11, false, false), (12, true, true), (17, true, true), (18, false, false)]
    {
        assert_eq!((root.is_live(now), child.is_live(now)), (root_lives, child_lives), "{now}");
    }
    let alone = alive("alone", None);
    for (now, lives) in [(9, false), (10, true), (19, true), (20, false)] {
        assert_eq!(alone.is_live(now), lives, "{now}");
    }
}

#[test]
fn an_end_is_final_and_reaches_every_descendant() {
    let root = alive("root", None);
    let child = alive("child", Some(&root));
    let grandchild = alive("grandchild", Some(&child));
    assert!(child.end(GrantState::Completed));
    assert!(!child.end(GrantState::Revoked));
    assert_eq!(child.standing().state, GrantState::Completed);
    assert!(root.is_live(15) && !child.is_live(15) && !grandchild.is_live(15));
    assert!(!root.cancelled().is_cancelled() && child.cancelled().is_cancelled() && grandchild.cancelled().is_cancelled());
    assert!(root.enter().is_some() && child.enter().is_none() && grandchild.enter().is_none());
    assert_eq!(grandchild.end_of_chain(), (&child.terms().id, GrantState::Completed));
    assert_eq!(root.end_of_chain(), (&root.terms().id, GrantState::Expired));
    // Born of an ended parent, or ended when it comes back to life.
    assert!(alive("late", Some(&child)).enter().is_none());
    for state in [GrantState::Completed, GrantState::Revoked, GrantState::Expired] {
        let ended = Arc::new(LiveGrant::new(terms("x"), Standing { state, ..Standing::fresh() }, None));
        assert!(ended.enter().is_none() && ended.cancelled().is_cancelled() && !ended.is_live(15));
    }
}

/// What Cedar needs is built once for each world, whatever its epoch.
#[test]
fn a_grant_is_prepared_anew_for_a_new_world() {
    let world = || {
        Arc::new(World {
            epoch: 1,
            shelves: BTreeMap::new(),
            features: Arc::default(),
            names: Arc::default(),
            policies: Arc::new(bailiwick_policy::Policies::compile(&[], &[]).unwrap()),
            policy_digest: String::new(),
            connectors: Vec::new(),
            directory: Arc::default(),
        })
    };
    let (grant, one, other) = (alive("g", None), world(), world());
    let first = grant.prepared(&one).unwrap();
    assert!(Arc::ptr_eq(&first, &grant.prepared(&one).unwrap()));
    let second = grant.prepared(&other).unwrap();
    assert!(!Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&second, &grant.prepared(&other).unwrap()));
}

#[test]
fn states_have_their_words() {
    let words = [GrantState::Active, GrantState::Completed, GrantState::Revoked, GrantState::Expired].map(GrantState::as_str);
    assert_eq!(words, ["active", "completed", "revoked", "expired"]);
}

#[tokio::test(start_paused = true)]
async fn every_grant_of_the_chain_waits_for_the_passes_under_it() {
    let root = alive("root", None);
    let child = alive("child", Some(&root));
    let other = alive("other", Some(&root));
    let (first, second) = (child.enter().unwrap(), child.enter().unwrap());
    root.end(GrantState::Revoked);
    let drained = |grant: &Arc<LiveGrant>| {
        let grant = Arc::clone(grant);
        tokio::spawn(async move { grant.drained(Duration::from_mins(1)).await })
    };
    let (of_root, of_child) = (drained(&root), drained(&child));
    assert!(other.drained(Duration::ZERO).await);
    assert!(!root.drained(Duration::from_secs(1)).await);
    drop(first);
    assert!(!child.drained(Duration::from_secs(1)).await);
    drop(second);
    assert!(of_root.await.unwrap() && of_child.await.unwrap());
    // A pass that was refused is not counted.
    assert!(child.enter().is_none() && root.drained(Duration::ZERO).await);
    assert!(format!("{first:?}", first = alive("x", None).enter()).contains("SendPass"));
}

#[test]
fn labels_only_grow_and_reach_the_ancestors() {
    let root = alive("root", None);
    let child = alive("child", Some(&root));
    child.touch(Labels::UNTRUSTED);
    root.touch(Labels::CONFIDENTIAL);
    assert_eq!(child.standing().labels, Labels::UNTRUSTED);
    assert_eq!(root.standing().labels, Labels::UNTRUSTED.join(Labels::CONFIDENTIAL));
    root.touch(Labels::default());
    assert_eq!(root.standing().labels, Labels::UNTRUSTED.join(Labels::CONFIDENTIAL));
}

fn labels() -> impl Strategy<Value = Labels> {
    any::<u64>().prop_map(Labels::of_word)
}

fn kinds() -> impl Strategy<Value = Option<BTreeSet<Kind>>> {
    prop::option::of(prop::collection::btree_set(prop::sample::select(Kind::ALL.to_vec()), 0..4))
}

fn capabilities() -> impl Strategy<Value = Vec<Capability>> {
    let pattern = prop::sample::select(vec!["a__*", "b__*", "a__x", "a__y", "b__x"]);
    let one =
        (pattern, kinds()).prop_map(|(tools, kinds)| Capability { tools: tools.parse().unwrap(), kinds, args: BTreeMap::new() });
    prop::collection::vec(one, 0..4)
}

proptest! {
    #[test]
    fn joining_labels_is_a_semilattice(a in labels(), b in labels(), c in labels()) {
        prop_assert_eq!(a.join(b), b.join(a));
        prop_assert_eq!(a.join(b).join(c), a.join(b.join(c)));
        prop_assert_eq!(a.join(a), a);
        prop_assert_eq!(a.join(Labels::default()), a);
    }

    /// A pattern names what it covers, and prints as it is written.
    #[test]
    fn patterns_round_trip(text in "[a-z][a-z0-9-]{0,8}__([A-Za-z0-9_.-]{1,8}|\\*)", other in "[a-z]{1,3}__[a-z]{1,3}") {
        let pattern: ToolPattern = text.parse().unwrap();
        prop_assert_eq!(pattern.to_string(), text.clone());
        let other = name(&other);
        let (connector, tool) = text.split_once("__").unwrap();
        let expected = connector == other.connector().as_str() && other.tool().is_some_and(|own| tool == "*" || tool == own.as_str());
        prop_assert_eq!(pattern.covers(&other), expected);
    }

    /// All tools of a connector are none of its features: those are granted by their names.
    #[test]
    fn a_feature_is_covered_by_its_name_alone(connector in "[a-z]{1,3}", at in 0..3_usize) {
        let feature = format!("{connector}/{}", ["resource_read", "prompt_get", "complete"].get(at).unwrap_or(&"roots"));
        let covers = |pattern: &str| pattern.parse::<ToolPattern>().unwrap().covers(&name(&feature));
        let all_tools = format!("{connector}__*");
        prop_assert!(covers(&feature) && !covers(&all_tools));
        prop_assert_eq!(feature.parse::<ToolPattern>().unwrap().to_string(), feature.clone());
    }

    /// More capabilities never cover less, and more kinds never cover less.
    #[test]
    fn covering_is_monotone(some in capabilities(), more in capabilities(), tool in prop::sample::select(vec!["a__x", "a__y", "b__x", "c__x"])) {
        let covers = |all: &[Capability], kind| all.iter().any(|capability| capability.covers(&name(tool), kind));
        let both: Vec<Capability> = some.iter().chain(&more).cloned().collect();
        for kind in Kind::ALL {
            prop_assert_eq!(covers(&both, kind), covers(&some, kind) || covers(&more, kind));
            let wide: Vec<Capability> = some.iter().cloned().map(|capability| Capability { kinds: None, ..capability }).collect();
            prop_assert!(!covers(&some, kind) || covers(&wide, kind));
        }
    }

    #[test]
    fn terms_survive_being_stored(capabilities in capabilities(), calls in any::<Option<u64>>()) {
        let terms = Grant { capabilities, budget: Budget { calls, writes: None, ..Budget::default() }, ..terms("g") };
        let stored = serde_json::to_string(&terms).unwrap();
        prop_assert_eq!(serde_json::from_str::<Grant>(&stored).unwrap(), terms);
    }
}
