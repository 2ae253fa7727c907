//! Agents, grants and connectors.

use maud::{Markup, html};

use super::{
    Watch, band, empty, page, proof, state,
    text::{plain, raw, shown},
    words::{ago, at, count, lasting, left},
};
use crate::views::{AgentRow, ConnectorRow, Frame, GrantRow, GrantView, PinRow, Section, Spent};

/// The agents.
pub fn agents(frame: &Frame, rows: &[AgentRow]) -> Markup {
    let body = html! {
        h1 { "Agents" }
        div #agents data-live data-follows="agents" {
            @if rows.is_empty() {
                (empty("No agent is registered.", "Agents are registered in the configuration, each with an owner; they appear here after a reload."))
            }
            @for row in rows { (agent(frame, row)) }
        }
    };
    page(frame, Section::Agents, "Agents", Watch::Still, &body)
}

fn agent(frame: &Frame, row: &AgentRow) -> Markup {
    html! {
        section.card id=(format!("agent-{}", row.id)) {
            h2 data-row tabindex="-1" { (shown(&row.id)) " " (state(&row.state)) }
            @if let Some(purpose) = &row.purpose { p { (shown(purpose)) } }
            @if let Some(disabled) = &row.disabled { p.notice { (shown(disabled)) } }
            dl.facts {
                div { dt { "Owner" } dd { (shown(&row.owner)) } }
                div { dt { "Up to" } dd { (band(row.ceiling)) } }
                div { dt { "Grants" } dd { @if row.grants.is_empty() { span.quiet { "none is active" } } @for id in &row.grants { a.hop href=(format!("/grants/{id}")) { (id) } " " } } }
                div { dt { "Tokens" } dd { (row.tokens) } }
                div { dt { "Last call" } dd { @match row.last_used_ms { Some(last) => (ago(last, frame.now_ms)), None => span.quiet { "none yet" } } } }
            }
            (unused(&row.never_used))
            (stop(frame, &format!("agent:{}", row.id), "Freeze this agent"))
        }
    }
}

fn unused(tools: &[String]) -> Markup {
    html! {
        @if !tools.is_empty() {
            details { summary { (count(tools.len(), "granted tool was", "granted tools were")) " never called" } p.mono { @for tool in tools { span.hop { (tool) } " " } } }
        }
    }
}

/// The grants.
pub fn grants(frame: &Frame, rows: &[GrantRow], ended_too: bool) -> Markup {
    let body = html! {
        h1 { "Grants" }
        p {
            @if ended_too { a href="/grants" { "Only those that are active" } } @else { a href="/grants?all=true" { "Those that have ended too" } }
        }
        div #grants data-live data-follows="grants" {
            @if rows.is_empty() {
                (empty("No grant is active.", "A grant says what one agent may do for one task. `bailiwick grants create` makes one, and so does the configuration."))
            } @else {
                ol.rows { @for row in rows { (grant_row(row, frame.now_ms)) } }
            }
        }
    };
    page(frame, Section::Grants, "Grants", Watch::Every(30), &body)
}

fn grant_row(row: &GrantRow, now_ms: u64) -> Markup {
    html! {
        li.row id=(format!("grant-{}", row.id)) {
            a.open href=(format!("/grants/{}", row.id)) data-row id=(format!("open-{}", row.id)) { span.verb { strong { (shown(&row.id)) } } }
            div.facts {
                (state(&row.state)) (band(row.ceiling))
                @if row.state == "active" { (left(row.expires_at_ms, now_ms)) }
                span { (count(row.tools, "tool", "tools")) }
            }
            p.who { (shown(&row.agent)) span.quiet { " for " } (shown(&row.owner)) @if let Some(last) = row.last_used_ms { span.quiet { " · used " (ago(last, now_ms)) } } @else { span.quiet { " · not used yet" } } }
            p.task { (shown(&row.purpose)) }
            @if !row.chain.is_empty() { p.quiet { "Handed on from " @for above in &row.chain { a.hop href=(format!("/grants/{above}")) { (above) } " " } } }
            (budget(&row.budget))
        }
    }
}

fn budget(limits: &[Spent]) -> Markup {
    html! {
        @for spent in limits {
            @if let Some(limit) = spent.limit {
                p.budget {
                    span { (shown(&spent.name)) " " (spent.limit.unwrap_or(0).saturating_sub(spent.used)) " of " (limit) " left" }
                    meter min="0" max=(limit.max(1)) value=(spent.used.min(limit)) aria-label=(format!("{} used", plain(&spent.name))) { (spent.used) " of " (limit) }
                }
            } @else {
                p.budget { span { (shown(&spent.name)) " " (spent.used) " used, no limit" } }
            }
        }
    }
}

/// One grant.
pub fn grant(frame: &Frame, view: &GrantView) -> Markup {
    let row = &view.row;
    let body = html! {
        p.crumb { a href="/grants" { "Grants" } }
        h1 { (shown(&row.id)) " " (state(&row.state)) }
        p.lead { (shown(&row.purpose)) }
        div #grant data-live data-follows="grants" {
            dl.facts {
                div { dt { "Agent" } dd { (shown(&row.agent)) } }
                div { dt { "Owner" } dd { (shown(&row.owner)) } }
                div { dt { "Up to" } dd { (band(row.ceiling)) } }
                div { dt { "Until" } dd { (at(row.expires_at_ms)) @if row.state == "active" { " · " (left(row.expires_at_ms, frame.now_ms)) } } }
                div { dt { "Last call" } dd { @match row.last_used_ms { Some(last) => (ago(last, frame.now_ms)), None => span.quiet { "none yet" } } } }
                @if !row.chain.is_empty() { div { dt { "Handed on from" } dd { @for above in &row.chain { a.hop href=(format!("/grants/{above}")) { (above) } " " } } } }
                @if !view.below.is_empty() { div { dt { "Handed on to" } dd { @for below in &view.below { a.hop href=(format!("/grants/{below}")) { (below) } " " } } } }
                @for term in &view.terms { div { dt { (shown(&term.name)) } dd { (shown(&term.value)) } } }
            }
            (budget(&row.budget))
            h2 { (count(view.tools.len(), "tool", "tools")) }
            ul.lines { @for (tool, used) in &view.tools { li { span.mono { (shown(tool)) } @if !used { span.quiet { "never called" } } } } }
            @if !view.bounds.is_empty() {
                h2 { "Bounds on arguments" }
                dl.facts { @for bound in &view.bounds { div { dt.mono { (shown(&bound.name)) } dd.mono { (shown(&bound.value)) } } } }
            }
        }
        p { a href=(format!("/credentials?grant={}", row.id)) { "What it was lent" } }
        @if frame.may_change && row.state == "active" {
            h2 { "Revoke" }
            form.answer method="post" action=(format!("/grants/{}/revoke", row.id)) data-sign {
                p { "Ends the grant and what was handed on from it; calls in flight are cancelled." }
                label for="why" { "Why" }
                input #why name="reason" maxlength="500";
                (proof(frame, &format!("/grants/{}/revoke", row.id), "revoke"))
                button.deny type="submit" { "Revoke " (row.id) }
            }
        }
    };
    page(frame, Section::Grants, &row.id, Watch::Still, &body)
}

/// The connectors.
pub fn connectors(frame: &Frame, rows: &[ConnectorRow]) -> Markup {
    let body = html! {
        h1 { "Connectors" }
        div #connectors data-live data-follows="connectors" {
            @if rows.is_empty() {
                (empty("No connector is registered.", "A connector is an MCP server behind the gateway. `bailiwick connectors import` and the configuration register them."))
            } @else {
                ol.rows {
                    @for row in rows {
                        li.row id=(format!("connector-{}", row.id)) {
                            a.open href=(format!("/connectors/{}", row.id)) data-row id=(format!("open-{}", row.id)) { span.verb { strong { (shown(&row.id)) } } }
                            div.facts { (state(&row.state)) span { (count(row.tools.len(), "tool", "tools")) } span { (row.calls) " calls, " (row.failures) " failed" } }
                            @let drifted = row.tools.iter().filter(|tool| tool.state == "drifted").count();
                            @if drifted > 0 { p.notice { (count(drifted, "tool differs", "tools differ")) " from what was accepted, and can't be called." } }
                            @if let Some(failure) = &row.last_failure { p.quiet { "Last failure: " (shown(failure)) } }
                            p.quiet.mono { (shown(&row.place)) }
                        }
                    }
                }
            }
        }
    };
    page(frame, Section::Connectors, "Connectors", Watch::Every(30), &body)
}

/// One connector.
pub fn connector(frame: &Frame, row: &ConnectorRow) -> Markup {
    let body = html! {
        p.crumb { a href="/connectors" { "Connectors" } }
        h1 { (shown(&row.id)) " " (state(&row.state)) }
        p.place.mono { (shown(&row.place)) }
        div #connector data-live data-follows="connectors" {
            dl.facts {
                div { dt { "Serves" } dd { @if row.shared { "all grants with one process or session" } @else { "each grant with its own process or session" } } }
                div { dt { "Since the start" } dd { (row.calls) " calls, " (row.failures) " failed" } }
                @if let Some(failure) = &row.last_failure { div { dt { "Last failure" } dd { (shown(failure)) } } }
                @for oddity in &row.oddities { div { dt { "Noticed" } dd { (shown(&oddity.name)) ": " (shown(&oddity.value)) } } }
            }
            h2 { "Processes" }
            @if row.children.is_empty() { p.quiet { "None runs: one is started for the first call." } }
            ul.lines { @for child in &row.children { li { (state(&child.state)) span { "process " (child.pid) @if let Some(grant) = &child.grant { " for " a href=(format!("/grants/{grant}")) { (grant) } } } span.quiet { "since " (lasting(child.age_ms)) ", " (count(child.calls, "call", "calls")) " under way" } } } }
            h2 { "Accepted tools" }
            @if row.tools.is_empty() { (empty("No tool was accepted.", "`bailiwick connectors pin` shows what the server offers, and accepts it.")) }
            @for tool in &row.tools { (pin(tool)) }
        }
        p { a href=(format!("/credentials?connector={}", row.id)) { "What it is lent" } }
        (stop(frame, &format!("connector:{}", row.id), "Freeze this connector"))
    };
    page(frame, Section::Connectors, &row.id, Watch::Still, &body)
}

fn pin(tool: &PinRow) -> Markup {
    html! {
        section.card {
            h3 data-row tabindex="-1" { (shown(&tool.id)) " " (state(&tool.state)) }
            p { (band(tool.band)) " " span.kind { (tool.kind) } " " span.quiet { "accepted by " (shown(&tool.accepted_by)) ", " (at(tool.accepted_at_ms)) } }
            @if let Some(why) = &tool.why { p.notice { (shown(why)) } }
            @if tool.state == "drifted" { p.notice { "Its server offers another definition. `bailiwick connectors diff` shows what changed; nobody can call it until that is accepted." } }
            @if let Some(definition) = &tool.definition { details { summary { "Definition" } (raw(definition)) } }
            p.quiet.digest { (tool.digest) }
        }
    }
}

/// A form that stops something.
pub(super) fn stop(frame: &Frame, what: &str, title: &str) -> Markup {
    let id = format!("why-{}", what.replace([':', '/'], "-"));
    html! {
        @if frame.may_change {
            details.stop {
                summary { (title) }
                form.answer method="post" action="/halts" data-sign {
                    input type="hidden" name="what" value=(what);
                    p { "Stops its calls at once, those in flight too, until somebody thaws it. Nothing is lost but what is in flight." }
                    label for=(id) { "Why" }
                    input id=(id) name="reason" maxlength="500";
                    (proof(frame, "/halts", &id))
                    button.deny type="submit" { (title) }
                }
            }
        }
    }
}
