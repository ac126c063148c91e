//! What each policy writes, counted without I/O: the same in each run of the program.

use crate::stream::{Bound, Choice, IMAGE, ROW, STORED, Stream, TURN};
use crate::{TURNS_A_SECOND, WARM};

/// Until so many rows are active that few are touched for the first time.
const WARM_LONG: usize = 360 * TURNS_A_SECOND;
const COUNTED: usize = 60 * TURNS_A_SECOND;
const HEAD: [&str; 11] = [
    "stream",
    "at rest",
    "log kept",
    "active rows",
    "rests/s",
    "first image",
    "image again",
    "stored",
    "rows",
    "sum",
    "on the device",
];

/// Prints what every policy makes of every stream. `amplification`: device bytes for each byte of rows, as measured.
pub fn count(rows: usize, choices: &[(&str, Choice)], amplification: f64) {
    println!("bytes for each byte of messages in the log (on the device: rows × {amplification:.1}, as measured)");
    println!("| {} |\n|{}", HEAD.join(" | "), "---|".repeat(HEAD.len()));
    let policies = [
        ("beyond 100 k", Bound::Rows(rows / 10), WARM),
        ("beyond 300 k", Bound::Rows(rows * 3 / 10), WARM),
        ("after 60 s", Bound::Idle((60 * TURNS_A_SECOND * TURN) as u32), WARM),
        ("beyond 700 k", Bound::Rows(rows * 7 / 10), WARM_LONG),
    ];
    for (name, choice) in choices {
        for (policy, bound, warm) in policies {
            for retained in [4, 16] {
                let stream = Stream::new(rows, choice.clone(), bound, retained, true);
                let line = line(stream, warm, amplification);
                println!("| {name} | {policy} | {} MiB | {line} |", retained * 64);
            }
        }
    }
    println!();
}

fn line(mut stream: Stream, warm: usize, amplification: f64) -> String {
    stream.run(warm);
    let before = stream.written;
    stream.run(COUNTED);
    let after = stream.written;
    let messages = (after.message_bytes() - before.message_bytes()) as f64;
    let rested = after.rested - before.rested;
    let images = [after.first - before.first, after.again - before.again].map(|images| images * IMAGE);
    let [first, again, stored, rows] =
        [images[0], images[1], rested * STORED, rested * ROW].map(|bytes| bytes as f64 / messages);
    format!(
        "{} | {} | {first:.2} | {again:.2} | {stored:.2} | {rows:.2} | {:.2} | {:.2}",
        stream.active,
        rested / (COUNTED / TURNS_A_SECOND) as u64,
        first + again + stored + rows,
        first + again + stored + rows * amplification,
    )
}
