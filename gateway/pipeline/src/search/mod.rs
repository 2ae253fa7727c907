//! Tool search: which of the tools that a grant shows come nearest to what an agent looks for.
//!
//! Tools are taken apart into words once, connector by connector, when they are compiled. Everything else is computed of the tools in the
//! list that the agent would see, and of no others: neither rank nor number of what is found tells of a tool that is not there for it.

mod index;
mod own;
mod shelf;
mod words;

pub(crate) use self::{
    index::Index,
    own::{COMPLETING, DEFINITIONS, OwnTool, REQUESTING, STATUS},
    shelf::ShelfWords,
};

/// The longest query, in characters.
const QUERY_CHARS: usize = 256;

/// The most tools that one search shows, and how many unless it says.
const MOST: u8 = 50;
const USUAL: u8 = 10;
