//! The spans of one call, as they are recorded.

use std::borrow::Cow;

use crate::{Attr, SpanId, TraceId};

/// All spans of one call: one tree, recorded by whoever walks the call, handed over whole when the call has ended.
#[derive(Clone, Debug)]
pub struct SpanTree {
    /// The trace all these spans belong to.
    pub trace_id: TraceId,
    /// The caller's span, when the caller's context is trusted; else `None`, and the context becomes a [`Link`].
    pub remote_parent: Option<SpanId>,
    /// Other traces this call relates to; written on the roots of the tree.
    pub links: Vec<Link>,
    /// The spans, in the order they were opened.
    pub spans: Vec<Span>,
    /// Whether sampling may leave this tree out.
    pub importance: Importance,
}

impl SpanTree {
    /// A tree without spans, in a trace of its own.
    pub fn new() -> Self {
        Self::of(TraceId::random())
    }

    /// A tree without spans, in this trace.
    pub fn of(trace_id: TraceId) -> Self {
        Self { trace_id, remote_parent: None, links: Vec::new(), spans: Vec::with_capacity(8), importance: Importance::Routine }
    }

    /// Starts a span at `start_ns` (Unix time in nanoseconds). Until [`close`](Self::close) it has no duration.
    pub fn open(
        &mut self,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        parent: Option<SpanIndex>,
        start_ns: u64,
    ) -> SpanIndex {
        self.add(Span {
            id: SpanId::random(),
            parent,
            name: name.into(),
            kind,
            start_ns,
            end_ns: start_ns,
            attributes: Vec::new(),
            status: Status::Unset,
        })
    }

    /// Adds a span that was recorded elsewhere.
    pub fn add(&mut self, span: Span) -> SpanIndex {
        self.spans.push(span);
        SpanIndex(self.spans.len() - 1)
    }

    /// Ends a span at `end_ns` (Unix time in nanoseconds).
    pub fn close(&mut self, at: SpanIndex, end_ns: u64) {
        if let Some(span) = self.span_mut(at) {
            span.end_ns = end_ns;
        }
    }

    /// Adds an attribute to a span. A key is written once per span; the caller sees to that.
    pub fn set(&mut self, at: SpanIndex, key: &'static str, value: impl Into<Attr>) {
        if let Some(span) = self.span_mut(at) {
            span.attributes.push((key, value.into()));
        }
    }

    /// Marks a span as failed. A refusal is not a failure: then the gateway did its work.
    pub fn fail(&mut self, at: SpanIndex, message: impl Into<String>) {
        if let Some(span) = self.span_mut(at) {
            span.status = Status::Error(message.into());
        }
    }

    /// A span by its place.
    pub fn span(&self, at: SpanIndex) -> Option<&Span> {
        self.spans.get(at.0)
    }

    /// A span by its place, to change it.
    pub fn span_mut(&mut self, at: SpanIndex) -> Option<&mut Span> {
        self.spans.get_mut(at.0)
    }
}

impl Default for SpanTree {
    fn default() -> Self {
        Self::new()
    }
}

/// The place of a span in its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanIndex(usize);

/// One step of a call.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its id, unique in the trace.
    pub id: SpanId,
    /// The step it is part of; `None` for a root.
    pub parent: Option<SpanIndex>,
    /// Its name, of low cardinality: `tools/call tickets__get`.
    pub name: Cow<'static, str>,
    /// Its role between processes.
    pub kind: SpanKind,
    /// When it began: Unix time in nanoseconds.
    pub start_ns: u64,
    /// When it ended: Unix time in nanoseconds.
    pub end_ns: u64,
    /// What is known about it.
    pub attributes: Vec<(&'static str, Attr)>,
    /// How it ended.
    pub status: Status,
}

/// A span of another trace that this call relates to, as its caller named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The other trace.
    pub trace_id: TraceId,
    /// The span in it.
    pub span_id: SpanId,
}

/// The role of a span between processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A step inside the gateway.
    Internal,
    /// The gateway answers an agent.
    Server,
    /// The gateway asks a connector.
    Client,
}

/// How a span ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing to report; also what a refusal has.
    Unset,
    /// Declared good by the one who knows.
    Ok,
    /// A real fault, with the operator's words for it.
    Error(String),
}

/// Whether sampling may leave a tree out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    /// A routine call that was allowed.
    Routine,
    /// Refused, approved, failed, detected, or with an effect: always kept.
    Keep,
}
