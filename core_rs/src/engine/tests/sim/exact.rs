//! Exact facts: what a crash must not change. A start reads intervals, mailboxes, floors and skips as they were.
//!
//! Cursors and what follows from them alone are lazy: the last second of them may be forgotten, so that messages which were
//! let go are there again and a mailbox that had passed its last interval is back.

use std::collections::{BTreeMap, BTreeSet};

use super::world::World;
use crate::delivery::conversation::{Conversation, Member};
use crate::wire::types::{ConversationId, SkipReason};

/// A member of a conversation.
#[derive(Debug)]
struct Part {
    current: bool,
    /// Intervals in which something may wait for it.
    intervals: Vec<(u64, u64)>,
    /// Its mailboxes and how far they came.
    mailboxes: BTreeMap<u16, u64>,
    /// What it will never have, and whether a cap was the reason.
    skipped: Vec<(u64, u64, bool)>,
}

/// A conversation in memory whose state is in the log.
#[derive(Debug)]
struct Facts {
    first: u64,
    head: u64,
    group: Option<crate::group::Group>,
    members: BTreeMap<(String, u16), Part>,
}

/// All of them.
#[derive(Debug)]
pub struct Exact(BTreeMap<ConversationId, Facts>);

impl World {
    /// What is exact now; `None` while something is on its way to the disk.
    pub fn exact(&mut self) -> Option<Exact> {
        let (last, durable) = self.batches();
        let waits = self.engine.log().pending_bytes() > 0 || last > durable || !self.engine.between.is_empty();
        if waits || self.engine.failed().is_some() {
            return None;
        }
        Some(self.read_back())
    }

    /// What is exact as the engine has it.
    pub fn read_back(&self) -> Exact {
        let engine = &self.engine;
        let all = engine.delivery.slots().filter_map(|slot| engine.delivery.get(slot));
        let logged = all.filter(|c| c.mark.full_in != 0);
        Exact(logged.map(|c| (c.id, self.facts(c))).collect())
    }

    fn facts(&self, c: &Conversation) -> Facts {
        let name = |m: &Member| self.engine.directory.name(m.user).to_owned();
        let part = |m: &Member| {
            let lowest = m.cursors.iter().map(|c| c.acked).min().unwrap_or(u64::MAX);
            let waiting = m.earlier().iter().copied().filter(|interval| interval.1 > lowest);
            Part {
                current: m.is_current(),
                intervals: waiting.chain([(m.from, m.to)]).collect(),
                mailboxes: m.cursors.iter().map(|c| (c.device, c.acked)).collect(),
                skipped: m.skipped().iter().map(|r| (r.from, r.to, r.reason == SkipReason::Cap)).collect(),
            }
        };
        let members = c.members.iter().map(|m| ((name(m), m.only), part(m))).collect();
        Facts { first: c.first, head: c.head, group: c.group.as_deref().cloned(), members }
    }
}

impl Exact {
    /// The same facts after a crash.
    pub fn check(&self, after: &Self) {
        for (id, was) in &self.0 {
            let is = after.0.get(id).unwrap_or_else(|| panic!("{id:?} is gone: {was:?}"));
            assert_eq!(is.head, was.head, "the head of {id:?}");
            assert!(is.first <= was.first, "the floor of {id:?}: {} was {}", is.first, was.first);
            let seq = |group: &Option<crate::group::Group>| group.as_ref().map(|group| group.seq);
            assert_eq!(seq(&is.group), seq(&was.group), "changes of {id:?}");
            for (who, part) in &was.members {
                part.check(is.members.get(who), &format!("{who:?} of {id:?}\n{was:?}\n{is:?}"), is.first);
            }
            for (who, part) in is.members.iter().filter(|(_, part)| part.current) {
                assert!(was.members.get(who).is_some_and(|was| was.current), "{who:?} is a member again: {part:?}");
            }
        }
    }
}

impl Part {
    fn check(&self, after: Option<&Self>, told: &str, first: u64) {
        let Some(is) = after else {
            return assert!(self.mailboxes.is_empty() && !self.current, "no member any more: {told}");
        };
        assert_eq!(is.current, self.current, "{told}");
        let devices = |part: &Self| part.mailboxes.keys().copied().collect::<BTreeSet<u16>>();
        if self.current {
            assert!(is.intervals.ends_with(&self.intervals), "intervals: {told}");
            assert_eq!(devices(is), devices(self), "mailboxes: {told}");
        } else {
            assert!(devices(is).is_superset(&devices(self)), "mailboxes: {told}");
        }
        for (device, acked) in &self.mailboxes {
            assert!(is.mailboxes[device] <= *acked, "the cursor of {device}: {told}");
        }
        for &(from, to, capped) in &self.skipped {
            assert!((from..=to).all(|seq| is.skipped.iter().any(|r| r.0 <= seq && seq <= r.1)), "skips: {told}");
            assert!(!capped || first > to, "the floor: {told}");
        }
    }
}
