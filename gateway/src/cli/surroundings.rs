//! What a command is started in. The one place that reads the process's environment, arguments and terminals.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    io::{self, IsTerminal as _},
    path::{Path, PathBuf},
};

/// What a command is started in.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The environment, as far as it is text.
    pub environment: BTreeMap<String, String>,
    /// What was typed after the program's name.
    pub arguments: Vec<OsString>,
    /// This program's own file.
    pub own_binary: PathBuf,
    /// The folder it is started in.
    pub folder: PathBuf,
    /// Whether a person types on standard input.
    pub types: bool,
    /// Whether standard output is a terminal.
    pub out_is_terminal: bool,
    /// Whether standard error is a terminal.
    pub err_is_terminal: bool,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let texts = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        let arguments: Vec<OsString> = env::args_os().collect();
        let called = arguments.first().map(PathBuf::from).unwrap_or_default();
        Self {
            environment: env::vars_os().filter_map(texts).collect(),
            own_binary: env::current_exe().unwrap_or(called),
            arguments: arguments.into_iter().skip(1).collect(),
            folder: env::current_dir().unwrap_or_default(),
            types: io::stdin().is_terminal(),
            out_is_terminal: io::stdout().is_terminal(),
            err_is_terminal: io::stderr().is_terminal(),
        }
    }

    /// A variable that is set to something.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The arguments after the word `exec-child`, where it is the first: the gateway's own way to start its children.
    pub fn exec_child(&self) -> Option<Vec<String>> {
        let (first, rest) = self.arguments.split_first()?;
        (first == "exec-child").then(|| rest.iter().map(|argument| argument.to_string_lossy().into_owned()).collect())
    }

    /// A path as it is typed, from the root.
    pub(super) fn absolute(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }
}
