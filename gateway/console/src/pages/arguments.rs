//! Arguments, whole: typed, as they are written, and held against those of an earlier call.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
};

use bailiwick_schemas::{json, text::MASK};
use maud::{Markup, html};
use serde_json::value::RawValue;

use super::text::{raw, shown};

/// Every value with its type, in the order in which they are written. What the pointers in `masked` name has something in its place; where it
/// has not, nothing of it is shown.
pub(super) fn typed(text: &str, masked: &BTreeSet<String>) -> Markup {
    let leaves = leaves_of(text);
    html! {
        @if leaves.is_empty() {
            p.quiet { "It has no arguments." }
        } @else {
            div.args role="table" aria-label="Arguments, typed" {
                @for leaf in &leaves {
                    div.arg role="row" {
                        div.path role="rowheader" { (shown(&leaf.place())) }
                        div.type role="cell" { (leaf.kind) }
                        div.value role="cell" { (value(leaf, masked)) }
                    }
                }
            }
        }
    }
}

fn value(leaf: &Leaf<'_>, masked: &BTreeSet<String>) -> Markup {
    html! {
        @if is_masked(&leaf.pointer, masked) {
            span.masked { (shown(stand_in(leaf))) }
        } @else if leaf.kind == "text" {
            @if leaf.text.is_empty() { span.quiet { "(empty)" } } @else { (shown(&leaf.text)) }
        } @else {
            (shown(&leaf.text))
        }
    }
}

/// A value of an earlier call: what was masked then stays so.
fn earlier(leaf: &Leaf<'_>, masked: &BTreeSet<String>) -> Markup {
    if leaf.text.starts_with(MASK) {
        html! { span.masked { (shown(&leaf.text)) } }
    } else {
        value(leaf, masked)
    }
}

/// The text that would be sent, to the byte. Where something is masked it is not shown at all.
pub(super) fn as_written(text: &str, masked: &BTreeSet<String>) -> Markup {
    html! {
        @if masked.is_empty() {
            p.quiet { "Exactly these " (text.len()) " bytes are sent." }
            (raw(text))
        } @else {
            p.quiet { "Not shown as written, because values in it are masked." }
        }
    }
}

/// What differs from the arguments of an earlier call, place by place.
pub(super) fn difference(before: &str, now: &str, masked: &BTreeSet<String>) -> Markup {
    let (old, new) = (leaves_of(before), leaves_of(now));
    // What stands for two masked values is the same where they are.
    let is_other = |now: &Leaf<'_>, before: &Leaf<'_>| now.kind != before.kind || now.text != before.text;
    let old_places: HashMap<&str, &Leaf<'_>> = old.iter().map(|leaf| (leaf.pointer.as_str(), leaf)).collect();
    let new_places: BTreeSet<&str> = new.iter().map(|leaf| leaf.pointer.as_str()).collect();
    let changed: Vec<(&Leaf<'_>, Option<&Leaf<'_>>)> = new
        .iter()
        .map(|leaf| (leaf, old_places.get(leaf.pointer.as_str()).copied()))
        .filter(|(leaf, before)| before.is_none_or(|before| is_other(leaf, before)))
        .collect();
    let gone: Vec<&Leaf<'_>> = old.iter().filter(|leaf| !new_places.contains(leaf.pointer.as_str())).collect();
    html! {
        @if changed.is_empty() && gone.is_empty() {
            p { "Nothing: the values are the same." }
        } @else {
            ul.diff {
                @for (leaf, before) in &changed {
                    li {
                        span.path { (shown(&leaf.place())) }
                        @if let Some(before) = before { del { span.sr { "before: " } (earlier(before, masked)) } }
                        ins { span.sr { @if before.is_some() { "now: " } @else { "new: " } } (value(leaf, masked)) }
                    }
                }
                @for leaf in &gone {
                    li { span.path { (shown(&leaf.place())) } del { span.sr { "no longer there: " } (earlier(leaf, masked)) } }
                }
            }
            p.quiet { (new.len().saturating_sub(changed.len())) " of " (new.len()) " values are the same." }
        }
    }
}

/// One value that has no others in it.
struct Leaf<'t> {
    /// RFC 6901.
    pointer: String,
    kind: &'static str,
    /// A text without its quotes and escapes; anything else as it is written.
    text: Cow<'t, str>,
}

impl Leaf<'_> {
    fn place(&self) -> String {
        let place = self.pointer.trim_start_matches('/');
        // One level reads as a name, and deeper ones as a way.
        if place.contains('/') { self.pointer.clone() } else { place.replace("~1", "/").replace("~0", "~") }
    }
}

/// All of them, in order. What can't be taken apart stands whole.
fn leaves_of(text: &str) -> Vec<Leaf<'_>> {
    let mut leaves = Vec::new();
    collect(text, "", &mut leaves);
    leaves
}

fn collect<'t>(text: &'t str, pointer: &str, leaves: &mut Vec<Leaf<'t>>) {
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    let leaf = |kind, text: Cow<'t, str>| Leaf { pointer: pointer.to_owned(), kind, text };
    match text.as_bytes().first() {
        Some(b'{') => match json::fields(text) {
            Ok(fields) if fields.is_empty() && !pointer.is_empty() => leaves.push(leaf("object", "{}".into())),
            Ok(fields) => {
                for (key, value) in fields {
                    let place = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                    collect(value.get(), &place, leaves);
                }
            }
            Err(_) => leaves.push(leaf("unreadable", text.into())),
        },
        Some(b'[') => match serde_json::from_str::<Vec<&'t RawValue>>(text) {
            Ok(items) if items.is_empty() => leaves.push(leaf("list", "[]".into())),
            Ok(items) => {
                for (index, item) in items.into_iter().enumerate() {
                    collect(item.get(), &format!("{pointer}/{index}"), leaves);
                }
            }
            Err(_) => leaves.push(leaf("unreadable", text.into())),
        },
        Some(b'"') => match serde_json::from_str::<String>(text) {
            Ok(decoded) => leaves.push(leaf("text", decoded.into())),
            Err(_) => leaves.push(leaf("unreadable", text.into())),
        },
        Some(b't' | b'f') => leaves.push(leaf("yes or no", text.into())),
        Some(b'n') => leaves.push(leaf("null", text.into())),
        _ => leaves.push(leaf("number", text.into())),
    }
}

/// Whether a pointer, or one above it, is masked.
fn is_masked(pointer: &str, masked: &BTreeSet<String>) -> bool {
    let is_in = |mask: &String| pointer.strip_prefix(mask.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    masked.iter().any(is_in)
}

/// What stands for a masked value: a keyed digest, put there by who has the key.
fn stand_in<'l>(leaf: &'l Leaf<'_>) -> &'l str {
    if leaf.text.starts_with(MASK) { &leaf.text } else { "••••" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> BTreeSet<String> {
        BTreeSet::new()
    }

    #[test]
    fn every_value_is_there_as_it_is_written() {
        let text =
            r#"{"n":9007199254740993,"e":1e400,"s":"a\u202eb","deep":{"list":[1.50,{"x":null}],"none":{},"no":[]},"a/b":true}"#;
        let html = typed(text, &plain()).into_string();
        for part in [
            ">9007199254740993<",
            ">1e400<",
            "\\u{202e}",
            "/deep/list/0",
            ">1.50<",
            "/deep/list/1/x",
            "null",
            "{}",
            "[]",
            ">a/b<",
            ">true<",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert!(typed("{}", &plain()).into_string().contains("no arguments"));
    }

    #[test]
    fn what_differs_is_named() {
        let before = r#"{"id":"T-17","amount":4900,"note":"x","same":1}"#;
        let now = r#"{"id":"T-17","amount":490000,"to":"y","same":1}"#;
        let html = difference(before, now, &plain()).into_string();
        for part in ["amount", ">4900<", ">490000<", ">to<", ">note<", "2 of 4 values are the same"] {
            assert!(html.contains(part), "{part} in {html}");
        }
        assert!(!html.contains("T-17"));
        assert!(difference(now, now, &plain()).into_string().contains("Nothing"));
        // A number and a text that reads the same are not.
        assert!(difference(r#"{"a":1}"#, r#"{"a":"1"}"#, &plain()).into_string().contains("<ins>"));
    }

    #[test]
    fn what_is_masked_is_nowhere() {
        let text = r#"{"key":"hunter2-hunter2-hunter2","in":{"deep":["hunter2"]},"keys":"shown"}"#;
        let masked: BTreeSet<String> = ["/key".to_owned(), "/in".to_owned()].into();
        let html = [typed(text, &masked), as_written(text, &masked), difference("{}", text, &masked)].map(Markup::into_string);
        assert!(html.iter().all(|part| !part.contains("hunter2")), "{html:?}");
        assert!(html[0].contains(">••••<") && html[0].contains("shown"), "{}", html[0]);
        // With what stands for a value, two can be compared.
        let kept = |mac: &str| format!(r#"{{"key":"{MASK}{mac}…, 23 chars)","keys":"shown"}}"#);
        assert!(typed(&kept("0011"), &masked).into_string().contains("•••• (mac:0011…, 23 chars)"));
        let same = difference(&kept("0011"), &kept("0011"), &masked).into_string();
        assert!(same.contains("Nothing"), "{same}");
        let other = difference(&kept("0011"), &kept("2233"), &masked).into_string();
        assert!(other.contains(">key<") && other.contains("mac:0011") && other.contains("mac:2233"), "{other}");
        // What was not masked before, and is now, is not shown by the comparison.
        assert!(!difference(text, &kept("0011"), &masked).into_string().contains("hunter2"));
    }
}
