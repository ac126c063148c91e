//! The store in memory has the faults that a simulation needs.

use super::rig::{LOG, conversation, get, put, row};
use crate::memory::{MemoryDisk, MemoryStore, Outcome};
use crate::{Batch, Damage, Fault, Identity, Lookup, OpenMode, Store, StoreError, Write};

fn open(disk: &MemoryDisk, identity: Identity) -> Result<MemoryStore, StoreError> {
    MemoryStore::open(disk, identity, OpenMode::Find)
}

/// A disk with row 1 at positions 1 and 2, and its store.
fn stored() -> (MemoryDisk, MemoryStore) {
    let disk = MemoryDisk::default();
    let store = MemoryStore::open(&disk, LOG, OpenMode::Make).unwrap();
    put(&store, &conversation(1), 1, b"one");
    put(&store, &conversation(1), 2, b"two");
    (disk, store)
}

#[test]
fn lost_vanished_damaged_and_old_rows_have_an_answer_each() {
    let key = conversation(1);
    let (disk, store) = stored();
    assert!(disk.age(&key) && !disk.age(&key));
    assert_eq!(get(&store, &key), Lookup::Found(row(key.clone(), 1, b"one")));
    assert!(disk.damage(&key));
    assert_eq!(get(&store, &key), Lookup::Damaged(key.clone(), Damage::Checksum));
    assert!(!disk.vanish(&key));
    assert_eq!(get(&store, &key), Lookup::Damaged(key.clone(), Damage::Vanished));
    assert_eq!(put(&store, &key, 3, b"three").healed, std::slice::from_ref(&key));
    assert_eq!(get(&store, &key), Lookup::Found(row(key.clone(), 3, b"three")));
    assert!(disk.lose(&key) && !disk.lose(&key));
    assert_eq!(get(&store, &key), Lookup::Absent(key));
}

#[test]
fn lost_foreign_and_unknown_databases_are_refused() {
    let (disk, store) = stored();
    assert!(matches!(open(&disk, LOG), Err(StoreError::InUse { .. })));
    drop(store);
    let other = Identity([1; 16]);
    assert!(matches!(open(&disk, other), Err(StoreError::OtherLog { store: LOG, log, .. }) if log == other));
    let copy = disk.copy();
    disk.set_unknown_format();
    assert!(matches!(open(&disk, LOG), Err(StoreError::UnknownFormat { .. })));
    disk.replace(None);
    assert!(matches!(open(&disk, LOG), Err(StoreError::Missing { .. })));
    disk.replace(copy);
    assert!(open(&disk, LOG).is_ok());
}

#[test]
fn older_copy_reflects_an_older_position() {
    let (disk, store) = stored();
    let copy = disk.copy();
    put(&store, &conversation(1), 9, b"nine");
    assert_eq!(store.summary().unwrap().reflects, 9);
    disk.replace(copy);
    assert_eq!(store.summary().unwrap().reflects, 2);
}

#[test]
fn failed_put_is_the_last_one_whatever_became_of_it_i10() {
    for outcome in [Outcome::Durable, Outcome::Lost] {
        let (disk, store) = stored();
        disk.fail_put(Fault::Disk, outcome);
        let write = Write { key: conversation(2), position: 3, value: Some(Vec::new()) };
        let batch = Batch::new(vec![write]).unwrap();
        assert!(matches!(store.put(&batch), Err(StoreError::Failed { fault: Fault::Disk, .. })));
        assert!(matches!(store.put(&batch), Err(StoreError::Refused { .. })));
        drop(store);
        let store = open(&disk, LOG).unwrap();
        assert_eq!(matches!(get(&store, &conversation(2)), Lookup::Found(_)), outcome == Outcome::Durable);
        assert_eq!(store.summary().unwrap().reflects, if outcome == Outcome::Durable { 3 } else { 2 });
    }
}

#[test]
fn failed_readings_are_unreadable_as_often_as_asked_for() {
    let (disk, store) = stored();
    disk.fail_reads(2, Fault::Busy);
    assert!(store.summary().is_err());
    assert!(
        matches!(get(&store, &conversation(1)), Lookup::Unreadable(_, error) if error.fault() == Some(Fault::Busy))
    );
    assert!(matches!(get(&store, &conversation(1)), Lookup::Found(_)));
}
