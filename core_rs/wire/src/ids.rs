//! Ids of conversations, as docs/wire.md derives them from who takes part; and the hash that stands for a secret.

use sha2::{Digest, Sha256};

use crate::types::{ConversationId, Hash};

/// What a conversation is. The numbers are those of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Between two users, or with oneself.
    Direct = 1,
    /// Between two devices; carries keys.
    Device = 2,
    /// Of those whom its own messages made members.
    Group = 3,
}

impl Kind {
    /// From its number.
    #[must_use]
    pub fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Direct),
            2 => Some(Self::Device),
            3 => Some(Self::Group),
            _ => None,
        }
    }
}

/// The id of a conversation between two users, or between two devices of them; `sides` in any order.
#[must_use]
pub fn conversation_id(kind: Kind, mut sides: [(&str, u32); 2]) -> ConversationId {
    sides.sort_unstable();
    let mut hash = Sha256::new();
    match kind {
        Kind::Direct => hash.update(b"direct\0"),
        Kind::Device => hash.update(b"device\0"),
        Kind::Group => debug_assert!(false, "a group is between no two"),
    }
    for (place, (name, device)) in sides.into_iter().enumerate() {
        if place == 1 {
            hash.update([0]);
        }
        hash.update(name);
        if kind == Kind::Device {
            hash.update([0]);
            hash.update(device.to_be_bytes());
        }
    }
    first_half(hash)
}

/// The id of the group that a device created with a message id.
#[must_use]
pub fn group_id(creator: &str, device: u16, sent_as: &[u8]) -> ConversationId {
    let mut hash = Sha256::new();
    hash.update(b"group\0");
    hash.update(creator);
    hash.update([0]);
    hash.update(u32::from(device).to_be_bytes());
    hash.update([0]);
    hash.update(sent_as);
    first_half(hash)
}

/// The hash that stands for an invite's secret.
#[must_use]
pub fn hash_of(secret: &[u8]) -> Hash {
    Sha256::digest(secret).into()
}

fn first_half(hash: Sha256) -> ConversationId {
    let digest: [u8; 32] = hash.finalize().into();
    digest.first_chunk::<16>().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_the_id_that_the_documentation_says() {
        let sent_as = 0xf30c_9a41_77e2_5bd8_0000_0004_u128.to_be_bytes();
        let id = u128::from_be_bytes(group_id("ann", 1, &sent_as[4..]));
        assert_eq!(id, 0x39ab_c69b_2a99_e089_9b22_61b9_92b7_b889);
    }
}
