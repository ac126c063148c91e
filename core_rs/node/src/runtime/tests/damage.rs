//! Logs that are damaged, or whose machine went down.

use log::sim::SimDisk;
use log::{Durability, LogOptions};

use super::rig::options;
use super::*;

/// A runtime over a simulated disk, whose machine may go down.
fn open(disk: &SimDisk, store: &Directory, durability: Durability) -> Bench {
    let mut options = options();
    options.log = LogOptions { segment_bytes: 64 << 10, durability, ..LogOptions::default() };
    let opened = Runtime::open_on(disk.clone(), &store.0, (&options, &Consent::default()), Timer::start());
    Bench::of(opened.unwrap())
}

#[test]
fn a_machine_that_went_down_under_interval_begins_one_generation_and_a_killed_process_none() {
    let (disk, store) = (SimDisk::new(1), Directory::new());
    let interval = Durability::Interval(1 << 30);
    let send = |bench: &mut Bench, id: &str| {
        let (alice, number) = bench.connect("alice", false);
        bench.send(alice, "bob", id, "body");
        bench.until(number, id);
    };
    let mut bench = open(&disk, &store, interval);
    send(&mut bench, "first id");
    drop(bench);
    let mut bench = open(&disk, &store, interval);
    assert_eq!(bench.recovery.renewed, None, "the process was killed");
    send(&mut bench, "second id");
    drop(bench);
    disk.crash();
    disk.restart();
    let mut bench = open(&disk, &store, interval);
    assert_eq!(bench.recovery.renewed, Some(Reason::Unsynced));
    bench.turn();
    assert!(bench.alarms.contains(&"generation"));
    let first = bench.runtime.node.partition.state.generation.number;
    drop(bench);
    // What it concluded is on disk, although nothing asked for a sync since.
    disk.crash();
    disk.restart();
    let bench = open(&disk, &store, Durability::Fsync);
    // That run, too, was one that reports before it syncs.
    let number = bench.runtime.node.partition.state.generation.number;
    assert_eq!((number > first, bench.recovery.renewed), (true, Some(Reason::Unsynced)));
    bench.runtime.close().unwrap();
    disk.crash();
    disk.restart();
    let bench = open(&disk, &store, interval);
    assert_eq!((bench.runtime.node.partition.state.generation.number, bench.recovery.renewed), (number, None));
}

#[test]
fn a_machine_that_went_down_between_synced_batches_goes_on() {
    let (disk, store) = (SimDisk::new(2), Directory::new());
    let mut bench = open(&disk, &store, Durability::Fsync);
    let (alice, number) = bench.connect("alice", false);
    bench.send(alice, "bob", "first id", "first body");
    bench.until(number, "first id");
    drop(bench);
    disk.crash();
    disk.restart();
    let mut bench = open(&disk, &store, Durability::Fsync);
    assert_eq!(bench.recovery.renewed, None);
    let (_, number) = bench.connect("bob", true);
    bench.until(number, "first body");
}

#[test]
fn a_damaged_batch_is_refused_and_what_is_left_of_it_is_served_by_code_only() {
    let directory = Directory::new();
    let mut bench = Bench::open(&directory.0);
    let (alice, number) = bench.connect("alice", false);
    for n in 0..3 {
        bench.send(alice, "bob", &format!("id {n}."), &format!("body {n}."));
        bench.until(number, &format!("id {n}."));
    }
    bench.runtime.close().unwrap();
    let find = |bytes: &[u8]| bytes.windows(7).position(|part| part == b"body 1.");
    let found = files(&directory.0).into_iter().find_map(|(name, bytes)| Some((name, find(&bytes)?, bytes)));
    let (name, at, mut bytes) = found.unwrap();
    bytes[at] ^= 1;
    fs::write(directory.0.join("log").join(&name), &bytes).unwrap();
    let before = files(&directory.0);
    let refusal = match Runtime::open(&directory.0, &options()) {
        Err(OpenError::Refused(refusal)) => refusal,
        other => panic!("{:?}", other.err()),
    };
    assert!(refusal.sentence.contains("are damaged"), "{refusal}");
    assert!(files(&directory.0) == before, "nothing was changed");
    assert!(fsck(&directory.0).unwrap().log.refusals[0].contains("are damaged"));

    let consent = Consent { salvage: Some(refusal.salvage.unwrap().code), ..Consent::default() };
    let mut bench = Bench::of(Runtime::open_with(&directory.0, &options(), &consent).unwrap());
    assert_eq!(bench.recovery.renewed, Some(Reason::Salvage));
    let (_, number) = bench.connect("bob", true);
    bench.until(number, "body 0.");
    bench.runtime.close().unwrap();
    // The damage is still there, and known.
    let bench = Bench::of(Runtime::open(&directory.0, &options()).unwrap());
    assert_eq!((bench.recovery.renewed, bench.recovery.findings.len()), (None, 1));
}
