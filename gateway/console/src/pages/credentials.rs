//! `/credentials`: what connectors were lent, what is not back yet, and what lives on.

use maud::{Markup, html};

use super::{
    Watch, empty, page, proof,
    text::{plain, shown},
    words::{ago, at, count, lasting, left},
};
use crate::views::{CredentialsView, Frame, LeaseFilter, LeaseRow, Section, StandingRow};

/// All of it, or what this filter leaves.
pub fn credentials(frame: &Frame, view: &CredentialsView, filter: &LeaseFilter) -> Markup {
    let (lent, not_back): (Vec<_>, Vec<_>) = view.leases.iter().partition(|row| row.state == "lent");
    let body = html! {
        h1 { "Credentials" }
        p.lead { "What connectors are lent for tasks: each task its own, taken back when it ends. What they are is shown nowhere." }
        @if filter.is_any() { (filtered(filter)) }
        div #credentials data-live data-follows="credentials" {
            @if !not_back.is_empty() {
                h2 #not-back { "Not back yet" }
                ol.rows aria-labelledby="not-back" { @for row in &not_back { (lease_row(frame, row)) } }
            }
            h2 #lent { @if lent.is_empty() { "Lent" } @else { (count(lent.len(), "credential is lent", "credentials are lent")) } }
            @if lent.is_empty() {
                @if filter.is_any() {
                    (empty("Nothing of this is lent.", "The first call of a task that needs a credential has one made."))
                } @else {
                    (empty("Nothing is lent.", "The first call of a task to a connector with a `credential` has one made. Name an issuer in `[[providers]]` of config.toml and refer to it as the `provider` of the connector's `credential`; `bailiwick check` has one made and gives it back, to see that it works."))
                }
            } @else {
                ol.rows aria-labelledby="lent" { @for row in &lent { (lease_row(frame, row)) } }
            }
            @if !view.standing.is_empty() {
                h2 #standing-credentials { "Standing credentials" }
                p.quiet { "These live on when tasks are over: nobody takes them back. A provider that makes one for each task takes their place." }
                ol.rows aria-labelledby="standing-credentials" { @for row in &view.standing { (standing(frame, row)) } }
            }
            @if !view.ended.is_empty() {
                h2 #ended { "Ended last" }
                ol.rows.records aria-labelledby="ended" { @for row in &view.ended { (ended(frame, row)) } }
            }
        }
    };
    page(frame, Section::Credentials, "Credentials", Watch::Every(30), &body)
}

fn filtered(filter: &LeaseFilter) -> Markup {
    html! {
        p {
            "Only those"
            @if let Some(grant) = &filter.grant { " of grant " a href=(format!("/grants/{}", in_path(grant))) { (shown(grant)) } }
            @if let Some(connector) = &filter.connector { " of connector " a href=(format!("/connectors/{}", in_path(connector))) { (shown(connector)) } }
            ". " a href="/credentials" { "Show all" }
        }
    }
}

/// What a person typed into the address, as a part of a path.
fn in_path(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// How it stands, as a word with a colour.
fn state(row: &LeaseRow) -> Markup {
    let (tone, word) = match (row.state.as_str(), row.how.as_deref()) {
        ("lent", _) => ("good", "lent"),
        ("ending", _) => ("due", "being taken back"),
        ("overdue", _) => ("bad", "overdue"),
        ("lapsing", _) => ("due", "ends by itself"),
        (_, Some("revoked")) => ("still", "taken back"),
        (_, Some("expired")) => ("still", "expired"),
        (_, Some("returned")) => ("still", "given back"),
        _ => ("still", "ended"),
    };
    html! { span class=(format!("state {tone}")) { (word) } }
}

fn title(row: &LeaseRow) -> Markup {
    html! { strong { (shown(&row.connector)) } " " (shown(&row.reference)) }
}

fn whose(row: &LeaseRow) -> Markup {
    html! {
        @match &row.agent {
            Some(agent) => { (shown(agent)) @if let Some(owner) = &row.owner { span.quiet { " for " (shown(owner)) } } },
            None => span.quiet { "to look at the connector" },
        }
        @if let Some(grant) = &row.grant { span.quiet { " · grant " } a href=(format!("/grants/{grant}")) { (shown(grant)) } }
    }
}

fn lease_row(frame: &Frame, row: &LeaseRow) -> Markup {
    html! {
        li.row id=(row.id) {
            a.open href=(format!("/credentials/{}", row.id)) data-row id=(format!("open-{}", row.id)) { span.verb { (title(row)) } }
            div.facts {
                (state(row))
                span.kind { (shown(&row.access)) }
                @if row.state == "lent" { (left(row.until_ms, frame.now_ms)) }
                @if row.grant.is_some() { span { (used(row)) } }
            }
            p.who { (whose(row)) }
            @if let Some(task) = &row.task { p.task { (shown(task)) } }
            p.quiet { "By " (shown(&row.provider)) ", made " (ago(row.since_ms, frame.now_ms)) }
            (trouble(frame, row))
            @if frame.may_change && row.state == "lent" {
                p { a.button.deny href=(format!("/credentials/{}#take-back", row.id)) { "Take back" span.sr { " " (plain(&row.connector)) " of " (plain(row.grant.as_deref().unwrap_or("nobody"))) } } }
            }
        }
    }
}

fn used(row: &LeaseRow) -> String {
    match row.uses {
        0 => "not used yet".to_owned(),
        uses => count(usize::try_from(uses).unwrap_or(usize::MAX), "use", "uses"),
    }
}

/// What somebody should know of it who wants it gone.
fn trouble(frame: &Frame, row: &LeaseRow) -> Markup {
    html! {
        @if row.state == "overdue" {
            p.notice.grave {
                "Could not be taken back, " (count(usize::try_from(row.tries).unwrap_or(usize::MAX), "try", "tries")) " so far"
                @if let Some(fault) = &row.fault { ": " (shown(fault)) }
                ". "
                @match row.next_ms.filter(|next| *next > frame.now_ms) {
                    Some(next) => { "The next try: in " (lasting((next - frame.now_ms).div_ceil(1000) * 1000)) "." },
                    None => "The next try: now.",
                }
            }
        } @else if row.state != "ended" && row.standing {
            p.notice { "Lives on at its issuer when the task is over." }
        } @else if row.state != "ended" && !row.revocable {
            p.notice { "Its issuer takes nothing back: it is good until it ends by itself, " (at(row.until_ms)) "." }
        }
    }
}

fn standing(frame: &Frame, row: &StandingRow) -> Markup {
    html! {
        li.row {
            a.open href=(format!("/connectors/{}", row.connector)) data-row id=(format!("standing-{}", row.connector)) { span.verb { strong { (shown(&row.connector)) } " " (shown(&row.reference)) } }
            div.facts {
                span.state.due { "standing" }
                span { "By " (shown(&row.provider)) }
                @match row.since_ms { Some(since) => span { "the same since " (ago(since, frame.now_ms)) }, None => span.quiet { "how old it is can't be told" } }
            }
            @if row.old { p.notice { "It has not been changed for more than 90 days: change it at its issuer, and in its file or variable." } }
        }
    }
}

fn ended(frame: &Frame, row: &LeaseRow) -> Markup {
    html! {
        li.row id=(row.id) {
            a.open href=(format!("/credentials/{}", row.id)) data-row id=(format!("open-{}", row.id)) { span { (title(row)) } }
            p { (state(row)) " " @if let Some(ended) = row.ended_ms { (ago(ended, frame.now_ms)) } }
            p.quiet {
                @match &row.grant {
                    Some(grant) => { (used(row)) " · " a href=(format!("/grants/{grant}")) { (shown(grant)) } },
                    None => "to look at the connector",
                }
            }
        }
    }
}

/// One of them.
pub fn lease(frame: &Frame, row: &LeaseRow) -> Markup {
    let to = format!("/credentials/{}/revoke", row.id);
    let body = html! {
        p.crumb { a href="/credentials" { "Credentials" } }
        div #lease data-live data-follows="credentials" {
            h1 { (shown(&row.connector)) " " (state(row)) }
            p.lead { (shown(&row.reference)) }
            (trouble(frame, row))
            dl.facts {
                div { dt { "Connector" } dd { a href=(format!("/connectors/{}", row.connector)) { (shown(&row.connector)) } } }
                div { dt { "Provider" } dd { (shown(&row.provider)) } }
                div { dt { "Role" } dd { (shown(&row.reference)) ", to " (shown(&row.access)) } }
                div { dt { "Lent to" } dd { (whose(row)) } }
                @if let Some(task) = &row.task { div { dt { "Task" } dd { (shown(task)) } } }
                div { dt { "Made" } dd { (at(row.since_ms)) " · " (ago(row.since_ms, frame.now_ms)) } }
                @if row.standing {
                    div { dt { "Ends" } dd { "not by itself: it is only lent until " (at(row.until_ms)) } }
                } @else {
                    div { dt { "Ends" } dd { (at(row.until_ms)) @if row.state == "lent" { " · " (left(row.until_ms, frame.now_ms)) } } }
                }
                @if row.grant.is_some() { div { dt { "Calls" } dd { (used(row)) } } }
                div { dt { "Taken back" } dd { @if row.standing { "by nobody: it lives on" } @else if row.revocable { "by its issuer, when the task ends" } @else { "by nobody (" code { "revocable = false" } "): it ends by itself" } } }
                @if let Some(ended) = row.ended_ms { div { dt { "Ended" } dd { (at(ended)) " · " (ago(ended, frame.now_ms)) } } }
                @if let Some(why) = &row.why { div { dt { "Why" } dd { (shown(why)) } } }
                @if row.tries > 0 && row.state != "ended" { div { dt { "Tries" } dd { (row.tries) } } }
                div { dt { "Lease" } dd.mono { (row.id) } }
            }
        }
        @if frame.may_read { p { a href=(format!("/audit?id={}", row.id)) { "All that is on record of it" } } }
        @if frame.may_change && row.state == "lent" {
            h2 { "Take back" }
            form.answer #take-back method="post" action=(to) data-sign {
                p {
                    "Ends what runs with it, and calls in flight. The next call is lent another one; to end that too, "
                    @match &row.grant { Some(grant) => { "revoke " a href=(format!("/grants/{grant}")) { "grant " (shown(grant)) } "." }, None => "freeze the connector." }
                }
                label for="why" { "Why" }
                input #why name="reason" maxlength="500";
                (proof(frame, &to, "take-back"))
                button.deny type="submit" { "Take it back" }
            }
        }
    };
    page(frame, Section::Credentials, &format!("{} {}", row.connector, row.reference), Watch::Still, &body)
}
