//! What the console shows of this gateway.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bailiwick_console::{
    Action, Change, Connections, Desk, News, Refused, Signature, Soon, Viewer, Wanted,
    views::{
        AgentRow, ApprovalView, AuditPage, AuditQuery, CallView, ConnectorRow, CredentialsView, Detection, Frame, GrantRow,
        GrantView, HaltRow, Inbox, LeaseRow, LiveCall, Notice, ReviewRow,
    },
};
use bailiwick_store::{EndAs, MovedSince};
use serde_json::json;
use tokio::sync::watch;

use super::{connections::GatewayConnections, reading, views};
use crate::{
    admin::{Deed, credentials, fault::ApiFault},
    consenting,
    runtime::Runtime,
};

/// So many questions are on one page.
const PAGE: usize = 50;

/// So many that ended are shown under them.
const LATELY: usize = 8;

/// So many changes are remembered for those who come back.
const REMEMBERED: usize = 1024;

/// How often it is looked whether anything but an approval changed.
const LOOK: Duration = Duration::from_secs(1);

/// Changes that come together are told together.
const GATHER: Duration = Duration::from_millis(100);

/// What the console shows of this gateway.
pub(super) struct GatewayDesk {
    /// The gateway has the console, and so not the other way round.
    runtime: Weak<Runtime>,
    log: Mutex<Log>,
    told: watch::Sender<u64>,
}

/// What changed lately, and how everything was when it was looked at last.
#[derive(Default)]
struct Log {
    next: u64,
    changes: VecDeque<(u64, Change)>,
    /// How far the approvals' moves were looked at.
    moves: u64,
    others: BTreeMap<&'static str, u64>,
}

impl GatewayDesk {
    /// The desk of this gateway. It looks for what changes for as long as the gateway is there.
    pub(super) fn of(runtime: &Arc<Runtime>) -> Arc<Self> {
        let desk = Arc::new(Self { runtime: Arc::downgrade(runtime), log: Mutex::default(), told: watch::Sender::new(0) });
        let moves = runtime.approvals.moves();
        desk.log().moves = *moves.borrow();
        desk.look(runtime);
        tokio::spawn(watch_over(Arc::downgrade(&desk), moves));
        desk
    }

    fn runtime(&self) -> Option<Arc<Runtime>> {
        self.runtime.upgrade()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        // Each change under it is whole before anything in it could panic.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what changed since it was looked last, and at nothing else.
    fn look(&self, runtime: &Runtime) {
        let mut log = self.log();
        let mut changed = Vec::new();
        // Read first: what moves meanwhile is looked at the next time.
        let moves = *runtime.approvals.moves().borrow();
        if moves != log.moves {
            let since = std::mem::replace(&mut log.moves, moves);
            match runtime.approvals.moved_since(since) {
                MovedSince::These(ids) => {
                    for id in &ids {
                        changed.extend(runtime.approvals.standing(id).map(|standing| Change {
                            kind: "approval",
                            id: Some(id.to_string()),
                            state: Some(standing.state.as_str().to_owned()),
                            of: Some((standing.connector.to_string(), standing.band)),
                        }));
                    }
                }
                MovedSince::Everything => log.forget(),
            }
        }
        for (kind, mark) in views::marks(runtime) {
            if log.others.insert(kind, mark) != Some(mark) {
                changed.push(Change { kind, id: None, state: None, of: None });
            }
        }
        let before = *self.told.borrow();
        let last = log.add(changed);
        drop(log);
        if last != before {
            self.told.send_replace(last);
        }
    }
}

impl Log {
    fn add(&mut self, changes: Vec<Change>) -> u64 {
        for change in changes {
            self.next += 1;
            self.changes.push_back((self.next, change));
        }
        let surplus = self.changes.len().saturating_sub(REMEMBERED);
        self.changes.drain(..surplus);
        self.next
    }

    /// So much changed that it is not remembered one by one: whoever listens looks at everything.
    fn forget(&mut self) {
        self.changes.clear();
        self.next += 1;
    }
}

/// Looks each time an approval moves, and once a second at the counters of the rest, until the console is gone.
async fn watch_over(desk: Weak<GatewayDesk>, mut approvals: watch::Receiver<u64>) {
    loop {
        let _changed = tokio::time::timeout(LOOK, approvals.changed()).await;
        let (Some(desk), Some(runtime)) = (desk.upgrade(), desk.upgrade().and_then(|desk| desk.runtime())) else { return };
        desk.look(&runtime);
        drop((desk, runtime));
        tokio::time::sleep(GATHER).await;
    }
}

/// What is shown where the gateway is ending.
pub(super) const ENDING: &str = "the gateway is ending";

impl Desk for GatewayDesk {
    fn frame(&self, viewer: &Viewer) -> Frame {
        let Some(runtime) = self.runtime() else {
            return Frame { notices: vec![Notice { grave: true, text: ENDING.to_owned() }], ..Frame::default() };
        };
        let now_ms = runtime.clock.now_ms();
        let is_theirs = views::seen_by(viewer);
        Frame {
            now_ms,
            waiting: runtime.approvals.waiting(now_ms, 0, 0, &is_theirs).total,
            reviews: runtime.approvals.reviews_due(&is_theirs),
            notices: views::notices(&runtime),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Frame::default()
        }
    }

    fn inbox(&self, viewer: &Viewer, page: usize) -> Inbox {
        let Some(runtime) = self.runtime() else { return Inbox::default() };
        let now_ms = runtime.clock.now_ms();
        let skip = page.saturating_sub(1).saturating_mul(PAGE);
        let is_theirs = views::seen_by(viewer);
        let waiting = runtime.approvals.waiting(now_ms, skip, PAGE, &is_theirs);
        Inbox {
            rows: waiting.part.iter().map(|(approval, waiters)| views::inbox_row(viewer, approval, *waiters)).collect(),
            total: waiting.total,
            page,
            pages: waiting.total.div_ceil(PAGE).max(1),
            lately: runtime.approvals.ended_last(LATELY, &is_theirs).iter().map(views::aged).collect(),
        }
    }

    fn like(&self, viewer: &Viewer, handle: &str, most: usize) -> Vec<String> {
        let found = self.runtime().and_then(|runtime| Some((runtime.approvals.look_up(handle)?, runtime)));
        let Some((approval, runtime)) = found.filter(|(approval, _)| views::is_theirs(viewer, approval)) else {
            return Vec::new();
        };
        let others = runtime.approvals.siblings(&approval, runtime.clock.now_ms(), most);
        let all = std::iter::once(approval).chain(others.into_iter().filter(|other| views::is_theirs(viewer, other)));
        all.take(most).map(|one| one.id.to_string()).collect()
    }

    fn reviews(&self, viewer: &Viewer) -> Vec<ReviewRow> {
        let Some(runtime) = self.runtime() else { return Vec::new() };
        let due = runtime.approvals.to_review();
        due.iter()
            .filter(|one| views::is_theirs(viewer, one))
            .filter_map(|one| views::review_row(&runtime, viewer, one))
            .collect()
    }

    fn approval<'a>(&'a self, viewer: &'a Viewer, handle: &'a str) -> Soon<'a, Option<ApprovalView>> {
        Box::pin(async move {
            let runtime = self.runtime()?;
            let mut view = views::approval(&runtime, viewer, handle)?;
            view.ahead = reading::last_calls(&runtime, viewer, view.grant.clone()).await;
            if let Some(likewise) = &mut view.likewise {
                likewise.run = reading::run_of(&runtime, viewer, likewise.id.clone()).await;
            }
            Some(view)
        })
    }

    fn one_of_many(&self, viewer: &Viewer, handle: &str) -> Option<ApprovalView> {
        views::approval(&*self.runtime()?, viewer, handle)
    }

    fn agents(&self) -> Vec<AgentRow> {
        self.runtime().map(|runtime| views::agents(&runtime)).unwrap_or_default()
    }

    fn grants(&self, ended_too: bool) -> Vec<GrantRow> {
        self.runtime().map(|runtime| views::grants(&runtime, ended_too)).unwrap_or_default()
    }

    fn grant(&self, id: &str) -> Option<GrantView> {
        views::grant(&*self.runtime()?, id)
    }

    fn connectors(&self) -> Vec<ConnectorRow> {
        self.runtime().map(|runtime| views::connectors(&runtime)).unwrap_or_default()
    }

    fn connector(&self, id: &str) -> Option<ConnectorRow> {
        views::connector(&*self.runtime()?, id)
    }

    fn credentials(&self) -> CredentialsView {
        self.runtime().map(|runtime| views::credentials(&runtime)).unwrap_or_default()
    }

    fn lease(&self, id: &str) -> Option<LeaseRow> {
        views::lease(&*self.runtime()?, id)
    }

    fn live_calls(&self) -> Vec<LiveCall> {
        self.runtime().map(|runtime| views::live_calls(&runtime)).unwrap_or_default()
    }

    fn halts(&self) -> Vec<HaltRow> {
        self.runtime().map(|runtime| views::halts(&runtime)).unwrap_or_default()
    }

    fn detections<'a>(&'a self, viewer: &'a Viewer) -> Soon<'a, Vec<Detection>> {
        Box::pin(async move {
            let Some(runtime) = self.runtime() else { return Vec::new() };
            let mut found = views::detections(&runtime);
            if viewer.may(Action::SeeTrail).is_ok() {
                found.extend(reading::given_away(&runtime).await);
                found.extend(reading::stood_out(&runtime).await);
            }
            found.sort_by_key(|one| std::cmp::Reverse((one.band, one.at_ms)));
            found
        })
    }

    fn audit<'a>(&'a self, query: &'a AuditQuery) -> Soon<'a, AuditPage> {
        Box::pin(async move {
            match self.runtime() {
                Some(runtime) => reading::search(&runtime, query.clone()).await,
                None => AuditPage { remark: Some(ENDING.to_owned()), ..AuditPage::default() },
            }
        })
    }

    fn call<'a>(&'a self, id: &'a str) -> Soon<'a, Option<CallView>> {
        Box::pin(async move { reading::call(&*self.runtime()?, id.to_owned()).await })
    }

    fn change(&self, wanted: Wanted, signature: Signature) -> Soon<'_, Result<(), Refused>> {
        Box::pin(async move {
            let runtime = self.runtime().ok_or_else(|| Refused::unavailable(ENDING))?;
            changed(&runtime, wanted, &signature).await.map_err(|fault| refused(&fault))
        })
    }

    fn news(&self, after: u64) -> News {
        let log = self.log();
        let oldest = log.changes.front().map_or(log.next + 1, |(number, _)| *number);
        // A number of an earlier start, or one that is forgotten.
        if after > log.next || after + 1 < oldest {
            return News::Everything(log.next);
        }
        News::These(log.changes.iter().filter(|(number, _)| *number > after).cloned().collect())
    }

    fn connections(&self) -> Option<Arc<dyn Connections>> {
        let wants = !consenting::wanted(&*self.runtime()?).is_empty();
        wants.then(|| Arc::new(GatewayConnections(self.runtime.clone())) as _)
    }

    fn told(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }
}

pub(super) fn refused(fault: &ApiFault) -> Refused {
    Refused::new(
        fault.status(),
        fault.message.clone(),
        fault.advice().unwrap_or("load the page anew, and look at what is there now"),
    )
}

/// Does what was signed, and puts on record who signed it.
async fn changed(runtime: &Arc<Runtime>, wanted: Wanted, signature: &Signature) -> Result<(), ApiFault> {
    let by = format!("person:{}", signature.person().id);
    let (of, proof) = (Arc::clone(runtime), signature.on_record());
    match wanted {
        Wanted::RevokeGrant { id, reason } => {
            let id = crate::admin::grants::known(&id, runtime)?.grant.terms().id.clone();
            let reason = crate::admin::words(reason)?;
            let deed = Deed::new("grant_revoked", id.as_str(), json!({"reason": reason, "proof": proof}));
            let who = by.clone();
            deed.done_by_person(&by, runtime, async move {
                of.end_grant(&id, EndAs::Revoked, &who, reason.as_deref(), "the grant was revoked").await?;
                Ok(())
            })
            .await
        }
        Wanted::RevokeLease { id, reason } => {
            let lease = credentials::to_take_back(&id, runtime)?;
            let reason = crate::admin::words(reason)?;
            let with = json!({"reason": reason, "connector": lease.connector, "proof": proof});
            let deed = Deed::new(credentials::REVOKED, &lease.id, with);
            deed.done_by_person(&by, runtime, async move {
                credentials::taken_back(&of, lease, reason).await;
                Ok(())
            })
            .await
        }
        Wanted::Freeze { what, reason } => {
            let halt = crate::admin::halts::freezable(&what, runtime)?;
            let reason = crate::admin::words(reason)?;
            let deed = Deed::new("frozen", &what, json!({"reason": reason, "proof": proof}));
            let who = by.clone();
            deed.done_by_person(&by, runtime, async move {
                of.halt(&halt, &who, reason.as_deref()).await?;
                Ok(())
            })
            .await
        }
        Wanted::Thaw { what, reason } => {
            let reason = crate::admin::words(reason)?;
            if reason.is_none() {
                return Err(ApiFault::invalid("to let something go on needs a reason").help("say why it may go on"));
            }
            let halt = crate::admin::halts::frozen(&what, runtime)?;
            let deed = Deed::new("thawed", &what, json!({"reason": reason, "proof": proof}));
            deed.done_by_person(&by, runtime, async move {
                of.thaw(&halt).await?;
                Ok(())
            })
            .await
        }
    }
}

/// The kinds of things that are looked at for changes, each with a mark that differs when they do.
pub(super) fn marks_of<T: std::hash::Hash>(all: impl IntoIterator<Item = T>) -> u64 {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    all.into_iter().for_each(|one| one.hash(&mut hasher));
    hasher.finish()
}
