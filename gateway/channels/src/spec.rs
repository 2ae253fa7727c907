//! What a channel is, by configuration.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use bailiwick_connectors::HttpSpec;
use bailiwick_policy::Band;

use crate::event::{Event, EventKind};

/// A channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelSpec {
    /// Its id.
    pub id: String,
    /// How its messages go.
    pub way: Way,
    /// What it hears of.
    pub hears: BTreeSet<EventKind>,
    /// The lowest band it hears of.
    pub from_band: Band,
    /// It hears of a question only once nobody has decided or acknowledged it for so long: escalation.
    pub after: Duration,
    /// Whether the arguments go with the message, whole. Only a webhook can carry them.
    pub include_args: bool,
}

impl ChannelSpec {
    /// Whether it hears of this.
    pub(crate) fn wants(&self, event: &Event) -> bool {
        self.hears.contains(&event.kind) && event.about.band() >= self.from_band
    }

    /// Whether it tells persons, who are called for nothing once a question is closed, and not programs that keep books.
    pub(crate) fn is_for_persons(&self) -> bool {
        !matches!(self.way, Way::Webhook { .. }) || !self.after.is_zero()
    }
}

/// How messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// A signed webhook (Standard Webhooks 1.0).
    Webhook {
        /// Where to.
        place: Place,
        /// The file with the secrets that sign it.
        secrets: PathBuf,
    },
    /// An incoming webhook of Slack.
    Slack(Place),
    /// A workflow of Microsoft Teams that takes webhooks.
    Teams(Place),
    /// A server of ntfy.
    Ntfy {
        /// Where to.
        place: Place,
        /// Its topic.
        topic: String,
        /// The file with the token for it.
        token: Option<PathBuf>,
    },
    /// The mail program of this machine.
    Mail {
        /// The program and its arguments; it reads the message, its recipients included, from standard input.
        command: Vec<String>,
        /// From whom.
        from: String,
        /// To whom.
        to: Vec<String>,
    },
}

impl Way {
    /// The word for it in configuration.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Slack(_) => "slack",
            Self::Teams(_) => "teams",
            Self::Ntfy { .. } => "ntfy",
            Self::Mail { .. } => "mail",
        }
    }

    pub(crate) fn place(&self) -> Option<&Place> {
        match self {
            Self::Webhook { place, .. } | Self::Slack(place) | Self::Teams(place) | Self::Ntfy { place, .. } => Some(place),
            Self::Mail { .. } => None,
        }
    }
}

/// A place on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its URL.
    pub url: Target,
    /// How far the way to it is trusted; its `url` counts only where [`Target::Url`] says so.
    pub networks: Vec<ipnet::IpNet>,
    /// The only certificate authorities that are trusted for it (a PEM file); those of the system when not set.
    pub roots: Option<PathBuf>,
    /// Whether it is spoken to without TLS even where others can listen.
    pub dangerous_plain_http: bool,
}

impl Place {
    pub(crate) fn at(&self, url: url::Url) -> HttpSpec {
        HttpSpec {
            url,
            networks: self.networks.clone(),
            roots: self.roots.clone(),
            identity: None,
            dangerous_plain_http: self.dangerous_plain_http,
        }
    }
}

/// A URL, or where one is kept: that of a chat's webhook is a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// This URL.
    Url(url::Url),
    /// The one that this file holds.
    File(PathBuf),
}
