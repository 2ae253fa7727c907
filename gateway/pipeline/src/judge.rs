//! What would become of a call: the way as far as nobody is asked, nothing is sent, and nothing counts.

use std::sync::Arc;

use bailiwick_policy::Requirement;

use crate::{
    catalogue::Tool,
    gates,
    grant::LiveGrant,
    handle::Gateway,
    principal::Principal,
    received::{Asked as AskedFor, Received},
    records::Asked,
    refusal::Refusal,
    way::Way,
};

/// What would become of a call. It is told to operators only: nothing can be sent by it.
#[derive(Debug)]
#[must_use = "a call is judged to be told about"]
pub struct Judged {
    /// The gate that was reached: the one that refuses, or `permit`.
    pub gate: &'static str,
    /// Who would have sent it, where that was proven.
    pub principal: Option<Principal>,
    /// The grant it would act under.
    pub grant: Option<Arc<LiveGrant>>,
    /// The tool, where it exists for the sender.
    pub tool: Option<Arc<Tool>>,
    /// The rules that determine it.
    pub rules: Vec<String>,
    /// The policies they are from.
    pub policy_digest: Option<String>,
    /// What they were asked, where they were.
    pub asked: Option<Asked>,
    /// What a person would have to approve first (nothing if it is empty), or why it would be refused.
    pub ended: Result<Vec<Requirement>, Refusal>,
}

impl Gateway {
    /// Walks a call through the gates `identify` to `permit`, the same that every call goes through, and ends there, where budgets have
    /// room for it. Nothing of it goes on record or into a trace; no person is asked, no budget debited, no secret lent and no server started.
    pub async fn judge<'r>(&'r self, received: &'r Received) -> Judged {
        let mut way = Way::aside(received, self.ports());
        let ended = self.walk_to_permit(received, &mut way).await;
        let seen = &mut way.seen;
        let rules = match &ended {
            Ok(_) => std::mem::take(&mut seen.rules),
            Err(refusal) => refusal.rules.clone(),
        };
        Judged {
            gate: seen.gate,
            principal: seen.principal.take(),
            grant: seen.grant.take(),
            tool: seen.tool.take(),
            rules,
            policy_digest: seen.policy_digest.take(),
            asked: seen.asked.take(),
            ended,
        }
    }

    /// The beginning of the way of a call.
    async fn walk_to_permit<'r>(&self, received: &'r Received, way: &mut Way<'r>) -> Result<Vec<Requirement>, Refusal> {
        let ports = self.ports();
        if matches!(received.asked(), AskedFor::List { .. } | AskedFor::Offers { .. }) {
            return Err(Refusal::internal("only a call can be judged"));
        }
        let call = gates::identify(received, ports, way).await?;
        if let AskedFor::Call { name, arguments } = received.asked()
            && let Some(own) = self.own_tool(name)
        {
            return gates::admit(&call, own, arguments, ports, way).map(|_| Vec::new());
        }
        let call = gates::grant(call, ports, way)?;
        let call = gates::validate(call, ports, way)?;
        let call = gates::permit(call, ports, way)?;
        gates::has_room(&call, received)?;
        Ok(call.needs().to_vec())
    }
}
