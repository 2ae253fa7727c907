//! What users do and see.

mod connectors;
mod evidence;
mod front;
mod house;
mod restart;
mod tour;
mod way;
