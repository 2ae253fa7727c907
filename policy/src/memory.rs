//! Answers that stay the same for as long as a grant, the catalogue and the bundle do.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::decision::Decision;
use crate::facts::Ask;
use crate::grant::PreparedGrant;
use crate::policies::Policies;

/// What is remembered of one grant under one compiled bundle: whether a tool could be allowed, and decisions that read nothing of the call.
///
/// It holds one entry for each question that policies can be asked about tools ([`Policies::question`]), and so never more than there are
/// tools.
///
/// INVARIANT: it is asked with the grant and the bundle that it was begun for, and thrown away with either. Whoever holds it sees to that.
#[derive(Debug, Default)]
pub struct Memory {
    answers: RwLock<HashMap<usize, Arc<Remembered>>>,
}

/// What is remembered about the tools of one question.
#[derive(Debug, Default)]
struct Remembered {
    could_allow: OnceLock<bool>,
    decision: OnceLock<Arc<Decision>>,
}

impl Memory {
    /// Whether there could be a call of this tool that is allowed: [`Policies::could_allow`], asked once.
    pub fn could_allow(&self, policies: &Policies, grant: &PreparedGrant, tool: &str) -> bool {
        let Some((question, _)) = policies.standing(tool) else {
            return false;
        };
        *self.about(question).could_allow.get_or_init(|| policies.could_allow(grant, tool))
    }

    /// What policy says: [`Policies::decide`], asked once where no rule reads anything of the call.
    pub fn decide(&self, policies: &Policies, ask: &Ask<'_>) -> Arc<Decision> {
        let decide = || Arc::new(policies.decide(ask));
        match policies.standing(ask.tool) {
            Some((question, false)) => Arc::clone(self.about(question).decision.get_or_init(decide)),
            Some((_, true)) | None => decide(),
        }
    }

    /// How many questions it knows anything about.
    pub fn len(&self) -> usize {
        // A panic while the lock was held leaves a map that is whole.
        self.answers.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether it knows nothing yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn about(&self, question: usize) -> Arc<Remembered> {
        if let Some(known) = self.answers.read().unwrap_or_else(PoisonError::into_inner).get(&question) {
            return Arc::clone(known);
        }
        let mut answers = self.answers.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(answers.entry(question).or_default())
    }
}
