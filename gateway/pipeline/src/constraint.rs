//! Bounds on arguments: a deliberately small language in which "is this inside that" stays decidable.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What one argument, named by JSON pointer (RFC 6901), must satisfy. Every bound that is set must hold. Unless `absent` is
/// set, the argument must be there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// Exactly this value, which may be null; numbers are compared as written.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub eq: Option<Value>,
    /// One of these values.
    #[serde(default, rename = "in", skip_serializing_if = "Option::is_none")]
    pub one_of: Option<Vec<Value>>,
    /// A 64-bit integer within this range, ends included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub int_range: Option<IntRange>,
    /// An absolute path at or below this one, judged as text: `..`, `.`, empty segments, `\` and `%` are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_under: Option<String>,
    /// A plain URI `scheme://authority/path` of the same scheme and authority as this one, at or below its path, judged as text: `..`,
    /// `.`, empty segments, `?`, `#`, `\` and `%` are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri_under: Option<String>,
    /// A plain `http` or `https` URL whose host is one of these: in lower case, international names in their `xn--` form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_in: Option<Vec<String>>,
    /// A URL or e-mail address whose domain is one of these or below one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain_in: Option<Vec<String>>,
    /// A string of at most so many characters, or an array of so many items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub len_max: Option<usize>,
    /// The argument must not be given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
}

/// A value that is there: null is one, not the lack of one, which would drop the bound without a word.
fn given<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

/// A closed range of integers; an end that is not set is open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntRange {
    /// The least value allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<i64>,
    /// The greatest value allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<i64>,
}

/// Why a bound is no bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BoundFault {
    /// Nothing is set.
    #[error("the bound is empty: set one of eq, in, int_range, path_under, uri_under, host_in, domain_in, len_max, absent")]
    Empty,
    /// An empty list allows nothing.
    #[error("`{0}` is an empty list, which allows nothing: name what is allowed, or leave the tool out of the grant")]
    EmptyList(&'static str),
    /// `absent` beside a bound on a value.
    #[error("`absent` can't stand beside other bounds: an argument that is not given has no value")]
    AbsentAndMore,
    /// The root of `path_under` is no plain absolute path.
    #[error("`{0}` is not a plain absolute path: begin with `/` and leave out `..`, `.`, `//`, `\\` and `%`")]
    Path(String),
    /// The root of `uri_under` is no plain URI.
    #[error(
        "`{0}` is not a plain URI: write `scheme://authority/path` and leave out `..`, `.`, `//` in its path, `?`, `#`, `\\` and `%`"
    )]
    Uri(String),
    /// A range that nothing is in.
    #[error("the range {min}..={max} is empty: `min` must not exceed `max`")]
    Range {
        /// Its least value.
        min: i64,
        /// Its greatest value.
        max: i64,
    },
}

impl Bound {
    /// Whether this bound means something.
    pub fn check(&self) -> Result<(), BoundFault> {
        if *self == Self::default() {
            return Err(BoundFault::Empty);
        }
        if self.absent && *self != (Self { absent: true, ..Self::default() }) {
            return Err(BoundFault::AbsentAndMore);
        }
        if self.one_of.as_ref().is_some_and(Vec::is_empty) {
            return Err(BoundFault::EmptyList("in"));
        }
        if self.host_in.as_ref().is_some_and(Vec::is_empty) {
            return Err(BoundFault::EmptyList("host_in"));
        }
        if self.domain_in.as_ref().is_some_and(Vec::is_empty) {
            return Err(BoundFault::EmptyList("domain_in"));
        }
        if let Some(root) = self.path_under.as_ref().filter(|root| segments(root).is_none()) {
            return Err(BoundFault::Path(root.clone()));
        }
        if let Some(root) = self.uri_under.as_ref().filter(|root| uri_parts(root).is_none()) {
            return Err(BoundFault::Uri(root.clone()));
        }
        match self.int_range {
            Some(IntRange { min: Some(min), max: Some(max) }) if min > max => Err(BoundFault::Range { min, max }),
            _ => Ok(()),
        }
    }

    /// Whether the argument, if given, is inside this bound.
    pub fn admits(&self, argument: Option<&Value>) -> bool {
        let Some(value) = argument else { return self.absent };
        !self.absent
            && self.eq.as_ref().is_none_or(|wanted| wanted == value)
            && self.one_of.as_ref().is_none_or(|allowed| allowed.contains(value))
            && self.int_range.is_none_or(|range| range.admits(value))
            && self.path_under.as_ref().is_none_or(|root| value.as_str().is_some_and(|path| is_under(root, path)))
            && self.uri_under.as_ref().is_none_or(|root| value.as_str().is_some_and(|uri| is_uri_under(root, uri)))
            && self.host_in.as_ref().is_none_or(|hosts| url_host(value).is_some_and(|host| hosts.contains(&host)))
            && self.domain_in.as_ref().is_none_or(|domains| domain(value).is_some_and(|given| is_within(domains, &given)))
            && self.len_max.is_none_or(|most| length(value).is_some_and(|length| length <= most))
    }

    /// Whether every argument that this bound admits is admitted by that one. Sound, not complete: what can't be told is not inside.
    pub fn is_within(&self, outer: &Self) -> bool {
        if outer.absent || self.absent {
            return outer.absent && self.absent;
        }
        // Only so many values are meant at all: each can be asked about.
        let few = self.eq.as_ref().map(std::slice::from_ref).or(self.one_of.as_deref());
        if let Some(values) = few {
            return values.iter().filter(|value| self.admits(Some(value))).all(|value| outer.admits(Some(value)));
        }
        let is_host_within = |hosts: &Vec<String>, domains: &[String]| hosts.iter().all(|host| is_within(domains, host));
        outer.eq.is_none()
            && outer.one_of.is_none()
            && outer.int_range.is_none_or(|range| self.int_range.is_some_and(|own| own.is_within(range)))
            && outer.path_under.as_ref().is_none_or(|root| self.path_under.as_ref().is_some_and(|own| is_under(root, own)))
            && outer.uri_under.as_ref().is_none_or(|root| self.uri_under.as_ref().is_some_and(|own| is_uri_under(root, own)))
            && outer
                .host_in
                .as_ref()
                .is_none_or(|hosts| self.host_in.as_ref().is_some_and(|own| own.iter().all(|host| hosts.contains(host))))
            && outer.domain_in.as_ref().is_none_or(|domains| {
                let by_domain = self
                    .domain_in
                    .as_ref()
                    .is_some_and(|own| own.iter().all(|domain| is_within(domains, &domain.to_ascii_lowercase())));
                by_domain || self.host_in.as_ref().is_some_and(|own| is_host_within(own, domains))
            })
            && outer.len_max.is_none_or(|most| self.len_max.is_some_and(|own| own <= most))
    }

    /// Whether everything that a template makes (RFC 6570) is inside this bound, as far as what it begins with says so.
    pub(crate) fn admits_template(&self, template: &str) -> bool {
        let fixed = template.split('{').next().unwrap_or_default();
        // Up to its last `/` nothing of it can be another one's.
        let folder = fixed.rfind('/').map_or("", |at| fixed.get(..at).unwrap_or_default());
        let alone = Self { uri_under: None, path_under: None, ..self.clone() } == Self::default();
        let under = |root: &String, is_under: fn(&str, &str) -> bool| is_under(root, folder);
        alone
            && self.uri_under.as_ref().is_none_or(|root| under(root, is_uri_under))
            && self.path_under.as_ref().is_none_or(|root| under(root, is_under))
    }

    /// The bound in words, for an agent that is to correct itself.
    pub fn describe(&self) -> String {
        let mut parts = Vec::new();
        let json = |value: &Value| value.to_string();
        parts.extend(self.eq.iter().map(json));
        parts.extend(self.one_of.iter().map(|all| format!("one of {}", all.iter().map(json).collect::<Vec<_>>().join(", "))));
        parts.extend(self.int_range.iter().map(|range| match (range.min, range.max) {
            (Some(min), Some(max)) => format!("an integer from {min} to {max}"),
            (Some(min), None) => format!("an integer of at least {min}"),
            (None, Some(max)) => format!("an integer of at most {max}"),
            (None, None) => "an integer".to_owned(),
        }));
        parts.extend(self.path_under.iter().map(|root| format!("a plain absolute path under {root}")));
        parts.extend(self.uri_under.iter().map(|root| format!("a plain URI under {root}")));
        parts.extend(self.host_in.iter().map(|all| format!("a URL at {}", all.join(" or "))));
        parts.extend(self.domain_in.iter().map(|all| format!("at or below {}", all.join(" or "))));
        parts.extend(self.len_max.iter().map(|most| format!("at most {most} long")));
        if self.absent {
            parts.push("left out".to_owned());
        }
        parts.join(", ")
    }
}

impl IntRange {
    /// Whether every integer of this range is in that one.
    fn is_within(self, outer: Self) -> bool {
        let above = outer.min.is_none_or(|least| self.min.is_some_and(|own| own >= least));
        let below = outer.max.is_none_or(|most| self.max.is_some_and(|own| own <= most));
        above && below
    }

    fn admits(self, value: &Value) -> bool {
        let Value::Number(number) = value else { return false };
        // As written: `1.0` and `1e2` are no integers here, so that downstream can't read another value than was judged.
        let Ok(integer) = number.to_string().parse::<i64>() else { return false };
        self.min.is_none_or(|min| integer >= min) && self.max.is_none_or(|max| integer <= max)
    }
}

/// The segments of a plain absolute path, or nothing if it is not plain.
fn segments(path: &str) -> Option<Vec<&str>> {
    let rest = path.strip_prefix('/')?;
    if rest.is_empty() {
        return Some(Vec::new());
    }
    let plain = |part: &&str| {
        !part.is_empty() && *part != "." && *part != ".." && !part.contains(|c: char| c == '\\' || c == '%' || c.is_control())
    };
    let parts: Vec<&str> = rest.split('/').collect();
    parts.iter().all(plain).then_some(parts)
}

fn is_under(root: &str, path: &str) -> bool {
    match (segments(root), segments(path)) {
        (Some(root), Some(path)) => path.starts_with(&root),
        _ => false,
    }
}

/// Scheme, authority and segments of a plain URI, or nothing if it is not plain.
fn uri_parts(uri: &str) -> Option<(&str, &str, Vec<&str>)> {
    let (scheme, rest) = uri.split_once("://")?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b));
    let is_authority = authority.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    // Some servers take what follows a `;` for no part of a segment.
    let is_path = !path.contains(|c: char| matches!(c, '?' | '#' | ';') || c.is_whitespace());
    // A folder may be written with a slash at its end.
    let path = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path);
    segments(path).filter(|_| is_scheme && is_authority && is_path).map(|segments| (scheme, authority, segments))
}

/// Whether every reader finds the same scheme, authority and path in this URI.
pub fn is_plain_uri(uri: &str) -> bool {
    uri_parts(uri).is_some()
}

pub(crate) fn is_uri_under(root: &str, uri: &str) -> bool {
    match (uri_parts(root), uri_parts(uri)) {
        (Some((scheme, authority, root)), Some(uri)) => (scheme, authority) == (uri.0, uri.1) && uri.2.starts_with(&root),
        _ => false,
    }
}

/// The host of a plain `http(s)` URL, lower case. Plain means that every parser finds the same host in it: it is written out
/// after `://` as the URL Standard reads it, without credentials, `\`, spaces and control characters.
pub(crate) fn url_host(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let url = url::Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let authority = text.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some(parts) if !authority.ends_with(']') => parts,
        _ => (authority, ""),
    };
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '\\';
    let is_plain = text.chars().all(plain) && port.bytes().all(|digit| digit.is_ascii_digit());
    url.host_str().filter(|read| is_plain && host.eq_ignore_ascii_case(read)).map(str::to_owned)
}

/// The domain of a URL or of an e-mail address with exactly one `@` and no display name.
fn domain(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    if text.contains("://") {
        return url_host(value);
    }
    let (local, domain) = text.split_once('@')?;
    let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c));
    (plain(local) && plain(domain)).then(|| domain.to_ascii_lowercase())
}

/// Whether this domain is one of these or below one.
pub(crate) fn is_domain_within(domains: &std::collections::BTreeSet<String>, given: &str) -> bool {
    domains.iter().any(|domain| is_at_or_below(domain, given))
}

/// The domain that data would be sent to by this argument: of a URL, an e-mail address or a plain host name.
pub(crate) fn destination(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let is_label = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if text.contains('.') && text.split('.').all(is_label) {
        return Some(text.to_ascii_lowercase());
    }
    domain(value)
}

fn is_at_or_below(domain: &str, given: &str) -> bool {
    let domain = domain.to_ascii_lowercase();
    given == domain || given.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.'))
}

fn is_within(domains: &[String], given: &str) -> bool {
    domains.iter().any(|domain| is_at_or_below(domain, given))
}

fn length(value: &Value) -> Option<usize> {
    match value {
        Value::String(text) => Some(text.chars().count()),
        Value::Array(items) => Some(items.len()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
