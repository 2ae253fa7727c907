//! From the gateway to what is shown: the same values as on the admin socket, in the shape of pages.

mod approval;
mod credentials;
mod inbox;
mod registry;
mod reviews;
mod running;

use bailiwick_console::{Action, Viewer, views::Notice};
use bailiwick_pipeline::ports::Worlds as _;
use bailiwick_policy::Band;
use bailiwick_schemas::names::ConnectorId;
use bailiwick_store::Approval;
use bailiwick_trail::Stream;

pub(super) use approval::approval;
pub(super) use credentials::{credentials, lease};
pub(super) use inbox::{aged, inbox_row};
pub(super) use registry::{agents, connector, connectors, grant, grants};
pub(super) use reviews::review_row;
pub(super) use running::{detections, halts, live_calls};

use super::desk::marks_of;
use crate::runtime::Runtime;

/// What everybody should know.
pub(super) fn notices(runtime: &Runtime) -> Vec<Notice> {
    let mut all = Vec::new();
    let mut say = |grave, text: String| all.push(Notice { grave, text });
    if runtime.recorder.trail().is_lost() {
        say(true, "Nothing can be put on record any more, so every call is refused. The gateway's log says why.".to_owned());
    }
    if let Some(why) = runtime.store.lost() {
        say(true, format!("Nothing can be stored any more: {why}"));
    }
    let halts = runtime.halts.list();
    if halts.iter().any(|(halt, _)| halt.to_string() == "everything") {
        say(true, "Everything is frozen: no call goes out until somebody thaws it.".to_owned());
    } else if !halts.is_empty() {
        let what: Vec<String> = halts.iter().map(|(halt, _)| halt.to_string()).collect();
        say(false, format!("Frozen: {}", what.join(", ")));
    }
    if runtime.config().approvals.allow_same_user {
        say(
            false,
            "Whoever runs an agent may approve its calls here (approvals.allow_same_user): duties are not separate.".to_owned(),
        );
    }
    all
}

/// What is looked at for changes besides approvals, and a mark of each that is another one when it changed. All of it are counters: nothing
/// is listed where none moved.
pub(super) fn marks(runtime: &Runtime) -> [(&'static str, u64); 7] {
    // Each call writes here when it begins and when it has ended.
    let calls = runtime.recorder.trail().last_seq(Stream::Calls);
    let (halts, grants) = (runtime.halts.changes(), runtime.grants.changes());
    let connectors = marks_of([runtime.worlds.now().epoch, runtime.connectors.stirred(), calls]);
    [
        ("halts", halts),
        ("connectors", connectors),
        ("credentials", marks_of([runtime.broker.changes(), grants, calls])),
        ("detections", marks_of([connectors, runtime.recorder.trail().last_seq(Stream::Detections)])),
        ("grants", marks_of([grants, calls])),
        ("agents", marks_of([runtime.agents.changes(), grants])),
        ("calls", calls),
    ]
}

/// Whether this waits for them: an approver has those that they may decide before them, and who sees everything has all.
pub(crate) fn is_theirs(viewer: &Viewer, approval: &Approval) -> bool {
    seen_by(viewer)(&approval.binding.connector, approval.band)
}

/// The same, by what it is judged by: the connector and the band.
pub(super) fn seen_by(viewer: &Viewer) -> impl Fn(&ConnectorId, Band) -> bool {
    let sees_all = viewer.may(Action::SeeRegistry).is_ok();
    move |connector, band| sees_all || viewer.may(Action::Decide { connector: connector.as_str(), band }).is_ok()
}
