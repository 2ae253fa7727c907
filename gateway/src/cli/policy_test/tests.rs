#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use bailiwick_policy::TEMPLATES;

use super::{
    coverage::Coverage,
    file::{self, CaseFile},
    judged,
    report::Report,
    stage::Stage,
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policy/templates")
}

/// A template, as it stands in its folder.
pub(super) async fn template(name: &str) -> (CaseFile, Stage) {
    let folder = folder().join(name);
    let text = fs::read_to_string(folder.join("tests.toml")).unwrap();
    staged(&text, &folder).await
}

/// Cases with these words, whose rules are in this folder.
async fn staged(text: &str, folder: &Path) -> (CaseFile, Stage) {
    let file = file::read("tests.toml", Path::new("tests.toml"), text).unwrap();
    let stage = Stage::of(&file, folder, None).await.unwrap();
    (file, stage)
}

/// What people and programs are told of these cases.
async fn outcome(file: &CaseFile, stage: &Stage) -> (Report, Coverage) {
    let (mut report, mut coverage) = (Report::default(), Coverage::default());
    judged(file, stage, &mut report, &mut coverage).await.unwrap();
    (report, coverage)
}

fn faults(text: &str) -> String {
    let faults = file::read("tests.toml", Path::new("tests.toml"), text).unwrap_err();
    faults.iter().map(|fault| fault.text.as_str()).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn each_template_says_what_its_cases_say_and_each_rule_has_one() {
    for each in &TEMPLATES {
        let (file, stage) = template(each.name).await;
        let (report, coverage) = outcome(&file, &stage).await;
        assert!(!report.has_failed() && coverage.is_whole(), "{}:\n{}", each.name, report.to_text(Some(&coverage)));
        // Each rule of its own is named by a case: which one decides is not left to chance.
        let rules = each.files.iter().find(|(name, _)| *name == "rules.cedar").unwrap().1;
        let ids: Vec<&str> = rules.lines().filter_map(|line| line.strip_prefix("@id(\"")?.strip_suffix("\")")).collect();
        assert!(ids.len() >= 4, "{}", each.name);
        for id in ids {
            assert!(file.cases.iter().any(|case| case.expected.by.iter().any(|by| by == id)), "{}: {id}", each.name);
        }
    }
}

#[test]
fn every_folder_of_templates_is_one() {
    let mut there: Vec<String> =
        fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    there.sort_unstable();
    let mut known: Vec<&str> = TEMPLATES.iter().map(|each| each.name).collect();
    known.sort_unstable();
    assert_eq!(there, known);
    for each in &TEMPLATES {
        for (name, text) in each.files {
            assert_eq!(fs::read_to_string(folder().join(each.name).join(name)).unwrap(), text);
        }
    }
}

/// The rules of support, and one more: nothing above 100.
async fn at_most_a_hundred(cases: &str, rule: &str) -> (CaseFile, Stage) {
    let from = folder().join("support-agent");
    let scratch = tempfile::tempdir().unwrap();
    let rules = fs::read_to_string(from.join("rules.cedar")).unwrap();
    fs::write(scratch.path().join("rules.cedar"), format!("{rules}\n{rule}")).unwrap();
    let text = fs::read_to_string(from.join("tests.toml")).unwrap();
    let head = text.split("[[cases]]").next().unwrap();
    staged(&format!("{head}{cases}"), scratch.path()).await
}

const AT_MOST: &str = r#"
@id("refund-at-most-100") @reason("no refund above 100")
forbid (principal, action == Bailiwick::Action::"helpdesk__refund", resource)
when { context.input.amount.greaterThan(decimal("100.0")) };
"#;

#[tokio::test]
async fn no_way_to_write_an_argument_silences_a_rule() {
    // Above the amount, or not to be told: refused, and no approval lifts it.
    let refused = [
        ("100.01", "policy_forbids"),
        ("1e3", "policy_forbids"),
        ("1.0E+3", "policy_forbids"),
        ("100.00001", "opaque_argument"),
        ("99.99999", "opaque_argument"),
        ("1e400", "opaque_argument"),
        ("1e-5", "opaque_argument"),
        ("99999999999999999999999", "opaque_argument"),
        ("\"100\"", "invalid_arguments"),
        ("\"1e2\"", "invalid_arguments"),
        ("null", "invalid_arguments"),
        ("[101]", "invalid_arguments"),
        ("{\"amount\": 101}", "invalid_arguments"),
        ("true", "invalid_arguments"),
    ];
    // And these are the same hundred.
    let asks = ["100", "100.0", "1e2", "1E2", "1.0e2", "1000e-1", "100.0000", "100.00000"];
    let case = |amount: &str, expect: &str| {
        let args = format!(r#"{{"id": "T-1", "amount": {amount}}}"#);
        let held = if expect.contains("deny") { "context = { approvals = [\"approver\"] }\n" } else { "" };
        format!("[[cases]]\ntool = \"helpdesk__refund\"\nargs = '{args}'\n{held}expect = {expect}\n\n")
    };
    let mut cases: String =
        refused.iter().map(|(amount, reason)| case(amount, &format!("\"deny\"\nreason = \"{reason}\""))).collect();
    cases.extend(asks.iter().map(|amount| case(amount, "\"step_up\"\nby = [\"support-refund-needs-approver\"]")));
    for (args, reason) in [
        (r#"{"id": "T-1"}"#, "invalid_arguments"),
        (r#"{"id": "T-1", "Amount": 101}"#, "invalid_arguments"),
        (r#"{"id": "T-1", "amount": 1, "amount": 101}"#, "malformed"),
        (r#"{"id": "T-1", "amount": 0101}"#, "malformed"),
        (r#"[{"amount": 1}]"#, "malformed"),
        ("amount=1", "malformed"),
        ("", "malformed"),
    ] {
        let case =
            format!("[[cases]]\ntool = \"helpdesk__refund\"\nargs = '{args}'\nexpect = \"deny\"\nreason = \"{reason}\"\n\n");
        cases.push_str(&case);
    }
    let (file, stage) = at_most_a_hundred(&cases, AT_MOST).await;
    assert_eq!(file.cases.len(), refused.len() + asks.len() + 7);
    let (report, _) = outcome(&file, &stage).await;
    assert!(!report.has_failed(), "{}", report.to_text(None));
}

#[tokio::test]
async fn numbers_of_a_table_are_judged_as_they_are_written() {
    let cases = r#"
[[cases]]
tool = "helpdesk__refund"
args = { id = "T-1", amount = 100.00001 }
expect = "deny"
reason = "opaque_argument"

[[cases]]
tool = "helpdesk__refund"
args = { id = "T-1", amount = 1_000.5 }
expect = "deny"
by = ["refund-at-most-100"]

[[cases]]
tool = "helpdesk__refund"
args = { id = "T-1", amount = +1e2 }
expect = "step_up"

[[cases]]
tool = "helpdesk__refund"
expect = "step_up"
[cases.args]
id = "T-1"
amount = 0x10
"#;
    let (file, stage) = at_most_a_hundred(cases, AT_MOST).await;
    let (report, coverage) = outcome(&file, &stage).await;
    assert!(!report.has_failed(), "{}", report.to_text(Some(&coverage)));
    // Three of the template's rules decided none of these.
    assert!(
        !coverage.is_whole() && coverage.to_text().contains("no case is decided by support-reply-needs-approver (rules.cedar:")
    );
}

#[tokio::test]
async fn what_comes_otherwise_is_told_with_the_rule_and_its_line() {
    let cases = r#"
[[cases]]
name = "two hundred go"
tool = "helpdesk__refund"
args = { id = "T-1", amount = 200 }
expect = "allow"
"#;
    let (file, stage) = at_most_a_hundred(cases, AT_MOST).await;
    let (report, coverage) = outcome(&file, &stage).await;
    assert!(report.has_failed());
    let text = report.to_text(Some(&coverage));
    let line = stage.place("refund-at-most-100");
    for part in
        ["two hundred go", "allow", "deny: policy_forbids", &format!("refund-at-most-100 ({line})"), "1 case, 1 not as expected"]
    {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    // A case that came otherwise has tested nothing.
    assert!(text.contains("no case is decided by refund-at-most-100"), "{text}");
    let json = report.to_json(None);
    assert_eq!(json.pointer("/cases/0/came/rules/0/id").unwrap(), "refund-at-most-100");
    assert_eq!(json.pointer("/cases/0/state").unwrap(), "failed");
}

#[test]
fn what_is_faulty_is_told_with_its_line_and_what_was_meant() {
    let text = "\npolicys = [\"a\"]\n[[cases]]\ntol = \"a__b\"\ntool = \"a__b\"\nexpect = \"alow\"\n[[cases]]\ntool = \"a__b\"\nexpect = \"deny\"\ncontext = { huor = 3, hour = 24 }\n[[cases]]\nexpect = \"deny\"\n";
    let told = faults(text);
    for part in [
        "tests.toml:2:1: unknown key `policys` in the file (did you mean `policies`?)",
        "tests.toml:4:1: unknown key `tol` in a case (did you mean `tool`?)",
        "tests.toml:6:10: `expect` can't be `alow` (did you mean `allow`?)",
        "tests.toml:10:13: unknown key `huor` in `context` (did you mean `hour`?)",
        "`hour` must be 0 to 23",
        "tests.toml:11:1: a case asks one thing",
    ] {
        assert!(told.contains(part), "{part}:\n{told}");
    }
    for (text, part) in [
        ("[[cases]\n", "tests.toml:1:"),
        ("[[cases]]\ntool = \"a__b\"\n", "tests.toml:1:1: a case says what it expects"),
        ("[[cases]]\ntool = 3\nexpect = \"deny\"\n", "tests.toml:2:8: `tool` must be a text"),
        ("[[cases]]\ntool = \"a__b\"\nargs = { a = 2026-01-01 }\nexpect = \"deny\"\n", "JSON has no dates"),
        ("[[cases]]\ntool = \"a__b\"\nargs = { a = inf }\nexpect = \"deny\"\n", "`inf` is no number of JSON"),
        ("[[cases]]\ntool = \"a__b\"\nargs = 3\nexpect = \"deny\"\n", "`args` must be a table"),
        ("[[cases]]\ntool = \"a__b\"\ngrant = { agent = \"a\", tool = [] }\nexpect = \"deny\"\n", "did you mean `tools`?"),
        ("[[agents]]\nid = \"a\"\n", "name their rules"),
        ("[schemas]\na__b = {}\n", "tests.toml:2:1: a schema belongs to a connector"),
    ] {
        assert!(faults(text).contains(part), "{part}:\n{}", faults(text));
    }
}

#[tokio::test]
async fn a_case_about_what_is_not_there_is_no_case() {
    for (case, part) in [
        (
            "tool = \"helpdesk__refnd\"\nexpect = \"deny\"",
            "there is no tool `helpdesk__refnd` (did you mean `helpdesk__refund`?)",
        ),
        ("tool = \"helpdesk__refund\"\nexpect = \"deny\"\nby = [\"refund-at-most\"]", "there is no rule `refund-at-most`"),
        ("tool = \"helpdesk__refund\"\ngrant = \"inbx\"\nexpect = \"deny\"", "there is no grant `inbx` (did you mean `inbox`?)"),
    ] {
        let (file, stage) = at_most_a_hundred(&format!("[[cases]]\n{case}\n"), AT_MOST).await;
        let fault = judged(&file, &stage, &mut Report::default(), &mut Coverage::default()).await.unwrap_err();
        assert!(fault.to_string().contains(part) && fault.exit_code() == 2, "{part}: {fault}");
    }
}

#[tokio::test]
async fn a_case_may_bring_its_own_grant() {
    let cases = r#"
[[cases]]
name = "inside"
grant = { agent = "support", tools = ["helpdesk__add_note"], args = { helpdesk__add_note = { "/id" = { eq = "T-1" } } } }
tool = "helpdesk__add_note"
args = { id = "T-1", text = "called" }
expect = "allow"

[[cases]]
name = "outside its bounds"
grant = { agent = "support", tools = ["helpdesk__add_note"], args = { helpdesk__add_note = { "/id" = { eq = "T-1" } } } }
tool = "helpdesk__add_note"
args = { id = "T-2", text = "called" }
expect = "deny"
reason = "argument_out_of_grant"

[[cases]]
name = "not given"
grant = { agent = "support", tools = ["helpdesk__add_note"] }
tool = "helpdesk__get_ticket"
args = { id = "T-2" }
expect = "deny"
reason = "unknown_tool"

[[cases]]
name = "above its ceiling"
grant = { agent = "support", tools = ["helpdesk__*"], ceiling = "low" }
tool = "helpdesk__refund"
args = { id = "T-2", amount = 3 }
expect = "deny"
reason = "unknown_tool"
"#;
    let (file, stage) = at_most_a_hundred(cases, AT_MOST).await;
    let (report, _) = outcome(&file, &stage).await;
    assert!(!report.has_failed(), "{}", report.to_text(None));
}

/// What follows where a detection fires is that of the configuration; what is full is full.
#[tokio::test]
async fn a_case_says_which_detections_fire_and_what_is_spent() {
    let cases = r#"
[[detections]]
id = "loop"
kind = "repeat"
action = "deny"

[[detections]]
id = "odd"
kind = "probe"
action = "step_up"

[[detections]]
id = "seen"
kind = "cycle"

[[cases]]
name = "refused by what stands out"
tool = "helpdesk__get_ticket"
args = { id = "T-1" }
context = { detections = ["loop"] }
expect = "deny"
reason = "detected"

[[cases]]
name = "asked about because of what stands out"
tool = "helpdesk__get_ticket"
args = { id = "T-1" }
context = { detections = ["odd", "seen"] }
expect = "step_up"
asks = ["detection"]

[[cases]]
name = "only observed"
tool = "helpdesk__get_ticket"
args = { id = "T-1" }
context = { detections = ["seen"] }
expect = "allow"

[[cases]]
name = "policy first"
tool = "helpdesk__refund"
args = { id = "T-1", amount = 500 }
context = { detections = ["loop"] }
expect = "deny"
by = ["refund-at-most-100"]

[[cases]]
name = "nothing is left"
grant = { agent = "support", tools = ["helpdesk__*"], budget = { calls = 3 } }
tool = "helpdesk__get_ticket"
args = { id = "T-1" }
context = { calls_in_task = 3 }
expect = "deny"
reason = "budget_exhausted"

[[cases]]
name = "one is left"
grant = { agent = "support", tools = ["helpdesk__*"], budget = { calls = 3, bytes_out = 1000 } }
tool = "helpdesk__get_ticket"
args = { id = "T-1" }
context = { calls_in_task = 2, bytes_out = 900 }
expect = "allow"

[[cases]]
name = "too much was sent"
grant = { agent = "support", tools = ["helpdesk__*"], budget = { bytes_out = 1000 } }
tool = "helpdesk__get_ticket"
args = { id = "T-1" }
context = { bytes_out = 995, weekday = 7 }
expect = "deny"
reason = "budget_exhausted"
"#;
    let (file, stage) = at_most_a_hundred(cases, AT_MOST).await;
    let (report, _) = outcome(&file, &stage).await;
    assert!(!report.has_failed(), "{}", report.to_text(None));
}
