//! The first five minutes: the embedded demo, and only what it prints.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::harness::Setup;

/// A free port.
fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The demo with its standard agent, on ports and in a folder of its own; no configuration file.
struct Demo {
    child: Child,
    folder: tempfile::TempDir,
}

impl Demo {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
        command.env_clear().env("HOME", folder.path()).env("XDG_DATA_HOME", folder.path()).current_dir(folder.path());
        command
            .env("BAILIWICK_SERVER__LISTEN", format!("127.0.0.1:{}", port()))
            .env("BAILIWICK_SERVER__CONSOLE", format!("127.0.0.1:{}", port()));
        let child = command.arg("run").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let demo = Self { child, folder };
        let until = Instant::now() + Duration::from_mins(1);
        while !demo.run(&["agents", "list"]).2 {
            assert!(Instant::now() < until, "the demo does not start");
            std::thread::sleep(Duration::from_millis(50));
        }
        demo
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
        command
            .env_clear()
            .env("HOME", self.folder.path())
            .arg("--data")
            .arg(self.folder.path().join("bailiwick/demo"))
            .args(arguments);
        command.stdin(Stdio::null());
        command
    }

    /// Standard output, standard error, success.
    fn run(&self, arguments: &[&str]) -> (String, String, bool) {
        let output = self.command(arguments).output().unwrap();
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap(), output.status.success())
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let (out, err, success) = self.run(arguments);
        assert!(success, "{arguments:?}: {out}{err}");
        out
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let (out, err, success) = self.run(arguments);
        assert!(!success, "{arguments:?}: {out}{err}");
        format!("{out}{err}")
    }

    /// The one open approval's code, once there is one besides `not`.
    fn code(&self, not: Option<&str>) -> String {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let list: Value = serde_json::from_str(&self.ok(&["approvals", "list", "--json"])).unwrap();
            let open = list.as_array().unwrap().iter().filter(|approval| approval["state"] == "pending");
            if let Some(code) = open.filter_map(|approval| approval["code"].as_str()).find(|code| Some(*code) != not) {
                return code.to_owned();
            }
            assert!(Instant::now() < until, "nobody is asked: {list}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

#[test]
fn the_tour_goes_as_it_is_printed() {
    let demo = Demo::start();
    let list: Value = serde_json::from_str(&demo.ok(&["call", "--list", "--json"])).unwrap();
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["tickets__get", "tickets__refund", "tickets__search"]);

    assert!(demo.ok(&["call", "tickets__get", "id=T-17"]).contains("Charged twice"));
    let ungranted = demo.fails(&["call", "files__delete", "path=/readme.txt"]);
    let absent = demo.fails(&["call", "files__nothing", "path=/readme.txt"]);
    assert!(ungranted.contains("Unknown tool: files__delete"), "{ungranted}");
    assert_eq!(ungranted.replace("files__delete", "X"), absent.replace("files__nothing", "X"));
    let outside = demo.fails(&["call", "tickets__search", "project=finance", "text=invoice"]);
    assert!(
        outside.contains("outside this task's grant") && outside.contains("/project") && outside.contains("support"),
        "{outside}"
    );
    assert!(demo.ok(&["explain", "--last"]).contains("tickets__search"));

    let refund = ["call", "tickets__refund", "id=T-17", "amount_cents=4900"];
    let held = demo.command(&refund).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let code = demo.code(None);
    demo.ok(&["approvals", "approve", &code, "--yes"]);
    let done = held.wait_with_output().unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success() && said.contains("R-1"), "{said}");

    // Another amount asks again, and so does the same one: an approval is good once.
    let changed = demo
        .command(&["call", "tickets__refund", "id=T-17", "amount_cents=490000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let second = demo.code(None);
    assert_ne!(second, code);
    let again = demo.command(&refund).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let third = demo.code(Some(&second));
    assert_ne!(third, code);
    demo.ok(&["approvals", "deny", &second, "--reason", "far too much"]);
    let denied = changed.wait_with_output().unwrap();
    assert_eq!(denied.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&denied.stderr).contains("far too much"));
    demo.ok(&["approvals", "approve", &third, "--yes"]);
    let done = again.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&done.stdout).contains("R-2"), "a second effect needs a second approval");

    assert!(demo.ok(&["audit", "verify"]).contains("OK"));
    assert!(demo.ok(&["audit", "tail"]).contains("tickets__refund"));
}

#[test]
fn one_changed_byte_in_the_trail_is_named() {
    let gateway = Setup::new().start();
    gateway.cli.fails(&["call", "nothing__here", "--agent", "nobody"]);
    let (setup, cli) = gateway.stop();
    assert!(cli.ok(&["audit", "verify"]).contains("OK"));
    let gateway = crate::harness::Gateway::again((setup, cli));
    for _ in 0..3 {
        assert_eq!(reqwest_blocking(&gateway.url), 401);
    }
    let (_setup, cli) = gateway.stop();
    let segment = std::fs::read_dir(cli.data().join("trail"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with("calls-"))
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let second_line = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 60;
    bytes[second_line] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let said = cli.fails(&["audit", "verify"]);
    assert!(said.contains("calls") && said.contains("line 2"), "{said}");
}

/// The status of a request without a token.
fn reqwest_blocking(url: &str) -> u16 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        client.post(url).header("content-type", "application/json").body("{}").send().await.unwrap().status().as_u16()
    })
}

#[test]
fn every_tool_of_the_demo_is_classed_and_every_class_has_a_tool() {
    let config = bailiwick_config::embedded(bailiwick_config::DEMO, []).unwrap();
    let mut offered = Vec::new();
    for demo in bailiwick_demo::Demo::ALL {
        let connector = config.connector(demo.id()).unwrap();
        let definitions = bailiwick_demo::definitions(demo);
        for definition in definitions.as_array().unwrap() {
            let tool = definition["name"].as_str().unwrap().parse().unwrap();
            assert!(connector.tools.contains_key(&tool), "{}: {tool} is not classed", demo.id());
            offered.push(connector.qualified(&tool));
        }
        assert_eq!(connector.tools.len(), definitions.as_array().unwrap().len(), "{}", demo.id());
    }
    assert_eq!(offered.len(), 30);
    assert_eq!(config.check_against(&offered).len(), 0);
}
