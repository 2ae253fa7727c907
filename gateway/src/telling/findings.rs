//! What detections found, as the trail has it, for channels. How far each channel is stands in the store, in rows of its own: what approvals
//! have to tell waits for nobody who has no detection to hear of.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bailiwick_channels::{About, Batch, Event, EventKind, Finding, Source};
use bailiwick_pipeline::ports::{Clock, Later};
use bailiwick_policy::Band;
use bailiwick_store::{Store, StoreFault};
use bailiwick_trail::{Record, Start, Stream};
use tokio::sync::watch;

use crate::adapters::Recorder;

/// What is older than this is told to nobody any more, milliseconds.
const NEWS_MS: u64 = 24 * 60 * 60 * 1000;

/// The key under which the positions of all channels stand: a JSON object.
const POSITIONS: &str = "channels_of_detections";

/// What detections find.
pub(super) struct Findings {
    recorder: Arc<Recorder>,
    store: Store,
    clock: Arc<dyn Clock>,
    reached: Mutex<BTreeMap<String, u64>>,
}

impl Findings {
    pub(super) fn load(store: &Store, recorder: &Arc<Recorder>, clock: &Arc<dyn Clock>) -> Result<Self, StoreFault> {
        // What can't be read begins anew, from what is found next.
        let reached = store.meta(POSITIONS)?.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        Ok(Self { recorder: Arc::clone(recorder), store: store.clone(), clock: Arc::clone(clock), reached: Mutex::new(reached) })
    }

    fn last(&self) -> u64 {
        self.recorder.trail().last_seq(Stream::Detections)
    }
}

impl Source for Findings {
    fn after(&self, seq: u64, most: usize) -> Later<'_, Result<Batch, String>> {
        let (recorder, last) = (Arc::clone(&self.recorder), self.last());
        let from_ms = self.clock.now_ms().saturating_sub(NEWS_MS);
        Box::pin(async move {
            if last <= seq {
                return Ok(Batch { events: Vec::new(), up_to: seq });
            }
            let read = tokio::task::spawn_blocking(move || {
                let records = recorder.trail().reader().records(Stream::Detections, Start::Seq(seq.saturating_add(1)))?;
                records.take(most).collect::<Result<Vec<Record>, _>>()
            });
            let records = read.await.map_err(|_| "the gateway's log says why".to_owned())?.map_err(|fault| fault.to_string())?;
            let up_to = records.last().map_or(seq, |record| record.seq);
            let news = records.iter().filter(|record| record.unix_ms >= from_ms);
            Ok(Batch { events: news.map(told).collect(), up_to })
        })
    }

    fn newest(&self) -> u64 {
        self.last()
    }

    fn reached(&self, channel: &str) -> Option<u64> {
        self.reached.lock().unwrap_or_else(PoisonError::into_inner).get(channel).copied()
    }

    fn advance<'a>(&'a self, channel: &'a str, seq: u64) -> Later<'a, Result<(), String>> {
        Box::pin(async move {
            let text = {
                let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
                let at = reached.entry(channel.to_owned()).or_insert(seq);
                *at = seq.max(*at);
                serde_json::to_string(&*reached).map_err(|fault| fault.to_string())?
            };
            self.store.set_meta(POSITIONS, Some(&text)).await.map_err(|fault| fault.to_string())
        })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.recorder.findings()
    }

    /// Nobody can decide it away.
    fn still_waits(&self, _: &Event) -> (bool, bool) {
        (true, true)
    }

    fn arguments(&self, _: &Event) -> Option<String> {
        None
    }
}

fn told(record: &Record) -> Event {
    let text = |key: &str| record.text(key).unwrap_or_default().to_owned();
    let finding = Finding {
        id: format!("{}-{}", record.stream, record.seq),
        detection: text("detection"),
        looks_for: text("kind"),
        action: text("action"),
        band: if record.text("action") == Some("deny") { Band::High } else { Band::Medium },
        call: text("call_id"),
        tool: record.text("tool").map(str::to_owned),
        agent: text("agent"),
        grant: text("grant"),
        why: text("why"),
    };
    Event { seq: record.seq, at_ms: record.unix_ms, kind: EventKind::Detected, about: About::Finding(Box::new(finding)) }
}
