//! A runtime on a real disk: what is accepted survives it, what is wrong is said, and a panic is the end of it.

mod rig;

mod damage;
mod rows;

use std::fs;

use log::FileDisk;
use rig::{Bench, Directory, append, files};

use super::fsck::fsck;
use super::shared::{Refusal, Shared};
use super::*;
use crate::UserAnswer;

#[test]
fn i1_what_was_accepted_is_there_after_opening_again_without_closing() {
    let directory = Directory::new();
    let mut bench = Bench::open(&directory.0);
    let (alice, number) = bench.connect("alice", false);
    bench.send(alice, "bob", "first id", "first body");
    bench.until(number, "first id");
    drop(bench);

    let mut bench = Bench::open(&directory.0);
    let (_, number) = bench.connect("bob", true);
    bench.until(number, "first body");
    bench.runtime.close().unwrap();
}

#[test]
fn i1_nothing_is_accepted_before_the_log_has_spoken() {
    let directory = Directory::new();
    let mut bench = Bench::open(&directory.0);
    let (alice, number) = bench.connect("alice", false);
    bench.send(alice, "bob", "first id", "so that bob is known");
    bench.until(number, "first id");
    bench.send(alice, "bob", "second id", "body");
    // Without a turn the batch stays here, however long the log's threads run.
    while let Some(write) = bench.runtime.next_write() {
        assert!(!write.data.windows(9).any(|part| part == b"second id"));
    }
    bench.until(number, "second id");
}

#[test]
fn both_sides_of_a_conversation_get_what_they_are_owed() {
    let directory = Directory::new();
    let mut bench = Bench::open(&directory.0);
    let (alice, alices) = bench.connect("alice", true);
    let (_, bobs) = bench.connect("bob", true);
    for n in 0..100 {
        bench.send(alice, "bob", &format!("id {n}."), &format!("body {n}."));
    }
    bench.until(alices, "id 99.");
    bench.until(bobs, "body 99.");
    assert_eq!(bench.runtime.stats().gateway.delivered_total, 100);
}

#[test]
fn closing_writes_what_is_left_and_gives_the_directory_free() {
    let directory = Directory::new();
    let mut bench = Bench::open(&directory.0);
    let (alice, number) = bench.connect("alice", false);
    bench.send(alice, "bob", "first id", "so that bob is known");
    bench.until(number, "first id");
    bench.send(alice, "bob", "second id", "never accepted, written all the same");
    bench.runtime.close().unwrap();

    let report = fsck(&directory.0).unwrap();
    assert!(report.is_sound() && report.log.records > 0 && report.store.is_some(), "{report:?}");
    let mut bench = Bench::open(&directory.0);
    let (_, number) = bench.connect("bob", true);
    bench.until(number, "never accepted");
}

#[test]
fn a_directory_in_use_is_refused_with_who_uses_it() {
    let directory = Directory::new();
    let _bench = Bench::open(&directory.0);
    let error = Runtime::open(&directory.0, &Options::default()).err().unwrap().to_string();
    assert!(error.contains("in use") && error.contains(&std::process::id().to_string()), "{error}");
}

#[test]
fn a_directory_that_is_made_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let directory = Directory::new();
    let _bench = Bench::open(&directory.0);
    assert_eq!(fs::metadata(&directory.0).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_directory_that_cannot_be_is_refused_by_name() {
    let file = Directory::new();
    fs::write(&file.0, "a file").unwrap();
    let error = Runtime::open(&file.0, &Options::default()).err().unwrap().to_string();
    assert!(error.contains(&file.0.display().to_string()), "{error}");
    fs::remove_file(&file.0).unwrap();
    let error = fsck(&file.0).err().unwrap().to_string();
    assert!(error.contains("there is no log in it; is it the right one?"), "{error}");
}

#[test]
fn the_next_turn_is_known_in_advance() {
    let directory = Directory::new();
    let mut bench = Bench::open(&directory.0);
    bench.runtime.open_conn(1, false, None);
    let (at_ms, delay_ms) = bench.runtime.next_timer().unwrap();
    assert!(at_ms > 0 && delay_ms <= 10_050, "the hello's deadline, or something earlier");
}

#[test]
fn i10_a_panic_is_the_end_of_the_router_and_of_nothing_else() {
    let directory = Directory::new();
    let shared = Shared::new(Bench::open(&directory.0).runtime);
    assert!(shared.enter(|runtime| runtime.turn()).is_ok());
    assert_eq!(shared.failed(), None);

    let refused = shared.enter(|_| panic!("as {}", "asked"));
    assert!(matches!(refused, Err(Refusal::Failed(reason)) if reason.contains("as asked")));
    let later = shared.enter(|_| unreachable!("the state may be half changed"));
    assert!(matches!(later, Err(Refusal::Failed(_))));
    assert!(shared.tell_failed().is_some());
    assert_eq!(shared.tell_failed(), None, "told once");

    shared.close().unwrap();
    assert!(
        matches!(shared.enter(|runtime| runtime.turn()), Err(Refusal::Failed(_))),
        "still the reason, not `closed`"
    );
    Bench::open(&directory.0);
}

#[test]
fn what_a_panicking_call_appended_is_not_written_i10() {
    let directory = Directory::new();
    let mut bench = Bench::open(&directory.0);
    let (alice, number) = bench.connect("alice", false);
    bench.send(alice, "bob", "first id", "first body");
    bench.until(number, "first id");
    bench.send(alice, "bob", "second id", "appended, not submitted");
    let shared = Shared::new(bench.runtime);
    assert!(shared.enter(|_| panic!("as asked")).is_err());
    shared.close().unwrap();
    let mut bodies = Vec::new();
    let disk = FileDisk::open_read_only(&directory.0.join("log")).unwrap();
    log::fsck(&disk, &mut |record| bodies.push(record.body.to_vec())).unwrap();
    let holds = |text: &[u8]| bodies.iter().any(|body| body.windows(text.len()).any(|part| part == text));
    assert!(holds(b"first body"));
    assert!(!holds(b"appended, not submitted"));
}

#[test]
fn a_directory_whose_lock_file_was_removed_is_still_held() {
    let directory = Directory::new();
    let _bench = Bench::open(&directory.0);
    fs::remove_file(directory.0.join("log/LOCK")).unwrap();
    let error = Runtime::open(&directory.0, &Options::default()).err().unwrap().to_string();
    assert!(error.contains("in use by another process"), "{error}");
}

#[test]
fn a_start_that_meets_records_of_a_later_version_is_refused_and_changes_nothing() {
    // A kind that nobody knows; an image of a user of a later version.
    let image = [&[b'u', 3][..], b"ann", &[99]].concat();
    let all: [(u8, &[u8]); 2] = [(200, b"whatever"), (partition::records::kind::IMAGE, &image)];
    for record in all {
        let directory = Directory::new();
        let mut bench = Bench::open(&directory.0);
        let (alice, number) = bench.connect("alice", false);
        bench.send(alice, "bob", "first id", "first body");
        bench.until(number, "first id");
        bench.runtime.close().unwrap();
        append(&directory.0, &[record]);
        let before = files(&directory.0);
        for _ in 0..2 {
            let error = Runtime::open(&directory.0, &Options::default()).err().unwrap().to_string();
            assert!(error.contains(&format!("record of kind {} at segment 2 offset", record.0)), "{error}");
            assert!(error.contains("run that version") && error.contains("Nothing was changed"), "{error}");
            assert!(files(&directory.0) == before);
        }
        let report = fsck(&directory.0).unwrap();
        assert!(!report.is_sound());
        assert!(report.log.refusals[0].contains("not understood"), "{report:?}");
    }
}

#[test]
fn a_closed_runtime_says_so() {
    let directory = Directory::new();
    let shared = Shared::new(Bench::open(&directory.0).runtime);
    shared.close().unwrap();
    shared.close().unwrap();
    assert!(matches!(shared.enter(|runtime| runtime.turn()), Err(Refusal::Closed)));
}

#[test]
fn i10_a_failure_that_was_told_is_no_error_of_closing() {
    let directory = Directory::new();
    let shared = Shared::new(Bench::open(&directory.0).runtime);
    shared.enter(|runtime| runtime.fail("the store is broken")).ok().unwrap();
    assert!(shared.failed().is_some_and(|reason| reason.contains("the store is broken")));
    shared.close().unwrap();
}

#[test]
fn a_user_is_made_once_and_known_after_a_start_without_closing() {
    let directory = Directory::new();
    let mut bench = Bench::open(&directory.0);
    bench.runtime.has_user(1, "ann");
    bench.runtime.create_user(2, "ann");
    bench.until_told(2);
    assert_eq!(bench.users, [(1, UserAnswer::Absent), (2, UserAnswer::Made)]);
    drop(bench);
    let mut bench = Bench::open(&directory.0);
    bench.runtime.create_user(3, "ann");
    bench.runtime.has_user(4, "not a name\n");
    bench.until_told(2);
    assert_eq!(bench.users, [(3, UserAnswer::There), (4, UserAnswer::BadName)]);
}

#[test]
fn a_clock_that_an_operator_confirmed_is_right_after_a_start() {
    let directory = Directory::new();
    let bench = Bench::open(&directory.0);
    let now_ms = bench.runtime.timer.now().wall_ms;
    bench.runtime.close().unwrap();
    // The clock was ten days ahead when this was logged.
    let ahead = partition::records::Record::Bound {
        versions: 1 << 20,
        time_ms: now_ms + 10 * 24 * 3_600_000,
        reflects: seam::Position(0),
    };
    let mut body = Vec::new();
    let kind = partition::records::encode(&ahead, &mut body);
    append(&directory.0, &[(kind, &body)]);
    let mut bench = Bench::open(&directory.0);
    assert!(!bench.runtime.stats().clock_trusted);
    assert!(bench.runtime.node.time_ms() > now_ms + 9 * 24 * 3_600_000);
    assert!(bench.runtime.confirm_clock());
    assert!(bench.runtime.stats().clock_trusted);
    bench.runtime.close().unwrap();

    let bench = Bench::open(&directory.0);
    assert!(bench.runtime.stats().clock_trusted);
    assert!(bench.runtime.node.time_ms() < now_ms + 24 * 3_600_000);
}
