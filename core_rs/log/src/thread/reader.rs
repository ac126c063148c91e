//! The reader's thread: bodies by position, and whole segments part by part.

use super::super::{Completion, Disk, Reader, Ref};
use super::shared::Shared;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

/// Bytes of a segment that one part of a scan brings, about.
const SCAN_PART: u64 = 256 << 10;

/// What the reader is told.
pub(super) enum ToReader {
    Read { token: u64, refs: Vec<Ref> },
    Scan { segment: u32 },
    GoOn { segment: u32 },
    Forget { segment: u32 },
}

pub(super) struct Thread<D: Disk> {
    reader: Reader<D>,
    shared: Arc<Shared>,
    /// Scans that wait for their last part to be polled, and where they go on.
    scans: Vec<(u32, u64)>,
}

impl<D: Disk> Thread<D> {
    pub fn new(reader: Reader<D>, shared: Arc<Shared>) -> Self {
        Thread { reader, shared, scans: Vec::new() }
    }

    pub fn run(&mut self, inbox: &Receiver<ToReader>) {
        while let Ok(message) = inbox.recv() {
            if self.shared.is_abandoned() {
                return;
            }
            match message {
                ToReader::Read { token, refs } => {
                    let bodies = self.reader.read(&refs);
                    self.shared.complete(Completion::Read { token, bodies });
                }
                ToReader::Scan { segment } => self.scan(segment, 0),
                ToReader::GoOn { segment } => {
                    if let Some(place) = self.scans.iter().position(|(id, _)| *id == segment) {
                        let (segment, from) = self.scans.swap_remove(place);
                        self.scan(segment, from);
                    }
                }
                ToReader::Forget { segment } => {
                    self.reader.forget(segment);
                    self.scans.retain(|(id, _)| *id != segment);
                }
            }
        }
    }

    fn scan(&mut self, segment: u32, from: u64) {
        self.shared.complete(match self.reader.scan(segment, from, SCAN_PART) {
            Ok(part) => {
                self.scans.extend(part.next.map(|from| (segment, from)));
                let done = part.next.is_none();
                Completion::Scanned { segment, records: part.records, findings: part.findings, done }
            }
            Err(error) => Completion::ScanFailed { segment, error },
        });
    }
}
