//! No signed bundle gives way to an older one: what was once signed is not for ever what its signer means.

use std::{cmp::Ordering, io};

use bailiwick_store::{Store, StoreFault, WriteFault};

use super::Titled;
use crate::runtime::StartFault;

/// Refuses a signed bundle whose version is lower than one of its name and signer that was in force before, unless `allow_older`.
pub(crate) fn judge(bundles: &[Titled], store: &Store, allow_older: bool) -> Result<(), StartFault> {
    for bundle in bundles {
        let known = highest(bundle, store)?;
        if let Some(known) = known.filter(|known| !allow_older && order(&bundle.version, known) == Ordering::Less) {
            let why = format!(
                "its version `{}` is older than `{known}`, which was in force before: sign it anew with a higher one, or say `policy.allow_older = true`",
                bundle.version
            );
            return Err(StartFault::Policy { path: bundle.at.clone(), why: io::Error::new(io::ErrorKind::InvalidData, why) });
        }
    }
    Ok(())
}

/// Remembers the versions that are in force by now; a lower one is no reason to forget a higher one.
pub(crate) async fn remember(bundles: &[Titled], store: &Store) -> Result<(), WriteFault> {
    for bundle in bundles {
        // What can't be read is written anew: the rows of this table are ours.
        let known = highest(bundle, store).ok().flatten();
        if let Some(key) = key(bundle).filter(|_| known.is_none_or(|known| order(&known, &bundle.version) == Ordering::Less)) {
            store.set_meta(&key, Some(&bundle.version)).await?;
        }
    }
    Ok(())
}

fn highest(bundle: &Titled, store: &Store) -> Result<Option<String>, StoreFault> {
    key(bundle).map_or(Ok(None), |key| store.meta(&key))
}

/// Where the highest version of a bundle is remembered; none of one that nobody has to sign.
fn key(bundle: &Titled) -> Option<String> {
    Some(format!("policy_bundle_version {} {}", bundle.signer.as_ref()?, bundle.name))
}

/// Which of two versions is the later one: part by part, numbers as numbers (`9` before `10`), all else as text.
fn order(left: &str, right: &str) -> Ordering {
    let (left, right) = (parts(left.trim()), parts(right.trim()));
    let numbers = left.iter().zip(&right).map(|(left, right)| match (number(left), number(right)) {
        (Some(left), Some(right)) => left.len().cmp(&right.len()).then_with(|| left.cmp(right)),
        _ => left.cmp(right),
    });
    numbers.into_iter().find(|order| order.is_ne()).unwrap_or_else(|| left.len().cmp(&right.len()))
}

/// The runs of digits and of what is none.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_digit = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != is_digit).unwrap_or(rest.len());
        let (part, others) = rest.split_at(end);
        parts.push(part);
        rest = others;
    }
    parts
}

/// A number without the zeros before it.
fn number(part: &str) -> Option<&str> {
    part.starts_with(|c: char| c.is_ascii_digit()).then(|| part.trim_start_matches('0'))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn bundle(name: &str, version: &str, signer: Option<&str>) -> Titled {
        let (name, version) = (name.to_owned(), version.to_owned());
        Titled { at: "/policies/bundle.toml".into(), name, version, signer: signer.map(str::to_owned) }
    }

    #[test]
    fn versions_are_in_the_order_that_people_mean() {
        for (earlier, later) in [
            ("7", "8"),
            ("9", "10"),
            ("1.9.3", "1.10.0"),
            ("1.2", "1.2.1"),
            ("2026-11-21", "2026-11-23"),
            ("v9", "v10"),
            ("007", "8"),
        ] {
            assert_eq!((order(earlier, later), order(later, earlier)), (Ordering::Less, Ordering::Greater), "{earlier} {later}");
        }
        assert_eq!((order("007", "7"), order(" 7", "7 ")), (Ordering::Equal, Ordering::Equal));
    }

    #[tokio::test]
    async fn an_older_bundle_is_refused_for_ever_unless_somebody_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let is_taken = |version: &str, allow_older| judge(&[bundle("house", version, Some("key"))], &store, allow_older).is_ok();
        assert!(is_taken("7", false), "nothing is known yet");
        remember(&[bundle("house", "7", Some("key"))], &store).await.unwrap();
        assert_eq!(
            (is_taken("7", false), is_taken("10", false), is_taken("6", false), is_taken("6", true)),
            (true, true, false, true)
        );
        remember(&[bundle("house", "6", Some("key"))], &store).await.unwrap();
        assert!(!is_taken("6", false), "to go back once is no reason to forget");
        // Others have versions of their own, and what nobody signs has none to keep to.
        for other in [bundle("other", "1", Some("key")), bundle("house", "1", Some("another")), bundle("house", "1", None)] {
            assert!(judge(&[other], &store, false).is_ok());
        }
        let told = judge(&[bundle("house", "6", Some("key"))], &store, false).unwrap_err().to_string();
        assert!(told.contains("`6` is older than `7`") && told.contains("policy.allow_older"), "{told}");
    }
}
