#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail by panicking")]

use std::path::Path;

use bailiwick_config::load;
use clap::ValueEnum as _;

use super::{
    connection::{agent, configured_url, over_stdio, patience},
    name::Format,
    *,
};
use crate::cli::{Places, Screen, Surroundings, args::PlaceArgs};

const URL: &str = "https://gateway.example.com/mcp";
const PROGRAM: &str = "/opt/my programs/bailiwick \"x\"";

fn http() -> Connection {
    Connection { reach: Reach::Http { url: URL.to_owned() }, patience: 700 }
}

fn stdio() -> Connection {
    let arguments = ["stdio", "--agent", "a", "--data", "/d\\x"].map(str::to_owned).to_vec();
    Connection { reach: Reach::Stdio { command: PROGRAM.to_owned(), arguments }, patience: 700 }
}

fn json_of(client: ClientName, connection: &Connection) -> Value {
    serde_json::from_str(&text(client, connection)).unwrap()
}

/// The lines of a program, which must be whole, that hold what is special to this gateway.
fn constants(client: ClientName, connection: &Connection) -> Vec<String> {
    let program = text(client, connection);
    assert!(!program.contains("CONNECTION") && program.ends_with('\n'), "{program}");
    for (open, close) in [('(', ')'), ('[', ']'), ('{', '}')] {
        assert_eq!(program.matches(open).count(), program.matches(close).count(), "{program}");
    }
    program.lines().map(str::to_owned).collect()
}

fn holds(lines: &[String], wanted: &str) {
    assert!(lines.iter().any(|line| line.contains(wanted)), "{wanted} is not in\n{}", lines.join("\n"));
}

/// The YAML that we write: `key: value` in blocks by their indentation, each value as in JSON, or a bare word.
fn yaml(text: &str) -> Value {
    let mut root = json!({});
    let mut path: Vec<String> = Vec::new();
    for line in text.lines() {
        let bare = line.trim_start();
        let depth = (line.len() - bare.len()) / 2;
        assert!(depth <= path.len() && (line.len() - bare.len()).is_multiple_of(2), "{line:?}");
        path.truncate(depth);
        let (key, value) = bare.split_once(':').unwrap();
        let mut place = &mut root;
        for key in &path {
            place = place.get_mut(key).unwrap();
        }
        let value = match value.trim_start() {
            "" => json!({}),
            word if word.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !["true", "false"].contains(&word) => json!(word),
            json => serde_json::from_str(json).unwrap_or_else(|why| panic!("{why}: {json}")),
        };
        let before = place.as_object_mut().unwrap().insert(key.to_owned(), value);
        assert!(before.is_none(), "{key} twice");
        path.push(key.to_owned());
    }
    root
}

#[test]
fn clients_with_json_are_told_where_and_how_long_in_their_own_words() {
    for (client, server, token, timeout) in [
        (ClientName::ClaudeCode, "/mcpServers/bailiwick", Some("Bearer ${BAILIWICK_TOKEN}"), Some("timeout")),
        (ClientName::Cursor, "/mcpServers/bailiwick", Some("Bearer ${env:BAILIWICK_TOKEN}"), None),
        (ClientName::GeminiCli, "/mcpServers/bailiwick", Some("Bearer $BAILIWICK_TOKEN"), Some("timeout")),
        (ClientName::Inspector, "/mcpServers/bailiwick", None, Some("requestTimeout")),
        (ClientName::Opencode, "/mcp/bailiwick", Some("Bearer {env:BAILIWICK_TOKEN}"), Some("timeout")),
        (ClientName::Vscode, "/servers/bailiwick", Some("Bearer ${input:bailiwick-token}"), None),
    ] {
        let whole = json_of(client, &http());
        let told = whole.pointer(server).unwrap();
        assert_eq!(told["url"], URL, "{client:?}");
        assert_eq!(told.pointer("/headers/Authorization").and_then(Value::as_str), token, "{client:?}");
        let timeouts: Vec<(&String, &Value)> =
            told.as_object().unwrap().iter().filter(|(key, _)| key.to_lowercase().contains("timeout")).collect();
        let wanted = timeout.map(|key| (key.to_owned(), json!(700_000)));
        assert_eq!(timeouts, wanted.iter().map(|(key, value)| (key, value)).collect::<Vec<_>>(), "{client:?}");

        let whole = json_of(client, &stdio());
        let told = whole.pointer(server).unwrap();
        let words: Vec<&str> = match told["command"].as_array() {
            Some(all) => all.iter().filter_map(Value::as_str).collect(),
            None => std::iter::once(&told["command"]).chain(told["args"].as_array().unwrap()).filter_map(Value::as_str).collect(),
        };
        assert_eq!(words, [PROGRAM, "stdio", "--agent", "a", "--data", "/d\\x"], "{client:?}");
        assert!(told.get("url").is_none() && !whole.to_string().contains("TOKEN"), "{client:?}: {whole}");
        assert_eq!(timeout.map(|key| told[key].clone()), timeout.map(|_| json!(700_000)), "{client:?}");
    }
}

#[test]
fn each_client_is_told_the_transport_by_its_own_keys() {
    for (client, pointer, over_http, over_stdio) in [
        (ClientName::ClaudeCode, "/mcpServers/bailiwick/type", Some("http"), Some("stdio")),
        (ClientName::Cursor, "/mcpServers/bailiwick/type", None, Some("stdio")),
        (ClientName::GeminiCli, "/mcpServers/bailiwick/type", Some("http"), None),
        (ClientName::Inspector, "/mcpServers/bailiwick/type", Some("http"), Some("stdio")),
        (ClientName::Opencode, "/mcp/bailiwick/type", Some("remote"), Some("local")),
        (ClientName::Vscode, "/servers/bailiwick/type", Some("http"), Some("stdio")),
    ] {
        assert_eq!(json_of(client, &http()).pointer(pointer).and_then(Value::as_str), over_http, "{client:?}");
        assert_eq!(json_of(client, &stdio()).pointer(pointer).and_then(Value::as_str), over_stdio, "{client:?}");
    }
    assert_eq!(json_of(ClientName::Vscode, &http())["inputs"][0]["id"], "bailiwick-token");
    assert_eq!(json_of(ClientName::Vscode, &http())["inputs"][0]["password"], true);
    assert!(json_of(ClientName::Vscode, &stdio()).get("inputs").is_none());
    assert_eq!(json_of(ClientName::Inspector, &http())["mcpServers"]["bailiwick"]["protocolEra"], "auto");
    let desktop = json_of(ClientName::ClaudeDesktop, &stdio());
    assert_eq!(
        desktop["mcpServers"]["bailiwick"],
        json!({"command": PROGRAM, "args": ["stdio", "--agent", "a", "--data", "/d\\x"]})
    );
}

#[test]
fn codex_is_told_in_toml() {
    let read = |connection: &Connection| text(ClientName::Codex, connection).parse::<toml_edit::DocumentMut>().unwrap();
    let whole = read(&http());
    let told = &whole["mcp_servers"]["bailiwick"];
    assert_eq!(told["url"].as_str(), Some(URL));
    assert_eq!(told["bearer_token_env_var"].as_str(), Some("BAILIWICK_TOKEN"));
    assert_eq!(told["tool_timeout_sec"].as_integer(), Some(700));
    let whole = read(&stdio());
    let told = &whole["mcp_servers"]["bailiwick"];
    assert_eq!(told["command"].as_str(), Some(PROGRAM));
    assert_eq!(told["args"].as_array().unwrap().iter().last().and_then(toml_edit::Value::as_str), Some("/d\\x"));
    assert_eq!(told["tool_timeout_sec"].as_integer(), Some(700));
    assert!(told.get("bearer_token_env_var").is_none());
}

#[test]
fn goose_is_told_in_yaml() {
    let told = yaml(&text(ClientName::Goose, &http()));
    let wanted = json!({
        "name": "bailiwick", "type": "streamable_http", "uri": URL, "headers": {"Authorization": "Bearer ${BAILIWICK_TOKEN}"},
        "env_keys": ["BAILIWICK_TOKEN"], "enabled": true, "timeout": 700,
    });
    assert_eq!(told, json!({"extensions": {"bailiwick": wanted}}));
    let told = yaml(&text(ClientName::Goose, &stdio()));
    let wanted = json!({
        "name": "bailiwick", "type": "stdio", "cmd": PROGRAM, "args": ["stdio", "--agent", "a", "--data", "/d\\x"],
        "enabled": true, "timeout": 700,
    });
    assert_eq!(told, json!({"extensions": {"bailiwick": wanted}}));
}

#[test]
fn programs_hold_what_is_special_to_this_gateway() {
    for client in ClientName::value_variants() {
        let (url, token, command, waits) = match client.format() {
            Format::Python => (
                format!("ENDPOINT = \"{URL}\""),
                "HEADERS = {\"Authorization\": f\"Bearer {os.environ['BAILIWICK_TOKEN']}\"}",
                "COMMAND = \"/opt/my programs/bailiwick \\\"x\\\"\"",
                "PATIENCE = 700",
            ),
            Format::JavaScript => (
                format!("const ENDPOINT = \"{URL}\";"),
                "const HEADERS = { Authorization: `Bearer ${process.env.BAILIWICK_TOKEN}` };",
                "const COMMAND = \"/opt/my programs/bailiwick \\\"x\\\"\";",
                "const PATIENCE = { timeout: 700000 };",
            ),
            Format::Json | Format::Toml | Format::Yaml => continue,
        };
        let lines = constants(*client, &http());
        for wanted in [&url, token, waits] {
            holds(&lines, wanted);
        }
        // Each of them is used too: the program is not only headed by them.
        for used in ["ENDPOINT", "HEADERS", "PATIENCE"] {
            assert!(lines.iter().filter(|line| line.contains(used)).count() > 1, "{client:?}: {used}");
        }
        assert_eq!(lines.contains(&"import os".to_owned()), client.format() == Format::Python, "{client:?}");
        let lines = constants(*client, &stdio());
        for wanted in [command, "\"--agent\", \"a\", \"--data\", \"/d\\\\x\"]", waits] {
            holds(&lines, wanted);
        }
        for used in ["COMMAND", "ARGUMENTS", "PATIENCE"] {
            assert!(lines.iter().filter(|line| line.contains(used)).count() > 1, "{client:?}: {used}");
        }
        assert!(!lines.join("\n").contains("TOKEN") && !lines.contains(&"import os".to_owned()), "{client:?}");
    }
}

fn config(text: &str) -> Config {
    load(Path::new("/w/config.toml"), text.to_owned(), []).unwrap()
}

const AGENTS: &str = "[[agents]]\nid = \"scribe\"\nowner = \"o\"\nceiling = \"low\"\nidentity = [{ uid = 7 }]\n[[agents]]\nid = \"triage\"\nowner = \"o\"\nceiling = \"low\"\ndisabled = true\n";

#[test]
fn the_agent_is_the_only_one_or_the_one_that_is_named() {
    let two = config(AGENTS);
    assert_eq!(agent(Some("triage"), &two, "c").unwrap().agent.id.as_str(), "triage");
    let fault = agent(None, &two, "c").unwrap_err();
    assert!(
        matches!(&fault, CliFault::Usage { help, .. } if help.contains("scribe | triage")) && fault.exit_code() == 2,
        "{fault:?}"
    );
    let fault = agent(Some("scrib"), &two, "c").unwrap_err();
    assert!(matches!(&fault, CliFault::Refused { help: Some(help), .. } if help.contains("did you mean `scribe`?")), "{fault:?}");
    let fault = agent(Some("zzzzzz"), &two, "c").unwrap_err();
    assert!(matches!(&fault, CliFault::Refused { help: Some(help), .. } if help.contains("scribe, triage")), "{fault:?}");
    let none = config("");
    assert!(matches!(agent(None, &none, "c"), Err(CliFault::Refused { .. })));
    let one = config(AGENTS.rsplit_once("[[agents]]").unwrap().0);
    assert_eq!(agent(None, &one, "c").unwrap().agent.id.as_str(), "scribe");
}

#[test]
fn the_url_is_that_of_the_configuration() {
    for (text, url) in [
        ("", Some("http://127.0.0.1:8931/mcp")),
        ("listen = \"127.0.0.1:7\"", Some("http://127.0.0.1:7/mcp")),
        ("listen = \"0.0.0.0:7\"\nallow_remote = true", Some("http://127.0.0.1:7/mcp")),
        ("listen = \"[::]:7\"\nallow_remote = true", Some("http://[::1]:7/mcp")),
        ("public_url = \"https://g.example.com/a/mcp\"\nlisten = \"127.0.0.1:0\"", Some("https://g.example.com/a/mcp")),
        ("listen = \"127.0.0.1:0\"", None),
    ] {
        assert_eq!(configured_url(&config(&format!("[server]\n{text}")).server).as_deref(), url, "{text}");
    }
}

#[test]
fn a_client_waits_longer_than_a_call_may_take() {
    // As usual, ten minutes are more than anything takes.
    assert_eq!(patience(&config("")), 600);
    let held = "[approvals]\nhold = \"9m\"\n";
    assert_eq!(patience(&config(held)), 600);
    let slow = "[[connectors]]\nid = \"s\"\ncommand = [\"/bin/true\"]\ncall_timeout = \"5m\"\nhandshake_timeout = \"1s\"\n";
    let slower = slow.replace("\"s\"", "\"t\"").replace("\"1s\"", "\"30s\"");
    assert_eq!(patience(&config(&format!("{held}{slow}{slower}"))), 9 * 60 + 5 * 60 + 30 + 10);
    let days = "[approvals]\nhold = \"60d\"\napprove_by = \"60d\"\n";
    assert_eq!(patience(&config(days)), 24 * 24 * 3600);
}

fn session(folder: &Path, own_binary: &str, data: &str) -> Session {
    let around = Surroundings { folder: folder.into(), own_binary: own_binary.into(), ..Surroundings::default() };
    let given = PlaceArgs { data: Some(data.into()), ..PlaceArgs::default() };
    Session { places: Places::settle(&given, &around).unwrap(), screen: Screen::new(&around), around }
}

#[test]
fn a_program_is_started_by_its_whole_path_with_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let reach = over_stdio("a", &session(folder.path(), "/opt/b", "d")).unwrap();
    let data = folder.path().join("d").display().to_string();
    let arguments = ["stdio", "--agent", "a", "--data", &data].map(str::to_owned).to_vec();
    assert_eq!(reach, Reach::Stdio { command: "/opt/b".to_owned(), arguments });
    for (binary, data) in [("/opt/$b", "d"), ("/opt/b", "{env:X}"), ("/opt/b", "d\u{202e}"), ("/opt/b\n", "d")] {
        let fault = over_stdio("a", &session(folder.path(), binary, data)).unwrap_err();
        assert!(fault.to_string().contains("can't be written into a client's settings"), "{fault}");
    }
}

#[test]
fn every_client_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.toml"), AGENTS).unwrap();
    let session = session(folder.path(), "/opt/b", "d");
    let config = config(AGENTS);
    for client in ClientName::value_variants() {
        let about = |connection: &Connection, id: &str| {
            let agent = config.agent(id).unwrap();
            let notes = Notes::new(*client, connection, agent, &config, &session);
            (notes.is_ready(), notes.to_string())
        };
        let (is_ready, told) = about(&http(), "scribe");
        assert!(is_ready && told.contains("/opt/b --data d agents token scribe") && told.contains("30 days"), "{told}");
        assert!(told.contains("held for 45s") && told.starts_with("file      "), "{told}");
        let in_a_variable = *client != ClientName::Vscode;
        assert_eq!(told.contains("export BAILIWICK_TOKEN=$("), in_a_variable, "{told}");
        assert!(!about(&http(), "triage").0, "an agent that is switched off is none");
        let (is_ready, told) = about(&stdio(), "scribe");
        assert!(is_ready && !told.contains("agents token") && told.contains("/opt/b --data d run"), "{told}");
        let (is_ready, told) = about(&stdio(), "triage");
        assert!(!is_ready && told.contains("identity = [{ uid = ") && told.contains("switched off"), "{told}");
    }
}
