//! The protobuf wire format, as much of it as OTLP needs: varints, fixed numbers, length-delimited fields.
//! (<https://protobuf.dev/programming-guides/encoding/>)

/// Appends protobuf fields to a buffer.
pub(crate) struct Writer<'a>(pub(crate) &'a mut Vec<u8>);

impl Writer<'_> {
    /// An integer or enum field; zero is the default and isn't written.
    pub(crate) fn uint(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.always_uint(field, value);
        }
    }

    /// An integer of a `oneof`, where zero is written too.
    pub(crate) fn always_uint(&mut self, field: u32, value: u64) {
        self.key(field, 0);
        self.varint(value);
    }

    /// A `fixed64` field.
    pub(crate) fn fixed64(&mut self, field: u32, value: u64) {
        self.key(field, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A `fixed32` field.
    pub(crate) fn fixed32(&mut self, field: u32, value: u32) {
        self.key(field, 5);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// A `bytes` or `string` field.
    pub(crate) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A nested message. Its length goes before it and is known only after: one byte is kept free, and what was written
    /// moves up in the case that the length needs more.
    pub(crate) fn message(&mut self, field: u32, write: impl FnOnce(&mut Writer<'_>)) {
        self.key(field, 2);
        let at = self.0.len();
        self.0.push(0);
        write(&mut Writer(self.0));
        let length = (self.0.len() - at - 1) as u64;
        let (prefix, used) = varint(length);
        drop(self.0.splice(at..=at, prefix.into_iter().take(used)));
    }

    fn key(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn varint(&mut self, value: u64) {
        let (bytes, used) = varint(value);
        self.0.extend(bytes.into_iter().take(used));
    }
}

/// Writes the beginning of a length-delimited field whose content the caller appends.
pub(crate) fn open_field(out: &mut Vec<u8>, field: u32, length: usize) {
    let mut writer = Writer(out);
    writer.key(field, 2);
    writer.varint(length as u64);
}

/// The size of a length-delimited field with a one-byte key.
pub(crate) fn field_size(length: usize) -> usize {
    1 + varint(length as u64).1 + length
}

fn varint(mut value: u64) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut used = 0;
    for byte in &mut bytes {
        used += 1;
        *byte = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 {
            break;
        }
        *byte |= 0x80;
    }
    (bytes, used)
}

/// One field as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    /// A varint.
    Number(u64),
    /// A length-delimited field.
    Bytes(&'a [u8]),
    /// A fixed number, of no interest here.
    Skipped,
}

/// Takes the next field off `input`: its number and its value. `None` at the end, and where the bytes make no sense.
pub(crate) fn next_field<'a>(input: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = read_varint(input)?;
    let value = match key & 7 {
        0 => Field::Number(read_varint(input)?),
        1 => take(input, 8).map(|_| Field::Skipped)?,
        2 => {
            let length = usize::try_from(read_varint(input)?).ok()?;
            Field::Bytes(take(input, length)?)
        }
        5 => take(input, 4).map(|_| Field::Skipped)?,
        _ => return None,
    };
    Some((key >> 3, value))
}

fn read_varint(input: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = input.split_first()?;
        *input = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::{Field, Writer, next_field, varint};

    #[test]
    fn varints_are_those_of_the_specification() {
        for (value, expected) in [
            (0, vec![0]),
            (1, vec![1]),
            (127, vec![0x7f]),
            (128, vec![0x80, 0x01]),
            (150, vec![0x96, 0x01]),
            (16_384, vec![0x80, 0x80, 0x01]),
            (u64::MAX, [vec![0xff; 9], vec![1]].concat()),
        ] {
            let (bytes, used) = varint(value);
            assert_eq!(bytes[..used], expected, "{value}");
        }
    }

    #[test]
    fn a_nested_message_of_any_length_has_its_length_before_it() {
        for length in [0, 1, 120, 127, 128, 129, 16_383, 16_384, 100_000] {
            let mut out = Vec::new();
            Writer(&mut out).message(1, |message| message.0.resize(message.0.len() + length, 7));
            let mut input = &out[..];
            let content = vec![7; length];
            assert_eq!(next_field(&mut input), Some((1, Field::Bytes(&content))), "{length}");
            assert!(input.is_empty());
        }
    }

    #[test]
    fn nonsense_ends_the_reading() {
        for bytes in [&[0x0a, 0x05, 1][..], &[0x80; 11], &[0x0f], &[0x09, 1, 2]] {
            assert_eq!(next_field(&mut &bytes[..]), None, "{bytes:?}");
        }
    }
}
