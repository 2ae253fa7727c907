//! A desk with nothing on it.

use crate::Desk;

/// Shows nothing.
pub(super) struct Nothing;

impl Desk for Nothing {}
