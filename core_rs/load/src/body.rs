//! Ids and bodies that tell whose message it is, its place, and when it was sent; so a recipient knows what it must get.
//!
//! ```text
//! id    tag 4 | stream 4 | count 4
//! body  the same 12 | when it was sent, 8, ns of CLOCK_MONOTONIC | bytes that follow from stream and count
//! ```
//! All numbers with their highest byte first. Both ends are on one machine, so that one clock serves them.

use super::behaviour::Random;

pub(super) const ID: usize = 12;
const HEAD: usize = ID + 8;
/// The shortest body, bytes.
pub const MIN_BODY: usize = HEAD;
/// Where a filling may start in the pattern.
const STARTS: usize = 256;

/// What a body says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub stream: u32,
    pub count: u32,
}

pub(super) struct Bodies {
    tag: [u8; 4],
    len: usize,
    pattern: Vec<u8>,
}

impl Bodies {
    /// For bodies of `len` bytes.
    pub fn new(tag: u32, len: usize) -> Self {
        let mut random = Random::new(u64::from(tag));
        let filling = len.saturating_sub(HEAD);
        let pattern = (0..STARTS + filling).map(|_| random.next() as u8).collect();
        Self { tag: tag.to_be_bytes(), len: HEAD + filling, pattern }
    }

    /// Of each body, bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn id(&self, stream: u32, count: u32) -> [u8; ID] {
        let mut id = [0; ID];
        let parts = self.tag.into_iter().chain(stream.to_be_bytes()).chain(count.to_be_bytes());
        id.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
        id
    }

    /// Which message an id is of; `None` if this run has none such.
    pub fn mark(&self, id: &[u8]) -> Option<Mark> {
        let rest = id.strip_prefix(&self.tag)?;
        let (stream, rest) = rest.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        rest.is_empty().then(|| Mark { stream: u32::from_be_bytes(*stream), count: u32::from_be_bytes(*count) })
    }

    /// Appends the body of a message.
    pub fn put(&self, out: &mut Vec<u8>, stream: u32, count: u32, at_ns: u64) {
        out.extend_from_slice(&self.id(stream, count));
        out.extend_from_slice(&at_ns.to_be_bytes());
        out.extend_from_slice(self.filling(stream, count));
    }

    /// When the message `mark` was sent, ns; `None` if `body` is not the body of it.
    pub fn check(&self, mark: Mark, body: &[u8]) -> Option<u64> {
        let rest = body.strip_prefix(&self.id(mark.stream, mark.count))?;
        let (at, filling) = rest.split_first_chunk()?;
        (filling == self.filling(mark.stream, mark.count)).then_some(u64::from_be_bytes(*at))
    }

    fn filling(&self, stream: u32, count: u32) -> &[u8] {
        let start = stream.wrapping_mul(7).wrapping_add(count) as usize % STARTS;
        self.pattern.get(start..start + self.len - HEAD).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_known_again_and_every_changed_byte_but_the_time_is_noticed() {
        for len in [MIN_BODY, 21, 160, 4096] {
            let bodies = Bodies::new(7, len);
            let mut body = Vec::new();
            bodies.put(&mut body, 3, 9, 123_456_789);
            assert_eq!(body.len(), len);
            let mark = Mark { stream: 3, count: 9 };
            assert_eq!(bodies.check(mark, &body), Some(123_456_789));
            assert_eq!(bodies.check(Mark { count: 10, ..mark }, &body), None);
            assert_eq!(bodies.check(mark, &body[..len - 1]), None);
            for at in (0..ID).chain(HEAD..len) {
                body[at] ^= 1;
                assert_eq!(bodies.check(mark, &body), None, "byte {at} of {len}");
                body[at] ^= 1;
            }
        }
    }

    #[test]
    fn an_id_of_another_run_or_of_another_length_is_of_no_message() {
        let bodies = Bodies::new(7, 160);
        assert_eq!(bodies.mark(&bodies.id(3, 9)), Some(Mark { stream: 3, count: 9 }));
        assert_eq!(bodies.mark(&Bodies::new(8, 160).id(3, 9)), None);
        assert_eq!(bodies.mark(&bodies.id(3, 9)[..11]), None);
        assert_eq!(bodies.mark(b"0123456789abc"), None);
    }
}
