//! Rules to begin with, for the agents that most people have: each with the cases that say what its rules mean.

/// One set of rules, ready to be written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its name.
    pub name: &'static str,
    /// What it is for, in one line.
    pub about: &'static str,
    /// Its files: the name of each, and its text.
    pub files: [(&'static str, &'static str); 3],
}

macro_rules! template {
    ($name:literal, $about:literal) => {
        Template {
            name: $name,
            about: $about,
            files: [
                ("rules.cedar", include_str!(concat!("../templates/", $name, "/rules.cedar"))),
                ("tests.toml", include_str!(concat!("../templates/", $name, "/tests.toml"))),
                ("README.md", include_str!(concat!("../templates/", $name, "/README.md"))),
            ],
        }
    };
}

/// All of them.
pub const TEMPLATES: [Template; 5] = [
    template!("read-only-analyst", "looks things up and changes nothing; a person opens confidential sources"),
    template!("coding-agent", "proposes changes on branches of its own; a person merges"),
    template!("support-agent", "drafts replies and refunds; a person approves what is sent and what is paid"),
    template!("on-call-operator", "looks, restarts, scales within bounds; a person approves a rollback, nothing is deleted"),
    template!("batch-pipeline", "works at night, asks nobody, and sends nothing out once it has touched what is confidential"),
];

impl Template {
    /// The one of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TEMPLATES.iter().find(|template| template.name == name)
    }
}
