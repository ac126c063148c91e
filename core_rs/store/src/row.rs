//! A row, its checksum, and the identity of the log that it belongs to.

use crate::key::Key;

/// Longest value, bytes. A group of 1,024 members is about 60 KiB.
pub const MAX_VALUE: usize = 1 << 20;

/// Which log a store belongs to: 16 random bytes, made with the log and never changed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity(pub [u8; 16]);

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// A row as it was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose state this is.
    pub key: Key,
    /// The position of the last log record that the value reflects.
    pub position: u64,
    /// The state, opaque here; at most [`MAX_VALUE`] bytes.
    pub value: Vec<u8>,
}

/// Computes rows' checksums: CRC-32 over the identity, the key's length, the key, the position and the value.
///
/// The identity stands first so that a page of another store, which the file system handed out again, does not pass.
#[derive(Clone)]
pub(crate) struct Checksum(crc32fast::Hasher);

impl Checksum {
    pub fn new(identity: Identity) -> Checksum {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&identity.0);
        Checksum(hasher)
    }

    pub fn of(&self, key: &[u8], position: u64, value: &[u8]) -> u32 {
        let mut hasher = self.0.clone();
        // A key's length fits a byte. It keeps bytes from moving between the key and what follows.
        hasher.update(&[key.len() as u8]);
        hasher.update(key);
        hasher.update(&position.to_le_bytes());
        hasher.update(value);
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_depends_on_every_part() {
        let sum = Checksum::new(Identity([1; 16]));
        let base = sum.of(b"key", 7, b"value");
        assert_eq!(base, sum.of(b"key", 7, b"value"));
        assert_ne!(base, Checksum::new(Identity([2; 16])).of(b"key", 7, b"value"));
        assert_ne!(base, sum.of(b"kex", 7, b"value"));
        assert_ne!(base, sum.of(b"key", 8, b"value"));
        assert_ne!(base, sum.of(b"key", 7, b"valuf"));
        assert_ne!(base, sum.of(b"key", 7, b"value\0"));
    }
}
