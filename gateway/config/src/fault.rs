//! What is wrong with a configuration, and where.

use std::{fmt, iter, ops::Range, sync::Arc};

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use serde_json::{Value, json};
use toml_edit::TomlError;

use crate::{
    code::FaultCode,
    layers::Variables,
    source::{KeyPath, Part, Source, line_and_column},
};

/// One thing that is wrong, and its place: in the file, or in a variable of the environment.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    code: FaultCode,
    message: String,
    help: Option<String>,
    suggestion: Option<String>,
    key: KeyPath,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    /// In the file: its text, the bytes, what is written under them, and a second place that matters.
    Text { source: Arc<NamedSource<String>>, span: Range<usize>, also: Option<(Range<usize>, String)> },
    /// In a variable of the environment.
    Variable(String),
}

impl Fault {
    /// Its code.
    pub fn fault_code(&self) -> FaultCode {
        self.code
    }

    /// The key it is about, as a path: `connectors[1].tools.get.kind`.
    pub fn key(&self) -> String {
        self.key.to_string()
    }

    /// What to do about it.
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// What was probably meant.
    pub fn suggestion(&self) -> Option<&str> {
        self.suggestion.as_deref()
    }

    /// The file, if it is in one.
    pub fn file(&self) -> Option<&str> {
        match &self.place {
            Place::Text { source, .. } => Some(source.name()),
            Place::Variable(_) => None,
        }
    }

    /// Line and column in the file, both from 1.
    pub fn line_and_column(&self) -> Option<(usize, usize)> {
        match &self.place {
            Place::Text { source, span, .. } => Some(line_and_column(source.inner(), span.start)),
            Place::Variable(_) => None,
        }
    }

    /// The variable of the environment, if it is in one.
    pub fn variable(&self) -> Option<&str> {
        match &self.place {
            Place::Text { .. } => None,
            Place::Variable(name) => Some(name),
        }
    }

    /// For machines: `id` is the code.
    pub fn to_json(&self) -> Value {
        let (line, column) = self.line_and_column().unzip();
        json!({
            "id": self.code.as_str(),
            "state": "error",
            "message": self.message,
            "help": self.help,
            "suggestion": self.suggestion,
            "key": self.key(),
            "file": self.file(),
            "line": line,
            "column": column,
            "variable": self.variable(),
        })
    }

    /// Says what to do.
    pub(crate) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Says what was probably meant.
    pub(crate) fn suggest(&mut self, suggestion: Option<String>) -> &mut Self {
        self.suggestion = suggestion;
        self
    }

    fn order(&self) -> (usize, &str) {
        match &self.place {
            Place::Text { span, .. } => (span.start, ""),
            Place::Variable(name) => (usize::MAX, name),
        }
    }
}

impl Diagnostic for Fault {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match (&self.help, &self.suggestion, &self.place) {
            (Some(help), _, Place::Text { .. }) | (Some(help), None, Place::Variable(_)) => Some(Box::new(help)),
            (_, Some(meant), Place::Variable(_)) => Some(Box::new(format!("did you mean `{meant}`?"))),
            (None, _, _) => None,
        }
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        match &self.place {
            Place::Text { source, .. } => Some(source),
            Place::Variable(_) => None,
        }
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let Place::Text { span, also, .. } = &self.place else {
            return None;
        };
        let meant = self.suggestion.as_ref().map(|meant| format!("did you mean `{meant}`?"));
        let first = LabeledSpan::new_primary_with_span(meant, span.clone());
        let second = also.iter().map(|(span, label)| LabeledSpan::new_with_span(Some(label.clone()), span.clone()));
        Some(Box::new(iter::once(first).chain(second)))
    }
}

/// Everything that is wrong with a configuration, in the order of the file. Never empty.
#[derive(Debug, Clone)]
pub struct ConfigFaults {
    file: String,
    faults: Vec<Fault>,
}

impl ConfigFaults {
    /// The faults: those of the file from top to bottom, then those of the environment.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// For machines: a list with one object per fault.
    pub fn to_json(&self) -> Value {
        self.faults.iter().map(Fault::to_json).collect()
    }

    pub(crate) fn syntax(text: &Arc<NamedSource<String>>, error: &TomlError) -> Self {
        let span = error.span().unwrap_or_default();
        let mut lines = error.message().lines();
        let message = lines.next().unwrap_or("not valid").to_lowercase();
        let rest = lines.collect::<Vec<_>>().join("; ");
        let fault = Fault {
            code: FaultCode::Syntax,
            message: format!("this is not TOML: {message}"),
            help: Some(if rest.is_empty() { "see https://toml.io for the syntax".to_owned() } else { rest }),
            suggestion: None,
            key: KeyPath::default(),
            place: Place::Text { source: Arc::clone(text), span, also: None },
        };
        Self { file: text.name().to_owned(), faults: vec![fault] }
    }

    /// These faults of the file, put into order.
    pub fn new(file: &str, mut faults: Vec<Fault>) -> Option<Self> {
        faults.sort_by(|one, other| one.order().cmp(&other.order()));
        (!faults.is_empty()).then(|| Self { file: file.to_owned(), faults })
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.faults.len() {
            1 => write!(f, "`{}` has a fault", self.file),
            many => write!(f, "`{}` has {many} faults", self.file),
        }
    }
}

impl std::error::Error for ConfigFaults {}

impl Diagnostic for ConfigFaults {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new("`config.example.toml` explains every key, and `bailiwick config schema` prints the schema"))
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.faults.iter().map(|fault| fault as &dyn Diagnostic)))
    }
}

/// Collects faults, and knows where each key was written.
#[derive(Debug)]
pub(crate) struct Findings<'s> {
    source: &'s Source,
    variables: &'s Variables,
    found: Vec<Fault>,
}

impl<'s> Findings<'s> {
    pub(crate) fn new(source: &'s Source, variables: &'s Variables) -> Self {
        Self { source, variables, found: Vec::new() }
    }

    /// Something is wrong with a key itself, or with it being there or missing.
    pub(crate) fn key(&mut self, path: &KeyPath, code: FaultCode, message: impl Into<String>) -> &mut Fault {
        self.add(path, Part::Key, code, message.into())
    }

    /// Something is wrong with what a key is set to.
    pub(crate) fn value(&mut self, path: &KeyPath, code: FaultCode, message: impl Into<String>) -> &mut Fault {
        self.add(path, Part::Value, code, message.into())
    }

    /// As [`Findings::value`], where another place of the file matters too.
    pub(crate) fn beside(
        &mut self,
        path: &KeyPath,
        code: FaultCode,
        message: impl Into<String>,
        other: (&KeyPath, &str),
    ) -> &mut Fault {
        let span = self.source.span(other.0, Part::Value);
        let fault = self.add(path, Part::Value, code, message.into());
        if let Place::Text { also, .. } = &mut fault.place {
            *also = Some((span, other.1.to_owned()));
        }
        fault
    }

    /// Whether something is wrong at or below this path already: what was taken out there can't be judged again.
    pub(crate) fn has_any_in(&self, path: &KeyPath) -> bool {
        self.found.iter().any(|fault| fault.key.is_within(path))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(crate) fn into_vec(self) -> Vec<Fault> {
        self.found
    }

    fn add(&mut self, path: &KeyPath, part: Part, code: FaultCode, message: String) -> &mut Fault {
        let (message, place) = if let Some(name) = self.variables.set(path) {
            (format!("{message} (from the variable `{name}`)"), Place::Variable(name.to_owned()))
        } else {
            let (source, span) = (Arc::clone(self.source.named()), self.source.span(path, part));
            (message, Place::Text { source, span, also: None })
        };
        let fault = Fault { code, message, help: None, suggestion: None, key: path.clone(), place };
        self.found.push(fault);
        let last = self.found.len() - 1;
        #[expect(clippy::indexing_slicing, reason = "it was pushed the line before")]
        &mut self.found[last]
    }
}
