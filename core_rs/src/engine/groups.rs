//! A change of a group on its way from a wish to durable: like a send, it is checked, numbered, logged, accepted, and handed
//! to delivery.
//!
//! What a wish comes to, the group says (`crate::group`). Here stands what it cannot know: that every user whom it concerns
//! is known, that nobody is added against a block, and that users know their groups.

use std::borrow::Cow;
use std::collections::HashSet;

use super::Engine;
use super::api::Key;
use super::frames::Handled;
use super::permits::Action;
use super::sends::NO_CONVERSATION;
use super::session::Session;
use super::uses::Row;
use crate::delivery::conversation::Conversation;
use crate::group::{Change, Group, MAX_INVITES, Moved, Refusal};
use crate::log::Ref;
use crate::sequencer::{Flying, Kind, Sequenced};
use crate::wire::codes;
use crate::wire::ids::group_id;
use crate::wire::message::encode_stored;
use crate::wire::types::{self as wire, ConversationId, Manage, Message};

/// Most groups of one user.
pub const MAX_GROUPS: usize = 1000;
/// Most of a group's changes that are not to be seen yet, bytes of their records; and never more than a quarter of a
/// segment. They are part of the group's full state, which is one record.
const FLYING: u32 = 4 << 20;

/// Why a frame goes no further.
pub(super) enum Stop {
    /// It waits for an answer.
    Wait,
    /// It is refused, with a code and words.
    Refuse(&'static str, Cow<'static, str>),
}

fn refuse<T>(code: &'static str, message: &'static str) -> Result<T, Stop> {
    Err(Stop::Refuse(code, message.into()))
}

impl Engine {
    /// A change is wanted.
    pub(super) fn manage(&mut self, slot: u32, manage: &Manage<'_>) -> Handled {
        let Some(from) = self.conns.session(slot).map(Session::mailbox) else { return Handled::Done };
        let id = manage.conversation.unwrap_or_else(|| group_id(self.directory.name(from.0), from.1, &manage.id));
        if let Some(repeat) = self.sequencer.sender(from).and_then(|s| s.find(&manage.id)) {
            self.again(slot, &manage.id, id, 0, repeat);
        } else {
            match self.decide(slot, from.0, &id, &manage.change) {
                Ok(change) => self.accept_change(slot, from, id, &manage.id, change),
                Err(Stop::Refuse(code, message)) => self.refuse_id(slot, &manage.id, code, &message),
                Err(Stop::Wait) => return Handled::Blocked,
            }
        }
        Handled::Done
    }

    /// What a wish comes to. What is refused is so before anything has a number.
    fn decide(
        &mut self,
        slot: u32,
        actor: u32,
        id: &ConversationId,
        wanted: &wire::Change<'_>,
    ) -> Result<Change, Stop> {
        if self.full.is_some() {
            return refuse(codes::STORAGE_FULL, "The server's disk is full; try again later.");
        }
        let creates = matches!(wanted, wire::Change::Created { .. });
        let joins = matches!(wanted, wire::Change::Joined { .. });
        if !creates && !joins && !self.lists_group(actor, id) {
            return Err(self.refused(Refusal::Unknown));
        }
        // Before anything is asked for: what is refused must not have begun to wait.
        if self.rows.are_damaged() {
            let names = self.to_be_known(id, wanted, true);
            let keys = names.iter().map(|&name| Key::User(name.into())).chain([Key::Conversation(*id)]);
            if keys.into_iter().any(|key| self.rows.is_unusable(&key)) {
                self.rows.wanted = true;
                return Err(Stop::Wait);
            }
        }
        // Together with the users of whom it is certain that they must be known, so that it is one trip.
        let used = self.use_rows(slot, &[Row::Conversation(id)]).is_ok();
        self.gather(slot, &self.to_be_known(id, wanted, used))?;
        if !used {
            return Err(Stop::Wait);
        }
        if creates && !self.sequencer.has(id) && !self.is_absent(slot, &Key::Conversation(*id)) {
            self.ask_for(slot, [Key::Conversation(*id)]);
            return Err(Stop::Wait);
        }
        if creates && self.estranged.contains_key(id) {
            self.begin_group(*id);
        }
        // One in which nothing has happened is what a crash left of a beginning.
        let group = self.sequencer.group(id).filter(|group| group.seq > 0);
        match (wanted, group) {
            (_, None) if creates => {}
            (_, Some(_)) if creates => {
                return refuse(codes::ID_REUSED, "This id was used for another group.");
            }
            (wire::Change::Joined { .. }, Some(_)) => {}
            (wire::Change::Joined { .. }, None) => return Err(self.refused(Refusal::BadInvite)),
            (_, Some(group)) if group.role(actor).is_some() => {}
            _ => return Err(self.refused(Refusal::Unknown)),
        }
        match self.permitted(slot, id, Action::Manage) {
            Some(true) => {}
            Some(false) => return refuse(codes::FORBIDDEN, "Managing this group is not allowed."),
            None => return Err(Stop::Wait),
        }
        let Some(wanted) = Change::resolve(wanted, |name| self.directory.find(name)) else {
            return refuse(codes::UNKNOWN_USER, "There is no such user.");
        };
        let nothing = Group::default();
        let group = self.sequencer.group(id).unwrap_or(&nothing);
        let (now_ms, most) = (self.clock.time_ms(), self.config.group_members as usize);
        let change = group.decide(actor, wanted, now_ms, most).map_err(|refusal| self.refused(refusal))?;
        self.check_newcomers(actor, &change)?;
        self.gather_leavers(slot, id, &change)?;
        let flying: u32 = self.flying(id).map(|flying| flying.bytes).sum();
        if flying > FLYING.min(self.config.segment_bytes / 4) {
            return refuse(codes::CONVERSATION_FULL, "Too many changes of this group wait for the disk.");
        }
        Ok(change)
    }

    /// The users of a wish who must be known: whoever comes or goes, and, once the group is in memory, others of whom it
    /// is not certain that they exist.
    fn to_be_known<'a>(&self, id: &ConversationId, wanted: &'a wire::Change<'_>, here: bool) -> Vec<&'a str> {
        let moves = matches!(wanted, wire::Change::Created { .. } | wire::Change::Added(_) | wire::Change::Removed(_));
        if !here && !moves {
            return Vec::new();
        }
        let group = self.sequencer.group(id);
        let role = |name: &str| group.and_then(|group| group.role(self.directory.find(name)?));
        named(wanted).into_iter().filter(|name| moves || role(name).is_none()).collect()
    }

    /// Whether those whom a change makes members may become so. Why somebody may not is not told.
    fn check_newcomers(&self, actor: u32, change: &Change) -> Result<(), Stop> {
        let (others, comes) = match change {
            Change::Created { members, .. } => (members.as_slice(), true),
            Change::Added(users) => (users.as_slice(), false),
            Change::Joined(_) => (&[][..], true),
            _ => return Ok(()),
        };
        let full = |user: u32| self.directory.get(user).is_some_and(|user| user.groups.len() >= MAX_GROUPS);
        if comes && full(actor) {
            return Err(Stop::Refuse(codes::TOO_MANY, format!("You are in {MAX_GROUPS} groups already.").into()));
        }
        let me = self.directory.name(actor);
        let refuses = |user: u32| full(user) || self.directory.get(user).is_some_and(|user| user.blocks(me));
        if others.iter().any(|&user| refuses(user)) {
            return refuse(codes::CANNOT_ADD, "Somebody of these cannot be added.");
        }
        Ok(())
    }

    /// Whoever a change removes must be known too, though it does not name them: users know their groups.
    fn gather_leavers(&mut self, slot: u32, id: &ConversationId, change: &Change) -> Result<(), Stop> {
        if *change != Change::Closed {
            return Ok(());
        }
        let members = self.sequencer.group(id).map(|group| &*group.members).unwrap_or_default();
        let names: Vec<String> = members.iter().map(|member| self.directory.name(member.0).to_owned()).collect();
        self.gather(slot, &names.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn refused(&self, refusal: Refusal) -> Stop {
        let (code, message) = match refusal {
            Refusal::Unknown => (codes::UNKNOWN_CONVERSATION, NO_CONVERSATION.into()),
            Refusal::Forbidden => (codes::FORBIDDEN, "Your role in this group does not allow that.".into()),
            Refusal::NoChange => (codes::NO_CHANGE, "It is so already, or concerns nobody.".into()),
            Refusal::Full => {
                (codes::GROUP_FULL, format!("A group has at most {} members.", self.config.group_members).into())
            }
            Refusal::BadInvite => (codes::BAD_INVITE, "This invite is unknown, revoked or expired.".into()),
            Refusal::TooManyInvites => (
                codes::TOO_MANY,
                format!("A group has at most {MAX_INVITES} invites that have not expired: revoke one first.").into(),
            ),
        };
        Stop::Refuse(code, message)
    }

    fn accept_change(&mut self, slot: u32, from: (u32, u16), id: ConversationId, sent_as: &[u8], change: Change) {
        if !self.sequencer.has(&id) {
            self.begin_group(id);
        }
        if let Some(place) = self.delivery.find(&id) {
            self.log_cursors_of(place);
        }
        let Some(seq) = self.sequencer.number_change(&id) else { return };
        let ((user, device), time_ms) = (from, self.clock.time_ms());
        let message = Message {
            conversation: id,
            seq,
            sender: self.directory.name(user),
            device: u32::from(device),
            id: sent_as,
            time: time_ms,
            body: &[],
            media: Vec::new(),
            to: "",
            change: Some(Box::new(change.named(&self.directory))),
        };
        let mut stored = Vec::new();
        encode_stored(&message, &mut stored);
        let bytes = stored.len();
        // The states of the group and of those whom it moves come before the change, which is a delta of all of them.
        self.ensure_logged(user, &id, seq - 1);
        self.log_mailboxes(&id, seq, &change.newcomers(user));
        let flying = Flying { seq, actor: user, change: change.clone(), bytes: bytes as u32 };
        let moved = self.sequencer.change(&id, flying);
        self.note_moved(&id, &moved);
        let (at, bodies, withheld) = (Ref::default(), None, false);
        let change = Some(Box::new(change));
        let sequenced =
            Sequenced { conversation: id, seq, user, device, at, time_ms, bodies, change, withheld, stored };
        self.log_message(slot, sent_as, bytes, sequenced);
    }

    /// Users know their groups from the moment at which a change has its number; until it is to be seen, the group keeps
    /// them in memory.
    fn note_moved(&mut self, id: &ConversationId, moved: &Moved) {
        for &user in moved.came.iter().chain(&moved.went) {
            if self.directory.get(user).is_some_and(|known| known.mark.full_in == 0) {
                self.log_user(user);
            }
        }
        self.move_users(id, moved);
        let Some(place) = self.delivery.find(id) else { return };
        for &user in &moved.came {
            if let Some(known) = self.directory.get_mut(user)
                && !known.conversations.contains(&place)
            {
                known.conversations.push(place);
            }
        }
    }

    fn move_users(&mut self, id: &ConversationId, moved: &Moved) {
        for &user in &moved.came {
            if let Some(known) = self.directory.get_mut(user).filter(|known| known.known) {
                if !known.groups.contains(id) {
                    known.groups.push(*id);
                }
                known.mark.change();
            }
        }
        for &user in &moved.went {
            if let Some(known) = self.directory.get_mut(user).filter(|known| known.known) {
                known.groups.retain(|group| group != id);
                known.mark.change();
            }
        }
    }

    /// A change is read from the log, whatever is known of its group yet: the users whom it moves, if their states came
    /// before it. Where it moves everybody, the group is asked when all is read.
    pub(super) fn replay_moves(&mut self, id: &ConversationId, sender: &str, change: &Change) {
        let actor = self.directory.intern(sender);
        let went = match change {
            Change::Removed(users) => users.clone(),
            Change::Left { .. } => vec![actor],
            _ => Vec::new(),
        };
        self.move_users(id, &Moved { came: change.newcomers(actor), went });
    }

    /// A group in which nothing has happened yet: its first message makes its members.
    pub(super) fn begin_group(&mut self, id: ConversationId) {
        let mut conversation = Conversation::new(id, Kind::Group, 0);
        conversation.mark.touch(self.clock.mono_ms());
        self.sequencer.load_group(id, Group::default(), 0, 1, 0);
        let slot = self.delivery.insert(&mut self.directory, conversation);
        self.reunite(slot);
    }

    /// After damage a user may know of groups that it is no member of, or not of one that it is a member of: those that are
    /// here are right. And nobody is a member of those that were closed.
    pub(super) fn settle_groups(&mut self, user: u32, closed: &HashSet<ConversationId>) {
        let Some(known) = self.directory.get(user).filter(|known| known.known) else { return };
        let mut groups = known.groups.clone();
        groups.retain(|id| !closed.contains(id));
        groups.retain(|id| self.sequencer.group(id).is_none_or(|group| group.role(user).is_some()));
        for &slot in &known.conversations {
            let Some(conversation) = self.delivery.get(slot).filter(|c| c.kind == Kind::Group) else { continue };
            let member = self.sequencer.group(&conversation.id).is_some_and(|group| group.role(user).is_some());
            if member && !groups.contains(&conversation.id) {
                groups.push(conversation.id);
            }
        }
        if groups != known.groups
            && let Some(known) = self.directory.get_mut(user)
        {
            known.groups = groups;
            self.log_user(user);
        }
    }
}

/// The users whom a change names.
fn named<'a>(change: &'a wire::Change<'_>) -> Vec<&'a str> {
    match change {
        wire::Change::Created { members: users, .. }
        | wire::Change::Added(users)
        | wire::Change::Removed(users)
        | wire::Change::Promoted(users)
        | wire::Change::Demoted(users) => users.iter().map(AsRef::as_ref).collect(),
        wire::Change::Owner(user) => vec![user],
        _ => Vec::new(),
    }
}
