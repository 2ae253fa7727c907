//! Who may use the admin API: proof that the peer may read, and proof that it may change.

use std::{fs, sync::Arc};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::extract::FromRequestParts;
use bailiwick_console::Viewer;
use bailiwick_store::Approval;
use http::{HeaderMap, header, request::Parts};

use super::{fault::ApiFault, person::name_of};
use crate::{console::is_theirs, runtime::Runtime, server::Peer};

/// Somebody who may read: they run as the gateway's own user, or as root; or they were let in at the console.
#[derive(Debug)]
pub(super) struct Visitor {
    uid: u32,
    /// Who looks by a session of the console: their roles say what they see.
    looks: Option<Viewer>,
}

impl Visitor {
    /// Whether they see this: somebody who only approves sees what they may decide.
    pub(super) fn sees(&self, approval: &Approval) -> bool {
        self.looks.as_ref().is_none_or(|viewer| is_theirs(viewer, approval))
    }
}

/// That somebody was let in at the console's listener. What comes with it is read; to change something, the credential is looked at
/// again.
#[derive(Debug, Clone)]
pub(crate) struct AtConsole(Option<Viewer>);

impl AtConsole {
    /// For who shows the operator credential.
    pub(crate) fn with_credential(headers: &HeaderMap, runtime: &Runtime) -> Result<Self, ApiFault> {
        is_shown(headers, runtime).map(|()| Self(None))
    }

    /// For who is logged in, and may look at what they ask for.
    pub(crate) fn to_look(viewer: Viewer) -> Self {
        Self(Some(viewer))
    }
}

/// Somebody who may change: a [`Visitor`] who showed the operator credential.
#[derive(Debug)]
pub(super) struct Operator {
    uid: u32,
    name: String,
}

impl Operator {
    /// Their operating-system user.
    pub(super) fn uid(&self) -> u32 {
        self.uid
    }

    /// Their user's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl FromRequestParts<Arc<Runtime>> for Visitor {
    type Rejection = ApiFault;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Runtime>) -> Result<Self, ApiFault> {
        if let Some(AtConsole(looks)) = parts.extensions.get::<AtConsole>() {
            // The credential's file is the gateway's own user's: whoever has it counts as them, and as no second person.
            return Ok(Self { uid: rustix::process::geteuid().as_raw(), looks: looks.clone() });
        }
        // INVARIANT: without a peer that the kernel named, nobody else is let in.
        match parts.extensions.get::<Peer>().copied() {
            Some(peer) if is_ours(peer.uid) => Ok(Self { uid: peer.uid, looks: None }),
            _ => Err(ApiFault::forbidden("only the user that the gateway runs as may use it so")
                .help("run the command as that user, or as root")),
        }
    }
}

fn is_ours(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

impl FromRequestParts<Arc<Runtime>> for Operator {
    type Rejection = ApiFault;

    async fn from_request_parts(parts: &mut Parts, runtime: &Arc<Runtime>) -> Result<Self, ApiFault> {
        let Visitor { uid, .. } = Visitor::from_request_parts(parts, runtime).await?;
        is_shown(&parts.headers, runtime)?;
        Ok(Self { uid, name: name_of(uid) })
    }
}

/// Whether the operator credential is shown.
fn is_shown(headers: &HeaderMap, runtime: &Runtime) -> Result<(), ApiFault> {
    let file = runtime.data.operator_credential();
    let wanted = fs::read(&file).ok().filter(|key| key.len() == KEY_BYTES);
    let Some(wanted) = wanted else {
        return Err(ApiFault::unavailable(format!("the operator credential `{}` is missing or damaged", file.display()))
            .help("nothing can be changed without it: restore it, or start the gateway anew, which makes one"));
    };
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let only = given.next().filter(|_| given.next().is_none()).and_then(|value| value.to_str().ok());
    let shown = only.and_then(|value| value.strip_prefix("Operator ")).and_then(from_hex);
    // In constant time: how much of it was right is nobody's business.
    match shown.map(|shown| verify_slices_are_equal(&shown, &wanted)) {
        Some(Ok(())) => Ok(()),
        _ => Err(ApiFault::unproven("this changes something and needs the operator credential")
            .help(format!("`bailiwick` sends it from `{}`; use the same `--data` as the gateway", file.display()))),
    }
}

/// The bytes of the operator credential.
const KEY_BYTES: usize = 32;

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if digits.len() != 2 * KEY_BYTES {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits.chunks_exact(2).map(|pair| Some((digit(*pair.first()?)? << 4) | digit(*pair.last()?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::{from_hex, is_ours};

    #[test]
    fn only_whole_keys_are_read() {
        assert_eq!(from_hex(&"0f".repeat(32)), Some(vec![15; 32]));
        assert_eq!(from_hex(&"0F".repeat(32)), Some(vec![15; 32]));
        for bad in [String::new(), "0f".repeat(31), "0f".repeat(33), "0g".repeat(32), "é".repeat(32)] {
            assert_eq!(from_hex(&bad), None, "{bad}");
        }
    }

    #[test]
    fn strangers_are_not_ours() {
        assert!(is_ours(rustix::process::geteuid().as_raw()));
        assert!(is_ours(0));
        assert!(!is_ours(rustix::process::geteuid().as_raw().wrapping_add(1).max(1)));
    }
}
