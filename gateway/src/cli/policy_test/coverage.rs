//! Which rules a case has shown to decide, and which none has.

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_pipeline::ports::Worlds as _;
use serde_json::{Value, json};

use super::{judge::Came, stage::Stage};
use crate::cli::screen::Page;

/// The rules that cases are about, each by its id and its place, and whether a case that came as expected was determined by it.
#[derive(Debug, Default)]
pub(super) struct Coverage {
    rules: BTreeMap<(String, String), bool>,
}

impl Coverage {
    /// Reckons with the rules of this stage. Those that are part of the binary have tests of their own: they count where there are
    /// no others.
    pub(super) fn reckon(&mut self, stage: &Stage) {
        let own = Self::own(stage);
        for rule in own {
            self.rules.entry(rule).or_insert(false);
        }
    }

    /// A case came as expected, by these rules.
    pub(super) fn tested(&mut self, came: &Came, stage: &Stage) {
        for id in &came.rules {
            if let Some(is_tested) = self.rules.get_mut(&(id.clone(), stage.place(id))) {
                *is_tested = true;
            }
        }
    }

    /// Whether every rule was tested.
    pub(super) fn is_whole(&self) -> bool {
        self.rules.values().all(|is_tested| *is_tested)
    }

    fn own(stage: &Stage) -> BTreeSet<(String, String)> {
        let world = stage.worlds.now();
        let all = || world.policies.rules().into_iter().map(|rule| (rule.id.to_string(), stage.place(&rule.id)));
        let built_in = stage.texts.iter().find(|text| text.path.is_none()).map(|text| format!("{}:", text.name));
        let own: BTreeSet<_> = all().filter(|(_, at)| built_in.as_ref().is_none_or(|name| !at.starts_with(name))).collect();
        if own.is_empty() { all().collect() } else { own }
    }

    fn untested(&self) -> impl Iterator<Item = &(String, String)> {
        self.rules.iter().filter(|(_, is_tested)| !**is_tested).map(|(rule, _)| rule)
    }

    /// For people.
    pub(super) fn to_text(&self) -> String {
        let (all, open) = (self.rules.len(), self.untested().count());
        let mut text = Page::of(format!("{} of {all} rules tested\n", all - open));
        for (id, at) in self.untested() {
            text.add(format_args!("  no case is decided by {id} ({at})\n"));
        }
        text.into_text()
    }

    /// For programs.
    pub(super) fn to_json(&self) -> Value {
        let rule = |((id, at), is_tested): (&(String, String), &bool)| json!({"id": id, "at": at, "tested": is_tested});
        self.rules.iter().map(rule).collect()
    }
}
