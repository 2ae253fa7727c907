//! Keywords that contradict each other: a mistake, or a way to make two validators disagree. Such a schema is refused.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::fault::SchemaFault;
use super::graph::{Graph, Node};

/// Lower and upper bounds that must leave something between them.
const RANGES: [(&str, &str, &str); 4] = [
    ("minimum", "maximum", "`minimum` is above `maximum`"),
    ("minLength", "maxLength", "`minLength` is above `maxLength`"),
    ("minItems", "maxItems", "`minItems` is above `maxItems`"),
    ("minProperties", "maxProperties", "`minProperties` is above `maxProperties`"),
];

/// The same, where the bound itself is excluded.
const OPEN_RANGES: [(&str, &str, &str); 3] = [
    ("exclusiveMinimum", "exclusiveMaximum", "`exclusiveMinimum` is not below `exclusiveMaximum`"),
    ("exclusiveMinimum", "maximum", "`exclusiveMinimum` is not below `maximum`"),
    ("minimum", "exclusiveMaximum", "`minimum` is not below `exclusiveMaximum`"),
];

/// Refuses a schema in which some subschema contradicts itself.
pub(super) fn refuse(graph: &Graph<'_>) -> Result<(), SchemaFault> {
    graph.nodes.iter().try_for_each(refuse_in)
}

fn refuse_in(node: &Node<'_>) -> Result<(), SchemaFault> {
    let Value::Object(schema) = node.schema else {
        return Ok(());
    };
    let fault = |conflict| Err(SchemaFault::conflict(&node.pointer, conflict));
    if let (Some(constant), Some(Value::Array(options))) = (schema.get("const"), schema.get("enum"))
        && !options.iter().any(|option| equal(constant, option))
    {
        return fault("`const` is not in `enum`");
    }
    if let (Some(constant), Some(Value::String(kind))) = (schema.get("const"), schema.get("type"))
        && !is_of_type(constant, kind)
    {
        return fault("`const` is not of the `type`");
    }
    for (lower, upper, conflict) in RANGES {
        if ordering(schema, lower, upper) == Some(Ordering::Greater) {
            return fault(conflict);
        }
    }
    for (lower, upper, conflict) in OPEN_RANGES {
        if matches!(ordering(schema, lower, upper), Some(Ordering::Greater | Ordering::Equal)) {
            return fault(conflict);
        }
    }
    Ok(())
}

fn ordering(schema: &Map<String, Value>, lower: &str, upper: &str) -> Option<Ordering> {
    match (schema.get(lower)?, schema.get(upper)?) {
        (Value::Number(lower), Value::Number(upper)) => Some(Decimal::of(lower).compare(&Decimal::of(upper))),
        _ => None,
    }
}

fn is_of_type(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        // Whether it is whole is left to the validator.
        "number" | "integer" => value.is_number(),
        _ => true,
    }
}

/// Equality as JSON Schema means it: numbers by value.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => Decimal::of(a).compare(&Decimal::of(b)).is_eq(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

/// A number exactly, as its text says: 0.`digits` times ten to the `scale`.
struct Decimal {
    is_negative: bool,
    /// Without zeros at either end; empty for zero.
    digits: Vec<u8>,
    scale: i64,
}

impl Decimal {
    fn of(number: &Number) -> Self {
        let text = number.as_str();
        let unsigned = text.trim_start_matches('-');
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        // An exponent that no `i64` holds is beyond comparison: it saturates.
        let saturated = if exponent.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 };
        let exponent = exponent.parse().unwrap_or(saturated);
        let all = || whole.bytes().chain(fraction.bytes());
        let zeros = all().take_while(|&digit| digit == b'0').count();
        let mut digits: Vec<u8> = all().skip(zeros).collect();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        let point = i64::try_from(whole.len()).unwrap_or(i64::MAX) - i64::try_from(zeros).unwrap_or(i64::MAX);
        let scale = if digits.is_empty() { 0 } else { point.saturating_add(exponent) };
        Self { is_negative: text.starts_with('-') && !digits.is_empty(), digits, scale }
    }

    fn compare(&self, other: &Self) -> Ordering {
        let sizes = || match (self.digits.is_empty(), other.digits.is_empty()) {
            (false, false) => self.scale.cmp(&other.scale).then_with(|| self.digits.cmp(&other.digits)),
            (left, right) => right.cmp(&left),
        };
        match (self.is_negative, other.is_negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => sizes(),
            (true, true) => sizes().reverse(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn compare(a: &str, b: &str) -> Ordering {
        Decimal::of(&a.parse().unwrap()).compare(&Decimal::of(&b.parse().unwrap()))
    }

    #[test]
    fn numbers_compare_exactly() {
        assert_eq!(compare("1.0", "1"), Ordering::Equal);
        assert_eq!(compare("1e2", "100"), Ordering::Equal);
        assert_eq!(compare("0.001", "1e-3"), Ordering::Equal);
        assert_eq!(compare("-0", "0"), Ordering::Equal);
        assert_eq!(compare("9007199254740993", "9007199254740992"), Ordering::Greater);
        assert_eq!(compare("-2", "-10"), Ordering::Greater);
        assert_eq!(compare("0", "0.5"), Ordering::Less);
        assert_eq!(compare("-0.5", "0"), Ordering::Less);
        assert_eq!(compare("1e400", "1e99999999999999999999"), Ordering::Less);
        assert_eq!(compare("1e-99999999999999999999", "1"), Ordering::Less);
    }
}
