//! What rows at rest cost: a stream of 50,000 messages a second over a million conversations, beside a log that syncs.
//!
//! `cargo bench -p pyrouter-store --bench rest -- --dir DIRECTORY` needs 1 GB there, on a real disk, and about two minutes.
//! `--runs N`, `--seconds N` (of a run), `--rows N`, `--page BYTES`, `--wal MIB` change the defaults; `--rests N` lets no more
//! rows come to rest in a second, and `--only counted|uniform|zipf|read` is one part.
//!
//! Tables: what a row costs (measured; medians of runs that take turns, beside the log alone); what reading costs; what each
//! policy writes (counted, the same in each run of the program, and multiplied by what SQLite makes of a row). docs/adr/0008
//! says what follows from them.
//!
//! - `stream`: which rows are active.  `counted`: its policies.  `rest`, `log`: the threads.  `reads`: reading back.  `usage`: counting.

// A benchmark may stop at what cannot be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod counted;
mod log;
mod reads;
mod rest;
mod stream;
mod usage;

use log::{Log, Synced};
use rest::{Mode, Rested, Resting};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use store::SqliteOptions;
use stream::{Bound, Choice, IMAGE, MESSAGE, ROW, STORED, Stream, TURN};
use usage::{median, quantile};

const TURNS_A_SECOND: usize = 1000;
const WARM: usize = 90 * TURNS_A_SECOND;
/// The store is filled with batches of so many rows.
const FILL: usize = 20_000;
/// Segments of 64 MiB that the measured runs' log keeps.
const RETAINED: usize = 4;

struct Options {
    directory: PathBuf,
    rows: usize,
    runs: usize,
    seconds: u64,
    /// Most rows that come to rest in a second.
    rests: usize,
    only: Option<String>,
    sqlite: SqliteOptions,
}

impl Options {
    fn wants(&self, part: &str) -> bool {
        self.only.as_ref().is_none_or(|only| part.starts_with(only.as_str()))
    }
}

fn options() -> Options {
    let mut options = Options {
        directory: std::env::temp_dir(),
        rows: 1_000_000,
        runs: 3,
        seconds: 3,
        rests: usize::MAX,
        only: None,
        sqlite: SqliteOptions::default(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse::<usize>().ok()).expect("a number follows");
        match name.as_str() {
            "--bench" => {}
            "--dir" => options.directory = arguments.next().expect("a directory follows --dir").into(),
            "--only" => options.only = arguments.next(),
            "--rests" => options.rests = number(),
            "--rows" => options.rows = number(),
            "--runs" => options.runs = number(),
            "--seconds" => options.seconds = number() as u64,
            "--page" => options.sqlite.page_size = number() as u32,
            "--wal" => options.sqlite.wal_bytes = (number() << 20) as u64,
            other => panic!("unknown option {other}"),
        }
    }
    options.directory = options.directory.join(format!("pyrouter-rest-{}", std::process::id()));
    options
}

fn main() {
    let options = options();
    std::fs::create_dir_all(&options.directory).expect("the directory can be made");
    let zipf = Choice::zipf(options.rows, 0.99);
    println!(
        "{} conversations, {} messages a second of {MESSAGE} bytes in the log; image {IMAGE}, stored {STORED}, row {ROW}\n\
         page {}, write-ahead log {} MiB, {} runs of {} s\n",
        options.rows,
        TURN * TURNS_A_SECOND,
        options.sqlite.page_size,
        options.sqlite.wal_bytes >> 20,
        options.runs,
        options.seconds,
    );
    let choices = [("uniform", Choice::Uniform), ("zipf 0.99", zipf)];
    if options.only.as_deref() != Some("counted") {
        fill(&options);
    }
    // Each row is newer than the one that the store has.
    let mut position = 1;
    let mut amplification = f64::NAN;
    for (name, choice) in choices.iter().filter(|(name, _)| options.wants(name)) {
        amplification = measure(&options, name, choice, &mut position);
    }
    if options.wants("read") {
        read(&options);
    }
    if options.wants("counted") {
        counted::count(options.rows, &choices, amplification);
    }
    std::fs::remove_dir_all(&options.directory).expect("the directory can be removed");
}

/// Puts every row once, into today's table and into the store.
fn fill(options: &Options) {
    let mut numbers: Vec<u32> = (0..options.rows as u32).collect();
    numbers.sort_by_cached_key(|number| rest::id(*number));
    for mode in [Mode::Today, Mode::Store(FILL)] {
        let resting = Resting::start(&options.directory, mode, &options.sqlite);
        for numbers in numbers.chunks(FILL) {
            let mut rows = numbers.iter().map(|number| (*number, 1)).collect();
            while let Err(back) = resting.offer(rows) {
                rows = back;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let rested = resting.end();
        println!(
            "filled in key order, {}: {:.1} µs of CPU a row, {:.1} bytes on the device for each byte of rows",
            if mode == Mode::Today { "today's table" } else { "the store" },
            rested.cpu_us / rested.rows as f64,
            rested.amplification(),
        );
    }
    println!();
}

/// One mode's runs.
#[derive(Default)]
struct Runs {
    amplification: Vec<f64>,
    cpu_us: Vec<f64>,
    rows_a_second: Vec<f64>,
    longest_ms: Vec<f64>,
    p99: Vec<f64>,
    log_share: Vec<f64>,
    log_cpu: Vec<f64>,
    over: Vec<f64>,
}

/// Measures every mode. Device bytes for each byte of rows of the last one with single batches.
fn measure(options: &Options, name: &str, choice: &Choice, position: &mut u64) -> f64 {
    let bound = 100_000.min(options.rows / 10);
    let mut warm = Stream::new(options.rows, choice.clone(), Bound::Rows(bound), RETAINED, true);
    warm.run(WARM);
    let modes = match choice {
        Choice::Uniform => vec![
            Mode::Nowhere,
            Mode::Today,
            Mode::Store(500),
            Mode::Store(20_000),
            Mode::Sweep(5_000, 100_000),
            Mode::Store(5_000),
        ],
        // What a row costs hardly depends on which messages made it rest.
        Choice::Zipf { .. } => vec![Mode::Nowhere, Mode::Today, Mode::Store(5_000)],
    };
    let mut all: Vec<Runs> = modes.iter().map(|_| Runs::default()).collect();
    for _ in 0..options.runs {
        let mut alone = f64::NAN;
        for (mode, runs) in modes.iter().zip(&mut all) {
            let ran = run(options, warm.clone(), *mode, position);
            let p99 = quantile(ran.synced.syncs.clone(), 0.99);
            if *mode == Mode::Nowhere {
                alone = p99;
            }
            let rows = ran.rested.rows.max(1) as f64;
            runs.amplification.push(ran.rested.amplification());
            runs.cpu_us.push(ran.rested.cpu_us / rows);
            runs.rows_a_second.push(ran.within as f64 / ran.took.as_secs_f64());
            runs.longest_ms.push(ran.rested.longest_ms);
            runs.p99.push(p99 / alone);
            runs.log_share.push(ran.synced.device_bytes as f64 / ran.synced.bytes as f64);
            runs.log_cpu.push(ran.synced.cpu_us / ran.messages as f64);
            runs.over.push(ran.active as f64 / bound as f64);
            if *mode == Mode::Nowhere {
                println!("{name}: p99 of the log's fdatasync alone {:.1} ms", p99 / 1e3);
            }
        }
    }
    println!(
        "| {name} | device bytes / row bytes | CPU µs / row | rows/s | longest batch ms | p99 fdatasync / alone | log: device / bytes, CPU µs / message | active / bound |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut last = f64::NAN;
    for (mode, runs) in modes.iter().zip(all) {
        last = median(runs.amplification);
        println!(
            "| {} | {:.1} | {:.1} | {:.0} | {:.0} | {:.2} | {:.2}, {:.2} | {:.2} |",
            mode.name(),
            last,
            median(runs.cpu_us),
            median(runs.rows_a_second),
            median(runs.longest_ms),
            median(runs.p99),
            median(runs.log_share),
            median(runs.log_cpu),
            median(runs.over),
        );
    }
    println!();
    last
}

/// What a run measured.
struct Ran {
    rested: Rested,
    synced: Synced,
    took: Duration,
    /// Rows that were durable when the stream ended. Those put later count for the costs of a row, not for the pace.
    within: u64,
    messages: u64,
    active: usize,
}

/// One run: the stream at its pace, the log and the resting rows beside it.
fn run(options: &Options, mut stream: Stream, mode: Mode, position: &mut u64) -> Ran {
    rustix::fs::sync();
    let most = (TURN * TURNS_A_SECOND) as u64 * options.seconds * 2 * (MESSAGE + IMAGE + STORED);
    let log = Log::start(&options.directory, most);
    let resting = Resting::start(&options.directory, mode, &options.sqlite);
    let (mut pending, mut ready) = (Vec::new(), VecDeque::new());
    let (start, length) = (Instant::now(), Duration::from_secs(options.seconds));
    let (mut turns, mut rests) = (0, 0);
    while start.elapsed() < length {
        let due = start.elapsed().as_millis() as usize * TURNS_A_SECOND / 1000;
        let may_rest = options.rests.saturating_mul(due) / TURNS_A_SECOND;
        while turns < due {
            log.append(stream.turn());
            turns += 1;
            while ready.is_empty()
                && pending.len() < mode.pool()
                && rests < may_rest
                && let Some(row) = stream.rest()
            {
                *position += 1;
                rests += 1;
                pending.push((row, *position));
            }
            if ready.is_empty() && pending.len() == mode.pool() {
                if pending.len() > mode.batch() {
                    // A row that was touched while it waited is put once, as it is now.
                    pending.sort_by_cached_key(|(row, position)| (rest::id(*row), u64::MAX - position));
                    pending.dedup_by_key(|(row, _)| *row);
                }
                ready.extend(pending.chunks(mode.batch()).map(<[_]>::to_vec));
                pending.clear();
            }
            if let Some(rows) = ready.pop_front()
                && let Err(back) = resting.offer(rows)
            {
                ready.push_front(back);
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = start.elapsed();
    let within = resting.done.load(Ordering::Relaxed);
    let synced = log.end();
    let rested = resting.end();
    Ran { rested, synced, took, within, messages: (turns * TURN) as u64, active: stream.active }
}

fn read(options: &Options) {
    println!("| read, nothing in memory | CPU µs / row | µs / row | device bytes / row bytes |");
    println!("|---|---|---|---|");
    let (directory, rows, sqlite): (&Path, _, _) = (&options.directory, options.rows as u32, &options.sqlite);
    let cases: [(&str, &dyn Fn() -> reads::Read); 4] = [
        ("every 5th row in key order, 4,096 a trip", &|| reads::in_order(directory, rows, 5, 4096, sqlite)),
        ("5,000 rows at random, 64 a trip", &|| reads::at_random(directory, rows, 5_000, 64, sqlite)),
        ("5,000 rows at random, one a trip", &|| reads::at_random(directory, rows, 5_000, 1, sqlite)),
        ("200,000 rows at random, 256 a trip", &|| reads::at_random(directory, rows, 200_000, 256, sqlite)),
    ];
    for (name, case) in cases {
        let runs: Vec<reads::Read> = (0..options.runs).map(|_| case()).collect();
        let each = |value: fn(&reads::Read) -> f64| median(runs.iter().map(value).collect());
        println!(
            "| {name} | {:.1} | {:.1} | {:.1} |",
            each(|read| read.cpu_us),
            each(|read| read.wall_us),
            each(|read| read.amplification)
        );
    }
}
