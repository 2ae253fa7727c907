//! What happens to approvals, and what detections find, told to the channels of the configuration.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use bailiwick_channels::{
    About, Batch, ChannelSpec, ChannelStatus, Channels, CourierFault, Event, EventKind, Question, ReadSecret, Source,
};
use bailiwick_pipeline::ports::{Clock, Later};
use bailiwick_store::{
    Approval, ApprovalEvent, ApprovalState, Happened, LiveApprovals, Positions, Store, StoreFault, WriteFault,
};
use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
};
use url::Url;

use crate::{adapters::Recorder, fetch};

mod findings;

use findings::Findings;

/// The largest file with a secret of a channel, bytes.
const LARGEST_SECRET: u64 = 16 * 1024;

/// The channels at work.
pub(crate) struct Telling {
    feed: Arc<Feed>,
    /// What detections find. It is in the trail, in an order of its own.
    findings: Arc<Findings>,
    clock: Arc<dyn Clock>,
    at_work: Mutex<Option<AtWork>>,
    /// Tells the feed what is on disk.
    watching: JoinHandle<()>,
}

impl Telling {
    /// None at work yet.
    pub(crate) fn new(
        store: &Store,
        approvals: &Arc<LiveApprovals>,
        recorder: &Arc<Recorder>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, StoreFault> {
        let findings = Arc::new(Findings::load(store, recorder, clock)?);
        let positions = Positions::load(store)?;
        let feed = Arc::new(Feed {
            approvals: Arc::clone(approvals),
            recorder: Arc::clone(recorder),
            positions,
            stored: watch::Sender::new(0),
        });
        let watching = tokio::spawn(watch_approvals(Arc::clone(&feed)));
        Ok(Self { feed, findings, clock: Arc::clone(clock), at_work: Mutex::new(None), watching })
    }

    /// Puts these to work in place of those that were; `page` is the console's address.
    pub(crate) async fn set(&self, specs: &[ChannelSpec], page: &Url) -> Result<(), WriteFault> {
        let mut at_work = self.at_work.lock().await;
        if at_work.as_ref().is_some_and(|now| now.specs == specs && now.page == *page) {
            return Ok(());
        }
        if let Some(now) = at_work.take() {
            now.end().await;
        }
        self.feed.positions.retain(|id| specs.iter().any(|spec| spec.id == id)).await?;
        let source = Arc::clone(&self.feed) as Arc<dyn Source>;
        let read: Arc<ReadSecret> = Arc::new(|path: &Path| fetch::private_file(path, LARGEST_SECRET));
        let channels = Channels::start(specs.to_vec(), page, &source, &self.clock, &read);
        let hears = |spec: &&ChannelSpec| spec.hears.contains(&EventKind::Detected);
        let of_findings = specs.iter().filter(hears).cloned().collect();
        let source = Arc::clone(&self.findings) as Arc<dyn Source>;
        let findings = Channels::start(of_findings, page, &source, &self.clock, &read);
        *at_work = Some(AtWork { channels, findings, specs: specs.to_vec(), page: page.clone() });
        Ok(())
    }

    /// How they are.
    pub(crate) async fn status(&self) -> Vec<ChannelStatus> {
        self.at_work.lock().await.as_ref().map(AtWork::status).unwrap_or_default()
    }

    /// Sends a message that says that messages arrive; nothing where there is no such channel.
    pub(crate) async fn trial(&self, id: &str) -> Option<Result<(), CourierFault>> {
        self.at_work.lock().await.as_ref()?.channels.trial(id).await
    }

    /// Ends their work. What has not arrived is told after the next start.
    pub(crate) async fn stop(&self) {
        if let Some(now) = self.at_work.lock().await.take() {
            now.end().await;
        }
        self.watching.abort();
    }
}

struct AtWork {
    channels: Channels,
    findings: Channels,
    specs: Vec<ChannelSpec>,
    page: Url,
}

impl AtWork {
    async fn end(self) {
        self.channels.stop().await;
        self.findings.stop().await;
    }

    /// Of a channel both together: it fails where either does.
    fn status(&self) -> Vec<ChannelStatus> {
        let findings = self.findings.status();
        let both = |mut status: ChannelStatus| {
            let Some(other) = findings.iter().find(|other| other.id == status.id) else { return status };
            status.told = status.told.saturating_add(other.told);
            status.passed_by = status.passed_by.saturating_add(other.passed_by);
            status.behind = status.behind.saturating_add(other.behind);
            status.told_at_ms = status.told_at_ms.max(other.told_at_ms);
            if other.failing_since_ms.is_some() && status.failing_since_ms.is_none() {
                (status.state, status.failing_since_ms) = (other.state, other.failing_since_ms);
                status.why.clone_from(&other.why);
            }
            status
        };
        self.channels.status().into_iter().map(both).collect()
    }
}

impl fmt::Debug for Telling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telling").finish_non_exhaustive()
    }
}

/// An event is told once it is on disk: what is told must not be forgotten by a crash.
async fn watch_approvals(feed: Arc<Feed>) {
    let mut changes = feed.approvals.changes();
    while changes.changed().await.is_ok() {
        if feed.positions.caught_up().await.is_err() {
            // The store is lost until a restart: nothing is asked or decided any more either.
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        feed.stored.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// What happens, as the channels read it.
struct Feed {
    approvals: Arc<LiveApprovals>,
    recorder: Arc<Recorder>,
    positions: Positions,
    stored: watch::Sender<u64>,
}

impl Source for Feed {
    fn after(&self, seq: u64, most: usize) -> Later<'_, Result<Batch, String>> {
        let read = self.approvals.events(seq, most).map_err(|fault| fault.to_string());
        let batch = read.map(|happened| {
            let up_to = happened.last().map_or(seq, |last| last.seq);
            Batch { events: happened.iter().filter_map(|one| self.told(one)).collect(), up_to }
        });
        Box::pin(async move { batch })
    }

    fn newest(&self) -> u64 {
        self.positions.newest().unwrap_or(0)
    }

    fn reached(&self, channel: &str) -> Option<u64> {
        self.positions.of(channel)
    }

    fn advance<'a>(&'a self, channel: &'a str, seq: u64) -> Later<'a, Result<(), String>> {
        Box::pin(async move { self.positions.advance(channel, seq).await.map_err(|fault| fault.to_string()) })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.stored.subscribe()
    }

    fn still_waits(&self, event: &Event) -> (bool, bool) {
        let asked = event.about.question();
        let waiting =
            asked.and_then(|asked| self.approvals.known(&asked.id)).filter(|approval| approval.state == ApprovalState::Pending);
        (waiting.is_some(), waiting.is_some_and(|approval| approval.acknowledged_by.is_none()))
    }

    fn arguments(&self, event: &Event) -> Option<String> {
        let shown = self.approvals.show(event.about.question()?.id.as_str()).ok()?;
        let text = String::from_utf8(shown.arguments?.to_vec()).ok()?;
        Some(self.recorder.masked_text(&text, &shown.approval.masked))
    }
}

impl Feed {
    /// What is told of it: nothing of steps between, and nothing of what is forgotten by now.
    fn told(&self, one: &ApprovalEvent) -> Option<Event> {
        let kind = kind_of(one.event, one.state)?;
        let approval = self.approvals.known(&one.approval)?;
        Some(Event { seq: one.seq, at_ms: one.at_ms, kind, about: About::Question(Box::new(question(&approval, one.state))) })
    }
}

fn kind_of(happened: Happened, state: ApprovalState) -> Option<EventKind> {
    match happened {
        Happened::Requested => Some(EventKind::Requested),
        Happened::Acknowledged => Some(EventKind::Acknowledged),
        // Of two who must approve, the first has not decided it.
        Happened::Decided => (state != ApprovalState::Pending).then_some(EventKind::Decided),
        Happened::GlassBroken => Some(EventKind::Decided),
        Happened::Expired => Some(EventKind::Expired),
        Happened::Executed => (state != ApprovalState::Executing).then_some(EventKind::Executed),
        Happened::AllowanceUsed => Some(EventKind::Executed),
        Happened::Invalidated | Happened::Withdrawn | Happened::Revoked => Some(EventKind::Invalidated),
        Happened::Reviewed => None,
    }
}

fn question(approval: &Approval, state: ApprovalState) -> Question {
    let binding = &approval.binding;
    let last = approval.decisions.last();
    Question {
        id: approval.id.clone(),
        code: approval.code.clone(),
        state: state.as_str().to_owned(),
        tool: binding.tool.clone(),
        kind: approval.kind,
        band: approval.band,
        agent: binding.agent.to_string(),
        grant: binding.grant.to_string(),
        owner: approval.owner.clone(),
        purpose: approval.purpose.clone(),
        rules: approval.requirements.iter().map(|asked| asked.rule.clone()).collect(),
        quorum: approval.quorum(),
        args_digest: binding.args_digest.to_string(),
        binding: binding.digest().to_string(),
        approve_by_ms: approval.approve_by_ms,
        execute_by_ms: approval.execute_by_ms,
        decided_by: approval.decisions.iter().map(|decided| decided.approver.name.clone()).collect(),
        reason: approval.note.clone().or_else(|| last.and_then(|decided| decided.reason.clone())),
    }
}
