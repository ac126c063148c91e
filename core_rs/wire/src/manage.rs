//! Frames about groups and blocks, read from either notation.

use std::borrow::Cow;

use super::changes::{ChangeDraft, wanted};
use super::codes;
use super::error::WireError;
use super::fields::{Fields, Value};
use super::limits::{bad_id, check_user, optional_conversation};
use super::types::*;

/// Reads one of the fields 8 to 11 of `ClientFrame`. Out of line: none of them is hot.
#[inline(never)]
pub(super) fn frame<'a, V: Value<'a>>(number: u32, value: V) -> Result<ClientFrame<'a>, WireError> {
    match number {
        8 => {
            let mut draft = ManageDraft::default();
            match value.message(&mut draft).and_then(|()| draft.check()) {
                Ok(()) => draft.finish().map(ClientFrame::Manage),
                Err(error) => Err(error.about(&draft.id)),
            }
        }
        9 => {
            let mut asked = GroupGet(None);
            value.message(&mut asked)?;
            Ok(ClientFrame::GroupGet { conversation: asked.0 })
        }
        10 => {
            let mut asked = ProgressGet { conversation: None, seq: 0 };
            value.message(&mut asked)?;
            let Some(conversation) = asked.conversation else {
                return Err(WireError::new(codes::BAD_CONVERSATION, "progress_get: no conversation"));
            };
            Ok(ClientFrame::ProgressGet { conversation, seq: asked.seq })
        }
        _ => {
            let mut block = Block { user: Cow::Borrowed(""), off: false };
            value.message(&mut block)?;
            if !block.user.is_empty() {
                check_user(&block.user)?;
            }
            Ok(ClientFrame::Block { user: block.user, off: block.off })
        }
    }
}

/// A `Manage` whose parts may still be missing.
#[derive(Default)]
struct ManageDraft<'a> {
    id: Cow<'a, [u8]>,
    conversation: Option<ConversationId>,
    change: Option<Change<'a>>,
}

impl<'a> ManageDraft<'a> {
    /// Holds the parts against each other.
    fn check(&self) -> Result<(), WireError> {
        if self.id.is_empty() {
            return Err(bad_id());
        }
        let Some(change) = &self.change else { return Err(no_change()) };
        wanted(change)?;
        match (self.conversation, matches!(change, Change::Created { .. })) {
            (None, false) => Err(WireError::new(codes::BAD_CONVERSATION, "manage: no conversation")),
            (Some(_), true) => {
                Err(WireError::new(codes::BAD_CONVERSATION, "manage: a group that is created has no conversation yet"))
            }
            _ => Ok(()),
        }
    }

    fn finish(self) -> Result<Manage<'a>, WireError> {
        let Self { id, conversation, change } = self;
        let change = change.ok_or_else(no_change)?;
        Ok(Manage { id, conversation, change })
    }
}

#[cold]
fn no_change() -> WireError {
    WireError::field("manage: no change, or none of a kind that this server knows")
}

impl<'a> Fields<'a> for ManageDraft<'a> {
    const NAMES: &'static [&'static str] = &["id", "conversation", "change"];

    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        match number {
            1 => {
                let id = value.bytes()?;
                if id.is_empty() || id.len() > MAX_ID {
                    return Err(bad_id());
                }
                self.id = id;
            }
            2 => self.conversation = optional_conversation(&value.bytes()?)?,
            3 => {
                let mut draft = ChangeDraft(self.change.take());
                value.message(&mut draft)?;
                self.change = draft.0;
            }
            _ => value.skip()?,
        }
        Ok(())
    }
}

struct GroupGet(Option<ConversationId>);

impl<'a> Fields<'a> for GroupGet {
    const NAMES: &'static [&'static str] = &["conversation"];

    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        match number {
            1 => self.0 = optional_conversation(&value.bytes()?)?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

struct ProgressGet {
    conversation: Option<ConversationId>,
    seq: u64,
}

impl<'a> Fields<'a> for ProgressGet {
    const NAMES: &'static [&'static str] = &["conversation", "seq"];

    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        match number {
            1 => self.conversation = optional_conversation(&value.bytes()?)?,
            2 => self.seq = value.uint64()?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

struct Block<'a> {
    user: Cow<'a, str>,
    off: bool,
}

impl<'a> Fields<'a> for Block<'a> {
    const NAMES: &'static [&'static str] = &["user", "off"];

    fn set<V: Value<'a>>(&mut self, number: u32, value: V) -> Result<(), WireError> {
        match number {
            1 => self.user = value.string()?,
            2 => self.off = value.boolean()?,
            _ => value.skip()?,
        }
        Ok(())
    }
}
