//! The trace of one call: recorded on the way as one small tree, handed over at its end.

use std::borrow::Cow;

/// A value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attr {
    /// Text.
    Str(Cow<'static, str>),
    /// A number.
    Int(i64),
    /// Yes or no.
    Bool(bool),
}

impl From<&'static str> for Attr {
    fn from(text: &'static str) -> Self {
        Self::Str(Cow::Borrowed(text))
    }
}

impl From<String> for Attr {
    fn from(text: String) -> Self {
        Self::Str(Cow::Owned(text))
    }
}

impl From<bool> for Attr {
    fn from(yes: bool) -> Self {
        Self::Bool(yes)
    }
}

impl From<u64> for Attr {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Attr {
    fn from(number: usize) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// The name and value of something that was noticed.
pub type Attribute = (&'static str, Attr);

/// A trace context that a caller sent (W3C Trace Context). Linked to, not obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteContext {
    /// The trace.
    pub trace_id: [u8; 16],
    /// The caller's span.
    pub span_id: [u8; 8],
}

/// One part of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Its span id.
    pub id: [u8; 8],
    /// What it is called.
    pub name: Cow<'static, str>,
    /// Whether it is a call to another server.
    pub outward: bool,
    /// When it began, unix nanoseconds.
    pub start_ns: u64,
    /// When it ended, unix nanoseconds.
    pub end_ns: u64,
    /// What was noticed.
    pub attributes: Vec<Attribute>,
    /// What went wrong, where the gateway or a server failed; a refusal is no failure.
    pub error: Option<String>,
}

/// The trace of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallTrace {
    /// The trace: always our own.
    pub trace_id: [u8; 16],
    /// The whole call: `stages` are its children.
    pub root: Stage,
    /// Its parts, in order.
    pub stages: Vec<Stage>,
    /// What the caller said it is part of.
    pub links: Vec<RemoteContext>,
    /// Whether it is worth keeping whatever the sampling: a denial, an approval, a failure, a lent credential.
    pub important: bool,
    seed: u64,
}

impl CallTrace {
    /// Begins a trace. `random` gives the trace id and, further spread, the span ids.
    pub fn begin(name: Cow<'static, str>, now_ns: u64, random: [u8; 16], links: Vec<RemoteContext>) -> Self {
        let seed =
            random.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        let mut trace = Self {
            trace_id: random,
            root: Stage {
                id: [0; 8],
                name,
                outward: false,
                start_ns: now_ns,
                end_ns: now_ns,
                attributes: Vec::with_capacity(24),
                error: None,
            },
            stages: Vec::with_capacity(8),
            links,
            important: false,
            seed,
        };
        trace.root.id = trace.next_id();
        trace
    }

    /// Begins a part; the number it returns is for [`CallTrace::end`].
    pub fn start(&mut self, name: impl Into<Cow<'static, str>>, outward: bool, now_ns: u64) -> usize {
        let id = self.next_id();
        self.stages.push(Stage {
            id,
            name: name.into(),
            outward,
            start_ns: now_ns,
            end_ns: now_ns,
            attributes: Vec::with_capacity(8),
            error: None,
        });
        self.stages.len() - 1
    }

    /// Notes something about a part.
    pub fn note(&mut self, stage: usize, name: &'static str, value: impl Into<Attr>) {
        if let Some(stage) = self.stages.get_mut(stage) {
            stage.attributes.push((name, value.into()));
        }
    }

    /// Notes something about the whole call.
    pub fn note_root(&mut self, name: &'static str, value: impl Into<Attr>) {
        self.root.attributes.push((name, value.into()));
    }

    /// Ends a part.
    pub fn end(&mut self, stage: usize, now_ns: u64) {
        if let Some(stage) = self.stages.get_mut(stage) {
            stage.end_ns = now_ns.max(stage.start_ns);
        }
    }

    /// Ends a part that failed.
    pub fn fail(&mut self, stage: usize, why: String) {
        if let Some(stage) = self.stages.get_mut(stage) {
            stage.error = Some(why);
        }
    }

    /// The W3C `traceparent` of a part, for the server it calls.
    pub fn traceparent(&self, stage: usize) -> Option<String> {
        self.stages.get(stage).map(|stage| format!("00-{}-{}-01", hex(&self.trace_id), hex(&stage.id)))
    }

    /// The trace id in hex.
    pub fn trace_id_hex(&self) -> String {
        hex(&self.trace_id)
    }

    /// A span id: unique within the trace is all it must be (`SplitMix64`).
    fn next_id(&mut self) -> [u8; 8] {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) | 1).to_be_bytes()
    }
}

/// Bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |four: u8| DIGITS.get(usize::from(four)).copied().map_or('0', char::from);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_has_distinct_ids_and_a_valid_traceparent() {
        let mut trace = CallTrace::begin("tools/call x".into(), 5, [7; 16], Vec::new());
        let first = trace.start("a", false, 6);
        let second = trace.start("b", true, 7);
        trace.end(first, 9);
        assert_eq!(trace.stages.first().map(|stage| (stage.start_ns, stage.end_ns)), Some((6, 9)));
        let header = trace.traceparent(second).unwrap_or_default();
        assert_eq!(header.len(), 55);
        assert!(header.starts_with("00-07070707070707070707070707070707-") && header.ends_with("-01"));
        let ids: std::collections::BTreeSet<_> = trace.stages.iter().map(|stage| stage.id).chain([trace.root.id]).collect();
        assert_eq!(ids.len(), 3);
        assert!(!ids.contains(&[0; 8]));
    }
}
