//! Traces of calls, from one small tree per call straight to OTLP.
//!
//! A call records its spans in a [`SpanTree`]. [`Exporter::finish`] encodes the tree to protobuf on the caller's thread
//! and puts the bytes into a bounded queue; a thread of its own batches them and posts them over OTLP/HTTP
//! (`application/x-protobuf`). Nothing here ever blocks a call: a dead, slow or hung collector costs spans, which
//! [`Exporter::counts`] shows, and never time.
//!
//! Traces are best effort. What must not be lost belongs to the trail, not here.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail so")
)]

mod attribute;
mod context;
mod encode;
mod exporter;
mod fault;
mod id;
mod post;
mod proto;
mod sampling;
mod setup;
mod tree;
mod worker;

pub use attribute::Attr;
pub use context::{TraceParent, format_traceparent, parse_traceparent};
pub use exporter::{Counts, Drain, Exporter};
pub use fault::{Fault, Problem};
pub use id::{SpanId, TraceId};
pub use setup::Settings;
pub use tree::{Importance, Link, Span, SpanIndex, SpanKind, SpanTree, Status};
