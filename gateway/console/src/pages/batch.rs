//! Several questions on one page, to be answered at once: each whole, and the answer bound to exactly this list.

use bailiwick_policy::Band;
use bailiwick_schemas::canonical::Digest;
use maud::{Markup, PreEscaped, html};

use super::{
    Watch,
    approval::{accepted, claim, rule},
    arguments::{as_written, difference, typed},
    band, page, proof,
    text::shown,
    words::count,
};
use crate::{
    sign::BATCH,
    views::{ApprovalView, Arguments, Frame, Section},
};

/// Several questions as somebody would decide them: what is shown, and the digest of exactly that.
#[derive(Debug, Clone)]
pub struct Together {
    items: Vec<String>,
    /// SHA-256 over all of it, in order.
    pub view: Digest,
}

impl Together {
    /// What is shown of these, in this order.
    pub fn of(views: &[ApprovalView]) -> Self {
        let items: Vec<String> = views
            .iter()
            .enumerate()
            .map(|(number, view)| item(view, number.checked_sub(1).and(views.first())).into_string())
            .collect();
        let view = Digest::of(items.join("\n").as_bytes());
        Self { items, view }
    }
}

/// Why this one can't be decided together with others, if so.
pub fn apart(view: &ApprovalView) -> Option<String> {
    let because = |why: &str| Some(format!("{} {why}", view.code));
    if let Some(settled) = &view.settled {
        return because(&format!("is {}: {}", view.state.replace('_', " "), settled.what));
    }
    if let Some(barred) = &view.choices.barred {
        return because(&format!("is not yours to decide: {barred}"));
    }
    if view.band == Band::Critical {
        return because("is critical: it is decided alone, with its code.");
    }
    if !matches!(view.arguments, Arguments::Kept { .. }) {
        return because("has arguments that can't be read: deny it on its own page.");
    }
    None
}

/// The page on which several are decided at once. Those in `out` are not part of it, and stand there with why.
pub fn batch(frame: &Frame, views: &[ApprovalView], out: &[String]) -> Markup {
    let together = Together::of(views);
    let title = count(views.len(), "call, to be decided", "calls, to be decided together");
    let body = html! {
        p.crumb { a href="/" { "Inbox" } }
        h1 { (title) }
        @for why in out { p.notice { "Not among them: " (shown(why)) } }
        @if views.is_empty() {
            p { "None of them can be decided so. " a href="/" { "Back to the inbox" } }
        } @else {
            p.lead { "One answer for all of them, and for nothing else: each goes on record by itself. If one of them changes before you answer, none is decided." }
            ol.rows.batch { @for (view, item) in views.iter().zip(&together.items) { li.card id=(format!("of-{}", view.id)) { (PreEscaped(item)) } } }
            (answers(frame, views, &together))
        }
    };
    page(frame, Section::Inbox, &title, Watch::Still, &body)
}

/// One of them, whole. Part of what is decided about.
fn item(view: &ApprovalView, first: Option<&ApprovalView>) -> Markup {
    html! {
        h2.verbline { strong { (shown(&view.name)) } " on " strong { (shown(&view.connector)) } }
        p { (band(view.band)) " " span.kind { (view.kind) } " " span.code { (view.code) } }
        p.place { (shown(&view.place)) }
        dl.facts {
            div { dt { "Agent" } dd { (shown(&view.agent)) } }
            div { dt { @if view.purpose_is_claimed { "Task, as an agent worded it" } @else { "Task" } } dd { (shown(&view.purpose)) } }
            @if let Some(flow) = &view.flow { div { dt { "Data" } dd { (shown(flow)) } } }
            div { dt { "Grant" } dd { (shown(&view.grant)) span.quiet { " of " (shown(&view.owner)) } } }
            @if !view.delegators.is_empty() {
                div { dt { "Handed on by" } dd { @for (agent, owner) in &view.delegators { span.hop { (shown(agent)) span.quiet { " of " } (shown(owner)) } " " } } }
            }
            div { dt { "Why it asks" } dd { ul { @for asked in &view.asked { (rule(asked)) } } } }
        }
        h3 { "Arguments" }
        @match &view.arguments {
            Arguments::Kept { text, masked } => {
                (typed(text, masked))
                (as_written(text, masked))
                @if let Some(ApprovalView { arguments: Arguments::Kept { text: other, masked: others }, code, tool, .. }) = first {
                    // What is masked in either of them is not shown by the comparison.
                    @if *tool == view.tool { h3 { "What differs from " (code) } (difference(other, text, &masked.union(others).cloned().collect())) }
                }
            }
            Arguments::Gone | Arguments::Unreadable(_) => p.notice.grave { "They can't be read." },
        }
        @match &view.definition {
            Some(definition) if definition.same && !definition.drifted => { h3 { "The tool, as it was accepted" } (accepted(definition)) }
            Some(_) => p.notice.grave { "The tool is another than the one that was asked about: the call can't run." },
            None => p.notice.grave { "This tool is not accepted any more: the call can't run." },
        }
        (claim(view))
        p.quiet.digest { "Bound to " (view.binding_digest) }
    }
}

fn answers(frame: &Frame, views: &[ApprovalView], together: &Together) -> Markup {
    let no_yes = views.iter().find_map(|view| view.choices.no_yes.as_ref().map(|why| (view, why)));
    html! {
        section.decision #decision aria-labelledby="decide" {
            h2 #decide { "Your decision about all " (views.len()) }
            form.answer method="post" action=(BATCH) data-sign {
                label for="reason" { "Why not: the agents are told this" }
                textarea #reason name="reason" rows="2" maxlength="500" required data-key="d" {}
                (bound(frame, views, together, "deny"))
                button.deny type="submit" { "Deny all " (views.len()) kbd aria-hidden="true" { "d" } }
            }
            @if let Some((view, why)) = no_yes {
                p { "You can't approve them: " (view.code) ": " (shown(why)) }
            } @else {
                form.answer method="post" action=(BATCH) data-sign {
                    (bound(frame, views, together, "approve"))
                    button.approve type="submit" data-key="a" { "Approve all " (views.len()) ", each once" kbd aria-hidden="true" { "a" } }
                }
            }
        }
    }
}

/// What every answer carries: the exact list, what was shown of it, and what the answer is.
fn bound(frame: &Frame, views: &[ApprovalView], together: &Together, verdict: &str) -> Markup {
    let joined = |part: fn(&ApprovalView) -> &str| views.iter().map(part).collect::<Vec<_>>().join(" ");
    html! {
        input type="hidden" name="verdict" value=(verdict);
        input type="hidden" name="ids" value=(joined(|view| &view.id));
        input type="hidden" name="bindings" value=(joined(|view| &view.binding_digest));
        input type="hidden" name="view" value=(together.view);
        (proof(frame, BATCH, verdict))
    }
}

/// What somebody reads whose list is no longer what would be decided: which of them, and that nothing was.
pub fn batch_changed(frame: &Frame, left: &[String], why: &[String]) -> Markup {
    let again = left.iter().map(|id| format!("id={id}")).collect::<Vec<_>>().join("&");
    let body = html! {
        h1 { "Nothing was decided: the list is no longer what you saw" }
        ul { @for why in why { li { (shown(why)) } } }
        p {
            @if !left.is_empty() { a.button href=(format!("/batch?{again}")) { "Look at the other " (count(left.len(), "call", "calls")) } " · " }
            a href="/" { "Inbox" }
        }
    };
    page(frame, Section::Inbox, "Nothing was decided", Watch::Still, &body)
}
