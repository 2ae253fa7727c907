//! The ways out: downstream MCP servers, run as supervised child processes or reached over HTTP.
//!
//! [`Downstreams`] fills the pipeline's port `Connectors`. Everything a server says is treated as written by an attacker:
//! messages are bounded and strictly read, answers are matched by exact id, questions are refused, floods are slowed or cut, and
//! what goes wrong with one server stays with that server.
//!
//! ```text
//! Downstreams ── Pool (a connector) ── Slot (a grant) ── Session ── Link ─┬─ Pipe ── the child process
//!   port          cap, era, status      back-off         tools      any   │  lines    supervised, own group
//!                                                        verified  carrier└─ HttpLink ── egress ── the server
//!                                                                            posts        checked addresses
//! ```
//!
//! Which era of the protocol a server speaks is found out once for each connector (`handshake`), and both eras go over both carriers.

mod announcements;
mod backoff;
mod channel;
mod child;
mod discover;
mod egress;
mod exec_child;
mod handshake;
mod hearing;
mod identity;
mod levels;
mod lines;
mod link;
mod listing;
mod message;
mod offers;
mod over_http;
mod ownership;
mod pipe;
mod pool;
mod posting;
mod processes;
mod session;
mod spawner;
mod spec;
mod status;
mod stderr;
mod stdio;
mod subscriptions;
mod unstalled;
mod variables;
mod version;

pub use discover::{Discovery, Look, discover, look};
pub use egress::addresses_of;
pub use exec_child::{ExecFault, exec_child};
pub use hearing::Changed;
pub use ownership::changeable;
pub use posting::{Posted, Poster};
pub use spec::{ConnectorSpec, HttpSpec, ProcessSpec, SpecFault, Way};
pub use status::{ChildState, ChildStatus, ConnectorEvent, ConnectorStatus, Counts, Rejected};
pub use stdio::{Downstreams, Replaced};
pub use variables::{EnvNameFault, check_env_name};
pub use version::Protocol;
