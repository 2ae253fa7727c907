//! The forms in which a secret is written down.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::trace::hex;

/// A form, as bytes: some are no text.
pub(super) type Form = Zeroizing<Vec<u8>>;

/// The digits of base32 (RFC 4648, 6).
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Each form of this secret, once, whatever the case of its letters.
pub(super) fn forms_of(secret: &str) -> Vec<Form> {
    let bytes = secret.as_bytes();
    let hexed = hex(bytes);
    let percent = |plain: fn(u8) -> bool| {
        let written = |byte: &u8| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
        bytes.iter().map(written).collect::<String>()
    };
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    // A string within a JSON text that is itself a string.
    let escaped = Value::from(secret).to_string();
    let escaped = escaped.get(1..escaped.len().saturating_sub(1)).unwrap_or_default().to_owned();
    // Other writers of JSON escape more than must be.
    let slashed = escaped.replace('/', "\\/");
    let unicode: String = secret.chars().fold(String::new(), |text, c| match c {
        c if c.is_ascii_alphanumeric() => text + c.encode_utf8(&mut [0; 4]),
        c => text + &format!("\\u{:04x}", u32::from(c)),
    });
    let reversed = secret.chars().rev().collect();
    let mut forms: Vec<Form> = [secret.to_owned(), reversed, percent(unreserved), percent(|_| false), escaped, slashed, unicode]
        .into_iter()
        .chain([spaced(&hexed, " "), spaced(&hexed, ":"), hexed])
        .map(|text| Zeroizing::new(text.into_bytes()))
        .collect();
    if secret.contains(' ') {
        // As in forms on web pages.
        forms.push(Zeroizing::new(percent(unreserved).replace("%20", "+").into_bytes()));
    }
    for shift in 0..3 {
        forms.push(Zeroizing::new(aligned(&STANDARD_NO_PAD, bytes, shift).into_bytes()));
        forms.push(Zeroizing::new(aligned(&URL_SAFE_NO_PAD, bytes, shift).into_bytes()));
    }
    forms.extend((0..5).map(|shift| Zeroizing::new(aligned_32(bytes, shift))));
    forms.push(Zeroizing::new(secret.encode_utf16().flat_map(u16::to_le_bytes).collect()));
    forms.push(Zeroizing::new(secret.encode_utf16().flat_map(u16::to_be_bytes).collect()));
    let mut known: Vec<Form> = Vec::with_capacity(forms.len());
    for form in forms {
        if !form.is_empty() && !known.iter().any(|other| other.eq_ignore_ascii_case(&form)) {
            known.push(form);
        }
    }
    known
}

/// What spells a secret out by the numbers of its bytes and characters, of which only the digits are compared.
pub(super) fn spelled(secret: &str) -> Vec<Form> {
    let each = |number: fn(u8) -> String| Zeroizing::new(secret.bytes().map(number).collect::<String>().into_bytes());
    let points = secret.chars().fold(String::new(), |text, c| text + &format!("U+{:04X}", u32::from(c)));
    let mut spelled = vec![
        each(|byte| byte.to_string()),
        each(|byte| format!("{byte:o}")),
        each(|byte| format!("{byte:03o}")),
        each(|byte| format!("{byte:08b}")),
        each(|byte| format!("0x{byte:x}")),
        each(|byte| format!("0x{byte:02x}")),
    ];
    spelled.push(Zeroizing::new(points.into_bytes()));
    spelled
}

/// The bytes of a hexadecimal number, apart.
fn spaced(hexed: &str, by: &str) -> String {
    let mut text = String::with_capacity(hexed.len() / 2 * (2 + by.len()));
    for (at, digit) in hexed.chars().enumerate() {
        if at > 0 && at % 2 == 0 {
            text.push_str(by);
        }
        text.push(digit);
    }
    text
}

/// What of the base64 of `bytes` does not depend on its neighbours, when `shift` bytes (modulo 3) stand before it.
fn aligned(engine: &impl Engine, bytes: &[u8], shift: usize) -> String {
    let mut padded = vec![0; shift];
    padded.extend_from_slice(bytes);
    let text = Zeroizing::new(engine.encode(Zeroizing::new(padded)));
    let skip = (shift * 8).div_ceil(6);
    let whole = (shift + bytes.len()) * 8 / 6;
    text.get(skip..whole).unwrap_or_default().to_owned()
}

/// The same in base32, where 5 bytes make 8 digits.
fn aligned_32(bytes: &[u8], shift: usize) -> Vec<u8> {
    let (mut text, mut held, mut bits) = (Vec::with_capacity(bytes.len() * 8 / 5), 0_u32, 0_u32);
    for byte in std::iter::repeat_n(&0_u8, shift).chain(bytes) {
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            let digit = (held >> bits) & 31;
            text.extend(usize::try_from(digit).ok().and_then(|digit| BASE32.get(digit)));
        }
        held &= 0xff;
    }
    text.drain(..(shift * 8).div_ceil(5).min(text.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base32_is_that_of_the_rfc() {
        assert_eq!(aligned_32(b"foobar", 0), b"MZXW6YTBO");
        // `xfoobar` is PBTG633CMFZA.
        assert_eq!(aligned_32(b"foobar", 1), b"TG633CMFZ");
    }
}
