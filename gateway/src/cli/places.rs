//! Which configuration and which data folder a command is about.

use std::path::{Path, PathBuf};

use bailiwick_config::{Config, DEMO};

use super::{args::PlaceArgs, fault::CliFault, surroundings::Surroundings};
use crate::data::DataFolder;

/// Which configuration and which data folder.
#[derive(Debug, Clone)]
pub struct Places {
    /// The configuration file; none for the embedded demo.
    pub config: Option<PathBuf>,
    /// The data folder.
    pub data: DataFolder,
    /// How to start a gateway on them, as a person would type it.
    pub start: String,
    /// The program as a person would type it for the same places: with `--config` and `--data` as they were given.
    pub again: String,
}

impl Places {
    /// Settles them: what was typed, else what is there, else the demo (`design.md` 9).
    pub fn settle(given: &PlaceArgs, around: &Surroundings) -> Result<Self, CliFault> {
        let beside = around.folder.join("config.toml");
        let config = match &given.config {
            Some(file) => Some(around.absolute(file)),
            None => beside.is_file().then_some(beside),
        };
        let data = match &given.data {
            Some(folder) => around.absolute(folder),
            None => usual_data(config.is_none(), around)?,
        };
        let mut again = quoted(&around.own_binary);
        for (option, path) in [("--config", &given.config), ("--data", &given.data)] {
            if let Some(path) = path {
                again.extend([" ", option, " ", &quoted(path)]);
            }
        }
        Ok(Self { start: format!("{again} run"), again, config, data: DataFolder::at(&data) })
    }

    /// The configuration, read and checked.
    pub fn load(&self, around: &Surroundings) -> Result<Config, CliFault> {
        let environment = || around.environment.clone();
        let Some(path) = &self.config else {
            return bailiwick_config::embedded(DEMO, environment()).map_err(CliFault::from);
        };
        let text = std::fs::read_to_string(path).map_err(|why| CliFault::Config { path: path.clone(), why })?;
        Ok(bailiwick_config::load(path, text, environment())?)
    }

    /// How the configuration is called in messages.
    pub fn config_name(&self) -> String {
        self.config.as_ref().map_or_else(|| "embedded demo".to_owned(), |path| path.display().to_string())
    }
}

fn usual_data(is_demo: bool, around: &Surroundings) -> Result<PathBuf, CliFault> {
    // A relative one is to be ignored (XDG Base Directory Specification).
    let base = around.variable("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || around.variable("HOME").map(|home| Path::new(home).join(".local/share"));
    let base = base.or_else(home).ok_or(CliFault::NoHome)?;
    let data = base.join("bailiwick");
    Ok(if is_demo { data.join("demo") } else { data })
}

/// A path as a shell takes it.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%=".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn around(folder: &Path) -> Surroundings {
        let environment = [("HOME".to_owned(), "/home/a".to_owned())];
        let own_binary = "/opt/bailiwick".into();
        Surroundings { environment: environment.into(), folder: folder.into(), own_binary, ..Surroundings::default() }
    }

    #[test]
    fn the_demo_keeps_its_own_folder() {
        let folder = tempfile::tempdir().unwrap();
        let mut around = around(folder.path());
        let demo = Places::settle(&PlaceArgs::default(), &around).unwrap();
        assert_eq!((demo.config, demo.data.path()), (None, Path::new("/home/a/.local/share/bailiwick/demo")));
        assert_eq!(demo.start, "/opt/bailiwick run");
        around.environment.insert("XDG_DATA_HOME".into(), "/x".into());
        std::fs::write(folder.path().join("config.toml"), "").unwrap();
        let own = Places::settle(&PlaceArgs::default(), &around).unwrap();
        assert_eq!((own.config, own.data.path()), (Some(folder.path().join("config.toml")), Path::new("/x/bailiwick")));
        around.environment.insert("XDG_DATA_HOME".into(), "x".into());
        assert_eq!(
            Places::settle(&PlaceArgs::default(), &around).unwrap().data.path(),
            Path::new("/home/a/.local/share/bailiwick")
        );
    }

    #[test]
    fn what_was_typed_is_what_is_told_to_type() {
        let given = PlaceArgs { config: Some("my config.toml".into()), data: Some("d".into()) };
        let places = Places::settle(&given, &around(Path::new("/w"))).unwrap();
        assert_eq!(places.config, Some("/w/my config.toml".into()));
        assert_eq!(places.data.path(), Path::new("/w/d"));
        assert_eq!(places.start, "/opt/bailiwick --config 'my config.toml' --data d run");
    }

    #[test]
    fn without_a_home_the_folder_must_be_named() {
        let around = Surroundings { folder: "/w".into(), ..Surroundings::default() };
        assert!(matches!(Places::settle(&PlaceArgs::default(), &around), Err(CliFault::NoHome)));
        let given = PlaceArgs { data: Some("/d".into()), ..PlaceArgs::default() };
        assert!(Places::settle(&given, &around).is_ok());
    }
}
