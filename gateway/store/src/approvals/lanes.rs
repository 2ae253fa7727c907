//! Approvals in the order in which people look at them: what waits, the most risky first and then what has the least time; and what ended,
//! the latest first. They are kept by connector and band, as who may see one is judged by that: those of others are passed over as a whole.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use bailiwick_pipeline::ids::ApprovalId;
use bailiwick_policy::Band;
use bailiwick_schemas::names::ConnectorId;

use super::record::{Approval, ApprovalState};

/// All that is on disk, in order.
#[derive(Default)]
pub(super) struct Lanes(BTreeMap<(Reverse<Band>, ConnectorId), Lane>);

/// What is of one connector and in one band.
#[derive(Default)]
struct Lane {
    /// Until when it can be decided, unix milliseconds.
    pending: BTreeSet<(u64, ApprovalId)>,
    /// When it ended, unix milliseconds.
    ended: BTreeSet<(u64, ApprovalId)>,
}

/// What was found, and how much was looked at for it.
pub(super) struct Found<'l> {
    pub(super) ids: Vec<&'l ApprovalId>,
    /// How many there are in all.
    pub(super) total: usize,
    pub(super) looked: usize,
}

impl Lanes {
    pub(super) fn put(&mut self, approval: &Approval) {
        let lane = self.0.entry(of(approval)).or_default();
        let id = approval.id.clone();
        match approval.state {
            ApprovalState::Pending => lane.pending.insert((approval.approve_by_ms, id)),
            ApprovalState::Approved => false,
            _ => lane.ended.insert((approval.ended_at_ms.unwrap_or(0), id)),
        };
    }

    pub(super) fn take(&mut self, approval: &Approval) {
        let key = of(approval);
        let Some(lane) = self.0.get_mut(&key) else { return };
        lane.pending.remove(&(approval.approve_by_ms, approval.id.clone()));
        lane.ended.remove(&(approval.ended_at_ms.unwrap_or(0), approval.id.clone()));
        if lane.pending.is_empty() && lane.ended.is_empty() {
            self.0.remove(&key);
        }
    }

    /// Those that wait and can still be decided, of the lanes that are meant: so many after so many. A band is passed over by its number;
    /// within one each that is skipped is a step.
    pub(super) fn pending(
        &self,
        now_ms: u64,
        (skip, take): (usize, usize),
        is_meant: impl Fn(&ConnectorId, Band) -> bool,
    ) -> Found<'_> {
        let (mut found, mut skip) = (Found { ids: Vec::new(), total: 0, looked: 0 }, skip);
        let is_over = |(until_ms, _): &&(u64, ApprovalId)| *until_ms <= now_ms;
        for band in Band::ALL.into_iter().rev() {
            let of_band = self.0.iter().filter(|((of, connector), _)| of.0 == band && is_meant(connector, band));
            let lanes: Vec<&Lane> = of_band.map(|(_, lane)| lane).collect();
            // What ran out is still there until it is swept up, a moment later.
            let over: usize = lanes.iter().map(|lane| lane.pending.iter().take_while(is_over).count()).sum();
            let count = lanes.iter().map(|lane| lane.pending.len()).sum::<usize>().saturating_sub(over);
            found.total += count;
            found.looked += lanes.len() + over;
            let missing = take.saturating_sub(found.ids.len());
            if skip >= count || missing == 0 {
                skip = skip.saturating_sub(count);
                continue;
            }
            let ordered = merged(lanes.iter().map(|lane| lane.pending.iter().skip_while(is_over)), |one| *one);
            let had = found.ids.len();
            found.ids.extend(ordered.skip(skip).take(missing));
            found.looked += skip + found.ids.len() - had;
            skip = 0;
        }
        found
    }

    /// Those that ended last, of the lanes that are meant.
    pub(super) fn ended(&self, most: usize, is_meant: impl Fn(&ConnectorId, Band) -> bool) -> Found<'_> {
        let lanes = self.0.iter().filter(|((band, connector), _)| is_meant(connector, band.0));
        let lanes: Vec<_> = lanes.map(|(_, lane)| lane.ended.iter().rev()).collect();
        let looked = lanes.len();
        let ids: Vec<&ApprovalId> = merged(lanes.into_iter(), |one| Reverse(*one)).take(most).collect();
        Found { total: ids.len(), looked: looked + ids.len(), ids }
    }
}

fn of(approval: &Approval) -> (Reverse<Band>, ConnectorId) {
    (Reverse(approval.band), approval.binding.connector.clone())
}

/// What several ordered lists have, in their order, no further than it is read.
fn merged<'l, K: Ord>(
    lists: impl Iterator<Item = impl Iterator<Item = &'l (u64, ApprovalId)>>,
    key: impl Fn(&&'l (u64, ApprovalId)) -> K,
) -> impl Iterator<Item = &'l ApprovalId> {
    let mut lists: Vec<_> = lists.map(Iterator::peekable).collect();
    std::iter::from_fn(move || {
        let heads = lists.iter_mut().filter_map(|list| Some((key(list.peek()?), list)));
        let (_, list) = heads.min_by(|(one, _), (other, _)| one.cmp(other))?;
        list.next().map(|(_, id)| id)
    })
}
