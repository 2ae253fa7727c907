//! The headers of a message to a server.

use bailiwick_pipeline::ports::Lease;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use secrecy::ExposeSecret;

use super::proofs::Head;
use crate::{link::Call, version::Version};

pub(super) const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The most bytes of an argument in a header, and of all of them together, their names included: many a server takes no more of a head.
const VALUE_BYTES: usize = 8 * 1024;
const ALL_BYTES: usize = 16 * 1024;

/// Those of every message of a link, with what is lent.
pub(super) fn of(lease: Option<&Lease>) -> Result<Head, String> {
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    if let Some(lease) = lease {
        let (name, value) = lent(lease)?;
        headers.insert(name, value);
    }
    Ok(Head { headers, prover: lease.and_then(Lease::prover).cloned() })
}

/// The header that carries the secret of a lease. A value that no header can have is not shown.
fn lent(lease: &Lease) -> Result<(HeaderName, HeaderValue), String> {
    let Some((name, text)) = lease.header() else {
        return Err("its credential is to go into an environment variable, and a server over HTTP has none of ours: use `inject = { header = … }`".to_owned());
    };
    let reference = &lease.reference;
    let header = HeaderName::try_from(name).map_err(|_| format!("`{name}` is no name of a header: correct `inject`"))?;
    let mut value = HeaderValue::from_str(text.expose_secret()).map_err(|_| {
        format!("the credential `{reference}` has characters that no header can carry: it must be one line of plain text")
    })?;
    value.set_sensitive(true);
    Ok((header, value))
}

/// Adds what a call says in headers: its trace, and in the modern era its name and the arguments that the pinned definition mirrors.
pub(super) fn for_call(headers: &mut HeaderMap, call: &Call<'_>, version: Version) -> Result<(), String> {
    let Call { arguments, name, mirrors, traceparent, .. } = *call;
    if let Some(value) = traceparent.and_then(|traceparent| HeaderValue::from_str(traceparent).ok()) {
        headers.insert(TRACEPARENT, value);
    }
    if !version.is_modern() {
        return Ok(());
    }
    if let Some(name) = name {
        if name.len() > VALUE_BYTES {
            return Err(format!(
                "its name is too long: it is sent in the header `Mcp-Name` too, which carries at most {VALUE_BYTES} bytes"
            ));
        }
        headers.insert(NAME, carried(name)?);
    }
    if mirrors.is_empty() {
        return Ok(());
    }
    let mut all = 0_usize;
    let arguments: serde_json::Value = serde_json::from_slice(arguments).map_err(|_| "its arguments are no JSON".to_owned())?;
    for mirror in mirrors {
        let Some(text) = mirror.expected(&arguments) else { continue };
        let shown: String = mirror.header.chars().take(80).flat_map(char::escape_default).collect();
        let name = HeaderName::try_from(format!("mcp-param-{}", mirror.header)).map_err(|_| {
            format!("its definition mirrors an argument in the header `Mcp-Param-{shown}`, which is no name of one")
        })?;
        let too_long = |most: usize, what: &str| {
            let argument: String = mirror.path.join(".").chars().take(80).flat_map(char::escape_default).collect();
            format!(
                "its argument `{argument}` is too long: it is sent in the header `Mcp-Param-{shown}` too, and {what} carry at most {most} \
                 bytes: make it shorter"
            )
        };
        // Judged before it is wrapped, and after: wrapping makes it longer.
        let value = if text.len() > VALUE_BYTES { None } else { Some(carried(&text)?) };
        let Some(value) = value.filter(|value| value.len() <= VALUE_BYTES) else {
            return Err(too_long(VALUE_BYTES, "such a header can"));
        };
        all = all.saturating_add(name.as_str().len()).saturating_add(value.len());
        if all > ALL_BYTES {
            return Err(too_long(ALL_BYTES, "all such headers of a call together can"));
        }
        if headers.insert(name, value).is_some() {
            return Err(format!("its definition mirrors two arguments in the header `Mcp-Param-{shown}`"));
        }
    }
    Ok(())
}

/// A header's value: wrapped where a header could not carry it, or where it looks wrapped already (MCP 2026-07-28).
fn carried(text: &str) -> Result<HeaderValue, String> {
    let is_plain = text.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && text.trim() == text && !text.starts_with("=?");
    let value = if is_plain {
        HeaderValue::from_str(text)
    } else {
        HeaderValue::try_from(format!("=?base64?{}?=", STANDARD.encode(text)))
    };
    value.map_err(|_| "it can't be said in a header".to_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use bailiwick_pipeline::{
        catalogue::Mirror,
        ports::{Access, Injection, LeaseTerms, Material},
    };
    use serde_json::json;

    use super::*;

    fn lease(secret: &str, injection: Injection) -> Lease {
        let (id, reference, access) = ("l".to_owned(), "T".to_owned(), Access::Read);
        let terms = LeaseTerms { id, provider: "env", reference, injection, expires_at_ms: 0, access };
        Lease::new(terms, Material::of(secret.to_owned().into())).unwrap()
    }

    fn call_of<'a>(arguments: &'a [u8], mirrors: &'a [Mirror]) -> Call<'a> {
        Call {
            method: "tools/call",
            tool: Some("get"),
            arguments,
            name: Some("get"),
            mirrors,
            traceparent: None,
            capabilities: None,
            answers: None,
            meta: b"",
        }
    }

    fn bearer() -> Injection {
        Injection::header("authorization", "Bearer ")
    }

    #[test]
    fn a_lent_header_is_whole_and_never_shown() {
        let headers = of(Some(&lease("canary-0123456789", bearer()))).unwrap().headers;
        assert_eq!(headers["authorization"], "Bearer canary-0123456789");
        assert!(!format!("{headers:?}").contains("canary"));
        for secret in ["canary-0123\u{1}456789", "canary-0123\u{7f}456789"] {
            let why = of(Some(&lease(secret, bearer()))).err().unwrap();
            assert!(why.contains("`T` has characters that no header can carry") && !why.contains("canary"), "{why}");
        }
        assert!(of(Some(&lease("canary-0123456789", Injection::env("T")))).err().unwrap().contains("environment variable"));
    }

    #[test]
    fn what_a_header_can_not_carry_is_wrapped() {
        let schema = json!({"properties": {"a": {"x-mcp-header": "A"}, "b": {"properties": {"c": {"x-mcp-header": "C"}}}, "d": {"x-mcp-header": "D"}}});
        let mut headers = HeaderMap::new();
        let arguments = br#"{"a":"gr\u00f6\u00dfe","b":{"c":1.50},"d":null}"#;
        let mirrors = Mirror::declared_by(&schema);
        let call = Call { traceparent: Some("00-aa-bb-01"), ..call_of(arguments, &mirrors) };
        for_call(&mut headers, &call, Version::V20260728).unwrap();
        assert_eq!((&headers["mcp-name"], &headers["traceparent"]), (&"get".parse().unwrap(), &"00-aa-bb-01".parse().unwrap()));
        assert_eq!(
            (&headers["mcp-param-a"], &headers["mcp-param-c"]),
            (&"=?base64?Z3LDtsOfZQ==?=".parse().unwrap(), &"1.50".parse().unwrap())
        );
        assert!(!headers.contains_key("mcp-param-d"));
        assert_eq!(carried(" x").unwrap(), "=?base64?IHg=?=");
        assert_eq!(carried("=?x").unwrap(), "=?base64?PT94?=");
    }

    #[test]
    fn an_argument_that_is_too_long_for_a_header_stops_the_call_and_is_named() {
        let mirrors: Vec<Mirror> =
            ["a", "b", "c"].map(|name| Mirror { path: vec!["in".to_owned(), name.to_owned()], header: name.to_owned() }).into();
        let call = |a: &str, b: &str, c: &str| {
            let arguments = json!({"in":{"a":a,"b":b,"c":c}}).to_string();
            let mut headers = HeaderMap::new();
            for_call(&mut headers, &call_of(arguments.as_bytes(), &mirrors), Version::V20260728).map(|()| headers)
        };
        let most = "x".repeat(VALUE_BYTES);
        assert_eq!(call(&most, "", "").unwrap()["mcp-param-a"].len(), VALUE_BYTES);
        // Wrapped, it is longer than it is.
        for long in ["x".repeat(VALUE_BYTES + 1), "x".repeat(1 << 20), "ä".repeat(VALUE_BYTES / 2)] {
            let why = call("", &long, "").unwrap_err();
            assert!(why.contains("its argument `in.b` is too long") && why.contains("`Mcp-Param-b`"), "{why}");
            assert!(why.contains("at most 8192 bytes") && why.len() < 300, "{why}");
        }
        let why = call(&most, &"x".repeat(VALUE_BYTES - 30), &most).unwrap_err();
        assert!(why.contains("`in.c`") && why.contains("at most 16384 bytes"), "{why}");
    }

    #[test]
    fn mirrors_that_make_no_header_stop_the_call() {
        let one = Mirror { path: vec!["a".to_owned()], header: "a b".to_owned() };
        let two = Mirror { path: vec!["a".to_owned()], header: "a".to_owned() };
        let call = |mirrors: &[Mirror]| for_call(&mut HeaderMap::new(), &call_of(br#"{"a":"x"}"#, mirrors), Version::V20260728);
        assert!(call(&[one]).unwrap_err().contains("no name of one"));
        assert!(call(&[two.clone(), two]).unwrap_err().contains("two arguments"));
    }
}
