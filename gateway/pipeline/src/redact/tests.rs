#![expect(clippy::unwrap_used, clippy::format_collect, reason = "a test may fail by panicking, and need not be fast")]

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};
use serde_json::json;

use super::*;

const SECRET: &str = "s3cr3t/+value-42";

fn needles() -> Needles {
    Needles::of(&[SecretString::from(SECRET)]).unwrap()
}

#[test]
fn every_form_is_found() {
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    let forms = [
        SECRET.to_owned(),
        SECRET.chars().rev().collect(),
        hex.to_uppercase(),
        hex,
        "s3cr3t%2F%2Bvalue-42".to_owned(),
        "s3cr3t%2f%2bvalue-42".to_owned(),
        SECRET.bytes().map(|byte| format!("%{byte:02X}")).collect(),
        r"s3cr3t\u002f\u002bvalue\u002d42".to_owned(),
        r"s3cr3t\/+value-42".to_owned(),
    ];
    for form in forms {
        assert_eq!(needles().redact(&format!("<{form}>")), ("<[redacted]>".to_owned(), 1), "{form}");
        assert!(needles().found_in(form.as_bytes()));
    }
}

/// Of base64 stays what belongs to the neighbours, and no digit more.
#[test]
fn base64_is_taken_out_to_the_last_digit() {
    for before in ["", "a", "ab", "abc"] {
        for after in ["", "x", "xy"] {
            let whole = format!("{before}{SECRET}{after}");
            let own = (before.len() * 8).div_ceil(6)..(before.len() + SECRET.len()) * 8 / 6;
            for form in [STANDARD.encode(&whole), URL_SAFE_NO_PAD.encode(&whole)] {
                let (head, tail) = (form.get(..own.start).unwrap(), form.get(own.end..).unwrap());
                assert_eq!(needles().redact(&form), (format!("{head}[redacted]{tail}"), 1), "{form}");
            }
        }
    }
}

/// Servers change the case of headers and of hex digits: no form depends on it.
#[test]
fn case_hides_nothing() {
    let needles = Needles::of(&[SecretString::from("Ab/Cd\"Ef-9")]).unwrap();
    for form in [
        "Ab/Cd\"Ef-9",
        "AB/CD\"EF-9",
        "Ab%2FCd%22Ef-9",
        "Ab%2fCd%22Ef-9",
        r#"Ab/Cd\"Ef-9"#,
        "41622f43642245662d39",
        "41622F43642245662D39",
    ] {
        assert_eq!(needles.redact(form), ("[redacted]".to_owned(), 1), "{form}");
    }
}

proptest! {
    /// Whatever stands before and after the secret, its base64 is found.
    #[test]
    fn base64_is_found_wherever_the_secret_stands(secret in "[ -~]{8,30}", before in "[ -~]{0,7}", after in "[ -~]{0,7}") {
        let needles = Needles::of(&[SecretString::from(secret.as_str())]).unwrap();
        let whole = format!("{before}{secret}{after}");
        for text in [STANDARD.encode(&whole), URL_SAFE_NO_PAD.encode(&whole)] {
            prop_assert!(needles.found_in(text.as_bytes()));
            let (clean, found) = needles.redact(&text);
            prop_assert!(found >= 1 && !needles.found_in(clean.as_bytes()));
        }
        prop_assert_eq!(needles.redact(&whole).0.contains(&secret), false);
    }
}

#[test]
fn ordinary_text_is_left_alone() {
    assert_eq!(needles().redact("s3cr3t value"), ("s3cr3t value".to_owned(), 0));
}

#[test]
fn values_are_cleaned_in_strings_and_keys_and_keep_the_rest() {
    let mut value = json!({"a": [format!("x{SECRET}y{SECRET}")], SECRET: 1, "n": 1.50, "ok": true});
    assert_eq!(needles().redact_value(&mut value), 3);
    assert_eq!(value.to_string(), r#"{"a":["x[redacted]y[redacted]"],"[redacted]":1,"n":1.5,"ok":true}"#);
}

#[test]
fn a_short_secret_is_refused() {
    assert_eq!(Needles::of(&[SecretString::from("1234567")]).unwrap_err(), NeedleFault(7));
    assert!(Needles::of(&[SecretString::from("12345678")]).is_ok());
}

#[test]
fn a_debug_print_shows_nothing() {
    assert_eq!(format!("{:?}", needles()), "Needles");
}

/// What a server can write a text down in.
fn encoded(way: usize, text: &str) -> String {
    let hex = || text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    match way {
        0 => STANDARD.encode(text),
        1 => URL_SAFE_NO_PAD.encode(format!("x{text}")),
        2 => format!("{}\nzz", lines(&STANDARD.encode(format!("ab{text}tail of it")))),
        3 => hex(),
        4 => hex().to_uppercase(),
        5 => text.bytes().map(|byte| format!("%{byte:02x}")).collect(),
        6 => serde_json::Value::from(text).to_string(),
        7 => text.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect(),
        8 => text.chars().map(|c| format!("&#{};", u32::from(c))).collect(),
        9 => text.chars().map(|c| format!("&#x{:X};", u32::from(c))).collect(),
        10 => text.bytes().map(|byte| format!("\\x{byte:02x}")).collect(),
        _ => text.to_owned(),
    }
}

const WAYS: usize = 12;

/// As in mail: a line has so many digits.
fn lines(text: &str) -> String {
    let lines: Vec<&str> = text.as_bytes().chunks(16).map(|line| std::str::from_utf8(line).unwrap()).collect();
    lines.join("\r\n")
}

#[test]
fn one_encoding_in_another_hides_nothing() {
    for outer in 0..WAYS {
        for inner in 0..WAYS {
            let text = format!("see: {} (end)", encoded(outer, &encoded(inner, SECRET)));
            assert!(needles().found_in(text.as_bytes()), "{inner} in {outer}: {text}");
            let (clean, found) = needles().redact(&text);
            assert!(found > 0 && !needles().found_in(clean.as_bytes()), "{inner} in {outer}: {clean}");
            let mut value = json!({"content": [{"type": "text", "text": text}]});
            assert!(needles().may_be_in(value.to_string().as_bytes()), "{inner} in {outer}");
            assert!(
                needles().redact_value(&mut value) > 0 && !needles().found_in(value.to_string().as_bytes()),
                "{inner} in {outer}"
            );
        }
    }
}

#[test]
fn bytes_in_base64_are_looked_into_and_stay_base64() {
    let png = [&b"\x89PNG\r\n\x1a\n\0\0"[..], SECRET.as_bytes(), &[0xff, 0xfe, 0]].concat();
    let wide: Vec<u8> = SECRET.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for bytes in [png, wide, STANDARD.encode(SECRET).into_bytes()] {
        let data = STANDARD.encode(&bytes);
        let mut value = json!({"type": "image", "data": data, "mimeType": "image/png"});
        assert!(needles().may_be_in(value.to_string().as_bytes()));
        assert!(needles().redact_value(&mut value) > 0);
        assert_eq!(STANDARD.decode(value.get("data").unwrap().as_str().unwrap()).unwrap(), b"[redacted]", "{value}");
    }
}

#[test]
fn a_secret_in_pieces_is_put_together() {
    let whole = [SECRET.to_owned(), STANDARD.encode(SECRET), SECRET.chars().rev().collect()];
    for form in whole {
        for at in 1..form.len() - 1 {
            let (a, b) = form.split_at(at);
            for mut value in [
                json!({"content": [{"type": "text", "text": format!("it is {a}")}, {"type": "text", "text": format!("{b} so")}]}),
                json!({"content": [{"type": "text", "text": a}, {"data": "AAAA", "type": "image"}, {"type": "text", "text": b}]}),
                json!([a, b]),
                json!({"x": {a: b}}),
                json!({"a": a, "b": [b]}),
                json!({"message": a, "data": {"z": b}}),
            ] {
                let text = value.to_string();
                assert!(needles().may_be_in(text.as_bytes()), "{text}");
                assert!(needles().redact_value(&mut value) > 0, "{text}");
                let clean = value.to_string();
                // Of base64 stays what its neighbours have part in.
                assert!(a.len().min(b.len()) < 4 || !(clean.contains(a) || clean.contains(b)), "{clean}");
            }
        }
    }
}

#[test]
fn what_is_said_one_after_the_other_is_put_together() {
    for at in 1..SECRET.len() - 1 {
        let (a, b) = SECRET.split_at(at);
        let mut said = Window::default();
        let mut say = |mut value: Value| {
            let found = needles().redact_after(&mut value, &mut said);
            (found > 0, value)
        };
        assert!(!say(json!({"level": "info", "logger": "x", "data": format!("one {a}")})).0);
        let (is_found, value) = say(json!({"level": "info", "logger": "x", "data": format!("{b} two")}));
        assert!(is_found && !value.to_string().contains("two"), "{value}");
        assert!(!say(json!({"level": "info", "data": "three"})).0, "told once");
    }
}

#[test]
fn a_window_does_not_grow() {
    let (needles, mut said) = (needles(), Window::default());
    for at in 0..200 {
        needles.redact_after(&mut json!({format!("k{at}"): "x".repeat(10_000)}), &mut said);
    }
    assert!(said.size() < 64 * 200, "{}", said.size());
}

/// Whoever sends what takes long to be looked into has it withheld, and soon.
#[test]
fn what_can_not_be_looked_into_in_time_counts_as_found() {
    let nested = (0..3).fold("%25".repeat(20_000), |text, _| STANDARD.encode(text));
    let began = std::time::Instant::now();
    let _either = needles().redact(&nested);
    assert!(began.elapsed() < std::time::Duration::from_secs(20));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Ordinary text is what it was, to the last byte.
    #[test]
    fn other_text_is_left_alone(text in "[ -~\n]{0,400}") {
        let needles = needles();
        let mut value = json!({"text": text, "list": [text, 1.5, null]});
        let before = value.clone();
        prop_assert_eq!(needles.redact(&text), (text, 0));
        prop_assert_eq!(needles.redact_value(&mut value), 0);
        prop_assert_eq!(value, before);
    }

    /// Whatever the secret, however it is encoded twice and wherever it is cut: it is not handed on.
    #[test]
    fn no_way_of_writing_it_gets_through(
        secret in "[!-~]{12,60}", outer in 0..WAYS, inner in 0..WAYS, before in "[ -$'-Z_-~]{0,9}", after in "[ -$'-Z_-~]{0,9}",
    ) {
        let needles = Needles::of(&[SecretString::from(secret.as_str())]).unwrap();
        let text = encoded(outer, &format!("{before}{}{after}", encoded(inner, &secret)));
        prop_assert!(needles.may_be_in(json!({"t": text}).to_string().as_bytes()), "{}", text);
        let mut value = json!({"t": text});
        prop_assert!(needles.redact_value(&mut value) > 0, "{}", text);
        prop_assert!(!needles.found_in(value.to_string().as_bytes()), "{}", value);
    }
}

/// What a piece is followed by, or follows, is put together however little of it there is; the rest is not even read.
#[test]
fn what_is_said_in_halves_is_caught_whichever_half_has_the_piece() {
    let needles = needles();
    let message = |text: &str| bytes::Bytes::from(json!({"data": text}).to_string());
    for at in 1..SECRET.len() {
        let (head, tail) = SECRET.split_at(at);
        let mut said = Window::default();
        let mut say = |text: &str| {
            let text = message(text);
            if said.lets_pass(&text, &needles) {
                return false;
            }
            let mut value: Value = serde_json::from_slice(&text).unwrap();
            needles.redact_after(&mut value, &mut said) > 0
        };
        assert!(!say("on my way") && !say(&format!("it is {head}")));
        assert!(say(&format!("{tail} it was")), "cut at {at}");
        assert!(!say("done"));
    }
}
