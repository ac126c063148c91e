//! What goes in comes out: on a real file system, over restarts and segment borders.

use super::*;

fn body(n: u32) -> Vec<u8> {
    (0..n % 300).map(|i| (i * 7 + n) as u8).collect()
}

#[test]
fn an_empty_directory_is_an_empty_log() {
    let dir = TempDir::new();
    let disk = FileDisk::open(dir.path()).unwrap();
    let (recovered, records) = recover_all(&disk);
    assert_eq!(records, []);
    assert_eq!((recovered.next_segment, recovered.next_batch), (1, 1));
    assert_eq!(recovered.findings, []);
}

#[test]
fn i1_records_come_back_whole_and_in_order_over_restarts_and_segments() {
    let dir = TempDir::new();
    let mut expected = Vec::new();
    for start in 0..4_u32 {
        let disk = FileDisk::open(dir.path()).unwrap();
        let (recovered, records) = recover_all(&disk);
        assert_eq!(records, expected);
        assert_eq!(recovered.findings, []);
        let mut appender = Appender::new(&recovered, &small());
        let mut writer = Writer::open(disk, &recovered, &small()).unwrap();
        for turn in 0..20 {
            let time_ms = u64::from(start * 100 + turn);
            for n in 0..turn % 5 + 1 {
                let body = body(start * 1000 + turn * 10 + n);
                let (half, rest) = body.split_at(body.len() / 2);
                let (at, _) = one(&mut appender, n as u8, &[half, rest], true);
                expected.push(Kept { kind: n as u8, body, at, time_ms });
            }
            let last = appender.last_batch();
            assert_eq!(writer.write(&mut appender.take(time_ms)).unwrap(), last);
            assert_eq!(appender.pending_bytes(), 0);
            assert!(writer.reserve());
        }
        if start % 2 == 0 {
            writer.close(0).unwrap();
        }
    }
    let disk = FileDisk::open(dir.path()).unwrap();
    let mut seen = Vec::new();
    let report = fsck(&disk, &mut |record| seen.push(kept(record))).unwrap();
    assert_eq!(seen, expected);
    assert!(report.is_sound());
    assert_eq!(report.records, expected.len() as u64);
}

#[test]
fn the_boot_of_the_machine_is_known_and_stays() {
    let dir = TempDir::new();
    let disk = FileDisk::open(dir.path()).unwrap();
    assert!(disk.boot() != 0 && disk.boot() == FileDisk::open_read_only(dir.path()).unwrap().boot());
    assert!(disk.random().unwrap() != disk.random().unwrap());
}

#[test]
fn a_second_server_on_the_directory_is_told_who_holds_it() {
    let dir = TempDir::new();
    let _held = FileDisk::open(dir.path()).unwrap();
    let error = FileDisk::open(dir.path()).unwrap_err();
    assert_eq!(error, LogError::InUse { path: dir.path().display().to_string(), pid: std::process::id() });
    assert!(error.to_string().contains(&format!("process {}", std::process::id())));
}

#[test]
fn a_record_longer_than_a_segment_is_refused_and_the_longest_is_kept() {
    let dir = TempDir::new();
    let disk = FileDisk::open(dir.path()).unwrap();
    let (recovered, _) = recover_all(&disk);
    let mut appender = Appender::new(&recovered, &small());
    let mut writer = Writer::open(disk, &recovered, &small()).unwrap();
    let longest = vec![7; appender.max_body()];
    let too_long = vec![7; appender.max_body() + 1];
    assert!(matches!(try_one(&mut appender, 1, &[&too_long], true), Err(LogError::RecordTooLarge { .. })));
    one(&mut appender, 1, &[b"first"], true);
    one(&mut appender, 1, &[&longest], true);
    one(&mut appender, 1, &[b"last"], true);
    writer.write(&mut appender.take(5)).unwrap();
    drop(writer);
    let (_, records) = recover_all(&FileDisk::open(dir.path()).unwrap());
    let bodies: Vec<&[u8]> = records.iter().map(|record| record.body.as_slice()).collect();
    assert_eq!(bodies, [b"first".as_slice(), &longest, b"last"]);
}
