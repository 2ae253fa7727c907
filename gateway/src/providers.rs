//! From the configured issuers to what lends their credentials.

use std::{collections::BTreeMap, sync::Arc};

use bailiwick_config::{Config, Connector, Credential, Lending, ProviderKind};
use bailiwick_credentials::{Consents, CredentialSpec, Exec, ExecTerms, Program, Provider, SvidFile};
use secrecy::SecretString;

use crate::{consenting, runtime::StartFault};

/// What issuers are asked with, beside what is configured.
#[derive(Clone, Copy)]
pub(crate) struct Lenders<'a> {
    /// The environment that the gateway was started with.
    pub(crate) environment: &'a BTreeMap<String, String>,
    /// What owners consented to.
    pub(crate) consents: &'a Arc<Consents>,
}

/// What a connector is lent of an issuer's.
pub(crate) fn of_issuer(
    config: &Config,
    (connector, lending, credential): (&Connector, &Lending, &Credential),
    lenders: Lenders<'_>,
) -> Result<CredentialSpec, StartFault> {
    let issuer = config.providers.iter().find(|issuer| issuer.id == lending.provider);
    let Some(issuer) = issuer else {
        // The configuration is checked: it names none that it does not have.
        return Err(StartFault::Leases(format!("there is no provider `{}`", lending.provider)));
    };
    let provider: Arc<dyn Provider> = match &issuer.kind {
        // One line for each kind.
        ProviderKind::Exec(exec) => Arc::new(of_program(exec, lending, lenders)),
        ProviderKind::SvidFile(svid) => Arc::new(of_svid_file(svid, lending)),
        ProviderKind::Mcp(mcp) => match consenting::consented(config, (connector, mcp, lending), lenders.consents) {
            Some(consented) => Arc::new(consented),
            None => {
                return Err(StartFault::Leases(format!("`{}` is not reached over HTTP: nobody consents to it", connector.id)));
            }
        },
        _ => return Err(StartFault::Leases(format!("the provider `{}` is not known here", issuer.id))),
    };
    let terms = format!("{:?} {credential:?}", issuer.kind);
    Ok(CredentialSpec { provider, injection: credential.injection.clone(), terms })
}

fn of_program(exec: &bailiwick_config::Exec, lending: &Lending, lenders: Lenders<'_>) -> Exec {
    let passed = exec.env.iter().filter_map(|name| {
        let value = lenders.environment.get(name)?;
        Some((name.clone(), SecretString::from(value.clone())))
    });
    Exec {
        program: Program { path: exec.program.clone(), arguments: exec.arguments.clone(), env: Arc::new(passed.collect()) },
        revocable: exec.revocable,
        what: ExecTerms {
            role: lending.role.as_ref().map(|role| role.all.clone()),
            read_role: lending.role.as_ref().and_then(|role| role.read.clone()),
            audience: lending.audience.clone(),
            longest: lending.ttl,
        },
    }
}

fn of_svid_file(svid: &bailiwick_config::SvidFile, lending: &Lending) -> SvidFile {
    SvidFile {
        path: svid.path.clone(),
        trust_domain: svid.trust_domain.clone(),
        audience: lending.audience.clone().unwrap_or_default(),
        longest: lending.ttl,
    }
}
