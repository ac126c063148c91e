//! Rows as the partition names them, and as the store does.

use seam::RowKey;
use store::{Key, StoreError};

/// The store's key of a row.
///
/// # Errors
/// A user's name cannot be a key. Names that the wire lets through can.
pub fn key_of(row: &RowKey) -> Result<Key, StoreError> {
    match row {
        RowKey::User(name) => Key::user(name.as_bytes()),
        RowKey::Device(name, device) => Key::device(name.as_bytes(), &u64::from(*device).to_be_bytes()),
        RowKey::Conversation(id) => Ok(Key::conversation(id)),
        RowKey::Member(name, id) => Key::member(name.as_bytes(), id),
    }
}

/// The row of a key of the store; `None`: no partition made it.
pub fn row_of(key: &Key) -> Option<RowKey> {
    let (kind, rest) = key.as_bytes().split_first()?;
    let named = || {
        let (len, rest) = rest.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*len))?;
        Some((std::str::from_utf8(name).ok()?, rest))
    };
    match kind {
        b'u' => named().map(|(name, _)| RowKey::user(name)),
        b'd' => {
            let (name, device) = named()?;
            let device = u64::from_be_bytes(device.try_into().ok()?);
            Some(RowKey::device(name, device.try_into().ok()?))
        }
        b'c' => Some(RowKey::Conversation(rest.try_into().ok()?)),
        b'm' => {
            let (name, id) = named()?;
            Some(RowKey::member(name, id.try_into().ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_that_is_too_long_has_no_key() {
        assert!(key_of(&RowKey::user(&"x".repeat(64))).is_ok());
        assert!(key_of(&RowKey::user(&"x".repeat(65))).is_err());
        assert!(key_of(&RowKey::user("")).is_err());
    }

    proptest! {
        #[test]
        fn every_row_comes_back_from_its_key(name in "\\PC{1,16}", id: [u8; 16], device in 1..=u16::MAX) {
            let rows = [
                RowKey::user(&name),
                RowKey::device(&name, device),
                RowKey::Conversation(id),
                RowKey::member(&name, &id),
            ];
            for row in rows {
                let key = key_of(&row).unwrap();
                prop_assert_eq!(row_of(&key), Some(row));
            }
        }
    }
}
