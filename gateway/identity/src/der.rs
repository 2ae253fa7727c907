//! What of a certificate is judged beside its signatures (RFC 5280, section 4), read strictly from its DER.
//!
//! The verifier of chains reads the same bytes. This reads what it does not tell: every URI name, whatever it is made of, what the key may
//! be used for, and until when it is good.

/// The tags that occur (X.690).
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// `uniformResourceIdentifier` of a `GeneralName`.
const URI: u8 = 0x86;

/// `id-ce-keyUsage`, `id-ce-subjectAltName` and `id-ce-basicConstraints`.
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];

/// The bits of `KeyUsage`, in its first byte.
const DIGITAL_SIGNATURE: u8 = 0x80;
const CERT_SIGN: u8 = 0x04;
const CRL_SIGN: u8 = 0x02;

/// What a certificate says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Facts<'d> {
    /// All its URI names, in order.
    pub(crate) uris: Vec<&'d [u8]>,
    /// Whether it is an authority.
    pub(crate) is_authority: bool,
    /// The last moment at which it is good, unix milliseconds.
    pub(crate) until_ms: u64,
    usage: Option<u8>,
}

impl Facts<'_> {
    /// Whether its key may sign what proves its bearer, and neither certificates nor revocations (X.509-SVID, section 4.3).
    pub(crate) fn is_for_proof_alone(&self) -> bool {
        self.usage.is_some_and(|bits| bits & DIGITAL_SIGNATURE != 0 && bits & (CERT_SIGN | CRL_SIGN) == 0)
    }

    /// Whether it may sign certificates.
    pub(crate) fn may_sign(&self) -> bool {
        self.is_authority && self.usage.is_none_or(|bits| bits & CERT_SIGN != 0)
    }
}

/// Reads a certificate; none where it is not one of version 3 in DER, or says something twice.
pub(crate) fn facts(certificate: &[u8]) -> Option<Facts<'_>> {
    let mut whole = Der(certificate);
    let mut outer = Der(whole.only(SEQUENCE)?);
    let mut body = Der(outer.expect(SEQUENCE)?);
    let mut version = Der(body.expect(VERSION)?);
    if version.only(INTEGER)? != [2] {
        return None;
    }
    body.expect(INTEGER)?;
    body.expect(SEQUENCE)?;
    body.expect(SEQUENCE)?;
    let mut validity = Der(body.expect(SEQUENCE)?);
    validity.next().and_then(time)?;
    let until_ms = validity.next().and_then(time)?;
    body.expect(SEQUENCE)?;
    body.expect(SEQUENCE)?;
    let mut facts = Facts { uris: Vec::new(), is_authority: false, until_ms, usage: None };
    let extensions = loop {
        match body.next() {
            Some((EXTENSIONS, content)) => break content,
            // The unique ids that nobody uses.
            Some((0x81 | 0x82, _)) => {}
            _ => return None,
        }
    };
    let mut list = Der(Der(extensions).only(SEQUENCE)?);
    let mut seen: Vec<&[u8]> = Vec::new();
    while !list.0.is_empty() {
        let mut extension = Der(list.expect(SEQUENCE)?);
        let id = extension.expect(OID)?;
        let (tag, mut value) = extension.next()?;
        if tag == BOOLEAN {
            value = extension.expect(OCTETS)?;
        } else if tag != OCTETS {
            return None;
        }
        if !extension.0.is_empty() || seen.contains(&id) {
            return None;
        }
        seen.push(id);
        facts.take(id, value)?;
    }
    Some(facts)
}

impl<'d> Facts<'d> {
    fn take(&mut self, id: &[u8], value: &'d [u8]) -> Option<()> {
        if id == KEY_USAGE {
            let bits = Der(value).only(BITS)?;
            // The first byte counts the bits at the end that mean nothing.
            self.usage = Some(bits.get(1).copied().unwrap_or(0));
        } else if id == BASIC_CONSTRAINTS {
            let mut constraints = Der(Der(value).only(SEQUENCE)?);
            self.is_authority = constraints.0.first() == Some(&BOOLEAN) && constraints.expect(BOOLEAN)? != [0];
        } else if id == ALTERNATIVE_NAMES {
            let mut names = Der(Der(value).only(SEQUENCE)?);
            while !names.0.is_empty() {
                let (tag, name) = names.next()?;
                if tag == URI {
                    self.uris.push(name);
                }
            }
        }
        Some(())
    }
}

/// A moment in UTC with seconds (RFC 5280, section 4.1.2.5), as unix milliseconds.
fn time((tag, text): (u8, &[u8])) -> Option<u64> {
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let pair = |at: usize| Some(u64::from(digits.get(at)? - b'0') * 10 + u64::from(digits.get(at + 1)? - b'0'));
    let (year, at) = match (tag, digits.len()) {
        (UTC_TIME, 12) => (pair(0).map(|short| if short < 50 { 2000 + short } else { 1900 + short })?, 2),
        (GENERALIZED_TIME, 14) => (pair(0)? * 100 + pair(2)?, 4),
        _ => return None,
    };
    let (month, day, hour, minute, second) = (pair(at)?, pair(at + 2)?, pair(at + 4)?, pair(at + 6)?, pair(at + 8)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since the first of March of the year 0 (proleptic): the day that may be missing is the last of the year then.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    // What ended before 1970 has ended.
    let days = days.saturating_sub(719_468);
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000)
}

/// DER that is still to be read.
struct Der<'d>(&'d [u8]);

impl<'d> Der<'d> {
    /// The next element: its tag and its content.
    fn next(&mut self) -> Option<(u8, &'d [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        // Tags of more than one byte occur nowhere here.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
                // The shortest way to write it is the only one.
                let is_shortest = length > 0x7f && bytes.first() != Some(&0);
                is_shortest.then_some((length, rest))?
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    /// The next element, which must have this tag.
    fn expect(&mut self, tag: u8) -> Option<&'d [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }

    /// The one element that there is, which must have this tag.
    fn only(&mut self, tag: u8) -> Option<&'d [u8]> {
        self.expect(tag).filter(|_| self.0.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (tag, text, expected) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999_000)),
            (UTC_TIME, "500101000000Z", Some(0)),
            (GENERALIZED_TIME, "20000229120000Z", Some(951_825_600_000)),
            (GENERALIZED_TIME, "20240301000000Z", Some(1_709_251_200_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799_000)),
            (GENERALIZED_TIME, "20241301000000Z", None),
            (GENERALIZED_TIME, "20240100000000Z", None),
            (GENERALIZED_TIME, "20240101240000Z", None),
            (GENERALIZED_TIME, "20240101000000+0100", None),
            (GENERALIZED_TIME, "20240101000000.5Z", None),
            (GENERALIZED_TIME, "240101000000Z", None),
            (UTC_TIME, "2401010000Z", None),
            (UTC_TIME, "", None),
            (OCTETS, "700101000000Z", None),
        ] {
            assert_eq!(time((tag, text.as_bytes())), expected, "{text}");
        }
    }

    #[test]
    fn a_length_is_written_in_one_way() {
        let long = [vec![OCTETS, 0x81, 0x80], vec![0; 0x80]].concat();
        assert_eq!(Der(&long).only(OCTETS).map(<[u8]>::len), Some(0x80));
        for bad in [
            &[OCTETS, 0x80, 0, 0][..],
            &[OCTETS, 0x81, 0x01, 7],
            &[OCTETS, 0x82, 0x00, 0x01, 7],
            &[OCTETS, 0x84, 0, 0, 0, 1, 7],
            &[OCTETS, 2, 7],
            &[OCTETS],
            &[0x1f, 0x81, 0x01, 0],
            &[],
        ] {
            assert_eq!(Der(bad).next(), None, "{bad:x?}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        for bad in [&b""[..], b"hello", &[SEQUENCE, 0], &[SEQUENCE, 2, SEQUENCE, 0], &[0xff; 64]] {
            assert_eq!(facts(bad), None, "{bad:x?}");
        }
    }
}
