//! The snippets for clients that read a settings file. Each writes variables in its own way.

use serde_json::{Value, json};

use super::{
    SERVER, TOKEN,
    connection::{Connection, Reach},
    name::ClientName,
};

/// The snippet, where this client has a settings file.
pub(super) fn text(client: ClientName, connection: &Connection) -> Option<String> {
    let of = |top: &str, server: Value| Some(format!("{:#}", json!({ top: { SERVER: server } })));
    match client {
        ClientName::ClaudeCode => of("mcpServers", claude_code(connection)),
        ClientName::ClaudeDesktop => of("mcpServers", launched(connection)),
        ClientName::Cursor => of("mcpServers", cursor(connection)),
        ClientName::GeminiCli => of("mcpServers", gemini_cli(connection)),
        ClientName::Inspector => of("mcpServers", inspector(connection)),
        ClientName::Opencode => of("mcp", opencode(connection)),
        ClientName::Vscode => Some(vscode(connection)),
        ClientName::Codex => Some(codex(connection)),
        ClientName::Goose => Some(goose(connection)),
        ClientName::Fastmcp
        | ClientName::Langchain
        | ClientName::OpenaiAgents
        | ClientName::PydanticAi
        | ClientName::Python
        | ClientName::TypescriptV1
        | ClientName::TypescriptV2 => None,
    }
}

/// Who is reached how, as most clients have it, with the token written as `token`.
fn usual(connection: &Connection, token: &str) -> Value {
    match &connection.reach {
        Reach::Http { url } => json!({ "type": "http", "url": url, "headers": { "Authorization": format!("Bearer {token}") } }),
        Reach::Stdio { command, arguments } => json!({ "type": "stdio", "command": command, "args": arguments }),
    }
}

fn with(mut server: Value, key: &str, value: Value) -> Value {
    if let Some(server) = server.as_object_mut() {
        server.insert(key.to_owned(), value);
    }
    server
}

fn without(mut server: Value, key: &str) -> Value {
    if let Some(server) = server.as_object_mut() {
        server.shift_remove(key);
    }
    server
}

fn millis(connection: &Connection) -> Value {
    Value::from(connection.patience.saturating_mul(1000))
}

fn claude_code(connection: &Connection) -> Value {
    with(usual(connection, &format!("${{{TOKEN}}}")), "timeout", millis(connection))
}

/// A program to start, and nothing else.
fn launched(connection: &Connection) -> Value {
    without(usual(connection, ""), "type")
}

/// It tells by the keys which way is meant.
fn cursor(connection: &Connection) -> Value {
    let server = usual(connection, &format!("${{env:{TOKEN}}}"));
    if matches!(connection.reach, Reach::Http { .. }) { without(server, "type") } else { server }
}

fn gemini_cli(connection: &Connection) -> Value {
    let server = with(usual(connection, &format!("${TOKEN}")), "timeout", millis(connection));
    if matches!(connection.reach, Reach::Stdio { .. }) { without(server, "type") } else { server }
}

/// Its file knows no variables: the token comes on its command line.
fn inspector(connection: &Connection) -> Value {
    let server = with(without(usual(connection, ""), "headers"), "protocolEra", json!("auto"));
    with(server, "requestTimeout", millis(connection))
}

fn opencode(connection: &Connection) -> Value {
    let server = match &connection.reach {
        Reach::Http { url } => json!({
            "type": "remote",
            "url": url,
            "headers": { "Authorization": format!("Bearer {{env:{TOKEN}}}") },
            "oauth": false,
        }),
        Reach::Stdio { command, arguments } => {
            let command: Vec<&String> = std::iter::once(command).chain(arguments).collect();
            json!({ "type": "local", "command": command })
        }
    };
    with(with(server, "enabled", json!(true)), "timeout", millis(connection))
}

/// It asks for the token once, and keeps it where secrets are kept.
fn vscode(connection: &Connection) -> String {
    let input = "bailiwick-token";
    let whole = json!({ "servers": { SERVER: usual(connection, &format!("${{input:{input}}}")) } });
    let description = "Bailiwick: what `agents token` prints";
    let inputs = json!([{ "type": "promptString", "id": input, "description": description, "password": true }]);
    let over_http = matches!(connection.reach, Reach::Http { .. });
    let whole = if over_http { with(whole, "inputs", inputs) } else { whole };
    format!("{whole:#}")
}

fn codex(connection: &Connection) -> String {
    let reach = match &connection.reach {
        Reach::Http { url } => format!("url = {}\nbearer_token_env_var = \"{TOKEN}\"", quoted(url)),
        Reach::Stdio { command, arguments } => format!("command = {}\nargs = {}", quoted(command), listed(arguments)),
    };
    format!("[mcp_servers.{SERVER}]\n{reach}\ntool_timeout_sec = {}\n", connection.patience)
}

/// It takes `env_keys` from its environment, else from its own keyring, and puts them into headers.
fn goose(connection: &Connection) -> String {
    let reach = match &connection.reach {
        Reach::Http { url } => format!(
            "    type: streamable_http\n    uri: {}\n    headers:\n      Authorization: {}\n    env_keys: {}\n",
            quoted(url),
            quoted(&format!("Bearer ${{{TOKEN}}}")),
            listed(&[TOKEN.to_owned()]),
        ),
        Reach::Stdio { command, arguments } => {
            format!("    type: stdio\n    cmd: {}\n    args: {}\n", quoted(command), listed(arguments))
        }
    };
    let end = format!("    enabled: true\n    timeout: {}\n", connection.patience);
    format!("extensions:\n  {SERVER}:\n    name: {SERVER}\n{reach}{end}")
}

/// A text in double quotes, as JSON, TOML, YAML, Python and JavaScript all take it: only `"` and `\` need an escape, because what
/// can't be seen is not let in before.
pub(super) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// A list of texts, as all of them take it.
pub(super) fn listed(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}
