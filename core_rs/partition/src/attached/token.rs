//! How far a session was told receipts, as bytes that only a partition can make and read.
//!
//! ```text
//! generation:u32  version:u64  checksum:u64   (little-endian; none of it: version 0)
//! ```

#![allow(deprecated, reason = "SipHash-2-4 with a key of its own, which the replacement does not offer")]

use std::hash::{Hasher, SipHasher};

use seam::Token;

/// Makes and reads tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tokens {
    key: (u64, u64),
}

impl Tokens {
    /// With a secret of this partition. Who knows it can make the server believe that it lost data.
    pub fn new(secret: [u8; 16]) -> Self {
        let (first, second) = secret.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte));
        Self { key: (number(first), number(second)) }
    }

    /// The token of a version.
    pub fn give(&self, generation: u32, version: u64) -> Token {
        if version == 0 {
            return Token::default();
        }
        let mut bytes = [0; 20];
        let (said, checksum) = bytes.split_at_mut(12);
        said.iter_mut()
            .zip(generation.to_le_bytes().into_iter().chain(version.to_le_bytes()))
            .for_each(|(b, v)| *b = v);
        checksum.copy_from_slice(&self.checksum(said).to_le_bytes());
        Token::new(&bytes).unwrap_or_default()
    }

    /// Generation and version of a token; `None`: it was not made here.
    pub fn take(&self, token: &Token) -> Option<(u32, u64)> {
        let (generation, rest) = token.bytes().split_first_chunk::<4>()?;
        let (version, checksum) = rest.split_first_chunk::<8>()?;
        let said = token.bytes().get(..12)?;
        let genuine = checksum == self.checksum(said).to_le_bytes();
        genuine.then(|| (u32::from_le_bytes(*generation), u64::from_le_bytes(*version)))
    }

    fn checksum(&self, said: &[u8]) -> u64 {
        let mut hasher = SipHasher::new_with_keys(self.key.0, self.key.1);
        hasher.write(said);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_gives_back_what_it_was_made_of_and_cannot_be_changed() {
        let tokens = Tokens::new(*b"0123456789abcdef");
        let token = tokens.give(3, 1 << 44 | 7);
        assert_eq!(tokens.take(&token), Some((3, 1 << 44 | 7)));
        for place in 0..token.bytes().len() {
            let mut bytes = token.bytes().to_vec();
            bytes[place] ^= 1;
            assert_eq!(tokens.take(&Token::new(&bytes).unwrap()), None);
        }
        assert_eq!(Tokens::new([0; 16]).take(&token), None);
        assert_eq!((tokens.give(3, 0), tokens.take(&Token::default())), (Token::default(), None));
    }

    /// The reference vector of SipHash-2-4: tokens hold across builds.
    #[test]
    fn the_checksum_is_siphash_2_4() {
        let tokens = Tokens::new(std::array::from_fn(|place| place as u8));
        let said: Vec<u8> = (0..15).collect();
        assert_eq!(tokens.checksum(&said), 0xa129_ca61_49be_45e5);
    }
}
