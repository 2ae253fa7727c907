use std::{collections::BTreeSet, path::PathBuf};

use super::super::environment;
use crate::{code::FaultCode, fault::Findings, provider::Exec, raw::RawExec, source::KeyPath};

pub(super) fn exec(raw: &RawExec, path: &KeyPath, findings: &mut Findings<'_>) -> Option<Exec> {
    let mut env = BTreeSet::new();
    for (index, name) in raw.env.iter().enumerate() {
        let at = path.key("env").item(index);
        if !environment::is_name(name) {
            let fault = findings.value(&at, FaultCode::BadName, format!("`{name}` is no name of a variable"));
            fault.help("use letters, digits and `_`, a letter or `_` first");
        } else if environment::is_dangerous(name) {
            let message = format!("`{name}` would change which code the program runs");
            findings.value(&at, FaultCode::DangerousVariable, message).help("leave it out");
        } else if !env.insert(name.clone()) {
            findings.value(&at, FaultCode::Duplicate, format!("`{name}` is named twice")).help("name it once");
        }
    }
    let max_ttl = super::longest(raw.max_ttl, &path.key("max_ttl"), findings);
    let command = raw.command.as_deref()?;
    let here = path.key("command");
    let Some((program, arguments)) = command.split_first() else {
        findings.value(&here, FaultCode::EmptyList, "`command` is an empty list").help("write the program, and its arguments");
        return None;
    };
    if !program.starts_with('/') {
        let fault = findings.value(&here.item(0), FaultCode::BadText, format!("`{program}` is no absolute path of a program"));
        fault.help("write the whole path: nothing is looked for in `PATH`");
    }
    for (index, text) in command.iter().enumerate().filter(|(_, text)| text.contains('\0')) {
        let fault = findings.value(&here.item(index), FaultCode::BadText, format!("`{}` has a NUL in it", text.escape_debug()));
        fault.help("no program can be given that");
    }
    Some(Exec { program: PathBuf::from(program), arguments: arguments.to_vec(), env, revocable: raw.revocable, max_ttl })
}
