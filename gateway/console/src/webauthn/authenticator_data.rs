//! What an authenticator says (section 6.1): for which site, with whom there, and which key it made.

use minicbor::{Decoder, data::Type};

use super::{LONGEST_ID, PasskeyFault, Said};
use crate::random::{are_equal, sha256};

const PRESENT: u8 = 1;
const VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const BRINGS_KEY: u8 = 1 << 6;
const BRINGS_EXTENSIONS: u8 = 1 << 7;

/// What an authenticator says, read to its last byte.
#[derive(Debug)]
pub(super) struct AuthenticatorData<'d> {
    party: &'d [u8],
    flags: u8,
    pub(super) said: Said,
    pub(super) key: Option<AttestedKey<'d>>,
}

/// The key that it made.
#[derive(Debug)]
pub(super) struct AttestedKey<'d> {
    pub(super) id: &'d [u8],
    /// The public key, as it is written.
    pub(super) cose: &'d [u8],
}

const SHORT: PasskeyFault = PasskeyFault::Unreadable("its authenticator data are cut short");
const BAD_CBOR: PasskeyFault = PasskeyFault::Unreadable("its CBOR is not what it must be");

impl<'d> AuthenticatorData<'d> {
    pub(super) fn read(bytes: &'d [u8]) -> Result<Self, PasskeyFault> {
        let mut rest = bytes;
        let party = take(&mut rest, 32)?;
        let flags = take(&mut rest, 1)?.first().copied().ok_or(SHORT)?;
        let count = u32::from_be_bytes(take(&mut rest, 4)?.try_into().map_err(|_| SHORT)?);
        let key = if flags & BRINGS_KEY == 0 { None } else { Some(key(&mut rest)?) };
        if flags & BRINGS_EXTENSIONS != 0 {
            let length = map_length(rest)?;
            take(&mut rest, length)?;
        }
        if !rest.is_empty() {
            return Err(PasskeyFault::Unreadable("its authenticator data go on after their end"));
        }
        let said = Said { count, is_backup_eligible: flags & BACKUP_ELIGIBLE != 0, is_backed_up: flags & BACKED_UP != 0 };
        Ok(Self { party, flags, said, key })
    }

    /// For this site, with somebody there who was verified.
    pub(super) fn check(&self, party: &str) -> Result<(), PasskeyFault> {
        if !are_equal(self.party, &sha256(party.as_bytes())) {
            return Err(PasskeyFault::Party);
        }
        if self.flags & PRESENT == 0 {
            return Err(PasskeyFault::Presence);
        }
        if self.flags & VERIFIED == 0 {
            return Err(PasskeyFault::Verification);
        }
        if self.said.is_backed_up && !self.said.is_backup_eligible {
            return Err(PasskeyFault::Backup);
        }
        Ok(())
    }
}

fn take<'d>(rest: &mut &'d [u8], length: usize) -> Result<&'d [u8], PasskeyFault> {
    let (taken, after) = rest.split_at_checked(length).ok_or(SHORT)?;
    *rest = after;
    Ok(taken)
}

fn key<'d>(rest: &mut &'d [u8]) -> Result<AttestedKey<'d>, PasskeyFault> {
    let _make = take(rest, 16)?;
    let length = usize::from(u16::from_be_bytes(take(rest, 2)?.try_into().map_err(|_| SHORT)?));
    if length == 0 || length > LONGEST_ID {
        return Err(PasskeyFault::Unreadable("the id of the passkey is empty or too long"));
    }
    let id = take(rest, length)?;
    let length = map_length(rest)?;
    Ok(AttestedKey { id, cose: take(rest, length)? })
}

/// How many bytes the map takes that stands at the beginning.
fn map_length(bytes: &[u8]) -> Result<usize, PasskeyFault> {
    let mut decoder = Decoder::new(bytes);
    if decoder.datatype().map_err(|_| BAD_CBOR)? != Type::Map {
        return Err(BAD_CBOR);
    }
    decoder.skip().map_err(|_| BAD_CBOR)?;
    Ok(decoder.position())
}

/// The authenticator data in an attestation object (section 6.5.4). Its statement is not looked at: nobody is believed more for it.
pub(super) fn attested(object: &[u8]) -> Result<&[u8], PasskeyFault> {
    let mut decoder = Decoder::new(object);
    let entries = decoder.map().ok().flatten().filter(|entries| *entries == 3).ok_or(BAD_CBOR)?;
    let (mut format, mut statement, mut data) = (None, None, None);
    for _ in 0..entries {
        match decoder.str().map_err(|_| BAD_CBOR)? {
            "fmt" if format.is_none() => format = Some(decoder.str().map_err(|_| BAD_CBOR)?),
            "attStmt" if statement.is_none() => {
                let start = decoder.position();
                let length = map_length(object.get(start..).unwrap_or_default())?;
                statement = Some(length);
                decoder.set_position(start + length);
            }
            "authData" if data.is_none() => data = Some(decoder.bytes().map_err(|_| BAD_CBOR)?),
            _ => return Err(BAD_CBOR),
        }
    }
    match (format, statement, data) {
        // `none` says nothing, in one byte.
        (Some("none"), Some(length), _) if length != 1 => Err(BAD_CBOR),
        (Some(_), Some(_), Some(data)) if decoder.position() == object.len() => Ok(data),
        _ => Err(BAD_CBOR),
    }
}
