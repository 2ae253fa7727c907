//! What authenticators say, right and wrong.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

use proptest::prelude::*;
use serde_json::json;

use super::{
    Assertion, Expected, PasskeyFault as Fault, PublicKey, Registration,
    authenticator_data::{AuthenticatorData, attested as attested_data},
    soft::{
        Authenticator, BACKED_UP, BACKUP_ELIGIBLE, BRINGS_EXTENSIONS, BRINGS_KEY, Key, PRESENT, VERIFIED, attestation, attested,
        authenticator_data, client_data, text,
    },
};

const ORIGIN: &str = "http://localhost:8932";
const CHALLENGE: [u8; 32] = [9; 32];
const EXPECTED: Expected<'static> = Expected { challenge: &CHALLENGE, origin: ORIGIN, party: "localhost" };

fn options() -> serde_json::Value {
    json!({"challenge": text(&CHALLENGE), "rp": {"id": "localhost"}, "rpId": "localhost", "user": {"id": text(b"user")}})
}

fn assertion(value: &serde_json::Value) -> Assertion {
    Assertion::read(&value.to_string()).unwrap()
}

#[test]
fn each_kind_of_key_registers_and_signs() {
    for key in [Key::es256(), Key::eddsa(), Key::rs256()] {
        let mut soft = Authenticator::new(key, b"an id");
        soft.flags |= BACKUP_ELIGIBLE | BACKED_UP;
        let made = Registration::read(&soft.create(&options(), ORIGIN).to_string()).unwrap();
        assert_eq!(made.challenge().unwrap(), CHALLENGE);
        let new = made.verify(EXPECTED).unwrap();
        assert_eq!((new.id.as_slice(), &new.cose), (b"an id".as_slice(), &soft.key.cose()));
        assert!(new.said.is_backup_eligible && new.said.is_backed_up);
        let answer = assertion(&soft.get(&options(), ORIGIN));
        assert_eq!(answer.verify(&new.cose, EXPECTED).unwrap().count, 1);
        assert_eq!(answer.verify(&Key::es256().cose(), EXPECTED), Err(Fault::Signature), "another key");
    }
}

#[test]
fn every_bit_of_a_signature_and_of_what_is_signed_counts() {
    for key in [Key::es256(), Key::eddsa(), Key::rs256()] {
        let mut soft = Authenticator::new(key, b"id");
        let right = assertion(&soft.get(&options(), ORIGIN));
        let cose = soft.key.cose();
        right.verify(&cose, EXPECTED).unwrap();
        let parts: [fn(&mut Assertion) -> &mut Vec<u8>; 3] =
            [|one| &mut one.client_data, |one| &mut one.authenticator_data, |one| &mut one.signature];
        for part in parts {
            let bits = 8 * part(&mut right.clone()).len();
            for bit in 0..bits {
                let mut wrong = right.clone();
                part(&mut wrong)[bit / 8] ^= 1 << (bit % 8);
                assert!(wrong.verify(&cose, EXPECTED).is_err(), "bit {bit}");
            }
            for cut in [0, 1] {
                let mut wrong = right.clone();
                let length = part(&mut wrong).len();
                part(&mut wrong).truncate((length - 1) * cut);
                assert!(wrong.verify(&cose, EXPECTED).is_err(), "cut to {}", (length - 1) * cut);
            }
        }
    }
}

#[test]
fn what_an_honest_browser_would_not_say_is_refused() {
    let soft = Authenticator::new(Key::es256(), b"id");
    let data = authenticator_data("localhost", PRESENT | VERIFIED, 1, &[]);
    let said = |client: &str| assertion(&soft.signed(client.as_bytes(), &data)).verify(&soft.key.cose(), EXPECTED);
    let challenge = text(&CHALLENGE);
    let right = format!(r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"{ORIGIN}"}}"#);
    assert!(said(&right).is_ok(), "`crossOrigin` may be left out");
    for (client, fault) in [
        (right.replace("webauthn.get", "webauthn.create"), Fault::Kind),
        (right.replace("webauthn.get", "payment.get"), Fault::Kind),
        (right.replace(&challenge, &text(&[8; 32])), Fault::Challenge),
        (right.replace(&challenge, ""), Fault::Challenge),
        (right.replace(&challenge, &format!("{challenge}=")), Fault::Challenge),
        (right.replace(ORIGIN, "http://localhost:8931"), Fault::Origin),
        (right.replace(ORIGIN, "https://localhost:8932"), Fault::Origin),
        (right.replace(ORIGIN, "http://localhost:8932/"), Fault::Origin),
        (right.replace(ORIGIN, "http://localhost:8932.evil.example"), Fault::Origin),
        (right.replace('}', r#","crossOrigin":true}"#), Fault::Framed),
        (right.replace('}', r#","crossOrigin":"false"}"#), Fault::Framed),
        (right.replace('}', r#","crossOrigin":false,"topOrigin":"https://evil.example"}"#), Fault::Framed),
    ] {
        assert_eq!(said(&client), Err(fault), "{client}");
    }
    for unreadable in ["[]", "null", "{", &right.replace('}', r#","type":"webauthn.get"}"#), &format!("\u{feff}{right}")] {
        assert!(matches!(said(unreadable), Err(Fault::Unreadable(_))), "{unreadable}");
    }
}

#[test]
fn what_an_honest_authenticator_would_not_say_is_refused() {
    let soft = Authenticator::new(Key::eddsa(), b"id");
    let client = client_data("webauthn.get", &text(&CHALLENGE), ORIGIN);
    let said = |data: &[u8]| assertion(&soft.signed(&client, data)).verify(&soft.key.cose(), EXPECTED);
    let both = PRESENT | VERIFIED;
    assert!(said(&authenticator_data("localhost", both, 1, &[])).is_ok());
    assert!(said(&authenticator_data("localhost", both | BRINGS_EXTENSIONS, 1, &[0xa0])).is_ok());
    for (data, fault) in [
        (authenticator_data("evil.example", both, 1, &[]), Fault::Party),
        (authenticator_data("localhost:8932", both, 1, &[]), Fault::Party),
        (authenticator_data("localhost", VERIFIED, 1, &[]), Fault::Presence),
        (authenticator_data("localhost", PRESENT, 1, &[]), Fault::Verification),
        (authenticator_data("localhost", both | BACKED_UP, 1, &[]), Fault::Backup),
    ] {
        assert_eq!(said(&data), Err(fault));
    }
    let key = attested(b"id", &soft.key.cose());
    for data in [
        authenticator_data("localhost", both, 1, &[0]),
        authenticator_data("localhost", both | BRINGS_EXTENSIONS, 1, &[]),
        authenticator_data("localhost", both | BRINGS_EXTENSIONS, 1, &[0xa0, 0xa0]),
        authenticator_data("localhost", both | BRINGS_EXTENSIONS, 1, &[0x80]),
        authenticator_data("localhost", both | BRINGS_KEY, 1, &[]),
        authenticator_data("localhost", both | BRINGS_KEY, 1, &key),
        authenticator_data("localhost", both, 1, &[])[..36].to_vec(),
    ] {
        assert!(matches!(said(&data), Err(Fault::Unreadable(_))), "{data:?}");
    }
}

#[test]
fn a_registration_that_is_not_as_asked_is_refused() {
    let mut soft = Authenticator::new(Key::es256(), b"id");
    let right = soft.create(&options(), ORIGIN);
    let made = |value: &serde_json::Value| Registration::read(&value.to_string()).and_then(|made| made.verify(EXPECTED));
    assert!(made(&right).is_ok());
    let with = |name: &str, bytes: &[u8]| {
        let mut value = right.clone();
        value[name] = text(bytes).into();
        made(&value)
    };
    let both = PRESENT | VERIFIED;
    let data = |flags, rest: &[u8]| attestation(&authenticator_data("localhost", flags, 0, rest));
    let key = attested(b"id", &soft.key.cose());
    assert!(matches!(with("id", b"other"), Err(Fault::Unreadable(_))));
    assert_eq!(with("clientDataJSON", &client_data("webauthn.get", &text(&CHALLENGE), ORIGIN)), Err(Fault::Kind));
    assert_eq!(with("attestationObject", &data(VERIFIED | BRINGS_KEY, &key)), Err(Fault::Presence));
    assert_eq!(with("attestationObject", &data(PRESENT | BRINGS_KEY, &key)), Err(Fault::Verification));
    assert!(matches!(with("attestationObject", &data(both, &[])), Err(Fault::Unreadable(_))), "no key");
    assert!(matches!(
        with("attestationObject", &data(both | BRINGS_KEY, &attested(b"", &soft.key.cose()))),
        Err(Fault::Unreadable(_))
    ));
    let whole = data(both | BRINGS_KEY, &key);
    for wrong in [
        [whole.as_slice(), &[0]].concat(),
        whole[..whole.len() - 1].to_vec(),
        String::from_utf8_lossy(&whole).replace("fmt", "fmx").into_bytes(),
        b"\xa3cfmtdnonecfmtdnonehauthData\x40".to_vec(),
        b"\xa2cfmtdnonegattStmt\xa0".to_vec(),
        b"\xbfcfmtdnonegattStmt\xa0hauthData\x40\xff".to_vec(),
    ] {
        assert!(matches!(with("attestationObject", &wrong), Err(Fault::Unreadable(_))), "{wrong:?}");
    }
}

#[test]
fn keys_are_written_one_way_and_of_the_kinds_that_are_taken() {
    let es256 = Key::es256().cose();
    let key = |alter: &dyn Fn(&mut Vec<u8>)| {
        let mut cose = es256.clone();
        alter(&mut cose);
        PublicKey::read(&cose)
    };
    assert!(PublicKey::read(&es256).is_ok());
    assert_eq!(key(&|cose| cose[4] = 0x38), Err(Fault::Key), "cut in another place");
    assert_eq!(key(&|cose| cose[4] = 0x22), Err(Fault::Algorithm), "-3");
    assert_eq!(key(&|cose| cose[2] = 1), Err(Fault::Key), "kty of another kind");
    assert_eq!(key(&|cose| cose[6] = 2), Err(Fault::Key), "another curve");
    assert_eq!(key(&|cose| *cose.last_mut().unwrap() ^= 1), Err(Fault::Key), "not on the curve");
    assert_eq!(key(&|cose| cose.push(0)), Err(Fault::Key), "goes on after its end");
    assert_eq!(key(&|cose| cose[0] = 0xa4), Err(Fault::Key), "one entry less than there are");
    assert_eq!(key(&|cose| cose[1] = 3), Err(Fault::Key), "a label twice");
    assert_eq!(key(&|cose| cose[1] = 4), Err(Fault::Key), "a label that says more (key_ops)");
    let rs256 = Key::rs256().cose();
    let last = rs256.len() - 1;
    for (at, byte, why) in
        [(last, 3, "another exponent"), (last - 5, rs256[last - 5] & 0xfe, "an even modulus"), (11, 0x7f, "a short modulus")]
    {
        let mut cose = rs256.clone();
        cose[at] = byte;
        assert_eq!(PublicKey::read(&cose), Err(Fault::Key), "{why}");
    }
    assert_eq!(PublicKey::read(&[]), Err(Fault::Key));
}

#[test]
fn what_a_page_sends_is_bounded() {
    let mut soft = Authenticator::new(Key::eddsa(), b"id");
    let right = soft.get(&options(), ORIGIN);
    for (name, value) in [
        ("id", json!("")),
        ("id", json!(text(&[1; 1024]))),
        ("signature", json!(null)),
        ("signature", json!(7)),
        ("signature", json!("a b")),
        ("signature", json!("YQ==")),
        ("clientDataJSON", json!(text(&vec![b' '; 9000]))),
        ("authenticatorData", json!([1])),
    ] {
        let mut wrong = right.clone();
        wrong[name] = value;
        assert!(Assertion::read(&wrong.to_string()).is_err(), "{name}");
    }
    for text in ["", "[]", "null", "{\"id\":\"YQ\",\"id\":\"YQ\"}"] {
        assert!(Assertion::read(text).is_err() && Registration::read(text).is_err());
    }
}

proptest! {
    #[test]
    fn no_bytes_bring_the_readers_down(bytes in proptest::collection::vec(any::<u8>(), 0..200), flags in any::<u8>()) {
        let _any = AuthenticatorData::read(&bytes).is_ok();
        let _any = AuthenticatorData::read(&authenticator_data("localhost", flags, 7, &bytes)).is_ok();
        let _any = attested_data(&bytes).is_ok();
        let _any = PublicKey::read(&bytes).is_ok();
        let _any = super::challenge_of(&bytes).is_ok();
        let value = json!({"id": text(&bytes), "clientDataJSON": text(&bytes), "authenticatorData": text(&bytes), "signature": text(&bytes)});
        if let Ok(assertion) = Assertion::read(&value.to_string()) {
            prop_assert!(assertion.verify(&Key::eddsa().cose(), EXPECTED).is_err());
        }
    }

    #[test]
    fn no_change_of_a_key_brings_its_reader_down(at in 0_usize..77, byte in any::<u8>()) {
        let mut cose = Key::es256().cose();
        cose[at] = byte;
        let _any = PublicKey::read(&cose).is_ok();
        let object = attestation(&authenticator_data("localhost", PRESENT | VERIFIED | BRINGS_KEY, 1, &attested(b"id", &cose)));
        let _any = attested_data(&object).and_then(AuthenticatorData::read).is_ok();
    }
}
