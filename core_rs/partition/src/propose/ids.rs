//! Ids of conversations: docs/wire.md.

use sha2::{Digest, Sha256};
use wire::types::Hash;

use crate::ids::{ConversationId, DeviceId};
use crate::rows::Kind;

/// The id of a conversation between two users, or between two devices of them; `sides` in any order.
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
pub fn group_id(creator: &str, device: DeviceId, sent_as: &[u8]) -> ConversationId {
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
pub fn hash_of(secret: &[u8]) -> Hash {
    Sha256::digest(secret).into()
}

fn first_half(hash: Sha256) -> ConversationId {
    let digest: [u8; 32] = hash.finalize().into();
    digest.first_chunk::<16>().copied().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_the_documented_id() {
        let sent_as = 0xf30c_9a41_77e2_5bd8_0000_0004_u128.to_be_bytes();
        let id = u128::from_be_bytes(group_id("ann", 1, &sent_as[4..]));
        assert_eq!(id, 0x39ab_c69b_2a99_e089_9b22_61b9_92b7_b889);
    }
}
