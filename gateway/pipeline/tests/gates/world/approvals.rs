//! Approvals in memory: one use each, decided by the test.

use std::sync::atomic::Ordering;

use bailiwick_pipeline::{
    ids::{AgentId, ApprovalId, CallId, GrantId},
    ports::{
        ApprovalFailure, ApprovalRequest, ApprovalStands, Approvals, Binding, BodyOf, ClaimEnd, Claimed, Delegator, Later,
        Ticket, TicketState, UserWord,
    },
};
use bailiwick_schemas::canonical::Digest;
use bytes::Bytes;

use super::fakes::{Fakes, START_MS};

/// A question that was asked.
#[derive(Debug, Clone)]
pub struct Question {
    pub id: ApprovalId,
    pub binding: Digest,
    pub labels: Vec<String>,
    /// What the binding says of them.
    pub needs: Vec<String>,
    pub arguments: Bytes,
    pub tool: String,
    pub owner: String,
    pub delegators: Vec<Delegator>,
    pub state: TicketState,
    pub claimed: bool,
    pub ended: Option<ClaimEnd>,
}

impl Question {
    fn ticket(&self) -> Ticket {
        Ticket {
            id: self.id.clone(),
            code: format!("CODE-{}", self.id),
            state: self.state.clone(),
            approve_by_ms: START_MS + 600_000,
        }
    }
}

impl Fakes {
    pub fn questions(&self) -> Vec<Question> {
        self.questions.borrow().clone()
    }

    /// Decides all that is pending.
    pub fn decide(&self, state: &TicketState) {
        self.questions.send_modify(|all| {
            for question in all.iter_mut().filter(|question| question.state == TicketState::Pending) {
                question.state = state.clone();
            }
        });
    }
}

impl Approvals for Fakes {
    fn find(&self, binding: &Binding, _: u64) -> Option<Ticket> {
        self.reach("find");
        let useful = |question: &&Question| question.binding == binding.digest() && !question.claimed;
        self.questions.borrow().iter().find(useful).map(Question::ticket)
    }

    fn stands(&self, handle: &str, agent: &AgentId, grant: &GrantId, _: u64) -> Option<ApprovalStands> {
        self.reach("stands");
        let all = self.questions.borrow();
        let is_meant = |question: &&Question| handle == question.id.as_str() || handle == question.ticket().code;
        // The questions of these tests are all of this agent under this grant.
        let question = all.iter().find(is_meant).filter(|_| agent.as_str() == "bot" && grant.as_str() == "g")?;
        let ticket = question.ticket();
        let (state, reason) = match ticket.state {
            TicketState::Pending => ("pending", None),
            TicketState::Approved => ("approved", None),
            TicketState::Denied { reason } => ("denied", reason),
        };
        let until_ms = (state != "denied").then_some(ticket.approve_by_ms);
        Some(ApprovalStands { id: ticket.id, code: ticket.code, tool: question.tool.clone(), state, reason, until_ms })
    }

    fn allowance(&self, _: &Binding, _: &serde_json::Value, _: u64) -> Option<ApprovalId> {
        self.reach("allowance");
        self.allowing.lock().unwrap().as_ref().filter(|(_, uses)| *uses > 0).map(|(id, _)| id.clone())
    }

    fn claim_allowance(&self, id: &ApprovalId, _: &CallId, _: u64) -> bool {
        self.reach("claim_allowance");
        let mut allowing = self.allowing.lock().unwrap();
        let left = allowing.as_mut().filter(|(parent, uses)| parent == id && *uses > 0);
        left.map(|(_, uses)| *uses -= 1).is_some()
    }

    fn left(&self, id: &ApprovalId, _: u64) {
        self.reach("left");
        assert!(self.questions.borrow().iter().any(|question| question.id == *id));
    }

    fn request<'a>(&'a self, request: ApprovalRequest<'a>) -> Later<'a, Result<Ticket, ApprovalFailure>> {
        Box::pin(async move {
            self.pass("request").await;
            self.asking.lock().unwrap().clone()?;
            let binding = request.binding.digest();
            let mut ticket = None;
            self.questions.send_modify(|all| {
                let open = all.iter().find(|question| question.binding == binding && question.state == TicketState::Pending);
                let question = open.cloned().unwrap_or_else(|| {
                    let question = Question {
                        id: format!("apr-{}", all.len() + 1).parse().unwrap(),
                        binding,
                        labels: request.requirements.iter().map(|need| need.label.to_string()).collect(),
                        needs: request.binding.needs.iter().cloned().collect(),
                        arguments: Bytes::copy_from_slice(request.arguments),
                        tool: request.tool.name.to_string(),
                        owner: request.owner.to_owned(),
                        delegators: request.delegators.to_vec(),
                        state: TicketState::Pending,
                        claimed: false,
                        ended: None,
                    };
                    all.push(question.clone());
                    question
                });
                ticket = Some(question.ticket());
            });
            Ok(ticket.unwrap())
        })
    }

    fn arguments(&self, id: &ApprovalId) -> Result<Bytes, ApprovalFailure> {
        self.reach("arguments");
        let questions = self.questions.borrow();
        let question = questions.iter().find(|question| question.id == *id);
        question.map(|question| question.arguments.clone()).ok_or_else(|| ApprovalFailure::Lost("sealed".to_owned()))
    }

    fn claim(&self, id: &ApprovalId, _: u64) -> bool {
        self.reach("claim");
        self.questions.send_if_modified(|all| {
            let free =
                |question: &&mut Question| question.id == *id && question.state == TicketState::Approved && !question.claimed;
            all.iter_mut().find(free).map(|question| question.claimed = true).is_some()
        })
    }

    fn keep_body<'a>(&'a self, BodyOf { part, .. }: BodyOf<'a>, body: Bytes, _: u64) -> Later<'a, Result<(), String>> {
        self.reach("keep_body");
        let keeps = self.keeps.lock().unwrap().contains(&part);
        if keeps {
            self.kept.lock().unwrap().push((part, String::from_utf8_lossy(&body).into_owned()));
        }
        Box::pin(std::future::ready(keeps.then_some(()).ok_or_else(|| "full".to_owned())))
    }

    fn keep_claim(&self, _: &ApprovalId, _: Claimed, _: u64) {
        self.reach("keep_claim");
    }

    fn finish(&self, id: &ApprovalId, end: ClaimEnd) {
        self.reach("finish");
        self.questions.send_modify(|all| {
            if let Some(question) = all.iter_mut().find(|question| question.id == *id) {
                assert_eq!(question.ended.replace(end), None, "a claim ends once");
            }
        });
    }

    fn decided<'a>(&'a self, id: &'a ApprovalId) -> Later<'a, ()> {
        Box::pin(async move {
            self.pass("decided").await;
            let settled =
                |all: &Vec<Question>| all.iter().all(|question| question.id != *id || question.state != TicketState::Pending);
            self.questions.subscribe().wait_for(settled).await.unwrap();
        })
    }

    fn waiting(&self, id: &ApprovalId) -> usize {
        let is_pending = |question: &Question| question.id == *id && question.state == TicketState::Pending;
        if self.questions.borrow().iter().any(is_pending) { self.questions.receiver_count() } else { 0 }
    }

    fn is_for_user(&self, id: &ApprovalId) -> bool {
        self.for_user.load(Ordering::SeqCst) && self.questions.borrow().iter().any(|question| question.id == *id)
    }

    fn confirm_by_user<'a>(&'a self, id: &'a ApprovalId, word: UserWord, _: u64) -> Later<'a, bool> {
        Box::pin(async move {
            self.pass("confirm").await;
            if !self.for_user.load(Ordering::SeqCst) {
                return false;
            }
            let state = match word {
                UserWord::Approves => TicketState::Approved,
                UserWord::Refuses => TicketState::Denied { reason: None },
            };
            self.questions.send_if_modified(|all| {
                let own = all.iter_mut().find(|question| question.id == *id && question.state == TicketState::Pending);
                own.map(|question| question.state = state).is_some()
            })
        })
    }

    fn take_back(&self, id: &ApprovalId, _: u64) {
        self.reach("withdraw");
        self.questions.send_modify(|all| all.retain(|question| question.id != *id));
    }

    fn seal(&self, about: &[u8], plain: &[u8]) -> Option<Bytes> {
        self.reach("seal");
        // Another one each time, and of no use to whoever changes it.
        let nonce = u32::try_from(self.count("seal")).unwrap().to_be_bytes();
        Some([&nonce, mark(about, plain).as_bytes().as_slice(), plain].concat().into())
    }

    fn unseal(&self, about: &[u8], sealed: &[u8]) -> Option<Bytes> {
        let (_, rest) = sealed.split_at_checked(4)?;
        let (given, plain) = rest.split_at_checked(32)?;
        (given == mark(about, plain).as_bytes()).then(|| Bytes::copy_from_slice(plain))
    }
}

fn mark(about: &[u8], plain: &[u8]) -> Digest {
    Digest::of(&[&about.len().to_be_bytes(), about, plain].concat())
}
