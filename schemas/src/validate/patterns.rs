//! Patterns, in linear time and bounded space.
//!
//! They run on the `regex` crate, which knows neither look-around nor back-references. How large a pattern becomes when
//! compiled is not seen in its text, so each is compiled once by itself, and many large ones are refused.

use jsonschema::{PatternOptions, Regex};
use serde_json::{Map, Value, json};

use super::fault::SchemaFault;
use super::graph::{Graph, Node};
use crate::text::shown;

/// The largest compiled pattern, in bytes: enough for `^.{1,1000}$`.
pub(super) const LARGE: usize = 1024 * 1024;
/// The largest one that is not counted as large.
const SMALL: usize = 32 * 1024;
/// At most so many large patterns in one schema.
const LARGE_ONES: usize = 16;
/// At most so many patterns in one schema.
const ALL: usize = 512;

/// The engine's options for patterns up to `size` bytes when compiled.
pub(super) fn engine(size: usize) -> PatternOptions<Regex> {
    PatternOptions::regex().size_limit(size)
}

/// Refuses patterns that the engine doesn't know, and more than it should hold.
pub(super) fn refuse(graph: &Graph<'_>) -> Result<(), SchemaFault> {
    let (mut all, mut large) = (0, 0);
    for node in &graph.nodes {
        for pattern in of(node) {
            all += 1;
            if compiles(pattern, SMALL) {
                continue;
            }
            large += 1;
            if large > LARGE_ONES || !compiles(pattern, LARGE) {
                return Err(fault(
                    node,
                    format!(
                        "the pattern `{}` needs look-around or a back-reference, is too large, or no pattern",
                        shown(pattern)
                    ),
                ));
            }
        }
        if all > ALL {
            return Err(fault(node, format!("there are more than {ALL} patterns")));
        }
    }
    Ok(())
}

fn of<'s>(node: &Node<'s>) -> impl Iterator<Item = &'s str> {
    let named = node.keyword("patternProperties").and_then(Value::as_object);
    let named = named.into_iter().flat_map(Map::keys).map(String::as_str);
    named.chain(node.keyword("pattern").and_then(Value::as_str))
}

fn compiles(pattern: &str, size: usize) -> bool {
    jsonschema::options().with_pattern_options(engine(size)).offline().build(&json!({ "pattern": pattern })).is_ok()
}

fn fault(node: &Node<'_>, reason: String) -> SchemaFault {
    SchemaFault::Invalid { place: shown(&node.pointer), reason }
}
