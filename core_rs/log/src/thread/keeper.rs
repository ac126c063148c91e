//! The keeper's thread: makes segments ahead and removes dead ones. Both take tens of milliseconds on a common file
//! system, and nobody should wait for them.

use super::super::{Completion, Disk, LogOptions, reserve, unlink};
use super::shared::Shared;
use super::writer::ToWriter;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

/// What the keeper is told.
pub(super) enum ToKeeper {
    Reserve { name: String },
    Unlink { segment: u32 },
}

pub(super) struct Thread<D: Disk> {
    disk: Arc<D>,
    options: LogOptions,
    shared: Arc<Shared>,
    writer: Sender<ToWriter>,
}

impl<D: Disk> Thread<D> {
    pub fn new(disk: Arc<D>, options: LogOptions, shared: Arc<Shared>, writer: Sender<ToWriter>) -> Self {
        Thread { disk, options, shared, writer }
    }

    pub fn run(&self, inbox: &Receiver<ToKeeper>) {
        // The log goes from its beginning: a segment must not go while one before it stays.
        let mut failed = false;
        while let Ok(message) = inbox.recv() {
            match message {
                ToKeeper::Reserve { name } => {
                    let made = reserve::make(&*self.disk, name, &self.options);
                    let _ = self.writer.send(ToWriter::Reserved(made));
                }
                ToKeeper::Unlink { .. } if failed => {}
                ToKeeper::Unlink { segment } => failed = !self.unlink(segment),
            }
        }
    }

    /// Whether it is gone.
    fn unlink(&self, segment: u32) -> bool {
        let removed = unlink(&*self.disk, segment);
        let gone = removed.is_ok();
        self.shared.complete(removed.map_or_else(Completion::Failed, |()| Completion::Unlinked(segment)));
        let _ = self.writer.send(ToWriter::SpaceMayBeFree);
        gone
    }
}
