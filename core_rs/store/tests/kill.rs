//! A process that puts batches is killed in the middle of one. Each batch that it reported is there, and each batch is there
//! wholly or not at all.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs)]

use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use store::{Batch, Identity, Key, Lookup, OpenMode, SqliteOptions, SqliteStore, Store, Write};

const LOG: Identity = Identity([0xA1; 16]);
const ROWS: u32 = 2000;
const KILLS: u64 = 12;
/// Where the child's store is. Its presence makes a test process the child.
const CHILD: &str = "PYROUTER_STORE_CHILD";

fn options() -> SqliteOptions {
    // Copied after every second batch or so, so that kills meet that too.
    SqliteOptions { wal_bytes: 1 << 20, ..SqliteOptions::default() }
}

fn key(n: u32) -> Key {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.wrapping_mul(0x9E37_79B9).to_be_bytes());
    Key::conversation(&id)
}

/// All rows, at `position`, with values that name it.
fn batch(position: u64) -> Batch {
    let value = [position.to_le_bytes(); 15].concat();
    let writes = (0..ROWS).map(|n| Write { key: key(n), position, value: Some(value.clone()) });
    Batch::new(writes.collect()).unwrap()
}

/// Puts batches for ever, and says which is durable. Does nothing unless it is run as the child.
#[test]
fn child_puts_batches_until_it_is_killed() {
    let Some(directory) = std::env::var_os(CHILD) else { return };
    let store = SqliteStore::open(Path::new(&directory), LOG, OpenMode::Make, &options()).unwrap();
    for position in store.summary().unwrap().reflects + 1.. {
        store.put(&batch(position)).unwrap();
        println!("\ndurable {position}");
    }
}

/// Starts the child, waits for `batches` of its reports, kills it. The last position that it reported.
fn killed_after(directory: &Path, batches: usize) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_puts_batches_until_it_is_killed", "--nocapture"])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reports = |line: std::io::Result<String>| line.ok()?.strip_prefix("durable ")?.parse().ok();
    let mut last = lines.by_ref().filter_map(reports).nth(batches).unwrap();
    // At once, so that it dies in the middle of what comes next.
    child.kill().unwrap();
    child.wait().unwrap();
    // What it reported between our reading and its death counts as well.
    last = lines.filter_map(reports).last().unwrap_or(last);
    last
}

#[test]
fn killed_process_leaves_every_reported_batch_and_no_half_of_one_i1() {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("store-kill-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    for kill in 0..KILLS {
        let reported = killed_after(&directory, (kill % 5) as usize);
        let verified = SqliteStore::verify(&directory, LOG, &mut |_| ControlFlow::Continue(())).unwrap();
        assert!(verified.is_whole(), "kill {kill}: {verified:?}");
        let store = SqliteStore::open(&directory, LOG, OpenMode::Find, &options()).unwrap();
        let reflects = store.summary().unwrap().reflects;
        assert!(reflects >= reported, "kill {kill}: batch {reported} was reported, the store reflects {reflects}");
        let answers = store.get(&(0..ROWS).map(key).collect::<Vec<_>>());
        let value = [reflects.to_le_bytes(); 15].concat();
        let whole =
            |answer: &Lookup| matches!(answer, Lookup::Found(row) if row.position == reflects && row.value == value);
        assert_eq!(answers.iter().filter(|answer| whole(answer)).count(), ROWS as usize, "kill {kill}");
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
