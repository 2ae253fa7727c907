//! Scripts for scripted servers.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use serde_json::{Value, json};

/// A scripted server's script and its log.
#[derive(Debug, Clone)]
pub struct Script {
    path: PathBuf,
    log: PathBuf,
}

impl Script {
    /// A script in this folder, offering these tools.
    pub fn new(folder: &Path, name: &str, tools: &[Value]) -> Self {
        let script = Self { path: folder.join(format!("{name}.json")), log: folder.join(format!("{name}.log")) };
        script.offer(tools);
        script
    }

    /// Offers other tools from the next `tools/list` on.
    pub fn offer(&self, tools: &[Value]) {
        self.offer_with(tools, &json!({}));
    }

    /// The same, with further members of the script: see `tests/servers/scripted.rs`.
    pub fn offer_with(&self, tools: &[Value], more: &Value) {
        let mut script = json!({"tools": tools, "log": self.log, "name": "S1"});
        script.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let text = script.to_string();
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, &self.path).unwrap();
    }

    /// The command line that starts it.
    pub fn command(&self) -> Vec<String> {
        vec![example("scripted-server").display().to_string(), self.path.display().to_string()]
    }

    /// Starts the server over HTTP that does as this script says.
    pub fn serve_http(&self) -> HttpServer {
        let mut command = Command::new(example("scripted-http"));
        let mut child = command.arg(&self.path).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut ports = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ports).unwrap();
        let port: u16 = ports.split(' ').next().unwrap().parse().unwrap();
        HttpServer { child, url: format!("http://127.0.0.1:{port}/mcp"), elsewhere: self.log.with_extension("log.elsewhere") }
    }

    /// Every line it received.
    pub fn received(&self) -> Vec<String> {
        fs::read_to_string(&self.log).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The `tools/call` lines it received.
    pub fn calls(&self) -> Vec<String> {
        self.received().into_iter().filter(|line| line.contains("\"tools/call\"")).collect()
    }
}

/// A running server over HTTP. It ends with this.
#[derive(Debug)]
pub struct HttpServer {
    child: Child,
    /// Where it is.
    pub url: String,
    elsewhere: PathBuf,
}

impl HttpServer {
    /// Who connected to where it tried to send others.
    pub fn led_astray(&self) -> Vec<String> {
        fs::read_to_string(&self.elsewhere).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// The program of a server that only tests start, built if it is not there or older than its source.
pub fn example(name: &str) -> PathBuf {
    static BUILT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let own = PathBuf::from(env!("CARGO_BIN_EXE_bailiwick"));
    let server = own.parent().unwrap().join("examples").join(name);
    // `cargo test` builds examples; `cargo test --test whole` does not.
    let mut built = BUILT.lock().unwrap();
    if built.insert(name.to_owned()) && is_stale(&server) {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--offline", "--example", name, "--manifest-path"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
            .status();
        assert!(built.unwrap().success());
    }
    drop(built);
    assert!(server.exists(), "{}", server.display());
    server
}

fn is_stale(server: &Path) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|found| found.modified()).ok();
    let sources = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/servers")).unwrap();
    let newest = sources.filter_map(|entry| changed(&entry.unwrap().path())).max();
    changed(server) < newest
}

/// A tool definition that takes any of these string properties, none required.
pub fn tool(name: &str, properties: &[&str]) -> Value {
    let properties: serde_json::Map<String, Value> =
        properties.iter().map(|name| ((*name).to_owned(), json!({"type": "string"}))).collect();
    tool_with(name, &json!({"type": "object", "properties": properties}))
}

/// A tool definition with this input schema.
pub fn tool_with(name: &str, schema: &Value) -> Value {
    json!({"name": name, "description": format!("does {name}"), "inputSchema": schema})
}
