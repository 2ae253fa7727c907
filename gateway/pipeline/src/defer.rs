//! Calls whose agent need not wait for a person: it is told of a task, and the very same call goes on by itself.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use crate::{
    answer::Answer,
    gates,
    handle::Gateway,
    kept::Handled,
    ports::{Ports, Ticket},
    received::{Asked, Received},
    records::TaskRecord,
    tasks::{Begun, Of, State, Task},
    way::Way,
};

/// How long an answer is to be had after the person had to decide, and the call had to be made.
const KEPT: Duration = Duration::from_mins(10);
/// The store may say a little later than the clock that a question is over.
const SLACK: Duration = Duration::from_secs(5);

/// How the agent of a call is told that it need not wait.
pub(crate) struct Deferral {
    told: Mutex<Option<oneshot::Sender<Answer>>>,
    task: OnceLock<Arc<Task>>,
}

impl Gateway {
    /// Handles a request as [`Gateway::handle`] does. One that waits for a person, and whose agent takes tasks, is answered with one at once:
    /// the call goes on by itself, and has its one outcome on record when it ends. Dropping the future before that counts as the caller
    /// going away.
    pub async fn handle_or_defer(&self, received: Received) -> Handled {
        if received.may_be_task() {
            // Apart, as it is rare: what every call waits in stays small.
            return Box::pin(self.defer(received)).await;
        }
        self.handle_owing(&received, None).await
    }

    async fn defer(&self, received: Received) -> Handled {
        let (tell, told) = oneshot::channel();
        let deferral = Arc::new(Deferral { told: Mutex::new(Some(tell)), task: OnceLock::new() });
        let (gateway, own, ports) = (self.clone(), Arc::clone(&deferral), self.ports().clone());
        let mut unheard = Unheard { deferral: &deferral, ports: &ports, is_heard: false };
        let mut work = Box::pin(async move { gateway.attend(&received, None, Some(&own)).await });
        let early = tokio::select! {
            biased;
            answer = &mut work => return answer,
            Ok(early) = told => early,
        };
        let Some(task) = deferral.task().cloned() else { return work.await };
        unheard.is_heard = true;
        drop(unheard);
        tokio::spawn(async move {
            let gone = task.gone();
            tokio::select! {
                biased;
                // Dropped, the call is on record as cancelled.
                () = gone.cancelled() => {}
                answer = work => ports.tasks.end(&task, answer.answer, ports.clock.now_ms()),
            }
        });
        Handled { answer: early, effect: None }
    }
}

/// Forgets a task that its agent was never told of: it went away before, or was answered otherwise.
struct Unheard<'d> {
    deferral: &'d Deferral,
    ports: &'d Ports,
    is_heard: bool,
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        if let Some(task) = self.deferral.task().filter(|_| !self.is_heard) {
            self.ports.tasks.forget(task.handle());
        }
    }
}

impl Deferral {
    /// The task that the call has become, once it has.
    pub(crate) fn task(&self) -> Option<&Arc<Task>> {
        self.task.get()
    }

    /// Tells the agent that a person is asked, and until when the call waits for that. None where there is no room for a task: then the agent
    /// waits itself.
    pub(crate) fn begin(&self, ticket: &Ticket, way: &mut Way<'_>, ports: &Ports) -> Option<Instant> {
        let now_ms = ports.clock.now_ms();
        let left = Duration::from_millis(ticket.approve_by_ms.saturating_sub(now_ms));
        let until = Instant::now() + left + SLACK;
        if self.task.get().is_some() {
            return Some(until);
        }
        let (grant, tool) = (way.seen.grant.as_ref()?, way.seen.tool.as_ref()?);
        let Asked::Call { arguments, .. } = way.received().asked() else { return None };
        let words = format!("Waits for a person to approve {}: {} in `bailiwick approvals list`", tool.name, ticket.code);
        let kept = left + tool.connector.call_timeout + KEPT;
        let begun = Begun {
            of: Of::this(grant, tool),
            call: way.received().call_id().clone(),
            arguments: arguments.clone(),
            grant: Arc::clone(grant),
            state: State::Waiting(words),
            ttl_ms: Some(u64::try_from(kept.as_millis()).unwrap_or(u64::MAX)),
        };
        let task = ports.tasks.open(begun, None, now_ms, ports.clock.random()).ok()?;
        let answer = gates::own_begun(&task)?;
        let tell = self.told.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        way.seen.task = Some(TaskRecord { of: task.call.clone(), status: None });
        // Set first: whoever hears the answer finds the task.
        let _first = self.task.set(task);
        let _gone = tell.send(answer);
        Some(until)
    }
}

impl fmt::Debug for Deferral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deferral").field("task", &self.task.get()).finish_non_exhaustive()
    }
}
