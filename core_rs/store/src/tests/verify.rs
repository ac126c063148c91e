//! What `verify` finds that no single answer can show.

use super::rig::{Directory, LOG, conversation, open, put_rows, row};
use crate::{Identity, Kind, MAX_VALUE, Progress, SqliteStore, StoreError, Verified};
use std::ops::ControlFlow;

const ROWS: u32 = 400;

/// A closed store whose rows were put twice, the second time at position 2.
fn stored() -> Directory {
    let directory = Directory::new();
    let store = open(&directory);
    for position in 1..=2 {
        put_rows(&store, (0..ROWS).map(|n| row(conversation(n), position, &[n as u8; 40])));
    }
    directory
}

fn verify(directory: &Directory) -> Verified {
    SqliteStore::verify(directory.path(), LOG, &mut |_| ControlFlow::Continue(())).unwrap()
}

fn execute(directory: &Directory, sql: &str) {
    rusqlite::Connection::open(directory.file()).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn sound_store_is_whole_and_unchanged() {
    let directory = stored();
    let before = std::fs::read(directory.file()).unwrap();
    let mut steps = Vec::new();
    let verified = SqliteStore::verify(directory.path(), LOG, &mut |progress| {
        steps.push(progress);
        ControlFlow::Continue(())
    });
    let verified = verified.unwrap();
    assert!(verified.is_whole(), "{verified:?}");
    assert_eq!(verified.whole.of(Kind::Conversation), u64::from(ROWS));
    assert_eq!(steps.last(), Some(&Progress { done: u64::from(ROWS), of: u64::from(ROWS) }));
    assert_eq!(std::fs::read(directory.file()).unwrap(), before);
}

#[test]
fn rows_of_more_bytes_than_one_answer_are_whole() {
    let directory = Directory::new();
    let store = open(&directory);
    put_rows(&store, (0..6).map(|n| row(conversation(n), 1, &vec![n as u8; MAX_VALUE])));
    drop(store);
    let verified = verify(&directory);
    assert!(verified.is_whole(), "{verified:?}");
}

#[test]
fn store_that_was_not_closed_is_verified_with_its_write_ahead_log() {
    let directory = Directory::new();
    let store = open(&directory);
    put_rows(&store, [row(conversation(1), 1, b"v")]);
    let crashed = directory.crashed();
    let verified = verify(&crashed);
    assert!(verified.is_whole(), "{verified:?}");
    assert_eq!(verified.whole.of(Kind::Conversation), 1);
    assert_eq!(
        SqliteStore::verify(directory.path(), LOG, &mut |_| ControlFlow::Continue(())).err(),
        Some(StoreError::InUse { path: directory.path().display().to_string() })
    );
}

/// Page `number` (from 1) of a database.
fn page(number: usize) -> std::ops::Range<usize> {
    (number - 1) * 1024..number * 1024
}

#[test]
fn leaf_page_that_is_an_older_version_of_itself_is_outdated() {
    let directory = stored();
    let old = std::fs::read(directory.file()).unwrap();
    let store = open(&directory);
    put_rows(&store, (0..ROWS).map(|n| row(conversation(n), 3, &[n as u8; 40])));
    drop(store);
    let new = std::fs::read(directory.file()).unwrap();
    assert_eq!(old.len(), new.len());
    // Leaves of an index tree begin with a 10. The disk lost the last write of one that has rows.
    let is_leaf_of_rows = |number: &usize| new[page(*number)][0] == 10 && new[page(*number)] != old[page(*number)];
    let lost = (2..=new.len() / 1024).find(is_leaf_of_rows).unwrap();
    let mut mixed = new.clone();
    mixed[page(lost)].copy_from_slice(&old[page(lost)]);
    std::fs::write(directory.file(), mixed).unwrap();
    let verified = verify(&directory);
    assert!(verified.outdated && verified.problems.is_empty(), "{verified:?}");
    assert_eq!((verified.damaged, verified.vanished, verified.unlisted), (0, 0, 0));
}

#[test]
fn row_that_both_trees_lost_is_outdated() {
    let directory = stored();
    execute(&directory, "DELETE FROM rows WHERE key = (SELECT max(key) FROM rows)");
    assert_eq!(verify(&directory).vanished, 1);
    execute(&directory, "DELETE FROM keys WHERE key = (SELECT max(key) FROM keys)");
    let verified = verify(&directory);
    assert!(verified.outdated && verified.vanished == 0, "{verified:?}");
}

#[test]
fn row_that_is_not_listed_or_does_not_fit_is_named() {
    let directory = stored();
    execute(&directory, "DELETE FROM keys WHERE key = (SELECT max(key) FROM keys)");
    execute(&directory, "UPDATE rows SET value = x'00' WHERE key = (SELECT min(key) FROM rows)");
    let verified = verify(&directory);
    assert_eq!((verified.unlisted, verified.damaged, verified.keys.len()), (1, 1, 2));
    assert!(!verified.is_whole());
}

#[test]
fn position_above_the_reflected_one_is_counted() {
    let directory = stored();
    let store = open(&directory);
    put_rows(&store, [row(conversation(1), 9, b"v")]);
    drop(store);
    crate::sqlite::say_that_it_reflects(&directory.file(), 8);
    assert_eq!(verify(&directory).ahead, 1);
}

#[test]
fn damaged_summary_is_a_finding_and_the_rows_are_checked_all_the_same() {
    let directory = stored();
    execute(&directory, "UPDATE meta SET said = zeroblob(76)");
    let verified = verify(&directory);
    assert_eq!((verified.summary, verified.whole.of(Kind::Conversation)), (None, u64::from(ROWS)));
    assert_eq!(verified.problems.len(), 1);
    assert!(!verified.is_whole());
}

#[test]
fn verification_of_another_log_or_of_nothing_is_an_error() {
    let directory = stored();
    let go_on = &mut |_| ControlFlow::Continue(());
    let other = SqliteStore::verify(directory.path(), Identity([1; 16]), go_on);
    assert!(matches!(other, Err(StoreError::OtherLog { .. })));
    std::fs::remove_file(directory.file()).unwrap();
    assert!(matches!(SqliteStore::verify(directory.path(), LOG, go_on), Err(StoreError::Missing { .. })));
}

#[test]
fn stopped_verification_says_so() {
    let directory = stored();
    let verified = SqliteStore::verify(directory.path(), LOG, &mut |_| ControlFlow::Break(())).unwrap();
    assert!(verified.stopped && !verified.is_whole());
}
