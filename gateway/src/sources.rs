//! What a gateway is configured by: the configuration's file and the policy files it names, read as one set.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use bailiwick_config::{Config, ConfigFaults, PolicyFile};
use bailiwick_policy::DEFAULT_BUNDLE;
use bailiwick_schemas::canonical::Digest;

use crate::{runtime::StartFault, world::PolicyText};

/// The largest file of a configuration, bytes.
const LARGEST: u64 = 8 * 1024 * 1024;

/// So often a set is read anew because it changed while it was read.
const READINGS: usize = 20;

/// How long a set that changes under the hand is left alone.
const PAUSE: Duration = Duration::from_millis(25);

/// Where a configuration comes from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The file; none for the embedded demo.
    pub file: Option<PathBuf>,
    /// The environment that the gateway was started with.
    pub environment: BTreeMap<String, String>,
}

/// What each file of a set held: the digest of its content, or why it could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<PathBuf, Result<Digest, String>>);

impl Snapshot {
    /// One digest over all of it.
    pub fn digest(&self) -> Digest {
        let mut bytes = Vec::new();
        for (path, content) in &self.0 {
            let content = content.as_ref().map_or_else(Clone::clone, ToString::to_string);
            for part in [path.as_os_str().as_encoded_bytes(), content.as_bytes()] {
                bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
                bytes.extend_from_slice(part);
            }
        }
        Digest::of(&bytes)
    }

    /// What this configuration and these policies are a reading of.
    pub fn of(origin: &Origin, config: &Config, policies: &[PolicyText]) -> Self {
        let content = |text: &str| Ok(Digest::of(text.as_bytes()));
        let file = origin.file.iter().map(|file| (file.clone(), content(config.text())));
        let read = policies.iter().filter_map(|policy| Some((policy.path.clone()?, content(&policy.text))));
        Self(file.chain(read).collect())
    }
}

/// A configuration, checked, with the text of its policies: all as they were at one moment.
#[derive(Debug)]
pub struct Sources {
    /// The configuration.
    pub config: Config,
    /// The policies.
    pub policies: Vec<PolicyText>,
}

/// Why a set can't be taken.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum SourceFault {
    /// The configuration can't be read.
    #[error("`{path}` can't be read: {why}", path = path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// The configuration says nothing.
    #[error("`{path}` is empty", path = path.display())]
    #[diagnostic(help("a gateway that is to know no agent any more is stopped; what is half written is waited for"))]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// The configuration has faults.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Config(Box<ConfigFaults>),
    /// A policy can't be read.
    #[error(transparent)]
    Policy(StartFault),
    /// It did not stand still.
    #[error("the files of the configuration change all the time")]
    #[diagnostic(help("nothing was taken: reload once they are written"))]
    Restless,
}

/// What came of reading a set.
#[derive(Debug)]
pub struct Reading {
    /// The set, or what is wrong with it.
    pub sources: Result<Sources, SourceFault>,
    /// What was read.
    pub snapshot: Snapshot,
    /// The policy files that belong to it.
    pub watched: Vec<PolicyFile>,
}

/// Reads the set at once: what is returned stood in all its files at the same time. `watched` are the policy files that belonged
/// to it before; they count as long as the configuration itself can't say which do. Blocks.
pub fn read(origin: &Origin, watched: &[PolicyFile]) -> Reading {
    let mut watched = watched.to_vec();
    let mut taken = Taken::now(origin, &watched);
    for _ in 0..READINGS {
        let config = match configured(origin, &taken) {
            Ok(config) => config,
            Err(fault) => return Reading { sources: Err(fault), snapshot: taken.snapshot(), watched },
        };
        if watched != config.policy.files {
            watched.clone_from(&config.policy.files);
            taken = Taken::now(origin, &watched);
            continue;
        }
        // A set is swapped file by file, or by one link over all of them: only what is found twice has stood together.
        let again = Taken::now(origin, &watched);
        let snapshot = taken.snapshot();
        if again.snapshot() == snapshot {
            let policies = taken.into_policies(config.policy.include_default);
            let sources = policies.map(|policies| Sources { config, policies }).map_err(SourceFault::Policy);
            return Reading { sources, snapshot, watched };
        }
        std::thread::sleep(PAUSE);
        taken = Taken::now(origin, &watched);
    }
    Reading { sources: Err(SourceFault::Restless), snapshot: taken.snapshot(), watched }
}

/// What the files of a set hold now. Blocks.
pub fn look(origin: &Origin, watched: &[PolicyFile]) -> Snapshot {
    Taken::now(origin, watched).snapshot()
}

/// The policies that the configuration names, read.
pub fn policies_of(config: &Config) -> Result<Vec<PolicyText>, StartFault> {
    Taken { file: None, policies: policy_files(&config.policy.files) }.into_policies(config.policy.include_default)
}

fn configured(origin: &Origin, taken: &Taken) -> Result<Config, SourceFault> {
    let environment = origin.environment.clone();
    let Some((path, text)) = &taken.file else {
        return bailiwick_config::embedded(bailiwick_config::DEMO, environment)
            .map_err(|faults| SourceFault::Config(Box::new(faults)));
    };
    let text = text.as_ref().map_err(|why| SourceFault::Unreadable { path: path.clone(), why: again(why) })?;
    // What an editor or a full disk leaves behind of a file is no wish to have no agents.
    if says_nothing(text, "#") {
        return Err(SourceFault::Empty { path: path.clone() });
    }
    bailiwick_config::load(path, text.clone(), environment).map_err(|faults| SourceFault::Config(Box::new(faults)))
}

/// Files, as they were found.
struct Taken {
    file: Option<(PathBuf, io::Result<String>)>,
    policies: Vec<(PathBuf, io::Result<String>)>,
}

impl Taken {
    fn now(origin: &Origin, watched: &[PolicyFile]) -> Self {
        Self { file: origin.file.as_ref().map(|file| (file.clone(), text_of(file))), policies: policy_files(watched) }
    }

    fn snapshot(&self) -> Snapshot {
        let content = |text: &io::Result<String>| match text {
            Ok(text) => Ok(Digest::of(text.as_bytes())),
            Err(why) => Err(why.to_string()),
        };
        Snapshot(self.file.iter().chain(&self.policies).map(|(path, text)| (path.clone(), content(text))).collect())
    }

    fn into_policies(self, with_default: bool) -> Result<Vec<PolicyText>, StartFault> {
        let default = || PolicyText { name: "default".to_owned(), text: DEFAULT_BUNDLE.to_owned(), path: None };
        let mut texts: Vec<PolicyText> = with_default.then(default).into_iter().collect();
        for (path, text) in self.policies {
            // Its rules may have been what forbids: a file that lost them must not count as one that has none.
            let text = text.and_then(|text| if says_nothing(&text, "//") { Err(no_rule()) } else { Ok(text) });
            let text = text.map_err(|why| StartFault::Policy { path: path.clone(), why })?;
            texts.push(PolicyText { name: path.display().to_string(), text, path: Some(path) });
        }
        Ok(texts)
    }
}

fn no_rule() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "there is no rule in it: write one, or take it out of `policy.files`")
}

/// Whether there is nothing but space and comments.
fn says_nothing(text: &str, comment: &str) -> bool {
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with(comment))
}

fn policy_files(files: &[PolicyFile]) -> Vec<(PathBuf, io::Result<String>)> {
    let mut found = Vec::new();
    for file in files {
        match file {
            PolicyFile::One(path) => found.push((path.clone(), text_of(path))),
            PolicyFile::AllIn(folder) => match cedar_files(folder) {
                Ok(paths) => found.extend(paths.into_iter().map(|path| {
                    let text = text_of(&path);
                    (path, text)
                })),
                Err(why) => found.push((folder.clone(), Err(why))),
            },
        }
    }
    found
}

fn cedar_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "cedar") {
            paths.push(path);
        }
    }
    paths.sort();
    if paths.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "there is no .cedar file in it"));
    }
    Ok(paths)
}

/// The text of a plain file of a bearable size. Nothing else is waited for: a pipe that nobody writes to would never be read.
fn text_of(path: &Path) -> io::Result<String> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file: File = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
    let found = file.metadata()?;
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    if !found.is_file() {
        return Err(invalid("it is not a file".to_owned()));
    }
    let too_large = || invalid(format!("it is larger than {} MiB", LARGEST / (1024 * 1024)));
    if found.len() > LARGEST {
        return Err(too_large());
    }
    let mut text = String::new();
    // One more than is borne, so that a file that grows is found out.
    let read = file.take(LARGEST + 1).read_to_string(&mut text)?;
    if read as u64 > LARGEST { Err(too_large()) } else { Ok(text) }
}

/// An error to tell once more.
fn again(why: &io::Error) -> io::Error {
    io::Error::new(why.kind(), why.to_string())
}

#[cfg(test)]
mod tests;
