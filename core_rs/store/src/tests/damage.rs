//! Flipped bytes: every row comes back right, damaged or unreadable, never wrong and never absent.

use super::rig::{Directory, LOG, conversation, open, put_rows, row, small};
use crate::{Batch, Key, Kind, Lookup, OpenMode, Row, Scan, SqliteStore, Store, StoreError, Write};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

const ROWS: u32 = 300;
const FLIPS: usize = 250;

/// Numbers that are the same in every run (xorshift64*).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as usize % bound
    }
}

/// Rows of all kinds, some of them longer than a page, some put twice.
fn rows() -> BTreeMap<Key, Row> {
    let conversations = (0..ROWS).map(|n| row(conversation(n), 2, &vec![n as u8; (n as usize * 7) % 180]));
    let members = (0..40_u8).map(|n| row(Key::member(b"somebody", &[n; 16]).unwrap(), 3, b""));
    let users = (1..30).map(|n| row(Key::user(&vec![b'u'; n]).unwrap(), 4, &vec![b'u'; n * 90]));
    conversations.chain(members).chain(users).map(|row| (row.key.clone(), row)).collect()
}

fn stored(rows: &BTreeMap<Key, Row>) -> Directory {
    let directory = Directory::new();
    let store = open(&directory);
    put_rows(&store, rows.values().filter(|row| row.position == 2).map(|row| Row { position: 1, ..row.clone() }));
    put_rows(&store, rows.values().cloned());
    directory
}

/// Opens the store and asks for everything. What was found wrong in words, if anything; whether the damage was noticed.
fn ask(directory: &Directory, rows: &BTreeMap<Key, Row>) -> Result<bool, String> {
    let store = match SqliteStore::open(directory.path(), LOG, OpenMode::Find, &small()) {
        Ok(store) => store,
        Err(StoreError::Missing { .. } | StoreError::OtherLog { .. }) => return Err("not refused as damaged".into()),
        Err(_) => return Ok(true),
    };
    let mut noticed = false;
    let keys: Vec<Key> = rows.keys().cloned().collect();
    for answer in store.get(&keys) {
        noticed |= sound(&answer, rows)?;
    }
    let never: Vec<Key> = (ROWS..ROWS + 50).map(conversation).collect();
    for answer in store.get(&never) {
        noticed |= sound(&answer, rows)?;
    }
    for kind in Kind::ALL {
        match scan(&store, kind) {
            Err(_) => noticed = true,
            Ok(answers) => {
                for answer in answers.values() {
                    noticed |= sound(answer, rows)?;
                }
                if let Some(key) = keys.iter().find(|key| key.kind() == kind && !answers.contains_key(*key)) {
                    return Err(format!("a scan passes {key} over"));
                }
            }
        }
    }
    Ok(noticed)
}

fn scan(store: &SqliteStore, kind: Kind) -> Result<BTreeMap<Key, Lookup>, StoreError> {
    let mut answers = BTreeMap::new();
    let mut next = Scan::kind(kind).rows(50);
    loop {
        let page = store.scan(&next)?;
        answers.extend(page.rows.into_iter().map(|answer| (answer.key().clone(), answer)));
        match page.next {
            Some(key) => next = next.after(key),
            None => return Ok(answers),
        }
    }
}

/// Whether the answer admits damage; an error in words if it is wrong.
fn sound(answer: &Lookup, rows: &BTreeMap<Key, Row>) -> Result<bool, String> {
    match answer {
        Lookup::Found(row) if rows.get(&row.key) == Some(row) => Ok(false),
        Lookup::Absent(key) if !rows.contains_key(key) => Ok(false),
        Lookup::Damaged(..) | Lookup::Unreadable(..) => Ok(true),
        wrong => Err(format!("{wrong:?}")),
    }
}

#[test]
fn flipped_byte_in_the_database_is_never_a_wrong_or_an_absent_row() {
    let rows = rows();
    let directory = stored(&rows);
    assert_eq!(ask(&directory, &rows), Ok(false));
    let whole = std::fs::read(directory.file()).unwrap();
    let mut chance = Chance(0x5EED);
    let mut noticed = 0;
    for _ in 0..FLIPS {
        let damaged = Directory::new();
        let mut bytes = whole.clone();
        let (place, flip) = (chance.below(bytes.len()), 1 << chance.below(8));
        bytes[place] ^= flip;
        std::fs::write(damaged.file(), &bytes).unwrap();
        let seen = ask(&damaged, &rows);
        assert!(seen.is_ok(), "byte {place} of {} flipped by {flip:#x}: {seen:?}", whole.len());
        noticed += usize::from(seen == Ok(true));
        if seen == Ok(true) && place >= 100 {
            // Whatever an answer shows, a verification shows too, if it can begin.
            let verified = SqliteStore::verify(damaged.path(), LOG, &mut |_| ControlFlow::Continue(()));
            assert!(verified.is_err() || verified.is_ok_and(|it| !it.is_whole()), "byte {place} by {flip:#x}");
        }
    }
    assert!(noticed > FLIPS / 3, "{noticed}: the flips meet too few rows to say anything");
}

#[test]
fn zeroed_page_is_never_a_wrong_or_an_absent_row() {
    let rows = rows();
    let directory = stored(&rows);
    let whole = std::fs::read(directory.file()).unwrap();
    for page in whole.chunks(1024).enumerate().map(|(number, _)| number * 1024) {
        let damaged = Directory::new();
        let mut bytes = whole.clone();
        bytes[page..page + 1024].fill(0);
        std::fs::write(damaged.file(), &bytes).unwrap();
        let seen = ask(&damaged, &rows);
        // The first page is the header: SQLite then says that this is no database.
        assert!(seen.is_ok(), "page at {page}: {seen:?}");
    }
}

#[test]
fn flipped_byte_in_the_write_ahead_log_leaves_whole_batches_and_says_how_far() {
    let directory = Directory::new();
    let store = open(&directory);
    for position in 1..=20 {
        put_rows(&store, (0..4).map(|n| row(conversation(n), position, &[position as u8; 50])));
    }
    let crashed = directory.crashed();
    let wal = crashed.path().join("rows.db-wal");
    let whole = std::fs::read(&wal).unwrap();
    let mut chance = Chance(0xCAFE);
    for _ in 0..100 {
        let damaged = crashed.crashed();
        let mut bytes = whole.clone();
        let place = chance.below(bytes.len());
        bytes[place] ^= 1 << chance.below(8);
        std::fs::write(damaged.path().join("rows.db-wal"), &bytes).unwrap();
        let store = match SqliteStore::open(damaged.path(), LOG, OpenMode::Find, &small()) {
            Ok(store) => store,
            Err(StoreError::NotAStore { .. } | StoreError::Missing { .. }) => panic!("byte {place}"),
            Err(_) => continue,
        };
        let reflects = store.summary().unwrap().reflects;
        for answer in store.get(&(0..4).map(conversation).collect::<Vec<_>>()) {
            match answer {
                Lookup::Found(row) => assert_eq!((row.position, &row.value[..]), (reflects, &[reflects as u8; 50][..])),
                Lookup::Absent(_) => assert_eq!(reflects, 0),
                other => panic!("byte {place}: {other:?}"),
            }
        }
    }
}

#[test]
fn lost_write_ahead_log_shows_in_the_reflected_position() {
    let directory = Directory::new();
    let store = open(&directory);
    put_rows(&store, [row(conversation(1), 1, b"old")]);
    drop(store); // Copies the log into the database.
    let store = open(&directory);
    put_rows(&store, [row(conversation(1), 2, b"new")]);
    let crashed = directory.crashed();
    std::fs::remove_file(crashed.path().join("rows.db-wal")).unwrap();
    let store = SqliteStore::open(crashed.path(), LOG, OpenMode::Find, &small()).unwrap();
    assert_eq!(store.summary().unwrap().reflects, 1);
    assert_eq!(store.get(&[conversation(1)]), [Lookup::Found(row(conversation(1), 1, b"old"))]);
}

#[test]
fn put_into_a_damaged_database_is_an_error_or_makes_its_rows_whole() {
    let rows = rows();
    let directory = stored(&rows);
    let whole = std::fs::read(directory.file()).unwrap();
    let newer: BTreeMap<Key, Row> =
        rows.iter().map(|(key, row)| (key.clone(), Row { position: 9, ..row.clone() })).collect();
    let mut chance = Chance(0xF00D);
    for _ in 0..150 {
        let damaged = Directory::new();
        let mut bytes = whole.clone();
        // Behind the first page, whose damage keeps a store from being opened.
        let place = 1024 + chance.below(bytes.len() - 1024);
        bytes[place] ^= 1 << chance.below(8);
        std::fs::write(damaged.file(), &bytes).unwrap();
        let Ok(store) = SqliteStore::open(damaged.path(), LOG, OpenMode::Find, &small()) else { continue };
        let write = |row: &Row| Write { key: row.key.clone(), position: row.position, value: Some(row.value.clone()) };
        if store.put(&Batch::new(newer.values().map(write).collect()).unwrap()).is_err() {
            continue;
        }
        for answer in store.get(&newer.keys().cloned().collect::<Vec<_>>()) {
            let seen = sound(&answer, &newer);
            assert!(seen.is_ok(), "byte {place}: {seen:?}");
        }
    }
}
