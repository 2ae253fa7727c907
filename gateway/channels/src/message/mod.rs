//! What a message says. Persons get a few lines and one link; what agents and servers wrote is plain text in them, with everything
//! invisible written out.

mod chat;
mod mail;
mod webhook;

use bailiwick_policy::Band;
use bailiwick_schemas::text::cut;
use url::Url;

pub(crate) use chat::{ntfy, slack, teams};
pub(crate) use mail::mail;
pub(crate) use webhook::{trial, webhook};

use crate::event::{About, Event, EventKind, Finding, Question};

/// How much of a name, and of a purpose, is told, in characters.
const NAME: usize = 120;
const WORDS: usize = 300;

/// A message for persons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// One line.
    pub(crate) title: String,
    /// What it is about, a name and what it is for each.
    pub(crate) facts: Vec<(&'static str, String)>,
    /// Where somebody may look at it, and prove who they are.
    pub(crate) link: Url,
    /// How risky it is.
    pub(crate) band: Band,
}

impl Message {
    /// What is told of an event. `now_ms` is what the time left counts from.
    pub(crate) fn of(event: &Event, page: &Url, now_ms: u64) -> Self {
        match &event.about {
            About::Question(question) => Self::of_question(event, question, page, now_ms),
            About::Finding(finding) => Self::of_finding(event, finding, page),
        }
    }

    fn of_finding(event: &Event, found: &Finding, page: &Url) -> Self {
        let tool = found.tool.as_deref().unwrap_or("a tool that is not there");
        let follows = match found.action.as_str() {
            "deny" => "such calls are refused",
            "step_up" => "such calls wait for a person",
            _ => "it was only observed",
        };
        let title = format!("{}: {} at {}", cut(&found.detection, NAME), cut(&found.agent, NAME), cut(tool, NAME));
        let facts = vec![
            ("Found", cut(&found.why, WORDS)),
            ("Follows", follows.to_owned()),
            ("Grant", cut(&found.grant, NAME)),
            ("Call", cut(&found.call, NAME)),
        ];
        Self { title, facts, link: link(page, event), band: found.band }
    }

    fn of_question(event: &Event, about: &Question, page: &Url, now_ms: u64) -> Self {
        let (code, tool) = (cut(&about.code, NAME), cut(&about.tool, NAME));
        let title = match event.kind {
            EventKind::Requested => format!("{code}: {tool} ({}) waits for approval", about.band.as_str()),
            kind => format!("{code}: {tool} is {} ({kind})", cut(&about.state, NAME)),
        };
        let mut facts = vec![
            ("Agent", cut(&about.agent, NAME)),
            ("Grant", cut(&about.grant, NAME)),
            ("Task", cut(&about.purpose, WORDS)),
            ("Owner", cut(&about.owner, NAME)),
        ];
        if event.kind == EventKind::Requested {
            facts.push(("Asked for by", cut(&about.rules.join(", "), WORDS)));
            if about.quorum > 1 {
                facts.push(("Needs", format!("{} persons", about.quorum)));
            }
            facts.push(("Time left", left(about.approve_by_ms.saturating_sub(now_ms))));
        }
        if !about.decided_by.is_empty() {
            facts.push(("Decided by", cut(&about.decided_by.join(", "), WORDS)));
        }
        if let Some(reason) = &about.reason {
            facts.push(("Reason", cut(reason, WORDS)));
        }
        Self { title, facts, link: link(page, event), band: about.band }
    }

    /// One that says that messages arrive.
    pub(crate) fn trial(page: &Url) -> Self {
        let facts = vec![("Why", "an operator asked for a trial of this channel; nothing waits".to_owned())];
        Self { title: "Bailiwick: messages of this channel arrive".to_owned(), facts, link: page.clone(), band: Band::Low }
    }

    /// The facts as lines.
    pub(crate) fn lines(&self) -> String {
        let lines: Vec<String> = self.facts.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        lines.join("\n")
    }
}

/// Where the approval is shown, or the call on which something stood out. Ids are of letters, digits, `-` and `_`.
pub(crate) fn link(page: &Url, event: &Event) -> Url {
    let mut link = page.clone();
    let within = page.path().trim_end_matches('/');
    match &event.about {
        About::Question(question) => link.set_path(&format!("{within}/a/{}", question.id)),
        About::Finding(finding) => link.set_path(&format!("{within}/calls/{}", finding.call)),
    }
    link
}

fn left(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![expect(clippy::panic, reason = "tests")]

    use bailiwick_pipeline::ids::ApprovalId;
    use bailiwick_policy::Kind;

    use super::*;

    pub(crate) fn event(kind: EventKind) -> Event {
        Event {
            seq: 7,
            at_ms: 1_795_303_179_042,
            kind,
            about: About::Question(Box::new(Question {
                id: ApprovalId::new(1_795_303_179_042, [7; 10]),
                code: "K7-42".to_owned(),
                state: "pending".to_owned(),
                tool: "tickets__refund".to_owned(),
                kind: Kind::Write,
                band: Band::High,
                agent: "demo".to_owned(),
                grant: "demo-triage".to_owned(),
                owner: "ops@example.com".to_owned(),
                purpose: "triage *the* <inbox> & `more`\u{202e}\u{7}".to_owned(),
                rules: vec!["refund-needs-approver".to_owned()],
                quorum: 1,
                args_digest: "sha256:aa".to_owned(),
                binding: "sha256:bb".to_owned(),
                approve_by_ms: 1_795_303_779_042,
                execute_by_ms: None,
                decided_by: Vec::new(),
                reason: None,
            })),
        }
    }

    /// Something that stood out.
    pub(crate) fn finding() -> Event {
        let found = Finding {
            id: "detections-12".to_owned(),
            detection: "refunds".to_owned(),
            looks_for: "sum".to_owned(),
            action: "deny".to_owned(),
            band: Band::High,
            call: "01kxyz".to_owned(),
            tool: Some("tickets__refund".to_owned()),
            agent: "demo".to_owned(),
            grant: "demo-triage".to_owned(),
            why: "it would come to 61 (50 within 3600 s)".to_owned(),
        };
        Event { seq: 12, at_ms: 1_795_303_179_042, kind: EventKind::Detected, about: About::Finding(Box::new(found)) }
    }

    pub(crate) fn page() -> Url {
        Url::parse("http://localhost:8932").unwrap_or_else(|fault| panic!("{fault}"))
    }

    #[test]
    fn what_stood_out_is_told_with_what_follows_and_links_to_its_call() {
        let message = Message::of(&finding(), &page(), 0);
        assert_eq!((message.title.as_str(), message.band), ("refunds: demo at tickets__refund", Band::High));
        assert_eq!(message.link.as_str(), "http://localhost:8932/calls/01kxyz");
        let lines = message.lines();
        assert!(lines.contains("Found: it would come to 61 (50 within") && lines.contains("such calls are refused"), "{lines}");
        assert_eq!(finding().id(), "evt_detections-12");
        assert!(!Message::of(&finding(), &page(), 0).lines().contains("Time left"), "nobody has to decide anything");
    }

    #[test]
    fn a_message_names_the_call_and_links_to_it_and_shows_what_is_invisible() {
        let message = Message::of(&event(EventKind::Requested), &page(), 1_795_303_179_042);
        assert_eq!(message.title, "K7-42: tickets__refund (high) waits for approval");
        assert_eq!(
            message.link.as_str(),
            format!(
                "http://localhost:8932/a/{}",
                event(EventKind::Requested).about.question().map(|asked| asked.id.to_string()).unwrap_or_default()
            )
        );
        let lines = message.lines();
        assert!(lines.contains("Time left: 10 min"), "{lines}");
        assert!(lines.contains(r"\u{202e}\u{7}"), "{lines}");
        assert!(!lines.contains('\u{202e}') && !lines.contains('`'), "{lines}");
        let mut within = page();
        within.set_path("/bailiwick/");
        assert!(link(&within, &event(EventKind::Decided)).path().starts_with("/bailiwick/a/apr-"));
    }
}
