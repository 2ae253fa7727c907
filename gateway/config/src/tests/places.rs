//! Faults are shown where they are, all at once.

use super::{read, rendered};
use crate::FaultCode;

const FIVE: &str = r#"[server]
lisen = "127.0.0.1:8931"
header_timeout = "10"

[[agents]]
id = "triage-bot"
owner = "support@example.com"

[[connectors]]
id = "tickets"
command = ["npx", "tickets-mcp"]
tools.get = { kind = "raed", band = "low" }

[[grants]]
id = "triage"
agent = "triage-bto"
purpose = "triage the support inbox"
tools = ["tickets__get"]
"#;

#[test]
fn five_faults_show_five_places() {
    let faults = read(FIVE).unwrap_err();
    let places: Vec<_> =
        faults.faults().iter().map(|fault| (fault.fault_code(), fault.line_and_column().unwrap(), fault.key())).collect();
    assert_eq!(
        places,
        [
            (FaultCode::UnknownKey, (2, 1), "server.lisen".to_owned()),
            (FaultCode::BadDuration, (3, 18), "server.header_timeout".to_owned()),
            (FaultCode::RelativeCommand, (11, 12), "connectors[0].command[0]".to_owned()),
            (FaultCode::UnknownWord, (12, 22), "connectors[0].tools.get.kind".to_owned()),
            (FaultCode::UnknownAgent, (16, 9), "grants[0].agent".to_owned()),
        ]
    );
    let shown = rendered(&faults);
    assert!(shown.lines().map(str::trim_end).eq(include_str!("five.txt").lines()), "{shown}");
}

#[test]
fn a_second_place_that_matters_is_shown_too() {
    let shown = rendered(&read("[[agents]]\nid = \"a\"\nowner = \"o\"\n[[agents]]\nid = \"a\"\nowner = \"p\"\n").unwrap_err());
    assert!(shown.contains("first here") && shown.contains("config.toml:5:6"), "{shown}");
}

#[test]
fn what_is_missing_is_shown_at_the_entry() {
    let faults = read("[[agents]]\nid = \"a\"\nowner = \"o\"\n\n[[connectors]]\nid = \"t\"\n").unwrap_err();
    assert_eq!(faults.faults()[0].line_and_column(), Some((5, 1)));
}

#[test]
fn syntax_is_explained_at_its_line() {
    let faults = read("[server]\nlisten = \"127.0.0.1:8931\nconsole = 1\n").unwrap_err();
    assert_eq!(faults.faults()[0].line_and_column().map(|(line, _)| line), Some(2));
    assert!(rendered(&faults).contains("this is not TOML"));
}

#[test]
fn columns_count_characters() {
    let faults = read("[telemetry]\nservice_name = \"ä\"\n\n[approvals]\n\"ö\" = 1\nhold = \"1y\"").unwrap_err();
    assert_eq!(faults.faults()[0].line_and_column(), Some((5, 1)));
    assert_eq!(faults.faults()[1].line_and_column(), Some((6, 8)));
}

#[test]
fn machines_read_the_same() {
    let json = read(FIVE).unwrap_err().to_json();
    assert_eq!(json.as_array().map(Vec::len), Some(5));
    assert_eq!(
        json[0],
        serde_json::json!({
            "id": "config::unknown_key",
            "state": "error",
            "message": "unknown key `lisen` in `server`",
            "help": json[0]["help"],
            "suggestion": "listen",
            "key": "server.lisen",
            "file": "/etc/bailiwick/config.toml",
            "line": 2,
            "column": 1,
            "variable": null,
        })
    );
}
