//! Credentials that live on whatever becomes of the task: in the environment, and in files.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use bailiwick_pipeline::ports::{Access, Later, Material};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    provider::{Handle, Journal, MintFault, MintFaultKind, Minted, Provider, RevokeFault, Wish},
    secret_file,
};

/// The largest secret, bytes.
pub(crate) const SECRET_BYTES: usize = 64 * 1024;

/// A secret that somebody keeps for the gateway.
#[derive(Debug, Clone)]
pub enum Standing {
    /// A variable of the environment that the gateway was started with.
    Env {
        /// Its name.
        name: String,
        /// Those variables.
        env: Arc<EnvSecrets>,
    },
    /// A file that only its owner can read.
    File {
        /// Its path.
        path: PathBuf,
    },
}

impl Standing {
    fn where_it_is(&self) -> String {
        match self {
            Self::Env { name, .. } => name.clone(),
            Self::File { path } => path.display().to_string(),
        }
    }

    /// Reads the secret. The error says why not, and what to do.
    async fn read(&self) -> Result<SecretString, String> {
        match self {
            Self::Env { name, env } => env.read(name),
            Self::File { path } => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || secret_file::read(&path)).await;
                read.unwrap_or_else(|_| Err("reading it failed".to_owned()))
            }
        }
    }
}

impl Provider for Standing {
    fn name(&self) -> &'static str {
        match self {
            Self::Env { .. } => "env",
            Self::File { .. } => "file",
        }
    }

    fn reference(&self, _: Access) -> String {
        self.where_it_is()
    }

    fn is_standing(&self) -> bool {
        true
    }

    fn is_revocable(&self) -> bool {
        false
    }

    fn mint<'a>(&'a self, _: &'a Wish, _: &'a dyn Journal) -> Later<'a, Result<Minted, MintFault>> {
        Box::pin(async {
            let secret = self.read().await.map_err(|why| MintFault::new(MintFaultKind::Own, why))?;
            let (material, reference) = (Material::of(secret), self.where_it_is());
            Ok(Minted { material, reference, expires_at_ms: None, handle: None })
        })
    }

    fn revoke<'a>(&'a self, _: &'a Handle, _: u64) -> Later<'a, Result<(), RevokeFault>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The secrets among the variables that the gateway was started with, captured then.
#[derive(Default)]
pub struct EnvSecrets(BTreeMap<String, SecretString>);

impl EnvSecrets {
    /// These variables. Give only the ones that connectors name.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name, SecretString::from(value))).collect())
    }

    fn read(&self, name: &str) -> Result<SecretString, String> {
        let secret = self.0.get(name).ok_or_else(|| {
            format!("environment variable `{name}` was not set when the gateway started: set it and start again, or use `provider = \"file\"`")
        })?;
        check(secret.expose_secret()).map_err(|why| format!("environment variable `{name}` {why}"))?;
        Ok(secret.clone())
    }
}

impl fmt::Debug for EnvSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What every secret must be, to be of use in an environment variable or a header.
pub(crate) fn check(secret: &str) -> Result<(), String> {
    if secret.trim().is_empty() {
        Err("is empty: put the secret there".to_owned())
    } else if secret.len() > SECRET_BYTES {
        Err(format!("has more than {SECRET_BYTES} bytes: that is no credential"))
    } else if secret.contains('\0') {
        Err("contains NUL, which nothing that carries a secret can hold".to_owned())
    } else {
        Ok(())
    }
}

/// A secret as JSON has it.
#[derive(serde::Deserialize)]
#[serde(from = "String")]
pub(crate) struct Told(SecretString);

impl From<String> for Told {
    fn from(text: String) -> Self {
        Self(SecretString::from(text))
    }
}

impl From<Told> for SecretString {
    fn from(Told(secret): Told) -> Self {
        secret
    }
}
