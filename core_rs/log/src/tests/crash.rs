//! I1, I10: a log on a hostile disk, killed again and again at any call, also while it recovers; held to a plain model.
//!
//! The failure that each run would show: a batch that was on disk is gone, or came back in part or out of order; one that was
//! reported durable is gone, and the facts of the start do not show that it may be; one that was never whole came back; one
//! came back after it had been cut; sound bytes were called damaged; fsck and recovery disagreed; something was accepted
//! after a failed write.

use super::sim::{Call, Rng, SimDisk};
use super::*;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};

/// What must be in the log, and what may be.
#[derive(Default)]
struct Model {
    /// Records that must come back, in order.
    sure: Vec<Kept>,
    /// Batches that were submitted after them, in one run: a whole number of these may come back.
    unsure: Vec<(u64, Vec<Kept>)>,
    /// The last of them that was reported durable: it comes back unless the power went.
    told: u64,
    /// The power went since the last start that came to its end.
    power: bool,
    /// Batches that were reported durable are gone, and no later run has a batch on disk.
    lost: bool,
    /// The last run that wrote a batch was closed.
    closed: bool,
    /// Segments whose removal has begun; each is there as it was, or not at all.
    going: BTreeSet<u32>,
}

impl Model {
    /// Holds what came back to the model; from then on it is what must come back.
    fn check(&mut self, records: Vec<Kept>, end: End, context: &str) {
        let back: BTreeSet<u32> = records.iter().map(|record| record.at.segment).collect();
        let gone: Vec<u32> = self.going.iter().copied().filter(|segment| !back.contains(segment)).collect();
        self.forget(&gone);
        assert!(records.starts_with(&self.sure), "{context}: a durable batch is gone, damaged or out of order");
        let mut rest = &records[self.sure.len()..];
        for (number, batch) in &self.unsure {
            if rest.is_empty() {
                assert!(self.power || *number > self.told, "{context}: a kill has cost batch {number}");
                self.lost |= *number <= self.told;
                continue;
            }
            assert!(rest.starts_with(batch), "{context}: batch {number} came back in part");
            rest = &rest[batch.len()..];
            self.lost = false;
        }
        assert!(rest.is_empty(), "{context}: {} records that were never written", rest.len());
        assert!(
            !self.lost || (end.unsynced && !end.same_boot && !end.clean),
            "{context}: a loss does not show, {end:?}"
        );
        assert!(!self.closed || (end.clean && !end.unsynced), "{context}: a clean end does not show, {end:?}");
        self.sure = records;
        self.unsure.clear();
        (self.told, self.power) = (0, false);
    }

    fn forget(&mut self, segments: &[u32]) {
        self.sure.retain(|record| !segments.contains(&record.at.segment));
    }

    fn submitted(&mut self, number: u64, records: Vec<Kept>) {
        self.unsure.push((number, records));
        self.closed = false;
    }

    /// What the writer reports.
    fn reported(&mut self, durable: u64, synced: u64) {
        self.told = durable;
        while let Some((_, records)) = self.unsure.first().filter(|(number, _)| *number <= synced).cloned() {
            self.sure.extend(records);
            self.unsure.remove(0);
            self.lost = false;
        }
    }
}

fn options(rng: &mut Rng) -> LogOptions {
    LogOptions {
        segment_bytes: [4096, 6000, 20_000][rng.below(3)],
        batch_bytes: [200, 1000, 100_000][rng.below(3)],
        durability: [Durability::Fsync, Durability::Fsync, Durability::Interval(1), Durability::None][rng.below(4)],
        ..LogOptions::default()
    }
}

/// Recovers, holding fsck and recovery to the model. `None` if the machine died in between.
fn restart(disk: &SimDisk, model: &mut Model, rng: &mut Rng, context: &str) -> Option<Recovered> {
    if rng.once_in(3) {
        disk.reopen()
    } else {
        disk.restart();
        model.power = true;
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
    assert_eq!((&report.findings, report.end), (&recovered.findings, recovered.end), "{context}");
    model.check(records, recovered.end, context);
    let mut recovered = recovered;
    if rng.once_in(3) {
        disk.set_capacity(disk.used() + rng.below(6000) as u64);
    }
    match make_room(disk, &mut recovered, &options(rng)) {
        Ok(()) => {}
        Err(error) => assert!(disk.is_crashed() || error.is_full(), "{context}: {error}"),
    }
    disk.set_capacity(u64::MAX);
    if rng.once_in(4) {
        recovered.jump_above(recovered.last_batch + rng.below(5) as u64);
    }
    (!disk.is_crashed()).then_some(recovered)
}

/// One life of the machine: appends, writes, removals, until it dies or ends, perhaps closed.
fn live(
    disk: &SimDisk,
    recovered: &Recovered,
    options: &LogOptions,
    model: &mut Model,
    rng: &mut Rng,
    context: &str,
) -> Result<(), LogError> {
    let mut appender = Appender::new(recovered, options);
    let mut writer = Writer::open(disk.clone(), recovered, options)?;
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
            model.submitted(batch[0].0, batch.iter().map(|(_, record)| record.clone()).collect());
        }
        let mut batches = appender.take(time);
        match writer.write(&mut batches) {
            Ok(durable) => model.reported(durable, writer.synced()),
            Err(error) => {
                assert!(!matches!(error, LogError::Misused(_)), "{context}: {error}");
                assert!(matches!(writer.write(&mut []), Err(LogError::Refused { .. })), "{context}: I10");
                assert!(matches!(writer.sync(), Err(LogError::Refused { .. })), "{context}: I10");
                return Err(error);
            }
        }
        if rng.once_in(5) {
            model.reported(writer.sync()?, writer.synced());
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
                model.submitted(number, vec![Kept { kind: 1, body: b"trim".to_vec(), at, time_ms: time }]);
                writer.write(&mut appender.take(time))?;
                model.reported(writer.sync()?, writer.synced());
                model.going.insert(segment);
                unlink(disk, segment)?;
                model.going.remove(&segment);
                model.forget(&[segment]);
            }
        }
    }
    if rng.once_in(2) {
        writer.close(time)?;
        model.closed |= appender.last_batch() >= recovered.next_batch;
    }
    Ok(())
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
        let _ = live(&disk, &recovered, &options(&mut rng), &mut model, &mut rng, &context);
        disk.crash();
    }
}

#[test]
fn i1_i10_whatever_the_crash_durable_batches_come_back_whole_and_in_order_or_their_loss_shows() {
    // PYROUTER_SEEDS=100000 for a long run; a seed that fails is named.
    let seeds = std::env::var("PYROUTER_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    for seed in 0..seeds {
        run(seed);
    }
}

/// Two lives: the second one begins with what the first one left after a power cut, jumps, and closes. Returns whether it
/// came to its end before the call at which the machine dies.
fn two_lives(durability: Durability, call: u64, seed: u64) -> bool {
    let context = format!("{durability:?}, call {call}, seed {seed}");
    let options = LogOptions { durability, ..small() };
    let disk = SimDisk::new(seed);
    let mut model = Model::default();
    let (recovered, _) = recover_all(&disk);
    // A life of some segments, without a close; and a short one with a close.
    live(&disk, &recovered, &options, &mut model, &mut Rng::new(LONG), &context).unwrap();
    assert!(!model.closed && !model.sure.is_empty());
    disk.crash();
    disk.restart();
    model.power = true;
    disk.crash_in(call);
    let mut records = Vec::new();
    let mut ended = recover(&disk, &mut |record| records.push(kept(record))).and_then(|mut recovered| {
        model.check(records, recovered.end, &context);
        recovered.jump_above(recovered.last_batch + 1000);
        make_room(&disk, &mut recovered, &options)?;
        live(&disk, &recovered, &options, &mut model, &mut Rng::new(SHORT), &context)
    });
    let completed = !disk.is_crashed();
    assert!(!completed || (ended.is_ok() && model.closed), "{context}");
    for again in 0..2 {
        disk.crash();
        disk.restart();
        model.power = true;
        let mut records = Vec::new();
        let recovered = recover(&disk, &mut |record| records.push(kept(record))).unwrap();
        assert!(recovered.findings.iter().all(|finding| finding.kind == FindingKind::TornEnd), "{context}");
        model.check(records, recovered.end, &format!("{context}, recovery {again}, {ended:?}"));
        ended = Ok(());
    }
    completed
}

/// Seeds of [`live`]: what these lives must be is asserted.
const LONG: u64 = 18;
const SHORT: u64 = 7;

#[test]
fn a_power_cut_at_each_call_of_a_start_a_jump_and_a_close_loses_nothing_or_shows() {
    for durability in [Durability::Fsync, Durability::Interval(1), Durability::None] {
        // What a power cut leaves is drawn by the seed.
        let completed = |call: &u64| (0..4).all(|seed| two_lives(durability, *call, 1000 * seed + call));
        let calls = (1..).find(completed).unwrap();
        assert!(calls > 60, "{calls}");
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
