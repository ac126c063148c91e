//! Messages that are dropped before they were collected: by the cap of a group, by age, and by damage.

use smallvec::SmallVec;
use wire::types::SkipReason;

use crate::active::Active;
use crate::config::{Config, Now};
use crate::records::{Floor, Lacked, Lost, Record};
use crate::rows::Kind;
use crate::state::State;

/// A group that is at its cap raises its floor in steps of a 64th, so that few records do so. `None`: there is room.
pub(super) fn cap(state: &State, config: &Config, active: &Active) -> Option<Floor> {
    let entries = &active.entries;
    let full = entries.len() >= config.conversation_messages || entries.bytes() >= config.conversation_bytes;
    if !full || entries.is_empty() {
        return None;
    }
    let (mut messages, mut bytes) = (entries.len(), entries.bytes());
    let keep = (
        config.conversation_messages.saturating_sub((config.conversation_messages / 64).max(1)),
        config.conversation_bytes - config.conversation_bytes / 64,
    );
    let mut floor = entries.first();
    for (seq, entry) in entries.from(floor) {
        if messages <= keep.0 && bytes <= keep.1 {
            break;
        }
        messages -= 1;
        bytes -= u64::from(entry.place.len).min(bytes);
        floor = seq + 1;
    }
    Some(raise(state, active, floor, SkipReason::Cap))
}

/// Messages at the front of a conversation that were held too long. `None`: there are none. What was accepted before a message
/// that was held too long was held longer, whatever time it has; a time above the server's is one that was put right.
pub fn expire(state: &State, now: Now, config: &Config, active: &Active) -> Option<Vec<Record<'static>>> {
    let entries = &active.entries;
    let now_s = now.wall_ms / 1000;
    let wrong = |time_s: u32| u64::from(time_s) > now_s && state.set_s != 0;
    let accepted_s = |time_s: u32| u64::from(if wrong(time_s) { state.set_s } else { time_s });
    let old = |time_s: u32| (accepted_s(time_s) * 1000).saturating_add(config.hold_ms) <= now.wall_ms;
    let front = entries.from(entries.first()).take(config.expire_at_once).take_while(|(seq, _)| *seq <= active.visible);
    let (last, _) = front.filter(|(_, entry)| old(entry.time_s)).last()?;
    Some(vec![Record::Floor(raise(state, active, last + 1, SkipReason::Expired))])
}

fn raise(state: &State, active: &Active, floor: u64, reason: SkipReason) -> Floor {
    Floor {
        conversation: active.id,
        change: active.row.changes.wrapping_add(1),
        floor,
        reason,
        version: state.version_for_decision(),
        lacked: lacked(active, (active.entries.first(), floor - 1)),
    }
}

/// Messages that cannot be read any more: ranges in order, which do not touch. `None`: nobody lacks them.
pub fn lost(state: &State, active: &Active, ranges: &[(u64, u64)]) -> Option<Vec<Record<'static>>> {
    let (first, head) = (active.entries.first(), active.row.head);
    let inside = ranges.iter().map(|&(from, to)| (from.max(first), to.min(head))).filter(|(from, to)| from <= to);
    let ranges: Vec<(u64, u64)> = inside.collect();
    if ranges.is_empty() {
        return None;
    }
    let mut all: Vec<Lacked> = Vec::new();
    for &range in &ranges {
        for found in lacked(active, range) {
            match all.iter_mut().find(|known| known.member == found.member) {
                Some(known) => known.ranges.extend(found.ranges),
                None => all.push(found),
            }
        }
    }
    Some(vec![Record::Lost(Lost {
        conversation: active.id,
        change: active.row.changes.wrapping_add(1),
        ranges,
        version: state.version_for_decision(),
        lacked: all,
    })])
}

/// See [`Lacked`]. Groups have no bodies per device: there the cursors tell everything.
fn lacked(active: &Active, range: (u64, u64)) -> Vec<Lacked> {
    if active.row.kind == Kind::Group || !active.entries.has_bodies() {
        return Vec::new();
    }
    let members = active.row.iter().map(|(index, _)| Lacked {
        member: index.place() as u32,
        ranges: SmallVec::from_iter(active.lacked(index, range, 0, |_, _| false)),
    });
    members.filter(|lacked| !lacked.ranges.is_empty()).collect()
}
