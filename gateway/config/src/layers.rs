//! The layers: embedded defaults, then the file, then variables of the environment.

use figment::{
    Figment,
    providers::{Format, Serialized, Toml},
    value::Value as Layered,
};
use serde_json::Value;

use crate::{
    code::FaultCode,
    fault::Findings,
    raw::Raw,
    schema::Shape,
    source::{KeyPath, Source},
    suggest::{listed, nearest},
};

/// What every variable of ours begins with.
const PREFIX: &str = "BAILIWICK_";

/// The variables that set a key, such as `BAILIWICK_SERVER__LISTEN`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Variables(Vec<Variable>);

#[derive(Debug, Clone)]
struct Variable {
    name: String,
    value: String,
    path: KeyPath,
    keys: Vec<String>,
}

impl Variables {
    /// Those of `environment` that set a key: with our prefix, and nested by `__`. Others of ours, such as
    /// `BAILIWICK_TOKEN`, are not about the configuration.
    pub(crate) fn of(environment: impl IntoIterator<Item = (String, String)>) -> Self {
        let variable = |(name, value): (String, String)| {
            let keys: Vec<String> = name.strip_prefix(PREFIX)?.split("__").map(str::to_lowercase).collect();
            let path = keys.iter().fold(KeyPath::default(), |path, key| path.key(key));
            (keys.len() > 1).then_some(Variable { name, value, path, keys })
        };
        Self(environment.into_iter().filter_map(variable).collect())
    }

    /// The variable that sets exactly `path`, or something above it.
    pub(crate) fn covering(&self, path: &KeyPath) -> Option<&str> {
        self.0.iter().rev().find(|variable| path.is_within(&variable.path)).map(|variable| variable.name.as_str())
    }

    /// The variable that sets `path`, or something above it; or one that goes on where `path` should end.
    pub(crate) fn set(&self, path: &KeyPath) -> Option<&str> {
        let goes_on = |variable: &&Variable| path.steps().len() > 1 && variable.path.is_within(path);
        let mut variables = self.0.iter().rev();
        let exact = variables.clone().find(|variable| path.is_within(&variable.path));
        exact.or_else(|| variables.find(goes_on)).map(|variable| variable.name.as_str())
    }
}

/// The layers as one tree. What only looks like a setting is reported.
pub(crate) fn merged(source: &Source, variables: &Variables, shape: Shape<'_>, findings: &mut Findings<'_>) -> Value {
    let file = Toml::string(source.named().inner());
    let mut layers = Figment::from(Serialized::defaults(Raw::default())).merge(file);
    for variable in &variables.0 {
        if !is_setting(variable, shape, findings) {
            continue;
        }
        // A text stays a text, whatever it looks like: a service may be called `5`.
        let is_text = shape.at(variable.keys.iter().map(String::as_str)).is_some_and(Shape::is_text);
        let value = if is_text { Layered::from(variable.value.clone()) } else { parsed(&variable.value) };
        layers = layers.merge(Serialized::default(&variable.keys.join("."), value));
    }
    match layers.extract() {
        Ok(tree) => tree,
        Err(error) => {
            findings.key(&KeyPath::default(), FaultCode::Unreadable, format!("the layers can't be read together: {error}"));
            Value::Object(serde_json::Map::new())
        }
    }
}

fn parsed(text: &str) -> Layered {
    match text.parse() {
        Ok(value) => value,
        Err(never) => match never {},
    }
}

/// Whether a variable names a section that variables may set.
fn is_setting(variable: &Variable, shape: Shape<'_>, findings: &mut Findings<'_>) -> bool {
    let Some(section) = variable.keys.first() else {
        return false;
    };
    let is_section = |name: &str| shape.at([name]).is_some_and(Shape::is_table);
    let sections = || shape.keys().filter(|name| is_section(name));
    if is_section(section) && variable.keys.iter().all(|key| !key.is_empty() && !key.contains('.')) {
        return true;
    }
    if shape.at([section.as_str()]).is_some() && !is_section(section) {
        let message = format!("`{section}` can't be set by the environment");
        findings.key(&variable.path, FaultCode::NotFromEnvironment, message).help(format!("write `[[{section}]]` in the file"));
    } else {
        let meant = nearest(section, sections());
        let message = format!("`{}` sets no known section", variable.name);
        let help = format!("variables are named `{PREFIX}SECTION__KEY`, with a section of {}", listed(sections()));
        let meant = meant.map(|meant| format!("{PREFIX}{}__…", meant.to_uppercase()));
        findings.key(&variable.path, FaultCode::UnknownKey, message).help(help).suggest(meant);
    }
    false
}
