//! `policy test`: do the rules say what they are meant to say? No gateway need run, and nothing is sent, asked or counted.

mod coverage;
mod file;
mod judge;
#[cfg(test)]
mod matrix;
mod reading;
mod report;
mod stage;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use bailiwick_config::PolicyFile;

use self::{
    coverage::Coverage,
    file::{Asked, Case, CaseFile},
    report::Report,
    stage::Stage,
};
use super::{
    Session,
    args::{CoverageWanted, TestArgs},
    fault::CliFault,
    screen::lines,
};

/// How deep folders are looked through for files of cases.
const DEEPEST: usize = 6;

/// Does it.
pub(super) async fn run(wanted: &TestArgs, session: &Session) -> Result<(), CliFault> {
    let files = found(wanted, session)?;
    let mut report = Report::default();
    let mut coverage = Coverage::default();
    for path in files {
        let text = fs::read_to_string(session.around.absolute(&path)).map_err(|why| {
            CliFault::usage(
                format!("`{}` can't be read: {why}", path.display()),
                "name a file of cases, or a folder that has some",
            )
        })?;
        let name = path.display().to_string();
        let file = file::read(&name, &path, &text).map_err(|faults| {
            let told = faults.iter().map(|fault| lines(&fault.text)).collect::<Vec<_>>().join("\n");
            CliFault::usage(told, "README, \"Writing rules in ten minutes\", has every key of a case")
        })?;
        let stage = Stage::of(&file, &session.around.folder, Some(session)).await?;
        judged(&file, &stage, &mut report, &mut coverage).await?;
    }
    if report.is_empty() {
        return Err(CliFault::usage(
            "these files have no `[[cases]]`, so nothing was tested",
            "write one: `tool`, `args`, `expect`",
        ));
    }
    let coverage = wanted.coverage.map(|_| &coverage);
    if wanted.form.json {
        session.screen.json(&report.to_json(coverage))?;
    } else {
        session.screen.answer(&report.to_text(coverage))?;
    }
    let is_short = wanted.coverage == Some(CoverageWanted::Require) && coverage.is_some_and(|coverage| !coverage.is_whole());
    if report.has_failed() || is_short { Err(CliFault::Said) } else { Ok(()) }
}

/// Judges the cases of a file.
async fn judged(file: &CaseFile, stage: &Stage, report: &mut Report, coverage: &mut Coverage) -> Result<(), CliFault> {
    coverage.reckon(stage);
    for case in &file.cases {
        let fault = |what: String| {
            CliFault::usage(lines(&format!("{}:{}:1: {what}", file.name, case.line)), "the case can't be judged as it is written")
        };
        known(case, stage).map_err(fault)?;
        let came = judge::judge(case, stage).await.map_err(fault)?;
        let is_as_expected = report.add(file, case, &came, stage);
        if is_as_expected {
            coverage.tested(&came, stage);
        }
    }
    Ok(())
}

/// A rule or a tool that is not there is a slip: a case about it would say nothing, or pass for the wrong reason.
fn known(case: &Case, stage: &Stage) -> Result<(), String> {
    use bailiwick_pipeline::ports::Worlds as _;
    let world = stage.worlds.now();
    let meant = |given: &str, known: Vec<&str>| match bailiwick_config::nearest(given, known) {
        Some(meant) => format!(" (did you mean `{meant}`?)"),
        None => String::new(),
    };
    let rules: Vec<&str> = world.policies.rules().into_iter().map(|rule| &*rule.id).collect();
    if let Some(lost) = case.expected.by.iter().find(|id| !rules.contains(&id.as_str())) {
        return Err(format!("there is no rule `{lost}`{}", meant(lost, rules)));
    }
    if let Asked::Call { tool, .. } = &case.what
        && world.tool(tool).is_none()
        && case.expected.reason.as_deref() != Some("unknown_tool")
    {
        let all: Vec<&str> = world.tools().map(|tool| tool.name.as_str()).collect();
        let help = "; expect it with `reason = \"unknown_tool\"` if that is meant";
        return Err(format!("there is no tool `{tool}`{}{help}", meant(tool, all)));
    }
    Ok(())
}

/// The files that are meant: those that are named, those of the folders that are, and else those beside the configured rules.
fn found(test: &TestArgs, session: &Session) -> Result<Vec<PathBuf>, CliFault> {
    let mut files = BTreeSet::new();
    for path in &test.paths {
        let whole = session.around.absolute(path);
        if whole.is_dir() {
            within(path, &whole, DEEPEST, &mut files);
        } else {
            files.insert(path.clone());
        }
    }
    if test.paths.is_empty() {
        let config = session.places.load(&session.around)?;
        let folder = |file: &PolicyFile| match file {
            PolicyFile::One(path) => path.parent().map(Path::to_path_buf),
            PolicyFile::AllIn(folder) | PolicyFile::Shadow(folder) => Some(folder.clone()),
        };
        let beside = session.places.config.as_deref().and_then(Path::parent).map(Path::to_path_buf);
        let folders: BTreeSet<PathBuf> = config.policy.files.iter().filter_map(folder).chain(beside).collect();
        for folder in folders {
            let shown = folder.strip_prefix(&session.around.folder).map_or(folder.as_path(), |rest| rest);
            within(shown, &folder, 0, &mut files);
        }
    }
    if files.is_empty() {
        let help = "cases stand in `tests.toml` or `NAME.tests.toml` beside the rules; `bailiwick policy new --template NAME DIR` writes some to begin with";
        return Err(CliFault::usage("there is no file of cases", help));
    }
    Ok(files.into_iter().collect())
}

/// The files of cases in a folder and those below it; links are not followed.
fn within(shown: &Path, folder: &Path, deeper: usize, files: &mut BTreeSet<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let (Ok(kind), name) = (entry.file_type(), entry.file_name()) else { continue };
        let text = name.to_string_lossy();
        if kind.is_dir() && deeper > 0 && !text.starts_with('.') {
            within(&shown.join(&name), &entry.path(), deeper - 1, files);
        } else if kind.is_file() && (text == "tests.toml" || text.ends_with(".tests.toml")) {
            files.insert(shown.join(&name));
        }
    }
}
