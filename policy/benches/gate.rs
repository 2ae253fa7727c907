//! What the policy gate costs beside bare Cedar, in one run: `tests/policy/run`.
//!
//! The rules are 65 % permits, 25 % forbids and 10 % step-ups over 200 tools of 10 connectors. Bare Cedar has the rules that name the tool,
//! its connector, its kind or any action, cut out beforehand, and is asked in two ways: with a request that is there already, and with one
//! made of the same values for each call, as every call has its own arguments. Ends non-zero where a bound is missed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a bench"
)]

use std::collections::{HashMap, HashSet};
use std::hint::black_box;

use bailiwick_policy::{
    Ask, Band, CallFacts, ConnectorFacts, GrantFacts, Kind, Memory, Policies, PreparedGrant, Source, ToolFacts,
};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityUid, PolicySet, Request, RestrictedExpression as Value,
};
use serde_json::json;

/// The gate, beside bare Cedar with a request of its own, where arguments are read.
const MOST_OF_BARE: f64 = 1.3;
/// A decision that reads nothing of the call.
const MOST_REMEMBERED_NS: f64 = 1000.0;
const TOOLS: usize = 200;
const ROUNDS: usize = 15;
/// The tools that are asked about, spread over connectors and kinds.
const ASKED: [usize; 8] = [0, 7, 31, 58, 101, 133, 164, 199];

fn connector(tool: usize) -> String {
    format!("srv{}", tool % 10)
}

fn name(tool: usize) -> String {
    format!("{}__tool{tool}", connector(tool))
}

fn kind(tool: usize) -> Kind {
    [Kind::Read, Kind::Write, Kind::Exfiltrate][tool % 3]
}

fn action(name: &str) -> String {
    format!("Bailiwick::Action::\"{name}\"")
}

/// Which actions the rule of this number is about, and whether that means a tool.
fn scope(rule: usize) -> (String, Box<dyn Fn(usize) -> bool>) {
    match rule % 20 {
        0 => ("action".to_owned(), Box::new(|_| true)),
        1 | 2 => {
            let of = kind(rule / 20);
            (format!("action in {}", action(of.as_str())), Box::new(move |tool| kind(tool) == of))
        }
        3..=7 => {
            let of = connector(rule / 4);
            (format!("action in {}", action(&format!("connector:{of}"))), Box::new(move |tool| connector(tool) == of))
        }
        _ => {
            let of = (rule * 7) % TOOLS;
            (format!("action == {}", action(&name(of))), Box::new(move |tool| tool == of))
        }
    }
}

/// A rule as it is written. No call of this bench is forbidden, so that each is decided by one pass.
fn rule(rule: usize, reads_the_call: bool) -> String {
    let (scope, id) = (scope(rule).0, format!("@id(\"r{rule}\")"));
    let limit = 1000 + rule;
    let condition = match (reads_the_call, rule % 4) {
        (false, _) => format!("principal.ceiling >= 0 && principal.depth < {limit}"),
        (true, 0) => format!("context.input has amount && context.input.amount > {limit}"),
        (true, 1) => format!("context.call.untrusted_input && context.call.calls_in_task > {limit}"),
        (true, 2) => format!("context.input has note && context.input.note like \"*x{rule}*\""),
        (true, _) => {
            format!("context.call.hour > 23 || (context.input has urgent && context.input.urgent && principal.depth > {limit})")
        }
    };
    match rule % 20 {
        0..=12 if reads_the_call => format!("{id} permit (principal, {scope}, resource) unless {{ {condition} }};"),
        0..=12 => format!("{id} permit (principal, {scope}, resource) when {{ {condition} }};"),
        13..=17 if reads_the_call => format!("{id} forbid (principal, {scope}, resource) when {{ {condition} }};"),
        13..=17 => format!("{id} forbid (principal, {scope}, resource) unless {{ {condition} }};"),
        _ if reads_the_call => format!(
            "{id} @approval(\"finance\") forbid (principal, {scope}, resource) when {{ {condition} }} unless {{ context.call.approvals.contains(\"finance\") }};"
        ),
        _ => format!("{id} forbid (principal, {scope}, resource) unless {{ {condition} }};"),
    }
}

fn tools() -> Vec<ToolFacts> {
    let properties = json!({
        "id": {"type": "string"}, "amount": {"type": "integer"}, "note": {"type": "string"}, "urgent": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
    });
    let tool = |at| ToolFacts {
        name: name(at),
        connector: connector(at),
        kind: kind(at),
        band: Band::Low,
        sends: false,
        input_schema: json!({"type": "object", "properties": properties}),
    };
    (0..TOOLS).map(tool).collect()
}

fn grant() -> PreparedGrant {
    let facts = GrantFacts {
        id: "g".into(),
        agent: "bot".into(),
        owner: "owner@example.com".into(),
        purpose: "bench".into(),
        environment: "production".into(),
        ceiling: Band::High,
        depth: 0,
        delegators: Vec::new(),
        data_classes: vec!["internal".into()],
    };
    let connectors = (0..10).map(|at| ConnectorFacts {
        id: connector(at),
        sensitivity: "internal".into(),
        environment: String::new(),
        credential: "none",
    });
    PreparedGrant::new(&facts, &connectors.collect::<Vec<_>>()).unwrap()
}

fn facts() -> CallFacts<'static> {
    CallFacts {
        environment: "production",
        calls_in_task: 7,
        writes_in_task: 2,
        untrusted_input: false,
        confidential: false,
        labels: bailiwick_policy::Labels::NONE,
        destination: "",
        destination_host: "",
        destination_hosts: &[],
        external: false,
        detections: &[],
        calls_last_minute: 0,
        history: bailiwick_policy::HistoryFacts::default(),
        approvals: &[],
        transport: "http",
        era: "2026-07-28",
        hour: 14,
        minute: 30,
        weekday: 3,
        hop_depth: 0,
        authn: "agent_token",
        authn_strength: 1,
        bytes_out: 0,
        cost: 0,
        calls_left: None,
        writes_left: None,
    }
}

fn uid(text: &str) -> EntityUid {
    text.parse().unwrap()
}

/// What bare Cedar is asked about one tool with: its rules, and what there is.
struct Bare {
    set: PolicySet,
    entities: Entities,
    authorizer: Authorizer,
    principal: EntityUid,
    action: EntityUid,
    resource: EntityUid,
}

impl Bare {
    fn new(rules: usize, tool: usize, reads_the_call: bool) -> Self {
        let meant = (0..rules).filter(|rule| scope(*rule).1(tool));
        let text: Vec<String> = meant.map(|at| rule(at, reads_the_call)).collect();
        let (principal, agent) = (uid("Bailiwick::Grant::\"g\""), uid("Bailiwick::Agent::\"bot\""));
        let (action, resource) = (uid(&action(&name(tool))), uid(&format!("Bailiwick::Connector::\"{}\"", connector(tool))));
        let groups = ["call".to_owned(), kind(tool).to_string(), format!("connector:{}", connector(tool))];
        let attributes =
            [("ceiling", Value::new_long(2)), ("depth", Value::new_long(0)), ("purpose", Value::new_string("bench".into()))];
        let attributes: HashMap<String, Value> = attributes.map(|(name, value)| (name.to_owned(), value)).into();
        let entities = [
            Entity::new(principal.clone(), attributes, HashSet::from([agent.clone()])).unwrap(),
            Entity::new_no_attrs(agent, HashSet::from([uid("Bailiwick::User::\"owner@example.com\"")])),
            Entity::new_no_attrs(action.clone(), groups.iter().map(|group| uid(&self::action(group))).collect()),
            Entity::new_no_attrs(resource.clone(), HashSet::new()),
        ];
        let entities = Entities::from_entities(entities, None).unwrap();
        Self { set: text.join("\n").parse().unwrap(), entities, authorizer: Authorizer::new(), principal, action, resource }
    }

    /// A request of the values that the rules look at, and no others.
    fn request(&self, amount: i64, reads_the_call: bool) -> Request {
        let context = if reads_the_call {
            let call = [
                ("untrusted_input", Value::new_bool(false)),
                ("calls_in_task", Value::new_long(7)),
                ("hour", Value::new_long(14)),
                ("approvals", Value::new_set([])),
            ];
            let input = [
                ("amount", Value::new_long(amount)),
                ("note", Value::new_string("a plain note".to_owned())),
                ("urgent", Value::new_bool(false)),
            ];
            let named = |pairs: Vec<(&str, Value)>| {
                Value::new_record(pairs.into_iter().map(|(name, value)| (name.to_owned(), value))).unwrap()
            };
            Context::from_pairs([("call".to_owned(), named(call.into())), ("input".to_owned(), named(input.into()))]).unwrap()
        } else {
            Context::empty()
        };
        Request::new(self.principal.clone(), self.action.clone(), self.resource.clone(), context, None).unwrap()
    }

    fn decide(&self, request: &Request) -> Decision {
        self.authorizer.is_authorized(request, &self.set, &self.entities).decision()
    }
}

/// Nanoseconds that this thread has had of a processor, so that a busy machine counts less.
fn on_processor() -> f64 {
    // Its first number, which the kernel brings up to date a few times in ten milliseconds: what is measured takes longer.
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    told.split(' ').next().unwrap().parse().unwrap()
}

/// Nanoseconds of one run, as the median of many rounds; what is compared is run in turn, so that a noisy machine disturbs all alike.
fn in_turn<const N: usize>(repeat: usize, runs: [&dyn Fn(usize); N]) -> [f64; N] {
    let mut took = [const { Vec::new() }; N];
    for round in 0..ROUNDS {
        for (run, took) in runs.iter().zip(&mut took) {
            let began = on_processor();
            for at in 0..repeat {
                run(round + at);
            }
            took.push((on_processor() - began) / repeat as f64);
        }
    }
    took.map(|mut rounds| {
        rounds.sort_by(f64::total_cmp);
        rounds[ROUNDS / 2]
    })
}

fn compiled(rules: usize, reads_the_call: bool) -> Policies {
    let text: Vec<String> = (0..rules).map(|at| rule(at, reads_the_call)).collect();
    let source = Source { name: "bench", text: &text.join("\n") };
    Policies::compile(&[source], &tools()).unwrap_or_else(|faults| panic!("{faults:?}"))
}

fn main() {
    let mut missed = false;
    let grant = grant();
    println!("arguments are read       candidates  evaluate  with request    gate  gate/bare  gate/evaluate");
    for rules in [20, 200, 2000] {
        let policies = compiled(rules, true);
        let repeat = 200_000 / rules;
        let bare = ASKED.map(|tool| Bare::new(rules, tool, true));
        let ready: Vec<Request> = bare.iter().map(|bare| bare.request(5, true)).collect();
        let names = ASKED.map(name);
        let (facts, amounts) =
            (facts(), [5, 6, 7, 8].map(|amount| json!({"id": "a", "amount": amount, "note": "a plain note", "urgent": false})));
        let ask = |at: usize| {
            let call = Ask { tool: &names[at % names.len()], grant: &grant, call: &facts, input: &amounts[at % 4] };
            policies.decide(&call)
        };
        let is_allowed = |at: usize| matches!(ask(at), bailiwick_policy::Decision::Allow { .. });
        for (at, bare) in bare.iter().enumerate() {
            assert_eq!(
                bare.decide(&ready[at]) == Decision::Allow,
                is_allowed(at),
                "the two decide otherwise about {}",
                names[at]
            );
        }
        let evaluate = |at: usize| {
            black_box(bare[at % bare.len()].decide(&ready[at % bare.len()]));
        };
        let whole = |at: usize| {
            let bare = &bare[at % bare.len()];
            black_box(bare.decide(&bare.request(5 + i64::try_from(at % 4).unwrap(), true)));
        };
        let gate = |at: usize| {
            let _decided = black_box(ask(at));
        };
        let [evaluated, bared, gated] = in_turn(repeat, [&evaluate, &whole, &gate]);
        let candidates: usize = bare.iter().map(|bare| bare.set.policies().count()).sum::<usize>() / bare.len();
        let (ratio, of_evaluated) = (gated / bared, gated / evaluated);
        println!(
            "{rules:>5} policies {candidates:>20}  {:>6.1}us  {:>10.1}us  {:>4.1}us  {ratio:>9.2}  {of_evaluated:>13.2}",
            evaluated / 1000.0,
            bared / 1000.0,
            gated / 1000.0
        );
        missed |= ratio > MOST_OF_BARE;
    }
    println!("nothing is read          bare, with request    fresh   remembered");
    for rules in [20, 200, 2000] {
        let policies = compiled(rules, false);
        let bare = ASKED.map(|tool| Bare::new(rules, tool, false));
        let (names, facts, nothing, memory) = (ASKED.map(name), facts(), json!({}), Memory::default());
        assert!(names.iter().all(|name| !policies.reads_context(name)));
        let ask = |at: usize| Ask { tool: &names[at % names.len()], grant: &grant, call: &facts, input: &nothing };
        let whole = |at: usize| {
            let bare = &bare[at % bare.len()];
            black_box(bare.decide(&bare.request(5, false)));
        };
        let fresh = |at: usize| {
            let _decided = black_box(policies.decide(&ask(at)));
        };
        let remembered = |at: usize| {
            black_box(memory.decide(&policies, &ask(at)));
        };
        let [bared, fresh, _] = in_turn(200_000 / rules, [&whole, &fresh, &remembered]);
        let [remembered] = in_turn(1_000_000, [&remembered]);
        println!("{rules:>5} policies {:>27.1}us  {:>5.1}us  {remembered:>7.0}ns", bared / 1000.0, fresh / 1000.0);
        missed |= remembered > MOST_REMEMBERED_NS;
    }
    println!(
        "bounds: gate/bare at most {MOST_OF_BARE}, remembered at most {MOST_REMEMBERED_NS}ns: {}",
        if missed { "MISSED" } else { "kept" }
    );
    if missed {
        std::process::exit(1);
    }
}
