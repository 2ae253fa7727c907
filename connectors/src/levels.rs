//! Which log messages a legacy server is asked for: once for all of a session, and so for the one of its calls that wants the most.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bailiwick_pipeline::aside::LogLevel;
use tokio_util::sync::CancellationToken;

use crate::{
    link::{Body, Link, Request},
    version::Version,
};

/// How long a server may take to say that it has heard.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is wanted in a session, and what its server was asked for.
#[derive(Debug, Default)]
pub(crate) struct Levels {
    /// How many calls want each level.
    wanted: [AtomicUsize; LogLevel::ALL.len()],
    asked: tokio::sync::Mutex<Option<LogLevel>>,
}

/// A call that wants log messages, until dropped.
pub(crate) struct Wanting<'l>(Option<&'l AtomicUsize>);

impl Levels {
    /// Wants messages of this level from now on.
    pub(crate) fn want(&self, level: LogLevel) -> Wanting<'_> {
        let count = LogLevel::ALL.iter().zip(&self.wanted).find(|(of, _)| **of == level).map(|(_, count)| count);
        if let Some(count) = count {
            count.fetch_add(1, Ordering::AcqRel);
        }
        Wanting(count)
    }

    /// The least grave level that a call wants.
    fn least(&self) -> Option<LogLevel> {
        LogLevel::ALL.into_iter().zip(&self.wanted).find(|(_, count)| count.load(Ordering::Acquire) > 0).map(|(level, _)| level)
    }

    /// Asks the server for what is wanted, where that is not what it was asked for last. Whatever it answers, the call goes on: it is not
    /// asked for the same again.
    pub(crate) async fn ask(&self, link: &dyn Link, version: Version, patience: Duration, cancelled: &CancellationToken) {
        let mut asked = self.asked.lock().await;
        let Some(level) = self.least().filter(|level| *asked != Some(*level)) else { return };
        let members = format!(r#""level":"{}""#, level.as_str());
        let body = Body::Own { method: "logging/setLevel", members: &members };
        let timeout = patience.min(PATIENCE);
        let request = Request { body, version, timeout, cancelled, written: Box::new(|| {}), ear: None };
        let _refused = link.request(request).await;
        *asked = Some(level);
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.0 {
            count.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
