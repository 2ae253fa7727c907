//! What a snippet has to say: where the gateway is, as which agent, and how long to wait.

use std::{net::IpAddr, path::Path, time::Duration};

use bailiwick_config::{Config, RegisteredAgent, Server, nearest};
use bailiwick_schemas::text::is_invisible;

use crate::{
    admin::api::Status,
    cli::{Session, client::Client, fault::CliFault, screen::shown},
};

/// Clients wait at least so long, as it costs nothing: the gateway ends every call by itself, and what it is configured with
/// tomorrow may take longer.
const LEAST: Duration = Duration::from_mins(10);

/// And at most so long: a timer of JavaScript counts milliseconds in 31 bits.
const MOST: Duration = Duration::from_hours(24 * 24);

/// What comes on top of what is configured: the way there and back.
const WAY: Duration = Duration::from_secs(10);

/// How a client gets to the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    /// Over HTTP, with a token.
    Http { url: String },
    /// Over stdio: it starts this program.
    Stdio { command: String, arguments: Vec<String> },
}

/// What a snippet has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) reach: Reach,
    /// How long one call may take, in seconds.
    pub(super) patience: u64,
}

/// The agent that is named, else the only one.
pub(super) fn agent<'c>(named: Option<&str>, config: &'c Config, config_name: &str) -> Result<&'c RegisteredAgent, CliFault> {
    let ids: Vec<&str> = config.agents.iter().map(|agent| agent.agent.id.as_str()).collect();
    let Some(named) = named else {
        return match config.agents.as_slice() {
            [only] => Ok(only),
            [] => Err(CliFault::refused("no agent is registered", Some("register one in the configuration: `[[agents]]`"))),
            _ => Err(CliFault::usage(
                "there are several agents, and none is named",
                format!("name one: `--agent` {}", ids.join(" | ")),
            )),
        };
    };
    config.agent(named).ok_or_else(|| {
        let help = match (nearest(named, ids.iter().copied()), ids.is_empty()) {
            (Some(meant), _) => format!("did you mean `{meant}`?"),
            (None, true) => "register one in the configuration: `[[agents]]`".to_owned(),
            (None, false) => format!("there are: {}", ids.join(", ")),
        };
        CliFault::refused(&format!("there is no agent `{}` in the configuration ({config_name})", shown(named)), Some(&help))
    })
}

/// Over HTTP: where the configuration says, and where that leaves the port open, where the gateway listens now.
pub(super) async fn over_http(config: &Config, session: &Session) -> Result<Reach, CliFault> {
    let url = match configured_url(&config.server) {
        Some(url) => url,
        None => running_url(session).await.ok_or_else(|| {
            let help = format!("start it first ({}), or give `server.listen` a port", session.places.start);
            CliFault::refused("the port is known only while a gateway runs: `server.listen` leaves it open", Some(&help))
        })?,
    };
    Ok(Reach::Http { url: plain(url, "the URL of the gateway")? })
}

/// The URL by which clients on this machine (or, where `public_url` says so, elsewhere) reach it. None where the port is open.
pub(super) fn configured_url(server: &Server) -> Option<String> {
    let mut at = server.listen;
    if server.public_url.is_none() && at.port() == 0 {
        return None;
    }
    if at.ip().is_unspecified() {
        // Nobody can connect to "all addresses"; this machine is one of them.
        at.set_ip(if at.is_ipv4() { IpAddr::from([127, 0, 0, 1]) } else { IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]) });
    }
    Some(server.public_url(at))
}

async fn running_url(session: &Session) -> Option<String> {
    let client = Client::find(&session.places).await.ok()??;
    client.get::<Status>("status").await.ok()?.agents_url
}

/// Over stdio: this very program, by its whole path, with the data folder. Both are said even where they are what would be taken
/// anyway, because that depends on the folder and the environment that a client starts it in.
pub(super) fn over_stdio(agent: &str, session: &Session) -> Result<Reach, CliFault> {
    let path = |path: &Path, what: &str| match path.to_str() {
        Some(text) => plain(text.to_owned(), what),
        None => Err(unwritable(&path.display().to_string(), what)),
    };
    let command = path(&session.around.own_binary, "the path of this program")?;
    let data = path(session.places.data.path(), "the path of the data folder")?;
    let arguments = ["stdio", "--agent", agent, "--data", &data].map(str::to_owned).to_vec();
    Ok(Reach::Stdio { command, arguments })
}

/// A text that means itself in every client: several replace `$…` and `{…}`, and what can't be seen can't be judged.
fn plain(text: String, what: &str) -> Result<String, CliFault> {
    let means_itself = |c: char| !c.is_control() && !is_invisible(c) && !matches!(c, '$' | '{' | '}');
    if text.chars().all(means_itself) { Ok(text) } else { Err(unwritable(&text, what)) }
}

fn unwritable(text: &str, what: &str) -> CliFault {
    let help =
        "clients read `$`, `{` and `}` as variables, and some characters can't be written at all: move it, or name another";
    CliFault::refused(&format!("{what} can't be written into a client's settings: `{}`", shown(text)), Some(help))
}

/// How long a client should wait for a call, in whole seconds: while it is held for an approver, while its server starts, and
/// while the server works.
pub(super) fn patience(config: &Config) -> u64 {
    let takes = config.connectors.iter().map(|connector| connector.handshake_timeout.saturating_add(connector.call_timeout));
    let longest = config.approvals.hold.saturating_add(takes.max().unwrap_or_default()).saturating_add(WAY);
    let longest = longest.clamp(LEAST, MOST);
    longest.as_secs() + u64::from(longest.subsec_nanos() > 0)
}
