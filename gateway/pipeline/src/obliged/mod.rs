//! What rules demand of a call beside a yes: parts of it masked or left out, and results held to a size.

use bailiwick_policy::{Obligations, Part, Step};
use bytes::Bytes;
use serde_json::Value;

use bailiwick_schemas::{
    canonical::Digest,
    json::{self, Edits},
    text::MASK,
};

use self::limit::{Limited, WORDS_BYTES, limited};
use self::walk::Lead;
pub(crate) use self::walk::Redactor;
use crate::{
    answer::{Body, ToolResult},
    gates::ScreenLimits,
};

mod documents;
mod limit;
mod shapes;
mod walk;

/// What became of a reply.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// How often something was masked or left out.
    pub(crate) masked: usize,
    /// How many texts and files were withheld.
    pub(crate) withheld: usize,
    /// How many items were cut off.
    pub(crate) left_out: u64,
}

/// What is said, with everything done that is demanded of it; or why it may not pass.
pub(crate) fn body(body: Body, obligations: &Obligations, limits: ScreenLimits) -> Result<(Body, Done), String> {
    let mut done = Done::default();
    let result = |result: &ToolResult, is_task: bool, done: &mut Done| {
        let text = std::str::from_utf8(result.text()).map_err(|fault| fault.to_string())?;
        let text = redacted(text, obligations, done)?;
        let text = held(text, obligations, is_task, done)?;
        read(text, limits)
    };
    let body = match &body {
        Body::Result(text) => Body::Result(result(text, false, &mut done)?),
        Body::Content(text) => Body::Content(result(text, false, &mut done)?),
        Body::Task(text) => Body::Task(result(text, true, &mut done)?),
        Body::Questions(text) => {
            let text = std::str::from_utf8(text.text()).map_err(|fault| fault.to_string())?;
            let text = redacted(text, obligations, &mut done)?;
            if !may_ask(text.len(), obligations) {
                return Err(format!("it asks with {} bytes, and a rule limits what it gives back", text.len()));
            }
            Body::Questions(read(text, limits)?)
        }
        Body::Error { code, message, data, http } => {
            // A limit on what a call gives away is one on the data of its error, and on its words.
            let data = data.as_ref().filter(|_| obligations.limits.is_empty());
            let message = &held_words(message, obligations)?;
            let Some(mut redactor) = Redactor::of(obligations, Part::Result) else {
                let (message, data) = (message.clone(), data.cloned());
                return Ok((Body::Error { code: *code, message, data, http: *http }, done));
            };
            let message = redactor.words(message);
            let clean = |data: &Bytes| std::str::from_utf8(data).ok().and_then(|data| redactor.document(data).ok());
            let data = data.map(clean).map(|clean| clean.ok_or_else(unreadable)).transpose()?.map(Bytes::from);
            done = Done { masked: redactor.masked, withheld: redactor.withheld, left_out: 0 };
            Body::Error { code: *code, message, data, http: *http }
        }
        Body::ToolError { .. } | Body::Tools { .. } | Body::Offers { .. } => body,
    };
    Ok((body, done))
}

/// A result that was told before, redacted and held as is demanded now. `was` is what was demanded then: under the same limits it is held
/// already, and says so itself.
pub(crate) fn told_again(text: &Bytes, was: &[String], obligations: &Obligations) -> Result<Bytes, String> {
    let text = std::str::from_utf8(text).map_err(|fault| fault.to_string())?;
    let mut done = Done::default();
    let text = redacted(text, obligations, &mut done)?;
    let new = obligations.limits.iter().filter(|limit| !was.contains(&format!("limit {limit}"))).cloned().collect();
    let new = Obligations { limits: new, ..Obligations::default() };
    held(text, &new, false, &mut done).map(Bytes::from)
}

/// Whether a server may ask so many bytes while it works on a call: no more than may come back, and few where that is limited.
pub(crate) fn may_ask(bytes: usize, obligations: &Obligations) -> bool {
    obligations.limits.is_empty() || (bytes <= WORDS_BYTES && most_bytes(obligations).is_none_or(|most| bytes <= most))
}

fn most_bytes(obligations: &Obligations) -> Option<usize> {
    obligations.limits.iter().filter_map(|limit| limit.bytes).min().map(|most| usize::try_from(most).unwrap_or(usize::MAX))
}

/// The words of an error, as far as they may come back.
fn held_words(message: &str, obligations: &Obligations) -> Result<String, String> {
    let most = most_bytes(obligations).unwrap_or(usize::MAX);
    if message.len() > most && obligations.limits.iter().any(|limit| limit.refuses) {
        return Err(format!("it has {} bytes, and a rule lets {most} pass", message.len()));
    }
    let end = (0..=most.min(message.len())).rev().find(|end| message.is_char_boundary(*end)).unwrap_or_default();
    Ok(message.get(..end).unwrap_or_default().to_owned())
}

fn unreadable() -> String {
    "a rule redacts parts of it, and it is nested too deep, or is no JSON in which they could be found".to_owned()
}

fn redacted(text: &str, obligations: &Obligations, done: &mut Done) -> Result<String, String> {
    let Some(mut redactor) = Redactor::of(obligations, Part::Result) else { return Ok(text.to_owned()) };
    let clean = redactor.result(text).map_err(|_| unreadable())?;
    done.masked += redactor.masked;
    done.withheld += redactor.withheld;
    Ok(clean)
}

fn held(mut text: String, obligations: &Obligations, is_task: bool, done: &mut Done) -> Result<String, String> {
    let mut notes = 0;
    for limit in &obligations.limits {
        let fields = if is_task { json::fields(&text).map_err(|fault| fault.to_string())? } else { Vec::new() };
        let inner = fields.iter().find(|(key, _)| key == "result").map(|(_, value)| value.get());
        // What is said of a task that has no result yet is the gateway's own.
        if is_task && inner.is_none() {
            continue;
        }
        if let Limited::Cut(cut, left_out) = limited(inner.unwrap_or(&text), limit, notes)? {
            done.left_out += left_out;
            notes += 1;
            text = match inner {
                None => cut,
                Some(inner) => {
                    let mut edits = Edits::of(&text);
                    edits.put(inner, cut);
                    edits.text()
                }
            };
        }
    }
    Ok(text)
}

/// As strictly as what came: what is masked must not have made two keys the same.
fn read(text: String, limits: ScreenLimits) -> Result<ToolResult, String> {
    let text = Bytes::from(text);
    // A mark may be longer than what it stands for, and a task has a result in it.
    let limits = json::Limits { bytes: usize::MAX, depth: limits.depth + 2 };
    let outline = json::outline(&text, limits, 1).map_err(|_| "it can't be read any more once it is redacted".to_owned())?;
    Ok(ToolResult::new(&text, &outline))
}

/// The places of arguments that people and records don't see, as JSON pointers, in order.
pub(crate) fn masked_places(obligations: &Obligations, arguments: &Value) -> Vec<String> {
    let Some(mut redactor) = Redactor::of(obligations, Part::Args) else { return Vec::new() };
    let mut places = Vec::new();
    let left = redactor.pointers().to_vec();
    collect(arguments, "", &left, &mut redactor, &mut places);
    places
}

fn collect(value: &Value, place: &str, left: &[Lead<'_>], redactor: &mut Redactor<'_>, places: &mut Vec<String>) {
    let mut inner = |key: &str, value: &Value, redactor: &mut Redactor<'_>| {
        let leads = left.iter().filter_map(|lead| match lead.steps.split_first() {
            Some((Step::Each, steps)) => Some(lead.along(steps)),
            Some((Step::Key(wanted), steps)) if wanted == key => Some(lead.along(steps)),
            _ => None,
        });
        let rest: Vec<_> = leads.collect();
        let place = format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"));
        if rest.iter().any(|lead| lead.steps.is_empty()) {
            places.push(place);
        } else {
            collect(value, &place, &rest, redactor, places);
        }
    };
    match value {
        // A key that is to be masked would be seen with what it leads to.
        Value::Object(fields) if fields.keys().any(|key| redactor.matches(key)) => places.push(place.to_owned()),
        Value::Object(fields) => fields.iter().for_each(|(key, value)| inner(key, value, redactor)),
        Value::Array(items) => items.iter().enumerate().for_each(|(at, item)| inner(&at.to_string(), item, redactor)),
        Value::String(text) if redactor.matches(text) => places.push(place.to_owned()),
        Value::Number(number) if redactor.matches(&number.to_string()) => places.push(place.to_owned()),
        Value::String(_) | Value::Number(_) | Value::Null | Value::Bool(_) => {}
    }
}

/// A keyed digest of bytes, as text: what `keyed_digest` of the trail is.
pub type Mac<'a> = &'a dyn Fn(&[u8]) -> String;

/// Keeps what stands for masked values apart from whatever else is digested with the key.
const MASKED: &[u8] = b"bailiwick.masked.v1\0";

/// The digest of arguments of which some are masked, by that of all of them: without the key nobody finds them by trying.
pub(crate) fn masked_digest(whole: &Digest, mac: Mac<'_>) -> Digest {
    Digest::of(mac(&[MASKED, whole.as_bytes()].concat()).as_bytes())
}

/// A JSON text with a keyed digest in the place of each value that these pointers name: whoever compares two sees whether they are the same,
/// and nobody who has not the key finds one by trying. What can't be masked isn't shown at all.
pub fn masked_text(text: &str, places: &[String], mac: Mac<'_>) -> String {
    if places.is_empty() {
        return text.to_owned();
    }
    let mut edits = Edits::of(text);
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    if !is_json || places.iter().any(String::is_empty) || mask(text.trim(), "", (places, mac), &mut edits).is_none() {
        return Value::from(stand_in(text, mac)).to_string();
    }
    edits.text()
}

fn mask(value: &str, place: &str, (places, mac): (&[String], Mac<'_>), edits: &mut Edits<'_>) -> Option<()> {
    let is_above = |pointer: &String| pointer.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'));
    if places.iter().any(|pointer| pointer == place) {
        let words = serde_json::from_str::<String>(value).unwrap_or_else(|_| value.to_owned());
        edits.put(value, Value::from(stand_in(&words, mac)).to_string());
        return Some(());
    }
    if !places.iter().any(is_above) {
        return Some(());
    }
    if value.starts_with('{') {
        for (key, value) in json::fields(value).ok()? {
            mask(value.get(), &format!("{place}/{}", key.replace('~', "~0").replace('/', "~1")), (places, mac), edits)?;
        }
    } else if value.starts_with('[') {
        let items: Vec<&serde_json::value::RawValue> = serde_json::from_str(value).ok()?;
        for (at, item) in items.into_iter().enumerate() {
            mask(item.get(), &format!("{place}/{at}"), (places, mac), edits)?;
        }
    }
    Some(())
}

/// What stands for a value.
fn stand_in(words: &str, mac: Mac<'_>) -> String {
    let mac = mac(&[MASKED, words.as_bytes()].concat());
    let short: String = mac.rsplit(':').next().unwrap_or_default().chars().take(8).collect();
    format!("{MASK}{short}…, {} chars)", words.chars().count())
}

#[cfg(test)]
mod tests;
