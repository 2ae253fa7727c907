//! The operators' API.
