//! The page `/connections` in this gateway: whose consents there are, and who may give and end them.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
};

use bailiwick_console::{
    Action, ConnectionRow, Connections, Given, Onward, Person, Refused, Returned, Signature, Soon, Viewer, Which,
};
use bailiwick_credentials::{Consent, Consented, MintFault, MintFaultKind, Returned as Answered, Who};
use http::StatusCode;
use serde_json::{Value, json};

use super::desk::{ENDING, refused};
use crate::{
    admin::{Deed, fault::ApiFault},
    consenting,
    runtime::Runtime,
};

/// So many rows are shown at most.
const MOST: usize = 500;

/// What the console knows of consents.
pub(super) struct GatewayConnections(pub(super) Weak<Runtime>);

impl GatewayConnections {
    fn runtime(&self) -> Result<Arc<Runtime>, Refused> {
        self.0.upgrade().ok_or_else(|| Refused::unavailable(ENDING))
    }
}

/// Whether this person consents for this owner: it is them, they belong to it, or they are an admin.
fn may(person: &Person, owner: &str) -> bool {
    person.id == owner || person.owns.contains(owner) || person.may(Action::Change).is_ok()
}

/// The connector that this is about, where this person may.
fn judged(runtime: &Runtime, person: &Person, which: &Which) -> Result<Consented, Refused> {
    let nothing = || Refused::new(StatusCode::NOT_FOUND, "there is no such connection", "the page `connections` lists them");
    let found = consenting::wanted(runtime).into_iter().find(|of| of.of.connector.as_str() == which.connector);
    let found = found.filter(|_| owners(runtime, &which.connector).contains(&which.owner)).ok_or_else(nothing)?;
    if !may(person, &which.owner) {
        return Err(Refused::forbidden("this is not yours to consent to", "ask whoever is accountable, or an admin"));
    }
    Ok(found)
}

/// Whoever is accountable for agents and for grants that are active, and whose consents there are.
fn owners(runtime: &Runtime, connector: &str) -> BTreeSet<String> {
    let config = runtime.config();
    let of_agents = config.agents.iter().map(|registered| registered.agent.owner.clone());
    let grants = runtime.grants.list();
    let of_grants = grants.iter().filter(|entry| entry.ending.is_none()).map(|entry| entry.grant.terms().owner.clone());
    let given = consenting::wanted(runtime).into_iter().filter(|of| of.of.connector.as_str() == connector);
    let given = given.filter_map(|of| runtime.consents.to(&of).ok()).flatten().map(|consent| consent.owner);
    of_agents.chain(of_grants).chain(given).collect()
}

impl Connections for GatewayConnections {
    fn rows(&self, viewer: &Viewer) -> Result<Vec<ConnectionRow>, Refused> {
        let runtime = self.runtime()?;
        let mut rows = Vec::new();
        for of in consenting::wanted(&runtime) {
            let connector = of.of.connector.to_string();
            let consents = runtime.consents.to(&of).map_err(|fault| told(&fault))?;
            for owner in owners(&runtime, &connector).into_iter().filter(|owner| may(&viewer.person, owner)) {
                let given = consents.iter().filter(|consent| consent.owner == owner).max_by_key(|consent| consent.since_ms);
                let (connector, server) = (connector.clone(), of.of.url.to_string());
                rows.push(ConnectionRow { connector, server, owner, given: given.map(given_of) });
            }
        }
        rows.truncate(MOST);
        Ok(rows)
    }

    fn begin<'a>(&'a self, signature: Signature, which: Which, redirect_uri: &'a str) -> Soon<'a, Result<Onward, Refused>> {
        Box::pin(async move {
            let runtime = self.runtime()?;
            let (person, proof) = (signature.person().clone(), signature.on_record());
            let of = judged(&runtime, &person, &which)?;
            let who = Who {
                owner: which.owner.clone(),
                is_admin: person.may(Action::Change).is_ok(),
                session: signature.session().to_owned(),
                person: person.id.clone(),
            };
            let (consents, redirect_uri) = (Arc::clone(&runtime.consents), redirect_uri.to_owned());
            let deed = Deed::new("consent_begun", &which.connector, json!({"owner": which.owner, "proof": proof}));
            let by = format!("person:{}", person.id);
            let begun = deed.done_by_person(&by, &runtime, async move {
                consents.begin(&of, who, &redirect_uri).await.map_err(|fault| fault_of(&fault))
            });
            let begun = begun.await.map_err(|fault| refused(&fault))?;
            Ok(Onward { url: begun.url, issuer: begun.issuer, scopes: begun.scopes })
        })
    }

    fn come_back<'a>(&'a self, viewer: &'a Viewer, answer: Returned) -> Soon<'a, Result<(), Refused>> {
        Box::pin(async move {
            let runtime = self.runtime()?;
            let Returned { code, state, iss, error } = answer;
            let answer = Answered { code, state: state.unwrap_or_default(), iss, error };
            // Whatever it brings is looked at before anything is written: strangers' links fill no record.
            let (consents, session) = (Arc::clone(&runtime.consents), viewer.session.clone());
            // Judged anew: whose it is, and what is wanted of whom, may have changed while they were away.
            if let Some((connector, owner)) = consents.begun(&answer.state, &session) {
                judged(&runtime, &viewer.person, &Which { connector: connector.to_string(), owner })?;
            }
            let came = tokio::spawn(async move { consents.come_back(answer, &session).await });
            let came = came.await.map_err(|_| Refused::unavailable("the consent broke off"))?;
            let (consent, of) = came.map_err(|fault| told(&fault))?;
            let about = of.of.connector.to_string();
            let deed = Deed::new("consent_given", &about, on_record(&consent));
            let by = format!("person:{}", viewer.person.id);
            let noted = deed.done_by_person(&by, &runtime, async { Ok(()) }).await;
            if let Err(fault) = noted {
                // What is not on record does not count.
                let _ended = runtime.consents.end(&of, &consent.owner).await;
                return Err(refused(&fault));
            }
            Ok(())
        })
    }

    fn end(&self, signature: Signature, which: Which) -> Soon<'_, Result<(), Refused>> {
        Box::pin(async move {
            let runtime = self.runtime()?;
            let of = judged(&runtime, signature.person(), &which)?;
            let with = json!({"owner": which.owner, "proof": signature.on_record()});
            let deed = Deed::new("consent_ended", &which.connector, with);
            let (by, gateway) = (format!("person:{}", signature.person().id), Arc::clone(&runtime));
            let ended = deed.done_by_person(&by, &runtime, async move {
                let is_revoked = gateway.consents.end(&of, &which.owner).await.map_err(|fault| fault_of(&fault))?;
                consenting::returned(&gateway, &of.of.connector, &which.owner);
                if !is_revoked {
                    tracing::warn!(connector = %of.of.connector, owner = %which.owner, "the issuer did not take a consent back: end it there too");
                }
                Ok(())
            });
            ended.await.map_err(|fault| refused(&fault))
        })
    }
}

fn given_of(consent: &Consent) -> Given {
    let Consent { issuer, scopes, by, since_ms, .. } = consent.clone();
    Given { issuer, scopes, by, since_ms }
}

fn on_record(consent: &Consent) -> Value {
    json!({"owner": consent.owner, "issuer": consent.issuer, "resource": consent.resource, "scopes": consent.scopes})
}

fn fault_of(fault: &MintFault) -> ApiFault {
    match fault.kind {
        MintFaultKind::Refused | MintFaultKind::Generous | MintFaultKind::Unsupported => ApiFault::conflict(fault.why.clone()),
        _ => ApiFault::unavailable(fault.why.clone()),
    }
}

fn told(fault: &MintFault) -> Refused {
    refused(&fault_of(fault))
}
