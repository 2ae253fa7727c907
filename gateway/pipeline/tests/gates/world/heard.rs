//! What an agent heard, what is on record about it, and what must hold of both.

use std::sync::Arc;

use bailiwick_pipeline::{Answer, Body, records::Outcome};
use serde_json::Value;

use super::Fakes;

/// An answer, with the call it belongs to.
pub struct Heard {
    pub call: String,
    pub answer: Answer,
    fakes: Arc<Fakes>,
}

/// The answer as plain facts.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    Result(String),
    ToolError(String, Option<Value>),
    Error(i64, String, Option<Value>, u16),
    Tools(Vec<String>),
    Offers(String),
}

impl Heard {
    pub fn new(call: String, answer: Answer, fakes: Arc<Fakes>) -> Self {
        Self { call, answer, fakes }
    }

    pub fn told(&self) -> Told {
        match self.answer.body.clone() {
            Body::Result(result) | Body::Content(result) | Body::Questions(result) | Body::Task(result) => {
                Told::Result(String::from_utf8(result.text().to_vec()).unwrap())
            }
            Body::Offers { items, .. } => Told::Offers(String::from_utf8(items.to_vec()).unwrap()),
            Body::ToolError { text, meta } => Told::ToolError(text, meta),
            Body::Error { code, message, data, http } => {
                Told::Error(code, message, data.map(|data| serde_json::from_slice(&data).unwrap()), http)
            }
            Body::Tools { page, .. } => {
                let listed: Vec<Value> = serde_json::from_slice(page.definitions()).unwrap();
                Told::Tools(listed.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect())
            }
        }
    }

    pub fn text(&self) -> String {
        match self.told() {
            Told::Result(text) | Told::Offers(text) | Told::ToolError(text, _) | Told::Error(_, text, ..) => text,
            Told::Tools(names) => names.join(" "),
        }
    }

    /// How often this very call went out.
    pub fn sent(&self) -> usize {
        self.fakes.sent.lock().unwrap().iter().filter(|sent| sent.call == self.call).count()
    }

    pub fn decisions(&self) -> Vec<Value> {
        self.fakes.records("decisions", &self.call)
    }

    fn of_calls(&self, event: &str) -> Vec<Value> {
        self.fakes.records("calls", &self.call).into_iter().filter(|record| record["event"] == event).collect()
    }

    pub fn intents(&self) -> Vec<Value> {
        self.of_calls("intent")
    }

    pub fn secrets(&self) -> Vec<String> {
        self.fakes.records("secrets", &self.call).iter().map(|record| record["event"].as_str().unwrap().to_owned()).collect()
    }

    /// The one decision. INVARIANT: one for each request.
    pub fn decision(&self) -> Value {
        let decided: Vec<Value> = self.decisions().into_iter().filter(|record| record["event"] == "decided").collect();
        assert_eq!(decided.len(), 1, "{decided:?}");
        decided[0].clone()
    }

    /// The one outcome. INVARIANT: one for each request, the same as the agent heard, after the decision.
    pub fn outcome(&self) -> Value {
        let outcomes = self.of_calls("outcome");
        assert_eq!(outcomes.len(), 1, "{outcomes:?}");
        assert_eq!(outcomes[0]["outcome"], self.answer.outcome.as_str());
        outcomes[0].clone()
    }

    /// It was allowed, put on record, sent once, and answered.
    #[track_caller]
    pub fn ran(&self) -> &Self {
        assert_eq!(self.answer.outcome, Outcome::Success, "{:?}", self.told());
        assert_eq!(self.decision()["effect"], "allow");
        assert_eq!((self.intents().len(), self.sent()), (1, 1));
        self.outcome();
        self
    }

    /// It was stopped before the commit by this gate, for this reason, and nothing was sent.
    #[track_caller]
    pub fn refused(&self, gate: &str, outcome: Outcome, reason: &str) -> &Self {
        let decision = self.decision();
        assert_eq!(self.answer.outcome, outcome, "{:?}", self.told());
        assert_eq!((&decision["gate"], &decision["reason"]), (&gate.into(), &reason.into()), "{decision}");
        assert_ne!(decision["effect"], "allow");
        assert_eq!(self.outcome()["reason"], reason);
        assert_eq!((self.intents().len(), self.sent()), (0, 0));
        self
    }

    /// It was on record and then failed.
    #[track_caller]
    pub fn failed(&self, outcome: Outcome, reason: &str, sent: usize) -> &Self {
        assert_eq!(self.answer.outcome, outcome, "{:?}", self.told());
        assert_eq!(self.decision()["effect"], "allow");
        assert_eq!(self.outcome()["reason"], reason);
        assert_eq!((self.intents().len(), self.sent()), (1, sent));
        self
    }
}
