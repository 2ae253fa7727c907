//! The pages: from what is to be shown to HTML. Nothing is asked or changed here.
//!
//! Each page is complete without a script. With one, whatever has an id and `data-live` is put in place anew when something changed.

mod approval;
mod arguments;
mod audit;
mod batch;
mod credentials;
mod inbox;
mod registry;
mod reviews;
mod running;
mod served;
mod text;
mod words;

#[cfg(test)]
mod tests;

use maud::{DOCTYPE, Markup, html};

pub use approval::{Decidable, approval, changed_meanwhile, decided_already};
pub use audit::{audit, call};
pub use batch::{Together, apart, batch, batch_changed};
pub use credentials::{credentials, lease};
pub use inbox::inbox;
pub use registry::{agents, connector, connectors, grant, grants};
pub use reviews::reviews;
pub use running::{detections, halts, live_calls};
pub(crate) use served::{around, batch_decidable_now, decidable_now, routes};
pub(crate) use words::{ago, at};

use crate::{
    posted::TOKEN,
    sign::{ASSERTION, OPERATOR},
    views::{Frame, Section},
};

/// A page in its frame, for who is not logged in.
pub fn framed(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(title, Watch::Still))
            body.outside {
                header.top { (brand()) }
                main #main {
                    (body)
                    p.message data-message role="alert" {}
                }
            }
        }
    }
}

/// How a page without a script hears of what changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// It doesn't: somebody may be writing in it.
    Still,
    /// It is loaded anew, after so many seconds.
    Every(u32),
}

/// A page in its frame, in this part of the console or in none.
pub fn page(frame: &Frame, here: impl Into<Option<Section>>, title: &str, watch: Watch, body: &Markup) -> Markup {
    let here = here.into();
    html! {
        (DOCTYPE)
        html lang="en" data-now=(frame.now_ms) {
            (head(title, watch))
            body {
                a.skip href="#main" { "Skip to the content" }
                header.top {
                    (brand())
                    (menu(frame, here))
                    (account(frame))
                }
                main #main tabindex="-1" {
                    div #notices data-live { @for notice in &frame.notices { p.notice.grave[notice.grave] { (text::shown(&notice.text)) } } }
                    (body)
                    p.message data-message role="alert" {}
                }
                footer { p.quiet { "Bailiwick " (frame.version) " · times are UTC · press " kbd { "?" } " for keys" } }
                p #told .sr role="status" aria-live="polite" {}
                (keys())
            }
        }
    }
}

fn head(title: &str, watch: Watch) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            @if let Watch::Every(seconds) = watch { noscript { meta http-equiv="refresh" content=(seconds); } }
            title { (text::plain(title)) " · Bailiwick" }
            link rel="icon" href="/assets/mark.svg" type="image/svg+xml";
            link rel="stylesheet" href="/assets/console.css";
            script src="/assets/console.js" defer {}
            script src="/passkey.js" defer {}
        }
    }
}

fn brand() -> Markup {
    html! {
        a.brand href="/" {
            img src="/assets/mark.svg" alt="" width="28" height="28";
            span { "Bailiwick" }
        }
    }
}

fn menu(frame: &Frame, here: Option<Section>) -> Markup {
    html! {
        nav.menu aria-label="Console" {
            ul {
                @for section in &frame.sections {
                    li {
                        a href=(section.path()) aria-current=[(Some(*section) == here).then_some("page")] {
                            (section.name())
                            @if *section == Section::Reviews { " " span #reviews-due .count data-live hidden[frame.reviews == 0] { (frame.reviews) span.sr { " to be looked at" } } }
                            @if *section == Section::Inbox { " " span #waiting .count data-live hidden[frame.waiting == 0] { (frame.waiting) span.sr { " waiting" } } }
                        }
                    }
                }
            }
        }
    }
}

fn account(frame: &Frame) -> Markup {
    html! {
        div.account {
            a href="/passkeys" title="Your passkeys and sessions" { (text::shown(&frame.who)) }
            form method="post" action="/logout" { (guard(frame, "/logout")) button.plain type="submit" { "Log out" } }
        }
    }
}

/// What each form carries that goes to this place: that a page of ours, shown in this session, sent it.
pub(crate) fn guard(frame: &Frame, path: &str) -> Markup {
    html! { input type="hidden" name=(TOKEN) value=(frame.guard.token(path)); }
}

/// The same for a form that has to be signed: by a passkey, or with the operator credential beside it.
pub(crate) fn proof(frame: &Frame, path: &str, of: &str) -> Markup {
    let id = format!("operator-{of}");
    html! {
        (guard(frame, path))
        input type="hidden" name=(ASSERTION) value="";
        details.proof id=(format!("proof-{of}")) {
            summary { "Without a passkey" }
            label for=(id) { "Operator credential" }
            input id=(id) name=(OPERATOR) type="password" autocomplete="off" spellcheck="false";
        }
    }
}

/// What somebody reads who presses `?`.
fn keys() -> Markup {
    let all = [
        ("j  k", "next and previous row"),
        ("x", "choose the row, to decide several at once"),
        ("b", "go to Decide together; then Enter shows the chosen ones"),
        ("Enter", "open the row, or press the button that has the focus"),
        ("a", "go to Approve; then Enter approves"),
        ("t", "go to Approve for this task, where the rule permits it"),
        ("d", "go to the reason of a denial"),
        ("i", "back to the inbox"),
        ("?", "this list"),
    ];
    html! {
        dialog #keys aria-labelledby="keys-title" {
            h2 #keys-title { "Keys" }
            dl.keys { @for (key, what) in all { div { dt { kbd { (key) } } dd { (what) } } } }
            p { label { input #keys-on type="checkbox" checked; " Single keys do this" } }
            form method="dialog" { button type="submit" { "Close" } }
        }
    }
}

/// How risky something is, as a word with a colour.
fn band(band: bailiwick_policy::Band) -> Markup {
    html! { span class=(format!("band {}", band.as_str())) { (band.as_str()) } }
}

/// A state, as a word with a colour.
pub(crate) fn state(word: &str) -> Markup {
    let tone = match word {
        "active" | "connected" | "ready" | "callable" | "approved" | "succeeded" | "success" | "allow" | "done" => "good",
        "denied" | "drifted" | "failing" | "failed" | "halted" | "disabled" | "revoked" | "unusable" | "deny" | "unknown"
        | "downstream_error" | "internal_error" => "bad",
        "pending" | "executing" | "unpinned" | "approval_pending" | "step_up" | "starting" => "due",
        _ => "still",
    };
    html! { span class=(format!("state {tone}")) { (text::shown(&word.replace('_', " "))) } }
}

/// What stands where there is nothing.
pub(crate) fn empty(what: &str, later: &str) -> Markup {
    html! { div.empty { p.lead { (what) } p.quiet { (later) } } }
}
