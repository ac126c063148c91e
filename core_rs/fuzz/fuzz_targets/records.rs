//! Any bytes as a log: reading never panics, makes up nothing that a second reading does not see, and comes to rest.
//!
//! The first byte chooses how a sound log is spoilt with the rest of the input; the last choice is the input alone.
#![no_main]

use log::sim::SimDisk;
use log::{Appender, Disk, FsckReport, LogOptions, Recovered, Writer, fsck, recover};
use libfuzzer_sys::fuzz_target;

const SEGMENT: &str = "000000000001.seg";

fuzz_target!(|data: &[u8]| {
    let [choice, place, rest @ ..] = data else { return };
    let disk = SimDisk::new(1);
    write(&disk, &recover(&disk, &mut |_| ()).expect("an empty disk"));
    let mut bytes = disk.contents(SEGMENT).unwrap_or_default();
    let at = usize::from(*place) * 4 % bytes.len().max(1);
    match choice % 4 {
        0 => bytes.iter_mut().skip(at).zip(rest).for_each(|(byte, other)| *byte ^= other),
        1 => bytes = [bytes.get(..at).unwrap_or_default(), rest].concat(),
        2 => bytes.splice(at..at, rest.iter().copied()).for_each(drop),
        _ => bytes = rest.to_vec(),
    }
    disk.put(SEGMENT, bytes);
    let Ok((seen, report)) = read(&disk) else { return };
    let before = disk.contents(SEGMENT);
    let mut records = Vec::new();
    let recovered = recover(&disk, &mut |record| records.push((record.kind, record.at, record.body.to_vec())));
    assert_eq!(recovered.is_err(), !report.refusals.is_empty(), "fsck and a start disagree");
    let Ok(recovered) = recovered else {
        assert!(disk.contents(SEGMENT) == before, "a start that was refused changed something");
        return;
    };
    assert!(seen == records, "fsck and recovery disagree");
    assert!(!report.is_sound() || recovered.findings.len() <= 1);
    write(&disk, &recovered);
    let (again, _) = read(&disk).expect("what was recovered");
    assert!(again.starts_with(&records), "a record went, or its place in the order");
    assert_eq!(again.len(), records.len() + 6, "the log does not go on");
});

type Records = Vec<(u8, log::Ref, Vec<u8>)>;

fn read(disk: &SimDisk) -> Result<(Records, FsckReport), log::LogError> {
    let mut seen = Vec::new();
    let report = fsck(disk, &mut |record| seen.push((record.kind, record.at, record.body.to_vec())))?;
    Ok((seen, report))
}

/// Appends six records in three batches.
fn write(disk: &SimDisk, recovered: &Recovered) {
    let options = LogOptions { segment_bytes: 8192, reserves: 0, ..LogOptions::default() };
    let mut appender = Appender::new(recovered, &options);
    let mut writer = Writer::open(disk.clone(), recovered, &options).expect("an empty disk");
    for n in 0..3_u8 {
        for len in [usize::from(n) * 9, 40] {
            appender.append(&[(n, &[&vec![n; len]])], true, |_| ()).expect("short");
        }
        writer.write(&mut appender.take(u64::from(n))).expect("room");
    }
    assert!(disk.list().is_ok());
}
