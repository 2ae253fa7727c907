//! What stands out in what the task does: looked for where policy decides, once for each call, and once more where amounts count.

use std::sync::{Arc, MutexGuard};

use bailiwick_policy::{Confirm, Decision, HistoryFacts, Kind, Requirement};
use serde_json::Value;

use super::{Permitted, Stop, Validated};
use crate::{
    catalogue::Tool,
    destination::{Sending, UNREAD},
    detect::{Act, Became, Entry, LABEL, Rule, Rules, Sort, Sums, Unreadable, Watched, amount, bit, sealed_amounts},
    grant::{Labels, LiveGrant},
    ids::AgentId,
    ports::Ports,
    received::Asked,
    records::{DetectionRecord, Outcome, SumsRecord},
    refusal::{DETECTED, Refusal},
    way::Way,
};

/// What was found when the call first came. It stays, however often the call walks.
pub(crate) struct Noted {
    rules: Arc<Rules>,
    /// The call's number in the histories of its grant and those above it.
    numbers: Vec<u64>,
    found: Vec<Found>,
    /// Of each grant of the chain: calls in the minute before, and calls that were refused.
    counts: Vec<(u64, u64)>,
    is_unreadable: bool,
}

/// One finding.
#[derive(Clone)]
struct Found {
    place: usize,
    seen: u64,
    is_new: bool,
    /// Its amount can't be read.
    is_blind: bool,
    /// What it came to is nobody's to know: a rule masks arguments of the tool.
    is_masked: bool,
}

/// What was found of a call by now.
pub(super) struct Noticed {
    rules: Arc<Rules>,
    found: Vec<Found>,
    names: Vec<String>,
    counts: Vec<(u64, u64)>,
    /// What it adds to which sums.
    amounts: Vec<(usize, u64)>,
}

impl Noticed {
    /// The names of the detections that fire.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Calls in the minute before and refused ones, of the grant so many hops up.
    pub(super) fn counts(&self, hop: usize) -> (u64, u64) {
        self.counts.get(hop).copied().unwrap_or_default()
    }

    fn fired(&self, act: Act) -> impl Iterator<Item = (&Rule, &Found)> {
        let all = self.found.iter().filter_map(|found| Some((self.rules.at(found.place)?, found)));
        all.filter(move |(rule, _)| rule.act == act)
    }

    /// The refusal, where one of them refuses.
    pub(super) fn refuses(&self) -> Result<(), Refusal> {
        if let Some((rule, found)) = self.fired(Act::Deny).next() {
            return Err(Refusal::detected(rule, &why(rule, found)));
        }
        // Nobody can say yes to an amount that can't be counted.
        match self.fired(Act::StepUp).find(|(_, found)| found.is_blind) {
            Some((rule, found)) => Err(Refusal::detected(rule, &why(rule, found))),
            None => Ok(()),
        }
    }

    /// What policy decided, and what people have to approve beside that.
    pub(super) fn joined(&self, decision: Arc<Decision>, tool: &Tool) -> Arc<Decision> {
        let needs: Vec<Requirement> = self.fired(Act::StepUp).map(|(rule, found)| need(rule, found, tool)).collect();
        if needs.is_empty() {
            return decision;
        }
        match decision.as_ref() {
            Decision::Deny { .. } => decision,
            Decision::Allow { determining, obligations } => {
                let (determining, obligations) = (determining.clone(), obligations.clone());
                Arc::new(Decision::StepUp { labels: needs, determining, obligations })
            }
            Decision::StepUp { labels, determining, obligations } => {
                let labels = labels.iter().cloned().chain(needs).collect();
                let (determining, obligations) = (determining.clone(), obligations.clone());
                Arc::new(Decision::StepUp { labels, determining, obligations })
            }
        }
    }
}

/// The name of the rule that a detection's need is of. No policy has one like it.
fn rule_of(rule: &Rule) -> Arc<str> {
    format!("detection/{}", rule.name).into()
}

fn need(rule: &Rule, found: &Found, tool: &Tool) -> Requirement {
    let confirm = Confirm::least_of(tool.band).max(Confirm::Approver);
    Requirement {
        label: LABEL.into(),
        confirm,
        remember: false,
        quorum: if confirm == Confirm::TwoPerson { 2 } else { 1 },
        ttl: None,
        rule: rule_of(rule),
        reason: Some(why(rule, found).into()),
    }
}

/// What was found, in words.
fn why(rule: &Rule, found: &Found) -> String {
    let (seen, seconds) = (found.seen, rule.window_ms / 1000);
    if found.is_blind {
        return "its amount is no whole number from 0 on, and can't be counted".to_owned();
    }
    match &rule.sort {
        Sort::Repeat { .. } => format!("the same call {seen} times within {seconds} s"),
        Sort::Cycle { turns, .. } => format!("the same {seen} calls {turns} times in a row within {seconds} s"),
        Sort::Probe { .. } => format!("{seen} other calls were refused within {seconds} s"),
        Sort::Sum { limit, per_task, .. } => {
            let most = |limit: &Option<u64>| limit.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string());
            let seen = if found.is_masked { "too much".to_owned() } else { seen.to_string() };
            format!("it would come to {seen} ({} within {seconds} s, {} for the task)", most(limit), most(per_task))
        }
        Sort::ReadThenSend { .. } => format!("data would go out {seen} s after something was read that must not go out"),
        Sort::FanOut { .. } => format!("{seen} connectors, destinations or grants within {seconds} s"),
    }
}

/// Looks at a call that came. None where nobody wants to know, or it is no call of its own: a wish to hear, or a question about a task. One
/// that is only judged is looked at and not kept.
pub(super) fn notice(call: &Validated<'_>, ports: &Ports, way: &mut Way<'_>) -> Result<Option<Box<Noticed>>, Refusal> {
    let granted = call.granted();
    let is_own = granted.task().is_none() && !granted.identified().received().is_watch();
    if !is_own || (ports.detections.is_idle() && !granted.world().policies.reads_past()) {
        return Ok(None);
    }
    let now_ms = ports.clock.now_ms();
    let is_judged = way.is_beside_record();
    if way.seen.noted.is_none() {
        let entry = entry_of(call, ports, now_ms);
        let noted = noted((granted.grant(), Some(granted.tool())), entry, ports.detections.rules(), is_judged, ports);
        way.seen.noted = Some(Box::new(noted));
    }
    let Some(noted) = &way.seen.noted else { return Ok(None) };
    let mut noticed = Box::new(Noticed {
        rules: Arc::clone(&noted.rules),
        found: noted.found.clone(),
        names: Vec::new(),
        counts: noted.counts.clone(),
        amounts: Vec::new(),
    });
    let summed = sums(call, &mut noticed, is_judged, ports, now_ms);
    if noted.is_unreadable || summed.is_err() {
        return unreadable(&noticed.rules).map(|()| None);
    }
    if is_judged {
        let names = noticed.found.iter().filter_map(|found| noticed.rules.at(found.place)).map(|rule| rule.name.to_string());
        noticed.names = names.collect();
    } else {
        tell(&mut noticed, ports, way, now_ms)?;
    }
    Ok(Some(noticed))
}

/// What can't be read holds nothing back that was only to be observed.
fn unreadable(rules: &Rules) -> Result<(), Refusal> {
    if rules.iter().all(|rule| rule.act == Act::Observe) {
        return Ok(());
    }
    Err(Refusal::internal("what is kept of the task for detections can't be read: complete the grant and make another"))
}

fn agents_of(grant: &LiveGrant) -> impl Iterator<Item = &AgentId> {
    grant.chain().map(|grant| &grant.terms().agent)
}

fn entry_of(call: &Validated<'_>, ports: &Ports, now_ms: u64) -> Entry {
    let (granted, detections) = (call.granted(), &ports.detections);
    let tool = granted.tool();
    let place = tool.destination.as_ref().map(|_| {
        let Sending { text, hosts, .. } = Sending::of(tool, call.arguments());
        match hosts.as_slice() {
            [] if text.is_empty() => 0,
            [host] if host != UNREAD => detections.key(host),
            // What is no host, or several, is one of its own.
            several => detections.call_key(&text, &Value::from(several)).max(1),
        }
    });
    Entry {
        at_ms: now_ms,
        call: detections.call_key(tool.name.as_str(), call.arguments()),
        place: place.unwrap_or(0),
        connector: detections.short_key(tool.connector.id.as_str()),
        grant: detections.short_key(granted.grant().terms().id.as_str()),
        rules: 0,
        became: Became::Went,
    }
}

/// Keeps a call in the history of its grant and of those above it, unless it is only judged, and says what that finds.
fn noted(
    (grant, tool): (&Arc<LiveGrant>, Option<&Tool>),
    entry: Entry,
    rules: Arc<Rules>,
    is_judged: bool,
    ports: &Ports,
) -> Noted {
    let about = rules.about(|| agents_of(grant), tool.map(|tool| &tool.name));
    let entry = Entry { rules: about, ..entry };
    let mut noted = Noted { rules, numbers: Vec::new(), found: Vec::new(), counts: Vec::new(), is_unreadable: false };
    for grant in grant.chain() {
        let history = &grant.watched(&ports.detections).history;
        match if is_judged { history.peek(&noted.rules, entry) } else { history.look(&noted.rules, entry) } {
            Ok(looked) => {
                noted.numbers.push(looked.number);
                noted.counts.push((looked.last_minute, looked.refused));
                for (place, seen, is_new) in looked.found {
                    // The nearest task that shows it says whether it is new.
                    if !noted.found.iter().any(|found| found.place == place) {
                        noted.found.push(Found { place, seen, is_new, is_blind: false, is_masked: false });
                    }
                }
            }
            Err(Unreadable) => noted.is_unreadable = true,
        }
    }
    let own = grant.watched(&ports.detections);
    for (place, rule) in noted.rules.iter().enumerate().filter(|(place, _)| about & bit(*place) != 0) {
        let Sort::ReadThenSend { untrusted, confidential } = rule.sort else { continue };
        if !tool.is_some_and(sends) {
            continue;
        }
        let from_ms = entry.at_ms.saturating_sub(rule.window_ms).max(1);
        let of = |grant: &LiveGrant| grant.watched(&ports.detections).ledger.has_read(untrusted, confidential, from_ms);
        let Some(read_ms) = grant.chain().filter_map(of).max() else { continue };
        let seen = entry.at_ms.saturating_sub(read_ms) / 1000;
        match if is_judged { Ok(false) } else { own.history.is_new(&noted.rules, place, entry.at_ms) } {
            Ok(is_new) => noted.found.push(Found { place, seen, is_new, is_blind: false, is_masked: false }),
            Err(Unreadable) => noted.is_unreadable = true,
        }
    }
    noted
}

/// What the call adds to sums, and which of them it would take over their limits as they are now.
fn sums(call: &Validated<'_>, noticed: &mut Noticed, is_judged: bool, ports: &Ports, now_ms: u64) -> Result<(), Unreadable> {
    let (grant, tool) = (call.granted().grant(), call.granted().tool());
    let rules = Arc::clone(&noticed.rules);
    let is_masked = call.granted().world().policies.keeps_back(tool.name.as_str());
    for (place, rule) in rules.iter().enumerate() {
        let Some(read) = amount_of(rule, grant, tool, call.arguments()) else { continue };
        let over = match read {
            Ok(amount) => {
                noticed.amounts.push((place, amount));
                let mut over = over_task(rule, grant, amount);
                for grant in grant.chain() {
                    let mut sums = grant.watched(&ports.detections).ledger.sums()?;
                    over = over.max(over_window(rule, &mut sums, amount, now_ms));
                }
                over
            }
            Err(Blind) => Some(0),
        };
        if let Some(seen) = over {
            let is_new = !is_judged && grant.watched(&ports.detections).history.is_new(&rules, place, now_ms)?;
            noticed.found.push(Found { place, seen, is_new, is_blind: read.is_err(), is_masked });
        }
    }
    Ok(())
}

/// An amount that can't be read.
#[derive(Clone, Copy)]
struct Blind;

/// The amount of this call, where the rule counts those of its tool.
fn amount_of(rule: &Rule, grant: &LiveGrant, tool: &Tool, arguments: &Value) -> Option<Result<u64, Blind>> {
    let Sort::Sum { amounts, .. } = &rule.sort else { return None };
    let pointer = amounts.get(&tool.name)?;
    rule.is_about(agents_of(grant), Some(&tool.name)).then(|| amount(arguments, pointer).ok_or(Blind))
}

/// What a task would come to, its own or one above it, where that is too much.
fn over_task(rule: &Rule, grant: &LiveGrant, amount: u64) -> Option<u64> {
    let Sort::Sum { per_task: Some(most), .. } = rule.sort else { return None };
    let sums = grant.chain().map(|grant| grant.summed(&rule.name).saturating_add(amount));
    sums.max().filter(|sum| *sum > most)
}

/// What an agent would come to, where that is too much.
fn over_window(rule: &Rule, sums: &mut Sums, amount: u64, now_ms: u64) -> Option<u64> {
    let Sort::Sum { limit: Some(most), .. } = rule.sort else { return None };
    let sum = sums.sum(&rule.name, rule.window_ms, now_ms).saturating_add(amount);
    (sum > most).then_some(sum)
}

/// Puts on record what is new, and counts it.
fn tell(noticed: &mut Noticed, ports: &Ports, way: &mut Way<'_>, now_ms: u64) -> Result<(), Refusal> {
    if noticed.found.is_empty() {
        return Ok(());
    }
    for found in &noticed.found {
        let Some(rule) = noticed.rules.at(found.place) else { continue };
        noticed.names.push(rule.name.to_string());
        // However often it walks, it is one call.
        if way.seen.fired & bit(found.place) == 0 {
            way.seen.fired |= bit(found.place);
            rule.count_one();
            if found.is_new {
                put(rule, found, ports, way, now_ms)?;
            }
        }
    }
    way.trace.important = true;
    way.trace.note_root("bailiwick.detection.rules", noticed.names.join(","));
    Ok(())
}

fn put(rule: &Rule, found: &Found, ports: &Ports, way: &Way<'_>, now_ms: u64) -> Result<(), Refusal> {
    let Some(grant) = &way.seen.grant else { return Ok(()) };
    let record = DetectionRecord {
        event: "fired",
        detection: &rule.name,
        kind: rule.sort.as_str(),
        action: rule.act,
        call_id: way.received().call_id(),
        agent: &grant.terms().agent,
        instance: way.seen.principal.as_ref().and_then(|principal| principal.instance.as_deref()),
        grant: &grant.terms().id,
        root: grant.chain().last().map(|root| &root.terms().id).filter(|root| **root != grant.terms().id),
        tool: way.seen.tool.as_ref().map(|tool| tool.name.as_str()),
        seen: (!found.is_masked).then_some(found.seen),
        window_s: rule.window_ms / 1000,
        why: &why(rule, found),
        trace_id: &way.trace_id,
    };
    ports.trail.detection(now_ms, &record).map_err(|lost| Refusal::trail_lost(&lost))
}

/// What has become of a call, once it has ended: what was refused before it came to the policies is kept too.
pub(crate) fn ended(way: &mut Way<'_>, outcome: Outcome, refusal: Option<&Refusal>, ports: &Ports) {
    let reason = refusal.map(|refusal| refusal.reason);
    let became = match outcome {
        Outcome::ApprovalPending => Became::Nothing,
        // Whoever gives up waiting, and asks again, has not called.
        Outcome::Cancelled if !way.seen.committed => Became::Nothing,
        Outcome::Denied if matches!(reason, Some(DETECTED | "halted")) => Became::Nothing,
        Outcome::Denied | Outcome::ApprovalRejected => Became::Refused,
        _ => Became::Went,
    };
    let Some(grant) = way.seen.grant.clone() else { return };
    if let Some(noted) = &way.seen.noted {
        if became != Became::Went {
            for (grant, number) in grant.chain().zip(&noted.numbers) {
                // What can't be read is told to the next call.
                let _unreadable = grant.watched(&ports.detections).history.became(&noted.rules, *number, became);
            }
        }
        return;
    }
    if became == Became::Refused
        && !way.is_beside_record()
        && !way.received().is_watch()
        && let Some(entry) = refused(way, &grant, ports)
    {
        let tool = way.seen.tool.clone();
        let noted = noted((&grant, tool.as_deref()), entry, ports.detections.rules(), false, ports);
        let found = noted.found.iter().filter(|found| found.is_new).cloned().collect::<Vec<_>>();
        for found in found {
            let Some(rule) = noted.rules.at(found.place) else { continue };
            rule.count_one();
            // It is refused already. A trail that is lost by now refuses every further call.
            let _lost = put(rule, &found, ports, way, ports.clock.now_ms());
        }
        way.seen.noted = Some(Box::new(noted));
    }
}

/// What is kept of a call that was refused on its way to the policies. None where nobody wants to know.
fn refused(way: &Way<'_>, grant: &LiveGrant, ports: &Ports) -> Option<Entry> {
    let detections = &ports.detections;
    if detections.is_idle() && !ports.worlds.now().policies.reads_past() {
        return None;
    }
    let (name, arguments) = match way.received().asked() {
        Asked::Call { name, arguments } => (name.as_str(), serde_json::from_slice(arguments).unwrap_or_default()),
        Asked::Item(ask) => (ask.name.as_str(), Value::Null),
        Asked::Task(_) | Asked::List { .. } | Asked::Offers { .. } => return None,
    };
    let connector = way.seen.tool.as_ref().map_or(0, |tool| detections.short_key(tool.connector.id.as_str()));
    Some(Entry {
        at_ms: ports.clock.now_ms(),
        call: detections.call_key(name, &arguments),
        place: 0,
        connector,
        grant: detections.short_key(grant.terms().id.as_str()),
        rules: 0,
        became: Became::Refused,
    })
}

/// What a call adds to sums, where it is committed: locked from the last look until it is on record.
pub(super) struct Counted<'c> {
    sealed: Option<String>,
    amounts: Vec<(&'c Rule, u64)>,
    agents: Vec<&'c AgentId>,
    locked: Vec<MutexGuard<'c, Sums>>,
    now_ms: u64,
}

/// Looks once more, where nothing moves, at the sums that a call adds to. The standings of its chain are locked meanwhile; what is kept of
/// agents is locked after them, always in the order of their ids.
pub(super) fn count<'c>(
    permitted: &'c Permitted<'_>,
    noticed: &'c Noticed,
    ports: &Ports,
    now_ms: u64,
) -> Result<Option<Counted<'c>>, Stop> {
    if noticed.amounts.is_empty() {
        return Ok(None);
    }
    let grant = permitted.validated().granted().grant();
    let mut ledgers: Vec<(&AgentId, &Watched)> =
        grant.chain().map(|grant| (&grant.terms().agent, grant.watched(&ports.detections))).collect();
    ledgers.sort_by_key(|(agent, _)| *agent);
    ledgers.dedup_by_key(|(agent, _)| *agent);
    let locked: Result<Vec<_>, Unreadable> = ledgers.iter().map(|(_, watched)| watched.ledger.sums()).collect();
    let Ok(mut locked) = locked else {
        return Err(Refusal::internal("what is kept of the agent for detections can't be read: start the gateway again").into());
    };
    let mut amounts = Vec::new();
    for (place, amount) in &noticed.amounts {
        let Some(rule) = noticed.rules.at(*place) else { continue };
        let is_over = over_task(rule, grant, *amount).is_some()
            || locked.iter_mut().any(|sums| over_window(rule, sums, *amount, now_ms).is_some());
        let may_be_over = || {
            let own = rule_of(rule);
            rule.act == Act::Observe || permitted.needs().iter().any(|need| need.rule == own)
        };
        // Others were faster: it is looked at anew, and then refused, or asked about.
        if is_over && !may_be_over() {
            return Err(Stop::Stale);
        }
        amounts.push((rule, *amount));
    }
    let agents = ledgers.into_iter().map(|(agent, _)| agent).collect();
    let granted = permitted.validated().granted();
    let sealed = if granted.world().policies.keeps_back(granted.tool().name.as_str()) {
        let named = amounts.iter().map(|(rule, amount): &(&Rule, u64)| (rule.name.to_string(), *amount)).collect();
        let sealed = sealed_amounts(granted.identified().received().call_id().as_str(), &named, &*ports.approvals);
        Some(sealed.ok_or_else(|| Refusal::internal("an amount that a rule masks can't be sealed for the record"))?)
    } else {
        None
    };
    Ok(Some(Counted { sealed, amounts, agents, locked, now_ms }))
}

impl Counted<'_> {
    /// What goes on record of it: a start counts it from there.
    pub(super) fn record(&self) -> SumsRecord<'_> {
        let shown = |amount: u64| self.sealed.is_none().then_some(amount);
        let amounts = self.amounts.iter().map(|(rule, amount)| (rule.name.as_ref(), shown(*amount))).collect();
        SumsRecord { agents: self.agents.clone(), amounts, sealed: self.sealed.clone() }
    }

    /// It is on record: it counts. Returns what its tasks are debited.
    pub(super) fn debit(mut self) -> Vec<(Arc<str>, u64)> {
        for sums in &mut self.locked {
            for (rule, amount) in &self.amounts {
                sums.add(&rule.name, rule.window_ms, self.now_ms, *amount);
            }
        }
        self.amounts.iter().map(|(rule, amount)| (Arc::clone(&rule.name), *amount)).collect()
    }
}

/// The call is about to read, for its agent and those above it, where anybody wants to know.
pub(super) fn reads(granted: &super::Granted<'_>, labels: Labels, ports: &Ports, now_ms: u64) {
    // What is sent by a call of its own kind comes back with no news.
    if granted.tool().kind != Kind::Exfiltrate {
        reads_these(granted.grant(), labels, ports, now_ms);
    }
}

/// The same for labels that show only in what came back.
pub(super) fn reads_these(grant: &LiveGrant, labels: Labels, ports: &Ports, now_ms: u64) {
    let (untrusted, confidential) = (labels.is_untrusted(), labels.is_confidential());
    if (untrusted || confidential) && !ports.detections.is_idle() {
        for grant in grant.chain() {
            grant.watched(&ports.detections).ledger.reads(untrusted, confidential, now_ms);
        }
    }
}

/// Whether data may go out by it, as rules of the group `sends` have it.
fn sends(tool: &Tool) -> bool {
    matches!(tool.kind, Kind::Exfiltrate | Kind::Execute) || tool.destination.is_some()
}

/// What a task did before, for rules that read it.
#[derive(Default)]
pub(super) struct Past {
    tools: Vec<String>,
    connectors: Vec<String>,
    kinds: Vec<String>,
}

impl Past {
    /// Of this grant, where a rule that matters to the tool reads it.
    pub(super) fn of(grant: &LiveGrant, world: &crate::catalogue::World, tool: &Tool) -> Self {
        if !world.policies.reads_past() {
            return Self::default();
        }
        let reads = world.policies.reads(tool.name.as_str());
        if reads.is_some_and(|reads| reads.call().field("history").is_nothing()) {
            return Self::default();
        }
        let used = grant.spent().used;
        let mut past = Self::default();
        let mut add = |list: fn(&mut Self) -> &mut Vec<String>, name: &str| {
            let list = list(&mut past);
            if !list.iter().any(|known| known == name) {
                list.push(name.to_owned());
            }
        };
        for name in used.iter() {
            add(|past| &mut past.tools, name);
            let connector =
                name.split_once("__").or_else(|| name.split_once('/')).map_or(name.as_str(), |(connector, _)| connector);
            add(|past| &mut past.connectors, connector);
            // A tool that is gone did something that nobody can say any more: its kind is none.
            if let Some(tool) = world.tool(name) {
                add(|past| &mut past.kinds, tool.kind.as_str());
            }
        }
        past
    }

    /// As policies see it.
    pub(super) fn facts(&self, denied: u64, read_sensitive: bool) -> HistoryFacts<'_> {
        HistoryFacts { tools: &self.tools, connectors: &self.connectors, kinds: &self.kinds, denied, read_sensitive }
    }
}
