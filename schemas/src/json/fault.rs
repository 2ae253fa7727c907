//! Why a text is refused.

use super::NUMBER_BYTES;

/// Why a text is not acceptable JSON. Offsets are in bytes from its start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonFault {
    /// Larger than `Limits::bytes`.
    #[error("the text has {size} bytes, at most {limit} are accepted: send less")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Nested deeper than `Limits::depth`.
    #[error("nested deeper than {limit} at byte {offset}: send a flatter value")]
    TooDeep {
        /// Where the level too many opens.
        offset: usize,
        /// The limit.
        limit: usize,
    },
    /// Not UTF-8, or a byte order mark before it.
    #[error("not plain UTF-8 at byte {offset}: send UTF-8 without a byte order mark")]
    NotUtf8 {
        /// The first bad byte.
        offset: usize,
    },
    /// Not the JSON grammar.
    #[error("not JSON at byte {offset}, expected {expected}: send exact RFC 8259 JSON")]
    Syntax {
        /// Where the grammar is left.
        offset: usize,
        /// What may stand there.
        expected: &'static str,
    },
    /// An escape that names half a surrogate pair.
    #[error("half a surrogate pair at byte {offset}: escape both halves, or write the character itself")]
    LoneSurrogate {
        /// Where the escape is.
        offset: usize,
    },
    /// A number longer than [`NUMBER_BYTES`].
    #[error("a number longer than {NUMBER_BYTES} bytes at byte {offset}: send it as a string")]
    LongNumber {
        /// Where it starts.
        offset: usize,
    },
    /// The same key twice in one object.
    #[error("key `{key}` stands twice in one object, again at byte {offset}: send each key once")]
    DuplicateKey {
        /// Where it stands again.
        offset: usize,
        /// The decoded key, escaped and cut for display.
        key: String,
    },
    /// A key that contains NUL, or that a parser behind us takes as its own.
    #[error("key `{key}` at byte {offset} is not allowed: rename it")]
    ForbiddenKey {
        /// Where it starts.
        offset: usize,
        /// The decoded key, escaped and cut for display.
        key: String,
    },
    /// `fields` was given something else than one object.
    #[error("not a JSON object: send one object")]
    NotAnObject,
}
