//! A grant before one world: what Cedar needs of it, and what is remembered of answers that stay the same while both do.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak},
};

use bailiwick_policy::{Ask, Band, Decision, GrantFacts, PreparedGrant};

use crate::{
    answer::ToolList,
    catalogue::{Tool, World},
};

/// A grant, put before one world.
pub(crate) struct Prepared {
    /// Held weakly: its address stays taken, so that no other world is ever mistaken for it.
    world: Weak<World>,
    facts: PreparedGrant,
    /// By the question that policies ask about a tool: many tools have the same.
    answers: RwLock<HashMap<usize, Arc<Remembered>>>,
    list: Mutex<Option<KeptList>>,
    /// Held by whoever makes a large list, so that others wait for that one.
    pub(crate) making: tokio::sync::Mutex<()>,
}

/// For whom and when a list was made: an agent of this ceiling, while these tools were hidden, under this revision of the chain.
pub(crate) type Made = (Band, u64, u64);
type KeptList = (Made, Arc<ToolList>);

/// What is remembered about the tools of one question.
struct Remembered {
    could_allow: bool,
    /// Set once a call was decided, and only where no rule reads anything of the call.
    decision: OnceLock<Arc<Decision>>,
}

impl Prepared {
    /// Puts a grant before a world; none if it can't be, which denies.
    pub(crate) fn new(facts: &GrantFacts, world: &Arc<World>) -> Option<Self> {
        let facts = PreparedGrant::new(facts, &world.connectors).ok()?;
        Some(Self {
            world: Arc::downgrade(world),
            facts,
            answers: RwLock::default(),
            list: Mutex::default(),
            making: tokio::sync::Mutex::default(),
        })
    }

    /// Whether it is of this world.
    pub(crate) fn is_of(&self, world: &Arc<World>) -> bool {
        std::ptr::eq(self.world.as_ptr(), Arc::as_ptr(world))
    }

    /// The grant as the policies see it.
    pub(crate) fn facts(&self) -> &PreparedGrant {
        &self.facts
    }

    /// Whether there could be a call of this tool that policy allows.
    pub(crate) fn could_allow(&self, world: &World, tool: &Tool) -> bool {
        self.remembered(world, tool).is_some_and(|known| known.could_allow)
    }

    /// What policy says. A decision that reads nothing of the call is made once.
    pub(crate) fn decide(&self, world: &World, tool: &Tool, ask: &AskCall<'_>) -> Arc<Decision> {
        let name = tool.name.as_str();
        let decide =
            || Arc::new(world.policies.decide(&Ask { tool: name, grant: &self.facts, call: ask.facts, input: ask.arguments }));
        if world.policies.reads_context(name) {
            return decide();
        }
        match self.remembered(world, tool) {
            Some(known) => Arc::clone(known.decision.get_or_init(decide)),
            None => decide(),
        }
    }

    /// What is known of the question that is asked about this tool; none where policies don't know it, which denies.
    fn remembered(&self, world: &World, tool: &Tool) -> Option<Arc<Remembered>> {
        let name = tool.name.as_str();
        let question = world.policies.question(name)?;
        // A panic while one of the locks was held leaves a map or a list that is whole.
        if let Some(known) = self.answers.read().unwrap_or_else(PoisonError::into_inner).get(&question) {
            return Some(Arc::clone(known));
        }
        let could_allow = world.policies.could_allow(&self.facts, name);
        let fresh = Arc::new(Remembered { could_allow, decision: OnceLock::new() });
        let mut answers = self.answers.write().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(answers.entry(question).or_insert(fresh)))
    }

    /// The list that was made so.
    pub(crate) fn list(&self, made: Made) -> Option<Arc<ToolList>> {
        self.kept_list().as_ref().filter(|(of, _)| *of == made).map(|(_, list)| Arc::clone(list))
    }

    /// Keeps a list that was made so.
    pub(crate) fn keep(&self, made: Made, list: ToolList) -> Arc<ToolList> {
        let list = Arc::new(list);
        *self.kept_list() = Some((made, Arc::clone(&list)));
        list
    }

    fn kept_list(&self) -> MutexGuard<'_, Option<KeptList>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of a call is put before the rules.
pub(crate) struct AskCall<'a> {
    /// The facts of the call.
    pub(crate) facts: &'a bailiwick_policy::CallFacts<'a>,
    /// Its arguments.
    pub(crate) arguments: &'a serde_json::Value,
}
