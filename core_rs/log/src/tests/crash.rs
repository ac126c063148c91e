//! I1, I10: a log on a hostile disk, killed again and again at any call, also while it recovers; held to a plain model.
//!
//! The failure that each run would show: a batch that was reported durable is gone, or came back in part or out of order;
//! one that was never whole came back; one came back after it had been cut; sound bytes were called damaged; fsck and
//! recovery disagreed; something was accepted after a failed write.

use super::sim::{Call, Rng, SimDisk};
use super::*;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};

/// What must be in the log, and what may be.
#[derive(Default)]
struct Model {
    /// Records that must come back, in order.
    sure: Vec<Kept>,
    /// Batches that were submitted after them: a whole number of these may come back.
    unsure: Vec<(u64, Vec<Kept>)>,
    /// Segments whose removal has begun; each is there as it was, or not at all.
    going: BTreeSet<u32>,
}

impl Model {
    /// Holds what came back to the model; from then on it is what must come back.
    fn check(&mut self, records: Vec<Kept>, context: &str) {
        let back: BTreeSet<u32> = records.iter().map(|record| record.at.segment).collect();
        let gone: Vec<u32> = self.going.iter().copied().filter(|segment| !back.contains(segment)).collect();
        self.forget(&gone);
        assert!(records.starts_with(&self.sure), "{context}: a durable batch is gone, damaged or out of order");
        let mut rest = &records[self.sure.len()..];
        for (number, batch) in &self.unsure {
            if rest.is_empty() {
                break;
            }
            assert!(rest.starts_with(batch), "{context}: batch {number} came back in part");
            rest = &rest[batch.len()..];
        }
        assert!(rest.is_empty(), "{context}: {} records that were never written", rest.len());
        self.sure = records;
        self.unsure.clear();
    }

    fn forget(&mut self, segments: &[u32]) {
        self.sure.retain(|record| !segments.contains(&record.at.segment));
    }

    fn durable(&mut self, batch: u64) {
        while let Some((_, records)) = self.unsure.first().filter(|(number, _)| *number <= batch).cloned() {
            self.sure.extend(records);
            self.unsure.remove(0);
        }
    }
}

fn options(rng: &mut Rng) -> LogOptions {
    LogOptions {
        segment_bytes: [4096, 6000, 20_000][rng.below(3)],
        batch_bytes: [200, 1000, 100_000][rng.below(3)],
        ..LogOptions::default()
    }
}

/// Recovers, holding fsck and recovery to the model. `None` if the machine died in between.
fn restart(disk: &SimDisk, model: &mut Model, rng: &mut Rng, context: &str) -> Option<Recovered> {
    if rng.once_in(3) {
        disk.reopen()
    } else {
        disk.restart()
    }
    let mut seen = Vec::new();
    let report = fsck(disk, &mut |record| seen.push(kept(record))).unwrap();
    if rng.once_in(3) {
        disk.crash_in(1 + rng.below(60) as u64);
    }
    if rng.once_in(3) {
        let (call, errno) = [(Call::Open, Errno::MFILE), (Call::Read, Errno::IO)][rng.below(2)];
        disk.fail(call, 1 + rng.below(8) as u64, errno.raw_os_error());
    }
    let mut records = Vec::new();
    let mut recovered = recover(disk, &mut |record| records.push(kept(record)));
    if matches!(recovered, Err(LogError::Io { errno, .. }) if errno != 0) && !disk.is_crashed() {
        // The next start finds what was there.
        records.clear();
        recovered = recover(disk, &mut |record| records.push(kept(record)));
    }
    let recovered = match recovered {
        Ok(recovered) => recovered,
        Err(error) => {
            assert!(disk.is_crashed(), "{context}: {error}");
            return None;
        }
    };
    assert!(report.is_sound(), "{context}: {:?}", report.findings);
    assert!(seen == records, "{context}: fsck and recovery disagree");
    assert_eq!(report.findings, recovered.findings, "{context}");
    model.check(records, context);
    let mut recovered = recovered;
    if rng.once_in(3) {
        disk.set_capacity(disk.used() + rng.below(6000) as u64);
    }
    match make_room(disk, &mut recovered, &options(rng)) {
        Ok(()) => {}
        Err(error) => assert!(disk.is_crashed() || error.is_full(), "{context}: {error}"),
    }
    disk.set_capacity(u64::MAX);
    (!disk.is_crashed()).then_some(recovered)
}

/// One life of the machine: appends, writes, removals, until it dies or closes.
fn live(
    disk: &SimDisk,
    recovered: &Recovered,
    model: &mut Model,
    rng: &mut Rng,
    context: &str,
) -> Result<(), LogError> {
    let options = options(rng);
    let mut appender = Appender::new(recovered, &options);
    let mut writer = Writer::open(disk.clone(), recovered, &options)?;
    writer.reserve();
    let mut time = recovered.last_time_ms;
    let mut begins: BTreeMap<u32, u64> = recovered.segments.iter().map(|info| (info.id, info.first_batch)).collect();
    for _ in 0..rng.below(40) {
        let mut open: Vec<(u64, Kept)> = Vec::new();
        time += rng.below(3) as u64;
        for _ in 0..1 + rng.below(6) {
            let decision: Vec<(u8, Vec<u8>)> = (0..1 + rng.below(3))
                .map(|_| (rng.next() as u8, (0..rng.below(400)).map(|_| rng.next() as u8).collect()))
                .collect();
            let (places, batch) = decide(&mut appender, &decision, !rng.once_in(3))?;
            for ((kind, body), at) in decision.into_iter().zip(places) {
                begins.entry(at.segment).or_insert(batch);
                open.push((batch, Kept { kind, body, at, time_ms: time }));
            }
        }
        for batch in open.chunk_by(|a, b| a.0 == b.0) {
            model.unsure.push((batch[0].0, batch.iter().map(|(_, record)| record.clone()).collect()));
        }
        let mut batches = appender.take(time);
        match writer.write(&mut batches) {
            Ok(durable) => model.durable(durable),
            Err(error) => {
                assert!(!matches!(error, LogError::Misused(_)), "{context}: {error}");
                assert!(matches!(writer.write(&mut []), Err(LogError::Refused { .. })), "{context}: I10");
                assert!(matches!(writer.sync(), Err(LogError::Refused { .. })), "{context}: I10");
                return Err(error);
            }
        }
        if rng.once_in(5) {
            model.durable(writer.sync()?);
        }
        if rng.once_in(3) {
            writer.reserve();
        }
        if rng.once_in(6) {
            let sealed: BTreeSet<u32> = model.sure.iter().map(|record| record.at.segment).collect();
            if let Some(segment) = sealed.iter().copied().find(|segment| *segment < appender.segment()) {
                // A batch says what is trimmed before it is.
                appender.keep_from(begins.range(segment + 1..).next().map_or(1, |(_, batch)| *batch));
                let (at, number) = try_one(&mut appender, 1, &[b"trim"], true)?;
                begins.entry(at.segment).or_insert(number);
                model.unsure.push((number, vec![Kept { kind: 1, body: b"trim".to_vec(), at, time_ms: time }]));
                writer.write(&mut appender.take(time))?;
                model.durable(writer.sync()?);
                model.going.insert(segment);
                unlink(disk, segment)?;
                model.going.remove(&segment);
                model.forget(&[segment]);
            }
        }
    }
    if rng.once_in(2) { writer.close(time) } else { Ok(()) }
}

fn run(seed: u64) {
    let mut rng = Rng::new(seed);
    let disk = SimDisk::new(rng.next());
    disk.be_hostile();
    let mut model = Model::default();
    for life in 0..12 {
        let context = format!("seed {seed}, life {life}");
        disk.set_capacity(u64::MAX);
        let Some(recovered) = restart(&disk, &mut model, &mut rng, &context) else { continue };
        match rng.below(5) {
            0 => {}
            1 => disk.fail(Call::Sync, 1 + rng.below(20) as u64, Errno::IO.raw_os_error()),
            2 => disk.fail(Call::Write, 1 + rng.below(20) as u64, Errno::IO.raw_os_error()),
            3 => disk.set_capacity(disk.used() + rng.below(60_000) as u64),
            _ => disk.crash_in(1 + rng.below(300) as u64),
        }
        let _ = live(&disk, &recovered, &mut model, &mut rng, &context);
        disk.crash();
    }
}

#[test]
fn i1_i10_whatever_the_crash_durable_batches_come_back_whole_and_in_order() {
    // PYROUTER_SEEDS=100000 for a long run; a seed that fails is named.
    let seeds = std::env::var("PYROUTER_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    for seed in 0..seeds {
        run(seed);
    }
}

#[test]
fn a_crash_at_each_call_of_one_run_loses_nothing() {
    for n in 1..400 {
        let mut rng = Rng::new(7);
        let disk = SimDisk::new(n);
        let mut model = Model::default();
        let recovered = restart(&disk, &mut model, &mut Rng::new(1), "start").unwrap_or_default();
        disk.crash_in(n);
        let ended = live(&disk, &recovered, &mut model, &mut rng, &format!("call {n}"));
        disk.crash();
        for again in 0..2 {
            disk.restart();
            let mut records = Vec::new();
            recover(&disk, &mut |record| records.push(kept(record))).unwrap();
            model.check(records, &format!("call {n}, recovery {again}, {ended:?}"));
            disk.crash();
        }
    }
}

#[test]
fn i10_a_failed_sync_is_final_though_the_next_one_would_succeed() {
    let disk = SimDisk::new(1);
    let (recovered, _) = recover_all(&disk);
    let mut appender = Appender::new(&recovered, &small());
    let mut writer = Writer::open(disk.clone(), &recovered, &small()).unwrap();
    assert!(writer.reserve());
    disk.fail(Call::Sync, 1, Errno::IO.raw_os_error());
    one(&mut appender, 1, &[b"lost"], true);
    assert!(matches!(writer.write(&mut appender.take(1)), Err(LogError::Io { doing: "sync", .. })));
    one(&mut appender, 1, &[b"never written"], true);
    let Err(LogError::Refused { because }) = writer.write(&mut appender.take(1)) else { panic!() };
    assert!(because.contains("sync"));
    disk.crash();
    disk.restart();
    assert!(recover_all(&disk).1.len() <= 1);
}

/// Fills the disk but for what is in use, and starts; the room that is left, and how many bytes a segment holds.
fn start_on_a_full_disk(disk: &SimDisk) -> Result<(Recovered, usize), LogError> {
    let (mut recovered, _) = recover_all(disk);
    make_room(disk, &mut recovered, &small())?;
    let mut appender = Appender::new(&recovered, &small());
    let mut writer = Writer::open(disk.clone(), &recovered, &small())?;
    try_one(&mut appender, 9, &[b"a start"], true)?;
    writer.write(&mut appender.take(1))?;
    Ok((recovered, appender.room() as usize))
}

#[test]
fn a_start_on_a_full_disk_without_reserves_goes_on_in_the_last_segment() {
    let disk = SimDisk::new(1);
    let (recovered, _) = recover_all(&disk);
    let mut appender = Appender::new(&recovered, &small());
    let mut writer = Writer::open(disk.clone(), &recovered, &small()).unwrap();
    one(&mut appender, 1, &[&[1; 500]], true);
    writer.write(&mut appender.take(1)).unwrap();
    drop(writer);
    disk.set_capacity(disk.used());
    let mut room = usize::MAX;
    // Each start and each clean end leaves what is not used to the next one.
    for start in 0..5 {
        disk.crash();
        disk.restart();
        let (recovered, left) = start_on_a_full_disk(&disk).unwrap();
        assert_eq!((recovered.next_segment, recovered.segments.len()), (1, 1), "start {start}");
        assert!(left < room && left > 2000, "start {start}: {left} bytes");
        room = left;
    }
    let (mut recovered, records) = recover_all(&disk);
    assert_eq!(records.len(), 6);
    // Without a byte to spare it is said, and nothing is changed.
    let before = disk.contents("000000000001.seg");
    disk.set_capacity(disk.used());
    let error = make_room(&disk, &mut recovered, &small()).unwrap_err();
    assert!(error.is_full() && disk.contents("000000000001.seg") == before, "{error}");
}

#[test]
fn a_clean_end_on_a_full_disk_keeps_room_for_the_next_start() {
    let disk = SimDisk::new(1);
    let (recovered, _) = recover_all(&disk);
    let mut appender = Appender::new(&recovered, &small());
    let mut writer = Writer::open(disk.clone(), &recovered, &small()).unwrap();
    one(&mut appender, 1, &[&[1; 500]], true);
    writer.write(&mut appender.take(1)).unwrap();
    disk.set_capacity(disk.used());
    assert!(!writer.reserve());
    writer.close(1).unwrap();
    assert_eq!(disk.contents("000000000001.seg").unwrap().len(), 4096);
    assert_eq!(start_on_a_full_disk(&disk).unwrap().0.next_segment, 1);
}

#[test]
fn a_full_disk_is_known_before_the_segment_is_full_and_room_is_kept_for_two_more() {
    let disk = SimDisk::new(1);
    let (recovered, _) = recover_all(&disk);
    let mut appender = Appender::new(&recovered, &small());
    let mut writer = Writer::open(disk.clone(), &recovered, &small()).unwrap();
    disk.set_capacity(4 * 4096 + 400);
    assert!(writer.reserve());
    let mut fill = |writer: &mut Writer<SimDisk>| {
        let segment = appender.segment();
        while appender.segment() == segment {
            one(&mut appender, 1, &[&[1; 500]], true);
            writer.write(&mut appender.take(1)).unwrap();
        }
    };
    fill(&mut writer);
    assert!(writer.reserve(), "the second segment is open, two are in reserve");
    fill(&mut writer);
    assert!(!writer.reserve(), "three are full, or nearly, and only one is left: sends are to be refused");
    fill(&mut writer);
    unlink(&disk, 1).unwrap();
    unlink(&disk, 2).unwrap();
    assert!(writer.reserve());
    fill(&mut writer);
}
