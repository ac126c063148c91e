//! Server frames read back, plainly: a field is a number and a varint or bytes.

use crate::wire::types::ConversationId;

/// A frame as a test wants to look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Got {
    Welcome {
        messages: u64,
        conversations: u64,
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
}

#[derive(Clone, Debug)]
enum Value {
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

struct Fields(Vec<(u64, Value)>);

impl Fields {
    fn read(mut bytes: &[u8]) -> Self {
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

    fn number(&self, number: u64) -> u64 {
        let found = self.0.iter().rev().find(|f| f.0 == number);
        found.map_or(0, |f| if let Value::Number(n) = f.1 { n } else { panic!("field {number}") })
    }

    fn bytes(&self, number: u64) -> Vec<u8> {
        let found = self.0.iter().rev().find(|f| f.0 == number);
        found.map_or(Vec::new(), |f| if let Value::Bytes(b) = &f.1 { b.clone() } else { panic!("field {number}") })
    }

    fn text(&self, number: u64) -> String {
        String::from_utf8(self.bytes(number)).unwrap()
    }

    fn id16(&self, number: u64) -> ConversationId {
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
                Got::Welcome { messages: pending.number(1), conversations: pending.number(2) }
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
            },
            4 => Got::Receipt {
                conversation: f.id16(1),
                user: f.text(2),
                delivered: f.number(3),
                read: f.number(4),
                version: f.number(5),
            },
            5 => Got::Skip {
                conversation: f.id16(1),
                from: f.number(2),
                to: f.number(3),
                reason: f.number(4),
                user: f.text(5),
                version: f.number(6),
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
            other => panic!("frame {other}"),
        });
    }
    bytes.clear();
    got
}
