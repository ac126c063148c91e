//! A node with everything around it played by the test: connections, the disk, the store, and time.

use std::collections::BTreeMap;

use gateway::{Carrier, Identity, Verdict, write_flags};
use link::MAGIC;
use log::{Appender, Disk, Fetch, LogError, LogOptions, Reader, Writer, read, unlink};
use partition::partition::Partition;
use partition::recover::Recovery;
use seam::{Address, Now, Place, Position};
use store::memory::{MemoryDisk, MemoryStore};
use store::{Identity as StoreIdentity, OpenMode, Store};
use wire::types::{Ack, ClientFrame, ConversationId, Hello, Read, Send, Target};

use super::frames::{Got, take};
use crate::trim::Trim;
use crate::{Config, Node, Request, UserAnswer};

/// What a connection got.
#[derive(Default)]
pub struct Wire {
    bytes: Vec<u8>,
    pub closed: bool,
    pub paused: bool,
    pub stalled: bool,
    pub writes: usize,
    /// Bytes of the largest write.
    pub largest: usize,
}

impl Wire {
    /// What came since the last look.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// It got these.
    pub fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

/// See the module.
pub struct Rig<D: Disk + Clone> {
    pub node: Node,
    pub config: Config,
    pub now: Now,
    pub wires: BTreeMap<usize, Wire>,
    pub alarms: Vec<(&'static str, String)>,
    /// Questions to the store are answered by hand.
    pub hold_store: bool,
    pub held: Vec<Request>,
    /// Questions about tokens and permissions.
    pub asked: Vec<gateway::Request>,
    /// What was told of users.
    pub users: Vec<(u64, UserAnswer)>,
    /// Batches stay with the writer until this is lifted.
    pub hold_disk: bool,
    /// Reads that had to be tried again.
    pub delayed: usize,
    lazy_sync_ms: u64,
    pub disk: D,
    /// What survives of the store.
    pub rows: MemoryDisk,
    store: MemoryStore,
    writer: Writer<D>,
    reader: Reader<D>,
    next_wire: usize,
    pub failed: Option<LogError>,
    pub unlinked: Vec<u32>,
}

pub const START: Now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };

impl<D: Disk + Clone> Rig<D> {
    /// Opens (or opens again) the log on a disk, with the store beside it.
    pub fn open(disk: D, mut config: Config, options: LogOptions, now: Now, rows: MemoryDisk) -> Self {
        config.segment_bytes = options.segment_bytes;
        let mut recovery = Recovery::default();
        let unsettled = read(&disk, &mut |record| {
            let at = record.at;
            let place = Place { segment: at.segment, offset: at.offset, len: at.len };
            recovery.take(record.kind, record.body, place, Position(record.batch));
        });
        let recovered = unsettled.expect("reads").settle(&disk).expect("settles");
        let store = MemoryStore::open(&rows, StoreIdentity(recovered.id), OpenMode::Make).expect("opens");
        let at_rest = store.summary().expect("says").counts.0.iter().sum::<u64>() > 0;
        let state = recovery.into_state(at_rest).expect("recovers");
        let partition = Partition::new(state, config.partition(), [7; 16]);
        let trim = Trim::new(&recovered.segments, config.segment_bytes);
        let node = Node::new(config.clone(), now, partition, Appender::new(&recovered, &options), trim);
        let writer = Writer::open(disk.clone(), &recovered, &options).expect("opens");
        let reader = Reader::new(disk.clone(), &recovered);
        let mut rig = Self {
            node,
            config,
            now,
            wires: BTreeMap::new(),
            alarms: Vec::new(),
            hold_store: false,
            held: Vec::new(),
            asked: Vec::new(),
            users: Vec::new(),
            hold_disk: false,
            delayed: 0,
            lazy_sync_ms: options.lazy_sync_ms,
            disk,
            rows,
            store,
            writer,
            reader,
            next_wire: 0,
            failed: None,
            unlinked: Vec::new(),
        };
        rig.turn();
        rig
    }

    /// A connection that has said nothing yet.
    pub fn open_raw(&mut self) -> (usize, Address) {
        self.next_wire += 1;
        self.wires.insert(self.next_wire, Wire::default());
        (self.next_wire, self.node.open(self.next_wire, Carrier::Socket, None))
    }

    /// A device's session.
    pub fn join(&mut self, user: &str, device: u32, receive: bool) -> Client {
        self.join_with(user, device, Hello { protocol: 1, receive, ..Hello::default() })
    }

    /// The same, with its own hello.
    pub fn join_with(&mut self, user: &str, device: u32, hello: Hello<'_>) -> Client {
        let (wire, conn) = self.open_raw();
        let client = Client { wire, conn };
        let mut bytes = MAGIC.to_vec();
        bytes.extend(framed(&ClientFrame::Hello(hello)));
        self.node.data(conn, &mut bytes);
        let identity = Identity { user: user.to_owned(), device, expires_ms: 0 };
        self.node.admit(conn, identity);
        self.turn();
        client
    }

    /// Feeds a frame.
    pub fn feed(&mut self, client: Client, frame: &ClientFrame<'_>) -> Verdict {
        let mut bytes = framed(frame);
        self.node.data(client.conn, &mut bytes)
    }

    /// Feeds a message to a user, and lets everything happen.
    pub fn send(&mut self, from: Client, to: &str, id: &[u8], body: &[u8]) {
        self.feed(from, &message(Target::User(to.into()), id, body));
        self.turn();
    }

    /// Acknowledges.
    pub fn ack(&mut self, client: Client, conversation: ConversationId, seq: u64) {
        let ack = Ack { conversation: Some(conversation), seq, ..Ack::default() };
        self.feed(client, &ClientFrame::Ack(ack));
        self.turn();
    }

    /// Reads.
    pub fn read(&mut self, client: Client, conversation: ConversationId, seq: u64) {
        self.feed(client, &ClientFrame::Read(Read { conversation, seq, authors: Vec::new() }));
        self.turn();
    }

    /// A connection is cut.
    pub fn cut(&mut self, client: Client) {
        self.node.lost(client.conn);
        self.wires.remove(&client.wire);
    }

    /// What a client got since the last look.
    pub fn got(&mut self, client: Client) -> Vec<Got> {
        take(&mut self.wires.get_mut(&client.wire).expect("connected").bytes)
    }

    /// Whether the server closed it.
    pub fn closed(&self, client: Client) -> bool {
        self.wires.get(&client.wire).is_none_or(|w| w.closed)
    }

    /// Lets time pass. As the log's thread does, what is written and awaited by nobody is brought to disk after a while.
    pub fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms;
        self.turn();
        if ms >= self.lazy_sync_ms && self.writer.is_dirty() && !self.hold_disk && self.failed.is_none() {
            let durable = self.writer.sync().expect("syncs");
            self.node.durable(durable, self.writer.synced());
            self.turn();
        }
    }

    /// Everything that can happen, happens.
    pub fn turn(&mut self) {
        for _ in 0..10_000 {
            self.node.set_now(self.now);
            let mut busy = self.node.run();
            busy |= self.write_log();
            busy |= self.drain();
            busy |= self.serve();
            if !busy {
                return;
            }
        }
        panic!("the engine does not come to rest");
    }

    /// Writes what the engine appended, unless the disk is held.
    pub fn write_log(&mut self) -> bool {
        if self.hold_disk || self.node.log().pending_bytes() == 0 || self.failed.is_some() {
            return false;
        }
        let time_ms = self.node.time_ms();
        let mut batches = self.node.log().take(time_ms);
        match self.writer.write(&mut batches) {
            Ok(durable) => self.node.durable(durable, self.writer.synced()),
            Err(error) => {
                self.node.fail(&error.to_string());
                self.failed = Some(error);
            }
        }
        true
    }

    /// Writes some batches by hand.
    pub fn write(&mut self, batches: &mut [log::Batch]) {
        self.writer.write(batches).expect("writes");
    }

    fn drain(&mut self) -> bool {
        let mut busy = false;
        while let Some(write) = self.node.next_write() {
            busy = true;
            let Some(wire) = self.wires.get_mut(&write.user) else { continue };
            wire.bytes.extend_from_slice(write.data);
            wire.writes += 1;
            wire.largest = wire.largest.max(write.data.len());
            wire.closed |= write.flags & (write_flags::CLOSE | write_flags::ABORT) != 0;
            wire.paused |= write.flags & write_flags::PAUSE != 0;
            wire.paused &= write.flags & write_flags::RESUME == 0;
        }
        busy
    }

    fn serve(&mut self) -> bool {
        let mut busy = false;
        while let Some(request) = self.node.next_request() {
            busy = true;
            match request {
                Request::Get { .. } | Request::Page { .. } | Request::Put { .. } if self.hold_store => {
                    self.held.push(request);
                }
                other => self.answer(other),
            }
        }
        busy
    }

    /// Answers what was held.
    pub fn release(&mut self) {
        for request in std::mem::take(&mut self.held) {
            self.answer(request);
        }
        self.turn();
    }

    pub fn answer(&mut self, request: Request) {
        match request {
            Request::Get { token, keys } => self.node.looked(token, self.store.get(&keys)),
            Request::Page { token, scan } => self.node.scanned(token, self.store.scan(&scan)),
            Request::Put { token, batch } => {
                let put = self.store.put(&batch).expect("puts");
                self.node.put(token, &put);
            }
            Request::Read { token, refs } => {
                let mut fetch = Fetch::new(&refs);
                while self.reader.fetch(&mut fetch).is_err() {
                    self.delayed += 1;
                    assert!(self.delayed < 1000, "the disk does not come to rest");
                }
                self.node.read(token, fetch.into_bodies());
            }
            Request::Unlink(segment) => {
                self.reader.forget(segment);
                unlink(&self.disk, segment).expect("unlinks");
                self.unlinked.push(segment);
                self.node.unlinked(segment);
            }
            Request::Alarm { code, message } => self.alarms.push((code, message)),
            Request::User { ticket, answer } => self.users.push((ticket, answer)),
            Request::Gateway(request) => self.asked.push(request),
        }
    }
}

/// A test's end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub wire: usize,
    pub conn: Address,
}

/// A raw frame.
pub fn framed(frame: &ClientFrame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    link::put_header(&mut out, link::Framing::Raw, frame.encoded_len());
    frame.encode(&mut out);
    out
}

/// A send.
pub fn message<'a>(target: Target<'a>, id: &'a [u8], body: &'a [u8]) -> ClientFrame<'a> {
    ClientFrame::Send(Send {
        id: id.into(),
        target,
        body: body.into(),
        bodies: Vec::new(),
        lists: Vec::new(),
        media: Default::default(),
    })
}
