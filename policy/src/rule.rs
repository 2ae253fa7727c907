//! A rule's annotations: what they may be, and what they mean.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cedar_policy::pst::{BinaryOp, Clause, Effect, Expr, Literal, Template, Var};

use crate::decision::{Confirm, Requirement, Rule};
use crate::fault::nearest;
use crate::kind::Band;
use crate::obligation::{self, Obligations};

/// The annotations that a rule may carry.
const KNOWN: [&str; 12] =
    ["id", "approval", "confirm", "quorum", "ttl", "remember", "risk", "reason", "mode", "redact", "limit", "log"];

/// A rule of the bundle, read and checked.
#[derive(Debug)]
pub(crate) struct RuleFacts {
    pub(crate) rule: Rule,
    /// Set when an approval lifts it.
    pub(crate) approval: Option<Requirement>,
    /// Whether it permits; else it forbids.
    pub(crate) is_permit: bool,
    /// Whether it is only watched: `@mode("shadow")`.
    pub(crate) shadow: bool,
    /// What it demands beside.
    pub(crate) obligations: Obligations,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// What is wrong with a rule: what, and help.
pub(crate) type Complaint = (String, Option<String>);

impl RuleFacts {
    /// Reads the annotations of a rule, with everything that is wrong about them.
    pub(crate) fn read(body: &Template) -> Result<Self, Vec<Complaint>> {
        let mut complaints = Vec::new();
        let said: BTreeMap<String, String> =
            body.annotations.iter().map(|(key, value)| (key.clone(), value.to_string())).collect();
        for key in said.keys().filter(|key| !KNOWN.contains(&key.as_str())) {
            complaints.push(unknown_annotation(key));
        }
        let mut keep = |result: Result<(), Complaint>| complaints.extend(result.err());
        let id = said.get("id").map_or("", String::as_str);
        keep(check_id(said.get("id")));
        keep(check_word(&said, "mode", &["enforce", "shadow"]));
        keep(check_word(&said, "risk", &Band::ALL.map(Band::as_str)));
        for key in ["reason", "redact", "limit", "log", "approval"] {
            keep(check_not_empty(&said, key));
        }
        keep(check_word(&said, "confirm", &Confirm::ALL.map(Confirm::as_str)));
        keep(check_word(&said, "remember", &["", "true"]));
        keep(check_word(&said, "log", &["full"]));
        for key in ["redact", "limit", "log"] {
            keep(check_obliges(&said, body.effect, key));
        }
        for key in ["confirm", "quorum", "ttl", "remember"] {
            keep(check_belongs_to_approval(&said, key));
        }
        let quorum = read(&said, "quorum", quorum).map_err(|fault| keep(Err(fault)));
        let ttl = read(&said, "ttl", duration).map_err(|fault| keep(Err(fault)));
        let confirm = said.get("confirm").and_then(|word| Confirm::ALL.into_iter().find(|class| class.as_str() == word));
        // A rule that says no class means no less than what it says is at stake takes.
        let risk = risk(&said);
        let confirm = confirm.or_else(|| risk.map(|risk| Confirm::default().max(Confirm::least_of(risk))));
        let obligations = obligations(&said).map_err(|faults| faults.into_iter().for_each(|fault| keep(Err(fault))));
        keep(check_persons(confirm, quorum.as_ref().ok().copied().flatten()));
        keep(check_worth(&said, confirm));
        if let Some(label) = said.get("approval") {
            keep(check_lifts(body, label));
        }
        if !complaints.is_empty() {
            return Err(complaints);
        }
        let rule = Rule { id: id.into(), reason: said.get("reason").map(|reason| reason.as_str().into()) };
        let approval = said.get("approval").map(|label| Requirement {
            label: label.as_str().into(),
            confirm: confirm.unwrap_or_default(),
            remember: said.contains_key("remember"),
            quorum: quorum.ok().flatten().unwrap_or(if confirm == Some(Confirm::TwoPerson) { 2 } else { 1 }),
            ttl: ttl.ok().flatten(),
            rule: Arc::clone(&rule.id),
            reason: rule.reason.clone(),
        });
        let shadow = said.get("mode").is_some_and(|mode| mode == "shadow");
        let (is_permit, obligations) = (body.effect == Effect::Permit, obligations.unwrap_or_default());
        Ok(Self { rule, approval, is_permit, shadow, obligations, annotations: said })
    }
}

fn unknown_annotation(key: &str) -> Complaint {
    let help = match nearest(key, KNOWN) {
        Some(near) => format!("did you mean `@{near}`?"),
        None => format!("known are {}", KNOWN.map(|key| format!("`@{key}`")).join(", ")),
    };
    (format!("unknown annotation `@{key}`"), Some(help))
}

fn check_id(id: Option<&String>) -> Result<(), Complaint> {
    let Some(id) = id else {
        let help = "give it a name that decisions can cite: `@id(\"refund-high\")` before `permit` or `forbid`";
        return Err(("a rule without `@id`".to_owned(), Some(help.to_owned())));
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
    if !id.is_empty() && id.chars().all(allowed) {
        return Ok(());
    }
    let help = "use letters, digits and `-_.:/`";
    Err((format!("`@id(\"{id}\")` is no usable name"), Some(help.to_owned())))
}

type Said = BTreeMap<String, String>;

fn check_word(said: &Said, key: &str, words: &[&str]) -> Result<(), Complaint> {
    match said.get(key) {
        Some(value) if !words.contains(&value.as_str()) => {
            let help = match nearest(value, words.iter().copied()) {
                Some(near) if !near.is_empty() => format!("did you mean `@{key}(\"{near}\")`?"),
                _ => {
                    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                    format!("write one of {}", words.join(", "))
                }
            };
            Err((format!("`@{key}(\"{value}\")` is unknown"), Some(help)))
        }
        _ => Ok(()),
    }
}

fn check_not_empty(said: &Said, key: &str) -> Result<(), Complaint> {
    match said.get(key) {
        Some(value) if value.trim().is_empty() => {
            let help = format!("say something: `@{key}(\"…\")`");
            Err((format!("`@{key}` is empty"), Some(help)))
        }
        _ => Ok(()),
    }
}

fn check_belongs_to_approval(said: &Said, key: &str) -> Result<(), Complaint> {
    if said.contains_key(key) && !said.contains_key("approval") {
        let help = format!("add `@approval(\"…\")`, or drop `@{key}`");
        return Err((format!("`@{key}` without `@approval`"), Some(help)));
    }
    Ok(())
}

/// What is demanded is demanded of a call that goes: a forbid that nothing lifts has none.
fn check_obliges(said: &Said, effect: Effect, key: &str) -> Result<(), Complaint> {
    if !said.contains_key(key) || effect == Effect::Permit || said.contains_key("approval") {
        return Ok(());
    }
    let help = "write it with a permit, or with a forbid that an approval lifts";
    Err((format!("`@{key}` on a forbid demands nothing: its calls don't go"), Some(help.to_owned())))
}

/// What the rule demands, or everything that is wrong with that.
fn obligations(said: &Said) -> Result<Obligations, Vec<Complaint>> {
    let full = |key: &str| said.get(key).filter(|text| !text.trim().is_empty());
    let redactions = full("redact").map(|text| obligation::redactions(text)).transpose();
    let limit = full("limit").map(|text| obligation::limit(text)).transpose();
    match (redactions, limit) {
        (Ok(redactions), Ok(limit)) => Ok(Obligations {
            redactions: redactions.unwrap_or_default(),
            limits: limit.into_iter().collect(),
            keep_bodies: said.get("log").is_some_and(|log| log == "full"),
        }),
        (redactions, limit) => Err(redactions.err().into_iter().chain(limit.err()).collect()),
    }
}

/// As many persons as the class means.
fn check_persons(confirm: Option<Confirm>, quorum: Option<u32>) -> Result<(), Complaint> {
    match (confirm, quorum) {
        (Some(Confirm::TwoPerson), Some(1)) => {
            let help = "drop `@quorum`: two is what `two-person` means, and more may be asked for";
            Err(("`@confirm(\"two-person\")` with `@quorum(\"1\")`".to_owned(), Some(help.to_owned())))
        }
        (Some(Confirm::User), Some(more)) if more > 1 => {
            let help = "only one person drives an agent: write `@confirm(\"approver\")`, or drop `@quorum`";
            Err((format!("`@confirm(\"user\")` with `@quorum(\"{more}\")`"), Some(help.to_owned())))
        }
        _ => Ok(()),
    }
}

/// What the rule says is at stake.
fn risk(said: &Said) -> Option<Band> {
    said.get("risk").and_then(|word| Band::ALL.into_iter().find(|band| band.as_str() == word))
}

/// A class that is worth what the rule says is at stake, and one that may be remembered where it is.
fn check_worth(said: &Said, confirm: Option<Confirm>) -> Result<(), Complaint> {
    let risk = risk(said);
    if let (Some(confirm), Some(risk)) = (confirm, risk)
        && confirm < Confirm::least_of(risk)
    {
        let least = Confirm::least_of(risk).as_str();
        let help = format!("write `@confirm(\"{least}\")`: a band takes no less, whatever a rule says");
        return Err((format!("`@confirm(\"{}\")` is too weak for `@risk(\"{}\")`", confirm.as_str(), risk.as_str()), Some(help)));
    }
    if said.contains_key("remember") && (confirm == Some(Confirm::TwoPerson) || risk == Some(Band::Critical)) {
        let help = "drop `@remember`: what takes two persons is approved call by call";
        return Err(("`@remember` on what two persons approve".to_owned(), Some(help.to_owned())));
    }
    Ok(())
}

fn read<T>(said: &Said, key: &str, parse: fn(&str) -> Option<T>) -> Result<Option<T>, Complaint> {
    let Some(value) = said.get(key) else {
        return Ok(None);
    };
    let help = match key {
        "quorum" => "write a number of persons from 1, such as `@quorum(\"2\")`",
        _ => "write a duration such as `@ttl(\"15m\")`: a number of `s`, `m`, `h` or `d`",
    };
    let complaint = (format!("`@{key}(\"{value}\")` can't be read"), Some(help.to_owned()));
    parse(value).map(Some).ok_or(complaint)
}

fn quorum(text: &str) -> Option<u32> {
    text.parse().ok().filter(|persons| *persons > 0)
}

fn duration(text: &str) -> Option<Duration> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    let (number, seconds) = units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds)))?;
    let number: u32 = number.parse().ok()?;
    (number > 0).then(|| Duration::from_secs(u64::from(number) * seconds))
}

/// A step-up is a forbid that its approval lifts. An annotation that lifts nothing would ask people for nothing.
fn check_lifts(body: &Template, label: &str) -> Result<(), Complaint> {
    let lift = format!("unless {{ context.call.approvals.contains(\"{label}\") }}");
    if body.effect != Effect::Forbid {
        let help = format!("permit without it, and add a `forbid … {lift}` with it");
        return Err((format!("`@approval(\"{label}\")` on a permit"), Some(help)));
    }
    let lifted = body.clauses().iter().any(|clause| match clause {
        Clause::Unless(condition) => holds(condition, label),
        Clause::When(_) => false,
    });
    if lifted {
        return Ok(());
    }
    let what = format!("`@approval(\"{label}\")` on a forbid that this approval doesn't lift");
    Err((what, Some(format!("add `{lift}`"))))
}

/// Whether the expression asks for the label among the approvals held, at its top or in a branch of `&&` and `||`.
fn holds(expression: &Expr, label: &str) -> bool {
    let Expr::BinaryOp { op, left, right } = expression else {
        return false;
    };
    match op {
        BinaryOp::And | BinaryOp::Or => holds(left, label) || holds(right, label),
        BinaryOp::Contains => {
            let wanted = matches!(&**right, Expr::Literal(Literal::String(text)) if text == label);
            wanted && is_approvals(left)
        }
        _ => false,
    }
}

fn is_approvals(expression: &Expr) -> bool {
    let Expr::GetAttr { expr: call, attr } = expression else {
        return false;
    };
    let Expr::GetAttr { expr: root, attr: outer } = &**call else {
        return false;
    };
    attr == "approvals" && outer == "call" && **root == Expr::Var(Var::Context)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::time::Duration;

    use cedar_policy::Policy;

    use super::{Confirm, RuleFacts, duration, quorum};

    fn read(text: &str) -> Result<RuleFacts, Vec<String>> {
        let policy = Policy::parse(None, text).unwrap().to_pst().unwrap();
        RuleFacts::read(policy.body()).map_err(|complaints| {
            complaints.into_iter().map(|(what, help)| format!("{what} | {}", help.unwrap_or_default())).collect()
        })
    }

    fn faults(text: &str) -> Vec<String> {
        read(text).err().unwrap_or_default()
    }

    #[test]
    fn a_full_rule_is_read() {
        let facts = read(
            "@id(\"a/b.c:d_e-1\") @approval(\"finance\") @confirm(\"approver\") @remember @quorum(\"2\") @ttl(\"15m\") @risk(\"high\") @reason(\"why\")
             @mode(\"shadow\") @redact(\"result:/pii\") @log(\"full\")
             forbid (principal, action, resource) when { true }
             unless { principal.depth == 7 || (context.call.approvals.contains(\"finance\") && true) };",
        )
        .unwrap();
        let approval = facts.approval.unwrap();
        assert_eq!((&*facts.rule.id, facts.rule.reason.as_deref()), ("a/b.c:d_e-1", Some("why")));
        assert_eq!((&*approval.label, approval.quorum), ("finance", 2));
        assert_eq!((approval.confirm, approval.remember), (Confirm::Approver, true));
        assert_eq!(approval.ttl, Some(Duration::from_mins(15)));
        assert_eq!((&*approval.rule, approval.reason.as_deref()), ("a/b.c:d_e-1", Some("why")));
        assert!(facts.shadow);
        assert_eq!(facts.annotations.len(), 11);
        assert_eq!(facts.annotations.get("redact").map(String::as_str), Some("result:/pii"));
    }

    #[test]
    fn a_plain_rule_has_defaults() {
        let facts = read("@id(\"p\") @mode(\"enforce\") permit (principal, action, resource);").unwrap();
        assert!(facts.approval.is_none() && !facts.shadow);
        assert_eq!(facts.rule.reason, None);
        let lifted =
            "@id(\"f\") @approval(\"x\") forbid (principal, action, resource) unless { context.call.approvals.contains(\"x\") };";
        let approval = read(lifted).unwrap().approval.unwrap();
        assert_eq!((approval.quorum, approval.ttl, approval.reason), (1, None, None));
        assert_eq!((approval.confirm, approval.remember), (Confirm::Approver, false));
    }

    #[test]
    fn every_fault_of_a_rule_is_named_at_once() {
        let found = faults(
            "@aproval(\"x\") @zzzzzzzzzz(\"\") @mode(\"dry\") @risk(\"extreme\") @reason(\" \") @quorum(\"0\") @ttl(\"soon\")
             permit (principal, action, resource);",
        );
        assert_eq!(
            found,
            [
                "unknown annotation `@aproval` | did you mean `@approval`?",
                "unknown annotation `@zzzzzzzzzz` | known are `@id`, `@approval`, `@confirm`, `@quorum`, `@ttl`, `@remember`, `@risk`, `@reason`, `@mode`, `@redact`, `@limit`, `@log`",
                "a rule without `@id` | give it a name that decisions can cite: `@id(\"refund-high\")` before `permit` or `forbid`",
                "`@mode(\"dry\")` is unknown | write one of `enforce`, `shadow`",
                "`@risk(\"extreme\")` is unknown | write one of `low`, `medium`, `high`, `critical`",
                "`@reason` is empty | say something: `@reason(\"…\")`",
                "`@quorum` without `@approval` | add `@approval(\"…\")`, or drop `@quorum`",
                "`@ttl` without `@approval` | add `@approval(\"…\")`, or drop `@ttl`",
                "`@quorum(\"0\")` can't be read | write a number of persons from 1, such as `@quorum(\"2\")`",
                "`@ttl(\"soon\")` can't be read | write a duration such as `@ttl(\"15m\")`: a number of `s`, `m`, `h` or `d`",
            ]
        );
        for id in ["", "a b", "ü"] {
            let text = format!("@id(\"{id}\") permit (principal, action, resource);");
            let expected = format!("`@id(\"{id}\")` is no usable name | use letters, digits and `-_.:/`");
            assert_eq!(faults(&text), [expected]);
        }
    }

    #[test]
    fn an_approval_must_lift_its_rule() {
        let on_permit = faults(
            "@id(\"p\") @approval(\"x\") permit (principal, action, resource) unless { context.call.approvals.contains(\"x\") };",
        );
        assert_eq!(
            on_permit,
            [
                "`@approval(\"x\")` on a permit | permit without it, and add a `forbid … unless { context.call.approvals.contains(\"x\") }` with it"
            ]
        );
        let expected = "`@approval(\"x\")` on a forbid that this approval doesn't lift | add `unless { context.call.approvals.contains(\"x\") }`";
        for conditions in [
            "",
            "when { context.call.approvals.contains(\"x\") }",
            "unless { context.call.approvals.contains(\"y\") }",
            "unless { !context.call.approvals.contains(\"x\") }",
            "unless { context.call.labels.contains(\"x\") }",
            "unless { context.input.approvals.contains(\"x\") }",
            "unless { principal.call.approvals.contains(\"x\") }",
            "unless { principal.approvals.contains(\"x\") }",
            "unless { principal.contains(\"x\") }",
            "unless { context.call.approvals == [\"x\"] }",
            "unless { true }",
        ] {
            let text = format!("@id(\"f\") @approval(\"x\") forbid (principal, action, resource) {conditions};");
            assert_eq!(faults(&text), [expected], "{conditions}");
        }
        let empty = faults(
            "@id(\"f\") @approval(\"\") forbid (principal, action, resource) unless { context.call.approvals.contains(\"\") };",
        );
        assert_eq!(empty, ["`@approval` is empty | say something: `@approval(\"…\")`"]);
    }

    fn approved_by(annotations: &str) -> String {
        format!(
            "@id(\"f\") @approval(\"x\") {annotations} forbid (principal, action, resource) unless {{ context.call.approvals.contains(\"x\") }};"
        )
    }

    #[test]
    fn the_class_says_how_many_persons() {
        for (annotations, class, persons) in [
            ("@confirm(\"user\")", Confirm::User, 1),
            ("@confirm(\"approver\")", Confirm::Approver, 1),
            ("@confirm(\"two-person\")", Confirm::TwoPerson, 2),
            ("@confirm(\"two-person\") @quorum(\"3\")", Confirm::TwoPerson, 3),
            ("@confirm(\"approver\") @quorum(\"2\")", Confirm::Approver, 2),
            ("@confirm(\"user\") @quorum(\"1\") @risk(\"medium\")", Confirm::User, 1),
        ] {
            let asked = read(&approved_by(annotations)).unwrap().approval.unwrap();
            assert_eq!((asked.confirm, asked.quorum), (class, persons), "{annotations}");
        }
        assert!(read(&approved_by("@remember(\"true\")")).unwrap().approval.unwrap().remember);
    }

    #[test]
    fn no_class_is_weaker_than_what_is_at_stake() {
        for (annotations, fault) in [
            ("@confirm(\"owner\")", "`@confirm(\"owner\")` is unknown | write one of `user`, `approver`, `two-person`"),
            ("@confirm(\"\")", "`@confirm(\"\")` is unknown | write one of `user`, `approver`, `two-person`"),
            (
                "@confirm(\"two-person\") @quorum(\"1\")",
                "`@confirm(\"two-person\")` with `@quorum(\"1\")` | drop `@quorum`: two is what `two-person` means, and more may be asked for",
            ),
            (
                "@confirm(\"user\") @quorum(\"2\")",
                "`@confirm(\"user\")` with `@quorum(\"2\")` | only one person drives an agent: write `@confirm(\"approver\")`, or drop `@quorum`",
            ),
            (
                "@confirm(\"user\") @risk(\"high\")",
                "`@confirm(\"user\")` is too weak for `@risk(\"high\")` | write `@confirm(\"approver\")`: a band takes no less, whatever a rule says",
            ),
            (
                "@confirm(\"approver\") @risk(\"critical\")",
                "`@confirm(\"approver\")` is too weak for `@risk(\"critical\")` | write `@confirm(\"two-person\")`: a band takes no less, whatever a rule says",
            ),
            (
                "@confirm(\"two-person\") @remember",
                "`@remember` on what two persons approve | drop `@remember`: what takes two persons is approved call by call",
            ),
            (
                "@remember @risk(\"critical\")",
                "`@remember` on what two persons approve | drop `@remember`: what takes two persons is approved call by call",
            ),
        ] {
            assert_eq!(faults(&approved_by(annotations)), [fault], "{annotations}");
        }
        let found = faults("@id(\"f\") @confirm(\"user\") @remember forbid (principal, action, resource);");
        let alone = |key| format!("`@{key}` without `@approval` | add `@approval(\"…\")`, or drop `@{key}`");
        assert_eq!(found, [alone("confirm"), alone("remember")]);
        let said = faults(&approved_by("@remember(\"no\")"));
        assert_eq!(said, ["`@remember(\"no\")` is unknown | write one of ``, `true`"]);
    }

    #[test]
    fn numbers_in_annotations() {
        assert_eq!([quorum("1"), quorum("0"), quorum("-1"), quorum("x")], [Some(1), None, None, None]);
        for (text, seconds) in [
            ("30s", Some(30)),
            ("15m", Some(900)),
            ("8h", Some(28_800)),
            ("2d", Some(172_800)),
            ("0m", None),
            ("5", None),
            ("m", None),
            ("5w", None),
            ("-5m", None),
            ("", None),
        ] {
            assert_eq!(duration(text), seconds.map(Duration::from_secs), "{text}");
        }
    }
}
