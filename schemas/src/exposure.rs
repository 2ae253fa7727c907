//! The names that agents see and send: `connector__tool`, or the tool's own name alone where its connector is to have no prefix and
//! nothing else could be meant. Whatever an admin writes and whatever is on record says `connector__tool`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::names::QualifiedName;

/// Whether agents see the tools of a connector behind its id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prefix {
    /// All of them: `connector__tool`.
    #[default]
    Always,
    /// None of them, as far as nothing else could be meant.
    Never,
}

/// The names of the gateway's own tools: of tool search, for what an agent says of its task and asks for it, and for what became of a call
/// that waits for a person.
pub const OWN: [&str; 5] = ["search_tools", "describe_tool", "complete_task", "request_access", "approval_status"];

/// Why a tool keeps its prefix though its connector is to have none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// This tool of the gateway's own has the same name, or one that differs only in case or in `-`, `.` and `_`.
    Reserved(&'static str),
    /// Its own name could be read as the full name of a tool.
    ReadsAsFull,
    /// These tools would have the same name, or one that differs only in case or in `-`, `.` and `_`.
    Collides(BTreeSet<QualifiedName>),
}

/// Under which name each tool is exposed, over a whole catalogue.
///
/// INVARIANT: no two tools share one. Full names contain `__`, bare ones nothing that reads so; full names differ by what they are made
/// of; and of bare ones those that are alike are none, the gateway's own tools among them, which have no prefix.
#[derive(Debug, Clone, Default)]
pub struct ExposedNames {
    /// By the bare name: the tool that has it.
    bare: HashMap<Box<str>, QualifiedName>,
    kept: BTreeMap<QualifiedName, Kept>,
}

impl ExposedNames {
    /// The names of these tools. To be asked of all that were accepted, callable now or not: then a name changes only by what an admin
    /// does. The order does not matter.
    pub fn over(tools: impl IntoIterator<Item = (QualifiedName, Prefix)>) -> Self {
        let mut names = Self::default();
        let mut alike: BTreeMap<String, BTreeSet<QualifiedName>> = BTreeMap::new();
        for (name, _) in tools.into_iter().filter(|(_, prefix)| *prefix == Prefix::Never) {
            let plain = plain(name.own());
            if plain.contains("__") {
                names.kept.insert(name, Kept::ReadsAsFull);
            } else if let Some(own) = OWN.into_iter().find(|own| *own == plain) {
                names.kept.insert(name, Kept::Reserved(own));
            } else {
                alike.entry(plain).or_default().insert(name);
            }
        }
        for all in alike.into_values() {
            if all.len() == 1 {
                names.bare.extend(all.into_iter().map(|name| (name.own().into(), name)));
            } else {
                names.kept.extend(all.iter().map(|name| (name.clone(), Kept::Collides(others(&all, name)))));
            }
        }
        names
    }

    /// The name that agents see and send for this tool.
    pub fn of<'n>(&self, name: &'n QualifiedName) -> &'n str {
        let bare = name.own();
        if self.bare.get(bare) == Some(name) { bare } else { name.as_str() }
    }

    /// The tool that is exposed under this bare name.
    pub fn bare(&self, name: &str) -> Option<&QualifiedName> {
        self.bare.get(name)
    }

    /// The tools that keep their prefix though their connectors are to have none.
    pub fn kept(&self) -> &BTreeMap<QualifiedName, Kept> {
        &self.kept
    }

    /// The same for a person to read, a line for each.
    pub fn remarks(&self) -> Vec<String> {
        let remark = |(name, kept): (&QualifiedName, &Kept)| format!("`{name}` keeps its prefix: {}", kept.why(name));
        self.kept.iter().map(remark).collect()
    }
}

impl Kept {
    /// Why, for a person to read.
    pub fn why(&self, name: &QualifiedName) -> String {
        let bare = name.own();
        match self {
            Self::Reserved(own) => format!("`{bare}` alone could not be told from the gateway's own tool `{own}`"),
            Self::ReadsAsFull => format!("`{bare}` alone could be taken for a tool of another connector"),
            Self::Collides(others) => {
                let others: Vec<String> = others.iter().map(|other| format!("`{other}`")).collect();
                format!("`{bare}` alone could not be told from {}", others.join(", "))
            }
        }
    }
}

fn others(all: &BTreeSet<QualifiedName>, name: &QualifiedName) -> BTreeSet<QualifiedName> {
    all.iter().filter(|other| *other != name).cloned().collect()
}

/// A name without what a reader may overlook, and what some clients write otherwise.
fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace(['-', '.'], "_")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::{collection::vec, prelude::proptest};

    use super::*;

    fn name(text: &str) -> QualifiedName {
        text.parse().unwrap()
    }

    fn names(never: &[&str], always: &[&str]) -> ExposedNames {
        let all = |of: &[&str], prefix| of.iter().map(|text| (name(text), prefix)).collect::<Vec<_>>();
        ExposedNames::over([all(never, Prefix::Never), all(always, Prefix::Always)].concat())
    }

    #[test]
    fn a_bare_name_that_nothing_else_has_is_exposed() {
        let names = names(&["a__get", "a__v2.list"], &["b__get", "c__find"]);
        let exposed = ["a__get", "a__v2.list", "b__get", "c__find"].map(|text| names.of(&name(text)).to_owned());
        assert_eq!(exposed, ["get", "v2.list", "b__get", "c__find"]);
        assert_eq!((names.bare("get"), names.bare("find"), names.bare("a__get")), (Some(&name("a__get")), None, None));
        assert!(names.kept().is_empty() && names.remarks().is_empty());
    }

    #[test]
    fn names_that_are_alike_all_keep_their_prefix() {
        let names = names(&["a__get", "b__get", "c__Get", "a__x.y", "b__x-y", "a__z"], &[]);
        for text in ["a__get", "b__get", "c__Get", "a__x.y", "b__x-y"] {
            assert_eq!(names.of(&name(text)), text);
        }
        assert_eq!((names.of(&name("a__z")), names.bare("get"), names.bare("Get")), ("z", None, None));
        assert_eq!(names.kept()[&name("a__get")], Kept::Collides([name("b__get"), name("c__Get")].into()));
        assert_eq!(names.remarks().len(), 5);
        assert_eq!(
            names.remarks().first().unwrap(),
            "`a__get` keeps its prefix: `get` alone could not be told from `b__get`, `c__Get`"
        );
    }

    /// Whether there is such a connector or not: it may come.
    #[test]
    fn a_name_that_reads_as_a_tool_of_another_connector_is_never_bare() {
        let odd = ["a__tickets__get", "a__b__", "a__Tickets__get", "a__x--y", "a__x._y", "a____y", "a__x__"];
        let names = names(&odd, &["tickets__get"]);
        for text in odd {
            assert_eq!((names.of(&name(text)), names.kept()[&name(text)].clone()), (text, Kept::ReadsAsFull));
        }
        assert_eq!(names.bare("tickets__get"), None);
        assert_eq!(
            names.remarks().last().unwrap(),
            "`a__x__` keeps its prefix: `x__` alone could be taken for a tool of another connector"
        );
    }

    /// Whether any grant has tool search or not: a name means the same under each.
    #[test]
    fn the_names_of_the_gateways_own_tools_are_nobody_elses() {
        let alike = ["a__search_tools", "b__Search-Tools", "a__describe.tool", "b__DESCRIBE_TOOL"];
        let names = names(&[&alike[..], &["a__search_tool"]].concat(), &[]);
        for text in alike {
            assert_eq!(names.of(&name(text)), text);
        }
        assert_eq!((names.of(&name("a__search_tool")), names.kept().len()), ("search_tool", 4));
        assert!(OWN.iter().all(|own| names.bare(own).is_none() && plain(own) == **own && !own.contains("__")));
        let why = "`b__Search-Tools` keeps its prefix: `Search-Tools` alone could not be told from the gateway's own tool `search_tools`";
        assert!(names.remarks().iter().any(|remark| remark == why), "{:?}", names.remarks());
    }

    proptest! {
        /// Whatever is accepted: one name for each tool, one tool for each name, and in whichever order they come.
        #[test]
        fn no_two_tools_share_a_name(tools in vec(("[a-c]", "[a-bA_.-]{1,4}", proptest::bool::ANY), 0..24)) {
            let all: BTreeMap<QualifiedName, Prefix> = tools
                .iter()
                .map(|(connector, tool, bare)| {
                    let prefix = if *bare { Prefix::Never } else { Prefix::Always };
                    (QualifiedName::new(connector.parse().unwrap(), tool.parse().unwrap()), prefix)
                })
                .collect();
            let names = ExposedNames::over(all.clone());
            let exposed: BTreeSet<String> = all.keys().map(|name| plain(names.of(name))).collect();
            let full: BTreeSet<String> = all.keys().map(|name| plain(name.as_str())).collect();
            // Where even the full names differ only in case or marks, they are of one connector, and whole they still differ.
            proptest::prop_assert!(exposed.len() >= full.len());
            let whole: BTreeSet<&str> = all.keys().map(|name| names.of(name)).collect();
            proptest::prop_assert_eq!(whole.len(), all.len());
            let again = ExposedNames::over(all.clone().into_iter().rev());
            for (name, prefix) in &all {
                proptest::prop_assert_eq!(names.of(name), again.of(name));
                let is_bare = names.of(name) != name.as_str();
                proptest::prop_assert!(!is_bare || *prefix == Prefix::Never);
                proptest::prop_assert_eq!(is_bare, names.bare(name.own()) == Some(name));
                proptest::prop_assert_eq!(*prefix == Prefix::Never && !is_bare, names.kept().contains_key(name));
                proptest::prop_assert!(!is_bare || names.of(name).parse::<QualifiedName>().is_err());
            }
        }
    }
}
