//! Attacks 37, 38, 40, 45, 47, 53: what is refused as a message, and that what passes passes as the very bytes.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::*;
use crate::principal::Credential;

fn read(text: &str) -> Result<Message, MessageFault> {
    Message::read(&Bytes::copy_from_slice(text.as_bytes()), Limits::MESSAGE)
}

fn fault(text: &str) -> MessageFault {
    read(text).unwrap_err()
}

fn origin() -> Origin {
    Origin {
        transport: Transport::Http,
        protocol: Protocol::V20260728,
        presented: Presented { credential: Credential::Absent, grant: None },
        links: Vec::new(),
        capabilities: Vec::new(),
        takes_tasks: false,
        mirrored: None,
        wants: Wants::default(),
        meta: Bytes::new(),
        reason: None,
    }
}

fn call_of(message: &Message) -> Result<Received, MessageFault> {
    Received::call(CallId::new(1, [1; 10]), message, origin(), 5)
}

/// A `tools/call` with these params.
fn called(params: &str) -> Result<Received, MessageFault> {
    call_of(&read(&format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#)).unwrap())
}

fn arguments(received: &Received) -> Bytes {
    match received.asked() {
        Asked::Call { arguments, .. } => arguments.clone(),
        _ => Bytes::new(),
    }
}

#[test]
fn a45_a_batch_is_refused_whole() {
    let one = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let many = format!("[{}]", vec![one; 10_000].join(","));
    for batch in ["[]", " \n[]", "[[]]", &format!("[{one}]"), &format!("[[{one}]]"), &many] {
        assert_eq!(fault(batch), MessageFault::Batch);
        assert_eq!(fault(batch).code(), -32600);
    }
    for other in ["7", "\"x\"", "null", "true"] {
        assert_eq!((fault(other), fault(other).code()), (MessageFault::NoObject, -32600));
    }
}

#[test]
fn a47_ids_are_short_strings_or_integers() {
    let with = |id: &str| read(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#));
    for id in ["1", "0", "-1", "9223372036854775807", "\"\"", "\"a\\u001b[2J\\n\"", &format!("\"{}\"", "x".repeat(254))] {
        assert_eq!(with(id).unwrap().id(), Some(id));
    }
    let long = format!("\"{}\"", "x".repeat(255));
    let kib = format!("\"{}\"", "x".repeat(10 * 1024));
    for id in ["null", "1.5", "1.0", "1e2", "true", "{}", "[]", "-0", "9223372036854775808", &long, &kib] {
        let fault = with(id).unwrap_err();
        assert_eq!(
            fault,
            MessageFault::Member { member: "id", wanted: "a 64-bit integer or a string of at most 256 bytes" },
            "{id}"
        );
        assert_eq!(fault.code(), -32600);
    }
}

#[test]
fn a_notification_has_no_id_and_can_not_ask_for_a_call_or_a_list() {
    let message = read(r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a__b"}}"#).unwrap();
    assert_eq!((message.id(), message.method()), (None, "tools/call"));
    let wanted = MessageFault::Member { member: "id", wanted: "given: a notification can't ask for this" };
    assert_eq!(call_of(&message).unwrap_err(), wanted);
    assert_eq!(Received::list(CallId::new(1, [1; 10]), &message, origin(), 5).unwrap_err(), wanted);
}

#[test]
fn responses_are_refused_also_in_disguise() {
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","error":null}"#,
    ] {
        assert_eq!((fault(text), fault(text).code()), (MessageFault::Response, -32600));
    }
}

#[test]
fn members_are_what_they_must_be() {
    for (text, member) in [
        (r#"{"id":1,"method":"ping"}"#, "jsonrpc"),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, "jsonrpc"),
        (r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#, "jsonrpc"),
        (r#"{"jsonrpc":"2\u002e0","id":1,"method":"ping"}"#, "jsonrpc"),
        (r#"{"jsonrpc":"2.0","id":1}"#, "method"),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, "method"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#, "params"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#, "params"),
    ] {
        assert!(matches!(fault(text), MessageFault::Member { member: found, .. } if found == member), "{text}");
        assert_eq!(fault(text).code(), if member == "params" { -32602 } else { -32600 });
    }
}

/// Attacks 37 and 38, and duplicates at any depth.
#[test]
fn a37_a38_keys_that_another_parser_might_take_for_one_that_means_something() {
    let wrap = |key: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","{key}":1}}"#);
    for key in [
        "METHOD",
        "Method",
        "Params",
        "param\u{17f}",
        "PARAM\u{17f}",
        "ID",
        "\u{131}d",
        " method",
        "method ",
        "Re\u{17f}ult",
        "\\u004dethod",
    ] {
        assert!(matches!(fault(&wrap(key)), MessageFault::Lookalike(_)), "{key}");
        assert_eq!(fault(&wrap(key)).code(), -32600);
    }
    for key in ["name\\u0000", "method\\u0000", "$serde_json::private::RawValue"] {
        assert!(matches!(fault(&wrap(key)), MessageFault::Json(JsonFault::ForbiddenKey { .. })), "{key}");
        assert_eq!(fault(&wrap(key)).code(), -32700);
    }
    for key in ["x", "methods", "_meta", "nam\u{435}"] {
        assert!(read(&wrap(key)).is_ok(), "{key}");
    }
    for key in ["Name", "NAME", "Arguments", "argument\u{17f}", "ARGUMENT\u{17f}", "-meta", "_META", "name "] {
        let fault = called(&format!(r#"{{"name":"a__b","{key}":"x"}}"#)).unwrap_err();
        assert!(matches!(fault, MessageFault::Lookalike(_)), "{key}");
    }
    // The Kelvin sign folds to a plain k.
    assert_eq!(fold("\u{212a}ey"), "key");
    let long = format!("{}name{}", " ".repeat(60), " ".repeat(60));
    assert_eq!(called(&format!(r#"{{"name":"a","{long}":1}}"#)).unwrap_err(), MessageFault::Lookalike(" ".repeat(40)));
    for twice in [
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"a","meth\u006fd":"b"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"name":"a","name":"b"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"arguments":{"a":[{"b":{"c":1,"c":1}}]}}}"#,
    ] {
        assert!(matches!(fault(twice), MessageFault::Json(JsonFault::DuplicateKey { .. })), "{twice}");
    }
}

#[test]
fn depth_64_passes_and_65_does_not() {
    let nested = |levels: usize| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":{}{}}}}}"#, "[".repeat(levels), "]".repeat(levels))
    };
    assert!(read(&nested(62)).is_ok());
    assert!(matches!(fault(&nested(63)), MessageFault::Json(JsonFault::TooDeep { limit: 64, .. })));
    assert!(matches!(fault(&nested(100_000)), MessageFault::Json(JsonFault::TooDeep { .. })));
}

#[test]
fn a53_four_mib_pass_and_one_byte_more_does_not() {
    const MIB: usize = 1024 * 1024;
    let of_size = |size: usize| {
        let frame = r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":""}}"#;
        frame.replace("\"\"", &format!("\"{}\"", "y".repeat(size - frame.len())))
    };
    for size in [4 * MIB - 1, 4 * MIB] {
        assert_eq!(read(&of_size(size)).unwrap().size(), size);
    }
    assert_eq!(fault(&of_size(4 * MIB + 1)), MessageFault::Json(JsonFault::TooLarge { size: 4 * MIB + 1, limit: 4 * MIB }));
}

/// Attack 40: no number, key order or escape is touched, and no byte is copied.
#[test]
fn a40_arguments_are_the_very_bytes_received() {
    let written = r#"{ "z":1.0,"a":1e400,"n":123456789012345678901234567890, "t":"\u0041\/", "-":-0 , "k":{"b":1,"a":2}}"#;
    let body = Bytes::from(format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a__b","arguments": {written} }}}}"#
    ));
    let message = Message::read(&body, Limits::MESSAGE).unwrap();
    let received = call_of(&message).unwrap();
    assert_eq!(arguments(&received), written);
    assert!(body.as_ptr_range().contains(&arguments(&received).as_ptr()));
    assert_eq!((received.tool(), received.method(), received.request_id()), (Some("a__b"), "tools/call", Some("1")));
    assert_eq!((received.size(), received.arrived_ns()), (body.len(), 5));
    assert_eq!(received.call_id(), &CallId::new(1, [1; 10]));
}

#[test]
fn arguments_are_an_object_or_missing() {
    assert_eq!(arguments(&called(r#"{"name":"a__b"}"#).unwrap()), "{}");
    for given in ["null", "[]", "7", "\"{}\"", "true"] {
        let fault = called(&format!(r#"{{"name":"a__b","arguments":{given}}}"#)).unwrap_err();
        assert_eq!(fault, MessageFault::Member { member: "params.arguments", wanted: "an object" });
        assert_eq!(fault.code(), -32602);
    }
    for params in ["{}", r#"{"name":7}"#, r#"{"name":null}"#] {
        let fault = called(params).unwrap_err();
        assert_eq!((fault.code(), fault), (-32602, MessageFault::Member { member: "params.name", wanted: "a string" }));
    }
    assert_eq!(called(r#"{"name":"a\u005f_b"}"#).unwrap().tool(), Some("a__b"));
    let without = read(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#).unwrap();
    assert!(call_of(&without).is_err());
}

#[test]
fn params_are_read_as_written() {
    let message = read(r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"b": 1.0,"a":[ ]}}"#).unwrap();
    assert_eq!((message.param("b"), message.param("a"), message.param("c")), (Some("1.0"), Some("[ ]"), None));
    assert_eq!(message.values(), 7);
    assert_eq!(read(r#"{"jsonrpc":"2.0","id":1,"method":"x"}"#).unwrap().param("b"), None);
}

#[test]
fn a_list_may_go_on_where_the_last_page_ended() {
    let list = |params: &str| {
        let message = read(&format!(r#"{{"jsonrpc":"2.0","id":"a","method":"tools/list","params":{params}}}"#)).unwrap();
        Received::list(CallId::new(1, [1; 10]), &message, origin(), 5)
    };
    let received = list("{}").unwrap();
    assert_eq!((received.asked(), received.tool(), received.method()), (&Asked::List { cursor: None }, None, "tools/list"));
    assert_eq!((received.request_id(), received.origin().protocol), (Some("\"a\""), Protocol::V20260728));
    assert_eq!(list(r#"{"cursor":"x"}"#).unwrap().asked(), &Asked::List { cursor: Some("x".to_owned()) });
    for cursor in [r#"{"cursor":1}"#, r#"{"cursor":null}"#, r#"{"cursor":["x"]}"#] {
        assert_eq!(list(cursor).unwrap_err().code(), -32602);
    }
    assert!(matches!(list(r#"{"Cursor":"x"}"#), Err(MessageFault::Lookalike(_))));
    for listing in [Listing::Resources, Listing::Templates, Listing::Prompts] {
        let offers = |params: &str| {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}","params":{params}}}"#, listing.method());
            Received::offers(CallId::new(1, [1; 10]), listing, &read(&text).unwrap(), origin(), 5)
        };
        let received = offers(r#"{"cursor":"x"}"#).unwrap();
        assert_eq!(received.asked(), &Asked::Offers { listing, cursor: Some("x".to_owned()) });
        assert_eq!(
            (received.method(), offers("{}").unwrap().asked()),
            (listing.method(), &Asked::Offers { listing, cursor: None })
        );
        assert_eq!(offers(r#"{"cursor":1}"#).unwrap_err().code(), -32602);
        assert!(matches!(offers(r#"{"curs\u006fR":"x"}"#), Err(MessageFault::Lookalike(_))));
    }
}

#[test]
fn versions_and_transports_have_their_names() {
    for (version, name, is_modern) in [
        (Protocol::V20250618, "2025-06-18", false),
        (Protocol::V20251125, "2025-11-25", false),
        (Protocol::V20260728, "2026-07-28", true),
    ] {
        assert_eq!((version.as_str(), Protocol::of(name), version.is_modern()), (name, Some(version), is_modern));
    }
    assert!(Protocol::ALL.is_sorted());
    for unknown in ["2025-03-26", "2024-11-05", "", "2026-07-28 "] {
        assert_eq!(Protocol::of(unknown), None);
    }
    assert_eq!((Transport::Http.as_str(), Transport::Http.network()), ("http", "tcp"));
    assert_eq!((Transport::Stdio.as_str(), Transport::Stdio.network()), ("stdio", "pipe"));
}
