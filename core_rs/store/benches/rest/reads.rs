//! Rows that are read back: in the order of their keys and at random, with nothing of the database in memory.

use crate::rest::{LOG, id, value};
use crate::stream::{Chance, ROW};
use crate::usage::{cpu_us, io};
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::path::Path;
use std::time::Instant;
use store::{Key, Lookup, OpenMode, SqliteOptions, SqliteStore, Store};

/// What a row costs.
pub struct Read {
    pub cpu_us: f64,
    pub wall_us: f64,
    /// Bytes from the device for each byte of rows.
    pub amplification: f64,
}

/// Reads every `step`th of `rows` rows in the order of their keys, `trip` keys at a time.
pub fn in_order(directory: &Path, rows: u32, step: usize, trip: usize, options: &SqliteOptions) -> Read {
    let mut numbers: Vec<u32> = (0..rows).collect();
    numbers.sort_by_key(|number| id(*number));
    let numbers: Vec<u32> = numbers.into_iter().step_by(step).collect();
    measure(directory, &numbers, trip, options)
}

/// Reads `count` of `rows` rows at random, `trip` keys at a time.
pub fn at_random(directory: &Path, rows: u32, count: usize, trip: usize, options: &SqliteOptions) -> Read {
    let mut chance = Chance(0xF00D);
    let numbers: Vec<u32> = (0..count).map(|_| (chance.next() >> 16) as u32 % rows).collect();
    measure(directory, &numbers, trip, options)
}

fn measure(directory: &Path, numbers: &[u32], trip: usize, options: &SqliteOptions) -> Read {
    let file = File::open(directory.join("rows.db")).expect("the database is there");
    file.sync_all().expect("the database can be synced");
    fadvise(&file, 0, None, Advice::DontNeed).expect("the page cache can be told");
    let store = SqliteStore::open(directory, LOG, OpenMode::Find, options).expect("the store opens");
    let (start, cpu, device) = (Instant::now(), cpu_us(), io("read_bytes"));
    let mut read = 0;
    for numbers in numbers.chunks(trip) {
        let keys: Vec<Key> = numbers.iter().map(|number| Key::conversation(&id(*number))).collect();
        for answer in store.get(&keys) {
            let Lookup::Found(row) = answer else { panic!("{answer:?}") };
            let number = u32::from_le_bytes(row.value[8..12].try_into().expect("four bytes"));
            assert!(row.value == value(number, row.position) && row.key == Key::conversation(&id(number)));
            read += 1;
        }
    }
    let (wall, cpu, device) = (start.elapsed(), cpu_us() - cpu, io("read_bytes") - device);
    let rows = f64::from(read);
    Read {
        cpu_us: cpu / rows,
        wall_us: wall.as_secs_f64() * 1e6 / rows,
        amplification: device as f64 / (rows * ROW as f64),
    }
}
