//! Who else could change the program of a connector.

use std::{os::unix::fs::MetadataExt, path::Path};

/// Who else could change what this program is, in words; none if only its own user and root can. Looked at are the file and the folders
/// above it, links resolved.
pub fn changeable(program: &Path) -> Option<String> {
    let real = std::fs::canonicalize(program).ok()?;
    real.ancestors().find_map(|path| {
        let found = std::fs::metadata(path).ok()?;
        let us = rustix::process::geteuid().as_raw();
        // In a sticky folder everybody may add, and nobody may replace.
        let is_open = found.mode() & 0o002 != 0 && !(found.is_dir() && found.mode() & 0o1000 != 0);
        let which = if path == real { "it".to_owned() } else { format!("the folder `{}`", path.display()) };
        if is_open {
            Some(format!("can be changed by everybody: `chmod o-w` {which}"))
        } else if found.uid() != 0 && found.uid() != us {
            Some(format!("can be changed by user {}, who owns {which}", found.uid()))
        } else {
            None
        }
    })
}
