//! Counts what the oracle is to find, call by call.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Agent, Reply, Stage};

/// What agent `a` and others attempted, and how much of it must have reached the hostile server.
#[derive(Debug, Default)]
pub struct Tally {
    /// Calls that were made.
    pub attempted: usize,
    /// Calls that were let through.
    pub allowed: usize,
    /// Calls that were let through and may have reached the hostile server, well or badly answered.
    pub sent: usize,
}

impl Tally {
    /// Calls a tool of the hostile server, and counts it as the agent was told.
    pub async fn call(&mut self, agent: &Agent, tool: &str, arguments: &Value) -> Reply {
        let reply = agent.call(tool, arguments).await;
        self.count(&reply);
        reply
    }

    /// Counts a call that was made otherwise.
    pub fn count(&mut self, reply: &Reply) {
        let sent = was_sent(reply);
        self.attempted += 1;
        self.sent += usize::from(sent);
        // Let through, and then its server was gone.
        self.allowed +=
            usize::from(sent || (reply.status == 200 && reply.is_tool_error() && reply.words().starts_with("FAILED")));
    }

    /// Calls until the hostile server serves (again), as it does once its rest after a failure is over.
    pub async fn until_served(&mut self, agent: &Agent, tool: &str, arguments: &Value) -> Reply {
        let until = Instant::now() + Duration::from_mins(2);
        loop {
            let reply = self.call(agent, tool, arguments).await;
            if reply.json().get("error").is_none() && !reply.is_tool_error() {
                return reply;
            }
            assert!(Instant::now() < until, "it never comes back: {}", reply.text);
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    /// Asks the whole oracle, for exactly these calls.
    pub async fn settle(&self, stage: &mut Stage) {
        stage.oracle(self.attempted, self.allowed, self.sent).await;
    }

    /// The same, where the hostile server may have ended before it read what was sent.
    pub async fn settle_at_most(&self, stage: &mut Stage) {
        let sent = stage.evil.calls().len();
        assert!(sent <= self.sent, "the hostile server saw {sent} calls, and {} were let through", self.sent);
        stage.oracle(self.attempted, self.allowed, sent).await;
    }

    /// All that another one counted.
    pub fn add(&mut self, other: &Self) {
        self.attempted += other.attempted;
        self.allowed += other.allowed;
        self.sent += other.sent;
    }
}

/// Whether the agent is told that its call was, or may have been, executed.
fn was_sent(reply: &Reply) -> bool {
    let json = reply.json();
    if let Some(error) = json.get("error") {
        // An error of the server's own is an answer; ours have other codes.
        return reply.status == 200 && error["code"].as_i64() != Some(-32602) && error["code"].as_i64() < Some(0);
    }
    !(reply.is_tool_error() && reply.words().contains("ot executed"))
}
