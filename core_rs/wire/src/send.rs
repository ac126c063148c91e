//! `Send`, read from either notation.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::error::WireError;
use super::fields::{Fields, Value};
use super::limits::{bad_id, check_device, check_user, conversation, push, too_many};
use super::types::*;

/// A `Send` whose parts may still be missing.
#[derive(Default)]
pub(super) struct SendDraft<'a> {
    pub id: Cow<'a, [u8]>,
    target: Option<Target<'a>>,
    body: Cow<'a, [u8]>,
    bodies: Vec<DeviceBody<'a>>,
    lists: Vec<DeviceList<'a>>,
    media: Vec<Cow<'a, [u8]>>,
}

impl<'a> SendDraft<'a> {
    fn aim(&mut self, target: Target<'a>) -> Result<(), WireError> {
        if self.target.is_some() {
            return Err(WireError::field("send: more than one target"));
        }
        self.target = Some(target);
        Ok(())
    }

    /// Holds the parts against each other.
    pub fn check(&self) -> Result<(), WireError> {
        if self.id.is_empty() {
            return Err(bad_id());
        }
        if self.target.is_none() {
            return Err(WireError::field("send: no user, conversation or device to send to"));
        }
        if self.bodies.is_empty() {
            return Ok(());
        }
        if !self.body.is_empty() {
            return Err(WireError::field("send: both body and bodies"));
        }
        let mut devices: Vec<_> = self.bodies.iter().map(|body| (&body.user, body.device)).collect();
        devices.sort_unstable();
        if devices.is_sorted_by(|a, b| a < b) {
            Ok(())
        } else {
            Err(WireError::field("send: two bodies for one device"))
        }
    }

    pub fn finish(self) -> Result<Send<'a>, WireError> {
        let Self { id, target, body, bodies, lists, media } = self;
        let target = target.ok_or_else(bad_id)?;
        Ok(Send { id, target, body, bodies, lists, media })
    }
}

impl<'a> Fields<'a> for SendDraft<'a> {
    const NAMES: &'static [&'static str] =
        &["id", "user", "conversation", "device", "body", "bodies", "lists", "media"];

    #[inline]
    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        match number {
            1 => {
                let id = value.bytes()?;
                if id.is_empty() || id.len() > MAX_ID {
                    return Err(bad_id());
                }
                self.id = id;
            }
            2 => {
                let user = value.string()?;
                check_user(&user)?;
                self.aim(Target::User(user))?;
            }
            3 => {
                let id = conversation(&value.bytes()?)?;
                self.aim(Target::Conversation(id))?;
            }
            4 => {
                let mut device = DeviceBody { user: Cow::Borrowed(""), device: 0, body: Cow::Borrowed(&[]) };
                value.message(&mut DeviceRefFields(&mut device))?;
                check_device(&device.user, device.device)?;
                self.aim(Target::Device(device.user, device.device))?;
            }
            5 => self.body = value.bytes()?,
            6 => value.each(|value| {
                let mut body = DeviceBody { user: Cow::Borrowed(""), device: 0, body: Cow::Borrowed(&[]) };
                value.message(&mut body)?;
                check_device(&body.user, body.device)?;
                push(&mut self.bodies, body, "bodies")
            })?,
            7 => value.each(|value| {
                let mut list = DeviceList { user: Cow::Borrowed(""), version: 0, devices: SmallVec::new() };
                value.message(&mut list)?;
                check_user(&list.user)?;
                push(&mut self.lists, list, "lists")
            })?,
            8 => value.each(|value| {
                let id = value.bytes()?;
                if id.is_empty() || id.len() > MAX_MEDIA_ID || self.media.len() == MAX_MEDIA {
                    return Err(WireError::field(format!(
                        "send: at most {MAX_MEDIA} media ids, of 1 to {MAX_MEDIA_ID} bytes"
                    )));
                }
                self.media.push(id);
                Ok(())
            })?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

impl<'a> Fields<'a> for DeviceBody<'a> {
    const NAMES: &'static [&'static str] = &["user", "device", "body"];

    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        match number {
            1 => self.user = value.string()?,
            2 => self.device = value.uint32()?,
            3 => self.body = value.bytes()?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

/// `DeviceRef`: the first two fields of a `DeviceBody`.
struct DeviceRefFields<'d, 'a>(&'d mut DeviceBody<'a>);

impl<'a> Fields<'a> for DeviceRefFields<'_, 'a> {
    const NAMES: &'static [&'static str] = &["user", "device"];

    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        if number <= 2 { self.0.set(number, value) } else { value.skip() }
    }
}

impl<'a> Fields<'a> for DeviceList<'a> {
    const NAMES: &'static [&'static str] = &["user", "version", "devices"];

    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        match number {
            1 => self.user = value.string()?,
            2 => self.version = value.uint64()?,
            3 => value.uint32s(|device| {
                if self.devices.len() == MAX_LIST {
                    return Err(too_many("devices"));
                }
                self.devices.push(device);
                Ok(())
            })?,
            _ => value.skip()?,
        }
        Ok(())
    }
}
