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
    /// By the tool's name. Only tools of the world are asked about, so it grows no larger than that.
    tools: RwLock<HashMap<Arc<str>, Arc<Remembered>>>,
    list: Mutex<Option<(Band, Arc<ToolList>)>>,
}

/// What is remembered about one tool.
struct Remembered {
    could_allow: bool,
    /// Set once a call was decided, and only where no rule reads anything of the call.
    decision: OnceLock<Arc<Decision>>,
}

impl Prepared {
    /// Puts a grant before a world; none if it can't be, which denies.
    pub(crate) fn new(facts: &GrantFacts, world: &Arc<World>) -> Option<Self> {
        let facts = PreparedGrant::new(facts, &world.connectors).ok()?;
        Some(Self { world: Arc::downgrade(world), facts, tools: RwLock::default(), list: Mutex::default() })
    }

    /// Whether it is of this world.
    pub(crate) fn is_of(&self, world: &Arc<World>) -> bool {
        std::ptr::eq(self.world.as_ptr(), Arc::as_ptr(world))
    }

    /// Whether there could be a call of this tool that policy allows.
    pub(crate) fn could_allow(&self, world: &World, tool: &Tool) -> bool {
        self.remembered(world, tool).could_allow
    }

    /// What policy says. A decision that reads nothing of the call is made once.
    pub(crate) fn decide(&self, world: &World, tool: &Tool, ask: &AskCall<'_>) -> Arc<Decision> {
        let name = tool.name.as_str();
        let decide =
            || Arc::new(world.policies.decide(&Ask { tool: name, grant: &self.facts, call: ask.facts, input: ask.arguments }));
        if world.policies.reads_context(name) {
            return decide();
        }
        Arc::clone(self.remembered(world, tool).decision.get_or_init(decide))
    }

    fn remembered(&self, world: &World, tool: &Tool) -> Arc<Remembered> {
        let name = tool.name.as_str();
        // A panic while one of the locks was held leaves a map or a list that is whole.
        if let Some(known) = self.tools.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Arc::clone(known);
        }
        let could_allow = world.policies.could_allow(&self.facts, name);
        let fresh = Arc::new(Remembered { could_allow, decision: OnceLock::new() });
        let mut tools = self.tools.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(tools.entry(name.into()).or_insert(fresh))
    }

    /// The list for an agent of this ceiling: the one that was made, or one that is made now.
    pub(crate) fn list(&self, ceiling: Band, make: impl FnOnce() -> ToolList) -> Arc<ToolList> {
        if let Some((_, list)) = self.kept_list().as_ref().filter(|(of, _)| *of == ceiling) {
            return Arc::clone(list);
        }
        let list = Arc::new(make());
        *self.kept_list() = Some((ceiling, Arc::clone(&list)));
        list
    }

    fn kept_list(&self) -> MutexGuard<'_, Option<(Band, Arc<ToolList>)>> {
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
