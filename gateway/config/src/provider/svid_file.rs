use std::path::PathBuf;

/// A JWT-SVID in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SvidFile {
    /// The file.
    pub path: PathBuf,
    /// The trust domain of its subject.
    pub trust_domain: String,
}
