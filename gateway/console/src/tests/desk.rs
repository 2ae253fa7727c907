//! A desk with a few questions on it, and nothing else.

use std::collections::BTreeSet;

use bailiwick_policy::Band;
use bailiwick_schemas::canonical::Digest;
use tokio::sync::watch;

use crate::{
    Desk, House as _, News, Refused, Signature, Soon, Viewer, Wanted,
    pages::{Decidable, Together},
    views::{
        AgentRow, ApprovalView, Arguments, AuditPage, AuditQuery, CallView, Choices, ConnectorRow, CredentialsView, Detection,
        Frame, GrantRow, GrantView, HaltRow, Inbox, LeaseRow, LiveCall, ReviewRow,
    },
};

thread_local! {
    /// How often more was read around a question than it says itself.
    pub(super) static LOOKED_AROUND: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Shows the questions of a [`super::TestHouse`].
pub(super) struct Questions;

/// The digest of what is shown of a question.
pub(super) fn shown(approval: &str) -> Digest {
    Decidable::of(&view(approval)).view
}

/// The same of several that are shown together.
pub(super) fn shown_together(approvals: &[&str]) -> Digest {
    let views: Vec<_> = approvals.iter().map(|id| view(id)).collect();
    Together::of(&views).view
}

pub(super) fn view(approval: &str) -> ApprovalView {
    ApprovalView {
        id: approval.to_owned(),
        code: "K7-42".to_owned(),
        state: "pending".to_owned(),
        settled: None,
        tool: "tickets__refund".to_owned(),
        name: "refund".to_owned(),
        connector: "tickets".to_owned(),
        place: "a program".to_owned(),
        kind: "write".to_owned(),
        band: Band::High,
        asked: Vec::new(),
        agent: "demo".to_owned(),
        grant: "triage".to_owned(),
        purpose: "triage".to_owned(),
        purpose_is_claimed: false,
        owner: "o@example.com".to_owned(),
        delegators: Vec::new(),
        flow: None,
        asked_at_ms: 0,
        approve_by_ms: 0,
        waiting: true,
        arguments: Arguments::Kept { text: format!("{{\"id\":\"{approval}\"}}"), masked: BTreeSet::new() },
        args_digest: String::new(),
        binding_digest: super::binding(approval).to_string(),
        earlier: None,
        likewise: None,
        definition: None,
        claim: None,
        ahead: Vec::new(),
        said: Vec::new(),
        quorum: 1,
        siblings: 0,
        broken: None,
        choices: Choices::default(),
    }
}

impl Desk for Questions {
    fn frame(&self, _: &Viewer) -> Frame {
        Frame::default()
    }

    fn inbox(&self, _: &Viewer, _: usize) -> Inbox {
        Inbox::default()
    }

    fn approval<'a>(&'a self, viewer: &'a Viewer, handle: &'a str) -> Soon<'a, Option<ApprovalView>> {
        LOOKED_AROUND.set(LOOKED_AROUND.get() + 1);
        let view = self.one_of_many(viewer, handle);
        Box::pin(async move { view })
    }

    fn one_of_many(&self, _: &Viewer, handle: &str) -> Option<ApprovalView> {
        super::TestHouse::default().question(handle).is_some().then(|| view(handle))
    }

    fn like(&self, _: &Viewer, handle: &str, _: usize) -> Vec<String> {
        vec![handle.to_owned()]
    }

    fn reviews(&self, _: &Viewer) -> Vec<ReviewRow> {
        Vec::new()
    }

    fn agents(&self) -> Vec<AgentRow> {
        Vec::new()
    }

    fn grants(&self, _: bool) -> Vec<GrantRow> {
        Vec::new()
    }

    fn grant(&self, _: &str) -> Option<GrantView> {
        None
    }

    fn connectors(&self) -> Vec<ConnectorRow> {
        Vec::new()
    }

    fn connector(&self, _: &str) -> Option<ConnectorRow> {
        None
    }

    fn credentials(&self) -> CredentialsView {
        CredentialsView::default()
    }

    fn lease(&self, _: &str) -> Option<LeaseRow> {
        None
    }

    fn live_calls(&self) -> Vec<LiveCall> {
        Vec::new()
    }

    fn halts(&self) -> Vec<HaltRow> {
        Vec::new()
    }

    fn detections<'a>(&'a self, _: &'a Viewer) -> Soon<'a, Vec<Detection>> {
        Box::pin(async { Vec::new() })
    }

    fn audit<'a>(&'a self, _: &'a AuditQuery) -> Soon<'a, AuditPage> {
        Box::pin(async { AuditPage::default() })
    }

    fn call<'a>(&'a self, _: &'a str) -> Soon<'a, Option<CallView>> {
        Box::pin(async { None })
    }

    fn change(&self, _: Wanted, _: Signature) -> Soon<'_, Result<(), Refused>> {
        Box::pin(async { Err(Refused::unknown()) })
    }

    fn news(&self, after: u64) -> News {
        News::Everything(after)
    }

    fn told(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
}
