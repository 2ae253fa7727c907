//! What may be said: strict JSON, canonical form and digest, names, tool definitions, and bounded JSON Schema.
//!
//! Pure: no I/O, no clock, no async, and no other crate of this workspace. Everything here judges text that someone
//! else wrote, so every function is total and its cost is bounded by limits that stand beside it.

pub mod canonical;
pub mod crossing;
pub mod definition;
pub mod exposure;
pub mod json;
pub mod names;
pub mod number;
pub mod text;
pub mod time;
pub mod validate;
#[cfg(test)]
mod vectors;
