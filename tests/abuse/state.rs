//! Group K, rows 159 and 160: a state folder that is not as it was left, or not ours alone.

use std::{
    fs,
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::harness::{Cli, Gateway, Play, Script, Setup, Stage, tool, until};

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A gateway with a call on record and a pending approval, ended.
async fn left() -> (Setup, Cli) {
    let setup = Setup::new();
    let script = Script::new(setup.folder(), "s", &[tool("echo", &["text"]), tool("wipe", &["text"])]);
    let tools = "tools.echo = { kind = \"read\", band = \"low\" }\ntools.wipe = { kind = \"write\", band = \"high\" }";
    let gateway = setup
        .with("[approvals]\nhold = \"100ms\"\nallow_same_user = true")
        .agent("a")
        .connector("s", &script, tools)
        .grant("g", "a", &["s__*"], "")
        .with("[[grants]]\nid = \"gone\"\nagent = \"a\"\npurpose = \"test\"\ntools = [\"s__*\"]\nttl = \"1h\"")
        .start();
    let agent = gateway.agent("a");
    assert!(!agent.under("g").call("s__echo", &json!({"text": "x"})).await.is_tool_error());
    assert!(agent.under("g").call("s__wipe", &json!({"text": "x"})).await.words().starts_with("APPROVAL PENDING"));
    gateway.cli.ok(&["grants", "revoke", "gone"]);
    gateway.stop()
}

/// What is in the segments of the trail.
fn segments(data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<PathBuf> = fs::read_dir(data.join("trail")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "jsonl"));
    files.sort();
    files.into_iter().filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a159_what_others_can_open_or_own_is_refused_and_named() {
    let (setup, cli) = left().await;
    let data = cli.data().to_owned();
    let segment = segments(&data)[0].0.clone();
    let files = [data.join("state.db"), data.join("seal.key"), data.join("state.lock"), data.join("operator.key"), segment];
    let before = segments(&data);
    for (path, modes, right) in
        [(data.clone(), &[0o755, 0o777, 0o770, 0o701][..], 0o700), (data.join("trail"), &[0o755, 0o777][..], 0o700)]
    {
        for mode in modes {
            chmod(&path, *mode);
            let said = cli.refuses_to_start();
            assert!(said.contains(&path.display().to_string()) && said.contains("chmod"), "{mode:o}: {said}");
        }
        chmod(&path, right);
    }
    for path in &files {
        for mode in [0o644, 0o660, 0o606] {
            chmod(path, mode);
            let said = cli.refuses_to_start();
            assert!(said.contains(&path.display().to_string()) && said.contains("chmod"), "{mode:o} {}: {said}", path.display());
        }
        chmod(path, 0o600);
    }
    // Only root can give a file away; for everybody else there is no such case.
    if is_root() {
        for path in files.iter().chain([&data, &data.join("trail")]) {
            chown(path, Some(65534), None).unwrap();
            let said = cli.refuses_to_start();
            assert!(said.contains(&path.display().to_string()) && said.contains("65534"), "{}: {said}", path.display());
            chown(path, Some(0), None).unwrap();
        }
    }
    assert_eq!(segments(&data), before, "nothing was changed");
    let gateway = Gateway::again((setup, cli));
    assert!(gateway.cli.ok(&["audit", "verify"]).contains("OK"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a159_a_link_leads_nowhere() {
    let (setup, cli) = left().await;
    let data = cli.data().to_owned();
    let elsewhere = tempfile::tempdir().unwrap();
    for name in ["state.db", "state.lock", "seal.key", "trail", "operator.key"] {
        let (path, away, bait) = (data.join(name), data.join("away"), elsewhere.path().join(name));
        fs::rename(&path, &away).unwrap();
        if name == "trail" {
            fs::create_dir(&bait).unwrap();
            chmod(&bait, 0o700);
        } else {
            fs::write(&bait, [7; 32]).unwrap();
            chmod(&bait, 0o600);
        }
        symlink(&bait, &path).unwrap();
        let said = cli.refuses_to_start();
        assert!(said.contains(&path.display().to_string()), "{name}: {said}");
        assert!(name == "trail" || fs::read(&bait).unwrap() == [7; 32], "{name}: what it leads to is as it was");
        fs::remove_file(&path).unwrap();
        // Nor is something made where a link leads that leads nowhere.
        let nowhere = elsewhere.path().join("nowhere");
        symlink(&nowhere, &path).unwrap();
        cli.refuses_to_start();
        assert!(!nowhere.exists(), "{name}");
        fs::remove_file(&path).unwrap();
        fs::rename(&away, &path).unwrap();
    }
    // A socket's name is the gateway's own: what a link there led to is left alone.
    let bait = elsewhere.path().join("bait");
    fs::write(&bait, "mine").unwrap();
    let _gone = fs::remove_file(data.join("admin.sock"));
    symlink(&bait, data.join("admin.sock")).unwrap();
    let gateway = Gateway::again((setup, cli));
    assert_eq!(fs::read_to_string(&bait).unwrap(), "mine");
    assert!(gateway.cli.ok(&["audit", "verify"]).contains("OK"));
    // The folder itself may be a link, to a folder that is ours alone.
    let (setup, cli) = gateway.stop();
    let real = elsewhere.path().join("data");
    fs::rename(cli.data(), &real).unwrap();
    symlink(&real, cli.data()).unwrap();
    chmod(&real, 0o777);
    let said = cli.refuses_to_start();
    assert!(said.contains("chmod"), "{said}");
    chmod(&real, 0o700);
    Gateway::again((setup, cli));
}

#[tokio::test(flavor = "multi_thread")]
async fn a159_a_damaged_store_is_refused_and_left_as_it_is() {
    let (setup, cli) = left().await;
    let store = cli.data().join("state.db");
    assert!(!cli.data().join("state.db-wal").exists(), "what was stored is in the one file, once the gateway has ended");
    // Without pages that nothing is on: whatever is overwritten matters.
    rusqlite::Connection::open(&store).unwrap().execute_batch("VACUUM").unwrap();
    let good = fs::read(&store).unwrap();
    let pages = good.len() / 4096;
    // What a refused start has left beside it would be read instead.
    let restore = || {
        for beside in ["state.db-wal", "state.db-shm"] {
            let _gone = fs::remove_file(cli.data().join(beside));
        }
        fs::write(&store, &good).unwrap();
    };
    assert!(pages > 5, "{pages} pages");
    // Each page in turn is overwritten, which the check at the start finds wherever it matters.
    let mut refused = 0;
    for page in 0..pages {
        let mut file = fs::OpenOptions::new().write(true).open(&store).unwrap();
        file.seek(SeekFrom::Start(page as u64 * 4096)).unwrap();
        file.write_all(&[0xA5; 4096]).unwrap();
        drop(file);
        let said = cli.refuses_to_start();
        assert!(said.contains("state.db"), "page {page} of {pages}: {said}");
        refused += usize::from(said.contains("damaged"));
        restore();
    }
    assert!(refused > pages / 2, "{refused} of {pages} are called damaged");
    for (what, bytes) in [
        ("cut", good[..good.len() / 2 + 100].to_vec()),
        ("text", b"not a database at all, but long enough to be looked at".repeat(100)),
        ("one byte", vec![0]),
        ("nothing", Vec::new()),
    ] {
        restore();
        fs::write(&store, &bytes).unwrap();
        let said = cli.refuses_to_start();
        assert!(said.contains("state.db"), "{what}: {said}");
        assert_eq!(fs::read(&store).unwrap(), bytes, "{what}: it is left as it is");
    }
    restore();
    let gateway = Gateway::again((setup, cli));
    assert!(gateway.cli.ok(&["audit", "verify"]).contains("OK"));
}

/// Approvals and grants, with their states.
fn agreed(gateway: &Gateway) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for what in ["grants", "approvals"] {
        let list: Value = serde_json::from_str(&gateway.cli.ok(&[what, "list", "--all", "--json"])).unwrap();
        let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
        all.extend(list.as_array().unwrap().iter().map(|one| (text(one, "id"), text(one, "state"))));
    }
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a159_a160_another_versions_store_is_refused_and_nothing_becomes_more() {
    let left = left().await;
    let gateway = Gateway::again(left);
    let before = agreed(&gateway);
    assert!(
        before.iter().any(|(_, state)| state == "pending") && before.iter().any(|(id, state)| id == "gone" && state == "revoked"),
        "{before:?}"
    );
    let (setup, cli) = gateway.stop();
    let pragma = |sql: &str| rusqlite::Connection::open(cli.data().join("state.db")).unwrap().execute_batch(sql).unwrap();
    let version: i64 = rusqlite::Connection::open(cli.data().join("state.db"))
        .unwrap()
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    for (sql, why) in [
        (format!("PRAGMA user_version = {}", version + 1), "newer"),
        ("PRAGMA user_version = 1000000".to_owned(), "newer"),
        ("PRAGMA user_version = 0".to_owned(), "state.db"),
        ("PRAGMA user_version = -1".to_owned(), "state.db"),
        ("PRAGMA application_id = 7".to_owned(), "another program"),
        ("PRAGMA application_id = 0".to_owned(), "another program"),
    ] {
        let application: i64 = rusqlite::Connection::open(cli.data().join("state.db"))
            .unwrap()
            .pragma_query_value(None, "application_id", |row| row.get(0))
            .unwrap();
        pragma(&sql);
        let said = cli.refuses_to_start();
        assert!(said.contains(why), "{sql}: {said}");
        pragma(&format!("PRAGMA user_version = {version}; PRAGMA application_id = {application}"));
    }
    let gateway = Gateway::again((setup, cli));
    assert_eq!(agreed(&gateway), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a160_a_second_gateway_on_a_folder_is_refused_and_the_first_does_not_notice() {
    let mut stage = Play::of(&[tool("echo", &["text"])]).start().await;
    for _ in 0..3 {
        let said = stage.gateway.cli.refuses_to_start();
        assert!(said.contains("held") || said.contains("another gateway"), "{said}");
    }
    // By another name for the folder too.
    let other = tempfile::tempdir().unwrap();
    let link = other.path().join("link");
    symlink(stage.gateway.cli.data(), &link).unwrap();
    let said = stage.gateway.cli.at(&link).refuses_to_start();
    assert!(said.contains("held") || said.contains("another gateway"), "{said}");
    assert!(stage.gateway.cli.ok(&["grants", "list"]).contains("grant-a"), "its sockets are its own");
    assert!(!stage.a.call("evil__echo", &json!({"text": "x"})).await.is_tool_error());
    stage.oracle(1, 1, 1).await;
}

/// A file system of its own, of this size, at this place; none where this user may not mount one.
struct Disk(PathBuf);

impl Disk {
    fn of(size: &str, at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|done| done.status.success()).then(|| Self(at.to_owned()))
    }

    fn again(&self, options: &str) {
        assert!(Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _gone = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Fills the record until it can take no more, and holds the gateway to it: it refuses, and says so, and lives.
async fn fill(stage: &mut Stage) {
    let mut served = 0;
    let long = "x".repeat(100);
    loop {
        let reply = stage.a.call("evil__echo", &json!({"text": long})).await;
        if reply.status == 503 {
            break;
        }
        served += 1;
        assert!(served < 20_000, "the disk is never full");
    }
    let sent = stage.evil.calls().len();
    for agent in [&stage.a, &stage.b] {
        for _ in 0..3 {
            assert_eq!(
                agent.call("s1__echo", &json!({"text": "unrecorded"})).await.status,
                503,
                "what can't be recorded is not done"
            );
            assert_eq!(agent.list().await.status, 503);
        }
    }
    assert_eq!(stage.a.call("evil__echo", &json!({"text": "unrecorded"})).await.status, 503);
    assert_eq!(stage.evil.calls().len(), sent);
    assert!(!stage.benign.calls().iter().any(|line| line.contains("unrecorded")));
    assert!(stage.gateway.is_alive());
    let ready = reqwest::get(format!("{}/readyz", stage.gateway.console)).await.unwrap();
    assert_eq!(ready.status().as_u16(), 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a159_a161_files_that_can_not_grow_stop_every_call_and_a_restart_goes_on() {
    // What the kernel refuses is the same as on a full disk: the next byte.
    let play = Play::of(&[tool("echo", &["text"])]).top("max_rate_per_agent = 0").limits("trap '' XFSZ; ulimit -f 1024");
    let mut stage = play.start().await;
    fill(&mut stage).await;
    let (setup, cli) = stage.gateway.kill();
    let gateway = Gateway::again((setup.limits(""), cli.unlimited()));
    assert!(gateway.cli.ok(&["audit", "verify"]).contains("OK"));
    let again = crate::harness::Agent::new(&gateway.url, stage.a.token());
    assert!(!again.call("evil__echo", &json!({"text": "again"})).await.is_tool_error());
}

#[tokio::test(flavor = "multi_thread")]
async fn a159_a161_a_full_disk_stops_every_call_and_a_restart_with_room_goes_on() {
    let place = tempfile::tempdir().unwrap();
    // Only who may mount can have a small disk; the test above has the same for everybody.
    let Some(disk) = Disk::of("4m", &place.path().join("disk")) else {
        eprintln!("no file system can be mounted here: the files that can't grow stand for the full disk");
        return;
    };
    let mut stage = Play::of(&[tool("echo", &["text"])]).top("max_rate_per_agent = 0").data(&disk.0.join("data")).start().await;
    fill(&mut stage).await;
    disk.again("size=64m");
    let pid = stage.gateway.pid();
    // With room again it still refuses: what was lost in between, nobody knows. A restart looks, and goes on.
    assert_eq!(stage.a.call("evil__echo", &json!({"text": "x"})).await.status, 503);
    let (setup, cli) = stage.gateway.kill();
    let gateway = Gateway::again((setup, cli));
    assert_ne!(gateway.pid(), pid);
    assert!(gateway.cli.ok(&["audit", "verify"]).contains("OK"));
    let again = crate::harness::Agent::new(&gateway.url, stage.a.token());
    assert!(!again.call("evil__echo", &json!({"text": "again"})).await.is_tool_error());
    // And nothing is begun on a disk that can't be written.
    let (setup, cli) = gateway.stop();
    disk.again("ro");
    let said = cli.refuses_to_start();
    assert!(said.to_lowercase().contains("read-only"), "{said}");
    disk.again("rw");
    let gateway = Gateway::again((setup, cli));
    until("it serves", || gateway.cli.run(&["grants", "list"]).status.success()).await;
    let (_setup, _cli) = gateway.kill();
}
