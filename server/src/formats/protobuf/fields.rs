//! Protobuf's wire form, field by field, borrowing everything. Knows no field's meaning.

#![expect(clippy::inline_always, reason = "a field is a few bytes: calling to read it costs as much as reading it")]

use prost::encoding::{DecodeContext, WireType, decode_varint, encode_key, encode_varint, skip_field};

use crate::formats::refusal::{Code, Refusal};

/// Reads the fields of one message in their order; ends after the first that is malformed.
#[derive(Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
    /// From the last field read on.
    last: &'a [u8],
}

/// One field: what it holds.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    pub tag: u32,
    value: Value<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(&'a [u8]),
    Group,
}

impl<'a> Fields<'a> {
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message, last: message }
    }

    /// The next field.
    #[inline(always)]
    pub fn read(&mut self) -> Result<Option<Field<'a>>, Refusal> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.last = self.rest;
        match self.field() {
            Some(field) => Ok(Some(field)),
            None => Err(self.malformed()),
        }
    }

    /// Appends the field that was read last as it came.
    pub fn keep(&self, others: &mut Vec<u8>) {
        others.extend_from_slice(&self.last[..self.last.len() - self.rest.len()]);
    }

    #[cold]
    fn malformed(&mut self) -> Refusal {
        self.rest = &[];
        wrong("", "a field is cut off or has no valid key")
    }

    #[inline(always)]
    fn field(&mut self) -> Option<Field<'a>> {
        let key = self.varint()?;
        let (tag, wire_type) = (u32::try_from(key >> 3).ok().filter(|tag| (1..1 << 29).contains(tag))?, key & 7);
        let value = match wire_type {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.fixed()?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let (bytes, rest) = self.rest.split_at_checked(length)?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            3 => self.group(tag)?,
            5 => Value::Fixed32(self.fixed()?),
            _ => return None,
        };
        Some(Field { tag, value })
    }

    #[cold]
    fn group(&mut self, tag: u32) -> Option<Value<'a>> {
        skip_field(WireType::StartGroup, tag, &mut self.rest, DecodeContext::default()).ok()?;
        Some(Value::Group)
    }

    #[inline(always)]
    fn varint(&mut self) -> Option<u64> {
        match *self.rest {
            [byte, ref rest @ ..] if byte < 0x80 => {
                self.rest = rest;
                Some(u64::from(byte))
            }
            _ => decode_varint(&mut self.rest).ok(),
        }
    }

    #[inline(always)]
    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*bytes)
    }
}

impl<'a> Field<'a> {
    #[inline]
    pub fn bytes(&self, pointer: &str) -> Result<&'a [u8], Refusal> {
        if let Value::Bytes(bytes) = self.value { Ok(bytes) } else { Err(wrong(pointer, "must be length-delimited")) }
    }

    #[inline]
    pub fn text(&self, pointer: &str) -> Result<&'a str, Refusal> {
        std::str::from_utf8(self.bytes(pointer)?).map_err(|_bytes| wrong(pointer, "must be UTF-8"))
    }

    #[inline]
    pub fn varint(&self, pointer: &str) -> Result<u64, Refusal> {
        if let Value::Varint(varint) = self.value { Ok(varint) } else { Err(wrong(pointer, "must be a varint")) }
    }

    #[inline]
    pub fn int64(&self, pointer: &str) -> Result<i64, Refusal> {
        self.varint(pointer).map(u64::cast_signed)
    }

    #[inline]
    pub fn double(&self, pointer: &str) -> Result<f64, Refusal> {
        if let Value::Fixed64(bytes) = self.value { Ok(f64::from_le_bytes(bytes)) } else { Err(wrong(pointer, "must be a double")) }
    }

    #[inline]
    pub fn float(&self, pointer: &str) -> Result<f32, Refusal> {
        if let Value::Fixed32(bytes) = self.value { Ok(f32::from_le_bytes(bytes)) } else { Err(wrong(pointer, "must be a float")) }
    }
}

/// Appends what was unknown inside the known message `tag`: read together with the known fields, Protobuf merges the two.
pub fn keep_nested(tag: u32, inner: &[u8], others: &mut Vec<u8>) {
    if !inner.is_empty() {
        encode_key(tag, WireType::LengthDelimited, others);
        encode_varint(inner.len() as u64, others);
        others.extend_from_slice(inner);
    }
}

#[cold]
fn wrong(pointer: &str, detail: &str) -> Refusal {
    Refusal::new(Code::MalformedProtobuf, pointer, detail)
}
