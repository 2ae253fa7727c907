//! What the configuration names, held against what is there: tools that were accepted, programs, folders, secrets.

use std::path::Path;

use bailiwick_identity::KeySource;
use bailiwick_pipeline::grant::ToolPattern;
use bailiwick_schemas::names::{QualifiedName, ToolName};

use crate::{
    checked::{Config, PolicyFile},
    code::FaultCode,
    connector::{Connector, Program, SecretSource, Way},
    fault::{Fault, Findings},
    source::KeyPath,
    suggest::nearest,
    trust::BundleSource,
};

/// Something that has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sought<'p> {
    /// A program that can be started.
    Program(&'p Path),
    /// A folder.
    Folder(&'p Path),
    /// A policy file.
    Policy(&'p Path),
    /// A file with the gateway's own certificate.
    Certificate(&'p Path),
    /// A file with a trust domain's bundle.
    Bundle(&'p Path),
    /// A file with certificate authorities.
    Roots(&'p Path),
    /// A file with the public keys of an issuer.
    Keys(&'p Path),
    /// A file with a secret.
    SecretFile(&'p Path),
    /// A variable of the gateway's environment with a secret.
    SecretVariable(&'p str),
}

/// What came of looking for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It is there and fit for use.
    Fit,
    /// It isn't there.
    Missing,
    /// It is there, and it isn't fit for use: it … ("is not executable", "can be changed by others").
    Unfit(String),
}

impl Config {
    /// What the configuration says of tools that aren't among `known`, the tools that were accepted. Of a connector without
    /// a known tool nothing is said: nobody has accepted any yet.
    pub fn check_against(&self, known: &[QualifiedName]) -> Vec<Fault> {
        let mut findings = Findings::new(&self.source, &self.variables);
        for (index, connector) in self.connectors.iter().enumerate() {
            let tools = KeyPath::default().key("connectors").item(index).key("tools");
            for tool in connector.tools.keys() {
                let name = connector.qualified(tool);
                if let Some(suggestion) = unknown(&name, known) {
                    let suggestion = suggestion.and_then(QualifiedName::tool).map(ToString::to_string);
                    no_tool(&tools.key(tool.as_str()), &name, suggestion, &mut findings, true);
                }
            }
        }
        for (index, grant) in self.grants.iter().enumerate() {
            let tools = KeyPath::default().key("grants").item(index).key("tools");
            for (at, capability) in grant.capabilities.iter().enumerate() {
                let ToolPattern::Tool(name) = &capability.tools else {
                    continue;
                };
                if let Some(suggestion) = unknown(name, known) {
                    no_tool(&tools.item(at), name, suggestion.map(ToString::to_string), &mut findings, false);
                }
            }
        }
        findings.into_vec()
    }

    /// What the configuration names that isn't there or isn't fit for use. `look` looks for it; `data` is the data folder.
    pub fn check_presence(&self, data: &Path, mut look: impl FnMut(Sought<'_>) -> Found) -> Vec<Fault> {
        let mut findings = Findings::new(&self.source, &self.variables);
        for (index, file) in self.policy.files.iter().enumerate() {
            let path = KeyPath::default().key("policy").key("files").item(index);
            let sought = match file {
                PolicyFile::One(file) => Sought::Policy(file),
                PolicyFile::AllIn(folder) => Sought::Folder(folder),
                // Nothing depends on it.
                PolicyFile::Shadow(_) => continue,
            };
            report(sought, look(sought), &path, "the policies", &mut findings);
        }
        self.trust_presence(&mut look, &mut findings);
        for (index, issuer) in self.issuers.iter().enumerate() {
            let path = KeyPath::default().key("issuers").item(index);
            let whose = format!("the issuer `{}`", issuer.id);
            if let KeySource::File(file) = &issuer.source {
                let sought = Sought::Keys(file);
                report(sought, look(sought), &path.key("jwks_file"), &whose, &mut findings);
            }
            if let Some(roots) = &issuer.roots {
                let sought = Sought::Roots(roots);
                report(sought, look(sought), &path.key("roots"), &whose, &mut findings);
            }
        }
        for (index, connector) in self.connectors.iter().enumerate() {
            let path = KeyPath::default().key("connectors").item(index);
            connector_presence(connector, &path, data, &mut look, &mut findings);
        }
        findings.into_vec()
    }

    fn trust_presence(&self, look: &mut impl FnMut(Sought<'_>) -> Found, findings: &mut Findings<'_>) {
        if let Some(tls) = &self.server.tls {
            let path = KeyPath::default().key("server").key("tls");
            for (key, sought) in [("certificate", Sought::Certificate(&tls.certificate)), ("key", Sought::SecretFile(&tls.key))] {
                report(sought, look(sought), &path.key(key), "the TLS listener", findings);
            }
        }
        for (index, domain) in self.trust_domains.iter().enumerate() {
            let path = KeyPath::default().key("trust_domains").item(index);
            let whose = format!("the trust domain `{}`", domain.name);
            let (key, sought) = match &domain.bundle {
                BundleSource::File(file) => ("bundle_file", Sought::Bundle(file)),
                BundleSource::Endpoint { roots: Some(roots), .. } => ("ca_file", Sought::Roots(roots)),
                BundleSource::Endpoint { roots: None, .. } => continue,
            };
            report(sought, look(sought), &path.key(key), &whose, findings);
        }
    }
}

fn connector_presence(
    connector: &Connector,
    path: &KeyPath,
    data: &Path,
    look: &mut impl FnMut(Sought<'_>) -> Found,
    findings: &mut Findings<'_>,
) {
    let whose = format!("the connector `{}`", connector.id);
    match &connector.way {
        Way::Process(process) => {
            if let Program::Path(program) = &process.program {
                let sought = Sought::Program(program);
                report(sought, look(sought), &path.key("command").item(0), &whose, findings);
            }
            if let Some(cwd) = &process.cwd {
                let sought = Sought::Folder(cwd);
                report(sought, look(sought), &path.key("cwd"), &whose, findings);
            }
        }
        Way::Http(http) => {
            if let Some(roots) = &http.roots {
                let sought = Sought::Roots(roots);
                report(sought, look(sought), &path.key("roots"), &whose, findings);
            }
            if let Some(identity) = &http.identity {
                let sought = Sought::SecretFile(identity);
                report(sought, look(sought), &path.key("identity"), &whose, findings);
            }
        }
    }
    let Some(credential) = &connector.credential else {
        return;
    };
    let path = path.key("credential");
    match (&credential.source, credential.source.file(data)) {
        (SecretSource::Variable(name), _) => {
            let sought = Sought::SecretVariable(name);
            report(sought, look(sought), &path.key("name"), &whose, findings);
        }
        (_, Some(file)) => {
            let sought = Sought::SecretFile(&file);
            report(sought, look(sought), &path.key("path"), &whose, findings);
        }
        (_, None) => {}
    }
}

fn report(sought: Sought<'_>, found: Found, path: &KeyPath, whose: &str, findings: &mut Findings<'_>) {
    let (what, help) = match sought {
        Sought::Program(file) => (format!("the program `{}`", file.display()), "install it, or write the path where it is"),
        Sought::Folder(folder) => (format!("the folder `{}`", folder.display()), "create it, or write the path where it is"),
        Sought::Policy(file) => (format!("the policy file `{}`", file.display()), "create it, or leave it out of `files`"),
        Sought::Certificate(file) => (
            format!("the certificate `{}`", file.display()),
            "write it into it as PEM, with those above it, or write the path where it is",
        ),
        Sought::Bundle(file) => (
            format!("the bundle `{}`", file.display()),
            "write the domain's bundle or its authorities as PEM into it, or write the path where it is",
        ),
        Sought::Roots(file) => (
            format!("the file of certificate authorities `{}`", file.display()),
            "write them into it as PEM, or write the path where they are",
        ),
        Sought::Keys(file) => (
            format!("the file of keys `{}`", file.display()),
            "write the issuer's JWK set into it, or write the path where it is",
        ),
        Sought::SecretFile(file) => {
            (format!("the secret `{}`", file.display()), "write the secret into it, readable by the gateway only")
        }
        Sought::SecretVariable(name) => {
            (format!("the variable `{name}`"), "set it in the environment that the gateway starts in")
        }
    };
    let wrong = match found {
        Found::Fit => return,
        Found::Missing => "is not there".to_owned(),
        Found::Unfit(why) => why,
    };
    findings.value(path, FaultCode::NotFound, format!("{what} of {whose} {wrong}")).help(help);
}

/// The nearest name to one that isn't known, if tools of its connector are; nothing if it is known.
#[expect(clippy::option_option, reason = "the outer one says that the name is unknown, the inner one what it is near")]
fn unknown<'k>(name: &QualifiedName, known: &'k [QualifiedName]) -> Option<Option<&'k QualifiedName>> {
    // Features need nobody's acceptance.
    let tool = name.tool()?;
    let siblings = || known.iter().filter(|other| other.connector() == name.connector());
    if siblings().next().is_none() || known.contains(name) {
        return None;
    }
    let meant = nearest(tool.as_str(), siblings().filter_map(|other| Some(other.tool()?.as_str())));
    Some(siblings().find(|other| meant.is_some() && other.tool().map(ToolName::as_str) == meant.as_deref()))
}

fn no_tool(path: &KeyPath, name: &QualifiedName, meant: Option<String>, findings: &mut Findings<'_>, at_key: bool) {
    let tool = name.tool().map(ToolName::as_str).unwrap_or_default();
    let message = format!("the connector `{}` has no tool `{tool}`", name.connector());
    let fault = if at_key {
        findings.key(path, FaultCode::UnknownTool, message)
    } else {
        findings.value(path, FaultCode::UnknownTool, message)
    };
    fault.suggest(meant).help(format!("`bailiwick connectors show {}` lists its tools", name.connector()));
}
