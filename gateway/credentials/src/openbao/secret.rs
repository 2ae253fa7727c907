//! What was read, as the parts of a credential.

use bailiwick_pipeline::ports::Material;
use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::provider::{MintFault, MintFaultKind};

/// The members that are of use only beside a secret. All others are secrets.
const PLAIN: [&str; 4] = ["username", "host", "port", "database"];

/// What was read.
pub(super) struct Read {
    /// By what it is taken back; none where it is a value that is kept.
    pub(super) lease: Option<String>,
    /// How long it lives, seconds, by its issuer.
    pub(super) seconds: u64,
    pub(super) data: Map<String, Value>,
}

impl Read {
    /// Its parts: the members that are texts. One alone is `secret` too.
    pub(super) fn material(self) -> Result<Material, MintFault> {
        let texts = self.values().into_iter().filter_map(|(name, value)| match value {
            Value::String(text) if !text.is_empty() => Some((name, text)),
            _ => None,
        });
        let texts: Vec<(String, String)> = texts.collect();
        let (mut material, mut secrets) = (Material::default(), 0_usize);
        let is_alone = texts.len() == 1;
        for (name, text) in texts {
            if PLAIN.contains(&name.as_str()) {
                material = material.with_plain(name, text);
                continue;
            }
            secrets += 1;
            let secret = SecretString::from(text);
            if is_alone {
                material = material.with_secret("secret", secret.clone());
            }
            material = material.with_secret(name, secret);
        }
        if secrets == 0 {
            return Err(MintFault::new(
                MintFaultKind::Wrong,
                "what its issuer gives has no secret in it: look at what is stored there",
            ));
        }
        Ok(material)
    }

    /// The second version of the key-value engine puts what is kept beside what it knows of it.
    fn values(mut self) -> Map<String, Value> {
        let is_versioned = self.lease.is_none() && self.data.get("metadata").is_some_and(|of| of.get("version").is_some());
        match self.data.remove("data") {
            Some(Value::Object(inner)) if is_versioned => inner,
            Some(other) => {
                self.data.insert("data".to_owned(), other);
                self.data
            }
            None => self.data,
        }
    }
}
