//! The whole decision matrix of the demo and of each template as one reviewed file, `policy/matrix.txt`: it changes in reviewed diffs only.
//! With `BAILIWICK_WRITE=1` it is written anew.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use bailiwick_config::DEMO;
use bailiwick_demo::{Demo, definitions};
use bailiwick_pipeline::{
    catalogue::Tool,
    constraint::Bound,
    grant::{Budget, Capability, Grant, Labels, ToolPattern},
    ports::Worlds as _,
};
use bailiwick_policy::{Band, DEFAULT_BUNDLE, TEMPLATES, Want};
use bailiwick_schemas::{definition::Definition, names::QualifiedName};
use bailiwick_store::{ClassedBy, Pin};
use serde_json::{Map, Value, json, value::to_raw_value};

use super::{
    file::Circumstances,
    judge::{self, Came, Subject},
    stage::Stage,
    tests::template,
};
use crate::world::PolicyText;

const FILE: &str = "policy/matrix.txt";

const HEAD: &str = "\
# What each grant of the demo and of the templates may do: whether a tool is listed, and what comes of a call at the beginning of a task, at
# noon. What is otherwise comes after that: once the task has read untrusted input or confidential data, at 2 o'clock (UTC), and after 20,000
# calls and writes. The arguments are the plainest that the tool and the grant take; where rules read some, it depends on them: the tests.toml
# of the template has the cases. A test writes this and compares it (`BAILIWICK_WRITE=1` keeps what it writes); it changes in reviewed diffs.
";

/// The circumstances that may make a difference.
fn moments() -> [(&'static str, Circumstances); 4] {
    let at_first = Circumstances::default();
    [
        ("untrusted input", Circumstances { untrusted_input: true, ..at_first.clone() }),
        ("confidential data", Circumstances { confidential: true, ..at_first.clone() }),
        ("at 2 o'clock", Circumstances { hour: 2, ..at_first.clone() }),
        ("after 20,000", Circumstances { calls_in_task: 20_000, writes_in_task: 20_000, ..at_first }),
    ]
}

/// The demo, with its tools as they are pinned at its first start.
fn demo() -> Stage {
    let config = bailiwick_config::embedded(DEMO, []).unwrap();
    let mut pins = BTreeMap::new();
    for which in Demo::ALL {
        let connector = config.connector(which.id()).unwrap();
        let of = |definition: &Value| {
            let text = to_raw_value(definition).unwrap();
            let read = Definition::read(&text).unwrap();
            let terms = connector.terms_of(read.name());
            let (tool, digest) = (read.name().clone(), read.digest());
            let (kind, band) = (terms.kind, terms.band);
            let (classed_by, labels, accepted_by) = (ClassedBy::Config, Labels::default(), String::new());
            Pin { tool, kind, band, classed_by, digest, definition: text, labels, accepted_at_ms: 0, accepted_by }
        };
        pins.insert(connector.id.clone(), definitions(which).as_array().unwrap().iter().map(of).collect());
    }
    let default = PolicyText { name: "default".to_owned(), text: DEFAULT_BUNDLE.to_owned(), path: None };
    Stage::new(config, pins, vec![default]).unwrap()
}

/// The plainest arguments that the tool takes, inside the bounds of the grant.
fn arguments(tool: &Tool, grant: &Grant, stage: &Stage) -> String {
    let pins = stage.worlds.pins();
    let pin = pins[tool.name.connector()].iter().find(|pin| Some(&pin.tool) == tool.name.tool()).unwrap();
    let schema = Definition::read(&pin.definition).unwrap().input_schema().clone();
    let mut plain = match sample(&schema, &schema) {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    for right in grant.capabilities.iter().filter(|right| right.covers(&tool.name, tool.kind)) {
        for (pointer, bound) in &right.args {
            plain.insert(pointer.trim_start_matches('/').to_owned(), inside(bound));
        }
    }
    Value::Object(plain).to_string()
}

fn inside(bound: &Bound) -> Value {
    let few = bound.eq.clone().or_else(|| bound.one_of.as_ref()?.first().cloned());
    let range = || bound.int_range.map(|range| json!(range.min.or(range.max)));
    few.or_else(range).or_else(|| Some(json!(format!("{}/x", bound.path_under.as_ref()?)))).unwrap()
}

fn sample(schema: &Value, root: &Value) -> Value {
    if let Some(pointer) = schema["$ref"].as_str() {
        return sample(root.pointer(pointer.trim_start_matches('#')).unwrap(), root);
    }
    if let Some(first) = schema["enum"].as_array().and_then(|all| all.first()) {
        return first.clone();
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"].as_array()?.first()?.as_str());
    match kind {
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or(json!(1)),
        Some("boolean") => json!(false),
        Some("array") if schema["minItems"].as_u64().unwrap_or(0) > 0 => json!([sample(&schema["items"], root)]),
        Some("array") => json!([]),
        Some("object") => {
            let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
            required.map(|name| (name.to_owned(), sample(&schema["properties"][name], root))).collect()
        }
        _ => {
            let least = schema["minLength"].as_u64().unwrap_or(1).try_into().unwrap();
            json!(schema["pattern"].as_str().map_or_else(|| "x".repeat(least), |pattern| fitting(pattern).to_owned()))
        }
    }
}

/// A text that one of the demo's patterns takes.
fn fitting(pattern: &str) -> &'static str {
    let known = [("^T-", "T-1"), ("^O-", "O-1"), ("^[A-Z]{2,8}-", "AB-1"), ("^/", "/x")];
    known.into_iter().find(|(begin, _)| pattern.starts_with(begin)).unwrap().1
}

fn cell(came: &Came) -> String {
    assert_ne!(came.reason.as_deref(), Some("invalid_arguments"), "the sample fits its tool: {came:?}");
    let by = came.rules.join(" ");
    match (came.effect, came.rules.is_empty()) {
        ("allow", _) => "yes".to_owned(),
        ("step_up", _) => format!("asks {} ({by})", came.asks.join(" ")),
        (_, false) => format!("no ({by})"),
        (_, true) => format!("no: {}", came.reason.as_deref().unwrap_or_default()),
    }
}

/// The names of the arguments that rules look at.
fn reads(tool: &Tool, stage: &Stage) -> String {
    let world = stage.worlds.now();
    match world.policies.reads(tool.name.as_str()).map(bailiwick_policy::Reads::input) {
        Some(Want::Fields(fields)) => fields.keys().cloned().collect::<Vec<_>>().join(" "),
        Some(Want::Everything) => "everything".to_owned(),
        _ => String::new(),
    }
}

/// One grant of a stage, tool by tool.
async fn page(title: &str, grant: Grant, stage: &Stage) -> String {
    let world = stage.worlds.now();
    let mut tools: Vec<_> = world.tools().cloned().collect();
    tools.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
    // The table is about rules: what a budget has left is counted beside them.
    let grant = Grant { budget: Budget::default(), ..grant };
    let subject = Subject::new(grant.clone(), stage);
    let (mut lines, mut listed) = (String::new(), 0);
    for tool in &tools {
        let given = arguments(tool, &grant, stage);
        let name = tool.name.as_str();
        let first = cell(&judge::call(&subject, (name, &given), &Circumstances::default(), stage).await);
        let is_listed = subject.lists(name, &world);
        listed += usize::from(is_listed);
        let mut otherwise = Vec::new();
        for (when, moment) in moments() {
            let then = cell(&judge::call(&subject, (name, &given), &moment, stage).await);
            // INVARIANT: callable means listed.
            assert!(is_listed || then.starts_with("no") && first.starts_with("no"), "{name} is callable and not listed");
            otherwise.extend((then != first).then(|| format!("; {when}: {then}")));
        }
        let reads = Some(reads(tool, stage)).filter(|reads| !reads.is_empty()).map(|reads| format!("  [reads {reads}]"));
        let seen = if is_listed { "listed" } else { "hidden" };
        // Of one width whatever the rules say: a line changes only where what it says does.
        writeln!(
            lines,
            "{name:<24} {:<10} {:<8} {seen}  {first}{}{}",
            tool.kind.to_string(),
            tool.band.to_string(),
            otherwise.concat(),
            reads.unwrap_or_default()
        )
        .unwrap();
    }
    let all = tools.len();
    format!("\n## {title}: agent {}, {listed} of {all} tools listed\n\n{lines}", grant.agent)
}

/// A grant of everything that there is, up to this band: what the rules alone let this agent do.
fn everything(stage: &Stage, agent: &str, ceiling: Band) -> Grant {
    let all = |connector: &bailiwick_config::Connector| Capability {
        tools: ToolPattern::Connector(connector.id.clone()),
        kinds: None,
        args: BTreeMap::new(),
    };
    let rights = stage.config.connectors.iter().map(all).collect();
    let bare = Grant::bare("everything".parse().unwrap(), agent.parse().unwrap(), rights, 0..1);
    Grant { ceiling, ..bare }
}

#[tokio::test]
async fn the_matrix_is_as_it_was_reviewed() {
    let mut pages = HEAD.to_owned();
    let stage = demo();
    assert_eq!(stage.worlds.now().tools().count(), 30);
    for terms in &stage.config.grants {
        pages.push_str(&page(&format!("demo, grant {}", terms.id), terms.to_grant(0, 1), &stage).await);
    }
    for ceiling in [Band::High, Band::Low] {
        let title = format!("demo, a grant of every tool up to {ceiling}");
        pages.push_str(&page(&title, everything(&stage, "demo", ceiling), &stage).await);
    }
    for each in &TEMPLATES {
        let (_, stage) = template(each.name).await;
        for terms in &stage.config.grants {
            pages.push_str(&page(&format!("{}, grant {}", each.name, terms.id), terms.to_grant(0, 1), &stage).await);
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(FILE);
    if std::env::var_os("BAILIWICK_WRITE").is_some_and(|write| write == "1") {
        fs::write(&path, &pages).unwrap();
    }
    let reviewed = fs::read_to_string(&path).unwrap();
    let differs: Vec<String> = reviewed
        .lines()
        .zip(pages.lines())
        .filter(|(one, other)| one != other)
        .map(|(reviewed, now)| format!("-{reviewed}\n+{now}"))
        .collect();
    let again = "`BAILIWICK_WRITE=1 cargo test -p bailiwick --lib the_matrix_is` writes it anew, to be reviewed";
    assert!(reviewed == pages, "{FILE} differs from what the rules say now; {again}:\n{}", differs.join("\n"));
}

#[test]
fn the_demo_is_pinned_as_it_starts() {
    let stage = demo();
    let refund: QualifiedName = "tickets__refund".parse().unwrap();
    let world = stage.worlds.now();
    assert_eq!(world.tool(refund.as_str()).map(|tool| tool.band), Some(Band::High));
}
