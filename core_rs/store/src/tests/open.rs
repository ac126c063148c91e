use super::rig::{Directory, LOG, conversation, get, open, put, row, small};
use crate::{Identity, Lookup, OpenMode, SqliteStore, Store, StoreError};

fn find(directory: &Directory, identity: Identity) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(directory.path(), identity, OpenMode::Find, &small())
}

fn refused(directory: &Directory, identity: Identity) -> StoreError {
    find(directory, identity).err().unwrap()
}

fn stored() -> Directory {
    let directory = Directory::new();
    put(&open(&directory), &conversation(1), 1, b"v");
    directory
}

fn execute(directory: &Directory, sql: &str) {
    rusqlite::Connection::open(directory.file()).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn lost_database_is_missing_and_is_not_made_again() {
    let directory = stored();
    std::fs::remove_file(directory.file()).unwrap();
    assert!(matches!(refused(&directory, LOG), StoreError::Missing { .. }));
    assert!(!directory.file().exists());
    std::fs::remove_dir_all(directory.path()).unwrap();
    assert!(matches!(refused(&directory, LOG), StoreError::Missing { .. }));
}

#[test]
fn store_of_another_log_is_refused_with_both_identities() {
    let directory = stored();
    let other = Identity([0xB2; 16]);
    let error = refused(&directory, other);
    assert_eq!(error, StoreError::OtherLog { path: directory.file().display().to_string(), store: LOG, log: other });
    assert!(error.to_string().contains(&LOG.to_string()) && error.to_string().contains(&other.to_string()));
    assert!(find(&directory, LOG).is_ok());
}

#[test]
fn unknown_format_is_refused() {
    let directory = stored();
    execute(&directory, "PRAGMA user_version = 2");
    assert!(matches!(refused(&directory, LOG), StoreError::UnknownFormat { version: 2, known: 1, .. }));
    execute(&directory, "PRAGMA user_version = 0");
    assert!(matches!(refused(&directory, LOG), StoreError::UnknownFormat { version: 0, .. }));
}

#[test]
fn file_that_is_not_a_store_is_refused_and_left_as_it_is() {
    for content in [&b""[..], &[b'x'; 5000]] {
        let directory = Directory::new();
        std::fs::write(directory.file(), content).unwrap();
        for mode in [OpenMode::Make, OpenMode::Find] {
            let error = SqliteStore::open(directory.path(), LOG, mode, &small()).err().unwrap();
            assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
        }
        assert_eq!(std::fs::read(directory.file()).unwrap(), content);
    }
    let directory = Directory::new();
    execute(&directory, "CREATE TABLE other (x)");
    assert!(matches!(refused(&directory, LOG), StoreError::NotAStore { .. }));
}

#[test]
fn damaged_summary_is_refused() {
    let directory = stored();
    execute(&directory, "UPDATE meta SET said = zeroblob(76)");
    assert!(matches!(refused(&directory, LOG), StoreError::DamagedSummary { .. }));
    execute(&directory, "DELETE FROM meta");
    assert!(matches!(refused(&directory, LOG), StoreError::DamagedSummary { .. }));
}

#[test]
fn second_opener_of_a_held_store_is_refused() {
    let directory = stored();
    let store = open(&directory);
    assert!(matches!(refused(&directory, LOG), StoreError::InUse { .. }));
    drop(store);
    assert!(find(&directory, LOG).is_ok());
}

#[test]
fn crash_while_making_leaves_nothing_in_the_way() {
    let directory = Directory::new();
    std::fs::write(directory.path().join("rows.db.new"), b"half a database").unwrap();
    std::fs::write(directory.path().join("rows.db.new-journal"), b"half a journal").unwrap();
    let store = open(&directory);
    put(&store, &conversation(1), 1, b"v");
    assert_eq!(get(&store, &conversation(1)), Lookup::Found(row(conversation(1), 1, b"v")));
    drop(store);
    let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["rows.db"]);
}

#[test]
fn new_store_in_a_new_directory_is_empty() {
    let parent = Directory::new();
    let path = parent.path().join("data").join("store");
    let store = SqliteStore::open(&path, LOG, OpenMode::Make, &small()).unwrap();
    assert_eq!(store.identity(), LOG);
    assert_eq!(store.summary().unwrap(), crate::Summary::default());
}
