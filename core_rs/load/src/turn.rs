//! The loop: wait, read, act, write.

use std::io;
use std::os::fd::BorrowedFd;

use super::Load;
use super::net::{self, EventFlags, Poll};
use super::peer::Stage;

/// One read takes at most so much.
const READ_BYTES: usize = 256 << 10;
/// What epoll says of the descriptor that ends a wait.
const WAKE: u64 = u64::MAX;

/// Why a run of turns is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The time is.
    Time,
    /// The descriptor that was given has something to read.
    Woken,
    /// See [`Load::trouble`].
    Trouble,
}

impl Load {
    /// Turns for so long; less if `wake` becomes readable, or if something is wrong.
    ///
    /// # Errors
    /// Of epoll: `wake` cannot be watched.
    pub fn run(&mut self, at_most_ms: u64, wake: Option<BorrowedFd<'_>>) -> io::Result<Ended> {
        if let Some(wake) = wake {
            self.poll.add(wake, WAKE, EventFlags::IN)?;
        }
        let ended = self.turns(at_most_ms);
        if let Some(wake) = wake {
            self.poll.delete(wake);
        }
        ended
    }

    fn turns(&mut self, at_most_ms: u64) -> io::Result<Ended> {
        let mut events = Poll::events();
        let mut buffer = vec![0; READ_BYTES];
        self.now = net::clock_ns();
        let end = self.now.saturating_add(at_most_ms.saturating_mul(1_000_000));
        loop {
            self.flush();
            if !self.trouble.is_empty() {
                return Ok(Ended::Trouble);
            }
            if self.now >= end {
                return Ok(Ended::Time);
            }
            let woken = self.turn(&mut events, &mut buffer, end)?;
            if woken {
                self.flush();
                return Ok(if self.trouble.is_empty() { Ended::Woken } else { Ended::Trouble });
            }
        }
    }

    fn turn(&mut self, events: &mut Vec<net::Event>, buffer: &mut [u8], end: u64) -> io::Result<bool> {
        let due = [Some(end), self.behaviour.next(), self.next_late_ack()].into_iter().flatten().min().unwrap_or(end);
        let wait = if self.can_open() { 0 } else { due.saturating_sub(net::clock_ns()) };
        self.poll.wait(events, wait)?;
        self.now = net::clock_ns();
        self.counts.turns += 1;
        let mut woken = false;
        for event in events.drain(..) {
            match event.data.u64() {
                WAKE => woken = true,
                key => self.event(key, event.flags, buffer),
            }
        }
        self.late_acks();
        self.act();
        self.open_queued();
        Ok(woken)
    }

    fn event(&mut self, key: u64, flags: EventFlags, buffer: &mut [u8]) {
        let number = key as u32;
        // Of a connection that ended in this very turn, perhaps.
        let current = |peer: &&super::Peer| super::connect::key(number, peer) == key && peer.socket.is_some();
        let Some(peer) = self.peers.get(number).filter(current) else { return };
        if peer.stage == Stage::Connecting {
            return self.finish_connect(number);
        }
        if flags.contains(EventFlags::OUT) {
            let peer = &mut self.peers[number];
            peer.blocked = false;
            if let Some(socket) = &peer.socket {
                let _ = self.poll.modify(socket, key, EventFlags::IN);
            }
            self.write(number);
        }
        if flags.intersects(!EventFlags::OUT) {
            self.readable(number, buffer);
        }
    }
}
