//! Bounds on arguments, from what the arguments were.

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_pipeline::constraint::{Bound, IntRange};
use serde_json::Value;

/// So many different values are still listed one by one.
const FEW: usize = 5;

/// The bounds of a right, narrower where an argument is known of all its calls: each bound is inside the one that it replaces, and admits
/// all of these calls. One call of which it is not known, and it stays as it is.
pub(super) fn narrowed<'a>(
    present: &BTreeMap<String, Bound>,
    calls: impl Iterator<Item = Option<&'a Value>>,
) -> BTreeMap<String, Bound> {
    let mut bounds = present.clone();
    let Some(known) = calls.collect::<Option<Vec<&Value>>>() else { return bounds };
    let names: BTreeSet<&String> = known.iter().filter_map(|call| call.as_object()).flat_map(serde_json::Map::keys).collect();
    for name in names {
        // A bound needs its argument: one that some calls leave out can't have any.
        let Some(values) = known.iter().map(|call| call.get(name)).collect::<Option<Vec<&Value>>>() else { continue };
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        let Some(bound) = bound_of(&values) else { continue };
        let is_inside = present.get(&pointer).is_none_or(|outer| bound.is_within(outer));
        if is_inside && bound.check().is_ok() && values.iter().all(|value| bound.admits(Some(value))) {
            bounds.insert(pointer, bound);
        }
    }
    bounds
}

/// The narrowest bound that says something about these values.
fn bound_of(values: &[&Value]) -> Option<Bound> {
    let first = *values.first()?;
    // No configuration can name it.
    if values.iter().any(|value| value.is_null()) {
        return None;
    }
    if values.iter().all(|value| *value == first) {
        return Some(Bound { eq: Some(first.clone()), ..Bound::default() });
    }
    if let Some(numbers) = values.iter().map(|value| integer(value)).collect::<Option<Vec<i64>>>() {
        let range = IntRange { min: numbers.iter().copied().min(), max: numbers.iter().copied().max() };
        return Some(Bound { int_range: Some(range), ..Bound::default() });
    }
    if let Some(folder) = folder_of(values) {
        return Some(Bound { path_under: Some(folder), ..Bound::default() });
    }
    let mut different: Vec<Value> = Vec::new();
    for value in values.iter().filter(|value| !value.is_object() && !value.is_array()) {
        if !different.contains(value) {
            different.push((*value).clone());
        }
    }
    if different.len() <= FEW && values.iter().all(|value| different.contains(value)) {
        return Some(Bound { one_of: Some(different), ..Bound::default() });
    }
    let longest = values.iter().map(|value| value.as_str().map(|text| text.chars().count())).collect::<Option<Vec<usize>>>()?;
    Some(Bound { len_max: longest.into_iter().max(), ..Bound::default() })
}

/// An integer as bounds read one: as it is written.
fn integer(value: &Value) -> Option<i64> {
    value.as_number().and_then(|number| number.to_string().parse().ok())
}

/// The folder that all of these paths are in, if it is not the root.
fn folder_of(values: &[&Value]) -> Option<String> {
    let mut paths = values.iter().map(|value| value.as_str());
    let first: Vec<&str> = paths.next()??.strip_prefix('/')?.split('/').collect();
    let (_, mut common) = first.split_last()?;
    for path in paths {
        let parts: Vec<&str> = path?.strip_prefix('/')?.split('/').collect();
        let (_, folder) = parts.split_last()?;
        let same = common.iter().zip(folder).take_while(|(one, other)| one == other).count();
        common = common.get(..same)?;
    }
    (!common.is_empty()).then(|| format!("/{}", common.join("/")))
}
