//! A real gateway in a folder of its own.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use super::{Agent, Script};

/// What a gateway is set up with: TOML, written piece by piece.
#[derive(Debug)]
pub struct Setup {
    folder: TempDir,
    toml: String,
    environment: BTreeMap<String, String>,
    limits: String,
    data: Option<PathBuf>,
}

impl Setup {
    /// Nothing yet but listeners on free ports.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let toml = "[server]\nlisten = \"127.0.0.1:0\"\nconsole = \"127.0.0.1:0\"\n".to_owned();
        Self { folder, toml, environment: BTreeMap::new(), limits: String::new(), data: None }
    }

    /// Its folder, for scripts and secrets.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// More configuration, as text.
    pub fn with(mut self, toml: &str) -> Self {
        self.toml.push_str(toml);
        self.toml.push('\n');
        self
    }

    /// An agent.
    pub fn agent(self, id: &str) -> Self {
        self.with(&format!("[[agents]]\nid = \"{id}\"\nowner = \"{id}-owner@example.com\"\nceiling = \"high\""))
    }

    /// A scripted connector whose tools are pinned at first use. `more` is further TOML for it.
    pub fn connector(self, id: &str, script: &Script, more: &str) -> Self {
        let command: Vec<String> = script.command().iter().map(|part| format!("\"{part}\"")).collect();
        self.with(&format!("[[connectors]]\nid = \"{id}\"\ncommand = [{}]\npin = \"first-use\"\n{more}", command.join(", ")))
    }

    /// The same over HTTP.
    pub fn http_connector(self, id: &str, url: &str, more: &str) -> Self {
        self.with(&format!("[[connectors]]\nid = \"{id}\"\nurl = \"{url}\"\npin = \"first-use\"\n{more}"))
    }

    /// A default grant of an agent for these patterns. `more` is further TOML for it.
    pub fn grant(self, id: &str, agent: &str, tools: &[&str], more: &str) -> Self {
        let tools: Vec<String> = tools.iter().map(|tool| format!("\"{tool}\"")).collect();
        self.with(&format!(
            "[[grants]]\nid = \"{id}\"\nagent = \"{agent}\"\npurpose = \"test\"\ntools = [{}]\ndefault = true\nttl = \"1h\"\n{more}",
            tools.join(", ")
        ))
    }

    /// A variable of the gateway's environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// What a shell does before it becomes the gateway, such as `ulimit -n 64`.
    pub fn limits(self, limits: &str) -> Self {
        Self { limits: limits.to_owned(), ..self }
    }

    /// Another data folder than the one beside the configuration.
    pub fn data(self, data: &Path) -> Self {
        Self { data: Some(data.to_owned()), ..self }
    }

    /// The command line over this set-up, without a running gateway.
    pub fn cli(&self) -> Cli {
        let config = self.folder.path().join("config.toml");
        fs::write(&config, &self.toml).unwrap();
        let data = self.data.clone().unwrap_or_else(|| self.folder.path().join("data"));
        Cli { config, data, environment: self.environment.clone(), limits: self.limits.clone() }
    }

    /// Starts the gateway and waits until it serves.
    pub fn start(self) -> Gateway {
        let cli = self.cli();
        Gateway::start(self, cli)
    }
}

/// The command line, as an operator types it.
#[derive(Debug, Clone)]
pub struct Cli {
    config: PathBuf,
    data: PathBuf,
    environment: BTreeMap<String, String>,
    limits: String,
}

impl Cli {
    /// The same without what was set by `limits`.
    pub fn unlimited(self) -> Self {
        Self { limits: String::new(), ..self }
    }

    /// The same for another data folder.
    pub fn at(&self, data: &Path) -> Self {
        Self { data: data.to_owned(), ..self.clone() }
    }

    /// What serves: under limits, where some are set.
    fn serving(&self) -> Command {
        let mut serving = self.command(&["run"]);
        if !self.limits.is_empty() {
            let mut limited = Command::new("/bin/sh");
            limited.arg("-c").arg(format!("{}; exec \"$0\" \"$@\"", self.limits));
            limited.arg(serving.get_program()).args(serving.get_args()).env_clear();
            limited.envs(serving.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
            serving = limited;
        }
        serving
    }

    /// A command, ready to run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.config.parent().unwrap());
        command.envs(&self.environment).arg("--config").arg(&self.config).arg("--data").arg(&self.data).args(arguments);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command that must succeed; its standard output, trimmed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "`{}` failed\n{out}\n{err}", arguments.join(" "));
        out.trim().to_owned()
    }

    /// Runs a command that must fail with exit code 1; both outputs together.
    pub fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "`{}`\n{text}", arguments.join(" "));
        text
    }

    /// Tries to serve, which must fail with exit code 1 before anything is served: what it says.
    pub fn refuses_to_start(&self) -> String {
        let mut child = self.serving().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let until = Instant::now() + Duration::from_mins(1);
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > until {
                child.kill().unwrap();
                child.wait().unwrap();
                let mut said = String::new();
                stderr.read_to_string(&mut said).unwrap();
                panic!("it serves, or does not end: {said}");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut said = String::new();
        stderr.read_to_string(&mut said).unwrap();
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(!said.contains("MCP at "), "{said}");
        said
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// Its command line.
    pub cli: Cli,
    child: Child,
    /// Where agents reach it.
    pub url: String,
    /// Where health and metrics are.
    pub console: String,
    stderr: Arc<Mutex<String>>,
    setup: Setup,
}

impl Gateway {
    fn start(setup: Setup, cli: Cli) -> Self {
        let mut child = cli.serving().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = Arc::new(Mutex::new(String::new()));
        let (sink, mut source) = (Arc::clone(&stderr), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = source.read(&mut buffer) {
                sink.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        let until = Instant::now() + Duration::from_mins(1);
        let mut ready = None;
        while ready.is_none() {
            let said = stderr.lock().unwrap().clone();
            if let Some(status) = child.try_wait().unwrap() {
                std::thread::sleep(Duration::from_millis(100));
                panic!("the gateway ended with {status}:\n{}", stderr.lock().unwrap());
            }
            assert!(Instant::now() < until, "the gateway is not ready:\n{said}");
            let between = |from: &str, to: &str| Some(said.split_once(from)?.1.split_once(to)?.0.to_owned());
            ready = between("MCP at ", " ").zip(between("health      ", "/metrics"));
            std::thread::sleep(Duration::from_millis(10));
        }
        let (url, console) = ready.unwrap();
        Self { cli, child, url, console, stderr, setup }
    }

    /// Writes another configuration, whole, as an editor does that renames. `change` gets the text of the one before.
    pub fn reconfigure(&mut self, change: impl FnOnce(&str) -> String) {
        self.setup.toml = change(&self.setup.toml);
        let fresh = self.cli.config.with_extension("fresh");
        fs::write(&fresh, &self.setup.toml).unwrap();
        fs::rename(fresh, &self.cli.config).unwrap();
    }

    /// Ends it, writes another configuration, and starts it again.
    pub fn reconfigure_at_rest(&mut self, change: impl FnOnce(&str) -> String) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reconfigure(change);
        let setup = std::mem::replace(&mut self.setup, Setup::new());
        *self = Self::start(setup, self.cli.clone());
    }

    /// Its folder, for scripts and secrets.
    pub fn folder(&self) -> &Path {
        self.setup.folder()
    }

    /// Ends it as hard as can be, and starts it again on the same folder.
    pub fn kill_and_restart(self) -> Self {
        let (setup, cli) = self.kill();
        Self::start(setup, cli)
    }

    /// Ends it as hard as can be.
    pub fn kill(mut self) -> (Setup, Cli) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let setup = std::mem::replace(&mut self.setup, Setup::new());
        (setup, self.cli.clone())
    }

    /// Ends it as an operator would.
    pub fn stop(mut self) -> (Setup, Cli) {
        let stopped = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(stopped.success());
        let until = Instant::now() + Duration::from_secs(20);
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "the gateway does not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
        let setup = std::mem::replace(&mut self.setup, Setup::new());
        (setup, self.cli.clone())
    }

    /// Starts a gateway again on a folder that another one left.
    pub fn again((setup, cli): (Setup, Cli)) -> Self {
        Self::start(setup, cli)
    }

    /// An agent that speaks to it, with a fresh token.
    pub fn agent(&self, id: &str) -> Agent {
        let token = self.cli.ok(&["agents", "token", id]);
        Agent::new(&self.url, &token)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still running.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it said on standard error.
    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    /// All records of a stream of its trail.
    pub fn records(&self, stream: &str) -> Vec<Value> {
        records(self.cli.data(), stream)
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name]).arg(self.child.id().to_string()).status().unwrap().success());
    }

    /// The memory that is resident now, bytes.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The address space that it uses now, bytes.
    pub fn address_space(&self) -> u64 {
        self.status("VmSize:")
    }

    /// A connector as an operator sees it.
    pub fn connector(&self, id: &str) -> Value {
        let shown: Value = serde_json::from_str(&self.cli.ok(&["connectors", "show", id, "--json"])).unwrap();
        shown.as_array().map_or(shown.clone(), |one| one[0].clone())
    }

    /// The processes that it started and that have ended, and that nobody has noticed.
    pub fn zombies(&self) -> Vec<u32> {
        let of_ours = |entry: fs::DirEntry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let (state, parent) = state_of(pid)?;
            (state == State::Zombie && parent == self.child.id()).then_some(pid)
        };
        fs::read_dir("/proc").unwrap().filter_map(|entry| of_ours(entry.unwrap())).collect()
    }

    /// The time that processors have spent on it: what it costs, however busy the machine is with other things.
    pub fn cpu_time(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, rest) = text.rsplit_once(')').unwrap();
        // proc(5): `utime` and `stime`, in hundredths of a second on Linux.
        let ticks = |at: usize| rest.split_ascii_whitespace().nth(at).unwrap().parse::<u64>().unwrap();
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// The most memory that was ever resident, bytes.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Everything it has written: trail, store, standard error. For looking for what must not be there.
    pub fn everything_written(&self) -> Vec<u8> {
        let mut all = self.stderr().into_bytes();
        let mut open = vec![self.cli.data().to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else if path.is_file() {
                    all.extend(fs::read(path).unwrap_or_default());
                }
            }
        }
        all
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
        if std::thread::panicking() {
            let mut text = String::new();
            let _infallible = write!(text, "--- what the gateway said ---\n{}", self.stderr());
            eprintln!("{text}");
        }
    }
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs, or could.
    Alive,
    /// It has ended, and its parent doesn't know.
    Zombie,
}

/// The state of a process, and its parent.
fn state_of(pid: u32) -> Option<(State, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = if matches!(fields.next()?, "Z" | "X") { State::Zombie } else { State::Alive };
    Some((state, fields.next()?.parse().ok()?))
}

/// Whether this process runs.
pub fn runs(pid: u32) -> bool {
    state_of(pid).is_some_and(|(state, _)| state == State::Alive)
}

/// Waits until it is so, for a minute at most.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_mins(1);
    while !is_so() {
        assert!(Instant::now() < until, "{what}: not within a minute");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// All records of a stream of the trail in this data folder, in order.
pub fn records(data: &Path, stream: &str) -> Vec<Value> {
    let mut segments: Vec<PathBuf> = fs::read_dir(data.join("trail"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{stream}-"))
                && path.extension().is_some_and(|end| end == "jsonl")
        })
        .collect();
    segments.sort();
    let text: String = segments.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    // The last line may be on its way: it is a record once it has its end.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
