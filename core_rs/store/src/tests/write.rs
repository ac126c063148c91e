use super::rig::{Directory, LOG, conversation, get, open, put, put_rows, remove, row, small};
use crate::{Batch, Damage, Fault, Key, Kind, Lookup, OpenMode, SqliteOptions, SqliteStore, Store, StoreError, Write};
use std::time::Duration;

#[test]
fn older_or_equal_position_replaces_nothing() {
    let directory = Directory::new();
    let store = open(&directory);
    let key = conversation(1);
    assert_eq!(put(&store, &key, 5, b"five").written, 1);
    for position in [4, 5] {
        let put = put(&store, &key, position, b"other");
        assert_eq!((put.written, put.kept), (0, 1));
        assert_eq!(remove(&store, &key, position).kept, 1);
    }
    assert_eq!(get(&store, &key), Lookup::Found(row(key.clone(), 5, b"five")));
    assert_eq!(put(&store, &key, 6, b"six").written, 1);
    assert_eq!(get(&store, &key), Lookup::Found(row(key, 6, b"six")));
}

#[test]
fn removed_row_is_absent_and_not_counted() {
    let directory = Directory::new();
    let store = open(&directory);
    put_rows(&store, (0..3).map(|n| row(conversation(n), 1, b"v")));
    assert_eq!(remove(&store, &conversation(1), 2).written, 1);
    assert_eq!(remove(&store, &conversation(7), 3).written, 0);
    assert_eq!(get(&store, &conversation(1)), Lookup::Absent(conversation(1)));
    let summary = store.summary().unwrap();
    assert_eq!((summary.counts.of(Kind::Conversation), summary.reflects), (2, 3));
}

#[test]
fn reflected_position_never_falls_and_is_there_after_reopening() {
    let directory = Directory::new();
    let store = open(&directory);
    put(&store, &conversation(1), 9, b"");
    put(&store, &conversation(2), 3, b"");
    assert_eq!(store.summary().unwrap().reflects, 9);
    drop(store);
    assert_eq!(open(&directory).summary().unwrap().reflects, 9);
}

#[test]
fn answers_come_in_key_order_once_for_each_key() {
    let directory = Directory::new();
    let store = open(&directory);
    put_rows(&store, (0..50).map(|n| row(conversation(n), 1, b"v")));
    let asked: Vec<Key> = (0..60).rev().chain(10..20).map(conversation).collect();
    let answers = store.get(&asked);
    assert_eq!(answers.len(), 60);
    assert!(answers.is_sorted_by(|a, b| a.key() < b.key()));
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Lookup::Absent(_))).count(), 10);
}

/// Changes the database behind the store's back.
fn behind(directory: &Directory, sql: &str) {
    rusqlite::Connection::open(directory.file()).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn new_version_of_a_damaged_row_heals_it_and_says_so() {
    let directory = Directory::new();
    let store = open(&directory);
    let keys: Vec<Key> = (0..3).map(conversation).collect();
    put_rows(&store, keys.iter().map(|key| row(key.clone(), 5, b"v")));
    drop(store);
    // A position that is damaged upwards must not outrank the new one.
    let hex = |key: &Key| key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    behind(&directory, &format!("UPDATE rows SET position = 1000 WHERE key = x'{}'", hex(&keys[0])));
    behind(&directory, &format!("DELETE FROM rows WHERE key = x'{}'", hex(&keys[1])));
    let store = open(&directory);
    assert_eq!(get(&store, &keys[0]), Lookup::Damaged(keys[0].clone(), Damage::Checksum));
    assert_eq!(get(&store, &keys[1]), Lookup::Damaged(keys[1].clone(), Damage::Vanished));
    assert_eq!(put(&store, &keys[0], 6, b"new").healed, [keys[0].clone()]);
    assert_eq!(put(&store, &keys[1], 6, b"new").healed, [keys[1].clone()]);
    for key in &keys[..2] {
        assert_eq!(get(&store, key), Lookup::Found(row(key.clone(), 6, b"new")));
    }
    assert_eq!(store.summary().unwrap().counts.of(Kind::Conversation), 3);
}

#[test]
fn failed_write_is_the_last_one_i10() {
    let directory = Directory::new();
    let store = open(&directory);
    put(&store, &conversation(1), 1, b"v");
    // No such table as the batch needs: stands in for any error in the middle of a batch.
    behind(&directory, "ALTER TABLE keys RENAME TO gone");
    let batch = Batch::new(vec![Write { key: conversation(2), position: 2, value: Some(Vec::new()) }]).unwrap();
    assert!(matches!(store.put(&batch), Err(StoreError::Failed { .. })));
    behind(&directory, "ALTER TABLE gone RENAME TO keys");
    assert!(matches!(store.put(&batch), Err(StoreError::Refused { .. })));
    drop(store);
    let store = SqliteStore::open(directory.path(), LOG, OpenMode::Find, &small()).unwrap();
    assert_eq!(get(&store, &conversation(2)), Lookup::Absent(conversation(2)));
    assert_eq!(store.put(&batch).unwrap().written, 1);
}

#[test]
fn full_disk_fails_the_whole_batch_and_keeps_those_before_i10() {
    let directory = Directory::new();
    let store = open(&directory);
    put_rows(&store, (0..20).map(|n| row(conversation(n), 1, &[1; 200])));
    store.limit_pages(20);
    let writes = (0..200).map(|n| Write { key: conversation(n), position: 2, value: Some(vec![2; 200]) });
    let batch = Batch::new(writes.collect()).unwrap();
    let error = store.put(&batch).unwrap_err();
    assert_eq!(error.fault(), Some(Fault::Full));
    assert!(error.to_string().contains("free some space"), "{error}");
    assert!(matches!(store.put(&batch), Err(StoreError::Refused { .. })));
    drop(store);
    let store = open(&directory);
    assert_eq!((store.summary().unwrap().reflects, store.summary().unwrap().counts.of(Kind::Conversation)), (1, 20));
    assert_eq!(get(&store, &conversation(3)), Lookup::Found(row(conversation(3), 1, &[1; 200])));
    assert_eq!(get(&store, &conversation(30)), Lookup::Absent(conversation(30)));
    assert_eq!(store.put(&batch).unwrap().written, 200);
}

#[test]
fn write_ahead_log_stays_near_its_bound() {
    let directory = Directory::new();
    let store = open(&directory);
    for position in 1..60 {
        put_rows(&store, (0..20).map(|n| row(conversation(n), position, &[7; 200])));
    }
    let wal = std::fs::metadata(directory.path().join("rows.db-wal")).unwrap().len();
    assert!(wal <= 4 * small().wal_bytes, "{wal}");
}

#[test]
fn lock_of_another_program_is_waited_for_and_then_busy_i10() {
    let directory = Directory::new();
    let options = SqliteOptions { busy: Duration::ZERO, ..small() };
    let store = SqliteStore::open(directory.path(), LOG, OpenMode::Make, &options).unwrap();
    put(&store, &conversation(1), 1, b"v");
    let other = rusqlite::Connection::open(directory.file()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let batch = Batch::new(vec![Write { key: conversation(2), position: 2, value: Some(Vec::new()) }]).unwrap();
    assert_eq!(store.put(&batch).unwrap_err().fault(), Some(Fault::Busy));
    // Readings wait for nobody.
    assert_eq!(get(&store, &conversation(1)), Lookup::Found(row(conversation(1), 1, b"v")));
    assert_eq!(get(&store, &conversation(2)), Lookup::Absent(conversation(2)));
}

#[test]
fn reading_goes_on_while_the_write_ahead_log_is_copied() {
    let directory = Directory::new();
    let store = open(&directory);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for position in 1..=200 {
                put_rows(&store, (0..20).map(|n| row(conversation(n), position, &[7; 200])));
            }
        });
        let mut last = 0;
        while !writer.is_finished() {
            // Of one batch, or of none: all rows have the same position.
            let position = |answer: &Lookup| match answer {
                Lookup::Found(row) => row.position,
                Lookup::Absent(_) => 0,
                other => panic!("{other:?}"),
            };
            let answers = store.get(&(0..20).map(conversation).collect::<Vec<_>>());
            let positions: Vec<u64> = answers.iter().map(position).collect();
            assert!(positions.iter().all(|each| *each == positions[0]) && positions[0] >= last, "{positions:?}");
            last = positions[0];
        }
        writer.join().unwrap();
    });
}
