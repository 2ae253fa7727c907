#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::{Just, Strategy};

use super::*;

fn all() -> Shapes {
    Shapes::of(Shape::ALL.into_iter())
}

fn only(shape: Shape) -> Shapes {
    Shapes::of(std::iter::once(shape))
}

/// Put together here, so that no scanner takes this file for a leak.
fn samples() -> Vec<(Shape, String)> {
    let digits = "0123456789abcdefABCDEF0123456789abcdefABCDEF0123456789abcdefABCDEF0123456789";
    let body = |length: usize| digits.get(..length).unwrap().to_owned();
    let mut all: Vec<(Shape, String)> = KEYS
        .iter()
        .map(|(prefix, least)| match *prefix {
            "AKIA" | "ASIA" => (Shape::Keys, format!("{prefix}{}", body(*least).to_uppercase())),
            _ => (Shape::Keys, format!("{prefix}{}", body(*least))),
        })
        .collect();
    let jwt = |header: &str, parts: &str| format!("{}.{parts}", URL_SAFE_NO_PAD.encode(header));
    let pem = |label: &str| format!("-----BEGIN {label}-----\nMIIB\nAAAA\n-----END {label}-----");
    all.extend([
        (Shape::Jwts, jwt(r#"{"alg":"HS256","typ":"JWT"}"#, "eyJzdWIiOiIxIn0.c2ln")),
        (Shape::Jwts, jwt(r#"{"typ":"JWT","alg":"none"}"#, "eyJzdWIiOiIxIn0.")),
        (Shape::Jwts, jwt(r#"{"alg":"RSA-OAEP","enc":"A256GCM"}"#, "a.b.c.d")),
        (Shape::Pems, pem("PRIVATE KEY")),
        (Shape::Pems, pem("OPENSSH PRIVATE KEY")),
        (Shape::Pems, pem("RSA PRIVATE KEY")),
        (Shape::Pems, "-----BEGIN EC PRIVATE KEY-----\ncut off".to_owned()),
    ]);
    let cards = [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "5555555555554444",
        "2223003122003222",
        "378282246310005",
        "30569309025904",
        "6011111111111117",
        "3530111333300000",
        "4222222222222",
    ];
    let ibans = [
        "DE89370400440532013000",
        "GB82 WEST 1234 5698 7654 32",
        "FR1420041010050500013M02606",
        "NO9386011117947",
        "CH9300762011623852957",
    ];
    let emails = ["a@example.com", "first.last+tag@sub.example.org", "o'brien@example.co.uk", "x_y%z@xn--bcher-kva.example"];
    let phones = ["+49 30 901820", "+1 (212) 555-0123", "+442079460958", "+33.1.99.00.12.34"];
    all.extend(cards.map(|card| (Shape::Cards, card.to_owned())));
    all.extend(ibans.map(|iban| (Shape::Ibans, iban.to_owned())));
    all.extend(emails.map(|email| (Shape::Emails, email.to_owned())));
    all.extend(phones.map(|phone| (Shape::Phones, phone.to_owned())));
    all
}

#[test]
fn each_is_found_whole_wherever_it_stands() {
    for (shape, sample) in samples() {
        for (before, after) in [("", ""), ("see ", " there"), ("(", ")"), ("\"", "\""), ("a: ", ", b"), ("é ", " é")] {
            // What has no end takes all that follows.
            let after = if sample.ends_with("cut off") { "" } else { after };
            let text = format!("{before}{sample}{after}");
            let place = before.len()..before.len() + sample.len();
            assert_eq!(only(shape).found(&text), [(place, shape)], "{text}");
            assert_eq!(only(shape).masked(&text).unwrap(), (format!("{before}[masked:{}]{after}", shape.as_str()), 1), "{text}");
        }
    }
}

#[test]
fn what_only_resembles_them_is_left_alone() {
    for text in [
        "4111111111111112",
        "0000000000000000",
        "14111111111111111",
        "x4111111111111111",
        "0.4111111111111111",
        "1700000000000",
        "1234567812345670",
        "DE89370400440532013001",
        "DE8937040044053201300",
        "XDE89370400440532013000",
        "ZZ89370400440532013000",
        "@example.com",
        "me@localhost",
        "a@b.1",
        "@scope/package@1.2.3",
        "git@host:path",
        "+0123456789",
        "1+12345678901",
        "+1234567",
        "+1234567890123456",
        "2026-11-21T10:00:00+01:00",
        "eyJhbGciOiJIUzI1NiJ9",
        "eyJub3RoaW5nIjoxfQ.eyJzdWIiOiIxIn0.c2ln",
        "eyJ.a.b",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----",
        "AKIAIOSFODNN7EXAMPL",
        "AKIAiosfodnn7example",
        "ghp_short",
        "npm_config_registry_of_the_whole_machine_here",
        "SG.",
        "43712345-0012-4000-8000-1234567890ab",
        "41111111-1111-1111",
        "550e8400-e29b-41d4-a716-446655440000",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "",
    ] {
        assert_eq!(all().masked(text), None, "{text}");
    }
}

#[test]
fn numbers_are_told_as_numbers() {
    let shapes = only(Shape::Cards);
    assert!(shapes.is_number("4111111111111111"));
    assert!(["-4111111111111111", "4111111111111111.00", "4.111111111111111e15"].iter().all(|number| shapes.is_number(number)));
    assert!(
        ["4111111111111112", "-4111111111111112.0", "0.4111111111111111", "1e16"].iter().all(|number| !shapes.is_number(number))
    );
    assert!(!only(Shape::Emails).is_number("4111111111111111"));
}

/// Texts that are all beginnings: each is looked at within a window.
#[test]
fn the_time_follows_from_the_length() {
    for piece in ["@", "a@", "a.b@", "eyJ", "eyJ.", "+1", "+1 ", "4", "4 ", "DE89", "AKIA", "ghp_", "-----BEGIN ", "SG.", "é@é."]
    {
        let text = piece.repeat(200_000 / piece.len());
        let begun = std::time::Instant::now();
        let found = all().found(&text).len();
        let took = begun.elapsed();
        // The square would be an hour.
        assert!(found <= text.len() && took.as_secs() < 60, "{piece}: {took:?}");
    }
}

fn text() -> impl Strategy<Value = String> {
    let pieces: Vec<String> = samples().into_iter().map(|(_, sample)| sample).collect();
    let piece = prop_oneof![
        (0..pieces.len()).prop_map(move |at| pieces.get(at).unwrap().clone()),
        any::<String>(),
        "[a-zA-Z0-9@+. _:/-]{0,40}",
        "[0-9 -]{1,30}",
        Just("[masked:cards]".to_owned()),
    ];
    proptest::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Nothing that is looked for remains, and what is masked is masked for good.
    #[test]
    fn nothing_remains_and_masking_again_changes_nothing(text in text(), bits in 1_u8..128) {
        let shapes = Shapes(bits);
        if let Some((masked, count)) = shapes.masked(&text) {
            prop_assert!(count > 0);
            prop_assert_eq!(shapes.found(&masked), []);
            prop_assert_eq!(shapes.masked(&masked), None);
        } else {
            prop_assert_eq!(shapes.found(&text), []);
        }
    }

    /// Where something is found, it is at borders of characters, in order and apart.
    #[test]
    fn what_is_found_can_be_cut_out(text in text()) {
        let mut end = 0;
        for (range, _) in all().found(&text) {
            prop_assert!(range.start >= end && range.start < range.end);
            prop_assert!(text.get(range.clone()).is_some());
            end = range.end;
        }
    }
}
