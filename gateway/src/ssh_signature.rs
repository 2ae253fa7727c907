//! Signatures as OpenSSH makes them over files (`ssh-keygen -Y sign`; OpenSSH `PROTOCOL.sshsig`), by Ed25519 keys.

use aws_lc_rs::{
    digest,
    signature::{ED25519, UnparsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// What bundles are signed for: a signature that was made for something else is none.
pub(crate) const NAMESPACE: &str = "bailiwick-policy";

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
const MAGIC: &[u8] = b"SSHSIG";
const KIND: &[u8] = b"ssh-ed25519";

/// Why a signature does not count.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureFault {
    /// It is not in the form that `ssh-keygen -Y sign` writes.
    #[error("its signature can't be read: {0}; make one with `ssh-keygen -Y sign -n {NAMESPACE} -f KEY bundle.toml`")]
    Unreadable(&'static str),
    /// It was made for something else.
    #[error("its signature was made for `{0}`, not for `{NAMESPACE}`")]
    Namespace(String),
    /// It is by somebody else.
    #[error("it is signed by a key that `policy.signed_by` does not have")]
    Stranger,
    /// It does not fit.
    #[error("its signature is not over this text")]
    Wrong,
}

/// Whether one of these keys (`ssh-ed25519 …`, as in a `.pub` file) signed these bytes.
pub(crate) fn verify(bytes: &[u8], signature: &str, keys: &[String]) -> Result<String, SignatureFault> {
    let unreadable = SignatureFault::Unreadable;
    let armored = signature.trim().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
    let text: String = armored.ok_or(unreadable("it has no armor"))?.split_whitespace().collect();
    let blob = STANDARD.decode(text).map_err(|_| unreadable("it is no base64"))?;
    let rest = blob.strip_prefix(MAGIC).ok_or(unreadable("it does not begin as one"))?;
    let rest = rest.strip_prefix(&1_u32.to_be_bytes()[..]).ok_or(unreadable("its version is not 1"))?;
    let mut rest = Fields(rest);
    let (key, namespace, reserved, hash, signed) = (rest.next()?, rest.next()?, rest.next()?, rest.next()?, rest.next()?);
    if !rest.0.is_empty() {
        return Err(unreadable("something comes after it"));
    }
    if namespace != NAMESPACE.as_bytes() {
        return Err(SignatureFault::Namespace(String::from_utf8_lossy(namespace).into_owned()));
    }
    let is_known = keys.iter().any(|known| blob_of(known).is_some_and(|known| known == key));
    if !is_known {
        return Err(SignatureFault::Stranger);
    }
    let algorithm = match hash {
        b"sha512" => &digest::SHA512,
        b"sha256" => &digest::SHA256,
        _ => return Err(unreadable("it hashes by something else than SHA-512 or SHA-256")),
    };
    let mut message = MAGIC.to_vec();
    for part in [namespace, reserved, hash, digest::digest(algorithm, bytes).as_ref()] {
        message.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        message.extend_from_slice(part);
    }
    let known_as = STANDARD.encode(key);
    let (key, signed) = (of_kind(key)?, of_kind(signed)?);
    UnparsedPublicKey::new(&ED25519, key).verify(&message, signed).map_err(|_| SignatureFault::Wrong)?;
    Ok(known_as)
}

/// The key of a line such as `ssh-ed25519 AAAA… who@where`.
fn blob_of(line: &str) -> Option<Vec<u8>> {
    let mut words = line.split_whitespace();
    (words.next()?.as_bytes() == KIND).then_some(())?;
    STANDARD.decode(words.next()?).ok()
}

/// What stands behind the kind of a key or of a signature.
fn of_kind(blob: &[u8]) -> Result<&[u8], SignatureFault> {
    let mut fields = Fields(blob);
    let (kind, value) = (fields.next()?, fields.next()?);
    if kind == KIND && fields.0.is_empty() {
        return Ok(value);
    }
    Err(SignatureFault::Unreadable("it is of another kind than ssh-ed25519"))
}

/// Fields with their length before them (RFC 4251, section 5).
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn next(&mut self) -> Result<&'b [u8], SignatureFault> {
        let short = SignatureFault::Unreadable("it is too short");
        let Some((length, rest)) = self.0.split_first_chunk::<4>() else { return Err(short) };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some((field, rest)) = rest.split_at_checked(length) else { return Err(short) };
        self.0 = rest;
        Ok(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAII2n2bSgaSuJk//0KI0rHWvczUNK4XB/xhSRkoueh+xe policy";
    const OTHER: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJNFhHq/N6xHUmskPJasS2XFSutOzjop00pbCZ2Beztk other";
    const TEXT: &[u8] = b"name = \"x\"\n";
    /// As `ssh-keygen -Y sign -n bailiwick-policy` wrote it.
    const SIGNED: &str = "-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgjafZtKBpK4mT//QojSsda9zNQ0
rhcH/GFJGSi56H7F4AAAAQYmFpbGl3aWNrLXBvbGljeQAAAAAAAAAGc2hhNTEyAAAAUwAA
AAtzc2gtZWQyNTUxOQAAAEDySNzNLRmcceroOugy8ZeTdMZ/9kZK3t17kZULEqTXP2hR+K
xS55SbcDOiTscr1XYAO6QlS5DH+wXWB2bzd3gL
-----END SSH SIGNATURE-----
";
    /// As `ssh-keygen -Y sign -n file` did.
    const ELSEWHERE: &str = "-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgjafZtKBpK4mT//QojSsda9zNQ0
rhcH/GFJGSi56H7F4AAAAEZmlsZQAAAAAAAAAGc2hhNTEyAAAAUwAAAAtzc2gtZWQyNTUx
OQAAAECE+IE9OA7utKp/d2v6oe91osiiUhXBGwUKPyVDrkJ3qog3bOyuq6nmaO6KfHfGc3
MfkERn+eMdZF8DXmUuFlEF
-----END SSH SIGNATURE-----
";

    fn by(keys: &[&str], bytes: &[u8], signature: &str) -> Result<(), SignatureFault> {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        verify(bytes, signature, &keys).map(drop)
    }

    #[test]
    fn what_openssh_signed_is_signed() {
        assert_eq!(by(&[KEY], TEXT, SIGNED), Ok(()));
        assert_eq!(by(&[OTHER, KEY], TEXT, SIGNED), Ok(()));
    }

    #[test]
    fn nothing_else_is() {
        assert_eq!(by(&[OTHER], TEXT, SIGNED), Err(SignatureFault::Stranger));
        assert_eq!(by(&[], TEXT, SIGNED), Err(SignatureFault::Stranger));
        assert_eq!(by(&[KEY], b"name = \"y\"\n", SIGNED), Err(SignatureFault::Wrong));
        assert_eq!(by(&[KEY], TEXT, ELSEWHERE), Err(SignatureFault::Namespace("file".to_owned())));
        for broken in
            ["", "x", BEGIN, &SIGNED.replace("BEGIN", "END"), &SIGNED.replace("U1NIU0lH", "U1NIU0lI"), &SIGNED.replace('\n', "!")]
        {
            assert!(matches!(by(&[KEY], TEXT, broken), Err(SignatureFault::Unreadable(_))), "{broken}");
        }
        let blob = STANDARD.decode(SIGNED.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap_or_default();
        let again = |blob: &[u8]| format!("{BEGIN}\n{}\n{END}", STANDARD.encode(blob));
        assert_eq!(by(&[KEY], TEXT, &again(&blob)), Ok(()));
        for length in 0..blob.len() {
            assert!(by(&[KEY], TEXT, &again(blob.get(..length).unwrap_or_default())).is_err(), "{length}");
        }
        for at in 0..blob.len() {
            let mut changed = blob.clone();
            if let Some(byte) = changed.get_mut(at) {
                *byte ^= 1;
            }
            assert!(by(&[KEY], TEXT, &again(&changed)).is_err(), "byte {at}");
        }
    }
}
