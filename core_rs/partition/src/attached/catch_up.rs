//! What changed for a session since a version, from the rows: after an absence, and when too much was listed.
//!
//! The user's conversations in memory come first, then those at rest that the device's row says owe it something, which are
//! loaded. What moves meanwhile is listed as always. Everything up to the version at which this began was told when it ended.

use seam::Outputs;
use wire::types::ConversationId;

use super::receipts::{Frames, Listener, Receipts};
use crate::active::Active;
use crate::ids::{MemberIndex, RowKey};
use crate::rows::Kind;
use crate::state::State;

/// Most conversations that are told in a call, …
const TOLD: usize = 64;
/// … and that are looked at.
const LOOKS: usize = 1024;
/// Most that are loaded at once.
const LOADS: usize = 16;

/// How far it came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CatchUp {
    /// Of the user's conversations in memory, those below this place are left. When some come or go, one may be told twice, and
    /// none is left out.
    place: Option<usize>,
    /// The last conversation at rest that was told.
    after: Option<ConversationId>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caught {
    /// Everything was told.
    Up,
    /// There is more.
    Partly,
    /// A record is to be durable first.
    Undurable,
    /// Rows are to be loaded first.
    Rows,
}

impl Receipts {
    pub(super) fn catch_up<O: Outputs>(
        &mut self,
        state: &State,
        listener: Listener,
        frames: &mut Frames<'_, O>,
        wanted: &mut Vec<RowKey>,
    ) -> Caught {
        if self.catch_up.is_none() {
            self.forget();
        }
        let at = self.catch_up.get_or_insert_default();
        let (mut told, mut looks) = (TOLD, LOOKS);
        let mut tell = |active: &Active| {
            let me = listener.place(active).filter(|me| concerns(active, *me, listener.since));
            let Some(me) = me else { return Ok(true) };
            if active.skipped > state.synced {
                return Err(Caught::Undurable);
            }
            frames.add_all(active, me, listener.since);
            told -= 1;
            Ok(told > 0 && frames.left > 0)
        };
        let conversations = state.users.get(listener.user).map_or(&[][..], |user| &user.conversations);
        let place = at.place.get_or_insert(conversations.len());
        *place = (*place).min(conversations.len());
        while *place > 0 {
            if looks == 0 {
                return Caught::Partly;
            }
            (looks, *place) = (looks - 1, *place - 1);
            let slot = conversations.get(*place);
            let Some(active) = slot.and_then(|&slot| state.conversation(slot)) else { continue };
            match tell(active) {
                Ok(true) => {}
                Ok(false) => return Caught::Partly,
                Err(undurable) => {
                    *place += 1;
                    return undurable;
                }
            }
        }
        let owed = state.device(listener.user, listener.device).map_or(&[][..], |device| &device.row.owed);
        let from = owed.partition_point(|owed| Some(owed.conversation) <= at.after);
        let mut owing =
            owed.iter().skip(from).filter(|owed| owed.version > listener.since).map(|owed| owed.conversation);
        while let Some(id) = owing.next() {
            match state.active(&id) {
                Some(active) => {
                    let more = match tell(active) {
                        Ok(more) => more,
                        Err(undurable) => return undurable,
                    };
                    at.after = Some(id);
                    if !more {
                        return Caught::Partly;
                    }
                }
                None if state.is_absent(&RowKey::Conversation(id)) => at.after = Some(id),
                None => {
                    let rest = std::iter::once(id).chain(owing).take(LOADS).map(RowKey::Conversation);
                    wanted.extend(rest.filter(|key| state.owner(key).is_none()));
                    return Caught::Rows;
                }
            }
        }
        Caught::Up
    }
}

/// Whether a conversation may have something for a member. In a group its row says.
fn concerns(active: &Active, me: MemberIndex, since: u64) -> bool {
    match active.row.kind {
        Kind::Group => active.row.member(me).is_some_and(|member| member.owed > since),
        _ => active.row.iter().any(
            |(index, member)| {
                if index == me { member.read_version > since } else { member.version > since }
            },
        ),
    }
}
