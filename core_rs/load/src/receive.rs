//! What the server tells is held against what was sent: count, order, numbers, bodies, receipts.

use std::os::fd::AsFd;

use super::body::Mark;
use super::carrier::{self, Taken};
use super::frames::{self, Frame, Message};
use super::member::Came;
use super::peer::{Sent, Stage};
use super::stream::Until;
use super::{Group, Load, net, send};

type Checked = Result<(), String>;

impl Load {
    /// A client's socket has something: one read, and all that is in it.
    pub(super) fn readable(&mut self, number: u32, buffer: &mut [u8]) {
        let peer = &mut self.peers[number];
        let Some(socket) = &peer.socket else { return };
        let came = match net::read(socket.as_fd(), buffer) {
            Ok(None) => return,
            Ok(Some(0)) => return self.ended(number, "the server closed the connection"),
            Ok(Some(len)) => buffer.get(..len).unwrap_or_default(),
            Err(error) => return self.ended(number, &format!("the connection broke: {error}")),
        };
        self.now = net::clock_ns();
        let connection = peer.connection;
        let mut input = std::mem::take(&mut peer.input);
        if input.is_empty() {
            let used = self.take_frames(number, came);
            input.extend_from_slice(came.get(used..).unwrap_or_default());
        } else {
            input.extend_from_slice(came);
            let used = self.take_frames(number, &input);
            input.drain(..used);
        }
        let peer = &mut self.peers[number];
        if peer.connection == connection && peer.socket.is_some() {
            peer.input = if input.is_empty() { Vec::new() } else { input };
        }
        self.end_of_read();
    }

    /// How many of the bytes were whole frames.
    fn take_frames(&mut self, number: u32, bytes: &[u8]) -> usize {
        let connection = self.peers[number].connection;
        let mut rest = bytes;
        if self.peers[number].stage == Stage::Upgrading {
            match carrier::take_answer(rest) {
                Ok(Some(len)) => rest = rest.get(len..).unwrap_or_default(),
                Ok(None) => return 0,
                Err(what) => {
                    self.fail(number, &what);
                    return 0;
                }
            }
            self.greet(number);
        }
        while self.trouble.is_empty() {
            let checked = match carrier::take(&mut rest, self.options.websocket) {
                Taken::Frame(payload) => self.frame(number, payload),
                Taken::Incomplete => break,
                Taken::Ping(payload) => {
                    carrier::put_pong(&mut self.peers[number].out, payload);
                    self.touch(number);
                    Ok(())
                }
                Taken::Pong => Ok(()),
                Taken::Close(code, reason) => {
                    let reason = String::from_utf8_lossy(reason);
                    self.ended(number, &format!("the server closed the connection: {code} {reason}"));
                    Ok(())
                }
                Taken::Bad(what) => Err(what.to_owned()),
            };
            if let Err(what) = checked {
                self.fail(number, &what);
            }
            let peer = &self.peers[number];
            if peer.connection != connection || peer.socket.is_none() {
                break;
            }
        }
        bytes.len() - rest.len()
    }

    fn frame(&mut self, number: u32, payload: &[u8]) -> Checked {
        match frames::decode(payload).map_err(|_| "bytes that are no frame")? {
            Frame::Message(message) => self.message(number, &message),
            Frame::Accepted { id, conversation, seq } => self.accepted(number, id, conversation, seq),
            Frame::Receipt { conversation, delivered, version } => {
                self.receipt(number, conversation, delivered, version)
            }
            Frame::Ping(nonce) => {
                self.pong(number, nonce);
                Ok(())
            }
            Frame::Group => {
                self.counts.snapshots += 1;
                Ok(())
            }
            Frame::Welcome => self.welcome(number),
            Frame::Skip { from, to, reason, user } => {
                let whom = if user.is_empty() { "it".into() } else { String::from_utf8_lossy(user) };
                Err(format!("messages {from} to {to} will never reach {whom} (reason {reason})"))
            }
            Frame::Error { code, message } => {
                let (code, message) = (String::from_utf8_lossy(code), String::from_utf8_lossy(message));
                Err(format!("the server says {code}: {message}"))
            }
            Frame::Goodbye(reason) => Err(format!("the server says goodbye: {}", String::from_utf8_lossy(reason))),
            Frame::Replaced => Err("somebody else uses its token".into()),
            Frame::Other => Ok(()),
        }
    }

    fn message(&mut self, number: u32, message: &Message<'_>) -> Checked {
        let seq = message.seq;
        let peer = &self.peers[number];
        let place = peer.member_in(message.conversation).ok_or("a message of a conversation that it is not in")?;
        let transcript = self.members[place].transcript;
        let sent = if message.change {
            let made = seq == 1 && self.transcripts[transcript].group.is_some();
            made.then_some(None).ok_or("a change that nobody made")?
        } else {
            let mark = self.bodies.mark(message.id).ok_or_else(|| format!("message {seq} has an unknown id"))?;
            let stream = self.streams.get(mark.stream);
            let sent = stream.is_some_and(|s| s.transcript == transcript && s.sender != number && mark.count < s.sent);
            let at = self.bodies.check(mark, message.body).filter(|_| sent);
            let at = at.ok_or_else(|| format!("message {seq} is not what was sent, or nobody sent it here"))?;
            self.transcripts[transcript].place(seq, mark)?;
            Some((mark, at))
        };
        let (streams, waiting) = (&self.streams, &peer.waiting);
        let ours = |sent: &&Sent| streams.get(sent.stream).is_some_and(|stream| stream.transcript == transcript);
        match self.members[place].receive(seq, || waiting.iter().filter(ours).count())? {
            Came::Again => self.counts.repeated += 1,
            Came::New => {
                self.counts.owed -= 1;
                if let Some((mark, at)) = sent {
                    self.delivered(number, mark, at);
                }
            }
        }
        self.want_ack(place);
        Ok(())
    }

    /// A message reached somebody for the first time.
    fn delivered(&mut self, number: u32, mark: Mark, at: u64) {
        let (group, began) = (self.peers[number].group, self.peers[number].began);
        self.times.delivery(group, self.now.saturating_sub(at.max(began)), at < began);
        self.counts.deliveries += 1;
        self.counts.last_delivery = self.now;
        match group {
            Group::Main => {
                self.counts.deliveries_main += 1;
                self.counts.last_delivery_main = self.now;
            }
            Group::Others => self.counts.deliveries_others += 1,
            Group::Aside => {}
        }
        let stream = &mut self.streams[mark.stream];
        if stream.flow.until == Until::Everyone && group == Group::Main {
            stream.arrived(mark.count);
            self.advance(mark.stream);
        }
    }

    fn accepted(&mut self, number: u32, id: &[u8], conversation: u128, seq: u64) -> Checked {
        let mark = self.bodies.mark(id).ok_or("something was accepted that it did not send")?;
        let peer = &mut self.peers[number];
        let first = peer.waiting.front().copied();
        if first != Some(Sent { stream: mark.stream, count: mark.count }) {
            return Err(format!("message {} was accepted out of order", mark.count));
        }
        peer.waiting.pop_front();
        peer.accepted.push((conversation, seq));
        let place = peer.member_in(conversation).ok_or("accepted in a conversation that it is not in")?;
        if let Some(transcript) = send::group_of(mark.stream) {
            // Unlike a message, a change comes to the device that wanted it, too.
            return self.group_made(transcript, seq);
        }
        self.members[place].own(seq)?;
        let stream = &mut self.streams[mark.stream];
        let at = stream.accept(mark.count, seq)?;
        if self.members[place].transcript != stream.transcript {
            return Err(format!("message {} was accepted in another conversation", mark.count));
        }
        let transcript = &mut self.transcripts[stream.transcript];
        transcript.place(seq, mark)?;
        transcript.accepted += 1;
        self.times.accept(self.peers[number].group, self.now.saturating_sub(at));
        self.counts.accepted += 1;
        self.counts.unaccepted -= 1;
        self.advance(mark.stream);
        Ok(())
    }

    fn group_made(&mut self, transcript: u32, seq: u64) -> Checked {
        if seq != 1 {
            return Err(format!("a new group begins with number {seq}"));
        }
        self.counts.groups_to_make -= 1;
        self.transcripts[transcript].ready = true;
        for peer in self.transcripts[transcript].group.clone().unwrap_or_default() {
            self.refill(peer);
        }
        Ok(())
    }

    fn receipt(&mut self, number: u32, conversation: Option<u128>, delivered: u64, version: &[u8]) -> Checked {
        self.counts.receipts += 1;
        let peer = &mut self.peers[number];
        if !version.is_empty() {
            peer.receipts = version.into();
            peer.new_receipts = true;
        }
        let Some(conversation) = conversation else { return Ok(()) };
        let place = peer.member_in(conversation).ok_or("a receipt for a conversation that it is not in")?;
        let member = &self.members[place];
        let transcript = &self.transcripts[member.transcript];
        if delivered > transcript.highest() {
            return Err(format!("a receipt for message {delivered}, and the last is {}", transcript.highest()));
        }
        let Some(stream) = member.stream.filter(|_| transcript.group.is_none()) else { return Ok(()) };
        if let Some(other) = transcript.members.iter().find(|other| **other != place) {
            let other = &self.members[*other];
            // A cursor passes over its owner's own messages, also over such as their sender has not heard of yet.
            let has = other.last() + self.peers[other.peer].waiting.len() as u64;
            if delivered > has {
                return Err(format!("a receipt for message {delivered}, and the other has those up to {has}"));
            }
        }
        self.streams[stream].receipted(delivered);
        self.advance(stream);
        Ok(())
    }

    /// What is in flight no more makes room.
    fn advance(&mut self, number: u32) {
        let stream = &mut self.streams[number];
        let sender = stream.sender;
        let group = self.peers[sender].group;
        while let Some(at) = stream.next_done() {
            self.times.done(group, self.now.saturating_sub(at));
            self.counts.done += 1;
            self.counts.in_flight -= 1;
        }
        if stream.wants() || self.peers[sender].held {
            self.refill(sender);
        }
    }
}
