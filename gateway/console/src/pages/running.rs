//! What runs, what is stopped, and what was noticed.

use maud::{Markup, html};

use super::{
    Watch, band, empty, page, proof,
    registry::stop,
    text::shown,
    words::{ago, at, count, lasting},
};
use crate::views::{Detection, Frame, HaltRow, LiveCall, Section};

/// The calls on their way.
pub fn live_calls(frame: &Frame, calls: &[LiveCall]) -> Markup {
    let body = html! {
        h1 { "Live calls" }
        section #live data-live data-follows="calls" aria-labelledby="live-count" {
            p.lead #live-count { (count(calls.len(), "call is", "calls are")) " on the way to a server." }
            @if calls.is_empty() {
                (empty("No call is under way.", "A call appears here from the moment it is let out until its answer is back."))
            } @else {
                ol.rows {
                    @for call in calls {
                        li.row id=(format!("call-{}", call.id)) {
                            a.open href=(format!("/calls/{}", call.id)) data-row id=(format!("open-{}", call.id)) { span.verb { strong { (shown(call.tool.as_deref().unwrap_or("(a stream)"))) } } }
                            div.facts { span { (shown(&call.state)) } span { "for " (lasting(frame.now_ms.saturating_sub(call.since_ms))) } }
                            p.who { (shown(&call.agent)) @if let Some(instance) = &call.instance { span.quiet { " (" (shown(instance)) ")" } } span.quiet { " under " } a href=(format!("/grants/{}", call.grant)) { (call.grant) } }
                        }
                    }
                }
            }
        }
    };
    page(frame, Section::Live, "Live calls", Watch::Every(5), &body)
}

/// What is stopped.
pub fn halts(frame: &Frame, halts: &[HaltRow]) -> Markup {
    let body = html! {
        h1 { "Halts" }
        div #halts data-live data-follows="halts" {
            @if halts.is_empty() {
                (empty("Nothing is frozen.", "What is frozen stops at once and goes on when a person thaws it, who says why."))
            }
            @for halt in halts {
                section.card {
                    h2 data-row tabindex="-1" { (shown(&halt.what)) }
                    p { "Frozen by " (shown(&halt.by)) ", " (at(halt.since_ms)) @if let Some(why) = &halt.reason { ": " (shown(why)) } }
                    @if frame.may_change { (thaw(frame, halt)) }
                }
            }
        }
        @if frame.may_change {
            h2 { "Freeze" }
            (freeze(frame))
            @if !halts.iter().any(|halt| halt.what == "everything") { (stop(frame, "everything", "Freeze everything")) }
        }
    };
    page(frame, Section::Halts, "Halts", Watch::Still, &body)
}

fn thaw(frame: &Frame, halt: &HaltRow) -> Markup {
    let id = format!("thaw-{}", halt.what.replace([':', '/'], "-"));
    html! {
        form.answer method="post" action="/halts/lift" data-sign {
            input type="hidden" name="what" value=(halt.what);
            label for=(id) { "Why it may go on" }
            input id=(id) name="reason" maxlength="500" required;
            (proof(frame, "/halts/lift", &id))
            button type="submit" { "Thaw" }
        }
    }
}

fn freeze(frame: &Frame) -> Markup {
    html! {
        form.answer method="post" action="/halts" data-sign {
            label for="what" { "What: " code { "agent:ID" } ", " code { "connector:ID" } ", " code { "tool:CONNECTOR__NAME" } " or " code { "instance:AGENT/NAME" } }
            input #what name="what" required maxlength="300" autocomplete="off" spellcheck="false";
            label for="why" { "Why" }
            input #why name="reason" maxlength="500";
            (proof(frame, "/halts", "freeze"))
            button.deny type="submit" { "Freeze it" }
        }
    }
}

/// What the gateway noticed.
pub fn detections(frame: &Frame, found: &[Detection]) -> Markup {
    let body = html! {
        h1 { "Detections" }
        div #detections data-live data-follows="detections" {
            @if found.is_empty() {
                (empty("Nothing stands out.", "Tools that differ from what was accepted, secrets that a server gave away, calls that may have run, servers that speak unasked, and what `[[detections]]` looks for appear here."))
            } @else {
                ol.rows {
                    @for one in found {
                        li.row {
                            p.verb data-row tabindex="-1" { (shown(&one.what)) }
                            div.facts { (band(one.band)) @match &one.href { Some(href) => a href=(href) { (shown(&one.about)) }, None => span { (shown(&one.about)) } } @if let Some(when) = one.at_ms { span.quiet { (ago(when, frame.now_ms)) } } }
                            p.quiet { (shown(&one.help)) }
                        }
                    }
                }
            }
        }
    };
    page(frame, Section::Detections, "Detections", Watch::Every(30), &body)
}
