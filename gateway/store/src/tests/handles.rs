use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
};

use bailiwick_identity::Issuers;
use bailiwick_pipeline::{
    ports::{Clock as _, Identities as _, IdentityFailure},
    principal::{AuthMethod, Credential, Presented, Principal, Process},
};
use secrecy::{ExposeSecret as _, SecretString};
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;

use super::{HOUR, MINUTE, NOW, StoppedClock, agents, clock, folder, open, terms};
use crate::{EndAs, HandleEvent, HandleFault, Handles, LiveGrants, LiveIdentities, Tokens, UNBOUND_MS};

struct House {
    _data: TempDir,
    grants: Arc<LiveGrants>,
    handles: Arc<Handles>,
    events: UnboundedReceiver<HandleEvent>,
    identities: LiveIdentities,
    clock: Arc<StoppedClock>,
}

async fn house() -> House {
    let data = folder();
    let store = open(&data);
    let tokens = Arc::new(Tokens::load(&store).unwrap());
    let grants = Arc::new(LiveGrants::load(&store, &[]).unwrap());
    grants.create(terms("triage", "bot"), NOW).await.unwrap();
    let (handles, events) = Handles::new();
    let clock = clock(NOW);
    let issuers = Arc::new(Issuers::new("https://gateway.example.com/mcp", NOW));
    let proofs = (tokens, Arc::clone(&handles));
    let identities = LiveIdentities::new(agents(), proofs, issuers, Arc::clone(&grants), clock.clone());
    House { _data: data, grants, handles, events, identities, clock }
}

impl House {
    fn issue(&self) -> SecretString {
        self.handles.issue(&terms("triage", "bot"), self.clock.now_ms()).unwrap()
    }

    async fn identify(&self, credential: Credential) -> Result<Principal, IdentityFailure> {
        self.identities.identify(&Presented { credential, grant: None }).await
    }

    async fn shown(&self, handle: &SecretString, process: Process) -> Result<Principal, IdentityFailure> {
        self.identify(Credential::Handle { handle: handle.clone(), process: Some(process) }).await
    }

    fn told(&mut self) -> Vec<HandleEvent> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }
}

fn process(pid: i32) -> Process {
    Process { uid: 1000, pid, started: 77 }
}

fn why(refused: Result<Principal, IdentityFailure>) -> String {
    match refused.unwrap_err() {
        IdentityFailure::Handle(why) => why,
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn a_handle_is_good_in_the_first_process_that_shows_it() {
    let mut house = house().await;
    let handle = house.issue();
    assert_eq!(handle.expose_secret().strip_prefix("tb_triage_").unwrap().len(), 43);
    for _ in 0..2 {
        let principal = house.shown(&handle, process(7)).await.unwrap();
        assert_eq!((principal.agent.id.as_str(), principal.method), ("bot", AuthMethod::Handle));
        assert_eq!((principal.grant, principal.instance.as_deref()), (Some("triage".parse().unwrap()), Some("pid-7")));
    }
    let bound = HandleEvent::Bound { grant: "triage".parse().unwrap(), revision: 1, process: process(7) };
    assert_eq!(house.told(), [bound], "once");
}

#[tokio::test]
async fn another_process_is_refused_and_alarmed_of_without_end_to_the_record() {
    let mut house = house().await;
    let handle = house.issue();
    house.shown(&handle, process(7)).await.unwrap();
    house.told();
    // Another process, the same id after another start, and another user.
    let others = [process(8), Process { started: 78, ..process(7) }, Process { uid: 0, ..process(7) }];
    for other in others {
        assert!(why(house.shown(&handle, other).await).contains("is held by process 7 of user 1000"));
    }
    let misused = |by: Process, times| {
        let (grant, holder) = ("triage".parse().unwrap(), process(7));
        HandleEvent::Misused { grant, holder, by, times }
    };
    assert_eq!(house.told(), [misused(others[0], 1)]);
    house.clock.0.store(NOW + MINUTE, Ordering::SeqCst);
    why(house.shown(&handle, others[0]).await);
    assert_eq!(house.told(), [misused(others[0], 3)], "what was not told is counted");
    // Its own process is not harmed by that.
    house.shown(&handle, process(7)).await.unwrap();
}

#[tokio::test]
async fn a_handle_waits_five_minutes_and_ends_with_its_grant() {
    let house = house().await;
    let (bound, late) = (house.issue(), NOW + UNBOUND_MS);
    house.clock.0.store(late, Ordering::SeqCst);
    house.shown(&bound, process(7)).await.unwrap();
    house.clock.0.store(late + HOUR / 2, Ordering::SeqCst);
    // Who holds it holds it.
    house.shown(&bound, process(7)).await.unwrap();
    let id = "triage".parse().unwrap();
    let _ended = house.grants.end(&id, EndAs::Completed, "test", None, late).await.unwrap();
    assert!(why(house.shown(&bound, process(7)).await).contains("not live"));
    house.handles.sweep(late, |_, _| false);
    assert_eq!(house.handles.known(&bound), None);

    let house = self::house().await;
    let unbound = house.issue();
    house.clock.0.store(NOW + UNBOUND_MS + 1, Ordering::SeqCst);
    assert!(why(house.shown(&unbound, process(7)).await).contains("five minutes"));
    house.handles.sweep(NOW + UNBOUND_MS + 1, |_, _| true);
    assert_eq!(house.handles.known(&unbound), None);
}

#[tokio::test]
async fn a_grant_has_one_handle() {
    let house = house().await;
    let (first, second) = (house.issue(), house.issue());
    assert!(why(house.shown(&first, process(7)).await).contains("unknown"), "it was replaced");
    house.shown(&second, process(7)).await.unwrap();
    let held = house.handles.issue(&terms("triage", "bot"), NOW).unwrap_err();
    assert!(matches!(held, HandleFault::Held { .. }), "{held}");
    assert!(held.to_string().contains("process 7"), "{held}");
    house.shown(&second, process(7)).await.unwrap();
}

#[tokio::test]
async fn a_handle_proves_nothing_elsewhere() {
    let mut house = house().await;
    let handle = house.issue();
    assert!(why(house.identify(Credential::Bearer(handle.clone())).await).contains("agent socket alone"));
    let nobody = Credential::Handle { handle: handle.clone(), process: None };
    assert!(why(house.identify(nobody).await).contains("agent socket alone"));
    let forged: SecretString = format!("{}x", handle.expose_secret()).into();
    assert!(why(house.shown(&forged, process(7)).await).contains("unknown"));
    assert_eq!(house.told(), [], "none of that bound it");
    house.shown(&handle, process(7)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_one_process_holds_it() {
    let mut house = house().await;
    let handle = house.issue();
    let handles = Arc::clone(&house.handles);
    let tries: Vec<_> = (1..=16)
        .map(|pid| {
            let (handles, handle) = (Arc::clone(&handles), handle.clone());
            std::thread::spawn(move || handles.shown(&handle, process(pid), NOW, |_, _| true).is_ok().then_some(pid))
        })
        .collect();
    let held: BTreeSet<i32> = tries.into_iter().filter_map(|tried| tried.join().unwrap()).collect();
    assert_eq!(held.len(), 1);
    let bound = house.told().into_iter().filter(|event| matches!(event, HandleEvent::Bound { .. })).count();
    assert_eq!(bound, 1);
}
