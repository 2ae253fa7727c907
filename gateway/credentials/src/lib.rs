//! Credentials lent to connectors: for one grant and one connector, never longer than the grant.
//!
//! [`Broker`] fills the pipeline's port `Credentials`. Secrets come from files or from the environment that the gateway was
//! started with; a secret is read when a grant first needs it, is wiped when the last call that uses it is done, and is never
//! printed: what records and errors carry is the name of the variable or the path of the file.

mod broker;
mod secret_file;
mod source;

pub use broker::Broker;
pub use source::{CredentialSpec, EnvSecrets, Provider};
