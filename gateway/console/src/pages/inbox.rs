//! The inbox: what waits for a person.

use maud::{Markup, html};

use super::{
    Watch, band, empty, page, state,
    text::shown,
    words::{ago, count, left},
};
use crate::views::{Frame, Inbox, InboxRow, Section};

/// The questions that wait.
pub fn inbox(frame: &Frame, inbox: &Inbox) -> Markup {
    let body = html! {
        h1 { "Inbox" }
        section #inbox data-live data-follows="approval" data-say=(said(inbox)) aria-labelledby="inbox-count" {
            p.lead #inbox-count { (said(inbox)) }
            @if inbox.rows.is_empty() {
                (empty(
                    "No call waits for you.",
                    "When an agent makes a call that a rule wants a person to approve, it appears here by itself: what it would do, for whom, and how long it can wait.",
                ))
            } @else {
                ol.rows { @for row in &inbox.rows { (waiting(row, frame.now_ms)) } }
                @if inbox.rows.iter().filter(|row| row.choosable).count() > 1 {
                    form #choice .answer method="get" action="/batch" {
                        button type="submit" data-key="b" { "Decide the chosen together" kbd aria-hidden="true" { "b" } }
                    }
                }
                (pager(inbox))
            }
            (lately(inbox, frame.now_ms))
        }
    };
    let title = if inbox.total == 0 { "Inbox".to_owned() } else { format!("({}) Inbox", inbox.total) };
    page(frame, Section::Inbox, &title, Watch::Every(10), &body)
}

fn said(inbox: &Inbox) -> String {
    match inbox.total {
        0 => "Nothing waits for a person.".to_owned(),
        total => format!("{}, the most risky first.", count(total, "call waits for a person", "calls wait for a person")),
    }
}

fn waiting(row: &InboxRow, now_ms: u64) -> Markup {
    let name = row.tool.strip_prefix(&format!("{}__", row.connector)).unwrap_or(&row.tool);
    html! {
        li.row id=(format!("row-{}", row.id)) {
            a.open href=(format!("/approvals/{}", row.id)) id=(format!("open-{}", row.id)) data-row {
                span.verb { strong { (shown(name)) } " on " strong { (shown(&row.connector)) } }
                span.sr { ", " (row.band.as_str()) " risk, code " (row.code) }
            }
            div.facts {
                (band(row.band))
                span.code { (row.code) }
                (left(row.approve_by_ms, now_ms))
                @if row.waiting { span.waits { "agent waits" } } @else { span.waits.not { "agent is not waiting" } }
                @if row.yes.1 > 1 { span { (row.yes.0) " of " (row.yes.1) " have approved" } }
            }
            @if row.choosable {
                @let choose = format!("choose-{}", row.id);
                label.choose for=(choose) { input type="checkbox" name="id" value=(row.id) form="choice" id=(choose); span { "Choose" span.sr { " " (row.code) } } }
            }
            p.who { (shown(&row.agent)) span.quiet { " for " } (shown(&row.owner)) span.quiet { " · " (row.kind) " · asked " (ago(row.asked_at_ms, now_ms)) } }
            @if !row.purpose.is_empty() { p.task { span.quiet { @if row.purpose_is_claimed { "Task as an agent worded it: " } @else { "Task: " } } (shown(&row.purpose)) } }
        }
    }
}

fn pager(inbox: &Inbox) -> Markup {
    html! {
        @if inbox.pages > 1 {
            nav.pager aria-label="Pages of the inbox" {
                @if inbox.page > 1 { a href=(format!("/?page={}", inbox.page - 1)) rel="prev" { "← Before" } }
                span { "Page " (inbox.page) " of " (inbox.pages) }
                @if inbox.page < inbox.pages { a href=(format!("/?page={}", inbox.page + 1)) rel="next" { "Next →" } }
            }
        }
    }
}

fn lately(inbox: &Inbox, now_ms: u64) -> Markup {
    html! {
        @if !inbox.lately.is_empty() {
            h2 { "Lately" }
            ul.lines {
                @for aged in &inbox.lately {
                    li {
                        (state(&aged.state))
                        a href=(format!("/approvals/{}", aged.id)) { span.code { (aged.code) } " " (shown(&aged.tool)) }
                        span.quiet { (shown(&aged.agent)) @if let Some(by) = &aged.by { " · by " (shown(by)) } " · " (ago(aged.at_ms, now_ms)) }
                    }
                }
            }
        }
    }
}
