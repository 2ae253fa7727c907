//! What a request says in `_meta`: of the protocol, of what its sender wants to hear, and of the sender's own.

use std::fmt;

use bailiwick_schemas::text::is_invisible;
use bytes::Bytes;
use serde::{
    Deserializer as _,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::{ID_BYTES, Message, MessageFault, Protocol, fold};
use crate::aside::{LogLevel, Wants};

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const LEVEL: &str = "io.modelcontextprotocol/logLevel";
const PROGRESS: &str = "progressToken";
const TRACEPARENT: &str = "traceparent";
/// Why an agent makes a call, in its own words, for the person who may be asked about it. It goes no further than this gateway.
const REASON: &str = "dev.bailiwick/reason";
/// What is said anew at each hop, or to nobody else. Never an agent's own.
const OWNED: [&str; 9] =
    [VERSION, "io.modelcontextprotocol/clientInfo", CAPABILITIES, LEVEL, PROGRESS, TRACEPARENT, "tracestate", "baggage", REASON];

/// So much of a reason is kept, characters.
const REASON_CHARS: usize = 500;

/// The `_meta` of a request.
#[derive(Debug, Default)]
pub struct Meta {
    /// The version that it names, as written.
    pub version: Option<Box<RawValue>>,
    /// The capabilities that its sender declares, as written.
    pub capabilities: Option<Box<RawValue>>,
    /// The trace that it is part of, as written.
    pub traceparent: Option<Box<RawValue>>,
    progress: Option<Box<RawValue>>,
    level: Option<Box<RawValue>>,
    reason: Option<Box<RawValue>>,
    /// All other members, as they go to a server.
    own: String,
}

impl Meta {
    /// Reads the `_meta` of a message.
    pub fn read(message: &Message) -> Result<Self, MessageFault> {
        let Some(meta) = message.param("_meta") else { return Ok(Self::default()) };
        let wrong = MessageFault::Member { member: "params._meta", wanted: "an object" };
        serde_json::Deserializer::from_str(meta).deserialize_map(Members).map_err(|_| wrong)
    }

    /// What its sender wants to hear before the answer. A level stands here only where every request stands alone.
    pub fn wants(&self, protocol: Protocol) -> Result<Wants, MessageFault> {
        let progress = self.progress.as_deref().map(token).transpose()?;
        let level = self.level.as_deref().filter(|_| protocol.is_modern()).map(level_of).transpose()?;
        Ok(Wants { progress, level })
    }

    /// Why its sender makes this call, as it says: one line, cut, with whatever can't be seen in it escaped. It proves nothing.
    pub fn reason(&self) -> Result<Option<Box<str>>, MessageFault> {
        let Some(raw) = &self.reason else { return Ok(None) };
        let wrong = MessageFault::Member { member: "params._meta.dev.bailiwick/reason", wanted: "a string" };
        let text = serde_json::from_str::<String>(raw.get()).map_err(|_| wrong)?;
        Ok(Some(line(&text)).filter(|line| !line.is_empty()).map(String::into_boxed_str))
    }

    /// The members that are the sender's own, as they were written and in their order: what stands between the braces of a JSON object.
    pub fn own(&self) -> Bytes {
        if self.own.is_empty() { Bytes::new() } else { Bytes::copy_from_slice(self.own.as_bytes()) }
    }
}

fn line(text: &str) -> String {
    let mut line = String::new();
    for (count, c) in text.trim().chars().enumerate() {
        match c {
            _ if count == REASON_CHARS => {
                line.push('…');
                break;
            }
            '\n' | '\r' | '\t' => line.push(' '),
            c if c.is_control() || is_invisible(c) => line.extend(c.escape_unicode()),
            c => line.push(c),
        }
    }
    line
}

fn token(raw: &RawValue) -> Result<Box<str>, MessageFault> {
    let text = raw.get();
    let is_integer = text.parse::<i64>().is_ok() && text != "-0";
    if (text.starts_with('"') || is_integer) && text.len() <= ID_BYTES {
        return Ok(text.into());
    }
    let wanted = "a 64-bit integer or a string of at most 256 bytes";
    Err(MessageFault::Member { member: "params._meta.progressToken", wanted })
}

fn level_of(raw: &RawValue) -> Result<LogLevel, MessageFault> {
    level(raw.get()).ok_or(MessageFault::Member { member: "params._meta.io.modelcontextprotocol/logLevel", wanted: LEVELS })
}

/// What a level must be, in words.
pub const LEVELS: &str = "one of debug, info, notice, warning, error, critical, alert and emergency";

/// The level that this JSON text names.
pub fn level(raw: &str) -> Option<LogLevel> {
    serde_json::from_str::<String>(raw).ok().as_deref().and_then(LogLevel::of)
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Meta;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Meta, A::Error> {
        let mut meta = Meta::default();
        while let Some(key) = map.next_key::<Key<'de>>()? {
            match key.0.as_ref() {
                VERSION => meta.version = Some(map.next_value()?),
                CAPABILITIES => meta.capabilities = Some(map.next_value()?),
                TRACEPARENT => meta.traceparent = Some(map.next_value()?),
                PROGRESS => meta.progress = Some(map.next_value()?),
                LEVEL => meta.level = Some(map.next_value()?),
                REASON => meta.reason = Some(map.next_value()?),
                key => {
                    let value: &RawValue = map.next_value()?;
                    // What a server might take for what is ours is as good as that.
                    if !OWNED.contains(&key) && !OWNED.iter().any(|owned| fold(owned) == fold(key)) {
                        meta.own.push_str(if meta.own.is_empty() { "" } else { "," });
                        meta.own.push_str(&Value::from(key).to_string());
                        meta.own.push(':');
                        meta.own.push_str(value.get());
                    }
                }
            }
        }
        Ok(meta)
    }
}

/// A key, borrowed where it has no escape.
#[derive(serde::Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use bailiwick_schemas::json::Limits;

    use super::*;

    fn meta(members: &str) -> Result<Meta, MessageFault> {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"_meta":{members}}}}}"#);
        Meta::read(&Message::read(&Bytes::from(text), Limits::MESSAGE).unwrap())
    }

    #[test]
    fn what_is_the_senders_own_stays_as_it_was_written() {
        let read = meta(
            r#"{"b":1.50,"io.modelcontextprotocol/protocolVersion":"2026-07-28","a" : { "z":1e400 }, "traceparent":"x","baggage":"x=1",
                "tracestate":"y","progressToken":7,"io.modelcontextprotocol/logLevel":"info","io.modelcontextprotocol/clientInfo":{},
                "q\"\u006e":null,"io.modelcontextprotocol/clientCapabilities":{}}"#,
        )
        .unwrap();
        assert_eq!(read.own(), r#""b":1.50,"a":{ "z":1e400 },"q\"n":null"#);
        assert_eq!(read.version.unwrap().get(), "\"2026-07-28\"");
        assert!(meta("{}").unwrap().own().is_empty());
    }

    #[test]
    fn what_looks_like_ours_is_not_the_senders() {
        for key in ["progresstoken", "Traceparent", "BAGGAGE", "io.modelcontextprotocol/ClientCapabilities", "\\u0054raceparent"]
        {
            assert!(meta(&format!(r#"{{"{key}":1}}"#)).unwrap().own().is_empty(), "{key}");
        }
        assert_eq!(meta(r#"{"io.modelcontextprotocol/other":1}"#).unwrap().own(), r#""io.modelcontextprotocol/other":1"#);
    }

    #[test]
    fn a_token_is_a_string_or_an_integer() {
        for good in ["7", "-1", "\"7\"", "\"a b\"", "9223372036854775807"] {
            let wants = meta(&format!(r#"{{"progressToken":{good}}}"#)).unwrap().wants(Protocol::V20251125).unwrap();
            assert_eq!((wants.progress.as_deref(), wants.level), (Some(good), None));
        }
        let long = format!("\"{}\"", "x".repeat(ID_BYTES));
        for bad in ["1.0", "-0", "null", "{}", "[1]", "true", "99999999999999999999", &long] {
            let fault = meta(&format!(r#"{{"progressToken":{bad}}}"#)).unwrap().wants(Protocol::V20251125).unwrap_err();
            assert_eq!(fault.code(), -32602, "{bad}");
        }
    }

    #[test]
    fn a_level_counts_where_requests_stand_alone() {
        let of = |level: &str, protocol| meta(&format!(r#"{{"{LEVEL}":{level}}}"#)).unwrap().wants(protocol);
        assert_eq!(of("\"error\"", Protocol::V20260728).unwrap().level, Some(LogLevel::Error));
        assert_eq!(of("\"error\"", Protocol::V20251125).unwrap().level, None);
        for bad in ["\"loud\"", "7", "null", "\"Error\""] {
            assert_eq!(of(bad, Protocol::V20260728).unwrap_err().code(), -32602, "{bad}");
        }
    }

    #[test]
    fn a_reason_is_one_short_line_and_no_servers() {
        let of = |reason: &str| meta(&format!(r#"{{"{REASON}":{reason},"b":1}}"#)).unwrap();
        assert_eq!(
            of(r#"" the customer\nwrote\u202etwice ""#).reason().unwrap().unwrap(),
            "the customer wrote\\u{202e}twice".into()
        );
        assert_eq!(of("\"x\"").own(), r#""b":1"#);
        let long = format!("\"{}\"", "é".repeat(REASON_CHARS + 1));
        assert_eq!(of(&long).reason().unwrap().unwrap().chars().count(), REASON_CHARS + 1);
        assert_eq!((of("\" \"").reason().unwrap(), meta("{}").unwrap().reason().unwrap()), (None, None));
        for bad in ["7", "null", "{}", "[\"x\"]"] {
            assert_eq!(of(bad).reason().unwrap_err().code(), -32602, "{bad}");
        }
        assert!(meta(r#"{"Dev.Bailiwick/Reason":"x"}"#).unwrap().own().is_empty(), "what looks like it is not the sender's own");
    }

    #[test]
    fn it_is_an_object() {
        for bad in ["[]", "7", "null", "\"x\""] {
            assert_eq!(meta(bad).unwrap_err().code(), -32602, "{bad}");
        }
    }
}
