//! The algebra of grants, over random chains and random calls. `PROPTEST_CASES` says how many.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock},
    time::Duration,
};

use bailiwick_policy::{Band, ConnectorFacts, Kind};
use bailiwick_schemas::{
    canonical::digest,
    exposure::Prefix,
    names::QualifiedName,
    validate::{Undeclared, Validator},
};
use proptest::{
    collection, option,
    prelude::{BoxedStrategy, Just, ProptestConfig, Strategy, prop_assert, prop_assert_eq, prop_assume, prop_oneof, proptest},
    sample::{select, subsequence},
};
use serde_json::{Value, json};

use super::super::{Budget, Capability, DEEPEST, Grant, GrantState, LiveGrant, Spend, Standing, ToolPattern};
use crate::{
    catalogue::{Connector, Listed, Tool},
    constraint::{Bound, IntRange},
    grant::Labels,
};

const TOOLS: [&str; 5] = ["a__x", "a__y", "b__x", "b__send", "a/resource_read"];
const CLASSES: [&str; 3] = ["public", "internal", "confidential"];
const ENVIRONMENTS: [&str; 3] = ["default", "staging", "production"];
const DOMAINS: [&str; 4] = ["example.com", "mail.example.com", "example.org", "com"];

/// Every tool in every class, environment, kind and band that there is a difference in.
static CATALOGUE: LazyLock<Vec<Tool>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for (name, kind, band) in TOOLS
        .into_iter()
        .flat_map(|name| Kind::ALL.map(|kind| (name, kind)))
        .flat_map(|(name, kind)| [Band::Low, Band::High].map(|band| (name, kind, band)))
    {
        for (class, environment) in
            [("public", "default"), ("internal", "staging"), ("confidential", "production"), ("internal", "")]
        {
            all.push(tool(name, (kind, band), (class, environment)));
        }
    }
    all
});

fn tool(name: &str, (kind, band): (Kind, Band), (sensitivity, environment): (&str, &str)) -> Tool {
    let name: QualifiedName = name.parse().unwrap();
    let schema = json!({"type": "object"});
    let connector = Connector {
        id: name.connector().clone(),
        fingerprint: digest(&schema),
        facts: ConnectorFacts {
            id: name.connector().to_string(),
            sensitivity: sensitivity.to_owned(),
            environment: environment.to_owned(),
            credential: "none",
        },
        prefix: Prefix::Always,
        transport: "pipe",
        may_ask: false,
        elicitation_hosts: Vec::new(),
        needs_credential: false,
        call_timeout: Duration::from_secs(1),
        max_rate: None,
        pace: Arc::default(),
    };
    Tool {
        connector: Arc::new(connector),
        kind,
        band,
        digest: digest(&schema),
        listed: Listed::new("{}"),
        input: Validator::compile_input(&schema, Undeclared::Allow).unwrap(),
        output: None,
        labels: Labels::default(),
        mirrors: Vec::new(),
        cost: 1,
        marks: None,
        destination: name.as_str().ends_with("send").then(|| "/to".into()),
        name,
    }
}

fn value() -> BoxedStrategy<Value> {
    prop_oneof![
        select(vec![
            json!("a"),
            json!("ab"),
            json!(""),
            json!(null),
            json!([1]),
            json!({"a": 1}),
            json!(true),
            json!("/srv"),
            json!("/srv/a"),
            json!("/srv/a/b"),
            json!("/srv/../etc"),
            json!("/srvx"),
            json!("/srv//a"),
            json!("/"),
            json!("file:///srv/a"),
            json!("file:///srv"),
            json!("file://h/srv/a"),
            json!("file:///srv/%2e%2e/etc"),
            json!("https://example.com/x"),
            json!("https://mail.example.com"),
            json!("http://example.com.evil.org"),
            json!("https://u@example.com"),
            json!("x@example.com"),
            json!("x@mail.example.com"),
            json!("x@example.org"),
            json!("example.com"),
            json!("EXAMPLE.com"),
            json!("example.com."),
            json!("a@b@example.com"),
            json!(1.0),
            json!("1"),
        ]),
        (-3_i64..6).prop_map(Value::from),
    ]
    .boxed()
}

fn texts<const N: usize>(all: [&'static str; N]) -> impl Strategy<Value = Vec<String>> {
    subsequence(all.to_vec(), 1..=N).prop_map(|some| some.into_iter().map(str::to_owned).collect())
}

fn bound() -> BoxedStrategy<Bound> {
    let range = (option::of(-2_i64..4), option::of(-2_i64..4)).prop_map(|(min, max)| IntRange { min, max });
    prop_oneof![
        2 => value().prop_map(|eq| Bound { eq: Some(eq), ..Bound::default() }),
        2 => collection::vec(value(), 1..4).prop_map(|all| Bound { one_of: Some(all), ..Bound::default() }),
        3 => range.prop_map(|range| Bound { int_range: Some(range), ..Bound::default() }),
        2 => select(vec!["/", "/srv", "/srv/a", "/etc"]).prop_map(|root| Bound { path_under: Some(root.to_owned()), ..Bound::default() }),
        2 => select(vec!["file:///", "file:///srv", "https://example.com"])
            .prop_map(|root| Bound { uri_under: Some(root.to_owned()), ..Bound::default() }),
        2 => texts(["example.com", "mail.example.com", "example.org"]).prop_map(|hosts| Bound { host_in: Some(hosts), ..Bound::default() }),
        2 => texts(DOMAINS).prop_map(|domains| Bound { domain_in: Some(domains), ..Bound::default() }),
        2 => (0_usize..5).prop_map(|most| Bound { len_max: Some(most), ..Bound::default() }),
        1 => Just(Bound { absent: true, ..Bound::default() }),
    ]
    .boxed()
}

/// Two parts at most, so that one inside another is not too rare.
fn bounds() -> BoxedStrategy<Bound> {
    prop_oneof![
        bound(),
        (bound(), bound()).prop_map(|(one, other)| Bound {
            eq: one.eq.or(other.eq),
            one_of: one.one_of.or(other.one_of),
            int_range: one.int_range.or(other.int_range),
            path_under: one.path_under.or(other.path_under),
            uri_under: one.uri_under.or(other.uri_under),
            host_in: one.host_in.or(other.host_in),
            domain_in: one.domain_in.or(other.domain_in),
            len_max: one.len_max.or(other.len_max),
            absent: false,
        }),
    ]
    .boxed()
}

fn pattern() -> impl Strategy<Value = ToolPattern> {
    select(vec!["a__x", "a__y", "a__*", "b__*", "b__send", "a/resource_read"]).prop_map(|text| text.parse().unwrap())
}

fn capability() -> BoxedStrategy<Capability> {
    let kinds = option::of(subsequence(Kind::ALL.to_vec(), 1..5).prop_map(|kinds| kinds.into_iter().collect::<BTreeSet<_>>()));
    let args = collection::btree_map(select(vec!["/p".to_owned(), "/to".to_owned()]), bounds(), 0..=2);
    (pattern(), kinds, args).prop_map(|(tools, kinds, args)| Capability { tools, kinds, args }).boxed()
}

fn budget() -> BoxedStrategy<Budget> {
    let few = || option::of(0_u64..4);
    (few(), few(), few(), few(), collection::btree_map(pattern(), 0_u64..3, 0..2))
        .prop_map(|(calls, writes, bytes_out, cost, tools)| Budget { calls, writes, bytes_out, cost, tools })
        .boxed()
}

fn set(all: &'static [&'static str]) -> impl Strategy<Value = Option<BTreeSet<String>>> {
    let some = subsequence(all.to_vec(), 1..=all.len());
    option::of(some.prop_map(|some| some.into_iter().map(str::to_owned).collect()))
}

fn grant() -> BoxedStrategy<Grant> {
    let reach =
        (collection::vec(capability(), 1..4), select(vec![Band::Low, Band::High, Band::Critical]), select(ENVIRONMENTS.to_vec()));
    let times = (0_u64..4, 5_u64..10, option::of(1_u64..5));
    (reach, times, 0..=DEEPEST, set(&CLASSES), set(&DOMAINS), budget())
        .prop_map(
            |(
                (capabilities, ceiling, environment),
                (from, until, idle_ms),
                delegation_depth,
                data_classes,
                destinations,
                budget,
            )| Grant {
                owner: "olga".to_owned(),
                purpose: "a task".to_owned(),
                ceiling,
                environment: environment.to_owned(),
                budget,
                delegation_depth,
                data_classes,
                destinations,
                idle_ms,
                max_rate: idle_ms.map(|ms| u32::try_from(ms).unwrap_or(1)),
                ..Grant::bare("g".parse().unwrap(), "bot".parse().unwrap(), capabilities, from..until)
            },
        )
        .boxed()
}

/// A grant that is likely to be inside that one: some of its axes, or narrower ones.
fn likely_inside(above: Grant) -> BoxedStrategy<Grant> {
    let count = above.capabilities.len();
    let kept = (subsequence(above.capabilities.clone(), 1..=count), option::of(capability()), option::of((0_usize..3, bounds())));
    (kept, grant(), collection::vec(proptest::bool::weighted(0.08), 9))
        .prop_map(move |((mut capabilities, more, narrower), other, others)| {
            if let Some((at, bound)) = narrower
                && let Some(capability) = capabilities.get_mut(at)
            {
                let own = capability.args.entry("/p".to_owned()).or_default();
                *own =
                    Bound { len_max: own.len_max.or(bound.len_max), int_range: own.int_range.or(bound.int_range), ..own.clone() };
                if own.check().is_err() {
                    capability.args.remove("/p");
                }
            }
            let is_other = |at: usize| others.get(at).copied().unwrap_or(false);
            capabilities.extend(more.filter(|_| is_other(0)));
            Grant {
                capabilities,
                ceiling: if is_other(1) { other.ceiling } else { above.ceiling.min(other.ceiling) },
                environment: if is_other(2) { other.environment } else { above.environment.clone() },
                not_before_ms: if is_other(3) { other.not_before_ms } else { above.not_before_ms },
                expires_at_ms: if is_other(4) { other.expires_at_ms } else { above.expires_at_ms },
                budget: if is_other(5) { other.budget } else { above.budget.clone() },
                delegation_depth: if is_other(6) { other.delegation_depth } else { above.delegation_depth.saturating_sub(1) },
                data_classes: if is_other(7) { other.data_classes } else { above.data_classes.clone() },
                destinations: if is_other(8) { other.destinations } else { above.destinations.clone() },
                idle_ms: above.idle_ms,
                ..above.clone()
            }
        })
        .boxed()
}

fn chain() -> BoxedStrategy<Vec<Grant>> {
    grant()
        .prop_flat_map(|root| {
            let first = root.clone();
            likely_inside(root).prop_flat_map(move |child| {
                let above = vec![first.clone(), child.clone()];
                likely_inside(child).prop_map(move |grandchild| [above.clone(), vec![grandchild]].concat())
            })
        })
        .boxed()
}

/// Whether a grant admits a call: what `grant` and `validate` ask about it.
fn admits(grant: &Grant, tool: &Tool, arguments: &Value, at_ms: u64) -> bool {
    let mut covering = grant.capabilities.iter().filter(|capability| capability.covers(&tool.name, tool.kind));
    grant.not_before_ms <= at_ms
        && at_ms < grant.expires_at_ms
        && grant.covers(tool)
        && grant.sends_within(tool, arguments)
        && covering.any(|capability| capability.broken_by(arguments).is_empty())
}

fn alive(chain: &[Grant]) -> Vec<Arc<LiveGrant>> {
    let mut all: Vec<Arc<LiveGrant>> = Vec::new();
    for terms in chain {
        all.push(Arc::new(LiveGrant::new(terms.clone(), Standing::fresh(), all.last().cloned())));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: u32::MAX, ..ProptestConfig::default() })]

    #[test]
    fn a_bound_inside_another_admits_nothing_more(inner in bounds(), outer in bounds(), argument in option::of(value())) {
        if inner.is_within(&outer) && inner.admits(argument.as_ref()) {
            prop_assert!(outer.admits(argument.as_ref()), "{inner:?} in {outer:?} by {argument:?}");
        }
        prop_assert!(inner.is_within(&inner), "{inner:?}");
    }

    #[test]
    fn a_call_that_a_child_admits_is_admitted_by_all_above_it(
        chain in chain(), at in 0..CATALOGUE.len(), p in option::of(value()), to in option::of(value()), now_ms in 0_u64..11,
    ) {
        let mut arguments = json!({});
        for (name, value) in [("p", p), ("to", to)] {
            if let Some(value) = value {
                arguments[name] = value;
            }
        }
        let tool = &CATALOGUE[at];
        for pair in chain.windows(2) {
            let (above, child) = (&pair[0], &pair[1]);
            if child.excess_over(above).is_empty() && admits(child, tool, &arguments, now_ms) {
                prop_assert!(admits(above, tool, &arguments, now_ms), "{child:#?} in {above:#?} for {} {arguments}", tool.name);
            }
        }
    }

    #[test]
    fn inside_is_an_order_but_for_the_hops(chain in chain()) {
        let [root, child, grandchild] = chain.as_slice() else { unreachable!() };
        if child.excess_over(root).is_empty() && grandchild.excess_over(child).is_empty() {
            prop_assert!(grandchild.excess_over(root).is_empty(), "{:?}", grandchild.excess_over(root));
        }
        // A grant is inside itself on every axis but that of hops.
        let axes: Vec<&str> = root.excess_over(root).iter().map(|excess| excess.axis).collect();
        prop_assert_eq!(axes, ["delegation_depth"]);
    }

    #[test]
    fn a_hop_makes_the_chain_shorter(chain in chain()) {
        for pair in chain.windows(2) {
            prop_assert!(!pair[1].excess_over(&pair[0]).is_empty() || pair[1].delegation_depth < pair[0].delegation_depth);
        }
    }

    /// What one call costs is taken from the whole chain or from none of it, and nobody gets more than the tightest of them has.
    #[test]
    fn a_chain_pays_for_what_its_end_does(chain in chain(), calls in collection::vec((0..TOOLS.len(), proptest::bool::ANY, 0_u64..2), 1..8)) {
        prop_assume!(chain.windows(2).all(|pair| pair[1].excess_over(&pair[0]).is_empty()));
        let live = alive(&chain);
        let last = live.last().unwrap();
        let (mut made, mut bytes, mut of_tool) = (0, 0, BTreeMap::<QualifiedName, u64>::new());
        for (at, has_effect, bytes_out) in calls {
            let tool: QualifiedName = TOOLS[at].parse().unwrap();
            let spend = Spend { tool: &tool, has_effect, bytes_out, cost: 1, sums: &[] };
            if last.chain().all(|grant| grant.has_room(&grant.standing(), &spend).is_ok()) {
                last.chain().for_each(|grant| grant.debit(&mut grant.lock(), &spend));
                (made, bytes) = (made + 1, bytes + bytes_out);
                *of_tool.entry(tool).or_default() += 1;
            }
        }
        for grant in last.chain() {
            let budget = &grant.terms().budget;
            prop_assert_eq!(grant.standing().calls, made);
            prop_assert!(budget.calls.is_none_or(|most| made <= most) && budget.cost.is_none_or(|most| made <= most));
            prop_assert!(budget.bytes_out.is_none_or(|most| bytes <= most));
            for (pattern, most) in &budget.tools {
                let count: u64 = of_tool.iter().filter(|(tool, _)| pattern.covers(tool)).map(|(_, count)| count).sum();
                prop_assert!(count <= *most, "{pattern}");
            }
        }
    }

    #[test]
    fn a_chain_with_an_ended_link_is_dead(chain in chain(), at in 0_usize..3) {
        let live = alive(&chain);
        live[at].end(GrantState::Revoked);
        for (index, grant) in live.iter().enumerate() {
            prop_assert_eq!(grant.enter().is_some(), index < at);
            prop_assert!(index < at || !grant.is_live(5));
            prop_assert_eq!(grant.cancelled().is_cancelled(), index >= at);
        }
    }
}

/// The axes, one by one: each is looked at, and by itself refuses.
#[test]
fn each_axis_refuses_by_itself() {
    let above = Grant {
        capabilities: vec![Capability {
            tools: "a__*".parse().unwrap(),
            kinds: Some([Kind::Read].into()),
            args: BTreeMap::new(),
        }],
        data_classes: Some(["public".to_owned()].into()),
        destinations: Some(["example.com".to_owned()].into()),
        idle_ms: Some(5),
        max_rate: Some(5),
        delegation_depth: 2,
        budget: Budget {
            calls: Some(5),
            writes: Some(5),
            bytes_out: Some(5),
            cost: Some(5),
            tools: [("a__*".parse().unwrap(), 2)].into(),
        },
        ..terms()
    };
    let inside = Grant { delegation_depth: 1, destinations: Some(["mail.example.com".to_owned()].into()), ..above.clone() };
    assert_eq!(inside.excess_over(&above), []);
    let cap = |tools: &str, kinds| Capability { tools: tools.parse().unwrap(), kinds, args: BTreeMap::new() };
    let read = || Some([Kind::Read].into());
    let beyond: [(&str, Grant); 21] = [
        ("tools", Grant { capabilities: vec![cap("a__*", None)], ..inside.clone() }),
        ("tools", Grant { capabilities: vec![cap("b__x", read())], ..inside.clone() }),
        ("tools", Grant { capabilities: vec![cap("a/resource_read", read())], ..inside.clone() }),
        ("tools", Grant { capabilities: Vec::new(), ..inside.clone() }),
        ("ceiling", Grant { ceiling: Band::Critical, ..inside.clone() }),
        ("environment", Grant { environment: "production".to_owned(), ..inside.clone() }),
        ("not_before", Grant { not_before_ms: 0, ..inside.clone() }),
        ("expires_at", Grant { expires_at_ms: 11, ..inside.clone() }),
        ("idle_timeout", Grant { idle_ms: None, ..inside.clone() }),
        ("idle_timeout", Grant { idle_ms: Some(6), ..inside.clone() }),
        ("max_rate", Grant { max_rate: None, ..inside.clone() }),
        ("max_rate", Grant { max_rate: Some(6), ..inside.clone() }),
        ("delegation_depth", Grant { delegation_depth: 2, ..inside.clone() }),
        ("data_classes", Grant { data_classes: None, ..inside.clone() }),
        ("destinations", Grant { destinations: Some(["ample.com".to_owned()].into()), ..inside.clone() }),
        ("budget.calls", Grant { budget: Budget { calls: None, ..above.budget.clone() }, ..inside.clone() }),
        ("budget.calls", Grant { budget: Budget { calls: Some(6), ..above.budget.clone() }, ..inside.clone() }),
        ("budget.writes", Grant { budget: Budget { writes: Some(6), ..above.budget.clone() }, ..inside.clone() }),
        ("budget.bytes_out", Grant { budget: Budget { bytes_out: None, ..above.budget.clone() }, ..inside.clone() }),
        ("budget.cost", Grant { budget: Budget { cost: None, ..above.budget.clone() }, ..inside.clone() }),
        (
            "budget.tools",
            Grant { budget: Budget { tools: [("a__x".parse().unwrap(), 1)].into(), ..above.budget.clone() }, ..inside.clone() },
        ),
    ];
    for (axis, grant) in beyond {
        let found: Vec<&str> = grant.excess_over(&above).iter().map(|excess| excess.axis).collect();
        assert_eq!(found, [axis]);
    }
}

fn terms() -> Grant {
    Grant {
        owner: "olga".to_owned(),
        purpose: "a task".to_owned(),
        ceiling: Band::High,
        environment: "staging".to_owned(),
        ..Grant::bare("g".parse().unwrap(), "bot".parse().unwrap(), Vec::new(), 1..10)
    }
}

/// Paths that a bound admits are where it says on a real file system, whatever is written between the slashes.
#[test]
fn a_path_that_is_admitted_is_there() {
    let folder = std::env::temp_dir().join(format!("bailiwick-paths-{}", std::process::id()));
    let inside = folder.join("srv/a/b");
    std::fs::create_dir_all(&inside).unwrap();
    std::fs::create_dir_all(folder.join("etc")).unwrap();
    let root = folder.join("srv").canonicalize().unwrap();
    let bound = Bound { path_under: Some(root.to_str().unwrap().to_owned()), ..Bound::default() };
    bound.check().unwrap();
    let parts = &["a", "b", "..", ".", "", "%2e%2e", "..%2f", "\\..", "a\\..\\..", "etc", "a\0", "…", "..."];
    let (mut admitted, mut outside) = (0, 0);
    let deep = parts.iter().flat_map(|one| parts.iter().flat_map(move |two| parts.iter().map(move |three| [*one, *two, *three])));
    for names in deep {
        let path = format!("{}/{}", root.display(), names.join("/"));
        let there = std::fs::canonicalize(&path).ok();
        let is_outside = there.as_ref().is_some_and(|there| !there.starts_with(&root));
        outside += usize::from(is_outside);
        if bound.admits(Some(&json!(path))) {
            admitted += 1;
            assert!(!is_outside, "{path} is {there:?}");
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(admitted > 20 && outside > 20, "{admitted} admitted, {outside} outside");
}

/// Nobody gives on what it may not do itself.
#[test]
fn what_an_agent_may_besides_calling_is_handed_on_by_those_who_may() {
    let bare = || Grant {
        capabilities: vec![Capability { tools: "a__x".parse().unwrap(), kinds: None, args: BTreeMap::new() }],
        ..Grant::bare("g".parse().unwrap(), "a".parse().unwrap(), Vec::new(), 0..1)
    };
    let above = Grant { delegation_depth: 1, ..bare() };
    let axes = |grant: &Grant, above: &Grant| grant.excess_over(above).iter().map(|excess| excess.axis).collect::<Vec<_>>();
    let (asks, completes) = (Grant { may_request: true, ..bare() }, Grant { may_complete: true, ..bare() });
    assert!(axes(&bare(), &above).is_empty());
    assert_eq!((axes(&asks, &above), axes(&completes, &above)), (vec!["may_request"], vec!["may_complete"]));
    let may = Grant { may_request: true, may_complete: true, ..above };
    assert!(axes(&asks, &may).is_empty() && axes(&completes, &may).is_empty());
}

proptest! {
    /// The host that a bound finds in a URL is the one that other parsers connect to.
    #[test]
    fn a_host_that_is_admitted_is_connected_to(
        text in "(https?:|HTTP:|ftp:|)(//|/|///|\\\\\\\\|)((a|b|a\\.b|u:p|%61|xn--a|ｅ|\t| )?[@:#?/\\\\]?){0,4}(example\\.com|evil\\.org|127\\.1|0x7f\\.1)([:/?#@\\\\.](80|example\\.com|evil\\.org|)){0,2}",
    ) {
        let bound = Bound { host_in: Some(vec!["example.com".to_owned()]), ..Bound::default() };
        if bound.admits(Some(&json!(text))) {
            let generic: http_uri::Host = http_uri::host(&text);
            prop_assert_eq!(generic.as_deref(), Some("example.com"), "{}", text);
        }
    }
}

/// How RFC 3986, section 3.2, cuts an authority: what a client that is no browser takes for the host.
mod http_uri {
    pub(super) type Host = Option<String>;

    pub(super) fn host(text: &str) -> Host {
        let rest = text.split_once("://")?.1;
        let authority = rest.split(['/', '?', '#']).next()?;
        let after_user = authority.rsplit('@').next()?;
        Some(after_user.split(':').next()?.to_ascii_lowercase())
    }
}
