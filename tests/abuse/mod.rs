//! Abuse cases: one test for each known attack, named for it.
