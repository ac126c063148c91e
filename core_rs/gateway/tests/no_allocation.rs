//! A send that is accepted, and a message that is delivered, go through a gateway without touching the allocator.
//!
//! A test of its own because the allocator is the process's.
#![allow(unsafe_code, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use gateway::{Carrier, Config, Gateway, Host, Identity, Request};
use link::{Framing, MAGIC, put_header};
use seam::{
    Address, Attach, Attached, Bodies, Body, Commands, ConversationId, Credit, Env, Full, Journal, Lent, Now, Outputs,
    Place, Position, Query, RowKey, Served, Taken, Token, Wait,
};
use smallvec::SmallVec;
use wire::message::encode_stored;
use wire::types::{ClientFrame, Hello, Manage, Message, Read, Send, Target};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A partition with one session, which gets what it sends.
#[derive(Default)]
struct Echo {
    address: Option<Address>,
    newest: u64,
    body: Body,
    pending: u32,
}

impl Commands for Echo {
    fn attach<E: Env>(&mut self, env: &mut E, who: &Attach<'_>) -> Result<Attached, Wait> {
        self.address = Some(who.address);
        self.newest += 1;
        env.lend().out.welcome(who.address, (0, 0), &Token::default(), Position(self.newest));
        Ok(Attached { slot: 0, serial: 0 })
    }
    fn send<E: Env>(&mut self, env: &mut E, _: Attached, send: &Send<'_>) -> Taken {
        self.newest += 1;
        self.pending += 1;
        let (address, out) = (self.address.unwrap(), env.lend().out);
        out.accepted(address, &send.id, &[7; 16], self.newest, 0, Position(self.newest));
        out.owed(address, true);
        Ok(())
    }
    fn credit<E: Env>(&mut self, env: &mut E, _: Attached, _: Credit) -> Served {
        for _ in 0..std::mem::take(&mut self.pending) {
            env.lend().out.message(self.address.unwrap(), &mut self.body, None, false, false);
            env.lend().out.freed(self.address.unwrap(), 1, self.body.stored.len() as u32);
        }
        Served::All
    }
    fn notify<E: Env>(&mut self, _: &mut E, _: Attached, _: usize) -> Served {
        Served::All
    }
    fn uses(&self, _: Attached, _: &ClientFrame<'_>, _: &mut SmallVec<[RowKey; 4]>) {}
    fn detach<E: Env>(&mut self, _: &mut E, _: Attached) {}
    fn change<E: Env>(&mut self, _: &mut E, _: Attached, _: &Manage<'_>) -> Taken {
        Ok(())
    }
    fn ack<E: Env>(&mut self, _: &mut E, _: Attached, _: &ConversationId, _: u64) -> Taken {
        Ok(())
    }
    fn read<E: Env>(&mut self, _: &mut E, _: Attached, _: &Read<'_>) -> Taken {
        Ok(())
    }
    fn confirm<E: Env>(&mut self, _: &mut E, _: Attached, _: &[(ConversationId, u64)]) {}
    fn seen<E: Env>(&mut self, _: &mut E, _: Attached, _: &Token) {}
    fn block<E: Env>(&mut self, _: &mut E, _: Attached, _: &str, _: bool) -> Taken {
        Ok(())
    }
    fn query<E: Env>(&mut self, _: &mut E, _: Attached, _: &Query<'_>) -> Taken {
        Ok(())
    }
}

struct Nothing;

impl Journal for Nothing {
    fn append(&mut self, _: &[(u8, &[&[u8]])], _: bool, _: &mut SmallVec<[Place; 4]>) -> Result<Position, Full> {
        Err(Full::Disk)
    }
}

impl Bodies for Nothing {
    fn insert(&mut self, _: Place, _: &[&[u8]]) -> u32 {
        u32::MAX
    }
    fn get(&mut self, _: Place, _: &mut u32) -> Option<&mut Body> {
        None
    }
    fn remove(&mut self, _: Place, _: u32) {}
    fn want(&mut self, _: (u32, u32), _: u64, _: Place) {}
}

struct Around(Gateway, Nothing, Nothing);

impl Env for Around {
    type J = Nothing;
    type B = Nothing;
    type O = Gateway;

    fn lend(&mut self) -> Lent<'_, Nothing, Nothing, Gateway> {
        Lent { now: Now::default(), room: 0, journal: &mut self.1, bodies: &mut self.2, out: &mut self.0 }
    }
}

struct World(Echo, Around);

impl Host for World {
    type Commands = Echo;
    type Env = Around;

    fn gateway(&mut self) -> &mut Gateway {
        &mut self.1.0
    }

    fn split(&mut self) -> (&mut Echo, &mut Around) {
        (&mut self.0, &mut self.1)
    }
}

/// Two turns of a node, between which the disk has everything. Bytes that were written.
fn turns(world: &mut World) -> usize {
    Gateway::turn(world);
    world.1.0.synced(Position(world.0.newest));
    Gateway::turn(world);
    let mut bytes = 0;
    while let Some(write) = world.1.0.next_write() {
        bytes += write.data.len();
    }
    bytes
}

fn framed(frame: &ClientFrame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    put_header(&mut out, Framing::Raw, frame.encoded_len());
    frame.encode(&mut out);
    out
}

#[test]
fn a_message_and_its_accepted_go_through_without_an_allocation() {
    let now = Now { wall_ms: 1_700_000_000_000, mono_ms: 1_000 };
    let mut world = World(Echo::default(), Around(Gateway::new(Config::default(), now), Nothing, Nothing));
    let message = Message { sender: "ann", seq: 1, body: &[9; 160], ..Message::default() };
    encode_stored(&message, &mut world.0.body.stored);
    let id = world.1.0.open(1, Carrier::Socket, Some([1; 16]));
    let hello = ClientFrame::Hello(Hello { protocol: 1, token: "t".into(), receive: true, ..Hello::default() });
    Gateway::data(&mut world, id, &mut [MAGIC.to_vec(), framed(&hello)].concat());
    assert!(matches!(world.1.0.next_request(), Some(Request::Authenticate { .. })));
    world.1.0.admit(id, Identity { user: "ann".to_owned(), device: 1, expires_ms: 0 });
    assert!(turns(&mut world) > 0, "welcome");
    let send = framed(&ClientFrame::Send(Send {
        id: vec![7; 12].into(),
        target: Target::User("ann".into()),
        body: vec![9; 160].into(),
        bodies: Vec::new(),
        lists: Vec::new(),
        media: Vec::new(),
    }));
    let mut read = send.clone();
    for round in 0..100 {
        read.copy_from_slice(&send);
        let before = ALLOCATIONS.get();
        Gateway::data(&mut world, id, &mut read);
        let bytes = turns(&mut world);
        let allocations = ALLOCATIONS.get() - before;
        assert!(bytes > 220, "accepted and the message: {bytes} bytes");
        assert!(round < 4 || allocations == 0, "{allocations} allocations in round {round}");
    }
}
