#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod receiver;

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bailiwick_pipeline::ports::{Clock, Later};
use bailiwick_policy::Band;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    Batch, ChannelSpec, ChannelState, Channels, CourierFault, Event, EventKind, Place, ReadSecret, Secrets, Source, Target, Way,
    message::tests::{event, page},
};
use receiver::{Receiver, Says};

/// How long anything may take on a slow machine.
const PATIENCE: Duration = Duration::from_mins(1);

struct Time(AtomicU64);

impl Clock for Time {
    fn now_ns(&self) -> u64 {
        self.0.load(Ordering::SeqCst) * 1_000_000
    }

    fn random(&self) -> [u8; 16] {
        [0; 16]
    }
}

/// Events in memory.
struct Kept {
    events: Mutex<Vec<Event>>,
    reached: Mutex<BTreeMap<String, u64>>,
    waits: Mutex<(bool, bool)>,
    changed: watch::Sender<u64>,
}

impl Source for Kept {
    fn after(&self, seq: u64, most: usize) -> Later<'_, Result<Batch, String>> {
        let events = self.events.lock().unwrap();
        let events: Vec<Event> = events.iter().filter(|event| event.seq > seq).take(most).cloned().collect();
        let up_to = events.last().map_or(seq, |event| event.seq);
        Box::pin(async move { Ok(Batch { events, up_to }) })
    }

    fn newest(&self) -> u64 {
        self.events.lock().unwrap().last().map_or(0, |event| event.seq)
    }

    fn reached(&self, channel: &str) -> Option<u64> {
        self.reached.lock().unwrap().get(channel).copied()
    }

    fn advance<'a>(&'a self, channel: &'a str, seq: u64) -> Later<'a, Result<(), String>> {
        self.reached.lock().unwrap().insert(channel.to_owned(), seq);
        Box::pin(async { Ok(()) })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn still_waits(&self, _: &Event) -> (bool, bool) {
        *self.waits.lock().unwrap()
    }

    fn arguments(&self, _: &Event) -> Option<String> {
        Some(r#"{"amount_cents":4900}"#.to_owned())
    }
}

/// A gateway's half, and a folder for secrets.
struct Rig {
    kept: Arc<Kept>,
    time: Arc<Time>,
    folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let kept = Kept {
            events: Mutex::default(),
            reached: Mutex::default(),
            waits: Mutex::new((true, true)),
            changed: watch::Sender::new(0),
        };
        let time = Arc::new(Time(AtomicU64::new(event(EventKind::Requested).at_ms)));
        Self { kept: Arc::new(kept), time, folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn start(&self, specs: Vec<ChannelSpec>) -> Channels {
        let read: Arc<ReadSecret> = Arc::new(|path: &Path| std::fs::read(path).map_err(|fault| fault.to_string()));
        let source: Arc<dyn Source> = Arc::clone(&self.kept) as Arc<dyn Source>;
        let clock: Arc<dyn Clock> = Arc::clone(&self.time) as Arc<dyn Clock>;
        Channels::start(specs, &page(), &source, &clock, &read)
    }

    fn happens(&self, kind: EventKind) -> u64 {
        let mut events = self.kept.events.lock().unwrap();
        let seq = events.last().map_or(0, |event| event.seq) + 1;
        events.push(Event { seq, at_ms: self.time.now_ms(), ..event(kind) });
        drop(events);
        self.kept.changed.send_replace(seq);
        seq
    }

    async fn reached(&self, channel: &str, seq: u64) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.kept.reached(channel) != Some(seq) {
            assert!(tokio::time::Instant::now() < deadline, "{channel} is at {:?}, not {seq}", self.kept.reached(channel));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn place(url: &str) -> Place {
    Place { url: Target::Url(url.parse().unwrap()), networks: Vec::new(), roots: None, dangerous_plain_http: false }
}

fn spec(id: &str, way: Way) -> ChannelSpec {
    let hears = BTreeSet::from(EventKind::ALL);
    ChannelSpec { id: id.to_owned(), way, hears, from_band: Band::Low, after: Duration::ZERO, include_args: false }
}

fn webhook(rig: &Rig, id: &str, url: &str) -> ChannelSpec {
    let secrets = rig.file("secret", &format!("whsec_{}\n", STANDARD.encode([7; 32])));
    spec(id, Way::Webhook { place: place(url), secrets })
}

#[tokio::test]
async fn a_receiver_sees_each_event_once_in_order_and_can_check_its_signature() {
    let (rig, receiver) = (Rig::new(), Receiver::new(Vec::new()).await);
    rig.happens(EventKind::Requested);
    let channels = rig.start(vec![webhook(&rig, "books", &receiver.url())]);
    rig.reached("books", 1).await;
    for kind in [EventKind::Requested, EventKind::Acknowledged, EventKind::Decided, EventKind::Executed] {
        rig.happens(kind);
    }
    rig.reached("books", 5).await;
    let got = receiver.got();
    let keys = Secrets::read(format!("whsec_{}", STANDARD.encode([7; 32])).as_bytes()).unwrap();
    let mut kinds = Vec::new();
    for message in &got {
        let (id, seconds) = (message.header("webhook-id"), message.header("webhook-timestamp"));
        assert_eq!(message.header("webhook-signature"), keys.sign(&id, seconds.parse().unwrap(), &message.body));
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        assert!(body.pointer("/data/url").and_then(Value::as_str).unwrap().starts_with("http://localhost:8932/a/apr-"));
        assert_eq!(body.pointer("/data/arguments"), None);
        kinds.push(body["type"].as_str().unwrap().to_owned());
    }
    // What had happened before the channel was there is not told.
    assert_eq!(kinds, ["approval.requested", "approval.acknowledged", "approval.decided", "approval.executed"]);
    let ids: BTreeSet<String> = got.iter().map(|message| message.header("webhook-id")).collect();
    assert_eq!(ids.len(), 4);
    let status = channels.status();
    assert_eq!((status[0].state, status[0].told, status[0].behind), (ChannelState::Working, 4, 0));
    channels.stop().await;
    // After another start it goes on where it was.
    rig.happens(EventKind::Expired);
    let channels = rig.start(vec![webhook(&rig, "books", &receiver.url())]);
    assert_eq!(receiver.after(5).await.len(), 5);
    rig.reached("books", 6).await;
    channels.stop().await;
}

#[tokio::test]
async fn what_does_not_arrive_is_tried_again_under_one_id_and_delays_no_other_channel() {
    let rig = Rig::new();
    let busy: Says = (503, vec![("retry-after", "1".to_owned())]);
    let (slow, other) = (Receiver::new(vec![busy, (500, Vec::new())]).await, Receiver::new(Vec::new()).await);
    let dead = "http://127.0.0.1:1/hook";
    let specs = [("slow", slow.url()), ("dead", dead.to_owned()), ("other", other.url())];
    let channels = rig.start(specs.iter().map(|(id, url)| webhook(&rig, id, url)).collect());
    for id in ["slow", "dead", "other"] {
        rig.reached(id, 0).await;
    }
    rig.happens(EventKind::Requested);
    rig.happens(EventKind::Decided);
    rig.reached("other", 2).await;
    rig.reached("slow", 2).await;
    let ids: Vec<String> = slow.got().iter().map(|message| message.header("webhook-id")).collect();
    assert_eq!(ids.len(), 4, "{ids:?}");
    assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3], "{ids:?}");
    assert_eq!(other.got().len(), 2);
    let status = channels.status();
    let of_dead = status.iter().find(|status| status.id == "dead").unwrap();
    assert_eq!((of_dead.state, of_dead.told, of_dead.behind), (ChannelState::Failing, 0, 2));
    assert!(of_dead.why.as_ref().unwrap().contains("can't be reached"), "{of_dead:?}");
    channels.stop().await;
}

#[tokio::test]
async fn who_is_gone_for_good_is_left_alone_and_no_redirect_is_followed() {
    let (rig, other) = (Rig::new(), Receiver::new(Vec::new()).await);
    let gone = Receiver::new(vec![(410, Vec::new())]).await;
    let moved = Receiver::new(vec![(307, vec![("location", other.url())])]).await;
    let channels = rig.start(vec![webhook(&rig, "gone", &gone.url()), webhook(&rig, "moved", &moved.url())]);
    rig.reached("gone", 0).await;
    rig.reached("moved", 0).await;
    rig.happens(EventKind::Requested);
    rig.reached("moved", 1).await;
    assert_eq!(moved.got().len(), 2, "asked again at the same place");
    assert!(other.got().is_empty());
    gone.after(1).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while channels.status()[0].state != ChannelState::Gone {
        assert!(tokio::time::Instant::now() < deadline, "{:?}", channels.status());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    channels.stop().await;
    assert_eq!(gone.got().len(), 1);
}

#[tokio::test]
async fn only_addresses_that_were_named_are_reached() {
    let (rig, receiver) = (Rig::new(), Receiver::new(Vec::new()).await);
    // A name that leads to this machine, though it does not say so; where it has one.
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let name = format!("http://{}:{}/hook", name.trim(), receiver.at.port());
    let channels = rig.start(vec![webhook(&rig, "books", &name)]);
    let fault = channels.trial("books").await.unwrap().unwrap_err();
    assert!(
        matches!(&fault, CourierFault::Unreached(why) if why.contains("`networks`") || why.contains("be resolved")),
        "{fault}"
    );
    assert!(channels.trial("none").await.is_none());
    assert!(receiver.got().is_empty());
    channels.stop().await;
}

#[tokio::test]
async fn arguments_go_only_where_that_is_wanted() {
    let (rig, receiver) = (Rig::new(), Receiver::new(Vec::new()).await);
    let with = ChannelSpec { include_args: true, ..webhook(&rig, "with", &receiver.url()) };
    let channels = rig.start(vec![with]);
    rig.reached("with", 0).await;
    rig.happens(EventKind::Requested);
    let got = receiver.after(1).await;
    let body: Value = serde_json::from_slice(&got[0].body).unwrap();
    assert_eq!(body.pointer("/data/arguments/amount_cents").and_then(Value::as_u64), Some(4900));
    channels.stop().await;
}

/// What somebody wrote into one call keeps nobody from hearing of the others.
#[tokio::test]
async fn what_a_place_refuses_for_what_it_says_goes_without_arguments_and_is_passed_by() {
    let rig = Rig::new();
    let no = || (403, Vec::new());
    let (picky, stubborn) = (Receiver::new(vec![no(), no(), no()]).await, Receiver::new((0..7).map(|_| no()).collect()).await);
    let with = |id: &str, url: &str| ChannelSpec { include_args: true, ..webhook(&rig, id, url) };
    let channels = rig.start(vec![with("picky", &picky.url()), with("stubborn", &stubborn.url())]);
    rig.reached("picky", 0).await;
    rig.reached("stubborn", 0).await;
    rig.happens(EventKind::Requested);
    rig.happens(EventKind::Decided);
    rig.reached("picky", 2).await;
    rig.reached("stubborn", 2).await;
    let has_arguments = |got: &receiver::Got| String::from_utf8_lossy(&got.body).contains("amount_cents");
    let first: Vec<bool> = picky.got().iter().take(4).map(has_arguments).collect();
    assert_eq!(first, [true, true, true, false]);
    assert_eq!(picky.got().len(), 5, "the next one was told");
    let status = channels.status();
    assert_eq!((status[0].told, status[0].passed_by), (2, 0));
    assert_eq!((status[1].told, status[1].passed_by), (1, 1));
    channels.stop().await;
}

#[tokio::test]
async fn persons_are_called_for_what_waits_and_not_for_what_is_over() {
    let (rig, receiver) = (Rig::new(), Receiver::new(Vec::new()).await);
    let url = rig.file("slack", &format!("{}\n", receiver.url()));
    let hears = BTreeSet::from([EventKind::Requested]);
    let chat = Place { url: Target::File(url), ..place("http://127.0.0.1/") };
    let at_once = ChannelSpec { hears: hears.clone(), from_band: Band::High, ..spec("chat", Way::Slack(chat.clone())) };
    let critical = ChannelSpec { hears, from_band: Band::Critical, ..spec("critical", Way::Slack(chat)) };
    let channels = rig.start(vec![at_once, critical]);
    rig.reached("chat", 0).await;
    rig.reached("critical", 0).await;
    rig.happens(EventKind::Requested);
    let got = receiver.after(1).await;
    assert!(String::from_utf8_lossy(&got[0].body).contains("tickets__refund (high) waits for approval"));
    *rig.kept.waits.lock().unwrap() = (false, false);
    rig.happens(EventKind::Requested);
    rig.happens(EventKind::Decided);
    rig.reached("chat", 3).await;
    rig.reached("critical", 3).await;
    assert_eq!(receiver.got().len(), 1);
    channels.stop().await;
}

#[tokio::test]
async fn an_escalation_comes_after_its_time_and_not_once_somebody_looks() {
    let (rig, receiver) = (Rig::new(), Receiver::new(Vec::new()).await);
    let later = |id: &str, after| {
        let hears = BTreeSet::from([EventKind::Requested]);
        ChannelSpec { hears, after, ..spec(id, Way::Teams(place(&receiver.url()))) }
    };
    let channels = rig.start(vec![later("soon", Duration::from_millis(300)), later("late", Duration::from_hours(1))]);
    rig.reached("soon", 0).await;
    rig.reached("late", 0).await;
    rig.happens(EventKind::Requested);
    rig.reached("soon", 1).await;
    assert_eq!(receiver.got().len(), 1);
    // Somebody looks at it, and has not decided.
    *rig.kept.waits.lock().unwrap() = (true, false);
    rig.happens(EventKind::Requested);
    rig.reached("soon", 2).await;
    assert_eq!(receiver.got().len(), 1);
    assert_eq!(rig.kept.reached("late"), Some(0));
    channels.stop().await;
}

#[tokio::test]
async fn a_phone_is_reached_with_its_token_and_a_mail_goes_through_the_program() {
    let (rig, receiver) = (Rig::new(), Receiver::new(Vec::new()).await);
    let token = rig.file("token", "tk_canary\n");
    let out = rig.folder.path().join("mail.out");
    let program = rig.file("mailer", &format!("#!/bin/sh\ncat > {}.part && mv {0}.part {0}\n", out.display()));
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    let phone = Way::Ntfy { place: place(&receiver.url()), topic: "approvals".to_owned(), token: Some(token) };
    let mail = Way::Mail {
        command: vec![program.display().to_string()],
        from: "gate@example.com".to_owned(),
        to: vec!["ops@example.com".to_owned()],
    };
    let failing = Way::Mail { command: vec!["/bin/false".to_owned()], from: "a@b".to_owned(), to: vec!["c@d".to_owned()] };
    let channels = rig.start(vec![spec("phone", phone), spec("mail", mail), spec("failing", failing)]);
    rig.reached("phone", 0).await;
    rig.reached("mail", 0).await;
    rig.happens(EventKind::Requested);
    rig.reached("phone", 1).await;
    rig.reached("mail", 1).await;
    let got = receiver.got();
    assert_eq!(got[0].header("authorization"), "Bearer tk_canary");
    let mail = std::fs::read_to_string(&out).unwrap();
    assert!(mail.starts_with("From: gate@example.com\r\nTo: ops@example.com\r\n"), "{mail}");
    let fault = channels.trial("failing").await.unwrap().unwrap_err();
    assert!(fault.to_string().contains("did not take it"), "{fault}");
    channels.stop().await;
}

#[tokio::test]
async fn a_secret_that_is_missing_or_malformed_is_told_and_never_shown() {
    let (rig, receiver) = (Rig::new(), Receiver::new(Vec::new()).await);
    let secrets = rig.file("bad", "hunter2-canary");
    let missing = rig.folder.path().join("missing");
    let url = rig.file("url", "ftp://canary.example.com/hook");
    let way = |secrets: PathBuf| Way::Webhook { place: place(&receiver.url()), secrets };
    let file = Place { url: Target::File(url), ..place("http://127.0.0.1/") };
    let channels = rig.start(vec![spec("bad", way(secrets)), spec("missing", way(missing)), spec("file", Way::Slack(file))]);
    for (id, told) in [("bad", "line 1 is no secret"), ("missing", "No such file"), ("file", "holds no URL with TLS")] {
        let fault = channels.trial(id).await.unwrap().unwrap_err().to_string();
        assert!(fault.contains(told) && !fault.contains("canary"), "{fault}");
    }
    assert!(receiver.got().is_empty());
    assert!(!format!("{channels:?}").contains("canary"));
    receiver.will_say((200, Vec::new()));
    channels.stop().await;
}
