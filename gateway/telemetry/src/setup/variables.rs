//! The variables one by one: absent, readable, or a problem to be told.

use std::{borrow::Cow, fs, str::FromStr};

use reqwest::{Certificate, Url};

use crate::{Fault, Problem, setup::Plan};

/// Reads variables and gathers what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    pub(super) problems: Vec<Problem>,
}

impl Reader<'_> {
    pub(super) fn done(self, plan: Option<Plan>) -> Result<Option<Plan>, Fault> {
        if self.problems.is_empty() { Ok(plan) } else { Err(Fault { problems: self.problems }) }
    }

    /// A variable; an empty one counts as absent (OpenTelemetry specification, "Parsing empty value").
    pub(super) fn var(&self, name: &str) -> Option<String> {
        (self.env)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    pub(super) fn refuse(&mut self, name: &str, value: &str, expected: &'static str) {
        let (name, value) = (Cow::Owned(name.to_owned()), value.to_owned());
        self.problems.push(Problem::Value { name, value, expected });
    }

    /// The variable for traces, else the one for all signals.
    pub(super) fn either<T>(&mut self, end: &str, read: impl Fn(&mut Self, &str) -> Option<T>) -> Option<T> {
        let (own, general) = (format!("OTEL_EXPORTER_OTLP_TRACES_{end}"), format!("OTEL_EXPORTER_OTLP_{end}"));
        if self.var(&own).is_some() { read(self, &own) } else { read(self, &general) }
    }

    pub(super) fn number<N: FromStr + PartialOrd>(&mut self, name: &str, least: &N) -> Option<N> {
        let text = self.var(name)?;
        let number = text.parse().ok().filter(|number| number >= least);
        if number.is_none() {
            self.refuse(name, &text, "a whole number that is large enough");
        }
        number
    }

    /// `key=value,key=value`, values percent-encoded (W3C Baggage, as the OpenTelemetry specification has it).
    pub(super) fn pairs(&mut self, variable: &str) -> Option<Vec<(String, String)>> {
        let text = self.var(variable)?;
        let mut pairs = Vec::new();
        for (entry, pair) in (1..).zip(text.split(',').filter(|pair| !pair.trim().is_empty())) {
            match pair.split_once('=').map(|(key, value)| (key.trim(), percent_decoded(value.trim()))) {
                Some((key, Some(value))) if !key.is_empty() => pairs.push((key.to_owned(), value)),
                _ => self.problems.push(Problem::Pair { name: Cow::Owned(variable.to_owned()), entry }),
            }
        }
        Some(pairs)
    }

    pub(super) fn url(&mut self, name: &str, text: &str) -> Option<Url> {
        let reason = match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                return Some(url);
            }
            Ok(_) => "not an http or https address".to_owned(),
            Err(error) => error.to_string(),
        };
        self.problems.push(Problem::Endpoint { name: Cow::Owned(name.to_owned()), reason });
        None
    }

    pub(super) fn certificates(&mut self, variable: &str) -> Option<Vec<Certificate>> {
        let path = self.var(variable)?;
        let read = fs::read(&path)
            .map_err(|error| error.to_string())
            .and_then(|pem| Certificate::from_pem_bundle(&pem).map_err(|error| error.to_string()));
        let reason = match read {
            Ok(certificates) if !certificates.is_empty() => return Some(certificates),
            Ok(_) => "no certificate in it".to_owned(),
            Err(reason) => reason,
        };
        self.problems.push(Problem::Certificate { name: Cow::Owned(variable.to_owned()), path, reason });
        None
    }
}

/// The text with each `%XX` decoded; `None` when that isn't UTF-8 or a `%` isn't followed by two digits.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            bytes.push(u8::try_from(digit()? << 4 | digit()?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
