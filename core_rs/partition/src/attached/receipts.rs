//! What a session is told of other members who moved: at once, or, of groups, in bursts with many in one frame.
//!
//! # Rules
//! - All frames but the last carry the version up to which everything was told before them: what they say counts as told when
//!   all of it is. Whatever a frame told is covered by a version that a later frame carries, if need be an empty one.
//! - Groups are told at most once in [`BURST_MS`], so that a thousand members who read at once are a trickle.
//! - A conversation whose latest skips are not durable is left out until they are.
//! - Above a bound the lists are dropped, and everything is taken from the rows again.

use seam::{Address, Attached, Env, Lent, Outputs, Served, Token};
use smallvec::SmallVec;
use wire::types::{ConversationId, CursorOf, ServerFrame};

use super::catch_up::{Caught, concerns};
use super::{Session, Sessions, Want};
use crate::active::Active;
use crate::ids::{ConversationSlot, DeviceId, MemberIndex, UserSlot};
use crate::index::{Step, Walk};
use crate::lazy::News;
use crate::names::Names;
use crate::receipts::Receipt;
use crate::rows::Kind;
use crate::state::State;
use crate::users::UserSession;

/// A session is told of groups at most this often, ms.
const BURST_MS: u64 = 250;
/// Most members who moved in direct conversations that are listed for a session.
const LISTED: usize = 256;
/// The same of groups.
const HELD: usize = 512;
/// Most cursors in a frame.
const CURSORS: usize = 128;
/// In place of a member: all who moved.
const ALL: MemberIndex = MemberIndex::new(u32::MAX as usize);

/// A member who moved, or [`ALL`], in a conversation in memory: slot and serial.
type Moved = (ConversationSlot, u32, MemberIndex);

/// Who moved and was not told to a session.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    /// In conversations that are no groups.
    direct: Vec<Moved>,
    /// In groups.
    held: Vec<Moved>,
    /// The lowest version of what is in `held`; 0: nothing is.
    held_from: u64,
    /// The session stands in the list of those whose time for groups will come, …
    timed: bool,
    /// … and it has come.
    due: bool,
    /// Something was told with a version below its own.
    unclosed: bool,
    /// A conversation went to rest before it was told of: its row says no more what moved, but the device's does.
    gone: bool,
    /// Where a pass over the user's conversations is.
    pub(super) catch_up: Option<Walk>,
}

impl Receipts {
    /// Everything is taken from the rows.
    pub(super) fn forget(&mut self) {
        self.direct.clear();
        self.held.clear();
        (self.held_from, self.due) = (0, false);
    }

    fn hold(&mut self, item: Moved, version: u64) {
        if self.held_from == 0 {
            self.held_from = version;
        }
        if self.held.last() != Some(&item) {
            self.held.push(item);
        }
        if self.held.len() > HELD {
            self.compact();
            if self.held.len() > HELD / 2 {
                self.held.iter_mut().for_each(|item| item.2 = ALL);
                self.held.dedup();
            }
        }
    }

    /// Each once, and none beside all of its group. The last is the first to be told.
    fn compact(&mut self) {
        self.held.sort_unstable_by(|a, b| b.cmp(a));
        self.held.dedup_by(|next, kept| next == kept || *kept == (next.0, next.1, ALL));
    }
}

/// To whom a member's progress is told.
#[derive(Clone, Copy)]
pub(super) struct Listener {
    pub user: UserSlot,
    pub device: DeviceId,
    /// Up to this version it knows everything.
    pub since: u64,
}

impl Listener {
    /// Its place among the members of a conversation of which it may be told.
    pub(super) fn place(&self, active: &Active) -> Option<MemberIndex> {
        let place = active.member(self.user, self.device)?;
        active.row.member(place)?.is_current().then_some(place)
    }
}

/// Receipts of one call, to one session.
pub(super) struct Frames<'a, O> {
    to: Address,
    out: &'a mut O,
    names: &'a Names,
    /// The version before them.
    before: Token,
    /// Something was written with it.
    unclosed: bool,
    /// The frame that was not written yet: its conversation, whether that is a group, and its cursors.
    last: (ConversationId, bool),
    cursors: SmallVec<[CursorOf<'a>; 1]>,
    /// How many more may be written.
    pub left: usize,
}

impl<'a, O: Outputs> Frames<'a, O> {
    /// Adds what is new of a member for the listener at `me`.
    pub(super) fn add(&mut self, active: &Active, me: MemberIndex, index: MemberIndex, since: u64) {
        let Some(user) = active.row.member(index).map(|member| self.names.text(member.user)) else { return };
        active.receipts_of(me, index, since, |receipt| match receipt {
            Receipt::Skip(_, range) => {
                let (conversation, from, to, reason) = (active.id, range.from, range.to, range.reason);
                let version = self.before.bytes();
                self.out.pushed(self.to, &ServerFrame::Skip { conversation, from, to, reason, user, version });
                self.unclosed = true;
            }
            Receipt::Progress { delivered, read, .. } => {
                self.push(active, CursorOf { user, delivered, read, skipped: false });
            }
        });
    }

    /// Adds what is new of all members.
    pub(super) fn add_all(&mut self, active: &Active, me: MemberIndex, since: u64) {
        (0..active.row.members.len()).for_each(|place| self.add(active, me, MemberIndex::new(place), since));
    }

    fn push(&mut self, active: &Active, cursor: CursorOf<'a>) {
        let to = (active.id, active.row.kind == Kind::Group);
        if self.last != to || !to.1 || self.cursors.len() >= CURSORS {
            let before = self.before.clone();
            self.write(&before);
        }
        self.last = to;
        self.cursors.push(cursor);
        self.left = self.left.saturating_sub(1);
    }

    fn write(&mut self, version: &Token) {
        let ((conversation, group), version) = (self.last, version.bytes());
        match (self.cursors.as_slice(), group) {
            ([], _) => return,
            (cursors, true) => {
                let conversation = Some(conversation);
                self.out.pushed(self.to, &ServerFrame::Receipts { conversation, cursors, version });
            }
            (&[CursorOf { user, delivered, read, .. }, ..], false) => {
                self.out.pushed(self.to, &ServerFrame::Receipt { conversation, user, delivered, read, version });
            }
        }
        self.cursors.clear();
        self.unclosed = true;
    }

    /// The last frame, with a version that covers everything; an empty one if something was told without it.
    /// Whether there is one.
    fn close(mut self, version: &Token) -> bool {
        if !self.cursors.is_empty() {
            self.write(version);
        } else if self.unclosed {
            let version = version.bytes();
            self.out.pushed(self.to, &ServerFrame::Receipts { conversation: None, cursors: &[], version });
        }
        self.unclosed
    }

    /// More is to come. Whether a frame that covers this is outstanding.
    fn pause(mut self) -> bool {
        let before = self.before.clone();
        self.write(&before);
        self.unclosed
    }
}

/// The lowest receipt version above `since` of what a member's skips and progress are to the listener at `me`.
fn first_version(active: &Active, me: MemberIndex, index: MemberIndex, since: u64) -> Option<u64> {
    let member = active.row.member(index)?;
    if index == me {
        return Some(member.read_version).filter(|version| *version > since);
    }
    let versions = member.told_skips().map(|range| range.version).chain([member.version]);
    versions.filter(|version| *version > since).min()
}

impl Session {
    /// A member moved, or [`ALL`] may have. True: the session's time for groups is to come.
    fn note(&mut self, item: Moved, group: bool, version: u64) -> bool {
        if self.behind && self.lists.as_ref().is_none_or(|lists| lists.receipts.catch_up.is_none()) {
            return false;
        }
        let receipts = &mut self.lists().receipts;
        if group {
            receipts.hold(item, version);
        } else if receipts.direct.last() != Some(&item) {
            receipts.direct.push(item);
        }
        let timed = group && !std::mem::replace(&mut receipts.timed, true);
        if receipts.direct.len() > LISTED || receipts.held.len() > HELD {
            receipts.forget();
            receipts.catch_up = None;
            self.behind = true;
        }
        timed
    }

    /// Whether it was told everything that concerns it.
    pub(super) fn is_told_all(&self) -> bool {
        let waits = |receipts: &Receipts| receipts.held_from > 0 || !receipts.direct.is_empty();
        !self.behind && !self.lists.as_ref().is_some_and(|lists| waits(&lists.receipts))
    }
}

impl Sessions {
    /// A member moved: the sessions of those who are concerned will be told, but not the one that did it.
    pub(crate) fn tell(
        &mut self,
        state: &State,
        slot: ConversationSlot,
        news: &News,
        but: Option<Attached>,
        mono_ms: u64,
        out: &mut impl Outputs,
    ) {
        self.note(state, slot, &news.to, (news.member, news.version), but, mono_ms, out);
    }

    /// A record noted skips: the sessions of all members look.
    pub(crate) fn tell_all(
        &mut self,
        state: &State,
        slot: ConversationSlot,
        version: u64,
        mono_ms: u64,
        out: &mut impl Outputs,
    ) {
        let Some(active) = state.conversation(slot) else { return };
        let members: SmallVec<[MemberIndex; 8]> = active.row.iter().map(|(index, _)| index).collect();
        let moved = if active.row.kind == Kind::Group { &[ALL][..] } else { &members };
        for &index in moved {
            self.note(state, slot, &members, (index, version), None, mono_ms, out);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn note(
        &mut self,
        state: &State,
        slot: ConversationSlot,
        to: &[MemberIndex],
        (index, version): (MemberIndex, u64),
        but: Option<Attached>,
        mono_ms: u64,
        out: &mut impl Outputs,
    ) {
        let Some(active) = state.conversation(slot) else { return };
        let group = active.row.kind == Kind::Group;
        for member in to.iter().filter_map(|&to| active.row.member(to)).filter(|member| member.is_current()) {
            let Some(user) = state.users.get(member.user) else { continue };
            for &UserSession { at, device, .. } in &user.sessions {
                let Some(session) = self.get_mut(at).filter(|_| Some(at) != but && member.admits(device)) else {
                    continue;
                };
                let timed = session.note((slot, active.serial, index), group, version);
                if !group || session.behind {
                    session.owe_receipts(out);
                }
                if timed {
                    self.bursts.push_back((mono_ms + BURST_MS, at));
                }
            }
        }
    }

    /// The time for groups has come for some sessions: at most `most`. Whether there are more.
    pub(crate) fn burst(&mut self, mono_ms: u64, most: usize, out: &mut impl Outputs) -> bool {
        for _ in 0..most {
            let Some(&(_, at)) = self.bursts.front().filter(|(due_ms, _)| *due_ms <= mono_ms) else { return false };
            self.bursts.pop_front();
            let Some(session) = self.get_mut(at) else { continue };
            let receipts = &mut session.lists().receipts;
            receipts.timed = false;
            receipts.due = receipts.held_from > 0;
            if receipts.due {
                session.owe_receipts(out);
            }
        }
        self.bursts.front().is_some_and(|(due_ms, _)| *due_ms <= mono_ms)
    }

    /// When it next comes for some: ms of the monotonic clock.
    pub(crate) fn next_burst(&self) -> Option<u64> {
        self.bursts.front().map(|(due_ms, _)| *due_ms)
    }

    pub(super) fn notify<E: Env>(&mut self, state: &State, env: &mut E, to: Attached, most: usize) -> Served {
        let Self { table, tokens, undurable, loading, wanted, .. } = self;
        let session = table.get_mut(to.slot as usize).filter(|session| session.serial == to.serial);
        let Some(session) = session else { return Served::All };
        let Lent { out, .. } = env.lend();
        let token = |version: u64| tokens.give(state.generation.number, version);
        let listener = Listener { user: session.user, device: session.device, since: session.told };
        let (address, behind) = (session.address, session.behind);
        let receipts = &mut session.lists().receipts;
        let mut frames = Frames {
            to: address,
            out,
            names: &state.names,
            before: token(listener.since),
            unclosed: receipts.unclosed,
            last: ([0; 16], false),
            cursors: SmallVec::new(),
            left: most.max(1),
        };
        if behind {
            let caught = receipts.catch_up(state, listener, &mut frames);
            if caught != Caught::Up {
                receipts.unclosed = frames.pause();
                let served = match &caught {
                    Caught::Undurable => Served::All,
                    Caught::Needs(Step::Rows(_) | Step::Page(_)) => Served::Reading,
                    _ => Served::More,
                };
                match caught {
                    Caught::Undurable => undurable.push(to),
                    Caught::Needs(Step::Rows(keys)) => {
                        wanted.push(Want::Rows(keys));
                        loading.push(to);
                    }
                    Caught::Needs(Step::Page(after)) => {
                        wanted.push(Want::Page { session: Some(to), user: session.name.clone(), after });
                    }
                    Caught::Needs(_) => wanted.extend(receipts.catch_up.as_mut().map(Walk::give_back).map(Want::Rest)),
                    Caught::Partly | Caught::Up => {}
                }
                session.owes_receipts = served == Served::More;
                return served;
            }
            receipts.catch_up = None;
        }
        let (waits, below) = receipts.take_listed(state, listener, &mut frames);
        let more = frames.left == 0 && (!receipts.direct.is_empty() || receipts.due);
        let told_all = below == u64::MAX;
        // What waits counts as not told, and so does everything above it.
        let upto = state.versions.last.min(below.saturating_sub(1)).max(listener.since);
        let (closed, unclosed) = match told_all {
            true => (frames.close(&token(upto)), false),
            false => (false, frames.pause()),
        };
        receipts.unclosed = unclosed;
        let behind = std::mem::take(&mut receipts.gone);
        let more = more || behind;
        session.behind = behind;
        session.told = upto;
        if closed {
            session.given = upto;
        }
        session.owes_receipts = more;
        if waits && !more {
            undurable.push(to);
        }
        if more { Served::More } else { Served::All }
    }
}

impl Receipts {
    /// Adds what is listed, as far as there is room. Whether something waits until it is durable, and the lowest version of what
    /// was left out.
    fn take_listed<O: Outputs>(
        &mut self,
        state: &State,
        listener: Listener,
        frames: &mut Frames<'_, O>,
    ) -> (bool, u64) {
        let (mut waits, mut below) = (false, u64::MAX);
        let mut direct = std::mem::take(&mut self.direct);
        direct.sort_unstable();
        direct.dedup();
        direct.retain(|&(slot, serial, index)| {
            let Some(active) = state.conversation(slot).filter(|active| active.serial == serial) else {
                self.gone = true;
                return false;
            };
            let Some(me) = listener.place(active) else { return false };
            let Some(version) = first_version(active, me, index, listener.since) else { return false };
            let durable = active.skipped <= state.synced;
            if durable && frames.left > 0 {
                frames.add(active, me, index, listener.since);
                return false;
            }
            waits |= !durable;
            below = below.min(version);
            true
        });
        // Its room serves the next ones.
        self.direct = direct;
        if self.due {
            self.compact();
            let mut undurable = Vec::new();
            while frames.left > 0
                && let Some((slot, serial, index)) = self.held.pop()
            {
                let Some(active) = state.conversation(slot).filter(|active| active.serial == serial) else {
                    self.gone = true;
                    continue;
                };
                let Some(me) = listener.place(active) else { continue };
                match index {
                    _ if active.skipped > state.synced => undurable.push((slot, serial, index)),
                    // A change of members may have noted skips, or not.
                    ALL if !concerns(active, me, listener.since) => {}
                    ALL => frames.add_all(active, me, listener.since),
                    index => frames.add(active, me, index, listener.since),
                }
            }
            waits |= !undurable.is_empty();
            self.due = !self.held.is_empty();
            self.held.append(&mut undurable);
            if self.held.is_empty() {
                self.held_from = 0;
            } else if !self.due {
                // Told as soon as it is durable.
                self.due = true;
            }
        }
        if self.held_from > 0 {
            below = below.min(self.held_from);
        }
        if self.gone {
            below = 0;
        }
        (waits, below)
    }
}
