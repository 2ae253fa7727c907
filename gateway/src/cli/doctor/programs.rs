//! What the configuration names: programs and what runs them, secrets, policy files; and who could change them.

use std::{
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use bailiwick_config::{Connector, Fault, PolicyFile, Process, Program};

use super::{Findings, Places};
use crate::cli::{Session, check, places::quoted};

/// Where a program is looked for that got no `PATH` (what glibc's execvp falls back to).
const USUAL_PATH: &str = "/bin:/usr/bin";

pub(super) fn look(places: &Places<'_>, session: &Session, findings: &mut Findings) {
    let config = places.config;
    for fault in config.check_presence(session.places.data.path(), |sought| check::look(sought, config, session)) {
        missing(&fault, places, findings);
    }
    for connector in &config.connectors {
        interpreter(connector, places, findings);
    }
    let own = session.places.config.iter().map(|path| (path.as_path(), "the configuration"));
    let policies = config.policy.files.iter().map(|file| match file {
        PolicyFile::One(path) => (path.as_path(), "a policy file"),
        PolicyFile::AllIn(folder) | PolicyFile::Shadow(folder) => (folder.as_path(), "the folder of the policies"),
    });
    for (path, what) in own.chain(policies) {
        changeable(path, what, findings);
    }
}

/// Something that is named and isn't there, or isn't fit for use.
fn missing(fault: &Fault, places: &Places<'_>, findings: &mut Findings) {
    let line = fault.line_and_column().map(|(line, _)| format!("{}:{line}", places.file));
    let place = line.or_else(|| fault.variable().map(str::to_owned)).unwrap_or_else(|| fault.key());
    findings.fault("missing", place, fault.to_string(), fault.advice().unwrap_or("mend it, or leave it out"));
}

/// Whoever may write it may decide who is allowed what.
fn changeable(path: &Path, what: &str, findings: &mut Findings) {
    let Ok(found) = fs::metadata(path) else { return };
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        let what = format!("{what} can be changed by others (mode {mode:o}), and decides who is allowed what");
        findings.fault("changeable", path.display().to_string(), what, format!("chmod go-w {}", quoted(path)));
    }
}

/// A script whose interpreter isn't there fails with words that name the script.
fn interpreter(connector: &Connector, places: &Places<'_>, findings: &mut Findings) {
    let Some(Process { program: Program::Path(program), env, .. }) = connector.process() else { return };
    let Some(line) = shebang(program) else { return };
    let mut words = line.split_whitespace();
    let Some(interpreter) = words.next() else { return };
    let place = places.entry("connectors", connector.id.as_str());
    let script = program.display();
    if !is_program(Path::new(interpreter)) {
        let what = format!("`{interpreter}`, which runs `{script}` of connector `{}`, is not there", connector.id);
        findings.fault("interpreter", place, what, "install it, or correct the first line of the script");
        return;
    }
    // `env` looks in the PATH that the server gets, which is not that of anybody's shell.
    let named = words.find(|word| !word.starts_with('-') && !word.contains('='));
    let (true, Some(named)) = (interpreter.ends_with("/env"), named) else { return };
    let path = env.get("PATH");
    let folders = path.map_or(USUAL_PATH, String::as_str);
    if !folders.split(':').any(|folder| is_program(&Path::new(folder).join(named))) {
        let what = format!(
            "`{named}`, which runs `{script}` of connector `{}`, is not in the PATH that it gets ({folders})",
            connector.id
        );
        let remedy = match path {
            Some(_) => format!(
                "install `{named}` there, or add its folder (`dirname $(command -v {named})`) to `env.PATH` of the connector"
            ),
            None => format!("set it: env = {{ PATH = \"…:{USUAL_PATH}\" }} with the folder that `command -v {named}` shows"),
        };
        findings.fault("interpreter", place, what, remedy);
    }
}

/// The first line of a script, after `#!`.
fn shebang(program: &Path) -> Option<String> {
    let read = |program: &Path| -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        BufReader::new(File::open(program)?.take(512)).read_until(b'\n', &mut line)?;
        Ok(line)
    };
    let line = read(program).ok()?;
    let text = String::from_utf8_lossy(line.strip_prefix(b"#!")?).trim().to_owned();
    Some(text)
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    fn found(first_line: &str, env: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("server");
        fs::write(&script, format!("{first_line}\nexit 0\n")).unwrap();
        let text = format!("[[connectors]]\nid = \"s\"\ncommand = [\"{}\"]\n{env}\n", script.display());
        let config = bailiwick_config::load("config.toml".as_ref(), text, []).unwrap();
        let places = Places { config: &config, file: "config.toml".to_owned() };
        let mut findings = Findings::default();
        config.connectors.iter().for_each(|connector| interpreter(connector, &places, &mut findings));
        findings.0.into_iter().map(|finding| format!("{} {}", finding.place, finding.what)).collect()
    }

    #[test]
    fn a_script_without_its_interpreter_is_found_by_the_path_that_it_gets() {
        assert!(found("#!/bin/sh", "").is_empty());
        assert!(found("#!/usr/bin/env sh", "").is_empty());
        assert!(found("\u{7f}ELF", "").is_empty());
        let absent = found("#!/opt/none/python3 -I", "");
        assert!(absent.len() == 1 && absent.concat().starts_with("config.toml:2 `/opt/none/python3`"), "{absent:?}");
        let elsewhere = found("#!/usr/bin/env -S sh -e", "env = { PATH = \"/nowhere\" }");
        assert!(elsewhere.len() == 1 && elsewhere.concat().contains("`sh`, which runs"), "{elsewhere:?}");
    }
}
