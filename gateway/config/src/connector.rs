//! Connectors, checked: downstream MCP servers, how they are reached, and what an admin says of their tools.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bailiwick_pipeline::{destination::Destination, grant::Labels, marks::Marks, ports::Injection};
use bailiwick_policy::{Band, ConnectorFacts, Kind};
use bailiwick_schemas::{
    exposure::Prefix,
    names::{ConnectorId, Feature, QualifiedName, ToolName},
    validate::Undeclared,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::provider::Lending;

/// A registered downstream MCP server.
#[derive(Debug, Clone, PartialEq)]
pub struct Connector {
    /// Its id: the namespace of its tools.
    pub id: ConnectorId,
    /// Whether agents see its tools behind that id.
    pub prefix: Prefix,
    /// The way to it.
    pub way: Way,
    /// Which protocol it is spoken to in.
    pub protocol: ProtocolChoice,
    /// Whether one process, or one session, serves all grants.
    pub shared: bool,
    /// Hosts of pages that it may send agents to.
    pub elicitation_hosts: Vec<String>,
    /// Who accepts its tools.
    pub pin: Pin,
    /// How sensitive what it holds is.
    pub sensitivity: Sensitivity,
    /// The environment it belongs to.
    pub environment: String,
    /// How long one call may take in all.
    pub call_timeout: Duration,
    /// How long its start may take.
    pub handshake_timeout: Duration,
    /// A list of its tools that is older than this is read again before a call.
    pub relist_after: Duration,
    /// Calls in a second by all together; none is no limit.
    pub max_rate: Option<u32>,
    /// What the results of a tool are marked with that says nothing itself.
    pub labels: Labels,
    /// What its resources are marked with beside that, by the URI under which they are.
    pub label_resources: Vec<(Box<str>, Labels)>,
    /// The secret that is lent to it.
    pub credential: Option<Credential>,
    /// The tools that are classed.
    pub tools: BTreeMap<ToolName, ToolTerms>,
    /// The features that are classed.
    pub features: BTreeMap<Feature, ToolTerms>,
}

/// What an admin says of one tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolTerms {
    /// What it does.
    pub kind: Kind,
    /// How risky it is.
    pub band: Band,
    /// What its results are marked with.
    pub labels: Labels,
    /// What parts of its results are marked with beside that.
    pub marks: Option<Arc<Marks>>,
    /// What becomes of arguments that its schema doesn't declare.
    pub undeclared: Undeclared,
    /// What a call of it costs, in the admin's own units.
    pub cost: u64,
    /// The arguments that say where its data goes; none where nobody said.
    pub destination: Option<Destination>,
}

impl ToolTerms {
    /// Of this class; it costs 1, and nobody said where its data goes.
    fn unclassed(kind: Kind, labels: Labels, marks: Option<Arc<Marks>>) -> Self {
        Self { kind, band: Band::High, labels, marks, undeclared: Undeclared::Refuse, cost: 1, destination: None }
    }
}

/// What a feature's results are marked with by the resources in them.
pub(crate) fn marks_of(feature: Feature, resources: &[(Box<str>, Labels)]) -> Option<Arc<Marks>> {
    match feature {
        Feature::ResourceRead => Marks::of_resources(resources.to_vec()),
        _ => Marks::of_tool(Vec::new(), resources.to_vec()),
    }
}

/// The way to a connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// It is a child process of the gateway.
    Process(Process),
    /// It runs elsewhere.
    Http(Http),
}

/// A connector that is a child process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// The program that is started.
    pub program: Program,
    /// The arguments of the program. No shell reads them.
    pub arguments: Vec<String>,
    /// The whole environment it starts with, but for the credential.
    pub env: BTreeMap<String, String>,
    /// The folder it is started in.
    pub cwd: Option<PathBuf>,
}

/// A connector over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Its MCP endpoint: no user, no fragment.
    pub url: Url,
    /// Networks that its name may resolve into though they are not public.
    pub networks: Vec<IpNet>,
    /// The only certificate authorities that are trusted for it (a PEM file).
    pub roots: Option<PathBuf>,
    /// The PEM file with the certificate that is presented to it, and its private key.
    pub identity: Option<PathBuf>,
    /// Whether it is spoken to without TLS even where others can listen.
    pub dangerous_plain_http: bool,
}

/// Which protocol a connector is spoken to in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProtocolChoice {
    /// It is asked.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// The one without a handshake.
    #[serde(rename = "2026-07-28")]
    Modern,
    /// The ones with `initialize`.
    #[serde(rename = "legacy")]
    Legacy,
}

/// The program of a connector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// The program at this absolute path.
    Path(PathBuf),
    /// The gateway's own binary: only in the embedded configuration (`@self`).
    Own,
}

/// Who accepts the tools of a connector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pin {
    /// A person does.
    #[default]
    Manual,
    /// The first start does.
    FirstUse,
}

/// How sensitive what a connector holds is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sensitivity {
    /// Anybody may know it.
    Public,
    /// It stays in the house.
    #[default]
    Internal,
    /// It stays with few.
    Confidential,
    /// It harms by being known.
    Secret,
}

/// A secret that is lent to a connector for each grant. It names the secret, and never holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Where the secret is.
    pub source: SecretSource,
    /// How the connector gets it.
    pub injection: Injection,
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// In a variable of the gateway's environment.
    Variable(String),
    /// In a file.
    File(PathBuf),
    /// With an issuer, which makes one for each task.
    Issuer(Box<Lending>),
    /// In a file of the data folder, at this path in it: only in the embedded configuration (`@data/…`).
    Data(PathBuf),
}

impl Connector {
    /// What an admin says of a tool. A tool that nobody classed is `execute` and `high`.
    pub fn terms_of(&self, tool: &ToolName) -> ToolTerms {
        self.tools.get(tool).cloned().unwrap_or_else(|| {
            ToolTerms::unclassed(Kind::Execute, self.labels, Marks::of_tool(Vec::new(), self.label_resources.clone()))
        })
    }

    /// What an admin says of a feature. One that nobody classed is `read`, which the protocol says it is, and `high`.
    pub fn terms_of_feature(&self, feature: Feature) -> ToolTerms {
        self.features
            .get(&feature)
            .cloned()
            .unwrap_or_else(|| ToolTerms::unclassed(Kind::Read, self.labels, marks_of(feature, &self.label_resources)))
    }

    /// The child process that it is, if it is one.
    pub fn process(&self) -> Option<&Process> {
        match &self.way {
            Way::Process(process) => Some(process),
            Way::Http(_) => None,
        }
    }

    /// What policies may know about it.
    pub fn facts(&self) -> ConnectorFacts {
        ConnectorFacts {
            id: self.id.to_string(),
            sensitivity: self.sensitivity.as_str().to_owned(),
            environment: self.environment.clone(),
            credential: match self.credential.as_ref().map(|credential| &credential.source) {
                None => "none",
                Some(SecretSource::Issuer(_)) => "minted",
                Some(SecretSource::Variable(_) | SecretSource::File(_) | SecretSource::Data(_)) => "standing",
            },
        }
    }

    /// The full name of a tool of it.
    pub fn qualified(&self, tool: &ToolName) -> QualifiedName {
        QualifiedName::new(self.id.clone(), tool.clone())
    }
}

impl Program {
    /// The program's path, where `own` is that of the gateway's own binary.
    pub fn path<'p>(&'p self, own: &'p Path) -> &'p Path {
        match self {
            Self::Path(path) => path,
            Self::Own => own,
        }
    }
}

impl SecretSource {
    /// The file with the secret, if it is in one; `data` is the data folder.
    pub fn file(&self, data: &Path) -> Option<PathBuf> {
        match self {
            Self::Variable(_) | Self::Issuer(_) => None,
            Self::File(path) => Some(path.clone()),
            Self::Data(path) => Some(data.join(path)),
        }
    }
}

impl Sensitivity {
    /// The word for it in configuration and policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Confidential => "confidential",
            Self::Secret => "secret",
        }
    }

    /// What whoever reads it is marked with.
    pub const fn label(self) -> Labels {
        match self {
            Self::Public => Labels::NONE,
            Self::Internal => Labels::INTERNAL,
            Self::Confidential => Labels::CONFIDENTIAL,
            Self::Secret => Labels::SECRET,
        }
    }
}
