//! `permit`: the organization's rules.

use std::sync::Arc;

use bailiwick_pipeline::{grant::Labels, records::Outcome};

use crate::world::{Bench, Told, catalogue};

#[tokio::test]
async fn what_a_rule_permits_runs_and_the_rule_is_on_record() {
    let bench = Bench::new();
    let heard = bench.call("tickets__close", "{}").await;
    let decision = heard.ran().decision();
    assert_eq!(decision["rules"], serde_json::json!(["base"]));
    assert_eq!(decision["policy_digest"], bench.fakes.world.lock().unwrap().policy_digest);
}

#[tokio::test]
async fn what_a_rule_forbids_is_told_its_id_and_reason_only() {
    let bench = Bench::new();
    bench.call("tickets__daily", "{}").await.ran();
    bench.fakes.advance_ms(12 * 3_600_000);
    let grant = bailiwick_pipeline::grant::Grant { expires_at_ms: u64::MAX, ..bench.grant().terms().clone() };
    *bench.fakes.grants.lock().unwrap() = vec![crate::world::alive(grant, None)];
    let heard = bench.call("tickets__daily", "{}").await;
    heard.refused("permit", Outcome::Denied, "policy_forbids");
    let words = "DENIED by policy: by-day (because by-day). Not executed; do not retry unchanged.";
    assert_eq!(heard.told(), Told::ToolError(words.to_owned(), None));
    assert_eq!(heard.decision()["rules"], serde_json::json!(["by-day"]));
    assert!(heard.decision()["policy_digest"].is_string());
}

/// Cedar skips a forbid that fails, and would allow.
#[tokio::test]
async fn a_forbid_that_fails_denies() {
    let bench = Bench::new();
    bench.call("tickets__overflow", r#"{"amount":500}"#).await.ran();
    bench.call("tickets__overflow", r#"{"amount":501}"#).await.refused("permit", Outcome::Denied, "policy_forbids");
    let heard = bench.call("tickets__overflow", r#"{"amount":9223372036854775807}"#).await;
    heard.refused("permit", Outcome::Denied, "policy_error");
    assert_eq!(heard.text(), "DENIED by policy: a rule could not be evaluated. Not executed; do not retry unchanged.");
}

#[tokio::test]
async fn an_argument_that_a_rule_reads_and_can_not_be_shown_to_it_denies() {
    let bench = Bench::new();
    let heard = bench.call("tickets__overflow", r#"{"amount":9223372036854775808}"#).await;
    heard.refused("permit", Outcome::Denied, "opaque_argument");
    assert!(heard.text().contains("a rule reads /amount"), "{}", heard.text());
}

#[tokio::test]
async fn no_rule_no_call() {
    let bench = Bench::new();
    let empty = bailiwick_policy::Policies::compile(&[], &[]).unwrap();
    let mut world = catalogue::world(2, &catalogue::rules());
    world.policies = Arc::new(empty);
    *bench.fakes.world.lock().unwrap() = Arc::new(world);
    bench.call("tickets__get", "{}").await.refused("grant", Outcome::Denied, "unknown_tool");
    let world = catalogue::world(3, "@id(\"p\") permit (principal, action, resource) when { context.call.hour == 99 };");
    *bench.fakes.world.lock().unwrap() = Arc::new(world);
    let heard = bench.call("tickets__get", "{}").await;
    heard.refused("permit", Outcome::Denied, "no_policy_permits");
    assert_eq!(heard.text(), "DENIED by policy: no rule permits it. Not executed; do not retry unchanged.");
}

#[tokio::test]
async fn labels_and_counters_of_the_task_are_put_before_the_rules() {
    let bench = Bench::new();
    bench.call("tickets__clean", "{}").await.ran();
    bench.call("tickets__search", "{}").await.ran();
    assert_eq!(bench.grant().standing().labels, Labels::UNTRUSTED);
    bench.call("tickets__clean", "{}").await.refused("permit", Outcome::Denied, "policy_forbids");
    bench.call("tickets__counted", "{}").await.ran();
    bench.call("tickets__counted", "{}").await.refused("permit", Outcome::Denied, "policy_forbids");
    assert_eq!((bench.grant().standing().calls, bench.grant().standing().writes), (3, 2));
}
