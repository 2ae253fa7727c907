//! `policy new`: writes rules to begin with, and the cases that say what they mean.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use bailiwick_policy::Template;

use super::{Session, args::NewArgs, fault::CliFault, places::quoted, screen::Page};

/// Does it. What is there already is left as it is, all of it.
pub(super) fn run(new: &NewArgs, session: &Session) -> Result<(), CliFault> {
    let template = new.template.template();
    let folder = session.around.absolute(&new.folder);
    let failed = |what: &Path, why: io::Error| {
        let help = "name a folder that is not there yet, or an empty one";
        CliFault::refused(&format!("`{}` can't be written: {why}", what.display()), Some(help))
    };
    fs::create_dir_all(&folder).map_err(|why| failed(&folder, why))?;
    let taken = template.files.iter().map(|(name, _)| folder.join(name)).find(|path| path.symlink_metadata().is_ok());
    if let Some(taken) = taken {
        let help = "name another folder: nothing was written";
        return Err(CliFault::refused(&format!("`{}` is there already, and is left as it is", taken.display()), Some(help)));
    }
    for (name, text) in template.files {
        let path = folder.join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(|why| failed(&path, why))?;
        file.write_all(text.as_bytes()).map_err(|why| failed(&path, why))?;
    }
    session.screen.answer(&next(template, &new.folder))
}

fn next(template: &Template, folder: &Path) -> String {
    let mut text = Page::of(format!("wrote {}: {}\n\n", template.name, template.about));
    text.add(format_args!("  {}  the rules\n", quoted(&folder.join("rules.cedar"))));
    text.add(format_args!(
        "  {}   what they are to say: bailiwick policy test {}\n",
        quoted(&folder.join("tests.toml")),
        quoted(folder)
    ));
    text.into_text()
}
