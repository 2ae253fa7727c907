//! What the console shows of this gateway.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bailiwick_console::{
    Action, Change, Desk, News, Refused, Signature, Soon, Viewer, Wanted,
    views::{
        AgentRow, ApprovalView, AuditPage, AuditQuery, CallView, ConnectorRow, Detection, Earlier, Frame, GrantRow, GrantView,
        HaltRow, Inbox, LiveCall, Notice,
    },
};
use bailiwick_pipeline::{ids::ApprovalId, ports::Worlds as _};
use bailiwick_store::{Approval, ApprovalState, Decided, EndAs, Verdict};
use serde_json::json;
use tokio::sync::watch;

use super::{reading, views};
use crate::{
    admin::{Deed, fault::ApiFault},
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

/// So many arguments of calls that wait are kept for a comparison later, and so many of approved ones.
const COMPARED: usize = 512;

/// No longer arguments than these are kept for a comparison, bytes.
const LONGEST: usize = 256 * 1024;

/// So much of arguments is kept of those that wait, and of approved ones, bytes.
const IN_ALL: usize = 8 * 1024 * 1024;

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
    approvals: HashMap<ApprovalId, (ApprovalState, usize, usize)>,
    others: BTreeMap<&'static str, u64>,
    /// Arguments of questions that wait: they are gone from the store soon after somebody has said yes.
    asked: VecDeque<(ApprovalId, String)>,
    /// The last approved call by agent and tool.
    approved: VecDeque<((String, String), Earlier)>,
}

impl GatewayDesk {
    /// The desk of this gateway. It looks for what changes for as long as the gateway is there.
    pub(super) fn of(runtime: &Arc<Runtime>) -> Arc<Self> {
        let desk = Arc::new(Self { runtime: Arc::downgrade(runtime), log: Mutex::default(), told: watch::Sender::new(0) });
        desk.look(runtime);
        tokio::spawn(watch_over(Arc::downgrade(&desk), runtime.approvals.changes()));
        desk
    }

    fn runtime(&self) -> Option<Arc<Runtime>> {
        self.runtime.upgrade()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        // Each change under it is whole before anything in it could panic.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what changed since it was looked last.
    fn look(&self, runtime: &Runtime) {
        let standings = runtime.approvals.standings();
        let others = views::marks(runtime);
        let mut log = self.log();
        let mut moved = Vec::new();
        let mut seen = HashMap::with_capacity(standings.len());
        for standing in standings {
            let now = (standing.state, standing.said, standing.waiters);
            if log.approvals.get(&standing.id) != Some(&now) {
                moved.push((standing.id.clone(), standing.state, (standing.connector.to_string(), standing.band)));
            }
            seen.insert(standing.id, now);
        }
        log.approvals = seen;
        let mut changed: Vec<Change> = moved
            .iter()
            .map(|(id, state, of)| Change {
                kind: "approval",
                id: Some(id.to_string()),
                state: Some(state.as_str().to_owned()),
                of: Some(of.clone()),
            })
            .collect();
        for (kind, mark) in others {
            if log.others.insert(kind, mark) != Some(mark) {
                changed.push(Change { kind, id: None, state: None, of: None });
            }
        }
        for (id, ..) in &moved {
            log.remember(id, runtime);
        }
        if changed.is_empty() {
            return;
        }
        let last = log.add(changed);
        drop(log);
        self.told.send_replace(last);
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

    /// Keeps the arguments of what waits, and has them stand for their tool once they were approved.
    fn remember(&mut self, id: &ApprovalId, runtime: &Runtime) {
        let Ok(shown) = runtime.approvals.show(id.as_str()) else {
            self.asked.retain(|(known, _)| known != id);
            return;
        };
        let approval = shown.approval;
        if let Some(text) = shown
            .arguments
            .filter(|bytes| bytes.len() <= LONGEST)
            .and_then(|bytes| String::from_utf8(bytes.into()).ok())
            // What people are not shown is not kept to be compared.
            .map(|text| bailiwick_pipeline::masked_text(&text, &approval.masked))
            && !self.asked.iter().any(|(known, _)| known == id)
        {
            keep(&mut self.asked, (id.clone(), text), String::len);
        }
        if approval.state == ApprovalState::Pending {
            return;
        }
        // Whatever has become of it, it waits no more.
        let Some(text) = taken(&mut self.asked, id) else { return };
        let Some(yes) = approved_by(&approval) else { return };
        let of = (approval.binding.agent.to_string(), approval.binding.tool.clone());
        let earlier = Earlier { code: approval.code.clone(), by: yes.approver.name.clone(), at_ms: yes.at_ms, text };
        self.approved.retain(|(known, _)| *known != of);
        keep(&mut self.approved, (of, earlier), |earlier| earlier.text.len());
    }
}

/// Keeps one more; the oldest make room, for their number and for their bytes.
fn keep<K, T>(kept: &mut VecDeque<(K, T)>, one: (K, T), bytes: impl Fn(&T) -> usize) {
    kept.push_back(one);
    let mut sum: usize = kept.iter().map(|(_, kept)| bytes(kept)).sum();
    while kept.len() > COMPARED || sum > IN_ALL {
        let Some((_, oldest)) = kept.pop_front() else { return };
        sum -= bytes(&oldest);
    }
}

/// What was kept of this, which is kept no more.
fn taken<K: PartialEq, T>(kept: &mut VecDeque<(K, T)>, key: &K) -> Option<T> {
    let at = kept.iter().position(|(known, _)| known == key)?;
    kept.remove(at).map(|(_, one)| one)
}

/// The last yes, of what enough persons have approved.
fn approved_by(approval: &Approval) -> Option<&Decided> {
    let is_approved = matches!(
        approval.state,
        ApprovalState::Approved
            | ApprovalState::Executing
            | ApprovalState::Succeeded
            | ApprovalState::Failed
            | ApprovalState::Unknown
    );
    approval.decisions.iter().rev().find(|decided| is_approved && decided.verdict == Verdict::Approve)
}

/// Looks each time an approval changes, and once a second for the rest, until the console is gone.
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
const ENDING: &str = "the gateway is ending";

impl Desk for GatewayDesk {
    fn frame(&self, viewer: &Viewer) -> Frame {
        let Some(runtime) = self.runtime() else {
            return Frame { notices: vec![Notice { grave: true, text: ENDING.to_owned() }], ..Frame::default() };
        };
        let now_ms = runtime.clock.now_ms();
        Frame {
            now_ms,
            waiting: runtime.approvals.waiting(now_ms, 0, 0, |approval| views::is_theirs(viewer, approval)).total,
            notices: views::notices(&runtime),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Frame::default()
        }
    }

    fn inbox(&self, viewer: &Viewer, page: usize) -> Inbox {
        let Some(runtime) = self.runtime() else { return Inbox::default() };
        let now_ms = runtime.clock.now_ms();
        let skip = page.saturating_sub(1).saturating_mul(PAGE);
        let waiting = runtime.approvals.waiting(now_ms, skip, PAGE, |approval| views::is_theirs(viewer, approval));
        Inbox {
            rows: waiting.part.iter().map(|(approval, waiters)| views::inbox_row(approval, *waiters)).collect(),
            total: waiting.total,
            page,
            pages: waiting.total.div_ceil(PAGE).max(1),
            lately: runtime
                .approvals
                .ended_last(LATELY, |approval| views::is_theirs(viewer, approval))
                .iter()
                .map(views::aged)
                .collect(),
        }
    }

    fn approval<'a>(&'a self, viewer: &'a Viewer, handle: &'a str) -> Soon<'a, Option<ApprovalView>> {
        Box::pin(async move {
            let runtime = self.runtime()?;
            let mut view = views::approval(&runtime, viewer, handle)?;
            let of = (view.agent.clone(), view.tool.clone());
            view.earlier = self
                .log()
                .approved
                .iter()
                .find(|(known, earlier)| *known == of && earlier.code != view.code)
                .map(|(_, earlier)| earlier.clone());
            view.ahead = reading::last_calls(&runtime, view.grant.clone()).await;
            Some(view)
        })
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

    fn told(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }
}

fn refused(fault: &ApiFault) -> Refused {
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

/// The callable tools, by number: a mark of the catalogue.
pub(super) fn catalogue_mark(runtime: &Runtime) -> (usize, BTreeSet<String>) {
    (runtime.worlds.now().count(), runtime.worlds.drifted().iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_kept_within_bounds_and_no_longer_than_they_wait() {
        let mut kept = VecDeque::new();
        for n in 0..100 {
            keep(&mut kept, (n, "x".repeat(LONGEST)), String::len);
        }
        assert_eq!(kept.len(), IN_ALL / LONGEST);
        assert_eq!(taken(&mut kept, &0), None, "the oldest made room");
        assert_eq!(taken(&mut kept, &99).map(|text| text.len()), Some(LONGEST));
        assert_eq!((taken(&mut kept, &99), kept.len()), (None, IN_ALL / LONGEST - 1));
        for n in 0..=COMPARED {
            keep(&mut kept, (1000 + n, String::new()), String::len);
        }
        assert_eq!(kept.len(), COMPARED);
    }
}
