//! Authorization details (RFC 9396) of the type `mcp_task`: a task grant in the words of a request, and of an answer.

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_pipeline::{
    constraint::Bound,
    grant::{Budget, Grant, ToolPattern},
};
use bailiwick_policy::{Band, Kind};
use bailiwick_schemas::json::{self, Limits};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::reply::Refused;
use crate::admin::api::GrantWanted;

/// The only type there is.
pub(super) const TYPE: &str = "mcp_task";

/// So many tools one request may name, of names so long, and a purpose of so many characters: it goes on record.
const TOOLS: usize = 256;
const NAME: usize = 160;
const PURPOSE: usize = 500;

/// One task grant. Times are in seconds, as everywhere in OAuth.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct McpTask {
    r#type: String,
    purpose: String,
    tools: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kinds: Option<BTreeSet<Kind>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    args: BTreeMap<String, BTreeMap<String, Bound>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ceiling: Option<Band>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_in: Option<u64>,
    #[serde(default, skip_serializing_if = "is_unlimited")]
    budget: Budget,
    #[serde(default)]
    delegation_depth: u8,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data_classes: Option<BTreeSet<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    destinations: Option<BTreeSet<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idle_timeout: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_rate: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ticket: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    tool_search: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    may_complete: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    may_request: bool,
}

fn is_unlimited(budget: &Budget) -> bool {
    *budget == Budget::default()
}

/// What is wanted, by the parameter `authorization_details`. Its agent is still to be said.
pub(super) fn wanted(parameter: &str) -> Result<GrantWanted, Refused> {
    let bad = |why: String| Refused::invalid("invalid_authorization_details", "authorization_details", why);
    // No key twice, no endless depth.
    json::check(parameter.as_bytes(), Limits { bytes: parameter.len(), depth: 16 }).map_err(|fault| bad(fault.to_string()))?;
    let given: Value = serde_json::from_str(parameter).map_err(|fault| bad(fault.to_string()))?;
    let only = match given {
        Value::Array(mut all) if all.len() == 1 => all.pop().unwrap_or_default(),
        Value::Array(_) => return Err(bad("one object is asked for at a time: one grant".to_owned())),
        one => one,
    };
    if only.get("type").and_then(Value::as_str) != Some(TYPE) {
        return Err(bad(format!("the only type there is, is `{TYPE}`")));
    }
    let task: McpTask = serde_json::from_value(only).map_err(|fault| bad(fault.to_string()))?;
    if task.tools.len() > TOOLS || task.tools.iter().any(|tool| tool.len() > NAME) {
        return Err(bad(format!("at most {TOOLS} tools of {NAME} characters can be named: use a wildcard")));
    }
    if task.purpose.chars().count() > PURPOSE {
        return Err(bad(format!("the purpose must be one line of at most {PURPOSE} visible characters")));
    }
    if task.max_rate == Some(0) {
        return Err(bad("`max_rate` is calls in a second, and 1 at least: leave it out for no limit of its own".to_owned()));
    }
    let millis = |seconds: Option<u64>, what: &str| match seconds {
        Some(0) => Err(bad(format!("`{what}` is in seconds, and 1 at least"))),
        seconds => Ok(seconds.map(|seconds| seconds.saturating_mul(1000))),
    };
    Ok(GrantWanted {
        id: None,
        agent: String::new(),
        owner: None,
        ttl_ms: millis(task.expires_in, "expires_in")?,
        idle_ms: millis(task.idle_timeout, "idle_timeout")?,
        purpose: task.purpose,
        tools: task.tools,
        kinds: task.kinds,
        args: task.args,
        ceiling: task.ceiling,
        environment: task.environment,
        budget: task.budget,
        default: false,
        tool_search: task.tool_search,
        parent: None,
        delegation_depth: task.delegation_depth,
        data_classes: task.data_classes,
        destinations: task.destinations,
        max_rate: task.max_rate,
        ticket: task.ticket,
        may_complete: task.may_complete,
        may_request: task.may_request,
    })
}

/// The kinds of all rights of a grant; none where one of them is for all kinds. A grant is made with one list for all; what was added to it
/// has its own.
fn kinds_of(grant: &Grant) -> Option<BTreeSet<Kind>> {
    let each = grant.capabilities.iter().map(|capability| capability.kinds.clone());
    each.collect::<Option<Vec<_>>>().map(|each| each.into_iter().flatten().collect())
}

/// What a grant says, as `authorization_details`.
pub(super) fn granted(grant: &Grant) -> Value {
    let args = grant.capabilities.iter().filter_map(|capability| match &capability.tools {
        ToolPattern::Tool(name) if !capability.args.is_empty() => Some((name.to_string(), capability.args.clone())),
        _ => None,
    });
    let task = McpTask {
        r#type: TYPE.to_owned(),
        purpose: grant.purpose.clone(),
        tools: grant.capabilities.iter().map(|capability| capability.tools.to_string()).collect(),
        kinds: kinds_of(grant),
        args: args.collect(),
        ceiling: Some(grant.ceiling),
        environment: Some(grant.environment.clone()),
        expires_in: None,
        budget: grant.budget.clone(),
        delegation_depth: grant.delegation_depth,
        data_classes: grant.data_classes.clone(),
        destinations: grant.destinations.clone(),
        idle_timeout: grant.idle_ms.map(|idle_ms| (idle_ms / 1000).max(1)),
        max_rate: grant.max_rate,
        ticket: grant.ticket.clone(),
        tool_search: grant.tool_search,
        may_complete: grant.may_complete,
        may_request: grant.may_request,
    };
    json!([task])
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

    use super::*;

    const ALL: &str = r#"[{"type":"mcp_task","purpose":"look","tools":["s__a","s__b"],"kinds":["read"],"args":{"s__a":{"/p":{"eq":"x"}}},
        "ceiling":"low","environment":"default","expires_in":600,"budget":{"calls":3,"tools":{"s__a":1}},"delegation_depth":1,
        "data_classes":["internal"],"destinations":["example.com"],"idle_timeout":60,"ticket":"T-1","tool_search":true,"may_complete":true}]"#;

    #[test]
    fn all_that_can_be_said_is_read() {
        let wanted = wanted(ALL).unwrap();
        assert_eq!((wanted.ttl_ms, wanted.idle_ms, wanted.delegation_depth), (Some(600_000), Some(60_000), 1));
        assert_eq!((wanted.tools.len(), wanted.args.len(), wanted.budget.calls), (2, 1, Some(3)));
        assert!(!wanted.default && wanted.parent.is_none() && wanted.id.is_none() && wanted.owner.is_none());
    }

    #[test]
    fn what_is_not_known_is_refused_and_not_ignored() {
        let task = |more: &str| format!(r#"{{"type":"mcp_task","purpose":"p","tools":["s__a"]{more}}}"#);
        assert!(wanted(&task("")).is_ok() && wanted(&format!("[{}]", task(""))).is_ok());
        for bad in [
            "",
            "{",
            "7",
            "null",
            "[]",
            "{}",
            "[7]",
            &task(r#","scope":"all""#),
            &task(r#","default":true"#),
            &task(r#","parent":"g""#),
            &task(r#","owner":"o""#),
            &task(r#","id":"g""#),
            &task(r#","tools":["s__b"]"#),
            &task(r#","args":{"s__a":{"/p":{"eq":1,"eq":2}}}"#),
            &task(r#","args":{"s__a":{"/p":{"equals":1}}}"#),
            &task(r#","budget":{"call":1}"#),
            &task(r#","expires_in":0"#),
            &task(r#","max_rate":0"#),
            &task(r#","expires_in":-1"#),
            &task(r#","expires_in":"600""#),
            &task(r#","delegation_depth":256"#),
            &task("").replace("mcp_task", "mcp_tasks"),
            &task("").replace(r#""type":"mcp_task","#, ""),
            &format!("[{},{}]", task(""), task("")),
            &task("").replace("s__a", &"a".repeat(161)),
            &task("").replace("\"p\"", &format!("\"{}\"", "p".repeat(501))),
            &task(&format!(r#","args":{{"s__a":{{"/p":{{"eq":{}1{}}}}}}}"#, "[".repeat(40), "]".repeat(40))),
        ] {
            let refused = wanted(bad).err().map(|refused| refused.error);
            assert_eq!(refused, Some("invalid_authorization_details"), "{bad}");
        }
    }
}
