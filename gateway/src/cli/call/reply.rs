//! What came back, and what of it is shown.

use serde_json::Value;

/// A response.
#[derive(Debug)]
pub(super) struct Reply {
    status: u16,
    text: String,
    message: Option<Value>,
}

/// What a response comes to.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict<'r> {
    /// A result.
    Result {
        /// Its content as text.
        text: String,
        /// Its structured content, if it has some.
        structured: Option<&'r Value>,
        /// All of it.
        whole: &'r Value,
    },
    /// A result that says it is an error, in its words.
    ToolError(String),
    /// A JSON-RPC error.
    Error {
        /// Its code.
        code: i64,
        /// Its words.
        message: String,
        /// Further facts.
        data: Option<&'r Value>,
    },
}

impl Reply {
    /// Reads a response.
    pub(super) fn new(status: u16, text: String) -> Self {
        Self { status, message: serde_json::from_str(&text).ok(), text }
    }

    /// As it came.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The result, where there is one.
    pub(super) fn result(&self) -> Option<&Value> {
        self.message.as_ref()?.get("result")
    }

    /// Whether it is a result, and no error.
    pub(super) fn is_success(&self) -> bool {
        matches!(self.verdict(), Verdict::Result { .. })
    }

    /// What it comes to.
    pub(super) fn verdict(&self) -> Verdict<'_> {
        let Some(result) = self.result() else { return self.error() };
        let text = content(result);
        if result.get("isError") == Some(&Value::Bool(true)) {
            return Verdict::ToolError(text);
        }
        let structured = result.get("structuredContent").filter(|structured| !structured.is_null());
        let text = match structured {
            Some(structured) if text.is_empty() => structured.to_string(),
            _ => text,
        };
        Verdict::Result { text, structured, whole: result }
    }

    fn error(&self) -> Verdict<'_> {
        let error = self.message.as_ref().and_then(|message| message.get("error"));
        let Some(error) = error else {
            let begin: String = self.text.chars().take(300).collect();
            return Verdict::Error {
                code: i64::from(self.status),
                message: format!("no MCP answer, but HTTP {}: {begin}", self.status),
                data: None,
            };
        };
        Verdict::Error {
            code: error.get("code").and_then(Value::as_i64).unwrap_or_default(),
            message: error.get("message").and_then(Value::as_str).unwrap_or_default().to_owned(),
            data: error.get("data"),
        }
    }
}

/// The content of a result: texts as they are, other parts by what they are.
fn content(result: &Value) -> String {
    let parts = result.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    parts.iter().map(part).collect::<Vec<_>>().join("\n")
}

fn part(part: &Value) -> String {
    let field = |name: &str| part.get(name).and_then(Value::as_str).unwrap_or_default();
    match field("type") {
        "text" => field("text").to_owned(),
        kind @ ("image" | "audio") => {
            format!("[{kind} {}, {} characters of base64; --raw shows it]", field("mimeType"), field("data").len())
        }
        "resource_link" => format!("[resource {} {}]", field("uri"), field("name")),
        "resource" => part
            .get("resource")
            .and_then(|resource| resource.get("text"))
            .and_then(Value::as_str)
            .map_or_else(|| part.to_string(), str::to_owned),
        _ => part.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reply(message: &Value) -> Reply {
        Reply::new(200, message.to_string())
    }

    #[test]
    fn texts_are_told_as_they_are() {
        let reply = reply(
            &json!({"result": {"content": [{"type": "text", "text": "a\nb"}, {"type": "image", "mimeType": "image/png", "data": "AAAA"}]}}),
        );
        assert!(
            matches!(reply.verdict(), Verdict::Result { text, .. } if text == "a\nb\n[image image/png, 4 characters of base64; --raw shows it]")
        );
        assert!(reply.is_success());
    }

    #[test]
    fn a_result_that_is_an_error_keeps_its_words() {
        let refused = reply(&json!({"result": {"isError": true, "content": [{"type": "text", "text": "DENIED: no"}]}}));
        assert_eq!(refused.verdict(), Verdict::ToolError("DENIED: no".to_owned()));
        assert!(!refused.is_success());
    }

    #[test]
    fn structured_content_stands_in_for_text() {
        let structured = reply(&json!({"result": {"content": [], "structuredContent": {"a": 1}}}));
        assert!(matches!(structured.verdict(), Verdict::Result { text, structured: Some(_), .. } if text == r#"{"a":1}"#));
    }

    #[test]
    fn errors_have_code_and_words() {
        let error = reply(&json!({"error": {"code": -32602, "message": "Unknown tool: x"}}));
        assert_eq!(error.verdict(), Verdict::Error { code: -32602, message: "Unknown tool: x".to_owned(), data: None });
        let odd = Reply::new(502, "<html>".to_owned());
        assert_eq!(
            odd.verdict(),
            Verdict::Error { code: 502, message: "no MCP answer, but HTTP 502: <html>".to_owned(), data: None }
        );
    }
}
