//! What the gateway reads for itself besides its configuration: files that others may rotate, and documents at URLs that an admin named.

use std::{
    fs::{File, OpenOptions},
    io::Read as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Certificate, Client, StatusCode, redirect::Policy};
use rustix::fs::OFlags;

/// How long a document may take, its connection included.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest file of certificate authorities, bytes.
const LARGEST_ROOTS: u64 = 4 * 1024 * 1024;

/// The permissions that nobody but the owner may have of what is private.
const OTHERS: u32 = 0o077;

/// What a plain file of a bearable size holds. Blocks.
pub(crate) fn file(path: &Path, largest: u64) -> Result<Vec<u8>, String> {
    read(open(path)?, largest)
}

/// The same of a file that only its owner may read. Blocks.
pub(crate) fn private_file(path: &Path, largest: u64) -> Result<Vec<u8>, String> {
    let file = open(path)?;
    let mode = file.metadata().map_err(|fault| format!("it can't be looked at: {fault}"))?.mode();
    if mode & OTHERS != 0 {
        return Err(format!("others than its owner can read or change it (mode {:03o}): chmod 600", mode & 0o777));
    }
    read(file, largest)
}

fn open(path: &Path) -> Result<File, String> {
    // Not blocking: a named pipe in place of the file must not hold us.
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|fault| format!("it can't be read: {fault}"))
}

fn read(file: File, largest: u64) -> Result<Vec<u8>, String> {
    let found = file.metadata().map_err(|fault| format!("it can't be looked at: {fault}"))?;
    if !found.is_file() {
        return Err("it is not a file".to_owned());
    }
    // One more than is borne, so that a file that grows is found out; and room for it from the start: a buffer that grew would leave
    // copies behind.
    let room = usize::try_from(found.len().min(largest)).unwrap_or_default().saturating_add(1);
    let mut bytes = Vec::with_capacity(room);
    file.take(largest.saturating_add(1)).read_to_end(&mut bytes).map_err(|fault| format!("it can't be read: {fault}"))?;
    if bytes.len() as u64 > largest { Err(format!("it has more than {largest} bytes")) } else { Ok(bytes) }
}

/// A document elsewhere: with TLS, but on this machine. No redirect is followed, and no proxy asked.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    /// Where. The configuration lets `http` through for this machine alone.
    pub(crate) url: String,
    /// The PEM file of the only authorities that are trusted for it; those of the system where there is none.
    pub(crate) roots: Option<PathBuf>,
}

impl Document {
    /// What it holds now, which is not longer than `largest` bytes.
    pub(crate) async fn read(&self, largest: usize) -> Result<Vec<u8>, String> {
        let of = self.clone();
        // For each time anew: whom to trust may have changed, and it is seldom.
        let client =
            tokio::task::spawn_blocking(move || of.client()).await.map_err(|_| "its client can't be made".to_owned())??;
        let asked = client.get(&self.url).header("accept", "application/json").send().await;
        let mut response = asked.map_err(|fault| words(&fault))?;
        if response.status() != StatusCode::OK {
            return Err(format!("it is answered with {}", response.status()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|fault| words(&fault))? {
            if bytes.len() + chunk.len() > largest {
                return Err(format!("it has more than {largest} bytes"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    fn client(&self) -> Result<Client, String> {
        let builder = Client::builder().no_proxy().redirect(Policy::none()).timeout(PATIENCE).http1_only();
        let builder = match &self.roots {
            None => builder,
            Some(path) => {
                let shown = path.display();
                let pem = file(path, LARGEST_ROOTS).map_err(|why| format!("`{shown}`, its certificate authorities: {why}"))?;
                let roots =
                    Certificate::from_pem_bundle(&pem).map_err(|_| format!("`{shown}` is no PEM file of certificates"))?;
                if roots.is_empty() {
                    return Err(format!("`{shown}` has no certificate"));
                }
                builder.tls_certs_only(roots)
            }
        };
        builder.https_only(self.url.starts_with("https:")).build().map_err(|fault| words(&fault))
    }
}

/// What a failure says: the deepest of its causes.
fn words(fault: &(dyn std::error::Error + 'static)) -> String {
    let mut deepest = fault;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    deepest.to_string()
}
