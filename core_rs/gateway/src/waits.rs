//! Who waits for which row. A *gate* is a key that somebody waits for, or was told of and is not done with; a session stands
//! at it once, whatever it wants and how often.
//!
//! Frames that wait for rows are taken up again when all of them are answered, in a turn of their own: what one answer costs
//! does not depend on how many frames wait for it. The loading is the node's; here is the order: round robin over users, and so
//! many under way.

use compact_str::CompactString;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use seam::{Address, RowKey, Wait};

use crate::Gateway;
use crate::conns::{Conn, State};
use crate::fair::Fair;

/// Loads under way for one user, and for all.
const UNDER_WAY: (u32, u32) = (64, 256);
/// Entries of the queue that are looked at for one load: those that nobody wants any more are passed over (I11).
const LOOKS: usize = 4096;

/// What is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A row.
    Row(RowKey),
    /// Which conversations a user has.
    Index(CompactString),
}

/// What the first of a session's waiting frames wants.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    /// The gates at which it stands, and whether they were answered.
    keys: HashMap<Key, bool>,
    missing: usize,
    /// One of them cannot be used.
    pub unusable: bool,
}

impl Gather {
    /// Whether everything is answered.
    pub fn is_complete(&self) -> bool {
        self.missing == 0
    }

    /// Whether this was.
    pub fn is_answered(&self, key: &Key) -> bool {
        self.keys.get(key) == Some(&true)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Load {
    Idle,
    Queued,
    UnderWay,
}

#[derive(Debug)]
struct Gate {
    /// For whose account it was queued last, or is loaded.
    user: u32,
    load: Load,
    /// Sessions that wait for it. Those that ended are passed over.
    waiters: Vec<Address>,
    /// Sessions whose first frame wants it.
    holders: u32,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    gates: HashMap<Key, Gate>,
    /// A key that several users wait for is queued for each of them, so that none waits for the turn of another.
    queued: Fair<Key>,
    /// The last look for a load ended at its bound.
    cut_short: bool,
    /// Loads under way by user.
    under_way: HashMap<u32, u32>,
    total: u32,
}

impl Waits {
    /// Whether there may be a load that was not found yet.
    pub fn cut_short(&self) -> bool {
        self.cut_short
    }

    /// For the diagnosis: gates, loads queued, loads under way.
    pub fn counts(&self) -> (usize, usize, u32) {
        (self.gates.len(), self.queued.len(), self.total)
    }
}

impl Gateway {
    /// A session's first frame, or the session itself, waits.
    pub(crate) fn wait(&mut self, slot: u32, wait: Wait) {
        match wait {
            Wait::Rows(keys) => self.wait_for(slot, keys.into_iter().map(Key::Row)),
            Wait::Index(user) => self.wait_for(slot, [Key::Index(user)]),
            Wait::Permit(..) => {
                if let Some(session) = self.conns.session_mut(slot) {
                    session.waiting.get_or_insert_default().permit = true;
                }
            }
        }
    }

    /// The same, for keys.
    pub(crate) fn wait_for(&mut self, slot: u32, keys: impl IntoIterator<Item = Key>) {
        let address = self.conns.address(slot);
        let user = self.conns.get(slot).map_or(u32::MAX, Conn::account);
        let Some(session) = self.conns.session_mut(slot) else { return };
        let gather = session.waiting.get_or_insert_default().gather.get_or_insert_default();
        for key in keys {
            let before = gather.keys.insert(key.clone(), false);
            if before == Some(false) {
                continue;
            }
            gather.missing += 1;
            let gate = match self.waits.gates.entry(key.clone()) {
                Entry::Occupied(gate) => gate.into_mut(),
                Entry::Vacant(gate) => gate.insert(Gate { user, load: Load::Idle, waiters: Vec::new(), holders: 0 }),
            };
            gate.holders += u32::from(before.is_none());
            gate.waiters.push(address);
            if gate.load == Load::Idle || (gate.load == Load::Queued && gate.user != user) {
                (gate.load, gate.user) = (Load::Queued, user);
                self.waits.queued.push(user, key);
            }
        }
    }

    /// The next row to load, if one may be loaded now: it is answered by [`Gateway::loaded`].
    pub fn next_load(&mut self) -> Option<Key> {
        let Waits { gates, queued, cut_short, under_way, total } = &mut self.waits;
        *cut_short = false;
        for _ in 0..LOOKS {
            if *total >= UNDER_WAY.1 {
                return None;
            }
            let (user, key) = queued.pop(|user| under_way.get(&user).is_none_or(|&loads| loads < UNDER_WAY.0))?;
            // It may be loaded by now, for another user, or whoever wanted it be gone.
            let Some(gate) = gates.get_mut(&key).filter(|gate| gate.load == Load::Queued) else { continue };
            if gate.holders == 0 {
                gates.remove(&key);
                continue;
            }
            (gate.load, gate.user) = (Load::UnderWay, user);
            *under_way.entry(user).or_default() += 1;
            *total += 1;
            self.stats.loads_total += 1;
            return Some(key);
        }
        *cut_short = true;
        None
    }

    /// A load ended, and what it found is in memory, or is known to be absent. It is kept there as long as [`Gateway::holds`] says
    /// so. Not `usable`: it cannot be read, or must not be used; frames that want it are refused.
    pub fn loaded(&mut self, key: &Key, usable: bool) {
        let Some(gate) = self.waits.gates.get_mut(key).filter(|gate| gate.load == Load::UnderWay) else { return };
        gate.load = Load::Idle;
        if let Some(loads) = self.waits.under_way.get_mut(&gate.user) {
            *loads -= 1;
            if *loads == 0 {
                self.waits.under_way.remove(&gate.user);
            }
        }
        self.waits.total -= 1;
        let waiters = std::mem::take(&mut gate.waiters);
        if gate.holders == 0 {
            self.waits.gates.remove(key);
        }
        for address in waiters {
            let Some(slot) = self.conns.slot(address) else { continue };
            let state = self.conns.state(slot);
            let waiting = self.conns.session_mut(slot).and_then(|session| session.waiting.as_mut());
            let Some(gather) = waiting.and_then(|waiting| waiting.gather.as_mut()) else { continue };
            let Some(answered) = gather.keys.get_mut(key).filter(|answered| !**answered) else { continue };
            *answered = true;
            gather.missing -= 1;
            gather.unusable |= !usable;
            // Of its own rows, which it joins with, a session makes no use that others could see.
            if usable && state == Some(State::Live) && matches!(key, Key::Row(_)) {
                self.note_use(slot, key);
            }
            self.make_ready(slot);
        }
    }

    /// Whether a frame that waits, or is about to have its turn, wants this: it stays in memory, or known to be absent.
    pub fn holds(&self, key: &Key) -> bool {
        self.waits.gates.get(key).is_some_and(|gate| gate.holders > 0)
    }

    /// A session's first frame wants nothing any more.
    pub(crate) fn leave_gates(&mut self, slot: u32) {
        let waiting = self.conns.session_mut(slot).and_then(|session| session.waiting.as_mut());
        let Some(gather) = waiting.and_then(|waiting| waiting.gather.take()) else { return };
        for key in gather.keys.keys() {
            let Some(gate) = self.waits.gates.get_mut(key) else { continue };
            gate.holders -= 1;
            // What is queued goes when its turn comes, what is under way when its answer does.
            if gate.holders == 0 && gate.load == Load::Idle {
                self.waits.gates.remove(key);
            }
        }
    }
}
