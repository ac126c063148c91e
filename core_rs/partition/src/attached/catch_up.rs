//! What changed for a session since a version, from the rows: after an absence, and when too much was listed.
//!
//! The user's conversations in memory come first, then those at rest that owe the device something, which are loaded. What moves
//! meanwhile is listed as always. Everything up to the version at which this began was told when it ended.

use seam::Outputs;

use super::receipts::{Frames, Listener, Receipts};
use crate::active::Active;
use crate::ids::MemberIndex;
use crate::index::{Step, Walk};
use crate::rows::Kind;
use crate::state::State;

/// Most conversations that are told in a call, …
const TOLD: usize = 64;
/// … and that are looked at.
const LOOKS: usize = 1024;

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Caught {
    /// Everything was told.
    Up,
    /// There is more.
    Partly,
    /// A record is to be durable first.
    Undurable,
    /// This is needed first.
    Needs(Step),
}

impl Receipts {
    pub(super) fn catch_up<O: Outputs>(
        &mut self,
        state: &State,
        listener: Listener,
        frames: &mut Frames<'_, O>,
    ) -> Caught {
        if self.catch_up.is_none() {
            self.forget();
        }
        let walk = self.catch_up.get_or_insert_with(Walk::default);
        let mut told = 0;
        for _ in 0..LOOKS {
            if told == TOLD || frames.left == 0 {
                return Caught::Partly;
            }
            let slot = match state.owing(walk, (listener.user, listener.device), listener.since) {
                Step::At(slot) => slot,
                Step::Done => return Caught::Up,
                needed => return Caught::Needs(needed),
            };
            let active = state.conversation(slot);
            let found = active.and_then(|active| Some((active, listener.place(active)?)));
            if let Some((active, me)) = found.filter(|(active, me)| concerns(active, *me, listener.since)) {
                if active.skipped > state.synced {
                    return Caught::Undurable;
                }
                frames.add_all(active, me, listener.since);
                told += 1;
            }
            walk.pass(slot);
        }
        Caught::Partly
    }
}

/// Whether a conversation may have something for a member. In a group its row says.
pub(super) fn concerns(active: &Active, me: MemberIndex, since: u64) -> bool {
    match active.row.kind {
        Kind::Group => active.row.member(me).is_some_and(|member| member.owed > since),
        _ => active.row.iter().any(
            |(index, member)| {
                if index == me { member.read_version > since } else { member.version > since }
            },
        ),
    }
}
