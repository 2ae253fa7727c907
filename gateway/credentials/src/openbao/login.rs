//! How the gateway proves itself to OpenBao.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::{
    provider::{MintFault, MintFaultKind},
    secret_file,
};

/// How the gateway proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// By a token that somebody keeps in a file, and alive.
    Token {
        /// The file.
        file: PathBuf,
    },
    /// By an AppRole.
    AppRole {
        /// Where the method is mounted, such as `approle`.
        mount: String,
        /// The role's id.
        role_id: String,
        /// The file with the secret id.
        secret_id_file: PathBuf,
    },
    /// By a token of another issuer, such as that of a Kubernetes service account.
    Jwt {
        /// Where the method is mounted, such as `jwt` or `kubernetes`.
        mount: String,
        /// The role to log in as.
        role: String,
        /// The file with the token.
        file: PathBuf,
    },
}

/// The gateway's own token.
#[derive(Clone)]
pub(super) struct Own {
    pub(super) token: SecretString,
    /// When it ends; none where nobody knows.
    pub(super) ends: Option<Instant>,
    /// From when on another one is wanted.
    pub(super) stale: Option<Instant>,
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Own").field("ends", &self.ends).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Proof<'a> {
    AppRole { role_id: &'a str, secret_id: &'a str },
    Jwt { role: &'a str, jwt: &'a str },
}

/// What is sent to log in: the mount, and the body. None where nothing has to be sent.
pub(super) async fn proof(login: &Login) -> Result<Option<(String, Zeroizing<String>)>, MintFault> {
    let (mount, text) = match login {
        Login::Token { .. } => return Ok(None),
        Login::AppRole { mount, role_id, secret_id_file } => {
            let secret = read(secret_id_file, secret_file::read).await?;
            (mount, serde_json::to_string(&Proof::AppRole { role_id, secret_id: secret.expose_secret() }))
        }
        Login::Jwt { mount, role, file } => {
            let jwt = read(file, secret_file::read_mounted).await?;
            (mount, serde_json::to_string(&Proof::Jwt { role, jwt: jwt.expose_secret() }))
        }
    };
    let text = text.map_err(|fault| MintFault::new(MintFaultKind::Own, fault.to_string()))?;
    Ok(Some((mount.clone(), Zeroizing::new(text))))
}

/// Reads a file of the gateway's own.
pub(super) async fn read(
    path: &std::path::Path,
    how: fn(&std::path::Path) -> Result<SecretString, String>,
) -> Result<SecretString, MintFault> {
    let (path, shown) = (path.to_owned(), path.display().to_string());
    let read = tokio::task::spawn_blocking(move || how(&path)).await;
    let read = read.unwrap_or_else(|_| Err("reading it failed".to_owned()));
    read.map_err(|why| MintFault::new(MintFaultKind::Own, format!("the gateway's own secret in `{shown}`: {why}")))
}
