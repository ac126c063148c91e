//! Random events: nothing precedes `welcome`, frames of a session are taken in order and all answered in the end, bounds hold,
//! and a session that is over is never named (the script panics).

use std::collections::HashSet;

use proptest::prelude::*;
use seam::RowKey;
use wire::codes;
use wire::types::ClientFrame;

use super::frames::Got;
use super::rig::{Client, Rig, framed, hello, ping, send};
use super::script::Given;
use crate::{Carrier, Config, Host, Key, Request, State};

/// Most connections at a time.
const CLIENTS: usize = 6;

#[derive(Clone, Debug)]
enum Event {
    Open(bool),
    Hello(usize),
    Admit(usize, u8, u8, bool),
    Refuse(usize),
    /// Frames in one read: what each is.
    Feed(usize, Vec<u8>),
    Lost(usize),
    Carry(usize),
    Stall(usize, bool),
    Push(usize, u64),
    Loads(usize),
    Unusable(u8, bool),
    Evict(u8),
    Permit(bool),
    Forget,
    Behind(bool),
    Welcome,
    Sync,
    Pass(u64),
    Step,
}

fn event() -> impl Strategy<Value = Event> {
    let client = 0..CLIENTS;
    prop_oneof![
        2 => any::<bool>().prop_map(Event::Open),
        3 => client.clone().prop_map(Event::Hello),
        4 => (client.clone(), 0..3u8, 1..3u8, prop::bool::weighted(0.1)).prop_map(|(c, u, d, e)| Event::Admit(c, u, d, e)),
        1 => client.clone().prop_map(Event::Refuse),
        8 => (client.clone(), prop::collection::vec(any::<u8>(), 1..8)).prop_map(|(c, frames)| Event::Feed(c, frames)),
        1 => client.clone().prop_map(Event::Lost),
        1 => client.clone().prop_map(Event::Carry),
        1 => (client.clone(), any::<bool>()).prop_map(|(c, on)| Event::Stall(c, on)),
        2 => (client, 1..400u64).prop_map(|(c, n)| Event::Push(c, n)),
        4 => (1..4usize).prop_map(Event::Loads),
        1 => (0..4u8, any::<bool>()).prop_map(|(row, on)| Event::Unusable(row, on)),
        1 => (0..4u8).prop_map(Event::Evict),
        3 => any::<bool>().prop_map(Event::Permit),
        1 => Just(Event::Forget),
        1 => any::<bool>().prop_map(Event::Behind),
        1 => Just(Event::Welcome),
        3 => Just(Event::Sync),
        1 => prop_oneof![1..100u64, 10_000..100_000u64].prop_map(Event::Pass),
        6 => Just(Event::Step),
    ]
}

fn name(user: u8) -> String {
    format!("user{user}")
}

/// A client as the test knows it.
struct Peer {
    client: Client,
    poll: bool,
    said_hello: bool,
    /// Ids of sends, and nonces of pings, in order; what was given, answered and ponged of them.
    sent: Vec<String>,
    pings: Vec<u64>,
    answered: HashSet<String>,
    /// The latest accepted one.
    accepted: String,
    ponged: usize,
    /// Other questions, and answers to them.
    asked: usize,
    told: usize,
    welcomed: bool,
    over: bool,
}

struct World {
    rig: Rig,
    peers: Vec<Peer>,
    asked: Vec<Request>,
    next: u64,
    messages: HashSet<usize>,
}

impl World {
    fn new() -> Self {
        let mut rig = Rig::new(Config { authorize: true, ..Config::default() });
        (rig.hold_loads, rig.hold_disk) = (true, true);
        rig.script.answer_bytes = 40 << 10;
        Self { rig, peers: Vec::new(), asked: Vec::new(), next: 0, messages: HashSet::new() }
    }

    fn happen(&mut self, event: &Event) {
        let at = |peers: &[Peer], client: usize| peers.get(client).map(|peer| peer.client);
        match *event {
            Event::Open(poll) if self.peers.len() < CLIENTS => {
                let client = if poll { self.rig.open(Carrier::Poll) } else { self.rig.socket() };
                if poll {
                    self.rig.admit(client, &name(client.wire as u8 % 3), 1, 0);
                }
                self.peers.push(Peer {
                    client,
                    poll,
                    said_hello: false,
                    sent: Vec::new(),
                    pings: Vec::new(),
                    answered: HashSet::new(),
                    accepted: String::new(),
                    ponged: 0,
                    asked: 0,
                    told: 0,
                    welcomed: false,
                    over: false,
                });
            }
            Event::Hello(client) => {
                if let Some(peer) = self.peers.get_mut(client).filter(|peer| !peer.said_hello) {
                    peer.said_hello = true;
                    self.rig.feed(peer.client, &[hello()]);
                }
            }
            Event::Admit(client, user, device, ends) => {
                let expires_ms = if ends { self.rig.now().wall_ms + 5_000 } else { 0 };
                if let Some(client) = at(&self.peers, client) {
                    self.rig.admit(client, &name(user), device.into(), expires_ms);
                }
            }
            Event::Refuse(client) => {
                if let Some(client) = at(&self.peers, client) {
                    self.rig.gateway().refuse(client.id, codes::BAD_TOKEN, "no");
                }
            }
            Event::Feed(client, ref kinds) => self.feed(client, kinds),
            Event::Lost(client) => {
                if let Some(peer) = self.peers.get(client) {
                    let (client, parks) = (peer.client, peer.poll);
                    self.rig.gateway().lost(client.id);
                    if !parks || self.rig.state(client).is_none() {
                        self.rig.wires.remove(&client.wire);
                    }
                }
            }
            Event::Carry(client) => {
                if let Some(client) = at(&self.peers, client)
                    && self.rig.gateway().carry(client.id, client.wire) == Ok(None)
                {
                    self.rig.stall(client, false);
                }
            }
            Event::Stall(client, on) => {
                if let Some(client) = at(&self.peers, client).filter(|&c| self.rig.state(c) != Some(State::Parked)) {
                    self.rig.stall(client, on);
                }
            }
            Event::Push(client, messages) => {
                if let Some(client) = at(&self.peers, client) {
                    self.messages.insert(client.wire);
                    self.rig.push(client, messages);
                }
            }
            Event::Loads(most) => self.rig.answer_loads(most),
            Event::Unusable(row, true) => _ = self.rig.unusable.insert(Key::Row(RowKey::user(&name(row)))),
            Event::Unusable(row, false) => _ = self.rig.unusable.remove(&Key::Row(RowKey::user(&name(row)))),
            Event::Evict(row) => {
                let row = RowKey::user(&name(row));
                if !self.rig.gateway().holds(&Key::Row(row.clone())) {
                    self.rig.script.here.remove(&row);
                }
            }
            Event::Permit(allowed) => {
                self.asked.append(&mut self.rig.asked);
                if let Some(Request::Authorize { conn, ticket, .. }) = self.asked.pop() {
                    self.rig.gateway().permit(conn, ticket, allowed);
                }
            }
            Event::Forget => self.rig.gateway().forget_uses(),
            Event::Behind(on) => self.rig.gateway().set_log_behind(on),
            Event::Welcome => {
                self.rig.script.hold_welcome ^= true;
                self.rig.welcome();
            }
            Event::Sync => {
                self.rig.sync();
                self.rig.script.at.0 += self.next % 2;
            }
            Event::Pass(ms) => {
                let now = &mut self.rig.around.now;
                (now.mono_ms, now.wall_ms) = (now.mono_ms + ms, now.wall_ms + ms);
                let now = *now;
                self.rig.gateway().set_now(now);
            }
            Event::Open(_) | Event::Step => _ = self.rig.step(),
        }
    }

    /// What a client sends, if the driver reads it.
    fn feed(&mut self, client: usize, kinds: &[u8]) {
        let Some(peer) = self.peers.get_mut(client) else { return };
        let state = self.rig.state(peer.client);
        let read = self.rig.wires.get(&peer.client.wire).is_some_and(|wire| !wire.paused && !wire.closed);
        if !read || !matches!(state, Some(State::Checking | State::Joining | State::Live)) {
            return;
        }
        let mut bytes = Vec::new();
        for kind in kinds {
            self.next += 1;
            let id = format!("{:06}", self.next);
            match kind % 8 {
                0..4 => {
                    bytes.extend(framed(&send(&name(kind % 4), &id)));
                    peer.sent.push(id);
                }
                4 | 5 => {
                    bytes.extend(framed(&ping(self.next)));
                    peer.pings.push(self.next);
                }
                6 => {
                    bytes.extend(framed(&ClientFrame::DevicesGet { user: name(kind % 4).into() }));
                    peer.asked += 1;
                }
                // A frame of an unknown kind: refused, and nothing ends.
                _ => {
                    bytes.extend([3, 0xfa, 0x01, 0x00]);
                    peer.asked += 1;
                }
            }
        }
        self.rig.bytes(peer.client, &bytes);
    }

    /// Looks at everything that came.
    fn check(&mut self) {
        self.rig.drain();
        for peer in &mut self.peers {
            let closed = self.rig.is_closed(peer.client);
            for got in self.rig.got(peer.client) {
                let first = !std::mem::replace(&mut peer.welcomed, true);
                assert!(!first || matches!(got, Got::Welcome(_)) || closed, "{got:?} precedes welcome");
                match got {
                    Got::Accepted(id) => {
                        assert!(peer.accepted < id, "accepted in the order of the sends");
                        peer.accepted.clone_from(&id);
                        peer.answer(id);
                    }
                    Got::Error(_, id) if !id.is_empty() => peer.answer(id),
                    Got::Pong(nonce) => {
                        assert_eq!(peer.pings.get(peer.ponged), Some(&nonce));
                        peer.ponged += 1;
                    }
                    Got::Error(..) | Got::Other(_) => peer.told += 1,
                    _ => {}
                }
            }
            peer.over = !matches!(self.rig.state(peer.client), Some(State::Checking | State::Joining | State::Live));
        }
        let diagnosis = self.rig.gateway().diagnosis();
        let count = |name| diagnosis.iter().find(|entry| entry.0 == name).map_or(0, |entry| entry.1);
        assert!(count("loads_under_way") <= 256 && count("ready") <= CLIENTS as u64);
        assert!(self.rig.gateway().stats().turn_bytes_most <= (1 << 20) + (41 << 10));
    }

    /// Everything that was held back happens: whoever is still there is answered.
    fn finish(&mut self) {
        (self.rig.hold_loads, self.rig.hold_disk, self.rig.script.hold_welcome) = (false, false, false);
        self.rig.gateway().set_log_behind(false);
        self.rig.welcome();
        for peer in &self.peers {
            let _ = self.rig.gateway().carry(peer.client.id, peer.client.wire);
            if self.rig.state(peer.client).is_some() {
                self.rig.stall(peer.client, false);
            }
        }
        for _ in 0..40 {
            self.rig.turn();
            // Time for those that are not read because of what others of their user hold.
            self.rig.pass(200);
            self.check();
            self.asked.append(&mut self.rig.asked);
            for request in std::mem::take(&mut self.asked) {
                if let Request::Authorize { conn, ticket, .. } = request {
                    self.rig.gateway().permit(conn, ticket, true);
                }
            }
        }
        for peer in &self.peers {
            if self.rig.state(peer.client) == Some(State::Live) {
                let left =
                    (peer.sent.len() - peer.answered.len(), peer.pings.len() - peer.ponged, peer.asked - peer.told);
                assert_eq!(left, (0, 0, 0), "of {:?}", peer.client);
                assert!(!self.rig.wires[&peer.client.wire].paused);
            }
        }
        let live = |rig: &Rig, client: Client| matches!(rig.state(client), Some(State::Live | State::Parked));
        let there: HashSet<_> = self.rig.script.sessions.values().map(|known| known.address).collect();
        let known = self.peers.iter().map(|peer| peer.client).filter(|&c| live(&self.rig, c)).map(|c| c.id).collect();
        assert_eq!(there, known, "the partition knows those sessions that there are");
        for peer in &self.peers {
            let given = self.rig.script.given.iter().filter_map(|given| match given {
                Given::Frame(address, id) if *address == peer.client.id && peer.sent.contains(id) => Some(id),
                _ => None,
            });
            let given: Vec<_> = given.collect();
            assert!(given.is_sorted(), "frames of a session in their order");
        }
        let diagnosis = self.rig.gateway().diagnosis();
        for name in ["gates", "loads_queued", "loads_under_way", "ready", "ended", "held_bytes"] {
            assert!(diagnosis.contains(&(name, 0)), "{name} in {diagnosis:?}");
        }
    }
}

impl Peer {
    /// An answer to a send of its own, the only one.
    fn answer(&mut self, id: String) {
        assert!(self.sent.contains(&id) && self.answered.insert(id.clone()), "{id}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    #[test]
    fn whatever_happens_sessions_keep_their_order_and_their_bounds(events in prop::collection::vec(event(), 1..250)) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
            world.check();
        }
        world.finish();
    }
}
