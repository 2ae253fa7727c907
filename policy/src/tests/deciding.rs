//! Every kind of decision, the algebra of step-up, and the two ways in which Cedar alone would fail open.

use std::time::Duration;

use serde_json::json;

use super::{CATALOGUE, unchecked_rules};
use super::{allow, call, compile, connectors, decide, decide_as, deny, grant, prepared, rule, step_up, tools, unchecked};
use crate::Obligations;
use crate::slice::slices;
use crate::{Ask, Confirm, Decision, DenyCause, Policies, PreparedGrant, Requirement, Source};

const PERMIT: &str = "@id(\"p\") permit (principal, action, resource);";

fn lifted(id: &str, label: &str) -> String {
    format!(
        "@id(\"{id}\") @approval(\"{label}\") forbid (principal, action, resource)
         unless {{ context.call.approvals.contains(\"{label}\") }};"
    )
}

#[test]
fn an_empty_bundle_denies_everything() {
    for sources in [vec![], vec![Source { name: "empty", text: "// nothing\n" }]] {
        let policies = Policies::compile(&sources, &tools()).unwrap();
        for tool in tools() {
            assert_eq!(decide(&policies, &tool.name, &json!({})), deny(DenyCause::NoPermit, &[]));
            assert!(!policies.reads_context(&tool.name));
        }
    }
}

#[test]
fn a_permit_allows_and_is_named_with_its_reason() {
    let policies = compile(
        "@id(\"z\") @reason(\"because\") permit (principal, action == Bailiwick::Action::\"tickets__get\", resource);
         @id(\"a\") permit (principal, action in Bailiwick::Action::\"read\", resource);",
    );
    let determining = vec![rule("a", None), rule("z", Some("because"))];
    assert_eq!(
        decide(&policies, "tickets__get", &json!({})),
        Decision::Allow { determining, obligations: Obligations::default() }
    );
    assert_eq!(decide(&policies, "tickets__refund", &json!({})), deny(DenyCause::NoPermit, &[]));
}

#[test]
fn a_forbid_beats_every_permit() {
    let policies = compile(&format!(
        "{PERMIT} @id(\"f\") @reason(\"no\") forbid (principal, action in Bailiwick::Action::\"connector:shop\", resource);"
    ));
    let determining = vec![rule("f", Some("no"))];
    let denied = Decision::Deny { determining, cause: DenyCause::Forbidden };
    assert_eq!(decide(&policies, "shop__buy", &json!({})), denied);
    assert_eq!(decide(&policies, "tickets__get", &json!({})), allow(&["p"]));
}

#[test]
fn an_unknown_tool_or_connector_is_denied() {
    let policies = compile(PERMIT);
    let unknown = Decision::deny(DenyCause::UnknownTool);
    for tool in ["tickets__drop", "", "call", "read", "connector:shop"] {
        assert_eq!(decide(&policies, tool, &json!({})), unknown, "{tool}");
        assert_eq!(policies.reads(tool), None);
        assert!(!policies.reads_context(tool));
    }
    let tickets_only = PreparedGrant::new(&grant(), &connectors()[..1]).unwrap();
    let (call, input) = (call(), json!({}));
    let ask = |tool| Ask { tool, grant: &tickets_only, call: &call, input: &input };
    assert_eq!(policies.decide(&ask("tickets__get")), allow(&["p"]));
    assert_eq!(policies.decide(&ask("shop__buy")), unknown);
    assert!(policies.could_allow(&tickets_only, "tickets__get"));
    assert!(!policies.could_allow(&tickets_only, "shop__buy"));
}

/// Trap 1: Cedar skips a forbid that fails, and allows.
#[test]
fn a_forbid_that_fails_denies() {
    let policies =
        unchecked(&format!("{PERMIT} @id(\"f\") forbid (principal, action, resource) when {{ context.input.amount > 5 }};"));
    let failed = deny(DenyCause::EvaluationError, &["f"]);
    assert_eq!(decide(&policies, "shop__buy", &json!({})), failed);
    assert_eq!(decide(&policies, "shop__buy", &json!({ "amount": 5 })), allow(&["p"]));
    assert_eq!(decide(&policies, "shop__buy", &json!({ "amount": 6 })), deny(DenyCause::Forbidden, &["f"]));
}

/// Trap 2: strict validation lets an integer overflow through.
#[test]
fn an_overflow_in_a_validated_rule_denies() {
    let policies = compile(&format!(
        "{PERMIT} @id(\"f\") forbid (principal, action == Bailiwick::Action::\"shop__buy\", resource)
         when {{ context.input has amount && context.input.amount * 2 > 1000 }};"
    ));
    let max = json!({ "amount": i64::MAX });
    assert_eq!(decide(&policies, "shop__buy", &max), deny(DenyCause::EvaluationError, &["f"]));
    assert_eq!(decide(&policies, "shop__buy", &json!({ "amount": 500 })), allow(&["p"]));
}

#[test]
fn a_permit_that_fails_denies_though_another_allows() {
    let policies =
        unchecked(&format!("{PERMIT} @id(\"broken\") permit (principal, action, resource) when {{ principal.nothing }};"));
    assert_eq!(decide(&policies, "shop__buy", &json!({})), deny(DenyCause::EvaluationError, &["broken"]));
}

#[test]
fn a_failure_in_the_second_pass_denies() {
    let policies = unchecked(&format!(
        "{PERMIT} {} @id(\"f\") forbid (principal, action, resource)
         when {{ context.call.approvals.contains(\"x\") && principal.nothing }};",
        lifted("s", "x")
    ));
    assert_eq!(decide(&policies, "shop__buy", &json!({})), deny(DenyCause::EvaluationError, &["f"]));
}

#[test]
fn an_approval_lifts_its_forbid() {
    let policies = compile(&format!("{PERMIT} {}", lifted("s", "finance")));
    assert_eq!(decide(&policies, "shop__buy", &json!({})), step_up(&[("s", "finance")]));
    let held = ["finance".to_owned()];
    let call = super::CallFacts { approvals: &held, ..call() };
    assert_eq!(decide_as(&policies, "shop__buy", &json!({}), &call), allow(&["p"]));
    let other = ["legal".to_owned()];
    let call = super::CallFacts { approvals: &other, ..call };
    assert_eq!(decide_as(&policies, "shop__buy", &json!({}), &call), step_up(&[("s", "finance")]));
}

#[test]
fn a_requirement_carries_what_the_rule_says() {
    let policies = compile(&format!(
        "{PERMIT} @id(\"s\") @approval(\"finance\") @quorum(\"2\") @ttl(\"15m\") @reason(\"money\")
         forbid (principal, action, resource) unless {{ context.call.approvals.contains(\"finance\") }};"
    ));
    let requirement = Requirement {
        label: "finance".into(),
        confirm: Confirm::Approver,
        remember: false,
        quorum: 2,
        ttl: Some(Duration::from_mins(15)),
        rule: "s".into(),
        reason: Some("money".into()),
    };
    let expected = Decision::StepUp {
        labels: vec![requirement],
        determining: vec![rule("s", Some("money"))],
        obligations: Obligations::default(),
    };
    assert_eq!(decide(&policies, "shop__buy", &json!({})), expected);
    assert_eq!(policies.annotation("s", "ttl"), Some("15m"));
    assert_eq!(policies.annotation("s", "log"), None);
    assert_eq!(policies.annotation("t", "ttl"), None);
}

/// The measured example of `policy.md` 1.4: two labels with a permit; without one, nobody is asked.
#[test]
fn nobody_is_asked_to_approve_what_would_be_refused_anyway() {
    let two = format!("{} {}", lifted("b", "security"), lifted("a", "owner"));
    let asked = step_up(&[("a", "owner"), ("b", "security")]);
    assert_eq!(decide(&compile(&format!("{PERMIT} {two}")), "shop__buy", &json!({})), asked);
    let refused = deny(DenyCause::NoPermit, &[]);
    assert_eq!(decide(&compile(&two), "shop__buy", &json!({})), refused);
}

#[test]
fn only_what_is_still_missing_is_asked_for() {
    let policies = compile(&format!("{PERMIT} {} {}", lifted("b", "security"), lifted("a", "owner")));
    let held = ["owner".to_owned()];
    let call = super::CallFacts { approvals: &held, ..call() };
    assert_eq!(decide_as(&policies, "shop__buy", &json!({}), &call), step_up(&[("b", "security")]));
}

#[test]
fn a_plain_forbid_can_t_be_lifted() {
    let policies = compile(&format!("{PERMIT} {} @id(\"f\") forbid (principal, action, resource);", lifted("s", "x")));
    assert_eq!(decide(&policies, "shop__buy", &json!({})), deny(DenyCause::Forbidden, &["f", "s"]));
}

#[test]
fn an_approval_that_would_not_be_enough_is_not_asked_for() {
    let policies = compile(&format!(
        "{PERMIT} @id(\"s\") @approval(\"x\") forbid (principal, action, resource)
         unless {{ context.call.approvals.contains(\"x\") && context.call.hour < 9 }};
         @id(\"t\") forbid (principal, action == Bailiwick::Action::\"tickets__get\", resource)
         when {{ context.call.approvals.contains(\"y\") }}; {}",
        lifted("u", "y")
    ));
    assert_eq!(decide(&policies, "shop__buy", &json!({})), deny(DenyCause::Forbidden, &["s"]));
    let early = super::CallFacts { hour: 8, ..call() };
    assert_eq!(decide_as(&policies, "shop__buy", &json!({}), &early), step_up(&[("s", "x"), ("u", "y")]));
    // Here the approval that lifts one rule is what another forbids.
    assert_eq!(decide_as(&policies, "tickets__get", &json!({}), &early), deny(DenyCause::Forbidden, &["t"]));
}

#[test]
fn principal_and_resource_are_what_the_facts_say() {
    for condition in [
        "principal == Bailiwick::Grant::\"triage\"",
        "principal in Bailiwick::Agent::\"triage-bot\"",
        "principal in Bailiwick::User::\"support@example.com\"",
        "principal.agent == Bailiwick::Agent::\"triage-bot\"",
        "principal.owner == Bailiwick::User::\"support@example.com\"",
        "principal.purpose == \"triage the inbox\"",
        "principal.environment == \"production\"",
        "principal.ceiling == 2",
        "principal.depth == 1",
        "principal.delegators == [Bailiwick::Agent::\"lead-bot\"]",
        "principal.data_classes == [\"pii\"]",
        "resource == Bailiwick::Connector::\"shop\"",
        "resource.sensitivity == \"internal\"",
        "resource.environment == \"production\"",
        "resource.credential == \"minted\"",
        "action == Bailiwick::Action::\"shop__buy\"",
        "action in [Bailiwick::Action::\"write\", Bailiwick::Action::\"read\"]",
        "action in Bailiwick::Action::\"band:medium\"",
        "action in Bailiwick::Action::\"connector:shop\"",
        "action in Bailiwick::Action::\"call\"",
        "context.call.kind == \"write\"",
        "context.call.band == 1",
        "context.call.environment == \"production\"",
        "context.call.calls_in_task == 7",
        "context.call.writes_in_task == 2",
        "!context.call.untrusted_input",
        "context.call.confidential",
        "context.call.labels == [\"confidential\"]",
        "context.call.destination == \"https://partner.example/in\"",
        "context.call.destination_host == \"partner.example\"",
        "context.call.destination_hosts.isEmpty()",
        "context.call.external",
        "context.call.approvals.isEmpty()",
        "context.call.transport == \"stdio\"",
        "context.call.era == \"2026-07-28\"",
        "context.call.hour == 14",
        "context.call.opaque_fields.isEmpty()",
        "context.call.detections.isEmpty()",
        "context.call.calls_last_minute == 0",
        "context.call.history.tools.isEmpty() && context.call.history.kinds.isEmpty()",
        "context.call.history == {tools: [\"\"], connectors: [\"\"], kinds: [\"\"], denied: 0, read_sensitive: false} || !context.call.history.read_sensitive",
    ] {
        let scope = "(principal, action == Bailiwick::Action::\"shop__buy\", resource)";
        let policies = unchecked(&format!("@id(\"p\") permit {scope} when {{ {condition} }};"));
        assert_eq!(decide(&policies, "shop__buy", &json!({})), allow(&["p"]), "{condition}");
        let policies = unchecked(&format!("@id(\"p\") permit {scope} unless {{ {condition} }};"));
        assert_eq!(decide(&policies, "shop__buy", &json!({})), deny(DenyCause::NoPermit, &[]), "{condition}");
    }
}

#[test]
fn a_count_beyond_63_bits_is_as_many_as_there_can_be() {
    let policies =
        compile("@id(\"p\") permit (principal, action, resource) when { context.call.calls_in_task == 9223372036854775807 };");
    let many = super::CallFacts { calls_in_task: u64::MAX, ..call() };
    assert_eq!(decide_as(&policies, "shop__buy", &json!({}), &many), allow(&["p"]));
}

/// Each field is told from its neighbour, and one that is not looked at is not built.
#[test]
fn what_a_task_did_before_is_told_field_by_field() {
    let (tools, kinds) = (["shop__buy".to_owned()], ["write".to_owned()]);
    let (connectors, detections) = (["shop".to_owned()], ["loop".to_owned()]);
    let history = crate::HistoryFacts { tools: &tools, connectors: &connectors, kinds: &kinds, denied: 3, read_sensitive: true };
    let facts = super::CallFacts { detections: &detections, calls_last_minute: 9, history, ..call() };
    for condition in [
        "context.call.detections.contains(\"loop\")",
        "context.call.calls_last_minute == 9",
        "context.call.history.tools.contains(\"shop__buy\")",
        "context.call.history.connectors.contains(\"shop\")",
        "context.call.history.kinds.contains(\"write\")",
        "context.call.history.denied == 3",
        "context.call.history.read_sensitive",
        "context.call.history.denied == 3 && context.call.history.read_sensitive",
    ] {
        let policies = compile(&format!("@id(\"p\") permit (principal, action, resource) when {{ {condition} }};"));
        assert_eq!(decide_as(&policies, "shop__buy", &json!({}), &facts), allow(&["p"]), "{condition}");
        assert_eq!(decide_as(&policies, "shop__buy", &json!({}), &call()), deny(DenyCause::NoPermit, &[]), "{condition}");
    }
}

#[test]
fn a_shadow_rule_is_watched_and_not_enforced() {
    let policies = compile(&format!(
        "{PERMIT} @id(\"f\") @mode(\"shadow\") forbid (principal, action in Bailiwick::Action::\"write\", resource)
         when {{ context.call.hour > 9 }};"
    ));
    let (call, input, grant) = (call(), json!({}), prepared());
    let ask = |tool| Ask { tool, grant: &grant, call: &call, input: &input };
    assert_eq!(policies.decide(&ask("shop__buy")), allow(&["p"]));
    assert!(!policies.reads_context("shop__buy"));
    let shadow = policies.decide_with_shadow(&ask("shop__buy"));
    assert_eq!(shadow, Some(deny(DenyCause::Forbidden, &["f"])));
    assert_eq!(policies.decide_with_shadow(&ask("tickets__get")), None);
    assert_eq!(policies.decide_with_shadow(&ask("nothing")), None);
    assert!(policies.could_allow(&grant, "shop__buy"));
}

#[test]
fn a_prepared_grant_is_the_same_from_either_hand() {
    let policies = compile(PERMIT);
    let mut facts = connectors();
    facts.extend(connectors());
    let grant = policies.prepare(&grant(), &facts).unwrap();
    let (call, input) = (call(), json!({}));
    let ask = Ask { tool: "shop__buy", grant: &grant, call: &call, input: &input };
    assert_eq!(policies.decide(&ask), allow(&["p"]));
}

/// An action is looked up with its groups only where a condition mentions one, be it in force, listed or in shadow.
#[test]
fn only_rules_that_mention_the_action_need_it() {
    let mentions = |text: &str| slices(&unchecked_rules(text), &[(*CATALOGUE.tools[0]).clone()]).unwrap()[0].mentions_action();
    let read = "action in Bailiwick::Action::\"read\"";
    assert!(!mentions(""));
    assert!(!mentions(&format!("@id(\"p\") permit (principal, {read}, resource) when {{ context.call.hour > 9 }};")));
    assert!(mentions(&format!("@id(\"p\") permit (principal, action, resource) when {{ {read} }};")));
    assert!(mentions(&format!("@id(\"p\") permit (principal, action, resource) when {{ {read} && context.call.hour > 9 }};")));
    assert!(mentions(&format!("@id(\"f\") @mode(\"shadow\") forbid (principal, action, resource) when {{ {read} }};")));
}

#[test]
fn the_digest_is_of_names_and_texts_in_any_order() {
    let digest = |sources: &[(&str, &str)]| {
        let sources: Vec<_> = sources.iter().map(|(name, text)| Source { name, text }).collect();
        Policies::compile(&sources, &[]).unwrap().digest()
    };
    let one = digest(&[("a", "// x\n"), ("b", "")]);
    assert_eq!(one, digest(&[("b", ""), ("a", "// x\n")]));
    assert_ne!(one, digest(&[("a", "// y\n"), ("b", "")]));
    assert_ne!(one, digest(&[("c", "// x\n"), ("b", "")]));
    assert_ne!(digest(&[("ab", "")]), digest(&[("a", "")]));
    assert_eq!(digest(&[]).to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(format!("{one:?}"), one.to_string());
    assert_eq!(one.as_bytes().len(), 32);
    assert_eq!(format!("{:02x}", one.as_bytes()[0]), one.to_string()[..2]);
}

#[test]
fn every_rule_is_named_by_id_whatever_its_mode() {
    let policies = compile(&format!(
        "{PERMIT} {} @id(\"a\") @mode(\"shadow\") @reason(\"why\") forbid (principal, action, resource);",
        lifted("s", "x")
    ));
    assert_eq!(policies.rules(), [&rule("a", Some("why")), &rule("p", None), &rule("s", None)]);
}

#[test]
fn a_bundle_shows_its_size_and_digest() {
    let policies = compile(PERMIT);
    let text = format!("{policies:?}");
    let expected = format!("Policies {{ digest: {}, rules: 1, tools: 5, .. }}", policies.digest());
    assert_eq!(text, expected);
}

/// A rule that says what is at stake and no class takes as many persons as that is worth.
#[test]
fn a_rule_that_names_a_risk_takes_the_class_of_it() {
    let read = |annotations: &str| {
        let policies = compile(&format!(
            "{PERMIT} @id(\"s\") @approval(\"finance\") {annotations}
             forbid (principal, action, resource) unless {{ context.call.approvals.contains(\"finance\") }};"
        ));
        match decide(&policies, "shop__buy", &json!({})) {
            Decision::StepUp { labels, .. } => (labels[0].confirm, labels[0].quorum),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read("@risk(\"critical\")"), (Confirm::TwoPerson, 2));
    assert_eq!(read("@risk(\"critical\") @quorum(\"3\")"), (Confirm::TwoPerson, 3));
    assert_eq!(read("@risk(\"high\")"), (Confirm::Approver, 1));
    assert_eq!(read("@risk(\"low\")"), (Confirm::Approver, 1));
    assert_eq!(read("@risk(\"low\") @confirm(\"user\")"), (Confirm::User, 1));
}
