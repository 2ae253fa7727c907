//! `[data]`, `[destinations]`, and what tools and connectors say of where data comes from and goes.

use std::{collections::BTreeMap, sync::Arc};

use bailiwick_pipeline::{
    constraint::is_plain_uri,
    destination::{Destination, Inside},
    grant::Labels,
};
use bailiwick_policy::{MOST_CLASSES, is_class};
use serde_json::Value;

use super::{args::is_pointer, split};
use crate::{
    code::FaultCode,
    fault::Findings,
    raw::{RawData, RawDestinations},
    source::KeyPath,
    suggest::nearest,
};

/// The labels that need no declaration.
const KNOWN: [&str; 4] = ["untrusted", "internal", "confidential", "secret"];

/// What all connectors and grants say their part of data by.
pub(super) struct Flow<'r> {
    classes: &'r [String],
    inside: Arc<Inside>,
}

impl<'r> Flow<'r> {
    /// Reads what is declared once.
    pub(super) fn new(data: &'r RawData, destinations: &RawDestinations, root: &KeyPath, findings: &mut Findings<'_>) -> Self {
        let path = root.key("data").key("classes");
        for (at, class) in data.classes.iter().enumerate() {
            let here = path.item(at);
            if !is_class(class) {
                let fault = findings.value(&here, FaultCode::BadName, format!("`{class}` can't be a class of data"));
                fault.help(
                    "use 1 to 32 of `a` to `z`, `0` to `9`, `-` and `_`, a letter first, and none of the words that are known",
                );
            } else if let Some(first) = data.classes.iter().take(at).position(|earlier| earlier == class) {
                let message = format!("the class `{class}` is declared twice");
                let first = path.item(first);
                findings.beside(&here, FaultCode::Duplicate, message, (&first, "first here")).help("leave one of them out");
            } else if Labels::named(class).is_none() {
                let message =
                    format!("there is no room for `{class}`: {MOST_CLASSES} classes were declared since the gateway started");
                findings.value(&here, FaultCode::OutOfRange, message).help("start the gateway anew: it forgets those of before");
            }
        }
        let path = root.key("destinations").key("internal");
        let mut inside = Inside::default();
        for (at, host) in destinations.internal.iter().enumerate() {
            if let Err(fault) = inside.add(host) {
                let message = fault.to_string();
                let (message, help) = split(&message);
                findings.value(&path.item(at), FaultCode::BadName, message).help(help);
            }
        }
        Self { classes: &data.classes, inside: Arc::new(inside) }
    }

    /// The labels of these names.
    pub(super) fn labels(&self, names: &[String], path: &KeyPath, findings: &mut Findings<'_>) -> Labels {
        let label = |name: &String| self.is_known(name).then(|| Labels::named(name)).flatten();
        self.words(names, &KNOWN, path, findings);
        names.iter().filter_map(label).collect()
    }

    /// The classes of data that a grant covers.
    pub(super) fn data_classes(&self, names: &[String], path: &KeyPath, findings: &mut Findings<'_>) {
        self.words(names, &["public", "internal", "confidential", "secret"], path, findings);
    }

    fn is_known(&self, name: &str) -> bool {
        KNOWN.contains(&name) || self.classes.iter().any(|class| class == name)
    }

    fn words(&self, names: &[String], known: &[&str], path: &KeyPath, findings: &mut Findings<'_>) {
        let all = || known.iter().copied().chain(self.classes.iter().map(String::as_str));
        for (at, name) in names.iter().enumerate().filter(|(_, name)| !all().any(|known| known == name.as_str())) {
            let key = path.last_key().unwrap_or_default();
            let fault = findings.value(&path.item(at), FaultCode::UnknownWord, format!("`{name}` is no word for `{key}`"));
            let words = all().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
            fault.suggest(nearest(name, all())).help(format!("write one of {words}, or declare it in `classes` of `[data]`"));
        }
    }

    /// What a tool says of where its data goes.
    pub(super) fn destination(&self, given: &Value, path: &KeyPath, findings: &mut Findings<'_>) -> Option<Destination> {
        let (pointers, is_list): (Vec<&Value>, bool) = match given {
            Value::Array(pointers) => (pointers.iter().collect(), true),
            one => (vec![one], false),
        };
        if pointers.is_empty() {
            let message = "`destination` is an empty list, which leads nowhere";
            findings.value(path, FaultCode::EmptyList, message).help("name the argument, or leave the key out");
            return None;
        }
        let mut all = Vec::new();
        for (at, pointer) in pointers.into_iter().enumerate() {
            let here = if is_list { path.item(at) } else { path.clone() };
            match pointer.as_str().filter(|pointer| is_pointer(pointer)) {
                Some(pointer) => all.push(pointer.into()),
                None => not_a_pointer(pointer, &here, "an argument", findings),
            }
        }
        Some(Destination::new(all, Arc::clone(&self.inside)))
    }

    /// Labels by the fields of results.
    pub(super) fn fields(
        &self,
        given: &BTreeMap<String, Vec<String>>,
        path: &KeyPath,
        findings: &mut Findings<'_>,
    ) -> Vec<(Box<str>, Labels)> {
        for pointer in given.keys().filter(|pointer| !is_pointer(pointer)) {
            not_a_pointer(&Value::from(pointer.as_str()), &path.key(pointer), "a field of the result", findings);
        }
        self.by_place(given, path, findings)
    }

    /// Labels by the URIs of resources.
    pub(super) fn resources(
        &self,
        given: &BTreeMap<String, Vec<String>>,
        path: &KeyPath,
        findings: &mut Findings<'_>,
    ) -> Vec<(Box<str>, Labels)> {
        for uri in given.keys().filter(|uri| !is_plain_uri(uri)) {
            let fault = findings.key(&path.key(uri), FaultCode::BadUrl, format!("`{uri}` is not a plain URI"));
            fault.help("write scheme, authority and path as in `file:///srv/hr`: no `..`, `%`, query or fragment");
        }
        self.by_place(given, path, findings)
    }

    fn by_place(
        &self,
        given: &BTreeMap<String, Vec<String>>,
        path: &KeyPath,
        findings: &mut Findings<'_>,
    ) -> Vec<(Box<str>, Labels)> {
        given.iter().map(|(place, names)| (place.as_str().into(), self.labels(names, &path.key(place), findings))).collect()
    }
}

fn not_a_pointer(pointer: &Value, path: &KeyPath, to: &str, findings: &mut Findings<'_>) {
    let shown = pointer.as_str().map_or_else(|| pointer.to_string(), str::to_owned);
    let fault = findings.value(path, FaultCode::BadPointer, format!("`{shown}` is not a JSON pointer to {to}"));
    fault.help("begin with `/`, as in `/to` (RFC 6901)");
}
