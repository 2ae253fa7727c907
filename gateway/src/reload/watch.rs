//! Looks whether the files of the configuration changed.
//!
//! It looks once a second instead of being told by the kernel: what is mounted over the network, swapped by a link over the whole
//! set, or replaced by an editor's rename is seen alike, and a file that isn't there yet is too. What counts is the content. A set
//! counts as written once two looks in a row find the same.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::By;
use crate::{runtime::Runtime, sources};

/// How often it looks.
const EVERY: Duration = Duration::from_secs(1);

/// Reloads when the files changed, until `stop`.
pub async fn watch(runtime: Arc<Runtime>, stop: CancellationToken) {
    if runtime.origin().file.is_none() {
        return;
    }
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        let of = Arc::clone(&runtime);
        // A mount that hangs must not hold up who serves.
        let looked = tokio::task::spawn_blocking(move || {
            let (tried, watched) = of.reloads.tried();
            let now = sources::look(of.origin(), &watched);
            (now != tried).then_some(now)
        });
        let changed = tokio::select! {
            () = stop.cancelled() => return,
            looked = looked => looked.unwrap_or_default(),
        };
        let is_still = changed.is_some() && changed == before;
        before = changed;
        if is_still {
            before = None;
            // What comes of it is told there. On a task of its own: it is seen through, and whoever wants the end need not wait.
            let runtime = Arc::clone(&runtime);
            let reload = tokio::spawn(async move { runtime.reload(By::File).await.map(drop) });
            tokio::select! {
                () = stop.cancelled() => return,
                _ = reload => {}
            }
        }
    }
}
