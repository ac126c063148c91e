//! Client frames, read from either notation, and the limits that hold for each field.
//!
//! A frame that leaves here is well-formed by itself: its ids and names are of the right sizes, its lists bounded. Whether
//! what it names exists is for others to say.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::codes;
use super::error::WireError;
use super::fields::{Fields, Value};
use super::limits::{check_user, optional_conversation, push};
use super::manage;
use super::reader;
use super::send::SendDraft;
use super::types::*;

/// Reads a frame from its protobuf encoding. Borrows all that it can; hot frames allocate nothing.
pub fn decode_client(bytes: &[u8]) -> Result<ClientFrame<'_>, WireError> {
    let mut slot = Slot(None);
    reader::read_message(bytes, &mut slot)?;
    slot.finish()
}

/// The frame of a `ClientFrame`, once seen.
pub(super) struct Slot<'a>(pub Option<ClientFrame<'a>>);

impl<'a> Slot<'a> {
    pub fn finish(self) -> Result<ClientFrame<'a>, WireError> {
        self.0.ok_or_else(|| WireError::new(codes::UNKNOWN_FRAME, "a frame of no kind that this server knows"))
    }

    fn put(&mut self, frame: ClientFrame<'a>) -> Result<(), WireError> {
        // Protobuf lets the last one win; what a client may have meant by two is not ours to guess.
        if self.0.is_some() {
            return Err(WireError::malformed("two frames in one"));
        }
        self.0 = Some(frame);
        Ok(())
    }
}

impl<'a> Fields<'a> for Slot<'a> {
    const NAMES: &'static [&'static str] =
        &["hello", "send", "ack", "read", "ping", "pong", "devicesGet", "manage", "groupGet", "progressGet", "block"];

    #[inline]
    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        let frame = match number {
            1 => {
                let mut hello = Hello::default();
                value.message(&mut hello)?;
                ClientFrame::Hello(hello)
            }
            2 => {
                let mut draft = SendDraft::default();
                match value.message(&mut draft).and_then(|()| draft.check()) {
                    Ok(()) => ClientFrame::Send(draft.finish()?),
                    Err(error) => return Err(error.about(&draft.id)),
                }
            }
            3 => {
                let mut ack = Ack::default();
                value.message(&mut ack)?;
                if ack.seq != 0 && ack.conversation.is_none() {
                    return Err(WireError::field("ack: a seq needs its conversation"));
                }
                ClientFrame::Ack(ack)
            }
            4 => {
                let mut draft = ReadDraft { conversation: None, seq: 0, authors: Vec::new() };
                value.message(&mut draft)?;
                let Some(conversation) = draft.conversation else {
                    return Err(WireError::new(codes::BAD_CONVERSATION, "read: no conversation"));
                };
                ClientFrame::Read(Read { conversation, seq: draft.seq, authors: draft.authors })
            }
            5 => ClientFrame::Ping { nonce: nonce(value)? },
            6 => ClientFrame::Pong { nonce: nonce(value)? },
            7 => {
                let mut named = UserField(Cow::Borrowed(""));
                value.message(&mut named)?;
                check_user(&named.0)?;
                ClientFrame::DevicesGet { user: named.0 }
            }
            8..=11 => manage::frame(number, value)?,
            _ => return value.skip(),
        };
        self.put(frame)
    }
}

impl<'a> Fields<'a> for Hello<'a> {
    const NAMES: &'static [&'static str] =
        &["protocol", "token", "receive", "client", "windowMessages", "windowBytes", "receipts"];

    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        match number {
            1 => self.protocol = value.uint32()?,
            2 => {
                self.token = value.string()?;
                if self.token.len() > MAX_TOKEN {
                    return Err(WireError::field(format!("hello: a token of more than {MAX_TOKEN} bytes")));
                }
            }
            3 => self.receive = value.boolean()?,
            4 => {
                self.client = value.string()?;
                if self.client.len() > MAX_CLIENT || self.client.contains(char::is_control) {
                    return Err(WireError::field(format!(
                        "hello: client is at most {MAX_CLIENT} bytes without control characters"
                    )));
                }
            }
            5 => self.window_messages = value.uint32()?,
            6 => self.window_bytes = value.uint32()?,
            7 => self.receipts = version(value)?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

impl<'a> Fields<'a> for Ack<'a> {
    const NAMES: &'static [&'static str] = &["conversation", "seq", "receipts", "accepted"];

    #[inline]
    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        match number {
            1 => self.conversation = optional_conversation(&value.bytes()?)?,
            2 => self.seq = value.uint64()?,
            3 => self.receipts = version(value)?,
            4 => value.each(|value| {
                let before = self.accepted.len();
                let mut seqs = Seqs { conversation: None, into: &mut self.accepted };
                value.message(&mut seqs)?;
                let Some(conversation) = seqs.conversation else {
                    return Err(WireError::new(codes::BAD_CONVERSATION, "ack: accepted without a conversation"));
                };
                let added = self.accepted.get_mut(before..).unwrap_or_default();
                added.iter_mut().for_each(|message| message.0 = conversation);
                if added.is_empty() { Err(WireError::field("ack: accepted without seqs")) } else { Ok(()) }
            })?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

/// `Seqs`, added to those before; their conversation is filled in at the end, since it may come behind them.
struct Seqs<'s> {
    conversation: Option<ConversationId>,
    into: &'s mut SmallVec<[(ConversationId, u64); 1]>,
}

impl<'a> Fields<'a> for Seqs<'_> {
    const NAMES: &'static [&'static str] = &["conversation", "seqs"];

    #[inline]
    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        match number {
            1 => self.conversation = optional_conversation(&value.bytes()?)?,
            2 => value.uint64s(|seq| {
                if self.into.len() == MAX_ACCEPTED {
                    return Err(WireError::field(format!("ack: more than {MAX_ACCEPTED} accepted messages")));
                }
                self.into.push((ConversationId::default(), seq));
                Ok(())
            })?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

/// A receipt version.
#[inline]
fn version<'a, V: Value<'a>>(value: V) -> Result<Cow<'a, [u8]>, WireError> {
    let version = value.bytes()?;
    if version.len() > MAX_VERSION {
        return Err(WireError::field(format!("a receipt version of more than {MAX_VERSION} bytes")));
    }
    Ok(version)
}

struct ReadDraft<'a> {
    conversation: Option<ConversationId>,
    seq: u64,
    authors: Vec<Cow<'a, str>>,
}

impl<'a> Fields<'a> for ReadDraft<'a> {
    const NAMES: &'static [&'static str] = &["conversation", "seq", "authors"];

    #[inline]
    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        match number {
            1 => self.conversation = optional_conversation(&value.bytes()?)?,
            2 => self.seq = value.uint64()?,
            3 => value.each(|value| {
                let author = value.string()?;
                check_user(&author)?;
                push(&mut self.authors, author, "authors")
            })?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

/// `Ping` and `Pong`: a client's `Pong.time` says nothing to us.
struct Nonce(u64);

impl<'a> Fields<'a> for Nonce {
    const NAMES: &'static [&'static str] = &["nonce", "time"];

    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        match number {
            1 => self.0 = value.uint64()?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

fn nonce<'a, V: Value<'a>>(value: V) -> Result<u64, WireError> {
    let mut nonce = Nonce(0);
    value.message(&mut nonce)?;
    Ok(nonce.0)
}

/// A message of one user: `DevicesGet`, `GroupOwner`.
pub(super) struct UserField<'a>(pub Cow<'a, str>);

impl<'a> Fields<'a> for UserField<'a> {
    const NAMES: &'static [&'static str] = &["user"];

    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        match number {
            1 => self.0 = value.string()?,
            _ => value.skip()?,
        }
        Ok(())
    }
}
