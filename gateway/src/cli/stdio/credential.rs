//! What the bridge shows the gateway: the agent it is run as, or the handle or token that it was started with.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use bailiwick_store::HANDLE;
use http::HeaderValue;
use rustix::fs::OFlags;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::super::{Session, args::StdioArgs, client::segment, fault::CliFault, screen::shown};

/// The file that a launcher names, where no argument does.
const FILE: &str = "BAILIWICK_GRANT_FILE";

/// The longest text of a handle or token, bytes.
const LONGEST: u64 = 4096;

const PRINTS_ONE: &str = "`grants handle`, `grants create` and `agents token` print one: one line, nothing else";

/// Who we are to the gateway, and how we prove it.
#[derive(Debug)]
pub(super) struct Identity {
    /// What it is shown by.
    pub(super) shown: Shown,
    /// What is given back at the end of the stream, where that is the end of the task.
    pub(super) ends: Option<SecretString>,
}

/// What is shown with each request.
#[derive(Debug)]
pub(super) enum Shown {
    /// The user we run as, for this agent.
    Agent(HeaderValue),
    /// A token: the whole value of the header.
    Token(HeaderValue),
    /// The same with a handle, which this process is to hold.
    Handle(HeaderValue),
}

impl Identity {
    /// As it was typed, or as the environment says.
    pub(super) fn of(stdio: &StdioArgs, session: &Session) -> Result<Self, CliFault> {
        let named = || session.around.variable(FILE).map(PathBuf::from);
        match (&stdio.agent, stdio.grant_fd, stdio.grant_file.clone().or_else(named)) {
            (Some(agent), ..) => Ok(Self { shown: Shown::Agent(header(segment(agent)?)?), ends: None }),
            (None, Some(number), _) => Self::borne(inherited(number)?, stdio.end_at_eof),
            (None, None, Some(file)) => Self::borne(in_file(&session.around.absolute(&file))?, stdio.end_at_eof),
            (None, None, None) => {
                let what = format!("neither --agent, --grant-file nor --grant-fd is given, and {FILE} is not set");
                Err(CliFault::usage(what, "an agent that is known by its user needs `--agent ID`; others a handle or a token"))
            }
        }
    }

    fn borne(secret: SecretString, ends_at_eof: bool) -> Result<Self, CliFault> {
        let mut bearer = header(&format!("Bearer {}", secret.expose_secret()))?;
        bearer.set_sensitive(true);
        if secret.expose_secret().starts_with(HANDLE) {
            return Ok(Self { shown: Shown::Handle(bearer), ends: Some(secret) });
        }
        if ends_at_eof && !secret.expose_secret().starts_with("tg_") {
            let what = "--end-at-eof is for the token of a grant, and this is another one";
            return Err(CliFault::usage(what, "`grants create` prints the token of a grant"));
        }
        Ok(Self { shown: Shown::Token(bearer), ends: ends_at_eof.then_some(secret) })
    }
}

fn header(text: &str) -> Result<HeaderValue, CliFault> {
    HeaderValue::from_str(text).map_err(|_| CliFault::usage("there is no handle and no token in what was given", PRINTS_ONE))
}

/// What a file holds that nobody else could have read. One with a handle is gone after that: who comes later finds nothing.
fn in_file(path: &Path) -> Result<SecretString, CliFault> {
    let of = |why| CliFault::System { what: format!("`{}`", path.display()), why };
    // Not blocking: a named pipe in place of the file must not hold us.
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(of)?;
    let found = file.metadata().map_err(of)?;
    let refused = |what: &str, help: &str| {
        let path = shown(&path.display().to_string());
        Err(CliFault::refused(&format!("`{path}` {what}"), Some(&help.replace("FILE", &path))))
    };
    if !found.is_file() {
        return refused("is not a file", PRINTS_ONE);
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return refused("belongs to another user, who may know what is in it", "have it written by the user that runs this");
    }
    if found.mode() & 0o077 != 0 {
        let mode = found.mode() & 0o777;
        let what = format!("can be read or changed by others (mode {mode:04o}): who reads it can act under it");
        return refused(&what, "make another one, with `umask 077` before it is written; `chmod 600 FILE` keeps this one");
    }
    let secret = one_line(&mut file).map_err(of)?;
    if secret.expose_secret().starts_with(HANDLE) {
        // Of a link it would not be the file that is gone.
        let is_it = fs::symlink_metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (found.dev(), found.ino()));
        if !is_it {
            return refused(
                "is a link, or was replaced meanwhile",
                "name the file itself: a handle's file is removed once it is read",
            );
        }
        if let Err(why) = fs::remove_file(path) {
            let what = format!("can't be removed ({why}), and a handle's file is once it is read");
            return refused(&what, "have it written into a folder of the user that runs this");
        }
    }
    Ok(secret)
}

/// What a descriptor holds that this process was started with: a file, or a pipe.
fn inherited(number: u32) -> Result<SecretString, CliFault> {
    let of = |why| CliFault::System { what: format!("descriptor {number}"), why };
    let mut file = File::open(format!("/proc/self/fd/{number}")).map_err(of)?;
    one_line(&mut file).map_err(of)
}

/// The first line. Nothing after it is waited for: whoever writes into a pipe may keep it open.
fn one_line(from: &mut impl Read) -> io::Result<SecretString> {
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(LONGEST).unwrap_or_default()));
    BufReader::new(from.take(LONGEST)).read_until(b'\n', &mut text)?;
    let text = std::str::from_utf8(&text).map(str::trim).unwrap_or_default();
    if text.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it holds no handle and no token; {PRINTS_ONE}")));
    }
    Ok(SecretString::from(text.to_owned()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use tempfile::TempDir;

    use super::*;

    fn written(text: &str, mode: u32) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_handle_is_read_once_and_a_token_as_often_as_one_likes() {
        let (_folder, path) = written("tb_g_x\n", 0o600);
        assert_eq!(in_file(&path).unwrap().expose_secret(), "tb_g_x");
        assert!(!path.exists());
        let (_folder, path) = written("  tg_g_x\nmore\n", 0o400);
        for _ in 0..2 {
            assert_eq!(in_file(&path).unwrap().expose_secret(), "tg_g_x");
        }
    }

    #[test]
    fn what_others_could_have_read_is_not_taken() {
        for text in ["tb_g_x", "tg_g_x"] {
            for mode in [0o644, 0o640, 0o602, 0o610] {
                let (_folder, path) = written(text, mode);
                let told = in_file(&path).unwrap_err().to_string();
                assert!(told.contains("by others") && told.contains(&format!("{mode:04o}")), "{told}");
                assert!(path.exists(), "nothing is lost");
            }
        }
        let (folder, path) = written("tb_g_x", 0o600);
        let link = folder.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(in_file(&link).unwrap_err().to_string().contains("is a link"));
        assert!(path.exists() && in_file(folder.path()).unwrap_err().to_string().contains("not a file"));
        let (_folder, empty) = written("\n", 0o600);
        assert!(in_file(&empty).unwrap_err().to_string().contains("no handle and no token"));
    }

    #[test]
    fn what_ends_with_the_stream_is_a_grant() {
        let borne = |text: &str, ends| Identity::borne(text.to_owned().into(), ends);
        let ends = |text, ends| borne(text, ends).unwrap().ends.is_some();
        assert!(ends("tb_g_x", false) && ends("tb_g_x", true) && ends("tg_g_x", true));
        assert!(!ends("tg_g_x", false) && !ends("ba_x_y", false));
        assert!(matches!(borne("ba_x_y", true), Err(CliFault::Usage { .. })));
        assert!(matches!(borne("a\u{7f}b", false), Err(CliFault::Usage { .. })));
    }
}
