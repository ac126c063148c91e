//! What sessions, users and addresses use of the server, and how much they may (I6).
//!
//! A connection has an account of its own. What it uses counts there, in its user's account once that is known, in its
//! address's, and in that of all. The bounds grow in this order, so that whoever uses much meets a bound of its own first.
//!
//! Bytes and records are rates: what was read is counted, and a connection that is above a rate is not read until the rate
//! allows it again. Output (what waits for the disk or the transport) and deferred frames are memory: what one connection
//! holds of no more than [`UNCOUNTED`] is on its way, and counting it would cost more than it is worth.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use compact_str::CompactString;
use hashbrown::{DefaultHashBuilder, HashTable};
use slab::Slab;

/// Output, and deferred frames, that a connection holds of no more than this are not counted for others than itself, bytes.
pub const UNCOUNTED: u32 = 4 << 10;
/// Accounts without a connection that are looked at when another begins: whether they are needed still.
const LOOK: usize = 4;
/// No account.
const NONE: u32 = u32::MAX;

/// Where a connection comes from: an IPv6 network, or an IPv4 address in that form.
pub type Source = [u8; 16];

/// A rate with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Time for one unit, ps. 0: there is no bound.
    unit_ps: u64,
    /// Time for as many units as may come at once, ns.
    burst_ns: u64,
}

impl Rate {
    /// No bound.
    pub const ANY: Self = Self { unit_ps: 0, burst_ns: 0 };

    /// So many units a second, and `burst` units at once. 0: no bound.
    pub const fn new(per_second: u64, burst: u64) -> Self {
        if per_second == 0 {
            return Self::ANY;
        }
        let unit_ps = 1_000_000_000_000 / per_second;
        Self { unit_ps, burst_ns: unit_ps.saturating_mul(burst) / 1000 }
    }
}

/// A token bucket, as the time at which it is full again: ns of the monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket(u64);

impl Bucket {
    /// Takes `units` out, also when there are not as many. Returns how long nothing more may be taken, ns.
    fn take(&mut self, units: u64, rate: Rate, now_ns: u64) -> u64 {
        self.0 = self.0.max(now_ns).saturating_add(units.saturating_mul(rate.unit_ps) / 1000);
        (self.0 - now_ns).saturating_sub(rate.burst_ns)
    }
}

/// Bounds of one account.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes that are read.
    pub bytes: Rate,
    /// Frames that are handled.
    pub records: Rate,
    /// Connections.
    pub sessions: u32,
    /// Output and deferred frames above which those that hold some are not read, bytes; at four times as much they are closed.
    pub held: u64,
}

/// Bounds of all accounts.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Of one connection.
    pub session: Bounds,
    /// Of a user.
    pub user: Bounds,
    /// Of an address.
    pub address: Bounds,
    /// Of all.
    pub all: Bounds,
}

impl Default for Config {
    /// Rates far above what any client needs, and addresses behind which many users may be.
    fn default() -> Self {
        let rates = |times: u64| (Rate::new(times << 30, times << 30), Rate::new(times << 22, times << 22));
        let bounds = |(bytes, records), sessions, held| Bounds { bytes, records, sessions, held };
        Self {
            session: bounds(rates(1), 1, 256 << 10),
            user: bounds(rates(4), 1 << 10, 4 << 20),
            address: bounds(rates(16), 1 << 20, 256 << 20),
            all: bounds((Rate::ANY, Rate::ANY), 1 << 20, 1 << 30),
        }
    }
}

/// What is used.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    bytes: Bucket,
    records: Bucket,
    /// Bytes, as far as they are counted.
    output: u64,
    deferred: u64,
    sessions: u32,
}

/// Whose account it is.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Owner {
    User(CompactString),
    Address(Source),
}

/// An account that several connections share.
#[derive(Debug)]
struct Shared {
    account: Account,
    owner: Owner,
    /// It stands in the queue of those without a connection.
    unused: bool,
}

/// The accounts of one connection. It goes back to [`Accounts::close`].
#[derive(Debug)]
pub struct Payer {
    own: Account,
    user: u32,
    address: u32,
}

impl Payer {
    /// The number of the user's account, while the user has a connection; `u32::MAX`: it is not known.
    pub fn user(&self) -> u32 {
        self.user
    }
}

/// What a connection may do, by what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Everything.
    Free,
    /// It is not read.
    Pause,
    /// The same, and its deferred frames are not handled: it has output, and there is too much of that. Deferred frames alone
    /// never keep others from being handled: they could wait for each other.
    Wait,
    /// It is closed.
    Close,
}

/// All accounts.
#[derive(Debug)]
pub struct Accounts {
    config: Config,
    all: Account,
    shared: Slab<Shared>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Accounts without a connection, which are kept while their rates are not what a new one has.
    unused: VecDeque<u32>,
}

impl Accounts {
    /// With these bounds.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            all: Account::default(),
            shared: Slab::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            unused: VecDeque::new(),
        }
    }

    /// A connection begins. `None`: there are as many as there may be, of its address or of all. A connection in the process
    /// has no `source`.
    pub fn open(&mut self, source: Option<Source>, mono_ms: u64) -> Option<Payer> {
        self.forget_unused(mono_ms);
        if self.all.sessions >= self.config.all.sessions {
            return None;
        }
        let address = match source {
            Some(source) => self.join(Owner::Address(source), self.config.address.sessions)?,
            None => NONE,
        };
        self.all.sessions += 1;
        Some(Payer { own: Account { sessions: 1, ..Account::default() }, user: NONE, address })
    }

    /// A connection turned out to be of a user, with all that it uses. False: the user has as many as there may be.
    pub fn admit(&mut self, payer: &mut Payer, user: &str) -> bool {
        let Some(slot) = self.join(Owner::User(user.into()), self.config.user.sessions) else { return false };
        self.leave(payer.user);
        payer.user = slot;
        if let Some(shared) = self.shared.get_mut(slot as usize) {
            shared.account.output += payer.own.output;
            shared.account.deferred += payer.own.deferred;
        }
        true
    }

    /// A connection is over: what it holds is counted no more.
    pub fn close(&mut self, mut payer: Payer) {
        self.hold(&mut payer, 0, 0);
        self.leave(payer.user);
        self.leave(payer.address);
        self.all.sessions = self.all.sessions.saturating_sub(1);
    }

    /// Counts what was read. Returns for how long the connection is not read: ms, 0 if it goes on.
    pub fn charge(&mut self, payer: &mut Payer, bytes: u64, records: u64, mono_ms: u64) -> u64 {
        let now_ns = mono_ms.saturating_mul(1_000_000);
        let take = |account: &mut Account, bounds: &Bounds| {
            let wait_ns = account.bytes.take(bytes, bounds.bytes, now_ns);
            wait_ns.max(account.records.take(records, bounds.records, now_ns))
        };
        let mut wait_ns = take(&mut payer.own, &self.config.session);
        self.above(payer, |account, bounds| wait_ns = wait_ns.max(take(account, bounds)));
        wait_ns.div_ceil(1_000_000)
    }

    /// Sets what a connection holds now, bytes: output, and frames that are deferred. Returns what it may do.
    pub fn hold(&mut self, payer: &mut Payer, output: u32, deferred: u32) -> Room {
        let counted = |bytes: u32| if bytes > UNCOUNTED { u64::from(bytes) } else { 0 };
        let now = (counted(output), counted(deferred));
        let before = (payer.own.output, payer.own.deferred);
        if now == (0, 0) && before == (0, 0) {
            return Room::Free;
        }
        (payer.own.output, payer.own.deferred) = now;
        let mut room = payer.own.room(now, &self.config.session);
        self.above(payer, |account, bounds| {
            account.output = (account.output + now.0).saturating_sub(before.0);
            account.deferred = (account.deferred + now.1).saturating_sub(before.1);
            room = room.max(account.room(now, bounds));
        });
        room
    }

    /// What all connections hold, as far as it is counted, bytes.
    pub fn held(&self) -> u64 {
        self.all.output + self.all.deferred
    }

    /// Goes over the accounts above a connection's own, with their bounds.
    fn above(&mut self, payer: &Payer, mut each: impl FnMut(&mut Account, &Bounds)) {
        for (slot, bounds) in [(payer.user, &self.config.user), (payer.address, &self.config.address)] {
            if let Some(shared) = self.shared.get_mut(slot as usize) {
                each(&mut shared.account, bounds);
            }
        }
        each(&mut self.all, &self.config.all);
    }

    /// Counts a connection in an account; `None`: there are `most`.
    fn join(&mut self, owner: Owner, most: u32) -> Option<u32> {
        let Self { shared, index, hasher, .. } = self;
        let hash = hasher.hash_one(&owner);
        let is_it = |slot: &u32| shared.get(*slot as usize).is_some_and(|shared| shared.owner == owner);
        let slot = match index.find(hash, is_it) {
            Some(slot) => *slot,
            None => {
                let slot = shared.insert(Shared { account: Account::default(), owner, unused: false }) as u32;
                let rehash = |slot: &u32| shared.get(*slot as usize).map_or(0, |shared| hasher.hash_one(&shared.owner));
                index.insert_unique(hash, slot, rehash);
                slot
            }
        };
        let account = &mut shared.get_mut(slot as usize)?.account;
        if account.sessions >= most {
            return None;
        }
        account.sessions += 1;
        Some(slot)
    }

    /// Counts a connection in an account no more.
    fn leave(&mut self, slot: u32) {
        let Some(shared) = self.shared.get_mut(slot as usize) else { return };
        shared.account.sessions = shared.account.sessions.saturating_sub(1);
        if shared.account.sessions == 0 && !shared.unused {
            shared.unused = true;
            self.unused.push_back(slot);
        }
    }

    /// Looks at some accounts without a connection. One goes when it is as a new one would be, so that nobody gets around a
    /// rate by connecting again.
    fn forget_unused(&mut self, mono_ms: u64) {
        for _ in 0..LOOK {
            let Some(slot) = self.unused.pop_front() else { return };
            let Some(shared) = self.shared.get_mut(slot as usize) else { continue };
            let account = &shared.account;
            if account.sessions > 0 {
                shared.unused = false;
            } else if account.bytes.0.max(account.records.0) > mono_ms.saturating_mul(1_000_000) {
                self.unused.push_back(slot);
            } else {
                let hash = self.hasher.hash_one(&shared.owner);
                if let Ok(entry) = self.index.find_entry(hash, |other| *other == slot) {
                    entry.remove();
                }
                self.shared.remove(slot as usize);
            }
        }
    }
}

impl Account {
    /// What one may do that holds `own` of this.
    fn room(&self, own: (u64, u64), bounds: &Bounds) -> Room {
        let all = self.output + self.deferred;
        match own.0 + own.1 {
            1.. if all > bounds.held.saturating_mul(4) => Room::Close,
            1.. if own.0 > 0 && self.output > bounds.held => Room::Wait,
            1.. if all > bounds.held => Room::Pause,
            _ => Room::Free,
        }
    }
}

#[cfg(test)]
mod tests;
