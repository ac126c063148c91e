//! A partition that does as a test wants: it knows which rows are in memory, and answers.

use std::collections::{BTreeMap, HashSet};

use seam::{
    Action, Address, Attach, Attached, Bodies, Body, Commands, ConversationId, Credit, DeviceId, Env, Full, Journal,
    Lent, Now, Outputs, Place, Position, Query, Refusal, RowKey, Served, Taken, Token, Wait,
};
use smallvec::{SmallVec, smallvec};
use wire::codes;
use wire::message::encode_stored;
use wire::types::{ClientFrame, Manage, Message, Read, Send, ServerFrame, Target};

use crate::Gateway;

/// Nothing is logged.
#[derive(Debug, Default)]
pub struct NoJournal;

impl Journal for NoJournal {
    fn append(&mut self, _: &[(u8, &[&[u8]])], _: bool, _: &mut SmallVec<[Place; 4]>) -> Result<Position, Full> {
        Err(Full::Disk)
    }
}

/// Nothing is kept.
#[derive(Debug, Default)]
pub struct NoBodies;

impl Bodies for NoBodies {
    fn insert(&mut self, _: Place, _: &[&[u8]]) -> u32 {
        u32::MAX
    }
    fn get(&mut self, _: Place, _: &mut u32) -> Option<&mut Body> {
        None
    }
    fn remove(&mut self, _: Place, _: u32) {}
    fn want(&mut self, _: (u32, u32), _: u64, _: Place) {}
}

/// What is lent to the partition.
#[derive(Debug)]
pub struct Around {
    pub gateway: Gateway,
    pub now: Now,
    journal: NoJournal,
    bodies: NoBodies,
}

impl Around {
    pub fn new(gateway: Gateway, now: Now) -> Self {
        Self { gateway, now, journal: NoJournal, bodies: NoBodies }
    }
}

impl Env for Around {
    type J = NoJournal;
    type B = NoBodies;
    type O = Gateway;

    fn lend(&mut self) -> Lent<'_, NoJournal, NoBodies, Gateway> {
        let Self { gateway, now, journal, bodies } = self;
        Lent { now: *now, room: usize::MAX, journal, bodies, out: gateway }
    }
}

/// A session as the partition knows it.
#[derive(Clone, Debug)]
pub struct Known {
    pub address: Address,
    pub user: String,
    pub device: DeviceId,
    pub receive: bool,
    /// Messages that wait for it.
    pub pending: u64,
    welcome: bool,
}

/// A command that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    Attach(Address),
    Detach(Address),
    /// Of a session: the id of a send, or what else it is.
    Frame(Address, String),
}

/// See the module.
#[derive(Debug, Default)]
pub struct Script {
    /// Rows in memory, or known to be absent.
    pub here: HashSet<RowKey>,
    pub sessions: BTreeMap<u32, Known>,
    /// The newest position: outputs are held at it.
    pub at: Position,
    /// `welcome` waits for [`Script::welcome`].
    pub hold_welcome: bool,
    /// Every attach is refused with this.
    pub refuse: Option<&'static str>,
    /// Bytes of an answer to a question.
    pub answer_bytes: usize,
    /// Sends that were given, also those that wait.
    pub sends: usize,
    /// All that was given.
    pub given: Vec<Given>,
    pub serial: u32,
}

impl Script {
    fn known(&self, from: Attached) -> Known {
        assert_eq!(from.slot, from.serial, "a handle of this partition");
        self.sessions.get(&from.slot).cloned().unwrap_or_else(|| panic!("{from:?} is over"))
    }

    fn need(&self, key: RowKey) -> Taken {
        if self.here.contains(&key) { Ok(()) } else { Err(Wait::Rows(smallvec![key])) }
    }

    fn note(&mut self, from: Attached, what: &str) {
        let address = self.known(from).address;
        self.given.push(Given::Frame(address, what.to_owned()));
    }

    /// Welcomes those who wait for it.
    pub fn welcome<E: Env>(&mut self, env: &mut E) {
        for known in self.sessions.values_mut().filter(|known| !known.welcome) {
            known.welcome = true;
            env.lend().out.welcome(known.address, (known.pending, 0), &Token::default(), self.at);
        }
    }

    /// Messages wait for a session.
    pub fn push<E: Env>(&mut self, env: &mut E, to: Address, messages: u64) {
        let Some(known) = self.sessions.values_mut().find(|known| known.address == to) else { return };
        known.pending += messages;
        env.lend().out.owed(to, true);
    }

    /// A row that a command needs, and the conversation that it is about.
    fn target(send: &Send<'_>) -> (RowKey, ConversationId) {
        match &send.target {
            Target::User(name) | Target::Device(name, _) => (RowKey::user(name), [name.len() as u8; 16]),
            Target::Conversation(id) => (RowKey::Conversation(*id), *id),
        }
    }
}

impl Commands for Script {
    fn uses(&self, from: Attached, frame: &ClientFrame<'_>, rows: &mut SmallVec<[RowKey; 4]>) {
        self.known(from);
        match frame {
            ClientFrame::Send(send) => rows.push(Self::target(send).0),
            ClientFrame::DevicesGet { user } => rows.push(RowKey::user(user)),
            ClientFrame::Read(read) => {
                rows.push(RowKey::Conversation(read.conversation));
                rows.extend(read.authors.iter().map(|author| RowKey::user(author)));
            }
            _ => {}
        }
    }

    fn attach<E: Env>(&mut self, env: &mut E, who: &Attach<'_>) -> Result<Attached, Wait> {
        for key in [RowKey::user(who.user), RowKey::device(who.user, who.device)] {
            if !self.here.contains(&key) {
                return Err(Wait::Rows(smallvec![key]));
            }
        }
        self.serial += 1;
        let attached = Attached { slot: self.serial, serial: self.serial };
        if let Some(code) = self.refuse {
            let refusal = Refusal { code, conversation: None, lists: Vec::new() };
            env.lend().out.refused(who.address, &[], &refusal, self.at);
            return Ok(attached);
        }
        self.given.push(Given::Attach(who.address));
        let same = |known: &Known| known.receive && known.user == who.user && known.device == who.device;
        let before = self.sessions.iter().find(|(_, known)| who.receive && same(known)).map(|(slot, _)| *slot);
        if let Some(known) = before.and_then(|slot| self.sessions.remove(&slot)) {
            env.lend().out.replaced(known.address);
        }
        let known = Known {
            address: who.address,
            user: who.user.to_owned(),
            device: who.device,
            receive: who.receive,
            pending: 0,
            welcome: false,
        };
        self.sessions.insert(attached.slot, known);
        if !self.hold_welcome {
            self.welcome(env);
        }
        Ok(attached)
    }

    fn detach<E: Env>(&mut self, _: &mut E, at: Attached) {
        if let Some(known) = self.sessions.remove(&at.slot) {
            self.given.push(Given::Detach(known.address));
        }
    }

    fn send<E: Env>(&mut self, env: &mut E, from: Attached, send: &Send<'_>) -> Taken {
        let (key, id) = Self::target(send);
        self.need(key)?;
        self.sends += 1;
        let known = self.known(from);
        let out = env.lend().out;
        match out.permit(known.address, &id, Action::Send, None) {
            None => return Err(Wait::Permit(id, Action::Send)),
            Some(true) => out.accepted(known.address, &send.id, &id, 1, 0, self.at),
            Some(false) => {
                let refusal = Refusal { code: codes::FORBIDDEN, conversation: Some(id), lists: Vec::new() };
                out.refused(known.address, &send.id, &refusal, self.at);
            }
        }
        self.note(from, std::str::from_utf8(&send.id).expect("text"));
        Ok(())
    }

    fn change<E: Env>(&mut self, _: &mut E, from: Attached, _: &Manage<'_>) -> Taken {
        self.note(from, "change");
        Ok(())
    }

    fn ack<E: Env>(&mut self, env: &mut E, from: Attached, _: &ConversationId, seq: u64) -> Taken {
        self.note(from, "ack");
        let address = self.known(from).address;
        env.lend().out.freed(address, seq as u32, 0);
        Ok(())
    }

    fn read<E: Env>(&mut self, _: &mut E, from: Attached, read: &Read<'_>) -> Taken {
        self.need(RowKey::Conversation(read.conversation))?;
        self.note(from, "read");
        Ok(())
    }

    fn confirm<E: Env>(&mut self, _: &mut E, from: Attached, seen: &[(ConversationId, u64)]) {
        self.note(from, &format!("confirm {}", seen.len()));
    }

    fn seen<E: Env>(&mut self, _: &mut E, from: Attached, token: &Token) {
        self.note(from, &format!("seen {}", String::from_utf8_lossy(token.bytes())));
    }

    fn block<E: Env>(&mut self, _: &mut E, from: Attached, _: &str, _: bool) -> Taken {
        self.note(from, "block");
        Ok(())
    }

    fn query<E: Env>(&mut self, env: &mut E, from: Attached, query: &Query<'_>) -> Taken {
        if let Query::Devices(user) = query {
            self.need(RowKey::user(user))?;
        }
        let groups = vec![[0; 16]; self.answer_bytes / 18];
        let address = self.known(from).address;
        env.lend().out.answer(address, &ServerFrame::Groups(&groups), self.at);
        self.note(from, "query");
        Ok(())
    }

    fn credit<E: Env>(&mut self, env: &mut E, to: Attached, credit: Credit) -> Served {
        let known = self.sessions.get_mut(&to.slot).expect("attached");
        for _ in 0..known.pending.min(credit.messages.into()) {
            let mut body = Body::default();
            encode_stored(&Message { seq: known.pending, sender: "ann", ..Message::default() }, &mut body.stored);
            known.pending -= 1;
            env.lend().out.message(known.address, &mut body, None, false, false);
        }
        if known.pending == 0 { Served::All } else { Served::More }
    }

    fn notify<E: Env>(&mut self, _: &mut E, _: Attached, _: usize) -> Served {
        Served::All
    }
}
