//! A client's place in a conversation: what it has, without a gap, and what it acknowledged.
//!
//! A client's own messages do not come back, so that their numbers are missing between those that come. It learns them
//! with `accepted`, before or after: until then a missing number is a *hole*, and there are never more of them than it has
//! messages that were not accepted.

/// As many numbers at most may be missing at once: more than anybody has in flight.
const MOST_HOLES: u64 = 4096;

#[derive(Debug, Default)]
pub(super) struct Member {
    pub transcript: u32,
    pub peer: u32,
    /// Its own messages here.
    pub stream: Option<u32>,
    /// It has everything up to this number, holes aside.
    last: u64,
    holes: Vec<u64>,
    /// Numbers of its own messages above `last`.
    ahead: Vec<u64>,
    /// The last number on this connection.
    line: u64,
    /// It was connected before: what comes may be a repeat.
    resumed: bool,
    /// The highest number that came, and that is to be acknowledged.
    pub heard: u64,
    /// Messages since the last ack.
    pub unacked: u32,
    /// Listed for an ack.
    pub listed: bool,
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    New,
    /// Again, on a new connection, because the server does not know that it arrived.
    Again,
}

impl Member {
    pub fn new(transcript: u32, peer: u32) -> Self {
        Self { transcript, peer, ..Self::default() }
    }

    /// Up to which number it has everything, its own messages included.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The connection is a new one.
    pub fn resume(&mut self) {
        self.line = 0;
        self.unacked = 0;
        self.resumed = true;
    }

    /// Somebody else's message came; `own` tells how many of its own messages are sent and not yet accepted.
    ///
    /// # Errors
    /// It came before, or out of order, or others are missing before it.
    #[inline]
    pub fn receive(&mut self, seq: u64, own: impl FnOnce() -> usize) -> Result<Came, String> {
        if seq <= self.line {
            return Err(format!("message {seq} came after message {} on one connection", self.line));
        }
        self.line = seq;
        if seq <= self.last {
            return match self.resumed && !self.holes.contains(&seq) && !self.ahead.contains(&seq) {
                true => Ok(Came::Again),
                false => Err(format!("message {seq} came, and everything up to {} was there", self.last)),
            };
        }
        self.heard = seq;
        if seq == self.last + 1 {
            self.last = seq;
        } else {
            self.jump(seq, own())?;
        }
        self.absorb();
        Ok(Came::New)
    }

    fn jump(&mut self, seq: u64, own: usize) -> Result<(), String> {
        let last = self.last;
        let gap = || Err(format!("message {seq} came after {last}: those between are missing"));
        if seq - last > MOST_HOLES {
            return gap();
        }
        for missing in last + 1..seq {
            match self.ahead.iter().position(|own| *own == missing) {
                Some(at) => _ = self.ahead.swap_remove(at),
                None => self.holes.push(missing),
            }
        }
        self.last = seq;
        if self.holes.len() > own { gap() } else { Ok(()) }
    }

    /// One of its own messages has this number.
    ///
    /// # Errors
    /// Somebody else's message has it.
    pub fn own(&mut self, seq: u64) -> Result<(), String> {
        if seq == self.last + 1 {
            self.last = seq;
            self.absorb();
            return Ok(());
        }
        if seq > self.last {
            self.ahead.push(seq);
            return Ok(());
        }
        match self.holes.iter().position(|hole| *hole == seq) {
            Some(at) => _ = self.holes.swap_remove(at),
            None => return Err(format!("accepted as {seq}, which is the number of another message")),
        }
        Ok(())
    }

    fn absorb(&mut self) {
        while let Some(at) = self.ahead.iter().position(|own| *own == self.last + 1) {
            self.ahead.swap_remove(at);
            self.last += 1;
        }
    }

    /// What is not as it should be at the end, when `head` is the conversation's last number.
    pub fn unfinished(&self, head: u64) -> Option<String> {
        if !self.holes.is_empty() {
            return Some(format!("{} messages never came, {:?} among them", self.holes.len(), self.holes.first()?));
        }
        (self.last != head).then(|| format!("has messages up to {} of {head}", self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn none() -> usize {
        0
    }

    #[test]
    fn a_gap_a_repeat_and_a_wrong_order_are_noticed() {
        let mut member = Member::new(0, 0);
        assert_eq!(member.receive(1, none), Ok(Came::New));
        assert_eq!(member.receive(2, none), Ok(Came::New));
        assert!(member.receive(2, none).is_err());
        assert!(member.receive(1, none).is_err());
        let mut member = Member::new(0, 0);
        assert!(member.receive(2, none).is_err());
    }

    #[test]
    fn what_comes_again_on_a_new_connection_is_a_repeat_but_in_order() {
        let mut member = Member::new(0, 0);
        for seq in 1..=5 {
            assert_eq!(member.receive(seq, none), Ok(Came::New));
        }
        member.resume();
        assert_eq!(member.receive(3, none), Ok(Came::Again));
        assert!(member.receive(3, none).is_err());
        assert_eq!(member.receive(4, none), Ok(Came::Again));
        assert_eq!(member.receive(5, none), Ok(Came::Again));
        assert_eq!(member.receive(6, none), Ok(Came::New));
        assert_eq!(member.heard, 6);
        member.resume();
        assert!(member.receive(8, none).is_err());
    }

    #[test]
    fn numbers_that_are_missing_may_be_one_s_own_as_long_as_so_many_are_under_way() {
        let mut member = Member::new(0, 0);
        assert_eq!(member.receive(3, || 2), Ok(Came::New));
        assert!(member.unfinished(3).is_some());
        assert!(member.own(3).is_err());
        assert_eq!(member.own(1), Ok(()));
        assert_eq!(member.own(2), Ok(()));
        assert_eq!(member.unfinished(3), None);
        assert!(member.receive(6, || 1).is_err());
    }

    proptest! {
        #[test]
        fn whatever_the_order_of_messages_and_accepted_everything_is_there(
            mine in proptest::collection::vec(any::<bool>(), 1..60),
            late in proptest::collection::vec(any::<bool>(), 60),
        ) {
            let mut member = Member::new(0, 0);
            let mut owed = Vec::new();
            let total = mine.iter().filter(|mine| **mine).count();
            let mut told = 0;
            for (at, (mine, late)) in mine.iter().zip(&late).enumerate() {
                let seq = at as u64 + 1;
                match (mine, late) {
                    (true, true) => owed.push(seq),
                    (true, false) => {
                        for own in owed.drain(..).chain([seq]) {
                            prop_assert_eq!(member.own(own), Ok(()));
                            told += 1;
                        }
                    }
                    (false, _) => prop_assert_eq!(member.receive(seq, || total - told), Ok(Came::New)),
                }
            }
            for own in owed {
                prop_assert_eq!(member.own(own), Ok(()));
            }
            prop_assert_eq!(member.unfinished(mine.len() as u64), None);
        }
    }
}
