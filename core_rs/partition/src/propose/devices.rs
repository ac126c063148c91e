//! Users and their devices. A device that begins or ends is a record of its user, followed by one record for each of the user's
//! conversations. These are paced; the user's row lists the device until all are written, so that a start continues with them.

use std::borrow::Cow;

use smallvec::SmallVec;
use wire::codes;
use wire::types::MAX_USER;

use super::unseen::seconds;
use super::{Decided, Records, Stop, refuse, wait};
use crate::active::Active;
use crate::claims::Ranges;
use crate::config::{Config, Now};
use crate::ids::{ConversationId, DeviceId, MemberIndex, RowKey};
use crate::index::{Step, Walk};
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

/// A device of a user that is new: the lowest number that is free, and the records.
///
/// # Errors
/// There is no such user, it has as many devices as it may, or its row is needed.
pub fn register_device<'a>(
    state: &State,
    now: Now,
    config: &Config,
    name: &'a str,
) -> Decided<(DeviceId, Vec<Record<'a>>)> {
    let Some((_, row)) = state.need_user(name)? else { return refuse(codes::UNKNOWN_USER) };
    let Some(device) = (1..DeviceId::MAX).find(|device| is_free(row, *device)) else {
        return refuse(codes::TOO_MANY_DEVICES);
    };
    Ok((device, begin_device(state, now, config, name, device)?))
}

/// A number is free when no device has it, and no conversation is still to take up that one ended.
fn is_free(row: &User, device: DeviceId) -> bool {
    !row.devices.contains(&device) && !row.fits.iter().any(|fit| fit.device == device)
}

/// A device of a user with this number, which no device has.
///
/// # Errors
/// There is no such user, it has as many devices as it may, its row is needed, or not all conversations have taken up that the
/// number's last device ended.
pub fn begin_device<'a>(
    state: &State,
    now: Now,
    config: &Config,
    name: &'a str,
    device: DeviceId,
) -> Decided<Vec<Record<'a>>> {
    let Some((_, row)) = state.need_user(name)? else { return refuse(codes::UNKNOWN_USER) };
    if row.devices.len() >= config.devices {
        return refuse(codes::TOO_MANY_DEVICES);
    }
    if device == 0 || !is_free(row, device) {
        return refuse(codes::OVERLOAD);
    }
    // What others had before it came concerns nothing that it knows.
    let receipts = state.versions.last;
    let mut bytes = Vec::new();
    Device { seen_s: seconds(now), receipts, ..Device::default() }.encode(&mut bytes);
    let image = Record::Image { row: RowKey::device(name, device), bytes: bytes.into() };
    Ok(vec![changed(row, name, Fit { device, begins: true }), image])
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

/// A pass over the conversations of a user that take up the changes of its devices. What a crash leaves undone is found again: the
/// user's row lists the changes until all conversations have taken them up.
#[derive(Debug, Default)]
pub struct Fits {
    walk: Walk,
    /// How many changes there were when it began.
    changes: Option<usize>,
}

/// What comes next.
#[derive(Debug, PartialEq)]
pub enum Fitting<'a> {
    /// Nothing. If the user's row still lists changes, there are conversations whose rows cannot be used until a restart.
    Done,
    /// Records to be committed, each a decision of its own; there may be none. Then it goes on.
    Records(Vec<Record<'a>>),
    /// The user's index rows behind this conversation are needed: [`Fits::page`].
    Page(Option<ConversationId>),
    /// These conversations were loaded for this, and can rest when their records are durable. Then it goes on.
    Rest(Vec<ConversationId>),
}

impl Fits {
    /// The index rows that were asked for, in order; `last`: there are no more.
    pub fn page(&mut self, ids: Vec<ConversationId>, last: bool) {
        self.walk.page(ids, last);
    }
}

/// Goes on with the changes of a user's devices: at most `most` conversations are looked at, and as many rows asked for.
///
/// # Errors
/// The user's row or rows of its conversations are needed.
pub fn fit<'a>(state: &State, name: &'a str, fits: &mut Fits, most: usize) -> Decided<Fitting<'a>> {
    let Some((user, row)) = state.need_user(name)? else { return Ok(Fitting::Done) };
    if row.fits.is_empty() {
        return Ok(Fitting::Done);
    }
    let changes = *fits.changes.get_or_insert(row.fits.len());
    let mut records = Vec::new();
    for _ in 0..most {
        let slot = match fits.walk.step(state, user, most) {
            Step::At(slot) => slot,
            // What is to be committed comes first.
            _ if !records.is_empty() => break,
            Step::Page(after) => return Ok(Fitting::Page(after)),
            Step::Rows(keys) => return Err(Stop::Wait(keys)),
            Step::Rest => return Ok(Fitting::Rest(fits.walk.give_back())),
            Step::Done if fits.walk.missed > 0 => return Ok(Fitting::Done),
            Step::Done => {
                *fits = Fits::default();
                let change = |more: usize| row.changes.wrapping_add(1 + more as u16);
                let fitted = |n| Record::User(UserRecord { name, change: change(n), what: UserChange::Fitted });
                return Ok(Fitting::Records((0..changes).map(fitted).collect()));
            }
        };
        let Some(active) = state.conversation(slot) else { break };
        let places = active.places(user);
        let mut due = places.iter().flat_map(|&index| unfitted(row, active, index).map(move |fit| (index, fit)));
        if let Some((index, fit)) = due.next() {
            records.push(Record::Mailbox(takes_up(state, active, index, (name, fit))));
        }
        // A mailbox that ends depends on those that are left: one change of a conversation at a time.
        if due.next().is_some() {
            break;
        }
        fits.walk.pass(slot);
    }
    Ok(Fitting::Records(records))
}

/// Changes of a user's devices that a conversation has not taken up.
pub(crate) fn unfitted(row: &User, active: &Active, index: MemberIndex) -> impl Iterator<Item = Fit> {
    let member = active.row.member(index);
    let due = move |fit: &&Fit| {
        let Some(member) = member.filter(|member| member.admits(fit.device)) else { return false };
        let (there, has) = (row.devices.contains(&fit.device), member.cursor(fit.device).is_some());
        if fit.begins { there && !has && member.is_current() } else { !there && has }
    };
    row.fits.iter().filter(due).copied()
}

fn takes_up<'a>(state: &State, active: &Active, index: MemberIndex, (name, fit): (&'a str, Fit)) -> Mailbox<'a> {
    let change = active.row.changes.wrapping_add(1);
    if fit.begins {
        begins(active, index, (name.into(), fit.device), change)
    } else {
        ends(state, active, index, (name, fit.device), change)
    }
}

/// Devices begin to take part before the next record of their conversation, those that did not before.
pub(super) fn begin(
    state: &State,
    active: &Active,
    devices: impl IntoIterator<Item = (MemberIndex, DeviceId)>,
    change: &mut u16,
    records: &mut Records<'_>,
) {
    for (index, device) in devices {
        let Some(member) = active.row.member(index).filter(|member| member.cursor(device).is_none()) else { continue };
        *change = change.wrapping_add(1);
        let name = state.names.text(member.user).to_owned();
        records.push(Record::Mailbox(begins(active, index, (name.into(), device), *change)));
    }
}

/// A device of a member begins to take part: it gets what comes from now on, or what waits for a first device.
fn begins<'a>(
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
    if row.blocks(other) != off {
        return Ok(None);
    }
    if !off && state.need_user(other)?.is_none() {
        return refuse(codes::UNKNOWN_USER);
    }
    if !off && row.blocked.len() >= config.blocks {
        return refuse(codes::TOO_MANY);
    }
    let change = row.changes.wrapping_add(1);
    Ok(Some(vec![Record::User(UserRecord { name, change, what: UserChange::Block { name: other, off } })]))
}
