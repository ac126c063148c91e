//! How fast the log appends, and how fast it is read back beside `dd` reading the same files.
//!
//! `cargo run --release --example log_speed -- [MiB] [body bytes] [directory]`; 256 MiB of 1,024-byte bodies by default.
//! Each reading begins with nothing of the files in memory. The records that come back are counted and summed up.

use log::{Appender, FileDisk, LogOptions, Writer, fsck, recover};
use rustix::fs::{Advice, fadvise};
use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Records to a turn of the loop, between two takes.
const TURN: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mib: usize = arguments.next().map_or(Ok(256), |text| text.parse())?;
    let body: usize = arguments.next().map_or(Ok(1024), |text| text.parse())?;
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = parent.join(format!("pyrouter-log-speed-{}", std::process::id()));
    let measured = measure(&directory, (mib << 20) / (body + 8), body);
    std::fs::remove_dir_all(&directory)?;
    measured
}

fn measure(directory: &Path, records: usize, body: usize) -> Result<(), Box<dyn Error>> {
    let sum = fill(directory, records, body)?;
    let mut best = [Duration::MAX; 3];
    for _ in 0..3 {
        best[0] = best[0].min(read_by_dd(directory)?);
        evict(directory)?;
        let disk = FileDisk::open_read_only(directory)?;
        let start = Instant::now();
        let mut seen = (0, 0);
        fsck(&disk, &mut |record| seen = (seen.0 + 1, sum_up(seen.1, record.body)))?;
        best[1] = best[1].min(start.elapsed());
        assert_eq!(seen, (records, sum), "what was read is not what was written");
    }
    evict(directory)?;
    let disk = FileDisk::open(directory)?;
    let start = Instant::now();
    let mut seen = 0;
    recover(&disk, &mut |_| seen += 1)?;
    best[2] = start.elapsed();
    assert_eq!(seen, records);
    let [dd, read, recovered] = best.map(|time| time.as_secs_f64());
    println!("dd, cold:                {dd:.3} s");
    println!("walk, cold:              {read:.3} s  {:.2} x dd", read / dd);
    println!("recover (with its syncs) {recovered:.3} s  {:.2} x dd", recovered / dd);
    Ok(())
}

/// Fills the log; returns the sum over its bodies.
fn fill(directory: &Path, records: usize, body: usize) -> Result<u64, Box<dyn Error>> {
    let options = LogOptions::default();
    let disk = FileDisk::open(directory)?;
    let recovered = recover(&disk, &mut |_| ())?;
    let mut appender = Appender::new(&recovered, &options);
    let mut writer = Writer::open(disk, &recovered, &options)?;
    let mut bytes = vec![b'x'; body];
    let (mut sum, mut appending, mut done) = (0, Duration::ZERO, 0);
    let start = Instant::now();
    while done < records {
        let turn = Instant::now();
        for n in done..records.min(done + TURN) {
            if let Some(place) = bytes.first_chunk_mut() {
                *place = (n as u64).to_le_bytes();
            }
            appender.append(&[(1, &[&bytes])], n % TURN == 0, |_| ())?;
            sum = sum_up(sum, &bytes);
        }
        appending += turn.elapsed();
        done = records.min(done + TURN);
        let mut batches = appender.take(1);
        writer.write(&mut batches)?;
        writer.reserve();
        batches.into_iter().for_each(|batch| appender.recycle(batch.bytes));
    }
    let written = start.elapsed();
    writer.close(1)?;
    println!("{records} records of {body} bytes, a sync for each {TURN}");
    println!("append:                  {:.0} ns a record", appending.as_secs_f64() * 1e9 / records as f64);
    println!("append, write, sync:     {:.0} MB/s", (records * body) as f64 / 1e6 / written.as_secs_f64());
    Ok(sum)
}

fn sum_up(sum: u64, body: &[u8]) -> u64 {
    sum.wrapping_mul(31).wrapping_add(body.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
}

fn segments(directory: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let paths: Result<Vec<PathBuf>, _> = std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(|error: std::io::Error| error)?;
    paths.retain(|path| path.extension().is_some_and(|end| end == "seg"));
    paths.sort();
    Ok(paths)
}

/// Drops the files from the kernel's memory.
fn evict(directory: &Path) -> Result<(), Box<dyn Error>> {
    for path in segments(directory)? {
        let file = File::open(path)?;
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

fn read_by_dd(directory: &Path) -> Result<Duration, Box<dyn Error>> {
    evict(directory)?;
    let start = Instant::now();
    for path in segments(directory)? {
        let from = format!("if={}", path.display());
        let done = Command::new("dd").args([&from, "of=/dev/null", "bs=1M"]).stderr(Stdio::null()).status()?;
        assert!(done.success());
    }
    Ok(start.elapsed())
}
