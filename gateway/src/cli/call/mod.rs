//! `call`: a small MCP client, as an agent would be one, against the agents' endpoint.

mod arguments;
mod endpoint;
mod reply;

use bailiwick_schemas::exposure::OWN;
use serde_json::Value;

use super::{
    Session,
    args::CallArgs,
    client::{Client, segment},
    fault::CliFault,
    screen::{Table, short},
};
use crate::admin::api::{AgentView, Status, TokenMade, TokenWanted};
use arguments::Given;
use endpoint::Endpoint;
use reply::Reply;

/// Does it.
pub(super) async fn run(call: &CallArgs, session: &Session) -> Result<(), CliFault> {
    let given = arguments::parse(&call.arguments)?;
    let endpoint =
        Endpoint::new(url(call, session).await?, &token(call, session).await?, call.grant.clone())?.because(call.reason.clone());
    let Some(tool) = &call.tool else { return list(call.json, &endpoint, session).await };
    // A refusal of the list is no reason not to send the call: it is answered on its own.
    let (_, tools) = listed(&endpoint).await?;
    let find = |name: &str| tools.iter().find(|listed| listed.get("name").and_then(Value::as_str) == Some(name));
    let [_, describe, ..] = OWN;
    let described = match (find(tool), find(describe)) {
        (None, Some(_)) => described(describe, tool, &endpoint).await?,
        (listed, _) => listed.cloned(),
    };
    let schema = described.as_ref().and_then(|tool| tool.get("inputSchema"));
    let arguments = Given::typed(&given, schema)?;
    let reply = endpoint.call(tool, &arguments, schema).await?;
    if call.raw {
        session.screen.foreign(reply.text())?;
        return if reply.is_success() { Ok(()) } else { Err(CliFault::Said) };
    }
    told(&reply, call.json, session)
}

/// What is said of a tool that is not listed, where tools are looked for instead.
async fn described(describe: &str, tool: &str, endpoint: &Endpoint) -> Result<Option<Value>, CliFault> {
    let given = arguments::parse(&[format!("name={tool}")])?;
    let reply = endpoint.call(describe, &Given::typed(&given, None)?, None).await?;
    Ok(reply.result().and_then(|result| result.pointer("/structuredContent/tool")).cloned())
}

/// Pages of a list at most: what a gateway lists is well below that.
const PAGES: usize = 1_000;

/// The tools of all pages, and the last answer: one that is no result ends the list.
async fn listed(endpoint: &Endpoint) -> Result<(Reply, Vec<Value>), CliFault> {
    let (mut reply, mut tools) = (endpoint.list().await?, Vec::new());
    for _ in 0..PAGES {
        let page = reply.result().and_then(|result| result.get("tools")).and_then(Value::as_array);
        tools.extend(page.into_iter().flatten().cloned());
        match endpoint.after(&reply).await? {
            Some(next) => reply = next,
            None => break,
        }
    }
    Ok((reply, tools))
}

async fn list(as_json: bool, endpoint: &Endpoint, session: &Session) -> Result<(), CliFault> {
    let (last, tools) = listed(endpoint).await?;
    if last.result().is_none() {
        return told(&last, as_json, session);
    }
    let name = |tool: &Value| tool.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if as_json {
        let with_id = |tool: &Value| {
            let mut listed = serde_json::json!({"id": name(tool), "state": "callable"});
            if let (Some(listed), Some(tool)) = (listed.as_object_mut(), tool.as_object()) {
                for (key, value) in tool {
                    listed.entry(key.clone()).or_insert_with(|| value.clone());
                }
            }
            listed
        };
        return session.screen.json(&tools.iter().map(with_id).collect());
    }
    let mut table = Table::new(&["TOOL", "DESCRIPTION"]);
    for tool in &tools {
        let description = tool.get("description").and_then(Value::as_str).unwrap_or_default();
        table.row([&name(tool), &short(description.lines().next().unwrap_or_default(), 90)]);
    }
    if table.is_empty() {
        session.screen.tell("no tool: the agent has no live grant, or nothing in it is callable");
        return Ok(());
    }
    session.screen.answer(&table.to_string())
}

/// What came back: a result on standard output, an error on standard error in its own words.
fn told(reply: &Reply, as_json: bool, session: &Session) -> Result<(), CliFault> {
    match reply.verdict() {
        reply::Verdict::Error { code, message, data } => {
            session.screen.tell_foreign(&format!("MCP error {code}: {message}"));
            if let Some(data) = data {
                session.screen.tell_foreign(&data.to_string());
            }
            Err(CliFault::Said)
        }
        reply::Verdict::ToolError(text) => {
            session.screen.tell_foreign(&text);
            Err(CliFault::Said)
        }
        reply::Verdict::Result { structured, whole, .. } if as_json => session.screen.json(structured.unwrap_or(whole)),
        reply::Verdict::Result { text, .. } => session.screen.foreign(&text),
    }
}

/// Where to: as typed, as the running gateway says, or as the configuration has it.
async fn url(call: &CallArgs, session: &Session) -> Result<String, CliFault> {
    if let Some(url) = &call.url {
        return Ok(url.clone());
    }
    // An agent's own user can't ask the gateway for its address; the configuration has it too.
    if let Ok(Some(client)) = Client::find(&session.places).await
        && let Ok(Status { agents_url: Some(url), .. }) = client.get::<Status>("status").await
    {
        return Ok(url);
    }
    if session.around.variable("BAILIWICK_TOKEN").is_none() {
        return Err(super::client::not_running(&session.places));
    }
    let server = session.places.load(&session.around)?.server;
    Ok(server.public_url(server.listen))
}

/// By which token: that of the environment, else one for five minutes.
async fn token(call: &CallArgs, session: &Session) -> Result<String, CliFault> {
    if let Some(token) = session.around.variable("BAILIWICK_TOKEN") {
        if call.agent.is_some() {
            session.screen.tell("note: BAILIWICK_TOKEN is set and is used; --agent is not");
        }
        return Ok(token.to_owned());
    }
    let client = session.client().await?;
    let agent = match &call.agent {
        Some(agent) => agent.clone(),
        None => only_agent(client.get("agents").await?)?,
    };
    let wanted = TokenWanted { ttl_ms: bailiwick_store::CALL_TOKEN_MS };
    let made: TokenMade = client.post(&format!("agents/{}/tokens", segment(&agent)?), &wanted).await?;
    Ok(made.token)
}

fn only_agent(agents: Vec<AgentView>) -> Result<String, CliFault> {
    let ids: Vec<String> = agents.into_iter().map(|agent| agent.id).collect();
    match ids.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(CliFault::refused("no agent is registered", Some("register one in the configuration: `[[agents]]`"))),
        several => Err(CliFault::usage(
            "there are several agents, and none is named",
            format!("name one: `--agent` {}", several.join(" | ")),
        )),
    }
}
