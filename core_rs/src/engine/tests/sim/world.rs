//! Everything around an engine: connections, the disk, the cold store, and time; each late, held, or dying at any moment.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::OnceLock;

use crate::delivery::conversation::{Conversation, Cursor};
use crate::engine::conns::Stage;
use crate::engine::records::kind;
use crate::engine::{Config, ConnId, Engine, Identity, Key, Request, write_flags};
use crate::link::MAGIC;
use crate::log::sim::{Rng, SimDisk, records};
use crate::log::{
    Appender, Fetch, LogError, LogOptions, Part, Reader, Recovered, Ref, Writer, make_room, recover, unlink,
};
use crate::sequencer::Sequenced;
use crate::time::Now;
use crate::wire::types::{Change, ClientFrame, ConversationId, Hello};

use super::super::rig::framed;

/// Whether what happens is told: `SIM_TRACE` is set.
fn traced() -> bool {
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
    /// The log refused: the router is to be restarted.
    Failed,
}

/// One connection, as its driver sees it.
#[derive(Default)]
pub struct Wire {
    pub conn: Option<ConnId>,
    /// Written by the server, not read by the client.
    pub bytes: Vec<u8>,
    pub closed: bool,
    pub paused: bool,
}

/// What the cold store is to do, in order.
enum Cold {
    Load(Key),
    Store { key: Key, version: u64, blob: Vec<u8> },
    Stored { key: Key, version: u64 },
}

/// Keeps the messages among the records.
fn note_logged(logged: &mut Vec<Vec<u8>>, kind: u8, body: &[u8]) {
    if kind == kind::MESSAGE || kind == kind::CARRIED {
        logged.push(body.to_vec());
    }
}

/// See the module.
pub struct World {
    pub engine: Engine,
    pub config: Config,
    pub options: LogOptions,
    pub disk: SimDisk,
    pub now: Now,
    pub wires: BTreeMap<usize, Wire>,
    pub rows: HashMap<Key, Vec<u8>>,
    cold: VecDeque<Cold>,
    jobs: VecDeque<Request>,
    writer: Writer<SimDisk>,
    reader: Reader<SimDisk>,
    /// Reads that are to be tried again, by token.
    fetches: HashMap<u64, Fetch>,
    /// Went over from the sequencer to delivery lately.
    passed: VecDeque<Sequenced>,
    pub hold_disk: bool,
    pub hold_cold: bool,
    pub alarms: Vec<(&'static str, String)>,
    /// Messages whose body the disk refused to read.
    pub unread: Vec<(ConversationId, u64)>,
    space: bool,
    next_wire: usize,
    /// What was told of memory.
    told: BTreeMap<String, String>,
    /// Nothing is late or held any more.
    pub prompt: bool,
    pub lives: u32,
    pub found: Recovered,
    /// Messages that became durable, or were found to be, since somebody looked: records' bodies.
    pub logged: Vec<Vec<u8>>,
}

impl World {
    /// A router that was never started before.
    pub fn new(config: Config, options: LogOptions, disk: SimDisk, users: &[String]) -> Self {
        let now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
        let found = Recovered::default();
        let mut world = Self {
            engine: Engine::new(config.clone(), now),
            writer: Writer::open(disk.clone(), &found, &options).expect("a fresh disk"),
            reader: Reader::new(disk.clone(), &found),
            config,
            options,
            disk,
            now,
            wires: BTreeMap::new(),
            rows: users.iter().map(|name| (Key::User(name.as_str().into()), Vec::new())).collect(),
            cold: VecDeque::new(),
            jobs: VecDeque::new(),
            fetches: HashMap::new(),
            passed: VecDeque::new(),
            hold_disk: false,
            hold_cold: false,
            alarms: Vec::new(),
            unread: Vec::new(),
            space: true,
            next_wire: 0,
            told: BTreeMap::new(),
            prompt: false,
            lives: 0,
            found,
            logged: Vec::new(),
        };
        assert!(world.start());
        world
    }

    /// Reads the log and starts; false: the disk did not let it.
    pub fn start(&mut self) -> bool {
        self.lives += 1;
        self.engine = Engine::new(self.config.clone(), self.now);
        self.logged.clear();
        let recovered = recover(&self.disk, &mut |record| {
            note_logged(&mut self.logged, record.kind, record.body);
            self.engine.replay(&record);
        });
        say(|| format!("a start: {recovered:?}, the clock {:?}", self.now));
        let Ok(mut recovered) = recovered else { return false };
        self.engine.understood().expect("it understands its own records");
        if make_room(&self.disk, &mut recovered, &self.options).is_err() {
            return false;
        }
        self.engine.start(&recovered, Appender::new(&recovered, &self.options));
        let Ok(writer) = Writer::open(self.disk.clone(), &recovered, &self.options) else { return false };
        self.writer = writer;
        self.reader = Reader::new(self.disk.clone(), &recovered);
        (self.hold_disk, self.hold_cold, self.space) = (false, false, true);
        self.found = recovered;
        !self.disk.is_crashed()
    }

    /// The process ends. With `power`, so does the machine. Of what the cold store had not confirmed, some is done.
    pub fn end(&mut self, rng: &mut Rng, power: bool) {
        if power {
            self.disk.crash();
        }
        if self.disk.is_crashed() {
            self.disk.restart();
        }
        let done = rng.below(self.cold.len() + 1);
        for job in self.cold.drain(..).take(done) {
            if let Cold::Store { key, blob, .. } = job {
                self.rows.insert(key, blob);
            }
        }
        self.jobs.clear();
        self.fetches.clear();
        self.passed.clear();
        self.wires.values_mut().for_each(|wire| wire.closed = true);
    }

    /// A connection says hello, and is admitted at once.
    pub fn connect(&mut self, user: &str, device: u32, hello: Hello<'_>) -> usize {
        self.next_wire += 1;
        say(|| format!("{} is {user}:{device} {hello:?}", self.next_wire));
        self.engine.set_now(self.now);
        let conn = self.engine.open(self.next_wire, false);
        self.wires.insert(self.next_wire, Wire { conn: Some(conn), ..Wire::default() });
        let mut bytes = MAGIC.to_vec();
        bytes.extend(framed(&ClientFrame::Hello(hello)));
        self.engine.data(conn, &mut bytes);
        self.engine.admit(conn, Identity { user: user.to_owned(), device, expires_ms: 0 });
        self.next_wire
    }

    /// A connection is cut; what was not read is gone.
    pub fn cut(&mut self, wire: usize) {
        say(|| format!("{wire} is cut"));
        if let Some(conn) = self.wires.remove(&wire).and_then(|wire| wire.conn) {
            self.engine.set_now(self.now);
            self.engine.lost(conn);
        }
    }

    /// Feeds a frame.
    pub fn feed(&mut self, wire: usize, frame: &ClientFrame<'_>) {
        if let Some(conn) = self.wires.get(&wire).filter(|w| !w.closed).and_then(|w| w.conn) {
            say(|| format!("{wire} → {frame:?}"));
            self.engine.set_now(self.now);
            self.engine.data(conn, &mut framed(frame));
        }
    }

    /// The transport takes more, or does not.
    pub fn set_writable(&mut self, wire: usize, on: bool) {
        if let Some(conn) = self.wires.get(&wire).filter(|w| !w.closed).and_then(|w| w.conn) {
            say(|| format!("{wire} writable: {on}"));
            self.engine.set_writable(conn, on);
        }
    }

    /// Whether a connection has its session.
    pub fn joined(&self, wire: usize) -> bool {
        let slot = self.wires.get(&wire).and_then(|w| w.conn).and_then(|conn| self.engine.conns.slot(conn));
        slot.and_then(|slot| self.engine.conns.get(slot)).is_some_and(|conn| conn.stage == Stage::Ready)
    }

    /// The devices of a user, if it is in memory and known.
    pub fn devices(&self, user: &str) -> Option<Vec<u32>> {
        let user = self.engine.directory.get(self.engine.directory.find(user)?).filter(|u| u.known)?;
        Some(user.devices.iter().map(|d| u32::from(d.id)).collect())
    }

    /// The cursor of a device, if its conversation is in memory.
    pub fn cursor(&self, id: &ConversationId, user: &str, device: u32) -> Option<u64> {
        let conversation = self.engine.delivery.get(self.engine.delivery.find(id)?)?;
        let user = self.engine.directory.find(user)?;
        let members = conversation.members.iter().filter(|m| m.user == user);
        members.flat_map(|m| &m.cursors).find(|c| u32::from(c.device) == device).map(|c| c.acked)
    }

    /// Of a group: its changes that are numbered and not to be seen yet, with names; and the last message to be seen.
    pub fn group(&self, id: &ConversationId) -> (Vec<(u64, String, Change<'_>)>, Option<u64>) {
        let dir = &self.engine.directory;
        let flying = self.engine.sequencer.flying(id);
        let flying = flying.map(|f| (f.seq, dir.name(f.actor).to_owned(), f.change.named(dir)));
        let head = self.engine.delivery.find(id).and_then(|slot| self.engine.delivery.get(slot)).map(|c| c.head);
        (flying.collect(), head)
    }

    /// Conversations in which something waits, for the one who looks into a failure.
    pub fn pending(&self) -> Vec<&Conversation> {
        let all = self.engine.delivery.slots().filter_map(|slot| self.engine.delivery.get(slot));
        all.filter(|c| !c.is_empty()).collect()
    }

    /// Tells what changed in memory, if that is wanted.
    pub fn tell(&mut self) {
        if !traced() {
            return;
        }
        let mut now = BTreeMap::new();
        for slot in self.engine.directory.slots() {
            let Some(user) = self.engine.directory.get(slot) else { continue };
            let devices: Vec<_> = user.devices.iter().map(|d| (d.id, d.seen_s, d.receipts)).collect();
            now.insert(format!("user {}", user.name), format!("known {} {devices:?}", user.known));
        }
        for slot in self.engine.delivery.slots() {
            let Some(c) = self.engine.delivery.get(slot) else { continue };
            let cursor = |c: &Cursor| format!("{}@{} sent {} base {}", c.device, c.acked, c.sent, c.base);
            let members = c.members.iter().map(|m| {
                let cursors: Vec<_> = m.cursors.iter().map(cursor).collect();
                let name = self.engine.directory.name(m.user);
                let skipped: Vec<_> = m.skipped().iter().map(|r| (r.from, r.to)).collect();
                format!("{name} delivered {} read {} skipped {skipped:?} {cursors:?}", m.delivered, m.read)
            });
            let members: Vec<_> = members.collect();
            let sequenced = self.engine.sequencer.head(&c.id);
            now.insert(format!("{:?}", c.id), format!("{}..{} of {sequenced:?} {members:?}", c.first, c.head));
        }
        for (what, state) in &now {
            if self.told.get(what) != Some(state) {
                eprintln!("    {what}: {state}");
            }
        }
        for what in self.told.keys().filter(|what| !now.contains_key(*what)) {
            eprintln!("    {what}: not in memory");
        }
        self.told = now;
    }

    /// The last batch that holds a record, and the last durable one.
    pub fn batches(&mut self) -> (u64, u64) {
        (self.engine.log().last_batch(), self.engine.durable)
    }

    /// What can happen, happens, or is put off.
    pub fn turn(&mut self, rng: &mut Rng) -> Result<(), End> {
        for round in 0.. {
            self.engine.set_now(self.now);
            let mut busy = self.engine.run();
            if self.prompt || (!self.hold_disk && !rng.once_in(3)) {
                busy |= self.write_log()?;
            }
            busy |= self.drain();
            while let Some(request) = self.engine.next_request() {
                busy = true;
                self.take(request);
            }
            for _ in 0..self.jobs.len() {
                if self.prompt || !rng.once_in(3) {
                    busy |= self.do_job()?;
                }
            }
            for _ in 0..self.cold.len() {
                if self.prompt || (!self.hold_cold && !rng.once_in(3)) {
                    busy |= self.do_cold();
                }
            }
            assert!(round < 20_000, "the router does not come to rest");
            if !busy || (!self.prompt && rng.once_in(8)) {
                break;
            }
        }
        match self.engine.failed() {
            Some(reason) if reason.contains("longer than") => panic!("{reason}"),
            Some(_) => Err(End::Failed),
            None => Ok(()),
        }
    }

    fn dead<T>(&self, value: T) -> Result<T, End> {
        if self.disk.is_crashed() { Err(End::Died) } else { Ok(value) }
    }

    fn write_log(&mut self) -> Result<bool, End> {
        let wrote = self.engine.log().pending_bytes() > 0;
        if wrote {
            let time_ms = self.engine.time_ms();
            let mut batches = self.engine.log().take(time_ms);
            let written = self.writer.write(&mut batches);
            match self.dead(written)? {
                Ok(durable) => {
                    let done = batches.iter().filter(|batch| batch.number <= durable);
                    done.flat_map(records).for_each(|(kind, body)| note_logged(&mut self.logged, kind, body));
                    self.engine.durable(durable);
                }
                Err(error) => {
                    self.engine.fail(&error.to_string());
                    self.drain();
                    return Err(End::Failed);
                }
            }
        }
        let space = self.writer.reserve();
        if self.dead(space)? != self.space {
            self.space = space;
            self.engine.space(space);
        }
        Ok(wrote)
    }

    fn drain(&mut self) -> bool {
        let mut busy = false;
        let mut over = Vec::new();
        while let Some(write) = self.engine.next_write() {
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
        over.into_iter().for_each(|conn| self.engine.lost(conn));
        busy
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Load(key) => self.cold.push_back(Cold::Load(key)),
            Request::Store { key, version, blob } => self.cold.push_back(Cold::Store { key, version, blob }),
            Request::Read { .. } | Request::Scan(_) | Request::Unlink(_) => self.jobs.push_back(request),
            Request::Alarm { code: "internal", message } => panic!("{message}"),
            Request::Alarm { code, message } => {
                say(|| format!("alarm {code}: {message}"));
                self.alarms.push((code, message));
            }
            Request::Authenticate { .. } | Request::Authorize { .. } => {}
        }
    }

    fn do_cold(&mut self) -> bool {
        match self.cold.pop_front() {
            None => return false,
            Some(Cold::Load(key)) => {
                let row = self.rows.get(&key).cloned();
                self.engine.loaded(&key, row.as_deref());
            }
            Some(Cold::Store { key, version, blob }) => {
                self.rows.insert(key.clone(), blob);
                self.cold.push_back(Cold::Stored { key, version });
            }
            Some(Cold::Stored { key, version }) => self.engine.stored(&key, version),
        }
        true
    }

    /// The disk refused to read messages: they count as lost.
    fn not_read(&mut self, which: impl Fn(&Ref) -> bool) {
        for slot in self.engine.delivery.slots() {
            let Some(conversation) = self.engine.delivery.get(slot) else { continue };
            let entries = (conversation.first..).zip(&conversation.entries);
            let here = entries.filter(|(_, e)| which(&e.at())).map(|(seq, _)| (conversation.id, seq));
            self.unread.extend(here);
        }
    }

    /// A part of a segment, however often it takes.
    fn scan(&mut self, segment: u32, from: u64) -> Result<Part, End> {
        for _ in 0..1000 {
            let part = self.reader.scan(segment, from, 2_000);
            if let Ok(part) = self.dead(part)? {
                return Ok(part);
            }
        }
        panic!("a segment cannot be scanned");
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
                self.not_read(|at| failed.contains(at));
                self.engine.read_done(token, bodies);
            }
            Some(Request::Scan(segment)) => {
                let mut from = Some(0);
                let (mut seen, mut trouble) = (HashSet::new(), false);
                while let Some(place) = from {
                    let part = self.scan(segment, place)?;
                    from = part.next;
                    seen.extend(part.records.iter().map(|record| record.at));
                    trouble |= !part.findings.is_empty();
                    if trouble && from.is_none() {
                        self.not_read(|at| at.segment == segment && !seen.contains(at));
                    }
                    self.engine.scanned(segment, part.records, from.is_none());
                }
            }
            Some(Request::Unlink(segment)) => {
                self.reader.forget(segment);
                let removed = unlink(&self.disk, segment);
                match self.dead(removed)? {
                    Ok(()) => self.engine.unlinked(segment),
                    Err(error) => self.engine.fail(&error.to_string()),
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Holds the queue between sequencer and delivery, or lets up to `most` messages of it go over.
    pub fn between(&mut self, hold: bool, most: usize) {
        self.engine.hold_between = true;
        let mono_ms = self.now.mono_ms;
        for _ in 0..most {
            let Some(message) = self.engine.between.pop_front() else { break };
            self.passed.push_back(message.clone());
            self.passed.drain(..self.passed.len().saturating_sub(16));
            assert!(self.engine.delivery.sequenced(&mut self.engine.directory, message, mono_ms), "out of order");
            self.engine.settle();
        }
        self.engine.hold_between = hold;
        self.engine.settle();
    }

    /// Messages that went over go over again: that changes nothing.
    pub fn repeat_between(&mut self) {
        let mono_ms = self.now.mono_ms;
        for message in self.passed.iter().cloned().collect::<Vec<_>>() {
            if self.engine.delivery.find(&message.conversation).is_some() {
                assert!(self.engine.delivery.sequenced(&mut self.engine.directory, message, mono_ms), "a repeat");
            }
        }
        self.engine.settle();
    }
}
