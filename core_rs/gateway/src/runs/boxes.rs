//! Mailboxes that serve sessions as a partition does, and hold the gateway to its part: what is asked for is owed, and fits.

use std::collections::VecDeque;

use seam::{
    Address, Attach, Attached, Bodies, Body, Commands, ConversationId, Credit, Env, Full, Journal, Lent, Now, Outputs,
    Place, Position, Query, RowKey, Served, Taken, Token, Wait,
};
use smallvec::SmallVec;
use wire::message::encode_stored;
use wire::types::{ClientFrame, Manage, Message, Read, Send, ServerFrame, SkipReason};

use crate::tests::frames::Got;

/// An environment that has nothing but a gateway.
#[derive(Debug)]
pub struct Alone<O> {
    pub out: O,
    nothing: (Nothing, Nothing),
}

impl<O> Alone<O> {
    pub fn new(out: O) -> Self {
        Self { out, nothing: (Nothing, Nothing) }
    }
}

impl<O: Outputs> Env for Alone<O> {
    type J = Nothing;
    type B = Nothing;
    type O = O;

    fn lend(&mut self) -> Lent<'_, Nothing, Nothing, O> {
        let (journal, bodies) = (&mut self.nothing.0, &mut self.nothing.1);
        Lent { now: Now::default(), room: 0, journal, bodies, out: &mut self.out }
    }
}

#[derive(Debug)]
pub struct Nothing;

impl Journal for Nothing {
    fn append(&mut self, _: &[(u8, &[&[u8]])], _: bool, _: &mut SmallVec<[Place; 4]>) -> Result<Position, Full> {
        Err(Full::Disk)
    }
}

impl Bodies for Nothing {
    fn insert(&mut self, _: Place, _: &[&[u8]]) -> u32 {
        u32::MAX
    }
    fn get(&mut self, _: Place, _: &mut u32) -> Option<&mut Body> {
        None
    }
    fn remove(&mut self, _: Place, _: u32) {}
    fn want(&mut self, _: (u32, u32), _: u64, _: Place) {}
}

/// Something that waits in a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A message: its number, and its stored bytes.
    Message(u64, Vec<u8>),
    /// A skip of this number.
    Skip(u64),
}

/// See the module.
#[derive(Debug)]
pub struct Mailbox {
    pub address: Address,
    pub user: String,
    pub window: (u32, u32),
    pub waiting: VecDeque<Item>,
    /// Receipts that wait, cursors.
    pub receipts: usize,
    /// Messages that were given and not acknowledged.
    pub in_flight: VecDeque<(u64, Vec<u8>)>,
    /// Its bodies are not in memory.
    pub cold: bool,
    /// The gateway was told of receipts, of messages.
    told: [bool; 2],
    next: u64,
}

/// By the slot of what is attached.
#[derive(Debug, Default)]
pub struct Boxes {
    pub boxes: Vec<Mailbox>,
    /// What was given to sessions at its position, in order; and what was without.
    pub exact: Vec<(Address, Position, Got)>,
    pub pushed: Vec<(Address, Got)>,
    /// The newest position.
    pub newest: u64,
    /// Of sessions that attach.
    pub window: (u32, u32),
    /// How many ids an answer has.
    pub answer: usize,
}

impl Boxes {
    pub fn add(&mut self, address: Address, window: (u32, u32)) -> Attached {
        self.boxes.push(Mailbox {
            address,
            user: String::new(),
            window,
            waiting: VecDeque::new(),
            receipts: 0,
            in_flight: VecDeque::new(),
            cold: false,
            told: [false; 2],
            next: 1,
        });
        let slot = self.boxes.len() as u32 - 1;
        Attached { slot, serial: slot }
    }

    /// A position for an output that waits: the newest, or for every third an older one, as that of a repeated send has.
    fn exact(&mut self, from: Attached, got: Got) -> (Address, Position) {
        self.newest += 1;
        let at = if self.newest.is_multiple_of(3) { self.newest / 2 } else { self.newest };
        let (address, at) = (self.boxes[from.slot as usize].address, Position(at));
        self.exact.push((address, at, got));
        (address, at)
    }

    /// A session came back: what is not in flight to it is given again.
    fn go_on(&mut self, slot: usize, who: &Attach<'_>) {
        let mailbox = &mut self.boxes[slot];
        (mailbox.address, mailbox.told) = (who.address, [false; 2]);
        let sent = who.in_flight.first().map_or(0, |(_, seq)| *seq);
        while let Some((seq, stored)) = mailbox.in_flight.pop_back_if(|(seq, _)| *seq > sent) {
            mailbox.waiting.push_front(Item::Message(seq, stored));
        }
    }

    fn owe<E: Env>(&mut self, env: &mut E, slot: usize, messages: bool) {
        let mailbox = &mut self.boxes[slot];
        if !std::mem::replace(&mut mailbox.told[usize::from(messages)], true) {
            env.lend().out.owed(mailbox.address, messages);
        }
    }

    /// A message with a body of so many bytes.
    pub fn message<E: Env>(&mut self, env: &mut E, slot: usize, body: usize) {
        let mailbox = &mut self.boxes[slot];
        let body = vec![7; body];
        let mut stored = Vec::new();
        encode_stored(&Message { seq: mailbox.next, sender: "ann", body: &body, ..Message::default() }, &mut stored);
        mailbox.waiting.push_back(Item::Message(mailbox.next, stored));
        mailbox.next += 1;
        self.owe(env, slot, true);
    }

    pub fn skip<E: Env>(&mut self, env: &mut E, slot: usize) {
        let mailbox = &mut self.boxes[slot];
        mailbox.waiting.push_back(Item::Skip(mailbox.next));
        mailbox.next += 1;
        self.owe(env, slot, true);
    }

    pub fn receipts<E: Env>(&mut self, env: &mut E, slot: usize, cursors: usize) {
        self.boxes[slot].receipts += cursors;
        self.owe(env, slot, false);
    }

    /// Its bodies were read.
    pub fn warm<E: Env>(&mut self, env: &mut E, slot: usize) {
        if std::mem::take(&mut self.boxes[slot].cold) && !self.boxes[slot].waiting.is_empty() {
            self.owe(env, slot, true);
        }
    }

    /// The first so many messages in flight are acknowledged.
    pub fn acked<E: Env>(&mut self, env: &mut E, slot: usize, most: usize) {
        let mailbox = &mut self.boxes[slot];
        let messages = most.min(mailbox.in_flight.len());
        if messages == 0 {
            return;
        }
        let bytes: usize = mailbox.in_flight.drain(..messages).map(|(_, stored)| stored.len()).sum();
        env.lend().out.freed(mailbox.address, messages as u32, bytes as u32);
    }
}

impl Commands for Boxes {
    fn credit<E: Env>(&mut self, env: &mut E, to: Attached, credit: Credit) -> Served {
        let mailbox = &mut self.boxes[to.slot as usize];
        assert!(mailbox.told[1], "what is asked for is owed");
        assert!(credit.messages > 0 && (credit.bytes > 0 || credit.first_any), "a credit that is none");
        assert_eq!(credit.first_any, mailbox.in_flight.is_empty());
        let mut left = credit;
        let result = loop {
            let Some(item) = mailbox.waiting.front() else { break Served::All };
            let bytes = match item {
                Item::Message(_, stored) => stored.len() as u32,
                Item::Skip(_) => 20,
            };
            if left.messages == 0 || (bytes > left.bytes && !left.first_any) {
                break Served::More;
            }
            if mailbox.cold {
                break Served::Reading;
            }
            match mailbox.waiting.pop_front() {
                Some(Item::Message(seq, stored)) => {
                    self.pushed.push((mailbox.address, Got::Message(seq)));
                    let mut body = Body { stored, ..Body::default() };
                    env.lend().out.message(mailbox.address, &mut body, None, false, seq.is_multiple_of(2));
                    mailbox.in_flight.push_back((seq, body.stored));
                    left.messages -= 1;
                    left.first_any = false;
                }
                Some(Item::Skip(seq)) => {
                    self.pushed.push((mailbox.address, Got::Other(5)));
                    let (conversation, reason) = ([0; 16], SkipReason::Lost);
                    let skip = ServerFrame::Skip { conversation, from: seq, to: seq, reason, user: "", version: &[] };
                    env.lend().out.pushed(mailbox.address, &skip);
                }
                None => {}
            }
            left.bytes = left.bytes.saturating_sub(bytes);
        };
        mailbox.told[1] = result == Served::More;
        let bytes: usize = mailbox.in_flight.iter().map(|(_, stored)| stored.len()).sum();
        let in_flight = (mailbox.in_flight.len() as u32, bytes as u32);
        assert!(in_flight.0 <= mailbox.window.0.max(1), "a window of {:?} with {in_flight:?}", mailbox.window);
        assert!(in_flight.0 == 1 || in_flight.1 <= mailbox.window.1, "{:?} with {in_flight:?}", mailbox.window);
        result
    }

    fn notify<E: Env>(&mut self, env: &mut E, to: Attached, most: usize) -> Served {
        let mailbox = &mut self.boxes[to.slot as usize];
        assert!(mailbox.told[0], "what is asked for is owed");
        for _ in 0..mailbox.receipts.min(most) {
            mailbox.receipts -= 1;
            self.pushed.push((mailbox.address, Got::Other(4)));
            let receipt =
                ServerFrame::Receipt { conversation: [0; 16], user: "ann", delivered: 1, read: 0, version: &[] };
            env.lend().out.pushed(mailbox.address, &receipt);
        }
        mailbox.told[0] = mailbox.receipts > 0;
        if mailbox.receipts > 0 { Served::More } else { Served::All }
    }

    fn uses(&self, _: Attached, _: &ClientFrame<'_>, _: &mut SmallVec<[RowKey; 4]>) {}
    fn attach<E: Env>(&mut self, env: &mut E, who: &Attach<'_>) -> Result<Attached, Wait> {
        let before = self.boxes.iter().position(|mailbox| mailbox.user == who.user);
        let attached = self.add(who.address, self.window);
        let slot = attached.slot as usize;
        if let Some(before) = before {
            self.boxes.swap(before, slot);
            self.boxes[before].address = Address::new(u32::MAX, 0);
            self.go_on(slot, who);
        }
        self.boxes[slot].user = who.user.to_owned();
        let (address, at) = self.exact(attached, Got::Welcome(who.user.to_owned()));
        if before.is_some() {
            // A session that comes back is not welcomed again.
            self.exact.pop();
        }
        env.lend().out.welcome(address, (0, 0), &Token::default(), at);
        if !self.boxes[slot].waiting.is_empty() {
            self.owe(env, slot, true);
        }
        if self.boxes[slot].receipts > 0 {
            self.owe(env, slot, false);
        }
        Ok(attached)
    }
    fn in_flight(&self, from: Attached, sent: &mut Vec<(ConversationId, u64)>) {
        let last = self.boxes[from.slot as usize].in_flight.back();
        sent.extend(last.map(|(seq, _)| ([0; 16], *seq)));
    }
    fn detach<E: Env>(&mut self, _: &mut E, at: Attached) {
        self.boxes[at.slot as usize].address = Address::new(u32::MAX, 0);
    }
    fn send<E: Env>(&mut self, env: &mut E, from: Attached, send: &Send<'_>) -> Taken {
        let (address, at) = self.exact(from, Got::Accepted(String::from_utf8_lossy(&send.id).into_owned()));
        env.lend().out.accepted(address, &send.id, &[0; 16], 1, 0, at);
        Ok(())
    }
    fn change<E: Env>(&mut self, _: &mut E, _: Attached, _: &Manage<'_>) -> Taken {
        Ok(())
    }
    fn ack<E: Env>(&mut self, _: &mut E, _: Attached, _: &ConversationId, _: u64) -> Taken {
        Ok(())
    }
    fn read<E: Env>(&mut self, _: &mut E, _: Attached, _: &Read<'_>) -> Taken {
        Ok(())
    }
    fn confirm<E: Env>(&mut self, _: &mut E, _: Attached, _: &[(ConversationId, u64)]) {}
    fn seen<E: Env>(&mut self, _: &mut E, _: Attached, _: &Token) {}
    fn block<E: Env>(&mut self, _: &mut E, _: Attached, _: &str, _: bool) -> Taken {
        Ok(())
    }
    fn query<E: Env>(&mut self, env: &mut E, from: Attached, _: &Query<'_>) -> Taken {
        let (address, at) = self.exact(from, Got::Other(13));
        env.lend().out.answer(address, &ServerFrame::Groups(&vec![[0; 16]; self.answer]), at);
        Ok(())
    }
}
