//! Changes to a JSON text that leave everything else as it was written: number text, the order of keys, escapes, spaces.

use std::{borrow::Cow, ops::Range};

use serde_json::value::RawValue;

use super::{JsonFault, fields};

/// Other texts for parts of one text.
#[derive(Debug, Clone)]
pub struct Edits<'t> {
    whole: &'t str,
    parts: Vec<(Range<usize>, String)>,
}

impl<'t> Edits<'t> {
    /// None yet.
    pub fn of(whole: &'t str) -> Self {
        Self { whole, parts: Vec::new() }
    }

    /// Puts another text in the place of `part`, which is a slice of the whole and no part of one that was given before. What is no slice of
    /// it changes nothing.
    pub fn put(&mut self, part: &str, instead: String) {
        if let Some(range) = range_of(self.whole, part) {
            self.parts.push((range, instead));
        }
    }

    /// Whether nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The whole with all of them.
    pub fn text(mut self) -> String {
        self.parts.sort_by_key(|(range, _)| range.start);
        let mut text =
            String::with_capacity(self.whole.len() + self.parts.iter().map(|(_, instead)| instead.len()).sum::<usize>());
        let mut at = 0;
        for (range, instead) in &self.parts {
            text.push_str(self.whole.get(at..range.start).unwrap_or_default());
            text.push_str(instead);
            at = range.end;
        }
        text.push_str(self.whole.get(at..).unwrap_or_default());
        text
    }
}

/// A member of an object, as it was written.
#[derive(Debug, Clone)]
pub struct Written<'t> {
    /// Its key, with escapes resolved.
    pub key: Cow<'t, str>,
    /// Key, colon and value.
    pub text: &'t str,
    /// Its value.
    pub value: &'t RawValue,
}

/// The members of the object that `object` is, each as it was written. `object` must have passed [`check`](super::check).
pub fn written(object: &str) -> Result<Vec<Written<'_>>, JsonFault> {
    let mut before = object.find('{').ok_or(JsonFault::NotAnObject)?;
    let mut members = Vec::new();
    for (key, value) in fields(object)? {
        // Between two values there is nothing but a comma, a key, a colon and spaces.
        let end = range_of(object, value.get()).ok_or(JsonFault::NotAnObject)?.end;
        let text = object.get(before..end).unwrap_or_default().trim_start();
        let text = text.strip_prefix(['{', ',']).unwrap_or(text).trim_start();
        members.push(Written { key, text, value });
        before = end;
    }
    Ok(members)
}

/// Where a slice of a text is in it.
fn range_of(whole: &str, part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let range = start..start.checked_add(part.len())?;
    whole.get(range.clone())?;
    Some(range)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_is_not_changed_stays_as_it_was_written() {
        let text = "{ \"\\u0061\" : 1e2,\n\"b\":[1.50, {\"c\" :\"x\"}] , \"\":\"\\/\" }";
        let mut edits = Edits::of(text);
        assert!(edits.is_empty());
        let list = fields(text).unwrap().into_iter().find(|(key, _)| key == "b").unwrap().1;
        let items: Vec<&RawValue> = serde_json::from_str(list.get()).unwrap();
        let inner = fields(items.last().unwrap().get()).unwrap();
        let empty = fields(text).unwrap().into_iter().find(|(key, _)| key.is_empty()).unwrap().1;
        // In any order.
        edits.put(empty.get(), "null".to_owned());
        edits.put(inner.first().unwrap().1.get(), "\"longer\"".to_owned());
        edits.put("not in it", "never".to_owned());
        assert!(!edits.is_empty());
        assert_eq!(edits.text(), "{ \"\\u0061\" : 1e2,\n\"b\":[1.50, {\"c\" :\"longer\"}] , \"\":null }");
        assert_eq!(Edits::of(text).text(), text);
    }

    #[test]
    fn members_are_as_they_were_written() {
        let text = " { \"\\u0061\" : 1e2 ,\n\"b,{\":[1, 2],\"\":{}\t}";
        let members = written(text).unwrap();
        let seen: Vec<_> = members.iter().map(|member| (member.key.as_ref(), member.text, member.value.get())).collect();
        assert_eq!(seen, [("a", "\"\\u0061\" : 1e2", "1e2"), ("b,{", "\"b,{\":[1, 2]", "[1, 2]"), ("", "\"\":{}", "{}")]);
        assert!(written("{}").unwrap().is_empty());
        assert!(written("[1]").is_err() && written("[{\"a\":1}]").is_err());
    }
}
