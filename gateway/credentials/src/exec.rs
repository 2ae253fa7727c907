//! Credentials that a program of the operator's makes: for issuers that nobody here knows.
//!
//! It gets one request on its standard input and answers on its standard output, in the shape of Kubernetes' `ExecCredential`
//! (`client.authentication.k8s.io/v1`), with what is asked for in `spec`. What it says on standard error is logged, without the secret.

mod answer;
mod child;
#[cfg(test)]
pub(crate) mod tests;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use bailiwick_pipeline::ports::{Access, Later, Material};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    exec::{answer::Given, child::Run},
    provider::{Handle, Journal, MintFault, MintFaultKind, Minted, Provider, RevokeFault, Wish},
};

/// `apiVersion` of requests and answers.
pub(crate) const API: &str = "client.authentication.k8s.io/v1";

/// `kind` of requests and answers.
pub(crate) const KIND: &str = "ExecCredential";

/// How long it may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A program that makes credentials.
#[derive(Debug)]
pub struct Exec {
    /// What is started, and how.
    pub program: Program,
    /// Whether it takes back what it made: it is started with the verb `revoke` then.
    pub revocable: bool,
    /// How long what it makes may live where it alone decides that; none where it makes them as long-lived as it is asked to.
    pub max_ttl: Option<Duration>,
    /// What one connector is lent.
    pub what: ExecTerms,
}

/// A program, and all that it is started with. No shell reads any of it.
#[derive(Clone)]
pub struct Program {
    /// Its path, absolute.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub env: Arc<BTreeMap<String, SecretString>>,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Neither arguments nor values: either may be a secret.
        f.debug_struct("Program").field("path", &self.path).field("env", &self.env.keys()).finish_non_exhaustive()
    }
}

/// What one connector is lent.
#[derive(Debug, Clone, Default)]
pub struct ExecTerms {
    /// The role of tasks that may change things.
    pub role: Option<String>,
    /// The role of those that only read, where it is another.
    pub read_role: Option<String>,
    /// For whom the credential is to be.
    pub audience: Option<String>,
    /// For how long at most.
    pub longest: Option<Duration>,
}

/// By what a credential is taken back.
#[derive(Debug, Serialize, Deserialize)]
struct Back {
    lease: String,
    connector: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handle: Option<serde_json::Value>,
}

impl Exec {
    fn role(&self, access: Access) -> Option<&str> {
        let read = self.what.read_role.as_deref().filter(|_| access == Access::Read);
        read.or(self.what.role.as_deref())
    }

    fn request(&self, wish: &Wish) -> String {
        let spec = json!({
            "interactive": false, "verb": "mint", "lease": wish.lease, "grant": wish.grant, "agent": wish.agent, "owner": wish.owner,
            "connector": wish.connector, "access": wish.access.as_str(), "ttlSeconds": wish.seconds(),
            "role": self.role(wish.access), "audience": self.what.audience,
        });
        json!({"apiVersion": API, "kind": KIND, "spec": without_nulls(spec)}).to_string()
    }

    async fn run(&self, request: String, of: &str) -> Result<Run, MintFault> {
        let ended = tokio::time::timeout(PATIENCE, child::run(&self.program, request)).await;
        let run = ended.unwrap_or_else(|_| {
            let seconds = PATIENCE.as_secs();
            Err(MintFault::new(MintFaultKind::Slow, format!("the plugin did not end within {seconds} s, and was killed")))
        })?;
        if !run.succeeded {
            run.log(of, &[]);
            let why = format!("the plugin ended with {}: what it said is in the log", run.ended);
            return Err(MintFault::new(MintFaultKind::Refused, why));
        }
        Ok(run)
    }

    async fn make(&self, wish: &Wish, journal: &dyn Journal) -> Result<Minted, MintFault> {
        let back = |handle| Back { lease: wish.lease.clone(), connector: wish.connector.to_string(), handle };
        let written = |back: &Back| serde_json::to_string(back).map(Handle::new);
        let unwritable = |_| MintFault::new(MintFaultKind::Own, "by what it is taken back can't be written down");
        if self.revocable {
            // Before it is asked: whatever becomes of it, the lease's id is what it can be asked to take back.
            journal.keep(&written(&back(None)).map_err(unwritable)?).await?;
        }
        // One that fails may have made something before it did: it is asked to take that back by the lease's id.
        let run = self.run(self.request(wish), &wish.lease).await?;
        let given = match Given::read(&run.output) {
            Ok(given) => given,
            Err(why) => {
                run.log(&wish.lease, &[]);
                return Err(MintFault::new(MintFaultKind::Wrong, format!("the plugin's answer can't be used: {why}")));
            }
        };
        run.log(&wish.lease, &given.secrets());
        let Given { token, certificate, key, expires_at_ms, handle } = given;
        let handle = if self.revocable { Some(written(&back(handle)).map_err(unwritable)?) } else { None };
        let mut material = Material::default();
        if let Some(token) = token {
            material = material.with_secret("secret", token);
        }
        if let Some((certificate, key)) = certificate.zip(key) {
            material = material.with_plain("certificate", certificate).with_secret("key", key);
        }
        Ok(Minted { material, reference: self.reference(wish.access), expires_at_ms: Some(expires_at_ms), handle })
    }

    async fn take_back(&self, handle: &Handle) -> Result<(), RevokeFault> {
        let back: Back = serde_json::from_str(handle.expose())
            .map_err(|_| RevokeFault::new("by what it is taken back is not of this kind of provider"))?;
        let spec = json!({
            "interactive": false, "verb": "revoke", "lease": back.lease, "connector": back.connector, "handle": back.handle,
        });
        let request = json!({"apiVersion": API, "kind": KIND, "spec": without_nulls(spec)}).to_string();
        let run = self.run(request, &back.lease).await?;
        // The handle may be the credential itself.
        run.log(&back.lease, &back.handle.iter().flat_map(answer::texts).collect::<Vec<_>>());
        Ok(())
    }
}

/// What has no value is not said.
fn without_nulls(mut of: serde_json::Value) -> serde_json::Value {
    if let Some(object) = of.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    of
}

impl Provider for Exec {
    fn name(&self) -> &'static str {
        "exec"
    }

    fn reference(&self, access: Access) -> String {
        let program = self.program.path.display();
        self.role(access).map_or_else(|| program.to_string(), |role| format!("{program} {role}"))
    }

    fn is_revocable(&self) -> bool {
        self.revocable
    }

    fn longest(&self) -> Option<Duration> {
        // The shorter one, where both are said.
        self.what.longest.into_iter().chain(self.max_ttl).min()
    }

    fn decides_lifetime(&self) -> bool {
        self.max_ttl.is_some()
    }

    fn how_long(&self) -> &'static str {
        ": have the program keep to `ttlSeconds`, or say with `max_ttl` of the provider how long one may live"
    }

    fn mint<'a>(&'a self, wish: &'a Wish, journal: &'a dyn Journal) -> Later<'a, Result<Minted, MintFault>> {
        Box::pin(self.make(wish, journal))
    }

    fn revoke<'a>(&'a self, handle: &'a Handle, _: u64) -> Later<'a, Result<(), RevokeFault>> {
        Box::pin(self.take_back(handle))
    }
}
