//! What can be wrong with the set-up of traces.

use std::borrow::Cow;

use thiserror::Error;

/// Why tracing can't start: everything that is wrong, at once.
#[derive(Debug, Error)]
#[error("traces can't be exported: {}", self.listed())]
pub struct Fault {
    pub(crate) problems: Vec<Problem>,
}

impl Fault {
    /// What is wrong.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    fn listed(&self) -> String {
        self.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

/// One thing that is wrong with the set-up of traces. Values that may hold a secret aren't repeated.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// A variable has a value that can't be used.
    #[error("{name}: `{value}` is not {expected}")]
    Value {
        /// The variable or setting.
        name: Cow<'static, str>,
        /// What it says.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// An address isn't one.
    #[error("{name}: {reason}; write an address such as `http://127.0.0.1:4318`")]
    Endpoint {
        /// The variable or setting.
        name: Cow<'static, str>,
        /// What is wrong with it.
        reason: String,
    },
    /// A list of `key=value` pairs can't be read.
    #[error("{name}: entry {entry} is not `key=value` with percent-encoded values")]
    Pair {
        /// The variable.
        name: Cow<'static, str>,
        /// Which entry, from 1.
        entry: usize,
    },
    /// A certificate file can't be used.
    #[error("{name}: `{path}`: {reason}")]
    Certificate {
        /// The variable.
        name: Cow<'static, str>,
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A variable asks for something that isn't there.
    #[error("{name} is not supported; unset it")]
    Unsupported {
        /// The variable.
        name: Cow<'static, str>,
    },
    /// The client or its thread can't start.
    #[error("the exporter can't start: {0}")]
    Start(String),
}
