#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use serde_json::json;

use super::*;
use crate::{
    CertificateFault, Trust,
    authority::{Signer, Wish},
};

const NOW: u64 = 1_800_000_000_000;
const HOUR: Duration = Duration::from_hours(1);

fn key(signer: &Signer) -> Value {
    json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "use": "x509-svid", "x5c": [STANDARD.encode(signer.der())]})
}

fn document(keys: &[Value], more: &Value) -> Vec<u8> {
    let mut document = json!({"keys": keys});
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document.to_string().into_bytes()
}

#[test]
fn a_bundle_is_a_document_or_pem() {
    let (one, other) = (Signer::root(), Signer::root());
    let jwt = json!({"kty": "EC", "use": "jwt-svid", "kid": "k", "crv": "P-256", "x": "AA", "y": "AA"});
    let text = document(
        &[key(&one), jwt, key(&other), json!({"use": "new"})],
        &json!({"spiffe_sequence": 7, "spiffe_refresh_hint": 60}),
    );
    let bundle = Bundle::read(&text).unwrap();
    assert_eq!((bundle.anchors.count(), bundle.sequence, bundle.refresh), (2, Some(7), Some(Duration::from_mins(1))));
    let pem = format!("the authorities:\n{}\n{}", one.pem(), other.pem());
    let bundle = Bundle::read(pem.as_bytes()).unwrap();
    assert_eq!((bundle.anchors.count(), bundle.sequence, bundle.refresh), (2, None, None));
}

#[test]
fn what_could_be_read_in_two_ways_or_has_no_authority_is_no_bundle() {
    let root = Signer::root();
    let fault = |text: &[u8]| Bundle::read(text).unwrap_err();
    let good = key(&root);
    assert_eq!(fault(b"{}"), BundleFault::Shape("keys"));
    assert_eq!(fault(b"{\"keys\": {}}"), BundleFault::Shape("keys"));
    assert_eq!(fault(b"{\"keys\": [1]}"), BundleFault::Shape("keys"));
    for (name, value) in [("spiffe_sequence", json!(-1)), ("spiffe_sequence", json!("1")), ("spiffe_refresh_hint", json!(1.5))] {
        assert_eq!(fault(&document(std::slice::from_ref(&good), &json!({ name: value }))), BundleFault::Shape(name));
    }
    assert!(matches!(fault(b"{\"keys\": [], \"keys\": []}"), BundleFault::Json(_)), "a key twice");
    assert!(matches!(fault(b"{\"keys\": []} x"), BundleFault::Json(_)));
    assert_eq!(fault(b"<html>"), BundleFault::Anchors(AnchorsFault::Empty));
    assert_eq!(fault(b""), BundleFault::Anchors(AnchorsFault::Empty));
    assert!(matches!(fault(b"-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n"), BundleFault::Pem(_)));
    assert_eq!(fault(&vec![b' '; LARGEST_BUNDLE + 1]), BundleFault::Large);
}

#[test]
fn keys_that_are_of_no_authority_are_passed_over() {
    let (root, other) = (Signer::root(), Signer::root());
    let certificate = STANDARD.encode(root.der());
    let leaf = STANDARD.encode(root.issue(Wish::workload("spiffe://example.org/a")).certificate);
    for (name, value) in [
        ("x5c", json!([])),
        ("x5c", json!([certificate, certificate])),
        ("x5c", json!(certificate)),
        ("x5c", json!(["%%"])),
        ("x5c", json!(["AAAA"])),
        ("x5c", json!([5])),
        ("x5c", Value::Null),
        ("x5c", json!([leaf])),
    ] {
        let mut odd = key(&root);
        odd.as_object_mut().unwrap().insert(name.to_owned(), value.clone());
        let counts = |keys: &[Value]| Bundle::read(&document(keys, &json!({}))).map(|read| (read.anchors.count(), read.unusable));
        assert_eq!(counts(&[odd.clone(), key(&other)]), Ok((1, 1)), "{value}");
        assert_eq!(counts(&[odd]), Ok((0, 1)), "{value}");
    }
}

struct Domain {
    trust: Trust,
    keeper: Keeper,
}

impl Domain {
    fn new(pace: Pace) -> Self {
        let (trust, authority) = (Trust::default(), Arc::new(Authority::new("example.org".parse().unwrap())));
        trust.set([Arc::clone(&authority)]);
        Self { trust, keeper: Keeper::new(authority, pace, HOUR) }
    }

    fn proves(&self, signer: &Signer, now_ms: u64) -> Result<(), CertificateFault> {
        let leaf = signer.issue(Wish::workload("spiffe://example.org/a")).certificate;
        self.trust.verify(&[leaf.into()], now_ms).map(drop)
    }
}

#[test]
fn an_endpoint_that_is_down_is_asked_again_and_closes_its_domain_in_the_end() {
    let root = Signer::root();
    let mut domain = Domain::new(Pace::Endpoint);
    let closed = Err(CertificateFault::NoBundle("example.org".parse().unwrap()));
    assert_eq!(domain.proves(&root, NOW), closed, "nothing was read yet");
    let text = document(&[key(&root)], &json!({"spiffe_refresh_hint": 60}));
    let minute = Duration::from_mins(1);
    assert_eq!(domain.keeper.take(Ok(text.clone()), NOW), Taken { again_after: minute, news: Some(News::Changed(1)) });
    let down = || Err("connection refused".to_owned());
    let lost = News::Lost("connection refused".to_owned());
    let waits = |seconds, news| Taken { again_after: Duration::from_secs(seconds), news };
    assert_eq!(domain.keeper.take(down(), NOW + 60_000), waits(5, Some(lost)));
    for seconds in [10, 20, 40, 60, 60] {
        assert_eq!(domain.keeper.take(down(), NOW + 70_000), waits(seconds, None));
    }
    assert_eq!(domain.proves(&root, NOW + 3_600_000), Ok(()), "what was read is good for a while");
    assert_eq!(domain.proves(&root, NOW + 3_600_001), closed);
    assert_eq!(domain.keeper.take(Ok(text), NOW + 4_000_000), waits(60, Some(News::Back)));
    assert_eq!(domain.proves(&root, NOW + 4_000_000), Ok(()));
}

#[test]
fn how_often_an_endpoint_is_asked_has_bounds() {
    let root = Signer::root();
    for (hint, seconds) in
        [(json!({"spiffe_refresh_hint": 0}), 5), (json!({"spiffe_refresh_hint": 86_400}), 1800), (json!({}), 300)]
    {
        let mut domain = Domain::new(Pace::Endpoint);
        let taken = domain.keeper.take(Ok(document(&[key(&root)], &hint)), NOW);
        assert_eq!(taken.again_after, Duration::from_secs(seconds), "{hint}");
    }
    let taken = Domain::new(Pace::File).keeper.take(Ok(root.pem().into_bytes()), NOW);
    assert_eq!(taken.again_after, Duration::from_secs(1));
}

#[test]
fn another_bundle_is_in_force_at_once_and_a_broken_one_never() {
    let (old, new) = (Signer::root(), Signer::root());
    let mut domain = Domain::new(Pace::File);
    assert_eq!(domain.keeper.take(Ok(old.pem().into_bytes()), NOW).news, Some(News::Changed(1)));
    assert!(matches!(domain.keeper.take(Ok(b"{".to_vec()), NOW).news, Some(News::Lost(_))));
    assert_eq!(domain.proves(&old, NOW), Ok(()));
    assert_eq!(domain.keeper.take(Ok(new.pem().into_bytes()), NOW).news, Some(News::Changed(1)));
    assert_eq!(domain.proves(&new, NOW), Ok(()));
    assert!(matches!(domain.proves(&old, NOW), Err(CertificateFault::Chain { .. })));
    assert_eq!(domain.keeper.take(Ok(new.pem().into_bytes()), NOW).news, None);
}

#[test]
fn a_document_without_an_authority_ends_its_domain_at_once() {
    let (old, new) = (Signer::root(), Signer::root());
    let jwt = json!({"kty": "EC", "use": "jwt-svid", "kid": "k", "crv": "P-256", "x": "AA", "y": "AA"});
    let mut broken = key(&new);
    broken.as_object_mut().unwrap().insert("x5c".to_owned(), json!(["AAAA"]));
    let nobody = Err(CertificateFault::NoAuthority("example.org".parse().unwrap()));
    for (pace, keys) in
        [(Pace::Endpoint, vec![]), (Pace::File, vec![]), (Pace::Endpoint, vec![jwt]), (Pace::File, vec![broken.clone()])]
    {
        let mut domain = Domain::new(pace);
        assert_eq!(domain.keeper.take(Ok(document(&[key(&old)], &json!({}))), NOW).news, Some(News::Changed(1)));
        assert_eq!(domain.proves(&old, NOW), Ok(()));
        let text = document(&keys, &json!({}));
        assert_eq!(domain.keeper.take(Ok(text.clone()), NOW).news, Some(News::Changed(0)));
        assert_eq!(domain.proves(&old, NOW), nobody, "{keys:?}");
        assert_eq!(domain.keeper.take(Ok(text), NOW + 1000).news, None);
        assert_eq!(domain.proves(&old, NOW + 1000), nobody, "{keys:?}");
        assert_eq!(domain.keeper.take(Ok(document(&[key(&new)], &json!({}))), NOW).news, Some(News::Changed(1)));
        assert_eq!(domain.proves(&new, NOW), Ok(()));
    }
    // An authority that was taken out is out, whatever else is in there.
    let mut domain = Domain::new(Pace::Endpoint);
    let _first = domain.keeper.take(Ok(document(&[key(&old), key(&new)], &json!({}))), NOW);
    assert_eq!(domain.keeper.take(Ok(document(&[broken, key(&new)], &json!({}))), NOW).news, Some(News::Changed(1)));
    assert!(matches!(domain.proves(&old, NOW), Err(CertificateFault::Chain { .. })));
    assert_eq!(domain.proves(&new, NOW), Ok(()));
}

#[test]
fn an_endpoint_does_not_go_back_behind_what_it_said() {
    let (old, new) = (Signer::root(), Signer::root());
    let mut domain = Domain::new(Pace::Endpoint);
    let text = |signer: &Signer, sequence: u64| document(&[key(signer)], &json!({ "spiffe_sequence": sequence }));
    assert_eq!(domain.keeper.take(Ok(text(&new, 2)), NOW).news, Some(News::Changed(1)));
    let outdated = BundleFault::Outdated { got: 1, had: 2 }.to_string();
    assert_eq!(domain.keeper.take(Ok(text(&old, 1)), NOW).news, Some(News::Lost(outdated)));
    assert_eq!(domain.proves(&new, NOW), Ok(()));
    assert!(domain.proves(&old, NOW).is_err());
}
