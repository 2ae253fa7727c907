#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};

use super::*;
use crate::{
    AnchorsFault,
    authority::{Issued, Signer, Wish},
};

const NOW: u64 = 1_800_000_000_000;
const ID: &str = "spiffe://example.org/agent/triage";

fn anchors(signers: &[&Signer]) -> Arc<Anchors> {
    let certificates: Vec<_> = signers.iter().map(|signer| CertificateDer::from(signer.der())).collect();
    Arc::new(Anchors::new(&certificates).unwrap())
}

fn authority(domain: &str, signers: &[&Signer]) -> Arc<Authority> {
    let authority = Authority::new(domain.parse().unwrap());
    authority.put(anchors(signers), NOW + 3_600_000);
    Arc::new(authority)
}

fn trust(domains: &[(&str, &Signer)]) -> Trust {
    let trust = Trust::default();
    trust.set(domains.iter().map(|(domain, signer)| authority(domain, &[signer])));
    trust
}

fn chain(leaf: &Issued, above: &[&Signer]) -> Vec<CertificateDer<'static>> {
    let above = above.iter().map(|signer| signer.der());
    std::iter::once(leaf.certificate.clone()).chain(above).map(CertificateDer::from).collect()
}

/// What comes of a workload's certificate with these changes.
fn judged(change: impl FnOnce(&mut Wish)) -> Result<String, CertificateFault> {
    let root = Signer::root();
    let mut wish = Wish::workload(ID);
    change(&mut wish);
    let proven = trust(&[("example.org", &root)]).verify(&chain(&root.issue(wish), &[]), NOW);
    proven.map(|svid| svid.id().to_string())
}

#[test]
fn a_workload_is_proven_by_its_domain() {
    assert_eq!(judged(|_| ()), Ok(ID.to_owned()));
    // Other names beside the one URI are nobody's concern.
    assert_eq!(judged(|wish| wish.names.push("triage.example.org".to_owned())), Ok(ID.to_owned()));
    // Without purposes a certificate is for all of them (RFC 5280, section 4.2.1.12).
    assert_eq!(judged(|wish| wish.purposes.clear()), Ok(ID.to_owned()));
}

#[test]
fn the_thumbprint_is_that_of_the_whole_certificate() {
    let root = Signer::root();
    let leaf = root.issue(Wish::workload(ID));
    let svid = trust(&[("example.org", &root)]).verify(&chain(&leaf, &[]), NOW).unwrap();
    assert_eq!(svid.thumbprint().to_vec(), Sha256::digest(&leaf.certificate).to_vec());
}

#[test]
fn what_is_no_workloads_certificate_is_refused() {
    assert_eq!(judged(|wish| wish.uris.clear()), Err(CertificateFault::NoId));
    assert_eq!(judged(|wish| wish.uris.push(format!("{ID}2"))), Err(CertificateFault::SeveralIds));
    assert_eq!(judged(|wish| wish.uris.push(ID.to_owned())), Err(CertificateFault::SeveralIds));
    assert_eq!(judged(|wish| wish.uris.push("https://example.org/".to_owned())), Err(CertificateFault::SeveralIds));
    let bad = |uri: &str| judged(|wish| wish.uris = vec![uri.to_owned()]);
    assert_eq!(bad("https://example.org/agent"), Err(CertificateFault::BadId(SpiffeFault::Scheme)));
    assert_eq!(bad("spiffe://example.org"), Err(CertificateFault::BadId(SpiffeFault::NoPath)));
    assert_eq!(bad("spiffe://example.org/a/../b"), Err(CertificateFault::BadId(SpiffeFault::Path)));
    assert_eq!(bad("spiffe://Example.org/a"), Err(CertificateFault::BadId(SpiffeFault::Domain)));
    assert_eq!(judged(|wish| wish.is_authority = true), Err(CertificateFault::Authority));
    for usages in [
        vec![],
        vec![KeyUsagePurpose::KeyEncipherment],
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign],
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign],
    ] {
        assert_eq!(judged(|wish| wish.usages = usages), Err(CertificateFault::Usage));
    }
    assert_eq!(judged(|wish| wish.purposes = vec![ExtendedKeyUsagePurpose::ServerAuth]), Err(CertificateFault::Purpose));
    let seconds = NOW / 1000;
    assert_eq!(judged(|wish| wish.good.1 = seconds - 1), Err(CertificateFault::Expired));
    assert_eq!(judged(|wish| wish.good.0 = seconds + 1), Err(CertificateFault::NotYetValid));
    let none = trust(&[]);
    assert_eq!(none.verify(&[], NOW).err(), Some(CertificateFault::Absent));
    assert_eq!(none.verify(&[CertificateDer::from(vec![1, 2, 3])], NOW).err(), Some(CertificateFault::Malformed));
}

#[test]
fn an_authority_speaks_for_its_own_domain_alone() {
    let (ours, theirs) = (Signer::root(), Signer::root());
    let trust = trust(&[("example.org", &ours), ("example.com", &theirs)]);
    let is_refused = |signer: &Signer, id: &str| {
        matches!(trust.verify(&chain(&signer.issue(Wish::workload(id)), &[]), NOW), Err(CertificateFault::Chain { .. }))
    };
    assert!(is_refused(&theirs, ID), "the other domain's authority");
    assert!(is_refused(&ours, "spiffe://example.com/agent/triage"));
    assert!(is_refused(&Signer::root(), ID), "nobody's authority");
    assert!(!is_refused(&ours, ID) && !is_refused(&theirs, "spiffe://example.com/agent/triage"));
    // The other domain's authority sent along is no authority for it.
    let forged = theirs.issue(Wish::workload(ID));
    assert!(matches!(trust.verify(&chain(&forged, &[&theirs]), NOW), Err(CertificateFault::Chain { .. })));
    let stranger = ours.issue(Wish::workload("spiffe://elsewhere.example/a"));
    let unknown = CertificateFault::UnknownDomain("elsewhere.example".parse().unwrap());
    assert_eq!(trust.verify(&chain(&stranger, &[]), NOW).err(), Some(unknown));
}

#[test]
fn what_stands_between_must_be_an_authority_itself() {
    let root = Signer::root();
    let trust = trust(&[("example.org", &root)]);
    let between = root.below(Wish::authority());
    let leaf = between.issue(Wish::workload(ID));
    assert!(trust.verify(&chain(&leaf, &[&between]), NOW).is_ok());
    assert!(matches!(trust.verify(&chain(&leaf, &[]), NOW), Err(CertificateFault::Chain { .. })), "what is above is missing");
    let another = between.below(Wish::authority());
    let deep = another.issue(Wish::workload(ID));
    assert!(trust.verify(&chain(&deep, &[&another, &between]), NOW).is_ok());
    for (what, wish) in [
        ("a workload", Wish { is_authority: false, ..Wish::authority() }),
        ("one that may not sign", Wish { usages: vec![KeyUsagePurpose::DigitalSignature], ..Wish::authority() }),
    ] {
        let between = root.below(wish);
        let leaf = between.issue(Wish::workload(ID));
        assert!(matches!(trust.verify(&chain(&leaf, &[&between]), NOW), Err(CertificateFault::Chain { .. })), "{what}");
    }
    let outlived = root.below(Wish { good: (1_500_000_000, NOW / 1000 - 1), ..Wish::authority() });
    let leaf = outlived.issue(Wish::workload(ID));
    assert_eq!(trust.verify(&chain(&leaf, &[&outlived]), NOW).err(), Some(CertificateFault::Expired));
    let many: Vec<&Signer> = vec![&between; LONGEST_CHAIN];
    assert_eq!(trust.verify(&chain(&leaf, &many), NOW).err(), Some(CertificateFault::Many));
}

#[test]
fn only_authorities_are_anchors() {
    let root = Signer::root();
    let leaf = CertificateDer::from(root.issue(Wish::workload(ID)).certificate);
    assert_eq!(Anchors::new(std::slice::from_ref(&leaf)).err(), Some(AnchorsFault::NoAuthority(0)));
    assert_eq!(Anchors::new(&[root.der().into(), leaf]).err(), Some(AnchorsFault::NoAuthority(1)));
    assert_eq!(Anchors::new(&[]).err(), Some(AnchorsFault::Empty));
    assert_eq!(Anchors::new(&[vec![0].into()]).err(), Some(AnchorsFault::Malformed(0)));
}

#[test]
fn what_was_verified_is_good_as_long_as_its_domain_stands_behind_it() {
    let (old, new) = (Signer::root(), Signer::root());
    let ours = authority("example.org", &[&old]);
    let trust = Trust::default();
    trust.set([Arc::clone(&ours)]);
    let before = trust.verify(&chain(&old.issue(Wish::workload(ID)), &[]), NOW).unwrap();
    assert_eq!(trust.confirm(&before, NOW), Ok(()));
    // Both authorities for a while: nothing ends.
    ours.put(anchors(&[&old, &new]), NOW + 3_600_000);
    let after = trust.verify(&chain(&new.issue(Wish::workload(ID)), &[]), NOW).unwrap();
    assert_eq!((trust.confirm(&before, NOW), trust.confirm(&after, NOW)), (Ok(()), Ok(())));
    ours.put(anchors(&[&new]), NOW + 3_600_000);
    assert!(matches!(trust.confirm(&before, NOW), Err(CertificateFault::Chain { .. })));
    assert_eq!(trust.confirm(&after, NOW), Ok(()));
    // A bundle that is too old closes its domain, until there is one again.
    let closed = Err(CertificateFault::NoBundle("example.org".parse().unwrap()));
    assert_eq!(trust.confirm(&after, NOW + 3_600_001), closed);
    ours.put(anchors(&[&new]), NOW + 7_200_000);
    assert_eq!(trust.confirm(&after, NOW + 3_600_001), Ok(()));
    trust.set([]);
    assert_eq!(trust.confirm(&after, NOW), Err(CertificateFault::UnknownDomain("example.org".parse().unwrap())));
    trust.set([Arc::new(Authority::new("example.org".parse().unwrap()))]);
    assert_eq!(trust.confirm(&after, NOW), closed);
}

#[test]
fn what_was_verified_expires() {
    let root = Signer::root();
    let seconds = NOW / 1000;
    let trust = trust(&[("example.org", &root)]);
    let leaf = root.issue(Wish { good: (seconds - 60, seconds + 60), ..Wish::workload(ID) });
    let svid = trust.verify(&chain(&leaf, &[]), NOW).unwrap();
    assert_eq!(trust.confirm(&svid, NOW + 60_000), Ok(()));
    assert_eq!(trust.confirm(&svid, NOW + 61_000), Err(CertificateFault::Expired));
    let between = root.below(Wish { good: (seconds - 60, seconds + 30), ..Wish::authority() });
    let svid = trust.verify(&chain(&between.issue(Wish::workload(ID)), &[&between]), NOW).unwrap();
    assert_eq!(trust.confirm(&svid, NOW + 31_000), Err(CertificateFault::Expired), "what stands between has expired");
}

#[test]
fn an_authority_that_has_expired_stands_behind_nobody() {
    let seconds = NOW / 1000;
    let (short, long) = (Signer::root_good((seconds - 60, seconds + 60)), Signer::root_good((seconds - 60, seconds + 120)));
    let both = Trust::default();
    both.set([authority("example.org", &[&short, &long])]);
    let (by_short, by_long) = (short.issue(Wish::workload(ID)), long.issue(Wish::workload(ID)));
    let svid = |of: &Issued| both.verify(&chain(of, &[]), NOW).unwrap();
    let (one, other) = (svid(&by_short), svid(&by_long));
    assert_eq!((both.confirm(&one, NOW + 60_000), both.confirm(&other, NOW + 60_000)), (Ok(()), Ok(())));
    // What was verified by it is looked at again as it ends; the other one's is good still, until that ends too.
    assert!(matches!(both.confirm(&one, NOW + 61_000), Err(CertificateFault::Chain { .. })));
    assert_eq!(both.confirm(&other, NOW + 61_000), Ok(()));
    assert!(matches!(both.verify(&chain(&by_short, &[]), NOW + 61_000), Err(CertificateFault::Chain { .. })));
    assert!(both.verify(&chain(&by_long, &[]), NOW + 61_000).is_ok());
    // It is no authority by being sent along either.
    assert!(both.verify(&chain(&by_short, &[&short]), NOW + 61_000).is_err());
    assert_eq!(both.confirm(&other, NOW + 121_000), Err(CertificateFault::Expired));
    assert_eq!(both.verify(&chain(&by_long, &[]), NOW + 121_000).err(), Some(CertificateFault::Expired));
    // A clock that was set right again finds both.
    assert_eq!((both.confirm(&one, NOW), both.confirm(&other, NOW)), (Ok(()), Ok(())));
}

#[test]
fn a_domain_without_an_authority_has_nobody_believed() {
    let root = Signer::root();
    let leaf = CertificateDer::from(root.issue(Wish::workload(ID)).certificate);
    let ours = authority("example.org", &[&root]);
    let trust = Trust::default();
    trust.set([Arc::clone(&ours)]);
    let before = trust.verify(std::slice::from_ref(&leaf), NOW).unwrap();
    let some = Anchors::among(&[leaf.clone(), vec![0].into(), root.der().into()]);
    assert_eq!(some.count(), 1);
    ours.put(Arc::new(Anchors::among(std::slice::from_ref(&leaf))), NOW + 3_600_000);
    let nobody = CertificateFault::NoAuthority("example.org".parse().unwrap());
    assert_eq!(trust.confirm(&before, NOW), Err(nobody.clone()));
    assert_eq!(trust.verify(&[leaf], NOW).err(), Some(nobody));
}

#[test]
fn no_byte_of_a_certificate_can_be_another() {
    let root = Signer::root();
    let trust = trust(&[("example.org", &root)]);
    let good = root.issue(Wish::workload(ID)).certificate;
    assert!(trust.verify(&[good.clone().into()], NOW).is_ok());
    for at in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut other = good.clone();
            other.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= flip);
            assert!(trust.verify(&[other.into()], NOW).is_err(), "byte {at} with {flip:x}");
        }
        let (short, _) = good.split_at_checked(at).unwrap();
        assert!(trust.verify(&[short.to_vec().into()], NOW).is_err(), "cut at {at}");
    }
    let long = [good, vec![0]].concat();
    assert_eq!(trust.verify(&[long.into()], NOW).err(), Some(CertificateFault::Malformed));
}
