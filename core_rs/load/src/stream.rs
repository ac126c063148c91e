//! One client's messages to one conversation, in their order: what was sent, accepted, and is not in flight any more.

use std::collections::VecDeque;

use super::Flow;

/// When a message is in flight no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// It was accepted.
    Accepted,
    /// Its recipient's receipt has come: only in a direct conversation.
    Receipt,
    /// Every member of [`Main`](super::Group::Main) has it.
    Everyone,
}

/// A message that is still of interest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    /// When it was sent, ns.
    pub at: u64,
    /// Its number; 0 until it is accepted.
    pub seq: u64,
    /// Members that still lack it, if that is what is waited for.
    pub missing: u32,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub transcript: u32,
    pub sender: u32,
    /// In a direct conversation.
    pub recipient: Option<u32>,
    pub flow: Flow,
    pub sent: u32,
    pub accepted: u32,
    /// In flight no more.
    pub done: u32,
    /// The number of the last accepted one.
    last_seq: u64,
    /// The messages from `done` to `sent`.
    flights: VecDeque<Flight>,
    /// The highest seq that a receipt claimed.
    delivered: u64,
}

impl Stream {
    pub fn new(transcript: u32, sender: u32, recipient: Option<u32>, flow: Flow) -> Self {
        Self {
            transcript,
            sender,
            recipient,
            flow,
            sent: 0,
            accepted: 0,
            done: 0,
            last_seq: 0,
            flights: VecDeque::new(),
            delivered: 0,
        }
    }

    /// Whether it would send now if it could.
    pub fn wants(&self) -> bool {
        self.sent - self.done < self.flow.window && self.sent < self.flow.limit
    }

    /// A message leaves; its count.
    pub fn send(&mut self, at: u64, missing: u32) -> u32 {
        self.flights.push_back(Flight { at, seq: 0, missing });
        self.sent += 1;
        self.sent - 1
    }

    fn flight(&mut self, count: u32) -> Option<&mut Flight> {
        self.flights.get_mut(count.checked_sub(self.done)? as usize)
    }

    /// When a message that is not accepted yet was sent, ns.
    pub fn sent_at(&mut self, count: u32) -> u64 {
        self.flight(count).map_or(0, |flight| flight.at)
    }

    /// The message `count` was accepted as `seq`; when it was sent, ns.
    ///
    /// # Errors
    /// It is not the next one, or its number is not above the last one's.
    pub fn accept(&mut self, count: u32, seq: u64) -> Result<u64, String> {
        if count != self.accepted || count >= self.sent {
            return Err(format!("message {count} was accepted, and {} was the next one", self.accepted));
        }
        if seq <= self.last_seq {
            return Err(format!("message {count} was accepted as {seq}, and the one before as {}", self.last_seq));
        }
        (self.accepted, self.last_seq) = (count + 1, seq);
        let Some(flight) = self.flight(count) else { return Err(format!("message {count} was done before")) };
        flight.seq = seq;
        Ok(flight.at)
    }

    /// A member has the message `count`.
    pub fn arrived(&mut self, count: u32) {
        if let Some(flight) = self.flight(count) {
            flight.missing = flight.missing.saturating_sub(1);
        }
    }

    /// A receipt reached `seq`.
    pub fn receipted(&mut self, seq: u64) {
        self.delivered = self.delivered.max(seq);
    }

    /// The next message that is in flight no more: when it was sent, ns.
    pub fn next_done(&mut self) -> Option<u64> {
        let first = self.flights.front()?;
        let over = first.seq != 0
            && match self.flow.until {
                Until::Accepted => true,
                Until::Receipt => first.seq <= self.delivered,
                Until::Everyone => first.missing == 0,
            };
        if !over {
            return None;
        }
        self.done += 1;
        self.flights.pop_front().map(|flight| flight.at)
    }

    /// What is not as it should be at the end.
    pub fn unfinished(&self) -> Option<String> {
        if self.accepted < self.sent {
            return Some(format!("{} messages sent, {} accepted", self.sent, self.accepted));
        }
        (self.done < self.sent).then(|| match self.flow.until {
            Until::Receipt => format!("{} messages sent, a receipt for {}", self.sent, self.done),
            _ => format!("{} messages sent, everybody has {}", self.sent, self.done),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(until: Until) -> Stream {
        Stream::new(0, 0, None, Flow { window: 2, limit: 3, until })
    }

    #[test]
    fn a_window_is_full_until_the_oldest_is_done() {
        let mut stream = stream(Until::Receipt);
        assert_eq!((stream.send(10, 0), stream.send(20, 0)), (0, 1));
        assert!(!stream.wants());
        assert_eq!(stream.accept(0, 5), Ok(10));
        assert_eq!(stream.next_done(), None);
        stream.receipted(5);
        assert_eq!((stream.next_done(), stream.next_done()), (Some(10), None));
        assert!(stream.wants());
        stream.send(30, 0);
        assert_eq!(stream.accept(1, 6), Ok(20));
        stream.receipted(6);
        assert_eq!(stream.next_done(), Some(20));
        assert!(!stream.wants(), "three were to be sent");
        assert!(stream.unfinished().is_some());
    }

    #[test]
    fn a_receipt_that_is_there_before_its_accepted_counts_once_that_comes() {
        let mut stream = stream(Until::Receipt);
        stream.send(10, 0);
        stream.receipted(9);
        assert_eq!(stream.next_done(), None);
        assert_eq!(stream.accept(0, 9), Ok(10));
        assert_eq!(stream.next_done(), Some(10));
        assert_eq!(stream.unfinished(), None);
    }

    #[test]
    fn accepted_comes_in_order_with_growing_numbers_and_not_twice() {
        let mut stream = stream(Until::Accepted);
        stream.send(1, 0);
        stream.send(2, 0);
        assert!(stream.accept(1, 1).is_err());
        assert!(stream.accept(0, 4).is_ok());
        assert!(stream.accept(0, 4).is_err());
        assert!(stream.accept(1, 4).is_err());
        assert!(stream.accept(1, 5).is_ok());
        assert!(stream.accept(2, 6).is_err(), "it was never sent");
    }

    #[test]
    fn everyone_has_to_have_it() {
        let mut stream = stream(Until::Everyone);
        stream.send(10, 2);
        stream.accept(0, 2).unwrap();
        stream.arrived(0);
        assert_eq!(stream.next_done(), None);
        stream.arrived(0);
        assert_eq!(stream.next_done(), Some(10));
    }
}
