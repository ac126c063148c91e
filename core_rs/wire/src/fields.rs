//! The two seams between the frames and their two notations, protobuf and JSON.
//!
//! A frame is written once as [`Describe`] and read once as [`Fields`]; [`Sink`] and [`Value`] have one implementation for
//! each notation. Names are those of the JSON mapping (lowerCamelCase), numbers those of the schema.

use std::borrow::Cow;

use super::error::WireError;

/// A message that can tell its fields, in the order of their numbers. A default value is told too: the sink leaves it out.
pub(super) trait Describe {
    fn describe<S: Sink>(&self, sink: &mut S);
}

impl<D: Describe> Describe for &D {
    fn describe<S: Sink>(&self, sink: &mut S) {
        D::describe(self, sink);
    }
}

/// Takes the fields of a message.
pub(super) trait Sink: Sized {
    fn uint(&mut self, number: u32, name: &'static str, value: u64);
    fn boolean(&mut self, number: u32, name: &'static str, value: bool);
    fn string(&mut self, number: u32, name: &'static str, value: &str);
    fn bytes(&mut self, number: u32, name: &'static str, value: &[u8]);
    /// A field with presence: left out if absent, and written though it be empty.
    fn optional_bytes(&mut self, number: u32, name: &'static str, value: Option<&[u8]>);
    /// `label` is the value's name in the schema.
    fn enumeration(&mut self, number: u32, name: &'static str, value: u8, label: &'static str);
    /// Unlike the others, a message is written even when it is empty: it is present.
    fn message(&mut self, number: u32, name: &'static str, value: &impl Describe);

    fn uints(&mut self, number: u32, name: &'static str, values: impl Iterator<Item = u64> + Clone);
    fn strings<T: AsRef<str>>(&mut self, number: u32, name: &'static str, values: &[T]);
    fn byte_strings<T: AsRef<[u8]>>(&mut self, number: u32, name: &'static str, values: &[T]);
    fn messages(&mut self, number: u32, name: &'static str, values: impl IntoIterator<Item = impl Describe>);
}

/// A message that takes its fields one by one.
pub(super) trait Fields<'a> {
    /// The JSON name of each field; the field's number is its place here, from 1.
    const NAMES: &'static [&'static str];

    /// Takes a field. A number that is not in the schema is given to [`Value::skip`].
    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError>;
}

/// A field's value, not yet read. Exactly one of these is called for each.
pub(super) trait Value<'a>: Sized {
    fn uint32(self) -> Result<u32, WireError>;
    fn uint64(self) -> Result<u64, WireError>;
    fn boolean(self) -> Result<bool, WireError>;
    fn string(self) -> Result<Cow<'a, str>, WireError>;
    fn bytes(self) -> Result<Cow<'a, [u8]>, WireError>;
    /// The number of an enum's value; the schema has those from 0 on, named by `labels`.
    fn enumeration(self, labels: &[&'static str]) -> Result<u8, WireError>;
    fn message<M: Fields<'a>>(self, into: &mut M) -> Result<(), WireError>;
    fn skip(self) -> Result<(), WireError>;

    /// Elements of a repeated integer: one, or a packed run of them, or a whole array.
    fn uint32s(self, take: impl FnMut(u32) -> Result<(), WireError>) -> Result<(), WireError>;
    /// The same of 64 bits.
    fn uint64s(self, take: impl FnMut(u64) -> Result<(), WireError>) -> Result<(), WireError>;
    /// Elements of any other repeated field: one, or a whole array.
    fn each(self, take: impl FnMut(Self) -> Result<(), WireError>) -> Result<(), WireError>;
}
