//! What clients do by the clock: leave and return, stall, send now and then. Everything random follows from the seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::AsFd;

use super::connect::key;
use super::net::EventFlags;
use super::peer::Stage;
use super::send::WAITING;
use super::{Group, Load, net};

const MS: u64 = 1_000_000;
/// Messages that one turn sends by the clock: what is left is sent in the next one, late.
const SENT_A_TURN: usize = 4096;
/// How often another client is looked for when one cannot send.
const TRIES: usize = 16;
/// A message is sent as of when it was due, so that a late generator shows; less than this is its timer's grain, ns.
const GRAIN: u64 = 2 * MS;

/// xorshift64*: quick, and good enough to choose clients with.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// Below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    fn one_of(&mut self, list: &[u32]) -> Option<u32> {
        let at = self.below(list.len() as u64);
        list.get(at as usize).copied()
    }
}

/// What a client does when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    /// Its connection ends and the next one begins; again after `every`.
    Flap {
        every: u64,
    },
    /// It reads no more for `stalled`; then for `reading` it does.
    Stall {
        stalled: u64,
        reading: u64,
    },
    Unstall {
        stalled: u64,
        reading: u64,
    },
    Return,
}

/// Messages by the clock.
#[derive(Debug)]
struct Rate {
    next: u64,
    every: u64,
    /// Of a hundred messages.
    to_groups: u64,
    direct: Vec<u32>,
    groups: Vec<u32>,
}

/// Clients that leave by the clock, one after another, and return.
#[derive(Debug)]
struct Churn {
    next: u64,
    every: u64,
    among: Vec<u32>,
    /// How long they are away, ns: from the first to the second.
    away: (u64, u64),
}

#[derive(Debug)]
pub(super) struct Behaviour {
    random: Random,
    acts: BinaryHeap<Reverse<(u64, u32, Act)>>,
    rate: Option<Rate>,
    churn: Option<Churn>,
}

impl Behaviour {
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), acts: BinaryHeap::new(), rate: None, churn: None }
    }

    fn at(&mut self, when: u64, peer: u32, act: Act) {
        self.acts.push(Reverse((when, peer, act)));
    }

    /// When something is due, ns.
    pub fn next(&self) -> Option<u64> {
        let act = self.acts.peek().map(|Reverse((at, _, _))| *at);
        let rate = self.rate.as_ref().map(|rate| rate.next);
        let churn = self.churn.as_ref().map(|churn| churn.next);
        [act, rate, churn].into_iter().flatten().min()
    }
}

/// ns between two of so many a second.
fn every(per_s: f64) -> Option<u64> {
    (per_s > 0.0).then(|| ((1e9 / per_s) as u64).max(1))
}

impl Load {
    /// So many messages a second, by streams without a window, chosen at random; `to_groups` of a hundred to groups.
    pub fn rate(&mut self, per_s: f64, to_groups: u32) {
        let (mut direct, mut groups) = (Vec::new(), Vec::new());
        for number in 0..self.streams.len() {
            let stream = &self.streams[number];
            if stream.flow.window == 0 {
                if stream.recipient.is_some() { &mut direct } else { &mut groups }.push(number);
            }
        }
        let next = net::clock_ns();
        let to_groups = u64::from(to_groups);
        self.behaviour.rate = every(per_s).map(|every| Rate { next, every, to_groups, direct, groups });
    }

    /// So many of these clients a second leave, and return after a time between the two, ms.
    pub fn churn(&mut self, per_s: f64, among: &[u32], away_ms: (u64, u64)) {
        let away = (away_ms.0 * MS, away_ms.1.max(away_ms.0) * MS);
        let next = net::clock_ns();
        self.behaviour.churn = every(per_s).map(|every| Churn { next, every, among: among.to_vec(), away });
    }

    /// Each of these clients reconnects once in this time.
    pub fn flap(&mut self, peers: &[u32], every_ms: u64) {
        self.schedule(peers, every_ms, Act::Flap { every: every_ms * MS });
    }

    /// Each of these clients reads nothing for a while, then for another while it does, and so on.
    pub fn slow(&mut self, peers: &[u32], stalled_ms: u64, reading_ms: u64) {
        let act = Act::Stall { stalled: stalled_ms * MS, reading: reading_ms * MS };
        self.schedule(peers, stalled_ms + reading_ms, act);
    }

    /// First at some time within `within_ms`, so that not all do it at once.
    fn schedule(&mut self, peers: &[u32], within_ms: u64, act: Act) {
        let now = net::clock_ns();
        for &peer in peers {
            let at = now + self.behaviour.random.below(within_ms * MS);
            self.behaviour.at(at, peer, act);
        }
    }

    /// These clients read nothing any more.
    pub fn stall(&mut self, peers: &[u32]) {
        for &number in peers {
            let peer = &mut self.peers[number];
            if let (Some(socket), Stage::Open, false) = (&peer.socket, peer.stage, peer.stalled) {
                self.poll.delete(socket);
                (peer.stalled, peer.roams) = (true, true);
            }
        }
    }

    /// They read again.
    pub fn unstall(&mut self, peers: &[u32]) {
        self.now = net::clock_ns();
        for &number in peers {
            let peer = &mut self.peers[number];
            if !std::mem::take(&mut peer.stalled) {
                continue;
            }
            let Some(socket) = &peer.socket else { continue };
            let flags = if peer.blocked { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            if let Err(error) = self.poll.add(socket.as_fd(), key(number, peer), flags) {
                self.fail(number, &format!("cannot be watched: {error}"));
                return;
            }
            for at in 0..self.peers[number].members.len() {
                if let Some(&(_, member)) = self.peers[number].members.get(at) {
                    self.ack_rest(member);
                }
            }
            self.refill(number);
        }
    }

    /// Everybody comes back, reads, and stays; nobody sends by the clock any more.
    pub fn calm(&mut self) {
        (self.behaviour.rate, self.behaviour.churn) = (None, None);
        for Reverse((_, peer, act)) in std::mem::take(&mut self.behaviour.acts) {
            match act {
                Act::Return => self.connect(&[peer]),
                Act::Unstall { .. } => self.unstall(&[peer]),
                Act::Flap { .. } | Act::Stall { .. } => {}
            }
        }
    }

    /// Does what is due.
    pub(super) fn act(&mut self) {
        while let Some(&Reverse((at, peer, act))) = self.behaviour.acts.peek() {
            if at > self.now {
                break;
            }
            self.behaviour.acts.pop();
            self.perform(peer, act);
        }
        self.send_by_the_clock();
        self.leave_by_the_clock();
    }

    fn perform(&mut self, peer: u32, act: Act) {
        let now = self.now;
        match act {
            Act::Flap { every } => {
                self.close(peer);
                self.connect(&[peer]);
                self.behaviour.at(now + every, peer, act);
            }
            Act::Stall { stalled, reading } => {
                self.stall(&[peer]);
                self.behaviour.at(now + stalled, peer, Act::Unstall { stalled, reading });
            }
            Act::Unstall { stalled, reading } => {
                self.unstall(&[peer]);
                self.behaviour.at(now + reading, peer, Act::Stall { stalled, reading });
            }
            Act::Return => self.connect(&[peer]),
        }
    }

    fn send_by_the_clock(&mut self) {
        for _ in 0..SENT_A_TURN {
            let Some(rate) = self.behaviour.rate.as_mut().filter(|rate| rate.next <= self.now) else { return };
            let due = rate.next;
            rate.next += rate.every;
            let to_group = self.behaviour.random.below(100) < rate.to_groups;
            let list = if (to_group && !rate.groups.is_empty()) || rate.direct.is_empty() {
                &rate.groups
            } else {
                &rate.direct
            };
            let random = &mut self.behaviour.random;
            let able = |stream: &u32| {
                let stream = &self.streams[*stream];
                let sender = &self.peers[stream.sender];
                sender.speaks() && sender.waiting.len() < WAITING && self.transcripts[stream.transcript].ready
            };
            match (0..TRIES).filter_map(|_| random.one_of(list)).find(able) {
                Some(stream) => self.send_message(stream, if self.now - due < GRAIN { self.now } else { due }),
                None => self.counts.unsent += 1,
            }
        }
    }

    fn leave_by_the_clock(&mut self) {
        while let Some(churn) = self.behaviour.churn.as_mut().filter(|churn| churn.next <= self.now) {
            churn.next += churn.every;
            let random = &mut self.behaviour.random;
            let away = churn.away.0 + random.below(churn.away.1 - churn.away.0 + 1);
            let able = |peer: &u32| self.peers[*peer].speaks() && self.peers[*peer].group != Group::Aside;
            if let Some(peer) = (0..TRIES).filter_map(|_| random.one_of(&churn.among)).find(able) {
                self.close(peer);
                self.behaviour.at(self.now + away, peer, Act::Return);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_chooses_the_same_and_everybody_is_chosen() {
        let chosen = |seed| {
            let mut random = Random::new(seed);
            (0..1000).map(|_| random.below(10)).collect::<Vec<_>>()
        };
        assert_eq!(chosen(1), chosen(1));
        assert_ne!(chosen(1), chosen(2));
        for one in 0..10 {
            let times = chosen(7).iter().filter(|other| **other == one).count();
            assert!((50..200).contains(&times), "{one} was chosen {times} times of 1000");
        }
        assert_eq!(Random::new(0).below(0), 0);
    }

    #[test]
    fn the_earliest_is_next() {
        let mut behaviour = Behaviour::new(1);
        assert_eq!(behaviour.next(), None);
        behaviour.at(30, 1, Act::Return);
        behaviour.at(10, 2, Act::Return);
        assert_eq!(behaviour.next(), Some(10));
        behaviour.rate = Some(Rate { next: 5, every: 1, to_groups: 0, direct: vec![], groups: vec![] });
        assert_eq!(behaviour.next(), Some(5));
    }
}
