//! What can be typed about rules and what was used of them.

use std::path::PathBuf;

use bailiwick_policy::Template;
use clap::{Args, ValueEnum};

use super::{Json, Span};

/// `policy test`
#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 0: all cases come as they expect; 1: some do not, or a rule is tested by none; 2: a file is faulty."
)]
pub struct TestArgs {
    /// Files of cases, or folders with `tests.toml` or `NAME.tests.toml`; else those beside the configured rules
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Say which rules decided no case; with `=require`, fail if there are any
    #[arg(long, value_name = "require", num_args = 0..=1, require_equals = true, default_missing_value = "show")]
    pub coverage: Option<CoverageWanted>,
    /// The form.
    #[command(flatten)]
    pub form: Json,
}

/// What is wanted of the coverage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CoverageWanted {
    /// That it is shown.
    Show,
    /// That it is whole.
    Require,
}

/// `policy new`
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Whose rules
    #[arg(long, value_name = "NAME")]
    pub template: TemplateName,
    /// The folder to write them in; nothing that is there is overwritten
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

/// The rules that there are to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TemplateName {
    /// It looks things up and changes nothing.
    ReadOnlyAnalyst,
    /// It proposes, and a person merges.
    CodingAgent,
    /// It drafts; a person approves what is sent and what is paid.
    SupportAgent,
    /// It restarts and scales within bounds.
    OnCallOperator,
    /// It works at night and asks nobody.
    BatchPipeline,
}

impl TemplateName {
    /// The template of this name.
    pub fn template(self) -> &'static Template {
        let [analyst, coder, support, oncall, batch] = &bailiwick_policy::TEMPLATES;
        match self {
            Self::ReadOnlyAnalyst => analyst,
            Self::CodingAgent => coder,
            Self::SupportAgent => support,
            Self::OnCallOperator => oncall,
            Self::BatchPipeline => batch,
        }
    }
}

/// `grants suggest`
#[derive(Debug, Args)]
pub struct SuggestArgs {
    /// The agent
    #[arg(long, value_name = "ID")]
    pub agent: String,
    /// How far back the record is read, such as 30d or 12h
    #[arg(long, value_name = "TIME", default_value = "30d")]
    pub since: Span,
    /// The form.
    #[command(flatten)]
    pub form: Json,
}
