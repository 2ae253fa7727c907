//! Holds a result to so many rows and bytes: cuts a list and says so, or refuses.

use std::{borrow::Cow, ops::Range};

use bailiwick_policy::{Limit, Pointer, Step};
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

/// An error of a tool has words where others have rows: so many bytes of them pass uncounted, and as many of what a server asks.
pub(crate) const WORDS_BYTES: usize = 4096;

/// What an agent can read by itself: structured content, a text that is JSON, or what else is in a result.
struct Document<'t> {
    /// What is edited, as it stands in the result.
    raw: &'t str,
    /// The JSON of it: where it is a text, what that says.
    text: Cow<'t, str>,
    /// The list in it: where that is, and where each item ends, from the beginning of the list. None where it has none.
    list: Option<(Range<usize>, Vec<usize>)>,
}

impl Document<'_> {
    fn rows(&self) -> usize {
        self.list.as_ref().map_or(0, |(_, ends)| ends.len())
    }
}

/// The result within the limit, or why it is refused. It must have been strictly read; its last `notes` blocks are ours.
///
/// Rows are counted in every document of the result: structured content, each text, each embedded resource, each message of a prompt. One
/// that is no JSON, or has no such list, can't be counted, and nothing of the result passes; of an error of the tool [`WORDS_BYTES`] do.
pub(crate) fn limited(text: &str, limit: &Limit, notes: usize) -> Result<Limited, String> {
    let size = |text: &str| u64::try_from(text.len()).unwrap_or(u64::MAX);
    let is_large = |text: &str| limit.bytes.is_some_and(|bytes| size(text) > bytes);
    let too_large = || format!("it has {} bytes, and a rule lets {} pass", text.len(), limit.bytes.unwrap_or_default());
    let Some(at) = &limit.at else { return if is_large(text) { Err(too_large()) } else { Ok(Limited::Within) } };
    if limit.rows.is_none() && !is_large(text) {
        return Ok(Limited::Within);
    }
    let documents = documents_of(text, at, notes)?;
    let most = documents.iter().map(Document::rows).max().unwrap_or_default();
    let allowed = limit.rows.map_or(most, |rows| usize::try_from(rows).unwrap_or(usize::MAX).min(most));
    if allowed == most && !is_large(text) {
        return Ok(Limited::Within);
    }
    if limit.refuses || most == 0 {
        let rows = format!("`{}` has {most} items, and a rule lets {allowed} pass", at.as_str());
        return Err(if allowed < most { rows } else { too_large() });
    }
    let cut = |rows: usize| cut_to(text, &documents, rows, &note(rows, most, at.as_str(), limit));
    let whole = cut(allowed)?;
    if !is_large(&whole) {
        return Ok(Limited::Cut(whole, left_out(most, allowed)));
    }
    // The most rows that fit, with the note.
    let (mut fits, mut over) = (0, allowed);
    if is_large(&cut(0)?) {
        return Err(format!("{}, even without any of `{}`", too_large(), at.as_str()));
    }
    while over - fits > 1 {
        let middle = usize::midpoint(fits, over);
        if is_large(&cut(middle)?) { over = middle } else { fits = middle }
    }
    Ok(Limited::Cut(cut(fits)?, left_out(most, fits)))
}

fn left_out(most: usize, rows: usize) -> u64 {
    u64::try_from(most.saturating_sub(rows)).unwrap_or(u64::MAX)
}

fn note(rows: usize, most: usize, at: &str, limit: &Limit) -> String {
    format!("[cut by policy ({limit}): the first {rows} of {most} items of {at} are here; ask for fewer, or for another part]")
}

/// Where blocks of words are in a result.
const BLOCKS: [&str; 3] = ["content", "contents", "messages"];

/// Every document of a result.
fn documents_of<'t>(text: &'t str, at: &Pointer, notes: usize) -> Result<Vec<Document<'t>>, String> {
    let fields = json::fields(text).map_err(|fault| fault.to_string())?;
    let is_error = fields.iter().any(|(key, value)| key == "isError" && value.get() == "true");
    let mut found = Found { at, documents: Vec::new(), may_be_words: is_error && text.len() <= WORDS_BYTES };
    let is_known = |key: &str| key == "structuredContent" || BLOCKS.contains(&key);
    let has_known = fields.iter().any(|(key, _)| is_known(key));
    for (key, value) in &fields {
        let value = value.get();
        match key.as_ref() {
            "structuredContent" => found.document(value, true)?,
            key if BLOCKS.contains(&key) => {
                let blocks: Vec<&RawValue> = serde_json::from_str(value).map_err(|fault| fault.to_string())?;
                let own = if key == "contents" { 0 } else { notes };
                for block in blocks.iter().take(blocks.len().saturating_sub(own)) {
                    found.block(block.get())?;
                }
            }
            // Beside those, what nobody knows is cut where it has the list. Where there are none of them it is the result.
            key => found.document(value, !has_known && key != "_meta" && value.starts_with(['{', '[']))?,
        }
    }
    Ok(found.documents)
}

struct Found<'t, 'l> {
    at: &'l Pointer,
    documents: Vec<Document<'t>>,
    /// What can't be counted are words of an error, and few of them.
    may_be_words: bool,
}

impl<'t> Found<'t, '_> {
    /// JSON that stands for itself.
    fn document(&mut self, value: &'t str, must_have: bool) -> Result<(), String> {
        let list = list_in(value, self.at.steps());
        if list.is_none() {
            return if must_have {
                self.uncounted(|at| format!("it has no list at `{at}`, whose items a rule limits"))
            } else {
                Ok(())
            };
        }
        self.documents.push(Document { raw: value, text: Cow::Borrowed(value), list });
        Ok(())
    }

    /// A content block, a resource, or a message with some of them.
    fn block(&mut self, block: &'t str) -> Result<(), String> {
        for (key, value) in json::fields(block).map_err(|fault| fault.to_string())? {
            let value = value.get();
            match key.as_ref() {
                "text" => self.text(value)?,
                "structuredContent" => self.document(value, true)?,
                "resource" | "content" if value.starts_with('{') => self.block(value)?,
                "content" if value.starts_with('[') => {
                    let blocks: Vec<&RawValue> = serde_json::from_str(value).map_err(|fault| fault.to_string())?;
                    blocks.into_iter().try_for_each(|block| self.block(block.get()))?;
                }
                "data" | "blob" => {
                    self.uncounted(|at| format!("there is a file in it, so that the items of `{at}` can't be counted"))?;
                }
                _ => self.document(value, false)?,
            }
        }
        Ok(())
    }

    fn text(&mut self, raw: &'t str) -> Result<(), String> {
        let words: String = serde_json::from_str(raw).map_err(|_| "a `text` of it is none".to_owned())?;
        if json::check(words.as_bytes(), Limits { bytes: usize::MAX, depth: 100 }).is_err() {
            return self.uncounted(|at| format!("a text in it is no JSON, so that the items of `{at}` can't be counted"));
        }
        let Some(list) = list_in(&words, self.at.steps()) else {
            return self.uncounted(|at| format!("a text in it has no list at `{at}`, whose items a rule limits"));
        };
        self.documents.push(Document { raw, text: Cow::Owned(words), list: Some(list) });
        Ok(())
    }

    fn uncounted(&self, why: impl FnOnce(&str) -> String) -> Result<(), String> {
        if self.may_be_words { Ok(()) } else { Err(why(self.at.as_str())) }
    }
}

/// Where the list is in the document, and where each of its items ends.
fn list_in(document: &str, steps: &[Step]) -> Option<(Range<usize>, Vec<usize>)> {
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
fn cut_to(text: &str, documents: &[Document<'_>], rows: usize, note: &str) -> Result<String, String> {
    let mut edits = Edits::of(text);
    for document in documents {
        let Some((range, ends)) = document.list.as_ref().filter(|(_, ends)| ends.len() > rows) else { continue };
        let end = rows.checked_sub(1).and_then(|last| ends.get(last)).map_or(1, |end| *end);
        let kept = document.text.get(range.start..range.start + end).unwrap_or("[");
        let before = document.text.get(..range.start).unwrap_or_default();
        let after = document.text.get(range.end..).unwrap_or_default();
        let cut = format!("{before}{kept}]{after}");
        let is_text = matches!(document.text, Cow::Owned(_));
        edits.put(document.raw, if is_text { Value::from(cut).to_string() } else { cut });
    }
    // Where the agent reads: behind the last block. A resource has no place for words that are not its own.
    let fields = json::fields(text).map_err(|fault| fault.to_string())?;
    let member = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.get());
    let block = format!(r#"{{"type":"text","text":{}}}"#, Value::from(note));
    if let Some(content) = member("content") {
        append(&mut edits, content, &block);
    } else if let Some(messages) = member("messages") {
        append(&mut edits, messages, &format!(r#"{{"role":"user","content":{block}}}"#));
    }
    Ok(edits.text())
}

/// One more item behind the last one of a list.
fn append(edits: &mut Edits<'_>, list: &str, item: &str) {
    let is_empty = list.get(1..list.len().saturating_sub(1)).is_none_or(|inner| inner.trim().is_empty());
    let close = list.get(list.len().saturating_sub(1)..).unwrap_or_default();
    edits.put(close, if is_empty { format!("{item}]") } else { format!(",{item}]") });
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
    }

    #[test]
    fn an_error_of_the_tool_is_counted_where_it_is_no_few_words() {
        let limit = of("rows=3, at=/items");
        let failed = |text: &str| json!({"content": [{"type": "text", "text": text}], "isError": true}).to_string();
        assert_eq!(limited(&failed("not found"), &limit, 0), Ok(Limited::Within));
        assert!(limited(&failed(&"row\n".repeat(2000)), &limit, 0).unwrap_err().contains("no JSON"));
        let Limited::Cut(text, 2) = limited(&failed(r#"{"items":[1,2,3,4,5]}"#), &limit, 0).unwrap() else {
            unreachable!("5 are more than 3")
        };
        assert!(text.contains("[1,2,3]") && !text.contains("4,5"), "{text}");
    }

    /// Rows that are not where the rule says pass in no other document of the result.
    #[test]
    fn every_document_has_the_list_or_nothing_passes() {
        let limit = of("rows=2, at=/items");
        let rows = json!({"items": [1, 2, 3]});
        let other = json!({"rows": [1, 2, 3]}).to_string();
        for (beside, why) in [
            (json!({"type": "text", "text": other}), "no list at `/items`"),
            (json!({"type": "text", "text": "[1,2,3]"}), "no list at `/items`"),
            (json!({"type": "resource", "resource": {"uri": "x://1", "text": other}}), "no list at `/items`"),
            (json!({"type": "resource", "resource": {"uri": "x://1", "text": "1\n2\n3"}}), "no JSON"),
            (json!({"type": "resource", "resource": {"uri": "x://1", "blob": "MTIz"}}), "a file"),
            (json!({"type": "image", "data": "MTIz", "mimeType": "image/png"}), "a file"),
        ] {
            let text = json!({"structuredContent": rows, "content": [beside]}).to_string();
            assert!(limited(&text, &limit, 0).unwrap_err().contains(why), "{text}");
            // Where the structured content has few.
            let text = json!({"structuredContent": {"items": [1]}, "content": [beside]}).to_string();
            assert!(limited(&text, &limit, 0).unwrap_err().contains(why), "{text}");
        }
        let text =
            json!({"structuredContent": {"rows": [1]}, "content": [{"type": "text", "text": rows.to_string()}]}).to_string();
        assert!(limited(&text, &limit, 0).unwrap_err().contains("no list"));
    }

    #[test]
    fn embedded_resources_prompts_and_what_else_is_said_are_cut() {
        let limit = of("rows=2, at=/items");
        let rows = json!({"items": [1, 2, 3]});
        let text = json!({
            "content": [{"type": "resource", "resource": {"uri": "x://1", "text": rows.to_string()}}], "_meta": rows, "more": rows,
        });
        let Limited::Cut(text, 1) = limited(&text.to_string(), &limit, 0).unwrap() else { unreachable!("3 are more than 2") };
        assert_eq!(text.matches('3').count(), 1, "only the note says how many there were: {text}");
        let read: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&read["_meta"], &read["more"]), (&json!({"items": [1, 2]}), &json!({"items": [1, 2]})));

        let message = |content: Value| json!({"messages": [{"role": "user", "content": content}]}).to_string();
        let block = json!({"type": "text", "text": rows.to_string()});
        for content in [block.clone(), json!([block])] {
            let Limited::Cut(text, 1) = limited(&message(content), &limit, 0).unwrap() else { unreachable!("3 are more than 2") };
            let read: Value = serde_json::from_str(&text).unwrap();
            assert!(text.contains(r#"{\"items\":[1,2]}"#), "{text}");
            assert!(read["messages"][1]["content"]["text"].as_str().unwrap().contains("first 2 of 3"));
            assert!(matches!(limited(&text, &of("rows=1, at=/items"), 1).unwrap(), Limited::Cut(_, 1)));
        }
        assert!(limited(&message(json!({"type": "text", "text": "1\n2\n3"})), &limit, 0).unwrap_err().contains("no JSON"));
        // What a completion answers is the only document that it has.
        let values = |values: Value| json!({"completion": values}).to_string();
        assert!(matches!(limited(&values(rows.clone()), &limit, 0).unwrap(), Limited::Cut(_, 1)));
        assert!(limited(&values(json!({"values": ["a"]})), &limit, 0).unwrap_err().contains("no list"));
    }

    #[test]
    fn a_resource_that_was_cut_has_no_note_to_pass_over() {
        let text = json!({"contents": [{"uri": "x://1", "text": "{\"a\":[1,2,3],\"b\":[1,2,3]}"}]}).to_string();
        let Limited::Cut(text, 1) = limited(&text, &of("rows=2, at=/a"), 0).unwrap() else { unreachable!("3 are more than 2") };
        let Limited::Cut(text, 2) = limited(&text, &of("rows=1, at=/b"), 1).unwrap() else { unreachable!("3 are more than 1") };
        assert!(text.contains(r#"{\"a\":[1,2],\"b\":[1]}"#), "{text}");
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
