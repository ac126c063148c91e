//! A read that is refused is no loss: it is tried again, alone, until it works or the medium is known to be bad.

use super::sim::{Call, SimDisk};
use super::*;
use rustix::io::Errno;

const COUNT: usize = 100;

/// A log of `COUNT` records of 500 bytes, and where their bodies stand; `reader` has not opened a file yet.
fn log() -> (SimDisk, Reader<SimDisk>, Vec<Ref>) {
    let disk = SimDisk::new(1);
    let (recovered, _) = recover_all(&disk);
    let options = LogOptions { segment_bytes: 256 << 10, ..LogOptions::default() };
    let mut appender = Appender::new(&recovered, &options);
    let mut writer = Writer::open(disk.clone(), &recovered, &options).unwrap();
    let refs = (0..COUNT).map(|n| one(&mut appender, 1, &[&[n as u8; 500]], true).0).collect();
    writer.write(&mut appender.take(1)).unwrap();
    writer.close(1).unwrap();
    let reader = Reader::new(disk.clone(), &recovered);
    (disk, reader, refs)
}

/// Which records cannot be read, once `tries` tries have failed for reasons of the moment.
fn lost_after(reader: &mut Reader<SimDisk>, refs: &[Ref], tries: usize) -> Vec<usize> {
    let mut fetch = Fetch::new(refs);
    for _ in 0..tries {
        assert!(matches!(reader.fetch(&mut fetch), Err(LogError::Io { .. })));
    }
    reader.fetch(&mut fetch).unwrap();
    let bodies = fetch.into_bodies();
    assert_eq!(bodies.len(), refs.len());
    let lost = bodies.iter().enumerate().filter(|(_, body)| body.as_ref().is_err_and(LogError::is_loss));
    let lost: Vec<usize> = lost.map(|(place, _)| place).collect();
    for (place, body) in bodies.into_iter().enumerate().filter(|(place, _)| !lost.contains(place)) {
        assert_eq!(body.unwrap().as_ref(), [place as u8; 500]);
    }
    lost
}

#[test]
fn no_descriptor_or_memory_for_a_joined_read_loses_nothing_i1() {
    for (call, errno) in [(Call::Open, Errno::MFILE), (Call::Open, Errno::NFILE), (Call::Read, Errno::NOMEM)] {
        let (disk, mut reader, refs) = log();
        disk.fail(call, 1, errno.raw_os_error());
        assert!(lost_after(&mut reader, &refs, 1).is_empty(), "{call:?} {errno}");
    }
}

#[test]
fn a_page_that_is_refused_once_or_twice_in_a_joined_read_loses_nothing_i1() {
    let (disk, mut reader, refs) = log();
    disk.fail(Call::Read, 1, Errno::IO.raw_os_error());
    assert!(lost_after(&mut reader, &refs, 0).is_empty());
    disk.fail(Call::Read, 1, Errno::IO.raw_os_error());
    disk.fail(Call::Read, 2, Errno::IO.raw_os_error());
    assert!(lost_after(&mut reader, &refs, 1).is_empty());
}

#[test]
fn a_page_that_is_refused_again_costs_the_records_on_it_and_no_others_of_the_read_i12() {
    let (disk, mut reader, refs) = log();
    disk.lose_page("000000000001.seg", 8192);
    let on_it = |at: &Ref| {
        at.offset + at.len > 8192 && (at.offset as usize - super::super::format::RECORD_HEADER) < 8192 + 4096
    };
    let expected: Vec<usize> = (0..COUNT).filter(|place| on_it(&refs[*place])).collect();
    assert!(expected.len() > 5 && expected.len() < 12);
    assert_eq!(lost_after(&mut reader, &refs, 1), expected);
}

#[test]
fn a_bad_checksum_costs_one_record_of_a_joined_read_i12() {
    let (disk, mut reader, refs) = log();
    let place = refs[40].offset as usize + 100;
    disk.damage("000000000001.seg", place..place + 1, 0xFF);
    assert_eq!(lost_after(&mut reader, &refs, 0), [40]);
}

#[test]
fn a_scan_that_is_refused_goes_on_at_the_next_try_with_all_records_i1() {
    let (disk, mut reader, refs) = log();
    let io = Errno::IO.raw_os_error();
    disk.fail(Call::Open, 1, Errno::MFILE.raw_os_error());
    assert!(matches!(reader.scan(1, 0, u64::MAX / 2), Err(LogError::Io { .. })));
    (1..=3).for_each(|call| disk.fail(Call::Read, call, io));
    assert!(matches!(reader.scan(1, 0, u64::MAX / 2), Err(LogError::Io { .. })), "a page was refused, three times");
    let part = reader.scan(1, 0, u64::MAX / 2).unwrap();
    assert_eq!((part.records.len(), part.findings.len()), (refs.len(), 0));
}

#[test]
fn what_is_asked_of_a_segment_that_is_removed_is_answered_and_is_no_loss() {
    let (disk, mut reader, refs) = log();
    disk.remove("000000000001.seg").unwrap();
    let mut fetch = Fetch::new(&refs);
    assert!(reader.fetch(&mut fetch).is_err());
    fetch.forget(1);
    reader.fetch(&mut fetch).unwrap();
    assert!(fetch.into_bodies().into_iter().all(|body| !body.unwrap_err().is_loss()));
}
