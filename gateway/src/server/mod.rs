//! The agents' side: Streamable HTTP at `/mcp` in both eras, on loopback TCP, over TLS and on the agent socket.

mod asking;
mod certificate;
mod delivery;
mod events;
mod front;
mod inbox;
mod listen;
mod listen_tls;
mod load;
mod mcp;
mod parts;
mod patient;
mod render;
mod seats;
mod sessions;
mod standing;

pub use certificate::ServerCertificate;
pub use delivery::Line;
pub use front::{Front, FrontSettings};
pub(crate) use front::{Noted, TurnedAway, only};
pub use inbox::Notices;
pub use listen::{Answers, Limits, Peer, serve_tcp, serve_unix};
pub use listen_tls::{Handshakes, Tls, serve_tls};
pub(crate) use load::Place;
pub use parts::Parts;
pub(crate) use parts::{Response, bare};
