//! Server frames read back, plainly: a field is a number and a varint or bytes.

use super::group_frames::{self, Change, CursorOf, Snapshot};
use wire::types::ConversationId;

/// A frame as a test wants to look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Got {
    Welcome {
        messages: u64,
        conversations: u64,
        receipts: u64,
    },
    Accepted {
        id: Vec<u8>,
        conversation: ConversationId,
        seq: u64,
    },
    Message {
        conversation: ConversationId,
        seq: u64,
        sender: String,
        device: u64,
        id: Vec<u8>,
        body: Vec<u8>,
        to: String,
        change: Option<Box<Change>>,
    },
    Receipt {
        conversation: ConversationId,
        user: String,
        delivered: u64,
        read: u64,
        version: u64,
    },
    Skip {
        conversation: ConversationId,
        from: u64,
        to: u64,
        reason: u64,
        user: String,
        version: u64,
    },
    Error {
        code: String,
        id: Vec<u8>,
        lists: usize,
    },
    Ping,
    Pong(u64),
    Replaced,
    Goodbye(String),
    Devices {
        user: String,
        version: u64,
        devices: Vec<u64>,
    },
    Group(Box<Snapshot>),
    Groups(Vec<ConversationId>),
    Progress {
        conversation: ConversationId,
        seq: u64,
        cursors: Vec<CursorOf>,
    },
    Receipts {
        conversation: ConversationId,
        cursors: Vec<CursorOf>,
        version: u64,
    },
    Blocks(Vec<String>),
}

/// What a field holds.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// A message's fields, in the order in which they came.
pub(super) struct Fields(pub Vec<(u64, Value)>);

impl Fields {
    pub fn read(mut bytes: &[u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let value = match tag & 7 {
                0 => Value::Number(varint(&mut bytes)),
                2 => {
                    let len = varint(&mut bytes) as usize;
                    let (head, rest) = bytes.split_at(len);
                    bytes = rest;
                    Value::Bytes(head.to_vec())
                }
                other => panic!("wire type {other}"),
            };
            fields.push((tag >> 3, value));
        }
        Self(fields)
    }

    pub fn number(&self, number: u64) -> u64 {
        let found = self.0.iter().rev().find(|f| f.0 == number);
        found.map_or(0, |f| if let Value::Number(n) = f.1 { n } else { panic!("field {number}") })
    }

    pub fn bytes(&self, number: u64) -> Vec<u8> {
        let found = self.0.iter().rev().find(|f| f.0 == number);
        found.map_or(Vec::new(), |f| if let Value::Bytes(b) = &f.1 { b.clone() } else { panic!("field {number}") })
    }

    pub fn text(&self, number: u64) -> String {
        String::from_utf8(self.bytes(number)).unwrap()
    }

    pub fn has(&self, number: u64) -> bool {
        self.0.iter().any(|f| f.0 == number)
    }

    pub fn many(&self, number: u64) -> Vec<Vec<u8>> {
        let bytes = |f: &(u64, Value)| if let Value::Bytes(b) = &f.1 { b.clone() } else { panic!("field {number}") };
        self.0.iter().filter(|f| f.0 == number).map(bytes).collect()
    }

    pub fn texts(&self, number: u64) -> Vec<String> {
        self.many(number).into_iter().map(|bytes| String::from_utf8(bytes).unwrap()).collect()
    }

    /// A receipt version, as this server makes them; 0: none.
    fn version(&self, number: u64) -> u64 {
        self.bytes(number).get(4..12).map_or(0, |version| u64::from_le_bytes(version.try_into().unwrap()))
    }

    pub fn id16(&self, number: u64) -> ConversationId {
        self.bytes(number).try_into().unwrap_or_default()
    }
}

/// Takes complete raw frames from the front of `bytes`.
pub fn take(bytes: &mut Vec<u8>) -> Vec<Got> {
    let mut rest = bytes.as_slice();
    let mut got = Vec::new();
    while !rest.is_empty() {
        let len = varint(&mut rest) as usize;
        let (frame, after) = rest.split_at(len);
        rest = after;
        let outer = Fields::read(frame);
        let (number, Value::Bytes(inner)) = outer.0[0].clone() else { panic!("not a frame") };
        let f = Fields::read(&inner);
        got.push(match number {
            1 => {
                let pending = Fields::read(&f.bytes(6));
                Got::Welcome { messages: pending.number(1), conversations: pending.number(2), receipts: f.version(9) }
            }
            2 => Got::Accepted { id: f.bytes(1), conversation: f.id16(2), seq: f.number(3) },
            3 => Got::Message {
                conversation: f.id16(1),
                seq: f.number(2),
                sender: f.text(3),
                device: f.number(4),
                id: f.bytes(5),
                body: f.bytes(7),
                to: f.text(9),
                change: group_frames::change(&f).map(Box::new),
            },
            4 => Got::Receipt {
                conversation: f.id16(1),
                user: f.text(2),
                delivered: f.number(3),
                read: f.number(4),
                version: f.version(5),
            },
            5 => Got::Skip {
                conversation: f.id16(1),
                from: f.number(2),
                to: f.number(3),
                reason: f.number(4),
                user: f.text(5),
                version: f.version(6),
            },
            6 => {
                let lists = f.0.iter().filter(|field| field.0 == 7).count();
                Got::Error { code: f.text(1), id: f.bytes(5), lists }
            }
            7 => Got::Ping,
            8 => Got::Pong(f.number(1)),
            9 => Got::Replaced,
            10 => Got::Goodbye(f.text(1)),
            11 => {
                let devices = f.0.iter().filter(|field| field.0 == 3);
                let devices = devices.flat_map(|field| match &field.1 {
                    Value::Number(n) => vec![*n],
                    Value::Bytes(packed) => {
                        let mut packed = packed.as_slice();
                        std::iter::from_fn(|| (!packed.is_empty()).then(|| varint(&mut packed))).collect()
                    }
                });
                Got::Devices { user: f.text(1), version: f.number(2), devices: devices.collect() }
            }
            12 => Got::Group(Box::new(group_frames::snapshot(&f))),
            13 => Got::Groups(f.many(1).into_iter().map(|id| id.try_into().unwrap()).collect()),
            14 => {
                let cursors = group_frames::cursors(&f, 3);
                Got::Progress { conversation: f.id16(1), seq: f.number(2), cursors }
            }
            15 => {
                let cursors = group_frames::cursors(&f, 2);
                Got::Receipts { conversation: f.id16(1), cursors, version: f.version(3) }
            }
            16 => Got::Blocks(f.texts(1)),
            other => panic!("frame {other}"),
        });
    }
    bytes.clear();
    got
}
