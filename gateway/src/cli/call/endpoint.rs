//! The agents' endpoint, spoken to in MCP 2026-07-28: every request stands alone.

use bailiwick_pipeline::catalogue::Mirror;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, header};
use serde_json::{Value, json};

use super::{arguments::Typed, reply::Reply};
use crate::cli::{client::plain, fault::CliFault};

/// The version that is spoken.
const VERSION: &str = "2026-07-28";

/// The agents' endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    http: reqwest::Client,
    url: String,
    token: HeaderValue,
    grant: Option<String>,
    reason: Option<String>,
}

impl Endpoint {
    /// The endpoint at `url`, by this token, perhaps under this grant.
    pub(super) fn new(url: String, token: &str, grant: Option<String>) -> Result<Self, CliFault> {
        let usage = |what: &str| CliFault::usage(what.to_owned(), "`bailiwick agents token ID` prints one".to_owned());
        let mut token = HeaderValue::from_str(&format!("Bearer {}", token.trim())).map_err(|_| usage("the token is no token"))?;
        token.set_sensitive(true);
        // Certificates are looked for only where they are needed.
        let client = if url.starts_with("https:") { plain() } else { plain().tls_certs_only([]) };
        let http = client.build().map_err(|why| silent(&url, &why))?;
        Ok(Self { http, url, token, grant, reason: None })
    }

    /// Calls say why they are made.
    pub(super) fn because(self, reason: Option<String>) -> Self {
        Self { reason, ..self }
    }

    /// `tools/list`, its first page
    pub(super) async fn list(&self) -> Result<Reply, CliFault> {
        self.page("").await
    }

    /// The page of `tools/list` after this one, where there is one.
    pub(super) async fn after(&self, page: &Reply) -> Result<Option<Reply>, CliFault> {
        match page.result().and_then(|result| result.get("nextCursor")) {
            Some(cursor) => self.page(&format!(r#""cursor":{cursor},"#)).await.map(Some),
            None => Ok(None),
        }
    }

    async fn page(&self, params: &str) -> Result<Reply, CliFault> {
        self.send("tools/list", None, params.to_owned(), Vec::new()).await
    }

    /// `tools/call`, whether the tool is listed or not.
    pub(super) async fn call(&self, tool: &str, arguments: &Typed, schema: Option<&Value>) -> Result<Reply, CliFault> {
        let object = object(arguments);
        let mirrored = mirrored(schema, &object);
        self.send("tools/call", Some(tool), format!(r#""name":{},"arguments":{object},"#, Value::from(tool)), mirrored).await
    }

    async fn send(
        &self,
        method: &str,
        name: Option<&str>,
        params: String,
        mirrored: Vec<(String, String)>,
    ) -> Result<Reply, CliFault> {
        let mut meta = json!({
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientInfo": {"name": "bailiwick-call", "version": env!("CARGO_PKG_VERSION")},
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        if let (Some(reason), Some(meta), "tools/call") = (&self.reason, meta.as_object_mut(), method) {
            meta.insert("dev.bailiwick/reason".to_owned(), Value::from(reason.as_str()));
        }
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}"_meta":{meta}}}}}"#);
        let mut request = self
            .http
            .post(&self.url)
            .header(header::AUTHORIZATION, self.token.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", VERSION)
            .header("mcp-method", method);
        if let Some(name) = name {
            request = request.header("mcp-name", sentinel(name));
        }
        if let Some(grant) = &self.grant {
            request = request.header("bailiwick-grant", sentinel(grant));
        }
        for (header, value) in mirrored {
            request = request.header(format!("mcp-param-{header}"), sentinel(&value));
        }
        let response = request.body(body).send().await.map_err(|why| silent(&self.url, &why))?;
        let status = response.status().as_u16();
        let text = response.text().await.map_err(|why| silent(&self.url, &why))?;
        Ok(Reply::new(status, text))
    }
}

/// The arguments as a JSON object, each value as it was written.
fn object(arguments: &Typed) -> String {
    let fields: Vec<String> =
        arguments.iter().map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), value.get())).collect();
    format!("{{{}}}", fields.join(","))
}

/// The arguments that the schema wants in a header too.
fn mirrored(schema: Option<&Value>, object: &str) -> Vec<(String, String)> {
    let arguments: Value = serde_json::from_str(object).unwrap_or_default();
    let value = |mirror: &Mirror| match mirror.path.iter().try_fold(&arguments, |value, key| value.get(key))? {
        Value::String(text) => Some(text.clone()),
        scalar @ (Value::Bool(_) | Value::Number(_)) => Some(scalar.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    let mirrors = schema.map(Mirror::declared_by).unwrap_or_default();
    mirrors.iter().filter_map(|mirror| Some((mirror.header.clone(), value(mirror)?))).collect()
}

/// A header's value: wrapped where a header could not carry it, or where it looks wrapped already.
fn sentinel(value: &str) -> String {
    let is_plain = value.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && value.trim() == value && !value.starts_with("=?");
    if is_plain { value.to_owned() } else { format!("=?base64?{}?=", STANDARD.encode(value)) }
}

fn silent(url: &str, why: &reqwest::Error) -> CliFault {
    let mut words = why.to_string();
    let mut source = std::error::Error::source(why);
    while let Some(deeper) = source {
        words = format!("{words}: {deeper}");
        source = deeper.source();
    }
    CliFault::Silent { at: url.to_owned(), why: words }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn headers_carry_any_name() {
        assert_eq!(sentinel("tickets__get"), "tickets__get");
        assert_eq!(sentinel("größe"), "=?base64?Z3LDtsOfZQ==?=");
        assert_eq!(sentinel(" a"), "=?base64?IGE=?=");
        assert_eq!(sentinel("=?base64?x?="), "=?base64?PT9iYXNlNjQ/eD89?=");
        assert_eq!(sentinel("a\r\nb"), "=?base64?YQ0KYg==?=");
    }

    #[test]
    fn arguments_keep_their_text_and_order() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap_or_default();
        let arguments = vec![("z\"".to_owned(), raw("1.50")), ("a".to_owned(), raw("1e400"))];
        assert_eq!(object(&arguments), r#"{"z\"":1.50,"a":1e400}"#);
        let schema = serde_json::json!({"properties": {"region": {"type": "string", "x-mcp-header": "Region"}, "n": {"x-mcp-header": "N"}}});
        assert_eq!(mirrored(Some(&schema), r#"{"region":"eu","n":null}"#), [("region".to_owned(), "eu".to_owned())]);
    }
}
