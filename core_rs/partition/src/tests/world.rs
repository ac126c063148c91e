//! A partition with a journal in memory: batches, and the rows as they were at the end of each.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::commit::Committed;
use crate::config::{Config, Now};
use crate::ids::{ConversationId, DeviceId, Place, Position, RowKey};
use crate::journal::{Full, Journal, Scratch};
use crate::lazy::{Mailbox, News};
use crate::names::Names;
use crate::propose::{self, Author, Decided, Fits, Fitting, Stop};
use crate::records::{Message, Record, kind};
use crate::rest::Rest;
use crate::retention::{Need, Oldest};
use crate::rows::{Conversation, Device};
use crate::serve::{Item, Next};
use crate::state::State;

/// Kind, body and place of a record.
pub type Logged = (u8, Vec<u8>, Place);

/// Batches in memory; the last one is open.
#[derive(Default)]
pub struct Batches {
    pub batches: Vec<Vec<Logged>>,
    pub open: bool,
    /// There is no room on the disk.
    pub full: bool,
    /// Somebody waits for the last decision.
    pub waited_for: bool,
}

impl Batches {
    /// The number of the last batch.
    pub fn last(&self) -> Position {
        Position(self.batches.len() as u64)
    }
}

/// Batches of one segment.
const SEGMENT: usize = 8;

fn segment(number: usize) -> u32 {
    1 + (number / SEGMENT) as u32
}

impl Journal for Batches {
    fn append(
        &mut self,
        records: &[(u8, &[&[u8]])],
        sync: bool,
        places: &mut SmallVec<[Place; 4]>,
    ) -> Result<Position, Full> {
        if self.full {
            return Err(Full::Disk);
        }
        self.waited_for = sync;
        if !self.open {
            self.batches.push(Vec::new());
            self.open = true;
        }
        let number = self.batches.len() as u32;
        let segment = segment(self.batches.len());
        let batch = self.batches.last_mut().unwrap();
        for &(kind, parts) in records {
            let (offset, body) = (number << 8 | batch.len() as u32, parts.concat());
            let place = Place { segment, offset, len: body.len() as u32 };
            places.push(place);
            batch.push((kind, body, place));
        }
        Ok(self.last())
    }
}

/// Rows at the end of a batch.
#[derive(Clone)]
pub struct Snapshot {
    rows: Vec<(RowKey, Vec<u8>)>,
    /// Nothing lazy waited to be logged: a start must make the very same bytes.
    exact: bool,
}

mod recovery;

use recovery::is_dirty;
pub use recovery::recover;

pub type Rows = BTreeMap<RowKey, (Position, Vec<u8>)>;

pub struct World {
    pub state: State,
    pub journal: Batches,
    pub config: Config,
    pub now: Now,
    /// What was reported durable …
    pub synced: Position,
    /// Rows that the store was asked for.
    pub loads: usize,
    /// Rows of the store may be damaged.
    pub damaged: bool,
    /// … and what is on the disk whatever happens: less, where durability waits for every n-th sync.
    pub safe: Position,
    pub lag: usize,
    syncs: usize,
    pub store: Rows,
    generations: u32,
    /// The highest position that the store was put at.
    pub reflects: Position,
    scratch: Scratch,
    snapshots: BTreeMap<Position, Snapshot>,
    /// What each device used last, as its session remembers it.
    last: BTreeMap<(String, DeviceId), Mailbox>,
}

impl World {
    pub fn new() -> Self {
        let config = Config {
            devices: 3,
            group_members: 4,
            groups: 3,
            conversation_messages: 12,
            conversation_bytes: 1 << 20,
            hold_ms: 40_000,
            blocks: 2,
            create_unknown: false,
            expire_at_once: 5,
        };
        Self {
            state: State::default(),
            journal: Batches::default(),
            config,
            now: Now { wall_ms: 1_000_000, mono_ms: 0 },
            synced: Position(0),
            safe: Position(0),
            lag: 1,
            syncs: 0,
            generations: 0,
            store: BTreeMap::new(),
            loads: 0,
            damaged: false,
            reflects: Position(0),
            scratch: Scratch::default(),
            snapshots: BTreeMap::new(),
            last: BTreeMap::new(),
        }
    }

    /// A mailbox, with what its device used last in mind, also of before a crash.
    pub fn mailbox(&mut self, author: Author<'_>, id: &ConversationId) -> Decided<Mailbox> {
        let key = (author.name.to_owned(), author.device);
        let at = self.state.mailbox(author, id, self.last.get(&key).copied())?;
        self.last.insert(key, at);
        assert_eq!(self.state.mailbox(author, id, None), Ok(at));
        Ok(at)
    }

    /// What a mailbox gets after `after`, without acknowledging anything in between: at most `most` items.
    pub fn items(&self, at: Mailbox, after: u64, most: usize) -> Vec<Item> {
        let (mut items, mut upto, mut shown) = (Vec::new(), after, false);
        while items.len() < most {
            match self.state.next(at, upto, shown) {
                Next::Nothing => break,
                Next::Pass(seq) => upto = seq,
                Next::Item(item) => {
                    match item {
                        Item::Snapshot => shown = true,
                        Item::Message { seq, .. } => upto = seq,
                        Item::Skip { to, .. } => upto = to,
                    }
                    items.push(item);
                }
            }
        }
        items
    }

    pub fn ack(&mut self, author: Author<'_>, id: &ConversationId, seq: u64) -> Decided<Option<News>> {
        let at = self.mailbox(author, id)?;
        self.state.ack(at, seq)
    }

    pub fn read(&mut self, author: Author<'_>, id: &ConversationId, seq: u64, of: &[&str]) -> Decided<Option<News>> {
        let at = self.mailbox(author, id)?;
        self.state.read(at, seq, of)
    }

    pub fn commit(&mut self, records: &[Record<'_>]) -> Committed {
        let committed = self.state.commit(&mut self.journal, &mut self.scratch, records).unwrap();
        assert!(self.state.conversations().all(|(_, active)| active.is_counted()));
        committed
    }

    /// Rows that a command waited for come from the store, or are known not to be there. What the log says of them holds.
    pub fn resolve(&mut self, stop: &Stop) {
        match stop {
            Stop::Refused(_) => {}
            Stop::Wait(keys) => keys.iter().for_each(|key| self.load(key)),
            Stop::Index(user) => {
                self.state.index_begin(user);
                let mut after = None;
                loop {
                    let (page, last) = self.index_page(user, after, 2);
                    self.state.index_page(user, &page, last);
                    if last {
                        break;
                    }
                    after = page.last().map(|row| row.0);
                }
            }
        }
    }

    /// Index rows of a user behind `after`, and whether there are no more.
    pub fn index_page(
        &self,
        user: &str,
        after: Option<ConversationId>,
        most: usize,
    ) -> (Vec<(ConversationId, u8)>, bool) {
        let rows = self.store.iter().filter_map(|(key, (_, value))| match key {
            RowKey::Member(name, id) if name == user && after.is_none_or(|after| *id > after) => Some((*id, value[0])),
            _ => None,
        });
        let mut rows: Vec<_> = rows.take(most + 1).collect();
        let last = rows.len() <= most;
        rows.truncate(most);
        (rows, last)
    }

    /// Conversations take up the changes of a user's devices: at most `steps` steps. True: all have.
    pub fn fit(&mut self, user: &str, fits: &mut Fits, most: usize, steps: usize) -> bool {
        for _ in 0..steps {
            match propose::fit(&self.state, user, fits, most) {
                Ok(Fitting::Done) => return true,
                Ok(Fitting::Records(records)) => {
                    records.iter().for_each(|record| drop(self.commit(std::slice::from_ref(record))));
                }
                Ok(Fitting::Page(after)) => {
                    let (page, last) = self.index_page(user, after, most);
                    fits.page(page.into_iter().map(|row| row.0).collect(), last);
                }
                Ok(Fitting::Rest(ids)) => {
                    for record in self.state.flush(usize::MAX) {
                        self.commit(&[record]);
                    }
                    self.sync();
                    for id in ids {
                        if let Some(stored) = self.rest(&RowKey::Conversation(id)) {
                            self.commit(&[stored]);
                        }
                    }
                }
                Err(stop) => self.resolve(&stop),
            }
        }
        false
    }

    fn load(&mut self, key: &RowKey) {
        self.loads += usize::from(self.state.owner(key).is_none());
        let loaded = self.state.loaded(key, self.store.get(key).map(|(position, bytes)| (*position, &**bytes)));
        assert!(loaded.is_ok() || self.damaged, "{key:?} {loaded:?}");
    }

    /// A row goes to the store, if it may; the record that says so comes back.
    pub fn rest(&mut self, key: &RowKey) -> Option<Record<'static>> {
        match self.state.rest(key, self.safe) {
            Ok(Rest::Busy) => None,
            Ok(Rest::Unchanged) => {
                self.state.forget(key);
                assert_eq!(self.state.owner(key), None);
                None
            }
            Ok(Rest::Log(records)) => {
                records.iter().for_each(|record| drop(self.commit(std::slice::from_ref(record))));
                None
            }
            Ok(Rest::Write(write)) => {
                assert!(matches!(write.stored, Record::Stored { position, .. } if position == write.position));
                assert!(write.position <= self.safe && write.rows.last().unwrap().0 == *key);
                self.reflects = self.safe;
                self.state.reflected(self.safe);
                for (key, value) in write.rows {
                    match value {
                        Some(value) => drop(self.store.insert(key, (write.position, value))),
                        None => drop(self.store.remove(&key)),
                    }
                }
                Some(write.stored)
            }
            Err(stop) => {
                self.resolve(&stop);
                self.rest(key)
            }
        }
    }

    /// All rows rest that may: conversations first, which may need rows of devices.
    pub fn rest_all(&mut self) {
        for _ in 0..4 {
            for record in self.state.flush(usize::MAX) {
                self.commit(&[record]);
            }
            self.sync();
            let users = self.state.users.iter().flat_map(|(slot, entry)| {
                let name = self.state.names.text(slot);
                let devices = entry.devices.iter().map(move |device| RowKey::device(name, device.id));
                devices.chain([RowKey::user(name)])
            });
            let ids = self.state.conversations().map(|(_, active)| RowKey::Conversation(active.id));
            for key in ids.chain(users).collect::<Vec<_>>() {
                if let Some(stored) = self.rest(&key) {
                    self.commit(&[stored]);
                }
            }
        }
        self.sync();
    }

    /// Gives a command until it does not wait any more.
    pub fn until<T>(&mut self, mut command: impl FnMut(&mut Self) -> Decided<T>) -> Decided<T> {
        loop {
            match command(self) {
                Err(stop @ (Stop::Wait(_) | Stop::Index(_))) => self.resolve(&stop),
                done => return done,
            }
        }
    }

    /// A turn of retention. True: the first segment went.
    pub fn retain(&mut self) -> bool {
        let Some(first) = self.journal.batches.iter().position(|batch| !batch.is_empty()) else { return false };
        let oldest = segment(first + 1);
        let last = self.journal.batches.len();
        let end = (first..last).find(|&number| segment(number + 1) > oldest);
        let Some(end) = end.filter(|&end| end as u64 <= self.safe.0) else { return false };
        match self.state.retain(oldest, 2) {
            Oldest::Needs(needs) => {
                assert!(needs.len() <= 4 && !needs.is_empty());
                for need in needs {
                    match need {
                        Need::Record(record) => drop(self.commit(&[record])),
                        Need::Carry { conversation, seq, place } => self.carry(&conversation, seq, place),
                    }
                }
                false
            }
            Oldest::FreeAt(position) if position <= self.safe => {
                self.journal.batches[first..end].iter_mut().for_each(Vec::clear);
                self.state.trimmed(oldest);
                true
            }
            Oldest::FreeAt(_) => false,
        }
    }

    fn carry(&mut self, conversation: &ConversationId, seq: u64, place: Place) {
        let mut records = self.journal.batches.iter().flatten();
        let (kind, body, _) = records.find(|(_, _, at)| *at == place).unwrap();
        assert!(matches!(*kind, kind::MESSAGE | kind::CARRIED));
        let body = body.clone();
        let message = Message::decode(&body).unwrap();
        assert_eq!((&message.message.conversation, message.message.seq), (conversation, seq));
        self.commit(&[Record::Carried(message)]);
    }

    /// The journal has no room for a decision: nothing changes.
    pub fn refuse(&mut self, records: &[Record<'_>]) {
        let before = (self.state.rows(), self.state.versions, self.journal.last());
        self.journal.full = true;
        assert_eq!(self.state.commit(&mut self.journal, &mut self.scratch, records).err(), Some(Full::Disk));
        self.journal.full = false;
        assert_eq!((self.state.rows(), self.state.versions, self.journal.last()), before);
    }

    /// The next record begins a batch. What is lazy may have moved since the last one.
    pub fn close(&mut self) {
        if std::mem::take(&mut self.journal.open) {
            let snapshot = Snapshot { rows: self.state.rows(), exact: !is_dirty(&self.state) };
            self.snapshots.insert(self.journal.last(), snapshot);
        }
    }

    /// What is counted as it changes is what there is.
    fn check_counts(&self) {
        let state = &self.state;
        let pending = state.conversations().map(|(_, active)| (active.entries.len() as u64, active.entries.bytes()));
        let pending = pending.fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1));
        assert_eq!(state.pending_totals(), pending);
        let users = state.users.iter().map(|(_, user)| usize::from(user.row.is_some()) + user.devices.len());
        assert_eq!(state.rows_len(), state.conversations().count() + users.sum::<usize>());
    }

    pub fn sync(&mut self) {
        self.check_counts();
        self.close();
        self.synced = self.journal.last();
        self.state.synced(self.synced);
        self.syncs += 1;
        if self.syncs.is_multiple_of(self.lag) {
            self.safe = self.synced;
        }
        self.snapshots.retain(|&position, _| position >= self.safe);
    }
}
