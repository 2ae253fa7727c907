#![expect(clippy::unwrap_used, clippy::format_collect, reason = "a test may fail by panicking, and need not be fast")]
//! What a server can do to a text that is still plain to whoever reads it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;

use super::*;

const SECRET: &str = "s3cr3t/+value-42";

fn needles(secret: &str) -> Needles {
    Needles::of(&[SecretString::from(secret)]).unwrap()
}

/// As a result is looked at: quickly first, then each text of it, and what is left as a whole.
fn is_withheld(needles: &Needles, mut value: Value) -> bool {
    let text = value.to_string();
    needles.may_be_in(text.as_bytes()) && (needles.redact_value(&mut value) > 0 || needles.found_in(text.as_bytes()))
}

fn is_withheld_in_text(needles: &Needles, text: &str) -> bool {
    is_withheld(needles, json!({"content": [{"type": "text", "text": text}]}))
}

fn joined(by: &str, pieces: impl Iterator<Item = String>) -> String {
    pieces.collect::<Vec<_>>().join(by)
}

#[test]
fn what_stands_between_its_characters_hides_nothing() {
    for by in [" ", ".", "-", ", ", "\n", "\u{200b}", "\u{ad}", "\u{a0}", " | ", "' + '", "\", \"", "\r\n  "] {
        let spaced = joined(by, SECRET.chars().map(String::from));
        assert!(is_withheld_in_text(&needles(SECRET), &format!("it is {spaced} (end)")), "{spaced}");
        let coded = STANDARD.encode(format!("x{SECRET}y"));
        let wrapped = joined(by, coded.as_bytes().chunks(5).map(|part| String::from_utf8_lossy(part).into_owned()));
        assert!(is_withheld_in_text(&needles(SECRET), &format!("<{wrapped}>")), "{wrapped}");
        let hex = joined(by, SECRET.bytes().map(|byte| format!("{byte:02X}")));
        assert!(is_withheld_in_text(&needles(SECRET), &hex), "{hex}");
    }
    let letters: Vec<String> = SECRET.chars().map(String::from).collect();
    assert!(is_withheld(&needles(SECRET), json!({"structuredContent": {"letters": letters}})));
}

#[test]
fn the_numbers_of_its_bytes_are_it() {
    let bytes: Vec<u8> = SECRET.bytes().collect();
    // As Node.js writes a `Buffer`.
    assert!(is_withheld(&needles(SECRET), json!({"structuredContent": {"type": "Buffer", "data": bytes}})));
    for text in [
        format!("{bytes:?}"),
        format!("{bytes:#?}"),
        joined(" ", bytes.iter().map(|byte| format!("{byte:03o}"))),
        joined("", bytes.iter().map(|byte| format!("\\{byte:03o}"))),
        joined(" ", bytes.iter().map(|byte| format!("{byte:08b}"))),
        joined(", ", bytes.iter().map(|byte| format!("0x{byte:02x}"))),
        joined(" ", SECRET.chars().map(|c| format!("U+{:04X}", u32::from(c)))),
    ] {
        assert!(is_withheld_in_text(&needles(SECRET), &text), "{text}");
    }
}

#[test]
fn pages_and_mails_hide_nothing() {
    let secret = "p&ss<w>'rd=\"01 23";
    let page = "p&amp;ss&lt;w&gt;&apos;rd=&quot;01 23";
    let mail = "p&ss<w>'rd=3D\"01=20=\r\n23";
    let form = "p%26ss%3Cw%3E%27rd%3D%2201+23";
    for text in [page, mail, form] {
        assert!(is_withheld_in_text(&needles(secret), &format!("<p>{text}</p>")), "{text}");
        assert!(is_withheld_in_text(&needles(secret), &STANDARD.encode(format!("<p>{text}</p>"))), "{text}");
    }
    let all = joined("", SECRET.bytes().map(|byte| format!("={byte:02X}")));
    assert!(is_withheld_in_text(&needles(SECRET), &all), "{all}");
}

/// What a server takes out of what it is lent is as secret as the whole.
#[test]
fn the_part_of_a_secret_that_is_secret_is_kept_out() {
    let basic = STANDARD.encode("tickets:hunter2-hunter2");
    let jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ0aWNrZXRzIn0xMjM0NTY.c2lnbmF0dXJlLW9mLXRoaXMtdG9rZW4";
    let key =
        r#"{"type": "service_account", "client_email": "robot@example.com", "private_key": "-----BEGIN 0123456789 END-----"}"#;
    for (secret, shown) in [
        ("postgres://tickets:hunter2%2Dhunter2@db.example.com/app", "hunter2%2Dhunter2"),
        ("postgres://tickets:hunter2%2Dhunter2@db.example.com/app", "hunter2-hunter2"),
        ("host=db user=tickets password=hunter2-hunter2 dbname=app", "hunter2-hunter2"),
        ("Server=db;User Id=tickets;Password=hunter2-hunter2;", "hunter2-hunter2"),
        ("tickets:hunter2-hunter2", "hunter2-hunter2"),
        (basic.as_str(), "hunter2-hunter2"),
        (basic.as_str(), "tickets:hunter2-hunter2"),
        (jwt, "c2lnbmF0dXJlLW9mLXRoaXMtdG9rZW4"),
        (key, "-----BEGIN 0123456789 END-----"),
    ] {
        let found = is_withheld_in_text(&needles(secret), &format!("access denied for {shown}"));
        assert!(found, "{shown} of {secret}");
    }
    // What only stands beside it is none, nor is a word that is everywhere.
    assert!(!is_withheld_in_text(&needles(key), "robot@example.com is a service_account"));
    assert!(!is_withheld_in_text(&needles("postgres://postgres:postgres@db.example.com/app"), "a postgres at db.example.com"));
}

/// Wherever an encoding begins in what looks like more of it, and however long that is.
#[test]
fn what_stands_before_an_encoding_hides_nothing() {
    let inner = STANDARD.encode(SECRET);
    let hex: String = inner.bytes().map(|byte| format!("{byte:02x}")).collect();
    for before in ["", "x", "a", "ab", "abc", "token"] {
        assert!(is_withheld_in_text(&needles(SECRET), &format!("{before}{hex}")), "{before}");
        for padding in [10, 100_000] {
            let outer = STANDARD.encode(format!("{inner}\n{}", "x".repeat(padding)));
            assert!(is_withheld_in_text(&needles(SECRET), &format!("{before}{outer}")), "{before} and {padding}");
        }
    }
}

/// Whatever language a text is in, and whatever it begins with.
#[test]
fn what_a_text_begins_with_hides_nothing() {
    let coded = joined("", SECRET.chars().map(|c| format!("&#{};", u32::from(c))));
    for before in ["Привет, мир. ", "你好", "\u{1}\u{2}", "\u{7f}"] {
        let text = format!("{} {coded}", before.repeat(5000));
        assert!(is_withheld_in_text(&needles(SECRET), &text), "{before:?}");
        assert!(is_withheld_in_text(&needles(SECRET), &coded.replace('#', "#0")), "{before:?}");
    }
    let text = STANDARD.encode(format!("{} {coded}", "Привет, мир. ".repeat(10)));
    assert!(is_withheld_in_text(&needles(SECRET), &text));
}

/// Ordinary texts, and such that look like much that is encoded, are what they were.
#[test]
fn ordinary_texts_of_every_kind_pass() {
    let needles = needles("postgres://tickets:hunter2-hunter2@db.example.com/app");
    let mail = "From: a=20b=3D\r\n=E2=82=AC 100% of %41 &amp; &#65; \\u0041 \\n 0x41, 0x42 [65, 66, 67]\n".repeat(2000);
    for text in [mail, "{\"a\": \"b\\nc%20d=3D&lt;\"}".repeat(500), "the quick brown fox ".repeat(2000)] {
        let mut value = json!({"content": [{"type": "text", "text": text}]});
        let before = value.clone();
        assert_eq!(needles.redact_value(&mut value), 0);
        assert!(value == before && !needles.found_in(value.to_string().as_bytes()));
    }
}
