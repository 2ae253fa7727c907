//! A real gateway whose files change under it.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fs;

use bailiwick_pipeline::ports::{Access, Clock as _, Credentials as _, Grants as _, Wanted};
use bailiwick_store::{Store, StoreFault};

use super::*;
use crate::{adapters::SystemClock, data::DataFolder, runtime::Start, sources::Origin};

mod consents;

const AGENT: &str = "[[agents]]\nid = \"a\"\nowner = \"o@example.com\"\n";
const CONNECTOR: &str = "[[connectors]]\nid = \"s\"\ncommand = [\"/bin/false\"]\n";

struct House {
    folder: tempfile::TempDir,
    runtime: Arc<Runtime>,
}

impl House {
    async fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.toml"), text).unwrap();
        Self::at(folder).await
    }

    /// Ends the gateway, and starts another one with this configuration.
    async fn restart(self, text: &str) -> Self {
        self.write(text);
        self.runtime.stop().await;
        drop(self.runtime);
        // Whoever looked at it just then, as the console does, lets go a moment later.
        let lock = DataFolder::open(&self.folder.path().join("data")).unwrap();
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while Store::open(lock.path()).is_err_and(|fault| matches!(fault, StoreFault::Held { .. })) {
            assert!(std::time::Instant::now() < end, "the gateway that was stopped keeps its store");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Self::at(self.folder).await
    }

    async fn at(folder: tempfile::TempDir) -> Self {
        let file = folder.path().join("config.toml");
        let origin =
            Origin { file: Some(file.clone()), environment: BTreeMap::from([("SECRET".into(), "canary-0123456789".into())]) };
        let start = Start {
            config: sources::read(&origin, &[]).sources.unwrap().config,
            file: Some(file),
            data: DataFolder::open(&folder.path().join("data")).unwrap(),
            clock: Arc::new(SystemClock),
            is_demo: false,
            own_binary: "/bin/false".into(),
            environment: origin.environment,
        };
        Self { runtime: Runtime::start(start).await.unwrap(), folder }
    }

    fn write(&self, text: &str) {
        fs::write(self.folder.path().join("config.toml"), text).unwrap();
    }

    async fn reload(&self) -> Result<Reloaded, ReloadFault> {
        self.runtime.reload(By::Operator { name: "op".to_owned(), uid: 7 }).await
    }

    /// The records of reloads: by whom and how far.
    fn records(&self) -> Vec<String> {
        let records = self.runtime.recorder.trail().reader().records(Stream::Admin, bailiwick_trail::Start::First).unwrap();
        let records = records.map(Result::unwrap).filter(|record| record.text("event") == Some("config_reloaded"));
        records.map(|record| format!("{} {}", record.text("by").unwrap(), record.text("result").unwrap())).collect()
    }

    /// Changes the store as somebody would who can write the file.
    fn tamper(&self, sql: &str) {
        rusqlite::Connection::open(self.folder.path().join("data/state.db")).unwrap().execute_batch(sql).unwrap();
    }
}

fn grant(more: &str) -> String {
    format!("[[grants]]\nid = \"g\"\nagent = \"a\"\npurpose = \"p\"\ntools = [\"s__*\"]\nttl = \"1h\"\n{more}")
}

#[tokio::test]
async fn what_is_in_force_is_what_was_read_last_and_is_on_record() {
    let house = House::new(AGENT).await;
    let before = house.runtime.reloads();
    assert_eq!((before.epoch, before.last.is_none()), (1, true));
    house.write(&format!("{AGENT}{CONNECTOR}{}", grant("")));
    let reloaded = house.reload().await.unwrap();
    assert_eq!(reloaded.summary(), "connectors +s, grants +g");
    assert_eq!(reloaded.unpinned, ["s"]);
    assert!(house.runtime.grants.by_id(&"g".parse().unwrap()).unwrap().is_live(SystemClock.now_ms()));
    assert!(house.runtime.config().connector("s").is_some());
    let after = house.runtime.reloads();
    assert_eq!((after.epoch, after.applied, &after.digest), (2, 1, &reloaded.digest));
    assert_ne!(after.digest, before.digest);
    house.write(&format!("{AGENT}{CONNECTOR}{}", grant("budget = { calls = 1 }\n")));
    assert_eq!(house.reload().await.unwrap().summary(), "grants ~g");
    house.write("");
    let fault = house.reload().await.unwrap_err();
    assert!(fault.report().contains("is empty"), "{}", fault.report());
    assert_eq!(house.records(), ["op begun", "op done", "op begun", "op done", "op refused"]);
    assert_eq!(house.runtime.reloads().last.unwrap().why.len(), 1);
}

#[tokio::test]
async fn nothing_changes_by_what_is_refused() {
    let house = House::new(&format!("{AGENT}{CONNECTOR}{}", grant(""))).await;
    let created = bailiwick_pipeline::grant::Grant {
        id: "made".parse().unwrap(),
        from_config: false,
        ..house.runtime.config().grants.first().unwrap().to_grant(SystemClock.now_ms(), 1)
    };
    house.runtime.grants.create(created, SystemClock.now_ms()).await.unwrap();
    let world = house.runtime.worlds.now();
    let config = house.runtime.config();
    let with = |more: &str| format!("[approvals]\nhold = \"1s\"\n{more}");
    let clash = grant("").replace("\"g\"", "\"made\"");
    let no_program = CONNECTOR.replace("[\"/bin/false\"]", "[\"/bin/false\", \"a\\u0000b\"]");
    for wrong in
        [with("["), with("[policy]\nfiles = [\"none.cedar\"]\n"), with(&format!("{AGENT}{CONNECTOR}{clash}")), with(&no_program)]
    {
        house.write(&wrong);
        let fault = house.reload().await.unwrap_err();
        assert!(!fault.lines().is_empty(), "{fault}");
        assert!(Arc::ptr_eq(&house.runtime.worlds.now(), &world) && Arc::ptr_eq(&house.runtime.config(), &config), "{wrong}");
        assert!(house.runtime.grants.by_id(&"g".parse().unwrap()).unwrap().is_live(SystemClock.now_ms()));
    }
    assert_eq!(house.runtime.reloads().refused, 4);
}

#[tokio::test]
async fn what_can_not_be_stored_is_in_force_and_said_so() {
    let house = House::new(&format!("{AGENT}{CONNECTOR}{}", grant(""))).await;
    let live = house.runtime.grants.by_id(&"g".parse().unwrap()).unwrap();
    house.tamper("CREATE TRIGGER no BEFORE UPDATE ON grants BEGIN SELECT RAISE(ABORT, 'full'); END");
    house.write(&format!("{AGENT}{CONNECTOR}"));
    let reloaded = house.reload().await.unwrap();
    assert!(reloaded.not_stored.is_some_and(|why| why.contains("full")));
    assert!(!live.is_live(SystemClock.now_ms()) && live.cancelled().is_cancelled());
}

#[tokio::test]
async fn another_credential_takes_back_what_was_lent() {
    let with = |name: &str| {
        format!(
            "{AGENT}{CONNECTOR}credential = {{ provider = \"env\", name = \"{name}\", inject = {{ env = \"TOKEN\" }} }}\n{}",
            grant("")
        )
    };
    let house = House::new(&with("SECRET")).await;
    let (id, connector) = ("g".parse().unwrap(), "s".parse().unwrap());
    let live = house.runtime.grants.by_id(&id).unwrap();
    let wanted = |grant, connector| Wanted {
        grant,
        connector,
        access: Access::Read,
        most: &|| Access::Read,
        now_ms: SystemClock.now_ms(),
    };
    let lent = house.runtime.broker.lend(wanted(&live, &connector)).await.unwrap().unwrap();
    house.write(&with("OTHER"));
    assert_eq!(house.reload().await.unwrap().summary(), "connectors ~s");
    let records = house.runtime.recorder.trail().reader().records(Stream::Secrets, bailiwick_trail::Start::First).unwrap();
    let returned = records.map(Result::unwrap).find(|record| record.text("event") == Some("returned")).unwrap();
    assert_eq!(returned.text("lease"), Some(lent.lease.id.as_str()));
    assert!(Arc::ptr_eq(&live, &house.runtime.grants.by_id(&id).unwrap()), "the grant is what it was");
    assert!(house.runtime.broker.lend(wanted(&live, &connector)).await.is_err(), "the other one is not set");
}

/// The records of tokens that were revoked with their agent: whose, and how many.
fn revoked(house: &House) -> Vec<(String, usize)> {
    let records = house.runtime.recorder.trail().reader().records(Stream::Admin, bailiwick_trail::Start::First).unwrap();
    let of = |record: bailiwick_trail::Record| {
        let tokens = record.body.get("tokens").and_then(Value::as_array).map_or(0, Vec::len);
        (record.text("agent").unwrap().to_owned(), tokens)
    };
    records.map(Result::unwrap).filter(|record| record.text("event") == Some("agent_tokens_revoked")).map(of).collect()
}

/// By a reload; or by a start, where the file changed while nothing ran, or a reload died on the way.
#[tokio::test]
async fn what_was_made_for_an_agent_ends_with_it() {
    const B: &str = "[[agents]]\nid = \"b\"\nowner = \"o@example.com\"\n";
    let without = format!("{AGENT}{CONNECTOR}{}", grant(""));
    let with = |more: &str| format!("{AGENT}{CONNECTOR}{}{B}{more}", grant(""));
    for (is_restart, is_removed) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut house = House::new(&with("")).await;
        let now_ms = SystemClock.now_ms();
        for (id, agent) in [("kept", "a"), ("made", "b")] {
            let terms = house.runtime.config().grants.first().unwrap().to_grant(now_ms, 1);
            let (id, agent) = (id.parse().unwrap(), agent.parse().unwrap());
            house.runtime.tokens.issue_agent(&agent, 60_000, now_ms).await.unwrap();
            house.runtime.grants.create(Grant { id, agent, from_config: false, ..terms }, now_ms).await.unwrap();
        }
        let next = if is_removed { without.clone() } else { with("disabled = true\n") };
        if is_restart {
            house = house.restart(&next).await;
        } else {
            house.write(&next);
            house.reload().await.unwrap();
        }
        let case = format!("restart {is_restart}, removed {is_removed}");
        let ended_by = |house: &House, id: &str| {
            let entry = house.runtime.grants.entry(&id.parse().unwrap()).unwrap();
            entry.ending.map(|ending| ending.by.unwrap_or_default())
        };
        assert_eq!(ended_by(&house, "kept"), None, "{case}");
        assert_eq!(ended_by(&house, "made").as_deref(), Some("the configuration"), "{case}");
        let good = |house: &House| -> Vec<String> {
            let tokens = house.runtime.tokens.list(None).into_iter().filter(|token| token.is_good(SystemClock.now_ms()));
            // Made within one millisecond they are in no order.
            let mut agents: Vec<String> = tokens.map(|token| token.agent.to_string()).collect();
            agents.sort();
            agents
        };
        // Switched off is not gone: switched on again it is who it was.
        let left = if is_removed { vec!["a"] } else { vec!["a", "b"] };
        assert_eq!(
            (good(&house), revoked(&house).len()),
            (left.iter().map(ToString::to_string).collect(), 2 - left.len()),
            "{case}"
        );
        house.write(&with(""));
        house.reload().await.unwrap();
        assert_eq!(good(&house), left, "{case}: another agent of the same id is not the one that was taken out");
        let house = house.restart(&with("")).await;
        assert_eq!(good(&house), left, "{case}");
        let told = if is_removed { vec![("b".to_owned(), 1)] } else { Vec::new() };
        assert_eq!(revoked(&house), told, "{case}");
    }
}

#[test]
fn who_wants_a_reload_is_named() {
    assert_eq!((By::Signal.name(), By::File.name()), ("SIGHUP", "a changed file"));
    let operator = By::Operator { name: "ann".to_owned(), uid: 7 };
    assert_eq!((operator.name(), operator.uid()), ("ann", 7));
    assert_eq!(By::File.uid(), rustix::process::geteuid().as_raw());
}
