//! The examples of the specification (Web Authentication Level 3, section 16), each as it stands: what we take is taken, the rest is refused
//! for what it is.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice, reason = "a test may fail by panicking")]

use std::collections::BTreeMap;

use serde_json::json;

use super::{
    Assertion, Expected, PasskeyFault as Fault, PublicKey, Registration,
    authenticator_data::{AuthenticatorData, attested},
    soft::text,
};
use crate::random::sha256;

const EXAMPLES: &str = include_str!("vectors.txt");

/// What an example is given as, by the words of the file.
type Given = BTreeMap<&'static str, Vec<u8>>;

fn examples() -> BTreeMap<&'static str, Given> {
    let mut examples = BTreeMap::<_, Given>::new();
    let mut current = "";
    for line in EXAMPLES.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap();
        if word == "example" {
            current = rest;
        } else {
            let pair = |at: usize| u8::from_str_radix(&rest[at..at + 2], 16).unwrap();
            examples.entry(current).or_default().insert(word, (0..rest.len()).step_by(2).map(pair).collect());
        }
    }
    examples
}

fn expected(challenge: &[u8]) -> Expected<'_> {
    Expected { challenge, origin: "https://example.org", party: "example.org" }
}

/// What a page would send for the registration, and what that comes to.
fn register(of: &Given) -> Result<Vec<u8>, Fault> {
    let sent =
        json!({"id": text(&of["id"]), "clientDataJSON": text(&of["reg-client"]), "attestationObject": text(&of["attestation"])});
    let made = Registration::read(&sent.to_string())?;
    assert_eq!(made.challenge()?, of["reg-challenge"]);
    let key = made.verify(expected(&of["reg-challenge"]))?;
    assert_eq!(key.id, of["id"]);
    Ok(key.cose)
}

/// The same for the signature, by a key that was registered before.
fn sign(of: &Given, cose: &[u8]) -> Result<(), Fault> {
    let sent = json!({"id": text(&of["id"]), "clientDataJSON": text(&of["client"]), "authenticatorData": text(&of["data"]),
        "signature": text(&of["signature"])});
    let answer = Assertion::read(&sent.to_string())?;
    assert_eq!((answer.challenge()?, &answer.id), (of["challenge"].clone(), &of["id"]));
    answer.verify(cose, expected(&of["challenge"])).map(drop)
}

/// The key that an example registers, whether or not we would.
fn cose(of: &Given) -> Vec<u8> {
    AuthenticatorData::read(attested(&of["attestation"]).unwrap()).unwrap().key.unwrap().cose.to_vec()
}

/// Most examples are of authenticators that verified nobody (UV = 0), once or both times: that is what they are refused for.
#[test]
fn the_examples_of_the_specification_come_to_what_they_should() {
    let (unverified, framed, other) = (Err(Fault::Verification), Err(Fault::Framed), Err(Fault::Algorithm));
    let table = [
        ("none-es256", unverified, unverified),
        ("packed-self-es256", Ok(()), unverified),
        ("none-es256-crossOrigin", framed, framed),
        ("none-es256-topOrigin", framed, framed),
        ("none-es256-long-credential-id", unverified, Ok(())),
        ("packed-es256", Ok(()), Ok(())),
        ("packed-es384", unverified, other),
        ("packed-es512", other, unverified),
        ("packed-rs256", Ok(()), unverified),
        ("packed-eddsa", unverified, unverified),
        ("packed-ed448", unverified, other),
        ("tpm-es256", Ok(()), Ok(())),
        ("android-key-es256", Ok(()), unverified),
        ("apple-es256", unverified, unverified),
        ("fido-u2f-es256", unverified, unverified),
    ];
    let examples = examples();
    assert_eq!(table.len(), examples.len());
    for (name, registered, signed) in table {
        let of = &examples[name];
        assert_eq!(register(of).map(drop), registered, "{name}");
        assert_eq!(sign(of, &cose(of)), signed, "{name}");
    }
}

/// Whoever was not verified may still have signed rightly: each key of a kind that is taken is read, and is the one that signed.
#[test]
fn each_signature_of_the_specification_is_that_of_its_key_alone() {
    let examples = examples();
    let another = cose(&examples["packed-es256"]);
    for (name, of) in &examples {
        let signed = [of["data"].as_slice(), &sha256(&of["client"])].concat();
        let key = PublicKey::read(&cose(of));
        if ["packed-es384", "packed-es512", "packed-ed448"].contains(name) {
            assert_eq!(key, Err(Fault::Algorithm), "{name}");
            continue;
        }
        let key = key.unwrap();
        assert_eq!(key.verify(&signed, &of["signature"]), Ok(()), "{name}");
        for bit in 0..8 * signed.len() {
            let mut wrong = signed.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.verify(&wrong, &of["signature"]), Err(Fault::Signature), "{name}, bit {bit}");
        }
        if *name != "packed-es256" {
            assert_eq!(PublicKey::read(&another).unwrap().verify(&signed, &of["signature"]), Err(Fault::Signature), "{name}");
        }
    }
}

/// An example is its own: the challenge, the credential or the signature of any other one is refused.
#[test]
fn nothing_of_one_example_passes_in_another() {
    let examples = examples();
    let (right, from) = (&examples["packed-es256"], &examples["tpm-es256"]);
    let key = cose(right);
    for (part, fault) in [("challenge", Fault::Challenge), ("client", Fault::Challenge), ("signature", Fault::Signature)] {
        let mut mixed = right.clone();
        mixed.insert(part, from[part].clone());
        let answer = Assertion {
            id: mixed["id"].clone(),
            client_data: mixed["client"].clone(),
            authenticator_data: mixed["data"].clone(),
            signature: mixed["signature"].clone(),
            user: None,
        };
        assert_eq!(answer.verify(&key, expected(&mixed["challenge"])), Err(fault), "{part}");
    }
    let mut mixed = right.clone();
    mixed.insert("id", from["id"].clone());
    assert!(matches!(register(&mixed), Err(Fault::Unreadable(_))), "another credential than it brings");
}
