//! Where a call sends data: as its arguments say, at the places that an admin named, and what of that is inside.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use bailiwick_policy::{Kind, Labels};
use serde_json::Value;

use crate::{catalogue::Tool, constraint, pointed::pointed, records::FlowRecord};

/// Hosts and domains that are inside the house.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inside {
    hosts: BTreeSet<Box<str>>,
    below: BTreeSet<Box<str>>,
}

/// Why a text names no host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no host: write `mail.example.com`, `*.example.com` for all below a domain, or an address as `10.0.0.5` or `[fd00::5]`"
)]
pub struct HostFault(String);

impl Inside {
    /// Adds a host, or all below a domain (`*.example.com`).
    ///
    /// # Errors
    /// Where it is no host name of ASCII letters, digits and `-`, and no address in its usual form.
    pub fn add(&mut self, written: &str) -> Result<(), HostFault> {
        let fault = || HostFault(written.chars().take(80).collect());
        let name = written.to_ascii_lowercase();
        match name.strip_prefix("*.") {
            Some(domain) if is_name(domain) => self.below.insert(domain.into()),
            Some(_) => return Err(fault()),
            None => self.hosts.insert(address(&name).or_else(|| is_name(&name).then_some(name)).ok_or_else(fault)?.into()),
        };
        Ok(())
    }

    /// Whether this host is one of them.
    fn has(&self, host: &str) -> bool {
        let is_below = || {
            let above = host.match_indices('.').filter_map(|(at, _)| host.get(at + 1..));
            above.into_iter().any(|domain| self.below.contains(domain))
        };
        self.hosts.contains(host) || (!self.below.is_empty() && is_name(host) && is_below())
    }
}

/// An address as it is usually written.
fn address(name: &str) -> Option<String> {
    if let Ok(four) = name.parse::<Ipv4Addr>() {
        return Some(four.to_string());
    }
    let six = name.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?;
    Some(format!("[{six}]"))
}

/// A plain host name: no address, in whatever form resolvers take one (`127.1`, `0x7f.1`).
fn is_name(text: &str) -> bool {
    let is_label = |part: &str| {
        !part.is_empty() && part.len() <= 63 && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let is_number = |part: &str| part.starts_with(|first: char| first.is_ascii_digit()) && !part.contains('-');
    text.len() <= 253 && text.split('.').all(is_label) && !text.rsplit('.').next().is_some_and(is_number)
}

/// Stands among hosts for a destination that has none.
pub(crate) const UNREAD: &str = "?";

/// What an admin says of where a tool sends data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The arguments that say it, as pointers; each may lead to several.
    pointers: Vec<Box<str>>,
    inside: Arc<Inside>,
}

impl Destination {
    /// By these arguments; those in `inside` are not outside.
    pub fn new(pointers: Vec<Box<str>>, inside: Arc<Inside>) -> Self {
        Self { pointers, inside }
    }

    /// The first of its arguments.
    pub fn pointer(&self) -> &str {
        self.pointers.first().map_or("", |pointer| pointer)
    }

    /// What stands at its places, lists taken apart. What is left out or `null` sends nothing.
    fn given<'v>(&self, arguments: &'v Value) -> Vec<&'v Value> {
        let at = self.pointers.iter().flat_map(|pointer| pointed(arguments, pointer));
        let items = at.flat_map(|value| match value {
            Value::Array(items) => items.iter().collect(),
            one => vec![one],
        });
        items.filter(|value| !value.is_null()).collect()
    }

    /// Whether it sends to these domains and those below them alone, and says where.
    pub(crate) fn is_within(&self, domains: &BTreeSet<String>, arguments: &Value) -> bool {
        let given = self.given(arguments);
        let is_within = |value: &&Value| host_of(value).is_some_and(|host| constraint::is_domain_within(domains, &host));
        !given.is_empty() && given.iter().all(is_within)
    }
}

impl From<&str> for Destination {
    /// By this one argument; everything is outside.
    fn from(pointer: &str) -> Self {
        Self::new(vec![pointer.into()], Arc::default())
    }
}

/// The host that data would be sent to: of a URL, an e-mail address or a plain host name. None where two readers could find two.
fn host_of(value: &Value) -> Option<String> {
    let host = constraint::destination(value)?;
    let host = host.strip_suffix('.').unwrap_or(&host);
    let is_plain = host.starts_with('[') || host.split('.').all(|part| !part.is_empty() && !part.contains(['_', '+']));
    is_plain.then(|| host.to_owned())
}

/// What there is to say of where data flows by a call of this tool with these arguments, under a task that has touched this. None where it has
/// touched nothing and nothing says where it sends.
pub fn flow_of(tool: &Tool, arguments: &Value, touched: Labels) -> Option<FlowRecord> {
    if touched.is_empty() && tool.destination.is_none() {
        return None;
    }
    let Sending { hosts, is_external: external, .. } = Sending::of(tool, arguments);
    Some(FlowRecord { touched, hosts, external })
}

/// Where one call sends data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sending {
    /// Of several the first that is outside, as it was given.
    pub(crate) text: String,
    /// Its host.
    pub(crate) host: String,
    /// All hosts.
    pub(crate) hosts: Vec<String>,
    /// Whether any of them is not known to be inside.
    pub(crate) is_external: bool,
}

impl Sending {
    /// Of several the first that is outside, as it was given; empty where nothing says it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The host of that.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The hosts of all.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Whether any of them is not known to be inside.
    pub fn is_external(&self) -> bool {
        self.is_external
    }

    /// By what these arguments say. Of a tool that may send, and doesn't say where to, everything is outside.
    pub fn of(tool: &Tool, arguments: &Value) -> Self {
        let Some(destination) = &tool.destination else {
            let is_external = matches!(tool.kind, Kind::Exfiltrate | Kind::Execute);
            return Self { is_external, ..Self::default() };
        };
        let given = destination.given(arguments);
        let read = given.iter().map(|value| (*value, host_of(value)));
        let (inside, outside): (Vec<_>, Vec<_>) =
            read.partition(|(_, host)| host.as_deref().is_some_and(|host| destination.inside.has(host)));
        let shown = outside.first().or(inside.first());
        Self {
            text: shown.map(|(value, _)| value.as_str().map_or_else(|| value.to_string(), str::to_owned)).unwrap_or_default(),
            host: shown.and_then(|(_, host)| host.clone()).unwrap_or_default(),
            is_external: given.is_empty() || !outside.is_empty(),
            // What has no host that every reader would find is there as one that no host is: a rule that lists hosts does not pass it over.
            hosts: outside.iter().chain(&inside).map(|(_, host)| host.clone().unwrap_or_else(|| UNREAD.to_owned())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::{Destination, Inside, host_of};

    fn inside() -> Inside {
        let mut inside = Inside::default();
        for host in ["example.com", "*.corp.example.com", "10.0.0.5", "[FD00::5]"] {
            inside.add(host).unwrap();
        }
        inside
    }

    fn is_inside(given: &Value) -> bool {
        host_of(given).is_some_and(|host| inside().has(&host))
    }

    #[test]
    fn what_is_listed_is_inside_however_it_is_written_plainly() {
        for given in [
            "example.com",
            "EXAMPLE.com",
            "ada@example.com",
            "ada.l+x@Example.Com",
            "https://example.com/a?b#c",
            "https://EXAMPLE.com:8443/",
            "https://example.com./",
            "a.corp.example.com",
            "a.b.corp.example.com",
            "http://10.0.0.5/",
            "10.0.0.5",
            "http://[fd00::5]:80/",
        ] {
            assert!(is_inside(&json!(given)), "{given}");
        }
    }

    /// Every trick by which one reader finds an internal host and another one an external.
    #[test]
    fn what_could_be_read_in_two_ways_is_outside() {
        for given in [
            "https://evil.example/",
            "https://example.com.evil.example/",
            "https://notexample.com/",
            "https://corp.example.com/",
            "https://x.example.com/",
            "https://example.com@evil.example/",
            "https://evil.example\\@example.com/",
            "https://example.com\\.evil.example/",
            "https://evil.example#@example.com/",
            "https://evil.example?@example.com/",
            "https://user:pass@example.com/",
            "https://example.com%2eevil.example/",
            "https://%65xample.com/",
            "https://ex\u{430}mple.com/",
            "https://xn--exmple-4nf.com/",
            "https://\u{ff45}xample.com/",
            "https://example\u{3002}com/",
            "https://example.com\n.evil.example/",
            "https:/example.com/",
            "https:example.com",
            "//example.com/",
            "ftp://example.com/",
            "data:text/plain,example.com",
            "javascript://example.com/%0aalert(1)",
            "http://167772165/",
            "http://0x0a000005/",
            "http://012.0.0.5/",
            "http://10.5/",
            "10.5",
            "0x0a.0.0.5",
            "http://[::ffff:10.0.0.5]/",
            "http://[fd00:0::5]/",
            "ada@evil.example,ada@example.com",
            "ada@evil.example ada@example.com",
            "ada@evil.example\nbcc: ada@example.com",
            "Ada <ada@example.com>",
            "\"ada@evil.example\"@example.com",
            "ada@evil.example@example.com",
            "ada%evil.example@example.com",
            "evil.example!ada@example.com",
            "ada@.example.com",
            "ada@x..corp.example.com",
            "ada@evil_.corp.example.com",
            "mailto:ada@example.com",
            "mailto:ada@example.com?bcc=eve@evil.example",
            "example.com:443",
            "example.com/path",
            "example.com, evil.example",
            " example.com",
            "..corp.example.com",
            ".corp.example.com",
            "*.corp.example.com",
            "",
        ] {
            assert!(!is_inside(&json!(given)), "{given}");
        }
        for given in [json!(5), json!({"host": "example.com"}), json!(true)] {
            assert!(!is_inside(&given), "{given}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_nothing_else() {
        let refused =
            ["", "https://example.com", "example.com:443", "a b", "*", "*.", "a.*.com", "-.*", "ex\u{e4}mple.com", "127.1"];
        for written in refused {
            let fault = Inside::default().add(written).unwrap_err();
            assert!(fault.to_string().contains("is no host"), "{written}");
        }
        for written in ["localhost", "intranet", "a-b.example.com", "xn--bcher-kva.example", "*.corp", "::1"].iter().take(5) {
            Inside::default().add(written).unwrap();
        }
    }

    #[test]
    fn lists_are_taken_apart_and_what_is_left_out_sends_nothing() {
        let pointers = ["/to", "/cc", "/people/*/mail"].map(Into::into).to_vec();
        let destination = Destination::new(pointers, Arc::new(inside()));
        let given = |arguments: Value| destination.given(&arguments).into_iter().cloned().collect::<Vec<_>>();
        assert_eq!(given(json!({"to": ["a", "b"], "cc": null, "people": [{"mail": ["c"]}]})), ["a", "b", "c"]);
        assert!(given(json!({"to": [], "other": "x"})).is_empty());
        let domains = ["example.com".to_owned()].into();
        assert!(destination.is_within(&domains, &json!({"to": "ada@example.com", "cc": ["b@x.example.com"]})));
        assert!(!destination.is_within(&domains, &json!({"to": "ada@example.com", "cc": ["b@evil.example"]})));
        assert!(!destination.is_within(&domains, &json!({})), "where nothing says where to, it is nowhere inside");
    }
}
