//! Policies that change: what is on record of a decision, what differs between two bundles, and what is doubtful about one.

use serde_json::{Map, Value, json};

use super::{CATALOGUE, allow, call, compile, connectors, decide, grant, prepared, tools};
use crate::catalogue::KnownTool;
use crate::{Ask, Decision, Differs, Finding, Lint, Policies, Probe, Snapshot, Source, Turn, Unread, lint};

const PERMIT: &str = "@id(\"all\") permit (principal, action in Bailiwick::Action::\"call\", resource);\n";

fn refund(limit: i64) -> String {
    format!(
        "{PERMIT}@id(\"large\") forbid (principal, action == Bailiwick::Action::\"tickets__refund\", resource)
         when {{ context.input has amount && context.input.amount > {limit} && context.call.hour > 8 }};"
    )
}

fn snapshot(policies: &Policies, tool: &str, input: &Value) -> Snapshot {
    let grant = prepared();
    policies.snapshot(&Ask { tool, grant: &grant, call: &call(), input })
}

fn again(policies: &Policies, tool: &str, snapshot: &Snapshot) -> Result<Decision, Unread> {
    // As it comes back from a record.
    let text = serde_json::to_string(snapshot).unwrap();
    policies.decide_again(&prepared(), tool, &serde_json::from_str(&text).unwrap())
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

#[test]
fn a_snapshot_has_what_was_read_and_no_more() {
    let policies = compile(&refund(500));
    let input = json!({"amount": 700, "note": "dear diary", "urgent": true});
    let kept = snapshot(&policies, "tickets__refund", &input);
    assert_eq!((kept.input.clone(), kept.call.clone()), (object(&json!({"amount": 700})), object(&json!({"hour": 14}))));
    // Nobody looked at its arguments: whoever would, can't say anything of it.
    let unread = snapshot(&policies, "tickets__get", &json!({"id": "T-1"}));
    assert_eq!(unread, Snapshot { partial: vec![String::new()], ..Snapshot::default() });
    let reads = "@id(\"by-id\") forbid (principal, action == Bailiwick::Action::\"tickets__get\", resource)
        when { context.input has id && context.input.id == \"T-1\" };";
    assert_eq!(again(&compile(reads), "tickets__get", &unread), Err(Unread("context.input.id".to_owned())));
    assert_eq!(snapshot(&policies, "tickets__get", &json!({})), Snapshot::default());
    let without = snapshot(&policies, "tickets__refund", &json!({"note": "n"}));
    assert_eq!((without.input, without.absent), (Map::new(), vec!["/amount".to_owned()]));
}

#[test]
fn what_is_on_record_decides_as_the_call_did() {
    let policies = compile(&refund(500));
    for input in [
        json!({}),
        json!({"amount": 500}),
        json!({"amount": 501}),
        json!({"amount": 5e2}),
        json!({"amount": "x"}),
        json!({"amount": null}),
    ] {
        let kept = snapshot(&policies, "tickets__refund", &input);
        assert_eq!(again(&policies, "tickets__refund", &kept), Ok(decide(&policies, "tickets__refund", &input)), "{input}");
    }
}

#[test]
fn others_decide_by_it_as_far_as_it_goes() {
    let kept = snapshot(&compile(&refund(500)), "tickets__refund", &json!({"amount": 700, "urgent": true}));
    assert_eq!(again(&compile(&refund(1000)), "tickets__refund", &kept), Ok(allow(&["all"])));
    let reads = |condition: &str| {
        let text = format!(
            "{PERMIT}@id(\"f\") forbid (principal, action == Bailiwick::Action::\"tickets__refund\", resource) when {{ {condition} }};"
        );
        again(&compile(&text), "tickets__refund", &kept)
    };
    assert_eq!(reads("context.input has urgent && context.input.urgent"), Err(Unread("context.input.urgent".to_owned())));
    assert_eq!(reads("context.call.untrusted_input"), Err(Unread("context.call.untrusted_input".to_owned())));
    assert!(matches!(reads("context.call.kind == \"write\""), Ok(Decision::Deny { .. })), "what a tool is need not be on record");
}

#[test]
fn long_texts_and_what_a_rule_redacts_are_kept_by_their_presence() {
    let rule = |annotation: &str, condition: &str| {
        compile(&format!(
            "{annotation} {PERMIT}@id(\"f\") forbid (principal, action == Bailiwick::Action::\"shop__mail\", resource) when {{ {condition} }};"
        ))
    };
    let asks = "context.input has note && context.input.note == \"secret\"";
    let long = snapshot(&rule("", asks), "shop__mail", &json!({"note": "x".repeat(257)}));
    assert_eq!((long.input.len(), long.withheld.clone()), (0, vec!["/note".to_owned()]));
    let redacted = snapshot(&rule("@redact(\"args:/note\")", asks), "shop__mail", &json!({"note": "secret"}));
    assert_eq!((redacted.input.len(), redacted.withheld.clone()), (0, vec!["/note".to_owned()]));
    assert_eq!(again(&rule("", asks), "shop__mail", &redacted), Err(Unread("context.input.note".to_owned())));
    let presence = again(&rule("", "context.input has note"), "shop__mail", &redacted);
    assert!(matches!(presence, Ok(Decision::Deny { .. })), "that it was there is known: {presence:?}");
}

/// What one rule has masked, no other has put on record: not one that is only watched, and not as where data goes.
#[test]
fn what_is_masked_is_on_record_by_no_other_name() {
    let reads = compile(&format!(
        "{PERMIT}@id(\"f\") forbid (principal, action == Bailiwick::Action::\"shop__mail\", resource)
         when {{ context.input has note && context.input.note == \"x\" && context.call.destination == \"y\" && context.call.hour == 3 }};"
    ));
    let masks = compile(&format!("@redact(\"args:/note\") {PERMIT}"));
    let input = json!({"note": "secret"});
    assert!(snapshot(&reads, "shop__mail", &input).call.contains_key("destination"));
    for policies in [masks.with_candidate(Ok(reads)), compile(&format!("@mode(\"shadow\") @redact(\"args:/note\") {PERMIT}"))] {
        assert!(policies.keeps_back("shop__mail") && !policies.keeps_back("shop__nothing"));
        let kept = snapshot(&policies, "shop__mail", &input);
        assert!(kept.input.is_empty() && !kept.call.keys().any(|name| name.starts_with("destination")), "{kept:?}");
    }
}

#[test]
fn shadow_rules_and_bundles_differ_and_decide_nothing() {
    let shadow = format!(
        "{PERMIT}@id(\"watch\") @mode(\"shadow\") forbid (principal, action == Bailiwick::Action::\"shop__buy\", resource);"
    );
    let nothing = compile("@id(\"none\") forbid (principal, action, resource);");
    let policies = compile(&shadow).with_candidate(Ok(nothing));
    let grant = prepared();
    let (facts, input) = (call(), json!({}));
    let ask = |tool| Ask { tool, grant: &grant, call: &facts, input: &input };
    let decided = policies.decide(&ask("shop__buy"));
    assert_eq!(decided, allow(&["all"]));
    let differs = |policy: &str| Differs { policy: policy.to_owned(), from: "allow", to: "deny" };
    assert_eq!(policies.differs(&ask("shop__buy"), &decided), [differs("watch"), differs("candidate:none")]);
    assert_eq!(policies.differs(&ask("tickets__get"), &decided), [differs("candidate:none")]);
    let broken = compile(PERMIT).with_candidate(Err("no".to_owned()));
    assert!(!broken.watches("shop__buy") && broken.differs(&ask("shop__buy"), &decided).is_empty());
    assert_eq!(broken.candidate().map(|candidate| candidate.is_ok()), Some(false));
}

fn example(old: &str, new: &str, turn: Turn) -> Vec<Probe> {
    let difference = compile(old).difference(&compile(new), &[grant()], &connectors(), &[]);
    difference.changes.into_iter().filter(|change| change.turn == turn).map(|change| change.example).collect()
}

#[test]
fn a_planted_widening_is_named_by_its_exact_request() {
    let widened = example(&refund(500), &refund(501), Turn::Widens);
    let [probe] = widened.as_slice() else { panic!("{widened:?}") };
    assert_eq!((probe.tool.as_str(), probe.grant.agent.as_str()), ("tickets__refund", "triage-bot"));
    assert_eq!(probe.read.input, object(&json!({"amount": 501})));
    assert_eq!(example(&refund(500), &refund(501), Turn::Narrows), []);
    let narrowed = example(&refund(501), &refund(500), Turn::Narrows);
    assert_eq!(narrowed.first().map(|probe| probe.read.input.clone()), Some(object(&json!({"amount": 501}))));
    assert!(compile(&refund(5)).difference(&compile(&refund(5)), &[], &connectors(), &[]).tools.is_empty());
}

#[test]
fn widenings_of_every_kind_are_found() {
    let forbid =
        |more: &str| format!("{PERMIT}@id(\"f\") forbid (principal, action in Bailiwick::Action::\"write\", resource) {more};");
    let lifted = |label: &str, annotation: &str| {
        format!(
            "{PERMIT}@id(\"f\") @approval(\"{label}\") {annotation} forbid (principal, action in Bailiwick::Action::\"write\", resource) unless {{ context.call.approvals.contains(\"{label}\") }};"
        )
    };
    for (old, new) in [
        (forbid(""), PERMIT.to_owned()),
        (forbid(""), lifted("x", "")),
        (lifted("x", ""), PERMIT.to_owned()),
        (lifted("x", "@quorum(\"2\")"), lifted("x", "")),
        (lifted("x", "@confirm(\"two-person\")"), lifted("x", "@confirm(\"approver\")")),
        (
            forbid("when { context.call.untrusted_input || context.call.confidential }"),
            forbid("when { context.call.untrusted_input && context.call.confidential }"),
        ),
        (forbid("when { context.call.hour >= 18 }"), forbid("when { context.call.hour > 18 }")),
        (forbid("unless { principal.environment == \"test\" }"), forbid("unless { principal.environment like \"test*\" }")),
        (forbid("unless { principal in Bailiwick::Agent::\"a\" }"), forbid("unless { principal in Bailiwick::Agent::\"b\" }")),
        (forbid("when { principal.ceiling < 3 }"), forbid("when { principal.ceiling < 2 }")),
        (forbid("when { principal.data_classes.contains(\"phi\") }"), PERMIT.to_owned()),
    ] {
        assert!(!example(&old, &new, Turn::Widens).is_empty(), "{old}\n{new}");
        assert!(!example(&new, &old, Turn::Narrows).is_empty(), "{old}\n{new}");
    }
    let decimal = |limit: &str| {
        format!(
            "{PERMIT}@id(\"f\") forbid (principal, action == Bailiwick::Action::\"shop__buy\", resource) when {{ context.input has rate && context.input.rate.greaterThan(decimal(\"{limit}\")) }};"
        )
    };
    let widened = example(&decimal("1.5"), &decimal("1.6"), Turn::Widens);
    assert_eq!(widened.first().map(|probe| probe.read.input["rate"].to_string()), Some("1.5001".to_owned()));
    let tags = |tag: &str| {
        format!(
            "{PERMIT}@id(\"f\") forbid (principal, action == Bailiwick::Action::\"shop__buy\", resource) when {{ context.input has tags && context.input.tags.contains(\"{tag}\") }};"
        )
    };
    assert_eq!(
        example(&tags("a"), &tags("b"), Turn::Widens).first().map(|probe| probe.read.input.clone()),
        Some(object(&json!({"tags": ["a"]})))
    );
    let hop = "@id(\"hop\") forbid (principal, action == Bailiwick::Action::\"delegate\", resource);";
    let difference = compile(PERMIT).difference(&compile(&format!("{PERMIT}{hop}")), &[], &connectors(), &[]);
    assert_eq!((difference.untried, difference.changes.len()), (vec!["delegate".to_owned()], 0));
}

#[test]
fn what_was_read_and_the_least_change_are_told() {
    let policies = compile(&refund(500));
    let probe = Probe {
        tool: "tickets__refund".to_owned(),
        grant: grant(),
        read: snapshot(&policies, "tickets__refund", &json!({"amount": 700})),
        call_id: None,
    };
    let looked: Vec<String> = policies
        .looked_at(&["large".to_owned()], &probe)
        .into_iter()
        .map(|looked| format!("{}={}", looked.path, looked.value.unwrap_or_default()))
        .collect();
    assert_eq!(looked, ["context.call.hour=14", "context.input.amount=700"]);
    let (steps, decision) = policies.least_change(&probe, &connectors()).unwrap();
    let [step] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!((step.path.as_str(), &step.from, &step.to), ("context.input.amount", &Some(json!(700)), &Some(json!(500))));
    assert_eq!(decision, allow(&["all"]));
    let two = compile(&format!(
        "{PERMIT}@id(\"f\") forbid (principal, action == Bailiwick::Action::\"shop__mail\", resource) when {{ context.call.confidential }};
         @id(\"g\") forbid (principal, action == Bailiwick::Action::\"shop__mail\", resource) unless {{ principal.environment == \"test\" }};"
    ));
    let read = snapshot(&two, "shop__mail", &json!({}));
    let probe = Probe { tool: "shop__mail".to_owned(), read, ..probe };
    let (steps, _) = two.least_change(&probe, &connectors()).unwrap();
    let steps: Vec<&str> = steps.iter().map(|step| step.path.as_str()).collect();
    assert_eq!(steps, ["context.call.confidential", "principal.environment"]);
    let hopeless = compile("@id(\"f\") forbid (principal, action, resource);");
    assert_eq!(hopeless.least_change(&probe, &connectors()), None);
}

fn linted(text: &str) -> Vec<Finding> {
    let known = KnownTool::read(&tools()).unwrap();
    lint(&[Source { name: "p.cedar", text }], &known)
}

fn found(text: &str) -> Vec<(Lint, String, usize)> {
    linted(text).into_iter().map(|finding| (finding.lint, finding.rule, finding.fault.line)).collect()
}

#[test]
fn doubts_are_told_with_their_place() {
    let one = |lint, rule: &str, line| vec![(lint, rule.to_owned(), line)];
    let action = |name: &str| format!("principal, action == Bailiwick::Action::\"{name}\", resource");
    let mail = action("shop__mail");
    for (text, expected) in [
        (
            format!(
                "@id(\"p\") permit ({mail});\n@id(\"f\") forbid (principal, action in Bailiwick::Action::\"exfiltrate\", resource);"
            ),
            one(Lint::Shadowed, "p", 1),
        ),
        (
            format!(
                "@id(\"a\") permit (principal, action in Bailiwick::Action::\"call\", resource);\n@id(\"p\") permit ({mail}) when {{ context.call.confidential }};"
            ),
            one(Lint::Redundant, "p", 2),
        ),
        (format!("@id(\"a\") forbid ({mail});\n@id(\"b\") forbid ({mail});"), one(Lint::Duplicate, "b", 2)),
        (
            "@id(\"p\") permit (principal, action in Bailiwick::Action::\"execute\", resource);".to_owned(),
            one(Lint::NoTool, "p", 1),
        ),
        (
            format!("@id(\"f\") forbid ({mail})\nwhen {{ context.call.confidential }}\nwhen {{ context.call.confidential }};"),
            one(Lint::DuplicateCondition, "f", 3),
        ),
        (format!("@id(\"f\") forbid ({mail})\nwhen {{ context.call.kind == \"read\" }};"), one(Lint::NeverTrue, "f", 1)),
        (
            format!("@id(\"f\") forbid ({mail}) when {{ context.call.hour > 9 && context.call.hour < 10 }};"),
            one(Lint::NeverTrue, "f", 1),
        ),
        (format!("@id(\"f\") forbid ({mail}) when {{ context.call.hour > 23 }};"), one(Lint::NeverTrue, "f", 1)),
        (
            format!("@id(\"f\") forbid ({mail}) when {{ context.call.era == \"a\" }} unless {{ context.call.era == \"a\" }};"),
            one(Lint::NeverTrue, "f", 1),
        ),
        (
            format!("@id(\"f\") forbid ({mail}) when {{ context.call.confidential && !context.call.confidential }};"),
            one(Lint::NeverTrue, "f", 1),
        ),
        (format!("@id(\"f\") forbid ({mail}) when {{ true }};"), one(Lint::AlwaysTrue, "f", 1)),
        (
            format!("@id(\"f\") forbid ({mail})\nunless {{ context.call.approvals.contains(\"nobody\") }};"),
            one(Lint::UnusedLabel, "f", 2),
        ),
        (format!("@id(\"f\") forbid ({mail}) when {{ context.call.hour > 9 && context.call.hour < 11 }};"), Vec::new()),
        (
            format!(
                "@id(\"p\") permit ({mail});\n@id(\"f\") forbid (principal, action in Bailiwick::Action::\"exfiltrate\", resource) when {{ context.call.confidential }};"
            ),
            Vec::new(),
        ),
        (
            format!(
                "@id(\"p\") permit ({mail});\n@id(\"f\") @mode(\"shadow\") forbid (principal, action in Bailiwick::Action::\"exfiltrate\", resource);"
            ),
            Vec::new(),
        ),
        (format!("@id(\"f\") @approval(\"x\") forbid ({mail}) unless {{ context.call.approvals.contains(\"x\") }};"), Vec::new()),
        (
            format!(
                "@id(\"f\") @approval(\"x\") forbid ({mail}) unless {{ context.call.approvals.contains(\"x\") }};\n@id(\"g\") @approval(\"x\") @quorum(\"2\") forbid ({mail}) unless {{ context.call.approvals.contains(\"x\") }};"
            ),
            Vec::new(),
        ),
        ("@id(\"h\") permit (principal, action == Bailiwick::Action::\"delegate\", resource);".to_owned(), Vec::new()),
    ] {
        assert_eq!(found(&text), expected, "{text}");
    }
    let finding =
        linted(&format!("@id(\"f\") forbid ({mail})\nunless {{ context.call.approvals.contains(\"nobody\") }};")).remove(0);
    assert_eq!((finding.fault.line, finding.fault.column), (2, 43));
    assert!(finding.fault.help.unwrap().contains("@approval(\"nobody\")"));
}

#[test]
fn the_default_bundle_has_no_doubts() {
    assert_eq!(CATALOGUE.tools.len(), tools().len());
    // None of these tools executes anything.
    assert_eq!(
        found(crate::DEFAULT_BUNDLE).iter().map(|(lint, rule, _)| (*lint, rule.as_str())).collect::<Vec<_>>(),
        [(Lint::NoTool, "execute-after-untrusted")]
    );
}

/// What is demanded beside a yes, and how long and how often a yes holds, is part of what changes.
#[test]
fn who_drops_an_obligation_or_stretches_a_yes_widens() {
    let decided = |text: &str| {
        let policies = compile(text);
        let grant = prepared();
        policies.decide(&Ask { tool: "shop__mail", grant: &grant, call: &call(), input: &json!({"note": "n"}) })
    };
    let masks = |annotations: &str| decided(&format!("{annotations} {PERMIT}"));
    let asks = |annotations: &str| {
        decided(&format!(
            "{PERMIT}@id(\"f\") @approval(\"x\") {annotations} forbid (principal, action == Bailiwick::Action::\"shop__mail\", resource)
             unless {{ context.call.approvals.contains(\"x\") }};"
        ))
    };
    for (strict, lax) in [
        (masks("@redact(\"result:/a\")"), masks("")),
        (masks("@log(\"full\")"), masks("")),
        (masks("@limit(\"bytes=9, over=refuse\")"), masks("@limit(\"bytes=99, over=refuse\")")),
        (asks("@ttl(\"5m\")"), asks("@ttl(\"1d\")")),
        (asks("@ttl(\"5m\")"), asks("")),
        (asks(""), asks("@remember(\"true\")")),
        (asks("@confirm(\"two-person\")"), asks("@confirm(\"approver\")")),
    ] {
        assert_eq!(Turn::between(&strict, &lax), Some(Turn::Widens), "{strict:?} {lax:?}");
        assert_eq!(Turn::between(&strict, &strict), None);
        assert_ne!(Turn::between(&lax, &strict), None);
    }
    // And nobody is advised to drop a rule for what it demands.
    let masking = format!(
        "{PERMIT}@id(\"m\") @redact(\"result:/a\") permit (principal, action == Bailiwick::Action::\"shop__mail\", resource);"
    );
    assert_eq!(found(&masking), []);
}
