//! Connections: opened a bounded number at once, greeted, and ended by either side.

use std::os::fd::AsFd;

use super::Load;
use super::carrier;
use super::frames::{client, put_bytes, put_number};
use super::net::{self, EventFlags};
use super::peer::{Peer, Stage};

/// Connections that one turn begins: each takes the kernel some 20 µs.
const OPENED_A_TURN: usize = 64;
const CLIENT: &[u8] = b"pyrouter bench";

impl Load {
    /// Connects those of the clients that are not.
    pub fn connect(&mut self, peers: &[u32]) {
        for &number in peers {
            let peer = &mut self.peers[number];
            if peer.stage == Stage::Away {
                peer.stage = Stage::Queued;
                self.to_open.push_back(number);
                self.counts.wanted += 1;
            }
        }
    }

    /// Ends the connections of these clients.
    pub fn leave(&mut self, peers: &[u32]) {
        peers.iter().for_each(|peer| self.close(*peer));
    }

    /// Whether more could be opened at once.
    pub(super) fn can_open(&self) -> bool {
        !self.to_open.is_empty() && self.opening < self.options.opening
    }

    pub(super) fn open_queued(&mut self) {
        for _ in 0..OPENED_A_TURN {
            if !self.can_open() {
                return;
            }
            let Some(number) = self.to_open.pop_front() else { return };
            // It may have left meanwhile, or have come back and stand here twice.
            if self.peers[number].stage == Stage::Queued {
                self.open(number);
            }
        }
    }

    fn open(&mut self, number: u32) {
        let peer = &mut self.peers[number];
        peer.connection = peer.connection.wrapping_add(1);
        peer.began = net::clock_ns();
        let key = key(number, peer);
        let source = net::source(self.options.server, number);
        let opened = net::open(self.options.server, source).and_then(|(socket, connected)| {
            self.poll.add(&socket, key, if connected { EventFlags::IN } else { EventFlags::OUT })?;
            Ok((socket, connected))
        });
        match opened {
            Ok((socket, connected)) => {
                peer.socket = Some(socket);
                peer.stage = Stage::Connecting;
                self.opening += 1;
                if connected {
                    self.connected(number);
                }
            }
            Err(error) => self.fail(number, &format!("cannot connect to {}: {error}", self.options.server)),
        }
    }

    /// The socket of a client that was connecting is ready, one way or the other.
    pub(super) fn finish_connect(&mut self, number: u32) {
        let peer = &self.peers[number];
        let Some(socket) = &peer.socket else { return };
        let done =
            net::connected(socket.as_fd()).and_then(|()| self.poll.modify(socket, key(number, peer), EventFlags::IN));
        match done {
            Ok(()) => self.connected(number),
            Err(error) => self.fail(number, &format!("cannot connect to {}: {error}", self.options.server)),
        }
    }

    fn connected(&mut self, number: u32) {
        let peer = &mut self.peers[number];
        if self.options.websocket {
            carrier::put_request(&mut peer.out, &self.options.host);
            peer.stage = Stage::Upgrading;
            self.touch(number);
        } else {
            peer.out.extend_from_slice(carrier::MAGIC);
            self.greet(number);
        }
    }

    /// Says hello.
    pub(super) fn greet(&mut self, number: u32) {
        let peer = &mut self.peers[number];
        peer.stage = Stage::Greeting;
        let (mut hello, mut frame) = (Vec::new(), Vec::new());
        put_number(&mut hello, 1, 1);
        put_bytes(&mut hello, 2, peer.token.as_bytes());
        put_number(&mut hello, 3, 1);
        put_bytes(&mut hello, 4, CLIENT);
        put_bytes(&mut frame, client::HELLO, &hello);
        carrier::put_header(&mut peer.out, self.options.websocket, frame.len());
        peer.out.extend_from_slice(&frame);
        self.touch(number);
    }

    /// The server knows the client: what was not accepted on an earlier connection is sent again, then it goes on.
    pub(super) fn welcome(&mut self, number: u32) -> Result<(), String> {
        let peer = &mut self.peers[number];
        if peer.stage != Stage::Greeting {
            return Err("a second welcome".into());
        }
        peer.stage = Stage::Open;
        self.times.login(self.now.saturating_sub(peer.began));
        self.opening -= 1;
        self.counts.open += 1;
        self.counts.logins += 1;
        self.counts.last_login = self.now;
        self.send_again(number);
        self.refill(number);
        Ok(())
    }

    /// Ends a client's connection, however far it is.
    pub(super) fn close(&mut self, number: u32) {
        let peer = &mut self.peers[number];
        match peer.stage {
            Stage::Away => return,
            Stage::Queued => {}
            Stage::Connecting | Stage::Upgrading | Stage::Greeting => self.opening -= 1,
            Stage::Open => self.counts.open -= 1,
        }
        self.counts.wanted -= 1;
        peer.stage = Stage::Away;
        peer.socket = None; // closes it, which takes it out of epoll
        peer.input = Vec::new();
        peer.out = Vec::new();
        (peer.blocked, peer.stalled) = (false, false);
        peer.new_receipts = !peer.receipts.is_empty();
        for &(_, member) in &peer.members {
            self.members[member].resume();
        }
    }

    /// The server ended a connection, or it broke.
    pub(super) fn ended(&mut self, number: u32, why: &str) {
        if !self.peers[number].roams {
            return self.fail(number, why);
        }
        self.counts.lost += 1;
        self.close(number);
        self.connect(&[number]);
    }
}

/// What epoll says of a client's connection.
pub(super) fn key(number: u32, peer: &Peer) -> u64 {
    u64::from(peer.connection) << 32 | u64::from(number)
}
