//! The strict reading, against a suite and against `serde_json`.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::time::{Duration, Instant};

use proptest::prelude::{Strategy, any, prop, proptest};
use serde_json::json;

use super::*;
use crate::vectors;

fn check(text: impl AsRef<[u8]>) -> Result<(), JsonFault> {
    super::check(text.as_ref(), Limits::MESSAGE)
}

/// What the suite leaves to us: these are accepted, all others refused.
const ACCEPTED: [&str; 10] = [
    "i_number_double_huge_neg_exp.json",
    "i_number_huge_exp.json",
    "i_number_neg_int_huge_exp.json",
    "i_number_pos_double_huge_exp.json",
    "i_number_real_neg_overflow.json",
    "i_number_real_pos_overflow.json",
    "i_number_real_underflow.json",
    "i_number_too_big_neg_int.json",
    "i_number_too_big_pos_int.json",
    "i_number_very_big_negative_int.json",
];

/// Correct by the grammar, refused here.
const DUPLICATES: [&str; 2] = ["y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json"];
const NUL_KEY: &str = "y_object_escaped_null_in_key.json";

#[test]
fn the_parsing_suite_is_decided_as_listed() {
    let Some(folder) = vectors::folder("json-parsing") else {
        return;
    };
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        seen += 1;
        let verdict = check(fs::read(&path).unwrap());
        let expected = match name.as_bytes().first() {
            Some(b'y') => !DUPLICATES.contains(&name) && name != NUL_KEY,
            Some(b'i') => ACCEPTED.contains(&name),
            _ => false,
        };
        assert_eq!(verdict.is_ok(), expected, "{name}: {verdict:?}");
    }
    assert!(seen > 300, "only {seen} vectors");
}

#[test]
fn duplicates_are_found_at_any_depth_and_however_written() {
    for text in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, r#"[{"x":{"a":1,"b":{"c":1},"a":2}}]"#, r#"{"":1,"":2}"#] {
        assert!(matches!(check(text), Err(JsonFault::DuplicateKey { .. })), "{text}");
    }
    for text in [r#"{"a":{"a":1},"b":{"a":1}}"#, r#"{"a":1,"A":2}"#, r#"[{"a":1},{"a":1}]"#] {
        assert_eq!(check(text), Ok(()), "{text}");
    }
    let mut keys: Vec<String> = (0..40).map(|i| format!("\"k{i}\":0")).collect();
    assert_eq!(check(format!("{{{}}}", keys.join(","))), Ok(()));
    keys.push("\"k1\":0".to_owned());
    assert!(matches!(check(format!("{{{}}}", keys.join(","))), Err(JsonFault::DuplicateKey { .. })));
}

#[test]
fn keys_that_another_parser_would_read_otherwise_are_refused() {
    for key in [r"name\u0000", "$serde_json::private::Number", r"\u0024serde_json::private::RawValue"] {
        let text = format!(r#"{{"a":[{{"{key}":"1"}}]}}"#);
        assert!(matches!(check(&text), Err(JsonFault::ForbiddenKey { .. })), "{text}");
    }
    assert_eq!(check(r#"{"a":"$serde_json::private::Number","b":"\u0000"}"#), Ok(()));
}

#[test]
fn lone_surrogates_and_marks_are_refused() {
    for text in [r#""\ud800""#, r#""\udc00""#, r#""\ud800\u0041""#, r#""\ud800\ud800""#, r#"{"\ud800":1}"#] {
        assert!(matches!(check(text), Err(JsonFault::LoneSurrogate { .. })), "{text}");
    }
    assert_eq!(check(r#""\ud834\udd1e""#), Ok(()));
    assert!(matches!(check("\u{feff}{}"), Err(JsonFault::NotUtf8 { .. })));
    assert!(matches!(check(b"\"\xff\""), Err(JsonFault::NotUtf8 { offset: 1 })));
}

#[test]
fn size_depth_and_numbers_are_bounded() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = |depth| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        assert_eq!(check(nested(64)), Ok(()));
        assert!(matches!(check(nested(65)), Err(JsonFault::TooDeep { limit: 64, .. })));
        assert!(matches!(check(open.repeat(100_000)), Err(JsonFault::TooDeep { .. })));
        let deep = Limits { depth: 200_000, ..Limits::MESSAGE };
        assert_eq!(super::check(nested(100_000).as_bytes(), deep), Ok(()));
    }
    let large = format!("\"{}\"", "a".repeat(Limits::MESSAGE.bytes - 2));
    assert_eq!(check(&large), Ok(()));
    assert!(matches!(check(format!("{large} ")), Err(JsonFault::TooLarge { .. })));
    assert_eq!(check("1".repeat(NUMBER_BYTES)), Ok(()));
    assert!(matches!(check("1".repeat(NUMBER_BYTES + 1)), Err(JsonFault::LongNumber { offset: 0 })));
}

#[test]
fn a_hundred_thousand_keys_are_not_quadratic() {
    let keys: Vec<String> = (0..100_000).map(|i| format!("\"k\\u0061{i}\":0")).collect();
    let start = Instant::now();
    assert_eq!(check(format!("{{{}}}", keys.join(","))), Ok(()));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn what_is_wrong_is_said_without_echoing_it() {
    let long = "\\u001b".repeat(500);
    let fault = check(format!(r#"{{"{long}":1,"{long}":2}}"#)).unwrap_err().to_string();
    assert!(fault.len() < 700 && !fault.contains('\u{1b}'), "{fault}");
    assert_eq!(check("[1,]").unwrap_err().to_string(), "not JSON at byte 3, expected a value: send exact RFC 8259 JSON",);
}

#[test]
fn fields_are_given_as_written() {
    let split = fields(r#" {"a": 1.0e2 , "\u0062":{"c": [ ]}} "#).unwrap();
    let split: Vec<_> = split.iter().map(|(key, value)| (key.as_ref(), value.get())).collect();
    assert_eq!(split, [("a", "1.0e2"), ("b", r#"{"c": [ ]}"#)]);
    for text in ["[]", "1", "", "{} {}"] {
        assert_eq!(fields(text).unwrap_err(), JsonFault::NotAnObject, "{text}");
    }
}

#[test]
fn numbers_keep_their_text() {
    for number in ["9007199254740993", "123456789012345678901234567890", "1.0", "-0", "0.1000000000000000055511151231257827"] {
        assert_eq!(parse(number.as_bytes(), Limits::MESSAGE).unwrap().to_string(), number);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_judged_as_serde_json_does_but_stricter(text in prop::collection::vec(any::<u8>(), 0..64)) {
        let ours = check(&text);
        assert!(ours.is_err() || serde_json::from_slice::<Value>(&text).is_ok());
    }

    #[test]
    fn json_like_text_is_judged_alike(text in r#"[\[\]{}:,"0-9a\\u.eE+ -]{0,24}"#) {
        let ours = check(&text);
        let theirs = serde_json::from_str::<Value>(&text);
        let stricter = matches!(ours, Err(JsonFault::DuplicateKey { .. } | JsonFault::ForbiddenKey { .. }));
        assert!(stricter || ours.is_ok() == theirs.is_ok(), "{ours:?} {theirs:?}");
    }

    #[test]
    fn written_values_are_accepted(value in value()) {
        assert_eq!(parse(value.to_string().as_bytes(), Limits::MESSAGE), Ok(value));
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = proptest::prop_oneof![
        any::<i64>().prop_map(|n| json!(n)),
        "[^\u{0}]{0,8}".prop_map(|s| json!(s)),
        any::<bool>().prop_map(|b| json!(b))
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        proptest::prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::btree_map("[^\u{0}$]{0,6}", inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn an_outline_has_the_members_as_far_down_as_asked() {
    let text = r#" {"a" : {"b":[1,{"c":2},"x"],"d":{"e":null}} ,"\u0066":-1.50e3,"g":[{},{"h":1}],"i":"]}\"{"} "#;
    let of = |levels| outline(text.as_bytes(), Limits::MESSAGE, levels).unwrap();
    let list = |outline: &Outline<'_>| -> Vec<(String, String)> {
        outline.members().map(|member| (member.key.to_string(), member.value.to_owned())).collect()
    };
    let outer =
        [("a", r#"{"b":[1,{"c":2},"x"],"d":{"e":null}}"#), ("f", "-1.50e3"), ("g", r#"[{},{"h":1}]"#), ("i", r#""]}\"{""#)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(list(&of(0)), []);
    for levels in 1..4 {
        let outline = of(levels);
        assert_eq!(list(&outline), outer, "{levels}");
        assert!(outline.is_object() && outline.text() == text);
        assert_eq!(outline.values(), 15);
        assert_eq!(outline.member("g").unwrap().items, Items { count: 2, objects: 2 });
        let inner: Vec<_> =
            outline.members_of(outline.member("a").unwrap()).map(|member| (member.key.as_ref(), member.value)).collect();
        let expected = [("b", r#"[1,{"c":2},"x"]"#), ("d", r#"{"e":null}"#)];
        assert_eq!(inner, if levels == 1 { &[][..] } else { &expected[..] });
    }
    let three = of(3);
    let a = three.member("a").unwrap();
    let (b, d) = (three.members_of(a).next().unwrap(), three.members_of(a).nth(1).unwrap());
    assert_eq!((b.items, b.is_array(), d.is_object()), (Items { count: 3, objects: 1 }, true, true));
    assert_eq!(three.members_of(d).map(|member| member.value).collect::<Vec<_>>(), ["null"]);
    assert_eq!(three.members_of(b).count(), 0, "what is in an array is nobody's member");
    for (text, is_object, values) in [("[{\"a\":1}]", false, 3), ("7", false, 1), (" {}", true, 1)] {
        let outline = outline(text.as_bytes(), Limits::MESSAGE, 9).unwrap();
        assert_eq!((outline.is_object(), outline.members().count(), outline.values()), (is_object, 0, values), "{text}");
    }
}

#[test]
fn long_strings_end_where_they_end() {
    for before in 0..100 {
        for stop in ["\"", "\\n\"", "\u{e9}\""] {
            let text = format!("{{\"k\":\"{}{stop}}}", "x".repeat(before));
            let outline = outline(text.as_bytes(), Limits::MESSAGE, 1).unwrap();
            assert_eq!(outline.member("k").unwrap().value, format!("\"{}{stop}", "x".repeat(before)));
        }
        for bad in ["\u{1f}\"", "\n\"", "\\x\"", ""] {
            assert!(check(format!("\"{}{bad}", "x".repeat(before))).is_err(), "{before} {bad:?}");
        }
    }
}

proptest! {
    /// What the outline says is what another reader finds.
    #[test]
    fn outlines_agree_with_the_reader_of_fields(value in value()) {
        let text = serde_json::to_string(&value).unwrap();
        if let Ok(outline) = outline(text.as_bytes(), Limits::MESSAGE, 1)
            && outline.is_object()
        {
            let found: Vec<_> = outline.members().map(|member| (member.key.clone(), member.value)).collect();
            let expected: Vec<_> = fields(&text).unwrap().into_iter().map(|(key, value)| (key, value.get())).collect();
            assert_eq!(found, expected);
        }
    }
}
