//! `grant`: which grant, and does the tool exist under it?

use std::collections::BTreeSet;

use bailiwick_pipeline::{
    grant::{Grant, GrantState},
    records::Outcome,
};
use bailiwick_policy::{Band, Kind};
use serde_json::json;

use crate::world::{ALL, Asking, Bench, Heard, START_MS, Told, alive, capability, terms};

fn as_default(terms: Grant) -> Grant {
    Grant { default: true, ..terms }
}

fn of_other(terms: Grant) -> Grant {
    Grant { agent: "other".parse().unwrap(), ..terms }
}

async fn acted_under(bench: &Bench) -> String {
    let heard = bench.call("tickets__get", "{}").await;
    heard.ran().outcome()["grant"].as_str().unwrap().to_owned()
}

fn not_live(heard: &Heard, named: &str, detail: &str) {
    heard.refused("grant", Outcome::Denied, "grant_not_live");
    let words = format!("grant `{named}` is not live for this agent: ask its owner for a new one");
    assert_eq!(heard.told(), Told::Error(1002, words, None, 200));
    assert_eq!(heard.decision()["detail"], detail);
}

fn choice(heard: &Heard, ids: &[&str]) {
    heard.refused("grant", Outcome::Denied, "choose_grant");
    let words = format!("which grant is not clear: name one in the header Bailiwick-Grant ({})", ids.join(", "));
    assert_eq!(heard.told(), Told::Error(1001, words, Some(json!({ "grants": ids })), 200));
}

#[tokio::test]
async fn the_only_grant_the_default_grant_the_named_one_and_the_borne_one() {
    assert_eq!(acted_under(&Bench::with([terms("only", &ALL)])).await, "only");
    let bench = Bench::with([terms("a", &ALL), as_default(terms("b", &ALL)), terms("c", &ALL)]);
    assert_eq!(acted_under(&bench).await, "b");
    let heard = bench.call_under("c", "tickets__get").await;
    assert_eq!(heard.ran().outcome()["grant"], "c");
    bench.principal(|principal| principal.grant = Some("a".parse().unwrap()));
    assert_eq!(acted_under(&bench).await, "a");
    assert_eq!(bench.call_under("a", "tickets__get").await.ran().outcome()["grant"], "a");
    not_live(&bench.call_under("c", "tickets__get").await, "c", "the request bears the token of another grant than it names");
}

#[tokio::test]
async fn without_a_live_grant_there_are_no_tools() {
    let early = Grant { not_before_ms: START_MS + 500, ..terms("early", &ALL) };
    let late = Grant { expires_at_ms: START_MS, ..terms("late", &ALL) };
    for grants in [vec![], vec![early, late], vec![of_other(terms("x", &ALL))], vec![as_default(of_other(terms("x", &ALL)))]] {
        let bench = Bench::with(grants);
        let heard = bench.call("tickets__get", "{}").await;
        heard.refused("grant", Outcome::Denied, "unknown_tool");
        assert_eq!(heard.told(), Told::Error(-32602, "Unknown tool: tickets__get".to_owned(), None, 200));
        let list = bench.list().await;
        assert_eq!(list.told(), Told::Tools(vec![]));
        assert_eq!((list.decision()["effect"].clone(), list.answer.outcome), ("allow".into(), Outcome::Success));
        assert_eq!(list.outcome()["method"], "tools/list");
    }
}

#[tokio::test]
async fn several_grants_and_none_named_are_a_choice_of_its_own_live_ones() {
    let ended = Grant { expires_at_ms: START_MS, ..terms("old", &ALL) };
    let bench = Bench::with([terms("b", &ALL), terms("a", &ALL), of_other(terms("x", &ALL)), ended]);
    choice(&bench.call("tickets__get", "{}").await, &["a", "b"]);
    choice(&bench.list().await, &["a", "b"]);
    // Two defaults are none.
    let bench = Bench::with([as_default(terms("b", &ALL)), as_default(terms("a", &ALL)), terms("c", &ALL)]);
    choice(&bench.call("tickets__get", "{}").await, &["a", "b", "c"]);
}

/// It never moves to another grant by itself.
#[tokio::test]
async fn when_the_default_ends_the_next_call_must_choose() {
    let bench = Bench::with([as_default(terms("a", &ALL)), terms("b", &ALL)]);
    assert_eq!(acted_under(&bench).await, "a");
    bench.grant().end(GrantState::Completed);
    choice(&bench.call("tickets__get", "{}").await, &["b"]);
    assert_eq!(bench.call_under("b", "tickets__get").await.ran().outcome()["grant"], "b");
    // A default of another agent says nothing about this one.
    let bench = Bench::with([as_default(of_other(terms("x", &ALL))), terms("b", &ALL)]);
    assert_eq!(acted_under(&bench).await, "b");
}

#[tokio::test]
async fn a_named_or_borne_grant_that_is_not_live_for_this_agent_is_refused_in_the_same_words() {
    let early = Grant { not_before_ms: START_MS + 500, ..terms("early", &ALL) };
    let late = Grant { expires_at_ms: START_MS, ..terms("late", &ALL) };
    let bench = Bench::with([terms("g", &ALL), early, late, of_other(terms("x", &ALL)), terms("done", &ALL)]);
    bench.fakes.grants.lock().unwrap()[4].end(GrantState::Revoked);
    for (named, detail) in [
        ("nope", "there is no such grant"),
        ("NOT AN ID", "it is no grant id"),
        ("x", "it is a grant of agent `other`"),
        ("early", "it is outside its lifetime, or an ancestor has ended"),
        ("late", "it is outside its lifetime, or an ancestor has ended"),
        ("done", "it is revoked"),
    ] {
        not_live(&bench.call_under(named, "tickets__get").await, named, detail);
        if let Ok(borne) = named.parse() {
            bench.principal(|principal| principal.grant = Some(borne));
            not_live(&bench.call("tickets__get", "{}").await, named, detail);
            bench.principal(|_| {});
        }
    }
}

#[tokio::test]
async fn lifetimes_begin_and_end_to_the_millisecond() {
    let exact = Grant { not_before_ms: START_MS, expires_at_ms: START_MS + 1, ..terms("g", &ALL) };
    let bench = Bench::with([exact]);
    bench.call_under("g", "tickets__get").await.ran();
    bench.fakes.advance_ms(1);
    not_live(&bench.call_under("g", "tickets__get").await, "g", "it is outside its lifetime, or an ancestor has ended");
}

/// Invariant 4: the answer to what is not granted is, but for the name, byte for byte that to what does not exist.
#[tokio::test]
async fn an_ungranted_tool_can_not_be_told_from_one_that_does_not_exist() {
    let bench = Bench::with([terms("g", &["tickets__*"])]);
    let unknown = |heard: &Heard, name: &str| {
        heard.refused("grant", Outcome::Denied, "unknown_tool");
        format!("{:?}", heard.told()).replace(name, "NAME")
    };
    let absent = unknown(&bench.call("tickets__nosuch", "{}").await, "tickets__nosuch");
    for (name, arguments) in [
        ("files__delete", r#"{"path":"/x"}"#),
        ("files__delete", r#"{"wrong":1}"#),
        ("vault__get", "{}"),
        ("tickets__banned", "{}"),
        ("tickets__unruled", "{}"),
        ("", "{}"),
        ("Tickets__get", "{}"),
        ("tickets__get ", "{}"),
        ("tickets__*", "{}"),
    ] {
        let heard = bench.call(name, arguments).await;
        let told =
            if name.is_empty() { format!("{:?}", heard.told()).replace("tool: ", "tool: NAME") } else { unknown(&heard, name) };
        assert_eq!(told, absent, "{name}");
    }
    // Long names are cut, in the answer and on record.
    let heard = bench.call(&"n".repeat(500), "{}").await;
    assert_eq!(heard.text(), format!("Unknown tool: {}", "n".repeat(128)));
    assert_eq!(heard.outcome()["tool"], "n".repeat(128));
    // The operator reads why.
    let detail = bench.call("files__delete", "{}").await.decision()["detail"].clone();
    assert_eq!(detail, "grant `g` does not cover it, its band is above a ceiling, or no policy could ever allow it");
    let detail = bench.call("tickets__nosuch", "{}").await.decision()["detail"].clone();
    assert_eq!(detail, "no connector has a callable tool of this name");
}

async fn listed(bench: &Bench) -> BTreeSet<String> {
    match bench.list().await.told() {
        Told::Tools(names) => names.into_iter().collect(),
        other => panic!("{other:?}"),
    }
}

/// Invariant 3, over agents × tools × grants: what is listed is callable (its context aside), and nothing else is.
#[tokio::test]
async fn callable_means_listed() {
    let reads = || {
        let mut grant = terms("g", &ALL);
        grant.capabilities.iter_mut().for_each(|capability| capability.kinds = Some([Kind::Read].into()));
        grant
    };
    let cases: Vec<(Band, Grant, &[&str])> = vec![
        (Band::High, terms("g", &["tickets__get"]), &["tickets__get"]),
        (Band::High, terms("g", &["files__stat", "tickets__close"]), &["files__stat", "tickets__close"]),
        (Band::High, terms("g", &["files__*"]), &["files__delete", "files__stat"]),
        (
            Band::Critical,
            Grant { ceiling: Band::Critical, ..terms("g", &["files__*"]) },
            &["files__delete", "files__stat", "files__wipe"],
        ),
        (Band::Critical, terms("g", &["files__*"]), &["files__delete", "files__stat"]),
        (
            Band::Medium,
            Grant { ceiling: Band::Critical, ..terms("g", &["files__*", "vault__*"]) },
            &["files__stat", "vault__get", "vault__put"],
        ),
        (Band::Low, terms("g", &["vault__*", "tickets__unruled", "tickets__banned"]), &["vault__get"]),
        (Band::High, Grant { ceiling: Band::Low, ..terms("g", &["vault__*"]) }, &["vault__get"]),
        (Band::High, reads(), &["files__stat", "tickets__daily", "tickets__get", "tickets__search", "vault__get"]),
        (Band::High, terms("g", &[]), &[]),
    ];
    for (ceiling, grant, expected) in cases {
        let bench = Bench::with([grant]);
        bench.agent(|agent| agent.ceiling = ceiling);
        let list = listed(&bench).await;
        assert_eq!(list, expected.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
        let every: Vec<String> = bench.fakes.world.lock().unwrap().tools().map(|tool| tool.name.to_string()).collect();
        for name in every {
            let headers = Asking::plain();
            let callable = bench.call_as(&name, "{}", headers).await.outcome()["reason"] != "unknown_tool";
            assert_eq!(callable, list.contains(&name), "{name}");
        }
    }
}

/// Invariant 10: the effective right is the intersection of the chain, and the chain ends with its first end.
#[tokio::test]
async fn ancestors_narrow() {
    let root = alive(terms("root", &["tickets__*"]), None);
    let mut reads = terms("parent", &ALL);
    reads.capabilities = vec![capability("tickets__*"), capability("vault__get")];
    reads.capabilities[0].kinds = Some([Kind::Read].into());
    let parent = alive(Grant { ceiling: Band::Medium, ..reads }, Some(&root));
    let child = alive(terms("child", &ALL), Some(&parent));
    let bench = Bench::new();
    *bench.fakes.grants.lock().unwrap() = vec![child];
    let expected = ["tickets__daily", "tickets__get", "tickets__search"];
    assert_eq!(listed(&bench).await, expected.into_iter().map(str::to_owned).collect());
    bench.call("tickets__get", "{}").await.ran();
    for name in ["tickets__close", "vault__get", "files__stat"] {
        bench.call(name, "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
    }
    root.end(GrantState::Revoked);
    bench.call("tickets__get", "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
    not_live(&bench.call_under("child", "tickets__get").await, "child", "it is outside its lifetime, or an ancestor has ended");
}
