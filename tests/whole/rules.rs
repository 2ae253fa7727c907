//! Rules that are tested, and grants that are narrowed by what was used: as an admin types it.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::harness::{Script, Setup, tool};

/// The binary in a folder, with nothing but a home. Exit code, standard output, standard error.
fn typed(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
    command.env_clear().env("HOME", folder).env("PATH", "/usr/bin:/bin").current_dir(folder).args(arguments);
    let output = command.stdin(std::process::Stdio::null()).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), out, err)
}

const TEMPLATES: [&str; 5] = ["read-only-analyst", "coding-agent", "support-agent", "on-call-operator", "batch-pipeline"];

#[test]
fn each_template_is_written_once_and_its_cases_hold() {
    let folder = tempfile::tempdir().unwrap();
    for name in TEMPLATES {
        let (code, out, err) = typed(folder.path(), &["policy", "new", "--template", name, name]);
        assert!(code == Some(0) && out.contains("policy test"), "{out}{err}");
        let (code, out, err) = typed(folder.path(), &["policy", "test", name, "--coverage=require"]);
        assert!(code == Some(0) && out.contains("all as expected"), "{name}: {out}{err}");
    }
    // All of them together, from the folder above.
    let (code, out, _) = typed(folder.path(), &["policy", "test", ".", "--coverage", "--json"]);
    let all: Value = serde_json::from_str(&out).unwrap();
    assert!(
        code == Some(0) && all["cases"].as_array().unwrap().len() > 40 && all["rules"].as_array().unwrap().len() > 20,
        "{out}"
    );

    let mine = folder.path().join("coding-agent/tests.toml");
    fs::write(&mine, "mine").unwrap();
    fs::remove_file(folder.path().join("coding-agent/rules.cedar")).unwrap();
    let (code, _, err) = typed(folder.path(), &["policy", "new", "--template", "coding-agent", "coding-agent"]);
    assert!(code == Some(1) && err.contains("is there already"), "{err}");
    assert_eq!(fs::read_to_string(&mine).unwrap(), "mine");
    assert!(!folder.path().join("coding-agent/rules.cedar").exists(), "nothing was written beside it");
}

#[test]
fn what_came_of_cases_is_an_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    typed(folder.path(), &["policy", "new", "--template", "support-agent", "s"]);
    let (rules, tests) = (folder.path().join("s/rules.cedar"), folder.path().join("s/tests.toml"));
    let text = fs::read_to_string(&tests).unwrap();

    // A case that comes otherwise.
    fs::write(&tests, text.replacen("expect = \"step_up\"", "expect = \"allow\"", 1)).unwrap();
    let (code, out, _) = typed(folder.path(), &["policy", "test", "s"]);
    assert!(code == Some(1) && out.contains("not as expected") && out.contains("(s/rules.cedar:"), "{out}");

    // A rule without a case: told, and a failure only where that is asked for.
    let half = text.split("[[cases]]\nname = \"customers").next().unwrap();
    fs::write(&tests, half).unwrap();
    let missing = "no case is decided by support-never-administers (s/rules.cedar:";
    let (code, out, _) = typed(folder.path(), &["policy", "test", "s", "--coverage"]);
    assert!(code == Some(0) && out.contains(missing), "{out}");
    let (code, out, _) = typed(folder.path(), &["policy", "test", "s", "--coverage=require"]);
    assert!(code == Some(1) && out.contains(missing), "{out}");

    // What is faulty is no outcome.
    for (text, part) in [
        (text.replacen("expect", "expct", 1), "did you mean `expect`?"),
        (text.replacen("ceiling = \"high\"", "ceiling = \"hihg\"", 1), "s/tests.toml:"),
        (text.replacen("rules.cedar", "ruls.cedar", 1), "can't be read"),
    ] {
        fs::write(&tests, text).unwrap();
        let (code, out, err) = typed(folder.path(), &["policy", "test", "s"]);
        assert!(code == Some(2) && err.contains(part), "{out}{err}");
    }
    fs::write(&tests, &text).unwrap();
    fs::write(&rules, "permit (principal, action, resource);").unwrap();
    let (code, _, err) = typed(folder.path(), &["policy", "test", "s"]);
    assert!(code == Some(1) && err.contains("`@id`"), "{err}");
    for nothing in [&["policy", "test", "none"][..], &["policy", "test"]] {
        assert_eq!(typed(folder.path(), nothing).0, Some(2), "{nothing:?}");
    }
}

/// Without a word about tools, cases are about those that were accepted, under the grants and rules of the configuration.
#[test]
fn cases_are_about_what_is_configured_and_accepted() {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"]), tool("put", &["x"])]);
    let classes = "tools.echo = { kind = \"read\", band = \"low\" }\ntools.put = { kind = \"write\", band = \"high\" }";
    let setup = setup.agent("a").connector("s", &script, classes).grant("g", "a", &["s__*"], "");
    fs::write(
        setup.folder().join("tests.toml"),
        "[[cases]]\ntool = \"s__echo\"\nargs = { x = \"1\" }\nexpect = \"allow\"\n\n[[cases]]\ntool = \"s__put\"\nexpect = \"step_up\"\nby = [\"high-needs-approver\"]\n",
    )
    .unwrap();
    let cli = setup.cli();
    let said = cli.fails(&["policy", "test"]);
    assert!(said.contains("no tool was accepted yet"), "{said}");
    let gateway = setup.start();
    let said = gateway.cli.ok(&["policy", "test"]);
    assert!(said.contains("2 cases, all as expected"), "{said}");
    let (_kept, cli) = gateway.stop();
    let said = cli.ok(&["policy", "test"]);
    assert!(said.contains("2 cases, all as expected"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_narrowed_to_what_was_used_and_goes_on() {
    let setup = Setup::new();
    let names = ["get", "put", "never"];
    let script = Script::new(setup.folder(), "s", &names.map(|name| tool(name, &["x"])));
    let classes = "tools.get = { kind = \"read\", band = \"low\" }\ntools.put = { kind = \"write\", band = \"medium\" }\ntools.never = { kind = \"write\", band = \"high\" }";
    let more = "args = { s__get = { \"/x\" = { len_max = 9 } } }\nbudget = { calls = 500 }";
    let setup =
        setup.agent("a").agent("b").connector("s", &script, classes).grant("g", "a", &["s__get", "s__put", "s__never"], more);
    let mut gateway = setup.start();
    let agent = gateway.agent("a");
    for x in ["1", "2", "2"] {
        assert!(!agent.call("s__get", &json!({"x": x})).await.is_tool_error());
    }
    assert!(!agent.call("s__put", &json!({})).await.is_tool_error());
    assert!(agent.call("s__get", &json!({"x": "far too long for it"})).await.is_tool_error());

    let said = gateway.cli.ok(&["grants", "suggest", "--agent", "a"]);
    for part in [
        "grant g of agent a: 4 calls",
        "-    \"s__never\",",
        "-ceiling = \"high\"",
        "+ceiling = \"medium\"",
        "-calls = 500",
        "+calls = 6",
        "+writes = 2",
        "never used: s__never",
        "s__get: 3 calls, 2 different arguments; the record keeps a keyed digest",
        "s__put: 1 call, all their arguments are known",
        "a-only-what-it-used",
    ] {
        assert!(said.contains(part), "{part}:\n{said}");
    }
    let said = gateway.cli.fails(&["grants", "suggest", "--agent", "b"]);
    assert!(said.contains("has no grant"), "{said}");
    assert!(gateway.cli.fails(&["grants", "suggest", "--agent", "aa"]).contains("did you mean `a`?"));

    // Taken up as it is written, its work goes on with the room that is left, and what nobody used is gone. The rule holds it to that, too.
    let list: Value = serde_json::from_str(&gateway.cli.ok(&["grants", "suggest", "--agent", "a", "--json"])).unwrap();
    let (narrow, rule) = (list[0]["suggested"].as_str().unwrap().to_owned(), list[0]["rule"].as_str().unwrap());
    fs::write(gateway.folder().join("used.cedar"), rule).unwrap();
    gateway.reconfigure(|toml| {
        let before = toml.split("[[grants]]").next().unwrap();
        format!("{before}{narrow}\n[policy]\nfiles = [\"used.cedar\"]\n")
    });
    gateway.cli.ok(&["reload"]);
    assert_eq!(agent.tools().await, ["s__get", "s__put"]);
    assert!(!agent.call("s__get", &json!({"x": "1"})).await.is_tool_error());
    assert!(!agent.call("s__put", &json!({})).await.is_tool_error());
    assert_eq!(script.calls().len(), 6);

    // Without a gateway it says the same of what is there now.
    let (_kept, cli) = gateway.stop();
    let said = cli.ok(&["grants", "suggest", "--agent", "a", "--since", "1h"]);
    assert!(said.contains("grant g of agent a: 6 calls") && !said.contains("never used"), "{said}");
}
