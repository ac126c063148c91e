//! A client frame from JSON text.
//!
//! serde_json says where a value begins and ends; the value is then read as what the schema says that it is, so the depth
//! is the schema's whatever the text does. Names may be lowerCamelCase or as in the schema; `null` is absence; unknown
//! names are ignored.

use std::borrow::Cow;

use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};

use super::walk::{Fault, elements, members};
use crate::decode::Slot;
use crate::error::WireError;
use crate::fields::{Fields, Value};
use crate::reader::text;
use crate::types::{ClientFrame, MAX_ID};

/// Reads a frame from its JSON mapping, UTF-8. Borrows the text that holds no escapes.
pub fn decode_client(bytes: &[u8]) -> Result<ClientFrame<'_>, WireError> {
    let mut slot = Slot(None);
    let json = text(bytes)?;
    match read_object(json, &mut slot) {
        Ok(()) => slot.finish(),
        Err(Fault::Json(error)) => Err(WireError::malformed(format!("not a JSON object: {error}"))),
        Err(Fault::Taker(error)) if error.id.is_empty() => Err(error.about(&id_in(json))),
        Err(Fault::Taker(error)) => Err(error),
    }
}

/// The id of a `Send` or `Manage` that cannot be read: members stand in any order, so it may come behind what is wrong.
#[cold]
fn id_in(json: &str) -> Cow<'_, [u8]> {
    let mut found = OuterId(Cow::Borrowed(&[]));
    // What else is wrong with the frame is known already.
    let _ = read_object(json, &mut found);
    found.0
}

/// A `ClientFrame` of which only the id matters.
struct OuterId<'a>(Cow<'a, [u8]>);

impl<'a> Fields<'a> for OuterId<'a> {
    const NAMES: &'static [&'static str] = Slot::NAMES;

    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        match Self::NAMES.get((number as usize).wrapping_sub(1)) {
            Some(&("send" | "manage")) => value.message(&mut Id(&mut self.0)),
            _ => value.skip(),
        }
    }
}

/// The `id` of either.
struct Id<'i, 'a>(&'i mut Cow<'a, [u8]>);

impl<'a> Fields<'a> for Id<'_, 'a> {
    const NAMES: &'static [&'static str] = &["id"];

    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        if number != 1 {
            return value.skip();
        }
        let id = value.bytes()?;
        if (1..=MAX_ID).contains(&id.len()) {
            *self.0 = id;
        }
        Ok(())
    }
}

fn read_object<'a, M: Fields<'a>>(json: &'a str, into: &mut M) -> Result<(), Fault> {
    members(json, M::NAMES, |number, raw| {
        if raw == "null" {
            return Ok(());
        }
        let name = M::NAMES.get((number as usize).wrapping_sub(1)).copied().unwrap_or_default();
        into.set(number, JsonValue { raw, name })
    })
}

/// Padding may be there or not.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Up to here a float is exact to the unit.
const EXACT_FLOAT: f64 = (1u64 << 53) as f64;

/// A field's value: valid JSON, without white space around it.
#[derive(Clone, Copy)]
struct JsonValue<'a> {
    raw: &'a str,
    /// Of the field, for errors.
    name: &'static str,
}

impl<'a> JsonValue<'a> {
    #[cold]
    fn expected(self, what: &str) -> WireError {
        WireError::field(format!("{}: expected {what}", self.name))
    }

    fn text(self) -> Option<Cow<'a, str>> {
        let inner = self.raw.strip_prefix('"')?.strip_suffix('"')?;
        if inner.contains('\\') {
            serde_json::from_str(self.raw).ok().map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(inner))
        }
    }
}

/// An integer in digits, or written as a float that is one.
fn integer(text: &str) -> Option<u64> {
    if let Ok(value) = text.parse() {
        return Some(value);
    }
    let float: f64 = text.parse().ok()?;
    // No sign, no infinity, and nothing that the conversion would round.
    ((0.0..=EXACT_FLOAT).contains(&float) && float.fract() == 0.0).then_some(float as u64)
}

impl<'a> Value<'a> for JsonValue<'a> {
    fn uint32(self) -> Result<u32, WireError> {
        u32::try_from(self.uint64()?).map_err(|_| self.expected("an integer below 2^32"))
    }

    fn uint64(self) -> Result<u64, WireError> {
        let text = self.text().unwrap_or(Cow::Borrowed(self.raw));
        integer(&text).ok_or_else(|| self.expected("an integer from 0, below 2^64"))
    }

    fn boolean(self) -> Result<bool, WireError> {
        match self.raw {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.expected("true or false")),
        }
    }

    fn string(self) -> Result<Cow<'a, str>, WireError> {
        self.text().ok_or_else(|| self.expected("text"))
    }

    fn bytes(self) -> Result<Cow<'a, [u8]>, WireError> {
        let text = self.text().ok_or_else(|| self.expected("base64 text"))?;
        let engine = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
        engine.decode(text.as_bytes()).map(Cow::Owned).map_err(|_| self.expected("base64 text"))
    }

    fn enumeration(self, labels: &[&'static str]) -> Result<u8, WireError> {
        let place = match self.text() {
            Some(text) => labels.iter().position(|label| *label == text),
            None => {
                integer(self.raw).and_then(|value| usize::try_from(value).ok()).filter(|&value| value < labels.len())
            }
        };
        place.and_then(|place| u8::try_from(place).ok()).ok_or_else(|| self.expected(&labels.join(" or ")))
    }

    fn message<M: Fields<'a>>(self, into: &mut M) -> Result<(), WireError> {
        self.walked(read_object(self.raw, into), "an object")
    }

    fn skip(self) -> Result<(), WireError> {
        Ok(())
    }

    fn uint32s(self, mut take: impl FnMut(u32) -> Result<(), WireError>) -> Result<(), WireError> {
        self.each(|value| take(value.uint32()?))
    }

    fn uint64s(self, mut take: impl FnMut(u64) -> Result<(), WireError>) -> Result<(), WireError> {
        self.each(|value| take(value.uint64()?))
    }

    fn each(self, mut take: impl FnMut(Self) -> Result<(), WireError>) -> Result<(), WireError> {
        self.walked(elements(self.raw, |raw| take(Self { raw, name: self.name })), "an array")
    }
}

impl JsonValue<'_> {
    fn walked(self, outcome: Result<(), Fault>, what: &str) -> Result<(), WireError> {
        outcome.map_err(|fault| match fault {
            Fault::Json(_) => self.expected(what),
            Fault::Taker(error) => error,
        })
    }
}
