//! The reader's thread: questions in the order in which they were asked. A transient failure is tried again.

use super::Completion;
use super::shared::Shared;
use crate::error::StoreError;
use crate::key::Key;
use crate::store::{Lookup, Page, Scan, Store};
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// A question for the reader.
pub(super) enum Question {
    Get { token: u64, keys: Vec<Key> },
    Scan { token: u64, scan: Scan },
}

/// How long the reader pauses before it tries a failed reading again. A lock, memory or descriptors that are lacking are
/// tried as often as there are pauses, an error of the disk once, damage never.
#[derive(Clone, Copy, Debug)]
pub struct Retry(pub [Duration; 3]);

impl Default for Retry {
    /// 1 ms, 10 ms and 100 ms: other questions wait meanwhile.
    fn default() -> Self {
        Retry([1, 10, 100].map(Duration::from_millis))
    }
}

pub(super) fn run(store: &impl Store, shared: &Shared, questions: &Receiver<Question>, retry: &Retry) {
    while let Ok(question) = questions.recv() {
        if shared.is_abandoned() {
            return;
        }
        shared.complete(match question {
            Question::Get { token, keys } => Completion::Looked { token, answers: get(store, &keys, retry) },
            Question::Scan { token, scan } => Completion::Scanned { token, page: read(store, &scan, retry) },
        });
    }
}

fn get(store: &impl Store, keys: &[Key], retry: &Retry) -> Vec<Lookup> {
    let mut answers = store.get(keys);
    for (tried, pause) in (0..).zip(retry.0) {
        let failed: Vec<Key> =
            answers.iter().filter(|answer| again(answer, tried)).map(|it| it.key().clone()).collect();
        if failed.is_empty() {
            break;
        }
        std::thread::sleep(pause);
        for better in store.get(&failed) {
            // Answers stand in the order of their keys.
            if let Ok(place) = answers.binary_search_by(|answer| answer.key().cmp(better.key()))
                && let Some(answer) = answers.get_mut(place)
            {
                *answer = better;
            }
        }
    }
    answers
}

/// Whether a question that failed, and was repeated `tried` times, is worth a repeat.
fn again(answer: &Lookup, tried: u32) -> bool {
    matches!(answer, Lookup::Unreadable(_, error) if transient(error, tried))
}

fn transient(error: &StoreError, tried: u32) -> bool {
    error.fault().is_some_and(|fault| tried < fault.retries())
}

fn read(store: &impl Store, scan: &Scan, retry: &Retry) -> Result<Page, StoreError> {
    let mut page = store.scan(scan);
    for (tried, pause) in (0..).zip(retry.0) {
        let failed = match &page {
            Ok(page) => page.rows.iter().any(|answer| again(answer, tried)),
            Err(error) => transient(error, tried),
        };
        if !failed {
            break;
        }
        std::thread::sleep(pause);
        page = store.scan(scan);
    }
    page
}
