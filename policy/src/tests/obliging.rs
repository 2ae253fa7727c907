//! What rules demand beside a yes.

use serde_json::json;

use super::{call, compile, decide, decide_as, tools};
use crate::{CallFacts, Decision, Policies, Source};

const RULES: &str = r#"
@id("all") @redact("result:detect(cards)") permit (principal, action, resource);
@id("reads") @redact("result:/email") @log("full") permit (principal, action in Bailiwick::Action::"read", resource);
@id("refund") @approval("finance") @redact("args:/id, result:/email remove") @limit("rows=5, at=/items")
forbid (principal, action == Bailiwick::Action::"tickets__refund", resource) unless { context.call.approvals.contains("finance") };
@id("watched") @mode("shadow") @redact("result:/never") permit (principal, action, resource);
"#;

fn words(decision: &Decision) -> Vec<String> {
    match decision {
        Decision::Allow { obligations, .. } | Decision::StepUp { obligations, .. } => obligations.words(),
        Decision::Deny { .. } => vec!["denied".to_owned()],
    }
}

#[test]
fn every_permit_that_applies_is_heard_and_no_rule_in_shadow() {
    let policies = compile(RULES);
    let found = words(&decide(&policies, "tickets__get", &json!({})));
    assert_eq!(found, ["redact result:/email mask", "redact result:detect(cards) mask", "log full"]);
}

#[test]
fn what_an_approval_lifts_demands_before_and_after() {
    let policies = compile(RULES);
    let input = json!({"id": "T-1"});
    let demanded =
        ["redact args:/id mask", "redact result:/email remove", "redact result:detect(cards) mask", "limit rows=5, at=/items"];
    let asked = decide(&policies, "tickets__refund", &input);
    assert!(matches!(asked, Decision::StepUp { .. }), "{asked:?}");
    assert_eq!(words(&asked), demanded);
    let held = ["finance".to_owned()];
    let lifted = decide_as(&policies, "tickets__refund", &input, &CallFacts { approvals: &held, ..call() });
    assert!(matches!(lifted, Decision::Allow { .. }), "{lifted:?}");
    assert_eq!(words(&lifted), demanded);
}

#[test]
fn a_wrong_one_is_a_fault_with_its_place() {
    let text = "@id(\"a\")\n@redact(\"result:/a, reslt:/b\")\npermit (principal, action, resource);\n\n@id(\"b\") @log(\"ful\") @limit(\"row=1\")\nforbid (principal, action, resource);";
    let faults = Policies::compile(&[Source { name: "x.cedar", text }], &tools()).err().unwrap_or_default();
    let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let all = told.join("\n");
    for part in [
        "x.cedar:1:1: unknown part `reslt` (help: did you mean `result`?)",
        "x.cedar:5:1: `@log(\"ful\")` is unknown (help: did you mean `@log(\"full\")`?)",
        "x.cedar:5:1: `@limit` on a forbid demands nothing",
        "x.cedar:5:1: unknown key `row` (help: did you mean `rows`?)",
    ] {
        assert!(all.contains(part), "{part} in {all}");
    }
}
