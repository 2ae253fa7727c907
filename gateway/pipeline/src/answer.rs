//! What the agent is told in the end.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::{catalogue::Tool, records::Outcome};

/// The one answer to a request, before a protocol version gives it its form.
#[derive(Debug, Clone)]
pub struct Answer {
    /// How it ended.
    pub outcome: Outcome,
    /// What is said.
    pub body: Body,
}

/// What is said.
#[derive(Debug, Clone)]
pub enum Body {
    /// A tool's result, screened: the raw JSON object.
    Result(Bytes),
    /// A result that is an error which the model can read.
    ToolError {
        /// The words.
        text: String,
        /// Further facts for programs, in `_meta`.
        meta: Option<Value>,
    },
    /// A JSON-RPC error.
    Error {
        /// Its code.
        code: i64,
        /// Its message.
        message: String,
        /// Its data.
        data: Option<Value>,
        /// The HTTP status that goes with it.
        http: u16,
    },
    /// The tools of a grant.
    Tools {
        /// In order of their names.
        tools: Vec<Arc<Tool>>,
        /// How long the list may be kept, milliseconds.
        ttl_ms: u64,
    },
}
