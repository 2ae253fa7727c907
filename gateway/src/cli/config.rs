//! `config show`: what is in force, and who says so.

use bailiwick_config::{Config, Origin, Setting};
use serde_json::{Value, json};

use super::{
    Session,
    args::ShowArgs,
    fault::CliFault,
    screen::{Table, lines, short},
};

/// Shows it: as a file that loads again, or value by value.
pub(super) fn show(show: ShowArgs, session: &Session) -> Result<(), CliFault> {
    let config = match session.places.load(&session.around) {
        Err(CliFault::ConfigFaults(faults)) if show.form.json => {
            session.screen.json(&faults.to_json())?;
            return Err(CliFault::Said);
        }
        config => config?,
    };
    let file = session.places.config_name();
    if show.form.json {
        return session.screen.json(&config.settings().iter().map(|setting| as_json(setting, &file)).collect());
    }
    if show.origin {
        return session.screen.answer(&table(&config, &file).to_string());
    }
    session.screen.answer(&lines(&format!("{}{}", heading(session), config.to_toml())))
}

/// What the reader has to know of the rest, as a comment of it.
fn heading(session: &Session) -> String {
    match &session.places.config {
        Some(path) => format!(
            "# In force: the defaults, then {}, then variables of the environment.\n# Relative paths start from {}.\n\n",
            path.display(),
            path.parent().unwrap_or(path).display()
        ),
        None => "# The embedded demo: `@self` and `@data/…` mean something only there. `bailiwick init` writes a file of your own.\n\n"
            .to_owned(),
    }
}

fn table(config: &Config, file: &str) -> Table {
    let mut table = Table::new(&["KEY", "VALUE", "FROM"]);
    for setting in config.settings() {
        table.row([&setting.key, &short(&toml(&setting.value), 70), &place(&setting.origin, file)]);
    }
    table
}

/// The file's own name: the folder of it is known to whoever asks.
fn place(origin: &Origin, file: &str) -> String {
    match origin {
        Origin::Default => "default".to_owned(),
        Origin::File { line } => format!("{}:{line}", file.rsplit('/').next().unwrap_or(file)),
        Origin::Variable(name) => name.clone(),
    }
}

/// A value as it is written in the file, near enough to be read.
fn toml(value: &Value) -> String {
    match value {
        Value::Object(table) => {
            let pairs: Vec<String> = table.iter().map(|(key, value)| format!("{key} = {}", toml(value))).collect();
            if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) }
        }
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

fn as_json(setting: &Setting, file: &str) -> Value {
    let (state, line, variable) = match &setting.origin {
        Origin::Default => ("default", None, None),
        Origin::File { line } => ("file", Some(line), None),
        Origin::Variable(name) => ("environment", None, Some(name)),
    };
    json!({
        "id": setting.key, "state": state, "value": setting.value, "file": line.map(|_| file), "line": line, "variable": variable,
    })
}
