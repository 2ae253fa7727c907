//! The processes that hold a grant by a handle: whose end is the end of the task. What becomes of handles is on record here, and whoever
//! shows one that is another's raises an alarm.

use std::sync::{Arc, Weak};

use bailiwick_pipeline::{ids::GrantId, principal::Process};
use bailiwick_store::{EndAs, GrantEntry, HandleEvent};
use bailiwick_trail::Stream;
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::{admin::Deed, processes, runtime::Runtime};

/// Why a grant ended whose agent's stream did.
pub(crate) const STREAM_ENDED: &str = "the stdio stream of its agent ended";

/// Watches over the handles of this gateway, as long as there is one.
pub(crate) fn watch(runtime: &Arc<Runtime>, mut events: UnboundedReceiver<HandleEvent>) {
    let runtime = Arc::downgrade(runtime);
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            let Some(of) = runtime.upgrade() else { return };
            match event {
                HandleEvent::Bound { grant, revision, process } => {
                    note(&of, &json!({"event": "handle_bound", "grant": grant, "holder": shown(process)}));
                    tokio::spawn(follow(Weak::clone(&runtime), grant, revision, process));
                }
                HandleEvent::Misused { grant, holder, by, times } => {
                    tracing::warn!(%grant, %holder, %by, times, "a handle was shown by a process that does not hold it: somebody else has it");
                    let (holder, by) = (shown(holder), shown(by));
                    note(
                        &of,
                        &json!({"event": "handle_misused", "grant": grant, "holder": holder, "shown_by": by, "times": times}),
                    );
                }
            }
        }
    });
}

fn shown(process: Process) -> Value {
    json!({"uid": process.uid, "pid": process.pid, "started": process.started})
}

fn note(runtime: &Runtime, record: &Value) {
    if let Err(lost) = runtime.recorder.trail().append(Stream::Admin, runtime.clock.now_ms(), record) {
        tracing::error!(%lost, "what became of a handle could not be put on record");
    }
}

/// Ends the grant when the process has ended that holds it.
async fn follow(runtime: Weak<Runtime>, grant: GrantId, revision: u64, process: Process) {
    processes::ended(process).await;
    let Some(runtime) = runtime.upgrade() else { return };
    // Most have told it themselves.
    let is_left = |entry: &GrantEntry| entry.grant.terms().revision == revision && entry.ending.is_none();
    let Some(left) = runtime.grants.entry(&grant).filter(is_left) else { return };
    let by = format!("agent:{}", left.grant.terms().agent);
    let reason = format!("{STREAM_ENDED}: {process} is gone");
    let deed = Deed::new("grant_completed", grant.as_str(), json!({"reason": reason}));
    let (of, id, author) = (Arc::clone(&runtime), grant.clone(), by.clone());
    let work = async move { Ok(of.end_grant(&id, EndAs::Completed, &author, Some(&reason), "the grant's task is done").await?) };
    if let Err(fault) = deed.done_by_agent(&by, &runtime, work).await {
        tracing::error!(%grant, %process, fault = fault.message, "the end of a grant whose process is gone could not be recorded or stored");
    }
}
