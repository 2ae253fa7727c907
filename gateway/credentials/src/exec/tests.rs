#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{
    fs,
    sync::Mutex,
    time::{Duration, Instant},
};

use bailiwick_schemas::time::rfc3339;

use super::*;
use crate::provider::MintFaultKind;

/// A journal that remembers what was kept last.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Vec<String>>);

impl Kept {
    /// What was kept last.
    pub(crate) fn last(&self) -> String {
        self.0.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

impl Journal for Kept {
    fn keep<'a>(&'a self, handle: &'a Handle) -> Later<'a, Result<(), MintFault>> {
        self.0.lock().unwrap().push(handle.expose().to_owned());
        Box::pin(std::future::ready(Ok(())))
    }
}

pub(crate) fn wish(seconds: u64) -> Wish {
    let now_ms = 1_900_000_000_000;
    Wish {
        lease: "lease-00112233445566778899aabbccddeeff".to_owned(),
        grant: Some("triage".parse().unwrap()),
        agent: Some("bot".parse().unwrap()),
        owner: "support@example.com".to_owned(),
        connector: "tickets".parse().unwrap(),
        access: Access::Read,
        now_ms,
        until_ms: now_ms + seconds * 1000,
    }
}

const TOKEN: &str = "tok-0123456789abcdef";

pub(crate) fn plugin(script: &str, revocable: bool) -> Exec {
    let env = [("MINT_HOME".to_owned(), SecretString::from("/somewhere"))];
    Exec {
        program: Program {
            path: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            env: Arc::new(env.into_iter().collect()),
        },
        revocable,
        max_ttl: None,
        what: ExecTerms {
            role: Some("rw".to_owned()),
            read_role: Some("ro".to_owned()),
            audience: Some("https://tickets.example.com".to_owned()),
            longest: None,
        },
    }
}

pub(crate) fn answer(status: &str) -> String {
    format!(r#"{{"apiVersion":"{API}","kind":"{KIND}","status":{{{status}}}}}"#)
}

fn good() -> String {
    let ends = rfc3339(wish(200).until_ms);
    answer(&format!(r#""token":"{TOKEN}","expirationTimestamp":"{ends}","bailiwickHandle":"h-77""#))
}

async fn minted(script: &str, revocable: bool) -> Result<Minted, MintFault> {
    plugin(script, revocable).mint(&wish(300), &Kept::default()).await
}

#[tokio::test]
async fn it_is_asked_for_exactly_this_in_an_empty_environment() {
    let folder = tempfile::tempdir().unwrap();
    let (asked, around) = (folder.path().join("asked"), folder.path().join("around"));
    let script = format!("cat >'{}'; {{ env; pwd; }} >'{}'; echo '{}'", asked.display(), around.display(), good());
    let minted = minted(&script, false).await.unwrap();
    assert_eq!(minted.expires_at_ms, Some(wish(200).until_ms));
    assert!(minted.handle.is_none(), "it was not said to be revocable");
    assert_eq!(minted.reference, "/bin/sh ro");
    let asked: serde_json::Value = serde_json::from_slice(&fs::read(asked).unwrap()).unwrap();
    assert_eq!(asked["apiVersion"], API);
    assert_eq!(asked["kind"], KIND);
    let spec = &asked["spec"];
    for (key, value) in [
        ("verb", "mint"),
        ("lease", "lease-00112233445566778899aabbccddeeff"),
        ("grant", "triage"),
        ("agent", "bot"),
        ("owner", "support@example.com"),
        ("connector", "tickets"),
        ("access", "read"),
        ("role", "ro"),
        ("audience", "https://tickets.example.com"),
    ] {
        assert_eq!(spec[key], value, "{key}");
    }
    assert_eq!(spec["ttlSeconds"], 300);
    let around = fs::read_to_string(around).unwrap();
    assert!(around.contains("MINT_HOME=/somewhere") && around.ends_with("/\n"), "{around}");
    assert!(!around.contains("CARGO") && !around.contains("HOME=/root"), "{around}");
}

#[tokio::test]
async fn what_it_made_is_taken_back_by_its_own_handle_and_before_that_by_the_lease() {
    let folder = tempfile::tempdir().unwrap();
    let asked = folder.path().join("asked");
    let script = format!("cat >'{}'; echo '{}'", asked.display(), good());
    let (plugin, kept) = (plugin(&script, true), Kept::default());
    let minted = plugin.mint(&wish(300), &kept).await.unwrap();
    let first = kept.0.lock().unwrap().first().cloned().unwrap();
    assert!(first.contains("lease-0011") && !first.contains("h-77"), "{first}");
    plugin.revoke(&minted.handle.unwrap(), crate::stub::now_ms()).await.unwrap();
    let spec = |path| serde_json::from_slice::<serde_json::Value>(&fs::read(path).unwrap()).unwrap()["spec"].clone();
    let told = spec(&asked);
    assert_eq!((told["verb"].as_str(), told["handle"].as_str()), (Some("revoke"), Some("h-77")));
    plugin.revoke(&Handle::new(first), crate::stub::now_ms()).await.unwrap();
    assert_eq!(spec(&asked)["lease"], "lease-00112233445566778899aabbccddeeff");
    let refuses =
        super::Exec { program: Program { arguments: vec!["-c".into(), "exit 4".into()], ..plugin.program.clone() }, ..plugin };
    let handle = Handle::new(kept.0.lock().unwrap()[0].clone());
    let fault = refuses.revoke(&handle, crate::stub::now_ms()).await.unwrap_err();
    assert!(fault.why.contains("exit code 4"), "{}", fault.why);
}

#[tokio::test]
async fn a_certificate_comes_with_its_key() {
    let ends = rfc3339(wish(100).until_ms);
    let pair = format!(r#""clientCertificateData":"CERT","clientKeyData":"KEY-0123456789","expirationTimestamp":"{ends}""#);
    let given = minted(&format!("echo '{}'", answer(&pair)), false).await.unwrap();
    assert_eq!(given.material.names().collect::<Vec<_>>(), ["certificate", "key"]);
    let alone = answer(&format!(r#""clientCertificateData":"CERT","expirationTimestamp":"{ends}""#));
    assert!(minted(&format!("echo '{alone}'"), false).await.unwrap_err().why.contains("come together"));
}

#[tokio::test]
async fn whatever_goes_wrong_with_it_is_a_clear_refusal() {
    let ends = rfc3339(wish(100).until_ms);
    let no_end = answer(&format!(r#""token":"{TOKEN}""#));
    let empty = answer(&format!(r#""token":"","expirationTimestamp":"{ends}""#));
    let other = good().replace("ExecCredential", "Secret");
    for (script, kind, why) in [
        (format!("echo '{}'; exit 3", good()), MintFaultKind::Refused, "exit code 3"),
        ("kill -9 $$".to_owned(), MintFaultKind::Refused, "signal 9"),
        ("true".to_owned(), MintFaultKind::Wrong, "no `ExecCredential`"),
        (format!("echo '<html>{TOKEN}'"), MintFaultKind::Wrong, "line 1"),
        (format!("echo '{}' | head -c 60", good()), MintFaultKind::Wrong, "no `ExecCredential`"),
        (format!("echo '{no_end}'"), MintFaultKind::Wrong, "what never ends"),
        (format!("echo '{}'", no_end.replace('}', ",\"expirationTimestamp\":\"soon\"}")), MintFaultKind::Wrong, ""),
        (format!("echo '{empty}'"), MintFaultKind::Wrong, "is empty"),
        (format!("echo '{other}'"), MintFaultKind::Wrong, "`kind`"),
        ("head -c 10485760 /dev/zero".to_owned(), MintFaultKind::Wrong, "more than 65536 bytes"),
    ] {
        let fault = minted(&script, false).await.unwrap_err();
        assert_eq!(fault.kind, kind, "{script}: {}", fault.why);
        assert!(fault.why.contains(why), "{script}: {}", fault.why);
        assert!(!fault.why.contains(TOKEN), "{}", fault.why);
    }
    let gone = Exec { program: Program { path: "/nowhere/plugin".into(), ..plugin("", false).program }, ..plugin("", false) };
    let fault = gone.mint(&wish(300), &Kept::default()).await.unwrap_err();
    assert!(fault.kind == MintFaultKind::Own && fault.why.contains("/nowhere/plugin"), "{}", fault.why);
}

#[tokio::test]
async fn one_that_hangs_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script = format!("sleep 600 & echo $! >'{}'; wait", pid.display());
    let begun = Instant::now();
    let fault = minted(&script, false).await.unwrap_err();
    assert_eq!(fault.kind, MintFaultKind::Slow);
    assert!(fault.why.contains("10 s"), "{}", fault.why);
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    gone(&pid).await;
}

#[tokio::test]
async fn what_it_leaves_behind_is_killed_and_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    // It keeps both outputs open.
    let script = format!("sleep 600 & echo $! >'{}'; echo '{}'", pid.display(), good());
    let begun = Instant::now();
    minted(&script, false).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    gone(&pid).await;
}

/// Waits until the process whose id this file has is gone, or waits for nothing but to be buried.
async fn gone(pid: &std::path::Path) {
    let pid = fs::read_to_string(pid).unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        if stat.is_empty() || stat.contains(") Z ") {
            return;
        }
        assert!(Instant::now() < end, "process {pid} still runs");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_it_says_on_the_side_is_told_without_the_secret() {
    let said = format!("minted \\033[31m{TOKEN}\\nAuthorization: Bearer {TOKEN} h-77 done");
    let script = format!("printf '{said}' >&2; head -c 300000 /dev/zero | tr '\\0' x >&2; echo '{}'", good());
    let run = child::run(&plugin(&script, false).program, String::new()).await.unwrap();
    let given = Given::read(&run.output).unwrap();
    for told in [run.cleaned(&given.secrets()), run.cleaned(&[])] {
        assert!(told.starts_with("minted "), "{told}");
        assert!(!told.contains(TOKEN) && !told.contains('\u{1b}') && !told.contains('\n'), "{told}");
        assert!(told.chars().count() <= 500, "{}", told.len());
    }
}

#[tokio::test]
async fn what_it_was_started_with_and_every_part_of_its_handle_is_in_no_log() {
    let ends = rfc3339(wish(100).until_ms);
    let handle = r#"{"ids":["h-77","canary-0123456789"]}"#;
    let status = answer(&format!(r#""token":"{TOKEN}","expirationTimestamp":"{ends}","bailiwickHandle":{handle}"#));
    let script = format!("echo \"Bearer $MINT_TOKEN --key=$1 h-77 canary-0123456789 /tmp/mint\" >&2; echo '{status}'");
    let mut plugin = plugin(&script, true);
    let env = [("MINT_TOKEN", "of-the-plugin-1"), ("MINT_HOME", "/tmp")];
    plugin.program.env = Arc::new(env.map(|(name, value)| (name.to_owned(), SecretString::from(value))).into());
    plugin.program.arguments.extend(["sh".to_owned(), "argument-0123".to_owned()]);
    let run = child::run(&plugin.program, String::new()).await.unwrap();
    let given = Given::read(&run.output).unwrap();
    let told = run.cleaned(&given.secrets());
    assert!(told.starts_with("Bearer ***") && told.ends_with("/tmp/mint"), "{told}");
    for secret in ["of-the-plugin-1", "argument-0123", "h-77", "canary"] {
        assert!(!told.contains(secret), "{secret}: {told}");
    }
}
