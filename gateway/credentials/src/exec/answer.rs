//! What a program answers.

use bailiwick_schemas::time;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::{
    exec::{API, KIND},
    standing::{Told, check},
};

/// A credential that a program gave.
pub(super) struct Given {
    pub(super) token: Option<SecretString>,
    pub(super) certificate: Option<String>,
    pub(super) key: Option<SecretString>,
    pub(super) expires_at_ms: u64,
    pub(super) handle: Option<serde_json::Value>,
}

/// `ExecCredential` (`kubernetes/client-go`, `pkg/apis/clientauthentication/v1`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    api_version: String,
    kind: String,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    token: Option<Told>,
    #[serde(default)]
    client_certificate_data: Option<String>,
    #[serde(default)]
    client_key_data: Option<Told>,
    #[serde(default)]
    expiration_timestamp: Option<String>,
    #[serde(default)]
    bailiwick_handle: Option<serde_json::Value>,
}

impl Given {
    /// Reads one. The error says what is wrong, and nothing of what was there.
    pub(super) fn read(output: &[u8]) -> Result<Self, String> {
        let written: Written = serde_json::from_slice(output).map_err(|fault| {
            // Not its own words: they quote what was read.
            let (line, column) = (fault.line(), fault.column());
            format!("it is no `{KIND}` as JSON (line {line}, column {column})")
        })?;
        if written.api_version != API || written.kind != KIND {
            return Err(format!("it is not of `apiVersion` `{API}` and `kind` `{KIND}`"));
        }
        let status = written.status.ok_or("it has no `status`")?;
        let ends = status.expiration_timestamp.ok_or("it has no `status.expirationTimestamp`: what never ends is not lent")?;
        let expires_at_ms = moment(&ends).ok_or("`status.expirationTimestamp` is no time as in RFC 3339")?;
        if status.client_certificate_data.is_some() != status.client_key_data.is_some() {
            return Err("`status.clientCertificateData` and `status.clientKeyData` come together".to_owned());
        }
        if status.token.is_none() && status.client_key_data.is_none() {
            return Err("it has neither `status.token` nor `status.clientKeyData`".to_owned());
        }
        let (token, key) = (status.token.map(SecretString::from), status.client_key_data.map(SecretString::from));
        for (name, secret) in [("token", &token), ("clientKeyData", &key)] {
            if let Some(secret) = secret {
                check(secret.expose_secret()).map_err(|why| format!("`status.{name}` {why}"))?;
            }
        }
        Ok(Self { token, certificate: status.client_certificate_data, key, expires_at_ms, handle: status.bailiwick_handle })
    }

    /// What nobody may read in a log.
    pub(super) fn secrets(&self) -> Vec<&str> {
        let handle = self.handle.iter().flat_map(texts);
        self.token.iter().chain(&self.key).map(ExposeSecret::expose_secret).chain(handle).collect()
    }
}

/// Every text in this.
pub(super) fn texts(of: &serde_json::Value) -> Vec<&str> {
    match of {
        serde_json::Value::String(text) => vec![text],
        serde_json::Value::Array(items) => items.iter().flat_map(texts).collect(),
        serde_json::Value::Object(members) => members.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// A time as RFC 3339 has it, with or without parts of a second, in any zone: unix milliseconds.
fn moment(text: &str) -> Option<u64> {
    let (whole, rest) = text.split_at_checked(19)?;
    let seconds_ms = time::parse_rfc3339(&format!("{}.000Z", whole.to_ascii_uppercase().replace(' ', "T")))?;
    let (parts, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at_checked(rest.find(|c: char| !c.is_ascii_digit())?)?,
        None => ("", rest),
    };
    let parts_ms = parts.bytes().chain([b'0'; 3]).take(3).fold(0, |ms, digit| ms * 10 + u64::from(digit - b'0'));
    let at_ms = seconds_ms.checked_add(parts_ms)?;
    if zone == "Z" || zone == "z" {
        return Some(at_ms);
    }
    let (sign, clock) = zone.split_at_checked(1)?;
    let (hours, minutes) = clock.split_once(':')?;
    let part = |text: &str, most: u64| text.parse::<u64>().ok().filter(|part| text.len() == 2 && *part <= most);
    let offset_ms = (part(hours, 23)? * 60 + part(minutes, 59)?) * 60_000;
    match sign {
        "+" => at_ms.checked_sub(offset_ms),
        "-" => at_ms.checked_add(offset_ms),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::moment;

    #[test]
    fn a_moment_is_read_in_every_spelling_of_rfc_3339() {
        let at = 1_700_000_000_000;
        for text in ["2023-11-14T22:13:20Z", "2023-11-14t22:13:20.000z", "2023-11-14T23:13:20+01:00", "2023-11-14T17:43:20-04:30"]
        {
            assert_eq!(moment(text), Some(at), "{text}");
        }
        assert_eq!(moment("2023-11-14T22:13:20.1239999Z"), Some(at + 123));
        assert_eq!(moment("2023-11-14T22:13:20.5+00:00"), Some(at + 500));
        for text in [
            "",
            "never",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-02-30T22:13:20Z",
            "2023-11-14T22:13:20.",
            "1700000000",
            "2023-11-14T22:13:20+1:00",
            "2023-11-14T22:13:20 Z",
            "\u{e9}023-11-14T22:13:20Z",
            "2023-11-14T22:13:20Zé",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }
}
