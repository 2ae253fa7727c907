//! Data labels: what a task has touched, as one word of 64 bits.
//!
//! Four are known to everybody; an organization declares its own classes, sixty at most. A class has a bit for as long as the process
//! lives, and a name wherever it is written: which bit it has is nobody's business, and may be another one after a restart.

use std::fmt;
use std::sync::OnceLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A set of data labels. They only ever grow: sets are joined, and nothing is taken out.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Labels(u64);

/// The labels that mean something of themselves, by their bits.
const KNOWN: [&str; 4] = ["untrusted", "internal", "confidential", "secret"];

/// How many classes an organization may declare.
pub const MOST_CLASSES: usize = 64 - KNOWN.len();

/// The names of an organization's own classes, by their bits after the known ones. Written once each and never taken back, so that a bit
/// means the same for as long as the process lives, whatever a reload declares.
///
/// The one global of the house: a set is a word that is joined by one instruction because nothing has to be carried along to read it.
static CLASSES: [OnceLock<Box<str>>; MOST_CLASSES] = [const { OnceLock::new() }; MOST_CLASSES];

/// Every label that there is, whatever is declared later: how it is written.
const EVERY: &str = "*";

impl Labels {
    /// No label.
    pub const NONE: Self = Self(0);
    /// Content that nobody vouches for.
    pub const UNTRUSTED: Self = Self(1);
    /// Data that stays in the house.
    pub const INTERNAL: Self = Self(1 << 1);
    /// Data that stays with few.
    pub const CONFIDENTIAL: Self = Self(1 << 2);
    /// Data that harms by being known.
    pub const SECRET: Self = Self(1 << 3);
    /// Every label that there is or will be: what can't be read is taken for this.
    pub const ALL: Self = Self(u64::MAX);

    /// The label of this name, a class of an organization included. None where the name could be no label, or too many are known already.
    pub fn named(name: &str) -> Option<Self> {
        if let Some(at) = KNOWN.iter().position(|known| *known == name) {
            return Some(Self(1 << at));
        }
        if !is_class(name) {
            return None;
        }
        // The first free place is this name's, unless somebody else was faster.
        let at = CLASSES.iter().position(|place| &**place.get_or_init(|| name.into()) == name)?;
        Some(Self(1 << (KNOWN.len() + at)))
    }

    /// The word of this set, to be kept in an atomic.
    pub const fn word(self) -> u64 {
        self.0
    }

    /// The set of this word.
    pub const fn of_word(word: u64) -> Self {
        Self(word)
    }

    /// These labels and those.
    #[must_use]
    pub const fn join(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of these labels that the others lack.
    #[must_use]
    pub const fn beyond(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether all of those labels are among these.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether content that nobody vouches for is among what they mark.
    pub const fn is_untrusted(self) -> bool {
        self.contains(Self::UNTRUSTED)
    }

    /// Whether what they mark stays with few: `confidential`, or `secret`.
    pub const fn is_confidential(self) -> bool {
        self.0 & (Self::CONFIDENTIAL.0 | Self::SECRET.0) != 0
    }

    /// Those that say what the data is, and not who wrote it.
    #[must_use]
    pub const fn of_data(self) -> Self {
        self.beyond(Self::UNTRUSTED)
    }

    /// Their names: the known ones first.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let known = KNOWN.into_iter();
        let classes = CLASSES.iter().filter_map(|place| place.get().map(|name| &**name));
        known.chain(classes).enumerate().filter(move |(at, _)| self.0 & (1 << at) != 0).map(|(_, name)| name)
    }
}

/// Whether an organization's class may have this name: lower case, of at most 32 letters, digits, `-` and `_`, and none of the words that
/// mean something else where classes stand.
pub fn is_class(name: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() <= 32
        && name.bytes().all(is_plain)
        && !KNOWN.contains(&name)
        && name != "public"
}

impl FromIterator<Labels> for Labels {
    fn from_iter<T: IntoIterator<Item = Labels>>(sets: T) -> Self {
        sets.into_iter().fold(Self::NONE, Self::join)
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let every = (*self == Self::ALL).then_some(EVERY);
        serializer.collect_seq(self.names().chain(every))
    }
}

impl<'de> Deserialize<'de> for Labels {
    /// Reads names, and the two flags that stood for them once. A name that nobody knows any more stays what it is; one that there is no
    /// room for stands for every label.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::Names(names) => {
                names.iter().map(|name| if name == EVERY { Self::ALL } else { Self::named(name).unwrap_or(Self::ALL) }).collect()
            }
            Written::Flags { untrusted, confidential } => {
                let flag = |is_set: bool, label: Self| if is_set { label } else { Self::NONE };
                flag(untrusted, Self::UNTRUSTED).join(flag(confidential, Self::CONFIDENTIAL))
            }
        })
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Names(Vec<String>),
    Flags { untrusted: bool, confidential: bool },
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::{Labels, is_class};

    fn text(labels: Labels) -> String {
        serde_json::to_string(&labels).unwrap()
    }

    fn read(text: &str) -> Result<Labels, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn a_set_is_written_by_names_and_read_as_it_was() {
        let set = Labels::UNTRUSTED.join(Labels::SECRET).join(Labels::named("personal").unwrap());
        assert_eq!(text(set), r#"["untrusted","secret","personal"]"#);
        assert_eq!(read(&text(set)).unwrap(), set);
        assert_eq!(text(Labels::NONE), "[]");
        assert!(text(Labels::ALL).ends_with(r#""*"]"#));
        assert_eq!(read(&text(Labels::ALL)).unwrap(), Labels::ALL);
        assert!(Labels::ALL.contains(Labels::named("declared-later").unwrap()));
    }

    #[test]
    fn the_two_flags_of_earlier_records_are_read() {
        assert_eq!(read(r#"{"untrusted":true,"confidential":false}"#).unwrap(), Labels::UNTRUSTED);
        assert_eq!(read(r#"{"untrusted":false,"confidential":true}"#).unwrap(), Labels::CONFIDENTIAL);
        assert!(read(r#"{"untrusted":"no"}"#).is_err());
        assert!(read("null").is_err());
        assert_eq!(read(r#"["Not A Label"]"#).unwrap(), Labels::ALL, "what can't be read is everything");
    }

    #[test]
    fn a_name_is_one_label_and_words_of_other_meaning_are_none() {
        assert_eq!(Labels::named("confidential"), Some(Labels::CONFIDENTIAL));
        assert_eq!(Labels::named("payroll"), Labels::named("payroll"));
        assert_ne!(Labels::named("payroll"), Labels::named("personal"));
        for none in ["", "public", "Payroll", "9lives", "a b", "*", &"a".repeat(33)] {
            assert_eq!(Labels::named(none), None, "{none}");
            assert!(!is_class(none));
        }
    }

    #[test]
    fn threads_that_name_the_same_classes_get_the_same_bits() {
        let name = |at: usize| format!("thread-{}", at % 8);
        let all = || (0..32).map(|at| Labels::named(&name(at)).unwrap()).collect::<Vec<_>>();
        let found: Vec<Vec<Labels>> = std::thread::scope(|scope| {
            [(); 4].map(|()| scope.spawn(all)).into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(found.iter().all(|one| Some(one) == found.first()));
    }

    #[test]
    fn secret_data_is_confidential_too() {
        assert!(Labels::SECRET.is_confidential() && Labels::CONFIDENTIAL.is_confidential());
        assert!(!Labels::INTERNAL.join(Labels::UNTRUSTED).is_confidential());
        assert_eq!(Labels::ALL.of_data().join(Labels::UNTRUSTED), Labels::ALL);
        assert!(!Labels::ALL.of_data().is_untrusted());
    }

    fn any_labels() -> impl Strategy<Value = Labels> {
        any::<u64>().prop_map(Labels::of_word)
    }

    proptest! {
        /// A join semilattice with a least element, whose order is `contains`.
        #[test]
        fn labels_form_a_join_semilattice(a in any_labels(), b in any_labels(), c in any_labels()) {
            prop_assert_eq!(a.join(b), b.join(a));
            prop_assert_eq!(a.join(b).join(c), a.join(b.join(c)));
            prop_assert_eq!(a.join(a), a);
            prop_assert_eq!(a.join(Labels::NONE), a);
            prop_assert_eq!(a.join(Labels::ALL), Labels::ALL);
            prop_assert_eq!(a.contains(b), a.join(b) == a);
            prop_assert!(a.join(b).contains(a) && a.join(b).contains(b));
            // It is the least of all that contain both.
            prop_assert_eq!(c.contains(a) && c.contains(b), c.contains(a.join(b)));
            prop_assert_eq!(a.beyond(b).join(b), a.join(b));
            prop_assert_eq!(a.beyond(b).is_empty(), b.contains(a));
        }
    }
}
