//! Bailiwick: a gateway between AI agents and their tools. This crate is the binary: servers, command line, and the wiring of
//! the crates that do the work.

pub mod adapters;
pub mod admin;
mod auto_granting;
pub mod bundles;
pub mod cli;
mod completing;
mod consenting;
mod console;
pub mod data;
mod delegating;
mod downstream;
mod fetch;
mod foresee;
pub mod halting;
mod holders;
mod issuing;
mod lending;
pub mod oauth;
mod overlisted;
mod pinning;
mod policy_bundle;
mod processes;
mod providers;
pub mod recent;
mod recovery;
pub mod reload;
mod requesting;
pub mod run;
pub mod runtime;
pub mod server;
mod shadowing;
pub mod sources;
mod ssh_signature;
mod suggesting;
mod telling;
pub mod world;
