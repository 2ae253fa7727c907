//! Labels that a result has by what is in it: by fields of its structured content, and by the resources that it brings.

use std::sync::Arc;

use bailiwick_policy::Labels;
use bailiwick_schemas::json::{self, Limits};
use serde_json::{Map, Value};

use crate::{
    constraint::{is_plain_uri, is_uri_under},
    pointed::pointed,
};

/// What an admin says of parts of results, beside what each result of the tool is marked with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marks {
    fields: Vec<(Box<str>, Labels)>,
    resources: Vec<(Box<str>, Labels)>,
    is_resource: bool,
}

impl Marks {
    /// Of a tool: labels by pointers into its structured content, and by the URIs under which resources are. None where there are neither.
    pub fn of_tool(fields: Vec<(Box<str>, Labels)>, resources: Vec<(Box<str>, Labels)>) -> Option<Arc<Self>> {
        let is_any = !fields.is_empty() || !resources.is_empty();
        is_any.then(|| Arc::new(Self { fields, resources, is_resource: false }))
    }

    /// Of the feature by which resources are read.
    pub fn of_resources(resources: Vec<(Box<str>, Labels)>) -> Option<Arc<Self>> {
        (!resources.is_empty()).then(|| Arc::new(Self { fields: Vec::new(), resources, is_resource: true }))
    }

    /// All labels that fields may have: a grant must cover them before the tool is called.
    pub(crate) fn of_fields(&self) -> Labels {
        self.fields.iter().map(|(_, labels)| *labels).collect()
    }

    /// The labels of what can't be told: an error, what is said before the result, a question, a result of another form.
    pub(crate) fn of_unknown(&self) -> Labels {
        if self.is_resource { self.of_every_resource() } else { self.of_fields() }
    }

    fn of_every_resource(&self) -> Labels {
        self.resources.iter().map(|(_, labels)| *labels).collect()
    }

    /// The labels of the resource of this URI, as its own server knows it. One that could be read in two ways has those of all.
    pub(crate) fn of_resource(&self, uri: &str) -> Labels {
        if !is_plain_uri(uri) {
            return self.of_every_resource();
        }
        self.resources.iter().filter(|(root, _)| is_uri_under(root, uri)).map(|(_, labels)| *labels).collect()
    }

    /// The labels of what is in a result; `own` finds the server's own name of a resource.
    pub(crate) fn of_result(&self, result: &Value, own: impl Fn(&str) -> String) -> Labels {
        let resource = |uri: Option<&str>| uri.map_or_else(|| self.of_every_resource(), |uri| self.of_resource(&own(uri)));
        let mut labels = if self.fields.is_empty() { Labels::NONE } else { self.in_structured(result) };
        if !self.resources.is_empty() {
            labels = brought(result).map(resource).fold(labels, Labels::join);
        }
        labels
    }

    fn in_structured(&self, result: &Value) -> Labels {
        let structured = result.get("structuredContent").filter(|structured| says_nothing_else(result, structured));
        let Some(structured) = structured else { return self.of_fields() };
        let present = self.fields.iter().filter(|(pointer, _)| !pointed(structured, pointer).is_empty());
        present.map(|(_, labels)| *labels).collect()
    }
}

/// The URI of each resource whose content a result has; none where it bears none.
fn brought(result: &Value) -> impl Iterator<Item = Option<&str>> {
    let list = |name: &str| result.get(name).and_then(Value::as_array).into_iter().flatten();
    let contents = list("contents");
    let embedded = list("content").chain(list("messages").filter_map(|message| message.get("content")));
    contents.chain(embedded.filter_map(|block| block.get("resource"))).map(|resource| resource.get("uri").and_then(Value::as_str))
}

/// Whether a result has nothing but its structured content: what else there is repeats it (MCP `server/tools`).
fn says_nothing_else(result: &Value, structured: &Value) -> bool {
    let knows = |members: &Map<String, Value>, known: &[&str]| members.keys().all(|key| known.contains(&key.as_str()));
    let repeats = |block: &Value| {
        let text = block.get("text").and_then(Value::as_str).unwrap_or_default();
        let is_text = block.as_object().is_some_and(|block| knows(block, &["type", "text"]));
        is_text && (text.is_empty() || is_same(text, structured))
    };
    let blocks = result.get("content").and_then(Value::as_array);
    result.as_object().is_some_and(|result| knows(result, &["content", "structuredContent", "isError", "resultType"]))
        && blocks.is_some_and(|blocks| blocks.iter().all(repeats))
}

/// Whether this text is strict JSON of that value.
fn is_same(text: &str, value: &Value) -> bool {
    // What stands twice under one key would be read once.
    let is_strict = json::check(text.as_bytes(), Limits { bytes: usize::MAX, depth: Limits::MESSAGE.depth }).is_ok();
    is_strict && serde_json::from_str::<Value>(text).is_ok_and(|read| read == *value)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use bailiwick_policy::Labels;
    use serde_json::{Value, json};

    use super::Marks;

    fn own(uri: &str) -> String {
        uri.to_owned()
    }

    fn of_fields(result: &Value) -> Labels {
        let fields = vec![("/customer/email".into(), Labels::CONFIDENTIAL), ("/notes/*/body".into(), Labels::UNTRUSTED)];
        Marks::of_tool(fields, Vec::new()).unwrap().of_result(result, own)
    }

    #[test]
    fn a_field_marks_where_it_is_present() {
        let with = |structured: Value| json!({"content": [{"type": "text", "text": structured.to_string()}], "structuredContent": structured, "isError": false});
        assert_eq!(of_fields(&with(json!({"id": 1, "customer": {"id": 2}}))), Labels::NONE);
        assert_eq!(of_fields(&with(json!({"customer": {"email": "a@b.example"}}))), Labels::CONFIDENTIAL);
        assert_eq!(of_fields(&with(json!({"customer": {"email": null}}))), Labels::CONFIDENTIAL);
        assert_eq!(of_fields(&with(json!({"customer": [{"id": 1}, {"email": "x"}]}))), Labels::CONFIDENTIAL);
        assert_eq!(of_fields(&with(json!({"notes": [{"body": "x"}]}))), Labels::UNTRUSTED);
        assert_eq!(of_fields(&with(json!({"notes": []}))), Labels::NONE);
        assert_eq!(of_fields(&json!({"content": [], "structuredContent": {"id": 1}})), Labels::NONE);
    }

    #[test]
    fn what_could_say_more_than_the_structured_content_is_marked_with_all() {
        let all = Labels::CONFIDENTIAL.join(Labels::UNTRUSTED);
        for result in [
            json!({"content": [{"type": "text", "text": "a@b.example"}]}),
            json!({"content": [{"type": "text", "text": "a@b.example"}], "structuredContent": {"id": 1}}),
            json!({"content": [{"type": "text", "text": "{\"id\":1,\"id\":1}"}], "structuredContent": {"id": 1}}),
            json!({"content": [{"type": "text", "text": "{\"id\":1}", "annotations": {"title": "a@b.example"}}], "structuredContent": {"id": 1}}),
            json!({"content": [{"type": "image", "data": "AA=="}], "structuredContent": {"id": 1}}),
            json!({"content": [{"type": "resource", "resource": {"uri": "file:///x", "text": "t"}}], "structuredContent": {"id": 1}}),
            json!({"content": [], "structuredContent": {"id": 1}, "_meta": {"email": "a@b.example"}}),
            json!({"content": "a@b.example", "structuredContent": {"id": 1}}),
            json!("a@b.example"),
        ] {
            assert_eq!(of_fields(&result), all, "{result}");
        }
    }

    #[test]
    fn a_resource_has_the_labels_of_the_roots_above_it() {
        let roots = || vec![("file:///hr".into(), Labels::CONFIDENTIAL), ("file:///hr/pay".into(), Labels::SECRET)];
        let marks = Marks::of_resources(roots()).unwrap();
        let both = Labels::CONFIDENTIAL.join(Labels::SECRET);
        for (uri, labels) in [
            ("file:///hr/plan.txt", Labels::CONFIDENTIAL),
            ("file:///hr/pay/may.txt", both),
            ("file:///hrx/plan.txt", Labels::NONE),
            ("file:///pub/plan.txt", Labels::NONE),
            ("file:///pub/../hr/plan.txt", both),
            ("file:///pub/%2e%2e/hr", both),
            ("FILE:///hr/plan.txt", both),
            ("hr", both),
        ] {
            assert_eq!(marks.of_resource(uri), labels, "{uri}");
        }
        assert_eq!(marks.of_unknown(), both);
        let contents = json!({"contents": [{"uri": "file:///pub/a", "text": "x"}, {"uri": "file:///hr/a", "text": "y"}]});
        assert_eq!(marks.of_result(&contents, own), Labels::CONFIDENTIAL);
        assert_eq!(marks.of_result(&json!({"contents": [{"text": "y"}]}), own), both, "whose it is, nobody can tell");
        let tool = Marks::of_tool(Vec::new(), roots()).unwrap();
        let embedded = json!({"content": [{"type": "resource", "resource": {"uri": "x+file:///hr/a", "text": "y"}}]});
        assert_eq!(tool.of_result(&embedded, |uri| uri.replace("x+", "")), Labels::CONFIDENTIAL);
        let said =
            json!({"messages": [{"role": "user", "content": {"type": "resource", "resource": {"uri": "file:///hr/pay"}}}]});
        assert_eq!(tool.of_result(&said, own), both);
        assert_eq!(tool.of_unknown(), Labels::NONE);
    }
}
