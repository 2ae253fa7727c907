//! `grants suggest`: what an agent used of its grants, and the narrower ones that would have been enough, to be reviewed.

mod wording;

use std::collections::BTreeSet;

use bailiwick_config::{Config, nearest};
use bailiwick_pipeline::{
    grant::{Grant, ToolPattern},
    ports::Clock as _,
};
use bailiwick_schemas::names::QualifiedName;
use bailiwick_store::{LiveGrants, Store};
use serde_json::{Value, json};

use super::{
    Session,
    args::SuggestArgs,
    audit,
    client::Client,
    fault::CliFault,
    screen::{Page, shown},
    units::span,
};
use crate::{
    adapters::SystemClock,
    admin::api::GrantView,
    suggesting::{Issue, Made, Suggested, read, rule, suggest},
};

/// A grant as it is, and how it comes to be.
struct Present {
    grant: Grant,
    issue: Issue,
}

/// A grant as it is, and what is suggested instead.
struct Review {
    present: Present,
    suggested: Suggested,
}

/// Does it. Nothing is changed: what is suggested is for a person to take up.
pub(super) async fn run(wanted: &SuggestArgs, session: &Session) -> Result<(), CliFault> {
    let config = session.places.load(&session.around)?;
    if config.agent(&wanted.agent).is_none() {
        let meant = nearest(&wanted.agent, config.agents.iter().map(|agent| agent.agent.id.as_str()));
        let what = format!("there is no agent `{}` in the configuration", shown(&wanted.agent));
        return Err(CliFault::refused(&what, meant.map(|meant| format!("did you mean `{meant}`?")).as_deref()));
    }
    let since_ms = SystemClock.now_ms().saturating_sub(wanted.since.as_millis());
    let made = read(&audit::reader(session)?, since_ms, &keyed(session)?)?;
    let reviews: Vec<Review> = presents(&wanted.agent, &config, session)
        .await?
        .into_iter()
        .map(|present| Review { suggested: suggest(&present.grant, &made, present.issue), present })
        .collect();
    if reviews.is_empty() {
        return Err(CliFault::refused(
            &format!("agent `{}` has no grant that could be narrowed", shown(&wanted.agent)),
            Some("`bailiwick grants create` makes one, or `[[grants]]` in the configuration"),
        ));
    }
    // A rule is about the agent, whatever it acted under; and it is asked of whoever acts under what was handed on from it, too.
    let is_its = |call: &&Made| {
        let is_paid = |id: &String| reviews.iter().any(|review| review.present.grant.id.as_str() == id);
        call.succeeded && (call.agent == wanted.agent || call.paid_by.iter().any(is_paid))
    };
    let tools: BTreeSet<QualifiedName> = made.iter().filter(is_its).map(|call| call.tool.clone()).collect();
    let rule = rule(&wanted.agent, &tools);
    if wanted.form.json {
        let reviews: Vec<Value> = reviews.iter().map(|review| review.to_json(rule.as_deref())).collect();
        return session.screen.json(&Value::Array(reviews));
    }
    let mut text = Page::default();
    for review in &reviews {
        review.add_to(&mut text, &made, wanted);
    }
    if let Some(rule) = rule {
        text.add(format_args!(
            "a rule that holds the agent to these tools, whatever its grants say (a file of its own beside your policies; where it used every tool\nthat was accepted it forbids nothing, and `policy check` says so):\n\n{}\n",
            indented(&rule)
        ));
    }
    session.screen.answer(&text.into_text())
}

/// Digests bytes as the record does, where the key is there.
fn keyed(session: &Session) -> Result<impl Fn(&[u8]) -> Option<String> + use<>, CliFault> {
    const KEY: &str = "digest.key";
    let data = &session.places.data;
    let key = if data.path().join(KEY).is_file() { Some(data.key(KEY, || [0; 32])?) } else { None };
    Ok(move |bytes: &[u8]| key.map(|key| format!("blake3-keyed:{}", blake3::keyed_hash(&key, bytes).to_hex())))
}

/// The grants of an agent: those of the configuration as they are written, and those that live and were made beside them.
async fn presents(agent: &str, config: &Config, session: &Session) -> Result<Vec<Present>, CliFault> {
    let written = config.grants.iter().filter(|terms| terms.agent.as_str() == agent).map(|terms| {
        let grant = terms.to_grant(0, 1);
        Present { issue: Issue::Anew(grant.expires_at_ms), grant }
    });
    let mut presents: Vec<Present> = written.collect();
    let created: Vec<Grant> = if let Some(client) = Client::find(&session.places).await? {
        let grants: Vec<GrantView> = client.get("grants").await?;
        let own = grants.into_iter().filter(|grant| grant.agent == agent && !grant.from_config);
        own.map(terms_of).collect::<Result<_, _>>()?
    } else if session.places.data.path().join("state.db").is_file() {
        let stored = LiveGrants::load(&Store::open(session.places.data.path())?, &[])?;
        let terms = stored.list().into_iter().filter(|entry| entry.ending.is_none()).map(|entry| entry.grant.terms().clone());
        terms.filter(|terms| terms.agent.as_str() == agent && !terms.from_config).collect()
    } else {
        Vec::new()
    };
    presents.extend(created.into_iter().map(|grant| Present { grant, issue: Issue::Once }));
    Ok(presents)
}

/// The terms of a grant, as the gateway tells of it.
fn terms_of(view: GrantView) -> Result<Grant, CliFault> {
    let odd = |what: &str| CliFault::refused(&format!("the gateway names `{}`, which is no name", shown(what)), None);
    let id = view.id.parse().map_err(|_| odd(&view.id))?;
    let agent = view.agent.parse().map_err(|_| odd(&view.agent))?;
    let parent = view.chain.first().map(|parent| parent.parse().map_err(|_| odd(parent))).transpose()?;
    let bare = Grant::bare(id, agent, view.capabilities, view.not_before_ms..view.expires_at_ms);
    Ok(Grant {
        revision: view.revision,
        owner: view.owner,
        purpose: view.purpose,
        ceiling: view.ceiling,
        environment: view.environment,
        budget: view.budget,
        default: view.default,
        tool_search: view.tool_search,
        parent,
        delegation_depth: view.delegation_depth,
        data_classes: view.data_classes,
        destinations: view.destinations,
        idle_ms: view.idle_ms,
        max_rate: view.max_rate,
        ticket: view.ticket,
        created_by: view.created_by,
        may_complete: view.may_complete,
        may_request: view.may_request,
        ..bare
    })
}

impl Review {
    /// The grant as it is, and as it is suggested, line by line.
    fn lines(&self) -> (Vec<String>, Option<Vec<String>>) {
        let lines = |grant: &Grant| wording::lines(grant, grant.expires_at_ms.saturating_sub(grant.not_before_ms));
        (lines(&self.present.grant), self.suggested.grant.as_ref().map(lines))
    }

    /// What can't be said more narrowly, and why.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        for tool in &self.suggested.no_longer_given {
            remarks.push(format!("{tool} was used beyond these terms (an extension, or terms of before): it stays out"));
        }
        for (tool, used) in &self.suggested.used {
            let calls = if used.calls == 1 { "1 call".to_owned() } else { format!("{} calls", used.calls) };
            let different = used.different;
            let what = if used.known == used.calls {
                "all their arguments are known".to_owned()
            } else if used.is_read {
                format!(
                    "{different} different arguments; what rules read of them is on record, of the rest a keyed digest: its bounds stay"
                )
            } else {
                format!(
                    "{different} different arguments; the record keeps a keyed digest of them and no more, so their bounds stay"
                )
            };
            remarks.push(format!("{tool}: {calls}, {what}"));
        }
        if let Issue::Anew(ttl_ms) = self.present.issue {
            remarks.push(format!(
                "ttl: the configuration issues it anew each {}; the record does not say how long a task took",
                span(ttl_ms)
            ));
        }
        remarks
    }

    fn never_used(&self) -> Vec<String> {
        self.suggested.never_used.iter().map(ToolPattern::to_string).collect()
    }

    fn add_to(&self, text: &mut Page, made: &[Made], wanted: &SuggestArgs) {
        let id = self.present.grant.id.as_str();
        let count = made.iter().filter(|call| call.paid_by.iter().any(|paid| paid == id)).count();
        let since = span(wanted.since.as_millis());
        text.add(format_args!("grant {id} of agent {}: {count} calls in the last {since}\n\n", shown(&wanted.agent)));
        match self.lines() {
            (present, Some(narrow)) => {
                text.add(format_args!("{}\n", indented(&wording::diff(&present, &narrow, id))));
            }
            (_, None) => text.add(format_args!("  nothing succeeded under it: it can be left out altogether\n\n")),
        }
        let never = self.never_used();
        if !never.is_empty() {
            text.add(format_args!("  never used: {}\n", never.join(", ")));
        }
        for remark in self.remarks() {
            text.add(format_args!("  {}\n", shown(&remark)));
        }
        text.add(format_args!("\n"));
    }

    fn to_json(&self, rule: Option<&str>) -> Value {
        let (present, narrow) = self.lines();
        let used = self.suggested.used.iter().map(|(tool, used)| {
            (tool.to_string(), json!({"calls": used.calls, "different_arguments": used.different, "known_arguments": used.known}))
        });
        let no_longer_given: Vec<String> = self.suggested.no_longer_given.iter().map(ToString::to_string).collect();
        let diff = narrow.as_ref().map(|narrow| wording::diff(&present, narrow, self.present.grant.id.as_str()));
        json!({
            "id": self.present.grant.id.as_str(),
            "state": if narrow.is_some() { "narrower" } else { "unused" },
            "agent": self.present.grant.agent.as_str(),
            "suggested": narrow.map(|lines| lines.join("\n")),
            "present": present.join("\n"),
            "diff": diff,
            "never_used": self.never_used(),
            "no_longer_given": no_longer_given,
            "used": used.collect::<serde_json::Map<_, _>>(),
            "remarks": self.remarks(),
            "rule": rule,
        })
    }
}

fn indented(text: &str) -> String {
    let mut page = Page::default();
    for line in text.lines() {
        page.add(format_args!("  {line}\n"));
    }
    page.into_text()
}
