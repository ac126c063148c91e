//! What a start changes, and that no power cut in the middle of it takes away what the next one must know.

use super::super::format::{BATCH_HEADER, RECORD_HEADER};
use super::sim::{Rng, SimDisk};
use super::*;

const FIRST: &str = "000000000001.seg";
/// Where the second batch of 1,000 bytes ends.
const SECOND_ENDS: usize = 2 * (BATCH_HEADER + RECORD_HEADER + 1000);

/// Writes a batch of one record of 1,000 bytes; where it ends in its segment.
fn batch(appender: &mut Appender, writer: &mut Writer<SimDisk>, kind: u8) -> usize {
    let (at, _) = one(appender, kind, &[&[kind; 1000]], true);
    writer.write(&mut appender.take(1)).unwrap();
    (at.offset + at.len) as usize
}

/// A log of `count` batches whose last one is torn, though its header is whole; the batch before it is damaged: only that
/// header says that it was durable. With four, the torn one begins the second segment.
fn damaged_before_a_torn_end(seed: u64, count: u8) -> SimDisk {
    let disk = SimDisk::new(seed);
    let (recovered, _) = recover_all(&disk);
    let mut appender = Appender::new(&recovered, &small());
    let mut writer = Writer::open(disk.clone(), &recovered, &small()).unwrap();
    let ends: Vec<usize> = (1..=count).map(|kind| batch(&mut appender, &mut writer, kind)).collect();
    drop(writer);
    disk.damage(
        &format!("{:012}.seg", appender.segment()),
        ends[count as usize - 1] - 5..ends[count as usize - 1],
        0xFF,
    );
    disk.damage(FIRST, ends[count as usize - 2] - 5..ends[count as usize - 2], 0xFF);
    disk
}

/// What a start finds: the kinds of the records, and whether there is damage.
fn start(disk: &SimDisk) -> (Vec<u8>, bool) {
    let (recovered, records) = recover_all(disk);
    let damaged = recovered.findings.iter().any(|finding| finding.kind == FindingKind::Damaged);
    (records.iter().map(|record| record.kind).collect(), damaged)
}

#[test]
fn damage_before_a_torn_end_is_damage_at_every_start_whenever_the_power_goes_i12() {
    for (count, sound) in [(3, vec![1]), (4, vec![1, 2])] {
        let mut died = 0;
        for call in 1.. {
            let disk = damaged_before_a_torn_end(call, count);
            disk.crash_in(call);
            let ended = recover(&disk, &mut |_| ());
            let completed = !disk.is_crashed();
            disk.crash();
            for start_after in 0..3 {
                disk.restart();
                assert_eq!(start(&disk), (sound.clone(), true), "{count}, call {call}, {start_after}: {ended:?}");
                disk.crash();
            }
            if completed {
                break;
            }
            died += 1;
        }
        assert!(died > 10);
    }
}

#[test]
fn a_start_on_a_full_disk_cuts_a_torn_end_but_not_the_evidence_of_damage_i12() {
    let disk = damaged_before_a_torn_end(1, 3);
    disk.set_capacity(disk.used());
    for _ in 0..2 {
        let before = disk.contents(FIRST);
        let error = recover(&disk, &mut |_| ()).unwrap_err();
        assert!(error.is_full() && error.to_string().contains("free some space"), "{error}");
        assert!(disk.contents(FIRST) == before);
    }
    assert!(disk.contents("FORMAT.new").is_none(), "nothing takes the last bytes");
    disk.set_capacity(u64::MAX);
    assert_eq!(start(&disk), (vec![1], true));
    // Without damage the file can wait.
    let disk = damaged_before_a_torn_end(1, 3);
    disk.damage(FIRST, SECOND_ENDS - 5..SECOND_ENDS, 0xFF);
    disk.set_capacity(disk.used());
    assert_eq!(start(&disk), (vec![1, 2], false));
    assert_eq!(disk.contents(FIRST).unwrap().len(), SECOND_ENDS);
}

/// What a start that changes nothing would find: records, and whether anything is damaged or missing; `None` if it refuses.
fn look(disk: &SimDisk) -> Option<(Vec<Kept>, bool)> {
    let mut records = Vec::new();
    let report = fsck(disk, &mut |record| records.push(kept(record))).ok()?;
    report.refusals.is_empty().then_some((records, !report.is_sound()))
}

#[test]
fn starts_that_are_cut_off_find_what_the_first_one_found_whatever_is_damaged_i12() {
    let mut damaged = 0;
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new(rng.next());
        disk.be_hostile();
        let (recovered, _) = recover_all(&disk);
        let mut appender = Appender::new(&recovered, &small());
        let mut writer = Writer::open(disk.clone(), &recovered, &small()).unwrap();
        disk.crash_in(20 + rng.below(60) as u64);
        while !disk.is_crashed() {
            one(&mut appender, 1, &[&vec![rng.next() as u8; rng.below(900)]], true);
            let _ = writer.write(&mut appender.take(1));
        }
        disk.restart();
        let names: Vec<String> = disk.list().unwrap().into_iter().filter(|name| name.ends_with(".seg")).collect();
        let used = |name: &String| disk.contents(name).unwrap().iter().rposition(|byte| *byte != 0).unwrap_or(0);
        let name = &names[rng.below(names.len())];
        // Mostly near the end, where the evidence is thin.
        let within = [100, 4000][rng.below(2)];
        let at = used(name).saturating_sub(rng.below(within));
        disk.damage(name, at..at + 1 + rng.below(30), 1 + rng.below(255) as u8);
        let Some(found) = look(&disk) else { continue };
        damaged += usize::from(found.1);
        for start in 0..6 {
            disk.crash_in(1 + rng.below(70) as u64);
            let ended = recover(&disk, &mut |_| ()).map(|recovered| recovered.next_batch);
            disk.crash();
            if rng.once_in(3) {
                disk.reopen()
            } else {
                disk.restart()
            }
            assert!(look(&disk).as_ref() == Some(&found), "seed {seed}, start {start}: {ended:?}");
        }
    }
    assert!(damaged > 100, "{damaged}");
}

/// A log of three batches in segment 1, and one more in segment 3: a start has cut the torn beginning of segment 2.
fn with_a_skipped_id() -> (SimDisk, Vec<usize>) {
    let disk = SimDisk::new(1);
    let (recovered, _) = recover_all(&disk);
    let mut appender = Appender::new(&recovered, &small());
    let mut writer = Writer::open(disk.clone(), &recovered, &small()).unwrap();
    let ends: Vec<usize> = (1..=4).map(|kind| batch(&mut appender, &mut writer, kind)).collect();
    drop(writer);
    disk.damage("000000000002.seg", ends[3] - 5..ends[3], 0xFF);
    let (recovered, _) = recover_all(&disk);
    let mut appender = Appender::new(&recovered, &small());
    let mut writer = Writer::open(disk.clone(), &recovered, &small()).unwrap();
    while appender.segment() < 5 {
        batch(&mut appender, &mut writer, 5);
    }
    writer.close(1).unwrap();
    let names = disk.list().unwrap();
    let there: Vec<u32> = (1..6).filter(|id| names.contains(&format!("{id:012}.seg"))).collect();
    assert_eq!(there, [1, 3, 4, 5]);
    (disk, ends)
}

#[test]
fn a_segment_id_that_a_start_skipped_is_no_missing_file_when_the_tail_before_it_rots_i12() {
    let (disk, ends) = with_a_skipped_id();
    let bytes = disk.contents(FIRST).unwrap();
    disk.put(FIRST, bytes[..ends[1]].to_vec());
    let (recovered, records) = recover_all(&disk);
    assert_eq!(records.iter().map(|record| record.kind).take(3).collect::<Vec<_>>(), [1, 2, 5]);
    let [finding] = &recovered.findings[..] else { panic!("{:?}", recovered.findings) };
    assert_eq!((finding.kind, finding.first_batch, finding.last_batch), (FindingKind::Missing, 3, 3));
}

#[test]
fn a_file_that_is_missing_is_missed_beside_a_skipped_id_and_behind_damage_i12() {
    for damage in [false, true] {
        let (disk, ends) = with_a_skipped_id();
        if damage {
            disk.damage(FIRST, ends[1]..ends[2], 0xFF);
        }
        unlink(&disk, 3).unwrap();
        let error = recover(&disk, &mut |_| ()).unwrap_err();
        let LogError::Missing { first: 4, behind: 4, .. } = error else { panic!("{damage}: {error:?}") };
    }
}

#[test]
fn a_format_file_that_cannot_be_understood_is_refused_and_left_alone() {
    for text in ["", "pyrouter log, for", "pyrouter log, format 2, salt 1a2b\n", "garbage"] {
        let disk = damaged_before_a_torn_end(1, 3);
        disk.put("FORMAT", text.as_bytes().to_vec());
        let before = disk.contents(FIRST);
        let error = recover(&disk, &mut |_| ()).expect_err(text);
        assert!(error.to_string().contains("FORMAT"), "{error}");
        assert!(fsck(&disk, &mut |_| ()).is_err());
        assert!(disk.contents(FIRST) == before);
        assert_eq!(disk.contents("FORMAT").unwrap(), text.as_bytes());
    }
}
