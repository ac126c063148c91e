//! Protobuf bytes, read field by field without copying.
//!
//! As the specification says, with these choices: a known field of another wire type, a 32-bit field above 32 bits and
//! text that is not UTF-8 are malformed; unknown fields, groups too, are skipped.

use std::borrow::Cow;

use super::error::WireError;
use super::fields::{Fields, Value};

/// Wire types of the protobuf encoding.
pub(super) mod wire_type {
    pub const VARINT: u8 = 0;
    pub const FIXED64: u8 = 1;
    pub const BYTES: u8 = 2;
    pub const GROUP_START: u8 = 3;
    pub const GROUP_END: u8 = 4;
    pub const FIXED32: u8 = 5;
}

/// Deepest nesting of unknown groups; the same bound as other implementations have.
const MAX_GROUPS: usize = 100;

/// What is left of a message's bytes.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next field's number and wire type; `None` at the end.
    #[inline]
    pub fn tag(&mut self) -> Result<Option<(u32, u8)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = u32::try_from(self.varint()?).map_err(|_| WireError::malformed("a field number above 29 bits"))?;
        let number = tag >> 3;
        if number == 0 {
            return Err(WireError::malformed("a field with the number 0"));
        }
        Ok(Some((number, (tag & 7) as u8)))
    }

    #[inline]
    pub fn varint(&mut self) -> Result<u64, WireError> {
        match self.rest {
            [byte @ 0..=0x7f, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for (i, &byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte has room for one bit.
            if i == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.rest = self.rest.get(i + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(WireError::malformed(if self.rest.len() < 10 { "ends within a number" } else { "a number above 64 bits" }))
    }

    /// A length and that many bytes.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let len = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        self.take(len)
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            return Err(WireError::malformed("ends within a field"));
        };
        self.rest = rest;
        Ok(taken)
    }

    /// Passes over the value of a field.
    pub fn skip(&mut self, number: u32, wire: u8) -> Result<(), WireError> {
        if wire != wire_type::GROUP_START {
            return self.skip_simple(wire);
        }
        let mut open = vec![number];
        while let Some(&innermost) = open.last() {
            let Some((number, wire)) = self.tag()? else {
                return Err(WireError::malformed("ends within a group"));
            };
            match wire {
                wire_type::GROUP_START if open.len() < MAX_GROUPS => open.push(number),
                wire_type::GROUP_START => return Err(WireError::malformed("groups nested too deeply")),
                wire_type::GROUP_END if number == innermost => _ = open.pop(),
                _ => self.skip_simple(wire)?,
            }
        }
        Ok(())
    }

    fn skip_simple(&mut self, wire: u8) -> Result<(), WireError> {
        match wire {
            wire_type::VARINT => self.varint().map(drop),
            wire_type::FIXED64 => self.take(8).map(drop),
            wire_type::BYTES => self.bytes().map(drop),
            wire_type::FIXED32 => self.take(4).map(drop),
            _ => Err(WireError::malformed("a field of no known wire type")),
        }
    }
}

/// Gives all fields of a message to `into`.
#[inline]
pub(super) fn read_message<'a, M: Fields<'a>>(bytes: &'a [u8], into: &mut M) -> Result<(), WireError> {
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.tag()? {
        into.set(number, ProtoValue { reader: &mut reader, number, wire })?;
    }
    Ok(())
}

/// UTF-8 or an error.
#[inline]
pub(super) fn text(bytes: &[u8]) -> Result<&str, WireError> {
    std::str::from_utf8(bytes).map_err(|_| WireError::malformed("text that is not UTF-8"))
}

struct ProtoValue<'r, 'a> {
    reader: &'r mut Reader<'a>,
    number: u32,
    wire: u8,
}

impl<'a> ProtoValue<'_, 'a> {
    #[inline]
    fn check_type(&self, wire: u8) -> Result<(), WireError> {
        if self.wire == wire { Ok(()) } else { Err(WireError::malformed("a field of another wire type than its own")) }
    }

    #[inline]
    fn borrowed(self) -> Result<&'a [u8], WireError> {
        self.check_type(wire_type::BYTES)?;
        self.reader.bytes()
    }
}

fn narrow(value: u64) -> Result<u32, WireError> {
    u32::try_from(value).map_err(|_| WireError::malformed("a 32-bit field above 32 bits"))
}

impl<'a> Value<'a> for ProtoValue<'_, 'a> {
    #[inline]
    fn uint32(self) -> Result<u32, WireError> {
        narrow(self.uint64()?)
    }

    #[inline]
    fn uint64(self) -> Result<u64, WireError> {
        self.check_type(wire_type::VARINT)?;
        self.reader.varint()
    }

    fn boolean(self) -> Result<bool, WireError> {
        Ok(self.uint64()? != 0)
    }

    #[inline]
    fn string(self) -> Result<Cow<'a, str>, WireError> {
        Ok(Cow::Borrowed(text(self.borrowed()?)?))
    }

    #[inline]
    fn bytes(self) -> Result<Cow<'a, [u8]>, WireError> {
        Ok(Cow::Borrowed(self.borrowed()?))
    }

    fn enumeration(self, labels: &[&'static str]) -> Result<u8, WireError> {
        let value = self.uint64()?;
        match u8::try_from(value) {
            Ok(value) if usize::from(value) < labels.len() => Ok(value),
            _ => Err(WireError::field(format!("{value} is none of {} (from 0)", labels.join(", ")))),
        }
    }

    #[inline]
    fn message<M: Fields<'a>>(self, into: &mut M) -> Result<(), WireError> {
        read_message(self.borrowed()?, into)
    }

    fn skip(self) -> Result<(), WireError> {
        self.reader.skip(self.number, self.wire)
    }

    fn uint32s(self, mut take: impl FnMut(u32) -> Result<(), WireError>) -> Result<(), WireError> {
        self.uint64s(|value| take(narrow(value)?))
    }

    #[inline]
    fn uint64s(self, mut take: impl FnMut(u64) -> Result<(), WireError>) -> Result<(), WireError> {
        if self.wire == wire_type::VARINT {
            return take(self.uint64()?);
        }
        let mut packed = Reader::new(self.borrowed()?);
        while !packed.rest.is_empty() {
            take(packed.varint()?)?;
        }
        Ok(())
    }

    #[inline]
    fn each(self, mut take: impl FnMut(Self) -> Result<(), WireError>) -> Result<(), WireError> {
        take(self)
    }
}
