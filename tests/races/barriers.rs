//! Barriers: a call stands at one of them until it is let go. Around the real ports, and in a way out that notes when it writes.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bailiwick_pipeline::{
    aside::AsideKind,
    catalogue::Tool,
    gates::{Outgoing, RawReply},
    grant::LiveGrant,
    ids::{ApprovalId, CallId},
    ports::{
        ApprovalFailure, ApprovalRequest, Approvals, Binding, Channel, ClaimEnd, Claimed, ConnectFailure, Connectors,
        Credentials, Identities, IdentityFailure, Later, Lease, LendFailure, Listing, Loan, Offers, Ports, SendFailure, Ticket,
        Trail, TrailLost, Wanted,
    },
    principal::{Presented, Principal},
    records::{DecisionRecord, DetectionRecord, IntentRecord, LabelledRecord, OutcomeRecord, SecretRecord},
};
use bailiwick_schemas::names::ConnectorId;
use bytes::Bytes;
use tokio::sync::watch;

/// Where a call can stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Before it is known who sends it.
    Identify,
    /// Before a person is asked.
    Request,
    /// While it waits for one.
    Held,
    /// Before a credential is lent.
    Lend,
    /// Before its way out is ready.
    Ready,
    /// Before its commit: it is asked once more who sends it.
    Commit,
    /// In the commit, with the lock of its grant.
    Intent,
    /// On record, and not on disk.
    Sync,
    /// Let out, and nothing of it written.
    Send,
    /// While it is being written, which nothing interrupts.
    Write,
    /// Written, while its server says more and more.
    Stream,
    /// Before the answer.
    Answer,
}

impl Point {
    pub const OF_ALL: [Self; 8] =
        [Self::Identify, Self::Ready, Self::Commit, Self::Intent, Self::Send, Self::Write, Self::Stream, Self::Answer];
    pub const OF_WRITES: [Self; 9] = [
        Self::Identify,
        Self::Ready,
        Self::Commit,
        Self::Intent,
        Self::Sync,
        Self::Send,
        Self::Write,
        Self::Stream,
        Self::Answer,
    ];
    pub const OF_LENT: [Self; 5] = [Self::Lend, Self::Ready, Self::Send, Self::Stream, Self::Answer];
    pub const OF_HELD: [Self; 3] = [Self::Identify, Self::Request, Self::Held];
}

/// Where one call is to stand, and whether it does, and may go on.
pub struct Plan {
    point: Option<Point>,
    identified: AtomicUsize,
    is_there: watch::Sender<bool>,
    may_go: watch::Sender<bool>,
    /// The same for who can't await it.
    goes: (Mutex<bool>, Condvar),
}

tokio::task_local! {
    /// The plan of the call that this task makes.
    pub static PLAN: Arc<Plan>;
}

impl Plan {
    pub fn new(point: Point) -> Arc<Self> {
        Self::of(Some(point))
    }

    /// It stands nowhere.
    pub fn free() -> Arc<Self> {
        Self::of(None)
    }

    fn of(point: Option<Point>) -> Arc<Self> {
        Arc::new(Self {
            point,
            identified: AtomicUsize::new(0),
            is_there: watch::Sender::default(),
            may_go: watch::Sender::default(),
            goes: (Mutex::default(), Condvar::new()),
        })
    }

    pub fn point(&self) -> Option<Point> {
        self.point
    }

    /// Waits until the call stands there.
    pub async fn reached(&self, patience: Duration) {
        let mut is_there = self.is_there.subscribe();
        let waiting = tokio::time::timeout(patience, is_there.wait_for(|is_there| *is_there)).await;
        waiting.unwrap_or_else(|_| panic!("no call came to {:?}", self.point)).unwrap();
    }

    pub fn let_go(&self) {
        self.may_go.send_replace(true);
        *self.goes.0.lock().unwrap() = true;
        self.goes.1.notify_all();
    }

    fn may_go_on(&self) -> bool {
        *self.may_go.borrow()
    }

    async fn stand(&self, at: Point) {
        if self.point == Some(at) {
            self.is_there.send_replace(true);
            self.may_go.subscribe().wait_for(|may_go| *may_go).await.unwrap();
        }
    }

    fn stand_still(&self, at: Point) {
        if self.point == Some(at) {
            self.is_there.send_replace(true);
            let mut goes = self.goes.0.lock().unwrap();
            while !*goes {
                goes = self.goes.1.wait(goes).unwrap();
            }
        }
    }
}

fn plan() -> Arc<Plan> {
    PLAN.try_with(Arc::clone).unwrap_or_else(|_| Plan::free())
}

/// When something was written downstream or told to the agent.
#[derive(Default)]
pub struct Log {
    pub writes: Vec<Instant>,
    pub forwarded: Vec<Instant>,
}

#[derive(Default)]
pub struct Logged(Mutex<Log>);

impl Logged {
    pub fn wrote(&self) {
        self.0.lock().unwrap().writes.push(Instant::now());
    }

    pub fn forwarded(&self, at: Instant) {
        self.0.lock().unwrap().forwarded.push(at);
    }

    pub fn take(&self) -> Log {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// The ports of a gateway with barriers before them, and ways out that lead into a log.
pub fn barred(real: &Ports, log: &Arc<Logged>) -> Ports {
    let barred = Arc::new(Barred { real: real.clone(), log: Arc::clone(log) });
    Ports {
        identities: Arc::clone(&barred) as _,
        approvals: Arc::clone(&barred) as _,
        credentials: Arc::clone(&barred) as _,
        connectors: Arc::clone(&barred) as _,
        trail: barred,
        ..real.clone()
    }
}

struct Barred {
    real: Ports,
    log: Arc<Logged>,
}

impl Identities for Barred {
    fn identify<'a>(&'a self, presented: &'a Presented) -> Later<'a, Result<Principal, IdentityFailure>> {
        Box::pin(async move {
            let plan = plan();
            match plan.identified.fetch_add(1, Ordering::SeqCst) {
                0 => plan.stand(Point::Identify).await,
                1 => plan.stand(Point::Commit).await,
                _ => {}
            }
            self.real.identities.identify(presented).await
        })
    }
}

impl Approvals for Barred {
    fn find(&self, binding: &Binding, now_ms: u64) -> Option<Ticket> {
        self.real.approvals.find(binding, now_ms)
    }

    fn allowance(&self, binding: &Binding, arguments: &serde_json::Value, now_ms: u64) -> Option<ApprovalId> {
        self.real.approvals.allowance(binding, arguments, now_ms)
    }

    fn claim_allowance(&self, id: &ApprovalId, call: &CallId, now_ms: u64) -> bool {
        self.real.approvals.claim_allowance(id, call, now_ms)
    }

    fn left(&self, id: &ApprovalId, now_ms: u64) {
        self.real.approvals.left(id, now_ms);
    }

    fn request<'a>(&'a self, request: ApprovalRequest<'a>) -> Later<'a, Result<Ticket, ApprovalFailure>> {
        Box::pin(async move {
            plan().stand(Point::Request).await;
            self.real.approvals.request(request).await
        })
    }

    fn arguments(&self, id: &ApprovalId) -> Result<Bytes, ApprovalFailure> {
        self.real.approvals.arguments(id)
    }

    fn claim(&self, id: &ApprovalId, now_ms: u64) -> bool {
        self.real.approvals.claim(id, now_ms)
    }

    fn keep_claim(&self, id: &ApprovalId, of: Claimed, now_ms: u64) {
        self.real.approvals.keep_claim(id, of, now_ms);
    }

    fn finish(&self, id: &ApprovalId, end: ClaimEnd) {
        self.real.approvals.finish(id, end);
    }

    fn decided<'a>(&'a self, id: &'a ApprovalId) -> Later<'a, ()> {
        Box::pin(async move {
            plan().stand(Point::Held).await;
            self.real.approvals.decided(id).await;
        })
    }
}

impl Credentials for Barred {
    fn lend<'a>(&'a self, wanted: Wanted<'a>) -> Later<'a, Result<Option<Loan>, LendFailure>> {
        Box::pin(async move {
            plan().stand(Point::Lend).await;
            self.real.credentials.lend(wanted).await
        })
    }

    fn leaked(&self, grant: &Arc<LiveGrant>, connector: &ConnectorId, lease: &Lease) {
        self.real.credentials.leaked(grant, connector, lease);
    }

    fn lent(&self, grant: &LiveGrant) -> Vec<(ConnectorId, Arc<Lease>)> {
        self.real.credentials.lent(grant)
    }
}

impl Connectors for Barred {
    fn ready<'a>(
        &'a self,
        _: &'a Arc<Tool>,
        _: &'a Arc<LiveGrant>,
        _: Option<&'a Arc<Lease>>,
        _: Option<&'a str>,
    ) -> Later<'a, Result<Box<dyn Channel>, ConnectFailure>> {
        Box::pin(async move {
            plan().stand(Point::Ready).await;
            Ok(Box::new(Line(Arc::clone(&self.log))) as Box<dyn Channel>)
        })
    }
}

/// A way out that writes into a log.
struct Line(Arc<Logged>);

impl Channel for Line {
    fn send(self: Box<Self>, mut outgoing: Outgoing) -> Later<'static, Result<RawReply, SendFailure>> {
        Box::pin(async move {
            let (plan, log) = (plan(), self.0);
            plan.stand(Point::Send).await;
            log.wrote();
            let (written, own) = (outgoing.when_written(), Arc::clone(&plan));
            // Bytes that are on their way are not called back.
            let writing = tokio::spawn(async move {
                own.stand(Point::Write).await;
                written();
            });
            let _ended = writing.await;
            if let Some(ear) = outgoing.take_ear().filter(|_| plan.point == Some(Point::Stream)) {
                plan.is_there.send_replace(true);
                while !plan.may_go_on() {
                    ear.hear(AsideKind::Log, br#"{"level":"info","data":"more"}"#);
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            }
            plan.stand(Point::Answer).await;
            // A failure of the tool: that is answered without a result of the form that it declares.
            Ok(RawReply::result(Bytes::from_static(br#"{"content":[{"type":"text","text":"done"}],"isError":true}"#)))
        })
    }

    fn offers(&self, _: Listing) -> Later<'_, Result<Arc<Offers>, SendFailure>> {
        Box::pin(std::future::ready(Ok(Arc::default())))
    }
}

impl Trail for Barred {
    fn decision(&self, now_ms: u64, record: &DecisionRecord<'_>) -> Result<(), TrailLost> {
        self.real.trail.decision(now_ms, record)
    }

    fn intent(&self, now_ms: u64, record: &IntentRecord<'_>) -> Result<u64, TrailLost> {
        plan().stand_still(Point::Intent);
        self.real.trail.intent(now_ms, record)
    }

    fn labelled(&self, now_ms: u64, record: &LabelledRecord<'_>) -> Result<(), TrailLost> {
        self.real.trail.labelled(now_ms, record)
    }

    fn outcome(&self, now_ms: u64, record: &OutcomeRecord<'_>) -> Result<(), TrailLost> {
        self.real.trail.outcome(now_ms, record)
    }

    fn detection(&self, now_ms: u64, record: &DetectionRecord<'_>) -> Result<(), TrailLost> {
        self.real.trail.detection(now_ms, record)
    }

    fn secret(&self, now_ms: u64, record: &SecretRecord<'_>) -> Result<(), TrailLost> {
        self.real.trail.secret(now_ms, record)
    }

    fn synced(&self, intent: u64) -> Later<'_, Result<(), TrailLost>> {
        Box::pin(async move {
            plan().stand(Point::Sync).await;
            self.real.trail.synced(intent).await
        })
    }

    fn keyed_digest(&self, bytes: &[u8]) -> String {
        self.real.trail.keyed_digest(bytes)
    }

    fn admits_stranger(&self, now_ms: u64) -> bool {
        self.real.trail.admits_stranger(now_ms)
    }
}
