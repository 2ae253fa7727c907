//! Abuse cases: one test for each known attack, named for it: `aNN_…` is row NN of the list. `coverage` beside this file tells
//! which rows have one.

mod answers;
mod approvals;
mod asides;
mod bodies;
mod bounds;
mod canary;
mod commands;
mod decisions;
mod detections;
mod ends;
mod exhaustion;
mod headers;
mod hops;
mod http_downstream;
mod hunt;
mod lines;
mod load;
mod messages;
mod metadata;
mod names;
mod numbers;
mod parameters;
mod reload;
mod resources;
mod schemas;
mod shadowing;
mod silence;
mod sites;
mod smuggling;
mod state;
mod tasks;
mod versions;
