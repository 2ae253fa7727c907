//! How people decide: so that a habit of saying yes is seen, and a rule that only asks for it can be changed.
//!
//! Who is asked too often approves nearly everything (93 % was measured of one coding agent's users), and then a yes means nothing. What
//! is counted is what is remembered of approvals: the last three days.

use std::collections::BTreeMap;

use bailiwick_schemas::canonical::Digest;
use serde::{Deserialize, Serialize};

use super::{
    LiveApprovals, Which,
    decision::Verdict,
    record::{Approval, ApprovalState},
};

/// From so many decisions on, a share of them means something.
const ENOUGH: usize = 50;
/// This share of yes, in percent, is a habit.
const HABIT: usize = 95;
/// A yes within so long was hardly one to all of the arguments, milliseconds.
const QUICK_MS: u64 = 3000;
/// After so many yes and no other word, a rule asks for nothing.
const ALWAYS: usize = 20;

/// How people decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Habits {
    /// How many questions were asked.
    pub asked: usize,
    /// How many were approved.
    pub approved: usize,
    /// How many were denied.
    pub denied: usize,
    /// How many nobody decided in time.
    pub unanswered: usize,
    /// Half of those that were decided took no longer than this, milliseconds.
    pub median_ms: Option<u64>,
    /// How many were approved within three seconds of being asked.
    pub quick: usize,
    /// The same by rule, agent and tool: what is asked most often comes first.
    pub habits: Vec<Habit>,
    /// What is wrong with how it is decided, where something is.
    pub warnings: Vec<String>,
}

/// How people decided what one rule asked of one agent's calls of one tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Habit {
    /// The rule.
    pub rule: String,
    /// The agent.
    pub agent: String,
    /// The tool.
    pub tool: String,
    /// How many questions were asked.
    pub asked: usize,
    /// How many were approved.
    pub approved: usize,
    /// How many were denied.
    pub denied: usize,
    /// How many of the approved had the arguments that were approved most often.
    pub alike: usize,
    /// What could be changed, instead of one more yes.
    pub suggestion: Option<String>,
}

/// What became of questions since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Asked.
    pub requested: u64,
    /// Approved.
    pub approved: u64,
    /// Denied.
    pub denied: u64,
    /// Decided by nobody in time.
    pub unanswered: u64,
    /// Approved within three seconds of being asked.
    pub quick: u64,
    /// How long all decisions took together, milliseconds.
    pub decided_ms: u64,
}

impl Tally {
    /// It was decided after so long; one of several who must approve has not decided it.
    pub(super) fn decided(&mut self, state: ApprovalState, after_ms: u64) {
        match state {
            ApprovalState::Approved => {
                self.approved = self.approved.saturating_add(1);
                self.quick = self.quick.saturating_add(u64::from(after_ms < QUICK_MS));
            }
            ApprovalState::Denied => self.denied = self.denied.saturating_add(1),
            _ => return,
        }
        self.decided_ms = self.decided_ms.saturating_add(after_ms);
    }

    /// These are over.
    pub(super) fn expired(&mut self, approvals: &[Approval]) {
        let unanswered = approvals.iter().filter(|approval| approval.state == ApprovalState::Expired).count();
        self.unanswered = self.unanswered.saturating_add(u64::try_from(unanswered).unwrap_or(u64::MAX));
    }
}

impl LiveApprovals {
    /// What became of questions since the start.
    pub fn tally(&self) -> Tally {
        self.book().tally
    }

    /// How people have decided of late.
    pub fn habits(&self) -> Habits {
        Habits::of(&self.list(Which::All))
    }
}

impl Habits {
    /// What these come to.
    pub fn of(approvals: &[Approval]) -> Self {
        let mut all = Self { asked: approvals.len(), ..Self::default() };
        let mut took = Vec::new();
        let mut by: BTreeMap<(&str, &str, &str), Vec<&Approval>> = BTreeMap::new();
        for approval in approvals {
            let verdict = verdict(approval);
            match verdict {
                Some(Verdict::Approve) => all.approved += 1,
                Some(Verdict::Deny) => all.denied += 1,
                None if approval.state == ApprovalState::Expired => all.unanswered += 1,
                None => {}
            }
            if let (Some(verdict), Some(last)) = (verdict, approval.decisions.last()) {
                let ms = last.at_ms.saturating_sub(approval.created_at_ms);
                all.quick += usize::from(verdict == Verdict::Approve && ms < QUICK_MS);
                took.push(ms);
            }
            for asked in &approval.requirements {
                let binding = &approval.binding;
                by.entry((&asked.rule, binding.agent.as_str(), &binding.tool)).or_default().push(approval);
            }
        }
        took.sort_unstable();
        all.median_ms = took.get(took.len().saturating_sub(1) / 2).copied();
        all.habits = by.into_iter().map(|((rule, agent, tool), approvals)| habit(rule, agent, tool, &approvals)).collect();
        all.habits.sort_by_key(|habit| std::cmp::Reverse(habit.asked));
        all.warnings = warnings(&all);
        all
    }
}

fn verdict(approval: &Approval) -> Option<Verdict> {
    if approval.decisions.iter().any(|decided| decided.verdict == Verdict::Deny) {
        return Some(Verdict::Deny);
    }
    (approval.approvals() >= approval.quorum()).then_some(Verdict::Approve)
}

fn warnings(all: &Habits) -> Vec<String> {
    let decided = all.approved.saturating_add(all.denied);
    let mut warnings = Vec::new();
    if decided >= ENOUGH && all.approved.saturating_mul(100) >= decided.saturating_mul(HABIT) {
        warnings.push(format!(
            "{} of {decided} decisions were yes: who is asked that often no longer looks; narrow the rules that ask most",
            all.approved
        ));
    }
    if all.approved >= ENOUGH && all.quick.saturating_mul(2) >= all.approved {
        warnings.push(format!(
            "{} of {} were approved within 3 s of being asked: hardly anybody read what they approved",
            all.quick, all.approved
        ));
    }
    warnings
}

fn habit(rule: &str, agent: &str, tool: &str, approvals: &[&Approval]) -> Habit {
    let count = |wanted: Verdict| approvals.iter().filter(|approval| verdict(approval) == Some(wanted)).count();
    let (approved, denied) = (count(Verdict::Approve), count(Verdict::Deny));
    let mut same: BTreeMap<Digest, usize> = BTreeMap::new();
    for approval in approvals.iter().filter(|approval| verdict(approval) == Some(Verdict::Approve)) {
        *same.entry(approval.binding.args_digest).or_default() += 1;
    }
    let alike = same.into_values().max().unwrap_or(0);
    let suggestion = (approved >= ALWAYS && denied == 0).then(|| suggested(rule, agent, tool, approved, alike));
    let (rule, agent, tool) = (rule.to_owned(), agent.to_owned(), tool.to_owned());
    Habit { rule, agent, tool, asked: approvals.len(), approved, denied, alike, suggestion }
}

/// A change of policy that would spare the question. It is for an admin to read, to narrow and to make: nothing changes by itself.
fn suggested(rule: &str, agent: &str, tool: &str, approved: usize, alike: usize) -> String {
    let always = format!("`{rule}` asked {approved} times about `{tool}` of agent `{agent}`, and every answer was yes");
    if alike == approved {
        return format!(
            "{always}, always to the same arguments: `@remember` on the rule lets an approver allow them for a task at once"
        );
    }
    format!(
        "{always}: where those calls are harmless, leave them out of the rule: `when {{ !(principal in Bailiwick::Agent::\"{agent}\" && \
         action == Bailiwick::Action::\"{tool}\") }}`, best with a bound on their arguments beside it; \
         `bailiwick policy check` says whether it fits"
    )
}
