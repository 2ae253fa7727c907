//! Bailiwick: a gateway between AI agents and their tools. This crate is the binary: servers, command line, and the wiring of
//! the crates that do the work.

pub mod adapters;
pub mod admin;
pub mod bundles;
pub mod cli;
mod completing;
mod console;
pub mod data;
mod delegating;
mod downstream;
mod fetch;
mod foresee;
pub mod halting;
mod issuing;
pub mod oauth;
mod pinning;
pub mod recent;
mod recovery;
pub mod reload;
pub mod run;
pub mod runtime;
pub mod server;
mod shadowing;
pub mod sources;
pub mod world;
