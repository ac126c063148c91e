//! Everything around a node: connections, the disk, the store, and time; each late, held, or dying at any moment.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::OnceLock;

use gateway::{Carrier, Identity, write_flags};
use link::MAGIC;
use log::sim::{Rng, SimDisk, records};
use log::{Appender, Fetch, LogError, LogOptions, Reader, Recovered, Ref, Writer, make_room, read, unlink};
use partition::partition::Partition;
use partition::records::kind;
use partition::records::message::stored;
use partition::recover::Recovery;
use seam::{Address, Now, Place, Position, RowKey};
use store::memory::{MemoryDisk, MemoryStore};
use store::{Identity as StoreIdentity, Lookup, OpenMode, Page, Put, Store, StoreError};
use wire::types::{ClientFrame, ConversationId, Hello};

use super::super::rig::{START, framed};
use crate::trim::Trim;
use crate::{Config, Node, Request, UserAnswer};

/// Alarms that tell of damage: where there is none, there is none of them.
const DAMAGE: [&str; 7] =
    ["internal", "row_missing", "row_damaged", "row_ahead", "row_mismatch", "row_unstorable", "store_healed"];

/// Whether what happens is told: `SIM_TRACE` is set.
pub(super) fn traced() -> bool {
    static TOLD: OnceLock<bool> = OnceLock::new();
    *TOLD.get_or_init(|| std::env::var("SIM_TRACE").is_ok())
}

/// Tells what happens, if that is wanted.
pub fn say(what: impl FnOnce() -> String) {
    if traced() {
        eprintln!("{}", what());
    }
}

/// How a life of the router ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The machine died.
    Died,
    /// The log or the store refused: the router is to be restarted.
    Failed,
}

/// One connection, as its driver sees it.
#[derive(Default)]
pub struct Wire {
    pub conn: Option<Address>,
    /// Written by the server, not read by the client.
    pub bytes: Vec<u8>,
    pub closed: bool,
    pub paused: bool,
}

/// What the store is to do, and then what it answers.
enum Job {
    Ask(Request),
    Looked(u64, Vec<Lookup>),
    Scanned(u64, Result<Page, StoreError>),
    Put(u64, Put),
}

/// Keeps the messages among the records, as they are stored.
fn note_logged(logged: &mut Vec<Vec<u8>>, kind: u8, body: &[u8]) {
    if kind == kind::MESSAGE || kind == kind::CARRIED {
        logged.push(stored(body).expect("a message").to_vec());
    }
}

/// See the module.
pub struct World {
    pub node: Node,
    pub config: Config,
    pub options: LogOptions,
    pub disk: SimDisk,
    /// What survives of the store.
    pub rows: MemoryDisk,
    pub now: Now,
    pub wires: BTreeMap<usize, Wire>,
    store: Option<MemoryStore>,
    /// What is under way to the store's reader, and to its writer.
    looks: VecDeque<Job>,
    puts: VecDeque<Job>,
    /// The same of the log: bodies and removals.
    jobs: VecDeque<Request>,
    writer: Writer<SimDisk>,
    reader: Reader<SimDisk>,
    /// Reads that are to be tried again, by token.
    fetches: HashMap<u64, Fetch>,
    /// Batches that were written and are not durable, with the messages in each; and since when there are some, ms.
    written: VecDeque<(u64, Vec<Vec<u8>>)>,
    dirty_ms: Option<u64>,
    pub hold_disk: bool,
    pub hold_store: bool,
    pub alarms: Vec<(&'static str, String)>,
    /// Messages whose body the disk refused to read.
    pub unread: Vec<(ConversationId, u64)>,
    space: bool,
    next_wire: usize,
    /// Users that were made.
    made: usize,
    /// What was told of memory.
    pub(super) told: BTreeMap<String, String>,
    /// Nothing is late or held any more.
    pub prompt: bool,
    pub lives: u32,
    /// The rows that the last start made, as bytes.
    pub recovered: Vec<(RowKey, Vec<u8>)>,
    /// Messages that became durable, or were found to be, since somebody looked.
    pub logged: Vec<Vec<u8>>,
}

impl World {
    /// A router that was never started before.
    pub fn new(config: Config, options: LogOptions, disk: SimDisk, users: &[String]) -> Self {
        let found = Recovered::default();
        let node = node(&config, START, Recovery::default(), &found, &options, false);
        let mut world = Self {
            node,
            writer: Writer::open(disk.clone(), &found, &options).expect("a fresh disk"),
            reader: Reader::new(disk.clone(), &found),
            config,
            options,
            disk,
            rows: MemoryDisk::default(),
            now: START,
            wires: BTreeMap::new(),
            store: None,
            looks: VecDeque::new(),
            puts: VecDeque::new(),
            jobs: VecDeque::new(),
            fetches: HashMap::new(),
            written: VecDeque::new(),
            dirty_ms: None,
            hold_disk: false,
            hold_store: false,
            alarms: Vec::new(),
            unread: Vec::new(),
            space: true,
            next_wire: 0,
            made: 0,
            told: BTreeMap::new(),
            prompt: true,
            lives: 0,
            recovered: Vec::new(),
            logged: Vec::new(),
        };
        assert!(world.start());
        for (ticket, name) in users.iter().enumerate() {
            world.node.create_user(ticket as u64, name);
        }
        world.turn(&mut Rng::new(0)).expect("a sound disk");
        assert_eq!(world.made, users.len());
        world.prompt = false;
        world
    }

    /// Reads the log and starts; false: the disk did not let it.
    pub fn start(&mut self) -> bool {
        self.lives += 1;
        self.logged.clear();
        let mut recovery = Recovery::default();
        let unsettled = read(&self.disk, &mut |record| {
            note_logged(&mut self.logged, record.kind, record.body);
            let place = Place { segment: record.at.segment, offset: record.at.offset, len: record.at.len };
            recovery.take(record.kind, record.body, place, Position(record.batch));
        });
        let settled = unsettled.and_then(|unsettled| unsettled.settle(&self.disk));
        say(|| format!("a start: {settled:?}, the clock {:?}", self.now));
        let Ok(mut found) = settled else { return false };
        if make_room(&self.disk, &mut found, &self.options).is_err() {
            return false;
        }
        let Ok(writer) = Writer::open(self.disk.clone(), &found, &self.options) else { return false };
        if self.disk.is_crashed() {
            return false;
        }
        self.store = None;
        self.rows.fail_reads(0, store::Fault::Other);
        let store = MemoryStore::open(&self.rows, StoreIdentity(found.id), OpenMode::Make).expect("it opens");
        let summary = store.summary().expect("it says");
        let (least, most) = (recovery.reflects.0, found.last_batch);
        assert!((least..=most).contains(&summary.reflects), "F17: {summary:?}, the log says {least} to {most}");
        let at_rest = summary.counts.0.iter().sum::<u64>() > 0;
        self.node = node(&self.config, self.now, recovery, &found, &self.options, at_rest);
        self.recovered = self.node.partition.state.rows();
        self.writer = writer;
        self.reader = Reader::new(self.disk.clone(), &found);
        self.store = Some(store);
        (self.hold_disk, self.hold_store, self.space) = (false, false, true);
        true
    }

    /// The process ends. With `power`, so does the machine. Of what the store had not confirmed, some is done.
    pub fn end(&mut self, rng: &mut Rng, power: bool) {
        if power {
            self.disk.crash();
        }
        if self.disk.is_crashed() {
            self.disk.restart();
        } else {
            self.disk.reopen();
        }
        let done = rng.below(self.puts.len() + 1);
        for job in self.puts.drain(..).take(done) {
            if let (Job::Ask(Request::Put { batch, .. }), Some(store)) = (job, &self.store) {
                drop(store.put(&batch));
            }
        }
        self.store = None;
        self.looks.clear();
        self.jobs.clear();
        self.fetches.clear();
        self.written.clear();
        self.dirty_ms = None;
        self.wires.values_mut().for_each(|wire| wire.closed = true);
    }

    /// A connection says hello, and is admitted at once.
    pub fn connect(&mut self, user: &str, device: u32, hello: Hello<'_>) -> usize {
        self.next_wire += 1;
        say(|| format!("{} is {user}:{device} {hello:?}", self.next_wire));
        self.node.set_now(self.now);
        let conn = self.node.open(self.next_wire, Carrier::Socket, None);
        self.wires.insert(self.next_wire, Wire { conn: Some(conn), ..Wire::default() });
        let mut bytes = MAGIC.to_vec();
        bytes.extend(framed(&ClientFrame::Hello(hello)));
        self.node.data(conn, &mut bytes);
        self.node.admit(conn, Identity { user: user.to_owned(), device, expires_ms: 0 });
        self.next_wire
    }

    /// A connection is cut; what was not read is gone.
    pub fn cut(&mut self, wire: usize) {
        say(|| format!("{wire} is cut"));
        if let Some(conn) = self.wires.remove(&wire).and_then(|wire| wire.conn) {
            self.node.set_now(self.now);
            self.node.lost(conn);
        }
    }

    /// Feeds a frame.
    pub fn feed(&mut self, wire: usize, frame: &ClientFrame<'_>) {
        if let Some(conn) = self.wires.get(&wire).filter(|w| !w.closed).and_then(|w| w.conn) {
            say(|| format!("{wire} → {frame:?}"));
            self.node.set_now(self.now);
            self.node.data(conn, &mut framed(frame));
        }
    }

    /// The transport takes more, or does not.
    pub fn set_writable(&mut self, wire: usize, on: bool) {
        if let Some(conn) = self.wires.get(&wire).filter(|w| !w.closed).and_then(|w| w.conn) {
            say(|| format!("{wire} writable: {on}"));
            self.node.set_writable(conn, on);
        }
    }

    /// The last batch that holds a record, and the last durable one.
    pub fn batches(&mut self) -> (u64, u64) {
        (self.node.log().last_batch(), self.node.durable.0)
    }

    /// What can happen, happens, or is put off.
    pub fn turn(&mut self, rng: &mut Rng) -> Result<(), End> {
        for round in 0.. {
            self.node.set_now(self.now);
            let mut busy = self.node.run();
            if self.prompt || (!self.hold_disk && !rng.once_in(3)) {
                busy |= self.write_log()?;
            }
            busy |= self.drain();
            while let Some(request) = self.node.next_request() {
                busy = true;
                self.take(request);
            }
            for _ in 0..self.jobs.len() {
                if self.prompt || !rng.once_in(3) {
                    busy |= self.do_job()?;
                }
            }
            for writes in [false, true] {
                for _ in 0..if writes { self.puts.len() } else { self.looks.len() } {
                    if self.prompt || (!self.hold_store && !rng.once_in(3)) {
                        busy |= self.do_store(writes);
                    }
                }
            }
            assert!(round < 20_000, "the router does not come to rest");
            if !busy || (!self.prompt && rng.once_in(8)) {
                break;
            }
        }
        match self.node.failed() {
            Some(reason) if reason.contains("longer than") => panic!("{reason}"),
            Some(_) => Err(End::Failed),
            None => Ok(()),
        }
    }

    fn dead<T>(&self, value: T) -> Result<T, End> {
        if self.disk.is_crashed() { Err(End::Died) } else { Ok(value) }
    }

    fn write_log(&mut self) -> Result<bool, End> {
        let wrote = self.node.log().pending_bytes() > 0;
        if wrote {
            let time_ms = self.node.time_ms();
            let mut batches = self.node.log().take(time_ms);
            let written = self.writer.write(&mut batches);
            match self.dead(written)? {
                Ok(durable) => {
                    for batch in &batches {
                        let mut messages = Vec::new();
                        records(batch).iter().for_each(|(kind, body)| note_logged(&mut messages, *kind, body));
                        self.written.push_back((batch.number, messages));
                    }
                    self.became_durable(durable);
                }
                Err(error) => {
                    self.node.fail(&error.to_string());
                    self.drain();
                    return Err(End::Failed);
                }
            }
        }
        self.sync_lazily()?;
        let space = self.writer.reserve();
        if self.dead(space)? != self.space {
            self.space = space;
            self.node.space(space);
        }
        Ok(wrote)
    }

    /// What nobody waits for is synced a while after it was written.
    fn sync_lazily(&mut self) -> Result<(), End> {
        let now_ms = self.now.mono_ms;
        let since_ms = if self.writer.is_dirty() { *self.dirty_ms.get_or_insert(now_ms) } else { u64::MAX };
        if since_ms == u64::MAX {
            self.dirty_ms = None;
        } else if now_ms >= since_ms + self.options.lazy_sync_ms {
            self.dirty_ms = None;
            let synced = self.writer.sync();
            match self.dead(synced)? {
                Ok(durable) => self.became_durable(durable),
                Err(error) => {
                    self.node.fail(&error.to_string());
                    return Err(End::Failed);
                }
            }
        }
        Ok(())
    }

    fn became_durable(&mut self, durable: u64) {
        while let Some((number, _)) = self.written.front()
            && *number <= durable
        {
            self.logged.extend(self.written.pop_front().into_iter().flat_map(|(_, messages)| messages));
        }
        self.node.durable(durable, self.writer.synced());
    }

    fn drain(&mut self) -> bool {
        let mut busy = false;
        let mut over = Vec::new();
        while let Some(write) = self.node.next_write() {
            busy = true;
            let Some(wire) = self.wires.get_mut(&write.user) else { continue };
            wire.bytes.extend_from_slice(write.data);
            wire.paused |= write.flags & write_flags::PAUSE != 0;
            wire.paused &= write.flags & write_flags::RESUME == 0;
            if write.flags & (write_flags::CLOSE | write_flags::ABORT) != 0 {
                wire.closed = true;
                over.extend(wire.conn.take());
            }
        }
        over.into_iter().for_each(|conn| self.node.lost(conn));
        busy
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Get { .. } | Request::Page { .. } => self.looks.push_back(Job::Ask(request)),
            Request::Put { .. } => self.puts.push_back(Job::Ask(request)),
            Request::Read { .. } | Request::Unlink(_) => self.jobs.push_back(request),
            Request::Alarm { code, message } => {
                say(|| format!("alarm {code}: {message}"));
                assert!(!DAMAGE.contains(&code), "{code}: {message}");
                self.alarms.push((code, message));
            }
            Request::User { answer, .. } => self.made += usize::from(answer == UserAnswer::Made),
            Request::Gateway(_) => {}
        }
    }

    fn do_store(&mut self, writes: bool) -> bool {
        let queue = if writes { &mut self.puts } else { &mut self.looks };
        let Some(store) = &self.store else { return false };
        let answer = match queue.pop_front() {
            None => return false,
            Some(Job::Ask(Request::Get { token, keys })) => Job::Looked(token, store.get(&keys)),
            Some(Job::Ask(Request::Page { token, scan })) => Job::Scanned(token, store.scan(&scan)),
            Some(Job::Ask(Request::Put { token, batch })) => match store.put(&batch) {
                Ok(put) => {
                    let keys: Vec<_> = batch.writes().iter().map(|write| (&write.key, write.position)).collect();
                    say(|| format!("putting {token}: {keys:?}"));
                    Job::Put(token, put)
                }
                Err(error) => {
                    self.node.fail(&error.to_string());
                    return true;
                }
            },
            Some(Job::Ask(_)) => return false,
            Some(Job::Looked(token, answers)) => {
                say(|| format!("looked {answers:?}"));
                self.node.looked(token, answers);
                return true;
            }
            Some(Job::Scanned(token, page)) => {
                self.node.scanned(token, page);
                return true;
            }
            Some(Job::Put(token, put)) => {
                say(|| format!("put {token}: {put:?}"));
                self.node.put(token, &put);
                return true;
            }
        };
        queue.push_back(answer);
        true
    }

    /// The disk refused to read messages: they count as lost.
    fn not_read(&mut self, which: &HashSet<Ref>) {
        for (_, active) in self.node.partition.state.conversations() {
            let of = |place: Place| Ref { segment: place.segment, offset: place.offset, len: place.len };
            let here = active.entries.from(0).filter(|(_, entry)| which.contains(&of(entry.place)));
            self.unread.extend(here.map(|(seq, _)| (active.id, seq)));
        }
    }

    fn do_job(&mut self) -> Result<bool, End> {
        match self.jobs.pop_front() {
            Some(Request::Read { token, refs }) => {
                let mut fetch = self.fetches.remove(&token).unwrap_or_else(|| Fetch::new(&refs));
                let done = self.reader.fetch(&mut fetch);
                if let Err(error) = self.dead(done)? {
                    say(|| format!("a read is tried again: {error}"));
                    self.fetches.insert(token, fetch);
                    self.jobs.push_back(Request::Read { token, refs });
                    return Ok(true);
                }
                let bodies = fetch.into_bodies();
                let lost = |body: &Result<_, LogError>| body.as_ref().is_err_and(LogError::is_loss);
                let failed: HashSet<Ref> =
                    refs.iter().zip(&bodies).filter(|(_, body)| lost(body)).map(|(at, _)| *at).collect();
                self.not_read(&failed);
                self.node.read(token, bodies);
            }
            Some(Request::Unlink(segment)) => {
                self.reader.forget(segment);
                let removed = unlink(&self.disk, segment);
                match self.dead(removed)? {
                    Ok(()) => self.node.unlinked(segment),
                    Err(error) => self.node.fail(&error.to_string()),
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A node over what was read of the log.
fn node(config: &Config, now: Now, recovery: Recovery, found: &Recovered, options: &LogOptions, at_rest: bool) -> Node {
    let state = recovery.into_state(at_rest).expect("it understands its own records");
    let partition = Partition::new(state, config.partition(), [7; 16]);
    let trim = Trim::new(&found.segments, config.segment_bytes);
    Node::new(config.clone(), now, partition, Appender::new(found, options), trim)
}
