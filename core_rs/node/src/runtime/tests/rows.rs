//! Rows that went to the store, and stores that are not what the log says.

use super::rig::{copy, options};
use super::*;

/// A runtime that keeps no row in memory that it can let go.
fn resting() -> Options {
    let mut options = options();
    (options.node.rows_soft, options.node.rows_hard, options.node.quiet_ms) = (0, 0, 0);
    options
}

/// Until the store has `rows` rows that this run let go, and what the log says of them is on disk.
fn rest(bench: &mut Bench, rows: u64) {
    while bench.runtime.stats().rested_total < rows {
        bench.runtime.node.rest_now();
        bench.step();
    }
    let position = bench.runtime.node.log().last_batch();
    while bench.runtime.node.synced.0 < position {
        bench.step();
    }
}

fn open(path: &Path, options: &Options) -> Bench {
    Bench::of(Runtime::open(path, options).unwrap())
}

fn refused(path: &Path) -> decide::Refusal {
    match Runtime::open(path, &options()) {
        Err(OpenError::Refused(refusal)) => refusal,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it starts"),
    }
}

/// A data directory with users at rest, in a store that the log speaks of.
fn with_rows_at_rest(directory: &Directory) {
    let mut bench = open(&directory.0, &resting());
    for (ticket, user) in (0..).zip(["ann", "bob", "cleo"]) {
        bench.runtime.create_user(ticket, user);
    }
    bench.until_told(3);
    rest(&mut bench, 3);
    bench.runtime.close().unwrap();
}

/// What a start says of a user that is at rest, or was.
fn there(bench: &mut Bench, user: &str) -> UserAnswer {
    let told = bench.users.len();
    bench.runtime.has_user(told as u64, user);
    bench.until_told(told + 1);
    bench.users[told].1
}

#[test]
fn rows_at_rest_are_found_after_a_start() {
    let directory = Directory::new();
    with_rows_at_rest(&directory);
    let report = fsck(&directory.0).unwrap();
    assert!(report.is_sound() && report.log.stored, "{report:?}");
    assert!(report.store.unwrap().whole.0.iter().sum::<u64>() >= 3);
    let mut bench = Bench::open(&directory.0);
    assert_eq!(bench.runtime.stats().users_in_memory, 0);
    assert_eq!(there(&mut bench, "ann"), UserAnswer::There);
    assert_eq!(there(&mut bench, "nobody"), UserAnswer::Absent);
}

#[test]
fn a_missing_store_is_refused_and_its_rows_given_up_by_code_only() {
    let directory = Directory::new();
    with_rows_at_rest(&directory);
    fs::rename(directory.0.join("store"), directory.0.join("elsewhere")).unwrap();
    let before = files(&directory.0);
    let refusal = refused(&directory.0);
    assert!(refusal.sentence.contains("the store is missing"), "{refusal}");
    let salvage = refusal.salvage.unwrap();
    assert!(salvage.cost.given_up >= 3, "{salvage:?}");
    assert!(files(&directory.0) == before && !directory.0.join("store").exists());
    assert!(!fsck(&directory.0).unwrap().is_sound());
    let wrong = Consent { salvage: Some("000000000000".to_owned()), ..Consent::default() };
    assert!(Runtime::open_with(&directory.0, &options(), &wrong).is_err());

    let consent = Consent { salvage: Some(salvage.code), ..Consent::default() };
    let mut bench = Bench::of(Runtime::open_with(&directory.0, &options(), &consent).unwrap());
    assert_eq!(bench.recovery.renewed, Some(Reason::Salvage));
    assert_eq!(there(&mut bench, "ann"), UserAnswer::Absent);
    assert!(bench.alarms.contains(&"generation"));
    drop(bench);
    // It is not asked again.
    let mut bench = Bench::open(&directory.0);
    assert_eq!(there(&mut bench, "bob"), UserAnswer::Absent);
}

#[test]
fn a_store_of_another_log_is_refused() {
    let (directory, other) = (Directory::new(), Directory::new());
    with_rows_at_rest(&directory);
    with_rows_at_rest(&other);
    fs::rename(directory.0.join("store"), directory.0.join("elsewhere")).unwrap();
    copy(&other.0.join("store"), &directory.0.join("store"));
    let refusal = refused(&directory.0);
    assert!(refusal.sentence.contains("the store is another log's"), "{refusal}");
    let consent = Consent { salvage: Some(refusal.salvage.unwrap().code), ..Consent::default() };
    let mut bench = Bench::of(Runtime::open_with(&directory.0, &options(), &consent).unwrap());
    assert_eq!(there(&mut bench, "ann"), UserAnswer::Absent);
    let kept = fs::read_dir(&directory.0).unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
    assert!(kept.into_iter().any(|name| name.starts_with("store.set-aside-")), "nothing is deleted");
    drop(bench);
    Bench::open(&directory.0);
}

#[test]
fn a_store_without_its_log_is_refused() {
    let directory = Directory::new();
    with_rows_at_rest(&directory);
    fs::rename(directory.0.join("log"), directory.0.join("elsewhere")).unwrap();
    let refusal = refused(&directory.0);
    assert!(refusal.salvage.is_none() && refusal.sentence.contains("a log that is not there"), "{refusal}");
}

#[test]
fn an_older_copy_of_the_store_is_refused() {
    let (directory, older) = (Directory::new(), Directory::new());
    with_rows_at_rest(&directory);
    copy(&directory.0.join("store"), &older.0);
    let mut bench = open(&directory.0, &resting());
    bench.runtime.create_user(7, "dora");
    bench.until_told(1);
    rest(&mut bench, 1);
    bench.runtime.close().unwrap();
    fs::remove_dir_all(directory.0.join("store")).unwrap();
    copy(&older.0, &directory.0.join("store"));
    let refusal = refused(&directory.0);
    assert!(refusal.sentence.contains("the store is an older copy"), "{refusal}");
    // What the copy has is kept.
    let salvage = refusal.salvage.unwrap();
    assert_eq!(salvage.cost.given_up, 1, "{salvage:?}");
    let consent = Consent { salvage: Some(salvage.code), ..Consent::default() };
    let mut bench = Bench::of(Runtime::open_with(&directory.0, &options(), &consent).unwrap());
    assert_eq!(there(&mut bench, "ann"), UserAnswer::There);
    assert_eq!(there(&mut bench, "dora"), UserAnswer::Absent);
    drop(bench);
    Bench::open(&directory.0);
}

#[test]
fn an_older_copy_of_the_log_goes_on_above_the_store_in_a_new_generation() {
    let (directory, older) = (Directory::new(), Directory::new());
    with_rows_at_rest(&directory);
    copy(&directory.0.join("log"), &older.0);
    let mut bench = open(&directory.0, &resting());
    bench.runtime.create_user(7, "dora");
    bench.until_told(1);
    rest(&mut bench, 1);
    let reached = bench.runtime.node.log().last_batch();
    bench.runtime.close().unwrap();
    fs::remove_dir_all(directory.0.join("log")).unwrap();
    copy(&older.0, &directory.0.join("log"));
    let mut bench = Bench::of(Runtime::open(&directory.0, &options()).unwrap());
    assert_eq!(bench.recovery.renewed, Some(Reason::StoreAhead));
    assert!(bench.runtime.node.log().last_batch() >= reached - 2, "numbers of batches are not given twice");
    // The row is newer than the log, and is used.
    assert_eq!(there(&mut bench, "dora"), UserAnswer::There);
    assert_eq!(there(&mut bench, "ann"), UserAnswer::There);
    drop(bench);
    let mut bench = Bench::open(&directory.0);
    assert_eq!(there(&mut bench, "dora"), UserAnswer::There);
}

#[test]
fn a_log_without_its_format_has_the_identity_of_its_store_and_begins_a_generation() {
    let directory = Directory::new();
    with_rows_at_rest(&directory);
    let format = fs::read_to_string(directory.0.join("log/FORMAT")).unwrap();
    let id = |format: &str| format.split(", ").find(|part| part.starts_with("id ")).map(str::to_owned);
    fs::remove_file(directory.0.join("log/FORMAT")).unwrap();
    assert!(fsck(&directory.0).unwrap().is_sound());
    let mut bench = Bench::of(Runtime::open(&directory.0, &options()).unwrap());
    assert_eq!(bench.recovery.renewed, Some(Reason::NoFormat));
    assert_eq!(there(&mut bench, "ann"), UserAnswer::There);
    assert_eq!(id(&fs::read_to_string(directory.0.join("log/FORMAT")).unwrap()), id(&format));
    drop(bench);
    Bench::open(&directory.0);
}

#[test]
fn a_copy_of_both_goes_on_in_a_new_generation_when_it_is_said_to_be_one() {
    let directory = Directory::new();
    with_rows_at_rest(&directory);
    let consent = Consent { restored: true, ..Consent::default() };
    let mut bench = Bench::of(Runtime::open_with(&directory.0, &options(), &consent).unwrap());
    assert_eq!(bench.recovery.renewed, Some(Reason::Restored));
    let number = bench.runtime.node.partition.state.generation.number;
    assert!(number > 0);
    assert_eq!(there(&mut bench, "ann"), UserAnswer::There);
    drop(bench);
    let bench = Bench::open(&directory.0);
    assert_eq!(bench.runtime.node.partition.state.generation.number, number);
}
