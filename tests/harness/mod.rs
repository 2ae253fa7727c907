//! Starts real gateways with scripted servers behind them, and speaks MCP to them as agents do.

#[allow(dead_code, reason = "shared with the tests of the console, which say more that is wrong")]
pub mod authenticator;
#[path = "../../gateway/identity/src/authority.rs"]
pub mod authority;
mod client;
mod gateway;
pub mod issuer;
mod neighbour;
pub mod oauth;
mod oracle;
mod script;
mod tally;
mod wire;

pub use client::{Agent, Reply, raw};
pub use gateway::{Cli, Gateway, Setup, runs, until};
pub use neighbour::Neighbour;
pub use oracle::{CANARY, Play, Stage};
pub use script::{HttpServer, Script, example, tool, tool_with};
pub use tally::Tally;
pub use wire::{Wire, bare_head, head};
