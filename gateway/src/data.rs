//! The data folder: what is in it, and who may read it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The data folder of one gateway.
#[derive(Debug, Clone)]
pub struct DataFolder {
    path: PathBuf,
}

/// Why a data folder can't be used.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum DataFault {
    /// The operating system says no.
    #[error("`{path}` can't be used: {why}")]
    #[diagnostic(help("give a folder that you own with `--data DIR`"))]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What it says.
        why: io::Error,
    },
    /// Others may read or write in it.
    #[error("`{path}` is open to others (mode {mode:o}) and holds secrets: run `chmod {} {path}`", if *is_folder { "700" } else { "600" })]
    Open {
        /// Which file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// What it is.
        is_folder: bool,
    },
    /// It belongs to another user.
    #[error("`{path}` belongs to user {owner}, and this is user {us}")]
    #[diagnostic(help("run the gateway as the user that owns its data folder"))]
    Owner {
        /// Which.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        us: u32,
    },
}

impl DataFolder {
    /// The folder at `path`, made with mode 0700 if it is not there.
    pub fn open(path: &Path) -> Result<Self, DataFault> {
        let io = |why| DataFault::Io { path: path.to_owned(), why };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)?;
        let path = fs::canonicalize(path).map_err(io)?;
        check(&path, &fs::metadata(&path).map_err(|why| DataFault::Io { path: path.clone(), why })?)?;
        Ok(Self { path })
    }

    /// The folder at `path`, which a gateway made before.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The socket of the operators' commands.
    pub fn admin_socket(&self) -> PathBuf {
        self.path.join("admin.sock")
    }

    /// The socket of agents on this machine.
    pub fn agent_socket(&self) -> PathBuf {
        self.path.join("agent.sock")
    }

    /// The folder of the trail.
    pub fn trail(&self) -> PathBuf {
        self.path.join("trail")
    }

    /// The credential that commands show for whatever changes something.
    pub fn operator_credential(&self) -> PathBuf {
        self.path.join("operator.key")
    }

    /// A secret of 32 random bytes in a file of its own (0600), made if it is not there. Of several who make it at once, one does,
    /// and all get that one's.
    pub fn key(&self, name: &str, random: impl Fn() -> [u8; 32]) -> Result<[u8; 32], DataFault> {
        let path = self.path.join(name);
        let io = |why| DataFault::Io { path: path.clone(), why };
        if !path.try_exists().map_err(io)? {
            // Whole before it has its name, and never in the place of another: a link, unlike a rename, replaces nothing.
            let [a, b, c, d, ..] = random();
            let draft = self.path.join(format!("{name}.{a:02x}{b:02x}{c:02x}{d:02x}.new"));
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(io)?;
            let made = file
                .write_all(&random())
                .and_then(|()| file.sync_all())
                .and_then(|()| fs::hard_link(&draft, &path).or_else(unless_there));
            fs::remove_file(&draft).map_err(io)?;
            made.map_err(io)?;
        }
        if fs::symlink_metadata(&path).map_err(io)?.is_symlink() {
            return Err(io(io::Error::other("it is a link, and links are not followed here")));
        }
        let mut file = File::open(&path).map_err(io)?;
        check(&path, &file.metadata().map_err(io)?)?;
        let mut key = [0; 32];
        file.read_exact(&mut key).map_err(io)?;
        Ok(key)
    }

    /// Writes a file of this name (0600) with this text, unless it is there.
    pub fn write_once(&self, name: &str, text: &str) -> Result<PathBuf, DataFault> {
        let path = self.path.join(name);
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
        {
            Ok(()) => Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(path),
            Err(why) => Err(DataFault::Io { path, why }),
        }
    }
}

fn unless_there(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) }
}

fn check(path: &Path, metadata: &fs::Metadata) -> Result<(), DataFault> {
    let (mode, us) = (metadata.permissions().mode() & 0o777, rustix::process::geteuid().as_raw());
    if metadata.uid() != us {
        return Err(DataFault::Owner { path: path.to_owned(), owner: metadata.uid(), us });
    }
    if mode & 0o077 != 0 {
        return Err(DataFault::Open { path: path.to_owned(), mode, is_folder: metadata.is_dir() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    #[test]
    fn a_folder_is_made_for_its_owner_alone_and_a_key_stays() {
        let base = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&base.path().join("a/b")).unwrap();
        assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
        let first = folder.key("k", || [1; 32]).unwrap();
        assert_eq!(folder.key("k", || [2; 32]).unwrap(), first);
        assert_eq!(fs::metadata(folder.path().join("k")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_key_that_many_make_at_once_is_one_key() {
        let base = tempfile::tempdir().unwrap();
        for round in 0..20_u8 {
            let folder = DataFolder::open(&base.path().join(round.to_string())).unwrap();
            let start = std::sync::Barrier::new(8);
            let make = |who: u8| {
                start.wait();
                folder.key("k", || [who; 32]).unwrap()
            };
            let keys: Vec<[u8; 32]> = std::thread::scope(|scope| {
                let makers: Vec<_> = (0..8).map(|who| scope.spawn(move || make(who))).collect();
                makers.into_iter().map(|maker| maker.join().unwrap()).collect()
            });
            assert!(keys.iter().all(|key| *key == folder.key("k", || [9; 32]).unwrap()), "{keys:?}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no drafts are left");
        }
    }

    #[test]
    fn what_others_can_read_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("open");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(DataFolder::open(&path), Err(DataFault::Open { mode: 0o750, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        let folder = DataFolder::open(&path).unwrap();
        folder.key("k", || [1; 32]).unwrap();
        fs::set_permissions(path.join("k"), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(folder.key("k", || [1; 32]), Err(DataFault::Open { mode: 0o644, .. })));
    }

    #[test]
    fn a_key_cut_short_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&base.path().join("d")).unwrap();
        folder.key("k", || [1; 32]).unwrap();
        fs::write(folder.path().join("k"), [1; 5]).unwrap();
        assert!(matches!(folder.key("k", || [1; 32]), Err(DataFault::Io { .. })));
    }
}
