//! What came of the cases, for people and for programs.

use serde_json::{Value, json};

use super::{
    coverage::Coverage,
    file::{Case, CaseFile, Expected},
    judge::Came,
    stage::Stage,
};
use crate::cli::screen::{Page, Table, shown};

/// What came of all cases.
#[derive(Debug, Default)]
pub(super) struct Report {
    rows: Vec<Row>,
}

/// What came of one case.
#[derive(Debug)]
struct Row {
    file: String,
    line: usize,
    name: String,
    expected: Expected,
    came: Came,
    /// The rules that determined it, each with its place.
    rules: Vec<(String, String)>,
    is_as_expected: bool,
}

impl Report {
    /// Adds what came of a case; says whether it is what was expected.
    pub(super) fn add(&mut self, file: &CaseFile, case: &Case, outcome: &Came, stage: &Stage) -> bool {
        let is_as_expected = is_as(&case.expected, outcome);
        self.rows.push(Row {
            file: file.name.clone(),
            line: case.line,
            name: case.name.clone(),
            expected: case.expected.clone(),
            rules: outcome.rules.iter().map(|id| (id.clone(), stage.place(id))).collect(),
            came: outcome.clone(),
            is_as_expected,
        });
        is_as_expected
    }

    /// Whether there was no case.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether a case came otherwise than expected.
    pub(super) fn has_failed(&self) -> bool {
        self.rows.iter().any(|row| !row.is_as_expected)
    }

    /// For people: what came otherwise, and how many did.
    pub(super) fn to_text(&self, coverage: Option<&Coverage>) -> String {
        let failed: Vec<&Row> = self.rows.iter().filter(|row| !row.is_as_expected).collect();
        let mut text = Page::default();
        if !failed.is_empty() {
            let mut table = Table::new(&["CASE", "AT", "EXPECTED", "CAME", "BY"]);
            for row in &failed {
                let at = format!("{}:{}", row.file, row.line);
                table.row([&row.name, &at, &expected(&row.expected), &came(&row.came), &by(row)]);
            }
            text.add(format_args!("{table}\n"));
        }
        let all = self.rows.len();
        let cases = if all == 1 { "case" } else { "cases" };
        match failed.len() {
            0 => text.add(format_args!("{all} {cases}, all as expected\n")),
            some => text.add(format_args!("{all} {cases}, {some} not as expected\n")),
        }
        if let Some(coverage) = coverage {
            text.add(format_args!("{}", coverage.to_text()));
        }
        text.into_text()
    }

    /// For programs.
    pub(super) fn to_json(&self, coverage: Option<&Coverage>) -> Value {
        let case = |row: &Row| {
            let rules: Vec<Value> = row.rules.iter().map(|(id, at)| json!({"id": id, "at": at})).collect();
            json!({
                "id": row.name, "state": if row.is_as_expected { "passed" } else { "failed" }, "file": row.file, "line": row.line,
                "expected": {
                    "effect": row.expected.effect, "by": row.expected.by, "asks": row.expected.asks, "reason": row.expected.reason,
                },
                "came": {
                    "effect": row.came.effect, "rules": rules, "asks": row.came.asks, "reason": row.came.reason,
                    "detail": row.came.detail,
                },
            })
        };
        let cases: Vec<Value> = self.rows.iter().map(case).collect();
        json!({"cases": cases, "rules": coverage.map(Coverage::to_json)})
    }
}

/// Whether it came so: the effect, these rules among those that decide, these approvals and no others, this reason.
fn is_as(expected: &Expected, came: &Came) -> bool {
    let asks = |wanted: &Vec<String>| {
        let mut wanted = wanted.clone();
        wanted.sort_unstable();
        wanted.dedup();
        wanted == came.asks
    };
    expected.effect == came.effect
        && expected.by.iter().all(|rule| came.rules.contains(rule))
        && expected.asks.as_ref().is_none_or(asks)
        && expected.reason.as_ref().is_none_or(|reason| came.reason.as_ref() == Some(reason))
}

fn expected(expected: &Expected) -> String {
    let mut text = Page::of(expected.effect.to_owned());
    if let Some(asks) = &expected.asks {
        text.add(format_args!(" ({})", asks.join(", ")));
    }
    if let Some(reason) = &expected.reason {
        text.add(format_args!(": {reason}"));
    }
    if !expected.by.is_empty() {
        text.add(format_args!(" by {}", expected.by.join(", ")));
    }
    text.into_text()
}

fn came(came: &Came) -> String {
    match (came.effect, &came.reason) {
        ("step_up", _) => format!("step_up ({})", came.asks.join(", ")),
        (effect, Some(reason)) => format!("{effect}: {reason}"),
        (effect, None) => effect.to_owned(),
    }
}

/// Which rules decided, with file and line; where none did, what did.
fn by(row: &Row) -> String {
    if row.rules.is_empty() {
        return shown(row.came.detail.as_deref().unwrap_or("no rule"));
    }
    row.rules.iter().map(|(id, at)| format!("{id} ({at})")).collect::<Vec<_>>().join(", ")
}
