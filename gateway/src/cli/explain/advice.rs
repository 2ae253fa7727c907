//! What would allow a call that was refused, or what to look at next. Nothing here is done by itself.

use bailiwick_schemas::exposure::OWN;

use super::origin::Origin;
use crate::cli::screen::shown;

/// A refusal, as far as the advice depends on it.
#[derive(Debug, Default)]
pub(super) struct Refusal<'a> {
    pub(super) reason: &'a str,
    pub(super) detail: Option<&'a str>,
    pub(super) agent: Option<&'a str>,
    pub(super) tool: Option<&'a str>,
    pub(super) grant: Option<&'a str>,
    pub(super) approval: Option<&'a str>,
}

/// The tool that says what became of a held call.
const STATUS: &str = {
    let [.., status] = OWN;
    status
};

/// What the record says of a tool that no grant could cover.
const NO_SUCH_TOOL: &str = "no connector has a callable tool";
/// What it says of a grant whose tools are listed, not looked for.
const NO_SEARCH: &str = "has no tool search";

/// What to do about it.
pub(super) fn advice(refusal: &Refusal<'_>, origin: &Origin) -> Option<String> {
    let again = &origin.again;
    let agent = refusal.agent.map_or_else(|| "AGENT".to_owned(), shown);
    let tool = refusal.tool.map_or_else(|| "TOOL".to_owned(), shown);
    let connector = tool.split("__").next().unwrap_or_default();
    let grant = refusal.grant.map(shown);
    let new_grant = format!("{again} grants create --agent {agent} --purpose … --tools {tool}");
    let in_config = refusal.grant.and_then(|grant| origin.grant(grant)).map(|place| shown(&place));
    Some(match refusal.reason {
        "unknown_tool" if refusal.tool == Some(STATUS) => {
            "if agents are to ask what became of calls that are held, set `approvals.status_tool = true`; it is there under grants with a tool \
             that could be held"
                .to_owned()
        }
        "unknown_tool" if refusal.tool.is_some_and(|tool| OWN.contains(&tool)) => {
            if refusal.detail.is_some_and(|detail| detail.contains(NO_SEARCH)) {
                "if the agent is to look for tools, set `tool_search = true` in its grant, or make one with `--tool-search`"
                    .to_owned()
            } else if let Some(key) =
                ["may_complete", "may_request"].into_iter().find(|key| refusal.detail.is_some_and(|detail| detail.contains(key)))
            {
                format!(
                    "if the agent is to have it, set `{key} = true` in its grant, or make one with `--{}`",
                    key.replace('_', "-")
                )
            } else {
                "it asked for the definition of a tool that it has not: what it has it finds with search_tools".to_owned()
            }
        }
        "unknown_tool" if refusal.detail.is_some_and(|detail| detail.starts_with(NO_SUCH_TOOL)) => {
            if origin.has_connector(connector) {
                format!("if `{connector}` offers it, accept it first: {again} connectors pin {connector}")
            } else {
                format!("no connector is called `{connector}`: {again} connectors list")
            }
        }
        "unknown_tool" => match (grant, in_config) {
            (Some(grant), Some(place)) => {
                format!(
                    "if its task needs it, add \"{tool}\" to `tools` of grant {grant} ({place}) and start anew;\nor for a task of its own: {new_grant}"
                )
            }
            (Some(grant), None) => format!("grant {grant} can't be widened; if the task needs it: {new_grant}"),
            (None, _) => format!("give the agent a grant: {new_grant}"),
        },
        "argument_out_of_grant" => match (grant, in_config) {
            (Some(grant), Some(place)) => format!("call within the bounds, or change `args` of grant {grant} ({place})"),
            _ => format!("call within the bounds, or make a grant with others: {new_grant} --arg …"),
        },
        "policy_forbids" | "policy_error" | "opaque_argument" => {
            "the rule decides: change it (`policy check` judges it), or leave the call".to_owned()
        }
        "no_policy_permits" => "no `permit` covers it: add one to the policies (`policy check` judges it)".to_owned(),
        "choose_grant" => "name one in the header Bailiwick-Grant (`call --grant ID`), or use a grant's own token".to_owned(),
        "grant_not_live" | "grant_ended" => format!("the task needs a new grant: {new_grant}"),
        "no_longer_proven" => format!("if the agent is to go on: {again} agents token {agent}   makes another token"),
        "budget_exhausted" => format!("the grant is used up; if the task goes on: {new_grant}"),
        "approval_denied" => "a person said no; ask them, or leave the call".to_owned(),
        "approval_pending" => format!("{again} approvals approve {}", refusal.approval.map_or_else(|| "CODE".to_owned(), shown)),
        "too_many_pending" => format!("decide on what waits first: {again} approvals list"),
        "tool_drifted" => {
            format!("{again} connectors diff {connector}   shows what changed; `connectors pin {connector}` accepts it")
        }
        "connector_unavailable" | "connector_closed" | "unsent" | "timeout" | "protocol" => {
            format!("{again} connectors test {connector}   starts its server and shows what it writes")
        }
        "result_refused" => format!("its server answers what may not pass: {again} connectors show {connector}"),
        "credential_taken_back" => {
            format!("somebody took its credential back while it was under way: look at what it did, and call again; {again} audit search --stream admin --event lease_revoked   says who")
        }
        "credential_unavailable" => "mend the credential of the connector; `doctor` looks for it".to_owned(),
        "invalid_arguments" => "the arguments don't fit the tool's schema: the agent was told the places".to_owned(),
        "unauthenticated" => format!("no valid token was shown; {again} agents token AGENT   makes one"),
        "foreign_site" => {
            "it came under a Host or from an Origin that is not served: `server.allowed_hosts`, `server.allowed_origins`"
                .to_owned()
        }
        "trail_lost" | "approvals_lost" => "mend the disk, then start the gateway anew".to_owned(),
        _ => return None,
    })
}
