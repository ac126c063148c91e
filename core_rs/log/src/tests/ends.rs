//! What a start says of how the last run ended, of numbers that jump, and of a tail that is gone.

use super::super::format::RECORD_HEADER;
use super::sim::SimDisk;
use super::*;

const FORMAT: &str = "FORMAT";

/// Starts, writes `batches` batches of 900 bytes (four to a segment), and closes or does not.
fn run(disk: &SimDisk, durability: Durability, batches: usize, close: bool) {
    let (recovered, _) = recover_all(disk);
    write(disk, &recovered, durability, batches, close);
}

fn write(disk: &SimDisk, recovered: &Recovered, durability: Durability, batches: usize, close: bool) {
    let options = LogOptions { durability, ..small() };
    let mut appender = Appender::new(recovered, &options);
    let mut writer = Writer::open(disk.clone(), recovered, &options).unwrap();
    for _ in 0..batches {
        one(&mut appender, 1, &[&[1; 900]], true);
        writer.write(&mut appender.take(1)).unwrap();
    }
    if close {
        writer.close(1).unwrap();
    }
}

/// What a start would find; and fsck agrees.
fn end(disk: &SimDisk) -> End {
    let unsettled = read(disk, &mut |_| ()).unwrap();
    let report = fsck(disk, &mut |_| ()).unwrap();
    assert_eq!((report.end, report.id), (unsettled.end(), unsettled.id()));
    assert_eq!((report.findings.as_slice(), report.last_batch), (unsettled.findings(), unsettled.last_batch()));
    unsettled.end()
}

const NOTHING: End = End { clean: false, unsynced: false, same_boot: false, new_id: false };

#[test]
fn the_end_of_a_run_shows_how_it_was_written_and_whether_the_machine_went_down() {
    let interval = Durability::Interval(1000);
    for (durability, close, power, expected) in [
        (Durability::Fsync, false, false, End { same_boot: true, ..NOTHING }),
        (Durability::Fsync, false, true, NOTHING),
        (Durability::Fsync, true, false, End { clean: true, same_boot: true, ..NOTHING }),
        (interval, false, false, End { unsynced: true, same_boot: true, ..NOTHING }),
        (interval, false, true, End { unsynced: true, ..NOTHING }),
        (interval, true, true, End { clean: true, ..NOTHING }),
        (Durability::None, false, true, End { unsynced: true, ..NOTHING }),
        (Durability::None, true, false, End { clean: true, same_boot: true, ..NOTHING }),
    ] {
        let disk = SimDisk::new(1);
        assert_eq!(end(&disk), NOTHING);
        run(&disk, durability, 3, close);
        if power {
            disk.crash();
            disk.restart();
        }
        // A start that writes no batch, in whichever boot, leaves the facts as they are.
        for start in 0..3 {
            assert_eq!(end(&disk), expected, "{durability:?} {close} {power}, start {start}");
            run(&disk, durability, 0, true);
            assert_eq!(recover_all(&disk).0.end, expected);
        }
        // One that has a batch on disk has taken them up.
        run(&disk, Durability::Fsync, 1, false);
        assert_eq!(end(&disk), End { same_boot: true, ..NOTHING });
    }
}

#[test]
fn an_end_is_not_clean_when_something_was_written_behind_it() {
    let disk = SimDisk::new(1);
    run(&disk, Durability::Fsync, 3, true);
    run(&disk, Durability::Fsync, 1, false);
    disk.damage("000000000002.seg", 500..600, 0xFF);
    assert_eq!(end(&disk), End { same_boot: true, ..NOTHING });
    // Once that is cut, nothing is left of it.
    assert_eq!(recover_all(&disk).0.end, End { same_boot: true, ..NOTHING });
    assert_eq!(end(&disk), End { clean: true, same_boot: true, ..NOTHING });
}

#[test]
fn a_log_is_closed_cleanly_however_full_its_segment_is() {
    for left in 0..3 {
        let disk = SimDisk::new(1);
        let (recovered, _) = recover_all(&disk);
        let mut appender = Appender::new(&recovered, &small());
        let mut writer = Writer::open(disk.clone(), &recovered, &small()).unwrap();
        one(&mut appender, 1, &[b"first"], true);
        writer.write(&mut appender.take(1)).unwrap();
        let body = vec![1; appender.room() as usize - RECORD_HEADER - left];
        assert_eq!(one(&mut appender, 1, &[&body], true).0.segment, 1);
        writer.write(&mut appender.take(1)).unwrap();
        writer.close(1).unwrap();
        assert_eq!(disk.contents("000000000001.seg").unwrap().len(), 4096 - left);
        assert!(end(&disk).clean);
    }
}

#[test]
fn a_log_without_its_format_file_gets_an_identity_that_counts_as_new_until_a_batch_follows() {
    let other = SimDisk::new(2);
    run(&other, Durability::Fsync, 9, true);
    run(&other, Durability::Fsync, 0, true);
    for foreign in [None, Some(other.contents(FORMAT).unwrap())] {
        let disk = SimDisk::new(1);
        run(&disk, Durability::Fsync, 3, true);
        let (before, _) = recover_all(&disk);
        match foreign {
            None => disk.remove(FORMAT).unwrap(),
            Some(bytes) => disk.put(FORMAT, bytes),
        }
        let unsettled = read(&disk, &mut |_| ()).unwrap();
        assert_eq!((unsettled.id(), unsettled.salt(), unsettled.last_batch()), (None, Some(before.salt()), 4));
        assert_eq!(end(&disk), End { clean: true, new_id: true, ..NOTHING });
        let (recovered, records) = recover_all(&disk);
        assert_eq!((records.len(), recovered.findings.len()), (3, 0), "what FORMAT says of another log is no evidence");
        assert!(recovered.id != before.id && recovered.salt() == before.salt());
        assert_eq!(end(&disk), End { clean: true, new_id: true, ..NOTHING }, "also if the start went no further");
        assert_eq!(recover_all(&disk).0.id, recovered.id);
        run(&disk, Durability::Fsync, 1, false);
        assert_eq!(end(&disk), End { same_boot: true, ..NOTHING });
    }
}

#[test]
fn a_tail_that_is_gone_is_missed_if_a_start_has_seen_it_i12() {
    let disk = SimDisk::new(1);
    run(&disk, Durability::Fsync, 6, true);
    run(&disk, Durability::Fsync, 0, true);
    let last = "000000000002.seg";
    let bytes = disk.contents(last).unwrap();
    // Zeros, as a firmware leaves them that lost what it had confirmed.
    disk.put(last, bytes[..966].to_vec());
    let (recovered, records) = recover_all(&disk);
    assert_eq!(records.len(), 5);
    let [finding] = &recovered.findings[..] else { panic!("{:?}", recovered.findings) };
    assert_eq!((finding.kind, finding.first_batch, finding.last_batch), (FindingKind::Missing, 6, 7));
    assert_eq!((finding.segment, finding.offset, recovered.next_batch), (2, 966, 8), "no number is given twice");
    assert!(!recovered.end.clean);
    // Without the file it is as when a segment in the middle is missing.
    disk.remove(last).unwrap();
    let error = recover(&disk, &mut |_| ()).unwrap_err();
    assert_eq!(error, LogError::Missing { first: 5, last: 7, behind: 0 });
    assert!(error.to_string().contains("batches 5 to 7 at its end"));
    assert_eq!(fsck(&disk, &mut |_| ()).unwrap().refusals, [error.to_string()]);
}

/// Five batches (the last one says that the log was closed), then one whose number is above 1,000, and some more.
fn with_a_jump() -> SimDisk {
    let disk = SimDisk::new(1);
    run(&disk, Durability::Fsync, 4, true);
    let (mut recovered, _) = recover_all(&disk);
    recovered.jump_above(3);
    assert_eq!(recovered.next_batch, 6, "what is below the next number anyway is no jump");
    recovered.jump_above(1000);
    write(&disk, &recovered, Durability::Fsync, 6, true);
    disk
}

#[test]
fn numbers_that_were_never_given_are_not_missing() {
    let disk = with_a_jump();
    let report = fsck(&disk, &mut |_| ()).unwrap();
    assert_eq!((report.batches, report.records, report.last_batch), (12, 10, 1007));
    assert!(report.findings.is_empty());
    assert_eq!(recover_all(&disk).0.next_batch, 1008);
}

#[test]
fn an_empty_log_may_begin_with_a_jump() {
    let disk = SimDisk::new(1);
    let (mut recovered, _) = recover_all(&disk);
    recovered.jump_above(1000);
    write(&disk, &recovered, Durability::Interval(1), 6, false);
    let (recovered, records) = recover_all(&disk);
    assert_eq!((records.len(), recovered.next_batch, recovered.findings.len()), (6, 1007, 0));
    assert_eq!((recovered.segments[0].first_batch, recovered.last_batch), (1001, 1006));
}

#[test]
fn what_is_missing_before_a_jump_ends_where_the_numbers_jump_i12() {
    let (first, second) = ("000000000001.seg", "000000000002.seg");
    // The tail before it, as zeros and as garbage.
    let disk = with_a_jump();
    let bytes = disk.contents(first).unwrap();
    disk.put(first, bytes[..2 * 966].to_vec());
    let findings = recover_all(&disk).0.findings;
    let ranges: Vec<(FindingKind, u64, u64)> =
        findings.iter().map(|finding| (finding.kind, finding.first_batch, finding.last_batch)).collect();
    assert_eq!(ranges, [(FindingKind::Missing, 3, 5)]);
    let disk = with_a_jump();
    disk.damage(first, 2 * 966..bytes.len(), 0xFF);
    assert!(recover_all(&disk).0.findings.iter().all(|finding| finding.last_batch <= 5));
    // The same in the segment that the jump stands in.
    let disk = SimDisk::new(1);
    run(&disk, Durability::Fsync, 2, true);
    let (mut recovered, _) = recover_all(&disk);
    recovered.jump_above(1000);
    let used = recovered.segments[0].bytes as u32;
    (recovered.next_segment, recovered.next_offset) = (1, used);
    write(&disk, &recovered, Durability::Fsync, 1, true);
    disk.damage(first, 966..used as usize, 0xFF);
    let (recovered, records) = recover_all(&disk);
    assert_eq!((records.len(), recovered.last_batch), (2, 1002));
    assert!(recovered.findings.iter().all(|finding| (finding.first_batch, finding.last_batch) == (2, 3)));
    // The file with the jump itself.
    let disk = with_a_jump();
    disk.remove(second).unwrap();
    let error = recover(&disk, &mut |_| ()).unwrap_err();
    assert_eq!(error, LogError::Missing { first: 6, last: 1004, behind: 3 });
}

#[test]
fn a_batch_with_a_mark_that_is_not_known_is_of_a_later_version() {
    let disk = SimDisk::new(1);
    run(&disk, Durability::Fsync, 1, true);
    let (recovered, _) = recover_all(&disk);
    let mut appender = Appender::new(&recovered, &small());
    one(&mut appender, 1, &[b"with a mark of the future"], true);
    let mut batches = appender.take(1);
    batches[0].stamp(2, recovered.salt(), 1 << 9);
    disk.put("000000000002.seg", batches[0].bytes.clone());
    let before = disk.contents(FORMAT);
    let error = recover(&disk, &mut |_| ()).unwrap_err();
    assert!(matches!(error, LogError::NewerFormat { segment: 2, .. }), "{error}");
    assert!(disk.contents(FORMAT) == before && disk.contents("000000000002.seg").unwrap() == batches[0].bytes);
}
