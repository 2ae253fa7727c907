//! Ids of traces and spans: random, never all zero.

use std::{
    cell::Cell,
    fmt,
    hash::{BuildHasher, Hasher, RandomState},
};

/// The id of a trace (W3C Trace Context, section 3.2.2.3): 16 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// A fresh id.
    pub fn random() -> Self {
        loop {
            let id = u128::from(random_u64()) << 64 | u128::from(random_u64());
            if let Some(id) = Self::from_bytes(id.to_be_bytes()) {
                return id;
            }
        }
    }

    /// An id from its bytes; `None` when they are all zero.
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// The id of a span (W3C Trace Context, section 3.2.2.4): 8 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

impl SpanId {
    /// A fresh id.
    pub fn random() -> Self {
        loop {
            if let Some(id) = Self::from_bytes(random_u64().to_be_bytes()) {
                return id;
            }
        }
    }

    /// An id from its bytes; `None` when they are all zero.
    pub fn from_bytes(bytes: [u8; 8]) -> Option<Self> {
        (bytes != [0; 8]).then_some(Self(bytes))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

/// Lower-case hex, as `traceparent` and every trace UI write it.
impl fmt::Display for TraceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Lower-case hex, as `traceparent` and every trace UI write it.
impl fmt::Display for SpanId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The next number of this thread's generator (xoshiro256++, Blackman and Vigna 2019). Ids need to be unique, not secret:
/// the seed comes from the system's generator, the rest is a few shifts.
pub(crate) fn random_u64() -> u64 {
    thread_local! {
        static STATE: Cell<Option<[u64; 4]>> = const { Cell::new(None) };
    }
    STATE.with(|state| {
        let [a, b, c, d] = state.get().unwrap_or_else(seed);
        let next = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        state.set(Some([a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)]));
        next
    })
}

fn seed() -> [u64; 4] {
    std::array::from_fn(|_| {
        let mut bytes = [0; 8];
        match aws_lc_rs::rand::fill(&mut bytes) {
            Ok(()) => u64::from_be_bytes(bytes),
            // The standard library keeps random keys of its own for its hash maps: enough for an id.
            Err(_) => RandomState::new().build_hasher().finish(),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::{SpanId, TraceId};

    #[test]
    fn ids_differ_on_every_thread() {
        let threads: Vec<_> = (0..8)
            .map(|_| thread::spawn(|| (0..5_000).map(|_| (TraceId::random(), SpanId::random())).collect::<Vec<_>>()))
            .collect();
        let ids: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ids.iter().map(|(trace, _)| *trace).collect::<HashSet<_>>().len(), 40_000);
        assert_eq!(ids.iter().map(|(_, span)| *span).collect::<HashSet<_>>().len(), 40_000);
    }

    #[test]
    fn every_bit_of_an_id_moves() {
        let (mut ones, mut zeros) = (0_u128, 0_u128);
        for _ in 0..200 {
            let id = u128::from_be_bytes(*TraceId::random().as_bytes());
            ones |= id;
            zeros |= !id;
        }
        assert_eq!((ones, zeros), (u128::MAX, u128::MAX));
    }

    #[test]
    fn zero_is_no_id() {
        assert_eq!(TraceId::from_bytes([0; 16]), None);
        assert_eq!(SpanId::from_bytes([0; 8]), None);
    }
}
