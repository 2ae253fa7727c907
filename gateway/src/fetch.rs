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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::{
        os::unix::fs::PermissionsExt as _,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// Answers everybody with this, and then with `more` as long as it is taken. Its address, and how many came.
    async fn answering(head: String, more: &'static [u8]) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let came = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&came);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let _asked = stream.read(&mut [0; 4096]).await;
                let mut written = stream.write_all(head.as_bytes()).await;
                while written.is_ok() && !more.is_empty() {
                    written = stream.write_all(more).await;
                }
            }
        });
        (format!("http://{at}/bundle"), came)
    }

    async fn read(url: &str, largest: usize) -> Result<Vec<u8>, String> {
        Document { url: url.to_owned(), roots: None }.read(largest).await
    }

    #[tokio::test]
    async fn a_document_is_read_as_far_as_it_may_be_long() {
        let (url, came) = answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_owned(), b"").await;
        assert_eq!(read(&url, 5).await, Ok(b"hello".to_vec()));
        assert_eq!(read(&url, 4).await, Err("it has more than 4 bytes".to_owned()));
        assert_eq!(came.load(Ordering::SeqCst), 2);
        let (endless, _) = answering("HTTP/1.1 200 OK\r\n\r\n".to_owned(), &[b'x'; 1024]).await;
        assert_eq!(read(&endless, 100_000).await, Err("it has more than 100000 bytes".to_owned()));
    }

    #[tokio::test]
    async fn nobody_is_sent_elsewhere() {
        let (elsewhere, came) = answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(), b"").await;
        for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
            let head = format!("HTTP/1.1 {status}\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
            let refused = read(&answering(head, b"").await.0, 100).await.unwrap_err();
            assert!(refused.contains("answered with 30"), "{refused}");
        }
        assert_eq!(came.load(Ordering::SeqCst), 0);
        let (broken, _) = answering("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_owned(), b"").await;
        assert!(read(&broken, 100).await.unwrap_err().contains("500"));
    }

    #[test]
    fn a_file_is_plain_not_too_long_and_a_private_one_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "hello").unwrap();
        assert_eq!(file(&path, 5), Ok(b"hello".to_vec()));
        assert_eq!(file(&path, 4), Err("it has more than 4 bytes".to_owned()));
        assert_eq!(file(folder.path(), 5), Err("it is not a file".to_owned()));
        assert!(file(&folder.path().join("none"), 5).unwrap_err().contains("can't be read"));
        for (mode, is_private) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(private_file(&path, 5).is_ok(), is_private, "{mode:o}");
        }
    }
}
