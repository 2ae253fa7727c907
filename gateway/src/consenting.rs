//! What owners consent to: where it is kept, what may be connected to for it, and which connectors want it.

use std::{net::IpAddr, sync::Arc};

use bailiwick_config::{Config, Connector, Lending, Mcp, ProviderKind, SecretSource, Way};
use bailiwick_connectors::addresses_of;
use bailiwick_credentials::{Consent, ConsentBook, Consented, Consents, Egress, OAuthClient, Protected, Secrets, Web};
use bailiwick_pipeline::{
    ids::GrantId,
    ports::{Clock, Later},
};
use bailiwick_schemas::names::ConnectorId;
use bailiwick_store::{ConsentRows, Store, StoredConsent};
use ipnet::IpNet;
use secrecy::ExposeSecret as _;
use url::Url;

use crate::runtime::Runtime;

#[cfg(test)]
pub(crate) mod kit;

/// The store, as the book of consents.
struct StoredConsents(ConsentRows);

/// The consents in this store.
pub(crate) fn consents(store: &Store, clock: &Arc<dyn Clock>) -> Arc<Consents> {
    Consents::new(Arc::new(StoredConsents(ConsentRows::new(store))), Arc::clone(clock))
}

fn key(consent: &Consent) -> [String; 3] {
    [consent.resource.clone(), consent.owner.clone(), consent.issuer.clone()]
}

impl ConsentBook for StoredConsents {
    fn put<'a>(&'a self, consent: &'a Consent) -> Later<'a, Result<(), String>> {
        Box::pin(async {
            let record = serde_json::to_string(consent).map_err(|fault| fault.to_string())?;
            let secrets = consent.secrets.write();
            self.0.put(key(consent), record, secrets.expose_secret()).await.map_err(|fault| fault.to_string())
        })
    }

    fn remove<'a>(&'a self, consent: &'a Consent) -> Later<'a, Result<(), String>> {
        Box::pin(async { self.0.remove(key(consent)).await.map_err(|fault| fault.to_string()) })
    }

    fn all(&self) -> Result<Vec<Consent>, String> {
        let all = self.0.all().map_err(|fault| fault.to_string())?;
        let read = all.into_iter().map(|StoredConsent { key, record, secrets }| {
            let consent: Consent = serde_json::from_str(&record).map_err(|fault| format!("`{}`: {fault}", key.join(" ")))?;
            Ok(Consent { secrets: Secrets::read(&secrets)?, ..consent })
        });
        read.collect()
    }
}

/// Where may be connected to for one connector's consents: what an admin wrote down, what is public, and what `networks` declares.
struct Declared {
    networks: Vec<IpNet>,
    /// Each host with its port.
    origins: Vec<(String, u16)>,
}

impl Egress for Declared {
    fn addresses<'a>(&'a self, host: &'a str, port: u16) -> Later<'a, Result<Vec<IpAddr>, String>> {
        Box::pin(async move {
            let is_declared = self.origins.iter().any(|(known, at)| known == host && *at == port);
            addresses_of(host, &self.networks, is_declared).await
        })
    }
}

fn origin(url: &Url) -> Option<(String, u16)> {
    Some((url.host_str()?.trim_matches(['[', ']']).to_owned(), url.port_or_known_default()?))
}

/// What lends a connector's tokens; none where it is not over HTTP.
pub(crate) fn consented(
    config: &Config,
    (connector, mcp, lending): (&Connector, &Mcp, &Lending),
    consents: &Arc<Consents>,
) -> Option<Consented> {
    let Way::Http(http) = &connector.way else { return None };
    let written = mcp.issuers.iter().filter_map(|issuer| Url::parse(issuer).ok());
    let origins = std::iter::once(http.url.clone()).chain(written).filter_map(|url| origin(&url)).collect();
    let scopes = lending.scopes.as_ref();
    Some(Consented {
        client: OAuthClient {
            id: mcp.client_id.clone(),
            secret_file: mcp.client_secret_file.clone(),
            metadata_url: mcp.client_metadata_url.clone(),
            register: mcp.register,
            issuers: mcp.issuers.clone(),
            revocable: mcp.revocable,
        },
        of: Protected {
            connector: connector.id.clone(),
            url: http.url.clone(),
            scopes: scopes.map(|scopes| scopes.all.clone()),
            read_scopes: scopes.and_then(|scopes| scopes.read.clone()),
            longest: lending.ttl,
        },
        web: Web { roots: mcp.roots.clone(), identity: None },
        egress: Arc::new(Declared { networks: http.networks.clone(), origins }),
        consents: Arc::clone(consents),
        page: page(config),
    })
}

/// Where people consent, as far as that is known before anything listens.
fn page(config: &Config) -> String {
    match (&config.console.public_url, config.server.console.port()) {
        (Some(url), _) => format!("{}/connections", url.as_str().trim_end_matches('/')),
        (None, 0) => "the console's page `/connections`".to_owned(),
        (None, port) => format!("http://localhost:{port}/connections"),
    }
}

/// The connectors that want consents now.
pub(crate) fn wanted(runtime: &Runtime) -> Vec<Consented> {
    let config = runtime.config();
    let of = |connector: &Connector| {
        let SecretSource::Issuer(lending) = &connector.credential.as_ref()?.source else { return None };
        match &config.providers.iter().find(|provider| provider.id == lending.provider)?.kind {
            ProviderKind::Mcp(mcp) => consented(&config, (connector, mcp, lending), &runtime.consents),
            _ => None,
        }
    };
    config.connectors.iter().filter_map(of).collect()
}

/// Gives back what tasks of this owner were lent for this server, by whichever connector, and what is being made of it right now.
pub(crate) fn returned(runtime: &Runtime, resource: &str, owner: &str) {
    let of_server = wanted(runtime).into_iter().filter(|of| of.resource() == resource).map(|of| of.of.connector);
    let of_server: Vec<ConnectorId> = of_server.collect();
    let why = "its owner's consent was ended";
    let is_theirs = |grant: &GrantId| runtime.grants.entry(grant).is_some_and(|entry| entry.grant.terms().owner == owner);
    for lease in runtime.broker.leases().into_iter().filter(|lease| of_server.contains(&lease.entry.connector)) {
        if lease.entry.grant.as_ref().is_some_and(is_theirs) {
            runtime.take_back(&lease.entry.lease, why);
        }
    }
    for entry in runtime.grants.list().iter().filter(|entry| entry.grant.terms().owner == owner) {
        for connector in &of_server {
            runtime.broker.returned_for(&entry.grant.terms().id, connector, why);
        }
    }
}
