//! Records from bytes.

use super::message::Message;
use super::{Begins, Cursors, Enter, Floor, Lacked, Lost, Mailbox, Moved, Record, Seen, User, UserChange, kind};
use crate::bytes::{Malformed, Read, Reader};
use crate::ids::{DeviceId, GENERATIONS, Position, RowKey, generation_base};
use crate::rows::member::skip_reason;
use crate::rows::{Confirmed, Fit};
use smallvec::SmallVec;

/// Reads a record.
///
/// # Errors
/// Whatever [`super::encode`] does not write; for a kind that is not known [`Malformed::Unknown`].
pub fn decode(kind: u8, body: &[u8]) -> Read<Record<'_>> {
    let reader = &mut Reader::new(body);
    let record = match kind {
        kind::IMAGE => {
            let row = key(reader)?;
            return Ok(Record::Image { row, bytes: reader.rest().into() });
        }
        kind::MESSAGE => return Ok(Record::Message(Message::decode(body)?)),
        kind::CARRIED => return Ok(Record::Carried(Message::decode(body)?)),
        kind::MAILBOX => Record::Mailbox(mailbox(reader)?),
        kind::FLOOR => Record::Floor(Floor {
            conversation: reader.array()?,
            change: reader.fixed16()?,
            floor: reader.u64()?,
            reason: skip_reason(reader.u8()?)?,
            version: reader.u64()?,
            lacked: lacked(reader)?,
        }),
        kind::LOST => Record::Lost(Lost {
            conversation: reader.array()?,
            change: reader.fixed16()?,
            ranges: ranges(reader)?,
            version: reader.u64()?,
            lacked: lacked(reader)?,
        }),
        kind::USER => Record::User(user(reader)?),
        kind::CURSORS => Record::Cursors(cursors(reader)?),
        kind::SEEN => Record::Seen(seen(reader)?),
        kind::OWED => Record::Owed {
            user: reader.str()?.into(),
            device: reader.u16()?,
            change: reader.fixed16()?,
            conversation: reader.array()?,
            version: reader.u64()?,
        },
        kind::STORED => Record::Stored {
            row: key(reader)?,
            position: Position(reader.u64()?),
            change: reader.fixed16()?,
            head: reader.u64()?,
        },
        kind::BOUND => {
            Record::Bound { versions: reader.u64()?, time_ms: reader.u64()?, reflects: Position(reader.u64()?) }
        }
        kind::GENERATION => {
            let number = reader.u32()?;
            if number >= GENERATIONS {
                return Err(Malformed::Value("the number of a generation"));
            }
            Record::Generation { number, position: Position(reader.u64()?) }
        }
        kind::ENTER => Record::Enter(Enter {
            conversation: reader.array()?,
            change: reader.fixed16()?,
            base: base(reader.u64()?)?,
            version: reader.u64()?,
        }),
        kind::CLOCK => Record::Clock { time_ms: reader.u64()?, set_s: reader.u32()? },
        kind::GONE => Record::Gone(key(reader)?),
        found => return Err(Malformed::Unknown { what: "kind of a record", found }),
    };
    reader.end()?;
    Ok(record)
}

fn base(value: u64) -> Read<u64> {
    let fits = value & (generation_base(1) - 1) == 0 && value < generation_base(GENERATIONS);
    if fits { Ok(value) } else { Err(Malformed::Value("the base of a generation")) }
}

fn key(reader: &mut Reader<'_>) -> Read<RowKey> {
    match reader.u8()? {
        1 => Ok(RowKey::user(reader.str()?)),
        2 => Ok(RowKey::device(reader.str()?, reader.u16()?)),
        3 => Ok(RowKey::Conversation(reader.array()?)),
        found => Err(Malformed::Unknown { what: "kind of a row", found }),
    }
}

fn ranges<B: FromIterator<(u64, u64)>>(reader: &mut Reader<'_>) -> Read<B> {
    let count = reader.count()?;
    (0..count).map(|_| Ok((reader.u64()?, reader.u64()?))).collect()
}

fn lacked(reader: &mut Reader<'_>) -> Read<Vec<Lacked>> {
    let count = reader.count()?;
    (0..count).map(|_| Ok(Lacked { member: reader.u32()?, ranges: ranges(reader)? })).collect()
}

fn mailbox<'a>(reader: &mut Reader<'a>) -> Read<Mailbox<'a>> {
    let (conversation, change) = (reader.array()?, reader.fixed16()?);
    let (user, device) = (reader.str()?.into(), reader.u16()?);
    let (mut begins, mut orphaned, mut version) = (None, SmallVec::new(), 0);
    if reader.flag()? {
        begins = Some(Begins { acked: reader.u64()?, base: reader.u64()?, fresh: reader.flag()? });
    } else {
        orphaned = ranges(reader)?;
        version = reader.u64()?;
    }
    Ok(Mailbox { conversation, change, user, device, begins, orphaned, version })
}

fn user<'a>(reader: &mut Reader<'a>) -> Read<User<'a>> {
    let (name, change) = (reader.str()?, reader.fixed16()?);
    let what = match reader.u8()? {
        1 => UserChange::Device(Fit { device: reader.u16()?, begins: reader.flag()? }),
        2 => UserChange::Fitted,
        3 => UserChange::Block { name: reader.str()?, off: reader.flag()? },
        found => return Err(Malformed::Unknown { what: "change of a user", found }),
    };
    Ok(User { name, change, what })
}

fn cursors(reader: &mut Reader<'_>) -> Read<Cursors> {
    let conversation = reader.array()?;
    let mut members = Vec::new();
    for _ in 0..reader.count()? {
        let member = reader.u32()?;
        let mut progress = [0; 5];
        for value in &mut progress {
            *value = reader.u64()?;
        }
        let mut cursors = SmallVec::new();
        for _ in 0..reader.count()? {
            let head = reader.u32()?;
            let device = DeviceId::try_from(head >> 1).map_err(|_| Malformed::Value("a device number"))?;
            cursors.push((device, reader.u64()?, head & 1 != 0));
        }
        members.push(Moved { member, progress, cursors, forget: reader.u64()? });
    }
    Ok(Cursors { conversation, members })
}

fn seen<'a>(reader: &mut Reader<'a>) -> Read<Seen<'a>> {
    let (user, device) = (reader.str()?.into(), reader.u16()?);
    let (seen_s, receives, receipts) = (reader.u32()?, reader.flag()?, reader.u64()?);
    let confirmed = Confirmed { upto: reader.u64()?, also: ranges(reader)? };
    Ok(Seen { user, device, seen_s, receives, receipts, confirmed })
}
