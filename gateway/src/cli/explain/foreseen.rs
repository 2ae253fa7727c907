//! `explain --agent`: what would become of a call that nobody makes.

use bailiwick_schemas::json::{self, Limits};
use serde_json::json;

use super::{
    advice::{Refusal, advice},
    case::{mark, way},
    origin::Origin,
};
use crate::{
    admin::api::{Foreseen, LookedAt, WouldHaveTo},
    cli::{
        Session,
        args::ExplainArgs,
        client::{Client, segment},
        fault::CliFault,
        offline,
        screen::{Page, lines, short, shown},
    },
    foresee::Call,
};

/// The most that is sent to the running gateway: it goes in an address.
const MOST: usize = 48 * 1024;

pub(super) async fn run(agent: &str, tool: &str, explain: &ExplainArgs, session: &Session) -> Result<(), CliFault> {
    let agent = segment(agent)?;
    let thought = &explain.thought;
    if thought.args.len() > MOST {
        return Err(CliFault::usage("`--args` is too long to be judged without being sent", "48 KiB are the most"));
    }
    check(&thought.args)?;
    let call = Call {
        tool: tool.to_owned(),
        arguments: thought.args.clone(),
        grant: thought.grant.clone(),
        context: thought.context.clone(),
    };
    let (foreseen, by) = match Client::find(&session.places).await? {
        Some(client) => (client.get(&path(agent, &call)).await.map_err(as_usage)?, "by the running gateway"),
        None => (offline::foresee(agent, &call, session).await?, "by the configuration and the store: no gateway runs"),
    };
    let origin = Origin::new(session, session.places.load(&session.around).ok());
    if explain.form.json {
        return session.screen.json(&json!([as_json(&foreseen, &origin)]));
    }
    session.screen.answer(&text(&foreseen, by, &origin))
}

/// What is wrong with the arguments is told by their own bytes.
fn check(arguments: &str) -> Result<(), CliFault> {
    let fault = |what: &str| {
        let help = "give `--args` a JSON object, as in --args '{\"id\": \"T-17\"}'";
        CliFault::usage(format!("`--args {}` can't be read: {what}", shown(&short(arguments, 60))), help)
    };
    json::check(arguments.as_bytes(), Limits::MESSAGE).map_err(|why| fault(&why.to_string()))?;
    if arguments.trim_start().starts_with('{') { Ok(()) } else { Err(fault("it is no object")) }
}

/// Arguments that are none are a mistake of whoever typed them.
fn as_usage(fault: CliFault) -> CliFault {
    match fault {
        CliFault::Refused { what, .. } if what.starts_with("the context can't be read") => {
            CliFault::usage(what, "give `--context` a JSON object of facts, as in --context '{\"hour\": 3}'")
        }
        CliFault::Refused { what, .. } if what.starts_with("the arguments can't be read") => {
            CliFault::usage(what, "give `--args` a JSON object, as in --args '{\"id\": \"T-17\"}'")
        }
        fault => fault,
    }
}

fn path(agent: &str, call: &Call) -> String {
    let grant = call.grant.as_ref().map(|grant| format!("&grant={}", escaped(grant))).unwrap_or_default();
    let context = call.context.as_ref().map(|context| format!("&context={}", escaped(context))).unwrap_or_default();
    format!("agents/{agent}/explain?tool={}&arguments={}{grant}{context}", escaped(&call.tool), escaped(&call.arguments))
}

/// As part of an address (RFC 3986): everything but letters and digits by its bytes.
fn escaped(text: &str) -> String {
    let mut out = Page::default();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.add(format_args!("{}", char::from(byte)));
        } else {
            out.add(format_args!("%{byte:02X}"));
        }
    }
    out.into_text()
}

fn text(foreseen: &Foreseen, by: &str, origin: &Origin) -> String {
    let word = match foreseen.state.as_str() {
        "deny" => "WOULD BE DENIED",
        "step_up" => "WOULD WAIT FOR A PERSON",
        _ => "WOULD BE ALLOWED",
    };
    let mut out = Page::of(format!("{word}  {} → {}\n", shown(&foreseen.agent), shown(&foreseen.id)));
    let mut row = |name: &str, value: String| out.add(format_args!("  {name:<9}{}\n", value.replace('\n', "\n           ")));
    row("judged", format!("{by}; nothing was sent, asked or counted"));
    if let Some(grant) = &foreseen.grant {
        let place = origin.grant(grant).map(|place| format!("  ({})", shown(&place))).unwrap_or_default();
        row("grant", format!("{}{place}", shown(grant)));
    }
    if let (Some(kind), Some(band)) = (foreseen.kind, foreseen.band) {
        row("tool", format!("{kind}, {band}"));
    }
    let stopped =
        (foreseen.state != "allow").then_some(if foreseen.state == "deny" { foreseen.gate.as_str() } else { "approve" });
    row("way", way(stopped, Some("permit"), mark(&foreseen.state)));
    for rule in &foreseen.rules {
        let place = origin.rule(rule).map(|place| format!("  ({})", shown(&place))).unwrap_or_default();
        let reason = origin.reason(rule).map(|reason| format!("\n{}", shown(&reason))).unwrap_or_default();
        row("rule", format!("{}{place}{reason}", shown(rule)));
    }
    values(&foreseen.looked, &mut row);
    if !foreseen.needs.is_empty() {
        row("asks", format!("approval by a person ({})", shown(&foreseen.needs.join(", "))));
    }
    if let Some(reason) = &foreseen.reason {
        row("reason", shown(reason));
    }
    if let Some(detail) = &foreseen.detail {
        row("detail", lines(detail));
    }
    if let Some(told) = &foreseen.told {
        row("is told", lines(told));
    }
    if let (Some(used), Some(budget)) = (foreseen.used, &foreseen.budget) {
        let of = |used: u64, most: Option<u64>| most.map_or_else(|| used.to_string(), |most| format!("{used} of {most}"));
        row("used", format!("{} calls, {} writes", of(used.calls, budget.calls), of(used.writes, budget.writes)));
    }
    least(&foreseen.least, foreseen.then.as_deref(), &mut row);
    if let Some(advice) = to_do(foreseen, origin) {
        row("to do", advice);
    }
    out.into_text()
}

/// What the rules that decided looked at.
pub(super) fn values(looked: &[LookedAt], row: &mut impl FnMut(&str, String)) {
    let value = |looked: &LookedAt| {
        let is =
            looked.value.as_ref().map_or_else(|| "not there, or not on record".to_owned(), |value| shown(&value.to_string()));
        format!("{} is {is}", shown(&looked.path))
    };
    if !looked.is_empty() {
        row("read", looked.iter().map(value).collect::<Vec<_>>().join("\n"));
    }
}

/// What would have to be otherwise.
pub(super) fn least(steps: &[WouldHaveTo], then: Option<&str>, row: &mut impl FnMut(&str, String)) {
    let step = |step: &WouldHaveTo| {
        let to =
            step.to.as_ref().map_or_else(|| "were left out".to_owned(), |value| format!("were {}", shown(&value.to_string())));
        format!("{} {to}", shown(&step.path))
    };
    let word = match then {
        Some("allow") => "it would be allowed",
        Some("step_up") => "a person could approve it",
        _ => return,
    };
    if !steps.is_empty() {
        row("least", format!("{word} if {}", steps.iter().map(step).collect::<Vec<_>>().join(" and ")));
    }
}

fn to_do(foreseen: &Foreseen, origin: &Origin) -> Option<String> {
    let refusal = Refusal {
        reason: foreseen.reason.as_deref()?,
        detail: foreseen.detail.as_deref(),
        agent: Some(&foreseen.agent),
        tool: Some(&foreseen.id),
        grant: foreseen.grant.as_deref(),
        approval: None,
    };
    advice(&refusal, origin)
}

fn as_json(foreseen: &Foreseen, origin: &Origin) -> serde_json::Value {
    let rules: Vec<_> = foreseen.rules.iter().map(|rule| json!({"id": rule, "at": origin.rule(rule)})).collect();
    let mut value = serde_json::to_value(foreseen).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.insert("rules".to_owned(), json!(rules));
        object.insert("grant_at".to_owned(), json!(foreseen.grant.as_deref().and_then(|grant| origin.grant(grant))));
        object.insert("to_do".to_owned(), json!(to_do(foreseen, origin)));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_exactly_what_was_typed() {
        let call = Call {
            tool: "a__b".to_owned(),
            arguments: "{\"x\": \"ü&=#%\"}".to_owned(),
            grant: Some("g-1".to_owned()),
            context: None,
        };
        assert_eq!(
            path("bot", &call),
            "agents/bot/explain?tool=a%5F%5Fb&arguments=%7B%22x%22%3A%20%22%C3%BC%26%3D%23%25%22%7D&grant=g%2D1"
        );
    }
}
