//! What an agent answers a question with, in the versions that have a handshake.

use bailiwick_schemas::json::{self, Limits};
use bytes::Bytes;

use super::{MessageFault, refuse_lookalikes, request_id, slice, text_of};

/// The answer to a question that was asked of an agent: a JSON-RPC response.
#[derive(Debug)]
pub struct Reply {
    id: Bytes,
    result: Option<Bytes>,
    size: usize,
    values: usize,
}

impl Reply {
    /// Parses one, once and strictly.
    pub fn read(body: &Bytes, limits: Limits) -> Result<Self, MessageFault> {
        let outline = json::outline(body, limits, 1)?;
        let keys = outline.members().map(|member| member.key.as_ref());
        refuse_lookalikes(keys, &["jsonrpc", "id", "method", "params", "result", "error"])?;
        let field = |name: &str| outline.member(name).map(|member| member.value);
        let wanted = |member: &'static str, wanted: &'static str| MessageFault::Member { member, wanted };
        if field("jsonrpc") != Some("\"2.0\"") {
            return Err(wanted("jsonrpc", "the string \"2.0\""));
        }
        if field("method").is_some() || field("params").is_some() {
            return Err(MessageFault::Response);
        }
        let id = request_id(body, field("id").ok_or_else(|| wanted("id", "given: that of the question"))?)?;
        let result = match (field("result"), field("error")) {
            (Some(result), None) if result.starts_with('{') => Some(slice(body, result)),
            (Some(_), None) => return Err(wanted("result", "an object")),
            (None, Some(error)) if error.starts_with('{') => None,
            _ => return Err(wanted("result", "given, or else `error` as an object, and not both")),
        };
        Ok(Self { id, result, size: body.len(), values: outline.values() })
    }

    /// The id of the question, as written.
    pub fn id(&self) -> &str {
        text_of(&self.id)
    }

    /// What it says, a JSON object; none where the question is refused.
    pub fn into_result(self) -> Option<Bytes> {
        self.result
    }

    /// Its size in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many JSON values it has, at all depths.
    pub fn values(&self) -> usize {
        self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Result<Reply, MessageFault> {
        Reply::read(&Bytes::from_static(text.as_bytes()), Limits::MESSAGE)
    }

    #[test]
    fn an_answer_is_the_bytes_it_was() {
        let reply = read(r#"{"jsonrpc":"2.0","id":"q","result":{"n" : 1.50}}"#);
        assert!(reply.as_ref().is_ok_and(|reply| reply.id() == "\"q\"" && reply.values() == 5), "{reply:?}");
        assert_eq!(reply.ok().and_then(Reply::into_result).as_deref(), Some(br#"{"n" : 1.50}"#.as_slice()));
        let refused = read(r#"{"jsonrpc":"2.0","id":7,"error":{"code":-1,"message":"no"}}"#);
        assert!(refused.is_ok_and(|reply| reply.id() == "7" && reply.into_result().is_none()));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1.5,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":[]}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":null}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":"no"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"method":"tools/call"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"Method":"tools/call"}"#,
            r#"{"jsonrpc":"1.0","id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":2}}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
