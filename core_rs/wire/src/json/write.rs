//! A message as JSON text.

use base64::engine::{Engine, general_purpose::STANDARD};

use crate::fields::{Describe, Sink};

/// Integers from here on are written as text: a JavaScript number would lose their last digits.
const TEXT_FROM: u64 = 1 << 53;

/// Appends the members of one object.
pub(crate) struct Json<'o> {
    out: &'o mut Vec<u8>,
    /// Nothing was written into this object yet.
    first: bool,
}

impl Json<'_> {
    /// Appends `message` as an object.
    pub fn object(out: &mut Vec<u8>, message: &impl Describe) {
        out.push(b'{');
        message.describe(&mut Json { out, first: true });
        out.push(b'}');
    }

    fn name(&mut self, name: &'static str) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn list<T>(&mut self, name: &'static str, values: impl IntoIterator<Item = T>, put: impl Fn(&mut Vec<u8>, T)) {
        let mut values = values.into_iter();
        let Some(first) = values.next() else { return };
        self.name(name);
        self.out.push(b'[');
        put(self.out, first);
        for value in values {
            self.out.push(b',');
            put(self.out, value);
        }
        self.out.push(b']');
    }
}

fn put_integer(out: &mut Vec<u8>, value: u64) {
    let digits = value.to_string();
    if value < TEXT_FROM { out.extend_from_slice(digits.as_bytes()) } else { put_text(out, &digits) }
}

fn put_text(out: &mut Vec<u8>, value: &str) {
    // Writing text to a Vec cannot fail.
    let _ = serde_json::to_writer(out, value);
}

fn put_base64(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    let start = out.len();
    // 4 digits for each 3 bytes begun.
    out.resize(start + value.len().div_ceil(3) * 4, 0);
    if let Some(room) = out.get_mut(start..) {
        // The room is exactly what padded base64 takes.
        let _ = STANDARD.encode_slice(value, room);
    }
    out.push(b'"');
}

impl Sink for Json<'_> {
    fn uint(&mut self, _: u32, name: &'static str, value: u64) {
        if value == 0 {
            return;
        }
        self.name(name);
        put_integer(self.out, value);
    }

    fn boolean(&mut self, _: u32, name: &'static str, value: bool) {
        if value {
            self.name(name);
            self.out.extend_from_slice(b"true");
        }
    }

    fn string(&mut self, _: u32, name: &'static str, value: &str) {
        if !value.is_empty() {
            self.name(name);
            put_text(self.out, value);
        }
    }

    fn bytes(&mut self, _: u32, name: &'static str, value: &[u8]) {
        if !value.is_empty() {
            self.name(name);
            put_base64(self.out, value);
        }
    }

    fn optional_bytes(&mut self, _: u32, name: &'static str, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.name(name);
            put_base64(self.out, value);
        }
    }

    fn enumeration(&mut self, _: u32, name: &'static str, value: u8, label: &'static str) {
        if value != 0 {
            self.name(name);
            put_text(self.out, label);
        }
    }

    fn message(&mut self, _: u32, name: &'static str, value: &impl Describe) {
        self.name(name);
        Json::object(self.out, value);
    }

    fn uints(&mut self, _: u32, name: &'static str, values: impl Iterator<Item = u64> + Clone) {
        self.list(name, values, put_integer);
    }

    fn strings<T: AsRef<str>>(&mut self, _: u32, name: &'static str, values: &[T]) {
        self.list(name, values, |out, value| put_text(out, value.as_ref()));
    }

    fn byte_strings<T: AsRef<[u8]>>(&mut self, _: u32, name: &'static str, values: &[T]) {
        self.list(name, values, |out, value| put_base64(out, value.as_ref()));
    }

    fn messages(&mut self, _: u32, name: &'static str, values: impl IntoIterator<Item = impl Describe>) {
        self.list(name, values, |out, value| Json::object(out, &value));
    }
}
