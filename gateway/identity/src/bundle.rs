//! Trust bundles (SPIFFE Trust Domain and Bundle, section 4): which authorities speak for a trust domain, as a document or as PEM, and for
//! how long what was read of them counts.

use std::{sync::Arc, time::Duration};

use bailiwick_schemas::json::{self, JsonFault, Limits};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::{
    anchors::{Anchors, AnchorsFault},
    x509::Authority,
};

/// The largest bundle, bytes.
pub const LARGEST_BUNDLE: usize = 256 * 1024;

/// How often an endpoint is asked where its bundle does not say (SPIFFE Trust Domain and Bundle, section 4.1.2), and the bounds of what it
/// may say.
const USUALLY: Duration = Duration::from_mins(5);
const SOONEST: Duration = Duration::from_secs(5);
const LATEST: Duration = Duration::from_hours(1);

/// How often a file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Why a bundle can't be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleFault {
    /// It is too large.
    #[error("it has more than {LARGEST_BUNDLE} bytes")]
    Large,
    /// It is neither a document nor PEM.
    #[error("it is neither a SPIFFE bundle nor PEM: {0}")]
    Pem(String),
    /// It is not JSON.
    #[error("it is not JSON: {0}")]
    Json(JsonFault),
    /// It is no bundle.
    #[error("it is not a SPIFFE bundle: `{0}` is missing, or not what it should be")]
    Shape(&'static str),
    /// Its authorities are none.
    #[error(transparent)]
    Anchors(#[from] AnchorsFault),
    /// It is older than the one in force.
    #[error("its `spiffe_sequence` {got} is below the {had} of the one before")]
    Outdated {
        /// What it says.
        got: u64,
        /// What the one before said.
        had: u64,
    },
}

/// A trust bundle.
#[derive(Debug)]
pub struct Bundle {
    /// The authorities of X.509-SVIDs.
    pub anchors: Anchors,
    /// How many of its keys for X.509-SVIDs are of no authority that can be used, and are passed over.
    pub unusable: usize,
    /// Its place among the bundles of its domain (`spiffe_sequence`).
    pub sequence: Option<u64>,
    /// After how long it should be asked for again (`spiffe_refresh_hint`).
    pub refresh: Option<Duration>,
}

impl Bundle {
    /// Reads a SPIFFE bundle, or PEM.
    pub fn read(text: &[u8]) -> Result<Self, BundleFault> {
        if text.len() > LARGEST_BUNDLE {
            return Err(BundleFault::Large);
        }
        if text.trim_ascii_start().starts_with(b"{") { Self::document(text) } else { Self::pem(text) }
    }

    fn pem(text: &[u8]) -> Result<Self, BundleFault> {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
        let certificates = certificates.map_err(|fault| BundleFault::Pem(fault.to_string()))?;
        Ok(Self { anchors: Anchors::new(&certificates)?, unusable: 0, sequence: None, refresh: None })
    }

    /// A document counts as it is, whoever is in it: keys that can't be used are passed over, and without one that can nobody of the domain
    /// is believed any more (section 4.1.3). Otherwise what was taken out of it would stay in force for the sake of another key.
    fn document(text: &[u8]) -> Result<Self, BundleFault> {
        let limits = Limits { bytes: LARGEST_BUNDLE, depth: 16 };
        let Value::Object(document) = json::parse(text, limits).map_err(BundleFault::Json)? else {
            return Err(BundleFault::Shape("keys"));
        };
        let Some(Value::Array(keys)) = document.get("keys") else { return Err(BundleFault::Shape("keys")) };
        let mut certificates = Vec::new();
        let mut listed = 0;
        for key in keys {
            let key = key.as_object().ok_or(BundleFault::Shape("keys"))?;
            // What has another use, or one that nobody knows, is not for X.509-SVIDs.
            if key.get("use").and_then(Value::as_str) == Some("x509-svid") {
                listed += 1;
                certificates.extend(authority_of(key));
            }
        }
        let anchors = Anchors::among(&certificates);
        Ok(Self {
            unusable: listed - anchors.count(),
            anchors,
            sequence: number(&document, "spiffe_sequence")?,
            refresh: number(&document, "spiffe_refresh_hint")?.map(Duration::from_secs),
        })
    }
}

/// The one certificate of a key (section 4.2.2): in the usual Base64, not that of URLs.
fn authority_of(key: &Map<String, Value>) -> Option<CertificateDer<'static>> {
    let Some([Value::String(only)]) = key.get("x5c")?.as_array().map(Vec::as_slice) else { return None };
    STANDARD.decode(only).map(CertificateDer::from).ok()
}

fn number(document: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, BundleFault> {
    let read = |value: &Value| value.as_u64().ok_or(BundleFault::Shape(name));
    document.get(name).map(read).transpose()
}

/// How often a bundle is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// A file: looked at all the time.
    File,
    /// An endpoint: as its bundle says, within bounds.
    Endpoint,
}

/// Keeps the authorities of one trust domain as its bundle says. Whoever reads the bundle hands over what was read.
#[derive(Debug)]
pub struct Keeper {
    authority: Arc<Authority>,
    pace: Pace,
    max_stale: Duration,
    last: Option<Last>,
    /// After how long it is tried again, while it fails.
    retry: Option<Duration>,
}

/// What was taken last.
#[derive(Debug)]
struct Last {
    digest: [u8; 32],
    anchors: Arc<Anchors>,
    sequence: Option<u64>,
    refresh: Option<Duration>,
}

/// What came of a reading.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the bundle is to be read again"]
pub struct Taken {
    /// After how long the bundle is to be read again.
    pub again_after: Duration,
    /// What an operator is told of it.
    pub news: Option<News>,
}

/// What an operator is told of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// So many authorities are in force by another bundle.
    Changed(usize),
    /// It can be read again, and is what it was.
    Back,
    /// It can't be taken, and could before: why.
    Lost(String),
}

impl Keeper {
    /// For this authority. What was read is good for `max_stale`, if it can't be read again.
    pub fn new(authority: Arc<Authority>, pace: Pace, max_stale: Duration) -> Self {
        Self { authority, pace, max_stale, last: None, retry: None }
    }

    /// Takes what was read, or why nothing was; `at_ms` is when the reading began, unix milliseconds. What can't be taken changes
    /// nothing: the authorities in force stay until they are older than they may be.
    pub fn take(&mut self, read: Result<Vec<u8>, String>, at_ms: u64) -> Taken {
        match read.and_then(|text| self.accept(&text, at_ms).map_err(|fault| fault.to_string())) {
            Ok(changed) => {
                let was_lost = self.retry.take().is_some();
                let back = was_lost.then_some(News::Back);
                Taken { again_after: self.interval(), news: changed.map(News::Changed).or(back) }
            }
            Err(why) => {
                let news = self.retry.is_none().then_some(News::Lost(why));
                let interval = self.interval();
                let again_after = self.retry.map_or(SOONEST, |before| before * 2).min(interval);
                self.retry = Some(again_after);
                Taken { again_after, news }
            }
        }
    }

    /// Puts it in force; how many authorities it has, if it is another one than before.
    fn accept(&mut self, text: &[u8], at_ms: u64) -> Result<Option<usize>, BundleFault> {
        let until_ms = at_ms.saturating_add(u64::try_from(self.max_stale.as_millis()).unwrap_or(u64::MAX));
        let digest: [u8; 32] = Sha256::digest(text).into();
        if let Some(last) = self.last.as_ref().filter(|last| last.digest == digest) {
            self.authority.put(Arc::clone(&last.anchors), until_ms);
            return Ok(None);
        }
        let Bundle { anchors, unusable, sequence, refresh } = Bundle::read(text)?;
        let had = self.last.as_ref().and_then(|last| last.sequence);
        if let (Some(got), Some(had), Pace::Endpoint) = (sequence, had, self.pace)
            && got < had
        {
            return Err(BundleFault::Outdated { got, had });
        }
        if unusable > 0 {
            let domain = self.authority.domain();
            tracing::warn!(%domain, unusable, "keys of a bundle are of no authority that can be used, and are passed over");
        }
        let (count, anchors) = (anchors.count(), Arc::new(anchors));
        self.authority.put(Arc::clone(&anchors), until_ms);
        self.last = Some(Last { digest, anchors, sequence: sequence.or(had), refresh });
        Ok(Some(count))
    }

    /// Well before what was read is too old.
    fn interval(&self) -> Duration {
        let wanted = match self.pace {
            Pace::File => LOOK,
            Pace::Endpoint => self.last.as_ref().and_then(|last| last.refresh).unwrap_or(USUALLY).clamp(SOONEST, LATEST),
        };
        wanted.min(self.max_stale / 2)
    }
}

#[cfg(test)]
mod tests;
