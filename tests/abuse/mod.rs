//! Abuse cases: one test for each known attack, named for it: `aNN_…` is row NN of the list. `coverage` beside this file tells
//! which rows have one.

mod bodies;
mod bounds;
mod headers;
mod messages;
mod metadata;
mod names;
mod numbers;
mod parameters;
mod reload;
mod schemas;
mod smuggling;
mod versions;
