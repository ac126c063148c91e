//! A conversation as all its ends should see it: which message has which number.

use sha2::{Digest, Sha256};

use super::body::Mark;

/// A number further on than that is no number, but nonsense.
const FARTHEST: u64 = 1 << 32;

#[derive(Debug)]
pub(super) struct Transcript {
    pub id: u128,
    /// Clients, the owner first; only of a group.
    pub group: Option<Box<[u32]>>,
    /// Messages can be sent: a group is made.
    pub ready: bool,
    pub members: Vec<u32>,
    streams: u32,
    /// The number of the first message.
    first: u64,
    pub sent: u64,
    pub accepted: u64,
    /// Which message has which number, from `first` on, as whoever came first was told; only where more than one writes.
    order: Vec<Option<Mark>>,
}

impl Transcript {
    pub fn direct(id: u128) -> Self {
        Self::new(id, None)
    }

    pub fn group(members: &[u32]) -> Self {
        Self::new(0, Some(members.into()))
    }

    fn new(id: u128, group: Option<Box<[u32]>>) -> Self {
        Self {
            id,
            ready: group.is_none(),
            // A group begins with the change that made it.
            first: if group.is_some() { 2 } else { 1 },
            group,
            members: Vec::new(),
            streams: 0,
            sent: 0,
            accepted: 0,
            order: Vec::new(),
        }
    }

    pub fn add_stream(&mut self) {
        self.streams += 1;
    }

    /// The number of the last message, as far as it is known; nothing that is told may be above [`Transcript::highest`].
    pub fn head(&self) -> u64 {
        if self.ready { self.first - 1 + self.accepted } else { 0 }
    }

    /// The number of the last message if all that was sent is accepted.
    pub fn highest(&self) -> u64 {
        self.first - 1 + self.sent
    }

    /// Holds what one end was told against what the others were.
    ///
    /// # Errors
    /// It is another message that has this number, or none can have it.
    #[inline]
    pub fn place(&mut self, seq: u64, mark: Mark) -> Result<(), String> {
        let Some(at) = seq.checked_sub(self.first) else { return Err(format!("number {seq} is a message's")) };
        if self.streams == 1 {
            return match at == u64::from(mark.count) {
                true => Ok(()),
                false => Err(format!("message {} has the number {seq}, not {}", mark.count, at_seq(self.first, mark))),
            };
        }
        if at >= self.sent.min(FARTHEST) {
            return Err(format!("number {seq}, and only {} messages were sent", self.sent));
        }
        let at = at as usize;
        if self.order.len() <= at {
            self.order.resize(at + 1, None);
        }
        match self.order.get_mut(at) {
            Some(Some(known)) if *known != mark => Err(format!("number {seq} is that of two messages")),
            Some(place) => {
                *place = Some(mark);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

fn at_seq(first: u64, mark: Mark) -> u64 {
    first + u64::from(mark.count)
}

/// The id of a direct conversation (docs/wire.md).
pub(super) fn direct_id(one: &str, other: &str) -> u128 {
    let (low, high) = if one.as_bytes() <= other.as_bytes() { (one, other) } else { (other, one) };
    id_of(&[b"direct\0", low.as_bytes(), b"\0", high.as_bytes()])
}

/// The id of a group that device 1 of a user makes with this message id (docs/wire.md).
pub(super) fn group_id(creator: &str, id: &[u8]) -> u128 {
    id_of(&[b"group\0", creator.as_bytes(), b"\0", &1u32.to_be_bytes(), b"\0", id])
}

fn id_of(parts: &[&[u8]]) -> u128 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let digest = hash.finalize();
    digest.first_chunk().map_or(0, |first| u128::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_documentation() {
        let ann_and_bob = 0xa1b8_fa77_e6fc_f526_ad43_106f_a5a0_6246;
        assert_eq!(direct_id("ann", "bob"), ann_and_bob);
        assert_eq!(direct_id("bob", "ann"), ann_and_bob);
        assert_eq!(direct_id("ann", "ann"), 0x8e03_2835_e9f1_bf72_90e4_0ef9_04f8_d28b);
    }

    #[test]
    fn one_writer_s_messages_are_numbered_by_their_count() {
        let mut transcript = Transcript::group(&[1, 2]);
        transcript.add_stream();
        assert_eq!(transcript.place(2, Mark { stream: 0, count: 0 }), Ok(()));
        assert!(transcript.place(4, Mark { stream: 0, count: 1 }).is_err());
        assert!(transcript.place(1, Mark { stream: 0, count: 0 }).is_err());
    }

    #[test]
    fn of_two_writers_no_two_messages_have_one_number() {
        let mut transcript = Transcript::direct(1);
        transcript.add_stream();
        transcript.add_stream();
        transcript.sent = 2;
        let (one, other) = (Mark { stream: 0, count: 0 }, Mark { stream: 1, count: 0 });
        assert_eq!(transcript.place(2, one), Ok(()));
        assert_eq!(transcript.place(2, one), Ok(()));
        assert!(transcript.place(2, other).is_err());
        assert_eq!(transcript.place(1, other), Ok(()));
        assert!(transcript.place(3, other).is_err(), "only two were sent");
    }
}
