//! Compact JWS (RFC 7515, section 7.1) with a JSON object in it, read strictly: no two readers see different tokens. Nothing that is read
//! here is proven.

use bailiwick_schemas::json::{self, Limits};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::{algorithm::Algorithm, fault::TokenFault};

/// The longest token, bytes.
pub(crate) const LONGEST: usize = 16 * 1024;

/// How deep a header or the claims may be nested.
const DEPTH: usize = 16;

/// The longest text that is taken from a token, bytes.
pub(crate) const LONGEST_TEXT: usize = 2048;

/// A signed text as it is written: what it is signed with, and what of it is signed.
#[derive(Debug)]
pub(crate) struct Compact<'t> {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
    pub(crate) header: Map<String, Value>,
    /// What is signed: header and payload, as written.
    pub(crate) signed: &'t [u8],
    pub(crate) signature: Vec<u8>,
    payload: &'t str,
}

/// A token: a signed text with claims in it.
#[derive(Debug)]
pub(crate) struct Token<'t> {
    pub(crate) signed: Compact<'t>,
    pub(crate) claims: Map<String, Value>,
}

/// Whether a bearer token is written like a signed one: three parts with two dots between them.
pub fn looks_signed(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// Reads a token. Its type must be one of these, where `""` stands for none.
pub(crate) fn read<'t>(token: &'t str, types: &[&str]) -> Result<Token<'t>, TokenFault> {
    let signed = compact(token)?;
    let typ = match signed.header.get("typ") {
        None => "",
        Some(Value::String(typ)) => typ,
        Some(_) => return Err(TokenFault::Header("a `typ` that is no text".to_owned())),
    };
    if !types.iter().any(|known| known.eq_ignore_ascii_case(typ)) {
        return Err(TokenFault::Header(format!("the type `{}`, which is that of another kind of token", shown(typ))));
    }
    let claims = object(signed.payload, "claims")?;
    Ok(Token { signed, claims })
}

/// Reads a signed text, whatever it says.
pub(crate) fn compact(token: &str) -> Result<Compact<'_>, TokenFault> {
    let unreadable = |why: &str| TokenFault::Unreadable(why.to_owned());
    if token.len() > LONGEST {
        return Err(unreadable("it is too long"));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(unreadable("it does not have three parts"));
    };
    let signed = token.get(..header.len() + 1 + payload.len()).unwrap_or_default().as_bytes();
    let header = object(header, "header")?;
    let algorithm = match header.get("alg") {
        Some(Value::String(name)) => name.parse()?,
        Some(_) => return Err(TokenFault::Header("an `alg` that is no text".to_owned())),
        None => return Err(TokenFault::Header("no `alg`".to_owned())),
    };
    // What must be understood is not understood here (RFC 7515, section 4.1.11). Keys come from the issuer's configuration alone: what a
    // token says of where they are (`jku`, `x5u`) or what they are (`jwk`, `x5c`) is read by nobody.
    for refused in ["crit", "b64"] {
        if header.contains_key(refused) {
            return Err(TokenFault::Header(format!("`{refused}`, which is not taken")));
        }
    }
    let kid = match header.get("kid") {
        None => None,
        Some(Value::String(kid)) if kid.len() <= LONGEST_TEXT => Some(kid.clone()),
        Some(_) => return Err(TokenFault::Header("a `kid` that is no text, or a long one".to_owned())),
    };
    let signature = decoded(signature).filter(|signature| !signature.is_empty());
    let signature = signature.ok_or_else(|| unreadable("its signature is empty, or no base64url"))?;
    Ok(Compact { algorithm, kid, header, signed, signature, payload })
}

/// Strict base64url without padding (RFC 7515, section 2): one text for each value.
pub(crate) fn decoded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

fn object(part: &str, what: &str) -> Result<Map<String, Value>, TokenFault> {
    let bytes = decoded(part).ok_or_else(|| TokenFault::Unreadable(format!("its {what} are no base64url")))?;
    let read = json::parse(&bytes, Limits { bytes: LONGEST, depth: DEPTH });
    match read.map_err(|fault| TokenFault::Unreadable(format!("its {what}: {fault}")))? {
        Value::Object(object) => Ok(object),
        _ => Err(TokenFault::Unreadable(format!("its {what} are no JSON object"))),
    }
}

/// A text from a token, for an operator to read.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(100).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
