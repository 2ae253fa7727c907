//! The pages of long lists: where each begins, and the cursors between them.

use std::ops::Range;

use bailiwick_schemas::canonical::Digest;

use crate::trace::hex;

/// A page of a list has so many items at most.
pub const PAGE: usize = 1_000;

/// A page of a list of so many items, and the cursor to the one after it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) range: Range<usize>,
    /// Letters, digits and `-`.
    pub(crate) next: Option<String>,
}

impl Place {
    /// The page that this cursor leads to, the first one without any; none where it is a cursor of another list, or of none. `version` is
    /// what makes the list another one; a list of one page needs none.
    pub(crate) fn of(cursor: Option<&str>, items: usize, version: Option<&Digest>) -> Option<Self> {
        let start = match (cursor, version) {
            (None, _) => 0,
            (Some(cursor), Some(version)) => start(cursor, items, version)?,
            (Some(_), None) => return None,
        };
        let end = items.min(start + PAGE);
        Some(Self { range: start..end, next: version.filter(|_| end < items).map(|version| to(end, version)) })
    }
}

/// What leads to the page that begins there: a text that says where, and of which list.
fn to(start: usize, version: &Digest) -> String {
    let of = Digest::of(&[version.as_bytes().as_slice(), &start.to_be_bytes()].concat());
    let mark: String = hex(of.as_bytes()).chars().take(32).collect();
    format!("{start:x}-{mark}")
}

fn start(cursor: &str, items: usize, version: &Digest) -> Option<usize> {
    let start = usize::from_str_radix(cursor.split_once('-')?.0, 16).ok()?;
    let is_a_page = start > 0 && start < items && start.is_multiple_of(PAGE);
    (is_a_page && to(start, version) == cursor).then_some(start)
}
