//! Connections, login, sessions, windows and held outputs. Knows no rule of a conversation: those are a partition's, behind the
//! crate `seam`. No sockets, no threads, no clock. Why it is shaped like this: docs/adr/0010-gateway-and-node.md. No server uses
//! it yet.
//!
//! # Layout
//! - [`api`]: what passes between a gateway and its driver. [`config`]: limits.
//! - `conns`: the table of connections; a session is a part of its connection's entry. `login`: hello to welcome, and a session's
//!   end. `timers`: when a connection is looked at again. `handover`: a session moves to another process, as the bytes of `saved`.
//! - In: `frames`: what each frame does. `deferred`: frames that wait, and their turn. `fair`: a queue that is fair to users.
//!   `waits`: who waits for which row. `uses`: a session's first use of a row. `permits`: the embedder's word.
//! - Out: `outputs`: what the partition gives, as frames. `encode`: frames as bytes. `holding`: outputs that wait for the disk.
//!   `out`: what a connection is owed, and its writes. `runs`: sessions that are owed messages or receipts.
//! - [`accounts`]: what sessions, users and addresses use, and may. `bounds`: connections are kept within that.
//!
//! # Calls
//! Inputs that give no command are methods of [`Gateway`]. During a command the gateway itself is lent to the partition, as its
//! [`Outputs`](seam::Outputs); so inputs that give commands ([`Gateway::data`], [`Gateway::turn`]) take a [`Host`], which has
//! both, and borrow the gateway for a moment at a time. The bytes of a frame lie in the driver's read buffer meanwhile, and the
//! connection's link is taken out of the table while it reads them.
//!
//! Whatever ends a session, also in the middle of a command, only notes its handle: [`Gateway::turn`] gives the `detach`.
#![deny(unsafe_code)]

pub mod accounts;
pub mod api;
mod bounds;
pub mod config;
mod conns;
mod deferred;
mod encode;
mod fair;
mod frames;
mod handover;
mod holding;
mod login;
mod out;
mod outputs;
mod permits;
mod runs;
mod saved;
mod timers;
mod uses;
mod waits;

use std::collections::VecDeque;

pub use api::{Carrier, Identity, Request, Stats, Verdict, Write};
pub use config::Config;
pub use conns::State;
pub use login::NoSession;
pub use out::write_flags;
pub use waits::Key;

use hashbrown::DefaultHashBuilder;
use seam::{Address, Attached, Commands, Env, Now};
use wire::codes;
use wire::types::ServerFrame;

use accounts::{Accounts, Source};
use conns::Conns;
use deferred::take_up;
use fair::Fair;
use holding::Holding;
use runs::Runs;
use timers::Timers;
use waits::Waits;

/// Connections that are looked at in one turn, and sessions of which the partition is told that they ended.
const TIMERS_PER_TURN: usize = 1024;
/// What a stored message takes beside its body at most, bytes.
const MESSAGE_BYTES: u32 = 4 << 10;

/// Who has a gateway and a partition, and lends them to each other: a node, or a test.
pub trait Host {
    /// The partition.
    type Commands: Commands;
    /// What is lent to it, the gateway among it.
    type Env: Env<O = Gateway>;

    /// The gateway.
    fn gateway(&mut self) -> &mut Gateway;

    /// The partition, and what is lent to it: the gateway that [`Host::gateway`] gives.
    fn split(&mut self) -> (&mut Self::Commands, &mut Self::Env);
}

/// See the module.
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    now: Now,
    conns: Conns,
    accounts: Accounts,
    holding: Holding,
    runs: Runs,
    timers: Timers,
    waits: Waits,
    /// Sessions whose waiting frames, or they themselves, have what they waited for; each once.
    ready: Fair<Address>,
    /// Handles of sessions that ended, until the partition is told.
    ended: VecDeque<Attached>,
    requests: VecDeque<Request>,
    /// Bytes of answers to frames in this part of a turn.
    answered: u64,
    hasher: DefaultHashBuilder,
    /// Of [`uses`]: uses before this one do not count.
    epoch: u32,
    /// The connection whose link is lent out; code and reason, if it was closed meanwhile.
    lent: Option<(u32, Option<(u16, String)>)>,
    /// The connection that was written to last: what it holds is to be counted.
    written: Option<u32>,
    log_behind: bool,
    /// Connections that are not read because of that.
    paused: Vec<Address>,
    failed: Option<String>,
    stopping: bool,
    stats: Stats,
}

impl Gateway {
    /// A gateway without connections.
    pub fn new(config: Config, now: Now) -> Self {
        Self {
            now,
            conns: Conns::default(),
            accounts: Accounts::new(config.accounts),
            runs: Runs::new(config.limits.body_bytes + MESSAGE_BYTES),
            holding: Holding::default(),
            timers: Timers::default(),
            waits: Waits::default(),
            ready: Fair::default(),
            ended: VecDeque::new(),
            requests: VecDeque::new(),
            answered: 0,
            hasher: DefaultHashBuilder::default(),
            epoch: 0,
            lent: None,
            written: None,
            log_behind: false,
            paused: Vec::new(),
            failed: None,
            stopping: false,
            stats: Stats::default(),
            config,
        }
    }

    /// Time passed. Before every call of an input.
    pub fn set_now(&mut self, now: Now) {
        self.now = now;
    }

    /// A connection. `user` comes back in each of its writes. `source`: where it comes from; `None`: from this process.
    pub fn open(&mut self, user: usize, carrier: Carrier, source: Option<Source>) -> Address {
        let payer = self.accounts.open(source, self.now.mono_ms);
        let refused = payer.is_none();
        let address = self.conns.open(user, carrier, payer, self.now.mono_ms);
        if refused {
            self.end(address.slot(), codes::close::SERVER, codes::OVERLOAD, false);
        } else if let Some(reason) = self.failed.clone() {
            self.close_with(address.slot(), codes::INTERNAL, &reason);
        } else if self.stopping {
            self.end(address.slot(), codes::close::GOING_AWAY, "the server stops", false);
        } else if carrier == Carrier::Socket {
            self.look_in(address.slot(), self.config.hello_ms);
        }
        address
    }

    /// A connection's transport takes more, or does not.
    pub fn set_writable(&mut self, id: Address, on: bool) {
        let Some(slot) = self.conns.slot(id) else { return };
        self.conns.outs.set_writable(slot, on);
        self.wake(slot);
        self.recount(slot);
    }

    /// What the next connection is owed this turn.
    pub fn next_write(&mut self) -> Option<Write<'_>> {
        if let Some(slot) = self.written.take() {
            self.recount(slot);
        }
        let Conns { outs, table, .. } = &mut self.conns;
        let out::Write { slot, data, shared, flags } = outs.next_write()?;
        self.written = Some(slot);
        Some(Write { user: table.get(slot as usize)?.user, data, shared, flags })
    }

    /// The next thing for the driver to do.
    pub fn next_request(&mut self) -> Option<Request> {
        self.requests.pop_front()
    }

    /// One bounded turn: sessions that ended, connections to look at, frames that waited, and deliveries. True when more waits.
    pub fn turn<H: Host>(host: &mut H) -> bool {
        for _ in 0..TIMERS_PER_TURN {
            let Some(attached) = host.gateway().ended.pop_front() else { break };
            let (commands, env) = host.split();
            commands.detach(env, attached);
        }
        let mut more = host.gateway().look_at_due(TIMERS_PER_TURN);
        more |= host.gateway().release();
        more |= take_up(host);
        let (commands, env) = host.split();
        more |= runs::turn(env, commands);
        more || !host.gateway().ended.is_empty()
    }

    /// Says goodbye to every connection and closes it. What is held is dropped.
    pub fn stop(&mut self, reason: &str, reconnect_ms: u64) {
        self.stopping = true;
        for slot in self.conns.slots() {
            if !matches!(self.conns.state(slot), Some(State::Opening | State::Parked)) {
                self.conns.outs.frame(slot, &ServerFrame::Goodbye { reason, reconnect_ms });
            }
            self.end(slot, codes::close::GOING_AWAY, reason, false);
        }
    }

    /// The node failed: everything is refused from now on (I10).
    pub fn fail(&mut self, reason: &str) {
        if self.failed.is_some() {
            return;
        }
        let message = format!("The router failed and must be restarted: {reason}");
        for slot in self.conns.slots() {
            self.close_with(slot, codes::INTERNAL, &message);
        }
        self.failed = Some(message);
    }

    /// Why everything is refused, if it is.
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// How far a connection came; `None`: it is gone.
    pub fn state(&self, id: Address) -> Option<State> {
        self.conns.state(self.conns.slot(id)?)
    }

    /// Counters and gauges.
    pub fn stats(&self) -> Stats {
        let (connections, held_bytes) = (self.conns.table.len() as u64, self.accounts.held());
        Stats { connections, held_bytes, ..self.stats.clone() }
    }

    /// What waits inside, by name, for a person who looks at a router that seems to stand still: counts, and milliseconds of the
    /// monotonic clock.
    pub fn diagnosis(&self) -> Vec<(&'static str, u64)> {
        let (gates, queued, under_way) = self.waits.counts();
        vec![
            ("mono_ms", self.now.mono_ms),
            ("next_timer_ms", self.timers.next().unwrap_or(0)),
            ("timers", self.timers.count() as u64),
            ("requests", self.requests.len() as u64),
            ("gates", gates as u64),
            ("loads_queued", queued as u64),
            ("loads_under_way", u64::from(under_way)),
            ("ready", self.ready.len() as u64),
            ("ended", self.ended.len() as u64),
            ("held_bytes", self.holding.bytes() as u64),
            ("log_behind", u64::from(self.log_behind)),
            ("failed", u64::from(self.failed.is_some())),
            ("stopping", u64::from(self.stopping)),
        ]
    }
}

#[cfg(test)]
mod tests;
