//! A node: its partition and gateway, and what they are lent, as a state machine without I/O, threads or a clock.
//!
//! Inputs are method calls: bytes came, a batch is durable, rows were looked up, time passed. Outputs are drained: writes for
//! connections ([`Node::next_write`]), records for the log ([`Node::log`]), and requests ([`Node::next_request`]). No call does
//! unbounded work (I11).

use std::collections::VecDeque;

use gateway::{Carrier, Gateway, Host, Identity, Key, Verdict, Write, accounts::Source};
use log::{Appender, LogError};
use partition::partition::Partition;
use partition::records::Record;
use seam::{Address, Now, Position};
use slab::Slab;

use crate::api::{Request, Stats};
use crate::around::Around;
use crate::bodies::{BodyCache, Wanted};
use crate::clock::Clock;
use crate::config::Config;
use crate::journal::Journal;
use crate::rests::Rests;
use crate::trim::Trim;
use crate::upkeep::Upkeep;
use crate::users::Asks;

/// Reads of bodies that are under way, and bodies and bytes of each: what is read fits into the cache until it is taken.
const READS: (usize, usize, u64) = (2, 64, 8 << 20);

/// See the module.
#[derive(Debug)]
pub struct Node {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) partition: Partition,
    pub(crate) around: Around,
    pub(crate) requests: VecDeque<Request>,
    /// Bodies that are wanted, and stand where nothing can be read yet.
    unreadable: Vec<Wanted>,
    /// Bodies under way from the log.
    pub(crate) reads: Slab<Reading>,
    /// Questions under way to the store.
    pub(crate) questions: Questions,
    pub(crate) asks: Asks,
    pub(crate) rests: Rests,
    pub(crate) trim: Trim,
    pub(crate) upkeep: Upkeep,
    /// Bytes that are appended and not durable, by batch, in order: position and what was appended up to it.
    appended: VecDeque<(Position, u64)>,
    durable_bytes: u64,
    /// What the start concluded stands up to here; whether that is on disk.
    concluded: Position,
    pub(crate) begun: bool,
    /// The last batch that is durable, and the last that is on disk.
    pub(crate) durable: Position,
    pub(crate) synced: Position,
    pub(crate) stats: Stats,
    failed: Option<String>,
}

/// What a read of the log is for.
#[derive(Debug)]
pub(crate) enum Reading {
    /// Sessions want these bodies.
    Bodies(Vec<Wanted>),
    /// The oldest segment is to go.
    Carry(Vec<crate::upkeep::Carry>),
}

/// What a question to the store is for.
#[derive(Debug)]
pub(crate) enum Question {
    /// Rows by their keys.
    Rows,
    /// Which conversations a user has.
    Index(compact_str::CompactString),
    /// The same, for a session, or for changes of the user's devices.
    Member(Option<seam::Attached>, compact_str::CompactString),
    /// Devices that were not seen for long.
    Unseen,
}

/// Questions under way, each with a number that grows.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    under_way: Slab<(u64, Question)>,
    asked: u64,
}

impl Questions {
    /// A question is asked; gives its token.
    pub fn ask(&mut self, question: Question) -> u64 {
        self.asked += 1;
        self.under_way.insert((self.asked, question)) as u64
    }

    /// It is answered.
    pub fn take(&mut self, token: u64) -> Option<Question> {
        let token = usize::try_from(token).ok()?;
        self.under_way.try_remove(token).map(|(_, question)| question)
    }

    /// The number of the last question that was asked.
    pub fn asked(&self) -> u64 {
        self.asked
    }

    /// Whether all questions up to a number are answered.
    pub fn are_answered(&self, upto: u64) -> bool {
        self.under_way.iter().all(|(_, (number, _))| *number > upto)
    }

    pub fn len(&self) -> usize {
        self.under_way.len()
    }
}

impl Host for Node {
    type Commands = Partition;
    type Env = Around;

    fn gateway(&mut self) -> &mut Gateway {
        &mut self.around.gateway
    }

    fn split(&mut self) -> (&mut Partition, &mut Around) {
        (&mut self.partition, &mut self.around)
    }
}

impl Node {
    /// A node over what a start made of its log, which `log` continues.
    pub fn new(config: Config, now: Now, partition: Partition, log: Appender, trim: Trim) -> Self {
        let durable = Position(log.last_batch());
        let mut node = Self {
            clock: Clock::new(now),
            around: Around {
                now,
                journal: Journal::new(log, config.segment_bytes),
                bodies: BodyCache::new(config.body_cache_bytes),
                gateway: Gateway::new(config.gateway(), now),
            },
            partition,
            requests: VecDeque::new(),
            unreadable: Vec::new(),
            reads: Slab::new(),
            questions: Questions::default(),
            asks: Asks::default(),
            rests: Rests::default(),
            trim,
            upkeep: Upkeep::new(now),
            appended: VecDeque::new(),
            durable_bytes: 0,
            concluded: durable,
            begun: false,
            durable,
            synced: durable,
            stats: Stats::default(),
            failed: None,
            config,
        };
        // The last batch tells when it was made; a clock that was put right since then counts in any case.
        let last_ms = node.partition.state.time_ms.max(node.around.journal.appender().last_time_ms());
        if node.clock.resume(last_ms) {
            node.alarm("clock_jumped", "The machine's clock is far from the log's time: expiry is paused.");
        }
        node.tick();
        node.around.gateway.synced(durable);
        node.begin();
        node.concluded = node.partition.state.position;
        node
    }

    /// Commits what a start concluded, before anything else: it is in the first batch of the run, and durable together with the
    /// bound of receipt versions. False: the log has no room.
    pub fn conclude(&mut self, records: &[Record<'static>]) -> bool {
        let all = records.iter().all(|record| self.commit(std::slice::from_ref(record)));
        self.begin();
        self.concluded = self.partition.state.position;
        all
    }

    /// Whether what a start concluded is on disk, and everybody may be served.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// The operator says that the machine's clock is right: the server's time is what it shows. False: the log has no room.
    pub fn confirm_clock(&mut self) -> bool {
        self.clock.correct();
        self.tick();
        let record = partition::propose::clock(self.clock.time_ms());
        let committed = self.commit(&[record]);
        self.note_appended();
        committed
    }

    /// Time passed. Before every call below.
    pub fn set_now(&mut self, now: Now) {
        if self.clock.set(now) {
            self.alarm("clock_jumped", "The machine's clock jumped by more than an hour: expiry is paused.");
        }
        self.tick();
    }

    fn tick(&mut self) {
        let now = Now { wall_ms: self.clock.time_ms(), mono_ms: self.clock.mono_ms() };
        self.around.now = now;
        self.around.gateway.set_now(now);
    }

    /// One bounded turn. True when more waits.
    pub fn run(&mut self) -> bool {
        let mut more = self.maintain();
        if self.failed.is_none() {
            more |= Gateway::turn(self);
        }
        self.ask();
        self.note_appended();
        more
    }

    /// A connection; see [`Gateway::open`].
    pub fn open(&mut self, user: usize, carrier: Carrier, source: Option<Source>) -> Address {
        self.around.gateway.open(user, carrier, source)
    }

    /// Bytes from a connection; they are unmasked in place.
    pub fn data(&mut self, id: Address, bytes: &mut [u8]) -> Verdict {
        let verdict = Gateway::data(self, id, bytes);
        self.note_appended();
        verdict
    }

    /// What the next connection is owed this turn.
    pub fn next_write(&mut self) -> Option<Write<'_>> {
        self.around.gateway.next_write()
    }

    /// The next thing for the driver to do.
    pub fn next_request(&mut self) -> Option<Request> {
        self.requests.pop_front().or_else(|| self.around.gateway.next_request().map(Request::Gateway))
    }

    /// Where records wait to be taken and written.
    pub fn log(&mut self) -> &mut Appender {
        self.around.journal.log()
    }

    /// When [`Node::run`] wants to be called, ms of the monotonic clock.
    pub fn next_timer(&self) -> Option<u64> {
        let timers = [self.around.gateway.next_timer(), self.partition.next_burst(), self.upkeep.next_timer()];
        timers.into_iter().flatten().min()
    }

    /// The server's time, ms since 1970: for batches.
    pub fn time_ms(&self) -> u64 {
        self.clock.time_ms()
    }

    /// Batches up to `batch` are durable, those up to `synced` are on disk.
    pub fn durable(&mut self, batch: u64, synced: u64) {
        (self.durable, self.synced) = (Position(batch), Position(synced));
        self.partition.synced(&mut self.around, Position(batch));
        if !self.begun && self.concluded <= self.synced {
            self.begun = true;
            self.partition.state.settle_all();
        }
        self.around.gateway.synced(Position(batch));
        self.around.journal.durable(Position(batch));
        while let Some(&(position, bytes)) = self.appended.front()
            && position <= self.durable
        {
            self.durable_bytes = bytes;
            self.appended.pop_front();
        }
        let log = self.around.journal.appender();
        if log.last_batch() <= batch {
            self.durable_bytes = log.appended_bytes();
        }
        self.bound_appended();
        self.answer_users();
    }

    /// What was appended by now, so that it is known what of it is not durable.
    pub(crate) fn note_appended(&mut self) {
        let log = self.around.journal.appender();
        let (position, bytes) = (Position(log.last_batch()), log.appended_bytes());
        match self.appended.back_mut() {
            Some(last) if last.0 == position => last.1 = bytes,
            _ if position > self.durable => self.appended.push_back((position, bytes)),
            _ => {}
        }
        self.bound_appended();
        for (segment, batch) in self.around.journal.take_began() {
            self.trim.began(segment, batch);
        }
    }

    fn bound_appended(&mut self) {
        let waiting = self.around.journal.appender().appended_bytes().saturating_sub(self.durable_bytes);
        self.stats.unaccepted_bytes = waiting;
        let most = self.config.unaccepted_total.min(self.config.segment_bytes.into());
        self.around.gateway.set_log_behind(waiting > most);
    }

    /// Bodies that were wanted from the log.
    pub fn read(&mut self, token: u64, bodies: Vec<Result<bytes::Bytes, LogError>>) {
        let Some(reading) = usize::try_from(token).ok().and_then(|token| self.reads.try_remove(token)) else { return };
        match reading {
            Reading::Bodies(wanted) => self.take_bodies(wanted, bodies),
            Reading::Carry(carried) => self.carry(carried, bodies),
        }
        self.note_appended();
    }

    fn take_bodies(&mut self, wanted: Vec<Wanted>, bodies: Vec<Result<bytes::Bytes, LogError>>) {
        let mut lost = 0;
        for (Wanted { conversation, seq, place }, body) in wanted.into_iter().zip(bodies) {
            let stored = match &body {
                Ok(body) => partition::records::message::stored(body).ok(),
                Err(error) if error.is_loss() => None,
                // It stands elsewhere by now, or is read at another time.
                Err(_) => {
                    self.partition.body_read(&mut self.around, conversation, (seq, place), crate::bodies::NO_HINT);
                    continue;
                }
            };
            match stored {
                Some(stored) => {
                    let hint = self.around.bodies.put(place, stored.to_vec());
                    self.partition.body_read(&mut self.around, conversation, (seq, place), hint);
                }
                None => {
                    lost += 1;
                    self.partition.lost(&mut self.around, conversation, seq, place).unwrap_or_default();
                }
            }
        }
        if lost > 0 {
            self.stats.lost_total += lost;
            self.alarm("log_findings", &format!("{lost} messages cannot be read from the log any more."));
        }
    }

    /// Room for another segment is reserved, or is not to be had.
    pub fn space(&mut self, ok: bool) {
        let came = self.around.gateway.stats().connections > 0;
        if self.around.journal.space(ok, came) {
            self.alarm("storage_full", "No room for another log segment: sends will be refused.");
        }
    }

    /// A connection's transport takes more, or does not.
    pub fn set_writable(&mut self, id: Address, on: bool) {
        self.around.gateway.set_writable(id, on);
    }

    /// A connection is gone.
    pub fn lost(&mut self, id: Address) {
        self.around.gateway.lost(id);
    }

    /// After [`Verdict::Http`]: everything that was read. The connection is forgotten.
    pub fn take_http_prefix(&mut self, id: Address) -> Vec<u8> {
        self.around.gateway.take_http_prefix(id)
    }

    /// A connection's token is refused.
    pub fn refuse(&mut self, id: Address, code: &str, message: &str) {
        self.around.gateway.refuse(id, code, message);
    }

    /// The embedder's answer to a session's last question.
    pub fn permit(&mut self, id: Address, ticket: u64, allowed: bool) {
        self.around.gateway.permit(id, ticket, allowed);
    }

    /// A connection turned out to be somebody.
    pub fn admit(&mut self, id: Address, identity: Identity) {
        self.around.gateway.admit(id, identity);
    }

    /// Says goodbye to every connection and closes it. What is pending still becomes durable.
    pub fn stop(&mut self, reason: &str, reconnect_ms: u64) {
        while self.flush(usize::MAX) {}
        self.around.gateway.stop(reason, reconnect_ms);
        self.note_appended();
    }

    /// The log or the node failed: everything is refused from now on (I10).
    pub fn fail(&mut self, reason: &str) {
        if self.failed.is_none() {
            self.around.gateway.fail(reason);
            self.failed = self.around.gateway.failed().map(str::to_owned);
            self.alarm("router_failed", reason);
        }
    }

    /// Why everything is refused, if it is.
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// Counters and gauges.
    pub fn stats(&self) -> Stats {
        let state = &self.partition.state;
        let (messages, bytes) = state.pending_totals();
        Stats {
            gateway: self.around.gateway.stats(),
            users_in_memory: state.users.rows().0 as u64,
            conversations_in_memory: state.conversations_len() as u64,
            messages_pending: messages,
            bytes_pending: bytes,
            body_bytes: self.around.bodies.bytes() as u64,
            log_segments: self.trim.len() as u64,
            log_bytes_total: self.around.journal.appender().appended_bytes(),
            storage_ok: self.around.journal.has_space(),
            clock_trusted: self.clock.trusted(),
            ..self.stats.clone()
        }
    }

    /// What waits inside, by name: for a person who looks at a router that seems to stand still.
    pub fn diagnosis(&self) -> Vec<(&'static str, u64)> {
        let mut told = self.around.gateway.diagnosis();
        told.extend([
            ("reads", self.reads.len() as u64),
            ("questions", self.questions.len() as u64),
            ("durable", self.durable.0),
            ("synced", self.synced.0),
            ("appended", self.around.journal.appender().last_batch()),
        ]);
        told
    }

    pub(crate) fn alarm(&mut self, code: &'static str, message: &str) {
        self.requests.push_back(Request::Alarm { code, message: message.to_owned() });
    }

    /// Asks for bodies and rows that are wanted.
    fn ask(&mut self) {
        let under_way = self.reads.iter().filter(|(_, read)| matches!(read, Reading::Bodies(_))).count();
        for _ in under_way..READS.0 {
            let mut wanted = std::mem::take(&mut self.unreadable);
            wanted.extend(self.around.bodies.take_wanted(READS.1, READS.2));
            // A message that is carried stands in a batch that may not be durable yet.
            let journal = &self.around.journal;
            (wanted, self.unreadable) = wanted.into_iter().partition(|wanted| journal.is_readable(wanted.place));
            if wanted.is_empty() {
                break;
            }
            let refs = wanted.iter().map(|wanted| crate::journal::ref_of(wanted.place)).collect();
            let token = self.reads.insert(Reading::Bodies(wanted)) as u64;
            self.requests.push_back(Request::Read { token, refs });
        }
        for want in self.partition.wanted() {
            self.want(want);
        }
        let mut rows = Vec::new();
        while let Some(key) = self.around.gateway.next_load() {
            match key {
                Key::Row(row) => rows.push(row),
                Key::Index(user) => self.ask_index(user, None),
            }
        }
        self.load(rows);
    }
}
