//! Fills the ports of the pipeline that need no module of their own: clock, trail, tracer.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use bailiwick_pipeline::{
    catalogue::Tool,
    gates::{Outgoing, RawReply},
    grant::LiveGrant,
    ports::{Channel, Clock, ConnectFailure, Connectors, Interest, Later, Lease, Listing, Offers, SendFailure, TrailLost},
    records::{DecisionRecord, DetectionRecord, IntentRecord, LabelledRecord, OutcomeRecord, SecretRecord},
    trace::{Attr, CallTrace, Stage},
};
use bailiwick_policy::Differs;
use bailiwick_schemas::{canonical::Digest, names::ConnectorId};
use bailiwick_telemetry::{Exporter, Importance, Link, Span, SpanId, SpanIndex, SpanKind, SpanTree, Status, TraceId};
use bailiwick_trail::{Stream, Trail, TrailFault};
use serde::Serialize;
use tokio::sync::watch;

use crate::{overlisted::Overlisted, recent::Recent};

/// The system's clock and random numbers.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

/// The system's clock as a gateway takes it: it never goes back, so that nothing that has ended is good again, and it never stands
/// still, so that everything ends. Where the system's goes back, this one goes on from where it was; where it goes forward, this one
/// follows within a millisecond.
#[derive(Debug)]
pub struct SteadyClock {
    started: Instant,
    /// What it showed when it was started, or would have shown by what the system's clock has shown since.
    began_ns: AtomicU64,
    /// When the system's clock was asked last, nanoseconds after the start.
    asked_ns: AtomicU64,
}

/// The system's clock is asked again after so many nanoseconds.
const ASK_AGAIN_NS: u64 = 1_000_000;

impl SteadyClock {
    /// A clock that shows at least this time: what is on record has been.
    pub fn not_before(unix_ms: u64) -> Self {
        let began_ns = unix_ms.saturating_mul(1_000_000).max(SystemClock.now_ns());
        Self { started: Instant::now(), began_ns: AtomicU64::new(began_ns), asked_ns: AtomicU64::new(0) }
    }

    fn passed_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Clock for SteadyClock {
    fn now_ns(&self) -> u64 {
        let passed_ns = self.passed_ns();
        if passed_ns.saturating_sub(self.asked_ns.load(Ordering::Relaxed)) < ASK_AGAIN_NS {
            return self.began_ns.load(Ordering::Relaxed).saturating_add(passed_ns);
        }
        // The system first, and how long it is since the start second: a thread that is held up in between finds too little, which
        // changes nothing, and not too much, which would stay.
        let by_system = SystemClock.now_ns();
        let passed_ns = self.passed_ns();
        self.asked_ns.store(passed_ns, Ordering::Relaxed);
        let by_system = by_system.saturating_sub(passed_ns);
        self.began_ns.fetch_max(by_system, Ordering::Relaxed).max(by_system).saturating_add(passed_ns)
    }

    fn random(&self) -> [u8; 16] {
        SystemClock.random()
    }
}

thread_local! {
    /// Random bytes that were taken from the generator and given to nobody yet: it gives many as quickly as few.
    static UNUSED: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock that everything else is given")]
    fn now_ns(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn random(&self) -> [u8; 16] {
        UNUSED.with_borrow_mut(|unused| {
            if let Some(bytes) = unused.pop() {
                return bytes;
            }
            let mut bytes = [0; 16 * 32];
            // The library documents no failure on Linux once it is seeded. Nothing may go on without randomness.
            #[expect(
                clippy::expect_used,
                reason = "a call without randomness must not go on; the panic is refused and recorded"
            )]
            rand::fill(&mut bytes).expect("the system gives random numbers");
            let (pieces, _) = bytes.as_chunks::<16>();
            unused.extend_from_slice(pieces);
            unused.pop().unwrap_or_default()
        })
    }
}

/// How many refusals of strangers go on record in a minute.
const STRANGERS_PER_MINUTE: u64 = 600;

/// The trail, as the pipeline writes it.
pub struct Recorder {
    trail: Arc<Trail>,
    key: [u8; 32],
    /// The minute in the upper bits, the count of it in the lower 20.
    strangers: AtomicU64,
    strangers_unrecorded: AtomicU64,
    /// What rules that are only watched would have decided otherwise, counted.
    shadow: Mutex<BTreeMap<Differs, u64>>,
    overlisted: Overlisted,
    /// Moves with each thing that a detection found.
    findings: watch::Sender<u64>,
    /// What became of what was lent, counted by provider and event.
    secrets: Mutex<BTreeMap<(String, &'static str), u64>>,
}

/// So many different differences are counted apart; what comes after is counted together.
const DIFFERENCES: usize = 1000;

impl Recorder {
    /// A text with what stands for each value that these pointers name: keyed as the digests on record are.
    pub(crate) fn masked_text(&self, text: &str, places: &[String]) -> String {
        bailiwick_pipeline::masked_text(text, places, &|bytes| bailiwick_pipeline::ports::Trail::keyed_digest(self, bytes))
    }

    /// A recorder on this trail. `key` keys the digests of arguments and results.
    pub fn new(trail: Arc<Trail>, key: &[u8; 32]) -> Self {
        let (strangers, strangers_unrecorded) = (AtomicU64::new(0), AtomicU64::new(0));
        Self {
            trail,
            key: *key,
            strangers,
            strangers_unrecorded,
            shadow: Mutex::default(),
            overlisted: Overlisted::default(),
            findings: watch::Sender::new(0),
            secrets: Mutex::default(),
        }
    }

    /// The trail itself.
    pub fn trail(&self) -> &Arc<Trail> {
        &self.trail
    }

    /// Refusals of strangers that were counted but not recorded, since the start.
    pub fn strangers_unrecorded(&self) -> u64 {
        self.strangers_unrecorded.load(Ordering::Relaxed)
    }

    /// Moves with each thing that a detection found, once it is on record.
    pub(crate) fn findings(&self) -> watch::Receiver<u64> {
        self.findings.subscribe()
    }

    /// Calls of listed tools that policy refused.
    pub(crate) fn overlisted(&self) -> &Overlisted {
        &self.overlisted
    }

    /// What rules that are only watched would have decided otherwise, and how often, since the start.
    pub fn shadow_differences(&self) -> Vec<(Differs, u64)> {
        let counted = self.shadow.lock().unwrap_or_else(PoisonError::into_inner);
        counted.iter().map(|(differs, count)| (differs.clone(), *count)).collect()
    }

    /// Accesses to secrets since the start, by provider and what each was: `lent`, `used` or `leaked`.
    pub fn secret_accesses(&self) -> BTreeMap<(String, &'static str), u64> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count_secret(&self, provider: &str, event: &'static str) {
        let mut counted = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        match counted.iter_mut().find(|((of, what), _)| of == provider && *what == event) {
            Some((_, count)) => *count += 1,
            None => drop(counted.insert((provider.to_owned(), event), 1)),
        }
    }

    /// Only where something differs: no other call meets the lock.
    fn count_shadow(&self, differences: &[Differs]) {
        let mut counted = self.shadow.lock().unwrap_or_else(PoisonError::into_inner);
        for differs in differences {
            let is_apart = counted.len() < DIFFERENCES || counted.contains_key(differs);
            let together = || Differs { policy: "others".to_owned(), ..differs.clone() };
            let differs = if is_apart { differs.clone() } else { together() };
            *counted.entry(differs).or_default() += 1;
        }
    }

    fn append(&self, stream: Stream, now_ms: u64, record: &impl Serialize) -> Result<u64, TrailLost> {
        self.trail.append(stream, now_ms, record).map(bailiwick_trail::Appended::seq).map_err(lost)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is used in `map_err`")]
fn lost(fault: TrailFault) -> TrailLost {
    TrailLost(fault.to_string())
}

impl bailiwick_pipeline::ports::Trail for Recorder {
    fn decision(&self, now_ms: u64, record: &DecisionRecord<'_>) -> Result<(), TrailLost> {
        if !record.shadow.is_empty() {
            self.count_shadow(record.shadow);
        }
        if let (Some(tool), Some(asked)) = (record.tool, record.asked) {
            self.overlisted.decided(tool, &asked.policy);
        }
        self.append(Stream::Decisions, now_ms, record).map(drop)
    }

    fn intent(&self, now_ms: u64, record: &IntentRecord<'_>) -> Result<u64, TrailLost> {
        self.append(Stream::Calls, now_ms, record)
    }

    fn labelled(&self, now_ms: u64, record: &LabelledRecord<'_>) -> Result<(), TrailLost> {
        self.append(Stream::Calls, now_ms, record).map(drop)
    }

    fn outcome(&self, now_ms: u64, record: &OutcomeRecord<'_>) -> Result<(), TrailLost> {
        self.append(Stream::Calls, now_ms, record).map(drop)
    }

    fn secret(&self, now_ms: u64, record: &SecretRecord<'_>) -> Result<(), TrailLost> {
        self.count_secret(record.provider, record.event);
        self.append(Stream::Secrets, now_ms, record).map(drop)
    }

    fn detection(&self, now_ms: u64, record: &DetectionRecord<'_>) -> Result<(), TrailLost> {
        let seq = self.append(Stream::Detections, now_ms, record)?;
        self.findings.send_modify(|newest| *newest = seq);
        Ok(())
    }

    fn synced(&self, intent: u64) -> Later<'_, Result<(), TrailLost>> {
        Box::pin(async move { self.trail.synced_to(Stream::Calls, intent).await.map_err(lost) })
    }

    fn keyed_digest(&self, bytes: &[u8]) -> String {
        let mac = blake3::keyed_hash(&self.key, bytes);
        format!("blake3-keyed:{}", mac.to_hex())
    }

    fn admits_stranger(&self, now_ms: u64) -> bool {
        let minute = now_ms / 60_000;
        let update = self.strangers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
            let (of, count) = (packed >> 20, packed & 0xf_ffff);
            if of != minute {
                Some((minute << 20) | 1)
            } else if count < STRANGERS_PER_MINUTE {
                Some(packed + 1)
            } else {
                None
            }
        });
        if update.is_err() {
            self.strangers_unrecorded.fetch_add(1, Ordering::Relaxed);
        }
        update.is_ok()
    }
}

/// The ways out, tied to the catalogue that decides: a call is made ready only for the connector that it was judged for.
///
/// While connectors are replaced, the catalogue in force still speaks of those before. A call that meets a connector of another kind
/// than its catalogue says waits until the new catalogue is in force, and gets a channel that sends nothing: its commit finds
/// the catalogue changed, and it walks again.
pub struct Tethered {
    ways: Arc<dyn Connectors>,
    /// How each connector is reached now, as one digest.
    reached: ArcSwap<BTreeMap<ConnectorId, Digest>>,
    is_changing: watch::Sender<bool>,
}

/// Connectors on their way to be others, until dropped.
#[must_use]
pub struct Untied<'t> {
    of: &'t Tethered,
}

impl Tethered {
    /// These ways out, which reach connectors so.
    pub fn new(ways: Arc<dyn Connectors>, reached: BTreeMap<ConnectorId, Digest>) -> Self {
        let (is_changing, _) = watch::channel(false);
        Self { ways, reached: ArcSwap::from_pointee(reached), is_changing }
    }

    /// From here on connectors are reached so. To be said before they are replaced; what is returned is to be dropped once the
    /// catalogue that says the same is in force.
    pub fn untie(&self, reached: BTreeMap<ConnectorId, Digest>) -> Untied<'_> {
        // In this order: whoever finds a connector changed finds that it is changing too.
        self.is_changing.send_replace(true);
        self.reached.store(Arc::new(reached));
        Untied { of: self }
    }

    fn reaches(&self, tool: &Tool) -> bool {
        self.reached.load().get(&tool.connector.id) == Some(&tool.connector.fingerprint)
    }
}

impl Drop for Untied<'_> {
    fn drop(&mut self) {
        self.of.is_changing.send_replace(false);
    }
}

impl Connectors for Tethered {
    fn ready<'a>(
        &'a self,
        tool: &'a Arc<Tool>,
        grant: &'a Arc<LiveGrant>,
        lease: Option<&'a Arc<Lease>>,
        asks: Option<&'a str>,
    ) -> Later<'a, Result<Box<dyn Channel>, ConnectFailure>> {
        Box::pin(async move {
            if self.reaches(tool) {
                let ready = self.ways.ready(tool, grant, lease, asks).await;
                // INVARIANT: asked before and after. Unchanged now means that what was made ready is what the catalogue meant.
                if self.reaches(tool) {
                    return ready;
                }
            }
            let mut is_changing = self.is_changing.subscribe();
            // It fails when the gateway ends.
            let _ended = is_changing.wait_for(|is_changing| !is_changing).await;
            Ok(Box::new(Severed) as Box<dyn Channel>)
        })
    }

    fn hear<'a>(&'a self, grant: &'a Arc<LiveGrant>) -> Later<'a, Interest> {
        self.ways.hear(grant)
    }
}

/// A channel to a connector that is no more what it was.
struct Severed;

impl Channel for Severed {
    fn send(self: Box<Self>, _: Outgoing) -> Later<'static, Result<RawReply, SendFailure>> {
        Box::pin(std::future::ready(Err(Self::replaced())))
    }

    fn offers(&self, _: Listing) -> Later<'_, Result<Arc<Offers>, SendFailure>> {
        Box::pin(std::future::ready(Err(Self::replaced())))
    }
}

impl Severed {
    fn replaced() -> SendFailure {
        SendFailure::Unsent("its connector was replaced meanwhile: try again".to_owned())
    }
}

/// Hands finished traces to the exporter, where there is one.
pub struct Traces {
    exporter: Option<Exporter>,
    recent: Arc<Recent>,
}

impl Traces {
    /// Traces to this exporter; to nowhere without one.
    pub fn new(exporter: Option<Exporter>, recent: Arc<Recent>) -> Self {
        Self { exporter, recent }
    }
}

impl bailiwick_pipeline::ports::Tracer for Traces {
    fn finish(&self, trace: CallTrace) {
        self.recent.keep(&trace);
        if let Some(exporter) = &self.exporter
            && let Some(tree) = tree_of(trace)
        {
            exporter.finish(tree);
        }
    }
}

/// A call's trace as OpenTelemetry has it: the call is a SERVER span, the call downstream a CLIENT span, the gates between
/// are INTERNAL.
fn tree_of(trace: CallTrace) -> Option<SpanTree> {
    let mut tree = SpanTree::of(TraceId::from_bytes(trace.trace_id)?);
    let links = trace.links.iter().filter_map(|link| {
        Some(Link { trace_id: TraceId::from_bytes(link.trace_id)?, span_id: SpanId::from_bytes(link.span_id)? })
    });
    tree.links.extend(links);
    if trace.important {
        tree.importance = Importance::Keep;
    }
    let root = tree.add(span_of(trace.root, SpanKind::Server, None)?);
    for stage in trace.stages {
        let kind = if stage.outward { SpanKind::Client } else { SpanKind::Internal };
        tree.add(span_of(stage, kind, Some(root))?);
    }
    Some(tree)
}

fn span_of(stage: Stage, kind: SpanKind, parent: Option<SpanIndex>) -> Option<Span> {
    Some(Span {
        id: SpanId::from_bytes(stage.id)?,
        parent,
        name: stage.name,
        kind,
        start_ns: stage.start_ns,
        end_ns: stage.end_ns,
        attributes: stage.attributes.into_iter().map(|(name, value)| (name, attribute(value))).collect(),
        status: stage.error.map_or(Status::Unset, Status::Error),
    })
}

fn attribute(value: Attr) -> bailiwick_telemetry::Attr {
    match value {
        Attr::Str(text) => text.into(),
        Attr::Int(number) => number.into(),
        Attr::Bool(yes) => yes.into(),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use bailiwick_pipeline::ports::Trail as _;

    use super::*;

    fn recorder() -> (tempfile::TempDir, Recorder) {
        let folder = tempfile::tempdir().unwrap();
        let (trail, _) = Trail::open(&folder.path().join("trail"), bailiwick_trail::Options::default()).unwrap();
        (folder, Recorder::new(Arc::new(trail), &[7; 32]))
    }

    #[test]
    fn a_steady_clock_never_goes_back() {
        let far = SystemClock.now_ms() + 3_600_000;
        let clock = SteadyClock::not_before(far);
        let first = clock.now_ns();
        assert!(first / 1_000_000 >= far);
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(clock.now_ns() >= first + 2_000_000, "it goes on");
        assert!(SteadyClock::not_before(0).now_ms() < far);
    }

    #[test]
    fn strangers_have_a_quota_by_the_minute() {
        let (_folder, recorder) = recorder();
        let admitted = (0..700).filter(|_| recorder.admits_stranger(60_000)).count();
        assert_eq!(admitted, 600);
        assert_eq!(recorder.strangers_unrecorded(), 100);
        assert!(recorder.admits_stranger(120_000));
    }

    /// Makes everything ready, once it is let.
    struct Way(tokio::sync::Semaphore);

    impl Connectors for Way {
        fn ready<'a>(
            &'a self,
            _: &'a Arc<Tool>,
            _: &'a Arc<LiveGrant>,
            _: Option<&'a Arc<Lease>>,
            _: Option<&'a str>,
        ) -> Later<'a, Result<Box<dyn Channel>, ConnectFailure>> {
            Box::pin(async move {
                let _let = self.0.acquire().await;
                Err(ConnectFailure::Start("the way itself".to_owned()))
            })
        }
    }

    #[tokio::test]
    async fn a_call_is_made_ready_only_for_the_connector_that_it_was_judged_for() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = crate::runtime::Runtime::start(crate::runtime::Start {
            config: bailiwick_config::embedded(bailiwick_config::DEMO, []).unwrap(),
            file: None,
            data: crate::data::DataFolder::open(&folder.path().join("data")).unwrap(),
            clock: Arc::new(SystemClock),
            is_demo: true,
            own_binary: "/bin/false".into(),
            environment: BTreeMap::new(),
        })
        .await
        .unwrap();
        let tool = bailiwick_pipeline::ports::Worlds::now(runtime.worlds.as_ref()).tool("files__read").cloned().unwrap();
        let grant = runtime.grants.list().remove(0).grant;
        let (way, reached) = (Arc::new(Way(tokio::sync::Semaphore::new(0))), runtime.worlds.reached());
        let tethered = Arc::new(Tethered::new(Arc::clone(&way) as _, reached.clone()));
        let ready = || {
            let (tethered, tool, grant) = (Arc::clone(&tethered), Arc::clone(&tool), Arc::clone(&grant));
            tokio::spawn(async move { tethered.ready(&tool, &grant, None, None).await.map(drop) })
        };
        let early = ready();
        tokio::task::yield_now().await;
        let mut others = reached.clone();
        others.insert(tool.connector.id.clone(), Digest::of(b"another"));
        let untied = tethered.untie(others);
        way.0.add_permits(1);
        let late = ready();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(!early.is_finished() && !late.is_finished(), "both wait until the catalogue says the same");
        drop(untied);
        assert!(early.await.unwrap().is_ok() && late.await.unwrap().is_ok(), "what they get leads nowhere");
        drop(tethered.untie(reached));
        let failure = ready().await.unwrap().unwrap_err();
        assert_eq!(failure, ConnectFailure::Start("the way itself".to_owned()));
    }

    #[test]
    fn digests_are_keyed() {
        let (_folder, recorder) = recorder();
        let digest = recorder.keyed_digest(b"{}");
        assert_eq!(digest.len(), 13 + 64);
        assert_eq!(digest, recorder.keyed_digest(b"{}"));
        assert_ne!(digest, recorder.keyed_digest(b"{ }"));
    }

    #[test]
    fn a_trace_becomes_a_tree_with_one_root() {
        let mut trace = CallTrace::begin("tools/call t".into(), 1, [9; 16], Vec::new());
        let stage = trace.start("tools/call x", true, 2);
        trace.end(stage, 3);
        let id = trace.stages.first().unwrap().id;
        let tree = tree_of(trace).unwrap();
        let roots = tree.spans.iter().filter(|span| span.parent.is_none()).count();
        assert_eq!((tree.spans.len(), roots), (2, 1));
        let outward = tree.spans.get(1).unwrap();
        assert_eq!((outward.kind, *outward.id.as_bytes()), (SpanKind::Client, id));
    }
}
