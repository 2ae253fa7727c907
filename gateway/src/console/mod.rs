//! The console, in this gateway.

pub mod desk;
mod reading;
mod views;
