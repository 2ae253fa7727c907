//! The limits on a schema, and why one is refused.

use crate::text::shown;

/// What one schema may be at most. Each limit is checked before anything is built from the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Size of its canonical text, in bytes.
    pub bytes: usize,
    /// Nesting of its JSON.
    pub depth: usize,
    /// Subschemas it contains.
    pub subschemas: usize,
    /// References followed one after the other on the same value.
    pub hops: usize,
    /// Subschemas that are looked at when every reference is replaced by its target and every one applied to the same
    /// value: what building costs, and what checking one value costs.
    pub visits: u64,
    /// Units of work for one check: see [`Validator::check`](super::Validator::check). About 50 million a second.
    pub work: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes: 256 * 1024, depth: 64, subschemas: 10_000, hops: 64, visits: 4_096, work: 20_000_000 }
    }
}

/// Why a schema is refused. Places are JSON pointers into the schema, cut for display.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaFault {
    /// Larger than [`Bounds::bytes`].
    #[error("the schema has {size} bytes, at most {limit} are accepted: shorten it")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Nested deeper than [`Bounds::depth`].
    #[error("the schema is nested deeper than {limit}: flatten it")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// More than [`Bounds::subschemas`].
    #[error("the schema has more than {limit} subschemas: split the tool")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// More than [`Bounds::hops`].
    #[error("more than {limit} references follow each other from `{place}`: refer to the target directly")]
    TooManyHops {
        /// Where the chain passes.
        place: String,
        /// The limit.
        limit: usize,
    },
    /// Checking could visit more than [`Bounds::visits`] subschemas for one value.
    #[error(
        "one value could be checked against more than {limit} subschemas, seen at `{place}`: use fewer branches, or tell them apart by property"
    )]
    TooCostly {
        /// Where the count was exceeded.
        place: String,
        /// The limit.
        limit: u64,
    },
    /// A reference comes back to itself without going deeper into the value.
    #[error("the reference at `{place}` leads back to itself on the same value: break the loop")]
    EndlessLoop {
        /// A place on the loop.
        place: String,
    },
    /// Not a schema at all: neither an object nor a boolean, or not an object schema where one is needed.
    #[error("{expected} is required: write one, with \"type\": \"object\" at the top of an input schema")]
    NotASchema {
        /// What is required.
        expected: &'static str,
    },
    /// A dialect we don't speak.
    #[error("the dialect `{dialect}` at `{place}` is not supported: use JSON Schema 2020-12 or draft-07, one throughout")]
    Dialect {
        /// Where it is named.
        place: String,
        /// Its name.
        dialect: String,
    },
    /// A reference to something outside of the document, or to no schema inside.
    #[error("the reference `{reference}` at `{place}` names no schema inside the document: refer to `#/$defs/…`")]
    Reference {
        /// Where it is.
        place: String,
        /// What it says.
        reference: String,
    },
    /// An identifier or anchor that would change what references mean.
    #[error("`{keyword}` at `{place}` would change what references mean: remove it")]
    Identifier {
        /// Where it is.
        place: String,
        /// `$id`, `$anchor` or `$dynamicAnchor`.
        keyword: &'static str,
    },
    /// Two keywords that no value can satisfy.
    #[error("{conflict} at `{place}`: correct one of them")]
    Conflict {
        /// Where they stand.
        place: String,
        /// What contradicts what.
        conflict: &'static str,
    },
    /// Not valid against its dialect's meta-schema, or a pattern outside of the linear-time syntax.
    #[error("the schema is not valid at `{place}`, {reason}: correct it")]
    Invalid {
        /// Where.
        place: String,
        /// Why.
        reason: String,
    },
}

impl SchemaFault {
    pub(super) fn reference(place: &str, reference: &str) -> Self {
        Self::Reference { place: shown(place), reference: shown(reference) }
    }

    pub(super) fn conflict(place: &str, conflict: &'static str) -> Self {
        Self::Conflict { place: shown(place), conflict }
    }
}
