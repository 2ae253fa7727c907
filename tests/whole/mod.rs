//! What users do and see.

mod connectors;
mod evidence;
mod front;
mod house;
mod pressure;
mod reload;
mod restart;
mod store;
mod tour;
mod way;
