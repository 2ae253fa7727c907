//! The lists of resources, resource templates and prompts: what each connector that the grant reaches offers, without what the grant
//! does not give. A connector that can't be asked costs its own part of the list alone.

use std::{sync::Arc, time::Duration};

use bailiwick_schemas::{
    canonical::Digest,
    names::{ConnectorId, Feature},
};
use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::value::RawValue;

use super::{
    Identified,
    asks::Takes,
    flow,
    grant::{admits_item, visible},
    halted,
    others::{Others, Shown},
    pace::is_in_pace,
    send::was_taken_back,
};
use crate::{
    answer::with_member,
    catalogue::{Tool, World},
    grant::{Labels, LiveGrant},
    pages::{PAGE, Place},
    ports::{Access, Lease, Listing, Offer, Ports, Wanted},
    records::SecretRecord,
    redact::Window,
    refusal::Refusal,
    way::Way,
};

/// The longest time that one connector may take for its part of a list.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is offered under this grant: the items, as their servers wrote them but for the name that agents ask for them by.
pub(crate) async fn offers(
    call: &Identified<'_>,
    grant: &Arc<LiveGrant>,
    listing: Listing,
    ports: &Ports,
    way: &mut Way<'_>,
) -> Result<Vec<Bytes>, Refusal> {
    let world = ports.worlds.now();
    let agent = &call.principal().agent;
    let feature = feature_of(listing);
    let (pass, flight) = halted::let_out(call.principal(), grant, None, ports)?;
    let asked: Vec<&Arc<Tool>> = world
        .features
        .values()
        .filter(|tool| tool.name.feature() == Some(feature) && visible(&world, grant, agent, tool))
        .filter(|tool| !ports.halts.hides(&tool.name))
        .collect();
    let stage = way.enter("offer", "bailiwick.offers.read", ports);
    // Their words reach the agent, as results do: before the first of them leaves.
    let labels: Labels = asked.iter().map(|tool| tool.labels).collect();
    flow::mark(grant, None, labels, ports, way)?;
    let trace_id = way.trace_id.clone();
    let reading = join_all(asked.iter().map(|tool| of_connector(call, tool, grant, listing, &world, &trace_id, ports)));
    let read = tokio::select! {
        biased;
        () = grant.cancelled().cancelled() => return Err(Refusal::grant_ended(grant.end_of_chain(), "Not executed.")),
        halt = flight.struck() => return Err(Refusal::halted_under_way(&halt, "Not executed.")),
        read = reading => read,
    };
    drop(pass);
    // It took its time: what is not to be seen any more is not shown.
    let now = ports.worlds.now();
    let mut items = Vec::new();
    let (mut failed, mut left_out) = (0_usize, 0_usize);
    for (tool, part) in asked.iter().zip(read) {
        let is_shown = is_as_before(tool, &world, &now) && visible(&now, grant, agent, tool) && !ports.halts.hides(&tool.name);
        match part?.filter(|_| is_shown) {
            Some(part) => {
                left_out += part.left_out;
                items.extend(part.items);
            }
            None => failed += 1,
        }
    }
    way.trace.note(stage, "bailiwick.offers.count", items.len());
    way.trace.note(stage, "bailiwick.offers.left_out", left_out);
    way.trace.note(stage, "bailiwick.offers.failed", failed);
    way.leave(stage, ports);
    Ok(items)
}

/// Whether this feature is in both worlds, reached in the same way and under the same names.
fn is_as_before(tool: &Tool, before: &World, now: &World) -> bool {
    let same = |tool: &Tool| (tool.connector.fingerprint, tool.kind, tool.band);
    now.features.get(&tool.name).is_some_and(|found| same(found) == same(tool) && now.is_bare(found) == before.is_bare(tool))
}

/// Which feature a list is of.
fn feature_of(listing: Listing) -> Feature {
    match listing {
        Listing::Resources | Listing::Templates => Feature::ResourceRead,
        Listing::Prompts => Feature::PromptGet,
    }
}

/// What one connector offers.
struct Part {
    items: Vec<Bytes>,
    /// Malformed, or with the lent secret in them, or under a name that means something else.
    left_out: usize,
}

/// The part of one connector; none where it can't be asked. A refusal is of the whole: the record is lost.
async fn of_connector(
    call: &Identified<'_>,
    tool: &Arc<Tool>,
    grant: &Arc<LiveGrant>,
    listing: Listing,
    world: &Arc<World>,
    trace_id: &str,
    ports: &Ports,
) -> Result<Option<Part>, Refusal> {
    let connector = &tool.connector;
    // Its own: a halt of this connector ends this part alone.
    let Ok((_pass, flight)) = halted::let_out(call.principal(), grant, Some(tool), ports) else { return Ok(None) };
    if !is_in_pace(connector, ports) {
        return Ok(None);
    }
    // One that does not answer costs its own part, and not the time of all.
    let until = tokio::time::Instant::now() + connector.call_timeout.min(PATIENCE);
    let lease = if connector.needs_credential {
        let (access, now_ms) = (Access::of(tool.kind), ports.clock.now_ms());
        let most = || Access::given(world, grant, &connector.id);
        let wanted = Wanted { grant, connector: &connector.id, access, most: &most, now_ms };
        let lent = tokio::time::timeout_at(until, ports.credentials.lend(wanted)).await;
        let Ok(Ok(Some(loan))) = lent else { return Ok(None) };
        if loan.fresh {
            secret_on_record(("lent", 0), &connector.id, (call, grant), &loan.lease, trace_id, ports)?;
        }
        Some(loan.lease)
    } else {
        None
    };
    // In the session that its calls have, where it has one.
    let asks = Takes::at_all(call, tool, grant, world).declared();
    let work = async {
        let channel = ports.connectors.ready(tool, grant, lease.as_ref(), asks.as_deref()).await.ok()?;
        channel.offers(listing).await.ok()
    };
    let read = tokio::select! {
        biased;
        _ = flight.struck() => return Ok(None),
        _ = was_taken_back(lease.as_deref()) => return Ok(None),
        read = tokio::time::timeout_at(until, work) => read,
    };
    let Ok(Some(offers)) = read else { return Ok(None) };
    let mut part = Part { items: Vec::new(), left_out: offers.left_out };
    let mut others = Others::of(grant, lease.as_deref(), &Shown::default(), ports);
    let telling_others: Vec<bool> = offers.items.iter().map(|offer| others.is_in(&offer.text)).collect();
    for (of, lease, seen) in others.shown() {
        ports.credentials.leaked(grant, of, lease);
        secret_on_record(("leaked", seen), of, (call, grant), lease, trace_id, ports)?;
    }
    let telling = lease.as_ref().map(|lease| telling(lease, &offers.items)).unwrap_or_default();
    if let Some(lease) = lease.as_ref().filter(|_| telling.contains(&true)) {
        ports.credentials.leaked(grant, &connector.id, lease);
        let count = telling.iter().filter(|tells| **tells).count();
        secret_on_record(("leaked", count), &connector.id, (call, grant), lease, trace_id, ports)?;
    }
    for (at, offer) in offers.items.iter().enumerate() {
        if !is_given(grant, tool, listing, offer) {
            continue;
        }
        if [&telling, &telling_others].into_iter().any(|tell| tell.get(at).copied().unwrap_or_default()) {
            part.left_out += 1;
            continue;
        }
        match shown(world, tool, offer, listing) {
            Some(item) => part.items.push(item),
            None => part.left_out += 1,
        }
    }
    Ok(Some(part))
}

/// Whether the grant, and each above it, gives this item. Of a template, whether it could give one that it makes.
fn is_given(grant: &LiveGrant, tool: &Tool, listing: Listing, offer: &Offer) -> bool {
    let is_template = listing == Listing::Templates;
    grant.chain().all(|grant| admits_item(grant, tool, &offer.id, is_template))
}

/// The item under the name that agents ask for it by; none where that name means something else.
fn shown(world: &World, tool: &Tool, offer: &Offer, listing: Listing) -> Option<Bytes> {
    let text = std::str::from_utf8(&offer.text).ok()?;
    let exposed = world.exposed_item(tool, &offer.id);
    let (meant, own) = world.item(feature_of(listing), &exposed)?;
    if meant.name != tool.name || own != offer.id {
        return None;
    }
    if exposed == offer.id {
        return Some(offer.text.clone());
    }
    let member = match listing {
        Listing::Resources => "uri",
        Listing::Templates => "uriTemplate",
        Listing::Prompts => "name",
    };
    with_member(text, member, &exposed).map(Bytes::from)
}

/// Which of these tell the lent secret, in any form, each by itself or together with those before it.
fn telling(lease: &Lease, offers: &[Offer]) -> Vec<bool> {
    let needles = lease.needles();
    if !offers.iter().any(|offer| needles.may_be_in(&offer.text)) {
        return Vec::new();
    }
    let mut said = Window::default();
    let tells = |offer: &Offer| match serde_json::from_slice::<serde_json::Value>(&offer.text) {
        Ok(mut value) => needles.redact_after(&mut value, &mut said) > 0 || needles.found_in(&offer.text),
        Err(_) => true,
    };
    offers.iter().map(tells).collect()
}

/// Puts on record what became of a credential that was lent for a list, and how often it was seen in it.
fn secret_on_record(
    (event, redactions): (&'static str, usize),
    connector: &ConnectorId,
    (call, grant): (&Identified<'_>, &LiveGrant),
    lease: &Lease,
    trace_id: &str,
    ports: &Ports,
) -> Result<(), Refusal> {
    let record = SecretRecord {
        event,
        call_id: call.received().call_id(),
        agent: &grant.terms().agent,
        grant: &grant.terms().id,
        connector: connector.as_str(),
        lease: &lease.id,
        provider: lease.provider,
        reference: &lease.reference,
        expires_at_ms: lease.expires_at_ms(),
        redactions,
        trace_id,
    };
    ports.trail.secret(ports.clock.now_ms(), &record).map_err(|lost| Refusal::trail_lost(&lost))
}

/// The page of these items that a cursor leads to; none where it is of another list, or of none. The items were read anew: a list in which
/// anything is otherwise by now is another one.
pub(crate) fn page_of(items: &[Bytes], cursor: Option<&str>, listing: Listing, grant: &LiveGrant) -> Option<Place> {
    if items.len() <= PAGE {
        return Place::of(cursor, items.len(), None);
    }
    let terms = grant.terms();
    let mut text = format!("{}\n{}\n{}\n", terms.id, terms.revision, listing.method()).into_bytes();
    for item in items {
        text.extend_from_slice(Digest::of(item).as_bytes());
    }
    Place::of(cursor, items.len(), Some(&Digest::of(&text)))
}

/// The items as one JSON array.
pub(crate) fn array_of(items: &[Bytes]) -> Option<Bytes> {
    let mut text = Vec::with_capacity(items.iter().map(|item| item.len() + 1).sum::<usize>() + 2);
    text.push(b'[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        text.extend_from_slice(item);
    }
    text.push(b']');
    // What is told as a list is one.
    serde_json::from_slice::<Vec<&RawValue>>(&text).is_ok_and(|read| read.len() == items.len()).then(|| Bytes::from(text))
}
