//! A grant before one world: what Cedar needs of it, and what is remembered of answers that stay the same while both do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bailiwick_policy::{Ask, Band, Decision, GrantFacts, Memory, PreparedGrant};

use crate::{
    answer::ToolList,
    catalogue::{Tool, World},
};

/// A grant, put before one world.
pub(crate) struct Prepared {
    /// Held weakly: its address stays taken, so that no other world is ever mistaken for it.
    world: Weak<World>,
    facts: PreparedGrant,
    memory: Memory,
    list: Mutex<Option<KeptList>>,
    /// Held by whoever makes a large list, so that others wait for that one.
    pub(crate) making: tokio::sync::Mutex<()>,
}

/// For whom and when a list was made: an agent of this ceiling, while these tools were hidden, under this revision of the chain.
pub(crate) type Made = (Band, u64, u64);
type KeptList = (Made, Arc<ToolList>);

impl Prepared {
    /// Puts a grant before a world; none if it can't be, which denies.
    pub(crate) fn new(facts: &GrantFacts, world: &Arc<World>) -> Option<Self> {
        let facts = PreparedGrant::among(facts, &world.connectors, &world.directory).ok()?;
        Some(Self {
            world: Arc::downgrade(world),
            facts,
            memory: Memory::default(),
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
        self.memory.could_allow(&world.policies, &self.facts, tool.name.as_str())
    }

    /// What policy says. A decision that reads nothing of the call is made once.
    pub(crate) fn decide(&self, world: &World, tool: &Tool, ask: &AskCall<'_>) -> Arc<Decision> {
        let ask = Ask { tool: tool.name.as_str(), grant: &self.facts, call: ask.facts, input: ask.arguments };
        self.memory.decide(&world.policies, &ask)
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
