//! What `bailiwick init` writes is valid as it is, and so is each of its examples once it is taken up.

use super::{config, read};
use crate::{FaultCode, START};

/// The file with the examples under these marks taken up.
fn with(taken: &[&str]) -> String {
    let mut is_taken = false;
    let take = |line: &'static str| {
        if let Some(mark) = line.strip_prefix("# ---- ") {
            is_taken = taken.iter().any(|taken| mark.starts_with(taken));
            return line;
        }
        line.strip_prefix("# ").filter(|_| is_taken).unwrap_or(line)
    };
    START.lines().map(take).collect::<Vec<_>>().join("\n")
}

#[test]
fn it_is_valid_and_lets_nobody_do_anything() {
    let config = config(START);
    assert_eq!((config.agents.len(), config.connectors.len(), config.grants.len()), (0, 0, 0));
    assert!(!config.approvals.allow_same_user && config.policy.include_default);
}

#[test]
fn its_examples_are_valid_once_they_are_taken_up() {
    let text = with(&["An agent", "A connector: an MCP server that the gateway starts", "A grant"]);
    let config = config(&text);
    assert_eq!((config.agents.len(), config.connectors.len(), config.grants.len()), (1, 1, 1));
    assert!(config.connectors[0].credential.is_some());
}

#[test]
fn its_connector_over_http_has_only_keys_that_are_known_or_come_with_such_connectors() {
    let text = with(&["A connector: an MCP server that is reached"]);
    assert!(text.contains("\nurl = "));
    let faults = read(&text).err();
    let is_strange = |fault: &&crate::Fault| {
        let of_http = ["url", "header", "command", "env"].iter().any(|key| fault.to_string().contains(&format!("`{key}`")));
        !of_http || !matches!(fault.fault_code(), FaultCode::UnknownKey | FaultCode::MissingKey)
    };
    let all = faults.iter().flat_map(crate::ConfigFaults::faults);
    let strange: Vec<String> = all.filter(is_strange).map(ToString::to_string).collect();
    assert!(strange.is_empty(), "{strange:?}");
}

#[test]
fn it_says_the_defaults() {
    let defaults = config("").settings();
    for setting in config(START).settings() {
        assert!(defaults.iter().any(|default| default.key == setting.key && default.value == setting.value), "{setting:?}");
    }
}
