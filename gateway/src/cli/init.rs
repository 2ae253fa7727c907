//! `init`: writes a first configuration.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use bailiwick_config::START;

use super::{
    args::{InitArgs, PlaceArgs},
    fault::CliFault,
    places::quoted,
    screen::{Page, Screen},
    surroundings::Surroundings,
};

/// Does it.
pub(super) fn run(init: &InitArgs, places: &PlaceArgs, around: &Surroundings) -> Result<(), CliFault> {
    let given = init.path.clone().or_else(|| places.config.clone()).unwrap_or_else(|| "config.toml".into());
    let given = if around.absolute(&given).is_dir() { given.join("config.toml") } else { given };
    let path = around.absolute(&given);
    check_folder(&path)?;
    write(&path).map_err(|why| refused(&given, &path, why))?;
    Screen::new(around).answer(&next(&given, &path, places, around))
}

/// The folder must be there: a mistyped path is not made into one.
fn check_folder(path: &Path) -> Result<(), CliFault> {
    let folder = path.parent().unwrap_or(path);
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(CliFault::refused(&format!("`{}` is not a folder", folder.display()), Some("name a file in a folder"))),
        Err(why) => {
            let what = format!("the folder `{}` can't be used: {why}", folder.display());
            Err(CliFault::refused(&what, Some(&format!("make it first: mkdir -p {}", quoted(folder)))))
        }
    }
}

/// Whole or not at all, for its owner alone, and never in the place of another.
fn write(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = file.write_all(START.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // What was begun is ours, and of no use.
        let _gone = fs::remove_file(path);
    }
    written
}

fn refused(given: &Path, path: &Path, why: io::Error) -> CliFault {
    if why.kind() != io::ErrorKind::AlreadyExists {
        return CliFault::System { what: format!("`{}` can't be written", path.display()), why };
    }
    let is_usual = given == Path::new("config.toml");
    let config = if is_usual { String::new() } else { format!(" --config {}", quoted(given)) };
    let help = format!(
        "go on with it: `bailiwick{config} check` says whether it is right. To begin anew, move it away or name another file: `bailiwick init PATH`"
    );
    CliFault::refused(&format!("`{}` is there already, and is left as it is", path.display()), Some(&help))
}

/// What was written, and what to type next.
fn next(given: &Path, path: &Path, places: &PlaceArgs, around: &Surroundings) -> String {
    let mut command = quoted(&around.own_binary);
    if path != around.folder.join("config.toml") {
        command.extend([" --config ", &quoted(given)]);
    }
    if let Some(data) = &places.data {
        command.extend([" --data ", &quoted(data)]);
    }
    let rows = [
        ("check", "what is wrong in it, with the line"),
        ("doctor", "what is missing on this machine"),
        ("run", "serve"),
        ("connectors pin ID", "look at the tools of a server, and accept them"),
    ];
    let mut text = Page::of(format!(
        "wrote {}: it is valid as it is, and lets nobody do anything yet\n\nnext: take up its examples (an agent, a connector, a grant) in an editor, then\n",
        path.display()
    ));
    for (typed, does) in rows {
        text.add(format_args!("  {command} {typed:<18}  # {does}\n"));
    }
    text.into_text()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn init(folder: &Path, path: Option<&str>) -> Result<(), CliFault> {
        let around = Surroundings { folder: folder.into(), own_binary: "/opt/bailiwick".into(), ..Surroundings::default() };
        run(&InitArgs { path: path.map(Into::into) }, &PlaceArgs::default(), &around)
    }

    #[test]
    fn it_is_written_once_and_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), None).unwrap();
        let path = folder.path().join("config.toml");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "mine").unwrap();
        let fault = init(folder.path(), None).unwrap_err();
        assert!(fault.to_string().contains("is there already") && fault.exit_code() == 1, "{fault}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    }

    #[test]
    fn a_link_is_not_followed_and_a_folder_not_made() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), folder.path().join("config.toml")).unwrap();
        assert!(init(folder.path(), None).is_err() && !folder.path().join("elsewhere").exists());
        let fault = init(folder.path(), Some("no/such/c.toml")).unwrap_err();
        assert!(fault.to_string().contains("no/such` can't be used") && !folder.path().join("no").exists(), "{fault}");
        fs::create_dir(folder.path().join("in")).unwrap();
        init(folder.path(), Some("in")).unwrap();
        assert!(folder.path().join("in/config.toml").is_file());
    }
}
