//! What checking a value costs at most, counted on the graph before anything is built.
//!
//! First per subschema: how many are looked at for one value when it applies (references replaced by their targets).
//! Then over the depth of data: which subschemas can meet at one place of a value, and how often each. A recursive
//! schema is fine as long as that number stays within the bound down to the deepest value we accept; one that looks
//! at the same child twice on each level doubles per level, and is refused.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use serde_json::Value;

use super::fault::{Bounds, SchemaFault};
use super::graph::{Aside, Graph, Node, Part};
use crate::text::shown;

/// The deepest value that is ever checked: see [`Limits::MESSAGE`](crate::json::Limits::MESSAGE).
pub(super) const VALUE_DEPTH: usize = 64;

/// Steps of the counting itself, so that it ends soon on any schema.
const STEPS: usize = 120_000;

/// Counts the work of checking one value against `graph`: units per unit of the value's size.
pub(super) fn weigh(graph: &Graph<'_>, bounds: Bounds) -> Result<u64, SchemaFault> {
    let asides = Asides::of(graph, bounds)?;
    Spread { graph, asides: &asides, bounds, steps: 0, heaviest: 1 }.run()
}

/// Per subschema, what it costs together with all that apply to the same value.
struct Asides {
    visits: Vec<u64>,
    weight: Vec<u64>,
    /// References that follow each other from here.
    hops: Vec<usize>,
    /// Position in an order in which each subschema comes before those beside it.
    rank: Vec<usize>,
    /// The inverse of `rank`.
    ranked: Vec<usize>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    New,
    Open,
    Done,
}

struct Order<'g, 's> {
    graph: &'g Graph<'s>,
    hops: usize,
    state: Vec<State>,
    /// Subschemas in the order in which they were finished: those beside come first.
    finished: Vec<usize>,
}

impl Order<'_, '_> {
    fn visit(&mut self, id: usize, hops: usize) -> Result<(), SchemaFault> {
        let Some((node, state)) = self.graph.nodes.get(id).zip(self.state.get_mut(id)) else {
            return Ok(());
        };
        match state {
            State::Done => return Ok(()),
            State::Open => {
                return Err(SchemaFault::EndlessLoop { place: shown(&node.pointer) });
            }
            State::New => *state = State::Open,
        }
        if hops > self.hops {
            return Err(SchemaFault::TooManyHops { place: shown(&node.pointer), limit: self.hops });
        }
        for &(aside, next) in &node.aside {
            self.visit(next, hops + usize::from(aside == Aside::Reference))?;
        }
        if let Some(state) = self.state.get_mut(id) {
            *state = State::Done;
        }
        self.finished.push(id);
        Ok(())
    }
}

impl Asides {
    fn of(graph: &Graph<'_>, bounds: Bounds) -> Result<Self, SchemaFault> {
        let count = graph.nodes.len();
        let finished = Vec::with_capacity(count);
        let mut order = Order { graph, hops: bounds.hops, state: vec![State::New; count], finished };
        for id in 0..count {
            order.visit(id, 0)?;
        }
        let mut asides = Self {
            visits: vec![0; count],
            weight: vec![0; count],
            hops: vec![0; count],
            rank: vec![0; count],
            ranked: order.finished.iter().rev().copied().collect(),
        };
        for (rank, &id) in asides.ranked.iter().enumerate() {
            set(&mut asides.rank, id, rank);
        }
        // What looks twice is expanded when it is built, each time it occurs.
        let mut built = 0_u64;
        for id in order.finished {
            let Some(node) = graph.nodes.get(id) else {
                continue;
            };
            let visits = asides.add(id, node);
            if node.looks_twice() {
                built = built.saturating_add(visits);
            }
            if at(&asides.hops, id) > bounds.hops {
                return Err(SchemaFault::TooManyHops { place: shown(&node.pointer), limit: bounds.hops });
            }
            if visits > bounds.visits || built > bounds.visits.saturating_mul(2) {
                return Err(SchemaFault::TooCostly { place: shown(&node.pointer), limit: bounds.visits });
            }
        }
        Ok(asides)
    }

    /// Sums up one subschema; those beside it are done.
    fn add(&mut self, id: usize, node: &Node<'_>) -> u64 {
        let times = 1 + u64::from(node.looks_twice());
        let (mut visits, mut weight) = (1_u64, own_weight(node));
        let mut hops = 0;
        for &(aside, next) in &node.aside {
            hops = hops.max(at(&self.hops, next) + usize::from(aside == Aside::Reference));
            visits = visits.saturating_add(at(&self.visits, next).saturating_mul(times));
            weight = weight.saturating_add(at(&self.weight, next).saturating_mul(times));
        }
        set(&mut self.visits, id, visits);
        set(&mut self.weight, id, weight);
        set(&mut self.hops, id, hops);
        visits
    }
}

/// What the keywords of one subschema cost, in units of about 20 ns.
fn own_weight(node: &Node<'_>) -> u64 {
    let Value::Object(map) = node.schema else {
        return 1;
    };
    let mut weight = 1;
    for (keyword, value) in map {
        weight += match keyword.as_str() {
            "enum" | "const" => size(value) / 4,
            "properties" | "required" | "dependentRequired" | "dependencies" => size_of_top(value) / 2,
            "patternProperties" => 8 * size_of_top(value),
            "pattern" | "multipleOf" => 8,
            _ => 0,
        };
    }
    weight
}

fn size_of_top(value: &Value) -> u64 {
    match value {
        Value::Array(items) => items.len() as u64,
        Value::Object(map) => map.len() as u64,
        _ => 1,
    }
}

fn size(value: &Value) -> u64 {
    1 + match value {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(map) => map.values().map(size).sum(),
        Value::String(text) => text.len() as u64 / 32,
        Value::Number(number) => number.as_str().len() as u64 / 4,
        _ => 0,
    }
}

/// The subschemas that meet at one place of a value, each with how often.
type Meeting = BTreeMap<usize, u64>;

/// Follows all meetings down a value.
struct Spread<'g, 's> {
    graph: &'g Graph<'s>,
    asides: &'g Asides,
    bounds: Bounds,
    steps: usize,
    heaviest: u64,
}

impl Spread<'_, '_> {
    fn run(mut self) -> Result<u64, SchemaFault> {
        let mut seen = HashSet::new();
        let mut todo = VecDeque::from([(vec![Meeting::from([(0, 1)])], 0)]);
        while let Some((meetings, depth)) = todo.pop_front() {
            for meeting in meetings {
                self.admit(&meeting)?;
                let looking = self.looking_into(&meeting)?;
                if depth <= VALUE_DEPTH && !looking.is_empty() && !seen.contains(&looking) {
                    todo.push_back((self.below(&looking)?, depth + 1));
                    seen.insert(looking);
                }
            }
        }
        Ok(self.heaviest)
    }

    /// Counts what a meeting costs, and refuses it when that is too much.
    fn admit(&mut self, meeting: &Meeting) -> Result<(), SchemaFault> {
        let sum = |costs: &[u64]| {
            meeting.iter().fold(0_u64, |sum, (&id, &times)| sum.saturating_add(at(costs, id).saturating_mul(times)))
        };
        self.heaviest = self.heaviest.max(sum(&self.asides.weight));
        if sum(&self.asides.visits) > self.bounds.visits {
            return Err(self.too_costly(meeting));
        }
        self.step(meeting.len(), meeting)
    }

    fn step(&mut self, steps: usize, meeting: &Meeting) -> Result<(), SchemaFault> {
        self.steps += steps;
        if self.steps > STEPS { Err(self.too_costly(meeting)) } else { Ok(()) }
    }

    fn too_costly(&self, meeting: &Meeting) -> SchemaFault {
        let busiest = meeting.iter().max_by_key(|&(_, times)| times).and_then(|(&id, _)| self.graph.nodes.get(id));
        let place = shown(busiest.map_or("", |node| &node.pointer));
        SchemaFault::TooCostly { place, limit: self.bounds.visits }
    }

    /// The meetings at the parts of a value into which the subschemas of `meeting` look.
    fn below(&mut self, meeting: &Meeting) -> Result<Vec<Meeting>, SchemaFault> {
        let graph = self.graph;
        let mut parts = Vec::new();
        for (&id, &times) in meeting {
            let own = graph.nodes.get(id).map(|node| node.parts.as_slice()).unwrap_or_default();
            parts.extend(own.iter().map(|&(part, id)| (part, id, times)));
        }
        self.step(parts.len(), meeting)?;
        let mut properties: HashMap<&str, Meeting> = HashMap::new();
        let mut items: BTreeMap<usize, Meeting> = BTreeMap::new();
        for &(part, id, times) in &parts {
            match part {
                Part::Property(name) => add(properties.entry(name).or_default(), id, times),
                Part::Item(index) => add(items.entry(index).or_default(), id, times),
                // The first item that this part and no earlier one applies to.
                Part::ItemsFrom(index) => drop(items.entry(index).or_default()),
                Part::AnyProperty | Part::OtherProperty(_) | Part::Name => {}
            }
        }
        let (mut other, mut names) = (Meeting::new(), Meeting::new());
        for &(part, id, times) in &parts {
            match part {
                Part::Property(_) | Part::Item(_) => {}
                Part::Name => add(&mut names, id, times),
                Part::AnyProperty => {
                    self.step(properties.len(), meeting)?;
                    add(&mut other, id, times);
                    for met in properties.values_mut() {
                        add(met, id, times);
                    }
                }
                Part::OtherProperty(own) => {
                    self.step(properties.len(), meeting)?;
                    add(&mut other, id, times);
                    let is_other = |name: &str| own.is_none_or(|own| !own.contains_key(name));
                    let others = properties.iter_mut().filter(|(name, _)| is_other(name));
                    others.for_each(|(_, met)| add(met, id, times));
                }
                Part::ItemsFrom(first) => {
                    self.step(items.len(), meeting)?;
                    items.range_mut(first..).for_each(|(_, met)| add(met, id, times));
                }
            }
        }
        Ok(properties.into_values().chain(items.into_values()).chain([other, names]).filter(|m| !m.is_empty()).collect())
    }

    /// Of a meeting's subschemas and all beside them, those that look into the value, and how often each.
    fn looking_into(&mut self, meeting: &Meeting) -> Result<Meeting, SchemaFault> {
        let mut by_rank = Meeting::new();
        for (&id, &times) in meeting {
            add(&mut by_rank, at(&self.asides.rank, id), times);
        }
        let mut looking = Meeting::new();
        while let Some((rank, times)) = by_rank.pop_first() {
            let id = at(&self.asides.ranked, rank);
            let Some(node) = self.graph.nodes.get(id) else {
                continue;
            };
            self.step(1 + node.aside.len(), meeting)?;
            if !node.parts.is_empty() {
                add(&mut looking, id, times);
            }
            let times = times.saturating_mul(1 + u64::from(node.looks_twice()));
            for &(_, next) in &node.aside {
                add(&mut by_rank, at(&self.asides.rank, next), times);
            }
        }
        Ok(looking)
    }
}

fn add(meeting: &mut Meeting, id: usize, times: u64) {
    let sum = meeting.entry(id).or_default();
    *sum = sum.saturating_add(times);
}

fn at<T: Copy + Default>(of: &[T], index: usize) -> T {
    of.get(index).copied().unwrap_or_default()
}

fn set<T>(of: &mut [T], index: usize, value: T) {
    if let Some(slot) = of.get_mut(index) {
        *slot = value;
    }
}
