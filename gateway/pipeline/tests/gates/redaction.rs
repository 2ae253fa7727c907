//! Attack 102: a server that says the credential it was lent, in every form, everywhere.

use bailiwick_pipeline::{gates::RawReply, records::Outcome};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::world::{Bench, Heard, SECRET};

async fn answers(bench: &Bench, text: String) -> Heard {
    let text = Bytes::from(text);
    *bench.fakes.reply.lock().unwrap() = Box::new(move |_| Ok(RawReply::result(text.clone())));
    bench.call("vault__get", "{}").await
}

fn clean_everywhere(bench: &Bench, heard: &Heard) {
    let trace = format!("{:?}", bench.fakes.traces.lock().unwrap());
    for place in [format!("{:?}", heard.answer), bench.fakes.all_records(), trace] {
        assert!(!place.to_lowercase().contains("canary"), "{place}");
    }
}

fn forms() -> Vec<String> {
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    let all: String = SECRET.bytes().map(|byte| format!("%{byte:02X}")).collect();
    vec![
        SECRET.to_owned(),
        SECRET.to_uppercase(),
        SECRET.chars().rev().collect(),
        hex.to_uppercase(),
        hex,
        "CANARY%2FAb3%2B%22x%22-9f".to_owned(),
        "CANARY%2fAb3%2b%22x%22-9f".to_owned(),
        all,
        r#"CANARY/Ab3+\"x\"-9f"#.to_owned(),
        STANDARD.encode(SECRET),
        STANDARD.encode(format!("a{SECRET}")),
        URL_SAFE_NO_PAD.encode(format!("ab{SECRET}z")),
    ]
}

#[tokio::test]
async fn no_form_passes_in_text_keys_structure_or_meta() {
    for form in forms() {
        let bench = Bench::new();
        for reply in [
            json!({"content": [{"type": "text", "text": format!("it is {form}.")}]}),
            json!({"content": [], "structuredContent": {form.clone(): 1}}),
            json!({"content": [{"type": "resource_link", "uri": format!("x://{form}")}], "isError": true}),
            json!({"content": [], "_meta": {"deep": [[{"k": form}]]}}),
        ] {
            let heard = answers(&bench, reply.to_string()).await;
            assert_eq!(heard.secrets().last().map(String::as_str), Some("leaked"), "{form}");
            assert_eq!((heard.outcome()["result"]["redactions"].clone(), heard.sent()), (json!(1), 1), "{form}");
            assert!(heard.text().contains("[redacted]"), "{}", heard.text());
            clean_everywhere(&bench, &heard);
            let record = bench.fakes.records("secrets", &heard.call).pop().unwrap();
            assert_eq!((&record["redactions"], &record["lease"]), (&json!(1), &json!("lease-1")));
        }
    }
}

/// JSON may spell every character as an escape.
#[tokio::test]
async fn escapes_hide_nothing() {
    let escaped: String = SECRET.chars().map(|c| format!("\\u{:04x}", c as u32)).collect();
    let slashed = SECRET.replace('"', "\\\"").replace('/', "\\/");
    for hidden in [escaped, slashed] {
        let bench = Bench::new();
        for reply in [format!(r#"{{"content":[{{"text":"{hidden}"}}],"n":1.50}}"#), format!(r#"{{"content":[],"{hidden}":"x"}}"#)]
        {
            let heard = answers(&bench, reply).await;
            heard.ran();
            assert_eq!(heard.secrets().last().map(String::as_str), Some("leaked"));
            assert!(heard.text().contains("[redacted]"), "{}", heard.text());
            clean_everywhere(&bench, &heard);
        }
    }
}

/// Escapes alone change nothing of what passes.
#[tokio::test]
async fn a_result_without_the_secret_passes_byte_for_byte() {
    let text = r#"{"content":[{"text":"\u0041\/"}],"n":1.50}"#;
    let bench = Bench::new();
    let heard = answers(&bench, text.to_owned()).await;
    heard.ran();
    assert_eq!((heard.text(), heard.secrets()), (text.to_owned(), vec!["lent".to_owned(), "used".to_owned()]));
}

#[tokio::test]
async fn what_is_left_when_the_secret_is_out_is_kept() {
    let bench = Bench::new();
    let heard = answers(
        &bench,
        format!(r#"{{"z":1.50,"content":[{{"text":{}}}],"a":123456789012345678901234567890}}"#, Value::from(SECRET)),
    )
    .await;
    assert_eq!(heard.ran().text(), r#"{"z":1.50,"content":[{"text":"[redacted]"}],"a":123456789012345678901234567890}"#);
}

/// A secret of digits as a number can't be taken out: the reply does not pass, and that it was seen is on record.
#[tokio::test]
async fn a_secret_as_a_number_is_refused() {
    let bench = Bench::new();
    bench.lends("1234567890123");
    let heard = answers(&bench, r#"{"content":[],"n":1234567890123}"#.to_owned()).await;
    heard.failed(Outcome::DownstreamError, "result_refused", 1);
    assert_eq!(heard.outcome()["detail"], "connector `vault`: it contains the lent credential where it can't be taken out");
    assert_eq!(heard.secrets(), ["lent", "used", "leaked"]);
    let heard = answers(&bench, r#"{"content":[{"text":"1234567890123"}],"n":1234567890123}"#.to_owned()).await;
    heard.failed(Outcome::DownstreamError, "result_refused", 1);
    assert_eq!(bench.fakes.records("secrets", &heard.call).pop().unwrap()["redactions"], 2);
}

/// A secret of digits as the code of an error.
#[tokio::test]
async fn a_secret_as_an_error_code_is_refused() {
    let bench = Bench::new();
    bench.lends("1234567890");
    for code in [1_234_567_890, -1_234_567_890, 91_234_567_890] {
        *bench.fakes.reply.lock().unwrap() = Box::new(move |_| Ok(RawReply::error(code, "no".to_owned(), None)));
        let heard = bench.call("vault__get", "{}").await;
        heard.failed(Outcome::DownstreamError, "result_refused", 1);
        assert_eq!(heard.secrets(), ["lent", "used", "leaked"]);
        assert!(!bench.fakes.all_records().contains("1234567890"));
    }
}

/// What is put on record about a reply that does not pass is clean as well.
#[tokio::test]
async fn a_reply_that_does_not_pass_leaves_no_secret_on_record() {
    let key = Value::from(SECRET);
    for reply in [
        format!(r#"{{"content":[],{key}:1,{key}:2}}"#),
        format!(r#"{{"content":[],"isError":{key}}}"#),
        format!(r#"{{"content":{key}}}"#),
        format!("[{key}]"),
    ] {
        let bench = Bench::new();
        let heard = answers(&bench, reply).await;
        heard.failed(Outcome::DownstreamError, "result_refused", 1);
        clean_everywhere(&bench, &heard);
    }
}

#[tokio::test]
async fn errors_and_their_data_are_cleaned() {
    let escaped: String = SECRET.chars().map(|c| format!("\\u{:04x}", c as u32)).collect();
    let bench = Bench::new();
    let data = Bytes::from(format!(r#"{{"t":"{escaped}"}}"#));
    *bench.fakes.reply.lock().unwrap() =
        Box::new(move |_| Ok(RawReply::error(-1, format!("token {SECRET} is bad"), Some(data.clone()))));
    let heard = bench.call("vault__get", "{}").await;
    assert_eq!(
        heard.told(),
        crate::world::Told::Error(-1, "token [redacted] is bad".to_owned(), Some(json!({"t": "[redacted]"})), 200)
    );
    assert_eq!((heard.outcome()["result"]["redactions"].clone(), heard.secrets().len()), (json!(2), 3));
    clean_everywhere(&bench, &heard);
    // Cut after it is cleaned: no part of the secret stands at the end.
    *bench.fakes.reply.lock().unwrap() = Box::new(|_| Ok(RawReply::error(1, format!("{}{SECRET}", "x".repeat(2040)), None)));
    let heard = bench.call("vault__get", "{}").await;
    assert_eq!(heard.text(), format!("{}[redacte", "x".repeat(2040)));
}

#[tokio::test]
async fn a_redaction_that_can_not_be_recorded_lets_nothing_pass() {
    let bench = Bench::new();
    let fakes = std::sync::Arc::clone(&bench.fakes);
    bench.fakes.at("answer", move || fakes.lose("secret"));
    let heard = answers(&bench, json!({"content": [{"text": SECRET}]}).to_string()).await;
    heard.failed(Outcome::InternalError, "trail_lost", 1);
    assert_eq!(heard.text(), "the gateway can't keep its record and does nothing until that is mended");
}

/// Whoever gave it to it: a server shows none of what its task was lent for another one.
#[tokio::test]
async fn what_was_lent_for_another_connector_does_not_pass() {
    let other = "other-0123456789-other";
    for (text, is_said) in [
        (other.to_owned(), true),
        (STANDARD.encode(format!("x{other}")), true),
        (other.chars().rev().collect(), true),
        ("other 0123".to_owned(), false),
    ] {
        let bench = Bench::new();
        bench.has_lent("tickets", other);
        let heard = answers(&bench, json!({"content": [{"type": "text", "text": format!("see {text}")}]}).to_string()).await;
        assert_eq!(heard.ran().text().contains(&text), !is_said, "{}", heard.text());
        let leaked: Vec<_> =
            bench.fakes.records("secrets", &heard.call).into_iter().filter(|record| record["event"] == "leaked").collect();
        assert_eq!(leaked.len(), usize::from(is_said));
        if is_said {
            assert_eq!((&leaked[0]["connector"], &leaked[0]["lease"]), (&json!("tickets"), &json!("lease-2")));
            assert_eq!(*bench.fakes.leaked.lock().unwrap(), ["lease-2"]);
            assert!(!bench.fakes.all_records().contains(other));
        }
    }
    // In an error as well.
    let bench = Bench::new();
    bench.has_lent("tickets", other);
    *bench.fakes.reply.lock().unwrap() = Box::new(move |_| Ok(RawReply::error(-1, format!("no {other}"), None)));
    assert_eq!(bench.call("vault__get", "{}").await.text(), "no [redacted]");
}
