//! Holds a result to so many rows and bytes: cuts a list and says so, or refuses.

use std::borrow::Cow;

use bailiwick_policy::{Limit, Step};
use bailiwick_schemas::json::{self, Edits, Limits};
use serde_json::{Value, value::RawValue};

/// What a limit made of a result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Limited {
    /// It is within it.
    Within,
    /// Its list was cut: the result, and how many items are left out.
    Cut(String, u64),
}

/// A list in a result: of structured content, or of a text that is JSON.
struct List<'t> {
    /// The string that the document is, where it is a text; what is edited.
    of_text: Option<(&'t str, Cow<'t, str>)>,
    /// Where in the document it is.
    range: std::ops::Range<usize>,
    /// Where each item ends, from the beginning of the list.
    ends: Vec<usize>,
}

/// The result within the limit, or why it is refused. It must have been strictly read; its last `notes` blocks are ours.
pub(crate) fn limited(text: &str, limit: &Limit, notes: usize) -> Result<Limited, String> {
    let size = |text: &str| u64::try_from(text.len()).unwrap_or(u64::MAX);
    let is_large = |text: &str| limit.bytes.is_some_and(|bytes| size(text) > bytes);
    let too_large = || format!("it has {} bytes, and a rule lets {} pass", text.len(), limit.bytes.unwrap_or_default());
    let Some(at) = &limit.at else { return if is_large(text) { Err(too_large()) } else { Ok(Limited::Within) } };
    if limit.rows.is_none() && !is_large(text) {
        return Ok(Limited::Within);
    }
    let fields = json::fields(text).map_err(|fault| fault.to_string())?;
    let member = |key: &str| fields.iter().find(|(name, _)| name == key).map(|(_, value)| value.get());
    // An error of the tool has no rows, and neither has what is no result of a tool and no resource.
    let has_rows = ["structuredContent", "content", "contents"].into_iter().any(|key| member(key).is_some());
    if !has_rows || member("isError") == Some("true") {
        return if is_large(text) { Err(too_large()) } else { Ok(Limited::Within) };
    }
    let lists = lists_of(&member, at.steps(), at.as_str(), notes)?;
    let most = lists.iter().map(|list| list.ends.len()).max().unwrap_or_default();
    let allowed = limit.rows.map_or(most, |rows| usize::try_from(rows).unwrap_or(usize::MAX).min(most));
    if allowed == most && !is_large(text) {
        return Ok(Limited::Within);
    }
    if limit.refuses {
        let rows = format!("`{}` has {most} items, and a rule lets {allowed} pass", at.as_str());
        return Err(if allowed < most { rows } else { too_large() });
    }
    let cut = |rows: usize| cut_to(text, &lists, rows, &note(rows, most, at.as_str(), limit), &member);
    let whole = cut(allowed);
    if !is_large(&whole) {
        return Ok(Limited::Cut(whole, left_out(most, allowed)));
    }
    // The most rows that fit, with the note.
    let (mut fits, mut over) = (0, allowed);
    if is_large(&cut(0)) {
        return Err(format!("{}, even without any of `{}`", too_large(), at.as_str()));
    }
    while over - fits > 1 {
        let middle = usize::midpoint(fits, over);
        if is_large(&cut(middle)) { over = middle } else { fits = middle }
    }
    Ok(Limited::Cut(cut(fits), left_out(most, fits)))
}

fn left_out(most: usize, rows: usize) -> u64 {
    u64::try_from(most.saturating_sub(rows)).unwrap_or(u64::MAX)
}

fn note(rows: usize, most: usize, at: &str, limit: &Limit) -> String {
    format!("[cut by policy ({limit}): the first {rows} of {most} items of {at} are here; ask for fewer, or for another part]")
}

/// Every such list of a result: each document that has it.
fn lists_of<'t>(
    member: &impl Fn(&str) -> Option<&'t str>,
    steps: &[Step],
    at: &str,
    notes: usize,
) -> Result<Vec<List<'t>>, String> {
    let mut lists = Vec::new();
    if let Some(structured) = member("structuredContent") {
        lists.extend(list_in(structured, steps).map(|(range, ends)| List {
            of_text: Some((structured, Cow::Borrowed(structured))),
            range,
            ends,
        }));
    }
    let blocks = member("content").or_else(|| member("contents")).map_or(Ok(Vec::new()), serde_json::from_str::<Vec<&RawValue>>);
    let blocks = blocks.map_err(|fault| fault.to_string())?;
    for block in blocks.iter().take(blocks.len().saturating_sub(notes)) {
        let fields = json::fields(block.get()).map_err(|fault| fault.to_string())?;
        let Some((_, raw)) = fields.iter().find(|(key, _)| key == "text") else { continue };
        let words: String = serde_json::from_str(raw.get()).map_err(|_| "a `text` of it is none".to_owned())?;
        if json::check(words.as_bytes(), Limits { bytes: usize::MAX, depth: 100 }).is_err() {
            return Err(format!("a text in it is no JSON, so that the items of `{at}` can't be counted"));
        }
        let found = list_in(&words, steps);
        lists.extend(found.map(|(range, ends)| List { of_text: Some((raw.get(), Cow::Owned(words))), range, ends }));
    }
    if lists.is_empty() { Err(format!("it has no list at `{at}`, whose items a rule limits")) } else { Ok(lists) }
}

/// Where the list is in the document, and where each of its items ends.
fn list_in(document: &str, steps: &[Step]) -> Option<(std::ops::Range<usize>, Vec<usize>)> {
    let mut here = document.trim();
    for step in steps {
        let Step::Key(key) = step else { return None };
        here = if here.starts_with('[') {
            let items: Vec<&RawValue> = serde_json::from_str(here).ok()?;
            items.get(key.parse::<usize>().ok()?)?.get()
        } else {
            json::fields(here).ok()?.into_iter().find(|(name, _)| name == key)?.1.get()
        };
    }
    let items: Vec<&RawValue> = here.starts_with('[').then(|| serde_json::from_str(here).ok()).flatten()?;
    let place = |part: &str, of: &str| part.as_ptr().addr().checked_sub(of.as_ptr().addr());
    let start = place(here, document)?;
    let ends = items.iter().map(|item| Some(place(item.get(), here)? + item.get().len())).collect::<Option<_>>()?;
    Some((start..start + here.len(), ends))
}

/// The result with so many items in each of the lists, and with the note.
fn cut_to<'t>(text: &'t str, lists: &[List<'_>], rows: usize, note: &str, member: &impl Fn(&str) -> Option<&'t str>) -> String {
    let mut edits = Edits::of(text);
    for list in lists.iter().filter(|list| list.ends.len() > rows) {
        let Some((raw, document)) = &list.of_text else { continue };
        let end = rows.checked_sub(1).and_then(|last| list.ends.get(last)).map_or(1, |end| *end);
        let kept = document.get(list.range.start..list.range.start + end).unwrap_or("[");
        let before = document.get(..list.range.start).unwrap_or_default();
        let after = document.get(list.range.end..).unwrap_or_default();
        let cut = format!("{before}{kept}]{after}");
        let is_text = matches!(document, Cow::Owned(_));
        edits.put(raw, if is_text { Value::from(cut).to_string() } else { cut });
    }
    // Where the agent reads: behind the last block. A resource has no place for words that are not its own.
    if let Some(content) = member("content") {
        let block = format!(r#"{{"type":"text","text":{}}}]"#, Value::from(note));
        let is_empty = content.get(1..content.len().saturating_sub(1)).is_none_or(|inner| inner.trim().is_empty());
        let close = content.get(content.len().saturating_sub(1)..).unwrap_or_default();
        edits.put(close, if is_empty { block } else { format!(",{block}") });
    }
    edits.text()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail by panicking")]

    use bailiwick_policy::{Policies, Source};
    use serde_json::json;

    use super::*;

    fn of(limit: &str) -> Limit {
        let text = format!("@id(\"r\") @limit(\"{limit}\") permit (principal, action, resource);");
        let policies = Policies::compile(&[Source { name: "r.cedar", text: &text }], &[]).unwrap();
        policies.obligations("r").unwrap().limits.first().unwrap().clone()
    }

    fn result(items: usize) -> String {
        let rows: Vec<String> = (0..items).map(|at| format!("{{\"n\":{at}.0}}")).collect();
        let document = format!("{{\"total\":{items}, \"items\": [{}] }}", rows.join(" , "));
        format!(
            "{{\"content\":[{{\"type\":\"text\",\"text\":{}}}],\"structuredContent\":{document}}}",
            Value::from(document.as_str())
        )
    }

    fn rows(text: &str) -> (usize, usize, String) {
        let read: Value = serde_json::from_str(text).unwrap();
        let words: Value = serde_json::from_str(read["content"][0]["text"].as_str().unwrap()).unwrap();
        let count = |value: &Value| value["items"].as_array().unwrap().len();
        (count(&read["structuredContent"]), count(&words), read["content"][1]["text"].as_str().unwrap_or_default().to_owned())
    }

    #[test]
    fn a_list_is_cut_to_the_rows_and_the_agent_is_told() {
        let limit = of("rows=3, at=/items");
        for within in 0..=3 {
            assert_eq!(limited(&result(within), &limit, 0), Ok(Limited::Within));
        }
        let Limited::Cut(text, left_out) = limited(&result(5), &limit, 0).unwrap() else { unreachable!("5 are more than 3") };
        let (structured, words, note) = rows(&text);
        assert_eq!((structured, words, left_out), (3, 3, 2));
        assert!(note.contains("first 3 of 5 items of /items") && note.contains("rows=3"), "{note}");
        // Numbers stay as they are written.
        assert!(text.contains("{\"total\":5, \"items\": [{\"n\":0.0} , {\"n\":1.0} , {\"n\":2.0}] }"), "{text}");
        assert!(limited(&text, &limit, 0).unwrap_err().contains("no JSON"));
    }

    #[test]
    fn a_second_limit_does_not_count_the_note_of_the_first() {
        let Limited::Cut(text, _) = limited(&result(9), &of("rows=5, at=/items"), 0).unwrap() else { unreachable!("9 are more") };
        let Limited::Cut(text, 3) = limited(&text, &of("rows=2, at=/items"), 1).unwrap() else { unreachable!("5 are more") };
        assert_eq!((rows(&text).0, rows(&text).1), (2, 2));
    }

    #[test]
    fn bytes_are_exact_with_the_note() {
        for bytes in [400_usize, 500, 777, 1000] {
            let limit = of(&format!("bytes={bytes}, at=/items"));
            let whole = result(200);
            let Limited::Cut(text, left_out) = limited(&whole, &limit, 0).unwrap() else { unreachable!("it is longer") };
            assert!(text.len() <= bytes, "{}", text.len());
            let (structured, words, _) = rows(&text);
            assert_eq!((structured, words), (words, 200 - usize::try_from(left_out).unwrap()));
        }
        assert_eq!(limited(&result(1), &of("bytes=1000, at=/items"), 0), Ok(Limited::Within));
        assert!(limited(&result(9), &of("bytes=20, at=/items"), 0).unwrap_err().contains("even without any"));
    }

    #[test]
    fn what_can_not_be_counted_or_cut_is_refused() {
        let refused = |text: &str, limit: &str| limited(text, &of(limit), 0).unwrap_err();
        assert!(refused(&result(5), "rows=3, at=/items, over=refuse").contains("`/items` has 5 items, and a rule lets 3 pass"));
        assert!(refused(&result(5), "bytes=30, over=refuse").contains("a rule lets 30 pass"));
        assert!(refused(&result(5), "rows=3, at=/rows").contains("no list at `/rows`"));
        assert!(refused(&result(5), "rows=3, at=/total").contains("no list at `/total`"));
        let words = json!({"content": [{"type": "text", "text": "one\ntwo\nthree"}]}).to_string();
        assert!(refused(&words, "rows=3, at=/items").contains("no JSON"));
        let failed = json!({"content": [{"type": "text", "text": "not found"}], "isError": true}).to_string();
        assert_eq!(limited(&failed, &of("rows=3, at=/items"), 0), Ok(Limited::Within));
    }

    #[test]
    fn a_resource_is_cut_too() {
        let text = json!({"contents": [{"uri": "x://1", "text": "[1,2.50,3]"}]}).to_string();
        let policy = of("rows=2, at=/0");
        assert!(limited(&text, &policy, 0).unwrap_err().contains("no list"));
        let text = json!({"contents": [{"uri": "x://1", "text": "{\"rows\":[1,2.50,3]}"}]}).to_string();
        let Limited::Cut(text, 1) = limited(&text, &of("rows=2, at=/rows"), 0).unwrap() else {
            unreachable!("3 are more than 2")
        };
        assert!(text.contains(r#"{\"rows\":[1,2.50]}"#), "{text}");
    }
}
