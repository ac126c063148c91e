//! The limits of single fields, and what their breach is called.

use super::codes;
use super::error::WireError;
use super::types::*;

/// Whether a user may have this name: 1 to [`MAX_USER`] bytes, no control characters.
pub fn check_user(name: &str) -> Result<(), WireError> {
    let plain = |byte: u8| (0x20..0x7f).contains(&byte);
    let sized = (1..=MAX_USER).contains(&name.len());
    if sized && (name.bytes().all(plain) || !name.contains(char::is_control)) {
        return Ok(());
    }
    Err(WireError::new(codes::BAD_USER, format!("a user name is 1 to {MAX_USER} bytes without control characters")))
}

pub(super) fn check_device(user: &str, device: u32) -> Result<(), WireError> {
    check_user(user)?;
    if device == 0 { Err(WireError::field("devices are numbered from 1")) } else { Ok(()) }
}

#[inline]
pub(super) fn conversation(bytes: &[u8]) -> Result<ConversationId, WireError> {
    bytes.try_into().map_err(|_| WireError::new(codes::BAD_CONVERSATION, "a conversation id is 16 bytes"))
}

#[inline]
pub(super) fn optional_conversation(bytes: &[u8]) -> Result<Option<ConversationId>, WireError> {
    if bytes.is_empty() { Ok(None) } else { conversation(bytes).map(Some) }
}

#[cold]
pub(super) fn bad_id() -> WireError {
    WireError::new(codes::BAD_ID, format!("a message id is 1 to {MAX_ID} bytes"))
}

pub(super) fn push<T>(list: &mut Vec<T>, item: T, name: &str) -> Result<(), WireError> {
    if list.len() == MAX_LIST {
        return Err(too_many(name));
    }
    list.push(item);
    Ok(())
}

#[cold]
pub(super) fn too_many(name: &str) -> WireError {
    WireError::field(format!("more than {MAX_LIST} {name}"))
}
