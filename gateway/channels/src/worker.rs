//! For each channel one worker: it tells the events in their order, tries again what did not arrive, and remembers how far it came. A
//! channel that is dead stands still alone.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bailiwick_pipeline::ports::{Clock, Later};
use serde::Serialize;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    courier::{Courier, CourierFault, ReadSecret},
    event::{Event, EventKind},
    spec::ChannelSpec,
};

/// How many events are read at a time.
const AT_ONCE: usize = 64;
/// The first and the longest pause after a failure; each is twice the one before.
const FIRST: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1000 });
const LONGEST: Duration = Duration::from_mins(5);
/// After so many refusals a message goes without arguments, and after so many more without hope: it is passed by. What somebody wrote into a
/// call must not keep others from being told.
const REFUSALS: u32 = 3;
/// How old an event may get before it is given up.
const GIVEN_UP_MS: u64 = 24 * 60 * 60 * 1000;

/// Where the events come from, and where it is kept how far each channel is.
pub trait Source: Send + Sync + 'static {
    /// The next events after this one, in their order, of at most so many. The error says why they can't be read.
    fn after(&self, seq: u64, most: usize) -> Later<'_, Result<Batch, String>>;
    /// The number of the newest event; 0 for none.
    fn newest(&self) -> u64;
    /// How far this channel is; nothing for one that was never there.
    fn reached(&self, channel: &str) -> Option<u64>;
    /// Keeps how far this channel is. It is on disk when this is done.
    fn advance<'a>(&'a self, channel: &'a str, seq: u64) -> Later<'a, Result<(), String>>;
    /// Moves with each new event.
    fn changes(&self) -> watch::Receiver<u64>;
    /// Whether the approval of this event still waits for somebody; and of these, for somebody who looks at all.
    fn still_waits(&self, event: &Event) -> (bool, bool);
    /// The arguments of the call, as they would be sent; nothing once nobody needs them.
    fn arguments(&self, event: &Event) -> Option<String>;
}

/// Some events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Those that are told.
    pub events: Vec<Event>,
    /// How far they go, what is not told included. Nothing happened since where that is no further.
    pub up_to: u64,
}

/// How a channel is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChannelStatus {
    /// Its id.
    pub id: String,
    /// How its messages go.
    pub way: &'static str,
    /// How it is.
    pub state: ChannelState,
    /// How many messages have arrived since the start.
    pub told: u64,
    /// When the last one did, unix milliseconds.
    pub told_at_ms: Option<u64>,
    /// How many were given up since the start: refused each time, or not taken for a day.
    pub passed_by: u64,
    /// How many events it has yet to look at.
    pub behind: u64,
    /// Since when it fails, unix milliseconds.
    pub failing_since_ms: Option<u64>,
    /// Why.
    pub why: Option<String>,
}

/// How a channel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelState {
    /// Messages arrive, or there was none.
    Working,
    /// The last try failed, and there will be another.
    Failing,
    /// The place is gone for good.
    Gone,
}

impl ChannelState {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Failing => "failing",
            Self::Gone => "gone",
        }
    }
}

/// All channels, at work.
pub struct Channels {
    by_id: BTreeMap<String, Arc<Channel>>,
    workers: Vec<JoinHandle<()>>,
    stop: CancellationToken,
    source: Arc<dyn Source>,
    clock: Arc<dyn Clock>,
}

struct Channel {
    courier: Courier,
    status: Mutex<ChannelStatus>,
}

impl Channels {
    /// Sets the channels to work. One that is new hears of what happens from now on.
    pub fn start(
        specs: Vec<ChannelSpec>,
        page: &Url,
        source: &Arc<dyn Source>,
        clock: &Arc<dyn Clock>,
        read: &Arc<ReadSecret>,
    ) -> Self {
        let stop = CancellationToken::new();
        let (mut by_id, mut workers) = (BTreeMap::new(), Vec::new());
        for spec in specs {
            let status = ChannelStatus {
                id: spec.id.clone(),
                way: spec.way.as_str(),
                state: ChannelState::Working,
                told: 0,
                passed_by: 0,
                told_at_ms: None,
                behind: 0,
                failing_since_ms: None,
                why: None,
            };
            let id = spec.id.clone();
            let courier = Courier::new(spec, page.clone(), Arc::clone(read));
            let channel = Arc::new(Channel { courier, status: Mutex::new(status) });
            let worker = Worker {
                channel: Arc::clone(&channel),
                source: Arc::clone(source),
                clock: Arc::clone(clock),
                stop: stop.clone(),
            };
            workers.push(tokio::spawn(worker.work()));
            by_id.insert(id, channel);
        }
        Self { by_id, workers, stop, source: Arc::clone(source), clock: Arc::clone(clock) }
    }

    /// How they are, by id.
    pub fn status(&self) -> Vec<ChannelStatus> {
        let newest = self.source.newest();
        let of = |(id, channel): (&String, &Arc<Channel>)| {
            let behind = newest.saturating_sub(self.source.reached(id).unwrap_or(newest));
            ChannelStatus { behind, ..channel.status().clone() }
        };
        self.by_id.iter().map(of).collect()
    }

    /// Sends a message that says that messages arrive; nothing where there is no such channel.
    pub async fn trial(&self, id: &str) -> Option<Result<(), CourierFault>> {
        let channel = self.by_id.get(id)?;
        let trial = format!("evt_trial_{:032x}", u128::from_be_bytes(self.clock.random()));
        Some(channel.courier.trial(&trial, self.clock.now_ms()).await.map(drop))
    }

    /// Ends the work. What has not arrived stays to be told.
    pub async fn stop(self) {
        self.stop.cancel();
        for worker in self.workers {
            let _ended = worker.await;
        }
    }
}

impl std::fmt::Debug for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channels").field("channels", &self.by_id.keys()).finish_non_exhaustive()
    }
}

impl Channel {
    fn status(&self) -> std::sync::MutexGuard<'_, ChannelStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Worker {
    channel: Arc<Channel>,
    source: Arc<dyn Source>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
}

/// The work is to end.
struct Stopped;

impl Worker {
    async fn work(self) {
        let _stopped = self.tell_all().await;
    }

    async fn tell_all(&self) -> Result<(), Stopped> {
        let mut changes = self.source.changes();
        let id = &self.channel.courier.spec().id;
        let known = self.source.reached(id);
        let mut at = known.unwrap_or_else(|| self.source.newest());
        if known.is_none() {
            self.keep(at).await?;
        }
        loop {
            changes.mark_unchanged();
            let Batch { events, up_to } = match self.source.after(at, AT_ONCE).await {
                Ok(batch) => batch,
                Err(why) => {
                    self.failed(&format!("what is to be told can't be read: {why}"));
                    self.pause(LONGEST).await?;
                    continue;
                }
            };
            if up_to <= at {
                let has_source = self.or_stopped(async { changes.changed().await.is_ok() }).await?;
                has_source.then_some(()).ok_or(Stopped)?;
                continue;
            }
            for event in &events {
                if self.channel.courier.spec().wants(event) && self.tell(event).await? {
                    self.keep(event.seq).await?;
                }
            }
            // What it does not hear of is passed by together.
            self.keep(up_to).await?;
            at = up_to;
        }
    }

    /// Tells one event; false where it was passed by.
    async fn tell(&self, event: &Event) -> Result<bool, Stopped> {
        let spec = self.channel.courier.spec();
        if !spec.after.is_zero() {
            let due = event.at_ms.saturating_add(u64::try_from(spec.after.as_millis()).unwrap_or(u64::MAX));
            self.pause(Duration::from_millis(due.saturating_sub(self.clock.now_ms()))).await?;
        }
        let (mut pause, mut tries, mut refusals) = (FIRST, 0_u32, 0_u32);
        loop {
            let (waits, unseen) = self.source.still_waits(event);
            let is_moot = event.kind == EventKind::Requested && spec.is_for_persons() && !waits;
            if is_moot || (!spec.after.is_zero() && !unseen) {
                return Ok(false);
            }
            let now_ms = self.clock.now_ms();
            let arguments = if spec.include_args && tries < REFUSALS { self.source.arguments(event) } else { None };
            tries = tries.saturating_add(1);
            let delivered = self.or_stopped(self.channel.courier.deliver(event, arguments.as_deref(), now_ms)).await?;
            let wait = match delivered {
                Ok(_) => {
                    self.arrived(now_ms);
                    return Ok(true);
                }
                Err(CourierFault::Gone) => {
                    self.failed(&CourierFault::Gone.to_string());
                    self.channel.status().state = ChannelState::Gone;
                    self.stop.cancelled().await;
                    return Err(Stopped);
                }
                Err(fault) => {
                    self.failed(&fault.to_string());
                    refusals = refusals.saturating_add(u32::from(fault.is_about_the_message()));
                    if let CourierFault::Refused { wait: Some(wait), .. } = fault { wait.max(pause) } else { pause }
                }
            };
            let is_old = now_ms.saturating_sub(event.at_ms) > GIVEN_UP_MS;
            if is_old || refusals > 2 * REFUSALS {
                tracing::warn!(channel = %spec.id, event = %event.id(), "an event was refused each time, and is passed by");
                self.channel.status().passed_by += 1;
                return Ok(false);
            }
            self.pause(self.about(wait)).await?;
            pause = pause.saturating_mul(2).min(LONGEST);
        }
    }

    /// A pause, longer by up to a fifth: what failed together does not come again together.
    fn about(&self, pause: Duration) -> Duration {
        let [first, ..] = self.clock.random();
        pause.saturating_add(pause.saturating_mul(u32::from(first)) / 1280)
    }

    /// Keeps how far it is; until that is kept it goes no further.
    async fn keep(&self, seq: u64) -> Result<(), Stopped> {
        let mut pause = FIRST;
        while let Err(why) = self.source.advance(&self.channel.courier.spec().id, seq).await {
            self.failed(&format!("how far it is can't be kept: {why}"));
            self.pause(pause).await?;
            pause = pause.saturating_mul(2).min(LONGEST);
        }
        Ok(())
    }

    fn arrived(&self, now_ms: u64) {
        let mut status = self.channel.status();
        if status.state != ChannelState::Working {
            tracing::info!(channel = %status.id, "messages arrive again");
        }
        status.state = ChannelState::Working;
        status.told = status.told.saturating_add(1);
        status.told_at_ms = Some(now_ms);
        status.failing_since_ms = None;
        status.why = None;
    }

    fn failed(&self, why: &str) {
        let mut status = self.channel.status();
        if status.state == ChannelState::Working {
            tracing::warn!(channel = %status.id, %why, "messages don't arrive");
            status.failing_since_ms = Some(self.clock.now_ms());
        }
        status.state = ChannelState::Failing;
        status.why = Some(why.to_owned());
    }

    async fn pause(&self, pause: Duration) -> Result<(), Stopped> {
        self.or_stopped(tokio::time::sleep(pause)).await
    }

    async fn or_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Stopped> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Stopped),
            done = work => Ok(done),
        }
    }
}
