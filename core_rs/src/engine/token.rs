//! What clients see of a receipt version: opaque bytes, which are the version itself.

use smallvec::SmallVec;

/// A receipt version as it is told. 0, which is none and not to be acknowledged, is empty.
pub fn token(version: u64) -> SmallVec<[u8; 8]> {
    if version == 0 { SmallVec::new() } else { version.to_le_bytes().into() }
}

/// The version of what a client gave back; `None`: it gave nothing. What was never told is 0: its client is told
/// everything again.
pub fn version(token: &[u8]) -> Option<u64> {
    if token.is_empty() {
        return None;
    }
    Some(token.try_into().map_or(0, u64::from_le_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_back_as_it_was_told_and_nothing_else_is_one() {
        for told in [1, 255, 1 << 40, u64::MAX] {
            assert_eq!(version(&token(told)), Some(told));
        }
        assert_eq!(version(&token(0)), None);
        for garbage in [&[7][..], &[7; 7], &[7; 9], &[0; 8], &[7; 64]] {
            assert_eq!(version(garbage), Some(0), "{garbage:?}");
        }
    }
}
