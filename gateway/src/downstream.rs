//! From the configuration to what connectors and their credentials are made of.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use bailiwick_config::{Config, Connector, ProtocolChoice};
use bailiwick_connectors::{ConnectorSpec, HttpSpec, ProcessSpec, Protocol, Way};
use bailiwick_credentials::{CredentialSpec, EnvSecrets, Specs, Standing};
use bailiwick_pipeline::trace::hex;
use bailiwick_schemas::names::ConnectorId;

use crate::{
    data::DataFolder,
    providers::{Lenders, of_issuer},
    runtime::{StartFault, random_key},
    world::fingerprint,
};

/// The connectors, where `own` is the path of this binary.
pub(crate) fn specs_of(config: &Config, own: &Path) -> BTreeMap<ConnectorId, ConnectorSpec> {
    let spec = |connector: &Connector| ConnectorSpec {
        protocol: protocol_of(connector),
        shared: connector.shared,
        call_timeout: connector.call_timeout,
        handshake_timeout: connector.handshake_timeout,
        relist_after: connector.relist_after,
        max_message: config.limits.max_result,
        fingerprint: fingerprint(connector),
        ..ConnectorSpec::new(connector.id.clone(), way_of(connector, own))
    };
    config.connectors.iter().map(|connector| (connector.id.clone(), spec(connector))).collect()
}

fn way_of(connector: &Connector, own: &Path) -> Way {
    match &connector.way {
        bailiwick_config::Way::Process(process) => {
            let program = process.program.path(own).display().to_string();
            Way::Process(ProcessSpec {
                command: std::iter::once(program).chain(process.arguments.iter().cloned()).collect(),
                launcher: vec![own.display().to_string(), "exec-child".to_owned(), "--".to_owned()],
                env: process.env.clone(),
                cwd: process.cwd.clone(),
                ..ProcessSpec::limited()
            })
        }
        bailiwick_config::Way::Http(http) => Way::Http(HttpSpec {
            url: http.url.clone(),
            networks: http.networks.clone(),
            roots: http.roots.clone(),
            identity: http.identity.clone(),
            dangerous_plain_http: http.dangerous_plain_http,
        }),
    }
}

fn protocol_of(connector: &Connector) -> Protocol {
    match connector.protocol {
        ProtocolChoice::Auto => Protocol::Auto,
        ProtocolChoice::Modern => Protocol::Modern,
        ProtocolChoice::Legacy => Protocol::Legacy,
    }
}

/// What the connectors are lent.
pub(crate) fn credentials_of(config: &Config, data: &DataFolder, lenders: Lenders<'_>) -> Result<Specs, StartFault> {
    let mut specs = BTreeMap::new();
    let env = Arc::new(env_secrets(config, lenders.environment));
    for connector in &config.connectors {
        let Some(credential) = &connector.credential else { continue };
        let provider = match &credential.source {
            bailiwick_config::SecretSource::Issuer(lending) => {
                specs.insert(connector.id.clone(), of_issuer(config, (connector, lending, credential), lenders)?);
                continue;
            }
            bailiwick_config::SecretSource::Variable(name) => Standing::Env { name: name.clone(), env: Arc::clone(&env) },
            bailiwick_config::SecretSource::File(path) => Standing::File { path: path.clone() },
            bailiwick_config::SecretSource::Data(name) => {
                // Only the embedded demo has these: a secret that means nothing elsewhere.
                let name = name.display().to_string();
                let fresh = hex(&random_key(&crate::adapters::SystemClock));
                Standing::File { path: data.write_once(&name, &format!("demo-{fresh}"))? }
            }
        };
        let (provider, injection, terms) = (Arc::new(provider), credential.injection.clone(), format!("{credential:?}"));
        specs.insert(connector.id.clone(), CredentialSpec { provider, injection, terms, issuer: String::new() });
    }
    Ok(specs)
}

/// Of the environment, only the variables that connectors name as their secret.
fn env_secrets(config: &Config, environment: &BTreeMap<String, String>) -> EnvSecrets {
    let named = config.connectors.iter().filter_map(|connector| match &connector.credential.as_ref()?.source {
        bailiwick_config::SecretSource::Variable(name) => Some((name.clone(), environment.get(name)?.clone())),
        _ => None,
    });
    EnvSecrets::new(named)
}
