//! The log on its threads, heard through its descriptor.

use super::sim::{Call, SimDisk};
use super::*;
use rustix::event::{PollFd, PollFlags, poll};
use std::os::fd::BorrowedFd;

/// Waits for the next completion.
fn next(log: &mut LogThread) -> Completion {
    loop {
        if let Some(done) = log.poll() {
            return done;
        }
        wait(log);
    }
}

/// What is said of a batch that is on disk, and the last one of which that is known.
fn durable(batch: u64) -> Completion {
    Completion::Durable { batch, synced: batch }
}

/// Waits until the descriptor is readable.
#[allow(unsafe_code)]
fn wait(log: &LogThread) {
    // SAFETY: the log lives longer than this borrow of its descriptor.
    let fd = unsafe { BorrowedFd::borrow_raw(log.wake_fd()) };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], None).unwrap();
}

fn until_idle(log: &mut LogThread) -> Vec<Completion> {
    let mut seen = Vec::new();
    loop {
        let idle = log.idle();
        seen.extend(std::iter::from_fn(|| log.poll()));
        if idle {
            return seen;
        }
        wait(log);
    }
}

fn start(dir: &TempDir, options: &LogOptions) -> (LogThread, Appender, Vec<Kept>) {
    let disk = FileDisk::open(dir.path()).unwrap();
    let (recovered, records) = recover_all(&disk);
    let appender = Appender::new(&recovered, options);
    let mut log = LogThread::spawn(disk, &recovered, options).unwrap();
    assert_eq!(next(&mut log), Completion::Space(true));
    (log, appender, records)
}

#[test]
fn i1_batches_are_reported_durable_and_are_there_after_a_restart() {
    let dir = TempDir::new();
    let (mut log, mut appender, _) = start(&dir, &small());
    for n in 0..200_u8 {
        one(&mut appender, n, &[&[n; 100]], true);
        log.submit(appender.take(u64::from(n)));
        while let Some(buffer) = log.spare() {
            appender.recycle(buffer);
        }
    }
    while next(&mut log) != durable(appender.last_batch()) {}
    drop(log);
    let (log, _, records) = start(&dir, &small());
    assert_eq!(records.iter().map(|record| record.kind).collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
    log.close(0).unwrap();
}

#[test]
fn a_batch_without_sync_rides_along_and_is_synced_before_the_log_closes() {
    let dir = TempDir::new();
    let options = LogOptions { lazy_sync_ms: 3_600_000, ..small() };
    let (mut log, mut appender, _) = start(&dir, &options);
    one(&mut appender, 1, &[b"alone"], false);
    log.submit(appender.take(1));
    assert_eq!(until_idle(&mut log), []);
    one(&mut appender, 2, &[b"waited for"], true);
    log.submit(appender.take(2));
    assert_eq!(next(&mut log), durable(2));
    one(&mut appender, 3, &[b"last"], false);
    log.submit(appender.take(3));
    log.close(3).unwrap();
    let (_log, _, records) = start(&dir, &options);
    assert_eq!(records.len(), 3);
}

#[test]
fn a_batch_without_sync_is_durable_in_the_end_by_itself() {
    let dir = TempDir::new();
    let options = LogOptions { lazy_sync_ms: 1, ..small() };
    let (mut log, mut appender, _) = start(&dir, &options);
    one(&mut appender, 1, &[b"alone"], false);
    log.submit(appender.take(1));
    assert_eq!(next(&mut log), durable(1));
}

#[test]
fn what_is_written_and_what_is_on_disk_are_reported_apart() {
    for durability in [Durability::Interval(3_600_000), Durability::None] {
        let (_disk, mut log, mut appender) = simulated(u64::MAX, &LogOptions { durability, ..small() });
        let mut reported = Vec::new();
        while appender.segment() < 3 {
            let (_, batch) = one(&mut appender, 1, &[&[1; 900]], true);
            log.submit(appender.take(1));
            let Completion::Durable { batch: durable, synced } = next(&mut log) else { panic!() };
            assert_eq!(durable, batch);
            reported.push(synced);
        }
        // The first batch of a run is synced. A batch of 900 bytes: four to a segment, and one that is full is synced before
        // the next one is begun.
        assert_eq!(reported, [1, 1, 1, 1, 4, 4, 4, 4, 8]);
        // Nothing of a segment goes before all is on disk, which is said at once.
        log.unlink(1);
        assert_eq!(next(&mut log), durable(9));
        assert_eq!(next(&mut log), Completion::Unlinked(1));
    }
}

#[test]
fn a_batch_is_on_disk_once_the_interval_is_over() {
    let durability = Durability::Interval(1);
    let (_disk, mut log, mut appender) = simulated(u64::MAX, &LogOptions { durability, ..small() });
    one(&mut appender, 1, &[b"the first, which is synced"], true);
    log.submit(appender.take(1));
    assert_eq!(next(&mut log), durable(1));
    one(&mut appender, 1, &[b"written"], true);
    log.submit(appender.take(1));
    let mut reported = Vec::new();
    while reported.last() != Some(&durable(2)) {
        reported.push(next(&mut log));
    }
    assert!(reported.iter().all(|done| matches!(done, Completion::Durable { batch: 2, .. })), "{reported:?}");
}

#[test]
fn bodies_are_read_by_position_in_the_order_of_the_question() {
    let dir = TempDir::new();
    let (mut log, mut appender, _) = start(&dir, &small());
    let refs: Vec<Ref> = (0..100_u8).map(|n| one(&mut appender, 1, &[&[n; 90]], true).0).collect();
    log.submit(appender.take(1));
    while next(&mut log) != durable(appender.last_batch()) {}
    let mut asked: Vec<Ref> = refs.iter().rev().step_by(3).chain(&refs).copied().collect();
    let wrong = Ref { len: 89, ..refs[5] };
    asked.push(wrong);
    log.read(7, asked.clone());
    let Completion::Read { token: 7, bodies } = next(&mut log) else { panic!() };
    assert_eq!(bodies.len(), asked.len());
    for (at, body) in asked.iter().zip(&bodies).take(asked.len() - 1) {
        let n = refs.iter().position(|known| known == at).unwrap() as u8;
        assert_eq!(body.as_ref().unwrap().as_ref(), [n; 90]);
    }
    assert_eq!(bodies[asked.len() - 1], Err(LogError::Damaged { at: wrong }));
}

#[test]
fn a_segment_is_scanned_in_bounded_parts_and_then_removed() {
    let dir = TempDir::new();
    let options = LogOptions { segment_bytes: 2 << 20, batch_bytes: 64 << 10, ..LogOptions::default() };
    let (mut log, mut appender, _) = start(&dir, &options);
    let mut expected = Vec::new();
    while appender.segment() == 1 {
        let body = vec![expected.len() as u8; 1000];
        expected.push((one(&mut appender, 3, &[&body], true).0, body));
    }
    let (beyond, _) = expected.pop().unwrap();
    assert_eq!(beyond.segment, 2);
    let begins_2 = appender.last_batch();
    log.submit(appender.take(9));
    while next(&mut log) != durable(appender.last_batch()) {}
    log.scan(1);
    let mut seen = Vec::new();
    let mut parts = 0;
    loop {
        let Completion::Scanned { segment: 1, records, findings, done } = next(&mut log) else { panic!() };
        assert_eq!(findings, []);
        assert!(records.iter().map(|record| record.body.len()).sum::<usize>() < 400 << 10);
        assert!(records.iter().all(|record| record.kind == 3 && record.time_ms == 9));
        seen.extend(records.into_iter().map(|record| (record.at, record.body.to_vec())));
        parts += 1;
        if done {
            break;
        }
    }
    assert!(parts > 4);
    assert!(seen == expected);
    appender.keep_from(begins_2);
    one(&mut appender, 4, &[b"says what is trimmed"], true);
    log.submit(appender.take(10));
    while next(&mut log) != durable(appender.last_batch()) {}
    log.unlink(1);
    assert_eq!(next(&mut log), Completion::Unlinked(1));
    log.close(0).unwrap();
    let (recovered, records) = recover_all(&FileDisk::open(dir.path()).unwrap());
    assert_eq!((records.len(), recovered.findings.len()), (2, 0));
}

/// The threads on a simulated disk that has room for `capacity` bytes.
fn simulated(capacity: u64, options: &LogOptions) -> (SimDisk, LogThread, Appender) {
    let disk = SimDisk::new(1);
    disk.set_capacity(capacity);
    let (recovered, _) = recover_all(&disk);
    let appender = Appender::new(&recovered, options);
    let mut log = LogThread::spawn(disk.clone(), &recovered, options).unwrap();
    assert_eq!(next(&mut log), Completion::Space(true));
    (disk, log, appender)
}

#[test]
fn a_full_disk_is_told_before_anything_fails_and_so_is_room_after_a_removal() {
    let (_disk, mut log, mut appender) = simulated(4 * 4096, &small());
    let mut seen = Vec::new();
    while appender.segment() < 3 {
        one(&mut appender, 1, &[&[1; 900]], true);
        log.submit(appender.take(1));
        seen.extend(until_idle(&mut log));
    }
    // The third is begun, and the disk has room for one in reserve only; the keeper finds out in its own time.
    while !seen.contains(&Completion::Space(false)) {
        seen.push(next(&mut log));
    }
    assert!(!seen.iter().any(|done| matches!(done, Completion::Failed(_))));
    for segment in 1..appender.segment() {
        log.unlink(segment);
    }
    while next(&mut log) != Completion::Space(true) {}
    one(&mut appender, 1, &[&[1; 900]], true);
    log.submit(appender.take(1));
    while next(&mut log) != durable(appender.last_batch()) {}
    log.close(1).unwrap();
}

#[test]
fn after_a_removal_that_failed_no_later_segment_goes() {
    let (disk, mut log, mut appender) = simulated(u64::MAX, &small());
    while appender.segment() < 4 {
        one(&mut appender, 1, &[&[1; 900]], true);
        log.submit(appender.take(1));
    }
    while next(&mut log) != durable(appender.last_batch()) {}
    disk.fail(Call::Remove, 1, rustix::io::Errno::IO.raw_os_error());
    (1..4).for_each(|segment| log.unlink(segment));
    let failed = std::iter::from_fn(|| Some(next(&mut log))).find(|done| matches!(done, Completion::Failed(_)));
    assert!(matches!(failed, Some(Completion::Failed(LogError::Io { doing: "remove", .. }))), "{failed:?}");
    drop(log);
    let names = disk.list().unwrap();
    assert!((1..5).all(|segment| names.contains(&format!("{segment:012}.seg"))), "{names:?}");
}

#[test]
fn i10_a_failed_sync_is_told_once_and_everything_after_it_is_dropped() {
    // No reserves: the keeper is not to meet the failure.
    let (disk, mut log, mut appender) = simulated(u64::MAX, &LogOptions { reserves: 0, ..small() });
    one(&mut appender, 1, &[b"begins the segment"], true);
    log.submit(appender.take(1));
    while next(&mut log) != durable(1) {}
    until_idle(&mut log);
    disk.fail(Call::Sync, 1, rustix::io::Errno::IO.raw_os_error());
    one(&mut appender, 2, &[b"lost"], true);
    log.submit(appender.take(1));
    let failed = std::iter::from_fn(|| Some(next(&mut log))).find(|done| matches!(done, Completion::Failed(_)));
    assert!(matches!(failed, Some(Completion::Failed(LogError::Io { doing: "sync", .. }))), "{failed:?}");
    one(&mut appender, 3, &[b"refused"], true);
    log.submit(appender.take(1));
    assert_eq!(until_idle(&mut log), []);
    assert!(matches!(log.close(1), Err(LogError::Refused { .. })));
    disk.restart();
    assert!(recover_all(&disk).1.iter().all(|record| record.kind < 3));
}

#[test]
fn restarts_leave_no_files_behind() {
    let disk = SimDisk::new(1);
    let mut counts = Vec::new();
    for _ in 0..4 {
        let (recovered, _) = recover_all(&disk);
        let log = LogThread::spawn(disk.clone(), &recovered, &small()).unwrap();
        log.close(0).unwrap();
        counts.push(disk.list().unwrap().len());
    }
    assert_eq!(counts, [3; 4], "FORMAT and two reserves");
}

#[test]
fn reads_and_scans_that_are_refused_are_told_once_and_answered_when_they_work_i1() {
    let (disk, mut log, mut appender) = simulated(u64::MAX, &LogOptions { reserves: 0, ..small() });
    let mut refs = Vec::new();
    while appender.segment() == 1 {
        refs.push(one(&mut appender, 1, &[&[7; 90]], true).0);
    }
    refs.pop();
    log.submit(appender.take(1));
    while next(&mut log) != durable(appender.last_batch()) {}
    until_idle(&mut log);
    // One after the other: what is delayed is tried again together.
    (1..=2).for_each(|call| disk.fail(Call::Open, call, rustix::io::Errno::MFILE.raw_os_error()));
    log.read(1, refs.clone());
    assert!(matches!(next(&mut log), Completion::Delayed(LogError::Io { doing: "open", .. })));
    let Completion::Read { token: 1, bodies } = next(&mut log) else { panic!() };
    assert!(bodies.iter().all(Result::is_ok));
    disk.fail(Call::Open, 1, rustix::io::Errno::MFILE.raw_os_error());
    log.scan(1);
    assert!(matches!(next(&mut log), Completion::Delayed(LogError::Io { doing: "open", .. })));
    let Completion::Scanned { segment: 1, records, done: true, .. } = next(&mut log) else { panic!() };
    assert_eq!(records.len(), refs.len());
    log.close(1).unwrap();
}
