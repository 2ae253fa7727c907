#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

use bailiwick_policy::{Policies, Source};
use serde_json::json;

use super::*;
use crate::gates::ScreenLimits;

fn demanded(annotations: &str) -> Obligations {
    let text = format!("@id(\"r\") {annotations} permit (principal, action, resource);");
    let policies = Policies::compile(&[Source { name: "r.cedar", text: &text }], &[]).unwrap();
    policies.obligations("r").unwrap().clone()
}

fn result(value: &Value) -> ToolResult {
    ToolResult::read(&Bytes::from(value.to_string())).unwrap()
}

#[test]
fn a_result_is_redacted_and_then_cut() {
    let obligations = demanded("@redact(\"result:/items/*/mail\") @limit(\"rows=2, at=/items\")");
    let items: Vec<Value> = (0..4).map(|at| json!({"id": at, "mail": format!("m{at}@example.com")})).collect();
    let told = Body::Result(result(&json!({"content": [], "structuredContent": {"items": items}})));
    let (told, done) = body(told, &obligations, ScreenLimits::default()).unwrap();
    assert_eq!(done, Done { masked: 4, withheld: 0, left_out: 2 });
    let Body::Result(told) = told else { unreachable!("it is a result") };
    let read: Value = serde_json::from_slice(told.text()).unwrap();
    assert_eq!(read["structuredContent"]["items"], json!([{"id": 0, "mail": "[masked]"}, {"id": 1, "mail": "[masked]"}]));
    assert!(read["content"][0]["text"].as_str().unwrap().contains("first 2 of 4"));
    assert_eq!(told.members().len(), 2);
}

#[test]
fn the_result_of_a_task_is_treated_like_one_of_a_call() {
    let obligations = demanded("@redact(\"result:/mail\") @limit(\"rows=1, at=/rows\")");
    let inner = json!({"content": [], "structuredContent": {"mail": "a@example.com", "rows": [1, 2, 3]}});
    let told = Body::Task(result(&json!({"taskId": "t", "status": "completed", "result": inner})));
    let (told, done) = body(told, &obligations, ScreenLimits::default()).unwrap();
    assert_eq!((done.masked, done.left_out), (1, 2));
    let Body::Task(told) = told else { unreachable!("it is a task") };
    let read: Value = serde_json::from_slice(told.text()).unwrap();
    assert_eq!(read["result"]["structuredContent"], json!({"mail": "[masked]", "rows": [1]}));
    assert_eq!(read["taskId"], "t");
    // One that goes on has none.
    let told = Body::Task(result(&json!({"taskId": "t", "status": "working"})));
    assert!(body(told, &obligations, ScreenLimits::default()).is_ok());
}

#[test]
fn an_error_is_redacted_in_words_and_data() {
    let error = || Body::Error {
        code: -1,
        message: "no a@example.com".to_owned(),
        data: Some(Bytes::from_static(br#"{"mail":"b@example.com","n":1.0}"#)),
        http: 200,
    };
    for (redact, words, data) in [
        ("result:detect(emails)", "no [masked:emails]", r#"{"mail":"[masked:emails]","n":1.0}"#),
        ("result:/mail", walk::WITHHELD, r#"{"mail":"[masked]","n":1.0}"#),
    ] {
        let obligations = demanded(&format!("@redact(\"{redact}\")"));
        let (told, _) = body(error(), &obligations, ScreenLimits::default()).unwrap();
        let Body::Error { message, data: found, .. } = told else { unreachable!("it is an error") };
        assert_eq!((message.as_str(), found.unwrap().as_ref()), (words, data.as_bytes()));
    }
}

#[test]
fn what_is_over_a_limit_that_refuses_does_not_pass() {
    let obligations = demanded("@limit(\"bytes=20, over=refuse\")");
    let told = Body::Result(result(&json!({"content": [{"type": "text", "text": "longer than that"}]})));
    assert!(body(told, &obligations, ScreenLimits::default()).unwrap_err().contains("a rule lets 20 pass"));
}

#[test]
fn the_words_of_an_error_and_of_a_question_are_held_too() {
    let error = |message: &str| Body::Error { code: -1, message: message.to_owned(), data: None, http: 200 };
    let words = |limit: &str, message: &str| match body(error(message), &demanded(limit), ScreenLimits::default()) {
        Ok((Body::Error { message, .. }, _)) => message,
        Ok(_) => unreachable!("it is an error"),
        Err(why) => why,
    };
    assert_eq!(words("@limit(\"bytes=10, at=/items\")", "äöü and more of it"), "äöü and");
    assert!(words("@limit(\"bytes=10, over=refuse\")", "more than ten").contains("a rule lets 10 pass"));
    assert_eq!(words("@limit(\"rows=10, at=/items\")", "more than ten"), "more than ten");
    let question = |size: usize| Body::Questions(result(&json!({"inputRequests": {"a": "x".repeat(size)}})));
    for (limit, size, passes) in [
        ("@limit(\"rows=10, at=/items\")", 100, true),
        ("@limit(\"rows=10, at=/items\")", 5000, false),
        ("@limit(\"bytes=90, over=refuse\")", 100, false),
        ("@redact(\"result:/a\")", 5000, true),
    ] {
        assert_eq!(body(question(size), &demanded(limit), ScreenLimits::default()).is_ok(), passes, "{limit} {size}");
    }
}

#[test]
fn what_is_told_again_keeps_to_a_limit_that_is_new() {
    let rows = |count: usize| Bytes::from(json!({"content": [], "structuredContent": {"items": vec![1; count]}}).to_string());
    let obligations = demanded("@limit(\"rows=2, at=/items\")");
    let again = told_again(&rows(3), &[], &obligations).unwrap();
    assert!(std::str::from_utf8(&again).unwrap().contains(r#""items":[1,1]}"#), "{again:?}");
    // It was held by the same, and says so.
    assert_eq!(told_again(&again, &obligations.words(), &obligations).unwrap(), again);
    assert!(told_again(&again, &[], &obligations).is_err(), "nobody knows whose words these are");
}

#[test]
fn arguments_are_masked_where_a_rule_names_them_or_how_they_look() {
    let obligations = demanded("@redact(\"args:/note, args:/to/*/mail, args:detect(cards, emails)\")");
    let arguments = json!({
        "note": {"deep": "secret"}, "to": [{"mail": 1}, {"other": 2}], "card": "4111111111111111", "n": 4_111_111_111_111_111_u64,
        "k": {"a@example.com": 1}, "a/b": "see c@example.com", "id": "T-1"
    });
    let places = masked_places(&obligations, &arguments);
    assert_eq!(places, ["/note", "/to/0/mail", "/card", "/n", "/k", "/a~1b"]);
    let text = r#"{"note": {"deep":"secret"},"to":[{"mail":1},{"other":2.0}],"a/b":"see c@example.com","id":"T-1"}"#;
    // Two keys.
    let (key, other): (Mac<'_>, Mac<'_>) = (&|bytes| Digest::of(&[b"key", bytes].concat()).to_string(), &|bytes| {
        Digest::of(&[b"other", bytes].concat()).to_string()
    });
    let shown = masked_text(text, &places, key);
    assert!(!shown.contains("secret") && !shown.contains("example.com"), "{shown}");
    assert!(shown.starts_with(r#"{"note": "•••• (mac:"#) && shown.ends_with(r#""id":"T-1"}"#), "{shown}");
    assert!(shown.contains(r#"{"other":2.0}"#), "{shown}");
    // Two can be compared.
    assert_eq!(masked_text(text, &places, key), shown);
    assert_ne!(masked_text(&text.replace("secret", "others"), &places, key), shown);
    assert_eq!(masked_text(text, &[], key), text);
    assert!(!masked_text("broken secret", &places, key).contains("secret"));
    assert!(!masked_text(r#"{"note":"secret""#, &["/note".to_owned()], key).contains("secret"));
    // Nobody finds one by trying: not by the digest of the value, and not with another key.
    let short: String = Digest::of(b"4711").to_string().chars().skip("sha256:".len()).take(8).collect();
    let pin = |mac| masked_text(r#"{"note":"4711"}"#, &places, mac);
    assert!(!pin(key).contains(&short) && pin(key) != pin(other), "{}", pin(key));
    let whole = Digest::of(b"{}");
    assert!(masked_digest(&whole, key) != whole && masked_digest(&whole, key) != masked_digest(&whole, other));
    assert_eq!(masked_places(&demanded("@redact(\"result:/note\")"), &arguments), Vec::<String>::new());
    let written: Value =
        serde_json::from_str(r#"{"a":4111111111111111.0,"b":[-4.111111111111111e15],"c":4111111111111112.0}"#).unwrap();
    assert_eq!(masked_places(&obligations, &written), ["/a", "/b/0"]);
}

/// What all of it costs, said in the output of the test: ordinary JSON of a mebibyte, and what is taken for a person's data in it.
#[test]
fn ordinary_json_is_left_alone() {
    let mut rows = Vec::new();
    let mut size = 0;
    for at in 0_u64.. {
        let row = json!({
            "id": at, "uuid": format!("{:08x}-{:04x}-4000-8000-{:012x}", at.wrapping_mul(2_654_435_761) & 0xffff_ffff, at & 0xffff, at.wrapping_mul(1_099_511_628_211) & 0xffff_ffff_ffff),
            "at": 1_700_000_000_000_u64 + at * 977, "micros": 1_700_000_000_000_000_u64 + at * 977_123, "time": "2026-11-21T10:00:00+01:00",
            "sha": format!("{:064x}", u128::from(at).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C834)), "price": 12.5, "sku": format!("SKU-{at:06}-DE"),
            "text": "The quick brown fox jumps over the lazy dog @ 5 pm, see chapter 4.2.1 and pages 12-14.", "path": "/usr/lib/node_modules/@scope/pkg@1.2.3/index.js",
            "snowflake": 1_180_000_000_000_000_000_u64 + at * 4_194_304, "version": "1.2.3-alpha.4+build.5678901234",
        });
        size += row.to_string().len();
        rows.push(row);
        if size > 1024 * 1024 {
            break;
        }
    }
    let text = json!({"content": [], "structuredContent": {"rows": rows}}).to_string();
    let obligations = demanded("@redact(\"result:detect(keys, jwts, pems, cards, ibans, emails, phones)\")");
    let mut redactor = Redactor::of(&obligations, Part::Result).unwrap();
    let begun = std::time::Instant::now();
    let clean = redactor.result(&text).unwrap();
    eprintln!("{} bytes, {} taken for something, in {:?}", text.len(), redactor.masked, begun.elapsed());
    assert_eq!((redactor.masked, clean == text), (0, true));
}
