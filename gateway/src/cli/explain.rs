//! `explain`: why a call was refused, and what would allow it.

use std::fs;

use bailiwick_config::Config;
use bailiwick_trail::{Reader, Record, Start, Stream};
use serde_json::{Value, json};

use super::{
    Session,
    args::ExplainArgs,
    audit::reader,
    fault::CliFault,
    policy::place,
    screen::{Page, lines, shown},
};
use crate::{runtime::policies_of, world::PolicyText};

/// Does it.
pub(super) fn run(explain: &ExplainArgs, session: &Session) -> Result<(), CliFault> {
    let reader = reader(session)?;
    let decision = match &explain.which.call {
        Some(id) => of_call(&reader, id)?.ok_or_else(|| {
            CliFault::refused(
                &format!("no decision is on record about call `{id}`"),
                Some("`bailiwick audit tail --stream decisions` shows the latest"),
            )
        })?,
        None => last_refusal(&reader)?.ok_or_else(|| CliFault::refused("no refusal is on record", None))?,
    };
    // Without a readable configuration the record still says why.
    let config = session.places.load(&session.around).ok();
    let origin = Origin::new(session, config.as_ref());
    if explain.form.json {
        return session.screen.json(&json!([as_json(&decision, &origin)]));
    }
    session.screen.answer(&text(&decision, &origin))
}

/// Looks back in ever longer steps: the last refusal is most often near the end.
fn last_refusal(reader: &Reader) -> Result<Option<Record>, CliFault> {
    for start in [Start::Last(100), Start::Last(10_000), Start::First] {
        let mut last = None;
        for record in reader.records(Stream::Decisions, start)? {
            let record = record?;
            if record.text("effect") == Some("deny") {
                last = Some(record);
            }
        }
        if last.is_some() {
            return Ok(last);
        }
    }
    Ok(None)
}

/// What was decided in the end about a call.
fn of_call(reader: &Reader, id: &str) -> Result<Option<Record>, CliFault> {
    let mut last = None;
    for record in reader.records(Stream::Decisions, Start::First)? {
        let record = record?;
        if record.text("call_id") == Some(id) {
            last = Some(record);
        }
    }
    Ok(last)
}

/// Where rules and grants are written.
struct Origin {
    config_name: String,
    config_text: String,
    policies: Vec<PolicyText>,
    again: String,
}

impl Origin {
    fn new(session: &Session, config: Option<&Config>) -> Self {
        let text = session.places.config.as_ref().map(|path| fs::read_to_string(path).unwrap_or_default());
        Self {
            config_name: session.places.config.as_ref().map_or_else(|| "embedded".to_owned(), |path| path.display().to_string()),
            config_text: text.unwrap_or_else(|| bailiwick_config::DEMO.to_owned()),
            policies: config.and_then(|config| policies_of(config).ok()).unwrap_or_default(),
            again: session.places.again.clone(),
        }
    }

    /// `file:line` of the rule with this id.
    fn rule(&self, id: &str) -> Option<String> {
        place(id, &self.policies)
    }

    /// `file:line` of a grant of the configuration.
    fn grant(&self, id: &str) -> Option<String> {
        let mut in_grant = false;
        for (at, line) in self.config_text.lines().enumerate() {
            let line = line.trim();
            if line.starts_with('[') {
                in_grant = line.replace(' ', "").starts_with("[[grants]]");
            }
            let value = line.strip_prefix("id").map(str::trim_start).and_then(|rest| rest.strip_prefix('='));
            if in_grant && value.is_some_and(|value| value.trim_start().starts_with(&format!("\"{id}\""))) {
                return Some(format!("{}:{}", self.config_name, at + 1));
            }
        }
        None
    }
}

fn rules(decision: &Record) -> Vec<&str> {
    let rules = decision.body.get("rules").and_then(Value::as_array);
    rules.into_iter().flatten().filter_map(Value::as_str).collect()
}

fn text(decision: &Record, origin: &Origin) -> String {
    let get = |key: &str| decision.text(key).map(shown);
    let word = match decision.text("effect") {
        Some("deny") => "DENIED",
        Some("step_up") => "HELD FOR APPROVAL",
        _ => "ALLOWED",
    };
    let agent = get("agent").unwrap_or_else(|| "(nobody proven)".to_owned());
    let what = get("tool").or_else(|| get("method")).unwrap_or_default();
    let mut out = Page::of(format!("{word}  {agent} → {what}\n"));
    let mut row = |name: &str, value: String| out.add(format_args!("  {name:<7}  {value}\n"));
    row("when", format!("{}   call {}", shown(&decision.time), get("call_id").unwrap_or_default()));
    if let Some(grant) = get("grant") {
        let place = origin.grant(&grant).map(|place| format!("  ({})", shown(&place))).unwrap_or_default();
        row("grant", format!("{grant}{place}"));
    }
    row("gate", get("gate").unwrap_or_default());
    if let Some(reason) = get("reason") {
        row("reason", reason);
    }
    if let Some(detail) = decision.text("detail") {
        row("detail", lines(detail).replace('\n', "\n           "));
    }
    for rule in rules(decision) {
        let place = origin.rule(rule).map(|place| format!("  ({})", shown(&place))).unwrap_or_default();
        row("rule", format!("{}{place}", shown(rule)));
    }
    if let Some(advice) = advice(decision, origin) {
        row("to do", advice.replace('\n', "\n           "));
    }
    out.into_text()
}

fn as_json(decision: &Record, origin: &Origin) -> Value {
    let rules: Vec<Value> = rules(decision).into_iter().map(|rule| json!({"id": rule, "at": origin.rule(rule)})).collect();
    let get = |key: &str| decision.text(key);
    json!({
        "id": get("call_id"),
        "state": get("effect"),
        "time": decision.time,
        "agent": get("agent"),
        "grant": get("grant"),
        "grant_at": get("grant").and_then(|grant| origin.grant(grant)),
        "method": get("method"),
        "tool": get("tool"),
        "gate": get("gate"),
        "reason": get("reason"),
        "detail": get("detail"),
        "rules": rules,
        "approval": get("approval"),
        "to_do": advice(decision, origin),
    })
}

/// What would allow it, or what to look at next. Nothing here is done by itself.
fn advice(decision: &Record, origin: &Origin) -> Option<String> {
    let get = |key: &str| decision.text(key).map(shown);
    let again = &origin.again;
    let agent = get("agent").unwrap_or_else(|| "AGENT".to_owned());
    let tool = get("tool").unwrap_or_else(|| "TOOL".to_owned());
    let grant = get("grant");
    let new_grant = format!("{again} grants create --agent {agent} --purpose … --tools {tool}");
    let in_config = grant.as_deref().and_then(|grant| origin.grant(grant)).map(|place| shown(&place));
    Some(match decision.text("reason")? {
        "unknown_tool" => match (grant, in_config) {
            (Some(grant), Some(place)) => {
                format!(
                    "if its task needs it, add \"{tool}\" to `tools` of grant {grant} ({place}) and start anew;\nor for a task of its own: {new_grant}"
                )
            }
            (Some(grant), None) => format!("grant {grant} can't be widened; if the task needs it: {new_grant}"),
            (None, _) => format!("give the agent a grant: {new_grant}"),
        },
        "argument_out_of_grant" => match (grant, in_config) {
            (Some(grant), Some(place)) => format!("call within the bounds, or change `args` of grant {grant} ({place})"),
            _ => format!("call within the bounds, or make a grant with others: {new_grant} --arg …"),
        },
        "policy_forbids" | "policy_error" | "opaque_argument" => {
            "the rule decides: change it (`policy check` judges it), or leave the call".to_owned()
        }
        "no_policy_permits" => "no `permit` covers it: add one to the policies (`policy check` judges it)".to_owned(),
        "choose_grant" => "name one in the header Bailiwick-Grant (`call --grant ID`), or use a grant's own token".to_owned(),
        "grant_not_live" | "grant_ended" => format!("the task needs a new grant: {new_grant}"),
        "budget_exhausted" => format!("the grant is used up; if the task goes on: {new_grant}"),
        "approval_denied" => "a person said no; ask them, or leave the call".to_owned(),
        "approval_pending" => format!("{again} approvals approve {}", get("approval").unwrap_or_else(|| "CODE".to_owned())),
        "too_many_pending" => format!("decide on what waits first: {again} approvals list"),
        "tool_drifted" => {
            let connector = tool.split("__").next().unwrap_or_default().to_owned();
            format!("{again} connectors diff {connector}   shows what changed; `connectors pin {connector}` accepts it")
        }
        "connector_unavailable" | "connector_closed" | "unsent" | "timeout" | "protocol" => {
            format!("{again} connectors show {}   shows what its server wrote", tool.split("__").next().unwrap_or_default())
        }
        "credential_unavailable" => "mend the credential of the connector; `check` looks for it".to_owned(),
        "invalid_arguments" => "the arguments don't fit the tool's schema: the agent was told the places".to_owned(),
        "unauthenticated" => format!("no valid token was shown; {again} agents token AGENT   makes one"),
        "foreign_site" => {
            "it came under a Host or from an Origin that is not served: `server.allowed_hosts`, `server.allowed_origins`"
                .to_owned()
        }
        "trail_lost" | "approvals_lost" => "mend the disk, then start the gateway anew".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin {
            config_name: "embedded".to_owned(),
            config_text: bailiwick_config::DEMO.to_owned(),
            policies: vec![PolicyText {
                name: "default".to_owned(),
                text: bailiwick_policy::DEFAULT_BUNDLE.to_owned(),
                path: None,
            }],
            again: "bailiwick".to_owned(),
        }
    }

    #[test]
    fn rules_and_grants_are_found_where_they_are_written() {
        let origin = origin();
        let line = |text: &str, wanted: &str| text.lines().position(|line| line.contains(wanted)).map(|at| at + 1);
        let rule = line(bailiwick_policy::DEFAULT_BUNDLE, "@id(\"high-needs-approver\")");
        assert_eq!(origin.rule("high-needs-approver"), rule.map(|line| format!("default:{line}")));
        assert_eq!(origin.rule("high"), None);
        let grant = line(bailiwick_config::DEMO, "id = \"demo-triage\"");
        assert_eq!(origin.grant("demo-triage"), grant.map(|line| format!("embedded:{line}")));
        assert_eq!(origin.grant("demo"), None);
    }
}
