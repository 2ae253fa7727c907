//! What a child is given, and what it is kept from.

use std::{collections::BTreeMap, time::Duration};

use bailiwick_pipeline::ports::{ConnectFailure, Injection, Template};
use serde_json::json;

use crate::{
    kit::{Failure, HOSTILE, Rig, grant, lease, lease_for, process, spec, value, with},
    spec::{ConnectorSpec, SpecFault},
    status::{ChildState, ConnectorEvent},
    stdio::Downstreams,
    variables::{EnvNameFault, check_env_name},
};

fn launcher() -> Vec<String> {
    vec![HOSTILE.to_owned(), "exec-child".to_owned()]
}

#[tokio::test]
async fn the_environment_is_what_is_listed_and_lent_and_nothing_else() {
    for launcher in [Vec::new(), launcher()] {
        let env = BTreeMap::from([("LISTED".to_owned(), "yes".to_owned())]);
        let rig = Rig::new(vec![with(spec("x", &["env"]), |child| (child.launcher, child.env) = (launcher, env))]);
        let lease = lease("lease-1", "canary-0123456789");
        let answer = rig.call_with("x", &grant("g-1"), Some(&lease), Duration::from_secs(10), b"{}").await.unwrap();
        assert_eq!(value(&answer), json!({"env":{"LISTED":"yes","TOKEN":"canary-0123456789"},"cwd":"/"}));
        let command_line = std::fs::read(format!("/proc/{}/cmdline", rig.pid("x"))).unwrap();
        assert!(!String::from_utf8_lossy(&command_line).contains("canary"));
        assert!(!format!("{:?} {:?}", rig.events(), rig.connectors.status()).contains("canary"));
    }
}

#[tokio::test]
async fn each_grant_has_a_child_with_its_own_secret() {
    let rig = Rig::of(&["env"]);
    for (grant_id, secret) in [("g-1", "first-0123456789"), ("g-2", "second-0123456789")] {
        let lease = lease(grant_id, secret);
        let answer = rig.call_with("x", &grant(grant_id), Some(&lease), Duration::from_secs(10), b"{}").await.unwrap();
        assert_eq!(value(&answer)["env"]["TOKEN"], secret);
    }
    assert_eq!(rig.status("x").children.len(), 2);
}

#[tokio::test]
async fn a_credential_lent_anew_means_a_new_child() {
    let (rig, grant) = (Rig::of(&["env"]), grant("g-1"));
    for secret in ["first-0123456789", "second-0123456789"] {
        let answer = rig.call_with("x", &grant, Some(&lease(secret, secret)), Duration::from_secs(10), b"{}").await.unwrap();
        assert_eq!(value(&answer)["env"]["TOKEN"], secret);
    }
}

/// What is lent in a file of memory can be read as often as its server likes, and changed by nobody; it is in no environment.
#[tokio::test]
async fn a_file_in_memory_is_read_again_and_again_and_written_by_nobody() {
    let (rig, grant) = (Rig::new(vec![with(spec("x", &["file"]), |child| child.launcher = launcher())]), grant("g-1"));
    for secret in ["first-0123456789", "second-0123456789"] {
        let text = Template::parse("localhost:5432:*:app:{secret}\n").unwrap();
        let injection = Injection::Child { env: Vec::new(), files: vec![("PGPASSFILE".to_owned(), text)] };
        let lent = lease_for(secret, secret, injection);
        let answer = rig.call_with("x", &grant, Some(&lent), Duration::from_secs(10), b"{}").await.unwrap();
        let found = value(&answer);
        let expected = format!("localhost:5432:*:app:{secret}\n");
        assert_eq!((&found["once"], &found["again"]), (&json!(expected), &json!(expected)));
        assert!(found["path"].as_str().unwrap().starts_with("/proc/self/fd/"), "{found}");
        assert!(found["written"].as_str().unwrap().starts_with("Err("), "{found}");
        // Clients look at that, and use no password that others could read.
        assert_eq!(found["mode"], "100400");
        assert!(found["environment"].as_str().unwrap().starts_with("PGPASSFILE=/proc/self/fd/"), "{found}");
        assert!(!found["environment"].as_str().unwrap().contains(secret) && !found["arguments"].to_string().contains(secret));
        // The one before may still be ending.
        let children = rig.status("x").children;
        let ready = children.iter().find(|child| child.state == ChildState::Ready).unwrap();
        let pid = ready.pid.unwrap();
        for place in ["cmdline", "environ"] {
            let seen = std::fs::read(format!("/proc/{pid}/{place}")).unwrap();
            assert!(!String::from_utf8_lossy(&seen).contains(secret), "{place}");
        }
    }
    let started = rig.events().iter().filter(|event| matches!(event, ConnectorEvent::Started { .. })).count();
    assert_eq!(started, 2, "another lease is another child");
}

/// Without the step that makes the file, nothing is started: the secret would be in the environment.
#[tokio::test]
async fn without_the_step_that_makes_the_file_nothing_starts() {
    let rig = Rig::new(vec![with(spec("x", &["file"]), |child| child.launcher = Vec::new())]);
    let injection = Injection::Child { env: Vec::new(), files: vec![("PGPASSFILE".to_owned(), Template::secret())] };
    let lent = lease_for("lease-1", "canary-0123456789", injection);
    let failure = rig.call_with("x", &grant("g-1"), Some(&lent), Duration::from_secs(10), b"{}").await.unwrap_err();
    assert!(matches!(&failure, Failure::Connect(ConnectFailure::Start(why)) if why.contains("a file in memory")), "{failure:?}");
}

#[tokio::test]
async fn a_shared_connector_has_one_child_and_no_credential() {
    let rig = Rig::new(vec![ConnectorSpec { shared: true, ..spec("x", &["env"]) }]);
    rig.result("x", &grant("g-1")).await;
    rig.result("x", &grant("g-2")).await;
    assert_eq!(rig.status("x").children.iter().map(|child| child.grant.clone()).collect::<Vec<_>>(), [None]);
    let lent = lease("lease-1", "canary-0123456789");
    let failure = rig.call_with("x", &grant("g-3"), Some(&lent), Duration::from_secs(10), b"{}").await.unwrap_err();
    assert!(matches!(&failure, Failure::Connect(ConnectFailure::Start(why)) if why.contains("shared")), "{failure:?}");
}

#[tokio::test]
async fn the_launcher_confines_the_child() {
    let confined = with(spec("x", &["limits"]), |child| {
        child.launcher = launcher();
        (child.max_files, child.max_memory) = (Some(77), Some(1 << 32));
    });
    let rig = Rig::new(vec![confined]);
    let seen = rig.result("x", &grant("g-1")).await;
    let limits = seen["limits"].as_str().unwrap();
    let limit = |name: &str| {
        limits.lines().find(|line| line.starts_with(name)).unwrap().split_whitespace().rev().nth(1).unwrap().to_owned()
    };
    assert_eq!(
        (limit("Max core file size"), limit("Max open files"), limit("Max address space")),
        ("0".to_owned(), "77".to_owned(), (1_u64 << 32).to_string())
    );
    // A session and a group of its own, so no terminal of ours either.
    let stat: Vec<&str> = seen["stat"].as_str().unwrap().rsplit_once(')').unwrap().1.split_whitespace().collect();
    let pid = rig.pid("x").to_string();
    assert_eq!((stat[2], stat[3]), (pid.as_str(), pid.as_str()));
}

/// Nobody has to ask for it; and a gateway that may open fewer files than that starts its children all the same.
#[tokio::test]
async fn open_files_are_limited_without_being_asked() {
    let rig = Rig::new(vec![with(spec("x", &["limits"]), |child| child.launcher = launcher())]);
    let seen = rig.result("x", &grant("g-1")).await;
    let limits = seen["limits"].as_str().unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let hard: u64 = files.split_whitespace().rev().nth(1).unwrap().parse().unwrap();
    assert!(hard <= 4096, "{files}");
    let own = std::process::id().to_string();
    let script = format!("ulimit -n 100; exec {HOSTILE} exec-child --parent {own} --files 4096 -- /bin/sh -c 'ulimit -Hn'");
    let output = std::process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
    assert_eq!(output.stdout, b"100\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn no_descriptor_of_ours_reaches_a_child() {
    let _held = std::fs::File::open("/proc/self/status").unwrap();
    let rig = Rig::of(&["limits"]);
    let seen = rig.result("x", &grant("g-1")).await["fds"].clone();
    // What whoever started us left open for every process of ours is not ours to close: it carries no close-on-exec.
    let left_open: Vec<String> = std::fs::read_dir("/proc/self/fdinfo")
        .unwrap()
        .filter_map(Result::ok)
        .filter(|fd| !closes_on_exec(&fd.path()))
        .map(|fd| fd.file_name().into_string().unwrap())
        .collect();
    let passed: Vec<&str> = seen
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|fd| fd.as_str())
        .filter(|fd| !left_open.iter().any(|open| open == fd))
        .collect();
    // Its three, which we have too, are no surprise; the one more is the folder that it reads this from.
    assert!(passed.len() <= 1, "{passed:?}, left open: {left_open:?}");
    assert!(left_open.len() < 16, "we open descriptors that children inherit: {left_open:?}");
}

fn closes_on_exec(fdinfo: &std::path::Path) -> bool {
    let text = std::fs::read_to_string(fdinfo).unwrap_or_default();
    let flags =
        text.lines().find_map(|line| line.strip_prefix("flags:")).and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    flags.is_none_or(|flags| flags & 0o2_000_000 != 0)
}

#[tokio::test]
async fn a_child_starts_only_for_the_gateway_that_wanted_it() {
    let output = std::process::Command::new(HOSTILE)
        .args(["exec-child", "--parent", "999999999", "--", "/bin/echo", "ran"])
        .output()
        .unwrap();
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(127), true));
    let own = std::process::id().to_string();
    let output = std::process::Command::new(HOSTILE)
        .args(["exec-child", "--parent", &own, "--", "/bin/echo", "ran; $(id)"])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"ran; $(id)\n");
}

#[test]
fn what_would_run_other_code_is_refused_in_the_configuration() {
    for name in [
        "LD_PRELOAD",
        "ld_preload",
        "LD_LIBRARY_PATH",
        "LD_AUDIT",
        "NODE_OPTIONS",
        "PYTHONPATH",
        "PERL5LIB",
        "BASH_ENV",
        "npm_config_registry",
    ] {
        assert!(matches!(check_env_name(name), Err(EnvNameFault::Dangerous(_))), "{name}");
    }
    for name in ["", "A B", "A=B", "1A", "Ä", "A\0"] {
        assert!(matches!(check_env_name(name), Err(EnvNameFault::Malformed(_))), "{name:?}");
    }
    for name in ["PATH", "HOME", "TICKETS_TOKEN", "_x9"] {
        assert_eq!(check_env_name(name), Ok(()));
    }
    let id = || "x".parse().unwrap();
    let mut relative = ConnectorSpec::process(id(), vec!["npx".to_owned(), "a\0b".to_owned()]);
    process(&mut relative).env.insert("LD_PRELOAD".to_owned(), "/evil.so".to_owned());
    let faults = Downstreams::new(vec![relative, ConnectorSpec::process(id(), Vec::new())], |_| {}).err().unwrap();
    assert_eq!(faults.len(), 5, "{faults:?}");
    assert!(matches!(faults[0], SpecFault::NotAbsolute { .. }));
    assert!(faults[4].to_string().contains("configured twice"));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    for (name, mode) in [("plain", 0o600), ("open", 0o777)] {
        std::fs::write(at(name), "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(at(name), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    for (name, expected) in [
        ("absent", "does not exist: install it"),
        ("plain", "is not executable"),
        ("open", "can be changed by everybody"),
        ("", "is not a file"),
    ] {
        let rig = Rig::new(vec![ConnectorSpec::process("x".parse().unwrap(), vec![at(name)])]);
        let failure = rig.call("x", &grant("g-1")).await.unwrap_err();
        assert!(
            matches!(&failure, Failure::Connect(ConnectFailure::Start(why)) if why.contains(expected) && why.contains(&at(name))),
            "{failure:?}"
        );
    }
}

#[tokio::test]
async fn what_a_child_says_to_people_is_harmless() {
    let rig = Rig::of(&["refuse-handshake"]);
    let lent = lease("lease-1", "canary-0123456789");
    let failure = rig.call_with("x", &grant("g-1"), Some(&lent), Duration::from_secs(10), b"{}").await.unwrap_err();
    let text = format!("{failure:?}");
    assert!(text.contains("bad token [redacted]") && !text.contains('\u{1b}'), "{text}");
    assert!(matches!(failure, Failure::Connect(ConnectFailure::Handshake(_))));
}

/// The gateway does without huge pages; what its allocator switched off for it is as usual for a child.
#[test]
fn a_child_has_huge_pages_though_the_gateway_has_none() {
    let status = |command: &[&str]| {
        let output = std::process::Command::new(command[0]).args(&command[1..]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let shown = ["grep", "THP_enabled", "/proc/self/status"];
    let parent = std::process::id().to_string();
    rustix::thread::disable_transparent_huge_pages(true).unwrap();
    let inherited = status(&shown);
    let confined = status(&[&[HOSTILE, "exec-child", "--parent", &parent, "--"], shown.as_slice()].concat());
    rustix::thread::disable_transparent_huge_pages(false).unwrap();
    assert_eq!((inherited.as_str(), confined.as_str()), ("THP_enabled:\t0", "THP_enabled:\t1"));
}
