//! The trail: searched, and one call with the picture of its way.

use maud::{Markup, html};

use super::{
    Watch, empty, page, state,
    text::shown,
    words::{count, millis, moment},
};
use crate::views::{AuditPage, AuditQuery, AuditRow, Bar, CallView, Frame, Picture, Section};

/// How calls end, as the trail has it.
const OUTCOMES: [&str; 14] = [
    "success",
    "tool_error",
    "downstream_error",
    "denied",
    "input_required",
    "approval_pending",
    "approval_rejected",
    "invalid",
    "unauthenticated",
    "rate_limited",
    "cancelled",
    "timeout",
    "internal_error",
    "unknown",
];

/// What was found on record.
pub fn audit(frame: &Frame, query: &AuditQuery, found: &AuditPage) -> Markup {
    let body = html! {
        h1 { "Trail" }
        (search(query))
        p.quiet { (count(found.rows.len(), "record", "records")) ", newest first, of " (found.read) " that were read." }
        @if let Some(remark) = &found.remark { p.notice { (shown(remark)) } }
        @if found.rows.is_empty() {
            (empty("Nothing on record is like that.", "Every call is here with its decision and its outcome, and every change that a person made."))
        } @else {
            ol.rows.records { @for row in &found.rows { (record(row)) } }
        }
        @if let Some(older) = &found.older { nav.pager aria-label="Older records" { a rel="next" href=(href(query, older)) { "Older →" } } }
    };
    page(frame, Section::Audit, "Trail", Watch::Still, &body)
}

fn search(query: &AuditQuery) -> Markup {
    let text = |name: &'static str, label: &'static str, value: &str, hint: &'static str| {
        html! { div.field { label for=(format!("q-{name}")) { (label) } input id=(format!("q-{name}")) name=(name) value=(value) placeholder=(hint) autocomplete="off" spellcheck="false"; } }
    };
    html! {
        form.search role="search" method="get" action="/audit" aria-label="Search the trail" {
            (text("agent", "Agent", &query.agent, "any"))
            (text("tool", "Tool, or a part of its name", &query.tool, "any"))
            div.field {
                label for="q-outcome" { "Outcome" }
                select #q-outcome name="outcome" {
                    option value="" { "any" }
                    @for outcome in OUTCOMES { option value=(outcome) selected[query.outcome == outcome] { (outcome.replace('_', " ")) } }
                }
            }
            (text("id", "Call, approval, grant, lease", &query.id, "any"))
            (text("from", "From, UTC", &query.from, "2026-01-31"))
            (text("until", "Until, UTC", &query.until, "2026-01-31T18:00"))
            button type="submit" { "Search" }
        }
    }
}

fn record(row: &AuditRow) -> Markup {
    let name = if row.about.is_empty() { &row.stream } else { &row.about };
    html! {
        li.row {
            div.facts { (state(&row.what)) span.quiet { (row.stream) " · " (moment(row.at_ms)) } }
            @match &row.call {
                Some(call) => a.open href=(format!("/calls/{call}")) data-row { (shown(name)) },
                None => p.verb data-row tabindex="-1" { (shown(name)) },
            }
            p.who { (shown(&row.who)) @if !row.why.is_empty() { span.quiet { " · " (shown(&row.why)) } } }
        }
    }
}

fn href(query: &AuditQuery, older: &str) -> String {
    let parts = [
        ("agent", query.agent.as_str()),
        ("tool", &query.tool),
        ("outcome", &query.outcome),
        ("id", &query.id),
        ("from", &query.from),
        ("until", &query.until),
        ("before", older),
    ];
    let said: Vec<String> =
        parts.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name}={}", percent(value))).collect();
    format!("/audit?{}", said.join("&"))
}

/// A value of a query, percent-encoded.
fn percent(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    value.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// A call, with all that is on record about it.
pub fn call(frame: &Frame, view: &CallView) -> Markup {
    let body = html! {
        p.crumb { a href="/audit" { "Trail" } }
        h1 { "Call " span.mono { (shown(&view.id)) } }
        @if let Some(trace) = &view.trace { p.quiet { "Trace " span.mono { (shown(trace)) } } }
        h2 { "Its way" }
        @match &view.picture {
            Some(way) => (picture(way)),
            None => p.quiet { "How long each gate took is kept for the last calls only, in memory. The records below stay." },
        }
        h2 { "On record" }
        @for (title, fields) in &view.records {
            section.card {
                h3 { (shown(title)) }
                dl.facts.record { @for field in fields { div { dt { (shown(&field.name)) } dd.mono { (shown(&field.value)) } } } }
            }
        }
    };
    page(frame, Section::Audit, &view.id, Watch::Still, &body)
}

/// The gates as bars, in the order of the way: where each begins and how long it takes.
fn picture(way: &Picture) -> Markup {
    let whole = way.total_us.max(1);
    html! {
        p { (millis(way.total_us)) " in all, " (count(way.bars.len(), "part", "parts")) "." }
        ol.way { @for bar in &way.bars { (drawn(bar, whole)) } }
    }
}

fn drawn(bar: &Bar, whole: u64) -> Markup {
    let scaled = |us: u64| us.min(whole).saturating_mul(1000) / whole;
    // What took no time worth drawing is drawn all the same.
    let (left, width) = (scaled(bar.start_us).min(994), scaled(bar.length_us).max(6));
    let class = if bar.failed {
        "bar failed"
    } else if bar.outward {
        "bar outward"
    } else {
        "bar"
    };
    html! {
        li {
            span.part { (shown(&bar.name)) @if bar.outward { span.quiet { " (the server)" } } @if bar.failed { strong { " failed" } } }
            svg.lane viewBox="0 0 1000 14" preserveAspectRatio="none" role="img" aria-label=(format!("begins after {}, takes {}", millis(bar.start_us), millis(bar.length_us))) {
                rect.track x="0" y="6" width="1000" height="2" {}
                rect class=(class) x=(left) y="0" width=(width.min(1000 - left)) height="14" rx="2" {}
            }
            span.time { (millis(bar.length_us)) }
        }
    }
}
