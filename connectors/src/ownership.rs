//! Who else could change the program of a connector.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Component, Path, PathBuf},
};

/// A path that leads through more links than this leads nowhere (as the kernel sees it too).
const LINKS: usize = 40;

/// Who else could change what this program is, in words; none if only its own user and root can. Looked at is every step of the way to
/// it, as it is written: each folder, each link, where that leads, and the file itself.
pub fn changeable(program: &Path) -> Option<String> {
    let Ok(program) = std::path::absolute(program) else {
        return Some("could be anything: write its whole path".to_owned());
    };
    let mut at = PathBuf::from("/");
    // What is still to be walked, the next step last.
    let mut ahead = steps(&program);
    let mut links = 0;
    if let Some(found) = judge(&at, &program) {
        return Some(found);
    }
    while let Some(step) = ahead.pop() {
        match Path::new(&step).components().next() {
            Some(Component::Normal(name)) => at.push(name),
            Some(Component::RootDir) => at = PathBuf::from("/"),
            // Links are resolved by now: what is above is what is written above.
            Some(Component::ParentDir) => drop(at.pop()),
            _ => {}
        }
        if let Some(found) = judge(&at, &program) {
            return Some(found);
        }
        if at.is_symlink() {
            links += 1;
            let Some(target) = std::fs::read_link(&at).ok().filter(|_| links <= LINKS) else {
                return Some(format!("leads nowhere that can be judged: write the path that `{}` stands for", at.display()));
            };
            at.pop();
            ahead.extend(steps(&target));
        }
    }
    None
}

/// The steps of a path, the first one last.
fn steps(path: &Path) -> Vec<PathBuf> {
    path.components().rev().map(|step| PathBuf::from(step.as_os_str())).collect()
}

/// Who else could change what is at this step, in words.
fn judge(at: &Path, program: &Path) -> Option<String> {
    let which = if at == program { "it".to_owned() } else { format!("`{}`", at.display()) };
    match std::fs::symlink_metadata(at) {
        Ok(found) => {
            judge_step(&Step::of(&found), rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw(), &which)
        }
        Err(fault) => Some(format!("could be changed by anybody, for all that is known: {which} can't be looked at ({fault})")),
    }
}

/// What decides who can change something.
struct Step {
    is_link: bool,
    is_folder: bool,
    mode: u32,
    owner: u32,
    group: u32,
}

impl Step {
    fn of(found: &Metadata) -> Self {
        Self {
            is_link: found.is_symlink(),
            is_folder: found.is_dir(),
            mode: found.mode(),
            owner: found.uid(),
            group: found.gid(),
        }
    }
}

fn judge_step(step: &Step, own_user: u32, own_group: u32, which: &str) -> Option<String> {
    // In a sticky folder everybody may add, and nobody may replace. The mode of a link means nothing.
    let is_closed = step.is_link || (step.is_folder && step.mode & 0o1000 != 0);
    if !is_closed && step.mode & 0o002 != 0 {
        return Some(format!("can be changed by everybody: `chmod o-w` {which}"));
    }
    if !is_closed && step.mode & 0o020 != 0 && step.group != 0 && step.group != own_group {
        return Some(format!("can be changed by group {}: `chmod g-w` {which}", step.group));
    }
    if step.owner != 0 && step.owner != own_user {
        return Some(format!("can be changed by user {}, who owns {which}", step.owner));
    }
    None
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    fn folder(path: &Path, mode: u32) {
        fs::create_dir_all(path).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn program(path: &Path, mode: u32) {
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_link_is_no_better_than_the_folder_that_it_lies_in() {
        let dir = tempfile::tempdir().unwrap();
        let (safe, open) = (dir.path().join("safe"), dir.path().join("open"));
        folder(&safe, 0o755);
        folder(&open, 0o777);
        program(&safe.join("run"), 0o755);
        assert_eq!(changeable(&safe.join("run")), None);
        // Absolute, relative, of a folder, and through another link that is fine by itself.
        symlink(safe.join("run"), open.join("run")).unwrap();
        symlink("../safe", open.join("folder")).unwrap();
        symlink("../open/run", safe.join("twice")).unwrap();
        for way in [open.join("run"), open.join("folder/run"), safe.join("twice"), safe.join("../open/run")] {
            let why = changeable(&way).unwrap();
            assert!(why.contains("by everybody") && why.contains("open`"), "{}: {why}", way.display());
        }
        // As the same ways are fine once the folder is.
        folder(&open, 0o755);
        for way in [open.join("run"), open.join("folder/run"), safe.join("twice"), safe.join("../open/run")] {
            assert_eq!(changeable(&way), None, "{}", way.display());
        }
        // Where anybody may add and nobody replace, a link of our own stays ours.
        folder(&open, 0o1777);
        assert_eq!(changeable(&open.join("run")), None);
    }

    #[test]
    fn what_can_not_be_judged_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        assert!(changeable(&dir.path().join("none/run")).unwrap().contains("can't be looked at"));
        symlink(dir.path().join("b"), dir.path().join("a")).unwrap();
        symlink(dir.path().join("a"), dir.path().join("b")).unwrap();
        assert!(changeable(&dir.path().join("a")).unwrap().contains("leads nowhere"));
    }

    #[test]
    fn a_program_that_others_write_is_changeable_and_one_that_they_read_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        program(&path, 0o755);
        assert_eq!(changeable(&path), None);
        program(&path, 0o757);
        assert_eq!(changeable(&path).unwrap(), "can be changed by everybody: `chmod o-w` it");
    }

    #[test]
    fn owners_and_groups_are_root_or_our_own() {
        let file = |mode, owner, group| Step { is_link: false, is_folder: false, mode, owner, group };
        let judged = |step: Step| judge_step(&step, 1000, 1000, "it");
        for fine in [file(0o755, 0, 0), file(0o755, 1000, 1000), file(0o775, 0, 0), file(0o775, 1000, 1000), file(0o755, 0, 50)] {
            assert_eq!(judged(fine), None);
        }
        assert_eq!(judged(file(0o775, 0, 50)).unwrap(), "can be changed by group 50: `chmod g-w` it");
        assert_eq!(judged(file(0o757, 0, 0)).unwrap(), "can be changed by everybody: `chmod o-w` it");
        assert_eq!(judged(file(0o755, 1001, 0)).unwrap(), "can be changed by user 1001, who owns it");
        let link = |owner| Step { is_link: true, is_folder: false, mode: 0o777, owner, group: 50 };
        assert_eq!((judged(link(0)), judged(link(1000))), (None, None));
        assert!(judged(link(1001)).unwrap().contains("user 1001"));
        let sticky = |owner| Step { is_link: false, is_folder: true, mode: 0o1777, owner, group: 50 };
        assert_eq!(judged(sticky(0)), None);
        assert!(judged(sticky(1001)).unwrap().contains("user 1001"));
    }
}
