//! "Your own server and your own policy", "Writing rules in ten minutes" and "Three agents, one task" of README, typed as they are printed: each `sh` block is run in order in one scratch folder, and
//! must print what the `text` block after it shows. `…` stands for anything, and alone on a line for any lines.

use std::{
    fs,
    io::Read as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

const OWN_SERVER: &str = "## Your own server and your own policy\n";
const OWN_RULES: &str = "## Writing rules in ten minutes\n";
const THREE_AGENTS: &str = "## Three agents, one task\n";

/// What is typed, and what is shown of what it prints.
struct Block {
    typed: String,
    shown: Option<String>,
}

fn blocks(heading: &str) -> Vec<Block> {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let section = readme.split_once(heading).unwrap().1.split("\n## ").next().unwrap();
    let mut blocks: Vec<Block> = Vec::new();
    for (at, part) in section.split("```").enumerate().filter(|(at, _)| at % 2 == 1) {
        let (language, text) = part.split_once('\n').unwrap();
        match language {
            "sh" => blocks.push(Block { typed: text.to_owned(), shown: None }),
            "text" => {
                let before = blocks.last_mut().unwrap().shown.replace(text.to_owned());
                assert!(before.is_none(), "block {at} shows nothing's output");
            }
            other => panic!("a block of `{other}` is not typed"),
        }
    }
    blocks
}

/// A reader at a desk: a folder, and terminals with nothing in their environment but a home.
struct Desk {
    folder: tempfile::TempDir,
    /// Where its gateway listens.
    listen: String,
    gateway: Option<Child>,
}

impl Desk {
    fn shell(&self, typed: &str) -> Command {
        let own = Path::new(env!("CARGO_BIN_EXE_bailiwick")).parent().unwrap();
        let mut command = Command::new("/bin/sh");
        command.env_clear().env("HOME", self.folder.path()).env("PATH", format!("{}:/usr/bin:/bin", own.display()));
        // Other gateways run on this machine at the same time.
        command.env("BAILIWICK_SERVER__LISTEN", &self.listen).env("BAILIWICK_SERVER__CONSOLE", "127.0.0.1:0");
        command.current_dir(self.folder.path().join("notes")).stdin(Stdio::null());
        command.arg("-c").arg(format!("exec 2>&1\n{typed}"));
        command
    }

    /// An empty folder.
    fn new(listen: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("notes")).unwrap();
        Self { folder, listen: listen.to_owned(), gateway: None }
    }

    fn types(&self, typed: &str) -> String {
        String::from_utf8(self.shell(typed).output().unwrap().stdout).unwrap()
    }

    /// The second terminal: Ctrl-C if it serves, and `bailiwick run`.
    fn serves(&mut self, typed: &str, agent: &str) {
        self.ends();
        self.gateway = Some(self.shell(&format!("exec {typed}")).stdout(Stdio::null()).spawn().unwrap());
        self.until("the gateway does not start", |desk| desk.types("bailiwick agents list").contains(agent).then_some(()));
    }

    fn ends(&mut self) {
        let Some(mut gateway) = self.gateway.take() else { return };
        assert!(Command::new("kill").args(["-INT", &gateway.id().to_string()]).status().unwrap().success());
        gateway.wait().unwrap();
    }

    fn code(&self) -> String {
        self.until("nobody is asked", |desk| {
            let list: Value = serde_json::from_str(&desk.types("bailiwick approvals list --json")).ok()?;
            Some(list.as_array()?.iter().find(|approval| approval["state"] == "pending")?["code"].as_str()?.to_owned())
        })
    }

    fn until<T>(&self, otherwise: &str, look: impl Fn(&Self) -> Option<T>) -> T {
        let until = Instant::now() + Duration::from_mins(1);
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(Instant::now() < until, "{otherwise}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(gateway) = &mut self.gateway {
            let _gone = gateway.kill();
            let _gone = gateway.wait();
        }
    }
}

/// Whether a line is as shown, where `…` stands for anything.
fn is_as(shown: &str, line: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// Whether lines are as shown; a line that is only `…` stands for any lines.
fn are_as(shown: &[&str], lines: &[&str]) -> bool {
    match shown.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first.trim() == "…" => (0..=lines.len()).any(|skipped| are_as(rest, &lines[skipped..])),
        Some((first, rest)) => lines.split_first().is_some_and(|(line, lines)| is_as(first, line) && are_as(rest, lines)),
    }
}

fn compare(block: &Block, printed: &str) {
    let Some(shown) = &block.shown else { return };
    let [shown_lines, lines] =
        [shown.as_str(), printed].map(|text| text.trim_end().lines().map(str::trim_end).collect::<Vec<_>>());
    assert!(are_as(&shown_lines, &lines), "README types:\n{}\nand shows:\n{shown}\nbut it prints:\n{printed}", block.typed);
}

#[test]
fn an_own_server_and_an_own_policy_go_as_they_are_printed() {
    let mut desk = Desk::new("127.0.0.1:0");
    let blocks = blocks(OWN_SERVER);
    assert!(blocks.len() >= 12 && blocks.iter().filter(|block| block.shown.is_some()).count() >= 9, "{}", blocks.len());
    let mut held: Option<(Child, &Block)> = None;
    for block in &blocks {
        if block.typed.trim() == "bailiwick run" {
            desk.serves(block.typed.trim(), "scribe");
        } else if block.typed.contains("shared=true") {
            held = Some((desk.shell(&block.typed).stdout(Stdio::piped()).spawn().unwrap(), block));
        } else {
            // The call that was held goes on once it is approved: it has ended before the record is looked at.
            if let Some((call, _)) = held.as_mut().filter(|_| block.typed.contains("audit verify")) {
                call.wait().unwrap();
            }
            let typed =
                if block.typed.contains("CODE") { block.typed.replace("CODE", &desk.code()) } else { block.typed.clone() };
            compare(block, &desk.types(&typed));
        }
    }
    let (mut call, block) = held.unwrap();
    let mut printed = String::new();
    call.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    assert!(call.wait().unwrap().success(), "{printed}");
    compare(block, &printed);
    assert_eq!(fs::read_to_string(desk.folder.path().join("notes/notes.txt")).unwrap(), "buy milk\nparty at six\n");
    desk.ends();
}

#[test]
fn rules_are_written_and_proven_as_it_is_printed() {
    let desk = Desk::new("127.0.0.1:0");
    let blocks = blocks(OWN_RULES);
    assert!(blocks.len() == 4 && blocks.iter().all(|block| block.shown.is_some()), "{}", blocks.len());
    for block in &blocks {
        compare(block, &desk.types(&block.typed));
    }
}

#[test]
fn three_agents_share_a_task_as_it_is_printed() {
    // Commands name the port: one that is free now.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut desk = Desk::new(&free);
    assert!(desk.types("command -v curl").contains("curl"), "these commands need curl");
    let blocks = blocks(THREE_AGENTS);
    assert!(blocks.len() >= 6 && blocks.iter().filter(|block| block.shown.is_some()).count() >= 4, "{}", blocks.len());
    for block in &blocks {
        if block.typed.trim() == "bailiwick run" {
            desk.serves(block.typed.trim(), "scribe");
        } else {
            compare(block, &desk.types(&block.typed.replace("127.0.0.1:8931", &free)));
        }
    }
    desk.ends();
}

#[test]
fn what_is_shown_is_compared() {
    assert!(is_as("a … c…", "a b c d") && is_as("abc", "abc") && is_as("…", ""));
    assert!(!is_as("abc", "abcd") && !is_as("a…c", "ab") && !is_as("a…a", "a"));
    assert!(are_as(&["a", "…", "c"], &["a", "b", "b", "c"]) && are_as(&["…"], &[]));
    assert!(!are_as(&["a", "c"], &["a", "b", "c"]) && !are_as(&["a", "…"], &["b"]) && !are_as(&["a"], &["a", "b"]));
}
