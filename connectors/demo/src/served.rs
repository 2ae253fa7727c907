//! What the three servers have in common: how they introduce themselves, and state behind a lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rmcp::model::{Implementation, ServerCapabilities, ServerConfig};

/// The introduction of a demo connector.
pub(crate) fn introduction(name: &str, instructions: &str) -> ServerConfig {
    let capabilities = ServerCapabilities::builder().enable_tools().build();
    ServerConfig::new(capabilities)
        .with_server_info(Implementation::new(format!("bailiwick-demo-{name}"), env!("CARGO_PKG_VERSION")))
        .with_instructions(instructions)
}

/// The state behind a lock. A call that panicked leaves a demo's data as it is.
pub(crate) fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
