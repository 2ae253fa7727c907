//! The clients that snippets are written for.

#![expect(clippy::doc_markdown, reason = "backticks are noise in a terminal")]

use clap::ValueEnum;

use super::connection::Reach;

/// A client that an agent can be: an application with a settings file, or a library with programs of one's own around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClientName {
    /// Claude Code
    ClaudeCode,
    /// Claude Desktop: over stdio only
    ClaudeDesktop,
    /// Codex CLI
    Codex,
    /// Cursor
    Cursor,
    /// FastMCP's client, Python
    Fastmcp,
    /// Gemini CLI
    GeminiCli,
    /// Goose
    Goose,
    /// The MCP Inspector
    Inspector,
    /// LangChain's MCP adapters, Python
    Langchain,
    /// The OpenAI Agents SDK, Python
    OpenaiAgents,
    /// opencode
    Opencode,
    /// Pydantic AI, Python
    PydanticAi,
    /// The MCP SDK for Python
    Python,
    /// The MCP SDK for TypeScript, first generation
    TypescriptV1,
    /// The MCP SDK for TypeScript, second generation
    TypescriptV2,
    /// Visual Studio Code
    Vscode,
}

/// What a snippet is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Toml,
    Yaml,
    Python,
    JavaScript,
}

impl Format {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Toml => "toml",
            Self::Yaml => "yaml",
            Self::Python => "python",
            Self::JavaScript => "javascript",
        }
    }
}

/// How a client learns how long it may wait for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// The snippet says it.
    Set,
    /// The snippet has it ready, and each call must be given it.
    PerCall,
    /// Nothing can be set, or nothing that its calls obey.
    Unset,
}

impl ClientName {
    /// Its name, as it is typed.
    pub(super) fn typed(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether it can be given a URL and a token.
    pub(super) fn speaks_http(self) -> bool {
        self != Self::ClaudeDesktop
    }

    pub(super) fn format(self) -> Format {
        match self {
            Self::Codex => Format::Toml,
            Self::Goose => Format::Yaml,
            Self::Fastmcp | Self::Langchain | Self::OpenaiAgents | Self::PydanticAi | Self::Python => Format::Python,
            Self::TypescriptV1 | Self::TypescriptV2 => Format::JavaScript,
            Self::ClaudeCode
            | Self::ClaudeDesktop
            | Self::Cursor
            | Self::GeminiCli
            | Self::Inspector
            | Self::Opencode
            | Self::Vscode => Format::Json,
        }
    }

    /// Where the snippet belongs.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::ClaudeCode => ".mcp.json in the project's folder, or ~/.claude.json",
            Self::ClaudeDesktop => "claude_desktop_config.json (Settings, Developer, Edit Config)",
            Self::Codex => "~/.codex/config.toml",
            Self::Cursor => ".cursor/mcp.json in the project's folder, or ~/.cursor/mcp.json",
            Self::GeminiCli => ".gemini/settings.json in the project's folder, or ~/.gemini/settings.json",
            Self::Goose => "~/.config/goose/config.yaml",
            Self::Inspector => "a file of its own: mcp-inspector --config FILE",
            Self::Opencode => "opencode.json in the project's folder, or ~/.config/opencode/opencode.json",
            Self::Vscode => ".vscode/mcp.json in the project's folder, or the user's mcp.json",
            Self::Langchain => "a program of yours: as it is it lists the tools (pip install langchain-mcp-adapters)",
            Self::OpenaiAgents => "a program of yours: as it is it lists the tools (pip install openai-agents)",
            Self::PydanticAi => "a program of yours: as it is it lists the tools (pip install 'pydantic-ai-slim[mcp]')",
            Self::Python => "a program of yours: as it is it lists the tools (pip install 'mcp>=2')",
            Self::Fastmcp => "a program of yours: as it is it lists the tools (pip install 'fastmcp>=4')",
            Self::TypescriptV1 => "a module of yours (.mjs): as it is it lists the tools (npm i @modelcontextprotocol/sdk)",
            Self::TypescriptV2 => "a module of yours (.mjs): as it is it lists the tools (npm i @modelcontextprotocol/client)",
        }
    }

    pub(super) fn waits(self) -> Waits {
        match self {
            Self::ClaudeDesktop | Self::Cursor | Self::Inspector | Self::Vscode => Waits::Unset,
            Self::TypescriptV1 | Self::TypescriptV2 => Waits::PerCall,
            _ => Waits::Set,
        }
    }

    /// What else a person has to know to get on with it.
    pub(super) fn remarks(self, reach: &Reach) -> &'static [&'static str] {
        let over_http = matches!(reach, Reach::Http { .. });
        match self {
            Self::ClaudeDesktop => &["Claude Desktop starts programs only: over HTTP it can't be given a token"],
            Self::Cursor if over_http => {
                &["started from the desktop, it sees the variables of your session and not those of a shell"]
            }
            Self::GeminiCli => &["the folder must be trusted in Gemini CLI, or the server is shown as disabled"],
            Self::Inspector => {
                &["`requestTimeout` is for its web page; its command line gives every call up after 60 s, whatever the file says"]
            }
            Self::Opencode => &["this is for opencode 1; opencode 2 has other keys"],
            Self::OpenaiAgents => &["give `server` to an agent: Agent(…, mcp_servers=[server])"],
            Self::PydanticAi => &["give `toolset` to an agent: Agent(…, toolsets=[toolset])"],
            Self::Langchain => &["each call opens a session of its own, which is all right"],
            _ => &[],
        }
    }
}
