//! What a node lends, as doubles: a journal in memory, a cache of bodies that forgets, and a gateway that records.

use std::collections::VecDeque;

use seam::{Action, Address, Bodies, Body, Env, Lent, Outputs, Refusal, Token};
use wire::message::decode_stored;
use wire::types::{ConversationId, ServerFrame, SkipReason};

use super::super::world::Batches;
use crate::config::Now;
use crate::ids::{Place, Position};
use crate::records::Message;

/// What a partition said.
#[derive(Clone, Debug, PartialEq)]
pub enum Out {
    Owed(bool),
    Welcome {
        pending: (u64, u64),
        receipts: Token,
        at: Position,
    },
    Accepted {
        id: Vec<u8>,
        conversation: ConversationId,
        seq: u64,
        at: Position,
    },
    Refused {
        id: Vec<u8>,
        code: &'static str,
        conversation: Option<ConversationId>,
    },
    Answer(String),
    Message {
        conversation: ConversationId,
        seq: u64,
        own: Option<String>,
        bytes: u32,
    },
    Snapshot {
        conversation: ConversationId,
        members: usize,
    },
    Skip {
        conversation: ConversationId,
        from: u64,
        to: u64,
        reason: SkipReason,
    },
    /// A skip of another user's, and the version.
    Missed {
        conversation: ConversationId,
        user: String,
        from: u64,
        to: u64,
        version: u64,
    },
    /// Users with what they have and read, and the version.
    Receipts {
        conversation: ConversationId,
        group: bool,
        cursors: Vec<(String, u64, u64)>,
        version: u64,
    },
    Freed(u32, u32),
    Replaced,
}

fn number(version: &[u8]) -> u64 {
    version.get(4..12).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
}

#[derive(Default)]
pub struct Recorder {
    pub said: Vec<(Address, Out)>,
    /// What the embedder says; `None`: it is asked first.
    pub permit: Option<bool>,
}

impl Recorder {
    fn say(&mut self, to: Address, out: Out) {
        self.said.push((to, out));
    }
}

impl Outputs for Recorder {
    fn permit(&mut self, _of: Address, _id: &ConversationId, _action: Action, _peer: Option<&str>) -> Option<bool> {
        self.permit
    }

    fn owed(&mut self, to: Address, messages: bool) {
        self.say(to, Out::Owed(messages));
    }

    fn welcome(&mut self, to: Address, pending: (u64, u64), receipts: &Token, at: Position) {
        self.say(to, Out::Welcome { pending, receipts: receipts.clone(), at });
    }

    fn accepted(&mut self, to: Address, id: &[u8], conversation: &ConversationId, seq: u64, _ms: u64, at: Position) {
        self.say(to, Out::Accepted { id: id.to_vec(), conversation: *conversation, seq, at });
    }

    fn refused(&mut self, to: Address, id: &[u8], refusal: &Refusal, _at: Position) {
        self.say(to, Out::Refused { id: id.to_vec(), code: refusal.code, conversation: refusal.conversation });
    }

    fn answer(&mut self, to: Address, frame: &ServerFrame<'_>, _at: Position) {
        self.say(to, Out::Answer(format!("{frame:?}")));
    }

    fn message(&mut self, to: Address, body: &mut Body, own: Option<&str>, _device_body: bool, _many: bool) {
        let message = decode_stored(&body.stored).unwrap();
        let (conversation, seq, bytes) = (message.conversation, message.seq, body.stored.len() as u32);
        self.say(to, Out::Message { conversation, seq, own: own.map(str::to_owned), bytes });
    }

    fn pushed(&mut self, to: Address, frame: &ServerFrame<'_>) {
        let cursor = |c: &wire::types::CursorOf<'_>| (c.user.to_owned(), c.delivered, c.read);
        let out = match *frame {
            ServerFrame::Skip { conversation, from, to, reason, user: "", .. } => {
                Out::Skip { conversation, from, to, reason }
            }
            ServerFrame::Skip { conversation, from, to, user, version, .. } => {
                Out::Missed { conversation, user: user.to_owned(), from, to, version: number(version) }
            }
            ServerFrame::Group(ref group) => {
                Out::Snapshot { conversation: group.conversation, members: group.members.len() }
            }
            ServerFrame::Receipt { conversation, user, delivered, read, version } => {
                let cursors = vec![(user.to_owned(), delivered, read)];
                Out::Receipts { conversation, group: false, cursors, version: number(version) }
            }
            ServerFrame::Receipts { conversation, cursors, version } => {
                let cursors = cursors.iter().map(cursor).collect();
                let conversation = conversation.unwrap_or_default();
                Out::Receipts { conversation, group: true, cursors, version: number(version) }
            }
            ref frame => unreachable!("{frame:?}"),
        };
        self.say(to, out);
    }

    fn freed(&mut self, to: Address, messages: u32, bytes: u32) {
        self.say(to, Out::Freed(messages, bytes));
    }

    fn replaced(&mut self, to: Address) {
        self.say(to, Out::Replaced);
    }
}

/// A body that was asked for.
pub type Wanted = ((u32, u32), u64, Place);

/// Keeps the last few bodies.
pub struct Cache {
    bodies: VecDeque<(Place, Body)>,
    pub keeps: usize,
    pub wanted: Vec<Wanted>,
}

impl Cache {
    pub fn put(&mut self, place: Place, stored: Vec<u8>) {
        self.bodies.retain(|(known, _)| *known != place);
        self.bodies.push_back((place, Body { stored, ..Body::default() }));
        while self.bodies.len() > self.keeps {
            self.bodies.pop_front();
        }
    }
}

impl Bodies for Cache {
    fn insert(&mut self, place: Place, stored: &[&[u8]]) -> u32 {
        self.put(place, stored.concat());
        place.offset
    }

    fn get(&mut self, place: Place, _hint: &mut u32) -> Option<&mut Body> {
        self.bodies.iter_mut().find(|(known, _)| *known == place).map(|(_, body)| body)
    }

    fn remove(&mut self, place: Place, _hint: u32) {
        self.bodies.retain(|(known, _)| *known != place);
    }

    fn want(&mut self, conversation: (u32, u32), seq: u64, place: Place) {
        assert!(place.segment > 0);
        self.wanted.push((conversation, seq, place));
    }
}

pub struct Host {
    pub journal: Batches,
    pub cache: Cache,
    pub out: Recorder,
    pub now: Now,
    pub room: usize,
}

impl Host {
    pub fn new() -> Self {
        Self {
            journal: Batches::default(),
            cache: Cache { bodies: VecDeque::new(), keeps: 64, wanted: Vec::new() },
            out: Recorder { said: Vec::new(), permit: Some(true) },
            now: Now { wall_ms: 1_000_000, mono_ms: 0 },
            room: usize::MAX,
        }
    }

    /// The stored message at a place of the log.
    pub fn read(&self, place: Place) -> Option<Vec<u8>> {
        let (_, body, _) = self.journal.batches.iter().flatten().find(|(_, _, at)| *at == place)?;
        Some(Message::decode(body).unwrap().stored.to_vec())
    }
}

impl Env for Host {
    type J = Batches;
    type B = Cache;
    type O = Recorder;

    fn lend(&mut self) -> Lent<'_, Batches, Cache, Recorder> {
        let Self { journal, cache, out, now, room } = self;
        Lent { now: *now, room: *room, journal, bodies: cache, out }
    }
}
