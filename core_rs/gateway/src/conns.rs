//! The table of connections. A session is a part of its connection's entry, and has its address: slot and generation.

use compact_str::CompactString;
use link::{Framing, Link};
use seam::{Address, Attached, ConversationId, DeviceId, Token};
use slab::Slab;

use crate::accounts::Payer;
use crate::api::Carrier;
use crate::deferred::Waiting;
use crate::out::Outs;
use crate::permits::Permits;
use crate::runs::Run;
use crate::timers::GRAIN_MS;
use crate::uses::Uses;

/// How far a connection came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// No hello yet.
    Opening,
    /// The embedder looks at its token.
    Checking,
    /// Its rows are loaded, its device is registered; `welcome` is to come, or held.
    Joining,
    /// `welcome` was released.
    Live,
    /// A poll's session between two requests.
    Parked,
    /// It has no session any more; what was written drains.
    Closing,
}

/// What a session begins with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// How far it says that it has receipts.
    pub receipts: Option<Token>,
    /// It was live before, here or in another process, with this in flight: it is not told that it is welcome.
    pub returns: Option<Vec<(ConversationId, u64)>>,
    /// The partition refused it with this code: it ends when it was told.
    pub refused: Option<&'static str>,
}

/// What an identified connection is, and what one is that says who it wants to be. Parts that most never need take a pointer.
#[derive(Debug)]
pub(crate) struct Session {
    /// Its user; empty until it is admitted.
    pub user: CompactString,
    /// When it ends, ms since 1970; 0: never.
    pub expires_ms: u64,
    /// The partition's handle, once it is attached.
    pub attached: Option<Attached>,
    /// What it is owed, and its window.
    pub run: Run,
    /// Bytes of its outputs that are held.
    pub held: u32,
    /// Until it is welcome.
    pub asked: Option<Box<Asked>>,
    /// Frames that wait.
    pub waiting: Option<Box<Waiting>>,
    /// See [`Permits`].
    pub permits: Option<Box<Permits>>,
    /// See [`Uses`].
    pub uses: Option<Box<Uses>>,
    /// Its device.
    pub device: DeviceId,
    /// Wants the mailbox's messages.
    pub receive: bool,
}

impl Session {
    /// Nobody's yet.
    pub fn new() -> Self {
        Self {
            user: CompactString::default(),
            expires_ms: 0,
            attached: None,
            run: Run::new((0, 0), (0, 0)),
            held: 0,
            asked: None,
            waiting: None,
            permits: None,
            uses: None,
            device: 0,
            receive: false,
        }
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Conn {
    /// What the driver calls it.
    pub user: usize,
    pub link: Link,
    /// What it uses; `None`: it was refused at once.
    pub payer: Option<Payer>,
    pub session: Option<Box<Session>>,
    /// When something came from it last, in ticks of the timers; of one that opens, when it began.
    heard: u32,
    generation: u32,
    /// When it is looked at, in ticks of the timers; 0: never.
    pub due: u32,
    pub state: State,
    pub carrier: Carrier,
    pub pinged: bool,
}

impl Conn {
    /// Something came from it now.
    pub fn hear(&mut self, mono_ms: u64) {
        self.heard = (mono_ms / GRAIN_MS) as u32;
        self.pinged = false;
    }

    /// The number of its user's account.
    pub fn account(&self) -> u32 {
        self.payer.as_ref().map_or(u32::MAX, Payer::user)
    }

    /// How long its session may last, ms.
    pub fn left_ms(&self, wall_ms: u64) -> u64 {
        let expires_ms = self.session.as_ref().map_or(0, |session| session.expires_ms);
        if expires_ms == 0 { u64::MAX } else { expires_ms.saturating_sub(wall_ms) }
    }

    /// How long nothing came from it, ms.
    pub fn silent_ms(&self, mono_ms: u64) -> u64 {
        (mono_ms / GRAIN_MS).saturating_sub(self.heard.into()) * GRAIN_MS
    }
}

/// All connections, and what they are owed.
#[derive(Debug, Default)]
pub(crate) struct Conns {
    pub table: Slab<Conn>,
    pub outs: Outs,
    generation: u32,
}

impl Conns {
    /// A new connection.
    pub fn open(&mut self, user: usize, carrier: Carrier, payer: Option<Payer>, mono_ms: u64) -> Address {
        self.generation = self.generation.wrapping_add(1).max(1);
        let link = if carrier == Carrier::Socket { Link::sniffing() } else { Link::raw() };
        let slot = self.table.insert(Conn {
            user,
            link,
            payer,
            session: None,
            heard: (mono_ms / GRAIN_MS) as u32,
            generation: self.generation,
            due: 0,
            state: State::Opening,
            carrier,
            pinged: false,
        });
        self.outs.open(slot as u32, Framing::Raw);
        Address::new(slot as u32, self.generation)
    }

    /// Forgets a connection.
    pub fn remove(&mut self, slot: u32) -> Option<Conn> {
        self.outs.end(slot);
        self.table.try_remove(slot as usize)
    }

    /// The slot of a connection that is still the same.
    pub fn slot(&self, address: Address) -> Option<u32> {
        self.get(address.slot()).filter(|c| c.generation == address.generation()).map(|_| address.slot())
    }

    /// The address of a slot.
    pub fn address(&self, slot: u32) -> Address {
        Address::new(slot, self.get(slot).map_or(0, |c| c.generation))
    }

    /// A connection.
    pub fn get(&self, slot: u32) -> Option<&Conn> {
        self.table.get(slot as usize)
    }

    /// A connection, to change.
    pub fn get_mut(&mut self, slot: u32) -> Option<&mut Conn> {
        self.table.get_mut(slot as usize)
    }

    /// How far a connection came.
    pub fn state(&self, slot: u32) -> Option<State> {
        self.get(slot).map(|conn| conn.state)
    }

    /// A connection's session.
    pub fn session(&self, slot: u32) -> Option<&Session> {
        self.get(slot)?.session.as_deref()
    }

    /// A connection's session, to change.
    pub fn session_mut(&mut self, slot: u32) -> Option<&mut Session> {
        self.get_mut(slot)?.session.as_deref_mut()
    }

    /// Slots of all.
    pub fn slots(&self) -> Vec<u32> {
        self.table.iter().map(|(slot, _)| slot as u32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_is_small() {
        assert!(size_of::<Conn>() <= 112, "{}", size_of::<Conn>());
        assert!(size_of::<Session>() <= 104, "{}", size_of::<Session>());
    }
}
