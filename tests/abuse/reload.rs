//! Configurations and policies as accidents and attackers leave them, under a gateway that runs.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::Path,
    process::Command,
};

use serde_json::json;

use crate::harness::{Gateway, Script, Setup, tool};

/// Forbids `s__other`, and something else whose loss would be noticed less.
const RULES: &str = "@id(\"no-other\") forbid (principal, action == Bailiwick::Action::\"s__other\", resource);\n\
                     @id(\"never\") forbid (principal, action, resource) when { principal.ceiling > 7 };\n";

type Vector = (&'static str, fn(&Path));

fn write(path: &Path, text: &str) {
    let _gone = fs::remove_file(path);
    fs::write(path, text).unwrap();
}

fn link(path: &Path, to: &str) {
    fs::remove_file(path).unwrap();
    symlink(to, path).unwrap();
}

/// What a policy file becomes. None of it may lift what was forbidden, or fail to say what is wrong.
const POLICIES: [Vector; 13] = [
    ("missing", |path| fs::remove_file(path).unwrap()),
    ("empty", |path| write(path, "")),
    ("only comments", |path| write(path, "// @id(\"no-other\")\n")),
    ("half written", |path| write(path, RULES.get(..RULES.len() - 30).unwrap())),
    ("a syntax error", |path| write(path, &RULES.replace("};", "}"))),
    ("no text", |path| {
        let _gone = fs::remove_file(path);
        fs::write(path, [0xff, 0xfe, 0x00]).unwrap();
    }),
    ("100 MB", |path| File::create(path).unwrap().set_len(100 * 1024 * 1024).unwrap()),
    ("a link to nothing", |path| link(path, "/nonexistent/p.cedar")),
    ("a link to itself", |path| link(path, path.to_str().unwrap())),
    ("a device without end", |path| link(path, "/dev/zero")),
    ("a pipe that nobody writes to", |path| {
        fs::remove_file(path).unwrap();
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    }),
    ("allows all, without a name", |path| write(path, "permit (principal, action, resource);")),
    ("allows all, by a slip", |path| {
        write(path, "@id(\"all\") permit (principal, action == Bailiwick::Action::\"s__ohter\", resource);");
    }),
];

/// What the configuration becomes.
const CONFIGS: [Vector; 8] = [
    ("missing", |path| fs::remove_file(path).unwrap()),
    ("empty", |path| write(path, "")),
    ("only comments", |path| write(path, "# [policy]\n")),
    ("half written", |path| {
        let text = fs::read_to_string(path).unwrap();
        write(path, text.get(..text.len() / 2).unwrap());
    }),
    ("100 MB", |path| {
        fs::remove_file(path).unwrap();
        File::create(path).unwrap().set_len(100 * 1024 * 1024).unwrap();
    }),
    ("a link to a device", |path| link(path, "/dev/zero")),
    ("without any policy", |path| {
        let text = fs::read_to_string(path).unwrap();
        write(path, &text.replace("files = [\"p.cedar\"]", "include_default = false"));
    }),
    ("a key that is none", |path| {
        let text = fs::read_to_string(path).unwrap();
        write(path, &text.replace("files = [\"p.cedar\"]", "file = [\"p.cedar\"]"));
    }),
];

fn set() -> (Setup, Script) {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"]), tool("other", &["x"])]);
    fs::write(setup.folder().join("p.cedar"), RULES).unwrap();
    let setup = setup
        .with("[policy]\nfiles = [\"p.cedar\"]")
        .agent("a")
        .connector(
            "s",
            &script,
            "tools.echo = { kind = \"read\", band = \"low\" }\ntools.other = { kind = \"read\", band = \"low\" }",
        )
        .grant("g", "a", &["s__*"], "");
    (setup, script)
}

async fn stands(gateway: &Gateway, agent: &crate::harness::Agent, vector: &str) {
    let refused = gateway.cli.run(&["reload"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{vector}: {said}");
    assert!(said.contains("was not taken"), "{vector}: {said}");
    assert_eq!(agent.tools().await, ["s__echo"], "{vector}");
    assert_eq!(agent.call("s__other", &json!({"x": "1"})).await.error_code(), -32602, "{vector}");
    assert!(!agent.call("s__echo", &json!({"x": "1"})).await.is_tool_error(), "{vector}: what is allowed stays so");
}

#[tokio::test(flavor = "multi_thread")]
async fn a85_a_policy_that_can_not_be_taken_is_kept_out() {
    let (setup, script) = set();
    let file = setup.folder().join("p.cedar");
    let gateway = setup.start();
    let agent = gateway.agent("a");
    for (vector, attack) in POLICIES {
        write(&file, RULES);
        attack(&file);
        stands(&gateway, &agent, vector).await;
        let checked = gateway.cli.run(&["policy", "check"]);
        assert_eq!(checked.status.code(), Some(1), "{vector}: nor does `check` take it");
    }
    assert!(script.calls().iter().all(|call| !call.contains("\"other\"")));
    let (_setup, cli) = gateway.stop();
    let output = cli.run(&["run"]);
    assert_eq!(output.status.code(), Some(1), "nor does a gateway start with it: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a85_a_configuration_that_can_not_be_taken_is_kept_out() {
    let (setup, script) = set();
    let gateway = setup.start();
    let file = gateway.folder().join("config.toml");
    let good = fs::read_to_string(&file).unwrap();
    let agent = gateway.agent("a");
    for (vector, attack) in CONFIGS {
        write(&file, &good);
        attack(&file);
        stands(&gateway, &agent, vector).await;
    }
    assert!(script.calls().iter().all(|call| !call.contains("\"other\"")));
}
