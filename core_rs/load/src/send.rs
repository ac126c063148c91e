//! What clients say: messages, acks, the making of groups. All of a turn leaves in one write for each client.

use std::os::fd::AsFd;

use super::carrier::put_header;
use super::connect::key;
use super::frames::{CONVERSATION, bytes_len, client, put_bytes, put_head, put_number, put_varint, varint_len};
use super::net::EventFlags;
use super::peer::Sent;
use super::stream::Until;
use super::{Group, Load, body, net};

/// A client acknowledges after so many messages …
const ACK_EVERY: u32 = 16;
/// … or so long after the first of them, ns.
const ACK_NS: u64 = 100_000_000;
/// A client has at most so many messages that are not accepted: below the 256 above which it would not be read.
pub(super) const WAITING: usize = 240;
/// Most messages that an ack may confirm.
const CONFIRMED: usize = 256;
/// An output buffer that grew beyond this many bytes is given back when it is empty.
const KEPT: usize = 16 << 10;
/// In an id the number of a stream, or with this bit that of a group that is to be made.
const MADE: u32 = 1 << 31;

/// How the making of a group is called in its message's id.
pub(super) fn group_number(transcript: u32) -> u32 {
    MADE | transcript
}

/// The reverse; `None` for a stream.
pub(super) fn group_of(stream: u32) -> Option<u32> {
    (stream & MADE != 0).then_some(stream & !MADE)
}

impl Load {
    /// Streams with a window keep it full from now on, or are left as they are.
    pub fn send(&mut self, on: bool) {
        self.sending = on;
        self.now = net::clock_ns();
        for peer in 0..self.peers.len() {
            self.refill(peer);
        }
    }

    /// So many more messages in every stream that has a window, at most.
    pub fn allow(&mut self, more: u32) {
        for stream in 0..self.streams.len() {
            let stream = &mut self.streams[stream];
            if stream.flow.window > 0 {
                stream.flow.limit = stream.sent.saturating_add(more);
            }
        }
    }

    /// Asks for all groups that are not made yet.
    pub fn create_groups(&mut self) {
        for transcript in 0..self.transcripts.len() {
            if !self.transcripts[transcript].ready {
                self.counts.groups_to_make += 1;
                self.counts.owed += self.transcripts[transcript].members.len() as u64;
                let sent = Sent { stream: group_number(transcript), count: 0 };
                if let Some(&owner) = self.transcripts[transcript].group.as_deref().and_then(<[u32]>::first) {
                    self.peers[owner].waiting.push_back(sent);
                    self.put_manage(owner, transcript);
                }
            }
        }
    }

    /// Sends of a client as many messages as its streams want.
    pub(super) fn refill(&mut self, number: u32) {
        if !self.sending || !self.peers[number].speaks() {
            return;
        }
        let mut idle = 0;
        loop {
            let peer = &mut self.peers[number];
            let all = peer.streams.len();
            peer.held = peer.waiting.len() >= WAITING;
            if idle >= all || peer.held {
                return;
            }
            let at = peer.turn as usize % all;
            peer.turn = at as u32 + 1;
            let Some(&stream) = peer.streams.get(at) else { return };
            if self.streams[stream].wants() && self.transcripts[self.streams[stream].transcript].ready {
                self.send_message(stream, self.now);
                idle = 0;
            } else {
                idle += 1;
            }
        }
    }

    /// Sends the next message of a stream, as of `at`.
    pub(super) fn send_message(&mut self, number: u32, at: u64) {
        let missing = match self.streams[number].flow.until {
            Until::Everyone => self.main_recipients(number),
            _ => 0,
        };
        let stream = &mut self.streams[number];
        let count = stream.send(at, missing);
        let transcript = &mut self.transcripts[stream.transcript];
        transcript.sent += 1;
        self.counts.sent += 1;
        self.counts.unaccepted += 1;
        self.counts.in_flight += 1;
        self.counts.owed += transcript.members.len().saturating_sub(1) as u64;
        let sender = stream.sender;
        self.peers[sender].waiting.push_back(Sent { stream: number, count });
        self.put_send(sender, number, count, at);
        let peer = &self.peers[sender];
        if peer.accepted.len() >= ACK_EVERY as usize {
            self.put_ack(sender, None);
        }
    }

    /// How many clients of the main group get a stream's messages.
    fn main_recipients(&self, stream: u32) -> u32 {
        let stream = &self.streams[stream];
        let others = self.transcripts[stream.transcript].members.iter().map(|member| self.members[*member].peer);
        others.filter(|peer| *peer != stream.sender && self.peers[*peer].group == Group::Main).count() as u32
    }

    /// What was not accepted on the last connection, in its order.
    pub(super) fn send_again(&mut self, number: u32) {
        for at in 0..self.peers[number].waiting.len() {
            let Some(&Sent { stream, count }) = self.peers[number].waiting.get(at) else { return };
            match group_of(stream) {
                Some(transcript) => self.put_manage(number, transcript),
                None => {
                    let sent_at = self.streams[stream].sent_at(count);
                    self.put_send(number, stream, count, sent_at);
                }
            }
        }
    }

    // Frames.

    fn put_send(&mut self, peer: u32, stream: u32, count: u32, at: u64) {
        let recipient = self.streams[stream].recipient.map(|recipient| &*self.peers[recipient].name);
        let conversation = self.transcripts[self.streams[stream].transcript].id.to_be_bytes();
        let (field, target) = match recipient {
            Some(name) => (2, name.as_bytes()),
            None => (3, &conversation[..]),
        };
        let body = self.bodies.len();
        let inner = bytes_len(body::ID) + bytes_len(target.len()) + bytes_len(body);
        // The frame is written aside when the name of the recipient is another client's.
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        put_header(&mut out, self.options.websocket, bytes_len(inner));
        put_head(&mut out, client::SEND, inner);
        put_bytes(&mut out, 1, &self.bodies.id(stream, count));
        put_bytes(&mut out, field, target);
        put_head(&mut out, 5, body);
        self.bodies.put(&mut out, stream, count, at);
        self.peers[peer].out.extend_from_slice(&out);
        self.scratch = out;
        self.touch(peer);
    }

    fn put_manage(&mut self, peer: u32, transcript: u32) {
        let (mut created, mut change, mut manage, mut frame) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for member in self.transcripts[transcript].group.iter().flatten().filter(|member| **member != peer) {
            put_bytes(&mut created, 1, self.peers[*member].name.as_bytes());
        }
        let mut profile = Vec::new();
        put_bytes(&mut profile, 1, b"bench");
        put_bytes(&mut created, 2, &profile);
        put_bytes(&mut change, 1, &created);
        put_bytes(&mut manage, 1, &self.bodies.id(group_number(transcript), 0));
        put_bytes(&mut manage, 3, &change);
        put_bytes(&mut frame, client::MANAGE, &manage);
        self.put_frame(peer, &frame);
    }

    pub(super) fn pong(&mut self, peer: u32, nonce: u64) {
        let (mut pong, mut frame) = (Vec::new(), Vec::new());
        put_number(&mut pong, 1, nonce);
        put_bytes(&mut frame, client::PONG, &pong);
        self.put_frame(peer, &frame);
    }

    fn put_frame(&mut self, peer: u32, frame: &[u8]) {
        put_header(&mut self.peers[peer].out, self.options.websocket, frame.len());
        self.peers[peer].out.extend_from_slice(frame);
        self.touch(peer);
    }

    /// Acknowledges what a client has in a conversation; what else the server should know rides along.
    fn put_ack(&mut self, number: u32, member: Option<u32>) {
        let heard = member.map(|member| {
            let member = &mut self.members[member];
            member.unacked = 0;
            (self.transcripts[member.transcript].id.to_be_bytes(), member.heard)
        });
        let peer = &mut self.peers[number];
        let ack = &mut self.scratch;
        ack.clear();
        if let Some((conversation, seq)) = heard {
            put_bytes(ack, 1, &conversation);
            put_number(ack, 2, seq);
        }
        if std::mem::take(&mut peer.new_receipts) {
            put_bytes(ack, 3, &peer.receipts);
        }
        let accepted = peer.accepted.len().min(CONFIRMED);
        for run in peer.accepted.drain(..accepted).as_slice().chunk_by(|a, b| a.0 == b.0) {
            let seqs = run.iter().map(|(_, seq)| varint_len(*seq)).sum();
            put_head(ack, 4, bytes_len(CONVERSATION) + bytes_len(seqs));
            put_bytes(ack, 1, &run.first().map_or([0; CONVERSATION], |(id, _)| id.to_be_bytes()));
            put_head(ack, 2, seqs);
            run.iter().for_each(|(_, seq)| put_varint(ack, *seq));
        }
        put_header(&mut peer.out, self.options.websocket, bytes_len(ack.len()));
        put_bytes(&mut peer.out, client::ACK, ack);
        self.touch(number);
    }

    // Acks.

    /// A message came that is to be acknowledged, sooner or later.
    pub(super) fn want_ack(&mut self, place: u32) {
        let member = &mut self.members[place];
        member.unacked += 1;
        if self.options.ack_at_once {
            if !member.listed {
                member.listed = true;
                self.read_acks.push(place);
            }
        } else if member.unacked >= ACK_EVERY {
            let peer = member.peer;
            self.put_ack(peer, Some(place));
        } else if !member.listed {
            member.listed = true;
            self.acks.push_back((self.now + ACK_NS, place));
        }
    }

    /// Everything that a client's socket had was looked at.
    pub(super) fn end_of_read(&mut self) {
        while let Some(place) = self.read_acks.pop() {
            self.members[place].listed = false;
            self.ack_rest(place);
        }
    }

    /// Acks that have waited long enough.
    pub(super) fn late_acks(&mut self) {
        while let Some(&(due, place)) = self.acks.front() {
            if due > self.now {
                return;
            }
            self.acks.pop_front();
            self.members[place].listed = false;
            self.ack_rest(place);
        }
    }

    /// When the next of them has, ns.
    pub(super) fn next_late_ack(&self) -> Option<u64> {
        self.acks.front().map(|(due, _)| *due)
    }

    /// Acknowledges what is left, if the client can.
    pub(super) fn ack_rest(&mut self, place: u32) {
        let (peer, unacked) = (self.members[place].peer, self.members[place].unacked);
        if unacked > 0 && self.peers[peer].speaks() {
            self.put_ack(peer, Some(place));
        }
    }

    // Writing.

    /// Something is to be written.
    pub(super) fn touch(&mut self, number: u32) {
        let peer = &mut self.peers[number];
        if !peer.dirty {
            peer.dirty = true;
            self.dirty.push(number);
        }
    }

    /// Writes what all clients say.
    pub(super) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for number in dirty.drain(..) {
            self.peers[number].dirty = false;
            self.write(number);
        }
        if self.dirty.is_empty() {
            self.dirty = dirty;
        }
    }

    /// Writes what a client says, as far as its socket takes it.
    pub(super) fn write(&mut self, number: u32) {
        let peer = &mut self.peers[number];
        let Some(socket) = peer.socket.as_ref().filter(|_| !peer.blocked && !peer.out.is_empty()) else { return };
        match net::write(socket.as_fd(), &peer.out) {
            Ok(len) if len == peer.out.len() => {
                if peer.out.capacity() > KEPT {
                    peer.out = Vec::new();
                }
                peer.out.clear();
            }
            Ok(len) => {
                peer.out.drain(..len);
                peer.blocked = true;
                // Fails for one that does not read at the moment: it is watched again when it does.
                let _ = self.poll.modify(socket, key(number, peer), EventFlags::IN | EventFlags::OUT);
            }
            Err(error) => self.ended(number, &format!("the connection broke: {error}")),
        }
    }
}
