//! Starts real gateways with scripted servers behind them, and speaks MCP to them as agents do.

mod client;
mod gateway;
mod oracle;
mod script;
mod wire;

pub use client::{Agent, Reply};
pub use gateway::{Cli, Gateway, Setup};
pub use oracle::{Play, Stage};
pub use script::{Script, tool, tool_with};
pub use wire::{Wire, bare_head, head};
