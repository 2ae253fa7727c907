//! The configuration: as written, checked, and explained.
//!
//! [`load`] lays the file over the embedded defaults and the variables of the environment over both, and either gives a
//! [`Config`], which the rest of the gateway can trust, or [`ConfigFaults`]: everything that is wrong at once, each with
//! its line, a stable code and what to do. Nothing here touches the disk, the network or the process's environment; what
//! has to be looked up is asked of the caller ([`Config::check_against`], [`Config::check_presence`]).

mod check;
mod checked;
mod code;
mod connector;
mod fault;
mod layers;
mod origin;
mod people;
mod presence;
mod provider;
mod raw;
mod schema;
mod shape;
mod source;
mod suggest;
mod trust;
pub mod units;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use checked::{
    Approvals, AutoGrants, Config, GrantTerms, KeepBodies, Limits, PolicyFile, PolicyFiles, RegisteredAgent, ResourceServer,
    Server, SubjectOf, Telemetry, Trail,
};
pub use code::FaultCode;
pub use connector::{
    Connector, Credential, Http, Pin, Process, Program, ProtocolChoice, SecretSource, Sensitivity, ToolTerms, Way,
};
pub use fault::{ConfigFaults, Fault};
pub use origin::{Origin, Setting};
pub use people::{ConsoleSettings, OidcSettings, RegisteredPerson};
pub use presence::{Found, Sought};
pub use provider::{
    Aws, BaoLogin, Bound, ByAccess, Exec, GitHub, Lending, Mcp, OAuth, OAuthClient, OAuthPlace, OpenBao, PermissionLevel,
    Postgres, ProviderKind, ProviderSpec, SvidFile,
};
pub use schema::schema;
pub use suggest::nearest;
pub use trust::{BundleSource, Tls, TrustedDomain};

use crate::{
    check::Setting as Within,
    fault::Findings,
    layers::Variables,
    schema::Shape,
    source::{KeyPath, Source},
};

/// The configuration of the embedded demo: what `bailiwick run` serves without a `config.toml`.
pub const DEMO: &str = include_str!("demo.toml");

/// The configuration that `bailiwick init` writes: valid as it is, with examples to take up.
pub const START: &str = include_str!("start.toml");

/// Checks the text of a configuration file. `path` names it in faults and is what relative paths in it start from;
/// `environment` is that of the process, of which only `BAILIWICK_SECTION__KEY` variables matter.
pub fn load(path: &Path, text: String, environment: impl IntoIterator<Item = (String, String)>) -> Result<Config, ConfigFaults> {
    let base = path.parent().unwrap_or(Path::new(""));
    checked(&path.display().to_string(), text, Variables::of(environment), Within::File { base })
}

/// Checks a configuration that is part of the binary, such as [`DEMO`]. Only such a one may use `@self` and `@data/…`.
pub fn embedded(text: &str, environment: impl IntoIterator<Item = (String, String)>) -> Result<Config, ConfigFaults> {
    checked("embedded", text.to_owned(), Variables::of(environment), Within::Embedded)
}

fn checked(name: &str, text: String, variables: Variables, setting: Within<'_>) -> Result<Config, ConfigFaults> {
    let source = Source::parse(name, text).map_err(|(text, error)| ConfigFaults::syntax(&text, &error))?;
    let mut findings = Findings::new(&source, &variables);
    let schema = schema();
    let shape = Shape::new(&schema);
    let mut tree = layers::merged(&source, &variables, shape, &mut findings);
    shape::prune(shape, &mut tree, &KeyPath::default(), &mut findings);
    let (config, effective) = check::config(tree, setting, &mut findings);
    match ConfigFaults::new(name, findings.into_vec()) {
        Some(faults) => Err(faults),
        None => Ok(config.with_origin(source, variables, effective)),
    }
}
