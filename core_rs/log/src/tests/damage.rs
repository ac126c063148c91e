//! I12: what cannot be read is reported and set aside; everything else is kept, and nothing is made up.

use super::super::format::{BATCH_HEADER, RECORD_HEADER};
use super::sim::{Call, Rng, SimDisk};
use super::*;

/// A log of some segments that was closed cleanly, and its records.
fn log(rng: &mut Rng) -> (SimDisk, Vec<Kept>) {
    let disk = SimDisk::new(rng.next());
    let options = LogOptions { segment_bytes: 8192, batch_bytes: 1500, ..LogOptions::default() };
    let (recovered, _) = recover_all(&disk);
    let mut appender = Appender::new(&recovered, &options);
    let mut writer = Writer::open(disk.clone(), &recovered, &options).unwrap();
    let mut records = Vec::new();
    for time_ms in 0..30 {
        for _ in 0..1 + rng.below(6) {
            let body: Vec<u8> = (0..rng.below(300)).map(|_| rng.next() as u8).collect();
            let (at, _) = one(&mut appender, 5, &[&body], true);
            records.push(Kept { kind: 5, body, at, time_ms });
        }
        writer.write(&mut appender.take(time_ms)).unwrap();
    }
    writer.close(30).unwrap();
    (disk, records)
}

fn segments(disk: &SimDisk) -> Vec<String> {
    let mut names: Vec<String> = disk.list().unwrap().into_iter().filter(|name| name.ends_with(".seg")).collect();
    names.sort();
    names
}

/// The records that have no byte in the range of the segment.
fn untouched(records: &[Kept], segment: u32, range: &std::ops::Range<usize>) -> Vec<Kept> {
    let outside = |record: &&Kept| {
        let (start, end) = (record.at.offset as usize - RECORD_HEADER, (record.at.offset + record.at.len) as usize);
        record.at.segment != segment || end <= range.start || start >= range.end
    };
    records.iter().filter(outside).cloned().collect()
}

/// Forgets the times: a record whose batch's header is gone has the time of the batch before.
fn timeless(records: &[Kept]) -> Vec<(Ref, Vec<u8>)> {
    records.iter().map(|record| (record.at, record.body.clone())).collect()
}

/// What a scan of a segment sees, part by part.
fn scanned(disk: &SimDisk, recovered: &Recovered, segment: u32) -> Vec<(Ref, Vec<u8>)> {
    let mut reader = Reader::new(disk.clone(), recovered);
    let mut seen = Vec::new();
    let mut from = Some(0);
    while let Some(place) = from {
        let Ok(part) = reader.scan(segment, place, 700) else { continue };
        seen.extend(part.records.into_iter().map(|record| (record.at, record.body.to_vec())));
        from = part.next;
    }
    seen
}

#[test]
fn i12_damage_costs_the_records_that_it_touches_and_no_other() {
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let (disk, records) = log(&mut rng);
        let names = segments(&disk);
        let segment = rng.below(names.len());
        // The very last batch, which says that all others are durable, is spared: without it the end is torn.
        let last = if segment + 1 == names.len() { BATCH_HEADER } else { 0 };
        let len = disk.contents(&names[segment]).unwrap().len() - last;
        let from = rng.below(len);
        let to = (from + 1 + [1, 30, 600, 9000][rng.below(4)]).min(len);
        let before = disk.contents(&names[segment]).unwrap();
        if rng.once_in(2) {
            disk.damage(&names[segment], from..to, 1 + rng.below(255) as u8);
        } else {
            let mut bytes = before.clone();
            bytes[from..to].fill(0);
            disk.put(&names[segment], bytes);
        }
        let after = disk.contents(&names[segment]).unwrap();
        let changed: Vec<usize> = (from..to).filter(|i| before[*i] != after[*i]).collect();
        let (Some(from), Some(to)) = (changed.first().copied(), changed.last().map(|last| last + 1)) else { continue };
        let left = untouched(&records, segment as u32 + 1, &(from..to));
        let mut seen = Vec::new();
        let report = fsck(&disk, &mut |record| seen.push(kept(record))).unwrap();
        let (recovered, back) = recover_all(&disk);
        let place = format!("seed {seed}: {from}..{to} of {}: {report:?}", names[segment]);
        assert!(timeless(&back) == timeless(&left), "{place}: {} records, not {}", back.len(), left.len());
        assert!(seen == back, "{place}");
        let here: Vec<Kept> = back.iter().filter(|record| record.at.segment == segment as u32 + 1).cloned().collect();
        assert!(
            scanned(&disk, &recovered, segment as u32 + 1) == timeless(&here),
            "{place}: a scan sees something else"
        );
        assert_eq!(report.findings.len(), recovered.findings.len(), "seed {seed}");
        assert!(left.len() == records.len() || !report.is_sound(), "seed {seed}: records vanished silently");
        for finding in recovered.findings.iter().filter(|finding| finding.kind == FindingKind::Damaged) {
            let name = finding.kept_as.as_ref().unwrap();
            assert_eq!(disk.contents(name).unwrap().len() as u64, finding.bytes, "seed {seed}");
        }
        // The next starts find the same, and the log goes on.
        let mut appender = Appender::new(&recovered, &small());
        let mut writer = Writer::open(disk.clone(), &recovered, &small()).unwrap();
        one(&mut appender, 6, &[b"more"], true);
        writer.write(&mut appender.take(50)).unwrap();
        drop(writer);
        let (_, again) = recover_all(&disk);
        assert_eq!(again.len(), back.len() + 1, "seed {seed}");
        assert!(again[..back.len()] == back, "seed {seed}");
    }
}

#[test]
fn i12_a_segment_that_lost_its_end_is_reported() {
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let (disk, records) = log(&mut rng);
        let name = &segments(&disk)[0];
        let bytes = disk.contents(name).unwrap();
        let end = rng.below(bytes.len());
        disk.put(name, bytes[..end].to_vec());
        let (recovered, back) = recover_all(&disk);
        assert!(timeless(&back) == timeless(&untouched(&records, 1, &(end..bytes.len()))), "seed {seed}");
        let told = recovered.findings.iter().any(|finding| finding.kind != FindingKind::TornEnd);
        assert!(told, "seed {seed}: {:?}", recovered.findings);
    }
}

#[test]
fn i12_pages_that_the_disk_cannot_read_cost_what_is_on_them() {
    let mut rng = Rng::new(3);
    let (disk, records) = log(&mut rng);
    let name = &segments(&disk)[1];
    disk.lose_page(name, 4096);
    let (recovered, back) = recover_all(&disk);
    assert!(timeless(&back) == timeless(&untouched(&records, 2, &(4096..8192))));
    assert!(recovered.findings.iter().any(|finding| finding.kind == FindingKind::Unreadable));
    assert!(recovered.findings.iter().any(|finding| finding.kind == FindingKind::Damaged));
}

#[test]
fn i12_a_log_whose_end_cannot_be_read_is_left_as_it_is() {
    let (disk, _) = log(&mut Rng::new(5));
    let names = segments(&disk);
    let last = names.last().unwrap();
    let bytes = disk.contents(last).unwrap();
    disk.lose_page(last, (bytes.len() as u64 - 1) / 4096 * 4096);
    for _ in 0..2 {
        let refused = recover(&disk, &mut |_| ());
        assert!(matches!(refused, Err(LogError::Io { .. })), "{refused:?}");
        let said = fsck(&disk, &mut |_| ()).map_or_else(|error| error.to_string(), |report| report.refusals.concat());
        assert_eq!(said, refused.unwrap_err().to_string(), "fsck says what a start says");
        assert_eq!(segments(&disk), names);
        assert_eq!(disk.contents(last).unwrap().len(), bytes.len());
    }
}

#[test]
fn i12_a_log_of_one_segment_that_cannot_be_read_this_time_is_read_the_next_time() {
    let disk = SimDisk::new(7);
    let (recovered, _) = recover_all(&disk);
    let mut appender = Appender::new(&recovered, &small());
    let mut writer = Writer::open(disk.clone(), &recovered, &small()).unwrap();
    one(&mut appender, 5, &[b"x"], true);
    writer.write(&mut appender.take(1)).unwrap();
    writer.close(1).unwrap();
    let mut refused = 0;
    for call in 1..=4 {
        // It is tried again by the page, and a page twice.
        for again in 0..3 {
            disk.fail(Call::Read, call + again, rustix::io::Errno::IO.raw_os_error());
        }
        let mut back = Vec::new();
        while recover(&disk, &mut |record| back.push(kept(record))).is_err() {
            refused += 1;
            back.clear();
        }
        assert_eq!(back.len(), 1);
    }
    assert!(refused > 0);
}

#[test]
fn a_body_that_looks_like_a_batch_is_not_taken_for_one() {
    let disk = SimDisk::new(1);
    let (recovered, _) = recover_all(&disk);
    let mut appender = Appender::new(&recovered, &LogOptions::default());
    let mut writer = Writer::open(disk.clone(), &recovered, &LogOptions::default()).unwrap();
    // All that a sender cannot know is the salt: the place is easily guessed.
    let guess = Recovered { id: recovered.id.map(|byte| byte ^ 1), ..Recovered::default() };
    let mut forger = Appender::new(&guess, &LogOptions::default());
    let padding = vec![0; BATCH_HEADER + RECORD_HEADER + 8];
    one(&mut forger, 9, &[&padding], true);
    let mut forged = forger.take(1);
    one(&mut forger, 9, &[b"forged"], true);
    let mut inner = forger.take(1).remove(0);
    forged[0].stamp(0, guess.salt(), 0);
    inner.stamp(0, guess.salt(), 0);
    assert_eq!(inner.offset as usize, BATCH_HEADER + RECORD_HEADER + padding.len());
    let mut body = vec![1; padding.len()];
    body.extend(inner.bytes);
    one(&mut appender, 1, &[&body], true);
    one(&mut appender, 2, &[b"after"], true);
    writer.write(&mut appender.take(1)).unwrap();
    writer.close(1).unwrap();
    disk.damage("000000000001.seg", 0..60, 0xFF);
    let (_, back) = recover_all(&disk);
    assert_eq!(back.iter().map(|record| record.kind).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_zero_tail_is_a_clean_end() {
    let disk = SimDisk::new(1);
    let (recovered, _) = recover_all(&disk);
    let mut appender = Appender::new(&recovered, &small());
    let mut writer = Writer::open(disk.clone(), &recovered, &small()).unwrap();
    one(&mut appender, 1, &[b"one"], true);
    writer.write(&mut appender.take(1)).unwrap();
    drop(writer);
    assert_eq!(disk.contents("000000000001.seg").unwrap().len(), 4096);
    let (recovered, back) = recover_all(&disk);
    assert_eq!((recovered.findings.len(), back.len()), (0, 1));
    assert_eq!(disk.contents("000000000001.seg").unwrap().len(), BATCH_HEADER + RECORD_HEADER + 3);
}

#[test]
fn i12_a_version_that_flips_in_the_middle_of_the_log_does_not_keep_it_from_being_read() {
    let (disk, records) = log(&mut Rng::new(7));
    let names = segments(&disk);
    assert!(names.len() > 1);
    disk.damage(&names[0], 3..4, 1);
    let (recovered, back) = recover_all(&disk);
    assert_eq!(timeless(&back), timeless(&records), "only the header of a batch is gone");
    assert!(recovered.findings.iter().any(|finding| finding.kind == FindingKind::Damaged));
}

#[test]
fn a_later_format_is_refused_and_not_called_damage() {
    let disk = SimDisk::new(1);
    disk.put("000000000001.seg", b"PRB\x04 whatever a later version may write, longer than a header".to_vec());
    let error = recover(&disk, &mut |_| ()).unwrap_err();
    assert_eq!(error, LogError::NewerFormat { segment: 1, version: 4 });
    assert!(disk.contents("000000000001.seg").is_some());
}

#[test]
fn nothing_follows_a_missing_batch_that_was_never_confirmed() {
    for (watermark, kinds) in [(1, vec![1, 2]), (3, vec![1, 2, 4])] {
        let disk = SimDisk::new(1);
        let (recovered, _) = recover_all(&disk);
        let mut segments = [Vec::new(), Vec::new()];
        let mut batches = Vec::new();
        for (segment, kinds) in [(1, 1..=3), (2, 4..=4)] {
            let (next_segment, next_batch) = (segment, u64::from(*kinds.start()));
            let mut appender = Appender::new(&Recovered { next_segment, next_batch, ..recovered.clone() }, &small());
            for kind in kinds {
                one(&mut appender, kind, &[b"body"], true);
                batches.extend(appender.take(1));
            }
        }
        for batch in batches.iter_mut().filter(|batch| batch.number != 3) {
            batch.stamp(if batch.number == 4 { watermark } else { 0 }, recovered.salt(), 0);
            segments[batch.segment as usize - 1].extend_from_slice(&batch.bytes);
        }
        disk.put("000000000001.seg", segments[0].clone());
        disk.put("000000000002.seg", segments[1].clone());
        let (recovered, back) = recover_all(&disk);
        assert_eq!(back.iter().map(|record| record.kind).collect::<Vec<_>>(), kinds);
        let expected = if watermark == 1 { FindingKind::TornEnd } else { FindingKind::Missing };
        assert_eq!(recovered.findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [expected]);
    }
}

/// A log of four segments that was closed cleanly, and the batch with which each begins.
fn four_segments(keep: u32) -> (SimDisk, Vec<u64>) {
    let disk = SimDisk::new(1);
    let (recovered, _) = recover_all(&disk);
    let mut appender = Appender::new(&recovered, &small());
    let mut writer = Writer::open(disk.clone(), &recovered, &small()).unwrap();
    let mut begins = Vec::new();
    while appender.segment() < 4 {
        let (at, batch) = one(&mut appender, 1, &[&[1; 900]], true);
        if begins.len() < at.segment as usize {
            begins.push(batch);
        }
        appender.keep_from(begins[(keep.min(at.segment) - 1) as usize]);
        writer.write(&mut appender.take(1)).unwrap();
    }
    writer.close(1).unwrap();
    (disk, begins)
}

/// All that is on the disk.
fn files(disk: &SimDisk) -> Vec<(String, Vec<u8>)> {
    let mut names = disk.list().unwrap();
    names.sort();
    names.into_iter().map(|name| (name.clone(), disk.contents(&name).unwrap())).collect()
}

#[test]
fn a_start_without_a_segment_that_was_not_trimmed_is_refused_and_changes_nothing() {
    for gone in [1, 2, 3] {
        let (disk, begins) = four_segments(1);
        unlink(&disk, gone).unwrap();
        let before = files(&disk);
        let missing =
            LogError::Missing { first: begins[gone as usize - 1], last: begins[gone as usize] - 1, behind: gone + 1 };
        for _ in 0..2 {
            assert_eq!(recover(&disk, &mut |_| ()).unwrap_err(), missing);
            assert!(files(&disk) == before);
        }
        let report = fsck(&disk, &mut |_| ()).unwrap();
        assert!(!report.is_sound());
        assert_eq!(report.refusals, [missing.to_string()]);
    }
}

#[test]
fn a_start_whose_first_segment_is_empty_or_zeros_is_refused() {
    for zeros in [0, 4096] {
        let (disk, begins) = four_segments(1);
        disk.put("000000000001.seg", vec![0; zeros]);
        let before = files(&disk);
        let error = recover(&disk, &mut |_| ()).unwrap_err();
        assert_eq!(error, LogError::Missing { first: 1, last: begins[1] - 1, behind: 2 });
        assert!(files(&disk) == before);
    }
}

#[test]
fn a_log_whose_oldest_segments_were_trimmed_is_whole() {
    let (disk, _) = four_segments(3);
    for gone in 0..3 {
        if gone > 0 {
            unlink(&disk, gone).unwrap();
        }
        let report = fsck(&disk, &mut |_| ()).unwrap();
        assert!(report.is_sound(), "{report:?}");
    }
    unlink(&disk, 3).unwrap();
    assert!(matches!(recover(&disk, &mut |_| ()), Err(LogError::Missing { behind: 4, .. })));
}

#[test]
fn a_log_that_was_begun_and_has_no_batch_is_refused() {
    for garbage in [None, Some(vec![0; 4096]), Some(vec![0x55; 4096])] {
        let (disk, _) = four_segments(1);
        (1..=4).for_each(|segment| unlink(&disk, segment).unwrap());
        if let Some(garbage) = garbage {
            disk.put("000000000004.seg", garbage);
        }
        let before = files(&disk);
        assert_eq!(recover(&disk, &mut |_| ()).unwrap_err(), LogError::Empty);
        assert!(files(&disk) == before);
    }
}

#[test]
fn a_format_file_of_another_version_is_refused_and_left_alone_whatever_else_it_says() {
    for (line, expected) in [
        ("pyrouter log, format 1, salt 1a2b3c4d\n", LogError::OlderFormat { segment: 0, version: 1 }),
        ("pyrouter log, format 2, salt 1a2b3c4d, begun\n", LogError::OlderFormat { segment: 0, version: 2 }),
        ("pyrouter log, format 4, and whatever\n", LogError::NewerFormat { segment: 0, version: 4 }),
    ] {
        let (disk, _) = four_segments(1);
        disk.put("FORMAT", line.as_bytes().to_vec());
        let before = files(&disk);
        assert_eq!(recover(&disk, &mut |_| ()).unwrap_err(), expected);
        assert!(files(&disk) == before);
    }
}

#[test]
fn a_segment_of_the_format_before_is_refused_and_left_alone() {
    let disk = SimDisk::new(1);
    disk.put(
        "000000000001.seg",
        b"PRB\x02 as an earlier version wrote it, longer than a header is, which takes 52".to_vec(),
    );
    let before = files(&disk);
    assert_eq!(recover(&disk, &mut |_| ()).unwrap_err(), LogError::OlderFormat { segment: 1, version: 2 });
    assert!(files(&disk) == before);
}

#[test]
fn i12_a_record_that_ends_in_zeros_is_kept_whole_behind_a_damaged_header() {
    let disk = SimDisk::new(1);
    let (recovered, _) = recover_all(&disk);
    let mut appender = Appender::new(&recovered, &small());
    let mut writer = Writer::open(disk.clone(), &recovered, &small()).unwrap();
    one(&mut appender, 1, &[&[0; 200]], true);
    writer.write(&mut appender.take(1)).unwrap();
    drop(writer);
    let (recovered, _) = recover_all(&disk);
    let mut appender = Appender::new(&recovered, &small());
    let mut writer = Writer::open(disk.clone(), &recovered, &small()).unwrap();
    one(&mut appender, 2, &[b"says that the first is on disk"], true);
    writer.write(&mut appender.take(1)).unwrap();
    drop(writer);
    disk.damage("000000000001.seg", 3..30, 0x55);
    for _ in 0..2 {
        let (_, back) = recover_all(&disk);
        assert_eq!(back.iter().map(|record| record.body.len()).collect::<Vec<_>>(), [200, 30]);
    }
}
