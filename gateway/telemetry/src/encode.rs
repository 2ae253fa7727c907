//! Trees as OTLP (`opentelemetry/proto/trace/v1/trace.proto`, `collector/trace/v1/trace_service.proto`, 1.x).

use std::{borrow::Cow, time::Duration};

use crate::{
    Attr, Span, SpanKind, SpanTree, Status,
    proto::{Field, Writer, field_size, next_field, open_field},
};

/// More attributes, links or list items than this are left out (the OpenTelemetry SDK's default limits).
const COUNT_LIMIT: usize = 128;
/// W3C `sampled`, and "it is known whether the parent is remote".
const FLAGS_LOCAL: u32 = 0x101;
/// The same, and it is remote.
const FLAGS_REMOTE: u32 = 0x301;

/// The spans of one tree, encoded: a run of `ScopeSpans.spans` fields, to be strung together with others.
pub(crate) struct EncodedTree {
    /// The fields.
    pub(crate) bytes: Vec<u8>,
    /// How many spans they are.
    pub(crate) spans: u64,
}

/// Encodes a tree. Texts are cut to `length_limit` characters.
pub(crate) fn tree(tree: &SpanTree, length_limit: usize) -> EncodedTree {
    let mut bytes = Vec::with_capacity(512 * tree.spans.len());
    for span in &tree.spans {
        Writer(&mut bytes).message(2, |out| write_span(out, tree, span, length_limit));
    }
    EncodedTree { bytes, spans: tree.spans.len() as u64 }
}

fn write_span(out: &mut Writer<'_>, tree: &SpanTree, span: &Span, limit: usize) {
    let parent = span.parent.and_then(|at| tree.span(at));
    let is_root = parent.is_none();
    let remote = tree.remote_parent.filter(|_| is_root);
    out.bytes(1, tree.trace_id.as_bytes());
    out.bytes(2, span.id.as_bytes());
    if let Some(id) = parent.map(|span| span.id).or(remote) {
        out.bytes(4, id.as_bytes());
    }
    out.bytes(5, cut(&span.name, limit).as_bytes());
    out.uint(
        6,
        match span.kind {
            SpanKind::Internal => 1,
            SpanKind::Server => 2,
            SpanKind::Client => 3,
        },
    );
    out.fixed64(7, span.start_ns);
    out.fixed64(8, span.end_ns.max(span.start_ns));
    for (key, value) in span.attributes.iter().take(COUNT_LIMIT) {
        out.message(9, |out| write_attribute(out, key, value, limit));
    }
    out.uint(10, span.attributes.len().saturating_sub(COUNT_LIMIT) as u64);
    if is_root {
        for link in tree.links.iter().take(COUNT_LIMIT) {
            out.message(13, |out| {
                out.bytes(1, link.trace_id.as_bytes());
                out.bytes(2, link.span_id.as_bytes());
                // Not `sampled`: what the caller claimed about that is not passed on.
                out.fixed32(6, FLAGS_REMOTE & !1);
            });
        }
    }
    match &span.status {
        Status::Unset => {}
        Status::Ok => out.message(15, |out| out.uint(3, 1)),
        Status::Error(message) => out.message(15, |out| {
            out.bytes(2, cut(message, limit).as_bytes());
            out.uint(3, 2);
        }),
    }
    out.fixed32(16, if remote.is_some() { FLAGS_REMOTE } else { FLAGS_LOCAL });
}

fn write_attribute(out: &mut Writer<'_>, key: &str, value: &Attr, limit: usize) {
    out.bytes(1, key.as_bytes());
    out.message(2, |out| match value {
        Attr::Str(text) => out.bytes(1, cut(text, limit).as_bytes()),
        Attr::Bool(value) => out.always_uint(2, u64::from(*value)),
        Attr::Int(value) => out.always_uint(3, value.cast_unsigned()),
        Attr::Float(value) => out.fixed64(4, value.to_bits()),
        Attr::StrList(items) => out.message(5, |out| {
            for item in items.iter().take(COUNT_LIMIT) {
                out.message(1, |out| out.bytes(1, cut(item, limit).as_bytes()));
            }
        }),
    });
}

/// The first `limit` characters.
fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    text.char_indices().nth(limit).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

/// What is the same in every request: who sends, and with what.
pub(crate) struct Envelope {
    resource: Vec<u8>,
    scope: Vec<u8>,
}

impl Envelope {
    /// An envelope for these resource attributes.
    pub(crate) fn new(attributes: &[(Cow<'static, str>, String)], version: &str) -> Self {
        let (mut resource, mut scope) = (Vec::new(), Vec::new());
        Writer(&mut resource).message(1, |out| {
            for (key, value) in attributes {
                out.message(1, |out| {
                    out.bytes(1, key.as_bytes());
                    out.message(2, |out| out.bytes(1, value.as_bytes()));
                });
            }
        });
        Writer(&mut scope).message(1, |out| {
            out.bytes(1, b"bailiwick");
            out.bytes(2, version.as_bytes());
        });
        Self { resource, scope }
    }

    /// An `ExportTraceServiceRequest` of one resource, one scope, and these trees.
    pub(crate) fn seal(&self, trees: &[EncodedTree]) -> Vec<u8> {
        let scope_spans = self.scope.len() + trees.iter().map(|tree| tree.bytes.len()).sum::<usize>();
        let resource_spans = self.resource.len() + field_size(scope_spans);
        let mut request = Vec::with_capacity(field_size(resource_spans));
        open_field(&mut request, 1, resource_spans);
        request.extend_from_slice(&self.resource);
        open_field(&mut request, 2, scope_spans);
        request.extend_from_slice(&self.scope);
        for tree in trees {
            request.extend_from_slice(&tree.bytes);
        }
        request
    }
}

/// How many spans a collector that answered 200 refused all the same (`ExportTraceServiceResponse.partial_success`), and
/// its words for it. A response that can't be read refuses nothing.
pub(crate) fn rejected_spans(response: &[u8]) -> (u64, String) {
    let mut rejected = (0, String::new());
    let mut response = response;
    while let Some((number, field)) = next_field(&mut response) {
        if let (1, Field::Bytes(mut partial)) = (number, field) {
            while let Some(field) = next_field(&mut partial) {
                match field {
                    (1, Field::Number(spans)) => rejected.0 = spans,
                    (2, Field::Bytes(message)) => {
                        rejected.1 = String::from_utf8_lossy(message).into_owned();
                    }
                    _ => {}
                }
            }
        }
    }
    rejected.1 = cut(&rejected.1, 256).to_owned();
    rejected
}

/// How long to wait before the second attempt: what the collector asked for (`Retry-After` in seconds), else half a second,
/// and a random part so that not everyone comes back at once.
pub(crate) fn backoff(retry_after: Option<&str>) -> Duration {
    let asked = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    asked.unwrap_or(Duration::from_millis(500)) + Duration::from_millis(crate::id::random_u64() % 250)
}
