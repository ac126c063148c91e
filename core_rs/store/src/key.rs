//! The key of a row: one byte of kind, then the id. Keys sort by their bytes, and rows are stored in that order.
//!
//! ```text
//! conversation   'c'  id: 16
//! device         'd'  n: 1   user: n   device: 8
//! member         'm'  n: 1   user: n   conversation: 16      an index: which conversations a user has
//! user           'u'  n: 1   user: n
//! ```
//! The user's length stands before the user's name, so that no name is a prefix of another: a scan of one user's devices
//! cannot meet those of somebody else.

use crate::error::StoreError;
use smallvec::SmallVec;

/// Longest user name, bytes; as on the wire.
pub const MAX_USER: usize = 64;

const CONVERSATION: usize = 16;
const DEVICE: usize = 8;

/// What a row is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// A conversation.
    Conversation = b'c',
    /// A user's device.
    Device = b'd',
    /// That a user is in a conversation.
    Member = b'm',
    /// A user.
    User = b'u',
}

impl Kind {
    /// Every kind, in the order of their keys.
    pub const ALL: [Kind; 4] = [Kind::Conversation, Kind::Device, Kind::Member, Kind::User];

    fn from_byte(byte: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A row's key. Only well-formed keys can be made.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(SmallVec<[u8; 24]>);

impl Key {
    /// A conversation's key.
    pub fn conversation(id: &[u8; CONVERSATION]) -> Key {
        let mut bytes = SmallVec::new();
        bytes.push(Kind::Conversation as u8);
        bytes.extend_from_slice(id);
        Key(bytes)
    }

    /// A user's key.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] if the name has more than [`MAX_USER`] bytes, [`StoreError::Misused`] if it has none.
    pub fn user(name: &[u8]) -> Result<Key, StoreError> {
        of_user(Kind::User, name, &[])
    }

    /// A device's key.
    ///
    /// # Errors
    /// Those of [`Key::user`].
    pub fn device(user: &[u8], device: &[u8; DEVICE]) -> Result<Key, StoreError> {
        of_user(Kind::Device, user, device)
    }

    /// The key of the index row that says that a user is in a conversation.
    ///
    /// # Errors
    /// Those of [`Key::user`].
    pub fn member(user: &[u8], conversation: &[u8; CONVERSATION]) -> Result<Key, StoreError> {
        of_user(Kind::Member, user, conversation)
    }

    /// The key with these bytes, if they are a key.
    pub fn parse(bytes: &[u8]) -> Option<Key> {
        let (&kind, id) = bytes.split_first()?;
        let kind = Kind::from_byte(kind)?;
        let whole = match kind {
            Kind::Conversation => id.len() == CONVERSATION,
            Kind::User => user_and(id, 0),
            Kind::Device => user_and(id, DEVICE),
            Kind::Member => user_and(id, CONVERSATION),
        };
        whole.then(|| Key(SmallVec::from_slice(bytes)))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What the row is of.
    pub fn kind(&self) -> Kind {
        // A key has a first byte, which is a kind's: there is no other way to make one.
        self.0.first().and_then(|byte| Kind::from_byte(*byte)).unwrap_or(Kind::Conversation)
    }
}

/// The prefix of all keys of a kind that begin with a user: of `Device` or `Member`.
///
/// # Errors
/// Those of [`Key::user`].
pub(crate) fn prefix_of_user(kind: Kind, user: &[u8]) -> Result<SmallVec<[u8; 24]>, StoreError> {
    of_user(kind, user, &[]).map(|key| key.0)
}

fn of_user(kind: Kind, user: &[u8], rest: &[u8]) -> Result<Key, StoreError> {
    let len = match u8::try_from(user.len()) {
        Ok(0) => return Err(StoreError::Misused("a user's name has at least one byte")),
        Ok(len) if user.len() <= MAX_USER => len,
        _ => return Err(StoreError::TooLarge { what: "a user's name", len: user.len(), max: MAX_USER }),
    };
    let mut bytes = SmallVec::with_capacity(2 + user.len() + rest.len());
    bytes.extend_from_slice(&[kind as u8, len]);
    bytes.extend_from_slice(user);
    bytes.extend_from_slice(rest);
    Ok(Key(bytes))
}

/// Whether `id` is a user's length and name with `rest` bytes behind it.
fn user_and(id: &[u8], rest: usize) -> bool {
    id.split_first().is_some_and(|(&len, tail)| {
        let len = usize::from(len);
        (1..=MAX_USER).contains(&len) && tail.len() == len + rest
    })
}

impl std::fmt::Display for Key {
    /// For messages to people: the kind and the id in hexadecimal.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} ", self.kind())?;
        self.0.iter().skip(1).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::borrow::Borrow<[u8]> for Key {
    /// Compares and hashes like the key.
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}
