//! The neighbour: benign calls all through an attack, and how long they took.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::task::JoinHandle;

use super::Agent;

/// What no benign call may take beside an attack, on any machine. The strict measure is `tests/abuse/neighbour`.
const PATIENCE: Duration = Duration::from_secs(5);

/// An agent that calls `s1__echo` without a pause worth mentioning.
#[derive(Debug)]
pub struct Neighbour {
    is_over: Arc<AtomicBool>,
    calls: JoinHandle<Vec<Duration>>,
}

impl Neighbour {
    /// Begins to call.
    pub fn of(agent: &Agent) -> Self {
        Self::every(agent, Duration::from_millis(20))
    }

    /// The same with a pause of this length between its calls.
    pub fn every(agent: &Agent, pause: Duration) -> Self {
        let (agent, is_over) = (agent.clone(), Arc::new(AtomicBool::new(false)));
        let over = Arc::clone(&is_over);
        let calls = tokio::spawn(async move {
            let mut took = Vec::new();
            // At least some, however short the attack was.
            while took.len() < 10 || !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                let reply = agent.call("s1__echo", &json!({"text": "beside"})).await;
                assert!(reply.words().contains("beside"), "{}", reply.text);
                took.push(began.elapsed());
                tokio::time::sleep(pause).await;
            }
            took
        });
        Self { is_over, calls }
    }

    /// Ends, and fails if its calls were not all answered, and nearly all of them soon.
    pub async fn was_served(self) {
        self.is_over.store(true, Ordering::Relaxed);
        let mut took = self.calls.await.unwrap();
        took.sort();
        // One in twenty may have met a moment in which the machine did something else.
        let most = took[(took.len() - 1) * 95 / 100];
        assert!(most < PATIENCE, "of {} benign calls, one in twenty took {most:?} or more", took.len());
    }
}
