//! `agents`

use std::{collections::BTreeSet, sync::Arc};

use bailiwick_pipeline::ports::Clock as _;
use bailiwick_store::{Store, Tokens};
use bailiwick_trail::{Options, Stream, Trail};
use rustix::process::geteuid;
use secrecy::ExposeSecret as _;
use serde_json::json;

use super::{
    Session,
    args::{AgentsCommand, SwitchArgs, TokenArgs},
    client::{Client, segment},
    fault::CliFault,
    screen::{Table, shown},
    units::from_now,
};
use crate::{
    adapters::SystemClock,
    admin::{
        AdminRecord, Stage,
        api::{AgentView, EnabledView, FrozenView, TokenMade, TokenView, TokenWanted, Why},
        change_id, name_of,
    },
    data::DataFolder,
};

/// Does it.
pub(super) async fn run(command: &AgentsCommand, session: &Session) -> Result<(), CliFault> {
    match command {
        AgentsCommand::List(form) => {
            let agents: Vec<AgentView> = session.client().await?.get("agents").await?;
            session.list(
                &agents,
                form.json,
                || table(&agents),
                "no agent is registered: `[[agents]]` in the configuration does that",
            )
        }
        AgentsCommand::Show(one) => {
            let agent: AgentView = session.client().await?.get(&format!("agents/{}", segment(&one.id)?)).await?;
            session.one(&agent, one.form.json, || card(&agent))
        }
        AgentsCommand::Token(token) if token.revoke => revoke(token, session).await,
        AgentsCommand::Token(token) => make(token, session).await,
        AgentsCommand::Disable(switch) => disable(switch, session).await,
        AgentsCommand::Enable(switch) => enable(switch, session).await,
    }
}

fn table(agents: &[AgentView]) -> Table {
    let mut table = Table::new(&["ID", "STATE", "CEILING", "OWNER", "TOKENS", "LAST USED", "NEVER USED", "GRANTS"]);
    let now_ms = SystemClock.now_ms();
    for agent in agents {
        let tokens = agent.tokens.len().to_string();
        let used = agent.last_used_ms.map_or_else(|| "never".to_owned(), |at| from_now(at, now_ms));
        let unused = match agent.never_used.len() {
            0 => String::new(),
            1 => "1 tool".to_owned(),
            count => format!("{count} tools"),
        };
        table.row([
            &agent.id,
            &agent.state,
            agent.ceiling.as_str(),
            &agent.owner,
            &tokens,
            &used,
            &unused,
            &agent.grants.join(" "),
        ]);
    }
    table
}

fn card(agent: &AgentView) -> String {
    let mut text = format!(
        "agent    {}  ({})\nowner    {}\nceiling  {}\ngrants   {}\n",
        shown(&agent.id),
        shown(&agent.state),
        shown(&agent.owner),
        agent.ceiling,
        if agent.grants.is_empty() { "none is active".to_owned() } else { shown(&agent.grants.join("  ")) },
    );
    let now_ms = SystemClock.now_ms();
    let listed = |all: &BTreeSet<String>| all.iter().cloned().collect::<Vec<_>>().join("  ");
    let rows = [
        ("purpose  ", agent.purpose.clone()),
        ("envs     ", agent.environments.as_ref().map(listed)),
        ("last used", agent.last_used_ms.map(|at| format!(" {}", from_now(at, now_ms)))),
        ("unused   ", Some(agent.never_used.join("  ")).filter(|unused| !unused.is_empty())),
    ];
    for (name, value) in rows.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        text.extend([name, &shown(&value), "\n"]);
    }
    if let Some(disabled) = &agent.disabled {
        let why = disabled.reason.as_deref().map(|why| format!(": {}", shown(why))).unwrap_or_default();
        let (when, by) = (from_now(disabled.at_ms, now_ms), shown(&disabled.by));
        text.extend(["disabled ", &when, " by ", &by, &why, "\n"]);
    }
    let mut tokens = Table::new(&["TOKEN", "STATE", "MADE", "EXPIRES"]);
    for TokenView { id, state, created_at_ms, expires_at_ms } in &agent.tokens {
        tokens.row([id, state, &from_now(*created_at_ms, now_ms), &from_now(*expires_at_ms, now_ms)]);
    }
    if !tokens.is_empty() {
        text.push('\n');
        text.push_str(&tokens.to_string());
    }
    text
}

async fn revoke(token: &TokenArgs, session: &Session) -> Result<(), CliFault> {
    let path = format!("tokens/{}/revoke", segment(&token.id)?);
    let revoked: TokenView = session.client().await?.post(&path, &json!({})).await?;
    session.screen.tell(&format!("token {} is revoked", shown(&revoked.id)));
    Ok(())
}

async fn disable(switch: &SwitchArgs, session: &Session) -> Result<(), CliFault> {
    let path = format!("agents/{}/disable", segment(&switch.id)?);
    let done: FrozenView = session.client().await?.post(&path, &Why { reason: switch.reason.clone() }).await?;
    let (id, grants, tokens) = (shown(&done.id), done.grants.len(), done.tokens.len());
    let before = if done.was_new { "" } else { " (it had been before)" };
    session.screen.tell(&format!(
        "agent {id} is disabled{before}: nothing more is called by it; grants revoked: {grants}, tokens revoked: {tokens}"
    ));
    super::halts::told_drained(done.drained, session)
}

async fn enable(switch: &SwitchArgs, session: &Session) -> Result<(), CliFault> {
    let path = format!("agents/{}/enable", segment(&switch.id)?);
    let done: EnabledView = session.client().await?.post(&path, &Why { reason: switch.reason.clone() }).await?;
    let next = if done.state == "active" { "; its grants and tokens don't come back: make new ones" } else { "" };
    session.screen.tell(&format!("agent {} is enabled, and {}{next}", shown(&done.id), shown(&done.state)));
    Ok(())
}

/// Prints the token and nothing else: through the running gateway, else on its store, which nobody else has open then.
async fn make(token: &TokenArgs, session: &Session) -> Result<(), CliFault> {
    let id = segment(&token.id)?;
    let ttl_ms = token.ttl.as_millis();
    let made = match Client::find(&session.places).await? {
        Some(client) => client.post::<TokenMade>(&format!("agents/{id}/tokens"), &TokenWanted { ttl_ms }).await?.token,
        None => make_offline(id, ttl_ms, session).await?,
    };
    session.screen.answer(&made)
}

async fn make_offline(id: &str, ttl_ms: u64, session: &Session) -> Result<String, CliFault> {
    let config = session.places.load(&session.around)?;
    let Some(registered) = config.agent(id) else {
        return Err(CliFault::refused(
            &format!("there is no agent `{id}` in the configuration ({})", session.places.config_name()),
            None,
        ));
    };
    let data = DataFolder::open(session.places.data.path())?;
    let options = Options { segment_bytes: config.trail.segment_size, ..Options::default() };
    let (trail, _) = Trail::open(&data.trail(), options)?;
    let store = Store::open(data.path())?;
    let tokens = Arc::new(Tokens::load(&store)?);
    let now_ms = SystemClock.now_ms();
    let (uid, change) = (geteuid().as_raw(), change_id(&SystemClock));
    let by = name_of(uid);
    let with = json!({"ttl_ms": ttl_ms, "offline": true});
    let write = |result| {
        let record = AdminRecord {
            event: "agent_token_made",
            change: &change,
            by: &by,
            uid: Some(uid),
            about: id,
            result,
            why: None,
            with: &with,
        };
        trail.append(Stream::Admin, now_ms, &record)
    };
    write(Stage::Begun)?;
    trail.flush()?;
    let token = tokens.issue_agent(&registered.agent.id, ttl_ms, now_ms).await?;
    write(Stage::Done)?;
    Ok(token.expose_secret().to_owned())
}
