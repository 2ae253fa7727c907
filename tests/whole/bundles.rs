//! Bundles of policies that change under a gateway with calls on it: at each moment one of them, and never a mix.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::harness::{Agent, Gateway, Reply, Script, Setup, tool, until};

const READS: &str = "tools.echo = { kind = \"read\", band = \"low\" }";
const PERMIT: &str = "@id(\"all\") permit (principal, action, resource);\n";
const HARMLESS: &str = "@id(\"nothing\") forbid (principal, action, resource) when { principal.ceiling > 7 };\n";

fn forbid(id: &str, x: &str) -> String {
    format!(
        "@id(\"{id}\") forbid (principal, action == Bailiwick::Action::\"s__echo\", resource) when {{ context.input has x && context.input.x == \"{x}\" }};\n"
    )
}

/// Two versions of a bundle. Each forbids `never`, in another file than the other: whoever mixes them allows it.
fn versions(folder: &Path) {
    let files = [
        ("v1", "a.cedar", PERMIT.to_owned()),
        ("v1", "b.cedar", forbid("never", "never") + &forbid("no-two", "two")),
        ("v2", "a.cedar", PERMIT.to_owned() + &forbid("never", "never") + &forbid("no-one", "one")),
        ("v2", "b.cedar", HARMLESS.to_owned()),
    ];
    for (version, name, text) in files {
        fs::create_dir_all(folder.join(version)).unwrap();
        fs::write(folder.join(version).join(name), text).unwrap();
    }
}

fn point(folder: &Path, to: &str) {
    symlink(to, folder.join("fresh")).unwrap();
    fs::rename(folder.join("fresh"), folder.join("current")).unwrap();
}

fn setup() -> (Setup, Script) {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["x"])]);
    versions(setup.folder());
    symlink("v1", setup.folder().join("current")).unwrap();
    let setup = setup
        .with("max_rate_per_agent = 0\n[policy]\ninclude_default = false\nfiles = [\"current/\"]")
        .agent("a")
        .connector("s", &script, READS)
        .grant("g", "a", &["s__*"], "");
    (setup, script)
}

async fn says(agent: &Agent, x: &str) -> Reply {
    agent.call("s__echo", &json!({"x": x})).await
}

fn is_done(reply: &Reply) -> bool {
    reply.status == 200 && reply.json().get("error").is_none() && !reply.is_tool_error()
}

fn last(gateway: &Gateway) -> Option<Value> {
    gateway.records("admin").into_iter().rfind(|record| record["event"] == "config_reloaded" && record["result"] != "begun")
}

/// Callers that never stop, and what became of what they said.
struct Load {
    is_over: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    callers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    /// `always` must go each time, `never` must not.
    fn of(agent: &Agent) -> Self {
        let (is_over, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let callers = (0..4).map(|_| {
            let (agent, is_over, done) = (agent.clone(), Arc::clone(&is_over), Arc::clone(&done));
            tokio::spawn(async move {
                while !is_over.load(Ordering::SeqCst) {
                    let never = says(&agent, "never").await;
                    assert!(!is_done(&never), "{}", never.text);
                    says(&agent, "one").await;
                    says(&agent, "two").await;
                    let always = says(&agent, "always").await;
                    assert!(is_done(&always), "{}", always.text);
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        });
        let callers = callers.collect();
        Self { is_over, done, callers }
    }

    /// Waits until so many more rounds were made.
    async fn goes_on(&self, rounds: usize) {
        let before = self.done.load(Ordering::SeqCst);
        let is_over = || self.callers.iter().any(tokio::task::JoinHandle::is_finished);
        until("calls go on", || self.done.load(Ordering::SeqCst) >= before + rounds || is_over()).await;
    }

    async fn ends(self) {
        self.is_over.store(true, Ordering::SeqCst);
        for caller in self.callers {
            caller.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_swapped_under_load_is_one_bundle_or_the_other() {
    let (setup, script) = setup();
    let gateway = setup.start();
    let agent = gateway.agent("a");
    assert!(is_done(&says(&agent, "one").await) && !is_done(&says(&agent, "two").await));
    let load = Load::of(&agent);
    let is_over = Arc::new(AtomicBool::new(false));
    // As fast as can be, for the readings; each reload below finds it somewhere.
    let swapper = {
        let (folder, is_over) = (gateway.folder().to_owned(), Arc::clone(&is_over));
        std::thread::spawn(move || {
            let mut swaps = 0_u32;
            while !is_over.load(Ordering::SeqCst) {
                point(&folder, if swaps.is_multiple_of(2) { "v2" } else { "v1" });
                swaps += 1;
                std::thread::sleep(Duration::from_micros(200));
            }
            swaps
        })
    };
    for _ in 0..10 {
        // It may be told that the files change all the time: then what was in force is.
        let _told = gateway.cli.run(&["reload", "--json"]);
        load.goes_on(2).await;
    }
    is_over.store(true, Ordering::SeqCst);
    assert!(swapper.join().unwrap() > 10);
    // At rest each is taken for what it is.
    for (version, goes, stops) in [("v2", "two", "one"), ("v1", "one", "two")] {
        point(gateway.folder(), version);
        gateway.cli.ok(&["reload"]);
        assert!(is_done(&says(&agent, goes).await) && !is_done(&says(&agent, stops).await), "{version}");
    }
    load.ends().await;
    assert!(script.calls().iter().all(|call| !call.contains("never")), "what neither allows was sent");
    let decided = gateway.records("decisions");
    let digests: BTreeSet<&str> = decided.iter().filter_map(|record| record["policy_digest"].as_str()).collect();
    assert_eq!(digests.len(), 2, "each decision is by one of the two: {digests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_is_not_whole_changes_nothing_and_says_so_everywhere() {
    let (setup, script) = setup();
    let gateway = setup.start();
    let agent = gateway.agent("a");
    let load = Load::of(&agent);
    let digest = |gateway: &Gateway| gateway.records("decisions").last().unwrap()["policy_digest"].clone();
    load.goes_on(2).await;
    let before = digest(&gateway);
    let refused = |why: &str| {
        let said = gateway.cli.fails(&["reload"]);
        assert!(said.split_whitespace().collect::<Vec<_>>().join(" ").contains(why), "{why}: {said}");
        let told = last(&gateway).unwrap();
        assert_eq!(told["result"], "refused", "{told}");
    };
    // Half written: as a text it would be a bundle, one that lost its forbids.
    let v3 = gateway.folder().join("v3");
    fs::create_dir(&v3).unwrap();
    fs::write(v3.join("a.cedar"), PERMIT).unwrap();
    fs::write(v3.join("b.cedar"), "@id(\"never\") forbid (principal, act").unwrap();
    point(gateway.folder(), "v3");
    refused("b.cedar");
    // Said by its manifest alone.
    fs::write(v3.join("b.cedar"), HARMLESS).unwrap();
    let sha = "0".repeat(64);
    fs::write(
        v3.join("bundle.toml"),
        format!("name = \"house\"\nversion = \"3\"\n[files]\n\"a.cedar\" = \"{sha}\"\n\"b.cedar\" = \"{sha}\"\n"),
    )
    .unwrap();
    refused("is not the file that");
    load.goes_on(2).await;
    // Gone.
    fs::remove_file(gateway.folder().join("current")).unwrap();
    refused("current");
    load.goes_on(2).await;
    // Far too large.
    let v4 = gateway.folder().join("v4");
    fs::create_dir(&v4).unwrap();
    for file in 0..13 {
        fs::write(v4.join(format!("{file:02}.cedar")), "// much\n".repeat(1024 * 1024)).unwrap();
    }
    point(gateway.folder(), "v4");
    refused("larger than 32 MiB");
    load.goes_on(2).await;
    assert_eq!(digest(&gateway), before, "the old one is in force all the while");
    let doctor = gateway.cli.run(&["doctor", "--json"]);
    assert!(String::from_utf8_lossy(&doctor.stdout).contains("reload_refused"), "{doctor:?}");
    assert!(gateway.stderr().contains("what ran before runs on"));
    // And one that calls itself something, as a whole.
    fs::remove_dir_all(&v4).unwrap();
    fs::write(v3.join("a.cedar"), PERMIT.to_owned() + &forbid("never", "never")).unwrap();
    fs::write(v3.join("bundle.toml"), "name = \"house\"\nversion = \"3\"\n").unwrap();
    point(gateway.folder(), "v3");
    gateway.cli.ok(&["reload"]);
    assert_eq!(last(&gateway).unwrap()["result"], "done");
    load.goes_on(2).await;
    assert_ne!(digest(&gateway), before);
    load.ends().await;
    assert!(gateway.records("admin").iter().any(|record| record["with"]["bundles"] == json!(["house 3"])));
    assert!(script.calls().iter().all(|call| !call.contains("never")), "what neither allows was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_nobody_signed_is_not_taken() {
    let (setup, _script) = setup();
    let folder = setup.folder().to_owned();
    let ssh_keygen = |arguments: &[&str]| {
        std::process::Command::new("ssh-keygen")
            .args(arguments)
            .current_dir(&folder)
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if !ssh_keygen(&["-q", "-t", "ed25519", "-N", "", "-f", "ours"]) {
        // Where there is no OpenSSH, the units hold it against what OpenSSH wrote.
        return;
    }
    assert!(ssh_keygen(&["-q", "-t", "ed25519", "-N", "", "-f", "theirs"]));
    let key = fs::read_to_string(folder.join("ours.pub")).unwrap().trim().to_owned();
    let sha256 = |name: &str| {
        let output = std::process::Command::new("sha256sum").arg(folder.join(name)).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
    };
    let write = |version: &str, by: &str| {
        let listed = |name: &str| format!("\"{name}\" = \"{}\"\n", sha256(&format!("{version}/{name}")));
        let files = listed("a.cedar") + &listed("b.cedar");
        fs::write(
            folder.join(version).join("bundle.toml"),
            format!("name = \"house\"\nversion = \"{version}\"\n[files]\n{files}"),
        )
        .unwrap();
        let _none = fs::remove_file(folder.join(version).join("bundle.toml.sig"));
        assert!(ssh_keygen(&["-q", "-Y", "sign", "-n", "bailiwick-policy", "-f", by, &format!("{version}/bundle.toml")]));
    };
    write("v1", "ours");
    let mut gateway = setup.start();
    gateway
        .reconfigure(|toml| toml.replace("files = [\"current/\"]", &format!("files = [\"current/\"]\nsigned_by = [\"{key}\"]")));
    gateway.cli.ok(&["reload"]);
    let agent = gateway.agent("a");
    assert!(is_done(&says(&agent, "one").await));
    for (by, why) in [(None, "signed bundles alone"), (Some("theirs"), "does not have")] {
        if let Some(by) = by {
            write("v2", by);
        }
        point(gateway.folder(), "v2");
        let said = gateway.cli.fails(&["reload"]);
        assert!(said.split_whitespace().collect::<Vec<_>>().join(" ").contains(why), "{said}");
        assert!(is_done(&says(&agent, "one").await) && !is_done(&says(&agent, "two").await), "the old one is in force");
        point(gateway.folder(), "v1");
        gateway.cli.ok(&["reload"]);
    }
    write("v2", "ours");
    point(gateway.folder(), "v2");
    gateway.cli.ok(&["reload"]);
    assert!(!is_done(&says(&agent, "one").await) && is_done(&says(&agent, "two").await));
    // What was signed once is not in force again for that, unless somebody says so; and not after that either.
    point(gateway.folder(), "v1");
    let said = gateway.cli.fails(&["reload"]);
    assert!(said.split_whitespace().collect::<Vec<_>>().join(" ").contains("`v1` is older than `v2`"), "{said}");
    assert!(!is_done(&says(&agent, "one").await) && is_done(&says(&agent, "two").await));
    gateway.reconfigure(|toml| toml.replace("signed_by = ", "allow_older = true\nsigned_by = "));
    gateway.cli.ok(&["reload"]);
    assert!(is_done(&says(&agent, "one").await));
    gateway.reconfigure(|toml| toml.replace("allow_older = true\n", ""));
    assert!(gateway.cli.fails(&["reload"]).contains("older"), "what is remembered stays");
    point(gateway.folder(), "v2");
    gateway.cli.ok(&["reload"]);
    // A file that was changed after it was signed.
    fs::write(gateway.folder().join("v2/b.cedar"), "@id(\"x\") permit (principal, action, resource);\n").unwrap();
    let said = gateway.cli.fails(&["reload"]);
    assert!(said.split_whitespace().collect::<Vec<_>>().join(" ").contains("is not the file"), "{said}");
    let deadline = Instant::now() + Duration::from_secs(30);
    assert!(!is_done(&says(&agent, "one").await) && Instant::now() < deadline);
}
