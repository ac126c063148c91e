//! The members of a JSON object and the elements of an array, one after another, their values not yet read.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::error::WireError;

/// Why a walk ended early.
pub(super) enum Fault {
    /// The text is not what was asked for.
    Json(serde_json::Error),
    /// Whoever took a value refused it.
    Taker(WireError),
}

/// Gives `take` each member of the object `json`: the place of its name in `names` from 1 (0: not there), and its value.
pub(super) fn members<'a>(
    json: &'a str,
    names: &'static [&'static str],
    take: impl FnMut(u32, &'a str) -> Result<(), WireError>,
) -> Result<(), Fault> {
    let mut refusal = None;
    let mut json = serde_json::Deserializer::from_str(json);
    let walked = json.deserialize_map(Walk { names, take, refusal: &mut refusal }).and_then(|()| json.end());
    outcome(walked, refusal)
}

/// Gives `take` each element of the array `json`.
pub(super) fn elements<'a>(json: &'a str, mut take: impl FnMut(&'a str) -> Result<(), WireError>) -> Result<(), Fault> {
    let mut refusal = None;
    let mut json = serde_json::Deserializer::from_str(json);
    let take = |_, value| take(value);
    let walked = json.deserialize_seq(Walk { names: &[], take, refusal: &mut refusal }).and_then(|()| json.end());
    outcome(walked, refusal)
}

fn outcome(walked: Result<(), serde_json::Error>, refusal: Option<WireError>) -> Result<(), Fault> {
    match refusal {
        Some(error) => Err(Fault::Taker(error)),
        None => walked.map_err(Fault::Json),
    }
}

struct Walk<'r, F> {
    names: &'static [&'static str],
    take: F,
    /// serde carries only its own errors.
    refusal: &'r mut Option<WireError>,
}

impl<'a, F: FnMut(u32, &'a str) -> Result<(), WireError>> Walk<'_, F> {
    fn step<E: serde::de::Error>(&mut self, number: u32, value: &'a RawValue) -> Result<(), E> {
        (self.take)(number, value.get()).map_err(|error| {
            *self.refusal = Some(error);
            E::custom("refused")
        })
    }
}

impl<'a, F: FnMut(u32, &'a str) -> Result<(), WireError>> Visitor<'a> for Walk<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.names.is_empty() { "an array" } else { "an object" })
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(number) = map.next_key_seed(Place(self.names))? {
            let value = map.next_value()?;
            self.step(number, value)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while let Some(value) = seq.next_element()? {
            self.step(0, value)?;
        }
        Ok(())
    }
}

/// Finds a name's place without keeping the name.
struct Place(&'static [&'static str]);

impl<'a> DeserializeSeed<'a> for Place {
    type Value = u32;

    fn deserialize<D: Deserializer<'a>>(self, name: D) -> Result<u32, D::Error> {
        name.deserialize_str(self)
    }
}

impl Visitor<'_> for Place {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, given: &str) -> Result<u32, E> {
        let place = self.0.iter().position(|name| is_name(given, name));
        Ok(place.map_or(0, |place| place as u32 + 1))
    }
}

/// Whether `given` is the lowerCamelCase `name`, or that name as the schema has it: with an underscore before each capital
/// and the capital small.
fn is_name(given: &str, name: &str) -> bool {
    if given == name {
        return true;
    }
    let snake = name.bytes().flat_map(|byte| {
        let capital = byte.is_ascii_uppercase();
        [capital.then_some(b'_'), Some(byte.to_ascii_lowercase())].into_iter().flatten()
    });
    given.bytes().eq(snake)
}
