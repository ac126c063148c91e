//! A message as a record: the stored message of the wire behind a few bytes of what was decided about it.
//!
//! ```text
//! flags:u8  change:u16  device change:u16  [extra, behind its length: if flag EXTRA]  stored message, to the end
//! extra = version  n  n × (user  n  n × device)  n  n × place dropped  n  n × place without a body
//! ```

use smallvec::SmallVec;
use wire::message::{decode_stored, device_bodies};

use crate::bytes::{Malformed, Read, Reader, put_bytes, put_u64};
use crate::ids::{ConversationSlot, DeviceId, MemberIndex, UserSlot};

const WITHHELD: u8 = 1;
const EXTRA: u8 = 2;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Message<'a> {
    /// Count of the conversation's row after it.
    pub change: u16,
    /// Count of the author's device row after it.
    pub device_change: u16,
    /// The other user of a direct conversation blocks the author: only the author's own devices get it.
    pub withheld: bool,
    /// What most messages have none of.
    pub extra: Option<Box<Extra<'a>>>,
    /// What everybody gets.
    pub message: wire::types::Message<'a>,
    /// The bytes of `message`, with a body per device behind it if there are such.
    pub stored: &'a [u8],
    /// In what was proposed `stored` lacks `message.body`, which belongs here: the journal copies it from the command.
    pub body_at: Option<u32>,
    /// Where its rows are in memory, as its proposal found them. Not a part of the record's bytes.
    pub slots: Option<Slots>,
}

/// The rows that a message concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// Where it goes.
    pub conversation: ConversationSlot,
    /// Who wrote it …
    pub user: UserSlot,
    /// … and as which member.
    pub author: MemberIndex,
}

/// What follows from a message and was decided with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Extra<'a> {
    /// Receipt version of the skips that follow from it.
    pub version: u64,
    /// Whom a change of a group makes members, in order.
    pub came: Vec<Came<'a>>,
    /// Places of members that nothing refers to any more: they are free.
    pub dropped: Vec<u32>,
    /// Places of members for none of whose devices there is a body.
    pub bodiless: SmallVec<[u32; 2]>,
}

/// A user who becomes a member.
#[derive(Clone, Debug, PartialEq)]
pub struct Came<'a> {
    /// Who.
    pub user: &'a str,
    /// Its devices.
    pub devices: SmallVec<[DeviceId; 2]>,
}

impl<'a> Message<'a> {
    /// Those who have a body of their own, as (user, device); none where one body is for all.
    pub fn bodies(&self) -> impl Iterator<Item = (&'a str, DeviceId)> {
        let per_device = self.message.body.is_empty();
        device_bodies(if per_device { self.stored } else { &[] }).map(|(user, device, _)| (user, device as DeviceId))
    }

    /// The author's device; 0 where the message comes to all of them: a change of a group.
    pub fn device(&self) -> DeviceId {
        self.message.device as DeviceId
    }

    /// Appends the record's body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_head(out);
        self.parts().iter().for_each(|part| out.extend_from_slice(part));
    }

    /// The stored message: what stands before its body, the body, and what stands behind it.
    pub(crate) fn parts(&self) -> [&'a [u8]; 3] {
        match self.body_at.and_then(|place| self.stored.split_at_checked(place as usize)) {
            Some((head, tail)) => [head, self.message.body, tail],
            None => [self.stored, &[], &[]],
        }
    }

    /// Appends what stands before the stored message.
    pub(crate) fn encode_head(&self, out: &mut Vec<u8>) {
        out.push(if self.withheld { WITHHELD } else { 0 } | if self.extra.is_some() { EXTRA } else { 0 });
        out.extend_from_slice(&self.change.to_le_bytes());
        out.extend_from_slice(&self.device_change.to_le_bytes());
        if let Some(extra) = &self.extra {
            let mut bytes = Vec::new();
            extra.encode(&mut bytes);
            put_bytes(out, &bytes);
        }
    }

    /// Reads a record's body.
    ///
    /// # Errors
    /// Whatever [`Message::encode`] does not write.
    pub fn decode(body: &'a [u8]) -> Read<Self> {
        let mut reader = Reader::new(body);
        let flags = reader.u8()?;
        if flags > WITHHELD | EXTRA {
            return Err(Malformed::Unknown { what: "flags of a message record", found: flags });
        }
        let (change, device_change) = (reader.fixed16()?, reader.fixed16()?);
        let extra = if flags & EXTRA != 0 { Some(Box::new(Extra::decode(reader.bytes()?)?)) } else { None };
        let stored = reader.rest();
        let message = decode_stored(stored).map_err(|_| Malformed::Value("a stored message"))?;
        if message.seq == 0 || message.seq >= 1 << 53 || u16::try_from(message.device).is_err() {
            return Err(Malformed::Value("a number or device of a stored message"));
        }
        let withheld = flags & WITHHELD != 0;
        Ok(Self { change, device_change, withheld, extra, message, stored, body_at: None, slots: None })
    }
}

/// The stored message in a record's body, to be sent as it is.
///
/// # Errors
/// The body is no message record.
pub fn stored(body: &[u8]) -> Read<&[u8]> {
    let mut reader = Reader::new(body);
    let flags = reader.u8()?;
    reader.array::<4>()?;
    if flags & EXTRA != 0 {
        reader.bytes()?;
    }
    Ok(reader.rest())
}

impl<'a> Extra<'a> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.version);
        put_u64(out, self.came.len() as u64);
        for came in &self.came {
            put_bytes(out, came.user.as_bytes());
            put_u64(out, came.devices.len() as u64);
            came.devices.iter().for_each(|&device| put_u64(out, u64::from(device)));
        }
        for places in [&self.dropped[..], &self.bodiless[..]] {
            put_u64(out, places.len() as u64);
            places.iter().for_each(|&place| put_u64(out, u64::from(place)));
        }
    }

    fn decode(bytes: &'a [u8]) -> Read<Self> {
        let reader = &mut Reader::new(bytes);
        let mut extra = Self { version: reader.u64()?, ..Self::default() };
        for _ in 0..reader.count()? {
            let user = reader.str()?;
            let mut devices = SmallVec::new();
            for _ in 0..reader.count()? {
                devices.push(reader.u16()?);
            }
            extra.came.push(Came { user, devices });
        }
        for _ in 0..reader.count()? {
            extra.dropped.push(reader.u32()?);
        }
        for _ in 0..reader.count()? {
            extra.bodiless.push(reader.u32()?);
        }
        reader.end()?;
        Ok(extra)
    }
}
