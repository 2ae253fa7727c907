//! Where a value does not fit, said so that whoever wrote it can correct it.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use crate::text::cut;

/// At most so many places are named.
pub(super) const PLACES: usize = 10;
/// The longest message, in characters.
const MESSAGE: usize = 200;
/// The longest pointer, in characters.
const POINTER: usize = 200;
/// The longest excerpt of the value, in characters.
const EXCERPT: usize = 40;

/// Where a value does not fit, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Place {
    /// JSON pointer into the value that was checked; empty for the whole. Cut to 200 characters.
    pub pointer: String,
    /// What is wrong there, at most 200 characters, with at most 40 of the value.
    pub message: String,
}

impl Place {
    pub(super) fn new(pointer: &str, message: impl AsRef<str>) -> Self {
        Self { pointer: cut(pointer, POINTER), message: plain(message.as_ref()) }
    }

    pub(super) fn of(error: &ValidationError<'_>) -> Self {
        let (error, option) = nearest(error);
        let excerpt = excerpt(error.instance());
        let message = error.masked_with(excerpt).to_string();
        let message = if option { format!("fits no option, the nearest says: {message}") } else { message };
        Self::new(error.instance_path().as_str(), message)
    }
}

/// Of alternatives that all failed, the reason of the one that came nearest: with the fewest errors.
fn nearest<'e>(error: &'e ValidationError<'e>) -> (&'e ValidationError<'e>, bool) {
    let (ValidationErrorKind::AnyOf { context } | ValidationErrorKind::OneOfNotValid { context }) = error.kind() else {
        return (error, false);
    };
    let branch = context.iter().filter(|errors| !errors.is_empty()).min_by_key(|errors| errors.len());
    match branch.and_then(|errors| errors.first()) {
        Some(inner) => (inner, true),
        None => (error, false),
    }
}

/// A value in a few characters. Long ones are not rendered whole.
fn excerpt(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{}\"", cut(text, EXCERPT)),
        Value::Array(items) => format!("an array of {}", items.len()),
        Value::Object(map) => format!("an object of {}", map.len()),
        _ => cut(&value.to_string(), EXCERPT),
    }
}

/// One line, escaped, cut. Backticks are kept: the text is ours or the engine's around escaped excerpts.
fn plain(message: &str) -> String {
    let mut out = String::new();
    for (i, part) in message.split('`').enumerate() {
        if i > 0 {
            out.push('`');
        }
        out.push_str(&cut(part, MESSAGE));
    }
    if out.chars().count() > MESSAGE {
        out = out.chars().take(MESSAGE).chain(['…']).collect();
    }
    out
}
