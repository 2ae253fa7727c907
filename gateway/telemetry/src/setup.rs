//! From what the operator wrote (the `OTEL_*` variables, our configuration) to what it means, all faults at once.

mod variables;

use std::{borrow::Cow, str::FromStr, time::Duration};

use reqwest::{
    Client, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect,
};

use crate::{Fault, Problem, encode::Envelope, exporter::Limits, id, post::Destination, sampling::Sampler};

use self::variables::Reader;

/// Characters of an attribute's text, at most; the variables may only lower it.
const ATTRIBUTE_LENGTH: usize = 256;
/// Encoded bytes that may wait, whatever the number of spans.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;

/// What our own configuration says about traces. `OTEL_*` variables win over it.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The collector's base address, to which `/v1/traces` is added: `http://127.0.0.1:4318`.
    pub endpoint: Option<String>,
    /// `service.name`; `bailiwick` when absent.
    pub service_name: Option<String>,
    /// `service.version`; this crate's own when absent.
    pub service_version: Option<String>,
    /// `service.instance.id`; a random one when absent.
    pub instance_id: Option<String>,
    /// The part of routine calls whose traces are kept, 0 to 1; all when absent. What matters is always kept.
    pub ratio: Option<f64>,
}

/// What the exporter needs, checked.
pub(crate) struct Plan {
    pub(crate) limits: Limits,
    pub(crate) sampler: Sampler,
    pub(crate) destination: Destination,
    pub(crate) envelope: Envelope,
}

/// Reads everything. `None` when traces aren't to be exported.
pub(crate) fn read(env: &dyn Fn(&str) -> Option<String>, settings: &Settings) -> Result<Option<Plan>, Fault> {
    let mut reader = Reader { env, problems: Vec::new() };
    if reader.disabled() {
        return Ok(None);
    }
    let wish = reader.exporter();
    let sampler = reader.sampler(settings);
    let (Wish::Unsaid | Wish::Otlp, Some(sampler)) = (wish, sampler) else {
        return reader.done(None);
    };
    let Some(url) = reader.address(wish, settings) else {
        return reader.done(None);
    };
    reader.protocol();
    let headers = reader.headers();
    let timeout = reader.either("TIMEOUT", |reader, name| reader.number(name, &1)).unwrap_or(10_000);
    let limits = reader.limits();
    let resource = reader.resource(settings);
    let Some(client) = reader.client(&url) else {
        return reader.done(None);
    };
    let destination = Destination { client, url, headers, timeout: Duration::from_millis(timeout) };
    let version = settings.service_version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"));
    reader.done(Some(Plan { limits, sampler, destination, envelope: Envelope::new(&resource, version) }))
}

/// What `OTEL_TRACES_EXPORTER` asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Unsaid,
    Otlp,
    Nothing,
}

type Resource = Vec<(Cow<'static, str>, String)>;

impl Reader<'_> {
    fn disabled(&mut self) -> bool {
        let value = self.var("OTEL_SDK_DISABLED").unwrap_or_default().to_ascii_lowercase();
        if !matches!(value.as_str(), "" | "true" | "false") {
            tracing::warn!(value, "OTEL_SDK_DISABLED is neither `true` nor `false`: taken as `false`");
        }
        value == "true"
    }

    fn exporter(&mut self) -> Wish {
        let Some(value) = self.var("OTEL_TRACES_EXPORTER") else {
            return Wish::Unsaid;
        };
        match value.to_ascii_lowercase().as_str() {
            "otlp" => Wish::Otlp,
            "none" => Wish::Nothing,
            _ => {
                self.refuse("OTEL_TRACES_EXPORTER", &value, "`otlp` or `none`");
                Wish::Nothing
            }
        }
    }

    /// The sampler; `None` when no trace is wanted.
    fn sampler(&mut self, settings: &Settings) -> Option<Sampler> {
        let Some(value) = self.var("OTEL_TRACES_SAMPLER") else {
            return match settings.ratio {
                Some(ratio) if !(0.0..=1.0).contains(&ratio) => {
                    self.refuse("ratio", &ratio.to_string(), "a number from 0 to 1");
                    None
                }
                ratio => Some(Sampler::ratio(ratio.unwrap_or(1.0))),
            };
        };
        let name = value.to_ascii_lowercase();
        let root = name.strip_prefix("parentbased_").unwrap_or(&name);
        if root != name {
            tracing::warn!(
                sampler = name,
                "a caller can't switch its own tracing off or on here: `{root}` applies to every call"
            );
        }
        match root {
            "always_on" => Some(Sampler::Everything),
            "always_off" => None,
            "traceidratio" => {
                let ratio = self.var("OTEL_TRACES_SAMPLER_ARG").unwrap_or_else(|| "1".to_owned());
                let parsed = ratio.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
                if parsed.is_none() {
                    self.refuse("OTEL_TRACES_SAMPLER_ARG", &ratio, "a number from 0 to 1");
                }
                parsed.map(Sampler::ratio)
            }
            _ => {
                self.refuse("OTEL_TRACES_SAMPLER", &value, "`always_on`, `always_off` or `traceidratio`");
                None
            }
        }
    }

    /// Where to (OTLP exporter specification, "Endpoint URLs for OTLP/HTTP"): the traces address as it is, or a base address
    /// with `/v1/traces` after its path. Without any, only an explicit `otlp` means the default collector.
    fn address(&mut self, wish: Wish, settings: &Settings) -> Option<Url> {
        let own = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        if let Some(address) = self.var(own) {
            return self.url(own, &address);
        }
        let (name, base) = match (self.var("OTEL_EXPORTER_OTLP_ENDPOINT"), &settings.endpoint, wish) {
            (Some(base), ..) => ("OTEL_EXPORTER_OTLP_ENDPOINT", base),
            (None, Some(base), _) => ("endpoint", base.clone()),
            (None, None, Wish::Otlp) => ("endpoint", "http://localhost:4318".to_owned()),
            (None, None, Wish::Unsaid | Wish::Nothing) => return None,
        };
        let mut url = self.url(name, &base)?;
        let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Some(url)
    }

    fn protocol(&mut self) {
        self.either("PROTOCOL", |reader, name| {
            let protocol = reader.var(name)?;
            if protocol != "http/protobuf" {
                reader.refuse(name, &protocol, "`http/protobuf`, the one protocol spoken here (port 4318 by custom)");
            }
            Some(())
        });
        self.either("COMPRESSION", |reader, name| {
            let compression = reader.var(name).filter(|compression| compression != "none")?;
            tracing::warn!(name, compression, "traces are sent uncompressed");
            Some(())
        });
        for end in ["CLIENT_KEY", "CLIENT_CERTIFICATE"] {
            self.either(end, |reader, name| {
                reader.var(name)?;
                reader.problems.push(Problem::Unsupported { name: Cow::Owned(name.to_owned()) });
                Some(())
            });
        }
    }

    fn headers(&mut self) -> HeaderMap {
        let mut headers = self.either("HEADERS", Self::header_map).unwrap_or_default();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers
    }

    fn header_map(&mut self, variable: &str) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (entry, (name, value)) in (1..).zip(self.pairs(variable)?) {
            match (HeaderName::from_str(&name), HeaderValue::from_str(&value)) {
                (Ok(name), Ok(mut value)) => {
                    value.set_sensitive(true);
                    headers.insert(name, value);
                }
                _ => self.problems.push(Problem::Pair { name: Cow::Owned(variable.to_owned()), entry }),
            }
        }
        Some(headers)
    }

    fn limits(&mut self) -> Limits {
        let queue_spans = self.number("OTEL_BSP_MAX_QUEUE_SIZE", &1).unwrap_or(16_384);
        let batch_spans = self.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", &1).unwrap_or(2048).min(queue_spans);
        let delay = Duration::from_millis(self.number("OTEL_BSP_SCHEDULE_DELAY", &0).unwrap_or(1000));
        let general = self.number("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", &0);
        let own = self.number("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", &0);
        let attribute_length = own.or(general).unwrap_or(ATTRIBUTE_LENGTH).min(ATTRIBUTE_LENGTH);
        Limits { queue_spans, queue_bytes: QUEUE_BYTES, batch_spans, delay, attribute_length }
    }

    /// Who we are. `OTEL_SERVICE_NAME` wins over `OTEL_RESOURCE_ATTRIBUTES`, and that over the configuration; nothing over
    /// `telemetry.sdk.*`, which names what made the spans.
    fn resource(&mut self, settings: &Settings) -> Resource {
        let or = |setting: &Option<String>, other: &str| setting.clone().unwrap_or_else(|| other.to_owned());
        let instance = settings.instance_id.clone().unwrap_or_else(|| id::TraceId::random().to_string());
        let mut resource: Resource = vec![
            (Cow::Borrowed("service.name"), or(&settings.service_name, "bailiwick")),
            (Cow::Borrowed("service.version"), or(&settings.service_version, env!("CARGO_PKG_VERSION"))),
            (Cow::Borrowed("service.instance.id"), instance),
        ];
        for (key, value) in self.pairs("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default() {
            put(&mut resource, Cow::Owned(key), value);
        }
        if let Some(name) = self.var("OTEL_SERVICE_NAME") {
            put(&mut resource, Cow::Borrowed("service.name"), name);
        }
        for (key, value) in [
            ("telemetry.sdk.name", "bailiwick-telemetry"),
            ("telemetry.sdk.language", "rust"),
            ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
        ] {
            put(&mut resource, Cow::Borrowed(key), value.to_owned());
        }
        resource
    }

    fn client(&mut self, url: &Url) -> Option<Client> {
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .user_agent(concat!("bailiwick-telemetry/", env!("CARGO_PKG_VERSION")));
        if matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]")) {
            builder = builder.no_proxy();
        }
        if url.scheme() == "http" {
            // No TLS is spoken: don't depend on the machine having certificates.
            builder = builder.tls_certs_only([]);
        } else if let Some(certificates) = self.either("CERTIFICATE", Self::certificates) {
            builder = builder.tls_certs_only(certificates);
        }
        builder.build().map_err(|error| self.problems.push(Problem::Start(error.to_string()))).ok()
    }
}

fn put(resource: &mut Resource, key: Cow<'static, str>, value: String) {
    match resource.iter_mut().find(|(known, _)| *known == key) {
        Some((_, known)) => *known = value,
        None => resource.push((key, value)),
    }
}

#[cfg(test)]
mod tests;
