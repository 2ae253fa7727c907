//! Keeps an ear on a server for as long as somebody wants to hear what it says unasked: a stream of its own where the carrier needs one,
//! opened anew where it ends, and not too often.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bailiwick_pipeline::{ids::GrantId, ports::SendFailure};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    announcements::Said,
    link::{Body, Link, Request},
    message::quoted,
    session::{Session, beside},
    version::Version,
};

/// How long a server may take to say that it listens.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a stream may live before it is opened anew.
const LIFE: Duration = Duration::from_hours(24);
/// After a stream that failed: first, and at most.
const REST: Duration = Duration::from_secs(1);
const REST_MOST: Duration = Duration::from_mins(1);
/// How often it is looked whether the connection is still good.
const LOOK: Duration = Duration::from_secs(1);
/// Changes of a list that come so close together are one.
const TOGETHER: Duration = Duration::from_millis(50);

/// What a server says that it can tell.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "capabilities, each of which is there or not")]
pub(crate) struct Tells {
    /// That its tools changed.
    pub(crate) tools: bool,
    /// That its resources did.
    pub(crate) resources: bool,
    /// That its prompts did.
    pub(crate) prompts: bool,
    /// That one resource did, for whoever subscribes to it.
    pub(crate) updates: bool,
}

impl Tells {
    fn of_lists(self) -> bool {
        self.tools || self.resources || self.prompts
    }
}

/// A list that changed, as a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// That of its tools, and which of them are others than before.
    Tools(Vec<String>),
    /// That of its resources.
    Resources,
    /// That of its prompts.
    Prompts,
}

/// Who wants to hear of lists: how many listen under each grant.
#[derive(Default)]
pub(crate) struct Listeners {
    grants: Mutex<HashMap<GrantId, usize>>,
    changes: watch::Sender<u64>,
}

/// Somebody who listens, until dropped.
pub(crate) struct Listener {
    of: Arc<Listeners>,
    grant: GrantId,
}

impl Listeners {
    /// Somebody listens under this grant.
    pub(crate) fn add(self: &Arc<Self>, grant: GrantId) -> Listener {
        *self.grants().entry(grant.clone()).or_default() += 1;
        self.changes.send_modify(|changes| *changes += 1);
        Listener { of: Arc::clone(self), grant }
    }

    /// Whether anybody listens under this grant; without one, under any.
    pub(crate) fn any(&self, grant: Option<&GrantId>) -> bool {
        let grants = self.grants();
        grant.map_or(!grants.is_empty(), |grant| grants.contains_key(grant))
    }

    fn grants(&self) -> MutexGuard<'_, HashMap<GrantId, usize>> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut grants = self.of.grants();
        if let Some(count) = grants.get_mut(&self.grant) {
            *count -= 1;
            if *count == 0 {
                grants.remove(&self.grant);
            }
        }
        drop(grants);
        self.of.changes.send_modify(|changes| *changes += 1);
    }
}

/// The ear on one session.
pub(crate) struct Hearing {
    is_running: AtomicBool,
    /// Rises with each change of what is wanted.
    round: AtomicU64,
    wake: Notify,
    settled: watch::Sender<Settled>,
    /// Cancelled when the session is of no more use.
    lost: CancellationToken,
}

/// How far what is wanted is heard.
#[derive(Debug, Clone, Default)]
struct Settled {
    round: u64,
    /// The resources that the server agreed to tell of.
    uris: Arc<BTreeSet<String>>,
    /// Why nothing is heard, if so.
    failure: Option<String>,
}

/// What a stream is asked to carry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Filter {
    lists: bool,
    uris: BTreeSet<String>,
}

/// An open stream. Dropped, it is closed.
struct Stream {
    filter: Filter,
    uris: Arc<BTreeSet<String>>,
    work: JoinHandle<Result<(), SendFailure>>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl Hearing {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            is_running: AtomicBool::new(false),
            round: AtomicU64::new(0),
            wake: Notify::new(),
            settled: watch::Sender::default(),
            lost: CancellationToken::new(),
        })
    }

    /// Cancelled when the session is of no more use.
    pub(crate) fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// Something else is wanted than before. Returns the round in which it will be settled.
    pub(crate) fn ask(&self, session: &Arc<Session>) -> u64 {
        let round = self.round.fetch_add(1, Ordering::AcqRel) + 1;
        if !self.is_running.swap(true, Ordering::AcqRel) {
            beside(hear(Ear::of(session)));
            beside(follow(Arc::downgrade(session), session.link_handle(), session.link().changes().announcements().said()));
        }
        self.wake.notify_one();
        round
    }

    /// Waits until what was asked for in this round is heard; what the server agreed to tell of, or why nothing is heard.
    pub(crate) async fn settled(&self, round: u64, patience: Duration) -> Result<Arc<BTreeSet<String>>, String> {
        let mut settled = self.settled.subscribe();
        let waiting = tokio::time::timeout(patience, settled.wait_for(|settled| settled.round >= round));
        tokio::select! {
            () = self.lost.cancelled() => Err("the session has ended".to_owned()),
            waited = waiting => match waited {
                Ok(Ok(settled)) => settled.failure.clone().map_or_else(|| Ok(Arc::clone(&settled.uris)), Err),
                Ok(Err(_)) => Err("the session has ended".to_owned()),
                Err(_) => Err("the server does not say that it listens".to_owned()),
            },
        }
    }
}

/// What the ear is on. It keeps no session alive.
struct Ear {
    hearing: Arc<Hearing>,
    link: Arc<dyn Link>,
    listeners: Arc<Listeners>,
    grant: Option<GrantId>,
    tells: Tells,
    version: Version,
}

impl Ear {
    fn of(session: &Arc<Session>) -> Self {
        let (listeners, grant) = session.listeners();
        Self {
            hearing: Arc::clone(session.hearing()),
            link: session.link_handle(),
            listeners,
            grant,
            tells: session.hello().tells,
            version: session.hello().version,
        }
    }

    /// What is wanted now; nothing where no stream is needed for it.
    fn filter(&self) -> Option<Filter> {
        let lists = self.tells.of_lists() && self.listeners.any(self.grant.as_ref());
        let filter = Filter { lists, uris: self.link.changes().announcements().watched() };
        (filter.lists || !filter.uris.is_empty()).then_some(filter)
    }

    /// Opens a stream that carries this, and waits until the server says that it does.
    async fn open(&self, filter: Filter) -> Result<Stream, String> {
        let mut agreed = self.link.changes().announcements().agreed();
        agreed.mark_unchanged();
        let (opened, is_open) = tokio::sync::oneshot::channel();
        let (link, version, members) = (Arc::clone(&self.link), self.version, self.members(&filter));
        let work = tokio::spawn(async move {
            if !version.is_modern() {
                let opened = Box::new(move || {
                    // Whoever does not wait for it any more has given the stream up.
                    let _unheard = opened.send(());
                });
                return link.stream(version, opened).await;
            }
            let never = CancellationToken::new();
            let body = Body::Own { method: "subscriptions/listen", members: &members };
            let request = Request { body, version, timeout: LIFE, cancelled: &never, written: Box::new(|| {}), ear: None };
            let answered = link.request(request).await;
            // It is told by what it agreed to, not by this.
            drop(opened);
            match answered? {
                crate::message::Answer::Result(_) => Ok(()),
                crate::message::Answer::Error { code, message, .. } => {
                    Err(SendFailure::Protocol(format!("`subscriptions/listen` is answered with error {code}: {message}")))
                }
            }
        });
        let mut stream = Stream { uris: Arc::new(filter.uris.clone()), filter, work };
        let begun = async {
            if self.version.is_modern() {
                tokio::select! {
                    biased;
                    told = agreed.changed() => told.map_err(|_| "it has ended".to_owned()).map(|()| agreed.borrow().uris.clone()),
                    ended = &mut stream.work => Err(failure_of(ended)),
                }
            } else {
                tokio::select! {
                    biased;
                    Ok(()) = is_open => Ok(Arc::clone(&stream.uris)),
                    ended = &mut stream.work => Err(failure_of(ended)),
                }
            }
        };
        let uris = tokio::time::timeout(PATIENCE, begun).await.unwrap_or_else(|_| Err("it does not listen in time".to_owned()));
        stream.uris = uris.map_err(|why| self.link.clean(&why))?;
        Ok(stream)
    }

    /// The members of the `params` of `subscriptions/listen`.
    fn members(&self, filter: &Filter) -> String {
        let mut text = String::from("\"notifications\":{");
        let lists = [
            ("toolsListChanged", self.tells.tools),
            ("resourcesListChanged", self.tells.resources),
            ("promptsListChanged", self.tells.prompts),
        ];
        for (name, _) in lists.iter().filter(|(_, tells)| filter.lists && *tells) {
            // Writing to a string can't fail.
            let _infallible = write!(text, "\"{name}\":true,");
        }
        if filter.uris.is_empty() {
            text.truncate(text.trim_end_matches(',').len());
        } else {
            let uris: Vec<String> = filter.uris.iter().map(|uri| quoted(uri)).collect();
            let _infallible = write!(text, "\"resourceSubscriptions\":[{}]", uris.join(","));
        }
        text.push('}');
        text
    }
}

fn failure_of(ended: Result<Result<(), SendFailure>, tokio::task::JoinError>) -> String {
    match ended {
        Ok(Ok(())) => "it ended the stream at once".to_owned(),
        Ok(Err(failure)) => failure.to_string(),
        Err(_) => "the stream was given up".to_owned(),
    }
}

/// Keeps what is wanted heard, until the connection is of no more use.
async fn hear(ear: Ear) {
    let hearing = Arc::clone(&ear.hearing);
    let mut others = ear.listeners.changes.subscribe();
    let mut current: Option<Stream> = None;
    let (mut rest, mut not_before) = (REST, Instant::now());
    let mut failure: Option<String> = None;
    // Whether something may have been said that nobody heard.
    let mut missed = false;
    let mut since = Instant::now();
    while ear.link.retired().is_none() {
        let round = hearing.round.load(Ordering::Acquire);
        let filter = ear.filter();
        match filter {
            None => (current, failure) = (None, None),
            Some(filter) if current.as_ref().is_some_and(|stream| stream.filter == filter) => {}
            Some(_) if !ear.version.is_modern() && current.is_some() => {}
            Some(_) if Instant::now() < not_before => {}
            // The one before goes on until this one is heard: nothing is missed in between.
            Some(filter) => match ear.open(filter).await {
                Ok(stream) => {
                    (current, failure, since) = (Some(stream), None, Instant::now());
                    if std::mem::take(&mut missed) {
                        ear.link.changes().missed();
                    }
                }
                Err(why) => {
                    failure = Some(why);
                    not_before = Instant::now() + rest;
                    rest = (rest * 2).min(REST_MOST);
                }
            },
        }
        let uris = current.as_ref().map(|stream| Arc::clone(&stream.uris)).unwrap_or_default();
        hearing.settled.send_replace(Settled { round, uris, failure: failure.clone() });
        tokio::select! {
            () = hearing.wake.notified() => {}
            _ = others.changed() => {}
            () = over(current.as_mut()) => {
                (current, missed) = (None, true);
                failure = Some("its stream has ended".to_owned());
                // One that ends again and again is left alone for longer and longer.
                rest = if since.elapsed() >= REST_MOST { REST } else { rest };
                not_before = Instant::now() + rest;
                rest = (rest * 2).min(REST_MOST);
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    hearing.lost.cancel();
}

/// Returns when a stream has ended; never without one.
async fn over(stream: Option<&mut Stream>) {
    match stream {
        Some(stream) => drop((&mut stream.work).await),
        None => std::future::pending().await,
    }
}

/// Tells of lists that the server says have changed: of tools, once they are read and are others.
async fn follow(session: Weak<Session>, link: Arc<dyn Link>, mut said: watch::Receiver<Said>) {
    let mut before = *said.borrow_and_update();
    loop {
        tokio::select! {
            changed = said.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK) => {
                if link.retired().is_some() {
                    return;
                }
                continue;
            }
        }
        tokio::time::sleep(TOGETHER).await;
        let now = *said.borrow_and_update();
        let Some(session) = session.upgrade() else { return };
        if now.resources != before.resources {
            session.tell(Changed::Resources);
        }
        if now.prompts != before.prompts {
            session.tell(Changed::Prompts);
        }
        if now.tools != before.tools {
            session.reread().await;
        }
        before = now;
    }
}
