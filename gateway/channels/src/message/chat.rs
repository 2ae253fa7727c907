//! Messages for chats and phones. Each says what it says as plain text, in the form that its service takes.

use bailiwick_policy::Band;
use serde_json::{Value, json};

use super::Message;

/// For an incoming webhook of Slack: plain text throughout, and the one link is ours.
pub(crate) fn slack(message: &Message) -> Value {
    // What notifications show. Slack reads these three everywhere, plain or not.
    let fallback = message.title.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    json!({
        "text": fallback,
        "mrkdwn": false,
        "unfurl_links": false,
        "blocks": [
            { "type": "header", "text": { "type": "plain_text", "emoji": false, "text": short(&message.title, 150) } },
            { "type": "section", "text": { "type": "plain_text", "emoji": false, "text": short(&message.lines(), 3000) } },
            { "type": "section", "text": { "type": "mrkdwn", "text": format!("<{}|Open it in the console>", message.link) } },
        ],
    })
}

/// For a workflow of Teams: an adaptive card. Runs of rich text are plain, other than blocks of text, which know Markdown.
pub(crate) fn teams(message: &Message) -> Value {
    let run = |text: String, is_bold: bool| {
        let weight = if is_bold { "Bolder" } else { "Default" };
        json!({ "type": "RichTextBlock", "inlines": [{ "type": "TextRun", "text": text, "weight": weight }] })
    };
    let mut body = vec![run(message.title.clone(), true)];
    body.extend(message.facts.iter().map(|(name, value)| run(format!("{name}: {value}"), false)));
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": body,
                "actions": [{ "type": "Action.OpenUrl", "title": "Open it in the console", "url": message.link.as_str() }],
            },
        }],
    })
}

/// For ntfy: it shows the page, and asks nothing of it by itself.
pub(crate) fn ntfy(message: &Message, topic: &str) -> Value {
    let priority = match message.band {
        Band::Critical => 5,
        Band::High => 4,
        Band::Medium | Band::Low => 3,
    };
    json!({
        "topic": topic,
        "title": message.title,
        "message": message.lines(),
        "priority": priority,
        "tags": ["lock"],
        "click": message.link.as_str(),
        "actions": [{ "action": "view", "label": "Open", "url": message.link.as_str() }],
    })
}

fn short(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::tests, *};
    use crate::event::EventKind;

    fn message() -> Message {
        Message::of(&tests::event(EventKind::Requested), &tests::page(), 1_795_303_179_042)
    }

    #[test]
    fn slack_gets_no_markup_but_our_link() {
        let told = slack(&message());
        assert_eq!(told.pointer("/text"), Some(&json!("K7-42: tickets__refund (high) waits for approval")));
        let kinds = ["/blocks/0/text/type", "/blocks/1/text/type", "/blocks/2/text/type"].map(|at| told.pointer(at).cloned());
        assert_eq!(kinds, [Some(json!("plain_text")), Some(json!("plain_text")), Some(json!("mrkdwn"))]);
        let link = told.pointer("/blocks/2/text/text").and_then(Value::as_str).unwrap_or_default();
        assert!(link.starts_with("<http://localhost:8932/a/apr-") && link.matches('<').count() == 1, "{link}");
        let odd = Message { title: "<!channel> & co".to_owned(), ..message() };
        assert_eq!(slack(&odd).pointer("/text"), Some(&json!("&lt;!channel&gt; &amp; co")));
    }

    #[test]
    fn teams_gets_runs_and_one_button() {
        let told = teams(&message());
        let card = told.pointer("/attachments/0/content").cloned().unwrap_or_default();
        let body = card.get("body").and_then(Value::as_array).cloned().unwrap_or_default();
        assert_eq!(body.len(), message().facts.len() + 1);
        assert!(body.iter().all(|block| block.get("type") == Some(&json!("RichTextBlock"))), "{card}");
        assert_eq!(card.pointer("/actions/0/type"), Some(&json!("Action.OpenUrl")));
    }

    #[test]
    fn a_phone_is_shown_the_page_and_asks_for_nothing_by_itself() {
        let told = ntfy(&message(), "approvals");
        assert_eq!(told.pointer("/actions/0/action"), Some(&json!("view")));
        assert_eq!(told.get("priority"), Some(&json!(4)));
        assert_eq!(told.get("topic"), Some(&json!("approvals")));
    }
}
