//! The writer's thread: one batch after the other, up to the first failure.

use super::Completion;
use super::shared::Shared;
use crate::batch::Batch;
use crate::store::Store;
use std::sync::mpsc::Receiver;

pub(super) fn run(store: &impl Store, shared: &Shared, batches: &Receiver<(u64, Batch)>) {
    while let Ok((token, batch)) = batches.recv() {
        if shared.is_abandoned() {
            return;
        }
        match store.put(&batch) {
            Ok(put) => shared.complete(Completion::Stored { token, put }),
            // The batches behind it are dropped: whether this one is on disk nobody knows, and order matters.
            Err(error) => return shared.complete(Completion::Failed(error)),
        }
    }
}
