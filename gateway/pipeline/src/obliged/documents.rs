//! Which of the documents of a result have what a rule redacts.

use std::collections::BTreeSet;

/// The documents of a result, in the order in which they stand: structured content, and each text that is JSON.
#[derive(Debug, Default)]
pub(super) struct Documents {
    /// Which pointers lead to something in each.
    met: Vec<BTreeSet<usize>>,
    /// Those that lack what another has: what is redacted there stands elsewhere in them, and they are withheld.
    lacking: BTreeSet<usize>,
    /// How many were begun in this pass.
    pub(super) begun: usize,
    /// Which of them is walked now.
    pub(super) open: Option<usize>,
}

impl Documents {
    /// Another one begins; whether it is withheld. Returns the one before, to go on with.
    pub(super) fn begin(&mut self) -> (Option<usize>, bool) {
        let number = self.begun;
        self.begun += 1;
        if self.met.len() < self.begun {
            self.met.push(BTreeSet::new());
        }
        (self.open.replace(number), self.lacking.contains(&number))
    }

    pub(super) fn meets(&mut self, pointer: usize) {
        if let Some(met) = self.open.and_then(|number| self.met.get_mut(number)) {
            met.insert(pointer);
        }
    }

    /// Which are to be withheld, now that all of them were walked.
    pub(super) fn compare(&mut self) -> bool {
        let all: BTreeSet<usize> = self.met.iter().flatten().copied().collect();
        self.lacking = self.met.iter().enumerate().filter(|(_, met)| **met != all).map(|(number, _)| number).collect();
        !self.lacking.is_empty()
    }
}
