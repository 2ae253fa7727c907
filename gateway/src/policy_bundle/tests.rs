//! Folders as copies, links and accidents leave them.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{
    os::unix::fs::symlink,
    sync::atomic::{AtomicBool, Ordering},
};

use super::*;

const RULE: &str = "@id(\"r\") forbid (principal, action, resource);\n";

fn judged(folder: &Path, keys: &[String]) -> Result<Option<Titled>, String> {
    let parts = read(folder);
    if let Some(why) = parts.iter().find_map(|part| part.text.as_ref().err()) {
        return Err(why.to_string());
    }
    judge(folder, &parts.iter().collect::<Vec<_>>(), keys).map_err(|(_, why)| why.to_string())
}

fn manifest(folder: &Path, files: &[(&str, &str)]) {
    let listed: Vec<String> = files.iter().map(|(name, text)| format!("\"{name}\" = \"{}\"", sha256(text))).collect();
    let listed = listed.join("\n");
    fs::write(folder.join(MANIFEST), format!("name = \"house\"\nversion = \"7\"\n[files]\n{listed}")).unwrap();
}

#[test]
fn a_folder_is_a_bundle_with_or_without_a_manifest() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for name in ["b.cedar", "a.cedar", "notes.txt"] {
        fs::write(at.join(name), RULE).unwrap();
    }
    let names = || read(at).iter().map(|part| part.path.file_name().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(), ["a.cedar", "b.cedar"]);
    assert_eq!(judged(at, &[]), Ok(None));
    fs::write(at.join(MANIFEST), "name = \"house\"\nversion = \"7\"\n").unwrap();
    assert_eq!(names(), ["a.cedar", "b.cedar", MANIFEST]);
    assert_eq!(judged(at, &[]).unwrap().unwrap().to_string(), "house 7");
    for wrong in ["name = \"\"\nversion = \"7\"\n", "name = \"house\"\n", "name = \"h\"\nversion = \"1\"\nfiels = {}\n", "name ="]
    {
        fs::write(at.join(MANIFEST), wrong).unwrap();
        assert!(judged(at, &[]).is_err(), "{wrong}");
    }
}

#[test]
fn what_is_not_as_the_manifest_says_is_refused_whole() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("a.cedar"), RULE).unwrap();
    fs::write(at.join("b.cedar"), RULE).unwrap();
    manifest(at, &[("a.cedar", RULE), ("b.cedar", RULE)]);
    assert!(judged(at, &[]).unwrap().is_some());
    // Half written, not there yet, one too many.
    fs::write(at.join("b.cedar"), RULE.get(..10).unwrap()).unwrap();
    assert!(judged(at, &[]).unwrap_err().contains("`b.cedar` is not the file"), "half written");
    fs::remove_file(at.join("b.cedar")).unwrap();
    assert!(judged(at, &[]).unwrap_err().contains("the bundle is not whole"));
    fs::write(at.join("b.cedar"), RULE).unwrap();
    fs::write(at.join("c.cedar"), RULE).unwrap();
    assert!(judged(at, &[]).unwrap_err().contains("`c.cedar` is there and not listed"));
}

#[test]
fn a_bundle_must_be_signed_where_keys_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("a.cedar"), RULE).unwrap();
    let keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAII2n2bSgaSuJk//0KI0rHWvczUNK4XB/xhSRkoueh+xe policy".to_owned()];
    assert!(judged(at, &keys).unwrap_err().contains("takes signed bundles alone"));
    manifest(at, &[("a.cedar", RULE)]);
    assert!(judged(at, &keys).unwrap_err().contains("nobody signed it"));
    fs::write(at.join(SIGNATURE), "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n").unwrap();
    assert!(judged(at, &keys).unwrap_err().contains("its signature can't be read"));
    assert!(judged(at, &[]).unwrap().is_some(), "nobody asks for one");
}

#[test]
fn folders_that_are_gone_empty_or_too_large_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("p");
    assert!(judged(&at, &[]).is_err());
    fs::create_dir(&at).unwrap();
    assert_eq!(judged(&at, &[]).unwrap_err(), "there is no .cedar file in it");
    for file in 0..13 {
        fs::File::create(at.join(format!("{file:02}.cedar"))).unwrap().set_len(8 * 1024 * 1024).unwrap();
    }
    assert!(judged(&at, &[]).unwrap_err().contains("larger than 32 MiB"));
    let read_bytes: usize = read(&at).iter().filter_map(|part| part.text.as_ref().ok()).map(String::len).sum();
    assert!(read_bytes as u64 <= LARGEST, "no more of it is read than is borne");
}

/// A link over the whole bundle is swapped as fast as can be: each reading is of one version.
#[test]
fn a_swapped_link_never_mixes_two_versions() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().to_owned();
    for version in ["one", "two"] {
        fs::create_dir(at.join(version)).unwrap();
        for file in 0..20 {
            fs::write(at.join(version).join(format!("{file:02}.cedar")), format!("// {version}\n{RULE}")).unwrap();
        }
    }
    symlink("one", at.join("current")).unwrap();
    let is_over = std::sync::Arc::new(AtomicBool::new(false));
    let swapper = {
        let (at, is_over) = (at.clone(), std::sync::Arc::clone(&is_over));
        std::thread::spawn(move || {
            let mut swaps = 0;
            while !is_over.load(Ordering::Relaxed) {
                symlink(if swaps % 2 == 0 { "two" } else { "one" }, at.join("fresh")).unwrap();
                fs::rename(at.join("fresh"), at.join("current")).unwrap();
                swaps += 1;
            }
            swaps
        })
    };
    let (mut whole, mut told) = (0, 0);
    for _ in 0..400 {
        let parts = read(&at.join("current"));
        if parts.iter().any(|part| part.text.is_err()) {
            told += 1;
            continue;
        }
        let versions: BTreeSet<_> = parts.iter().map(|part| part.text.as_ref().unwrap().lines().next().unwrap()).collect();
        assert_eq!((versions.len(), parts.len()), (1, 20), "{versions:?}");
        whole += 1;
    }
    is_over.store(true, Ordering::Relaxed);
    let swaps = swapper.join().unwrap();
    assert!(whole > 0 && swaps > 0, "{whole} whole, {told} told, {swaps} swaps");
}

#[test]
fn rules_in_a_subfolder_are_not_passed_over() {
    for below in ["more/x.cedar", "more/deep/er/x.CEDAR", "tests/x.cedar"] {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        fs::write(at.join("a.cedar"), RULE).unwrap();
        fs::create_dir_all(at.join(below).parent().unwrap()).unwrap();
        fs::write(at.join("more-notes.txt"), "").unwrap();
        assert_eq!(judged(at, &[]), Ok(None), "a folder without rules is no harm");
        fs::write(at.join(below), RULE).unwrap();
        let why = judged(at, &[]).unwrap_err();
        assert!(why.contains(&format!("the rules in `{below}` would be passed over")) && why.contains("policy.files"), "{why}");
    }
}

/// A volume keeps its files in hidden folders, and links to them.
#[test]
fn what_is_hidden_is_no_part_of_a_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir_all(at.join("..2026_11_23")).unwrap();
    fs::write(at.join("..2026_11_23/a.cedar"), RULE).unwrap();
    symlink("..2026_11_23", at.join("..data")).unwrap();
    symlink("..data/a.cedar", at.join("a.cedar")).unwrap();
    fs::create_dir_all(at.join(".git/x.cedar")).unwrap();
    assert_eq!(judged(at, &[]), Ok(None));
}
