//! `config print-client`: how a client is set up to be an agent here. What a program reads is on standard output, what a person
//! has to know on standard error. A token is never in it: how to get one is said instead.

mod connection;
mod name;
mod programs;
mod settings;
#[cfg(test)]
mod tests;

use bailiwick_config::{Config, RegisteredAgent};
use rustix::process::geteuid;
use serde_json::{Value, json};

pub use name::ClientName;

use super::{Session, args::PrintClientArgs, fault::CliFault, screen::lines, units::span};
use connection::{Connection, Reach};
use name::Waits;

/// What the gateway is called in a client's settings.
const SERVER: &str = "bailiwick";

/// The variable that a client takes its token from, as `call` does.
const TOKEN: &str = "BAILIWICK_TOKEN";

/// Does it.
pub(super) async fn run(print: &PrintClientArgs, session: &Session) -> Result<(), CliFault> {
    let config = session.places.load(&session.around)?;
    let agent = connection::agent(print.agent.as_deref(), &config, &session.places.config_name())?;
    let reach = if print.stdio || !print.client.speaks_http() {
        connection::over_stdio(agent.agent.id.as_str(), session)?
    } else {
        connection::over_http(&config, session).await?
    };
    let connection = Connection { reach, patience: connection::patience(&config) };
    let snippet = text(print.client, &connection);
    let notes = Notes::new(print.client, &connection, agent, &config, session);
    if print.form.json {
        return session.screen.json(&as_json(print.client, &connection, agent, &snippet, &notes));
    }
    session.screen.answer(&snippet)?;
    session.screen.tell(&lines(&notes.to_string()));
    Ok(())
}

/// The snippet.
fn text(client: ClientName, connection: &Connection) -> String {
    settings::text(client, connection).or_else(|| programs::text(client, connection)).unwrap_or_default()
}

fn as_json(client: ClientName, connection: &Connection, agent: &RegisteredAgent, snippet: &str, notes: &Notes) -> Value {
    let (transport, url) = match &connection.reach {
        Reach::Http { url } => ("http", Some(url)),
        Reach::Stdio { .. } => ("stdio", None),
    };
    json!([{
        "id": client.typed(),
        "state": if notes.is_ready() { "ready" } else { "incomplete" },
        "agent": agent.agent.id.as_str(),
        "transport": transport,
        "url": url,
        "format": client.format().as_str(),
        "file": client.file(),
        "snippet": snippet,
        "notes": notes.lines.iter().map(|(about, line)| format!("{about}: {line}")).collect::<Vec<_>>(),
    }])
}

/// What a person has to know, line by line, each with what it is about.
#[derive(Debug)]
struct Notes {
    lines: Vec<(&'static str, String)>,
}

/// What a line is about that has to be mended before the client can be an agent.
const MISSING: &str = "missing";

impl Notes {
    fn new(client: ClientName, connection: &Connection, agent: &RegisteredAgent, config: &Config, session: &Session) -> Self {
        let mut notes = Self { lines: vec![("file", client.file().to_owned())] };
        let id = agent.agent.id.as_str();
        match &connection.reach {
            Reach::Http { .. } => notes.token(client, &format!("{} agents token {id}", session.places.again)),
            Reach::Stdio { .. } => {
                notes.add("token", format!("none: the gateway knows agent {id} by the user that the client runs as"));
                if agent.uids.is_empty() && session.places.config.is_some() {
                    notes.add(
                        MISSING,
                        format!(
                            "agent {id} has no user yet: write `identity = [{{ uid = {} }}]` (the user that the client runs as) into its [[agents]], or put a token into a file and `--grant-file FILE` in the place of `--agent {id}`",
                            geteuid().as_raw()
                        ),
                    );
                }
                notes.add("gateway", format!("it must run before the client starts: {}", session.places.start));
            }
        }
        notes.patience(client, connection, config);
        if agent.agent.disabled {
            notes.add(MISSING, format!("agent {id} is switched off: take `disabled` out of its [[agents]]"));
        }
        for remark in client.remarks(&connection.reach) {
            notes.add("note", (*remark).to_owned());
        }
        notes
    }

    fn add(&mut self, about: &'static str, line: String) {
        self.lines.push((about, line));
    }

    fn is_ready(&self) -> bool {
        self.lines.iter().all(|(about, _)| *about != MISSING)
    }

    /// How the token gets to the client.
    fn token(&mut self, client: ClientName, makes: &str) {
        let how = match client {
            ClientName::Vscode => format!("{makes}   (VS Code asks for it once: paste what this prints)"),
            ClientName::Inspector => format!(
                "export {TOKEN}=$({makes})   and with each command --header \"Authorization: Bearer ${TOKEN}\", as its file takes no variables"
            ),
            _ => format!("export {TOKEN}=$({makes})   where the client is started"),
        };
        self.add("token", how);
        self.add("token", "it is good for 30 days (`--ttl` makes it another time), and is printed once".to_owned());
    }

    /// How long the client waits, held against how long a call is held.
    fn patience(&mut self, client: ClientName, connection: &Connection, config: &Config) {
        let millis = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let held = span(millis(config.approvals.hold));
        let waits = span(connection.patience.saturating_mul(1000));
        let line = match client.waits() {
            Waits::Set => format!("it waits {waits} for a call; one that a person must approve is held for {held}"),
            Waits::PerCall => format!(
                "give PATIENCE ({waits}) with each call, else it is given up after 60 s; one that a person must approve is held for {held}"
            ),
            Waits::Unset => format!(
                "it has no setting that its calls obey; one that a person must approve is held for {held}, and when the client gives up earlier, the same call again takes the approval up"
            ),
        };
        self.add("patience", line);
    }
}

impl std::fmt::Display for Notes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut before = "";
        let mut lines = Vec::new();
        for (about, line) in &self.lines {
            let heading = if *about == before { "" } else { about };
            lines.push(format!("{heading:<9} {line}"));
            before = about;
        }
        f.write_str(&lines.join("\n"))
    }
}
