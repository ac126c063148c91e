//! Users and their devices. A device that begins or ends is a record of its user, followed by one record for each of the user's
//! conversations. These are paced; the user's row lists the device until all are written, so that a start continues with them.

use std::borrow::Cow;

use smallvec::SmallVec;
use wire::codes;
use wire::types::MAX_USER;

use super::{Decided, refuse, wait};
use crate::active::Active;
use crate::claims::Ranges;
use crate::config::Config;
use crate::ids::{DeviceId, MemberIndex, RowKey};
use crate::records::{Begins, Mailbox, Record, User as UserRecord, UserChange};
use crate::rows::{Cursor, Device, Fit, Kind, Member, User};
use crate::state::State;

/// A user that is not there yet. `None`: it is there.
///
/// # Errors
/// The name cannot be a user's.
pub fn create_user(state: &State, name: &str) -> Decided<Option<Vec<Record<'static>>>> {
    if name.is_empty() || name.len() > MAX_USER || name.chars().any(char::is_control) {
        return refuse(codes::BAD_USER);
    }
    Ok(match state.need_user(name)? {
        Some(_) => None,
        None => Some(vec![user_image(name, &User::default())]),
    })
}

fn user_image(name: &str, row: &User) -> Record<'static> {
    let mut bytes = Vec::new();
    row.encode(&mut bytes);
    Record::Image { row: RowKey::user(name), bytes: bytes.into() }
}

/// A device of a user that is new: its number, and the records. A number is free when no device has it, and no conversation
/// is still to take up that one ended.
///
/// # Errors
/// There is no such user, it has as many devices as it may, or its row is needed.
pub fn register_device<'a>(state: &State, config: &Config, name: &'a str) -> Decided<(DeviceId, Vec<Record<'a>>)> {
    let Some((_, row)) = state.need_user(name)? else { return refuse(codes::UNKNOWN_USER) };
    if row.devices.len() >= config.devices {
        return refuse(codes::TOO_MANY_DEVICES);
    }
    let used = |device: &DeviceId| row.devices.contains(device) || row.fits.iter().any(|fit| fit.device == *device);
    let Some(device) = (1..DeviceId::MAX).find(|device| !used(device)) else { return refuse(codes::TOO_MANY_DEVICES) };
    let mut bytes = Vec::new();
    Device::default().encode(&mut bytes);
    let image = Record::Image { row: RowKey::device(name, device), bytes: bytes.into() };
    Ok((device, vec![changed(row, name, Fit { device, begins: true }), image]))
}

/// A device of a user is no more. `None`: there is no such device.
///
/// # Errors
/// There is no such user, or its row is needed.
pub fn drop_device<'a>(state: &State, name: &'a str, device: DeviceId) -> Decided<Option<Vec<Record<'a>>>> {
    let Some((_, row)) = state.need_user(name)? else { return refuse(codes::UNKNOWN_USER) };
    let there = row.devices.contains(&device);
    Ok(there.then(|| vec![changed(row, name, Fit { device, begins: false })]))
}

fn changed<'a>(row: &User, name: &'a str, fit: Fit) -> Record<'a> {
    Record::User(UserRecord { name, change: row.changes.wrapping_add(1), what: UserChange::Device(fit) })
}

/// How far a change of a device has got in the conversations of its user.
#[derive(Clone, Debug, PartialEq)]
pub enum Fitting<'a> {
    /// Nothing is to be done.
    Done,
    /// The next records, and where to go on when they are committed.
    More(Vec<Record<'a>>, usize),
}

/// The next conversations that take up the oldest change of a device of this user, at most `most`, from the user's place `from`
/// on; each is a record of its own, and what a crash leaves undone is found again. Places shift when conversations come and
/// go, so the change is done when a pass from 0 found nothing.
///
/// # Errors
/// The user's row or its conversations are needed.
pub fn fit<'a>(state: &State, name: &'a str, from: usize, most: usize) -> Decided<Fitting<'a>> {
    let Some((user, row)) = state.need_user(name)? else { return Ok(Fitting::Done) };
    let Some(fit) = row.fits.first() else { return Ok(Fitting::Done) };
    state.need_conversations(user)?;
    let slots = state.users.get(user).map_or(&[][..], |entry| &entry.conversations);
    let starts = fit.begins && row.devices.contains(&fit.device);
    let mut records = Vec::new();
    for (place, &slot) in slots.iter().enumerate().skip(from) {
        let Some(active) = state.conversation(slot) else { continue };
        let Some(index) = active.row.iter().find(|(_, m)| m.user == user && m.admits(fit.device)).map(|(i, _)| i)
        else {
            continue;
        };
        let Some(member) = active.row.member(index) else { continue };
        let has = member.cursor(fit.device).is_some();
        let change = active.row.changes.wrapping_add(1);
        if starts && !has && member.is_current() {
            records.push(Record::Mailbox(begins(active, index, (name.into(), fit.device), change)));
        } else if !fit.begins && has {
            records.push(Record::Mailbox(ends(state, active, index, (name, fit.device), change)));
        }
        if records.len() >= most {
            return Ok(Fitting::More(records, place + 1));
        }
    }
    if records.is_empty() && from == 0 {
        let change = row.changes.wrapping_add(1);
        records.push(Record::User(UserRecord { name, change, what: UserChange::Fitted }));
    }
    Ok(Fitting::More(records, 0))
}

/// A device of a member begins to take part: it gets what comes from now on, or what waits for a first device.
pub(super) fn begins<'a>(
    active: &Active,
    index: MemberIndex,
    (user, device): (Cow<'a, str>, DeviceId),
    change: u16,
) -> Mailbox<'a> {
    let fresh = active.row.kind == Kind::Group;
    let begins = Begins { acked: active.row.head, base: active.unvouched(index), fresh };
    Mailbox {
        conversation: active.id,
        change,
        user,
        device,
        begins: Some(begins),
        orphaned: SmallVec::new(),
        version: 0,
    }
}

fn ends<'a>(
    state: &State,
    active: &Active,
    index: MemberIndex,
    (user, device): (&'a str, DeviceId),
    change: u16,
) -> Mailbox<'a> {
    let orphaned = active.row.member(index).map_or_else(Ranges::new, |member| orphaned(active, index, member, device));
    let version = if orphaned.is_empty() { 0 } else { state.version_for_decision() };
    Mailbox { conversation: active.id, change, user: user.into(), device, begins: None, orphaned, version }
}

/// What only this device has or would have had. If it had something that a receipt could not say yet, that is a skip too: it
/// costs a tick, and claims nothing. The mailbox of the only device of a current member waits for the next one, which has no
/// body of its own in what was sent before it came.
fn orphaned(active: &Active, index: MemberIndex, member: &Member, device: DeviceId) -> Ranges {
    let waits = member.is_current() && member.only == 0 && member.cursors.len() == 1;
    let served = |cursor: &Cursor, seq: u64| {
        if waits {
            return cursor.base < seq && !active.entries.is_per_device(seq);
        }
        let coming = cursor.base < seq && cursor.acked < seq;
        coming && cursor.device != device && active.has_body(member, cursor.device, seq)
    };
    active.lacked(index, (1, active.row.head), device, served)
}

/// A user takes nothing from another one, or does again. `None`: it is so already.
///
/// # Errors
/// One of them is no user, they are the same, too many are blocked, or rows are needed.
pub fn block<'a>(
    state: &State,
    config: &Config,
    name: &'a str,
    other: &'a str,
    off: bool,
) -> Decided<Option<Vec<Record<'a>>>> {
    if name == other {
        return refuse(codes::BAD_FIELD);
    }
    let Some((_, row)) = state.need_user(name)? else { return wait(RowKey::user(name)) };
    if state.need_user(other)?.is_none() {
        return refuse(codes::UNKNOWN_USER);
    }
    if row.blocks(other) != off {
        return Ok(None);
    }
    if !off && row.blocked.len() >= config.blocks {
        return refuse(codes::TOO_MANY);
    }
    let change = row.changes.wrapping_add(1);
    Ok(Some(vec![Record::User(UserRecord { name, change, what: UserChange::Block { name: other, off } })]))
}
