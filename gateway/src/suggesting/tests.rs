#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_pipeline::{
    constraint::{Bound, IntRange},
    grant::{Budget, Capability, Grant, ToolPattern},
};
use bailiwick_policy::{
    Ask, Band, CallFacts, ConnectorFacts, DEFAULT_BUNDLE, Decision, GrantFacts, Kind, Policies, PreparedGrant, Source, ToolFacts,
};
use bailiwick_schemas::names::QualifiedName;
use bailiwick_trail::{Options, Reader, Stream, Trail};
use proptest::{
    collection, option,
    prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, proptest},
    sample::{select, subsequence},
};
use serde_json::{Value, json};

use super::{Issue, Made, read, rule, suggest};

const TOOLS: [(&str, Kind, Band); 5] = [
    ("a__get", Kind::Read, Band::Low),
    ("a__put", Kind::Write, Band::Medium),
    ("a__drop", Kind::Admin, Band::Critical),
    ("b__send", Kind::Exfiltrate, Band::High),
    ("b/resource_read", Kind::Read, Band::Low),
];
const BEGIN: u64 = 1_000_000;
const TTL: u64 = 3_600_000;

fn tool(name: &str) -> QualifiedName {
    name.parse().unwrap()
}

/// Bounds that the calls below may keep or break.
fn bounds() -> impl Strategy<Value = BTreeMap<String, Bound>> {
    let range = (0_i64..4, 4_i64..9)
        .prop_map(|(min, max)| Bound { int_range: Some(IntRange { min: Some(min), max: Some(max) }), ..Bound::default() });
    let path =
        select(vec!["/srv", "/srv/in", "/"]).prop_map(|root| Bound { path_under: Some(root.to_owned()), ..Bound::default() });
    let one = Just(Bound { one_of: Some(vec![json!("x"), json!("y"), json!("z")]), ..Bound::default() });
    let absent = Just(Bound { absent: true, ..Bound::default() });
    (option::of(range), option::of(path), option::of(one), option::of(absent)).prop_map(|(n, path, word, none)| {
        let all = [("/n", n), ("/path", path), ("/word", word), ("/none", none)];
        all.into_iter().filter_map(|(pointer, bound)| Some((pointer.to_owned(), bound?))).collect()
    })
}

fn rights() -> impl Strategy<Value = Vec<Capability>> {
    let kinds =
        || option::of(subsequence(Kind::ALL.to_vec(), 1..5).prop_map(|kinds| kinds.into_iter().collect::<BTreeSet<Kind>>()));
    let right = move |name: &'static str| {
        (kinds(), bounds()).prop_map(move |(kinds, args)| Capability { tools: name.parse().unwrap(), kinds, args })
    };
    let names = subsequence(vec!["a__get", "a__put", "a__drop", "a__*", "b__send", "b__*", "b/resource_read"], 1..6);
    names.prop_flat_map(move |names| names.into_iter().map(right).collect::<Vec<_>>())
}

fn present() -> impl Strategy<Value = Grant> {
    let limit = || option::of(1_u64..60);
    (rights(), limit(), limit(), option::of(100_u64..4_000), limit(), option::of(1_u64..9), select(Band::ALL.to_vec()), 0_u8..4)
        .prop_map(|(capabilities, calls, writes, bytes_out, cost, drops, ceiling, delegation_depth)| {
            let grant = Grant::bare("g".parse().unwrap(), "a".parse().unwrap(), capabilities, BEGIN..BEGIN + TTL);
            let tools = drops.map(|most| ("a__*".parse().unwrap(), most)).into_iter().collect();
            Grant { budget: Budget { calls, writes, bytes_out, cost, tools }, ceiling, delegation_depth, ..grant }
        })
}

fn arguments() -> impl Strategy<Value = Value> {
    let n = option::of(select(vec![json!(0), json!(3), json!(5), json!(8), json!(-1), json!(2.5), json!("5")]));
    let path = option::of(select(vec!["/srv/in/a", "/srv/in/b", "/srv/out/c", "/etc/d", "no path"]));
    let word = option::of(select(vec!["x", "y", "z", "and something longer"]));
    let none = option::of(Just(1));
    (n, path, word, none).prop_map(|(n, path, word, none)| {
        let all = [("n", n), ("path", path.map(Into::into)), ("word", word.map(Into::into)), ("none", none.map(Into::into))];
        Value::Object(all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
    })
}

/// What rules may have read of it.
fn some_of(arguments: &Value) -> Value {
    let fields = arguments.as_object().unwrap().iter().filter(|(name, _)| *name != "n");
    Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// A call with its arguments, known to the record or not.
#[derive(Debug, Clone)]
struct Call {
    made: Made,
    arguments: Value,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let call = (select(TOOLS.to_vec()), arguments(), 0_u8..3, 0_u8..4, 0..TTL, 1_u64..4, any::<bool>());
    collection::vec(call, 0..40).prop_map(|all| {
        let mut calls: Vec<Call> = all
            .into_iter()
            .map(|((name, kind, band), arguments, is_known, fails, at, cost, is_own)| {
                let text = arguments.to_string();
                let paid_by = if is_own { vec!["g".to_owned()] } else { vec!["child".to_owned(), "g".to_owned()] };
                let made = Made {
                    at_ms: BEGIN + at,
                    agent: "a".to_owned(),
                    paid_by,
                    tool: tool(name),
                    kind,
                    band,
                    bytes: u64::try_from(text.len()).unwrap(),
                    cost,
                    mac: text,
                    arguments: (is_known > 0).then(|| if is_known == 2 { arguments.clone() } else { some_of(&arguments) }),
                    is_whole: is_known == 2,
                    succeeded: fails > 0,
                };
                Call { made, arguments }
            })
            .collect();
        calls.sort_by_key(|call| call.made.at_ms);
        calls
    })
}

/// Whether the grant lets the call go, where so much was used of it before.
fn admits(grant: &Grant, call: &Call, before: &[&Call]) -> bool {
    let made = &call.made;
    let covers = |right: &Capability| right.covers(&made.tool, made.kind) && right.broken_by(&call.arguments).is_empty();
    let sum = |of: &dyn Fn(&Made) -> u64| before.iter().map(|call| of(&call.made)).sum::<u64>() + of(made);
    let has_room = |limit: Option<u64>, of: &dyn Fn(&Made) -> u64| limit.is_none_or(|limit| sum(of) <= limit);
    let budget = &grant.budget;
    grant.capabilities.iter().any(covers)
        && made.band <= grant.ceiling
        && (grant.not_before_ms..grant.expires_at_ms).contains(&made.at_ms)
        && has_room(budget.calls, &|_| 1)
        && has_room(budget.writes, &|made| u64::from(made.kind != Kind::Read))
        && has_room(budget.bytes_out, &|made| made.bytes)
        && has_room(budget.cost, &|made| made.cost)
        && budget.tools.iter().all(|(pattern, most)| {
            !pattern.covers(&made.tool) || has_room(Some(*most), &|made| u64::from(pattern.covers(&made.tool)))
        })
}

/// What happened under a grant: those of the calls that it lets go.
fn happened(grant: &Grant, calls: Vec<Call>) -> Vec<Call> {
    let mut went: Vec<Call> = Vec::new();
    for call in calls {
        let before: Vec<&Call> = went.iter().collect();
        if admits(grant, &call, &before) {
            went.push(call);
        }
    }
    went
}

proptest! {
    #[test]
    fn what_is_suggested_allows_what_succeeded_and_is_inside_what_it_replaces(present in present(), calls in calls(), once in any::<bool>()) {
        let went = happened(&present, calls);
        let made: Vec<Made> = went.iter().map(|call| call.made.clone()).collect();
        let issue = if once { Issue::Once } else { Issue::Anew(TTL) };
        let suggested = suggest(&present, &made, issue);
        let succeeded: Vec<&Call> = went.iter().filter(|call| call.made.succeeded).collect();
        prop_assert_eq!(suggested.grant.is_none(), succeeded.is_empty());
        let Some(grant) = &suggested.grant else { return Ok(()) };

        // Inside it on each axis. To be handed on, a grant needs a level; to replace one it doesn't.
        prop_assert!(grant.delegation_depth <= present.delegation_depth);
        let above = Grant { delegation_depth: grant.delegation_depth + 1, ..present.clone() };
        prop_assert_eq!(grant.excess_over(&above), vec![]);

        // All that happened is paid for again, and all that succeeded goes: also after what failed.
        let mut before: Vec<&Call> = Vec::new();
        for call in &went {
            if call.made.succeeded {
                prop_assert!(admits(grant, call, &before), "{call:?}\n{grant:?}");
            }
            before.push(call);
        }

        // What nobody used is not in it, and is told.
        for (name, kind, _) in TOOLS {
            let used = succeeded.iter().any(|call| call.made.tool.as_str() == name);
            prop_assert_eq!(grant.capabilities.iter().any(|right| right.covers(&tool(name), kind)), used, "{}", name);
        }
        for right in &present.capabilities {
            let used = succeeded.iter().any(|call| right.covers(&call.made.tool, call.made.kind));
            prop_assert_eq!(suggested.never_used.contains(&right.tools), !used);
        }
        prop_assert!(suggested.no_longer_given.is_empty());
    }
}

#[test]
fn the_rule_lets_what_was_used_and_nothing_else() {
    let names = ["a__get", "a__put", "b__send"];
    let fact = |name: &str| ToolFacts {
        name: name.to_owned(),
        connector: name.split("__").next().unwrap().to_owned(),
        kind: Kind::Read,
        band: Band::Low,
        sends: false,
        input_schema: json!({"type": "object"}),
    };
    let tools = names.map(fact);
    // Who used all that there is has nothing to be held to: such a rule forbids nothing, and is refused as one that can never apply.
    for used in [&names[..1], &names[1..], &names[1..2]] {
        let text = rule("a", &used.iter().map(|name| tool(name)).collect()).unwrap();
        let sources = [Source { name: "default", text: DEFAULT_BUNDLE }, Source { name: "used", text: &text }];
        let policies = Policies::compile(&sources, &tools).unwrap();
        for agent in ["a", "other"] {
            let facts = GrantFacts {
                id: "g".into(),
                agent: agent.into(),
                owner: "o".into(),
                purpose: String::new(),
                environment: "default".into(),
                ceiling: Band::High,
                depth: 0,
                delegators: vec![],
                data_classes: vec![],
            };
            let connector = |id: &str| ConnectorFacts {
                id: id.into(),
                sensitivity: String::new(),
                environment: String::new(),
                credential: "none",
            };
            let grant = PreparedGrant::new(&facts, &[connector("a"), connector("b")]).unwrap();
            for each in &tools {
                let ask = Ask { tool: &each.name, grant: &grant, call: &CallFacts::default(), input: &json!({}) };
                let goes = matches!(policies.decide(&ask), Decision::Allow { .. });
                assert_eq!(goes, agent == "other" || used.contains(&each.name.as_str()), "{agent} {}", each.name);
            }
        }
    }
    assert_eq!(rule("a", &BTreeSet::new()), None);
}

fn made(name: &str, at_ms: u64, arguments: Option<Value>) -> Made {
    let (_, kind, band) = *TOOLS.iter().find(|(known, ..)| *known == name).unwrap();
    Made {
        at_ms,
        agent: "a".into(),
        paid_by: vec!["g".into()],
        tool: tool(name),
        kind,
        band,
        bytes: 10,
        cost: 1,
        mac: arguments.as_ref().map(Value::to_string).unwrap_or_default(),
        is_whole: arguments.is_some(),
        arguments,
        succeeded: true,
    }
}

fn wide() -> Grant {
    let rights =
        ["a__*", "b__send"].map(|tools| Capability { tools: tools.parse().unwrap(), kinds: None, args: BTreeMap::new() });
    let grant = Grant::bare("g".parse().unwrap(), "a".parse().unwrap(), rights.to_vec(), BEGIN..BEGIN + 10 * TTL);
    Grant { ceiling: Band::Critical, ..grant }
}

#[test]
fn arguments_are_narrowed_where_all_of_them_are_known() {
    let known = |value: Value| Some(value);
    let calls = [
        made("a__put", BEGIN, known(json!({"project": "support", "n": 3, "path": "/srv/in/a", "word": "x", "at": 1}))),
        made("a__put", BEGIN + 1, known(json!({"project": "support", "n": 7, "path": "/srv/in/b/c", "word": "y"}))),
    ];
    let suggested = suggest(&wide(), &calls, Issue::Once);
    let grant = suggested.grant.unwrap();
    assert_eq!(grant.capabilities.len(), 1);
    let right = grant.capabilities.first().unwrap();
    let shown: BTreeMap<&str, String> = right.args.iter().map(|(pointer, bound)| (pointer.as_str(), bound.describe())).collect();
    let expected = [
        ("/n", "an integer from 3 to 7"),
        ("/path", "a plain absolute path under /srv/in"),
        ("/project", "\"support\""),
        ("/word", "one of \"x\", \"y\""),
    ];
    assert_eq!(shown, expected.map(|(pointer, bound)| (pointer, bound.to_owned())).into());
    assert_eq!(suggested.never_used, ["b__send".parse::<ToolPattern>().unwrap()]);
    assert_eq!((grant.ceiling, grant.budget.calls, grant.budget.writes), (Band::Medium, Some(3), Some(3)));
    assert_eq!(grant.expires_at_ms, BEGIN + 60_000);

    // One call whose arguments nobody knows, and nothing can be said of any of them.
    let unknown = [calls.to_vec(), vec![made("a__put", BEGIN + 2, None)]].concat();
    let suggested = suggest(&wide(), &unknown, Issue::Once);
    assert!(suggested.grant.unwrap().capabilities.iter().all(|right| right.args.is_empty()));
    assert_eq!(suggested.used.values().map(|used| (used.calls, used.known)).collect::<Vec<_>>(), [(3, 2)]);
}

#[test]
fn what_is_not_given_any_more_stays_out() {
    let narrow = Grant { capabilities: wide().capabilities.into_iter().skip(1).collect(), ..wide() };
    let suggested = suggest(&narrow, &[made("a__get", BEGIN, None)], Issue::Once);
    assert!(suggested.grant.is_none());
    assert_eq!(suggested.no_longer_given, [tool("a__get")].into());
    // Under another grant it is nobody's business here.
    let other = Made { paid_by: vec!["other".into()], ..made("a__get", BEGIN, None) };
    let suggested = suggest(&wide(), &[other], Issue::Once);
    assert!(suggested.grant.is_none() && suggested.no_longer_given.is_empty());
}

#[test]
fn budgets_hold_one_issue_and_not_all_of_them() {
    let day = 86_400_000;
    let calls: Vec<Made> = (0..30).flat_map(|at| [made("a__get", at * day, None), made("a__get", at * day + 5, None)]).collect();
    let suggested = suggest(&wide(), &calls, Issue::Anew(TTL));
    assert_eq!(suggested.grant.unwrap().budget.calls, Some(3));
    assert_eq!(suggest(&wide(), &calls, Issue::Anew(2 * day + 5)).grant.unwrap().budget.calls, Some(9));
}

/// A trail with these records, read as it is read offline.
fn recorded(records: &[(Stream, Value)]) -> Vec<Made> {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("trail");
    let (trail, _) = Trail::open(&folder, Options::default()).unwrap();
    for (at, (stream, record)) in records.iter().enumerate() {
        trail.append(*stream, BEGIN + u64::try_from(at).unwrap(), record).unwrap();
    }
    trail.flush().unwrap();
    read(&Reader::open(&folder).unwrap(), BEGIN, &|bytes| Some(format!("mac:{}", String::from_utf8_lossy(bytes)))).unwrap()
}

#[test]
fn arguments_are_known_where_the_record_proves_them() {
    let intent = |id: &str, mac: &str, size: usize, more: Value| {
        let mut record = json!({
            "event": "intent", "call_id": id, "agent": "a", "grant": "g", "debited": ["g"], "tool": "a__put", "kind": "write",
            "band": "medium", "args_mac": mac, "args_size": size, "cost": 2,
        });
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        (Stream::Calls, record)
    };
    let outcome = |id: &str, word: &str| (Stream::Calls, json!({"event": "outcome", "call_id": id, "outcome": word}));
    let asked = json!({"policy": "allow", "input": {"n": 3, "word": "x", "more": {"deep": 1}}});
    let made = recorded(&[
        intent("1", "?", 2, json!({})),
        outcome("1", "success"),
        intent("2", "mac:{\"n\":3}", 7, json!({"arguments": {"n": 3}})),
        outcome("2", "tool_error"),
        // Not what the digest says: a part of it, or masked.
        intent("3", "mac:{\"n\":4,\"m\":1}", 13, json!({"arguments": {"n": 4}})),
        (Stream::Decisions, json!({"event": "decided", "call_id": "4", "asked": asked})),
        intent("4", "?", 40, json!({})),
        outcome("4", "success"),
        intent("5", "?", 9, json!({"task_of": "4"})),
        outcome("6", "success"),
    ]);
    let known: Vec<(Option<Value>, bool, bool)> =
        made.into_iter().map(|call| (call.arguments, call.is_whole, call.succeeded)).collect();
    assert_eq!(
        known,
        [
            (Some(json!({})), true, true),
            (Some(json!({"n": 3})), true, false),
            (None, false, false),
            (Some(json!({"n": 3, "word": "x"})), false, true),
        ]
    );
}
