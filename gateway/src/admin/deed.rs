//! Changes by operators and agents, on record: what is about to be done before it is, and then what came of it.

use std::sync::Arc;

use bailiwick_pipeline::ports::Clock;
use bailiwick_trail::Stream;
use serde::Serialize;
use serde_json::Value;

use super::{access::Operator, fault::ApiFault};
use crate::runtime::Runtime;

/// Stream `admin`: somebody changes something. Two records of one `change`: before, and after.
#[derive(Debug, Serialize)]
pub struct AdminRecord<'a> {
    /// What is changed, such as `grant_revoked`.
    pub event: &'a str,
    /// Links the two records.
    pub change: &'a str,
    /// By whom.
    pub by: &'a str,
    /// Their user id, of operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// About which agent, grant, connector or approval.
    pub about: &'a str,
    /// `begun`, `done` or `refused`.
    pub result: Stage,
    /// Why not, where it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<&'a str>,
    /// The terms. Never a secret.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub with: &'a Value,
}

/// How far a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It is about to be made.
    Begun,
    /// It is made.
    Done,
    /// It was not made.
    Refused,
}

/// Links the records of one change.
pub fn change_id(clock: &dyn Clock) -> String {
    format!("{:032x}", u128::from_be_bytes(clock.random()))
}

/// A change that is wanted.
#[derive(Debug)]
pub(crate) struct Deed {
    event: &'static str,
    about: String,
    with: Value,
}

impl Deed {
    /// This, about that.
    pub(crate) fn new(event: &'static str, about: &str, with: Value) -> Self {
        Self { event, about: about.chars().take(80).collect(), with }
    }

    /// Puts it on record, does it, and puts on record what came of it. It is seen through even if whoever asked goes away.
    pub(super) async fn done_by<T, F>(self, operator: &Operator, runtime: &Arc<Runtime>, work: F) -> Result<T, ApiFault>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ApiFault>> + Send + 'static,
    {
        self.done(operator.name().to_owned(), Some(operator.uid()), runtime, work).await
    }

    /// The same, where an agent does it; `by` is `agent:ID`.
    pub(crate) async fn done_by_agent<T, F>(self, by: &str, runtime: &Arc<Runtime>, work: F) -> Result<T, ApiFault>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ApiFault>> + Send + 'static,
    {
        self.done(by.to_owned(), None, runtime, work).await
    }

    /// The same, where a person at the console does it and has signed it; `by` is `person:ID`.
    pub(crate) async fn done_by_person<T, F>(self, by: &str, runtime: &Arc<Runtime>, work: F) -> Result<T, ApiFault>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ApiFault>> + Send + 'static,
    {
        self.done(by.to_owned(), None, runtime, work).await
    }

    async fn done<T, F>(self, by: String, uid: Option<u32>, runtime: &Arc<Runtime>, work: F) -> Result<T, ApiFault>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ApiFault>> + Send + 'static,
    {
        let runtime = Arc::clone(runtime);
        let change = change_id(runtime.clock.as_ref());
        let task = tokio::spawn(async move {
            let trail = runtime.recorder.trail();
            let write = |result, why: Option<&str>| {
                let Self { event, about, with } = &self;
                let record = AdminRecord { event, change: &change, by: &by, uid, about, result, why, with };
                trail.append(Stream::Admin, runtime.clock.now_ms(), &record)
            };
            let lost = |why: &dyn std::fmt::Display| ApiFault::unavailable(format!("it can't be put on record: {why}"));
            let begun = write(Stage::Begun, None)
                .map_err(|fault| lost(&fault).help("nothing was changed; nothing can be, until that is mended"))?;
            trail
                .synced(begun)
                .await
                .map_err(|fault| lost(&fault).help("nothing was changed; nothing can be, until that is mended"))?;
            let done = work.await;
            let (result, why) = match &done {
                Ok(_) => (Stage::Done, None),
                Err(fault) => (Stage::Refused, Some(fault.message.as_str())),
            };
            let noted = write(result, why);
            match (done, noted) {
                (Ok(_), Err(fault)) => Err(lost(&fault).help("it was done nevertheless: the record says that it was begun")),
                (done, _) => done,
            }
        });
        task.await.unwrap_or_else(|_| Err(ApiFault::unavailable("it failed: the gateway's log says why")))
    }
}
