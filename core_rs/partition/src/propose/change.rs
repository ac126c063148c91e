//! A change of a group. [`rules`](super::rules) decides what the change is; this module adds what follows from it: the devices of
//! new members, mailboxes that must begin before their user leaves, and places of former members that are reused.

use std::borrow::Cow;

use smallvec::SmallVec;
use wire::codes;
use wire::message::encode_stored;
use wire::types::{Change, MAX_ID, Manage};

use super::rules::View;
use super::{Author, Decided, Records, Sent, devices, floor, group_id, refuse, wait};
use crate::active::Active;
use crate::config::{Config, Now};
use crate::ids::{MemberIndex, RowKey, UserSlot};
use crate::records::message::Extra;
use crate::records::{Came, Message, Record};
use crate::rows::{Conversation, Kind};
use crate::state::State;

/// Members of old whose places are kept. Above that, places are freed: that costs a tick, and claims nothing.
const MAX_GONE: usize = 1024;
/// Most places that one change frees.
const FREED_AT_ONCE: usize = 64;

/// What a wanted change comes to. `stored` is room for the message's bytes, which the records borrow.
///
/// # Errors
/// The change is refused before it has a number, or rows are needed: see [`Stop`](super::Stop).
pub fn change<'a>(
    state: &State,
    now: Now,
    config: &Config,
    author: Author<'a>,
    manage: &'a Manage<'a>,
    stored: &'a mut Vec<u8>,
) -> Decided<Sent<'a>> {
    if manage.id.is_empty() || manage.id.len() > MAX_ID {
        return refuse(codes::BAD_ID);
    }
    let device = state.need_author(author)?;
    let creates = matches!(manage.change, Change::Created { .. });
    let id = match manage.conversation {
        Some(id) if !creates => id,
        _ => group_id(author.name, author.device, &manage.id),
    };
    if let Some(repeat) = device.row.repeats.find(&manage.id) {
        return if id == repeat.conversation { Ok(Sent::Again(repeat.clone())) } else { refuse(codes::ID_REUSED) };
    }
    let active = state.active(&id);
    if active.is_none() {
        // Who creates or joins a group is no member of it.
        let outside = creates || matches!(manage.change, Change::Joined { .. });
        match RowKey::Conversation(id) {
            _ if !outside => return state.not_in_memory(author.name, &id),
            key if state.is_absent(&key) => {}
            key => return wait(key),
        }
    }
    if active.is_some_and(|active| active.row.kind != Kind::Group) {
        return refuse(codes::UNKNOWN_CONVERSATION);
    }
    let view = View { state, active, now_ms: now.wall_ms, most: config.group_members };
    check_names(&view, author.name, &manage.change)?;
    let decided = view.decide(author.name, &manage.change)?;
    let came = came(state, config, author, &manage.change, &decided)?;
    let mut records = Records::new();
    let mut change = active.map_or(0, |active| active.row.changes);
    match active {
        Some(active) => {
            if let Some(raised) = floor::cap(state, config, active) {
                change = raised.change;
                records.push(Record::Floor(raised));
            }
            devices::begin(state, active, leaving(state, active, &decided, author.name)?, &mut change, &mut records);
        }
        None => {
            let mut bytes = Vec::new();
            Conversation::new(Kind::Group).encode(&state.names, &mut bytes);
            records.push(Record::Image { row: RowKey::Conversation(id), bytes: bytes.into() });
        }
    }
    let (seq, enter) = state.next_seq(id, active.map_or(0, |active| active.row.head), change);
    if let Some(enter) = enter {
        change = enter.change;
        records.push(Record::Enter(enter));
    }
    let dropped = active.map_or_else(Vec::new, |active| freed(state, active, &came));
    let leaves = matches!(decided, Change::Removed(_) | Change::Left { .. } | Change::Closed);
    let extra = (leaves || !came.is_empty() || !dropped.is_empty())
        .then(|| Box::new(Extra { version: state.version_for_decision(), came, dropped, ..Extra::default() }));
    let message = wire::types::Message {
        conversation: id,
        seq,
        sender: author.name,
        device: u32::from(author.device),
        id: &manage.id,
        time: now.wall_ms,
        change: Some(Box::new(decided)),
        ..wire::types::Message::default()
    };
    stored.clear();
    encode_stored(&message, stored);
    records.push(Record::Message(Message {
        change: change.wrapping_add(1),
        device_change: device.row.changes.wrapping_add(1),
        withheld: false,
        extra,
        message,
        stored,
        body_at: None,
        slots: None,
    }));
    Ok(Sent::New { conversation: id, seq, records })
}

/// The users whom a wish names.
pub(crate) fn users<'a>(wanted: &'a Change<'_>) -> &'a [Cow<'a, str>] {
    match wanted {
        Change::Created { members: users, .. }
        | Change::Added(users)
        | Change::Removed(users)
        | Change::Promoted(users)
        | Change::Demoted(users) => users,
        Change::Owner(user) => std::slice::from_ref(user),
        _ => &[],
    }
}

/// Every name in a wish must be a user's. That is looked for only where the actor may know the group (I8).
fn check_names(view: &View<'_>, actor: &str, wanted: &Change<'_>) -> Decided<()> {
    let creates = matches!(wanted, Change::Created { .. });
    if !creates && view.role(actor).is_none() {
        return Ok(());
    }
    let mut missing = SmallVec::new();
    for name in users(wanted).iter().filter(|name| view.role(name).is_none()) {
        match view.state.need_user(name) {
            Ok(Some(_)) => {}
            Ok(None) => return refuse(codes::UNKNOWN_USER),
            Err(super::Stop::Wait(keys)) => missing.extend(keys),
            Err(stop) => return Err(stop),
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(super::Stop::Wait(missing)) }
}

/// Whom a change makes members, with the devices of each. Nobody is added against a block, or to too many groups; why is not
/// told.
fn came<'a>(
    state: &State,
    config: &Config,
    author: Author<'a>,
    wanted: &'a Change<'a>,
    decided: &Change<'a>,
) -> Decided<Vec<Came<'a>>> {
    let (first, others): (Option<&'a str>, &[Cow<'a, str>]) = match decided {
        Change::Created { members, .. } => (Some(author.name), members),
        Change::Added(users) => (None, users),
        Change::Joined { .. } => (Some(author.name), &[]),
        _ => return Ok(Vec::new()),
    };
    if is_in_too_many(state, config, author.user)? && first.is_some() {
        return refuse(codes::TOO_MANY);
    }
    let mut came = Vec::with_capacity(others.len() + 1);
    let given = named(wanted);
    // What was decided names users as the wish does; the records borrow from the wish.
    let others = others.iter().filter_map(|user| given.iter().find(|given| *given == user)).map(AsRef::as_ref);
    for name in first.into_iter().chain(others) {
        let Some((slot, row)) = state.need_user(name)? else { return refuse(codes::UNKNOWN_USER) };
        if Some(name) != first && (row.blocks(author.name) || is_in_too_many(state, config, slot)?) {
            return refuse(codes::CANNOT_ADD);
        }
        came.push(Came { user: name, devices: row.devices.clone() });
    }
    Ok(came)
}

fn named<'a>(change: &'a Change<'a>) -> &'a [Cow<'a, str>] {
    match change {
        Change::Created { members: users, .. } | Change::Added(users) => users,
        _ => &[],
    }
}

fn is_in_too_many(state: &State, config: &Config, user: UserSlot) -> Decided<bool> {
    Ok(state.need_groups(user)? >= config.groups)
}

/// Devices of users who leave. One that this group has not taken up yet gets what waits for it, and goes with its user.
fn leaving(
    state: &State,
    active: &Active,
    decided: &Change<'_>,
    actor: &str,
) -> Decided<Vec<(MemberIndex, crate::ids::DeviceId)>> {
    let leavers: Vec<UserSlot> = match decided {
        Change::Removed(users) => users.iter().filter_map(|user| state.names.find(user)).collect(),
        Change::Left { .. } => state.names.find(actor).into_iter().collect(),
        Change::Closed => active.row.iter().filter(|(_, m)| m.is_current()).map(|(_, m)| m.user).collect(),
        _ => Vec::new(),
    };
    let (mut missing, mut leaving) = (SmallVec::new(), Vec::new());
    for user in leavers {
        let Some(row) = state.user(user) else {
            missing.push(RowKey::user(state.names.text(user)));
            continue;
        };
        let Some(index) = active.member(user, 0) else { continue };
        leaving.extend(row.devices.iter().map(|&device| (index, device)));
    }
    if missing.is_empty() { Ok(leaving) } else { Err(super::Stop::Wait(missing)) }
}

/// Places of members of old that nothing refers to: no mailbox lacks anything, no undelivered message is theirs, nothing was
/// skipped for them. There are more than [`MAX_GONE`] of such.
fn freed(state: &State, active: &Active, came: &[Came<'_>]) -> Vec<u32> {
    let gone = active.row.iter().filter(|(_, member)| member.is_gone()).count();
    // While places are free there is no need to look for more of them.
    if gone <= MAX_GONE || active.row.members.iter().any(Option::is_none) {
        return Vec::new();
    }
    let authors: std::collections::HashSet<u16> = active.entries.from(0).map(|(_, entry)| entry.author).collect();
    let free = |&(index, member): &(MemberIndex, &crate::rows::Member)| {
        let returns = came.iter().any(|came| state.names.find(came.user) == Some(member.user));
        let wrote = u16::try_from(index.place()).is_ok_and(|place| authors.contains(&place));
        member.is_gone() && !wrote && !returns && member.skips().is_empty()
    };
    let places = active.row.iter().filter(free).map(|(index, _)| index.place() as u32);
    places.take(FREED_AT_ONCE.min(gone - MAX_GONE)).collect()
}
