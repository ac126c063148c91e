//! Devices that were not connected for as long as messages are held are dropped, so that they pin nothing for good.
//!
//! They are looked for a few at a time: those in memory by [`State::last_seen`], those at rest among the pages of the store that
//! whoever calls reads slowly.

use smallvec::SmallVec;

use super::{Author, Decided, wait};
use crate::config::{Config, Now};
use crate::ids::{DeviceId, RowKey, UserSlot};
use crate::records::{Record, User as UserRecord, UserChange};
use crate::rows::Fit;
use crate::state::State;

/// Devices of one user, and when each was last connected, seconds since 1970.
pub type LastSeen = SmallVec<[(DeviceId, u32); 2]>;

/// What the log knows of when a connected device was seen is older than now by this part of the time for which messages are
/// held, at most.
const SEEN_PART: u64 = 30;

impl State {
    /// When devices in memory were last connected, of users from the slot `from` on: so many slots are looked at. Those that are
    /// connected, which are pinned, are seen now. Gives where to go on; `None`: these were the last.
    pub fn last_seen(
        &mut self,
        now: Now,
        config: &Config,
        from: usize,
        most: usize,
    ) -> (Vec<(UserSlot, LastSeen)>, Option<usize>) {
        let mut all = Vec::new();
        for slot in (from..from + most).map(UserSlot::new) {
            let Some(entry) = self.users.get(slot) else { continue };
            let seen = |pinned: bool| -> LastSeen {
                let devices = entry.devices.iter().filter(|device| (device.pins > 0) == pinned);
                devices.map(|device| (device.id, device.row.seen_s)).collect()
            };
            let (here, away) = (seen(true), seen(false));
            for (device, _) in here.into_iter().filter(|device| is_seen_late(device.1, config, now)) {
                // The row is in memory.
                let _ = self.connected(Author { name: "", user: slot, device }, seconds(now), false);
            }
            if !away.is_empty() {
                all.push((slot, away));
            }
        }
        let next = from + most;
        (all, (next < self.users.slots()).then_some(next))
    }
}

/// Devices of a user that were not connected for as long as messages are held, as records that drop them; each a decision of its
/// own. `seen`: as rows in memory or at rest say it.
///
/// # Errors
/// The user's row or that of a device is needed: what the store says may be older than what is in memory.
pub fn unseen<'a>(
    state: &State,
    now: Now,
    config: &Config,
    name: &'a str,
    seen: &[(DeviceId, u32)],
) -> Decided<Vec<Record<'a>>> {
    let old = |seen_s: u32| is_past(seen_s, config.hold_ms, now);
    if !seen.iter().any(|&(_, seen_s)| old(seen_s)) {
        return Ok(Vec::new());
    }
    let Some((user, row)) = state.need_user(name)? else { return Ok(Vec::new()) };
    let (mut change, mut records) = (row.changes, Vec::new());
    for &(device, seen_s) in seen.iter().filter(|(device, _)| row.devices.contains(device)) {
        if !old(seen_s) {
            continue;
        }
        let Some(entry) = state.device(user, device) else { return wait(RowKey::device(name, device)) };
        if entry.pins == 0 && old(entry.row.seen_s) {
            change = change.wrapping_add(1);
            let what = UserChange::Device(Fit { device, begins: false });
            records.push(Record::User(UserRecord { name, change, what }));
        }
    }
    Ok(records)
}

/// The time of now in seconds.
pub(super) fn seconds(now: Now) -> u32 {
    u32::try_from(now.wall_ms / 1000).unwrap_or(u32::MAX)
}

/// Whether it is to be logged that a device is connected, which was last known to be at `seen_s`, seconds since 1970.
pub(crate) fn is_seen_late(seen_s: u32, config: &Config, now: Now) -> bool {
    is_past(seen_s, config.hold_ms / SEEN_PART, now)
}

fn is_past(seen_s: u32, after_ms: u64, now: Now) -> bool {
    (u64::from(seen_s) * 1000).saturating_add(after_ms) <= now.wall_ms
}
