//! One question, in the order in which it is read: what, how risky, for whom, with which arguments, against what was approved before,
//! by which definition; and last the answers.

use bailiwick_schemas::canonical::Digest;
use maud::{Markup, PreEscaped, html};

use super::{
    Watch,
    arguments::{as_written, difference, typed},
    band, page, proof, state,
    text::{raw, shown},
    words::{ago, at, count, left},
};
use crate::views::{ApprovalView, Arguments, Asked, Definition, Frame, Section};

/// A question as somebody would decide it: what is shown, and the digest of exactly that.
///
/// The digest covers what the question is: not the time that is left, who waits, and what else goes on, which change while it is read.
#[derive(Debug, Clone)]
pub struct Decidable {
    /// What it is and whom it is for.
    pub(super) head: String,
    /// What would be sent, and by which definition.
    pub(super) body: String,
    /// SHA-256 over both.
    pub view: Digest,
}

impl Decidable {
    /// What is shown of this question.
    pub fn of(view: &ApprovalView) -> Self {
        let (head, body) = (matter(view).into_string(), content(view).into_string());
        let digest = Digest::of(format!("{head}\n{body}").as_bytes());
        Self { head, body, view: digest }
    }
}

/// The page of one question.
pub fn approval(frame: &Frame, view: &ApprovalView) -> Markup {
    let decidable = Decidable::of(view);
    let body = html! {
        p.crumb { a href="/" { "Inbox" } }
        article.approval #approval data-follows="approval" data-id=(view.id) data-state=(view.state) {
            div #matter data-live { (PreEscaped(&decidable.head)) }
            (standing(view, frame.now_ms))
            div #content data-live { (PreEscaped(&decidable.body)) }
            (around(frame, view))
        }
        (decision(frame, view, &decidable))
    };
    page(frame, Section::Inbox, &format!("{} {}", view.code, view.tool), Watch::Still, &body)
}

/// What it is and whom it is for. Part of what is decided about.
fn matter(view: &ApprovalView) -> Markup {
    html! {
        h1.verbline { strong { (shown(&view.name)) } " on " strong { (shown(&view.connector)) } }
        p.place { (shown(&view.place)) }
        section.risk aria-label="Risk" {
            p { (band(view.band)) " " span.kind { (view.kind) } " " span.code { (view.code) } }
            h2 { "Why it asks" }
            ul { @for asked in &view.asked { (rule(asked)) } }
        }
        section aria-labelledby="who" {
            h2 #who { "For whom" }
            dl.facts {
                div { dt { "Agent" } dd { (shown(&view.agent)) } }
                div { dt { @if view.purpose_is_claimed { "Task, as an agent worded it" } @else { "Task" } } dd { (shown(&view.purpose)) } }
                @if let Some(flow) = &view.flow { div { dt { "Data" } dd { (shown(flow)) } } }
                div { dt { "Grant" } dd { (shown(&view.grant)) } }
                div { dt { "Owner" } dd { (shown(&view.owner)) } }
                @if !view.delegators.is_empty() {
                    div { dt { "Handed on by" } dd { @for (agent, owner) in &view.delegators { span.hop { (shown(agent)) span.quiet { " of " } (shown(owner)) } " " } } }
                }
            }
        }
    }
}

pub(super) fn rule(asked: &Asked) -> Markup {
    html! {
        li {
            span.mono { (shown(&asked.rule)) }
            @if let Some(place) = &asked.place { span.quiet { " (" (shown(place)) ")" } }
            @if let Some(reason) = &asked.reason { ": " (shown(reason)) }
            span.quiet { " · asks for " (shown(&asked.label)) @if asked.quorum > 1 { ", " (asked.quorum) " persons" } }
        }
    }
}

/// What changes while it is read.
fn standing(view: &ApprovalView, now_ms: u64) -> Markup {
    let say = format!("{} is {}", view.code, view.state.replace('_', " "));
    html! {
        div.standing #standing data-live data-say=(say) {
            @if let Some(settled) = &view.settled {
                p.settled role="note" {
                    (state(&view.state)) " " strong { (shown(&settled.what)) }
                    @if let Some(when) = settled.at_ms { " · " (at(when)) }
                    @if let Some(why) = &settled.why { br; span.quiet { "Why: " } (shown(why)) }
                }
            } @else {
                p { (left(view.approve_by_ms, now_ms)) " · " @if view.waiting { span.waits { "the agent waits" } } @else { span.waits.not { "the agent is not waiting now; it may ask again" } } " · asked " (ago(view.asked_at_ms, now_ms)) }
            }
            @if let Some(like) = &view.likewise {
                p.notice {
                    "Exactly this call was asked before: " a href=(format!("/approvals/{}", like.id)) { (like.code) } " " (state(&like.state)) " " (ago(like.at_ms, now_ms)) "."
                    @if let Some(run) = &like.run {
                        " It ran: " (state(&run.outcome)) " " (ago(run.at_ms, now_ms))
                        @if let Some(why) = &run.why { " (" (shown(why)) ")" }
                        @if let Some(call) = &run.call { ", " a href=(format!("/calls/{call}")) { "what it did" } }
                        "."
                    }
                    @if view.settled.is_none() { " Another yes lets it run again." }
                }
            }
        }
    }
}

/// What would be sent, and by which definition. Part of what is decided about.
fn content(view: &ApprovalView) -> Markup {
    html! {
        section aria-labelledby="arguments" {
            h2 #arguments { "Arguments" }
            @match &view.arguments {
                Arguments::Kept { text, masked } => {
                    (typed(text, masked))
                    h3 { "As they are sent" }
                    (as_written(text, masked))
                }
                Arguments::Gone => p.quiet { "They are kept only as long as somebody needs them to decide, and are gone." },
                Arguments::Unreadable(why) => p.notice.grave { "They can't be read, so nobody can say yes: " (shown(why)) },
            }
            p.quiet.digest { "Arguments " (view.args_digest) }
        }
        section aria-labelledby="earlier" {
            h2 #earlier { "What differs from the last approved call" }
            @match (&view.earlier, &view.arguments) {
                (Some(earlier), Arguments::Kept { text, masked }) => {
                    p.quiet { "Of " span.code { (earlier.code) } ", approved by " (shown(&earlier.by)) ", " (at(earlier.at_ms)) "." }
                    (difference(&earlier.text, text, masked))
                }
                (Some(earlier), _) => p.quiet { "The last other call of this tool that was approved is " span.code { (earlier.code) } ", by " (shown(&earlier.by)) ", " (at(earlier.at_ms)) ". The arguments of this one are gone, so nothing is compared." },
                (None, Arguments::Kept { .. }) => p.quiet { "No other approved call of this tool by this agent is remembered since the gateway's start." },
                (None, _) => p.quiet { "Its arguments are gone, so nothing is compared." },
            }
        }
        section aria-labelledby="definition" {
            h2 #definition { "The tool, as it was accepted" }
            @match &view.definition {
                Some(definition) => { (accepted(definition)) }
                None => p.notice.grave { "This tool is not accepted any more: the call can't run." },
            }
        }
        (claim(view))
        p.quiet.digest { "Your decision is bound to " (view.binding_digest) }
    }
}

/// What the agent says of it. Worth nothing by itself, and marked as that.
pub(super) fn claim(view: &ApprovalView) -> Markup {
    html! {
        section.claim aria-label="Claimed by the agent" {
            h2 { "Claimed by the agent" }
            @match &view.claim {
                Some(claim) => {
                    blockquote { (shown(claim)) }
                    p.quiet { "In the agent's own words. Nobody has checked them, and they are no part of what is decided." }
                }
                None => p.quiet { "It gave no reason." },
            }
        }
    }
}

pub(super) fn accepted(definition: &Definition) -> Markup {
    let of = serde_json::from_str::<serde_json::Value>(&definition.text).unwrap_or_default();
    let description = of.get("description").and_then(serde_json::Value::as_str).unwrap_or("(it has no description)").to_owned();
    html! {
        p {
            @if definition.drifted { (state("drifted")) " Its server offers something else by now: it can't be called. " }
            @else if definition.same { (state("unchanged")) }
            @else { (state("drifted")) " Another definition was accepted after this was asked. " }
            " " span.quiet { "accepted by " (shown(&definition.accepted_by)) ", " (at(definition.accepted_at_ms)) }
        }
        blockquote { (shown(&description)) }
        details {
            summary { "The whole definition" }
            (raw(&definition.text))
        }
        p.quiet.digest { (definition.digest) }
    }
}

/// What else goes on.
fn around(frame: &Frame, view: &ApprovalView) -> Markup {
    let now_ms = frame.now_ms;
    html! {
        section #around data-live aria-labelledby="ahead" {
            h2 #ahead { "The last calls of this task" }
            @if view.ahead.is_empty() {
                p.quiet { "None is on record." }
            } @else {
                ul.lines {
                    @for call in &view.ahead {
                        li { (state(&call.outcome)) @if frame.may_read { a href=(format!("/calls/{}", call.call)) { (shown(&call.tool)) } } @else { (shown(&call.tool)) } span.quiet { (ago(call.at_ms, now_ms)) " · trace " span.mono { (call.trace) } } }
                    }
                }
            }
            @if let Some(broken) = &view.broken {
                h2 { "Let go in an emergency" }
                p { "By " (shown(&broken.by)) " alone, " (at(broken.at_ms)) @if let Some(reason) = &broken.reason { ": " (shown(reason)) } }
                @match &broken.reviewed {
                    Some((by, when, note)) => p { "Looked at by " (shown(by)) ", " (at(*when)) @if let Some(note) = note { ": " (shown(note)) } },
                    None => p.notice { "Nobody else has looked at it yet. " a href="/reviews" { "Reviews" } },
                }
            }
            @if !view.said.is_empty() {
                h2 { "What was said" }
                ul.lines {
                    @for said in &view.said {
                        li {
                            (state(if said.yes { "approved" } else { "denied" }))
                            span { (shown(&said.by)) span.quiet { " (" (shown(&said.how)) ") " (at(said.at_ms)) } }
                            @if let Some(reason) = &said.reason { span { (shown(reason)) } }
                            @if let Some((calls, batch)) = &said.batch { span.quiet.digest { "one answer for " (calls) " calls: " (batch) } }
                            @if let Some(view) = &said.view { span.quiet.digest { "saw " (view) } }
                        }
                    }
                }
            }
        }
    }
}

/// The answers. There are none where it no longer waits, or this viewer may not.
fn decision(frame: &Frame, view: &ApprovalView, decidable: &Decidable) -> Markup {
    let readable = matches!(view.arguments, Arguments::Kept { .. });
    html! {
        section.decision #decision data-live aria-labelledby="decide" {
            @if view.settled.is_some() {
                h2 #decide { "Nothing is left to decide" }
                p { a href="/" { "Back to the inbox" } }
            } @else if let Some(barred) = &view.choices.barred {
                h2 #decide { "You can't decide this" }
                p { (shown(barred)) }
            } @else {
                h2 #decide { "Your decision" }
                @if view.quorum > 1 { p { (view.said.iter().filter(|said| said.yes).count()) " of " (view.quorum) " persons have approved. One no ends it." } }
                @if view.siblings > 0 && readable && view.band != bailiwick_policy::Band::Critical {
                    p { a href=(format!("/batch?like={}", view.id)) { "Decide it together with " (count(view.siblings, "like call", "like calls")) " of this task" } }
                }
                (deny(frame, view, decidable))
                @if let Some(why) = &view.choices.no_yes {
                    p.notice role="note" { "You can't approve this: " (shown(why)) }
                } @else if readable {
                    (approve(frame, view, decidable)) (for_task(frame, view, decidable))
                }
            }
        }
    }
}

/// What every answer carries: what it is about, what was shown, and what it is.
fn bound(frame: &Frame, view: &ApprovalView, decidable: &Decidable, verdict: &str, of: &str) -> Markup {
    html! {
        input type="hidden" name="verdict" value=(verdict);
        input type="hidden" name="binding" value=(view.binding_digest);
        input type="hidden" name="view" value=(decidable.view);
        (proof(frame, &place(view), of))
    }
}

/// Where answers go.
fn place(view: &ApprovalView) -> String {
    format!("/approvals/{}/decision", view.id)
}

fn deny(frame: &Frame, view: &ApprovalView, decidable: &Decidable) -> Markup {
    html! {
        form.answer method="post" action=(place(view)) data-sign {
            label for="reason" { "Why not: the agent is told this" }
            textarea #reason name="reason" rows="2" maxlength="500" required data-key="d" {}
            (bound(frame, view, decidable, "deny", "deny"))
            button.deny type="submit" { "Deny" kbd aria-hidden="true" { "d" } }
        }
    }
}

fn approve(frame: &Frame, view: &ApprovalView, decidable: &Decidable) -> Markup {
    html! {
        form.answer method="post" action=(place(view)) data-sign {
            @if view.choices.type_code {
                label for="code" { "Type the code that the agent shows, as this call is critical" }
                input #code name="code" type="text" autocomplete="off" autocapitalize="characters" spellcheck="false" required pattern="[A-Za-z0-9\\-]{3,12}";
            }
            (bound(frame, view, decidable, "approve", "approve"))
            button.approve type="submit" data-key="a" { "Approve once" kbd aria-hidden="true" { "a" } }
        }
    }
}

fn for_task(frame: &Frame, view: &ApprovalView, decidable: &Decidable) -> Markup {
    html! {
        @if let Some(terms) = &view.choices.for_task {
            form.answer method="post" action=(place(view)) data-sign {
                p { "Exactly this call may go again without asking, for this task alone: " @for term in terms { span.hop { (shown(&term.name)) " " strong { (shown(&term.value)) } } " " } }
                div.pair {
                    div { label for="allow-uses" { "How often" } input #allow-uses name="allow_uses" type="number" min="1" max="100" value="5" required; }
                    div { label for="allow-minutes" { "For how many minutes" } input #allow-minutes name="allow_minutes" type="number" min="1" max="60" value="15" required; }
                }
                (bound(frame, view, decidable, "approve", "task"))
                button.approve.task type="submit" data-key="t" { "Approve for this task" kbd aria-hidden="true" { "t" } }
            }
        }
    }
}

/// What somebody reads whose answer came too late.
pub fn decided_already(frame: &Frame, view: &ApprovalView) -> Markup {
    let settled = view.settled.as_ref();
    let body = html! {
        h1 { "Nothing was changed: " (view.code) " is " (view.state.replace('_', " ")) }
        p.lead { @match settled { Some(settled) => { (shown(&settled.what)) @if let Some(when) = settled.at_ms { " · " (at(when)) } } None => "Somebody else is deciding it at this moment." } }
        @if let Some(why) = settled.and_then(|settled| settled.why.as_ref()) { p { span.quiet { "Why: " } (shown(why)) } }
        p { a href=(format!("/approvals/{}", view.id)) { "Look at it again" } " · " a href="/" { "Inbox" } }
    };
    page(frame, Section::Inbox, "Decided already", Watch::Still, &body)
}

/// What somebody reads who answered about something else than what would be done now.
pub fn changed_meanwhile(frame: &Frame, view: &ApprovalView) -> Markup {
    let body = html! {
        h1 { "Nothing was decided: what you saw is no longer what would be done" }
        p.lead { "Something of " (view.code) " changed after your page was loaded." }
        p { a.button href=(format!("/approvals/{}", view.id)) { "Look at it again" } " · " a href="/" { "Inbox" } }
    };
    page(frame, Section::Inbox, "Changed meanwhile", Watch::Still, &body)
}
