//! What a gateway is configured by: the configuration's file and the policy files it names, read as one set.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use bailiwick_config::{Config, ConfigFaults, PolicyFile};
use bailiwick_policy::DEFAULT_BUNDLE;
use bailiwick_schemas::canonical::Digest;

use crate::{
    policy_bundle::{self, Part, Titled},
    runtime::StartFault,
    world::PolicyText,
};

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

    /// The same, and the configuration that names these files.
    #[must_use]
    pub fn with(mut self, origin: &Origin, config: &Config) -> Self {
        if let Some(file) = &origin.file {
            self.0.insert(file.clone(), Ok(Digest::of(config.text().as_bytes())));
        }
        self
    }
}

/// A configuration, checked, with the text of its policies: all as they were at one moment.
#[derive(Debug)]
pub struct Sources {
    /// The configuration.
    pub config: Config,
    /// The policies.
    pub policies: Vec<PolicyText>,
    /// The policies that are only watched, or why they can't be: none where nothing is to be watched.
    pub shadow: Option<Result<Vec<PolicyText>, String>>,
    /// What the bundles among the policies call themselves.
    pub(crate) bundles: Vec<Titled>,
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
            let sources = taken.into_sources(config).map_err(SourceFault::Policy);
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
    Ok(policies_at_once(config)?.0.policies)
}

/// The same, as they stood in all their files at one moment, with all that belongs to them. Blocks.
pub fn policies_at_once(config: &Config) -> Result<(Sources, Snapshot), StartFault> {
    let look = || Taken { file: None, policies: policy_files(&config.policy.files) };
    let mut taken = look();
    for _ in 0..READINGS {
        let again = look();
        let snapshot = taken.snapshot();
        if again.snapshot() == snapshot {
            return Ok((taken.into_sources(config.clone())?, snapshot));
        }
        std::thread::sleep(PAUSE);
        taken = again;
    }
    let path = PathBuf::from(config.file());
    Err(StartFault::Policy { path, why: io::Error::new(io::ErrorKind::Interrupted, "the policies change all the time") })
}

/// The policies at one place, a folder or a file, whoever signed them. Blocks.
pub fn policies_at(at: &Path) -> Result<Vec<PolicyText>, StartFault> {
    let file = if at.is_dir() { PolicyFile::AllIn(at.to_owned()) } else { PolicyFile::One(at.to_owned()) };
    let taken = Taken { file: None, policies: policy_files(std::slice::from_ref(&file)) };
    Ok(taken.judged(&[])?.0)
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

/// Files, as they were found: the configuration, and what each entry of its policies came to.
struct Taken {
    file: Option<(PathBuf, io::Result<String>)>,
    policies: Vec<(PolicyFile, Vec<Part>)>,
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
        let file = self.file.iter().map(|(path, text)| (path.clone(), content(text)));
        let parts = self.policies.iter().flat_map(|(_, parts)| parts);
        Snapshot(file.chain(parts.map(|part| (part.path.clone(), content(&part.text)))).collect())
    }

    fn into_sources(self, config: Config) -> Result<Sources, StartFault> {
        let (shadow, enforced): (Vec<_>, Vec<_>) =
            self.policies.into_iter().partition(|(file, _)| matches!(file, PolicyFile::Shadow(_)));
        let default = || PolicyText { name: "default".to_owned(), text: DEFAULT_BUNDLE.to_owned(), path: None };
        let mut policies: Vec<PolicyText> = config.policy.include_default.then(default).into_iter().collect();
        let (own, bundles) = Self { file: None, policies: enforced }.judged(&config.policy.signed_by)?;
        policies.extend(own);
        // What is only watched is no reason to refuse anything; but what it reads goes on record, and so it is signed like the others.
        let shadow = (!shadow.is_empty()).then(|| {
            let judged = Self { file: None, policies: shadow }.judged(&config.policy.signed_by);
            judged.map(|(texts, _)| texts).map_err(|fault| fault.to_string())
        });
        Ok(Sources { config, policies, shadow, bundles })
    }

    /// The texts of the rules, where each bundle is as it says of itself, and signed by one of these keys where there are any.
    fn judged(self, keys: &[String]) -> Result<(Vec<PolicyText>, Vec<Titled>), StartFault> {
        let (mut texts, mut titles) = (Vec::new(), Vec::new());
        for (file, parts) in self.policies {
            if let PolicyFile::AllIn(folder) | PolicyFile::Shadow(folder) = &file {
                if let Some(Part { path, text: Err(why) }) = parts.iter().find(|part| part.text.is_err()) {
                    return Err(StartFault::Policy { path: path.clone(), why: again(why) });
                }
                let all: Vec<&Part> = parts.iter().collect();
                let title = policy_bundle::judge(folder, &all, keys).map_err(|(path, why)| StartFault::Policy { path, why })?;
                titles.extend(title);
            } else if let (PolicyFile::One(path), false) = (&file, keys.is_empty()) {
                let why = "it is a file by itself, and `policy.signed_by` takes signed bundles alone: put it into a folder";
                return Err(StartFault::Policy { path: path.clone(), why: io::Error::new(io::ErrorKind::InvalidData, why) });
            }
            for Part { path, text } in parts {
                if [policy_bundle::MANIFEST, policy_bundle::SIGNATURE].iter().any(|name| path.ends_with(name)) {
                    continue;
                }
                // Its rules may have been what forbids: a file that lost them must not count as one that has none.
                let text = text.and_then(|text| if says_nothing(&text, "//") { Err(no_rule()) } else { Ok(text) });
                let text = text.map_err(|why| StartFault::Policy { path: path.clone(), why })?;
                texts.push(PolicyText { name: path.display().to_string(), text, path: Some(path) });
            }
        }
        Ok((texts, titles))
    }
}

fn no_rule() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "there is no rule in it: write one, or take it out of `policy.files`")
}

/// Whether there is nothing but space and comments.
fn says_nothing(text: &str, comment: &str) -> bool {
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with(comment))
}

fn policy_files(files: &[PolicyFile]) -> Vec<(PolicyFile, Vec<Part>)> {
    let parts = |file: &PolicyFile| match file {
        PolicyFile::One(path) => vec![Part { path: path.clone(), text: text_of(path) }],
        PolicyFile::AllIn(folder) | PolicyFile::Shadow(folder) => policy_bundle::read(folder),
    };
    files.iter().map(|file| (file.clone(), parts(file))).collect()
}

/// The text of a plain file of a bearable size. Nothing else is waited for: a pipe that nobody writes to would never be read.
pub(crate) fn text_of(path: &Path) -> io::Result<String> {
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
