//! A load generator: thousands of clients in one thread, which check everything that they are told.
//!
//! It speaks the wire as any foreign client would (docs/wire.md), with its own few lines of codec: nothing of it comes from
//! the server's half of this crate, so that a mistake there is not made here as well.
//!
//! # Layout
//! - here: the clients, streams and conversations, made before they are used.
//! - `turn`: one epoll loop; `connect`: connections; `receive`: what is told is checked; `send`: messages and acks.
//! - `behaviour`: who leaves, returns, stalls, and when messages are sent that nobody waits for.
//! - `peer`, `stream`, `transcript`, `member`: the state; `frames`, `carrier`, `body`, `net`: bytes; `histogram`: times.
//!
//! # Rules
//! - Nothing is allocated per message; one read takes many frames, all that a client owes in a turn leaves in one write.
//! - The first thing that is wrong ends the run: [`Load::trouble`] says what.
//! - A client is a number, and so is a stream (one client's messages to one conversation). All ends of a conversation are
//!   in one [`Load`], so that what one is told can be held against what another was.
//!
//! Linux only, like the rest.
#![allow(clippy::indexing_slicing, reason = "by numbers that a `Table` gave out; bytes are looked up with `get`")]

mod behaviour;
mod body;
mod carrier;
mod connect;
mod counts;
mod frames;
mod histogram;
mod member;
mod net;
mod peer;
mod receive;
mod send;
mod stream;
mod table;
#[cfg(test)]
mod tests;
mod transcript;
mod turn;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use self::behaviour::Behaviour;
use self::body::Bodies;
use self::member::Member;
use self::net::Poll;
use self::peer::Peer;
use self::stream::Stream;
use self::table::Table;
use self::transcript::Transcript;

pub use self::body::MIN_BODY;
pub use self::counts::{Counts, Group, Times};
pub use self::histogram::Histogram;
pub use self::stream::Until;
pub use self::turn::Ended;

/// How the clients of a [`Load`] behave.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub server: SocketAddr,
    /// What a WebSocket's `Host` says.
    pub host: String,
    /// Binary WebSocket messages; else raw frames.
    pub websocket: bool,
    /// Tells this run's messages from others'; also the seed of everything random.
    pub tag: u32,
    /// Bytes of a message's body, from [`MIN_BODY`].
    pub body: usize,
    /// Acknowledge at once when everything that came was read; else every 16 messages or 100 ms.
    pub ack_at_once: bool,
    /// Connections that are being opened at once.
    pub opening: usize,
}

/// A stream's place in the life of a run.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Messages in flight; 0: it sends only when told to, see [`Load::rate`].
    pub window: u32,
    /// Messages in all.
    pub limit: u32,
    /// When a message is in flight no more.
    pub until: Until,
}

/// See the module.
pub struct Load {
    options: Options,
    poll: Poll,
    peers: Table<Peer>,
    streams: Table<Stream>,
    transcripts: Table<Transcript>,
    members: Table<Member>,
    bodies: Bodies,
    /// CLOCK_MONOTONIC as of the last read or turn, ns.
    now: u64,
    sending: bool,
    /// Clients with something to write.
    dirty: Vec<u32>,
    to_open: VecDeque<u32>,
    opening: usize,
    /// Members that owe an ack, and until when it may wait.
    acks: VecDeque<(u64, u32)>,
    /// Members that owe an ack at the end of this read.
    read_acks: Vec<u32>,
    /// A frame that is being written.
    scratch: Vec<u8>,
    behaviour: Behaviour,
    counts: Counts,
    times: Times,
    trouble: Vec<String>,
}

impl Load {
    /// Without any client.
    ///
    /// # Errors
    /// There is no epoll to be had.
    pub fn new(options: Options) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            bodies: Bodies::new(options.tag, options.body),
            behaviour: Behaviour::new(u64::from(options.tag)),
            options,
            peers: Table::default(),
            streams: Table::default(),
            transcripts: Table::default(),
            members: Table::default(),
            now: net::clock_ns(),
            sending: false,
            dirty: Vec::new(),
            to_open: VecDeque::new(),
            opening: 0,
            acks: VecDeque::new(),
            read_acks: Vec::new(),
            scratch: Vec::new(),
            counts: Counts::default(),
            times: Times::default(),
            trouble: Vec::new(),
        })
    }

    /// Adds a client that is not connected yet; its number, from 0 on.
    pub fn add_peer(&mut self, name: &str, token: &str) -> u32 {
        self.peers.add(Peer::new(name, token))
    }

    /// How many clients there are.
    pub fn peers(&self) -> u32 {
        self.peers.len()
    }

    /// The messages of `from` to `to`, directly; if `to` sends as well, they share the conversation.
    pub fn add_direct(&mut self, from: u32, to: u32, flow: Flow) -> u32 {
        let id = transcript::direct_id(&self.peers[from].name, &self.peers[to].name);
        let transcript = match self.peers[from].member_in(id) {
            Some(member) => self.members[member].transcript,
            None => {
                let transcript = self.transcripts.add(Transcript::direct(id));
                for peer in [from, to] {
                    self.add_member(transcript, id, peer);
                }
                transcript
            }
        };
        self.add_stream(transcript, from, Some(to), flow)
    }

    /// A group of which the first member is the owner; it is made when [`Load::create_groups`] is called.
    pub fn add_group(&mut self, members: &[u32]) -> u32 {
        let transcript = self.transcripts.add(Transcript::group(members));
        let Some(&owner) = members.first() else { return transcript };
        let id = transcript::group_id(&self.peers[owner].name, &self.bodies.id(send::group_number(transcript), 0));
        self.transcripts[transcript].id = id;
        for &peer in members {
            self.add_member(transcript, id, peer);
        }
        transcript
    }

    /// The messages of a member to its group.
    pub fn add_to_group(&mut self, transcript: u32, from: u32, flow: Flow) -> u32 {
        self.add_stream(transcript, from, None, flow)
    }

    fn add_member(&mut self, transcript: u32, id: u128, peer: u32) {
        let member = self.members.add(Member::new(transcript, peer));
        self.peers[peer].members.push((id, member));
        self.transcripts[transcript].members.push(member);
    }

    fn add_stream(&mut self, transcript: u32, from: u32, to: Option<u32>, flow: Flow) -> u32 {
        let stream = self.streams.add(Stream::new(transcript, from, to, flow));
        self.transcripts[transcript].add_stream();
        self.peers[from].streams.push(stream);
        if let Some(member) = self.peers[from].member_in(self.transcripts[transcript].id) {
            self.members[member].stream = Some(stream);
        }
        stream
    }

    /// Where the times of these clients are counted.
    pub fn set_group(&mut self, peers: &[u32], group: Group) {
        for &peer in peers {
            self.peers[peer].group = group;
        }
    }

    /// What happened so far, and how things stand.
    pub fn counts(&self) -> Counts {
        self.counts.clone()
    }

    /// The times since the last call.
    pub fn take_times(&mut self) -> Vec<(String, Vec<(u64, u64)>)> {
        self.times.take()
    }

    /// What was wrong, if anything was.
    pub fn trouble(&self) -> &[String] {
        &self.trouble
    }

    /// What is wrong now that nothing is under way any more: everybody should have everything.
    pub fn verify(&self) -> Vec<String> {
        let of_streams = self.streams.iter().filter_map(|stream| {
            let name = &self.peers[stream.sender].name;
            stream.unfinished().map(|what| format!("{name}: {what}"))
        });
        let of_members = self.members.iter().filter_map(|member| {
            let name = &self.peers[member.peer].name;
            member.unfinished(self.transcripts[member.transcript].head()).map(|what| format!("{name}: {what}"))
        });
        of_streams.chain(of_members).take(trouble::MOST).collect()
    }

    fn fail(&mut self, peer: u32, what: &str) {
        if self.trouble.len() < trouble::MOST {
            let name = &self.peers[peer].name;
            self.trouble.push(format!("{name}: {what}"));
        }
    }
}

mod trouble {
    /// As many sentences about what is wrong are kept.
    pub const MOST: usize = 10;
}
