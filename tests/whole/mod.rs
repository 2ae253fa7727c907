//! What users do and see.

mod asides;
mod commands;
mod connectors;
mod evidence;
mod front;
mod house;
mod names;
mod pages;
mod pressure;
mod readme;
mod reload;
mod restart;
mod store;
mod tour;
mod way;
