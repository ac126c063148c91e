//! An engine with connections, driven as the runtime drives it; the disk is instant.

use _core::engine::{Config, ConnId, Engine, Identity, Request, Verdict};
use _core::log::{Appender, LogOptions, Recovered};
use _core::time::Now;
use _core::wire::types::{ClientFrame, Hello};

/// See the module.
pub struct World {
    pub engine: Engine,
    mono_ms: u64,
    /// Frames of each kind that were written since they were counted last.
    pub seen: [usize; 17],
    /// Bytes of them.
    pub bytes: usize,
}

impl World {
    pub fn new() -> Self {
        let now = Now { mono_ms: 1, wall_ms: 1_750_000_000_000 };
        let mut engine = Engine::new(Config::default(), now);
        let recovered = Recovered::default();
        engine.start(&recovered, Appender::new(&recovered, &LogOptions::default()));
        World { engine, mono_ms: 1, seen: [0; 17], bytes: 0 }
    }

    pub fn connect(&mut self, user: &str) -> ConnId {
        let conn = self.engine.open(0, true);
        self.engine.admit(conn, Identity { user: user.into(), device: 1, expires_ms: 0 });
        let hello = Hello { protocol: 1, receive: true, ..Hello::default() };
        self.feed(conn, &mut framed(&[ClientFrame::Hello(hello)]));
        self.pump();
        conn
    }

    /// A millisecond passes.
    pub fn tick(&mut self) {
        self.mono_ms += 1;
        self.engine.set_now(Now { mono_ms: self.mono_ms, wall_ms: 1_750_000_000_000 + self.mono_ms });
    }

    pub fn feed(&mut self, conn: ConnId, bytes: &mut [u8]) {
        assert_eq!(self.engine.data(conn, bytes), Verdict::Open);
    }

    /// Turns until nothing is left to do; the disk is instant.
    pub fn pump(&mut self) {
        loop {
            let batches = self.engine.log().take(0);
            let mut idle = batches.is_empty();
            for batch in batches {
                self.engine.durable(batch.number);
                self.engine.log().recycle(batch.bytes);
            }
            while let Some(request) = self.engine.next_request() {
                idle = false;
                match request {
                    Request::Load(key) => self.engine.loaded(&key, None),
                    Request::Unlink(segment) => self.engine.unlinked(segment),
                    other => panic!("unexpected request {other:?}"),
                }
            }
            idle &= !self.engine.run();
            while let Some(write) = self.engine.next_write() {
                idle = false;
                count(write.data, &mut self.seen);
                self.bytes += write.data.len();
            }
            if idle {
                return;
            }
        }
    }
}

/// Counts the frames in what one connection was written.
fn count(mut data: &[u8], seen: &mut [usize; 17]) {
    while !data.is_empty() {
        let (mut len, mut shift) = (0, 0);
        while let Some((byte, rest)) = data.split_first() {
            data = rest;
            len |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        seen[usize::from(data[0] >> 3)] += 1;
        data = &data[len..];
    }
}

/// Frames as they stand in a raw connection.
pub fn framed(frames: &[ClientFrame<'_>]) -> Vec<u8> {
    let (mut bytes, mut payload) = (Vec::new(), Vec::new());
    for frame in frames {
        payload.clear();
        frame.encode(&mut payload);
        put_varint(&mut bytes, payload.len());
        bytes.extend_from_slice(&payload);
    }
    bytes
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
