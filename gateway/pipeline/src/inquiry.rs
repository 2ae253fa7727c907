//! What the gateway itself asks at an agent's client while a call of it waits for a person: a page to look at, or, where policy asks for no
//! more than that, the word of the agent's user.
//!
//! INVARIANT: who opens a page has decided nothing. Whoever sits at the client is the agent's user at best, and its program at worst; only
//! where policy says that this is enough does what comes from there count, and then as that.

use bailiwick_schemas::{json, names::Feature};
use serde_json::{Value, json};

use crate::{
    gates::is_hidden,
    ids::ApprovalId,
    ports::{Ticket, UserWord},
    received::{Asked, Received},
};

/// The key that it is asked under.
pub(crate) const KEY: &str = "approval";

/// More of the arguments than that is nothing to decide in a form.
const SHOWN_CHARS: usize = 1500;

/// A question of the gateway's own.
#[derive(Debug, Clone)]
pub struct Inquiry {
    /// The approval that it is about.
    pub approval: ApprovalId,
    /// The parameters of `elicitation/create`, as the newest version has them: a JSON object.
    pub params: Value,
    /// Whether it is a page: who was shown it once is not shown it again.
    pub is_page: bool,
}

impl Inquiry {
    /// Where the approval stands, to be looked at. It takes a login there, and what is done here decides nothing.
    pub(crate) fn page(ticket: &Ticket, tool: &str, url: &str) -> Self {
        let message = format!(
            "{} waits for approval {}. This page shows where that stands; to open it approves nothing.",
            plain(tool),
            ticket.code
        );
        Self { approval: ticket.id.clone(), params: json!({"mode": "url", "message": message, "url": url}), is_page: true }
    }

    /// The word of the agent's user. None where not all that would be done can be shown.
    pub(crate) fn form(ticket: &Ticket, tool: &str, received: &Received) -> Option<Self> {
        let Asked::Call { arguments, .. } = received.asked() else { return None };
        let arguments = std::str::from_utf8(arguments).ok()?;
        if arguments.chars().count() > SHOWN_CHARS {
            return None;
        }
        let message = format!("May {} run once with exactly these arguments? {}", plain(tool), plain(arguments));
        let schema = json!({
            "type": "object",
            "properties": {
                "approve": {"type": "boolean", "title": "Approve", "description": "Whether it may run"},
                "code": {"type": "string", "title": "Code", "description": format!("Type {} to approve", ticket.code), "maxLength": 16},
            },
            "required": ["approve"],
        });
        let params = json!({"mode": "form", "message": message, "requestedSchema": schema});
        Some(Self { approval: ticket.id.clone(), params, is_page: false })
    }

    /// The same as a member of `inputRequests`.
    pub(crate) fn requests(self) -> Value {
        json!({KEY: {"method": "elicitation/create", "params": self.params}})
    }
}

/// What the answer to a form says. None where it says neither yes nor no: a client that answers by itself does not.
pub(crate) fn word_of(answer: &Value, code: &str) -> Option<UserWord> {
    if answer.get("action").and_then(Value::as_str) != Some("accept") {
        return None;
    }
    let content = answer.get("content")?;
    let typed = content.get("code").and_then(Value::as_str).unwrap_or_default();
    match content.get("approve").and_then(Value::as_bool)? {
        true if typed.trim().eq_ignore_ascii_case(code) => Some(UserWord::Approves),
        true => None,
        false => Some(UserWord::Refuses),
    }
}

/// In which ways the sender can be asked, as it declares (MCP `client/elicitation`; older agents say `{}` and mean forms).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ways {
    pub(crate) form: bool,
    pub(crate) page: bool,
}

impl Ways {
    pub(crate) fn of(received: &Received) -> Self {
        let declared = received.origin().capabilities.iter().find(|(feature, _)| *feature == Feature::Elicitation);
        let Some(fields) = declared.and_then(|(_, text)| json::fields(text).ok()) else {
            return Self { form: false, page: false };
        };
        let has = |key: &str| fields.iter().any(|(name, value)| name == key && value.get().starts_with('{'));
        Self { form: has("form") || !has("url"), page: has("url") }
    }
}

/// Nothing in it can look like something else: what can't be seen is written as an escape.
fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_word_with_the_code_is_a_yes() {
        let said = |answer: Value| word_of(&answer, "K7-42");
        let accept = |content: Value| json!({"action": "accept", "content": content});
        assert_eq!(said(accept(json!({"approve": true, "code": " k7-42 "}))), Some(UserWord::Approves));
        assert_eq!(said(accept(json!({"approve": false}))), Some(UserWord::Refuses));
        for neither in [
            json!({"action": "accept"}),
            accept(json!({})),
            accept(json!({"approve": true})),
            accept(json!({"approve": true, "code": "K7-43"})),
            accept(json!({"approve": "true", "code": "K7-42"})),
            json!({"action": "decline", "content": {"approve": true, "code": "K7-42"}}),
            json!({"action": "cancel"}),
            json!({"content": {"approve": false}}),
            Value::Null,
        ] {
            assert_eq!(said(neither.clone()), None, "{neither}");
        }
    }

    #[test]
    fn what_can_not_be_seen_is_shown() {
        assert_eq!(plain("a\u{202e}b\u{200b}c\n\u{e4}"), "a\\u{202e}b\\u{200b}c\\u{a}\u{e4}");
    }
}
