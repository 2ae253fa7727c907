//! Calls of the like of an approved one that may go without another word: the same but for some arguments, so often, so long.

use std::collections::BTreeSet;

use bailiwick_pipeline::{
    ids::{ApprovalId, CallId},
    ports::Binding,
};
use bailiwick_schemas::{
    canonical::{Digest, digest},
    json::{self, Limits},
};
use serde_json::Value;

use super::{
    AllowanceWanted, LiveApprovals, Settings,
    book::Entry,
    record::{Allowance, Approval, Use},
};

/// The longest that calls may be allowed: an hour.
const LONGEST_MS: u64 = 60 * 60 * 1000;

/// The most calls that may be allowed at once.
const MOST_USES: u32 = 100;

/// What is allowed by this, or why it can't be.
pub(super) fn allowance(
    approval: &Approval,
    wanted: &AllowanceWanted,
    arguments: &[u8],
    settings: &Settings,
    now_ms: u64,
) -> Result<Allowance, String> {
    if !settings.remember {
        return Err("`approvals.remember` is off".to_owned());
    }
    if !approval.may_be_remembered() {
        return Err("not all rules that ask for it have `@remember`, or it takes two persons".to_owned());
    }
    if wanted.uses == 0 || wanted.uses > MOST_USES {
        return Err(format!("name 1 to {MOST_USES} uses"));
    }
    let latest_ms = now_ms.saturating_add(LONGEST_MS).min(approval.grant_expires_at_ms);
    if wanted.until_ms <= now_ms || wanted.until_ms > latest_ms {
        return Err("it ends within an hour, and not after the grant".to_owned());
    }
    // They were received within the limits of a message, or of what the operator set.
    let limits = Limits { bytes: usize::MAX, ..Limits::MESSAGE };
    let arguments = json::parse(arguments, limits).map_err(|fault| format!("its arguments can't be read: {fault}"))?;
    let others = others(&arguments, &wanted.any)
        .ok_or("each pointer names an argument of this call, none is inside another, and none is all of them")?;
    let (max_uses, until_ms) = (wanted.uses, wanted.until_ms);
    Ok(Allowance { any: wanted.any.clone(), others, max_uses, until_ms, uses: Vec::new(), ended_at_ms: None })
}

/// The digest of the arguments without the values of these; none where one of them is not there.
fn others(arguments: &Value, any: &BTreeSet<String>) -> Option<Digest> {
    let mut rest = arguments.clone();
    for pointer in any {
        if pointer.is_empty() {
            return None;
        }
        // What is inside of another one is not there any more.
        *rest.pointer_mut(pointer)? = Value::Null;
    }
    Some(digest(&rest))
}

/// Whether this call is of the like of that one.
fn admits(entry: &Entry, binding: &Binding, arguments: &Value, now_ms: u64) -> bool {
    let Some(allowance) = entry.approval.allowance.as_ref().filter(|allowance| allowance.is_live(now_ms)) else {
        return false;
    };
    binding.asks_no_more_than(&entry.approval.binding).is_ok() && others(arguments, &allowance.any) == Some(allowance.others)
}

impl LiveApprovals {
    pub(super) fn allowing(&self, binding: &Binding, arguments: &Value, now_ms: u64) -> Option<ApprovalId> {
        if !self.settings.load().remember {
            return None;
        }
        let book = self.book();
        let mut allowing = book.allowing(binding).filter(|entry| entry.is_stored());
        allowing.find(|entry| admits(entry, binding, arguments, now_ms)).map(|entry| entry.approval.id.clone())
    }

    pub(super) fn take_use(&self, id: &ApprovalId, call: &CallId, now_ms: u64) -> bool {
        let mut book = self.book();
        let is_live = book.entry(id).is_some_and(|entry| entry.approval.is_allowing(now_ms));
        if !self.settings.load().remember || self.store.lost().is_some() || !is_live {
            return false;
        }
        book.change(id, |approval| {
            if let Some(allowance) = &mut approval.allowance {
                allowance.uses.push(Use { call: call.clone(), at_ms: now_ms });
            }
        });
        true
    }
}
