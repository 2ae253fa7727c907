//! Tools that a bundle can't tell apart: it is checked, and sliced, for one of them instead of for each.
//!
//! INVARIANT: a rule's types, and whether it can apply, follow from what it speaks of: the actions and groups that it names, and the
//! arguments that it looks at ([`Reads`]). Tools that agree in those are one tool to it. `one_of_many_stands_for_all` in the tests
//! holds it against a check for each tool.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use cedar_policy::{ActionConstraint, EntityUid, Policy};

use crate::catalogue::Tool;
use crate::reads::{Reads, Want};
use crate::shape::{Field, Shape};

/// What the rules of a bundle speak of.
#[derive(Default)]
pub(crate) struct Mentions {
    entities: HashSet<EntityUid>,
    reads: Reads,
}

impl Mentions {
    /// What these rules speak of. Of one that can't be read it is everything.
    pub(crate) fn of<'p>(policies: impl IntoIterator<Item = &'p Policy>) -> Self {
        let mut mentions = Self::default();
        for policy in policies {
            mentions.entities.extend(policy.entity_literals());
            match policy.action_constraint() {
                ActionConstraint::Any => {}
                ActionConstraint::Eq(action) => _ = mentions.entities.insert(action),
                ActionConstraint::In(actions) => mentions.entities.extend(actions),
            }
            match policy.to_pst() {
                Ok(parsed) => mentions.reads.add_rule(parsed.body()),
                Err(_) => mentions.reads.add_everything(),
            }
        }
        mentions
    }
}

#[cfg(test)]
impl Mentions {
    /// Of rules that could speak of anything: no two tools are alike then.
    pub(crate) fn everything(tools: &[Arc<Tool>]) -> Self {
        let entities = tools.iter().flat_map(|tool| tool.groups.iter().chain([&tool.action]).cloned()).collect();
        Self { entities, reads: Reads::EVERYTHING }
    }
}

/// Tools, sorted into those that are alike.
pub(crate) struct Alike {
    /// For each tool, in their order: the place among [`firsts`](Self::firsts) of the one that stands for it.
    pub(crate) of: Vec<usize>,
    /// For each sort of tools the first of them, with no more of its arguments than the rules look at.
    pub(crate) firsts: Vec<Tool>,
}

/// All that rules can know a tool by.
#[derive(PartialEq, Eq, Hash)]
struct Mark<'t> {
    /// Where a rule names this very tool.
    name: Option<&'t EntityUid>,
    groups: Vec<&'t EntityUid>,
    input: BTreeMap<String, Field>,
}

impl Alike {
    /// Sorts tools by what rules can know them by.
    pub(crate) fn new(tools: &[Arc<Tool>], mentions: &Mentions) -> Self {
        let (mut known, mut alike) = (HashMap::new(), Self { of: vec![0; tools.len()], firsts: Vec::new() });
        // In the order of their names: whoever reads of a fault reads the same, in whichever order tools were accepted.
        let mut sorted: Vec<(&Arc<Tool>, &mut usize)> = tools.iter().zip(&mut alike.of).collect();
        sorted.sort_unstable_by(|(left, _), (right, _)| left.name.cmp(&right.name));
        for (tool, place) in sorted {
            let is_mentioned = |entity: &&EntityUid| mentions.entities.contains(*entity);
            let mark = Mark {
                name: Some(&tool.action).filter(is_mentioned),
                groups: tool.groups.iter().filter(is_mentioned).collect(),
                input: seen(&tool.input, mentions.reads.input()),
            };
            *place = if let Some(known) = known.get(&mark) {
                *known
            } else {
                alike.firsts.push(Tool { input: mark.input.clone(), ..Tool::clone(tool) });
                let place = alike.firsts.len() - 1;
                known.insert(mark, place);
                place
            };
        }
        alike
    }

    /// The same, where each that stands for others has all of its arguments.
    pub(crate) fn whole(&self, tools: &[Arc<Tool>]) -> Self {
        let by_name: HashMap<&str, &Arc<Tool>> = tools.iter().map(|tool| (tool.name.as_str(), tool)).collect();
        let whole = |first: &Tool| by_name.get(first.name.as_str()).map_or_else(|| first.clone(), |tool| Tool::clone(tool));
        Self { of: self.of.clone(), firsts: self.firsts.iter().map(whole).collect() }
    }
}

/// Of these fields what is looked at.
fn seen(fields: &BTreeMap<String, Field>, want: &Want) -> BTreeMap<String, Field> {
    match want {
        Want::Nothing => BTreeMap::new(),
        Want::Everything => fields.clone(),
        Want::Fields(wanted) => {
            let field = |(name, want): (&String, &Want)| Some((name.clone(), part(fields.get(name)?, want)));
            wanted.iter().filter_map(field).collect()
        }
    }
}

fn part(field: &Field, want: &Want) -> Field {
    let shape = match &field.shape {
        Shape::Record(fields) => Shape::Record(seen(fields, want)),
        plain => plain.clone(),
    };
    Field { shape, required: field.required }
}
