//! The versions of the protocol, and the two eras they fall into.

/// Which protocol a server is spoken to in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// It is asked (`server/discover`); a server that does not know the question gets the handshake of older versions.
    #[default]
    Auto,
    /// MCP 2026-07-28: no handshake, every request stands alone.
    Modern,
    /// 2025-11-25 and older: `initialize`, and a session.
    Legacy,
}

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    /// Every request stands alone.
    Modern,
    /// After a handshake.
    Legacy,
}

/// A version that we speak, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V20260728,
    V20251125,
    V20250618,
    V20250326,
    V20241105,
}

impl Version {
    /// Those with a handshake.
    pub(crate) const LEGACY: [Self; 4] = [Self::V20251125, Self::V20250618, Self::V20250326, Self::V20241105];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::V20260728 => "2026-07-28",
            Self::V20251125 => "2025-11-25",
            Self::V20250618 => "2025-06-18",
            Self::V20250326 => "2025-03-26",
            Self::V20241105 => "2024-11-05",
        }
    }

    pub(crate) fn era(self) -> Era {
        if self == Self::V20260728 { Era::Modern } else { Era::Legacy }
    }

    pub(crate) fn is_modern(self) -> bool {
        self.era() == Era::Modern
    }
}
