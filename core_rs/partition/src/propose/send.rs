//! A message: where it goes, whether it may, and what follows from it.

use smallvec::SmallVec;
use wire::codes;
use wire::message::{encode_stored_around, encode_stored_bodies};
use wire::types::{MAX_ID, Send, Target};

use super::{Author, Decided, Records, Refusal, Sent, Stop, conversation_id, devices, floor, refuse, wait};
use crate::active::Active;
use crate::config::{Config, Now};
use crate::ids::{ConversationId, ConversationSlot, DeviceId, MemberIndex, RowKey, UserSlot};
use crate::records::message::{Extra, Slots};
use crate::records::{Message, Record};
use crate::rows::{Conversation, Cursor, Kind, Member};
use crate::state::State;

/// Where a message goes.
struct Destination {
    id: ConversationId,
    kind: Kind,
    /// The conversation, if it is there, and the author's place in it.
    found: Option<(ConversationSlot, Option<MemberIndex>)>,
    /// The users whose devices get it, the author's first; empty for a group.
    users: SmallVec<[UserSlot; 2]>,
    /// Of a conversation that is not there yet: its members' devices, 0 for all.
    new: Option<SmallVec<[(UserSlot, DeviceId); 2]>>,
}

/// What a send comes to. `stored` is room for the message's bytes but for its body; the records borrow both. `last`: where the
/// author's last message went. If that is where this one goes, nothing is looked up; if not, or if the slot is another
/// conversation's by now, it does no harm.
///
/// # Errors
/// The send is refused before it has a number, or rows are needed: see [`Stop`].
pub fn send<'a>(
    state: &State,
    now: Now,
    config: &Config,
    author: Author<'a>,
    last: Option<ConversationSlot>,
    send: &'a Send<'a>,
    stored: &'a mut Vec<u8>,
) -> Decided<Sent<'a>> {
    if send.id.is_empty() || send.id.len() > MAX_ID {
        return refuse(codes::BAD_ID);
    }
    let device = state.need_author(author)?;
    let user = author.user;
    if let Some(repeat) = device.row.repeats.find(&send.id) {
        // A repeat is the same message, whatever has changed since: who is there, which devices, the room on the disk.
        let same = target_id(author, &send.target) == repeat.conversation;
        return if same { Ok(Sent::Again(repeat.clone())) } else { refuse(codes::ID_REUSED) };
    }
    let to = destination(state, author, last, &send.target)?;
    if !send.bodies.is_empty() {
        match to.kind {
            Kind::Group => return refuse(codes::BAD_FIELD),
            _ => check_lists(state, &to, send)?,
        }
    }
    let active = to.found.and_then(|found| state.conversation(found.0));
    let mut records = Records::new();
    let mut change = active.map_or(0, |active| active.row.changes);
    match active {
        Some(active) if to.kind == Kind::Group => {
            if let Some(raised) = floor::cap(state, config, active) {
                change = raised.change;
                records.push(Record::Floor(raised));
            }
        }
        Some(active) if is_full(active, config) => return refuse(codes::CONVERSATION_FULL),
        _ => {}
    }
    if let (Some(active), Some((_, member))) = (active, to.found) {
        if to.kind == Kind::Device || !send.bodies.is_empty() {
            devices::begin(state, active, recipients(state, active), &mut change, &mut records);
        } else {
            // The cursor of the author's device is to pass the message.
            let author = member.map(|index| (index, author.device));
            devices::begin(state, active, author, &mut change, &mut records);
        }
    }
    if let Some(members) = &to.new {
        let row = new_row(state, to.kind, members)?;
        let mut bytes = Vec::new();
        row.encode(&state.names, &mut bytes);
        records.push(Record::Image { row: RowKey::Conversation(to.id), bytes: bytes.into() });
    }
    let other = to.users.iter().copied().find(|&other| other != user).filter(|_| to.kind != Kind::Group);
    let withheld = other.and_then(|other| state.user(other)).is_some_and(|other| other.blocks(author.name));
    let (seq, enter) = state.next_seq(to.id, active.map_or(0, |active| active.row.head), change);
    if let Some(enter) = enter {
        change = enter.change;
        records.push(Record::Enter(enter));
    }
    let message = wire::types::Message {
        conversation: to.id,
        seq,
        sender: author.name,
        device: u32::from(author.device),
        id: &send.id,
        time: now.wall_ms,
        body: &send.body,
        media: send.media.iter().map(AsRef::as_ref).collect(),
        // Whom it is for is added for the author's own devices, when it is delivered.
        to: "",
        change: None,
    };
    stored.clear();
    let body_at = if send.bodies.is_empty() {
        Some(encode_stored_around(&message, stored) as u32)
    } else {
        encode_stored_bodies(&message, &send.bodies, stored);
        None
    };
    let slots = to.found.and_then(|(conversation, author)| Some(Slots { conversation, user, author: author? }));
    let extra = if send.bodies.is_empty() { None } else { bodiless(state, &to, active, user, send) };
    records.push(Record::Message(Message {
        change: change.wrapping_add(1),
        device_change: device.row.changes.wrapping_add(1),
        withheld,
        extra,
        message,
        stored,
        body_at,
        slots,
    }));
    Ok(Sent::New { conversation: to.id, seq, records })
}

fn target_id(author: Author<'_>, target: &Target<'_>) -> ConversationId {
    match target {
        Target::Conversation(id) => *id,
        Target::User(name) => conversation_id(Kind::Direct, [(author.name, 0), (name, 0)]),
        Target::Device(name, other) => {
            conversation_id(Kind::Device, [(author.name, author.device.into()), (name, *other)])
        }
    }
}

fn destination(
    state: &State,
    author: Author<'_>,
    last: Option<ConversationSlot>,
    target: &Target<'_>,
) -> Decided<Destination> {
    let user = author.user;
    let last = last.and_then(|slot| Some((slot, state.conversation(slot)?)));
    let (name, other) = match target {
        Target::Conversation(id) => {
            let last = last.filter(|(_, active)| active.id == *id).map(|(slot, _)| slot);
            return existing(state, author, (last.or_else(|| state.find(id)), *id));
        }
        Target::User(name) => (name, None),
        Target::Device(name, other) => (name, Some(*other)),
    };
    if let Some((slot, active)) = last.filter(|_| other.is_none())
        && let Some((index, peer)) = active.peer(user)
        && state.names.text(peer) == name
        && state.user(peer).is_some()
    {
        let (users, found) = ([user, peer].into(), Some((slot, Some(index))));
        return Ok(Destination { id: active.id, kind: Kind::Direct, found, users, new: None });
    }
    let id = target_id(author, target);
    let Some((peer, row)) = state.need_user(name)? else { return refuse(codes::UNKNOWN_USER) };
    let (kind, other) = match other {
        None => (Kind::Direct, 0),
        Some(other) => match DeviceId::try_from(other).ok().filter(|other| row.devices.contains(other)) {
            Some(other) if (peer, other) != (user, author.device) => (Kind::Device, other),
            _ => return refuse(codes::UNKNOWN_USER),
        },
    };
    let mine = if kind == Kind::Device { author.device } else { 0 };
    let mut members: SmallVec<[(UserSlot, DeviceId); 2]> = SmallVec::from_slice(&[(user, mine), (peer, other)]);
    members.dedup();
    let mut users: SmallVec<[UserSlot; 2]> = members.iter().map(|member| member.0).collect();
    users.dedup();
    let found = state.find(&id);
    let found =
        found.map(|slot| (slot, state.conversation(slot).and_then(|active| active.member(user, author.device))));
    let new = match found {
        Some(_) => None,
        None if state.is_absent(&RowKey::Conversation(id)) => Some(members),
        None => return wait(RowKey::Conversation(id)),
    };
    Ok(Destination { id, kind, found, users, new })
}

/// A conversation that is there, if it is the author's to write in; else one cannot tell it from one that is not (I8).
fn existing(
    state: &State,
    author: Author<'_>,
    (slot, id): (Option<ConversationSlot>, ConversationId),
) -> Decided<Destination> {
    let user = author.user;
    let Some((slot, active)) = slot.and_then(|slot| Some((slot, state.conversation(slot)?))) else {
        return state.not_in_memory(author.name, &id);
    };
    let index = active.member(user, author.device);
    let member = index.and_then(|index| active.row.member(index));
    let Some(member) = member.filter(|member| member.is_current()) else { return refuse(codes::UNKNOWN_CONVERSATION) };
    if active.row.group.as_ref().is_some_and(|group| !group.admits(group.rules.post, member.role)) {
        return refuse(codes::FORBIDDEN);
    }
    let mut users = SmallVec::from_slice(&[user]);
    if active.row.kind != Kind::Group {
        users.extend(active.row.iter().map(|(_, member)| member.user).filter(|&other| other != user));
        // Whether the other user blocks this one, and its devices, stand in its row.
        let missing = users.iter().filter(|&&other| state.user(other).is_none());
        let missing: SmallVec<[RowKey; 2]> = missing.map(|&other| RowKey::user(state.names.text(other))).collect();
        if !missing.is_empty() {
            return Err(Stop::Wait(missing));
        }
        // As for a send that names the device: there must be one.
        let there = |member: &Member| state.user(member.user).is_some_and(|row| row.devices.contains(&member.only));
        if active.row.kind == Kind::Device && !active.row.iter().all(|(_, member)| there(member)) {
            return refuse(codes::UNKNOWN_USER);
        }
    }
    Ok(Destination { id, kind: active.row.kind, found: Some((slot, index)), users, new: None })
}

fn is_full(active: &Active, config: &Config) -> bool {
    active.entries.len() >= config.conversation_messages || active.entries.bytes() >= config.conversation_bytes
}

/// Devices that a message with a body per device is made for; in a device conversation one may have got the number of a device
/// that ended.
fn recipients(state: &State, active: &Active) -> SmallVec<[(MemberIndex, DeviceId); 2]> {
    if active.row.kind == Kind::Device {
        return active.row.iter().map(|(index, member)| (index, member.only)).collect();
    }
    let devices = |user| state.user(user).map_or(&[][..], |row| &row.devices);
    let members = active.row.iter();
    members.flat_map(|(index, member)| devices(member.user).iter().map(move |&device| (index, device))).collect()
}

/// The row of a direct or device conversation that begins: its members with the mailboxes of their devices.
fn new_row(state: &State, kind: Kind, members: &[(UserSlot, DeviceId)]) -> Decided<Conversation> {
    let mut row = Conversation::new(kind);
    for &(user, only) in members {
        let Some(known) = state.user(user) else { return wait(RowKey::user(state.names.text(user))) };
        let mut member = Member::new(user, only, 1);
        let devices = known.devices.iter().filter(|&&device| only == 0 || only == device);
        member.cursors = devices.map(|&device| Cursor::new(device, 0)).collect();
        if member.cursors.is_empty() {
            member.cursors.push(Cursor::new(0, 0));
        }
        row.members.push(Some(member));
    }
    Ok(row)
}

/// A message with a body per device is made for the devices that there are; if not, the author is given the lists.
fn check_lists(state: &State, to: &Destination, send: &Send<'_>) -> Decided<()> {
    let named = |user: UserSlot, version: u32| {
        let name = state.names.text(user);
        send.lists.iter().any(|list| list.user == name && list.version == u64::from(version))
    };
    for &user in &to.users {
        if state.user(user).is_none() {
            return wait(RowKey::user(state.names.text(user)));
        }
    }
    let rows = || to.users.iter().filter_map(|&user| Some((user, state.user(user)?)));
    let strangers = send.bodies.iter().any(|body| !to.users.iter().any(|&user| state.names.text(user) == body.user));
    if !strangers && rows().all(|(user, row)| named(user, row.list_version)) {
        return Ok(());
    }
    let list = |(user, row): (UserSlot, &crate::rows::User)| {
        (state.names.text(user).into(), row.list_version, row.devices.clone())
    };
    let lists = rows().map(list).collect();
    Err(Stop::Refused(Box::new(Refusal { code: codes::DEVICES_CHANGED, conversation: Some(to.id), lists })))
}

/// Members for none of whose devices there is a body: they will never have the message.
fn bodiless<'a>(
    state: &State,
    to: &Destination,
    active: Option<&Active>,
    author: UserSlot,
    send: &Send<'_>,
) -> Option<Box<Extra<'a>>> {
    let served = |user: UserSlot, device: DeviceId| {
        let name = state.names.text(user);
        send.bodies.iter().any(|body| body.user == name && body.device == u32::from(device))
    };
    let known = |user: UserSlot| state.user(user).is_some_and(|row| row.devices.iter().any(|&d| served(user, d)));
    let bodiless: SmallVec<[u32; 2]> = match (active, &to.new) {
        (Some(active), _) => {
            let lacks = |(_, member): &(MemberIndex, &Member)| {
                let any = match member.only {
                    0 => known(member.user) || member.cursors.iter().any(|cursor| served(member.user, cursor.device)),
                    only => served(member.user, only),
                };
                member.user != author && !any
            };
            active.row.iter().filter(lacks).map(|(index, _)| index.place() as u32).collect()
        }
        (None, Some(members)) => {
            let lacks = |(_, member): &(usize, &(UserSlot, DeviceId))| {
                let any = if member.1 == 0 { known(member.0) } else { served(member.0, member.1) };
                member.0 != author && !any
            };
            members.iter().enumerate().filter(lacks).map(|(place, _)| place as u32).collect()
        }
        (None, None) => SmallVec::new(),
    };
    let version = state.version_for_decision();
    (!bodiless.is_empty()).then(|| Box::new(Extra { version, bodiless, ..Extra::default() }))
}
