//! The rules that a gateway starts with.

use serde_json::json;

use super::{allow, call, connectors, grant, prepared, rule, tool};
use crate::Obligations;
use crate::{
    Ask, Band, CallFacts, Confirm, DEFAULT_BUNDLE, Decision, GrantFacts, Kind, Policies, PreparedGrant, Requirement, Source,
    ToolFacts,
};

fn compile(tools: &[ToolFacts]) -> Policies {
    let source = Source { name: "default.cedar", text: DEFAULT_BUNDLE };
    Policies::compile(&[source], tools).unwrap()
}

/// One tool of every kind and band, all of one connector.
fn matrix() -> Vec<ToolFacts> {
    let each = |kind: Kind| Band::ALL.map(|band| tool(&format!("shop__{kind}_{band}"), kind, band, &json!({})));
    Kind::ALL.into_iter().flat_map(each).collect()
}

fn decide(policies: &Policies, grant: &PreparedGrant, tool: &str, call: &CallFacts<'_>) -> Decision {
    policies.decide(&Ask { tool, grant, call, input: &json!({}) })
}

fn asks(rules: &[(&str, &str)]) -> Decision {
    Decision::StepUp {
        labels: rules
            .iter()
            .map(|(id, reason)| Requirement {
                label: if *id == TWO.0 { "two-person" } else { "approver" }.into(),
                confirm: if *id == TWO.0 { Confirm::TwoPerson } else { Confirm::Approver },
                remember: false,
                quorum: if *id == TWO.0 { 2 } else { 1 },
                ttl: None,
                rule: (*id).into(),
                reason: Some((*reason).into()),
            })
            .collect(),
        determining: rules.iter().map(|(id, reason)| rule(id, Some(reason))).collect(),
        obligations: Obligations::default(),
    }
}

const HIGH: (&str, &str) = ("high-needs-approver", "high-risk calls need an approver");
const TWO: (&str, &str) = ("critical-needs-two", "critical calls need two approvers");
const ADMIN: (&str, &str) = ("admin-needs-approver", "administrative calls need an approver");
const SENT: (&str, &str) =
    ("exfiltrate-after-untrusted", "this task has touched untrusted input; sending data out needs an approver");

const RUN: (&str, &str) =
    ("execute-after-untrusted", "this task has touched untrusted input; running something needs an approver");
const LEAVES: (&str, &str) =
    ("confidential-leaves", "this task has touched confidential data; sending data outside needs an approver");

#[test]
fn it_fits_any_catalogue_without_a_warning() {
    for tools in [vec![], super::tools(), matrix(), matrix().into_iter().take(1).collect()] {
        assert_eq!(compile(&tools).warnings(), []);
    }
}

#[test]
fn each_kind_and_band_is_decided_as_it_says() {
    let policies = compile(&matrix());
    let everything = GrantFacts { ceiling: Band::Critical, ..grant() };
    let grant = PreparedGrant::new(&everything, &connectors()).unwrap();
    for flags in 0..8_u8 {
        let [untrusted_input, confidential, external] = [1, 2, 4].map(|flag| flags & flag != 0);
        let call = CallFacts { untrusted_input, confidential, external, ..call() };
        for kind in Kind::ALL {
            for band in Band::ALL {
                let mut rules = Vec::new();
                if kind == Kind::Admin {
                    rules.push(ADMIN);
                }
                if kind == Kind::Exfiltrate && untrusted_input {
                    rules.push(SENT);
                }
                if kind == Kind::Execute && untrusted_input {
                    rules.push(RUN);
                }
                if matches!(kind, Kind::Execute | Kind::Exfiltrate) && confidential && external {
                    rules.push(LEAVES);
                }
                if band == Band::High {
                    rules.push(HIGH);
                }
                if band == Band::Critical {
                    rules.push(TWO);
                }
                rules.sort_unstable();
                let name = format!("shop__{kind}_{band}");
                let decision = decide(&policies, &grant, &name, &call);
                if rules.is_empty() {
                    assert_eq!(decision, allow(&["within-grant"]), "{name}");
                } else {
                    assert_eq!(decision, asks(&rules), "{name}");
                    let held = ["approver".to_owned(), "two-person".to_owned()];
                    let approved = CallFacts { approvals: &held, ..call };
                    assert_eq!(decide(&policies, &grant, &name, &approved), allow(&["within-grant"]));
                }
            }
        }
    }
}

/// Whatever kind a tool is of: one that says where it sends data is asked about.
#[test]
fn a_tool_with_a_destination_is_asked_about_and_another_read_is_not() {
    let fetch = ToolFacts { sends: true, ..tool("shop__fetch", Kind::Read, Band::Low, &json!({})) };
    let policies = compile(&[fetch, tool("shop__look", Kind::Read, Band::Low, &json!({}))]);
    let grant = PreparedGrant::new(&grant(), &connectors()).unwrap();
    let (outside, inside) = (call(), CallFacts { external: false, ..call() });
    assert_eq!(decide(&policies, &grant, "shop__fetch", &outside), asks(&[LEAVES]));
    assert_eq!(decide(&policies, &grant, "shop__fetch", &inside), allow(&["within-grant"]));
    assert_eq!(decide(&policies, &grant, "shop__look", &outside), allow(&["within-grant"]));
    let clean = CallFacts { confidential: false, ..outside };
    assert_eq!(decide(&policies, &grant, "shop__fetch", &clean), allow(&["within-grant"]));
}

#[test]
fn above_the_ceiling_nothing_is_allowed_or_listed() {
    let policies = compile(&matrix());
    for ceiling in Band::ALL {
        let facts = GrantFacts { ceiling, ..grant() };
        let grant = PreparedGrant::new(&facts, &connectors()).unwrap();
        for band in Band::ALL {
            let name = format!("shop__write_{band}");
            let within = band <= ceiling;
            assert_eq!(policies.could_allow(&grant, &name), within, "{ceiling} {band}");
            let refused = matches!(decide(&policies, &grant, &name, &call()), Decision::Deny { .. });
            assert_eq!(refused, !within, "{ceiling} {band}");
        }
    }
}

/// Most calls are reads of low band: they must not cost a context.
#[test]
fn plain_tools_read_no_context() {
    let policies = compile(&matrix());
    let reading: Vec<String> = matrix().into_iter().map(|tool| tool.name).filter(|tool| policies.reads_context(tool)).collect();
    assert_eq!(
        reading,
        [
            "shop__read_high",
            "shop__read_critical",
            "shop__write_high",
            "shop__write_critical",
            "shop__execute_low",
            "shop__execute_medium",
            "shop__execute_high",
            "shop__execute_critical",
            "shop__exfiltrate_low",
            "shop__exfiltrate_medium",
            "shop__exfiltrate_high",
            "shop__exfiltrate_critical",
            "shop__admin_low",
            "shop__admin_medium",
            "shop__admin_high",
            "shop__admin_critical"
        ]
    );
    let _ = prepared();
}
