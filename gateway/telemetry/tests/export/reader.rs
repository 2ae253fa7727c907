//! A protobuf reader that shares no code with the writer it checks.

use std::collections::HashMap;

/// A message as it came: fields in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Message(Vec<(u64, Value)>);

/// The value of a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(Vec<u8>),
}

impl Value {
    pub fn text(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }

    pub fn message(&self) -> Message {
        match self {
            Self::Bytes(bytes) => Message::read(bytes),
            other => panic!("not a message: {other:?}"),
        }
    }
}

impl Message {
    pub fn read(bytes: &[u8]) -> Self {
        let (mut at, mut fields) = (0, Vec::new());
        while at < bytes.len() {
            let key = varint(bytes, &mut at);
            let value = match key % 8 {
                0 => Value::Number(varint(bytes, &mut at)),
                1 => Value::Fixed64(u64::from_le_bytes(take(bytes, &mut at, 8).try_into().unwrap())),
                2 => {
                    let length = usize::try_from(varint(bytes, &mut at)).unwrap();
                    Value::Bytes(take(bytes, &mut at, length).to_vec())
                }
                5 => Value::Fixed32(u32::from_le_bytes(take(bytes, &mut at, 4).try_into().unwrap())),
                other => panic!("wire type {other}"),
            };
            fields.push((key / 8, value));
        }
        Self(fields)
    }

    pub fn all(&self, number: u64) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |(known, _)| *known == number).map(|(_, value)| value)
    }

    pub fn only(&self, number: u64) -> &Value {
        let all: Vec<&Value> = self.all(number).collect();
        assert_eq!(all.len(), 1, "field {number} of {self:?}");
        all[0]
    }

    /// A repeated `KeyValue` field, whose values have one field each.
    pub fn attributes(&self, number: u64) -> HashMap<String, Value> {
        let pair = |value: &Value| {
            let pair = value.message();
            let Value::Bytes(key) = pair.only(1).clone() else { panic!("a key is text") };
            let mut value = pair.only(2).message();
            assert_eq!(value.0.len(), 1);
            (String::from_utf8(key).unwrap(), value.0.remove(0).1)
        };
        self.all(number).map(pair).collect()
    }
}

fn varint(bytes: &[u8], at: &mut usize) -> u64 {
    let (mut value, mut factor) = (0_u64, 1_u64);
    loop {
        let byte = bytes[*at];
        *at += 1;
        value += u64::from(byte % 128) * factor;
        if byte < 128 {
            return value;
        }
        factor *= 128;
    }
}

fn take<'a>(bytes: &'a [u8], at: &mut usize, length: usize) -> &'a [u8] {
    let start = *at;
    *at += length;
    &bytes[start..*at]
}
