//! A partition whose journal counts bytes, and commands as a server would give them.

use std::cell::Cell;

use partition::config::{Config, Now};
use partition::ids::{ConversationId, ConversationSlot, Place, Position, UserSlot};
use partition::journal::{Full, Journal, Scratch};
use partition::lazy::Mailbox;
use partition::propose::{self, Author, Fits, Fitting, Sent};
use partition::records::{Record, kind};
use partition::recover::Recovery;
use partition::state::State;
use rustix::time::{ClockId, clock_gettime};
use smallvec::SmallVec;
use wire::types::{Change, Manage, Rules, Send, Target};

/// Pairs of users that write to each other.
pub const PAIRS: usize = 200;
/// What the log adds to a record, bytes.
const RECORD: usize = 10;
/// Bytes of a batch.
const BATCH: usize = 1 << 16;

/// Counts; keeps records only if asked to.
#[derive(Default)]
pub struct Counting {
    batch: u64,
    offset: u32,
    bytes: Vec<u8>,
    keep: bool,
    /// Kind, body, place and batch.
    pub kept: Vec<(u8, Vec<u8>, Place, Position)>,
    pub message_bytes: usize,
    pub other_bytes: usize,
}

impl Journal for Counting {
    fn append(
        &mut self,
        records: &[(u8, &[&[u8]])],
        _: bool,
        places: &mut SmallVec<[Place; 4]>,
    ) -> Result<Position, Full> {
        let position = Position(self.batch + 1);
        for &(kind, parts) in records {
            // As a log does, with what was written last: the bytes are copied, at the end of those before.
            if self.bytes.len() > BATCH {
                self.bytes.clear();
            }
            let start = self.bytes.len();
            parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
            let body = &self.bytes[start..];
            let bytes = RECORD + body.len();
            self.offset = self.offset.wrapping_add(bytes as u32);
            let place = Place { segment: 1, offset: self.offset, len: body.len() as u32 };
            places.push(place);
            match kind {
                kind::MESSAGE => self.message_bytes += bytes,
                _ => self.other_bytes += bytes,
            }
            if self.keep {
                self.kept.push((kind, body.to_vec(), place, position));
            }
        }
        Ok(position)
    }
}

/// See the module.
pub struct World {
    pub state: State,
    pub journal: Counting,
    config: Config,
    now: Now,
    scratch: Scratch,
    stored: Vec<u8>,
    sent: u64,
}

/// A session: an author, and what a server remembers beside it.
pub struct Session {
    name: String,
    user: UserSlot,
    /// Where its last message went.
    last: Cell<Option<ConversationSlot>>,
    /// The mailbox that it acknowledged last.
    mailbox: Cell<Option<Mailbox>>,
}

impl Session {
    fn author(&self) -> Author<'_> {
        Author { name: &self.name, user: self.user, device: 1 }
    }
}

impl World {
    pub fn new() -> Self {
        Self {
            state: State::default(),
            journal: Counting::default(),
            config: Config::default(),
            now: Now { wall_ms: 1_700_000_000_000, mono_ms: 0 },
            scratch: Scratch::default(),
            stored: Vec::new(),
            sent: 0,
        }
    }

    /// One that keeps its records.
    pub fn keeping() -> Self {
        let mut world = Self::new();
        world.journal.keep = true;
        world
    }

    fn commit(&mut self, records: &[Record<'_>]) {
        self.state.commit(&mut self.journal, &mut self.scratch, records).unwrap();
    }

    /// A session of each of so many users.
    pub fn users(&mut self, count: usize) -> Vec<Session> {
        let mut sessions = Vec::new();
        for n in 0..count {
            let name = &format!("user{n:06}");
            let records = propose::create_user(&self.state, name).unwrap().unwrap();
            self.commit(&records);
            let (_, records) = propose::register_device(&self.state, self.now, &self.config, name).unwrap();
            self.commit(&records);
            let mut fits = Fits::default();
            while let Fitting::Records(records) = propose::fit(&self.state, name, &mut fits, 100).unwrap() {
                self.commit(&records);
            }
            let user = self.state.author(name, 1).unwrap().user;
            sessions.push(Session { name: name.clone(), user, last: Cell::new(None), mailbox: Cell::new(None) });
        }
        self.sync();
        sessions
    }

    /// A group of so many members.
    pub fn group(&mut self, members: usize) -> (Vec<Session>, ConversationId) {
        let users = self.users(members);
        let others = users[1..].iter().map(|user| user.name.as_str().into()).collect();
        let change = Change::Created { members: others, profile: Default::default(), rules: Rules::default() };
        let id = self.manage(&users[0], None, change);
        self.sync();
        users.iter().for_each(|user| self.ack(user, &id, 1));
        self.confirm(&users[0], &id, 1);
        self.flush();
        (users, id)
    }

    /// A change of a group.
    pub fn change(&mut self, user: &Session, id: &ConversationId, change: Change<'_>) {
        let id = self.manage(user, Some(*id), change);
        let seq = self.state.active(&id).unwrap().row.head;
        self.sync();
        self.confirm(user, &id, seq);
    }

    fn manage(&mut self, user: &Session, conversation: Option<ConversationId>, change: Change<'_>) -> ConversationId {
        self.sent += 1;
        let id = self.sent.to_le_bytes();
        let manage = Manage { id: (&id[..]).into(), conversation, change };
        let Self { state, journal, config, now, scratch, stored, .. } = self;
        let sent = propose::change(state, *now, config, user.author(), &manage, stored).unwrap();
        let Sent::New { conversation, records, .. } = sent else { panic!("a repeat") };
        state.commit(journal, scratch, &records).unwrap();
        conversation
    }

    /// A direct message.
    pub fn send(&mut self, from: &Session, to: &Session, bytes: usize) -> (ConversationId, u64) {
        self.message(from, Target::User(to.name.as_str().into()), bytes)
    }

    /// A message to a group.
    pub fn post(&mut self, from: &Session, id: &ConversationId, bytes: usize) -> u64 {
        self.message(from, Target::Conversation(*id), bytes).1
    }

    fn message(&mut self, user: &Session, target: Target<'_>, bytes: usize) -> (ConversationId, u64) {
        const BODY: [u8; 4096] = [7; 4096];
        self.sent += 1;
        let id = self.sent.to_le_bytes();
        let (id, body) = ((&id[..]).into(), (&BODY[..bytes]).into());
        let send = Send { id, target, body, bodies: Vec::new(), lists: Vec::new(), media: Vec::new() };
        let Self { state, journal, config, now, scratch, stored, .. } = self;
        let sent = propose::send(state, *now, config, user.author(), user.last.get(), &send, stored).unwrap();
        let Sent::New { conversation, seq, records } = sent else { panic!("a repeat") };
        user.last.set(state.commit(journal, scratch, &records).unwrap().slot);
        (conversation, seq)
    }

    /// The open batch is on disk.
    pub fn sync(&mut self) {
        self.journal.batch += 1;
        self.state.synced(Position(self.journal.batch));
    }

    pub fn ack(&mut self, user: &Session, id: &ConversationId, seq: u64) {
        let at = self.state.mailbox(user.author(), id, user.mailbox.get()).unwrap();
        user.mailbox.set(Some(at));
        self.state.ack(at, seq).unwrap();
    }

    pub fn confirm(&mut self, user: &Session, id: &ConversationId, seq: u64) {
        self.state.confirm(user.author(), &[(*id, seq)]).unwrap();
    }

    /// Lazy facts are logged.
    pub fn flush(&mut self) {
        while self.state.is_dirty() {
            for record in self.state.flush(1024) {
                self.commit(&[record]);
            }
        }
        self.sync();
    }

    /// Messages that some mailbox lacks.
    pub fn pending(&self) -> usize {
        self.state.conversations().map(|(_, active)| active.entries.len()).sum()
    }

    /// What the records make.
    pub fn recover(&self) -> State {
        let mut recovery = Recovery::default();
        for (kind, body, place, position) in &self.journal.kept {
            recovery.take(*kind, body, *place, *position);
        }
        recovery.into_state(false).unwrap()
    }
}

/// CPU that this thread has used, nanoseconds.
pub fn cpu_ns() -> i64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// Prints a case's line.
pub fn report(name: &str, unit: &str, runs: &[f64]) {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2];
    let runs = &runs[..runs.len().min(7)];
    println!(r#"{{"name": "{name}", "unit": "{unit}", "runs": {runs:.1?}, "median": {median:.2}}}"#);
}
