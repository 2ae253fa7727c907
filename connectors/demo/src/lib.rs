//! The demo's three connectors: real MCP servers over stdio, with everything they know in memory.
//!
//! The gateway runs them as child processes of its own binary (`bailiwick demo-server tickets`), so that the embedded demo
//! needs no network, no account and no package. Thirty tools; the same start gives the same data. Ids count up, so that
//! an effect that happened twice can be seen.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail so"))]

mod files;
mod served;
mod shop;
mod tickets;

use std::{env, str::FromStr};

use rmcp::{ServerHandler, ServiceExt, model::Tool, transport::io::stdio_pipes};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{files::Files, shop::Shop, tickets::Tickets};

/// The variable in which `tickets` gets its credential.
pub const TICKETS_TOKEN: &str = "TICKETS_TOKEN";

/// One of the demo's connectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demo {
    /// A help desk: 12 tools. Needs a credential.
    Tickets,
    /// A small file tree: 10 tools.
    Files,
    /// A web shop: 8 tools.
    Shop,
}

impl Demo {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tickets, Self::Files, Self::Shop];

    /// Its connector id, and its word on the command line.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Tickets => "tickets",
            Self::Files => "files",
            Self::Shop => "shop",
        }
    }
}

impl FromStr for Demo {
    type Err = DemoFault;

    fn from_str(text: &str) -> Result<Self, DemoFault> {
        let known = Self::ALL.into_iter().find(|demo| demo.id() == text);
        known.ok_or_else(|| DemoFault::Unknown(text.to_owned()))
    }
}

/// Why a demo connector doesn't run.
#[derive(Debug, Error)]
pub enum DemoFault {
    /// There is no connector of this name.
    #[error("`{0}` is no demo connector; there are `tickets`, `files` and `shop`")]
    Unknown(String),
    /// `tickets` was started without its credential.
    #[error("tickets needs a credential: set `TICKETS_TOKEN` to a text that isn't empty")]
    NoCredential,
    /// The conversation on standard input and output broke.
    #[error("the MCP conversation broke: {0}")]
    Broken(String),
}

/// Serves one connector on standard input and output, until the input ends.
pub async fn serve(which: Demo) -> Result<(), DemoFault> {
    let token = env::var_os(TICKETS_TOKEN).map_or(0, |token| i64::try_from(token.len()).unwrap_or(i64::MAX));
    let (input, output) = stdio_pipes();
    serve_on(which, token, input, output).await
}

/// The tools of a connector, exactly as its `tools/list` gives them, so that they can be pinned before it has ever run.
pub fn definitions(which: Demo) -> serde_json::Value {
    serde_json::json!(tools(which))
}

fn tools(which: Demo) -> Vec<Tool> {
    match which {
        Demo::Tickets => Tickets::tools(),
        Demo::Files => Files::tools(),
        Demo::Shop => Shop::tools(),
    }
}

/// `token_length` is all that is ever known of the credential here: what isn't kept can't be told.
async fn serve_on(
    which: Demo,
    token_length: i64,
    input: impl AsyncRead + Send + Unpin + 'static,
    output: impl AsyncWrite + Send + Unpin + 'static,
) -> Result<(), DemoFault> {
    match which {
        Demo::Tickets if token_length == 0 => Err(DemoFault::NoCredential),
        Demo::Tickets => talk(Tickets::new(token_length), input, output).await,
        Demo::Files => talk(Files::new(), input, output).await,
        Demo::Shop => talk(Shop::new(), input, output).await,
    }
}

async fn talk<S: ServerHandler>(
    server: S,
    input: impl AsyncRead + Send + Unpin + 'static,
    output: impl AsyncWrite + Send + Unpin + 'static,
) -> Result<(), DemoFault> {
    let running = server.serve((input, output)).await.map_err(|error| DemoFault::Broken(error.to_string()))?;
    running.waiting().await.map(|_| ()).map_err(|error| DemoFault::Broken(error.to_string()))
}

#[cfg(test)]
mod tests;
