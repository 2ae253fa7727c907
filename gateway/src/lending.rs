//! What the broker of credentials writes down: in the store, and in the stream `secrets`.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use bailiwick_credentials::{Book, Entry, Event, Handle, Record};
use bailiwick_pipeline::ports::Later;
use bailiwick_store::{Leases, Store};
use bailiwick_trail::{Stream, Trail};
use serde_json::json;

use crate::{admin::credentials::leases, runtime::Runtime};

/// The store, as the broker's book.
#[derive(Debug)]
pub(crate) struct LeaseBook(Leases);

impl LeaseBook {
    pub(crate) fn of(store: &Store) -> Arc<dyn Book> {
        Arc::new(Self(Leases::new(store)))
    }
}

fn text_of(entry: &Entry) -> Result<String, String> {
    serde_json::to_string(entry).map_err(|fault| fault.to_string())
}

impl Book for LeaseBook {
    fn open<'a>(&'a self, entry: &'a Entry) -> Later<'a, Result<(), String>> {
        Box::pin(async { self.0.open(&entry.lease, text_of(entry)?).await.map_err(|fault| fault.to_string()) })
    }

    fn keep<'a>(&'a self, entry: &'a Entry, handle: &'a Handle) -> Later<'a, Result<(), String>> {
        Box::pin(async {
            let kept = self.0.keep(&entry.lease, text_of(entry)?, handle.expose()).await;
            kept.map_err(|fault| fault.to_string())
        })
    }

    fn close<'a>(&'a self, lease: &'a str) -> Later<'a, Result<(), String>> {
        Box::pin(async { self.0.close(lease).await.map_err(|fault| fault.to_string()) })
    }

    fn unclosed(&self) -> Result<Vec<(Entry, Option<Handle>)>, String> {
        let all = self.0.all().map_err(|fault| fault.to_string())?;
        let read = all.into_iter().map(|lease| {
            let entry = serde_json::from_str(&lease.record).map_err(|fault| format!("lease `{}`: {fault}", lease.id))?;
            Ok((entry, lease.handle.map(Handle::new)))
        });
        read.collect()
    }
}

/// The stream `secrets`, as the broker's record.
#[derive(Debug)]
pub(crate) struct SecretsRecord(Arc<Trail>);

impl SecretsRecord {
    pub(crate) fn of(trail: &Arc<Trail>) -> Arc<dyn Record> {
        Arc::new(Self(Arc::clone(trail)))
    }
}

impl Record for SecretsRecord {
    fn put(&self, event: &Event, now_ms: u64) -> Result<(), String> {
        let Entry { lease, grant, agent, connector, provider, reference, access, revocable, bound, until_ms, .. } =
            event.entry.as_ref();
        let mut record = json!({
            "event": event.event, "connector": connector, "lease": lease, "provider": provider, "reference": reference,
        });
        let mut with = |key: &str, value: serde_json::Value| {
            record.as_object_mut().map(|record| record.insert(key.to_owned(), value));
        };
        match grant {
            Some(grant) => {
                with("grant", json!(grant));
                with("agent", json!(agent));
            }
            None => with("purpose", json!("discovery")),
        }
        // What stands for ever is lent for the grant's time, and that is on record with the call.
        if event.event != "returned" {
            with("access", json!(access.as_str()));
            with("revocable", json!(revocable));
            with("bound", json!(bound.as_str()));
            with("expires_at_ms", json!(until_ms));
        }
        if let Some(why) = &event.why {
            with("why", json!(why));
        }
        self.0.append(Stream::Secrets, now_ms, &record).map(drop).map_err(|lost| lost.to_string())
    }
}

impl Runtime {
    /// Takes a lease back at once: nothing goes on with it. The children, or sessions, that have it end, calls that are under way with it
    /// hear why, and whoever needs it next is lent another one. Whether it was lent.
    pub(crate) fn take_back(&self, lease: &str, why: &str) -> bool {
        let listed = self.broker.leases().into_iter().find(|listed| listed.entry.lease == lease);
        // First: what is begun from here on sees it.
        let was_lent = self.broker.take_back(lease, why);
        if let Some(entry) = listed.map(|listed| listed.entry).filter(|_| was_lent)
            && let Some(grant) = &entry.grant
        {
            self.connectors.take_back(&entry.connector, grant);
        }
        was_lent
    }
}

/// What is lent, and how often it was, in the text format of Prometheus. Nothing in it names a connector, an agent or a task.
pub(crate) fn metrics(runtime: &Runtime) -> String {
    let mut text = String::new();
    let mut says = |name: &str, kind: &str, help: &str, rows: &[(String, u64)]| {
        // Writing to a string can't fail.
        let _infallible = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in rows {
            let _infallible = writeln!(text, "{name}{labels} {value}");
        }
    };
    let accesses = runtime.recorder.secret_accesses().into_iter().map(|((provider, event), count)| {
        (format!("{{bailiwick_secret_provider=\"{provider}\",bailiwick_outcome=\"{event}\"}}"), count)
    });
    let help = "Accesses to secrets since the start, by provider and what each was.";
    says("bailiwick_secret_accesses_total", "counter", help, &accesses.collect::<Vec<_>>());
    let mut states: BTreeMap<&str, u64> = ["lent", "ending", "overdue", "lapsing"].map(|state| (state, 0)).into();
    for lease in leases(runtime) {
        if let Some(count) = states.get_mut(lease.state.as_str()) {
            *count += 1;
        }
    }
    let states: Vec<_> =
        states.into_iter().map(|(state, count)| (format!("{{bailiwick_lease_state=\"{state}\"}}"), count)).collect();
    says("bailiwick_secret_leases", "gauge", "Leases that are not over, by how they stand.", &states);
    text
}
