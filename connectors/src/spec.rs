//! What a connector is: the program, what it is given, and how much of everything it may use.

use std::{
    collections::BTreeMap,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use bailiwick_schemas::names::ConnectorId;

/// How a downstream server is started, and its limits.
#[derive(Debug, Clone)]
pub struct ConnectorSpec {
    /// Its id.
    pub id: ConnectorId,
    /// The program (an absolute path) and its arguments. No shell ever reads them.
    pub command: Vec<String>,
    /// What is put before the command: our own binary and `exec-child`, which sets limits and then becomes the command.
    /// Empty means that the command is started directly, with a process group of its own and nothing else.
    pub launcher: Vec<String>,
    /// The whole environment of the child, apart from a lent credential.
    pub env: BTreeMap<String, String>,
    /// Where it runs; `/` when not set.
    pub cwd: Option<PathBuf>,
    /// Whether one child serves all grants. Such a connector gets no credential.
    pub shared: bool,
    /// How long one call may take in all, where the call does not say less.
    pub call_timeout: Duration,
    /// How long the handshake, and each reading of the tool list, may take.
    pub handshake_timeout: Duration,
    /// The first pause after a failure; it doubles with each further one.
    pub backoff_first: Duration,
    /// The longest pause.
    pub backoff_most: Duration,
    /// A child that lived so long has started well: the pauses begin anew.
    pub stable_after: Duration,
    /// A tool list older than this is read again before a call goes.
    pub relist_after: Duration,
    /// A child that nobody used for so long is ended.
    pub idle_after: Duration,
    /// How long a child may take to end by itself once it is told to.
    pub kill_after: Duration,
    /// The longest line it may write, bytes.
    pub max_message: usize,
    /// The most children at once.
    pub max_children: usize,
    /// The most open files of a child (`RLIMIT_NOFILE`); needs the launcher. Never more than the gateway itself may have.
    pub max_files: Option<u64>,
    /// The most address space of a child, bytes (`RLIMIT_AS`); needs the launcher. Off unless somebody knows the program: runtimes
    /// such as Node, Go and Java reserve far more than they use, and don't start under a limit that looks generous.
    pub max_memory: Option<u64>,
    /// The most processes of the child's user (`RLIMIT_NPROC`); needs the launcher. Off unless children have a user of their own: the
    /// kernel counts by user, so the gateway's own threads, and those of every other child, would be in it.
    pub max_processes: Option<u64>,
}

/// Why a connector can't be what its configuration says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecFault {
    /// No command.
    #[error("connector `{0}` has no command: give the absolute path of its program")]
    NoCommand(ConnectorId),
    /// The program is not an absolute path.
    #[error("connector `{id}`: `{command}` is not an absolute path: write the whole path (`command -v {command}` shows it)")]
    NotAbsolute {
        /// Which connector.
        id: ConnectorId,
        /// What was given.
        command: String,
    },
    /// An argument or a value contains NUL.
    #[error("connector `{id}`: {place} contains NUL: remove it")]
    Nul {
        /// Which connector.
        id: ConnectorId,
        /// Where.
        place: String,
    },
    /// An environment variable that is not allowed.
    #[error("connector `{id}`: {fault}")]
    Env {
        /// Which connector.
        id: ConnectorId,
        /// What is wrong with it.
        fault: EnvNameFault,
    },
    /// Two connectors of one id.
    #[error("connector `{0}` is configured twice: give each connector an id of its own")]
    Twice(ConnectorId),
}

/// Why a name can't be an environment variable of a child.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvNameFault {
    /// Not a portable name.
    #[error("`{0}` is not the name of an environment variable: use letters, digits and `_`, no digit first")]
    Malformed(String),
    /// It makes programs load code from elsewhere.
    #[error("environment variable `{0}` makes programs load or run other code: it can't be set for a connector")]
    Dangerous(String),
}

/// Variables by which a program is made to load or run code that nobody named, or to send its traffic elsewhere.
const DANGEROUS: &[&str] = &[
    "BASH_ENV",
    "BASHOPTS",
    "CDPATH",
    "CLASSPATH",
    "COR_PROFILER",
    "CORECLR_PROFILER",
    "DOTNET_STARTUP_HOOKS",
    "ENV",
    "GCONV_PATH",
    "GLIBC_TUNABLES",
    "GIT_ASKPASS",
    "GIT_EXEC_PATH",
    "GIT_EXTERNAL_DIFF",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "IFS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "LOCALDOMAIN",
    "LUA_CPATH",
    "LUA_INIT",
    "LUA_PATH",
    "MALLOC_CHECK_",
    "NLSPATH",
    "NODE_EXTRA_CA_CERTS",
    "NODE_OPTIONS",
    "NODE_PATH",
    "NODE_REPL_EXTERNAL_MODULE",
    "OPENSSL_CONF",
    "OPENSSL_ENGINES",
    "OPENSSL_MODULES",
    "PERL5DB",
    "PERL5LIB",
    "PERL5OPT",
    "PERLLIB",
    "PROMPT_COMMAND",
    "PS4",
    "PYTHONBREAKPOINT",
    "PYTHONEXECUTABLE",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "RES_OPTIONS",
    "RUBYLIB",
    "RUBYOPT",
    "SHELLOPTS",
    "SSLKEYLOGFILE",
    "TMPPREFIX",
    "ZDOTDIR",
    "_JAVA_OPTIONS",
];

/// Whole families of them.
const DANGEROUS_PREFIXES: &[&str] = &["LD_", "DYLD_", "BASH_FUNC_", "NPM_CONFIG_", "UV_", "PIP_", "BAILIWICK_"];

/// Whether an admin may set this variable for a child.
pub fn check_env_name(name: &str) -> Result<(), EnvNameFault> {
    let shown = || name.chars().take(80).flat_map(char::escape_default).collect();
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.is_empty() || name.len() > 256 || !name.bytes().all(is_allowed) || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(EnvNameFault::Malformed(shown()));
    }
    let upper = name.to_ascii_uppercase();
    if DANGEROUS.contains(&upper.as_str()) || DANGEROUS_PREFIXES.iter().any(|prefix| upper.starts_with(prefix)) {
        return Err(EnvNameFault::Dangerous(shown()));
    }
    Ok(())
}

/// Who else could change what this program is, in words; none if only its own user and root can. Looked at are the file and the folders
/// above it, links resolved.
pub fn changeable(program: &Path) -> Option<String> {
    let real = std::fs::canonicalize(program).ok()?;
    real.ancestors().find_map(|path| {
        let found = std::fs::metadata(path).ok()?;
        let us = rustix::process::geteuid().as_raw();
        // In a sticky folder everybody may add, and nobody may replace.
        let is_open = found.mode() & 0o002 != 0 && !(found.is_dir() && found.mode() & 0o1000 != 0);
        let which = if path == real { "it".to_owned() } else { format!("the folder `{}`", path.display()) };
        if is_open {
            Some(format!("can be changed by everybody: `chmod o-w` {which}"))
        } else if found.uid() != 0 && found.uid() != us {
            Some(format!("can be changed by user {}, who owns {which}", found.uid()))
        } else {
            None
        }
    })
}

impl ConnectorSpec {
    /// A connector with the usual limits.
    pub fn new(id: ConnectorId, command: Vec<String>) -> Self {
        Self {
            id,
            command,
            launcher: Vec::new(),
            env: BTreeMap::new(),
            cwd: None,
            shared: false,
            call_timeout: Duration::from_mins(1),
            handshake_timeout: Duration::from_secs(20),
            backoff_first: Duration::from_millis(200),
            backoff_most: Duration::from_secs(30),
            stable_after: Duration::from_mins(1),
            relist_after: Duration::from_secs(30),
            idle_after: Duration::from_mins(5),
            kill_after: Duration::from_secs(2),
            max_message: 16 * 1024 * 1024,
            max_children: 64,
            max_files: Some(4096),
            max_memory: None,
            max_processes: None,
        }
    }

    /// Everything that is wrong with it, as far as its text tells.
    pub fn faults(&self) -> Vec<SpecFault> {
        let mut faults = Vec::new();
        match self.command.first() {
            None => faults.push(SpecFault::NoCommand(self.id.clone())),
            Some(command) if !command.starts_with('/') => {
                faults.push(SpecFault::NotAbsolute { id: self.id.clone(), command: command.clone() });
            }
            Some(_) => {}
        }
        if self.command.iter().any(|argument| argument.contains('\0')) {
            faults.push(SpecFault::Nul { id: self.id.clone(), place: "the command".to_owned() });
        }
        for (name, value) in &self.env {
            if let Err(fault) = check_env_name(name) {
                faults.push(SpecFault::Env { id: self.id.clone(), fault });
            }
            if value.contains('\0') {
                faults.push(SpecFault::Nul { id: self.id.clone(), place: format!("the value of `{name}`") });
            }
        }
        faults
    }

    /// Looks whether the program can be run, so that the failure names what is wrong and not what came of it.
    pub(crate) fn look_at_program(&self) -> Result<(), String> {
        let program = self.command.first().map(String::as_str).unwrap_or_default();
        let id = &self.id;
        let found = std::fs::metadata(program).map_err(|fault| match fault.kind() {
            std::io::ErrorKind::NotFound => {
                format!("`{program}` does not exist: install it, or correct `command` of connector `{id}`")
            }
            _ => format!("`{program}` can't be looked at ({fault}): correct `command` of connector `{id}` or its permissions"),
        })?;
        let mode = found.permissions().mode();
        if !found.is_file() {
            return Err(format!("`{program}` is not a file: correct `command` of connector `{id}`"));
        }
        if mode & 0o111 == 0 {
            return Err(format!("`{program}` is not executable: `chmod +x` it, or correct `command` of connector `{id}`"));
        }
        match changeable(Path::new(program)) {
            Some(who) => Err(format!("`{program}` {who}: correct that, so that nobody else decides what runs")),
            None => Ok(()),
        }
    }
}
