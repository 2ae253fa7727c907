//! What a connector is: where its server is, what it is given, and how much of everything it may use.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use bailiwick_schemas::{canonical::Digest, names::ConnectorId};
use ipnet::IpNet;
use url::{Host, Url};

use crate::{
    ownership::changeable,
    variables::{EnvNameFault, check_env_name},
    version::Protocol,
};

/// A downstream server: the way to it, and its limits.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectorSpec {
    /// Its id.
    pub id: ConnectorId,
    /// The way to it.
    pub way: Way,
    /// Which protocol it is spoken to in.
    pub protocol: Protocol,
    /// Whether one child, or one session, serves all grants. Such a connector gets no credential.
    pub shared: bool,
    /// How long one call may take in all, where the call does not say less.
    pub call_timeout: Duration,
    /// How long the handshake, and each reading of the tool list, may take.
    pub handshake_timeout: Duration,
    /// The first pause after a failure; it doubles with each further one.
    pub backoff_first: Duration,
    /// The longest pause.
    pub backoff_most: Duration,
    /// A child or a session that lived so long has started well: the pauses begin anew.
    pub stable_after: Duration,
    /// A tool list older than this is read again before a call goes.
    pub relist_after: Duration,
    /// A child or a session that nobody used for so long is ended.
    pub idle_after: Duration,
    /// How long a child, or a session, may take to end once it is told to.
    pub kill_after: Duration,
    /// The longest message that is taken from it, bytes. It may change while the connector is served.
    pub max_message: usize,
    /// The most children, or sessions, at once.
    pub max_children: usize,
    /// What its tools call it by, everything that decides who is reached and what is lent: a tool of another one is not called here.
    pub fingerprint: Digest,
}

/// The most children of a connector at once, where nobody says otherwise: each is a program, with all that it needs.
const MOST_CHILDREN: usize = 64;
/// The most sessions over HTTP: each is little more than an id.
const MOST_SESSIONS: usize = 4096;

/// The way to a server.
#[derive(Debug, Clone, PartialEq)]
pub enum Way {
    /// It is started as a child process, and spoken to over its standard input and output.
    Process(ProcessSpec),
    /// It runs elsewhere, and is spoken to over HTTP.
    Http(HttpSpec),
}

/// A server that is a child process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSpec {
    /// The program (an absolute path) and its arguments. No shell ever reads them.
    pub command: Vec<String>,
    /// What is put before the command: our own binary and `exec-child`, which sets limits and then becomes the command.
    /// Empty means that the command is started directly, with a process group of its own and nothing else.
    pub launcher: Vec<String>,
    /// The whole environment of the child, apart from a lent credential.
    pub env: BTreeMap<String, String>,
    /// Where it runs; `/` when not set.
    pub cwd: Option<PathBuf>,
    /// The most open files of a child (`RLIMIT_NOFILE`); needs the launcher. Never more than the gateway itself may have.
    pub max_files: Option<u64>,
    /// The most address space of a child, bytes (`RLIMIT_AS`); needs the launcher. Off unless somebody knows the program: runtimes
    /// such as Node, Go and Java reserve far more than they use, and don't start under a limit that looks generous.
    pub max_memory: Option<u64>,
    /// The most processes of the child's user (`RLIMIT_NPROC`); needs the launcher. Off unless children have a user of their own: the
    /// kernel counts by user, so the gateway's own threads, and those of every other child, would be in it.
    pub max_processes: Option<u64>,
}

/// A server over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSpec {
    /// Its MCP endpoint. A literal address in it, or `localhost`, declares exactly that as reachable.
    pub url: Url,
    /// Networks that its name may resolve into though they are not public.
    pub networks: Vec<IpNet>,
    /// The only certificate authorities that are trusted for it (a PEM file); those of the system when not set.
    pub roots: Option<PathBuf>,
    /// The certificate that is presented to it, those above it, and its private key (a PEM file), if it is shown one.
    pub identity: Option<PathBuf>,
    /// Whether it is spoken to without TLS even where others can listen.
    pub dangerous_plain_http: bool,
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
    /// A URL that can't be the endpoint of a server.
    #[error("connector `{id}`: {why}")]
    Url {
        /// Which connector.
        id: ConnectorId,
        /// What is wrong with it, and what to do.
        why: &'static str,
    },
    /// Two connectors of one id.
    #[error("connector `{0}` is configured twice: give each connector an id of its own")]
    Twice(ConnectorId),
}

impl ConnectorSpec {
    /// A connector that is a child process, with the usual limits.
    pub fn process(id: ConnectorId, command: Vec<String>) -> Self {
        Self::new(id, Way::Process(ProcessSpec { command, ..ProcessSpec::limited() }))
    }

    /// A connector over HTTP, with the usual limits.
    pub fn http(id: ConnectorId, url: Url) -> Self {
        let spec = HttpSpec { url, networks: Vec::new(), roots: None, identity: None, dangerous_plain_http: false };
        Self::new(id, Way::Http(spec))
    }

    /// A connector with the usual limits.
    pub fn new(id: ConnectorId, way: Way) -> Self {
        let max_children = match way {
            Way::Process(_) => MOST_CHILDREN,
            Way::Http(_) => MOST_SESSIONS,
        };
        Self {
            id,
            way,
            protocol: Protocol::Auto,
            shared: false,
            call_timeout: Duration::from_mins(1),
            handshake_timeout: Duration::from_secs(20),
            backoff_first: Duration::from_millis(200),
            backoff_most: Duration::from_secs(30),
            stable_after: Duration::from_secs(10),
            relist_after: Duration::from_secs(30),
            idle_after: Duration::from_mins(5),
            kill_after: Duration::from_secs(2),
            max_message: 16 * 1024 * 1024,
            max_children,
            fingerprint: Digest::of(b""),
        }
    }

    /// Whether another one is served by the same children, or sessions, as this one: what differs, if anything, can change meanwhile.
    pub(crate) fn serves(&self, other: &Self) -> bool {
        *self == Self { max_message: self.max_message, ..other.clone() }
    }

    /// Everything that is wrong with it, as far as its text tells.
    pub fn faults(&self) -> Vec<SpecFault> {
        match &self.way {
            Way::Process(process) => process.faults(&self.id),
            Way::Http(http) => http.fault().map(|why| SpecFault::Url { id: self.id.clone(), why }).into_iter().collect(),
        }
    }
}

impl ProcessSpec {
    /// No command, with the usual limits.
    pub fn limited() -> Self {
        Self {
            command: Vec::new(),
            launcher: Vec::new(),
            env: BTreeMap::new(),
            cwd: None,
            max_files: Some(4096),
            max_memory: None,
            max_processes: None,
        }
    }

    fn faults(&self, id: &ConnectorId) -> Vec<SpecFault> {
        let mut faults = Vec::new();
        match self.command.first() {
            None => faults.push(SpecFault::NoCommand(id.clone())),
            Some(command) if !command.starts_with('/') => {
                faults.push(SpecFault::NotAbsolute { id: id.clone(), command: command.clone() });
            }
            Some(_) => {}
        }
        if self.command.iter().any(|argument| argument.contains('\0')) {
            faults.push(SpecFault::Nul { id: id.clone(), place: "the command".to_owned() });
        }
        for (name, value) in &self.env {
            if let Err(fault) = check_env_name(name) {
                faults.push(SpecFault::Env { id: id.clone(), fault });
            }
            if value.contains('\0') {
                faults.push(SpecFault::Nul { id: id.clone(), place: format!("the value of `{name}`") });
            }
        }
        faults
    }

    /// Looks whether the program can be run, so that the failure names what is wrong and not what came of it.
    pub(crate) fn look_at_program(&self, id: &ConnectorId) -> Result<(), String> {
        let program = self.command.first().map(String::as_str).unwrap_or_default();
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

impl HttpSpec {
    /// What is wrong with the URL. It is not shown: it may hold what it should not.
    fn fault(&self) -> Option<&'static str> {
        let url = &self.url;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Some("`url` is not an `https` or `http` address: write the address of the server's MCP endpoint");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Some("`url` carries a user or password: put the secret into `credential`");
        }
        if url.fragment().is_some() {
            return Some("`url` has a fragment, which no server ever sees: leave it out");
        }
        if url.scheme() == "http" && !self.is_loopback() && !self.dangerous_plain_http {
            return Some("`url` would carry calls and credentials without TLS: write an `https` address");
        }
        None
    }

    /// Whether the host as written is this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        match self.url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        }
    }
}
