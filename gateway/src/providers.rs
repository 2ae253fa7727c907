//! From the configured issuers to what lends their credentials.

mod issuers;

use std::sync::Arc;

use bailiwick_config::{Config, Credential, Lending, ProviderKind};
use bailiwick_credentials::{CredentialSpec, Provider};

use crate::runtime::StartFault;

/// What a connector is lent of an issuer's.
pub(crate) fn of_issuer(config: &Config, lending: &Lending, credential: &Credential) -> Result<CredentialSpec, StartFault> {
    let issuer = config.providers.iter().find(|issuer| issuer.id == lending.provider);
    let Some(issuer) = issuer else {
        // The configuration is checked: it names none that it does not have.
        return Err(StartFault::Leases(format!("there is no provider `{}`", lending.provider)));
    };
    let provider: Arc<dyn Provider> = match &issuer.kind {
        // One line for each kind.
        ProviderKind::OAuth(of) => Arc::new(issuers::oauth(of, lending)),
        ProviderKind::GitHub(of) => Arc::new(issuers::github(of, lending)),
        ProviderKind::Aws(of) => Arc::new(issuers::aws(of, lending)),
        _ => return Err(StartFault::Leases(format!("the provider `{}` is not known here", issuer.id))),
    };
    let terms = format!("{:?} {credential:?}", issuer.kind);
    Ok(CredentialSpec { provider, injection: credential.injection.clone(), terms })
}
