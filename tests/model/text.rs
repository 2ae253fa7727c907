//! The rules of the model as Cedar is told them.

use super::decision::{Condition, Rule, Scope};

pub fn of(rule: &Rule) -> String {
    let effect = if rule.permits { "permit" } else { "forbid" };
    let approval = rule.approval.map_or(String::new(), |label| format!("@approval(\"{label}\") "));
    let when = rule.when.iter().map(|condition| format!(" when {{ {} }}", condition_text(condition)));
    let unless = rule.unless.iter().map(|condition| format!(" unless {{ {} }}", condition_text(condition)));
    let lifted = rule.approval.map(|label| format!(" unless {{ context.call.approvals.contains(\"{label}\") }}"));
    let clauses: String = when.chain(unless).chain(lifted).collect();
    format!("{approval}@id(\"{}\") {effect} (principal, {}, resource){clauses};", rule.id, scope(&rule.scope))
}

fn scope(scope: &Scope) -> String {
    let action = |name: &str| format!("Bailiwick::Action::\"{name}\"");
    match scope {
        Scope::Any => "action".to_owned(),
        Scope::Tool(name) => format!("action == {}", action(name)),
        Scope::Kind(kind) => format!("action in {}", action(kind.as_str())),
        Scope::Band(band) => format!("action in {}", action(&format!("band:{band}"))),
        Scope::Connector(connector) => format!("action in {}", action(&format!("connector:{connector}"))),
    }
}

fn condition_text(condition: &Condition) -> String {
    let given = |name: &str, rest: String| format!("(context.input has {name} && context.input.{name}{rest})");
    match condition {
        Condition::CeilingBelow(level) => format!("principal.ceiling < {level}"),
        Condition::DepthAbove(depth) if depth % 2 == 0 => format!("principal.depth > {depth}"),
        Condition::DepthAbove(depth) => format!("context.call.hop_depth > {depth}"),
        Condition::InGroup(group) => format!("principal in Bailiwick::AgentGroup::\"{group}\""),
        Condition::InTeam(team) => format!("principal in Bailiwick::Team::\"{team}\""),
        Condition::AgentIs(agent) => format!("principal in Bailiwick::Agent::\"{agent}\""),
        Condition::TrustAbove(trust) => format!("principal.agent.trust > {trust}"),
        Condition::ConnectorIs(connector) => format!("resource == Bailiwick::Connector::\"{connector}\""),
        Condition::InEnvironment(environment) => format!("resource in Bailiwick::Environment::\"{environment}\""),
        Condition::HourBelow(hour) => format!("context.call.hour < {hour}"),
        Condition::WeekdayAbove(day) => format!("context.call.weekday > {day}"),
        Condition::CallsAbove(calls) => format!("context.call.calls_in_task > {calls}"),
        Condition::WritesAbove(writes) => format!("context.call.writes_in_task > {writes}"),
        Condition::Untrusted => "context.call.untrusted_input".to_owned(),
        Condition::FewCallsLeft(few) => {
            format!("(context.call.budget has calls_left && context.call.budget.calls_left < {few})")
        }
        Condition::StrengthBelow(strength) => format!("context.call.authn_strength < {strength}"),
        Condition::IntegerAbove(name, limit) => given(name, format!(" > {limit}")),
        Condition::TwiceAbove(name, limit) => given(name, format!(" * 2 > {limit}")),
        Condition::NumberAbove(name, limit) => {
            given(name, format!(".greaterThan(decimal(\"{}.{:04}\"))", limit / 10_000, limit % 10_000))
        }
        Condition::TextIs(name, text) => given(name, format!(" == \"{text}\"")),
        Condition::Not(inner) => format!("!({})", condition_text(inner)),
        Condition::Either(left, right) => format!("({} || {})", condition_text(left), condition_text(right)),
    }
}
