//! The end of tasks by their own agents.

use std::sync::{Arc, OnceLock, Weak};

use bailiwick_pipeline::{
    ids::{AgentId, GrantId},
    ports::{Endings, Later},
};
use bailiwick_store::EndAs;
use serde_json::json;

use crate::{admin::deed::Deed, runtime::Runtime};

/// Ends grants for their agents, on record as their own doing.
#[derive(Default)]
pub(crate) struct Completing {
    /// Set once it is there: the pipeline is part of it.
    runtime: OnceLock<Weak<Runtime>>,
}

impl Completing {
    /// From here on it ends the grants of this gateway.
    pub(crate) fn of(&self, runtime: &Arc<Runtime>) {
        self.runtime.get_or_init(|| Arc::downgrade(runtime));
    }
}

impl Endings for Completing {
    fn complete<'a>(&'a self, grant: &'a GrantId, agent: &'a AgentId, reason: &'a str) -> Later<'a, Result<bool, String>> {
        Box::pin(async move {
            let runtime = self.runtime.get().and_then(Weak::upgrade).ok_or("the gateway does not serve yet")?;
            let deed = Deed::new("grant_completed", grant.as_str(), json!({"reason": reason}));
            let (of, by, id, reason) = (Arc::clone(&runtime), format!("agent:{agent}"), grant.clone(), reason.to_owned());
            let author = by.clone();
            let work = async move {
                let why = "the grant's task is done";
                Ok(of.end_grant(&id, EndAs::Completed, &author, Some(&reason), why).await?)
            };
            deed.done_by_agent(&by, &runtime, work).await.map(|ended| ended.drained).map_err(|fault| fault.message)
        })
    }
}
