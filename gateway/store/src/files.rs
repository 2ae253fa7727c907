//! The files of the store: private to the user that runs the gateway, and to one gateway at a time.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::{fault::StoreFault, random};

const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;

/// The folder, made if need be; refused where others could put files into it.
pub(crate) fn folder(path: &Path) -> Result<PathBuf, StoreFault> {
    let fault = |fault| StoreFault::Files { path: path.to_owned(), fault };
    if !path.exists() {
        DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path).map_err(fault)?;
    }
    let path = path.canonicalize().map_err(fault)?;
    let seen = fs::metadata(&path).map_err(|fault| StoreFault::Files { path: path.clone(), fault })?;
    if !seen.is_dir() {
        return Err(StoreFault::NotPlain { path, wanted: "folder" });
    }
    let mode = seen.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(StoreFault::Exposed { path, mode, wanted: FOLDER_MODE });
    }
    Ok(path)
}

/// Makes the file, empty and private, unless it is there; refuses one that others can open. Says whether it was made.
pub(crate) fn private(path: &Path) -> Result<bool, StoreFault> {
    let made = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path);
    match made {
        Ok(_) => {}
        Err(found) if found.kind() == io::ErrorKind::AlreadyExists => {
            return examine(path).map(|()| false);
        }
        Err(fault) => {
            return Err(StoreFault::Files { path: path.to_owned(), fault });
        }
    }
    examine(path).map(|()| true)
}

/// Refuses what is no plain file, and a file that others can open. A file that is not there is fine.
pub(crate) fn examine(path: &Path) -> Result<(), StoreFault> {
    let seen = match fs::symlink_metadata(path) {
        Ok(seen) => seen,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(fault) => {
            return Err(StoreFault::Files { path: path.to_owned(), fault });
        }
    };
    if !seen.is_file() {
        return Err(StoreFault::NotPlain { path: path.to_owned(), wanted: "file" });
    }
    let us = rustix::process::geteuid().as_raw();
    if seen.uid() != us {
        return Err(StoreFault::Owner { path: path.to_owned(), owner: seen.uid(), us });
    }
    let mode = seen.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(StoreFault::Exposed { path: path.to_owned(), mode, wanted: FILE_MODE });
    }
    Ok(())
}

/// Whether the file is shorter than any database with something in it (`sqlite.org/fileformat2.html`: pages have at least 512 bytes).
pub(crate) fn is_cut_off(path: &Path) -> Result<bool, StoreFault> {
    let seen = fs::metadata(path).map_err(|fault| StoreFault::Files { path: path.to_owned(), fault })?;
    Ok(seen.len() < 512)
}

/// Holds the folder for this store alone, until the returned file is closed or the process ends.
pub(crate) fn lock(path: &Path) -> Result<File, StoreFault> {
    private(path)?;
    let fault = |fault| StoreFault::Files { path: path.to_owned(), fault };
    let file = OpenOptions::new().write(true).open(path).map_err(fault)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreFault::Held { path: path.to_owned() }),
        Err(TryLockError::Error(why)) => Err(fault(why)),
    }
}

/// The 32 bytes of a key file, which is made at first.
pub(crate) fn key(path: &Path) -> Result<zeroize::Zeroizing<[u8; 32]>, StoreFault> {
    let fault = |fault| StoreFault::Files { path: path.to_owned(), fault };
    // A link that leads nowhere is there too, and is refused.
    if fs::symlink_metadata(path).is_err() {
        make_key(path)?;
    }
    examine(path)?;
    let mut bytes = zeroize::Zeroizing::new(Vec::with_capacity(64));
    File::open(path).and_then(|file| file.take(64).read_to_end(&mut bytes)).map_err(fault)?;
    let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| StoreFault::Key { path: path.to_owned() })?;
    Ok(zeroize::Zeroizing::new(key))
}

/// Written beside its place and then renamed: a crash leaves a whole key or none.
fn make_key(path: &Path) -> Result<(), StoreFault> {
    let fault = |fault| StoreFault::Files { path: path.to_owned(), fault };
    let bytes = zeroize::Zeroizing::new(random::bytes::<32>().map_err(|_| StoreFault::Randomness)?);
    let draft = path.with_extension("new");
    match fs::remove_file(&draft) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
        done => done.map_err(fault)?,
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&draft).map_err(fault)?;
    file.write_all(bytes.as_slice()).and_then(|()| file.sync_all()).map_err(fault)?;
    fs::rename(&draft, path).map_err(fault)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all()).map_err(fault)
}
