//! What a device asks about: devices, groups, blocked users, and who has a message of a group. Also how much waits for it.
//!
//! A query changes nothing. Its answer tells exact facts of the newest position, so whoever sends it holds it until that is
//! durable. It has at most as many items as there may be devices, members, groups or blocked users.

use std::ops::Bound;

use seam::Query;
use wire::codes;
use wire::types::{CursorOf, DeviceList, GroupFrame, Profile, ServerFrame};

use crate::active::Active;
use crate::ids::{ConversationId, ConversationSlot, DeviceId, MemberIndex, RowKey, UserSlot};
use crate::index::Resting;
use crate::propose::{Author, Decided, Stop, refuse, wait};
use crate::rows::Member;
use crate::state::State;

/// What waits for a device, counted a bounded number of messages at a time: see [`State::count_waiting`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Messages that it will be sent.
    pub messages: u64,
    /// Conversations that they are in.
    pub conversations: u64,
    /// The last conversation that was finished.
    after: Option<ConversationSlot>,
    /// Of the next one the last number that was looked at, and whether a message was found.
    within: (u64, bool),
}

impl State {
    /// Answers a query, by a call of `answer`.
    ///
    /// # Errors
    /// It is about nothing that the author may know, or rows or an index are needed.
    pub fn query(&self, author: Author<'_>, query: &Query<'_>, answer: impl FnOnce(&ServerFrame<'_>)) -> Decided<()> {
        match *query {
            Query::Devices(name) => {
                let Some((_, row)) = self.need_user(name)? else { return refuse(codes::UNKNOWN_USER) };
                let devices = row.devices.iter().map(|&device| u32::from(device)).collect();
                let version = u64::from(row.list_version);
                answer(&ServerFrame::Devices(DeviceList { user: name.into(), version, devices }));
            }
            Query::Group(id) => answer(&ServerFrame::Group(self.group_frame(self.own_group(author, &id)?.0))),
            Query::Groups => answer(&ServerFrame::Groups(&self.groups(author.user)?)),
            Query::Blocks => {
                let Some(row) = self.user(author.user) else { return wait(RowKey::user(author.name)) };
                answer(&ServerFrame::Blocks(row.blocked.iter().map(AsRef::as_ref).collect()));
            }
            Query::Progress(conversation, seq) => {
                let (active, member) = self.own_group(author, &conversation)?;
                if seq > active.row.head || !member.sees(seq) {
                    return refuse(codes::UNKNOWN_MESSAGE);
                }
                answer(&ServerFrame::Progress { conversation, seq, cursors: &self.progress(active, seq) });
            }
        }
        Ok(())
    }

    /// A group of which the author is a member now.
    fn own_group(&self, author: Author<'_>, id: &ConversationId) -> Decided<(&Active, &Member)> {
        let Some(active) = self.active(id) else { return self.not_in_memory(author.name, id) };
        let member = active.member(author.user, 0).and_then(|index| active.row.member(index));
        match member.filter(|member| member.role.is_some()) {
            Some(member) => Ok((active, member)),
            None => refuse(codes::UNKNOWN_CONVERSATION),
        }
    }

    /// A group as a snapshot of it.
    pub fn group_frame<'a>(&'a self, active: &'a Active) -> GroupFrame<'a> {
        let named = |member: &&'a Member| Some((self.names.text(member.user), member.role?));
        let group = active.row.group.as_deref();
        let lent = |profile: &'a crate::rows::Profile| {
            let lent = |field: &'a Option<std::borrow::Cow<'static, [u8]>>| field.as_deref().map(Into::into);
            Profile {
                name: lent(&profile.name),
                description: lent(&profile.description),
                picture: lent(&profile.picture),
            }
        };
        GroupFrame {
            conversation: active.id,
            seq: group.map_or(0, |group| group.seq),
            members: active.row.in_order().iter().filter_map(named).collect(),
            profile: group.map_or_else(Profile::default, |group| lent(&group.profile)),
            rules: group.map_or_else(Default::default, |group| group.rules),
            invites: group.map_or(&[], |group| &group.invites),
            closed: group.is_some_and(|group| group.closed),
        }
    }

    /// The groups of which a user is a member, in the order of their ids.
    fn groups(&self, user: UserSlot) -> Decided<Vec<ConversationId>> {
        let entry = self.users.get(user);
        let Some((Resting::Known(resting), groups)) = entry.map(|entry| (&entry.resting, &entry.groups)) else {
            return Err(Stop::Index(self.names.text(user).into()));
        };
        let active = groups.iter().filter_map(|&slot| Some(self.conversation(slot)?.id));
        let mut groups: Vec<ConversationId> = active.chain(resting.iter().copied()).collect();
        groups.sort_unstable();
        Ok(groups)
    }

    /// Who is to get a message, its author aside, and how far each of them is. The author of one that is gone is not known.
    fn progress(&self, active: &Active, seq: u64) -> Vec<CursorOf<'_>> {
        let entry = active.entries.get(seq);
        let wrote = |index: MemberIndex| entry.is_some_and(|entry| entry.is_by(index));
        let concerned = active.row.iter().filter(|&(index, member)| !wrote(index) && member.sees(seq));
        let cursor = |(_, member): (MemberIndex, &Member)| CursorOf {
            user: self.names.text(member.user),
            delivered: member.delivered,
            // A read above what is delivered would reveal that something was withheld.
            read: member.read.min(member.delivered),
            skipped: member.skips_seq(seq),
        };
        concerned.map(cursor).collect()
    }

    /// Goes on counting what waits for a device: at most `most` messages and conversations are looked at. True: all were. What
    /// changes meanwhile may be counted or not.
    pub fn count_waiting(&self, user: UserSlot, device: DeviceId, waiting: &mut Waiting, most: usize) -> bool {
        let Some(entry) = self.users.get(user) else { return true };
        let mut left = most;
        let behind = waiting.after.map_or(Bound::Unbounded, Bound::Excluded);
        for &slot in entry.conversations.range((behind, Bound::Unbounded)) {
            let Some(active) = self.conversation(slot) else { continue };
            for index in active.places(user) {
                let Some(member) = active.row.member(index) else { continue };
                let Some(cursor) = member.cursor(device) else { continue };
                let last = active.visible.min(member.to);
                for (seq, entry) in active.entries.from(cursor.acked.max(waiting.within.0) + 1) {
                    if seq > last {
                        break;
                    }
                    if left == 0 {
                        return false;
                    }
                    left -= 1;
                    waiting.within.0 = seq;
                    let comes = active.is_for(entry, seq, index, device) && !entry.is_lost();
                    if comes && active.has_body(member, device, seq) {
                        waiting.messages += 1;
                        waiting.conversations += u64::from(!std::mem::replace(&mut waiting.within.1, true));
                    }
                }
            }
            (waiting.after, waiting.within) = (Some(slot), (0, false));
            if left == 0 {
                return false;
            }
            left -= 1;
        }
        true
    }
}
