//! A secret with other characters between its own: blanks, lines, quotes, or what nobody sees. Of what is looked at, and of what is looked for,
//! only letters and digits are compared.

use aho_corasick::{
    Anchored,
    automaton::{Automaton, StateID},
    nfa::contiguous::{Builder, NFA},
};
use zeroize::Zeroizing;

use super::forms::Form;

/// What has fewer letters and digits than these would be found in ordinary text.
const LEAST: usize = 12;

/// The letters and digits of each form.
pub(super) struct Squeezed {
    forms: NFA,
    start: StateID,
}

impl Squeezed {
    /// Of these forms; none where they can't be looked for.
    pub(super) fn of<'f>(forms: impl Iterator<Item = &'f Form>) -> Option<Self> {
        let plain = |form: &Form| Zeroizing::new(form.iter().copied().filter(u8::is_ascii_alphanumeric).collect::<Vec<u8>>());
        let mut squeezed: Vec<Form> = forms.map(plain).filter(|form| form.len() >= LEAST).collect();
        for form in &mut squeezed {
            form.make_ascii_lowercase();
        }
        squeezed.sort_unstable_by(|one, other| one.as_slice().cmp(other.as_slice()));
        squeezed.dedup_by(|one, other| one.as_slice() == other.as_slice());
        let forms = Builder::new().ascii_case_insensitive(true).build(squeezed.iter().map(|form| form.as_slice())).ok()?;
        let start = forms.start_state(Anchored::No).ok()?;
        Some(Self { forms, start })
    }

    /// Whether one of them is in these bytes, whatever is between.
    pub(super) fn is_in(&self, bytes: &[u8]) -> bool {
        let mut state = self.start;
        bytes.iter().filter(|byte| byte.is_ascii_alphanumeric()).any(|byte| {
            state = self.forms.next_state(Anchored::No, state, *byte);
            self.forms.is_special(state) && self.forms.is_match(state)
        })
    }
}
