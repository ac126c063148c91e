//! The mask of RFC 6455, 5.3: a client's payload XORed with four bytes, over and over.
//!
//! Eight bytes at a time; the compiler makes wider registers of it. It hides nothing: it keeps a browser's bytes from looking
//! like another protocol to a proxy.

/// Four bytes, rotated so that the first one is for the next byte of payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mask([u8; 4]);

impl Mask {
    pub(super) fn new(key: [u8; 4]) -> Self {
        Self(key)
    }

    /// The mask as it was so many bytes of payload ago.
    pub(super) fn before(mut self, bytes: usize) -> Self {
        self.0.rotate_right(bytes % 4);
        self
    }

    /// Its bytes, the first one for the next byte of payload.
    pub(super) fn key(self) -> [u8; 4] {
        self.0
    }

    /// Unmasks `chunk` in place and stands ready for the chunk that follows it.
    pub(super) fn apply(&mut self, chunk: &mut [u8]) {
        let [a, b, c, d] = self.0;
        let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let (words, tail) = chunk.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
        for (byte, key) in tail.iter_mut().zip(self.0.into_iter().cycle()) {
            *byte ^= key;
        }
        self.0.rotate_left(tail.len() % 4);
    }
}

#[cfg(test)]
mod tests {
    use super::Mask;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_the_cut_it_is_the_plain_definition(
            key: [u8; 4],
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            cuts in proptest::collection::vec(0usize..40, 0..8),
        ) {
            let expected: Vec<u8> = payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            let mut masked = payload.clone();
            let mut mask = Mask::new(key);
            let mut rest = masked.as_mut_slice();
            for cut in cuts {
                let (chunk, after) = rest.split_at_mut(cut.min(rest.len()));
                mask.apply(chunk);
                rest = after;
            }
            mask.apply(rest);
            prop_assert_eq!(masked, expected);
        }
    }
}
