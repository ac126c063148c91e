//! An engine with everything around it played by the test: connections, the disk, the cold store, and time.

use std::collections::{BTreeMap, HashMap};

use super::frames::{Got, take};
use crate::engine::{Config, ConnId, Engine, Identity, Key, Request, Verdict, write_flags};
use crate::link::MAGIC;
use crate::log::{Appender, Disk, Fetch, LogError, LogOptions, Reader, Writer, recover, unlink};
use crate::time::Now;
use crate::wire::types::{Ack, ClientFrame, ConversationId, Hello, Read, Send, Target};

/// What a connection got.
#[derive(Default)]
pub struct Wire {
    bytes: Vec<u8>,
    pub closed: bool,
    pub paused: bool,
    pub stalled: bool,
    pub writes: usize,
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
    pub engine: Engine,
    pub config: Config,
    pub now: Now,
    pub wires: BTreeMap<usize, Wire>,
    pub cold: HashMap<Key, Vec<u8>>,
    pub alarms: Vec<(&'static str, String)>,
    /// Loads and stores are answered by hand.
    pub hold_cold: bool,
    pub held: Vec<Request>,
    /// Questions about tokens and permissions.
    pub asked: Vec<Request>,
    /// Batches stay with the writer until this is lifted.
    pub hold_disk: bool,
    /// No scan of a segment ends.
    pub refuse_scans: bool,
    /// Reads that had to be tried again.
    pub delayed: usize,
    pub disk: D,
    writer: Writer<D>,
    reader: Reader<D>,
    next_wire: usize,
    pub failed: Option<LogError>,
    pub unlinked: Vec<u32>,
}

pub const START: Now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };

impl<D: Disk + Clone> Rig<D> {
    /// Opens (or opens again) the log on a disk.
    pub fn open(disk: D, mut config: Config, options: LogOptions, now: Now, cold: HashMap<Key, Vec<u8>>) -> Self {
        config.segment_bytes = options.segment_bytes;
        let mut engine = Engine::new(config.clone(), now);
        let recovered = recover(&disk, &mut |record| engine.replay(&record)).expect("recovers");
        engine.understood().expect("understands its own records");
        engine.start(&recovered, Appender::new(&recovered, &options));
        let writer = Writer::open(disk.clone(), &recovered, &options).expect("opens");
        let reader = Reader::new(disk.clone(), &recovered);
        let mut rig = Self {
            engine,
            config,
            now,
            wires: BTreeMap::new(),
            cold,
            alarms: Vec::new(),
            hold_cold: false,
            held: Vec::new(),
            asked: Vec::new(),
            hold_disk: false,
            refuse_scans: false,
            delayed: 0,
            disk,
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
    pub fn open_raw(&mut self) -> (usize, ConnId) {
        self.next_wire += 1;
        self.wires.insert(self.next_wire, Wire::default());
        (self.next_wire, self.engine.open(self.next_wire, false))
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
        self.engine.data(conn, &mut bytes);
        let identity = Identity { user: user.to_owned(), device, expires_ms: 0 };
        self.engine.admit(conn, identity);
        self.turn();
        client
    }

    /// Feeds a frame.
    pub fn feed(&mut self, client: Client, frame: &ClientFrame<'_>) -> Verdict {
        let mut bytes = framed(frame);
        self.engine.data(client.conn, &mut bytes)
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
        self.engine.lost(client.conn);
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

    /// Lets time pass.
    pub fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms;
        self.turn();
    }

    /// Everything that can happen, happens.
    pub fn turn(&mut self) {
        for _ in 0..10_000 {
            self.engine.set_now(self.now);
            let mut busy = self.engine.run();
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
        if self.hold_disk || self.engine.log().pending_bytes() == 0 || self.failed.is_some() {
            return false;
        }
        let time_ms = self.engine.time_ms();
        let mut batches = self.engine.log().take(time_ms);
        match self.writer.write(&mut batches) {
            Ok(durable) => self.engine.durable(durable),
            Err(error) => {
                self.engine.fail(&error.to_string());
                self.failed = Some(error);
            }
        }
        true
    }

    /// Writes some batches by hand.
    pub fn write(&mut self, batches: &mut [crate::log::Batch]) {
        self.writer.write(batches).expect("writes");
    }

    fn drain(&mut self) -> bool {
        let mut busy = false;
        while let Some(write) = self.engine.next_write() {
            busy = true;
            let Some(wire) = self.wires.get_mut(&write.user) else { continue };
            wire.bytes.extend_from_slice(write.data);
            wire.writes += 1;
            wire.closed |= write.flags & (write_flags::CLOSE | write_flags::ABORT) != 0;
            wire.paused |= write.flags & write_flags::PAUSE != 0;
            wire.paused &= write.flags & write_flags::RESUME == 0;
        }
        busy
    }

    fn serve(&mut self) -> bool {
        let mut busy = false;
        while let Some(request) = self.engine.next_request() {
            busy = true;
            match request {
                Request::Load(_) | Request::Store { .. } if self.hold_cold => self.held.push(request),
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

    fn answer(&mut self, request: Request) {
        match request {
            Request::Load(key) => {
                let blob = self.cold.get(&key).cloned();
                self.engine.loaded(&key, blob.as_deref());
            }
            Request::Store { key, version, blob } => {
                self.cold.insert(key.clone(), blob);
                self.engine.stored(&key, version);
            }
            Request::Read { token, refs } => {
                let mut fetch = Fetch::new(&refs);
                while self.reader.fetch(&mut fetch).is_err() {
                    self.delayed += 1;
                    assert!(self.delayed < 1000, "the disk does not come to rest");
                }
                self.engine.read_done(token, fetch.into_bodies());
            }
            Request::Scan(_) if self.refuse_scans => {}
            Request::Scan(segment) => {
                let mut from = Some(0);
                while let Some(place) = from {
                    let part = self.reader.scan(segment, place, 1 << 16).expect("scans");
                    from = part.next;
                    self.engine.scanned(segment, part.records, from.is_none());
                }
            }
            Request::Unlink(segment) => {
                self.reader.forget(segment);
                unlink(&self.disk, segment).expect("unlinks");
                self.unlinked.push(segment);
                self.engine.unlinked(segment);
            }
            Request::Alarm { code, message } => self.alarms.push((code, message)),
            Request::Authenticate { .. } | Request::Authorize { .. } => self.asked.push(request),
        }
    }
}

/// A test's end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    pub wire: usize,
    pub conn: ConnId,
}

/// A raw frame.
pub fn framed(frame: &ClientFrame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    crate::link::put_header(&mut out, crate::link::Framing::Raw, frame.encoded_len());
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
