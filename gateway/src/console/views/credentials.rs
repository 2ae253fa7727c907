//! What connectors were lent.

use bailiwick_console::views::{CredentialsView, LeaseRow, StandingRow};

use crate::{
    admin::{api, credentials as admin},
    runtime::Runtime,
};

pub(in crate::console) fn credentials(runtime: &Runtime) -> CredentialsView {
    let standing = |view: api::StandingView| StandingRow {
        connector: view.id,
        provider: view.provider,
        reference: view.reference,
        since_ms: view.since_ms,
        old: view.old,
    };
    CredentialsView {
        leases: admin::leases(runtime).into_iter().map(row).collect(),
        standing: admin::standing_of(runtime).into_iter().map(standing).collect(),
        ended: admin::ended(runtime).into_iter().map(row).collect(),
    }
}

pub(in crate::console) fn lease(runtime: &Runtime, id: &str) -> Option<LeaseRow> {
    admin::known(id, runtime).ok().map(row)
}

fn row(view: api::LeaseView) -> LeaseRow {
    LeaseRow {
        id: view.id,
        state: view.state,
        connector: view.connector,
        provider: view.provider,
        reference: view.reference,
        access: view.access,
        grant: view.grant,
        task: view.task,
        owner: view.owner,
        agent: view.agent,
        standing: view.standing,
        revocable: view.revocable,
        uses: view.uses,
        since_ms: view.since_ms,
        until_ms: view.until_ms,
        why: view.why,
        tries: view.tries,
        fault: view.fault,
        next_ms: view.next_ms,
        how: view.how,
        ended_ms: view.ended_ms,
    }
}
