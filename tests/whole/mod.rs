//! What users do and see.

mod asides;
mod commands;
mod connectors;
mod errors;
mod evidence;
mod features;
mod fidelity;
mod front;
mod halts;
mod house;
mod identity;
mod methods;
mod mtls;
mod names;
mod pages;
mod pressure;
mod questions;
mod readme;
mod reload;
mod restart;
mod search;
mod store;
mod subscriptions;
pub mod tasks;
mod tour;
mod way;
