//! A node's and a driver's part: time, the store, sockets, the embedder.

use std::collections::{BTreeMap, HashSet};

use link::{Framing, MAGIC, put_header};
use seam::{Address, Now, Position};
use wire::types::{ClientFrame, Hello, Send, Target};

use super::frames::{Got, read};
use super::script::{Around, Script};
use crate::{Carrier, Config, Gateway, Host, Identity, Key, Request, Verdict, write_flags};

/// What a connection got.
#[derive(Debug, Default)]
pub struct Wire {
    pub bytes: Vec<u8>,
    pub closed: bool,
    pub paused: bool,
    /// Its transport takes nothing.
    pub stalled: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Rig {
    pub script: Script,
    pub around: Around,
    pub wires: BTreeMap<usize, Wire>,
    /// Loads that were asked for and are not answered yet.
    pub loads: Vec<Key>,
    /// They are answered by hand.
    pub hold_loads: bool,
    /// So many answers leave nothing in memory.
    pub lose: usize,
    /// Rows that cannot be used.
    pub unusable: HashSet<Key>,
    /// Outputs are held.
    pub hold_disk: bool,
    pub asked: Vec<Request>,
    pub next_wire: usize,
}

/// A connection: the driver's name for it, and the gateway's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub wire: usize,
    pub id: Address,
}

impl Host for Rig {
    type Commands = Script;
    type Env = Around;

    fn gateway(&mut self) -> &mut Gateway {
        &mut self.around.gateway
    }

    fn split(&mut self) -> (&mut Script, &mut Around) {
        (&mut self.script, &mut self.around)
    }
}

impl Default for Rig {
    fn default() -> Self {
        Self::new(Config::default())
    }
}

impl Rig {
    pub fn new(config: Config) -> Self {
        let now = Now { wall_ms: 1_700_000_000_000, mono_ms: 1_000 };
        Self {
            script: Script { at: Position(1), ..Script::default() },
            around: Around::new(Gateway::new(config, now), now),
            wires: BTreeMap::new(),
            loads: Vec::new(),
            hold_loads: false,
            lose: 0,
            unusable: HashSet::new(),
            hold_disk: false,
            asked: Vec::new(),
            next_wire: 0,
        }
    }

    pub fn now(&self) -> Now {
        self.around.now
    }

    /// A connection that has said nothing yet.
    pub fn open(&mut self, carrier: Carrier) -> Client {
        self.next_wire += 1;
        self.wires.insert(self.next_wire, Wire::default());
        Client { wire: self.next_wire, id: self.around.gateway.open(self.next_wire, carrier, None) }
    }

    /// A raw connection that has sent its magic.
    pub fn socket(&mut self) -> Client {
        let client = self.open(Carrier::Socket);
        assert_eq!(self.bytes(client, &MAGIC), Verdict::Open);
        client
    }

    pub fn bytes(&mut self, client: Client, bytes: &[u8]) -> Verdict {
        Gateway::data(self, client.id, &mut bytes.to_vec())
    }

    /// Feeds frames in one read.
    pub fn feed(&mut self, client: Client, frames: &[ClientFrame<'_>]) -> Verdict {
        let bytes: Vec<u8> = frames.iter().flat_map(framed).collect();
        self.bytes(client, &bytes)
    }

    pub fn admit(&mut self, client: Client, user: &str, device: u32, expires_ms: u64) {
        self.around.gateway.admit(client.id, Identity { user: user.to_owned(), device, expires_ms });
    }

    /// A session that is live.
    pub fn join(&mut self, user: &str, device: u32) -> Client {
        let client = self.socket();
        self.feed(client, &[hello()]);
        self.admit(client, user, device, 0);
        self.turn();
        assert_eq!(self.got(client), [Got::Welcome(user.to_owned())]);
        client
    }

    pub fn lost(&mut self, client: Client) {
        self.wires.remove(&client.wire);
        self.around.gateway.lost(client.id);
    }

    pub fn state(&self, client: Client) -> Option<crate::State> {
        self.around.gateway.state(client.id)
    }

    /// What a client got since the last look.
    pub fn got(&mut self, client: Client) -> Vec<Got> {
        self.wires.get_mut(&client.wire).map(|wire| read(&std::mem::take(&mut wire.bytes))).unwrap_or_default()
    }

    pub fn is_closed(&self, client: Client) -> bool {
        self.wires.get(&client.wire).is_none_or(|wire| wire.closed)
    }

    /// Lets time pass.
    pub fn pass(&mut self, ms: u64) {
        self.around.now.mono_ms += ms;
        self.around.now.wall_ms += ms;
        self.around.gateway.set_now(self.around.now);
        self.turn();
    }

    /// Everything that can happen, happens.
    pub fn turn(&mut self) {
        for _ in 0..10_000 {
            if !self.step() {
                return;
            }
        }
        panic!("the gateway does not come to rest");
    }

    /// One turn. Whether more is to be done.
    pub fn step(&mut self) -> bool {
        if !self.hold_disk {
            self.around.gateway.synced(self.script.at);
        }
        let mut busy = Gateway::turn(self);
        busy |= self.drain();
        while let Some(request) = self.around.gateway.next_request() {
            self.asked.push(request);
        }
        while let Some(key) = self.around.gateway.next_load() {
            self.loads.push(key);
        }
        if !self.hold_loads {
            busy |= !self.loads.is_empty();
            self.answer_loads(usize::MAX);
        }
        busy
    }

    /// Answers the first so many loads.
    pub fn answer_loads(&mut self, most: usize) {
        for key in self.loads.drain(..most.min(self.loads.len())).collect::<Vec<_>>() {
            let usable = !self.unusable.contains(&key);
            let lost = self.lose > 0;
            self.lose -= usize::from(lost);
            if let Key::Row(row) = &key
                && usable
                && !lost
            {
                self.script.here.insert(row.clone());
            }
            self.around.gateway.loaded(&key, usable);
        }
    }

    /// The disk has everything.
    pub fn sync(&mut self) {
        self.around.gateway.synced(self.script.at);
    }

    /// Takes writes, as a driver does.
    pub fn drain(&mut self) -> bool {
        let mut busy = false;
        while let Some(write) = self.around.gateway.next_write() {
            busy = true;
            let Some(wire) = self.wires.get_mut(&write.user) else { continue };
            assert!(!wire.stalled || write.flags != 0, "nothing is written to a transport that is full");
            wire.bytes.extend_from_slice(write.data);
            wire.closed |= write.flags & (write_flags::CLOSE | write_flags::ABORT) != 0;
            wire.paused |= write.flags & write_flags::PAUSE != 0;
            wire.paused &= write.flags & write_flags::RESUME == 0;
        }
        busy
    }

    pub fn stall(&mut self, client: Client, stalled: bool) {
        if let Some(wire) = self.wires.get_mut(&client.wire) {
            wire.stalled = stalled;
        }
        self.around.gateway.set_writable(client.id, !stalled);
    }

    pub fn push(&mut self, client: Client, messages: u64) {
        self.script.push(&mut self.around, client.id, messages);
    }

    pub fn welcome(&mut self) {
        self.script.welcome(&mut self.around);
    }
}

/// A raw frame.
pub fn framed(frame: &ClientFrame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    put_header(&mut out, Framing::Raw, frame.encoded_len());
    frame.encode(&mut out);
    out
}

pub fn hello() -> ClientFrame<'static> {
    ClientFrame::Hello(Hello { protocol: 1, token: "t".into(), receive: true, ..Hello::default() })
}

/// A send to a user.
pub fn send<'a>(to: &'a str, id: &'a str) -> ClientFrame<'a> {
    ClientFrame::Send(Send {
        id: id.as_bytes().into(),
        target: Target::User(to.into()),
        body: b"body".into(),
        bodies: Vec::new(),
        lists: Vec::new(),
        media: Vec::new(),
    })
}

pub fn ping(nonce: u64) -> ClientFrame<'static> {
    ClientFrame::Ping { nonce }
}

pub fn accepted(ids: &[&str]) -> Vec<Got> {
    ids.iter().map(|id| Got::Accepted((*id).to_owned())).collect()
}

pub fn error(code: &str) -> Got {
    Got::Error(code.to_owned(), String::new())
}
