//! The body of a webhook: for programs.

use bailiwick_schemas::time::rfc3339;
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use url::Url;

use super::link;
use crate::event::{About, Event};

#[derive(Serialize)]
struct Body<'a, D> {
    r#type: &'a str,
    timestamp: String,
    data: D,
}

#[derive(Serialize)]
struct Data<'a> {
    #[serde(flatten)]
    about: &'a About,
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a RawValue>,
}

/// What is told of an event, with the arguments as they would be sent where they go with it.
pub(crate) fn webhook(event: &Event, page: &Url, arguments: Option<&str>) -> Result<Vec<u8>, serde_json::Error> {
    // As they are written: their digest is over what they say, number texts included.
    let arguments = arguments.map(|text| RawValue::from_string(text.to_owned())).transpose()?;
    let link = link(page, event);
    let data = Data { about: &event.about, url: link.as_str(), arguments: arguments.as_deref() };
    serde_json::to_vec(&Body { r#type: event.kind.as_str(), timestamp: rfc3339(event.at_ms), data })
}

/// One that says that messages arrive.
pub(crate) fn trial(page: &Url, now_ms: u64) -> Result<Vec<u8>, serde_json::Error> {
    let data = Value::from_iter([("url", page.as_str())]);
    serde_json::to_vec(&Body { r#type: "channel.trial", timestamp: rfc3339(now_ms), data })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::{super::tests, *};
    use crate::event::EventKind;

    #[test]
    fn what_stood_out_has_a_type_of_its_own() {
        let text = String::from_utf8(webhook(&tests::finding(), &tests::page(), None).unwrap()).unwrap();
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&read["type"], &read["data"]["detection"]), (&Value::from("detection.fired"), &Value::from("refunds")));
        assert_eq!(read["data"]["url"], "http://localhost:8932/calls/01kxyz");
        assert!(read["data"]["binding"].is_null() && read["data"]["action"] == "deny", "{text}");
    }

    #[test]
    fn arguments_go_as_they_are_written_and_only_where_they_are_given() {
        let event = tests::event(EventKind::Requested);
        let with = webhook(&event, &tests::page(), Some(r#"{"amount":1.0e2,"b":9007199254740993}"#)).unwrap();
        let text = String::from_utf8(with).unwrap();
        assert!(text.contains(r#""arguments":{"amount":1.0e2,"b":9007199254740993}"#), "{text}");
        assert!(
            text.starts_with(r#"{"type":"approval.requested","timestamp":"2026-11-21T23:19:39.042Z","data":{"id":"apr-"#),
            "{text}"
        );
        let without = String::from_utf8(webhook(&event, &tests::page(), None).unwrap()).unwrap();
        assert!(!without.contains("arguments") && without.contains(r#""args_digest":"sha256:aa""#), "{without}");
        assert!(webhook(&event, &tests::page(), Some("{\"a\":")).is_err());
    }
}
