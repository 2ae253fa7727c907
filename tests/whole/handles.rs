//! Agents over stdio that were started with a one-shot handle of a grant: who is believed, and when the task ends.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{Agent, Gateway, Script, Setup, tool, until};

const LONG: Duration = Duration::from_mins(1);

fn start() -> (Gateway, Script) {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"]), tool("tells", &["how"])]);
    let classes = "tools.echo = { kind = \"read\", band = \"low\" }\ntools.tells = { kind = \"write\", band = \"medium\" }";
    let setup = setup.agent("a").agent("b").connector("s", &script, classes).grant("lasting", "b", &["s__*"], "");
    (setup.start(), script)
}

/// A grant for one task; its token.
fn task(gateway: &Gateway, id: &str) -> String {
    let words = ["grants", "create", "--agent", "a", "--tools", "s__*", "--purpose", "one task", "--id", id];
    gateway.cli.ok(&words)
}

fn shown(gateway: &Gateway, id: &str) -> Value {
    let shown: Value = serde_json::from_str(&gateway.cli.ok(&["grants", "show", id, "--json"])).unwrap();
    shown[0].clone()
}

fn written(gateway: &Gateway, text: &str, mode: u32) -> PathBuf {
    let path = gateway.folder().join("handed-over");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// A bridge that is told to end at once: what it says where it is not let in.
fn refused(gateway: &Gateway, secret: &str, mode: u32) -> String {
    let file = written(gateway, secret, mode);
    gateway.cli.fails(&["stdio", "--grant-file", file.to_str().unwrap()])
}

fn outcomes(gateway: &Gateway, tool: &str) -> Vec<Value> {
    let is_of = |record: &Value| record["event"] == "outcome" && record["tool"] == tool;
    gateway.records("calls").into_iter().filter(is_of).collect()
}

fn events(gateway: &Gateway, name: &str) -> Vec<Value> {
    gateway.records("admin").into_iter().filter(|record| record["event"] == name).collect()
}

fn cancelled(script: &Script) -> usize {
    script.received().iter().filter(|line| line.contains("notifications/cancelled")).count()
}

struct Bridge {
    child: Child,
    to: Option<ChildStdin>,
    from: Receiver<Value>,
}

impl Bridge {
    fn by_file(gateway: &Gateway, secret: &str, more: &[&str]) -> Self {
        let file = written(gateway, secret, 0o600);
        let words: Vec<&str> =
            ["stdio", "--grant-file", file.to_str().unwrap()].into_iter().chain(more.iter().copied()).collect();
        Self::of(&mut gateway.cli.command(&words))
    }

    fn of(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (lines, from) = channel();
        let out = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            out.map_while(Result::ok).for_each(|line| drop(lines.send(serde_json::from_str(&line).unwrap())));
        });
        Self { to: child.stdin.take(), child, from }
    }

    fn call(&mut self, id: u64, tool: &str, arguments: &Value) {
        let call = format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"s__{tool}","arguments":{arguments},{}}}}}"#,
            Agent::meta()
        );
        writeln!(self.to.as_mut().unwrap(), "{call}").unwrap();
    }

    /// A call that is never answered.
    fn waits(&mut self, id: u64) {
        self.call(id, "tells", &json!({"how": "open"}));
    }

    fn echoes(&mut self, id: u64) {
        self.call(id, "echo", &json!({"x": id.to_string()}));
        let answer = self.from.recv_timeout(LONG).unwrap();
        assert_eq!(
            (&answer["id"], &answer["result"]["content"][0]["text"]),
            (&json!(id), &json!(format!(r#"{{"x":"{id}"}}"#))),
            "{answer}"
        );
    }

    /// Closes its input: how it ends.
    fn end(mut self) -> Output {
        self.to = None;
        let status = self.child.wait().unwrap();
        let mut stderr = Vec::new();
        self.child.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
        Output { status, stdout: Vec::new(), stderr }
    }

    fn ends_well(self) {
        let Output { status, stderr, .. } = self.end();
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_is_good_in_one_process_and_nowhere_else() {
    let (gateway, _script) = start();
    task(&gateway, "t");
    let handle = gateway.cli.ok(&["grants", "handle", "t"]);
    assert_eq!(handle.strip_prefix("tb_t_").unwrap().len(), 43);
    assert_eq!(Agent::new(&gateway.url, &handle).list().await.status, 401, "not over TCP, not even before it is bound");
    let mut bridge = Bridge::by_file(&gateway, &handle, &[]);
    bridge.echoes(1);
    assert!(!gateway.folder().join("handed-over").exists(), "its file is gone");
    let pid = bridge.child.id();
    let call = outcomes(&gateway, "s__echo").pop().unwrap();
    let who = (&call["agent"], &call["grant"], &call["auth_method"], &call["instance"]);
    assert_eq!(who, (&json!("a"), &json!("t"), &json!("handle"), &json!(format!("pid-{pid}"))));
    until("it is on record who holds it", || {
        events(&gateway, "handle_bound").iter().any(|event| event["holder"]["pid"] == pid && event["grant"] == "t")
    })
    .await;
    // Another process has got hold of it: it gets nothing, and that is told.
    for _ in 0..3 {
        let told = refused(&gateway, &handle, 0o600);
        assert!(told.contains("another process holds it"), "{told}");
    }
    until("it is on record who showed it", || !events(&gateway, "handle_misused").is_empty()).await;
    let alarms = events(&gateway, "handle_misused");
    assert_eq!((alarms.len(), &alarms[0]["holder"]["pid"]), (1, &json!(pid)), "{alarms:?}");
    assert_ne!(alarms[0]["shown_by"]["pid"], json!(pid));
    until("it is told", || gateway.stderr().contains("shown by a process that does not hold it")).await;
    let told = gateway.cli.fails(&["grants", "handle", "t"]);
    assert!(told.contains(&format!("held by process {pid}")), "{told}");
    // Over TCP it is nobody's still, and nobody but its process gives it back.
    let stranger = Agent::new(&gateway.url, &handle);
    assert_eq!(stranger.list().await.status, 401);
    let revoked = crate::harness::oauth::revoke(&gateway, &handle, &[]).await;
    assert_eq!(revoked.status, 200);
    bridge.echoes(2);
    assert_eq!(shown(&gateway, "t")["state"], "active");
    bridge.ends_well();
    assert_eq!(shown(&gateway, "t")["state"], "completed");
    let all = String::from_utf8_lossy(&gateway.everything_written()).into_owned();
    assert!(!all.contains(&handle), "it is written nowhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_stream_is_the_end_of_the_task() {
    let (gateway, script) = start();
    let token = task(&gateway, "t");
    let mut bridge = Bridge::by_file(&gateway, &gateway.cli.ok(&["grants", "handle", "t"]), &[]);
    bridge.echoes(1);
    bridge.waits(2);
    until("the call is in flight", || script.calls().len() == 2).await;
    bridge.ends_well();
    let grant = shown(&gateway, "t");
    let ending = (&grant["state"], &grant["ending"]["by"], &grant["ending"]["reason"]);
    let why = json!("the stdio stream of its agent ended");
    assert_eq!(ending, (&json!("completed"), &json!("agent:a"), &why));
    assert!(gateway.cli.ok(&["grants", "show", "t"]).contains("by agent:a: the stdio stream of its agent ended"));
    until("the server is told", || cancelled(&script) == 1).await;
    until("it is on record", || outcomes(&gateway, "s__tells").iter().any(|outcome| outcome["outcome"] == "cancelled")).await;
    let stages: Vec<Value> = events(&gateway, "grant_completed").iter().map(|event| event["with"]["reason"].clone()).collect();
    assert_eq!(stages, [why.clone(), why], "begun and done, once");
    assert_eq!(Agent::new(&gateway.url, &token).list().await.status, 401, "its token has ended with it");
    assert!(gateway.cli.fails(&["grants", "handle", "t"]).contains("not live"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_killed_process_is_the_end_of_the_task_too() {
    let (gateway, script) = start();
    task(&gateway, "t");
    task(&gateway, "other");
    let mut other = Bridge::by_file(&gateway, &gateway.cli.ok(&["grants", "handle", "other"]), &[]);
    other.echoes(1);
    let handle = gateway.cli.ok(&["grants", "handle", "t"]);
    let mut bridge = Bridge::by_file(&gateway, &handle, &[]);
    bridge.waits(2);
    until("the call is in flight", || script.calls().len() == 2).await;
    bridge.child.kill().unwrap();
    bridge.child.wait().unwrap();
    until("its grant ends", || shown(&gateway, "t")["state"] == "completed").await;
    let ending = shown(&gateway, "t")["ending"].clone();
    assert_eq!(ending["by"], "agent:a");
    let reason = format!("the stdio stream of its agent ended: process {} of user", bridge.child.id());
    assert!(ending["reason"].as_str().unwrap().starts_with(&reason), "{ending}");
    until("the server is told", || cancelled(&script) == 1).await;
    until("it is on record", || outcomes(&gateway, "s__tells").iter().any(|outcome| outcome["outcome"] == "cancelled")).await;
    assert!(refused(&gateway, &handle, 0o600).contains("its grant or gateway has ended"));
    other.echoes(3);
    // One that nobody used, however, waits for its process.
    task(&gateway, "third");
    let third = gateway.cli.ok(&["grants", "handle", "third"]);
    // A gateway that was started again knows none, and leaves the grants.
    let gateway = gateway.kill_and_restart();
    assert!(refused(&gateway, &third, 0o600).contains("its grant or gateway has ended"));
    assert_eq!(shown(&gateway, "third")["state"], "active");
    let mut again = Bridge::by_file(&gateway, &gateway.cli.ok(&["grants", "handle", "third"]), &[]);
    again.echoes(4);
    again.ends_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_is_handed_over_privately() {
    let (gateway, _script) = start();
    task(&gateway, "t");
    let first = gateway.cli.ok(&["grants", "handle", "t"]);
    let told = refused(&gateway, &first, 0o644);
    assert!(told.contains("can be read or changed by others (mode 0644)") && told.contains("umask 077"), "{told}");
    assert!(gateway.folder().join("handed-over").exists(), "it is left as it is");
    // It was seen by nobody else after all: a new one takes its place.
    let handle = gateway.cli.ok(&["grants", "handle", "t"]);
    assert!(refused(&gateway, &first, 0o600).contains("makes another one"));
    // A file that the environment names.
    let file = written(&gateway, &handle, 0o600);
    let mut command = gateway.cli.command(&["stdio"]);
    let mut bridge = Bridge::of(command.env("BAILIWICK_GRANT_FILE", &file));
    bridge.echoes(1);
    assert!(!file.exists());
    bridge.ends_well();
    // A descriptor.
    task(&gateway, "d");
    let file = written(&gateway, &gateway.cli.ok(&["grants", "handle", "d"]), 0o600);
    let named = gateway.cli.command(&["stdio", "--grant-fd", "7"]);
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(format!("exec 7<'{0}'; rm '{0}'; exec \"$0\" \"$@\"", file.display()));
    let mut bridge = Bridge::of(shell.arg(named.get_program()).args(named.get_args()));
    bridge.echoes(2);
    bridge.ends_well();
    assert_eq!(shown(&gateway, "d")["state"], "completed");
    // Neither.
    let output = gateway.cli.run(&["stdio"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("BAILIWICK_GRANT_FILE"));
    // What is for more than one task has none, and what is not there neither.
    assert!(gateway.cli.fails(&["grants", "handle", "lasting"]).contains("of the configuration"));
    assert!(gateway.cli.fails(&["grants", "handle", "nobody"]).contains("there is no grant"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_outlives_the_stream_unless_it_is_said_otherwise() {
    let (gateway, script) = start();
    let token = task(&gateway, "t");
    let mut bridge = Bridge::by_file(&gateway, &token, &[]);
    bridge.echoes(1);
    bridge.ends_well();
    assert!(gateway.folder().join("handed-over").exists(), "a token's file stays");
    assert_eq!(shown(&gateway, "t")["state"], "active");
    let mut bridge = Bridge::by_file(&gateway, &token, &["--end-at-eof"]);
    bridge.waits(2);
    until("the call is in flight", || script.calls().len() == 2).await;
    bridge.ends_well();
    let grant = shown(&gateway, "t");
    assert_eq!(
        (&grant["state"], &grant["ending"]["reason"]),
        (&json!("completed"), &json!("the stdio stream of its agent ended"))
    );
    until("the server is told", || cancelled(&script) == 1).await;
    // The token of an agent is of no task.
    let file = written(&gateway, &gateway.cli.ok(&["agents", "token", "a"]), 0o600);
    let output = gateway.cli.run(&["stdio", "--end-at-eof", "--grant-file", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}
