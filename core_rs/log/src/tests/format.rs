//! The bytes of format 3, which every later version must read: tests/fixtures/log-v3, drawn in docs/log.md.
//!
//! `PYROUTER_WRITE_FIXTURES=1 cargo test -p pyrouter-log format` writes the files again; a change in them is a change
//! of the format, and needs a new one.

use super::sim::SimDisk;
use super::*;

/// What the fixture holds: kind, body and time. A torn batch follows the last one.
fn contents() -> Vec<(u8, Vec<u8>, u64)> {
    vec![
        (1, b"first".to_vec(), 1_700_000_000_000),
        (2, vec![], 1_700_000_000_000),
        (255, (0..=255).collect(), 1_700_000_000_250),
        (3, "zwölf Boxkämpfer".as_bytes().to_vec(), 1_700_000_001_000),
        (1, vec![b'x'; 700], 1_700_000_001_000),
        (4, b"after a restart".to_vec(), 1_700_000_002_000),
        (5, vec![0; 64], 1_700_000_003_000),
    ]
}

/// Writes the fixture onto a simulated disk, as this version would.
fn written() -> SimDisk {
    let disk = SimDisk::new(0);
    let options = LogOptions { segment_bytes: 4096, ..LogOptions::default() };
    let id = *b"\x1a\x2b\x3c\x4d random byte";
    identity::write(&disk, identity::Identity { id, boot: 1, batch: 0, segment: 0 }).unwrap();
    let contents = contents();
    let (before, after) = contents.split_at(5);
    for (run, part) in [before, after].into_iter().enumerate() {
        let (mut recovered, _) = recover_all(&disk);
        if run == 1 {
            // The second run reports batches before they are on disk, and its numbers go on above what a store says.
            recovered.jump_above(10);
        }
        let options = LogOptions { durability: [Durability::Fsync, Durability::None][run], ..options.clone() };
        let mut appender = Appender::new(&recovered, &options);
        let mut writer = Writer::open(disk.clone(), &recovered, &options).unwrap();
        for batch in part.chunk_by(|a, b| a.2 == b.2) {
            for (kind, body, _) in batch {
                one(&mut appender, *kind, &[body], true);
            }
            writer.write(&mut appender.take(batch[0].2)).unwrap();
        }
        if run == 0 {
            writer.close(1_700_000_001_500).unwrap();
        } else {
            one(&mut appender, 6, &[b"never confirmed"], true);
            writer.write(&mut appender.take(1_700_000_004_000)).unwrap();
        }
    }
    // The last batch has lost its last sector.
    let mut last = disk.contents("000000000002.seg").unwrap();
    let end = last.iter().rposition(|byte| *byte != 0).unwrap();
    last.truncate(1024);
    last[end - 4..].fill(0);
    disk.put("000000000002.seg", last);
    disk
}

const FILES: [&str; 3] = ["FORMAT", "000000000001.seg", "000000000002.seg"];

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/log-v3")
}

#[test]
fn this_version_writes_the_bytes_of_the_fixture() {
    let disk = written();
    for name in FILES {
        let bytes = disk.contents(name).unwrap();
        if std::env::var_os("PYROUTER_WRITE_FIXTURES").is_some() {
            std::fs::create_dir_all(fixture()).unwrap();
            std::fs::write(fixture().join(name), &bytes).unwrap();
        }
        assert!(std::fs::read(fixture().join(name)).unwrap() == bytes, "{name} differs: the format has changed");
    }
}

#[test]
fn the_fixture_of_format_3_is_read() {
    let disk = FileDisk::open_read_only(&fixture()).unwrap();
    let mut seen = Vec::new();
    let report = fsck(&disk, &mut |record| seen.push((record.kind, record.body.to_vec(), record.time_ms))).unwrap();
    assert!(seen == contents());
    assert_eq!((report.batches, report.last_batch), (6, 12));
    assert_eq!(report.end, End { unsynced: true, ..End::default() });
    let [torn] = &report.findings[..] else { panic!("{:?}", report.findings) };
    assert_eq!((torn.kind, torn.segment, torn.first_batch), (FindingKind::TornEnd, 2, 13));
}
