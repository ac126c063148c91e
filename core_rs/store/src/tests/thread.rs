//! The threads, over the store in memory.

use super::rig::{LOG, conversation};
use crate::memory::{MemoryDisk, MemoryStore, Outcome};
use crate::thread::{Completion, MAX_PUTS, MAX_QUESTIONS, Retry, StoreThread, Wake};
use crate::{
    Batch, Damage, Fault, Identity, Key, Kind, Lookup, OpenMode, Page, Put, Scan, Store, StoreError, Summary, Write,
};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The loop's side: hears wake-ups through a channel.
struct Loop {
    store: StoreThread,
    disk: MemoryDisk,
    woken: Receiver<()>,
}

struct Bell(Sender<()>);

impl Wake for Bell {
    fn wake(&self) {
        let _ = self.0.send(());
    }

    fn quiet(&self) {}
}

impl Loop {
    fn new() -> Loop {
        let disk = MemoryDisk::default();
        let store = MemoryStore::open(&disk, LOG, OpenMode::Make).unwrap();
        Loop::over(store, disk)
    }

    fn over<S: Store + 'static>(store: S, disk: MemoryDisk) -> Loop {
        let (wake, woken) = channel();
        let retry = Retry([Duration::ZERO; 3]);
        let store = StoreThread::spawn(Arc::new(store), Arc::new(Bell(wake)), retry).unwrap();
        Loop { store, disk, woken }
    }

    /// Waits for wake-ups until something is done.
    fn next(&mut self) -> Completion {
        loop {
            if let Some(done) = self.store.poll() {
                return done;
            }
            self.woken.recv().unwrap();
        }
    }

    fn get(&mut self, n: u32) -> Lookup {
        self.store.get(7, vec![conversation(n)]).unwrap();
        match self.next() {
            Completion::Looked { token: 7, mut answers } => answers.pop().unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

fn batch(n: u32) -> Batch {
    Batch::new(vec![Write { key: conversation(n), position: 1, value: Some(b"v".to_vec()) }]).unwrap()
}

#[test]
fn batch_is_stored_and_read_back_with_its_tokens() {
    let mut it = Loop::new();
    it.store.put(3, batch(1)).unwrap();
    let put = Put { written: 1, kept: 0, healed: Vec::new() };
    assert_eq!(it.next(), Completion::Stored { token: 3, put });
    assert!(matches!(it.get(1), Lookup::Found(row) if row.value == b"v"));
    assert_eq!(it.get(2), Lookup::Absent(conversation(2)));
    it.store.scan(4, Scan::kind(Kind::Conversation)).unwrap();
    assert!(matches!(it.next(), Completion::Scanned { token: 4, page: Ok(page) } if page.rows.len() == 1));
}

#[test]
fn puts_and_questions_under_way_are_bounded_until_polled_i6() {
    let mut it = Loop::new();
    (0..MAX_PUTS as u32).for_each(|n| it.store.put(0, batch(n)).unwrap());
    assert_eq!(it.store.put(0, batch(9)), Err(batch(9)));
    (0..MAX_QUESTIONS as u64).for_each(|token| it.store.get(token, vec![conversation(1)]).unwrap());
    assert_eq!(it.store.get(0, vec![conversation(1)]), Err(vec![conversation(1)]));
    assert!(matches!(it.store.scan(0, Scan::kind(Kind::User)), Err(StoreError::TooLarge { .. })));
    let (mut stored, mut looked) = (0, 0);
    while stored < MAX_PUTS || looked < MAX_QUESTIONS {
        match it.next() {
            Completion::Stored { .. } => stored += 1,
            Completion::Looked { .. } => looked += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(it.store.put(0, batch(9)).is_ok() && it.store.get(0, Vec::new()).is_ok());
}

#[test]
fn failed_put_is_reported_once_and_is_the_last_i10() {
    for outcome in [Outcome::Durable, Outcome::Lost] {
        let mut it = Loop::new();
        it.disk.fail_put(Fault::Full, outcome);
        it.store.put(0, batch(1)).unwrap();
        assert!(matches!(it.next(), Completion::Failed(error) if error.fault() == Some(Fault::Full)));
        assert_eq!(it.store.put(0, batch(2)), Err(batch(2)));
        // Readings go on: they show what is on the disk.
        assert_eq!(matches!(it.get(1), Lookup::Found(_)), outcome == Outcome::Durable);
        assert!(it.store.close().next().is_none());
    }
}

#[test]
fn transient_read_failure_is_tried_again_and_a_lasting_one_is_not_an_absence() {
    for (fault, times, succeeds) in [
        (Fault::Busy, 3, true),
        (Fault::Busy, 4, false),
        (Fault::CannotOpen, 3, true),
        (Fault::Memory, 3, true),
        (Fault::Disk, 1, true),
        (Fault::Disk, 2, false),
        (Fault::Damaged, 1, false),
    ] {
        let mut it = Loop::new();
        it.disk.fail_reads(times, fault);
        match it.get(1) {
            Lookup::Absent(_) => assert!(succeeds, "{fault:?} {times}"),
            Lookup::Unreadable(_, error) => assert!(!succeeds && error.fault() == Some(fault), "{fault:?} {times}"),
            other => panic!("{other:?}"),
        }
        it.disk.fail_reads(times, fault);
        it.store.scan(1, Scan::kind(Kind::User)).unwrap();
        assert!(matches!(it.next(), Completion::Scanned { page, .. } if page.is_ok() == succeeds));
    }
}

#[test]
fn retried_keys_keep_their_places_among_the_answers() {
    let mut it = Loop::over(Flaky(Mutex::new(0)), MemoryDisk::default());
    let keys: Vec<Key> = (0..20).map(conversation).collect();
    it.store.get(0, keys).unwrap();
    let Completion::Looked { answers, .. } = it.next() else { panic!() };
    assert_eq!(answers.len(), 20);
    assert!(answers.is_sorted_by(|a, b| a.key() < b.key()));
    assert!(answers.iter().all(|answer| matches!(answer, Lookup::Damaged(..))));
}

/// A store whose every second answer is an error the first time, and otherwise damage; whose puts panic.
struct Flaky(Mutex<u32>);

impl Store for Flaky {
    fn identity(&self) -> Identity {
        LOG
    }

    fn summary(&self) -> Result<Summary, StoreError> {
        Ok(Summary::default())
    }

    fn put(&self, _: &Batch) -> Result<Put, StoreError> {
        panic!("the test's put")
    }

    fn get(&self, keys: &[Key]) -> Vec<Lookup> {
        let mut calls = self.0.lock().unwrap();
        *calls += 1;
        let busy =
            StoreError::Failed { doing: "read", path: String::new(), fault: Fault::Busy, message: String::new() };
        let mut sorted = keys.to_vec();
        sorted.sort();
        let answer = |(n, key)| match (*calls, n % 2) {
            (1, 1) => Lookup::Unreadable(key, busy.clone()),
            _ => Lookup::Damaged(key, Damage::Checksum),
        };
        sorted.into_iter().enumerate().map(answer).collect()
    }

    fn scan(&self, _: &Scan) -> Result<Page, StoreError> {
        Ok(Page::default())
    }
}

#[test]
fn panic_of_a_thread_is_a_failure_i10() {
    let mut it = Loop::over(Flaky(Mutex::new(0)), MemoryDisk::default());
    it.store.put(0, batch(1)).unwrap();
    assert_eq!(it.next(), Completion::Failed(StoreError::Misused("a thread of the store panicked")));
    assert_eq!(it.store.put(0, batch(1)), Err(batch(1)));
}

#[test]
fn close_completes_what_was_put_and_asked() {
    let mut it = Loop::new();
    it.store.put(1, batch(1)).unwrap();
    it.store.put(2, batch(2)).unwrap();
    it.store.get(3, vec![conversation(1)]).unwrap();
    assert_eq!(it.store.close().count(), 3);
    let store = MemoryStore::open(&it.disk, LOG, OpenMode::Find).unwrap();
    assert_eq!(store.summary().unwrap().counts.of(Kind::Conversation), 2);
}
