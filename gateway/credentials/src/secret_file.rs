//! A secret in a file.

use std::{
    fs::{File, OpenOptions},
    io::Read,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::OFlags;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::standing::{SECRET_BYTES, check};

/// The permissions that nobody but the owner may have.
const OTHERS: u32 = 0o077;

/// Those by which others could change it.
const OTHERS_WRITE: u32 = 0o022;

/// Reads the secret from `path`. A link is followed, as orchestrators mount secrets through them; what is judged is the file that
/// was opened, and not what stands at the path a moment later.
pub(crate) fn read(path: &Path) -> Result<SecretString, String> {
    text_of(path, OTHERS)
}

/// Reads what an orchestrator mounted for this process alone, and often lets everybody in its container read: nobody else may change it.
pub(crate) fn read_mounted(path: &Path) -> Result<SecretString, String> {
    text_of(path, OTHERS_WRITE)
}

fn text_of(path: &Path, refused: u32) -> Result<SecretString, String> {
    let file = open(path)?;
    let found = file.metadata().map_err(|fault| format!("it can't be looked at: {fault}"))?;
    if !found.is_file() {
        return Err("it is not a regular file: give the path of one".to_owned());
    }
    if found.mode() & refused != 0 {
        let (mode, path) = (found.mode() & 0o777, path.display());
        return Err(format!("others than its owner can read or change it (mode {mode:03o}): `chmod 600 {path}`"));
    }
    // Read into room that is there from the start: a buffer that grew would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(SECRET_BYTES + 3));
    let limit = u64::try_from(SECRET_BYTES + 3).unwrap_or(u64::MAX);
    read_all(file.take(limit), &mut bytes).map_err(|fault| format!("it can't be read: {fault}"))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    check(text).map_err(|why| format!("the file {why}"))?;
    Ok(SecretString::from(text))
}

/// Opens a file that holds nobody who opens it.
pub(crate) fn open(path: &Path) -> Result<File, String> {
    // Not blocking: a named pipe in place of the file must not hold us.
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|fault| match fault.kind() {
        std::io::ErrorKind::NotFound => "the file does not exist: create it with the secret in it, mode 600".to_owned(),
        std::io::ErrorKind::PermissionDenied => "the gateway's user may not read the file: `chown` it to that user".to_owned(),
        _ => format!("the file can't be opened: {fault}"),
    })
}

/// Fills the room that `bytes` has, without growing it.
fn read_all(mut from: impl Read, bytes: &mut Zeroizing<Vec<u8>>) -> std::io::Result<()> {
    let mut chunk = Zeroizing::new([0_u8; 4096]);
    loop {
        let count = from.read(chunk.as_mut_slice())?;
        if count == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::{PermissionsExt, symlink};

    use secrecy::ExposeSecret;

    use super::*;

    fn put(path: &Path, text: &[u8], mode: u32) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_secret_is_read_without_its_line_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for (text, expected) in
            [("canary", "canary"), ("canary\n", "canary"), ("canary\r\n", "canary"), ("canary \n\n", "canary \n")]
        {
            put(&path, text.as_bytes(), 0o600);
            assert_eq!(read(&path).unwrap().expose_secret(), expected);
        }
        let full = "x".repeat(SECRET_BYTES);
        put(&path, format!("{full}\r\n").as_bytes(), 0o400);
        assert_eq!(read(&path).unwrap().expose_secret(), full);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o644] {
            put(&path, b"canary", mode);
            for path in [&path, &link] {
                let why = read(path).unwrap_err();
                assert!(why.contains("`chmod 600 ") && why.contains(&format!("{mode:03o}")), "{why}");
            }
        }
        put(&path, b"canary", 0o600);
        assert_eq!(read(&link).unwrap().expose_secret(), "canary");
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for (text, expected) in [
            (Vec::new(), "is empty"),
            (b"\n".to_vec(), "is empty"),
            (b"  \n".to_vec(), "is empty"),
            (b"canary\0x".to_vec(), "contains NUL"),
            (b"canary\xff".to_vec(), "not UTF-8"),
            (vec![b'c'; SECRET_BYTES + 1], "has more than"),
            (vec![b'c'; 10 * 1024 * 1024], "has more than"),
        ] {
            put(&path, &text, 0o600);
            let why = read(&path).unwrap_err();
            assert!(why.contains(expected) && !why.contains("canary"), "{why}");
        }
        assert!(read(&dir.path().join("absent")).unwrap_err().contains("does not exist"));
        assert!(read(dir.path()).unwrap_err().contains("not a regular file"));
    }

    #[test]
    fn a_named_pipe_holds_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
        assert!(read(&path).unwrap_err().contains("not a regular file"));
    }
}
