//! An agent asks what became of a call of its own that was held for a person. What it is told is what the call itself would be told; of
//! anybody else's, of another task's and of what there never was it hears the same.

use serde_json::{Value, json};

use super::search::{Admitted, told};
use crate::{
    answer::ToolResult,
    ports::{ApprovalStands, Ports},
    refusal::Refusal,
    way::Way,
};

/// Says where it stands.
pub(crate) async fn status<'r>(call: Admitted<'r>, ports: &Ports, way: &mut Way<'r>) -> Result<ToolResult, Refusal> {
    let stage = way.enter("status", "bailiwick.approval.status", ports);
    let handle = call.arguments.get("approval").and_then(Value::as_str).unwrap_or_default();
    let (agent, grant, now_ms) = (&call.agent.id, &call.grant.terms().id, ports.clock.now_ms());
    let stands = ports.approvals.stands(handle, agent, grant, now_ms).ok_or_else(|| Refusal::unknown_approval(handle))?;
    way.trace.note(stage, "bailiwick.approval.id", stands.id.to_string());
    way.decide_allow(ports).map_err(|lost| Refusal::trail_lost(&lost))?;
    let result = told(&words(stands, now_ms), ports, way)?;
    way.leave(stage, ports);
    Ok(result)
}

fn words(stands: ApprovalStands, now_ms: u64) -> Value {
    let ApprovalStands { id, code, tool, state, reason, until_ms } = stands;
    let next = match state {
        "pending" => "Nobody has decided yet. Ask again later, or repeat exactly the same call to wait for the decision.",
        "approved" => "Repeat exactly the same call: it runs once.",
        "denied" => "Do not retry.",
        "executing" => "It is under way.",
        "succeeded" => "It ran. Do not call it again for the same purpose.",
        "failed" => {
            "It did not run, or its server answered with an error. Call it again where it is still wanted: a person is asked anew."
        }
        "unknown" => "It may have run: look at what it did before you call it again.",
        _ => "Nothing comes of it any more. Call it again where it is still wanted: a person is asked anew.",
    };
    let mut words = json!({"approval": id, "code": code, "tool": tool, "state": state, "next": next});
    if let Some(words) = words.as_object_mut() {
        let left_s = until_ms.map(|until_ms| until_ms.saturating_sub(now_ms).div_ceil(1000));
        words.extend(left_s.map(|left_s| ("left_s".to_owned(), left_s.into())));
        words.extend(reason.map(|reason| ("reason".to_owned(), reason.into())));
    }
    words
}
