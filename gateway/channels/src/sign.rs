//! Signatures of webhooks (Standard Webhooks 1.0, symmetric).

use std::fmt;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// How long a secret is, bytes (Standard Webhooks 1.0, "signature scheme").
const FEWEST: usize = 24;
const MOST: usize = 64;

/// The secrets of a channel: more than one while they are changed.
pub struct Secrets(Vec<hmac::Key>);

/// Why there is no secret in a file. What was written there is not said again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretFault {
    /// No line.
    #[error("it is empty: write a secret into it, `whsec_` and 24 to 64 random bytes in base64")]
    Empty,
    /// A line that is none.
    #[error("line {0} is no secret: write `whsec_` and 24 to 64 random bytes in base64, as `openssl rand -base64 32` makes them")]
    Malformed(usize),
    /// Too many.
    #[error("it has more than two secrets: keep the new one and the one before")]
    TooMany,
}

impl Secrets {
    /// Reads a file: one secret a line, and two at most.
    pub fn read(text: &[u8]) -> Result<Self, SecretFault> {
        let mut keys = Vec::new();
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let secret = secret(line).ok_or(SecretFault::Malformed(at + 1))?;
            keys.push(hmac::Key::new(hmac::HMAC_SHA256, &secret));
        }
        match keys.len() {
            0 => Err(SecretFault::Empty),
            1 | 2 => Ok(Self(keys)),
            _ => Err(SecretFault::TooMany),
        }
    }

    /// What `webhook-signature` says: a signature with each secret, over `id.seconds.body`.
    pub fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let signed = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            context.update(format!("{id}.{seconds}.").as_bytes());
            context.update(body);
            format!("v1,{}", STANDARD.encode(context.sign()))
        };
        self.0.iter().map(signed).collect::<Vec<_>>().join(" ")
    }
}

fn secret(line: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let decoded = Zeroizing::new(STANDARD.decode(line.strip_prefix(b"whsec_")?).ok()?);
    (FEWEST..=MOST).contains(&decoded.len()).then_some(decoded)
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Made with Python: `hmac.new(key, b"evt_1.1795303179." + body, "sha256")`.
    #[test]
    fn a_signature_is_that_of_the_standard() {
        let key: Vec<u8> = (0..32).collect();
        let secrets = Secrets::read(format!("whsec_{}\n", STANDARD.encode(&key)).as_bytes()).unwrap();
        let signed = secrets.sign("evt_1", 1_795_303_179, b"{\"a\":1}");
        assert_eq!(signed, "v1,oNmLwisugiZD90HV3s2ld/RI0ptTuauCNEpijd3nT6k=");
        let two = format!("whsec_{}\nwhsec_{}", STANDARD.encode([7; 24]), STANDARD.encode(&key));
        let signatures = Secrets::read(two.as_bytes()).unwrap().sign("evt_1", 1_795_303_179, b"{\"a\":1}");
        assert_eq!(signatures.split(' ').count(), 2);
        assert!(signatures.ends_with(&signed));
    }

    #[test]
    fn what_is_no_secret_is_refused_without_repeating_it() {
        let good = format!("whsec_{}", STANDARD.encode([1; 24]));
        for (text, why) in [
            (String::new(), SecretFault::Empty),
            ("\n \n".to_owned(), SecretFault::Empty),
            ("hunter2".to_owned(), SecretFault::Malformed(1)),
            (format!("{good}\nwhsec_{}", STANDARD.encode([1; 23])), SecretFault::Malformed(2)),
            (format!("whsec_{}", STANDARD.encode([1; 65])), SecretFault::Malformed(1)),
            (format!("{good}\n{good}\n{good}"), SecretFault::TooMany),
        ] {
            assert_eq!(Secrets::read(text.as_bytes()).unwrap_err(), why, "{text}");
        }
        assert!(!SecretFault::Malformed(1).to_string().contains("hunter2"));
    }
}
