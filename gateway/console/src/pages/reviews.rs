//! What was let go in an emergency, to be looked at by somebody else.

use maud::{Markup, html};

use super::{
    Watch, band, empty, page, proof, state,
    text::shown,
    words::{at, count},
};
use crate::views::{Frame, ReviewRow, Section};

/// What was let go in an emergency, and waits for a second person.
pub fn reviews(frame: &Frame, rows: &[ReviewRow]) -> Markup {
    let body = html! {
        h1 { "Reviews" }
        section #reviews data-live data-follows="approval" aria-labelledby="reviews-count" {
            p.lead #reviews-count { (count(rows.len(), "call was", "calls were")) " let go in an emergency, by one person alone, and nobody else has looked at " @if rows.len() == 1 { "it" } @else { "them" } " yet." }
            @if rows.is_empty() {
                (empty("Nothing waits for a second look.", "When somebody lets a call go alone (bailiwick approvals break-glass), it stands here until another person has looked at it."))
            }
            @for row in rows {
                @let to = format!("/approvals/{}/review", row.id);
                section.card id=(format!("review-{}", row.id)) {
                    h2 { a data-row href=(format!("/approvals/{}", row.id)) { (shown(&row.tool)) } " " span.code { (row.code) } }
                    p { (band(row.band)) " " (state(&row.state)) " " (shown(&row.agent)) }
                    p { "Let go by " strong { (shown(&row.broken.by)) } ", " (at(row.broken.at_ms)) @if let Some(reason) = &row.broken.reason { ": " (shown(reason)) } }
                    @if let Some(barred) = &row.barred {
                        p.quiet { (shown(barred)) }
                    } @else {
                        form.answer method="post" action=(to) data-sign {
                            @let id = format!("note-{}", row.id);
                            input type="hidden" name="binding" value=(row.binding_digest);
                            label for=(id) { "What you found" }
                            textarea id=(id) name="note" rows="2" maxlength="500" required {}
                            (proof(frame, &to, &row.id))
                            @if let Some(doubt) = &row.doubt { p.quiet { "This stays on record with it: " (shown(doubt)) "." } }
                            button type="submit" { "I have looked at it" }
                        }
                    }
                }
            }
        }
    };
    page(frame, Section::Reviews, "Reviews", Watch::Still, &body)
}
