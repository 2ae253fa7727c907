//! The JSON-Schema-Test-Suite through our validator: what differs is listed, exactly.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{Bounds, SchemaFault, Validator};
use crate::json::{self, Limits};
use crate::vectors;

/// Every difference of a folder's tests: `file: group (bound)` when a bound of ours refuses the schema,
/// `file: group: test` when the verdict differs.
fn differences(folder: &Path) -> BTreeSet<String> {
    let mut differences = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let file = path.file_stem().unwrap().to_str().unwrap();
        let groups = json::parse(&fs::read(&path).unwrap(), Limits::MESSAGE).unwrap();
        for group in groups.as_array().unwrap() {
            let name = format!("{file}: {}", group["description"].as_str().unwrap());
            match Validator::compile(&group["schema"], Bounds::default()) {
                Err(fault) => {
                    differences.insert(format!("{name} ({})", bound(&fault)));
                }
                Ok(validator) => {
                    differences.extend(different_verdicts(&validator, &name, &group["tests"]));
                }
            }
        }
    }
    differences
}

/// The bound that refuses a schema, in a word.
fn bound(fault: &SchemaFault) -> &'static str {
    match fault {
        SchemaFault::Reference { .. } => "reference out of the document, or to no schema",
        SchemaFault::Identifier { .. } => "$id below the root",
        SchemaFault::Dialect { .. } => "dialect",
        _ => "other",
    }
}

fn different_verdicts(validator: &Validator, name: &str, tests: &Value) -> Vec<String> {
    let tests = tests.as_array().unwrap().iter();
    let differs = |test: &&Value| validator.check(&test["data"]).is_ok() != test["valid"].as_bool().unwrap();
    tests.filter(differs).map(|test| format!("{name}: {}", test["description"].as_str().unwrap())).collect()
}

#[track_caller]
fn assert_same(found: &BTreeSet<String>, listed: &str) {
    let listed: BTreeSet<String> = listed.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    let new: Vec<_> = found.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(found).collect();
    assert!(new.is_empty() && gone.is_empty(), "new differences: {new:#?}\nvanished ones: {gone:#?}");
}

/// Refused or different, each because of a bound of ours.
#[test]
fn required_tests_of_2020_12_differ_only_where_listed() {
    let Some(folder) = vectors::folder("json-schema/draft2020-12") else {
        return;
    };
    assert_same(&differences(&folder), include_str!("../../tests/suite-required.txt"));
}

#[test]
fn optional_tests_of_2020_12_differ_only_where_listed() {
    let Some(folder) = vectors::folder("json-schema/draft2020-12/optional") else {
        return;
    };
    assert_same(&differences(&folder), include_str!("../../tests/suite-optional.txt"));
}
