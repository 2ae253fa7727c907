//! Why another configuration is not taken.

use bailiwick_config::ConfigFaults;
use bailiwick_store::{GrantFault, StoreFault, WriteFault};
use bailiwick_trail::TrailFault;
use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use serde_json::{Value, json};

use crate::{cli::PolicyFaults, runtime::StartFault, sources::SourceFault};

/// So many faults are told on record.
const TOLD: usize = 20;

/// Why another configuration is not taken. What ran before runs on.
#[derive(Debug, thiserror::Error, Diagnostic)]
pub enum ReloadFault {
    /// Its files can't be taken.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Source(#[from] SourceFault),
    /// Its policies can't be put in force.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Policies(Box<PolicyFaults>),
    /// Its connectors can't be what it says, or a pin can't be read or stored.
    #[error(transparent)]
    Start(#[from] StartFault),
    /// Its grants clash with others.
    #[error(transparent)]
    Grant(#[from] GrantFault),
    /// What is stored can't be read.
    #[error(transparent)]
    Store(#[from] StoreFault),
    /// What belongs to it can't be stored.
    #[error(transparent)]
    Write(#[from] WriteFault),
    /// It can't be put on record.
    #[error("it can't be put on record: {0}")]
    Record(#[from] TrailFault),
    /// It was not seen through.
    #[error("it failed: the gateway's log says why")]
    Failed,
}

impl ReloadFault {
    /// As `check` shows it: each fault in its text.
    pub fn report(&self) -> String {
        let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor());
        let mut text = String::new();
        let shown = handler.with_width(100).with_context_lines(1).with_links(false).render_report(&mut text, self);
        if shown.is_ok() { text } else { self.to_string() }
    }

    /// The faults for programs: at least one, not without end.
    pub fn faults(&self) -> Vec<Value> {
        let found = match self {
            Self::Source(SourceFault::Config(faults)) => ConfigFaults::to_json(faults),
            Self::Policies(faults) => faults.to_json(),
            fault => json!([{"id": "reload", "state": "error", "message": fault.to_string()}]),
        };
        found.as_array().into_iter().flatten().take(TOLD).cloned().collect()
    }

    /// One line for each fault: its place and what it is.
    pub fn lines(&self) -> Vec<String> {
        let line = |fault: &Value| {
            let text = |key: &str| fault.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let number = |key: &str| fault.get(key).and_then(Value::as_u64);
            let place = match (number("line"), number("column")) {
                (Some(line), Some(column)) => format!("{}:{line}:{column}: ", text("file")),
                _ => String::new(),
            };
            let key = Some(text("key")).filter(|key| !key.is_empty()).map(|key| format!("{key}: ")).unwrap_or_default();
            format!("{place}{key}{}", text("message"))
        };
        self.faults().iter().map(line).collect()
    }
}
