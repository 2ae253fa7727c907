//! A bundle of policies: a folder of `.cedar` files, read as it stood at one moment.
//!
//! A folder may have a manifest `bundle.toml`: a name, a version, and what its files are. With that a folder that is half copied, half
//! written or mixed from two versions is found out by what it says itself, and not only because it does not stand still.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use bailiwick_schemas::canonical::Digest;
use serde::Deserialize;

use crate::{sources::text_of, ssh_signature};

/// What a bundle says of itself.
pub(crate) const MANIFEST: &str = "bundle.toml";

/// The signature over that.
pub(crate) const SIGNATURE: &str = "bundle.toml.sig";

/// The largest bundle, bytes: all of its files together.
const LARGEST: u64 = 32 * 1024 * 1024;

/// The most files of a bundle.
const MOST: usize = 2000;

/// So deep subfolders are looked through for rules.
const DEEPEST: usize = 8;

/// So often a folder is read anew because another one took its place meanwhile.
const READINGS: usize = 5;

/// One file of a bundle, as it was found.
#[derive(Debug)]
pub(crate) struct Part {
    /// Where it is, by the name that the configuration has for its folder.
    pub(crate) path: PathBuf,
    /// What is in it, or why that can't be read.
    pub(crate) text: io::Result<String>,
}

impl Part {
    fn is_called(&self, name: &str) -> bool {
        self.path.file_name().is_some_and(|own| own == name)
    }
}

/// The name and version of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Titled {
    /// Its manifest.
    pub(crate) at: PathBuf,
    /// What it is called.
    pub(crate) name: String,
    /// Which one it is.
    pub(crate) version: String,
    /// Which of the keys of the configuration signed it, as it stands in a `.pub` file; none where nobody has to.
    pub(crate) signer: Option<String>,
}

impl fmt::Display for Titled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.name, self.version, if self.signer.is_some() { ", signed" } else { "" })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    name: String,
    version: String,
    #[serde(default)]
    files: BTreeMap<String, String>,
}

/// Reads a folder: its `.cedar` files by name, then its manifest and the signature. Blocks.
///
/// What the folder's name leads to is settled once and read by that: where one link over the whole bundle is swapped meanwhile, what is
/// returned is of one of the two, or what was found is told to be no bundle.
pub(crate) fn read(folder: &Path) -> Vec<Part> {
    for _ in 0..READINGS {
        match settled(folder) {
            Ok(before) => {
                let parts = read_all(&before);
                if settled(folder).is_ok_and(|after| after == before) {
                    return parts;
                }
            }
            Err(why) => return vec![Part { path: folder.to_owned(), text: Err(why) }],
        }
    }
    let why = io::Error::new(io::ErrorKind::Interrupted, "another folder takes its place again and again");
    vec![Part { path: folder.to_owned(), text: Err(why) }]
}

/// Each file of a folder by its name there, and what that leads to now.
fn settled(folder: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let real = fs::canonicalize(folder)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(&real)? {
        let name = entry?.file_name();
        refuse_rules_below(&real, &name)?;
        let is_rules = Path::new(&name).extension().is_some_and(|extension| extension == "cedar");
        // A rule that would be passed over in silence may be one that forbids.
        if !is_rules && Path::new(&name).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("cedar")) {
            let what = format!("`{}` is passed over by its spelling: name it `.cedar`", name.to_string_lossy());
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        if is_rules || name == MANIFEST || name == SIGNATURE {
            let at = real.join(&name);
            // What leads nowhere is told when it is read.
            found.push((folder.join(&name), fs::canonicalize(&at).unwrap_or(at)));
        }
        if found.len() > MOST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {MOST} files")));
        }
    }
    // Rules first, by name; then what is said of them.
    let is_said = |path: &Path| path.extension().is_none_or(|extension| extension != "cedar");
    found.sort_by(|(left, _), (right, _)| (is_said(left), left).cmp(&(is_said(right), right)));
    if found.first().is_none_or(|(path, _)| is_said(path)) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "there is no .cedar file in it"));
    }
    Ok(found)
}

/// Refuses a subfolder with rules in it: they would be passed over in silence, and one of them may be one that forbids. What is hidden (`.git`,
/// the copies that a mounted volume keeps) is no part of a bundle.
fn refuse_rules_below(folder: &Path, name: &OsStr) -> io::Result<()> {
    let is_hidden = name.as_encoded_bytes().starts_with(b".");
    if is_hidden || !fs::metadata(folder.join(name)).is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    let refused = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    let (mut open, mut seen) = (vec![(PathBuf::from(name), 0_usize)], 0_usize);
    while let Some((below, depth)) = open.pop() {
        for entry in fs::read_dir(folder.join(&below))? {
            let name = entry?.file_name();
            let path = below.join(&name);
            seen += 1;
            if seen > MOST || depth > DEEPEST {
                let what =
                    format!("`{}` has too much in it to be looked through for rules: take it out of the bundle", below.display());
                return refused(what);
            }
            if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("cedar")) {
                let advice = "put it right into the folder of its bundle, or name its own folder in `policy.files`";
                return refused(format!("the rules in `{}` would be passed over: {advice}", path.display()));
            }
            if !name.as_encoded_bytes().starts_with(b".") && fs::metadata(folder.join(&path)).is_ok_and(|found| found.is_dir()) {
                open.push((path, depth + 1));
            }
        }
    }
    Ok(())
}

fn read_all(files: &[(PathBuf, PathBuf)]) -> Vec<Part> {
    let mut left = LARGEST;
    files
        .iter()
        .map(|(path, real)| {
            let text = if fs::metadata(real).is_ok_and(|found| found.len() > left) {
                let why = format!("its bundle is larger than {} MiB", LARGEST / (1024 * 1024));
                Err(io::Error::new(io::ErrorKind::InvalidData, why))
            } else {
                text_of(real)
            };
            left = left.saturating_sub(text.as_ref().map_or(0, |text| text.len() as u64));
            Part { path: path.clone(), text }
        })
        .collect()
}

/// Judges a bundle by what it says of itself, and by who signed that where somebody must have (`keys` is not empty). `parts` are all of
/// one folder.
pub(crate) fn judge(folder: &Path, parts: &[&Part], keys: &[String]) -> Result<Option<Titled>, (PathBuf, io::Error)> {
    let text_of = |name: &str| parts.iter().find(|part| part.is_called(name)).and_then(|part| part.text.as_ref().ok());
    let at = folder.join(MANIFEST);
    let wrong = |why: String| (at.clone(), io::Error::new(io::ErrorKind::InvalidData, why));
    let Some(text) = text_of(MANIFEST) else {
        if keys.is_empty() {
            return Ok(None);
        }
        let why = format!(
            "it is not there, and `policy.signed_by` takes signed bundles alone: write one, and sign it into {SIGNATURE}"
        );
        return Err((at, io::Error::new(io::ErrorKind::NotFound, why)));
    };
    let mut signer = None;
    if !keys.is_empty() {
        let signature = text_of(SIGNATURE).ok_or_else(|| wrong(format!("nobody signed it: {SIGNATURE} is not there")))?;
        signer = Some(ssh_signature::verify(text.as_bytes(), signature, keys).map_err(|fault| wrong(fault.to_string()))?);
    }
    let manifest: Manifest = toml_edit::de::from_str(text).map_err(|fault| wrong(fault.message().to_owned()))?;
    if manifest.name.trim().is_empty() || manifest.version.trim().is_empty() {
        return Err(wrong("`name` and `version` must say something".to_owned()));
    }
    let rules: Vec<&&Part> = parts.iter().filter(|part| part.path.extension().is_some_and(|kind| kind == "cedar")).collect();
    if manifest.files.is_empty() {
        if keys.is_empty() {
            return Ok(Some(Titled { at, name: manifest.name, version: manifest.version, signer }));
        }
        return Err(wrong("a signed bundle lists its files with their SHA-256 under `[files]`: it has none".to_owned()));
    }
    let names: BTreeSet<String> =
        rules.iter().filter_map(|part| Some(part.path.file_name()?.to_string_lossy().into_owned())).collect();
    if let Some(missing) = manifest.files.keys().find(|name| !names.contains(*name)) {
        return Err(wrong(format!("`{missing}` is listed under `[files]` and not there: the bundle is not whole")));
    }
    for part in rules {
        let name = part.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let Some(listed) = manifest.files.get(&name) else {
            return Err(wrong(format!("`{name}` is there and not listed under `[files]`")));
        };
        let Ok(text) = &part.text else { continue };
        if *listed != sha256(text) {
            return Err(wrong(format!("`{name}` is not the file that `[files]` lists: its SHA-256 is {}", sha256(text))));
        }
    }
    Ok(Some(Titled { at, name: manifest.name, version: manifest.version, signer }))
}

/// As `sha256sum` prints it.
fn sha256(text: &str) -> String {
    let digest = Digest::of(text.as_bytes()).to_string();
    digest.strip_prefix("sha256:").unwrap_or(&digest).to_owned()
}

pub(crate) mod versions;

#[cfg(test)]
mod tests;
