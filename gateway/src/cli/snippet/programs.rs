//! The snippets for libraries: small programs that connect and list the tools.

use super::{
    TOKEN,
    connection::{Connection, Reach},
    name::{ClientName, Format},
    settings::{listed, quoted},
};

/// In the place of this line stands what is special to this gateway.
const PLACE: &str = "CONNECTION";

/// The program, where this client is a library.
pub(super) fn text(client: ClientName, connection: &Connection) -> Option<String> {
    let (http, stdio) = programs(client)?;
    let program = if matches!(connection.reach, Reach::Http { .. }) { http } else { stdio };
    let constants = if client.format() == Format::JavaScript { in_javascript(connection) } else { in_python(connection) };
    Some(program.replacen(PLACE, &constants, 1))
}

/// The program over HTTP, and the one over stdio.
fn programs(client: ClientName) -> Option<(&'static str, &'static str)> {
    macro_rules! both {
        ($http:literal, $stdio:literal) => {
            Some((include_str!(concat!("programs/", $http)), include_str!(concat!("programs/", $stdio))))
        };
    }
    match client {
        ClientName::Fastmcp => both!("fastmcp_http.py", "fastmcp_stdio.py"),
        ClientName::Langchain => both!("langchain_http.py", "langchain_stdio.py"),
        ClientName::OpenaiAgents => both!("openai_agents_http.py", "openai_agents_stdio.py"),
        ClientName::PydanticAi => both!("pydantic_ai_http.py", "pydantic_ai_stdio.py"),
        ClientName::Python => both!("python_http.py", "python_stdio.py"),
        ClientName::TypescriptV1 => both!("typescript_v1_http.mjs", "typescript_v1_stdio.mjs"),
        ClientName::TypescriptV2 => both!("typescript_v2_http.mjs", "typescript_v2_stdio.mjs"),
        ClientName::ClaudeCode
        | ClientName::ClaudeDesktop
        | ClientName::Codex
        | ClientName::Cursor
        | ClientName::GeminiCli
        | ClientName::Goose
        | ClientName::Inspector
        | ClientName::Opencode
        | ClientName::Vscode => None,
    }
}

fn in_python(connection: &Connection) -> String {
    let reach = match &connection.reach {
        Reach::Http { url } => {
            let header = format!("f\"Bearer {{os.environ['{TOKEN}']}}\"");
            format!("ENDPOINT = {}\nHEADERS = {{\"Authorization\": {header}}}", quoted(url))
        }
        Reach::Stdio { command, arguments } => format!("COMMAND = {}\nARGUMENTS = {}", quoted(command), listed(arguments)),
    };
    format!(
        "{reach}\n# Seconds that one call may take: it may be held until a person has approved it.\nPATIENCE = {}",
        connection.patience
    )
}

fn in_javascript(connection: &Connection) -> String {
    let reach = match &connection.reach {
        Reach::Http { url } => {
            let header = format!("`Bearer ${{process.env.{TOKEN}}}`");
            format!("const ENDPOINT = {};\nconst HEADERS = {{ Authorization: {header} }};", quoted(url))
        }
        Reach::Stdio { command, arguments } => {
            format!("const COMMAND = {};\nconst ARGUMENTS = {};", quoted(command), listed(arguments))
        }
    };
    let millis = connection.patience.saturating_mul(1000);
    format!(
        "{reach}\n// Milliseconds that one call may take: it may be held until a person has approved it. Goes with each request.\nconst PATIENCE = {{ timeout: {millis} }};"
    )
}
