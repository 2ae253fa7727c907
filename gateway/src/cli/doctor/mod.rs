//! `doctor`: what is wrong on this machine, missing on it, or can't be enforced on it. It changes nothing, and
//! shows no secret; with `--online` it starts each connector for a moment, on record as `connectors test`.

mod folder;
mod machine;
mod programs;
mod settings;

use bailiwick_config::{Config, Origin};
use bailiwick_store::Habits;
use serde_json::{Value, json};

use super::{
    Session,
    args::DoctorArgs,
    client::Client,
    fault::CliFault,
    screen::{Page, shown},
};
use crate::admin::api::Status;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// Something does not work, or is not safe, until it is mended.
    Fault,
    /// Something may go wrong, or can't be enforced here.
    Warning,
    /// Worth knowing.
    Note,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    level: Level,
    /// A stable word for what it is about.
    id: &'static str,
    /// Where: a line of the configuration, a file, a port.
    place: String,
    what: String,
    /// What to do about it.
    remedy: String,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(
        &mut self,
        level: Level,
        id: &'static str,
        place: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.0.push(Finding { level, id, place: place.into(), what: what.into(), remedy: remedy.into() });
    }

    fn fault(&mut self, id: &'static str, place: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Fault, id, place, what, remedy);
    }

    fn warning(&mut self, id: &'static str, place: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Warning, id, place, what, remedy);
    }

    fn note(&mut self, id: &'static str, place: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Level::Note, id, place, what, remedy);
    }
}

/// Where the keys of a configuration are set.
struct Places<'a> {
    config: &'a Config,
    file: String,
}

impl Places<'_> {
    /// Where a key of a section is set.
    fn key(&self, section: &str, key: &str) -> String {
        match self.config.origin_of(section, key) {
            Origin::File { line } => format!("{}:{line}", self.file),
            Origin::Variable(name) => name,
            Origin::Default => format!("{section}.{key}, by default"),
        }
    }

    /// Where an entry of a list is written.
    fn entry(&self, list: &str, id: &str) -> String {
        self.config.line_of(list, id).map_or_else(|| self.file.clone(), |line| format!("{}:{line}", self.file))
    }
}

/// Does it.
pub(super) async fn run(doctor: DoctorArgs, session: &Session) -> Result<(), CliFault> {
    let mut findings = Findings::default();
    let client = Client::find(&session.places).await.unwrap_or_else(|fault| {
        let socket = session.places.data.admin_socket().display().to_string();
        findings.fault("gateway", socket, fault.to_string(), "run this as the user that the gateway runs as, or as root");
        None
    });
    let status = running(client.as_ref(), session, &mut findings).await;
    folder::look(session, &mut findings);
    match session.places.load(&session.around) {
        Err(fault) => settings::unreadable(fault, session, &mut findings),
        Ok(config) => {
            let places = Places { config: &config, file: session.places.config_name() };
            machine::look(&places, status.as_ref(), session, &mut findings).await;
            programs::look(&places, session, &mut findings);
            settings::look(&places, client.as_ref(), session, &mut findings).await;
            if doctor.online {
                settings::online(&places, session, &mut findings).await;
            }
        }
    }
    told(findings, doctor, session)
}

/// The gateway that runs on this folder, if one does and answers.
async fn running(client: Option<&Client>, session: &Session, findings: &mut Findings) -> Option<Status> {
    let at = session.places.data.path().display().to_string();
    let Some(client) = client else {
        findings.note("gateway", at, "no gateway runs on this folder", format!("start one: {}", session.places.start));
        return None;
    };
    match client.get::<Status>("status").await {
        Ok(status) => {
            let own = env!("CARGO_PKG_VERSION");
            let what = format!("a gateway runs on this folder (pid {}, version {})", status.pid, status.version);
            if status.version == own {
                findings.note(
                    "gateway",
                    at.clone(),
                    what,
                    "nothing to do; what is changed in the file counts once it is read again",
                );
            } else {
                let remedy = format!("this program is version {own}: start the gateway anew with it");
                findings.warning("gateway", at.clone(), what, remedy);
            }
            if status.trail_lost {
                let what = "the trail can't be written, so every call is refused";
                findings.fault("trail", at.clone(), what, "mend the disk, then start the gateway anew");
            }
            if !status.halts.is_empty() {
                let what = format!("a person has frozen: {}", status.halts.join(", "));
                findings.warning(
                    "frozen",
                    at.clone(),
                    what,
                    "`bailiwick freeze --list` says who and why, `bailiwick thaw` lets it go on",
                );
            }
            if let Some(refused) = status.config.last.iter().find(|last| !last.successful) {
                let why = refused.why.first().map_or_else(String::new, |why| format!(": {why}"));
                let what = format!("the files of the configuration were refused as they are now ({}){why}", refused.by);
                let remedy = "what ran before runs on; mend them, and `bailiwick reload` (`bailiwick check` shows each place)";
                findings.warning("reload_refused", at.clone(), what, remedy);
            }
            if let Some(why) = &status.config.shadow_fault {
                let what = format!("the policies in shadow are not watched: {why}");
                findings.warning(
                    "shadow",
                    at.clone(),
                    what,
                    "mend them (`bailiwick policy check --policy PATH`); nothing else depends on them",
                );
            }
            for warning in client.get::<Habits>("habits").await.map(|habits| habits.warnings).unwrap_or_default() {
                let remedy = "`bailiwick approvals habits` says which rules ask most, and what could be changed";
                findings.warning("habits", at.clone(), warning, remedy);
            }
            if let Some(why) = &status.store_lost {
                let what = format!("the store can't be written: {why}");
                findings.fault("store", at, what, "mend the disk, then start the gateway anew");
            }
            Some(status)
        }
        Err(fault) => {
            findings.fault("gateway", at, fault.to_string(), "look at what it writes to standard error");
            None
        }
    }
}

fn told(findings: Findings, doctor: DoctorArgs, session: &Session) -> Result<(), CliFault> {
    let mut found = findings.0;
    found.sort_by_key(|finding| finding.level);
    if doctor.form.json {
        session.screen.json(&found.iter().map(as_json).collect())?;
    } else {
        session.screen.answer(&text(&found, &session.places.config_name()))?;
    }
    if found.iter().any(|finding| finding.level == Level::Fault) { Err(CliFault::Said) } else { Ok(()) }
}

fn text(found: &[Finding], config: &str) -> String {
    let mut text = Page::default();
    for finding in found {
        let level = if finding.level == Level::Fault { "FAULT" } else { finding.level.as_str() };
        text.add(format_args!("{level:<8} {}\n", shown(&finding.what)));
        text.add(format_args!("         at {}\n", shown(&finding.place)));
        text.add(format_args!("         -> {}\n\n", shown(&finding.remedy)));
    }
    let count = |level| found.iter().filter(|finding| finding.level == level).count();
    let many = |level, one: &str| match count(level) {
        0 => format!("no {one}"),
        1 => format!("1 {one}"),
        several => format!("{several} {one}s"),
    };
    text.add(format_args!(
        "{config}: {}, {}, {}\n",
        many(Level::Fault, "fault"),
        many(Level::Warning, "warning"),
        many(Level::Note, "note")
    ));
    text.into_text()
}

fn as_json(finding: &Finding) -> Value {
    json!({
        "id": finding.id, "state": finding.level.as_str(), "place": finding.place, "message": finding.what, "help": finding.remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worst_comes_first_and_is_counted() {
        let mut findings = Findings::default();
        findings.note("a", "here", "n", "n");
        findings.fault("b", "there", "f\u{1b}", "mend it");
        findings.0.sort_by_key(|finding| finding.level);
        assert_eq!(
            text(&findings.0, "config.toml"),
            "FAULT    f\\u{1b}\n         at there\n         -> mend it\n\nnote     n\n         at here\n         -> n\n\nconfig.toml: 1 fault, no warning, 1 note\n"
        );
    }
}
