//! The log's half in memory, and reading it back from a warm page cache.

use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::path::Path;

use _core::log::{Appender, FileDisk, LogOptions, Recovered, Ref, Writer, recover};

use crate::measure::Bench;

const RECORDS: usize = 256;
/// A message of 160 B as it is stored.
const RECORD: [u8; 220] = [0x77; 220];
const KIND: u8 = 1;

pub fn cases(bench: &mut Bench) {
    append(bench);
    read_back(bench);
}

fn append(bench: &mut Bench) {
    let mut appender = Appender::new(&Recovered::default(), &LogOptions::default());
    let mut copy = Vec::new();
    let copying = || {
        copy.clear();
        for _ in 0..RECORDS {
            copy.extend_from_slice(black_box(&RECORD));
            copy.extend_from_slice(&crc32fast::hash(&RECORD).to_le_bytes());
        }
        assert_eq!(copy.len(), RECORDS * (RECORD.len() + 4));
    };
    bench.compare("append a record of 220 B", RECORDS as u32, ("copying it and its CRC-32", copying), || {
        for _ in 0..RECORDS {
            let mut at = Ref::default();
            black_box(appender.append(&[(KIND, &[black_box(&RECORD)])], true, |place| at = place).unwrap());
            black_box(at);
        }
        let batches = appender.take(0);
        assert!(batches.iter().map(|batch| batch.bytes.len()).sum::<usize>() >= RECORDS * RECORD.len());
        for batch in batches {
            appender.recycle(batch.bytes);
        }
    });
}

fn read_back(bench: &mut Bench) {
    const NAME: &str = "read back a record of 220 B";
    const COUNT: usize = 250_000;
    if !bench.wants(NAME) {
        return;
    }
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-log-{}", std::process::id()));
    write(&directory, COUNT);
    let disk = FileDisk::open(&directory).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let reading = || {
        let mut total = 0;
        for entry in std::fs::read_dir(&directory).unwrap() {
            let mut file = File::open(entry.unwrap().path()).unwrap();
            loop {
                match file.read(&mut buffer).unwrap() {
                    0 => break,
                    n => total += n,
                }
            }
        }
        assert!(total >= COUNT * RECORD.len());
    };
    bench.compare(NAME, COUNT as u32, ("reading the same files", reading), || {
        let (mut count, mut bytes) = (0, 0);
        recover(&disk, &mut |record| {
            count += 1;
            bytes += record.body.len();
        })
        .unwrap();
        assert_eq!((count, bytes), (COUNT, COUNT * RECORD.len()));
    });
    drop(disk);
    std::fs::remove_dir_all(&directory).unwrap();
}

fn write(directory: &Path, count: usize) {
    let options = LogOptions::default();
    let disk = FileDisk::open(directory).unwrap();
    let recovered = recover(&disk, &mut |_| {}).unwrap();
    let mut appender = Appender::new(&recovered, &options);
    let mut writer = Writer::open(disk, &recovered, &options).unwrap();
    for _ in 0..count {
        appender.append(&[(KIND, &[&RECORD])], true, |_| ()).unwrap();
    }
    writer.write(&mut appender.take(0)).unwrap();
    writer.close(0).unwrap();
}
