//! Sets of files as editors, mounts and accidents leave them.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::{fs, os::unix::fs::symlink};

use super::*;

const RULE: &str = "@id(\"r\") forbid (principal, action, resource);\n";

fn origin(folder: &Path, config: &str) -> Origin {
    let file = folder.join("config.toml");
    fs::write(&file, config).unwrap();
    Origin { file: Some(file), environment: BTreeMap::new() }
}

fn wrong(origin: &Origin) -> String {
    read(origin, &[]).sources.unwrap_err().to_string()
}

#[test]
fn a_set_is_its_configuration_and_the_policies_it_names() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("p")).unwrap();
    for name in ["p/b.cedar", "p/a.cedar", "c.cedar"] {
        fs::write(folder.path().join(name), RULE).unwrap();
    }
    let origin = origin(folder.path(), "[policy]\nfiles = [\"p/*.cedar\", \"c.cedar\"]\n");
    let reading = read(&origin, &[]);
    let sources = reading.sources.unwrap();
    let names: Vec<_> = sources.policies.iter().map(|policy| policy.name.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["default", "a.cedar", "b.cedar", "c.cedar"]);
    assert_eq!(reading.snapshot, look(&origin, &reading.watched));
    let (at_start, files) = policies_at_once(&sources.config).unwrap();
    assert_eq!((reading.snapshot.clone(), at_start.policies.len()), (files.with(&origin, &sources.config), 4));
    let before = reading.snapshot.digest();
    fs::remove_file(folder.path().join("p/b.cedar")).unwrap();
    assert_ne!(look(&origin, &reading.watched).digest(), before);
}

#[test]
fn one_link_over_the_whole_set_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    for (name, owner) in [("one", "a@example.com"), ("two", "b@example.com")] {
        let at = folder.path().join(name);
        fs::create_dir(&at).unwrap();
        fs::write(
            at.join("config.toml"),
            format!("[[agents]]\nid = \"a\"\nowner = \"{owner}\"\n[policy]\nfiles = [\"p.cedar\"]\n"),
        )
        .unwrap();
        fs::write(at.join("p.cedar"), format!("// {name}\n{RULE}")).unwrap();
    }
    symlink("one", folder.path().join("data")).unwrap();
    let origin = Origin { file: Some(folder.path().join("data/config.toml")), environment: BTreeMap::new() };
    let told = |sources: &Sources| {
        let policy = sources.policies.last().unwrap().text.lines().next().unwrap().to_owned();
        (sources.config.agents.first().unwrap().agent.owner.clone(), policy)
    };
    let first = read(&origin, &[]);
    assert_eq!(told(&first.sources.unwrap()), ("a@example.com".to_owned(), "// one".to_owned()));
    symlink("two", folder.path().join("fresh")).unwrap();
    fs::rename(folder.path().join("fresh"), folder.path().join("data")).unwrap();
    assert_ne!(look(&origin, &first.watched), first.snapshot);
    assert_eq!(told(&read(&origin, &[]).sources.unwrap()), ("b@example.com".to_owned(), "// two".to_owned()));
}

#[test]
fn what_is_no_configuration_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for empty in ["", "\n\n", "# nothing\n"] {
        assert!(wrong(&origin(path, empty)).contains("is empty"));
    }
    assert!(wrong(&origin(path, "[server]\nlisten = \"127.0.0")).contains("has a fault"));
    let named = origin(path, "[policy]\nfiles = [\"p.cedar\"]\n");
    assert!(wrong(&named).contains("p.cedar"), "missing");
    fs::write(path.join("p.cedar"), "// no rule\n").unwrap();
    assert!(wrong(&named).contains("there is no rule in it"));
    File::create(path.join("p.cedar")).unwrap().set_len(LARGEST + 1).unwrap();
    assert!(wrong(&named).contains("larger than 8 MiB"));
    fs::remove_file(path.join("p.cedar")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, path.join("p.cedar"), 0o600.into()).unwrap();
    assert!(wrong(&named).contains("not a file"), "a pipe is not waited for");
    fs::remove_file(named.file.as_ref().unwrap()).unwrap();
    assert!(wrong(&named).contains("can't be read"));
}

#[test]
fn a_configuration_that_does_not_read_keeps_its_policies_in_sight() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.cedar"), RULE).unwrap();
    let origin = origin(folder.path(), "[policy]\nfiles = [\"p.cedar\"]\n");
    let watched = read(&origin, &[]).watched;
    fs::write(origin.file.as_ref().unwrap(), "[policy").unwrap();
    let reading = read(&origin, &watched);
    assert!(reading.sources.is_err());
    assert_eq!((reading.watched, reading.snapshot.0.len()), (watched, 2));
}
