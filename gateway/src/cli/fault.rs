//! Why a command did not do what was asked.

use std::{io, path::PathBuf};

use bailiwick_config::ConfigFaults;
use bailiwick_store::{StoreFault, WriteFault};
use bailiwick_trail::TrailFault;
use miette::Diagnostic;

use super::{policy::PolicyFaults, screen::lines, surroundings::Surroundings};
use crate::{data::DataFault, runtime::StartFault};

/// Why a command did not do what was asked. Texts that others wrote are made safe to show before they get in here.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum CliFault {
    /// Something typed is not what it must be.
    #[error("{what}")]
    Usage {
        /// What.
        what: String,
        /// What to type.
        #[help]
        help: String,
    },
    /// It was refused, or failed, and somebody said why.
    #[error("{what}")]
    Refused {
        /// Why.
        what: String,
        /// What to do next.
        #[help]
        help: Option<String>,
    },
    /// It is said already, on standard error or standard output.
    #[error("it was refused or failed")]
    Said,
    /// Other policies let go what these do not; it is said already.
    #[error("something widens")]
    Widens,
    /// No gateway runs on this data folder.
    #[error("no gateway is running on `{data}`", data = data.display())]
    #[diagnostic(help("start one: {start}{elsewhere}"))]
    NotRunning {
        /// The data folder.
        data: PathBuf,
        /// How.
        start: String,
        /// Where one is running, if it is known.
        elsewhere: String,
    },
    /// The gateway could not be talked to.
    #[error("the gateway at `{at}` does not answer: {why}")]
    #[diagnostic(help("look at what it writes to standard error; `bailiwick run` starts it anew"))]
    Silent {
        /// The socket or URL.
        at: String,
        /// Why.
        why: String,
    },
    /// The configuration file can't be read.
    #[error("`{path}` can't be read: {why}", path = path.display())]
    #[diagnostic(help("name another with `--config FILE`, or leave it out for ./config.toml or the embedded demo"))]
    Config {
        /// Which.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// The configuration has faults.
    #[error(transparent)]
    #[diagnostic(transparent)]
    ConfigFaults(#[from] Box<ConfigFaults>),
    /// The policies have faults.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Policies(Box<PolicyFaults>),
    /// No folder to keep data in is known.
    #[error("neither XDG_DATA_HOME nor HOME is set, so there is no usual data folder")]
    #[diagnostic(help("name one: `--data DIR`"))]
    NoHome,
    /// The data folder.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Data(#[from] DataFault),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// A write to the store.
    #[error(transparent)]
    Write(#[from] WriteFault),
    /// The trail.
    #[error(transparent)]
    Trail(#[from] TrailFault),
    /// A gateway does not start.
    #[error(transparent)]
    Start(#[from] StartFault),
    /// The output can't be written.
    #[error("standard output can't be written: {0}")]
    Output(io::Error),
    /// The system says no.
    #[error("{what}: {why}")]
    System {
        /// What was tried.
        what: String,
        /// Why not.
        why: io::Error,
    },
}

impl CliFault {
    /// Something typed is not what it must be.
    pub(super) fn usage(what: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Usage { what: what.into(), help: help.into() }
    }

    /// It was refused.
    pub(super) fn refused(what: &str, help: Option<&str>) -> Self {
        Self::Refused { what: lines(what), help: help.map(lines) }
    }

    /// The exit code: 1 refused or failed, 2 usage, 3 other policies that widen. Who stopped reading knows why: 0.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } => 2,
            Self::Widens => 3,
            Self::Output(why) if why.kind() == io::ErrorKind::BrokenPipe => 0,
            _ => 1,
        }
    }

    /// Says it on standard error.
    pub fn say(self, around: &Surroundings) {
        let is_said = matches!(&self, Self::Said | Self::Widens)
            || matches!(&self, Self::Output(why) if why.kind() == io::ErrorKind::BrokenPipe);
        if is_said {
            return;
        }
        let looks = around.err_is_terminal && around.variable("NO_COLOR").is_none();
        let hook = miette::set_hook(Box::new(move |_| {
            let options = miette::MietteHandlerOpts::new().color(looks).unicode(true).terminal_links(false);
            Box::new(options.width(100).context_lines(1).build())
        }));
        // It was set before: then that one is used.
        drop(hook);
        let report = miette::Report::new(self);
        let _unread = io::Write::write_all(&mut io::stderr().lock(), format!("{report:?}\n").as_bytes());
    }
}

impl From<ConfigFaults> for CliFault {
    fn from(faults: ConfigFaults) -> Self {
        Self::ConfigFaults(Box::new(faults))
    }
}
