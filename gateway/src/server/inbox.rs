//! What an agent is to be told and has not been: not a queue of messages, but what of it changed. However slowly it reads, nothing grows
//! and nothing is lost; what changes twice meanwhile is told once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bailiwick_connectors::Changed;
use bailiwick_pipeline::{
    Answer, Gateway, Outlook, Received, Subscription, Wish,
    grant::LiveGrant,
    ids::{CallId, GrantId},
    ports::{ListKind, Watcher},
    records::Outcome,
};
use bailiwick_schemas::names::ConnectorId;
use tokio::{sync::Notify, task::JoinHandle, time::Instant};

use super::seats::Seat;

/// So many parts of subscribed resources are told apart; of further ones it is told that the whole changed.
const PARTS: usize = 256;
/// The same list is told of no more often than that.
const EACH: Duration = Duration::from_millis(250);
/// After a subscription was lost: first, and at most.
const REST: Duration = Duration::from_millis(500);
const REST_MOST: Duration = Duration::from_mins(1);

/// What one agent is to be told: of a session, or of one request that listens.
pub(super) struct Inbox {
    due: Mutex<Due>,
    wake: Notify,
    held: Mutex<BTreeMap<String, Arc<Held>>>,
    next: AtomicU64,
    /// What the agent's lists showed when it was last told of them.
    outlook: Mutex<Option<Arc<Outlook>>>,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("subscriptions", &self.held().len()).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Due {
    lists: [Option<Instant>; 3],
    told: [Option<Instant>; 3],
    /// Which subscription, and what of it by its server's own name.
    resources: BTreeSet<(u64, String)>,
    /// Subscriptions that their servers have not agreed to: what is said by them is told once they have.
    pending: BTreeSet<u64>,
}

/// A subscription of an agent.
struct Held {
    number: u64,
    now: Arc<Mutex<Option<Arc<Subscription>>>>,
    /// Sees to it that it is made anew when it is lost.
    keeper: JoinHandle<()>,
    _seat: Seat,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// A subscription that its server has not agreed to, until dropped.
struct Pending<'i> {
    inbox: &'i Inbox,
    number: u64,
}

impl<'i> Pending<'i> {
    fn begin(inbox: &'i Inbox, number: u64) -> Self {
        inbox.due().pending.insert(number);
        Self { inbox, number }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        // Before the other lock.
        let is_held = self.inbox.held().values().any(|held| held.number == self.number);
        let mut due = self.inbox.due();
        due.pending.remove(&self.number);
        if !is_held {
            // What was said of it is for nobody.
            due.resources.retain(|(number, _)| *number != self.number);
        }
        drop(due);
        self.inbox.look();
    }
}

/// What is to be told next.
pub(super) enum Item {
    /// A list changed.
    List(ListKind),
    /// A resource did, of this subscription; by its server's own name.
    Resource(u64, String),
}

/// Puts what a server says into an inbox.
struct Post {
    to: Weak<Inbox>,
    number: u64,
}

impl Watcher for Post {
    fn changed(&self, uri: &str) {
        if let Some(inbox) = self.to.upgrade() {
            inbox.put(self.number, uri);
        }
    }
}

impl Inbox {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            due: Mutex::default(),
            wake: Notify::new(),
            held: Mutex::default(),
            next: AtomicU64::new(0),
            outlook: Mutex::default(),
        })
    }

    /// Subscribes, as was received. A subscription to the same resource is replaced.
    pub(super) async fn subscribe(self: &Arc<Self>, uri: &str, seat: Seat, renewal: Renewal, received: Received) -> Answer {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let post: Arc<dyn Watcher> = Arc::new(Post { to: Arc::downgrade(self), number });
        let _pending = Pending::begin(self, number);
        let (answer, subscription) = renewal.gateway.subscribe(received, Arc::clone(&post)).await;
        let Some(subscription) = subscription else { return answer };
        let now = Arc::new(Mutex::new(Some(Arc::new(subscription))));
        let keeper = tokio::spawn(keep(Arc::downgrade(self), uri.to_owned(), number, Arc::clone(&now), post, renewal));
        let before = self.held().insert(uri.to_owned(), Arc::new(Held { number, now, keeper, _seat: seat }));
        // Its server is told without the lock.
        drop(before);
        answer
    }

    /// Ends a subscription, if there is one.
    pub(super) fn unsubscribe(&self, uri: &str) {
        let gone = self.held().remove(uri);
        if let Some(gone) = &gone {
            self.due().resources.retain(|(number, _)| *number != gone.number);
        }
        drop(gone);
    }

    /// Ends all of them.
    pub(super) fn clear(&self) {
        let all = std::mem::take(&mut *self.held());
        drop(all);
    }

    /// The resources that are subscribed to, as the agent names them.
    pub(super) fn subscribed(&self) -> Vec<String> {
        self.held().keys().cloned().collect()
    }

    /// The subscription of this number, and the resource as the agent names it.
    pub(super) fn subscription(&self, number: u64) -> Option<(String, Arc<Subscription>)> {
        let held = self.held();
        let (uri, one) = held.iter().find(|(_, held)| held.number == number)?;
        let now = locked(&one.now).clone()?;
        Some((uri.clone(), now))
    }

    fn put(&self, number: u64, uri: &str) {
        // Before the other lock.
        let whole = self.subscription(number).map(|(_, subscription)| subscription.uri().to_owned());
        let mut due = self.due();
        let is_part = whole.as_deref().is_some_and(|whole| whole != uri);
        match whole {
            Some(whole) if is_part && due.resources.len() >= PARTS => due.resources.insert((number, whole)),
            // Its server talks before it has agreed: so much of that is kept, and no more.
            None if due.resources.len() >= PARTS => false,
            _ => due.resources.insert((number, uri.to_owned())),
        };
        drop(due);
        self.wake.notify_one();
    }

    /// A list changed.
    pub(super) fn list_changed(&self, list: ListKind) {
        let mut due = self.due();
        if let Some(place) = due.lists.get_mut(place_of(list)) {
            place.get_or_insert_with(Instant::now);
        }
        drop(due);
        self.wake.notify_one();
    }

    /// What is to be told next: waits for it.
    pub(super) async fn next(&self) -> Item {
        loop {
            let woken = self.wake.notified();
            if let Some(item) = self.due().take() {
                return item;
            }
            woken.await;
        }
    }

    /// Looks again, as time has passed.
    pub(super) fn look(&self) {
        self.wake.notify_one();
    }

    /// Takes note of what the agent's lists show now. What they show otherwise than before is to be told.
    pub(super) fn take_up(&self, now: &Arc<Outlook>) {
        let before = locked(&self.outlook).replace(Arc::clone(now));
        let Some(before) = before else { return };
        for list in ListKind::ALL {
            if before.digest(list) != now.digest(list) {
                self.list_changed(list);
            }
        }
    }

    /// What the agent's lists showed when it was last looked.
    fn outlook(&self) -> Option<Arc<Outlook>> {
        locked(&self.outlook).clone()
    }

    fn due(&self) -> MutexGuard<'_, Due> {
        locked(&self.due)
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Held>>> {
        locked(&self.held)
    }
}

impl Due {
    fn take(&mut self) -> Option<Item> {
        for list in ListKind::ALL {
            let at = place_of(list);
            let (Some(due), Some(told)) = (self.lists.get_mut(at), self.told.get_mut(at)) else { continue };
            if due.is_some() && told.is_none_or(|told| told.elapsed() >= EACH) {
                *due = None;
                *told = Some(Instant::now());
                return Some(Item::List(list));
            }
        }
        let first = self.resources.iter().find(|(number, _)| !self.pending.contains(number)).cloned()?;
        self.resources.remove(&first);
        Some(Item::Resource(first.0, first.1))
    }
}

fn place_of(list: ListKind) -> usize {
    match list {
        ListKind::Tools => 0,
        ListKind::Resources => 1,
        ListKind::Prompts => 2,
    }
}

/// How a subscription is made anew.
#[derive(Clone)]
pub(super) struct Renewal {
    pub(super) gateway: Gateway,
    pub(super) call_id: Arc<dyn Fn() -> CallId + Send + Sync>,
}

/// Makes a subscription anew each time it is lost, by the whole way, until it is refused or its grant has ended.
async fn keep(
    inbox: Weak<Inbox>,
    uri: String,
    number: u64,
    now: Arc<Mutex<Option<Arc<Subscription>>>>,
    post: Arc<dyn Watcher>,
    renewal: Renewal,
) {
    let mut rest = REST;
    loop {
        let Some(current) = locked(&now).clone() else { return };
        let since = Instant::now();
        let (grant, wish) = (Arc::clone(current.grant()), current.wish());
        let ended = tokio::select! {
            biased;
            () = grant.cancelled().cancelled() => true,
            () = current.lost() => false,
        };
        // From here on it keeps nothing in use.
        *locked(&now) = None;
        drop(current);
        rest = if since.elapsed() >= REST_MOST { REST } else { rest };
        let renewed = if ended { None } else { renew(&wish, &grant, &post, &renewal, &mut rest).await };
        let Some(renewed) = renewed else {
            if let Some(inbox) = inbox.upgrade() {
                inbox.unsubscribe_if(&uri, number);
            }
            return;
        };
        let own = renewed.uri().to_owned();
        *locked(&now) = Some(Arc::new(renewed));
        // What changed meanwhile was heard by nobody.
        post.changed(&own);
    }
}

/// Tries until there is one again; none where it is refused.
async fn renew(
    lost: &Wish,
    grant: &LiveGrant,
    post: &Arc<dyn Watcher>,
    renewal: &Renewal,
    rest: &mut Duration,
) -> Option<Subscription> {
    loop {
        tokio::select! {
            () = grant.cancelled().cancelled() => return None,
            () = tokio::time::sleep(*rest) => {}
        }
        *rest = (*rest * 2).min(REST_MOST);
        let (answer, subscription) = renewal.gateway.resubscribe(lost, (renewal.call_id)(), Arc::clone(post)).await;
        match (subscription, answer.outcome) {
            (Some(subscription), _) => return Some(subscription),
            (None, Outcome::DownstreamError | Outcome::Timeout | Outcome::InternalError) => {}
            (None, _) => return None,
        }
    }
}

impl Inbox {
    /// Ends a subscription, if it is still this one.
    fn unsubscribe_if(&self, uri: &str, number: u64) {
        let is_it = self.held().get(uri).is_some_and(|held| held.number == number);
        if is_it {
            self.unsubscribe(uri);
        }
    }
}

/// What is behind these locks is changed in one step: a panic elsewhere leaves it whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// All inboxes that somebody reads.
#[derive(Default)]
pub struct Notices {
    open: Mutex<BTreeMap<u64, Weak<Inbox>>>,
    next: AtomicU64,
}

/// An inbox among those that are read, until dropped.
pub(super) struct Enlisted {
    of: Arc<Notices>,
    number: u64,
}

impl Notices {
    /// This one is read from now on.
    pub(super) fn enlist(self: &Arc<Self>, inbox: &Arc<Inbox>) -> Enlisted {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        locked(&self.open).insert(number, Arc::downgrade(inbox));
        Enlisted { of: Arc::clone(self), number }
    }

    /// A server says that one of its lists changed, in a session for this grant, or for everybody: whoever sees something of it there
    /// is told. Never blocks.
    pub fn list_changed(&self, connector: &ConnectorId, grant: Option<&GrantId>, changed: &Changed) {
        let (list, tools) = match changed {
            Changed::Tools(tools) => (ListKind::Tools, tools.as_slice()),
            Changed::Resources => (ListKind::Resources, &[][..]),
            Changed::Prompts => (ListKind::Prompts, &[][..]),
        };
        let open: Vec<Arc<Inbox>> = locked(&self.open).values().filter_map(Weak::upgrade).collect();
        for inbox in open {
            let Some(outlook) = inbox.outlook() else { continue };
            let is_its = grant.is_none_or(|grant| outlook.grant().is_some_and(|own| own.terms().id == *grant));
            if is_its && outlook.shows(list, connector, tools) {
                inbox.list_changed(list);
            }
        }
    }
}

impl Drop for Enlisted {
    fn drop(&mut self) {
        locked(&self.of.open).remove(&self.number);
    }
}
