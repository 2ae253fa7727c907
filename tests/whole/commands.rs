//! Commands for admins: what they write and show, and what they say when something is wrong.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use serde_json::{Value, json};

use crate::harness::{Cli, Script, Setup, tool};

const SECRET: &str = "very-secret-value-1234";

/// The binary in a folder, with nothing but a home. Exit code, standard output, standard error.
fn typed(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
    command.env_clear().env("HOME", folder).env("PATH", "/usr/bin:/bin").current_dir(folder).args(arguments);
    let output = command.stdin(std::process::Stdio::null()).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), out, err)
}

fn parsed(text: &str) -> Vec<Value> {
    serde_json::from_str::<Value>(text).unwrap_or_else(|why| panic!("{why}: {text}")).as_array().unwrap().clone()
}

fn found<'v>(list: &'v [Value], key: &str, value: &str) -> &'v Value {
    list.iter().find(|item| item[key] == value).unwrap_or_else(|| panic!("no {key} `{value}` in {list:#?}"))
}

fn reads(names: &[&str]) -> String {
    names.iter().fold(String::new(), |toml, name| toml + &format!("tools.{name} = {{ kind = \"read\", band = \"low\" }}\n"))
}

#[test]
fn a_first_configuration_is_written_once_and_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, _) = typed(folder.path(), &["init"]);
    assert!(code == Some(0) && out.contains("next:"), "{out}");
    let path = folder.path().join("config.toml");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (code, out, err) = typed(folder.path(), &["check"]);
    assert!(code == Some(0) && out.contains("config.toml: OK"), "{out}{err}");
    fs::write(&path, "mine").unwrap();
    let (code, _, err) = typed(folder.path(), &["init"]);
    assert!(code == Some(1) && err.contains("is there already") && err.contains("move it away"), "{err}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    let (code, _, err) = typed(folder.path(), &["init", "no/such/folder.toml"]);
    assert!(code == Some(1) && err.contains("mkdir -p"), "{err}");
    assert_eq!(typed(folder.path(), &["init", "a", "b"]).0, Some(2));
}

#[test]
fn what_is_in_force_is_shown_with_who_says_so_and_loads_again() {
    let setup = Setup::new().environment("BAILIWICK_APPROVALS__HOLD", "5s").environment("GIVEN", SECRET);
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"])]);
    let more = "credential = { provider = \"env\", name = \"GIVEN\", inject = { env = \"SECRET\" } }\ntools.echo.kind = \"read\"";
    let setup = setup.agent("a").connector("s", &script, more).grant("g", "a", &["s__*"], "");
    let cli = setup.cli();
    let table = cli.ok(&["config", "show", "--origin"]);
    for (key, from) in [
        ("server.listen ", "config.toml:2"),
        ("server.max_body ", "default"),
        ("approvals.hold ", "BAILIWICK_APPROVALS__HOLD"),
        ("connectors[0].tools.echo.kind ", "config.toml:"),
        ("connectors[0].tools.echo.band ", "default"),
    ] {
        let line = table.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key} is not in\n{table}"));
        assert!(line.rsplit("  ").next().unwrap().trim().starts_with(from), "{line}");
    }
    let list = parsed(&cli.ok(&["config", "show", "--origin", "--json"]));
    let hold = found(&list, "id", "approvals.hold");
    assert_eq!((&hold["state"], &hold["value"]), (&json!("environment"), &json!("5s")));
    assert_eq!(found(&list, "id", "server.listen")["line"], 2);
    let text = cli.ok(&["config", "show"]);
    assert!(!text.contains(SECRET) && !table.contains(SECRET) && text.contains("name = \"GIVEN\""), "{text}");
    let again = tempfile::tempdir().unwrap();
    fs::write(again.path().join("config.toml"), &text).unwrap();
    let (code, shown, err) = typed(again.path(), &["config", "show"]);
    let body = |text: &str| text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n").trim().to_owned();
    assert_eq!((code, body(&shown)), (Some(0), body(&text)), "{err}");
}

#[test]
fn a_configuration_that_is_wrong_is_pointed_at_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.toml"), "[server]\nlisen = \"127.0.0.1:1\"\n").unwrap();
    for command in [&["check"][..], &["config", "show"], &["connectors", "test", "x"]] {
        let (code, _, err) = typed(folder.path(), command);
        assert!(
            code == Some(1) && err.contains("config.toml:2:1") && err.contains("did you mean `listen`?"),
            "{command:?}: {err}"
        );
    }
    let (code, out, _) = typed(folder.path(), &["doctor"]);
    assert!(code == Some(1) && out.contains("config.toml:2\n") && out.contains("did you mean `listen`?"), "{out}");
}

/// A server that says something on standard error and fails.
fn broken(folder: &Path) -> String {
    let path = folder.join("broken");
    fs::write(&path, "#!/bin/sh\necho \"no database: \u{1b}[31m$SECRET\" >&2\nexit 3\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn with_two_connectors() -> (Setup, Script) {
    let setup = Setup::new().environment("GIVEN", SECRET);
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"]), tool("bad name", &[])]);
    let broken = broken(setup.folder());
    let credential = "credential = { provider = \"env\", name = \"GIVEN\", inject = { env = \"SECRET\" } }";
    let setup = setup
        .agent("a")
        .connector("s", &script, &reads(&["echo"]))
        .with(&format!("[[connectors]]\nid = \"broken\"\ncommand = [\"{broken}\"]\n{credential}"))
        .grant("g", "a", &["s__*"], "");
    (setup, script)
}

/// What `connectors test` says, with a gateway and without one.
fn tries(cli: &Cli, pinned: &str) {
    let said = cli.ok(&["connectors", "test", "s"]);
    assert!(said.contains("answers in MCP 2025-11-25, and says of itself S1 1"), "{said}");
    assert!(said.contains("1 acceptable, 1 rejected") && said.contains("rejected bad name: ") && said.contains(pinned), "{said}");
    let said = cli.fails(&["connectors", "test", "broken"]);
    assert!(said.contains("FAILED") && said.contains("no database: \\u{1b}[31m[redacted]") && !said.contains(SECRET), "{said}");
    let list = cli.run(&["connectors", "test", "broken", "--json"]);
    assert_eq!(list.status.code(), Some(1));
    let list = parsed(&String::from_utf8(list.stdout).unwrap());
    let tried = found(&list, "id", "broken");
    assert!(tried["state"] == "failed" && tried["failure"].is_string() && tried["took_ms"].is_u64(), "{tried}");
    let said = cli.fails(&["connectors", "test", "broke"]);
    assert!(said.contains("there is no connector `broke`") && said.contains("did you mean `broken`?"), "{said}");
}

#[test]
fn a_connector_is_tried_with_a_gateway_and_without_one() {
    let (setup, script) = with_two_connectors();
    let cli = setup.cli();
    tries(&cli, "nothing was accepted yet");
    let gateway = setup.start();
    tries(&gateway.cli, "all as they were accepted");
    let events = |state: &str| {
        let is_it = |record: &&Value| record["event"] == "connector_tested" && record["result"] == state;
        gateway.records("admin").iter().filter(is_it).map(|record| record["about"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(events("begun"), ["s", "broken", "broken", "s", "broken", "broken"]);
    assert_eq!(events("done"), events("begun"));
    script.offer(&[tool("echo", &["x", "y"]), tool("more", &[])]);
    let said = gateway.cli.ok(&["connectors", "test", "s"]);
    assert!(said.contains("1 new, 1 changed, 0 gone") && said.contains("/inputSchema/properties/y"), "{said}");
    // What was only tried is not accepted.
    assert_eq!(gateway.cli.ok(&["connectors", "show", "s"]).matches("callable").count(), 1);
}

#[test]
fn a_call_is_explained_whole() {
    let setup = Setup::new().environment("GIVEN", SECRET);
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"]), tool("count", &[])]);
    fs::write(
        setup.folder().join("own.cedar"),
        "@id(\"count-asks\") @approval(\"approver\") @reason(\"counting is for grown-ups\")\nforbid (principal, action == Bailiwick::Action::\"s__count\", resource)\nunless { context.call.approvals.contains(\"approver\") };\n",
    )
    .unwrap();
    let more = format!(
        "credential = {{ provider = \"env\", name = \"GIVEN\", inject = {{ env = \"SECRET\" }} }}\n{}",
        reads(&["echo", "count"])
    );
    let gateway = setup
        .with("[policy]\nfiles = [\"own.cedar\"]")
        .agent("a")
        .connector("s", &script, &more)
        .grant("g", "a", &["s__echo", "s__count"], "args = { s__echo = { \"/x\" = { eq = \"1\" } } }")
        .start();
    let cli = &gateway.cli;
    cli.ok(&["call", "s__echo", "x=1"]);
    let held = cli.command(&["call", "s__count"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    let until = std::time::Instant::now() + std::time::Duration::from_mins(1);
    let code = loop {
        if let Some(open) = parsed(&cli.ok(&["approvals", "list", "--json"])).first() {
            break open["code"].as_str().unwrap().to_owned();
        }
        assert!(std::time::Instant::now() < until, "nobody is asked");
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    cli.ok(&["approvals", "approve", &code, "--reason", "go on"]);
    assert!(held.wait_with_output().unwrap().status.success());
    cli.fails(&["call", "s__echo", "x=2"]);

    let outcomes: Vec<Value> = gateway.records("calls").into_iter().filter(|record| record["event"] == "outcome").collect();
    let id = |outcome: &str, tool: &str| {
        let is_it = |record: &&Value| record["outcome"] == outcome && record["tool"] == tool;
        outcomes.iter().find(is_it).unwrap()["call_id"].as_str().unwrap().to_owned()
    };
    let plain = cli.ok(&["explain", "--call", &id("success", "s__echo")]);
    assert!(plain.starts_with("ALLOWED  a → s__echo\n") && plain.contains("record ✓  send ✓  screen ✓"), "{plain}");
    assert!(plain.contains("rule     within-grant  (default:") && plain.contains("from GIVEN (env)"), "{plain}");
    assert!(!plain.contains("to do") && !plain.contains(SECRET), "{plain}");
    let approved = cli.ok(&["explain", "--call", &id("success", "s__count")]);
    assert!(approved.contains("own.cedar:1)") && approved.contains("counting is for grown-ups"), "{approved}");
    assert!(approved.contains(&format!("{code}, approved by ")) && approved.contains(": go on"), "{approved}");
    assert!(approved.contains("of it waiting for a person"), "{approved}");
    let refused = cli.ok(&["explain", "--call", &id("denied", "s__echo")]);
    assert!(
        refused.starts_with("DENIED") && refused.contains("grant ✓  validate ✗") && refused.contains("config.toml:"),
        "{refused}"
    );
    assert!(refused.contains("to do") && refused.contains("change `args` of grant g"), "{refused}");
    assert_eq!(refused, cli.ok(&["explain", "--last"]));
    let told = parsed(&cli.ok(&["explain", "--call", &id("success", "s__count"), "--json"]));
    assert_eq!(
        (&told[0]["state"], &told[0]["verdict"], &told[0]["outcome"]),
        (&json!("allow"), &json!("approve"), &json!("success"))
    );
    assert_eq!(told[0]["passed"].as_array().unwrap().len(), 10);
    let said = cli.fails(&["explain", "--call", "c0"]);
    assert!(said.contains("nothing is on record about call `c0`") && said.contains("audit tail"), "{said}");
}

/// What is foreseen, with a gateway and without one.
fn foresees(cli: &Cli) {
    let dry = |tool: &str, arguments: &str| {
        let list = parsed(&cli.ok(&["explain", "--agent", "a", "--tool", tool, "--args", arguments, "--json"]));
        let [state, gate] = ["state", "gate"].map(|key| list[0][key].as_str().unwrap().to_owned());
        (state, gate, list[0]["reason"].as_str().unwrap_or_default().to_owned())
    };
    let told = |state: &str, gate: &str, reason: &str| (state.to_owned(), gate.to_owned(), reason.to_owned());
    assert_eq!(dry("s__echo", "{\"x\": \"1\"}"), told("allow", "permit", ""));
    assert_eq!(dry("s__echo", "{\"x\": \"2\"}"), told("deny", "validate", "argument_out_of_grant"));
    assert_eq!(dry("s__echo", "{\"y\": 1}"), told("deny", "validate", "invalid_arguments"));
    assert_eq!(dry("s__send", "{}"), told("step_up", "permit", ""));
    assert_eq!(dry("s__count", "{}"), told("deny", "grant", "unknown_tool"));
    let said = cli.ok(&["explain", "--agent", "a", "--tool", "s__echo", "--grant", "h"]);
    assert!(said.starts_with("WOULD BE DENIED") && said.contains("grant_not_live"), "{said}");
    for (arguments, wrong) in [("{\"x\": }", "byte 6"), ("[1]", "it is no object")] {
        let output = cli.run(&["explain", "--agent", "a", "--tool", "s__echo", "--args", arguments]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && said.contains(wrong), "{said}");
    }
    let said = cli.fails(&["explain", "--agent", "b", "--tool", "s__echo"]);
    assert!(said.contains("there is no agent `b`"), "{said}");
}

#[test]
fn what_would_become_of_a_call_is_told_without_making_it() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"]), tool("send", &[]), tool("count", &[])]);
    let gateway = setup
        .agent("a")
        .connector("s", &script, &reads(&["echo", "count"]))
        .grant("g", "a", &["s__echo", "s__send"], "args = { s__echo = { \"/x\" = { eq = \"1\" } } }\nbudget = { calls = 5 }")
        .start();
    let before = (gateway.records("calls").len(), gateway.records("decisions").len(), gateway.records("secrets").len());
    foresees(&gateway.cli);
    assert_eq!((gateway.records("calls").len(), gateway.records("decisions").len(), gateway.records("secrets").len()), before);
    assert!(gateway.cli.ok(&["approvals", "list", "--json"]).contains("[]"));
    gateway.cli.ok(&["call", "s__echo", "x=1"]);
    let (setup, cli) = gateway.stop();
    assert_eq!(script.calls().len(), 1);
    foresees(&cli);
    let said = cli.ok(&["explain", "--agent", "a", "--tool", "s__echo", "--args", "{\"x\": \"1\"}"]);
    assert!(said.contains("no gateway runs") && said.contains("1 of 5 calls"), "{said}");
    assert_eq!(script.calls().len(), 1);
    drop(setup);
}

#[test]
fn a_doctor_finds_what_is_missing_and_says_what_to_do() {
    let setup = Setup::new();
    let script = setup.folder().join("server");
    fs::write(&script, "#!/usr/bin/env no-such-runtime\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_at = taken.local_addr().unwrap().to_string();
    let setup = setup
        .environment("BAILIWICK_SERVER__CONSOLE", &taken_at)
        .environment("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        .with("[approvals]\nallow_same_user = true")
        .agent("a")
        .with(&format!("[[connectors]]\nid = \"s\"\ncommand = [\"{}\"]\nenv = {{ PATH = \"/usr/bin:/bin\" }}", script.display()))
        .with("[[connectors]]\nid = \"gone\"\ncommand = [\"/no/such/program\"]")
        .with("credential = { provider = \"env\", name = \"NOT_SET\", inject = { env = \"TOKEN\" } }")
        .grant("g", "a", &["s__*"], "");
    let cli = setup.cli();
    let output = cli.run(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let list = parsed(&String::from_utf8(output.stdout).unwrap());
    for (id, state, what) in [
        ("missing", "fault", "/no/such/program"),
        ("interpreter", "fault", "no-such-runtime"),
        ("port", "fault", taken_at.as_str()),
        ("allow_same_user", "warning", "may approve"),
        ("same_user", "warning", "s, gone"),
        ("unpinned", "warning", "`s`"),
        ("empty_grant", "warning", "`g`"),
        ("collector", "warning", "no collector"),
    ] {
        let found = found(&list, "id", id);
        assert_eq!(found["state"], state, "{found}");
        assert!(found["message"].as_str().unwrap().contains(what), "{found}");
        assert!(!found["help"].as_str().unwrap().is_empty() && !found["place"].as_str().unwrap().is_empty(), "{found}");
    }
    assert!(list.iter().any(|found| found["message"].as_str().unwrap().contains("NOT_SET")), "{list:#?}");
    assert!(!cli.data().exists(), "it changes nothing");
    let shown = cli.fails(&["doctor"]);
    assert!(shown.starts_with("FAULT ") && shown.contains("config.toml:") && shown.contains("faults"), "{shown}");
}

#[test]
fn a_doctor_has_nothing_against_what_runs_well() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"])]);
    let gateway = setup.agent("a").connector("s", &script, &reads(&["echo"])).grant("g", "a", &["s__*"], "").start();
    let list = parsed(&gateway.cli.ok(&["doctor", "--online", "--json"]));
    assert!(list.iter().all(|found| found["state"] != "fault"), "{list:#?}");
    assert!(list.iter().all(|found| !["unpinned", "empty_grant", "drift"].contains(&found["id"].as_str().unwrap())), "{list:#?}");
    assert!(found(&list, "id", "gateway")["message"].as_str().unwrap().contains(&format!("pid {}", gateway.pid())), "{list:#?}");
    assert!(found(&list, "id", "connector")["message"].as_str().unwrap().contains("answers, with 1 tools"), "{list:#?}");
    script.offer(&[tool("echo", &["z"])]);
    let list = parsed(&gateway.cli.ok(&["doctor", "--online", "--json"]));
    assert_eq!(found(&list, "id", "drift")["state"], "warning");
    // What others may open, and a link, are faults of the data folder.
    fs::set_permissions(gateway.cli.data().join("trail"), fs::Permissions::from_mode(0o755)).unwrap();
    let list = gateway.cli.run(&["doctor", "--json"]);
    fs::set_permissions(gateway.cli.data().join("trail"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(list.status.code(), Some(1));
    let list = parsed(&String::from_utf8(list.stdout).unwrap());
    assert!(found(&list, "id", "mode")["help"].as_str().unwrap().starts_with("chmod 700 "), "{list:#?}");
}

/// What is printed for a client, in JSON, and what a person is told.
fn client(cli: &Cli, arguments: &[&str]) -> (Value, String) {
    let output = cli.run(&[&["config", "print-client"], arguments].concat());
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(output.status.success(), "{arguments:?}: {err}");
    (serde_json::from_str(&out).unwrap_or_else(|why| panic!("{why}: {out}")), err)
}

#[test]
fn a_client_is_set_up_with_what_is_printed_for_it() {
    let setup = Setup::new().agent("a").agent("b").with("identity = [{ uid = 0 }]");
    let cli = setup.cli();
    let said = cli.fails(&["config", "print-client", "claude-code", "--agent", "a"]);
    assert!(said.contains("the port is known only while a gateway runs") && said.contains(" run"), "{said}");
    let gateway = setup.start();
    let cli = &gateway.cli;
    let (settings, told) = client(cli, &["claude-code", "--agent", "a"]);
    let server = &settings["mcpServers"]["bailiwick"];
    assert_eq!(server["url"], gateway.url);
    assert_eq!(server["headers"]["Authorization"], "Bearer ${BAILIWICK_TOKEN}");
    assert!(server["timeout"].as_u64().unwrap() > 45_000, "{server}");
    // What a person is told to type makes the very token that the settings ask for.
    let makes = told.split_once("export BAILIWICK_TOKEN=$(").unwrap().1.split_once(')').unwrap().0;
    let output = Command::new("/bin/sh").arg("-c").arg(makes).output().unwrap();
    let token = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    assert!(output.status.success() && !token.is_empty(), "{makes}");
    let listed =
        cli.command(&["call", "--list", "--url", server["url"].as_str().unwrap()]).env("BAILIWICK_TOKEN", &token).output();
    assert!(listed.unwrap().status.success());

    let (settings, told) = client(cli, &["claude-desktop", "--agent", "b"]);
    let server = &settings["mcpServers"]["bailiwick"];
    assert_eq!(server["command"], Path::new(env!("CARGO_BIN_EXE_bailiwick")).canonicalize().unwrap().to_str().unwrap());
    assert_eq!(server["args"], json!(["stdio", "--agent", "b", "--data", cli.data()]));
    assert!(server.get("url").is_none() && !told.contains("missing"), "{told}");
    let (_, told) = client(cli, &["cursor", "--stdio", "--agent", "a"]);
    assert!(told.contains("missing") && told.contains("identity = [{ uid = "), "{told}");
    let list = parsed(&cli.ok(&["config", "print-client", "codex", "--agent", "a", "--json"]));
    let codex = found(&list, "id", "codex");
    assert_eq!((&codex["state"], &codex["agent"], &codex["format"]), (&json!("ready"), &json!("a"), &json!("toml")));
    assert!(codex["snippet"].as_str().unwrap().contains(&gateway.url), "{codex}");

    let output = cli.run(&["config", "print-client", "claude-code"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && output.stdout.is_empty() && said.contains("`--agent` a | b"), "{said}");
    let said = cli.fails(&["config", "print-client", "claude-code", "--agent", "c"]);
    assert!(said.contains("there is no agent `c`"), "{said}");
    let output = cli.run(&["config", "print-client", "claude-cod"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && said.contains("'claude-code'") && said.contains("typescript-v2"), "{said}");
}

#[test]
fn every_client_is_set_up_without_a_gateway_and_without_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let (_, out, _) = typed(folder.path(), &["config", "print-client", "--help"]);
    let names: Vec<&str> =
        out.lines().filter_map(|line| line.trim_start().strip_prefix("- ")?.split_once(':')).map(|(name, _)| name).collect();
    assert!(names.len() >= 16, "{out}");
    for name in names {
        for way in [&[][..], &["--stdio"]] {
            let (code, out, err) = typed(folder.path(), &[&["config", "print-client", name], way].concat());
            assert_eq!(code, Some(0), "{name}: {err}");
            let over_http = way.is_empty() && name != "claude-desktop";
            assert_eq!(out.contains("http://127.0.0.1:8931/mcp"), over_http, "{name}: {out}");
            assert_eq!(out.contains("/share/bailiwick/demo"), !over_http, "{name}: {out}");
            assert_eq!(err.contains("agents token demo"), over_http, "{name}: {err}");
        }
    }
    assert!(!folder.path().join(".local").exists(), "it changes nothing");
}

#[test]
fn every_shell_gets_its_completions() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, out, err) = typed(folder.path(), &["completions", shell]);
        assert!(code == Some(0) && err.is_empty() && out.contains("bailiwick") && out.contains("completions"), "{shell}: {err}");
        assert!(!out.contains("demo-server"), "{shell}: what is hidden stays so");
        // Elvish and PowerShell complete no values.
        let knows_values = matches!(shell, "bash" | "zsh" | "fish");
        assert!(!knows_values || (out.contains("print-client") && out.contains("openai-agents")), "{shell}");
    }
    assert_eq!(typed(folder.path(), &["completions", "csh"]).0, Some(2));
    let path = folder.path().join("bailiwick.bash");
    fs::write(&path, typed(folder.path(), &["completions", "bash"]).1).unwrap();
    // The build needs a shell, and this platform's is bash; where it isn't, the script is still what clap makes for it.
    let bash = Path::new("/bin/bash");
    assert!(bash.exists(), "bash is needed to judge its own script");
    assert!(Command::new(bash).arg("-n").arg(&path).status().unwrap().success());
    let asks = format!(
        "source '{}'; COMP_WORDS=(bailiwick conn); COMP_CWORD=1; _bailiwick bailiwick conn bailiwick; echo \"${{COMPREPLY[@]}}\"; \
         COMP_WORDS=(bailiwick connectors te); COMP_CWORD=2; _bailiwick bailiwick te connectors; echo \"${{COMPREPLY[@]}}\"; \
         COMP_WORDS=(bailiwick config print-client claude); COMP_CWORD=3; _bailiwick bailiwick claude print-client; echo \"${{COMPREPLY[@]}}\"",
        path.display()
    );
    let output = Command::new(bash).arg("-c").arg(asks).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "connectors\ntest\nclaude-code claude-desktop\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_word_that_is_nearly_one_is_suggested() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, meant) in [(&["doctr"][..], "doctor"), (&["connectors", "tset"], "test"), (&["config", "shwo"], "show")] {
        let (code, _, err) = typed(folder.path(), arguments);
        assert!(code == Some(2) && err.contains(&format!("'{meant}'")), "{arguments:?}: {err}");
    }
}

#[test]
fn a_policy_that_names_a_tool_needs_no_gateway_to_have_the_tool_accepted() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"])]);
    fs::write(
        setup.folder().join("own.cedar"),
        "@id(\"no-echo\")\nforbid (principal, action == Bailiwick::Action::\"s__echo\", resource)\nwhen { context.input has x && context.input.x == \"no\" };\n",
    )
    .unwrap();
    let command: Vec<String> = script.command().iter().map(|part| format!("\"{part}\"")).collect();
    let setup = setup
        .with("[policy]\nfiles = [\"own.cedar\"]")
        .agent("a")
        .with(&format!("[[connectors]]\nid = \"s\"\ncommand = [{}]\n{}", command.join(", "), reads(&["echo"])))
        .grant("g", "a", &["s__*"], "");
    let cli = setup.cli();
    for command in ["run", "doctor"] {
        // However its lines are broken.
        let said = cli.fails(&[command]).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("s__echo") && said.contains("`bailiwick connectors pin s`"), "{said}");
    }
    let said = cli.fails(&["connectors", "pin", "s"]);
    assert!(said.contains("echo") && said.contains("not accepted"), "{said}");
    let output = cli.run(&["connectors", "pin", "s", "--yes"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("accepted 1 tools of s"), "{said}");
    let offline = cli.ok(&["policy", "schema"]);
    let gateway = setup.start();
    gateway.cli.ok(&["call", "s__echo", "x=yes"]);
    assert_eq!(gateway.cli.ok(&["policy", "schema"]), offline, "the same, with a gateway and without one");
    assert!(
        offline.contains("action \"s__echo\" in [") && offline.contains("@doc(\"The hour of the day in UTC, 0 to 23\")"),
        "{offline}"
    );
    let json: Value = serde_json::from_str(&gateway.cli.ok(&["policy", "schema", "--json"])).unwrap();
    assert!(json["Bailiwick"]["actions"]["s__echo"]["appliesTo"]["context"].is_object(), "{json}");
    assert_eq!(gateway.cli.run(&["policy", "schema", "now"]).status.code(), Some(2));
    assert!(gateway.cli.fails(&["call", "s__echo", "x=no"]).contains("no-echo"));
    let told: Vec<Value> = gateway
        .records("admin")
        .into_iter()
        .filter(|record| record["event"] == "pins_accepted" && record["about"] == "s")
        .collect();
    assert_eq!(told.iter().map(|record| &record["result"]).collect::<Vec<_>>(), ["begun", "done"]);
    assert!(told.iter().all(|record| record["with"]["offline"] == true), "{told:?}");
}
