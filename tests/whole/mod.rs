//! What users do and see.

mod asides;
mod commands;
mod connectors;
mod errors;
mod evidence;
mod features;
mod fidelity;
mod front;
pub mod hops;
mod house;
mod methods;
mod names;
mod oauth;
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
