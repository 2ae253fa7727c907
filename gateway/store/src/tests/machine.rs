//! The machine of states against a model of it: whatever comes in whatever order, with crashes in between, both say the same.

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_pipeline::{
    ids::{ApprovalId, CallId},
    ports::{Approvals as _, Binding, ClaimEnd, Claimed, TicketState},
};
use bailiwick_policy::{Band, Requirement};
use bailiwick_schemas::canonical::digest;
use proptest::prelude::{Just, Strategy, prop, prop_oneof, proptest};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{HOUR, MINUTE, NOW, agents, approver, ask_of, binding, crashed, folder, open, requirement};
use crate::{AllowanceWanted, ApprovalState, Decision, LiveApprovals, Settings, Store, Which};

/// What can happen. Numbers choose among what there is.
#[derive(Debug, Clone, Copy)]
enum Step {
    Ask(usize),
    Approve(usize, u32),
    Allow(usize, u32),
    Deny(usize, u32),
    Claim(usize),
    /// The gateway ends before the intent is on record.
    ClaimInVain(usize),
    UseLike(usize),
    UseLikeInVain(usize),
    Finish(usize),
    Wait(u64),
    Sweep,
    Void(usize),
    Withdraw(usize),
    Revoke(usize),
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (which, person) = (0..8_usize, 0..3_u32);
    let step = prop_oneof![
        6 => which.clone().prop_map(Step::Ask),
        6 => (which.clone(), person.clone()).prop_map(|(at, who)| Step::Approve(at, who)),
        2 => (which.clone(), person.clone()).prop_map(|(at, who)| Step::Allow(at, who)),
        2 => (which.clone(), person).prop_map(|(at, who)| Step::Deny(at, who)),
        5 => which.clone().prop_map(Step::Claim),
        1 => which.clone().prop_map(Step::ClaimInVain),
        4 => which.clone().prop_map(Step::UseLike),
        1 => which.clone().prop_map(Step::UseLikeInVain),
        3 => which.clone().prop_map(Step::Finish),
        3 => (0..7 * MINUTE).prop_map(Step::Wait),
        2 => Just(Step::Sweep),
        1 => which.clone().prop_map(Step::Void),
        1 => which.clone().prop_map(Step::Withdraw),
        2 => which.prop_map(Step::Revoke),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..60)
}

/// One call of the few that there are: its agent, what it asks for, and whether its like may be allowed.
struct Call {
    agent: &'static str,
    quorum: u32,
    remember: bool,
}

const CALLS: [Call; 4] = [
    Call { agent: "bot", quorum: 1, remember: false },
    Call { agent: "bot", quorum: 2, remember: false },
    Call { agent: "bot", quorum: 1, remember: true },
    Call { agent: "other", quorum: 2, remember: false },
];

fn arguments(call: usize, free: u64) -> Value {
    json!({"call": call, "free": free})
}

fn bound(call: usize, free: u64) -> Binding {
    let grant = if CALLS[call].agent == "bot" { "triage" } else { "elsewhere" };
    Binding {
        agent: CALLS[call].agent.parse().unwrap(),
        grant: grant.parse().unwrap(),
        args_digest: digest(&arguments(call, free)),
        ..binding("")
    }
}

/// What the model knows of one approval.
#[derive(Debug, Clone)]
struct Known {
    call: usize,
    state: ApprovalState,
    said_yes: BTreeSet<u32>,
    said_no: bool,
    approve_by: u64,
    execute_by: u64,
    ended: u64,
    /// Uses left, until when, and whether that was ended.
    allowed: Option<(u32, u64, bool)>,
    ran: u32,
}

struct Machine {
    data: TempDir,
    store: Store,
    live: LiveApprovals,
    now: u64,
    known: BTreeMap<ApprovalId, Known>,
    order: Vec<ApprovalId>,
    calls: u64,
}

const WAIT: u64 = 10 * MINUTE;

fn settings() -> Settings {
    Settings {
        max_pending_per_agent: 100,
        max_asked_per_hour: 100_000,
        max_denied_in_row: u32::MAX,
        remember: true,
        keep_events: true,
        ..Settings::default()
    }
}

impl Machine {
    fn new() -> Self {
        let data = folder();
        let store = open(&data);
        let live = LiveApprovals::load(&store, agents(), settings(), &[]).unwrap();
        Self { data, store, live, now: NOW, known: BTreeMap::new(), order: Vec::new(), calls: 0 }
    }

    fn chosen(&self, at: usize) -> Option<ApprovalId> {
        // The newest are the ones that something happens to.
        self.order.iter().rev().nth(at % self.order.len().max(1)).cloned()
    }

    /// What a call finds, by the model.
    fn of_use(&self, call: usize) -> Option<(ApprovalId, u8)> {
        let rank = |known: &Known| match known.state {
            ApprovalState::Approved if self.now < known.execute_by => Some(2),
            ApprovalState::Pending if self.now < known.approve_by => Some(1),
            ApprovalState::Denied if self.now < known.ended + WAIT => Some(0),
            _ => None,
        };
        let of_call = self.known.iter().filter(|(_, known)| known.call == call);
        let ranked = of_call.filter_map(|(id, known)| rank(known).map(|rank| (id.clone(), rank)));
        ranked.max_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)))
    }

    async fn ask(&mut self, at: usize) {
        let call = at % CALLS.len();
        let Call { quorum, remember, .. } = CALLS[call];
        let (needs, said) = ([Requirement { remember, ..requirement(quorum, None) }], arguments(call, 0).to_string());
        let ticket = ask_of(&self.live, Band::Medium, &[], &bound(call, 0), (&said, &needs), self.now).await.unwrap();
        if let Some((id, rank)) = self.of_use(call) {
            let told = match ticket.state {
                TicketState::Approved => 2,
                TicketState::Pending => 1,
                TicketState::Denied { .. } => 0,
            };
            assert_eq!((ticket.id, told), (id, rank));
            return;
        }
        assert_eq!(ticket.state, TicketState::Pending);
        let known = Known {
            call,
            state: ApprovalState::Pending,
            said_yes: BTreeSet::new(),
            said_no: false,
            approve_by: self.now + WAIT,
            execute_by: 0,
            ended: 0,
            allowed: None,
            ran: 0,
        };
        assert!(self.known.insert(ticket.id.clone(), known).is_none(), "no id is given twice");
        self.order.push(ticket.id);
    }

    async fn decide(&mut self, at: usize, who: u32, decision: Decision) {
        let Some(id) = self.chosen(at) else { return };
        let (now, is_allowing) = (self.now, decision.allow.is_some());
        let is_yes = decision == (Decision { allow: decision.allow.clone(), ..Decision::approve() });
        let said = self.live.decide(id.as_str(), decision, approver(&format!("p{who}"), 3000 + who), now).await;
        let known = self.known.get_mut(&id).unwrap();
        let is_open = known.state == ApprovalState::Pending && now < known.approve_by;
        let counts = is_open && (!is_yes || !known.said_yes.contains(&who)) && (!is_allowing || CALLS[known.call].remember);
        assert_eq!(said.is_ok(), counts, "{said:?} {known:?}");
        if !counts {
            return;
        }
        if !is_yes {
            (known.state, known.said_no, known.ended) = (ApprovalState::Denied, true, now);
            return;
        }
        known.said_yes.insert(who);
        if known.said_yes.len() >= CALLS[known.call].quorum as usize {
            known.state = ApprovalState::Approved;
            known.execute_by = now + WAIT;
            known.allowed = is_allowing.then_some((2, now + 15 * MINUTE, false));
        }
    }

    fn claim(&mut self, at: usize) {
        let Some(id) = self.chosen(at) else { return };
        let known = self.known.get_mut(&id).unwrap();
        let may = known.state == ApprovalState::Approved && self.now < known.execute_by;
        assert_eq!(self.live.claim(&id, self.now), may, "{known:?}");
        if may {
            self.live.keep_claim(&id, Claimed::Approval, self.now);
            (known.state, known.ended) = (ApprovalState::Executing, self.now);
            known.ran += 1;
        }
    }

    async fn claim_in_vain(&mut self, at: usize) {
        if let Some(id) = self.chosen(at) {
            self.live.claim(&id, self.now);
        }
        self.crash().await;
    }

    async fn use_like_in_vain(&mut self, at: usize) {
        let call = at % CALLS.len();
        self.calls += 1;
        let like = arguments(call, self.calls);
        if let Some(id) = self.live.allowance(&bound(call, self.calls), &like, self.now) {
            assert!(self.live.claim_allowance(&id, &CallId::new(self.calls, [3; 10]), self.now));
        }
        self.crash().await;
    }

    fn use_like(&mut self, at: usize) {
        let call = at % CALLS.len();
        self.calls += 1;
        let like = arguments(call, self.calls);
        let found = self.live.allowance(&bound(call, self.calls), &like, self.now);
        let now = self.now;
        let allows = |known: &Known| known.allowed.is_some_and(|(left, until, ended)| left > 0 && now < until && !ended);
        let expected = self.known.iter().find(|(_, known)| known.call == call && allows(known)).map(|(id, _)| id.clone());
        assert_eq!(found, expected);
        if let Some(id) = found {
            assert!(self.live.claim_allowance(&id, &CallId::new(self.calls, [3; 10]), now));
            self.live.keep_claim(&id, Claimed::Allowance, now);
            let allowed = self.known.get_mut(&id).unwrap().allowed.as_mut().unwrap();
            allowed.0 -= 1;
        }
    }

    fn finish(&mut self, at: usize) {
        let Some(id) = self.chosen(at) else { return };
        self.live.finish(&id, ClaimEnd::Succeeded);
        let known = self.known.get_mut(&id).unwrap();
        if known.state == ApprovalState::Executing {
            known.state = ApprovalState::Succeeded;
        }
    }

    async fn sweep(&mut self) {
        self.live.expire(self.now).await.unwrap();
        for known in self.known.values_mut() {
            match known.state {
                ApprovalState::Pending if known.approve_by <= self.now => known.state = ApprovalState::Expired,
                ApprovalState::Approved if known.execute_by <= self.now => known.state = ApprovalState::Lapsed,
                _ => {}
            }
        }
    }

    async fn void(&mut self, at: usize) {
        let call = at % CALLS.len();
        let grant = bound(call, 0).grant;
        self.live.invalidate("drift", self.now, |binding| binding.grant == grant).await.unwrap();
        for known in self.known.values_mut().filter(|known| bound(known.call, 0).grant == grant) {
            if known.state.is_open() {
                known.state = ApprovalState::Invalidated;
            }
            if let Some(allowed) = &mut known.allowed {
                allowed.2 = true;
            }
        }
    }

    async fn withdraw(&mut self, at: usize) {
        let Some(id) = self.chosen(at) else { return };
        let known = self.known.get_mut(&id).unwrap();
        let was = known.state == ApprovalState::Pending;
        assert_eq!(self.live.withdraw(&id, self.now).await.unwrap(), was);
        if was {
            known.state = ApprovalState::Withdrawn;
        }
    }

    async fn revoke(&mut self, at: usize) {
        let Some(id) = self.chosen(at) else { return };
        let known = self.known.get_mut(&id).unwrap();
        let (is_unused, now) = (known.state == ApprovalState::Approved, self.now);
        let told = self.live.revoke(id.as_str(), None, approver("ann", 3000), now).await;
        // One whose time is over but that nobody swept may be revoked or not: nothing hangs on it.
        let is_allowing = known.allowed.is_some_and(|(.., ended)| !ended);
        if told.is_ok() {
            assert!(is_unused || is_allowing, "{known:?}");
            if let Some(allowed) = &mut known.allowed {
                allowed.2 = true;
            }
            if is_unused {
                known.state = ApprovalState::Revoked;
            }
        } else {
            let is_live = known.allowed.is_some_and(|(left, until, ended)| !ended && left > 0 && now < until);
            assert!(!is_unused && !is_live, "{known:?}");
        }
    }

    /// What was told to have happened survives; what ran may have happened.
    async fn crash(&mut self) {
        self.store.set_meta("barrier", Some("")).await.unwrap();
        let copy = crashed(&self.data);
        let store = open(&copy);
        self.live = LiveApprovals::load(&store, agents(), settings(), &[]).unwrap();
        (self.store, self.data) = (store, copy);
        for known in self.known.values_mut().filter(|known| known.state == ApprovalState::Executing) {
            known.state = ApprovalState::Unknown;
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Ask(at) => self.ask(at).await,
            Step::Approve(at, who) => self.decide(at, who, Decision::approve()).await,
            Step::Allow(at, who) => {
                let allow = AllowanceWanted { any: ["/free".to_owned()].into(), uses: 2, until_ms: self.now + 15 * MINUTE };
                self.decide(at, who, Decision { allow: Some(allow), ..Decision::approve() }).await;
            }
            Step::Deny(at, who) => self.decide(at, who, Decision::deny(None)).await,
            Step::Claim(at) => self.claim(at),
            Step::ClaimInVain(at) => self.claim_in_vain(at).await,
            Step::UseLike(at) => self.use_like(at),
            Step::UseLikeInVain(at) => self.use_like_in_vain(at).await,
            Step::Finish(at) => self.finish(at),
            Step::Wait(ms) => self.now = (self.now + ms).min(NOW + 7 * HOUR),
            Step::Sweep => self.sweep().await,
            Step::Void(at) => self.void(at).await,
            Step::Withdraw(at) => self.withdraw(at).await,
            Step::Revoke(at) => self.revoke(at).await,
            Step::Crash => self.crash().await,
        }
    }

    /// None is lost, none runs twice, none runs that not enough persons approved or that one denied.
    fn agree(&self) {
        let listed = self.live.list(Which::All);
        assert_eq!(listed.len(), self.known.len(), "none is lost");
        for approval in listed {
            let known = &self.known[&approval.id];
            assert_eq!(approval.state, known.state, "{known:?} {approval:?}");
            assert!(known.ran <= 1, "none runs twice");
            if known.ran == 1 {
                assert!(!known.said_no && known.said_yes.len() >= CALLS[known.call].quorum as usize, "none runs unapproved");
            }
            let left = approval.allowance.as_ref().map(crate::Allowance::uses_left);
            assert_eq!(left, known.allowed.map(|(left, ..)| left));
        }
    }
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_happens_the_machine_does_as_the_model(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut machine = Machine::new();
            for step in steps {
                machine.step(step).await;
                machine.agree();
            }
            machine.crash().await;
            machine.agree();
            // Nothing of what is over comes back.
            machine.now += 10 * HOUR;
            machine.sweep().await;
            machine.agree();
        });
    }
}
