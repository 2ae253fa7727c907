//! `config.example.toml` is complete, loads, and says the defaults.

use std::collections::BTreeSet;

use serde_json::Value;
use toml_edit::DocumentMut;

use super::config;
use crate::{raw::Raw, schema};

const EXAMPLE: &str = include_str!("../../../../config.example.toml");

/// The example with each `# key = value` uncommented.
fn uncommented() -> String {
    let uncomment = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if is_setting(rest) => rest.to_owned(),
        _ => line.to_owned(),
    };
    EXAMPLE.lines().map(uncomment).collect::<Vec<_>>().join("\n")
}

fn is_setting(line: &str) -> bool {
    line.split_once(" = ").is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c == '.'))
}

/// The path of every key of a schema; what is in a list or under a free name is under `*`.
fn schema_keys(schema: &Value, path: &str, keys: &mut BTreeSet<String>) {
    for (key, below) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}/{key}");
        schema_keys(below, &path, keys);
        keys.insert(path);
    }
    for below in [&schema["items"], &schema["additionalProperties"]] {
        if below.is_object() {
            schema_keys(below, &format!("{path}/*"), keys);
        }
    }
}

/// The path of every value, where a name that isn't a key of the schema is `*`.
fn written_keys(value: &Value, path: &str, known: &BTreeSet<String>, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(table) => {
            for (key, below) in table {
                let named = format!("{path}/{key}");
                let path = if known.contains(&named) { named } else { format!("{path}/*") };
                written_keys(below, &path, known, keys);
                keys.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| written_keys(item, &format!("{path}/*"), known, keys)),
        _ => {}
    }
}

fn tree(text: &str) -> Value {
    toml_edit::de::from_str(text).unwrap()
}

#[test]
fn it_loads() {
    let config = config(EXAMPLE);
    assert_eq!((config.agents.len(), config.connectors.len(), config.grants.len()), (1, 5, 1));
    let providers: Vec<_> = config.providers.iter().map(|provider| (provider.id.as_str(), provider.kind.as_str())).collect();
    let bao = ["bao", "bao-in-cluster", "bao-by-token"].map(|id| (id, "openbao"));
    assert_eq!(providers, [&bao[..], &[("tickets-db", "postgres")]].concat());
    let profiles: Vec<_> = config.issuers.iter().map(|issuer| issuer.id.as_str()).collect();
    assert_eq!(profiles, ["corp", "cluster", "actions", "mesh"]);
}

#[test]
fn it_loads_with_everything_uncommented() {
    let text = uncommented();
    assert!(text.contains("\npublic_url = ") && text.contains("\ncredential = "));
    let config = config(&text);
    assert!(config.connectors.iter().all(|connector| connector.credential.is_some()));
}

#[test]
fn it_has_every_key() {
    let mut known = BTreeSet::new();
    schema_keys(&schema(), "", &mut known);
    assert!(known.contains("/connectors/*/tools/*/undeclared") && known.contains("/grants/*/args/*/*/int_range/min"));
    let mut written = BTreeSet::new();
    written_keys(&tree(&uncommented()), "", &known, &mut written);
    let missing: Vec<_> = known.difference(&written).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn it_says_the_defaults() {
    let example = tree(EXAMPLE);
    let defaults = serde_json::to_value(Raw::default()).unwrap();
    for (section, keys) in defaults.as_object().unwrap() {
        if keys.is_object() {
            assert_eq!(&example[section], keys, "{section}");
        }
    }
    // What has a default in an entry and is set there without being commented is set to it.
    let schema = schema();
    for entry in ["issuers", "agents", "connectors", "grants"] {
        let properties = schema["properties"][entry]["items"]["properties"].as_object().unwrap();
        for (key, shape) in
            properties.iter().filter(|(key, _)| !["default", "budget", "args", "tools", "features"].contains(&key.as_str()))
        {
            let written = &example[entry][0][key];
            assert!(written.is_null() || shape.get("default").is_none_or(|default| default == written), "{entry}.{key}");
        }
    }
}

#[test]
fn every_key_is_explained_in_the_schema() {
    fn check(schema: &Value, path: &str) {
        for (key, below) in schema["properties"].as_object().into_iter().flatten() {
            assert!(below["description"].is_string(), "{path}.{key}");
            check(below, &format!("{path}.{key}"));
        }
        check_items(schema, path);
    }
    fn check_items(schema: &Value, path: &str) {
        for below in [&schema["items"], &schema["additionalProperties"]] {
            if below.is_object() {
                check(below, path);
            }
        }
    }
    check(&schema(), "");
}

#[test]
fn the_schema_speaks_of_no_null() {
    assert!(!schema().to_string().contains("null"), "{:#}", schema());
    assert!(uncommented().parse::<DocumentMut>().is_ok());
}
