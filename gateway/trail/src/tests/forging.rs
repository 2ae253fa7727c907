//! J142: whatever is in a record's strings, it is one line of valid JSON that a terminal can show.

use proptest::prelude::*;

use super::*;
use crate::Start;

fn shown(text: &str) -> String {
    let place = Place::new();
    place.open().append(Stream::Calls, NOW, &serde_json::json!({ "tool": text, text: "name" })).unwrap();
    place.assert_intact();
    std::fs::read_to_string(&place.segments(Stream::Calls)[0]).unwrap()
}

#[test]
fn j142_line_breaks_and_escapes_stay_inside_the_record() {
    let line = shown("x\"}\n{\"v\":1,\"stream\":\"calls\"\r\u{1b}[2J\u{7f}\u{9b}31m\u{2028}\u{202e}\u{2066}\u{feff}\u{e0041}é");
    assert_eq!(line.matches('\n').count(), 1);
    let escaped = r#"x\"}\n{\"v\":1,\"stream\":\"calls\"\r\u001b[2J\u007f\u009b31m\u2028\u202e\u2066\ufeff\udb40\udc41é"#;
    assert!(line.contains(&format!("\"tool\":\"{escaped}\"")), "{line}");
}

#[derive(Serialize)]
struct WithRaw<'a> {
    args: &'a serde_json::value::RawValue,
}

#[test]
fn j142_raw_json_cannot_break_the_line() {
    let place = Place::new();
    let raw = "{\n \"a\" :\t\"\u{202e}\u{9b}x\",\r\n\"n\": 1e400}";
    let raw = serde_json::value::RawValue::from_string(raw.to_owned()).unwrap();
    place.open().append(Stream::Calls, NOW, &WithRaw { args: &raw }).unwrap();
    let text = std::fs::read_to_string(&place.segments(Stream::Calls)[0]).unwrap();
    assert!(text.contains(r#","args":{  "a" : "\u202e\u009bx",  "n": 1e400},"prev""#), "{text}");
    place.assert_intact();
}

#[test]
fn j142_a_megabyte_in_a_name_is_refused_and_nothing_else() {
    let place = Place::new();
    let trail = place.open();
    let record = serde_json::json!({ "tool": "\u{1b}".repeat(1 << 20) });
    assert!(matches!(trail.append(Stream::Calls, NOW, &record), Err(TrailFault::TooLarge)));
    trail.append(Stream::Calls, NOW, &serde_json::json!({ "tool": "fine" })).unwrap();
    drop(trail);
    assert_eq!(place.intact().streams[0].records, 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn j142_any_text_is_one_visible_line_and_read_back(text in proptest::collection::vec(any::<char>(), 0..40)) {
        let text: String = text.into_iter().collect();
        prop_assume!(!crate::escape::RESERVED.contains(&text.as_str()) && text != "tool");
        let place = Place::new();
        let trail = place.open();
        trail.append(Stream::Calls, NOW, &serde_json::json!({ "tool": &text, &text: "name" })).unwrap();
        let record = trail.reader().records(Stream::Calls, Start::First).unwrap().next().unwrap().unwrap();
        prop_assert_eq!(record.text("tool"), Some(text.as_str()));
        prop_assert_eq!(record.text(&text), Some("name"));
        prop_assert!(!record.line.chars().any(char::is_control));
    }
}
