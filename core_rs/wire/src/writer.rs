//! Protobuf bytes, written; and their length without writing them.

use super::fields::{Describe, Sink};
use super::reader::wire_type;

/// Length of a number as a varint, bytes.
#[inline]
pub(super) fn varint_len(value: u64) -> usize {
    // 7 bits a byte; `| 1` because 0 takes a byte too.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
pub(super) fn put_tag(out: &mut Vec<u8>, number: u32, wire: u8) {
    put_varint(out, u64::from(number << 3 | u32::from(wire)));
}

/// A field of bytes, text or a message, its tag and length before it.
#[inline]
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    put_tag(out, number, wire_type::BYTES);
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// What [`put_bytes`] adds.
#[inline]
pub(super) fn bytes_len(number: u32, len: usize) -> usize {
    varint_len(u64::from(number << 3)) + varint_len(len as u64) + len
}

/// Length of a message's protobuf encoding, bytes.
#[inline]
pub(super) fn encoded_len(message: &impl Describe) -> usize {
    let mut len = Length(0);
    message.describe(&mut len);
    len.0
}

/// Counts what [`Proto`] would write.
struct Length(usize);

impl Sink for Length {
    #[inline]
    fn uint(&mut self, number: u32, _: &'static str, value: u64) {
        if value != 0 {
            self.0 += varint_len(u64::from(number << 3)) + varint_len(value);
        }
    }

    #[inline]
    fn boolean(&mut self, number: u32, name: &'static str, value: bool) {
        self.uint(number, name, u64::from(value));
    }

    #[inline]
    fn string(&mut self, number: u32, name: &'static str, value: &str) {
        self.bytes(number, name, value.as_bytes());
    }

    #[inline]
    fn bytes(&mut self, number: u32, _: &'static str, value: &[u8]) {
        if !value.is_empty() {
            self.0 += bytes_len(number, value.len());
        }
    }

    fn optional_bytes(&mut self, number: u32, _: &'static str, value: Option<&[u8]>) {
        self.0 += value.map_or(0, |value| bytes_len(number, value.len()));
    }

    fn enumeration(&mut self, number: u32, name: &'static str, value: u8, _: &'static str) {
        self.uint(number, name, u64::from(value));
    }

    #[inline]
    fn message(&mut self, number: u32, _: &'static str, value: &impl Describe) {
        self.0 += bytes_len(number, encoded_len(value));
    }

    fn uints(&mut self, number: u32, _: &'static str, values: impl Iterator<Item = u64> + Clone) {
        let len = packed_len(values);
        if len > 0 {
            self.0 += bytes_len(number, len);
        }
    }

    fn strings<T: AsRef<str>>(&mut self, number: u32, _: &'static str, values: &[T]) {
        self.0 += values.iter().map(|value| bytes_len(number, value.as_ref().len())).sum::<usize>();
    }

    #[inline]
    fn byte_strings<T: AsRef<[u8]>>(&mut self, number: u32, _: &'static str, values: &[T]) {
        self.0 += values.iter().map(|value| bytes_len(number, value.as_ref().len())).sum::<usize>();
    }

    fn messages(&mut self, number: u32, name: &'static str, values: impl IntoIterator<Item = impl Describe>) {
        for value in values {
            self.message(number, name, &value);
        }
    }
}

fn packed_len(values: impl Iterator<Item = u64>) -> usize {
    values.map(varint_len).sum()
}

/// Appends the protobuf encoding.
pub(super) struct Proto<'o>(pub &'o mut Vec<u8>);

impl Sink for Proto<'_> {
    #[inline]
    fn uint(&mut self, number: u32, _: &'static str, value: u64) {
        if value != 0 {
            put_tag(self.0, number, wire_type::VARINT);
            put_varint(self.0, value);
        }
    }

    #[inline]
    fn boolean(&mut self, number: u32, name: &'static str, value: bool) {
        self.uint(number, name, u64::from(value));
    }

    #[inline]
    fn string(&mut self, number: u32, name: &'static str, value: &str) {
        self.bytes(number, name, value.as_bytes());
    }

    #[inline]
    fn bytes(&mut self, number: u32, _: &'static str, value: &[u8]) {
        if !value.is_empty() {
            put_bytes(self.0, number, value);
        }
    }

    fn optional_bytes(&mut self, number: u32, _: &'static str, value: Option<&[u8]>) {
        if let Some(value) = value {
            put_bytes(self.0, number, value);
        }
    }

    fn enumeration(&mut self, number: u32, name: &'static str, value: u8, _: &'static str) {
        self.uint(number, name, u64::from(value));
    }

    #[inline]
    fn message(&mut self, number: u32, _: &'static str, value: &impl Describe) {
        put_tag(self.0, number, wire_type::BYTES);
        put_varint(self.0, encoded_len(value) as u64);
        value.describe(self);
    }

    fn uints(&mut self, number: u32, _: &'static str, values: impl Iterator<Item = u64> + Clone) {
        let len = packed_len(values.clone());
        if len == 0 {
            return;
        }
        put_tag(self.0, number, wire_type::BYTES);
        put_varint(self.0, len as u64);
        for value in values {
            put_varint(self.0, value);
        }
    }

    fn strings<T: AsRef<str>>(&mut self, number: u32, _: &'static str, values: &[T]) {
        for value in values {
            put_bytes(self.0, number, value.as_ref().as_bytes());
        }
    }

    #[inline]
    fn byte_strings<T: AsRef<[u8]>>(&mut self, number: u32, _: &'static str, values: &[T]) {
        for value in values {
            put_bytes(self.0, number, value.as_ref());
        }
    }

    fn messages(&mut self, number: u32, name: &'static str, values: impl IntoIterator<Item = impl Describe>) {
        for value in values {
            self.message(number, name, &value);
        }
    }
}
