//! A decision: its records stand in one batch, or none of them is taken.

use super::super::format::{BATCH_HEADER, RECORD_HEADER};
use super::sim::{Rng, SimDisk, records};
use super::*;

/// Some records, up to about `bytes` of bodies.
fn decision(rng: &mut Rng, bytes: usize) -> Vec<(u8, Vec<u8>)> {
    let count = 1 + rng.below(5);
    (0..count).map(|n| (n as u8, vec![rng.next() as u8; rng.below(bytes / count)])).collect()
}

#[test]
fn a_decision_stands_in_one_batch_wherever_batches_and_segments_end() {
    for seed in 0..200 {
        let mut rng = Rng::new(seed);
        let disk = SimDisk::new(seed);
        let (recovered, _) = recover_all(&disk);
        let mut appender = Appender::new(&recovered, &small());
        let mut writer = Writer::open(disk.clone(), &recovered, &small()).unwrap();
        let mut expected = Vec::new();
        for time_ms in 0..12 {
            let mut taken = Vec::new();
            for _ in 0..rng.below(6) {
                let decision = decision(&mut rng, [40, 900, 3900][seed as usize % 3]);
                let (places, batch) = decide(&mut appender, &decision, true).unwrap();
                assert_eq!(places.len(), decision.len());
                assert_eq!(appender.last_batch(), batch);
                taken.push((batch, decision.clone()));
                let kept = |((kind, body), at)| Kept { kind, body, at, time_ms };
                expected.extend(decision.into_iter().zip(places).map(kept));
            }
            let mut batches = appender.take(time_ms);
            for batch in &batches {
                let here: Vec<(u8, Vec<u8>)> =
                    taken.iter().filter(|(number, _)| *number == batch.number).flat_map(|(_, d)| d.clone()).collect();
                let written: Vec<(u8, Vec<u8>)> =
                    records(batch).into_iter().map(|(kind, body)| (kind, body.to_vec())).collect();
                assert!(here == written, "seed {seed}: batch {} has a part of a decision", batch.number);
                assert!(batch.end() <= 4096, "seed {seed}");
            }
            writer.write(&mut batches).unwrap();
        }
        drop(writer);
        assert!(recover_all(&disk).1 == expected, "seed {seed}: a place is wrong");
    }
}

#[test]
fn a_decision_that_is_too_large_changes_nothing_whichever_record_is_to_blame() {
    let mut appender = Appender::new(&Recovered::default(), &LogOptions { batch_bytes: 200, ..small() });
    let most = appender.max_decision();
    one(&mut appender, 1, &[b"open"], true);
    let before = format!("{appender:?}");
    let half = vec![0; most / 2 - RECORD_HEADER + 1];
    for (decision, expected) in [
        (vec![(1, half.clone()), (2, half)], LogError::DecisionTooLarge { len: most / 2 * 2 + 2, max: most }),
        (
            vec![(1, vec![1]), (2, vec![0; most]), (3, vec![3])],
            LogError::RecordTooLarge { len: most, max: most - RECORD_HEADER },
        ),
    ] {
        assert_eq!(decide(&mut appender, &decision, true).unwrap_err(), expected);
        assert_eq!(format!("{appender:?}"), before);
    }
    // What just fits is taken, in a batch and a segment of its own.
    let just = [(1, vec![0; 10]), (2, vec![0; most - 2 * RECORD_HEADER - 10])];
    let (places, batch) = decide(&mut appender, &just, false).unwrap();
    assert_eq!((places[0].segment, places[0].offset as usize, batch), (2, BATCH_HEADER + RECORD_HEADER, 2));
    let batches = appender.take(1);
    assert_eq!(batches.iter().map(|batch| batch.sync).collect::<Vec<_>>(), [true, false]);
}

#[test]
fn a_decision_without_records_stands_where_the_last_one_does() {
    let mut appender = Appender::new(&Recovered::default(), &small());
    assert_eq!(decide(&mut appender, &[], true).unwrap(), (vec![], 0));
    assert_eq!((appender.pending_bytes(), appender.pending_sync()), (0, false));
    one(&mut appender, 1, &[b"one"], false);
    assert_eq!(decide(&mut appender, &[], true).unwrap(), (vec![], 1));
}
