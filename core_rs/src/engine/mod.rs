//! The state machine: connections, sessions and users around the two halves of a partition.
//!
//! Inputs are method calls: bytes came, a batch is durable, a row was loaded, time passed. Outputs are drained: writes for
//! connections ([`Engine::next_write`]), records for the log ([`Engine::log`]), and rare requests
//! ([`Engine::next_request`]). No sockets, no threads, no clock; nothing blocks and no call does unbounded work (I11).
//!
//! - [`api`]: what passes between an engine and its driver. [`config`]: limits. [`clock`], [`timers`]: time.
//! - `conns`: connections and what they are owed. `accounts`: what the sessions of one user hold. `session`: what a
//!   connection is once it is identified.
//! - `frames`: what each frame from a client does. `joins`: hello to welcome. `sends`: a message's way to durable.
//!   `groups`: that of a change of a group. `asks`: questions about groups, and blocks. `permits`: the embedder's word.
//! - [`directory`]: users in memory. `residency`: what is loaded, and what leaves memory. `rows`: which rows of the cold
//!   store are unusable. `uses`: rows that a session names. `gather`: frames that wait for rows.
//! - `turns`: what one turn does. `expiry`: when delivery is to drop what was not collected.
//! - `diagnosis`: what an engine that seems to stand still waits for.
//! - `records`: what is written to the log. `replay`: what is read from it; `estranged`: after damage. `changes`: those of
//!   groups there. `segments`: what of it can go. `versions`: receipt versions across crashes.

mod accounts;
pub mod api;
mod asks;
pub mod binary;
mod changes;
pub mod clock;
pub mod config;
mod conns;
mod diagnosis;
pub mod directory;
mod estranged;
mod expiry;
mod frames;
mod gather;
mod groups;
mod joins;
mod permits;
mod records;
mod replay;
mod residency;
mod rows;
mod segments;
mod sends;
mod session;
pub mod timers;
pub mod token;
mod turns;
mod uses;
mod versions;

use std::collections::{HashMap, HashSet, VecDeque};

pub use api::{ConnId, Identity, Key, Request, Stats, Verdict, Write, write_flags};
pub use config::Config;

use hashbrown::DefaultHashBuilder;

use crate::delivery::{BURST_MS, Delivery, Outlet};
use crate::link::{Framing, Link, LinkLimits, Status};
use crate::log::{Appender, LogError, LogOptions, Record, Recovered};
use crate::sequencer::{Sequenced, Sequencer};
use crate::time::Now;
use crate::wire::codes;
use crate::wire::types::{ConversationId, ErrorFrame, ServerFrame};
use clock::Clock;
use conns::{Conns, Stage, pause};
use directory::Directory;
use segments::Segments;
use sends::Pending;
use timers::{Timer, Timers};

/// Sessions served in one turn.
pub const WRITES_PER_TURN: usize = 256;
/// How often cursors are logged, ms (I3).
const CURSORS_MS: u64 = 1000;
/// Longest HTTP head that is read to find a WebSocket handshake, bytes.
const HTTP_HEAD: usize = 16 << 10;

/// See the module.
pub struct Engine {
    config: Config,
    clock: Clock,
    timers: Timers,
    conns: Conns,
    directory: Directory,
    sequencer: Sequencer,
    delivery: Delivery,
    log: Appender,
    durable: u64,
    /// Numbered and on the way to the disk, in the order of batches.
    pending: VecDeque<Pending>,
    /// Bytes of `pending`.
    unaccepted: u64,
    /// Connections paused because of that.
    paused: Vec<ConnId>,
    /// Durable, on the way from the sequencer to delivery.
    between: VecDeque<Sequenced>,
    requests: VecDeque<Request>,
    /// Bytes that were written to connections before the present part of a turn began.
    turn_from: u64,
    /// Who waits for what to be loaded.
    loading: HashMap<Key, Vec<ConnId>>,
    /// For what sessions used.
    hasher: DefaultHashBuilder,
    /// Connections whose waiting frames, or hello, have what they waited for; each once.
    ready: VecDeque<ConnId>,
    rows: rows::Rows,
    /// The log was damaged when it was read: states may be older than what follows from them.
    damaged: bool,
    /// See the module.
    estranged: HashMap<ConversationId, estranged::Estranged>,
    /// What the cold store is still asked for after damage: those of them, and users of whom only the name is known.
    asked: HashSet<Key>,
    /// Who local connections will be once they said hello.
    early: HashMap<ConnId, Identity>,
    segments: Segments,
    versions: versions::Versions,
    replay: Option<replay::Replay>,
    cursors_timer: bool,
    /// When something was appended last, the server's time.
    appended_ms: u64,
    sweep: (u32, u32),
    left_memory: usize,
    gave_back: bool,
    /// The disk has no room for another segment: what sends may still fill, a segment that was begun before.
    full: Option<u32>,
    failed: Option<String>,
    stopping: bool,
    stats: Stats,
    /// A test holds back or repeats what is between the sequencer and delivery.
    #[cfg(test)]
    pub(crate) hold_between: bool,
}

impl Engine {
    /// An engine that has replayed nothing yet.
    pub fn new(mut config: Config, now: Now) -> Self {
        config.unaccepted_total = config.unaccepted_total.min(config.segment_bytes.into());
        let log = Appender::new(&Recovered::default(), &LogOptions::default());
        let mut delivery = Delivery::new(config.hot_bytes);
        delivery.group_caps = (config.conversation_messages, config.conversation_bytes);
        // What reading the log finds to be news is above what was told before.
        delivery.resume_versions(versions::receipt_version(now.wall_ms));
        Self {
            clock: Clock::new(now),
            timers: Timers::default(),
            conns: Conns::default(),
            directory: Directory::default(),
            sequencer: Sequencer::default(),
            delivery,
            durable: log.last_batch(),
            log,
            pending: VecDeque::new(),
            unaccepted: 0,
            paused: Vec::new(),
            between: VecDeque::new(),
            requests: VecDeque::new(),
            turn_from: 0,
            loading: HashMap::new(),
            hasher: DefaultHashBuilder::default(),
            ready: VecDeque::new(),
            rows: rows::Rows::default(),
            damaged: false,
            estranged: HashMap::new(),
            asked: HashSet::new(),
            early: HashMap::new(),
            segments: Segments::default(),
            versions: versions::Versions::default(),
            replay: Some(replay::Replay::default()),
            cursors_timer: false,
            appended_ms: now.wall_ms,
            sweep: (0, 0),
            left_memory: 0,
            gave_back: false,
            full: None,
            failed: None,
            stopping: false,
            stats: Stats::default(),
            config,
            #[cfg(test)]
            hold_between: false,
        }
    }

    /// One record of the log, in order; before [`Engine::start`].
    pub fn replay(&mut self, record: &Record<'_>) {
        self.replay_record(record);
    }

    /// The log is replayed and `log` continues it: ready for connections.
    pub fn start(&mut self, recovered: &Recovered, log: Appender) {
        self.finish_replay(recovered, log);
        self.keep_versions();
        self.timers.set(self.clock.mono_ms() + segments::SWEEP_MS, Timer::Sweep);
        self.settle();
        self.delivery.effects.shrink();
    }

    /// Time passed. Before every call below.
    pub fn set_now(&mut self, now: Now) {
        let jumped = self.clock.set(now);
        self.delivery.resume_versions(versions::receipt_version(self.clock.time_ms()));
        self.keep_versions();
        if self.clock.trusted() {
            self.delivery.held_from_s = (self.clock.time_ms().saturating_sub(self.config.hold_ms) / 1000) as u32;
        }
        if jumped {
            self.alarm("clock_jumped", "The machine's clock jumped by more than an hour: expiry is paused.".into());
        }
    }

    /// A connection. `user` comes back in each of its writes. A `local` one is in this process: raw frames, no magic, no
    /// token; it is admitted by the caller at once.
    pub fn open(&mut self, user: usize, local: bool) -> ConnId {
        let link = if local { Link::raw() } else { Link::sniffing() };
        let id = self.conns.open(user, link, local, self.clock.mono_ms());
        if !local {
            self.timers.set(self.clock.mono_ms() + self.config.hello_ms, id.timer());
        }
        if let Some(reason) = self.failed.clone() {
            self.close_with(id.slot(), codes::INTERNAL, &reason);
        } else if self.stopping {
            self.conns.close(id.slot(), codes::close::GOING_AWAY, "the server stops", false);
        }
        id
    }

    /// Bytes from a connection; they are unmasked in place.
    pub fn data(&mut self, id: ConnId, bytes: &mut [u8]) -> Verdict {
        let Some(slot) = self.conns.slot(id) else { return Verdict::Closed };
        let mono_ms = self.clock.mono_ms();
        match self.conns.get_mut(slot) {
            Some(conn) if conn.stage == Stage::Closing => return Verdict::Closed,
            Some(conn) => conn.hear(mono_ms),
            None => return Verdict::Closed,
        }
        let Some((mut link, mut out)) = self.conns.lend(slot) else { return Verdict::Closed };
        let limits = LinkLimits { frame_bytes: self.config.frame_bytes as usize, http_head_bytes: HTTP_HEAD };
        let status = link.feed(bytes, &limits, &mut out, &mut |payload, out| {
            // What is written meanwhile goes where the link's own bytes go.
            self.conns.swap_out(slot, out);
            self.conns.set_framing(slot, payload.framing);
            let flow = self.frame(slot, payload.bytes, payload.framing == Framing::WsText);
            self.conns.swap_out(slot, out);
            flow
        });
        let (error, arrived) = (link.error(), link.arrived());
        self.conns.give_back(slot, link, out);
        self.bound_early(slot, arrived);
        let refused = self.conns.get(slot).is_some_and(|c| c.stage == Stage::Closing);
        let verdict = match status {
            _ if refused => Verdict::Closed,
            Status::Open => Verdict::Open,
            Status::Http => Verdict::Http,
            Status::Closing => {
                match error {
                    Some((code, message)) => self.close_with(slot, code, &message),
                    None => self.conns.close(slot, codes::close::NORMAL, "", false),
                }
                Verdict::Closed
            }
        };
        self.bound_backlog(slot);
        self.bound_account(slot);
        self.settle();
        verdict
    }

    /// After [`Verdict::Http`]: everything that was read. The connection is forgotten.
    pub fn take_http_prefix(&mut self, id: ConnId) -> Vec<u8> {
        let Some(slot) = self.conns.slot(id) else { return Vec::new() };
        let prefix = self.conns.get_mut(slot).map(|c| c.link.take_http_prefix()).unwrap_or_default();
        self.conns.remove(slot);
        prefix
    }

    /// A connection is gone.
    pub fn lost(&mut self, id: ConnId) {
        let Some(slot) = self.conns.slot(id) else { return };
        self.early.remove(&id);
        self.leave(slot);
        self.conns.remove(slot);
        self.settle();
    }

    /// A connection's transport takes more, or does not.
    pub fn set_writable(&mut self, id: ConnId, on: bool) {
        let Some(slot) = self.conns.slot(id) else { return };
        self.conns.set_writable(slot, on);
        if let Some(receiver) = self.conns.session(slot).map(|s| s.receiver) {
            self.delivery.set_writable(receiver, on);
        }
        if on {
            self.conns.pause(slot, pause::BACKLOG, false);
            if self.conns.session(slot).is_some_and(session::Session::is_waiting) {
                self.turn_later(slot);
            }
        }
    }

    /// A client that does not take its answers is not read; one that goes on regardless is closed.
    fn bound_backlog(&mut self, slot: u32) {
        let backlog = self.conns.backlog(slot);
        if backlog > 4 * self.config.out_bytes && self.conns.paused(slot, pause::BACKLOG) {
            self.conns.close(slot, codes::close::SERVER, "too much waits to be read", true);
        } else if backlog > self.config.out_bytes && !self.conns.writable(slot) {
            self.conns.pause(slot, pause::BACKLOG, true);
        }
    }

    /// The first frame, of which so much is there, is a short one. Whether it is.
    fn bound_early(&mut self, slot: u32, bytes: usize) -> bool {
        let most = self.config.early_bytes;
        let opening = self.conns.get(slot).is_some_and(|conn| conn.stage == Stage::Opening && !conn.local);
        if opening && bytes > most {
            self.close_with(slot, codes::TOO_LARGE, &format!("Before welcome a frame has at most {most} bytes."));
            return false;
        }
        true
    }

    /// What the next connection is owed this turn.
    pub fn next_write(&mut self) -> Option<Write<'_>> {
        self.conns.next_write()
    }

    /// The next thing for the driver to do.
    pub fn next_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// Where records wait to be taken and written.
    pub fn log(&mut self) -> &mut Appender {
        &mut self.log
    }

    /// When [`Engine::run`] wants to be called, ms of the monotonic clock.
    pub fn next_timer(&self) -> Option<u64> {
        self.timers.next()
    }

    /// The server's time, ms since 1970: for batches.
    pub fn time_ms(&self) -> u64 {
        self.clock.time_ms()
    }

    /// Bodies that were wanted from the log.
    pub fn read_done(&mut self, token: u64, bodies: Vec<Result<bytes::Bytes, LogError>>) {
        let lost = self.delivery.read_done(&self.directory, token, bodies);
        if lost > 0 {
            self.stats.lost_total += lost as u64;
            self.alarm("log_findings", format!("{lost} messages cannot be read from the log any more."));
        }
        self.settle();
    }

    /// Room for another segment is reserved, or is not to be had.
    pub fn space(&mut self, ok: bool) {
        if ok {
            self.full = None;
        } else if self.full.is_none() {
            // What a start wrote, before anybody came, does not make a segment one for sends.
            let came = self.conns.len() > 0 || self.log.segment() > self.versions.first_segment();
            let begun = self.log.is_begun() && came;
            self.full = Some(self.log.segment() - u32::from(!begun));
            self.alarm("storage_full", "No room for another log segment: sends will be refused.".into());
        }
    }

    /// Whether a send of so many bytes may be logged. On a full disk the segment in reserve, and an eighth of the one
    /// before it, are for acknowledgements and whatever gives room.
    fn has_room(&self, bytes: usize) -> bool {
        let kept = self.config.segment_bytes as usize / 8;
        self.full.is_none_or(|segment| segment == self.log.segment() && self.log.room() as usize >= kept + bytes)
    }

    /// Says goodbye to every connection and closes it. What is pending still becomes durable.
    pub fn stop(&mut self, reason: &str, reconnect_ms: u64) {
        self.stopping = true;
        self.log_all_cursors();
        for slot in self.conns.slots() {
            if self.conns.get(slot).is_some_and(|c| c.stage != Stage::Opening) {
                self.conns.frame(slot, &ServerFrame::Goodbye { reason, reconnect_ms });
            }
            self.conns.close(slot, codes::close::GOING_AWAY, reason, false);
        }
    }

    /// The log or the engine failed: everything is refused from now on (I10).
    pub fn fail(&mut self, reason: &str) {
        if self.failed.is_some() {
            return;
        }
        self.failed = Some(format!("The router failed and must be restarted: {reason}"));
        self.alarm("router_failed", reason.to_owned());
        for slot in self.conns.slots() {
            let message = self.failed.clone().unwrap_or_default();
            self.close_with(slot, codes::INTERNAL, &message);
        }
    }

    /// Why the engine failed, if it did.
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// Counters and gauges.
    pub fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        stats.connections = self.conns.len() as u64;
        stats.users_in_memory = self.directory.len() as u64;
        stats.conversations_in_memory = self.delivery.len() as u64;
        stats.hot_bytes = self.delivery.hot_bytes() as u64;
        stats.unaccepted_bytes = self.unaccepted;
        stats.delivered_total = self.conns.delivered;
        stats.held_bytes = self.conns.held_in_all();
        (stats.messages_pending, stats.bytes_pending, stats.log_segments) = self.segments.totals();
        stats.log_bytes_total = self.log.appended_bytes();
        stats.storage_ok = u64::from(self.full.is_none());
        stats.clock_trusted = u64::from(self.clock.trusted());
        stats
    }

    fn alarm(&mut self, code: &'static str, message: String) {
        self.requests.push_back(Request::Alarm { code, message });
    }

    /// Writes an error frame.
    fn tell_error(&mut self, slot: u32, code: &'static str, message: &str, id: &[u8], at: Option<ConversationId>) {
        let retry = codes::find(code).map_or(crate::wire::types::Retry::Never, |c| c.retry);
        let retry_ms = match retry {
            crate::wire::types::Retry::After => 5000,
            crate::wire::types::Retry::Reconnect => 1000,
            _ => 0,
        };
        let message = message.into();
        let frame = ErrorFrame { code, message, retry, retry_ms, id, conversation: at, lists: Vec::new() };
        self.conns.frame(slot, &ServerFrame::Error(frame));
    }

    /// Writes an error frame and closes.
    fn close_with(&mut self, slot: u32, code: &'static str, message: &str) {
        self.stats.errors_total += 1;
        let undecided = self.conns.get(slot).is_none_or(|c| c.link.undecided());
        if !undecided {
            self.tell_error(slot, code, message, &[], None);
        }
        // What leaves a session open ends a connection that has none: a mistake of the client's.
        let close = codes::find(code).and_then(|c| c.close).unwrap_or(codes::close::PROTOCOL);
        self.conns.close(slot, close, code, false);
    }

    /// Does what the parts want of each other after a call.
    fn settle(&mut self) {
        self.pass_between();
        while let Some(news) = self.delivery.effects.reclaimed.pop() {
            self.sequencer.reclaimed(news);
        }
        while let Some((segment, len)) = self.delivery.effects.freed.pop() {
            self.segments.freed(segment, len);
        }
        while let Some((token, refs)) = self.delivery.effects.reads.pop() {
            self.requests.push_back(Request::Read { token, refs });
        }
        while let Some((slot, time_s)) = self.delivery.effects.timers.pop() {
            self.set_expiry(slot, u64::from(time_s) * 1000);
        }
        while let Some((receiver, serial)) = self.delivery.effects.bursts.pop() {
            self.timers.set(self.clock.mono_ms() + BURST_MS, Timer::Receipts(receiver, serial));
        }
        self.delivery.effects.floors.sort_unstable();
        self.delivery.effects.floors.dedup();
        while let Some(slot) = self.delivery.effects.floors.pop() {
            self.log_conversation(slot);
        }
        if !self.cursors_timer && self.delivery.has_dirty() {
            self.cursors_timer = true;
            self.timers.set(self.clock.mono_ms() + CURSORS_MS, Timer::Cursors);
        }
    }

    /// Messages go over from the sequencer to delivery.
    fn pass_between(&mut self) {
        #[cfg(test)]
        if self.hold_between {
            return;
        }
        while let Some(message) = self.between.pop_front() {
            let change = message.change.as_ref().map(|_| (message.conversation, message.seq));
            if !self.delivery.sequenced(&mut self.directory, message, self.clock.mono_ms()) {
                self.alarm("internal", "A message arrived at delivery out of order.".into());
            }
            if let Some((id, seq)) = change {
                self.sequencer.landed(&id, seq);
            }
        }
    }
}

#[cfg(test)]
pub mod tests;
