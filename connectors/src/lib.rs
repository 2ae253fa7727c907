//! The ways out: downstream MCP servers, run as supervised child processes.
//!
//! [`StdioConnectors`] fills the pipeline's port `Connectors`. Everything a child says is treated as written by an attacker:
//! lines are bounded and strictly read, answers are matched by exact id, questions are refused, floods are slowed, and what
//! goes wrong in one child stays with that child.
//!
//! ```text
//! StdioConnectors ── Pool (a connector) ── Slot (a grant) ── Session ── Link ── Pipe ── the child process
//!   port              cap, status           back-off         tools      any      lines    supervised, own group
//!                                                            verified   carrier
//! ```

mod backoff;
mod channel;
mod child;
mod discover;
mod exec_child;
mod lines;
mod link;
mod message;
mod pipe;
mod pool;
mod processes;
mod session;
mod spawner;
mod spec;
mod status;
mod stderr;
mod stdio;

pub use discover::{Discovery, discover};
pub use exec_child::{ExecFault, exec_child};
pub use spec::{ConnectorSpec, EnvNameFault, SpecFault, changeable, check_env_name};
pub use status::{ChildState, ChildStatus, ConnectorEvent, ConnectorStatus, Counts, Rejected};
pub use stdio::StdioConnectors;
