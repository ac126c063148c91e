//! What changed for a session since a version, from the rows: after an absence, and when too much was listed.
//!
//! The user's conversations in memory come first, then those at rest that the device's row says owe it something, which are
//! loaded. What moves meanwhile is listed as always. Everything up to the version at which this began was told when it ended.

use std::ops::Bound;

use seam::Outputs;
use wire::types::ConversationId;

use super::receipts::{Frames, Listener, Receipts};
use crate::active::Active;
use crate::ids::{ConversationSlot, MemberIndex, RowKey};
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
    /// The last of the user's conversations in memory that was told. What comes into memory later is told as it moves, or was at
    /// rest before.
    active: Option<ConversationSlot>,
    /// The last conversation at rest that was told.
    resting: Option<ConversationId>,
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
        let behind = at.active.map_or(Bound::Unbounded, Bound::Excluded);
        let mine = state.users.get(listener.user).map(|user| user.conversations.range((behind, Bound::Unbounded)));
        for &slot in mine.into_iter().flatten() {
            if looks == 0 {
                return Caught::Partly;
            }
            looks -= 1;
            let told = state.conversation(slot).map_or(Ok(true), &mut tell);
            if told != Err(Caught::Undurable) {
                at.active = Some(slot);
            }
            if told != Ok(true) {
                return told.err().unwrap_or(Caught::Partly);
            }
        }
        let owed = state.device(listener.user, listener.device).map_or(&[][..], |device| &device.row.owed);
        let from = owed.partition_point(|owed| Some(owed.conversation) <= at.resting);
        let mut owing =
            owed.iter().skip(from).filter(|owed| owed.version > listener.since).map(|owed| owed.conversation);
        while let Some(id) = owing.next() {
            match state.active(&id) {
                Some(active) => {
                    let told = tell(active);
                    if told != Err(Caught::Undurable) {
                        at.resting = Some(id);
                    }
                    if told != Ok(true) {
                        return told.err().unwrap_or(Caught::Partly);
                    }
                }
                // It is not there, or cannot be used.
                None if state.answers.get(&RowKey::Conversation(id)).is_some() => at.resting = Some(id),
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
