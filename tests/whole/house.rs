//! The shape of the house: which crate may know which.

use std::{collections::BTreeMap, fs, path::Path};

/// The crates of ours that a crate may depend on, outside its tests.
const ALLOWED: &[(&str, &[&str])] = &[
    ("policy", &[]),
    ("policy/solver", &["policy"]),
    ("schemas", &[]),
    ("gateway/trail", &["schemas"]),
    ("gateway/telemetry", &[]),
    ("connectors/demo", &[]),
    ("gateway/identity", &["schemas"]),
    ("gateway/pipeline", &["policy", "schemas"]),
    ("gateway/channels", &["connectors", "pipeline", "policy", "schemas"]),
    ("gateway/config", &["channels", "identity", "pipeline", "policy", "schemas"]),
    ("gateway/credentials", &["pipeline", "schemas"]),
    ("gateway/store", &["identity", "pipeline", "policy", "schemas"]),
    ("gateway/console", &["identity", "policy", "schemas", "store"]),
    ("connectors", &["pipeline", "schemas"]),
];

#[test]
fn no_edge_goes_back() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let workspace = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members: Vec<&str> = workspace
        .split_once("members = [")
        .unwrap()
        .1
        .split_once(']')
        .unwrap()
        .0
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.strip_suffix("\","))
        .collect();
    assert!(members.len() >= 10, "{members:?}");
    for member in members.into_iter().filter(|member| *member != "gateway") {
        let manifest = fs::read_to_string(root.join(member).join("Cargo.toml")).unwrap();
        let needs = manifest.split_once("[dependencies]").unwrap().1.split("[dev-dependencies]").next().unwrap();
        let ours = needs.lines().filter_map(|line| line.strip_prefix("bailiwick-")?.split('.').next());
        let may = allowed.get(member).unwrap_or_else(|| panic!("`{member}` has no row in this test"));
        for other in ours {
            assert!(may.contains(&other), "`{member}` must not know `bailiwick-{other}`");
        }
    }
}
